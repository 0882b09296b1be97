/* SPDX-License-Identifier: MIT */
/*
 * The synthetic MSRs go to user space whether the kernel knows them (a KVM with Hyper-V of its own,
 * filtered) or not (without, unknown). A VM has one filter, so the VMM's ranges follow ours in it: the
 * first range that has an MSR decides.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <hvtlfs/msr.h>

#include "helper.h"

enum {
    FIRST = 0x40000000,
    COUNT = 0x200,
    COUNT_WITH_XEN = 0x240, /* up to HVTI_KVM_XEN_MSR */
    OUR_RANGES = 1,
    TSC_RANGES = 2, /* if there is room */
};

#define OUR_EXITS (KVM_MSR_EXIT_REASON_UNKNOWN | KVM_MSR_EXIT_REASON_FILTER)

/* KVM reads bitmaps by the long. */
static size_t bitmap_size(uint32_t msrs)
{
    return ((size_t)msrs + 63) / 64 * 8;
}

static void free_filter(struct kvm_msr_filter *filter)
{
    for (size_t i = 0; filter != NULL && i < KVM_MSR_FILTER_MAX_RANGES; i++) {
        free(filter->ranges[i].bitmap);
    }
    free(filter);
}

void hvti_kvm_msrs_free(struct hvtlfs_kvm *kvm)
{
    free_filter(kvm->filter);
    kvm->filter = NULL;
}

/* A copy of the VMM's filter, bitmaps included. */
static struct kvm_msr_filter *copy_filter(const struct kvm_msr_filter *from)
{
    struct kvm_msr_filter *filter = calloc(1, sizeof *filter);

    if (filter == NULL) {
        return NULL;
    }
    filter->flags = from->flags;
    for (size_t i = 0; i < KVM_MSR_FILTER_MAX_RANGES; i++) {
        struct kvm_msr_filter_range *range = &filter->ranges[i];
        size_t size = bitmap_size(from->ranges[i].nmsrs);

        *range = from->ranges[i];
        range->bitmap = NULL;
        if (size == 0) {
            continue;
        }
        range->bitmap = malloc(size);
        if (range->bitmap == NULL) {
            free_filter(filter);
            return NULL;
        }
        memcpy(range->bitmap, from->ranges[i].bitmap, size);
    }
    return filter;
}

/* What the VMM's filter says to a store: KVM's rule, the first range that has the MSR decides. */
static bool store_allowed(const struct kvm_msr_filter *filter, uint32_t msr)
{
    for (size_t i = 0; filter != NULL && i < KVM_MSR_FILTER_MAX_RANGES; i++) {
        const struct kvm_msr_filter_range *range = &filter->ranges[i];
        uint32_t bit = msr - range->base;

        if ((range->flags & KVM_MSR_FILTER_WRITE) != 0 && bit < range->nmsrs) {
            return (range->bitmap[bit / 8] >> bit % 8 & 1) != 0;
        }
    }
    return filter == NULL || (filter->flags & KVM_MSR_FILTER_DEFAULT_DENY) == 0;
}

static size_t ranges_of(const struct kvm_msr_filter *filter)
{
    size_t used = 0;

    for (size_t i = 0; filter != NULL && i < KVM_MSR_FILTER_MAX_RANGES; i++) {
        used += filter->ranges[i].nmsrs != 0;
    }
    return used;
}

/* Whether the guest's stores to its TSC are to come here: they are of use where KVM tells offsets, the
 * VMM's if it wants them, and not worth more than its own ranges. */
static bool tsc_wanted(const struct hvtlfs_kvm *kvm, const struct kvm_msr_filter *vmm)
{
    return kvm->tsc_offsets && store_allowed(vmm, HVTI_KVM_MSR_TSC) &&
           store_allowed(vmm, HVTI_KVM_MSR_TSC_ADJUST) &&
           ranges_of(vmm) <= KVM_MSR_FILTER_MAX_RANGES - OUR_RANGES - TSC_RANGES;
}

