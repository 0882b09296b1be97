/* SPDX-License-Identifier: MIT */
/*
 * A model host: everything the library may ask of a VMM, made of plain memory.
 *
 * It is deterministic: time moves only when told to, nothing is random, and every request of the
 * library is written down in order. The command `hvtlfs replay` and the tests stand on it.
 *
 *     struct model_host_options options;
 *     model_host_options_init(&options);
 *     options.ram_size = 1 << 20;
 *     struct model_host *host = model_host_create(&options);
 *
 *     struct hvtlfs_config config;
 *     hvtlfs_config_init(&config);
 *     model_host_configure(host, &config);      // callbacks, context, clock rate
 *     config.ops.kick = NULL;                   // a test may take callbacks away again
 *     ...
 *     model_host_destroy(host);
 *
 * The model watches the library as much as it serves it: a request that breaks the contract of
 * <hvtlfs/host.h> (a page crossed, an overlay cleared that never stood, the lock taken twice...)
 * is counted; see model_host_violations(). A test ends by asserting that there were none.
 *
 * Threads: with MODEL_LOCK_MUTEX every function here may be called from any thread, except create,
 * destroy and those under "Failure injection"; the note of a log entry is valid until the log is
 * cleared. Otherwise one thread at a time.
 */
#ifndef MODEL_HOST_H
#define MODEL_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <hvtlfs/host.h>
#include <hvtlfs/partition.h>
#include <hvtlfs/synic.h>

#include "model_apic.h"

struct model_host;

/* What the lock and unlock callbacks are. */
enum model_lock {
    MODEL_LOCK_CHECKED = 0, /* present, single-threaded: pairing and recursion are checked */
    MODEL_LOCK_ABSENT = 1,  /* NULL: the caller serialises */
    MODEL_LOCK_MUTEX = 2,   /* a real mutex, for tests with threads */
};

struct model_host_options {
    uint64_t ram_size;    /* bytes from GPA 0 on, a multiple of 4096; default 16 MiB */
    uint64_t tsc_hz;      /* rate of the guest's TSC, 0 = it stands still; default 1 GHz */
    uint64_t tsc;         /* TSC of every VP at the start; default 0 */
    uint64_t host_time;   /* host clock at the start, 100 ns; default 123456789: no library code may
                              depend on its origin */
    bool copies_overlays; /* no overlay callbacks: the library swaps bytes in RAM; default false */
    enum model_lock lock; /* default MODEL_LOCK_CHECKED */
};

void model_host_options_init(struct model_host_options *options);

/* A host with zeroed RAM; NULL if there is not enough memory or ram_size is no multiple of 4096. */
struct model_host *model_host_create(const struct model_host_options *options);
void model_host_destroy(struct model_host *host);

/* The callbacks that serve a partition; their context is the host itself. */
void model_host_ops(const struct model_host *host, struct hvtlfs_host_ops *ops);

/* Set ops, context and tsc_hz of a configuration. */
void model_host_configure(struct model_host *host, struct hvtlfs_config *config);

/*
 * A partition in memory that the model provides and frees with itself. The configuration is used as
 * it is; model_host_configure() comes first. Returns what the library says; HVTLFS_ERR_MEMORY_SIZE
 * also when there is not enough memory. A host has at most one partition at a time: a second call
 * frees the first.
 */
enum hvtlfs_status model_host_partition(struct model_host *host, const struct hvtlfs_config *config,
                                        struct hvtlfs_partition **partition,
                                        struct hvtlfs_error *error);

/* The partition that these overlays and deadlines belong to is gone, as after a migration: nobody will
 * clear them. Memory, clocks and everything else stay. */
void model_host_forget(struct model_host *host);

/* ---- What the guest sees of its memory ---- */

enum model_access {
    MODEL_ACCESS_OK = 0,
    MODEL_ACCESS_FAULT = 1,    /* #GP: an overlay that the guest may not write (or read) */
    MODEL_ACCESS_UNMAPPED = 2, /* neither RAM nor an overlay */
};

/* A load or store of the guest, overlays included. Any size, any number of pages; nothing is
   transferred unless the whole range is accessible. */
enum model_access model_host_guest_read(struct model_host *host, uint64_t gpa, void *buffer,
                                        size_t size);
enum model_access model_host_guest_write(struct model_host *host, uint64_t gpa, const void *buffer,
                                         size_t size);

/* A number as it lies in the guest's memory, and back: little-endian, whatever this runs on. */
static inline uint64_t model_le64(uint64_t value)
{
    uint8_t bytes[8];
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)(value >> (8 * i));
    }
    memcpy(&value, bytes, sizeof(bytes));
    return value;
}

