/* SPDX-License-Identifier: MIT */
/*
 * Saved state from a stranger. Whatever the bytes are:
 *
 *   refused   the partition is, byte for byte, as it was, and hvtlfs_state_check() did not promise more
 *   loaded    it saves, what it saves loads into another partition, and that one saves the same bytes;
 *             then it can be thawed, polled, read, described and reset
 *
 * Size and digest in the header are set right first: a mutation would hardly ever get past them.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hvtlfs/describe.h>
#include <hvtlfs/msr.h>
#include <hvtlfs/state.h>
#include <hvtlfs/time.h>

#include "arena.h"
#include "model_host.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MOST_VPS 16u
#define RAM_SIZE (UINT64_C(1) << 18)
#define HEADER 32u

#define CLAIM(claim) ((claim) ? (void)0 : broken(#claim, __LINE__))

static void broken(const char *claim, int line)
{
    fprintf(stderr, "fuzz_state.c:%d: not so: %s\n", line, claim);
    abort();
}

struct bytes {
    uint8_t *data;
    size_t size;
};

static struct bytes with_good_header(const uint8_t *data, size_t size)
{
    struct bytes bytes = {malloc(size ? size : 1), size};
    uint64_t digest = UINT64_C(0xCBF29CE484222325);

    CLAIM(bytes.data);
    memcpy(bytes.data, data, size);
    if (size < HEADER) {
        return bytes;
    }
    for (size_t i = HEADER; i < size; i++) {
        digest = (digest ^ data[i]) * UINT64_C(0x100000001B3);
    }
    for (size_t i = 0; i < 8; i++) {
        bytes.data[16 + i] = (uint8_t)((uint64_t)size >> 8 * i);
        bytes.data[24 + i] = (uint8_t)(digest >> 8 * i);
    }
    return bytes;
}

/* Reads all of every field, so that a sanitizer sees one that reaches too far. */
static void read_field(void *context, const struct hvtlfs_state_field *field)
{
    uint32_t *sum = context;

    for (uint32_t i = 0; i < field->size; i++) {
        *sum += field->data[i];
    }
    *sum += (uint32_t)(strlen(field->section) + strlen(field->tag));
    *sum += field->name ? (uint32_t)strlen(field->name) : 0;
}

/* ---- A partition with the configuration that the state asks for ---- */

struct machine {
    struct model_host *host;
    struct hvtlfs_partition *partition;
    void *memory;
    size_t size;
};

static struct arena first_memory, second_memory, memory_before;

static bool make(struct machine *machine, struct arena *arena, const struct bytes *state,
                 bool copies)
{
    struct hvtlfs_vp_config vps[MOST_VPS];
    struct model_host_options options;
    struct hvtlfs_config config;

    *machine = (struct machine){.host = NULL};
    model_host_options_init(&options);
    options.ram_size = RAM_SIZE;
    options.copies_overlays = copies;
    machine->host = model_host_create(&options);
    CLAIM(machine->host);
    hvtlfs_config_init(&config);
    model_host_configure(machine->host, &config);
    config.invariant_tsc = true;
    config.apic_hz = 1000000;
    if (hvtlfs_state_config(state->data, state->size, &config, vps, MOST_VPS, NULL) != HVTLFS_OK ||
        hvtlfs_partition_size(&config, &machine->size, NULL) != HVTLFS_OK) {
        return false;
    }
    machine->memory = arena_take(arena, machine->size);
    return hvtlfs_partition_init(machine->memory, machine->size, &config, &machine->partition,
                                 NULL) == HVTLFS_OK;
}

static void discard(struct machine *machine)
{
    if (model_host_violations(machine->host)) {
        broken(model_host_first_violation(machine->host), __LINE__);
    }
    model_host_destroy(machine->host);
}

static bool load(struct machine *machine, const struct bytes *state)
{
    const struct hvtlfs_check_result found =
        hvtlfs_state_check(machine->partition, state->data, state->size, NULL, NULL);
    uint8_t *before = arena_take(&memory_before, machine->size);
    struct hvtlfs_error error = {.name = NULL};
    enum hvtlfs_status status;

    memcpy(before, machine->memory, machine->size);
    status = hvtlfs_state_load(machine->partition, state->data, state->size, &error);
    CLAIM(status == HVTLFS_OK ? !found.errors : found.errors || status == HVTLFS_ERR_HOST);
    if (status) {
        CLAIM(error.name && error.status == status);
        CLAIM(!memcmp(before, machine->memory, machine->size));
        CLAIM(!model_host_overlay_count(machine->host));
    }
    return status == HVTLFS_OK;
}

static struct bytes save(const struct machine *machine)
{
    struct bytes bytes = {NULL, hvtlfs_state_size(machine->partition)};
    size_t used = 0;

    bytes.data = malloc(bytes.size);
    CLAIM(bytes.data);
    CLAIM(!hvtlfs_state_save(machine->partition, bytes.data, bytes.size, &used, NULL));
    CLAIM(used == bytes.size);
    return bytes;
}

/* ---- What was loaded lives on ---- */

static void live(struct machine *machine)
{
    struct hvtlfs_partition *partition = machine->partition;
    static char text[16384];

    (void)hvtlfs_thaw(partition, 1);
    for (uint32_t index = 0; index < HVTLFS_MAX_VPS; index++) {
        struct hvtlfs_vp *vp = hvtlfs_partition_vp(partition, index);
        uint64_t value;

        for (uint32_t number = 0; vp && number < 0x200; number++) {
            CLAIM(hvtlfs_msr_read(vp, 0x40000000 + number, &value) <= HVTLFS_MSR_IDLE);
        }
        if (vp) {
            model_host_advance(machine->host, 1000);
            hvtlfs_vp_poll(vp);
            CLAIM(hvtlfs_msr_write(vp, 0x40000084, 0) <= HVTLFS_MSR_IDLE); /* EOM */
        }
    }
    (void)hvtlfs_describe(partition, HVTLFS_FORMAT_TEXT, text, sizeof(text));
    (void)hvtlfs_describe(partition, HVTLFS_FORMAT_JSON, text, sizeof(text));
    hvtlfs_partition_reset(partition);
    CLAIM(!model_host_overlay_count(machine->host));
}

/* What the loaded one saves loads, and the next one saves the same. */
static void again(const struct machine *first, bool copies)
{
    struct bytes saved = save(first);
    struct machine second;

    CLAIM(make(&second, &second_memory, &saved, copies));
    memcpy(model_host_ram(second.host, 0), model_host_ram(first->host, 0), RAM_SIZE);
    CLAIM(load(&second, &saved));
    {
        struct bytes twice = save(&second);

        CLAIM(twice.size == saved.size && !memcmp(twice.data, saved.data, saved.size));
        free(twice.data);
    }
    discard(&second);
    free(saved.data);
}

static void load_and_live(const struct bytes *state, bool copies)
{
    struct machine machine;

    if (make(&machine, &first_memory, state, copies) && load(&machine, state)) {
        again(&machine, copies);
        live(&machine);
    }
    discard(&machine);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes state = with_good_header(data, size);
    uint32_t sum = 0;

    (void)hvtlfs_state_visit(data, size, read_field, &sum, NULL);
    (void)hvtlfs_state_visit(state.data, state.size, read_field, &sum, NULL);
    load_and_live(&state, false);
    load_and_live(&state, true);
    free(state.data);
    return 0;
}
