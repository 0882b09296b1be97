/* SPDX-License-Identifier: MIT */
/*
 * Reenlightenment (TLFS 16.6). A guest that runs guests of its own has told them the TSC's rate. After
 * a migration to another rate it gets an interrupt, and until it has stopped its guests and told them
 * the new rate, the host lets the TSC go on at the old one.
 */
#include "reenlighten.h"

#include <hvtlfs/reftime.h>
#include <hvtlfs/time.h>
#include <hvtlfs/tlfs.h>

#include "state.h"

static bool in_progress(const struct hvti_reenlighten *state)
{
    return __atomic_load_n(&state->in_progress, __ATOMIC_ACQUIRE);
}

/* ---- The TSC that the guest sees ---- */

/* Before `origin`, where a VP's TSC is a little behind that of the first, the same line goes down. */
static uint64_t emulated(const struct hvti_reenlighten *state, uint64_t tsc)
{
    uint64_t known_hz = load_guarded(&state->known_hz);
    uint64_t real_hz = load_guarded(&state->real_hz);
    uint64_t base = load_guarded(&state->base);
    uint64_t ticks = tsc - load_guarded(&state->origin);

    if (ticks >> 63) {
        return base - hvtlfs_tsc_convert(0 - ticks, real_hz, known_hz);
    }
    return base + hvtlfs_tsc_convert(ticks, real_hz, known_hz);
}

uint64_t hvtlfs_tsc_emulated(struct hvtlfs_vp *vp, uint64_t tsc)
{
    const struct hvti_reenlighten *state = &vp->partition->reenlighten;
    uint64_t lead;

    if (!in_progress(state)) {
        return tsc;
    }
    lead = load_guarded(&vp->clock.tsc_lead);
    return emulated(state, tsc - lead) + lead;
}

bool hvtlfs_tsc_emulation_in_force(const struct hvtlfs_partition *partition)
{
    return in_progress(&partition->reenlighten);
}

/* ---- Life of the partition ---- */

void hvti_reenlighten_init(struct hvtlfs_partition *partition)
{
    struct hvti_reenlighten *state = &partition->reenlighten;

    state->known_hz = partition->clock.tsc_hz;
    state->real_hz = partition->clock.tsc_hz;
}

void hvti_reenlighten_freeze(struct hvtlfs_partition *partition, uint64_t tsc)
{
    struct hvti_reenlighten *state = &partition->reenlighten;

    /* From now on: the line through where the guest stopped. A pause alone leaves it the same line. */
    store_guarded(&state->base, in_progress(state) ? emulated(state, tsc) : tsc);
    store_guarded(&state->origin, tsc);
}

void hvti_reenlighten_shift(struct hvtlfs_partition *partition, uint64_t ticks)
{
    struct hvti_reenlighten *state = &partition->reenlighten;

    store_guarded(&state->base, state->base + ticks);
    store_guarded(&state->origin, state->origin + ticks);
}

/* The guest has to be shielded from a rate that it does not know. */
static bool must_emulate(const struct hvtlfs_partition *partition)
{
    const struct hvti_reenlighten *state = &partition->reenlighten;

    return in_progress(state) ||
           ((state->emulation_control & HV_MSR_TSC_EMULATION_CONTROL_ENABLED) &&
            state->known_hz != partition->clock.tsc_hz);
}

static void learn_rate(struct hvtlfs_partition *partition)
{
    store_guarded(&partition->reenlighten.known_hz, partition->clock.tsc_hz);
}

struct hvti_reenlighten_work hvti_reenlighten_thaw(struct hvtlfs_partition *partition, uint64_t tsc,
                                                   bool migrated, bool restored)
{
    struct hvti_reenlighten *state = &partition->reenlighten;
    struct hvti_reenlighten_work work = {.control = state->control};

    if (migrated) {
        bool emulate = must_emulate(partition);

        store_guarded(&state->origin, tsc);
        store_guarded(&state->real_hz, partition->clock.tsc_hz);
        __atomic_store_n(&state->in_progress, emulate, __ATOMIC_RELEASE);
        if (!emulate) {
            learn_rate(partition);
        }
        work.interrupt = state->control & HV_MSR_REENLIGHTENMENT_CONTROL_ENABLED;
    }
    work.emulate = state->in_progress && (migrated || restored);
    return work;
}

void hvti_reenlighten_do(struct hvtlfs_partition *partition,
                         const struct hvti_reenlighten_work *work)
{
    /* In this order: the guest's handler must find emulation in force. */
    if (work->emulate) {
        hvti_host_tsc_emulation(&partition->host, true);
    }
    if (work->interrupt) {
        hvti_host_interrupt(
            &partition->host,
            (uint32_t)(work->control >> HV_MSR_REENLIGHTENMENT_CONTROL_TARGET_VP_SHIFT),
            work->control & HV_MSR_REENLIGHTENMENT_CONTROL_VECTOR_MASK, false);
    }
}

