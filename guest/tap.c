/* SPDX-License-Identifier: MIT */
#include "tap.h"

#include <stdarg.h>
#include <stddef.h>

#include "text.h"

static unsigned number;
static unsigned failures;
static bool failed;
static const char *skip_reason;

static void comment(const char *format, va_list arguments)
{
    print("# ");
    print_list(format, arguments);
    print("\n");
}

bool expect(bool holds, const char *format, ...)
{
    va_list arguments;

    if (!holds) {
        failed = true;
        va_start(arguments, format);
        comment(format, arguments);
        va_end(arguments);
    }
    return holds;
}

void skip(const char *reason)
{
    skip_reason = reason;
}

void note(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    comment(format, arguments);
    va_end(arguments);
}

static void tap_test(const struct test *test)
{
    failed = false;
    skip_reason = NULL;
    test->run();
    number++;
    print("%s %u - %s", failed ? "not ok" : "ok", number, test->name);
    if (skip_reason != NULL && !failed) {
        print(" # SKIP %s", skip_reason);
    }
    print("\n");
    failures += failed ? 1 : 0;
}

void tap_run(const struct topic *topic)
{
    print("# %s\n", topic->title);
    for (unsigned i = 0; i < topic->count; i++) {
        tap_test(&topic->tests[i]);
    }
}

bool tap_end(void)
{
    print("1..%u\n", number);
    return number > 0 && failures == 0;
}
