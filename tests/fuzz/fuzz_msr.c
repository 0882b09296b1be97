/* SPDX-License-Identifier: MIT */
/*
 * MSR sequences: several VPs read and write every MSR, store into their pages, while time passes and the
 * host does what hosts do, in any configuration.
 *
 * A refused write leaves no footprint (compared by saved state while the partition is frozen); what is
 * saved loads and is the same; a reset leaves nothing behind; the host's contract is kept.
 */
#include <string.h>

#include <hvtlfs/describe.h>
#include <hvtlfs/msr.h>
#include <hvtlfs/spinwait.h>
#include <hvtlfs/state.h>
#include <hvtlfs/stats.h>
#include <hvtlfs/time.h>
#include <hvtlfs/vapic.h>

#include "setup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MOST_STEPS 100u
#define MOST_SAVES 2u /* they take as long as all the rest */
#define STATE_MOST (1u << 18)

static uint8_t before[STATE_MOST];
static uint8_t after[STATE_MOST];
static unsigned saves;

static struct hvtlfs_vp *any_vp(struct setup *setup, struct input *input)
{
    return setup->vp[input_byte(input) % setup->config.vp_count];
}

/* MSRs that exist are likelier. */
static uint32_t any_msr(struct input *input)
{
    const uint8_t low = input_byte(input);

    return 0x40000000u + low + (low >= 0x40 && low < 0x60 ? 0xC0u : 0);
}

static size_t saved(const struct setup *setup, uint8_t *buffer)
{
    size_t used = 0;

    return hvtlfs_state_save(setup->partition, buffer, STATE_MOST, &used, NULL) ? 0 : used;
}

/* A page number in RAM, often: most of what a guest writes are places of pages. */
static uint64_t any_value(struct input *input)
{
    const uint8_t how = input_byte(input);

    return how & 128 ? (uint64_t)(how >> 3 & 15) << 12 | (how & 7) : input_number(input);
}

static void write_msr(struct setup *setup, struct input *input)
{
    struct hvtlfs_vp *vp = any_vp(setup, input);
    const uint32_t number = any_msr(input);
    const uint64_t value = any_value(input);
    const size_t size = number % 4 == 1 && saves++ < MOST_SAVES ? saved(setup, before) : 0;
    const enum hvtlfs_msr_result result = hvtlfs_msr_write(vp, number, value);

    CLAIM(result <= HVTLFS_MSR_DELIVER);
    if (result == HVTLFS_MSR_FAULT && size) {
        CLAIM(saved(setup, after) == size && !memcmp(before, after, size));
    }
}

static void read_msr(struct setup *setup, struct input *input)
{
    struct hvtlfs_vp *vp = any_vp(setup, input);
    const uint32_t number = any_msr(input);
    uint64_t value = 0x5A5A, again = 0x5A5A;
    const enum hvtlfs_msr_result result = hvtlfs_msr_read(vp, number, &value);

    CLAIM(result == HVTLFS_MSR_DONE || result == HVTLFS_MSR_IDLE || result == HVTLFS_MSR_FAULT);
    CLAIM(result != HVTLFS_MSR_FAULT || value == 0x5A5A);
    if (fuzz_host.fail_at) {
        return; /* of two reads one may fail */
    }
    CLAIM(hvtlfs_msr_read(vp, number, &again) == result);
    CLAIM(number == 0x40000020 ? again >= value || again == 0x5A5A : again == value);
}

static void store(struct input *input)
{
    const uint64_t gpa = input_bytes(input, 2) & ~UINT64_C(7);
    const uint64_t value = input_number(input);
    const struct hvtlfs_overlay *overlay = host_overlay_at(gpa);

    if (!overlay || overlay->access & HVTLFS_ACCESS_WRITE) {
        memcpy(host_visible(gpa), &value, sizeof(value));
    }
}

static void advance(struct setup *setup, struct input *input)
{
    host_advance(input_number(input) & 0xFFFFFFFF);
    for (uint32_t i = 0; i < setup->config.vp_count; i++) {
        hvtlfs_vp_poll(setup->vp[i]);
    }
}

static void post(struct setup *setup, struct input *input)
{
    const uint8_t how = input_byte(input);
    const struct hvtlfs_message message = {.type = 1u + how, .size = how % 241u, .payload = before};
    struct hvtlfs_vp *vp = any_vp(setup, input);

    if (how & 1) {
        CLAIM(hvtlfs_synic_post_message(vp, how >> 1 & 15, &message) <= HVTLFS_ERR_FULL);
    } else {
        CLAIM(hvtlfs_connection_post(setup->partition, how >> 1 & 7, &message) <=
              HVTLFS_ERR_NOT_FOUND);
    }
}

