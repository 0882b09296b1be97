/* SPDX-License-Identifier: MIT */
/* The guest's memory: RAM from address 0, overlays above it, and nothing elsewhere. */
#include <string.h>

#include "machine.h"

enum {
    PTE_PRESENT = 1,
    PTE_LARGE = 0x80,
    LEVELS = 4,
};

#define CR0_PG UINT64_C(0x80000000)
#define PTE_ADDRESS UINT64_C(0x000FFFFFFFFFF000)
#define PAGE_MASK (~(uint64_t)(HVTLFS_PAGE_SIZE - 1))

static struct machine_overlay *overlay_at(struct machine *machine, uint64_t gpa)
{
    for (uint32_t i = 0; i < machine->overlay_count; i++) {
        if (machine->overlays[i].gpa == (gpa & PAGE_MASK)) {
            return &machine->overlays[i];
        }
    }
    return NULL;
}

bool memory_is_ram(uint64_t gpa)
{
    return gpa < MACHINE_RAM_BYTES;
}

uint8_t *memory_at(struct machine *machine, uint64_t gpa)
{
    const struct machine_overlay *overlay = overlay_at(machine, gpa);

    if (overlay != NULL) {
        return overlay->page + (gpa & ~PAGE_MASK);
    }
    return memory_is_ram(gpa) ? machine->ram + gpa : NULL;
}

static bool entry_at(const struct machine_vp *vp, uint64_t gpa, uint64_t *entry)
{
    const uint8_t *bytes = memory_at(vp->machine, gpa);

    if (bytes == NULL) {
        return false;
    }
    memcpy(entry, bytes, sizeof *entry);
    return (*entry & PTE_PRESENT) != 0;
}

/* Four levels of 9 bits each; a large page at level 2 or 1 ends the walk early. */
bool memory_translate(const struct machine_vp *vp, uint64_t address, uint64_t *gpa)
{
    uint64_t table = register_get(vp, UC_X86_REG_CR3) & PTE_ADDRESS;

    if ((register_get(vp, UC_X86_REG_CR0) & CR0_PG) == 0) {
        *gpa = address;
        return true;
    }
    for (unsigned level = LEVELS; level-- > 0;) {
        unsigned shift = 12 + 9 * level;
        uint64_t offset_mask = (UINT64_C(1) << shift) - 1;
        uint64_t entry;

        if (!entry_at(vp, table + (address >> shift & 511) * sizeof entry, &entry)) {
            return false;
        }
        table = entry & PTE_ADDRESS;
        if (level == 0 || (level < 3 && (entry & PTE_LARGE) != 0)) {
            *gpa = (table & ~offset_mask) | (address & offset_mask);
            return true;
        }
    }
    return false;
}

bool memory_read_virtual(const struct machine_vp *vp, uint64_t address, void *buffer, size_t size)
{
    uint8_t *bytes = buffer;

    for (size_t i = 0; i < size; i++) {
        uint64_t gpa;
        const uint8_t *from;

        if (!memory_translate(vp, address + i, &gpa) ||
            (from = memory_at(vp->machine, gpa)) == NULL) {
            return false;
        }
        bytes[i] = *from;
    }
    return true;
}

bool memory_write_virtual(const struct machine_vp *vp, uint64_t address, const void *buffer,
                          size_t size)
{
    const uint8_t *bytes = buffer;

    for (size_t i = 0; i < size; i++) {
        uint64_t gpa;
        uint8_t *to;

        if (!memory_translate(vp, address + i, &gpa) ||
            (to = memory_at(vp->machine, gpa)) == NULL) {
            return false;
        }
        *to = bytes[i];
    }
    return true;
}

bool memory_map_all(struct machine_vp *vp)
{
    return uc_mem_map_ptr(vp->uc, 0, MACHINE_RAM_BYTES, UC_PROT_ALL, vp->machine->ram) ==
               UC_ERR_OK &&
           apic_page_map(vp);
}

static uint64_t nothing_read(uc_engine *uc, uint64_t offset, unsigned size, void *context)
{
    (void)uc;
    (void)offset;
    (void)size;
    (void)context;
    return UINT64_MAX;
}

static void nothing_write(uc_engine *uc, uint64_t offset, unsigned size, uint64_t value,
                          void *context)
{
    (void)uc;
    (void)offset;
    (void)size;
    (void)value;
    (void)context;
}

/* Where nothing is, a bus answers with ones; Unicorn would stop instead. */
static bool map_nothing(struct machine_vp *vp, uint64_t gpa)
{
    return uc_mmio_map(vp->uc, gpa & PAGE_MASK, HVTLFS_PAGE_SIZE, nothing_read, NULL, nothing_write,
                       NULL) == UC_ERR_OK;
}

