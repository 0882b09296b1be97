/* SPDX-License-Identifier: MIT */
/* Who spins and who was preempted. */
#ifndef HVTI_SPINWAIT_H
#define HVTI_SPINWAIT_H

#include <stdint.h>

#include <hvtlfs/partition.h>

#define HVTI_VP_BANKS (HVTLFS_MAX_VPS / 64)

/* All atomic: any thread reports, any thread asks. */
struct hvti_spinwait {
    uint64_t preempted[HVTI_VP_BANKS];
    uint64_t spinning[HVTI_VP_BANKS];
    uint32_t last; /* whom the last advice named, + 1; 0 = nobody */
};

/* Processor reset. */
void hvti_spinwait_reset(struct hvtlfs_vp *vp);

#endif
