/* SPDX-License-Identifier: MIT */
/*
 * The synthetic MSRs as the program reads and writes them: without the guest's limits, because that is how
 * it saves and restores. What the library has no place for yet, or does not offer this guest, is kept here
 * and comes back as it was set.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include <hvtlfs/msr.h>
#include <hvtlfs/tlfs.h>

#include "preload.h"

enum { TSC = 0x10, TSC_ADJUST = 0x3B };

#define CRASH_CAPABILITIES (UINT64_C(3) << 62) /* CrashNotify, CrashMessage */

static bool is_synthetic(uint32_t number)
{
    return number >= MSR_FIRST && number - MSR_FIRST < MSR_COUNT;
}

/* ---- Without a partition ---- */

static uint64_t tsc_hz(const struct vcpu *vcpu)
{
    int khz = real_ioctl(vcpu->object.fd, KVM_GET_TSC_KHZ, NULL);

    return khz > 0 ? (uint64_t)khz * 1000 : 0;
}

/* What the library's registers read when a VP has just been made. */
static uint64_t fresh(const struct vcpu *vcpu, uint32_t number)
{
    if (number >= HV_X64_MSR_SINT0 && number <= HV_X64_MSR_SINT15) {
        return HV_SYNIC_SINT_DEFAULT;
    }
    switch (number) {
    case HV_X64_MSR_VP_INDEX:
        return vcpu->vp_index;
    case HV_X64_MSR_SVERSION:
        return HV_SYNIC_VERSION;
    case HV_X64_MSR_TIME_REF_COUNT:
        return vm_age(vcpu->vm);
    case HV_X64_MSR_TSC_FREQUENCY:
        return tsc_hz(vcpu);
    case HV_X64_MSR_APIC_FREQUENCY:
        return UINT64_C(1000000000); /* KVM's APIC counts nanoseconds */
    case HV_X64_MSR_CRASH_CTL:
        return CRASH_CAPABILITIES;
    default:
        return 0;
    }
}

static bool kept_get(const struct vcpu *vcpu, uint32_t number, uint64_t *value)
{
    if (msr_feature(number) == HVTLFS_FEATURE_COUNT || !offers(msr_feature(number))) {
        return false;
    }
    *value =
        vcpu->msr_is_set[number - MSR_FIRST] ? vcpu->msrs[number - MSR_FIRST] : fresh(vcpu, number);
    return true;
}

/* These follow from something else; KVM, too, takes what a program restores and leaves them be. */
static bool follows(uint32_t number)
{
    switch (number) {
    case HV_X64_MSR_TIME_REF_COUNT:
    case HV_X64_MSR_TSC_FREQUENCY:
    case HV_X64_MSR_APIC_FREQUENCY:
    case HV_X64_MSR_VP_RUNTIME:
    case HV_X64_MSR_SVERSION:
    case HV_X64_MSR_CRASH_CTL:
    case HV_X64_MSR_RESET:
    case HV_X64_MSR_EOI:
    case HV_X64_MSR_ICR:
    case HV_X64_MSR_TPR:
    case HV_X64_MSR_EOM:
        return true;
    default:
        return false;
    }
}

static bool kept_set(struct vcpu *vcpu, uint32_t number, uint64_t value)
{
    if (msr_feature(number) == HVTLFS_FEATURE_COUNT || !offers(msr_feature(number))) {
        return false;
    }
    if (number == HV_X64_MSR_VP_INDEX) {
        if (value >= HVTLFS_KVM_MAX_VPS || (vcpu->attached && value != vcpu->vp_index)) {
            return false;
        }
        vcpu->vp_index = (uint32_t)value;
    } else if (!follows(number)) {
        vcpu->msrs[number - MSR_FIRST] = value;
        vcpu->msr_is_set[number - MSR_FIRST] = true;
    }
    return true;
}

/* ---- With one ---- */

static bool is_config(uint32_t number)
{
    return number >= HV_X64_MSR_STIMER0_CONFIG && number <= HV_X64_MSR_STIMER3_CONFIG &&
           (number - HV_X64_MSR_STIMER0_CONFIG) % 2 == 0;
}

static bool is_count(uint32_t number)
{
    return number >= HV_X64_MSR_STIMER0_COUNT && number <= HV_X64_MSR_STIMER3_COUNT &&
           (number - HV_X64_MSR_STIMER0_COUNT) % 2 == 0;
}

/* A timer is enabled by its configuration only where its count is there already (TLFS 12.5.1), and
 * programs restore the count last: a configuration that was set just before is set once more behind it. */
