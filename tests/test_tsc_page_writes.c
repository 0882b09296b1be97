/* SPDX-License-Identifier: MIT */
/*
 * How the reference TSC page is written (TLFS 12.7): in which order, when anew, and when not. A host that
 * copies pages sees each write; one that maps them sees the page at the moment it is taken away.
 */
#include "fixture.h"

#include <hvtlfs/time.h>

#include "state.h"

#define PAGE UINT64_C(0x5000)
#define OTHER UINT64_C(0x9000)
#define MOST 64u

static struct fixture fixture;
static struct hvtlfs_host_ops inner;

static struct {
    uint64_t offset;
    size_t size;
    uint64_t number; /* of a write of at most 8 bytes */
} writes[MOST];
static size_t count;
static uint32_t cleared_valid;

static bool gpa_write(void *context, uint64_t gpa, const void *buffer, size_t size)
{
    if (gpa / 4096 == PAGE / 4096 && size <= 16 && count < MOST) {
        writes[count].offset = gpa % 4096;
        writes[count].size = size;
        writes[count].number = 0;
        memcpy(&writes[count].number, buffer, size < 8 ? size : 8);
        count++;
    }
    return inner.gpa_write(context, gpa, buffer, size);
}

/* Whoever reads the page for the last time must find it invalid. */
static void overlay_clear(void *context, const struct hvtlfs_overlay *overlay)
{
    if (overlay->kind == HVTLFS_OVERLAY_REFERENCE_TSC) {
        cleared_valid += model_host_guest_read32(fixture.host, overlay->gpa) != 0;
    }
    inner.overlay_clear(context, overlay);
}

static void watch(struct hvtlfs_config *config)
{
    inner = config->ops;
    config->ops.gpa_write = gpa_write;
    if (inner.overlay_clear) {
        config->ops.overlay_clear = overlay_clear;
    }
}

static void make(bool copies)
{
    fixture_prepare(&fixture);
    fixture.options.copies_overlays = copies;
    fixture.features = "time";
    fixture.config.invariant_tsc = true;
    fixture.adjust = watch;
    fixture_start(&fixture);
    expect_write(fixture.vp, HV_X64_MSR_REFERENCE_TSC, PAGE | 1);
    count = 0;
    cleared_valid = 0;
}

static uint32_t sequence_at(uint64_t gpa)
{
    return model_host_guest_read32(fixture.host, gpa);
}

static void update(void)
{
    hvti_lock(fixture.partition);
    hvti_tsc_page_update(fixture.partition);
    hvti_unlock(fixture.partition);
}

static void test_invalid_then_the_body_then_another_sequence(void **state)
{
    uint32_t before;

    (void)state;
    make(true);
    before = sequence_at(PAGE);
    assert_int_not_equal(before, 0);
    fixture.partition->clock.offset += 7;
    update();
    assert_int_equal(count, 3);
    assert_int_equal(writes[0].offset, 0);
    assert_int_equal(writes[0].size, 4);
    assert_int_equal(writes[0].number, 0);
    assert_int_equal(writes[1].offset, 8);
    assert_int_equal(writes[1].size, 16);
    assert_int_equal(writes[2].offset, 0);
    assert_int_equal(writes[2].size, 4);
    assert_int_not_equal(writes[2].number, 0);
    assert_int_not_equal(sequence_at(PAGE), before);
    fixture_stop(&fixture);
}

/* Anew when the scale or the offset is another, and not otherwise. */
static void test_written_anew_when_a_number_changed(void **state)
{
    (void)state;
    for (int copies = 0; copies < 2; copies++) {
        uint32_t before;

        make(copies);
        before = sequence_at(PAGE);
        update();
        assert_int_equal(sequence_at(PAGE), before);
        fixture.partition->clock.offset++;
        update();
        assert_int_equal(sequence_at(PAGE), before + 1);
        assert_int_equal(model_host_guest_read64(fixture.host, PAGE + 16),
                         fixture.partition->clock.offset);
        fixture.partition->clock.scale++;
        update();
        assert_int_equal(sequence_at(PAGE), before + 2);
        assert_int_equal(model_host_guest_read64(fixture.host, PAGE + 8),
                         fixture.partition->clock.scale);
        fixture_stop(&fixture);
    }
}

/* TLFS 12.7.1: bits 11:1 are preserved and mean nothing. */
static void test_a_register_written_again_moves_nothing(void **state)
{
    (void)state;
    for (int copies = 0; copies < 2; copies++) {
        uint32_t before;

        make(copies);
        before = sequence_at(PAGE);
        model_host_clear_events(fixture.host);
        expect_write(fixture.vp, HV_X64_MSR_REFERENCE_TSC, PAGE | 0x7FF);
        expect_write(fixture.vp, HV_X64_MSR_REFERENCE_TSC, PAGE | 0x7FF);
        assert_int_equal(model_host_event_count(fixture.host), 0);
        expect_read(fixture.vp, HV_X64_MSR_REFERENCE_TSC, PAGE | 0x7FF);
        assert_int_equal(sequence_at(PAGE), before);
        assert_int_equal(count, 0);
        assert_int_equal(model_host_overlay_count(fixture.host), copies ? 0 : 1);
        fixture_stop(&fixture);
    }
}

static void test_a_page_that_moves_is_valid_where_it_arrives(void **state)
{
    (void)state;
    for (int copies = 0; copies < 2; copies++) {
        make(copies);
        expect_write(fixture.vp, HV_X64_MSR_REFERENCE_TSC, OTHER | 1);
        assert_int_not_equal(sequence_at(OTHER), 0);
        assert_int_equal(sequence_at(PAGE), 0); /* memory, which was zero */
        assert_int_equal(hvtlfs_tsc_page_query(fixture.partition), HVTLFS_TSC_PAGE_VALID);
        expect_write(fixture.vp, HV_X64_MSR_REFERENCE_TSC, OTHER);
        assert_int_equal(sequence_at(OTHER), 0);
        expect_write(fixture.vp, HV_X64_MSR_REFERENCE_TSC, PAGE | 1);
        assert_int_not_equal(sequence_at(PAGE), 0);
        assert_int_equal(cleared_valid, 0);
        fixture_stop(&fixture);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_invalid_then_the_body_then_another_sequence),
        cmocka_unit_test(test_written_anew_when_a_number_changed),
        cmocka_unit_test(test_a_register_written_again_moves_nothing),
        cmocka_unit_test(test_a_page_that_moves_is_valid_where_it_arrives),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
