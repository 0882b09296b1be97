/* SPDX-License-Identifier: MIT */
#include "decode.h"

#include <stddef.h>
#include <string.h>

#include <hvtlfs/msr.h>
#include <hvtlfs/names.h>

#include "text.h"

static const char *call_name(uint32_t number)
{
    return hvtlfs_call_name((uint16_t)number);
}

static const char *status_name(uint32_t number)
{
    return hvtlfs_hv_status_name((uint16_t)number);
}

/* The nested MSRs stand at 0x1000 above the others. */
const struct name_space msr_names = {"MSR", "HV_X64_MSR_", 0x40000000, 0x400011FF, hvtlfs_msr_name};
const struct name_space call_names = {"call", "HvCall", 0, 0xFFFF, call_name};
const struct name_space status_names = {"status", "HV_STATUS_", 0, 0xFFFF, status_name};

static bool is_name(const struct name_space *space, const char *name, const char *word)
{
    size_t prefix = strlen(space->prefix);
    bool prefixed = strncmp(name, space->prefix, prefix) == 0;
    return same_word(name, word) || (prefixed && same_word(name + prefix, word));
}

static void offer(const struct name_space *space, const char *name, struct nearest *nearest)
{
    size_t prefix = strlen(space->prefix);
    nearest_offer(nearest, name);
    if (strncmp(name, space->prefix, prefix) == 0) {
        nearest_offer(nearest, name + prefix);
    }
}

bool name_find(const struct name_space *space, const char *word, uint32_t *number,
               const char **nearest)
{
    struct nearest search;
    nearest_begin(&search, word);
    for (uint32_t n = space->first; n <= space->last; n++) {
        const char *name = space->name(n);
        if (name == NULL) {
            continue;
        }
        if (is_name(space, name, word)) {
            *number = n;
            return true;
        }
        offer(space, name, &search);
    }
    *nearest = nearest_answer(&search);
    return false;
}
