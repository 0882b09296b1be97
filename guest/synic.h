/* SPDX-License-Identifier: MIT */
/* The calling VP's synthetic interrupt controller, as an operating system uses it (TLFS 11). */
#ifndef HVTLFS_GUEST_SYNIC_H
#define HVTLFS_GUEST_SYNIC_H

#include <stdbool.h>
#include <stdint.h>

#include <hvtlfs/tlfs.h>

/* VPs that the tests use at most. */
enum { SYNIC_VPS = 4 };

/* Whether CPUID offers it. */
bool synic_offered(void);

/* Enable it with both pages, all SINTs masked; and back to the state after reset. On this VP, which is
 * VP n. */
bool synic_enable(unsigned n);
void synic_disable(void);

/* Give a SINT an interrupt vector, with more bits of the register. */
bool synic_sint(unsigned sint, uint8_t vector, uint64_t bits);

/* VP n's slot of a SINT, and its flags. */
volatile struct hv_message *synic_slot(unsigned n, unsigned sint);
volatile uint8_t *synic_flags(unsigned n, unsigned sint);

/* Empty this VP's slot as TLFS 11.10.4 wants it; returns whether MessagePending was set. */
bool synic_empty(unsigned n, unsigned sint);
void synic_eom(void);

/* Let interrupts in until a vector has arrived `count` times, or for long enough to be sure that it
 * does not. Returns how often it has, since synic_expect(). */
void synic_expect(uint8_t vector);
uint32_t synic_wait(uint8_t vector, uint32_t count);

/* Let interrupts in for a moment. */
void synic_breathe(void);

#endif
