/* SPDX-License-Identifier: MIT */
/* The local APIC, in x2APIC mode where CPUID has it, else through its page of registers. */
#ifndef HVTLFS_GUEST_APIC_H
#define HVTLFS_GUEST_APIC_H

#include <stdbool.h>
#include <stdint.h>

enum apic_register { APIC_ID = 0x02, APIC_TPR = 0x08, APIC_EOI = 0x0B, APIC_SPURIOUS = 0x0F };

/* Set before the VPs enter: never x2APIC mode, as systems that do not know it. */
extern bool apic_page_only;

/* Switch this VP's local APIC on; nothing where the host has none. */
void apic_enter(void);

bool apic_present(void);
uint32_t apic_id(void);

/* The end of an interrupt, in the way that this VP's struct says: through the assist page as TLFS
 * 10.3.5 has it, by the synthetic MSR, or by the APIC's own register. */
void apic_eoi(void);

/* Let interrupts in until one of this vector has come, or for a good while. Returns how many of it came.
 * Not every hypervisor looks at each instruction whether interrupts are open. */
uint32_t interrupts_take(unsigned vector);

/* VP 0, before apic_enter(): start all others in real mode at a page below 1 MiB. */
void apic_start_others(uint32_t gpa);

/* A fixed, edge-triggered interrupt to the local APIC with this identifier. */
void apic_send(uint32_t destination, uint8_t vector);

/* The same as one 64-bit value, for those who write ICR by a synthetic MSR. */
uint64_t apic_icr(uint32_t destination, uint8_t vector);

#endif
