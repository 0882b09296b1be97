/* SPDX-License-Identifier: MIT */
/* Reenlightenment (TLFS 16.6): the guest hears of a new TSC rate, and until then keeps the old one. */
#ifndef HVTI_REENLIGHTEN_H
#define HVTI_REENLIGHTEN_H

#include "util.h"

struct hvtlfs_partition;

struct hvti_reenlighten {
    /* Behind the lock, read without it */
    uint64_t control;           /* HV_X64_MSR_REENLIGHTENMENT_CONTROL */
    uint64_t emulation_control; /* HV_X64_MSR_TSC_EMULATION_CONTROL */
    uint32_t in_progress;       /* HV_X64_MSR_TSC_EMULATION_STATUS */

    /* Change while no VP runs, or under the lock. The guest's TSC is
       base + (tsc - origin) * known_hz / real_hz while emulated. */
    uint64_t known_hz; /* the rate the guest last learnt */
    uint64_t real_hz;
    uint64_t base;
    uint64_t origin;
};

/* What is left to do after a thaw, without the lock. */
struct hvti_reenlighten_work {
    bool emulate;   /* tell the host */
    bool interrupt; /* tell the guest: vector and VP as in `control` */
    uint64_t control;
};

void hvti_reenlighten_init(struct hvtlfs_partition *partition);

/* The partition's TSC stops at `tsc` and, elsewhere, goes on from `tsc`. Lock. */
void hvti_reenlighten_freeze(struct hvtlfs_partition *partition, uint64_t tsc);
struct hvti_reenlighten_work hvti_reenlighten_thaw(struct hvtlfs_partition *partition, uint64_t tsc,
                                                   bool migrated, bool restored);
void hvti_reenlighten_do(struct hvtlfs_partition *partition,
                         const struct hvti_reenlighten_work *work);

/* Whether REENLIGHTENMENT_CONTROL may have this value (TLFS 16.6.1). */
bool hvti_reenlightenment_is_good(const struct hvtlfs_partition *partition, uint64_t value);

/* All VPs' TSCs were moved by `ticks`. Lock. */
void hvti_reenlighten_shift(struct hvtlfs_partition *partition, uint64_t ticks);

/* Back to the state after init; true if the host has to stop emulating. Lock. */
bool hvti_reenlighten_reset(struct hvtlfs_partition *partition);

#endif
