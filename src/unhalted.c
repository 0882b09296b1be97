/* SPDX-License-Identifier: MIT */
/*
 * The time-unhalted timer (TLFS 12.6): periodic in the VP's run time, which stands still while the VP
 * halts. The host has deadlines in reference time only. Run time never gets ahead of it, so the
 * rest of the period from now on is the earliest moment; if the VP halted meanwhile, the poll at that
 * moment finds time left and asks again.
 */
#include "unhalted.h"

#include <hvtlfs/tlfs.h>

#include "state.h"

#define VECTOR_NMI 2u
#define VECTOR_FIRST 16u
#define FLAG_OFFSET                                                                                \
    ((uint32_t)offsetof(struct hv_vp_assist_page, synthetic_time_unhalted_timer_expired))

static uint32_t vector_of(uint64_t config)
{
    return (uint32_t)config & HV_MSR_STIME_UNHALTED_TIMER_CONFIG_VECTOR_MASK;
}

static bool runs(const struct hvti_unhalted *timer)
{
    return timer->config & HV_MSR_STIME_UNHALTED_TIMER_CONFIG_ENABLED && timer->period;
}

static uint64_t add_time(uint64_t a, uint64_t b)
{
    return a < HVTLFS_TIME_NEVER - b ? a + b : HVTLFS_TIME_NEVER;
}

static uint64_t runtime(const struct hvtlfs_vp *vp)
{
    return hvti_host_vp_runtime(&vp->partition->host, vp->index);
}

/* While reference time stands still nothing is awaited; the poll after it goes on asks again. */
static void await(struct hvtlfs_vp *vp, uint64_t now)
{
    uint64_t rest = vp->unhalted.due - now;
    uint64_t time = hvti_time_frozen(vp->partition) ? HVTLFS_TIME_NEVER
                                                    : add_time(hvti_reference_time(vp), rest);

    hvti_deadline_set(vp, HVTI_DEADLINE_UNHALTED, time);
}

static void restart(struct hvtlfs_vp *vp)
{
    uint64_t now;

    if (!runs(&vp->unhalted)) {
        hvti_deadline_set(vp, HVTI_DEADLINE_UNHALTED, HVTLFS_TIME_NEVER);
        return;
    }
    now = runtime(vp);
    vp->unhalted.due = add_time(now, vp->unhalted.period);
    await(vp, now);
}

static void expire(struct hvtlfs_vp *vp, uint64_t now)
{
    struct hvti_unhalted *timer = &vp->unhalted;
    uint64_t next = add_time(timer->due, timer->period);

    /* One interrupt for any number of periods that have been missed. */
    timer->due = next > now ? next : add_time(now, timer->period);
    hvti_assist_page_set(vp, FLAG_OFFSET, 1);
    if (vector_of(timer->config) == VECTOR_NMI) {
        hvti_host_nmi(&vp->partition->host, vp->index);
    } else {
        hvti_host_interrupt(&vp->partition->host, vp->index, vector_of(timer->config), false);
    }
}

void hvti_unhalted_poll(struct hvtlfs_vp *vp)
{
    uint64_t now;

    if (!runs(&vp->unhalted)) {
        return;
    }
    now = runtime(vp);
    if (now >= vp->unhalted.due && !hvti_time_frozen(vp->partition)) {
        expire(vp, now);
    }
    await(vp, now);
}

bool hvti_unhalted_is_good(uint64_t config)
{
    return !(config & HV_MSR_STIME_UNHALTED_TIMER_CONFIG_RSVD_Z_MASK) &&
           (!(config & HV_MSR_STIME_UNHALTED_TIMER_CONFIG_ENABLED) ||
            vector_of(config) == VECTOR_NMI || vector_of(config) >= VECTOR_FIRST);
}

enum hvtlfs_msr_result hvti_unhalted_config_read(struct hvtlfs_vp *vp, uint32_t number,
                                                 uint64_t *value)
{
    (void)number;
    *value = vp->unhalted.config;
    return HVTLFS_MSR_DONE;
}

/* A vector must be 2 or at least 16 (online edition); what happens otherwise is not said. As with a
 * synthetic timer that has nowhere to go (12.5.1), Enabled is cleared at once. */
enum hvtlfs_msr_result hvti_unhalted_config_write(struct hvtlfs_vp *vp, uint32_t number,
                                                  uint64_t value)
{
    (void)number;
    value &= ~HV_MSR_STIME_UNHALTED_TIMER_CONFIG_RSVD_Z_MASK;
    if (vector_of(value) != VECTOR_NMI && vector_of(value) < VECTOR_FIRST) {
        value &= ~(uint64_t)HV_MSR_STIME_UNHALTED_TIMER_CONFIG_ENABLED;
    }
    vp->unhalted.config = value;
    restart(vp);
    return HVTLFS_MSR_DONE;
}

enum hvtlfs_msr_result hvti_unhalted_count_read(struct hvtlfs_vp *vp, uint32_t number,
                                                uint64_t *value)
{
    (void)number;
    *value = vp->unhalted.period;
    return HVTLFS_MSR_DONE;
}

enum hvtlfs_msr_result hvti_unhalted_count_write(struct hvtlfs_vp *vp, uint32_t number,
                                                 uint64_t value)
{
    (void)number;
    vp->unhalted.period = value;
    restart(vp);
    return HVTLFS_MSR_DONE;
}

void hvti_unhalted_reset(struct hvtlfs_vp *vp)
{
    vp->unhalted = (struct hvti_unhalted){.config = 0};
}
