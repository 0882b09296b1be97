/* SPDX-License-Identifier: MIT */
/*
 * libhvtlfs-kvm and the kernel's APIC, on a KVM that is made up here: which of its ways the helper goes for
 * EOI, ICR and TPR by MSR, and that none of them writes the APIC's page of registers as a whole. The guest
 * is a list of WRMSRs and RDMSRs; what the helper has it execute beside, it executes.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <hvtlfs/cpuid.h>
#include <hvtlfs/kvm.h>
#include <hvtlfs/time.h>
#include <hvtlfs/tlfs.h>
#include <hvtlfs/vapic.h>

enum {
    KVM_FD = 900,
    VM_FD = 901,
    VCPU_FD = 910,
    VPS = 3,
    MSIS = 8,
    SLOTS = 100,
    TPR = 0x80,
    ISR = 0x100,
    TMR = 0x180,
    IRR = 0x200,
    X2APIC = 0x400,
    VMM_EXIT = 1,
};

#define RAM_SIZE (16u * HVTLFS_PAGE_SIZE)
#define APIC_BASE UINT64_C(0xFEE00900) /* enabled, the first processor's */
#define STAGE UINT64_C(0xFEEFF000)
#define ASSIST_GPA UINT64_C(0x5000)
#define PV_EOI 0x4B564D04u
#define NOBODY 0 /* no MSR has this number */

struct access {
    bool write;
    uint32_t number;
    uint64_t value;
};

static struct {
    bool hyperv;        /* takes the synthetic MSRs from the host */
    bool no_pv_eoi;     /* refuses MSR_KVM_PV_EOI_EN */
    bool refuse_slot;   /* has something where the stage would be */
    bool no_sync;       /* registers do not come with the exit */
    unsigned interrupt; /* so many signals come in the middle of the store */
    struct kvm_msi msis[MSIS];
    unsigned msi_count;
    struct kvm_userspace_memory_region slots[SLOTS];

    /* The first vCPU, the only one that runs. */
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    struct kvm_vcpu_events events;
    struct kvm_lapic_state lapic;
    struct access guest[8]; /* what it does */
    unsigned count, next;
    bool pending;    /* an exit whose instruction is not complete */
    uint64_t got;    /* by the last RDMSR */
    unsigned eois;   /* carried out by the APIC */
    unsigned levels; /* of these, those that the I/O APIC has heard of */
    unsigned stores; /* that the guest made for the helper */
    unsigned set_lapic;
    bool nmis_let_in; /* during such a store */
    uint64_t pv_eoi;
    uint32_t msr_set; /* the last one that the host has set, and how */
    uint64_t msr_value;
    struct kvm_cpuid_entry2 leaf4;
} fake;

static struct kvm_run runs[VPS];
static _Alignas(HVTLFS_PAGE_SIZE) uint8_t ram[RAM_SIZE];
static struct hvtlfs_kvm *hv;
static struct hvtlfs_kvm_error trouble;

static int refuse(int why)
{
    errno = why;
    return -1;
}

/* ---- The APIC ---- */

static void vector_put(unsigned map, unsigned vector, bool set)
{
    char *byte = &fake.lapic.regs[map + 16 * (vector / 32) + vector % 32 / 8];
    char bit = (char)(1 << vector % 8);

    *byte = (char)(set ? *byte | bit : *byte & ~bit);
}

static bool vector_get(unsigned map, unsigned vector)
{
    return (fake.lapic.regs[map + 16 * (vector / 32) + vector % 32 / 8] >> vector % 8 & 1) != 0;
}

static void apic_eoi(void)
{
    for (unsigned vector = 256; vector-- > 0;) {
        if (vector_get(ISR, vector)) {
            vector_put(ISR, vector, false);
            fake.levels += vector_get(TMR, vector);
            break;
        }
    }
    fake.eois++;
}

/* ---- The KVM ---- */