bool hvti_reenlighten_reset(struct hvtlfs_partition *partition)
{
    struct hvti_reenlighten *state = &partition->reenlighten;
    bool emulating = state->in_progress;

    hvti_store(&state->control, 0);
    hvti_store(&state->emulation_control, 0);
    __atomic_store_n(&state->in_progress, false, __ATOMIC_RELEASE);
    learn_rate(partition);
    return emulating;
}

/* ---- The MSRs ---- */

enum hvtlfs_msr_result hvti_reenlightenment_read(struct hvtlfs_vp *vp, uint32_t number,
                                                 uint64_t *value)
{
    (void)number;
    *value = hvti_load(&vp->partition->reenlighten.control);
    return HVTLFS_MSR_DONE;
}

/* TLFS 16.6.1: a fixed interrupt to one VP. Vectors below 16 cannot be fixed interrupts. */
bool hvti_reenlightenment_is_good(const struct hvtlfs_partition *partition, uint64_t value)
{
    uint64_t target = value >> HV_MSR_REENLIGHTENMENT_CONTROL_TARGET_VP_SHIFT;

    if (value & HV_MSR_REENLIGHTENMENT_CONTROL_RSVD_Z_MASK) {
        return false;
    }
    return !(value & HV_MSR_REENLIGHTENMENT_CONTROL_ENABLED) ||
           ((value & HV_MSR_REENLIGHTENMENT_CONTROL_VECTOR_MASK) >= 16 &&
            hvti_vp_by_index(partition, (uint32_t)target));
}

enum hvtlfs_msr_result hvti_reenlightenment_write(struct hvtlfs_vp *vp, uint32_t number,
                                                  uint64_t value)
{
    struct hvtlfs_partition *partition = vp->partition;

    (void)number;
    if (!hvti_reenlightenment_is_good(partition, value)) {
        return HVTLFS_MSR_FAULT;
    }
    hvti_lock(partition);
    hvti_store(&partition->reenlighten.control, value);
    hvti_unlock(partition);
    return HVTLFS_MSR_DONE;
}

enum hvtlfs_msr_result hvti_tsc_emulation_control_read(struct hvtlfs_vp *vp, uint32_t number,
                                                       uint64_t *value)
{
    (void)number;
    *value = hvti_load(&vp->partition->reenlighten.emulation_control);
    return HVTLFS_MSR_DONE;
}

/* Decides what the next migration does; emulation already in force ends through the status alone. */
enum hvtlfs_msr_result hvti_tsc_emulation_control_write(struct hvtlfs_vp *vp, uint32_t number,
                                                        uint64_t value)
{
    struct hvtlfs_partition *partition = vp->partition;

    (void)number;
    if (value & HV_MSR_TSC_EMULATION_CONTROL_RSVD_Z_MASK) {
        return HVTLFS_MSR_FAULT;
    }
    hvti_lock(partition);
    hvti_store(&partition->reenlighten.emulation_control, value);
    hvti_unlock(partition);
    return HVTLFS_MSR_DONE;
}

enum hvtlfs_msr_result hvti_tsc_emulation_status_read(struct hvtlfs_vp *vp, uint32_t number,
                                                      uint64_t *value)
{
    (void)number;
    *value = in_progress(&vp->partition->reenlighten) ? HV_MSR_TSC_EMULATION_STATUS_IN_PROGRESS : 0;
    return HVTLFS_MSR_DONE;
}

/* TLFS 16.6.2: writing InProgress = 0 ends emulation. Setting it begins nothing; the rest is RsvdP. */
enum hvtlfs_msr_result hvti_tsc_emulation_status_write(struct hvtlfs_vp *vp, uint32_t number,
                                                       uint64_t value)
{
    struct hvtlfs_partition *partition = vp->partition;
    bool ends;

    (void)number;
    hvti_lock(partition);
    ends = partition->reenlighten.in_progress && !(value & HV_MSR_TSC_EMULATION_STATUS_IN_PROGRESS);
    if (ends) {
        __atomic_store_n(&partition->reenlighten.in_progress, false, __ATOMIC_RELEASE);
        learn_rate(partition);
        hvti_tsc_page_update(partition);
    }
    hvti_unlock(partition);
    if (ends) {
        hvti_host_tsc_emulation(&partition->host, false);
    }
    return HVTLFS_MSR_DONE;
}
