/* SPDX-License-Identifier: MIT */
/* Statistics pages by MSR (TLFS 2.0 21.3.3): where they are is ours, what they say is the host's. */
#include <hvtlfs/stats.h>

#include <hvtlfs/tlfs.h>

#include "state.h"

static const enum hvtlfs_overlay_kind kinds[HVTI_STATS_PAGES] = {
    HVTLFS_OVERLAY_STATS_PARTITION,
    HVTLFS_OVERLAY_STATS_PARTITION_INTERNAL,
    HVTLFS_OVERLAY_STATS_VP,
    HVTLFS_OVERLAY_STATS_VP_INTERNAL,
};

static uint32_t slot_of_kind(const struct hvtlfs_vp *vp, enum hvtlfs_overlay_kind kind)
{
    return hvti_overlay_slot(&vp->partition->overlays, kind, vp->slot);
}

enum hvtlfs_msr_result hvti_stats_page_read(struct hvtlfs_vp *vp, uint32_t number, uint64_t *value)
{
    *value = vp->stats.page[number - HV_X64_MSR_STATS_PARTITION_RETAIL_PAGE];
    return HVTLFS_MSR_DONE;
}

/* TLFS 2.0 21.3.3: a page beyond the guest's space is no error, it is out of reach. */
enum hvtlfs_msr_result hvti_stats_page_write(struct hvtlfs_vp *vp, uint32_t number, uint64_t value)
{
    struct hvtlfs_partition *partition = vp->partition;
    uint32_t which = number - HV_X64_MSR_STATS_PARTITION_RETAIL_PAGE;
    uint32_t slot = slot_of_kind(vp, kinds[which]);
    bool was_shown, shown, done;

    hvti_lock(partition);
    was_shown = hvti_overlay_gpa(partition, slot) != HVTI_NOWHERE;
    done = hvti_overlay_show(partition, slot, value & HV_MSR_STATS_PAGE_ENABLE, page_of(value));
    shown = hvti_overlay_gpa(partition, slot) != HVTI_NOWHERE;
    hvti_unlock(partition);
    if (!done) {
        return HVTLFS_MSR_FAULT;
    }
    vp->stats.page[which] = value;
    if (shown != was_shown) {
        hvti_host_stats_page(&partition->host, vp->index, kinds[which], shown);
    }
    return HVTLFS_MSR_DONE;
}

static bool is_stats_kind(enum hvtlfs_overlay_kind kind)
{
    uint32_t i;

    for (i = 0; i < HVTI_STATS_PAGES; i++) {
        if (kinds[i] == kind) {
            return true;
        }
    }
    return false;
}

static void put_u64(uint8_t bytes[8], uint64_t value)
{
    uint32_t i;

    for (i = 0; i < 8; i++) {
        bytes[i] = (uint8_t)(value >> 8 * i);
    }
}

bool hvtlfs_stats_set(struct hvtlfs_vp *vp, enum hvtlfs_overlay_kind kind, uint32_t counter,
                      uint64_t value)
{
    struct hvtlfs_partition *partition = vp->partition;
    uint32_t slot = is_stats_kind(kind) ? slot_of_kind(vp, kind) : HVTI_NO_SLOT;
    uint64_t *mapped;
    uint8_t bytes[8];
    bool done;

    if (slot == HVTI_NO_SLOT || counter >= HVTLFS_STATS_COUNTERS) {
        return false;
    }
    mapped = hvti_overlay_mapped(partition, slot);
    if (mapped) {
        hvti_store(&mapped[counter], guest64(value));
        return true;
    }
    put_u64(bytes, value);
    hvti_lock(partition);
    done = hvti_overlay_write(partition, slot, counter * 8, bytes, sizeof(bytes));
    hvti_unlock(partition);
    return done;
}

static void reset_page(struct hvtlfs_vp *vp, uint32_t which)
{
    struct hvtlfs_partition *partition = vp->partition;
    uint32_t slot = slot_of_kind(vp, kinds[which]);
    bool was_shown;

    hvti_lock(partition);
    was_shown = hvti_overlay_gpa(partition, slot) != HVTI_NOWHERE;
    hvti_overlay_reset(partition, slot);
    hvti_unlock(partition);
    vp->stats.page[which] = 0;
    if (was_shown) {
        hvti_host_stats_page(&partition->host, vp->index, kinds[which], false);
    }
}

void hvti_stats_reset(struct hvtlfs_vp *vp)
{
    uint32_t which;

    if (!hvti_has(vp->partition, HVTLFS_FEATURE_STATS)) {
        return;
    }
    for (which = 0; which < HVTI_STATS_PAGES; which++) {
        reset_page(vp, which);
    }
}

void hvti_stats_restored(struct hvtlfs_vp *vp)
{
    struct hvtlfs_partition *partition = vp->partition;
    uint32_t which;

    for (which = 0; which < HVTI_STATS_PAGES; which++) {
        uint32_t slot = slot_of_kind(vp, kinds[which]);

        if (slot != HVTI_NO_SLOT && hvti_overlay_gpa(partition, slot) != HVTI_NOWHERE) {
            hvti_host_stats_page(&partition->host, vp->index, kinds[which], true);
        }
    }
}
