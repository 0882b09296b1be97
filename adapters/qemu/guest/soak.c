/* SPDX-License-Identifier: MIT */
/*
 * soak HOURS: sleep, and every minute read all clocks on every CPU in turn. None may go back, and each
 * must keep its distance from the kernel's raw monotonic clock, which is read from the reference TSC page:
 *
 *     msr      HV_X64_MSR_TIME_REF_COUNT, by /dev/cpu/N/msr
 *     tsc      RDTSC, 1 GHz
 *     jiffies  times(): what timer interrupts have counted
 *     rtc      the board's own clock, which knows nothing of the hypervisor
 *
 * A clock is read between two readings of the raw clock, so each minute gives an interval in which their
 * distance lies. "drift" is by how much all these intervals miss each other, 0 if they have a point in
 * common; it may be as much as the clock is coarse.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/times.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

enum { TIME_REF_COUNT = 0x40000020, CPUS_MAX = 16 };

static int msr_of[CPUS_MAX];
static long cpu;

static int64_t raw(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC_RAW, &time);
    return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

static int64_t msr(void)
{
    uint64_t count = 0;

    if (pread(msr_of[cpu], &count, sizeof(count), TIME_REF_COUNT) != sizeof(count)) {
        perror("soak: rdmsr");
        exit(1);
    }
    return (int64_t)(count * 100);
}

static int64_t tsc(void)
{
    return (int64_t)__rdtsc();
}

static int64_t jiffies(void)
{
    return times(NULL) * INT64_C(1000000000) / sysconf(_SC_CLK_TCK);
}

static int64_t rtc(void)
{
    char text[32] = "";
    int file = open("/sys/class/rtc/rtc0/since_epoch", O_RDONLY);

    if (file < 0 || read(file, text, sizeof(text) - 1) <= 0) {
        perror("soak: rtc");
        exit(1);
    }
    close(file);
    return strtoll(text, NULL, 10) * 1000000000;
}

static struct clock {
    const char *name;
    int64_t (*read)(void);
    int64_t coarse; /* nanoseconds */
    int64_t latest, least, most; /* of the distance: not below, not above */
} clocks[] = {
    {"msr", msr, 200, 0, INT64_MIN, INT64_MAX},
    {"tsc", tsc, 200, 0, INT64_MIN, INT64_MAX},
    /* A tick of 4 ms, told in units of 10 ms. */
    {"jiffies", jiffies, 20000000, 0, INT64_MIN, INT64_MAX},
    {"rtc", rtc, 1100000000, 0, INT64_MIN, INT64_MAX},
};

static int64_t drift(const struct clock *clock)
{
    return clock->least > clock->most ? clock->least - clock->most : 0;
}

/* Returns whether the clock is as it should be. */
static bool look(struct clock *clock)
{
    int64_t before = raw(), value = clock->read(), after = raw();
    bool good = value >= clock->latest && after >= before;

    clock->latest = value;
    clock->least = value - after > clock->least ? value - after : clock->least;
    clock->most = value - before < clock->most ? value - before : clock->most;
    return good && drift(clock) <= clock->coarse;
}

static void open_msrs(long cpus)
{
    char path[32];
    long i;

    for (i = 0; i < cpus; i++) {
        snprintf(path, sizeof(path), "/dev/cpu/%ld/msr", i);
        msr_of[i] = open(path, O_RDONLY);
        if (msr_of[i] < 0) {
            perror(path);
            exit(1);
        }
    }
}

static void move_on(long cpus)
{
    cpu_set_t set;

    cpu = (cpu + 1) % cpus;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    sched_setaffinity(0, sizeof(set), &set);
}

static void report(long hours)
{
    size_t i;

    printf("HVT soak hours %ld drift", hours);
    for (i = 0; i < sizeof(clocks) / sizeof(clocks[0]); i++) {
        printf(" %s %lld", clocks[i].name, (long long)drift(&clocks[i]));
    }
    printf(" ns\n");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN), minutes = 60 * (argc > 1 ? atol(argv[1]) : 1), minute;
    bool good = true;
    size_t i;

    cpus = cpus < CPUS_MAX ? cpus : CPUS_MAX;
    open_msrs(cpus);
    for (minute = 1; good && minute <= minutes; minute++) {
        sleep(60);
        move_on(cpus);
        for (i = 0; i < sizeof(clocks) / sizeof(clocks[0]); i++) {
            if (!look(&clocks[i])) {
                printf("HVT soak minute %ld: %s is wrong\n", minute, clocks[i].name);
                good = false;
            }
        }
        if (minute % 360 == 0 || minute == minutes || !good) {
            report(minute / 60);
        }
    }
    return !good;
}
