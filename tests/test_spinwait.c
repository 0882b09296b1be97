/* SPDX-License-Identifier: MIT */
/* HvCallNotifyLongSpinWait (TLFS 14.5.1), leaf 4 EBX (2.4.5), and whom to run instead. */
#include "fixture.h"

#include <hvtlfs/spinwait.h>

static struct fixture fixture;

static void start_with(const char *features)
{
    fixture_prepare(&fixture);
    fixture.features = features;
    fixture.config.vp_count = 130;
    fixture_start(&fixture);
}

static int start(void **state)
{
    (void)state;
    start_with("spinlocks=0x1fff");
    return 0;
}

static int stop(void **state)
{
    (void)state;
    fixture_stop(&fixture);
    return 0;
}

/* ---- The leaf ---- */

static uint32_t leaf_4_ebx(void)
{
    struct hvtlfs_cpuid_regs regs = {0};

    assert_true(hvtlfs_cpuid(fixture.vp, 0x40000004, 0, &regs));
    return regs.ebx;
}

static void the_leaf_shows_the_count_and_its_two_special_values(void **state)
{
    static const struct {
        const char *features;
        uint32_t ebx;
    } cases[] = {{"spinlocks=0x1fff", 0x1FFF},
                 {"spinlocks=0xffffffff", 0xFFFFFFFF}, /* never notify */
                 {"spinlocks", 0xFFFFFFFF},
                 {"spinlocks=0", 0}, /* do not notify */
                 {"", 0}};
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        start_with(cases[i].features);
        assert_int_equal(leaf_4_ebx(), cases[i].ebx);
        fixture_stop(&fixture);
    }
}

/* ---- The call ---- */

static uint64_t call(uint64_t control, uint64_t rdx)
{
    struct hvtlfs_hypercall_regs regs = {.rcx = control, .rdx = rdx, .mode = HVTLFS_MODE_LONG64};

    assert_int_equal(hvtlfs_hypercall(fixture.vp, &regs), HVTLFS_HYPERCALL_DONE);
    return regs.rax;
}

static uint64_t told(void)
{
    struct model_event event;

    assert_int_equal(model_host_event_count(fixture.host), 1);
    assert_true(model_host_event(fixture.host, 0, &event));
    assert_int_equal(event.kind, MODEL_EVENT_SPIN_WAIT);
    assert_int_equal(event.vp_index, 0);
    model_host_clear_events(fixture.host);
    return event.values[0];
}

static void a_fast_call_tells_the_host_and_succeeds(void **state)
{
    (void)state;
    expect_write(fixture.vp, HV_X64_MSR_GUEST_OS_ID, LINUX_ID);
    assert_int_equal(call(0x10008, 0x1FFF), HV_STATUS_SUCCESS);
    assert_int_equal(told(), 0x1FFF);
    /* The upper half is RsvdZ, and the call always succeeds. */
    assert_int_equal(call(0x10008, UINT64_C(0xFFFFFFFF00000007)), HV_STATUS_SUCCESS);
    assert_int_equal(told(), 7);
}

static void a_slow_call_tells_the_host_and_succeeds(void **state)
{
    (void)state;
    expect_write(fixture.vp, HV_X64_MSR_GUEST_OS_ID, LINUX_ID);
    assert_int_equal(model_host_guest_write64(fixture.host, 0x3000, 0x3FFE), MODEL_ACCESS_OK);
    assert_int_equal(call(0x8, 0x3000), HV_STATUS_SUCCESS);
    assert_int_equal(told(), 0x3FFE);
}

static void it_works_in_32_bit_mode(void **state)
{
    struct hvtlfs_hypercall_regs regs = {
        .rax = 0x10008, .rcx = 0x1234, .mode = HVTLFS_MODE_PROTECTED32};

    (void)state;
    expect_write(fixture.vp, HV_X64_MSR_GUEST_OS_ID, LINUX_ID);
    assert_int_equal(hvtlfs_hypercall(fixture.vp, &regs), HVTLFS_HYPERCALL_DONE);
    assert_int_equal(regs.rax, HV_STATUS_SUCCESS);
    assert_int_equal(told(), 0x1234);
}

/* ---- Whom to run: the pure function ---- */

#define NONE HVTLFS_NO_VP

static uint32_t advise(uint32_t caller, uint32_t spins, uint32_t last, uint64_t preempted,
                       uint64_t spinning)
{
    const uint64_t preempted_banks[] = {preempted, 0};
    const uint64_t spinning_banks[] = {spinning, 0};
    const struct hvtlfs_yield_view view = {.caller = caller,
                                           .spins = spins,
                                           .threshold = 100,
                                           .last = last,
                                           .bank_count = 2,
                                           .preempted = preempted_banks,
                                           .spinning = spinning_banks};

    return hvtlfs_yield_advice(&view);
}

