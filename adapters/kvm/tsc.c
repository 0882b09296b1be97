/* SPDX-License-Identifier: MIT */
/*
 * The guest's TSC as KVM makes it: the host's plus an offset for each VP, at the host's rate. Without
 * the offsets, or on a processor whose TSC is not invariant, the library keeps time by host_time.
 */
#include <cpuid.h>
#include <sys/ioctl.h>
#include <x86intrin.h>

#include <hvtlfs/time.h>

#include "adapter.h"

#define INVARIANT_TSC (1u << 8) /* CPUID 0x80000007 EDX */

static bool offset_get(const struct adapter_vp *vp, uint64_t *offset)
{
    struct kvm_device_attr attr = {
        .group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET, .addr = (uintptr_t)offset};

    return ioctl(vp->fd, KVM_GET_DEVICE_ATTR, &attr) == 0;
}

bool tsc_known(struct adapter *adapter)
{
    for (uint32_t n = 0; n < adapter->vp_count; n++) {
        if (!offset_get(&adapter->vps[n], &adapter->vps[n].tsc_offset)) {
            return false;
        }
    }
    return true;
}

bool tsc_invariant(void)
{
    unsigned eax, ebx, ecx, edx;

    return __get_cpuid(0x80000007, &eax, &ebx, &ecx, &edx) && (edx & INVARIANT_TSC) != 0;
}

/* VPs made at different moments may start apart; the library then keeps the page invalid. */
void tsc_tell_differences(struct adapter *adapter)
{
    for (uint32_t n = 1; n < adapter->vp_count; n++) {
        hvtlfs_tsc_changed(adapter->vps[n].vp,
                           adapter->vps[n].tsc_offset - adapter->vps[0].tsc_offset);
    }
}

uint64_t tsc_of_guest(void *context, uint32_t vp_index)
{
    const struct adapter *adapter = context;

    return __rdtsc() + adapter->vps[vp_index].tsc_offset;
}
