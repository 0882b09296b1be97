/* SPDX-License-Identifier: MIT */
/*
 * clock: on every CPU at once, read CLOCK_MONOTONIC for a second and compare with the latest time
 * anybody has seen: it must never go back, and must keep step with the local APIC's timer.
 * clock bench: what a call costs, through the vDSO and as a system call.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static _Atomic long long latest, worst;
static atomic_ulong reads;

static long long nanoseconds(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000ll + time.tv_nsec;
}

static void look(void)
{
    long long before = latest, time = nanoseconds(), seen = latest;

    if (time < before && before - time > worst) {
        worst = before - time;
    }
    while (time > seen && !atomic_compare_exchange_weak(&latest, &seen, time)) {
    }
    reads++;
}

static void *reader(void *argument)
{
    long cpu = (long)argument;
    long long end = nanoseconds() + 1000000000;
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    sched_setaffinity(0, sizeof(set), &set);
    while (latest < end) {
        look();
    }
    return NULL;
}

static double cost(int system_call)
{
    enum { ROUNDS = 100000 };
    struct timespec time;
    long long start = nanoseconds();
    int i;

    for (i = 0; i < ROUNDS; i++) {
        if (system_call) {
            syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &time);
        } else {
            clock_gettime(CLOCK_MONOTONIC, &time);
        }
    }
    return (double)(nanoseconds() - start) / ROUNDS;
}

int main(int argc, char **argv)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN), i;
    pthread_t threads[64];

    if (argc > 1 && !strcmp(argv[1], "bench")) {
        printf("vdso %.1f syscall %.1f\n", cost(0), cost(1));
        return 0;
    }
    for (i = 0; i < cpus && i < 64; i++) {
        pthread_create(&threads[i], NULL, reader, (void *)i);
    }
    for (i = 0; i < cpus && i < 64; i++) {
        pthread_join(threads[i], NULL);
    }
    printf("HVT clock cpus %ld reads %lu backward %lld\n", cpus, (unsigned long)reads, (long long)worst);
    return worst != 0;
}
