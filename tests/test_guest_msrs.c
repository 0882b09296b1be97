/* SPDX-License-Identifier: MIT */
/* RESET, VP_RUNTIME, GUEST_IDLE, NPIEP, the crash registers, statistics pages, the time-unhalted
 * timer and the synthetic debug registers. */
#include "fixture.h"

#include <hvtlfs/stats.h>
#include <hvtlfs/vapic.h>

#define ASSIST UINT64_C(0x5000)
#define TEXT UINT64_C(0x7000)
#define NOTIFY UINT64_C(0x8000000000000000)
#define MESSAGE UINT64_C(0x4000000000000000)

static struct fixture fixture;

static int start(void **state)
{
    fixture_prepare(&fixture);
    fixture.options.copies_overlays = *state != NULL;
    fixture.features = "reset,runtime,guest-idle,npiep,crash,stats,debug,vapic,synic,stimer,"
                       "time-ref-count,unhalted-timer";
    fixture_start(&fixture);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    fixture_stop(&fixture);
    return 0;
}

static struct model_event only_event(enum model_event_kind kind)
{
    struct model_event event;

    assert_int_equal(model_host_event_count(fixture.host), 1);
    assert_true(model_host_event(fixture.host, 0, &event));
    assert_int_equal(event.kind, kind);
    return event;
}

static void clear(void)
{
    model_host_clear_events(fixture.host);
}

/* ---- RESET, VP_RUNTIME, GUEST_IDLE ---- */

static void reset_asks_the_host_and_reads_zero(void **state)
{
    (void)state;
    expect_write(fixture.vp, HV_X64_MSR_RESET, UINT64_C(0xFFFFFFFFFFFFFFFE));
    assert_int_equal(model_host_event_count(fixture.host), 0);
    expect_write(fixture.vp, HV_X64_MSR_RESET, 1);
    assert_int_equal(only_event(MODEL_EVENT_RESET).vp_index, 0);
    expect_read(fixture.vp, HV_X64_MSR_RESET, 0);
}

static void runtime_is_the_hosts_and_cannot_be_written(void **state)
{
    (void)state;
    model_host_set_runtime(fixture.host, 0, UINT64_C(0x123456789A));
    expect_read(fixture.vp, HV_X64_MSR_VP_RUNTIME, UINT64_C(0x123456789A));
    expect_write_fault(fixture.vp, HV_X64_MSR_VP_RUNTIME, 0);
}

static void reading_guest_idle_suspends_the_vp(void **state)
{
    uint64_t value = 7;

    (void)state;
    assert_int_equal(hvtlfs_msr_read(fixture.vp, HV_X64_MSR_GUEST_IDLE, &value), HVTLFS_MSR_IDLE);
    assert_int_equal(value, 0);
    expect_write_fault(fixture.vp, HV_X64_MSR_GUEST_IDLE, 0);
}

/* ---- NPIEP ---- */

static void npiep_tells_the_host_what_to_prevent(void **state)
{
    (void)state;
    expect_write(fixture.vp, HV_X64_MSR_NPIEP_CONFIG, 0);
    assert_int_equal(model_host_event_count(fixture.host), 0);
    expect_write(fixture.vp, HV_X64_MSR_NPIEP_CONFIG, UINT64_MAX);
    assert_int_equal(only_event(MODEL_EVENT_NPIEP).values[0], 0xF);
    expect_read(fixture.vp, HV_X64_MSR_NPIEP_CONFIG, 0xF);
    clear();
    expect_read(hvtlfs_partition_vp(fixture.partition, 1), HV_X64_MSR_NPIEP_CONFIG, 0);
    hvtlfs_vp_reset(fixture.vp);
    assert_int_equal(only_event(MODEL_EVENT_NPIEP).values[0], 0);
    expect_read(fixture.vp, HV_X64_MSR_NPIEP_CONFIG, 0);
}

/* ---- Crash ---- */

static void crash_parameters_belong_to_the_partition(void **state)
{
    struct hvtlfs_vp *one = hvtlfs_partition_vp(fixture.partition, 1);
    uint32_t i;

    (void)state;
    for (i = 0; i < 5; i++) {
        expect_read(fixture.vp, HV_X64_MSR_CRASH_P0 + i, 0);
        expect_write(fixture.vp, HV_X64_MSR_CRASH_P0 + i, UINT64_C(0xF00D00000000) + i);
        expect_read(one, HV_X64_MSR_CRASH_P0 + i, UINT64_C(0xF00D00000000) + i);
    }
    assert_int_equal(model_host_event_count(fixture.host), 0);
    hvtlfs_partition_reset(fixture.partition);
    expect_read(one, HV_X64_MSR_CRASH_P0 + 4, 0);
}

