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

/*
 * For Frama-C, which checks the annotations (tests/proofs): a slice may be read; `part` lies within
 * `whole`; a word is a string of ours.
 */
/*@ predicate readable{L}(struct slice s) = \object_pointer{L}(s.start) &&
        s.size <= PTRDIFF_MAX && (s.size == 0 || \valid_read{L}(s.start + (0 .. s.size - 1)));
    predicate within(struct slice part, struct slice whole) =
        \base_addr(part.start) == \base_addr(whole.start) && whole.start <= part.start &&
        part.start + part.size <= whole.start + whole.size;
    predicate is_word{L}(char *s) = valid_read_string{L}(s) && 0 < strlen{L}(s) < 100; */

/*@ requires readable(slice);
    requires word: is_word(word);
    assigns \nothing; */
static inline bool slice_is(struct slice slice, const char *word)
{
    size_t i;

    /*@ loop invariant 0 <= i <= slice.size && i <= strlen(word);
        loop assigns i;
        loop variant slice.size - i; */
    for (i = 0; i < slice.size && word[i]; i++) {
        /* QEMU's old spelling has underscores. */
        if (word[i] != (slice.start[i] == '_' ? '-' : slice.start[i])) {
            return false;
        }
    }
    return i == slice.size && !word[i];
}

/*@ requires readable(slice);
    assigns \nothing;
    ensures within(\result, slice) && readable(\result); */
static inline struct slice slice_trim(struct slice slice)
{
    /*@ loop invariant within(slice, \at(slice, Pre)) && readable(slice);
        loop assigns slice;
        loop variant slice.size; */
    while (slice.size && (slice.start[0] == ' ' || slice.start[0] == '\t')) {
        slice.start++;
        slice.size--;
    }
    /*@ loop invariant within(slice, \at(slice, Pre)) && readable(slice);
        loop assigns slice;
        loop variant slice.size; */
    while (slice.size &&
           (slice.start[slice.size - 1] == ' ' || slice.start[slice.size - 1] == '\t')) {
        slice.size--;
    }
    return slice;
}

/* Cut at the first `separator`: the part before it is returned, the rest (without it) is left. */
/*@ requires \valid(rest) && readable(*rest);
    assigns *rest;
    ensures within(\result, \old(*rest)) && readable(\result);
    ensures within(*rest, \old(*rest)) && readable(*rest);
    ensures \result.start == \old(rest->start) && \result.size <= \old(rest->size);
    ensures \old(rest->size) > 0 ==> rest->size < \old(rest->size); */
static inline struct slice slice_cut(struct slice *rest, char separator)
{
    struct slice head = *rest;
    size_t i = 0;

    /*@ loop invariant 0 <= i <= rest->size;
        loop assigns i;
        loop variant rest->size - i; */
    while (i < rest->size && rest->start[i] != separator) {
        i++;
    }
    head.size = i;
    i += i < rest->size;
    rest->start += i;
    rest->size -= i;
    return head;
}

/*@ assigns \nothing;
    ensures 0 <= \result <= 16; */
static inline int digit_of(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 16;
}

/*@ requires readable(slice) && \valid(value);
    assigns *value; */
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
    /*@ loop invariant 0 <= i <= slice.size && number <= UINT32_MAX;
        loop assigns i, number;
        loop variant slice.size - i; */
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
