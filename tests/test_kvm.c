/* SPDX-License-Identifier: MIT */
/*
 * libhvtlfs-kvm on a KVM that is made up here, behind the seam for ioctl: what KVM is asked, in which
 * order, and what happens when it, the VMM or the system does not play along. The guest is a list of
 * exits; at its end it spins until something brings it out.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <x86intrin.h>

#include <hvtlfs/hypercall.h>
#include <hvtlfs/kvm.h>
#include <hvtlfs/reftime.h>
#include <hvtlfs/synic.h>
#include <hvtlfs/time.h>
#include <hvtlfs/tlfs.h>

enum { KVM_FD = 900, VM_FD = 901, VCPU_FD = 910, VPS = 2, EXITS = 8, PORT = 0x5A };

#define RAM_SIZE (16u * HVTLFS_PAGE_SIZE)
#define HYPERCALL_GPA UINT64_C(0x3000)
#define RIP UINT64_C(0x3000)
#define RFLAGS_IF UINT64_C(0x200)
#define NOTHING (~0ul) /* 0 is KVM_CAP_IRQCHIP */

/* ---- The KVM ---- */

struct fake_vcpu {
    struct kvm_run *run;
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    struct kvm_vcpu_events events;
    struct kvm_lapic_state lapic;
    uint32_t mp_state;
    struct kvm_run exits[EXITS]; /* to come */
    unsigned count, next;
    unsigned skip;        /* bytes that finishing the pending instruction adds to RIP */
    unsigned msr_answers; /* MSR exits finished */
    bool msr_fault;       /* the last of them gave #GP */
    uint64_t msr_value;
    uint64_t cr4_writes;  /* SET_SREGS that changed CR4 */
    unsigned completions; /* KVM_RUNs with immediate_exit */
    unsigned taken[256];  /* interrupts of each vector that the guest took */
    unsigned impossible;  /* those that no processor would have taken */
    unsigned parts;       /* that the instruction at hand still has for the VMM */
    struct kvm_cpuid2 *cpuid;
    bool cpuid_fixed;
    uint64_t tsc_offset;
    uint64_t tsc_adjust;
    bool no_tsc_adjust;   /* its CPUID has none */
    bool deaf_to_offsets; /* takes them, does not apply them */
};

struct fake {
    struct fake_vcpu vcpus[VPS];
    unsigned long lacks; /* a capability it has not got; NOTHING: none */
    bool xen;
    bool rip_behind; /* at an exit of OUT RIP is behind it already */
    struct kvm_msr_filter filter;
    uint64_t msr_exits;
    struct kvm_msi msis[16];
    unsigned msi_count;
    struct kvm_userspace_memory_region slots[64];
    bool refuse_slots;
    bool refuse_msrs;
    unsigned khz;
    pthread_mutex_t mutex;
};

static struct fake fake;

static int refuse(int why)
{
    errno = why;
    return -1;
}

static int capability(unsigned long number)
{
    if (number == fake.lacks) {
        return 0;
    }
    switch (number) {
    case KVM_CAP_XEN_HVM:
        return fake.xen ? KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL : 0;
    case KVM_CAP_SYNC_REGS:
        return KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS | KVM_SYNC_X86_EVENTS;
    default:
        return 1;
    }
}

static void finish_instruction(struct fake_vcpu *vcpu)
{
    if (vcpu->run->exit_reason == KVM_EXIT_X86_RDMSR ||
        vcpu->run->exit_reason == KVM_EXIT_X86_WRMSR) {
        vcpu->msr_answers++;
        vcpu->msr_fault = vcpu->run->msr.error != 0;
        vcpu->msr_value = vcpu->run->msr.data;
    } else if (vcpu->run->exit_reason == KVM_EXIT_XEN) {
        vcpu->regs.rax = vcpu->run->xen.u.hcall.result;
    }
    vcpu->regs.rip += vcpu->skip;
    vcpu->skip = 0;
}

/* What a real KVM does before and after every run. */
static void sync_in(struct fake_vcpu *vcpu)
{
    if (vcpu->run->kvm_dirty_regs & KVM_SYNC_X86_REGS) {
        vcpu->regs = vcpu->run->s.regs.regs;
        vcpu->run->kvm_dirty_regs = 0;
    }
}

static int sync_out(struct fake_vcpu *vcpu, int result)
{
    if (vcpu->run->kvm_valid_regs & KVM_SYNC_X86_REGS) {
        vcpu->run->s.regs.regs = vcpu->regs;
        vcpu->run->s.regs.sregs = vcpu->sregs;
    }
    return result;
}

static int interrupted(struct fake_vcpu *vcpu)
{
    vcpu->run->exit_reason = KVM_EXIT_INTR;
    (void)sync_out(vcpu, 0);
    return refuse(EINTR);
}

static void spin(struct fake_vcpu *vcpu)
{
    static const struct timespec pause = {0, 200000};

    while (__atomic_load_n(&vcpu->run->immediate_exit, __ATOMIC_SEQ_CST) == 0) {
        if (nanosleep(&pause, NULL) != 0) {
            break; /* a signal */
        }
    }
}

static void take_exit(struct fake_vcpu *vcpu)
{
    const struct kvm_run *next = &vcpu->exits[vcpu->next++];

    vcpu->run->exit_reason = next->exit_reason;
    switch (next->exit_reason) {
    case KVM_EXIT_X86_RDMSR:
    case KVM_EXIT_X86_WRMSR:
        vcpu->run->msr = next->msr;
        vcpu->skip = 2;
        break;
    case KVM_EXIT_IO:
        vcpu->run->io = next->io;
        vcpu->skip = fake.rip_behind ? 0 : 2;
        vcpu->regs.rip += 2 - vcpu->skip;
        break;
    case KVM_EXIT_XEN:
        vcpu->run->xen = next->xen;
        vcpu->skip = 3;
        break;
    case KVM_EXIT_MMIO:
        vcpu->run->mmio = next->mmio;
        break;
    default:
        break;
    }
}

/* Injected means taken, whether a processor would take it or not; so it is looked at here. */
static void deliver(struct fake_vcpu *vcpu)
{
    if (!vcpu->events.interrupt.injected) {
        return;
    }
    vcpu->impossible += (vcpu->regs.rflags & RFLAGS_IF) == 0 || vcpu->events.interrupt.shadow ||
                        vcpu->mp_state != KVM_MP_STATE_RUNNABLE;
    vcpu->taken[vcpu->events.interrupt.nr]++;
    vcpu->events.interrupt.injected = 0;
    vcpu->regs.rflags &= ~RFLAGS_IF;
}

static int run(struct fake_vcpu *vcpu)
{
    __atomic_store_n(&vcpu->cpuid_fixed, true, __ATOMIC_SEQ_CST);
    sync_in(vcpu);
    if (vcpu->parts != 0) { /* before it looks at immediate_exit */
        vcpu->parts--;
        vcpu->run->exit_reason = KVM_EXIT_MMIO;
        return sync_out(vcpu, 0);
    }
    finish_instruction(vcpu);
    if (__atomic_load_n(&vcpu->run->immediate_exit, __ATOMIC_SEQ_CST)) {
        vcpu->completions++;
        return interrupted(vcpu);
    }
    deliver(vcpu);
    if (vcpu->next == vcpu->count) {
        spin(vcpu);
        return interrupted(vcpu);
    }
    take_exit(vcpu);
    return sync_out(vcpu, 0);
}

static int cpuid_set(struct fake_vcpu *vcpu, const struct kvm_cpuid2 *cpuid)
{
    size_t size = sizeof *cpuid + cpuid->nent * sizeof cpuid->entries[0];

    if (vcpu->cpuid_fixed) {
        return refuse(EINVAL);
    }
    free(vcpu->cpuid);
    vcpu->cpuid = malloc(size);
    assert_non_null(vcpu->cpuid);
    memcpy(vcpu->cpuid, cpuid, size);
    return 0;
}

/* Of the host's: no effect beside the value. Without the CPUID bit it is 0 for ever. */
static int tsc_adjust(struct fake_vcpu *vcpu, bool set, struct kvm_msrs *msrs)
{
    if (msrs->nmsrs != 1 || msrs->entries[0].index != 0x3B) {
        return 0;
    }
    if (set && !vcpu->no_tsc_adjust) {
        vcpu->tsc_adjust = msrs->entries[0].data;
    }
    if (!set) {
        msrs->entries[0].data = vcpu->tsc_adjust;
    }
    return 1;
}

static int tsc_offset(struct fake_vcpu *vcpu, bool set, const struct kvm_device_attr *attr)
{
    assert_int_equal(attr->group, KVM_VCPU_TSC_CTRL);
    assert_int_equal(attr->attr, KVM_VCPU_TSC_OFFSET);
    if (!set) {
        memcpy((void *)(uintptr_t)attr->addr, &vcpu->tsc_offset, 8);
    } else if (!vcpu->deaf_to_offsets) {
        memcpy(&vcpu->tsc_offset, (const void *)(uintptr_t)attr->addr, 8);
    }
    return 0;
}