static int out_by_helper(void)
{
    const struct kvm_userspace_memory_region *slot = NULL;
    const uint8_t *code;

    for (unsigned i = 0; i < SLOTS; i++) {
        if (fake.slots[i].memory_size != 0 && fake.slots[i].guest_phys_addr == STAGE) {
            slot = &fake.slots[i];
        }
    }
    assert_non_null(slot);
    assert_int_equal(slot->flags, KVM_MEM_READONLY);
    code = (const uint8_t *)(uintptr_t)slot->userspace_addr;
    assert_memory_equal(code, "\x89\x03\xEE", 3); /* mov [rbx], eax; out dx, al */
    assert_int_equal(fake.regs.rip, STAGE);
    assert_int_equal(fake.regs.rflags & 0x200, 0);
    assert_int_equal(fake.sregs.efer, 0);
    fake.nmis_let_in = fake.nmis_let_in || !fake.events.nmi.masked;
    fake.stores++;
    if (fake.regs.rbx == (APIC_BASE & ~UINT64_C(0xFFF)) + 0xB0) {
        apic_eoi();
    }
    runs[0].exit_reason = KVM_EXIT_IO;
    runs[0].io.direction = KVM_EXIT_IO_OUT;
    runs[0].io.port = (uint16_t)fake.regs.rdx;
    fake.regs.rip += 3;
    return 0;
}

static void complete(void)
{
    if (fake.pending && fake.guest[fake.next].write == false) {
        fake.got = runs[0].msr.data;
    }
    fake.next += fake.pending;
    fake.regs.rip += fake.pending ? 2 : 0;
    fake.pending = false;
}

static int sync_out(int result)
{
    if (!fake.no_sync) {
        runs[0].s.regs.regs = fake.regs;
        runs[0].s.regs.sregs = fake.sregs;
    }
    return result;
}

static int run(void)
{
    const struct access *access = &fake.guest[fake.next];

    complete();
    if (runs[0].immediate_exit) {
        return sync_out(refuse(EINTR));
    }
    if ((fake.sregs.cr0 & 0x80000000) == 0) {
        if (fake.interrupt > 0) {
            fake.interrupt--;
            assert_int_equal(raise(SIGRTMIN + 4), 0); /* a kick: its handler leaves a mark */
            return sync_out(refuse(EINTR));
        }
        return sync_out(out_by_helper());
    }
    access = &fake.guest[fake.next];
    if (fake.next == fake.count) {
        runs[0].exit_reason = KVM_EXIT_DEBUG; /* the VMM's */
        return sync_out(0);
    }
    runs[0].exit_reason = access->write ? KVM_EXIT_X86_WRMSR : KVM_EXIT_X86_RDMSR;
    runs[0].msr.index = access->number;
    runs[0].msr.data = access->value;
    runs[0].msr.reason = KVM_MSR_EXIT_REASON_FILTER;
    fake.pending = true;
    return sync_out(0);
}

static int msr_set(const struct kvm_msr_entry *entry)
{
    bool x2apic = (fake.sregs.apic_base & X2APIC) != 0;

    if (entry->index == PV_EOI) {
        fake.pv_eoi = fake.no_pv_eoi ? fake.pv_eoi : entry->data;
        return !fake.no_pv_eoi;
    }
    if (!(entry->index >> 8 == 0x8 && x2apic) && !(entry->index >> 8 == 0x400000 && fake.hyperv)) {
        return 0;
    }
    fake.msr_set = entry->index;
    fake.msr_value = entry->data;
    if (entry->index == 0x80B || entry->index == HV_X64_MSR_EOI) {
        apic_eoi();
    }
    return 1;
}

static int vcpu_call(unsigned long request, void *argument)
{
    struct kvm_msrs *msrs = argument;

    switch (request) {
    case KVM_RUN:
        return run();
    case KVM_GET_REGS:
        memcpy(argument, &fake.regs, sizeof fake.regs);
        return 0;
    case KVM_SET_REGS:
        memcpy(&fake.regs, argument, sizeof fake.regs);
        return 0;
    case KVM_GET_SREGS:
        memcpy(argument, &fake.sregs, sizeof fake.sregs);
        return 0;
    case KVM_SET_SREGS:
        memcpy(&fake.sregs, argument, sizeof fake.sregs);
        fake.lapic.regs[TPR] = (char)(fake.sregs.cr8 << 4);
        return 0;
    case KVM_GET_VCPU_EVENTS:
        memcpy(argument, &fake.events, sizeof fake.events);
        return 0;
    case KVM_SET_VCPU_EVENTS:
        assert_int_equal(((const struct kvm_vcpu_events *)argument)->flags, 0);
        memcpy(&fake.events, argument, sizeof fake.events);
        return 0;
    case KVM_GET_LAPIC:
        memcpy(argument, &fake.lapic, sizeof fake.lapic);
        return 0;
    case KVM_SET_LAPIC:
        memcpy(&fake.lapic, argument, sizeof fake.lapic);
        fake.set_lapic++;
        return 0;
    case KVM_GET_MP_STATE:
        ((struct kvm_mp_state *)argument)->mp_state = KVM_MP_STATE_RUNNABLE;
        return 0;
    case KVM_SET_MSRS:
        return msr_set(&msrs->entries[0]);
    case KVM_GET_MSRS:
        msrs->entries[0].data = fake.msr_value;
        return msrs->entries[0].index == fake.msr_set;
    case KVM_GET_TSC_KHZ:
        return 2000000;
    default:
        return refuse(ENOTTY);
    }
}

