/* SPDX-License-Identifier: MIT */
/*
 * What a guest must see, written down a second time: small, slow and obvious, from the text of the TLFS
 * (section numbers are those of 6.0b) and, where that is silent, from docs/CONFORMANCE.md. It shares
 * nothing with the library: neither code nor headers nor tables.
 *
 * It is a judge, not a twin. Where the TLFS leaves a choice it says what is allowed: a set of answers to
 * a hypercall, any order between a message and a timer, a periodic tick late or skipped but never early.
 *
 * A user does the same thing to the library and here, lets every VP be polled, calls model_settle() with
 * the reference time, and compares.
 */
#ifndef FUZZ_MODEL_H
#define FUZZ_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_VPS 3u
#define MODEL_SINTS 16u
#define MODEL_TIMERS 4u
#define MODEL_PAGE 4096u
#define MODEL_RAM_PAGES 16u
#define MODEL_QUEUE 48u
#define MODEL_INTERRUPTS 256u
#define MODEL_STATUSES 8u
#define MODEL_RANGES 512u

/* Overlay pages (5.2.1), in the order in which they cover each other where they share a GPA. */
enum model_page {
    MODEL_HYPERCALL,
    MODEL_TSC,
    MODEL_ASSIST, /* from here on one for each VP */
    MODEL_SIM,
    MODEL_SIEF,
    MODEL_STATS, /* four kinds */
    MODEL_PAGES = MODEL_STATS + 4
};
#define MODEL_VP_PAGES (MODEL_PAGES - MODEL_ASSIST)
#define MODEL_SLOTS (MODEL_ASSIST + MODEL_VPS * MODEL_VP_PAGES)

/* DELIVER: a pending interrupt is taken before the next instruction. */
enum model_result { MODEL_DONE, MODEL_FAULT, MODEL_IDLE, MODEL_DELIVER };

#define MODEL_NO_VECTOR 0x100u

struct model_message {
    uint32_t type;
    uint32_t size;
    uint64_t origin;
    uint32_t connection; /* 0: the host's own */
    uint8_t payload[240];
};

struct model_queue {
    uint32_t count;
    struct model_message messages[MODEL_QUEUE];
};

struct model_timer {
    uint64_t config;
    uint64_t count;
    bool running;
    uint64_t start;   /* when a period began */
    uint64_t last;    /* due time of the last tick seen, 0: none */
    bool waiting;     /* a one-shot timer's message waits for the slot */
    uint64_t expired; /* the time in that message */
};

/* The time-unhalted timer (12.6); `due` in time that the VP has run. */
struct model_unhalted {
    uint64_t config, period, due;
};

/* A promise that no EOI is needed (10.3.5). */
struct model_promise {
    bool stands; /* given, and nobody has been told yet what became of it */
    bool ended;  /* taken back too late: the guest had ended its interrupt */
    uint32_t vector;
};

struct model_vp {
    uint64_t scontrol, siefp, simp, assist, tpr, npiep, icr;
    uint64_t runtime;
    uint32_t eois; /* that the APIC was given */
    struct model_unhalted unhalted;
    struct model_promise promise;
    uint64_t stats[4];
    uint64_t sint[MODEL_SINTS];
    struct model_timer timer[MODEL_TIMERS];
    uint32_t queued[MODEL_SINTS]; /* messages in queue[] */
};

struct model_interrupt {
    uint32_t vp, vector;
    bool sint;     /* from a SINT: then whether it is auto-EOI follows from the SINTs (11.8.5) */
    bool optional; /* a periodic timer in direct mode: may have ticked */
    bool nmi;
};

/* A port and its connection (11.3): to the host, or to a SINT. */
struct model_connection {
    uint32_t id;
    bool event, to_host, any_vp;
    uint32_t vp, sint, port, base, flags;
};

struct model {
    uint32_t vp_count;
    bool copies; /* the host cannot put a page where there is no RAM */
    uint64_t gpa_limit;
    bool frozen;
    bool invariant; /* the TSC is the clock, and TSC_INVARIANT_CONTROL exists */

    uint64_t guest_os_id, hypercall, reference_tsc, crash[5];
    uint64_t tsc_hz, apic_hz, tsc_invariant;
    uint64_t reenlightenment, tsc_emulation; /* the controls (16.6) */
    bool emulating;                          /* the TSC goes on at the rate that the guest knows: */
    uint64_t known_hz;
    struct model_vp vp[MODEL_VPS];
    struct model_connection connection[5];

