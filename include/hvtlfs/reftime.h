/* SPDX-License-Identifier: MIT */
/**
 * @file reftime.h
 * The arithmetic of reference time: numbers in, numbers out, no partition.
 *
 * Reference time counts units of 100 ns (TLFS 12.4). A guest that has a reference TSC page computes
 * it from its TSC (TLFS 12.7.3):
 *
 *     reference time = high64(tsc * scale) + offset        modulo 2^64
 *
 * `scale` is the number of units in one tick as a fraction of 2^64, rounded down. Everything here is
 * exact, needs no 128-bit type, no division instruction and no floating point, and is proven; see
 * docs/REFTIME.md. All functions are pure; any thread.
 */
#ifndef HVTLFS_REFTIME_H
#define HVTLFS_REFTIME_H

#include <stdint.h>

#include <hvtlfs/export.h>
#include <hvtlfs/status.h>

HVTLFS_BEGIN_DECLS

/** Units of reference time in a second, and the TSC rate in Hz above which a scale exists. */
#define HVTLFS_REFTIME_HZ UINT64_C(10000000)

/**
 * The upper half of a 128-bit product.
 *
 * @return floor(a * b / 2^64), exact for all arguments
 */
HVTLFS_API uint64_t hvtlfs_mul_u64_hi(uint64_t a, uint64_t b);

/**
 * Divide 128 bits by 64.
 *
 * @param high      upper half of the dividend; must be below @p divisor, so that the quotient fits
 * @param low       lower half of the dividend
 * @param divisor   not 0
 * @param remainder set to the remainder; may be NULL
 * @return the quotient, floor((high * 2^64 + low) / divisor). With @p high not below @p divisor the
 *         result has no meaning, but the call returns.
 */
HVTLFS_API uint64_t hvtlfs_div_u128(uint64_t high, uint64_t low, uint64_t divisor,
                                    uint64_t *remainder);

/**
 * The scale for a TSC rate.
 *
 * @param tsc_hz ticks in a second
 * @param scale  set to floor(10^7 * 2^64 / tsc_hz) on success, otherwise untouched
 * @return #HVTLFS_OK; #HVTLFS_ERR_TSC_RATE when @p tsc_hz is not above #HVTLFS_REFTIME_HZ (the scale
 *         would need more than 64 bits); #HVTLFS_ERR_ARGUMENT when @p scale is NULL
 */
HVTLFS_API enum hvtlfs_status hvtlfs_reftime_scale(uint64_t tsc_hz, uint64_t *scale);

/**
 * Reference time of a TSC value: what the guest computes from the page, to the bit.
 *
 * Never above the exact value floor(tsc * 10^7 / tsc_hz) + offset, at most one unit below it, for
 * every 64-bit @p tsc; never falls while @p tsc rises (modulo 2^64 as a whole).
 *
 * @param tsc    the guest's TSC
 * @param scale  from hvtlfs_reftime_scale()
 * @param offset in units of 100 ns, two's complement: the page's TscOffset
 * @return reference time modulo 2^64
 */
HVTLFS_API uint64_t hvtlfs_reftime_from_tsc(uint64_t tsc, uint64_t scale, uint64_t offset);

/**
 * The exact time that hvtlfs_reftime_from_tsc() approximates from below.
 *
 * @param tsc    a TSC value
 * @param tsc_hz ticks in a second; not 0 (0 gives 0)
 * @param offset as above
 * @return floor(tsc * 10^7 / tsc_hz) + offset, modulo 2^64; for every rate, also those without a scale
 */
HVTLFS_API uint64_t hvtlfs_reftime_exact(uint64_t tsc, uint64_t tsc_hz, uint64_t offset);

/**
 * The first TSC value at which a reference time is reached: when to wake for a timer.
 *
 * With *tsc = t: hvtlfs_reftime_from_tsc(t) is @p reference_time or, where a tick is longer than a
 * unit, the first value beyond it, and no smaller TSC gets there.
 *
 * @param reference_time the time asked for. Times from before TSC 0 and times after the last TSC
 *                       cannot be told apart modulo 2^64: both are out of reach. Compare with the
 *                       present time first.
 * @param scale          from hvtlfs_reftime_scale()
 * @param offset         as above
 * @param tsc            set on success, otherwise untouched
 * @return #HVTLFS_OK; #HVTLFS_ERR_NOT_FOUND when no 64-bit TSC reaches it; #HVTLFS_ERR_ARGUMENT when
 *         @p tsc is NULL
 */
HVTLFS_API enum hvtlfs_status hvtlfs_reftime_first_tsc(uint64_t reference_time, uint64_t scale,
                                                       uint64_t offset, uint64_t *tsc);

/**
 * The offset that makes time go on: with it, TSC @p tsc shows exactly @p reference_time.
 * Use it wherever the rate or the TSC changes.
 *
 * @return reference_time - high64(tsc * scale), modulo 2^64
 */
HVTLFS_API uint64_t hvtlfs_reftime_offset(uint64_t reference_time, uint64_t tsc, uint64_t scale);

/**
 * Ticks of one rate as ticks of another: what a guest must see of a TSC that is emulated (TLFS
 * 16.6.2).
 *
 * @param ticks   of the clock that runs at @p from_hz
 * @param from_hz not 0 (0 gives 0)
 * @param to_hz   any rate
 * @return floor(ticks * to_hz / from_hz) modulo 2^64
 */
HVTLFS_API uint64_t hvtlfs_tsc_convert(uint64_t ticks, uint64_t from_hz, uint64_t to_hz);

HVTLFS_END_DECLS

#endif
