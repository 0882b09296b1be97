/* SPDX-License-Identifier: MIT */
/* What a guest does: counted, told to whoever watches, and described. */
#include "state.h"
#include "synic_fixture.h"

#include <hvtlfs/describe.h>
#include <hvtlfs/trace.h>

#include <stdio.h>

static char trace_log[4000];

static void on_trace(void *context, const struct hvtlfs_event *event)
{
    char text[200];
    size_t used = strlen(trace_log);

    (void)context;
    assert_true(hvtlfs_event_text(event, text, sizeof(text)) < sizeof(text));
    assert_true(used + strlen(text) + 2 < sizeof(trace_log));
    (void)snprintf(trace_log + used, sizeof(trace_log) - used, "%s\n", text);
}

static void watch(struct hvtlfs_config *config)
{
    config->ops.trace = on_trace;
}

static void start(struct fixture *fixture, bool watched)
{
    fixture_prepare(fixture);
    fixture->features = "relaxed,spinlocks=0xfff,time,crash";
    fixture->config.invariant_tsc = true;
    fixture->adjust = watched ? watch : NULL;
    trace_log[0] = '\0';
    fixture_start(fixture);
}

static uint64_t long_spin_wait(struct hvtlfs_vp *vp)
{
    struct hvtlfs_hypercall_regs regs = {.mode = HVTLFS_MODE_LONG64, .rcx = 0x10008, .rdx = 5};

    assert_int_equal(hvtlfs_hypercall(vp, &regs), HVTLFS_HYPERCALL_DONE);
    return regs.rax;
}

static void test_exits_are_counted_by_register_and_call(void **state)
{
    struct fixture fixture;
    struct hvtlfs_counters counters = {.size = sizeof(counters)};
    struct hvtlfs_hypercall_regs real = {.mode = HVTLFS_MODE_REAL};

    (void)state;
    start(&fixture, false);
    expect_write(fixture.vp, HV_X64_MSR_GUEST_OS_ID, LINUX_ID);
    expect_read(fixture.vp, HV_X64_MSR_GUEST_OS_ID, LINUX_ID);
    expect_read(fixture.vp, HV_X64_MSR_GUEST_OS_ID, LINUX_ID);
    expect_read_fault(fixture.vp, HV_X64_MSR_EOI);
    expect_write_fault(fixture.vp, HV_X64_MSR_VP_INDEX, 1);
    assert_int_equal(long_spin_wait(fixture.vp), 0);
    assert_int_equal(hvtlfs_hypercall(fixture.vp, &real), HVTLFS_HYPERCALL_UD);

    assert_int_equal(hvtlfs_read_counters(fixture.vp, &counters), HVTLFS_OK);
    assert_int_equal(counters.msr_exits, 3);
    assert_int_equal(counters.msr_faults, 2);
    assert_int_equal(counters.hypercalls, 1);
    assert_int_equal(counters.hypercall_errors, 0);
    assert_int_equal(counters.hypercall_faults, 1);
    assert_int_equal(hvtlfs_read_msr_counter(fixture.vp, HV_X64_MSR_GUEST_OS_ID), 3);
    assert_int_equal(hvtlfs_read_call_counter(fixture.vp, HvCallNotifyLongSpinWait), 1);
    assert_int_equal(hvtlfs_read_call_counter(fixture.vp, 0x7777), 0);
    counters.size = 8;
    assert_int_equal(hvtlfs_read_counters(fixture.vp, &counters), HVTLFS_ERR_STRUCT_SIZE);
    fixture_stop(&fixture);
}

static void test_another_vps_exits_are_its_own(void **state)
{
    struct fixture fixture;
    struct hvtlfs_counters counters = {.size = sizeof(counters)};

    (void)state;
    start(&fixture, false);
    expect_read(hvtlfs_partition_vp(fixture.partition, 1), HV_X64_MSR_VP_INDEX, 1);
    assert_int_equal(hvtlfs_read_counters(fixture.vp, &counters), HVTLFS_OK);
    assert_int_equal(counters.msr_exits, 0);
    fixture_stop(&fixture);
}

