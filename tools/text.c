/* SPDX-License-Identifier: MIT */
#include "text.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Growing strings ---- */

static void reserve(struct text *text, size_t more)
{
    size_t needed = text->length + more + 1;
    if (needed <= text->capacity) {
        return;
    }
    size_t capacity = text->capacity < 64 ? 64 : text->capacity;
    while (capacity < needed) {
        capacity *= 2;
    }
    char *data = realloc(text->data, capacity);
    if (data == NULL) {
        (void)fputs("hvtlfs: out of memory\n", stderr);
        exit(2);
    }
    text->data = data;
    text->capacity = capacity;
}

void text_clear(struct text *text)
{
    reserve(text, 0);
    text->length = 0;
    text->data[0] = '\0';
}

void text_free(struct text *text)
{
    free(text->data);
    *text = (struct text){0};
}

void text_add_bytes(struct text *text, const char *bytes, size_t size)
{
    reserve(text, size);
    memcpy(text->data + text->length, bytes, size);
    text->length += size;
    text->data[text->length] = '\0';
}

void text_add_char(struct text *text, char c)
{
    text_add_bytes(text, &c, 1);
}

void text_add(struct text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0) {
        return;
    }
    reserve(text, (size_t)length);
    va_start(arguments, format);
    (void)vsnprintf(text->data + text->length, (size_t)length + 1, format, arguments);
    va_end(arguments);
    text->length += (size_t)length;
}

void text_add_hex(struct text *text, const uint8_t *bytes, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    reserve(text, size * 2);
    for (size_t i = 0; i < size; i++) {
        text->data[text->length++] = digits[bytes[i] >> 4];
        text->data[text->length++] = digits[bytes[i] & 0xF];
    }
    text->data[text->length] = '\0';
}

const char *text_string(const struct text *text)
{
    return text->data != NULL ? text->data : "";
}

/* ---- Numbers ---- */

int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool digits_parse(const char *digits, size_t count, unsigned base, uint64_t *value)
{
    uint64_t result = 0;
    for (size_t i = 0; i < count; i++) {
        int digit = hex_digit(digits[i]);
        if (digit < 0 || (unsigned)digit >= base) {
            return false;
        }
        if (result > (UINT64_MAX - (unsigned)digit) / base) {
            return false;
        }
        result = result * base + (unsigned)digit;
    }
    *value = result;
    return count > 0;
}

bool number_parse(const char *string, size_t size, uint64_t *value)
{
    if (size > 2 && string[0] == '0' && (string[1] == 'x' || string[1] == 'X')) {
        return digits_parse(string + 2, size - 2, 16, value);
    }
    return digits_parse(string, size, 10, value);
}

bool size_parse(const char *string, uint64_t *value)
{
    static const char suffixes[] = "KMG";
    size_t length = strlen(string);
    const char *suffix = length > 0 ? strchr(suffixes, string[length - 1]) : NULL;
    unsigned shift = 0;
    if (suffix != NULL && *suffix != '\0') {
        shift = 10 * (unsigned)(suffix - suffixes + 1);
        length--;
    }
    if (!number_parse(string, length, value) || *value > UINT64_MAX >> shift) {
        return false;
    }
    *value <<= shift;
    return true;
}

bool hex_parse(const char *digits, size_t digit_count, uint8_t *bytes, size_t capacity,
               size_t *size)
{
    if (digit_count % 2 != 0 || digit_count / 2 > capacity) {
        return false;
    }
    for (size_t i = 0; i < digit_count; i += 2) {
        int high = hex_digit(digits[i]);
        int low = hex_digit(digits[i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        bytes[i / 2] = (uint8_t)(high << 4 | low);
    }
    *size = digit_count / 2;
    return true;
}

/* ---- Words ---- */

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

bool same_word(const char *a, const char *b)
{
    while (*a != '\0' && lower(*a) == lower(*b)) {
        a++;
        b++;
    }
    return *a == '\0' && *b == '\0';
}

#define WORD_MAX 80 /* longer words are not compared */

static size_t least(size_t a, size_t b, size_t c)
{
    size_t ab = a < b ? a : b;
    return ab < c ? ab : c;
}

/* How many letters have to be put in, taken out or replaced; by rows, as Wagner and Fischer do. */
static size_t edit_distance(const char *a, size_t a_size, const char *b, size_t b_size)
{
    size_t row[WORD_MAX + 1];
    for (size_t j = 0; j <= b_size; j++) {
        row[j] = j;
    }
    for (size_t i = 0; i < a_size; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < b_size; j++) {
            size_t change = diagonal + (lower(a[i]) == lower(b[j]) ? 0 : 1);
            diagonal = row[j + 1];
            row[j + 1] = least(change, diagonal + 1, row[j] + 1);
        }
    }
    return row[b_size];
}

void nearest_begin(struct nearest *nearest, const char *word)
{
    *nearest = (struct nearest){.word = word, .distance = SIZE_MAX};
}

void nearest_offer(struct nearest *nearest, const char *candidate)
{
    size_t word_size = strlen(nearest->word);
    size_t size = strlen(candidate);
    if (word_size > WORD_MAX || size > WORD_MAX) {
        return;
    }
    size_t distance = edit_distance(nearest->word, word_size, candidate, size);
    if (distance < nearest->distance) {
        nearest->distance = distance;
        nearest->best = candidate;
    }
}

const char *nearest_answer(const struct nearest *nearest)
{
    size_t allowed = 1 + strlen(nearest->word) / 3;
    return nearest->distance <= allowed ? nearest->best : NULL;
}

/* ---- JSON ---- */

static void quote(struct text *text, const char *value)
{
    text_add_char(text, '"');
    for (const unsigned char *c = (const unsigned char *)value; *c != '\0'; c++) {
        if (*c == '"' || *c == '\\') {
            text_add_char(text, '\\');
            text_add_char(text, (char)*c);
        } else if (*c < 0x20 || *c > 0x7E) {
            /* Bytes beyond ASCII may be no UTF-8; shown as the code points of the same number. */
            text_add(text, "\\u%04x", *c);
        } else {
            text_add_char(text, (char)*c);
        }
    }
    text_add_char(text, '"');
}

static void begin_member(struct json *json, const char *key)
{
    if (json->comma) {
        text_add_char(&json->text, ',');
    }
    json->comma = true;
    if (key != NULL) {
        quote(&json->text, key);
        text_add_char(&json->text, ':');
    }
}

void json_clear(struct json *json)
{
    text_clear(&json->text);
    json->comma = false;
}

void json_open(struct json *json, const char *key, char bracket)
{
    begin_member(json, key);
    text_add_char(&json->text, bracket);
    json->comma = false;
}

void json_close(struct json *json, char bracket)
{
    text_add_char(&json->text, bracket);
    json->comma = true;
}

void json_string(struct json *json, const char *key, const char *value)
{
    begin_member(json, key);
    quote(&json->text, value);
}

void json_number(struct json *json, const char *key, uint32_t value)
{
    begin_member(json, key);
    text_add(&json->text, "%" PRIu32, value);
}

void json_wide(struct json *json, const char *key, uint64_t value)
{
    begin_member(json, key);
    text_add(&json->text, "\"0x%" PRIx64 "\"", value);
}

void json_bool(struct json *json, const char *key, bool value)
{
    begin_member(json, key);
    text_add(&json->text, "%s", value ? "true" : "false");
}

void json_print(struct json *json)
{
    puts(text_string(&json->text));
    json_clear(json);
}
