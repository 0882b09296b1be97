/* SPDX-License-Identifier: MIT */
/* The synthetic timers: TLFS 6.0b 12.5. */
#include "synic_fixture.h"

#include <hvtlfs/time.h>

#include "stimer.h"

#define CONFIG(n) (HV_X64_MSR_STIMER0_CONFIG + 2 * (n))
#define COUNT(n) (HV_X64_MSR_STIMER0_COUNT + 2 * (n))

#define ENABLE 0x1u
#define PERIODIC 0x2u
#define LAZY 0x4u
#define AUTO 0x8u
#define DIRECT(vector) (0x1000u | (vector) << 4)
#define SINT(n) ((uint64_t)(n) << 16)

#define MS UINT64_C(10000) /* in 100 ns */

static uint64_t now(struct fixture *fixture)
{
    uint64_t value = 0;

    assert_int_equal(hvtlfs_msr_read(fixture->vp, HV_X64_MSR_TIME_REF_COUNT, &value),
                     HVTLFS_MSR_DONE);
    return value;
}

static void start(struct fixture *fixture)
{
    synic_start(fixture, false);
}

static void pass(struct fixture *fixture, uint64_t time)
{
    model_host_advance(fixture->host, time);
}

/* Let the host act on the VP's deadline if it has come; returns whether it had. */
static bool serve(struct fixture *fixture)
{
    if (model_host_deadline(fixture->host, 0) > now(fixture)) {
        return false;
    }
    hvtlfs_vp_poll(fixture->vp);
    return true;
}

static struct hv_timer_message_payload timer_message(struct fixture *fixture, uint32_t sint)
{
    struct hv_message message = guest_message(fixture, 0, sint);
    struct hv_timer_message_payload payload;

    assert_int_equal(message.header.message_type, 0x80000010);
    assert_int_equal(message.header.payload_size, 24);
    assert_int_equal(message.header.origination_id, 0);
    memcpy(&payload, message.payload, sizeof(payload));
    payload.timer_index = model_le32(payload.timer_index);
    payload.expiration_time = model_le64(payload.expiration_time);
    payload.delivery_time = model_le64(payload.delivery_time);
    assert_int_equal(payload.reserved, 0);
    return payload;
}

/* ---- Registers ---- */

static void test_registers_start_at_zero(void **state)
{
    struct fixture fixture;
    uint32_t n;

    (void)state;
    start(&fixture);
    for (n = 0; n < 4; n++) {
        expect_read(fixture.vp, CONFIG(n), 0);
        expect_read(fixture.vp, COUNT(n), 0);
    }
    assert_true(model_host_deadline(fixture.host, 0) == HVTLFS_TIME_NEVER);
    fixture_stop(&fixture);
}

static void test_registers_fault_without_the_feature(void **state)
{
    struct fixture fixture;
    uint32_t n;

    (void)state;
    synic_prepare(&fixture, false, "synic,vpindex,time-ref-count");
    fixture_start(&fixture);
    for (n = 0; n < 4; n++) {
        expect_read_fault(fixture.vp, CONFIG(n));
        expect_write_fault(fixture.vp, CONFIG(n), 0);
        expect_read_fault(fixture.vp, COUNT(n));
        expect_write_fault(fixture.vp, COUNT(n), 0);
    }
    fixture_stop(&fixture);
}

static void test_reserved_configuration_bits_read_as_zero(void **state)
{
    struct fixture fixture;

    (void)state;
    start(&fixture);
    expect_write(fixture.vp, CONFIG(2), ~(uint64_t)ENABLE);
    expect_read(fixture.vp, CONFIG(2), 0xF1FFE);
    fixture_stop(&fixture);
}

static void test_direct_mode_does_not_exist_without_its_feature(void **state)
{
    struct fixture fixture;

    (void)state;
    synic_prepare(&fixture, false, "synic,vpindex,time-ref-count,stimer");
    fixture_start(&fixture);
    expect_write(fixture.vp, CONFIG(0), DIRECT(0x40) | ENABLE);
    expect_read(fixture.vp, CONFIG(0), 0x400);
    expect_write(fixture.vp, CONFIG(0), DIRECT(0x40) | SINT(1) | ENABLE);
    expect_read(fixture.vp, CONFIG(0), 0x10401);
    fixture_stop(&fixture);
}

