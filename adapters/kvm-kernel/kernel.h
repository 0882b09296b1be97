/* SPDX-License-Identifier: MIT */
/*
 * A VMM that uses KVM's own Hyper-V, by KVM's documentation and nothing else: what libhvtlfs is compared
 * with. Of the library it takes the list of features and the leaves that follow from it, for in KVM CPUID
 * is the VMM's affair; every MSR and hypercall is answered by whoever stands behind /dev/kvm.
 */
#ifndef HVTLFS_KVM_KERNEL_H
#define HVTLFS_KVM_KERNEL_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "options.h"
#include "report.h"

enum {
    KERNEL_MAX_VPS = 8,
    KERNEL_CPUID_ENTRIES = 256,
    KERNEL_SINTS = 16,
};

#define KERNEL_RAM_BYTES (UINT64_C(16) << 20)

struct machine;

struct processor {
    struct machine *machine;
    uint32_t number;
    int fd;
    int stats; /* kvm_stats_open() */
    struct kvm_run *run;
    pthread_t thread;
    uint64_t synic_control; /* as the last KVM_EXIT_HYPERV_SYNIC told */
    uint64_t message_page;
    uint64_t event_page;
    int events[KERNEL_SINTS];     /* eventfd that HvSignalEvent writes, or -1 */
    int interrupts[KERNEL_SINTS]; /* eventfd that raises the SINT, or -1 */
};

struct machine {
    const struct host_options *options;
    int kvm;
    int vm;
    size_t run_size;
    uint8_t *ram;
    struct processor processors[KERNEL_MAX_VPS];
    uint32_t processor_count;
    struct console console;
    pthread_mutex_t mutex; /* guards the console and what follows */
    pthread_cond_t changed;
    uint32_t threads; /* running */
    bool finished;
    uint32_t status;
    const char *trouble;
    atomic_bool stop;
    int wake; /* eventfd that ends the thread behind the events */
};

/* vm.c: returns NULL or what is wrong; *skip says that it is this machine's KVM, not the user. */
const char *machine_init(struct machine *machine, const struct host_options *options, bool *skip);
void machine_free(struct machine *machine);
bool machine_wants(const struct machine *machine, enum hvtlfs_feature feature);

/* cpuid.c: the leaves of a VP, as far as KVM offers them. */
bool cpuid_set(struct processor *processor);

/* connections.c: the host's side of messages and events. */
const char *connections_open(struct machine *machine);
void connections_close(struct machine *machine);
uint64_t connections_post(struct machine *machine, uint64_t parameter);
void *connections_thread(void *argument); /* a struct kernel_machine */

/* run.c: run until the guest ends or the time is up. */
void machine_run(struct machine *machine);

#endif
