/* SPDX-License-Identifier: MIT */
/* Taking a VM, and giving it back. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "helper.h"

enum {
    DEFAULT_PORT = 0x5A,
    KICK_SIGNAL_OFFSET = 4,
};

void hvtlfs_kvm_config_init(struct hvtlfs_kvm_config *config)
{
    if (config == NULL) {
        return;
    }
    *config = (struct hvtlfs_kvm_config){
        .size = sizeof *config,
        .kvm_fd = -1,
        .vm_fd = -1,
        .vcpu_fd = -1,
        .port = DEFAULT_PORT,
    };
    hvtlfs_config_init(&config->partition);
    config->partition.gpa_bits = 0;
}

/* ---- VPs ---- */

static void vp_init(struct hvtlfs_kvm *kvm, uint32_t n)
{
    const struct hvtlfs_vp_config *given = kvm->config.partition.vps;
    struct hvti_kvm_vp *vp = &kvm->vps[n];

    vp->kvm = kvm;
    vp->index = given != NULL ? given[n].vp_index : n;
    vp->apic_id = given != NULL ? given[n].apic_id : n;
    vp->fd = -1;
    atomic_init(&vp->due, HVTLFS_TIME_NEVER);
    kvm->by_index[vp->index] = vp;
}

/* The partition's configuration has been checked, so the indices are in range. */
static bool vps_init(struct hvtlfs_kvm *kvm)
{
    const struct hvtlfs_config *partition = &kvm->config.partition;

    kvm->vp_count = partition->vp_count;
    for (uint32_t n = 0; n < kvm->vp_count; n++) {
        uint32_t index = partition->vps != NULL ? partition->vps[n].vp_index : n;

        kvm->index_end = index >= kvm->index_end ? index + 1 : kvm->index_end;
    }
    /* NOLINTNEXTLINE(clang-analyzer-optin.portability.UnixAPI): a partition of no VPs was refused */
    kvm->vps = calloc(kvm->vp_count, sizeof *kvm->vps);
    kvm->by_index = calloc(kvm->index_end, sizeof(struct hvti_kvm_vp *));
    for (uint32_t n = 0; kvm->vps != NULL && kvm->by_index != NULL && n < kvm->vp_count; n++) {
        vp_init(kvm, n);
    }
    return kvm->vps != NULL && kvm->by_index != NULL;
}

/* ---- The partition ---- */

/* KVM's APIC timer counts nanoseconds, whatever the machine (unless told otherwise by
 * KVM_CAP_X86_APIC_BUS_CYCLES_NS). */
#define KERNEL_APIC_HZ UINT64_C(1000000000)

static void time_fill(struct hvtlfs_kvm *kvm)
{
    struct hvtlfs_config *partition = &kvm->config.partition;

    if (partition->tsc_hz == 0) {
        partition->tsc_hz = hvti_kvm_tsc_hz(&kvm->config, kvm->config.vcpu_fd);
        partition->invariant_tsc = partition->ops.guest_tsc != NULL && hvti_kvm_tsc_invariant();
    }
    if (partition->apic_hz == 0 && kvm->config.apic == HVTLFS_KVM_APIC_KERNEL) {
        partition->apic_hz = KERNEL_APIC_HZ;
    }
}

static void partition_fill(struct hvtlfs_kvm *kvm)
{
    struct hvtlfs_config *partition = &kvm->config.partition;

    kvm->tsc_offsets = hvti_kvm_tsc_has_offsets(&kvm->config);
    /* Its effect on CPUID comes with a write at run time, when KVM changes CPUID no more. */
    hvtlfs_features_remove(&partition->features, HVTLFS_FEATURE_TSC_INVARIANT);
    hvti_kvm_callbacks(kvm, &partition->ops);
    partition->context = kvm;
    if (partition->gpa_bits == 0) {
        partition->gpa_bits = hvti_kvm_gpa_bits(&kvm->config);
    }
    if (kvm->config.apic == HVTLFS_KVM_APIC_KERNEL) {
        /* The kernel lets interrupts in by itself, so it also decides which EOIs may be left out. */
        kvm->lazy_eoi = (partition->policy & HVTLFS_POLICY_NO_LAZY_EOI) == 0;
        partition->policy |= HVTLFS_POLICY_NO_LAZY_EOI;
    }
    time_fill(kvm);
}

static enum hvtlfs_status partition_make(struct hvtlfs_kvm *kvm, struct hvtlfs_kvm_error *error)
{
    const struct hvtlfs_config *partition = &kvm->config.partition;
    struct hvtlfs_error cause;
    size_t size;

    if (hvtlfs_partition_size(partition, &size, &cause) != HVTLFS_OK) {
        return hvti_kvm_fail_as(error, &cause);
    }
    size = (size + HVTLFS_PAGE_SIZE - 1) / HVTLFS_PAGE_SIZE * HVTLFS_PAGE_SIZE;
    kvm->partition_memory = aligned_alloc(HVTLFS_PARTITION_ALIGNMENT, size);
    if (kvm->partition_memory == NULL || !vps_init(kvm)) {
        return hvti_kvm_fail(error, HVTLFS_ERR_HOST, ENOMEM, "a partition of %u VPs",
                             (unsigned)partition->vp_count);
    }
    if (hvtlfs_partition_init(kvm->partition_memory, size, partition, &kvm->partition, &cause) !=
        HVTLFS_OK) {
        return hvti_kvm_fail_as(error, &cause);
    }
    for (uint32_t n = 0; n < kvm->vp_count; n++) {
        kvm->vps[n].vp = hvtlfs_partition_vp(kvm->partition, kvm->vps[n].index);
    }
    return HVTLFS_OK;
}

