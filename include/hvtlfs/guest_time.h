/* SPDX-License-Identifier: MIT */
/**
 * @file guest_time.h
 * The guest's side of the reference TSC page (TLFS 12.7.3): for guests and for tests.
 *
 * Stands alone: no library, no other header of ours. GCC or Clang, for their atomic builtins; reading
 * the TSC is x86 only.
 *
 * A reader looks at the sequence, takes its TSC, takes scale and offset, looks at the sequence again,
 * and starts over if it has changed. All loads acquire, so that none of the later ones is taken
 * earlier; the TSC is fenced on both sides, for RDTSC is ordered with nothing by itself. A sequence of
 * 0 (or, for guests of version 2.0 of the TLFS, 0xFFFFFFFF) sends the guest to
 * HV_X64_MSR_TIME_REF_COUNT.
 */
#ifndef HVTLFS_GUEST_TIME_H
#define HVTLFS_GUEST_TIME_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The beginning of the page; the rest is zero. The host writes while guests read. */
struct hvtlfs_guest_tsc_page {
    uint32_t sequence; /**< 0: use the MSR. */
    uint32_t reserved; /**< 0. */
    uint64_t scale;    /**< Units of 100 ns in a tick, in fractions of 2^64. */
    uint64_t offset;   /**< Units of 100 ns, two's complement. */
};

/** Where a TSC value comes from; @p context is the caller's. */
typedef uint64_t hvtlfs_guest_read_tsc(void *context);

/** high64(tsc * scale) + offset, from 32-bit halves: any compiler, any width. */
static inline uint64_t hvtlfs_guest_scale(uint64_t tsc, uint64_t scale, uint64_t offset)
{
    const uint64_t low = UINT64_C(0xFFFFFFFF);
    uint64_t cross1 = (tsc & low) * (scale >> 32) + ((tsc & low) * (scale & low) >> 32);
    uint64_t cross2 = (tsc >> 32) * (scale & low) + (cross1 & low);

    return (tsc >> 32) * (scale >> 32) + (cross1 >> 32) + (cross2 >> 32) + offset;
}

/** A half of a word, which is little-endian in the page, whoever reads it. */
static inline uint32_t hvtlfs_guest_load32(const uint32_t *half)
{
    uint32_t value = __atomic_load_n(half, __ATOMIC_ACQUIRE);

#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    value = __builtin_bswap32(value);
#endif
    return value;
}

/** A word that the sequence protects; in halves where a 64-bit load is no single instruction. */
static inline uint64_t hvtlfs_guest_load(const uint64_t *word)
{
#if __SIZEOF_POINTER__ >= 8 && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
#else
    const uint32_t *half = (const uint32_t *)(const void *)word;
    uint64_t low = hvtlfs_guest_load32(&half[0]);

    return low | (uint64_t)hvtlfs_guest_load32(&half[1]) << 32;
#endif
}

/**
 * Read the time once.
 *
 * @param page     where the guest's page is mapped
 * @param read_tsc gives the TSC; must not be reordered with loads around it
 * @param context  handed to @p read_tsc
 * @param time     set to reference time in units of 100 ns on success, otherwise untouched
 * @param valid    set to whether the page is valid: if not, read HV_X64_MSR_TIME_REF_COUNT
 * @return false if the page changed meanwhile: try again
 */
static inline bool hvtlfs_guest_try_time(const struct hvtlfs_guest_tsc_page *page,
                                         hvtlfs_guest_read_tsc *read_tsc, void *context,
                                         uint64_t *time, bool *valid)
{
    uint32_t sequence = __atomic_load_n(&page->sequence, __ATOMIC_ACQUIRE);
    uint64_t tsc, scale, offset;

    *valid = sequence != 0 && sequence != UINT32_C(0xFFFFFFFF);
    if (!*valid) {
        return true;
    }
    tsc = read_tsc(context);
    scale = hvtlfs_guest_load(&page->scale);
    offset = hvtlfs_guest_load(&page->offset);
    if (__atomic_load_n(&page->sequence, __ATOMIC_ACQUIRE) != sequence) {
        return false;
    }
    *time = hvtlfs_guest_scale(tsc, scale, offset);
    return true;
}

/**
 * Read the time from the page, with a TSC of the caller's choice.
 *
 * @return true with *time set; false if the page is invalid: read HV_X64_MSR_TIME_REF_COUNT
 */
static inline bool hvtlfs_guest_time_with(const struct hvtlfs_guest_tsc_page *page,
                                          hvtlfs_guest_read_tsc *read_tsc, void *context,
                                          uint64_t *time)
{
    bool valid;

    while (!hvtlfs_guest_try_time(page, read_tsc, context, time, &valid)) {
    }
    return valid;
}

#if defined(__x86_64__) || defined(__i386__)
/** RDTSC after every load before it and before every load behind it. @p context is ignored. */
static inline uint64_t hvtlfs_guest_rdtsc(void *context)
{
#if defined(__x86_64__)
    uint64_t low, high;

    (void)context;
    __asm__ __volatile__("lfence\n\trdtsc\n\tlfence" : "=a"(low), "=d"(high) : : "memory");
    return high << 32 | low;
#else
    uint64_t tsc;

    (void)context;
    __asm__ __volatile__("lfence\n\trdtsc\n\tlfence" : "=A"(tsc) : : "memory");
    return tsc;
#endif
}

/** Read the time from the page: what a guest calls. As hvtlfs_guest_time_with(). */
static inline bool hvtlfs_guest_time(const struct hvtlfs_guest_tsc_page *page, uint64_t *time)
{
    return hvtlfs_guest_time_with(page, hvtlfs_guest_rdtsc, time, time); /* no context is needed */
}
#endif

#ifdef __cplusplus
}
#endif

#endif
