/* SPDX-License-Identifier: MIT */
/**
 * @file msr.h
 * The second exit: RDMSR and WRMSR.
 */
#ifndef HVTLFS_MSR_H
#define HVTLFS_MSR_H

#include <stdint.h>

#include <hvtlfs/export.h>
#include <hvtlfs/partition.h>

HVTLFS_BEGIN_DECLS

/** What the host has to do with the guest's MSR access. */
enum hvtlfs_msr_result {
    HVTLFS_MSR_DONE = 0,      /**< Advance past the instruction. */
    HVTLFS_MSR_FAULT = 1,     /**< Inject #GP(0); nothing has changed. */
    HVTLFS_MSR_UNCLAIMED = 2, /**< Not one of ours: the number is outside 0x40000000-0x400001FF. */
    HVTLFS_MSR_DELIVER = 3,   /**< Done; advance, and let pending interrupts reach this VP before its next
                                   instruction (a self-IPI, requirements document p. 10). */
    HVTLFS_MSR_IDLE = 4,      /**< Done; advance, but keep the VP out of the guest until an interrupt is
                                   pending for it (GUEST_IDLE, TLFS 7.5). */
};

/**
 * RDMSR of the guest.
 *
 * @param vp     the VP that reads
 * @param number the MSR (its ECX)
 * @param value  set when the result is #HVTLFS_MSR_DONE or #HVTLFS_MSR_IDLE, otherwise untouched
 * @return a result; a feature that is off makes its MSRs fault (TLFS 4.2.2)
 *
 * Bounded work. Callbacks: the clocks, apic_read, vp_runtime, and the lock while another thread
 * changes the clock.
 */
HVTLFS_API HVTLFS_MUST_USE enum hvtlfs_msr_result hvtlfs_msr_read(struct hvtlfs_vp *vp,
                                                                  uint32_t number,
                                                                  uint64_t *value);

/**
 * WRMSR of the guest.
 *
 * @param vp     the VP that writes
 * @param number the MSR (its ECX)
 * @param value  EDX:EAX
 * @return a result; after #HVTLFS_MSR_FAULT everything is as it was
 *
 * Bounded work. Any callback may run, on this thread.
 */
HVTLFS_API HVTLFS_MUST_USE enum hvtlfs_msr_result hvtlfs_msr_write(struct hvtlfs_vp *vp,
                                                                   uint32_t number,
                                                                   uint64_t value);

/**
 * The TLFS name of a synthetic MSR.
 *
 * @return a static string such as "HV_X64_MSR_GUEST_OS_ID", whether the library implements it or not;
 *         NULL if the TLFS has no MSR of that number. Pure; any thread.
 */
HVTLFS_API const char *hvtlfs_msr_name(uint32_t number);

HVTLFS_END_DECLS

#endif
