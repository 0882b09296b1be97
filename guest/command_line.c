/* SPDX-License-Identifier: MIT */
#include "command_line.h"

#include <stddef.h>

/* The beginning of struct hvm_start_info, as the PVH boot protocol has it. */
struct start_info {
    uint32_t magic;
    uint32_t version;
    uint32_t flags;
    uint32_t module_count;
    uint64_t modules;
    uint64_t command_line;
};

#define START_INFO_MAGIC UINT32_C(0x336EC578)

const char *command_line_of(const void *start_info)
{
    const struct start_info *info = start_info;

    if (info == NULL || info->magic != START_INFO_MAGIC || info->command_line == 0) {
        return "";
    }
    return (const char *)(uintptr_t)info->command_line;
}

/* What follows the name, or NULL if the text does not begin with it. */
static const char *behind(const char *text, const char *name)
{
    while (*name != '\0') {
        if (*text++ != *name++) {
            return NULL;
        }
    }
    return text;
}

static unsigned digit(char c)
{
    unsigned letter = (unsigned)(c | 0x20) - 'a';

    if (c >= '0' && c <= '9') {
        return (unsigned)c - '0';
    }
    return letter < 6 ? 10 + letter : 16;
}

static uint64_t number(const char *text)
{
    unsigned base = text[0] == '0' && text[1] == 'x' ? 16 : 10;
    uint64_t value = 0;

    for (text += base == 16 ? 2 : 0; digit(*text) < base; text++) {
        value = value * base + digit(*text);
    }
    return value;
}

uint64_t command_line_number(const char *line, const char *name, uint64_t otherwise)
{
    const char *word = line;
    const char *value;

    while (*word != '\0') {
        value = behind(word, name);
        if (value != NULL) {
            return number(value);
        }
        while (*word != '\0' && *word++ != ' ') {
        }
    }
    return otherwise;
}