static void nobody_preempted_means_nobody_to_run(void **state)
{
    (void)state;
    assert_int_equal(advise(0, 100, NONE, 0, 0), NONE);
    assert_int_equal(advise(0, 100000, NONE, 0, 0xFF), NONE);
}

static void the_caller_is_never_proposed(void **state)
{
    (void)state;
    assert_int_equal(advise(3, 100000, NONE, 0x8, 0x0), NONE);
    assert_int_equal(advise(3, 100000, NONE, 0x8, 0x8), NONE);
    assert_int_equal(advise(3, 100, NONE, 0x18, 0x0), 4);
}

static void a_preempted_vp_that_does_not_spin_comes_first(void **state)
{
    (void)state;
    assert_int_equal(advise(0, 100, NONE, 0x3E, 0x1E), 5);
    assert_int_equal(advise(0, 100000, NONE, 0x3E, 0x1E), 5);
}

static void spinners_get_their_chance_once_the_caller_has_notified_twice(void **state)
{
    (void)state;
    assert_int_equal(advise(0, 100, NONE, 0x6, 0x6), NONE);
    assert_int_equal(advise(0, 199, NONE, 0x6, 0x6), NONE);
    assert_int_equal(advise(0, 200, NONE, 0x6, 0x6), 1);
}

static void each_preempted_vp_gets_its_turn(void **state)
{
    (void)state;
    assert_int_equal(advise(0, 100, NONE, UINT64_C(0x8000000000000012), 0), 1);
    assert_int_equal(advise(0, 100, 1, UINT64_C(0x8000000000000012), 0), 4);
    assert_int_equal(advise(0, 100, 4, UINT64_C(0x8000000000000012), 0), 63);
    assert_int_equal(advise(0, 100, 63, UINT64_C(0x8000000000000012), 0), 1);
    assert_int_equal(advise(0, 100, 127, UINT64_C(0x8000000000000012), 0), 1);
    assert_int_equal(advise(0, 100, 5000, UINT64_C(0x8000000000000012), 0), 1);
}

/* The rule again, VP by VP: slow and obviously right. */
static uint32_t obviously(const struct hvtlfs_yield_view *view)
{
    uint32_t count = view->bank_count * 64;
    uint32_t start = view->last == NONE || view->last + 1 >= count ? 0 : view->last + 1;
    int spinners;
    uint32_t i;

    for (spinners = 0; spinners <= (view->spins / 2 >= view->threshold); spinners++) {
        for (i = 0; i < count; i++) {
            uint32_t vp = (start + i) % count;
            bool preempted = view->preempted[vp / 64] >> vp % 64 & 1;
            bool spins = view->spinning[vp / 64] >> vp % 64 & 1;

            if (vp != view->caller && preempted && spins == (spinners == 1)) {
                return vp;
            }
        }
    }
    return NONE;
}

