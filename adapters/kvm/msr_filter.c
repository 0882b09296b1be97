/* SPDX-License-Identifier: MIT */
/*
 * The synthetic MSRs go to user space whether the kernel knows them (a KVM with Hyper-V of its own,
 * filtered) or not (without, unknown).
 */
#include <sys/ioctl.h>

#include "adapter.h"

enum { FIRST = 0x40000000, COUNT = 0x200 };

bool msr_filter_set(int vm)
{
    static uint8_t deny[COUNT / 8]; /* a clear bit denies */
    struct kvm_enable_cap cap = {
        .cap = KVM_CAP_X86_USER_SPACE_MSR,
        .args = {KVM_MSR_EXIT_REASON_UNKNOWN | KVM_MSR_EXIT_REASON_FILTER},
    };
    struct kvm_msr_filter filter = {
        .flags = KVM_MSR_FILTER_DEFAULT_ALLOW,
        .ranges[0] =
            {
                .flags = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE,
                .nmsrs = COUNT,
                .base = FIRST,
                .bitmap = deny,
            },
    };

    return ioctl(vm, KVM_ENABLE_CAP, &cap) == 0 && ioctl(vm, KVM_X86_SET_MSR_FILTER, &filter) == 0;
}