static void test_sint_0_without_direct_mode_clears_enable(void **state)
{
    struct fixture fixture;

    (void)state;
    start(&fixture);
    pass(&fixture, MS);
    expect_write(fixture.vp, CONFIG(0), ENABLE | AUTO);
    expect_read(fixture.vp, CONFIG(0), AUTO);
    expect_write(fixture.vp, COUNT(0), 5);
    expect_read(fixture.vp, CONFIG(0), AUTO);
    expect_write(fixture.vp, CONFIG(0), DIRECT(0x40) | ENABLE | AUTO);
    expect_read(fixture.vp, CONFIG(0), DIRECT(0x40) | AUTO); /* and has fired: 5 is past */
    fixture_stop(&fixture);
}

static void test_direct_vector_below_16_clears_enable(void **state)
{
    struct fixture fixture;

    (void)state;
    start(&fixture);
    expect_write(fixture.vp, CONFIG(0), DIRECT(15) | SINT(1) | ENABLE);
    expect_read(fixture.vp, CONFIG(0), DIRECT(15) | SINT(1));
    expect_write(fixture.vp, COUNT(0), 1);
    hvtlfs_vp_poll(fixture.vp);
    expect_no_interrupt(&fixture, 0);
    fixture_stop(&fixture);
}

/* FreeBSD writes a count of 0 and waits for Enable to go. */
static void test_count_0_stops_and_clears_enable(void **state)
{
    struct fixture fixture;

    (void)state;
    start(&fixture);
    expect_write(fixture.vp, COUNT(1), 2 * MS);
    expect_write(fixture.vp, CONFIG(1), SINT(3) | AUTO | ENABLE);
    assert_true(model_host_deadline(fixture.host, 0) == 2 * MS);
    expect_write(fixture.vp, COUNT(1), 0);
    expect_read(fixture.vp, CONFIG(1), SINT(3) | AUTO);
    assert_true(model_host_deadline(fixture.host, 0) == HVTLFS_TIME_NEVER);
    pass(&fixture, 2 * MS);
    hvtlfs_vp_poll(fixture.vp);
    expect_no_interrupt(&fixture, 0);
    fixture_stop(&fixture);
}

static void test_enable_without_a_count_waits_for_one(void **state)
{
    struct fixture fixture;

    (void)state;
    start(&fixture);
    expect_write(fixture.vp, CONFIG(1), SINT(3) | ENABLE);
    expect_read(fixture.vp, CONFIG(1), SINT(3) | ENABLE);
    assert_true(model_host_deadline(fixture.host, 0) == HVTLFS_TIME_NEVER);
    expect_write(fixture.vp, COUNT(1), 2 * MS);
    assert_true(model_host_deadline(fixture.host, 0) == 2 * MS);
    fixture_stop(&fixture);
}

static void test_auto_enable_enables_by_a_count(void **state)
{
    struct fixture fixture;

    (void)state;
    start(&fixture);
    expect_write(fixture.vp, CONFIG(1), SINT(3) | AUTO);
    expect_write(fixture.vp, COUNT(1), 2 * MS);
    expect_read(fixture.vp, CONFIG(1), SINT(3) | AUTO | ENABLE);
    expect_write(fixture.vp, CONFIG(2), SINT(3));
    expect_write(fixture.vp, COUNT(2), 2 * MS);
    expect_read(fixture.vp, CONFIG(2), SINT(3));
    fixture_stop(&fixture);
}

/* ---- One-shot ---- */

static void test_one_shot_in_the_past_fires_at_once(void **state)
{
    struct fixture fixture;

    (void)state;
    start(&fixture);
    pass(&fixture, 5 * MS);
    expect_write(fixture.vp, CONFIG(0), SINT(4) | AUTO);
    expect_write(fixture.vp, COUNT(0), MS);
    expect_interrupt(&fixture, 0, VECTOR + 4, false);
    expect_read(fixture.vp, CONFIG(0), SINT(4) | AUTO);
    assert_int_equal(timer_message(&fixture, 4).timer_index, 0);
    assert_int_equal(timer_message(&fixture, 4).expiration_time, MS);
    assert_int_equal(timer_message(&fixture, 4).delivery_time, 5 * MS);
    fixture_stop(&fixture);
}

