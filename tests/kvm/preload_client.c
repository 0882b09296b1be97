/* SPDX-License-Identifier: MIT */
/*
 * A program that uses KVM's Hyper-V as KVM documents it, and misuses it: run with libhvtlfs-kvm-preload.so in
 * front. Its guests are a few instructions of real mode. Exit status 77 where there is nothing to test.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "machine.h"

/* ---- What is offered ---- */

static void lists_that_are_too_short_say_how_long_they_must_be(void **state)
{
    struct machine machine;
    struct kvm_cpuid2 none = {.nent = 1};
    struct kvm_msr_list short_list = {.nmsrs = 0};
    struct kvm_msr_list *list;
    unsigned found = 0;

    (void)state;
    machine_open(&machine);
    assert_int_equal(ioctl(machine.kvm, KVM_GET_SUPPORTED_HV_CPUID, &none), -1);
    assert_int_equal(errno, E2BIG);
    assert_int_equal(ioctl(machine.kvm, KVM_GET_MSR_INDEX_LIST, &short_list), -1);
    assert_int_equal(errno, E2BIG);
    list = calloc(1, sizeof *list + short_list.nmsrs * sizeof list->indices[0]);
    assert_non_null(list);
    list->nmsrs = short_list.nmsrs;
    assert_int_equal(ioctl(machine.kvm, KVM_GET_MSR_INDEX_LIST, list), 0);
    for (uint32_t i = 0; i < list->nmsrs; i++) {
        found += list->indices[i] == GUEST_OS_ID;
    }
    assert_int_equal(found, 1);
    free(list);
    machine_close(&machine);
}

