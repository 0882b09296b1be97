/* SPDX-License-Identifier: MIT */
/*
 * The only caller of host callbacks. Each wrapper knows whether its callback may be
 * absent and what happens then, so that no device has to.
 */
#include "host.h"

#include <hvtlfs/vpset.h>

void hvti_host_trace(const struct hvti_host *host, const struct hvtlfs_event *event)
{
    host->ops.trace(host->context, event);
}

UNUSUAL static void tell_watcher(const struct hvti_host *host, enum hvtlfs_event_kind kind,
                                 uint32_t vp_index, uint32_t code, uint64_t value, uint32_t result)
{
    const struct hvtlfs_event event = {kind, vp_index, code, result, value, 0};

    hvti_host_trace(host, &event);
}

static inline void tell(const struct hvti_host *host, enum hvtlfs_event_kind kind,
                        uint32_t vp_index, uint32_t code, uint64_t value, uint32_t result)
{
    if (hvti_host_is_watched(host)) {
        tell_watcher(host, kind, vp_index, code, value, result);
    }
}

void hvti_host_copy(struct hvti_host *host, const struct hvtlfs_host_ops *ops, void *context)
{
    size_t known = ops->size < sizeof(host->ops) ? ops->size : sizeof(host->ops);

    known -= known % sizeof(void *); /* no half of a callback */
    memset(host, 0, sizeof(*host));
    memcpy(&host->ops, ops, known);
    host->ops.size = sizeof(host->ops);
    host->context = context;
}

const char *hvti_host_missing_required(const struct hvti_host *host)
{
    if (!host->ops.gpa_read) {
        return "gpa_read";
    }
    if (!host->ops.gpa_write) {
        return "gpa_write";
    }
    return host->ops.gpa_probe || hvti_host_maps_overlays(host) ? NULL : "gpa_probe";
}

uint32_t hvti_host_needs_met(const struct hvti_host *host)
{
    const struct hvtlfs_host_ops *ops = &host->ops;
    uint32_t met = 0;

    met |= ops->guest_tsc ? BIT32(HVTI_NEED_TSC) : 0;
    met |= ops->tsc_emulation ? BIT32(HVTI_NEED_TSC_EMULATION) : 0;
    met |= ops->host_time ? BIT32(HVTI_NEED_CLOCK) : 0;
    met |= ops->apic_read && ops->apic_write ? BIT32(HVTI_NEED_APIC) : 0;
    met |= ops->request_interrupt ? BIT32(HVTI_NEED_INTERRUPT) : 0;
    met |= ops->kick ? BIT32(HVTI_NEED_KICK) : 0;
    met |= hvti_host_maps_overlays(host) || ops->gpa_compare_exchange
               ? BIT32(HVTI_NEED_SHARED_PAGES)
               : 0;
    met |= ops->arm_deadline ? BIT32(HVTI_NEED_DEADLINE) : 0;
    met |= ops->vp_runtime ? BIT32(HVTI_NEED_RUNTIME) : 0;
    met |= ops->spin_wait ? BIT32(HVTI_NEED_SPIN_WAIT) : 0;
    met |= ops->system_reset ? BIT32(HVTI_NEED_RESET) : 0;
    met |= ops->crash ? BIT32(HVTI_NEED_CRASH) : 0;
    met |= ops->npiep ? BIT32(HVTI_NEED_NPIEP) : 0;
    met |= ops->stats_page ? BIT32(HVTI_NEED_STATS) : 0;
    met |= ops->debug_read && ops->debug_write ? BIT32(HVTI_NEED_DEBUG) : 0;
    met |= ops->tlb_flush || ops->tlb_flush_queued ? BIT32(HVTI_NEED_TLB_FLUSH) : 0;
    met |= ops->switch_address_space ? BIT32(HVTI_NEED_ADDRESS_SPACE) : 0;
    met |= ops->flush_guest_physical ? BIT32(HVTI_NEED_GPA_FLUSH) : 0;
    met |= ops->start_vp ? BIT32(HVTI_NEED_START_VP) : 0;
    met |= ops->retarget_interrupt ? BIT32(HVTI_NEED_RETARGET) : 0;
    return met;
}

