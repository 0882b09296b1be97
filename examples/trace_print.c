/* SPDX-License-Identifier: MIT */
/*
 * What happens in a partition, one line each: the callback `trace` and hvtlfs_event_text().
 *
 * The "guest" is main(): it does what a guest does first, then something it may not do.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hvtlfs/hvtlfs.h>
#include <hvtlfs/trace.h>

#define RAM_SIZE 0x10000u

struct vmm {
    unsigned events;
    uint8_t ram[RAM_SIZE];
};

static bool gpa_read(void *context, uint64_t gpa, void *buffer, size_t size)
{
    const struct vmm *vmm = context;

    if (size > RAM_SIZE || gpa > RAM_SIZE - size) {
        return false;
    }
    memcpy(buffer, vmm->ram + gpa, size);
    return true;
}

static bool gpa_write(void *context, uint64_t gpa, const void *buffer, size_t size)
{
    struct vmm *vmm = context;

    if (size > RAM_SIZE || gpa > RAM_SIZE - size) {
        return false;
    }
    memcpy(vmm->ram + gpa, buffer, size);
    return true;
}

static enum hvtlfs_gpa_kind gpa_probe(void *context, uint64_t gpa)
{
    (void)context;
    return gpa < RAM_SIZE ? HVTLFS_GPA_RAM : HVTLFS_GPA_NONE;
}

/* Any thread that calls the library may be here, with locks held: print, and do not call back. */
static void trace(void *context, const struct hvtlfs_event *event)
{
    struct vmm *vmm = context;
    char line[160];

    (void)hvtlfs_event_text(event, line, sizeof(line));
    puts(line);
    vmm->events++;
}

static struct hvtlfs_partition *make_partition(struct vmm *vmm)
{
    struct hvtlfs_partition *partition = NULL;
    struct hvtlfs_config config;
    void *memory = NULL;
    size_t size;

    hvtlfs_config_init(&config);
    config.context = vmm;
    config.ops.gpa_read = gpa_read;
    config.ops.gpa_write = gpa_write;
    config.ops.gpa_probe = gpa_probe;
    config.ops.trace = trace;
    config.trap = HVTLFS_TRAP_VMCALL;
    if (hvtlfs_partition_size(&config, &size, NULL) == HVTLFS_OK) {
        size += HVTLFS_PARTITION_ALIGNMENT - size % HVTLFS_PARTITION_ALIGNMENT;
        memory = aligned_alloc(HVTLFS_PARTITION_ALIGNMENT, size);
    }
    if (!memory || hvtlfs_partition_init(memory, size, &config, &partition, NULL)) {
        free(memory);
        return NULL;
    }
    return partition; /* the memory's first byte */
}

int main(void)
{
    static struct vmm vmm;
    struct hvtlfs_hypercall_regs regs = {.rcx = 0x1234, .mode = HVTLFS_MODE_LONG64};
    struct hvtlfs_partition *partition = make_partition(&vmm);
    struct hvtlfs_vp *vp;
    uint64_t index;
    bool as_expected;

    if (!partition) {
        (void)fputs("trace_print: cannot make a partition\n", stderr);
        return 1;
    }
    vp = hvtlfs_partition_vp(partition, 0);
    as_expected =
        hvtlfs_msr_write(vp, 0x40000000, UINT64_C(0x8100060100000000)) == HVTLFS_MSR_DONE &&
        hvtlfs_msr_write(vp, 0x40000001, 0x5001) == HVTLFS_MSR_DONE &&
        hvtlfs_msr_read(vp, 0x40000002, &index) == HVTLFS_MSR_DONE &&
        hvtlfs_msr_write(vp, 0x40000002, 7) == HVTLFS_MSR_FAULT && /* VP_INDEX is read-only */
        hvtlfs_hypercall(vp, &regs) == HVTLFS_HYPERCALL_DONE;
    free(partition);
    printf("%u events\n", vmm.events);
    return as_expected && vmm.events >= 5 ? 0 : 1;
}
