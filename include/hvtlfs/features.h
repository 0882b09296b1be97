/* SPDX-License-Identifier: MIT */
/**
 * @file features.h
 * The enlightenments a partition may offer, their names and what they need.
 *
 * A feature is one row of `src/features.def`. From that row follow the CPUID
 * bits the guest sees, the gate in front of its MSRs and hypercalls, the
 * dependency errors and the documentation. A set of features is plain data;
 * nothing here needs a partition.
 */
#ifndef HVTLFS_FEATURES_H
#define HVTLFS_FEATURES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hvtlfs/export.h>
#include <hvtlfs/status.h>

HVTLFS_BEGIN_DECLS

/** One enlightenment. The names in brackets are those of feature lists; see hvtlfs_features_parse(). */
enum hvtlfs_feature {
    HVTLFS_FEATURE_HYPERCALL,             /**< [hypercall] GUEST_OS_ID, HYPERCALL and the page. */
    HVTLFS_FEATURE_VP_INDEX,              /**< [vpindex] VP_INDEX. */
    HVTLFS_FEATURE_RELAXED,               /**< [relaxed] No clock watchdogs in the guest. */
    HVTLFS_FEATURE_VAPIC,                 /**< [vapic] EOI, ICR, TPR and the VP assist page. */
    HVTLFS_FEATURE_SPINLOCKS,             /**< [spinlocks=N] HvCallNotifyLongSpinWait after N tries. */
    HVTLFS_FEATURE_TIME_REF_COUNT,        /**< [time-ref-count] The reference counter MSR. */
    HVTLFS_FEATURE_REFERENCE_TSC,         /**< [reference-tsc] The reference TSC page. */
    HVTLFS_FEATURE_FREQUENCIES,           /**< [frequencies] TSC and APIC frequency MSRs. */
    HVTLFS_FEATURE_TSC_INVARIANT,         /**< [tsc-invariant] TSC_INVARIANT_CONTROL. */
    HVTLFS_FEATURE_REENLIGHTENMENT,       /**< [reenlightenment] Reenlightenment and TSC emulation MSRs. */
    HVTLFS_FEATURE_RUNTIME,               /**< [runtime] VP_RUNTIME. */
    HVTLFS_FEATURE_RESET,                 /**< [reset] The RESET MSR. */
    HVTLFS_FEATURE_RESET_RECOMMENDED,     /**< [reset-recommended] The hint to reset through it. */
    HVTLFS_FEATURE_CRASH,                 /**< [crash] The crash MSRs. */
    HVTLFS_FEATURE_GUEST_IDLE,            /**< [guest-idle] The GUEST_IDLE MSR. */
    HVTLFS_FEATURE_STATS,                 /**< [stats] The statistics page MSRs. */
    HVTLFS_FEATURE_NPIEP,                 /**< [npiep] Non-privileged instruction execution prevention. */
    HVTLFS_FEATURE_DEBUG,                 /**< [debug] The synthetic debug MSRs, handed to the host. */
    HVTLFS_FEATURE_SYNIC,                 /**< [synic] Synthetic interrupt controller. */
    HVTLFS_FEATURE_SINT_POLLING,          /**< [sint-polling] The polling bit of SINTs. */
    HVTLFS_FEATURE_STIMER,                /**< [stimer] Synthetic timers. */
    HVTLFS_FEATURE_STIMER_DIRECT,         /**< [stimer-direct] Timers that assert a vector directly. */
    HVTLFS_FEATURE_UNHALTED_TIMER,        /**< [unhalted-timer] The time-unhalted timer. */
    HVTLFS_FEATURE_POST_MESSAGES,         /**< [post-messages] HvCallPostMessage. */
    HVTLFS_FEATURE_SIGNAL_EVENTS,         /**< [signal-events] HvCallSignalEvent. */
    HVTLFS_FEATURE_TLBFLUSH,              /**< [tlbflush] The flush calls and the hint to use them. */
    HVTLFS_FEATURE_TLBFLUSH_LOCAL,        /**< [tlbflush-local] The hint to flush locally by hypercall. */
    HVTLFS_FEATURE_TLBFLUSH_EXT,          /**< [tlbflush-ext] Extended GVA ranges in list flushes. */
    HVTLFS_FEATURE_ADDRESS_SPACE_SWITCH,  /**< [address-space-switch] HvCallSwitchVirtualAddressSpace. */
    HVTLFS_FEATURE_IPI,                   /**< [ipi] The synthetic cluster IPI calls. */
    HVTLFS_FEATURE_EX_PROCESSOR_MASKS,    /**< [ex-processor-masks] The Ex forms with sparse VP sets. */
    HVTLFS_FEATURE_XMM_INPUT,             /**< [xmm-input] Fast hypercall input in XMM registers. */
    HVTLFS_FEATURE_XMM_OUTPUT,            /**< [xmm-output] Fast hypercall output in XMM registers. */
    HVTLFS_FEATURE_HYPERCALL_LOCK,        /**< [hypercall-lock] The Locked bit of the HYPERCALL MSR. */
    HVTLFS_FEATURE_VP_REGISTERS,          /**< [vp-registers] HvCallGetVpRegisters, HvCallSetVpRegisters. */
    HVTLFS_FEATURE_START_VP,              /**< [start-vp] HvCallStartVirtualProcessor. */
    HVTLFS_FEATURE_EXTENDED_HYPERCALLS,   /**< [extended-hypercalls] Codes from 0x8001 on. */
    HVTLFS_FEATURE_DEPRECATE_AUTO_EOI,    /**< [avic] The hint not to use auto-EOI. */
    HVTLFS_FEATURE_X2APIC_MSRS,           /**< [x2apic-msrs] The hint to use the x2APIC MSRs. */
    HVTLFS_FEATURE_SYNCED_TIMELINE,       /**< [synced-timeline] The QPC bias hint. */
    HVTLFS_FEATURE_DIRECT_LOCAL_FLUSH,    /**< [direct-local-flush] The CR4.PGE flush hint. */
    HVTLFS_FEATURE_NO_CORE_SHARING,       /**< [no-nonarch-coresharing] SMT siblings are as reported. */
    HVTLFS_FEATURE_CPU_HOTPLUG,           /**< [cpu-hotplug] Dynamic partitioning of processors. */
    HVTLFS_FEATURE_NO_VP_LIMIT,           /**< [no-vp-limit] Leaf 5 EAX = -1. */
    HVTLFS_FEATURE_NESTED_FLUSH,          /**< [nested-flush] Guest physical flush calls of a nested host. */
    HVTLFS_FEATURE_DEVICE_INTERRUPTS,     /**< [device-interrupts] HvCallRetargetDeviceInterrupt. */

