/* SPDX-License-Identifier: MIT */
/*
 * Each row of msrs.def by itself: its gate, its directions, its reset value; and that a fault leaves
 * nothing behind. The cases are made from the rows, so a new row is tested the day it is written.
 */
#include "fixture.h"
#include "state.h"

struct row {
    uint32_t number;
    const char *name;
    enum hvtlfs_feature feature;
    bool reads, writes;
};

#define READ(handler) true
#define WRITE(handler) true
#define NO_READ false
#define NO_WRITE false
#define MSR(name, feature, read, write, clause)                                                    \
    {HV_X64_MSR_##name, "HV_X64_MSR_" #name, HVTLFS_FEATURE_##feature, read, write},
#define MSR_ABSENT(name, clause)
static const struct row rows[] = {
#include "msrs.def"
};

#define ROWS (sizeof(rows) / sizeof(rows[0]))

/* Reset values other than 0 (TLFS 11.8.2, 11.8.5, 4.3.2), and registers that have none: clocks,
 * rates, the host's own. */
static const struct {
    uint32_t first, last;
    bool any;
    uint64_t value;
} exceptions[] = {
    {HV_X64_MSR_VP_RUNTIME, HV_X64_MSR_VP_RUNTIME, true, 0},
    {HV_X64_MSR_TIME_REF_COUNT, HV_X64_MSR_TIME_REF_COUNT, true, 0},
    {HV_X64_MSR_TSC_FREQUENCY, HV_X64_MSR_APIC_FREQUENCY, true, 0},
    {HV_X64_MSR_ICR, HV_X64_MSR_TPR, true, 0},
    {HV_X64_MSR_SVERSION, HV_X64_MSR_SVERSION, false, 1},
    {HV_X64_MSR_SINT0, HV_X64_MSR_SINT15, false, 0x10000},
    {HV_X64_MSR_SYNTH_DEBUG_CONTROL, HV_X64_MSR_SYNTH_DEBUG_PENDING_BUFFER, true, 0},
    {HV_X64_MSR_CRASH_CTL, HV_X64_MSR_CRASH_CTL, false, UINT64_C(0xC000000000000000)},
};

static struct fixture fixture;
static enum hvtlfs_feature missing;
static uint8_t *before;

static void all_but_the_missing(struct hvtlfs_config *config)
{
    struct hvtlfs_features needs;
    uint32_t feature;

    memset(&config->features, 0, sizeof(config->features));
    for (feature = 0; feature < HVTLFS_FEATURE_COUNT; feature++) {
        memset(&needs, 0, sizeof(needs));
        hvtlfs_features_add(&needs, (enum hvtlfs_feature)feature);
        hvtlfs_features_complete(&needs);
        if (feature != HVTLFS_FEATURE_NO_VP_LIMIT && !hvtlfs_features_has(&needs, missing)) {
            hvtlfs_features_add(&config->features, (enum hvtlfs_feature)feature);
        }
    }
    config->invariant_tsc = true;
    config->apic_hz = 1000000000;
}

static void start_without(enum hvtlfs_feature feature)
{
    missing = feature;
    fixture_prepare(&fixture);
    fixture.adjust = all_but_the_missing;
    fixture_start(&fixture);
    before = malloc(fixture.size);
    assert_non_null(before);
}

static void stop(void)
{
    free(before);
    fixture_stop(&fixture);
}

/* What is counted is no state. */
static void forget_counters(uint8_t *memory)
{
    const struct hvtlfs_partition *partition = fixture.partition;
    const uint8_t *vps = (const uint8_t *)partition->vps;
    size_t offset = (size_t)(vps - (const uint8_t *)fixture.memory);

    for (uint32_t slot = 0; slot < partition->vp_count; slot++) {
        memset(memory + offset + slot * sizeof(struct hvtlfs_vp) +
                   offsetof(struct hvtlfs_vp, counters),
               0, sizeof(struct hvti_counters));
    }
}

static void remember(void)
{
    forget_counters(fixture.memory);
    memcpy(before, fixture.memory, fixture.size);
    model_host_clear_events(fixture.host);
}

static void expect_untouched(void)
{
    forget_counters(fixture.memory);
    assert_memory_equal(before, fixture.memory, fixture.size);
    assert_int_equal(model_host_event_count(fixture.host), 0);
}

static bool offered(const struct row *row)
{
    const struct hvtlfs_features features = hvtlfs_partition_features(fixture.partition);

    return hvtlfs_features_has(&features, row->feature);
}

static void each_row_faults_both_ways_while_only_its_feature_is_off(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; i < ROWS; i++) {
        start_without(rows[i].feature);
        remember();
        expect_read_fault(fixture.vp, rows[i].number);
        expect_write_fault(fixture.vp, rows[i].number, 0);
        expect_write_fault(fixture.vp, rows[i].number, UINT64_MAX);
        expect_untouched();
        stop();
    }
}

