/* SPDX-License-Identifier: MIT */
/* The synthetic interrupt controller: TLFS 6.0b 11. */
#include "synic_fixture.h"

#include <hvtlfs/state.h>
#include <hvtlfs/time.h>

#include "state.h"

/* Every test runs on a host that maps overlays and on one that copies them. */
static bool copies;

static int map_pages(void **state)
{
    (void)state;
    copies = false;
    return 0;
}

static int copy_pages(void **state)
{
    (void)state;
    copies = true;
    return 0;
}

/* ---- Registers ---- */

static void test_registers_have_the_values_of_creation(void **state)
{
    struct fixture fixture;
    uint32_t sint;

    (void)state;
    synic_prepare(&fixture, copies, SYNIC_FEATURES);
    fixture_start(&fixture);
    expect_read(fixture.vp, HV_X64_MSR_SCONTROL, 0);
    expect_read(fixture.vp, HV_X64_MSR_SVERSION, 1);
    expect_read(fixture.vp, HV_X64_MSR_SIEFP, 0);
    expect_read(fixture.vp, HV_X64_MSR_SIMP, 0);
    expect_read(fixture.vp, HV_X64_MSR_EOM, 0);
    for (sint = 0; sint < 16; sint++) {
        expect_read(fixture.vp, HV_X64_MSR_SINT0 + sint, 0x10000);
    }
    fixture_stop(&fixture);
}

static void test_registers_fault_without_the_feature(void **state)
{
    struct fixture fixture;
    uint32_t msr;

    (void)state;
    fixture_prepare(&fixture);
    fixture.features = "vpindex";
    fixture_start(&fixture);
    for (msr = HV_X64_MSR_SCONTROL; msr <= HV_X64_MSR_STIMER3_COUNT; msr++) {
        expect_read_fault(fixture.vp, msr);
        expect_write_fault(fixture.vp, msr, 0x10000);
    }
    fixture_stop(&fixture);
}

static void test_sversion_cannot_be_written(void **state)
{
    struct fixture fixture;

    (void)state;
    synic_start(&fixture, copies);
    expect_write_fault(fixture.vp, HV_X64_MSR_SVERSION, 1);
    expect_read(fixture.vp, HV_X64_MSR_SVERSION, 1);
    fixture_stop(&fixture);
}

static void test_reserved_bits_are_preserved(void **state)
{
    struct fixture fixture;

    (void)state;
    synic_start(&fixture, copies);
    expect_write(fixture.vp, HV_X64_MSR_SCONTROL, UINT64_C(0xDEADBEEF00000002));
    expect_read(fixture.vp, HV_X64_MSR_SCONTROL, UINT64_C(0xDEADBEEF00000002));
    expect_write(fixture.vp, HV_X64_MSR_SIMP, 0x30FFE);
    expect_read(fixture.vp, HV_X64_MSR_SIMP, 0x30FFE);
    expect_write(fixture.vp, HV_X64_MSR_SIEFP, 0x40ABE);
    expect_read(fixture.vp, HV_X64_MSR_SIEFP, 0x40ABE);
    expect_write(fixture.vp, HV_X64_MSR_SINT3, UINT64_C(0x123456789AEBFF20));
    expect_read(fixture.vp, HV_X64_MSR_SINT3, UINT64_C(0x123456789AEBFF20));
    fixture_stop(&fixture);
}

static void test_sint_vector_below_16_faults_unless_masked(void **state)
{
    struct fixture fixture;
    uint32_t vector;

    (void)state;
    synic_start(&fixture, copies);
    for (vector = 0; vector < 256; vector++) {
        expect_write(fixture.vp, HV_X64_MSR_SINT5, 0x10000 | vector);
        if (vector < 16) {
            expect_write_fault(fixture.vp, HV_X64_MSR_SINT5, vector);
            expect_read(fixture.vp, HV_X64_MSR_SINT5, 0x10000 | vector);
        } else {
            expect_write(fixture.vp, HV_X64_MSR_SINT5, vector);
            expect_read(fixture.vp, HV_X64_MSR_SINT5, vector);
        }
    }
    fixture_stop(&fixture);
}

static void test_pages_beyond_the_guests_space_do_not_fault(void **state)
{
    const uint64_t beyond = (UINT64_C(1) << 40) | 1;
    struct fixture fixture;

    (void)state;
    synic_start(&fixture, copies);
    expect_write(fixture.vp, HV_X64_MSR_SIMP, beyond);
    expect_read(fixture.vp, HV_X64_MSR_SIMP, beyond);
    expect_write(fixture.vp, HV_X64_MSR_SIEFP, beyond);
    expect_read(fixture.vp, HV_X64_MSR_SIEFP, beyond);
    assert_int_equal(model_host_overlay_count(fixture.host), 0);
    fixture_stop(&fixture);
}

static void test_page_without_memory_does_not_fault(void **state)
{
    struct fixture fixture;
    uint64_t hole;

    (void)state;
    synic_start(&fixture, copies);
    hole = fixture.options.ram_size + 0x1000;
    expect_write(fixture.vp, HV_X64_MSR_SIMP, hole | 1);
    expect_read(fixture.vp, HV_X64_MSR_SIMP, hole | 1);
    fixture_stop(&fixture);
}

/* ---- Pages ---- */

static void test_pages_cover_memory_and_give_it_back(void **state)
{
    struct fixture fixture;

    (void)state;
    synic_prepare(&fixture, copies, SYNIC_FEATURES);
    fixture_start(&fixture);
    model_host_guest_write64(fixture.host, sim_gpa(0), 0x1111);
    expect_write(fixture.vp, HV_X64_MSR_SIMP, sim_gpa(0) | 1);
    assert_int_equal(model_host_guest_read64(fixture.host, sim_gpa(0)), 0);
    expect_write(fixture.vp, HV_X64_MSR_SIMP, sim_gpa(0));
    assert_int_equal(model_host_guest_read64(fixture.host, sim_gpa(0)), 0x1111);
    fixture_stop(&fixture);
}