const char *hvti_need_reason(enum hvti_need need)
{
    static const char *const reasons[HVTI_NEED_COUNT] = {
        /* NOLINTNEXTLINE(bugprone-suspicious-missing-comma): a row begins with its index */
        [HVTI_NEED_CLOCK] = "the host gives no clock: host_time, or guest_tsc with an invariant "
                            "TSC of a known rate above 10 MHz",
        [HVTI_NEED_TSC] = "the host gives no guest_tsc",
        [HVTI_NEED_INVARIANT_TSC] = "invariant_tsc is not configured",
        [HVTI_NEED_TSC_EMULATION] = "the host gives no tsc_emulation, or tsc_hz is not configured",
        [HVTI_NEED_FREQUENCIES] = "tsc_hz or apic_hz is not configured",
        [HVTI_NEED_APIC] = "the host gives no apic_read and apic_write",
        [HVTI_NEED_INTERRUPT] = "the host gives no request_interrupt",
        [HVTI_NEED_KICK] = "the host gives no kick",
        [HVTI_NEED_SHARED_PAGES] = "the host gives neither overlay_set and overlay_clear nor "
                                   "gpa_compare_exchange",
        [HVTI_NEED_DEADLINE] = "the host gives no arm_deadline",
        [HVTI_NEED_RUNTIME] = "the host gives no vp_runtime",
        [HVTI_NEED_SPIN_WAIT] = "the host gives no spin_wait",
        [HVTI_NEED_RESET] = "the host gives no system_reset",
        [HVTI_NEED_CRASH] = "the host gives no crash",
        [HVTI_NEED_NPIEP] = "the host gives no npiep",
        [HVTI_NEED_STATS] = "the host gives no stats_page",
        [HVTI_NEED_DEBUG] = "the host gives no debug_read and debug_write",
        [HVTI_NEED_TLB_FLUSH] = "the host gives neither tlb_flush nor tlb_flush_queued",
        [HVTI_NEED_ADDRESS_SPACE] = "the host gives no switch_address_space",
        [HVTI_NEED_GPA_FLUSH] = "the host gives no flush_guest_physical",
        [HVTI_NEED_START_VP] = "the host gives no start_vp",
        [HVTI_NEED_RETARGET] = "the host gives no retarget_interrupt",
        [HVTI_NEED_IMPLEMENTATION] = "this version of the library does not implement it",
    };
    return reasons[need];
}

bool hvti_host_gpa_read(const struct hvti_host *host, uint64_t gpa, void *buffer, size_t size)
{
    return host->ops.gpa_read(host->context, gpa, buffer, size);
}

bool hvti_host_gpa_write(const struct hvti_host *host, uint64_t gpa, const void *buffer,
                         size_t size)
{
    return host->ops.gpa_write(host->context, gpa, buffer, size);
}

bool hvti_host_gpa_is_ram(const struct hvti_host *host, uint64_t gpa)
{
    return host->ops.gpa_probe(host->context, gpa) == HVTLFS_GPA_RAM;
}

bool hvti_host_gpa_cas(const struct hvti_host *host, uint64_t gpa, uint32_t *expected,
                       uint32_t desired, bool *done)
{
    return host->ops.gpa_compare_exchange &&
           host->ops.gpa_compare_exchange(host->context, gpa, expected, desired, done);
}

bool hvti_host_maps_overlays(const struct hvti_host *host)
{
    return host->ops.overlay_set && host->ops.overlay_clear;
}

bool hvti_host_overlay_set(const struct hvti_host *host, const struct hvtlfs_overlay *overlay)
{
    bool shown = host->ops.overlay_set(host->context, overlay);

    tell(host, HVTLFS_EVENT_OVERLAY_SET, overlay->vp_index, overlay->kind, overlay->gpa, shown);
    return shown;
}

void hvti_host_overlay_clear(const struct hvti_host *host, const struct hvtlfs_overlay *overlay)
{
    tell(host, HVTLFS_EVENT_OVERLAY_CLEAR, overlay->vp_index, overlay->kind, overlay->gpa, 0);
    host->ops.overlay_clear(host->context, overlay);
}

void hvti_host_lock(const struct hvti_host *host)
{
    if (host->ops.lock) {
        host->ops.lock(host->context);
    }
}

void hvti_host_unlock(const struct hvti_host *host)
{
    if (host->ops.unlock) {
        host->ops.unlock(host->context);
    }
}

void hvti_host_interrupt(const struct hvti_host *host, uint32_t vp_index, uint32_t vector,
                         bool auto_eoi)
{
    const struct hvtlfs_interrupt interrupt = {.vector = vector, .auto_eoi = auto_eoi};

    tell(host, HVTLFS_EVENT_INTERRUPT, vp_index, vector, auto_eoi, 0);
    host->ops.request_interrupt(host->context, vp_index, &interrupt);
}

