/* SPDX-License-Identifier: MIT */
/* The exits that are the library's: synthetic MSRs, the hypercall port, stores to its pages. */
#include <string.h>
#include <sys/ioctl.h>

#include <hvtlfs/hypercall.h>
#include <hvtlfs/msr.h>
#include <hvtlfs/tlfs.h>

#include "adapter.h"

enum {
    VECTOR_UD = 6,
    VECTOR_GP = 13,
    OUT_SIZE = 2, /* of OUT imm8, AL */
};

#define CR0_PE UINT64_C(1)
#define EFER_LMA UINT64_C(0x400)
#define RFLAGS_VM UINT64_C(0x20000)
#define HYPERCALL_FAST UINT64_C(0x10000)

static void msr_answer(struct adapter_vp *vp, struct tally_group *direction,
                       enum hvtlfs_msr_result result)
{
    struct kvm_run *run = vp->run;
    bool refused = result == HVTLFS_MSR_FAULT || result == HVTLFS_MSR_UNCLAIMED;

    run->msr.error = refused; /* KVM injects #GP */
    if (refused) {
        tally_count(&vp->tally.msr_refusals, run->msr.index);
        tally_count(&vp->tally.faults, VECTOR_GP);
    } else {
        tally_count(direction, run->msr.index);
    }
}

static enum adapter_result rdmsr(struct adapter_vp *vp)
{
    uint64_t value = 0;
    enum hvtlfs_msr_result result = hvtlfs_msr_read(vp->vp, vp->run->msr.index, &value);

    if (result == HVTLFS_MSR_UNCLAIMED) {
        return ADAPTER_YOURS;
    }
    vp->run->msr.data = value;
    msr_answer(vp, &vp->tally.msr_reads, result);
    if (result == HVTLFS_MSR_IDLE) {
        adapter_complete(vp);
        adapter_idle(vp);
    }
    return ADAPTER_DONE;
}

static enum adapter_result wrmsr(struct adapter_vp *vp)
{
    enum hvtlfs_msr_result result = hvtlfs_msr_write(vp->vp, vp->run->msr.index, vp->run->msr.data);

    if (result == HVTLFS_MSR_UNCLAIMED) {
        return ADAPTER_YOURS;
    }
    msr_answer(vp, &vp->tally.msr_writes, result);
    return ADAPTER_DONE;
}

/* TLFS 3.7: 64-bit if EFER.LMA and CS.L are both set. */
static enum hvtlfs_cpu_mode mode(const struct kvm_run *run)
{
    const struct kvm_sregs *sregs = &run->s.regs.sregs;

    if ((sregs->cr0 & CR0_PE) == 0 || (run->s.regs.regs.rflags & RFLAGS_VM) != 0) {
        return HVTLFS_MODE_REAL;
    }
    return (sregs->efer & EFER_LMA) != 0 && sregs->cs.l ? HVTLFS_MODE_LONG64
                                                        : HVTLFS_MODE_PROTECTED32;
}

static void registers_get(const struct adapter_vp *vp, struct hvtlfs_hypercall_regs *regs)
{
    const struct kvm_regs *from = &vp->run->s.regs.regs;

    *regs = (struct hvtlfs_hypercall_regs){
        .rax = from->rax,
        .rbx = from->rbx,
        .rcx = from->rcx,
        .rdx = from->rdx,
        .rsi = from->rsi,
        .rdi = from->rdi,
        .r8 = from->r8,
        .mode = mode(vp->run),
        .cpl = vp->run->s.regs.sregs.ss.dpl,
    };
}

static void registers_put(struct adapter_vp *vp, const struct hvtlfs_hypercall_regs *regs)
{
    struct kvm_regs *to = &vp->run->s.regs.regs;

    if (regs->changed & HVTLFS_CHANGED_RAX) {
        to->rax = regs->rax;
    }
    if (regs->changed & HVTLFS_CHANGED_RCX) {
        to->rcx = regs->rcx;
    }
    if (regs->changed & HVTLFS_CHANGED_RDX) {
        to->rdx = regs->rdx;
    }
    if (regs->changed & HVTLFS_CHANGED_R8) {
        to->r8 = regs->r8;
    }
    vp->run->kvm_dirty_regs |= KVM_SYNC_X86_REGS;
}

