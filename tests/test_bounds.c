/* SPDX-License-Identifier: MIT */
/*
 * A guest that wants the host to hang: the worst each entry point can be given, and the work that comes
 * of it, counted in callbacks. The bounds are stated in docs/SECURITY.md; a change that raises one fails
 * here first.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include <hvtlfs/flush.h>
#include <hvtlfs/hypercall.h>
#include <hvtlfs/msr.h>
#include <hvtlfs/state.h>
#include <hvtlfs/time.h>
#include <hvtlfs/vapic.h>

#include "fuzz/host.h"

#define VPS HOST_VPS
#define LINUX_ID UINT64_C(0x8100000601B00000)

/* A page exchanged with guest memory: a probe, then sixteen pieces read and written. */
#define EXCHANGE (1u + 2u * 16u)

static struct hvtlfs_config config;
static struct hvtlfs_partition *partition;
static struct hvtlfs_vp *vps[VPS];

static struct hvtlfs_features all_features(void)
{
    struct hvtlfs_features features = {{0}};

    for (unsigned f = 0; f < HVTLFS_FEATURE_COUNT; f++) {
        hvtlfs_features_add(&features, (enum hvtlfs_feature)f);
        if (hvtlfs_features_check(&features, NULL) == HVTLFS_ERR_FEATURE_CONFLICT) {
            hvtlfs_features_remove(&features, (enum hvtlfs_feature)f);
        }
    }
    return features;
}

static void start(bool copies, bool queues)
{
    host_begin();
    fuzz_host.copies_overlays = copies;
    fuzz_host.queues_flushes = queues;
    hvtlfs_config_init(&config);
    config.vp_count = VPS;
    config.features = all_features();
    config.trap = HVTLFS_TRAP_VMCALL;
    config.invariant_tsc = true;
    config.apic_hz = 1000000;
    config.hypercall_time = 0; /* the budget of elements alone: 64 */
    host_configure(&config);
    partition = host_partition(&config, 0);
    for (uint32_t i = 0; i < VPS; i++) {
        vps[i] = hvtlfs_partition_vp(partition, i);
    }
}

static void write_msr(uint32_t vp, uint32_t msr, uint64_t value)
{
    assert_int_equal(hvtlfs_msr_write(vps[vp], msr, value), HVTLFS_MSR_DONE);
}

/* Callbacks of all kinds since the last call. */
static uint64_t spent(void)
{
    static uint64_t before;
    const uint64_t now = host_calls() + fuzz_host.calls[HOST_LOCK] + fuzz_host.calls[HOST_CLOCK];
    const uint64_t since = now - before;

    before = now;
    return since;
}

static uint64_t callbacks_of(enum host_call call)
{
    return fuzz_host.calls[call];
}

/* ---- Hypercalls ---- */

static enum hvtlfs_hypercall_result call(uint64_t control, uint64_t in, uint64_t out,
                                         struct hvtlfs_hypercall_regs *regs)
{
    *regs = (struct hvtlfs_hypercall_regs){
        .rcx = control, .rdx = in, .r8 = out, .mode = HVTLFS_MODE_LONG64};
    return hvtlfs_hypercall(vps[0], regs);
}

static void put(uint64_t gpa, uint64_t value)
{
    for (size_t i = 0; i < sizeof(value); i++) {
        fuzz_ram[gpa + i] = (uint8_t)(value >> 8 * i);
    }
}

/* The longest list that fits a page: a header of 24 bytes and 509 ranges. */
static void make_flush_list(void)
{
    put(0x2000, 0);
    put(0x2008, 3); /* all VPs, all address spaces */
    for (uint64_t i = 0; i < 509; i++) {
        put(0x2018 + 8 * i, i << 12 | 0xFFF);
    }
}

/* 64 elements a call; each call: the header, the elements by twelve, a flush for each twelve. */
static void a_flush_list_goes_back_to_the_guest_after_64_ranges(void **state)
{
    struct hvtlfs_hypercall_regs regs;
    enum hvtlfs_hypercall_result result;
    unsigned calls = 1;

    (void)state;
    start(false, false);
    make_flush_list();
    (void)spent();
    result = call(UINT64_C(509) << 32 | 3, 0x2000, 0, &regs);
    assert_int_equal(callbacks_of(HOST_READ), 1 + 6);
    assert_int_equal(callbacks_of(HOST_FLUSH), 6);
    while (result == HVTLFS_HYPERCALL_CONTINUE) {
        assert_int_equal(regs.rcx >> 48, 64 * calls);
        calls++;
        result = hvtlfs_hypercall(vps[0], &regs);
    }
    assert_int_equal(result, HVTLFS_HYPERCALL_DONE);
    assert_int_equal(calls, 8);
    assert_true(spent() <= 8 * 13);
}

