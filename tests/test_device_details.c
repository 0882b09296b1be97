/* SPDX-License-Identifier: MIT */
/*
 * What devices tell the host after a load and at a reset, what happens when a guest comes back in the
 * middle of a callback, and the edges of small things: neighbours of a byte, ends of ranges.
 */
#include "guest_call.h"
#include "state.h"
#include "synic_fixture.h"

#include <hvtlfs/flush.h>
#include <hvtlfs/state.h>
#include <hvtlfs/stats.h>
#include <hvtlfs/time.h>
#include <hvtlfs/vapic.h>

#define PAGE UINT64_C(0x5000)
#define NOTIFY UINT64_C(0x8000000000000000)
#define MESSAGE UINT64_C(0x4000000000000000)

static struct fixture fixture;

static void make(const char *features, bool copies)
{
    fixture_prepare(&fixture);
    fixture.options.copies_overlays = copies;
    fixture.features = features;
    fixture_start(&fixture);
}

/* Into a partition made anew, on the same kind of host. */
static void save_and_load(void)
{
    const char *features = fixture.features;
    const bool copies = fixture.options.copies_overlays;
    void (*adjust)(struct hvtlfs_config *) = fixture.adjust;
    const uint32_t vp_count = fixture.config.vp_count;
    static uint8_t bytes[1 << 18];
    static uint8_t ram[1 << 17];
    size_t size;

    assert_int_equal(hvtlfs_freeze(fixture.partition), HVTLFS_OK);
    assert_int_equal(hvtlfs_state_save(fixture.partition, bytes, sizeof(bytes), &size, NULL),
                     HVTLFS_OK);
    memcpy(ram, model_host_ram(fixture.host, 0), sizeof(ram));
    model_host_forget(fixture.host);
    fixture_stop(&fixture);
    fixture_prepare(&fixture);
    fixture.options.copies_overlays = copies;
    fixture.features = features;
    fixture.adjust = adjust;
    fixture.config.vp_count = vp_count;
    fixture_start(&fixture);
    memcpy(model_host_ram(fixture.host, 0), ram, sizeof(ram));
    model_host_clear_events(fixture.host);
    assert_int_equal(hvtlfs_state_load(fixture.partition, bytes, size, NULL), HVTLFS_OK);
    assert_int_equal(hvtlfs_thaw(fixture.partition, 0), HVTLFS_OK);
}

/* The only event of a kind, with its first two numbers. */
static void expect_one(enum model_event_kind kind, uint64_t first, uint64_t second)
{
    struct model_event event;
    size_t i;

    assert_int_equal(model_host_events_of(fixture.host, kind), 1);
    for (i = 0; i < model_host_event_count(fixture.host); i++) {
        assert_true(model_host_event(fixture.host, i, &event));
        if (event.kind == kind) {
            assert_int_equal(event.values[0], first);
            assert_int_equal(event.values[1], second);
        }
    }
    model_host_clear_events(fixture.host);
}

/* ---- After a load, and at a reset ---- */

static void test_a_host_hears_again_what_it_keeps_for_the_guest(void **state)
{
    struct model_event event;
    bool told = false;

    (void)state;
    make("npiep,stats", false);
    expect_write(fixture.vp, HV_X64_MSR_NPIEP_CONFIG, 5);
    expect_write(fixture.vp, HV_X64_MSR_STATS_VP_RETAIL_PAGE, PAGE | 1);
    save_and_load();
    expect_read(fixture.vp, HV_X64_MSR_NPIEP_CONFIG, 5);
    for (size_t i = 0; i < model_host_event_count(fixture.host); i++) {
        assert_true(model_host_event(fixture.host, i, &event));
        if (event.kind == MODEL_EVENT_NPIEP) {
            assert_int_equal(event.values[0], 5);
            told = true;
        }
    }
    assert_true(told);
    expect_one(MODEL_EVENT_STATS_PAGE, HVTLFS_OVERLAY_STATS_VP, true);
    hvtlfs_vp_reset(fixture.vp);
    expect_one(MODEL_EVENT_STATS_PAGE, HVTLFS_OVERLAY_STATS_VP, false);
    expect_write(fixture.vp, HV_X64_MSR_STATS_PARTITION_RETAIL_PAGE, PAGE | 1);
    save_and_load();
    expect_one(MODEL_EVENT_STATS_PAGE, HVTLFS_OVERLAY_STATS_PARTITION, true);
    fixture_stop(&fixture);
}

static void test_a_host_hears_nothing_where_there_is_nothing(void **state)
{
    (void)state;
    make("npiep,stats", false);
    save_and_load();
    assert_int_equal(model_host_events_of(fixture.host, MODEL_EVENT_NPIEP), 0);
    assert_int_equal(model_host_events_of(fixture.host, MODEL_EVENT_STATS_PAGE), 0);
    fixture_stop(&fixture);
}

/* After a load every VP flushes everything: by its index, in whichever word that is. */
static struct hvtlfs_vp_config far_vps[] = {{0, 0}, {33, 1}, {64, 2}, {2047, 3}};

