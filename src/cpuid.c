/* SPDX-License-Identifier: MIT */
#include <hvtlfs/cpuid.h>

#include "feature_rows.h"
#include "util.h"

/* Leaves by their distance from the base (TLFS 2.4). */
enum {
    LEAF_VENDOR = 0,
    LEAF_INTERFACE = 1,
    LEAF_VERSION = 2,
    LEAF_FEATURES = 3,
    LEAF_RECOMMENDATIONS = 4,
    LEAF_LIMITS = 5,
    LEAF_HARDWARE = 6,
    LEAF_NESTED = 10,
    LEAF_MIN_MAX = LEAF_LIMITS,
};

#define LEAF_RANGE 0x100u
#define INTERFACE_HV1 UINT32_C(0x31237648) /* "Hv#1" */

/* The bits of one leaf that the enabled features show: the only place where rows become registers. */
static void feature_bits(uint64_t features, uint32_t leaf, uint32_t reg[4])
{
    uint64_t rest;
    size_t i;

    /* The set is the caller's; what is no feature shows nothing. */
    for (rest = features & (BIT64(HVTLFS_FEATURE_COUNT) - 1); rest; rest &= rest - 1) {
        const struct hvti_feature_row *row = &hvti_feature_rows[lowest_bit(rest)];

        for (i = 0; i < ARRAY_LEN(row->cpuid) && row->cpuid[i].used; i++) {
            if (row->cpuid[i].leaf == leaf) {
                reg[row->cpuid[i].reg] |= BIT32(row->cpuid[i].bit);
            }
        }
    }
}

static uint32_t max_leaf(const struct hvtlfs_cpuid_identity *identity)
{
    uint32_t nested[4] = {0};

    feature_bits(identity->features.word[0], LEAF_NESTED, nested);
    if (nested[HVTI_EAX]) {
        return LEAF_NESTED;
    }
    return identity->hardware_features ? LEAF_HARDWARE : LEAF_MIN_MAX;
}

uint32_t hvtlfs_cpuid_max_leaf(const struct hvtlfs_cpuid_identity *identity)
{
    return identity->cpuid_base + max_leaf(identity);
}

static uint32_t vendor_word(const char *vendor)
{
    uint32_t word = 0;
    uint32_t i;

    for (i = 0; i < 4; i++) {
        word |= (uint32_t)(uint8_t)vendor[i] << 8 * i;
    }
    return word;
}

static void leaf_vendor(const struct hvtlfs_cpuid_identity *identity, uint32_t reg[4])
{
    reg[HVTI_EAX] = hvtlfs_cpuid_max_leaf(identity);
    reg[HVTI_EBX] = vendor_word(identity->vendor);
    reg[HVTI_ECX] = vendor_word(identity->vendor + 4);
    reg[HVTI_EDX] = vendor_word(identity->vendor + 8);
}

static void leaf_limits(const struct hvtlfs_cpuid_identity *identity, uint32_t reg[4])
{
    bool no_limit = hvtlfs_features_has(&identity->features, HVTLFS_FEATURE_NO_VP_LIMIT);

    reg[HVTI_EAX] = no_limit ? UINT32_MAX : identity->max_vps;
    reg[HVTI_EBX] = identity->max_lps;
}

static void leaf_contents(const struct hvtlfs_cpuid_identity *identity, uint32_t leaf,
                          uint32_t reg[4])
{
    feature_bits(identity->features.word[0], leaf, reg);
    switch (leaf) {
    case LEAF_VENDOR:
        leaf_vendor(identity, reg);
        break;
    case LEAF_INTERFACE:
        reg[HVTI_EAX] = INTERFACE_HV1;
        break;
    case LEAF_VERSION:
        memcpy(reg, identity->version, sizeof(identity->version));
        break;
    case LEAF_RECOMMENDATIONS:
        /* Without the feature nothing is announced at all: 0 (requirements document p. 6). */
        if (hvtlfs_features_has(&identity->features, HVTLFS_FEATURE_SPINLOCKS)) {
            reg[HVTI_EBX] = identity->spin_count;
        }
        break;
    case LEAF_LIMITS:
        leaf_limits(identity, reg);
        break;
    case LEAF_HARDWARE:
        reg[HVTI_EAX] = identity->hardware_features;
        break;
    default:
        break;
    }
}

bool hvtlfs_cpuid_leaf(const struct hvtlfs_cpuid_identity *identity, uint32_t leaf,
                       struct hvtlfs_cpuid_regs *regs)
{
    uint32_t reg[4] = {0};
    uint32_t distance = leaf - identity->cpuid_base;

    if (distance >= LEAF_RANGE) {
        return false;
    }
    if (distance <= max_leaf(identity)) {
        leaf_contents(identity, distance, reg);
    }
    *regs = (struct hvtlfs_cpuid_regs){reg[HVTI_EAX], reg[HVTI_EBX], reg[HVTI_ECX], reg[HVTI_EDX]};
    return true;
}
