/* SPDX-License-Identifier: MIT */
/* Guest physical memory: the identity map below 4 GiB, a window of single pages above it. */
#ifndef HVTLFS_GUEST_MEMORY_H
#define HVTLFS_GUEST_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#define PAGE_BYTES 4096u

void *memset(void *to, int byte, size_t size);
void *memcpy(void *to, const void *from, size_t size);
int memcmp(const void *a, const void *b, size_t size);

/* Map one page of the window to a guest physical page, readable, writable and executable. Other VPs
 * may still see what slot had before: use a slot for one thing. */
void *window_map(unsigned slot, uint64_t gpa);

/* The physical address of something in the image or in the identity map. */
uint64_t gpa_of(const volatile void *object);

/* The other way round, below 4 GiB. */
volatile uint8_t *at_gpa(uint64_t gpa);

/* The width of guest physical addresses in bits (CPUID 0x80000008). */
unsigned gpa_bits(void);

#endif
