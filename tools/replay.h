/* SPDX-License-Identifier: MIT */
/*
 * `hvtlfs replay`: a partition driven by a script.
 *
 * A line is one command. A command is one row in replay_commands.c and one function, which reads
 * its words and appends what it gives to `result`; a word it cannot read it reports through
 * replay_expected().
 */
#ifndef TOOL_REPLAY_H
#define TOOL_REPLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hvtlfs/hypercall.h>
#include <hvtlfs/partition.h>

#include "model_host.h"
#include "text.h"

/* The registers of a VP as the guest has them after its last hypercall. */
struct replay_vp {
    struct hvtlfs_hypercall_regs regs;
};

struct replay {
    struct model_host *host;
    struct hvtlfs_partition *partition; /* NULL before the partition line */
    uint32_t vp_count;
    struct hvtlfs_config config;  /* what the partition was made from */
    struct hvtlfs_features asked; /* what the partition line wants to offer */
    struct replay_vp *vps;

    struct text result;  /* what the present command gives */
    struct text problem; /* why the present line is malformed */
    struct text scratch; /* for any command */
};

/* A command's words without its name. Returns false after replay_expected(). */
typedef bool replay_function(struct replay *replay, size_t count, char **words);

struct replay_command {
    const char *name;
    const char *usage; /* its words, for messages */
    size_t min;        /* how few and how many words it takes */
    size_t max;
    bool hex; /* the result is a run of hexadecimal digits, not numbers */
    replay_function *run;
};

#define REPLAY_ANY_COUNT SIZE_MAX

/* The command of a name, or NULL; and the rows, for suggestions (NULL at the end). */
const struct replay_command *replay_command_find(const char *name);
const struct replay_command *replay_command_row(size_t i);

/* The partition line. */
bool replay_partition(struct replay *replay, size_t count, char **words);

/* SynIC and timers. */
replay_function replay_post;
replay_function replay_signal;
replay_function replay_connection;
replay_function replay_deadline;

/* ---- Saved state ---- */

replay_function replay_save, replay_load;

/* Save the partition and go on in a fresh one; with `fresh` false only stop and restart its clock. */
bool replay_renew(struct replay *replay, bool fresh);

/* Say what was expected; returns false. */
__attribute__((format(printf, 2, 3))) bool replay_expected(struct replay *replay,
                                                           const char *format, ...);

/* ---- Words ---- */

/* A number up to `max`; `what` names it in the message. */
bool replay_number(struct replay *replay, const char *word, const char *what, uint64_t max,
                   uint64_t *value);

/* A VP index of the partition. */
bool replay_vp(struct replay *replay, const char *word, struct hvtlfs_vp **vp, uint32_t *vp_index);

/* ---- Commands of other files ---- */

replay_function replay_reftime;
replay_function replay_guesttime;
replay_function replay_guesttsc;
replay_function replay_wrtsc;
replay_function replay_page_reason;
replay_function replay_freeze;
replay_function replay_thaw;
replay_function replay_migrate;

/* ---- Time ---- */

/* What has passed on the host's clock since the partition was made, in 100 ns. */
uint64_t replay_time(const struct replay *replay);

/* Let time pass, and poll each VP when its deadline comes, in the order in which they come. */
void replay_sleep(struct replay *replay, uint64_t time);

/* Poll the VPs that were kicked. */
void replay_serve_kicks(struct replay *replay);

/* ---- Scripts ---- */

struct replay_options {
    bool print; /* every command with its result */
    bool as_json;
    bool freezes; /* stop and restart the clock after every command */
    bool renews;  /* and, meanwhile, move into a fresh partition */

    /* For tests: called around each command but the partition line; `before` may change the words, of
       which the first is the command's name; the script ends where `after` returns false. With `quiet` results do not matter and nothing is said. */
    void (*before)(void *context, struct replay *replay, uint32_t line, char **words);
    bool (*after)(void *context, struct replay *replay, uint32_t line);
    void *context;
    bool quiet;
};

/* Run one script. Returns the exit status; messages have been printed. A script that `after` ends has
   the status of what was done of it. */
int replay_script(const char *file, const struct replay_options *options);

#endif
