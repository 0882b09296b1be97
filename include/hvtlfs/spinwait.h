/* SPDX-License-Identifier: MIT */
/**
 * @file spinwait.h
 * Guests that spin: whom to run when a VP says that it has been waiting for long.
 *
 * A guest that finds a lock taken spins. If the VP that holds the lock has lost its processor to
 * another VP, spinning is a waste for both: HvCallNotifyLongSpinWait lets the guest say so after
 * as many attempts as leaf 4 EBX tells it (TLFS 14.3.1), and the library hands that to the host's
 * callback spin_wait. What the host best does then is to run the holder. Nobody knows who that is,
 * but a VP that was preempted may be, and one that is itself spinning hardly is.
 *
 * hvtlfs_yield_advice() is that choice as a pure function. A host that reports to the library when
 * VPs lose and get back their processors can ask hvtlfs_spin_wait_advice() instead. The same
 * advice serves pause-loop exits of the processor; docs/SPINWAIT.md tells how they go together and
 * which threshold to choose.
 */
#ifndef HVTLFS_SPINWAIT_H
#define HVTLFS_SPINWAIT_H

#include <stdint.h>

#include <hvtlfs/export.h>
#include <hvtlfs/partition.h>

HVTLFS_BEGIN_DECLS

/** What a choice is made from. Bit v % 64 of bank v / 64 stands for the VP with index v. */
struct hvtlfs_yield_view {
    uint32_t caller;           /**< The VP that spins. */
    uint32_t spins;            /**< Its attempts so far, as it told. */
    uint32_t threshold;        /**< Attempts between two notifications: leaf 4 EBX. */
    uint32_t last;             /**< Whom the last advice named; #HVTLFS_NO_VP at first. */
    uint32_t bank_count;       /**< Banks in each of the following, up to 64. */
    const uint64_t *preempted; /**< VPs that want to run and have lost their processor. Best without
                                    those that were in user mode: they hold no kernel's lock. */
    const uint64_t *spinning;  /**< VPs that were spinning when they last ran. */
};

/**
 * Propose the VP to run in place of one that spins.
 *
 * Among the preempted VPs that do not spin, the next one after the last that was named, in the order
 * of their indices, so that each gets its turn. If there is none and the caller has notified twice
 * or more (its count has reached twice the threshold), preempted VPs that spin: one of them may hold
 * this lock while it waits for another. The caller itself is never proposed.
 *
 * @return a VP index, or #HVTLFS_NO_VP: nothing is gained, let the caller spin on
 *
 * Pure; the banks may be changed by other threads at the same time. At most 65 steps.
 */
HVTLFS_API uint32_t hvtlfs_yield_advice(const struct hvtlfs_yield_view *view);

/**
 * The advice for a VP from what the library has been told.
 *
 * @param vp    the VP that spins
 * @param spins its attempts so far; for a pause-loop exit, 0
 * @return as hvtlfs_yield_advice(); always #HVTLFS_NO_VP when nobody reports preemptions
 *
 * Any thread; may be called from within the callback spin_wait. No lock and no callback.
 */
HVTLFS_API uint32_t hvtlfs_spin_wait_advice(struct hvtlfs_vp *vp, uint32_t spins);

/**
 * Report that a VP has lost its processor although it wants to run. Not when it halts or idles.
 *
 * Any thread, such as the one that schedules. No lock and no callback.
 */
HVTLFS_API void hvtlfs_vp_preempted(struct hvtlfs_vp *vp);

/**
 * Report that a VP has a processor again, or does not want one any more. This also ends its spin:
 * call it before the VP goes back into the guest after it gave way.
 *
 * Any thread. No lock and no callback.
 */
HVTLFS_API void hvtlfs_vp_running(struct hvtlfs_vp *vp);

HVTLFS_END_DECLS

#endif
