/* SPDX-License-Identifier: MIT */
/**
 * @file partition.h
 * A partition and its virtual processors: configuration, memory, reset.
 *
 * **Memory** is the caller's: ask hvtlfs_partition_size(), provide that many
 * bytes aligned to #HVTLFS_PARTITION_ALIGNMENT, call hvtlfs_partition_init().
 * There is no destructor; free the memory when no call is under way.
 *
 * **Threads.** Calls for different VPs may run in parallel. Calls for one VP
 * may not, except those that say "any thread". Partition-wide state sits behind
 * the host's lock and unlock callbacks; where they are NULL the caller
 * serialises all calls for the partition.
 */
#ifndef HVTLFS_PARTITION_H
#define HVTLFS_PARTITION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hvtlfs/export.h>
#include <hvtlfs/features.h>
#include <hvtlfs/host.h>
#include <hvtlfs/hypercall_page.h>
#include <hvtlfs/status.h>

HVTLFS_BEGIN_DECLS

/** The most VPs a partition can have, and one more than the highest VP index (HV_VP_SET, TLFS 7.8.7.3). */
#define HVTLFS_MAX_VPS 4096u

/** The most connections a partition can have. */
#define HVTLFS_MAX_CONNECTIONS 4096u

/** The most message buffers a partition can have. */
#define HVTLFS_MAX_MESSAGE_BUFFERS 262144u

/** Alignment in bytes of the memory given to hvtlfs_partition_init(). */
#define HVTLFS_PARTITION_ALIGNMENT 4096u

/** A partition. Opaque; it lives in the caller's memory. */
struct hvtlfs_partition;

/** A virtual processor of a partition. Opaque; it lives in the partition's memory. */
struct hvtlfs_vp;

/** Identity of one VP. */
struct hvtlfs_vp_config {
    uint32_t vp_index; /**< What VP_INDEX reads; below #HVTLFS_MAX_VPS; unique. */
    uint32_t apic_id;  /**< The local APIC ID; unique. */
};

/** What happens where the TLFS is silent and implementations differ; see docs/CONFORMANCE.md. */
enum hvtlfs_policy {
    HVTLFS_POLICY_LOCKED_WRITE_IGNORED = 1u << 0, /**< A write to a locked HYPERCALL MSR is ignored;
                                                       otherwise it gives #GP. */
    HVTLFS_POLICY_FLUSH_MASK_0_IS_ALL = 1u << 1, /**< A flush with ProcessorMask 0 means all VPs, as
                                                      Windows Server 2012 expects. */
    HVTLFS_POLICY_NO_LAZY_EOI = 1u << 2, /**< hvtlfs_lazy_eoi_arm() always refuses: for hosts whose APIC
                                              works without the library, and to look for its faults. */
};

/** Everything a partition is made of. Start from hvtlfs_config_init(). */
struct hvtlfs_config {
    size_t size; /**< sizeof(struct hvtlfs_config) as the caller knows it. */

    struct hvtlfs_host_ops ops; /**< The callbacks. */
    void *context;              /**< Handed to every callback. */

    uint32_t vp_count;                  /**< 1 to #HVTLFS_MAX_VPS. */
    const struct hvtlfs_vp_config *vps; /**< @ref vp_count entries; read during init only. NULL: VP n has
                                             index n and APIC ID n. */

    struct hvtlfs_features features; /**< What the guest is offered. */
    uint32_t spin_count;             /**< Leaf 4 EBX with [spinlocks]; #HVTLFS_SPINLOCKS_NEVER = never. */

    char vendor[16];          /**< At most 12 characters; default "Microsoft Hv". */
    uint32_t cpuid_base;      /**< First leaf; default 0x40000000, others in steps of 0x100. */
    uint32_t version[4];      /**< Leaf 2, EAX to EDX; default 0: no version is claimed. */
    uint32_t max_vps;         /**< Leaf 5 EAX; 0 = not exposed; ignored with [no-vp-limit]. */
    uint32_t max_lps;         /**< Leaf 5 EBX; 0 = not exposed. */
    uint32_t hardware_features; /**< Leaf 6 EAX; 0 = leaf absent unless something else needs it. */

    uint32_t gpa_bits; /**< Width of guest physical addresses, 32 to 52; default 40. */

    enum hvtlfs_trap trap;  /**< How the hypercall page gets to the host; default none. */
    uint8_t trap_code[16];  /**< The host's own instructions for #HVTLFS_TRAP_CUSTOM. */
    uint32_t trap_size;     /**< Their length in bytes, 1 to 16. */

    uint64_t tsc_hz;     /**< Rate of the guest's TSC in Hz; 0 = unknown. */
    uint64_t apic_hz;    /**< Rate of the local APIC timer in Hz; 0 = unknown. */
    bool invariant_tsc;  /**< The TSC is constant-rate and in sync over all VPs. */

    uint32_t policy; /**< Bits of enum hvtlfs_policy. */

    uint32_t hypercall_reps; /**< List elements after which a rep call is continued (TLFS 3.3); 0 = no
                                  bound; default 64. */
    uint32_t hypercall_time; /**< The same in units of 100 ns where there is host_time; 0 = no bound;
                                  default 500, the TLFS's 50 microseconds. */
    const struct hvtlfs_call_handler *calls; /**< The host's own hypercalls; must stay valid and
                                                  unchanged as long as the partition. */
    uint32_t call_count; /**< Entries at @ref calls, at most #HVTLFS_MAX_HOST_CALLS. */