static void test_page_content_moves_and_survives_disabling(void **state)
{
    struct fixture fixture;

    (void)state;
    synic_start(&fixture, copies);
    assert_int_equal(post_number(fixture.vp, 4, 77), HVTLFS_OK);
    hvtlfs_vp_poll(fixture.vp);
    expect_slot(&fixture, 0, 4, 77);
    expect_write(fixture.vp, HV_X64_MSR_SIMP, sim_gpa(0));
    expect_write(fixture.vp, HV_X64_MSR_SIMP, sim_gpa(9) | 1);
    expect_slot(&fixture, 9, 4, 77);
    fixture_stop(&fixture);
}

static void test_reset_clears_pages_registers_and_queues(void **state)
{
    struct fixture fixture;
    uint32_t sint;

    (void)state;
    synic_start(&fixture, copies);
    assert_int_equal(post_number(fixture.vp, 4, 1), HVTLFS_OK);
    hvtlfs_vp_poll(fixture.vp);
    assert_int_equal(post_number(fixture.vp, 4, 2), HVTLFS_OK);
    assert_int_equal(post_number(fixture.vp, 5, 3), HVTLFS_OK);
    assert_int_equal(hvtlfs_synic_signal_event(fixture.vp, 3, 9, NULL), HVTLFS_OK);
    hvtlfs_vp_reset(fixture.vp);
    expect_read(fixture.vp, HV_X64_MSR_SCONTROL, 0);
    expect_read(fixture.vp, HV_X64_MSR_SIMP, 0);
    expect_read(fixture.vp, HV_X64_MSR_SIEFP, 0);
    for (sint = 0; sint < 16; sint++) {
        expect_read(fixture.vp, HV_X64_MSR_SINT0 + sint, 0x10000);
    }
    synic_enable(fixture.vp);
    hvtlfs_vp_poll(fixture.vp);
    for (sint = 0; sint < 16; sint++) {
        expect_slot(&fixture, 0, sint, 0);
    }
    assert_int_equal(model_host_guest_read64(fixture.host, sief_gpa(0) + 3 * 256), 0);
    fixture_stop(&fixture);
}

static void test_system_reset_frees_every_buffer(void **state)
{
    struct fixture fixture;
    uint32_t round;
    uint32_t i;

    (void)state;
    synic_prepare(&fixture, copies, SYNIC_FEATURES);
    fixture.config.message_buffers = 32;
    fixture_start(&fixture);
    synic_enable(fixture.vp);
    for (round = 0; round < 3; round++) {
        for (i = 0; i < 16; i++) {
            assert_int_equal(post_number(fixture.vp, 4, i + 1), HVTLFS_OK);
            assert_int_equal(post_number(fixture.vp, 5, i + 1), HVTLFS_OK);
        }
        assert_int_equal(post_number(fixture.vp, 6, 1), HVTLFS_ERR_FULL);
        hvtlfs_partition_reset(fixture.partition);
        synic_enable(fixture.vp);
    }
    fixture_stop(&fixture);
}

/* The poster has been told that its message is accepted, and is held up; then it pushes it. */
static void test_message_accepted_before_a_reset_is_not_delivered_after_it(void **state)
{
    struct fixture fixture;
    uint32_t item;
    uint32_t i;

    (void)state;
    synic_start(&fixture, copies);
    assert_int_equal(post_number(fixture.vp, 3, 77), HVTLFS_OK);
    item = fixture.vp->synic.inbox;
    fixture.vp->synic.inbox = HVTI_NO_ITEM;
    hvtlfs_vp_reset(fixture.vp);
    synic_enable(fixture.vp);
    assert_int_equal(post_number(fixture.vp, 3, 78), HVTLFS_OK);
    hvti_message_of(&fixture.partition->messages, item)->next = fixture.vp->synic.inbox;
    fixture.vp->synic.inbox = item;
    hvtlfs_vp_poll(fixture.vp);
    expect_slot(&fixture, 0, 3, 78);
    assert_false(guest_empties_slot(&fixture, 0, 3));
    expect_write(fixture.vp, HV_X64_MSR_EOM, 0);
    expect_slot(&fixture, 0, 3, 0);
    for (i = 0; i < 16; i++) {
        assert_int_equal(post_number(fixture.vp, 3, i + 1), HVTLFS_OK);
    }
    fixture_stop(&fixture);
}

/* ---- Messages ---- */

static void test_message_reaches_slot_and_interrupts(void **state)
{
    const uint8_t payload[3] = {1, 2, 3};
    const struct hvtlfs_message message = {
        .type = 0x80000042, .size = 3, .origin = 0x777, .payload = payload};
    struct fixture fixture;
    struct hv_message slot;

    (void)state;
    synic_start(&fixture, copies);
    assert_int_equal(hvtlfs_synic_post_message(fixture.vp, 7, &message), HVTLFS_OK);
    expect_slot(&fixture, 0, 7, 0);
    assert_int_equal(model_host_take_kick(fixture.host), 0);
    hvtlfs_vp_poll(fixture.vp);
    slot = guest_message(&fixture, 0, 7);
    assert_int_equal(slot.header.message_type, 0x80000042);
    assert_int_equal(slot.header.payload_size, 3);
    assert_int_equal(slot.header.message_flags, 0);
    assert_int_equal(slot.header.reserved, 0);
    assert_int_equal(slot.header.origination_id, 0x777);
    assert_memory_equal(slot.payload, payload, 3);
    expect_interrupt(&fixture, 0, VECTOR + 7, false);
    expect_no_interrupt(&fixture, 0);
    fixture_stop(&fixture);
}