static size_t merge_tsc(struct kvm_msr_filter *merged, uint8_t *deny)
{
    static const uint32_t msrs[TSC_RANGES] = {HVTI_KVM_MSR_TSC, HVTI_KVM_MSR_TSC_ADJUST};

    for (size_t i = 0; i < TSC_RANGES; i++) {
        merged->ranges[OUR_RANGES + i] = (struct kvm_msr_filter_range){
            .flags = KVM_MSR_FILTER_WRITE,
            .nmsrs = 1,
            .base = msrs[i],
            .bitmap = deny,
        };
    }
    return OUR_RANGES + TSC_RANGES;
}

/* Ours, then the VMM's. False when there is no room. */
static bool merge(const struct hvtlfs_kvm *kvm, const struct kvm_msr_filter *vmm,
                  struct kvm_msr_filter *merged)
{
    static uint8_t deny[COUNT_WITH_XEN / 8]; /* a clear bit denies */
    bool xen = kvm->trap == HVTLFS_KVM_TRAP_CALL;
    size_t used = OUR_RANGES;

    *merged = (struct kvm_msr_filter){
        .flags = vmm != NULL ? vmm->flags : KVM_MSR_FILTER_DEFAULT_ALLOW,
        .ranges[0] =
            {
                .flags = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE,
                .nmsrs = xen ? COUNT_WITH_XEN : COUNT,
                .base = FIRST,
                .bitmap = deny,
            },
    };
    if (tsc_wanted(kvm, vmm)) {
        used = merge_tsc(merged, deny);
    }
    for (size_t i = 0; vmm != NULL && i < KVM_MSR_FILTER_MAX_RANGES; i++) {
        if (vmm->ranges[i].nmsrs == 0) {
            continue;
        }
        if (used == KVM_MSR_FILTER_MAX_RANGES) {
            return false;
        }
        merged->ranges[used++] = vmm->ranges[i];
    }
    return true;
}

static enum hvtlfs_status filter_set(struct hvtlfs_kvm *kvm, const struct kvm_msr_filter *filter,
                                     struct hvtlfs_kvm_error *error)
{
    struct kvm_msr_filter merged;

    if (!merge(kvm, filter, &merged)) {
        return hvti_kvm_fail(error, HVTLFS_ERR_FULL, 0,
                             "the MSR filter has more than %d ranges beside the %d needed here",
                             KVM_MSR_FILTER_MAX_RANGES - OUR_RANGES, OUR_RANGES);
    }
    if (hvti_kvm_vm_call(kvm, KVM_X86_SET_MSR_FILTER, &merged) != 0) {
        return hvti_kvm_fail(error, HVTLFS_ERR_HOST, errno, "KVM_X86_SET_MSR_FILTER");
    }
    atomic_store(&kvm->tsc_exits, tsc_wanted(kvm, filter));
    return HVTLFS_OK;
}

enum hvtlfs_status hvtlfs_kvm_msr_filter(struct hvtlfs_kvm *kvm,
                                         const struct kvm_msr_filter *filter,
                                         struct hvtlfs_kvm_error *error)
{
    struct kvm_msr_filter *copy = NULL;
    enum hvtlfs_status status;

    if (hvti_kvm_forked(kvm, error) != HVTLFS_OK) {
        return HVTLFS_ERR_ORDER;
    }
    if (filter != NULL && (copy = copy_filter(filter)) == NULL) {
        return hvti_kvm_fail(error, HVTLFS_ERR_FULL, ENOMEM, "the MSR filter");
    }
    status = filter_set(kvm, copy, error);
    if (status == HVTLFS_OK) {
        struct kvm_msr_filter *old = kvm->filter;

        kvm->filter = copy;
        copy = old;
    }
    free_filter(copy);
    return status;
}

enum hvtlfs_status hvtlfs_kvm_msr_exits(struct hvtlfs_kvm *kvm, uint32_t reasons,
                                        struct hvtlfs_kvm_error *error)
{
    struct kvm_enable_cap cap = {
        .cap = KVM_CAP_X86_USER_SPACE_MSR,
        .args = {OUR_EXITS | reasons},
    };

