/* SPDX-License-Identifier: MIT */
/*
 * pages: one thread on each CPU counts in pages of its own until the host writes to the scratch register
 * of the first serial port. No system calls, so nothing but these stores tells a hypervisor that a page
 * has changed. A page that does not hold what was last stored to it is a fault.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/io.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGES = 256, WORDS = 4096 / sizeof(unsigned long), SCRATCH = 0x3ff, PASSES_PER_LOOK = 64 };

static atomic_ulong passes, faults;
static atomic_bool over;

static bool look_for_end(void)
{
    if (inb(SCRATCH) == 'x') {
        over = true;
    }
    return over;
}

static void pass(volatile unsigned long *words, unsigned long count)
{
    int i;

    for (i = 0; i < PAGES; i++) {
        faults += words[i * WORDS] != count - 1;
        words[i * WORDS] = count;
    }
}

static void *worker(void *argument)
{
    long cpu = (long)argument;
    unsigned long *words = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned long count = 0;
    cpu_set_t set;

    if (words == MAP_FAILED) {
        faults++;
        return NULL;
    }
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    sched_setaffinity(0, sizeof(set), &set);
    do {
        pass(words, ++count);
    } while (cpu || count % PASSES_PER_LOOK ? !over : !look_for_end());
    passes += count;
    return NULL;
}

int main(void)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN), i;
    pthread_t threads[64];

    if (ioperm(SCRATCH, 1, 1)) {
        perror("HVT pages failed: ioperm");
        return 1;
    }
    outb(0, SCRATCH);
    puts("HVT pages counting");
    fflush(stdout);
    for (i = 1; i < cpus && i < 64; i++) {
        pthread_create(&threads[i], NULL, worker, (void *)i);
    }
    worker(NULL);
    for (i = 1; i < cpus && i < 64; i++) {
        pthread_join(threads[i], NULL);
    }
    printf("HVT pages cpus %ld passes %lu faults %lu\n", cpus, (unsigned long)passes, (unsigned long)faults);
    return faults != 0;
}
