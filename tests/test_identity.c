/* SPDX-License-Identifier: MIT */
/* TLFS 2.6, 3.13: GUEST_OS_ID and HYPERCALL. Every test runs on a host that maps overlays and on one
 * that leaves it to the library to exchange the bytes. */
#include "fixture.h"

#define VMCALL_RET 0xC3C1010Fu
#define OWN_BYTES 0x77777777u

static struct fixture fixture;

static int start(bool copies)
{
    fixture_prepare(&fixture);
    fixture.options.copies_overlays = copies;
    fixture_start(&fixture);
    memset(model_host_ram(fixture.host, 0), 0x77, 0x20000);
    return 0;
}

static int start_mapping(void **state)
{
    (void)state;
    return start(false);
}

static int start_copying(void **state)
{
    (void)state;
    return start(true);
}

static int stop(void **state)
{
    (void)state;
    fixture_stop(&fixture);
    return 0;
}

static void expect_bytes(uint64_t gpa, uint32_t word)
{
    assert_int_equal(model_host_guest_read32(fixture.host, gpa), word);
}

static void both_registers_start_at_zero(void **state)
{
    (void)state;
    expect_read(fixture.vp, HV_X64_MSR_GUEST_OS_ID, 0);
    expect_read(fixture.vp, HV_X64_MSR_HYPERCALL, 0);
}

static void a_write_on_one_vp_is_read_on_all(void **state)
{
    struct hvtlfs_vp *other = hvtlfs_partition_vp(fixture.partition, 1);

    (void)state;
    expect_write(fixture.vp, HV_X64_MSR_GUEST_OS_ID, LINUX_ID);
    expect_write(other, HV_X64_MSR_HYPERCALL, 0x5001);
    expect_read(other, HV_X64_MSR_GUEST_OS_ID, LINUX_ID);
    expect_read(fixture.vp, HV_X64_MSR_HYPERCALL, 0x5001);
}

static void enabling_without_identity_is_no_fault_and_does_nothing(void **state)
{
    (void)state;
    expect_write(fixture.vp, HV_X64_MSR_HYPERCALL, 0x5001);
    expect_read(fixture.vp, HV_X64_MSR_HYPERCALL, 0);
    expect_bytes(0x5000, OWN_BYTES);
    assert_int_equal(model_host_overlay_count(fixture.host), 0);
    /* Nor does the identity that comes later enable it. */
    expect_write(fixture.vp, HV_X64_MSR_GUEST_OS_ID, LINUX_ID);
    expect_bytes(0x5000, OWN_BYTES);
}

static void the_page_appears_and_what_it_covered_comes_back(void **state)
{
    uint8_t page[HVTLFS_PAGE_SIZE], expected[HVTLFS_PAGE_SIZE];

    (void)state;
    expect_write(fixture.vp, HV_X64_MSR_GUEST_OS_ID, LINUX_ID);
    expect_write(fixture.vp, HV_X64_MSR_HYPERCALL, 0x5001);
    hvtlfs_hypercall_page_assemble(expected, HVTLFS_TRAP_VMCALL, NULL, 0);
    model_host_guest_read(fixture.host, 0x5000, page, sizeof(page));
    assert_memory_equal(page, expected, sizeof(page));
    expect_bytes(0x4FFC, OWN_BYTES);
    expect_bytes(0x6000, OWN_BYTES);

    expect_write(fixture.vp, HV_X64_MSR_HYPERCALL, 0x5000);
    memset(expected, 0x77, sizeof(expected));
    model_host_guest_read(fixture.host, 0x5000, page, sizeof(page));
    assert_memory_equal(page, expected, sizeof(page));
    expect_read(fixture.vp, HV_X64_MSR_HYPERCALL, 0x5000);
}

static void moving_the_page_uncovers_the_old_place(void **state)
{
    (void)state;
    expect_write(fixture.vp, HV_X64_MSR_GUEST_OS_ID, LINUX_ID);
    expect_write(fixture.vp, HV_X64_MSR_HYPERCALL, 0x5001);
    expect_write(fixture.vp, HV_X64_MSR_HYPERCALL, 0x7001);
    expect_bytes(0x5000, OWN_BYTES);
    expect_bytes(0x7000, VMCALL_RET);
}

