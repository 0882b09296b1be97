/* SPDX-License-Identifier: MIT */
/*
 * A value taken apart, on paper: a heading, its bit fields, remarks. As text, or as one JSON object
 * on a line:
 *
 *     {"msr":"0x40000001","name":"HV_X64_MSR_HYPERCALL","fields":[{"high":0,...}],"notes":[]}
 */
#ifndef TOOL_SHEET_H
#define TOOL_SHEET_H

#include <stdbool.h>
#include <stdint.h>

#include "text.h"

struct sheet {
    bool as_json;
    bool only_set; /* leave out fields that are 0 */
    struct json json;
    struct json notes; /* kept until the end, after the fields */
    bool fields_open;
};

/* One bit field. Those named "Reserved" are shown only if they are not 0, which they should be. */
struct sheet_field {
    const char *group; /* a register's name before the bit numbers, or "" */
    unsigned hi;
    unsigned lo;
    const char *name;
    const char *meaning;
};

void sheet_begin(struct sheet *sheet);
void sheet_end(struct sheet *sheet); /* prints the JSON object */
void sheet_free(struct sheet *sheet);

/* Lines of text only, and members of the JSON object only; members come before the fields. */
__attribute__((format(printf, 2, 3))) void sheet_heading(const struct sheet *sheet,
                                                         const char *format, ...);
void sheet_string(struct sheet *sheet, const char *key, const char *value);
void sheet_value(struct sheet *sheet, const char *key, uint64_t value);

/* The field's bits of `value`. */
void sheet_add(struct sheet *sheet, const struct sheet_field *field, uint64_t value);

/* A field described without a value. */
void sheet_describe(struct sheet *sheet, const struct sheet_field *field);

__attribute__((format(printf, 2, 3))) void sheet_note(struct sheet *sheet, const char *format, ...);

#endif
