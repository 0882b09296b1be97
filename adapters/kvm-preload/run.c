/* SPDX-License-Identifier: MIT */
/*
 * KVM_RUN: exits are served until there is one for the program. Some of Hyper-V's are KVM's to tell: posts,
 * unknown events and extended hypercalls, changes of the SynIC's pages, resets and crashes. They are made
 * here, after the instruction of KVM's own exit is finished, because they take its place in kvm_run.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include <hvtlfs/msr.h>
#include <hvtlfs/tlfs.h>

#include "preload.h"

#ifndef KVM_SYSTEM_EVENT_CRASH
#define KVM_SYSTEM_EVENT_CRASH 3
#endif

enum {
    PORT = 0x5A, /* of the hypercall page; libhvtlfs-kvm's default */
    OURS = 2,    /* in immediate_exit: not the program's 1 */
    CODE_MASK = 0xFFFF,
    FIRST_EXTENDED = 0x8001,
};

#define CR0_PE UINT64_C(1)
#define EFER_LMA UINT64_C(0x400)
#define BEHIND_FAST 17 /* what is set there is wrong in all of these calls (TLFS 3.7) */
#define CONNECTION_MASK UINT64_C(0xFFFFFFFF)

/* Finish the instruction of the last exit. The program may set immediate_exit meanwhile; that stays. */
static void finish(struct vcpu *vcpu)
{
    uint8_t expected = 0;
    uint8_t ours = OURS;

    (void)__atomic_compare_exchange_n(&vcpu->run->immediate_exit, &expected, OURS, false,
                                      __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    (void)real_ioctl(vcpu->object.fd, KVM_RUN, NULL);
    (void)__atomic_compare_exchange_n(&vcpu->run->immediate_exit, &ours, 0, false, __ATOMIC_SEQ_CST,
                                      __ATOMIC_SEQ_CST);
}

/* ---- Hypercalls that KVM hands to the program ---- */

static bool is_trap(const struct vcpu *vcpu)
{
    const struct kvm_run *run = vcpu->run;

    return hvtlfs_kvm_trap_used(vcpu->vm->hv) == HVTLFS_KVM_TRAP_OUT
               ? run->exit_reason == KVM_EXIT_IO && run->io.port == PORT &&
                     run->io.direction == KVM_EXIT_IO_OUT
               : run->exit_reason == KVM_EXIT_XEN && run->xen.type == KVM_EXIT_XEN_HCALL;
}

static bool in_64(const struct kvm_sregs *sregs)
{
    return (sregs->efer & EFER_LMA) != 0 && sregs->cs.l != 0;
}

struct call {
    uint64_t control;
    uint64_t input;
    uint64_t output;
    bool is_64;
};

/* TLFS 3.7: where the parameters are. */
static void call_read(const struct kvm_regs *regs, bool is_64, struct call *call)
{
    call->is_64 = is_64;
    if (is_64) {
        call->control = regs->rcx;
        call->input = regs->rdx;
        call->output = regs->r8;
    } else {
        call->control = regs->rdx << 32 | (regs->rax & 0xFFFFFFFF);
        call->input = regs->rbx << 32 | (regs->rcx & 0xFFFFFFFF);
        call->output = regs->rdi << 32 | (regs->rsi & 0xFFFFFFFF);
    }
}

static bool has(struct vcpu *vcpu, enum hvtlfs_feature feature)
{
    struct hvtlfs_features features = hvtlfs_partition_features(hvtlfs_kvm_partition(vcpu->vm->hv));

    return hvtlfs_features_has(&features, feature);
}

/* The program may know an ID that no eventfd is registered for. */
static bool is_unknown_event(struct vcpu *vcpu, const struct call *call)
{
    uint64_t parameter = call->input;
    bool readable = true;
    bool known;

    (void)pthread_mutex_lock(&vcpu->vm->lock);
    if ((call->control & HV_HYPERCALL_INPUT_FAST) == 0) {
        const uint8_t *block = vm_memory(vcpu->vm, call->input, sizeof parameter);

        readable = block != NULL && (call->input & 7) == 0;
        if (readable) {
            memcpy(&parameter, block, sizeof parameter);
        }
    }
    known = vm_connection(vcpu->vm, (uint32_t)(parameter & CONNECTION_MASK)) != NULL;
    (void)pthread_mutex_unlock(&vcpu->vm->lock);
    return readable && !known;
}

static bool is_programs(struct vcpu *vcpu, const struct call *call)
{
    uint16_t code = (uint16_t)(call->control & CODE_MASK);

    if (call->control >> BEHIND_FAST != 0) {
        return false;
    }
    if (code >= FIRST_EXTENDED) {
        return has(vcpu, HVTLFS_FEATURE_EXTENDED_HYPERCALLS);
    }
    if (!vcpu->synic) {
        return false;
    }
    return (code == HvCallPostMessage && has(vcpu, HVTLFS_FEATURE_POST_MESSAGES)) ||
           (code == HvCallSignalEvent && has(vcpu, HVTLFS_FEATURE_SIGNAL_EVENTS) &&
            is_unknown_event(vcpu, call));
}

static bool may_be_programs(uint64_t word)
{
    uint16_t code = (uint16_t)(word & CODE_MASK);

    return code == HvCallPostMessage || code == HvCallSignalEvent || code >= FIRST_EXTENDED;
}

/* As in KVM, which does not ask for the page. */
static bool hypercalls_are_on(struct vcpu *vcpu)
{
    uint64_t identity;

    return hvtlfs_msr_read(vcpu_vp(vcpu), HV_X64_MSR_GUEST_OS_ID, &identity) == HVTLFS_MSR_DONE &&
           identity != 0;
}

/* In ring 0 of protected mode only: from elsewhere a hypercall is #UD, which the library sees to. */
static bool call_for_program(struct vcpu *vcpu, struct call *call)
{
    struct kvm_regs regs;
    struct kvm_sregs sregs;

    if (!is_trap(vcpu) || real_ioctl(vcpu->object.fd, KVM_GET_REGS, &regs) != 0 ||
        !(may_be_programs(regs.rcx) || may_be_programs(regs.rax)) ||
        real_ioctl(vcpu->object.fd, KVM_GET_SREGS, &sregs) != 0) {
        return false;
    }
    call_read(&regs, in_64(&sregs), call);
    return sregs.ss.dpl == 0 && (sregs.cr0 & CR0_PE) != 0 && is_programs(vcpu, call) &&
           hypercalls_are_on(vcpu);
}

static void exit_with_call(struct vcpu *vcpu, const struct call *call)
{
    struct kvm_run *run = vcpu->run;

    finish(vcpu);
    run->exit_reason = KVM_EXIT_HYPERV;
    run->hyperv.type = KVM_EXIT_HYPERV_HCALL;
    run->hyperv.u.hcall.input = call->control;
    run->hyperv.u.hcall.params[0] = call->input;
    run->hyperv.u.hcall.params[1] = call->output;
    run->hyperv.u.hcall.result = 0;
    vcpu->replies = true;
    vcpu->replies_in_32 = !call->is_64;
}

/* The program's answer becomes the guest's result. */
static void take_reply(struct vcpu *vcpu)
{
    uint64_t result = vcpu->run->hyperv.u.hcall.result;
    struct kvm_regs regs;

    if (!vcpu->replies) {
        return;
    }
    vcpu->replies = false;
    if (real_ioctl(vcpu->object.fd, KVM_GET_REGS, &regs) != 0) {
        return;
    }
    regs.rax = vcpu->replies_in_32 ? result & 0xFFFFFFFF : result;
    if (vcpu->replies_in_32) {
        regs.rdx = result >> 32;
    }
    (void)real_ioctl(vcpu->object.fd, KVM_SET_REGS, &regs);
}

/* ---- Other exits that are the program's ---- */

static bool is_synic_page(uint32_t msr)
{
    return msr == HV_X64_MSR_SCONTROL || msr == HV_X64_MSR_SIEFP || msr == HV_X64_MSR_SIMP;
}

static uint64_t value_of(struct vcpu *vcpu, uint32_t msr)
{
    uint64_t value = 0;

    (void)!hvtlfs_msr_read(vcpu_vp(vcpu), msr, &value);
    return value;
}

static void exit_with_synic(struct vcpu *vcpu, uint32_t msr)
{
    struct kvm_run *run = vcpu->run;

    finish(vcpu);
    run->exit_reason = KVM_EXIT_HYPERV;
    run->hyperv.type = KVM_EXIT_HYPERV_SYNIC;
    run->hyperv.u.synic.msr = msr;
    run->hyperv.u.synic.control = value_of(vcpu, HV_X64_MSR_SCONTROL);
    run->hyperv.u.synic.evt_page = value_of(vcpu, HV_X64_MSR_SIEFP);
    run->hyperv.u.synic.msg_page = value_of(vcpu, HV_X64_MSR_SIMP);
}

static void exit_with_event(struct vcpu *vcpu, uint32_t type)
{
    finish(vcpu);
    vcpu->run->exit_reason = KVM_EXIT_SYSTEM_EVENT;
    vcpu->run->system_event.type = type;
    vcpu->run->system_event.ndata = 0;
}

/* What a served exit leaves for the program; false: nothing. @p written is the MSR that it wrote, or 0. */
static bool leaves_exit(struct vcpu *vcpu, uint32_t written)
{
    if (vcpu->reset) {
        vcpu->reset = false;
        exit_with_event(vcpu, KVM_SYSTEM_EVENT_RESET);
        return true;
    }
    if (vcpu->crashed) {
        vcpu->crashed = false;
        exit_with_event(vcpu, KVM_SYSTEM_EVENT_CRASH);
        return true;
    }
    if (vcpu->synic && is_synic_page(written)) {
        exit_with_synic(vcpu, written);
        return true;
    }
    return false;
}

static uint32_t msr_written(const struct kvm_run *run)
{
    return run->exit_reason == KVM_EXIT_X86_WRMSR ? run->msr.index : 0;
}

/* A mode that the guest was not offered: KVM refuses it, where the TLFS only calls the bit reserved. */
static bool is_refused(struct vcpu *vcpu)
{
    const struct kvm_run *run = vcpu->run;

    return run->exit_reason == KVM_EXIT_X86_WRMSR && run->msr.index >= HV_X64_MSR_STIMER0_CONFIG &&
           run->msr.index <= HV_X64_MSR_STIMER3_CONFIG &&
           (run->msr.index - HV_X64_MSR_STIMER0_CONFIG) % 2 == 0 &&
           (run->msr.data & HV_MSR_STIMER_CONFIG_DIRECT_MODE) != 0 &&
           !has(vcpu, HVTLFS_FEATURE_STIMER_DIRECT);
}

/* One KVM_RUN and what follows; true with *result if the program is to see it. */
static bool once(struct vcpu *vcpu, struct hvtlfs_kvm *hv, int *result)
{
    struct call call;
    uint32_t written;

    *result = real_ioctl(vcpu->object.fd, KVM_RUN, NULL);
    if (*result == 0 && call_for_program(vcpu, &call)) {
        exit_with_call(vcpu, &call);
        return true;
    }
    if (*result == 0 && is_refused(vcpu)) {
        vcpu->run->msr.error = 1;
        finish(vcpu);
        return false;
    }
    written = *result == 0 ? msr_written(vcpu->run) : 0;
    if (hvtlfs_kvm_exit(hv, vcpu->vp_index, *result) != HVTLFS_KVM_HANDLED) {
        return true;
    }
    if (written != 0 && vcpu->run->msr.error != 0) {
        written = 0;
    }
    if (written == HV_X64_MSR_EOM) {
        lines_of(vcpu->vm, vcpu->vp_index);
    }
    return leaves_exit(vcpu, written);
}

/* What else interrupts is a kick of ours. */
static bool program_wants_out(const struct vcpu *vcpu)
{
    return __atomic_load_n(&vcpu->run->immediate_exit, __ATOMIC_SEQ_CST) == 1 || signal_waits(vcpu);
}

/* KVM, too, finishes the instruction first, which may have another part for the program. */
static int finished_for_program(struct vcpu *vcpu, struct hvtlfs_kvm *hv)
{
    if (hvtlfs_kvm_settle(hv, vcpu->vp_index) > 0) {
        return 0;
    }
    errno = EINTR;
    return -1;
}

static int run_served(struct vcpu *vcpu, struct hvtlfs_kvm *hv)
{
    int result;

    for (;;) {
        if (hvtlfs_kvm_enter(hv, vcpu->vp_index) == 0) {
            if (once(vcpu, hv, &result) &&
                (result == 0 || errno != EINTR || program_wants_out(vcpu))) {
                return result;
            }
        } else if (errno != EINTR) {
            return -1;
        } else if (program_wants_out(vcpu)) {
            return finished_for_program(vcpu, hv);
        }
    }
}

static int run_or_serve(struct vcpu *vcpu)
{
    struct hvtlfs_kvm *hv;

    (void)pthread_mutex_lock(&vcpu->vm->lock);
    hv = hyperv_wanted(vcpu);
    (void)pthread_mutex_unlock(&vcpu->vm->lock);
    if (hv == NULL) {
        return real_ioctl(vcpu->object.fd, KVM_RUN, NULL);
    }
    (void)vcpu_ready(vcpu);
    memset(vcpu->timer_waits, 0, sizeof vcpu->timer_waits); /* from here on they are the guest's */
    take_reply(vcpu);
    return run_served(vcpu, hv);
}

int vcpu_run(struct vcpu *vcpu, const sigset_t *before)
{
    int result;

    (void)pthread_mutex_lock(&vcpu->lock);
    result = signals_admit(vcpu, before) != 0 ? -1 : run_or_serve(vcpu);
    (void)pthread_mutex_unlock(&vcpu->lock);
    return result;
}
