/* SPDX-License-Identifier: MIT */
/*
 * Reference time as arithmetic (TLFS 12.7.3). docs/REFTIME.md derives it; tests/proofs proves it, by
 * the names used here.
 */
#include <hvtlfs/reftime.h>

#include "mul.h"
#include "util.h"

uint64_t hvtlfs_mul_u64_hi(uint64_t a, uint64_t b)
{
    return mul_u64_hi(a, b);
}

/*
 * Long division, a bit at a time: `high` is the running remainder, always below the divisor, and the
 * quotient enters `low` from the right as the dividend leaves it on the left. The remainder is
 * doubled in 65 bits; `carry` is the topmost. When it is set, the subtraction borrows from it.
 */
uint64_t hvtlfs_div_u128(uint64_t high, uint64_t low, uint64_t divisor, uint64_t *remainder)
{
    uint32_t bit;

    for (bit = 0; bit < 64; bit++) {
        bool carry = high >> 63;

        high = high << 1 | low >> 63;
        low <<= 1;
        if (carry || high >= divisor) {
            high -= divisor;
            low |= 1;
        }
    }
    if (remainder) {
        *remainder = high;
    }
    return low;
}

enum hvtlfs_status hvtlfs_reftime_scale(uint64_t tsc_hz, uint64_t *scale)
{
    if (!scale) {
        return HVTLFS_ERR_ARGUMENT;
    }
    if (tsc_hz <= HVTLFS_REFTIME_HZ) {
        return HVTLFS_ERR_TSC_RATE;
    }
    *scale = hvtlfs_div_u128(HVTLFS_REFTIME_HZ, 0, tsc_hz, NULL);
    return HVTLFS_OK;
}

uint64_t hvtlfs_reftime_from_tsc(uint64_t tsc, uint64_t scale, uint64_t offset)
{
    return mul_u64_hi(tsc, scale) + offset;
}

/* floor(a * b / divisor) modulo 2^64: the part of the quotient beyond 64 bits is divided away first. */
static uint64_t mul_div(uint64_t a, uint64_t b, uint64_t divisor)
{
    uint64_t high;

    if (!divisor) {
        return 0;
    }
    (void)hvtlfs_div_u128(0, hvtlfs_mul_u64_hi(a, b), divisor, &high);
    return hvtlfs_div_u128(high, a * b, divisor, NULL);
}

uint64_t hvtlfs_reftime_exact(uint64_t tsc, uint64_t tsc_hz, uint64_t offset)
{
    return tsc_hz ? mul_div(tsc, HVTLFS_REFTIME_HZ, tsc_hz) + offset : 0;
}

/*
 * The smallest t with high64(t * scale) >= units is ceil(units * 2^64 / scale). It exists within 64
 * bits exactly when units < scale, for the last TSC shows high64((2^64 - 1) * scale) = scale - 1.
 */
enum hvtlfs_status hvtlfs_reftime_first_tsc(uint64_t reference_time, uint64_t scale,
                                            uint64_t offset, uint64_t *tsc)
{
    uint64_t units = reference_time - offset;
    uint64_t remainder;
    uint64_t quotient;

    if (!tsc) {
        return HVTLFS_ERR_ARGUMENT;
    }
    if (units >= scale) {
        return HVTLFS_ERR_NOT_FOUND;
    }
    quotient = hvtlfs_div_u128(units, 0, scale, &remainder);
    *tsc = quotient + (remainder ? 1 : 0);
    return HVTLFS_OK;
}

uint64_t hvtlfs_reftime_offset(uint64_t reference_time, uint64_t tsc, uint64_t scale)
{
    return reference_time - hvtlfs_mul_u64_hi(tsc, scale);
}

uint64_t hvtlfs_tsc_convert(uint64_t ticks, uint64_t from_hz, uint64_t to_hz)
{
    return mul_div(ticks, to_hz, from_hz);
}
