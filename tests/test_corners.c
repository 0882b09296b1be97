/* SPDX-License-Identifier: MIT */
/*
 * Corners of the way: what a failing host or two threads that meet bring about, brought about by hand.
 * Where only another thread could do it, the test plays that thread inside a callback, or writes what it
 * would have written.
 */
#include "guest_call.h"
#include "state.h"
#include "synic_fixture.h"

#include <hvtlfs/describe.h>
#include <hvtlfs/flush.h>
#include <hvtlfs/state.h>
#include <hvtlfs/time.h>
#include <hvtlfs/vapic.h>

static struct fixture fixture;
static struct hvtlfs_host_ops inner;

static uint64_t now(void)
{
    return hvtlfs_reference_time(fixture.vp);
}

static uint64_t msr_time(void)
{
    uint64_t value = 0;

    assert_int_equal(hvtlfs_msr_read(fixture.vp, HV_X64_MSR_TIME_REF_COUNT, &value),
                     HVTLFS_MSR_DONE);
    return value;
}

/* ---- The clock ---- */

/* While the parameters are being changed a reader asks behind the lock, and gets the same time. */
static void test_a_reader_that_meets_a_change_waits_for_it(void **state)
{
    uint64_t before;

    (void)state;
    for (int invariant = 0; invariant < 2; invariant++) {
        fixture_prepare(&fixture);
        fixture.features = "time";
        fixture.config.invariant_tsc = invariant;
        fixture_start(&fixture);
        model_host_advance(fixture.host, 12345);
        before = now();
        fixture.partition->clock.changes++;
        assert_in_range(now(), before, before + 1);
        assert_in_range(msr_time(), before, before + 1);
        fixture.partition->clock.changes++;
        fixture_stop(&fixture);
    }
}

static void without_tsc(struct hvtlfs_config *config)
{
    config->ops.guest_tsc = NULL;
    config->tsc_hz = 0;
}

static void test_time_goes_on_after_a_move_without_any_tsc(void **state)
{
    uint64_t before;

    (void)state;
    fixture_prepare(&fixture);
    fixture.features = "time-ref-count";
    fixture.adjust = without_tsc;
    fixture_start(&fixture);
    model_host_advance(fixture.host, 1000);
    before = now();
    assert_int_equal(hvtlfs_freeze(fixture.partition), HVTLFS_OK);
    assert_int_equal(hvtlfs_migrate(fixture.partition, 0, false), HVTLFS_OK);
    assert_int_equal(hvtlfs_thaw(fixture.partition, 500), HVTLFS_OK);
    assert_in_range(now(), before + 500, before + 501);
    fixture_stop(&fixture);
}

static void take_guest_tsc(struct hvtlfs_config *config)
{
    config->ops.guest_tsc = NULL;
}

/* The rate alone is no clock: without the callback it is the host's. */
static void test_an_invariant_tsc_that_cannot_be_read(void **state)
{
    (void)state;
    fixture_prepare(&fixture);
    fixture.features = "time-ref-count";
    fixture.config.invariant_tsc = true;
    fixture.adjust = take_guest_tsc;
    fixture_start(&fixture);
    model_host_advance(fixture.host, 1000);
    assert_in_range(now(), 1000, 1001);
    fixture_stop(&fixture);
}

/* A partition without any clock can be moved too. */
static void test_a_partition_without_time_is_moved(void **state)
{
    (void)state;
    fixture_prepare(&fixture);
    fixture_start(&fixture);
    assert_int_equal(hvtlfs_freeze(fixture.partition), HVTLFS_OK);
    assert_int_equal(hvtlfs_migrate(fixture.partition, 0, false), HVTLFS_OK);
    assert_int_equal(hvtlfs_thaw(fixture.partition, 0), HVTLFS_OK);
    fixture_stop(&fixture);
}

/* Leaf 0x80000007 is hidden only where TSC_INVARIANT_CONTROL is offered. */
static void test_the_invariant_bit_is_left_alone_without_its_control(void **state)
{
    struct hvtlfs_cpuid_regs regs = {.edx = 0x100};

    (void)state;
    fixture_prepare(&fixture);
    fixture_start(&fixture);
    assert_false(hvtlfs_cpuid(fixture.vp, 0x80000007, 0, &regs));
    assert_int_equal(regs.edx, 0x100);
    fixture_stop(&fixture);
}

static void test_a_guest_that_reads_the_msr_with_a_valid_page_is_named(void **state)
{
    static char text[8000];

    (void)state;
    fixture_prepare(&fixture);
    fixture.features = "time";
    fixture.config.invariant_tsc = true;
    fixture_start(&fixture);
    expect_write(fixture.vp, HV_X64_MSR_REFERENCE_TSC, 0x7001);
    for (int i = 0; i < 1000; i++) {
        (void)msr_time();
    }
    hvtlfs_describe(fixture.partition, HVTLFS_FORMAT_TEXT, text, sizeof(text));
    assert_null(strstr(text, "does not trust its TSC"));
    (void)msr_time();
    hvtlfs_describe(fixture.partition, HVTLFS_FORMAT_TEXT, text, sizeof(text));
    assert_non_null(strstr(text, "does not trust its TSC"));
    fixture_stop(&fixture);
}

