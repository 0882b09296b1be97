/* SPDX-License-Identifier: MIT */
/* The APIC by MSR, and the VP assist page. */
#ifndef HVTI_VAPIC_H
#define HVTI_VAPIC_H

#include <stdbool.h>
#include <stdint.h>

struct hvtlfs_partition;
struct hvtlfs_vp;

/* How the library gets at the bit that says "no EOI required". */
enum hvti_eoi_bit {
    HVTI_EOI_BIT_NONE,   /* not at all: no lazy EOI */
    HVTI_EOI_BIT_MAPPED, /* the host maps the page */
    HVTI_EOI_BIT_COPIED, /* the page's bytes are in the guest's memory */
};

struct hvti_vapic {
    /* Constant */
    uint32_t slot;    /* the page's; HVTI_NO_SLOT without the feature */
    uint32_t eoi_bit; /* enum hvti_eoi_bit */

    uint32_t lazy;        /* one of the states of vapic.c and, below them, a vector; atomic */
    uint64_t assist_page; /* the MSR */
};

void hvti_vapic_init(struct hvtlfs_vp *vp);

/* Processor reset. The host resets its APIC too, so nothing is ended. */
void hvti_vapic_reset(struct hvtlfs_vp *vp);

/* Write a byte of the assist page, if the guest has one in reach. */
void hvti_assist_page_set(struct hvtlfs_vp *vp, uint32_t offset, uint8_t byte);

/* Whether the state of lazy EOI can be this between two calls of a VP of the partition. */
bool hvti_lazy_eoi_is_good(const struct hvtlfs_partition *partition, uint64_t lazy);

#endif
