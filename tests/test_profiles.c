/* SPDX-License-Identifier: MIT */
/* Profiles: every decision is there, has a reason, and makes a set that a partition accepts. */
#include "fixture.h"

#include <hvtlfs/profiles.h>

static enum hvtlfs_profile named(const char *name)
{
    return hvtlfs_profile_find(name, strlen(name));
}

static struct hvtlfs_features features_of(const char *name)
{
    struct hvtlfs_feature_list list;

    assert_int_not_equal(named(name), HVTLFS_PROFILE_COUNT);
    hvtlfs_profile_features(named(name), &list);
    return list.features;
}

static bool gives(const char *profile, const char *feature_list)
{
    struct hvtlfs_features features = features_of(profile);
    struct hvtlfs_feature_list wanted = {.features = {{0, 0}}};

    assert_int_equal(hvtlfs_features_parse(&wanted, feature_list, strlen(feature_list), NULL),
                     HVTLFS_OK);
    return (features.word[0] & wanted.features.word[0]) == wanted.features.word[0];
}

static void test_the_profiles_of_the_issue_exist(void **state)
{
    static const char *const names[] = {"minimal",
                                        "windows-7",
                                        "windows-10",
                                        "windows-11",
                                        "windows-server-2008r2",
                                        "windows-server-2012",
                                        "windows-server-2016",
                                        "windows-server-2022",
                                        "linux",
                                        "freebsd",
                                        "nested"};

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        enum hvtlfs_profile profile = named(names[i]);

        assert_int_not_equal(profile, HVTLFS_PROFILE_COUNT);
        assert_string_equal(hvtlfs_profile_name(profile), names[i]);
        assert_non_null(hvtlfs_profile_summary(profile));
    }
    assert_int_equal(sizeof(names) / sizeof(names[0]), HVTLFS_PROFILE_COUNT);
}

static void test_what_is_no_profile_is_refused(void **state)
{
    struct hvtlfs_profile_decision row;
    struct hvtlfs_config config;

    (void)state;
    hvtlfs_config_init(&config);
    assert_int_equal(named(""), HVTLFS_PROFILE_COUNT);
    assert_int_equal(named("windows-1"), HVTLFS_PROFILE_COUNT);
    assert_int_equal(named("windows-100"), HVTLFS_PROFILE_COUNT);
    assert_int_equal(hvtlfs_profile_find("linux\0", 6), HVTLFS_PROFILE_COUNT);
    assert_null(hvtlfs_profile_name(HVTLFS_PROFILE_COUNT));
    assert_null(hvtlfs_profile_summary((enum hvtlfs_profile)1000));
    assert_false(hvtlfs_profile_row(HVTLFS_PROFILE_COUNT, 0, &row));
    assert_int_equal(hvtlfs_profile_apply(HVTLFS_PROFILE_COUNT, &config), HVTLFS_ERR_ARGUMENT);
    assert_int_equal(hvtlfs_profile_apply(HVTLFS_PROFILE_LINUX, NULL), HVTLFS_ERR_ARGUMENT);
    config.size = 8;
    assert_int_equal(hvtlfs_profile_apply(HVTLFS_PROFILE_LINUX, &config), HVTLFS_ERR_STRUCT_SIZE);
}

static void test_every_feature_has_one_row_with_a_reason_and_a_source_in_every_profile(void **state)
{
    (void)state;
    for (uint32_t p = 0; p < HVTLFS_PROFILE_COUNT; p++) {
        unsigned rows_of[HVTLFS_FEATURE_COUNT] = {0};
        struct hvtlfs_profile_decision row;
        struct hvtlfs_feature_list list;

        hvtlfs_profile_features((enum hvtlfs_profile)p, &list);
        for (size_t i = 0; hvtlfs_profile_row((enum hvtlfs_profile)p, i, &row); i++) {
            assert_non_null(row.name);
            assert_true(strlen(row.reason) > 10);
            assert_true(strlen(row.source) > 0);
            if (row.kind == HVTLFS_PROFILE_SETS) {
                assert_non_null(row.value);
                continue;
            }
            rows_of[row.feature]++;
            assert_int_equal(hvtlfs_features_has(&list.features, row.feature),
                             row.kind == HVTLFS_PROFILE_GIVES);
        }
        for (uint32_t f = 0; f < HVTLFS_FEATURE_COUNT; f++) {
            if (rows_of[f] != 1) {
                fail_msg("%s has %u rows for %s", hvtlfs_profile_name((enum hvtlfs_profile)p),
                         rows_of[f], hvtlfs_feature_name((enum hvtlfs_feature)f));
            }
        }
    }
}

