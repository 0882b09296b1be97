/* SPDX-License-Identifier: MIT */
#include "report.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hvtlfs/msr.h>
#include <hvtlfs/names.h>

/* The lines of TAP in the guest's output. */
struct tap {
    unsigned passed;
    unsigned failed;
    unsigned skipped;
};

/* A group as the report shows it. */
struct section {
    const char *key;   /* in JSON */
    const char *label; /* in text, NULL: not by rows */
    const struct tally_group *group;
    const char *(*name)(uint32_t number);
};

enum { SECTIONS = 6 };

void tally_count(struct tally_group *group, uint32_t number)
{
    for (size_t i = 0; i < group->used; i++) {
        if (group->rows[i].number == number) {
            group->rows[i].count++;
            return;
        }
    }
    if (group->used == TALLY_ROWS) {
        group->others++;
        return;
    }
    group->rows[group->used++] = (struct tally_row){number, 1};
}

uint64_t tally_of(const struct tally_group *group, uint32_t number)
{
    for (size_t i = 0; i < group->used; i++) {
        if (group->rows[i].number == number) {
            return group->rows[i].count;
        }
    }
    return 0;
}

uint64_t tally_sum(const struct tally_group *group)
{
    uint64_t sum = group->others;

    for (size_t i = 0; i < group->used; i++) {
        sum += group->rows[i].count;
    }
    return sum;
}

static void row_add(struct tally_group *total, const struct tally_row *row)
{
    size_t i = 0;

    while (i < total->used && total->rows[i].number != row->number) {
        i++;
    }
    if (i < total->used) {
        total->rows[i].count += row->count;
    } else if (i < TALLY_ROWS) {
        total->rows[total->used++] = *row;
    } else {
        total->others += row->count;
    }
}

static int by_number(const void *left, const void *right)
{
    const struct tally_row *a = left;
    const struct tally_row *b = right;

    return a->number < b->number ? -1 : a->number > b->number;
}

static void group_add(struct tally_group *total, const struct tally_group *one)
{
    total->others += one->others;
    for (size_t i = 0; i < one->used; i++) {
        row_add(total, &one->rows[i]);
    }
    qsort(total->rows, total->used, sizeof total->rows[0], by_number);
}

void tally_add(struct tally *total, const struct tally *one)
{
    total->cpuids += one->cpuids;
    total->refused_stores += one->refused_stores;
    total->lazy_eois += one->lazy_eois;
    total->crashes += one->crashes;
    group_add(&total->msr_reads, &one->msr_reads);
    group_add(&total->msr_writes, &one->msr_writes);
    group_add(&total->msr_refusals, &one->msr_refusals);
    group_add(&total->hypercalls, &one->hypercalls);
    group_add(&total->faults, &one->faults);
    group_add(&total->interrupts, &one->interrupts);
}

void stretches_mark(struct stretches *stretches, const struct exit_counts *now, bool end)
{
    const struct exit_counts *begun = &stretches->begun;

    if (!end) {
        stretches->begun = *now;
    } else if (stretches->used < REPORT_STRETCHES) {
        stretches->rows[stretches->used++] = (struct exit_counts){
            .all = now->all - begun->all - 1, /* the mark itself */
            .msrs = now->msrs - begun->msrs,
            .hypercalls = now->hypercalls - begun->hypercalls,
            .ports = now->ports - begun->ports - 1,
            .apic_page = now->apic_page - begun->apic_page,
        };
    }
}

void console_put(struct console *console, uint8_t byte)
{
    if (console->size == console->capacity) {
        size_t capacity = console->capacity != 0 ? 2 * console->capacity : 4096;
        char *text = realloc(console->text, capacity);

        if (text == NULL) {
            return;
        }
        console->text = text;
        console->capacity = capacity;
    }
    console->text[console->size++] = (char)byte;
    if (console->echo) {
        (void)putchar(byte);
        if (byte == '\n') {
            (void)fflush(stdout);
        }
    }
}

void console_free(struct console *console)
{
    free(console->text);
    console->text = NULL;
}

