/* SPDX-License-Identifier: MIT */
/* Printing through the debug port. */
#ifndef HVTLFS_GUEST_TEXT_H
#define HVTLFS_GUEST_TEXT_H

#include <stdarg.h>

/* A subset of printf: %s, %u and %x for unsigned int, %lx for 64 bits (with 0x in front), %%. */
void print(const char *format, ...) __attribute__((format(printf, 1, 2)));

void print_list(const char *format, va_list arguments);

/* Tell the host how it ended; 0 = all is well. */
void finish(unsigned status) __attribute__((noreturn));

#endif
