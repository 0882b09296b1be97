/* SPDX-License-Identifier: MIT */
/* Flushes that wait for a VP. */
#ifndef HVTI_TLB_H
#define HVTI_TLB_H

#include <hvtlfs/flush.h>

#include "host.h"

/*
 * A bounded queue with many writers and one reader, without locks. Cell n % size is free for entry
 * n while its turn is n, and holds entry n when its turn is n + 1; both numbers wrap.
 */
struct hvti_flush_cell {
    uint32_t turn; /* atomic */
    uint32_t flags;
    uint64_t address_space;
    uint64_t range;
};

struct hvti_flush_queue {
    _Alignas(CACHE_LINE) uint32_t tail; /* atomic: the next entry a writer takes */
    uint32_t head;    /* the reader's: the next entry to come out */
    uint32_t covered; /* the reader's: entries before this one ended in a full flush */
    struct hvti_flush_cell cells[HVTLFS_FLUSH_QUEUE_SIZE];
};

struct hvti_tlb {
    struct hvti_flush_queue *queues; /* by position, NULL: the host flushes at once */
    _Alignas(CACHE_LINE) uint32_t everything[HVTLFS_MAX_VPS / 32]; /* atomic: VP indices whose whole
                                                                       TLB waits */
};

bool hvti_flush_queues_wanted(uint64_t features, const struct hvti_host *host);
void hvti_tlb_init(struct hvtlfs_partition *partition);
void hvti_tlb_reset(struct hvtlfs_vp *vp);

/* The VPs come from a saved state: what their TLBs held does not count any more. */
void hvti_tlb_restored(struct hvtlfs_partition *partition);

#endif