static void test_one_shot_never_fires_early(void **state)
{
    struct fixture fixture;
    uint64_t due;

    (void)state;
    start(&fixture);
    due = now(&fixture) + 10;
    expect_write(fixture.vp, CONFIG(3), SINT(4) | AUTO);
    expect_write(fixture.vp, COUNT(3), due);
    while (now(&fixture) < due) {
        expect_no_interrupt(&fixture, 0);
        model_host_clear_events(fixture.host);
        hvtlfs_vp_poll(fixture.vp); /* the host is early: it is asked again */
        assert_int_equal(model_host_events_of(fixture.host, MODEL_EVENT_DEADLINE), 1);
        assert_true(model_host_deadline(fixture.host, 0) == due);
        pass(&fixture, 1);
    }
    expect_no_interrupt(&fixture, 0);
    assert_true(serve(&fixture));
    expect_interrupt(&fixture, 0, VECTOR + 4, false);
    expect_read(fixture.vp, CONFIG(3), SINT(4) | AUTO);
    assert_int_equal(timer_message(&fixture, 4).timer_index, 3);
    assert_true(model_host_deadline(fixture.host, 0) == HVTLFS_TIME_NEVER);
    fixture_stop(&fixture);
}

static void test_time_beyond_2_to_63_is_not_past(void **state)
{
    struct fixture fixture;

    (void)state;
    start(&fixture);
    expect_write(fixture.vp, CONFIG(0), SINT(4) | AUTO);
    expect_write(fixture.vp, COUNT(0), UINT64_C(1) << 63);
    expect_no_interrupt(&fixture, 0);
    assert_true(model_host_deadline(fixture.host, 0) == UINT64_C(1) << 63);
    expect_write(fixture.vp, COUNT(0), UINT64_MAX);
    expect_no_interrupt(&fixture, 0);
    expect_read(fixture.vp, CONFIG(0), SINT(4) | AUTO | ENABLE);
    fixture_stop(&fixture);
}

static void test_four_timers_share_the_earliest_deadline(void **state)
{
    struct fixture fixture;
    uint32_t n;

    (void)state;
    start(&fixture);
    for (n = 0; n < 4; n++) {
        expect_write(fixture.vp, CONFIG(n), SINT(n + 1) | AUTO);
        expect_write(fixture.vp, COUNT(n), (4 - n) * MS);
        assert_true(model_host_deadline(fixture.host, 0) == (4 - n) * MS);
    }
    for (n = 4; n-- > 0;) {
        assert_true(model_host_deadline(fixture.host, 0) == (4 - n) * MS);
        pass(&fixture, MS);
        assert_true(serve(&fixture));
        expect_interrupt(&fixture, 0, VECTOR + n + 1, false);
        expect_no_interrupt(&fixture, 0);
    }
    assert_true(model_host_deadline(fixture.host, 0) == HVTLFS_TIME_NEVER);
    fixture_stop(&fixture);
}

/* ---- Periodic ---- */

static void test_1000_ticks_of_a_message_timer_on_time(void **state)
{
    struct fixture fixture;
    uint32_t tick;

    (void)state;
    start(&fixture);
    expect_write(fixture.vp, COUNT(0), MS);
    expect_write(fixture.vp, CONFIG(0), SINT(2) | PERIODIC | ENABLE);
    for (tick = 1; tick <= 1000; tick++) {
        pass(&fixture, MS - 1);
        assert_false(serve(&fixture));
        pass(&fixture, 1);
        assert_true(serve(&fixture));
        expect_interrupt(&fixture, 0, VECTOR + 2, false);
        assert_int_equal(timer_message(&fixture, 2).expiration_time, tick * MS);
        assert_int_equal(timer_message(&fixture, 2).delivery_time, tick * MS);
        assert_false(guest_empties_slot(&fixture, 0, 2));
        expect_read(fixture.vp, CONFIG(0), SINT(2) | PERIODIC | ENABLE);
    }
    fixture_stop(&fixture);
}

