/* SPDX-License-Identifier: MIT */
/*
 * Calls that nobody meant: random registers over random memory, with callbacks that fail. Whatever
 * comes, the answer is one of the defined ones, the work is bounded, no contract with the host is
 * broken and no register changes that is not named. The sanitizers watch the rest.
 */
#include "guest_call.h"

#include <hvtlfs/names.h>

#define CALLS 60000u

/* The same numbers in every run: a linear congruence (Knuth, MMIX). */
static uint64_t seed = 5;

static uint64_t any(void)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return seed >> 13 ^ seed << 29;
}

static uint64_t below(uint64_t limit)
{
    return any() % limit;
}

/* Mostly codes that exist. */
static uint16_t any_code(void)
{
    static const uint16_t codes[] = {1,    2,    3,    8,    0xB,  0x13, 0x14,  0x15,  0x50, 0x51,
                                     0x5C, 0x5D, 0x7E, 0x99, 0x9A, 0xAF, 0xB0, 0x8001, 0x8002, 0x46};

    return below(20) ? codes[below(sizeof(codes) / sizeof(codes[0]))] : (uint16_t)any();
}

static uint64_t any_control(void)
{
    uint64_t control = any_code();

    control |= below(3) ? 0 : UINT64_C(1) << 16;
    control |= below(3) ? 0 : below(70) << 17;
    control |= below(2) ? below(300) << 32 : 0;
    control |= below(4) ? 0 : below(300) << 48;
    control |= below(30) ? 0 : UINT64_C(1) << below(64);
    return control;
}

static uint64_t any_gpa(void)
{
    switch (below(8)) {
    case 0:
        return any();
    case 1:
        return GUEST_BEYOND - 8 * below(600);
    case 2:
        return GUEST_UNMAPPED + 8 * below(512);
    default:
        return GUEST_INPUT + (below(8) ? 8 * below(512) : below(HVTLFS_PAGE_SIZE));
    }
}

/* Values that pass some checks, so that the calls get further than the first of them. */
static uint64_t any_value(void)
{
    switch (below(6)) {
    case 0:
        return HV_PARTITION_ID_SELF;
    case 1:
        return HV_VP_INDEX_SELF;
    case 2:
        return below(8);
    case 3:
        return below(256) | below(8) << 32;
    case 4:
        return 0;
    default:
        return any();
    }
}

static void fill_memory(struct fixture *fixture)
{
    uint64_t *words = (uint64_t *)(void *)model_host_ram(fixture->host, GUEST_INPUT);
    size_t i;

    for (i = 0; i < HVTLFS_PAGE_SIZE / 8; i++) {
        words[i] = any_value();
    }
}

static void any_regs(struct hvtlfs_hypercall_regs *regs)
{
    uint64_t control = any_control();
    size_t i;

    memset(regs, 0, sizeof(*regs));
    regs->mode = below(3) ? HVTLFS_MODE_LONG64 : HVTLFS_MODE_PROTECTED32;
    regs->rdx = control & UINT64_C(1) << 16 ? any_value() : any_gpa();
    regs->r8 = control & UINT64_C(1) << 16 ? any_value() : any_gpa();
    for (i = 0; i < 6; i++) {
        regs->xmm[i].half[0] = any_value();
        regs->xmm[i].half[1] = any_value();
    }
    regs->rcx = control;
    if (regs->mode == HVTLFS_MODE_PROTECTED32) {
        guest_pair(&regs->rbx, &regs->rcx, regs->rdx);
        guest_pair(&regs->rdi, &regs->rsi, regs->r8);
        guest_pair(&regs->rdx, &regs->rax, control);
    }
}

static uint32_t start_index(const struct hvtlfs_hypercall_regs *regs)
{
    uint64_t control =
        regs->mode == HVTLFS_MODE_LONG64 ? regs->rcx : regs->rdx << 32 | (uint32_t)regs->rax;

    return (uint32_t)(control >> 48) & 0xFFF;
}

/* One call to its end. Each continuation has to get on, so there are at most as many as elements. */
static void make_any(struct fixture *fixture)
{
    struct hvtlfs_hypercall_regs regs, before;
    enum hvtlfs_hypercall_result result;
    uint64_t value;

    any_regs(&regs);
    for (;;) {
        before = regs;
        result = hvtlfs_hypercall(fixture->vp, &regs);
        guest_check_changed(&before, &regs);
        if (result != HVTLFS_HYPERCALL_CONTINUE) {
            break;
        }
        assert_true(start_index(&regs) > start_index(&before));
    }
    if (result == HVTLFS_HYPERCALL_UD) {
        assert_int_equal(regs.changed, 0);
        return;
    }
    if (result == HVTLFS_HYPERCALL_INTERCEPT) {
        assert_true(regs.fault_gpa < GUEST_BEYOND);
        hvtlfs_hypercall_fail(&regs, HV_STATUS_INVALID_PARAMETER);
    } else {
        assert_int_equal(result, HVTLFS_HYPERCALL_DONE);
    }
    value = regs.mode == HVTLFS_MODE_LONG64 ? regs.rax : regs.rdx << 32 | (uint32_t)regs.rax;
    assert_int_equal(value & HV_HYPERCALL_RESULT_RSVD_MASK, 0);
    assert_non_null(hvtlfs_hv_status_name((uint16_t)value));
}

static void any_call_has_a_defined_answer(void **state)
{
    struct fixture fixture;
    unsigned i;

    (void)state;
    fixture_prepare(&fixture);
    fixture.features = WITH_XMM;
    fixture.config.vp_count = 70;
    fixture_start(&fixture);
    for (i = 0; i < CALLS; i++) {
        if (i % 64 == 0) {
            fill_memory(&fixture);
            model_host_clear_events(fixture.host);
            model_host_set_answer(fixture.host, (enum hvtlfs_answer)below(5));
        }
        model_host_fail(fixture.host, below(4) ? 0 : 1 + below(4), false);
        make_any(&fixture);
    }
    fixture_stop(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(any_call_has_a_defined_answer)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
