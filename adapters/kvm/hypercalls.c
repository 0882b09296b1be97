/* SPDX-License-Identifier: MIT */
/*
 * Hypercalls: the trap that brings them here, and the registers in both directions.
 *
 * At the exit KVM has not finished the instruction, and whether RIP is before or behind it depends on the
 * KVM. A call that is done leaves RIP alone and lets KVM finish; one that must be made again, or faults,
 * is finished first and then taken back by the length of the instruction.
 */
#include <cpuid.h>
#include <errno.h>
#include <string.h>

#include <hvtlfs/hypercall.h>
#include <hvtlfs/tlfs.h>

#include "helper.h"

enum {
    VECTOR_UD = 6,
    OUT_SIZE = 2,  /* of OUT imm8, AL */
    CALL_SIZE = 3, /* of VMCALL and VMMCALL */
};

#define CR0_PE UINT64_C(1)
#define EFER_LMA UINT64_C(0x400)
#define RFLAGS_VM UINT64_C(0x20000)
#define HYPERCALL_FAST UINT64_C(0x10000)

/* ---- The trap ---- */

static bool xen_offered(const struct hvtlfs_kvm_config *config)
{
    int flags = hvti_kvm_capability(config, KVM_CAP_XEN_HVM);

    return flags > 0 && (flags & KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL) != 0;
}

/* The instruction that this processor hands to KVM as it is; the other one KVM would rewrite. */
static bool processor_is_amd(void)
{
    unsigned eax, ebx, ecx, edx;

    /* "AuthenticAMD", "HygonGenuine" */
    return __get_cpuid(0, &eax, &ebx, &ecx, &edx) && (ebx == 0x68747541 || ebx == 0x6F677948);
}

/* KVM intercepts hypercalls for Xen's sake; the MSR must have a number for that to be on. */
static enum hvtlfs_status intercept(struct hvtlfs_kvm *kvm, struct hvtlfs_kvm_error *error)
{
    struct kvm_xen_hvm_config xen = {
        .flags = KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL,
        .msr = HVTI_KVM_XEN_MSR,
    };

    if (hvti_kvm_vm_call(kvm, KVM_XEN_HVM_CONFIG, &xen) != 0) {
        return hvti_kvm_fail(error, HVTLFS_ERR_HOST, errno, "KVM_XEN_HVM_CONFIG");
    }
    kvm->trap = HVTLFS_KVM_TRAP_CALL;
    kvm->config.partition.trap = processor_is_amd() ? HVTLFS_TRAP_VMMCALL : HVTLFS_TRAP_VMCALL;
    return HVTLFS_OK;
}

static void out_page(struct hvtlfs_kvm *kvm)
{
    struct hvtlfs_config *partition = &kvm->config.partition;

    kvm->trap = HVTLFS_KVM_TRAP_OUT;
    partition->trap = HVTLFS_TRAP_CUSTOM;
    partition->trap_code[0] = 0xE6; /* OUT imm8, AL */
    partition->trap_code[1] = kvm->config.port;
    partition->trap_size = OUT_SIZE;
}

enum hvtlfs_status hvti_kvm_trap_install(struct hvtlfs_kvm *kvm, struct hvtlfs_kvm_error *error)
{
    switch (kvm->config.trap) {
    case HVTLFS_KVM_TRAP_NONE:
        kvm->trap = HVTLFS_KVM_TRAP_NONE;
        kvm->config.partition.trap = HVTLFS_TRAP_NONE;
        return HVTLFS_OK;
    case HVTLFS_KVM_TRAP_OUT:
        out_page(kvm);
        return HVTLFS_OK;
    case HVTLFS_KVM_TRAP_CALL:
        if (!xen_offered(&kvm->config)) {
            return hvti_kvm_fail(error, HVTLFS_ERR_UNAVAILABLE, 0,
                                 "this KVM does not intercept VMCALL (KVM_CAP_XEN_HVM with "
                                 "INTERCEPT_HCALL: CONFIG_KVM_XEN); use the OUT trap");
        }
        return intercept(kvm, error);
    case HVTLFS_KVM_TRAP_AUTO:
        if (xen_offered(&kvm->config) && intercept(kvm, NULL) == HVTLFS_OK) {
            return HVTLFS_OK;
        }
        out_page(kvm);
        return HVTLFS_OK;
    }
    return hvti_kvm_fail(error, HVTLFS_ERR_ARGUMENT, 0, "trap %d is none", (int)kvm->config.trap);
}

/* ---- Registers ---- */

/* TLFS 3.7: 64-bit if EFER.LMA and CS.L are both set. */
static enum hvtlfs_cpu_mode mode(const struct kvm_regs *regs, const struct kvm_sregs *sregs)
{
    if ((sregs->cr0 & CR0_PE) == 0 || (regs->rflags & RFLAGS_VM) != 0) {
        return HVTLFS_MODE_REAL;
    }
    return (sregs->efer & EFER_LMA) != 0 && sregs->cs.l ? HVTLFS_MODE_LONG64
                                                        : HVTLFS_MODE_PROTECTED32;
}

static void registers_get(const struct kvm_regs *from, const struct kvm_sregs *sregs,
                          struct hvtlfs_hypercall_regs *regs)
{
    *regs = (struct hvtlfs_hypercall_regs){
        .rax = from->rax,
        .rbx = from->rbx,
        .rcx = from->rcx,
        .rdx = from->rdx,
        .rsi = from->rsi,
        .rdi = from->rdi,
        .r8 = from->r8,
        .mode = mode(from, sregs),
        .cpl = sregs->ss.dpl,
    };
}

