/* SPDX-License-Identifier: MIT */
/* A local APIC in x2APIC mode: requests, priorities, IPIs. No timer, no level-triggered lines. */
#ifndef HVTLFS_UNICORN_APIC_H
#define HVTLFS_UNICORN_APIC_H

#include <stdbool.h>
#include <stdint.h>

struct apic {
    uint32_t id;
    uint64_t requested[4]; /* one bit for each vector */
    uint64_t in_service[4];
    uint64_t auto_eoi[4]; /* requested, and to be accepted without going into service */
    uint32_t tpr;
    uint64_t icr;
    uint32_t icr_high; /* the page of registers: what the next store to ICR takes */
    uint32_t spurious;
    uint64_t base; /* MSR 0x1B */
    bool nmi;
};

enum { APIC_NO_VECTOR = -1 };

void apic_init(struct apic *apic, uint32_t id, bool boot_processor);
void apic_request(struct apic *apic, uint32_t vector, bool auto_eoi);

/* The vector to deliver next, or APIC_NO_VECTOR; and: it is being delivered. */
int apic_next(const struct apic *apic);
void apic_accept(struct apic *apic, uint32_t vector);

/* The highest vector in service, or APIC_NO_VECTOR; whether any is requested. */
int apic_in_service(const struct apic *apic);
bool apic_pending(const struct apic *apic);

/* The highest vector in service is done. */
void apic_eoi(struct apic *apic);

/* Whether an ICR value names this APIC when sender sends it; only fixed delivery is known. */
bool apic_addressed(const struct apic *apic, uint64_t icr, const struct apic *sender);

#endif