static void test_use_of_a_feature(void **state)
{
    struct fixture fixture;

    (void)state;
    start(&fixture, false);
    assert_int_equal(hvtlfs_feature_use(fixture.partition, HVTLFS_FEATURE_SPINLOCKS),
                     HVTLFS_USE_NEVER);
    assert_int_equal(hvtlfs_feature_use(fixture.partition, HVTLFS_FEATURE_RELAXED),
                     HVTLFS_USE_UNSEEN);
    assert_int_equal(hvtlfs_feature_use(fixture.partition, HVTLFS_FEATURE_VAPIC), HVTLFS_USE_OFF);
    assert_int_equal(hvtlfs_feature_use(fixture.partition, HVTLFS_FEATURE_COUNT), HVTLFS_USE_OFF);
    (void)long_spin_wait(fixture.vp);
    assert_int_equal(hvtlfs_feature_use(fixture.partition, HVTLFS_FEATURE_SPINLOCKS),
                     HVTLFS_USE_USED);
    fixture_stop(&fixture);
}

static void test_a_watcher_hears_what_happens(void **state)
{
    struct fixture fixture;
    struct hvtlfs_hypercall_regs unknown = {.mode = HVTLFS_MODE_LONG64, .rcx = 0x7777};

    (void)state;
    start(&fixture, true);
    expect_write(fixture.vp, HV_X64_MSR_GUEST_OS_ID, LINUX_ID);
    expect_write(fixture.vp, HV_X64_MSR_HYPERCALL, 0x5001);
    expect_read_fault(fixture.vp, HV_X64_MSR_EOI);
    (void)long_spin_wait(fixture.vp);
    assert_int_equal(hvtlfs_hypercall(fixture.vp, &unknown), HVTLFS_HYPERCALL_DONE);
    assert_string_equal(trace_log,
                        "msr-write vp=0 HV_X64_MSR_GUEST_OS_ID=0x8100000601b00000 done\n"
                        "overlay-set kind=0x0 gpa=0x5000 shown=0x1\n"
                        "msr-write vp=0 HV_X64_MSR_HYPERCALL=0x5001 done\n"
                        "msr-read vp=0 HV_X64_MSR_EOI #GP\n"
                        "spin-wait vp=0 spins=0x5\n"
                        "hypercall vp=0 HvCallNotifyLongSpinWait input=0x10008 HV_STATUS_SUCCESS\n"
                        "hypercall vp=0 0x7777 input=0x7777 HV_STATUS_INVALID_HYPERCALL_CODE\n");
    fixture_stop(&fixture);
}

static void test_every_kind_has_a_name_and_a_text(void **state)
{
    char text[200], cut[8];

    (void)state;
    for (int kind = 0; kind < HVTLFS_EVENT_KINDS; kind++) {
        struct hvtlfs_event event = {
            (enum hvtlfs_event_kind)kind, 3, UINT32_MAX, UINT32_MAX, UINT64_MAX, UINT32_MAX};
        size_t length = hvtlfs_event_text(&event, text, sizeof(text));

        assert_non_null(hvtlfs_event_name(event.kind));
        assert_memory_equal(text, hvtlfs_event_name(event.kind),
                            strlen(hvtlfs_event_name(event.kind)));
        assert_non_null(strstr(text, "vp=3"));
        assert_int_equal(hvtlfs_event_text(&event, cut, sizeof(cut)), length);
        assert_memory_equal(cut, text, sizeof(cut) - 1);
        assert_int_equal(cut[sizeof(cut) - 1], 0);
    }
    assert_null(hvtlfs_event_name(HVTLFS_EVENT_KINDS));
}

static void without_crash(struct hvtlfs_config *config)
{
    config->ops.crash = NULL;
}