static void far_and_queued(struct hvtlfs_config *config)
{
    config->vps = far_vps;
    config->vp_count = 4;
    model_host_queue_flushes(&config->ops);
}

static void test_loaded_vps_flush_everything_once(void **state)
{
    struct hvtlfs_flush_item item;

    (void)state;
    fixture_prepare(&fixture);
    fixture.features = "tlbflush";
    fixture.adjust = far_and_queued;
    fixture_start(&fixture);
    save_and_load();
    for (size_t i = 0; i < 4; i++) {
        struct hvtlfs_vp *vp = hvtlfs_partition_vp(fixture.partition, far_vps[i].vp_index);

        assert_true(hvtlfs_flush_take(vp, &item));
        assert_true(item.everything);
        assert_false(hvtlfs_flush_take(vp, &item));
    }
    fixture_stop(&fixture);
}

/* ---- A guest that comes back from inside a callback ---- */

static uint32_t crashes, with_text;

static void crash_again(void *context, uint32_t vp_index, const struct hvtlfs_crash *crash)
{
    (void)context;
    (void)vp_index;
    with_text += crash->message != NULL;
    if (!crashes++) { /* as another VP would at the same time, twice */
        for (int i = 0; i < 2; i++) {
            expect_write(hvtlfs_partition_vp(fixture.partition, 1), HV_X64_MSR_CRASH_CTL,
                         NOTIFY | MESSAGE);
        }
    }
}

static void take_crash(struct hvtlfs_config *config)
{
    config->ops.crash = crash_again;
}

/* One text at a time: who crashes meanwhile is reported without, and the next one has it again. */
static void test_two_crashes_at_once_have_one_text(void **state)
{
    (void)state;
    fixture_prepare(&fixture);
    fixture.features = "crash";
    fixture.adjust = take_crash;
    fixture_start(&fixture);
    crashes = with_text = 0;
    memcpy(model_host_ram(fixture.host, 0x7000), "text", 4);
    expect_write(fixture.vp, HV_X64_MSR_CRASH_P3, 0x7000);
    expect_write(fixture.vp, HV_X64_MSR_CRASH_P4, 4);
    expect_write(fixture.vp, HV_X64_MSR_CRASH_CTL, NOTIFY | MESSAGE);
    assert_int_equal(crashes, 3);
    assert_int_equal(with_text, 1);
    expect_write(fixture.vp, HV_X64_MSR_CRASH_CTL, NOTIFY | MESSAGE);
    assert_int_equal(crashes, 4);
    assert_int_equal(with_text, 2);
    fixture_stop(&fixture);
}

/* ---- Small things ---- */

#define UNHALTED SYNIC_FEATURES ",vapic,runtime,unhalted-timer"

/* TLFS 7.8.7: byte 56 of the assist page tells of the expiry; its neighbours are the guest's. */
static void test_the_mark_of_an_expiry_is_one_byte(void **state)
{
    (void)state;
    for (int copies = 0; copies < 2; copies++) {
        struct hvtlfs_interrupt interrupt;
        uint8_t bytes[3] = {0x11, 0, 0x33};

        make(UNHALTED, copies);
        expect_write(fixture.vp, HV_X64_MSR_VP_ASSIST_PAGE, PAGE | 1);
        assert_int_equal(model_host_guest_write(fixture.host, PAGE + 55, bytes, 3),
                         MODEL_ACCESS_OK);
        expect_write(fixture.vp, HV_X64_MSR_STIME_UNHALTED_TIMER_COUNT, 1000);
        expect_write(fixture.vp, HV_X64_MSR_STIME_UNHALTED_TIMER_CONFIG, 0x150);
        model_host_advance(fixture.host, 1000);
        model_host_set_runtime(fixture.host, 0, 1000);
        hvtlfs_vp_poll(fixture.vp);
        assert_int_equal(model_host_guest_read(fixture.host, PAGE + 55, bytes, 3), MODEL_ACCESS_OK);
        assert_int_equal(bytes[0], 0x11);
        assert_int_equal(bytes[1], 1);
        assert_int_equal(bytes[2], 0x33);
        assert_true(model_host_take_interrupt(fixture.host, 0, &interrupt));
        assert_int_equal(interrupt.vector, 0x50);
        assert_false(interrupt.auto_eoi);
        fixture_stop(&fixture);
    }
}

/* A page that is not there is not marked: it begins empty when it comes. */
static void test_an_assist_page_that_is_away_is_not_marked(void **state)
{
    (void)state;
    for (int copies = 0; copies < 2; copies++) {
        uint8_t byte = 0xFF;

        make(UNHALTED, copies);
        expect_write(fixture.vp, HV_X64_MSR_STIME_UNHALTED_TIMER_COUNT, 1000);
        expect_write(fixture.vp, HV_X64_MSR_STIME_UNHALTED_TIMER_CONFIG, 0x150);
        model_host_advance(fixture.host, 1000);
        model_host_set_runtime(fixture.host, 0, 1000);
        hvtlfs_vp_poll(fixture.vp);
        expect_write(fixture.vp, HV_X64_MSR_VP_ASSIST_PAGE, PAGE | 1);
        assert_int_equal(model_host_guest_read(fixture.host, PAGE + 56, &byte, 1), MODEL_ACCESS_OK);
        assert_int_equal(byte, 0);
        fixture_stop(&fixture);
    }
}

