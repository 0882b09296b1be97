/* SPDX-License-Identifier: MIT */
/* Flushes that are queued (TLFS 9.4): how much is queued for how many, and how often the host hears. */
#include "guest_call.h"

#include <hvtlfs/flush.h>

#define VPS 300u

static struct fixture fixture;
static struct guest_call call;
static struct guest_answer answer;
static struct hvtlfs_host_ops inner;
static uint32_t budget;
static uint64_t fail_from; /* reads of the input page from this offset on fail; 0: none */

static bool failing_read(void *context, uint64_t gpa, void *buffer, size_t size)
{
    return !(fail_from && gpa >= GUEST_INPUT + fail_from) &&
           inner.gpa_read(context, gpa, buffer, size);
}

static void adjust(struct hvtlfs_config *config)
{
    inner = config->ops;
    model_host_queue_flushes(&config->ops);
    config->ops.gpa_read = failing_read;
    config->ops.host_time = NULL;
    config->hypercall_reps = budget;
}

static void start_with_budget(uint32_t reps)
{
    budget = reps;
    fail_from = 0;
    fixture_prepare(&fixture);
    fixture.features = "tlbflush,tlbflush-ext,ex-processor-masks,xmm-input";
    fixture.config.vp_count = VPS;
    fixture.adjust = adjust;
    fixture_start(&fixture);
}

static int start(void **state)
{
    (void)state;
    start_with_budget(0);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    fixture_stop(&fixture);
    return 0;
}

static void add_ranges(uint32_t header, uint32_t count)
{
    uint32_t i;

    call.input_size = header + 8 * count;
    call.reps = count;
    call.input.qwords[0] = 0x1000;
    for (i = 0; i < count; i++) {
        call.input.qwords[header / 8 + i] = UINT64_C(0x1000) * (i + 1);
    }
}

static void prepare_list(uint64_t mask, uint32_t count)
{
    guest_prepare(&call, HvCallFlushVirtualAddressList, 0, 0);
    call.input.qwords[2] = mask;
    add_ranges(24, count);
}

/* For the first `targets` VPs. */
static void prepare_set(uint32_t targets, uint32_t count)
{
    uint32_t bank, banks = (targets + 63) / 64;

    guest_prepare(&call, HvCallFlushVirtualAddressListEx, 0, 0);
    call.variable = banks;
    call.input.qwords[2] = HvGenericSetSparse4k;
    call.input.qwords[3] = (UINT64_C(1) << banks) - 1;
    for (bank = 0; bank < banks; bank++) {
        call.input.qwords[4 + bank] = UINT64_MAX;
    }
    if (targets % 64) {
        call.input.qwords[3 + banks] = (UINT64_C(1) << targets % 64) - 1;
    }
    add_ranges(32 + 8 * banks, count);
}

static void make(void)
{
    model_host_clear_events(fixture.host);
    guest_make(&fixture, &call, &answer);
}

static void expect_done(void)
{
    make();
    assert_int_equal(answer.result, HVTLFS_HYPERCALL_DONE);
    assert_int_equal(answer.status, HV_STATUS_SUCCESS);
    assert_int_equal(answer.reps, call.reps);
}

/* The host was told so often, each time of so many targets. */
static void expect_told(uint32_t times, uint32_t targets)
{
    struct model_event event = {0};
    uint32_t i;

    assert_int_equal(model_host_event_count(fixture.host), times);
    for (i = 0; i < times; i++) {
        assert_true(model_host_event(fixture.host, i, &event));
        assert_int_equal(event.kind, MODEL_EVENT_FLUSH_QUEUED);
        assert_int_equal(event.values[0], targets);
    }
}

/* What waits for a VP: ranges 1 to `count` in order, or everything if `count` is 0. */
static void expect_queue(uint32_t vp_index, uint32_t count)
{
    struct hvtlfs_vp *vp = hvtlfs_partition_vp(fixture.partition, vp_index);
    struct hvtlfs_flush_item item;
    uint32_t i;

    for (i = 0; i < (count ? count : 1); i++) {
        assert_true(hvtlfs_flush_take(vp, &item));
        assert_int_equal(item.everything, count == 0);
        if (count) {
            assert_int_equal(item.range.address, UINT64_C(0x1000) * (i + 1));
        }
    }
    assert_false(hvtlfs_flush_take(vp, &item));
}

