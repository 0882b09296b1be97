/* SPDX-License-Identifier: MIT */
/* EOI, ICR, TPR and the VP assist page (TLFS 10.2.3, 7.8.7), and lazy EOI step by step (10.3.5). */
#include "fixture.h"

#include <hvtlfs/vapic.h>

#define ASSIST UINT64_C(0x5000)
#define ELSEWHERE UINT64_C(0x9000)

static struct fixture fixture;

static int start(void **state)
{
    fixture_prepare(&fixture);
    fixture.options.copies_overlays = *state != NULL;
    fixture.features = "vapic";
    fixture_start(&fixture);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    fixture_stop(&fixture);
    return 0;
}

static void without_apic(struct hvtlfs_config *config)
{
    config->ops.apic_write = NULL;
}

static void lazy_eoi_forbidden(struct hvtlfs_config *config)
{
    config->policy = HVTLFS_POLICY_NO_LAZY_EOI;
}

static struct model_event last_event(void)
{
    struct model_event event;
    size_t count = model_host_event_count(fixture.host);

    assert_int_not_equal(count, 0);
    assert_true(model_host_event(fixture.host, count - 1, &event));
    return event;
}

static void expect_apic_write(enum hvtlfs_apic_register reg, uint64_t value)
{
    struct model_event event = last_event();

    assert_int_equal(model_host_events_of(fixture.host, MODEL_EVENT_APIC_WRITE), 1);
    assert_int_equal(event.kind, MODEL_EVENT_APIC_WRITE);
    assert_int_equal(event.vp_index, 0);
    assert_int_equal(event.values[0], reg);
    assert_int_equal(event.values[1], value);
    model_host_clear_events(fixture.host);
}

/* ---- EOI, ICR, TPR ---- */

static void eoi_reaches_the_apic_and_cannot_be_read(void **state)
{
    (void)state;
    expect_write(fixture.vp, HV_X64_MSR_EOI, 0);
    expect_apic_write(HVTLFS_APIC_EOI, 0);
    expect_read_fault(fixture.vp, HV_X64_MSR_EOI);
    assert_int_equal(model_host_event_count(fixture.host), 0);
}

static void the_host_can_ask_where_the_assist_page_is(void **state)
{
    (void)state;
    assert_int_equal(hvtlfs_assist_page_gpa(fixture.vp), HVTLFS_NO_PAGE);
    expect_write(fixture.vp, HV_X64_MSR_VP_ASSIST_PAGE, 0x5FFF);
    assert_int_equal(hvtlfs_assist_page_gpa(fixture.vp), 0x5000);
    expect_write(fixture.vp, HV_X64_MSR_VP_ASSIST_PAGE, UINT64_C(1) << 60 | 1); /* beyond the space */
    assert_int_equal(hvtlfs_assist_page_gpa(fixture.vp), HVTLFS_NO_PAGE);
    expect_write(fixture.vp, HV_X64_MSR_VP_ASSIST_PAGE, 0x5001);
    hvtlfs_vp_reset(fixture.vp);
    assert_int_equal(hvtlfs_assist_page_gpa(fixture.vp), HVTLFS_NO_PAGE);
}

static void the_upper_half_of_an_eoi_is_ignored(void **state)
{
    (void)state;
    expect_write(fixture.vp, HV_X64_MSR_EOI, UINT64_C(0xFFFFFFFF00000007));
    expect_apic_write(HVTLFS_APIC_EOI, 7);
}

static void icr_is_written_and_read_in_one_piece(void **state)
{
    (void)state;
    expect_write(fixture.vp, HV_X64_MSR_ICR, UINT64_C(0x07000000000000FD));
    expect_apic_write(HVTLFS_APIC_ICR, UINT64_C(0x07000000000000FD));
    expect_read(fixture.vp, HV_X64_MSR_ICR, UINT64_C(0x07000000000000FD));
}