/* An EOI that the guest left to us is an EOI like any: 0 is written. */
static void test_a_collected_eoi_is_written_as_zero(void **state)
{
    struct model_event event;
    uint32_t zero = 0;

    (void)state;
    make("vapic", false);
    expect_write(fixture.vp, HV_X64_MSR_VP_ASSIST_PAGE, PAGE | 1);
    assert_true(hvtlfs_lazy_eoi_arm(fixture.vp, 0x60, HVTLFS_TRIGGER_EDGE, false));
    assert_int_equal(model_host_guest_write(fixture.host, PAGE, &zero, 4), MODEL_ACCESS_OK);
    model_host_clear_events(fixture.host);
    expect_write(fixture.vp, HV_X64_MSR_EOI, 7);
    assert_int_equal(model_host_events_of(fixture.host, MODEL_EVENT_APIC_WRITE), 2);
    assert_true(model_host_event(fixture.host, 0, &event));
    assert_int_equal(event.values[0], HVTLFS_APIC_EOI);
    assert_int_equal(event.values[1], 0);
    assert_true(model_host_event(fixture.host, 1, &event));
    assert_int_equal(event.values[1], 7);
    fixture_stop(&fixture);
}

/* A promise that cannot be taken back stands: it is neither being withdrawn nor gone. */
static void test_a_promise_out_of_reach_stands(void **state)
{
    (void)state;
    make("vapic", true);
    expect_write(fixture.vp, HV_X64_MSR_VP_ASSIST_PAGE, PAGE | 1);
    assert_true(hvtlfs_lazy_eoi_arm(fixture.vp, 0x60, HVTLFS_TRIGGER_EDGE, false));
    model_host_fail(fixture.host, 1, true);
    assert_int_equal(hvtlfs_lazy_eoi_withdraw(fixture.vp), HVTLFS_LAZY_EOI_ENDED);
    model_host_fail(fixture.host, 0, false);
    assert_true(hvti_lazy_eoi_is_good(fixture.partition, fixture.vp->vapic.lazy));
    assert_int_equal(hvtlfs_lazy_eoi_withdraw(fixture.vp), HVTLFS_LAZY_EOI_WITHDRAWN);
    assert_int_equal(hvtlfs_lazy_eoi_withdraw(fixture.vp), HVTLFS_LAZY_EOI_NONE);
    fixture_stop(&fixture);
}

/* Whatever vector the APIC ends, 0 to 255: what waits is tried again (TLFS 11.2). */
static void test_the_end_of_any_vector_brings_the_next_message(void **state)
{
    (void)state;
    synic_start(&fixture, false);
    for (uint32_t vector = 0x10; vector < 0x100; vector += 0xEF) {
        assert_int_equal(post_number(fixture.vp, 2, vector), HVTLFS_OK);
        hvtlfs_synic_eoi(fixture.vp, vector);
        assert_int_equal(guest_message(&fixture, 0, 2).header.message_type, vector);
        (void)guest_empties_slot(&fixture, 0, 2);
    }
    fixture_stop(&fixture);
}

/* Accepted before a reset and pushed after it, as another thread may: it is not delivered (TLFS 11.9). */
static void test_a_post_that_was_late_does_not_survive_a_reset(void **state)
{
    uint32_t item;

    (void)state;
    synic_start(&fixture, false);
    assert_int_equal(post_number(fixture.vp, 2, 7), HVTLFS_OK);
    item = fixture.vp->synic.inbox;
    assert_int_not_equal(item, HVTI_NO_ITEM);
    fixture.vp->synic.inbox = HVTI_NO_ITEM; /* not pushed yet */
    hvtlfs_vp_reset(fixture.vp);
    synic_enable(fixture.vp);
    fixture.vp->synic.inbox = item;
    hvtlfs_vp_poll(fixture.vp);
    assert_int_equal(guest_message(&fixture, 0, 2).header.message_type, 0);
    assert_int_equal(fixture.vp->synic.queued[2], 0);
    assert_int_equal(post_number(fixture.vp, 2, 8), HVTLFS_OK);
    hvtlfs_vp_poll(fixture.vp);
    assert_int_equal(guest_message(&fixture, 0, 2).header.message_type, 8);
    fixture_stop(&fixture);
}

