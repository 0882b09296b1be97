/* SPDX-License-Identifier: MIT */
/*
 * Flush queues with several writers and their readers at once; most telling under ThreadSanitizer.
 * What must hold: once a writer's call has returned, and the target has then emptied its queue, the
 * target has flushed what the writer changed before its call.
 */
#include "fixture.h"

#include <hvtlfs/flush.h>

#include <pthread.h>

#include "guest_call.h"
#include "state.h"

#define WRITERS 3u
#define TARGET WRITERS /* the VP that all of them flush */
#define ROUNDS 3000u

static struct fixture fixture;

/* The last page whose mapping each writer has changed, and the last one whose flush has returned. */
static uint64_t changed[WRITERS];
static uint64_t asked[WRITERS];
static uint64_t finished;

static void quiet(void *context, uint32_t vp_index, const struct hvtlfs_vp_set *targets)
{
    (void)context, (void)vp_index, (void)targets;
}

static bool no_memory(void *context, uint64_t gpa, void *buffer, size_t size)
{
    (void)context, (void)gpa, (void)buffer, (void)size;
    return false;
}

static void adjust(struct hvtlfs_config *config)
{
    config->ops.tlb_flush = NULL;
    config->ops.tlb_flush_queued = quiet;
    config->ops.gpa_read = no_memory; /* register calls only */
    config->vp_count = WRITERS + 1;
}

/* Flush page n of the writer's own address space, in registers. */
static void flush_page(struct hvtlfs_vp *vp, uint32_t writer, uint64_t n)
{
    struct hvtlfs_hypercall_regs regs;

    memset(&regs, 0, sizeof(regs));
    regs.mode = HVTLFS_MODE_LONG64;
    regs.rcx = HvCallFlushVirtualAddressList | UINT64_C(1) << 16 | UINT64_C(1) << 32;
    regs.rdx = writer; /* address space */
    regs.xmm[0].half[0] = UINT64_C(1) << TARGET;
    regs.xmm[0].half[1] = n << 12;
    assert_int_equal(hvtlfs_hypercall(vp, &regs), HVTLFS_HYPERCALL_DONE);
    assert_int_equal(regs.rax, UINT64_C(1) << 32);
}

static void *write_flushes(void *argument)
{
    uint32_t writer = *(const uint32_t *)argument;
    struct hvtlfs_vp *vp = hvtlfs_partition_vp(fixture.partition, writer);
    uint64_t n;

    for (n = 1; n <= ROUNDS; n++) {
        __atomic_store_n(&changed[writer], n, __ATOMIC_RELEASE);
        flush_page(vp, writer, n);
        __atomic_store_n(&asked[writer], n, __ATOMIC_RELEASE);
    }
    __atomic_add_fetch(&finished, 1, __ATOMIC_RELEASE);
    return NULL;
}

/* Take all there is; `seen` says up to which page of each writer nothing stale is left. A flush is
   done when it has been taken, so a full one ends everything that was changed up to then. */
static void drain(struct hvtlfs_vp *vp, uint64_t seen[WRITERS])
{
    uint64_t before[WRITERS];
    struct hvtlfs_flush_item item;
    uint32_t writer;

    for (writer = 0; writer < WRITERS; writer++) {
        before[writer] = __atomic_load_n(&asked[writer], __ATOMIC_ACQUIRE);
    }
    while (hvtlfs_flush_take(vp, &item)) {
        if (item.everything) {
            for (writer = 0; writer < WRITERS; writer++) {
                seen[writer] = __atomic_load_n(&changed[writer], __ATOMIC_ACQUIRE);
            }
        } else {
            uint64_t page = item.range.address >> 12;

            assert_true(item.address_space < WRITERS);
            assert_true(page >= 1 && page <= ROUNDS);
            if (page > seen[item.address_space]) {
                seen[item.address_space] = page;
            }
        }
    }
    for (writer = 0; writer < WRITERS; writer++) {
        assert_true(seen[writer] >= before[writer]);
    }
}

static void no_flush_is_lost(void **state)
{
    uint64_t seen[WRITERS] = {0};
    uint32_t numbers[WRITERS], writer;
    pthread_t threads[WRITERS];
    struct hvtlfs_vp *target;

    (void)state;
    fixture_prepare(&fixture);
    fixture.features = "tlbflush,xmm-input";
    fixture.options.lock = MODEL_LOCK_MUTEX;
    fixture.adjust = adjust;
    fixture_start(&fixture);
    target = hvtlfs_partition_vp(fixture.partition, TARGET);
    for (writer = 0; writer < WRITERS; writer++) {
        numbers[writer] = writer;
        assert_int_equal(pthread_create(&threads[writer], NULL, write_flushes, &numbers[writer]),
                         0);
    }
    while (__atomic_load_n(&finished, __ATOMIC_ACQUIRE) < WRITERS) {
        drain(target, seen);
    }
    for (writer = 0; writer < WRITERS; writer++) {
        assert_int_equal(pthread_join(threads[writer], NULL), 0);
    }
    drain(target, seen);
    for (writer = 0; writer < WRITERS; writer++) {
        assert_int_equal(seen[writer], ROUNDS);
    }
    fixture_stop(&fixture);
}

/* A writer that was put to sleep between taking a cell and filling it, and one that came after it. */
static void a_slow_writer_hides_no_finished_flush(void **state)
{
    struct hvti_flush_queue *queue;
    struct hvtlfs_flush_item item;
    struct hvtlfs_vp *target;

    (void)state;
    fixture_prepare(&fixture);
    fixture.features = "tlbflush,xmm-input";
    fixture.adjust = adjust;
    fixture_start(&fixture);
    target = hvtlfs_partition_vp(fixture.partition, TARGET);
    queue = &fixture.partition->tlb.queues[target->slot];
    queue->tail++; /* the slow one */
    flush_page(fixture.vp, 0, 7);
    assert_true(hvtlfs_flush_take(target, &item));
    assert_true(item.everything);
    assert_false(hvtlfs_flush_take(target, &item)); /* it is covered once and for all */
    flush_page(fixture.vp, 0, 8);
    assert_true(hvtlfs_flush_take(target, &item));
    assert_true(item.everything);
    queue->cells[0].address_space = 1;
    queue->cells[0].range = 0x9000;
    queue->cells[0].turn = 1; /* awake again */
    assert_true(hvtlfs_flush_take(target, &item));
    assert_false(item.everything);
    assert_int_equal(item.range.address, 0x9000);
    assert_true(hvtlfs_flush_take(target, &item)); /* pages 7 and 8, once more */
    assert_true(hvtlfs_flush_take(target, &item));
    assert_false(hvtlfs_flush_take(target, &item));
    fixture_stop(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slow_writer_hides_no_finished_flush),
        cmocka_unit_test(no_flush_is_lost),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
