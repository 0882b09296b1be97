/* SPDX-License-Identifier: MIT */
/*
 * The APIC's busiest registers by MSR (TLFS 10.2.3), the VP assist page (7.8.7) and lazy EOI
 * (10.3.5).
 *
 * Two words tell how an armed interrupt stands: ours (`lazy`) and bit 0 of the guest's page. The
 * guest clears its bit with an atomic instruction, so the bit alone says who came first:
 *
 *     lazy      bit
 *     IDLE      0     nothing armed
 *     ARMED     1     armed; the guest has not ended its interrupt
 *     ARMED     0     the guest has ended it, and we owe the APIC an EOI
 *     REVOKING  any   another thread is clearing the bit, behind the lock, for one of:
 *     IDLE      0       it did; the guest will write EOI
 *     ENDED     0       the guest came first; we owe the APIC an EOI
 *
 * Only the VP's thread goes from IDLE to ARMED and back out of ENDED, so a state that another thread
 * has found ARMED can only be disarmed under its hands; the compare and exchange sees that.
 */
#include <hvtlfs/vapic.h>

#include <hvtlfs/tlfs.h>

#include "state.h"

enum {
    LAZY_IDLE = 0x000,
    LAZY_ARMED = 0x100,
    LAZY_REVOKING = 0x200,
    LAZY_ENDED = 0x300,
    LAZY_VECTOR = 0x0FF,
};

#define NO_EOI_REQUIRED guest32(HV_APIC_ASSIST_NO_EOI_REQUIRED) /* as it lies in the page */
#define APIC_ASSIST ((uint32_t)offsetof(struct hv_vp_assist_page, apic_assist))

/* A word that other VPs scribble on would make compare and exchange fail for ever. */
#define ATTEMPTS 8

/* ---- The guest's bit ---- */

static uint32_t *mapped_word(const struct hvtlfs_vp *vp)
{
    uint8_t *page = vp->partition->overlays.pages + (size_t)vp->vapic.slot * HVTLFS_PAGE_SIZE;

    return (uint32_t *)(void *)(page + APIC_ASSIST);
}

/* Change the bit in a page that the host does not map. Behind the lock; false if out of reach. */
static bool swap_bit(struct hvtlfs_vp *vp, uint32_t bit, bool *was_set)
{
    uint32_t expected = bit ^ NO_EOI_REQUIRED;
    bool done = false;
    int i;

    for (i = 0; i < ATTEMPTS && !done; i++) {
        if (!hvti_overlay_cas32(vp->partition, vp->vapic.slot, APIC_ASSIST, &expected,
                                (expected & ~NO_EOI_REQUIRED) | bit, &done)) {
            return false;
        }
    }
    *was_set = expected & NO_EOI_REQUIRED;
    return done;
}

static bool set_copied_bit(struct hvtlfs_vp *vp)
{
    bool was_set;
    bool done;

    hvti_lock(vp->partition);
    done = swap_bit(vp, NO_EOI_REQUIRED, &was_set);
    hvti_unlock(vp->partition);
    return done;
}

static bool clear_mapped_bit(struct hvtlfs_vp *vp)
{
    return __atomic_fetch_and(mapped_word(vp), ~NO_EOI_REQUIRED, __ATOMIC_ACQ_REL) &
           NO_EOI_REQUIRED;
}

/* What became of the bit. */
enum bit { BIT_WAS_SET, BIT_WAS_CLEAR, BIT_OUT_OF_REACH };

static enum bit clear_bit_locked(struct hvtlfs_vp *vp)
{
    bool was_set;

    if (vp->vapic.eoi_bit == HVTI_EOI_BIT_MAPPED) {
        was_set = clear_mapped_bit(vp);
    } else if (!swap_bit(vp, 0, &was_set)) {
        return BIT_OUT_OF_REACH;
    }
    return was_set ? BIT_WAS_SET : BIT_WAS_CLEAR;
}

/* ---- Lazy EOI ---- */

/* The VP's own thread moves its page, so no lock is needed to see where it is. */
static bool guest_sees_page(const struct hvtlfs_vp *vp)
{
    return vp->vapic.eoi_bit != HVTI_EOI_BIT_NONE &&
           vp->partition->overlays.gpa[vp->vapic.slot] != HVTI_NOWHERE;
}

