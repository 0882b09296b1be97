/* SPDX-License-Identifier: MIT */
/*
 * A VMM in two hundred lines: Unicorn runs the guest's instructions, libhvtlfs says what they mean.
 *
 * docs/TUTORIAL.md builds this file step by step and has all of it.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <unicorn/unicorn.h>

#include <hvtlfs/hvtlfs.h>

/* ---- The guest: sixty bytes or so at 0x1000; what it found out goes to 0x8000 ---- */

extern const uint8_t guest_begin[], guest_end[];

__asm__(".pushsection .rodata\n"
        "guest_begin:\n"
        "    mov $0x40000000, %eax\n" /* who is the hypervisor? */
        "    cpuid\n"
        "    mov %ebx, 0x8000\n"
        "    mov %ecx, 0x8004\n"
        "    mov %edx, 0x8008\n"
        "    mov $0x40000000, %ecx\n" /* GUEST_OS_ID = a Linux */
        "    mov $0x81000601, %edx\n"
        "    xor %eax, %eax\n"
        "    wrmsr\n"
        "    mov $0x40000001, %ecx\n" /* HYPERCALL = page at 0x5000, enabled */
        "    xor %edx, %edx\n"
        "    mov $0x5001, %eax\n"
        "    wrmsr\n"
        "    mov $0x10008, %ecx\n" /* HvCallNotifyLongSpinWait, fast */
        "    mov $4095, %edx\n"
        "    mov $0x5000, %ebx\n"
        "    call *%rbx\n"
        "    mov %rax, 0x8010\n"
        "    mov $0x40000021, %ecx\n" /* REFERENCE_TSC = page at 0x6000, enabled */
        "    xor %edx, %edx\n"
        "    mov $0x6001, %eax\n"
        "    wrmsr\n"
        "    rdtsc\n" /* time by the page: high64(tsc * scale) + offset */
        "    shl $32, %rdx\n"
        "    or %rdx, %rax\n"
        "    mulq 0x6008\n"
        "    add 0x6010, %rdx\n"
        "    mov %rdx, 0x8018\n"
        "    mov $0x40000020, %ecx\n" /* time by the MSR TIME_REF_COUNT */
        "    rdmsr\n"
        "    shl $32, %rdx\n"
        "    or %rdx, %rax\n"
        "    mov %rax, 0x8020\n"
        "    hlt\n"
        "guest_end:\n"
        ".popsection\n");

/* ---- The machine: one page-aligned block of RAM, one virtual processor ---- */

enum { RAM_SIZE = 1 << 20, ENTRY = 0x1000, STACK = 0x4000, FOUND = 0x8000, TSC_HZ = 1000000000 };

struct vmm {
    uint8_t *ram;
    uc_engine *uc;
    struct hvtlfs_vp *vp;
    uint64_t tsc;
    enum { RAN_OUT, HALT, READ_MSR, WRITE_MSR, READ_TSC, HYPERCALL } exit;
    unsigned exits;
};

static uint64_t get(struct vmm *vmm, int number)
{
    uint64_t value = 0;

    uc_reg_read(vmm->uc, number, &value);
    return value;
}

static void set(struct vmm *vmm, int number, uint64_t value)
{
    uc_reg_write(vmm->uc, number, &value);
}

/* ---- What the library asks of us ---- */

static bool gpa_read(void *context, uint64_t gpa, void *buffer, size_t size)
{
    return uc_mem_read(((struct vmm *)context)->uc, gpa, buffer, size) == UC_ERR_OK;
}

static bool gpa_write(void *context, uint64_t gpa, const void *buffer, size_t size)
{
    return uc_mem_write(((struct vmm *)context)->uc, gpa, buffer, size) == UC_ERR_OK;
}

static enum hvtlfs_gpa_kind gpa_probe(void *context, uint64_t gpa)
{
    (void)context;
    return gpa < RAM_SIZE ? HVTLFS_GPA_RAM : HVTLFS_GPA_NONE;
}

static uint64_t guest_tsc(void *context, uint32_t vp_index)
{
    (void)vp_index;
    return ((struct vmm *)context)->tsc;
}

static void spin_wait(void *context, uint32_t vp_index, uint32_t spins)
{
    (void)context;
    printf("host: VP %" PRIu32 " has tried a lock %" PRIu32 " times\n", vp_index, spins);
}

/* ---- The partition: callbacks and features in, virtual processors out ---- */

static struct hvtlfs_partition *make_partition(struct vmm *vmm)
{
    struct hvtlfs_partition *partition = NULL;
    struct hvtlfs_config config;
    size_t size;
    void *memory;