static void test_every_profile_is_complete_and_free_of_conflicts(void **state)
{
    (void)state;
    for (uint32_t p = 0; p < HVTLFS_PROFILE_COUNT; p++) {
        struct hvtlfs_feature_list list;

        hvtlfs_profile_features((enum hvtlfs_profile)p, &list);
        assert_int_equal(hvtlfs_features_check(&list.features, NULL), HVTLFS_OK);
    }
}

static void test_every_profile_makes_a_partition(void **state)
{
    (void)state;
    for (uint32_t p = 0; p < HVTLFS_PROFILE_COUNT; p++) {
        struct fixture fixture;
        struct hvtlfs_partition *partition;

        fixture_prepare(&fixture);
        assert_int_equal(hvtlfs_profile_apply((enum hvtlfs_profile)p, &fixture.config), HVTLFS_OK);
        fixture.host = model_host_create(&fixture.options);
        model_host_configure(fixture.host, &fixture.config);
        assert_int_equal(model_host_partition(fixture.host, &fixture.config, &partition, NULL),
                         HVTLFS_OK);
        model_host_destroy(fixture.host);
    }
}

static void test_windows_gets_relaxed_timing_and_time_without_exits(void **state)
{
    static const char *const windows[] = {"windows-7",           "windows-10",
                                          "windows-11",          "windows-server-2008r2",
                                          "windows-server-2012", "windows-server-2016",
                                          "windows-server-2022", "nested"};

    (void)state;
    for (size_t i = 0; i < sizeof(windows) / sizeof(windows[0]); i++) {
        assert_true(gives(windows[i], "relaxed,vapic,spinlocks,time,vpindex"));
        assert_false(gives(windows[i], "crash"));
        assert_false(gives(windows[i], "debug"));
    }
    assert_true(gives("windows-10", "stimer"));
    assert_true(gives("nested", "stimer-direct,reenlightenment,nested-flush"));
}

static void test_linux_gets_what_its_drivers_look_for(void **state)
{
    (void)state;
    assert_true(gives("linux", "vpindex,frequencies,time,stimer-direct,ipi,tlbflush,guest-idle"));
    assert_true(gives("linux", "avic,ex-processor-masks"));
}

static void test_minimal_is_the_minimal_list(void **state)
{
    struct hvtlfs_feature_list list, minimal;

    (void)state;
    hvtlfs_profile_features(HVTLFS_PROFILE_MINIMAL, &list);
    hvtlfs_feature_list_minimal(&minimal);
    assert_memory_equal(&list, &minimal, sizeof(list));
}

static void test_settings_reach_the_configuration(void **state)
{
    struct hvtlfs_config config;

    (void)state;
    hvtlfs_config_init(&config);
    assert_int_equal(hvtlfs_profile_apply(HVTLFS_PROFILE_WINDOWS_SERVER_2012, &config), HVTLFS_OK);
    assert_int_equal(config.spin_count, 0xFFF);
    assert_int_equal(config.policy, HVTLFS_POLICY_FLUSH_MASK_0_IS_ALL);
    assert_string_equal(config.vendor, "Microsoft Hv");

    hvtlfs_config_init(&config);
    assert_int_equal(hvtlfs_profile_apply(HVTLFS_PROFILE_FREEBSD, &config), HVTLFS_OK);
    assert_int_equal(config.policy, 0);
    assert_string_equal(config.vendor, "libhvtlfs");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_profiles_of_the_issue_exist),
        cmocka_unit_test(test_what_is_no_profile_is_refused),
        cmocka_unit_test(
            test_every_feature_has_one_row_with_a_reason_and_a_source_in_every_profile),
        cmocka_unit_test(test_every_profile_is_complete_and_free_of_conflicts),
        cmocka_unit_test(test_every_profile_makes_a_partition),
        cmocka_unit_test(test_windows_gets_relaxed_timing_and_time_without_exits),
        cmocka_unit_test(test_linux_gets_what_its_drivers_look_for),
        cmocka_unit_test(test_minimal_is_the_minimal_list),
        cmocka_unit_test(test_settings_reach_the_configuration),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