/* XMM registers cost two more calls of the kernel, so only for calls that can have anything there. */
static bool wants_xmm(const struct adapter_vp *vp, uint64_t control)
{
    struct hvtlfs_features features = hvtlfs_partition_features(vp->adapter->partition);

    return (control & HYPERCALL_FAST) != 0 &&
           (hvtlfs_features_has(&features, HVTLFS_FEATURE_XMM_INPUT) ||
            hvtlfs_features_has(&features, HVTLFS_FEATURE_XMM_OUTPUT));
}

static void back_to_the_call(struct adapter_vp *vp)
{
    vp->run->s.regs.regs.rip -= OUT_SIZE;
    (void)ioctl(vp->fd, KVM_SET_REGS, &vp->run->s.regs.regs);
}

static void hypercall_finish(struct adapter_vp *vp, struct hvtlfs_hypercall_regs *regs,
                             enum hvtlfs_hypercall_result result)
{
    switch (result) {
    case HVTLFS_HYPERCALL_UD:
        back_to_the_call(vp);
        adapter_exception(vp, VECTOR_UD, false);
        break;
    case HVTLFS_HYPERCALL_CONTINUE:
        registers_put(vp, regs);
        vp->run->s.regs.regs.rip -= OUT_SIZE;
        break;
    case HVTLFS_HYPERCALL_INTERCEPT: /* this host has no other memory to offer */
        hvtlfs_hypercall_fail(regs, HV_STATUS_INVALID_PARAMETER);
        registers_put(vp, regs);
        break;
    case HVTLFS_HYPERCALL_DONE:
        registers_put(vp, regs);
        break;
    }
}

/* RIP at the exit is before the OUT on one KVM and behind it on another, so it is completed first. */
static enum adapter_result hypercall(struct adapter_vp *vp)
{
    struct hvtlfs_hypercall_regs regs;
    struct kvm_fpu fpu;
    enum hvtlfs_hypercall_result result;
    bool xmm;

    adapter_complete(vp);
    registers_get(vp, &regs);
    tally_count(&vp->tally.hypercalls, (uint32_t)regs.rcx & 0xFFFF);
    xmm = wants_xmm(vp, regs.rcx) && ioctl(vp->fd, KVM_GET_FPU, &fpu) == 0;
    if (xmm) {
        memcpy(regs.xmm, fpu.xmm, sizeof regs.xmm);
    }
    result = hvtlfs_hypercall(vp->vp, &regs);
    if (xmm && result != HVTLFS_HYPERCALL_UD && (regs.changed & HVTLFS_CHANGED_XMM) != 0) {
        memcpy(fpu.xmm, regs.xmm, sizeof regs.xmm);
        (void)ioctl(vp->fd, KVM_SET_FPU, &fpu);
    }
    hypercall_finish(vp, &regs, result);
    return ADAPTER_DONE;
}

static enum adapter_result io(struct adapter_vp *vp)
{
    const struct kvm_run *run = vp->run;

    if (run->io.port != ADAPTER_PORT || run->io.direction != KVM_EXIT_IO_OUT) {
        return ADAPTER_YOURS;
    }
    return hypercall(vp);
}

/* A store to a page that is not the guest's to write. KVM has gone past the instruction by then and
 * does not say how long it was: the fault comes, but behind it. */
static enum adapter_result mmio(struct adapter_vp *vp)
{
    if (!vp->run->mmio.is_write || !memory_refuses(vp->adapter, vp->run->mmio.phys_addr)) {
        return ADAPTER_YOURS;
    }
    vp->tally.refused_stores++;
    adapter_complete(vp);
    adapter_exception(vp, VECTOR_GP, true);
    return ADAPTER_DONE;
}

enum adapter_result adapter_handle(struct adapter_vp *vp)
{
    switch (vp->run->exit_reason) {
    case KVM_EXIT_X86_RDMSR:
        return rdmsr(vp);
    case KVM_EXIT_X86_WRMSR:
        return wrmsr(vp);
    case KVM_EXIT_IO:
        return io(vp);
    case KVM_EXIT_MMIO:
        return mmio(vp);
    default:
        return ADAPTER_YOURS;
    }
}