static void an_ipi_that_may_reach_its_sender_is_told_to_the_host(void **state)
{
    struct hvtlfs_vp *one = hvtlfs_partition_vp(fixture.partition, 1);
    static const struct {
        uint64_t icr;
        bool zero, one; /* may reach the VP with APIC ID 0, 1 that sends it */
    } cases[] = {
        {UINT64_C(0x00000000000400FD), true, true},   /* shorthand: self */
        {UINT64_C(0x00000000000800FD), true, true},   /* all */
        {UINT64_C(0x00000000000C00FD), false, false}, /* all but self */
        {UINT64_C(0xFF000000000000FD), true, true},   /* xAPIC broadcast */
        {UINT64_C(0xFFFFFFFF000000FD), true, true},   /* x2APIC broadcast */
        {UINT64_C(0x02000000000000FD), false, false}, /* xAPIC ID 2 */
        {UINT64_C(0x01000000000000FD), false, true},  /* xAPIC ID 1 */
        {UINT64_C(0x02000000000008FD), true, true},   /* logical: who knows */
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(hvtlfs_msr_write(fixture.vp, HV_X64_MSR_ICR, cases[i].icr),
                         cases[i].zero ? HVTLFS_MSR_DELIVER : HVTLFS_MSR_DONE);
        assert_int_equal(hvtlfs_msr_write(one, HV_X64_MSR_ICR, cases[i].icr),
                         cases[i].one ? HVTLFS_MSR_DELIVER : HVTLFS_MSR_DONE);
    }
    assert_int_equal(hvtlfs_msr_write(one, HV_X64_MSR_ICR, UINT64_C(0x1000000FD)),
                     HVTLFS_MSR_DELIVER); /* x2APIC ID 1 */
}

static void big_apic_ids(struct hvtlfs_config *config)
{
    static const struct hvtlfs_vp_config vps[] = {{0, 0x101}, {1, 0x2}};

    config->vps = vps;
}

static void an_xapic_destination_has_eight_bits(void **state)
{
    (void)state;
    fixture_prepare(&fixture);
    fixture.features = "vapic";
    fixture.adjust = big_apic_ids;
    fixture_start(&fixture);
    assert_int_equal(hvtlfs_msr_write(fixture.vp, HV_X64_MSR_ICR, UINT64_C(0x01000000000000FD)),
                     HVTLFS_MSR_DELIVER);
    assert_int_equal(hvtlfs_msr_write(fixture.vp, HV_X64_MSR_ICR, UINT64_C(0x00000101000000FD)),
                     HVTLFS_MSR_DELIVER);
    expect_write(fixture.vp, HV_X64_MSR_ICR, UINT64_C(0x02000000000000FD));
}

static void tpr_has_eight_bits(void **state)
{
    (void)state;
    expect_write(fixture.vp, HV_X64_MSR_TPR, UINT64_C(0xFFFFFFFFFFFFFF20));
    expect_apic_write(HVTLFS_APIC_TPR, 0x20);
    expect_read(fixture.vp, HV_X64_MSR_TPR, 0x20);
    model_host_set_apic(fixture.host, 0, HVTLFS_APIC_TPR, UINT64_C(0x130));
    expect_read(fixture.vp, HV_X64_MSR_TPR, 0x30);
}

static void without_an_apic_the_feature_is_off_and_says_why(void **state)
{
    (void)state;
    fixture_prepare(&fixture);
    fixture.features = "vapic";
    fixture.adjust = without_apic;
    fixture_start(&fixture);
    assert_string_equal(hvtlfs_feature_why_off(fixture.partition, HVTLFS_FEATURE_VAPIC),
                        "the host gives no apic_read and apic_write");
    expect_write_fault(fixture.vp, HV_X64_MSR_EOI, 0);
    expect_write_fault(fixture.vp, HV_X64_MSR_VP_ASSIST_PAGE, ASSIST | 1);
    assert_false(hvtlfs_lazy_eoi_arm(fixture.vp, 0x31, HVTLFS_TRIGGER_EDGE, false));
    assert_int_equal(hvtlfs_lazy_eoi_collect(fixture.vp), HVTLFS_NO_EOI);
    assert_int_equal(hvtlfs_assist_page_gpa(fixture.vp), HVTLFS_NO_PAGE);
    assert_int_equal(hvtlfs_lazy_eoi_withdraw(fixture.vp), HVTLFS_LAZY_EOI_NONE);
    hvtlfs_vp_reset(fixture.vp);
}

