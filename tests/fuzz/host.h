/* SPDX-License-Identifier: MIT */
/*
 * A host for fuzzing and for counting: one, static, quick to begin anew, and without mercy. A broken
 * contract of a callback ends the program at once.
 *
 * (tools/model_host.c is the other one: friendly, of any size, with a log. It takes a thousand times as
 * long to begin.)
 */
#ifndef FUZZ_HOST_H
#define FUZZ_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <hvtlfs/partition.h>
#include <hvtlfs/synic.h>
#include <hvtlfs/vpset.h>

/* A claim about the library. One that does not hold is a finding. */
#define CLAIM(claim) ((claim) ? (void)0 : fuzz_broken(#claim, __FILE__, __LINE__))

_Noreturn void fuzz_broken(const char *claim, const char *file, int line);

/* With FUZZ_SAY in the environment: what the target does, to understand a finding. */
__attribute__((format(printf, 1, 2))) void fuzz_say(const char *format, ...);
bool fuzz_saying(void);

#define HOST_PAGES 16u /* of RAM, from GPA 0 on */
#define HOST_RAM (HOST_PAGES * HVTLFS_PAGE_SIZE)
#define HOST_VPS 64u
#define HOST_OVERLAYS (2 + 7 * HOST_VPS)
#define HOST_INTERRUPTS 4096u
#define HOST_RANGES 8192u

/* The callbacks, for counting. */
enum host_call {
    HOST_READ,
    HOST_WRITE,
    HOST_PROBE,
    HOST_EXCHANGE,
    HOST_OVERLAY_SET,
    HOST_OVERLAY_CLEAR,
    HOST_LOCK,
    HOST_INTERRUPT,
    HOST_KICK,
    HOST_APIC,
    HOST_FLUSH,
    HOST_CLOCK,
    HOST_DEADLINE,
    HOST_REQUEST, /* spin_wait, reset, crash, npiep, stats, debug, registers ... */
    HOST_CONNECTION,
    HOST_CALLS
};

struct host_interrupt {
    uint32_t vp_index;
    struct hvtlfs_interrupt interrupt;
};

struct host_vp {
    uint64_t tsc_offset;
    uint64_t halted; /* time in which it did not run, of all that passed */
    uint64_t deadline;
    uint64_t apic[3];
    uint32_t eois; /* EOIs written to the APIC */
    uint32_t npiep;
    bool kicked;
    bool halts; /* now */
};

/* Set by the user before host_ops(); the rest is for reading. */
struct host {
    bool copies_overlays;
    bool queues_flushes;
    bool races;        /* the guest changes what was read as soon as it was read */
    bool contends;     /* another VP changes a word whenever the library wants to exchange it */
    bool calls_back;   /* apic_write tells the library of the EOI at once */
    uint64_t fail_at;  /* the nth callback that may fail does; 0: none */
    bool fail_onwards; /* and all after it */
    enum hvtlfs_answer answer;
    uint16_t connection_status;

    struct hvtlfs_partition *partition;
    struct host_vp vps[HOST_VPS];
    uint64_t tsc;
    uint64_t tsc_hz;
    uint64_t tsc_fraction;
    uint64_t time;
    bool locked;
    bool tsc_emulated;

    struct hvtlfs_overlay overlays[HOST_OVERLAYS];
    uint32_t overlay_count;

    uint64_t calls[HOST_CALLS];
    uint64_t fallible;

    struct host_interrupt interrupts[HOST_INTERRUPTS]; /* since host_forget_requests() */
    uint32_t interrupt_count;
    uint64_t flush_targets; /* VPs 0 to 63, of the last flush */
    uint64_t flush_ranges[HOST_RANGES];
    uint32_t flush_range_count;
    uint32_t flushes;
    uint32_t resets;
    uint32_t crashes;
    uint32_t spin_waits;
    uint32_t posts;
    uint32_t signals;
    struct hvtlfs_crash crash;
    uint8_t crash_message[HVTLFS_PAGE_SIZE];

    bool watch_reads;               /* CLAIM that no byte of RAM is read twice */
    uint8_t was_read[HOST_RAM / 8]; /* a bit for each byte, since host_forget_reads() */
};

extern struct host fuzz_host;
extern _Alignas(HVTLFS_PAGE_SIZE) uint8_t fuzz_ram[HOST_RAM];

/* Begin anew: no overlays, clocks at odd places, nothing requested, RAM all zero. */
void host_begin(void);

/* The callbacks into a configuration, as the options say; tsc_hz too. */
void host_configure(struct hvtlfs_config *config);

/* A partition in one of two places that are never given back. CLAIMs that init does not refuse. */
struct hvtlfs_partition *host_partition(const struct hvtlfs_config *config, unsigned place);

/* The same, but a refused configuration gives NULL. */
struct hvtlfs_partition *host_try_partition(const struct hvtlfs_config *config, unsigned place);

/* RAM is zero again where the library wrote or a race was, and in `pages`, a bit for each: what the user
 * wrote. */
void host_clear_ram(uint32_t pages);

void host_advance(uint64_t time);
void host_forget_requests(void);
void host_forget_reads(void);
uint64_t host_calls(void); /* all of them, locks and clocks apart */
uint32_t host_take_kick(void);

/* What the guest sees at an address: overlay or RAM; NULL: nothing. */
uint8_t *host_visible(uint64_t gpa);
const struct hvtlfs_overlay *host_overlay_at(uint64_t gpa);

/* Overlays are gone without the library's doing, as when the partition is thrown away. */
void host_drop_overlays(void);

uint16_t host_post(void *context, uint32_t vp_index, uint32_t connection_id,
                   const struct hvtlfs_message *message);
uint16_t host_signal(void *context, uint32_t vp_index, uint32_t connection_id, uint32_t flag);

#endif
