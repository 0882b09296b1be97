/* SPDX-License-Identifier: MIT */
/* Saved states in the hands of an editor: sections and fields found by the format of docs/STATE.md. */
#ifndef STATE_EDITOR_H
#define STATE_EDITOR_H

#include "fixture.h"

#include <hvtlfs/state.h>
#include <hvtlfs/time.h>

#define HEADER 32u
#define SECTION 16u
#define FIELD 8u
#define ANY_VP UINT32_C(0xFFFFFFFE)

struct bytes {
    uint8_t *at;
    size_t size;
};

/* Of a frozen partition. Whoever gets it frees `at`. */
static inline struct bytes save_frozen(const struct hvtlfs_partition *partition)
{
    struct bytes saved;
    size_t used;

    saved.size = hvtlfs_state_size(partition);
    saved.at = malloc(saved.size);
    assert_non_null(saved.at);
    assert_int_equal(hvtlfs_state_save(partition, saved.at, saved.size, &used, NULL), HVTLFS_OK);
    return saved;
}

static inline struct bytes save(struct fixture *fixture)
{
    assert_int_equal(hvtlfs_freeze(fixture->partition), HVTLFS_OK);
    return save_frozen(fixture->partition);
}

static inline uint32_t number(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static inline void set_number(uint8_t *at, uint64_t value, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        at[i] = (uint8_t)(value >> 8 * i);
    }
}

/* Size and digest as the bytes are now. */
static inline void seal(const struct bytes *saved)
{
    uint64_t digest = UINT64_C(0xCBF29CE484222325);

    for (size_t i = HEADER; i < saved->size; i++) {
        digest = (digest ^ saved->at[i]) * UINT64_C(0x100000001B3);
    }
    set_number(saved->at + 16, saved->size, 8);
    set_number(saved->at + 24, digest, 8);
}

/* Where a section begins. */
static inline size_t section(const struct bytes *saved, const char *tag, uint32_t vp_index)
{
    size_t at = HEADER;

    while (memcmp(saved->at + at, tag, 4) != 0 ||
           (vp_index != ANY_VP && number(saved->at + at + 8) != vp_index)) {
        at += SECTION + number(saved->at + at + 12);
        assert_true(at < saved->size);
    }
    return at;
}

/* Where a field of it begins. */
static inline size_t field_in(const struct bytes *saved, size_t section_at, const char *tag)
{
    size_t at = section_at + SECTION;

    while (memcmp(saved->at + at, tag, 4) != 0) {
        at += FIELD + ((number(saved->at + at + 4) + 7) & ~7u);
        assert_true(at < section_at + SECTION + number(saved->at + section_at + 12));
    }
    return at;
}

static inline size_t field(const struct bytes *saved, const char *section_tag, const char *tag)
{
    return field_in(saved, section(saved, section_tag, ANY_VP), tag);
}

/* Exchange bytes for others, or for zeroes. */
static inline void splice(struct bytes *saved, size_t at, size_t out, const void *in,
                          size_t in_size)
{
    size_t size = saved->size - out + in_size;
    uint8_t *bytes = calloc(1, size);

    assert_non_null(bytes);
    memcpy(bytes, saved->at, at);
    if (in) {
        memcpy(bytes + at, in, in_size);
    }
    memcpy(bytes + at + in_size, saved->at + at + out, saved->size - at - out);
    free(saved->at);
    *saved = (struct bytes){bytes, size};
}

/* Take bytes out of a section, or put zeroes in. */
static inline void resize(struct bytes *saved, size_t section_at, size_t at, int by)
{
    uint32_t size = number(saved->at + section_at + 12);

    splice(saved, at, by < 0 ? (size_t)-by : 0, NULL, by > 0 ? (size_t)by : 0);
    set_number(saved->at + section_at + 12, size + (uint32_t)by, 4);
}

static inline void remove_field(struct bytes *saved, const char *section_tag, const char *tag)
{
    size_t at = field(saved, section_tag, tag);

    resize(saved, section(saved, section_tag, ANY_VP), at,
           -(int)(FIELD + ((number(saved->at + at + 4) + 7) & ~7u)));
}

/* A section once more, behind itself. */
static inline void repeat_section(struct bytes *saved, size_t at)
{
    size_t size = SECTION + number(saved->at + at + 12);
    uint8_t *copy = malloc(size);

    assert_non_null(copy);
    memcpy(copy, saved->at + at, size);
    splice(saved, at + size, 0, copy, size);
    free(copy);
}

#endif
