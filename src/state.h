/* SPDX-License-Identifier: MIT */
/*
 * The state of a partition and of a VP. Each device has a struct of its own, plain values without
 * pointers, and the verbs reset and (where time or other threads give it work) poll.
 */
#ifndef HVTI_STATE_H
#define HVTI_STATE_H

#include <hvtlfs/cpuid.h>
#include <hvtlfs/hypercall.h>
#include <hvtlfs/msr.h>
#include <hvtlfs/partition.h>
#include <hvtlfs/vpset.h>

#include "apic_ids.h"
#include "call.h"
#include "clock.h"
#include "counters.h"
#include "crash.h"
#include "deadline.h"
#include "feature_rows.h"
#include "host.h"
#include "overlay.h"
#include "reenlighten.h"
#include "requests.h"
#include "spinwait.h"
#include "stats.h"
#include "stimer.h"
#include "synic.h"
#include "tlb.h"
#include "tscpage.h"
#include "unhalted.h"
#include "util.h"
#include "vapic.h"

/* The numbers that are ours, whether there is an MSR or not (issued faults are ours too). */
#define HVTI_MSR_FIRST UINT32_C(0x40000000)
#define HVTI_MSR_RANGE 0x200u

/* Call codes below this are found without a search. */
#define HVTI_CALL_CODES 0x140u

#define HVTI_LEAVES 11u /* base + 0 to base + 10 */

/* Who the guest says it is, and where it wants the hypercall page (TLFS 2.6, 3.13). */
struct hvti_identity {
    uint64_t guest_os_id;
    uint64_t hypercall;
};

struct hvtlfs_vp {
    _Alignas(CACHE_LINE) struct hvtlfs_partition *partition;
    uint32_t index;   /* HV_X64_MSR_VP_INDEX */
    uint32_t slot;    /* position in the partition's array */
    uint32_t apic_id;

    struct hvti_counters counters;
    struct hvti_vp_clock clock;
    struct hvti_deadlines deadlines;
    struct hvti_requests requests;
    struct hvti_stats stats;
    struct hvti_stimer stimer[HV_SYNIC_STIMER_COUNT];
    struct hvti_synic synic;
    struct hvti_unhalted unhalted;
    struct hvti_vapic vapic;
};

struct hvtlfs_partition {
    /* Constant after init */
    struct hvti_host host;
    uint64_t features;   /* in force */
    uint64_t configured; /* as the host asked */
    uint32_t needs_met;  /* bits 1 << enum hvti_need */
    uint32_t policy;
    uint64_t gpa_limit;  /* first address beyond the guest's space */
    struct hvtlfs_cpuid_identity cpuid;
    struct hvtlfs_cpuid_regs leaves[HVTI_LEAVES];
    uint32_t max_leaf;   /* distance from the base */
    enum hvtlfs_trap trap;
    uint8_t trap_code[16];
    uint32_t trap_size;
    uint8_t msr_rows[HVTI_MSR_RANGE]; /* row number of each MSR that the features give, else 0 */
    uint8_t call_rows[HVTI_CALL_CODES]; /* row number of each code */
    struct hvtlfs_vp *vps;
    uint32_t vp_count;
    uint16_t slot_of[HVTLFS_MAX_VPS]; /* VP index to position + 1, 0 = no such VP */
    struct hvti_apic_ids apic_ids;
    struct hvtlfs_vp_set present; /* all VP indices */
    uint32_t call_reps;           /* budget of a rep call in elements, 0 = none */
    uint32_t call_time;           /* and in 100 ns */
    const struct hvtlfs_call_handler *host_calls;
    uint32_t host_call_count;

    /* Written by all, without the lock */
    struct hvti_messages messages;
    struct hvti_connections connections;

    /* Behind the lock */
    struct hvti_overlays overlays;
    struct hvti_identity identity;
    struct hvti_clock clock;
    struct hvti_tsc_page tsc_page;
    struct hvti_reenlighten reenlighten;
    struct hvti_crash crash;

    /* Shared by all VPs' threads, atomic */
    _Alignas(CACHE_LINE) struct hvti_spinwait spinwait;
    struct hvti_tlb tlb;
};

static inline bool hvti_has(const struct hvtlfs_partition *partition, enum hvtlfs_feature feature)
{
    return hvti_mask_has(partition->features, feature);
}

static inline struct hvtlfs_vp *hvti_vp_by_index(const struct hvtlfs_partition *partition,
                                                 uint32_t vp_index)
{
    uint32_t slot = vp_index < HVTLFS_MAX_VPS ? partition->slot_of[vp_index] : 0;

    return slot ? &partition->vps[slot - 1] : NULL;
}

/* The present VPs of a ProcessorMask. The partition's memory began as zeros, so bank 0 is always valid. */
static inline uint64_t hvti_present_of_mask(const struct hvtlfs_partition *partition, uint64_t mask)
{
    return mask & partition->present.bank[0];
}

static inline void hvti_lock(struct hvtlfs_partition *partition)
{
    hvti_host_lock(&partition->host);
}

static inline void hvti_unlock(struct hvtlfs_partition *partition)
{
    hvti_host_unlock(&partition->host);
}

/* Partition-wide registers are written behind the lock and read without it. */
static inline uint64_t hvti_load(const uint64_t *shared)
{
    return load_shared(shared);
}

static inline void hvti_store(uint64_t *shared, uint64_t value)
{
    store_shared(shared, value);
}

/* ---- Handlers: one prototype for each row that names one ---- */

#define READ(handler)                                                                              \
    enum hvtlfs_msr_result hvti_##handler(struct hvtlfs_vp *vp, uint32_t number, uint64_t *value);
#define WRITE(handler)                                                                             \
    enum hvtlfs_msr_result hvti_##handler(struct hvtlfs_vp *vp, uint32_t number, uint64_t value);
#define NO_READ
#define NO_WRITE
#define MSR(name, feature, read, write, clause) read write
#define MSR_ABSENT(name, clause)
#include "msrs.def"
#undef READ
#undef WRITE
#undef NO_READ
#undef NO_WRITE
#undef MSR
#undef MSR_ABSENT

/* A hypercall handler returns the HV_STATUS; outputs count only with HV_STATUS_SUCCESS. */
#define CALL(name, gate, input, most, reps, in, out, output, handler, clause)                      \
    uint16_t hvti_##handler(struct hvti_call *call);
#define ABSENT(name, gate, status, clause)
#include "hypercalls.def"
#undef CALL
#undef ABSENT

/* The number of the row of each code (hypercall.c). */
void hvti_call_rows(uint8_t table[HVTI_CALL_CODES]);

/* Whether the library implements the call (hypercall.c). */
bool hvti_call_is_own(uint16_t code);

/* The number of the row of each MSR in our range that `features` give, 0 for others (msr.c). */
void hvti_msr_rows(uint64_t features, uint8_t table[HVTI_MSR_RANGE]);

void hvti_identity_reset(struct hvtlfs_partition *partition);

#endif