static bool starts(const char *line, size_t size, const char *word)
{
    return size >= strlen(word) && memcmp(line, word, strlen(word)) == 0;
}

static bool contains(const char *line, size_t size, const char *word)
{
    size_t length = strlen(word);

    for (size_t i = 0; i + length <= size; i++) {
        if (memcmp(line + i, word, length) == 0) {
            return true;
        }
    }
    return false;
}

static struct tap count_tap(const struct console *console)
{
    struct tap tap = {0};
    size_t start = 0;

    for (size_t i = 0; i < console->size; i++) {
        const char *line = console->text + start;
        size_t size = i - start;

        if (console->text[i] != '\n') {
            continue;
        }
        if (starts(line, size, "not ok ")) {
            tap.failed++;
        } else if (starts(line, size, "ok ")) {
            if (contains(line, size, "# SKIP")) {
                tap.skipped++;
            } else {
                tap.passed++;
            }
        }
        start = i + 1;
    }
    return tap;
}

static const char *msr_name(uint32_t number)
{
    return hvtlfs_msr_name(number);
}

static const char *call_name(uint32_t code)
{
    return hvtlfs_call_name((uint16_t)code);
}

static const char *fault_name(uint32_t vector)
{
    switch (vector) {
    case 3:
        return "#BP";
    case 6:
        return "#UD";
    case 13:
        return "#GP";
    case 14:
        return "#PF";
    default:
        return NULL;
    }
}

static const char *no_name(uint32_t number)
{
    (void)number;
    return NULL;
}

static void sections_of(const struct tally *tally, struct section sections[SECTIONS])
{
    sections[0] = (struct section){"rdmsr", NULL, &tally->msr_reads, msr_name};
    sections[1] = (struct section){"wrmsr", NULL, &tally->msr_writes, msr_name};
    sections[2] = (struct section){"msr_refused", NULL, &tally->msr_refusals, msr_name};
    sections[3] = (struct section){"hypercall", "hypercall", &tally->hypercalls, call_name};
    sections[4] = (struct section){"fault", "fault given", &tally->faults, fault_name};
    sections[5] = (struct section){"interrupt", "interrupt given", &tally->interrupts, no_name};
}

static void text_line(const char *what, uint64_t count)
{
    printf("#   %-52s %9" PRIu64 "\n", what, count);
}

static void text_row(const char *label, uint32_t number, const char *name, uint64_t count)
{
    char what[80];

    if (name != NULL) {
        (void)snprintf(what, sizeof what, "%s 0x%" PRIx32 " %s", label, number, name);
    } else {
        (void)snprintf(what, sizeof what, "%s 0x%" PRIx32, label, number);
    }
    text_line(what, count);
}

static void text_section(const struct section *section)
{
    for (size_t i = 0; i < section->group->used; i++) {
        const struct tally_row *row = &section->group->rows[i];

        text_row(section->label, row->number, section->name(row->number), row->count);
    }
    if (section->group->others != 0) {
        text_line("and others", section->group->others);
    }
}

/* Reads and writes of each MSR side by side. */
static void text_msrs(const struct tally *tally)
{
    struct tally_group both = {0};

    group_add(&both, &tally->msr_reads);
    group_add(&both, &tally->msr_writes);
    for (size_t i = 0; i < both.used; i++) {
        uint32_t number = both.rows[i].number;
        const char *name = msr_name(number);

        printf("#   MSR 0x%-8" PRIx32 " %-36s  %6" PRIu64 " read, %6" PRIu64 " written\n", number,
               name != NULL ? name : "", tally_of(&tally->msr_reads, number),
               tally_of(&tally->msr_writes, number));
    }
    text_line("MSR accesses refused", tally_sum(&tally->msr_refusals));
}