static void test_payload_sizes_0_to_240_arrive_whole(void **state)
{
    uint8_t payload[240];
    struct fixture fixture;
    uint32_t size;
    uint32_t i;

    (void)state;
    synic_start(&fixture, copies);
    for (i = 0; i < sizeof(payload); i++) {
        payload[i] = (uint8_t)(i * 7 + 1);
    }
    for (size = 0; size <= 240; size++) {
        const struct hvtlfs_message message = {
            .type = 1, .size = size, .payload = size ? payload : NULL};
        struct hv_message slot;

        assert_int_equal(hvtlfs_synic_post_message(fixture.vp, 1, &message), HVTLFS_OK);
        hvtlfs_vp_poll(fixture.vp);
        slot = guest_message(&fixture, 0, 1);
        assert_int_equal(slot.header.payload_size, size);
        assert_memory_equal(slot.payload, payload, size);
        assert_false(guest_empties_slot(&fixture, 0, 1));
    }
    fixture_stop(&fixture);
}

static void test_bad_messages_are_refused(void **state)
{
    uint8_t payload[241] = {0};
    struct hvtlfs_message message = {.type = 1, .size = 241, .payload = payload};
    struct fixture fixture;

    (void)state;
    synic_start(&fixture, copies);
    assert_int_equal(hvtlfs_synic_post_message(fixture.vp, 1, &message), HVTLFS_ERR_ARGUMENT);
    message.size = 4;
    assert_int_equal(hvtlfs_synic_post_message(fixture.vp, 16, &message), HVTLFS_ERR_ARGUMENT);
    assert_int_equal(hvtlfs_synic_post_message(NULL, 1, &message), HVTLFS_ERR_ARGUMENT);
    assert_int_equal(hvtlfs_synic_post_message(fixture.vp, 1, NULL), HVTLFS_ERR_ARGUMENT);
    message.type = 0;
    assert_int_equal(hvtlfs_synic_post_message(fixture.vp, 1, &message), HVTLFS_ERR_ARGUMENT);
    message.type = 1;
    message.payload = NULL;
    assert_int_equal(hvtlfs_synic_post_message(fixture.vp, 1, &message), HVTLFS_ERR_ARGUMENT);
    assert_int_equal(model_host_take_kick(fixture.host), HVTLFS_NO_VP);
    fixture_stop(&fixture);
}

static void test_disabled_vp_is_no_target(void **state)
{
    struct fixture fixture;

    (void)state;
    synic_start(&fixture, copies);
    expect_write(fixture.vp, HV_X64_MSR_SCONTROL, 0);
    assert_int_equal(post_number(fixture.vp, 1, 1), HVTLFS_ERR_ORDER);
    assert_int_equal(hvtlfs_synic_signal_event(fixture.vp, 1, 1, NULL), HVTLFS_ERR_ORDER);
    expect_write(fixture.vp, HV_X64_MSR_SCONTROL, 1);
    expect_write(fixture.vp, HV_X64_MSR_SIMP, sim_gpa(0));
    assert_int_equal(post_number(fixture.vp, 1, 1), HVTLFS_ERR_ORDER);
    assert_int_equal(hvtlfs_synic_signal_event(fixture.vp, 1, 1, NULL), HVTLFS_OK);
    expect_write(fixture.vp, HV_X64_MSR_SIMP, sim_gpa(0) | 1);
    expect_write(fixture.vp, HV_X64_MSR_SIEFP, sief_gpa(0));
    assert_int_equal(post_number(fixture.vp, 1, 1), HVTLFS_OK);
    assert_int_equal(hvtlfs_synic_signal_event(fixture.vp, 1, 1, NULL), HVTLFS_ERR_ORDER);
    fixture_stop(&fixture);
}

static void test_without_synic_nothing_is_available(void **state)
{
    struct fixture fixture;

    (void)state;
    fixture_prepare(&fixture);
    fixture.options.copies_overlays = copies;
    fixture_start(&fixture);
    assert_int_equal(post_number(fixture.vp, 1, 1), HVTLFS_ERR_UNAVAILABLE);
    assert_int_equal(hvtlfs_synic_signal_event(fixture.vp, 1, 1, NULL), HVTLFS_ERR_UNAVAILABLE);
    assert_int_equal(hvtlfs_synic_request_interrupt(fixture.vp, 1), HVTLFS_ERR_UNAVAILABLE);
    hvtlfs_vp_poll(fixture.vp);
    hvtlfs_synic_eoi(fixture.vp, VECTOR);
    hvtlfs_partition_reset(fixture.partition);
    fixture_stop(&fixture);
}

static void test_message_waits_while_slot_is_busy_and_eom_brings_it(void **state)
{
    struct fixture fixture;

    (void)state;
    synic_start(&fixture, copies);
    assert_int_equal(post_number(fixture.vp, 2, 1), HVTLFS_OK);
    hvtlfs_vp_poll(fixture.vp);
    expect_interrupt(&fixture, 0, VECTOR + 2, false);
    assert_int_equal(post_number(fixture.vp, 2, 2), HVTLFS_OK);
    hvtlfs_vp_poll(fixture.vp);
    expect_slot(&fixture, 0, 2, 1);
    expect_no_interrupt(&fixture, 0);
    /* An EOM while the slot is busy changes nothing. */
    expect_write(fixture.vp, HV_X64_MSR_EOM, 0);
    expect_slot(&fixture, 0, 2, 1);
    assert_true(guest_empties_slot(&fixture, 0, 2));
    expect_slot(&fixture, 0, 2, 0);
    expect_write(fixture.vp, HV_X64_MSR_EOM, 0);
    expect_slot(&fixture, 0, 2, 2);
    expect_interrupt(&fixture, 0, VECTOR + 2, false);
    assert_false(guest_empties_slot(&fixture, 0, 2));
    expect_write(fixture.vp, HV_X64_MSR_EOM, 0);
    expect_slot(&fixture, 0, 2, 0);
    expect_no_interrupt(&fixture, 0);
    fixture_stop(&fixture);
}

