/* SPDX-License-Identifier: MIT */
/* A partition on the quick host, chosen by a fuzzer's bytes: what several targets start with. */
#ifndef FUZZ_SETUP_H
#define FUZZ_SETUP_H

#include "host.h"
#include "input.h"

/* The most VPs of a partition made here. */
#define SETUP_VPS 3u

struct setup {
    struct hvtlfs_config config;
    struct hvtlfs_vp_config vps[SETUP_VPS];
    struct hvtlfs_partition *partition; /* NULL: the configuration is refused, as it may be */
    struct hvtlfs_vp *vp[SETUP_VPS];
};

/* Begin the host anew and make a partition from the first eleven bytes. */
void setup_begin(struct setup *setup, struct input *input);

/* Every feature but the few that exclude others. */
struct hvtlfs_features setup_all_features(void);

/* Find the VPs again, as after a move into another partition. */
void setup_find_vps(struct setup *setup);

/* Connections to a handler and to SINTs: messages 1, 2 and 5, events 3 and 4. 5 goes to any VP. */
void setup_connections(struct setup *setup);

/* Save, drop the partition, load into a fresh one at the other place; it is frozen afterwards. */
void setup_move(struct setup *setup);

/* Reset and look whether anything is left behind. */
void setup_end(struct setup *setup);

#endif
