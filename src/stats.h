/* SPDX-License-Identifier: MIT */
/* Statistics pages. */
#ifndef HVTI_STATS_H
#define HVTI_STATS_H

#include <stdint.h>

#define HVTI_STATS_PAGES 4u

struct hvtlfs_vp;

struct hvti_stats {
    uint64_t page[HVTI_STATS_PAGES]; /* the MSRs, 0x400000E0 on */
};

void hvti_stats_reset(struct hvtlfs_vp *vp);

/* The MSRs and pages were set from a saved state: the host does not know yet that they are shown. */
void hvti_stats_restored(struct hvtlfs_vp *vp);

#endif
