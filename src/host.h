/* SPDX-License-Identifier: MIT */
/* The seam: the only way from the library to the host's callbacks. */
#ifndef HVTI_HOST_H
#define HVTI_HOST_H

#include <hvtlfs/host.h>
#include <hvtlfs/trace.h>

#include "util.h"

/* Our copy of what the host gave; embedded in the partition. */
struct hvti_host {
    struct hvtlfs_host_ops ops;
    void *context;
};

/*
 * The wrappers of host.c know which callbacks may be absent and tell whoever watches. The two that need
 * neither and are on the hottest ways are here.
 */

/* Tell whoever watches. */
void hvti_host_trace(const struct hvti_host *host, const struct hvtlfs_event *event);

static inline bool hvti_host_is_watched(const struct hvti_host *host)
{
    return __builtin_expect(host->ops.trace != NULL, 0);
}

/* What a feature may need of the host. A need is met by one callback or by one of several. */
enum hvti_need {
    HVTI_NEED_CLOCK,         /* an invariant TSC that can be read, or a host clock */
    HVTI_NEED_TSC,           /* guest_tsc */
    HVTI_NEED_INVARIANT_TSC, /* invariant_tsc configured */
    HVTI_NEED_TSC_EMULATION, /* tsc_emulation, and tsc_hz configured */
    HVTI_NEED_FREQUENCIES,   /* both rates configured */
    HVTI_NEED_APIC,          /* apic_read and apic_write */
    HVTI_NEED_INTERRUPT,     /* request_interrupt */
    HVTI_NEED_KICK,          /* kick */
    HVTI_NEED_SHARED_PAGES,  /* overlay_set and overlay_clear, or gpa_compare_exchange */
    HVTI_NEED_DEADLINE,      /* arm_deadline */
    HVTI_NEED_RUNTIME,       /* vp_runtime */
    HVTI_NEED_SPIN_WAIT,     /* spin_wait */
    HVTI_NEED_RESET,         /* system_reset */
    HVTI_NEED_CRASH,         /* crash */
    HVTI_NEED_NPIEP,         /* npiep */
    HVTI_NEED_STATS,         /* stats_page */
    HVTI_NEED_DEBUG,         /* debug_read and debug_write */
    HVTI_NEED_TLB_FLUSH,     /* tlb_flush or tlb_flush_queued */
    HVTI_NEED_ADDRESS_SPACE, /* switch_address_space */
    HVTI_NEED_GPA_FLUSH,     /* flush_guest_physical */
    HVTI_NEED_START_VP,      /* start_vp */
    HVTI_NEED_RETARGET,      /* retarget_interrupt */
    HVTI_NEED_IMPLEMENTATION, /* never met: announced by nobody until the library has it */
    HVTI_NEED_COUNT
};

/* Copy the callbacks; a member the caller's version of the struct does not have is NULL. */
void hvti_host_copy(struct hvti_host *host, const struct hvtlfs_host_ops *ops, void *context);

/* The name of a required callback that is missing, or NULL. */
const char *hvti_host_missing_required(const struct hvti_host *host);

/* Bits 1 << enum hvti_need that the callbacks meet. The clock and the rates are the caller's to add. */
uint32_t hvti_host_needs_met(const struct hvti_host *host);

/* A phrase for a need that is not met. */
const char *hvti_need_reason(enum hvti_need need);

bool hvti_host_gpa_read(const struct hvti_host *host, uint64_t gpa, void *buffer, size_t size);
bool hvti_host_gpa_write(const struct hvti_host *host, uint64_t gpa, const void *buffer,
                         size_t size);
bool hvti_host_gpa_is_ram(const struct hvti_host *host, uint64_t gpa);
bool hvti_host_gpa_cas(const struct hvti_host *host, uint64_t gpa, uint32_t *expected,
                       uint32_t desired, bool *done);

bool hvti_host_maps_overlays(const struct hvti_host *host);
bool hvti_host_overlay_set(const struct hvti_host *host, const struct hvtlfs_overlay *overlay);
void hvti_host_overlay_clear(const struct hvti_host *host, const struct hvtlfs_overlay *overlay);