/* ---- The assist page ---- */

static void enable(void)
{
    expect_write(fixture.vp, HV_X64_MSR_VP_ASSIST_PAGE, ASSIST | 1);
    model_host_clear_events(fixture.host);
}

static void the_assist_page_covers_memory_and_gives_it_back(void **state)
{
    (void)state;
    assert_int_equal(model_host_guest_write64(fixture.host, ASSIST, 0x1111), MODEL_ACCESS_OK);
    expect_read(fixture.vp, HV_X64_MSR_VP_ASSIST_PAGE, 0);
    enable();
    assert_int_equal(model_host_guest_read64(fixture.host, ASSIST), 0);
    assert_int_equal(model_host_guest_write64(fixture.host, ASSIST + 8, 0x2222), MODEL_ACCESS_OK);

    /* Moved, its content goes along. */
    expect_write(fixture.vp, HV_X64_MSR_VP_ASSIST_PAGE, ELSEWHERE | 1);
    assert_int_equal(model_host_guest_read64(fixture.host, ASSIST), 0x1111);
    assert_int_equal(model_host_guest_read64(fixture.host, ASSIST + 8), 0);
    assert_int_equal(model_host_guest_read64(fixture.host, ELSEWHERE + 8), 0x2222);

    expect_write(fixture.vp, HV_X64_MSR_VP_ASSIST_PAGE, ELSEWHERE);
    expect_read(fixture.vp, HV_X64_MSR_VP_ASSIST_PAGE, ELSEWHERE);
    assert_int_equal(model_host_guest_read64(fixture.host, ELSEWHERE + 8), 0);
}

static void the_assist_page_preserves_its_reserved_bits(void **state)
{
    (void)state;
    expect_write(fixture.vp, HV_X64_MSR_VP_ASSIST_PAGE, ASSIST | 0xFFF);
    expect_read(fixture.vp, HV_X64_MSR_VP_ASSIST_PAGE, ASSIST | 0xFFF);
}

static void an_assist_page_out_of_reach_is_no_fault_and_nowhere(void **state)
{
    static const uint64_t beyond[] = {UINT64_C(0xFFFFFFFFFFFFF001), UINT64_C(0x10000000001)};
    size_t i;

    (void)state;
    assert_int_equal(model_host_guest_write64(fixture.host, ASSIST, 0x1111), MODEL_ACCESS_OK);
    for (i = 0; i < 2; i++) {
        enable();
        expect_write(fixture.vp, HV_X64_MSR_VP_ASSIST_PAGE, beyond[i]);
        expect_read(fixture.vp, HV_X64_MSR_VP_ASSIST_PAGE, beyond[i]);
        assert_int_equal(model_host_guest_read64(fixture.host, ASSIST), 0x1111);
        assert_false(hvtlfs_lazy_eoi_arm(fixture.vp, 0x31, HVTLFS_TRIGGER_EDGE, false));
    }
}

static void a_reset_takes_the_assist_page_away_and_forgets_its_content(void **state)
{
    (void)state;
    assert_int_equal(model_host_guest_write64(fixture.host, ASSIST, 0x1111), MODEL_ACCESS_OK);
    enable();
    assert_int_equal(model_host_guest_write64(fixture.host, ASSIST + 8, 0x2222), MODEL_ACCESS_OK);
    assert_true(hvtlfs_lazy_eoi_arm(fixture.vp, 0x31, HVTLFS_TRIGGER_EDGE, false));
    hvtlfs_partition_reset(fixture.partition);
    assert_int_equal(model_host_events_of(fixture.host, MODEL_EVENT_APIC_WRITE), 0);
    expect_read(fixture.vp, HV_X64_MSR_VP_ASSIST_PAGE, 0);
    assert_int_equal(model_host_guest_read64(fixture.host, ASSIST), 0x1111);
    assert_int_equal(hvtlfs_lazy_eoi_collect(fixture.vp), HVTLFS_NO_EOI);
    enable();
    assert_int_equal(model_host_guest_read64(fixture.host, ASSIST), 0);
    assert_int_equal(model_host_guest_read64(fixture.host, ASSIST + 8), 0);
}

