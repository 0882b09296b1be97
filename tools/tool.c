/* SPDX-License-Identifier: MIT */
#include "tool.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <hvtlfs/partition.h>

#include <hvtlfs/profiles.h>

#include "text.h"

/* ---- Messages ---- */

int tool_error(const struct tool_verb *verb, const char *format, ...)
{
    va_list arguments;
    (void)fprintf(stderr, "hvtlfs %s: ", verb->name);
    va_start(arguments, format);
    (void)vfprintf(stderr, format, arguments);
    va_end(arguments);
    (void)fputc('\n', stderr);
    return TOOL_USAGE;
}

const char *tool_suggestion(const char *nearest, char *buffer, size_t size)
{
    buffer[0] = '\0';
    if (nearest != NULL) {
        (void)snprintf(buffer, size, "; did you mean '%s'?", nearest);
    }
    return buffer;
}

/* ---- Options ---- */

static void print_help(const struct tool_verb *verb, const struct tool_option *options,
                       size_t count)
{
    printf("usage: hvtlfs %s%s%s\n\n%s.\n\n", verb->name, verb->arguments[0] != '\0' ? " " : "",
           verb->arguments, verb->summary);
    for (size_t i = 0; i < count; i++) {
        const char *argument = options[i].argument != NULL ? options[i].argument : "";
        int width = printf("  %s%s%s", options[i].name, argument[0] != '\0' ? " " : "", argument);
        printf("%*s%s\n", width < 22 ? 22 - width : 1, "", options[i].summary);
    }
    printf("  %-20s%s\n", "--help", "this text");
    if (verb->details != NULL) {
        printf("\n%s", verb->details);
    }
    puts("\nExit status: 0 fine, 1 a check failed, 2 bad usage.");
}

/* Whether a word is this option, and its value if it stands behind a '='. */
static bool is_option(const char *word, const struct tool_option *option, const char **value)
{
    size_t length = strlen(option->name);
    if (strncmp(word, option->name, length) != 0) {
        return false;
    }
    *value = word[length] == '=' ? word + length + 1 : NULL;
    return word[length] == '\0' || word[length] == '=';
}

static int unknown_option(const struct tool_verb *verb, const struct tool_option *options,
                          size_t count, const char *word)
{
    struct nearest nearest;
    char suggestion[100];
    nearest_begin(&nearest, word);
    nearest_offer(&nearest, "--help");
    for (size_t i = 0; i < count; i++) {
        nearest_offer(&nearest, options[i].name);
    }
    return tool_error(verb, "unknown option '%s'%s; 'hvtlfs %s --help' lists the options", word,
                      tool_suggestion(nearest_answer(&nearest), suggestion, sizeof(suggestion)),
                      verb->name);
}

/* Give an option the value that stands behind its '=' or, for want of one, the next word. Returns
   how many words that took, 0 after an error. */
static int set_option(const struct tool_verb *verb, const struct tool_option *option,
                      const char *value, const char *next)
{
    if (option->flag != NULL) {
        if (value != NULL) {
            tool_error(verb, "%s takes no value", option->name);
            return 0;
        }
        *option->flag = true;
        return 1;
    }
    if (value == NULL && next == NULL) {
        tool_error(verb, "%s needs a value: %s %s", option->name, option->name, option->argument);
        return 0;
    }
    *option->value = value != NULL ? value : next;
    return value != NULL ? 1 : 2;
}

/* Take the option at the front of argv; returns how many words it used, 0 after an error. */
static int take_option(const struct tool_verb *verb, const struct tool_option *options,
                       size_t count, int argc, char **argv)
{
    const char *value;
    for (size_t i = 0; i < count; i++) {
        if (is_option(argv[0], &options[i], &value)) {
            return set_option(verb, &options[i], value, argc > 1 ? argv[1] : NULL);
        }
    }
    unknown_option(verb, options, count, argv[0]);
    return 0;
}

