/* SPDX-License-Identifier: MIT */
/*
 * The guest's TSC as KVM makes it: the host's plus an offset for each VP, at the host's rate. Without
 * the offsets, or where the TSC is not to be relied on, the library keeps time by host_time.
 */
#include <cpuid.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <x86intrin.h>

#include <hvtlfs/time.h>

#include "helper.h"

#define INVARIANT_TSC (1u << 8) /* CPUID 0x80000007 EDX */

static uint64_t rate(const struct hvtlfs_kvm_config *config, int fd)
{
    int khz = hvti_kvm_call_number(config, fd, KVM_GET_TSC_KHZ, 0);

    return khz > 0 ? (uint64_t)khz * 1000 : 0;
}

/* Of a VM that is made for the question. */
static uint64_t scratch_rate(const struct hvtlfs_kvm_config *config)
{
    int vm = hvti_kvm_call_number(config, config->kvm_fd, KVM_CREATE_VM, 0);
    int vcpu = vm >= 0 ? hvti_kvm_call_number(config, vm, KVM_CREATE_VCPU, 0) : -1;
    uint64_t hz = vcpu >= 0 ? rate(config, vcpu) : 0;

    if (vcpu >= 0) {
        (void)close(vcpu);
    }
    if (vm >= 0) {
        (void)close(vm);
    }
    return hz;
}

uint64_t hvti_kvm_tsc_hz(const struct hvtlfs_kvm_config *config, int vcpu_fd)
{
    uint64_t hz = 0;

    if (vcpu_fd >= 0) {
        return rate(config, vcpu_fd);
    }
    hz = rate(config, config->vm_fd); /* a newer KVM tells it for the VM */
    return hz != 0 ? hz : scratch_rate(config);
}

bool hvti_kvm_tsc_has_offsets(const struct hvtlfs_kvm_config *config)
{
    return hvti_kvm_capability(config, KVM_CAP_VCPU_ATTRIBUTES) > 0;
}

/* The kernel watches the TSC that it keeps time by, on all processors. */
static bool keeps_the_kernels_time(void)
{
    FILE *file = fopen("/sys/devices/system/clocksource/clocksource0/current_clocksource", "re");
    char name[16] = "";
    bool tsc = file != NULL && fgets(name, sizeof name, file) != NULL && strcmp(name, "tsc\n") == 0;

    if (file != NULL) {
        (void)fclose(file);
    }
    return tsc;
}

/* Processors that do not say so may have one all the same, nested ones above all. */
bool hvti_kvm_tsc_invariant(void)
{
    unsigned eax, ebx, ecx, edx;

    return (__get_cpuid(0x80000007, &eax, &ebx, &ecx, &edx) && (edx & INVARIANT_TSC) != 0) ||
           keeps_the_kernels_time();
}

static uint64_t offset_get(const struct hvti_kvm_vp *vp)
{
    uint64_t offset = 0;
    struct kvm_device_attr attr = {
        .group = KVM_VCPU_TSC_CTRL,
        .attr = KVM_VCPU_TSC_OFFSET,
        .addr = (uintptr_t)&offset,
    };

    return hvti_kvm_vp_call(vp, KVM_GET_DEVICE_ATTR, &attr) == 0 ? offset
                                                                 : atomic_load(&vp->tsc_offset);
}

static void offset_put(struct hvti_kvm_vp *vp, uint64_t offset)
{
    uint64_t old = atomic_exchange(&vp->tsc_offset, offset);

    hvtlfs_tsc_changed(vp->vp, offset - old);
}

/* By how much the TSC has moved: some KVMs take an offset and do not apply it. */
static uint64_t offset_move(struct hvti_kvm_vp *vp, uint64_t ticks)
{
    uint64_t old = offset_get(vp);
    uint64_t wanted = old + ticks;
    struct kvm_device_attr attr = {
        .group = KVM_VCPU_TSC_CTRL,
        .attr = KVM_VCPU_TSC_OFFSET,
        .addr = (uintptr_t)&wanted,
    };

    if (hvti_kvm_vp_call(vp, KVM_SET_DEVICE_ATTR, &attr) != 0) {
        hvti_kvm_count(&vp->count.unserved);
    }
    return offset_get(vp) - old;
}

/* A store of the host's means something else to KVM (a TSC that is to be like another's, an ADJUST that
 * moves nothing), so the offset is moved here as the guest's store would. A VP whose CPUID has no
 * TSC_ADJUST keeps its 0: KVM ignores the store, and so does this. */
void hvti_kvm_tsc_write(struct hvti_kvm_vp *vp, uint32_t msr, uint64_t value)
{
    uint64_t adjust = 0;
    uint64_t now = 0;
    uint64_t ticks = value - hvti_kvm_guest_tsc(vp->kvm, vp->index);

    (void)hvti_kvm_msr_get(vp, HVTI_KVM_MSR_TSC_ADJUST, &adjust);
    if (msr == HVTI_KVM_MSR_TSC_ADJUST) {
        ticks = value - adjust;
    }
    (void)hvti_kvm_msr_set(vp, HVTI_KVM_MSR_TSC_ADJUST, adjust + ticks);
    if (msr == HVTI_KVM_MSR_TSC_ADJUST &&
        !(hvti_kvm_msr_get(vp, HVTI_KVM_MSR_TSC_ADJUST, &now) && now == value)) {
        return;
    }
    ticks = offset_move(vp, ticks);
    offset_put(vp, atomic_load(&vp->tsc_offset) + ticks);
}

/* VPs that have no vCPU yet are taken to get the same, or the library would see them differ. */
void hvti_kvm_tsc_attached(struct hvti_kvm_vp *vp)
{
    struct hvtlfs_kvm *kvm = vp->kvm;
    uint64_t offset = kvm->tsc_offsets ? offset_get(vp) : 0;

    for (uint32_t n = 0; n < kvm->vp_count; n++) {
        if (&kvm->vps[n] == vp || kvm->vps[n].fd < 0) {
            offset_put(&kvm->vps[n], offset);
        }
    }
}

/* How far the first VP with a vCPU has moved. */
static uint64_t first_moved(const struct hvtlfs_kvm *kvm)
{
    for (uint32_t n = 0; n < kvm->vp_count; n++) {
        if (kvm->vps[n].fd >= 0) {
            return offset_get(&kvm->vps[n]) - atomic_load(&kvm->vps[n].tsc_offset);
        }
    }
    return 0;
}

/* The library goes on from where it stopped, so only the distances between VPs matter to it: they are
 * told as if the first had not moved. */
void hvti_kvm_tsc_refresh(struct hvtlfs_kvm *kvm)
{
    uint64_t moved = kvm->tsc_offsets ? first_moved(kvm) : 0;

    for (uint32_t n = 0; kvm->tsc_offsets && n < kvm->vp_count; n++) {
        struct hvti_kvm_vp *vp = &kvm->vps[n];
        uint64_t old = atomic_load(&vp->tsc_offset);
        uint64_t new = vp->fd >= 0 ? offset_get(vp) : old + moved;

        atomic_store(&vp->tsc_offset, new);
        hvtlfs_tsc_changed(vp->vp, new - old - moved);
    }
}

uint64_t hvti_kvm_guest_tsc(void *context, uint32_t vp_index)
{
    return __rdtsc() + atomic_load_explicit(&hvti_kvm_find(context, vp_index)->tsc_offset,
                                            memory_order_relaxed);
}
