/* SPDX-License-Identifier: MIT */
/*
 * The three exits by hand: what a VMM does with libhvtlfs, without a hypervisor.
 *
 * The VMM owns the guest's memory and its virtual processors. When a VP executes CPUID, RDMSR,
 * WRMSR or a hypercall, the VMM asks the library what the guest must see. Here the "guest" is
 * main(): it discovers Hv#1, says who it is, places the hypercall page and makes a call.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hvtlfs/hvtlfs.h>

/* ---- The host: guest memory, and a place to hear of long spin-waits ---- */

struct vmm {
    uint8_t ram[1 << 20];
};

static bool in_ram(uint64_t gpa, size_t size)
{
    return gpa < sizeof(((struct vmm *)0)->ram) && size <= sizeof(((struct vmm *)0)->ram) - gpa;
}

static bool gpa_read(void *context, uint64_t gpa, void *buffer, size_t size)
{
    struct vmm *vmm = context;

    if (!in_ram(gpa, size)) {
        return false;
    }
    memcpy(buffer, vmm->ram + gpa, size);
    return true;
}

static bool gpa_write(void *context, uint64_t gpa, const void *buffer, size_t size)
{
    struct vmm *vmm = context;

    if (!in_ram(gpa, size)) {
        return false;
    }
    memcpy(vmm->ram + gpa, buffer, size);
    return true;
}

static enum hvtlfs_gpa_kind gpa_probe(void *context, uint64_t gpa)
{
    (void)context;
    return in_ram(gpa, 1) ? HVTLFS_GPA_RAM : HVTLFS_GPA_NONE;
}

static void spin_wait(void *context, uint32_t vp_index, uint32_t spins)
{
    (void)context;
    printf("host: VP %" PRIu32 " has spun %" PRIu32 " times\n", vp_index, spins);
}

/* ---- A partition ---- */

static struct hvtlfs_partition *make_partition(struct vmm *vmm)
{
    struct hvtlfs_partition *partition;
    struct hvtlfs_config config;
    struct hvtlfs_error error;
    char text[160];
    void *memory;
    size_t size;

    hvtlfs_config_init(&config);
    config.context = vmm;
    config.ops.gpa_read = gpa_read;
    config.ops.gpa_write = gpa_write;
    config.ops.gpa_probe = gpa_probe;
    config.ops.spin_wait = spin_wait;
    config.trap = HVTLFS_TRAP_VMCALL;
    config.spin_count = 4095;
    hvtlfs_features_add(&config.features, HVTLFS_FEATURE_SPINLOCKS);
    hvtlfs_features_add(&config.features, HVTLFS_FEATURE_RELAXED);

    if (hvtlfs_partition_size(&config, &size, &error)) {
        hvtlfs_error_text(&error, text, sizeof(text));
        fprintf(stderr, "three_exits: %s\n", text);
        return NULL;
    }
    size = (size + HVTLFS_PARTITION_ALIGNMENT - 1) / HVTLFS_PARTITION_ALIGNMENT *
           HVTLFS_PARTITION_ALIGNMENT;
    memory = aligned_alloc(HVTLFS_PARTITION_ALIGNMENT, size);
    if (!memory || hvtlfs_partition_init(memory, size, &config, &partition, NULL)) {
        free(memory);
        return NULL;
    }
    return partition; /* the memory's first byte */
}

/* ---- The guest ---- */

static void show_cpuid(struct hvtlfs_vp *vp, uint32_t leaf)
{
    struct hvtlfs_cpuid_regs regs = {0};

    hvtlfs_cpuid(vp, leaf, 0, &regs);
    printf("cpuid 0x%08" PRIx32 ": eax=%08" PRIx32 " ebx=%08" PRIx32 " ecx=%08" PRIx32
           " edx=%08" PRIx32 "\n",
           leaf, regs.eax, regs.ebx, regs.ecx, regs.edx);
}

static void write_msr(struct hvtlfs_vp *vp, uint32_t number, uint64_t value)
{
    static const char *const words[] = {"done", "#GP", "not ours", "done", "done"};
    enum hvtlfs_msr_result result = hvtlfs_msr_write(vp, number, value);

    printf("wrmsr %s = 0x%" PRIx64 ": %s\n", hvtlfs_msr_name(number), value, words[result]);
}

static int hypercall(struct hvtlfs_vp *vp, uint64_t control, uint64_t input)
{
    struct hvtlfs_hypercall_regs regs = {
        .rcx = control, .rdx = input, .mode = HVTLFS_MODE_LONG64, .cpl = 0};

    if (hvtlfs_hypercall(vp, &regs) != HVTLFS_HYPERCALL_DONE) {
        printf("hypercall 0x%" PRIx64 ": #UD\n", control);
        return 1;
    }
    printf("hypercall 0x%" PRIx64 ": %s\n", control, hvtlfs_hv_status_name((uint16_t)regs.rax));
    return 0;
}

int main(void)
{
    static struct vmm vmm;
    struct hvtlfs_partition *partition = make_partition(&vmm);
    struct hvtlfs_vp *vp;
    uint32_t leaf;
    int failed;

    if (!partition) {
        return 1;
    }
    vp = hvtlfs_partition_vp(partition, 0);
    for (leaf = 0x40000000; leaf <= 0x40000005; leaf++) {
        show_cpuid(vp, leaf);
    }
    write_msr(vp, 0x40000000, UINT64_C(0x8100060100000000)); /* HV_X64_MSR_GUEST_OS_ID: a Linux */
    write_msr(vp, 0x40000001, 0x5001);                       /* HV_X64_MSR_HYPERCALL */
    printf("page at 0x5000: %02x %02x %02x %02x\n", vmm.ram[0x5000], vmm.ram[0x5001],
           vmm.ram[0x5002], vmm.ram[0x5003]);
    failed = hypercall(vp, UINT64_C(0x10008), 4095); /* HvCallNotifyLongSpinWait, fast */
    free(partition);
    return failed;
}
