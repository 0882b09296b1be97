/* SPDX-License-Identifier: MIT */
/*
 * The kernel's APIC, reached for a guest that uses the synthetic MSRs: by the registers of x2APIC mode
 * where the VP is in it, otherwise in the page of registers. The kernel lets interrupts in without
 * asking, so nobody here can know when an EOI may be left out: lazy EOI is never armed.
 */
#include <sys/ioctl.h>
#include <time.h>

#include "adapter.h"

enum {
    MSR_TPR = 0x808,
    MSR_EOI = 0x80B,
    MSR_ICR = 0x830,
    PAGE_ID = 0x20,
    PAGE_TPR = 0x80,
    PAGE_ISR = 0x100,
    PAGE_IRR = 0x200,
    PAGE_ICR = 0x300,
    PAGE_ICR_HIGH = 0x310,
    IDLE_NS = 50000,   /* between two looks */
    IDLE_LOOKS = 2000, /* then the guest may look for itself: waking up for nothing is harmless */
};

static const uint32_t msr_of[] = {
    [HVTLFS_APIC_EOI] = MSR_EOI,
    [HVTLFS_APIC_ICR] = MSR_ICR,
    [HVTLFS_APIC_TPR] = MSR_TPR,
};

/* struct kvm_msrs ends in an array of any size. */
union one_msr {
    struct kvm_msrs msrs;
    uint8_t room[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
};

static uint32_t page_get(const struct kvm_lapic_state *page, unsigned offset)
{
    uint32_t value = 0;

    for (unsigned i = 4; i-- > 0;) {
        value = value << 8 | (uint8_t)page->regs[offset + i];
    }
    return value;
}

static void page_put(struct kvm_lapic_state *page, unsigned offset, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++) {
        page->regs[offset + i] = (char)(uint8_t)(value >> 8 * i);
    }
}

/* Eight registers, 16 bytes apart, are a map of the vectors. */
static bool page_clear_highest(struct kvm_lapic_state *page, unsigned map)
{
    for (unsigned word = 8; word-- > 0;) {
        uint32_t bits = page_get(page, map + 16 * word);

        if (bits != 0) {
            page_put(page, map + 16 * word, bits & ~(UINT32_C(1) << (31 - __builtin_clz(bits))));
            return true;
        }
    }
    return false;
}

static bool page_any(const struct kvm_lapic_state *page, unsigned map)
{
    for (unsigned word = 0; word < 8; word++) {
        if (page_get(page, map + 16 * word) != 0) {
            return true;
        }
    }
    return false;
}

/* What the kernel does for a store to ICR, as far as an MSI can: fixed, physical or to itself. */
static void page_send(const struct adapter_vp *vp, const struct kvm_lapic_state *page, uint64_t icr)
{
    bool self = (icr >> 18 & 3) == 1;
    uint32_t to = self ? page_get(page, PAGE_ID) >> 24 : (uint32_t)(icr >> 56);
    struct kvm_msi msi = {
        .address_lo = 0xFEE00000u | to << 12,
        .data = (uint32_t)icr & 0x7FF,
    };

    (void)ioctl(vp->adapter->vm, KVM_SIGNAL_MSI, &msi);
}

static void page_write(const struct adapter_vp *vp, enum hvtlfs_apic_register reg, uint64_t value)
{
    struct kvm_lapic_state page;

    if (ioctl(vp->fd, KVM_GET_LAPIC, &page) != 0) {
        return;
    }
    switch (reg) {
    case HVTLFS_APIC_EOI:
        (void)page_clear_highest(&page, PAGE_ISR);
        break;
    case HVTLFS_APIC_TPR:
        page_put(&page, PAGE_TPR, (uint32_t)value);
        break;
    case HVTLFS_APIC_ICR:
        page_put(&page, PAGE_ICR, (uint32_t)value);
        page_put(&page, PAGE_ICR_HIGH, (uint32_t)(value >> 32));
        break;
    }
    (void)ioctl(vp->fd, KVM_SET_LAPIC, &page);
    if (reg == HVTLFS_APIC_ICR) {
        page_send(vp, &page, value);
    }
}

void adapter_apic_write(struct adapter_vp *vp, enum hvtlfs_apic_register reg, uint64_t value)
{
    union one_msr msr = {.msrs.nmsrs = 1};

    msr.msrs.entries[0] = (struct kvm_msr_entry){.index = msr_of[reg], .data = value};
    if (ioctl(vp->fd, KVM_SET_MSRS, &msr) != 1) {
        page_write(vp, reg, value);
    }
}

uint64_t adapter_apic_read(struct adapter_vp *vp, enum hvtlfs_apic_register reg)
{
    union one_msr msr = {.msrs.nmsrs = 1};
    struct kvm_lapic_state page;

    msr.msrs.entries[0] = (struct kvm_msr_entry){.index = msr_of[reg]};
    if (ioctl(vp->fd, KVM_GET_MSRS, &msr) == 1) {
        return msr.msrs.entries[0].data;
    }
    if (ioctl(vp->fd, KVM_GET_LAPIC, &page) != 0) {
        return 0;
    }
    return reg == HVTLFS_APIC_TPR
               ? page_get(&page, PAGE_TPR)
               : (uint64_t)page_get(&page, PAGE_ICR_HIGH) << 32 | page_get(&page, PAGE_ICR);
}

/* The kernel's own halt waits for an interrupt that can get in; GUEST_IDLE ends with any that is pending
 * (TLFS 7.5), so the kernel is asked again and again. */
void adapter_idle(struct adapter_vp *vp)
{
    static const struct timespec pause = {0, IDLE_NS};
    struct kvm_lapic_state page;

    for (unsigned i = 0; i < IDLE_LOOKS && !atomic_load(&vp->adapter->stop); i++) {
        if (atomic_load(&vp->kicked) || ioctl(vp->fd, KVM_GET_LAPIC, &page) != 0 ||
            page_any(&page, PAGE_IRR)) {
            return;
        }
        (void)nanosleep(&pause, NULL);
    }
}
