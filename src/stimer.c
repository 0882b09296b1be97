/* SPDX-License-Identifier: MIT */
#include "stimer.h"

#include <hvtlfs/tlfs.h>

#include "state.h"

/* A timer that is fewer periods behind than this catches up, otherwise it skips. */
#define CATCH_UP_SHIFT 2u /* 4 periods */

/* ---- Arithmetic (pure) ---- */

uint64_t hvti_time_after(uint64_t time, uint64_t span)
{
    return span > HVTLFS_TIME_NEVER - time ? HVTLFS_TIME_NEVER : time + span;
}

uint64_t hvti_remainder(uint64_t value, uint64_t unit)
{
    uint32_t shift;

    if (value < unit) {
        return value;
    }
    shift = (uint32_t)(__builtin_clzll(unit) - __builtin_clzll(value));
    for (unit <<= shift;; unit >>= 1) {
        if (value >= unit) {
            value -= unit;
        }
        if (!shift--) {
            return value;
        }
    }
}

/* The first time after `now` on the time line of `due`, which `now` has reached. */
static uint64_t next_after(uint64_t now, uint64_t due, uint64_t period)
{
    return hvti_time_after(now, period - hvti_remainder(now - due, period));
}

/*
 * TLFS 12.1.4: a timer that is late shortens its period until it has caught up; it may skip many. A
 * lazy one skips, and also the next tick when that is near. So, with no more work for a million
 * missed ticks than for one:
 *
 *   lazy       the first due time at least half a period away
 *   on time    the next due time
 *   < 4 late   half a period from now, until it has caught up: no tick is lost
 *   >= 4 late  the first due time after now: the ticks in between are lost
 *
 * A tick never fires before it is due, and due times stay multiples of the period from the start.
 */
void hvti_stimer_plan(uint64_t now, uint64_t period, bool lazy, uint64_t *due, uint64_t *fire)
{
    uint64_t half = period / 2 ? period / 2 : 1;
    bool late = now >= *due;

    if (late && !lazy && (now - *due) >> CATCH_UP_SHIFT < period) {
        *fire = hvti_time_after(now, half);
        return;
    }
    if (late) {
        *due = next_after(now, *due, period);
    }
    if (lazy && *due - now < half) {
        *due = hvti_time_after(*due, period);
    }
    *fire = *due;
}

/* ---- One timer ---- */

static uint32_t sintx(const struct hvti_stimer *timer)
{
    return (uint32_t)((timer->config & HV_MSR_STIMER_CONFIG_SINTX_MASK) >>
                      HV_MSR_STIMER_CONFIG_SINTX_SHIFT);
}

static uint32_t apic_vector(uint64_t config)
{
    return (uint32_t)((config & HV_MSR_STIMER_CONFIG_APIC_VECTOR_MASK) >>
                      HV_MSR_STIMER_CONFIG_APIC_VECTOR_SHIFT);
}

static bool is_periodic(const struct hvti_stimer *timer)
{
    return timer->config & HV_MSR_STIMER_CONFIG_PERIODIC;
}

static bool is_direct(const struct hvti_stimer *timer)
{
    return timer->config & HV_MSR_STIMER_CONFIG_DIRECT_MODE;
}

static void ask(struct hvtlfs_vp *vp, uint32_t index, uint64_t time)
{
    hvti_deadline_set(vp, (enum hvti_deadline)(HVTI_DEADLINE_STIMER0 + index), time);
}

/* Ask for the deadline of a timer, or none: not while the next tick waits for a message to get into
 * its slot, nor while time stands still. */
static void arm(struct hvtlfs_vp *vp, uint32_t index)
{
    const struct hvti_stimer *timer = &vp->stimer[index];
    bool wanted = timer->running && !timer->queued && !hvti_time_frozen(vp->partition);

    ask(vp, index, wanted ? timer->fire : HVTLFS_TIME_NEVER);
}

/* The next tick of a running timer after the one at hand. */
static void plan(struct hvti_stimer *timer, uint64_t now)
{
    if (timer->running) {
        hvti_stimer_plan(now, timer->count, timer->config & HV_MSR_STIMER_CONFIG_LAZY, &timer->due,
                         &timer->fire);
    }
}

/* Whatever the timer was about to do, it will not do. A message that has not reached its slot is
 * taken back (docs/CONFORMANCE.md). */
