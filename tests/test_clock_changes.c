/* SPDX-License-Identifier: MIT */
/*
 * Readers of the clock take no lock: a counter is odd while its parameters change (docs/REFTIME.md). What
 * another thread would see at the wrong moment is looked at from inside the callbacks, which run there.
 */
#include "fixture.h"

#include <hvtlfs/state.h>
#include <hvtlfs/time.h>

#include "state.h"

static struct fixture fixture;
static struct hvtlfs_host_ops inner;

/* What the callbacks saw. */
static struct {
    uint32_t samples; /* of either clock */
    uint32_t odd;     /* of these, while `changes` was odd */
    uint32_t locks;
    bool locked;
    uint32_t unprotected; /* samples without the lock while it was odd */
} seen;

static void note_sample(void)
{
    const bool odd = fixture.partition && fixture.partition->clock.changes % 2;

    seen.samples++;
    seen.odd += odd;
    seen.unprotected += odd && !seen.locked;
}

static uint64_t guest_tsc(void *context, uint32_t vp_index)
{
    note_sample();
    return inner.guest_tsc(context, vp_index);
}

static uint64_t host_time(void *context)
{
    note_sample();
    return inner.host_time(context);
}

static void lock(void *context)
{
    inner.lock(context);
    seen.locked = true;
    seen.locks++;
}

static void unlock(void *context)
{
    seen.locked = false;
    inner.unlock(context);
}

static void watch(struct hvtlfs_config *config)
{
    inner = config->ops;
    config->ops.guest_tsc = guest_tsc;
    config->ops.host_time = host_time;
    config->ops.lock = lock;
    config->ops.unlock = unlock;
}

static void make(bool invariant)
{
    fixture_prepare(&fixture);
    fixture.features = "time";
    fixture.config.invariant_tsc = invariant;
    fixture.config.apic_hz = 1;
    fixture.adjust = watch;
    fixture_start(&fixture);
    model_host_advance(fixture.host, 10000);
    memset(&seen, 0, sizeof(seen));
}

static uint32_t changes(void)
{
    return fixture.partition->clock.changes;
}

/* Since `before` there was one change, and all that it sampled was sampled inside. */
static void expect_one_change(uint32_t before, bool samples)
{
    assert_int_equal(changes(), before + 2);
    assert_int_equal(seen.samples != 0, samples);
    assert_int_equal(seen.odd, seen.samples);
    assert_int_equal(seen.unprotected, 0);
    memset(&seen, 0, sizeof(seen));
}

static void test_every_change_makes_the_counter_odd_before_it_samples(void **state)
{
    (void)state;
    for (int invariant = 0; invariant < 2; invariant++) {
        uint32_t before;

        make(invariant);
        before = changes();
        assert_int_equal(before % 2, 0);
        assert_int_equal(hvtlfs_freeze(fixture.partition), HVTLFS_OK);
        expect_one_change(before, true);
        assert_int_equal(hvtlfs_reference_time_set(fixture.partition, 50000), HVTLFS_OK);
        expect_one_change(before + 2, false);
        assert_int_equal(hvtlfs_thaw(fixture.partition, 0), HVTLFS_OK);
        expect_one_change(before + 4, true);
        hvtlfs_tsc_changed(fixture.vp, 5);
        expect_one_change(before + 6, true);
        fixture_stop(&fixture);
    }
}

/* A reader takes the lock when it met a change, and only then. */
static void expect_reading(uint32_t counter, bool locked)
{
    uint64_t value;

    fixture.partition->clock.changes = counter;
    memset(&seen, 0, sizeof(seen));
    (void)hvtlfs_reference_time(fixture.vp);
    assert_int_equal(seen.locks, locked);
    assert_int_equal(seen.unprotected, 0);
    memset(&seen, 0, sizeof(seen));
    assert_int_equal(hvtlfs_msr_read(fixture.vp, HV_X64_MSR_TIME_REF_COUNT, &value),
                     HVTLFS_MSR_DONE);
    assert_int_equal(seen.locks, locked);
    assert_int_equal(seen.unprotected, 0);
}

static void test_a_reader_takes_the_lock_only_when_it_met_a_change(void **state)
{
    (void)state;
    for (int invariant = 0; invariant < 2; invariant++) {
        make(invariant);
        for (uint32_t counter = 0; counter < 8; counter++) {
            expect_reading(counter, counter % 2);
        }
        fixture.partition->clock.changes = 0;
        fixture_stop(&fixture);
    }
}

/* The counter moves between the reader's two looks: what it has computed is not kept. */
static uint64_t tsc_while_it_changes(void *context, uint32_t vp_index)
{
    if (!seen.locked) {
        fixture.partition->clock.changes += 2;
    }
    seen.samples++;
    return inner.guest_tsc(context, vp_index);
}

static uint64_t time_while_it_changes(void *context)
{
    if (!seen.locked) {
        fixture.partition->clock.changes += 2;
    }
    seen.samples++;
    return inner.host_time(context);
}

