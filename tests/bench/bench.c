/* SPDX-License-Identifier: MIT */
#define _POSIX_C_SOURCE 200809L

#include "bench.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUNDS 101
#define ROUND_SECONDS 0.0002 /* a round is at least so long */
#define CASE_SECONDS 0.5     /* a case at most, or three rounds */
#define THREADS 2
#define THREAD_ROUNDS 41
#define THREAD_OPERATIONS 20000

void bench_require(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "bench: %s\n", what);
        exit(1);
    }
}

/* ---- The least host ---- */

static bool in_ram(uint64_t gpa, size_t size)
{
    return gpa < BENCH_RAM && size <= BENCH_RAM - gpa;
}

static bool on_read(void *context, uint64_t gpa, void *buffer, size_t size)
{
    const struct bench *bench = context;

    if (in_ram(gpa, size)) {
        memcpy(buffer, bench->ram + gpa, size);
        return true;
    }
    return false;
}

static bool on_write(void *context, uint64_t gpa, const void *buffer, size_t size)
{
    struct bench *bench = context;

    if (in_ram(gpa, size)) {
        memcpy(bench->ram + gpa, buffer, size);
        return true;
    }
    return false;
}

static enum hvtlfs_gpa_kind on_probe(void *context, uint64_t gpa)
{
    (void)context;
    return in_ram(gpa, 1) ? HVTLFS_GPA_RAM : HVTLFS_GPA_NONE;
}

static bool on_overlay_set(void *context, const struct hvtlfs_overlay *overlay)
{
    struct bench *bench = context;

    if (overlay->vp_index < 2 || overlay->vp_index == HVTLFS_NO_VP) {
        bench->page[overlay->vp_index == 1][overlay->kind] = overlay->page;
    }
    return true;
}

static void on_overlay_clear(void *context, const struct hvtlfs_overlay *overlay)
{
    (void)context, (void)overlay;
}

static void on_interrupt(void *context, uint32_t vp, const struct hvtlfs_interrupt *interrupt)
{
    (void)context, (void)vp, (void)interrupt;
}

static void on_vp(void *context, uint32_t vp)
{
    (void)context, (void)vp;
}

static uint64_t on_guest_tsc(void *context, uint32_t vp)
{
    (void)vp;
    return ((const struct bench *)context)->tsc;
}

static uint64_t on_host_time(void *context)
{
    return ((const struct bench *)context)->tsc / 100;
}

static void on_deadline(void *context, uint32_t vp, uint64_t deadline)
{
    (void)context, (void)vp, (void)deadline;
}

static void on_apic_write(void *context, uint32_t vp, enum hvtlfs_apic_register reg, uint64_t value)
{
    (void)context, (void)vp, (void)reg, (void)value;
}

static uint64_t on_apic_read(void *context, uint32_t vp, enum hvtlfs_apic_register reg)
{
    (void)context, (void)vp, (void)reg;
    return 0;
}

static uint64_t on_runtime(void *context, uint32_t vp)
{
    (void)context, (void)vp;
    return 0;
}

static void on_spin_wait(void *context, uint32_t vp, uint32_t spins)
{
    (void)context, (void)vp, (void)spins;
}

static void on_flush(void *context, uint32_t vp, const struct hvtlfs_vp_set *targets,
                     const struct hvtlfs_flush *flush)
{
    (void)context, (void)vp, (void)targets, (void)flush;
}

static void on_flush_queued(void *context, uint32_t vp, const struct hvtlfs_vp_set *targets)
{
    (void)context, (void)vp, (void)targets;
}

static void on_ipi(void *context, uint32_t vp, uint32_t vector, const struct hvtlfs_vp_set *targets)
{
    (void)context, (void)vp, (void)vector, (void)targets;
}

static void on_trace(void *context, const struct hvtlfs_event *event)
{
    (void)context, (void)event;
}

static void on_stats_page(void *context, uint32_t vp, enum hvtlfs_overlay_kind kind, bool shown)
{
    (void)context, (void)vp, (void)kind, (void)shown;
}

static void set_callbacks(struct hvtlfs_host_ops *ops, uint32_t kind)
{
    ops->gpa_read = on_read;
    ops->gpa_write = on_write;
    ops->gpa_probe = on_probe;
    ops->overlay_set = on_overlay_set;
    ops->overlay_clear = on_overlay_clear;
    ops->request_interrupt = on_interrupt;
    ops->kick = on_vp;
    ops->apic_write = on_apic_write;
    ops->apic_read = on_apic_read;
    ops->guest_tsc = kind & BENCH_HOST_CLOCK ? NULL : on_guest_tsc;
    ops->host_time = on_host_time;
    ops->arm_deadline = on_deadline;
    ops->vp_runtime = on_runtime;
    ops->spin_wait = on_spin_wait;
    ops->system_reset = on_vp;
    ops->stats_page = on_stats_page;
    ops->tlb_flush = on_flush;
    ops->tlb_flush_queued = kind & BENCH_QUEUES ? on_flush_queued : NULL;
    ops->send_ipi = kind & BENCH_SENDS_IPIS ? on_ipi : NULL;
    ops->trace = kind & BENCH_WATCHES ? on_trace : NULL;
}