static void stop(struct hvtlfs_vp *vp, uint32_t index)
{
    struct hvti_stimer *timer = &vp->stimer[index];

    if (timer->queued) {
        hvti_synic_withdraw_timer(vp, index, sintx(timer));
    }
    timer->queued = 0;
    timer->running = 0;
    ask(vp, index, HVTLFS_TIME_NEVER);
}

static void send(struct hvtlfs_vp *vp, uint32_t index, uint64_t now)
{
    struct hvti_stimer *timer = &vp->stimer[index];

    if (is_direct(timer)) {
        plan(timer, now);
        arm(vp, index);
        hvti_host_interrupt(&vp->partition->host, vp->index, apic_vector(timer->config), false);
        return;
    }
    timer->queued = 1;
    arm(vp, index);
    hvti_synic_queue_timer(vp, index, sintx(timer));
}

/* The time has come (TLFS 12.1.3, 12.1.4). A one-shot timer is disabled by it. */
static void expire(struct hvtlfs_vp *vp, uint32_t index, uint64_t now)
{
    struct hvti_stimer *timer = &vp->stimer[index];

    hvti_count(&vp->counters.tallies[HVTI_TALLY_timer_ticks]);
    timer->expired = timer->due;
    if (is_periodic(timer)) {
        timer->due = hvti_time_after(timer->due, timer->count);
    } else {
        timer->running = 0;
        timer->config &= ~(uint64_t)HV_MSR_STIMER_CONFIG_ENABLE;
    }
    send(vp, index, now);
}

static bool is_time(const struct hvtlfs_vp *vp, uint32_t index, uint64_t now)
{
    const struct hvti_stimer *timer = &vp->stimer[index];

    return timer->running && !timer->queued && !hvti_time_frozen(vp->partition) &&
           now >= timer->fire;
}

/* Nothing expires early, whenever the host calls (TLFS 12.1.1). Times are unsigned: a one-shot timer
 * for a time beyond 2^63 is not in the past. */
static void check(struct hvtlfs_vp *vp, uint32_t index, uint64_t now)
{
    if (is_time(vp, index, now)) {
        expire(vp, index, now);
    } else {
        arm(vp, index);
    }
}

static void start(struct hvtlfs_vp *vp, uint32_t index)
{
    struct hvti_stimer *timer = &vp->stimer[index];
    uint64_t now;

    if (!(timer->config & HV_MSR_STIMER_CONFIG_ENABLE) || !timer->count) {
        return;
    }
    now = hvti_reference_time(vp);
    timer->due = is_periodic(timer) ? hvti_time_after(now, timer->count) : timer->count;
    timer->fire = timer->due;
    timer->running = 1;
    check(vp, index, now);
}

/* ---- The message ---- */

void hvti_stimer_message(struct hvtlfs_vp *vp, uint32_t timer,
                         struct hv_timer_message_payload *payload)
{
    *payload = (struct hv_timer_message_payload){
        .timer_index = guest32(timer),
        .expiration_time = guest64(vp->stimer[timer].expired),
        .delivery_time = guest64(hvti_reference_time(vp)),
    };
}

void hvti_stimer_delivered(struct hvtlfs_vp *vp, uint32_t timer)
{
    vp->stimer[timer].queued = 0;
    plan(&vp->stimer[timer], hvti_reference_time(vp));
    arm(vp, timer);
}

/* ---- The four of a VP ---- */

/* The library is called as late as the host's timer rings, or later. */
static void count_lateness(struct hvtlfs_vp *vp, uint64_t late)
{
    hvti_count_more(&vp->counters.tallies[HVTI_TALLY_timer_lateness], late);
    hvti_count_most(&vp->counters.tallies[HVTI_TALLY_timer_lateness_most], late);
}

void hvti_stimers_poll(struct hvtlfs_vp *vp)
{
    uint64_t now;
    uint32_t index;

    if (!hvti_has(vp->partition, HVTLFS_FEATURE_STIMER)) {
        return;
    }
    now = hvti_reference_time(vp);
    for (index = 0; index < ARRAY_LEN(vp->stimer); index++) {
        if (is_time(vp, index, now)) {
            count_lateness(vp, now - vp->stimer[index].due);
        }
        check(vp, index, now);
    }
}

void hvti_stimers_reset(struct hvtlfs_vp *vp)
{
    uint32_t index;

    for (index = 0; index < ARRAY_LEN(vp->stimer); index++) {
        stop(vp, index);
        vp->stimer[index] = (struct hvti_stimer){.config = 0};
    }
}

