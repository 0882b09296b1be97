/* SPDX-License-Identifier: MIT */
/*
 * The clock: reading it, stopping it, and letting it go on elsewhere. docs/REFTIME.md says why.
 *
 * Readers take no lock. A change makes `changes` odd, then samples and replaces the parameters, then
 * makes it even; a reader that met a change discards what it computed and reads again behind the
 * lock. So no reading that is kept was sampled after the change began: what the clock stops at is not
 * below anything it has told. That needs the store of the odd value to be visible before the change
 * samples: hence the full fence.
 */
#include "clock.h"

#include <hvtlfs/reftime.h>
#include <hvtlfs/time.h>
#include <hvtlfs/tlfs.h>

#include "mul.h"
#include "state.h"

/* ---- Reading ---- */

/* The TSC that all VPs share once their leads are taken away. */
static uint64_t partition_tsc(const struct hvtlfs_vp *vp)
{
    uint64_t tsc = hvti_host_guest_tsc(&vp->partition->host, vp->index);

    return tsc - load_guarded(&vp->clock.tsc_lead);
}

/* Of the host's clock every value is given once (TLFS 12.4: strictly monotonic over all VPs). */
static uint64_t give(struct hvti_clock *clock, uint64_t now)
{
    uint64_t given = load_shared(&clock->given);
    uint64_t expected, value;

    do {
        expected = given;
        value = now > expected ? now : expected;
        given = __sync_val_compare_and_swap(&clock->given, expected, value + 1);
    } while (given != expected);
    return value;
}

static uint64_t host_reading(struct hvtlfs_vp *vp, uint64_t offset, bool for_msr)
{
    struct hvti_clock *clock = &vp->partition->clock;
    uint64_t now = hvti_host_time(&vp->partition->host) + offset;
    uint64_t given;

    if (for_msr) {
        return give(clock, now);
    }
    given = __sync_val_compare_and_swap(&clock->given, 0, 0);
    return now < given ? given - 1 : now;
}

/* With the parameters as they are; to be believed only if they did not change meanwhile. */
static uint64_t reading(struct hvtlfs_vp *vp, bool for_msr)
{
    const struct hvti_clock *clock = &vp->partition->clock;
    uint32_t source = __atomic_load_n(&clock->source, __ATOMIC_ACQUIRE);
    uint64_t offset = load_guarded(&clock->offset);

    if (source == HVTI_CLOCK_TSC) {
        uint64_t scale = load_guarded(&clock->scale);

        return hvtlfs_reftime_from_tsc(partition_tsc(vp), scale, offset);
    }
    return source == HVTI_CLOCK_HOST ? host_reading(vp, offset, for_msr) : offset;
}

static uint64_t reading_behind_lock(struct hvtlfs_vp *vp, bool for_msr)
{
    uint64_t time;

    hvti_lock(vp->partition);
    time = reading(vp, for_msr);
    hvti_unlock(vp->partition);
    return time;
}

static uint64_t any_reading(struct hvtlfs_vp *vp, bool for_msr)
{
    const struct hvti_clock *clock = &vp->partition->clock;
    uint32_t before = __atomic_load_n(&clock->changes, __ATOMIC_ACQUIRE);
    uint64_t time;

    if (before & 1) {
        return reading_behind_lock(vp, for_msr);
    }
    time = reading(vp, for_msr);
    return __atomic_load_n(&clock->changes, __ATOMIC_SEQ_CST) == before
               ? time
               : reading_behind_lock(vp, for_msr);
}

