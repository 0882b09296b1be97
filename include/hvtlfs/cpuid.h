/* SPDX-License-Identifier: MIT */
/**
 * @file cpuid.h
 * The first exit: CPUID.
 */
#ifndef HVTLFS_CPUID_H
#define HVTLFS_CPUID_H

#include <stdbool.h>
#include <stdint.h>

#include <hvtlfs/export.h>
#include <hvtlfs/features.h>
#include <hvtlfs/partition.h>

HVTLFS_BEGIN_DECLS

/** What CPUID returns. */
struct hvtlfs_cpuid_regs {
    uint32_t eax; /**< EAX. */
    uint32_t ebx; /**< EBX. */
    uint32_t ecx; /**< ECX. */
    uint32_t edx; /**< EDX. */
};

/**
 * Answer a CPUID of the guest.
 *
 * Leaves from the configured base (0x40000000) up to base + 0xFF are the library's: those above the
 * maximum leaf read as zero. Leaf 1 gets bit 31 of ECX, the hypervisor-present bit (TLFS 2.2). With
 * [tsc-invariant], leaf 0x80000007 loses bit 8 of EDX, the invariant TSC, until the guest writes
 * TSC_INVARIANT_CONTROL. Every other leaf is left as it is.
 *
 * @param vp      the VP that executes CPUID
 * @param leaf    its EAX
 * @param subleaf its ECX
 * @param regs    in: what the host would show; out: what the guest must see
 * @return true if the library answered or changed something; false if @p regs is as it was
 *
 * Never faults, takes no lock, calls nothing. The hypervisor's leaves are constant for the partition's
 * life (requirements document: privileges are constant). Source: TLFS 2.4.
 */
HVTLFS_API bool hvtlfs_cpuid(struct hvtlfs_vp *vp, uint32_t leaf, uint32_t subleaf,
                             struct hvtlfs_cpuid_regs *regs);

/** What the leaves are made from, for hvtlfs_cpuid_leaf(). */
struct hvtlfs_cpuid_identity {
    struct hvtlfs_features features; /**< What is offered. */
    char vendor[16];                 /**< At most 12 characters are shown. */
    uint32_t cpuid_base;             /**< 0x40000000 + n * 0x100. */
    uint32_t version[4];             /**< Leaf 2. */
    uint32_t spin_count;             /**< Leaf 4 EBX with [spinlocks]. */
    uint32_t max_vps;                /**< Leaf 5 EAX. */
    uint32_t max_lps;                /**< Leaf 5 EBX. */
    uint32_t hardware_features;      /**< Leaf 6 EAX. */
    uint32_t gpa_bits;               /**< Leaf 4 ECX is left 0; kept for profiles that report it. */
};

/**
 * Compute one hypervisor leaf without a partition, for VMMs whose kernel does the rest.
 *
 * @param identity what the leaves are made from
 * @param leaf     the leaf's number, @ref hvtlfs_cpuid_identity::cpuid_base included
 * @param regs     overwritten
 * @return true if @p leaf is in the library's range; otherwise @p regs is untouched
 *
 * Pure; any thread.
 */
HVTLFS_API bool hvtlfs_cpuid_leaf(const struct hvtlfs_cpuid_identity *identity, uint32_t leaf,
                                  struct hvtlfs_cpuid_regs *regs);

/** The highest leaf that an identity shows: leaf 0 EAX. At least base + 5. Pure. */
HVTLFS_API uint32_t hvtlfs_cpuid_max_leaf(const struct hvtlfs_cpuid_identity *identity);

HVTLFS_END_DECLS

#endif
