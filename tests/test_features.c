/* SPDX-License-Identifier: MIT */
/* The feature table, feature lists, dependencies, and the leaves that follow from them. */
#include "fixture.h"

#include "feature_rows.h"
#include "host.h"

static struct hvtlfs_feature_list list;

static int minimal(void **state)
{
    (void)state;
    hvtlfs_feature_list_minimal(&list);
    return 0;
}

static enum hvtlfs_status parse(const char *text, struct hvtlfs_error *error)
{
    return hvtlfs_features_parse(&list, text, strlen(text), error);
}

static bool has(enum hvtlfs_feature feature)
{
    return hvtlfs_features_has(&list.features, feature);
}

static void a_list_is_spelled_as_qemu_spells_it(void **state)
{
    (void)state;
    assert_int_equal(parse("hv-relaxed, vapic=on,hv_spinlocks=0x1fff,,hv-time", NULL), HVTLFS_OK);
    assert_true(has(HVTLFS_FEATURE_RELAXED) && has(HVTLFS_FEATURE_VAPIC));
    assert_true(has(HVTLFS_FEATURE_SPINLOCKS));
    assert_int_equal(list.spin_count, 0x1FFF);
    assert_true(has(HVTLFS_FEATURE_TIME_REF_COUNT) && has(HVTLFS_FEATURE_REFERENCE_TSC));
    assert_false(has(HVTLFS_FEATURE_SYNIC));
    assert_int_equal(parse("vapic=off", NULL), HVTLFS_OK);
    assert_false(has(HVTLFS_FEATURE_VAPIC));
    assert_true(has(HVTLFS_FEATURE_RELAXED));
}

static void every_name_the_table_has_can_be_read_back(void **state)
{
    uint32_t feature;

    (void)state;
    for (feature = 0; feature < HVTLFS_FEATURE_COUNT; feature++) {
        hvtlfs_feature_list_minimal(&list);
        assert_int_equal(parse(hvtlfs_feature_name((enum hvtlfs_feature)feature), NULL),
                         HVTLFS_OK);
        assert_true(has((enum hvtlfs_feature)feature));
        assert_non_null(hvtlfs_feature_summary((enum hvtlfs_feature)feature));
    }
    assert_null(hvtlfs_feature_name(HVTLFS_FEATURE_COUNT));
    assert_null(hvtlfs_feature_summary(HVTLFS_FEATURE_COUNT));
}

static void an_unknown_name_is_refused_by_its_place_and_changes_nothing(void **state)
{
    struct hvtlfs_feature_list before = list;
    struct hvtlfs_error error;

    (void)state;
    assert_int_equal(parse("relaxed,hv-warp,vapic", &error), HVTLFS_ERR_UNKNOWN_FEATURE);
    assert_int_equal(error.status, HVTLFS_ERR_UNKNOWN_FEATURE);
    assert_int_equal(error.value, 8);
    assert_int_equal(error.limit, 7);
    assert_memory_equal(&list, &before, sizeof(list));
}

static void a_value_must_be_a_32_bit_number_and_only_where_one_belongs(void **state)
{
    (void)state;
    assert_int_equal(parse("spinlocks=4294967295", NULL), HVTLFS_OK);
    assert_int_equal(list.spin_count, HVTLFS_SPINLOCKS_NEVER);
    assert_int_equal(parse("spinlocks=4294967296", NULL), HVTLFS_ERR_FEATURE_VALUE);
    assert_int_equal(parse("spinlocks=18446744073709551617", NULL), HVTLFS_ERR_FEATURE_VALUE);
    assert_int_equal(parse("spinlocks=", NULL), HVTLFS_ERR_FEATURE_VALUE);
    assert_int_equal(parse("spinlocks=0x", NULL), HVTLFS_ERR_FEATURE_VALUE);
    assert_int_equal(parse("spinlocks=12q", NULL), HVTLFS_ERR_FEATURE_VALUE);
    assert_int_equal(parse("relaxed=7", NULL), HVTLFS_ERR_FEATURE_VALUE);
    assert_int_equal(parse("hv-", NULL), HVTLFS_ERR_UNKNOWN_FEATURE);
    assert_int_equal(hvtlfs_features_parse(NULL, "", 0, NULL), HVTLFS_ERR_ARGUMENT);
    assert_int_equal(hvtlfs_features_parse(&list, NULL, 3, NULL), HVTLFS_ERR_ARGUMENT);
}

static void a_list_is_read_only_as_far_as_its_size(void **state)
{
    (void)state;
    assert_int_equal(hvtlfs_features_parse(&list, "relaxedX", 7, NULL), HVTLFS_OK);
    assert_true(has(HVTLFS_FEATURE_RELAXED));
}

