/* SPDX-License-Identifier: MIT */
/* TLFS 3.5-3.8, 3.12: who may call, how the registers are read, what a bad control word is told. */
#include "fixture.h"

#include <hvtlfs/names.h>

#define SPIN ((uint64_t)HvCallNotifyLongSpinWait)
#define FAST UINT64_C(0x10000)

static struct fixture fixture;

static int start(void **state)
{
    (void)state;
    fixture_prepare(&fixture);
    fixture.features = "spinlocks=0xfff";
    fixture_start(&fixture);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    fixture_stop(&fixture);
    return 0;
}

static struct hvtlfs_hypercall_regs regs64(uint64_t control, uint64_t rdx, uint64_t r8)
{
    struct hvtlfs_hypercall_regs regs;

    memset(&regs, 0x5A, sizeof(regs));
    regs.rcx = control;
    regs.rdx = rdx;
    regs.r8 = r8;
    regs.mode = HVTLFS_MODE_LONG64;
    regs.cpl = 0;
    return regs;
}

/* Make the call; everything but RAX and `changed` must stay. */
static uint64_t call64(uint64_t control, uint64_t rdx, uint64_t r8)
{
    struct hvtlfs_hypercall_regs regs = regs64(control, rdx, r8);
    struct hvtlfs_hypercall_regs before = regs;

    assert_int_equal(hvtlfs_hypercall(fixture.vp, &regs), HVTLFS_HYPERCALL_DONE);
    assert_int_equal(regs.changed, HVTLFS_CHANGED_RAX);
    before.rax = regs.rax;
    before.changed = regs.changed;
    assert_memory_equal(&regs, &before, sizeof(regs));
    return regs.rax;
}

static void expect_spins(size_t count, uint32_t last)
{
    struct model_event event;

    assert_int_equal(model_host_events_of(fixture.host, MODEL_EVENT_SPIN_WAIT), count);
    if (count) {
        assert_true(
            model_host_event(fixture.host, model_host_event_count(fixture.host) - 1, &event));
        assert_int_equal(event.values[0], last);
    }
}

static void an_unknown_code_is_invalid(void **state)
{
    uint32_t code;

    (void)state;
    for (code = 0; code < 0x10000; code++) {
        /* Codes without a name; those with one have a test of their own. */
        if (!hvtlfs_call_name((uint16_t)code)) {
            assert_int_equal(call64(code, 0, 0), HV_STATUS_INVALID_HYPERCALL_CODE);
        }
    }
    assert_int_equal(call64(0xBADD, 0, 0), HV_STATUS_INVALID_HYPERCALL_CODE);
    assert_int_equal(call64(0xFFFF | FAST, 0, 0), HV_STATUS_INVALID_HYPERCALL_CODE);
}

static void a_fast_call_takes_its_input_from_rdx(void **state)
{
    (void)state;
    assert_int_equal(call64(SPIN | FAST, 0x1234, 0), HV_STATUS_SUCCESS);
    expect_spins(1, 0x1234);
}

static void a_slow_call_takes_its_input_from_guest_memory(void **state)
{
    const uint64_t input = model_le64(0x4321);

    (void)state;
    memcpy(model_host_ram(fixture.host, 0x3008), &input, 8);
    assert_int_equal(call64(SPIN, 0x3008, 0x7), HV_STATUS_SUCCESS); /* the unused GPA is ignored */
    expect_spins(1, 0x4321);
}

static void in_protected_mode_register_pairs_serve(void **state)
{
    struct hvtlfs_hypercall_regs regs;

    (void)state;
    memset(&regs, 0, sizeof(regs));
    regs.mode = HVTLFS_MODE_PROTECTED32;
    /* EDX:EAX = control, EBX:ECX = first parameter; upper halves are not the guest's. */
    regs.rax = UINT64_C(0xAAAAAAAA00000000) | SPIN | FAST;
    regs.rdx = UINT64_C(0xBBBBBBBB00000000);
    regs.rbx = UINT64_C(0xCCCCCCCC00000000);
    regs.rcx = UINT64_C(0xDDDDDDDD00005678);
    assert_int_equal(hvtlfs_hypercall(fixture.vp, &regs), HVTLFS_HYPERCALL_DONE);
    assert_int_equal(regs.changed, HVTLFS_CHANGED_RAX | HVTLFS_CHANGED_RDX);
    assert_int_equal(regs.rax, HV_STATUS_SUCCESS);
    assert_int_equal(regs.rdx, 0);
    expect_spins(1, 0x5678);
}

