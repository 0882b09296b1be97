/* SPDX-License-Identifier: MIT */
/* Scripts: lines into words, results against expectations. */
#define _POSIX_C_SOURCE 200809L
#include "replay.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

/* A script being read. The line's buffer holds the words; they point into it. */
struct script {
    const char *file;
    const struct replay_options *options;
    uint32_t line_number;
    bool ended; /* by whoever watches it */
    char **words;
    size_t word_capacity;
    struct text command;  /* the line's command with white space folded, if it will be shown */
    struct text expected; /* the same for an expectation that was not met */
    struct json json;
    struct replay replay;
};

/* ---- Messages ---- */

bool replay_expected(struct replay *replay, const char *format, ...)
{
    char message[600];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    text_clear(&replay->problem);
    text_add(&replay->problem, "%s", message);
    return false;
}

static int malformed(const struct script *script)
{
    if (script->options->quiet) {
        return TOOL_OK;
    }
    fprintf(stderr, "%s:%" PRIu32 ": %s\n", script->file, script->line_number,
            text_string(&script->replay.problem));
    return TOOL_USAGE;
}

/* ---- A line's parts ---- */

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\v' || c == '\f';
}

/* Does a mark such as "=>" or "#" stand here as a word of its own? */
static bool stands_alone(const char *line, const char *at, size_t size)
{
    bool before = at == line || is_space(at[-1]);
    return before && (at[size] == '\0' || is_space(at[size]));
}

/* The first such mark outside quotation marks, or NULL. */
static char *find_mark(char *line, const char *mark)
{
    size_t size = strlen(mark);
    bool quoted = false;
    for (char *at = line; *at != '\0'; at++) {
        quoted = quoted != (*at == '"');
        if (!quoted && strncmp(at, mark, size) == 0 && stands_alone(line, at, size)) {
            return at;
        }
    }
    return NULL;
}

/* Cut a comment off: a line that begins with '#', or what follows a '#' that is a word. */
static void cut_comment(char *line)
{
    char *first = line;
    while (is_space(*first)) {
        first++;
    }
    char *mark = *first == '#' ? first : find_mark(line, "#");
    if (mark != NULL) {
        *mark = '\0';
    }
}

/* White space folded to single blanks, none at the ends. */
static void fold(struct text *folded, const char *string)
{
    text_clear(folded);
    for (; *string != '\0'; string++) {
        if (!is_space(*string)) {
            text_add_char(folded, *string);
        } else if (folded->length > 0 && string[1] != '\0' && !is_space(string[1])) {
            text_add_char(folded, ' ');
        }
    }
}

static void add_word(struct script *script, size_t count, char *word)
{
    if (count == script->word_capacity) {
        size_t capacity = count < 16 ? 16 : count * 2;
        char **words = realloc(script->words, capacity * sizeof(*words));
        if (words == NULL) {
            (void)fputs("hvtlfs: out of memory\n", stderr);
            exit(TOOL_USAGE);
        }
        script->words = words;
        script->word_capacity = capacity;
    }
    script->words[count] = word;
}

/* Cut a string into words, in place. Quotation marks keep blanks together and go away. */
static bool split(struct script *script, char *string, size_t *count)
{
    char *to = string;
    *count = 0;
    for (char *from = string; *from != '\0';) {
        if (is_space(*from)) {
            from++;
            continue;
        }
        bool quoted = false;
        add_word(script, (*count)++, to);
        for (; *from != '\0' && (quoted || !is_space(*from)); from++) {
            if (*from == '"') {
                quoted = !quoted;
            } else {
                *to++ = *from;
            }
        }
        if (quoted) {
            return replay_expected(&script->replay, "expected a closing '\"'");
        }
        from += *from != '\0' ? 1 : 0;
        *to++ = '\0';
    }
    return true;
}

/* ---- Results against expectations ---- */

/* The next word of a text; ';' is a word by itself. Returns its size, 0 at the end. */
static size_t next_token(const char **string)
{
    while (is_space(**string)) {
        (*string)++;
    }
    if (**string == ';') {
        return 1;
    }
    size_t size = 0;
    while ((*string)[size] != '\0' && (*string)[size] != ';' && !is_space((*string)[size])) {
        size++;
    }
    return size;
}

/* How much of a token stands before a number: "eax=" of "eax=0x60", nothing of "17". */
static size_t name_size(const char *token, size_t size)
{
    size_t length = 0;
    for (size_t i = 0; i < size; i++) {
        length = token[i] == '=' ? i + 1 : length;
    }
    return length;
}