static void what_cannot_be_is_absent(void **state)
{
    struct machine machine;
    struct vcpu vcpu;
    struct kvm_enable_cap direct = {.cap = KVM_CAP_HYPERV_DIRECT_TLBFLUSH};
    struct kvm_enable_cap synic = {.cap = KVM_CAP_HYPERV_SYNIC2};

    (void)state;
    machine_open(&machine);
    assert_int_equal(ioctl(machine.kvm, KVM_CHECK_EXTENSION, KVM_CAP_HYPERV_DIRECT_TLBFLUSH), 0);
    assert_int_equal(ioctl(machine.kvm, KVM_CHECK_EXTENSION, KVM_CAP_HYPERV_ENLIGHTENED_VMCS), 0);
    assert_int_equal(ioctl(machine.vm, KVM_CHECK_EXTENSION, KVM_CAP_HYPERV_SYNIC2), 1);
    vcpu_open(&machine, &vcpu, 0, true);
    assert_int_equal(ioctl(vcpu.fd, KVM_ENABLE_CAP, &direct), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(ioctl(vcpu.fd, KVM_ENABLE_CAP, &synic), 0);
    vcpu_close(&machine, &vcpu);
    machine_close(&machine);
}

/* ---- MSRs ---- */

static void a_list_of_msrs_is_done_in_order_up_to_the_first_that_fails(void **state)
{
    struct machine machine;
    struct vcpu vcpu;
    const struct kvm_msr_entry rows[] = {{.index = GUEST_OS_ID, .data = 0x8100000000000001},
                                         {.index = SYSENTER_CS, .data = 0x23},
                                         {.index = VP_INDEX, .data = 0},
                                         {.index = 0x400001FE, .data = 1},
                                         {.index = SYSENTER_CS, .data = 0x24}};
    union {
        struct kvm_msrs all;
        uint8_t room[sizeof(struct kvm_msrs) + sizeof rows];
    } msrs = {.all.nmsrs = 5};

    (void)state;
    memcpy(msrs.all.entries, rows, sizeof rows);
    machine_open(&machine);
    vcpu_open(&machine, &vcpu, 0, true);
    assert_int_equal(ioctl(vcpu.fd, KVM_SET_MSRS, &msrs), 3);
    memset(msrs.all.entries, 0, sizeof rows);
    msrs.all.nmsrs = 2;
    msrs.all.entries[0].index = SYSENTER_CS;
    msrs.all.entries[1].index = GUEST_OS_ID;
    assert_int_equal(ioctl(vcpu.fd, KVM_GET_MSRS, &msrs), 2);
    assert_int_equal(msrs.all.entries[0].data, 0x23);
    assert_true(msrs.all.entries[1].data == 0x8100000000000001);
    /* What was set before there was a partition is what its guest sees. */
    code_reads(&machine, GUEST_OS_ID);
    assert_int_equal(run(&vcpu), 0);
    assert_int_equal(port_value(&vcpu), 1);
    vcpu_close(&machine, &vcpu);
    machine_close(&machine);
}

static void msr_set(int vcpu, uint32_t index, uint64_t value)
{
    union {
        struct kvm_msrs head;
        uint8_t room[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
    } msrs = {.head.nmsrs = 1};

    msrs.head.entries[0] = (struct kvm_msr_entry){.index = index, .data = value};
    assert_int_equal(ioctl(vcpu, KVM_SET_MSRS, &msrs), 1);
}

static uint64_t msr_get(int vcpu, uint32_t index)
{
    union {
        struct kvm_msrs head;
        uint8_t room[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
    } msrs = {.head.nmsrs = 1};

    msrs.head.entries[0] = (struct kvm_msr_entry){.index = index};
    assert_int_equal(ioctl(vcpu, KVM_GET_MSRS, &msrs), 1);
    return msrs.head.entries[0].data;
}

/* mov ecx, msr; mov eax, value; xor edx, edx; wrmsr; out PORT, eax; jmp $ */
static void code_writes_once(const struct machine *machine, uint32_t msr, uint32_t value)
{
    uint8_t code[] = {0x66, 0xB9, 0,    0,    0,    0,    0x66, 0xB8, 0,    0,    0,
                      0,    0x66, 0x31, 0xD2, 0x0F, 0x30, 0x66, 0xE7, PORT, 0xEB, 0xFE};

    memcpy(code + 2, &msr, sizeof msr);
    memcpy(code + 8, &value, sizeof value);
    memcpy(machine->ram + CODE_GPA, code, sizeof code);
}

static void a_count_alone_leaves_the_guests_configuration(void **state)
{
    const uint32_t from_program = 2u << 16 | 8; /* SINT 2, enabled with the count */
    const uint32_t from_guest = 3u << 16;
    const uint64_t far = UINT64_C(1) << 62;
    struct machine machine;
    struct vcpu vcpu;

    (void)state;
    machine_open(&machine);
    vcpu_open(&machine, &vcpu, 0, true);
    code_writes_once(&machine, STIMER0_CONFIG, from_guest);
    msr_set(vcpu.fd, STIMER0_CONFIG, from_program);
    assert_int_equal(run(&vcpu), 0);
    assert_int_equal(port_value(&vcpu), from_guest);
    msr_set(vcpu.fd, STIMER0_CONFIG + 1, far);
    assert_true(msr_get(vcpu.fd, STIMER0_CONFIG) == from_guest);
    /* But one that was set just before its count is taken whole, as it was saved. */
    msr_set(vcpu.fd, STIMER0_CONFIG + 2, 2u << 16 | 1);
    msr_set(vcpu.fd, STIMER0_CONFIG + 3, far);
    assert_true(msr_get(vcpu.fd, STIMER0_CONFIG + 2) == (2u << 16 | 1));
    vcpu_close(&machine, &vcpu);
    machine_close(&machine);
}

static int other_fd;
static bool other_ready;
static bool other_enough;

/* Set and get until told to stop: how often something else came back. */
static void *sets_and_gets(void *argument)
{
    uintptr_t wrong = 0;

    (void)argument;
    for (uint64_t value = 1; !__atomic_load_n(&other_enough, __ATOMIC_SEQ_CST); value++) {
        msr_set(other_fd, STIMER0_CONFIG + 1, value);
        wrong += msr_get(other_fd, STIMER0_CONFIG + 1) != value;
        __atomic_store_n(&other_ready, true, __ATOMIC_SEQ_CST);
    }
    return (void *)wrong;
}

static void msrs_set_while_another_vcpu_starts_are_what_they_were_set_to(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 40; i++) {
        struct machine machine;
        struct vcpu first;
        struct vcpu second;
        pthread_t thread;
        void *wrong;

        machine_open(&machine);
        vcpu_open(&machine, &first, 0, true);
        vcpu_open(&machine, &second, 1, true);
        code_reads(&machine, VP_INDEX);
        other_fd = second.fd;
        other_ready = other_enough = false;
        assert_int_equal(pthread_create(&thread, NULL, sets_and_gets, NULL), 0);
        while (!__atomic_load_n(&other_ready, __ATOMIC_SEQ_CST)) {
        }
        assert_int_equal(run(&first), 0);
        __atomic_store_n(&other_enough, true, __ATOMIC_SEQ_CST);
        assert_int_equal(pthread_join(thread, &wrong), 0);
        assert_null(wrong);
        vcpu_close(&machine, &second);
        vcpu_close(&machine, &first);
        machine_close(&machine);
    }
}

static void a_guest_without_leaves_has_no_msrs(void **state)
{
    struct machine machine;
    struct vcpu vcpu;

    (void)state;
    machine_open(&machine);
    vcpu_open(&machine, &vcpu, 0, false);
    code_reads(&machine, GUEST_OS_ID);
    handler_put(&machine, VECTOR_GP);
    assert_int_equal(run(&vcpu), 0);
    assert_int_equal(vcpu.run->exit_reason, KVM_EXIT_IO);
    assert_int_equal(vcpu.run->io.port, PORT_FAULT);
    vcpu_close(&machine, &vcpu);
    machine_close(&machine);
}

static void the_programs_own_filter_stays_in_force(void **state)
{
    static uint8_t deny_all[1];
    struct machine machine;
    struct vcpu vcpu;
    struct kvm_enable_cap exits = {.cap = KVM_CAP_X86_USER_SPACE_MSR,
                                   .args = {KVM_MSR_EXIT_REASON_FILTER}};
    struct kvm_msr_filter filter = {
        .ranges[0] = {.flags = KVM_MSR_FILTER_READ,
                      .nmsrs = 1,
                      .base = SYSENTER_CS,
                      .bitmap = deny_all},
    };

    (void)state;
    machine_open(&machine);
    vcpu_open(&machine, &vcpu, 0, true);
    assert_int_equal(ioctl(machine.vm, KVM_ENABLE_CAP, &exits), 0);
    assert_int_equal(ioctl(machine.vm, KVM_X86_SET_MSR_FILTER, &filter), 0);
    code_reads(&machine, VP_INDEX);
    assert_int_equal(run(&vcpu), 0);
    assert_int_equal(port_value(&vcpu), 0);
    code_reads(&machine, SYSENTER_CS);
    assert_int_equal(run(&vcpu), 0);
    assert_int_equal(vcpu.run->exit_reason, KVM_EXIT_X86_RDMSR);
    assert_int_equal(vcpu.run->msr.index, SYSENTER_CS);
    vcpu.run->msr.data = 0x77;
    assert_int_equal(run(&vcpu), 0);
    assert_int_equal(port_value(&vcpu), 0x77);
    vcpu_close(&machine, &vcpu);
    machine_close(&machine);
}

/* ---- KVM's own hypercalls ---- */

static void nothing(int signal)
{
    (void)signal;
}

/* What says that the hypervisor is KVM, behind the leaves of Hyper-V or in place of them. */
static void leaves_with_kvms(const struct machine *machine, int vcpu, bool hyperv)
{
    static union {
        struct kvm_cpuid2 head;
        uint8_t room[sizeof(struct kvm_cpuid2) + ENTRIES * sizeof(struct kvm_cpuid_entry2)];
    } cpuid;
    struct kvm_cpuid_entry2 kvms = {.function = hyperv ? 0x40000100 : 0x40000000};

    memcpy(&kvms.ebx, "KVMK", 4);
    memcpy(&kvms.ecx, "VMKV", 4);
    memcpy(&kvms.edx, "M", 1);
    cpuid.head.nent = ENTRIES - 1;
    assert_int_equal(ioctl(machine->kvm, KVM_GET_SUPPORTED_HV_CPUID, &cpuid), 0);
    cpuid.head.nent = hyperv ? cpuid.head.nent : 0;
    cpuid.head.entries[cpuid.head.nent++] = kvms;
    assert_int_equal(ioctl(vcpu, KVM_SET_CPUID2, &cpuid), 0);
}

/* mov eax, number; vmmcall, or vmcall on Intel's; out PORT, eax; jmp $ */
static void code_calls(const struct machine *machine, uint32_t number)
{
    uint8_t code[] = {0x66, 0xB8, 0, 0, 0, 0, 0x0F, 0x01, 0xD9, 0x66, 0xE7, PORT, 0xEB, 0xFE};

    memcpy(code + 2, &number, sizeof number);
    code[8] = __builtin_cpu_is("intel") ? 0xC1 : 0xD9;
    memcpy(machine->ram + CODE_GPA, code, sizeof code);
}

enum called { CALLED_FAULT = 1, CALLED_NOTHING = 2 }; /* in place of RAX, shifted out of its way */

static uint64_t call_result(const struct vcpu *vcpu)
{
    if (vcpu->run->io.port == PORT_FAULT) {
        return (uint64_t)CALLED_FAULT << 32;
    }
    return port_value(vcpu);
}

/* What came of it, or that nothing did in so many seconds: a KVM that emulates may not know the instruction. */
static uint64_t called(bool hyperv, uint32_t number, unsigned seconds)
{
    struct sigaction action = {.sa_handler = nothing};
    struct machine machine;
    struct vcpu vcpu;
    uint64_t result = (uint64_t)CALLED_NOTHING << 32;

    machine_open(&machine);
    vcpu_open(&machine, &vcpu, 0, hyperv);
    leaves_with_kvms(&machine, vcpu.fd, hyperv);
    code_calls(&machine, number);
    handler_put(&machine, VECTOR_UD);
    (void)sigaction(SIGALRM, &action, NULL);
    (void)alarm(seconds);
    if (ioctl(vcpu.fd, KVM_RUN, 0) == 0) {
        assert_int_equal(vcpu.run->exit_reason, KVM_EXIT_IO);
        result = call_result(&vcpu);
    }
    (void)alarm(0);
    (void)signal(SIGALRM, SIG_DFL);
    vcpu_close(&machine, &vcpu);
    machine_close(&machine);
    return result;
}

static void kvms_own_hypercalls_are_the_kernels(void **state)
{
    const uint32_t poll = 1;
    const uint32_t unknown = 0x777;

    (void)state;
    if (called(false, poll, 2) == (uint64_t)CALLED_NOTHING << 32) {
        skip();
    }
    assert_int_equal(called(true, poll, 100), called(false, poll, 100));
    assert_int_equal(called(true, unknown, 100), called(false, unknown, 100));
}

/* ---- vCPUs that come, go, and are called ---- */

static void a_vcpu_made_later_has_its_vp(void **state)
{
    struct machine machine;
    struct vcpu first;
    struct vcpu second;

    (void)state;
    machine_open(&machine);
    vcpu_open(&machine, &first, 0, true);
    code_reads(&machine, VP_INDEX);
    assert_int_equal(run(&first), 0);
    assert_int_equal(port_value(&first), 0);
    vcpu_open(&machine, &second, 1, true);
    assert_int_equal(run(&second), 0);
    assert_int_equal(port_value(&second), 1);
    vcpu_close(&machine, &second);
    assert_int_equal(run(&first), 0);
    assert_int_equal(port_value(&first), 0);
    vcpu_close(&machine, &first);
    machine_close(&machine);
}

static void *run_in_thread(void *argument)
{
    const struct vcpu *vcpu = argument;

    (void)run(vcpu);
    return NULL;
}

static void threads_come_and_go(void **state)
{
    struct machine machine;
    struct vcpu vcpu;

    (void)state;
    machine_open(&machine);
    vcpu_open(&machine, &vcpu, 0, true);
    code_reads(&machine, VP_INDEX);
    for (unsigned i = 0; i < 20; i++) {
        pthread_t thread;

        assert_int_equal(pthread_create(&thread, NULL, run_in_thread, &vcpu), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(port_value(&vcpu), 0);
    }
    vcpu_close(&machine, &vcpu);
    machine_close(&machine);
}

static volatile bool left;

static void *spin_in_thread(void *argument)
{
    const struct vcpu *vcpu = argument;
    int *error = malloc(sizeof *error);

    *error = ioctl(vcpu->fd, KVM_RUN, 0) == 0 ? 0 : errno;
    left = true;
    return error;
}

static void a_signal_brings_a_spinning_guest_out(void **state)
{
    struct sigaction action = {.sa_handler = nothing};
    struct machine machine;
    struct vcpu vcpu;
    pthread_t thread;
    void *error;

    (void)state;
    (void)sigaction(SIGUSR1, &action, NULL);
    machine_open(&machine);
    vcpu_open(&machine, &vcpu, 0, true);
    code_spins(&machine);
    left = false;
    assert_int_equal(pthread_create(&thread, NULL, spin_in_thread, &vcpu), 0);
    while (!left) {
        (void)pthread_kill(thread, SIGUSR1);
        (void)usleep(10000);
    }
    assert_int_equal(pthread_join(thread, &error), 0);
    assert_int_equal(*(int *)error, EINTR);
    free(error);
    /* immediate_exit: at once, and as often as it is set */
    for (unsigned i = 0; i < 3; i++) {
        vcpu.run->immediate_exit = 1;
        assert_int_equal(ioctl(vcpu.fd, KVM_RUN, 0), -1);
        assert_int_equal(errno, EINTR);
        assert_int_equal(vcpu.run->immediate_exit, 1);
    }
    vcpu.run->immediate_exit = 0;
    code_reads(&machine, VP_INDEX);
    registers_set(vcpu.fd);
    assert_int_equal(run(&vcpu), 0);
    assert_int_equal(port_value(&vcpu), 0);
    vcpu_close(&machine, &vcpu);
    machine_close(&machine);
}

/* mov ecx, GUEST_OS_ID; xor eax, eax; xor edx, edx; then for ever: inc eax; wrmsr; inc dword [COUNT_GPA] */
static void code_writes(const struct machine *machine)
{
    const uint8_t code[] = {0x66, 0xB9, 0,    0,    0,    0x40, 0x66, 0x31, 0xC0, 0x66, 0x31, 0xD2,
                            0x66, 0x40, 0x0F, 0x30, 0x66, 0xFF, 0x06, 0x00, 0x50, 0xEB, 0xF5};

    memcpy(machine->ram + CODE_GPA, code, sizeof code);
}

static struct kvm_run *interrupted_run;
static bool enough;

static void wants_out(int signal)
{
    (void)signal;
    __atomic_store_n(&interrupted_run->immediate_exit, 1, __ATOMIC_SEQ_CST);
}

static void *sends_signals(void *thread)
{
    while (!__atomic_load_n(&enough, __ATOMIC_SEQ_CST)) {
        (void)pthread_kill(*(pthread_t *)thread, SIGUSR1);
        (void)usleep(700);
    }
    return NULL;
}

/* Wherever the guest was brought out, each of its stores to the MSR was made once. */
static uint32_t check_between_instructions(const struct machine *machine, const struct vcpu *vcpu)
{
    struct kvm_regs regs;
    uint32_t count;
    uint64_t written = msr_get(vcpu->fd, GUEST_OS_ID);

    memcpy(&count, machine->ram + COUNT_GPA, sizeof count);
    assert_int_equal(ioctl(vcpu->fd, KVM_GET_REGS, &regs), 0);
    assert_true(regs.rip >= CODE_GPA && regs.rip < CODE_GPA + 23);
    if (regs.rip >= CODE_GPA + 12) { /* in the loop, at INC, WRMSR, INC or JMP */
        assert_int_equal(written, regs.rax - (regs.rip == CODE_GPA + 14));
        assert_int_equal(count, written - (regs.rip == CODE_GPA + 16));
    }
    return count;
}

static void a_signal_in_a_served_exit_comes_through_and_nothing_is_done_twice(void **state)
{
    struct sigaction action = {.sa_handler = wants_out};
    pthread_t self = pthread_self();
    pthread_t sender;
    struct machine machine;
    struct vcpu vcpu;
    uint32_t count = 0;

    (void)state;
    assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
    machine_open(&machine);
    vcpu_open(&machine, &vcpu, 0, true);
    code_writes(&machine);
    interrupted_run = vcpu.run;
    assert_int_equal(pthread_create(&sender, NULL, sends_signals, &self), 0);
    (void)alarm(60);
    for (unsigned i = 0; i < 100 || count < 100; i++) {
        assert_int_equal(ioctl(vcpu.fd, KVM_RUN, 0), -1);
        assert_int_equal(errno, EINTR);
        __atomic_store_n(&vcpu.run->immediate_exit, 0, __ATOMIC_SEQ_CST);
        count = check_between_instructions(&machine, &vcpu);
    }
    (void)alarm(0);
    __atomic_store_n(&enough, true, __ATOMIC_SEQ_CST);
    assert_int_equal(pthread_join(sender, NULL), 0);
    (void)signal(SIGUSR1, SIG_DFL);
    vcpu_close(&machine, &vcpu);
    machine_close(&machine);
}

/* ---- Signals whose handlers do nothing: what was in the guest comes out all the same ---- */

static uint32_t count_of(const struct machine *machine)
{
    return __atomic_load_n((const uint32_t *)(const void *)(machine->ram + COUNT_GPA),
                           __ATOMIC_SEQ_CST);
}

static struct {
    const struct machine *machine;
    pthread_t runner;
    uint32_t entries; /* how often the runner has been about to enter */
    uint32_t count;   /* the guest's, at that moment */
    bool enough;
} bare;

/* One signal for each entry, when the guest has got on since: the runner is in KVM_RUN then. */
static void *sends_one_for_each_entry(void *argument)
{
    uint32_t served = 0;

    (void)argument;
    while (!__atomic_load_n(&bare.enough, __ATOMIC_SEQ_CST)) {
        uint32_t entries = __atomic_load_n(&bare.entries, __ATOMIC_SEQ_CST);

        if (entries != served &&
            count_of(bare.machine) != __atomic_load_n(&bare.count, __ATOMIC_SEQ_CST)) {
            served = entries;
            (void)pthread_kill(bare.runner, SIGUSR1);
        }
    }
    return NULL;
}

static void a_signal_alone_ends_the_run_wherever_it_comes(void **state)
{
    struct sigaction action = {.sa_handler = nothing};
    struct machine machine;
    struct vcpu vcpu;
    pthread_t sender;

    (void)state;
    (void)sigaction(SIGUSR1, &action, NULL);
    machine_open(&machine);
    vcpu_open(&machine, &vcpu, 0, true);
    code_writes(&machine);
    bare.machine = &machine;
    bare.runner = pthread_self();
    assert_int_equal(pthread_create(&sender, NULL, sends_one_for_each_entry, NULL), 0);
    (void)alarm(60);
    for (unsigned i = 0; i < 50; i++) {
        __atomic_store_n(&bare.count, count_of(&machine), __ATOMIC_SEQ_CST);
        __atomic_add_fetch(&bare.entries, 1, __ATOMIC_SEQ_CST);
        assert_int_equal(ioctl(vcpu.fd, KVM_RUN, 0), -1);
        assert_int_equal(errno, EINTR);
    }
    (void)alarm(0);
    __atomic_store_n(&bare.enough, true, __ATOMIC_SEQ_CST);
    assert_int_equal(pthread_join(sender, NULL), 0);
    vcpu_close(&machine, &vcpu);
    machine_close(&machine);
}

static int mask_tell(int vcpu, const sigset_t *set, uint32_t length)
{
    union {
        struct kvm_signal_mask mask;
        uint8_t room[sizeof(struct kvm_signal_mask) + sizeof(uint64_t)];
    } told = {.mask.len = length};

    memcpy(told.mask.sigset, set, sizeof(uint64_t)); /* the kernel's part of it */
    return ioctl(vcpu, KVM_SET_SIGNAL_MASK, &told) == 0 ? 0 : errno;
}

/* KVM_SET_SIGNAL_MASK, as older programs use it: blocked outside, let in by KVM_RUN, which leaves it pending. */
static void a_signal_that_only_the_run_lets_in_ends_it_and_waits(void **state)
{
    const struct timespec at_once = {0, 0};
    struct sigaction action = {.sa_handler = nothing};
    struct machine machine;
    struct vcpu vcpu;
    sigset_t usr1;
    sigset_t before;
    sigset_t inside;

    (void)state;
    (void)sigaction(SIGUSR1, &action, NULL);
    (void)sigemptyset(&usr1);
    (void)sigaddset(&usr1, SIGUSR1);
    assert_int_equal(pthread_sigmask(SIG_BLOCK, &usr1, &before), 0);
    inside = before;
    (void)sigdelset(&inside, SIGUSR1);
    machine_open(&machine);
    vcpu_open(&machine, &vcpu, 0, true);
    code_writes(&machine);
    assert_int_equal(mask_tell(vcpu.fd, &inside, 4), EINVAL);
    assert_int_equal(mask_tell(vcpu.fd, &inside, sizeof(uint64_t)), 0);
    (void)alarm(60);
    for (unsigned i = 0; i < 3; i++) {
        (void)pthread_kill(pthread_self(), SIGUSR1);
        assert_int_equal(ioctl(vcpu.fd, KVM_RUN, 0), -1);
        assert_int_equal(errno, EINTR);
        assert_int_equal(sigtimedwait(&usr1, NULL, &at_once), SIGUSR1);
    }
    /* Without a mask the thread's own counts: what is blocked there waits, and the guest runs. */
    assert_int_equal(ioctl(vcpu.fd, KVM_SET_SIGNAL_MASK, NULL), 0);
    (void)pthread_kill(pthread_self(), SIGUSR1);
    code_reads(&machine, VP_INDEX);
    registers_set(vcpu.fd);
    assert_int_equal(run(&vcpu), 0);
    assert_int_equal(port_value(&vcpu), 0);
    assert_int_equal(sigtimedwait(&usr1, NULL, &at_once), SIGUSR1);
    (void)alarm(0);
    assert_int_equal(pthread_sigmask(SIG_SETMASK, &before, NULL), 0);
    vcpu_close(&machine, &vcpu);
    machine_close(&machine);
}

static sigjmp_buf back;

static void jumps(int signal)
{
    (void)signal;
    siglongjmp(back, 1);
}

static void a_handler_may_leave_by_a_jump(void **state)
{
    struct sigaction action = {.sa_handler = jumps};
    const struct itimerval soon = {.it_value.tv_usec = 3000};
    volatile unsigned came = 0;
    struct machine machine;
    struct vcpu vcpu;

    (void)state;
    (void)sigaction(SIGALRM, &action, NULL);
    machine_open(&machine);
    vcpu_open(&machine, &vcpu, 0, true);
    code_writes(&machine);
    if (sigsetjmp(back, 1) != 0) {
        came++;
    }
    if (came < 20) {
        (void)setitimer(ITIMER_REAL, &soon, NULL);
        (void)run(&vcpu);
        fail_msg("the guest has no end");
    }
    (void)signal(SIGALRM, SIG_DFL);
    (void)check_between_instructions(&machine, &vcpu);
    vcpu_close(&machine, &vcpu);
    machine_close(&machine);
}

/* ---- A KVM that is not to be had ---- */

static void without_permission_open_fails_as_ever(void **state)
{
    pid_t pid = fork();
    int status = -1;

    (void)state;
    if (pid == 0) {
        (void)alarm(20);
        _exit(setuid(65534) != 0 || access("/dev/kvm", R_OK | W_OK) == 0 ||
                      (open("/dev/kvm", O_RDWR | O_CLOEXEC) == -1 && errno == EACCES)
                  ? 0
                  : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* Behind us something says that there are no MSR filters. */
static void a_missing_capability_is_named_and_kvm_is_as_it_was(void **state)
{
    FILE *said = tmpfile();
    int error = dup(STDERR_FILENO);
    char line[200] = "";
    struct machine machine;
    int vcpu;

    (void)state;
    assert_non_null(said);
    assert_true(dup2(fileno(said), STDERR_FILENO) >= 0);
    machine_open(&machine);
    assert_true(dup2(error, STDERR_FILENO) >= 0);
    (void)close(error);
    rewind(said);
    assert_non_null(fgets(line, sizeof line, said));
    assert_non_null(strstr(line, "libhvtlfs-kvm-preload: Hyper-V is not offered"));
    assert_non_null(strstr(line, "KVM_CAP_X86_MSR_FILTER"));
    assert_null(fgets(line, sizeof line, said));
    (void)fclose(said);
    vcpu = ioctl(machine.vm, KVM_CREATE_VCPU, 0);
    assert_true(vcpu >= 0);
    (void)close(vcpu);
    machine_close(&machine);
}

/* ---- Children ---- */

/* In the child: its parent's VM is nobody's, a VM of its own is as good as any. 0 if so. */
static int child(const struct vcpu *vcpu)
{
    struct machine machine;
    struct vcpu own;

    if (ioctl(vcpu->fd, KVM_RUN, 0) == 0 || errno != EIO) {
        return 1;
    }
    machine_open(&machine);
    vcpu_open(&machine, &own, 0, true);
    code_reads(&machine, VP_INDEX);
    return run(&own) == 0 && port_value(&own) == 0 ? 0 : 2;
}

static void a_child_can_do_nothing_to_its_parents_vm(void **state)
{
    struct machine machine;
    struct vcpu vcpu;
    pid_t pid;
    int status = -1;

    (void)state;
    machine_open(&machine);
    vcpu_open(&machine, &vcpu, 0, true);
    code_reads(&machine, VP_INDEX);
    assert_int_equal(run(&vcpu), 0);
    pid = fork();
    if (pid == 0) {
        (void)alarm(20);
        _exit(child(&vcpu));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(run(&vcpu), 0);
    assert_int_equal(port_value(&vcpu), 0);
    vcpu_close(&machine, &vcpu);
    machine_close(&machine);
}

/* ---- Connections ---- */

static int connection(const struct machine *machine, uint32_t id, int event, uint32_t flags)
{
    struct kvm_hyperv_eventfd told = {.conn_id = id, .fd = event, .flags = flags};

    return ioctl(machine->vm, KVM_HYPERV_EVENTFD, &told) == 0 ? 0 : errno;
}

static void connections_are_checked_as_kvm_does(void **state)
{
    struct machine machine;
    int event = eventfd(0, EFD_CLOEXEC);

    (void)state;
    machine_open(&machine);
    assert_int_equal(connection(&machine, 0x1000000, event, 0), EINVAL);
    assert_int_equal(connection(&machine, 1, event, 8), EINVAL);
    assert_int_equal(connection(&machine, 1, -1, 0), EBADF);
    assert_int_equal(connection(&machine, 1, event, 0), 0);
    assert_int_equal(connection(&machine, 1, event, 0), EEXIST);
    assert_int_equal(connection(&machine, 1, -1, KVM_HYPERV_EVENTFD_DEASSIGN), 0);
    assert_int_equal(connection(&machine, 1, -1, KVM_HYPERV_EVENTFD_DEASSIGN), ENOENT);
    machine_close(&machine);
    (void)close(event);
}

/* ---- SINTs as lines ---- */

static void route_set(const struct machine *machine, uint32_t gsi)
{
    union {
        struct kvm_irq_routing routing;
        uint8_t room[sizeof(struct kvm_irq_routing) + sizeof(struct kvm_irq_routing_entry)];
    } all = {.routing.nr = 1};

    memset(&all.routing.entries[0], 0, sizeof all.routing.entries[0]);
    all.routing.entries[0].gsi = gsi;
    all.routing.entries[0].type = KVM_IRQ_ROUTING_HV_SINT;
    all.routing.entries[0].u.hv_sint.sint = 2;
    assert_int_equal(ioctl(machine->vm, KVM_SET_GSI_ROUTING, &all), 0);
}

static int line(const struct machine *machine, int event, uint32_t flags, int resample)
{
    struct kvm_irqfd told = {
        .fd = (uint32_t)event, .gsi = 24, .flags = flags, .resamplefd = (uint32_t)resample};

    return ioctl(machine->vm, KVM_IRQFD, &told) == 0 ? 0 : errno;
}

static void a_line_without_its_descriptors_is_refused_and_keeps_none(void **state)
{
    struct machine machine;
    int event = eventfd(0, EFD_CLOEXEC);
    int next;

    (void)state;
    machine_open(&machine);
    route_set(&machine, 24);
    next = dup(event);
    (void)close(next);
    assert_int_equal(line(&machine, -1, 0, -1), EBADF);
    assert_int_equal(line(&machine, event, KVM_IRQFD_FLAG_RESAMPLE, -1), EBADF);
    assert_int_equal(dup(event), next);
    (void)close(next);
    assert_int_equal(line(&machine, event, 0, -1), 0);
    assert_int_equal(line(&machine, event, KVM_IRQFD_FLAG_DEASSIGN, -1), 0);
    machine_close(&machine);
    (void)close(event);
}

static int32_t raised(const struct machine *machine)
{
    struct kvm_irq_level level = {.irq = 24, .level = 1};

    assert_int_equal(ioctl(machine->vm, KVM_IRQ_LINE_STATUS, &level), 0);
    return level.status;
}

static void a_refused_table_of_routes_changes_nothing(void **state)
{
    struct kvm_irq_routing_entry bad = {.gsi = 25, .type = 99};
    union {
        struct kvm_irq_routing routing;
        uint8_t room[sizeof(struct kvm_irq_routing) + sizeof bad];
    } all = {.routing.nr = 1};
    struct machine machine;

    (void)state;
    memcpy(all.routing.entries, &bad, sizeof bad);
    machine_open(&machine);
    assert_int_not_equal(raised(&machine), 1);
    route_set(&machine, 24);
    assert_int_equal(raised(&machine), 1);
    assert_int_equal(ioctl(machine.vm, KVM_SET_GSI_ROUTING, &all), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(raised(&machine), 1);
    all.routing.nr = 0;
    assert_int_equal(ioctl(machine.vm, KVM_SET_GSI_ROUTING, &all), 0);
    assert_int_not_equal(raised(&machine), 1);
    machine_close(&machine);
}

static bool nothing_to_test(void)
{
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    bool offered = kvm >= 0 && ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_HYPERV) > 0;

    if (kvm >= 0) {
        (void)close(kvm);
    }
    return !offered;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest without_filters[] = {
        cmocka_unit_test(a_missing_capability_is_named_and_kvm_is_as_it_was),
    };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_that_are_too_short_say_how_long_they_must_be),
        cmocka_unit_test(what_cannot_be_is_absent),
        cmocka_unit_test(a_list_of_msrs_is_done_in_order_up_to_the_first_that_fails),
        cmocka_unit_test(a_count_alone_leaves_the_guests_configuration),
        cmocka_unit_test(msrs_set_while_another_vcpu_starts_are_what_they_were_set_to),
        cmocka_unit_test(a_guest_without_leaves_has_no_msrs),
        cmocka_unit_test(the_programs_own_filter_stays_in_force),
        cmocka_unit_test(kvms_own_hypercalls_are_the_kernels),
        cmocka_unit_test(a_vcpu_made_later_has_its_vp),
        cmocka_unit_test(threads_come_and_go),
        cmocka_unit_test(a_signal_brings_a_spinning_guest_out),
        cmocka_unit_test(a_signal_in_a_served_exit_comes_through_and_nothing_is_done_twice),
        cmocka_unit_test(a_signal_alone_ends_the_run_wherever_it_comes),
        cmocka_unit_test(a_signal_that_only_the_run_lets_in_ends_it_and_waits),
        cmocka_unit_test(a_handler_may_leave_by_a_jump),
        cmocka_unit_test(without_permission_open_fails_as_ever),
        cmocka_unit_test(a_child_can_do_nothing_to_its_parents_vm),
        cmocka_unit_test(connections_are_checked_as_kvm_does),
        cmocka_unit_test(a_line_without_its_descriptors_is_refused_and_keeps_none),
        cmocka_unit_test(a_refused_table_of_routes_changes_nothing),
    };

    if (argc == 2 && strcmp(argv[1], "--without-filters") == 0) {
        if (access("/dev/kvm", R_OK | W_OK) != 0) {
            puts("no /dev/kvm here");
            return SKIPPED;
        }
        return cmocka_run_group_tests(without_filters, NULL, NULL);
    }
    if (argc == 2) {
        cmocka_set_test_filter(argv[1]); /* a pattern of names */
    }
    if (nothing_to_test()) {
        puts("no /dev/kvm here that libhvtlfs-kvm-preload.so could serve");
        return SKIPPED;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
