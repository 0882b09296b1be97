/* SPDX-License-Identifier: MIT */
#include "sheet.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static uint64_t bits_of(uint64_t value, unsigned hi, unsigned lo)
{
    unsigned width = hi - lo + 1;
    return width < 64 ? value >> lo & ((UINT64_C(1) << width) - 1) : value;
}

void sheet_begin(struct sheet *sheet)
{
    json_clear(&sheet->json);
    json_clear(&sheet->notes);
    json_open(&sheet->json, NULL, '{');
    sheet->fields_open = false;
}

void sheet_end(struct sheet *sheet)
{
    if (!sheet->as_json) {
        return;
    }
    if (sheet->fields_open) {
        json_close(&sheet->json, ']');
    }
    if (sheet->notes.text.length > 0) {
        json_open(&sheet->json, "notes", '[');
        text_add(&sheet->json.text, "%s", text_string(&sheet->notes.text));
        json_close(&sheet->json, ']');
    }
    json_close(&sheet->json, '}');
    json_print(&sheet->json);
}

void sheet_free(struct sheet *sheet)
{
    text_free(&sheet->json.text);
    text_free(&sheet->notes.text);
}

void sheet_heading(const struct sheet *sheet, const char *format, ...)
{
    if (sheet->as_json) {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
}

void sheet_string(struct sheet *sheet, const char *key, const char *value)
{
    if (sheet->as_json) {
        json_string(&sheet->json, key, value);
    }
}

void sheet_value(struct sheet *sheet, const char *key, uint64_t value)
{
    if (sheet->as_json) {
        json_wide(&sheet->json, key, value);
    }
}

static void field_json(struct sheet *sheet, const struct sheet_field *field, const uint64_t *bits)
{
    if (!sheet->fields_open) {
        json_open(&sheet->json, "fields", '[');
        sheet->fields_open = true;
    }
    json_open(&sheet->json, NULL, '{');
    if (field->group[0] != '\0') {
        json_string(&sheet->json, "register", field->group);
    }
    json_number(&sheet->json, "high", field->hi);
    json_number(&sheet->json, "low", field->lo);
    json_string(&sheet->json, "name", field->name);
    if (bits != NULL) {
        json_wide(&sheet->json, "value", *bits);
    }
    json_string(&sheet->json, "meaning", field->meaning);
    json_close(&sheet->json, '}');
}

static void field_text(const struct sheet_field *field, const uint64_t *bits)
{
    char place[24];
    char number[24] = "";
    if (field->hi == field->lo) {
        (void)snprintf(place, sizeof(place), "%s[%u]", field->group, field->hi);
    } else {
        (void)snprintf(place, sizeof(place), "%s[%u:%u]", field->group, field->hi, field->lo);
    }
    if (bits != NULL && field->hi == field->lo) {
        (void)snprintf(number, sizeof(number), "%" PRIu64, *bits);
    } else if (bits != NULL) {
        (void)snprintf(number, sizeof(number), "0x%" PRIx64, *bits);
    }
    printf("    %-11s %-*s %-*s%s%s\n", place, bits != NULL ? 10 : 0, number,
           field->meaning[0] != '\0' ? 30 : 0, field->name, field->meaning[0] != '\0' ? " " : "",
           field->meaning);
}

void sheet_add(struct sheet *sheet, const struct sheet_field *field, uint64_t value)
{
    uint64_t bits = bits_of(value, field->hi, field->lo);
    if (bits == 0 && (sheet->only_set || strcmp(field->name, "Reserved") == 0)) {
        return;
    }
    if (sheet->as_json) {
        field_json(sheet, field, &bits);
    } else {
        field_text(field, &bits);
    }
}

void sheet_describe(struct sheet *sheet, const struct sheet_field *field)
{
    if (sheet->as_json) {
        field_json(sheet, field, NULL);
    } else {
        field_text(field, NULL);
    }
}

void sheet_note(struct sheet *sheet, const char *format, ...)
{
    char note[300];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(note, sizeof(note), format, arguments);
    va_end(arguments);
    if (sheet->as_json) {
        json_string(&sheet->notes, NULL, note);
    } else {
        printf("    %s\n", note);
    }
}
