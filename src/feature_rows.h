/* SPDX-License-Identifier: MIT */
/* The feature table as data, for those who derive something from it. */
#ifndef HVTI_FEATURE_ROWS_H
#define HVTI_FEATURE_ROWS_H

#include <hvtlfs/features.h>

#include "util.h"

enum { HVTI_EAX, HVTI_EBX, HVTI_ECX, HVTI_EDX };

/* One bit of one hypervisor leaf; `leaf` counts from the base. */
struct hvti_cpuid_bit {
    bool used;
    uint8_t leaf;
    uint8_t reg;
    uint8_t bit;
};

struct hvti_feature_row {
    const char *name;
    const char *summary;
    const char *clause;
    uint64_t needs; /* bits 1 << enum hvtlfs_feature */
    uint32_t host;  /* bits 1 << enum hvti_need */
    struct hvti_cpuid_bit cpuid[3];
};

extern const struct hvti_feature_row hvti_feature_rows[HVTLFS_FEATURE_COUNT];

/* A set that may hold any feature fits one word today. */
_Static_assert(HVTLFS_FEATURE_COUNT <= 64, "feature masks are 64 bits wide");

#define FEATURE_BIT(id) BIT64(HVTLFS_FEATURE_##id)

static inline bool hvti_mask_has(uint64_t mask, enum hvtlfs_feature feature)
{
    return mask >> feature & 1;
}

#endif