static int cpuid_set(const struct kvm_cpuid2 *cpuid)
{
    for (uint32_t i = 0; i < cpuid->nent; i++) {
        if (cpuid->entries[i].function == HV_CPUID_RECOMMENDATIONS) {
            fake.leaf4 = cpuid->entries[i];
        }
    }
    return 0;
}

static int vm_call(unsigned long request, void *argument)
{
    const struct kvm_userspace_memory_region *slot = argument;

    switch (request) {
    case KVM_SIGNAL_MSI:
        memcpy(&fake.msis[fake.msi_count++ % MSIS], argument, sizeof fake.msis[0]);
        return 1;
    case KVM_SET_USER_MEMORY_REGION:
        if (slot->guest_phys_addr == STAGE && fake.refuse_slot) {
            return refuse(EEXIST);
        }
        assert_true(slot->slot < SLOTS);
        fake.slots[slot->slot] = *slot;
        return 0;
    case KVM_GET_TSC_KHZ:
        return 2000000;
    default:
        return 0;
    }
}

static int kvm_call(unsigned long request, void *argument)
{
    struct kvm_cpuid2 *cpuid = argument;

    switch (request) {
    case KVM_GET_API_VERSION:
        return KVM_API_VERSION;
    case KVM_CHECK_EXTENSION:
        switch ((unsigned long)argument) {
        case KVM_CAP_XEN_HVM:
        case KVM_CAP_VCPU_ATTRIBUTES:
            return 0;
        case KVM_CAP_NR_MEMSLOTS:
            return SLOTS;
        case KVM_CAP_SYNC_REGS:
            return fake.no_sync ? 0 : KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS;
        default:
            return 1;
        }
    case KVM_GET_SUPPORTED_CPUID:
        cpuid->nent = 1;
        cpuid->entries[0] = (struct kvm_cpuid_entry2){.function = 0x80000008, .eax = 40};
        return 0;
    default:
        return refuse(ENOTTY);
    }
}

static int fake_ioctl(void *context, int fd, unsigned long request, void *argument)
{
    (void)context;
    if (fd == KVM_FD) {
        return kvm_call(request, argument);
    }
    if (request == KVM_SET_CPUID2) {
        return cpuid_set(argument);
    }
    return fd == VM_FD ? vm_call(request, argument) : vcpu_call(request, argument);
}

/* ---- The VMM ---- */

static int setup(void **state)
{
    (void)state;
    memset(&fake, 0, sizeof fake);
    memset(runs, 0, sizeof runs);
    fake.regs = (struct kvm_regs){.rip = 0x1000, .rsp = 0x2000, .rax = 7, .rflags = 0x202};
    fake.sregs.cr0 = 0x80000011;
    fake.sregs.cr3 = 0x8000;
    fake.sregs.efer = 0x500;
    fake.sregs.cs.l = 1;
    fake.sregs.apic_base = APIC_BASE;
    hv = NULL;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    hvtlfs_kvm_destroy(hv);
    return 0;
}

static struct hvtlfs_kvm_config configuration(void)
{
    struct hvtlfs_kvm_config config;

    hvtlfs_kvm_config_init(&config);
    config.kvm_fd = KVM_FD;
    config.vm_fd = VM_FD;
    config.trap = HVTLFS_KVM_TRAP_OUT;
    config.ioctl = fake_ioctl;
    config.partition.vp_count = VPS;
    hvtlfs_features_add(&config.partition.features, HVTLFS_FEATURE_VAPIC);
    hvtlfs_features_complete(&config.partition.features);
    return config;
}