static void test_direct_timer_interrupts_without_a_message(void **state)
{
    struct fixture fixture;
    uint32_t tick;

    (void)state;
    start(&fixture);
    expect_write(fixture.vp, CONFIG(0), DIRECT(0xEC) | PERIODIC | AUTO);
    expect_write(fixture.vp, COUNT(0), MS);
    for (tick = 1; tick <= 1000; tick++) {
        pass(&fixture, MS);
        assert_true(serve(&fixture));
        expect_interrupt(&fixture, 0, 0xEC, false);
        expect_no_interrupt(&fixture, 0);
    }
    expect_slot(&fixture, 0, 0, 0);
    fixture_stop(&fixture);
}

/* Run a direct timer for `ticks` host calls that each come at once, and count its ticks. */
static uint64_t ticks_until(struct fixture *fixture, uint64_t end)
{
    struct hvtlfs_interrupt interrupt;
    uint64_t ticks = 0;

    while (model_host_deadline(fixture->host, 0) <= end) {
        uint64_t deadline = model_host_deadline(fixture->host, 0);

        pass(fixture, deadline > now(fixture) ? deadline - now(fixture) : 0);
        hvtlfs_vp_poll(fixture->vp);
        while (model_host_take_interrupt(fixture->host, 0, &interrupt)) {
            ticks++;
        }
    }
    return ticks;
}

static void test_few_missed_ticks_are_caught_up(void **state)
{
    uint32_t missed;

    (void)state;
    for (missed = 1; missed <= 3; missed++) {
        struct fixture fixture;

        start(&fixture);
        expect_write(fixture.vp, CONFIG(0), DIRECT(0xEC) | PERIODIC | AUTO);
        expect_write(fixture.vp, COUNT(0), MS);
        /* The VP does not run until `missed` further ticks are due. */
        pass(&fixture, (missed + 1) * MS + MS / 4);
        /* By the time of tick 40, 40 have come. */
        assert_int_equal(ticks_until(&fixture, 40 * MS), 40);
        fixture_stop(&fixture);
    }
}

static void test_catching_up_halves_the_period(void **state)
{
    struct fixture fixture;

    (void)state;
    start(&fixture);
    expect_write(fixture.vp, CONFIG(0), DIRECT(0xEC) | PERIODIC | AUTO);
    expect_write(fixture.vp, COUNT(0), MS);
    pass(&fixture, 3 * MS);
    assert_true(serve(&fixture)); /* tick 1, two late */
    assert_true(model_host_deadline(fixture.host, 0) == 3 * MS + MS / 2);
    pass(&fixture, MS / 2);
    assert_true(serve(&fixture)); /* tick 2 at 3.5 */
    assert_true(model_host_deadline(fixture.host, 0) == 4 * MS);
    pass(&fixture, MS / 2);
    assert_true(serve(&fixture)); /* tick 3 at 4.0 */
    assert_true(model_host_deadline(fixture.host, 0) == 4 * MS + MS / 2);
    pass(&fixture, MS / 2);
    assert_true(serve(&fixture)); /* tick 4 at 4.5 */
    assert_true(model_host_deadline(fixture.host, 0) == 5 * MS);
    fixture_stop(&fixture);
}

static void test_many_missed_ticks_are_skipped_and_the_line_is_kept(void **state)
{
    static const uint64_t missed[] = {5, 6, 10, 1000, 1000000, UINT64_C(1) << 40};
    uint32_t i;

    (void)state;
    for (i = 0; i < sizeof(missed) / sizeof(missed[0]); i++) {
        struct fixture fixture;

        start(&fixture);
        expect_write(fixture.vp, CONFIG(0), DIRECT(0xEC) | PERIODIC | AUTO);
        expect_write(fixture.vp, COUNT(0), MS);
        pass(&fixture, (missed[i] + 1) * MS + 7);
        model_host_clear_events(fixture.host);
        assert_true(serve(&fixture));
        assert_int_equal(model_host_interrupt_count(fixture.host, 0), 1);
        assert_true(model_host_deadline(fixture.host, 0) == (missed[i] + 2) * MS);
        fixture_stop(&fixture);
    }
}