/* ---- A case ---- */

static void configure(struct bench *bench, const char *features, uint32_t vps, uint32_t kind)
{
    struct hvtlfs_feature_list list;
    struct hvtlfs_config *config = &bench->config;

    hvtlfs_config_init(config);
    hvtlfs_feature_list_minimal(&list);
    bench_require(!hvtlfs_features_parse(&list, features, strlen(features), NULL),
                  "a case's features");
    config->features = list.features;
    config->spin_count = list.spin_count;
    set_callbacks(&config->ops, kind);
    config->context = bench;
    config->vp_count = vps;
    config->trap = HVTLFS_TRAP_VMCALL;
    config->tsc_hz = 1000000000;
    config->apic_hz = 1000000000;
    config->invariant_tsc = !(kind & BENCH_HOST_CLOCK);
    bench_require(!hvtlfs_partition_size(config, &bench->size, NULL), "a case's configuration");
}

void bench_init_partition(struct bench *bench)
{
    bench_require(
        !hvtlfs_partition_init(bench->memory, bench->size, &bench->config, &bench->partition, NULL),
        "no partition");
    bench->vp = hvtlfs_partition_vp(bench->partition, 0);
}

static void *pages(size_t size)
{
    void *memory = aligned_alloc(4096, (size + 4095) / 4096 * 4096);

    bench_require(memory, "no memory");
    memset(memory, 0, size);
    return memory;
}

static void start(struct bench *bench, const struct bench_case *row)
{
    memset(bench, 0, sizeof(*bench));
    bench->host = bench;
    bench->ram = pages(BENCH_RAM);
    configure(bench, row->features, row->vps, row->kind);
    bench->memory = pages(bench->size);
    bench_init_partition(bench);
    if (row->prepare) {
        row->prepare(bench);
    }
}

static void stop(struct bench *bench)
{
    free(bench->state);
    free(bench->memory);
    free(bench->ram);
}

/* The one function whose instructions are counted. */
void bench_measured(struct bench *bench, const struct bench_case *row, uint64_t count);

__attribute__((noinline)) void bench_measured(struct bench *bench, const struct bench_case *row,
                                              uint64_t count)
{
    for (; count; count--) {
        row->operate(bench);
    }
}