static void create_as(const struct hvtlfs_kvm_config *config)
{
    struct kvm_userspace_memory_region region = {
        .memory_size = RAM_SIZE,
        .userspace_addr = (uint64_t)(uintptr_t)ram,
    };

    if (hvtlfs_kvm_create(config, &hv, &trouble) != HVTLFS_OK) {
        fail_msg("%s", trouble.text);
    }
    assert_int_equal(hvtlfs_kvm_memory_set(hv, &region, &trouble), HVTLFS_OK);
    for (uint32_t n = 0; n < VPS; n++) {
        assert_int_equal(hvtlfs_kvm_vp_attach(hv, n, VCPU_FD + (int)n, &runs[n], &trouble),
                         HVTLFS_OK);
    }
}

static void create(void)
{
    struct hvtlfs_kvm_config config = configuration();

    create_as(&config);
}

/* The guest does this, then comes back to the VMM. */
static void guest_does(bool write, uint32_t number, uint64_t value)
{
    fake.next = fake.count = 0;
    if (number != NOBODY) {
        fake.guest[fake.count++] = (struct access){write, number, value};
    }
    do {
        if (hvtlfs_kvm_run(hv, 0) != 0) {
            assert_int_equal(errno, EINTR);
        }
    } while (fake.next < fake.count || runs[0].exit_reason != KVM_EXIT_DEBUG);
}

static void guest_writes(uint32_t number, uint64_t value)
{
    guest_does(true, number, value);
}

static uint64_t guest_reads(uint32_t number)
{
    guest_does(false, number, 0);
    return fake.got;
}

static struct hvtlfs_kvm_counters counters(void)
{
    struct hvtlfs_kvm_counters counters = {.size = sizeof counters};

    assert_int_equal(hvtlfs_kvm_read_counters(hv, 0, &counters), HVTLFS_OK);
    return counters;
}

/* ---- EOI ---- */

static void test_an_eoi_is_the_guests_store_where_kvm_has_no_other(void **state)
{
    struct kvm_regs regs;
    struct kvm_sregs sregs = fake.sregs;

    (void)state;
    create();
    vector_put(ISR, 0x41, true);
    vector_put(ISR, 0x62, true);
    vector_put(TMR, 0x62, true);
    regs = fake.regs;
    regs.rip += 2; /* behind the WRMSR */
    guest_writes(HV_X64_MSR_EOI, 0);
    assert_int_equal(fake.stores, 1);
    assert_int_equal(fake.eois, 1);
    assert_int_equal(fake.levels, 1);
    assert_true(vector_get(ISR, 0x41) && !vector_get(ISR, 0x62));
    assert_int_equal(fake.set_lapic, 0);
    assert_false(fake.nmis_let_in);
    assert_int_equal(fake.events.nmi.masked, 0);
    assert_memory_equal(&fake.regs, &regs, sizeof regs);
    assert_memory_equal(&fake.sregs, &sregs, sizeof sregs);
    assert_int_equal(counters().unserved, 0);
}

static void test_an_eoi_works_without_synced_registers(void **state)
{
    (void)state;
    fake.no_sync = true;
    create();
    vector_put(ISR, 0x41, true);
    guest_writes(HV_X64_MSR_EOI, 0);
    assert_int_equal(fake.stores, 1);
    assert_false(vector_get(ISR, 0x41));
}

static void test_a_kernel_with_hyperv_is_told_by_the_same_msrs(void **state)
{
    (void)state;
    fake.hyperv = true;
    create();
    vector_put(ISR, 0x41, true);
    guest_writes(HV_X64_MSR_EOI, 0);
    assert_int_equal(fake.msr_set, HV_X64_MSR_EOI);
    assert_int_equal(fake.eois, 1);
    guest_writes(HV_X64_MSR_TPR, 0x90);
    assert_int_equal(fake.msr_set, HV_X64_MSR_TPR);
    assert_int_equal(fake.msr_value, 0x90);
    guest_writes(HV_X64_MSR_ICR, UINT64_C(1) << 56 | 0x71);
    assert_int_equal(fake.msr_set, HV_X64_MSR_ICR);
    assert_int_equal(fake.msi_count + fake.stores + fake.set_lapic, 0);
}

