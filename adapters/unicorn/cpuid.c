/* SPDX-License-Identifier: MIT */
/* The processor that this machine shows: little more than long mode needs. */
#include <hvtlfs/cpuid.h>

#include "machine.h"

static const struct {
    uint32_t leaf;
    struct hvtlfs_cpuid_regs regs;
} leaves[] = {
    /* Maximum leaf, "libhvtlfs   " */
    {0x00000000, {1, 0x6862696C, 0x20202073, 0x666C7476}},
    /* Family 15; SSE3, CMPXCHG16B, x2APIC; FPU, TSC, MSR, PAE, CX8, APIC, PGE, CMOV, CLFLUSH, FXSR,
     * SSE, SSE2 */
    {0x00000001, {0x00000F00, 0x00000800, 0x00202001, 0x0708A371}},
    /* Maximum extended leaf */
    {0x80000000, {0x80000008, 0, 0, 0}},
    /* LAHF; SYSCALL, NX, long mode */
    {0x80000001, {0, 0, 0x00000001, 0x20100800}},
    /* Invariant TSC */
    {0x80000007, {0, 0, 0, 0x00000100}},
    /* 48-bit virtual addresses, MACHINE_GPA_BITS physical ones */
    {0x80000008, {48 << 8 | MACHINE_GPA_BITS, 0, 0, 0}},
};

struct hvtlfs_cpuid_regs machine_cpuid(struct machine_vp *vp, uint32_t leaf, uint32_t subleaf)
{
    struct hvtlfs_cpuid_regs regs = {0};

    for (size_t i = 0; i < sizeof leaves / sizeof leaves[0]; i++) {
        if (leaves[i].leaf == leaf) {
            regs = leaves[i].regs;
        }
    }
    if (leaf == 1) {
        regs.ebx |= vp->apic.id << 24;
    }
    (void)hvtlfs_cpuid(vp->vp, leaf, subleaf, &regs);
    return regs;
}