static int vcpu_call(struct fake_vcpu *vcpu, unsigned long request, void *argument)
{
    switch (request) {
    case KVM_RUN:
        return run(vcpu);
    case KVM_GET_REGS:
        memcpy(argument, &vcpu->regs, sizeof vcpu->regs);
        return 0;
    case KVM_SET_REGS:
        memcpy(&vcpu->regs, argument, sizeof vcpu->regs);
        return 0;
    case KVM_GET_SREGS:
        memcpy(argument, &vcpu->sregs, sizeof vcpu->sregs);
        return 0;
    case KVM_SET_SREGS:
        vcpu->cr4_writes += ((const struct kvm_sregs *)argument)->cr4 != vcpu->sregs.cr4;
        memcpy(&vcpu->sregs, argument, sizeof vcpu->sregs);
        return 0;
    case KVM_GET_VCPU_EVENTS:
        memcpy(argument, &vcpu->events, sizeof vcpu->events);
        return 0;
    case KVM_SET_VCPU_EVENTS:
        memcpy(&vcpu->events, argument, sizeof vcpu->events);
        if ((vcpu->events.flags & KVM_VCPUEVENT_VALID_PAYLOAD) == 0) {
            vcpu->events.exception.pending = 0;
        }
        return 0;
    case KVM_GET_LAPIC:
        memcpy(argument, &vcpu->lapic, sizeof vcpu->lapic);
        return 0;
    case KVM_GET_MP_STATE:
        ((struct kvm_mp_state *)argument)->mp_state = vcpu->mp_state;
        return 0;
    case KVM_SET_MP_STATE:
        vcpu->mp_state = ((const struct kvm_mp_state *)argument)->mp_state;
        return 0;
    case KVM_SET_CPUID2:
        return cpuid_set(vcpu, argument);
    case KVM_GET_TSC_KHZ:
        return (int)fake.khz;
    case KVM_GET_DEVICE_ATTR:
    case KVM_SET_DEVICE_ATTR:
        return tsc_offset(vcpu, request == KVM_SET_DEVICE_ATTR, argument);
    case KVM_GET_MSRS:
    case KVM_SET_MSRS:
        return tsc_adjust(vcpu, request == KVM_SET_MSRS, argument);
    default:
        return refuse(ENOTTY);
    }
}

static int vm_call(unsigned long request, void *argument)
{
    switch (request) {
    case KVM_ENABLE_CAP:
        fake.msr_exits = ((const struct kvm_enable_cap *)argument)->args[0];
        return fake.refuse_msrs ? refuse(EPERM) : 0;
    case KVM_X86_SET_MSR_FILTER:
        memcpy(&fake.filter, argument, sizeof fake.filter);
        return 0;
    case KVM_SIGNAL_MSI:
        (void)pthread_mutex_lock(&fake.mutex);
        memcpy(&fake.msis[fake.msi_count++ % 16], argument, sizeof fake.msis[0]);
        (void)pthread_mutex_unlock(&fake.mutex);
        return 1;
    case KVM_SET_USER_MEMORY_REGION: {
        const struct kvm_userspace_memory_region *slot = argument;

        if (fake.refuse_slots) {
            return refuse(EEXIST);
        }
        fake.slots[slot->slot % 64] = *slot;
        return 0;
    }
    case KVM_XEN_HVM_CONFIG:
        return fake.xen ? 0 : refuse(EINVAL);
    case KVM_GET_TSC_KHZ:
        return (int)fake.khz;
    default:
        return refuse(ENOTTY);
    }
}

static int kvm_call(unsigned long request, void *argument)
{
    struct kvm_cpuid2 *cpuid = argument;

    switch (request) {
    case KVM_GET_API_VERSION:
        return KVM_API_VERSION;
    case KVM_CHECK_EXTENSION:
        return capability((unsigned long)argument);
    case KVM_GET_SUPPORTED_CPUID:
        cpuid->nent = 3;
        cpuid->entries[0] = (struct kvm_cpuid_entry2){.function = 1};
        cpuid->entries[1] = (struct kvm_cpuid_entry2){.function = 0x40000000, .ebx = 0x4B4D564B};
        cpuid->entries[2] = (struct kvm_cpuid_entry2){.function = 0x80000008, .eax = 40};
        return 0;
    default:
        return refuse(ENOTTY);
    }
}

static int fake_ioctl(void *context, int fd, unsigned long request, void *argument)
{
    assert_ptr_equal(context, &fake);
    if (fd == KVM_FD) {
        return kvm_call(request, argument);
    }
    if (fd == VM_FD) {
        return vm_call(request, argument);
    }
    if (fd >= VCPU_FD && fd < VCPU_FD + VPS) {
        return vcpu_call(&fake.vcpus[fd - VCPU_FD], request, argument);
    }
    return refuse(EBADF);
}

/* ---- The VMM ---- */

static struct kvm_run runs[VPS];
static _Alignas(HVTLFS_PAGE_SIZE) uint8_t ram[RAM_SIZE];
static struct hvtlfs_kvm *hv;
static struct hvtlfs_kvm_error trouble;

static struct hvtlfs_kvm_config configuration(void)
{
    struct hvtlfs_kvm_config config;

    hvtlfs_kvm_config_init(&config);
    config.kvm_fd = KVM_FD;
    config.vm_fd = VM_FD;
    config.trap = HVTLFS_KVM_TRAP_OUT;
    config.ioctl = fake_ioctl;
    config.ioctl_context = &fake;
    config.partition.vp_count = VPS;
    return config;
}

static int setup(void **state)
{
    (void)state;
    memset(&fake, 0, sizeof fake);
    memset(runs, 0, sizeof runs);
    memset(ram, 0, sizeof ram);
    (void)pthread_mutex_init(&fake.mutex, NULL);
    fake.lacks = NOTHING;
    fake.khz = 2000000;
    for (unsigned n = 0; n < VPS; n++) {
        struct fake_vcpu *vcpu = &fake.vcpus[n];

        vcpu->run = &runs[n];
        vcpu->regs.rip = RIP;
        vcpu->regs.rflags = 0x202;
        vcpu->sregs.cr0 = 0x80000011;
        vcpu->sregs.efer = 0x500;
        vcpu->sregs.cs.l = 1;
    }
    hv = NULL;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    hvtlfs_kvm_destroy(hv);
    for (unsigned n = 0; n < VPS; n++) {
        free(fake.vcpus[n].cpuid);
    }
    (void)pthread_mutex_destroy(&fake.mutex);
    return 0;
}

static void memory(void)
{
    struct kvm_userspace_memory_region region = {
        .memory_size = RAM_SIZE,
        .userspace_addr = (uint64_t)(uintptr_t)ram,
    };

    assert_int_equal(hvtlfs_kvm_memory_set(hv, &region, &trouble), HVTLFS_OK);
}

static void create(const struct hvtlfs_kvm_config *config)
{
    if (hvtlfs_kvm_create(config, &hv, &trouble) != HVTLFS_OK) {
        fail_msg("%s", trouble.text);
    }
    for (uint32_t n = 0; n < VPS; n++) {
        assert_int_equal(hvtlfs_kvm_vp_attach(hv, n, VCPU_FD + (int)n, &runs[n], &trouble),
                         HVTLFS_OK);
    }
    memory();
}

static void create_with(enum hvtlfs_feature feature)
{
    struct hvtlfs_kvm_config config = configuration();

    hvtlfs_features_add(&config.partition.features, feature);
    hvtlfs_features_complete(&config.partition.features);
    create(&config);
}

static void create_plain(void)
{
    struct hvtlfs_kvm_config config = configuration();

    create(&config);
}

static struct kvm_run *next_exit(unsigned vp, uint32_t reason)
{
    struct fake_vcpu *vcpu = &fake.vcpus[vp];
    struct kvm_run *exit = &vcpu->exits[vcpu->count++];

    assert_true(vcpu->count <= EXITS);
    memset(exit, 0, sizeof *exit);
    exit->exit_reason = reason;
    return exit;
}

static void exit_msr(unsigned vp, uint32_t reason, uint32_t number, uint64_t value)
{
    struct kvm_run *exit = next_exit(vp, reason);

    exit->msr.index = number;
    exit->msr.data = value;
    exit->msr.reason = KVM_MSR_EXIT_REASON_FILTER;
}

static void exit_out(unsigned vp, uint16_t port)
{
    struct kvm_run *exit = next_exit(vp, KVM_EXIT_IO);

    exit->io.direction = KVM_EXIT_IO_OUT;
    exit->io.port = port;
    exit->io.size = 1;
    exit->io.count = 1;
}

