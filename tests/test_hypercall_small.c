/* SPDX-License-Identifier: MIT */
/*
 * The shortest way of a hypercall - two registers in, a status out - says what the long way says. A
 * 32-bit caller always goes the long way, so it is asked the same.
 */
#include "fixture.h"

#include <hvtlfs/describe.h>

#define FAST ((uint64_t)HV_HYPERCALL_INPUT_FAST)
#define CODES 0x180u /* some more than any call has */

struct answer {
    enum hvtlfs_hypercall_result result;
    uint32_t status;
    struct hvtlfs_counters counters;
    uint64_t own_counter;
};

static void load(struct hvtlfs_hypercall_regs *regs, uint64_t control, uint64_t first,
                 uint64_t second)
{
    if (regs->mode == HVTLFS_MODE_LONG64) {
        regs->rcx = control;
        regs->rdx = first;
        regs->r8 = second;
        return;
    }
    regs->rax = (uint32_t)control;
    regs->rdx = control >> 32;
    regs->rcx = (uint32_t)first;
    regs->rbx = first >> 32;
    regs->rsi = (uint32_t)second;
    regs->rdi = second >> 32;
}

/* Two partitions that are asked the same, one call after the other. */
static struct fixture fixture64, fixture32;

static void start(struct fixture *fixture, const char *features)
{
    fixture_prepare(fixture);
    fixture->features = features;
    fixture_start(fixture);
}

static struct answer ask(struct fixture *fixture, struct hvtlfs_hypercall_regs regs,
                         uint64_t control, uint64_t first, uint64_t second)
{
    struct answer answer;

    memset(&answer, 0, sizeof(answer));
    answer.counters.size = sizeof(answer.counters);
    load(&regs, control, first, second);
    answer.result = hvtlfs_hypercall(fixture->vp, &regs);
    answer.status = answer.result == HVTLFS_HYPERCALL_DONE ? (uint16_t)regs.rax : 0;
    assert_int_equal(hvtlfs_read_counters(fixture->vp, &answer.counters), HVTLFS_OK);
    answer.own_counter = hvtlfs_read_call_counter(fixture->vp, (uint16_t)control);
    return answer;
}

/* Both ways, for the caller that may and for the one that may not. */
static void expect_one_answer(uint8_t cpl, uint64_t control, uint64_t first, uint64_t second)
{
    const struct hvtlfs_hypercall_regs regs64 = {.mode = HVTLFS_MODE_LONG64, .cpl = cpl};
    const struct hvtlfs_hypercall_regs regs32 = {.mode = HVTLFS_MODE_PROTECTED32, .cpl = cpl};
    struct answer in64 = ask(&fixture64, regs64, control, first, second);
    struct answer in32 = ask(&fixture32, regs32, control, first, second);

    if (memcmp(&in64, &in32, sizeof(in64)) != 0) {
        fail_msg("control %#llx, CPL %u: result %d and %d, status %#x and %#x",
                 (unsigned long long)control, cpl, (int)in64.result, (int)in32.result, in64.status,
                 in32.status);
    }
}

/* XMM registers and the output in registers are for 64-bit callers: without these features. */
static const char *const feature_lists[] = {"", "spinlocks=0xfff,ipi,tlbflush,post-messages,"
                                                "signal-events,vp-registers,extended-hypercalls"};

static void test_every_code_has_one_answer(void **state)
{
    (void)state;
    for (size_t list = 0; list < sizeof(feature_lists) / sizeof(feature_lists[0]); list++) {
        start(&fixture64, feature_lists[list]);
        start(&fixture32, feature_lists[list]);
        for (uint32_t code = 0; code < CODES; code++) {
            expect_one_answer(0, code | FAST, 0x30, 1);
            expect_one_answer(0, code | FAST, 0, 0);
            expect_one_answer(3, code | FAST, 0x30, 1);
        }
        fixture_stop(&fixture64);
        fixture_stop(&fixture32);
    }
}

/* Whatever else is in the control word, one bit at a time. */
static void test_every_control_bit_has_one_answer(void **state)
{
    static const uint16_t codes[] = {HvCallNotifyLongSpinWait, HvCallSendSyntheticClusterIpi,
                                     HvCallSignalEvent};

    (void)state;
    start(&fixture64, feature_lists[1]);
    start(&fixture32, feature_lists[1]);
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        for (uint32_t bit = 17; bit < 64; bit++) {
            expect_one_answer(0, codes[i] | FAST | UINT64_C(1) << bit, 0x30, 1);
        }
    }
    fixture_stop(&fixture64);
    fixture_stop(&fixture32);
}

/* What it leaves alone: every register but RAX. */
static void test_only_the_status_changes(void **state)
{
    struct hvtlfs_hypercall_regs regs, before;
    struct fixture fixture;

    (void)state;
    fixture_prepare(&fixture);
    fixture.features = "ipi";
    fixture_start(&fixture);
    memset(&regs, 0x5A, sizeof(regs));
    regs.mode = HVTLFS_MODE_LONG64;
    regs.cpl = 0;
    load(&regs, HvCallSendSyntheticClusterIpi | FAST, 0x30, 2);
    before = regs;
    assert_int_equal(hvtlfs_hypercall(fixture.vp, &regs), HVTLFS_HYPERCALL_DONE);
    assert_int_equal(regs.rax, 0);
    assert_int_equal(regs.changed, HVTLFS_CHANGED_RAX);
    before.rax = regs.rax;
    before.changed = regs.changed;
    assert_memory_equal(&regs, &before, sizeof(regs));
    fixture_stop(&fixture);
}

/* Nobody is no error, in either form: TLFS 7.8.7.3 lets a sparse set have no bank. */
static void test_an_ipi_to_nobody_succeeds(void **state)
{
    const uint64_t nobody[] = {model_le64(0x30), model_le64(HvGenericSetSparse4k), 0};
    struct hvtlfs_hypercall_regs regs = {.mode = HVTLFS_MODE_LONG64};
    struct fixture fixture;

    (void)state;
    start(&fixture, "ipi,ex-processor-masks");
    assert_int_equal(model_host_guest_write(fixture.host, 0x5000, nobody, sizeof(nobody)),
                     MODEL_ACCESS_OK);
    load(&regs, HvCallSendSyntheticClusterIpiEx, 0x5000, 0);
    assert_int_equal(hvtlfs_hypercall(fixture.vp, &regs), HVTLFS_HYPERCALL_DONE);
    assert_int_equal(regs.rax, HV_STATUS_SUCCESS);
    load(&regs, HvCallSendSyntheticClusterIpi | FAST, 0x30, 0);
    assert_int_equal(hvtlfs_hypercall(fixture.vp, &regs), HVTLFS_HYPERCALL_DONE);
    assert_int_equal(regs.rax, HV_STATUS_SUCCESS);
    assert_int_equal(model_host_interrupt_count(fixture.host, 0), 0);
    assert_int_equal(model_host_interrupt_count(fixture.host, 1), 0);
    fixture_stop(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_code_has_one_answer),
        cmocka_unit_test(test_every_control_bit_has_one_answer),
        cmocka_unit_test(test_only_the_status_changes),
        cmocka_unit_test(test_an_ipi_to_nobody_succeeds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