static void crash_control_reads_as_what_it_can_do(void **state)
{
    (void)state;
    expect_read(fixture.vp, HV_X64_MSR_CRASH_CTL, NOTIFY | MESSAGE);
    expect_write(fixture.vp, HV_X64_MSR_CRASH_CTL, NOTIFY);
    expect_read(fixture.vp, HV_X64_MSR_CRASH_CTL, NOTIFY | MESSAGE);
}

static void crash(uint64_t control, uint64_t gpa, uint64_t size)
{
    static const uint64_t parameters[3] = {0xEF, 1, 2};
    uint32_t i;

    for (i = 0; i < 3; i++) {
        expect_write(fixture.vp, HV_X64_MSR_CRASH_P0 + i, parameters[i]);
    }
    expect_write(fixture.vp, HV_X64_MSR_CRASH_P3, gpa);
    expect_write(fixture.vp, HV_X64_MSR_CRASH_P4, size);
    expect_write(fixture.vp, HV_X64_MSR_CRASH_CTL, control);
}

static void a_crash_without_notify_is_not_reported(void **state)
{
    (void)state;
    crash(MESSAGE, TEXT, 4);
    crash(0, TEXT, 4);
    assert_int_equal(model_host_event_count(fixture.host), 0);
}

static void a_crash_reports_its_five_parameters(void **state)
{
    struct model_event event;

    (void)state;
    crash(NOTIFY, 0x33, 0x44);
    event = only_event(MODEL_EVENT_CRASH);
    assert_int_equal(event.vp_index, 0);
    assert_int_equal(event.values[0], 0xEF);
    assert_int_equal(event.values[1], 1);
    assert_int_equal(event.values[2], 2);
    assert_int_equal(event.values[3], 0x33);
    assert_int_equal(event.values[4], 0x44);
    assert_int_equal(event.values[5], NOTIFY);
    assert_null(event.note);
}

static void fill(uint64_t gpa, size_t size)
{
    size_t i;

    for (i = 0; i < size; i++) {
        uint8_t letter = (uint8_t)('a' + i % 26);

        assert_int_equal(model_host_guest_write(fixture.host, gpa + i, &letter, 1),
                         MODEL_ACCESS_OK);
    }
}

/* What the host was given: the first `size` letters. */
static void expect_message(size_t size)
{
    struct model_event event = only_event(MODEL_EVENT_CRASH);
    size_t i;

    if (!size) {
        assert_null(event.note);
        return;
    }
    assert_non_null(event.note);
    assert_int_equal(strlen(event.note), size);
    for (i = 0; i < size; i++) {
        assert_int_equal(event.note[i], (int)('a' + i % 26));
    }
}

static void a_crash_message_is_fetched_over_a_page_boundary(void **state)
{
    (void)state;
    fill(TEXT + 0xFFC, 9);
    crash(NOTIFY | MESSAGE, TEXT + 0xFFC, 9);
    expect_message(9);
}

static void a_crash_message_is_cut_at_4096_bytes(void **state)
{
    (void)state;
    fill(TEXT + 0x10, 4200);
    crash(NOTIFY | MESSAGE, TEXT + 0x10, 4096);
    expect_message(4096);
    clear();
    crash(NOTIFY | MESSAGE, TEXT + 0x10, 4097);
    expect_message(4096);
    clear();
    crash(NOTIFY | MESSAGE, TEXT + 0x10, UINT64_MAX);
    expect_message(4096);
}

static void a_crash_message_out_of_reach_is_reported_as_far_as_it_reaches(void **state)
{
    uint64_t end = fixture.options.ram_size;

    (void)state;
    fill(end - 5, 5);
    crash(NOTIFY | MESSAGE, end - 5, 100);
    expect_message(5);
    clear();
    crash(NOTIFY | MESSAGE, end, 100);
    expect_message(0);
    clear();
    model_host_fail(fixture.host, 0, false);
    crash(NOTIFY | MESSAGE, UINT64_MAX - 2, 100);
    expect_message(0);
    assert_int_equal(model_host_fallible_calls(fixture.host), 0); /* the host is not even asked */
    clear();
    crash(NOTIFY | MESSAGE, TEXT, 0);
    expect_message(0);
}

/* ---- Statistics pages ---- */

