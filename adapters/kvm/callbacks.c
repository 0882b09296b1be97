/* SPDX-License-Identifier: MIT */
/* What the library asks of KVM. */
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#include <hvtlfs/stats.h>

#include <hvtlfs/time.h>

#include "adapter.h"

#define MSI_ADDRESS UINT64_C(0xFEE00000)

static bool gpa_read(void *context, uint64_t gpa, void *buffer, size_t size)
{
    const uint8_t *from = memory_at(context, gpa);

    if (from == NULL) {
        return false;
    }
    memcpy(buffer, from, size);
    return true;
}

static bool gpa_write(void *context, uint64_t gpa, const void *buffer, size_t size)
{
    uint8_t *to = memory_at(context, gpa);

    if (to == NULL) {
        return false;
    }
    memcpy(to, buffer, size);
    return true;
}

static bool gpa_compare_exchange(void *context, uint64_t gpa, uint32_t *expected, uint32_t desired,
                                 bool *done)
{
    uint32_t *word = (uint32_t *)(void *)memory_at(context, gpa);

    if (word == NULL) {
        return false;
    }
    *done = __atomic_compare_exchange_n(word, expected, desired, false, __ATOMIC_SEQ_CST,
                                        __ATOMIC_SEQ_CST);
    return true;
}

static enum hvtlfs_gpa_kind gpa_probe(void *context, uint64_t gpa)
{
    return memory_is_ram(context, gpa) ? HVTLFS_GPA_RAM : HVTLFS_GPA_NONE;
}

static bool overlay_set(void *context, const struct hvtlfs_overlay *overlay)
{
    return memory_overlay_set(context, overlay);
}

static void overlay_clear(void *context, const struct hvtlfs_overlay *overlay)
{
    memory_overlay_clear(context, overlay);
}

static void lock(void *context)
{
    struct adapter *adapter = context;

    (void)pthread_mutex_lock(&adapter->lock);
}

static void unlock(void *context)
{
    struct adapter *adapter = context;

    (void)pthread_mutex_unlock(&adapter->lock);
}

static void request_interrupt(void *context, uint32_t vp_index,
                              const struct hvtlfs_interrupt *interrupt)
{
    struct adapter *adapter = context;
    struct kvm_msi msi = {
        .address_lo = (uint32_t)(MSI_ADDRESS | (vp_index & 0xFF) << 12),
        .address_hi = vp_index & ~0xFFu,
        .data = interrupt->nmi ? 4u << 8 : interrupt->vector,
    };

    (void)ioctl(adapter->vm, KVM_SIGNAL_MSI, &msi);
}

static void kick(void *context, uint32_t vp_index)
{
    struct adapter *adapter = context;

    atomic_store(&adapter->vps[vp_index].kicked, true);
    gate_kick(&adapter->vps[vp_index]);
}

static void apic_write(void *context, uint32_t vp_index, enum hvtlfs_apic_register reg,
                       uint64_t value)
{
    struct adapter *adapter = context;

    adapter_apic_write(&adapter->vps[vp_index], reg, value);
}

static uint64_t apic_read(void *context, uint32_t vp_index, enum hvtlfs_apic_register reg)
{
    struct adapter *adapter = context;

    return adapter_apic_read(&adapter->vps[vp_index], reg);
}

/* The processor time of the VP's thread: this is asked for on that thread only. */
static uint64_t vp_runtime(void *context, uint32_t vp_index)
{
    struct timespec now;

    (void)context;
    (void)vp_index;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 10000000 + (uint64_t)now.tv_nsec / 100;
}

/* One counter, to have any: how many hypercalls the VP has made. */
static void stats_page(void *context, uint32_t vp_index, enum hvtlfs_overlay_kind kind, bool shown)
{
    struct adapter *adapter = context;
    struct adapter_vp *vp = &adapter->vps[vp_index];

    if (shown) {
        (void)hvtlfs_stats_set(vp->vp, kind, 0, tally_sum(&vp->tally.hypercalls));
    }
}

/* To be carried out by the VMM, before the guest goes on. */
static void system_reset(void *context, uint32_t vp_index)
{
    struct adapter *adapter = context;

    (void)vp_index;
    atomic_store(&adapter->reset, true);
}

/* The report says so; the guest goes on. */
static void crash(void *context, uint32_t vp_index, const struct hvtlfs_crash *told)
{
    struct adapter *adapter = context;

    (void)told;
    adapter->vps[vp_index].tally.crashes++;
}

static uint64_t host_time(void *context)
{
    struct timespec now;

    (void)context;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 10000000 + (uint64_t)now.tv_nsec / 100;
}

/* Reference time runs with host_time, from another start. */
static void arm_deadline(void *context, uint32_t vp_index, uint64_t deadline)
{
    struct adapter *adapter = context;
    struct adapter_vp *vp = &adapter->vps[vp_index];
    uint64_t now;

    if (deadline == HVTLFS_TIME_NEVER) {
        gate_deadline(vp, HVTLFS_TIME_NEVER);
        return;
    }
    now = hvtlfs_reference_time(vp->vp);
    gate_deadline(vp, deadline > now ? deadline - now : 0);
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

static bool debug_read(void *context, uint32_t vp_index, uint32_t number, uint64_t *value)
{
    const struct adapter *adapter = context;

    (void)vp_index;
    return debugger_read(&adapter->debugger, number, value);
}

static bool debug_write(void *context, uint32_t vp_index, uint32_t number, uint64_t value)
{
    struct adapter *adapter = context;

    (void)vp_index;
    return debugger_write(&adapter->debugger, number, value);
}

struct hvtlfs_host_ops adapter_callbacks(void)
{
    return (struct hvtlfs_host_ops){
        .size = sizeof(struct hvtlfs_host_ops),
        .gpa_read = gpa_read,
        .gpa_write = gpa_write,
        .gpa_probe = gpa_probe,
        .gpa_compare_exchange = gpa_compare_exchange,
        .overlay_set = overlay_set,
        .overlay_clear = overlay_clear,
        .lock = lock,
        .unlock = unlock,
        .request_interrupt = request_interrupt,
        .kick = kick,
        .host_time = host_time,
        .arm_deadline = arm_deadline,
        .spin_wait = spin_wait,
        .apic_write = apic_write,
        .apic_read = apic_read,
        .vp_runtime = vp_runtime,
        .crash = crash,
        .system_reset = system_reset,
        .stats_page = stats_page,
        .debug_read = debug_read,
        .debug_write = debug_write,
    };
}
