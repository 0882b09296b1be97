/* SPDX-License-Identifier: MIT */
/*
 * One kind of hypercall, CALLS times, against a host that does nothing: for counting instructions.
 * `bench_hypercall CASE`; tests/bench/hypercall.sh runs it under callgrind and divides.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hvtlfs/hvtlfs.h>
#include <hvtlfs/tlfs.h>

#define CALLS 1000u
#define FAST UINT64_C(0x10000)

static uint64_t memory[HVTLFS_PAGE_SIZE / 8]; /* the guest's only page */

static bool read_memory(void *context, uint64_t gpa, void *buffer, size_t size)
{
    (void)context;
    memcpy(buffer, (const char *)memory + (gpa & 0xFFF), size);
    return true;
}

static bool write_memory(void *context, uint64_t gpa, const void *buffer, size_t size)
{
    (void)context;
    memcpy((char *)memory + (gpa & 0xFFF), buffer, size);
    return true;
}

static enum hvtlfs_gpa_kind probe(void *context, uint64_t gpa)
{
    (void)context, (void)gpa;
    return HVTLFS_GPA_RAM;
}

static void interrupt(void *context, uint32_t vp_index, const struct hvtlfs_interrupt *request)
{
    (void)context, (void)vp_index, (void)request;
}

static void spin_wait(void *context, uint32_t vp_index, uint32_t spins)
{
    (void)context, (void)vp_index, (void)spins;
}

static void flush(void *context, uint32_t vp_index, const struct hvtlfs_vp_set *targets,
                  const struct hvtlfs_flush *what)
{
    (void)context, (void)vp_index, (void)targets, (void)what;
}

static void flush_queued(void *context, uint32_t vp_index, const struct hvtlfs_vp_set *targets)
{
    (void)context, (void)vp_index, (void)targets;
}

static void send_ipi(void *context, uint32_t vp_index, uint32_t vector,
                     const struct hvtlfs_vp_set *targets)
{
    (void)context, (void)vp_index, (void)vector, (void)targets;
}

struct bench {
    const char *name;
    uint32_t vp_count;
    uint64_t rcx;
    uint64_t rdx;
    uint64_t r8;
    bool host_sends_ipis;
    bool queues;
    uint64_t input[4];
};

static const struct bench benches[] = {
    {"spin-wait", 1, HvCallNotifyLongSpinWait | FAST, 1000, 0, false, false, {0}},
    {"ipi-0", 64, HvCallSendSyntheticClusterIpi | FAST, 0x30, 0, false, false, {0}},
    {"ipi-1", 64, HvCallSendSyntheticClusterIpi | FAST, 0x30, 1, false, false, {0}},
    {"ipi-64", 64, HvCallSendSyntheticClusterIpi | FAST, 0x30, UINT64_MAX, false, false, {0}},
    {"ipi-64-set", 64, HvCallSendSyntheticClusterIpi | FAST, 0x30, UINT64_MAX, true, false, {0}},
    {"flush-4096", 4096, HvCallFlushVirtualAddressSpace, 0, 0, false, false,
     {0, HV_FLUSH_ALL_PROCESSORS, 0, 0}},
    {"flush-4096-queued", 4096, HvCallFlushVirtualAddressSpace, 0, 0, false, true,
     {0, HV_FLUSH_ALL_PROCESSORS, 0, 0}},
    {"flush-4096-ex", 4096, HvCallFlushVirtualAddressSpaceEx, 0, 0, false, false,
     {0, 0, HvGenericSetAll, 0}},
    {"flush-4096-ex-queued", 4096, HvCallFlushVirtualAddressSpaceEx, 0, 0, false, true,
     {0, 0, HvGenericSetAll, 0}},
    {"list-1", 64, HvCallFlushVirtualAddressList | UINT64_C(1) << 32, 0, 0, false, false,
     {0, 0, 1, 0x1000}},
    {"list-1-queued", 64, HvCallFlushVirtualAddressList | UINT64_C(1) << 32, 0, 0, false, true,
     {0, HV_FLUSH_ALL_PROCESSORS, 0, 0x1000}},
};

static void configure(struct hvtlfs_config *config, const struct bench *bench)
{
    hvtlfs_config_init(config);
    config->vp_count = bench->vp_count;
    hvtlfs_features_add(&config->features, HVTLFS_FEATURE_SPINLOCKS);
    hvtlfs_features_add(&config->features, HVTLFS_FEATURE_IPI);
    hvtlfs_features_add(&config->features, HVTLFS_FEATURE_TLBFLUSH);
    hvtlfs_features_add(&config->features, HVTLFS_FEATURE_EX_PROCESSOR_MASKS);
    config->ops.gpa_read = read_memory;
    config->ops.gpa_write = write_memory;
    config->ops.gpa_probe = probe;
    config->ops.request_interrupt = interrupt;
    config->ops.spin_wait = spin_wait;
    config->ops.tlb_flush = flush;
    config->ops.tlb_flush_queued = bench->queues ? flush_queued : NULL;
    config->ops.send_ipi = bench->host_sends_ipis ? send_ipi : NULL;
}

static int run(const struct bench *bench)
{
    struct hvtlfs_hypercall_regs regs = {.mode = HVTLFS_MODE_LONG64};
    struct hvtlfs_partition *partition = NULL;
    struct hvtlfs_config config;
    struct hvtlfs_vp *vp;
    void *block = NULL;
    size_t size;
    unsigned i;

    configure(&config, bench);
    if (hvtlfs_partition_size(&config, &size, NULL) ||
        !(block = aligned_alloc(HVTLFS_PARTITION_ALIGNMENT, (size + 4095) & ~(size_t)4095)) ||
        hvtlfs_partition_init(block, size, &config, &partition, NULL)) {
        free(block);
        return 1;
    }
    vp = hvtlfs_partition_vp(partition, 0);
    memcpy(memory, bench->input, sizeof(bench->input));
    for (i = 0; i < CALLS; i++) {
        regs.rcx = bench->rcx;
        regs.rdx = bench->rdx;
        regs.r8 = bench->r8;
        if (hvtlfs_hypercall(vp, &regs) || (uint16_t)regs.rax) {
            fprintf(stderr, "%s: refused with %#x\n", bench->name, (unsigned)(uint16_t)regs.rax);
            free(block);
            return 1;
        }
    }
    free(block);
    return 0;
}

int main(int argc, char **argv)
{
    size_t i;

    for (i = 0; i < sizeof(benches) / sizeof(benches[0]); i++) {
        if (argc < 2) {
            puts(benches[i].name);
        } else if (strcmp(argv[1], benches[i].name) == 0) {
            return run(&benches[i]);
        }
    }
    return argc >= 2;
}