/* Any number missed, any period: the plan against its definition, by 128-bit arithmetic. */
static void test_plan_for_any_number_missed(void **state)
{
    static const uint64_t periods[] = {1,
                                       2,
                                       3,
                                       10,
                                       9999,
                                       10000,
                                       UINT64_C(0x123456789AB),
                                       UINT64_C(1) << 62,
                                       UINT64_C(1) << 63,
                                       UINT64_MAX};
    uint32_t p;
    uint32_t n;

    (void)state;
    for (p = 0; p < sizeof(periods) / sizeof(periods[0]); p++) {
        uint64_t period = periods[p];

        for (n = 0; n < 4000; n++) {
            uint64_t due = n * UINT64_C(0x9E3779B97F4A7C15) >> n % 64;
            uint64_t span = n * UINT64_C(0xC2B2AE3D27D4EB4F) >> (n / 3) % 64;
            uint64_t time = span > UINT64_MAX - due ? UINT64_MAX : due + span;
            uint64_t behind = (time - due) / period;
            uint64_t next = due;
            uint64_t fire = 0;

            hvti_stimer_plan(time, period, false, &next, &fire);
            if (behind < 4) {
                assert_true(next == due);
                assert_true(fire >= time);
                assert_true(fire - time <= (period / 2 ? period / 2 : 1));
            } else if (behind + 1 <= (UINT64_MAX - due) / period) {
                assert_true(next == due + (behind + 1) * period);
                assert_true(fire == next && next > time);
            } else {
                assert_true(next == HVTLFS_TIME_NEVER);
            }
        }
    }
}

static void test_lazy_plan_skips_and_keeps_half_a_period_away(void **state)
{
    uint64_t late;

    (void)state;
    for (late = 0; late < 100 * MS; late += MS / 8) {
        uint64_t due = 10 * MS;
        uint64_t fire = 0;

        hvti_stimer_plan(9 * MS + late, MS, true, &due, &fire);
        assert_true(due % MS == 0);
        assert_true(fire == due);
        assert_true(fire - (9 * MS + late) >= MS / 2);
        assert_true(fire - (9 * MS + late) < MS + MS / 2);
    }
}

static void test_remainder_is_exact(void **state)
{
    uint64_t value = 1;
    uint64_t unit = 1;
    uint32_t i;

    (void)state;
    for (i = 0; i < 200000; i++) {
        value = value * UINT64_C(6364136223846793005) + 1442695040888963407;
        unit = unit * UINT64_C(2862933555777941757) + 3037000493;
        {
            uint64_t v = value >> i % 64;
            uint64_t u = (unit >> (i / 64) % 64) | 1;

            assert_true(hvti_remainder(v, u) == v % u);
        }
    }
    assert_true(hvti_remainder(UINT64_MAX, 1) == 0);
    assert_true(hvti_remainder(UINT64_MAX, UINT64_MAX) == 0);
    assert_true(hvti_remainder(UINT64_MAX - 1, UINT64_MAX) == UINT64_MAX - 1);
    assert_true(hvti_remainder(0, 7) == 0);
}

static void test_lazy_timer_skips_what_was_missed(void **state)
{
    struct fixture fixture;

    (void)state;
    start(&fixture);
    expect_write(fixture.vp, CONFIG(0), DIRECT(0xEC) | PERIODIC | LAZY | AUTO);
    expect_write(fixture.vp, COUNT(0), MS);
    pass(&fixture, MS);
    assert_true(serve(&fixture));
    assert_true(model_host_deadline(fixture.host, 0) == 2 * MS);
    pass(&fixture, 2 * MS + MS / 4); /* 3.25: ticks 2 and 3 were due */
    assert_true(serve(&fixture));
    assert_int_equal(model_host_interrupt_count(fixture.host, 0), 2);
    assert_true(model_host_deadline(fixture.host, 0) == 4 * MS);
    pass(&fixture, MS + MS / 2 + MS / 4); /* 5.0: both 4 and 5 were due, 6 is next */
    assert_true(serve(&fixture));
    assert_int_equal(model_host_interrupt_count(fixture.host, 0), 3);
    assert_true(model_host_deadline(fixture.host, 0) == 6 * MS);
    pass(&fixture, MS + MS * 3 / 4); /* 6.75: tick 7 is near, and skipped */
    assert_true(serve(&fixture));
    assert_int_equal(model_host_interrupt_count(fixture.host, 0), 4);
    assert_true(model_host_deadline(fixture.host, 0) == 8 * MS);
    fixture_stop(&fixture);
}

