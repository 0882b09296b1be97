/* SPDX-License-Identifier: MIT */
#include "text.h"

#include "boot.h"
#include "cpu.h"

static void print_char(char c)
{
    out8(BOOT_PORT_DEBUG, (uint8_t)c);
}

static void print_string(const char *string)
{
    while (*string != '\0') {
        print_char(*string++);
    }
}

static void print_hex(uint64_t value)
{
    int shift = 60;

    while (shift > 0 && value >> shift == 0) {
        shift -= 4;
    }
    print_string("0x");
    for (; shift >= 0; shift -= 4) {
        print_char("0123456789abcdef"[value >> shift & 15]);
    }
}

static void print_decimal(unsigned value)
{
    char digits[12];
    int n = 0;

    do {
        digits[n++] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    while (n > 0) {
        print_char(digits[--n]);
    }
}

/* One conversion; format is behind the '%'. Returns what follows it. The analyser does not follow a va_list
 * through a pointer: NOLINTBEGIN(clang-analyzer-valist.Uninitialized) */
static const char *print_conversion(const char *format, va_list *arguments)
{
    switch (*format) {
    case 's':
        print_string(va_arg(*arguments, const char *));
        return format + 1;
    case 'u':
        print_decimal(va_arg(*arguments, unsigned));
        return format + 1;
    case 'x':
        print_hex(va_arg(*arguments, unsigned));
        return format + 1;
    case 'l':
        print_hex(va_arg(*arguments, unsigned long));
        return format + 2;
    default:
        print_char(*format);
        return format + 1;
    }
}

/* NOLINTEND(clang-analyzer-valist.Uninitialized) */

void print_list(const char *format, va_list arguments)
{
    va_list rest;

    va_copy(rest, arguments);
    while (*format != '\0') {
        if (*format == '%') {
            format = print_conversion(format + 1, &rest);
        } else {
            print_char(*format++);
        }
    }
    va_end(rest);
}

void print(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    print_list(format, arguments);
    va_end(arguments);
}

void finish(unsigned status)
{
    for (;;) {
        out32(BOOT_PORT_EXIT, status);
        __asm__ volatile("cli; hlt");
    }
}
