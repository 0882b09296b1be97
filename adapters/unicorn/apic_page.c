/* SPDX-License-Identifier: MIT */
/* The APIC's page of registers, for guests that do not switch to x2APIC mode: each access is an exit. */
#include "machine.h"

#define APIC_PAGE UINT64_C(0xFEE00000)

enum {
    PAGE_ID = 0x020,
    PAGE_TPR = 0x080,
    PAGE_EOI = 0x0B0,
    PAGE_SPURIOUS = 0x0F0,
    PAGE_ICR = 0x300,
    PAGE_ICR_HIGH = 0x310,
};

static uint64_t page_read(uc_engine *uc, uint64_t offset, unsigned size, void *context)
{
    struct machine_vp *vp = context;

    (void)uc;
    (void)size;
    exit_count(vp, &vp->exits.apic_page);
    switch (offset) {
    case PAGE_ID:
        return vp->apic.id << 24;
    case PAGE_TPR:
        return vp->apic.tpr;
    case PAGE_SPURIOUS:
        return vp->apic.spurious;
    case PAGE_ICR:
        return (uint32_t)vp->apic.icr;
    case PAGE_ICR_HIGH:
        return vp->apic.icr_high;
    default:
        return 0;
    }
}

static void page_write(uc_engine *uc, uint64_t offset, unsigned size, uint64_t value, void *context)
{
    struct hvtlfs_host_ops machine = machine_callbacks();
    struct machine_vp *vp = context;

    (void)uc;
    (void)size;
    exit_count(vp, &vp->exits.apic_page);
    vp->look = true; /* an interrupt may get in now */
    switch (offset) {
    case PAGE_EOI:
        machine.apic_write(vp->machine, vp->number, HVTLFS_APIC_EOI, 0);
        break;
    case PAGE_TPR:
        machine.apic_write(vp->machine, vp->number, HVTLFS_APIC_TPR, value);
        break;
    case PAGE_SPURIOUS:
        vp->apic.spurious = (uint32_t)value;
        break;
    case PAGE_ICR:
        machine.apic_write(vp->machine, vp->number, HVTLFS_APIC_ICR,
                           (uint64_t)(vp->apic.icr_high >> 24) << 32 | (uint32_t)value);
        break;
    case PAGE_ICR_HIGH:
        vp->apic.icr_high = (uint32_t)value;
        break;
    default:
        break;
    }
}

bool apic_page_map(struct machine_vp *vp)
{
    return uc_mmio_map(vp->uc, APIC_PAGE, HVTLFS_PAGE_SIZE, page_read, vp, page_write, vp) ==
           UC_ERR_OK;
}
