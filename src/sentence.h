/* SPDX-License-Identifier: MIT */
/* Writing text for a person into the caller's buffer, in the manner of snprintf. */
#ifndef HVTI_SENTENCE_H
#define HVTI_SENTENCE_H

#include "util.h"

/* A text that is cut where the buffer ends but counts on. */
struct sentence {
    char *buffer;
    size_t size;
    size_t length;
};

static inline void sentence_char(struct sentence *text, char c)
{
    if (text->size && text->length < text->size - 1) {
        text->buffer[text->length] = c;
    }
    text->length++;
}

static inline void sentence_add(struct sentence *text, const char *words)
{
    while (words && *words) {
        sentence_char(text, *words++);
    }
}

/* Decimal without a 64-bit division, which a 32-bit freestanding build would have to import. */
static inline void sentence_number(struct sentence *text, uint64_t value)
{
    static const uint64_t powers[] = {
        UINT64_C(10000000000000000000),
        UINT64_C(1000000000000000000),
        UINT64_C(100000000000000000),
        UINT64_C(10000000000000000),
        UINT64_C(1000000000000000),
        UINT64_C(100000000000000),
        UINT64_C(10000000000000),
        UINT64_C(1000000000000),
        UINT64_C(100000000000),
        UINT64_C(10000000000),
        UINT64_C(1000000000),
        UINT64_C(100000000),
        UINT64_C(10000000),
        UINT64_C(1000000),
        UINT64_C(100000),
        UINT64_C(10000),
        UINT64_C(1000),
        UINT64_C(100),
        UINT64_C(10),
        UINT64_C(1),
    };
    bool started = false;
    size_t i;

    for (i = 0; i < ARRAY_LEN(powers); i++) {
        char digit = '0';

        for (; value >= powers[i]; value -= powers[i]) {
            digit++;
        }
        started |= digit != '0' || i + 1 == ARRAY_LEN(powers);
        if (started) {
            sentence_char(text, digit);
        }
    }
}

static inline void sentence_hex(struct sentence *text, uint64_t value)
{
    int shift = 60;

    sentence_add(text, "0x");
    while (shift && !(value >> shift)) {
        shift -= 4;
    }
    for (; shift >= 0; shift -= 4) {
        sentence_char(text, "0123456789abcdef"[value >> shift & 15]);
    }
}

/* NUL-terminate; returns the length of the whole text. */
static inline size_t sentence_end(struct sentence *text)
{
    if (text->size) {
        text->buffer[text->length < text->size ? text->length : text->size - 1] = '\0';
    }
    return text->length;
}

#endif
