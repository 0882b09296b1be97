/* SPDX-License-Identifier: MIT */
/**
 * @file time.h
 * A partition's reference time: the clock behind TIME_REF_COUNT, the reference TSC page and the
 * synthetic timers (TLFS 12).
 *
 * There is one clock. With an invariant TSC above 10 MHz it is `high64(tsc * scale) + offset`, for
 * page, MSR and timers alike; otherwise it is the host's clock, and the page is invalid. It starts at
 * 0 when the partition is made and never goes back.
 *
 * **Order of calls when a partition stops and goes on:**
 *
 * 1. Take all VPs out of the guest.
 * 2. hvtlfs_freeze(): time stands still, the page is invalid.
 * 3. Only if it goes on elsewhere: hvtlfs_reference_time_set() where the state comes in a format of
 *    the host's own, then hvtlfs_migrate() with the TSC of the new host.
 * 4. Give every VP its TSC; hvtlfs_tsc_changed() for each whose distance to the others has changed.
 * 5. hvtlfs_thaw(): time goes on, the page is published, the guest is notified if it asked for it.
 * 6. Let the VPs run.
 *
 * The formula knows no wrap of the TSC. A host whose TSC nears 2^64 (after 195 years at 3 GHz, after two
 * seconds at 2^63 Hz) goes through steps 2 and 5 before it wraps, with the time that passed as pause.
 *
 * A call out of this order returns #HVTLFS_ERR_ORDER and changes nothing; VPs that run too early read
 * the time at which it stopped, never a stale page. docs/REFTIME.md explains and proves.
 */
#ifndef HVTLFS_TIME_H
#define HVTLFS_TIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hvtlfs/export.h>
#include <hvtlfs/partition.h>
#include <hvtlfs/status.h>

HVTLFS_BEGIN_DECLS

/**
 * Reference time now, in units of 100 ns: what the timers compare with.
 *
 * @param vp the VP whose TSC is read
 * @return the time; constant while the partition is frozen; 0 in a partition without any clock
 *
 * Any thread. Callbacks: guest_tsc or host_time; lock while the clock is being changed.
 */
HVTLFS_API uint64_t hvtlfs_reference_time(struct hvtlfs_vp *vp);

/**
 * How long until reference time reaches a deadline: for an arm_deadline callback whose timers run by
 * a clock of the host's.
 *
 * @param vp       the VP whose TSC is read
 * @param deadline as arm_deadline gets it, in units of 100 ns
 * @return nanoseconds, rounded up; 0 if it has been reached; #HVTLFS_TIME_NEVER for that deadline and
 *         for all that are more than 2^62 ns (146 years) away, so that the sum with a clock below 2^62
 *         fits into 63 bits
 *
 * Any thread, also inside arm_deadline. Callbacks as hvtlfs_reference_time().
 */
HVTLFS_API uint64_t hvtlfs_time_until(struct hvtlfs_vp *vp, uint64_t deadline);

/**
 * Stop reference time: before a pause, a save or a migration. The page becomes invalid first.
 *
 * @return #HVTLFS_OK; #HVTLFS_ERR_ORDER when it is frozen already
 *
 * No VP should be in the guest; one that is sees time stand still. Any thread. Callbacks: the lock,
 * the clocks, gpa_write where overlays are copied.
 */
HVTLFS_API enum hvtlfs_status hvtlfs_freeze(struct hvtlfs_partition *partition);

/**
 * Bring a reference time from elsewhere, as from a state saved in the host's own format.
 * Until hvtlfs_thaw() the page is invalid with #HVTLFS_TSC_PAGE_CLOCK_NOT_SET.
 *
 * @param reference_time in units of 100 ns; not before the present one, for time never goes back
 * @return #HVTLFS_OK; #HVTLFS_ERR_ORDER unless frozen; #HVTLFS_ERR_ARGUMENT when it would go back
 *
 * Any thread. Callbacks: the lock.
 */
