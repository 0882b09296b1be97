/* SPDX-License-Identifier: MIT */
/*
 * Scripts for `hvtlfs replay`, from anybody: each ends with one of the command's exit statuses.
 *
 * Scripts that name files (save, load) are left out: a fuzzer should not write files of its choosing.
 */
#define _GNU_SOURCE
#include "memory_file.h"

#include <stdbool.h>
#include <string.h>

#include "tool.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool has(const uint8_t *data, size_t size, const char *word)
{
    return size >= strlen(word) && memmem(data, size, word, strlen(word));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct tool_verb verb = {.name = "replay"};
    char every[] = "--save-every-step";
    int status;

    if (has(data, size, "save") || has(data, size, "load")) {
        return 0;
    }
    {
        char *argv[] = {memory_file(data, size), every, NULL};

        status = verb_replay(&verb, size % 8 ? 1 : 2, argv);
    }
    if (status < TOOL_OK || status > TOOL_USAGE) {
        abort();
    }
    return 0;
}