    HVTLFS_FEATURE_COUNT /**< Number of features; as a value: none. */
};

/** A set of features. All bits zero is the empty set. */
struct hvtlfs_features {
    uint64_t word[2]; /**< Bit f of word[f / 64] stands for feature f. */
};

/** The value of [spinlocks] that means "never notify" (TLFS 2.4.5). */
#define HVTLFS_SPINLOCKS_NEVER UINT32_C(0xFFFFFFFF)

/** @return whether @p feature is in @p set. Pure. */
HVTLFS_API bool hvtlfs_features_has(const struct hvtlfs_features *set, enum hvtlfs_feature feature);

/** Put @p feature into @p set. A value that is no feature changes nothing. */
HVTLFS_API void hvtlfs_features_add(struct hvtlfs_features *set, enum hvtlfs_feature feature);

/** Take @p feature out of @p set. A value that is no feature changes nothing. */
HVTLFS_API void hvtlfs_features_remove(struct hvtlfs_features *set, enum hvtlfs_feature feature);

/**
 * The canonical name of a feature, without the `hv-` prefix.
 *
 * @return a static string such as "vapic"; NULL when @p feature is no feature
 */
HVTLFS_API const char *hvtlfs_feature_name(enum hvtlfs_feature feature);

/** What a feature gives the guest, in one English phrase; NULL when @p feature is no feature. */
HVTLFS_API const char *hvtlfs_feature_summary(enum hvtlfs_feature feature);