static bool same_token(const char *a, size_t a_size, const char *b, size_t b_size)
{
    if (a_size == b_size && memcmp(a, b, a_size) == 0) {
        return true;
    }
    uint64_t a_value;
    uint64_t b_value;
    size_t name = name_size(a, a_size);
    return name == name_size(b, b_size) && memcmp(a, b, name) == 0 &&
           number_parse(a + name, a_size - name, &a_value) &&
           number_parse(b + name, b_size - name, &b_value) && a_value == b_value;
}

static bool same_words(const char *a, const char *b)
{
    for (;;) {
        size_t a_size = next_token(&a);
        size_t b_size = next_token(&b);
        if (a_size == 0 || b_size == 0) {
            return a_size == b_size;
        }
        if (!same_token(a, a_size, b, b_size)) {
            return false;
        }
        a += a_size;
        b += b_size;
    }
}

/* Runs of digits: white space and case do not matter, leading zeros do. */
static bool same_digits(const char *a, const char *b)
{
    for (;; a++, b++) {
        while (is_space(*a)) {
            a++;
        }
        while (is_space(*b)) {
            b++;
        }
        int a_digit = hex_digit(*a);
        if (*a != *b && (a_digit < 0 || a_digit != hex_digit(*b))) {
            return false;
        }
        if (*a == '\0') {
            return true;
        }
    }
}

/* ---- Running ---- */

static void show(struct script *script, const char *expected, bool ok)
{
    const char *result = text_string(&script->replay.result);
    if (!script->options->as_json) {
        printf("%s => %s\n", text_string(&script->command), result);
        return;
    }
    struct json *json = &script->json;
    json_clear(json);
    json_open(json, NULL, '{');
    json_string(json, "file", script->file);
    json_number(json, "line", script->line_number);
    json_string(json, "command", text_string(&script->command));
    json_string(json, "result", result);
    if (expected != NULL) {
        fold(&script->expected, expected);
        json_string(json, "expected", text_string(&script->expected));
    }
    json_bool(json, "ok", ok);
    json_close(json, '}');
    json_print(json);
}

static int mismatch(struct script *script, const char *expected)
{
    if (script->options->quiet) {
        return TOOL_OK;
    }
    if (!script->options->as_json) {
        fold(&script->expected, expected);
        printf("%s:%" PRIu32 ": expected %s, got %s\n", script->file, script->line_number,
               text_string(&script->expected), text_string(&script->replay.result));
    }
    return TOOL_FAILED;
}

/* The model host watches the library; a broken contract fails any script. */
static int check_contract(const struct script *script)
{
    if (script->options->quiet || model_host_violations(script->replay.host) == 0) {
        return TOOL_OK;
    }
    printf("%s:%" PRIu32 ": the library broke its contract with the host: %s\n", script->file,
           script->line_number, model_host_first_violation(script->replay.host));
    return TOOL_FAILED;
}

static void print_notes(const struct script *script)
{
    char where[400];
    (void)snprintf(where, sizeof(where), "%s:%" PRIu32, script->file, script->line_number);
    tool_print_missing(where, script->replay.partition, &script->replay.asked);
}

static bool unknown_command(struct replay *replay, const char *word)
{
    struct nearest nearest;
    char suggestion[100];
    const struct replay_command *row;
    nearest_begin(&nearest, word);
    for (size_t i = 0; (row = replay_command_row(i)) != NULL; i++) {
        nearest_offer(&nearest, row->name);
    }
    return replay_expected(
        replay, "expected a command, got '%s'%s; hvtlfs-replay(5) lists them", word,
        tool_suggestion(nearest_answer(&nearest), suggestion, sizeof(suggestion)));
}

/* The row of the line's command, NULL with a message if it cannot stand here. */
static const struct replay_command *choose_command(struct replay *replay, size_t count,
                                                   char **words)
{
    const struct replay_command *command = replay_command_find(words[0]);
    bool makes_partition = strcmp(words[0], "partition") == 0;
    if (replay->partition == NULL && !makes_partition) {
        (void)replay_expected(replay, "the first line must be 'partition', got '%s'", words[0]);
        return NULL;
    }
    if (replay->partition != NULL && makes_partition) {
        (void)replay_expected(replay, "expected one 'partition' line only; 'reset' begins anew");
        return NULL;
    }
    if (command == NULL) {
        (void)unknown_command(replay, words[0]);
        return NULL;
    }
    if (count - 1 < command->min || count - 1 > command->max) {
        (void)replay_expected(replay, "expected '%s%s%s'", command->name,
                              command->usage[0] != '\0' ? " " : "", command->usage);
        return NULL;
    }
    return command;
}