static void in_protected_mode_the_control_words_high_half_is_edx(void **state)
{
    struct hvtlfs_hypercall_regs regs;

    (void)state;
    memset(&regs, 0, sizeof(regs));
    regs.mode = HVTLFS_MODE_PROTECTED32;
    regs.rax = SPIN | FAST;
    regs.rdx = 1; /* repetition count 1 */
    assert_int_equal(hvtlfs_hypercall(fixture.vp, &regs), HVTLFS_HYPERCALL_DONE);
    assert_int_equal(regs.rax, HV_STATUS_INVALID_HYPERCALL_INPUT);
    expect_spins(0, 0);
}

static void real_mode_and_cpl_above_0_are_undefined_opcodes(void **state)
{
    struct hvtlfs_hypercall_regs regs = regs64(SPIN | FAST, 1, 0), before;
    uint8_t cpl;

    (void)state;
    for (cpl = 1; cpl <= 3; cpl++) {
        regs.cpl = cpl;
        before = regs;
        before.changed = 0;
        assert_int_equal(hvtlfs_hypercall(fixture.vp, &regs), HVTLFS_HYPERCALL_UD);
        assert_memory_equal(&regs, &before, sizeof(regs));
    }
    regs.cpl = 0;
    regs.mode = HVTLFS_MODE_REAL;
    before = regs;
    assert_int_equal(hvtlfs_hypercall(fixture.vp, &regs), HVTLFS_HYPERCALL_UD);
    assert_memory_equal(&regs, &before, sizeof(regs));
    expect_spins(0, 0);
}

static void every_reserved_bit_of_the_control_word_is_checked(void **state)
{
    /* TLFS 3.7: 30:27, 47:44, 63:60 reserved; a simple call has no repetitions and, without one in
     * its definition, no variable header. */
    const uint64_t must_be_zero = UINT64_C(0xFFFFFFFF00000000) | UINT64_C(0xFFFE0000);
    uint32_t bit;

    (void)state;
    for (bit = 17; bit < 64; bit++) {
        assert_true(must_be_zero >> bit & 1);
        assert_int_equal(call64(SPIN | FAST | UINT64_C(1) << bit, 0, 0),
                         HV_STATUS_INVALID_HYPERCALL_INPUT);
    }
    expect_spins(0, 0);
}

static void without_the_privilege_nothing_else_is_learnt(void **state)
{
    (void)state;
    fixture_stop(&fixture);
    fixture_prepare(&fixture);
    fixture_start(&fixture);
    assert_int_equal(call64(SPIN | FAST, 0, 0), HV_STATUS_ACCESS_DENIED);
    assert_int_equal(call64(SPIN | FAST | UINT64_C(1) << 63, 0, 0), HV_STATUS_ACCESS_DENIED);
    assert_int_equal(call64(SPIN, 1, 0), HV_STATUS_ACCESS_DENIED);
}

static void an_input_address_is_aligned_in_one_page_and_inside_the_space(void **state)
{
    (void)state;
    assert_int_equal(call64(SPIN, 0x3004, 0), HV_STATUS_INVALID_ALIGNMENT);
    assert_int_equal(call64(SPIN, 0x3001, 0), HV_STATUS_INVALID_ALIGNMENT);
    assert_int_equal(call64(SPIN, 0x3FF8, 0), HV_STATUS_SUCCESS);
    assert_int_equal(call64(SPIN, UINT64_C(1) << 40, 0), HV_STATUS_INVALID_ALIGNMENT);
    assert_int_equal(call64(SPIN, UINT64_MAX - 7, 0), HV_STATUS_INVALID_ALIGNMENT);
    expect_spins(1, 0);
}

static void a_spin_wait_succeeds_whatever_it_says(void **state)
{
    (void)state;
    assert_int_equal(call64(SPIN | FAST, UINT64_MAX, UINT64_MAX), HV_STATUS_SUCCESS);
    expect_spins(1, 0xFFFFFFFF);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, start, stop)
    const struct CMUnitTest tests[] = {
        TEST(an_unknown_code_is_invalid),
        TEST(a_fast_call_takes_its_input_from_rdx),
        TEST(a_slow_call_takes_its_input_from_guest_memory),
        TEST(in_protected_mode_register_pairs_serve),
        TEST(in_protected_mode_the_control_words_high_half_is_edx),
        TEST(real_mode_and_cpl_above_0_are_undefined_opcodes),
        TEST(every_reserved_bit_of_the_control_word_is_checked),
        TEST(without_the_privilege_nothing_else_is_learnt),
        TEST(an_input_address_is_aligned_in_one_page_and_inside_the_space),
        TEST(a_spin_wait_succeeds_whatever_it_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