static void test_pending_flag_tells_of_more_at_delivery(void **state)
{
    struct fixture fixture;

    (void)state;
    synic_start(&fixture, copies);
    assert_int_equal(post_number(fixture.vp, 2, 1), HVTLFS_OK);
    assert_int_equal(post_number(fixture.vp, 2, 2), HVTLFS_OK);
    assert_int_equal(post_number(fixture.vp, 3, 3), HVTLFS_OK);
    hvtlfs_vp_poll(fixture.vp);
    assert_int_equal(guest_message(&fixture, 0, 2).header.message_flags, 1);
    assert_int_equal(guest_message(&fixture, 0, 3).header.message_flags, 0);
    fixture_stop(&fixture);
}

static void test_queue_keeps_its_order_over_17_messages_and_refuses_the_18th(void **state)
{
    struct fixture fixture;
    uint32_t i;

    (void)state;
    synic_start(&fixture, copies);
    assert_int_equal(post_number(fixture.vp, 2, 1), HVTLFS_OK);
    hvtlfs_vp_poll(fixture.vp);
    for (i = 2; i <= 17; i++) {
        assert_int_equal(post_number(fixture.vp, 2, i), HVTLFS_OK);
    }
    assert_int_equal(post_number(fixture.vp, 2, 18), HVTLFS_ERR_FULL);
    for (i = 1; i <= 17; i++) {
        expect_slot(&fixture, 0, 2, i);
        (void)guest_empties_slot(&fixture, 0, 2);
        expect_write(fixture.vp, HV_X64_MSR_EOM, 0);
    }
    expect_slot(&fixture, 0, 2, 0);
    assert_int_equal(model_host_interrupt_count(fixture.host, 0), 17);
    fixture_stop(&fixture);
}

static void test_many_messages_one_kick(void **state)
{
    struct fixture fixture;

    (void)state;
    synic_start(&fixture, copies);
    model_host_clear_events(fixture.host);
    assert_int_equal(post_number(fixture.vp, 2, 1), HVTLFS_OK);
    assert_int_equal(post_number(fixture.vp, 3, 2), HVTLFS_OK);
    assert_int_equal(model_host_events_of(fixture.host, MODEL_EVENT_KICK), 1);
    hvtlfs_vp_poll(fixture.vp);
    assert_int_equal(post_number(fixture.vp, 3, 3), HVTLFS_OK);
    assert_int_equal(model_host_events_of(fixture.host, MODEL_EVENT_KICK), 2);
    fixture_stop(&fixture);
}

static void test_all_16_sints_of_every_vp_in_parallel(void **state)
{
    struct fixture fixture;
    uint32_t vp_index;
    uint32_t sint;

    (void)state;
    synic_prepare(&fixture, copies, SYNIC_FEATURES);
    fixture.config.vp_count = 4;
    fixture_start(&fixture);
    for (vp_index = 0; vp_index < 4; vp_index++) {
        synic_enable(hvtlfs_partition_vp(fixture.partition, vp_index));
    }
    for (sint = 0; sint < 16; sint++) {
        for (vp_index = 0; vp_index < 4; vp_index++) {
            struct hvtlfs_vp *vp = hvtlfs_partition_vp(fixture.partition, vp_index);

            assert_int_equal(post_number(vp, sint, vp_index * 16 + sint + 1), HVTLFS_OK);
        }
    }
    for (vp_index = 0; vp_index < 4; vp_index++) {
        hvtlfs_vp_poll(hvtlfs_partition_vp(fixture.partition, vp_index));
        for (sint = 0; sint < 16; sint++) {
            expect_slot(&fixture, vp_index, sint, vp_index * 16 + sint + 1);
            expect_interrupt(&fixture, vp_index, VECTOR + sint, false);
        }
        expect_no_interrupt(&fixture, vp_index);
    }
    fixture_stop(&fixture);
}

/* Each way that a waiting message can be tried again, after the guest emptied the slot unseen. */
static void queue_two(struct fixture *fixture)
{
    assert_int_equal(post_number(fixture->vp, 2, 1), HVTLFS_OK);
    assert_int_equal(post_number(fixture->vp, 2, 2), HVTLFS_OK);
    hvtlfs_vp_poll(fixture->vp);
    (void)guest_empties_slot(fixture, 0, 2);
    expect_slot(fixture, 0, 2, 0);
}

/* Without timers too: the kick for its post went to the VP that was saved. */
static void test_thaw_kicks_for_a_message_that_was_loaded(void **state)
{
    static uint8_t saved[1 << 16];
    struct fixture from, to;
    size_t used;

    (void)state;
    synic_prepare(&from, copies, "synic,vpindex");
    fixture_start(&from);
    synic_enable(from.vp);
    assert_int_equal(post_number(from.vp, 3, 9), HVTLFS_OK);
    assert_int_equal(hvtlfs_freeze(from.partition), HVTLFS_OK);
    assert_int_equal(hvtlfs_state_save(from.partition, saved, sizeof(saved), &used, NULL),
                     HVTLFS_OK);
    synic_prepare(&to, copies, "synic,vpindex");
    fixture_start(&to);
    assert_int_equal(hvtlfs_state_load(to.partition, saved, used, NULL), HVTLFS_OK);
    assert_true(model_host_take_kick(to.host) == HVTLFS_NO_VP);
    assert_int_equal(hvtlfs_thaw(to.partition, 0), HVTLFS_OK);
    assert_int_equal(model_host_take_kick(to.host), 0);
    hvtlfs_vp_poll(to.vp);
    expect_slot(&to, 0, 3, 9);
    expect_interrupt(&to, 0, VECTOR + 3, false);
    fixture_stop(&from);
    fixture_stop(&to);
}

static void test_apic_eoi_retries(void **state)
{
    struct fixture fixture;

    (void)state;
    synic_start(&fixture, copies);
    queue_two(&fixture);
    hvtlfs_synic_eoi(fixture.vp, 256);
    expect_slot(&fixture, 0, 2, 0);
    hvtlfs_synic_eoi(fixture.vp, VECTOR + 2);
    expect_slot(&fixture, 0, 2, 2);
    fixture_stop(&fixture);
}

