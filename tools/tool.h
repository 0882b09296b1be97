/* SPDX-License-Identifier: MIT */
/* What the verbs of the command `hvtlfs` share. A verb is one row in main.c and one file. */
#ifndef TOOL_H
#define TOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hvtlfs/features.h>
#include <hvtlfs/partition.h>

/* Exit statuses. */
enum {
    TOOL_OK = 0,
    TOOL_FAILED = 1, /* a check failed; what was looked up does not exist */
    TOOL_USAGE = 2,  /* bad usage, a malformed script */
};

struct tool_verb {
    const char *name;
    const char *arguments; /* as in the usage line */
    const char *summary;   /* one line */
    const char *details;   /* more for --help, or NULL; ends in a newline */
    int (*run)(const struct tool_verb *verb, int argc, char **argv);
};

int verb_check(const struct tool_verb *verb, int argc, char **argv);
int verb_cpuid(const struct tool_verb *verb, int argc, char **argv);
int verb_decode(const struct tool_verb *verb, int argc, char **argv);
int verb_features(const struct tool_verb *verb, int argc, char **argv);
int verb_kvm(const struct tool_verb *verb, int argc, char **argv);
int verb_page(const struct tool_verb *verb, int argc, char **argv);
int verb_reftime(const struct tool_verb *verb, int argc, char **argv);
int verb_replay(const struct tool_verb *verb, int argc, char **argv);
int verb_state(const struct tool_verb *verb, int argc, char **argv);

/* An option of a verb: a flag, or, with an argument's name, a value. */
struct tool_option {
    const char *name;     /* with its dashes */
    const char *argument; /* NULL for a flag */
    const char *summary;
    bool *flag;
    const char **value;
};

/*
 * Read a verb's options and leave the other arguments at the front of argv. --help works always;
 * "--" ends the options; "-" is no option. Returns true when the verb has to go on with *argc
 * arguments; otherwise *status is the exit status.
 */
bool tool_options(const struct tool_verb *verb, const struct tool_option *options, size_t count,
                  int *argc, char **argv, int *status);

/* "hvtlfs VERB: ..." on standard error; returns TOOL_USAGE. */
__attribute__((format(printf, 2, 3))) int tool_error(const struct tool_verb *verb,
                                                     const char *format, ...);

/* "; did you mean 'x'?" into buffer, or nothing when x is NULL. Returns buffer. */
const char *tool_suggestion(const char *nearest, char *buffer, size_t size);

/* ---- Feature sets ---- */

struct text;
struct hvtlfs_partition;

/* Put a profile into a configuration; NULL changes nothing. False with a sentence in *message. */
bool tool_profile(const char *name, struct hvtlfs_config *config, struct text *message);

/*
 * A feature that was asked for and is not offered must not go unnoticed: a line on standard error
 * for each, with the reason, behind "WHERE: note: ".
 */
void tool_print_missing(const char *where, const struct hvtlfs_partition *partition,
                        const struct hvtlfs_features *asked);

/* Add a feature list; false with a sentence in *message. */
bool tool_features(const char *text, struct hvtlfs_feature_list *list, struct text *message);

#endif