static void text(const struct run_result *result, const struct tap *tap)
{
    struct section sections[SECTIONS];

    printf("# exits on %s, %u VP%s, trap %s\n", result->program->name, result->options->vps,
           result->options->vps == 1 ? "" : "s", result->options->trap_name);
    if (result->cpuid_counted) {
        text_line("CPUID", result->tally->cpuids);
    }
    text_msrs(result->tally);
    sections_of(result->tally, sections);
    for (size_t i = 0; i < SECTIONS; i++) {
        if (sections[i].label != NULL) {
            text_section(&sections[i]);
        }
    }
    text_line("stores refused", result->tally->refused_stores);
    text_line("interrupts ended without an exit", result->tally->lazy_eois);
    text_line("crashes reported", result->tally->crashes);
    if (result->program->migrates) {
        text_line("moves to another process", result->moves);
    }
    printf("# %u passed, %u failed, %u skipped\n", tap->passed, tap->failed, tap->skipped);
}

static void json_string(const char *string, size_t size)
{
    (void)putchar('"');
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)string[i];

        if (c == '"' || c == '\\') {
            printf("\\%c", c);
        } else if (c < ' ' || c > '~') {
            printf("\\u%04x", c);
        } else {
            (void)putchar(c);
        }
    }
    (void)putchar('"');
}

static void json_section(const struct section *section)
{
    printf(", \"%s\": [", section->key);
    for (size_t i = 0; i < section->group->used; i++) {
        const struct tally_row *row = &section->group->rows[i];
        const char *name = section->name(row->number);

        printf("%s{\"number\": %" PRIu32 ", ", i == 0 ? "" : ", ", row->number);
        if (name != NULL) {
            printf("\"name\": \"%s\", ", name);
        }
        printf("\"count\": %" PRIu64 "}", row->count);
    }
    printf("]");
}

static void json_stretch(const struct exit_counts *row, const char *comma)
{
    printf("%s{\"all\": %" PRIu64 ", \"msrs\": %" PRIu64 ", \"hypercalls\": %" PRIu64
           ", \"ports\": %" PRIu64 ", \"apic_page\": %" PRIu64 "}",
           comma, row->all, row->msrs, row->hypercalls, row->ports, row->apic_page);
}

static void json(const struct run_result *result, const struct tap *tap, bool passed)
{
    struct section sections[SECTIONS];

    printf("{\"host\": \"%s\", \"vps\": %u, \"trap\": \"%s\", \"verdict\": \"%s\", ",
           result->program->name, result->options->vps, result->options->trap_name,
           passed ? "pass" : "fail");
    printf("\"tests\": {\"passed\": %u, \"failed\": %u, \"skipped\": %u}, ", tap->passed,
           tap->failed, tap->skipped);
    printf("\"exits\": {\"refused_stores\": %" PRIu64 ", \"lazy_eois\": %" PRIu64
           ", \"crashes\": %" PRIu64,
           result->tally->refused_stores, result->tally->lazy_eois, result->tally->crashes);
    if (result->cpuid_counted) {
        printf(", \"cpuid\": %" PRIu64, result->tally->cpuids);
    }
    if (result->program->migrates) {
        printf(", \"moves\": %" PRIu32, result->moves);
    }
    sections_of(result->tally, sections);
    for (size_t i = 0; i < SECTIONS; i++) {
        json_section(&sections[i]);
    }
    printf("}, \"stretches\": [");
    for (size_t i = 0; i < result->stretches->used; i++) {
        json_stretch(&result->stretches->rows[i], i == 0 ? "" : ", ");
    }
    printf("], \"output\": ");
    json_string(result->console->text, result->console->size);
    printf("}\n");
}

enum host_exit report(const struct run_result *result)
{
    struct tap tap = count_tap(result->console);
    bool passed = result->finished && result->status == 0 && tap.failed == 0;

    if (!result->finished) {
        fprintf(stderr, "%s: the guest did not finish: %s\n", result->program->name,
                result->trouble != NULL ? result->trouble : "it stopped");
    }
    if (result->options->json) {
        json(result, &tap, passed);
    } else if (!result->options->quiet) {
        text(result, &tap);
    }
    return passed ? HOST_EXIT_PASSED : HOST_EXIT_FAILED;
}