/* A host that fails at the nth write of a copied page: the page is invalid, and valid the next time. */
static void test_a_tsc_page_that_cannot_be_written_is_invalid(void **state)
{
    (void)state;
    for (uint64_t nth = 1; nth <= 8; nth++) {
        fixture_prepare(&fixture);
        fixture.options.copies_overlays = true;
        fixture.features = "time,frequencies";
        fixture.config.invariant_tsc = true;
        fixture.config.apic_hz = 1;
        fixture_start(&fixture);
        expect_write(fixture.vp, HV_X64_MSR_REFERENCE_TSC, 0x7001);
        assert_int_equal(hvtlfs_freeze(fixture.partition), HVTLFS_OK);
        assert_int_equal(model_host_guest_read32(fixture.host, 0x7000), 0);
        model_host_fail(fixture.host, nth, true);
        assert_int_equal(hvtlfs_thaw(fixture.partition, 77), HVTLFS_OK);
        if (hvtlfs_tsc_page_query(fixture.partition) != HVTLFS_TSC_PAGE_VALID) {
            assert_int_equal(hvtlfs_tsc_page_query(fixture.partition),
                             HVTLFS_TSC_PAGE_WRITE_FAILED);
            assert_int_equal(model_host_guest_read32(fixture.host, 0x7000), 0);
        }
        model_host_fail(fixture.host, 0, false);
        assert_int_equal(hvtlfs_freeze(fixture.partition), HVTLFS_OK);
        assert_int_equal(hvtlfs_thaw(fixture.partition, 0), HVTLFS_OK);
        assert_int_equal(hvtlfs_tsc_page_query(fixture.partition), HVTLFS_TSC_PAGE_VALID);
        assert_int_not_equal(model_host_guest_read32(fixture.host, 0x7000), 0);
        fixture_stop(&fixture);
    }
}

/* ---- Timers while time stands still ---- */

static void test_a_frozen_partition_expires_nothing(void **state)
{
    (void)state;
    fixture_prepare(&fixture);
    fixture.features = SYNIC_FEATURES ",vapic,runtime,unhalted-timer";
    fixture_start(&fixture);
    synic_enable(fixture.vp);
    expect_write(fixture.vp, HV_X64_MSR_STIMER0_CONFIG, 0x1509); /* direct, vector 0x50 */
    expect_write(fixture.vp, HV_X64_MSR_STIMER0_COUNT, now() + 1000);
    expect_write(fixture.vp, HV_X64_MSR_STIME_UNHALTED_TIMER_COUNT, 1000);
    expect_write(fixture.vp, HV_X64_MSR_STIME_UNHALTED_TIMER_CONFIG, 0x141);
    model_host_advance(fixture.host, 2000);
    model_host_set_runtime(fixture.host, 0, 5000);
    assert_int_equal(hvtlfs_freeze(fixture.partition), HVTLFS_OK);
    hvtlfs_vp_poll(fixture.vp);
    expect_no_interrupt(&fixture, 0);
    assert_int_equal(hvtlfs_thaw(fixture.partition, 0), HVTLFS_OK);
    hvtlfs_vp_poll(fixture.vp);
    assert_int_equal(model_host_interrupt_count(fixture.host, 0), 2);
    fixture_stop(&fixture);
}

/* Polled after its next time while its message still waits: one message, and no tick is counted twice. */
static void test_a_periodic_timer_whose_message_waits_is_not_due(void **state)
{
    (void)state;
    synic_start(&fixture, false);
    assert_int_equal(post_number(fixture.vp, 2, 5), HVTLFS_OK);
    hvtlfs_vp_poll(fixture.vp);
    expect_write(fixture.vp, HV_X64_MSR_STIMER0_CONFIG,
                 0x2000A); /* SINT 2, periodic, auto-enable */
    expect_write(fixture.vp, HV_X64_MSR_STIMER0_COUNT, 1000);
    model_host_advance(fixture.host, 1000);
    hvtlfs_vp_poll(fixture.vp);
    model_host_advance(fixture.host, 5000);
    hvtlfs_vp_poll(fixture.vp);
    hvtlfs_vp_poll(fixture.vp);
    assert_true(guest_empties_slot(&fixture, 0, 2));
    expect_write(fixture.vp, HV_X64_MSR_EOM, 0);
    assert_int_equal(guest_message(&fixture, 0, 2).header.message_type, HvMessageTimerExpired);
    assert_false(guest_empties_slot(&fixture, 0, 2));
    fixture_stop(&fixture);
}

/* ---- Buffers ---- */