/* Serve what stands in the list, then come back. */
static void serve(unsigned vp)
{
    struct fake_vcpu *vcpu = &fake.vcpus[vp];

    (void)next_exit(vp, KVM_EXIT_DEBUG); /* the VMM's */
    for (unsigned tries = 0; vcpu->run->exit_reason != KVM_EXIT_DEBUG; tries++) {
        assert_true(tries < 1000);
        if (hvtlfs_kvm_run(hv, vp) != 0) {
            assert_int_equal(errno, EINTR);
        }
    }
    vcpu->run->exit_reason = 0;
    vcpu->count = vcpu->next = 0;
    assert_int_equal(vcpu->impossible, 0);
}

static void identify(void)
{
    exit_msr(0, KVM_EXIT_X86_WRMSR, HV_X64_MSR_GUEST_OS_ID, 0x8100000000000000);
    exit_msr(0, KVM_EXIT_X86_WRMSR, HV_X64_MSR_HYPERCALL, HYPERCALL_GPA | 1);
    serve(0);
    assert_false(fake.vcpus[0].msr_fault);
}

/* ---- Opening and capabilities ---- */

static void test_a_missing_device_is_named_with_the_remedy(void **state)
{
    (void)state;
    assert_int_equal(hvtlfs_kvm_open("/nonexistent/kvm", &trouble), -1);
    assert_int_equal(trouble.system, ENOENT);
    assert_non_null(strstr(trouble.text, "/nonexistent/kvm"));
    assert_non_null(strstr(trouble.text, "kvm_intel or kvm_amd"));
}

static void test_no_permission_names_the_group(void **state)
{
    char path[] = "/tmp/hvtlfs-kvm-XXXXXX";
    int file = mkstemp(path);
    bool root = geteuid() == 0;

    (void)state;
    assert_true(file >= 0);
    assert_int_equal(fchmod(file, 0), 0);
    assert_true(!root || seteuid(65534) == 0);
    assert_int_equal(hvtlfs_kvm_open(path, &trouble), -1);
    assert_true(!root || seteuid(0) == 0);
    (void)close(file);
    (void)unlink(path);
    assert_int_equal(trouble.system, EACCES);
    assert_non_null(strstr(trouble.text, "no permission"));
    assert_non_null(strstr(trouble.text, "group"));
}

static void test_another_device_is_no_kvm(void **state)
{
    (void)state;
    assert_int_equal(hvtlfs_kvm_open("/dev/null", &trouble), -1);
    assert_int_equal(trouble.status, HVTLFS_ERR_HOST);
    assert_non_null(strstr(trouble.text, "not a KVM device"));
}

static void test_every_missing_capability_is_named(void **state)
{
    static const struct {
        unsigned long number;
        const char *name;
    } needed[] = {
        {KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY"},
        {KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"},
        {KVM_CAP_X86_MSR_FILTER, "KVM_CAP_X86_MSR_FILTER"},
        {KVM_CAP_SIGNAL_MSI, "KVM_CAP_SIGNAL_MSI"},
        {KVM_CAP_READONLY_MEM, "KVM_CAP_READONLY_MEM"},
    };
    struct hvtlfs_kvm_config config = configuration();

    (void)state;
    config.overlays = HVTLFS_KVM_OVERLAYS_MAPPED;
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        fake.lacks = needed[i].number;
        assert_int_equal(hvtlfs_kvm_create(&config, &hv, &trouble), HVTLFS_ERR_UNAVAILABLE);
        assert_non_null(strstr(trouble.text, needed[i].name));
        assert_null(hv);
    }
    fake.lacks = KVM_CAP_READONLY_MEM; /* of no use to copied overlays */
    config.overlays = HVTLFS_KVM_OVERLAYS_COPIED;
    create(&config);
}

static void test_a_trap_that_kvm_has_not_got_is_refused_and_auto_goes_without(void **state)
{
    struct hvtlfs_kvm_config config = configuration();

    (void)state;
    config.trap = HVTLFS_KVM_TRAP_CALL;
    assert_int_equal(hvtlfs_kvm_create(&config, &hv, &trouble), HVTLFS_ERR_UNAVAILABLE);
    assert_non_null(strstr(trouble.text, "VMCALL"));
    config.trap = HVTLFS_KVM_TRAP_AUTO;
    create(&config);
    assert_int_equal(hvtlfs_kvm_trap_used(hv), HVTLFS_KVM_TRAP_OUT);
}

static void test_auto_intercepts_calls_where_kvm_can(void **state)
{
    struct hvtlfs_kvm_config config = configuration();

    (void)state;
    fake.xen = true;
    config.trap = HVTLFS_KVM_TRAP_AUTO;
    create(&config);
    assert_int_equal(hvtlfs_kvm_trap_used(hv), HVTLFS_KVM_TRAP_CALL);
}

static void test_bad_configurations_are_refused(void **state)
{
    struct hvtlfs_kvm_config config = configuration();

    (void)state;
    config.size--;
    assert_int_equal(hvtlfs_kvm_create(&config, &hv, &trouble), HVTLFS_ERR_STRUCT_SIZE);
    config = configuration();
    config.vm_fd = -1;
    assert_int_equal(hvtlfs_kvm_create(&config, &hv, &trouble), HVTLFS_ERR_ARGUMENT);
    assert_non_null(strstr(trouble.text, "vm_fd"));
    config = configuration();
    config.apic = HVTLFS_KVM_APIC_VMM;
    assert_int_equal(hvtlfs_kvm_create(&config, &hv, &trouble), HVTLFS_ERR_NO_CALLBACK);
    config = configuration();
    config.partition.vp_count = 0;
    assert_int_equal(hvtlfs_kvm_create(&config, &hv, &trouble), HVTLFS_ERR_VP_COUNT);
    assert_int_equal(hvtlfs_kvm_create(NULL, &hv, &trouble), HVTLFS_ERR_ARGUMENT);
    config = configuration();
    fake.refuse_msrs = true;
    assert_int_equal(hvtlfs_kvm_create(&config, &hv, &trouble), HVTLFS_ERR_HOST);
    assert_int_equal(trouble.system, EPERM);
    assert_null(hv);
}

static void handler_of_the_program(int signal)
{
    (void)signal;
}

static void test_a_signal_that_the_program_uses_is_left_alone(void **state)
{
    struct hvtlfs_kvm_config config = configuration();
    struct sigaction action = {.sa_handler = handler_of_the_program}, now;

    (void)state;
    config.kick_signal = SIGUSR2;
    assert_int_equal(sigaction(SIGUSR2, &action, NULL), 0);
    assert_int_equal(hvtlfs_kvm_create(&config, &hv, &trouble), HVTLFS_ERR_EXISTS);
    assert_non_null(strstr(trouble.text, "kick_signal"));
    assert_int_equal(sigaction(SIGUSR2, NULL, &now), 0);
    assert_ptr_equal(now.sa_handler, handler_of_the_program);
    (void)signal(SIGUSR2, SIG_DFL);
}

/* ---- vCPUs ---- */

static void test_leaves_replace_kvms_own(void **state)
{
    const struct kvm_cpuid2 *cpuid;
    unsigned vendors = 0;

    (void)state;
    create_plain();
    assert_int_equal(hvtlfs_kvm_vp_cpuid(hv, 1, NULL, &trouble), HVTLFS_OK);
    cpuid = fake.vcpus[1].cpuid;
    for (uint32_t i = 0; i < cpuid->nent; i++) {
        const struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];

        if (entry->function == 0x40000000) {
            vendors++;
            assert_int_equal(entry->ebx, 0x7263694D); /* "Micr" */
        } else if (entry->function == 1) {
            assert_int_equal(entry->ebx >> 24, 1); /* its APIC ID */
            assert_true(entry->ecx >> 31);         /* a hypervisor is present */
        }
    }
    assert_int_equal(vendors, 1);
}

static void test_what_cannot_have_its_effect_on_cpuid_is_not_offered(void **state)
{
    struct hvtlfs_features features;

    (void)state;
    create_with(HVTLFS_FEATURE_TSC_INVARIANT);
    features = hvtlfs_partition_features(hvtlfs_kvm_partition(hv));
    assert_false(hvtlfs_features_has(&features, HVTLFS_FEATURE_TSC_INVARIANT));
}

static void test_a_vcpu_that_has_run_cannot_get_leaves(void **state)
{
    (void)state;
    create_plain();
    fake.vcpus[0].cpuid_fixed = true; /* before it was attached */
    assert_int_equal(hvtlfs_kvm_vp_cpuid(hv, 0, NULL, &trouble), HVTLFS_ERR_ORDER);
    assert_non_null(strstr(trouble.text, "has run before it was attached"));
    serve(1);
    assert_int_equal(hvtlfs_kvm_vp_cpuid(hv, 1, NULL, &trouble), HVTLFS_ERR_ORDER);
    assert_non_null(strstr(trouble.text, "VP 1 has run"));
}

