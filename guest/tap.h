/* SPDX-License-Identifier: MIT */
/* Tests and their report in the Test Anything Protocol. */
#ifndef HVTLFS_GUEST_TAP_H
#define HVTLFS_GUEST_TAP_H

#include <stdbool.h>

/* A test returns having called expect() for what must hold, or skip() once and nothing else. */
struct test {
    const char *name;
    void (*run)(void);
};

struct topic {
    const char *title;
    const struct test *tests;
    unsigned count;
};

#define TOPIC(title_, tests_)                                                                      \
    {                                                                                              \
        .title = (title_), .tests = (tests_), .count = sizeof(tests_) / sizeof((tests_)[0])        \
    }

void tap_run(const struct topic *topic);

/* Print the plan; returns whether every test passed or was skipped and there was at least one. */
bool tap_end(void);

/* If it does not hold, the test fails and the text (as print() takes it) says what was seen. */
bool expect(bool holds, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* This test says nothing about this hypervisor, and why. */
void skip(const char *reason);

/* A line for the reader. */
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
