/* SPDX-License-Identifier: MIT */
/* The feature table, feature lists, dependencies, and the leaves that follow from them. */
#include "fixture.h"

#include <stdio.h>

#include <hvtlfs/cpuid.h>

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
        assert_int_equal(parse(hvtlfs_feature_name((enum hvtlfs_feature)feature), NULL), HVTLFS_OK);
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
#define CPUID_BITS(leaf, reg, hi, lo, name, meaning)                                               \
    {leaf, HVTI_##reg, (hi) == (lo) ? (hi) : -1, #name},
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

/*
 * What leans on what, by reason: a reader of an invalid page falls back on the counter (TLFS 12.7.3); messages
 * and events are the SynIC's, which a VP finds by its index, as QEMU's hv-synic, hv-tlbflush and hv-ipi
 * have it; a timer sends messages and counts reference time; the rest refine what they are named after.
 */
static void features_lean_on_what_they_use(void **state)
{
    static const enum hvtlfs_feature pairs[][2] = {
        {HVTLFS_FEATURE_VP_INDEX, HVTLFS_FEATURE_HYPERCALL},
        {HVTLFS_FEATURE_REFERENCE_TSC, HVTLFS_FEATURE_TIME_REF_COUNT},
        {HVTLFS_FEATURE_SYNIC, HVTLFS_FEATURE_VP_INDEX},
        {HVTLFS_FEATURE_SINT_POLLING, HVTLFS_FEATURE_SYNIC},
        {HVTLFS_FEATURE_STIMER, HVTLFS_FEATURE_SYNIC},
        {HVTLFS_FEATURE_STIMER, HVTLFS_FEATURE_TIME_REF_COUNT},
        {HVTLFS_FEATURE_STIMER_DIRECT, HVTLFS_FEATURE_STIMER},
        {HVTLFS_FEATURE_UNHALTED_TIMER, HVTLFS_FEATURE_VAPIC},
        {HVTLFS_FEATURE_RESET_RECOMMENDED, HVTLFS_FEATURE_RESET},
        {HVTLFS_FEATURE_TLBFLUSH, HVTLFS_FEATURE_VP_INDEX},
        {HVTLFS_FEATURE_TLBFLUSH_EXT, HVTLFS_FEATURE_TLBFLUSH},
        {HVTLFS_FEATURE_IPI, HVTLFS_FEATURE_VP_INDEX},
        {HVTLFS_FEATURE_EX_PROCESSOR_MASKS, HVTLFS_FEATURE_VP_INDEX},
        {HVTLFS_FEATURE_VP_REGISTERS, HVTLFS_FEATURE_VP_INDEX},
        {HVTLFS_FEATURE_START_VP, HVTLFS_FEATURE_VP_INDEX},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        const struct hvtlfs_features needs = hvtlfs_feature_needs(pairs[i][0]);

        if (!hvtlfs_features_has(&needs, pairs[i][1])) {
            fail_msg("%s does not need %s", hvtlfs_feature_name(pairs[i][0]),
                     hvtlfs_feature_name(pairs[i][1]));
        }
    }
}

static void expect_count(const char *value, enum hvtlfs_status status, uint32_t count)
{
    char text[64];

    (void)snprintf(text, sizeof(text), "spinlocks=%s", value);
    hvtlfs_feature_list_minimal(&list);
    assert_int_equal(parse(text, NULL), status);
    if (!status) {
        assert_int_equal(list.spin_count, count);
    }
}

/* What stands beside the digits in ASCII is none. */
static void numbers_are_decimal_or_hexadecimal(void **state)
{
    static const char *const wrong[] = {"0x",    "0x/", "0x:", "0x@",         "0xg",       "0x`",
                                        "0xG",   "/",   ":",   "a",           "5x5",       "1x5",
                                        "0x0x5", "x5",  "-1",  "0x100000000", "4294967296"};

    (void)state;
    expect_count("0", HVTLFS_OK, 0);
    expect_count("9", HVTLFS_OK, 9);
    expect_count("10", HVTLFS_OK, 10);
    expect_count("0x0", HVTLFS_OK, 0);
    expect_count("0x9", HVTLFS_OK, 9);
    expect_count("0xa", HVTLFS_OK, 10);
    expect_count("0XA", HVTLFS_OK, 10);
    expect_count("0xf", HVTLFS_OK, 15);
    expect_count("0xF0", HVTLFS_OK, 240);
    expect_count("4294967295", HVTLFS_OK, UINT32_MAX);
    expect_count("0xFFFFFFFF", HVTLFS_OK, UINT32_MAX);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        expect_count(wrong[i], HVTLFS_ERR_FEATURE_VALUE, 0);
    }
}

