/* SPDX-License-Identifier: MIT */
/*
 * What a program is told it can have. It is found out by making a VM with everything and looking at what
 * the library was left with, so that nothing is offered which this KVM cannot carry.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include <hvtlfs/features.h>
#include <hvtlfs/tlfs.h>

#include "preload.h"

/* KVM_CAP_X86_..., where an older <linux/kvm.h> lacks the name. */
#ifndef KVM_CAP_HYPERV_ENFORCE_CPUID
#define KVM_CAP_HYPERV_ENFORCE_CPUID 199
#endif

enum {
    SYNDBG_LEAF = 0x40000080,
    VERSION_LOW = 0x3839, /* KVM's: that of Hyper-V 2016 */
    VERSION_HIGH = 0xA0000,
    MOST_LOGICAL = 64,
    SPIN_COUNT = 0xFFF,
};

/* What KVM's Hyper-V has. TSC_INVARIANT is missing: its switch would have to change CPUID at run time, and
 * KVM takes no new CPUID once a vCPU has run. */
static const enum hvtlfs_feature candidates[] = {
    HVTLFS_FEATURE_HYPERCALL,
    HVTLFS_FEATURE_VP_INDEX,
    HVTLFS_FEATURE_RELAXED,
    HVTLFS_FEATURE_VAPIC,
    HVTLFS_FEATURE_SPINLOCKS,
    HVTLFS_FEATURE_TIME_REF_COUNT,
    HVTLFS_FEATURE_REFERENCE_TSC,
    HVTLFS_FEATURE_FREQUENCIES,
    HVTLFS_FEATURE_REENLIGHTENMENT,
    HVTLFS_FEATURE_RUNTIME,
    HVTLFS_FEATURE_RESET,
    HVTLFS_FEATURE_CRASH,
    HVTLFS_FEATURE_SYNIC,
    HVTLFS_FEATURE_STIMER,
    HVTLFS_FEATURE_STIMER_DIRECT,
    HVTLFS_FEATURE_POST_MESSAGES,
    HVTLFS_FEATURE_SIGNAL_EVENTS,
    HVTLFS_FEATURE_TLBFLUSH,
    HVTLFS_FEATURE_TLBFLUSH_EXT,
    HVTLFS_FEATURE_IPI,
    HVTLFS_FEATURE_EX_PROCESSOR_MASKS,
    HVTLFS_FEATURE_XMM_INPUT,
    HVTLFS_FEATURE_EXTENDED_HYPERCALLS,
    HVTLFS_FEATURE_DEPRECATE_AUTO_EOI,
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int kvm = -1;
static bool usable;
static enum hvtlfs_kvm_trap trap;
static struct hvtlfs_features offer;
static int most_vcpus;

static int pass(void *context, int fd, unsigned long request, void *argument)
{
    (void)context;
    return real_ioctl(fd, request, argument);
}

static void nothing_crashes(void *context, uint32_t vp_index, const struct hvtlfs_crash *crash)
{
    (void)context;
    (void)vp_index;
    (void)crash;
}

static void nothing_resets(void *context, uint32_t vp_index)
{
    (void)context;
    (void)vp_index;
}

/* KVM tells programs so: siblings are as reported where there can be none. */
static bool has_no_siblings(void)
{
    FILE *file = fopen("/sys/devices/system/cpu/smt/control", "re");
    char state[16] = "";
    bool told = file != NULL && fgets(state, sizeof state, file) != NULL;

    if (file != NULL) {
        (void)fclose(file);
    }
    return told && (strncmp(state, "forceoff", 8) == 0 || strncmp(state, "notsupported", 12) == 0);
}

static void try_out(int vm)
{
    struct hvtlfs_kvm_config config;
    struct hvtlfs_kvm_error error;
    struct hvtlfs_kvm *hv;

    hvtlfs_kvm_config_init(&config);
    config.kvm_fd = kvm;
    config.vm_fd = vm;
    config.ioctl = pass;
    config.partition.ops.crash = nothing_crashes;
    config.partition.ops.system_reset = nothing_resets;
    for (size_t i = 0; i < sizeof candidates / sizeof candidates[0]; i++) {
        hvtlfs_features_add(&config.partition.features, candidates[i]);
    }
    if (has_no_siblings()) {
        hvtlfs_features_add(&config.partition.features, HVTLFS_FEATURE_NO_CORE_SHARING);
    }
    if (hvtlfs_kvm_create(&config, &hv, &error) != HVTLFS_OK) {
        tell("Hyper-V is not offered: %s", error.text);
        return;
    }
    offer = hvtlfs_partition_features(hvtlfs_kvm_partition(hv));
    trap = hvtlfs_kvm_trap_used(hv);
    usable = true;
    hvtlfs_kvm_destroy(hv);
}

static void find_out(void)
{
    struct hvtlfs_kvm_error error = {.text = "no descriptor is free"};
    int vm;

    kvm = own_take(hvtlfs_kvm_open(NULL, &error));
    if (kvm < 0) {
        tell("Hyper-V is not offered: %s", error.text);
        return;
    }
    most_vcpus = real_ioctl(kvm, KVM_CHECK_EXTENSION, (void *)(intptr_t)KVM_CAP_MAX_VCPUS);
    vm = real_ioctl(kvm, KVM_CREATE_VM, NULL);
    if (vm < 0 || real_ioctl(vm, KVM_CREATE_IRQCHIP, NULL) != 0) {
        tell("Hyper-V is not offered: making a VM to try it: %s", strerror(errno));
    } else {
        try_out(vm);
    }
    if (vm >= 0) {
        (void)real_close(vm);
    }
}

/* hvtlfs_kvm_open() comes back here through our ioctl(); that must not wait for itself. */
static _Thread_local bool looking;

bool offered(void)
{
    if (looking) {
        return false;
    }
    looking = true;
    (void)pthread_once(&once, find_out);
    looking = false;
    return usable;
}

int own_kvm(void)
{
    return kvm;
}

enum hvtlfs_kvm_trap own_trap(void)
{
    return trap;
}

bool offers(enum hvtlfs_feature feature)
{
    return hvtlfs_features_has(&offer, feature);
}

struct hvtlfs_features all_offered(void)
{
    return offer;
}

/* ---- Capabilities ---- */

static const struct {
    int number;
    enum hvtlfs_feature feature; /* it is there if this one is; COUNT: never */
} capabilities[] = {
    {KVM_CAP_HYPERV, HVTLFS_FEATURE_HYPERCALL},
    {KVM_CAP_HYPERV_VAPIC, HVTLFS_FEATURE_VAPIC},
    {KVM_CAP_HYPERV_SPIN, HVTLFS_FEATURE_SPINLOCKS},
    {KVM_CAP_HYPERV_TIME, HVTLFS_FEATURE_REFERENCE_TSC},
    {KVM_CAP_HYPERV_SYNIC, HVTLFS_FEATURE_SYNIC},
    {KVM_CAP_HYPERV_SYNIC2, HVTLFS_FEATURE_SYNIC},
    {KVM_CAP_HYPERV_VP_INDEX, HVTLFS_FEATURE_VP_INDEX},
    {KVM_CAP_HYPERV_EVENTFD, HVTLFS_FEATURE_SIGNAL_EVENTS},
    {KVM_CAP_HYPERV_TLBFLUSH, HVTLFS_FEATURE_TLBFLUSH},
    {KVM_CAP_HYPERV_SEND_IPI, HVTLFS_FEATURE_IPI},
    {KVM_CAP_HYPERV_CPUID, HVTLFS_FEATURE_HYPERCALL},
    {KVM_CAP_SYS_HYPERV_CPUID, HVTLFS_FEATURE_HYPERCALL},
    {KVM_CAP_HYPERV_ENFORCE_CPUID, HVTLFS_FEATURE_HYPERCALL},
    {KVM_CAP_HYPERV_ENLIGHTENED_VMCS, HVTLFS_FEATURE_COUNT},
    {KVM_CAP_HYPERV_DIRECT_TLBFLUSH, HVTLFS_FEATURE_COUNT},
};

/* Also for a VM's descriptor. Xen's interface would be in the way of the trap that uses it. */
int check_extension(int fd, int number)
{
    for (size_t i = 0; i < sizeof capabilities / sizeof capabilities[0]; i++) {
        if (capabilities[i].number == number) {
            return capabilities[i].feature != HVTLFS_FEATURE_COUNT &&
                   offers(capabilities[i].feature);
        }
    }
    if (number == KVM_CAP_XEN_HVM && trap == HVTLFS_KVM_TRAP_CALL) {
        return 0;
    }
    return real_ioctl(fd, KVM_CHECK_EXTENSION, (void *)(intptr_t)number);
}

/* ---- CPUID, in the shape that KVM gives it ---- */

static void signature(struct kvm_cpuid_entry2 *entry, const char *text)
{
    memcpy(&entry->ebx, text, 4);
    memcpy(&entry->ecx, text + 4, 4);
    memcpy(&entry->edx, text + 8, 4);
}

static void fill(struct kvm_cpuid_entry2 *entry, uint32_t leaf)
{
    struct hvtlfs_cpuid_identity identity = {.features = offer, .spin_count = SPIN_COUNT};
    struct hvtlfs_cpuid_regs regs = {0};

    identity.cpuid_base = MSR_FIRST;
    (void)hvtlfs_cpuid_leaf(&identity, leaf, &regs);
    *entry = (struct kvm_cpuid_entry2){
        .function = leaf, .eax = regs.eax, .ebx = regs.ebx, .ecx = regs.ecx, .edx = regs.edx};
    switch (leaf) {
    case HV_CPUID_VENDOR:
        entry->eax = SYNDBG_LEAF + 2;
        signature(entry, "Linux KVM Hv");
        break;
    case HV_CPUID_VERSION:
        entry->eax = VERSION_LOW;
        entry->ebx = VERSION_HIGH;
        break;
    case HV_CPUID_LIMITS:
        entry->eax = (uint32_t)most_vcpus;
        entry->ebx = MOST_LOGICAL;
        break;
    case SYNDBG_LEAF:
        signature(entry, "Linux KVM Hv");
        break;
    default:
        break;
    }
}

/* The leaves of the debugger and of nesting are part of KVM's list; here they offer nothing. */
int supported_hv_cpuid(struct kvm_cpuid2 *cpuid)
{
    static const uint32_t leaves[] = {
        0x40000000, 0x40000001,  0x40000002,      0x40000003,      0x40000004,
        0x40000005, SYNDBG_LEAF, SYNDBG_LEAF + 1, SYNDBG_LEAF + 2, 0x4000000A,
    };
    enum { COUNT = sizeof leaves / sizeof leaves[0] };

    if (cpuid->nent < COUNT) {
        errno = E2BIG;
        return -1;
    }
    cpuid->nent = COUNT;
    for (uint32_t i = 0; i < COUNT; i++) {
        fill(&cpuid->entries[i], leaves[i]);
    }
    return 0;
}

/* ---- MSRs ---- */

/* As KVM lists them: one for each kind. */
static const struct {
    uint32_t number;
    enum hvtlfs_feature feature;
} msrs[] = {
    {HV_X64_MSR_GUEST_OS_ID, HVTLFS_FEATURE_HYPERCALL},
    {HV_X64_MSR_HYPERCALL, HVTLFS_FEATURE_HYPERCALL},
    {HV_X64_MSR_TIME_REF_COUNT, HVTLFS_FEATURE_TIME_REF_COUNT},
    {HV_X64_MSR_REFERENCE_TSC, HVTLFS_FEATURE_REFERENCE_TSC},
    {HV_X64_MSR_TSC_FREQUENCY, HVTLFS_FEATURE_FREQUENCIES},
    {HV_X64_MSR_APIC_FREQUENCY, HVTLFS_FEATURE_FREQUENCIES},
    {HV_X64_MSR_CRASH_P0, HVTLFS_FEATURE_CRASH},
    {HV_X64_MSR_CRASH_P1, HVTLFS_FEATURE_CRASH},
    {HV_X64_MSR_CRASH_P2, HVTLFS_FEATURE_CRASH},
    {HV_X64_MSR_CRASH_P3, HVTLFS_FEATURE_CRASH},
    {HV_X64_MSR_CRASH_P4, HVTLFS_FEATURE_CRASH},
    {HV_X64_MSR_CRASH_CTL, HVTLFS_FEATURE_CRASH},
    {HV_X64_MSR_RESET, HVTLFS_FEATURE_RESET},
    {HV_X64_MSR_VP_INDEX, HVTLFS_FEATURE_VP_INDEX},
    {HV_X64_MSR_VP_RUNTIME, HVTLFS_FEATURE_RUNTIME},
    {HV_X64_MSR_SCONTROL, HVTLFS_FEATURE_SYNIC},
    {HV_X64_MSR_STIMER0_CONFIG, HVTLFS_FEATURE_STIMER},
    {HV_X64_MSR_VP_ASSIST_PAGE, HVTLFS_FEATURE_VAPIC},
    {HV_X64_MSR_REENLIGHTENMENT_CONTROL, HVTLFS_FEATURE_REENLIGHTENMENT},
    {HV_X64_MSR_TSC_EMULATION_CONTROL, HVTLFS_FEATURE_REENLIGHTENMENT},
    {HV_X64_MSR_TSC_EMULATION_STATUS, HVTLFS_FEATURE_REENLIGHTENMENT},
};
enum { MSRS = sizeof msrs / sizeof msrs[0], KERNEL_MSRS = 1024 };

static bool listed(const struct kvm_msr_list *list, uint32_t count, uint32_t number)
{
    for (uint32_t i = 0; i < count; i++) {
        if (list->indices[i] == number) {
            return true;
        }
    }
    return false;
}

static bool is_synthetic(uint32_t number)
{
    return number >= MSR_FIRST && number - MSR_FIRST < MSR_COUNT;
}

/* The kernel's list without synthetic MSRs of its own, then ours. */
static uint32_t merge(struct kvm_msr_list *list)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < list->nmsrs; i++) {
        if (!is_synthetic(list->indices[i])) {
            list->indices[kept++] = list->indices[i];
        }
    }
    for (size_t i = 0; i < MSRS && kept < KERNEL_MSRS; i++) {
        if (offers(msrs[i].feature) && !listed(list, kept, msrs[i].number)) {
            list->indices[kept++] = msrs[i].number;
        }
    }
    return kept;
}