/* Nothing of a SynIC is left by a reset of its VP: registers, messages, flags, vectors. */
static void test_a_reset_leaves_nothing_of_a_synic(void **state)
{
    (void)state;
    synic_start(&fixture, false);
    for (uint32_t i = 1; i <= 3; i++) {
        assert_int_equal(post_number(fixture.vp, 2, i), HVTLFS_OK);
    }
    hvtlfs_vp_poll(fixture.vp);
    assert_int_equal(post_number(fixture.vp, 3, 9), HVTLFS_OK); /* in the inbox */
    expect_write(fixture.vp, HV_X64_MSR_SINT2, HV_MSR_SINT_AUTO_EOI | 0x52);
    assert_true(hvtlfs_synic_is_auto_eoi(fixture.vp, 0x52));
    hvtlfs_vp_reset(fixture.vp);
    expect_read(fixture.vp, HV_X64_MSR_SCONTROL, 0);
    expect_read(fixture.vp, HV_X64_MSR_SIMP, 0);
    expect_read(fixture.vp, HV_X64_MSR_SIEFP, 0);
    expect_read(fixture.vp, HV_X64_MSR_SINT2, HV_SYNIC_SINT_DEFAULT);
    assert_false(hvtlfs_synic_is_auto_eoi(fixture.vp, 0x52));
    assert_int_equal(fixture.vp->synic.waiting, 0);
    for (uint32_t sint = 0; sint < 16; sint++) {
        assert_int_equal(fixture.vp->synic.queued[sint], 0);
    }
    synic_enable(fixture.vp);
    hvtlfs_vp_poll(fixture.vp);
    assert_int_equal(guest_message(&fixture, 0, 2).header.message_type, 0);
    assert_int_equal(guest_message(&fixture, 0, 3).header.message_type, 0);
    fixture_stop(&fixture);
}

static void test_vectors_end_at_255(void **state)
{
    (void)state;
    synic_start(&fixture, false);
    expect_write(fixture.vp, HV_X64_MSR_SINT2, HV_MSR_SINT_AUTO_EOI | 0xFF);
    assert_true(hvtlfs_synic_is_auto_eoi(fixture.vp, 255));
    for (uint32_t vector = 256; vector < 2048; vector++) {
        assert_false(hvtlfs_synic_is_auto_eoi(fixture.vp, vector));
    }
    fixture_stop(&fixture);
}

/* A timer's message that waits behind others is taken back, and they stay. */
static void test_a_waiting_timer_is_taken_out_of_the_middle(void **state)
{
    (void)state;
    synic_start(&fixture, false);
    for (uint32_t i = 1; i <= 3; i++) { /* 1 gets the slot, 2 and 3 wait */
        assert_int_equal(post_number(fixture.vp, 2, i), HVTLFS_OK);
    }
    hvtlfs_vp_poll(fixture.vp);
    expect_write(fixture.vp, HV_X64_MSR_STIMER0_CONFIG, 0x20008);
    expect_write(fixture.vp, HV_X64_MSR_STIMER0_COUNT, 100);
    model_host_advance(fixture.host, 1000);
    hvtlfs_vp_poll(fixture.vp);
    assert_int_equal(post_number(fixture.vp, 2, 4), HVTLFS_OK);
    hvtlfs_vp_poll(fixture.vp);
    expect_write(fixture.vp, HV_X64_MSR_STIMER0_CONFIG, 0); /* takes it back */
    for (uint32_t i = 1; i <= 4; i++) {
        assert_int_equal(guest_message(&fixture, 0, 2).header.message_type, i);
        assert_int_equal(guest_empties_slot(&fixture, 0, 2), i < 4);
        expect_write(fixture.vp, HV_X64_MSR_EOM, 0);
    }
    assert_int_equal(guest_message(&fixture, 0, 2).header.message_type, 0);
    fixture_stop(&fixture);
}

/* Taken back from the end of a queue: what comes next follows what is left. */
static void test_a_waiting_timer_is_taken_from_the_end(void **state)
{
    (void)state;
    synic_start(&fixture, false);
    assert_int_equal(post_number(fixture.vp, 2, 1), HVTLFS_OK);
    assert_int_equal(post_number(fixture.vp, 2, 2), HVTLFS_OK);
    hvtlfs_vp_poll(fixture.vp);
    model_host_advance(fixture.host, 10);
    expect_write(fixture.vp, HV_X64_MSR_STIMER0_CONFIG, 0x20008);
    expect_write(fixture.vp, HV_X64_MSR_STIMER0_COUNT, 1);
    expect_write(fixture.vp, HV_X64_MSR_STIMER0_CONFIG, 0);
    assert_int_equal(post_number(fixture.vp, 2, 3), HVTLFS_OK);
    hvtlfs_vp_poll(fixture.vp);
    for (uint32_t i = 1; i <= 3; i++) {
        assert_int_equal(guest_message(&fixture, 0, 2).header.message_type, i);
        (void)guest_empties_slot(&fixture, 0, 2);
        expect_write(fixture.vp, HV_X64_MSR_EOM, 0);
    }
    fixture_stop(&fixture);
}

