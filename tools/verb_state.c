/* SPDX-License-Identifier: MIT */
/* hvtlfs state: what is in a saved state. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hvtlfs/state.h>

#include "text.h"
#include "tool.h"

#define NUMBERS_MAX 64u /* of one field, in text */

struct print {
    bool as_json;
    char section[5];
    uint32_t vp_index;
};

static uint64_t number_at(const struct hvtlfs_state_field *field, uint32_t at)
{
    uint64_t value = 0;
    for (uint32_t i = field->width; i > 0; i--) {
        value = value << 8 | field->data[at + i - 1];
    }
    return value;
}

static void add_value(struct text *text, const struct hvtlfs_state_field *field)
{
    bool is_text = field->width == 0 && strcmp(field->tag, "FEAT") == 0;
    if (is_text) {
        text_add_bytes(text, (const char *)field->data, field->size);
    } else if (field->width == 0) {
        text_add_hex(text, field->data, field->size < 32 ? field->size : 32);
        text_add(text, "%s", field->size > 32 ? "..." : "");
    }
    for (uint32_t at = 0; field->width > 0 && at + field->width <= field->size;
         at += field->width) {
        if (at / field->width == NUMBERS_MAX) {
            text_add(text, " ...");
            break;
        }
        text_add(text, "%s0x%" PRIx64, at > 0 ? " " : "", number_at(field, at));
    }
}

static void print_json(const struct hvtlfs_state_field *field, const char *value)
{
    struct json json = {0};
    json_clear(&json);
    json_open(&json, NULL, '{');
    json_string(&json, "section", field->section);
    json_string(&json, "tag", field->tag);
    if (field->vp_index != HVTLFS_NO_VP) {
        json_number(&json, "vp", field->vp_index);
    }
    if (field->name != NULL) {
        json_string(&json, "name", field->name);
    }
    json_number(&json, "size", field->size);
    json_string(&json, "value", value);
    json_close(&json, '}');
    json_print(&json);
    text_free(&json.text);
}

static void print_text(struct print *print, const struct hvtlfs_state_field *field,
                       const char *value)
{
    if (strcmp(print->section, field->section) != 0 || print->vp_index != field->vp_index) {
        memcpy(print->section, field->section, sizeof(print->section));
        print->vp_index = field->vp_index;
        printf("%s", field->section);
        printf(field->vp_index != HVTLFS_NO_VP ? " of VP %" PRIu32 "\n" : "\n", field->vp_index);
    }
    printf("    %-28s %s\n", field->name != NULL ? field->name : field->tag, value);
}

static void print_field(void *context, const struct hvtlfs_state_field *field)
{
    struct print *print = context;
    struct text value = {0};
    add_value(&value, field);
    if (print->as_json) {
        print_json(field, text_string(&value));
    } else {
        print_text(print, field, text_string(&value));
    }
    text_free(&value);
}

static bool read_all(FILE *file, struct text *text)
{
    char buffer[4096];
    size_t size;
    while ((size = fread(buffer, 1, sizeof(buffer), file)) > 0) {
        text_add_bytes(text, buffer, size);
    }
    return ferror(file) == 0;
}

static int show(const struct tool_verb *verb, const char *name, const struct text *bytes,
                bool as_json)
{
    struct hvtlfs_error error = {0};
    struct print print = {.as_json = as_json};
    enum hvtlfs_status status =
        hvtlfs_state_visit(text_string(bytes), bytes->length, print_field, &print, &error);
    if (status == HVTLFS_OK) {
        return TOOL_OK;
    }
    char sentence[400];
    (void)hvtlfs_error_text(&error, sentence, sizeof(sentence));
    tool_error(verb, "%s: %s", name, sentence);
    return TOOL_FAILED;
}

int verb_state(const struct tool_verb *verb, int argc, char **argv)
{
    bool as_json = false;
    int status;
    const struct tool_option options[] = {
        {"--json", NULL, "one JSON object a field", &as_json, NULL},
    };
    if (!tool_options(verb, options, 1, &argc, argv, &status)) {
        return status;
    }
    if (argc != 1) {
        return tool_error(verb, "expected one file, got %d", argc);
    }
    bool standard = strcmp(argv[0], "-") == 0;
    FILE *file = standard ? stdin : fopen(argv[0], "rb");
    if (file == NULL) {
        return tool_error(verb, "%s: %s", argv[0], strerror(errno));
    }
    struct text bytes = {0};
    status = read_all(file, &bytes) ? show(verb, argv[0], &bytes, as_json)
                                    : tool_error(verb, "%s: %s", argv[0], strerror(errno));
    if (!standard) {
        (void)fclose(file);
    }
    text_free(&bytes);
    return status;
}
