/* SPDX-License-Identifier: MIT */
/*
 * cmocka for runner.c: tests are noted instead of run, and the first assertion that fails ends the
 * process, for one is enough to tell a mutant.
 */
#ifndef MUTATION_CMOCKA_H
#define MUTATION_CMOCKA_H

#include <setjmp.h>

_Noreturn void mutation_leave(int how);

#define cmocka_run cmocka_run_here
#define longjmp(buffer, how) mutation_leave(how)
#include "../foreign/cmocka.h"
#undef cmocka_run
#undef longjmp

int cmocka_run(const struct CMUnitTest *tests, size_t count, int (*setup)(void **state),
               int (*teardown)(void **state));

#endif
