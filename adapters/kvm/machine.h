/* SPDX-License-Identifier: MIT */
/* The smallest VMM that boots the guest: memory, long mode, two ports, one thread for each VP. */
#ifndef HVTLFS_KVM_MACHINE_H
#define HVTLFS_KVM_MACHINE_H

#include "adapter.h"
#include "options.h"
#include "report.h"

#define MACHINE_RAM_BYTES (UINT64_C(16) << 20)
#define MACHINE_HOLE_GPA UINT64_C(0xD0000000)

struct machine {
    const struct host_options *options;
    struct adapter adapter;
    uint8_t *ram;
    struct console console;
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
