/* SPDX-License-Identifier: MIT */
/*
 * Replay a trace: the exits of a guest, as another hypervisor recorded them, are given to the library, and
 * what it answers is compared with what the guest got at the time.
 *
 *     example-replay-trace [FILE]
 *
 * A line is an exit and its answer: "cpuid LEAF REGISTER VALUE", "rdmsr NUMBER VALUE", "wrmsr NUMBER VALUE",
 * "hypercall RCX RDX RAX"; "#GP" in place of a value is a fault. Without FILE a short trace of a Linux that starts is
 * used. Exit status 1: something differs. `hvtlfs replay` has a richer language (man hvtlfs-replay).
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hvtlfs/hvtlfs.h>

static const char *const built_in[] = {"cpuid 0x40000000 ebx 0x7263694d",
                                       "cpuid 0x40000001 eax 0x31237648",
                                       "cpuid 0x40000003 eax 0x262",
                                       "wrmsr 0x40000000 0x8100060100000000",
                                       "rdmsr 0x40000002 0x0",
                                       "wrmsr 0x40000001 0x5001",
                                       "rdmsr 0x40000001 0x5001",
                                       "rdmsr 0x40000020 0x0",
                                       "rdmsr 0x40000070 #GP",
                                       "wrmsr 0x40000002 #GP",
                                       "hypercall 0x10008 0x10 0x6",
                                       NULL};

static uint8_t ram[1 << 16];

static bool gpa_read(void *context, uint64_t gpa, void *buffer, size_t size)
{
    (void)context;
    if (gpa >= sizeof ram || size > sizeof ram - gpa) {
        return false;
    }
    memcpy(buffer, ram + gpa, size);
    return true;
}

static bool gpa_write(void *context, uint64_t gpa, const void *buffer, size_t size)
{
    (void)context;
    if (gpa >= sizeof ram || size > sizeof ram - gpa) {
        return false;
    }
    memcpy(ram + gpa, buffer, size);
    return true;
}

static enum hvtlfs_gpa_kind gpa_probe(void *context, uint64_t gpa)
{
    (void)context;
    return gpa < sizeof ram ? HVTLFS_GPA_RAM : HVTLFS_GPA_NONE;
}

/* The clock stands still: answers must not depend on when they are given. */
static uint64_t guest_tsc(void *context, uint32_t vp_index)
{
    (void)context;
    (void)vp_index;
    return 0;
}

static struct hvtlfs_partition *make_partition(void)
{
    struct hvtlfs_partition *partition = NULL;
    struct hvtlfs_config config;
    size_t size;
    void *memory;

    hvtlfs_config_init(&config);
    config.ops.gpa_read = gpa_read;
    config.ops.gpa_write = gpa_write;
    config.ops.gpa_probe = gpa_probe;
    config.ops.guest_tsc = guest_tsc;
    config.tsc_hz = 1000000000;
    config.invariant_tsc = true;
    hvtlfs_features_add(&config.features, HVTLFS_FEATURE_TIME_REF_COUNT);
    hvtlfs_features_add(&config.features, HVTLFS_FEATURE_REFERENCE_TSC);
    if (hvtlfs_partition_size(&config, &size, NULL)) {
        return NULL;
    }
    memory = aligned_alloc(HVTLFS_PARTITION_ALIGNMENT, (size + 4095) / 4096 * 4096);
    if (!memory || hvtlfs_partition_init(memory, size, &config, &partition, NULL)) {
        free(memory);
    }
    return partition;
}

/* ---- One exit each; the answer as text, as it stands in the trace ---- */

static void put_result(char *answer, enum hvtlfs_msr_result result, uint64_t value)
{
    if (result == HVTLFS_MSR_FAULT || result == HVTLFS_MSR_UNCLAIMED) {
        memcpy(answer, "#GP", sizeof "#GP");
    } else {
        snprintf(answer, 32, "0x%" PRIx64, value);
    }
}