static void zeroing_the_identity_disables_the_page(void **state)
{
    (void)state;
    expect_write(fixture.vp, HV_X64_MSR_GUEST_OS_ID, LINUX_ID);
    expect_write(fixture.vp, HV_X64_MSR_HYPERCALL, 0x5ABD);
    expect_write(fixture.vp, HV_X64_MSR_GUEST_OS_ID, 0);
    expect_bytes(0x5000, OWN_BYTES);
    expect_read(fixture.vp, HV_X64_MSR_HYPERCALL, 0x5ABC);
    /* It stays so until the guest enables it again. */
    expect_write(fixture.vp, HV_X64_MSR_GUEST_OS_ID, LINUX_ID);
    expect_bytes(0x5000, OWN_BYTES);
    expect_write(fixture.vp, HV_X64_MSR_HYPERCALL, 0x5001);
    expect_bytes(0x5000, VMCALL_RET);
}

static void changing_the_identity_leaves_the_page_alone(void **state)
{
    (void)state;
    expect_write(fixture.vp, HV_X64_MSR_GUEST_OS_ID, LINUX_ID);
    expect_write(fixture.vp, HV_X64_MSR_HYPERCALL, 0x5001);
    expect_write(fixture.vp, HV_X64_MSR_GUEST_OS_ID, 1);
    expect_bytes(0x5000, VMCALL_RET);
    expect_read(fixture.vp, HV_X64_MSR_HYPERCALL, 0x5001);
}

static void reserved_bits_11_to_2_are_preserved(void **state)
{
    (void)state;
    expect_write(fixture.vp, HV_X64_MSR_GUEST_OS_ID, LINUX_ID);
    expect_write(fixture.vp, HV_X64_MSR_HYPERCALL, 0x5FFD);
    expect_read(fixture.vp, HV_X64_MSR_HYPERCALL, 0x5FFD);
    expect_bytes(0x5000, VMCALL_RET);
    expect_write(fixture.vp, HV_X64_MSR_HYPERCALL, 0xFFC);
    expect_read(fixture.vp, HV_X64_MSR_HYPERCALL, 0xFFC);
}

static void locked_holds_until_reset(void **state)
{
    (void)state;
    expect_write(fixture.vp, HV_X64_MSR_GUEST_OS_ID, LINUX_ID);
    expect_write(fixture.vp, HV_X64_MSR_HYPERCALL, 0x5003);
    expect_write_fault(fixture.vp, HV_X64_MSR_HYPERCALL, 0x7001);
    expect_write_fault(fixture.vp, HV_X64_MSR_HYPERCALL, 0);
    expect_read(fixture.vp, HV_X64_MSR_HYPERCALL, 0x5003);
    expect_bytes(0x5000, VMCALL_RET);
    expect_bytes(0x7000, OWN_BYTES);
    hvtlfs_partition_reset(fixture.partition);
    expect_read(fixture.vp, HV_X64_MSR_HYPERCALL, 0);
    expect_bytes(0x5000, OWN_BYTES);
}

static void zeroing_the_identity_disables_a_locked_page_for_good(void **state)
{
    (void)state;
    expect_write(fixture.vp, HV_X64_MSR_GUEST_OS_ID, LINUX_ID);
    expect_write(fixture.vp, HV_X64_MSR_HYPERCALL, 0x5003);
    expect_write(fixture.vp, HV_X64_MSR_GUEST_OS_ID, 0);
    expect_bytes(0x5000, OWN_BYTES);
    expect_read(fixture.vp, HV_X64_MSR_HYPERCALL, 0x5002);
    expect_write(fixture.vp, HV_X64_MSR_GUEST_OS_ID, LINUX_ID);
    expect_write_fault(fixture.vp, HV_X64_MSR_HYPERCALL, 0x5001);
}