static void signal(struct setup *setup, struct input *input)
{
    const uint8_t how = input_byte(input);
    bool newly;

    if (how & 1) {
        CLAIM(hvtlfs_synic_signal_event(any_vp(setup, input), how >> 1 & 15, how * 8u, &newly) <=
              HVTLFS_ERR_UNAVAILABLE);
        CLAIM(hvtlfs_synic_request_interrupt(any_vp(setup, input), how >> 4) <=
              HVTLFS_ERR_UNAVAILABLE);
    } else {
        CLAIM(hvtlfs_connection_signal(setup->partition, how >> 1 & 7, how) <=
              HVTLFS_ERR_NOT_FOUND);
        CLAIM(hvtlfs_connection_remove(setup->partition, how >> 3) <= HVTLFS_ERR_NOT_FOUND);
    }
}

static void lazy_eoi(struct setup *setup, struct input *input)
{
    struct hvtlfs_vp *vp = any_vp(setup, input);
    const uint8_t how = input_byte(input);
    uint32_t vector;

    switch (how & 3) {
    case 0:
        CLAIM(!hvtlfs_lazy_eoi_arm(vp, 0x30u + (how >> 4),
                                   how & 4 ? HVTLFS_TRIGGER_LEVEL : HVTLFS_TRIGGER_EDGE, how & 8) ||
              !(how & 12));
        break;
    case 1:
        CLAIM(hvtlfs_lazy_eoi_withdraw(vp) <= HVTLFS_LAZY_EOI_ENDED);
        break;
    case 2:
        vector = hvtlfs_lazy_eoi_collect(vp);
        CLAIM(vector == HVTLFS_NO_EOI || (vector >= 0x30 && vector < 0x40));
        CLAIM(hvtlfs_lazy_eoi_collect(vp) == HVTLFS_NO_EOI); /* once only */
        break;
    default:
        hvtlfs_synic_eoi(vp, how);
        break;
    }
}

static void time_and_moves(struct setup *setup, struct input *input)
{
    const uint8_t how = input_byte(input);
    struct hvtlfs_vp *vp = any_vp(setup, input);

    switch (how & 7) {
    case 0:
        (void)hvtlfs_freeze(setup->partition);
        break;
    case 1:
        (void)hvtlfs_thaw(setup->partition, how >> 3);
        break;
    case 2:
        fuzz_host.vps[hvtlfs_vp_index(vp)].tsc_offset += how;
        hvtlfs_tsc_changed(vp, how);
        break;
    case 3:
        if (!hvtlfs_migrate(setup->partition, 1000000000u + how * 1000000u, !(how & 8))) {
            fuzz_host.tsc_hz = 1000000000u + how * 1000000u;
            fuzz_host.tsc_fraction = 0;
            setup->config.tsc_hz = fuzz_host.tsc_hz;
        }
        break;
    case 4:
        (void)hvtlfs_reference_time_set(setup->partition, input_number(input));
        break;
    case 5:
        hvtlfs_vp_reset(vp);
        break;
    case 6:
        hvtlfs_partition_reset(setup->partition);
        break;
    default:
        (void)hvtlfs_tsc_emulated(vp, input_number(input));
        break;
    }
}

static void other(struct setup *setup, struct input *input)
{
    static char text[8192];
    const uint8_t how = input_byte(input);

    switch (how & 7) {
    case 0:
        fuzz_host.fail_at = fuzz_host.fallible + 1 + (how >> 4);
        break;
    case 1:
        if (saves++ < MOST_SAVES) {
            (void)hvtlfs_describe(setup->partition, (enum hvtlfs_format)(how >> 7), text,
                                  sizeof(text));
        }
        break;
    case 2:
        (void)hvtlfs_stats_set(any_vp(setup, input), (enum hvtlfs_overlay_kind)(how >> 4), how,
                               how);
        break;
    case 3:
        (void)hvtlfs_tsc_page_query(setup->partition);
        break;
    default:
        setup_connections(setup);
        break;
    }
}

static void step(struct setup *setup, struct input *input)
{
    switch (input_byte(input) & 15) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4:
        write_msr(setup, input);
        break;
    case 5:
    case 6:
        read_msr(setup, input);
        break;
    case 7:
        store(input);
        break;
    case 8:
        advance(setup, input);
        break;
    case 9:
        post(setup, input);
        break;
    case 10:
        signal(setup, input);
        break;
    case 11:
        lazy_eoi(setup, input);
        break;
    case 12:
    case 13:
        time_and_moves(setup, input);
        break;
    case 14:
        other(setup, input);
        break;
    default:
        if (saves++ < MOST_SAVES) {
            fuzz_host.fail_at = 0;
            setup_move(setup);
        }
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    struct setup setup;

    saves = 0;
    setup_begin(&setup, &input);
    if (!setup.partition) {
        return 0;
    }
    for (unsigned i = 0; i < MOST_STEPS && input_left(&input); i++) {
        step(&setup, &input);
        CLAIM(!fuzz_host.locked);
    }
    fuzz_host.fail_at = 0;
    setup_end(&setup);
    return 0;
}