/* ---- Creation ---- */

/* A page that a child finds empty. */
static bool alive_init(struct hvtlfs_kvm *kvm)
{
    uint32_t *page =
        mmap(NULL, HVTLFS_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (page == MAP_FAILED) {
        return false;
    }
    kvm->alive = page;
    *page = 1;
    return madvise(page, HVTLFS_PAGE_SIZE, MADV_WIPEONFORK) == 0;
}

static bool locks_init(struct hvtlfs_kvm *kvm)
{
    pthread_condattr_t clock;
    bool made;

    if (pthread_condattr_init(&clock) != 0) {
        return false;
    }
    made = pthread_condattr_setclock(&clock, CLOCK_MONOTONIC) == 0 &&
           pthread_cond_init(&kvm->gate_moved, &clock) == 0 &&
           pthread_mutex_init(&kvm->lock, NULL) == 0 && pthread_mutex_init(&kvm->gate, NULL) == 0 &&
           hvti_kvm_memory_init(kvm) == HVTLFS_OK;
    (void)pthread_condattr_destroy(&clock);
    return made;
}

/* What must be so in the configuration beside the partition's own rules. */
static enum hvtlfs_status config_check(const struct hvtlfs_kvm_config *config,
                                       struct hvtlfs_kvm_error *error)
{
    const struct hvtlfs_host_ops *ops = &config->partition.ops;

    if (config->vm_fd < 0) {
        return hvti_kvm_fail(error, HVTLFS_ERR_ARGUMENT, 0,
                             "vm_fd is %d; it takes what KVM_CREATE_VM returned", config->vm_fd);
    }
    if (config->apic == HVTLFS_KVM_APIC_VMM &&
        (ops->request_interrupt == NULL || ops->apic_read == NULL || ops->apic_write == NULL)) {
        return hvti_kvm_fail(error, HVTLFS_ERR_NO_CALLBACK, 0,
                             "the VMM has the APICs, so it must give request_interrupt, apic_read "
                             "and apic_write");
    }
    if (config->partition.vp_count > HVTLFS_KVM_MAX_VPS) {
        return hvti_kvm_fail(error, HVTLFS_ERR_VP_COUNT, 0, "%u VPs; at most %u are possible",
                             (unsigned)config->partition.vp_count, HVTLFS_KVM_MAX_VPS);
    }
    return HVTLFS_OK;
}

static enum hvtlfs_status take(struct hvtlfs_kvm *kvm, struct hvtlfs_kvm_error *error)
{
    enum hvtlfs_status status = hvti_kvm_trap_install(kvm, error);

    kvm->sync_regs = (hvti_kvm_capability(&kvm->config, KVM_CAP_SYNC_REGS) & HVTI_KVM_SYNC_REGS) ==
                     HVTI_KVM_SYNC_REGS;
    if (status == HVTLFS_OK) {
        partition_fill(kvm);
        status = partition_make(kvm, error);
    }
    if (status == HVTLFS_OK) {
        status = hvti_kvm_signal_install(kvm->config.kick_signal, error);
    }
    return status == HVTLFS_OK ? hvti_kvm_msrs_install(kvm, error) : status;
}

enum hvtlfs_status hvtlfs_kvm_create(const struct hvtlfs_kvm_config *config,
                                     struct hvtlfs_kvm **kvm, struct hvtlfs_kvm_error *error)
{
    enum hvtlfs_status status = hvtlfs_kvm_check(config, error);
    struct hvtlfs_kvm *made;

    if (status == HVTLFS_OK) {
        status = config_check(config, error);
    }
    if (status != HVTLFS_OK) {
        return status;
    }
    made = calloc(1, sizeof *made);
    if (made == NULL || !alive_init(made) || !locks_init(made)) {
        free(made);
        return hvti_kvm_fail(error, HVTLFS_ERR_HOST, errno, "memory and locks for a VM");
    }
    made->config = *config;
    if (made->config.kick_signal == 0) {
        made->config.kick_signal = SIGRTMIN + KICK_SIGNAL_OFFSET;
    }
    status = take(made, error);
    made->config.partition.vps = NULL; /* the VMM's memory, read during creation only */
    made->config.msr_filter = NULL;
    if (status != HVTLFS_OK) {
        hvtlfs_kvm_destroy(made);
        return status;
    }
    *kvm = made;
    return HVTLFS_OK;
}

static void locks_destroy(struct hvtlfs_kvm *kvm)
{
    (void)pthread_cond_destroy(&kvm->gate_moved);
    (void)pthread_mutex_destroy(&kvm->gate);
    (void)pthread_mutex_destroy(&kvm->lock);
}

void hvtlfs_kvm_destroy(struct hvtlfs_kvm *kvm)
{
    if (kvm == NULL) {
        return;
    }
    for (uint32_t n = 0; n < kvm->vp_count; n++) {
        hvtlfs_kvm_vp_detach(kvm, kvm->vps[n].index);
    }
    hvti_kvm_memory_free(kvm);
    hvti_kvm_msrs_free(kvm);
    locks_destroy(kvm);
    (void)munmap((void *)(uintptr_t)kvm->alive, HVTLFS_PAGE_SIZE);
    free(kvm->partition_memory);
    free(kvm->by_index);
    free(kvm->vps);
    free(kvm);
}

struct hvtlfs_partition *hvtlfs_kvm_partition(struct hvtlfs_kvm *kvm)
{
    return kvm->partition;
}

void *hvtlfs_kvm_context(const struct hvtlfs_kvm *kvm)
{
    return kvm->config.context;
}

enum hvtlfs_kvm_trap hvtlfs_kvm_trap_used(const struct hvtlfs_kvm *kvm)
{
    return kvm->trap;
}
