/* SPDX-License-Identifier: MIT */
/*
 * faults SCRIPT...: every callback that may fail does, one at a time, in every command of a replay script.
 *
 * For each command and each such callback in it, the script runs up to the command with this one callback
 * failing. Saved state, guest memory and overlays must then be what they were before the command, or what
 * they are after it; never something between. Then the script runs to its end with the same failure: the
 * contract of every callback is kept, the state can be saved and loaded, and a reset leaves no overlay
 * behind.
 *
 * Between is allowed where the specification has steps of its own: see `steps` below.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hvtlfs/describe.h>
#include <hvtlfs/state.h>
#include <hvtlfs/time.h>

#include "replay.h"
#include "tool.h"

#define MOST_LINES 2000u
#define MOST_OVERLAYS 64u
#define WATCHED_RAM (UINT64_C(2) << 20)

/* What can be told apart of a partition and its host. */
struct picture {
    uint8_t *state;
    size_t size;
    uint64_t ram;
    struct hvtlfs_overlay overlays[MOST_OVERLAYS]; /* those in RAM */
    uint32_t overlay_count;
    uint32_t elsewhere; /* the others */
};

/* One run of the script. */
struct run {
    uint32_t fail_line; /* 0: none */
    uint64_t fail_at;
    uint32_t stop_line;  /* 0: run to the end */
    uint64_t *fallible;  /* by line, or NULL */
    bool failed;         /* the failure took place */
    bool hides;          /* the command, which writes the MSR of a page, hides the page instead */
    bool again;          /* before the picture: stop and go, so that what failed is tried again */
    bool early;          /* the picture is of the moment before the command */
    bool page_msr;       /* that is what the command does */
    const char *command; /* its name */
    char value[32];
    bool lives_on; /* look at the end whether everything works */
    struct picture *picture;
    const char *wrong;
};

static uint64_t mix(uint64_t hash, uint64_t value)
{
    return (hash ^ value) * UINT64_C(0x100000001B3) + (hash >> 29);
}

static uint64_t ram_hash(struct model_host *host)
{
    const uint8_t *ram = model_host_ram(host, 0);
    uint64_t hash = 1;

    for (uint64_t at = 0; at + 8 <= WATCHED_RAM && model_host_ram(host, at + 7); at += 8) {
        uint64_t word;

        memcpy(&word, ram + at, 8);
        hash = word ? mix(mix(hash, at), word) : hash;
    }
    return hash;
}

static void take_overlays(struct picture *picture, struct model_host *host)
{
    struct hvtlfs_overlay overlay;

    picture->overlay_count = 0;
    for (uint64_t gpa = 0; gpa < WATCHED_RAM; gpa += HVTLFS_PAGE_SIZE) {
        if (model_host_overlay_at(host, gpa, &overlay) && picture->overlay_count < MOST_OVERLAYS) {
            picture->overlays[picture->overlay_count++] = overlay;
        }
    }
    picture->elsewhere = (uint32_t)model_host_overlay_count(host) - picture->overlay_count;
}

/* Whether each overlay of `some` is one of `all`; with `places` only, any at the same place will do. */
static bool are_among(const struct picture *some, const struct picture *all, bool places)
{
    uint32_t found = 0;

    for (uint32_t i = 0; i < some->overlay_count; i++) {
        for (uint32_t j = 0; j < all->overlay_count; j++) {
            found += some->overlays[i].gpa == all->overlays[j].gpa &&
                     (places || (some->overlays[i].kind == all->overlays[j].kind &&
                                 some->overlays[i].vp_index == all->overlays[j].vp_index));
        }
    }
    return found == some->overlay_count && some->elsewhere <= all->elsewhere;
}

static bool same_overlays(const struct picture *a, const struct picture *b)
{
    return are_among(a, b, false) && are_among(b, a, false);
}

static void take_picture(struct picture *picture, struct replay *replay)
{
    picture->ram = ram_hash(replay->host);
    take_overlays(picture, replay->host);
    (void)hvtlfs_freeze(replay->partition); /* it may be frozen already */
    picture->size = hvtlfs_state_size(replay->partition);
    picture->state = malloc(picture->size);
    if (!picture->state ||
        hvtlfs_state_save(replay->partition, picture->state, picture->size, &picture->size, NULL)) {
        fputs("faults: the state cannot be saved\n", stderr);
        exit(2);
    }
}