static uint32_t sum_of_rights(void)
{
    uint32_t sum = fixture.partition->messages.unreserved;

    for (uint32_t sint = 0; sint < HV_SYNIC_SINT_COUNT; sint++) {
        sum += fixture.vp->synic.queued[sint];
    }
    return sum;
}

/* All bits set: as if every buffer was taken by somebody at the moment of the search. */
static void take_all_buffers(uint32_t *kept)
{
    uint32_t *used = fixture.partition->messages.used;
    uint32_t words = (fixture.partition->messages.count + 31) / 32;

    memcpy(kept, used, words * sizeof(*used));
    memset(used, 0xFF, words * sizeof(*used));
}

static void give_all_buffers(const uint32_t *kept)
{
    uint32_t words = (fixture.partition->messages.count + 31) / 32;

    memcpy(fixture.partition->messages.used, kept, words * sizeof(*kept));
}

static void test_a_post_that_finds_no_buffer_gives_its_right_back(void **state)
{
    struct hvtlfs_connection connection = {.size = sizeof(connection),
                                           .connection_id = 1,
                                           .type = HVTLFS_CONNECTION_MESSAGE,
                                           .sint = 3};
    const uint32_t payload = 1;
    const struct hvtlfs_message message = {.type = 1, .size = 4, .payload = &payload};
    uint32_t kept[256], rights;

    (void)state;
    synic_start(&fixture, false);
    assert_in_range(fixture.partition->messages.count, 1, 256 * 32);
    assert_int_equal(hvtlfs_connection_add(fixture.partition, &connection), HVTLFS_OK);
    rights = sum_of_rights();
    take_all_buffers(kept);
    assert_int_equal(post_number(fixture.vp, 2, 1), HVTLFS_ERR_FULL);
    assert_int_equal(hvtlfs_connection_post(fixture.partition, 1, &message), HVTLFS_ERR_FULL);
    give_all_buffers(kept);
    assert_int_equal(sum_of_rights(), rights);
    assert_int_equal(fixture.vp->synic.queued[2], 0);
    assert_int_equal(fixture.partition->connections.rows[0].queued, 0);
    assert_int_equal(post_number(fixture.vp, 2, 1), HVTLFS_OK);
    assert_int_equal(hvtlfs_connection_post(fixture.partition, 1, &message), HVTLFS_OK);
    hvtlfs_vp_poll(fixture.vp);
    expect_slot(&fixture, 0, 2, 1);
    expect_slot(&fixture, 0, 3, 1);
    fixture_stop(&fixture);
}

/* With one buffer in the partition no SINT owns any: what is loaded counts from the first message. */
static void test_a_state_is_loaded_where_no_sint_owns_a_buffer(void **state)
{
    uint8_t *bytes = NULL;
    size_t size = 0, used;

    (void)state;
    for (int loading = 0; loading < 2; loading++) {
        synic_prepare(&fixture, false, SYNIC_FEATURES);
        fixture.config.message_buffers = 1;
        fixture_start(&fixture);
        if (!loading) {
            synic_enable(fixture.vp);
            assert_int_equal(post_number(fixture.vp, 2, 5), HVTLFS_OK);
            assert_int_equal(hvtlfs_freeze(fixture.partition), HVTLFS_OK);
            size = hvtlfs_state_size(fixture.partition);
            bytes = malloc(size);
            assert_non_null(bytes);
            assert_int_equal(hvtlfs_state_save(fixture.partition, bytes, size, &used, NULL),
                             HVTLFS_OK);
        } else {
            assert_int_equal(hvtlfs_state_load(fixture.partition, bytes, size, NULL), HVTLFS_OK);
            assert_int_equal(hvtlfs_thaw(fixture.partition, 0), HVTLFS_OK);
            hvtlfs_vp_poll(fixture.vp);
            expect_slot(&fixture, 0, 2, 5);
        }
        fixture_stop(&fixture);
    }
    free(bytes);
}

/* What does not wait is not withdrawn, and what waits is not put there twice. */
static void test_a_timers_message_waits_once(void **state)
{
    (void)state;
    synic_start(&fixture, false);
    hvti_synic_withdraw_timer(fixture.vp, 0, 2);
    assert_int_equal(fixture.vp->synic.waiting, 0);
    fixture.vp->stimer[1].config = 0x20001;
    fixture.vp->stimer[1].queued = 1;
    assert_true(hvti_synic_restore(fixture.vp, 2, 2, NULL));
    assert_int_equal(fixture.vp->synic.waiting, 4);
    assert_true(hvti_synic_restore(fixture.vp, 2, 2, NULL));
    hvti_synic_withdraw_timer(fixture.vp, 0, 2); /* another one's */
    assert_int_equal(fixture.vp->synic.waiting, 4);
    hvti_synic_withdraw_timer(fixture.vp, 1, 2);
    assert_int_equal(fixture.vp->synic.waiting, 0);
    fixture_stop(&fixture);
}

