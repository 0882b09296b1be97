/* SPDX-License-Identifier: MIT */
/*
 * The kernel's APIC, reached for a guest that uses the synthetic MSRs: by the registers of x2APIC mode
 * where the VP is in it, otherwise in the page of registers. The kernel lets interrupts in without
 * asking, so nobody here can know when an EOI may be left out: lazy EOI is never armed.
 */
#include "helper.h"

enum {
    MSR_TPR = 0x808,
    MSR_EOI = 0x80B,
    MSR_ICR = 0x830,
    PAGE_ID = 0x20,
    PAGE_ICR = 0x300,
    PAGE_ICR_HIGH = 0x310,
    /* Destination shorthands of ICR. */
    TO_DESTINATION = 0,
    TO_SELF = 1,
    TO_ALL = 2,
    TO_OTHERS = 3,
};

static const uint32_t msr_of[] = {
    [HVTLFS_APIC_EOI] = MSR_EOI,
    [HVTLFS_APIC_ICR] = MSR_ICR,
    [HVTLFS_APIC_TPR] = MSR_TPR,
};

uint32_t hvti_kvm_apic_page_get(const struct kvm_lapic_state *page, unsigned offset)
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
int hvti_kvm_apic_highest(const struct kvm_lapic_state *page, unsigned map)
{
    for (unsigned word = 8; word-- > 0;) {
        uint32_t bits = hvti_kvm_apic_page_get(page, map + 16 * word);

        if (bits != 0) {
            return (int)(32 * word) + 31 - __builtin_clz(bits);
        }
    }
    return -1;
}

static void page_clear_highest(struct kvm_lapic_state *page, unsigned map)
{
    int vector = hvti_kvm_apic_highest(page, map);

    if (vector >= 0) {
        unsigned offset = map + 16 * ((unsigned)vector / 32);

        page_put(page, offset,
                 hvti_kvm_apic_page_get(page, offset) & ~(UINT32_C(1) << vector % 32));
    }
}

static bool msi_send(const struct hvti_kvm_vp *vp, uint32_t destination, uint64_t icr)
{
    struct kvm_msi msi = {
        .address_lo = 0xFEE00000u | (destination & 0xFF) << 12 | ((uint32_t)icr >> 9 & 4),
        .data = (uint32_t)icr & 0x7FF, /* vector and delivery mode */
    };

    return hvti_kvm_vm_call(vp->kvm, KVM_SIGNAL_MSI, &msi) >= 0;
}

/* What the kernel does for a store to ICR: send it, by an MSI here, which has no shorthands. */
static bool page_send(const struct hvti_kvm_vp *vp, const struct kvm_lapic_state *page,
                      uint64_t icr)
{
    unsigned shorthand = (unsigned)(icr >> 18 & 3);
    uint64_t physical = icr & ~UINT64_C(0x800);
    bool sent = true;

    if (shorthand == TO_DESTINATION) {
        return msi_send(vp, (uint32_t)(icr >> 56), icr);
    }
    if (shorthand == TO_SELF) {
        return msi_send(vp, hvti_kvm_apic_page_get(page, PAGE_ID) >> 24, physical);
    }
    for (uint32_t n = 0; n < vp->kvm->vp_count; n++) {
        const struct hvti_kvm_vp *target = &vp->kvm->vps[n];

        if (target->fd >= 0 && (target != vp || shorthand == TO_ALL)) {
            sent = msi_send(vp, target->apic_id, physical) && sent;
        }
    }
    return sent;
}

static bool page_write(struct hvti_kvm_vp *vp, enum hvtlfs_apic_register reg, uint64_t value)
{
    struct kvm_lapic_state page;

    if (hvti_kvm_vp_call(vp, KVM_GET_LAPIC, &page) != 0) {
        return false;
    }
    switch (reg) {
    case HVTLFS_APIC_EOI:
        page_clear_highest(&page, HVTI_KVM_APIC_ISR);
        break;
    case HVTLFS_APIC_TPR:
        page_put(&page, HVTI_KVM_APIC_TPR, (uint32_t)value);
        break;
    case HVTLFS_APIC_ICR:
        page_put(&page, PAGE_ICR, (uint32_t)value);
        page_put(&page, PAGE_ICR_HIGH, (uint32_t)(value >> 32));
        break;
    }
    return hvti_kvm_vp_call(vp, KVM_SET_LAPIC, &page) == 0 &&
           (reg != HVTLFS_APIC_ICR || page_send(vp, &page, value));
}

bool hvti_kvm_apic_write(struct hvti_kvm_vp *vp, enum hvtlfs_apic_register reg, uint64_t value)
{
    return hvti_kvm_msr_set(vp, msr_of[reg], value) || page_write(vp, reg, value);
}

uint64_t hvti_kvm_apic_read(struct hvti_kvm_vp *vp, enum hvtlfs_apic_register reg)
{
    struct kvm_lapic_state page;
    uint64_t value;

    if (hvti_kvm_msr_get(vp, msr_of[reg], &value)) {
        return value;
    }
    if (hvti_kvm_vp_call(vp, KVM_GET_LAPIC, &page) != 0) {
        return 0;
    }
    return reg == HVTLFS_APIC_TPR ? hvti_kvm_apic_page_get(&page, HVTI_KVM_APIC_TPR)
                                  : (uint64_t)hvti_kvm_apic_page_get(&page, PAGE_ICR_HIGH) << 32 |
                                        hvti_kvm_apic_page_get(&page, PAGE_ICR);
}