static uint32_t protection(uint32_t access)
{
    return (access & HVTLFS_ACCESS_READ ? UC_PROT_READ : 0u) |
           (access & HVTLFS_ACCESS_WRITE ? UC_PROT_WRITE : 0u) |
           (access & HVTLFS_ACCESS_EXECUTE ? UC_PROT_EXEC : 0u);
}

/* Code translated from the page at a virtual address must go when the page changes: Unicorn keeps it by
 * the physical address, and overlays come to stand where others stood. (Asked to forget everything, it
 * would clear a gigabyte.) */
static void forget_code(struct machine_vp *vp, uint64_t address)
{
    uint64_t gpa;

    if (memory_translate(vp, address, &gpa)) {
        (void)uc_ctl_remove_cache(vp->uc, address, address + HVTLFS_PAGE_SIZE);
    }
}

/*
 * Unicorn up to 2.0 asks whether a page is mapped, and how, by the virtual address of an access, although
 * it then reads and writes by the physical one. So a page that the guest maps elsewhere gets a stand-in
 * at its virtual address, with the right protection. Stand-ins are made when Unicorn misses them and
 * all go when an overlay comes or goes.
 */
static bool alias(struct machine_vp *vp, uint64_t address, uint64_t gpa)
{
    const struct machine_overlay *overlay = overlay_at(vp->machine, gpa);
    uint32_t prot = overlay != NULL ? protection(overlay->access) : (uint32_t)UC_PROT_ALL;

    if (vp->alias_count == MACHINE_ALIASES ||
        uc_mem_map_ptr(vp->uc, address & PAGE_MASK, HVTLFS_PAGE_SIZE, prot,
                       memory_at(vp->machine, gpa & PAGE_MASK)) != UC_ERR_OK) {
        return false;
    }
    vp->aliases[vp->alias_count++] = address & PAGE_MASK;
    return true;
}

static void aliases_forget(struct machine_vp *vp)
{
    while (vp->alias_count > 0) {
        uint64_t address = vp->aliases[--vp->alias_count];

        forget_code(vp, address);
        (void)uc_mem_unmap(vp->uc, address, HVTLFS_PAGE_SIZE);
    }
}

bool memory_map_missing(struct machine_vp *vp, uint64_t address)
{
    uint64_t gpa;

    if (memory_translate(vp, address, &gpa) && gpa != address &&
        memory_at(vp->machine, gpa) != NULL) {
        return alias(vp, address, gpa);
    }
    return map_nothing(vp, address);
}

void memory_changed(struct machine *machine, uint64_t gpa)
{
    for (uint32_t n = 0; n < machine->vp_count; n++) {
        forget_code(&machine->vps[n], gpa & PAGE_MASK);
    }
}

/* Put page, or (NULL) what belongs there, at a guest page of one VP. */
static bool remap(struct machine_vp *vp, uint64_t gpa, void *page, uint32_t prot)
{
    bool mapped = true;

    (void)uc_mem_unmap(vp->uc, gpa, HVTLFS_PAGE_SIZE);
    if (page == NULL && memory_is_ram(gpa)) {
        page = vp->machine->ram + gpa;
        prot = UC_PROT_ALL;
    }
    if (page != NULL) {
        mapped = uc_mem_map_ptr(vp->uc, gpa, HVTLFS_PAGE_SIZE, prot, page) == UC_ERR_OK;
    }
    forget_code(vp, gpa);
    return mapped;
}

static bool remap_all(struct machine *machine, uint64_t gpa, void *page, uint32_t prot)
{
    bool mapped = true;

    for (uint32_t n = 0; n < machine->vp_count; n++) {
        aliases_forget(&machine->vps[n]);
        mapped = remap(&machine->vps[n], gpa, page, prot) && mapped;
    }
    return mapped;
}

bool memory_overlay_set(struct machine *machine, const struct hvtlfs_overlay *overlay)
{
    if (machine->overlay_count == MACHINE_OVERLAYS) {
        return false;
    }
    if (!remap_all(machine, overlay->gpa, overlay->page, protection(overlay->access))) {
        (void)remap_all(machine, overlay->gpa, NULL, 0);
        return false;
    }
    machine->overlays[machine->overlay_count++] =
        (struct machine_overlay){overlay->gpa, overlay->page, overlay->access};
    return true;
}

void memory_overlay_clear(struct machine *machine, const struct hvtlfs_overlay *overlay)
{
    struct machine_overlay *found = overlay_at(machine, overlay->gpa);

    if (found != NULL) {
        *found = machine->overlays[--machine->overlay_count];
        (void)remap_all(machine, overlay->gpa, NULL, 0);
    }
}