bool tool_options(const struct tool_verb *verb, const struct tool_option *options, size_t count,
                  int *argc, char **argv, int *status)
{
    int kept = 0;
    bool ended = false;
    for (int at = 0; at < *argc;) {
        if (ended || argv[at][0] != '-' || argv[at][1] == '\0') {
            argv[kept++] = argv[at++];
            continue;
        }
        if (strcmp(argv[at], "--help") == 0 || strcmp(argv[at], "-h") == 0) {
            print_help(verb, options, count);
            *status = TOOL_OK;
            return false;
        }
        ended = strcmp(argv[at], "--") == 0;
        int used = ended ? 1 : take_option(verb, options, count, *argc - at, argv + at);
        if (used == 0) {
            *status = TOOL_USAGE;
            return false;
        }
        at += used;
    }
    *argc = kept;
    return true;
}

/* ---- Feature sets ---- */

bool tool_profile(const char *name, struct hvtlfs_config *config, struct text *message)
{
    struct nearest nearest;
    char suggestion[100];
    if (name == NULL ||
        hvtlfs_profile_apply(hvtlfs_profile_find(name, strlen(name)), config) == HVTLFS_OK) {
        return true;
    }
    nearest_begin(&nearest, name);
    for (int i = 0; i < HVTLFS_PROFILE_COUNT; i++) {
        nearest_offer(&nearest, hvtlfs_profile_name((enum hvtlfs_profile)i));
    }
    text_add(message, "unknown profile '%s'%s; known: ", name,
             tool_suggestion(nearest_answer(&nearest), suggestion, sizeof(suggestion)));
    for (int i = 0; i < HVTLFS_PROFILE_COUNT; i++) {
        text_add(message, "%s%s", i > 0 ? ", " : "", hvtlfs_profile_name((enum hvtlfs_profile)i));
    }
    return false;
}

/* The library names the item by its place; the nearest name is ours to add. */
static void describe_list_error(const char *list, const struct hvtlfs_error *error,
                                struct text *message)
{
    char sentence[400];
    char item[64] = "";
    char suggestion[100];
    struct nearest nearest;
    if (error->value < strlen(list)) {
        (void)snprintf(item, sizeof(item), "%.*s", (int)error->limit, list + error->value);
    }
    const char *name = item;
    if (strncmp(name, "hv-", 3) == 0 || strncmp(name, "hv_", 3) == 0) {
        name += 3;
    }
    nearest_begin(&nearest, name);
    for (int i = 0; i < HVTLFS_FEATURE_COUNT; i++) {
        nearest_offer(&nearest, hvtlfs_feature_name((enum hvtlfs_feature)i));
    }
    const char *answer =
        error->status == HVTLFS_ERR_UNKNOWN_FEATURE ? nearest_answer(&nearest) : NULL;
    (void)hvtlfs_error_text(error, sentence, sizeof(sentence));
    text_add(message, "'%s': %s%s", item, sentence,
             tool_suggestion(answer, suggestion, sizeof(suggestion)));
}

bool tool_features(const char *text, struct hvtlfs_feature_list *list, struct text *message)
{
    struct hvtlfs_error error = {0};
    if (hvtlfs_features_parse(list, text, strlen(text), &error) != HVTLFS_OK) {
        describe_list_error(text, &error, message);
        return false;
    }
    return true;
}

void tool_print_missing(const char *where, const struct hvtlfs_partition *partition,
                        const struct hvtlfs_features *asked)
{
    for (int i = 0; i < HVTLFS_FEATURE_COUNT; i++) {
        enum hvtlfs_feature feature = (enum hvtlfs_feature)i;
        const char *why = hvtlfs_feature_why_off(partition, feature);
        if (why != NULL && hvtlfs_features_has(asked, feature)) {
            fprintf(stderr, "%s: note: %s is off: %s\n", where, hvtlfs_feature_name(feature), why);
        }
    }
}