static inline uint32_t model_le32(uint32_t value)
{
    uint8_t bytes[4];
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)(value >> (8 * i));
    }
    memcpy(&value, bytes, sizeof(bytes));
    return value;
}

/* Little-endian conveniences; an inaccessible address reads as all ones. */
uint32_t model_host_guest_read32(struct model_host *host, uint64_t gpa);
uint64_t model_host_guest_read64(struct model_host *host, uint64_t gpa);
enum model_access model_host_guest_write64(struct model_host *host, uint64_t gpa, uint64_t value);

/* RAM below all overlays; NULL outside RAM. */
uint8_t *model_host_ram(struct model_host *host, uint64_t gpa);

/* Overlays that stand now, and the one at a page (false if there is none). */
size_t model_host_overlay_count(struct model_host *host);
bool model_host_overlay_at(struct model_host *host, uint64_t gpa, struct hvtlfs_overlay *overlay);

/* ---- Clocks ---- */

/* Let time pass: the host clock by 100 ns units, the TSC by exactly as many ticks as its rate says,
   fractions carried over from call to call. The TSC wraps, the host clock stops at its maximum. */
void model_host_advance(struct model_host *host, uint64_t time);

/* As if the guest wrote its TSC: all VPs, the host clock stays. */
void model_host_set_tsc(struct model_host *host, uint64_t tsc);
void model_host_add_tsc(struct model_host *host, uint64_t ticks);

/* A VP's TSC in relation to the others'; default 0. Modulo 2^64. */
void model_host_set_tsc_offset(struct model_host *host, uint32_t vp_index, uint64_t offset);
uint64_t model_host_tsc_offset(struct model_host *host, uint32_t vp_index);

/* The rate from now on, as after a migration. */
void model_host_set_tsc_hz(struct model_host *host, uint64_t tsc_hz);
uint64_t model_host_tsc_hz(struct model_host *host);

uint64_t model_host_tsc(struct model_host *host, uint32_t vp_index);
uint64_t model_host_time(struct model_host *host);

/* What the host clock showed at the start. */
uint64_t model_host_start_time(const struct model_host *host);

/* Run time reported for a VP, 100 ns; 0 at the start. It goes on with the host clock. */
void model_host_set_runtime(struct model_host *host, uint32_t vp_index, uint64_t runtime);

/* A VP's armed deadline in reference time; HVTLFS_TIME_NEVER if none. */
uint64_t model_host_deadline(struct model_host *host, uint32_t vp_index);

/* The VP with the earliest deadline, or HVTLFS_NO_VP; the deadline goes to *deadline. */
uint32_t model_host_next_deadline(struct model_host *host, uint64_t *deadline);

/* ---- Interrupts: a queue for each VP ---- */

/* Take the oldest interrupt requested for a VP; false if there is none. */
bool model_host_take_interrupt(struct model_host *host, uint32_t vp_index,
                               struct hvtlfs_interrupt *interrupt);
size_t model_host_interrupt_count(struct model_host *host, uint32_t vp_index);

/* Take one VP that was kicked and not taken since, or HVTLFS_NO_VP. Kicks of one VP merge. */
uint32_t model_host_take_kick(struct model_host *host);

/* A register of a VP's APIC as last written by the library or by the test. */
uint64_t model_host_apic(struct model_host *host, uint32_t vp_index, enum hvtlfs_apic_register reg);
void model_host_set_apic(struct model_host *host, uint32_t vp_index, enum hvtlfs_apic_register reg,
                         uint64_t value);

/* A VP's local APIC. EOI, TPR and fixed IPIs that the library writes take effect in it; interrupts
   that the library requests stay in the queue above. */
struct model_apic *model_host_local_apic(struct model_host *host, uint32_t vp_index);

/* As after a processor reset: nothing requested, nothing in service, TPR and ICR 0. */
void model_host_reset_apic(struct model_host *host, uint32_t vp_index);

/* Put into the log that a VP waits for an interrupt. */
void model_host_note_idle(struct model_host *host, uint32_t vp_index);

/* ---- The log: every request in the order it was made ---- */

