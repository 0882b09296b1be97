/* SPDX-License-Identifier: MIT */
/*
 * All unit tests in one program that holds all mutants: hvti_mutant says which one is in force. The fuzz
 * targets' seeds and the replay scripts are tests as well: each seed, each script.
 *
 *     runner list            one test a line: NUMBER GROUP NAME
 *     runner trace MOST FILE run each test in a process of its own; FILE gets a line for each that needs
 *                            less than MOST microseconds of processor time: the test's number, that time,
 *                            and which basic blocks it reached (addresses; only a program built for
 *                            tracing has any)
 *     runner serve           of standard input's lines "MUTANT TEST:MICROSECONDS...": run these tests with
 *                            that mutant until one fails, and print "MUTANT OUTCOME TEST"
 *
 * A child runs the tests, so that nothing a mutant does outlives it. A test that uses far more time
 * than it should is ended: OUTCOME is survived, killed, crashed or timeout.
 */
#include "cmocka.h"

#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "groups.h" /* written by program.py: GROUPS, TARGETS, SEEDS and SCRIPTS */
#include "tool.h"

struct group {
    const char *name;
    int (*setup)(void **state);
};

struct test {
    struct CMUnitTest test;
    unsigned group;
};

#define GROUP(name) int main_##name(void);
GROUPS
#undef GROUP

int hvti_mutant = -1;

static struct group groups[256];
static struct test tests[8192];
static unsigned group_count, test_count;
static int *running; /* shared with the child: the test it is in */
static FILE *answers;

/* ---- What the tests call ---- */

_Noreturn void mutation_leave(int how)
{
    _exit(how == CMOCKA_SKIPPED ? CMOCKA_SKIPPED + 1 : 1);
}

int cmocka_run(const struct CMUnitTest *list, size_t count, int (*setup)(void **state),
               int (*teardown)(void **state))
{
    size_t i;

    (void)teardown;
    groups[group_count].setup = setup;
    for (i = 0; i < count; i++) {
        tests[test_count].test = list[i];
        tests[test_count++].group = group_count;
    }
    return 0;
}

/* ---- Seeds and scripts ---- */

typedef int fuzz_target(const uint8_t *data, size_t size);

#define TARGET(name) fuzz_target fuzz_##name;
TARGETS
#undef TARGET

struct seed {
    fuzz_target *target; /* NULL: a script */
    char *path;
    bool saves; /* at every step */
};

#define SEED(target, path) {fuzz_##target, path, false},
#define SCRIPT(path) {NULL, path, false}, {NULL, path, true},
static struct seed seeds[] = {SEEDS SCRIPTS};
#undef SEED
#undef SCRIPT

static void run_script(const struct seed *seed)
{
    static const struct tool_verb verb = {.name = "replay"};
    char every[] = "--save-every-step";
    char *argv[] = {seed->path, every, NULL};

    const int status = verb_replay(&verb, seed->saves ? 2 : 1, argv);

    if (status && seed->saves && hvti_mutant < 0) {
        skip(); /* it has something that is not saved */
    }
    assert_int_equal(status, TOOL_OK);
}

static void run_seed(void **state)
{
    static uint8_t bytes[1u << 20];
    const struct seed *seed = *state;
    FILE *file;
    size_t size;

    if (!seed->target) {
        run_script(seed);
        return;
    }
    file = fopen(seed->path, "rb");
    assert_non_null(file);
    size = fread(bytes, 1, sizeof(bytes), file);
    (void)fclose(file);
    (void)seed->target(bytes, size);
}

static void note_seeds(void)
{
    size_t i;

    for (i = 0; i < sizeof(seeds) / sizeof(*seeds); i++) {
        tests[test_count].test =
            (struct CMUnitTest){seeds[i].path, run_seed, NULL, NULL, &seeds[i]};
        tests[test_count++].group = group_count;
    }
    groups[group_count++].name = "seed";
}

static void note_tests(void)
{
#define GROUP(title)                                                                               \
    groups[group_count].name = #title;                                                             \
    (void)main_##title();                                                                          \
    group_count++;
    GROUPS
#undef GROUP
}

/* ---- Basic blocks ---- */

extern char __executable_start, etext;

static unsigned char *reached;

void __sanitizer_cov_trace_pc(void);

void __sanitizer_cov_trace_pc(void)
{
    if (reached) {
        reached[(char *)__builtin_return_address(0) - &__executable_start] = 1;
    }
}

/* ---- Running ---- */

