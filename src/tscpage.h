/* SPDX-License-Identifier: MIT */
/* The reference TSC page (TLFS 12.7): where the guest wants it, and what it says. */
#ifndef HVTI_TSCPAGE_H
#define HVTI_TSCPAGE_H

#include "util.h"

struct hvtlfs_partition;

struct hvti_tsc_page {
    uint64_t msr;          /* HV_X64_MSR_REFERENCE_TSC, read without the lock */
    uint32_t valid;        /* the page shows `sequence`, not 0; read without the lock */
    uint32_t sequence;     /* the last one published; the page itself is never believed */
    uint32_t write_failed; /* the host refused the content */
    uint64_t scale;        /* what the page shows while valid */
    uint64_t offset;
    uint64_t publications;
};

/* Make the page invalid: before the clock changes. Returns after every later read sees it. Lock. */
void hvti_tsc_page_withdraw(struct hvtlfs_partition *partition);

/* Make the page say what the clock now does: valid, with its parameters, or invalid. Lock. */
void hvti_tsc_page_update(struct hvtlfs_partition *partition);

void hvti_tsc_page_reset(struct hvtlfs_partition *partition);

static inline bool hvti_tsc_page_valid(const struct hvti_tsc_page *page)
{
    return __atomic_load_n(&page->valid, __ATOMIC_RELAXED);
}

#endif
