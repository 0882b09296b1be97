/* SPDX-License-Identifier: MIT */
/* A fuzzer's bytes as a file, for verbs of the command. What they print is not looked at. */
#ifndef FUZZ_MEMORY_FILE_H
#define FUZZ_MEMORY_FILE_H

#include <malloc.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* The name under which the bytes can be opened. One file: the last call counts. */
static inline char *memory_file(const uint8_t *data, size_t size)
{
    static char path[64];
    static int file = -1;

    if (file < 0) {
        /* A script's RAM is a fresh mapping, not 16 MiB to be cleared: few pages of it are touched. */
        (void)mallopt(M_MMAP_THRESHOLD, 1 << 18);
        file = memfd_create("fuzz", 0);
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
        if (file < 0 || !freopen("/dev/null", "w", stdout)) {
            abort();
        }
    }
    if (ftruncate(file, 0) || pwrite(file, data, size, 0) != (ssize_t)size) {
        abort();
    }
    return path;
}

#endif