HVTLFS_API enum hvtlfs_status hvtlfs_reference_time_set(struct hvtlfs_partition *partition,
                                                        uint64_t reference_time);

/**
 * Say that the frozen partition goes on with another TSC: another host, another rate.
 *
 * From hvtlfs_thaw() on the clock, the page and TSC_FREQUENCY follow it. A guest that began life
 * without an invariant TSC does not get one here: its page stays invalid (requirements document p. 9).
 *
 * @param tsc_hz        rate of the guest's TSC from now on, in Hz; 0 = unknown
 * @param invariant_tsc that TSC is constant-rate and in sync over all VPs
 * @return #HVTLFS_OK; #HVTLFS_ERR_ORDER unless frozen; #HVTLFS_ERR_NO_CALLBACK when the TSC cannot be
 *         the clock and there is no host_time; #HVTLFS_ERR_TSC_RATE when @p tsc_hz is 0 and a feature
 *         in force tells the guest the rate ([frequencies], [reenlightenment])
 *
 * Any thread. Callbacks: the lock. The last call before the thaw counts.
 */
HVTLFS_API enum hvtlfs_status hvtlfs_migrate(struct hvtlfs_partition *partition, uint64_t tsc_hz,
                                             bool invariant_tsc);

/**
 * Let reference time go on from where it stopped (TLFS 12.3: time appears to stop while saved).
 *
 * If hvtlfs_migrate() was called, a guest that enabled REENLIGHTENMENT_CONTROL gets its interrupt,
 * and for one that enabled TSC_EMULATION_CONTROL, if the rate is not the one it knows, emulation
 * begins: tsc_emulation is called, then hvtlfs_tsc_emulated() has work.
 *
 * @param pause time to add, in units of 100 ns: 0, or the length of the pause where the guest is to
 *              see it
 * @return #HVTLFS_OK; #HVTLFS_ERR_ORDER unless frozen; #HVTLFS_ERR_ARGUMENT when time would pass
 *         2^64 - 1
 *
 * Every VP has its TSC by now. Any thread. Callbacks: the lock, the clocks, gpa_write where overlays
 * are copied, tsc_emulation, request_interrupt, kick, arm_deadline.
 */
HVTLFS_API enum hvtlfs_status hvtlfs_thaw(struct hvtlfs_partition *partition, uint64_t pause);

/**
 * Say that one VP's TSC was moved against the others': the guest wrote IA32_TSC or IA32_TSC_ADJUST,
 * or the host gave the VP another offset.
 *
 * Reference time goes on undisturbed. While VPs differ, the page is invalid
 * (#HVTLFS_TSC_PAGE_UNSYNCED) and the MSR is right on every VP; once all were moved alike, the page is
 * valid again with another offset.
 *
 * @param vp    the VP
 * @param ticks new value less old one, two's complement; 0 changes nothing. While the TSC is emulated
 *              the guest means what it sees: the old value is hvtlfs_tsc_emulated()'s then
 *
 * Call it after guest_tsc has begun to show the new value, on the VP's thread, before the VP runs on
 * and before any other call that needs its TSC. Callbacks: the lock, the clocks, gpa_write where
 * overlays are copied.
 */
HVTLFS_API void hvtlfs_tsc_changed(struct hvtlfs_vp *vp, uint64_t ticks);

/**
 * What the guest must see of a TSC while it is emulated (TLFS 16.6.2): after a migration the TSC goes
 * on at the rate the guest knows until the guest has learnt the new one and writes
 * TSC_EMULATION_STATUS.
 *
 * @param vp  the VP that executes RDTSC or RDTSCP, or reads IA32_TSC
 * @param tsc the TSC without emulation, as guest_tsc gives it
 * @return the value for the guest; @p tsc itself while no emulation is in force
 *
 * Never goes back while @p tsc does not. The VP's thread. No callbacks.
 */
