/* SPDX-License-Identifier: MIT */
/*
 * Benchmarks of single operations. A case is a row of cases.c: what prepares it, and the operation.
 * tests/bench/bench.py runs the program and makes tables, plots and verdicts of what it prints.
 *
 *     bench --list                 name and kind of each case
 *     bench --run NAME             run the operation, for an instruction counter; prints how often
 *     bench --time [NAME...]       nanoseconds of an operation: median, 5 %, 95 % of many rounds
 *     bench --threads [NAME...]    one thread against two on different VPs of one partition
 *     bench --memory               bytes of a partition for some sets of features and numbers of VPs
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hvtlfs/hvtlfs.h>

#define BENCH_RAM (UINT64_C(1) << 20)

/* What the host of a case does beside as little as possible. */
enum {
    BENCH_QUEUES = 1,      /* lets the library queue flushes */
    BENCH_SENDS_IPIS = 2,  /* takes an IPI to many at once */
    BENCH_HOST_CLOCK = 4,  /* has no TSC */
    BENCH_WATCHES = 8,     /* traces */
    BENCH_ON_THREADS = 16, /* the case can run on several VPs at once */
    BENCH_GUEST = 32,      /* what the guest does by itself: no instruction of the library */
    BENCH_SLOW = 64,       /* timed only: too much for the instruction counter */
};

/* A partition on a host. Each thread has one of its own, with another VP. */
struct bench {
    struct hvtlfs_partition *partition;
    struct hvtlfs_vp *vp;
    struct bench *host; /* the callbacks' context */
    uint8_t
        *page[2][HVTLFS_OVERLAY_KINDS]; /* the host's: overlays of VPs 0 and 1 and, as VP 0's, the
                                               partition's */
    struct hvtlfs_config config;
    void *memory;
    size_t size;
    uint8_t *ram;
    uint64_t tsc; /* what guest_tsc returns; host_time is a hundredth */
    void *state;  /* a saved state */
    size_t state_size;
    uint64_t kept[8]; /* the case's own */
};

struct bench_case {
    const char *name;
    const char *features; /* added to the minimal ones; "" for none */
    uint32_t vps;
    uint32_t kind;                        /* BENCH_ bits */
    void (*prepare)(struct bench *bench); /* once, or NULL */
    void (*before)(struct bench *bench);  /* before each operation, not measured; or NULL */
    void (*operate)(struct bench *bench); /* measured */
    uint32_t count;                       /* operations for the instruction counter */
};

/* Ends with a row without a name. */
extern const struct bench_case bench_cases[];

/* Ends the program with a message if `condition` does not hold: a benchmark of a failure is none. */
void bench_require(bool condition, const char *what);

/* A partition as the case wants it, in memory that is there already. */
void bench_init_partition(struct bench *bench);

#endif