static void test_eoi_by_msr_retries(void **state)
{
    struct fixture fixture;

    (void)state;
    synic_prepare(&fixture, copies, SYNIC_FEATURES ",vapic");
    fixture_start(&fixture);
    synic_enable(fixture.vp);
    queue_two(&fixture);
    expect_write(fixture.vp, HV_X64_MSR_EOI, 0);
    expect_slot(&fixture, 0, 2, 2);
    fixture_stop(&fixture);
}

static void test_another_message_retries(void **state)
{
    struct fixture fixture;

    (void)state;
    synic_start(&fixture, copies);
    queue_two(&fixture);
    assert_int_equal(post_number(fixture.vp, 2, 3), HVTLFS_OK);
    hvtlfs_vp_poll(fixture.vp);
    expect_slot(&fixture, 0, 2, 2);
    assert_true(guest_empties_slot(&fixture, 0, 2));
    fixture_stop(&fixture);
}

static void test_enabling_scontrol_retries(void **state)
{
    struct fixture fixture;

    (void)state;
    synic_start(&fixture, copies);
    queue_two(&fixture);
    expect_write(fixture.vp, HV_X64_MSR_SCONTROL, 0);
    expect_write(fixture.vp, HV_X64_MSR_EOM, 0);
    expect_slot(&fixture, 0, 2, 0);
    expect_write(fixture.vp, HV_X64_MSR_SCONTROL, 1);
    expect_slot(&fixture, 0, 2, 2);
    fixture_stop(&fixture);
}

static void test_enabling_simp_retries(void **state)
{
    struct fixture fixture;

    (void)state;
    synic_start(&fixture, copies);
    queue_two(&fixture);
    expect_write(fixture.vp, HV_X64_MSR_SIMP, sim_gpa(0));
    expect_write(fixture.vp, HV_X64_MSR_EOM, 0);
    expect_write(fixture.vp, HV_X64_MSR_SIMP, sim_gpa(0) | 1);
    expect_slot(&fixture, 0, 2, 2);
    fixture_stop(&fixture);
}

static void test_writing_a_sint_retries(void **state)
{
    struct fixture fixture;

    (void)state;
    synic_start(&fixture, copies);
    queue_two(&fixture);
    expect_write(fixture.vp, HV_X64_MSR_SINT2, VECTOR + 2);
    expect_slot(&fixture, 0, 2, 2);
    fixture_stop(&fixture);
}

static void test_message_accepted_before_disabling_comes_after_enabling(void **state)
{
    struct fixture fixture;

    (void)state;
    synic_start(&fixture, copies);
    assert_int_equal(post_number(fixture.vp, 2, 1), HVTLFS_OK);
    expect_write(fixture.vp, HV_X64_MSR_SIMP, 0);
    hvtlfs_vp_poll(fixture.vp);
    expect_no_interrupt(&fixture, 0);
    expect_write(fixture.vp, HV_X64_MSR_SIMP, sim_gpa(0) | 1);
    expect_slot(&fixture, 0, 2, 1);
    expect_interrupt(&fixture, 0, VECTOR + 2, false);
    fixture_stop(&fixture);
}

static void test_masked_sint_gets_the_message_without_the_interrupt(void **state)
{
    struct fixture fixture;

    (void)state;
    synic_start(&fixture, copies);
    expect_write(fixture.vp, HV_X64_MSR_SINT2, 0x10000 | (VECTOR + 2));
    queue_two(&fixture);
    /* TLFS 11.8.6: a masked SINT can be drained by EOM. */
    expect_write(fixture.vp, HV_X64_MSR_EOM, 0);
    expect_slot(&fixture, 0, 2, 2);
    expect_no_interrupt(&fixture, 0);
    fixture_stop(&fixture);
}

static void test_polled_sint_never_interrupts(void **state)
{
    struct fixture fixture;

    (void)state;
    synic_start(&fixture, copies);
    expect_write(fixture.vp, HV_X64_MSR_SINT2, 0x40000 | (VECTOR + 2));
    expect_write(fixture.vp, HV_X64_MSR_SINT3, 0x50000 | (VECTOR + 3));
    assert_int_equal(post_number(fixture.vp, 2, 1), HVTLFS_OK);
    hvtlfs_vp_poll(fixture.vp);
    expect_slot(&fixture, 0, 2, 1);
    assert_int_equal(hvtlfs_synic_signal_event(fixture.vp, 2, 1, NULL), HVTLFS_OK);
    /* Polling "has the effect of unmasking": events are taken. */
    assert_int_equal(hvtlfs_synic_signal_event(fixture.vp, 3, 1, NULL), HVTLFS_OK);
    assert_int_equal(hvtlfs_synic_request_interrupt(fixture.vp, 3), HVTLFS_OK);
    expect_no_interrupt(&fixture, 0);
    fixture_stop(&fixture);
}

static void test_polling_bit_means_nothing_without_its_feature(void **state)
{
    struct fixture fixture;

    (void)state;
    synic_prepare(&fixture, copies, "synic,vpindex");
    fixture_start(&fixture);
    synic_enable(fixture.vp);
    expect_write(fixture.vp, HV_X64_MSR_SINT2, 0x40000 | (VECTOR + 2));
    expect_read(fixture.vp, HV_X64_MSR_SINT2, 0x40000 | (VECTOR + 2));
    assert_int_equal(post_number(fixture.vp, 2, 1), HVTLFS_OK);
    hvtlfs_vp_poll(fixture.vp);
    expect_interrupt(&fixture, 0, VECTOR + 2, false);
    expect_write(fixture.vp, HV_X64_MSR_SINT3, 0x50000 | (VECTOR + 3));
    assert_int_equal(hvtlfs_synic_signal_event(fixture.vp, 3, 1, NULL), HVTLFS_ERR_ORDER);
    fixture_stop(&fixture);
}

