/* SPDX-License-Identifier: MIT */
/* Exits of a VP, counted by row of the tables, and what else happens to it. Read by any thread. */
#ifndef HVTI_COUNTERS_H
#define HVTI_COUNTERS_H

#include "util.h"

/* One counter for each row that can succeed. */
#define MSR(name, feature, read, write, clause) HVTI_MSR_COUNTER_##name,
#define MSR_ABSENT(name, clause)
enum {
#include "msrs.def"
    HVTI_MSR_COUNTERS
};
#undef MSR
#undef MSR_ABSENT

/* The first one is for calls without a row and rows without a handler. */
#define CALL(name, gate, input, most, reps, element_in, element_out, output, handler, clause)      \
    HVTI_CALL_COUNTER_##name,
#define ABSENT(name, gate, status, clause)
enum {
    HVTI_CALL_COUNTER_OTHER,
#include "hypercalls.def"
    HVTI_CALL_COUNTERS
};
#undef CALL
#undef ABSENT

/*
 * What is no exit: TALLY(member of struct hvtlfs_counters, how those of several VPs make one, words for
 * a person). All are written by the VP's own thread, but events_signalled by any.
 */
#define HVTI_TALLIES                                                                               \
    TALLY(messages_queued, SUM, "messages queued")                                                 \
    TALLY(messages_delivered, SUM, "messages delivered")                                           \
    TALLY(events_signalled, SUM, "events signalled")                                               \
    TALLY(timer_ticks, SUM, "timer ticks given")                                                   \
    TALLY(timer_lateness, SUM, "their lateness together, in 100 ns")                               \
    TALLY(timer_lateness_most, MOST, "the most that one was late, in 100 ns")                      \
    TALLY(flushes, SUM, "TLB flushes asked for")                                                   \
    TALLY(flush_targets, SUM, "VPs they were for, together")

#define TALLY(member, together, words) HVTI_TALLY_##member,
enum { HVTI_TALLIES HVTI_TALLY_COUNT };
#undef TALLY

/* One writer, the VP's thread, but for `tallies`, see above. */
struct hvti_counters {
    uint64_t tallies[HVTI_TALLY_COUNT];
    uint64_t msrs[HVTI_MSR_COUNTERS];
    uint64_t msr_faults;
    uint64_t calls[HVTI_CALL_COUNTERS];
    uint64_t call_errors;
    uint64_t call_faults;
};

static inline void hvti_count(uint64_t *counter)
{
    store_shared(counter, load_shared(counter) + 1); /* one writer: no read-modify-write */
}

static inline void hvti_count_more(uint64_t *counter, uint64_t more)
{
    store_shared(counter, load_shared(counter) + more);
}

static inline void hvti_count_most(uint64_t *counter, uint64_t value)
{
    if (value > load_shared(counter)) {
        store_shared(counter, value);
    }
}

/* What a counter is about, for those who add up. `features` are bits 1 << enum hvtlfs_feature. */
void hvti_msr_counter(uint32_t counter, uint32_t *number, uint64_t *features);
void hvti_call_counter(uint32_t counter, uint16_t *code, uint64_t *features);

#endif
