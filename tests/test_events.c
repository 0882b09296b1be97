/* SPDX-License-Identifier: MIT */
/* Every event of <hvtlfs/trace.h> has the numbers that its comment promises, and comes once. */
#include "guest_call.h"
#include "synic_fixture.h"

#include <hvtlfs/describe.h>
#include <hvtlfs/time.h>
#include <hvtlfs/trace.h>

#define MOST 64u

static struct fixture fixture;
static struct hvtlfs_event events[MOST];
static size_t count;

static void record(void *context, const struct hvtlfs_event *event)
{
    (void)context;
    assert_true(count < MOST);
    events[count++] = *event;
}

static void watch(struct hvtlfs_config *config)
{
    config->ops.trace = record;
}

static void make(const char *features)
{
    fixture_prepare(&fixture);
    fixture.features = features;
    fixture.config.invariant_tsc = true;
    fixture.config.apic_hz = 1;
    fixture.adjust = watch;
    count = 0;
    fixture_start(&fixture);
    count = 0;
}

/* Among those since the last time there was exactly one of this kind, with these numbers. */
static void expect(enum hvtlfs_event_kind kind, uint32_t vp_index, uint32_t code, uint64_t value,
                   uint32_t result)
{
    size_t found = 0;

    for (size_t i = 0; i < count; i++) {
        if (events[i].kind == kind) {
            assert_int_equal(events[i].vp_index, vp_index);
            assert_int_equal(events[i].code, code);
            assert_int_equal(events[i].value, value);
            assert_int_equal(events[i].result, result);
            assert_int_equal(events[i].more, 0);
            found++;
        }
    }
    assert_int_equal(found, 1);
    count = 0;
}

static void call(uint16_t code, uint32_t reps, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    struct guest_call it = {.code = code,
                            .reps = reps,
                            .input_size = 32,
                            .input = {{a, b, c, d}},
                            .mode = HVTLFS_MODE_LONG64,
                            .input_gpa = GUEST_INPUT};
    struct guest_answer answer;

    guest_make(&fixture, &it, &answer);
    assert_int_equal(answer.status, HV_STATUS_SUCCESS);
}

static void test_calls(void **state)
{
    (void)state;
    make(EVERY_CALL);
    call(HvCallNotifyLongSpinWait, 0, 77, 0, 0, 0);
    expect(HVTLFS_EVENT_SPIN_WAIT, 0, 77, 0, 0);
    call(HvCallFlushVirtualAddressList, 1, 0x1000, 0, 3, 0x5000);
    expect(HVTLFS_EVENT_FLUSH, 0, 2, 1, 0);
    call(HvCallSendSyntheticClusterIpi, 0, 0x40, 2, 0, 0);
    expect(HVTLFS_EVENT_IPI, 0, 0x40, 1, 0);
    fixture_stop(&fixture);
}

static void test_interrupts(void **state)
{
    (void)state;
    make(SYNIC_FEATURES ",vapic,runtime,unhalted-timer");
    synic_enable(fixture.vp);
    expect_write(fixture.vp, HV_X64_MSR_SINT2, 0x20000 | 0x52);
    count = 0;
    assert_int_equal(hvtlfs_synic_request_interrupt(fixture.vp, 2), HVTLFS_OK);
    expect(HVTLFS_EVENT_INTERRUPT, 0, 0x52, 1, 0);
    assert_int_equal(hvtlfs_synic_request_interrupt(fixture.vp, 3), HVTLFS_OK);
    expect(HVTLFS_EVENT_INTERRUPT, 0, 0x53, 0, 0);
    assert_int_equal(post_number(hvtlfs_partition_vp(fixture.partition, 1), 2, 5),
                     HVTLFS_ERR_ORDER);
    assert_int_equal(count, 0);
    assert_int_equal(post_number(fixture.vp, 2, 5), HVTLFS_OK);
    expect(HVTLFS_EVENT_KICK, 0, 0, 0, 0);
    expect_write(fixture.vp, HV_X64_MSR_EOI, 0);
    expect(HVTLFS_EVENT_APIC_WRITE, 0, HVTLFS_APIC_EOI, 0, 0);
    expect_write(fixture.vp, HV_X64_MSR_TPR, 0x30);
    expect(HVTLFS_EVENT_APIC_WRITE, 0, HVTLFS_APIC_TPR, 0x30, 0);
    expect_write(fixture.vp, HV_X64_MSR_STIMER0_CONFIG, 0x1508);
    expect_write(fixture.vp, HV_X64_MSR_STIMER0_COUNT, 1000000);
    expect(HVTLFS_EVENT_DEADLINE, 0, 0, 1000000, 0);
    fixture_stop(&fixture);
}

/* TLFS 12.6: with vector 2 the unhalted timer is an NMI. */
static void test_an_nmi(void **state)
{
    (void)state;
    make(SYNIC_FEATURES ",vapic,runtime,unhalted-timer");
    expect_write(fixture.vp, HV_X64_MSR_STIME_UNHALTED_TIMER_COUNT, 1000);
    expect_write(fixture.vp, HV_X64_MSR_STIME_UNHALTED_TIMER_CONFIG, 0x102);
    model_host_advance(fixture.host, 1000);
    model_host_set_runtime(fixture.host, 0, 1000);
    count = 0;
    hvtlfs_vp_poll(fixture.vp);
    expect(HVTLFS_EVENT_INTERRUPT, 0, 2, 0, 1);
    fixture_stop(&fixture);
}

