/* SPDX-License-Identifier: MIT */
/* A fuzzer's bytes as numbers. Beyond the end everything is 0. */
#ifndef FUZZ_INPUT_H
#define FUZZ_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct input {
    const uint8_t *data;
    size_t size;
};

static inline bool input_left(const struct input *input)
{
    return input->size > 0;
}

static inline uint8_t input_byte(struct input *input)
{
    if (!input->size) {
        return 0;
    }
    input->size--;
    return *input->data++;
}

static inline uint64_t input_bytes(struct input *input, unsigned count)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < count; i++) {
        value |= (uint64_t)input_byte(input) << 8 * i;
    }
    return value;
}

static inline uint32_t input_below(struct input *input, uint32_t below)
{
    return (below <= 256 ? input_byte(input) : (uint32_t)input_bytes(input, 2)) % below;
}

/* A number as guests and attackers choose them: small, at an edge, a single bit, or anything. */
static inline uint64_t input_number(struct input *input)
{
    static const uint64_t edges[] = {0,
                                     1,
                                     0x1000,
                                     0x7FFFFFFF,
                                     0x80000000,
                                     0xFFFFFFFF,
                                     0x100000000,
                                     UINT64_C(0x7FFFFFFFFFFFFFFF),
                                     UINT64_MAX,
                                     0x10000,
                                     0xFFF,
                                     15,
                                     UINT64_MAX - 0xFFF,
                                     UINT64_C(1) << 52,
                                     UINT64_C(1) << 40,
                                     16};
    const uint8_t how = input_byte(input);

    switch (how >> 6) {
    case 0:
        return how & 63;
    case 1:
        return edges[how & 15] + (how & 16 ? 1u : 0u) - (how & 32 ? 1u : 0u);
    case 2:
        return UINT64_C(1) << (how & 63);
    default:
        return input_bytes(input, 1 + (how & 7));
    }
}

#endif
