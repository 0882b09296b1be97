/* SPDX-License-Identifier: MIT */
/* The APIC by MSR, and the VP assist page. */
#ifndef HVTI_VAPIC_H
#define HVTI_VAPIC_H

#include <stdint.h>

struct hvtlfs_vp;

struct hvti_vapic {
    uint64_t assist_page; /* the MSR */
    uint32_t slot;        /* the page's; constant */
    uint32_t lazy;        /* one of the states of vapic.c and, below them, a vector; atomic */
};

void hvti_vapic_init(struct hvtlfs_vp *vp);

/* Processor reset. The host resets its APIC too, so nothing is ended. */
void hvti_vapic_reset(struct hvtlfs_vp *vp);

/* Write a byte of the assist page, if the guest has one in reach. */
void hvti_assist_page_set(struct hvtlfs_vp *vp, uint32_t offset, uint8_t byte);

#endif
