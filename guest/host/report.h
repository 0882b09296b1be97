/* SPDX-License-Identifier: MIT */
/* What the guest said and what exits it took. */
#ifndef HVTLFS_GUEST_HOST_REPORT_H
#define HVTLFS_GUEST_HOST_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "options.h"

enum { TALLY_ROWS = 96, REPORT_STRETCHES = 16 };

/* How often each number of a group occurred. */
struct tally_row {
    uint32_t number;
    uint64_t count;
};

struct tally_group {
    struct tally_row rows[TALLY_ROWS];
    size_t used;
    uint64_t others; /* those that found no row */
};

/* Exits by what the guest did, as far as the host can tell them apart. */
struct exit_counts {
    uint64_t all;
    uint64_t msrs;
    uint64_t hypercalls;
    uint64_t ports;
    uint64_t apic_page;
};

/* Those of all VPs between the guest's marks. */
struct stretches {
    struct exit_counts begun;
    struct exit_counts rows[REPORT_STRETCHES];
    size_t used;
};

/* The guest wrote BOOT_DEVICE_BEGIN, or with `end` BOOT_DEVICE_END; `now` includes that exit. */
void stretches_mark(struct stretches *stretches, const struct exit_counts *now, bool end);

/* The exits of one VP. Each VP's thread has its own; tally_add() brings them together. */
struct tally {
    uint64_t cpuids;
    uint64_t refused_stores;         /* to an overlay the guest may not write */
    uint64_t lazy_eois;              /* interrupts that the guest ended without an exit */
    uint64_t crashes;                /* reported by the guest */
    struct tally_group msr_reads;    /* answered, by number of the MSR */
    struct tally_group msr_writes;   /* taken, by number of the MSR */
    struct tally_group msr_refusals; /* #GP, by number of the MSR */
    struct tally_group hypercalls;   /* by call code */
    struct tally_group faults;       /* given to the guest, by vector */
    struct tally_group interrupts;   /* given to the guest, by vector */
};

void tally_count(struct tally_group *group, uint32_t number);
uint64_t tally_of(const struct tally_group *group, uint32_t number);
uint64_t tally_sum(const struct tally_group *group);
void tally_add(struct tally *total, const struct tally *one);

/* The guest's output, echoed unless JSON is wanted, kept, and its TAP counted. */
struct console {
    bool echo;
    char *text;
    size_t size;
    size_t capacity;
};

void console_put(struct console *console, uint8_t byte);
void console_free(struct console *console);

/* How a run went. */
struct run_result {
    const struct host_program *program;
    const struct host_options *options;
    const struct console *console;
    const struct tally *tally;
    const struct stretches *stretches;
    bool cpuid_counted;  /* false: the host cannot see CPUID at run time */
    bool finished;       /* the guest wrote to the exit port */
    uint32_t status;     /* what it wrote */
    const char *trouble; /* why it did not finish, or NULL */
    uint32_t moves;      /* from process to process */
};

/* Print the report that the options ask for; returns the exit status of the program. */
enum host_exit report(const struct run_result *result);

#endif