/* Each timer alone: the host is asked for its time, whatever the others' rows say. */
static void test_a_deadline_is_the_only_timers(void **state)
{
    (void)state;
    for (uint32_t timer = 0; timer < 4; timer++) {
        synic_start(&fixture, false);
        assert_int_equal(model_host_deadline(fixture.host, 0), HVTLFS_TIME_NEVER);
        expect_write(fixture.vp, HV_X64_MSR_STIMER0_CONFIG + 2 * timer, 0x1508);
        expect_write(fixture.vp, HV_X64_MSR_STIMER0_COUNT + 2 * timer, 1000 + timer);
        assert_int_equal(model_host_deadline(fixture.host, 0), 1000 + timer);
        expect_write(fixture.vp, HV_X64_MSR_STIMER0_CONFIG + 2 * timer, 0);
        assert_int_equal(model_host_deadline(fixture.host, 0), HVTLFS_TIME_NEVER);
        fixture_stop(&fixture);
    }
}

/* Time goes on: whoever may have timers or messages is asked in, everybody else is left alone. */
static void test_a_thaw_kicks_those_with_timers_or_messages(void **state)
{
    static const struct {
        const char *features;
        uint32_t kicked;
    } rows[] = {{"vpindex", 0},
                {"time-ref-count", 0},
                {"synic,vpindex", 7},
                {"synic,vpindex,time-ref-count,stimer", 7}};

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint32_t kicked = 0;
        uint32_t vp_index;

        fixture_prepare(&fixture);
        fixture.features = rows[i].features;
        fixture.config.vp_count = 3;
        fixture_start(&fixture);
        assert_int_equal(hvtlfs_freeze(fixture.partition), HVTLFS_OK);
        assert_int_equal(hvtlfs_thaw(fixture.partition, 0), HVTLFS_OK);
        while ((vp_index = model_host_take_kick(fixture.host)) != HVTLFS_NO_VP) {
            kicked |= UINT32_C(1) << vp_index;
        }
        assert_int_equal(kicked, rows[i].kicked);
        fixture_stop(&fixture);
    }
}

/* A load tells a timer whether its message waits, and does not let one run that counts nothing. */
static void test_a_loaded_timer_agrees_with_the_queue(void **state)
{
    struct hvti_stimer *timer;

    (void)state;
    synic_start(&fixture, false);
    timer = &fixture.vp->stimer[2];
    for (uint32_t i = 0; i < 8; i++) {
        *timer = (struct hvti_stimer){.queued = i & 1, .running = 1, .count = i & 2 ? 5 : 0};
        hvti_stimer_restored(fixture.vp, 2, i & 4);
        assert_int_equal(timer->queued, (i & 4) != 0);
        assert_int_equal(timer->running, (i & 2) != 0);
    }
    *timer = (struct hvti_stimer){.count = 5};
    hvti_stimer_restored(fixture.vp, 2, false);
    assert_int_equal(timer->running, 0);
    fixture_stop(&fixture);
}

/* TLFS 11.8.5: any SINT may be a proxy, the first and the last too. */
static void test_every_sint_can_be_a_proxy(void **state)
{
    (void)state;
    synic_start(&fixture, false);
    for (uint32_t sint = 0; sint < 16; sint++) {
        assert_false(hvtlfs_synic_is_proxied(fixture.vp, VECTOR + sint));
        expect_write(fixture.vp, HV_X64_MSR_SINT0 + sint, HV_MSR_SINT_PROXY | (VECTOR + sint));
        assert_true(hvtlfs_synic_is_proxied(fixture.vp, VECTOR + sint));
        expect_write(fixture.vp, HV_X64_MSR_SINT0 + sint, VECTOR + sint);
    }
    fixture_stop(&fixture);
}

/* A flag that is set already gives no second interrupt, whatever its neighbours are; by any host. */
static void test_a_flag_is_new_when_its_own_bit_was_clear(void **state)
{
    (void)state;
    for (int copies = 0; copies < 2; copies++) {
        synic_start(&fixture, copies);
        for (uint32_t flag = 0; flag < 66; flag++) {
            bool newly = false;

            assert_int_equal(hvtlfs_synic_signal_event(fixture.vp, 3, flag, &newly), HVTLFS_OK);
            assert_true(newly);
            assert_int_equal(hvtlfs_synic_signal_event(fixture.vp, 3, flag, &newly), HVTLFS_OK);
            assert_false(newly);
        }
        assert_int_equal(model_host_interrupt_count(fixture.host, 0), 66);
        fixture_stop(&fixture);
    }
}

/* A slot that cannot be read is taken to be full: the message waits until it can. */
static bool unreadable;
static struct hvtlfs_host_ops inner;

static bool reading(void *context, uint64_t gpa, void *buffer, size_t size)
{
    return !unreadable && inner.gpa_read(context, gpa, buffer, size);
}

static void take_reads(struct hvtlfs_config *config)
{
    inner = config->ops;
    config->ops.gpa_read = reading;
}