static void a_statistics_page_shows_what_the_host_counts(void **state)
{
    static const enum hvtlfs_overlay_kind kinds[] = {
        HVTLFS_OVERLAY_STATS_PARTITION, HVTLFS_OVERLAY_STATS_PARTITION_INTERNAL,
        HVTLFS_OVERLAY_STATS_VP, HVTLFS_OVERLAY_STATS_VP_INTERNAL};
    struct model_event event;
    uint32_t i;

    (void)state;
    for (i = 0; i < 4; i++) {
        uint32_t msr = HV_X64_MSR_STATS_PARTITION_RETAIL_PAGE + i;
        uint64_t gpa = 0x10000 + i * 0x1000;

        assert_true(hvtlfs_stats_set(fixture.vp, kinds[i], 511, 100 + i));
        expect_write(fixture.vp, msr, gpa | 0xFFF);
        expect_read(fixture.vp, msr, gpa | 0xFFF);
        assert_int_equal(model_host_events_of(fixture.host, MODEL_EVENT_STATS_PAGE), 1);
        assert_true(
            model_host_event(fixture.host, model_host_event_count(fixture.host) - 1, &event));
        assert_int_equal(event.values[0], kinds[i]);
        assert_int_equal(event.values[1], 1);
        assert_int_equal(model_host_guest_read64(fixture.host, gpa + 511 * 8), 100 + i);
        assert_true(hvtlfs_stats_set(fixture.vp, kinds[i], 0, UINT64_MAX - i));
        assert_int_equal(model_host_guest_read64(fixture.host, gpa), UINT64_MAX - i);
        clear();
        expect_write(fixture.vp, msr, gpa);
        assert_int_equal(model_host_events_of(fixture.host, MODEL_EVENT_STATS_PAGE), 1);
        assert_int_equal(model_host_guest_read64(fixture.host, gpa), 0);
        clear();
    }
}

static void a_statistics_page_out_of_reach_is_no_fault(void **state)
{
    (void)state;
    expect_write(fixture.vp, HV_X64_MSR_STATS_VP_RETAIL_PAGE, UINT64_C(0xFFFFFFFFFFFFF001));
    expect_read(fixture.vp, HV_X64_MSR_STATS_VP_RETAIL_PAGE, UINT64_C(0xFFFFFFFFFFFFF001));
    assert_int_equal(model_host_events_of(fixture.host, MODEL_EVENT_STATS_PAGE), 0);
}

static void a_reset_takes_the_statistics_page_away(void **state)
{
    (void)state;
    expect_write(fixture.vp, HV_X64_MSR_STATS_VP_RETAIL_PAGE, 0x10001);
    assert_true(hvtlfs_stats_set(fixture.vp, HVTLFS_OVERLAY_STATS_VP, 0, 5));
    clear();
    hvtlfs_vp_reset(fixture.vp);
    assert_int_equal(model_host_events_of(fixture.host, MODEL_EVENT_STATS_PAGE), 1);
    assert_int_equal(model_host_guest_read64(fixture.host, 0x10000), 0);
    expect_read(fixture.vp, HV_X64_MSR_STATS_VP_RETAIL_PAGE, 0);
    expect_write(fixture.vp, HV_X64_MSR_STATS_VP_RETAIL_PAGE, 0x10001);
    assert_int_equal(model_host_guest_read64(fixture.host, 0x10000), 0);
}

static void a_counter_that_does_not_exist_is_refused(void **state)
{
    (void)state;
    assert_false(hvtlfs_stats_set(fixture.vp, HVTLFS_OVERLAY_STATS_VP, 512, 5));
    assert_false(hvtlfs_stats_set(fixture.vp, HVTLFS_OVERLAY_VP_ASSIST, 0, 5));
    assert_false(hvtlfs_stats_set(fixture.vp, HVTLFS_OVERLAY_KINDS, 0, 5));
}

/* ---- The time-unhalted timer ---- */

#define ENABLED UINT64_C(0x100)

static bool unhalted_is_offered(void)
{
    const struct hvtlfs_features features = hvtlfs_partition_features(fixture.partition);

    return hvtlfs_features_has(&features, HVTLFS_FEATURE_UNHALTED_TIMER);
}

static bool interrupted_by(uint32_t vector)
{
    struct hvtlfs_interrupt interrupt;

    if (!model_host_take_interrupt(fixture.host, 0, &interrupt)) {
        return false;
    }
    assert_int_equal(interrupt.vector, vector);
    assert_int_equal(interrupt.nmi, vector == 2);
    assert_int_equal(model_host_interrupt_count(fixture.host, 0), 0);
    return true;
}

static uint8_t flag(void)
{
    uint8_t byte = 0xFF;

    assert_int_equal(model_host_guest_read(fixture.host, ASSIST + 56, &byte, 1), MODEL_ACCESS_OK);
    return byte;
}

