/* SPDX-License-Identifier: MIT */
/* The exits that matter: MSRs and hypercalls go to the library, what is not its own to the machine. */
#include <hvtlfs/hypercall.h>
#include <hvtlfs/msr.h>
#include <hvtlfs/time.h>
#include <hvtlfs/tlfs.h>

#include "machine.h"

enum {
    VECTOR_UD = 6,
    VECTOR_GP = 13,
    MSR_APIC_BASE = 0x1B,
    MSR_TSC = 0x10,
    MSR_X2APIC_ID = 0x802,
    MSR_X2APIC_VERSION = 0x803,
    MSR_X2APIC_TPR = 0x808,
    MSR_X2APIC_EOI = 0x80B,
    MSR_X2APIC_SPURIOUS = 0x80F,
    MSR_X2APIC_ICR = 0x830,
    APIC_VERSION = 0x00050014,
};

static uint64_t edx_eax(const struct machine_vp *vp)
{
    return register_get(vp, UC_X86_REG_RDX) << 32 | (register_get(vp, UC_X86_REG_RAX) & UINT32_MAX);
}

static void set_edx_eax(struct machine_vp *vp, uint64_t value)
{
    register_set(vp, UC_X86_REG_RAX, value & UINT32_MAX);
    register_set(vp, UC_X86_REG_RDX, value >> 32);
}

/* MSRs of the machine. What it does not know is Unicorn's, which reads 0 where there is none. */
static uint64_t machine_rdmsr(struct machine_vp *vp, uint32_t number)
{
    uc_x86_msr msr = {.rid = number};

    switch (number) {
    case MSR_TSC:
        return hvtlfs_tsc_emulated(vp->vp, vp->machine->tsc);
    case MSR_APIC_BASE:
        return vp->apic.base;
    case MSR_X2APIC_ID:
        return vp->apic.id;
    case MSR_X2APIC_VERSION:
        return APIC_VERSION;
    case MSR_X2APIC_TPR:
        return vp->apic.tpr;
    case MSR_X2APIC_SPURIOUS:
        return vp->apic.spurious;
    case MSR_X2APIC_ICR:
        return vp->apic.icr;
    default:
        (void)uc_reg_read(vp->uc, UC_X86_REG_MSR, &msr);
        return msr.value;
    }
}

static void machine_wrmsr(struct machine_vp *vp, uint32_t number, uint64_t value)
{
    struct hvtlfs_host_ops machine = machine_callbacks();
    uc_x86_msr msr = {.rid = number, .value = value};

    switch (number) {
    case MSR_APIC_BASE:
        vp->apic.base = value;
        break;
    case MSR_X2APIC_TPR:
        machine.apic_write(vp->machine, vp->number, HVTLFS_APIC_TPR, value);
        break;
    case MSR_X2APIC_EOI:
        machine.apic_write(vp->machine, vp->number, HVTLFS_APIC_EOI, value);
        break;
    case MSR_X2APIC_SPURIOUS:
        vp->apic.spurious = (uint32_t)value;
        break;
    case MSR_X2APIC_ICR:
        machine.apic_write(vp->machine, vp->number, HVTLFS_APIC_ICR, value);
        break;
    default:
        (void)uc_reg_write(vp->uc, UC_X86_REG_MSR, &msr);
    }
}

void exit_count(struct machine_vp *vp, uint64_t *kind)
{
    vp->exits.all++;
    if (kind != NULL) {
        ++*kind;
    }
    vp->machine->tsc += vp->machine->options->exit_cost;
}

static void after_msr(struct machine_vp *vp, enum hvtlfs_msr_result result)
{
    if (result == HVTLFS_MSR_FAULT) {
        event_exception(vp, VECTOR_GP, 0);
        return;
    }
    register_skip(vp);
    vp->idle = result == HVTLFS_MSR_IDLE;
}

static void tally_msr(struct machine_vp *vp, struct tally_group *direction, uint32_t number,
                      enum hvtlfs_msr_result result)
{
    tally_count(result == HVTLFS_MSR_FAULT ? &vp->tally.msr_refusals : direction, number);
}

static void rdmsr(struct machine_vp *vp)
{
    uint32_t number = (uint32_t)register_get(vp, UC_X86_REG_RCX);
    uint64_t value = 0;
    enum hvtlfs_msr_result result = hvtlfs_msr_read(vp->vp, number, &value);

    if (result == HVTLFS_MSR_UNCLAIMED) {
        value = machine_rdmsr(vp, number);
    } else {
        tally_msr(vp, &vp->tally.msr_reads, number, result);
    }
    if (result != HVTLFS_MSR_FAULT) {
        set_edx_eax(vp, value);
    }
    after_msr(vp, result);
}