static void test_a_slot_that_cannot_be_read_is_not_written(void **state)
{
    (void)state;
    synic_prepare(&fixture, true, SYNIC_FEATURES);
    fixture.adjust = take_reads;
    unreadable = false;
    fixture_start(&fixture);
    synic_enable(fixture.vp);
    unreadable = true;
    assert_int_equal(post_number(fixture.vp, 2, 7), HVTLFS_OK);
    hvtlfs_vp_poll(fixture.vp);
    assert_int_equal(guest_message(&fixture, 0, 2).header.message_type, 0);
    assert_int_equal(model_host_interrupt_count(fixture.host, 0), 0);
    unreadable = false;
    hvtlfs_vp_poll(fixture.vp);
    assert_int_equal(guest_message(&fixture, 0, 2).header.message_type, 7);
    assert_int_equal(model_host_interrupt_count(fixture.host, 0), 1);
    fixture_stop(&fixture);
}

/* The second look at a slot fails: it is as full as the first look found it. */
static uint32_t reads_left;

static bool reading_some(void *context, uint64_t gpa, void *buffer, size_t size)
{
    if (gpa / 4096 == sim_gpa(0) / 4096 && unreadable && !reads_left--) {
        reads_left = 0;
        memset(buffer, 0, size); /* a host may leave anything there */
        return false;
    }
    return inner.gpa_read(context, gpa, buffer, size);
}

static void take_some_reads(struct hvtlfs_config *config)
{
    inner = config->ops;
    config->ops.gpa_read = reading_some;
}

static void test_a_slot_whose_second_look_fails_is_full(void **state)
{
    (void)state;
    for (uint32_t reads = 0; reads < 4; reads++) {
        synic_prepare(&fixture, true, SYNIC_FEATURES);
        fixture.adjust = take_some_reads;
        unreadable = false;
        fixture_start(&fixture);
        synic_enable(fixture.vp);
        assert_int_equal(post_number(fixture.vp, 2, 7), HVTLFS_OK);
        hvtlfs_vp_poll(fixture.vp);
        assert_int_equal(post_number(fixture.vp, 2, 8), HVTLFS_OK);
        unreadable = true;
        reads_left = reads;
        hvtlfs_vp_poll(fixture.vp);
        assert_int_equal(guest_message(&fixture, 0, 2).header.message_type, 7);
        unreadable = false;
        (void)guest_empties_slot(&fixture, 0, 2);
        expect_write(fixture.vp, HV_X64_MSR_EOM, 0);
        assert_int_equal(guest_message(&fixture, 0, 2).header.message_type, 8);
        fixture_stop(&fixture);
    }
}

/* The guest empties the slot between the first look and MessagePending: it would never write EOM. */
static bool empties;

static bool exchanging(void *context, uint64_t gpa, uint32_t *expected, uint32_t desired,
                       bool *done)
{
    const uint32_t none = 0;

    if (empties) {
        empties = false;
        assert_int_equal(
            model_host_guest_write(fixture.host, sim_gpa(0) + 2 * 256, &none, sizeof(none)),
            MODEL_ACCESS_OK);
    }
    return inner.gpa_compare_exchange(context, gpa, expected, desired, done);
}

static void take_exchanges(struct hvtlfs_config *config)
{
    inner = config->ops;
    config->ops.gpa_compare_exchange = exchanging;
}

static void test_a_slot_emptied_meanwhile_takes_the_message_at_once(void **state)
{
    (void)state;
    synic_prepare(&fixture, true, SYNIC_FEATURES);
    fixture.adjust = take_exchanges;
    empties = false;
    fixture_start(&fixture);
    synic_enable(fixture.vp);
    assert_int_equal(post_number(fixture.vp, 2, 7), HVTLFS_OK);
    hvtlfs_vp_poll(fixture.vp);
    assert_int_equal(post_number(fixture.vp, 2, 8), HVTLFS_OK);
    empties = true;
    hvtlfs_vp_poll(fixture.vp);
    assert_int_equal(guest_message(&fixture, 0, 2).header.message_type, 8);
    fixture_stop(&fixture);
}

/* What was posted before a timer expired comes before its message. */
static void test_a_timer_does_not_overtake_a_message(void **state)
{
    (void)state;
    synic_start(&fixture, false);
    model_host_advance(fixture.host, 10);
    expect_write(fixture.vp, HV_X64_MSR_STIMER0_CONFIG, 0x20008);
    assert_int_equal(post_number(fixture.vp, 2, 9), HVTLFS_OK);
    expect_write(fixture.vp, HV_X64_MSR_STIMER0_COUNT, 1); /* past: it expires at once */
    assert_int_equal(fixture.vp->counters.tallies[HVTI_TALLY_messages_queued], 2);
    assert_int_equal(guest_message(&fixture, 0, 2).header.message_type, 9);
    assert_true(guest_empties_slot(&fixture, 0, 2));
    expect_write(fixture.vp, HV_X64_MSR_EOM, 0);
    assert_int_equal(guest_message(&fixture, 0, 2).header.message_type, HvMessageTimerExpired);
    fixture_stop(&fixture);
}

/* A copying host whose guest writes the word each time: 64 times it is tried (docs/SYNIC.md). */
static uint32_t scribbles;

