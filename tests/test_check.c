/* SPDX-License-Identifier: MIT */
/* Validation: every row can fire, says who says so, and known dumps get the known verdict. */
#include "fixture.h"

#include <hvtlfs/check.h>
#include <hvtlfs/profiles.h>

#define CODES 64

struct found {
    const char *code[CODES];
    struct hvtlfs_finding finding[CODES];
    size_t count;
};

static void record(void *context, const struct hvtlfs_finding *finding)
{
    struct found *found = context;

    assert_true(found->count < CODES);
    assert_true(strlen(finding->sentence) > 10);
    assert_true(strlen(finding->source) > 3);
    assert_true(finding->guests != 0);
    found->finding[found->count] = *finding;
    found->code[found->count++] = finding->code;
}

static bool has(const struct found *found, const char *code)
{
    for (size_t i = 0; i < found->count; i++) {
        if (strcmp(found->code[i], code) == 0) {
            return true;
        }
    }
    return false;
}

static struct hvtlfs_check_result check_list(const char *text, uint32_t guests, struct found *found)
{
    struct hvtlfs_feature_list list = {.features = {{0, 0}}};
    struct hvtlfs_cpuid_identity identity = {.cpuid_base = 0x40000000, .vendor = "Microsoft Hv"};

    assert_int_equal(hvtlfs_features_parse(&list, text, strlen(text), NULL), HVTLFS_OK);
    identity.features = list.features;
    memset(found, 0, sizeof(*found));
    return hvtlfs_check_identity(&identity, guests, record, found);
}

static void test_a_missing_dependency_is_named(void **state)
{
    struct found found;
    char text[200];

    (void)state;
    check_list("hypercall,vpindex,time,stimer", HVTLFS_GUEST_ALL, &found);
    assert_string_equal(found.code[0], "dependency");
    assert_int_equal(found.finding[0].feature, HVTLFS_FEATURE_STIMER);
    assert_int_equal(found.finding[0].other, HVTLFS_FEATURE_SYNIC);
    hvtlfs_finding_text(&found.finding[0], text, sizeof(text));
    assert_string_equal(text, "hv-stimer needs hv-synic, which is off: add hv-synic or remove "
                              "hv-stimer");
}

static void test_the_two_privileges_are_obligatory(void **state)
{
    struct found found;

    (void)state;
    check_list("relaxed,time", HVTLFS_GUEST_ALL, &found);
    assert_true(has(&found, "mandatory-hypercall"));
    assert_true(has(&found, "mandatory-vp-index"));
    check_list("hypercall,vpindex", HVTLFS_GUEST_ALL, &found);
    assert_false(has(&found, "mandatory-hypercall"));
    assert_false(has(&found, "mandatory-vp-index"));
}

static void test_combinations_known_to_hurt_are_warnings(void **state)
{
    struct found found;
    struct hvtlfs_check_result result;

    (void)state;
    result = check_list("hypercall,vpindex,crash,debug", HVTLFS_GUEST_WINDOWS, &found);
    assert_true(has(&found, "crash-hides-dumps"));
    assert_true(has(&found, "debug-stops-boot"));
    assert_true(has(&found, "no-relaxed-timing"));
    assert_true(has(&found, "no-timers"));
    assert_int_equal(result.errors, 0);
    check_list("hypercall,vpindex,crash,debug", HVTLFS_GUEST_LINUX, &found);
    assert_false(has(&found, "crash-hides-dumps"));
}

static void test_no_vp_limit_excludes_flush_hints(void **state)
{
    struct found found;

    (void)state;
    check_list("hypercall,vpindex,no-vp-limit,tlbflush", HVTLFS_GUEST_ALL, &found);
    assert_true(has(&found, "flush-hints-without-limit"));
    check_list("hypercall,vpindex,no-vp-limit", HVTLFS_GUEST_ALL, &found);
    assert_false(has(&found, "flush-hints-without-limit"));
}