static uint64_t random_word(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static void the_advice_is_what_a_slow_search_finds(void **state)
{
    uint64_t seed = UINT64_C(0x1234567887654321);
    uint64_t preempted[3], spinning[3];
    struct hvtlfs_yield_view view = {
        .threshold = 100, .preempted = preempted, .spinning = spinning};
    uint32_t round, bank;

    (void)state;
    for (round = 0; round < 100000; round++) {
        view.bank_count = (uint32_t)(random_word(&seed) % 4);
        view.caller = (uint32_t)(random_word(&seed) % 192);
        view.last = round % 7 ? (uint32_t)(random_word(&seed) % 200) : NONE;
        view.spins = (uint32_t)(random_word(&seed) % 400);
        for (bank = 0; bank < 3; bank++) {
            preempted[bank] = random_word(&seed) & random_word(&seed) & random_word(&seed) &
                              random_word(&seed) & random_word(&seed);
            spinning[bank] = round % 3 ? random_word(&seed) : UINT64_MAX;
        }
        assert_int_equal(hvtlfs_yield_advice(&view), obviously(&view));
    }
}

/* ---- Whom to run: with what the library has been told ---- */

static struct hvtlfs_vp *vp(uint32_t index)
{
    return hvtlfs_partition_vp(fixture.partition, index);
}

static void the_library_remembers_who_was_preempted_and_who_spins(void **state)
{
    (void)state;
    assert_int_equal(hvtlfs_spin_wait_advice(fixture.vp, 0x1FFF), NONE);
    hvtlfs_vp_preempted(vp(7));
    hvtlfs_vp_preempted(vp(129));
    assert_int_equal(hvtlfs_spin_wait_advice(fixture.vp, 0x1FFF), 7);
    assert_int_equal(hvtlfs_spin_wait_advice(fixture.vp, 0x1FFF), 129);
    assert_int_equal(hvtlfs_spin_wait_advice(fixture.vp, 0x1FFF), 7);
    hvtlfs_vp_running(vp(129));
    assert_int_equal(hvtlfs_spin_wait_advice(fixture.vp, 0x1FFF), 7);
    assert_int_equal(hvtlfs_spin_wait_advice(vp(7), 0x1FFF), NONE);
}

/* Round and round, so that no preempted VP is forgotten; a round without candidates forgets nothing. */
static void advice_goes_round(void **state)
{
    uint32_t i, round;

    (void)state;
    for (round = 0; round < 2; round++) {
        for (i = 1; i < 4; i++) {
            hvtlfs_vp_preempted(vp(i));
        }
        for (i = 0; i < 5; i++) {
            assert_int_equal(hvtlfs_spin_wait_advice(fixture.vp, 0x1FFF), 1 + (2 * round + i) % 3);
        }
        for (i = 1; i < 4; i++) {
            hvtlfs_vp_running(vp(i));
        }
        assert_int_equal(hvtlfs_spin_wait_advice(fixture.vp, 0x1FFF), NONE);
    }
}

/* VPs whose bits lie at the same place of different banks are two. */
static void vps_of_different_banks_are_not_confused(void **state)
{
    (void)state;
    hvtlfs_vp_preempted(vp(1));
    hvtlfs_vp_preempted(vp(65));
    hvtlfs_vp_preempted(vp(129));
    assert_int_equal(hvtlfs_spin_wait_advice(fixture.vp, 0x1FFF), 1);
    assert_int_equal(hvtlfs_spin_wait_advice(fixture.vp, 0x1FFF), 65);
    assert_int_equal(hvtlfs_spin_wait_advice(fixture.vp, 0x1FFF), 129);
    hvtlfs_vp_preempted(vp(0));
    hvtlfs_vp_preempted(vp(64));
    hvtlfs_vp_running(vp(65));
    hvtlfs_vp_running(vp(129));
    assert_int_equal(hvtlfs_spin_wait_advice(vp(2), 0x1FFF), 0);
    assert_int_equal(hvtlfs_spin_wait_advice(vp(2), 0x1FFF), 1);
    assert_int_equal(hvtlfs_spin_wait_advice(vp(2), 0x1FFF), 64);
}

static void a_vp_that_notified_counts_as_spinning_until_it_runs_again(void **state)
{
    (void)state;
    expect_write(fixture.vp, HV_X64_MSR_GUEST_OS_ID, LINUX_ID);
    assert_int_equal(call(0x10008, 0x1FFF), HV_STATUS_SUCCESS);
    hvtlfs_vp_preempted(fixture.vp);
    assert_int_equal(hvtlfs_spin_wait_advice(vp(1), 0x1FFF), NONE);
    assert_int_equal(hvtlfs_spin_wait_advice(vp(1), 0x3FFE), 0);
    hvtlfs_vp_running(fixture.vp);
    hvtlfs_vp_preempted(fixture.vp);
    assert_int_equal(hvtlfs_spin_wait_advice(vp(1), 0x1FFF), 0);
    hvtlfs_vp_running(fixture.vp);
    /* Also where the VP's index is not that of its bank. */
    fixture.vp = vp(1);
    assert_int_equal(call(0x10008, 0x1FFF), HV_STATUS_SUCCESS);
    hvtlfs_vp_preempted(vp(1));
    assert_int_equal(hvtlfs_spin_wait_advice(vp(2), 0x3FFE), 1);
}

static void a_reset_forgets(void **state)
{
    (void)state;
    hvtlfs_vp_preempted(vp(7));
    hvtlfs_partition_reset(fixture.partition);
    assert_int_equal(hvtlfs_spin_wait_advice(fixture.vp, 0x1FFF), NONE);
}

#define STARTED(test) cmocka_unit_test_setup_teardown(test, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_leaf_shows_the_count_and_its_two_special_values),
        STARTED(a_fast_call_tells_the_host_and_succeeds),
        STARTED(a_slow_call_tells_the_host_and_succeeds),
        STARTED(it_works_in_32_bit_mode),
        cmocka_unit_test(nobody_preempted_means_nobody_to_run),
        cmocka_unit_test(the_caller_is_never_proposed),
        cmocka_unit_test(a_preempted_vp_that_does_not_spin_comes_first),
        cmocka_unit_test(spinners_get_their_chance_once_the_caller_has_notified_twice),
        cmocka_unit_test(each_preempted_vp_gets_its_turn),
        cmocka_unit_test(the_advice_is_what_a_slow_search_finds),
        STARTED(the_library_remembers_who_was_preempted_and_who_spins),
        STARTED(a_vp_that_notified_counts_as_spinning_until_it_runs_again),
        STARTED(advice_goes_round),
        STARTED(vps_of_different_banks_are_not_confused),
        STARTED(a_reset_forgets),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