static void watch_and_change(struct hvtlfs_config *config)
{
    watch(config);
    config->ops.guest_tsc = tsc_while_it_changes;
    config->ops.host_time = time_while_it_changes;
}

static void test_a_reading_from_before_a_change_is_not_kept(void **state)
{
    (void)state;
    for (int invariant = 0; invariant < 2; invariant++) {
        uint64_t value;

        fixture_prepare(&fixture);
        fixture.features = "time";
        fixture.config.invariant_tsc = invariant;
        fixture.adjust = watch_and_change;
        /* Init samples before there is a partition to look at. */
        seen.locked = true;
        fixture_start(&fixture);
        memset(&seen, 0, sizeof(seen));
        (void)hvtlfs_reference_time(fixture.vp);
        assert_int_equal(seen.locks, 1);
        assert_int_equal(hvtlfs_msr_read(fixture.vp, HV_X64_MSR_TIME_REF_COUNT, &value),
                         HVTLFS_MSR_DONE);
        assert_int_equal(seen.locks, 2);
        fixture_stop(&fixture);
    }
}

static void test_a_load_is_a_change(void **state)
{
    static uint8_t bytes[1 << 16];
    size_t size = 0;
    uint32_t before;

    (void)state;
    make(true);
    assert_int_equal(hvtlfs_freeze(fixture.partition), HVTLFS_OK);
    assert_int_equal(hvtlfs_state_save(fixture.partition, bytes, sizeof(bytes), &size, NULL),
                     HVTLFS_OK);
    fixture_stop(&fixture);
    fixture.partition = NULL;
    make(true);
    before = changes();
    assert_int_equal(hvtlfs_state_load(fixture.partition, bytes, size, NULL), HVTLFS_OK);
    assert_int_equal(changes(), before + 2);
    fixture_stop(&fixture);
}

/* ---- What a change leaves alone ---- */

static uint64_t msr_time(void)
{
    uint64_t value = 0;

    assert_int_equal(hvtlfs_msr_read(fixture.vp, HV_X64_MSR_TIME_REF_COUNT, &value),
                     HVTLFS_MSR_DONE);
    return value;
}

/* TLFS 12.4: of the host's clock each value is given once, whoever else looks at the time meanwhile. */
static void test_looking_at_the_time_gives_no_value_away(void **state)
{
    uint64_t first;

    (void)state;
    make(false);
    first = msr_time();
    for (uint64_t i = 1; i < 5; i++) {
        (void)hvtlfs_reference_time(fixture.vp);
        hvtlfs_tsc_changed(fixture.vp, 7);
        assert_int_equal(msr_time(), first + i);
    }
    fixture_stop(&fixture);
    /* Also of the very first value. */
    fixture_prepare(&fixture);
    fixture.features = "time";
    fixture_start(&fixture);
    for (uint64_t i = 0; i < 3; i++) {
        assert_int_equal(msr_time(), i);
        (void)hvtlfs_reference_time(fixture.vp);
    }
    fixture_stop(&fixture);
}

static void test_a_tsc_that_did_not_change_changes_nothing(void **state)
{
    uint32_t before;

    (void)state;
    make(true);
    before = changes();
    hvtlfs_tsc_changed(fixture.vp, 0);
    assert_int_equal(changes(), before);
    assert_int_equal(seen.locks, 0);
    fixture_stop(&fixture);
}

static void test_time_may_be_set_to_what_it_is(void **state)
{
    uint64_t now;

    (void)state;
    make(true);
    assert_int_equal(hvtlfs_freeze(fixture.partition), HVTLFS_OK);
    now = hvtlfs_reference_time(fixture.vp);
    assert_int_equal(hvtlfs_reference_time_set(fixture.partition, now - 1), HVTLFS_ERR_ARGUMENT);
    assert_int_equal(hvtlfs_reference_time_set(fixture.partition, now), HVTLFS_OK);
    assert_int_equal(hvtlfs_reference_time(fixture.vp), now);
    fixture_stop(&fixture);
}

/* A pause may last until the end of time, and no longer. */
static void test_a_pause_ends_before_time_does(void **state)
{
    uint64_t now;

    (void)state;
    make(true);
    assert_int_equal(hvtlfs_freeze(fixture.partition), HVTLFS_OK);
    now = hvtlfs_reference_time(fixture.vp);
    assert_int_equal(hvtlfs_thaw(fixture.partition, UINT64_MAX - now + 1), HVTLFS_ERR_ARGUMENT);
    assert_int_equal(hvtlfs_thaw(fixture.partition, UINT64_MAX - now), HVTLFS_OK);
    assert_int_equal(hvtlfs_reference_time(fixture.vp), UINT64_MAX);
    fixture_stop(&fixture);
}