/* Queued, the host is told once, and each queue ends up with one item: everything. */
static void a_queued_flush_list_tells_the_host_once_in_a_call(void **state)
{
    struct hvtlfs_hypercall_regs regs;
    struct hvtlfs_flush_item item;

    (void)state;
    start(false, true);
    make_flush_list();
    (void)call(UINT64_C(509) << 32 | 3, 0x2000, 0, &regs);
    assert_int_equal(callbacks_of(HOST_FLUSH), 1);
    for (uint32_t i = 0; i < VPS; i++) {
        assert_true(hvtlfs_flush_take(vps[i], &item));
        assert_true(item.everything);
        assert_false(hvtlfs_flush_take(vps[i], &item));
    }
}

/* Each target once, whatever the set says. */
static void an_ipi_is_one_interrupt_for_each_vp(void **state)
{
    struct hvtlfs_hypercall_regs regs;

    (void)state;
    start(false, false);
    put(0x2000, 0x40);
    put(0x2008, UINT64_MAX);
    assert_int_equal(call(0xB, 0x2000, 0, &regs), HVTLFS_HYPERCALL_DONE);
    assert_int_equal(callbacks_of(HOST_INTERRUPT), VPS);
    assert_int_equal(callbacks_of(HOST_READ), 1);
}

/* 254 names: 64 a call, and no register does more than its MSR. */
static void a_list_of_registers_goes_back_after_64(void **state)
{
    struct hvtlfs_hypercall_regs regs;

    (void)state;
    start(false, false);
    put(0x2000, UINT64_MAX);
    put(0x2008, 0xFFFFFFFE);
    for (uint64_t i = 0; i < 254; i++) {
        put(0x2010 + 4 * i, UINT64_C(0x0002000000020000)); /* RAX: the host's */
    }
    (void)spent();
    assert_int_equal(call(UINT64_C(250) << 32 | 0x50, 0x2000, 0x3000, &regs),
                     HVTLFS_HYPERCALL_CONTINUE);
    assert_int_equal(regs.rcx >> 48, 64);
    assert_int_equal(callbacks_of(HOST_REQUEST), 64);
    assert_true(spent() <= 64 + 1 + 16 + 16); /* and header, elements, output in pieces of four */
}

/* The host is asked 255 times at most, and the block is one page. */
static void boot_zeroed_memory_ends_after_255_ranges(void **state)
{
    struct hvtlfs_hypercall_regs regs;

    (void)state;
    start(false, false);
    (void)spent();
    assert_int_equal(call(0x8002, 0, 0x3000, &regs), HVTLFS_HYPERCALL_DONE);
    assert_int_equal(callbacks_of(HOST_REQUEST), 255);
    assert_true(spent() <= 255 + 256);
}

/* Nothing is read before the control word is right, and then the header once. */
static void a_refused_call_costs_at_most_one_read(void **state)
{
    struct hvtlfs_hypercall_regs regs;

    (void)state;
    start(false, false);
    (void)spent();
    for (uint32_t code = 0; code < 0x10000; code++) {
        (void)call(UINT64_C(0xF) << 44 | code, 0x2000, 0x3000, &regs);
    }
    assert_int_equal(spent(), 0);
    for (uint32_t code = 0; code < 0x100; code++) {
        (void)call(code, 0x2001, 0x3001, &regs); /* misaligned */
    }
    assert_true(spent() <= 0x100);
}

/* ---- MSRs ---- */

/* The most an MSR can ask of a host that copies: a page comes back, another goes, or what was done is
 * undone. */
