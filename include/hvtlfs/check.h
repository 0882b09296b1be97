/* SPDX-License-Identifier: MIT */
/**
 * @file check.h
 * What is wrong with a set of enlightenments, and what guests do with it.
 *
 * Each finding is a row of `src/checks.def`: a code that stays the same from version to version, a
 * severity, a sentence and a source. Nothing here needs a partition.
 */
#ifndef HVTLFS_CHECK_H
#define HVTLFS_CHECK_H

#include <stddef.h>
#include <stdint.h>

#include <hvtlfs/cpuid.h>
#include <hvtlfs/export.h>
#include <hvtlfs/features.h>
#include <hvtlfs/partition.h>

HVTLFS_BEGIN_DECLS

/** How bad a finding is. */
enum hvtlfs_severity {
    HVTLFS_SEVERITY_NOTE = 0,    /**< What a guest does with the set; nothing is wrong. */
    HVTLFS_SEVERITY_WARNING = 1, /**< Known to hurt some guests. */
    HVTLFS_SEVERITY_ERROR = 2,   /**< Forbidden, or a guest will fail. */
};

/** The guests a finding is about: bits, to be joined. */
enum hvtlfs_guest {
    HVTLFS_GUEST_WINDOWS = 1, /**< Windows. */
    HVTLFS_GUEST_LINUX = 2,   /**< Linux. */
    HVTLFS_GUEST_FREEBSD = 4, /**< FreeBSD and illumos. */
    HVTLFS_GUEST_ALL = 7,     /**< All of them. */
};

/** Something worth saying. Plain data; the strings are static. */
struct hvtlfs_finding {
    const char *code;              /**< A stable word, such as "stimer-without-synic". */
    enum hvtlfs_severity severity; /**< How bad. */
    uint32_t guests;               /**< Bits of enum hvtlfs_guest: who is concerned. */
    enum hvtlfs_feature feature;   /**< The feature concerned, or #HVTLFS_FEATURE_COUNT. */
    enum hvtlfs_feature other;     /**< The one that is missing, or #HVTLFS_FEATURE_COUNT. */
    const char *sentence;          /**< What it comes to; see hvtlfs_finding_text() too. */
    const char *source;            /**< Who says so. */
    const char *detail;            /**< The member or field concerned, or NULL. */
};

/** Takes findings, one call each, in the order of severity of the tables: dependencies first. */
typedef void hvtlfs_finding_function(void *context, const struct hvtlfs_finding *finding);

/** How many findings of each severity there were. */
struct hvtlfs_check_result {
    uint32_t notes;    /**< Of #HVTLFS_SEVERITY_NOTE. */
    uint32_t warnings; /**< Of #HVTLFS_SEVERITY_WARNING. */
    uint32_t errors;   /**< Of #HVTLFS_SEVERITY_ERROR. */
};

/**
 * Check what a partition would show: missing dependencies, features this version does not
 * implement, and everything hvtlfs_check_leaves() finds in the leaves.
 *
 * @param identity what the leaves are made from; features, vendor, spin_count and base count
 * @param guests   bits of enum hvtlfs_guest: whose findings are wanted
 * @param found    called for each finding; may be NULL
 * @param context  handed to @p found
 * @return the counts
 *
 * Pure but for @p found; any thread.
 */
HVTLFS_API struct hvtlfs_check_result hvtlfs_check_identity(
    const struct hvtlfs_cpuid_identity *identity, uint32_t guests, hvtlfs_finding_function *found,
    void *context);

/** One CPUID leaf of somebody's dump. */
struct hvtlfs_cpuid_leaf_entry {
    uint32_t leaf;                 /**< EAX of the instruction. */
    uint32_t subleaf;              /**< ECX of the instruction. */
    struct hvtlfs_cpuid_regs regs; /**< What it gave. */
};

/**
 * Check the leaves of any hypervisor, as `cpuid -r` prints them in a guest.
 *
 * @param leaves  the dump, in any order; leaves that are not there count as not known outside the
 *                hypervisor's range and as zero inside it
 * @param count   how many
 * @param guests  bits of enum hvtlfs_guest: whose findings are wanted
 * @param found   called for each finding; may be NULL
 * @param context handed to @p found
 * @return the counts
 *
 * Pure but for @p found; any thread. Time: proportional to @p count.
 */
HVTLFS_API struct hvtlfs_check_result hvtlfs_check_leaves(
    const struct hvtlfs_cpuid_leaf_entry *leaves, size_t count, uint32_t guests,
    hvtlfs_finding_function *found, void *context);

/**
 * Which configured features a partition does not offer, and why: one warning each, with the
 * callback or the value that is missing as its sentence.
 *
 * @return the counts. Any thread.
 */
HVTLFS_API struct hvtlfs_check_result hvtlfs_check_partition(
    const struct hvtlfs_partition *partition, hvtlfs_finding_function *found, void *context);

/**
 * A finding in one sentence, the features by name: "hv-stimer needs hv-synic, which is off: ...".
 *
 * @param finding what a check gave
 * @param buffer  where the text goes; always NUL-terminated when @p size is not 0
 * @param size    bytes at @p buffer; a longer text is cut
 * @return the length of the whole text in bytes without the NUL
 *
 * Pure; any thread.
 */
HVTLFS_API size_t hvtlfs_finding_text(const struct hvtlfs_finding *finding, char *buffer,
                                      size_t size);

HVTLFS_END_DECLS

#endif
