/* SPDX-License-Identifier: MIT */
#include "overlay.h"

#include "feature_rows.h"
#include "host.h"
#include "state.h"

/* Small enough for any stack; a page is exchanged piece by piece. */
#define PIECE 256u

/* Which feature brings which page, whose it is and what the guest may do with it. */
static const struct {
    uint64_t features;
    bool per_vp;
    uint32_t access;
} kinds[HVTLFS_OVERLAY_KINDS] = {
    [HVTLFS_OVERLAY_HYPERCALL] = {FEATURE_BIT(HYPERCALL), false,
                                  HVTLFS_ACCESS_READ | HVTLFS_ACCESS_EXECUTE},
    [HVTLFS_OVERLAY_REFERENCE_TSC] = {FEATURE_BIT(REFERENCE_TSC), false, HVTLFS_ACCESS_READ},
    [HVTLFS_OVERLAY_VP_ASSIST] = {FEATURE_BIT(VAPIC), true,
                                  HVTLFS_ACCESS_READ | HVTLFS_ACCESS_WRITE},
    [HVTLFS_OVERLAY_SIM] = {FEATURE_BIT(SYNIC), true, HVTLFS_ACCESS_READ | HVTLFS_ACCESS_WRITE},
    [HVTLFS_OVERLAY_SIEF] = {FEATURE_BIT(SYNIC), true, HVTLFS_ACCESS_READ | HVTLFS_ACCESS_WRITE},
    [HVTLFS_OVERLAY_STATS_PARTITION] = {FEATURE_BIT(STATS), true, HVTLFS_ACCESS_READ},
    [HVTLFS_OVERLAY_STATS_VP] = {FEATURE_BIT(STATS), true, HVTLFS_ACCESS_READ},
    [HVTLFS_OVERLAY_STATS_PARTITION_INTERNAL] = {FEATURE_BIT(STATS), true, HVTLFS_ACCESS_READ},
    [HVTLFS_OVERLAY_STATS_VP_INTERNAL] = {FEATURE_BIT(STATS), true, HVTLFS_ACCESS_READ},
};

static uint32_t kinds_of(uint64_t features, bool per_vp)
{
    uint32_t mask = 0;
    uint32_t kind;

    for (kind = 0; kind < HVTLFS_OVERLAY_KINDS; kind++) {
        if (kinds[kind].per_vp == per_vp && (kinds[kind].features & features)) {
            mask |= BIT32(kind);
        }
    }
    return mask;
}

uint32_t hvti_overlay_partition_kinds(uint64_t features)
{
    return kinds_of(features, false);
}

uint32_t hvti_overlay_vp_kinds(uint64_t features)
{
    return kinds_of(features, true);
}

uint32_t hvti_overlay_slot_count(uint64_t features, uint32_t vp_count)
{
    return count_bits(kinds_of(features, false)) + vp_count * count_bits(kinds_of(features, true));
}

uint32_t hvti_overlay_slot(const struct hvti_overlays *overlays, enum hvtlfs_overlay_kind kind,
                           uint32_t vp_slot)
{
    uint32_t below = BIT32(kind) - 1;

    if (overlays->partition_kinds & BIT32(kind)) {
        return count_bits(overlays->partition_kinds & below);
    }
    if (overlays->vp_kinds & BIT32(kind)) {
        return count_bits(overlays->partition_kinds) + vp_slot * count_bits(overlays->vp_kinds) +
               count_bits(overlays->vp_kinds & below);
    }
    return HVTI_NO_SLOT;
}

/* The n-th kind of a mask. */
static enum hvtlfs_overlay_kind nth_kind(uint32_t mask, uint32_t n)
{
    for (; n; n--) {
        mask &= mask - 1;
    }
    return (enum hvtlfs_overlay_kind)__builtin_ctz(mask);
}

static uint8_t *page_of_slot(const struct hvti_overlays *overlays, uint32_t slot)
{
    return overlays->pages + (size_t)slot * HVTLFS_PAGE_SIZE;
}

uint8_t *hvti_overlay_bytes(const struct hvtlfs_partition *partition, uint32_t slot)
{
    return page_of_slot(&partition->overlays, slot);
}

/* What the host is told about a slot. */
struct hvtlfs_overlay hvti_overlay_describe(const struct hvtlfs_partition *partition, uint32_t slot)
{
    const struct hvti_overlays *overlays = &partition->overlays;
    uint32_t partition_slots = count_bits(overlays->partition_kinds);
    struct hvtlfs_overlay overlay = {
        .vp_index = HVTLFS_NO_VP,
        .gpa = overlays->gpa[slot],
        .page = page_of_slot(overlays, slot),
    };

    if (slot < partition_slots) {
        overlay.kind = nth_kind(overlays->partition_kinds, slot);
    } else {
        uint32_t per_vp = count_bits(overlays->vp_kinds);

        slot -= partition_slots;
        overlay.kind = nth_kind(overlays->vp_kinds, slot % per_vp);
        overlay.vp_index = partition->vps[slot / per_vp].index;
    }
    overlay.access = kinds[overlay.kind].access;
    return overlay;
}