static inline void set_armed(struct hvtlfs_vp *vp, uint32_t vector)
{
    /* In one order with the host's second look at what is pending. */
    __atomic_store_n(&vp->vapic.lazy, LAZY_ARMED | vector, __ATOMIC_SEQ_CST);
}

UNUSUAL static bool arm_copied(struct hvtlfs_vp *vp, uint32_t vector)
{
    if (!set_copied_bit(vp)) {
        return false;
    }
    set_armed(vp, vector);
    return true;
}

bool hvtlfs_lazy_eoi_arm(struct hvtlfs_vp *vp, uint32_t vector, enum hvtlfs_trigger trigger,
                         bool lower_pending)
{
    /* TLFS 10.3.5: edge-triggered, and no lower-priority interrupt pending. */
    if (trigger != HVTLFS_TRIGGER_EDGE || lower_pending || vector > LAZY_VECTOR) {
        return false;
    }
    if (__atomic_load_n(&vp->vapic.lazy, __ATOMIC_ACQUIRE) != LAZY_IDLE || !guest_sees_page(vp)) {
        return false;
    }
    if (vp->vapic.eoi_bit != HVTI_EOI_BIT_MAPPED) {
        return arm_copied(vp, vector);
    }
    (void)__atomic_fetch_or(mapped_word(vp), NO_EOI_REQUIRED, __ATOMIC_ACQ_REL);
    set_armed(vp, vector);
    return true;
}

static enum hvtlfs_lazy_eoi revoke(struct hvtlfs_vp *vp)
{
    uint32_t *lazy = &vp->vapic.lazy;
    uint32_t state = __atomic_load_n(lazy, __ATOMIC_ACQUIRE);
    uint32_t vector = state & LAZY_VECTOR;

    if ((state & ~(uint32_t)LAZY_VECTOR) == LAZY_ENDED) {
        return HVTLFS_LAZY_EOI_ENDED;
    }
    if (state == LAZY_IDLE ||
        !__atomic_compare_exchange_n(lazy, &state, LAZY_REVOKING | vector, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_ACQUIRE)) {
        return HVTLFS_LAZY_EOI_NONE;
    }
    switch (clear_bit_locked(vp)) {
    case BIT_WAS_SET:
        __atomic_store_n(lazy, LAZY_IDLE, __ATOMIC_RELEASE);
        return HVTLFS_LAZY_EOI_WITHDRAWN;
    case BIT_OUT_OF_REACH: /* the promise stands: who made it must look after it */
        __atomic_store_n(lazy, LAZY_ARMED | vector, __ATOMIC_RELEASE);
        break;
    case BIT_WAS_CLEAR:
    default:
        __atomic_store_n(lazy, LAZY_ENDED | vector, __ATOMIC_RELEASE);
        break;
    }
    return HVTLFS_LAZY_EOI_ENDED;
}

enum hvtlfs_lazy_eoi hvtlfs_lazy_eoi_withdraw(struct hvtlfs_vp *vp)
{
    enum hvtlfs_lazy_eoi found;

    if (__atomic_load_n(&vp->vapic.lazy, __ATOMIC_SEQ_CST) == LAZY_IDLE) {
        return HVTLFS_LAZY_EOI_NONE;
    }
    hvti_lock(vp->partition);
    found = revoke(vp);
    hvti_unlock(vp->partition);
    return found;
}

/* Behind the lock, as a withdrawal and for its sake: whoever withdraws meanwhile is told what came of it.
 * Also where another thread was first, and is withdrawing or has done so. */
UNUSUAL static uint32_t collect_locked(struct hvtlfs_vp *vp)
{
    uint32_t vector = __atomic_load_n(&vp->vapic.lazy, __ATOMIC_ACQUIRE) & LAZY_VECTOR;
    bool ended;

    hvti_lock(vp->partition);
    (void)revoke(vp);
    ended = __atomic_load_n(&vp->vapic.lazy, __ATOMIC_RELAXED) == (LAZY_ENDED | vector);
    if (ended) {
        __atomic_store_n(&vp->vapic.lazy, LAZY_IDLE, __ATOMIC_RELEASE);
    }
    hvti_unlock(vp->partition);
    return ended ? vector : HVTLFS_NO_EOI;
}