static void test_period_beyond_all_time_never_fires(void **state)
{
    struct fixture fixture;

    (void)state;
    start(&fixture);
    pass(&fixture, MS);
    expect_write(fixture.vp, CONFIG(0), DIRECT(0xEC) | PERIODIC | AUTO);
    expect_write(fixture.vp, COUNT(0), UINT64_MAX);
    hvtlfs_vp_poll(fixture.vp);
    expect_no_interrupt(&fixture, 0);
    assert_true(model_host_deadline(fixture.host, 0) == HVTLFS_TIME_NEVER);
    fixture_stop(&fixture);
}

/* ---- Messages that wait ---- */

static void test_busy_slot_delays_the_message_and_the_next_tick(void **state)
{
    struct fixture fixture;

    (void)state;
    start(&fixture);
    assert_int_equal(post_number(fixture.vp, 2, 5), HVTLFS_OK);
    hvtlfs_vp_poll(fixture.vp);
    expect_interrupt(&fixture, 0, VECTOR + 2, false);
    expect_write(fixture.vp, COUNT(0), MS);
    expect_write(fixture.vp, CONFIG(0), SINT(2) | PERIODIC | ENABLE);
    pass(&fixture, MS);
    assert_true(serve(&fixture));
    expect_slot(&fixture, 0, 2, 5);
    expect_no_interrupt(&fixture, 0);
    assert_true(model_host_deadline(fixture.host, 0) == HVTLFS_TIME_NEVER);
    assert_true(guest_empties_slot(&fixture, 0, 2));
    pass(&fixture, MS / 4);
    expect_write(fixture.vp, HV_X64_MSR_EOM, 0);
    expect_interrupt(&fixture, 0, VECTOR + 2, false);
    assert_int_equal(timer_message(&fixture, 2).expiration_time, MS);
    assert_int_equal(timer_message(&fixture, 2).delivery_time, MS + MS / 4);
    assert_true(model_host_deadline(fixture.host, 0) == 2 * MS);
    fixture_stop(&fixture);
}

static void test_four_timers_on_one_sint_keep_their_order(void **state)
{
    struct fixture fixture;
    uint32_t n;

    (void)state;
    start(&fixture);
    for (n = 0; n < 4; n++) {
        expect_write(fixture.vp, CONFIG(n), SINT(2) | AUTO);
        expect_write(fixture.vp, COUNT(n), MS + n);
    }
    pass(&fixture, MS + 10);
    assert_true(serve(&fixture));
    assert_int_equal(post_number(fixture.vp, 2, 9), HVTLFS_OK);
    for (n = 0; n < 4; n++) {
        assert_int_equal(timer_message(&fixture, 2).timer_index, n);
        assert_int_equal(timer_message(&fixture, 2).expiration_time, MS + n);
        (void)guest_empties_slot(&fixture, 0, 2);
        expect_write(fixture.vp, HV_X64_MSR_EOM, 0);
    }
    expect_slot(&fixture, 0, 2, 9);
    fixture_stop(&fixture);
}

static void test_disabled_synic_keeps_the_message_until_it_is_enabled(void **state)
{
    struct fixture fixture;

    (void)state;
    start(&fixture);
    expect_write(fixture.vp, HV_X64_MSR_SCONTROL, 0);
    expect_write(fixture.vp, CONFIG(0), SINT(2) | AUTO);
    expect_write(fixture.vp, COUNT(0), MS);
    pass(&fixture, MS);
    assert_true(serve(&fixture));
    expect_no_interrupt(&fixture, 0);
    expect_write(fixture.vp, HV_X64_MSR_SCONTROL, 1);
    expect_interrupt(&fixture, 0, VECTOR + 2, false);
    assert_int_equal(timer_message(&fixture, 2).expiration_time, MS);
    fixture_stop(&fixture);
}