static void limit(unsigned long microseconds)
{
    const struct itimerval timer = {
        {0, 0}, {(time_t)(microseconds / 1000000), (long)(microseconds % 1000000)}};

    (void)setitimer(ITIMER_VIRTUAL, &timer, NULL); /* SIGVTALRM ends the process */
    (void)alarm(60);                               /* one that waits for ever, too */
}

static void run_one(const struct test *test, bool first_of_group)
{
    void *state = test->test.initial_state;

    if (first_of_group && groups[test->group].setup && groups[test->group].setup(&(void *){NULL})) {
        _exit(1);
    }
    if (test->test.setup_func && test->test.setup_func(&state)) {
        _exit(1);
    }
    test->test.test_func(&state);
    if (test->test.teardown_func && test->test.teardown_func(&state)) {
        _exit(1);
    }
}

static _Noreturn void run_list(char *list)
{
    bool started[sizeof(groups) / sizeof(*groups)] = {false};
    char *rest = list;

    while (*rest && *rest != '\n') {
        const unsigned number = (unsigned)strtoul(rest, &rest, 10);
        const unsigned long microseconds = *rest == ':' ? strtoul(rest + 1, &rest, 10) : 0;
        const unsigned group = tests[number].group;

        *running = (int)number;
        limit(500000 + 20 * microseconds);
        run_one(&tests[number], !started[group]);
        started[group] = true;
        while (*rest == ' ') {
            rest++;
        }
    }
    _exit(0);
}

static const char *outcome(int status)
{
    if (WIFEXITED(status)) {
        return WEXITSTATUS(status) ? "killed" : "survived";
    }
    return WTERMSIG(status) == SIGVTALRM || WTERMSIG(status) == SIGALRM ? "timeout" : "crashed";
}

static int serve(void)
{
    size_t size = 0;
    char *line = NULL;

    while (getline(&line, &size, stdin) > 0) {
        char *rest;
        const int mutant = (int)strtol(line, &rest, 10);
        int status = 0;
        pid_t child;

        *running = -1;
        child = fork();
        if (child == 0) {
            (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
            hvti_mutant = mutant;
            run_list(rest + strspn(rest, " "));
        }
        if (child < 0 || waitpid(child, &status, 0) < 0) {
            return 1;
        }
        fprintf(answers, "%d %s %d\n", mutant, outcome(status), *running);
        fflush(answers);
    }
    return 0;
}

static void trace_in_child(unsigned number, unsigned long most, FILE *file)
{
    const size_t size = (size_t)(&etext - &__executable_start);
    struct rusage used;
    size_t at;

    reached = calloc(size, 1);
    limit(most);
    run_one(&tests[number], true);
    (void)getrusage(RUSAGE_SELF, &used);
    fprintf(file, "%u %ld", number,
            (long)used.ru_utime.tv_sec * 1000000L + (long)used.ru_utime.tv_usec);
    for (at = 0; at < size; at++) {
        if (reached[at]) {
            fprintf(file, " %lx", (unsigned long)((size_t)&__executable_start + at));
        }
    }
    fprintf(file, "\n");
    fflush(file);
    _exit(0);
}

static bool skipped(int status)
{
    return WIFEXITED(status) && WEXITSTATUS(status) == CMOCKA_SKIPPED + 1;
}

static int trace(unsigned long most, const char *path)
{
    FILE *file = fopen(path, "w");
    unsigned number;

    for (number = 0; file && number < test_count; number++) {
        int status = 0;
        const pid_t child = fork();

        if (child == 0) {
            trace_in_child(number, most, file);
        }
        if (child < 0 || waitpid(child, &status, 0) < 0) {
            return 1;
        }
        if (status && strcmp(outcome(status), "timeout") && !skipped(status)) {
            fprintf(answers, "%s %s fails without any mutant\n", groups[tests[number].group].name,
                    tests[number].test.name);
            return 1;
        }
    }
    return file ? fclose(file) : 1;
}

int main(int argc, char **argv)
{
    unsigned number;

    answers = fdopen(dup(1), "w");
    if (argc < 2 || !answers || !freopen("/dev/null", "w", stdout) ||
        !freopen("/dev/null", "w", stderr)) {
        return 2;
    }
    running =
        mmap(NULL, sizeof(*running), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    note_tests();
    note_seeds();
    if (argc > 3 && strcmp(argv[1], "trace") == 0) {
        return trace(strtoul(argv[2], NULL, 10), argv[3]);
    }
    if (strcmp(argv[1], "serve") == 0) {
        return serve();
    }
    for (number = 0; number < test_count; number++) {
        fprintf(answers, "%u %s %s\n", number, groups[tests[number].group].name,
                tests[number].test.name);
    }
    return 0;
}
