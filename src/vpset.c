/* SPDX-License-Identifier: MIT */
/* Sets of VPs (TLFS 7.8.7.3). The work is by banks of 64, never by VPs. */
#include <hvtlfs/vpset.h>

#include <hvtlfs/tlfs.h>

#include "util.h"

void hvtlfs_vp_set_clear(struct hvtlfs_vp_set *set)
{
    set->banks = 0;
}

void hvtlfs_vp_set_from_mask(struct hvtlfs_vp_set *set, uint64_t mask)
{
    set->banks = 1;
    set->bank[0] = mask;
}

uint64_t hvtlfs_vp_set_bank(const struct hvtlfs_vp_set *set, uint32_t bank)
{
    return bank < HVTLFS_VP_BANKS && set->banks >> bank & 1 ? set->bank[bank] : 0;
}

void hvtlfs_vp_set_add(struct hvtlfs_vp_set *set, uint32_t vp_index)
{
    uint32_t bank = vp_index / HVTLFS_VPS_PER_BANK;

    if (vp_index < HVTLFS_MAX_VPS) {
        set->bank[bank] = hvtlfs_vp_set_bank(set, bank) | BIT64(vp_index % HVTLFS_VPS_PER_BANK);
        set->banks |= BIT64(bank);
    }
}

void hvtlfs_vp_set_remove(struct hvtlfs_vp_set *set, uint32_t vp_index)
{
    if (hvtlfs_vp_set_has(set, vp_index)) {
        set->bank[vp_index / HVTLFS_VPS_PER_BANK] &= ~BIT64(vp_index % HVTLFS_VPS_PER_BANK);
    }
}

bool hvtlfs_vp_set_has(const struct hvtlfs_vp_set *set, uint32_t vp_index)
{
    return hvtlfs_vp_set_bank(set, vp_index / HVTLFS_VPS_PER_BANK) >>
               (vp_index % HVTLFS_VPS_PER_BANK) & 1;
}

bool hvtlfs_vp_set_is_empty(const struct hvtlfs_vp_set *set)
{
    uint64_t rest;

    /*@ loop invariant 0 <= bits(rest) <= 64;
        loop assigns rest;
        loop variant rest; */
    for (rest = set->banks; rest; rest &= rest - 1) {
        if (set->bank[lowest_bit(rest)]) {
            return false;
        }
    }
    return true;
}

uint32_t hvtlfs_vp_set_count(const struct hvtlfs_vp_set *set)
{
    uint32_t count = 0;
    uint64_t rest;

    /*@ loop invariant count <= 64 * (bits(set->banks) - bits(rest));
        loop assigns rest, count;
        loop variant rest; */
    for (rest = set->banks; rest; rest &= rest - 1) {
        count += count_bits(set->bank[lowest_bit(rest)]);
    }
    return count;
}

uint32_t hvtlfs_vp_set_next(const struct hvtlfs_vp_set *set, uint32_t from)
{
    uint32_t bank = from / HVTLFS_VPS_PER_BANK;
    uint64_t rest, bits;

    if (from >= HVTLFS_MAX_VPS) {
        return HVTLFS_NO_VP;
    }
    bits = hvtlfs_vp_set_bank(set, bank) & UINT64_MAX << (from % HVTLFS_VPS_PER_BANK);
    rest = set->banks & UINT64_MAX << bank & ~BIT64(bank);
    /*@ loop invariant bank < HVTLFS_VP_BANKS && 0 <= bits(rest) <= 64;
        loop assigns bank, bits, rest;
        loop variant rest; */
    while (!bits && rest) {
        bank = lowest_bit(rest);
        bits = set->bank[bank];
        rest &= rest - 1;
    }
    return bits ? bank * HVTLFS_VPS_PER_BANK + lowest_bit(bits) : HVTLFS_NO_VP;
}

void hvtlfs_vp_set_intersect(struct hvtlfs_vp_set *set, const struct hvtlfs_vp_set *other)
{
    uint64_t rest;

    set->banks &= other->banks;
    /*@ loop invariant 0 <= bits(rest) <= 64;
        loop assigns rest, set->bank[0 .. HVTLFS_VP_BANKS - 1];
        loop variant rest; */
    for (rest = set->banks; rest; rest &= rest - 1) {
        uint32_t bank = lowest_bit(rest);

        set->bank[bank] &= other->bank[bank];
    }
}

void hvtlfs_vp_set_unite(struct hvtlfs_vp_set *set, const struct hvtlfs_vp_set *other)
{
    uint64_t rest;

    /*@ loop invariant 0 <= bits(rest) <= 64;
        loop assigns rest, set->bank[0 .. HVTLFS_VP_BANKS - 1];
        loop variant rest; */
    for (rest = other->banks; rest; rest &= rest - 1) {
        uint32_t bank = lowest_bit(rest);

        set->bank[bank] = hvtlfs_vp_set_bank(set, bank) | other->bank[bank];
    }
    set->banks |= other->banks;
}

/*@ requires \valid(set) && \valid_read(from) && \separated(set, from);
    assigns *set; */
static void copy_banks(struct hvtlfs_vp_set *set, const struct hvtlfs_vp_set *from)
{
    hvtlfs_vp_set_clear(set);
    hvtlfs_vp_set_unite(set, from);
}

/*@ requires \valid(set);
    assigns *set; */
static void fill(struct hvtlfs_vp_set *set)
{
    set->banks = UINT64_MAX;
    memset(set->bank, 0xFF, sizeof(set->bank));
}

enum hvtlfs_status hvtlfs_vp_set_parse(struct hvtlfs_vp_set *set, uint64_t format, uint64_t valid,
                                       const uint64_t *contents, size_t count,
                                       const struct hvtlfs_vp_set *all)
{
    uint64_t rest;

    if (format == HvGenericSetAll) {
        if (all) {
            copy_banks(set, all);
        } else {
            fill(set);
        }
        return HVTLFS_OK;
    }
    if (format != HvGenericSetSparse4k || count != count_bits(valid) || (count && !contents)) {
        return HVTLFS_ERR_ARGUMENT;
    }
    set->banks = valid;
    /*@ loop invariant contents == \at(contents, Pre) + (bits(valid) - bits(rest));
        loop invariant 0 <= bits(rest) <= bits(valid);
        loop assigns rest, contents, set->bank[0 .. HVTLFS_VP_BANKS - 1];
        loop variant rest; */
    for (rest = valid; rest; rest &= rest - 1) {
        /*@ assert bits(rest) == bits(rest & (rest - 1)) + 1; */
        /*@ assert 1 <= bits(rest) <= count; */
        set->bank[lowest_bit(rest)] = *contents++;
    }
    return HVTLFS_OK;
}

size_t hvtlfs_vp_set_encode(const struct hvtlfs_vp_set *set, uint64_t *valid, uint64_t *contents)
{
    size_t count = 0;
    uint64_t rest;

    *valid = 0;
    /*@ loop invariant count <= bits(set->banks) - bits(rest);
        loop assigns rest, count, *valid, contents[0 .. HVTLFS_VP_BANKS - 1];
        loop variant rest; */
    for (rest = set->banks; rest; rest &= rest - 1) {
        uint32_t bank = lowest_bit(rest);

        if (set->bank[bank]) {
            *valid |= BIT64(bank);
            contents[count++] = set->bank[bank];
        }
    }
    return count;
}
