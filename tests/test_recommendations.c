/* SPDX-License-Identifier: MIT */
/* recommendations.def against the other tables: no bit is forgotten, none is set by someone else. */
#include "fixture.h"

#include "feature_rows.h"

enum answer { NO, YES, HOST };

struct recommendation {
    uint32_t bit;
    const char *name;
    uint32_t feature;
    enum answer windows_7, windows_server_2012, windows_10, linux_, freebsd, nested;
};

static const struct recommendation rows[] = {
#define RECOMMENDATION(bit, name, feature, w7, w2012, w10, linux_, freebsd, nested, why, source)   \
    {bit, #name, HVTLFS_FEATURE_##feature, w7, w2012, w10, linux_, freebsd, nested},
#include "recommendations.def"
#undef RECOMMENDATION
};

#define ROWS (sizeof(rows) / sizeof(rows[0]))

/* The named bits of leaf 4 EAX. */
static const struct {
    uint32_t leaf;
    const char *reg;
    uint32_t high, low;
    const char *name;
} bits[] = {
#define CPUID_BITS(leaf, reg, high, low, name, meaning) {leaf, #reg, high, low, #name},
#include "cpuid_bits.def"
#undef CPUID_BITS
};

static void every_named_bit_of_leaf_4_has_a_row(void **state)
{
    size_t i;
    size_t row = 0;

    (void)state;
    for (i = 0; i < sizeof(bits) / sizeof(bits[0]); i++) {
        if (bits[i].leaf == 0x40000004 && !strcmp(bits[i].reg, "EAX") &&
            strcmp(bits[i].name, "Reserved") != 0) {
            assert_in_range(row, 0, ROWS - 1);
            assert_int_equal(rows[row].bit, bits[i].low);
            assert_string_equal(rows[row].name, bits[i].name);
            row++;
        }
    }
    assert_int_equal(row, ROWS);
}

/* The feature whose row in features.def sets a bit of leaf 4 EAX. */
static uint32_t feature_of_bit(uint32_t bit)
{
    uint32_t feature, i;

    for (feature = 0; feature < HVTLFS_FEATURE_COUNT; feature++) {
        for (i = 0; i < 3; i++) {
            const struct hvti_cpuid_bit *cpuid = &hvti_feature_rows[feature].cpuid[i];

            if (cpuid->used && cpuid->leaf == 4 && cpuid->reg == HVTI_EAX && cpuid->bit == bit) {
                return feature;
            }
        }
    }
    return HVTLFS_FEATURE_COUNT;
}

static void each_row_names_the_feature_that_sets_its_bit(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; i < ROWS; i++) {
        assert_int_equal(rows[i].feature, feature_of_bit(rows[i].bit));
    }
}

static void nothing_is_recommended_that_no_feature_sets(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; i < ROWS; i++) {
        const struct recommendation *row = &rows[i];

        if (row->feature == HVTLFS_FEATURE_COUNT) {
            assert_true(row->windows_7 == NO && row->windows_server_2012 == NO &&
                        row->windows_10 == NO && row->linux_ == NO && row->freebsd == NO &&
                        row->nested == NO);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_named_bit_of_leaf_4_has_a_row),
        cmocka_unit_test(each_row_names_the_feature_that_sets_its_bit),
        cmocka_unit_test(nothing_is_recommended_that_no_feature_sets),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