static void each_row_faults_in_the_direction_that_it_lacks_and_changes_nothing(void **state)
{
    size_t i;

    (void)state;
    start_without(HVTLFS_FEATURE_COUNT);
    for (i = 0; i < ROWS; i++) {
        remember();
        if (!rows[i].reads) {
            expect_read_fault(fixture.vp, rows[i].number);
        }
        if (!rows[i].writes) {
            expect_write_fault(fixture.vp, rows[i].number, 0);
            expect_write_fault(fixture.vp, rows[i].number, UINT64_MAX);
        }
        expect_untouched();
    }
    stop();
}

/* Bits that may be anything: whatever is refused leaves no trace. */
static void a_write_that_faults_leaves_no_footprint(void **state)
{
    static const uint64_t values[] = {
        UINT64_MAX, 1, 2, UINT64_C(0xFFFFFFFFFFFFF001), UINT64_C(0x8000000000000000), 0xF};
    size_t i, j;

    (void)state;
    for (i = 0; i < ROWS; i++) {
        for (j = 0; j < sizeof(values) / sizeof(values[0]); j++) {
            start_without(HVTLFS_FEATURE_COUNT);
            remember();
            if (hvtlfs_msr_write(fixture.vp, rows[i].number, values[j]) == HVTLFS_MSR_FAULT) {
                expect_untouched();
            }
            stop();
        }
    }
}

static void expect_reset_values(void)
{
    size_t i, j;

    for (i = 0; i < ROWS; i++) {
        uint64_t expected = 0;
        uint64_t value = 0;
        bool any = !rows[i].reads || !offered(&rows[i]);

        for (j = 0; j < sizeof(exceptions) / sizeof(exceptions[0]); j++) {
            if (rows[i].number >= exceptions[j].first && rows[i].number <= exceptions[j].last) {
                expected = exceptions[j].value;
                any = any || exceptions[j].any;
            }
        }
        if (any) {
            continue;
        }
        assert_int_not_equal(hvtlfs_msr_read(fixture.vp, rows[i].number, &value), HVTLFS_MSR_FAULT);
        if (value != expected) {
            fail_msg("%s is 0x%llx after a reset", rows[i].name, (unsigned long long)value);
        }
    }
}

static void each_row_starts_with_its_reset_value_and_gets_it_back(void **state)
{
    static const uint64_t values[] = {0x3001, 0x30, 0x1000030, UINT64_C(0x8100000601B00000)};
    size_t i, j;

    (void)state;
    start_without(HVTLFS_FEATURE_COUNT);
    expect_reset_values();
    for (j = 0; j < sizeof(values) / sizeof(values[0]); j++) {
        for (i = 0; i < ROWS; i++) {
            enum hvtlfs_msr_result result = hvtlfs_msr_write(fixture.vp, rows[i].number, values[j]);

            assert_int_not_equal(result, HVTLFS_MSR_UNCLAIMED);
        }
    }
    hvtlfs_partition_reset(fixture.partition);
    expect_reset_values();
    stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_row_faults_both_ways_while_only_its_feature_is_off),
        cmocka_unit_test(each_row_faults_in_the_direction_that_it_lacks_and_changes_nothing),
        cmocka_unit_test(a_write_that_faults_leaves_no_footprint),
        cmocka_unit_test(each_row_starts_with_its_reset_value_and_gets_it_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