/* The usual case, on the path of every read: the TSC serves and nothing changes. */
static inline bool tsc_reading(const struct hvtlfs_vp *vp, uint64_t *time)
{
    const struct hvti_clock *clock = &vp->partition->clock;
    uint32_t before = __atomic_load_n(&clock->changes, __ATOMIC_ACQUIRE);
    uint64_t tsc;

    if ((before & 1) || __atomic_load_n(&clock->source, __ATOMIC_ACQUIRE) != HVTI_CLOCK_TSC) {
        return false;
    }
    /* The TSC first: what is read after the callback need not be kept over it. */
    tsc = partition_tsc(vp);
    *time = mul_u64_hi(tsc, load_guarded(&clock->scale)) + load_guarded(&clock->offset);
    return __atomic_load_n(&clock->changes, __ATOMIC_SEQ_CST) == before;
}

uint64_t hvti_reference_time(struct hvtlfs_vp *vp)
{
    uint64_t time;

    return tsc_reading(vp, &time) ? time : any_reading(vp, false);
}

uint64_t hvtlfs_reference_time(struct hvtlfs_vp *vp)
{
    return hvti_reference_time(vp);
}

/* Reference time is rounded down, so what is left of it is rounded up: no timer is early by that. */
uint64_t hvtlfs_time_until(struct hvtlfs_vp *vp, uint64_t deadline)
{
    const uint64_t farthest = (UINT64_C(1) << 62) / 100;
    uint64_t now;

    if (deadline == HVTLFS_TIME_NEVER) {
        return HVTLFS_TIME_NEVER;
    }
    now = hvti_reference_time(vp);
    if (deadline <= now) {
        return 0;
    }
    return deadline - now <= farthest ? (deadline - now) * 100 : HVTLFS_TIME_NEVER;
}

bool hvti_time_frozen(const struct hvtlfs_partition *partition)
{
    return __atomic_load_n(&partition->clock.phase, __ATOMIC_ACQUIRE) != HVTI_CLOCK_RUNNING;
}

bool hvti_clock_not_set(const struct hvtlfs_partition *partition)
{
    return __atomic_load_n(&partition->clock.phase, __ATOMIC_RELAXED) == HVTI_CLOCK_NOT_SET;
}

/* ---- Changing: behind the lock ---- */

