/* SPDX-License-Identifier: MIT */
/**
 * @file state.h
 * Saved state: a partition as bytes that outlive the process, the host and the version.
 *
 * The bytes are little-endian, versioned and self-describing: sections of fields, each with a tag.
 * They hold what the guest was shown (features by name, leaves, VPs), every register and queue, and
 * the overlay pages with the bytes they cover. docs/STATE.md has the format.
 *
 * **Order when saving:** stop all VPs; hvtlfs_freeze(); hvtlfs_state_save(); save guest memory and
 * the processors' own registers.
 *
 * **Order when loading:** hvtlfs_state_config(), own choices added; hvtlfs_partition_init(); guest
 * memory; hvtlfs_state_load(); the processors' registers and TSC; hvtlfs_thaw(); run. The partition
 * stays frozen until hvtlfs_thaw(): no time is published before the host has set its clock.
 */
#ifndef HVTLFS_STATE_H
#define HVTLFS_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hvtlfs/check.h>
#include <hvtlfs/export.h>
#include <hvtlfs/partition.h>
#include <hvtlfs/status.h>

HVTLFS_BEGIN_DECLS

/** The version of the format that this library writes. It reads this one and all earlier ones. */
#define HVTLFS_STATE_VERSION 1u

/**
 * How many bytes hvtlfs_state_save() would write now.
 *
 * No VP may be in a library call.
 */
HVTLFS_API size_t hvtlfs_state_size(const struct hvtlfs_partition *partition);

/**
 * Save a frozen partition. The partition does not change.
 *
 * @param partition frozen; no VP may be in the guest or in a library call
 * @param buffer    where the bytes go
 * @param size      bytes at @p buffer
 * @param used      bytes written, set on success
 * @param error     filled on failure; may be NULL
 * @return #HVTLFS_OK; #HVTLFS_ERR_ORDER if the partition is not frozen; #HVTLFS_ERR_FULL if @p size is
 *         too small (`limit` is what is needed); #HVTLFS_ERR_ARGUMENT
 *
 * No callback runs.
 */
HVTLFS_API HVTLFS_MUST_USE enum hvtlfs_status hvtlfs_state_save(
    const struct hvtlfs_partition *partition, void *buffer, size_t size, size_t *used,
    struct hvtlfs_error *error);

/**
 * Load a saved state into a partition that is as hvtlfs_partition_init() made it.
 *
 * Everything is checked before anything is changed. Loading repeats no side effect of a guest's
 * write: no page is cleared, no interrupt sent, no deadline armed; the partition is frozen afterwards,
 * and hvtlfs_thaw() does what is due. Where the TSC of this partition's configuration differs from the
 * saved one, that counts as hvtlfs_migrate().
 *
 * A host without overlay callbacks has the overlays' content in its guest memory, and the state has
 * the bytes they cover; a host with the callbacks has it the other way round. A state may move from one
 * kind to the other: then guest memory must have been loaded before this call.
 *
 * @param partition freshly made, with the features, leaves and VPs of the state; see
 *                  hvtlfs_state_config()
 * @param state     the bytes; must not change during the call
 * @param size      how many
 * @param error     filled on failure: `name` is the field concerned, `value` its offset or its value;
 *                  may be NULL
 * @return #HVTLFS_OK; #HVTLFS_ERR_STATE_FORMAT; #HVTLFS_ERR_STATE_VERSION;
 *         #HVTLFS_ERR_STATE_INCOMPATIBLE; #HVTLFS_ERR_ORDER if the partition has been used;
 *         #HVTLFS_ERR_HOST if an overlay cannot be shown; #HVTLFS_ERR_ARGUMENT. After any error the
 *         partition is as it was.
 *
 * No VP may be in a library call. Callbacks: overlay_set and overlay_clear, or guest memory.
 */
HVTLFS_API HVTLFS_MUST_USE enum hvtlfs_status hvtlfs_state_load(struct hvtlfs_partition *partition,
                                                                const void *state, size_t size,
                                                                struct hvtlfs_error *error);

/**
 * The configuration a state needs: features, leaves, hypercall page, policy, VPs, apic_hz. Callbacks,
 * context, tsc_hz, invariant_tsc and room for connections are the host's own and left alone.
 *
 * @param state       the bytes
 * @param size        how many
 * @param config      initialised with hvtlfs_config_init(); changed on success. config->vps is set to
 *                    @p vps.
 * @param vps         filled with the VPs
 * @param vp_capacity entries at @p vps
 * @param error       filled on failure; may be NULL
 * @return #HVTLFS_OK; the errors of hvtlfs_state_load() for bytes that are no state;
 *         #HVTLFS_ERR_FULL if there are more VPs (`limit` is how many); #HVTLFS_ERR_UNKNOWN_FEATURE
 *
 * Pure; any thread.
 */
HVTLFS_API HVTLFS_MUST_USE enum hvtlfs_status hvtlfs_state_config(const void *state, size_t size,
                                                                  struct hvtlfs_config *config,
                                                                  struct hvtlfs_vp_config *vps,
                                                                  size_t vp_capacity,
                                                                  struct hvtlfs_error *error);

/**
 * Can this state run here? The answer has reasons: an error for everything hvtlfs_state_load() would
 * refuse, a warning for what the guest will lose, such as the TSC page.
 *
 * @param partition the one it would be loaded into
 * @param state     the bytes
 * @param size      how many
 * @param found     called for each finding; may be NULL
 * @param context   handed to @p found
 * @return the counts; no errors means that it can
 *
 * Changes nothing; no callback but @p found. No VP may be in a library call.
 */
HVTLFS_API struct hvtlfs_check_result hvtlfs_state_check(const struct hvtlfs_partition *partition,
                                                         const void *state, size_t size,
                                                         hvtlfs_finding_function *found,
                                                         void *context);

/** A field of a saved state, for those who print one. */
struct hvtlfs_state_field {
    char section[5];     /**< The section's tag. */
    char tag[5];         /**< The field's tag. */
    uint32_t vp_index;   /**< Whose it is, or #HVTLFS_NO_VP. */
    const char *name;    /**< What it is, or NULL if this version does not know it. */
    uint32_t width;      /**< Bytes of one number: 1, 2, 4, 8; 0 if it is text or bytes. */
    const uint8_t *data; /**< The content, little-endian; points into the state. */
    uint32_t size;       /**< Its length in bytes. */
};

/** Takes the fields of a state, in the order in which they stand. */
typedef void hvtlfs_state_visitor(void *context, const struct hvtlfs_state_field *field);

/**
 * Visit every field of a state, known or not.
 *
 * @return #HVTLFS_OK, or what is wrong with the bytes; fields before the damage have been visited.
 *         A wrong digest is reported last. Pure but for @p visit.
 */
HVTLFS_API enum hvtlfs_status hvtlfs_state_visit(const void *state, size_t size,
                                                 hvtlfs_state_visitor *visit, void *context,
                                                 struct hvtlfs_error *error);

HVTLFS_END_DECLS

#endif