static void timer_set(struct vcpu *vcpu, struct hvtlfs_vp *vp, uint32_t number, uint64_t value)
{
    uint32_t timer = (number - HV_X64_MSR_STIMER0_CONFIG) / 2;

    if (is_config(number)) {
        vcpu->timers[timer] = value;
        vcpu->timer_waits[timer] = true;
    } else if (is_count(number) && value != 0 && vcpu->timer_waits[timer]) {
        (void)!hvtlfs_msr_write(vp, number - 1, vcpu->timers[timer]);
        vcpu->timer_waits[timer] = false;
    }
}

static bool live_get(const struct vcpu *vcpu, struct hvtlfs_vp *vp, uint32_t number,
                     uint64_t *value)
{
    return hvtlfs_msr_read(vp, number, value) == HVTLFS_MSR_DONE || kept_get(vcpu, number, value);
}

static bool live_set(struct vcpu *vcpu, struct hvtlfs_vp *vp, uint32_t number, uint64_t value)
{
    uint64_t before;

    if (follows(number) || number == HV_X64_MSR_VP_INDEX) {
        return kept_set(vcpu, number, value);
    }
    if (hvtlfs_msr_write(vp, number, value) != HVTLFS_MSR_FAULT) {
        timer_set(vcpu, vp, number, value);
        return true;
    }
    /* A fault is the value's unless the guest does not have the MSR at all. */
    return hvtlfs_msr_read(vp, number, &before) == HVTLFS_MSR_FAULT &&
           kept_set(vcpu, number, value);
}

void msrs_replay(struct vcpu *vcpu)
{
    struct hvtlfs_vp *vp = vcpu_vp(vcpu);

    for (uint32_t i = 0; i < MSR_COUNT; i++) {
        if (vcpu->msr_is_set[i] && !live_set(vcpu, vp, MSR_FIRST + i, vcpu->msrs[i])) {
            tell("vCPU %u: MSR 0x%x does not take 0x%llx", vcpu->id, MSR_FIRST + i,
                 (unsigned long long)vcpu->msrs[i]);
        }
    }
}

/* ---- Lists: in their order, up to the first that fails ---- */

static bool one_get(struct vcpu *vcpu, struct kvm_msr_entry *entry)
{
    struct hvtlfs_vp *vp = vcpu_ready(vcpu);
    uint64_t value = 0;
    bool got = vp != NULL ? live_get(vcpu, vp, entry->index, &value)
                          : kept_get(vcpu, entry->index, &value);

    entry->data = value;
    return got;
}

static bool one_set(struct vcpu *vcpu, const struct kvm_msr_entry *entry)
{
    struct hvtlfs_vp *vp = vcpu_ready(vcpu);

    return vp != NULL ? live_set(vcpu, vp, entry->index, entry->data)
                      : kept_set(vcpu, entry->index, entry->data);
}

/* The kernel's own MSRs from entry @p from on; how many there are in a row. */
static uint32_t in_a_row(const struct kvm_msrs *msrs, uint32_t from)
{
    uint32_t count = 0;

    while (from + count < msrs->nmsrs && !is_synthetic(msrs->entries[from + count].index)) {
        count++;
    }
    return count;
}

static int kernels(const struct vcpu *vcpu, unsigned long request, struct kvm_msr_entry *entries,
                   uint32_t count)
{
    struct kvm_msrs *part = calloc(1, sizeof *part + count * sizeof *entries);
    int done;

    if (part == NULL) {
        errno = ENOMEM;
        return -1;
    }
    part->nmsrs = count;
    memcpy(part->entries, entries, count * sizeof *entries);
    done = real_ioctl(vcpu->object.fd, request, part);
    if (done > 0) {
        memcpy(entries, part->entries, (size_t)done * sizeof *entries);
    }
    free(part);
    return done;
}

static int each(struct vcpu *vcpu, unsigned long request, struct kvm_msrs *msrs)
{
    uint32_t i = 0;

    while (i < msrs->nmsrs) {
        uint32_t row = in_a_row(msrs, i);

        if (row == 0) {
            if (!(request == KVM_GET_MSRS ? one_get(vcpu, &msrs->entries[i])
                                          : one_set(vcpu, &msrs->entries[i]))) {
                break;
            }
            i++;
        } else {
            int done = kernels(vcpu, request, &msrs->entries[i], row);

            if (done < 0 && i == 0) {
                return -1;
            }
            i += done > 0 ? (uint32_t)done : 0;
            if (done != (int)row) {
                break;
            }
        }
    }
    return (int)i;
}

int msrs_get(struct vcpu *vcpu, struct kvm_msrs *msrs)
{
    return each(vcpu, KVM_GET_MSRS, msrs);
}

int msrs_set(struct vcpu *vcpu, struct kvm_msrs *msrs)
{
    int done = each(vcpu, KVM_SET_MSRS, msrs);

    for (int i = 0; i < done; i++) {
        if (msrs->entries[i].index == TSC || msrs->entries[i].index == TSC_ADJUST) {
            hyperv_tsc_changed(vcpu->vm);
            break;
        }
    }
    return done;
}