static void test_a_description_says_who_what_and_why(void **state)
{
    struct fixture fixture;
    char text[8000];
    char exact[100];

    (void)state;
    start(&fixture, false);
    fixture_stop(&fixture);
    fixture_prepare(&fixture);
    fixture.features = "relaxed,spinlocks=0xfff,time,crash";
    fixture.config.invariant_tsc = true;
    fixture.adjust = without_crash;
    fixture_start(&fixture);
    expect_write(fixture.vp, HV_X64_MSR_GUEST_OS_ID, LINUX_ID);
    for (int i = 0; i < 2000; i++) {
        uint64_t time;

        assert_int_equal(hvtlfs_msr_read(fixture.vp, HV_X64_MSR_TIME_REF_COUNT, &time),
                         HVTLFS_MSR_DONE);
    }
    assert_true(hvtlfs_describe(fixture.partition, HVTLFS_FORMAT_TEXT, text, sizeof(text)) <
                sizeof(text));
    assert_non_null(strstr(text, "Linux"));
    assert_non_null(strstr(text, "feature spinlocks: never used\n"));
    assert_non_null(strstr(text, "feature time-ref-count: used\n"));
    assert_non_null(strstr(text, "feature crash: off\n    the host gives no crash\n"));
    assert_non_null(strstr(text, "TSC page: the guest has not enabled the page\n"));
    assert_non_null(strstr(text, "never enabled the page"));
    assert_non_null(strstr(text, "exits HV_X64_MSR_TIME_REF_COUNT: 2000\n"));

    /* Cut anywhere, it says how long it is. */
    assert_int_equal(hvtlfs_describe(fixture.partition, HVTLFS_FORMAT_TEXT, exact, sizeof(exact)),
                     strlen(text));
    assert_memory_equal(exact, text, sizeof(exact) - 1);
    assert_int_equal(hvtlfs_describe(fixture.partition, HVTLFS_FORMAT_TEXT, NULL, 0), strlen(text));

    assert_true(hvtlfs_describe(fixture.partition, HVTLFS_FORMAT_JSON, text, sizeof(text)) <
                sizeof(text));
    assert_memory_equal(text, "{\"guest\":{\"os_id\":\"0x8100000601b00000\"", 38);
    assert_non_null(strstr(text, "\"exits\":{\"HV_X64_MSR_GUEST_OS_ID\":1,"));
    assert_int_equal(text[strlen(text) - 1], '}');
    fixture_stop(&fixture);
}

/* ---- What is no exit ---- */

static struct hvtlfs_counters counters_of(const struct hvtlfs_vp *vp)
{
    struct hvtlfs_counters counters = {.size = sizeof(counters)};

    assert_int_equal(hvtlfs_read_counters(vp, &counters), HVTLFS_OK);
    return counters;
}

static void test_messages_are_counted_when_taken_up_and_when_delivered(void **state)
{
    struct fixture fixture;

    (void)state;
    synic_start(&fixture, false);
    for (uint32_t i = 1; i <= 3; i++) {
        assert_int_equal(post_number(fixture.vp, 2, i), HVTLFS_OK);
    }
    assert_int_equal(counters_of(fixture.vp).messages_queued, 0);
    hvtlfs_vp_poll(fixture.vp);
    assert_int_equal(counters_of(fixture.vp).messages_queued, 3);
    assert_int_equal(counters_of(fixture.vp).messages_delivered, 1); /* there is one slot */
    assert_true(guest_empties_slot(&fixture, 0, 2));
    expect_write(fixture.vp, HV_X64_MSR_EOM, 0);
    assert_int_equal(counters_of(fixture.vp).messages_delivered, 2);
    assert_int_equal(counters_of(hvtlfs_partition_vp(fixture.partition, 1)).messages_queued, 0);
    fixture_stop(&fixture);
}

static void test_every_signal_is_counted_at_its_target(void **state)
{
    struct fixture fixture;

    (void)state;
    synic_start(&fixture, false);
    assert_int_equal(hvtlfs_synic_signal_event(fixture.vp, 3, 5, NULL), HVTLFS_OK);
    assert_int_equal(hvtlfs_synic_signal_event(fixture.vp, 3, 5, NULL),
                     HVTLFS_OK); /* set already */
    assert_int_equal(hvtlfs_synic_signal_event(fixture.vp, 3, 2048, NULL), HVTLFS_ERR_ARGUMENT);
    assert_int_equal(counters_of(fixture.vp).events_signalled, 2);
    fixture_stop(&fixture);
}

static void test_lateness_of_timers_counts_from_when_they_were_due(void **state)
{
    static char text[65536];
    struct fixture fixture;

    (void)state;
    synic_start(&fixture, false);
    expect_write(fixture.vp, HV_X64_MSR_STIMER0_COUNT, 1000);
    expect_write(fixture.vp, HV_X64_MSR_STIMER0_CONFIG, 0x1501); /* one-shot, direct, vector 0x50 */
    model_host_advance(fixture.host, 999);
    hvtlfs_vp_poll(fixture.vp);
    assert_int_equal(counters_of(fixture.vp).timer_ticks, 0);
    model_host_advance(fixture.host, 701);
    hvtlfs_vp_poll(fixture.vp);
    assert_int_equal(counters_of(fixture.vp).timer_ticks, 1);
    assert_int_equal(counters_of(fixture.vp).timer_lateness, 700); /* 999 + 701 - 1000 */

    /* A guest that asks for a time that has passed gets its tick at once: nobody was late. */
    expect_write(fixture.vp, HV_X64_MSR_STIMER0_COUNT, 5);
    expect_write(fixture.vp, HV_X64_MSR_STIMER0_CONFIG, 0x1501);
    assert_int_equal(counters_of(fixture.vp).timer_ticks, 2);
    assert_int_equal(counters_of(fixture.vp).timer_lateness, 700);

    expect_write(fixture.vp, HV_X64_MSR_STIMER0_COUNT, 2000);
    expect_write(fixture.vp, HV_X64_MSR_STIMER0_CONFIG, 0x1501);
    model_host_advance(fixture.host, 350); /* 999 + 701 + 350 - 2000 = 50 */
    hvtlfs_vp_poll(fixture.vp);
    assert_int_equal(counters_of(fixture.vp).timer_lateness, 750);
    assert_int_equal(counters_of(fixture.vp).timer_lateness_most, 700);
    assert_true(hvtlfs_describe(fixture.partition, HVTLFS_FORMAT_JSON, text, sizeof(text)) <
                sizeof(text));
    assert_non_null(strstr(text, "\"timer_lateness_most\":700"));
    fixture_stop(&fixture);
}

