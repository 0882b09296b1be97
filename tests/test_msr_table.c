/* SPDX-License-Identifier: MIT */
/* What every row of msrs.def promises, generated from the rows themselves. */
#include "fixture.h"

struct row {
    uint32_t number;
    const char *name;
    uint32_t feature; /* HVTLFS_FEATURE_COUNT: known by name only */
    bool reads, writes;
};

#define READ(handler) true
#define WRITE(handler) true
#define NO_READ false
#define NO_WRITE false
#define MSR(name, feature, read, write, clause)                                                    \
    {HV_X64_MSR_##name, "HV_X64_MSR_" #name, HVTLFS_FEATURE_##feature, read, write},
#define MSR_ABSENT(name, clause)                                                                   \
    {HV_X64_MSR_##name, "HV_X64_MSR_" #name, HVTLFS_FEATURE_COUNT, false, false},
static const struct row rows[] = {
#include "msrs.def"
};

#define ROWS (sizeof(rows) / sizeof(rows[0]))
#define FIRST 0x40000000u
#define LAST 0x400001FFu

static struct fixture fixture;

static int stop(void **state)
{
    (void)state;
    fixture_stop(&fixture);
    return 0;
}

static void everything_on(struct hvtlfs_config *config)
{
    uint32_t feature;

    for (feature = 0; feature < HVTLFS_FEATURE_COUNT; feature++) {
        if (feature != HVTLFS_FEATURE_NO_VP_LIMIT) {
            hvtlfs_features_add(&config->features, (enum hvtlfs_feature)feature);
        }
    }
    config->invariant_tsc = true;
    config->apic_hz = 1000000000;
}

static void nothing_on(struct hvtlfs_config *config)
{
    memset(&config->features, 0, sizeof(config->features));
}

static int start_full(void **state)
{
    (void)state;
    fixture_prepare(&fixture);
    fixture.adjust = everything_on;
    fixture_start(&fixture);
    return 0;
}

static int start_bare(void **state)
{
    (void)state;
    fixture_prepare(&fixture);
    fixture.adjust = nothing_on;
    fixture_start(&fixture);
    return 0;
}

static const struct row *row_of(uint32_t number)
{
    size_t i;

    for (i = 0; i < ROWS; i++) {
        if (rows[i].number == number) {
            return &rows[i];
        }
    }
    return NULL;
}

static void rows_are_sorted_and_unique_and_found_by_name(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; i < ROWS; i++) {
        assert_true(!i || rows[i - 1].number < rows[i].number);
        assert_string_equal(hvtlfs_msr_name(rows[i].number), rows[i].name);
    }
    assert_null(hvtlfs_msr_name(FIRST - 1));
    assert_null(hvtlfs_msr_name(0x40000004));
    assert_null(hvtlfs_msr_name(UINT32_MAX));
}

static void with_every_feature_off_every_number_of_ours_faults_both_ways(void **state)
{
    uint32_t number;

    (void)state;
    for (number = FIRST; number <= LAST; number++) {
        expect_read_fault(fixture.vp, number);
        expect_write_fault(fixture.vp, number, 0);
    }
}

static void a_direction_that_a_row_lacks_faults(void **state)
{
    uint32_t number;

    (void)state;
    for (number = FIRST; number <= LAST; number++) {
        const struct row *row = row_of(number);

        if (!row || !row->reads) {
            expect_read_fault(fixture.vp, number);
        }
        if (!row || !row->writes) {
            expect_write_fault(fixture.vp, number, 0);
            expect_write_fault(fixture.vp, number, UINT64_MAX);
        }
    }
}

static void every_offered_row_can_be_read_where_it_reads(void **state)
{
    const struct hvtlfs_features offered = hvtlfs_partition_features(fixture.partition);
    size_t i;

    (void)state;
    for (i = 0; i < ROWS; i++) {
        uint64_t value;

        if (rows[i].feature < HVTLFS_FEATURE_COUNT && rows[i].reads &&
            hvtlfs_features_has(&offered, (enum hvtlfs_feature)rows[i].feature)) {
            enum hvtlfs_msr_result result = hvtlfs_msr_read(fixture.vp, rows[i].number, &value);

            assert_true(result == HVTLFS_MSR_DONE || result == HVTLFS_MSR_IDLE);
        }
    }
}

static void numbers_outside_our_range_are_not_ours(void **state)
{
    static const uint32_t numbers[] = {0,          0x10,       0x1B,       FIRST - 1,
                                       LAST + 1,   0x40001002, 0x4000109F, 0xC0000080,
                                       UINT32_MAX, 0x800,      0x4B564D00};
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        uint64_t value = 7;

        assert_int_equal(hvtlfs_msr_read(fixture.vp, numbers[i], &value), HVTLFS_MSR_UNCLAIMED);
        assert_int_equal(value, 7);
        assert_int_equal(hvtlfs_msr_write(fixture.vp, numbers[i], 0), HVTLFS_MSR_UNCLAIMED);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_sorted_and_unique_and_found_by_name),
        cmocka_unit_test_setup_teardown(
            with_every_feature_off_every_number_of_ours_faults_both_ways, start_bare, stop),
        cmocka_unit_test_setup_teardown(a_direction_that_a_row_lacks_faults, start_full, stop),
        cmocka_unit_test_setup_teardown(every_offered_row_can_be_read_where_it_reads, start_full,
                                        stop),
        cmocka_unit_test_setup_teardown(numbers_outside_our_range_are_not_ours, start_full, stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
