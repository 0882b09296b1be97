/* SPDX-License-Identifier: MIT */
#include "deadline.h"

#include "state.h"

static uint64_t earliest(const struct hvti_deadlines *deadlines)
{
    uint64_t time = HVTLFS_TIME_NEVER;
    uint32_t i;

    for (i = 0; i < HVTI_DEADLINE_COUNT; i++) {
        time = deadlines->at[i] < time ? deadlines->at[i] : time;
    }
    return time;
}

/* Ask the host for the earliest deadline, unless that is what it has. */
static void arm(struct hvtlfs_vp *vp)
{
    uint64_t time = earliest(&vp->deadlines);

    if (time != vp->deadlines.armed) {
        vp->deadlines.armed = time;
        hvti_host_arm_deadline(&vp->partition->host, vp->index, time);
    }
}

static void forget_all(struct hvti_deadlines *deadlines)
{
    uint32_t i;

    for (i = 0; i < HVTI_DEADLINE_COUNT; i++) {
        deadlines->at[i] = HVTLFS_TIME_NEVER;
    }
}

void hvti_deadline_init(struct hvtlfs_vp *vp)
{
    forget_all(&vp->deadlines);
    vp->deadlines.armed = HVTLFS_TIME_NEVER;
    vp->deadlines.polling = false;
}

void hvti_deadline_reset(struct hvtlfs_vp *vp)
{
    forget_all(&vp->deadlines);
    vp->deadlines.polling = false;
    arm(vp);
}

void hvti_deadline_set(struct hvtlfs_vp *vp, enum hvti_deadline which, uint64_t time)
{
    vp->deadlines.at[which] = time;
    if (!vp->deadlines.polling) {
        arm(vp);
    }
}

void hvti_deadline_begin(struct hvtlfs_vp *vp)
{
    vp->deadlines.polling = true;
}

void hvti_deadline_end(struct hvtlfs_vp *vp)
{
    struct hvti_deadlines *deadlines = &vp->deadlines;

    deadlines->polling = false;
    if (deadlines->armed != HVTLFS_TIME_NEVER || earliest(deadlines) != HVTLFS_TIME_NEVER) {
        deadlines->armed = earliest(deadlines);
        hvti_host_arm_deadline(&vp->partition->host, vp->index, deadlines->armed);
    }
}
