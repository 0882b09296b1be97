/* SPDX-License-Identifier: MIT */
#include "memory.h"

#include "cpu.h"
#include "layout.h"

enum { PTE_PRESENT = 1, PTE_WRITE = 2, PTE_USER = 4 };

#define WINDOW_BASE UINT64_C(0x100000000)

extern volatile uint64_t window_table[WINDOW_PAGES];

void *memset(void *to, int byte, size_t size)
{
    volatile uint8_t *bytes = to;

    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)byte;
    }
    return to;
}

void *memcpy(void *to, const void *from, size_t size)
{
    volatile uint8_t *target = to;
    const uint8_t *source = from;

    for (size_t i = 0; i < size; i++) {
        target[i] = source[i];
    }
    return to;
}

int memcmp(const void *a, const void *b, size_t size)
{
    const volatile uint8_t *left = a;
    const volatile uint8_t *right = b;

    for (size_t i = 0; i < size; i++) {
        int difference = left[i] - right[i];

        if (difference != 0) {
            return difference;
        }
    }
    return 0;
}

void *window_map(unsigned slot, uint64_t gpa)
{
    uint64_t address = WINDOW_BASE + (uint64_t)slot * PAGE_BYTES;

    window_table[slot] = (gpa & ~(uint64_t)(PAGE_BYTES - 1)) | PTE_PRESENT | PTE_WRITE | PTE_USER;
    invlpg(address);
    return (void *)(uintptr_t)address;
}

uint64_t gpa_of(const volatile void *object)
{
    return (uint64_t)(uintptr_t)object;
}

volatile uint8_t *at_gpa(uint64_t gpa)
{
    return (volatile uint8_t *)(uintptr_t)gpa;
}

unsigned gpa_bits(void)
{
    unsigned bits = cpuid(0x80000008, 0).eax & 0xFF;

    return bits != 0 ? bits : 36;
}