static void any_msr_write_is_three_exchanges_at_most(void **state)
{
    static const uint64_t values[] = {0,       1,          0x1001,  0x3001, 0xF001,
                                      0x10001, UINT64_MAX, 0x10021, 5};

    (void)state;
    start(true, false);
    write_msr(0, 0x40000000, LINUX_ID);
    (void)spent();
    for (uint32_t round = 0; round < 3; round++) {
        for (uint32_t msr = 0x40000000; msr < 0x40000200; msr++) {
            for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
                fuzz_host.fail_at = round ? fuzz_host.fallible + round * 20 : 0;
                (void)!hvtlfs_msr_write(vps[0], msr, values[i]);
                assert_true(spent() <= 3 * EXCHANGE + 16);
            }
        }
    }
}

/* All pages of all VPs at one place: still one comes, one goes. */
static void a_stack_of_pages_moves_one_at_a_time(void **state)
{
    (void)state;
    start(false, false);
    write_msr(0, 0x40000000, LINUX_ID);
    for (uint32_t i = 0; i < VPS; i++) {
        write_msr(i, 0x40000073, 0x1001);
        write_msr(i, 0x40000082, 0x1001);
        write_msr(i, 0x40000083, 0x1001);
    }
    (void)spent();
    write_msr(0, 0x40000001, 0x1001);
    assert_true(spent() <= 2 + 1); /* one goes, one comes, the lock */
    write_msr(0, 0x40000001, 0);
    assert_true(spent() <= 2 + 1);
    hvtlfs_partition_reset(partition);
    assert_true(callbacks_of(HOST_OVERLAY_CLEAR) <= 3 * VPS + 8);
    assert_int_equal(fuzz_host.overlay_count, 0);
}

/* Two pages at most: a text may lie across their border. */
static void a_crash_report_reads_4096_bytes_at_most(void **state)
{
    (void)state;
    start(false, false);
    write_msr(0, 0x40000103, 0x1FFF);
    write_msr(0, 0x40000104, UINT64_MAX);
    (void)spent();
    write_msr(0, 0x40000105, UINT64_C(0xC000000000000000));
    assert_int_equal(fuzz_host.crash.message_size, 4096);
    assert_true(spent() <= 1 + 17);
}

/* ---- Messages and timers ---- */

/* Sixteen wait for each SINT, then no more; EOM delivers one for each SINT at most. */
static void a_flood_of_messages_ends_at_sixteen_for_each_sint(void **state)
{
    static const uint8_t payload[240];
    const struct hvtlfs_message message = {1, 240, 0, payload};

    (void)state;
    start(false, false);
    write_msr(0, 0x40000080, 1);
    write_msr(0, 0x40000083, 0x1001);
    for (uint32_t sint = 0; sint < 16; sint++) {
        write_msr(0, 0x40000090 + sint, 0x40 + sint);
    }
    for (uint32_t sint = 0; sint < 16; sint++) {
        for (unsigned i = 0; i < 64; i++) {
            assert_int_equal(hvtlfs_synic_post_message(vps[0], sint, &message),
                             i < 16 ? HVTLFS_OK : HVTLFS_ERR_FULL);
        }
    }
    assert_int_equal(callbacks_of(HOST_KICK), 1);
    (void)spent();
    hvtlfs_vp_poll(vps[0]);
    assert_int_equal(callbacks_of(HOST_INTERRUPT), 16);
    assert_true(spent() <= 16 + 8);
    for (unsigned i = 0; i < 100; i++) {
        write_msr(0, 0x40000084, 0); /* nothing has become free */
    }
    assert_int_equal(callbacks_of(HOST_INTERRUPT), 16);
    assert_true(spent() <= 100);
}

/* Whatever was missed, a poll is one tick for each timer. */
static void a_thousand_years_missed_are_four_ticks(void **state)
{
    (void)state;
    start(false, false);
    write_msr(0, 0x40000080, 1);
    for (uint32_t timer = 0; timer < 4; timer++) {
        write_msr(0, 0x400000B1 + 2 * timer, 1); /* every 100 ns */
        write_msr(0, 0x400000B0 + 2 * timer, 0x1403 | timer << 4);
    }
    host_advance(UINT64_C(315576000000) * 10000);
    (void)spent();
    fuzz_host.calls[HOST_INTERRUPT] = 0;
    hvtlfs_vp_poll(vps[0]);
    assert_int_equal(callbacks_of(HOST_INTERRUPT), 4);
    assert_true(callbacks_of(HOST_DEADLINE) <= 16);
}

