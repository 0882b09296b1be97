/* SPDX-License-Identifier: MIT */
/* MSRs that are little more than a request to the host. */
#ifndef HVTI_REQUESTS_H
#define HVTI_REQUESTS_H

#include <stdint.h>

struct hvtlfs_vp;

struct hvti_requests {
    uint32_t npiep; /* the MSR */
};

void hvti_requests_reset(struct hvtlfs_vp *vp);

/* The MSR was set from a saved state: the host does not know yet. */
void hvti_requests_restored(struct hvtlfs_vp *vp);

#endif
