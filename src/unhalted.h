/* SPDX-License-Identifier: MIT */
/* The time-unhalted timer. */
#ifndef HVTI_UNHALTED_H
#define HVTI_UNHALTED_H

#include <stdbool.h>
#include <stdint.h>

struct hvtlfs_vp;

struct hvti_unhalted {
    uint64_t config; /* the MSRs */
    uint64_t period;
    uint64_t due; /* VP run time of the next expiry, while it runs */
};

void hvti_unhalted_reset(struct hvtlfs_vp *vp);
void hvti_unhalted_poll(struct hvtlfs_vp *vp);

/* Whether the config MSR can have this value. */
bool hvti_unhalted_is_good(uint64_t config);

#endif
