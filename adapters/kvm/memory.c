/* SPDX-License-Identifier: MIT */
/*
 * Memory slots. What the guest should see is RAM with the overlays on top; from that follows which
 * slots there should be, and only those that differ are changed.
 */
#include <string.h>
#include <sys/ioctl.h>

#include "adapter.h"

#define PAGE_MASK (~(uint64_t)(HVTLFS_PAGE_SIZE - 1))

/* The slots as they should be, in the order of their addresses. */
struct layout {
    struct adapter_region regions[ADAPTER_SLOTS];
    uint32_t count;
};

static bool inside(const struct adapter_region *region, uint64_t gpa)
{
    return gpa >= region->gpa && gpa - region->gpa < region->size;
}

static struct adapter_region *overlay_at(struct adapter_memory *memory, uint64_t gpa)
{
    for (uint32_t i = 0; i < memory->overlay_count; i++) {
        if (inside(&memory->overlays[i], gpa)) {
            return &memory->overlays[i];
        }
    }
    return NULL;
}

static const struct adapter_region *ram_at(const struct adapter_memory *memory, uint64_t gpa)
{
    for (uint32_t i = 0; i < memory->ram_count; i++) {
        if (inside(&memory->ram[i], gpa)) {
            return &memory->ram[i];
        }
    }
    return NULL;
}

uint8_t *memory_at(struct adapter *adapter, uint64_t gpa)
{
    const struct adapter_region *region = overlay_at(&adapter->memory, gpa);

    if (region == NULL) {
        region = ram_at(&adapter->memory, gpa);
    }
    return region != NULL ? region->host + (gpa - region->gpa) : NULL;
}

bool memory_is_ram(const struct adapter *adapter, uint64_t gpa)
{
    return ram_at(&adapter->memory, gpa) != NULL;
}

bool memory_refuses(struct adapter *adapter, uint64_t gpa)
{
    const struct adapter_region *overlay = overlay_at(&adapter->memory, gpa);

    return overlay != NULL && (overlay->flags & KVM_MEM_READONLY) != 0;
}

static void piece(struct layout *layout, const struct adapter_region *region, uint64_t from,
                  uint64_t to)
{
    if (from < to) {
        layout->regions[layout->count++] = (struct adapter_region){
            from, to - from, region->host + (from - region->gpa), region->flags};
    }
}

/* One region of RAM without the pages that overlays cover. */
static void pieces(struct layout *layout, const struct adapter_memory *memory,
                   const struct adapter_region *ram)
{
    uint64_t from = ram->gpa;

    for (uint32_t i = 0; i < memory->overlay_count; i++) {
        const struct adapter_region *overlay = &memory->overlays[i];

        if (inside(ram, overlay->gpa)) {
            piece(layout, ram, from, overlay->gpa);
            from = overlay->gpa + overlay->size;
        }
    }
    piece(layout, ram, from, ram->gpa + ram->size);
}

static void lay_out(struct layout *layout, const struct adapter_memory *memory)
{
    layout->count = 0;
    for (uint32_t i = 0; i < memory->ram_count; i++) {
        pieces(layout, memory, &memory->ram[i]);
    }
    for (uint32_t i = 0; i < memory->overlay_count; i++) {
        layout->regions[layout->count++] = memory->overlays[i];
    }
}

static bool same(const struct adapter_region *a, const struct adapter_region *b)
{
    return a->gpa == b->gpa && a->size == b->size && a->host == b->host && a->flags == b->flags;
}

static bool slot_set(struct adapter *adapter, uint32_t number, const struct adapter_region *region)
{
    struct kvm_userspace_memory_region kvm = {
        .slot = number,
        .flags = region->flags,
        .guest_phys_addr = region->gpa,
        .memory_size = region->size,
        .userspace_addr = (uint64_t)(uintptr_t)region->host,
    };

    if (ioctl(adapter->vm, KVM_SET_USER_MEMORY_REGION, &kvm) != 0) {
        return false;
    }
    adapter->memory.slots[number] = *region;
    return true;
}

static bool slot_clear(struct adapter *adapter, uint32_t number)
{
    struct adapter_region nothing = adapter->memory.slots[number];

    nothing.size = 0;
    return slot_set(adapter, number, &nothing);
}

static bool wanted(const struct layout *layout, const struct adapter_region *slot)
{
    for (uint32_t i = 0; i < layout->count; i++) {
        if (same(&layout->regions[i], slot)) {
            return true;
        }
    }
    return false;
}

static bool slot_for(struct adapter *adapter, const struct adapter_region *region)
{
    struct adapter_region *slots = adapter->memory.slots;
    uint32_t unused = ADAPTER_SLOTS;

    for (uint32_t i = ADAPTER_SLOTS; i-- > 0;) {
        if (slots[i].size == 0) {
            unused = i;
        } else if (same(&slots[i], region)) {
            return true;
        }
    }
    return unused < ADAPTER_SLOTS && slot_set(adapter, unused, region);
}

static bool apply(struct adapter *adapter)
{
    static _Thread_local struct layout layout;
    struct adapter_memory *memory = &adapter->memory;
    bool applied = true;

    lay_out(&layout, memory);
    for (uint32_t i = 0; i < ADAPTER_SLOTS; i++) {
        if (memory->slots[i].size != 0 && !wanted(&layout, &memory->slots[i])) {
            applied = slot_clear(adapter, i) && applied;
        }
    }
    for (uint32_t i = 0; i < layout.count; i++) {
        applied = slot_for(adapter, &layout.regions[i]) && applied;
    }
    return applied;
}

bool memory_add(struct adapter *adapter, uint64_t gpa, void *host, uint64_t size)
{
    struct adapter_memory *memory = &adapter->memory;

    if (memory->ram_count == ADAPTER_RAM_REGIONS) {
        return false;
    }
    memory->ram[memory->ram_count++] = (struct adapter_region){gpa, size, host, 0};
    return apply(adapter);
}

static void insert(struct adapter_memory *memory, const struct adapter_region *overlay)
{
    uint32_t i = memory->overlay_count++;

    while (i > 0 && memory->overlays[i - 1].gpa > overlay->gpa) {
        memory->overlays[i] = memory->overlays[i - 1];
        i--;
    }
    memory->overlays[i] = *overlay;
}

static void take_out(struct adapter_memory *memory, struct adapter_region *overlay)
{
    struct adapter_region *end = &memory->overlays[--memory->overlay_count];

    memmove(overlay, overlay + 1, (size_t)(end - overlay) * sizeof *overlay);
}

bool memory_overlay_set(struct adapter *adapter, const struct hvtlfs_overlay *overlay)
{
    struct adapter_memory *memory = &adapter->memory;
    struct adapter_region region = {overlay->gpa & PAGE_MASK, HVTLFS_PAGE_SIZE, overlay->page,
                                    overlay->access & HVTLFS_ACCESS_WRITE ? 0 : KVM_MEM_READONLY};
    bool applied;

    if (memory->overlay_count == ADAPTER_OVERLAYS) {
        return false;
    }
    gate_close(adapter);
    insert(memory, &region);
    applied = apply(adapter);
    if (!applied) {
        take_out(memory, overlay_at(memory, region.gpa));
        (void)apply(adapter);
    }
    gate_open(adapter);
    return applied;
}

void memory_overlay_clear(struct adapter *adapter, const struct hvtlfs_overlay *overlay)
{
    struct adapter_region *found = overlay_at(&adapter->memory, overlay->gpa);

    if (found != NULL) {
        gate_close(adapter);
        take_out(&adapter->memory, found);
        (void)apply(adapter);
        gate_open(adapter);
    }
}
