/* SPDX-License-Identifier: MIT */
/**
 * @file vpset.h
 * Sets of virtual processors, as the host receives them and the guest writes them.
 *
 * A set covers the VP indices 0 to 4095 in banks of 64 (HV_VP_SET, TLFS 7.8.7.3). Walk a large set
 * by banks, a small one by VPs:
 *
 *     for (vp = hvtlfs_vp_set_next(set, 0); vp != HVTLFS_NO_VP; vp = hvtlfs_vp_set_next(set, vp + 1))
 *
 * Everything here is pure, works without a partition and may be called from any thread.
 */
#ifndef HVTLFS_VPSET_H
#define HVTLFS_VPSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hvtlfs/export.h>
#include <hvtlfs/host.h>
#include <hvtlfs/partition.h>

HVTLFS_BEGIN_DECLS

/** The VPs of one bank. */
#define HVTLFS_VPS_PER_BANK 64u

/** The banks of a set. */
#define HVTLFS_VP_BANKS (HVTLFS_MAX_VPS / HVTLFS_VPS_PER_BANK)

/**
 * A set of VPs. Plain data; copy it freely.
 *
 * Only the banks named in @ref banks count: the others hold anything at all, so that a set of a few
 * VPs costs a few words. Read them through hvtlfs_vp_set_bank() or after a look at @ref banks.
 */
struct hvtlfs_vp_set {
    uint64_t banks;                 /**< Bit b: bank[b] counts. It may be 0 nevertheless. */
    uint64_t bank[HVTLFS_VP_BANKS]; /**< Bit n of bank[b] is the VP with index 64 b + n. */
};

/** Make @p set empty. */
HVTLFS_API void hvtlfs_vp_set_clear(struct hvtlfs_vp_set *set);

/** Make @p set the VPs 0 to 63 whose bits are set in @p mask (the ProcessorMask of the TLFS). */
HVTLFS_API void hvtlfs_vp_set_from_mask(struct hvtlfs_vp_set *set, uint64_t mask);

/** Put a VP into the set. An index from #HVTLFS_MAX_VPS on changes nothing. */
HVTLFS_API void hvtlfs_vp_set_add(struct hvtlfs_vp_set *set, uint32_t vp_index);

/** Take a VP out of the set. */
HVTLFS_API void hvtlfs_vp_set_remove(struct hvtlfs_vp_set *set, uint32_t vp_index);

/** @return whether the VP is in the set; false for every index from #HVTLFS_MAX_VPS on */
HVTLFS_API bool hvtlfs_vp_set_has(const struct hvtlfs_vp_set *set, uint32_t vp_index);

/** @return the 64 VPs from 64 * @p bank on as bits; 0 for a bank beyond the last */
HVTLFS_API uint64_t hvtlfs_vp_set_bank(const struct hvtlfs_vp_set *set, uint32_t bank);

/** @return whether no VP is in the set */
HVTLFS_API bool hvtlfs_vp_set_is_empty(const struct hvtlfs_vp_set *set);

/** @return the number of VPs in the set, 0 to #HVTLFS_MAX_VPS */
HVTLFS_API uint32_t hvtlfs_vp_set_count(const struct hvtlfs_vp_set *set);

/**
 * The lowest VP of the set that is not below @p from.
 *
 * @return its index; #HVTLFS_NO_VP if there is none. Skips absent banks in one step.
 */
HVTLFS_API uint32_t hvtlfs_vp_set_next(const struct hvtlfs_vp_set *set, uint32_t from);

/** Keep in @p set only what is in @p other too. The work depends on the banks, not on the VPs. */
HVTLFS_API void hvtlfs_vp_set_intersect(struct hvtlfs_vp_set *set,
                                        const struct hvtlfs_vp_set *other);

/** Put all of @p other into @p set. */
HVTLFS_API void hvtlfs_vp_set_unite(struct hvtlfs_vp_set *set, const struct hvtlfs_vp_set *other);

/**
 * Read an HV_VP_SET (TLFS 7.8.7.3 to 7.8.7.5).
 *
 * @param set      set on success, unchanged otherwise
 * @param format   its Format: 0 = sparse, 1 = all
 * @param valid    its ValidBanksMask; without meaning in format 1
 * @param contents its BankContents, one for each bit of @p valid, lowest bank first; may be NULL
 *                 when @p count is 0
 * @param count    how many there are at @p contents
 * @param all      what format 1 stands for; NULL: all 4096
 * @return #HVTLFS_OK; #HVTLFS_ERR_ARGUMENT for an unknown format, or in format 0 when @p count is not
 *         the number of bits in @p valid
 */
HVTLFS_API HVTLFS_MUST_USE enum hvtlfs_status hvtlfs_vp_set_parse(
    struct hvtlfs_vp_set *set, uint64_t format, uint64_t valid, const uint64_t *contents,
    size_t count, const struct hvtlfs_vp_set *all);

/**
 * Write the set as a sparse HV_VP_SET. Banks without any VP are left out.
 *
 * @param set      the set
 * @param valid    its ValidBanksMask
 * @param contents room for #HVTLFS_VP_BANKS BankContents
 * @return how many of @p contents were written
 */
HVTLFS_API size_t hvtlfs_vp_set_encode(const struct hvtlfs_vp_set *set, uint64_t *valid,
                                       uint64_t *contents);

HVTLFS_END_DECLS

#endif
