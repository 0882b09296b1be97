/* SPDX-License-Identifier: MIT */
#include <hvtlfs/trace.h>

#include <hvtlfs/host.h>
#include <hvtlfs/hypercall.h>
#include <hvtlfs/msr.h>
#include <hvtlfs/names.h>

#include "sentence.h"

/* How `code` and `value` read. */
enum shape {
    SHAPE_NONE,
    SHAPE_MSR,
    SHAPE_CALL,
    SHAPE_VALUES,
};

static const struct {
    const char *name;
    enum shape shape;
    const char *code; /* names for SHAPE_VALUES, NULL where there is nothing to show */
    const char *value;
    const char *result;
} kinds[HVTLFS_EVENT_KINDS] = {
    [HVTLFS_EVENT_MSR_READ] = {"msr-read", SHAPE_MSR, NULL, NULL, NULL},
    [HVTLFS_EVENT_MSR_WRITE] = {"msr-write", SHAPE_MSR, NULL, NULL, NULL},
    [HVTLFS_EVENT_HYPERCALL] = {"hypercall", SHAPE_CALL, NULL, NULL, NULL},
    [HVTLFS_EVENT_OVERLAY_SET] = {"overlay-set", SHAPE_VALUES, "kind", "gpa", "shown"},
    [HVTLFS_EVENT_OVERLAY_CLEAR] = {"overlay-clear", SHAPE_VALUES, "kind", "gpa", NULL},
    [HVTLFS_EVENT_INTERRUPT] = {"interrupt", SHAPE_VALUES, "vector", "auto-eoi", "nmi"},
    [HVTLFS_EVENT_IPI] = {"ipi", SHAPE_VALUES, "vector", "targets", NULL},
    [HVTLFS_EVENT_KICK] = {"kick", SHAPE_NONE, NULL, NULL, NULL},
    [HVTLFS_EVENT_APIC_WRITE] = {"apic-write", SHAPE_VALUES, "reg", "value", NULL},
    [HVTLFS_EVENT_FLUSH] = {"flush", SHAPE_VALUES, "targets", "ranges", NULL},
    [HVTLFS_EVENT_DEADLINE] = {"deadline", SHAPE_VALUES, NULL, "at", NULL},
    [HVTLFS_EVENT_SPIN_WAIT] = {"spin-wait", SHAPE_VALUES, "spins", NULL, NULL},
    [HVTLFS_EVENT_RESET] = {"reset", SHAPE_NONE, NULL, NULL, NULL},
    [HVTLFS_EVENT_CRASH] = {"crash", SHAPE_VALUES, NULL, "control", NULL},
    [HVTLFS_EVENT_TSC_EMULATION] = {"tsc-emulation", SHAPE_VALUES, "begins", NULL, NULL},
};

const char *hvtlfs_event_name(enum hvtlfs_event_kind kind)
{
    return (uint32_t)kind < HVTLFS_EVENT_KINDS ? kinds[kind].name : NULL;
}

static void add_pair(struct sentence *text, const char *name, uint64_t value)
{
    if (name) {
        sentence_add(text, " ");
        sentence_add(text, name);
        sentence_add(text, "=");
        sentence_hex(text, value);
    }
}

static void add_name(struct sentence *text, const char *name, uint64_t number)
{
    sentence_add(text, " ");
    if (name) {
        sentence_add(text, name);
    } else {
        sentence_hex(text, number);
    }
}

static void add_msr(struct sentence *text, const struct hvtlfs_event *event)
{
    static const char *const results[] = {" done", " #GP", " unclaimed", " done, deliver",
                                          " done, idle"};

    add_name(text, hvtlfs_msr_name(event->code), event->code);
    /* A read that faulted has no value. */
    if (event->kind == HVTLFS_EVENT_MSR_WRITE || event->result != HVTLFS_MSR_FAULT) {
        sentence_add(text, "=");
        sentence_hex(text, event->value);
    }
    sentence_add(text, event->result < ARRAY_LEN(results) ? results[event->result] : " undefined");
}

static void add_call(struct sentence *text, const struct hvtlfs_event *event)
{
    const char *status = hvtlfs_hv_status_name((uint16_t)event->result);

    add_name(text, hvtlfs_call_name((uint16_t)event->code), event->code);
    add_pair(text, "input", event->value);
    switch ((enum hvtlfs_hypercall_result)event->more) {
    case HVTLFS_HYPERCALL_DONE:
        add_name(text, status, event->result);
        break;
    case HVTLFS_HYPERCALL_UD:
        sentence_add(text, " #UD");
        break;
    case HVTLFS_HYPERCALL_CONTINUE:
        sentence_add(text, " continued");
        break;
    case HVTLFS_HYPERCALL_INTERCEPT:
    default:
        sentence_add(text, " memory intercept");
        break;
    }
}

size_t hvtlfs_event_text(const struct hvtlfs_event *event, char *buffer, size_t size)
{
    struct sentence text = {buffer, size, 0};

    if ((uint32_t)event->kind >= HVTLFS_EVENT_KINDS) {
        sentence_add(&text, "unknown");
        return sentence_end(&text);
    }
    sentence_add(&text, kinds[event->kind].name);
    if (event->vp_index != HVTLFS_NO_VP) {
        sentence_add(&text, " vp=");
        sentence_number(&text, event->vp_index);
    }
    if (kinds[event->kind].shape == SHAPE_MSR) {
        add_msr(&text, event);
    } else if (kinds[event->kind].shape == SHAPE_CALL) {
        add_call(&text, event);
    } else {
        add_pair(&text, kinds[event->kind].code, event->code);
        add_pair(&text, kinds[event->kind].value, event->value);
        add_pair(&text, kinds[event->kind].result, event->result);
    }
    return sentence_end(&text);
}