static void test_a_message_that_cannot_be_restored_takes_nothing(void **state)
{
    const struct hv_message message = {.header = {.message_type = 1}};
    uint32_t kept[256], unreserved, rights;

    (void)state;
    synic_start(&fixture, false);
    rights = sum_of_rights();
    take_all_buffers(kept);
    assert_false(hvti_synic_restore(fixture.vp, 2, 0, &message));
    give_all_buffers(kept);
    assert_int_equal(sum_of_rights(), rights);
    assert_true(hvti_synic_restore(fixture.vp, 2, 0, &message)); /* the SINT's own buffer */
    unreserved = fixture.partition->messages.unreserved;
    fixture.partition->messages.unreserved = 0;
    assert_false(hvti_synic_restore(fixture.vp, 2, 0, &message));
    fixture.partition->messages.unreserved = unreserved;
    assert_true(hvti_synic_restore(fixture.vp, 2, 0, &message));
    fixture_stop(&fixture);
}

/* docs/SYNIC.md: 24 buffers a VP beside the connections' sixteen each let every SINT own one, 9 half. */
static void test_own_buffers_come_by_halves(void **state)
{
    static const struct {
        uint32_t buffers, vps, connections, own, unreserved;
    } cases[] = {
        {1, 1, 0, 0, 1},   {8, 1, 0, 0, 8},   {9, 1, 0, 8, 1},    {23, 1, 0, 8, 15},
        {24, 1, 0, 16, 8}, {47, 2, 0, 8, 31}, {48, 2, 0, 16, 16}, {16, 1, 1, 0, 16},
        {10, 1, 1, 0, 10}, {39, 1, 1, 8, 31}, {40, 1, 1, 16, 24},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct hvti_messages messages = {.count = cases[i].buffers};

        hvti_messages_own(&messages, cases[i].vps, cases[i].connections);
        assert_int_equal(messages.own_sints, cases[i].own);
        assert_int_equal(messages.unreserved, cases[i].unreserved);
    }
}

/* ---- Connections ---- */

/* The row became another's between the first look and the reference. */
static void test_a_row_that_changes_under_the_search_is_left(void **state)
{
    struct hvtlfs_connection connection = {.size = sizeof(connection),
                                           .connection_id = 1,
                                           .type = HVTLFS_CONNECTION_EVENT,
                                           .sint = 3,
                                           .flag_count = 1};
    uint32_t references;

    (void)state;
    synic_start(&fixture, false);
    assert_int_equal(hvtlfs_connection_add(fixture.partition, &connection), HVTLFS_OK);
    references = fixture.partition->connections.rows[0].state;
    fixture.partition->connections.rows[0].id = 2;
    assert_int_equal(hvtlfs_connection_signal(fixture.partition, 2, 0), HVTLFS_ERR_NOT_FOUND);
    assert_int_equal(fixture.partition->connections.rows[0].state, references);
    fixture.partition->connections.rows[0].id = 1;
    assert_int_equal(hvtlfs_connection_signal(fixture.partition, 1, 0), HVTLFS_OK);
    fixture_stop(&fixture);
}

/* To any VP: the poster's own does not take messages, another does. A handler is for guests only. */
static void test_the_hosts_and_a_closed_vps_posts(void **state)
{
    struct hvtlfs_connection connection = {.size = sizeof(connection),
                                           .connection_id = 1,
                                           .type = HVTLFS_CONNECTION_MESSAGE,
                                           .vp_index = HVTLFS_NO_VP,
                                           .sint = 3};
    const uint32_t payload = 9;
    const struct hvtlfs_message message = {.type = 9, .size = 4, .payload = &payload};
    struct hvtlfs_vp *other;

    (void)state;
    synic_start(&fixture, false);
    other = hvtlfs_partition_vp(fixture.partition, 1);
    synic_enable(other);
    expect_write(fixture.vp, HV_X64_MSR_SCONTROL, 0);
    assert_int_equal(hvtlfs_connection_add(fixture.partition, &connection), HVTLFS_OK);
    assert_int_equal(hvti_post_message(fixture.vp, 1, 9, &payload, 4), HV_STATUS_SUCCESS);
    hvtlfs_vp_poll(other);
    expect_slot(&fixture, 1, 3, 9);
    (void)guest_empties_slot(&fixture, 1, 3);
    assert_int_equal(hvtlfs_connection_post(fixture.partition, 1, &message), HVTLFS_OK);
    hvtlfs_vp_poll(other);
    expect_slot(&fixture, 1, 3, 9);
    connection.connection_id = 2;
    connection.post = model_host_post;
    connection.context = fixture.host;
    assert_int_equal(hvtlfs_connection_add(fixture.partition, &connection), HVTLFS_OK);
    assert_int_equal(hvtlfs_connection_post(fixture.partition, 2, &message), HVTLFS_ERR_NOT_FOUND);
    assert_int_equal(hvti_post_message(fixture.vp, 2, 9, &payload, 4), HV_STATUS_SUCCESS);
    assert_int_equal(model_host_events_of(fixture.host, MODEL_EVENT_POST), 1);
    fixture_stop(&fixture);
}

