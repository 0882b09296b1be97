/* SPDX-License-Identifier: MIT */
/* The local APIC, in x2APIC mode where CPUID has it, else through its page of registers. */
#ifndef HVTLFS_GUEST_APIC_H
#define HVTLFS_GUEST_APIC_H

#include <stdbool.h>
#include <stdint.h>

enum apic_register { APIC_ID = 0x02, APIC_TPR = 0x08, APIC_EOI = 0x0B, APIC_SPURIOUS = 0x0F };

/* Switch this VP's local APIC on; nothing where the host has none. */
void apic_enter(void);

bool apic_present(void);
uint32_t apic_id(void);
void apic_eoi(void);

/* A fixed, edge-triggered interrupt to the local APIC with this identifier. */
void apic_send(uint32_t destination, uint8_t vector);

#endif