int msr_index_list(int fd, struct kvm_msr_list *list)
{
    union {
        struct kvm_msr_list list;
        uint32_t room[KERNEL_MSRS + 1];
    } all = {.list.nmsrs = KERNEL_MSRS - MSRS};
    uint32_t room = list->nmsrs;

    if (real_ioctl(fd, KVM_GET_MSR_INDEX_LIST, &all) != 0) {
        return -1;
    }
    list->nmsrs = merge(&all.list);
    if (room < list->nmsrs) {
        errno = E2BIG;
        return -1;
    }
    memcpy(list->indices, all.list.indices, sizeof list->indices[0] * list->nmsrs);
    return 0;
}

enum hvtlfs_feature msr_feature(uint32_t number)
{
    if (number > HV_X64_MSR_SCONTROL && number <= HV_X64_MSR_SINT15) {
        return HVTLFS_FEATURE_SYNIC;
    }
    if (number >= HV_X64_MSR_STIMER0_CONFIG && number <= HV_X64_MSR_STIMER3_COUNT) {
        return HVTLFS_FEATURE_STIMER;
    }
    if (number >= HV_X64_MSR_EOI && number <= HV_X64_MSR_TPR) {
        return HVTLFS_FEATURE_VAPIC;
    }
    for (size_t i = 0; i < MSRS; i++) {
        if (msrs[i].number == number) {
            return msrs[i].feature;
        }
    }
    return HVTLFS_FEATURE_COUNT;
}