static void test_proxied_sint_is_left_to_others(void **state)
{
    struct fixture fixture;

    (void)state;
    synic_start(&fixture, copies);
    assert_false(hvtlfs_synic_is_proxied(fixture.vp, VECTOR + 2));
    expect_write(fixture.vp, HV_X64_MSR_SINT2, 0x100000 | (VECTOR + 2));
    assert_true(hvtlfs_synic_is_proxied(fixture.vp, VECTOR + 2));
    assert_false(hvtlfs_synic_is_proxied(fixture.vp, VECTOR + 3));
    assert_int_equal(post_number(fixture.vp, 2, 1), HVTLFS_ERR_ORDER);
    assert_int_equal(hvtlfs_synic_signal_event(fixture.vp, 2, 1, NULL), HVTLFS_ERR_ORDER);
    assert_int_equal(hvtlfs_synic_request_interrupt(fixture.vp, 2), HVTLFS_ERR_ORDER);
    expect_write(fixture.vp, HV_X64_MSR_SINT2, 0x110000 | (VECTOR + 2));
    assert_false(hvtlfs_synic_is_proxied(fixture.vp, VECTOR + 2));
    fixture_stop(&fixture);
}

/* ---- Auto-EOI ---- */

static void test_auto_eoi_is_told_with_the_interrupt(void **state)
{
    struct fixture fixture;

    (void)state;
    synic_start(&fixture, copies);
    expect_write(fixture.vp, HV_X64_MSR_SINT2, 0x20000 | (VECTOR + 2));
    assert_int_equal(post_number(fixture.vp, 2, 1), HVTLFS_OK);
    hvtlfs_vp_poll(fixture.vp);
    expect_interrupt(&fixture, 0, VECTOR + 2, true);
    assert_int_equal(hvtlfs_synic_request_interrupt(fixture.vp, 2), HVTLFS_OK);
    expect_interrupt(&fixture, 0, VECTOR + 2, true);
    fixture_stop(&fixture);
}

static void test_auto_eoi_question_follows_the_sints(void **state)
{
    struct fixture fixture;
    uint32_t vector;

    (void)state;
    synic_start(&fixture, copies);
    for (vector = 0; vector < 300; vector++) {
        assert_false(hvtlfs_synic_is_auto_eoi(fixture.vp, vector));
    }
    for (vector = 16; vector < 256; vector++) {
        expect_write(fixture.vp, HV_X64_MSR_SINT2, 0x20000 | vector);
        assert_true(hvtlfs_synic_is_auto_eoi(fixture.vp, vector));
        assert_false(hvtlfs_synic_is_auto_eoi(fixture.vp, vector - 1));
    }
    /* Two SINTs with one vector: the answer stays until both have gone. */
    expect_write(fixture.vp, HV_X64_MSR_SINT3, 0x20000 | 255);
    expect_write(fixture.vp, HV_X64_MSR_SINT2, 0x30000 | 255);
    assert_true(hvtlfs_synic_is_auto_eoi(fixture.vp, 255));
    expect_write(fixture.vp, HV_X64_MSR_SINT3, 255);
    assert_false(hvtlfs_synic_is_auto_eoi(fixture.vp, 255));
    expect_write(fixture.vp, HV_X64_MSR_SINT3, 0x20000 | 255);
    hvtlfs_vp_reset(fixture.vp);
    assert_false(hvtlfs_synic_is_auto_eoi(fixture.vp, 255));
    fixture_stop(&fixture);
}

/* ---- Events ---- */

static void test_event_interrupts_only_when_its_flag_was_clear(void **state)
{
    struct fixture fixture;
    bool newly;

    (void)state;
    synic_start(&fixture, copies);
    assert_int_equal(hvtlfs_synic_signal_event(fixture.vp, 6, 9, &newly), HVTLFS_OK);
    assert_true(newly);
    assert_int_equal(model_host_guest_read64(fixture.host, sief_gpa(0) + 6 * 256), 1 << 9);
    expect_interrupt(&fixture, 0, VECTOR + 6, false);
    assert_int_equal(hvtlfs_synic_signal_event(fixture.vp, 6, 9, &newly), HVTLFS_OK);
    assert_false(newly);
    expect_no_interrupt(&fixture, 0);
    assert_int_equal(hvtlfs_synic_signal_event(fixture.vp, 6, 10, &newly), HVTLFS_OK);
    assert_true(newly);
    expect_interrupt(&fixture, 0, VECTOR + 6, false);
    assert_int_equal(model_host_take_kick(fixture.host), HVTLFS_NO_VP);
    fixture_stop(&fixture);
}

static void test_event_flags_0_and_2047_are_the_bounds(void **state)
{
    struct fixture fixture;

    (void)state;
    synic_start(&fixture, copies);
    assert_int_equal(hvtlfs_synic_signal_event(fixture.vp, 15, 2048, NULL), HVTLFS_ERR_ARGUMENT);
    assert_int_equal(hvtlfs_synic_signal_event(fixture.vp, 16, 0, NULL), HVTLFS_ERR_ARGUMENT);
    assert_int_equal(hvtlfs_synic_signal_event(NULL, 1, 0, NULL), HVTLFS_ERR_ARGUMENT);
    assert_int_equal(hvtlfs_synic_signal_event(fixture.vp, 15, 2047, NULL), HVTLFS_OK);
    assert_int_equal(hvtlfs_synic_signal_event(fixture.vp, 0, 0, NULL), HVTLFS_OK);
    assert_int_equal(model_host_guest_read64(fixture.host, sief_gpa(0) + 4088), UINT64_C(1) << 63);
    assert_int_equal(model_host_guest_read64(fixture.host, sief_gpa(0)), 1);
    fixture_stop(&fixture);
}

static void test_event_of_a_masked_sint_is_refused(void **state)
{
    struct fixture fixture;

    (void)state;
    synic_start(&fixture, copies);
    expect_write(fixture.vp, HV_X64_MSR_SINT6, 0x10000 | (VECTOR + 6));
    assert_int_equal(hvtlfs_synic_signal_event(fixture.vp, 6, 9, NULL), HVTLFS_ERR_ORDER);
    assert_int_equal(hvtlfs_synic_request_interrupt(fixture.vp, 6), HVTLFS_ERR_ORDER);
    assert_int_equal(model_host_guest_read64(fixture.host, sief_gpa(0) + 6 * 256), 0);
    fixture_stop(&fixture);
}