/* ---- Lazy EOI ---- */

static uint32_t assist_word(void)
{
    return model_host_guest_read32(fixture.host, ASSIST);
}

/* BTR [assist page], 0 */
static bool guest_btr(void)
{
    uint32_t word = assist_word();
    uint32_t cleared = model_le32(word & ~UINT32_C(1));

    assert_int_equal(model_host_guest_write(fixture.host, ASSIST, &cleared, sizeof(cleared)),
                     MODEL_ACCESS_OK);
    return word & 1;
}

static void an_edge_interrupt_is_ended_without_an_exit(void **state)
{
    (void)state;
    enable();
    assert_true(hvtlfs_lazy_eoi_arm(fixture.vp, 0x31, HVTLFS_TRIGGER_EDGE, false));
    assert_int_equal(assist_word(), 1);
    assert_true(guest_btr());
    assert_int_equal(hvtlfs_lazy_eoi_collect(fixture.vp), 0x31);
    assert_int_equal(hvtlfs_lazy_eoi_collect(fixture.vp), HVTLFS_NO_EOI);
    assert_int_equal(model_host_event_count(fixture.host), 0);
}

static void an_interrupt_that_is_not_ended_yet_is_disarmed_by_the_exit(void **state)
{
    (void)state;
    enable();
    assert_true(hvtlfs_lazy_eoi_arm(fixture.vp, 0x31, HVTLFS_TRIGGER_EDGE, false));
    assert_int_equal(hvtlfs_lazy_eoi_collect(fixture.vp), HVTLFS_NO_EOI);
    assert_int_equal(assist_word(), 0);
    assert_true(hvtlfs_lazy_eoi_arm(fixture.vp, 0x31, HVTLFS_TRIGGER_EDGE, false));
    assert_int_equal(hvtlfs_lazy_eoi_collect(fixture.vp), HVTLFS_NO_EOI);
}

static void never_armed_where_the_rules_forbid_it(void **state)
{
    (void)state;
    assert_false(hvtlfs_lazy_eoi_arm(fixture.vp, 0x31, HVTLFS_TRIGGER_EDGE, false)); /* no page */
    enable();
    assert_false(hvtlfs_lazy_eoi_arm(fixture.vp, 0x31, HVTLFS_TRIGGER_LEVEL, false));
    assert_false(hvtlfs_lazy_eoi_arm(fixture.vp, 0x31, HVTLFS_TRIGGER_EDGE, true));
    assert_false(hvtlfs_lazy_eoi_arm(fixture.vp, 0x100, HVTLFS_TRIGGER_EDGE, false));
    assert_int_equal(assist_word(), 0);
    assert_true(hvtlfs_lazy_eoi_arm(fixture.vp, 0xFF, HVTLFS_TRIGGER_EDGE, false));
    assert_false(
        hvtlfs_lazy_eoi_arm(fixture.vp, 0x31, HVTLFS_TRIGGER_EDGE, false)); /* not yet collected */
    assert_true(guest_btr());
    assert_int_equal(hvtlfs_lazy_eoi_collect(fixture.vp), 0xFF);
}

static void a_host_may_forbid_lazy_eoi_altogether(void **state)
{
    (void)state;
    fixture_prepare(&fixture);
    fixture.features = "vapic";
    fixture.adjust = lazy_eoi_forbidden;
    fixture_start(&fixture);
    enable();
    assert_false(hvtlfs_lazy_eoi_arm(fixture.vp, 0x31, HVTLFS_TRIGGER_EDGE, false));
    assert_int_equal(assist_word(), 0);
    expect_write(fixture.vp, HV_X64_MSR_EOI, 0);
    expect_apic_write(HVTLFS_APIC_EOI, 0);
}

