/* SPDX-License-Identifier: MIT */
/**
 * @file flush.h
 * TLB flushes on the target's side: queues, and what a range means.
 *
 * A host either flushes when it is asked (the tlb_flush callback), or gives tlb_flush_queued: then
 * the library keeps a short queue for each VP, and the host empties it on that VP's thread. A queue
 * that overflows becomes one flush of everything.
 */
#ifndef HVTLFS_FLUSH_H
#define HVTLFS_FLUSH_H

#include <stdbool.h>
#include <stdint.h>

#include <hvtlfs/export.h>
#include <hvtlfs/partition.h>

HVTLFS_BEGIN_DECLS

/** How many ranges wait for a VP before they become a flush of everything. */
#define HVTLFS_FLUSH_QUEUE_SIZE 16u

/** Consecutive pages. */
struct hvtlfs_flush_range {
    uint64_t address;    /**< The first page's address, a multiple of @ref page_size. */
    uint64_t page_count; /**< 1 to 4096. */
    uint64_t page_size;  /**< Bytes: 4 KiB; in the extended format also 2 MiB or 1 GiB. */
};

/**
 * Read a range of a flush list.
 *
 * @param entry    HV_GVA_RANGE, or HV_GPA_PAGE_RANGE with @p extended
 * @param extended the extended format: 11 bits of pages and a flag for large ones
 * @param range    filled. Reserved bits are ignored; a 1 GiB page's address is rounded down.
 *
 * Pure; any thread. Source: TLFS 9.4.4 and 16.11.1; OpenVMM for the extended format.
 */
HVTLFS_API void hvtlfs_flush_range_decode(uint64_t entry, bool extended,
                                          struct hvtlfs_flush_range *range);

/** One thing to flush. */
struct hvtlfs_flush_item {
    bool everything;         /**< All mappings, global ones included; the rest has no meaning. */
    bool all_address_spaces; /**< Whatever the address space. */
    uint64_t address_space;  /**< The CR3 value, without meaning with @ref all_address_spaces. */
    struct hvtlfs_flush_range range; /**< What of it. */
};

/**
 * Take the next flush that waits for a VP.
 *
 * Call it until it returns false: after a kick by tlb_flush_queued, with the VP out of the guest,
 * before its next instruction. A flush of everything ends all others, so it comes alone.
 *
 * @param vp   the VP whose TLB is meant
 * @param item filled when there is one, without meaning otherwise
 * @return false if nothing waits, always so for a host without tlb_flush_queued
 *
 * The VP's thread; other threads may queue more at the same time. No callbacks, no locks.
 */
HVTLFS_API bool hvtlfs_flush_take(struct hvtlfs_vp *vp, struct hvtlfs_flush_item *item);

HVTLFS_END_DECLS

#endif
