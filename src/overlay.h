/* SPDX-License-Identifier: MIT */
/*
 * Overlay pages (TLFS 5.2.1): a second map above the guest's memory.
 *
 * Every page that the partition may ever show has a slot: a GPA, or none, and HVTLFS_PAGE_SIZE bytes
 * of the partition's memory. A host that maps overlays shows those bytes. For any other host the
 * library exchanges them with the guest's memory when the overlay appears and again when it goes:
 * the slot then holds the bytes that the overlay covers. Slots at one GPA are a stack, lower slot
 * numbers on top, and a covered overlay's content waits in the slot directly above it. So placing
 * and removing are the same exchange, in any order, and what lies below always comes back.
 *
 * All functions need the partition lock, except where a comment says otherwise.
 */
#ifndef HVTI_OVERLAY_H
#define HVTI_OVERLAY_H

#include <hvtlfs/host.h>

#include "util.h"

#define HVTI_NOWHERE UINT64_MAX
#define HVTI_NO_SLOT UINT32_MAX

struct hvti_overlays {
    uint8_t *pages;                        /* slot_count pages, page-aligned */
    uint64_t *gpa;                         /* slot_count places, HVTI_NOWHERE where not shown */
    uint32_t slot_count;
    uint32_t partition_kinds;              /* bits 1 << kind that have a partition-wide slot */
    uint32_t vp_kinds;                     /* bits 1 << kind of which each VP has a slot */
};

struct hvtlfs_partition;

/* The kinds of pages that a set of features needs. */
uint32_t hvti_overlay_partition_kinds(uint64_t features);
uint32_t hvti_overlay_vp_kinds(uint64_t features);

/* How many slots that makes. */
uint32_t hvti_overlay_slot_count(uint64_t features, uint32_t vp_count);

/* The slot of a page; HVTI_NO_SLOT if the partition has none of that kind. `vp_slot` is the VP's
 * position in the partition, without meaning for partition-wide kinds. No lock needed. */
uint32_t hvti_overlay_slot(const struct hvti_overlays *overlays, enum hvtlfs_overlay_kind kind,
                           uint32_t vp_slot);

/*
 * Move a page to `gpa` (a page address inside the guest's space) or, with HVTI_NOWHERE, away.
 * Returns false and leaves everything as it was if the page cannot be shown there, or if what it
 * covers cannot be given back.
 */
bool hvti_overlay_move(struct hvtlfs_partition *partition, uint32_t slot, uint64_t gpa);

/*
 * Move a page to where the guest wants it, or away. A place that does not exist is no error: the page
 * is then out of the guest's reach. Returns false and leaves everything as it was if what the page
 * covers cannot be given back.
 */
bool hvti_overlay_show(struct hvtlfs_partition *partition, uint32_t slot, bool enable, uint64_t gpa);

/* Where a page is, or HVTI_NOWHERE. */
uint64_t hvti_overlay_gpa(const struct hvtlfs_partition *partition, uint32_t slot);

/* The page's content, wherever it waits at present. A range inside the page. */
bool hvti_overlay_read(const struct hvtlfs_partition *partition, uint32_t slot, uint32_t offset,
                       void *buffer, uint32_t size);
bool hvti_overlay_write(struct hvtlfs_partition *partition, uint32_t slot, uint32_t offset,
                        const void *buffer, uint32_t size);

/*
 * The bytes of a page that the host maps, for atomic access without the lock; NULL when the host
 * does not map overlays.
 */
void *hvti_overlay_mapped(const struct hvtlfs_partition *partition, uint32_t slot);

/*
 * Atomic compare and exchange of an aligned 32-bit word of the page against the guest. `*done` tells
 * whether it happened; if not, `*expected` is the present value. False if the word cannot be reached.
 */
bool hvti_overlay_cas32(struct hvtlfs_partition *partition, uint32_t slot, uint32_t offset,
                        uint32_t *expected, uint32_t desired, bool *done);

/* ---- Saved state: no VP runs, and the pages' bytes and places may be set directly ---- */

/* What a slot is, and whether its bytes are those of the page or those that it covers. */
struct hvtlfs_overlay hvti_overlay_describe(const struct hvtlfs_partition *partition, uint32_t slot);
uint8_t *hvti_overlay_bytes(const struct hvtlfs_partition *partition, uint32_t slot);

/* A page that was placed by exchange: give back what it covers, whatever the host does by itself. And
 * the other way. False, and everything as it was, if guest memory is out of reach. */
bool hvti_overlay_copy_out(struct hvtlfs_partition *partition, uint32_t slot);
bool hvti_overlay_copy_in(struct hvtlfs_partition *partition, uint32_t slot, uint64_t gpa);

/* Take the page away and clear its content. */
void hvti_overlay_reset(struct hvtlfs_partition *partition, uint32_t slot);

#endif
