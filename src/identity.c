/* SPDX-License-Identifier: MIT */
/*
 * Establishing the hypercall interface (TLFS 2.6, 3.13): the guest says who it is, then where the
 * hypercall page shall be. And who the VP is (7.8.1).
 */
#include <hvtlfs/tlfs.h>

#include "state.h"

static uint32_t page_slot(const struct hvtlfs_partition *partition)
{
    return hvti_overlay_slot(&partition->overlays, HVTLFS_OVERLAY_HYPERCALL, 0);
}

/* Written anew for each appearance: PatchGuard wants it constant only between two of them. */
static void fill_page(struct hvtlfs_partition *partition, uint32_t slot)
{
    uint8_t *page = hvti_overlay_bytes(partition, slot);

    /* Cannot fail: the configuration was checked at init. */
    (void)hvtlfs_hypercall_page_assemble(page, partition->trap, partition->trap_code,
                                         partition->trap_size);
}

/* Where it is not shown it has no content, so that a write that is refused leaves nothing behind. */
static bool move_page(struct hvtlfs_partition *partition, uint32_t slot, uint64_t gpa)
{
    bool done = hvti_overlay_move(partition, slot, gpa);

    if (hvti_overlay_gpa(partition, slot) == HVTI_NOWHERE) {
        memset(hvti_overlay_bytes(partition, slot), 0, HVTLFS_PAGE_SIZE);
    }
    return done;
}

static bool show_page(struct hvtlfs_partition *partition, uint64_t gpa)
{
    uint32_t slot = page_slot(partition);

    if (gpa >= partition->gpa_limit) {
        return false;
    }
    if (hvti_overlay_gpa(partition, slot) == HVTI_NOWHERE) {
        fill_page(partition, slot);
    }
    return move_page(partition, slot, gpa);
}

static bool hide_page(struct hvtlfs_partition *partition)
{
    return move_page(partition, page_slot(partition), HVTI_NOWHERE);
}

enum hvtlfs_msr_result hvti_guest_os_id_read(struct hvtlfs_vp *vp, uint32_t number,
                                             uint64_t *value)
{
    (void)number;
    *value = hvti_load(&vp->partition->identity.guest_os_id);
    return HVTLFS_MSR_DONE;
}

static enum hvtlfs_msr_result set_guest_os_id(struct hvtlfs_partition *partition, uint64_t value)
{
    struct hvti_identity *identity = &partition->identity;

    if (!value) {
        /* TLFS 3.13: "the hypercall page will be disabled", locked or not (docs/CONFORMANCE.md). */
        if (!hide_page(partition)) {
            return HVTLFS_MSR_FAULT;
        }
        hvti_store(&identity->hypercall,
                   identity->hypercall & ~(uint64_t)HV_MSR_HYPERCALL_ENABLE);
    }
    hvti_store(&identity->guest_os_id, value);
    return HVTLFS_MSR_DONE;
}

enum hvtlfs_msr_result hvti_guest_os_id_write(struct hvtlfs_vp *vp, uint32_t number, uint64_t value)
{
    enum hvtlfs_msr_result result;

    (void)number;
    hvti_lock(vp->partition);
    result = set_guest_os_id(vp->partition, value);
    hvti_unlock(vp->partition);
    return result;
}

enum hvtlfs_msr_result hvti_hypercall_read(struct hvtlfs_vp *vp, uint32_t number, uint64_t *value)
{
    (void)number;
    *value = hvti_load(&vp->partition->identity.hypercall);
    return HVTLFS_MSR_DONE;
}

static enum hvtlfs_msr_result set_hypercall(struct hvtlfs_partition *partition, uint64_t value)
{
    struct hvti_identity *identity = &partition->identity;
    bool done;

    if (identity->hypercall & HV_MSR_HYPERCALL_LOCKED) {
        return partition->policy & HVTLFS_POLICY_LOCKED_WRITE_IGNORED ? HVTLFS_MSR_DONE
                                                                      : HVTLFS_MSR_FAULT;
    }
    if (!(value & HV_MSR_HYPERCALL_ENABLE)) {
        done = hide_page(partition);
    } else if (identity->guest_os_id) {
        done = show_page(partition, page_of(value));
    } else {
        /* TLFS 3.13: nothing happens until the guest has reported its identity. */
        return HVTLFS_MSR_DONE;
    }
    if (!done) {
        return HVTLFS_MSR_FAULT;
    }
    hvti_store(&identity->hypercall, value);
    return HVTLFS_MSR_DONE;
}

enum hvtlfs_msr_result hvti_hypercall_write(struct hvtlfs_vp *vp, uint32_t number, uint64_t value)
{
    enum hvtlfs_msr_result result;

    (void)number;
    hvti_lock(vp->partition);
    result = set_hypercall(vp->partition, value);
    hvti_unlock(vp->partition);
    return result;
}

enum hvtlfs_msr_result hvti_vp_index_read(struct hvtlfs_vp *vp, uint32_t number, uint64_t *value)
{
    (void)number;
    *value = vp->index;
    return HVTLFS_MSR_DONE;
}

void hvti_identity_reset(struct hvtlfs_partition *partition)
{
    hvti_overlay_reset(partition, page_slot(partition));
    partition->identity = (struct hvti_identity){.guest_os_id = 0};
}