/* The search for messages of a connection that went passes by a timer's. */
static void test_a_timers_message_outlives_a_connection_in_its_queue(void **state)
{
    struct hvtlfs_connection connection = {.size = sizeof(connection),
                                           .connection_id = 1,
                                           .type = HVTLFS_CONNECTION_MESSAGE,
                                           .sint = 2};
    const uint32_t payload[2] = {9, 0};
    const struct hvtlfs_message message = {.type = 9, .size = 8, .payload = payload};
    uint8_t *bytes;
    size_t size, used;

    (void)state;
    synic_start(&fixture, false);
    assert_int_equal(hvtlfs_connection_add(fixture.partition, &connection), HVTLFS_OK);
    assert_int_equal(post_number(fixture.vp, 2, 5), HVTLFS_OK); /* takes the slot */
    hvtlfs_vp_poll(fixture.vp);
    expect_write(fixture.vp, HV_X64_MSR_STIMER0_CONFIG, 0x20009);
    expect_write(fixture.vp, HV_X64_MSR_STIMER0_COUNT, 1);
    model_host_advance(fixture.host, 100);
    hvtlfs_vp_poll(fixture.vp);
    assert_int_equal(hvtlfs_connection_post(fixture.partition, 1, &message), HVTLFS_OK);
    hvtlfs_vp_poll(fixture.vp);
    assert_int_equal(hvtlfs_connection_remove(fixture.partition, 1), HVTLFS_OK);
    /* Saved now, it is dead already: the same bytes as after the purge. */
    assert_int_equal(hvtlfs_freeze(fixture.partition), HVTLFS_OK);
    size = hvtlfs_state_size(fixture.partition);
    bytes = malloc(size);
    assert_non_null(bytes);
    assert_int_equal(hvtlfs_state_save(fixture.partition, bytes, size, &used, NULL), HVTLFS_OK);
    hvtlfs_vp_poll(fixture.vp);
    assert_int_equal(hvtlfs_state_size(fixture.partition), size);
    free(bytes);
    assert_int_equal(hvtlfs_thaw(fixture.partition, 0), HVTLFS_OK);
    assert_true(guest_empties_slot(&fixture, 0, 2));
    expect_write(fixture.vp, HV_X64_MSR_EOM, 0);
    assert_int_equal(guest_message(&fixture, 0, 2).header.message_type, HvMessageTimerExpired);
    assert_false(guest_empties_slot(&fixture, 0, 2));
    expect_write(fixture.vp, HV_X64_MSR_EOM, 0);
    expect_slot(&fixture, 0, 2, 0);
    fixture_stop(&fixture);
}

/* ---- The SynIC of a host that copies ---- */

/* The slot is busy and the host fails at any of the accesses: nothing is lost, nothing comes twice. */
static void test_a_busy_slot_of_a_failing_host(void **state)
{
    (void)state;
    for (uint64_t nth = 1; nth <= 6; nth++) {
        synic_start(&fixture, true);
        assert_int_equal(post_number(fixture.vp, 2, 5), HVTLFS_OK);
        hvtlfs_vp_poll(fixture.vp);
        assert_int_equal(post_number(fixture.vp, 2, 6), HVTLFS_OK);
        model_host_fail(fixture.host, nth, true);
        hvtlfs_vp_poll(fixture.vp);
        model_host_fail(fixture.host, 0, false);
        expect_slot(&fixture, 0, 2, 5);
        (void)guest_empties_slot(&fixture, 0, 2);
        expect_write(fixture.vp, HV_X64_MSR_EOM, 0);
        expect_slot(&fixture, 0, 2, 6);
        fixture_stop(&fixture);
    }
}

static bool never_done(void *context, uint64_t gpa, uint32_t *expected, uint32_t desired,
                       bool *done)
{
    (void)context;
    (void)gpa;
    (void)expected;
    (void)desired;
    *done = false;
    return true;
}

static void scribble(struct hvtlfs_config *config)
{
    config->ops.gpa_compare_exchange = never_done;
}

/* Other VPs write to the word all the time: bounded work, and the host hears that it failed. */
static void test_a_word_that_never_stands_still(void **state)
{
    (void)state;
    synic_prepare(&fixture, true, SYNIC_FEATURES ",vapic");
    fixture.adjust = scribble;
    fixture_start(&fixture);
    synic_enable(fixture.vp);
    assert_int_equal(hvtlfs_synic_signal_event(fixture.vp, 2, 7, NULL), HVTLFS_ERR_HOST);
    expect_no_interrupt(&fixture, 0);
    expect_write(fixture.vp, HV_X64_MSR_VP_ASSIST_PAGE, 0x5001);
    assert_false(hvtlfs_lazy_eoi_arm(fixture.vp, 0x50, HVTLFS_TRIGGER_EDGE, false));
    fixture_stop(&fixture);
}