    hvtlfs_config_init(&config);
    config.context = vmm;
    config.ops.gpa_read = gpa_read;
    config.ops.gpa_write = gpa_write;
    config.ops.gpa_probe = gpa_probe;
    config.ops.guest_tsc = guest_tsc;
    config.ops.spin_wait = spin_wait;
    config.trap = HVTLFS_TRAP_VMCALL;
    config.tsc_hz = TSC_HZ;
    config.invariant_tsc = true;
    hvtlfs_profile_apply(HVTLFS_PROFILE_WINDOWS_10, &config);
    if (hvtlfs_partition_size(&config, &size, NULL)) {
        return NULL;
    }
    memory = aligned_alloc(HVTLFS_PARTITION_ALIGNMENT, (size + 4095) / 4096 * 4096);
    if (!memory || hvtlfs_partition_init(memory, size, &config, &partition, NULL)) {
        free(memory);
    }
    return partition;
}

/* ---- Unicorn tells us of exits: CPUID is answered on the spot, the rest stops the run ---- */

static int on_cpuid(uc_engine *uc, void *context)
{
    struct vmm *vmm = context;
    struct hvtlfs_cpuid_regs regs = {0};

    (void)uc;
    vmm->exits++;
    hvtlfs_cpuid(vmm->vp, (uint32_t)get(vmm, UC_X86_REG_RAX), (uint32_t)get(vmm, UC_X86_REG_RCX),
                 &regs);
    set(vmm, UC_X86_REG_RAX, regs.eax);
    set(vmm, UC_X86_REG_RBX, regs.ebx);
    set(vmm, UC_X86_REG_RCX, regs.ecx);
    set(vmm, UC_X86_REG_RDX, regs.edx);
    return 1;
}

static void on_instruction(uc_engine *uc, uint64_t address, uint32_t size, void *context)
{
    struct vmm *vmm = context;
    uint8_t code[2] = {0};

    vmm->tsc += 1000;
    if (size > 2 || uc_mem_read(uc, address, code, size)) {
        return;
    }
    if (code[0] == 0xF4) {
        vmm->exit = HALT;
    } else if (code[0] == 0x0F && code[1] >= 0x30 && code[1] <= 0x32) {
        vmm->exit = code[1] == 0x30 ? WRITE_MSR : code[1] == 0x31 ? READ_TSC : READ_MSR;
    }
    if (vmm->exit != RAN_OUT) {
        uc_emu_stop(uc);
    }
}

/* Unicorn knows no VMCALL. */
static bool on_invalid(uc_engine *uc, void *context)
{
    static const uint8_t vmcall[] = {0x0F, 0x01, 0xC1};
    struct vmm *vmm = context;
    uint8_t code[3];

    if (uc_mem_read(uc, get(vmm, UC_X86_REG_RIP), code, sizeof code) == UC_ERR_OK &&
        memcmp(code, vmcall, sizeof code) == 0) {
        vmm->exit = HYPERCALL;
        uc_emu_stop(uc);
    }
    return vmm->exit == HYPERCALL;
}

/* ---- The exits: each asks the library, and does to the guest what it answers ---- */

static bool msr_exit(struct vmm *vmm)
{
    uint32_t number = (uint32_t)get(vmm, UC_X86_REG_RCX);
    uint64_t value = get(vmm, UC_X86_REG_RDX) << 32 | (uint32_t)get(vmm, UC_X86_REG_RAX);
    enum hvtlfs_msr_result result = vmm->exit == WRITE_MSR
                                        ? hvtlfs_msr_write(vmm->vp, number, value)
                                        : hvtlfs_msr_read(vmm->vp, number, &value);

    if (result == HVTLFS_MSR_FAULT || result == HVTLFS_MSR_UNCLAIMED) {
        fprintf(stderr, "MSR 0x%" PRIx32 ": #GP, and this guest has no handler\n", number);
        return false;
    }
    if (vmm->exit == READ_MSR) {
        set(vmm, UC_X86_REG_RAX, (uint32_t)value);
        set(vmm, UC_X86_REG_RDX, value >> 32);
    }
    return true;
}