/* The slot directly above or below `slot` in the stack at `gpa`. */
static uint32_t find_above(const struct hvti_overlays *overlays, uint64_t gpa, uint32_t slot)
{
    while (slot--) {
        if (overlays->gpa[slot] == gpa) {
            return slot;
        }
    }
    return HVTI_NO_SLOT;
}

static uint32_t find_below(const struct hvti_overlays *overlays, uint64_t gpa, uint32_t slot)
{
    while (++slot < overlays->slot_count) {
        if (overlays->gpa[slot] == gpa) {
            return slot;
        }
    }
    return HVTI_NO_SLOT;
}

/* ---- Hosts that map overlays ---- */

static bool host_set(struct hvtlfs_partition *partition, uint32_t slot)
{
    struct hvtlfs_overlay overlay = hvti_overlay_describe(partition, slot);

    return hvti_host_overlay_set(&partition->host, &overlay);
}

static void host_clear(struct hvtlfs_partition *partition, uint32_t slot)
{
    struct hvtlfs_overlay overlay = hvti_overlay_describe(partition, slot);

    hvti_host_overlay_clear(&partition->host, &overlay);
}

/* What lies below comes up. A page that the host cannot show any more is out of the guest's reach, as
 * one that it could not show at first, and the next one gets its turn. */
static void map_below(struct hvtlfs_partition *partition, uint32_t slot, uint64_t gpa)
{
    struct hvti_overlays *overlays = &partition->overlays;

    while ((slot = find_below(overlays, gpa, slot)) != HVTI_NO_SLOT && !host_set(partition, slot)) {
        overlays->gpa[slot] = HVTI_NOWHERE;
    }
}

static bool map_in(struct hvtlfs_partition *partition, uint32_t slot, uint64_t gpa)
{
    struct hvti_overlays *overlays = &partition->overlays;
    uint32_t below = find_below(overlays, gpa, slot);
    bool shown;

    overlays->gpa[slot] = gpa;
    if (find_above(overlays, gpa, slot) != HVTI_NO_SLOT) {
        return true;
    }
    if (below != HVTI_NO_SLOT) {
        host_clear(partition, below);
    }
    shown = host_set(partition, slot);
    if (!shown) {
        overlays->gpa[slot] = HVTI_NOWHERE;
        map_below(partition, slot, gpa);
    }
    return shown;
}

static void map_out(struct hvtlfs_partition *partition, uint32_t slot)
{
    struct hvti_overlays *overlays = &partition->overlays;
    uint64_t gpa = overlays->gpa[slot];

    if (find_above(overlays, gpa, slot) == HVTI_NO_SLOT) {
        host_clear(partition, slot);
        map_below(partition, slot, gpa);
    }
    overlays->gpa[slot] = HVTI_NOWHERE;
}

/* ---- Hosts that do not: exchange the bytes ---- */

static void exchange_bytes(uint8_t *a, uint8_t *b)
{
    uint8_t piece[PIECE];
    uint32_t offset;

    for (offset = 0; offset < HVTLFS_PAGE_SIZE; offset += PIECE) {
        memcpy(piece, a + offset, PIECE);
        memcpy(a + offset, b + offset, PIECE);
        memcpy(b + offset, piece, PIECE);
    }
}

static bool exchange_piece(const struct hvti_host *host, uint64_t gpa, uint8_t *bytes)
{
    uint8_t piece[PIECE];

    if (!hvti_host_gpa_read(host, gpa, piece, PIECE) ||
        !hvti_host_gpa_write(host, gpa, bytes, PIECE)) {
        return false;
    }
    memcpy(bytes, piece, PIECE);
    return true;
}

static bool exchange_with_ram(const struct hvti_host *host, uint64_t gpa, uint8_t *page)
{
    uint32_t offset;

    for (offset = 0; offset < HVTLFS_PAGE_SIZE; offset += PIECE) {
        if (!exchange_piece(host, gpa + offset, page + offset)) {
            /* No footprint: give back what was already exchanged. */
            while (offset) {
                offset -= PIECE;
                (void)exchange_piece(host, gpa + offset, page + offset);
            }
            return false;
        }
    }
    return true;
}

/* Exchange the slot's bytes with those it takes the place of, or gives it back to. */
static bool exchange(struct hvtlfs_partition *partition, uint32_t slot, uint64_t gpa)
{
    struct hvti_overlays *overlays = &partition->overlays;
    uint32_t above = find_above(overlays, gpa, slot);

    if (above != HVTI_NO_SLOT) {
        exchange_bytes(page_of_slot(overlays, slot), page_of_slot(overlays, above));
        return true;
    }
    return exchange_with_ram(&partition->host, gpa, page_of_slot(overlays, slot));
}

