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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_change_makes_the_counter_odd_before_it_samples),
        cmocka_unit_test(test_a_reader_takes_the_lock_only_when_it_met_a_change),
        cmocka_unit_test(test_a_reading_from_before_a_change_is_not_kept),
        cmocka_unit_test(test_a_load_is_a_change),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