static void a_page_beyond_the_guests_space_faults_and_changes_nothing(void **state)
{
    const uint64_t beyond = UINT64_C(1) << 40; /* default gpa_bits */

    (void)state;
    expect_write(fixture.vp, HV_X64_MSR_GUEST_OS_ID, LINUX_ID);
    expect_write(fixture.vp, HV_X64_MSR_HYPERCALL, 0x5001);
    expect_write_fault(fixture.vp, HV_X64_MSR_HYPERCALL, beyond | 1);
    expect_write_fault(fixture.vp, HV_X64_MSR_HYPERCALL, UINT64_MAX & ~UINT64_C(2));
    expect_read(fixture.vp, HV_X64_MSR_HYPERCALL, 0x5001);
    expect_bytes(0x5000, VMCALL_RET);
}

static void without_ram_the_page_appears_where_the_host_maps_overlays(void **state)
{
    const uint64_t last = (UINT64_C(1) << 40) - HVTLFS_PAGE_SIZE;

    (void)state;
    expect_write(fixture.vp, HV_X64_MSR_GUEST_OS_ID, LINUX_ID);
    expect_write(fixture.vp, HV_X64_MSR_HYPERCALL, last | 1);
    expect_bytes(last, VMCALL_RET);
    expect_write(fixture.vp, HV_X64_MSR_HYPERCALL, 0);
    assert_int_equal(model_host_overlay_count(fixture.host), 0);
}

static void without_ram_and_without_overlays_the_write_faults(void **state)
{
    (void)state;
    expect_write(fixture.vp, HV_X64_MSR_GUEST_OS_ID, LINUX_ID);
    expect_write(fixture.vp, HV_X64_MSR_HYPERCALL, 0x5001);
    expect_write_fault(fixture.vp, HV_X64_MSR_HYPERCALL, 0x40000001);
    expect_read(fixture.vp, HV_X64_MSR_HYPERCALL, 0x5001);
    expect_bytes(0x5000, VMCALL_RET);
}

static void the_guest_may_read_and_execute_but_not_write_the_page(void **state)
{
    struct hvtlfs_overlay overlay;

    (void)state;
    expect_write(fixture.vp, HV_X64_MSR_GUEST_OS_ID, LINUX_ID);
    expect_write(fixture.vp, HV_X64_MSR_HYPERCALL, 0x5001);
    assert_true(model_host_overlay_at(fixture.host, 0x5000, &overlay));
    assert_int_equal(overlay.kind, HVTLFS_OVERLAY_HYPERCALL);
    assert_int_equal(overlay.vp_index, HVTLFS_NO_VP);
    assert_int_equal(overlay.access, HVTLFS_ACCESS_READ | HVTLFS_ACCESS_EXECUTE);
    assert_int_equal(model_host_guest_write64(fixture.host, 0x5000, 0), MODEL_ACCESS_FAULT);
    expect_bytes(0x5000, VMCALL_RET);
}

/* PatchGuard: the page does not change while it is shown; and a guest that could write it where the
 * host cannot refuse gets it whole at the next appearance. */
static void the_page_is_whole_at_each_appearance(void **state)
{
    (void)state;
    expect_write(fixture.vp, HV_X64_MSR_GUEST_OS_ID, LINUX_ID);
    expect_write(fixture.vp, HV_X64_MSR_HYPERCALL, 0x5001);
    (void)model_host_guest_write64(fixture.host, 0x5000, 0);
    expect_write(fixture.vp, HV_X64_MSR_HYPERCALL, 0x5000);
    expect_write(fixture.vp, HV_X64_MSR_HYPERCALL, 0x5001);
    expect_bytes(0x5000, VMCALL_RET);
}

static void a_failing_host_leaves_everything_as_it_was(void **state)
{
    uint64_t calls, n;

    (void)state;
    expect_write(fixture.vp, HV_X64_MSR_GUEST_OS_ID, LINUX_ID);
    expect_write(fixture.vp, HV_X64_MSR_HYPERCALL, 0x5001);
    model_host_fail(fixture.host, 0, false);
    expect_write(fixture.vp, HV_X64_MSR_HYPERCALL, 0x6001);
    calls = model_host_fallible_calls(fixture.host);
    expect_write(fixture.vp, HV_X64_MSR_HYPERCALL, 0x5001);
    for (n = 1; n <= calls; n++) {
        model_host_fail(fixture.host, n, false);
        expect_write_fault(fixture.vp, HV_X64_MSR_HYPERCALL, 0x6001);
        model_host_fail(fixture.host, 0, false);
        expect_read(fixture.vp, HV_X64_MSR_HYPERCALL, 0x5001);
        expect_bytes(0x5000, VMCALL_RET);
        expect_bytes(0x6000, OWN_BYTES);
    }
}

