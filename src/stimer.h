/* SPDX-License-Identifier: MIT */
/*
 * The synthetic timers (TLFS 12.5): four for each VP, all on the VP's own thread.
 */
#ifndef HVTI_STIMER_H
#define HVTI_STIMER_H

#include <stdbool.h>
#include <stdint.h>

struct hvtlfs_partition;
struct hvtlfs_vp;

struct hvti_stimer {
    uint64_t config;  /* HV_X64_MSR_STIMERx_CONFIG, reserved bits 0 */
    uint64_t count;   /* HV_X64_MSR_STIMERx_COUNT */
    uint64_t due;     /* when the next tick is due by the timer's own time line */
    uint64_t fire;    /* when it is to be given: at `due` or, catching up, later */
    uint64_t expired; /* when the tick whose message waits was due */
    uint32_t running; /* there is a next tick */
    uint32_t queued;  /* a message waits for its slot; the next tick is timed when it is there */
};

/* The state after creation and processor reset. */
void hvti_stimers_reset(struct hvtlfs_vp *vp);

/* Give the ticks whose time has come and ask for the next deadline. */
void hvti_stimers_poll(struct hvtlfs_vp *vp);

/* The message of a tick: make it, at the moment it goes into the slot; and it is there. */
struct hv_timer_message_payload;
void hvti_stimer_message(struct hvtlfs_vp *vp, uint32_t timer,
                         struct hv_timer_message_payload *payload);
void hvti_stimer_delivered(struct hvtlfs_vp *vp, uint32_t timer);

/* Reference time goes on, maybe by another clock: have every VP ask for its deadline again. Any
 * thread. */
void hvti_stimers_time_changed(struct hvtlfs_partition *partition);

/* `time` plus `span`, or HVTLFS_TIME_NEVER where that is beyond all time. Pure. */
uint64_t hvti_time_after(uint64_t time, uint64_t span);

/* `value` modulo `unit`, which is not 0, without a division. Pure; at most 64 steps. */
uint64_t hvti_remainder(uint64_t value, uint64_t unit);

/*
 * The policy for missed ticks. A periodic timer's next tick is due at `*due` and `now` it is seen to
 * be late or on time: sets when it fires and, where ticks are skipped, the new due time. Pure.
 */
void hvti_stimer_plan(uint64_t now, uint64_t period, bool lazy, uint64_t *due, uint64_t *fire);

/* ---- Saved state ---- */

/* Whether a config register can have this value, and whether the timer's message waits at a SINT. */
bool hvti_stimer_is_good(const struct hvtlfs_partition *partition, uint64_t config);
bool hvti_stimer_waits(const struct hvtlfs_vp *vp, uint32_t timer, uint32_t sint);

/* The numbers are there, and `waits` says whether the message is: make them agree. */
void hvti_stimer_restored(struct hvtlfs_vp *vp, uint32_t timer, bool waits);

#endif
