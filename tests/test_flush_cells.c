/* SPDX-License-Identifier: MIT */
/*
 * A VP's queue of flushes when nobody takes from it: full, covered by a flush of everything, or held up by
 * a writer that has taken a cell and not filled it yet, which is brought about by hand.
 */
#include "guest_call.h"
#include "state.h"

#include <hvtlfs/flush.h>

static struct fixture fixture;
static struct guest_call call;
static struct guest_answer answer;

static void adjust(struct hvtlfs_config *config)
{
    model_host_queue_flushes(&config->ops);
}

static int start(void **state)
{
    (void)state;
    fixture_prepare(&fixture);
    fixture.features = "tlbflush,tlbflush-ext,ex-processor-masks";
    fixture.adjust = adjust;
    fixture_start(&fixture);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    fixture_stop(&fixture);
    return 0;
}

/* One range, for VP 0. */
static void flush(uint64_t range, uint64_t flags)
{
    guest_prepare(&call, HvCallFlushVirtualAddressList, 32, 0);
    call.reps = 1;
    call.input.qwords[0] = 0x1000;
    call.input.qwords[1] = flags;
    call.input.qwords[2] = 1;
    call.input.qwords[3] = range;
    guest_make(&fixture, &call, &answer);
    assert_int_equal(answer.status, HV_STATUS_SUCCESS);
}

static void expect_everything(void)
{
    struct hvtlfs_flush_item item;

    memset(&item, 0, sizeof(item));
    assert_true(hvtlfs_flush_take(fixture.vp, &item));
    assert_true(item.everything);
    assert_true(item.all_address_spaces);
}

static void expect_range(uint64_t address, uint64_t pages)
{
    struct hvtlfs_flush_item item;

    assert_true(hvtlfs_flush_take(fixture.vp, &item));
    assert_false(item.everything);
    assert_false(item.all_address_spaces);
    assert_int_equal(item.address_space, 0x1000);
    assert_int_equal(item.range.address, address);
    assert_int_equal(item.range.page_count, pages);
}

static void expect_nothing(void)
{
    struct hvtlfs_flush_item item;

    assert_false(hvtlfs_flush_take(fixture.vp, &item));
}

static void test_a_full_queue_holds_all_its_entries_in_order(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < HVTLFS_FLUSH_QUEUE_SIZE; i++) {
        flush(0x1000 * (i + 1), 0);
    }
    for (uint64_t i = 0; i < HVTLFS_FLUSH_QUEUE_SIZE; i++) {
        expect_range(0x1000 * (i + 1), 1);
    }
    expect_nothing();
}

/* Calls that no longer fit make one flush of everything, and what waited is covered by it. */
static void test_one_entry_too_many_is_a_flush_of_everything(void **state)
{
    (void)state;
    for (int round = 0; round < 3; round++) {
        for (uint64_t i = 0; i < HVTLFS_FLUSH_QUEUE_SIZE + 1; i++) {
            flush(0x1000 * (i + 1), 0);
        }
        expect_everything();
        expect_nothing();
        flush(0x7000, 0);
        expect_range(0x7000, 1);
        expect_nothing();
    }
}

/* TLFS 9.4.2: bits 11:0 are the pages beside the first one; only the extended format takes bits of them. */
static void test_a_range_has_up_to_4096_pages(void **state)
{
    (void)state;
    flush(0x5000 | 0xFFF, 0);
    expect_range(0x5000, 4096);
    flush(0x5000 | 0x7FF, HV_FLUSH_USE_EXTENDED_RANGE_FORMAT);
    expect_range(0x5000, 2048);
    expect_nothing();
}

/*
 * A writer has taken the next cell and not filled it. The reader does not wait: one full flush covers what
 * was taken so far, and is not repeated until somebody takes another cell.
 */
static void test_a_writer_that_stalls_costs_one_full_flush(void **state)
{
    struct hvti_flush_queue *queue = &fixture.partition->tlb.queues[0];

    (void)state;
    flush(0x1000, 0);
    expect_range(0x1000, 1);
    queue->tail++;
    expect_everything();
    expect_nothing();
    expect_nothing();
    flush(0x2000, 0); /* behind it */
    expect_everything();
    expect_nothing();
    /* Now the slow one is done: both come out, in their order. */
    queue->cells[1].flags = 0;
    queue->cells[1].address_space = 0x1000;
    queue->cells[1].range = 0x3000;
    queue->cells[1].turn = 2;
    expect_range(0x3000, 1);
    expect_range(0x2000, 1);
    expect_nothing();
}

/* What waits for one VP is not another's, and a flush of everything is taken once. */
static void test_everything_is_each_vps_own(void **state)
{
    struct hvtlfs_flush_item item;

    (void)state;
    guest_prepare(&call, HvCallFlushVirtualAddressSpace, 24, 0);
    call.input.qwords[0] = 0x1000;
    call.input.qwords[2] = 1;
    guest_make(&fixture, &call, &answer);
    assert_int_equal(answer.status, HV_STATUS_SUCCESS);
    assert_false(hvtlfs_flush_take(hvtlfs_partition_vp(fixture.partition, 1), &item));
    expect_everything();
    expect_nothing();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_full_queue_holds_all_its_entries_in_order, start,
                                        stop),
        cmocka_unit_test_setup_teardown(test_one_entry_too_many_is_a_flush_of_everything, start,
                                        stop),
        cmocka_unit_test_setup_teardown(test_a_range_has_up_to_4096_pages, start, stop),
        cmocka_unit_test_setup_teardown(test_a_writer_that_stalls_costs_one_full_flush, start,
                                        stop),
        cmocka_unit_test_setup_teardown(test_everything_is_each_vps_own, start, stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