    if (hvti_kvm_forked(kvm, error) != HVTLFS_OK) {
        return HVTLFS_ERR_ORDER;
    }
    if (hvti_kvm_vm_call(kvm, KVM_ENABLE_CAP, &cap) != 0) {
        return hvti_kvm_fail(error, HVTLFS_ERR_HOST, errno,
                             "enabling KVM_CAP_X86_USER_SPACE_MSR for the reasons 0x%x",
                             (unsigned)(OUR_EXITS | reasons));
    }
    atomic_store(&kvm->msr_exits, reasons);
    return HVTLFS_OK;
}

enum hvtlfs_status hvti_kvm_msrs_install(struct hvtlfs_kvm *kvm, struct hvtlfs_kvm_error *error)
{
    enum hvtlfs_status status = hvtlfs_kvm_msr_exits(kvm, kvm->config.msr_exits, error);

    return status != HVTLFS_OK ? status : hvtlfs_kvm_msr_filter(kvm, kvm->config.msr_filter, error);
}

/* An MSR that is not ours exits because of the VMM, or because we had to ask for the reason as a whole;
 * then the guest gets what KVM would have given it. */
static enum hvtlfs_kvm_result not_ours(struct hvti_kvm_vp *vp)
{
    if ((atomic_load(&vp->kvm->msr_exits) & vp->run->msr.reason) != 0) {
        return HVTLFS_KVM_YOURS;
    }
    vp->run->msr.error = 1;
    return HVTLFS_KVM_HANDLED;
}

static void answer(struct hvti_kvm_vp *vp, atomic_uint_fast64_t *counter,
                   enum hvtlfs_msr_result result)
{
    vp->run->msr.error = result == HVTLFS_MSR_FAULT; /* KVM injects #GP */
    hvti_kvm_count(counter);
    if (result == HVTLFS_MSR_FAULT) {
        hvti_kvm_count(&vp->count.msr_faults);
    }
}

static enum hvtlfs_kvm_result idle(struct hvti_kvm_vp *vp)
{
    hvti_kvm_count(&vp->count.idles);
    if (vp->kvm->config.apic == HVTLFS_KVM_APIC_VMM) {
        return HVTLFS_KVM_HALTED;
    }
    vp->idle = true;
    return HVTLFS_KVM_HANDLED;
}

enum hvtlfs_kvm_result hvti_kvm_rdmsr(struct hvti_kvm_vp *vp)
{
    uint64_t value = 0;
    enum hvtlfs_msr_result result = hvtlfs_msr_read(vp->vp, vp->run->msr.index, &value);

    if (result == HVTLFS_MSR_UNCLAIMED) {
        return not_ours(vp);
    }
    vp->run->msr.data = value;
    answer(vp, &vp->count.msr_reads, result);
    return result == HVTLFS_MSR_IDLE ? idle(vp) : HVTLFS_KVM_HANDLED;
}

static bool is_tsc(const struct hvti_kvm_vp *vp)
{
    return atomic_load(&vp->kvm->tsc_exits) && (vp->run->msr.index == HVTI_KVM_MSR_TSC ||
                                                vp->run->msr.index == HVTI_KVM_MSR_TSC_ADJUST);
}

static enum hvtlfs_kvm_result tsc_written(struct hvti_kvm_vp *vp)
{
    hvti_kvm_tsc_write(vp, vp->run->msr.index, vp->run->msr.data);
    answer(vp, &vp->count.msr_writes, HVTLFS_MSR_DONE);
    return HVTLFS_KVM_HANDLED;
}

enum hvtlfs_kvm_result hvti_kvm_wrmsr(struct hvti_kvm_vp *vp)
{
    enum hvtlfs_msr_result result = hvtlfs_msr_write(vp->vp, vp->run->msr.index, vp->run->msr.data);

    if (result == HVTLFS_MSR_UNCLAIMED) {
        return is_tsc(vp) ? tsc_written(vp) : not_ours(vp);
    }
    answer(vp, &vp->count.msr_writes, result);
    return HVTLFS_KVM_HANDLED;
}
