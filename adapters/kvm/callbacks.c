/* SPDX-License-Identifier: MIT */
/* What the library asks of KVM. */
#include <hvtlfs/time.h>
#include <hvtlfs/vpset.h>

#include "helper.h"

static bool gpa_read(void *context, uint64_t gpa, void *buffer, size_t size)
{
    return hvti_kvm_memory_read(context, gpa, buffer, size);
}

static bool gpa_write(void *context, uint64_t gpa, const void *buffer, size_t size)
{
    return hvti_kvm_memory_write(context, gpa, buffer, size);
}

static bool gpa_compare_exchange(void *context, uint64_t gpa, uint32_t *expected, uint32_t desired,
                                 bool *done)
{
    return hvti_kvm_memory_exchange(context, gpa, expected, desired, done);
}

static enum hvtlfs_gpa_kind gpa_probe(void *context, uint64_t gpa)
{
    return hvti_kvm_memory_is_ram(context, gpa) ? HVTLFS_GPA_RAM : HVTLFS_GPA_NONE;
}

static bool overlay_set(void *context, const struct hvtlfs_overlay *overlay)
{
    return hvti_kvm_overlay_set(context, overlay);
}

static void overlay_clear(void *context, const struct hvtlfs_overlay *overlay)
{
    hvti_kvm_overlay_clear(context, overlay);
}

static void lock(void *context)
{
    struct hvtlfs_kvm *kvm = context;

    (void)pthread_mutex_lock(&kvm->lock);
}

static void unlock(void *context)
{
    struct hvtlfs_kvm *kvm = context;

    (void)pthread_mutex_unlock(&kvm->lock);
}

static void request_interrupt(void *context, uint32_t vp_index,
                              const struct hvtlfs_interrupt *interrupt)
{
    struct hvti_kvm_vp *vp = hvti_kvm_find(context, vp_index);

    if (!hvti_kvm_interrupt(vp, interrupt)) {
        hvti_kvm_count(&vp->count.unserved);
    }
}

static void kick(void *context, uint32_t vp_index)
{
    struct hvti_kvm_vp *vp = hvti_kvm_find(context, vp_index);

    atomic_store(&vp->kicked, true);
    hvti_kvm_kick(vp);
}

static void apic_write(void *context, uint32_t vp_index, enum hvtlfs_apic_register reg,
                       uint64_t value)
{
    struct hvti_kvm_vp *vp = hvti_kvm_find(context, vp_index);

    if (!hvti_kvm_apic_write(vp, reg, value)) {
        hvti_kvm_count(&vp->count.unserved);
    }
}

static uint64_t apic_read(void *context, uint32_t vp_index, enum hvtlfs_apic_register reg)
{
    return hvti_kvm_apic_read(hvti_kvm_find(context, vp_index), reg);
}

/* Every target empties its TLB before it enters the guest again, and the caller stays out until those who
 * are in the guest now have come out. */
static void tlb_flush_queued(void *context, uint32_t vp_index, const struct hvtlfs_vp_set *targets)
{
    struct hvtlfs_kvm *kvm = context;
    uint64_t number;

    (void)pthread_mutex_lock(&kvm->gate);
    number = ++kvm->flushes;
    for (uint32_t n = 0; n < kvm->vp_count; n++) {
        struct hvti_kvm_vp *target = &kvm->vps[n];

        if (!hvtlfs_vp_set_has(targets, target->index)) {
            continue;
        }
        atomic_store(&target->flush_pending, true);
        if (target->in_guest && target->flush_asked == 0) {
            target->flush_asked = number;
        }
    }
    hvti_kvm_find(kvm, vp_index)->flush_waits = number;
    (void)pthread_mutex_unlock(&kvm->gate);
}

static enum hvtlfs_answer switch_address_space(void *context, uint32_t vp_index, uint64_t cr3)
{
    return hvti_kvm_cr3_set(hvti_kvm_find(context, vp_index), cr3) ? HVTLFS_ANSWER_OK
                                                                   : HVTLFS_ANSWER_VALUE;
}

/* The processor time of the VP's thread: this is asked for on that thread only. */
static uint64_t vp_runtime(void *context, uint32_t vp_index)
{
    struct hvti_kvm_vp *vp = hvti_kvm_find(context, vp_index);
    struct timespec now;
    uint64_t runtime;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    runtime = vp->runtime_before + (uint64_t)now.tv_sec * 10000000 + (uint64_t)now.tv_nsec / 100 -
              vp->runtime_start;
    atomic_store(&vp->runtime_told, runtime);
    return runtime;
}

static uint64_t host_time(void *context)
{
    (void)context;
    return hvti_kvm_now() / 100;
}

/* Reference time runs with the monotonic clock, from another start. */
static void arm_deadline(void *context, uint32_t vp_index, uint64_t deadline)
{
    struct hvti_kvm_vp *vp = hvti_kvm_find(context, vp_index);
    uint64_t wait = hvtlfs_time_until(vp->vp, deadline);

    hvti_kvm_due(vp, wait == HVTLFS_TIME_NEVER ? wait : hvti_kvm_now() + wait);
}

/* Give the processor to whoever else wants it: perhaps the VP that holds the lock. */
static void spin_wait(void *context, uint32_t vp_index, uint32_t spins)
{
    static const struct timespec nothing = {0, 1};

    (void)context;
    (void)vp_index;
    (void)spins;
    (void)nanosleep(&nothing, NULL);
}

#define OURS_WHERE_ABSENT(member)                                                                  \
    if (ops->member == NULL) {                                                                     \
        ops->member = member;                                                                      \
    }

void hvti_kvm_callbacks(struct hvtlfs_kvm *kvm, struct hvtlfs_host_ops *ops)
{
    OURS_WHERE_ABSENT(gpa_read)
    OURS_WHERE_ABSENT(gpa_write)
    OURS_WHERE_ABSENT(gpa_probe)
    OURS_WHERE_ABSENT(gpa_compare_exchange)
    if (ops->lock == NULL) {
        ops->lock = lock;
        ops->unlock = unlock;
    }
    OURS_WHERE_ABSENT(kick)
    OURS_WHERE_ABSENT(host_time)
    OURS_WHERE_ABSENT(arm_deadline)
    OURS_WHERE_ABSENT(vp_runtime)
    OURS_WHERE_ABSENT(spin_wait)
    OURS_WHERE_ABSENT(switch_address_space)
    if (ops->tlb_flush == NULL) {
        OURS_WHERE_ABSENT(tlb_flush_queued)
    }
    if (kvm->config.overlays == HVTLFS_KVM_OVERLAYS_MAPPED && ops->overlay_set == NULL) {
        ops->overlay_set = overlay_set;
        ops->overlay_clear = overlay_clear;
    }
    if (kvm->config.apic == HVTLFS_KVM_APIC_KERNEL) {
        OURS_WHERE_ABSENT(request_interrupt)
        OURS_WHERE_ABSENT(apic_write)
        OURS_WHERE_ABSENT(apic_read)
    }
    if (kvm->tsc_offsets && ops->guest_tsc == NULL) {
        ops->guest_tsc = hvti_kvm_guest_tsc;
    }
}