static bool hypercall_exit(struct vmm *vmm, uint32_t *length)
{
    struct hvtlfs_hypercall_regs regs = {.rcx = get(vmm, UC_X86_REG_RCX),
                                         .rdx = get(vmm, UC_X86_REG_RDX),
                                         .r8 = get(vmm, UC_X86_REG_R8),
                                         .mode = HVTLFS_MODE_LONG64};
    enum hvtlfs_hypercall_result result = hvtlfs_hypercall(vmm->vp, &regs);

    *length = result == HVTLFS_HYPERCALL_DONE ? 3 : 0; /* a long call comes again */
    if (regs.changed & HVTLFS_CHANGED_RAX) {
        set(vmm, UC_X86_REG_RAX, regs.rax);
    }
    if (regs.changed & HVTLFS_CHANGED_RCX) {
        set(vmm, UC_X86_REG_RCX, regs.rcx);
    }
    return result == HVTLFS_HYPERCALL_DONE || result == HVTLFS_HYPERCALL_CONTINUE;
}

static bool handle_exit(struct vmm *vmm)
{
    uint32_t length = 2;
    bool good = true;

    vmm->exits++;
    if (vmm->exit == READ_TSC) {
        set(vmm, UC_X86_REG_RAX, (uint32_t)vmm->tsc);
        set(vmm, UC_X86_REG_RDX, vmm->tsc >> 32);
        vmm->exits--; /* a processor gives the guest its TSC without one */
    } else if (vmm->exit == HYPERCALL) {
        good = hypercall_exit(vmm, &length);
    } else {
        good = vmm->exit != RAN_OUT && msr_exit(vmm);
    }
    set(vmm, UC_X86_REG_RIP, get(vmm, UC_X86_REG_RIP) + length);
    return good;
}

/* ---- Running it ---- */

/* Unicorn takes hooks as void *, which ISO C has no conversion for. */
static bool hook(struct vmm *vmm, int type, void (*function)(void), int instruction)
{
    uc_hook handle;
    void *pointer;

    memcpy(&pointer, &function, sizeof pointer);
    return uc_hook_add(vmm->uc, &handle, type, pointer, vmm, (uint64_t)1, (uint64_t)0,
                       instruction) == UC_ERR_OK;
}

static bool power_on(struct vmm *vmm)
{
    vmm->ram = aligned_alloc(HVTLFS_PAGE_SIZE, RAM_SIZE);
    if (!vmm->ram || uc_open(UC_ARCH_X86, UC_MODE_64, &vmm->uc) ||
        uc_mem_map_ptr(vmm->uc, 0, RAM_SIZE, UC_PROT_ALL, vmm->ram)) {
        return false;
    }
    memset(vmm->ram, 0, RAM_SIZE);
    memcpy(vmm->ram + ENTRY, guest_begin, (uintptr_t)guest_end - (uintptr_t)guest_begin);
    set(vmm, UC_X86_REG_RIP, ENTRY);
    set(vmm, UC_X86_REG_RSP, STACK);
    return hook(vmm, UC_HOOK_CODE, (void (*)(void))on_instruction, 0) &&
           hook(vmm, UC_HOOK_INSN, (void (*)(void))on_cpuid, UC_X86_INS_CPUID) &&
           hook(vmm, UC_HOOK_INSN_INVALID, (void (*)(void))on_invalid, 0);
}

static bool run(struct vmm *vmm)
{
    do {
        vmm->exit = RAN_OUT;
        uc_emu_start(vmm->uc, get(vmm, UC_X86_REG_RIP), UINT64_MAX, 0, 0);
    } while (vmm->exit != HALT && handle_exit(vmm));
    return vmm->exit == HALT;
}

int main(void)
{
    struct vmm vmm = {0};
    struct {
        char vendor[16];
        uint64_t status, page_time, msr_time;
    } found;
    struct hvtlfs_partition *partition = power_on(&vmm) ? make_partition(&vmm) : NULL;

    if (!partition) {
        fprintf(stderr, "no machine\n");
        return 1;
    }
    vmm.vp = hvtlfs_partition_vp(partition, 0);
    if (!run(&vmm)) {
        fprintf(stderr, "the guest stopped at 0x%" PRIx64 "\n", get(&vmm, UC_X86_REG_RIP));
        return 1;
    }
    memcpy(&found, vmm.ram + FOUND, sizeof found);
    printf("guest: the hypervisor is \"%.12s\"\n", found.vendor);
    printf("guest: the hypercall gave %s\n", hvtlfs_hv_status_name((uint16_t)found.status));
    printf("guest: time by the page %" PRIu64 ", a little later by the MSR %" PRIu64 "\n",
           found.page_time, found.msr_time);
    printf("host: %u exits, none of them for the page\n", vmm.exits);
    uc_close(vmm.uc);
    free(partition);
    free(vmm.ram);
    return strncmp(found.vendor, "Microsoft Hv", 12) != 0 || found.page_time > found.msr_time;
}