static void test_x2apic_mode_has_msrs_of_its_own(void **state)
{
    (void)state;
    fake.hyperv = true;
    fake.sregs.apic_base |= X2APIC;
    create();
    guest_writes(HV_X64_MSR_EOI, 0);
    assert_int_equal(fake.msr_set, 0x80B);
    guest_writes(HV_X64_MSR_ICR, UINT64_C(1) << 32 | 0x71);
    assert_int_equal(fake.msr_set, 0x830);
    assert_int_equal(guest_reads(HV_X64_MSR_ICR), UINT64_C(1) << 32 | 0x71);
    guest_writes(HV_X64_MSR_TPR, 0x90);
    assert_int_equal(fake.msr_set, 0x808);
    assert_int_equal(fake.msi_count + fake.stores + fake.set_lapic, 0);
}

/* The guest's EOI by MSR has exited; the store that ends the interrupt is still to be made. */
static void create_and_owe_an_eoi(void)
{
    create();
    vector_put(ISR, 0x41, true);
    fake.guest[fake.count++] = (struct access){true, HV_X64_MSR_EOI, 0};
    assert_int_equal(hvtlfs_kvm_enter(hv, 0), 0);
    assert_int_equal(hvtlfs_kvm_exit(hv, 0, run()), HVTLFS_KVM_HANDLED);
}

/* Settling comes before a VMM saves the APIC. */
static void test_settling_carries_the_eoi_out(void **state)
{
    (void)state;
    create_and_owe_an_eoi();
    assert_int_equal(fake.eois, 0);
    assert_int_equal(hvtlfs_kvm_settle(hv, 0), 0);
    assert_int_equal(fake.eois, 1);
    assert_int_equal(hvtlfs_kvm_settle(hv, 0), 0);
    assert_int_equal(fake.eois, 1);
}

/* The mark of a kick that comes in the middle may be a timer's: it must bring the VP back all the same. */
static void test_signals_in_the_middle_of_the_store_are_not_lost(void **state)
{
    (void)state;
    create_and_owe_an_eoi();
    fake.interrupt = 3;
    assert_int_equal(hvtlfs_kvm_enter(hv, 0), 0);
    assert_int_equal(fake.stores, 1);
    assert_int_not_equal(runs[0].immediate_exit, 0);
    assert_int_equal(hvtlfs_kvm_exit(hv, 0, run()), HVTLFS_KVM_YOURS);
    assert_int_equal(runs[0].immediate_exit, 0);
}

static void test_immediate_exit_stays_the_vmms_during_the_store(void **state)
{
    (void)state;
    create_and_owe_an_eoi();
    runs[0].immediate_exit = VMM_EXIT;
    fake.interrupt = 2;
    assert_int_equal(hvtlfs_kvm_enter(hv, 0), 0);
    assert_int_equal(fake.stores, 1);
    assert_int_equal(runs[0].immediate_exit, VMM_EXIT);
}

/* Its APIC's page is the last way, and only there. */
static void the_page_is_written(void)
{
    create();
    vector_put(ISR, 0x41, true);
    guest_writes(HV_X64_MSR_EOI, 0);
    assert_int_equal(fake.stores, 0);
    assert_int_equal(fake.set_lapic, 1);
    assert_false(vector_get(ISR, 0x41));
    assert_int_equal(counters().unserved, 0);
}

static void test_memory_in_the_stages_place_leaves_the_page(void **state)
{
    (void)state;
    fake.refuse_slot = true;
    the_page_is_written();
}

static void test_a_vp_in_smm_makes_no_store(void **state)
{
    (void)state;
    runs[0].flags = 1 << 0;
    the_page_is_written();
}

static void test_a_vp_with_an_event_of_kvms_own_makes_no_store(void **state)
{
    (void)state;
    fake.events.exception.injected = 1;
    the_page_is_written();
    assert_int_equal(fake.events.exception.injected, 1);
}

static void test_a_store_that_never_ends_is_given_up(void **state)
{
    struct kvm_sregs sregs = fake.sregs;

    (void)state;
    fake.interrupt = 100000;
    create_and_owe_an_eoi();
    assert_int_equal(hvtlfs_kvm_enter(hv, 0), 0);
    assert_int_equal(fake.set_lapic, 1);
    assert_false(vector_get(ISR, 0x41));
    assert_memory_equal(&fake.sregs, &sregs, sizeof sregs);
    assert_int_equal(fake.events.nmi.masked, 0);
}

