/* SPDX-License-Identifier: MIT */
/*
 * run MUTATIONS FILE...: what a fuzzer would do, without one. Each file goes to the target, then so many
 * mutations of it, the same ones at every run. For compilers without libFuzzer, and for the tests.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MOST_BYTES (1u << 20)

static uint8_t original[MOST_BYTES];
static uint8_t mutant[MOST_BYTES];
static uint64_t seed;

/* xorshift64* */
static uint32_t any(uint32_t below)
{
    seed ^= seed >> 12;
    seed ^= seed << 25;
    seed ^= seed >> 27;
    return (uint32_t)((seed * UINT64_C(0x2545F4914F6CDD1D)) >> 32) % below;
}

/* Half of the time within the first bytes, where the structure is. */
static size_t place(size_t size)
{
    return any(2) && size > 2048 ? any(2048) : any((uint32_t)size);
}

static size_t mutate(size_t size)
{
    static const uint64_t odd[] = {0, 1, 0x7FFFFFFF, 0x80000000, UINT64_MAX, 0x1000, 15, 1u << 16};
    size_t at = place(size);
    size_t length = any(64);

    switch (any(6)) {
    case 0:
        mutant[at] ^= (uint8_t)(1u << any(8));
        return size;
    case 1:
        mutant[at] = (uint8_t)any(256);
        return size;
    case 2: /* a number; all fields are aligned */
        at &= ~(size_t)3;
        length = any(2) ? 4 : 8;
        if (length <= size - at) {
            memcpy(mutant + at, &odd[any(8)], length);
        }
        return size;
    case 3:
        return at;
    case 4: /* take something out */
        length = length <= size - at ? length : size - at;
        memmove(mutant + at, mutant + at + length, size - at - length);
        return size - length;
    default: /* something twice */
        length = length <= size - at && size + length <= MOST_BYTES ? length : 0;
        memmove(mutant + at + length, mutant + at, size - at);
        return size + length;
    }
}

static int run(const char *name, unsigned mutations)
{
    FILE *file = fopen(name, "rb");
    size_t size = file ? fread(original, 1, MOST_BYTES, file) : 0;

    if (!file || ferror(file)) {
        fprintf(stderr, "run: cannot read %s\n", name);
        return 1;
    }
    (void)fclose(file);
    (void)LLVMFuzzerTestOneInput(original, size);
    for (unsigned i = 0; i < mutations; i++) {
        size_t changed = size;

        memcpy(mutant, original, size);
        for (uint32_t steps = 1 + any(3); steps && changed; steps--) {
            changed = mutate(changed);
        }
        (void)LLVMFuzzerTestOneInput(mutant, changed);
    }
    return 0;
}

int main(int argc, char **argv)
{
    unsigned mutations = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 0) : 0;

    if (argc < 3) {
        fputs("usage: run MUTATIONS FILE...\n", stderr);
        return 2;
    }
    for (int i = 2; i < argc; i++) {
        seed = UINT64_C(0x9E3779B97F4A7C15) + (uint64_t)i;
        if (run(argv[i], mutations)) {
            return 1;
        }
    }
    printf("%d files, %u mutations of each\n", argc - 2, mutations);
    return 0;
}
