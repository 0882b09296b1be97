/* SPDX-License-Identifier: MIT */
#include "model_apic.h"

#include <inttypes.h>
#include <stdio.h>

static void set(uint64_t map[4], uint32_t vector)
{
    map[vector / 64] |= UINT64_C(1) << vector % 64;
}

static void clear(uint64_t map[4], uint32_t vector)
{
    map[vector / 64] &= ~(UINT64_C(1) << vector % 64);
}

static bool test(const uint64_t map[4], uint32_t vector)
{
    return map[vector / 64] >> vector % 64 & 1;
}

static uint32_t highest(const uint64_t map[4])
{
    for (uint32_t vector = 256; vector-- > 0;) {
        if (test(map, vector)) {
            return vector;
        }
    }
    return MODEL_APIC_NONE;
}

void model_apic_request(struct model_apic *apic, uint32_t vector, enum hvtlfs_trigger trigger)
{
    set(apic->irr, vector & 0xFF);
    if (trigger == HVTLFS_TRIGGER_LEVEL) {
        set(apic->tmr, vector & 0xFF);
    } else {
        clear(apic->tmr, vector & 0xFF);
    }
}

uint32_t model_apic_pending(const struct model_apic *apic)
{
    return highest(apic->irr);
}

uint32_t model_apic_in_service(const struct model_apic *apic)
{
    return highest(apic->isr);
}

uint32_t model_apic_accept(struct model_apic *apic)
{
    uint32_t vector = highest(apic->irr);
    uint32_t in_service = highest(apic->isr);
    if (vector == MODEL_APIC_NONE || vector / 16 <= apic->tpr / 16u ||
        (in_service != MODEL_APIC_NONE && vector / 16 <= in_service / 16)) {
        return MODEL_APIC_NONE;
    }
    clear(apic->irr, vector);
    set(apic->isr, vector);
    apic->delivered++;
    return vector;
}

uint32_t model_apic_end(struct model_apic *apic)
{
    uint32_t vector = highest(apic->isr);
    if (vector == MODEL_APIC_NONE) {
        apic->spurious++;
        return vector;
    }
    clear(apic->isr, vector);
    apic->ended++;
    return vector;
}

/* Whatever still waits after accepting is held back by this one: it needs the EOI to exit. */
static bool arm(const struct model_apic *apic, struct hvtlfs_vp *vp, uint32_t vector)
{
    return hvtlfs_lazy_eoi_arm(
        vp, vector, test(apic->tmr, vector) ? HVTLFS_TRIGGER_LEVEL : HVTLFS_TRIGGER_EDGE,
        highest(apic->irr) != MODEL_APIC_NONE);
}

/*
 * The bit is set at injection (TLFS 10.3.5), and set again only for the same interrupt when the VP
 * goes on with it. Of nested interrupts the outer ones end by an exit: only the first EOI is saved.
 */
uint32_t model_apic_enter(struct model_apic *apic, struct hvtlfs_vp *vp)
{
    uint32_t vector = model_apic_accept(apic);
    if (vector != MODEL_APIC_NONE) {
        apic->saved = arm(apic, vp, vector) ? vector + 1 : 0;
    } else if (apic->saved != 0) {
        bool goes_on = highest(apic->isr) == apic->saved - 1;
        apic->saved = goes_on ? apic->saved : 0;
        /* It may fail, while the page is away for instance; then the EOI exits. */
        (void)(goes_on && arm(apic, vp, apic->saved - 1));
    }
    return vector;
}

void model_apic_leave(struct model_apic *apic, struct hvtlfs_vp *vp)
{
    if (hvtlfs_lazy_eoi_collect(vp) != HVTLFS_NO_EOI) {
        apic->lazy++;
        (void)model_apic_end(apic);
    }
}

/* ---- Text ---- */

struct sink {
    char *buffer;
    size_t size;
    size_t length;
};

static void add(struct sink *sink, const char *before, uint32_t value)
{
    size_t left = sink->length < sink->size ? sink->size - sink->length : 0;
    char *to = left > 0 ? sink->buffer + sink->length : NULL;
    int length = value == MODEL_APIC_NONE ? snprintf(to, left, "%snone", before)
                                          : snprintf(to, left, "%s0x%" PRIx32, before, value);
    sink->length += length > 0 ? (size_t)length : 0;
}

static void add_map(struct sink *sink, const char *name, const uint64_t map[4])
{
    const char *before = name;
    for (uint32_t vector = 256; vector-- > 0;) {
        if (test(map, vector)) {
            add(sink, before, vector);
            before = ",";
        }
    }
    if (before == name) {
        add(sink, before, MODEL_APIC_NONE);
    }
}

size_t model_apic_text(const struct model_apic *apic, char *buffer, size_t size)
{
    struct sink sink = {buffer, size, 0};
    add_map(&sink, "isr=", apic->isr);
    add_map(&sink, " irr=", apic->irr);
    add(&sink, " tpr=", apic->tpr);
    add(&sink, " delivered=", apic->delivered);
    add(&sink, " ended=", apic->ended);
    add(&sink, " lazy=", apic->lazy);
    add(&sink, " spurious=", apic->spurious);
    return sink.length;
}
