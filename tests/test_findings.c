/* SPDX-License-Identifier: MIT */
/*
 * What fuzzing and fault injection found: one test for each, named after what is true now. The targets
 * that found them are in tests/fuzz, test_faults.c and test_bounds.c.
 */
#include "fixture.h"

#include <hvtlfs/state.h>
#include <hvtlfs/time.h>

static struct fixture fixture;

static void start(const char *features, bool copies)
{
    fixture_prepare(&fixture);
    fixture.features = features;
    fixture.options.copies_overlays = copies;
    fixture_start(&fixture);
}

static size_t save(uint8_t *buffer, size_t size)
{
    size_t used = 0;

    assert_int_equal(hvtlfs_state_save(fixture.partition, buffer, size, &used, NULL), HVTLFS_OK);
    return used;
}

/* fuzz_cpuid: bits of the set beyond the last feature were looked up in the table of features. */
static void bits_that_are_no_feature_show_nothing(void **state)
{
    struct hvtlfs_cpuid_identity identity = {.cpuid_base = 0x40000000};
    struct hvtlfs_cpuid_regs regs;

    (void)state;
    identity.features.word[0] = ~((UINT64_C(1) << HVTLFS_FEATURE_COUNT) - 1);
    assert_int_equal(hvtlfs_cpuid_max_leaf(&identity), 0x40000005);
    for (uint32_t leaf = 0x40000003; leaf <= 0x40000004; leaf++) {
        assert_true(hvtlfs_cpuid_leaf(&identity, leaf, &regs));
        assert_int_equal(regs.eax | regs.ebx | regs.ecx | regs.edx, 0);
    }
}

/* fuzz_hypercall: a page that the host refused to show again was later taken away all the same. */
static void a_page_below_that_cannot_come_back_is_out_of_reach(void **state)
{
    (void)state;
    start("synic", false);
    assert_int_equal(hvtlfs_msr_write(fixture.vp, 0x40000082, 0x5001), HVTLFS_MSR_DONE);
    assert_int_equal(hvtlfs_msr_write(fixture.vp, 0x40000083, 0x5001), HVTLFS_MSR_DONE);
    assert_int_equal(model_host_overlay_count(fixture.host), 1);
    model_host_fail(fixture.host, 1, false); /* the event page, when the message page goes */
    assert_int_equal(hvtlfs_msr_write(fixture.vp, 0x40000083, 0), HVTLFS_MSR_DONE);
    model_host_fail(fixture.host, 0, false);
    assert_int_equal(model_host_overlay_count(fixture.host), 0);
    assert_int_equal(hvtlfs_msr_write(fixture.vp, 0x40000082, 0x6001), HVTLFS_MSR_DONE);
    assert_int_equal(model_host_overlay_count(fixture.host), 1);
    fixture_stop(&fixture); /* fails for a broken contract */
}

/* fuzz_msr: the body of a hypercall page that could not be shown stayed in the saved state. */
static void a_refused_hypercall_page_leaves_nothing_behind(void **state)
{
    static uint8_t before[65536], after[65536];
    size_t size;

    (void)state;
    start("", true);
    assert_int_equal(hvtlfs_msr_write(fixture.vp, 0x40000000, LINUX_ID), HVTLFS_MSR_DONE);
    assert_int_equal(hvtlfs_freeze(fixture.partition), HVTLFS_OK);
    size = save(before, sizeof(before));
    assert_int_equal(hvtlfs_msr_write(fixture.vp, 0x40000001, 0x80000001), HVTLFS_MSR_FAULT);
    assert_int_equal(save(after, sizeof(after)), size);
    assert_memory_equal(before, after, size);
    fixture_stop(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bits_that_are_no_feature_show_nothing),
        cmocka_unit_test(a_page_below_that_cannot_come_back_is_out_of_reach),
        cmocka_unit_test(a_refused_hypercall_page_leaves_nothing_behind),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