static void start_timer(uint64_t vector, uint64_t period)
{
    expect_write(fixture.vp, HV_X64_MSR_VP_ASSIST_PAGE, ASSIST | 1);
    expect_write(fixture.vp, HV_X64_MSR_STIME_UNHALTED_TIMER_COUNT, period);
    expect_write(fixture.vp, HV_X64_MSR_STIME_UNHALTED_TIMER_CONFIG, ENABLED | vector);
}

/* Time passes for the host; `ran` of it the VP was not halted. */
static void pass(uint64_t time, uint64_t ran)
{
    uint64_t runtime;

    assert_int_equal(hvtlfs_msr_read(fixture.vp, HV_X64_MSR_VP_RUNTIME, &runtime), HVTLFS_MSR_DONE);
    model_host_advance(fixture.host, time);
    model_host_set_runtime(fixture.host, 0, runtime + ran);
    hvtlfs_vp_poll(fixture.vp);
}

static void the_unhalted_timer_counts_time_that_the_vp_runs(void **state)
{
    (void)state;
    if (!unhalted_is_offered()) {
        skip();
    }
    start_timer(0x40, 1000);
    pass(999, 999);
    assert_false(interrupted_by(0x40));
    assert_int_equal(flag(), 0);
    pass(5000, 0); /* halted */
    assert_false(interrupted_by(0x40));
    pass(1, 1);
    assert_true(interrupted_by(0x40));
    assert_int_equal(flag(), 1);
    pass(1000, 1000); /* it is periodic */
    assert_true(interrupted_by(0x40));
    pass(3500, 3500); /* missed ones come as one, and the next is a whole period away */
    assert_true(interrupted_by(0x40));
    pass(999, 999);
    assert_false(interrupted_by(0x40));
    pass(1, 1);
    assert_true(interrupted_by(0x40));
}

static void the_unhalted_timer_asks_for_the_earliest_moment(void **state)
{
    uint64_t now;

    (void)state;
    if (!unhalted_is_offered()) {
        skip();
    }
    start_timer(0x40, 1000);
    expect_write(fixture.vp, HV_X64_MSR_STIME_UNHALTED_TIMER_COUNT, 500);
    assert_int_equal(hvtlfs_msr_read(fixture.vp, HV_X64_MSR_TIME_REF_COUNT, &now), HVTLFS_MSR_DONE);
    assert_int_equal(model_host_deadline(fixture.host, 0), now + 500);
    pass(500, 200);
    assert_int_equal(model_host_deadline(fixture.host, 0), now + 500 + 300);
    expect_write(fixture.vp, HV_X64_MSR_STIME_UNHALTED_TIMER_CONFIG, 0);
    assert_int_equal(model_host_deadline(fixture.host, 0), HVTLFS_TIME_NEVER);
    pass(5000, 5000);
    assert_false(interrupted_by(0x40));
}

static void vector_2_of_the_unhalted_timer_is_an_nmi(void **state)
{
    (void)state;
    if (!unhalted_is_offered()) {
        skip();
    }
    start_timer(2, 1000);
    pass(1000, 1000);
    assert_true(interrupted_by(2));
}

static void the_unhalted_timer_takes_no_other_vector_below_16(void **state)
{
    uint32_t vector;

    (void)state;
    if (!unhalted_is_offered()) {
        skip();
    }
    for (vector = 0; vector < 256; vector++) {
        bool good = vector == 2 || vector >= 16;

        expect_write(fixture.vp, HV_X64_MSR_STIME_UNHALTED_TIMER_CONFIG, ENABLED | vector);
        expect_read(fixture.vp, HV_X64_MSR_STIME_UNHALTED_TIMER_CONFIG,
                    good ? ENABLED | vector : vector);
    }
    expect_write(fixture.vp, HV_X64_MSR_STIME_UNHALTED_TIMER_CONFIG, UINT64_MAX);
    expect_read(fixture.vp, HV_X64_MSR_STIME_UNHALTED_TIMER_CONFIG, 0x1FF);
}

static void an_unhalted_timer_without_period_or_page_does_no_harm(void **state)
{
    (void)state;
    if (!unhalted_is_offered()) {
        skip();
    }
    expect_write(fixture.vp, HV_X64_MSR_STIME_UNHALTED_TIMER_CONFIG, ENABLED | 0x40);
    pass(1000000, 1000000);
    assert_false(interrupted_by(0x40));
    expect_write(fixture.vp, HV_X64_MSR_STIME_UNHALTED_TIMER_COUNT, UINT64_MAX);
    pass(1000000, 1000000);
    assert_false(interrupted_by(0x40));
    expect_write(fixture.vp, HV_X64_MSR_STIME_UNHALTED_TIMER_COUNT, 10);
    pass(10, 10); /* there is no page to flag it in */
    assert_true(interrupted_by(0x40));
    hvtlfs_vp_reset(fixture.vp);
    assert_int_equal(model_host_deadline(fixture.host, 0), HVTLFS_TIME_NEVER);
    expect_read(fixture.vp, HV_X64_MSR_STIME_UNHALTED_TIMER_CONFIG, 0);
    expect_read(fixture.vp, HV_X64_MSR_STIME_UNHALTED_TIMER_COUNT, 0);
}

