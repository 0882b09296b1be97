/* SPDX-License-Identifier: MIT */
/*
 * The guest's memory: the VMM's regions and, where overlays are mapped, the overlays above them.
 *
 * With mapped overlays what the guest should see is the regions with the overlays on top; from that
 * follows which slots there should be, and only those that differ are changed. Slots cannot be split in
 * one step, so meanwhile all VPs are out of the guest, or they would find no memory for a moment.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "helper.h"

#define PAGE_MASK (~(uint64_t)(HVTLFS_PAGE_SIZE - 1))

/* ---- Lists of regions ---- */

static bool reserve(struct hvti_kvm_regions *regions, uint32_t capacity)
{
    struct hvti_kvm_region *at;

    if (capacity <= regions->capacity) {
        return true;
    }
    capacity = capacity < 2 * regions->capacity ? 2 * regions->capacity : capacity;
    at = realloc(regions->at, capacity * sizeof *at);
    if (at == NULL) {
        return false;
    }
    regions->at = at;
    regions->capacity = capacity;
    return true;
}

/* The first region that does not end before the address. */
static uint32_t position(const struct hvti_kvm_regions *regions, uint64_t gpa)
{
    uint32_t low = 0;
    uint32_t high = regions->count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct hvti_kvm_region *region = &regions->at[middle];

        if (gpa >= region->gpa && gpa - region->gpa >= region->size) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static struct hvti_kvm_region *region_at(const struct hvti_kvm_regions *regions, uint64_t gpa)
{
    uint32_t i = position(regions, gpa);

    return i < regions->count && gpa >= regions->at[i].gpa ? &regions->at[i] : NULL;
}

/* Room has been reserved. */
static void insert(struct hvti_kvm_regions *regions, const struct hvti_kvm_region *region)
{
    uint32_t i = position(regions, region->gpa);

    memmove(&regions->at[i + 1], &regions->at[i], (regions->count - i) * sizeof *regions->at);
    regions->at[i] = *region;
    regions->count++;
}

static void take_out(struct hvti_kvm_regions *regions, const struct hvti_kvm_region *region)
{
    uint32_t i = (uint32_t)(region - regions->at);

    regions->count--;
    memmove(&regions->at[i], &regions->at[i + 1], (regions->count - i) * sizeof *regions->at);
}

enum hvtlfs_status hvti_kvm_memory_init(struct hvtlfs_kvm *kvm)
{
    return pthread_rwlock_init(&kvm->memory.lock, NULL) == 0 &&
                   pthread_mutex_init(&kvm->memory.change, NULL) == 0
               ? HVTLFS_OK
               : HVTLFS_ERR_HOST;
}

void hvti_kvm_memory_free(struct hvtlfs_kvm *kvm)
{
    free(kvm->memory.ram.at);
    free(kvm->memory.overlays.at);
    free(kvm->memory.wanted.at);
    free(kvm->memory.slots.at);
    (void)pthread_mutex_destroy(&kvm->memory.change);
    (void)pthread_rwlock_destroy(&kvm->memory.lock);
}

/* ---- Access ---- */

static void enter(struct hvtlfs_kvm *kvm)
{
    (void)pthread_rwlock_rdlock(&kvm->memory.lock);
}

static void leave(struct hvtlfs_kvm *kvm)
{
    (void)pthread_rwlock_unlock(&kvm->memory.lock);
}

/* What is visible at an address; *is_ram: it is the guest's own memory, not an overlay. */
static uint8_t *visible(const struct hvtlfs_kvm *kvm, uint64_t gpa, bool write, bool *is_ram)
{
    const struct hvti_kvm_region *region = region_at(&kvm->memory.overlays, gpa);

    *is_ram = region == NULL;
    if (region == NULL) {
        region = region_at(&kvm->memory.ram, gpa);
    }
    if (region == NULL || (write && (region->flags & KVM_MEM_READONLY) != 0)) {
        return NULL;
    }
    return region->host + (gpa - region->gpa);
}

bool hvti_kvm_memory_read(struct hvtlfs_kvm *kvm, uint64_t gpa, void *buffer, size_t size)
{
    const uint8_t *from;
    bool is_ram;

    enter(kvm);
    from = visible(kvm, gpa, false, &is_ram);
    if (from != NULL) {
        memcpy(buffer, from, size);
    }
    leave(kvm);
    return from != NULL;
}

static void tell_written(const struct hvtlfs_kvm *kvm, bool is_ram, uint64_t gpa, uint64_t size)
{
    if (is_ram && kvm->config.memory_written != NULL) {
        kvm->config.memory_written(kvm->config.context, gpa, size);
    }
}

bool hvti_kvm_memory_write(struct hvtlfs_kvm *kvm, uint64_t gpa, const void *buffer, size_t size)
{
    uint8_t *to;
    bool is_ram;

    enter(kvm);
    to = visible(kvm, gpa, true, &is_ram);
    if (to != NULL) {
        memcpy(to, buffer, size);
        tell_written(kvm, is_ram, gpa, size);
    }
    leave(kvm);
    return to != NULL;
}

bool hvti_kvm_memory_exchange(struct hvtlfs_kvm *kvm, uint64_t gpa, uint32_t *expected,
                              uint32_t desired, bool *done)
{
    uint32_t *word;
    bool is_ram;

    enter(kvm);
    word = (uint32_t *)(void *)visible(kvm, gpa, true, &is_ram);
    if (word != NULL) {
        *done = __atomic_compare_exchange_n(word, expected, desired, false, __ATOMIC_SEQ_CST,
                                            __ATOMIC_SEQ_CST);
        tell_written(kvm, is_ram, gpa, sizeof *word);
    }
    leave(kvm);
    return word != NULL;
}

bool hvti_kvm_memory_is_ram(struct hvtlfs_kvm *kvm, uint64_t gpa)
{
    const struct hvti_kvm_region *region;
    bool is_ram;

    enter(kvm);
    region = region_at(&kvm->memory.ram, gpa);
    is_ram = region != NULL && (region->flags & KVM_MEM_READONLY) == 0;
    leave(kvm);
    return is_ram;
}

bool hvti_kvm_memory_refuses(struct hvtlfs_kvm *kvm, uint64_t gpa)
{
    const struct hvti_kvm_region *overlay;
    bool refuses;

    enter(kvm);
    overlay = region_at(&kvm->memory.overlays, gpa);
    refuses = overlay != NULL && (overlay->flags & KVM_MEM_READONLY) != 0;
    leave(kvm);
    return refuses;
}

/* ---- KVM's slots, where the helper makes them ---- */

static void piece(struct hvti_kvm_regions *wanted, const struct hvti_kvm_region *region,
                  uint64_t from, uint64_t to)
{
    if (from < to) {
        wanted->at[wanted->count++] = (struct hvti_kvm_region){
            .gpa = from,
            .size = to - from,
            .host = region->host + (from - region->gpa),
            .flags = region->flags,
        };
    }
}

/* One region of memory without the pages that overlays cover. */
static void pieces(struct hvti_kvm_memory *memory, const struct hvti_kvm_region *ram)
{
    uint64_t from = ram->gpa;
    uint64_t end = ram->gpa + ram->size;

    for (uint32_t i = position(&memory->overlays, ram->gpa); i < memory->overlays.count; i++) {
        const struct hvti_kvm_region *overlay = &memory->overlays.at[i];

        if (overlay->gpa >= end) {
            break;
        }
        piece(&memory->wanted, ram, from, overlay->gpa);
        from = overlay->gpa + overlay->size;
    }
    piece(&memory->wanted, ram, from, end);
}

/* Work out the slots. An overlay makes at most two pieces of one. */
static bool lay_out(struct hvti_kvm_memory *memory)
{
    memory->wanted.count = 0;
    if (!reserve(&memory->wanted, memory->ram.count + 2 * memory->overlays.count)) {
        return false;
    }
    for (uint32_t i = 0; i < memory->ram.count; i++) {
        pieces(memory, &memory->ram.at[i]);
    }
    for (uint32_t i = 0; i < memory->overlays.count; i++) {
        memory->wanted.at[memory->wanted.count++] = memory->overlays.at[i];
    }
    return reserve(&memory->slots, memory->slots.count + memory->wanted.count);
}

static bool same(const struct hvti_kvm_region *a, const struct hvti_kvm_region *b)
{
    return a->gpa == b->gpa && a->size == b->size && a->host == b->host && a->flags == b->flags;
}

static bool present(const struct hvti_kvm_regions *regions, const struct hvti_kvm_region *region)
{
    for (uint32_t i = 0; i < regions->count; i++) {
        if (same(&regions->at[i], region)) {
            return true;
        }
    }
    return false;
}

static bool slot_tell(struct hvtlfs_kvm *kvm, uint32_t number, const struct hvti_kvm_region *region)
{
    struct kvm_userspace_memory_region slot = {
        .slot = number,
        .flags = region->flags,
        .guest_phys_addr = region->gpa,
        .memory_size = region->size,
        .userspace_addr = (uint64_t)(uintptr_t)region->host,
    };

    return hvti_kvm_vm_call(kvm, KVM_SET_USER_MEMORY_REGION, &slot) == 0;
}

static bool slots_clear(struct hvtlfs_kvm *kvm)
{
    struct hvti_kvm_regions *slots = &kvm->memory.slots;
    bool cleared = true;

    for (uint32_t i = 0; i < slots->count; i++) {
        if (slots->at[i].size != 0 && !present(&kvm->memory.wanted, &slots->at[i])) {
            slots->at[i].size = 0;
            cleared = slot_tell(kvm, i, &slots->at[i]) && cleared;
        }
    }
    return cleared;
}

static bool slot_make(struct hvtlfs_kvm *kvm, const struct hvti_kvm_region *region)
{
    struct hvti_kvm_regions *slots = &kvm->memory.slots;
    uint32_t number = 0;

    while (number < slots->count && slots->at[number].size != 0) {
        number++;
    }
    if (!slot_tell(kvm, number, region)) {
        return false;
    }
    slots->count += number == slots->count;
    slots->at[number] = *region;
    return true;
}

/* Make KVM's slots what the lists say. The VPs are out of the guest. */
static bool apply(struct hvtlfs_kvm *kvm)
{
    struct hvti_kvm_memory *memory = &kvm->memory;
    bool applied;

    if (!lay_out(memory)) {
        return false;
    }
    applied = slots_clear(kvm);
    for (uint32_t i = 0; i < memory->wanted.count; i++) {
        if (!present(&memory->slots, &memory->wanted.at[i])) {
            applied = slot_make(kvm, &memory->wanted.at[i]) && applied;
        }
    }
    return applied;
}

/* ---- Changes ---- */

static void change_begins(struct hvtlfs_kvm *kvm)
{
    (void)pthread_mutex_lock(&kvm->memory.change);
}

static void change_ends(struct hvtlfs_kvm *kvm)
{
    (void)pthread_mutex_unlock(&kvm->memory.change);
}

/* Put in or take out one region of a list. Room has been reserved. */
static void list_change(struct hvtlfs_kvm *kvm, struct hvti_kvm_regions *list,
                        const struct hvti_kvm_region *in, uint64_t out)
{
    const struct hvti_kvm_region *found;

    (void)pthread_rwlock_wrlock(&kvm->memory.lock);
    if (in != NULL) {
        insert(list, in);
    } else if ((found = region_at(list, out)) != NULL) {
        take_out(list, found);
    }
    (void)pthread_rwlock_unlock(&kvm->memory.lock);
}

static bool list_reserve(struct hvtlfs_kvm *kvm, struct hvti_kvm_regions *list)
{
    bool reserved;

    (void)pthread_rwlock_wrlock(&kvm->memory.lock);
    reserved = reserve(list, list->count + 1);
    (void)pthread_rwlock_unlock(&kvm->memory.lock);
    return reserved;
}

bool hvti_kvm_overlay_set(struct hvtlfs_kvm *kvm, const struct hvtlfs_overlay *overlay)
{
    struct hvti_kvm_regions *overlays = &kvm->memory.overlays;
    struct hvti_kvm_region region = {
        .gpa = overlay->gpa & PAGE_MASK,
        .size = HVTLFS_PAGE_SIZE,
        .host = overlay->page,
        .flags = overlay->access & HVTLFS_ACCESS_WRITE ? 0 : KVM_MEM_READONLY,
    };
    bool set = false;

    change_begins(kvm);
    if (list_reserve(kvm, overlays)) {
        set = hvti_kvm_gate_close(kvm);
        if (set) {
            list_change(kvm, overlays, &region, 0);
            set = apply(kvm);
        }
        if (!set && region_at(overlays, region.gpa) != NULL) {
            list_change(kvm, overlays, NULL, region.gpa);
            (void)apply(kvm);
        }
        hvti_kvm_gate_open(kvm);
    }
    change_ends(kvm);
    return set;
}

void hvti_kvm_overlay_clear(struct hvtlfs_kvm *kvm, const struct hvtlfs_overlay *overlay)
{
    change_begins(kvm);
    (void)hvti_kvm_gate_close(kvm);
    list_change(kvm, &kvm->memory.overlays, NULL, overlay->gpa);
    (void)apply(kvm);
    hvti_kvm_gate_open(kvm);
    change_ends(kvm);
}

/* ---- The VMM's regions ---- */

static const struct hvti_kvm_region *by_slot(const struct hvti_kvm_regions *ram, uint32_t slot)
{
    for (uint32_t i = 0; i < ram->count; i++) {
        if (ram->at[i].slot == slot) {
            return &ram->at[i];
        }
    }
    return NULL;
}

static enum hvtlfs_status region_check(const struct hvti_kvm_memory *memory,
                                       const struct kvm_userspace_memory_region *region,
                                       struct hvtlfs_kvm_error *error)
{
    uint64_t gpa = region->guest_phys_addr;
    uint64_t size = region->memory_size;
    uint32_t i;

    if (((gpa | size | region->userspace_addr) & ~PAGE_MASK) != 0 || gpa + size < gpa) {
        return hvti_kvm_fail(error, HVTLFS_ERR_ARGUMENT, 0,
                             "memory slot %u: 0x%llx bytes at 0x%llx are not whole pages",
                             (unsigned)region->slot, (unsigned long long)size,
                             (unsigned long long)gpa);
    }
    i = size != 0 ? position(&memory->ram, gpa) : memory->ram.count;
    for (; i < memory->ram.count && memory->ram.at[i].gpa < gpa + size; i++) {
        if (memory->ram.at[i].slot != region->slot) {
            return hvti_kvm_fail(
                error, HVTLFS_ERR_ARGUMENT, 0, "memory slot %u at 0x%llx overlaps slot %u",
                (unsigned)region->slot, (unsigned long long)gpa, (unsigned)memory->ram.at[i].slot);
        }
    }
    return HVTLFS_OK;
}

/* The lists as the region wants them; *old gets what it replaces (size 0: nothing). */
static void region_put(struct hvtlfs_kvm *kvm, const struct kvm_userspace_memory_region *region,
                       struct hvti_kvm_region *old)
{
    struct hvti_kvm_memory *memory = &kvm->memory;
    const struct hvti_kvm_region *found = by_slot(&memory->ram, region->slot);
    struct hvti_kvm_region new = {
        .gpa = region->guest_phys_addr,
        .size = region->memory_size,
        .host = (uint8_t *)(uintptr_t)region->userspace_addr,
        .flags = region->flags & (KVM_MEM_READONLY | KVM_MEM_LOG_DIRTY_PAGES),
        .slot = region->slot,
    };

    *old = (struct hvti_kvm_region){.slot = region->slot};
    (void)pthread_rwlock_wrlock(&memory->lock);
    if (found != NULL) {
        *old = *found;
        take_out(&memory->ram, found);
    }
    if (new.size != 0) {
        insert(&memory->ram, &new);
    }
    (void)pthread_rwlock_unlock(&memory->lock);
}

static struct kvm_userspace_memory_region as_slot(const struct hvti_kvm_region *region)
{
    return (struct kvm_userspace_memory_region){
        .slot = region->slot,
        .flags = region->flags,
        .guest_phys_addr = region->gpa,
        .memory_size = region->size,
        .userspace_addr = (uint64_t)(uintptr_t)region->host,
    };
}

/* KVM gets the new slots, or everything is put back. */
static bool region_tell(struct hvtlfs_kvm *kvm, const struct kvm_userspace_memory_region *region,
                        const struct hvti_kvm_region *old)
{
    struct kvm_userspace_memory_region copy = *region;
    struct kvm_userspace_memory_region back = as_slot(old);
    struct hvti_kvm_region undone;
    bool told;
    int why;

    if (kvm->config.overlays == HVTLFS_KVM_OVERLAYS_COPIED) {
        told = hvti_kvm_vm_call(kvm, KVM_SET_USER_MEMORY_REGION, &copy) == 0;
    } else {
        errno = EBUSY; /* in case a VP does not come out */
        told = hvti_kvm_gate_close(kvm) && apply(kvm);
    }
    if (!told) {
        why = errno;
        region_put(kvm, &back, &undone);
        if (kvm->config.overlays == HVTLFS_KVM_OVERLAYS_MAPPED) {
            (void)apply(kvm);
        }
        errno = why;
    }
    if (kvm->config.overlays == HVTLFS_KVM_OVERLAYS_MAPPED) {
        hvti_kvm_gate_open(kvm);
    }
    return told;
}

static enum hvtlfs_status region_change(struct hvtlfs_kvm *kvm,
                                        const struct kvm_userspace_memory_region *region, bool tell,
                                        struct hvtlfs_kvm_error *error)
{
    struct hvti_kvm_region old;
    enum hvtlfs_status status = region_check(&kvm->memory, region, error);

    if (status != HVTLFS_OK) {
        return status;
    }
    if (!list_reserve(kvm, &kvm->memory.ram)) {
        return hvti_kvm_fail(error, HVTLFS_ERR_FULL, ENOMEM, "memory slot %u",
                             (unsigned)region->slot);
    }
    region_put(kvm, region, &old);
    if (tell && !region_tell(kvm, region, &old)) {
        return hvti_kvm_fail(error, HVTLFS_ERR_HOST, errno,
                             "KVM_SET_USER_MEMORY_REGION of slot %u at 0x%llx",
                             (unsigned)region->slot, (unsigned long long)region->guest_phys_addr);
    }
    return HVTLFS_OK;
}

static enum hvtlfs_status change(struct hvtlfs_kvm *kvm,
                                 const struct kvm_userspace_memory_region *region, bool tell,
                                 struct hvtlfs_kvm_error *error)
{
    enum hvtlfs_status status = hvti_kvm_forked(kvm, error);

    if (status == HVTLFS_OK) {
        change_begins(kvm);
        status = region_change(kvm, region, tell, error);
        change_ends(kvm);
    }
    return status;
}

enum hvtlfs_status hvtlfs_kvm_memory_set(struct hvtlfs_kvm *kvm,
                                         const struct kvm_userspace_memory_region *region,
                                         struct hvtlfs_kvm_error *error)
{
    return change(kvm, region, true, error);
}

enum hvtlfs_status hvtlfs_kvm_memory_note(struct hvtlfs_kvm *kvm,
                                          const struct kvm_userspace_memory_region *region,
                                          struct hvtlfs_kvm_error *error)
{
    if (kvm->config.overlays == HVTLFS_KVM_OVERLAYS_MAPPED) {
        return hvti_kvm_fail(error, HVTLFS_ERR_UNAVAILABLE, 0,
                             "with mapped overlays all slots are made by hvtlfs_kvm_memory_set()");
    }
    return change(kvm, region, false, error);
}
