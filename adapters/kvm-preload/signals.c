/* SPDX-License-Identifier: MIT */
/*
 * KVM_RUN ends for a signal, whenever it comes. Here a KVM_RUN of the program is many of ours, so a signal
 * that a handler took between two of them would leave the guest running. While a vCPU is served its thread
 * therefore blocks signals, and KVM lets them in while the guest runs, as KVM_SET_SIGNAL_MASK has it: one
 * that comes in between waits, and ends the next KVM_RUN. Handlers run when the program has its thread back;
 * they may leave by siglongjmp().
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>

#include "preload.h"

/* What a fault in guest memory raises must find its handler; the others are the program's business. */
static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};

static int kick_signal(void)
{
    return SIGRTMIN + 4;
}

static uint64_t bit_of(int signal)
{
    return UINT64_C(1) << (signal - 1);
}

/* The kernel's signals, of which the C library's set has more. */
static uint64_t bits_of(const sigset_t *set)
{
    uint64_t bits;

    memcpy(&bits, set, sizeof bits);
    return bits;
}

void signals_hold(sigset_t *before)
{
    sigset_t held;

    (void)sigfillset(&held);
    (void)sigdelset(&held, kick_signal());
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        (void)sigdelset(&held, faults[i]);
    }
    (void)pthread_sigmask(SIG_BLOCK, &held, before);
    (void)sigdelset(before,
                    kick_signal()); /* whole programs block all signals in their vCPUs' threads */
}

void signals_let(const sigset_t *before)
{
    (void)pthread_sigmask(SIG_SETMASK, before, NULL);
}

static int mask_tell(const struct vcpu *vcpu, uint64_t bits)
{
    union {
        struct kvm_signal_mask mask;
        uint8_t room[sizeof(struct kvm_signal_mask) + sizeof bits];
    } told;

    told.mask.len = sizeof bits;
    memcpy(told.mask.sigset, &bits, sizeof bits);
    return real_ioctl(vcpu->object.fd, KVM_SET_SIGNAL_MASK, &told);
}

/* With the vCPU's lock, and so the next. */
int signals_mask(struct vcpu *vcpu, const struct kvm_signal_mask *told)
{
    vcpu->has_mask = false;
    if (told == NULL) {
        return 0;
    }
    if (told->len != sizeof vcpu->mask) {
        errno = EINVAL;
        return -1;
    }
    memcpy(&vcpu->mask, told->sigset, sizeof vcpu->mask);
    vcpu->mask &= ~bit_of(kick_signal());
    vcpu->has_mask = true;
    return 0;
}

int signals_admit(struct vcpu *vcpu, const sigset_t *before)
{
    uint64_t bits = vcpu->has_mask ? vcpu->mask : bits_of(before);

    if (vcpu->mask_is_told && vcpu->mask_told == bits) {
        return 0;
    }
    vcpu->mask_told = bits;
    vcpu->mask_is_told = mask_tell(vcpu, bits) == 0;
    return vcpu->mask_is_told ? 0 : -1;
}

bool signal_waits(const struct vcpu *vcpu)
{
    sigset_t pending;

    return sigpending(&pending) == 0 &&
           (bits_of(&pending) & ~vcpu->mask_told & ~bit_of(kick_signal())) != 0;
}
