/* SPDX-License-Identifier: MIT */
/* Small things that every file may use: no state, no library types. */
#ifndef HVTI_UTIL_H
#define HVTI_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What one processor writes and others read for other reasons stays on lines of its own. */
#define CACHE_LINE 64

#define ARRAY_LEN(array) (sizeof(array) / sizeof((array)[0]))
#define BIT32(n) (UINT32_C(1) << (n))
#define BIT64(n) (UINT64_C(1) << (n))

#define PAGE_MASK UINT64_C(0xFFF)

/* A function for what happens seldom: kept out of line, so that the usual way needs no registers saved. */
#define UNUSUAL __attribute__((noinline, cold))

/* The four functions a freestanding compiler may call anyway; everything else is our own. */
void *memcpy(void *restrict to, const void *restrict from, size_t size);
void *memset(void *to, int byte, size_t size);
void *memmove(void *to, const void *from, size_t size);
int memcmp(const void *a, const void *b, size_t size);

static inline uint64_t page_of(uint64_t gpa)
{
    return gpa & ~PAGE_MASK;
}

/*
 * For Frama-C, which checks the annotations (tests/proofs): how many bits of a word are set, and that
 * word & word - 1 takes one away. Proven in tests/proofs/count_bits.smt2, taken for granted here.
 */
/*@ axiomatic Bits {
        logic integer bits(integer word);
        axiom bits_none: bits(0) == 0;
        axiom bits_range: \forall integer word; 0 <= word <= UINT64_MAX ==> 0 <= bits(word) <= 64;
        axiom bits_next: \forall integer word; 0 < word <= UINT64_MAX ==>
            0 <= (word & (word - 1)) < word && bits(word & (word - 1)) == bits(word) - 1;
    } */

/* In halves on a 32-bit machine, where the 64-bit builtin becomes a call into libgcc. */
/*@ requires word > 0;
    assigns \nothing;
    ensures 0 <= \result <= 63; */
static inline uint32_t lowest_bit(uint64_t word)
{
#if UINTPTR_MAX > UINT32_MAX
    return (uint32_t)__builtin_ctzll(word);
#else
    uint32_t low = (uint32_t)word;

    return low ? (uint32_t)__builtin_ctz(low)
               : 32 + (uint32_t)__builtin_ctz((uint32_t)(word >> 32));
#endif
}

/*@ assigns \nothing;
    ensures \result == bits(word); */
static inline uint32_t count_bits(uint64_t word)
{
    word -= word >> 1 & UINT64_C(0x5555555555555555);
    word = (word & UINT64_C(0x3333333333333333)) + (word >> 2 & UINT64_C(0x3333333333333333));
    word = (word + (word >> 4)) & UINT64_C(0x0F0F0F0F0F0F0F0F);
    return (uint32_t)(word * UINT64_C(0x0101010101010101) >> 56);
}

/*
 * The guest's memory is little-endian, whatever we run on. These convert between its order and ours,
 * either way, where something is read from it or written to it; on a little-endian machine they are
 * nothing. An atomic instruction takes its operands converted and gives its result to be converted:
 * and, or and compare do not mind in which order the bytes lie.
 */
#define BIG_ENDIAN_HOST (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)

static inline uint32_t guest32(uint32_t value)
{
    return BIG_ENDIAN_HOST ? __builtin_bswap32(value) : value;
}

static inline uint64_t guest64(uint64_t value)
{
    return BIG_ENDIAN_HOST
               ? (uint64_t)guest32((uint32_t)value) << 32 | guest32((uint32_t)(value >> 32))
               : value;
}

/* Qwords in place. */
static inline void guest_qwords(uint64_t *words, size_t count)
{
    size_t i;

    if (!BIG_ENDIAN_HOST) {
        return;
    }
    for (i = 0; i < count; i++) {
        words[i] = guest64(words[i]);
    }
}

/* The bytes of qwords as the guest gave them: the qwords themselves, or a copy in `room`. */
static inline const void *guest_bytes(const uint64_t *words, size_t count, uint64_t *room)
{
    if (!BIG_ENDIAN_HOST) {
        return words;
    }
    memcpy(room, words, count * sizeof(*room));
    guest_qwords(room, count);
    return room;
}