static void registers_put(struct kvm_regs *to, const struct hvtlfs_hypercall_regs *regs)
{
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
}

/* XMM registers cost two more calls of the kernel, so only for calls that can have anything there. */
static bool wants_xmm(const struct hvti_kvm_vp *vp, uint64_t control)
{
    struct hvtlfs_features features = hvtlfs_partition_features(vp->kvm->partition);

    return (control & HYPERCALL_FAST) != 0 &&
           (hvtlfs_features_has(&features, HVTLFS_FEATURE_XMM_INPUT) ||
            hvtlfs_features_has(&features, HVTLFS_FEATURE_XMM_OUTPUT));
}

/* ---- The call ---- */

/* Finish the trapping instruction, then stand before it again with the registers as the guest had them,
 * but for what the call has changed. */
static void back_to_the_call(struct hvti_kvm_vp *vp, const struct kvm_regs *guest,
                             const struct hvtlfs_hypercall_regs *regs, unsigned size)
{
    struct kvm_regs now;
    struct kvm_sregs sregs;

    if (hvti_kvm_complete(vp) != 0 || !hvti_kvm_regs_get(vp, &now, &sregs)) {
        hvti_kvm_count(&vp->count.unserved);
        return;
    }
    now.rax = guest->rax;
    registers_put(&now, regs);
    now.rip -= size;
    hvti_kvm_regs_set(vp, &now);
}

/* #UD goes to the instruction, so its RIP must have reached KVM before the event does. */
static void undefined(struct hvti_kvm_vp *vp, const struct kvm_regs *guest,
                      const struct hvtlfs_hypercall_regs *regs, unsigned size)
{
    back_to_the_call(vp, guest, regs, size);
    (void)hvti_kvm_complete(vp);
    hvti_kvm_exception(vp, VECTOR_UD, false);
}

/* KVM finishes the instruction when the VP goes on; a VMCALL's result it takes from the exit. */
static void done(struct hvti_kvm_vp *vp, struct kvm_regs *guest,
                 const struct hvtlfs_hypercall_regs *regs)
{
    registers_put(guest, regs);
    hvti_kvm_regs_set(vp, guest);
    if (vp->kvm->trap == HVTLFS_KVM_TRAP_CALL) {
        vp->run->xen.u.hcall.result = guest->rax;
    }
}

static void finish(struct hvti_kvm_vp *vp, struct kvm_regs *guest,
                   struct hvtlfs_hypercall_regs *regs, enum hvtlfs_hypercall_result result,
                   unsigned size)
{
    switch (result) {
    case HVTLFS_HYPERCALL_UD:
        undefined(vp, guest, regs, size);
        break;
    case HVTLFS_HYPERCALL_CONTINUE:
        back_to_the_call(vp, guest, regs, size);
        break;
    case HVTLFS_HYPERCALL_INTERCEPT: /* there is no other memory to offer */
        hvtlfs_hypercall_fail(regs, HV_STATUS_INVALID_PARAMETER);
        done(vp, guest, regs);
        break;
    case HVTLFS_HYPERCALL_DONE:
        done(vp, guest, regs);
        break;
    }
}

static enum hvtlfs_kvm_result call(struct hvti_kvm_vp *vp, unsigned size)
{
    struct hvtlfs_hypercall_regs regs;
    struct kvm_regs guest;
    struct kvm_sregs sregs;
    struct kvm_fpu fpu;
    enum hvtlfs_hypercall_result result;
    bool xmm;

    if (!hvti_kvm_regs_get(vp, &guest, &sregs)) {
        hvti_kvm_count(&vp->count.unserved);
        return HVTLFS_KVM_YOURS;
    }
    hvti_kvm_count(&vp->count.hypercalls);
    registers_get(&guest, &sregs, &regs);
    xmm = wants_xmm(vp, regs.rcx) && hvti_kvm_vp_call(vp, KVM_GET_FPU, &fpu) == 0;
    if (xmm) {
        memcpy(regs.xmm, fpu.xmm, sizeof regs.xmm);
    }
    result = hvtlfs_hypercall(vp->vp, &regs);
    if (xmm && result != HVTLFS_HYPERCALL_UD && (regs.changed & HVTLFS_CHANGED_XMM) != 0) {
        memcpy(fpu.xmm, regs.xmm, sizeof regs.xmm);
        (void)hvti_kvm_vp_call(vp, KVM_SET_FPU, &fpu);
    }
    finish(vp, &guest, &regs, result, size);
    return HVTLFS_KVM_HANDLED;
}

enum hvtlfs_kvm_result hvti_kvm_out(struct hvti_kvm_vp *vp)
{
    const struct kvm_run *run = vp->run;

    if (vp->kvm->trap != HVTLFS_KVM_TRAP_OUT || run->io.port != vp->kvm->config.port ||
        run->io.direction != KVM_EXIT_IO_OUT) {
        return HVTLFS_KVM_YOURS;
    }
    return call(vp, OUT_SIZE);
}

enum hvtlfs_kvm_result hvti_kvm_xen(struct hvti_kvm_vp *vp)
{
    if (vp->kvm->trap != HVTLFS_KVM_TRAP_CALL || vp->run->xen.type != KVM_EXIT_XEN_HCALL) {
        return HVTLFS_KVM_YOURS;
    }
    return call(vp, CALL_SIZE);
}
