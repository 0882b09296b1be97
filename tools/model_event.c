/* SPDX-License-Identifier: MIT */
/* The names of the model host's log entries, and their text. */
#include "model_host.h"

#include <inttypes.h>
#include <stdio.h>

struct event_row {
    const char *name;
    const char *values[MODEL_EVENT_VALUES]; /* their names in order, up to the first NULL */
};

static const struct event_row event_rows[MODEL_EVENT_KINDS] = {
    [MODEL_EVENT_OVERLAY_SET] = {"overlay-set", {"kind", "gpa", "access"}},
    [MODEL_EVENT_OVERLAY_CLEAR] = {"overlay-clear", {"kind", "gpa"}},
    [MODEL_EVENT_INTERRUPT] = {"interrupt", {"vector", "auto-eoi", "nmi"}},
    [MODEL_EVENT_KICK] = {"kick", {NULL}},
    [MODEL_EVENT_APIC_WRITE] = {"apic-write", {"reg", "value"}},
    [MODEL_EVENT_FLUSH] = {"flush",
                           {"space", "all-spaces", "non-global", "ranges", "vps", "mask"}},
    [MODEL_EVENT_FLUSH_QUEUED] = {"flush-queued", {"vps", "mask"}},
    [MODEL_EVENT_SWITCH] = {"switch", {"cr3"}},
    [MODEL_EVENT_GPA_FLUSH] = {"gpa-flush", {"space", "ranges"}},
    [MODEL_EVENT_SET_REGISTER] = {"set-register", {"name", "low", "high"}},
    [MODEL_EVENT_START_VP] = {"start-vp", {"target", "rip", "cr3"}},
    [MODEL_EVENT_RETARGET] = {"retarget", {"device", "vector", "multicast", "vps", "mask"}},
    [MODEL_EVENT_DEADLINE] = {"deadline", {"at"}},
    [MODEL_EVENT_TSC_EMULATION] = {"tsc-emulation", {"in-force"}},
    [MODEL_EVENT_POST] = {"post", {"connection", "type", "size"}},
    [MODEL_EVENT_SIGNAL] = {"signal", {"connection", "flag"}},
    [MODEL_EVENT_SPIN_WAIT] = {"spin-wait", {"spins"}},
    [MODEL_EVENT_RESET] = {"reset", {NULL}},
    [MODEL_EVENT_IDLE] = {"idle", {NULL}},
    [MODEL_EVENT_NPIEP] = {"npiep", {"prevent"}},
    [MODEL_EVENT_STATS_PAGE] = {"stats-page", {"kind", "shown"}},
    [MODEL_EVENT_DEBUG_WRITE] = {"debug-write", {"msr", "value"}},
    [MODEL_EVENT_CRASH] = {"crash", {"p0", "p1", "p2", "p3", "p4", "control"}},
};

/* A text being put together in a buffer that may be too small; like snprintf, it counts on. */
struct text {
    char *buffer;
    size_t size;
    size_t length;
};

static char *room(const struct text *text, size_t *left)
{
    *left = text->length < text->size ? text->size - text->length : 0;
    return *left > 0 ? text->buffer + text->length : NULL;
}

static void add_string(struct text *text, const char *before, const char *string,
                       const char *behind)
{
    size_t left;
    char *to = room(text, &left);
    int length = snprintf(to, left, "%s%s%s", before, string, behind);
    text->length += length > 0 ? (size_t)length : 0;
}

static void add_vp(struct text *text, uint32_t vp_index)
{
    size_t left;
    char *to = room(text, &left);
    int length = snprintf(to, left, " vp=%" PRIu32, vp_index);
    text->length += length > 0 ? (size_t)length : 0;
}

static void add_value(struct text *text, const char *name, uint64_t value)
{
    size_t left;
    char *to = room(text, &left);
    int length = snprintf(to, left, " %s=0x%" PRIx64, name, value);
    text->length += length > 0 ? (size_t)length : 0;
}

const char *model_event_name(enum model_event_kind kind)
{
    return kind < MODEL_EVENT_KINDS ? event_rows[kind].name : NULL;
}

size_t model_event_text(const struct model_event *event, char *buffer, size_t size)
{
    const struct event_row *row = &event_rows[event->kind];
    struct text text = {buffer, size, 0};
    add_string(&text, "", row->name, "");
    if (event->vp_index != HVTLFS_NO_VP) {
        add_vp(&text, event->vp_index);
    }
    for (size_t i = 0; i < MODEL_EVENT_VALUES && row->values[i] != NULL; i++) {
        add_value(&text, row->values[i], event->values[i]);
    }
    if (event->note != NULL) {
        add_string(&text, " \"", event->note, "\"");
    }
    return text.length;
}
