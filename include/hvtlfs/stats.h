/* SPDX-License-Identifier: MIT */
/**
 * @file stats.h
 * Statistics pages: counters of the host that the guest reads in its memory (TLFS 2.0 21.3.3).
 *
 * The guest maps a page by one of the MSRs 0x400000E0 to 0x400000E3, and the host learns of it by
 * its callback stats_page. What the counters are is the host's to decide; the TLFS numbers them but
 * leaves most to the version of the hypervisor.
 */
#ifndef HVTLFS_STATS_H
#define HVTLFS_STATS_H

#include <stdbool.h>
#include <stdint.h>

#include <hvtlfs/export.h>
#include <hvtlfs/host.h>
#include <hvtlfs/partition.h>

HVTLFS_BEGIN_DECLS

/** Counters on a statistics page: 64 bits each. */
#define HVTLFS_STATS_COUNTERS 512u

/**
 * Set one counter of a statistics page, whether the guest has mapped it at present or not.
 *
 * @param vp      the VP whose page it is. As a call for that VP (see partition.h), unless the host
 *                gives overlay_set: then any thread at any time
 * @param kind    #HVTLFS_OVERLAY_STATS_PARTITION, #HVTLFS_OVERLAY_STATS_VP or their internal twins
 * @param counter 0 to #HVTLFS_STATS_COUNTERS - 1
 * @param value   the value; the guest sees all of it or nothing
 * @return false if the feature [stats] is off, an argument is out of range, or the guest's memory is
 *         out of reach
 *
 * Callbacks, without overlay_set: the lock and guest memory.
 */
HVTLFS_API bool hvtlfs_stats_set(struct hvtlfs_vp *vp, enum hvtlfs_overlay_kind kind,
                                 uint32_t counter, uint64_t value);

HVTLFS_END_DECLS

#endif