/* Another VP changes the word each time. The arming fails, or stays to be collected later. */
static void a_contended_word_is_given_up_after_eight_attempts(void **state)
{
    (void)state;
    start(true, false);
    write_msr(0, 0x40000073, 0x1001);
    fuzz_host.contends = true;
    assert_false(hvtlfs_lazy_eoi_arm(vps[0], 0x41, HVTLFS_TRIGGER_EDGE, false));
    assert_int_equal(callbacks_of(HOST_EXCHANGE), 8);
    fuzz_host.contends = false;
    assert_true(hvtlfs_lazy_eoi_arm(vps[0], 0x41, HVTLFS_TRIGGER_EDGE, false));
    fuzz_host.contends = true;
    fuzz_host.calls[HOST_EXCHANGE] = 0;
    assert_int_equal(hvtlfs_lazy_eoi_collect(vps[0]), HVTLFS_NO_EOI);
    assert_int_equal(callbacks_of(HOST_EXCHANGE), 8);
}

/* ---- The host's own calls ---- */

/* Each page that stands is taken away once, and what it covered shown or exchanged; besides, some locks
 * and requests for each VP. */
static void a_reset_is_linear_in_what_there_is(void **state)
{
    (void)state;
    for (int copies = 0; copies < 2; copies++) {
        start(copies, false);
        write_msr(0, 0x40000000, LINUX_ID);
        write_msr(0, 0x40000001, 0x1001);
        for (uint32_t i = 0; i < VPS; i++) {
            write_msr(i, 0x40000073, 0x2001);
            write_msr(i, 0x40000083, 0x2001);
        }
        (void)spent();
        hvtlfs_partition_reset(partition);
        assert_true(spent() <= VPS * 24 + (2 * VPS + 1) * (copies ? EXCHANGE : 2));
    }
}

/* Loading asks the host for each page once, and gives back what it took when one is refused. */
static void loading_is_linear_in_the_pages(void **state)
{
    static uint8_t bytes[4 << 20];
    size_t used;

    (void)state;
    start(false, false);
    for (uint32_t i = 0; i < VPS; i++) {
        write_msr(i, 0x40000083, (UINT64_C(0x100) + i) << 12 | 1);
    }
    assert_int_equal(hvtlfs_freeze(partition), HVTLFS_OK);
    assert_int_equal(hvtlfs_state_save(partition, bytes, sizeof(bytes), &used, NULL), HVTLFS_OK);
    host_drop_overlays();
    partition = host_partition(&config, 1);
    fuzz_host.calls[HOST_OVERLAY_SET] = fuzz_host.calls[HOST_OVERLAY_CLEAR] = 0;
    fuzz_host.fail_at = fuzz_host.fallible + VPS; /* the last of them */
    assert_int_equal(hvtlfs_state_load(partition, bytes, used, NULL), HVTLFS_ERR_HOST);
    assert_int_equal(callbacks_of(HOST_OVERLAY_SET), VPS);
    assert_int_equal(callbacks_of(HOST_OVERLAY_CLEAR), VPS - 1);
    assert_int_equal(fuzz_host.overlay_count, 0);
    fuzz_host.fail_at = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flush_list_goes_back_to_the_guest_after_64_ranges),
        cmocka_unit_test(a_queued_flush_list_tells_the_host_once_in_a_call),
        cmocka_unit_test(an_ipi_is_one_interrupt_for_each_vp),
        cmocka_unit_test(a_list_of_registers_goes_back_after_64),
        cmocka_unit_test(boot_zeroed_memory_ends_after_255_ranges),
        cmocka_unit_test(a_refused_call_costs_at_most_one_read),
        cmocka_unit_test(any_msr_write_is_three_exchanges_at_most),
        cmocka_unit_test(a_stack_of_pages_moves_one_at_a_time),
        cmocka_unit_test(a_crash_report_reads_4096_bytes_at_most),
        cmocka_unit_test(a_flood_of_messages_ends_at_sixteen_for_each_sint),
        cmocka_unit_test(a_thousand_years_missed_are_four_ticks),
        cmocka_unit_test(a_contended_word_is_given_up_after_eight_attempts),
        cmocka_unit_test(a_reset_is_linear_in_what_there_is),
        cmocka_unit_test(loading_is_linear_in_the_pages),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