/* A partition that tells no time needs no clock, on no host. */
static void without_clocks(struct hvtlfs_config *config)
{
    config->ops.guest_tsc = NULL;
    config->ops.host_time = NULL;
}

static void test_a_partition_without_clocks_is_moved(void **state)
{
    (void)state;
    fixture_prepare(&fixture);
    fixture.adjust = without_clocks;
    fixture_start(&fixture);
    assert_int_equal(hvtlfs_freeze(fixture.partition), HVTLFS_OK);
    assert_int_equal(hvtlfs_migrate(fixture.partition, 0, false), HVTLFS_OK);
    assert_int_equal(hvtlfs_thaw(fixture.partition, 0), HVTLFS_OK);
    fixture_stop(&fixture);
}

/* Whoever is told of changed rates has to be told which. */
static void test_a_guest_with_reenlightenment_needs_the_rate(void **state)
{
    (void)state;
    fixture_prepare(&fixture);
    fixture.features = "time-ref-count,reenlightenment";
    fixture.config.invariant_tsc = true;
    fixture_start(&fixture);
    assert_int_equal(hvtlfs_freeze(fixture.partition), HVTLFS_OK);
    assert_int_equal(hvtlfs_migrate(fixture.partition, 0, true), HVTLFS_ERR_TSC_RATE);
    fixture_stop(&fixture);
}

/* ---- The page while the clock changes ---- */

#define PAGE UINT64_C(0x7000)

static uint32_t visible; /* samples inside a change that found a valid page */

static uint64_t tsc_and_page(void *context, uint32_t vp_index)
{
    if (fixture.partition && fixture.partition->clock.changes % 2) {
        visible += model_host_guest_read32(fixture.host, PAGE) != 0;
        seen.samples++;
    }
    return inner.guest_tsc(context, vp_index);
}

static void watch_page(struct hvtlfs_config *config)
{
    inner = config->ops;
    config->ops.guest_tsc = tsc_and_page;
}

/* What a guest computes from the page while the clock stops must not be later than where it stops. */
static void test_no_change_samples_under_a_valid_page(void **state)
{
    (void)state;
    fixture_prepare(&fixture);
    fixture.features = "time";
    fixture.config.invariant_tsc = true;
    fixture.adjust = watch_page;
    fixture_start(&fixture);
    expect_write(fixture.vp, HV_X64_MSR_REFERENCE_TSC, PAGE | 1);
    assert_int_not_equal(model_host_guest_read32(fixture.host, PAGE), 0);
    visible = 0;
    memset(&seen, 0, sizeof(seen));
    assert_int_equal(hvtlfs_freeze(fixture.partition), HVTLFS_OK);
    assert_int_equal(hvtlfs_thaw(fixture.partition, 0), HVTLFS_OK);
    for (uint32_t i = 0; i < 2; i++) {
        model_host_set_tsc_offset(fixture.host, i, 500);
        hvtlfs_tsc_changed(hvtlfs_partition_vp(fixture.partition, i), 500);
    }
    assert_int_not_equal(model_host_guest_read32(fixture.host, PAGE), 0);
    assert_true(seen.samples >= 4);
    assert_int_equal(visible, 0);
    fixture_stop(&fixture);
}

/* ---- Counters ---- */

/* A caller that knows more than we do gets what we know; its size and the rest stay as they are. */
static void test_counters_for_a_larger_struct(void **state)
{
    struct {
        struct hvtlfs_time_counters known;
        uint64_t more;
    } counters;

    (void)state;
    make(true);
    memset(&counters, 0x5A, sizeof(counters));
    counters.known.size = sizeof(counters);
    (void)msr_time();
    assert_int_equal(hvtlfs_read_time_counters(fixture.partition, &counters.known), HVTLFS_OK);
    assert_int_equal(counters.known.size, sizeof(counters));
    assert_int_equal(counters.known.msr_reads, 1);
    assert_int_equal(counters.known.page_sequence, 0);
    assert_int_equal(counters.more, UINT64_C(0x5A5A5A5A5A5A5A5A));
    fixture_stop(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_change_makes_the_counter_odd_before_it_samples),
        cmocka_unit_test(test_a_reader_takes_the_lock_only_when_it_met_a_change),
        cmocka_unit_test(test_a_reading_from_before_a_change_is_not_kept),
        cmocka_unit_test(test_a_load_is_a_change),
        cmocka_unit_test(test_looking_at_the_time_gives_no_value_away),
        cmocka_unit_test(test_a_tsc_that_did_not_change_changes_nothing),
        cmocka_unit_test(test_time_may_be_set_to_what_it_is),
        cmocka_unit_test(test_a_pause_ends_before_time_does),
        cmocka_unit_test(test_a_partition_without_clocks_is_moved),
        cmocka_unit_test(test_a_guest_with_reenlightenment_needs_the_rate),
        cmocka_unit_test(test_no_change_samples_under_a_valid_page),
        cmocka_unit_test(test_counters_for_a_larger_struct),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