static void set32(uint32_t *word, uint32_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

static void begin_change(struct hvti_clock *clock)
{
    set32(&clock->changes, clock->changes + 1);
    __sync_synchronize();
}

static void end_change(struct hvti_clock *clock)
{
    set32(&clock->changes, clock->changes + 1);
}

static bool has_tsc(const struct hvtlfs_partition *partition)
{
    return partition->needs_met & BIT32(HVTI_NEED_TSC);
}

static bool has_host_time(const struct hvtlfs_partition *partition)
{
    return hvti_host_needs_met(&partition->host) & BIT32(HVTI_NEED_CLOCK);
}

static uint64_t anchor_tsc(const struct hvtlfs_partition *partition)
{
    return has_tsc(partition) ? partition_tsc(&partition->vps[0]) : 0;
}

/* Which clock serves a partition on a host with such a TSC. */
static enum hvti_clock_source choose_source(const struct hvtlfs_partition *partition,
                                            uint64_t tsc_hz, bool invariant)
{
    if (has_tsc(partition) && partition->clock.started_invariant && invariant &&
        tsc_hz > HVTLFS_REFTIME_HZ) {
        return HVTI_CLOCK_TSC;
    }
    return has_host_time(partition) ? HVTI_CLOCK_HOST : HVTI_CLOCK_STOPPED;
}

/* Where all VPs have the same lead it is no lead: the partition's TSC takes it over. */
static void settle_leads(struct hvtlfs_partition *partition)
{
    uint64_t lead = partition->vps[0].clock.tsc_lead;
    uint32_t slot;

    for (slot = 1; slot < partition->vp_count; slot++) {
        if (partition->vps[slot].clock.tsc_lead != lead) {
            partition->clock.unsynced = true;
            return;
        }
    }
    partition->clock.unsynced = false;
    if (lead) {
        for (slot = 0; slot < partition->vp_count; slot++) {
            store_guarded(&partition->vps[slot].clock.tsc_lead, 0);
        }
        hvti_reenlighten_shift(partition, lead);
    }
}

/* Between begin_change and end_change: time goes on from here, by whichever clock serves now. */
static void run_from(struct hvtlfs_partition *partition, uint64_t reference_time)
{
    struct hvti_clock *clock = &partition->clock;
    enum hvti_clock_source source = choose_source(partition, clock->tsc_hz, clock->invariant_tsc);
    uint64_t scale = 0;
    uint64_t offset = reference_time;

    if (source == HVTI_CLOCK_TSC) {
        (void)hvtlfs_reftime_scale(clock->tsc_hz, &scale); /* choose_source has looked */
        offset = hvtlfs_reftime_offset(reference_time, anchor_tsc(partition), scale);
    } else if (source == HVTI_CLOCK_HOST) {
        offset = reference_time - hvti_host_time(&partition->host);
        if (load_shared(&clock->given) < reference_time) {
            store_shared(&clock->given, reference_time);
        }
    }
    set32(&clock->source, source);
    store_guarded(&clock->scale, scale);
    store_guarded(&clock->offset, offset);
}

void hvti_clock_init(struct hvtlfs_partition *partition, const struct hvtlfs_config *config)
{
    struct hvti_clock *clock = &partition->clock;

    clock->started_invariant = config->invariant_tsc;
    clock->invariant_tsc = config->invariant_tsc;
    clock->tsc_hz = config->tsc_hz;
    clock->apic_hz = config->apic_hz;
    run_from(partition, 0);
    hvti_reenlighten_init(partition);
}

void hvti_clock_reset(struct hvtlfs_partition *partition)
{
    hvti_store(&partition->clock.invariant_control, 0);
}

/* ---- Stop, move, go on ---- */

enum hvtlfs_status hvtlfs_freeze(struct hvtlfs_partition *partition)
{
    struct hvti_clock *clock = &partition->clock;

    hvti_lock(partition);
    if (clock->phase != HVTI_CLOCK_RUNNING) {
        hvti_unlock(partition);
        return HVTLFS_ERR_ORDER;
    }
    /* First the page: what a guest still computed from it must not be later than where time stops. */
    hvti_tsc_page_withdraw(partition);
    begin_change(clock);
    store_guarded(&clock->offset, reading(&partition->vps[0], false));
    set32(&clock->source, HVTI_CLOCK_STOPPED);
    set32(&clock->phase, HVTI_CLOCK_FROZEN);
    clock->migrated = false;
    hvti_reenlighten_freeze(partition, anchor_tsc(partition));
    end_change(clock);
    hvti_unlock(partition);
    return HVTLFS_OK;
}

static enum hvtlfs_status set_time(struct hvti_clock *clock, uint64_t reference_time)
{
    if (clock->phase == HVTI_CLOCK_RUNNING) {
        return HVTLFS_ERR_ORDER;
    }
    if (reference_time < clock->offset) {
        return HVTLFS_ERR_ARGUMENT;
    }
    begin_change(clock);
    store_guarded(&clock->offset, reference_time);
    set32(&clock->phase, HVTI_CLOCK_NOT_SET);
    end_change(clock);
    return HVTLFS_OK;
}

enum hvtlfs_status hvtlfs_reference_time_set(struct hvtlfs_partition *partition,
                                             uint64_t reference_time)
{
    enum hvtlfs_status status;

    hvti_lock(partition);
    status = set_time(&partition->clock, reference_time);
    hvti_unlock(partition);
    return status;
}

static enum hvtlfs_status migrate(struct hvtlfs_partition *partition, uint64_t tsc_hz,
                                  bool invariant)
{
    struct hvti_clock *clock = &partition->clock;
    bool rate_told = hvti_has(partition, HVTLFS_FEATURE_FREQUENCIES) ||
                     hvti_has(partition, HVTLFS_FEATURE_REENLIGHTENMENT);

    if (clock->phase == HVTI_CLOCK_RUNNING) {
        return HVTLFS_ERR_ORDER;
    }
    if (!tsc_hz && rate_told) {
        return HVTLFS_ERR_TSC_RATE;
    }
    if (hvti_has(partition, HVTLFS_FEATURE_TIME_REF_COUNT) &&
        choose_source(partition, tsc_hz, invariant) == HVTI_CLOCK_STOPPED) {
        return HVTLFS_ERR_NO_CALLBACK;
    }
    hvti_store(&clock->tsc_hz, tsc_hz);
    clock->invariant_tsc = invariant;
    clock->migrated = true;
    return HVTLFS_OK;
}

enum hvtlfs_status hvtlfs_migrate(struct hvtlfs_partition *partition, uint64_t tsc_hz,
                                  bool invariant_tsc)
{
    enum hvtlfs_status status;

    hvti_lock(partition);
    status = migrate(partition, tsc_hz, invariant_tsc);
    hvti_unlock(partition);
    return status;
}

static enum hvtlfs_status thaw(struct hvtlfs_partition *partition, uint64_t pause,
                               struct hvti_reenlighten_work *work)
{
    struct hvti_clock *clock = &partition->clock;
    bool restored = hvti_clock_not_set(partition);

    if (clock->phase == HVTI_CLOCK_RUNNING) {
        return HVTLFS_ERR_ORDER;
    }
    if (pause > UINT64_MAX - clock->offset) {
        return HVTLFS_ERR_ARGUMENT;
    }
    begin_change(clock);
    settle_leads(partition);
    run_from(partition, clock->offset + pause);
    *work = hvti_reenlighten_thaw(partition, anchor_tsc(partition), clock->migrated, restored);
    set32(&clock->phase, HVTI_CLOCK_RUNNING);
    end_change(clock);
    hvti_tsc_page_update(partition);
    return HVTLFS_OK;
}

enum hvtlfs_status hvtlfs_thaw(struct hvtlfs_partition *partition, uint64_t pause)
{
    struct hvti_reenlighten_work work;
    enum hvtlfs_status status;

    hvti_lock(partition);
    status = thaw(partition, pause, &work);
    hvti_unlock(partition);
    if (!status) {
        hvti_reenlighten_do(partition, &work);
        hvti_stimers_time_changed(partition);
    }
    return status;
}

void hvtlfs_tsc_changed(struct hvtlfs_vp *vp, uint64_t ticks)
{
    struct hvtlfs_partition *partition = vp->partition;
    struct hvti_clock *clock = &partition->clock;
    uint64_t time;

    if (!ticks) {
        return;
    }
    hvti_lock(partition);
    hvti_tsc_page_withdraw(partition);
    begin_change(clock);
    store_guarded(&vp->clock.tsc_lead, vp->clock.tsc_lead + ticks);
    time = reading(vp, false);
    settle_leads(partition);
    if (clock->source == HVTI_CLOCK_TSC && !clock->unsynced) {
        run_from(partition, time);
    }
    end_change(clock);
    hvti_tsc_page_update(partition);
    hvti_unlock(partition);
}

void hvti_clock_restored(struct hvtlfs_partition *partition, uint64_t tsc_hz, bool invariant_tsc)
{
    struct hvti_clock *clock = &partition->clock;
    bool moved = clock->tsc_hz != tsc_hz || !clock->invariant_tsc != !invariant_tsc;

    begin_change(clock);
    set32(&clock->source, HVTI_CLOCK_STOPPED);
    set32(&clock->phase, HVTI_CLOCK_NOT_SET);
    clock->tsc_hz = tsc_hz;
    clock->invariant_tsc = invariant_tsc;
    clock->migrated |= moved;
    end_change(clock);
    /* Whatever the page says: nobody shall believe it before the clock is set. */
    partition->tsc_page.valid = hvti_has(partition, HVTLFS_FEATURE_REFERENCE_TSC);
    hvti_tsc_page_withdraw(partition);
}

/* ---- The MSRs ---- */

/* A guest that has the page does not come here often. */
static inline void count_read(struct hvtlfs_vp *vp)
{
    if (hvti_tsc_page_valid(&vp->partition->tsc_page)) {
        hvti_count(&vp->clock.msr_reads_valid);
    }
}

enum hvtlfs_msr_result hvti_time_ref_count_read(struct hvtlfs_vp *vp, uint32_t number,
                                                uint64_t *value)
{
    (void)number;
    count_read(vp);
    if (!tsc_reading(vp, value)) {
        *value = any_reading(vp, true);
    }
    return HVTLFS_MSR_DONE;
}

enum hvtlfs_msr_result hvti_tsc_frequency_read(struct hvtlfs_vp *vp, uint32_t number,
                                               uint64_t *value)
{
    (void)number;
    *value = hvti_load(&vp->partition->clock.tsc_hz);
    return HVTLFS_MSR_DONE;
}

enum hvtlfs_msr_result hvti_apic_frequency_read(struct hvtlfs_vp *vp, uint32_t number,
                                                uint64_t *value)
{
    (void)number;
    *value = vp->partition->clock.apic_hz;
    return HVTLFS_MSR_DONE;
}

enum hvtlfs_msr_result hvti_tsc_invariant_read(struct hvtlfs_vp *vp, uint32_t number,
                                               uint64_t *value)
{
    (void)number;
    *value = hvti_load(&vp->partition->clock.invariant_control);
    return HVTLFS_MSR_DONE;
}

/* Known from KVM and Linux only: bit 0 alone, and what was disclosed stays so. */
enum hvtlfs_msr_result hvti_tsc_invariant_write(struct hvtlfs_vp *vp, uint32_t number,
                                                uint64_t value)
{
    uint64_t *control = &vp->partition->clock.invariant_control;
    enum hvtlfs_msr_result result = HVTLFS_MSR_FAULT;

    (void)number;
    hvti_lock(vp->partition);
    if (value <= 1 && value >= *control) {
        hvti_store(control, value);
        result = HVTLFS_MSR_DONE;
    }
    hvti_unlock(vp->partition);
    return result;
}

bool hvti_invariant_tsc_hidden(const struct hvtlfs_partition *partition)
{
    return hvti_has(partition, HVTLFS_FEATURE_TSC_INVARIANT) &&
           !hvti_load(&partition->clock.invariant_control);
}

/* ---- Counters ---- */

#define COUNTERS_MIN (offsetof(struct hvtlfs_time_counters, page_sequence) + sizeof(uint64_t))

static void count_vps(const struct hvtlfs_partition *partition, struct hvtlfs_time_counters *sum)
{
    uint32_t slot;

    for (slot = 0; slot < partition->vp_count; slot++) {
        const struct hvtlfs_vp *vp = &partition->vps[slot];

        sum->msr_reads += hvti_load(&vp->counters.msrs[HVTI_MSR_COUNTER_TIME_REF_COUNT]);
        sum->msr_reads_page_valid += hvti_load(&vp->clock.msr_reads_valid);
    }
}

enum hvtlfs_status hvtlfs_read_time_counters(struct hvtlfs_partition *partition,
                                             struct hvtlfs_time_counters *counters)
{
    struct hvtlfs_time_counters all = {.size = sizeof(all)};

    if (counters->size < COUNTERS_MIN) {
        return HVTLFS_ERR_STRUCT_SIZE;
    }
    all.size = counters->size;
    count_vps(partition, &all);
    hvti_lock(partition);
    all.page_publications = partition->tsc_page.publications;
    all.page_sequence = partition->tsc_page.valid ? partition->tsc_page.sequence : 0;
    hvti_unlock(partition);
    memcpy(counters, &all, counters->size < sizeof(all) ? counters->size : sizeof(all));
    return HVTLFS_OK;
}