static void flush_all(struct fixture *fixture, uint64_t mask)
{
    struct hvtlfs_hypercall_regs regs = {
        .mode = HVTLFS_MODE_LONG64, .rcx = HvCallFlushVirtualAddressSpace, .rdx = 0x3000};
    const uint64_t input[3] = {0, model_le64(HV_FLUSH_ALL_VIRTUAL_ADDRESS_SPACES),
                               model_le64(mask)};

    memcpy(model_host_ram(fixture->host, 0x3000), input, sizeof(input));
    assert_int_equal(hvtlfs_hypercall(fixture->vp, &regs), HVTLFS_HYPERCALL_DONE);
    assert_int_equal(regs.rax, HV_STATUS_SUCCESS);
}

static void test_flushes_and_their_targets_are_counted_at_the_caller(void **state)
{
    struct fixture fixture;

    (void)state;
    fixture_prepare(&fixture);
    fixture.features = "tlbflush";
    fixture_start(&fixture);
    flush_all(&fixture, 3);
    flush_all(&fixture, 2);
    flush_all(&fixture, 4); /* nobody there */
    assert_int_equal(counters_of(fixture.vp).flushes, 2);
    assert_int_equal(counters_of(fixture.vp).flush_targets, 3);
    fixture_stop(&fixture);
}

static void test_a_description_adds_up_all_vps(void **state)
{
    struct fixture fixture;
    struct hvtlfs_vp *other;
    char text[16000];

    (void)state;
    synic_start(&fixture, false);
    other = hvtlfs_partition_vp(fixture.partition, 1);
    synic_enable(other);
    assert_int_equal(hvtlfs_synic_signal_event(fixture.vp, 3, 5, NULL), HVTLFS_OK);
    assert_int_equal(hvtlfs_synic_signal_event(other, 3, 5, NULL), HVTLFS_OK);
    assert_true(hvtlfs_describe(fixture.partition, HVTLFS_FORMAT_TEXT, text, sizeof(text)) <
                sizeof(text));
    assert_non_null(strstr(text, "events signalled: 2\n"));
    assert_null(strstr(text, "flushes"));
    assert_true(hvtlfs_describe(fixture.partition, HVTLFS_FORMAT_JSON, text, sizeof(text)) <
                sizeof(text));
    assert_non_null(strstr(text, ",\"events_signalled\":2,"));
    assert_non_null(strstr(text, ",\"flush_targets\":0}"));
    fixture_stop(&fixture);
}

static void test_the_counters_of_a_vp_fit_a_page(void **state)
{
    (void)state;
    assert_true(sizeof(struct hvti_counters) <= 4096);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exits_are_counted_by_register_and_call),
        cmocka_unit_test(test_another_vps_exits_are_its_own),
        cmocka_unit_test(test_use_of_a_feature),
        cmocka_unit_test(test_a_watcher_hears_what_happens),
        cmocka_unit_test(test_every_kind_has_a_name_and_a_text),
        cmocka_unit_test(test_a_description_says_who_what_and_why),
        cmocka_unit_test(test_messages_are_counted_when_taken_up_and_when_delivered),
        cmocka_unit_test(test_every_signal_is_counted_at_its_target),
        cmocka_unit_test(test_lateness_of_timers_counts_from_when_they_were_due),
        cmocka_unit_test(test_flushes_and_their_targets_are_counted_at_the_caller),
        cmocka_unit_test(test_a_description_adds_up_all_vps),
        cmocka_unit_test(test_the_counters_of_a_vp_fit_a_page),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