static bool scribbling(void *context, uint64_t gpa, uint32_t *expected, uint32_t desired,
                       bool *done)
{
    if (scribbles && gpa / 4096 == sief_gpa(0) / 4096) {
        uint32_t word = 0;

        scribbles--;
        assert_int_equal(model_host_guest_read(fixture.host, gpa, &word, 4), MODEL_ACCESS_OK);
        word ^= model_le32(0x80000000);
        assert_int_equal(model_host_guest_write(fixture.host, gpa, &word, 4), MODEL_ACCESS_OK);
    }
    return inner.gpa_compare_exchange(context, gpa, expected, desired, done);
}

static void take_scribbles(struct hvtlfs_config *config)
{
    inner = config->ops;
    config->ops.gpa_compare_exchange = scribbling;
}

static void test_a_word_that_changes_under_the_exchange_is_tried_64_times(void **state)
{
    static const uint32_t times[] = {0, 1, 2, 63, 64, 65};

    (void)state;
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        bool newly;

        synic_prepare(&fixture, true, SYNIC_FEATURES);
        fixture.adjust = take_scribbles;
        scribbles = 0;
        fixture_start(&fixture);
        synic_enable(fixture.vp);
        scribbles = times[i];
        assert_int_equal(hvtlfs_synic_signal_event(fixture.vp, 3, 5, &newly),
                         times[i] < 64 ? HVTLFS_OK : HVTLFS_ERR_HOST);
        fixture_stop(&fixture);
    }
}

/* A saved queue is all of it: of the first SINT too, and what waits behind a timer's message. */
static void test_a_saved_queue_is_whole(void **state)
{
    static const uint32_t first[] = {1, 2, HvMessageTimerExpired, 3};

    (void)state;
    synic_start(&fixture, false);
    fixture.config.vp_count = 2;
    for (uint32_t i = 1; i <= 2; i++) { /* 1 gets the slot */
        assert_int_equal(post_number(fixture.vp, 2, i), HVTLFS_OK);
        assert_int_equal(post_number(fixture.vp, 0, 10 + i), HVTLFS_OK);
    }
    hvtlfs_vp_poll(fixture.vp);
    expect_write(fixture.vp, HV_X64_MSR_STIMER3_CONFIG, 0x20008);
    expect_write(fixture.vp, HV_X64_MSR_STIMER3_COUNT, 1);
    model_host_advance(fixture.host, 10);
    hvtlfs_vp_poll(fixture.vp);
    assert_int_equal(post_number(fixture.vp, 2, 3), HVTLFS_OK);
    hvtlfs_vp_poll(fixture.vp);
    save_and_load();
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(guest_message(&fixture, 0, 2).header.message_type, first[i]);
        assert_int_equal(guest_empties_slot(&fixture, 0, 2), i < 3);
        expect_write(fixture.vp, HV_X64_MSR_EOM, 0);
    }
    assert_int_equal(guest_message(&fixture, 0, 0).header.message_type, 11);
    (void)guest_empties_slot(&fixture, 0, 0);
    expect_write(fixture.vp, HV_X64_MSR_EOM, 0);
    assert_int_equal(guest_message(&fixture, 0, 0).header.message_type, 12);
    fixture_stop(&fixture);
}

/* Whether a saved message of a timer is one that the timer says it waits for. */
static void test_a_timer_waits_for_its_own_sint_only(void **state)
{
    struct hvti_stimer *timer;

    (void)state;
    synic_start(&fixture, false);
    timer = &fixture.vp->stimer[1];
    timer->config = 0x30001; /* SINT 3 */
    timer->queued = 1;
    assert_true(hvti_stimer_waits(fixture.vp, 1, 3));
    assert_false(hvti_stimer_waits(fixture.vp, 1, 2));
    assert_false(hvti_stimer_waits(fixture.vp, 0, 3));
    timer->config |= HV_MSR_STIMER_CONFIG_DIRECT_MODE;
    assert_false(hvti_stimer_waits(fixture.vp, 1, 3));
    timer->config = 0x30001;
    timer->queued = 0;
    assert_false(hvti_stimer_waits(fixture.vp, 1, 3));
    fixture_stop(&fixture);
}

/* The plan of the next tick (TLFS 12.1.4) where half a period rounds to nothing, and where it is huge. */
static void test_plans_of_extreme_periods(void **state)
{
    static const struct {
        uint64_t now, period, due;
        bool lazy;
        uint64_t new_due, fire;
    } rows[] = {
        {100, 1, 99, false, 99, 101}, /* late by one: again after half a period, at least a unit */
        {100, 1, 100, false, 100, 101},        {100, 1, 99, true, 101, 101},
        {100, 2, 99, false, 99, 101},          {100, 3, 99, false, 99, 101},
        {100, 10, 105, false, 105, 105}, /* on time */
        {100, 10, 105, true, 105, 105},  /* half a period away */
        {100, 10, 104, true, 114, 114},  /* nearer */
        {0, UINT64_MAX, 100, false, 100, 100}, {0, UINT64_C(1) << 63, 100, false, 100, 100},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint64_t due = rows[i].due;
        uint64_t fire = 0;

        hvti_stimer_plan(rows[i].now, rows[i].period, rows[i].lazy, &due, &fire);
        assert_int_equal(due, rows[i].new_due);
        assert_int_equal(fire, rows[i].fire);
    }
}

