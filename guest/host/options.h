/* SPDX-License-Identifier: MIT */
/* The command line that the guest's hosts share. */
#ifndef HVTLFS_GUEST_HOST_OPTIONS_H
#define HVTLFS_GUEST_HOST_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include <hvtlfs/features.h>
#include <hvtlfs/hypercall_page.h>

/* How a host program ends. */
enum host_exit {
    HOST_EXIT_PASSED = 0,  /* the guest finished and found nothing wrong */
    HOST_EXIT_FAILED = 1,  /* the guest found something wrong, or did not finish */
    HOST_EXIT_USAGE = 2,   /* bad usage, or the guest cannot be set up */
    HOST_EXIT_SKIPPED = 77 /* this machine cannot host it */
};

/* One way for the hypercall page to leave the guest. */
struct host_trap {
    const char *name;
    enum hvtlfs_trap trap;
};

/* What tells one host program from another. */
struct host_program {
    const char *name;              /* "hvtlfs-unicorn" */
    const char *summary;           /* what it is, for --help */
    const struct host_trap *traps; /* the first is the default; ends with a NULL name */
    const char *trap_help;         /* their names as --help shows them */
    uint32_t max_vps;
    bool migrates; /* it can move the guest to another process */
};

struct host_options {
    const char *guest; /* the ELF file */
    struct hvtlfs_feature_list list;
    enum hvtlfs_trap trap;
    const char *trap_name;
    uint32_t vps;
    uint32_t timeout_s; /* give up after so many seconds */
    uint32_t argument;  /* for the guest */
    uint32_t
        exit_cost; /* ticks of the guest's TSC that an exit takes, on a host without real time */
    bool copy_overlays; /* leave overlays to the library, which exchanges bytes in guest memory */
    bool tsc_varies;    /* the TSC is not invariant, so there is no TSC page */
    bool survey;        /* the guest prints what it is answered instead of judging it */
    bool bench;         /* the guest prints what operations cost */
    bool apic_page;     /* the guest keeps its APICs in xAPIC mode */
    bool json;          /* one JSON object instead of text */
    bool quiet;         /* nothing but the guest's own output */

    /* Of programs that migrate. */
    uint64_t migrate_every; /* TSC ticks between two moves, 0: none */
    uint64_t migrate_hz;    /* rate of the TSC on every other host, 0: the same */
    int incoming;           /* the socket on which a guest arrives, or -1 */
    char **argv;            /* the command line, guest last */
    int argc;
};

/* Read the command line. Returns -1 to go on, else the exit status; what was wrong, or the help, has
 * been printed. */
int host_options_parse(struct host_options *options, const struct host_program *program, int argc,
                       char **argv);

#endif