/** Where the TLFS defines a feature; NULL when @p feature is no feature. Pure. */
HVTLFS_API const char *hvtlfs_feature_clause(enum hvtlfs_feature feature);

/** The features without which a feature is an error; empty when @p feature is no feature. Pure. */
HVTLFS_API struct hvtlfs_features hvtlfs_feature_needs(enum hvtlfs_feature feature);

/** A bit of a hypervisor leaf. */
struct hvtlfs_cpuid_bit {
    uint32_t leaf; /**< EAX of the instruction, for the base 0x40000000. */
    uint32_t reg;  /**< 0 EAX, 1 EBX, 2 ECX, 3 EDX. */
    uint32_t bit;  /**< 0 to 31. */
};

/**
 * The CPUID bits that a feature shows.
 *
 * @param feature the feature
 * @param i       0, 1, 2, ...
 * @param bit     filled on success
 * @return false beyond the last; some features show a value and no bit. Pure.
 */
HVTLFS_API bool hvtlfs_feature_cpuid_bit(enum hvtlfs_feature feature, size_t i,
                                         struct hvtlfs_cpuid_bit *bit);

/**
 * What keeps a feature off where the host does not give it.
 *
 * @param feature the feature
 * @param i       0, 1, 2, ...
 * @return a static English phrase such as "the host gives no crash"; NULL beyond the last. Pure.
 */
HVTLFS_API const char *hvtlfs_feature_host_need(enum hvtlfs_feature feature, size_t i);

/** What hvtlfs_features_parse() reads: a set and the values that some features carry. */
struct hvtlfs_feature_list {
    struct hvtlfs_features features; /**< The features named. */
    uint32_t spin_count;             /**< The value of `spinlocks=`; #HVTLFS_SPINLOCKS_NEVER without one. */
};

/** The minimal Hv#1 set: exactly what the requirements document asks for (leaf 3 EAX = 0x60). */
HVTLFS_API void hvtlfs_feature_list_minimal(struct hvtlfs_feature_list *list);

/**
 * Read a comma-separated feature list as QEMU spells it and change @p list by it.
 *
 * Each item is a name with or without `hv-` (or `hv_`), optionally `=on`, `=off` or,
 * for spinlocks, `=N` (decimal or 0x hexadecimal). Names of groups stand for several
 * features: `time` is time-ref-count and reference-tsc. Empty items are skipped.
 * Dependencies are not looked at here; see hvtlfs_features_check().
 *
 * @param list  changed item by item; unchanged when an error is returned
 * @param text  the list; need not be NUL-terminated
 * @param size  its length in bytes
 * @param error filled on failure: `value` is the offset of the offending item and `limit` its
 *              length in bytes; may be NULL
 * @return #HVTLFS_OK; #HVTLFS_ERR_UNKNOWN_FEATURE; #HVTLFS_ERR_FEATURE_VALUE;
 *         #HVTLFS_ERR_ARGUMENT when a pointer is NULL
 *
 * Pure; any thread.
 */
HVTLFS_API enum hvtlfs_status hvtlfs_features_parse(struct hvtlfs_feature_list *list,
                                                    const char *text, size_t size,
                                                    struct hvtlfs_error *error);

/**
 * Whether every feature of a set has what it needs and nothing excludes another.
 *
 * @param features the set
 * @param error    filled on failure with the feature and the one missing or in the way; may be NULL
 * @return #HVTLFS_OK; #HVTLFS_ERR_FEATURE_DEPENDENCY; #HVTLFS_ERR_FEATURE_CONFLICT;
 *         #HVTLFS_ERR_ARGUMENT
 *
 * Pure; any thread.
 */
HVTLFS_API enum hvtlfs_status hvtlfs_features_check(const struct hvtlfs_features *features,
                                                    struct hvtlfs_error *error);

/**
 * Add everything that the features of a set need, until nothing is missing.
 * Conflicts are left alone; hvtlfs_features_check() finds them.
 */
HVTLFS_API void hvtlfs_features_complete(struct hvtlfs_features *features);

HVTLFS_END_DECLS

#endif