uint32_t hvtlfs_lazy_eoi_collect(struct hvtlfs_vp *vp)
{
    uint32_t state = __atomic_load_n(&vp->vapic.lazy, __ATOMIC_ACQUIRE);
    uint32_t vector = state & LAZY_VECTOR;

    if (state == LAZY_IDLE) {
        return HVTLFS_NO_EOI;
    }
    if (vp->vapic.eoi_bit != HVTI_EOI_BIT_MAPPED || state >= LAZY_REVOKING ||
        !__atomic_compare_exchange_n(&vp->vapic.lazy, &state, LAZY_IDLE, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_ACQUIRE)) {
        return collect_locked(vp);
    }
    return clear_mapped_bit(vp) ? HVTLFS_NO_EOI : vector;
}

static inline void end_of_interrupt(struct hvtlfs_vp *vp, uint32_t value)
{
    hvti_host_apic_write(&vp->partition->host, vp->index, HVTLFS_APIC_EOI, value);
    /* TLFS 11.2: an EOI retries messages, also where the APIC does not tell. */
    if (hvti_synic_has_work(&vp->synic)) {
        hvti_synic_poll(vp);
    }
}

UNUSUAL static void settle_armed(struct hvtlfs_vp *vp)
{
    if (hvtlfs_lazy_eoi_collect(vp) != HVTLFS_NO_EOI) {
        end_of_interrupt(vp, 0);
    }
}

/* Before the guest's own next step at the APIC or the page: what it ended by the bit comes first. */
static inline void settle(struct hvtlfs_vp *vp)
{
    if (__atomic_load_n(&vp->vapic.lazy, __ATOMIC_ACQUIRE) != LAZY_IDLE) {
        settle_armed(vp);
    }
}

/* ---- The MSRs ---- */

/* TLFS 10.2.3.1: the value does not matter; its upper half is ignored (figure) or RsvdZ (table). */
enum hvtlfs_msr_result hvti_eoi_write(struct hvtlfs_vp *vp, uint32_t number, uint64_t value)
{
    (void)number;
    settle(vp);
    end_of_interrupt(vp, (uint32_t)value);
    return HVTLFS_MSR_DONE;
}

enum hvtlfs_msr_result hvti_icr_read(struct hvtlfs_vp *vp, uint32_t number, uint64_t *value)
{
    (void)number;
    *value = hvti_host_apic_read(&vp->partition->host, vp->index, HVTLFS_APIC_ICR);
    return HVTLFS_MSR_DONE;
}

/*
 * Whether an IPI may reach its sender. Which format the destination has, and what a logical one
 * means, is known to the APIC only: when in doubt, it may.
 */
static bool may_be_self_ipi(const struct hvtlfs_vp *vp, uint64_t icr)
{
    uint32_t shorthand = (uint32_t)(icr >> 18) & 3; /* 1 self, 2 all, 3 all but self */
    uint32_t x2apic_id = (uint32_t)(icr >> 32);
    uint32_t xapic_id = (uint32_t)(icr >> 56);
    bool logical = icr >> 11 & 1;

    if (shorthand) {
        return shorthand != 3;
    }
    return logical || x2apic_id == vp->apic_id || x2apic_id == UINT32_MAX ||
           xapic_id == (vp->apic_id & 0xFF) || xapic_id == 0xFF;
}

enum hvtlfs_msr_result hvti_icr_write(struct hvtlfs_vp *vp, uint32_t number, uint64_t value)
{
    (void)number;
    hvti_host_apic_write(&vp->partition->host, vp->index, HVTLFS_APIC_ICR, value);
    /* Requirements document p. 10: an IPI that includes the sender is taken before its next
     * instruction. */
    return may_be_self_ipi(vp, value) ? HVTLFS_MSR_DELIVER : HVTLFS_MSR_DONE;
}

enum hvtlfs_msr_result hvti_tpr_read(struct hvtlfs_vp *vp, uint32_t number, uint64_t *value)
{
    (void)number;
    *value = hvti_host_apic_read(&vp->partition->host, vp->index, HVTLFS_APIC_TPR) &
             HV_MSR_TPR_TPR_VALUE_MASK;
    return HVTLFS_MSR_DONE;
}