static void test_vcpus_come_and_go(void **state)
{
    (void)state;
    create_plain();
    assert_int_equal(hvtlfs_kvm_vp_attach(hv, 0, VCPU_FD, &runs[0], &trouble), HVTLFS_ERR_EXISTS);
    assert_int_equal(hvtlfs_kvm_vp_attach(hv, 9, VCPU_FD, &runs[0], &trouble),
                     HVTLFS_ERR_NOT_FOUND);
    hvtlfs_kvm_vp_detach(hv, 0);
    hvtlfs_kvm_vp_detach(hv, 0);
    hvtlfs_kvm_vp_detach(hv, 77);
    assert_int_equal(hvtlfs_kvm_run(hv, 0), -1);
    assert_int_equal(errno, ENXIO);
    assert_int_equal(hvtlfs_kvm_settle(hv, 0), -1);
    assert_int_equal(errno, ENXIO);
    hvtlfs_kvm_kick(hv, 0);
    assert_int_equal(hvtlfs_kvm_vp_cpuid(hv, 0, NULL, &trouble), HVTLFS_ERR_NOT_FOUND);
    assert_int_equal(hvtlfs_kvm_vp_attach(hv, 0, -1, &runs[0], &trouble), HVTLFS_ERR_ARGUMENT);
    assert_int_equal(hvtlfs_kvm_vp_attach(hv, 0, VCPU_FD, &runs[0], &trouble), HVTLFS_OK);
    serve(0);
}

/* ---- Threads and signals ---- */

static void *spins_until_called(void *argument)
{
    intptr_t *left = argument;

    *left = hvtlfs_kvm_run(hv, 0) == -1 && errno == EINTR;
    return NULL;
}

static void brought_back(void (*call)(pthread_t))
{
    pthread_t thread;
    intptr_t left = 0;
    struct hvtlfs_kvm_counters counters = {.size = sizeof counters};

    assert_int_equal(pthread_create(&thread, NULL, spins_until_called, &left), 0);
    while (!__atomic_load_n(&fake.vcpus[0].cpuid_fixed, __ATOMIC_SEQ_CST)) {
        (void)sched_yield(); /* until it is in the guest */
    }
    call(thread);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(left);
    assert_int_equal(hvtlfs_kvm_read_counters(hv, 0, &counters), HVTLFS_OK);
    fake.vcpus[0].cpuid_fixed = false;
}

static void call_by_kick(pthread_t thread)
{
    (void)thread;
    hvtlfs_kvm_kick(hv, 0);
}

static void test_a_vp_can_change_threads(void **state)
{
    (void)state;
    create_plain();
    brought_back(call_by_kick);
    brought_back(call_by_kick); /* another thread, perhaps with the number of the first */
    brought_back(call_by_kick);
    runs[0].immediate_exit = 0;
}

static void call_as_vmms_do(pthread_t thread)
{
    __atomic_store_n(&runs[0].immediate_exit, 1, __ATOMIC_SEQ_CST);
    (void)pthread_kill(thread, SIGUSR1);
}

static void test_a_signal_of_the_vmm_comes_back_to_it(void **state)
{
    struct sigaction action = {.sa_handler = handler_of_the_program};

    (void)state;
    assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
    create_plain();
    brought_back(call_as_vmms_do);
    assert_int_equal(runs[0].immediate_exit, 1); /* the VMM's to take back */
    (void)signal(SIGUSR1, SIG_DFL);
}

static void test_immediate_exit_in_the_middle_of_an_exit_stays_the_vmms(void **state)
{
    (void)state;
    create_plain();
    identify();
    fake.vcpus[0].regs.rcx = 0x8000000000000000; /* #UD never, an error status: reserved bits */
    exit_out(0, PORT);
    assert_int_equal(hvtlfs_kvm_enter(hv, 0), 0);
    assert_int_equal(fake_ioctl(&fake, VCPU_FD, KVM_RUN, NULL), 0);
    runs[0].immediate_exit = 1; /* from a signal handler, just now */
    assert_int_equal(hvtlfs_kvm_exit(hv, 0, 0), HVTLFS_KVM_HANDLED);
    assert_int_equal(runs[0].immediate_exit, 1);
    assert_int_equal(hvtlfs_kvm_settle(hv, 0), 0);
    assert_int_equal(runs[0].immediate_exit, 1);
    assert_int_equal(hvtlfs_kvm_run(hv, 0), -1);
    assert_int_equal(errno, EINTR);
    assert_int_equal(runs[0].immediate_exit, 1);
    runs[0].immediate_exit = 0;
    assert_int_equal(fake.vcpus[0].regs.rip, RIP + 4 + 2); /* two WRMSR, one OUT, each once */
}

static void test_every_error_of_kvm_run_is_the_vmms(void **state)
{
    (void)state;
    create_plain();
    assert_int_equal(hvtlfs_kvm_enter(hv, 0), 0);
    errno = EFAULT;
    assert_int_equal(hvtlfs_kvm_exit(hv, 0, -1), HVTLFS_KVM_YOURS);
    assert_int_equal(errno, EFAULT);
    serve(0);
}

