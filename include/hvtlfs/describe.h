/* SPDX-License-Identifier: MIT */
/**
 * @file describe.h
 * What a guest does with its enlightenments: counters, and a description for people and programs.
 */
#ifndef HVTLFS_DESCRIBE_H
#define HVTLFS_DESCRIBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hvtlfs/export.h>
#include <hvtlfs/features.h>
#include <hvtlfs/partition.h>

HVTLFS_BEGIN_DECLS

/**
 * What one VP did since init. Not saved; survives resets. How often a guest read time from its TSC page
 * instead of making an exit cannot be counted: it happens without the host.
 */
struct hvtlfs_counters {
    size_t size;               /**< sizeof(struct hvtlfs_counters) as the caller knows it. */
    uint64_t msr_exits;        /**< RDMSR and WRMSR of MSRs that the partition offers. */
    uint64_t msr_faults;       /**< #GP given, but for reads that the host itself refused. */
    uint64_t hypercalls;       /**< Hypercalls, each continuation counted again. */
    uint64_t hypercall_errors; /**< Those answered with another status than success. */
    uint64_t hypercall_faults; /**< Those answered with #UD. */

    uint64_t messages_queued; /**< Messages the VP took up to wait for a slot; timers' included. */
    uint64_t messages_delivered; /**< Those that reached their slot. */
    uint64_t events_signalled; /**< Signals for this VP's event flags, also of flags set already. */
    uint64_t timer_ticks;      /**< Expirations of synthetic timers. */
    uint64_t timer_lateness;   /**< From when these were due to when the library was called, summed,
                                      in 100 ns. A time in the past when the guest set it is on time. */
    uint64_t flushes;          /**< TLB flushes of this VP for at least one VP; a list in parts
                                      counts each part. */
    uint64_t flush_targets;    /**< VPs that these were for, summed. */
    uint64_t timer_lateness_most; /**< The most that one tick was late, in 100 ns. */
};

/**
 * Read the counters of a VP.
 *
 * @param vp       the VP
 * @param counters size set by the caller; the rest filled
 * @return #HVTLFS_OK; #HVTLFS_ERR_STRUCT_SIZE
 *
 * Any thread, while the VP runs.
 */
HVTLFS_API enum hvtlfs_status hvtlfs_read_counters(const struct hvtlfs_vp *vp,
                                                   struct hvtlfs_counters *counters);

/** How often a VP read or wrote an MSR; 0 for MSRs the library does not know. Any thread. */
HVTLFS_API uint64_t hvtlfs_read_msr_counter(const struct hvtlfs_vp *vp, uint32_t number);

/** How often a VP made a hypercall; 0 for codes the library does not know. Any thread. */
HVTLFS_API uint64_t hvtlfs_read_call_counter(const struct hvtlfs_vp *vp, uint16_t code);

/** What a guest makes of a feature. */
enum hvtlfs_use {
    HVTLFS_USE_OFF = 0, /**< It is not offered; hvtlfs_feature_why_off() says why. */
    HVTLFS_USE_UNSEEN =
        1, /**< It is offered; a hint, whose use makes no exit that could be counted. */
    HVTLFS_USE_NEVER = 2, /**< It is offered and was never used. */
    HVTLFS_USE_USED = 3,  /**< It is offered and has been used. */
};

/**
 * Whether the guest has used a feature: any of its MSRs or hypercalls, on any VP.
 *
 * Any thread, while VPs run. Time: proportional to the number of VPs.
 */
HVTLFS_API enum hvtlfs_use hvtlfs_feature_use(const struct hvtlfs_partition *partition,
                                              enum hvtlfs_feature feature);

/** The form of a description. */
enum hvtlfs_format {
    HVTLFS_FORMAT_TEXT = 0, /**< Lines for a person. */
    HVTLFS_FORMAT_JSON = 1, /**< One JSON object; numbers above 32 bits are strings "0x...". */
};

/**
 * Describe a partition: who the guest says it is; each feature as offered, used, never used or off
 * and why; whether the TSC page is valid and, if not or if the guest reads the MSR all the same, why;
 * exits by MSR and call, messages, events, timers and flushes, summed over all VPs.
 *
 * @param partition the partition
 * @param format    text or JSON
 * @param buffer    where it goes; always NUL-terminated when @p size is not 0
 * @param size      bytes at @p buffer; a longer description is cut
 * @return the length of the whole description in bytes without the NUL
 *
 * Any thread, while VPs run; the counters are then of slightly different moments. Callbacks: the lock.
 */
HVTLFS_API size_t hvtlfs_describe(struct hvtlfs_partition *partition, enum hvtlfs_format format,
                                  char *buffer, size_t size);

HVTLFS_END_DECLS

#endif