void hvti_host_nmi(const struct hvti_host *host, uint32_t vp_index)
{
    const struct hvtlfs_interrupt interrupt = {.vector = 2, .nmi = true};

    tell(host, HVTLFS_EVENT_INTERRUPT, vp_index, 2, 0, 1);
    host->ops.request_interrupt(host->context, vp_index, &interrupt);
}

void hvti_host_kick(const struct hvti_host *host, uint32_t vp_index)
{
    tell(host, HVTLFS_EVENT_KICK, vp_index, 0, 0, 0);
    host->ops.kick(host->context, vp_index);
}

UNUSUAL static void watched_apic_write(const struct hvti_host *host, uint32_t vp_index,
                                       enum hvtlfs_apic_register reg, uint64_t value)
{
    tell(host, HVTLFS_EVENT_APIC_WRITE, vp_index, reg, value, 0);
    host->ops.apic_write(host->context, vp_index, reg, value);
}

void hvti_host_apic_write(const struct hvti_host *host, uint32_t vp_index,
                          enum hvtlfs_apic_register reg, uint64_t value)
{
    if (hvti_host_is_watched(host)) { /* one of two last things: this way keeps no registers */
        watched_apic_write(host, vp_index, reg, value);
        return;
    }
    host->ops.apic_write(host->context, vp_index, reg, value);
}

uint64_t hvti_host_apic_read(const struct hvti_host *host, uint32_t vp_index,
                             enum hvtlfs_apic_register reg)
{
    return host->ops.apic_read(host->context, vp_index, reg);
}

void hvti_host_tsc_emulation(const struct hvti_host *host, bool in_force)
{
    tell(host, HVTLFS_EVENT_TSC_EMULATION, HVTLFS_NO_VP, in_force, 0, 0);
    host->ops.tsc_emulation(host->context, in_force);
}

void hvti_host_arm_deadline(const struct hvti_host *host, uint32_t vp_index, uint64_t deadline)
{
    tell(host, HVTLFS_EVENT_DEADLINE, vp_index, 0, deadline, 0);
    host->ops.arm_deadline(host->context, vp_index, deadline);
}

uint64_t hvti_host_vp_runtime(const struct hvti_host *host, uint32_t vp_index)
{
    return host->ops.vp_runtime(host->context, vp_index);
}

UNUSUAL static void watched_spin_wait(const struct hvti_host *host, uint32_t vp_index,
                                      uint32_t spins)
{
    tell(host, HVTLFS_EVENT_SPIN_WAIT, vp_index, spins, 0, 0);
    host->ops.spin_wait(host->context, vp_index, spins);
}

void hvti_host_spin_wait(const struct hvti_host *host, uint32_t vp_index, uint32_t spins)
{
    if (hvti_host_is_watched(host)) {
        watched_spin_wait(host, vp_index, spins);
        return;
    }
    host->ops.spin_wait(host->context, vp_index, spins);
}

void hvti_host_system_reset(const struct hvti_host *host, uint32_t vp_index)
{
    tell(host, HVTLFS_EVENT_RESET, vp_index, 0, 0, 0);
    host->ops.system_reset(host->context, vp_index);
}

void hvti_host_crash(const struct hvti_host *host, uint32_t vp_index,
                     const struct hvtlfs_crash *crash)
{
    tell(host, HVTLFS_EVENT_CRASH, vp_index, 0, crash->control, 0);
    host->ops.crash(host->context, vp_index, crash);
}

void hvti_host_npiep(const struct hvti_host *host, uint32_t vp_index, uint32_t prevent)
{
    host->ops.npiep(host->context, vp_index, prevent);
}

void hvti_host_stats_page(const struct hvti_host *host, uint32_t vp_index,
                          enum hvtlfs_overlay_kind kind, bool shown)
{
    host->ops.stats_page(host->context, vp_index, kind, shown);
}

bool hvti_host_debug_read(const struct hvti_host *host, uint32_t vp_index, uint32_t number,
                          uint64_t *value)
{
    return host->ops.debug_read(host->context, vp_index, number, value);
}

bool hvti_host_debug_write(const struct hvti_host *host, uint32_t vp_index, uint32_t number,
                           uint64_t value)
{
    return host->ops.debug_write(host->context, vp_index, number, value);
}

