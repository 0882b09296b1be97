/* SPDX-License-Identifier: MIT */
/*
 * TLFS 16.6: which rate a guest is taken to know. It begins with the first host's; it learns another when a
 * migration comes without emulation in force, or when it ends emulation.
 */
#include "fixture.h"

#include <hvtlfs/state.h>
#include <hvtlfs/time.h>

#define GHZ UINT64_C(1000000000)
#define FIRST_TSC UINT64_C(777000111222)

static struct fixture fixture;

static int start(void **state)
{
    (void)state;
    fixture_prepare(&fixture);
    fixture.options.tsc_hz = GHZ;
    fixture.options.tsc = FIRST_TSC;
    fixture.config.invariant_tsc = true;
    fixture.config.apic_hz = 200000000;
    fixture.features = "time,frequencies,reenlightenment,tsc-invariant";
    fixture_start(&fixture);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    fixture_stop(&fixture);
    return 0;
}

/* To a host of that rate, whose TSC is `tsc` when the guest goes on. */
static void migrate(uint64_t hz, uint64_t tsc)
{
    assert_int_equal(hvtlfs_freeze(fixture.partition), HVTLFS_OK);
    model_host_set_tsc_hz(fixture.host, hz);
    model_host_set_tsc(fixture.host, tsc);
    assert_int_equal(hvtlfs_migrate(fixture.partition, hz, true), HVTLFS_OK);
    assert_int_equal(hvtlfs_thaw(fixture.partition, 0), HVTLFS_OK);
}

static uint64_t emulated(uint64_t tsc)
{
    return hvtlfs_tsc_emulated(fixture.vp, tsc);
}

static void test_a_guest_that_asks_for_nothing_knows_the_new_rate(void **state)
{
    (void)state;
    migrate(2 * GHZ, 1000);
    assert_false(hvtlfs_tsc_emulation_in_force(fixture.partition));
    expect_write(fixture.vp, HV_X64_MSR_TSC_EMULATION_CONTROL, 1);
    migrate(2 * GHZ, 5000); /* the rate that it knows */
    assert_false(hvtlfs_tsc_emulation_in_force(fixture.partition));
    migrate(4 * GHZ, 9000); /* twice what it knows */
    assert_true(hvtlfs_tsc_emulation_in_force(fixture.partition));
    assert_int_equal(emulated(9000 + 4 * GHZ), emulated(9000) + 2 * GHZ);
}

static void test_a_guest_that_ends_emulation_knows_the_rate_of_its_host(void **state)
{
    (void)state;
    expect_write(fixture.vp, HV_X64_MSR_TSC_EMULATION_CONTROL, 1);
    migrate(2 * GHZ, 1000);
    assert_int_equal(emulated(1000 + 2 * GHZ), FIRST_TSC + GHZ);
    expect_write(fixture.vp, HV_X64_MSR_TSC_EMULATION_STATUS, 0);
    migrate(6 * GHZ, 7000); /* three times what it knows now */
    assert_true(hvtlfs_tsc_emulation_in_force(fixture.partition));
    assert_int_equal(emulated(7000 + 6 * GHZ), emulated(7000) + 2 * GHZ);
}

/* Between two migrations nothing has been learnt: emulation goes on, also back at the first rate. */
static void test_emulation_lasts_until_the_guest_ends_it(void **state)
{
    (void)state;
    expect_write(fixture.vp, HV_X64_MSR_TSC_EMULATION_CONTROL, 1);
    migrate(2 * GHZ, 1000);
    expect_write(fixture.vp, HV_X64_MSR_TSC_EMULATION_CONTROL, 0);
    migrate(GHZ, 3000);
    assert_true(hvtlfs_tsc_emulation_in_force(fixture.partition));
    expect_read(fixture.vp, HV_X64_MSR_TSC_EMULATION_STATUS, 1);
}

static void test_ending_what_is_not_in_force_tells_nobody(void **state)
{
    (void)state;
    model_host_clear_events(fixture.host);
    expect_write(fixture.vp, HV_X64_MSR_TSC_EMULATION_STATUS, 0);
    assert_int_equal(model_host_event_count(fixture.host), 0);
}

/* Vector 16 is the first that an APIC takes; the interrupt is an ordinary one. */
static void test_the_interrupt(void **state)
{
    struct hvtlfs_interrupt interrupt;

    (void)state;
    expect_write(fixture.vp, HV_X64_MSR_REENLIGHTENMENT_CONTROL, 0x10000 | 0x10);
    migrate(2 * GHZ, 1000);
    assert_true(model_host_take_interrupt(fixture.host, 0, &interrupt));
    assert_int_equal(interrupt.vector, 0x10);
    assert_false(interrupt.nmi);
    assert_false(interrupt.auto_eoi);
}

/* Behind the first VP's TSC by less than a tick of the guest's is no tick. */
static void test_behind_the_origin_the_line_goes_down(void **state)
{
    const uint64_t at = 1000000;
    uint64_t base;

    (void)state;
    expect_write(fixture.vp, HV_X64_MSR_TSC_EMULATION_CONTROL, 1);
    migrate(3 * GHZ, at);
    base = emulated(at);
    assert_int_equal(emulated(at - 1), base);
    assert_int_equal(emulated(at - 2), base);
    assert_int_equal(emulated(at - 3), base - 1);
    assert_int_equal(emulated(at - 5), base - 1);
    assert_int_equal(emulated(at - 6), base - 2);
}