static void test_stopping_takes_back_a_message_that_waits(void **state)
{
    struct fixture fixture;

    (void)state;
    start(&fixture);
    assert_int_equal(post_number(fixture.vp, 2, 1), HVTLFS_OK);
    hvtlfs_vp_poll(fixture.vp);
    expect_write(fixture.vp, CONFIG(0), SINT(2) | AUTO);
    expect_write(fixture.vp, COUNT(0), MS);
    pass(&fixture, MS);
    assert_true(serve(&fixture));
    assert_int_equal(post_number(fixture.vp, 2, 2), HVTLFS_OK);
    expect_write(fixture.vp, COUNT(0), 0);
    (void)guest_empties_slot(&fixture, 0, 2);
    expect_write(fixture.vp, HV_X64_MSR_EOM, 0);
    expect_slot(&fixture, 0, 2, 2);
    assert_false(guest_empties_slot(&fixture, 0, 2));
    expect_write(fixture.vp, HV_X64_MSR_EOM, 0);
    expect_slot(&fixture, 0, 2, 0);
    fixture_stop(&fixture);
}

/* ---- Time that stands still ---- */

static void test_frozen_time_expires_nothing_and_thawing_arms_again(void **state)
{
    struct fixture fixture;

    (void)state;
    start(&fixture);
    expect_write(fixture.vp, COUNT(0), MS);
    expect_write(fixture.vp, CONFIG(0), DIRECT(0xEC) | PERIODIC | ENABLE);
    expect_write(fixture.vp, CONFIG(1), DIRECT(0xED) | AUTO);
    expect_write(fixture.vp, COUNT(1), MS + 5);
    pass(&fixture, MS - 1);
    assert_int_equal(hvtlfs_freeze(fixture.partition), HVTLFS_OK);
    pass(&fixture, 100 * MS);
    /* The host's timer goes on until the VP's thread takes it back. */
    assert_true(model_host_deadline(fixture.host, 0) == MS);
    hvtlfs_vp_poll(fixture.vp);
    expect_no_interrupt(&fixture, 0);
    assert_true(model_host_deadline(fixture.host, 0) == HVTLFS_TIME_NEVER);
    /* A guest that is still there may even set a timer for the past. */
    expect_write(fixture.vp, CONFIG(2), DIRECT(0xEE) | AUTO);
    expect_write(fixture.vp, COUNT(2), 1);
    expect_no_interrupt(&fixture, 0);
    assert_true(model_host_take_kick(fixture.host) == HVTLFS_NO_VP);
    assert_int_equal(hvtlfs_thaw(fixture.partition, 0), HVTLFS_OK);
    assert_int_equal(model_host_take_kick(fixture.host), 0);
    hvtlfs_vp_poll(fixture.vp);
    expect_interrupt(&fixture, 0, 0xEE, false);
    expect_no_interrupt(&fixture, 0);
    assert_true(model_host_deadline(fixture.host, 0) == MS);
    pass(&fixture, 1);
    assert_true(serve(&fixture));
    expect_interrupt(&fixture, 0, 0xEC, false);
    assert_true(model_host_deadline(fixture.host, 0) == MS + 5);
    fixture_stop(&fixture);
}