void hvti_host_lock(const struct hvti_host *host);
void hvti_host_unlock(const struct hvti_host *host);

void hvti_host_interrupt(const struct hvti_host *host, uint32_t vp_index, uint32_t vector,
                         bool auto_eoi);
void hvti_host_nmi(const struct hvti_host *host, uint32_t vp_index);
void hvti_host_kick(const struct hvti_host *host, uint32_t vp_index);
void hvti_host_apic_write(const struct hvti_host *host, uint32_t vp_index,
                          enum hvtlfs_apic_register reg, uint64_t value);
uint64_t hvti_host_apic_read(const struct hvti_host *host, uint32_t vp_index,
                             enum hvtlfs_apic_register reg);

static inline uint64_t hvti_host_guest_tsc(const struct hvti_host *host, uint32_t vp_index)
{
    return host->ops.guest_tsc(host->context, vp_index);
}

static inline uint64_t hvti_host_time(const struct hvti_host *host)
{
    return host->ops.host_time(host->context);
}

void hvti_host_tsc_emulation(const struct hvti_host *host, bool in_force);
void hvti_host_arm_deadline(const struct hvti_host *host, uint32_t vp_index, uint64_t deadline);
uint64_t hvti_host_vp_runtime(const struct hvti_host *host, uint32_t vp_index);

void hvti_host_spin_wait(const struct hvti_host *host, uint32_t vp_index, uint32_t spins);
void hvti_host_system_reset(const struct hvti_host *host, uint32_t vp_index);
void hvti_host_crash(const struct hvti_host *host, uint32_t vp_index,
                     const struct hvtlfs_crash *crash);
void hvti_host_npiep(const struct hvti_host *host, uint32_t vp_index, uint32_t prevent);
void hvti_host_stats_page(const struct hvti_host *host, uint32_t vp_index,
                          enum hvtlfs_overlay_kind kind, bool shown);
bool hvti_host_debug_read(const struct hvti_host *host, uint32_t vp_index, uint32_t number,
                          uint64_t *value);
bool hvti_host_debug_write(const struct hvti_host *host, uint32_t vp_index, uint32_t number,
                           uint64_t value);

/* To at least one target. */
void hvti_host_tlb_flush(const struct hvti_host *host, uint32_t vp_index,
                         const struct hvtlfs_vp_set *targets, uint32_t count,
                         const struct hvtlfs_flush *flush);
void hvti_host_send_ipi(const struct hvti_host *host, uint32_t vp_index, uint32_t vector,
                        const struct hvtlfs_vp_set *targets);

bool hvti_host_has_time(const struct hvti_host *host);
bool hvti_host_queues_flushes(const struct hvti_host *host);
void hvti_host_tlb_flush_queued(const struct hvti_host *host, uint32_t vp_index,
                                const struct hvtlfs_vp_set *targets);
enum hvtlfs_answer hvti_host_switch_address_space(const struct hvti_host *host, uint32_t vp_index,
                                                  uint64_t cr3);
enum hvtlfs_answer hvti_host_flush_gpa(const struct hvti_host *host, uint32_t vp_index,
                                       const struct hvtlfs_gpa_flush *flush);
enum hvtlfs_answer hvti_host_get_register(const struct hvti_host *host, uint32_t vp_index,
                                          uint32_t name, struct hvtlfs_register *value);
enum hvtlfs_answer hvti_host_set_register(const struct hvti_host *host, uint32_t vp_index,
                                          uint32_t name, const struct hvtlfs_register *value);
enum hvtlfs_answer hvti_host_start_vp(const struct hvti_host *host, uint32_t vp_index,
                                      uint32_t target, const struct hvtlfs_vp_context *start);
enum hvtlfs_answer hvti_host_retarget(const struct hvti_host *host, uint32_t vp_index,
                                      const struct hvtlfs_retarget *retarget,
                                      const struct hvtlfs_vp_set *targets);
bool hvti_host_has_boot_zeroed_memory(const struct hvti_host *host);
bool hvti_host_boot_zeroed_memory(const struct hvti_host *host, uint32_t n, uint64_t *first_page,
                                  uint64_t *page_count);

#endif