/* A reset of the partition ends it, and the host hears of that once. */
static void test_a_reset_ends_emulation(void **state)
{
    (void)state;
    expect_write(fixture.vp, HV_X64_MSR_TSC_EMULATION_CONTROL, 1);
    migrate(2 * GHZ, 1000);
    model_host_clear_events(fixture.host);
    hvtlfs_partition_reset(fixture.partition);
    assert_false(hvtlfs_tsc_emulation_in_force(fixture.partition));
    assert_int_equal(model_host_events_of(fixture.host, MODEL_EVENT_TSC_EMULATION), 1);
    for (size_t i = 0; i < model_host_event_count(fixture.host); i++) {
        struct model_event event;

        assert_true(model_host_event(fixture.host, i, &event));
        if (event.kind == MODEL_EVENT_TSC_EMULATION) {
            assert_int_equal(event.values[0], 0);
        }
    }
}

/* ---- A load is a migration where the host is another ---- */

static void load_at(uint64_t hz)
{
    static uint8_t bytes[1 << 16];
    size_t size;

    assert_int_equal(hvtlfs_freeze(fixture.partition), HVTLFS_OK);
    assert_int_equal(hvtlfs_state_save(fixture.partition, bytes, sizeof(bytes), &size, NULL),
                     HVTLFS_OK);
    fixture_stop(&fixture);
    fixture_prepare(&fixture);
    fixture.options.tsc_hz = hz;
    fixture.options.tsc = 5000;
    fixture.config.invariant_tsc = true;
    fixture.config.apic_hz = 200000000;
    fixture.features = "time,frequencies,reenlightenment,tsc-invariant";
    fixture_start(&fixture);
    assert_int_equal(hvtlfs_state_load(fixture.partition, bytes, size, NULL), HVTLFS_OK);
    assert_int_equal(model_host_interrupt_count(fixture.host, 0), 0);
    assert_int_equal(hvtlfs_thaw(fixture.partition, 0), HVTLFS_OK);
}

static void test_a_load_on_another_host_is_a_migration(void **state)
{
    static const struct {
        uint64_t hz;
        uint32_t interrupts;
    } hosts[] = {{GHZ, 0}, {2 * GHZ, 1}, {3 * GHZ, 1}};

    (void)state;
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        (void)start(NULL);
        expect_write(fixture.vp, HV_X64_MSR_REENLIGHTENMENT_CONTROL, 0x10000 | 0x50);
        load_at(hosts[i].hz);
        assert_int_equal(model_host_interrupt_count(fixture.host, 0), hosts[i].interrupts);
        expect_read(fixture.vp, HV_X64_MSR_TSC_FREQUENCY, hosts[i].hz);
        fixture_stop(&fixture);
    }
}

/* A migration that was under way when the state was saved is one after the load. */
static void test_a_migration_is_not_forgotten_by_a_load(void **state)
{
    (void)state;
    (void)start(NULL);
    expect_write(fixture.vp, HV_X64_MSR_REENLIGHTENMENT_CONTROL, 0x10000 | 0x50);
    assert_int_equal(hvtlfs_freeze(fixture.partition), HVTLFS_OK);
    assert_int_equal(hvtlfs_migrate(fixture.partition, 2 * GHZ, true), HVTLFS_OK);
    assert_int_equal(hvtlfs_thaw(fixture.partition, 0), HVTLFS_OK);
    assert_int_equal(model_host_interrupt_count(fixture.host, 0), 1);
    load_at(2 * GHZ);
    assert_int_equal(model_host_interrupt_count(fixture.host, 0), 0);
    fixture_stop(&fixture);
}

/* The new host is told of emulation that is in force; after a pause it knows. */
static void test_a_new_host_is_told_of_emulation(void **state)
{
    (void)state;
    (void)start(NULL);
    expect_write(fixture.vp, HV_X64_MSR_TSC_EMULATION_CONTROL, 1);
    migrate(2 * GHZ, 1000);
    model_host_clear_events(fixture.host);
    assert_int_equal(hvtlfs_freeze(fixture.partition), HVTLFS_OK);
    assert_int_equal(hvtlfs_thaw(fixture.partition, 0), HVTLFS_OK);
    assert_int_equal(model_host_events_of(fixture.host, MODEL_EVENT_TSC_EMULATION), 0);
    load_at(2 * GHZ);
    assert_true(hvtlfs_tsc_emulation_in_force(fixture.partition));
    assert_int_equal(model_host_events_of(fixture.host, MODEL_EVENT_TSC_EMULATION), 1);
    fixture_stop(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_guest_that_asks_for_nothing_knows_the_new_rate,
                                        start, stop),
        cmocka_unit_test_setup_teardown(test_a_guest_that_ends_emulation_knows_the_rate_of_its_host,
                                        start, stop),
        cmocka_unit_test_setup_teardown(test_emulation_lasts_until_the_guest_ends_it, start, stop),
        cmocka_unit_test_setup_teardown(test_ending_what_is_not_in_force_tells_nobody, start, stop),
        cmocka_unit_test_setup_teardown(test_the_interrupt, start, stop),
        cmocka_unit_test_setup_teardown(test_behind_the_origin_the_line_goes_down, start, stop),
        cmocka_unit_test_setup_teardown(test_a_reset_ends_emulation, start, stop),
        cmocka_unit_test(test_a_load_on_another_host_is_a_migration),
        cmocka_unit_test(test_a_migration_is_not_forgotten_by_a_load),
        cmocka_unit_test(test_a_new_host_is_told_of_emulation),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