static void test_an_event_on_a_failing_host_is_told(void **state)
{
    (void)state;
    for (uint64_t nth = 1; nth <= 2; nth++) {
        synic_start(&fixture, true);
        model_host_fail(fixture.host, nth, true);
        assert_int_equal(hvtlfs_synic_signal_event(fixture.vp, 2, 7, NULL), HVTLFS_ERR_HOST);
        model_host_fail(fixture.host, 0, false);
        expect_no_interrupt(&fixture, 0);
        assert_int_equal(hvtlfs_synic_signal_event(fixture.vp, 2, 7, NULL), HVTLFS_OK);
        expect_interrupt(&fixture, 0, VECTOR + 2, false);
        fixture_stop(&fixture);
    }
}

static void test_no_interrupt_is_requested_of_a_synic_that_is_off(void **state)
{
    (void)state;
    synic_start(&fixture, false);
    assert_int_equal(hvtlfs_synic_request_interrupt(fixture.vp, 2), HVTLFS_OK);
    expect_interrupt(&fixture, 0, VECTOR + 2, false);
    expect_write(fixture.vp, HV_X64_MSR_SCONTROL, 0);
    assert_int_equal(hvtlfs_synic_request_interrupt(fixture.vp, 2), HVTLFS_ERR_ORDER);
    expect_no_interrupt(&fixture, 0);
    fixture_stop(&fixture);
}

/* ---- Pages and MSRs of a host that refuses ---- */

static bool refuse_read(void *context, uint32_t vp_index, uint32_t number, uint64_t *value)
{
    (void)context;
    (void)vp_index;
    (void)number;
    *value = 77;
    return false;
}

static void refuse_debug(struct hvtlfs_config *config)
{
    config->ops.debug_read = refuse_read;
}

static void test_a_debug_msr_that_the_host_refuses_faults(void **state)
{
    (void)state;
    fixture_prepare(&fixture);
    fixture.features = "debug";
    fixture.adjust = refuse_debug;
    fixture_start(&fixture);
    expect_read_fault(fixture.vp, HV_X64_MSR_SYNTH_DEBUG_STATUS);
    fixture_stop(&fixture);
}

/* Its bytes cannot be taken out of the guest's memory again: it stays, and so does the register. */
static void test_a_statistics_page_that_cannot_be_taken_away_stays(void **state)
{
    (void)state;
    fixture_prepare(&fixture);
    fixture.options.copies_overlays = true;
    fixture.features = "stats";
    fixture_start(&fixture);
    expect_write(fixture.vp, HV_X64_MSR_STATS_VP_RETAIL_PAGE, 0x5001);
    assert_int_equal(model_host_events_of(fixture.host, MODEL_EVENT_STATS_PAGE), 1);
    model_host_fail(fixture.host, 1, true);
    expect_write_fault(fixture.vp, HV_X64_MSR_STATS_VP_RETAIL_PAGE, 0);
    model_host_fail(fixture.host, 0, false);
    expect_read(fixture.vp, HV_X64_MSR_STATS_VP_RETAIL_PAGE, 0x5001);
    assert_int_equal(model_host_events_of(fixture.host, MODEL_EVENT_STATS_PAGE), 1);
    fixture_stop(&fixture);
}

/* ---- Lazy EOI ---- */

static bool collect_in_lock;
static uint32_t collected;

static void lock_after_collect(void *context)
{
    if (collect_in_lock) {
        collect_in_lock = false;
        collected = hvtlfs_lazy_eoi_collect(fixture.vp);
    }
    inner.lock(context);
}

static void collect_first(struct hvtlfs_config *config)
{
    inner = config->ops;
    config->ops.lock = lock_after_collect;
}

/* The VP's thread collects while another waits for the lock to withdraw. */
static void test_a_withdrawal_that_comes_too_late_finds_nothing(void **state)
{
    (void)state;
    fixture_prepare(&fixture);
    fixture.features = "vapic";
    fixture.adjust = collect_first;
    fixture_start(&fixture);
    expect_write(fixture.vp, HV_X64_MSR_VP_ASSIST_PAGE, 0x5001);
    assert_true(hvtlfs_lazy_eoi_arm(fixture.vp, 0x50, HVTLFS_TRIGGER_EDGE, false));
    collect_in_lock = true;
    collected = 0;
    assert_int_equal(hvtlfs_lazy_eoi_withdraw(fixture.vp), HVTLFS_LAZY_EOI_NONE);
    assert_int_equal(collected, HVTLFS_NO_EOI); /* the guest had not ended it */
    fixture_stop(&fixture);
}