static void test_no_profile_has_an_error(void **state)
{
    static const uint32_t guest_of[HVTLFS_PROFILE_COUNT] = {
        [HVTLFS_PROFILE_MINIMAL] = HVTLFS_GUEST_ALL,
        [HVTLFS_PROFILE_LINUX] = HVTLFS_GUEST_LINUX,
        [HVTLFS_PROFILE_FREEBSD] = HVTLFS_GUEST_FREEBSD,
    };

    (void)state;
    for (uint32_t p = 0; p < HVTLFS_PROFILE_COUNT; p++) {
        struct hvtlfs_feature_list list;
        struct hvtlfs_cpuid_identity identity = {.cpuid_base = 0x40000000,
                                                 .vendor = "Microsoft Hv"};
        struct found found = {.count = 0};
        uint32_t guests = guest_of[p] ? guest_of[p] : HVTLFS_GUEST_WINDOWS;

        hvtlfs_profile_features((enum hvtlfs_profile)p, &list);
        identity.features = list.features;
        assert_int_equal(hvtlfs_check_identity(&identity, guests, record, &found).errors, 0);
        assert_false(has(&found, "crash-hides-dumps"));
        assert_false(has(&found, "debug-stops-boot"));
    }
}

/* ---- Dumps ---- */

static const struct hvtlfs_cpuid_leaf_entry good[] = {
    {1, 0, {0, 0, UINT32_C(0x80000000), 0}},
    {0x40000000, 0, {0x40000005, 0x7263694D, 0x666F736F, 0x76482074}},
    {0x40000001, 0, {0x31237648, 0, 0, 0}},
    {0x40000003, 0, {0x0000027E, 0, 0, 0x00080000}},
    {0x40000004, 0, {0x00000228, 0xFFFFFFFF, 0, 0}},
    {0x40000005, 0, {0xF0, 0x400, 0, 0}},
};

#define GOOD (sizeof(good) / sizeof(good[0]))

static void check_dump(size_t changed, struct hvtlfs_cpuid_regs regs, struct found *found)
{
    struct hvtlfs_cpuid_leaf_entry leaves[GOOD];

    memcpy(leaves, good, sizeof(good));
    if (changed < GOOD) {
        leaves[changed].regs = regs;
    }
    memset(found, 0, sizeof(*found));
    (void)hvtlfs_check_leaves(leaves, GOOD, HVTLFS_GUEST_ALL, record, found);
}

static void test_a_good_dump_has_no_errors(void **state)
{
    struct found found;
    struct hvtlfs_check_result result;

    (void)state;
    memset(&found, 0, sizeof(found));
    result =
        hvtlfs_check_leaves(good, GOOD, HVTLFS_GUEST_WINDOWS | HVTLFS_GUEST_LINUX, record, &found);
    assert_int_equal(result.errors, 0);
    assert_int_equal(result.warnings, 0);
    assert_true(has(&found, "clock-tsc-page"));
    assert_true(has(&found, "timer-direct"));
    assert_true(has(&found, "apic-msrs"));
}

static void test_each_way_not_to_be_seen(void **state)
{
    struct found found;

    (void)state;
    check_dump(0, (struct hvtlfs_cpuid_regs){0, 0, 0, 0}, &found);
    assert_true(has(&found, "no-hypervisor-bit"));
    check_dump(1, (struct hvtlfs_cpuid_regs){0x40000004, 0x7263694D, 0x666F736F, 0x76482074},
               &found);
    assert_true(has(&found, "short-range"));
    check_dump(1, (struct hvtlfs_cpuid_regs){0x40000005, 0x4B4D564B, 0x564B4D56, 0x4D}, &found);
    assert_true(has(&found, "vendor"));
    assert_false(has(&found, "vendor-without-vmbus"));
    check_dump(2, (struct hvtlfs_cpuid_regs){0, 0, 0, 0}, &found);
    assert_true(has(&found, "no-interface"));
    assert_int_equal(found.count, 1);
    check_dump(3, (struct hvtlfs_cpuid_regs){0x20, 0, 0, 0}, &found);
    assert_true(has(&found, "mandatory-vp-index"));
}

static void test_the_root_partitions_privileges_are_errors(void **state)
{
    struct found found;

    (void)state;
    for (uint32_t bit = 0; bit < 32; bit++) {
        const uint32_t root = 1u << 0 | 1u << 1 | 1u << 2 | 1u << 3 | 1u << 6 | 1u << 8 | 1u << 12 |
                              1u << 13; /* requirements document p. 5 */

        check_dump(3, (struct hvtlfs_cpuid_regs){0x27E, 1u << bit, 0, 0x80000}, &found);
        assert_int_equal(has(&found, "forbidden-privileges") || has(&found, "cpu-management") ||
                             has(&found, "access-partition-id"),
                         root >> bit & 1);
    }
}

