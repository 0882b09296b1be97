/* SPDX-License-Identifier: MIT */
/* vCPUs that come and go. */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include <hvtlfs/vapic.h>

#include "helper.h"

struct hvti_kvm_vp *hvti_kvm_find(const struct hvtlfs_kvm *kvm, uint32_t vp_index)
{
    return vp_index < kvm->index_end ? kvm->by_index[vp_index] : NULL;
}

struct hvti_kvm_vp *hvti_kvm_usable(const struct hvtlfs_kvm *kvm, uint32_t vp_index)
{
    struct hvti_kvm_vp *vp = hvti_kvm_find(kvm, vp_index);

    if (*kvm->alive == 0) {
        errno = EIO;
        return NULL;
    }
    if (vp == NULL || vp->fd < 0) {
        errno = ENXIO;
        return NULL;
    }
    return vp;
}

enum hvtlfs_status hvti_kvm_forked(const struct hvtlfs_kvm *kvm, struct hvtlfs_kvm_error *error)
{
    if (*kvm->alive != 0) {
        return HVTLFS_OK;
    }
    return hvti_kvm_fail(error, HVTLFS_ERR_ORDER, EIO,
                         "a forked child cannot use its parent's VM; make another one");
}

enum hvtlfs_status hvtlfs_kvm_vp_attach(struct hvtlfs_kvm *kvm, uint32_t vp_index, int vcpu_fd,
                                        struct kvm_run *run, struct hvtlfs_kvm_error *error)
{
    struct hvti_kvm_vp *vp = hvti_kvm_find(kvm, vp_index);

    if (hvti_kvm_forked(kvm, error) != HVTLFS_OK) {
        return HVTLFS_ERR_ORDER;
    }
    if (vp == NULL) {
        return hvti_kvm_fail(error, HVTLFS_ERR_NOT_FOUND, 0, "the partition has no VP %u",
                             (unsigned)vp_index);
    }
    if (vcpu_fd < 0 || run == NULL) {
        return hvti_kvm_fail(error, HVTLFS_ERR_ARGUMENT, 0,
                             "VP %u: vcpu_fd is %d, run is %p; both are needed", (unsigned)vp_index,
                             vcpu_fd, (void *)run);
    }
    if (vp->fd >= 0) {
        return hvti_kvm_fail(error, HVTLFS_ERR_EXISTS, 0,
                             "VP %u has a vCPU; hvtlfs_kvm_vp_detach() it first",
                             (unsigned)vp_index);
    }
    (void)pthread_mutex_lock(&kvm->gate);
    vp->run = run;
    vp->fd = vcpu_fd;
    (void)pthread_mutex_unlock(&kvm->gate);
    vp->eoi_page = HVTLFS_NO_PAGE;
    atomic_store(&vp->kicked, true); /* whatever was left for it */
    hvti_kvm_tsc_attached(vp);
    return HVTLFS_OK;
}

void hvtlfs_kvm_vp_detach(struct hvtlfs_kvm *kvm, uint32_t vp_index)
{
    struct hvti_kvm_vp *vp = hvti_kvm_find(kvm, vp_index);

    if (*kvm->alive == 0 || vp == NULL || vp->fd < 0) {
        return;
    }
    hvti_kvm_thread_forget(vp);
    (void)pthread_mutex_lock(&kvm->gate);
    vp->fd = -1;
    vp->run = NULL;
    (void)pthread_mutex_unlock(&kvm->gate);
}

static uint64_t get(const atomic_uint_fast64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

enum hvtlfs_status hvtlfs_kvm_read_counters(const struct hvtlfs_kvm *kvm, uint32_t vp_index,
                                            struct hvtlfs_kvm_counters *counters)
{
    const struct hvti_kvm_vp *vp = hvti_kvm_find(kvm, vp_index);

    if (counters->size < sizeof *counters) {
        return HVTLFS_ERR_STRUCT_SIZE;
    }
    if (vp == NULL) {
        return HVTLFS_ERR_NOT_FOUND;
    }
    *counters = (struct hvtlfs_kvm_counters){
        .size = counters->size,
        .runs = get(&vp->count.runs),
        .msr_reads = get(&vp->count.msr_reads),
        .msr_writes = get(&vp->count.msr_writes),
        .msr_faults = get(&vp->count.msr_faults),
        .hypercalls = get(&vp->count.hypercalls),
        .refused_stores = get(&vp->count.refused_stores),
        .yours = get(&vp->count.yours),
        .kicks = get(&vp->count.kicks),
        .flushes = get(&vp->count.flushes),
        .interrupts = get(&vp->count.interrupts),
        .auto_eoi = get(&vp->count.auto_eoi),
        .idles = get(&vp->count.idles),
        .unserved = get(&vp->count.unserved),
    };
    return HVTLFS_OK;
}