static void test_deadline_is_the_same_reference_time_after_a_migration(void **state)
{
    struct fixture fixture;

    (void)state;
    synic_prepare(&fixture, false, SYNIC_FEATURES ",reference-tsc");
    fixture.config.invariant_tsc = true;
    fixture_start(&fixture);
    synic_enable(fixture.vp);
    expect_write(fixture.vp, CONFIG(1), DIRECT(0xED) | AUTO);
    expect_write(fixture.vp, COUNT(1), 10 * MS);
    pass(&fixture, 4 * MS);
    assert_int_equal(hvtlfs_freeze(fixture.partition), HVTLFS_OK);
    model_host_set_tsc_hz(fixture.host, 3000000000);
    model_host_set_tsc(fixture.host, 17);
    assert_int_equal(hvtlfs_migrate(fixture.partition, 3000000000, true), HVTLFS_OK);
    assert_int_equal(hvtlfs_thaw(fixture.partition, 0), HVTLFS_OK);
    model_host_clear_events(fixture.host);
    hvtlfs_vp_poll(fixture.vp);
    assert_int_equal(model_host_events_of(fixture.host, MODEL_EVENT_DEADLINE), 1);
    assert_true(model_host_deadline(fixture.host, 0) == 10 * MS);
    pass(&fixture, 6 * MS - 2);
    hvtlfs_vp_poll(fixture.vp);
    expect_no_interrupt(&fixture, 0);
    pass(&fixture, 3);
    hvtlfs_vp_poll(fixture.vp);
    expect_interrupt(&fixture, 0, 0xED, false);
    fixture_stop(&fixture);
}

static void test_reset_stops_everything(void **state)
{
    struct fixture fixture;

    (void)state;
    start(&fixture);
    expect_write(fixture.vp, COUNT(0), MS);
    expect_write(fixture.vp, CONFIG(0), SINT(2) | PERIODIC | ENABLE);
    expect_write(fixture.vp, COUNT(1), MS);
    expect_write(fixture.vp, CONFIG(1), DIRECT(0xEC) | ENABLE);
    hvtlfs_vp_reset(fixture.vp);
    assert_true(model_host_deadline(fixture.host, 0) == HVTLFS_TIME_NEVER);
    expect_read(fixture.vp, CONFIG(0), 0);
    expect_read(fixture.vp, COUNT(0), 0);
    pass(&fixture, 10 * MS);
    hvtlfs_vp_poll(fixture.vp);
    expect_no_interrupt(&fixture, 0);
    fixture_stop(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_registers_start_at_zero),
        cmocka_unit_test(test_registers_fault_without_the_feature),
        cmocka_unit_test(test_reserved_configuration_bits_read_as_zero),
        cmocka_unit_test(test_direct_mode_does_not_exist_without_its_feature),
        cmocka_unit_test(test_sint_0_without_direct_mode_clears_enable),
        cmocka_unit_test(test_direct_vector_below_16_clears_enable),
        cmocka_unit_test(test_count_0_stops_and_clears_enable),
        cmocka_unit_test(test_enable_without_a_count_waits_for_one),
        cmocka_unit_test(test_auto_enable_enables_by_a_count),
        cmocka_unit_test(test_one_shot_in_the_past_fires_at_once),
        cmocka_unit_test(test_one_shot_never_fires_early),
        cmocka_unit_test(test_time_beyond_2_to_63_is_not_past),
        cmocka_unit_test(test_four_timers_share_the_earliest_deadline),
        cmocka_unit_test(test_1000_ticks_of_a_message_timer_on_time),
        cmocka_unit_test(test_direct_timer_interrupts_without_a_message),
        cmocka_unit_test(test_few_missed_ticks_are_caught_up),
        cmocka_unit_test(test_catching_up_halves_the_period),
        cmocka_unit_test(test_many_missed_ticks_are_skipped_and_the_line_is_kept),
        cmocka_unit_test(test_plan_for_any_number_missed),
        cmocka_unit_test(test_lazy_plan_skips_and_keeps_half_a_period_away),
        cmocka_unit_test(test_remainder_is_exact),
        cmocka_unit_test(test_lazy_timer_skips_what_was_missed),
        cmocka_unit_test(test_period_beyond_all_time_never_fires),
        cmocka_unit_test(test_busy_slot_delays_the_message_and_the_next_tick),
        cmocka_unit_test(test_four_timers_on_one_sint_keep_their_order),
        cmocka_unit_test(test_disabled_synic_keeps_the_message_until_it_is_enabled),
        cmocka_unit_test(test_stopping_takes_back_a_message_that_waits),
        cmocka_unit_test(test_frozen_time_expires_nothing_and_thawing_arms_again),
        cmocka_unit_test(test_deadline_is_the_same_reference_time_after_a_migration),
        cmocka_unit_test(test_reset_stops_everything),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