static void test_half_features_of_others_are_found(void **state)
{
    struct found found;

    (void)state;
    check_dump(3, (struct hvtlfs_cpuid_regs){0x6A, 0, 0, 0}, &found); /* timers, no SynIC */
    assert_true(has(&found, "stimer-without-synic"));
    check_dump(3, (struct hvtlfs_cpuid_regs){0x26E, 0, 0, 0}, &found); /* no APIC MSRs */
    assert_true(has(&found, "apic-hint-without-msrs"));
    check_dump(3, (struct hvtlfs_cpuid_regs){0xA7E, 0, 0, 0}, &found);
    assert_true(has(&found, "half-frequencies"));
    check_dump(5, (struct hvtlfs_cpuid_regs){0xFFFFFFFF, 0, 0, 0}, &found);
    assert_false(has(&found, "flush-hints-without-limit"));
    check_dump(4, (struct hvtlfs_cpuid_regs){0x22C, 0, 0, 0}, &found);
    assert_false(has(&found, "flush-hints-without-limit"));
}

static void test_xsaves_without_xsavec_is_found(void **state)
{
    const struct hvtlfs_cpuid_leaf_entry leaves[] = {{0xD, 1, {8, 0, 0, 0}}};
    struct found found = {.count = 0};

    (void)state;
    (void)hvtlfs_check_leaves(leaves, 1, HVTLFS_GUEST_ALL, record, &found);
    assert_true(has(&found, "xsaves-without-xsavec"));
}

static void test_an_interface_above_another_ones_leaves(void **state)
{
    struct hvtlfs_cpuid_leaf_entry leaves[GOOD];
    struct found found = {.count = 0};

    (void)state;
    memcpy(leaves, good, sizeof(good));
    for (size_t i = 1; i < GOOD; i++) {
        leaves[i].leaf += 0x100;
    }
    leaves[1].regs.eax += 0x100;
    (void)hvtlfs_check_leaves(leaves, GOOD, HVTLFS_GUEST_ALL, record, &found);
    assert_true(has(&found, "other-base"));
    assert_false(has(&found, "short-range"));
}

static void test_a_missing_callback_says_so(void **state)
{
    struct fixture fixture;
    struct found found = {.count = 0};

    (void)state;
    fixture_prepare(&fixture);
    fixture.features = "spinlocks=0xfff";
    fixture_start(&fixture);
    assert_int_equal(hvtlfs_check_partition(fixture.partition, record, &found).warnings, 0);
    fixture_stop(&fixture);
}

static void no_spin_wait(struct hvtlfs_config *config)
{
    config->ops.spin_wait = NULL;
}

static void test_a_callback_that_is_missing_is_named(void **state)
{
    struct fixture fixture;
    struct found found = {.count = 0};

    (void)state;
    fixture_prepare(&fixture);
    fixture.features = "spinlocks=0xfff";
    fixture.adjust = no_spin_wait;
    fixture_start(&fixture);
    assert_int_equal(hvtlfs_check_partition(fixture.partition, record, &found).warnings, 1);
    assert_string_equal(found.code[0], "callback");
    assert_int_equal(found.finding[0].feature, HVTLFS_FEATURE_SPINLOCKS);
    assert_string_equal(found.finding[0].sentence, "the host gives no spin_wait");
    fixture_stop(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_missing_dependency_is_named),
        cmocka_unit_test(test_the_two_privileges_are_obligatory),
        cmocka_unit_test(test_combinations_known_to_hurt_are_warnings),
        cmocka_unit_test(test_no_vp_limit_excludes_flush_hints),
        cmocka_unit_test(test_no_profile_has_an_error),
        cmocka_unit_test(test_a_good_dump_has_no_errors),
        cmocka_unit_test(test_each_way_not_to_be_seen),
        cmocka_unit_test(test_the_root_partitions_privileges_are_errors),
        cmocka_unit_test(test_half_features_of_others_are_found),
        cmocka_unit_test(test_xsaves_without_xsavec_is_found),
        cmocka_unit_test(test_an_interface_above_another_ones_leaves),
        cmocka_unit_test(test_a_missing_callback_says_so),
        cmocka_unit_test(test_a_callback_that_is_missing_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