/* ---- Bounds ---- */

static void test_sixteen_messages_for_each_of_two_vps_by_default(void **state)
{
    struct fixture fixture;
    struct hvtlfs_vp *vp;
    uint32_t i;

    (void)state;
    synic_start(&fixture, copies);
    vp = hvtlfs_partition_vp(fixture.partition, 1);
    synic_enable(vp);
    for (i = 0; i < 16; i++) {
        assert_int_equal(post_number(fixture.vp, 1, 1), HVTLFS_OK);
        assert_int_equal(post_number(vp, 1, 1), HVTLFS_OK);
    }
    assert_int_equal(post_number(fixture.vp, 1, 1), HVTLFS_ERR_FULL);
    assert_int_equal(post_number(vp, 1, 1), HVTLFS_ERR_FULL);
    fixture_stop(&fixture);
}

static void expect_posts(struct hvtlfs_vp *vp, uint32_t count)
{
    uint32_t sint;
    uint32_t i;

    for (sint = 0; sint < 16; sint++) {
        for (i = 0; i < count; i++) {
            assert_int_equal(post_number(vp, sint, i + 1), HVTLFS_OK);
        }
    }
}

static void test_default_holds_sixteen_for_every_sint_and_connection(void **state)
{
    static const uint32_t vp_counts[] = {1, 2, 8};
    struct fixture fixture;
    uint32_t i, n;

    (void)state;
    for (n = 0; n < 3; n++) {
        synic_prepare(&fixture, copies, SYNIC_FEATURES);
        fixture.config.vp_count = vp_counts[n];
        fixture_start(&fixture);
        for (i = 0; i < vp_counts[n]; i++) {
            synic_enable(hvtlfs_partition_vp(fixture.partition, i));
            expect_posts(hvtlfs_partition_vp(fixture.partition, i), 16);
        }
        for (i = 0; i < 16; i++) {
            const struct hvtlfs_connection connection = {.size = sizeof(connection),
                                                         .connection_id = i,
                                                         .type = HVTLFS_CONNECTION_MESSAGE,
                                                         .port_id = i};

            assert_int_equal(hvtlfs_connection_add(fixture.partition, &connection), HVTLFS_OK);
        }
        assert_int_equal(post_number(fixture.vp, 0, 1), HVTLFS_ERR_FULL);
        fixture_stop(&fixture);
    }
}

/* 24 a VP: others may take 8 a VP, and each of 16 SINTs keeps its own. */
static void test_first_message_of_a_sint_finds_a_buffer_whatever_others_have(void **state)
{
    struct fixture fixture;
    struct hvtlfs_vp *vp;
    uint32_t round;
    uint32_t i;

    (void)state;
    synic_prepare(&fixture, copies, SYNIC_FEATURES);
    fixture.config.connection_count = 0;
    fixture.config.message_buffers = 48;
    fixture_start(&fixture);
    vp = hvtlfs_partition_vp(fixture.partition, 1);
    for (round = 0; round < 3; round++) {
        synic_enable(fixture.vp);
        synic_enable(vp);
        for (i = 0; i < 16; i++) {
            assert_int_equal(post_number(fixture.vp, 0, i + 1), HVTLFS_OK);
        }
        assert_int_equal(post_number(fixture.vp, 1, 1), HVTLFS_OK);
        assert_int_equal(post_number(fixture.vp, 1, 2), HVTLFS_OK);
        assert_int_equal(post_number(fixture.vp, 1, 3), HVTLFS_ERR_FULL);
        expect_posts(vp, 1);
        for (i = 2; i < 16; i++) {
            assert_int_equal(post_number(fixture.vp, i, 1), HVTLFS_OK);
            assert_int_equal(post_number(fixture.vp, i, 2), HVTLFS_ERR_FULL);
        }
        hvtlfs_partition_reset(fixture.partition);
    }
    fixture_stop(&fixture);
}

static void test_state_with_every_buffer_in_use_is_loaded(void **state)
{
    static uint8_t saved[1 << 17];
    struct fixture from, to;
    size_t used;
    uint32_t i;

    (void)state;
    synic_prepare(&from, copies, SYNIC_FEATURES);
    from.config.connection_count = 0;
    from.config.message_buffers = 48;
    to = from;
    fixture_start(&from);
    synic_enable(from.vp);
    synic_enable(hvtlfs_partition_vp(from.partition, 1));
    expect_posts(hvtlfs_partition_vp(from.partition, 1), 1);
    expect_posts(from.vp, 2);
    assert_int_equal(post_number(from.vp, 5, 3), HVTLFS_ERR_FULL);
    assert_int_equal(hvtlfs_freeze(from.partition), HVTLFS_OK);
    assert_int_equal(hvtlfs_state_save(from.partition, saved, sizeof(saved), &used, NULL),
                     HVTLFS_OK);
    fixture_start(&to);
    assert_int_equal(hvtlfs_state_load(to.partition, saved, used, NULL), HVTLFS_OK);
    assert_int_equal(hvtlfs_thaw(to.partition, 0), HVTLFS_OK);
    assert_int_equal(post_number(to.vp, 5, 3), HVTLFS_ERR_FULL);
    for (i = 0; i < 16; i++) {
        hvtlfs_vp_poll(to.vp);
        expect_slot(&to, 0, i, 1);
        assert_true(guest_empties_slot(&to, 0, i));
        expect_write(to.vp, HV_X64_MSR_EOM, 0);
        expect_slot(&to, 0, i, 2);
    }
    fixture_stop(&from);
    fixture_stop(&to);
}

