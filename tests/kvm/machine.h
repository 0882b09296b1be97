/* SPDX-License-Identifier: MIT */
/*
 * A machine of KVM whose guests are a few instructions of real mode, as a program makes it that knows nothing
 * of libhvtlfs. For cmocka's tests: what does not work fails the test.
 */
#ifndef HVTLFS_TESTS_KVM_MACHINE_H
#define HVTLFS_TESTS_KVM_MACHINE_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PORT = 0x10,
    PORT_FAULT = 0x11,
    VECTOR_UD = 6,
    VECTOR_GP = 13,
    HANDLER_GPA = 0x1100,
    STACK_GPA = 0x4000,
    COUNT_GPA = 0x5000,
    CODE_GPA = 0x1000,
    RAM = 0x10000,
    SKIPPED = 77,
    GUEST_OS_ID = 0x40000000,
    VP_INDEX = 0x40000002,
    STIMER0_CONFIG = 0x400000B0,
    SYSENTER_CS = 0x174,
    ENTRIES = 256,
};

struct machine {
    int kvm;
    int vm;
    uint8_t *ram;
    size_t run_size;
};

struct vcpu {
    int fd;
    struct kvm_run *run;
};

void machine_open(struct machine *machine);
void machine_close(struct machine *machine);

/* The leaves of a VMM that wants all there is, or none at all. */
void leaves_set(const struct machine *machine, int vcpu, bool hyperv);
void registers_set(int vcpu);
void vcpu_open(const struct machine *machine, struct vcpu *vcpu, unsigned id, bool hyperv);
void vcpu_close(const struct machine *machine, struct vcpu *vcpu);

/* mov ecx, msr; rdmsr; out PORT, eax; then the same again. */
void code_reads(const struct machine *machine, uint32_t msr);

/* out PORT_FAULT, al; hlt; at the real mode's vector */
void handler_put(const struct machine *machine, unsigned vector);

/* jmp $ */
void code_spins(const struct machine *machine);

/* Run to the next exit that is not a signal's. */
int run(const struct vcpu *vcpu);
uint32_t port_value(const struct vcpu *vcpu);

#endif
