/* SPDX-License-Identifier: MIT */
/* The VM: memory, VPs in long mode, KVM's Hyper-V switched on. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <hvtlfs/tlfs.h>

#include "boot.h"
#include "image.h"
#include "kernel.h"
#include "kvm_stats.h"

enum {
    PAGE_TABLES_GPA = 0x1000, /* one PML4, one PDPT, four directories */
    BOOT_INFO_GPA = 0x8000,
    PAGE_BYTES = 4096,
    PTE_TABLE = 0x7, /* present, writable, user */
    PTE_LARGE = 0x87,
    SELECTOR_CODE = 0x08,
    SELECTOR_DATA = 0x10,
};

#define CR0_LONG UINT64_C(0x80010033) /* PG, WP, NE, ET, MP, PE */
#define CR4_LONG UINT64_C(0x620)      /* OSXMMEXCPT, OSFXSR, PAE */
#define EFER_LONG UINT64_C(0x500)     /* LMA, LME */

static const struct {
    int number;
    const char *name;
} needed[] = {
    {KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP"},
    {KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"},
    {KVM_CAP_HYPERV, "KVM_CAP_HYPERV, a Hyper-V of its own"},
    {KVM_CAP_HYPERV_TIME, "KVM_CAP_HYPERV_TIME"},
    {KVM_CAP_HYPERV_SYNIC2, "KVM_CAP_HYPERV_SYNIC2"},
    {KVM_CAP_HYPERV_ENFORCE_CPUID, "KVM_CAP_HYPERV_ENFORCE_CPUID"},
    {KVM_CAP_SYS_HYPERV_CPUID, "KVM_CAP_SYS_HYPERV_CPUID"},
};

static const char *because(const char *what, const char *why)
{
    static char text[160];

    (void)snprintf(text, sizeof text, "%s: %s", what, why);
    return text;
}

bool machine_wants(const struct machine *machine, enum hvtlfs_feature feature)
{
    return hvtlfs_features_has(&machine->options->list.features, feature);
}

static const char *kvm_open(struct machine *machine)
{
    int size;

    machine->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (machine->kvm < 0) {
        return because("/dev/kvm", strerror(errno));
    }
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        if (ioctl(machine->kvm, KVM_CHECK_EXTENSION, needed[i].number) <= 0) {
            return because("this KVM lacks", needed[i].name);
        }
    }
    machine->vm = ioctl(machine->kvm, KVM_CREATE_VM, 0);
    if (machine->vm < 0 || ioctl(machine->vm, KVM_CREATE_IRQCHIP, 0) != 0) {
        return because("making a VM", strerror(errno));
    }
    size = ioctl(machine->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (size < (int)sizeof(struct kvm_run)) {
        return because("KVM_GET_VCPU_MMAP_SIZE", strerror(errno));
    }
    machine->run_size = (size_t)size;
    return NULL;
}

static void entry_put(struct machine *machine, uint64_t table, unsigned index, uint64_t entry)
{
    memcpy(machine->ram + table + (size_t)8 * index, &entry, sizeof entry);
}

/* Identity map of the first 4 GiB; the guest soon has its own. */
static void page_tables_put(struct machine *machine)
{
    uint64_t pdpt = PAGE_TABLES_GPA + PAGE_BYTES;
    uint64_t directories = pdpt + PAGE_BYTES;

    entry_put(machine, PAGE_TABLES_GPA, 0, pdpt | PTE_TABLE);
    for (unsigned i = 0; i < 4; i++) {
        entry_put(machine, pdpt, i, (directories + (uint64_t)PAGE_BYTES * i) | PTE_TABLE);
    }
    for (unsigned i = 0; i < 4 * 512; i++) {
        entry_put(machine, directories, i, (uint64_t)i << 21 | PTE_LARGE);
    }
}

/* KVM writes its pages into the guest's memory, so nothing is refused and holes stay holes. */
static void boot_info_put(struct machine *machine)
{
    struct boot_info info = {
        .magic = BOOT_MAGIC,
        .size = sizeof info,
        .flags = BOOT_HAS_APIC | BOOT_SURVIVES_CRASH |
                 (machine->options->survey ? BOOT_SURVEY : 0) |
                 (machine->options->bench ? BOOT_BENCH : 0) |
                 (machine->options->apic_page ? BOOT_APIC_PAGE : 0),
        .vp_count = machine->options->vps,
        .ram_bytes = KERNEL_RAM_BYTES,
    };

    memcpy(machine->ram + BOOT_INFO_GPA, &info, sizeof info);
}

static const char *ram_init(struct machine *machine, uint64_t *entry)
{
    struct kvm_userspace_memory_region region = {.memory_size = KERNEL_RAM_BYTES};
    const char *wrong;

    machine->ram = aligned_alloc(PAGE_BYTES, KERNEL_RAM_BYTES);
    if (machine->ram == NULL) {
        return "out of memory";
    }
    memset(machine->ram, 0, KERNEL_RAM_BYTES);
    wrong = image_load(machine->options->guest, machine->ram, KERNEL_RAM_BYTES, entry);
    page_tables_put(machine);
    boot_info_put(machine);
    region.userspace_addr = (uint64_t)(uintptr_t)machine->ram;
    if (wrong == NULL && ioctl(machine->vm, KVM_SET_USER_MEMORY_REGION, &region) != 0) {
        wrong = because("KVM_SET_USER_MEMORY_REGION", strerror(errno));
    }
    return wrong;
}

static bool enable(const struct processor *processor, uint32_t capability, uint64_t argument)
{
    struct kvm_enable_cap cap = {.cap = capability, .args = {argument}};

    return ioctl(processor->fd, KVM_ENABLE_CAP, &cap) == 0;
}

/* KVM leaves it to the VMM to say that it takes crash reports. */
static bool crash_reports_taken(const struct processor *processor)
{
    union {
        struct kvm_msrs msrs;
        uint8_t room[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
    } one = {.msrs.nmsrs = 1};

    one.msrs.entries[0] = (struct kvm_msr_entry){.index = HV_X64_MSR_CRASH_CTL,
                                                 .data = HV_MSR_CRASH_CTL_CRASH_NOTIFY};
    return ioctl(processor->fd, KVM_SET_MSRS, &one) == 1;
}

static const char *hyperv_enable(struct processor *processor)
{
    if (machine_wants(processor->machine, HVTLFS_FEATURE_SYNIC) &&
        !enable(processor, KVM_CAP_HYPERV_SYNIC2, 0)) {
        return because("KVM_CAP_HYPERV_SYNIC2", strerror(errno));
    }
    if (!cpuid_set(processor)) {
        return because("KVM_SET_CPUID2", strerror(errno));
    }
    if (machine_wants(processor->machine, HVTLFS_FEATURE_CRASH) &&
        !crash_reports_taken(processor)) {
        return because("KVM_SET_MSRS", "HV_X64_MSR_CRASH_CTL");
    }
    if (!enable(processor, KVM_CAP_HYPERV_ENFORCE_CPUID, 1)) {
        return because("KVM_CAP_HYPERV_ENFORCE_CPUID", strerror(errno));
    }
    return NULL;
}

static struct kvm_segment segment(uint16_t selector, uint8_t type, bool code)
{
    return (struct kvm_segment){
        .limit = 0xFFFFFFFF,
        .selector = selector,
        .type = type,
        .present = 1,
        .db = !code,
        .s = 1,
        .l = code,
        .g = 1,
    };
}

/* Long mode, ring 0, interrupts off: the 64-bit entry of boot.h. */
static bool start_state(const struct processor *processor, uint64_t entry)
{
    struct kvm_mp_state runnable = {KVM_MP_STATE_RUNNABLE};
    struct kvm_regs regs = {
        .rip = entry, .rflags = 2, .rdi = BOOT_INFO_GPA, .rsi = processor->number};
    struct kvm_sregs sregs;

    if (ioctl(processor->fd, KVM_GET_SREGS, &sregs) != 0) {
        return false;
    }
    sregs.cs = segment(SELECTOR_CODE, 11, true);
    sregs.ds = sregs.es = sregs.ss = sregs.fs = sregs.gs = segment(SELECTOR_DATA, 3, false);
    sregs.cr0 = CR0_LONG;
    sregs.cr3 = PAGE_TABLES_GPA;
    sregs.cr4 = CR4_LONG;
    sregs.efer = EFER_LONG;
    return ioctl(processor->fd, KVM_SET_SREGS, &sregs) == 0 &&
           ioctl(processor->fd, KVM_SET_REGS, &regs) == 0 &&
           ioctl(processor->fd, KVM_SET_MP_STATE, &runnable) == 0;
}

static const char *processor_open(struct machine *machine, uint64_t entry)
{
    struct processor *processor = &machine->processors[machine->processor_count];
    const char *wrong;
    void *run;

    processor->machine = machine;
    processor->number = machine->processor_count;
    processor->fd = ioctl(machine->vm, KVM_CREATE_VCPU, processor->number);
    if (processor->fd < 0) {
        return because("KVM_CREATE_VCPU", strerror(errno));
    }
    machine->processor_count++;
    run = mmap(NULL, machine->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, processor->fd, 0);
    if (run == MAP_FAILED) {
        return because("mapping kvm_run", strerror(errno));
    }
    processor->run = run;
    processor->stats = kvm_stats_open(processor->fd);
    wrong = hyperv_enable(processor);
    if (wrong == NULL && !start_state(processor, entry)) {
        wrong = because("setting a VP's registers", strerror(errno));
    }
    return wrong;
}

const char *machine_init(struct machine *machine, const struct host_options *options, bool *skip)
{
    const char *wrong;
    uint64_t entry = 0;

    machine->options = options;
    machine->console.echo = !options->json;
    machine->vm = -1;
    machine->wake = -1;
    (void)pthread_mutex_init(&machine->mutex, NULL);
    (void)pthread_cond_init(&machine->changed, NULL);
    wrong = kvm_open(machine);
    *skip = wrong != NULL;
    if (wrong == NULL) {
        wrong = ram_init(machine, &entry);
    }
    while (wrong == NULL && machine->processor_count < options->vps) {
        wrong = processor_open(machine, entry);
    }
    if (wrong == NULL && machine_wants(machine, HVTLFS_FEATURE_SYNIC)) {
        wrong = connections_open(machine);
    }
    return wrong;
}

void machine_free(struct machine *machine)
{
    connections_close(machine);
    for (uint32_t n = 0; n < machine->processor_count; n++) {
        if (machine->processors[n].run != NULL) {
            (void)munmap(machine->processors[n].run, machine->run_size);
        }
        if (machine->processors[n].stats >= 0) {
            (void)close(machine->processors[n].stats);
        }
        (void)close(machine->processors[n].fd);
    }
    if (machine->vm >= 0) {
        (void)close(machine->vm);
    }
    if (machine->kvm >= 0) {
        (void)close(machine->kvm);
    }
    free(machine->ram);
    console_free(&machine->console);
    (void)pthread_cond_destroy(&machine->changed);
    (void)pthread_mutex_destroy(&machine->mutex);
}
