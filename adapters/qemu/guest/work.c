/* SPDX-License-Identifier: MIT */
/*
 * work SECONDS: one thread on each CPU maps, touches, protects and unmaps memory, so that the kernel
 * flushes TLBs and sends IPIs between all CPUs; every thread checks that what it reads is what it wrote.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { PAGES = 24, SIZE = PAGES * 4096 };

static double seconds;
static atomic_ulong rounds, faults;

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static void round_trip(unsigned char mark)
{
    unsigned char *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int i;

    if (memory == MAP_FAILED) {
        faults++;
        return;
    }
    memset(memory, mark, SIZE);
    mprotect(memory, SIZE / 2, PROT_READ);
    madvise(memory + SIZE / 2, SIZE / 4, MADV_DONTNEED);
    for (i = 0; i < SIZE; i += 4096) {
        unsigned char expected = i >= SIZE / 2 && i < SIZE / 2 + SIZE / 4 ? 0 : mark;

        faults += memory[i] != expected;
    }
    munmap(memory, SIZE);
    rounds++;
}

static void *worker(void *argument)
{
    long cpu = (long)argument;
    double end = now() + seconds;
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    sched_setaffinity(0, sizeof(set), &set);
    while (now() < end) {
        round_trip((unsigned char)(1 + cpu));
        sched_yield();
    }
    return NULL;
}

int main(int argc, char **argv)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN), i;
    pthread_t threads[64];

    seconds = argc > 1 ? atof(argv[1]) : 1;
    for (i = 0; i < cpus && i < 64; i++) {
        pthread_create(&threads[i], NULL, worker, (void *)i);
    }
    for (i = 0; i < cpus && i < 64; i++) {
        pthread_join(threads[i], NULL);
    }
    printf("HVT work cpus %ld rounds %lu faults %lu\n", cpus, (unsigned long)rounds, (unsigned long)faults);
    return faults != 0;
}
