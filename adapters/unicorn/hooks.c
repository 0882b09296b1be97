/* SPDX-License-Identifier: MIT */
/*
 * What Unicorn tells us. Most hooks only note why they stop the emulator; exits.c does the work once it
 * has returned, when memory may be remapped and registers written. RDMSR, WRMSR and RDTSC have no hook
 * of their own, so the hook on every instruction looks for them.
 */
#include <string.h>

#include <hvtlfs/cpuid.h>

#include "boot.h"
#include "machine.h"
#include "pm_timer.h"

static void stop(struct machine_vp *vp, enum exit_kind exit, uint32_t size)
{
    vp->exit = exit;
    vp->exit_size = size;
    (void)uc_emu_stop(vp->uc);
}

/* Those of ring 0; elsewhere Unicorn gives the #GP. */
static void look_for_privileged(struct machine_vp *vp, const uint8_t *code, uint32_t size)
{
    if (size == 1 && code[0] == 0xF4) {
        stop(vp, EXIT_HLT, size);
    } else if (size == 2 && code[0] == 0x0F && code[1] == 0x32) {
        stop(vp, EXIT_RDMSR, size);
    } else if (size == 2 && code[0] == 0x0F && code[1] == 0x30) {
        stop(vp, EXIT_WRMSR, size);
    }
}

/* One- and two-byte instructions of interest. */
static void look(struct machine_vp *vp, const uint8_t *code, uint32_t size)
{
    if (size == 1 && code[0] == 0xFB) {
        vp->shadow = true;
    } else if (size == 2 && code[0] == 0x0F && code[1] == 0x31) {
        stop(vp, EXIT_RDTSC, size);
    } else if (size == 2 && code[0] == 0xF3 && code[1] == 0x90) {
        vp->budget = 0; /* PAUSE: it waits for another VP, so let that one run */
    } else if (event_cpl(vp) == 0) {
        look_for_privileged(vp, code, size);
    }
}

/* SGDT, SIDT, SLDT and STR, by their bits in NPIEP_CONFIG (TLFS 8.12); 0: another instruction. */
static uint32_t descriptor_instruction(const uint8_t *code, uint32_t size)
{
    uint32_t at = 0;
    uint32_t form;

    while (at + 3 < size && (code[at] == 0x66 || (code[at] & 0xF0) == 0x40)) {
        at++; /* operand size, REX */
    }
    if (size - at < 3 || code[at] != 0x0F) {
        return 0;
    }
    form = code[at + 2] >> 3 & 7;
    if (form > 1 || (code[at + 1] == 1 && code[at + 2] >= 0xC0)) {
        return 0;
    }
    return code[at + 1] == 1 ? 1u << form : code[at + 1] == 0 ? 4u << form : 0;
}

static void look_for_prevented(struct machine_vp *vp, const uint8_t *code, uint32_t size)
{
    if ((vp->npiep & descriptor_instruction(code, size)) != 0 && event_cpl(vp) != 0) {
        stop(vp, EXIT_PREVENTED, size);
    }
}

/* The code at an address. The page it lies in is looked up once a turn. */
static const uint8_t *code_at(struct machine_vp *vp, uint64_t address, uint32_t size)
{
    uint64_t offset = address & (HVTLFS_PAGE_SIZE - 1);
    uint64_t gpa;

    if (offset + size > HVTLFS_PAGE_SIZE) {
        return NULL; /* None of those we look for: the compiler and we align nothing to that. */
    }
    if (vp->code == NULL || vp->code_address != address - offset) {
        if (!memory_translate(vp, address - offset, &gpa)) {
            return NULL;
        }
        vp->code = memory_at(vp->machine, gpa);
        vp->code_address = address - offset;
    }
    return vp->code != NULL ? vp->code + offset : NULL;
}

static void on_instruction(uc_engine *uc, uint64_t address, uint32_t size, void *context)
{
    struct machine_vp *vp = context;
    const uint8_t *code;

    (void)uc;
    if (vp->budget == 0 || vp->look) {
        vp->look = false;
        stop(vp, EXIT_SLICE, 0);
        return;
    }
    vp->budget--;
    vp->machine->tsc++;
    vp->shadow = false;
    if (size <= 2 && (code = code_at(vp, address, size)) != NULL) {
        look(vp, code, size);
    } else if (vp->npiep != 0 && (code = code_at(vp, address, size)) != NULL) {
        look_for_prevented(vp, code, size);
    }
}

static int on_cpuid(uc_engine *uc, void *context)
{
    struct machine_vp *vp = context;
    struct hvtlfs_cpuid_regs regs = machine_cpuid(vp, (uint32_t)register_get(vp, UC_X86_REG_RAX),
                                                  (uint32_t)register_get(vp, UC_X86_REG_RCX));

    (void)uc;
    vp->tally.cpuids++;
    exit_count(vp, NULL);
    register_set(vp, UC_X86_REG_RAX, regs.eax);
    register_set(vp, UC_X86_REG_RBX, regs.ebx);
    register_set(vp, UC_X86_REG_RCX, regs.ecx);
    register_set(vp, UC_X86_REG_RDX, regs.edx);
    return 1; /* Unicorn has nothing more to do. */
}

