/* SPDX-License-Identifier: MIT */
/*
 * The kernel's APIC, reached for a guest that uses the synthetic MSRs. An interrupt may arrive at it at any
 * moment, from a device or another VP, so nothing here writes its page of registers as a whole
 * (KVM_SET_LAPIC) while there is any other way:
 *
 *  - in x2APIC mode its registers are MSRs of their own;
 *  - a kernel with a Hyper-V of its own takes the synthetic MSRs from the host, whatever the guest may;
 *  - else TPR is CR8, ICR is an MSI, and an EOI is the store that the guest would make (store.c).
 *
 * The kernel lets interrupts in without asking, so the library cannot know when an EOI may be left out.
 * The kernel does: KVM's own paravirtual EOI is the assist page's protocol, bit for bit, and is told where
 * that page is (TLFS 10.3.5).
 */
#include <hvtlfs/tlfs.h>
#include <hvtlfs/vapic.h>

#include "helper.h"

enum {
    MSR_TPR = 0x808,
    MSR_EOI = 0x80B,
    MSR_ICR = 0x830,
    MSR_KVM_PV_EOI = 0x4B564D04, /* MSR_KVM_PV_EOI_EN: address and, in bit 0, on */
    APIC_BASE_X2APIC = 0x400,
    PAGE_EOI = 0xB0,
    PAGE_ICR = 0x300,
    PAGE_ICR_HIGH = 0x310,
    ICR_LEVEL = 0x8000,
    ICR_ASSERT = 0x4000,
    ICR_MODE = 0x700,
    ICR_INIT = 0x500,
    /* Destination shorthands of ICR. */
    TO_DESTINATION = 0,
    TO_SELF = 1,
    TO_ALL = 2,
    TO_OTHERS = 3,
    /* Whether the kernel takes the synthetic MSRs from the host. */
    UNKNOWN = 0,
    TAKES = 1,
    REFUSES = 2,
};

static const uint32_t msr_of[] = {
    [HVTLFS_APIC_EOI] = MSR_EOI,
    [HVTLFS_APIC_ICR] = MSR_ICR,
    [HVTLFS_APIC_TPR] = MSR_TPR,
};