/* A shared word, read and written whole; relaxed. */
static inline uint64_t load_shared(const uint64_t *shared)
{
#if __SIZEOF_POINTER__ >= 8
    return __atomic_load_n(shared, __ATOMIC_RELAXED);
#else
    return __sync_val_compare_and_swap((uint64_t *)shared, 0, 0);
#endif
}

/* The same, and what follows is read after it. */
static inline uint64_t load_acquire(const uint64_t *shared)
{
#if __SIZEOF_POINTER__ >= 8
    return __atomic_load_n(shared, __ATOMIC_ACQUIRE);
#else
    return load_shared(shared); /* a barrier already */
#endif
}

static inline void store_shared(uint64_t *shared, uint64_t value)
{
#if __SIZEOF_POINTER__ >= 8
    __atomic_store_n(shared, value, __ATOMIC_RELAXED);
#else
    uint64_t old = *shared;
    uint64_t seen;

    while ((seen = __sync_val_compare_and_swap(shared, old, value)) != old) {
        old = seen;
    }
#endif
}

/* The same, and what came before is visible to whoever sees the value with load_acquire(). */
static inline void store_release(uint64_t *shared, uint64_t value)
{
#if __SIZEOF_POINTER__ >= 8
    __atomic_store_n(shared, value, __ATOMIC_RELEASE);
#else
    store_shared(shared, value); /* a barrier already */
#endif
}

/*
 * A word whose readers check a sequence before and after, as the clock's and the TSC page's do. It may
 * tear on a 32-bit machine: the sequence tells. Acquire and release keep it between the two.
 */
static inline uint64_t load_guarded(const uint64_t *word)
{
#if __SIZEOF_POINTER__ >= 8
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
#else
    const uint32_t *half = (const uint32_t *)word;
    uint64_t low = __atomic_load_n(&half[BIG_ENDIAN_HOST], __ATOMIC_ACQUIRE);

    return low | (uint64_t)__atomic_load_n(&half[!BIG_ENDIAN_HOST], __ATOMIC_ACQUIRE) << 32;
#endif
}

static inline void store_guarded(uint64_t *word, uint64_t value)
{
#if __SIZEOF_POINTER__ >= 8
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
#else
    uint32_t *half = (uint32_t *)word;

    __atomic_store_n(&half[BIG_ENDIAN_HOST], (uint32_t)value, __ATOMIC_RELEASE);
    __atomic_store_n(&half[!BIG_ENDIAN_HOST], (uint32_t)(value >> 32), __ATOMIC_RELEASE);
#endif
}

/* Add to a shared word that several threads add to; relaxed. */
static inline void add_shared(uint64_t *shared, uint64_t more)
{
#if __SIZEOF_POINTER__ >= 8
    (void)__atomic_fetch_add(shared, more, __ATOMIC_RELAXED);
#else
    uint64_t old = load_shared(shared);
    uint64_t seen;

    while ((seen = __sync_val_compare_and_swap(shared, old, old + more)) != old) {
        old = seen;
    }
#endif
}

/* Set and clear bits of a shared word in one step; relaxed. */
static inline void set_shared_bits(uint64_t *shared, uint64_t bits)
{
#if __SIZEOF_POINTER__ >= 8
    (void)__atomic_fetch_or(shared, bits, __ATOMIC_RELAXED);
#else
    uint64_t old = load_shared(shared);
    uint64_t seen;

    while ((seen = __sync_val_compare_and_swap(shared, old, old | bits)) != old) {
        old = seen;
    }
#endif
}

static inline void clear_shared_bits(uint64_t *shared, uint64_t bits)
{
#if __SIZEOF_POINTER__ >= 8
    (void)__atomic_fetch_and(shared, ~bits, __ATOMIC_RELAXED);
#else
    uint64_t old = load_shared(shared);
    uint64_t seen;

    while ((seen = __sync_val_compare_and_swap(shared, old, old & ~bits)) != old) {
        old = seen;
    }
#endif
}

#endif
