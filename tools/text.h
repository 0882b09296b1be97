/* SPDX-License-Identifier: MIT */
/* Text for the command: growing strings, numbers in and out, JSON, and the nearest word. */
#ifndef TOOL_TEXT_H
#define TOOL_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A string that grows. Start from {0}; data is NUL-terminated, NULL only before the first use. */
struct text {
    char *data;
    size_t length;
    size_t capacity;
};

void text_clear(struct text *text);
void text_free(struct text *text);
void text_add_char(struct text *text, char c);
void text_add_bytes(struct text *text, const char *bytes, size_t size);
__attribute__((format(printf, 2, 3))) void text_add(struct text *text, const char *format, ...);

/* The bytes as a run of lower-case hexadecimal digits. */
void text_add_hex(struct text *text, const uint8_t *bytes, size_t size);

/* Never NULL. */
const char *text_string(const struct text *text);

/* A whole string that is a decimal or 0x hexadecimal number of at most 64 bits. */
bool number_parse(const char *string, size_t size, uint64_t *value);

/* The same with an optional suffix K, M or G for powers of 1024. */
bool size_parse(const char *string, uint64_t *value);

/* Hexadecimal digits, an even number of them, to bytes; false if they are no such or too many. */
bool hex_parse(const char *digits, size_t digit_count, uint8_t *bytes, size_t capacity,
               size_t *size);

/* The value of one hexadecimal digit, -1 if it is none. */
int hex_digit(char c);

/* Equal without regard to upper and lower case (ASCII). */
bool same_word(const char *a, const char *b);

/*
 * Looking for the word that was probably meant: offer every candidate, then ask. NULL if none is
 * near.
 */
struct nearest {
    const char *word;
    const char *best;
    size_t distance;
};

void nearest_begin(struct nearest *nearest, const char *word);
void nearest_offer(struct nearest *nearest, const char *candidate);
const char *nearest_answer(const struct nearest *nearest);

/*
 * One JSON value after another on a line. Objects and arrays nest; commas are put where they
 * belong. Numbers of more than 32 bits are given as strings "0x...", since many readers of JSON
 * keep only 53 bits.
 */
struct json {
    struct text text;
    bool comma; /* the next member needs one before it */
};

void json_clear(struct json *json);
void json_open(struct json *json, const char *key, char bracket);
void json_close(struct json *json, char bracket);
void json_string(struct json *json, const char *key, const char *value);
void json_number(struct json *json, const char *key, uint32_t value);
void json_wide(struct json *json, const char *key, uint64_t value);
void json_bool(struct json *json, const char *key, bool value);

/* Print the line and begin anew. */
void json_print(struct json *json);

#endif
