/* SPDX-License-Identifier: MIT */
/**
 * @file status.h
 * What the library answers to the VMM's author.
 *
 * Three outcomes exist and are never mixed: this one, for the program that
 * links the library; enum hvtlfs_msr_result, for the guest's MSR access; and
 * enum hvtlfs_hypercall_result with an HV_STATUS in the guest's register.
 */
#ifndef HVTLFS_STATUS_H
#define HVTLFS_STATUS_H

#include <stddef.h>
#include <stdint.h>

#include <hvtlfs/export.h>

HVTLFS_BEGIN_DECLS

/** Status of a library call. Zero is success; every other value is an error that changed nothing. */
enum hvtlfs_status {
    HVTLFS_OK = 0, /**< Done. */

    /* The caller's arguments */
    HVTLFS_ERR_ARGUMENT = 1,         /**< A pointer is NULL or a number is out of its documented range. */
    HVTLFS_ERR_STRUCT_SIZE = 2,      /**< The size field of a struct is smaller than that of version 1.0. */
    HVTLFS_ERR_MEMORY_SIZE = 3,      /**< The memory is smaller than hvtlfs_partition_size() asks for. */
    HVTLFS_ERR_MEMORY_ALIGNMENT = 4, /**< The memory is not aligned to #HVTLFS_PARTITION_ALIGNMENT. */

    /* The configuration */
    HVTLFS_ERR_NO_CALLBACK = 5,         /**< A required callback is NULL. */
    HVTLFS_ERR_VP_COUNT = 6,            /**< No VP, or more than #HVTLFS_MAX_VPS. */
    HVTLFS_ERR_VP_INDEX = 7,            /**< A VP index is out of range or given twice. */
    HVTLFS_ERR_APIC_ID = 8,             /**< An APIC ID is given twice. */
    HVTLFS_ERR_UNKNOWN_FEATURE = 9,     /**< No feature has this name. */
    HVTLFS_ERR_FEATURE_VALUE = 10,      /**< A feature's value is malformed or out of range. */
    HVTLFS_ERR_FEATURE_DEPENDENCY = 11, /**< A feature needs another that is off. */
    HVTLFS_ERR_FEATURE_CONFLICT = 12,   /**< Two settings exclude each other. */
    HVTLFS_ERR_TRAP = 13,               /**< The hypercall page's trapping code is missing or too long. */
    HVTLFS_ERR_GPA_BITS = 14,           /**< The guest physical address width is not 32 to 52. */
    HVTLFS_ERR_VENDOR = 15,             /**< The vendor string is longer than 12 characters. */
    HVTLFS_ERR_CPUID_BASE = 16,         /**< The leaf base is not 0x40000000 plus a multiple of 0x100. */

    /* The order of calls and the host's answers */
    HVTLFS_ERR_ORDER = 17,       /**< The call does not fit the partition's present state (frozen, running...). */
    HVTLFS_ERR_HOST = 18,        /**< A callback reported a failure. */
    HVTLFS_ERR_UNAVAILABLE = 19, /**< The feature this call belongs to is off. */
    HVTLFS_ERR_FULL = 20,        /**< A bounded table or queue has no room. */
    HVTLFS_ERR_NOT_FOUND = 21,   /**< The named object does not exist. */
    HVTLFS_ERR_EXISTS = 22,      /**< The object exists already. */

    /* Saved state */
    HVTLFS_ERR_STATE_FORMAT = 23,       /**< The bytes are not a saved state, or are damaged. */
    HVTLFS_ERR_STATE_VERSION = 24,      /**< The state comes from a later, incompatible version. */
    HVTLFS_ERR_STATE_INCOMPATIBLE = 25, /**< The state needs something this partition does not have. */

    /** The time page or MSR cannot be computed: the TSC rate is not above 10 MHz. */
    HVTLFS_ERR_TSC_RATE = 26,

    /** An entry of the host's own hypercalls has a code the library implements, a code given twice, no
     * handler or a size beyond the limits. */
    HVTLFS_ERR_HOST_CALL = 27,
};

/**
 * What exactly is wrong, for a person: filled by the calls that take one.
 * Plain data; copy it freely. Turn it into a sentence with hvtlfs_error_text().
 */
struct hvtlfs_error {
    enum hvtlfs_status status; /**< The same value as the call returned. */
    uint32_t feature;          /**< The enum hvtlfs_feature concerned, or HVTLFS_FEATURE_COUNT. */
    uint32_t other;            /**< The one that is missing or in the way, or HVTLFS_FEATURE_COUNT. */
    uint64_t value;            /**< The offending number (a VP index, a size, ...), else 0. */
    uint64_t limit;            /**< The bound or the needed number that goes with value, else 0. */
    const char *name;          /**< A static string naming the callback or field, or NULL. */
};

/**
 * The meaning of a status in one short English phrase.
 *
 * @param status any value, known or not
 * @return a static string, never NULL
 *
 * Pure; any thread.
 */
HVTLFS_API const char *hvtlfs_strerror(enum hvtlfs_status status);

/**
 * A sentence that names the thing at fault and the remedy.
 *
 * @param error  what an earlier call filled
 * @param buffer where the text goes; always NUL-terminated when @p size is not 0
 * @param size   bytes at @p buffer; a longer text is cut
 * @return the length of the whole text in bytes without the NUL (as snprintf does)
 *
 * Pure; any thread.
 */
HVTLFS_API size_t hvtlfs_error_text(const struct hvtlfs_error *error, char *buffer, size_t size);

HVTLFS_END_DECLS

#endif