static bool same_picture(const struct picture *a, const struct picture *b)
{
    return a->size == b->size && !memcmp(a->state, b->state, a->size) && a->ram == b->ram &&
           same_overlays(a, b);
}

/* ---- After a failure, life goes on ---- */

static const char *what_is_wrong(struct replay *replay)
{
    static char text[65536];

    if (model_host_violations(replay->host)) {
        return model_host_first_violation(replay->host);
    }
    if (!hvtlfs_describe(replay->partition, HVTLFS_FORMAT_JSON, text, sizeof(text))) {
        return "nothing can be described";
    }
    if (!replay_renew(replay, true)) {
        return "the state cannot be saved and loaded";
    }
    hvtlfs_partition_reset(replay->partition);
    if (model_host_overlay_count(replay->host)) {
        return "an overlay stands after a reset";
    }
    return model_host_violations(replay->host) ? model_host_first_violation(replay->host) : NULL;
}

/*
 * Commands of several calls, or of a call that the specification takes apart: some may be done.
 *
 * reset      cannot be refused: what a page covers in memory that refuses a write is lost
 * apic...    the VP leaves, its APIC ends interrupts and accepts some, the VP enters
 * hypercall  of a list: what was done stays done, and the start index says so (TLFS 3.3)
 */
static const struct {
    const char *command;
    const char *rest; /* beginning of the second argument, or NULL */
} steps[] = {{"reset", NULL},
             {"apic", NULL},
             {"inject", NULL},
             {"eoi", NULL},
             {"hypercall", "rcx=0x00000002000000"}};

/* A write to a register that places a page. */
static bool places_page(char **words)
{
    static const char *const names[] = {"REFERENCE_TSC", "VP_ASSIST_PAGE", "SIMP",
                                        "SIEFP",         "STATS_",         "HYPERCALL"};
    static const char *const numbers[] = {"0x40000021", "0x40000073", "0x40000082", "0x40000083",
                                          "0x400000E0", "0x400000E1", "0x400000E2", "0x400000E3"};
    bool found = false;

    if (strcmp(words[0], "wrmsr") != 0) {
        return false;
    }
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        found |= strstr(words[2], names[i]) != NULL;
    }
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        found |= !strcmp(words[2], numbers[i]);
    }
    return found;
}

static void before(void *context, struct replay *replay, uint32_t line, char **words)
{
    struct run *run = context;

    if (line == run->stop_line && run->early) {
        take_picture(run->picture, replay);
        run->picture = NULL;
    }
    for (size_t i = 0; line == run->stop_line && i < sizeof(steps) / sizeof(steps[0]); i++) {
        if (!strcmp(words[0], steps[i].command) &&
            (!steps[i].rest || !strncmp(words[2], steps[i].rest, strlen(steps[i].rest)))) {
            run->command = steps[i].command;
        }
    }
    if (line == run->stop_line && places_page(words)) {
        run->page_msr = true;
        if (run->hides) {
            (void)snprintf(run->value, sizeof(run->value), "0x%" PRIx64,
                           (uint64_t)strtoull(words[3], NULL, 0) & ~UINT64_C(1));
            words[3] = run->value;
        }
    }
    model_host_fail(replay->host, line == run->fail_line ? run->fail_at : 0, false);
}

static bool after(void *context, struct replay *replay, uint32_t line)
{
    struct run *run = context;

    if (run->fallible && line < MOST_LINES) {
        run->fallible[line] = model_host_fallible_calls(replay->host);
    }
    run->failed |=
        line == run->fail_line && model_host_fallible_calls(replay->host) >= run->fail_at;
    model_host_fail(replay->host, 0, false);
    if (run->lives_on && line == run->stop_line) {
        run->wrong = what_is_wrong(replay);
        return false;
    }
    if (line >= run->stop_line && run->picture) {
        if (run->again) {
            (void)replay_renew(replay, false);
            (void)replay_renew(replay, false);
        }
        take_picture(run->picture, replay);
    }
    return line < run->stop_line;
}

static void execute(const char *file, struct run *run)
{
    const struct replay_options options = {
        .before = before, .after = after, .context = run, .quiet = true};

    (void)replay_script(file, &options);
}