/* A host that copies says what lies at an address: only over RAM can a page be laid. */
static enum hvtlfs_gpa_kind no_ram(void *context, uint64_t gpa)
{
    return gpa == PAGE ? HVTLFS_GPA_NONE : inner.gpa_probe(context, gpa);
}

static void take_ram(struct hvtlfs_config *config)
{
    inner = config->ops;
    config->ops.gpa_probe = no_ram;
}

static void test_no_page_is_copied_over_what_is_no_ram(void **state)
{
    uint8_t before[16], after[16];

    (void)state;
    fixture_prepare(&fixture);
    fixture.options.copies_overlays = true;
    fixture.features = "hypercall";
    fixture.adjust = take_ram;
    fixture_start(&fixture);
    memcpy(before, model_host_ram(fixture.host, PAGE), sizeof(before));
    expect_write(fixture.vp, HV_X64_MSR_GUEST_OS_ID, LINUX_ID);
    expect_write_fault(fixture.vp, HV_X64_MSR_HYPERCALL, PAGE | 1);
    memcpy(after, model_host_ram(fixture.host, PAGE), sizeof(after));
    assert_memory_equal(before, after, sizeof(before));
    expect_write(fixture.vp, HV_X64_MSR_HYPERCALL, (PAGE + 0x1000) | 1);
    fixture_stop(&fixture);
}

/* TLFS 12.6: periods that were missed give one interrupt; the next is due in the future. */
static void test_a_timer_that_is_late_by_a_whole_period(void **state)
{
    struct hvtlfs_interrupt interrupt;

    (void)state;
    make(UNHALTED, false);
    expect_write(fixture.vp, HV_X64_MSR_STIME_UNHALTED_TIMER_COUNT, 1000);
    expect_write(fixture.vp, HV_X64_MSR_STIME_UNHALTED_TIMER_CONFIG, 0x150);
    model_host_advance(fixture.host, 2000);
    model_host_set_runtime(fixture.host, 0, 2000); /* due at 1000, and at this moment again */
    hvtlfs_vp_poll(fixture.vp);
    assert_true(model_host_take_interrupt(fixture.host, 0, &interrupt));
    assert_false(model_host_take_interrupt(fixture.host, 0, &interrupt));
    hvtlfs_vp_poll(fixture.vp);
    assert_false(model_host_take_interrupt(fixture.host, 0, &interrupt));
    fixture_stop(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_host_hears_again_what_it_keeps_for_the_guest),
        cmocka_unit_test(test_a_host_hears_nothing_where_there_is_nothing),
        cmocka_unit_test(test_no_page_is_copied_over_what_is_no_ram),
        cmocka_unit_test(test_loaded_vps_flush_everything_once),
        cmocka_unit_test(test_two_crashes_at_once_have_one_text),
        cmocka_unit_test(test_the_mark_of_an_expiry_is_one_byte),
        cmocka_unit_test(test_an_assist_page_that_is_away_is_not_marked),
        cmocka_unit_test(test_a_collected_eoi_is_written_as_zero),
        cmocka_unit_test(test_a_promise_out_of_reach_stands),
        cmocka_unit_test(test_the_end_of_any_vector_brings_the_next_message),
        cmocka_unit_test(test_a_post_that_was_late_does_not_survive_a_reset),
        cmocka_unit_test(test_a_reset_leaves_nothing_of_a_synic),
        cmocka_unit_test(test_vectors_end_at_255),
        cmocka_unit_test(test_a_waiting_timer_is_taken_out_of_the_middle),
        cmocka_unit_test(test_a_waiting_timer_is_taken_from_the_end),
        cmocka_unit_test(test_a_deadline_is_the_only_timers),
        cmocka_unit_test(test_a_thaw_kicks_those_with_timers_or_messages),
        cmocka_unit_test(test_a_loaded_timer_agrees_with_the_queue),
        cmocka_unit_test(test_every_sint_can_be_a_proxy),
        cmocka_unit_test(test_a_flag_is_new_when_its_own_bit_was_clear),
        cmocka_unit_test(test_a_slot_that_cannot_be_read_is_not_written),
        cmocka_unit_test(test_a_slot_whose_second_look_fails_is_full),
        cmocka_unit_test(test_a_slot_emptied_meanwhile_takes_the_message_at_once),
        cmocka_unit_test(test_a_timer_does_not_overtake_a_message),
        cmocka_unit_test(test_a_word_that_changes_under_the_exchange_is_tried_64_times),
        cmocka_unit_test(test_a_saved_queue_is_whole),
        cmocka_unit_test(test_a_timer_waits_for_its_own_sint_only),
        cmocka_unit_test(test_plans_of_extreme_periods),
        cmocka_unit_test(test_a_timer_that_is_late_by_a_whole_period),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