/* ---- Debug ---- */

static void debug_registers_are_the_hosts(void **state)
{
    (void)state;
    expect_write(fixture.vp, HV_X64_MSR_SYNTH_DEBUG_SEND_BUFFER, 0x123000);
    assert_int_equal(only_event(MODEL_EVENT_DEBUG_WRITE).values[1], 0x123000);
    expect_read(fixture.vp, HV_X64_MSR_SYNTH_DEBUG_SEND_BUFFER, 0x123000);
    expect_write_fault(fixture.vp, HV_X64_MSR_SYNTH_DEBUG_STATUS, 1);
    expect_read(fixture.vp, HV_X64_MSR_SYNTH_DEBUG_STATUS, 0);
}

/* ---- Without the host ---- */

static void take_away(struct hvtlfs_config *config)
{
    config->ops.system_reset = NULL;
    config->ops.vp_runtime = NULL;
    config->ops.crash = NULL;
    config->ops.npiep = NULL;
    config->ops.stats_page = NULL;
    config->ops.debug_write = NULL;
}

static void a_feature_without_its_callback_is_off_and_says_which(void **state)
{
    static const struct {
        enum hvtlfs_feature feature;
        const char *reason;
    } cases[] = {
        {HVTLFS_FEATURE_RESET, "the host gives no system_reset"},
        {HVTLFS_FEATURE_RUNTIME, "the host gives no vp_runtime"},
        {HVTLFS_FEATURE_CRASH, "the host gives no crash"},
        {HVTLFS_FEATURE_NPIEP, "the host gives no npiep"},
        {HVTLFS_FEATURE_STATS, "the host gives no stats_page"},
        {HVTLFS_FEATURE_DEBUG, "the host gives no debug_read and debug_write"},
    };
    size_t i;

    (void)state;
    fixture_prepare(&fixture);
    fixture.features = "reset,runtime,npiep,crash,stats,debug";
    fixture.adjust = take_away;
    fixture_start(&fixture);
    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_string_equal(hvtlfs_feature_why_off(fixture.partition, cases[i].feature),
                            cases[i].reason);
    }
    hvtlfs_partition_reset(fixture.partition);
}

#define MAPPED(test) cmocka_unit_test_setup_teardown(test, start, stop)
#define BOTH(test)                                                                                 \
    MAPPED(test),                                                                                  \
    {                                                                                              \
        "copied: " #test, test, start, stop, &fixture                                              \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        MAPPED(reset_asks_the_host_and_reads_zero),
        MAPPED(runtime_is_the_hosts_and_cannot_be_written),
        MAPPED(reading_guest_idle_suspends_the_vp),
        MAPPED(npiep_tells_the_host_what_to_prevent),
        MAPPED(crash_parameters_belong_to_the_partition),
        MAPPED(crash_control_reads_as_what_it_can_do),
        MAPPED(a_crash_without_notify_is_not_reported),
        MAPPED(a_crash_reports_its_five_parameters),
        MAPPED(a_crash_message_is_fetched_over_a_page_boundary),
        MAPPED(a_crash_message_is_cut_at_4096_bytes),
        MAPPED(a_crash_message_out_of_reach_is_reported_as_far_as_it_reaches),
        BOTH(a_statistics_page_shows_what_the_host_counts),
        BOTH(a_statistics_page_out_of_reach_is_no_fault),
        BOTH(a_reset_takes_the_statistics_page_away),
        BOTH(a_counter_that_does_not_exist_is_refused),
        BOTH(the_unhalted_timer_counts_time_that_the_vp_runs),
        MAPPED(the_unhalted_timer_asks_for_the_earliest_moment),
        MAPPED(vector_2_of_the_unhalted_timer_is_an_nmi),
        MAPPED(the_unhalted_timer_takes_no_other_vector_below_16),
        MAPPED(an_unhalted_timer_without_period_or_page_does_no_harm),
        MAPPED(debug_registers_are_the_hosts),
        cmocka_unit_test_teardown(a_feature_without_its_callback_is_off_and_says_which, stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
