/* SPDX-License-Identifier: MIT */
/* Files for `hvtlfs check`: CPUID dumps, command lines, XML. Each ends with an exit status. */
#define _GNU_SOURCE
#include "memory_file.h"

#include "tool.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct tool_verb verb = {.name = "check"};
    char fix[] = "--fix", json[] = "--json", notes[] = "--notes";
    char *argv[] = {memory_file(data, size), size & 1 ? json : notes, fix, NULL};
    const int status = verb_check(&verb, 1 + (int)(size / 2 % 3), argv);

    if (status < TOOL_OK || status > TOOL_USAGE) {
        abort();
    }
    return 0;
}