/* Another thread found that the guest had ended it: the collector is told of the vector. */
static void test_what_a_withdrawal_found_ended_is_collected(void **state)
{
    uint8_t bits = 0;

    (void)state;
    fixture_prepare(&fixture);
    fixture.features = "vapic";
    fixture_start(&fixture);
    expect_write(fixture.vp, HV_X64_MSR_VP_ASSIST_PAGE, 0x5001);
    assert_true(hvtlfs_lazy_eoi_arm(fixture.vp, 0x50, HVTLFS_TRIGGER_EDGE, false));
    assert_int_equal(model_host_guest_write(fixture.host, 0x5000, &bits, 1), MODEL_ACCESS_OK);
    assert_int_equal(hvtlfs_lazy_eoi_withdraw(fixture.vp), HVTLFS_LAZY_EOI_ENDED);
    assert_int_equal(hvtlfs_lazy_eoi_withdraw(fixture.vp), HVTLFS_LAZY_EOI_ENDED);
    assert_int_equal(hvtlfs_lazy_eoi_collect(fixture.vp), 0x50);
    assert_int_equal(hvtlfs_lazy_eoi_collect(fixture.vp), HVTLFS_NO_EOI);
    fixture_stop(&fixture);
}

/* ---- Flush queues ---- */

static void queue_flushes(struct hvtlfs_config *config)
{
    model_host_queue_flushes(&config->ops);
}

/* What was queued is not saved: each VP flushes everything instead. */
static void test_a_loaded_partition_flushes_everything(void **state)
{
    struct hvtlfs_flush_item item;
    uint8_t *bytes;
    size_t size, used;

    (void)state;
    fixture_prepare(&fixture);
    fixture.features = "tlbflush";
    fixture.adjust = queue_flushes;
    fixture_start(&fixture);
    assert_false(hvtlfs_flush_take(fixture.vp, &item));
    assert_int_equal(hvtlfs_freeze(fixture.partition), HVTLFS_OK);
    size = hvtlfs_state_size(fixture.partition);
    bytes = malloc(size);
    assert_non_null(bytes);
    assert_int_equal(hvtlfs_state_save(fixture.partition, bytes, size, &used, NULL), HVTLFS_OK);
    fixture_stop(&fixture);

    fixture_prepare(&fixture);
    fixture.features = "tlbflush";
    fixture.adjust = queue_flushes;
    fixture_start(&fixture);
    assert_int_equal(hvtlfs_state_load(fixture.partition, bytes, size, NULL), HVTLFS_OK);
    for (uint32_t index = 0; index < 2; index++) {
        struct hvtlfs_vp *vp = hvtlfs_partition_vp(fixture.partition, index);

        assert_true(hvtlfs_flush_take(vp, &item));
        assert_false(hvtlfs_flush_take(vp, &item));
    }
    free(bytes);
    fixture_stop(&fixture);
}

/* ---- Hypercalls ---- */

static uint64_t seen_elements;

static uint16_t count_elements(void *context, struct hvtlfs_host_call *frame)
{
    (void)context;
    seen_elements += frame->count;
    frame->done = frame->count;
    return HV_STATUS_SUCCESS;
}

static const struct hvtlfs_call_handler rep_calls[] = {
    {.code = 0xBAD1, .rep = true, .header = 8, .element_in = 8, .handle = count_elements},
    {.code = 0xBAD2, .rep = true, .header = 8, .handle = count_elements},
};

static int timing; /* 0: without a clock, 1: with one, 2: without a bound */

static void own_calls(struct hvtlfs_config *config)
{
    config->calls = rep_calls;
    config->call_count = 2;
    config->hypercall_time = timing < 2 ? 100 : 0;
    config->ops.host_time = timing ? config->ops.host_time : NULL;
}

/* A list without input elements, and one that is short enough for two registers. */
static void test_rep_calls_of_few_bytes(void **state)
{
    struct guest_answer answer;
    struct guest_call call;

    (void)state;
    for (timing = 0; timing < 3; timing++) {
        fixture_prepare(&fixture);
        fixture.features = EVERY_CALL;
        fixture.adjust = own_calls;
        fixture_start(&fixture);
        seen_elements = 0;
        guest_prepare(&call, 0xBAD2, 8, 0);
        call.reps = 300;
        guest_make(&fixture, &call, &answer);
        assert_int_equal(answer.status, 0);
        assert_int_equal(seen_elements, 300);
        if (timing < 2) {
            fixture_stop(&fixture);
        }
    }
    seen_elements = 0;
    guest_prepare(&call, 0xBAD1, 16, 0);
    call.reps = 1;
    call.fast = true;
    guest_make(&fixture, &call, &answer);
    assert_int_equal(answer.status, 0);
    assert_int_equal(seen_elements, 1);
    fixture_stop(&fixture);
}

