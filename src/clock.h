/* SPDX-License-Identifier: MIT */
/*
 * The partition's one clock (TLFS 12.4): TIME_REF_COUNT, the reference TSC page and all timers read
 * it. It runs from the guest's TSC by the page's own formula wherever the page could be valid, from
 * the host's clock otherwise, and stands still while the partition is frozen.
 */
#ifndef HVTI_CLOCK_H
#define HVTI_CLOCK_H

#include "util.h"

struct hvtlfs_config;
struct hvtlfs_partition;
struct hvtlfs_vp;

enum hvti_clock_source {
    HVTI_CLOCK_STOPPED, /* reference time = offset */
    HVTI_CLOCK_TSC,     /* reference time = high64(tsc * scale) + offset */
    HVTI_CLOCK_HOST,    /* reference time = host time + offset */
};

enum hvti_clock_phase {
    HVTI_CLOCK_RUNNING,
    HVTI_CLOCK_FROZEN,
    HVTI_CLOCK_NOT_SET, /* frozen, with a reference time that came from elsewhere */
};

struct hvti_clock {
    /* Constant for the partition's life, saved with it */
    uint32_t started_invariant; /* the guest began life with an invariant TSC */
    uint64_t apic_hz;

    /* Behind the lock; rate and phase are also read without it */
    uint64_t tsc_hz;
    uint32_t invariant_tsc;
    uint32_t phase;             /* enum hvti_clock_phase */
    uint32_t migrated;          /* hvtlfs_migrate() was called while frozen */
    uint32_t unsynced;          /* the VPs' tsc_leads differ */
    uint64_t invariant_control; /* HV_X64_MSR_TSC_INVARIANT_CONTROL */

    /* Read without the lock; `changes` is odd while the others change */
    uint32_t changes;
    uint32_t source; /* enum hvti_clock_source */
    uint64_t scale;
    uint64_t offset;
    uint64_t given; /* no MSR read from the host's clock has given this value yet, or a later one */
};

struct hvti_vp_clock {
    uint64_t tsc_lead; /* ticks by which this VP's TSC is ahead of the partition's, mod 2^64 */
    uint64_t
        msr_reads_valid; /* reads of TIME_REF_COUNT while the page was valid; the VP's thread */
};

/*
 * Reference time now, in 100 ns, as `vp` sees it: never before anything that any VP was told. Any
 * thread, without the lock, unless the clock is being changed: then it waits for the lock. May be
 * called with the lock held.
 */
uint64_t hvti_reference_time(struct hvtlfs_vp *vp);

/* Whether reference time stands still. Timers neither expire nor arm then. No lock needed. */
bool hvti_time_frozen(const struct hvtlfs_partition *partition);

/* Between a load and the thaw. */
bool hvti_clock_not_set(const struct hvtlfs_partition *partition);

/* Start reference time at 0 (TLFS 12.4.1). Asks the clock that will serve once. */
void hvti_clock_init(struct hvtlfs_partition *partition, const struct hvtlfs_config *config);
void hvti_clock_reset(struct hvtlfs_partition *partition);

/* The clock's numbers were set from a saved state: it stands still until it is thawed, on a host whose
 * TSC is like this. Lock. */
void hvti_clock_restored(struct hvtlfs_partition *partition, uint64_t tsc_hz, bool invariant_tsc);

/* Whether the guest still has to learn that the TSC is invariant (TSC_INVARIANT_CONTROL). */
bool hvti_invariant_tsc_hidden(const struct hvtlfs_partition *partition);

#endif
