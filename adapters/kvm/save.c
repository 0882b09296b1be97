/* SPDX-License-Identifier: MIT */
/*
 * Stopping, saving, restoring. What the helper holds for the VPs follows the partition's state:
 *
 *     8 bytes "hvtlfskv", 4 version, 4 number of VPs, then for each VP in the order of the configuration
 *     8 its TSC's distance from the first VP's, 8 flags (bit 0: idle, bit 1: ICR follows), 32 vectors to
 *     inject, 8 ICR as written by MSR
 *
 * little-endian, as the partition's state is.
 */
#include <string.h>

#include <hvtlfs/state.h>
#include <hvtlfs/time.h>

#include "helper.h"

enum {
    VERSION = 2,
    HEADER_SIZE = 16,
    VP_SIZE = 56,
    ICR_AT = 48,
    FLAG_IDLE = 1,
    FLAG_ICR = 2,
    STATE_SIZE_AT = 16, /* docs/STATE.md */
};

static const char magic[8] = {'h', 'v', 't', 'l', 'f', 's', 'k', 'v'};
static const char state_magic[6] = {'h', 'v', 't', 'l', 'f', 's'};

static void put(uint8_t *at, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        at[i] = (uint8_t)(value >> 8 * i);
    }
}

static uint64_t get(const uint8_t *at, unsigned bytes)
{
    uint64_t value = 0;

    for (unsigned i = bytes; i-- > 0;) {
        value = value << 8 | at[i];
    }
    return value;
}

static enum hvtlfs_status wrong(struct hvtlfs_error *error, enum hvtlfs_status status,
                                const char *name, uint64_t value, uint64_t limit)
{
    if (error != NULL) {
        *error = (struct hvtlfs_error){
            .status = status,
            .feature = HVTLFS_FEATURE_COUNT,
            .other = HVTLFS_FEATURE_COUNT,
            .value = value,
            .limit = limit,
            .name = name,
        };
    }
    return status;
}

/* ---- Stopping ---- */

enum hvtlfs_status hvtlfs_kvm_freeze(struct hvtlfs_kvm *kvm)
{
    if (*kvm->alive == 0 || hvti_kvm_any_in_guest(kvm)) {
        return HVTLFS_ERR_ORDER;
    }
    return hvtlfs_freeze(kvm->partition);
}

/* The rate of the first vCPU there is. */
static uint64_t rate_now(const struct hvtlfs_kvm *kvm)
{
    for (uint32_t n = 0; n < kvm->vp_count; n++) {
        if (kvm->vps[n].fd >= 0) {
            return hvti_kvm_tsc_hz(&kvm->config, kvm->vps[n].fd);
        }
    }
    return 0;
}

enum hvtlfs_status hvtlfs_kvm_thaw(struct hvtlfs_kvm *kvm, uint64_t pause)
{
    struct hvtlfs_config *partition = &kvm->config.partition;
    enum hvtlfs_status status = HVTLFS_OK;
    uint64_t hz;

    if (*kvm->alive == 0 || hvti_kvm_any_in_guest(kvm)) {
        return HVTLFS_ERR_ORDER;
    }
    hz = rate_now(kvm);
    if (hz != 0 && hz != partition->tsc_hz) {
        status = hvtlfs_migrate(kvm->partition, hz, partition->invariant_tsc);
        partition->tsc_hz = status == HVTLFS_OK ? hz : partition->tsc_hz;
    }
    if (status != HVTLFS_OK) {
        return status;
    }
    hvti_kvm_tsc_refresh(kvm);
    return hvtlfs_thaw(kvm->partition, pause);
}

/* ---- Saving ---- */

static size_t own_size(const struct hvtlfs_kvm *kvm)
{
    return HEADER_SIZE + (size_t)VP_SIZE * kvm->vp_count;
}

size_t hvtlfs_kvm_state_size(const struct hvtlfs_kvm *kvm)
{
    return hvtlfs_state_size(kvm->partition) + own_size(kvm);
}

static void vp_save(const struct hvti_kvm_vp *vp, uint8_t *at)
{
    uint64_t first = atomic_load(&vp->kvm->vps[0].tsc_offset);

    put(at, atomic_load(&vp->tsc_offset) - first, 8);
    put(at + 8, (vp->idle ? FLAG_IDLE : 0u) | (vp->icr_written ? FLAG_ICR : 0u), 8);
    put(at + ICR_AT, vp->icr, 8);
    for (unsigned i = 0; i < 8; i++) {
        put(at + 16 + (size_t)4 * i, atomic_load(&vp->auto_eoi[i]), 4);
    }
}

