/* SPDX-License-Identifier: MIT */
/*
 * As much of cmocka's interface as the tests use, for processors that cmocka is not at hand for. In one
 * header and without a library, so that a cross compiler and its libc are enough
 * (tests/foreign/check_foreign.sh). A failed assertion ends its test, as there; there are no mocks.
 */
#ifndef CMOCKA_H
#define CMOCKA_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uintmax_t LargestIntegralType;

struct CMUnitTest {
    const char *name;
    void (*test_func)(void **state);
    int (*setup_func)(void **state);
    int (*teardown_func)(void **state);
    void *initial_state;
};

#define cmocka_unit_test_prestate_setup_teardown(f, setup, teardown, state)                        \
    {                                                                                              \
#f, f, setup, teardown, state                                                              \
    }
#define cmocka_unit_test_setup_teardown(f, setup, teardown)                                        \
    {                                                                                              \
#f, f, setup, teardown, NULL                                                               \
    }
#define cmocka_unit_test_setup(f, setup)                                                           \
    {                                                                                              \
#f, f, setup, NULL, NULL                                                                   \
    }
#define cmocka_unit_test_teardown(f, teardown)                                                     \
    {                                                                                              \
#f, f, NULL, teardown, NULL                                                                \
    }
#define cmocka_unit_test_prestate(f, state)                                                        \
    {                                                                                              \
#f, f, NULL, NULL, state                                                                   \
    }
#define cmocka_unit_test(f)                                                                        \
    {                                                                                              \
#f, f, NULL, NULL, NULL                                                                    \
    }

enum { CMOCKA_ENDED = 1, CMOCKA_FAILED = 1, CMOCKA_SKIPPED = 2 };

static jmp_buf cmocka_end;

static inline _Noreturn void cmocka_leave(int how)
{
    longjmp(cmocka_end, how);
}

__attribute__((format(printf, 3, 4))) static inline _Noreturn void cmocka_fail(const char *file,
                                                                               int line,
                                                                               const char *format,
                                                                               ...)
{
    va_list list;

    va_start(list, format);
    printf("%s:%d: ", file, line);
    vprintf(format, list);
    printf("\n");
    va_end(list);
    cmocka_leave(CMOCKA_FAILED);
}

#define cmocka_check(good, ...) ((good) ? (void)0 : cmocka_fail(__FILE__, __LINE__, __VA_ARGS__))
#define cmocka_number(value) ((LargestIntegralType)(value))

static inline void cmocka_compare(LargestIntegralType a, LargestIntegralType b, int equal,
                                  const char *text, const char *file, int line)
{
    if ((a == b) != equal) {
        cmocka_fail(file, line, "%s: %#jx, %#jx", text, a, b);
    }
}

static inline void cmocka_range(LargestIntegralType a, LargestIntegralType low,
                                LargestIntegralType high, const char *text, const char *file,
                                int line)
{
    if (a < low || a > high) {
        cmocka_fail(file, line, "%s: %#jx, not in %#jx to %#jx", text, a, low, high);
    }
}

#define assert_int_equal(a, b)                                                                     \
    cmocka_compare(cmocka_number(a), cmocka_number(b), 1, #a " == " #b, __FILE__, __LINE__)
#define assert_int_not_equal(a, b)                                                                 \
    cmocka_compare(cmocka_number(a), cmocka_number(b), 0, #a " != " #b, __FILE__, __LINE__)
#define assert_in_range(a, low, high)                                                              \
    cmocka_range(cmocka_number(a), cmocka_number(low), cmocka_number(high), #a, __FILE__, __LINE__)
#define assert_true(c) cmocka_check(c, "%s", #c)
#define assert_false(c) cmocka_check(!(c), "not: %s", #c)
#define assert_null(p) cmocka_check((p) == NULL, "%s is not NULL", #p)
#define assert_non_null(p) cmocka_check((p) != NULL, "%s is NULL", #p)
#define assert_ptr_equal(a, b) cmocka_check((const void *)(a) == (const void *)(b), #a " == " #b)
#define assert_string_equal(a, b)                                                                  \
    cmocka_check(strcmp((a), (b)) == 0, "%s: \"%s\" is not \"%s\"", #a, (a), (b))
#define assert_string_not_equal(a, b) cmocka_check(strcmp((a), (b)) != 0, "%s: \"%s\"", #a, (a))
#define assert_memory_equal(a, b, size)                                                            \
    cmocka_check(memcmp((a), (b), (size)) == 0, "%s and %s differ", #a, #b)
#define fail_msg(...) cmocka_fail(__FILE__, __LINE__, __VA_ARGS__)
#define skip() cmocka_leave(CMOCKA_SKIPPED)
#define print_message(...) ((void)printf(__VA_ARGS__))

/* How it ended: 0, CMOCKA_FAILED or CMOCKA_SKIPPED. */
static inline int cmocka_run_one(const struct CMUnitTest *test)
{
    void *state = test->initial_state;
    volatile int failed = 0;
    int how;

    if (test->setup_func && test->setup_func(&state) != 0) {
        return CMOCKA_FAILED;
    }
    how = setjmp(cmocka_end);
    if (how == 0) {
        test->test_func(&state);
    } else {
        failed = how;
    }
    if (test->teardown_func && test->teardown_func(&state) != 0) {
        return CMOCKA_FAILED;
    }
    return failed;
}

static inline int cmocka_run(const struct CMUnitTest *tests, size_t count,
                             int (*setup)(void **state), int (*teardown)(void **state))
{
    size_t skipped = 0;
    size_t i;
    int failed = 0;

    if (setup && setup(&(void *){NULL}) != 0) {
        return 1;
    }
    for (i = 0; i < count; i++) {
        int how = cmocka_run_one(&tests[i]);

        if (how == CMOCKA_FAILED) {
            printf("FAILED %s\n", tests[i].name);
            failed++;
        }
        skipped += how == CMOCKA_SKIPPED;
    }
    printf("%zu tests, %d failed, %zu skipped\n", count, failed, skipped);
    return teardown && teardown(&(void *){NULL}) != 0 ? 1 : failed;
}

#define cmocka_run_group_tests(tests, setup, teardown)                                             \
    cmocka_run(tests, sizeof(tests) / sizeof((tests)[0]), setup, teardown)
#define cmocka_run_group_tests_name(name, tests, setup, teardown)                                  \
    cmocka_run(tests, sizeof(tests) / sizeof((tests)[0]), setup, teardown)

#endif
