/* SPDX-License-Identifier: MIT */
/* TLFS 2.4 and the requirements document, p. 3-7: what CPUID shows. */
#include "fixture.h"

static struct fixture fixture;

static int prepare(void **state)
{
    (void)state;
    fixture_prepare(&fixture);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    fixture_stop(&fixture);
    return 0;
}

static void expect_leaf(uint32_t leaf, uint32_t eax, uint32_t ebx, uint32_t ecx, uint32_t edx)
{
    struct hvtlfs_cpuid_regs regs = {1, 2, 3, 4};

    assert_true(hvtlfs_cpuid(fixture.vp, leaf, 0, &regs));
    assert_int_equal(regs.eax, eax);
    assert_int_equal(regs.ebx, ebx);
    assert_int_equal(regs.ecx, ecx);
    assert_int_equal(regs.edx, edx);
}

static void minimal_hv1_is_exactly_the_requirements_documents_minimum(void **state)
{
    (void)state;
    fixture_start(&fixture);
    expect_leaf(0x40000000, 0x40000005, 0x7263694D, 0x666F736F, 0x76482074); /* W002-W005 */
    expect_leaf(0x40000001, 0x31237648, 0, 0, 0);                            /* W001 */
    expect_leaf(0x40000002, 0, 0, 0, 0);
    expect_leaf(0x40000003, 0x60, 0, 0, 0); /* W011 */
    expect_leaf(0x40000004, 0, 0, 0, 0);
    expect_leaf(0x40000005, 0, 0, 0, 0);
}

static void leaves_above_the_maximum_up_to_the_ranges_end_are_ours_and_zero(void **state)
{
    uint32_t leaf;

    (void)state;
    fixture_start(&fixture);
    for (leaf = 0x40000006; leaf <= 0x400000FF; leaf++) {
        expect_leaf(leaf, 0, 0, 0, 0);
    }
}

static void other_leaves_stay_the_hosts(void **state)
{
    static const uint32_t leaves[] = {0, 2, 7, 0x3FFFFFFF, 0x40000100, 0x80000001, 0xFFFFFFFF};
    size_t i;

    (void)state;
    fixture_start(&fixture);
    for (i = 0; i < sizeof(leaves) / sizeof(leaves[0]); i++) {
        struct hvtlfs_cpuid_regs regs = {1, 2, 3, 4};

        assert_false(hvtlfs_cpuid(fixture.vp, leaves[i], 0, &regs));
        assert_true(regs.eax == 1 && regs.ebx == 2 && regs.ecx == 3 && regs.edx == 4);
    }
}

static void leaf_1_says_that_a_hypervisor_is_present_and_nothing_else(void **state)
{
    (void)state;
    fixture_start(&fixture);
    expect_leaf(1, 1, 2, 0x80000003, 4);
}

static void the_vendor_string_is_the_hosts_choice(void **state)
{
    (void)state;
    memcpy(fixture.config.vendor, "Linux KVM Hv", 13);
    fixture_start(&fixture);
    /* "Linu" "x KV" "M Hv", little-endian by hand */
    expect_leaf(0x40000000, 0x40000005, 0x756E694C, 0x564B2078, 0x7648204D);
}

static void a_short_vendor_string_is_padded_with_zeros(void **state)
{
    (void)state;
    memset(fixture.config.vendor, 0, sizeof(fixture.config.vendor));
    memcpy(fixture.config.vendor, "abcde", 5);
    fixture_start(&fixture);
    expect_leaf(0x40000000, 0x40000005, 0x64636261, 0x65, 0);
}

static void the_version_is_shown_as_configured(void **state)
{
    const uint32_t version[4] = {14393, 0x000A0000, 5, 0x01000002};

    (void)state;
    memcpy(fixture.config.version, version, sizeof(version));
    fixture_start(&fixture);
    expect_leaf(0x40000002, 14393, 0x000A0000, 5, 0x01000002);
}

static void the_spin_count_is_shown_only_with_spinlocks(void **state)
{
    (void)state;
    fixture.features = "hv-spinlocks=0x1fff,hv-relaxed";
    fixture_start(&fixture);
    expect_leaf(0x40000004, 0x20, 0x1FFF, 0, 0);
}

