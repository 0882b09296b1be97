/* SPDX-License-Identifier: MIT */
/**
 * @file trace.h
 * What happens in a partition, one event each, for logs and debuggers.
 *
 * Set `trace` in struct hvtlfs_host_ops. Without it an event costs one branch that is never taken.
 */
#ifndef HVTLFS_TRACE_H
#define HVTLFS_TRACE_H

#include <stddef.h>
#include <stdint.h>

#include <hvtlfs/export.h>

HVTLFS_BEGIN_DECLS

/** What happened. In brackets: what `code`, `value` and `result` of the event are. */
enum hvtlfs_event_kind {
    HVTLFS_EVENT_MSR_READ = 0,  /**< [MSR, value read, enum hvtlfs_msr_result] */
    HVTLFS_EVENT_MSR_WRITE = 1, /**< [MSR, value written, enum hvtlfs_msr_result] */
    HVTLFS_EVENT_HYPERCALL =
        2, /**< [call code, input value, HV_STATUS; more: hvtlfs_hypercall_result] */
    HVTLFS_EVENT_OVERLAY_SET = 3,   /**< [kind of overlay, GPA, 1 if the host could] */
    HVTLFS_EVENT_OVERLAY_CLEAR = 4, /**< [kind of overlay, GPA, 0] */
    HVTLFS_EVENT_INTERRUPT =
        5,                 /**< [vector, 1 for auto-EOI, 1 for an NMI]; the VP is the target. */
    HVTLFS_EVENT_IPI = 6,  /**< [vector, number of targets, 0]; the VP is the sender. */
    HVTLFS_EVENT_KICK = 7, /**< [0, 0, 0]; the VP is the target. */
    HVTLFS_EVENT_APIC_WRITE = 8,     /**< [enum hvtlfs_apic_register, value, 0] */
    HVTLFS_EVENT_FLUSH = 9,          /**< [number of targets, number of ranges, 0] */
    HVTLFS_EVENT_DEADLINE = 10,      /**< [0, reference time, 0] */
    HVTLFS_EVENT_SPIN_WAIT = 11,     /**< [spins, 0, 0] */
    HVTLFS_EVENT_RESET = 12,         /**< [0, 0, 0] */
    HVTLFS_EVENT_CRASH = 13,         /**< [0, control, 0] */
    HVTLFS_EVENT_TSC_EMULATION = 14, /**< [1 if it begins, 0, 0] */
    HVTLFS_EVENT_KINDS               /**< Number of kinds. */
};

/** An event. Valid during the callback; plain data, copy it freely. */
struct hvtlfs_event {
    enum hvtlfs_event_kind kind; /**< What happened. */
    uint32_t vp_index;           /**< The VP concerned, or #HVTLFS_NO_VP. */
    uint32_t code;               /**< See the kind. */
    uint32_t result;             /**< See the kind. */
    uint64_t value;              /**< See the kind. */
    uint32_t more;               /**< See the kind. */
};

/** The name of a kind, such as "msr-write"; NULL when @p kind is none. Pure; any thread. */
HVTLFS_API const char *hvtlfs_event_name(enum hvtlfs_event_kind kind);

/**
 * An event in one line, with the names of the TLFS:
 * "msr-write vp=0 HV_X64_MSR_HYPERCALL=0x5001 done".
 *
 * @param event  what the callback got
 * @param buffer where the text goes; always NUL-terminated when @p size is not 0
 * @param size   bytes at @p buffer; a longer text is cut
 * @return the length of the whole text in bytes without the NUL
 *
 * Pure; any thread.
 */
HVTLFS_API size_t hvtlfs_event_text(const struct hvtlfs_event *event, char *buffer, size_t size);

HVTLFS_END_DECLS

#endif