    uint8_t ram[MODEL_RAM_PAGES][MODEL_PAGE];
    uint8_t page[MODEL_SLOTS][MODEL_PAGE];
    bool adopt[MODEL_SLOTS]; /* content not known: take it as it is found */

    /* What the host must have been asked for since model_begin_step(). */
    struct model_interrupt interrupts[MODEL_INTERRUPTS];
    uint32_t interrupt_count;
    uint32_t posts, signals, spin_waits, crashes, resets;
    uint64_t flush_targets;
    uint64_t flush_ranges[MODEL_RANGES];
    uint32_t flush_range_count;
    bool flushed;
};

/* What a hypercall may be answered with. */
struct model_answer {
    bool undefined; /* #UD */
    bool intercept; /* memory intercept */
    uint16_t status[MODEL_STATUSES];
    uint32_t statuses; /* 0 and nothing above: success and nothing else */
    bool counts;       /* `reps` list elements are done, from the first one on */
    uint32_t reps;
};

struct model_call {
    bool fast, long_mode, illegal_mode; /* illegal: real mode or CPL above 0 */
    uint64_t control, in, out;
    uint8_t block[112]; /* fast: the registers as a block (3.7.2) */
};

/* The arguments of posts: what the host or the guest hands over. */
enum model_post { MODEL_ACCEPTED, MODEL_REFUSED_STATE, MODEL_REFUSED_FULL };

void model_begin(struct model *model, uint32_t vp_count, bool copies, uint64_t gpa_limit);
void model_begin_step(struct model *model);

enum model_result model_read(struct model *model, uint32_t vp, uint32_t msr, uint64_t *value,
                             bool *known);
enum model_result model_write(struct model *model, uint32_t vp, uint32_t msr, uint64_t value,
                              uint64_t now);

/* The guest's view of memory (NULL: nothing there), and whether it may store to it. */
uint8_t *model_visible(struct model *model, uint64_t gpa);
bool model_writable(struct model *model, uint64_t gpa);

/* The slot on top at a page, MODEL_SLOTS for none; and where a slot is, UINT64_MAX for nowhere. */
uint32_t model_top(const struct model *model, uint64_t gpa);
uint64_t model_place(const struct model *model, uint32_t slot);
uint32_t model_slot(uint32_t vp, enum model_page page);

enum model_post model_post(struct model *model, uint32_t vp, uint32_t sint,
                           const struct model_message *message);
enum model_post model_signal(struct model *model, uint32_t vp, uint32_t sint, uint32_t flag,
                             bool *newly);
void model_eoi(struct model *model, uint32_t vp);
void model_request(struct model *model, uint32_t vp, uint32_t vector);

/* Whether any unmasked SINT makes a vector auto-EOI (11.8.5). */
bool model_auto_eoi(const struct model *model, uint32_t vp, uint32_t vector);

/*
 * 10.3.5. The APIC lets an edge-triggered interrupt in and asks whether the guest may end it by the page;
 * later it asks what became of that (MODEL_NO_VECTOR: nothing, the guest will write EOI), or takes it
 * back because another interrupt waits.
 */
bool model_promise(struct model *model, uint32_t vp, uint32_t vector, bool edge, bool waits);
uint32_t model_collect(struct model *model, uint32_t vp);
enum model_withdrawal { MODEL_NONE, MODEL_WITHDRAWN, MODEL_ENDED };
enum model_withdrawal model_withdraw(struct model *model, uint32_t vp);

/* The guest ends its interrupt by the page if it can. False: it has to write EOI. */
bool model_end(struct model *model, uint32_t vp);

/* 16.6: the partition goes on with a TSC of another rate, or elsewhere. */
void model_migrate(struct model *model, uint64_t tsc_hz);

/* Calls whose code and control word are judged; the effect happens when the answer allows success. */
struct model_answer model_hypercall(struct model *model, uint32_t vp, const struct model_call *call,
                                    uint64_t now);

/* The MSR behind a register name (7.8.2); 0: none. */
uint32_t model_register(uint32_t name);

/* Time is `now`, every VP has been polled: one-shot timers that are due have expired. */
void model_settle(struct model *model, uint64_t now);

/*
 * What is in a message slot now. Takes a message that was allowed to arrive, with its interrupt. NULL if
 * that is in order, else what is wrong.
 */
const char *model_slot_found(struct model *model, uint32_t vp, uint32_t sint,
                             const uint8_t slot[256], uint64_t now);

/* The latest reference time at which the VP must be polled next; UINT64_MAX: never. */
uint64_t model_deadline(const struct model *model, uint32_t vp, uint64_t now);

void model_vp_reset(struct model *model, uint32_t vp);
void model_reset(struct model *model);

#endif