static void spinlocks_without_a_number_never_notify(void **state)
{
    (void)state;
    fixture.features = "spinlocks";
    fixture_start(&fixture);
    expect_leaf(0x40000004, 0, 0xFFFFFFFF, 0, 0); /* W007 */
}

static void leaf_5_says_minus_1_only_when_asked(void **state)
{
    (void)state;
    fixture.config.max_vps = 240;
    fixture.config.max_lps = 64;
    fixture.features = "no-vp-limit";
    fixture_start(&fixture);
    expect_leaf(0x40000005, 0xFFFFFFFF, 64, 0, 0); /* W009 */
    fixture_stop(&fixture);

    fixture_prepare(&fixture);
    fixture.config.max_vps = 240;
    fixture_start(&fixture);
    expect_leaf(0x40000005, 240, 0, 0, 0);
}

static void the_maximum_leaf_follows_from_what_is_enabled(void **state)
{
    struct hvtlfs_cpuid_identity identity = {.cpuid_base = 0x40000000};

    (void)state;
    fixture.config.hardware_features = 0xA;
    fixture_start(&fixture);
    expect_leaf(0x40000000, 0x40000006, 0x7263694D, 0x666F736F, 0x76482074);
    expect_leaf(0x40000006, 0xA, 0, 0, 0);
    expect_leaf(0x4000000A, 0, 0, 0, 0);

    assert_int_equal(hvtlfs_cpuid_max_leaf(&identity), 0x40000005);
    hvtlfs_features_add(&identity.features, HVTLFS_FEATURE_NESTED_FLUSH);
    assert_int_equal(hvtlfs_cpuid_max_leaf(&identity), 0x4000000A);
}

static void the_leaves_can_move_to_another_base(void **state)
{
    struct hvtlfs_cpuid_regs regs = {1, 2, 3, 4};

    (void)state;
    fixture.config.cpuid_base = 0x40000100;
    fixture_start(&fixture);
    expect_leaf(0x40000100, 0x40000105, 0x7263694D, 0x666F736F, 0x76482074);
    expect_leaf(0x40000101, 0x31237648, 0, 0, 0);
    assert_false(hvtlfs_cpuid(fixture.vp, 0x40000001, 0, &regs));
}

static void leaves_are_the_same_on_all_vps_and_after_the_guest_has_spoken(void **state)
{
    struct hvtlfs_cpuid_regs before[16], after[16];
    uint32_t i;

    (void)state;
    fixture.features = "relaxed,spinlocks=7,hypercall-lock";
    fixture_start(&fixture);
    for (i = 0; i < 16; i++) {
        hvtlfs_cpuid(fixture.vp, 0x40000000 + i, 0, &before[i]);
    }
    expect_write(fixture.vp, HV_X64_MSR_GUEST_OS_ID, LINUX_ID);
    expect_write(fixture.vp, HV_X64_MSR_HYPERCALL, 0x1001);
    for (i = 0; i < 16; i++) {
        hvtlfs_cpuid(hvtlfs_partition_vp(fixture.partition, 1), 0x40000000 + i, i, &after[i]);
    }
    assert_memory_equal(before, after, sizeof(before));
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, prepare, stop)
    const struct CMUnitTest tests[] = {
        TEST(minimal_hv1_is_exactly_the_requirements_documents_minimum),
        TEST(leaves_above_the_maximum_up_to_the_ranges_end_are_ours_and_zero),
        TEST(other_leaves_stay_the_hosts),
        TEST(leaf_1_says_that_a_hypervisor_is_present_and_nothing_else),
        TEST(the_vendor_string_is_the_hosts_choice),
        TEST(a_short_vendor_string_is_padded_with_zeros),
        TEST(the_version_is_shown_as_configured),
        TEST(the_spin_count_is_shown_only_with_spinlocks),
        TEST(spinlocks_without_a_number_never_notify),
        TEST(leaf_5_says_minus_1_only_when_asked),
        TEST(the_maximum_leaf_follows_from_what_is_enabled),
        TEST(the_leaves_can_move_to_another_base),
        TEST(leaves_are_the_same_on_all_vps_and_after_the_guest_has_spoken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
