/* SPDX-License-Identifier: MIT */
/*
 * Interrupts through the kernel's APIC. Ordinary ones are MSIs. One for an auto-EOI SINT must not set an
 * in-service bit (TLFS 11.8.5), which the kernel's APIC does for all, so it goes past that APIC: injected
 * as an event, by the VP's own thread, at a moment when a processor would take it.
 */
#include "helper.h"

#define MSI_ADDRESS 0xFEE00000u
#define MSI_NMI (4u << 8)
#define RFLAGS_IF UINT64_C(0x200)

enum { RETRY_FIRST_NS = 500000, RETRY_DOUBLINGS = 5 };

static bool msi_send(struct hvti_kvm_vp *vp, uint32_t data)
{
    struct kvm_msi msi = {
        .address_lo = MSI_ADDRESS | (vp->apic_id & 0xFF) << 12,
        .address_hi = vp->apic_id & ~UINT32_C(0xFF), /* looked at with KVM_CAP_X2APIC_API only */
        .data = data,
    };

    return hvti_kvm_vm_call(vp->kvm, KVM_SIGNAL_MSI, &msi) >= 0;
}

bool hvti_kvm_interrupt(struct hvti_kvm_vp *vp, const struct hvtlfs_interrupt *interrupt)
{
    hvti_kvm_count(&vp->count.interrupts);
    if (!interrupt->auto_eoi || interrupt->nmi) {
        return msi_send(vp, interrupt->nmi ? MSI_NMI : interrupt->vector);
    }
    (void)atomic_fetch_or(&vp->auto_eoi[interrupt->vector / 32 % 8], 1u << interrupt->vector % 32);
    atomic_store(&vp->auto_pending, true);
    atomic_store(&vp->kicked, true); /* or it might enter without another look */
    hvti_kvm_kick(vp);
    return true;
}

static int highest_waiting(struct hvti_kvm_vp *vp)
{
    for (int word = 8; word-- > 0;) {
        unsigned bits = atomic_load(&vp->auto_eoi[word]);

        if (bits != 0) {
            return 32 * word + 31 - __builtin_clz(bits);
        }
    }
    return -1;
}

/* Whether the APIC would let the vector through: above TPR and whatever is in service. */
static bool priority_allows(struct hvti_kvm_vp *vp, int vector)
{
    struct kvm_lapic_state page;
    int in_service;
    int task;

    if (hvti_kvm_vp_call(vp, KVM_GET_LAPIC, &page) != 0) {
        return false;
    }
    task = (int)(hvti_kvm_apic_page_get(&page, HVTI_KVM_APIC_TPR) & 0xFF);
    in_service = hvti_kvm_apic_highest(&page, HVTI_KVM_APIC_ISR);
    return vector / 16 > task / 16 && (in_service < 0 || vector / 16 > in_service / 16);
}

/* A halted processor wakes up; one that has not been started does not take interrupts. */
static bool awake(struct hvti_kvm_vp *vp)
{
    struct kvm_mp_state state;

    if (hvti_kvm_vp_call(vp, KVM_GET_MP_STATE, &state) != 0) {
        return false;
    }
    if (state.mp_state == KVM_MP_STATE_HALTED) {
        state.mp_state = KVM_MP_STATE_RUNNABLE;
        return hvti_kvm_vp_call(vp, KVM_SET_MP_STATE, &state) == 0;
    }
    return state.mp_state == KVM_MP_STATE_RUNNABLE;
}

/* An event of KVM's own, from an exit in the middle of a delivery or an instruction that faults, goes
 * first. With KVM_CAP_EXCEPTION_PAYLOAD an exception is pending before it is injected. */
bool hvti_kvm_event_waits(const struct kvm_vcpu_events *events)
{
    return events->exception.injected || events->exception.pending || events->nmi.injected ||
           events->interrupt.injected || events->interrupt.shadow;
}

/* On the VP's own thread: what is read here stays true until the VP enters. */
static bool inject(struct hvti_kvm_vp *vp, int vector)
{
    struct kvm_vcpu_events events;
    struct kvm_regs regs;

    if (vp->in_parts) { /* its next part would be lost here */
        hvti_kvm_run_shortly(vp);
        return false;
    }
    if (hvti_kvm_complete(vp) != 0 || hvti_kvm_vp_call(vp, KVM_GET_REGS, &regs) != 0 ||
        (regs.rflags & RFLAGS_IF) == 0 || hvti_kvm_vp_call(vp, KVM_GET_VCPU_EVENTS, &events) != 0 ||
        hvti_kvm_event_waits(&events) || !priority_allows(vp, vector) || !awake(vp)) {
        return false;
    }
    events.flags = 0;
    events.interrupt.injected = 1;
    events.interrupt.nr = (uint8_t)vector;
    events.interrupt.soft = 0;
    return hvti_kvm_vp_call(vp, KVM_SET_VCPU_EVENTS, &events) == 0;
}

/* The moment when the guest lets interrupts in again makes no exit, so look again soon, and less and less
 * often: an emulated guest must get somewhere in between. */
static void retry_later(struct hvti_kvm_vp *vp)
{
    uint64_t again = hvti_kvm_now() + ((uint64_t)RETRY_FIRST_NS << vp->auto_tries);

    vp->auto_tries += vp->auto_tries < RETRY_DOUBLINGS;
    if (again < atomic_load(&vp->due)) {
        hvti_kvm_due(vp, again);
    }
}

void hvti_kvm_inject(struct hvti_kvm_vp *vp)
{
    int vector;

    atomic_store(&vp->auto_pending, false);
    vector = highest_waiting(vp);
    if (vector < 0) {
        return;
    }
    if (inject(vp, vector)) {
        (void)atomic_fetch_and(&vp->auto_eoi[vector / 32], ~(1u << vector % 32));
        hvti_kvm_count(&vp->count.auto_eoi);
        vp->auto_tries = 0;
        vp->idle = false;
    }
    if (highest_waiting(vp) >= 0) {
        atomic_store(&vp->auto_pending, true);
        retry_later(vp);
    }
}

bool hvti_kvm_interrupt_pending(struct hvti_kvm_vp *vp)
{
    struct kvm_lapic_state page;

    return highest_waiting(vp) >= 0 || hvti_kvm_vp_call(vp, KVM_GET_LAPIC, &page) != 0 ||
           hvti_kvm_apic_highest(&page, HVTI_KVM_APIC_IRR) >= 0;
}