static void wrmsr(struct machine_vp *vp)
{
    uint32_t number = (uint32_t)register_get(vp, UC_X86_REG_RCX);
    uint64_t value = edx_eax(vp);
    enum hvtlfs_msr_result result = hvtlfs_msr_write(vp->vp, number, value);

    if (result == HVTLFS_MSR_UNCLAIMED) {
        machine_wrmsr(vp, number, value);
    } else {
        tally_msr(vp, &vp->tally.msr_writes, number, result);
    }
    after_msr(vp, result);
}

static void xmm_get(const struct machine_vp *vp, struct hvtlfs_hypercall_regs *regs)
{
    for (int i = 0; i < 6; i++) {
        (void)uc_reg_read(vp->uc, UC_X86_REG_XMM0 + i, regs->xmm[i].half);
    }
}

static void call_registers_get(const struct machine_vp *vp, struct hvtlfs_hypercall_regs *regs)
{
    *regs = (struct hvtlfs_hypercall_regs){
        .rax = register_get(vp, UC_X86_REG_RAX),
        .rbx = register_get(vp, UC_X86_REG_RBX),
        .rcx = register_get(vp, UC_X86_REG_RCX),
        .rdx = register_get(vp, UC_X86_REG_RDX),
        .rsi = register_get(vp, UC_X86_REG_RSI),
        .rdi = register_get(vp, UC_X86_REG_RDI),
        .r8 = register_get(vp, UC_X86_REG_R8),
        .mode = HVTLFS_MODE_LONG64, /* Unicorn was opened for that and runs nothing else */
        .cpl = (uint8_t)event_cpl(vp),
    };
    xmm_get(vp, regs);
}

static void call_registers_put(struct machine_vp *vp, const struct hvtlfs_hypercall_regs *regs)
{
    if (regs->changed & HVTLFS_CHANGED_RAX) {
        register_set(vp, UC_X86_REG_RAX, regs->rax);
    }
    if (regs->changed & HVTLFS_CHANGED_RCX) {
        register_set(vp, UC_X86_REG_RCX, regs->rcx);
    }
    if (regs->changed & HVTLFS_CHANGED_RDX) {
        register_set(vp, UC_X86_REG_RDX, regs->rdx);
    }
    if (regs->changed & HVTLFS_CHANGED_R8) {
        register_set(vp, UC_X86_REG_R8, regs->r8);
    }
    for (int i = 0; i < 6 && (regs->changed & HVTLFS_CHANGED_XMM) != 0; i++) {
        (void)uc_reg_write(vp->uc, UC_X86_REG_XMM0 + i, regs->xmm[i].half);
    }
}

static void hypercall(struct machine_vp *vp)
{
    struct hvtlfs_hypercall_regs regs;

    call_registers_get(vp, &regs);
    tally_count(&vp->tally.hypercalls, (uint32_t)regs.rcx & 0xFFFF);
    switch (hvtlfs_hypercall(vp->vp, &regs)) {
    case HVTLFS_HYPERCALL_UD:
        event_exception(vp, VECTOR_UD, 0);
        break;
    case HVTLFS_HYPERCALL_INTERCEPT: /* this host has no other memory to offer */
        hvtlfs_hypercall_fail(&regs, HV_STATUS_INVALID_PARAMETER);
        call_registers_put(vp, &regs);
        register_skip(vp);
        break;
    case HVTLFS_HYPERCALL_DONE:
        call_registers_put(vp, &regs);
        register_skip(vp);
        break;
    case HVTLFS_HYPERCALL_CONTINUE:
        call_registers_put(vp, &regs);
        break;
    }
}

void exit_handle(struct machine_vp *vp)
{
    switch (vp->exit) {
    case EXIT_RDMSR:
        exit_count(vp, &vp->exits.msrs);
        rdmsr(vp);
        break;
    case EXIT_WRMSR:
        exit_count(vp, &vp->exits.msrs);
        wrmsr(vp);
        break;
    case EXIT_RDTSC:
        set_edx_eax(vp, hvtlfs_tsc_emulated(vp->vp, vp->machine->tsc));
        register_skip(vp);
        break;
    case EXIT_HLT:
        exit_count(vp, NULL);
        vp->halted = true;
        register_skip(vp);
        break;
    case EXIT_HYPERCALL:
        exit_count(vp, &vp->exits.hypercalls);
        hypercall(vp);
        break;
    case EXIT_EXCEPTION:
        event_exception(vp, vp->exit_vector, 0);
        break;
    case EXIT_PREVENTED:
        event_exception(vp, VECTOR_GP, 0);
        break;
    case EXIT_REFUSED:
        vp->tally.refused_stores++;
        event_exception(vp, VECTOR_GP, 0);
        break;
    case EXIT_FINISHED:
        vp->machine->finished = true;
        break;
    case EXIT_SLICE:
        break;
    }
}