static const uint32_t synthetic_of[] = {
    [HVTLFS_APIC_EOI] = HV_X64_MSR_EOI,
    [HVTLFS_APIC_ICR] = HV_X64_MSR_ICR,
    [HVTLFS_APIC_TPR] = HV_X64_MSR_TPR,
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

/* What the kernel does for a store to ICR: send it, by an MSI here, which has no shorthands and is always
 * asserted. The end of a level-triggered INIT is for processors that are long gone. */
static bool icr_send(struct hvti_kvm_vp *vp, uint64_t icr)
{
    unsigned shorthand = (unsigned)(icr >> 18 & 3);
    uint64_t physical = icr & ~UINT64_C(0x800);
    bool sent = true;

    if ((icr & (ICR_MODE | ICR_LEVEL | ICR_ASSERT)) == (ICR_INIT | ICR_LEVEL)) {
        return true;
    }
    if (shorthand == TO_DESTINATION) {
        return msi_send(vp, (uint32_t)(icr >> 56), icr);
    }
    for (uint32_t n = 0; n < vp->kvm->vp_count; n++) {
        const struct hvti_kvm_vp *target = &vp->kvm->vps[n];
        bool meant = target == vp ? shorthand != TO_OTHERS : shorthand != TO_SELF;

        if (target->fd >= 0 && meant) {
            sent = msi_send(vp, target->apic_id, physical) && sent;
        }
    }
    return sent;
}

/* An interrupt that arrives between the two calls is lost, and the I/O APIC does not hear of the EOI of a
 * level-triggered one: for a VP that cannot make the store itself. */
static bool page_eoi(struct hvti_kvm_vp *vp)
{
    struct kvm_lapic_state page;

    if (hvti_kvm_vp_call(vp, KVM_GET_LAPIC, &page) != 0) {
        return false;
    }
    page_clear_highest(&page, HVTI_KVM_APIC_ISR);
    return hvti_kvm_vp_call(vp, KVM_SET_LAPIC, &page) == 0;
}

/* CR8 has the task's priority class; the lower half of TPR, which AMD's processors do not keep either, is
 * lost. */
static bool tpr_set(struct hvti_kvm_vp *vp, uint64_t value)
{
    struct kvm_sregs sregs;

    if (hvti_kvm_vp_call(vp, KVM_GET_SREGS, &sregs) != 0) {
        return false;
    }
    sregs.cr8 = value >> 4 & 0xF;
    if (hvti_kvm_vp_call(vp, KVM_SET_SREGS, &sregs) != 0) {
        return false;
    }
    if (vp->kvm->sync_regs) {
        vp->run->s.regs.sregs.cr8 = sregs.cr8;
    }
    return true;
}

static bool in_x2apic_mode(struct hvti_kvm_vp *vp)
{
    struct kvm_sregs sregs;

    if (vp->kvm->sync_regs) {
        return (vp->run->s.regs.sregs.apic_base & APIC_BASE_X2APIC) != 0;
    }
    return hvti_kvm_vp_call(vp, KVM_GET_SREGS, &sregs) == 0 &&
           (sregs.apic_base & APIC_BASE_X2APIC) != 0;
}

/* Linux 6.8 made KVM's Hyper-V a matter of configuration; some never had it. */
static bool by_synthetic_msr(struct hvti_kvm_vp *vp, enum hvtlfs_apic_register reg, uint64_t value)
{
    atomic_uint *takes = &vp->kvm->takes_synthetic;
    bool taken;

    if (atomic_load(takes) == REFUSES) {
        return false;
    }
    taken = hvti_kvm_msr_set(vp, synthetic_of[reg], value);
    if (atomic_load(takes) == UNKNOWN) {
        atomic_store(takes, taken ? TAKES : REFUSES);
    }
    return taken;
}

bool hvti_kvm_apic_write(struct hvti_kvm_vp *vp, enum hvtlfs_apic_register reg, uint64_t value)
{
    if (in_x2apic_mode(vp)) {
        return hvti_kvm_msr_set(vp, msr_of[reg], value);
    }
    if (by_synthetic_msr(vp, reg, value)) {
        return true;
    }
    switch (reg) {
    case HVTLFS_APIC_EOI:
        vp->eois++; /* carried out once the guest's WRMSR is complete */
        return true;
    case HVTLFS_APIC_TPR:
        return tpr_set(vp, value);
    case HVTLFS_APIC_ICR:
        vp->icr = value;
        vp->icr_written = true;
        return icr_send(vp, value);
    }
    return false;
}

/* On the VP's own thread, its instruction complete. */
void hvti_kvm_apic_settle(struct hvti_kvm_vp *vp)
{
    for (; vp->eois > 0; vp->eois--) {
        if (!hvti_kvm_apic_store(vp, PAGE_EOI, 0) && !page_eoi(vp)) {
            hvti_kvm_count(&vp->count.unserved);
        }
    }
}

static uint64_t icr_read(const struct hvti_kvm_vp *vp, const struct kvm_lapic_state *page)
{
    return vp->icr_written ? vp->icr
                           : (uint64_t)hvti_kvm_apic_page_get(page, PAGE_ICR_HIGH) << 32 |
                                 hvti_kvm_apic_page_get(page, PAGE_ICR);
}

uint64_t hvti_kvm_apic_read(struct hvti_kvm_vp *vp, enum hvtlfs_apic_register reg)
{
    struct kvm_lapic_state page;
    uint64_t value;

    if (in_x2apic_mode(vp) && hvti_kvm_msr_get(vp, msr_of[reg], &value)) {
        return value;
    }
    if (hvti_kvm_vp_call(vp, KVM_GET_LAPIC, &page) != 0) {
        return 0;
    }
    return reg == HVTLFS_APIC_TPR ? hvti_kvm_apic_page_get(&page, HVTI_KVM_APIC_TPR)
                                  : icr_read(vp, &page);
}

/* The kernel sets the page's bit when it lets an interrupt in and nothing waits behind it, and takes an
 * EOI for done when the guest has cleared it; outside the guest the bit is never set. A kernel that
 * refuses, or the page (there is no memory), means an exit for each EOI. */
void hvti_kvm_eoi_page(struct hvti_kvm_vp *vp)
{
    uint64_t gpa = hvtlfs_assist_page_gpa(vp->vp);

    if (!vp->kvm->lazy_eoi || gpa == vp->eoi_page) {
        return;
    }
    vp->eoi_page = gpa;
    if (gpa == HVTLFS_NO_PAGE || !hvti_kvm_msr_set(vp, MSR_KVM_PV_EOI, gpa | 1)) {
        (void)hvti_kvm_msr_set(vp, MSR_KVM_PV_EOI, 0);
    }
}