static void test_requests(void **state)
{
    (void)state;
    make("crash,reset");
    expect_write(fixture.vp, HV_X64_MSR_CRASH_CTL, UINT64_C(1) << 63);
    expect(HVTLFS_EVENT_CRASH, 0, 0, UINT64_C(1) << 63, 0);
    expect_write(fixture.vp, HV_X64_MSR_RESET, 1);
    expect(HVTLFS_EVENT_RESET, 0, 0, 0, 0);
    fixture_stop(&fixture);
}

static void test_emulation_of_the_tsc(void **state)
{
    (void)state;
    make("time,frequencies,reenlightenment");
    expect_write(fixture.vp, HV_X64_MSR_TSC_EMULATION_CONTROL, 1);
    assert_int_equal(hvtlfs_freeze(fixture.partition), HVTLFS_OK);
    assert_int_equal(hvtlfs_migrate(fixture.partition, UINT64_C(3000000000), true), HVTLFS_OK);
    count = 0;
    assert_int_equal(hvtlfs_thaw(fixture.partition, 0), HVTLFS_OK);
    expect(HVTLFS_EVENT_TSC_EMULATION, HVTLFS_NO_VP, 1, 0, 0);
    expect_write(fixture.vp, HV_X64_MSR_TSC_EMULATION_STATUS, 0);
    expect(HVTLFS_EVENT_TSC_EMULATION, HVTLFS_NO_VP, 0, 0, 0);
    fixture_stop(&fixture);
}

static void test_overlays(void **state)
{
    (void)state;
    make("hypercall");
    expect_write(fixture.vp, HV_X64_MSR_GUEST_OS_ID, LINUX_ID);
    count = 0;
    expect_write(fixture.vp, HV_X64_MSR_HYPERCALL, 0x7001);
    expect(HVTLFS_EVENT_OVERLAY_SET, HVTLFS_NO_VP, HVTLFS_OVERLAY_HYPERCALL, 0x7000, 1);
    expect_write(fixture.vp, HV_X64_MSR_HYPERCALL, 0);
    expect(HVTLFS_EVENT_OVERLAY_CLEAR, HVTLFS_NO_VP, HVTLFS_OVERLAY_HYPERCALL, 0x7000, 0);
    fixture_stop(&fixture);
}

static void test_registers(void **state)
{
    uint64_t value = 77;

    (void)state;
    make("hypercall,vpindex");
    expect_write(fixture.vp, HV_X64_MSR_GUEST_OS_ID, LINUX_ID);
    expect(HVTLFS_EVENT_MSR_WRITE, 0, HV_X64_MSR_GUEST_OS_ID, LINUX_ID, HVTLFS_MSR_DONE);
    expect_read(fixture.vp, HV_X64_MSR_GUEST_OS_ID, LINUX_ID);
    expect(HVTLFS_EVENT_MSR_READ, 0, HV_X64_MSR_GUEST_OS_ID, LINUX_ID, HVTLFS_MSR_DONE);
    expect_write_fault(fixture.vp, HV_X64_MSR_VP_INDEX, 5);
    expect(HVTLFS_EVENT_MSR_WRITE, 0, HV_X64_MSR_VP_INDEX, 5, HVTLFS_MSR_FAULT);
    /* A read that faults has no value to tell. */
    assert_int_equal(hvtlfs_msr_read(fixture.vp, HV_X64_MSR_EOM, &value), HVTLFS_MSR_FAULT);
    expect(HVTLFS_EVENT_MSR_READ, 0, HV_X64_MSR_EOM, 0, HVTLFS_MSR_FAULT);
    fixture_stop(&fixture);
}

/* A value that the register refuses is a fault like one of a register that is not there. */
static void test_faults_are_counted(void **state)
{
    struct hvtlfs_counters counters = {.size = sizeof(counters)};

    (void)state;
    make("hypercall,synic,vpindex,time-ref-count");
    expect_write_fault(fixture.vp, HV_X64_MSR_VP_INDEX, 5);
    expect_write_fault(fixture.vp, HV_X64_MSR_SINT0, 15); /* a vector below 16 */
    expect_read_fault(fixture.vp, HV_X64_MSR_CRASH_P0);
    expect_write(fixture.vp, HV_X64_MSR_SINT0, 16);
    assert_int_equal(hvtlfs_read_counters(fixture.vp, &counters), HVTLFS_OK);
    assert_int_equal(counters.msr_faults, 3);
    fixture_stop(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls),
        cmocka_unit_test(test_interrupts),
        cmocka_unit_test(test_an_nmi),
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_emulation_of_the_tsc),
        cmocka_unit_test(test_overlays),
        cmocka_unit_test(test_registers),
        cmocka_unit_test(test_faults_are_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