enum hvtlfs_status hvtlfs_kvm_save(const struct hvtlfs_kvm *kvm, void *buffer, size_t size,
                                   size_t *used, struct hvtlfs_error *error)
{
    enum hvtlfs_status status;
    uint8_t *at;

    if (buffer == NULL || used == NULL) {
        return wrong(error, HVTLFS_ERR_ARGUMENT, buffer == NULL ? "buffer" : "used", 0, 0);
    }
    if (size < hvtlfs_kvm_state_size(kvm)) {
        return wrong(error, HVTLFS_ERR_FULL, "size", size, hvtlfs_kvm_state_size(kvm));
    }
    status = hvtlfs_state_save(kvm->partition, buffer, size, used, error);
    if (status != HVTLFS_OK) {
        return status;
    }
    at = (uint8_t *)buffer + *used;
    memcpy(at, magic, sizeof magic);
    put(at + 8, VERSION, 4);
    put(at + 12, kvm->vp_count, 4);
    for (uint32_t n = 0; n < kvm->vp_count; n++) {
        vp_save(&kvm->vps[n], at + HEADER_SIZE + (size_t)VP_SIZE * n);
    }
    *used += own_size(kvm);
    return HVTLFS_OK;
}

/* ---- Loading ---- */

size_t hvtlfs_kvm_state_partition(const void *state, size_t size)
{
    const uint8_t *bytes = state;
    uint64_t own;

    if (size < STATE_SIZE_AT + 8 || memcmp(bytes, state_magic, sizeof state_magic) != 0) {
        return 0;
    }
    own = get(bytes + STATE_SIZE_AT, 8);
    if (own > size || size - own < HEADER_SIZE || memcmp(bytes + own, magic, sizeof magic) != 0) {
        return 0;
    }
    return (size_t)own;
}

/* No flag that we do not know, and no vector that a SINT cannot have (TLFS 11.8.5). */
static bool vps_are_good(const struct hvtlfs_kvm *kvm, const uint8_t *at)
{
    for (uint32_t n = 0; n < kvm->vp_count; n++, at += VP_SIZE) {
        if ((get(at + 8, 8) & ~(uint64_t)(FLAG_IDLE | FLAG_ICR)) != 0 || get(at + 16, 2) != 0) {
            return false;
        }
    }
    return true;
}

/* What the helper saved, if it fits this VM. */
static const uint8_t *own_part(const struct hvtlfs_kvm *kvm, const uint8_t *state, size_t size,
                               enum hvtlfs_status *status, struct hvtlfs_error *error)
{
    size_t partition = hvtlfs_kvm_state_partition(state, size);
    const uint8_t *own = state + partition;

    if (partition == 0) {
        *status = wrong(error, HVTLFS_ERR_STATE_FORMAT, "size", size, 0);
        return NULL;
    }
    if (get(own + 8, 4) != VERSION) {
        *status = wrong(error, HVTLFS_ERR_STATE_VERSION, "version", get(own + 8, 4), VERSION);
        return NULL;
    }
    if (get(own + 12, 4) != kvm->vp_count) {
        *status = wrong(error, HVTLFS_ERR_STATE_INCOMPATIBLE, "vp_count", get(own + 12, 4),
                        kvm->vp_count);
        return NULL;
    }
    if (size - partition != own_size(kvm)) {
        *status = wrong(error, HVTLFS_ERR_STATE_FORMAT, "size", size, partition + own_size(kvm));
        return NULL;
    }
    if (!vps_are_good(kvm, own + HEADER_SIZE)) {
        *status = wrong(error, HVTLFS_ERR_STATE_FORMAT, "VP", 0, 0);
        return NULL;
    }
    return own;
}

/* The distances are those that the partition's state knows; the thaw tells how far they have changed. */
static void vp_load(struct hvti_kvm_vp *vp, const uint8_t *at)
{
    bool waiting = false;

    atomic_store(&vp->tsc_offset, atomic_load(&vp->kvm->vps[0].tsc_offset) + get(at, 8));
    vp->idle = (get(at + 8, 8) & FLAG_IDLE) != 0;
    vp->icr_written = (get(at + 8, 8) & FLAG_ICR) != 0;
    vp->icr = get(at + ICR_AT, 8);
    for (unsigned i = 0; i < 8; i++) {
        unsigned vectors = (unsigned)get(at + 16 + (size_t)4 * i, 4);

        atomic_store(&vp->auto_eoi[i], vectors);
        waiting = waiting || vectors != 0;
    }
    atomic_store(&vp->auto_pending, waiting);
    atomic_store(&vp->flush_pending, true);
    atomic_store(&vp->kicked, true);
}

enum hvtlfs_status hvtlfs_kvm_load(struct hvtlfs_kvm *kvm, const void *state, size_t size,
                                   struct hvtlfs_error *error)
{
    enum hvtlfs_status status = HVTLFS_OK;
    const uint8_t *own;

    if (state == NULL) {
        return wrong(error, HVTLFS_ERR_ARGUMENT, "state", 0, 0);
    }
    own = own_part(kvm, state, size, &status, error);
    if (own == NULL) {
        return status;
    }
    status =
        hvtlfs_state_load(kvm->partition, state, (size_t)(own - (const uint8_t *)state), error);
    for (uint32_t n = 0; status == HVTLFS_OK && n < kvm->vp_count; n++) {
        vp_load(&kvm->vps[n], own + HEADER_SIZE + (size_t)VP_SIZE * n);
    }
    return status;
}
