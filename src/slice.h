/* SPDX-License-Identifier: MIT */
/* Reading text that belongs to someone else: stretches of it, never copied. */
#ifndef HVTI_SLICE_H
#define HVTI_SLICE_H

#include "util.h"

/* A stretch of the caller's text. */
struct slice {
    const char *start;
    size_t size;
};

static inline bool slice_is(struct slice slice, const char *word)
{
    size_t i;

    for (i = 0; i < slice.size && word[i]; i++) {
        /* QEMU's old spelling has underscores. */
        if (word[i] != (slice.start[i] == '_' ? '-' : slice.start[i])) {
            return false;
        }
    }
    return i == slice.size && !word[i];
}

static inline struct slice slice_trim(struct slice slice)
{
    while (slice.size && (slice.start[0] == ' ' || slice.start[0] == '\t')) {
        slice.start++;
        slice.size--;
    }
    while (slice.size &&
           (slice.start[slice.size - 1] == ' ' || slice.start[slice.size - 1] == '\t')) {
        slice.size--;
    }
    return slice;
}

/* Cut at the first `separator`: the part before it is returned, the rest (without it) is left. */
static inline struct slice slice_cut(struct slice *rest, char separator)
{
    struct slice head = *rest;
    size_t i = 0;

    while (i < rest->size && rest->start[i] != separator) {
        i++;
    }
    head.size = i;
    i += i < rest->size;
    rest->start += i;
    rest->size -= i;
    return head;
}

static inline int digit_of(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 16;
}

static inline bool slice_to_u32(struct slice slice, uint32_t *value)
{
    int base = 10;
    uint64_t number = 0;
    size_t i;

    if (slice.size > 2 && slice.start[0] == '0' && (slice.start[1] | 0x20) == 'x') {
        base = 16;
        slice.start += 2;
        slice.size -= 2;
    }
    for (i = 0; i < slice.size; i++) {
        int digit = digit_of(slice.start[i]);

        if (digit >= base) {
            return false;
        }
        number = number * (uint32_t)base + (uint32_t)digit;
        if (number > UINT32_MAX) {
            return false;
        }
    }
    *value = (uint32_t)number;
    return slice.size > 0;
}

#endif