/* ---- TPR and ICR ---- */

static void test_tpr_is_cr8(void **state)
{
    (void)state;
    create();
    guest_writes(HV_X64_MSR_TPR, 0x95);
    assert_int_equal(fake.sregs.cr8, 9);
    assert_int_equal(guest_reads(HV_X64_MSR_TPR), 0x90);
    assert_int_equal(fake.set_lapic, 0);
}

static void test_icr_is_an_msi_and_reads_as_written(void **state)
{
    uint64_t to_one = UINT64_C(2) << 56 | 0x71;
    uint64_t logical = UINT64_C(6) << 56 | 0x971; /* lowest priority */

    (void)state;
    create();
    guest_writes(HV_X64_MSR_ICR, to_one);
    assert_int_equal(fake.msi_count, 1);
    assert_int_equal(fake.msis[0].address_lo, 0xFEE02000);
    assert_int_equal(fake.msis[0].data, 0x71);
    assert_int_equal(guest_reads(HV_X64_MSR_ICR), to_one);
    guest_writes(HV_X64_MSR_ICR, logical);
    assert_int_equal(fake.msis[1].address_lo, 0xFEE06004);
    assert_int_equal(fake.msis[1].data, 0x171);
    assert_int_equal(fake.set_lapic, 0);
}

static void test_shorthands_of_icr_are_an_msi_each(void **state)
{
    (void)state;
    create();
    guest_writes(HV_X64_MSR_ICR, 0x40071); /* itself */
    assert_int_equal(fake.msi_count, 1);
    assert_int_equal(fake.msis[0].address_lo, 0xFEE00000);
    guest_writes(HV_X64_MSR_ICR, 0x80071); /* all */
    assert_int_equal(fake.msi_count, 1 + 3);
    guest_writes(HV_X64_MSR_ICR, 0xC0071); /* all others */
    assert_int_equal(fake.msi_count, 1 + 3 + 2);
    assert_int_equal(fake.msis[4].address_lo, 0xFEE01000);
    assert_int_equal(fake.msis[5].address_lo, 0xFEE02000);
}

/* An MSI is always asserted, so the end of an INIT would be another one. */
static void test_the_end_of_an_init_is_no_init(void **state)
{
    (void)state;
    create();
    guest_writes(HV_X64_MSR_ICR, UINT64_C(1) << 56 | 0xC500);
    assert_int_equal(fake.msi_count, 1);
    assert_int_equal(fake.msis[0].data, 0x500);
    guest_writes(HV_X64_MSR_ICR, UINT64_C(1) << 56 | 0x8500);
    assert_int_equal(fake.msi_count, 1);
}

static void test_icr_is_saved(void **state)
{
    static uint8_t saved[1 << 18];
    struct hvtlfs_kvm_config config = configuration();
    size_t size;

    (void)state;
    create();
    guest_writes(HV_X64_MSR_ICR, UINT64_C(2) << 56 | 0x71);
    assert_int_equal(hvtlfs_kvm_settle(hv, 0), 0);
    assert_int_equal(hvtlfs_kvm_freeze(hv), HVTLFS_OK);
    assert_int_equal(hvtlfs_kvm_save(hv, saved, sizeof saved, &size, NULL), HVTLFS_OK);
    hvtlfs_kvm_destroy(hv);
    create_as(&config);
    assert_int_equal(hvtlfs_kvm_load(hv, saved, size, NULL), HVTLFS_OK);
    assert_int_equal(hvtlfs_kvm_thaw(hv, 0), HVTLFS_OK);
    assert_int_equal(guest_reads(HV_X64_MSR_ICR), UINT64_C(2) << 56 | 0x71);
}

/* ---- EOIs without an exit ---- */

