/* SPDX-License-Identifier: MIT */
/*
 * Memory for one execution after another: taken from the system once, of exactly the size that was asked
 * for last. Fresh memory from malloc() for every execution would cost more than the execution: its pages
 * are mapped, faulted in and given back each time.
 *
 * What the last user left is still in it, so nobody can lean on zeroes. Under ASan a byte before or beyond
 * is a finding, as with malloc(): what is not in use is poisoned.
 */
#ifndef FUZZ_ARENA_H
#define FUZZ_ARENA_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <hvtlfs/partition.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_POISONS
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define ARENA_POISONS
#endif

#ifdef ARENA_POISONS
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(start, size) ((void)(start), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(start, size) ((void)(start), (void)(size))
#endif

struct arena {
    uint8_t *memory;
    size_t capacity;
};

/* Memory for a partition, or for anything else, until the next call with the same arena. */
static inline void *arena_take(struct arena *arena, size_t size)
{
    if (arena->capacity < size) {
        free(arena->memory);
        arena->capacity = (2 * size / HVTLFS_PARTITION_ALIGNMENT + 1) * HVTLFS_PARTITION_ALIGNMENT;
        arena->memory = aligned_alloc(HVTLFS_PARTITION_ALIGNMENT, arena->capacity);
        if (!arena->memory) {
            abort();
        }
    }
    ASAN_UNPOISON_MEMORY_REGION(arena->memory, size);
    ASAN_POISON_MEMORY_REGION(arena->memory + size, arena->capacity - size);
    return arena->memory;
}

#endif