    uint32_t connection_count; /**< Connections that can be registered at a time; at most
                                    #HVTLFS_MAX_CONNECTIONS; default 16. See hvtlfs_connection_add(). */
    uint32_t message_buffers;  /**< Messages that can wait in the partition with [synic], 264 bytes each;
                                    at most #HVTLFS_MAX_MESSAGE_BUFFERS; 16 of them for each connection
                                    that leads to a SINT. 0 = 16 for each of connection_count, and for up
                                    to 32 VPs 16 for each SINT (66 KiB a VP); more VPs share those of
                                    32, or 9 for each VP if that is more. What is guaranteed beyond:
                                    hvtlfs_synic_post_message(). */
};

/**
 * Fill a configuration with the defaults: minimal Hv#1, one VP, no callbacks.
 *
 * @param config overwritten; NULL does nothing
 */
HVTLFS_API void hvtlfs_config_init(struct hvtlfs_config *config);

/**
 * Change what a configuration offers by a feature list: hvtlfs_features_parse() for its members
 * features and spin_count.
 *
 * @param config changed item by item; unchanged when an error is returned
 * @param text   the list; need not be NUL-terminated
 * @param size   its length in bytes
 * @param error  filled on failure: `value` is the offset of the offending item and `limit` its length
 *               in bytes; may be NULL
 * @return as hvtlfs_features_parse()
 *
 * Pure; any thread.
 */
HVTLFS_API enum hvtlfs_status hvtlfs_config_parse(struct hvtlfs_config *config, const char *text,
                                                  size_t size, struct hvtlfs_error *error);

/**
 * How much memory a partition of this configuration needs.
 *
 * @param config checked as hvtlfs_partition_init() does
 * @param size   bytes, set on success
 * @param error  filled on failure; may be NULL
 * @return #HVTLFS_OK or any error hvtlfs_partition_init() gives for the configuration
 *
 * Pure; any thread.
 */
HVTLFS_API HVTLFS_MUST_USE enum hvtlfs_status hvtlfs_partition_size(
    const struct hvtlfs_config *config, size_t *size, struct hvtlfs_error *error);

/**
 * Make a partition in the caller's memory, in the state after a system reset.
 *
 * The configuration is copied. The clocks are asked once, so that reference time starts at 0
 * (TLFS 12.4.1); no other callback runs.
 *
 * @param memory    aligned to #HVTLFS_PARTITION_ALIGNMENT; need not be cleared
 * @param size      bytes at @p memory, at least what hvtlfs_partition_size() says
 * @param config    the configuration
 * @param partition set on success; points into @p memory
 * @param error     filled on failure; may be NULL
 * @return #HVTLFS_OK; #HVTLFS_ERR_ARGUMENT, #HVTLFS_ERR_STRUCT_SIZE, #HVTLFS_ERR_MEMORY_SIZE,
 *         #HVTLFS_ERR_MEMORY_ALIGNMENT, #HVTLFS_ERR_NO_CALLBACK, #HVTLFS_ERR_VP_COUNT,
 *         #HVTLFS_ERR_VP_INDEX, #HVTLFS_ERR_APIC_ID, #HVTLFS_ERR_FEATURE_DEPENDENCY,
 *         #HVTLFS_ERR_FEATURE_CONFLICT, #HVTLFS_ERR_TRAP, #HVTLFS_ERR_GPA_BITS, #HVTLFS_ERR_VENDOR,
 *         #HVTLFS_ERR_CPUID_BASE, #HVTLFS_ERR_HOST_CALL. On any error the memory and @p partition are untouched.
 */
HVTLFS_API HVTLFS_MUST_USE enum hvtlfs_status hvtlfs_partition_init(
    void *memory, size_t size, const struct hvtlfs_config *config,
    struct hvtlfs_partition **partition, struct hvtlfs_error *error);

/**
 * System reset: every MSR and overlay back to its state after init, Locked included; reference
 * time goes on (TLFS 12.4: it counts from the partition's creation).
 *
 * No VP may be in the guest or in a library call. Callbacks: overlay_clear or guest memory,
 * arm_deadline, tsc_emulation.
 */
HVTLFS_API void hvtlfs_partition_reset(struct hvtlfs_partition *partition);

/**
 * Processor reset of one VP: its own MSRs and overlays back to their state after init.
 * An INIT is not a reset of the synthetic registers; call this for a VP that is created anew.
 * Callbacks as hvtlfs_partition_reset(). Counts as a call for that VP.
 */
HVTLFS_API void hvtlfs_vp_reset(struct hvtlfs_vp *vp);

/**
 * The VP with a given VP index.
 *
 * @return the VP, valid as long as the partition; NULL if there is none. Any thread; O(1).
 */
HVTLFS_API struct hvtlfs_vp *hvtlfs_partition_vp(struct hvtlfs_partition *partition,
                                                 uint32_t vp_index);

/** The VP index of a VP. Any thread. */
HVTLFS_API uint32_t hvtlfs_vp_index(const struct hvtlfs_vp *vp);

/** The features in force: those configured less those whose callbacks are missing. Any thread. */
HVTLFS_API struct hvtlfs_features hvtlfs_partition_features(const struct hvtlfs_partition *partition);

/**
 * Why a feature is not offered.
 *
 * @return NULL if it is offered; otherwise a static English phrase: it was not configured, or the
 *         callback that it needs and the host did not give. Any thread.
 */
HVTLFS_API const char *hvtlfs_feature_why_off(const struct hvtlfs_partition *partition,
                                              enum hvtlfs_feature feature);

/**
 * Do what another thread or the clock left for this VP: expired timers, queued messages.
 *
 * Call it on the VP's thread after a kick and when its deadline has passed, with the VP out of the
 * guest; extra calls are cheap and harmless.
 */
HVTLFS_API void hvtlfs_vp_poll(struct hvtlfs_vp *vp);

HVTLFS_END_DECLS

#endif