static void a_host_that_cannot_give_back_the_covered_bytes_keeps_the_identity_too(void **state)
{
    (void)state;
    expect_write(fixture.vp, HV_X64_MSR_GUEST_OS_ID, LINUX_ID);
    expect_write(fixture.vp, HV_X64_MSR_HYPERCALL, 0x5001);
    model_host_fail(fixture.host, 1, true);
    expect_write_fault(fixture.vp, HV_X64_MSR_GUEST_OS_ID, 0);
    expect_write_fault(fixture.vp, HV_X64_MSR_HYPERCALL, 0);
    model_host_fail(fixture.host, 0, false);
    expect_read(fixture.vp, HV_X64_MSR_GUEST_OS_ID, LINUX_ID);
    expect_read(fixture.vp, HV_X64_MSR_HYPERCALL, 0x5001);
    expect_bytes(0x5000, VMCALL_RET);
    /* A reset cannot fail. */
    model_host_fail(fixture.host, 1, true);
    hvtlfs_partition_reset(fixture.partition);
    model_host_fail(fixture.host, 0, false);
    expect_read(fixture.vp, HV_X64_MSR_HYPERCALL, 0);
}

static void the_locked_policy_can_ignore_instead_of_fault(void **state)
{
    (void)state;
    fixture_stop(&fixture);
    fixture_prepare(&fixture);
    fixture.config.policy = HVTLFS_POLICY_LOCKED_WRITE_IGNORED;
    fixture_start(&fixture);
    expect_write(fixture.vp, HV_X64_MSR_GUEST_OS_ID, LINUX_ID);
    expect_write(fixture.vp, HV_X64_MSR_HYPERCALL, 0x5003);
    expect_write(fixture.vp, HV_X64_MSR_HYPERCALL, 0);
    expect_read(fixture.vp, HV_X64_MSR_HYPERCALL, 0x5003);
    expect_bytes(0x5000, VMCALL_RET);
}

static void vp_index_cannot_be_written(void **state)
{
    (void)state;
    expect_write_fault(fixture.vp, HV_X64_MSR_VP_INDEX, 5);
    expect_write_fault(fixture.vp, HV_X64_MSR_VP_INDEX, 0);
    expect_read(hvtlfs_partition_vp(fixture.partition, 1), HV_X64_MSR_VP_INDEX, 1);
}

int main(void)
{
#define MAPPING(test) cmocka_unit_test_setup_teardown(test, start_mapping, stop)
#define COPYING(test) cmocka_unit_test_setup_teardown(test, start_copying, stop)
#define BOTH(test) MAPPING(test), COPYING(test)
    const struct CMUnitTest tests[] = {
        BOTH(both_registers_start_at_zero),
        BOTH(a_write_on_one_vp_is_read_on_all),
        BOTH(enabling_without_identity_is_no_fault_and_does_nothing),
        BOTH(the_page_appears_and_what_it_covered_comes_back),
        BOTH(moving_the_page_uncovers_the_old_place),
        BOTH(zeroing_the_identity_disables_the_page),
        BOTH(changing_the_identity_leaves_the_page_alone),
        BOTH(reserved_bits_11_to_2_are_preserved),
        BOTH(locked_holds_until_reset),
        BOTH(zeroing_the_identity_disables_a_locked_page_for_good),
        BOTH(a_page_beyond_the_guests_space_faults_and_changes_nothing),
        MAPPING(without_ram_the_page_appears_where_the_host_maps_overlays),
        COPYING(without_ram_and_without_overlays_the_write_faults),
        MAPPING(the_guest_may_read_and_execute_but_not_write_the_page),
        BOTH(the_page_is_whole_at_each_appearance),
        BOTH(a_failing_host_leaves_everything_as_it_was),
        COPYING(a_host_that_cannot_give_back_the_covered_bytes_keeps_the_identity_too),
        MAPPING(the_locked_policy_can_ignore_instead_of_fault),
        MAPPING(vp_index_cannot_be_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