/* TLFS 10.2.3.3: 63:8 are RsvdZ without a fault. */
enum hvtlfs_msr_result hvti_tpr_write(struct hvtlfs_vp *vp, uint32_t number, uint64_t value)
{
    (void)number;
    hvti_host_apic_write(&vp->partition->host, vp->index, HVTLFS_APIC_TPR,
                         value & HV_MSR_TPR_TPR_VALUE_MASK);
    return HVTLFS_MSR_DONE;
}

enum hvtlfs_msr_result hvti_vp_assist_page_read(struct hvtlfs_vp *vp, uint32_t number,
                                                uint64_t *value)
{
    (void)number;
    *value = vp->vapic.assist_page;
    return HVTLFS_MSR_DONE;
}

/* A page that cannot be where the guest wants it is nowhere, without a fault: Linux writes this MSR
 * on every processor, whatever CPUID says. */
enum hvtlfs_msr_result hvti_vp_assist_page_write(struct hvtlfs_vp *vp, uint32_t number,
                                                 uint64_t value)
{
    bool done;

    (void)number;
    settle(vp);
    hvti_lock(vp->partition);
    done = hvti_overlay_show(vp->partition, vp->vapic.slot, value & HV_MSR_VP_ASSIST_PAGE_ENABLE,
                             page_of(value));
    hvti_unlock(vp->partition);
    if (!done) {
        return HVTLFS_MSR_FAULT;
    }
    vp->vapic.assist_page = value;
    return HVTLFS_MSR_DONE;
}

/* ---- For others ---- */

void hvti_assist_page_set(struct hvtlfs_vp *vp, uint32_t offset, uint8_t byte)
{
    uint8_t *page = hvti_overlay_mapped(vp->partition, vp->vapic.slot);

    if (hvti_overlay_gpa(vp->partition, vp->vapic.slot) == HVTI_NOWHERE) {
        return;
    }
    if (page) {
        __atomic_store_n(page + offset, byte, __ATOMIC_RELEASE);
        return;
    }
    hvti_lock(vp->partition);
    (void)hvti_overlay_write(vp->partition, vp->vapic.slot, offset, &byte, 1);
    hvti_unlock(vp->partition);
}

uint64_t hvtlfs_assist_page_gpa(const struct hvtlfs_vp *vp)
{
    return vp->vapic.slot == HVTI_NO_SLOT ? HVTLFS_NO_PAGE
                                          : hvti_overlay_gpa(vp->partition, vp->vapic.slot);
}

static enum hvti_eoi_bit way_to_bit(const struct hvtlfs_partition *partition)
{
    if (!hvti_has(partition, HVTLFS_FEATURE_VAPIC) ||
        partition->policy & HVTLFS_POLICY_NO_LAZY_EOI) {
        return HVTI_EOI_BIT_NONE;
    }
    return hvti_host_maps_overlays(&partition->host) ? HVTI_EOI_BIT_MAPPED : HVTI_EOI_BIT_COPIED;
}

bool hvti_lazy_eoi_is_good(const struct hvtlfs_partition *partition, uint64_t lazy)
{
    uint64_t state = lazy & ~(uint64_t)LAZY_VECTOR;

    if (lazy == LAZY_IDLE) {
        return true;
    }
    return way_to_bit(partition) != HVTI_EOI_BIT_NONE &&
           (state == LAZY_ARMED || state == LAZY_ENDED);
}

void hvti_vapic_init(struct hvtlfs_vp *vp)
{
    const struct hvtlfs_partition *partition = vp->partition;

    vp->vapic.slot = hvti_overlay_slot(&partition->overlays, HVTLFS_OVERLAY_VP_ASSIST, vp->slot);
    vp->vapic.eoi_bit = way_to_bit(partition);
}

void hvti_vapic_reset(struct hvtlfs_vp *vp)
{
    if (vp->vapic.slot != HVTI_NO_SLOT) {
        hvti_lock(vp->partition);
        hvti_overlay_reset(vp->partition, vp->vapic.slot);
        hvti_unlock(vp->partition);
    }
    vp->vapic = (struct hvti_vapic){.slot = vp->vapic.slot, .eoi_bit = vp->vapic.eoi_bit};
}