static double seconds(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* `count` operations; how long they took by `clock`, without what comes before each. */
static double timed(struct bench *bench, const struct bench_case *row, uint64_t count,
                    clockid_t clock)
{
    double sum = 0, began;

    if (!row->before) {
        began = seconds(clock);
        bench_measured(bench, row, count);
        return seconds(clock) - began;
    }
    for (; count; count--) {
        row->before(bench);
        began = seconds(clock);
        bench_measured(bench, row, 1);
        sum += seconds(clock) - began;
    }
    return sum;
}

static const struct bench_case *find(const char *name)
{
    const struct bench_case *row;

    for (row = bench_cases; row->name; row++) {
        if (!strcmp(row->name, name)) {
            return row;
        }
    }
    fprintf(stderr, "bench: no case is called %s; --list names them\n", name);
    exit(2);
}

/* ---- Time ---- */

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static uint64_t operations_of_a_round(struct bench *bench, const struct bench_case *row)
{
    uint64_t count = 1;

    while (timed(bench, row, count, CLOCK_MONOTONIC) < ROUND_SECONDS) {
        count *= 2;
    }
    return count;
}

static void time_case(const struct bench_case *row)
{
    double ns[ROUNDS], began = seconds(CLOCK_MONOTONIC);
    struct bench bench;
    uint64_t count;
    int rounds;

    start(&bench, row);
    count = operations_of_a_round(&bench, row);
    for (rounds = 0; rounds < ROUNDS; rounds++) {
        if (rounds >= 3 && seconds(CLOCK_MONOTONIC) - began > CASE_SECONDS) {
            break;
        }
        ns[rounds] = timed(&bench, row, count, CLOCK_MONOTONIC) * 1e9 / (double)count;
    }
    qsort(ns, (size_t)rounds, sizeof(ns[0]), compare);
    printf("%s %.2f %.2f %.2f\n", row->name, ns[rounds / 2], ns[rounds / 20],
           ns[rounds - 1 - rounds / 20]);
    fflush(stdout);
    stop(&bench);
}

/* ---- Threads ---- */

struct worker {
    _Alignas(128) struct bench bench;
    const struct bench_case *row;
    pthread_barrier_t *barrier;
    double rate; /* operations in a second of its processor's time */
};

static void *work(void *argument)
{
    struct worker *worker = argument;
    double cpu;

    pthread_barrier_wait(worker->barrier);
    cpu = timed(&worker->bench, worker->row, THREAD_OPERATIONS, CLOCK_THREAD_CPUTIME_ID);
    worker->rate = THREAD_OPERATIONS / cpu;
    return NULL;
}

/* What `count` threads do together, in operations a second of processor time: others that run on the
 * machine meanwhile do not count, lines that go back and forth do. */
static double rate_of(struct worker *workers, int count)
{
    pthread_t threads[THREADS];
    pthread_barrier_t barrier;
    double sum = 0;
    int i;

    pthread_barrier_init(&barrier, NULL, (unsigned)count);
    for (i = 0; i < count; i++) {
        workers[i].barrier = &barrier;
        bench_require(!pthread_create(&threads[i], NULL, work, &workers[i]), "no thread");
    }
    for (i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
        sum += workers[i].rate;
    }
    pthread_barrier_destroy(&barrier);
    return sum;
}

static void thread_case(const struct bench_case *row)
{
    static struct worker workers[THREADS];
    double ratio[THREAD_ROUNDS];
    struct bench bench;
    uint32_t i;

    start(&bench, row);
    for (i = 0; i < THREADS; i++) {
        workers[i].bench = bench;
        workers[i].bench.vp = hvtlfs_partition_vp(bench.partition, i);
        workers[i].row = row;
        if (row->prepare && i) {
            row->prepare(&workers[i].bench);
        }
    }
    for (i = 0; i < THREAD_ROUNDS; i++) {
        double one = rate_of(workers, 1);

        ratio[i] = rate_of(workers, THREADS) / one;
    }
    qsort(ratio, THREAD_ROUNDS, sizeof(ratio[0]), compare);
    printf("%s %.3f %.3f %.3f\n", row->name, ratio[THREAD_ROUNDS / 2], ratio[THREAD_ROUNDS / 20],
           ratio[THREAD_ROUNDS - 1 - THREAD_ROUNDS / 20]);
    fflush(stdout);
    stop(&bench);
}

/* ---- Memory ---- */

struct memory_row {
    const char *name;
    const char *features;
    uint32_t kind;
    uint32_t pages; /* overlay pages of a VP */
};

#define ALL                                                                                        \
    "vapic,spinlocks=4095,time,frequencies,runtime,guest-idle,stats,synic,stimer,stimer-direct,"   \
    "unhalted-timer,post-messages,signal-events,tlbflush,tlbflush-ext,ipi,ex-processor-masks,"     \
    "xmm-input,xmm-output,vp-registers,extended-hypercalls,reset"

static const struct memory_row memory_rows[] = {
    {"minimal", "", 0, 0},
    {"everything", ALL, 0, 7},
    {"everything, flushes queued", ALL, BENCH_QUEUES, 7},
};

static void memory_of(const struct memory_row *row, uint32_t vps)
{
    struct bench bench;

    memset(&bench, 0, sizeof(bench));
    configure(&bench, row->features, vps, row->kind);
    printf("%" PRIu32 " %zu %" PRIu32 " %s\n", vps, bench.size, row->pages, row->name);
}

static int memory(void)
{
    static const uint32_t vps[] = {1, 64, 1024, 4096};
    size_t i, j;

    for (i = 0; i < sizeof(memory_rows) / sizeof(memory_rows[0]); i++) {
        for (j = 0; j < sizeof(vps) / sizeof(vps[0]); j++) {
            memory_of(&memory_rows[i], vps[j]);
        }
    }
    return 0;
}

/* ---- The program ---- */

static int for_each(char **names, uint32_t kind, void (*act)(const struct bench_case *row))
{
    const struct bench_case *row;

    for (; *names; names++) {
        act(find(*names));
        if (!names[1]) {
            return 0;
        }
    }
    for (row = bench_cases; row->name; row++) {
        if ((row->kind & kind) == kind) {
            act(row);
        }
    }
    return 0;
}

static void list_case(const struct bench_case *row)
{
    printf("%s %s\n", row->name, row->kind & (BENCH_GUEST | BENCH_SLOW) ? "timed" : "counted");
}

static int run(const struct bench_case *row)
{
    struct bench bench;
    uint32_t i;

    start(&bench, row);
    for (i = 0; row->before && i < row->count; i++) {
        row->before(&bench);
        bench_measured(&bench, row, 1);
    }
    if (!row->before) {
        bench_measured(&bench, row, row->count);
    }
    printf("%" PRIu32 "\n", row->count);
    stop(&bench);
    return 0;
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "";

    if (!strcmp(mode, "--list")) {
        return for_each(argv + 2, 0, list_case);
    }
    if (!strcmp(mode, "--time")) {
        return for_each(argv + 2, 0, time_case);
    }
    if (!strcmp(mode, "--threads")) {
        return for_each(argv + 2, BENCH_ON_THREADS, thread_case);
    }
    if (!strcmp(mode, "--memory")) {
        return memory();
    }
    if (!strcmp(mode, "--run") && argc == 3) {
        return run(find(argv[2]));
    }
    fprintf(
        stderr,
        "usage: bench --list | --run NAME | --time [NAME...] | --threads [NAME...] | --memory\n");
    return 2;
}