static void withdrawn_before_the_guest_came_it_writes_eoi(void **state)
{
    (void)state;
    enable();
    assert_int_equal(hvtlfs_lazy_eoi_withdraw(fixture.vp), HVTLFS_LAZY_EOI_NONE);
    assert_true(hvtlfs_lazy_eoi_arm(fixture.vp, 0x31, HVTLFS_TRIGGER_EDGE, false));
    assert_int_equal(hvtlfs_lazy_eoi_withdraw(fixture.vp), HVTLFS_LAZY_EOI_WITHDRAWN);
    assert_int_equal(hvtlfs_lazy_eoi_withdraw(fixture.vp), HVTLFS_LAZY_EOI_NONE);
    assert_false(guest_btr());
    assert_int_equal(hvtlfs_lazy_eoi_collect(fixture.vp), HVTLFS_NO_EOI);
    expect_write(fixture.vp, HV_X64_MSR_EOI, 0);
    expect_apic_write(HVTLFS_APIC_EOI, 0);
}

static void withdrawn_after_the_guest_came_it_is_still_collected_once(void **state)
{
    (void)state;
    enable();
    assert_true(hvtlfs_lazy_eoi_arm(fixture.vp, 0x31, HVTLFS_TRIGGER_EDGE, false));
    assert_true(guest_btr());
    assert_int_equal(hvtlfs_lazy_eoi_withdraw(fixture.vp), HVTLFS_LAZY_EOI_ENDED);
    assert_int_equal(hvtlfs_lazy_eoi_withdraw(fixture.vp), HVTLFS_LAZY_EOI_ENDED);
    assert_int_equal(hvtlfs_lazy_eoi_collect(fixture.vp), 0x31);
    assert_int_equal(hvtlfs_lazy_eoi_collect(fixture.vp), HVTLFS_NO_EOI);
}

static void an_eoi_write_with_the_bit_still_set_ends_one_interrupt(void **state)
{
    (void)state;
    enable();
    assert_true(hvtlfs_lazy_eoi_arm(fixture.vp, 0x31, HVTLFS_TRIGGER_EDGE, false));
    expect_write(fixture.vp, HV_X64_MSR_EOI, 0);
    expect_apic_write(HVTLFS_APIC_EOI, 0);
    assert_int_equal(assist_word(), 0);
    assert_int_equal(hvtlfs_lazy_eoi_collect(fixture.vp), HVTLFS_NO_EOI);
}

static void an_uncollected_end_comes_before_the_next_eoi_write(void **state)
{
    (void)state;
    enable();
    assert_true(hvtlfs_lazy_eoi_arm(fixture.vp, 0x41, HVTLFS_TRIGGER_EDGE, false));
    assert_true(guest_btr());
    expect_write(fixture.vp, HV_X64_MSR_EOI, 0); /* of the interrupt below */
    assert_int_equal(model_host_events_of(fixture.host, MODEL_EVENT_APIC_WRITE), 2);
    assert_int_equal(hvtlfs_lazy_eoi_collect(fixture.vp), HVTLFS_NO_EOI);
}

static void a_page_that_goes_while_armed_leaves_nothing_behind(void **state)
{
    (void)state;
    enable();
    assert_true(hvtlfs_lazy_eoi_arm(fixture.vp, 0x31, HVTLFS_TRIGGER_EDGE, false));
    expect_write(fixture.vp, HV_X64_MSR_VP_ASSIST_PAGE, 0);
    assert_int_equal(model_host_events_of(fixture.host, MODEL_EVENT_APIC_WRITE), 0);
    assert_int_equal(hvtlfs_lazy_eoi_collect(fixture.vp), HVTLFS_NO_EOI);
    enable();
    assert_int_equal(assist_word(), 0);

    assert_true(hvtlfs_lazy_eoi_arm(fixture.vp, 0x31, HVTLFS_TRIGGER_EDGE, false));
    assert_true(guest_btr());
    expect_write(fixture.vp, HV_X64_MSR_VP_ASSIST_PAGE, ELSEWHERE | 1);
    assert_int_equal(model_host_events_of(fixture.host, MODEL_EVENT_APIC_WRITE), 1);
    assert_int_equal(hvtlfs_lazy_eoi_collect(fixture.vp), HVTLFS_NO_EOI);
}