static void test_kvm_is_told_where_the_assist_page_is(void **state)
{
    (void)state;
    create();
    guest_writes(HV_X64_MSR_VP_ASSIST_PAGE, ASSIST_GPA | 1);
    assert_int_equal(fake.pv_eoi, ASSIST_GPA | 1);
    guest_writes(HV_X64_MSR_VP_ASSIST_PAGE, (ASSIST_GPA + HVTLFS_PAGE_SIZE) | 1);
    assert_int_equal(fake.pv_eoi, (ASSIST_GPA + HVTLFS_PAGE_SIZE) | 1);
    guest_writes(HV_X64_MSR_VP_ASSIST_PAGE, 0);
    assert_int_equal(fake.pv_eoi, 0);
    guest_writes(HV_X64_MSR_VP_ASSIST_PAGE, ASSIST_GPA | 1);
    assert_int_equal(fake.pv_eoi, ASSIST_GPA | 1);
    /* Or KVM would go on writing to what is another guest's memory then. */
    hvtlfs_vp_reset(hvtlfs_partition_vp(hvtlfs_kvm_partition(hv), 0));
    guest_does(false, NOBODY, 0);
    assert_int_equal(fake.pv_eoi, 0);
}

static void test_a_page_out_of_reach_is_no_place_for_eois(void **state)
{
    (void)state;
    create();
    guest_writes(HV_X64_MSR_VP_ASSIST_PAGE, ASSIST_GPA | 1);
    guest_writes(HV_X64_MSR_VP_ASSIST_PAGE, UINT64_C(1) << 50 | 1);
    assert_int_equal(fake.pv_eoi, 0);
}

static void test_the_vmm_can_have_every_eoi(void **state)
{
    struct hvtlfs_kvm_config config = configuration();

    (void)state;
    config.partition.policy = HVTLFS_POLICY_NO_LAZY_EOI;
    create_as(&config);
    guest_writes(HV_X64_MSR_VP_ASSIST_PAGE, ASSIST_GPA | 1);
    assert_int_equal(fake.pv_eoi, 0);
}

static void test_a_kernel_without_such_eois_does_no_harm(void **state)
{
    (void)state;
    fake.no_pv_eoi = true;
    create();
    guest_writes(HV_X64_MSR_VP_ASSIST_PAGE, ASSIST_GPA | 1);
    assert_int_equal(counters().unserved, 0);
    assert_int_equal(counters().msr_faults, 0);
}

/* ---- The hint ---- */

static uint32_t hints(bool recommend, enum hvtlfs_feature more)
{
    struct hvtlfs_kvm_config config = configuration();

    config.recommend_apic_msrs = recommend;
    hvtlfs_features_add(&config.partition.features, more);
    create_as(&config);
    assert_int_equal(hvtlfs_kvm_vp_cpuid(hv, 0, NULL, &trouble), HVTLFS_OK);
    return fake.leaf4.eax;
}

static void test_the_apic_msrs_are_not_recommended(void **state)
{
    (void)state;
    assert_int_equal(hints(false, HVTLFS_FEATURE_RELAXED), 0x20);
}

static void test_the_vmm_can_recommend_the_apic_msrs(void **state)
{
    (void)state;
    assert_int_equal(hints(true, HVTLFS_FEATURE_RELAXED), 0x28);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(test_an_eoi_is_the_guests_store_where_kvm_has_no_other),
        TEST(test_an_eoi_works_without_synced_registers),
        TEST(test_a_kernel_with_hyperv_is_told_by_the_same_msrs),
        TEST(test_x2apic_mode_has_msrs_of_its_own),
        TEST(test_settling_carries_the_eoi_out),
        TEST(test_signals_in_the_middle_of_the_store_are_not_lost),
        TEST(test_immediate_exit_stays_the_vmms_during_the_store),
        TEST(test_memory_in_the_stages_place_leaves_the_page),
        TEST(test_a_vp_in_smm_makes_no_store),
        TEST(test_a_vp_with_an_event_of_kvms_own_makes_no_store),
        TEST(test_a_store_that_never_ends_is_given_up),
        TEST(test_tpr_is_cr8),
        TEST(test_icr_is_an_msi_and_reads_as_written),
        TEST(test_shorthands_of_icr_are_an_msi_each),
        TEST(test_the_end_of_an_init_is_no_init),
        TEST(test_icr_is_saved),
        TEST(test_kvm_is_told_where_the_assist_page_is),
        TEST(test_a_page_out_of_reach_is_no_place_for_eois),
        TEST(test_the_vmm_can_have_every_eoi),
        TEST(test_a_kernel_without_such_eois_does_no_harm),
        TEST(test_the_apic_msrs_are_not_recommended),
        TEST(test_the_vmm_can_recommend_the_apic_msrs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