static bool cpuid(struct hvtlfs_vp *vp, const char *leaf, const char *reg, char *answer)
{
    static const char names[] = "eaxebxecxedx";
    struct hvtlfs_cpuid_regs regs = {0};
    const char *found = strstr(names, reg);
    uint32_t values[4];

    hvtlfs_cpuid(vp, (uint32_t)strtoul(leaf, NULL, 0), 0, &regs);
    memcpy(values, &regs, sizeof values);
    snprintf(answer, 32, "0x%" PRIx32, found ? values[(found - names) / 3] : 0);
    return found != NULL;
}

/* A line's answer; expected points into the line. False: the line is malformed. */
static bool play(struct hvtlfs_vp *vp, char *line, char *answer, const char **expected)
{
    enum hvtlfs_msr_result result;
    char *word[4] = {NULL};
    uint64_t value = 0;
    int count = 0;

    for (char *at = strtok(line, " \n"); at && count < 4; at = strtok(NULL, " \n")) {
        word[count++] = at;
    }
    *expected = count > 0 ? word[count - 1] : "";
    if (count == 4 && strcmp(word[0], "cpuid") == 0) {
        return cpuid(vp, word[1], word[2], answer);
    }
    if (count == 4 && strcmp(word[0], "hypercall") == 0) {
        struct hvtlfs_hypercall_regs regs = {.rcx = strtoull(word[1], NULL, 0),
                                             .rdx = strtoull(word[2], NULL, 0),
                                             .mode = HVTLFS_MODE_LONG64};
        bool done = hvtlfs_hypercall(vp, &regs) == HVTLFS_HYPERCALL_DONE;

        put_result(answer, done ? HVTLFS_MSR_DONE : HVTLFS_MSR_FAULT, regs.rax);
        return true;
    }
    if (count == 3 && strcmp(word[0], "rdmsr") == 0) {
        result = hvtlfs_msr_read(vp, (uint32_t)strtoul(word[1], NULL, 0), &value);
        put_result(answer, result, value);
        return true;
    }
    if (count == 3 && strcmp(word[0], "wrmsr") == 0) {
        value = strtoull(word[2], NULL, 0); /* 0 where the trace has #GP */
        result = hvtlfs_msr_write(vp, (uint32_t)strtoul(word[1], NULL, 0), value);
        put_result(answer, result, value);
        return true;
    }
    return false;
}

/* Every line, from the file or from above; how many are answered differently, or -1 after a bad line. */
static int play_all(struct hvtlfs_partition *partition, FILE *file)
{
    const char *expected;
    char line[160], copy[160], answer[32];
    int exits = 0, differ = 0;

    while (file ? fgets(line, sizeof line, file) != NULL : built_in[exits] != NULL) {
        snprintf(copy, sizeof copy, "%s", file ? line : built_in[exits]);
        copy[strcspn(copy, "\n")] = '\0';
        snprintf(line, sizeof line, "%s", copy);
        exits++;
        if (!play(hvtlfs_partition_vp(partition, 0), line, answer, &expected)) {
            (void)fprintf(stderr, "line %d is no exit: %s\n", exits, copy);
            return -1;
        }
        if (strtoull(expected, NULL, 0) != strtoull(answer, NULL, 0) ||
            (expected[0] == '#') != (answer[0] == '#')) {
            printf("line %d: %s: the library gives %s\n", exits, copy, answer);
            differ++;
        }
    }
    printf("%d exits, %d answered differently\n", exits, differ);
    return differ;
}

int main(int argc, char **argv)
{
    FILE *file = argc > 1 ? fopen(argv[1], "r") : NULL;
    struct hvtlfs_partition *partition;
    int differ = -1;

    if (argc > 1 && !file) {
        (void)fprintf(stderr, "replay_trace: cannot read the file\n");
        return 2;
    }
    partition = make_partition();
    if (!partition) {
        (void)fprintf(stderr, "replay_trace: no partition\n");
    } else {
        differ = play_all(partition, file);
        free(partition);
    }
    if (file) {
        (void)fclose(file);
    }
    return differ < 0 ? 2 : differ != 0;
}
