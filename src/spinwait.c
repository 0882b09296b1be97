/* SPDX-License-Identifier: MIT */
/* Guest spinlocks (TLFS 14.3.1, 14.5.1): the guest tells that it has been spinning for long. */
#include <hvtlfs/spinwait.h>

#include <hvtlfs/tlfs.h>

#include "state.h"

/* Written only where it changes something: 64 VPs share the word, and a VP that spins says so again and
 * again. Only reports about one VP touch its bit. */
static inline void add(uint64_t *banks, uint32_t vp_index)
{
    uint64_t bit = BIT64(vp_index % 64);

    if (!(hvti_load(&banks[vp_index / 64]) & bit)) {
        set_shared_bits(&banks[vp_index / 64], bit);
    }
}

static inline void take_away(uint64_t *banks, uint32_t vp_index)
{
    uint64_t bit = BIT64(vp_index % 64);

    if (hvti_load(&banks[vp_index / 64]) & bit) {
        clear_shared_bits(&banks[vp_index / 64], bit);
    }
}

/*
 * Advisory: it succeeds whatever it says (TLFS 14.5.1). The upper half of the input is RsvdZ, but a
 * failure would only make the guest spin on, so it is ignored.
 */
uint16_t hvti_notify_long_spin_wait(struct hvti_call *call)
{
    struct hvtlfs_vp *vp = call->vp;

    add(vp->partition->spinwait.spinning, vp->index);
    hvti_host_spin_wait(&vp->partition->host, vp->index, (uint32_t)call->header[0]);
    return HV_STATUS_SUCCESS;
}

/* ---- Whom to run ---- */

/* The preempted VPs of a bank that spin or do not, without the caller. */
static uint64_t candidates(const struct hvtlfs_yield_view *view, uint32_t bank, bool spinners)
{
    uint64_t spinning = hvti_load(&view->spinning[bank]);
    uint64_t word = hvti_load(&view->preempted[bank]) & (spinners ? spinning : ~spinning);

    return view->caller / 64 == bank ? word & ~BIT64(view->caller % 64) : word;
}

/* The first candidate from `start` on, around the end. */
static uint32_t first_from(const struct hvtlfs_yield_view *view, uint32_t start, bool spinners)
{
    uint64_t before = BIT64(start % 64) - 1; /* bits of the first bank that come last */
    uint32_t bank = start / 64;
    uint32_t i;

    for (i = 0; i <= view->bank_count; i++) {
        uint64_t word = candidates(view, bank, spinners);

        word &= i == 0 ? ~before : i == view->bank_count ? before : UINT64_MAX;
        if (word) {
            return bank * 64 + lowest_bit(word);
        }
        bank = bank + 1 < view->bank_count ? bank + 1 : 0;
    }
    return HVTLFS_NO_VP;
}

uint32_t hvtlfs_yield_advice(const struct hvtlfs_yield_view *view)
{
    uint32_t start = view->last == HVTLFS_NO_VP ? 0 : view->last + 1;
    uint32_t advice;

    if (!view->bank_count) {
        return HVTLFS_NO_VP;
    }
    if (start >= view->bank_count * 64) {
        start = 0;
    }
    advice = first_from(view, start, false);
    if (advice == HVTLFS_NO_VP && view->spins / 2 >= view->threshold) {
        advice = first_from(view, start, true);
    }
    return advice;
}

uint32_t hvtlfs_spin_wait_advice(struct hvtlfs_vp *vp, uint32_t spins)
{
    struct hvti_spinwait *known = &vp->partition->spinwait;
    const struct hvtlfs_yield_view view = {
        .caller = vp->index,
        .spins = spins,
        .threshold = vp->partition->cpuid.spin_count,
        .last = __atomic_load_n(&known->last, __ATOMIC_RELAXED) - 1,
        .bank_count = HVTI_VP_BANKS,
        .preempted = known->preempted,
        .spinning = known->spinning,
    };
    uint32_t advice = hvtlfs_yield_advice(&view);

    if (advice != HVTLFS_NO_VP) {
        __atomic_store_n(&known->last, advice + 1, __ATOMIC_RELAXED);
    }
    return advice;
}

/* ---- What the host reports ---- */

void hvtlfs_vp_preempted(struct hvtlfs_vp *vp)
{
    add(vp->partition->spinwait.preempted, vp->index);
}

void hvtlfs_vp_running(struct hvtlfs_vp *vp)
{
    take_away(vp->partition->spinwait.preempted, vp->index);
    take_away(vp->partition->spinwait.spinning, vp->index);
}

void hvti_spinwait_reset(struct hvtlfs_vp *vp)
{
    hvtlfs_vp_running(vp);
    __atomic_store_n(&vp->partition->spinwait.last, 0, __ATOMIC_RELAXED);
}