void hvti_host_tlb_flush(const struct hvti_host *host, uint32_t vp_index,
                         const struct hvtlfs_vp_set *targets, uint32_t count,
                         const struct hvtlfs_flush *flush)
{
    tell(host, HVTLFS_EVENT_FLUSH, vp_index, count, flush->range_count, 0);
    host->ops.tlb_flush(host->context, vp_index, targets, flush);
}

/* One request for each VP: this loop is the whole cost of an IPI to a host without send_ipi. */
static void interrupt_each(const struct hvti_host *host, uint32_t vector,
                           const struct hvtlfs_vp_set *targets)
{
    const struct hvtlfs_interrupt interrupt = {.vector = vector};
    void (*request)(void *, uint32_t, const struct hvtlfs_interrupt *) =
        host->ops.request_interrupt;
    void *context = host->context;
    uint64_t banks, bits;

    for (banks = targets->banks; banks; banks &= banks - 1) {
        uint32_t bank = lowest_bit(banks);
        uint32_t first = bank * HVTLFS_VPS_PER_BANK;

        for (bits = targets->bank[bank]; bits; bits &= bits - 1) {
            request(context, first + lowest_bit(bits), &interrupt);
        }
    }
}

void hvti_host_send_ipi(const struct hvti_host *host, uint32_t vp_index, uint32_t vector,
                        const struct hvtlfs_vp_set *targets)
{
    if (hvti_host_is_watched(host)) {
        tell(host, HVTLFS_EVENT_IPI, vp_index, vector, hvtlfs_vp_set_count(targets), 0);
    }
    if (host->ops.send_ipi) {
        host->ops.send_ipi(host->context, vp_index, vector, targets);
    } else {
        interrupt_each(host, vector, targets);
    }
}

bool hvti_host_has_time(const struct hvti_host *host)
{
    return host->ops.host_time;
}

bool hvti_host_queues_flushes(const struct hvti_host *host)
{
    return host->ops.tlb_flush_queued;
}

void hvti_host_tlb_flush_queued(const struct hvti_host *host, uint32_t vp_index,
                                const struct hvtlfs_vp_set *targets)
{
    host->ops.tlb_flush_queued(host->context, vp_index, targets);
}

enum hvtlfs_answer hvti_host_switch_address_space(const struct hvti_host *host, uint32_t vp_index,
                                                  uint64_t cr3)
{
    return host->ops.switch_address_space(host->context, vp_index, cr3);
}

enum hvtlfs_answer hvti_host_flush_gpa(const struct hvti_host *host, uint32_t vp_index,
                                       const struct hvtlfs_gpa_flush *flush)
{
    return host->ops.flush_guest_physical(host->context, vp_index, flush);
}

/* The architectural registers are the host's; one that keeps them to itself denies them all. */
enum hvtlfs_answer hvti_host_get_register(const struct hvti_host *host, uint32_t vp_index,
                                          uint32_t name, struct hvtlfs_register *value)
{
    return host->ops.get_register ? host->ops.get_register(host->context, vp_index, name, value)
                                  : HVTLFS_ANSWER_DENIED;
}

enum hvtlfs_answer hvti_host_set_register(const struct hvti_host *host, uint32_t vp_index,
                                          uint32_t name, const struct hvtlfs_register *value)
{
    return host->ops.set_register ? host->ops.set_register(host->context, vp_index, name, value)
                                  : HVTLFS_ANSWER_DENIED;
}

enum hvtlfs_answer hvti_host_start_vp(const struct hvti_host *host, uint32_t vp_index,
                                      uint32_t target, const struct hvtlfs_vp_context *start)
{
    return host->ops.start_vp(host->context, vp_index, target, start);
}

enum hvtlfs_answer hvti_host_retarget(const struct hvti_host *host, uint32_t vp_index,
                                      const struct hvtlfs_retarget *retarget,
                                      const struct hvtlfs_vp_set *targets)
{
    return host->ops.retarget_interrupt(host->context, vp_index, retarget, targets);
}

bool hvti_host_has_boot_zeroed_memory(const struct hvti_host *host)
{
    return host->ops.boot_zeroed_memory;
}

bool hvti_host_boot_zeroed_memory(const struct hvti_host *host, uint32_t n, uint64_t *first_page,
                                  uint64_t *page_count)
{
    return host->ops.boot_zeroed_memory(host->context, n, first_page, page_count);
}