static void a_scribbled_word_keeps_its_other_bits(void **state)
{
    uint32_t scribble = model_le32(0xFFFFFFFE);

    (void)state;
    enable();
    assert_int_equal(model_host_guest_write(fixture.host, ASSIST, &scribble, sizeof(scribble)),
                     MODEL_ACCESS_OK);
    assert_true(hvtlfs_lazy_eoi_arm(fixture.vp, 0x31, HVTLFS_TRIGGER_EDGE, false));
    assert_int_equal(assist_word(), 0xFFFFFFFF);
    assert_int_equal(hvtlfs_lazy_eoi_collect(fixture.vp), HVTLFS_NO_EOI);
    assert_int_equal(assist_word(), 0xFFFFFFFE);
}

static void memory_that_fails_under_a_copied_page_arms_nothing(void **state)
{
    (void)state;
    if (!fixture.options.copies_overlays) {
        return;
    }
    enable();
    model_host_fail(fixture.host, 1, true);
    assert_false(hvtlfs_lazy_eoi_arm(fixture.vp, 0x31, HVTLFS_TRIGGER_EDGE, false));
    expect_write_fault(fixture.vp, HV_X64_MSR_VP_ASSIST_PAGE, 0);
    expect_read(fixture.vp, HV_X64_MSR_VP_ASSIST_PAGE, ASSIST | 1);
    model_host_fail(fixture.host, 0, false);
    assert_int_equal(hvtlfs_lazy_eoi_collect(fixture.vp), HVTLFS_NO_EOI);
}

#define MAPPED(test) cmocka_unit_test_setup_teardown(test, start, stop)
#define COPIED(test)                                                                               \
    {                                                                                              \
        "copied: " #test, test, start, stop, &fixture                                              \
    }
#define BOTH(test) MAPPED(test), COPIED(test)

int main(void)
{
    const struct CMUnitTest tests[] = {
        MAPPED(eoi_reaches_the_apic_and_cannot_be_read),
        MAPPED(the_upper_half_of_an_eoi_is_ignored),
        MAPPED(icr_is_written_and_read_in_one_piece),
        MAPPED(an_ipi_that_may_reach_its_sender_is_told_to_the_host),
        MAPPED(tpr_has_eight_bits),
        MAPPED(the_host_can_ask_where_the_assist_page_is),
        cmocka_unit_test_teardown(without_an_apic_the_feature_is_off_and_says_why, stop),
        cmocka_unit_test_teardown(an_xapic_destination_has_eight_bits, stop),
        cmocka_unit_test_teardown(a_host_may_forbid_lazy_eoi_altogether, stop),
        BOTH(the_assist_page_covers_memory_and_gives_it_back),
        BOTH(the_assist_page_preserves_its_reserved_bits),
        BOTH(an_assist_page_out_of_reach_is_no_fault_and_nowhere),
        BOTH(a_reset_takes_the_assist_page_away_and_forgets_its_content),
        BOTH(an_edge_interrupt_is_ended_without_an_exit),
        BOTH(an_interrupt_that_is_not_ended_yet_is_disarmed_by_the_exit),
        BOTH(never_armed_where_the_rules_forbid_it),
        BOTH(withdrawn_before_the_guest_came_it_writes_eoi),
        BOTH(withdrawn_after_the_guest_came_it_is_still_collected_once),
        BOTH(an_eoi_write_with_the_bit_still_set_ends_one_interrupt),
        BOTH(an_uncollected_end_comes_before_the_next_eoi_write),
        BOTH(a_page_that_goes_while_armed_leaves_nothing_behind),
        BOTH(a_scribbled_word_keeps_its_other_bits),
        BOTH(memory_that_fails_under_a_copied_page_arms_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