/* The command, and what follows from it at once. */
static bool run_watched(struct script *script, const struct replay_command *command, size_t count)
{
    const struct replay_options *options = script->options;
    struct replay *replay = &script->replay;
    if (options->before != NULL && replay->partition != NULL) {
        options->before(options->context, replay, script->line_number, script->words);
    }
    bool done = command->run(replay, count - 1, script->words + 1);
    if (done) {
        replay_serve_kicks(replay);
    }
    if (options->after != NULL && command->run != replay_partition) {
        script->ended = !options->after(options->context, replay, script->line_number);
    }
    return done;
}

static int run_command(struct script *script, size_t count, const char *expected)
{
    struct replay *replay = &script->replay;
    const struct replay_command *command = choose_command(replay, count, script->words);
    text_clear(&replay->result);
    if (command == NULL || !run_watched(script, command, count)) {
        return malformed(script);
    }
    if (command->run == replay_partition && !script->options->quiet) {
        print_notes(script);
    }
    if (script->options->freezes && !replay_renew(replay, script->options->renews)) {
        return malformed(script);
    }
    const char *result = text_string(&replay->result);
    bool ok = expected == NULL ||
              (command->hex ? same_digits(expected, result) : same_words(expected, result));
    if (script->options->print || script->options->as_json) {
        show(script, expected, ok);
    }
    return ok ? check_contract(script) : mismatch(script, expected);
}

static int run_line(struct script *script, char *line)
{
    size_t count;
    cut_comment(line);
    char *expected = find_mark(line, "=>");
    if (expected != NULL) {
        *expected = '\0';
        expected += 2;
        const char *first = expected;
        if (next_token(&first) == 0) {
            (void)replay_expected(&script->replay, "expected a result after '=>'");
            return malformed(script);
        }
    }
    if (script->options->print || script->options->as_json) {
        fold(&script->command, line);
    }
    if (!split(script, line, &count)) {
        return malformed(script);
    }
    if (count == 0 && expected != NULL) {
        (void)replay_expected(&script->replay, "expected a command before '=>'");
        return malformed(script);
    }
    return count > 0 ? run_command(script, count, expected) : TOOL_OK;
}

static int run_stream(struct script *script, FILE *stream)
{
    char *line = NULL;
    size_t capacity = 0;
    ssize_t size;
    int status = TOOL_OK;
    while (status == TOOL_OK && !script->ended &&
           (errno = 0, size = getline(&line, &capacity, stream)) >= 0) {
        script->line_number++;
        if (strlen(line) != (size_t)size) {
            (void)replay_expected(&script->replay, "expected text, got a NUL byte");
            status = malformed(script);
        } else {
            status = run_line(script, line);
        }
    }
    if (status == TOOL_OK && ferror(stream) != 0) {
        fprintf(stderr, "hvtlfs replay: %s: %s\n", script->file, strerror(errno));
        status = TOOL_USAGE;
    } else if (status == TOOL_OK && script->replay.partition == NULL) {
        (void)replay_expected(&script->replay, "the first line must be 'partition', got nothing");
        script->line_number++;
        status = malformed(script);
    }
    free(line);
    return status;
}

static void release(struct script *script)
{
    struct replay *replay = &script->replay;
    text_free(&script->command);
    text_free(&script->expected);
    text_free(&script->json.text);
    text_free(&replay->result);
    text_free(&replay->problem);
    text_free(&replay->scratch);
    model_host_destroy(replay->host);
    free(replay->vps);
    free(script->words);
}

int replay_script(const char *file, const struct replay_options *options)
{
    bool standard_input = strcmp(file, "-") == 0;
    FILE *stream = standard_input ? stdin : fopen(file, "r");
    if (stream == NULL) {
        fprintf(stderr, "hvtlfs replay: %s: %s\n", file, strerror(errno));
        return TOOL_USAGE;
    }
    struct script script = {.file = file, .options = options};
    int status = run_stream(&script, stream);
    release(&script);
    if (!standard_input) {
        (void)fclose(stream);
    }
    return status;
}
