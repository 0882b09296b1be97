/* SPDX-License-Identifier: MIT */
/* Names of the TLFS and the numbers they stand for, both ways. */
#ifndef TOOL_DECODE_H
#define TOOL_DECODE_H

#include <stdbool.h>
#include <stdint.h>

/* A range of numbers that may have names. */
struct name_space {
    const char *what;   /* "MSR", for messages */
    const char *prefix; /* may be left out when a name is typed */
    uint32_t first;
    uint32_t last;
    const char *(*name)(uint32_t number); /* NULL where a number has none */
};

extern const struct name_space msr_names;
extern const struct name_space call_names;
extern const struct name_space status_names;

/*
 * The number of a name, upper or lower case, with or without the prefix. On failure *nearest is a
 * name that is spelled alike, or NULL.
 */
bool name_find(const struct name_space *space, const char *word, uint32_t *number,
               const char **nearest);

#endif