/* Each VP does it on its own thread: hvti_stimers_poll() arms what is running, and hvti_synic_poll()
 * delivers what a saved state brought, which nobody has asked a kick for. */
void hvti_stimers_time_changed(struct hvtlfs_partition *partition)
{
    uint32_t slot;

    if (!hvti_has(partition, HVTLFS_FEATURE_STIMER) && !hvti_has(partition, HVTLFS_FEATURE_SYNIC)) {
        return;
    }
    for (slot = 0; slot < partition->vp_count; slot++) {
        hvti_host_kick(&partition->host, partition->vps[slot].index);
    }
}

/* ---- Registers ---- */

static uint32_t timer_of(uint32_t number)
{
    return (number - HV_X64_MSR_STIMER0_CONFIG) / 2;
}

/*
 * What becomes of a written configuration. RsvdZ bits read back as 0; DirectMode is one of them
 * without the feature. TLFS 12.5.1: no Enable for a message to SINT 0; and none for a direct vector
 * that no APIC accepts (docs/CONFORMANCE.md).
 */
static uint64_t valid_config(const struct hvtlfs_partition *partition, uint64_t config)
{
    config &= ~HV_MSR_STIMER_CONFIG_RSVD_Z_MASK;
    if (!hvti_has(partition, HVTLFS_FEATURE_STIMER_DIRECT)) {
        config &= ~(uint64_t)HV_MSR_STIMER_CONFIG_DIRECT_MODE;
    }
    if (config & HV_MSR_STIMER_CONFIG_DIRECT_MODE ? apic_vector(config) < HV_SYNIC_SINT_VECTOR_FIRST
                                                  : !(config & HV_MSR_STIMER_CONFIG_SINTX_MASK)) {
        config &= ~(uint64_t)HV_MSR_STIMER_CONFIG_ENABLE;
    }
    return config;
}

enum hvtlfs_msr_result hvti_stimer_config_read(struct hvtlfs_vp *vp, uint32_t number,
                                               uint64_t *value)
{
    *value = vp->stimer[timer_of(number)].config;
    return HVTLFS_MSR_DONE;
}

enum hvtlfs_msr_result hvti_stimer_config_write(struct hvtlfs_vp *vp, uint32_t number,
                                                uint64_t value)
{
    uint32_t index = timer_of(number);

    stop(vp, index);
    vp->stimer[index].config = valid_config(vp->partition, value);
    start(vp, index);
    return HVTLFS_MSR_DONE;
}

enum hvtlfs_msr_result hvti_stimer_count_read(struct hvtlfs_vp *vp, uint32_t number,
                                              uint64_t *value)
{
    *value = vp->stimer[timer_of(number)].count;
    return HVTLFS_MSR_DONE;
}

/* TLFS 12.5.2: 0 stops the timer and disables it, which FreeBSD waits for; anything else enables it
 * where AutoEnable is set. */
enum hvtlfs_msr_result hvti_stimer_count_write(struct hvtlfs_vp *vp, uint32_t number,
                                               uint64_t value)
{
    uint32_t index = timer_of(number);
    struct hvti_stimer *timer = &vp->stimer[index];

    stop(vp, index);
    timer->count = value;
    if (!value) {
        timer->config &= ~(uint64_t)HV_MSR_STIMER_CONFIG_ENABLE;
    } else if (timer->config & HV_MSR_STIMER_CONFIG_AUTO_ENABLE) {
        timer->config = valid_config(vp->partition, timer->config | HV_MSR_STIMER_CONFIG_ENABLE);
    }
    start(vp, index);
    return HVTLFS_MSR_DONE;
}

/* ---- Saved state ---- */

bool hvti_stimer_is_good(const struct hvtlfs_partition *partition, uint64_t config)
{
    return valid_config(partition, config) == config;
}

bool hvti_stimer_waits(const struct hvtlfs_vp *vp, uint32_t timer, uint32_t sint)
{
    uint64_t config = vp->stimer[timer].config;

    return vp->stimer[timer].queued && !(config & HV_MSR_STIMER_CONFIG_DIRECT_MODE) &&
           (config & HV_MSR_STIMER_CONFIG_SINTX_MASK) >> HV_MSR_STIMER_CONFIG_SINTX_SHIFT == sint;
}

void hvti_stimer_restored(struct hvtlfs_vp *vp, uint32_t timer, bool waits)
{
    struct hvti_stimer *state = &vp->stimer[timer];

    state->queued = waits;
    state->running = state->running && state->count;
}
