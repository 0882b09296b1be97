/* SPDX-License-Identifier: MIT */
/* A vCPU's registers, on its own thread. */
#include <hvtlfs/flush.h>

#include "helper.h"

#define CR4_PGE UINT64_C(0x80)

/* struct kvm_msrs ends in an array of any size. */
union one_msr {
    struct kvm_msrs msrs;
    uint8_t room[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
};

bool hvti_kvm_msr_get(struct hvti_kvm_vp *vp, uint32_t number, uint64_t *value)
{
    union one_msr msr = {.msrs.nmsrs = 1};

    msr.msrs.entries[0] = (struct kvm_msr_entry){.index = number};
    if (hvti_kvm_vp_call(vp, KVM_GET_MSRS, &msr) != 1) {
        return false;
    }
    *value = msr.msrs.entries[0].data;
    return true;
}

bool hvti_kvm_msr_set(struct hvti_kvm_vp *vp, uint32_t number, uint64_t value)
{
    union one_msr msr = {.msrs.nmsrs = 1};

    msr.msrs.entries[0] = (struct kvm_msr_entry){.index = number, .data = value};
    return hvti_kvm_vp_call(vp, KVM_SET_MSRS, &msr) == 1;
}

bool hvti_kvm_regs_get(struct hvti_kvm_vp *vp, struct kvm_regs *regs, struct kvm_sregs *sregs)
{
    if (vp->kvm->sync_regs) {
        *regs = vp->run->s.regs.regs;
        *sregs = vp->run->s.regs.sregs;
        return true;
    }
    return hvti_kvm_vp_call(vp, KVM_GET_REGS, regs) == 0 &&
           hvti_kvm_vp_call(vp, KVM_GET_SREGS, sregs) == 0;
}

void hvti_kvm_regs_set(struct hvti_kvm_vp *vp, const struct kvm_regs *regs)
{
    struct kvm_regs copy = *regs;

    if (vp->kvm->sync_regs) {
        vp->run->s.regs.regs = *regs;
        vp->run->kvm_dirty_regs |= KVM_SYNC_X86_REGS;
    } else if (hvti_kvm_vp_call(vp, KVM_SET_REGS, &copy) != 0) {
        hvti_kvm_count(&vp->count.unserved);
    }
}

void hvti_kvm_exception(struct hvti_kvm_vp *vp, uint8_t vector, bool has_error)
{
    struct kvm_vcpu_events events;

    if (hvti_kvm_vp_call(vp, KVM_GET_VCPU_EVENTS, &events) == 0) {
        events.flags = 0;
        events.exception.injected = 1;
        events.exception.nr = vector;
        events.exception.has_error_code = has_error;
        events.exception.error_code = 0;
        if (hvti_kvm_vp_call(vp, KVM_SET_VCPU_EVENTS, &events) == 0) {
            return;
        }
    }
    hvti_kvm_count(&vp->count.unserved);
}

/* What is to be flushed does not matter: KVM can empty a TLB only as a whole, as a processor does when
 * CR4.PGE changes (global translations too). */
void hvti_kvm_flush(struct hvti_kvm_vp *vp)
{
    struct hvtlfs_flush_item item;
    struct kvm_sregs sregs;
    bool flushed;

    while (hvtlfs_flush_take(vp->vp, &item)) {
    }
    flushed = hvti_kvm_vp_call(vp, KVM_GET_SREGS, &sregs) == 0;
    for (int i = 0; flushed && i < 2; i++) {
        sregs.cr4 ^= CR4_PGE;
        flushed = hvti_kvm_vp_call(vp, KVM_SET_SREGS, &sregs) == 0;
    }
    hvti_kvm_count(flushed ? &vp->count.flushes : &vp->count.unserved);
}

bool hvti_kvm_cr3_set(struct hvti_kvm_vp *vp, uint64_t cr3)
{
    struct kvm_sregs sregs;

    if (hvti_kvm_vp_call(vp, KVM_GET_SREGS, &sregs) != 0) {
        return false;
    }
    sregs.cr3 = cr3;
    if (hvti_kvm_vp_call(vp, KVM_SET_SREGS, &sregs) != 0) {
        return false;
    }
    if (vp->kvm->sync_regs) {
        vp->run->s.regs.sregs.cr3 = cr3;
    }
    return true;
}