bool hvti_overlay_copy_in(struct hvtlfs_partition *partition, uint32_t slot, uint64_t gpa)
{
    if (!hvti_host_gpa_is_ram(&partition->host, gpa) || !exchange(partition, slot, gpa)) {
        return false;
    }
    partition->overlays.gpa[slot] = gpa;
    return true;
}

bool hvti_overlay_copy_out(struct hvtlfs_partition *partition, uint32_t slot)
{
    struct hvti_overlays *overlays = &partition->overlays;

    if (!exchange(partition, slot, overlays->gpa[slot])) {
        return false;
    }
    overlays->gpa[slot] = HVTI_NOWHERE;
    return true;
}

/* ---- Both ---- */

static bool place(struct hvtlfs_partition *partition, uint32_t slot, uint64_t gpa)
{
    return hvti_host_maps_overlays(&partition->host) ? map_in(partition, slot, gpa)
                                                     : hvti_overlay_copy_in(partition, slot, gpa);
}

static bool take(struct hvtlfs_partition *partition, uint32_t slot)
{
    if (!hvti_host_maps_overlays(&partition->host)) {
        return hvti_overlay_copy_out(partition, slot);
    }
    map_out(partition, slot);
    return true;
}

bool hvti_overlay_move(struct hvtlfs_partition *partition, uint32_t slot, uint64_t gpa)
{
    uint64_t old = partition->overlays.gpa[slot];

    if (gpa == old) {
        return true;
    }
    if (old != HVTI_NOWHERE && !take(partition, slot)) {
        return false;
    }
    if (gpa == HVTI_NOWHERE || place(partition, slot, gpa)) {
        return true;
    }
    if (old != HVTI_NOWHERE) {
        (void)place(partition, slot, old); /* it could be shown a moment ago */
    }
    return false;
}

bool hvti_overlay_show(struct hvtlfs_partition *partition, uint32_t slot, bool enable, uint64_t gpa)
{
    if (enable && gpa < partition->gpa_limit && hvti_overlay_move(partition, slot, gpa)) {
        return true;
    }
    return hvti_overlay_move(partition, slot, HVTI_NOWHERE);
}

uint64_t hvti_overlay_gpa(const struct hvtlfs_partition *partition, uint32_t slot)
{
    return partition->overlays.gpa[slot];
}

/* Where the content is at present: some slot's bytes, or (NULL) the guest's memory. */
static uint8_t *content(const struct hvtlfs_partition *partition, uint32_t slot)
{
    const struct hvti_overlays *overlays = &partition->overlays;
    uint32_t above;

    if (hvti_host_maps_overlays(&partition->host) || overlays->gpa[slot] == HVTI_NOWHERE) {
        return page_of_slot(overlays, slot);
    }
    above = find_above(overlays, overlays->gpa[slot], slot);
    return above == HVTI_NO_SLOT ? NULL : page_of_slot(overlays, above);
}

bool hvti_overlay_read(const struct hvtlfs_partition *partition, uint32_t slot, uint32_t offset,
                       void *buffer, uint32_t size)
{
    const uint8_t *bytes = content(partition, slot);

    if (!bytes) {
        return hvti_host_gpa_read(&partition->host, partition->overlays.gpa[slot] + offset, buffer,
                                  size);
    }
    memcpy(buffer, bytes + offset, size);
    return true;
}

bool hvti_overlay_write(struct hvtlfs_partition *partition, uint32_t slot, uint32_t offset,
                        const void *buffer, uint32_t size)
{
    uint8_t *bytes = content(partition, slot);

    if (!bytes) {
        return hvti_host_gpa_write(&partition->host, partition->overlays.gpa[slot] + offset, buffer,
                                   size);
    }
    memcpy(bytes + offset, buffer, size);
    return true;
}

void *hvti_overlay_mapped(const struct hvtlfs_partition *partition, uint32_t slot)
{
    return hvti_host_maps_overlays(&partition->host) ? page_of_slot(&partition->overlays, slot)
                                                     : NULL;
}

bool hvti_overlay_cas32(struct hvtlfs_partition *partition, uint32_t slot, uint32_t offset,
                        uint32_t *expected, uint32_t desired, bool *done)
{
    uint8_t *bytes = content(partition, slot);

    if (!bytes) {
        return hvti_host_gpa_cas(&partition->host, partition->overlays.gpa[slot] + offset, expected,
                                 desired, done);
    }
    *done = __atomic_compare_exchange_n((uint32_t *)(void *)(bytes + offset), expected, desired,
                                        false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
    return true;
}

void hvti_overlay_reset(struct hvtlfs_partition *partition, uint32_t slot)
{
    /* Should the guest's memory be out of reach, what was covered is lost with it. */
    if (!hvti_overlay_move(partition, slot, HVTI_NOWHERE)) {
        partition->overlays.gpa[slot] = HVTI_NOWHERE;
    }
    memset(page_of_slot(&partition->overlays, slot), 0, HVTLFS_PAGE_SIZE);
}