/* ---- All failures of a script ---- */

struct script {
    const char *file;
    uint64_t fallible[MOST_LINES];
    uint32_t lines[MOST_LINES]; /* those with a command */
    uint32_t count;
    uint64_t failures;
    uint64_t unchanged, done, out_of_reach, in_steps, later;
    uint64_t wrong;
};

static void read_script(struct script *script)
{
    struct run run = {.fallible = script->fallible, .stop_line = MOST_LINES};

    for (uint32_t line = 0; line < MOST_LINES; line++) {
        script->fallible[line] = UINT64_MAX;
    }
    execute(script->file, &run);
    for (uint32_t line = 0; line < MOST_LINES; line++) {
        if (script->fallible[line] != UINT64_MAX) {
            script->lines[script->count++] = line;
        }
    }
}

/* ---- What differs, for a reader ---- */

#define MOST_FIELDS 20000u

struct fields {
    struct hvtlfs_state_field field[MOST_FIELDS];
    uint32_t count;
};

static void collect(void *context, const struct hvtlfs_state_field *field)
{
    struct fields *fields = context;

    if (fields->count < MOST_FIELDS) {
        fields->field[fields->count++] = *field;
    }
}

/* Whether a state has a field of this name and content; names may come again, as of messages. */
static bool has_field(const struct fields *fields, const struct hvtlfs_state_field *like)
{
    for (uint32_t i = 0; i < fields->count; i++) {
        const struct hvtlfs_state_field *field = &fields->field[i];

        if (!strcmp(field->section, like->section) && !strcmp(field->tag, like->tag) &&
            field->vp_index == like->vp_index && field->size == like->size &&
            !memcmp(field->data, like->data, field->size)) {
            return true;
        }
    }
    return false;
}

/* Each field, but for those about pages and for a lazy EOI, is as in one state or the other. */
static bool registers_of_either(const struct picture *now, const struct picture *a,
                                const struct picture *b)
{
    static struct fields fields, one, other;

    fields.count = one.count = other.count = 0;
    (void)hvtlfs_state_visit(now->state, now->size, collect, &fields, NULL);
    (void)hvtlfs_state_visit(a->state, a->size, collect, &one, NULL);
    (void)hvtlfs_state_visit(b->state, b->size, collect, &other, NULL);
    for (uint32_t i = 0; i < fields.count; i++) {
        const struct hvtlfs_state_field *field = &fields.field[i];

        if (strcmp(field->section, "OVLY") != 0 && strcmp(field->tag, "LAZY") != 0 &&
            !has_field(&one, field) && !has_field(&other, field)) {
            return false;
        }
    }
    return true;
}

static void tell_difference(const char *name, const struct picture *a, const struct picture *b)
{
    static struct fields one, other;

    one.count = other.count = 0;
    (void)hvtlfs_state_visit(a->state, a->size, collect, &one, NULL);
    (void)hvtlfs_state_visit(b->state, b->size, collect, &other, NULL);
    printf("    from %s: %s%s%" PRIu32 " and %" PRIu32 " fields\n", name,
           a->ram != b->ram ? "memory, " : "", !same_overlays(a, b) ? "overlays, " : "", one.count,
           other.count);
    for (uint32_t i = 0; i < one.count && i < other.count; i++) {
        if (one.field[i].size != other.field[i].size ||
            memcmp(one.field[i].data, other.field[i].data, one.field[i].size)) {
            printf("        %s.%s\n", one.field[i].section, one.field[i].tag);
        }
    }
}

static void complain(struct script *script, uint32_t line, uint64_t nth, const char *what)
{
    printf("%s:%" PRIu32 ": callback %" PRIu64 " fails: %s\n", script->file, line, nth, what);
    script->wrong++;
}

/* The pictures that are allowed. */
struct allowed {
    struct picture old, new;
    struct picture hidden; /* of a command that places a page: the page is out of reach */
    struct picture later;  /* after the command, and after stop and go */
    bool page_msr;
    bool has_steps;
};

/* A page that the host cannot show, the command's or one that would come up below it, is nowhere, which
 * is no fault (TLFS 11.8.3, 12.7.1): registers as after the command, or where they follow from the page
 * (its sequence, a lazy EOI) as if it had been hidden; no overlay where none should be. */
