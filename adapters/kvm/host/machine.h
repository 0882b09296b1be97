/* SPDX-License-Identifier: MIT */
/* The smallest VMM that boots the guest: memory, long mode, two ports, one thread for each VP. */
#ifndef HVTLFS_KVM_MACHINE_H
#define HVTLFS_KVM_MACHINE_H

#include <pthread.h>
#include <stdatomic.h>

#include <hvtlfs/kvm.h>

#include "debugger.h"
#include "options.h"
#include "report.h"

enum { MACHINE_MAX_VPS = 64 };

#define MACHINE_RAM_BYTES (UINT64_C(16) << 20)
#define MACHINE_HOLE_GPA UINT64_C(0xD0000000)

struct machine;

struct machine_vp {
    struct machine *machine;
    uint32_t number;
    int fd;
    int stats; /* kvm_stats_open() */
    struct kvm_run *run;
    struct tally tally; /* written on its thread */
    pthread_t thread;
};

struct machine {
    const struct host_options *options;
    int kvm;
    int vm;
    size_t run_size;
    struct hvtlfs_kvm *hv;
    struct debugger debugger;
    uint8_t *ram;
    struct machine_vp vps[MACHINE_MAX_VPS];
    uint32_t vp_count;
    struct hvtlfs_kvm_error error;
    struct console console;
    struct stretches stretches;
    atomic_ullong port_exits; /* those that reached this program */
    atomic_ullong mmio_exits;
    atomic_bool stop;
    atomic_bool reset;     /* the guest asked for a system reset */
    pthread_mutex_t mutex; /* guards what follows, and the console */
    pthread_cond_t changed;
    uint32_t threads; /* running */
    bool finished;
    uint32_t status;
    const char *trouble;
};

/* Returns NULL, or what is wrong; *skip says that it is the machine's fault, not the user's. */
const char *machine_init(struct machine *machine, const struct host_options *options, bool *skip);
void machine_free(struct machine *machine);

/* Run until the guest finishes, something goes wrong or the time is up. */
void machine_run(struct machine *machine);

#endif
