/* SPDX-License-Identifier: MIT */
/*
 * A model of one local APIC, as far as interrupts get accepted and ended, and of what its host does
 * around a VP's run to serve lazy EOI. Plain data: it can be copied, compared and reset by
 * assignment.
 *
 *     model_apic_request(&apic, 0x31, HVTLFS_TRIGGER_EDGE);    a device
 *     vector = model_apic_enter(&apic, vp);                    the VP enters the guest
 *     model_apic_leave(&apic, vp);                             and has come out
 */
#ifndef MODEL_APIC_H
#define MODEL_APIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hvtlfs/vapic.h>

#define MODEL_APIC_NONE UINT32_C(0xFFFFFFFF)

struct model_apic {
    uint64_t irr[4]; /* requested; bit v of word v / 64 */
    uint64_t isr[4]; /* in service */
    uint64_t tmr[4]; /* the request is level-triggered */
    uint64_t icr;
    uint8_t tpr;
    uint32_t saved;     /* vector + 1 of the interrupt whose EOI may be saved, 0 = none */
    uint32_t delivered; /* interrupts that went in */
    uint32_t ended;     /* EOIs that ended one */
    uint32_t spurious;  /* EOIs with nothing in service */
    uint32_t lazy;      /* of `ended`, those that cost no exit of their own */
};

/* Make an interrupt pending; one that is pending already merges with it, as in any APIC. */
void model_apic_request(struct model_apic *apic, uint32_t vector, enum hvtlfs_trigger trigger);

/* The highest vector pending or in service; MODEL_APIC_NONE if there is none. */
uint32_t model_apic_pending(const struct model_apic *apic);
uint32_t model_apic_in_service(const struct model_apic *apic);

/* Move the highest pending interrupt into service if its priority class is above those of the task
 * and of what is in service. Returns its vector, or MODEL_APIC_NONE. */
uint32_t model_apic_accept(struct model_apic *apic);

/* An EOI: the highest in service is out. Returns its vector, or MODEL_APIC_NONE. */
uint32_t model_apic_end(struct model_apic *apic);

/* Accept and arm: the host's work before the VP runs. Returns the vector accepted, or
 * MODEL_APIC_NONE. */
uint32_t model_apic_enter(struct model_apic *apic, struct hvtlfs_vp *vp);

/* Collect: the host's work after the VP has run. */
void model_apic_leave(struct model_apic *apic, struct hvtlfs_vp *vp);

/* "isr=0x31 irr=none tpr=0x0 delivered=1 ended=0 lazy=0 spurious=0" in the manner of snprintf. */
size_t model_apic_text(const struct model_apic *apic, char *buffer, size_t size);

#endif