static bool is_out_of_reach(const struct allowed *allowed, const struct picture *now)
{
    return allowed->page_msr && (now->ram == allowed->hidden.ram || now->ram == allowed->new.ram) &&
           are_among(now, &allowed->new, true) &&
           registers_of_either(now, &allowed->new, &allowed->hidden);
}

static void take_pictures(const struct script *script, uint32_t line, struct allowed *allowed)
{
    struct run old = {.stop_line = line, .picture = &allowed->old, .early = true};
    struct run new = {.stop_line = line, .picture = &allowed->new};
    struct run hidden = {.stop_line = line, .picture = &allowed->hidden, .hides = true};

    struct run later = {.stop_line = line, .picture = &allowed->later, .again = true};

    execute(script->file, &old);
    execute(script->file, &later);
    execute(script->file, &new);
    execute(script->file, &hidden);
    allowed->page_msr = hidden.page_msr;
    allowed->has_steps = hidden.command;
}

/* What could not be delivered or published is tried again, at the latest when the VPs stop and go. */
static bool is_done_later(struct script *script, uint32_t line, uint64_t nth,
                          const struct allowed *allowed)
{
    struct picture now = {.state = NULL};
    struct run run = {
        .fail_line = line, .fail_at = nth, .stop_line = line, .picture = &now, .again = true};
    bool done;

    execute(script->file, &run);
    done = same_picture(&now, &allowed->later);
    free(now.state);
    return done;
}

static void fail_one(struct script *script, uint32_t line, uint64_t nth,
                     const struct allowed *allowed)
{
    struct picture now = {.state = NULL};
    struct run run = {.fail_line = line, .fail_at = nth, .stop_line = line, .picture = &now};
    struct run life = {.fail_line = line,
                       .fail_at = nth,
                       .stop_line = script->lines[script->count - 1],
                       .lives_on = true};

    execute(script->file, &run);
    script->failures += run.failed;
    if (same_picture(&now, &allowed->new)) {
        script->done++;
    } else if (same_picture(&now, &allowed->old)) {
        script->unchanged++;
    } else if (is_out_of_reach(allowed, &now)) {
        script->out_of_reach++;
    } else if (allowed->has_steps && registers_of_either(&now, &allowed->old, &allowed->new)) {
        script->in_steps++;
    } else if (is_done_later(script, line, nth, allowed)) {
        script->later++;
    } else {
        complain(script, line, nth, "neither as before nor as after");
        tell_difference("before", &allowed->old, &now);
        tell_difference("after", &allowed->new, &now);
    }
    free(now.state);
    execute(script->file, &life);
    if (life.wrong) {
        complain(script, line, nth, life.wrong);
    }
}

static void fail_all(struct script *script)
{
    for (uint32_t i = 0; i < script->count; i++) {
        const uint32_t line = script->lines[i];
        struct allowed allowed;

        if (!script->fallible[line]) {
            continue;
        }
        memset(&allowed, 0, sizeof(allowed));
        take_pictures(script, line, &allowed);
        for (uint64_t nth = 1; nth <= script->fallible[line]; nth++) {
            fail_one(script, line, nth, &allowed);
        }
        free(allowed.old.state);
        free(allowed.new.state);
        free(allowed.hidden.state);
        free(allowed.later.state);
    }
}

int main(int argc, char **argv)
{
    static struct script script;
    uint64_t failures = 0, wrong = 0;

    if (argc < 2) {
        fputs("usage: faults SCRIPT...\n", stderr);
        return 2;
    }
    for (int i = 1; i < argc; i++) {
        memset(&script, 0, sizeof(script));
        script.file = argv[i];
        read_script(&script);
        fail_all(&script);
        printf("%s: %" PRIu32 " commands, %" PRIu64 " failures, %" PRIu64
               " left things as before, %" PRIu64 " as after, %" PRIu64
               " a page out of reach, %" PRIu64 " some of several steps, %" PRIu64 " done later\n",
               script.file, script.count, script.failures, script.unchanged, script.done,
               script.out_of_reach, script.in_steps, script.later);
        failures += script.failures;
        wrong += script.wrong;
    }
    printf("%" PRIu64 " failures, %" PRIu64 " wrong\n", failures, wrong);
    return wrong ? 1 : 0;
}