static uint32_t on_in(uc_engine *uc, uint32_t port, int size, void *context)
{
    struct machine_vp *vp = context;

    (void)uc;
    (void)size;
    exit_count(vp, &vp->exits.ports);
    return port == BOOT_PORT_PM_TIMER ? pm_timer(vp->machine->tsc, MACHINE_TSC_HZ) : UINT32_MAX;
}

/* The device interrupts at once: the guest takes it before its next instruction, if it can. */
static void device(struct machine_vp *vp, uint32_t value)
{
    struct exit_counts sum = {0};

    exit_count(vp, &vp->exits.ports);
    if (value < 256) {
        apic_request(&vp->machine->vps[0].apic, value, false);
        vp->look = true;
        return;
    }
    for (uint32_t n = 0; n < vp->machine->vp_count; n++) {
        const struct exit_counts *one = &vp->machine->vps[n].exits;

        sum.all += one->all;
        sum.msrs += one->msrs;
        sum.hypercalls += one->hypercalls;
        sum.ports += one->ports;
        sum.apic_page += one->apic_page;
    }
    stretches_mark(&vp->machine->stretches, &sum, value == BOOT_DEVICE_END);
}

static void on_out(uc_engine *uc, uint32_t port, int size, uint32_t value, void *context)
{
    struct machine_vp *vp = context;

    (void)uc;
    (void)size;
    if (port == BOOT_PORT_DEBUG) {
        console_put(&vp->machine->console, (uint8_t)value);
    } else if (port == BOOT_PORT_DEVICE) {
        device(vp, value);
    } else if (port == BOOT_PORT_EXIT) {
        vp->machine->status = value;
        stop(vp, EXIT_FINISHED, 0);
    }
}

static void on_exception(uc_engine *uc, uint32_t vector, void *context)
{
    struct machine_vp *vp = context;

    (void)uc;
    vp->exit_vector = vector;
    stop(vp, EXIT_EXCEPTION, 0);
}

static bool on_invalid(uc_engine *uc, void *context)
{
    static const uint8_t vmcall[] = {0x0F, 0x01, 0xC1};
    static const uint8_t vmmcall[] = {0x0F, 0x01, 0xD9};
    struct machine_vp *vp = context;
    uint8_t code[3];

    (void)uc;
    if (memory_read_virtual(vp, register_get(vp, UC_X86_REG_RIP), code, sizeof code) &&
        (memcmp(code, vmcall, sizeof code) == 0 || memcmp(code, vmmcall, sizeof code) == 0)) {
        stop(vp, EXIT_HYPERCALL, sizeof code);
    } else {
        vp->exit_vector = 6;
        stop(vp, EXIT_EXCEPTION, 0);
    }
    return true;
}

static bool on_unmapped(uc_engine *uc, uc_mem_type type, uint64_t address, int size, int64_t value,
                        void *context)
{
    (void)uc;
    (void)type;
    (void)size;
    (void)value;
    return memory_map_missing(context, address);
}

static bool on_refused(uc_engine *uc, uc_mem_type type, uint64_t address, int size, int64_t value,
                       void *context)
{
    (void)uc;
    (void)type;
    (void)address;
    (void)size;
    (void)value;
    stop(context, EXIT_REFUSED, 0);
    return false;
}

/* Unicorn takes callbacks as void *, which ISO C gives no conversion for. */
static void *callback(void (*function)(void))
{
    void *pointer;

    memcpy(&pointer, &function, sizeof pointer);
    return pointer;
}

#define CALLBACK(function) callback((void (*)(void))(function))

uc_err machine_hook(struct machine_vp *vp)
{
    const struct {
        int type;
        void *function;
        int instruction;
    } hooks[] = {
        {UC_HOOK_CODE, CALLBACK(on_instruction), 0},
        {UC_HOOK_INSN, CALLBACK(on_cpuid), UC_X86_INS_CPUID},
        {UC_HOOK_INSN, CALLBACK(on_in), UC_X86_INS_IN},
        {UC_HOOK_INSN, CALLBACK(on_out), UC_X86_INS_OUT},
        {UC_HOOK_INTR, CALLBACK(on_exception), 0},
        {UC_HOOK_INSN_INVALID, CALLBACK(on_invalid), 0},
        {UC_HOOK_MEM_UNMAPPED, CALLBACK(on_unmapped), 0},
        {UC_HOOK_MEM_WRITE_PROT | UC_HOOK_MEM_FETCH_PROT, CALLBACK(on_refused), 0},
    };

    for (size_t i = 0; i < sizeof hooks / sizeof hooks[0]; i++) {
        uc_hook handle;
        uc_err error = uc_hook_add(vp->uc, &handle, hooks[i].type, hooks[i].function, vp,
                                   (uint64_t)1, (uint64_t)0, hooks[i].instruction);

        if (error != UC_ERR_OK) {
            return error;
        }
    }
    return UC_ERR_OK;
}