/* TLFS 9.4.2: what the guest says of the address space is what the VP is told; flag 1 is for all of them. */
static void an_item_has_the_address_space_of_its_call(void **state)
{
    static const struct {
        uint64_t space, flags;
    } cases[] = {{UINT64_C(0x123456789000), 0}, {0x2000, 2}, {0x3000, 0}};
    struct hvtlfs_flush_item item;
    size_t i;

    (void)state;
    for (i = 0; i < 3; i++) {
        prepare_list(1, 1);
        call.input.qwords[0] = cases[i].space;
        call.input.qwords[1] = cases[i].flags;
        expect_done();
    }
    for (i = 0; i < 3; i++) {
        assert_true(hvtlfs_flush_take(fixture.vp, &item));
        assert_false(item.everything);
        assert_int_equal(item.all_address_spaces, cases[i].flags != 0);
        if (!cases[i].flags) {
            assert_true(item.address_space == cases[i].space);
        }
        assert_int_equal(item.range.address, 0x1000);
        assert_int_equal(item.range.page_count, 1);
    }
    assert_false(hvtlfs_flush_take(fixture.vp, &item));
}

/* TLFS 3.3: a call's work is bounded, whatever the product of the two lists. */
static void more_than_256_entries_become_flushes_of_everything(void **state)
{
    static const struct {
        uint32_t targets, ranges;
        bool everything;
    } rows[] = {
        {1, 16, false},  {16, 16, false}, {17, 16, true},  {64, 4, false}, {64, 5, true},
        {256, 1, false}, {257, 1, true},  {128, 2, false}, {129, 2, true}, {300, 12, true},
    };
    size_t row;
    uint32_t i;

    (void)state;
    for (row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
        prepare_set(rows[row].targets, rows[row].ranges);
        expect_done();
        expect_told(1, rows[row].targets);
        for (i = 0; i < VPS; i++) {
            struct hvtlfs_flush_item item;

            if (i < rows[row].targets) {
                expect_queue(i, rows[row].everything ? 0 : rows[row].ranges);
            } else {
                assert_false(hvtlfs_flush_take(hvtlfs_partition_vp(fixture.partition, i), &item));
            }
        }
    }
}

static void the_host_is_told_once_for_any_list(void **state)
{
    uint32_t count;

    (void)state;
    for (count = 1; count <= 509; count += count < 40 ? 1 : 67) {
        prepare_list(6, count);
        expect_done();
        expect_told(1, 2);
        expect_queue(1, count > HVTLFS_FLUSH_QUEUE_SIZE ? 0 : count);
        expect_queue(2, count > HVTLFS_FLUSH_QUEUE_SIZE ? 0 : count);
    }
    prepare_list(0, 509); /* nobody */
    expect_done();
    expect_told(0, 0);
}

static void the_host_is_told_in_each_piece_of_a_continued_call(void **state)
{
    (void)state;
    fixture_stop(&fixture);
    start_with_budget(5);
    prepare_list(2, 14);
    expect_done();
    assert_int_equal(answer.continued, 2);
    expect_told(3, 1);
    expect_queue(1, 14);
    prepare_set(70, 14);
    expect_done();
    expect_told(3, 70);
    expect_queue(69, 0);
}

/* The targets must flush what was queued before the list's memory went away. */
static void the_host_is_told_before_an_intercept(void **state)
{
    (void)state;
    prepare_list(2, 14);
    fail_from = 24 + 8 * 12; /* twelve ranges at a time */
    make();
    assert_int_equal(answer.result, HVTLFS_HYPERCALL_INTERCEPT);
    assert_int_equal(answer.regs.rcx >> 48, 12);
    expect_told(1, 1);
    expect_queue(1, 12);
    fail_from = 24; /* nothing done, nothing to tell */
    make();
    assert_int_equal(answer.result, HVTLFS_HYPERCALL_INTERCEPT);
    expect_told(0, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_item_has_the_address_space_of_its_call),
        TEST(more_than_256_entries_become_flushes_of_everything),
        TEST(the_host_is_told_once_for_any_list),
        TEST(the_host_is_told_in_each_piece_of_a_continued_call),
        TEST(the_host_is_told_before_an_intercept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
