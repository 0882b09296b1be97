/* SPDX-License-Identifier: MIT */
/**
 * @file vapic.h
 * Lazy EOI: interrupts that the guest ends without an exit (TLFS 10.3.5).
 *
 * A guest with a VP assist page ends an interrupt by clearing a bit of that page. If the bit was
 * set, nothing else is needed; if not, it writes the EOI MSR, which exits. Whether the bit may be
 * set is known to the host's APIC alone, so these calls belong where that APIC lets an interrupt
 * into the guest and where the VP comes out again:
 *
 * @code
 *     // about to enter the guest, `vector` is the highest interrupt in service
 *     armed = hvtlfs_lazy_eoi_arm(vp, vector, trigger, apic_has_lower_pending(apic, vector));
 *     ... the VP runs and exits ...
 *     vector = hvtlfs_lazy_eoi_collect(vp);
 *     if (vector != HVTLFS_NO_EOI)
 *         apic_end_of_interrupt(apic);       // the guest ended it while it ran
 * @endcode
 *
 * When a lower interrupt becomes pending while the VP runs, hvtlfs_lazy_eoi_withdraw() takes the
 * promise back, so that the guest's EOI exits after all and the interrupt gets in.
 *
 * A host whose APIC works without it (in the kernel, or in the processor) never calls any of this,
 * or sets #HVTLFS_POLICY_NO_LAZY_EOI: the library leaves the bit clear, and every EOI arrives as an MSR
 * write or wherever that APIC takes it; unless that APIC has the protocol itself and is told where the page
 * is (hvtlfs_assist_page_gpa()). All of docs/VAPIC.md is about this.
 */
#ifndef HVTLFS_VAPIC_H
#define HVTLFS_VAPIC_H

#include <stdbool.h>
#include <stdint.h>

#include <hvtlfs/export.h>
#include <hvtlfs/partition.h>

HVTLFS_BEGIN_DECLS

/** How an interrupt is signalled. */
enum hvtlfs_trigger {
    HVTLFS_TRIGGER_EDGE = 0,  /**< Its EOI concerns the local APIC only. */
    HVTLFS_TRIGGER_LEVEL = 1, /**< Its EOI must reach the I/O APIC at once. */
};

/** In place of a vector: there is nothing to end. */
#define HVTLFS_NO_EOI UINT32_C(0xFFFFFFFF)

/** In place of an address: there is no page. */
#define HVTLFS_NO_PAGE UINT64_MAX

/** What hvtlfs_lazy_eoi_withdraw() found. */
enum hvtlfs_lazy_eoi {
    HVTLFS_LAZY_EOI_NONE = 0,      /**< Nothing was armed. Do what an ordinary APIC would do. */
    HVTLFS_LAZY_EOI_WITHDRAWN = 1, /**< The guest will end its interrupt by an EOI that exits. */
    HVTLFS_LAZY_EOI_ENDED = 2, /**< The guest has ended its interrupt already, or (guest memory refused)
                                        it cannot be told: make the VP exit and collect, then the
                                        pending one can go in. */
};

/**
 * Let the guest end its interrupt without an exit, if it may.
 *
 * Call it right before the VP enters the guest, whenever an interrupt is in service. When it returns
 * true, hvtlfs_lazy_eoi_collect() must be called before the APIC's in-service bits are next used,
 * which is in practice right after the VP's exit; until then the highest in-service bit may be one
 * that the guest has ended. When it returns false nothing has changed and nothing has to be
 * collected; the guest will write the EOI MSR.
 *
 * If another thread can make interrupts pending meanwhile, look at them once more after this call
 * and withdraw: that thread's own hvtlfs_lazy_eoi_withdraw() may have come too early. Making an
 * interrupt pending must then be an atomic operation with sequential consistency.
 *
 * @param vp            the VP; out of the guest; its own thread
 * @param vector        the highest interrupt in service, 0 to 255
 * @param trigger       how that interrupt is signalled; never armed for a level-triggered one
 * @param lower_pending whether any other interrupt waits in the APIC that this one holds back
 * @return true if armed. False if the rules above forbid it, the guest has no assist page in reach,
 *         the feature [vapic] is off, #HVTLFS_POLICY_NO_LAZY_EOI is set, or the last arming has not
 *         been collected
 *
 * No lock and no callback where overlay_set is given; otherwise the lock and guest memory.
 * Source: TLFS 10.3.5.
 */
HVTLFS_API HVTLFS_MUST_USE bool hvtlfs_lazy_eoi_arm(struct hvtlfs_vp *vp, uint32_t vector,
                                                    enum hvtlfs_trigger trigger,
                                                    bool lower_pending);

/**
 * Where a VP's assist page is, for a host whose APIC sets and looks at its bit by itself, as KVM's
 * paravirtual EOI does: guest physical address of 4 bytes, bit 0 of which is "no EOI required". That host
 * sets #HVTLFS_POLICY_NO_LAZY_EOI, asks before each entry of the guest, and keeps the bit clear while the
 * VP is out of it.
 *
 * @param vp the VP; out of the guest; its own thread
 * @return the address of the page, or #HVTLFS_NO_PAGE: the guest has none, or it is out of reach, or the
 *         feature [vapic] is off
 *
 * No lock, no callback. Source: TLFS 7.8.7.1, 10.3.5.
 */
HVTLFS_API uint64_t hvtlfs_assist_page_gpa(const struct hvtlfs_vp *vp);

/**
 * Take back the permission because an interrupt has become pending that waits for the EOI.
 *
 * @param vp the VP, in the guest or out of it. Any thread
 * @return #HVTLFS_LAZY_EOI_NONE, #HVTLFS_LAZY_EOI_WITHDRAWN or #HVTLFS_LAZY_EOI_ENDED; after the last
 *         one the arming still has to be collected, by the VP's thread
 *
 * Atomic against the guest: of the guest and this call one clears the bit. Takes the partition lock
 * when something is armed.
 */
HVTLFS_API HVTLFS_MUST_USE enum hvtlfs_lazy_eoi hvtlfs_lazy_eoi_withdraw(struct hvtlfs_vp *vp);

/**
 * Learn whether the guest has ended its interrupt, and disarm.
 *
 * Each arming is collected at most once, so no interrupt is ended twice: whoever gets a vector must
 * clear the highest in-service bit, which is that vector's, and nobody gets it again. An EOI write
 * of the guest that finds an arming uncollected ends that one first, by apic_write.
 *
 * @param vp the VP; out of the guest; its own thread
 * @return the vector given to hvtlfs_lazy_eoi_arm() if the guest has ended it: do its EOI now;
 *         #HVTLFS_NO_EOI if nothing was armed, or if the guest has not ended it and will write EOI.
 *         Where guest memory refuses the look, the arming stays and is to be collected later
 *
 * Cheap when nothing is armed. Locking and callbacks as hvtlfs_lazy_eoi_arm(); the lock also while
 * another thread is withdrawing.
 */
HVTLFS_API HVTLFS_MUST_USE uint32_t hvtlfs_lazy_eoi_collect(struct hvtlfs_vp *vp);

HVTLFS_END_DECLS

#endif