static void test_a_child_is_told_and_can_clean_up(void **state)
{
    int status;
    pid_t child;

    (void)state;
    create_plain();
    serve(0);
    child = fork();
    if (child == 0) {
        struct kvm_userspace_memory_region region = {.slot = 1};
        bool told = hvtlfs_kvm_run(hv, 0) == -1 && errno == EIO &&
                    hvtlfs_kvm_memory_set(hv, &region, &trouble) == HVTLFS_ERR_ORDER &&
                    strstr(trouble.text, "forked") != NULL &&
                    hvtlfs_kvm_msr_filter(hv, NULL, NULL) == HVTLFS_ERR_ORDER &&
                    hvtlfs_kvm_freeze(hv) == HVTLFS_ERR_ORDER &&
                    hvtlfs_kvm_vp_cpuid(hv, 0, NULL, NULL) == HVTLFS_ERR_ORDER;

        hvtlfs_kvm_kick(hv, 0);
        hvtlfs_kvm_destroy(hv);
        _exit(told ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    serve(0); /* the parent's goes on */
}

/* ---- MSRs ---- */

static void test_synthetic_msrs_are_answered(void **state)
{
    struct hvtlfs_kvm_counters counters = {.size = sizeof counters};

    (void)state;
    create_with(HVTLFS_FEATURE_VP_INDEX);
    exit_msr(1, KVM_EXIT_X86_RDMSR, HV_X64_MSR_VP_INDEX, 0);
    serve(1);
    assert_false(fake.vcpus[1].msr_fault);
    assert_int_equal(fake.vcpus[1].msr_value, 1);
    exit_msr(1, KVM_EXIT_X86_WRMSR, HV_X64_MSR_VP_INDEX, 7);
    serve(1);
    assert_true(fake.vcpus[1].msr_fault);
    assert_int_equal(hvtlfs_kvm_read_counters(hv, 1, &counters), HVTLFS_OK);
    assert_int_equal(counters.msr_reads, 1);
    assert_int_equal(counters.msr_writes, 1);
    assert_int_equal(counters.msr_faults, 1);
}

static void test_other_msrs_fault_as_without_the_exit_unless_the_vmm_asked(void **state)
{
    (void)state;
    create_plain();
    exit_msr(0, KVM_EXIT_X86_RDMSR, 0xC0010015, 0);
    serve(0);
    assert_true(fake.vcpus[0].msr_fault);
    assert_int_equal(hvtlfs_kvm_msr_exits(hv, KVM_MSR_EXIT_REASON_FILTER, &trouble), HVTLFS_OK);
    exit_msr(0, KVM_EXIT_X86_RDMSR, 0xC0010015, 0);
    assert_int_equal(hvtlfs_kvm_run(hv, 0), 0);
    assert_int_equal(runs[0].exit_reason, KVM_EXIT_X86_RDMSR);
    assert_int_equal(fake.msr_exits, KVM_MSR_EXIT_REASON_FILTER | KVM_MSR_EXIT_REASON_UNKNOWN);
}

static struct kvm_msr_filter filter_of(unsigned ranges, uint8_t *bitmap)
{
    struct kvm_msr_filter filter = {.flags = KVM_MSR_FILTER_DEFAULT_DENY};

    for (unsigned i = 0; i < ranges; i++) {
        filter.ranges[i].flags = KVM_MSR_FILTER_READ;
        filter.ranges[i].base = 0x1000 * i;
        filter.ranges[i].nmsrs = 64;
        filter.ranges[i].bitmap = bitmap;
    }
    return filter;
}

static void test_the_vmms_msr_filter_follows_the_helpers(void **state)
{
    uint8_t bitmap[8] = {1};
    struct kvm_msr_filter filter = filter_of(15, bitmap);
    struct hvtlfs_kvm_config config = configuration();

    (void)state;
    config.msr_filter = &filter;
    create(&config);
    assert_int_equal(fake.filter.flags, KVM_MSR_FILTER_DEFAULT_DENY);
    assert_int_equal(fake.filter.ranges[0].base, 0x40000000);
    assert_true(fake.filter.ranges[0].nmsrs >= 0x200);
    assert_int_equal(fake.filter.ranges[15].base, 0xE000);
    filter = filter_of(16, bitmap);
    assert_int_equal(hvtlfs_kvm_msr_filter(hv, &filter, &trouble), HVTLFS_ERR_FULL);
    assert_int_equal(fake.filter.ranges[15].base, 0xE000); /* the old one stands */
    assert_int_equal(hvtlfs_kvm_msr_filter(hv, NULL, &trouble), HVTLFS_OK);
    assert_int_equal(fake.filter.ranges[0].base, 0x40000000);
    assert_int_equal(fake.filter.ranges[1].base, 0x10); /* the guest's stores to its TSC */
    assert_int_equal(fake.filter.ranges[1].flags, KVM_MSR_FILTER_WRITE);
    assert_int_equal(fake.filter.ranges[2].base, 0x3B);
    assert_int_equal(fake.filter.ranges[3].nmsrs, 0);
}

/* What the VMM's filter lets the guest store comes here; what it denies is the VMM's. */
static void test_stores_to_the_tsc_are_the_vmms_if_it_wants_them(void **state)
{
    uint8_t bitmap[8] = {0xFF, 0xFF, 0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}; /* not 0x10 */
    struct kvm_msr_filter filter = {.ranges[0] = {.flags = KVM_MSR_FILTER_WRITE, .nmsrs = 64}};

    (void)state;
    create_plain();
    filter.ranges[0].bitmap = bitmap;
    assert_int_equal(hvtlfs_kvm_msr_filter(hv, &filter, &trouble), HVTLFS_OK);
    assert_int_equal(fake.filter.ranges[1].base, 0);
    exit_msr(0, KVM_EXIT_X86_WRMSR, 0x10, 5);
    serve(0);
    assert_true(fake.vcpus[0].msr_fault);
    memset(bitmap, 0xFF, sizeof bitmap);
    assert_int_equal(hvtlfs_kvm_msr_filter(hv, &filter, &trouble), HVTLFS_OK);
    assert_int_equal(fake.filter.ranges[1].base, 0x10);
    assert_int_equal(fake.filter.ranges[3].nmsrs, 64);
    exit_msr(0, KVM_EXIT_X86_WRMSR, 0x10, 5);
    serve(0);
    assert_false(fake.vcpus[0].msr_fault);
}

/* ---- Hypercalls ---- */

/* A call that a VP of this partition may make and that answers at once: an unknown code. */
static void check_call(void)
{
    struct fake_vcpu *vcpu = &fake.vcpus[0];
    uint64_t rip = vcpu->regs.rip;
    unsigned completions = vcpu->completions;

    vcpu->regs.rcx = 0x7FFF;
    vcpu->regs.rax = 0x1234;
    exit_out(0, PORT);
    serve(0);
    assert_int_equal(vcpu->regs.rax, HV_STATUS_INVALID_HYPERCALL_CODE);
    assert_int_equal(vcpu->regs.rcx, 0x7FFF);
    assert_int_equal(vcpu->regs.rip, rip + 2);
    assert_int_equal(vcpu->completions, completions); /* no second KVM_RUN */
}

static void test_a_call_by_out_is_answered_wherever_rip_is(void **state)
{
    (void)state;
    create_plain();
    identify();
    check_call();
    fake.rip_behind = true;
    check_call();
}

static void test_a_call_works_without_synced_registers(void **state)
{
    (void)state;
    fake.lacks = KVM_CAP_SYNC_REGS;
    create_plain();
    identify();
    check_call();
    assert_int_equal(runs[0].kvm_valid_regs, 0);
}

static void check_undefined(void)
{
    struct fake_vcpu *vcpu = &fake.vcpus[0];

    vcpu->regs.rip = RIP;
    vcpu->regs.rax = 0x1234;
    vcpu->regs.rcx = 0x7FFF;
    vcpu->sregs.ss.dpl = 3; /* TLFS 3.4: only the most privileged level may */
    memset(&vcpu->events, 0, sizeof vcpu->events);
    exit_out(0, PORT);
    serve(0);
    assert_int_equal(vcpu->regs.rip, RIP);
    assert_int_equal(vcpu->regs.rax, 0x1234);
    assert_int_equal(vcpu->events.exception.injected, 1);
    assert_int_equal(vcpu->events.exception.nr, 6);
}

static void test_ud_stands_at_the_call_wherever_rip_is(void **state)
{
    (void)state;
    create_plain();
    identify();
    check_undefined();
    fake.rip_behind = true;
    check_undefined();
}

static void test_an_intercepted_call_returns_through_rax(void **state)
{
    struct fake_vcpu *vcpu = &fake.vcpus[0];
    struct hvtlfs_kvm_config config = configuration();

    (void)state;
    fake.xen = true;
    config.trap = HVTLFS_KVM_TRAP_CALL;
    create(&config);
    identify();
    vcpu->regs.rip = RIP;
    vcpu->regs.rcx = 0x7FFF;
    next_exit(0, KVM_EXIT_XEN)->xen.type = KVM_EXIT_XEN_HCALL;
    serve(0);
    assert_int_equal(vcpu->regs.rax, HV_STATUS_INVALID_HYPERCALL_CODE);
    assert_int_equal(vcpu->regs.rip, RIP + 3);
    vcpu->sregs.ss.dpl = 3;
    vcpu->regs.rip = RIP;
    vcpu->regs.rax = 0x1234;
    next_exit(0, KVM_EXIT_XEN)->xen.type = KVM_EXIT_XEN_HCALL;
    serve(0);
    assert_int_equal(vcpu->regs.rip, RIP);
    assert_int_equal(vcpu->regs.rax, 0x1234);
    assert_int_equal(vcpu->events.exception.nr, 6);
}

static void test_other_ports_are_the_vmms(void **state)
{
    (void)state;
    create_plain();
    exit_out(0, PORT + 1);
    assert_int_equal(hvtlfs_kvm_run(hv, 0), 0);
    assert_int_equal(runs[0].exit_reason, KVM_EXIT_IO);
    assert_int_equal(runs[0].io.port, PORT + 1);
}

/* ---- Flushes ---- */

static void ask_for_flush(uint64_t processors)
{
    struct fake_vcpu *vcpu = &fake.vcpus[0];

    /* Fast and simple: address space 0, all of them, without ranges (TLFS 9.4.6 has the layout in
     * memory, as three words). */
    uint64_t input[3] = {0, HV_FLUSH_ALL_VIRTUAL_ADDRESS_SPACES, processors};

    memcpy(ram + 0x1000, input, sizeof input);
    vcpu->regs.rcx = HvCallFlushVirtualAddressSpace;
    vcpu->regs.rdx = 0x1000;
    exit_out(0, PORT);
}

static void test_the_caller_of_a_flush_waits_for_who_is_in_the_guest(void **state)
{
    (void)state;
    create_with(HVTLFS_FEATURE_TLBFLUSH);
    identify();
    assert_int_equal(hvtlfs_kvm_enter(hv, 1), 0); /* VP 1 is in the guest, and stays there */
    ask_for_flush(2);
    while (fake.vcpus[0].next != 1) {
        (void)hvtlfs_kvm_run(hv, 0);
    }
    for (unsigned i = 0; i < 3; i++) { /* it comes back each time, and never hangs */
        assert_int_equal(hvtlfs_kvm_enter(hv, 0), -1);
        assert_int_equal(errno, EINTR);
    }
    assert_int_equal(fake.vcpus[1].cr4_writes, 0);
    errno = EINTR;
    assert_int_equal(hvtlfs_kvm_exit(hv, 1, -1), HVTLFS_KVM_YOURS);
    assert_int_equal(hvtlfs_kvm_enter(hv, 0), 0);
    errno = EINTR;
    assert_int_equal(hvtlfs_kvm_exit(hv, 0, -1), HVTLFS_KVM_YOURS);
    assert_int_equal(fake.vcpus[0].regs.rax, HV_STATUS_SUCCESS);
    assert_int_equal(hvtlfs_kvm_enter(hv, 1), 0); /* not before its TLB is empty */
    errno = EINTR;
    assert_int_equal(hvtlfs_kvm_exit(hv, 1, -1), HVTLFS_KVM_YOURS);
    assert_int_equal(fake.vcpus[1].cr4_writes, 2); /* CR4.PGE there and back */
    assert_int_equal(fake.vcpus[0].cr4_writes, 0);
}

/* ---- Interrupts ---- */

static void synic_on(bool auto_eoi)
{
    struct hvtlfs_kvm_config config = configuration();

    hvtlfs_features_add(&config.partition.features, HVTLFS_FEATURE_SYNIC);
    hvtlfs_features_complete(&config.partition.features);
    create(&config);
    identify();
    exit_msr(0, KVM_EXIT_X86_WRMSR, HV_X64_MSR_SCONTROL, 1);
    exit_msr(0, KVM_EXIT_X86_WRMSR, HV_X64_MSR_SIEFP, 0x4001);
    exit_msr(0, KVM_EXIT_X86_WRMSR, HV_X64_MSR_SINT0, 0x90 | (auto_eoi ? 1u << 17 : 0));
    serve(0);
    assert_false(fake.vcpus[0].msr_fault);
}

static struct hvtlfs_vp *vp0(void)
{
    return hvtlfs_partition_vp(hvtlfs_kvm_partition(hv), 0);
}

static void test_an_interrupt_is_an_msi_to_the_vps_apic(void **state)
{
    (void)state;
    synic_on(false);
    assert_int_equal(hvtlfs_synic_signal_event(vp0(), 0, 5, NULL), HVTLFS_OK);
    assert_int_equal(fake.msi_count, 1);
    assert_int_equal(fake.msis[0].address_lo, 0xFEE00000);
    assert_int_equal(fake.msis[0].data, 0x90);
}

static void test_auto_eoi_goes_past_the_apic_when_the_guest_can_take_it(void **state)
{
    struct fake_vcpu *vcpu = &fake.vcpus[0];

    (void)state;
    synic_on(true);
    vcpu->regs.rflags = 2; /* interrupts off */
    assert_int_equal(hvtlfs_synic_signal_event(vp0(), 0, 5, NULL), HVTLFS_OK);
    serve(0);
    assert_int_equal(vcpu->taken[0x90], 0);
    vcpu->regs.rflags = 0x202;
    vcpu->events.interrupt.shadow = 1;
    serve(0);
    assert_int_equal(vcpu->taken[0x90], 0);
    vcpu->events.interrupt.shadow = 0;
    vcpu->lapic.regs[0x80] = (char)0xA0; /* TPR above it */
    serve(0);
    assert_int_equal(vcpu->taken[0x90], 0);
    vcpu->lapic.regs[0x80] = 0;
    vcpu->mp_state = KVM_MP_STATE_HALTED;
    serve(0);
    assert_int_equal(vcpu->taken[0x90], 1);
    assert_int_equal(vcpu->mp_state, KVM_MP_STATE_RUNNABLE);
    assert_int_equal(fake.msi_count, 0);
}

/* The handler runs with interrupts off and exits again and again: not once more for the same event, and
 * for the next one only when it lets interrupts in. */
static void test_auto_eoi_comes_once_for_each_event(void **state)
{
    struct fake_vcpu *vcpu = &fake.vcpus[0];

    (void)state;
    synic_on(true);
    for (unsigned event = 1; event <= 3; event++) {
        assert_int_equal(hvtlfs_synic_signal_event(vp0(), 0, event, NULL), HVTLFS_OK);
        for (unsigned i = 0; i < 5; i++) {
            exit_msr(0, KVM_EXIT_X86_WRMSR, HV_X64_MSR_EOM, 0);
            exit_msr(0, KVM_EXIT_X86_RDMSR, HV_X64_MSR_SCONTROL, 0);
            serve(0);
            assert_int_equal(vcpu->taken[0x90], event);
        }
        vcpu->regs.rflags |= RFLAGS_IF;
        serve(0);
        assert_int_equal(vcpu->taken[0x90], event);
    }
    vcpu->regs.rflags &= ~RFLAGS_IF;
    assert_int_equal(hvtlfs_synic_signal_event(vp0(), 0, 4, NULL), HVTLFS_OK);
    serve(0);
    assert_int_equal(vcpu->taken[0x90], 3);
    vcpu->regs.rflags |= RFLAGS_IF;
    serve(0);
    serve(0);
    assert_int_equal(vcpu->taken[0x90], 4);
}

/* The registers that came with the exit say that interrupts are on; what the VMM has set since says that
 * they are not, and it is later. */
static void test_auto_eoi_goes_by_the_registers_of_now(void **state)
{
    struct fake_vcpu *vcpu = &fake.vcpus[0];

    (void)state;
    synic_on(true);
    assert_true((runs[0].s.regs.regs.rflags & RFLAGS_IF) != 0);
    assert_int_equal(hvtlfs_synic_signal_event(vp0(), 0, 5, NULL), HVTLFS_OK);
    runs[0].s.regs.regs.rflags &= ~RFLAGS_IF;
    runs[0].kvm_dirty_regs = KVM_SYNC_X86_REGS;
    serve(0);
    assert_int_equal(vcpu->taken[0x90], 0);
}

/* An exit in the middle of a delivery, or of an instruction that faults, leaves KVM with an event of its
 * own. With KVM_CAP_EXCEPTION_PAYLOAD the exception is pending and not injected. */
static void test_auto_eoi_leaves_kvms_own_events_alone(void **state)
{
    struct fake_vcpu *vcpu = &fake.vcpus[0];

    (void)state;
    synic_on(true);
    assert_int_equal(hvtlfs_synic_signal_event(vp0(), 0, 5, NULL), HVTLFS_OK);
    vcpu->events.interrupt.injected = 1;
    vcpu->events.interrupt.nr = 0x41;
    serve(0);
    assert_int_equal(vcpu->taken[0x41], 1);
    assert_int_equal(vcpu->taken[0x90], 0);
    vcpu->regs.rflags |= RFLAGS_IF;
    vcpu->events.exception.pending = 1;
    vcpu->events.exception.nr = 13;
    serve(0);
    assert_int_equal(vcpu->events.exception.pending, 1);
    assert_int_equal(vcpu->taken[0x90], 0);
    vcpu->events.exception.pending = 0;
    serve(0);
    assert_int_equal(vcpu->taken[0x90], 1);
    assert_int_equal(vcpu->taken[0x41], 1);
}

/* A store across two pages of a device is two exits, and KVM_RUN with immediate_exit gives the second. */
static void test_an_instruction_with_more_parts_is_not_cut_short(void **state)
{
    struct fake_vcpu *vcpu = &fake.vcpus[0];

    (void)state;
    synic_on(true);
    vcpu->regs.rflags = 0x202;
    (void)next_exit(0, KVM_EXIT_MMIO);
    assert_int_equal(hvtlfs_kvm_run(hv, 0), 0);
    assert_int_equal(vcpu->run->exit_reason, KVM_EXIT_MMIO);
    vcpu->parts = 1;
    assert_int_equal(hvtlfs_synic_signal_event(vp0(), 0, 5, NULL), HVTLFS_OK);
    vcpu->run->exit_reason = 0;
    assert_int_equal(hvtlfs_kvm_run(hv, 0), 0);
    assert_int_equal(vcpu->run->exit_reason, KVM_EXIT_MMIO);
    assert_int_equal(vcpu->taken[0x90], 0);
    assert_int_equal(hvtlfs_kvm_run(hv, 0), -1); /* it ends, without a step further */
    assert_int_equal(errno, EINTR);
    (void)next_exit(0, KVM_EXIT_DEBUG);
    assert_int_equal(hvtlfs_kvm_run(hv, 0), 0);
    assert_int_equal(vcpu->taken[0x90], 1);
}

static void test_settling_tells_of_another_part(void **state)
{
    (void)state;
    create_plain();
    (void)next_exit(0, KVM_EXIT_MMIO);
    assert_int_equal(hvtlfs_kvm_run(hv, 0), 0);
    fake.vcpus[0].parts = 1;
    assert_int_equal(hvtlfs_kvm_settle(hv, 0), 1);
    assert_int_equal(fake.vcpus[0].run->exit_reason, KVM_EXIT_MMIO);
    assert_int_equal(hvtlfs_kvm_settle(hv, 0), 0);
}

/* ---- Memory ---- */

static struct kvm_userspace_memory_region region(uint32_t slot, uint64_t gpa, uint64_t size)
{
    return (struct kvm_userspace_memory_region){
        .slot = slot,
        .guest_phys_addr = gpa,
        .memory_size = size,
        .userspace_addr = (uint64_t)(uintptr_t)ram,
    };
}

static void test_bad_memory_slots_are_refused(void **state)
{
    struct kvm_userspace_memory_region bad = region(1, RAM_SIZE + 1, HVTLFS_PAGE_SIZE);

    (void)state;
    create_plain();
    assert_int_equal(hvtlfs_kvm_memory_set(hv, &bad, &trouble), HVTLFS_ERR_ARGUMENT);
    bad = region(1, RAM_SIZE - HVTLFS_PAGE_SIZE, 2 * HVTLFS_PAGE_SIZE);
    assert_int_equal(hvtlfs_kvm_memory_set(hv, &bad, &trouble), HVTLFS_ERR_ARGUMENT);
    assert_non_null(strstr(trouble.text, "overlaps slot 0"));
    bad = region(1, ~(uint64_t)0xFFF, 2 * HVTLFS_PAGE_SIZE);
    assert_int_equal(hvtlfs_kvm_memory_set(hv, &bad, &trouble), HVTLFS_ERR_ARGUMENT);
    bad = region(0, 0x100000, RAM_SIZE); /* moving slot 0: KVM refuses */
    fake.refuse_slots = true;
    assert_int_equal(hvtlfs_kvm_memory_set(hv, &bad, &trouble), HVTLFS_ERR_HOST);
    assert_int_equal(trouble.system, EEXIST);
    fake.refuse_slots = false;
    identify(); /* the hypercall page stands in slot 0, which is where it was */
    assert_int_equal(ram[HYPERCALL_GPA], 0xE6);
    assert_int_equal(ram[HYPERCALL_GPA + 1], PORT);
}

static unsigned slots_in_use(void)
{
    unsigned used = 0;

    for (unsigned i = 0; i < 64; i++) {
        used += fake.slots[i].memory_size != 0;
    }
    return used;
}

static const struct kvm_userspace_memory_region *slot_at(uint64_t gpa)
{
    static const struct kvm_userspace_memory_region none;

    for (unsigned i = 0; i < 64; i++) {
        if (fake.slots[i].memory_size > gpa - fake.slots[i].guest_phys_addr) {
            return &fake.slots[i];
        }
    }
    return &none;
}

static void test_a_mapped_overlay_is_a_read_only_slot_of_its_own(void **state)
{
    struct hvtlfs_kvm_config config = configuration();
    const struct kvm_userspace_memory_region *slot;
    struct kvm_run *store;

    (void)state;
    config.overlays = HVTLFS_KVM_OVERLAYS_MAPPED;
    create(&config);
    assert_int_equal(slots_in_use(), 1);
    identify();
    assert_int_equal(slots_in_use(), 3);
    slot = slot_at(HYPERCALL_GPA);
    assert_int_equal(slot->flags, KVM_MEM_READONLY);
    assert_int_equal(slot->memory_size, HVTLFS_PAGE_SIZE);
    assert_int_equal(ram[HYPERCALL_GPA], 0); /* what it covers is untouched */
    assert_int_equal(slot_at(0)->memory_size, HYPERCALL_GPA);

    store = next_exit(0, KVM_EXIT_MMIO);
    store->mmio.phys_addr = HYPERCALL_GPA + 8;
    store->mmio.is_write = 1;
    serve(0);
    assert_int_equal(fake.vcpus[0].events.exception.nr, 13);

    exit_msr(0, KVM_EXIT_X86_WRMSR, HV_X64_MSR_HYPERCALL, 0);
    serve(0);
    assert_int_equal(slots_in_use(), 1);
    assert_int_equal(slot_at(0)->memory_size, RAM_SIZE);
    assert_int_equal(hvtlfs_kvm_memory_note(hv, slot, &trouble), HVTLFS_ERR_UNAVAILABLE);
}

static void test_a_store_of_which_a_part_is_refused_faults_when_it_is_finished(void **state)
{
    struct hvtlfs_kvm_config config = configuration();
    struct kvm_run *store;

    (void)state;
    config.overlays = HVTLFS_KVM_OVERLAYS_MAPPED;
    create(&config);
    identify();
    store = next_exit(0, KVM_EXIT_MMIO);
    store->mmio.phys_addr = HYPERCALL_GPA + 0xFFC; /* and four bytes in a page behind it */
    store->mmio.is_write = 1;
    assert_int_equal(hvtlfs_kvm_enter(hv, 0), 0);
    assert_int_equal(run(&fake.vcpus[0]), 0);
    fake.vcpus[0].parts = 1;
    fake.vcpus[0].completions = 0;
    assert_int_equal(hvtlfs_kvm_exit(hv, 0, 0), HVTLFS_KVM_HANDLED);
    assert_int_equal(fake.vcpus[0].parts, 0);
    assert_int_equal(fake.vcpus[0].completions, 1);
    assert_int_equal(fake.vcpus[0].events.exception.nr, 13);
}

static uint64_t told_gpa, told_size;

static void written(void *context, uint64_t gpa, uint64_t size)
{
    (void)context;
    told_gpa = gpa;
    told_size = size;
}

static void test_a_dirty_log_hears_of_the_librarys_writes(void **state)
{
    struct hvtlfs_kvm_config config = configuration();

    (void)state;
    config.memory_written = written;
    create(&config);
    told_size = 0;
    identify();
    assert_int_equal(told_gpa & ~UINT64_C(0xFFF), HYPERCALL_GPA);
    assert_true(told_size > 0);
}

/* ---- Time ---- */

/* What the guest makes of the reference TSC page (TLFS 12.7.3), with its own TSC. */
static uint64_t time_by_page(uint64_t gpa, uint64_t tsc_offset)
{
    struct hv_reference_tsc_page page;

    memcpy(&page, ram + gpa, sizeof page);
    assert_int_not_equal(page.tsc_sequence, 0);
    return hvtlfs_reftime_from_tsc(__rdtsc() + tsc_offset, page.tsc_scale,
                                   (uint64_t)page.tsc_offset);
}

static void check_time(uint64_t least)
{
    uint64_t before = hvtlfs_reference_time(vp0());
    uint64_t page = time_by_page(0x6000, fake.vcpus[0].tsc_offset);
    uint64_t after = hvtlfs_reference_time(vp0());

    assert_true(before >= least);
    assert_in_range(page, before - 1, after + 1);
    assert_true(after < least + 600 * UINT64_C(10000000)); /* ten minutes: no leap */
}

static void create_with_page(void)
{
    struct hvtlfs_kvm_config config = configuration();

    hvtlfs_features_add(&config.partition.features, HVTLFS_FEATURE_REFERENCE_TSC);
    hvtlfs_features_complete(&config.partition.features);
    config.partition.tsc_hz = UINT64_C(2000000000);
    config.partition.invariant_tsc = true;
    fake.vcpus[0].tsc_offset = fake.vcpus[1].tsc_offset = 0 - __rdtsc(); /* as a fresh vCPU's */
    create(&config);
    identify();
    exit_msr(0, KVM_EXIT_X86_WRMSR, HV_X64_MSR_REFERENCE_TSC, 0x6001);
    serve(0);
    check_time(0);
}

static enum hvtlfs_tsc_page_state page_state(void)
{
    return hvtlfs_tsc_page_query(hvtlfs_kvm_partition(hv));
}

static void store_tsc(unsigned vp, uint32_t number, uint64_t value)
{
    exit_msr(vp, KVM_EXIT_X86_WRMSR, number, value);
    serve(vp);
    assert_false(fake.vcpus[vp].msr_fault);
}

static void test_time_goes_on_when_the_guest_moves_its_tsc(void **state)
{
    const uint64_t ahead = 0x7000000000000000;
    struct fake_vcpu *vcpu = &fake.vcpus[0];
    uint64_t old, time, tsc;

    (void)state;
    create_with_page();
    old = vcpu->tsc_offset;
    time = hvtlfs_reference_time(vp0());
    store_tsc(0, 0x3B, ahead);
    assert_int_equal(vcpu->tsc_offset, old + ahead);
    assert_int_equal(vcpu->tsc_adjust, ahead);
    assert_int_equal(page_state(), HVTLFS_TSC_PAGE_UNSYNCED);
    store_tsc(1, 0x3B, ahead);
    assert_int_equal(page_state(), HVTLFS_TSC_PAGE_VALID);
    check_time(time);
    store_tsc(0, 0x10, 12345);
    tsc = __rdtsc() + vcpu->tsc_offset;
    assert_in_range(tsc, 12345, 12345 + UINT64_C(600000000000));
    assert_int_equal(vcpu->tsc_adjust, vcpu->tsc_offset - old);
    assert_int_equal(page_state(), HVTLFS_TSC_PAGE_UNSYNCED);
    store_tsc(0, 0x3B, ahead);
    assert_int_equal(vcpu->tsc_offset, old + ahead);
    assert_int_equal(page_state(), HVTLFS_TSC_PAGE_VALID);
    check_time(time);
}

static void test_a_store_to_the_tsc_without_effect_moves_nothing(void **state)
{
    struct fake_vcpu *vcpu = &fake.vcpus[0];
    uint64_t old;

    (void)state;
    create_with_page();
    old = vcpu->tsc_offset;
    vcpu->no_tsc_adjust = true;
    store_tsc(0, 0x3B, 99);
    assert_int_equal(vcpu->tsc_offset, old);
    vcpu->no_tsc_adjust = false;
    vcpu->deaf_to_offsets = true;
    store_tsc(0, 0x3B, 99);
    assert_int_equal(page_state(), HVTLFS_TSC_PAGE_VALID);
    check_time(0);
}

static void test_time_follows_the_vcpus_tsc(void **state)
{
    uint64_t frozen;

    (void)state;
    create_with_page();
    assert_int_equal(hvtlfs_kvm_freeze(hv), HVTLFS_OK);
    frozen = hvtlfs_reference_time(vp0());
    fake.vcpus[0].tsc_offset += 123456789012345; /* restored from another machine */
    fake.vcpus[1].tsc_offset += 123456789012345;
    assert_int_equal(hvtlfs_kvm_thaw(hv, 0), HVTLFS_OK);
    assert_int_equal(page_state(), HVTLFS_TSC_PAGE_VALID);
    check_time(frozen);
    assert_int_equal(hvtlfs_kvm_freeze(hv), HVTLFS_OK);
    fake.vcpus[1].tsc_offset += 5; /* not any more together */
    assert_int_equal(hvtlfs_kvm_thaw(hv, 0), HVTLFS_OK);
    assert_int_equal(page_state(), HVTLFS_TSC_PAGE_UNSYNCED);
}

/* ---- Saving ---- */

static void test_state_goes_on_in_another_vm(void **state)
{
    static uint8_t saved[1 << 20];
    struct hvtlfs_error error;
    size_t size;
    uint8_t page[2];

    (void)state;
    synic_on(true);
    fake.vcpus[0].regs.rflags = 2;
    assert_int_equal(hvtlfs_synic_signal_event(vp0(), 0, 5, NULL), HVTLFS_OK); /* not delivered */
    assert_int_equal(hvtlfs_kvm_save(hv, saved, sizeof saved, &size, &error), HVTLFS_ERR_ORDER);
    assert_int_equal(hvtlfs_kvm_freeze(hv), HVTLFS_OK);
    assert_int_equal(hvtlfs_kvm_save(hv, saved, 10, &size, &error), HVTLFS_ERR_FULL);
    assert_int_equal(hvtlfs_kvm_save(hv, saved, sizeof saved, &size, &error), HVTLFS_OK);
    assert_int_equal(size, hvtlfs_kvm_state_size(hv));
    assert_in_range(hvtlfs_kvm_state_partition(saved, size), 1, size - 1);
    hvtlfs_kvm_destroy(hv);

    fake.vcpus[0].tsc_offset = 0x1000000; /* the new vCPUs' TSCs, and their rate */
    fake.vcpus[1].tsc_offset = 0x1000000;
    fake.khz = 3000000;
    {
        struct hvtlfs_kvm_config config = configuration();

        hvtlfs_features_add(&config.partition.features, HVTLFS_FEATURE_SYNIC);
        hvtlfs_features_complete(&config.partition.features);
        memcpy(page, ram + HYPERCALL_GPA, 2);
        create(&config);
    }
    saved[size - 1] ^= 1; /* of an unused vector: still well-formed */
    assert_int_equal(hvtlfs_kvm_load(hv, saved, size - 1, &error), HVTLFS_ERR_STATE_FORMAT);
    saved[size - 1] ^= 1;
    assert_int_equal(hvtlfs_kvm_load(hv, saved, size, &error), HVTLFS_OK);
    assert_int_equal(hvtlfs_kvm_thaw(hv, 0), HVTLFS_OK);
    fake.vcpus[0].regs.rflags = 0x202;
    for (unsigned i = 0; i < 100 && !fake.vcpus[0].events.interrupt.injected; i++) {
        serve(0);
    }
    assert_int_equal(fake.vcpus[0].events.interrupt.nr, 0x90);
    exit_msr(0, KVM_EXIT_X86_RDMSR, HV_X64_MSR_HYPERCALL, 0);
    serve(0);
    assert_int_equal(fake.vcpus[0].msr_value, HYPERCALL_GPA | 1);
    assert_memory_equal(page, ram + HYPERCALL_GPA, 2);
    assert_int_equal(page[1], PORT);
}

static void test_damaged_states_are_refused(void **state)
{
    static uint8_t saved[1 << 20];
    struct hvtlfs_error error;
    size_t size, own;

    (void)state;
    create_plain();
    assert_int_equal(hvtlfs_kvm_freeze(hv), HVTLFS_OK);
    assert_int_equal(hvtlfs_kvm_save(hv, saved, sizeof saved, &size, &error), HVTLFS_OK);
    own = hvtlfs_kvm_state_partition(saved, size);
    hvtlfs_kvm_destroy(hv);
    create_plain();
    for (size_t cut = 0; cut < size; cut += 7) {
        assert_int_not_equal(hvtlfs_kvm_load(hv, saved, cut, &error), HVTLFS_OK);
    }
    saved[own + 8] = 1;
    assert_int_equal(hvtlfs_kvm_load(hv, saved, size, &error), HVTLFS_ERR_STATE_VERSION);
    saved[own + 8] = 2;
    saved[own + 12] = VPS + 1;
    assert_int_equal(hvtlfs_kvm_load(hv, saved, size, &error), HVTLFS_ERR_STATE_INCOMPATIBLE);
    saved[own + 12] = VPS;
    saved[own] ^= 1;
    assert_int_equal(hvtlfs_kvm_load(hv, saved, size, &error), HVTLFS_ERR_STATE_FORMAT);
    saved[own] ^= 1;
    saved[own + 16 + 8] = 4; /* of the first VP: no flag */
    assert_int_equal(hvtlfs_kvm_load(hv, saved, size, &error), HVTLFS_ERR_STATE_FORMAT);
    saved[own + 16 + 8] = 0;
    saved[own + 16 + 16 + 1] = 0x80; /* vector 15: an exception's (TLFS 11.8.5: 16 and above) */
    assert_int_equal(hvtlfs_kvm_load(hv, saved, size, &error), HVTLFS_ERR_STATE_FORMAT);
    saved[own + 16 + 16 + 1] = 0;
    assert_int_equal(hvtlfs_kvm_load(hv, saved, size, &error), HVTLFS_OK);
}

/* ---- Idle ---- */

static void test_an_idle_vp_comes_back_to_its_vmm_and_ends_with_an_interrupt(void **state)
{
    (void)state;
    create_with(HVTLFS_FEATURE_GUEST_IDLE);
    exit_msr(0, KVM_EXIT_X86_RDMSR, HV_X64_MSR_GUEST_IDLE, 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(hvtlfs_kvm_run(hv, 0), -1);
        assert_int_equal(errno, EINTR);
    }
    assert_int_equal(fake.vcpus[0].msr_answers, 0);
    fake.vcpus[0].lapic.regs[0x200 + 0x20] = 1; /* IRR: vector 64 */
    serve(0);
    assert_int_equal(fake.vcpus[0].msr_answers, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(test_a_missing_device_is_named_with_the_remedy),
        TEST(test_no_permission_names_the_group),
        TEST(test_another_device_is_no_kvm),
        TEST(test_every_missing_capability_is_named),
        TEST(test_a_trap_that_kvm_has_not_got_is_refused_and_auto_goes_without),
        TEST(test_auto_intercepts_calls_where_kvm_can),
        TEST(test_bad_configurations_are_refused),
        TEST(test_a_signal_that_the_program_uses_is_left_alone),
        TEST(test_leaves_replace_kvms_own),
        TEST(test_what_cannot_have_its_effect_on_cpuid_is_not_offered),
        TEST(test_a_vcpu_that_has_run_cannot_get_leaves),
        TEST(test_vcpus_come_and_go),
        TEST(test_a_vp_can_change_threads),
        TEST(test_a_signal_of_the_vmm_comes_back_to_it),
        TEST(test_immediate_exit_in_the_middle_of_an_exit_stays_the_vmms),
        TEST(test_every_error_of_kvm_run_is_the_vmms),
        TEST(test_a_child_is_told_and_can_clean_up),
        TEST(test_synthetic_msrs_are_answered),
        TEST(test_other_msrs_fault_as_without_the_exit_unless_the_vmm_asked),
        TEST(test_the_vmms_msr_filter_follows_the_helpers),
        TEST(test_stores_to_the_tsc_are_the_vmms_if_it_wants_them),
        TEST(test_a_call_by_out_is_answered_wherever_rip_is),
        TEST(test_a_call_works_without_synced_registers),
        TEST(test_ud_stands_at_the_call_wherever_rip_is),
        TEST(test_an_intercepted_call_returns_through_rax),
        TEST(test_other_ports_are_the_vmms),
        TEST(test_the_caller_of_a_flush_waits_for_who_is_in_the_guest),
        TEST(test_an_interrupt_is_an_msi_to_the_vps_apic),
        TEST(test_auto_eoi_goes_past_the_apic_when_the_guest_can_take_it),
        TEST(test_auto_eoi_comes_once_for_each_event),
        TEST(test_auto_eoi_goes_by_the_registers_of_now),
        TEST(test_auto_eoi_leaves_kvms_own_events_alone),
        TEST(test_an_instruction_with_more_parts_is_not_cut_short),
        TEST(test_settling_tells_of_another_part),
        TEST(test_bad_memory_slots_are_refused),
        TEST(test_a_mapped_overlay_is_a_read_only_slot_of_its_own),
        TEST(test_a_store_of_which_a_part_is_refused_faults_when_it_is_finished),
        TEST(test_a_dirty_log_hears_of_the_librarys_writes),
        TEST(test_time_follows_the_vcpus_tsc),
        TEST(test_time_goes_on_when_the_guest_moves_its_tsc),
        TEST(test_a_store_to_the_tsc_without_effect_moves_nothing),
        TEST(test_state_goes_on_in_another_vm),
        TEST(test_damaged_states_are_refused),
        TEST(test_an_idle_vp_comes_back_to_its_vmm_and_ends_with_an_interrupt),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