static void test_partition_with_one_buffer(void **state)
{
    struct fixture fixture;

    (void)state;
    synic_prepare(&fixture, copies, "synic,vpindex");
    fixture.config.message_buffers = 1;
    fixture_start(&fixture);
    synic_enable(fixture.vp);
    assert_int_equal(post_number(fixture.vp, 1, 1), HVTLFS_OK);
    assert_int_equal(post_number(fixture.vp, 2, 2), HVTLFS_ERR_FULL);
    hvtlfs_vp_poll(fixture.vp);
    assert_int_equal(post_number(fixture.vp, 2, 2), HVTLFS_OK);
    hvtlfs_vp_poll(fixture.vp);
    expect_slot(&fixture, 0, 1, 1);
    expect_slot(&fixture, 0, 2, 2);
    fixture_stop(&fixture);
}

static void test_configured_counts_have_bounds(void **state)
{
    struct fixture fixture;
    struct hvtlfs_error error;
    size_t size;

    (void)state;
    synic_start(&fixture, copies);
    fixture.config.message_buffers = HVTLFS_MAX_MESSAGE_BUFFERS + 1;
    assert_int_equal(hvtlfs_partition_size(&fixture.config, &size, &error), HVTLFS_ERR_ARGUMENT);
    assert_string_equal(error.name, "message_buffers");
    fixture.config.message_buffers = 0;
    fixture.config.connection_count = HVTLFS_MAX_CONNECTIONS + 1;
    assert_int_equal(hvtlfs_partition_size(&fixture.config, &size, &error), HVTLFS_ERR_ARGUMENT);
    assert_string_equal(error.name, "connection_count");
    fixture_stop(&fixture);
}

/* Budget: at most 4 KiB for each VP beyond its overlay pages, at 1024 VPs. */
static void test_memory_for_each_vp_at_1024_vps_is_within_4_kib(void **state)
{
    struct fixture fixture;
    size_t two;
    size_t many;

    (void)state;
    synic_start(&fixture, copies);
    assert_int_equal(hvtlfs_partition_size(&fixture.config, &two, NULL), HVTLFS_OK);
    fixture.config.vp_count = 1024;
    assert_int_equal(hvtlfs_partition_size(&fixture.config, &many, NULL), HVTLFS_OK);
    print_message("%zu bytes for each VP beyond its two pages\n", (many - two) / 1022 - 2 * 4096);
    assert_true(many / 1024 - 2 * 4096 <= 4096);
    fixture_stop(&fixture);
}

static void test_host_that_fails_delivers_later(void **state)
{
    struct fixture fixture;
    uint64_t nth;

    (void)state;
    for (nth = 1; nth <= 6; nth++) {
        synic_start(&fixture, copies);
        assert_int_equal(post_number(fixture.vp, 2, 5), HVTLFS_OK);
        model_host_fail(fixture.host, nth, false);
        hvtlfs_vp_poll(fixture.vp);
        model_host_fail(fixture.host, 0, false);
        hvtlfs_vp_poll(fixture.vp);
        expect_slot(&fixture, 0, 2, 5);
        expect_interrupt(&fixture, 0, VECTOR + 2, false);
        expect_no_interrupt(&fixture, 0);
        fixture_stop(&fixture);
    }
}

#define TEST(function)                                                                             \
    {#function "/mapped", function, map_pages, NULL, NULL},                                        \
    {                                                                                              \
#function "/copied", function, copy_pages, NULL, NULL                                      \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_registers_have_the_values_of_creation),
        TEST(test_registers_fault_without_the_feature),
        TEST(test_sversion_cannot_be_written),
        TEST(test_reserved_bits_are_preserved),
        TEST(test_sint_vector_below_16_faults_unless_masked),
        TEST(test_pages_beyond_the_guests_space_do_not_fault),
        TEST(test_page_without_memory_does_not_fault),
        TEST(test_pages_cover_memory_and_give_it_back),
        TEST(test_page_content_moves_and_survives_disabling),
        TEST(test_reset_clears_pages_registers_and_queues),
        TEST(test_system_reset_frees_every_buffer),
        TEST(test_message_accepted_before_a_reset_is_not_delivered_after_it),
        TEST(test_message_reaches_slot_and_interrupts),
        TEST(test_payload_sizes_0_to_240_arrive_whole),
        TEST(test_bad_messages_are_refused),
        TEST(test_disabled_vp_is_no_target),
        TEST(test_without_synic_nothing_is_available),
        TEST(test_message_waits_while_slot_is_busy_and_eom_brings_it),
        TEST(test_pending_flag_tells_of_more_at_delivery),
        TEST(test_queue_keeps_its_order_over_17_messages_and_refuses_the_18th),
        TEST(test_many_messages_one_kick),
        TEST(test_all_16_sints_of_every_vp_in_parallel),
        TEST(test_thaw_kicks_for_a_message_that_was_loaded),
        TEST(test_apic_eoi_retries),
        TEST(test_eoi_by_msr_retries),
        TEST(test_another_message_retries),
        TEST(test_enabling_scontrol_retries),
        TEST(test_enabling_simp_retries),
        TEST(test_writing_a_sint_retries),
        TEST(test_message_accepted_before_disabling_comes_after_enabling),
        TEST(test_masked_sint_gets_the_message_without_the_interrupt),
        TEST(test_polled_sint_never_interrupts),
        TEST(test_polling_bit_means_nothing_without_its_feature),
        TEST(test_proxied_sint_is_left_to_others),
        TEST(test_auto_eoi_is_told_with_the_interrupt),
        TEST(test_auto_eoi_question_follows_the_sints),
        TEST(test_event_interrupts_only_when_its_flag_was_clear),
        TEST(test_event_flags_0_and_2047_are_the_bounds),
        TEST(test_event_of_a_masked_sint_is_refused),
        TEST(test_sixteen_messages_for_each_of_two_vps_by_default),
        TEST(test_default_holds_sixteen_for_every_sint_and_connection),
        TEST(test_first_message_of_a_sint_finds_a_buffer_whatever_others_have),
        TEST(test_state_with_every_buffer_in_use_is_loaded),
        TEST(test_partition_with_one_buffer),
        TEST(test_configured_counts_have_bounds),
        TEST(test_memory_for_each_vp_at_1024_vps_is_within_4_kib),
        TEST(test_host_that_fails_delivers_later),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
