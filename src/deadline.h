/* SPDX-License-Identifier: MIT */
/*
 * One deadline for each VP, wanted by several devices: the host is asked for the earliest, and only
 * when the earliest changes. Everything here runs on the VP's own thread (or while all are stopped).
 */
#ifndef HVTI_DEADLINE_H
#define HVTI_DEADLINE_H

#include <stdbool.h>
#include <stdint.h>

struct hvtlfs_vp;

/* Who may want one. A new user is a new line. */
enum hvti_deadline {
    HVTI_DEADLINE_STIMER0, /* the four synthetic timers, in a row */
    HVTI_DEADLINE_STIMER1,
    HVTI_DEADLINE_STIMER2,
    HVTI_DEADLINE_STIMER3,
    HVTI_DEADLINE_SYNIC,    /* a message that waits for its slot */
    HVTI_DEADLINE_UNHALTED, /* the time-unhalted timer */
    HVTI_DEADLINE_COUNT
};

struct hvti_deadlines {
    uint64_t at[HVTI_DEADLINE_COUNT]; /* reference time, HVTLFS_TIME_NEVER without */
    uint64_t armed;                   /* what the host was asked for last */
    bool polling;                     /* between begin and end: the host is asked at the end */
};

/* All without a deadline; the host is not told, since it has never been asked. */
void hvti_deadline_init(struct hvtlfs_vp *vp);

/* All without a deadline; the host is told if it has one. */
void hvti_deadline_reset(struct hvtlfs_vp *vp);

/* `which` wants hvtlfs_vp_poll() at reference time `time`, or no longer (HVTLFS_TIME_NEVER). It is
 * one-shot: whoever is polled sets the next one, or the same again if its time has not come. */
void hvti_deadline_set(struct hvtlfs_vp *vp, enum hvti_deadline which, uint64_t time);

/*
 * The frame of hvtlfs_vp_poll(): devices are polled between these two. The host may have come for its
 * deadline, even a little early by another clock than ours, and hold it for done. So at the end it is
 * asked again for what is wanted, or told that nothing is.
 */
void hvti_deadline_begin(struct hvtlfs_vp *vp);
void hvti_deadline_end(struct hvtlfs_vp *vp);

#endif
