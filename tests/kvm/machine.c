/* SPDX-License-Identifier: MIT */
#include "machine.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

void machine_open(struct machine *machine)
{
    struct kvm_userspace_memory_region region = {.memory_size = RAM};
    int size;

    machine->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    assert_true(machine->kvm >= 0);
    machine->vm = ioctl(machine->kvm, KVM_CREATE_VM, 0);
    assert_true(machine->vm >= 0);
    assert_int_equal(ioctl(machine->vm, KVM_CREATE_IRQCHIP, 0), 0);
    machine->ram = mmap(NULL, RAM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(machine->ram != MAP_FAILED);
    region.userspace_addr = (uint64_t)(uintptr_t)machine->ram;
    assert_int_equal(ioctl(machine->vm, KVM_SET_USER_MEMORY_REGION, &region), 0);
    size = ioctl(machine->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    assert_true(size > 0);
    machine->run_size = (size_t)size;
}

void machine_close(struct machine *machine)
{
    (void)close(machine->vm);
    (void)close(machine->kvm);
    (void)munmap(machine->ram, RAM);
}

void leaves_set(const struct machine *machine, int vcpu, bool hyperv)
{
    static union {
        struct kvm_cpuid2 head;
        uint8_t room[sizeof(struct kvm_cpuid2) + ENTRIES * sizeof(struct kvm_cpuid_entry2)];
    } cpuid;

    cpuid.head.nent = ENTRIES;
    assert_int_equal(ioctl(machine->kvm, KVM_GET_SUPPORTED_HV_CPUID, &cpuid), 0);
    cpuid.head.nent = hyperv ? cpuid.head.nent : 0;
    assert_int_equal(ioctl(vcpu, KVM_SET_CPUID2, &cpuid), 0);
}

void registers_set(int vcpu)
{
    struct kvm_regs regs = {.rip = CODE_GPA, .rsp = STACK_GPA, .rflags = 2};
    struct kvm_mp_state runnable = {KVM_MP_STATE_RUNNABLE};
    struct kvm_sregs sregs;

    assert_int_equal(ioctl(vcpu, KVM_GET_SREGS, &sregs), 0);
    sregs.cs.base = 0;
    sregs.cs.selector = 0;
    assert_int_equal(ioctl(vcpu, KVM_SET_SREGS, &sregs), 0);
    assert_int_equal(ioctl(vcpu, KVM_SET_REGS, &regs), 0);
    assert_int_equal(ioctl(vcpu, KVM_SET_MP_STATE, &runnable), 0);
}

void vcpu_open(const struct machine *machine, struct vcpu *vcpu, unsigned id, bool hyperv)
{
    void *run;

    vcpu->fd = ioctl(machine->vm, KVM_CREATE_VCPU, id);
    assert_true(vcpu->fd >= 0);
    run = mmap(NULL, machine->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
    assert_true(run != MAP_FAILED);
    vcpu->run = run;
    leaves_set(machine, vcpu->fd, hyperv);
    registers_set(vcpu->fd);
}

void vcpu_close(const struct machine *machine, struct vcpu *vcpu)
{
    (void)munmap(vcpu->run, machine->run_size);
    (void)close(vcpu->fd);
}

void code_reads(const struct machine *machine, uint32_t msr)
{
    const uint8_t code[] = {0x66,
                            0xB9,
                            (uint8_t)msr,
                            (uint8_t)(msr >> 8),
                            (uint8_t)(msr >> 16),
                            (uint8_t)(msr >> 24),
                            0x0F,
                            0x32,
                            0x66,
                            0xE7,
                            PORT,
                            0xEB,
                            0xF3};

    memcpy(machine->ram + CODE_GPA, code, sizeof code);
}

void handler_put(const struct machine *machine, unsigned vector)
{
    const uint8_t code[] = {0xE6, PORT_FAULT, 0xF4};
    const uint16_t place[] = {HANDLER_GPA, 0};

    memcpy(machine->ram + HANDLER_GPA, code, sizeof code);
    memcpy(machine->ram + 4 * vector, place, sizeof place);
}

void code_spins(const struct machine *machine)
{
    const uint8_t code[] = {0xEB, 0xFE};

    memcpy(machine->ram + CODE_GPA, code, sizeof code);
}

int run(const struct vcpu *vcpu)
{
    int result;

    do {
        result = ioctl(vcpu->fd, KVM_RUN, 0);
    } while (result != 0 && errno == EINTR);
    return result;
}

uint32_t port_value(const struct vcpu *vcpu)
{
    uint32_t value;

    assert_int_equal(vcpu->run->exit_reason, KVM_EXIT_IO);
    assert_int_equal(vcpu->run->io.port, PORT);
    memcpy(&value, (const uint8_t *)vcpu->run + vcpu->run->io.data_offset, sizeof value);
    return value;
}