/* What a feature is said to show is what the leaves show with it alone. */
static void the_bits_of_a_feature_are_those_of_its_leaves(void **state)
{
    (void)state;
    for (uint32_t feature = 0; feature < HVTLFS_FEATURE_COUNT; feature++) {
        struct hvtlfs_cpuid_identity identity = {.cpuid_base = 0x40000000};
        uint32_t told[11][4] = {{0}};
        struct hvtlfs_cpuid_bit bit;
        size_t count = 0;

        while (hvtlfs_feature_cpuid_bit((enum hvtlfs_feature)feature, count, &bit)) {
            assert_in_range(bit.leaf, 0x40000003, 0x4000000A);
            told[bit.leaf - 0x40000000][bit.reg] |= UINT32_C(1) << bit.bit;
            count++;
            assert_true(count < 8);
        }
        for (size_t beyond = count; beyond < 16; beyond++) {
            assert_false(hvtlfs_feature_cpuid_bit((enum hvtlfs_feature)feature, beyond, &bit));
        }
        hvtlfs_features_add(&identity.features, (enum hvtlfs_feature)feature);
        for (uint32_t leaf = 3; leaf <= 10; leaf += leaf == 4 ? 6 : 1) {
            struct hvtlfs_cpuid_regs regs;

            assert_true(hvtlfs_cpuid_leaf(&identity, 0x40000000 + leaf, &regs));
            assert_int_equal(regs.eax, told[leaf][0]);
            assert_int_equal(leaf == 4 ? 0 : regs.ebx, told[leaf][1]);
            assert_int_equal(regs.ecx, told[leaf][2]);
            assert_int_equal(regs.edx, told[leaf][3]);
        }
    }
    assert_false(hvtlfs_feature_cpuid_bit(HVTLFS_FEATURE_COUNT, 0, &(struct hvtlfs_cpuid_bit){0}));
}

/* Each thing that a host must give has a phrase of its own, and they end. */
static void what_a_host_must_give_is_listed_once(void **state)
{
    (void)state;
    for (uint32_t feature = 0; feature < HVTLFS_FEATURE_COUNT; feature++) {
        const char *needs[33] = {NULL};
        size_t count = 0;

        while ((needs[count] = hvtlfs_feature_host_need((enum hvtlfs_feature)feature, count))) {
            for (size_t i = 0; i < count; i++) {
                assert_string_not_equal(needs[i], needs[count]);
            }
            count++;
            assert_true(count < 32);
        }
        assert_int_equal(count, __builtin_popcount(hvti_feature_rows[feature].host));
        assert_null(hvtlfs_feature_host_need((enum hvtlfs_feature)feature, count + 1));
    }
    assert_string_equal(hvtlfs_feature_host_need(HVTLFS_FEATURE_CRASH, 0),
                        "the host gives no crash");
    assert_null(hvtlfs_feature_host_need(HVTLFS_FEATURE_CRASH, 1));
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
        cmocka_unit_test(features_lean_on_what_they_use),
        cmocka_unit_test(numbers_are_decimal_or_hexadecimal),
        cmocka_unit_test(the_bits_of_a_feature_are_those_of_its_leaves),
        cmocka_unit_test(what_a_host_must_give_is_listed_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