enum model_event_kind {
    MODEL_EVENT_OVERLAY_SET,   /* kind, gpa, access */
    MODEL_EVENT_OVERLAY_CLEAR, /* kind, gpa */
    MODEL_EVENT_INTERRUPT,     /* vector, auto-eoi, nmi */
    MODEL_EVENT_KICK,
    MODEL_EVENT_APIC_WRITE,    /* reg, value */
    MODEL_EVENT_FLUSH,         /* space, all-spaces, non-global, ranges, vps, mask (of VPs 0 to 63) */
    MODEL_EVENT_DEADLINE,      /* at */
    MODEL_EVENT_TSC_EMULATION, /* in-force */
    MODEL_EVENT_POST,          /* connection, type, size */
    MODEL_EVENT_SIGNAL,        /* connection, flag */
    MODEL_EVENT_SPIN_WAIT,     /* spins */
    MODEL_EVENT_RESET,
    MODEL_EVENT_CRASH,         /* p0 to p4, control; note is the message */
    MODEL_EVENT_IDLE,          /* noted by whoever got HVTLFS_MSR_IDLE */
    MODEL_EVENT_NPIEP,         /* prevent */
    MODEL_EVENT_STATS_PAGE,    /* kind, shown */
    MODEL_EVENT_DEBUG_WRITE,   /* msr, value */

    MODEL_EVENT_FLUSH_QUEUED,  /* vps, mask */
    MODEL_EVENT_SWITCH,        /* cr3 */
    MODEL_EVENT_GPA_FLUSH,     /* space, ranges */
    MODEL_EVENT_SET_REGISTER,  /* name, low, high */
    MODEL_EVENT_START_VP,      /* target, rip, cr3 */
    MODEL_EVENT_RETARGET,      /* device, vector, multicast, vps, mask */
    MODEL_EVENT_KINDS
};

#define MODEL_EVENT_VALUES 6

struct model_event {
    enum model_event_kind kind;
    uint32_t vp_index;                   /* HVTLFS_NO_VP where no VP is concerned */
    uint64_t values[MODEL_EVENT_VALUES]; /* as listed at the kind */
    const char *note;                    /* NUL-terminated printable text, or NULL */
};

size_t model_host_event_count(struct model_host *host);

/* Copy event number n of those logged since the last clear, oldest first; false beyond the end. */
bool model_host_event(struct model_host *host, size_t n, struct model_event *event);

/* How many events of a kind are in the log. */
size_t model_host_events_of(struct model_host *host, enum model_event_kind kind);
void model_host_clear_events(struct model_host *host);

/* Keep the oldest `count` only. */
void model_host_keep_events(struct model_host *host, size_t count);

/* "spin-wait", "reset"...; and the whole event as "spin-wait vp=0 spins=0x10" in the manner of
   snprintf. */
const char *model_event_name(enum model_event_kind kind);
size_t model_event_text(const struct model_event *event, char *buffer, size_t size);

/* ---- Hypercalls ---- */

/* The ops of model_host_ops() flush at once; this makes them queue instead. */
void model_host_queue_flushes(struct hvtlfs_host_ops *ops);

/* What requests that may be refused are answered with; default HVTLFS_ANSWER_OK. */
void model_host_set_answer(struct model_host *host, enum hvtlfs_answer answer);

/* An architectural register of a VP as last set by the test or the guest; default 0. */
void model_host_set_register(struct model_host *host, uint32_t vp_index, uint32_t name,
                             struct hvtlfs_register value);
struct hvtlfs_register model_host_register(struct model_host *host, uint32_t vp_index,
                                           uint32_t name);

/* How many ranges of zeroed memory are reported: range n is n + 1 pages from page 16 n on; default
   1. */
void model_host_set_zeroed_ranges(struct model_host *host, uint32_t count);
/* ---- Connections: handlers for struct hvtlfs_connection, with the host as context ---- */

/* They write down what the guest posts and signals, and answer with the status set last (0). */
uint16_t model_host_post(void *context, uint32_t vp_index, uint32_t connection_id,
                         const struct hvtlfs_message *message);
uint16_t model_host_signal(void *context, uint32_t vp_index, uint32_t connection_id, uint32_t flag);
void model_host_set_connection_status(struct model_host *host, uint16_t status);

/* ---- Failure injection ---- */

/* Make the nth callback that may fail (guest memory, overlay_set, whatever answers a request, posts and
   signals to a handler), counted from this call on and starting at 1, fail; 0: none fails. With `onwards`
   all later ones fail too. */
void model_host_fail(struct model_host *host, uint64_t nth, bool onwards);

/* Callbacks that may fail since creation or the last model_host_fail(). */
uint64_t model_host_fallible_calls(struct model_host *host);

/* Requests that broke the contract, and what the first of them was (NULL if none). */
uint64_t model_host_violations(struct model_host *host);
const char *model_host_first_violation(struct model_host *host);

#endif
