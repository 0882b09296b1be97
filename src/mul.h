/* SPDX-License-Identifier: MIT */
/* The upper half of a product, where a call would cost more than the work: hvtlfs_mul_u64_hi. */
#ifndef HVTI_MUL_H
#define HVTI_MUL_H

#include <stdint.h>

#define TWO32 UINT64_C(0x100000000)

/* Halves of a 64-bit word; spelled so that Frama-C's provers, which are weak on shifts, can follow. */
#define HIGH32(x) ((x) / TWO32)
#define LOW32(x) ((x) % TWO32)

/* a * b by 32-bit limbs. No sum here exceeds 64 bits: (2^32-1)^2 + 2 * (2^32-1) = 2^64 - 1. */
/*@ assigns \nothing;
    ensures \result * 0x10000000000000000 <= a * b < (\result + 1) * 0x10000000000000000; */
static inline uint64_t mul_u64_hi(uint64_t a, uint64_t b)
{
    uint64_t al = LOW32(a), ah = HIGH32(a);
    uint64_t bl = LOW32(b), bh = HIGH32(b);
    uint64_t t = ah * bl + HIGH32(al * bl);
    /*@ assert al * bh <= 0xFFFFFFFE00000001; */
    /*@ assert ah * bh <= 0xFFFFFFFE00000001; */
    uint64_t u = al * bh + LOW32(t);

    /*@ assert a * b == ah * bh * 0x10000000000000000 + (ah * bl + al * bh) * 0x100000000 + al * bl; */
    /*@ assert a * b == (ah * bh + t / 0x100000000 + u / 0x100000000) * 0x10000000000000000
                        + (u % 0x100000000) * 0x100000000 + (al * bl) % 0x100000000; */
    return ah * bh + HIGH32(t) + HIGH32(u);
}

#undef TWO32
#undef HIGH32
#undef LOW32

#endif