HVTLFS_API uint64_t hvtlfs_tsc_emulated(struct hvtlfs_vp *vp, uint64_t tsc);

/** Whether TSC emulation is in force: RDTSC must exit. Any thread. */
HVTLFS_API bool hvtlfs_tsc_emulation_in_force(const struct hvtlfs_partition *partition);

/** Whether the guest can use the reference TSC page, and why not; the first reason that applies. */
enum hvtlfs_tsc_page_state {
    HVTLFS_TSC_PAGE_VALID = 0,           /**< [valid] It can. */
    HVTLFS_TSC_PAGE_NO_FEATURE = 1,      /**< [no-feature] [reference-tsc] is off. */
    HVTLFS_TSC_PAGE_NOT_INVARIANT = 2,   /**< [not-invariant] This host's TSC is not invariant. */
    HVTLFS_TSC_PAGE_STARTED_WITHOUT = 3, /**< [started-without] The guest began life without an
                                              invariant TSC and must not pick it up. */
    HVTLFS_TSC_PAGE_RATE_UNKNOWN = 4,    /**< [rate-unknown] tsc_hz is 0. */
    HVTLFS_TSC_PAGE_RATE_LOW = 5,        /**< [rate-low] At 10 MHz or less no scale fits 64 bits. */
    HVTLFS_TSC_PAGE_FROZEN = 6,          /**< [frozen] Between freeze and thaw. */
    HVTLFS_TSC_PAGE_CLOCK_NOT_SET = 7,   /**< [clock-not-set] Restored, and not yet thawed. */
    HVTLFS_TSC_PAGE_UNSYNCED = 8,        /**< [unsynced] The VPs' TSCs differ. */
    HVTLFS_TSC_PAGE_EMULATION = 9,       /**< [emulation] The TSC is being emulated. */
    HVTLFS_TSC_PAGE_DISABLED = 10,       /**< [disabled] The guest has not enabled REFERENCE_TSC. */
    HVTLFS_TSC_PAGE_UNREACHABLE = 11, /**< [unreachable] Its address is beyond the guest's space, or
                                             the host cannot show a page there. */
    HVTLFS_TSC_PAGE_WRITE_FAILED = 12, /**< [write-failed] gpa_write refused the page's content. */

    HVTLFS_TSC_PAGE_STATES /**< Number of states. */
};

/** The present state of the page. Any thread. Callbacks: the lock. */
HVTLFS_API enum hvtlfs_tsc_page_state hvtlfs_tsc_page_query(struct hvtlfs_partition *partition);

/** The word in brackets above; NULL when @p state is none. Pure. */
HVTLFS_API const char *hvtlfs_tsc_page_state_name(enum hvtlfs_tsc_page_state state);

/** The state in one English phrase; NULL when @p state is none. Pure. */
HVTLFS_API const char *hvtlfs_tsc_page_state_text(enum hvtlfs_tsc_page_state state);

/** How a guest uses its clock. */
struct hvtlfs_time_counters {
    size_t size;        /**< In: sizeof the struct as the caller knows it. */
    uint64_t msr_reads; /**< Reads of TIME_REF_COUNT, over all VPs. */
    uint64_t
        msr_reads_page_valid; /**< Of these, with a valid page in front of the guest: exits that it
                                        could have saved. */
    uint64_t page_publications; /**< How often the page became valid or changed. */
    uint64_t page_sequence;     /**< Its TscSequence now; 0 = invalid. */
};

/**
 * Read the counters.
 *
 * @param counters filled as far as its size goes
 * @return #HVTLFS_OK; #HVTLFS_ERR_STRUCT_SIZE when counters->size is smaller than that of version 1.0
 *
 * Any thread; the figures of running VPs may be a moment old. Callbacks: the lock.
 */
HVTLFS_API enum hvtlfs_status hvtlfs_read_time_counters(struct hvtlfs_partition *partition,
                                                        struct hvtlfs_time_counters *counters);

HVTLFS_END_DECLS

#endif