/* Element sizes are a rep call's, output is a simple call's. */
static void test_a_handler_has_the_shape_of_its_call(void **state)
{
    static const struct {
        bool rep;
        uint16_t element_in, element_out, output;
        enum hvtlfs_status status;
    } cases[] = {
        {false, 0, 0, 8, HVTLFS_OK},
        {true, 8, 8, 0, HVTLFS_OK},
        {true, 8, 8, 8, HVTLFS_ERR_HOST_CALL},
        {false, 8, 0, 0, HVTLFS_ERR_HOST_CALL},
        {false, 0, 8, 0, HVTLFS_ERR_HOST_CALL},
    };

    (void)state;
    fixture_prepare(&fixture);
    fixture_start(&fixture);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct hvtlfs_call_handler call = {.code = 0xBAD3,
                                                 .rep = cases[i].rep,
                                                 .element_in = cases[i].element_in,
                                                 .element_out = cases[i].element_out,
                                                 .output = cases[i].output,
                                                 .handle = count_elements};
        size_t size;

        fixture.config.calls = &call;
        fixture.config.call_count = 1;
        assert_int_equal(hvtlfs_partition_size(&fixture.config, &size, NULL), cases[i].status);
    }
    fixture_stop(&fixture);
}

/* TLFS 7.10.7: reserved words of an association must be zero, each of them. */
static void test_reserved_words_of_a_register_association(void **state)
{
    (void)state;
    fixture_prepare(&fixture);
    fixture.features = EVERY_CALL;
    fixture_start(&fixture);
    for (uint32_t word = 0; word <= 3; word++) {
        struct guest_answer answer;
        struct guest_call call;

        guest_prepare(&call, HvCallSetVpRegisters, 48, 0);
        call.input.qwords[0] = UINT64_MAX;
        call.input.qwords[1] = UINT32_C(0xFFFFFFFE);
        call.input.qwords[2] = 0x00020000; /* RAX */
        if (word < 3) {
            guest_put(&call, 20 + 4 * word, 4, 1);
        }
        call.reps = 1;
        guest_make(&fixture, &call, &answer);
        assert_int_equal(answer.status, word < 3 ? HV_STATUS_INVALID_PARAMETER : 0);
    }
    fixture_stop(&fixture);
}

static void keep_quiet(void *context, const struct hvtlfs_event *event)
{
    (void)context;
    (void)event;
}

static void watch(struct hvtlfs_config *config)
{
    config->ops.trace = keep_quiet;
}

static void test_a_watched_read_has_its_value(void **state)
{
    (void)state;
    fixture_prepare(&fixture);
    fixture.adjust = watch;
    fixture_start(&fixture);
    expect_read(hvtlfs_partition_vp(fixture.partition, 1), HV_X64_MSR_VP_INDEX, 1);
    fixture_stop(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_reader_that_meets_a_change_waits_for_it),
        cmocka_unit_test(test_time_goes_on_after_a_move_without_any_tsc),
        cmocka_unit_test(test_an_invariant_tsc_that_cannot_be_read),
        cmocka_unit_test(test_a_partition_without_time_is_moved),
        cmocka_unit_test(test_the_invariant_bit_is_left_alone_without_its_control),
        cmocka_unit_test(test_a_guest_that_reads_the_msr_with_a_valid_page_is_named),
        cmocka_unit_test(test_a_tsc_page_that_cannot_be_written_is_invalid),
        cmocka_unit_test(test_a_frozen_partition_expires_nothing),
        cmocka_unit_test(test_a_periodic_timer_whose_message_waits_is_not_due),
        cmocka_unit_test(test_a_post_that_finds_no_buffer_gives_its_right_back),
        cmocka_unit_test(test_a_state_is_loaded_where_no_sint_owns_a_buffer),
        cmocka_unit_test(test_a_timers_message_waits_once),
        cmocka_unit_test(test_a_message_that_cannot_be_restored_takes_nothing),
        cmocka_unit_test(test_own_buffers_come_by_halves),
        cmocka_unit_test(test_a_row_that_changes_under_the_search_is_left),
        cmocka_unit_test(test_the_hosts_and_a_closed_vps_posts),
        cmocka_unit_test(test_a_timers_message_outlives_a_connection_in_its_queue),
        cmocka_unit_test(test_a_busy_slot_of_a_failing_host),
        cmocka_unit_test(test_a_word_that_never_stands_still),
        cmocka_unit_test(test_an_event_on_a_failing_host_is_told),
        cmocka_unit_test(test_no_interrupt_is_requested_of_a_synic_that_is_off),
        cmocka_unit_test(test_a_debug_msr_that_the_host_refuses_faults),
        cmocka_unit_test(test_a_statistics_page_that_cannot_be_taken_away_stays),
        cmocka_unit_test(test_a_withdrawal_that_comes_too_late_finds_nothing),
        cmocka_unit_test(test_what_a_withdrawal_found_ended_is_collected),
        cmocka_unit_test(test_a_loaded_partition_flushes_everything),
        cmocka_unit_test(test_rep_calls_of_few_bytes),
        cmocka_unit_test(test_a_handler_has_the_shape_of_its_call),
        cmocka_unit_test(test_reserved_words_of_a_register_association),
        cmocka_unit_test(test_a_watched_read_has_its_value),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