static void a_missing_dependency_is_named(void **state)
{
    struct hvtlfs_error error;
    char text[256];

    (void)state;
    assert_int_equal(parse("stimer,time", NULL), HVTLFS_OK);
    assert_int_equal(hvtlfs_features_check(&list.features, &error), HVTLFS_ERR_FEATURE_DEPENDENCY);
    assert_int_equal(error.feature, HVTLFS_FEATURE_STIMER);
    assert_int_equal(error.other, HVTLFS_FEATURE_SYNIC);
    hvtlfs_error_text(&error, text, sizeof(text));
    assert_non_null(strstr(text, "hv-stimer needs hv-synic"));
    assert_non_null(strstr(text, "add hv-synic"));
    hvtlfs_features_complete(&list.features);
    assert_int_equal(hvtlfs_features_check(&list.features, NULL), HVTLFS_OK);
}

static void no_vp_limit_excludes_the_flush_hints(void **state)
{
    struct hvtlfs_error error;
    char text[256];

    (void)state;
    assert_int_equal(parse("no-vp-limit,tlbflush", NULL), HVTLFS_OK);
    assert_int_equal(hvtlfs_features_check(&list.features, &error), HVTLFS_ERR_FEATURE_CONFLICT);
    hvtlfs_error_text(&error, text, sizeof(text));
    assert_non_null(strstr(text, "hv-no-vp-limit and hv-tlbflush"));
    assert_non_null(strstr(text, "leaf 4 EAX bits 1 and 2"));
}

static void dependencies_have_no_cycle_and_conflict_with_nothing_of_their_own(void **state)
{
    uint32_t feature;

    (void)state;
    for (feature = 0; feature < HVTLFS_FEATURE_COUNT; feature++) {
        struct hvtlfs_features set = {{0, 0}};

        hvtlfs_features_add(&set, (enum hvtlfs_feature)feature);
        hvtlfs_features_complete(&set);
        assert_int_equal(hvtlfs_features_check(&set, NULL), HVTLFS_OK);
        assert_false(hvti_feature_rows[feature].needs >> feature & 1);
    }
}

/* A field of the TLFS (cpuid_bits.def, checked against the transcribed tables) for every bit shown. */
static void every_bit_a_feature_shows_is_one_the_tlfs_names_and_is_its_own(void **state)
{
    static const struct {
        uint32_t leaf;
        int reg, hi;
        const char *name;
    } named[] = {
#define CPUID_BITS(leaf, reg, hi, lo, name, meaning) {leaf, HVTI_##reg, (hi) == (lo) ? (hi) : -1, #name},
#include "cpuid_bits.def"
    };
    uint32_t owners[11][4][32] = {{{0}}};
    uint32_t feature;
    size_t i, n;

    (void)state;
    for (feature = 0; feature < HVTLFS_FEATURE_COUNT; feature++) {
        for (i = 0; i < 3 && hvti_feature_rows[feature].cpuid[i].used; i++) {
            struct hvti_cpuid_bit bit = hvti_feature_rows[feature].cpuid[i];

            for (n = 0; n < ARRAY_LEN(named); n++) {
                if (named[n].leaf == 0x40000000u + bit.leaf && named[n].reg == bit.reg &&
                    named[n].hi == bit.bit) {
                    break;
                }
            }
            assert_true(n < ARRAY_LEN(named));
            assert_null(strstr(named[n].name, "Reserved"));
            assert_int_equal(owners[bit.leaf][bit.reg][bit.bit]++, 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_list_is_spelled_as_qemu_spells_it, minimal),
        cmocka_unit_test_setup(every_name_the_table_has_can_be_read_back, minimal),
        cmocka_unit_test_setup(an_unknown_name_is_refused_by_its_place_and_changes_nothing,
                               minimal),
        cmocka_unit_test_setup(a_value_must_be_a_32_bit_number_and_only_where_one_belongs, minimal),
        cmocka_unit_test_setup(a_list_is_read_only_as_far_as_its_size, minimal),
        cmocka_unit_test_setup(a_missing_dependency_is_named, minimal),
        cmocka_unit_test_setup(no_vp_limit_excludes_the_flush_hints, minimal),
        cmocka_unit_test_setup(dependencies_have_no_cycle_and_conflict_with_nothing_of_their_own,
                               minimal),
        cmocka_unit_test_setup(every_bit_a_feature_shows_is_one_the_tlfs_names_and_is_its_own,
                               minimal),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
