/* SPDX-License-Identifier: MIT */
/*
 * bench PHASE LABEL [BATCHES]: do one thing many times, between two marks on the debug console, so that
 * whoever reads the machine's trace knows which exits belong to it:
 *
 *     begin LABEL
 *     end OPERATIONS TICKS
 *
 * TICKS are of the TSC; with -icount shift=0 and a TSC of 1 GHz they are instructions. With several
 * batches the fastest is told: where others compete for the host's processors, it is the least wrong.
 *
 *     vdso, syscall   clock_gettime
 *     tick            sleep for a millisecond: a timer is set and comes
 *     ipi             membarrier: an interrupt to the other CPU, which is computing
 *     wake            a byte through a pipe to the other CPU, which sleeps, and one back
 *     flush           a page mapped, written and unmapped while the other CPU uses the address space
 */
#define _GNU_SOURCE
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

enum { DEBUG_CONSOLE = 0xe9, CLOCK_ROUNDS = 2000, ROUNDS = 500 };

static atomic_bool running, over;
static int there[2], back[2];

static void mark(const char *text)
{
    while (*text) {
        outb((unsigned char)*text++, DEBUG_CONSOLE);
    }
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void stay_on(int cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof(set), &set) < 0) {
        die("sched_setaffinity");
    }
}

/* ---- What is measured ---- */

static void vdso(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
}

static void system_call(void)
{
    struct timespec time;

    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &time);
}

static void tick(void)
{
    struct timespec millisecond = {.tv_nsec = 1000000};

    nanosleep(&millisecond, NULL);
}

static void ipi(void)
{
    if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) < 0) {
        die("membarrier");
    }
}

static void wake(void)
{
    char byte = 0;

    if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1) {
        die("pipe");
    }
}

static void flush(void)
{
    char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (page == MAP_FAILED) {
        die("mmap");
    }
    *page = 1;
    munmap(page, 4096);
}

/* ---- The other CPU ---- */

static void *compute(void *unused)
{
    stay_on(1);
    running = true;
    while (!over) {
        _mm_pause();
    }
    return unused;
}

static void *answer(void *unused)
{
    char byte;

    stay_on(1);
    running = true;
    while (read(there[0], &byte, 1) == 1 && write(back[1], &byte, 1) == 1) {
    }
    return unused;
}

static const struct phase {
    const char *name;
    void (*once)(void);
    void *(*other)(void *);
    int rounds;
} phases[] = {
    {"vdso", vdso, NULL, CLOCK_ROUNDS}, {"syscall", system_call, NULL, CLOCK_ROUNDS},
    {"tick", tick, NULL, ROUNDS},       {"ipi", ipi, compute, ROUNDS},
    {"wake", wake, answer, ROUNDS},     {"flush", flush, compute, ROUNDS},
};

static unsigned long long batch(const struct phase *phase)
{
    unsigned long long start = __rdtsc();
    int i;

    for (i = 0; i < phase->rounds; i++) {
        phase->once();
    }
    return __rdtsc() - start;
}

static void measure(const struct phase *phase, const char *label, int batches)
{
    unsigned long long ticks, least = ~0ull;
    char text[128];

    /* Once before: the first time costs page faults. */
    phase->once();
    snprintf(text, sizeof(text), "begin %s\n", label);
    mark(text);
    while (batches-- > 0) {
        ticks = batch(phase);
        least = ticks < least ? ticks : least;
    }
    snprintf(text, sizeof(text), "end %d %llu\n", phase->rounds, least);
    mark(text);
}

int main(int argc, char **argv)
{
    const struct phase *phase = phases, *last = phases + sizeof(phases) / sizeof(phases[0]);
    pthread_t other;

    while (phase < last && (argc < 3 || strcmp(phase->name, argv[1]) != 0)) {
        phase++;
    }
    if (phase == last) {
        fprintf(stderr, "usage: bench PHASE LABEL [BATCHES]\n");
        return 2;
    }
    if (ioperm(DEBUG_CONSOLE, 1, 1) < 0 || pipe(there) < 0 || pipe(back) < 0) {
        die("bench");
    }
    syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
    stay_on(0);
    if (phase->other) {
        pthread_create(&other, NULL, phase->other, NULL);
        while (!running) {
            sched_yield();
        }
    }
    measure(phase, argv[2], argc > 3 ? atoi(argv[3]) : 1);
    over = true;
    close(there[1]);
    if (phase->other) {
        pthread_join(other, NULL);
    }
    return 0;
}
