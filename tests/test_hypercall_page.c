/* SPDX-License-Identifier: MIT */
/* TLFS 3.13 and the requirements document, p. 8: what the hypercall page holds. */
#include "fixture.h"

static uint8_t page[HVTLFS_PAGE_SIZE + 1];

static void expect_page(const char *code, size_t size)
{
    size_t i;

    assert_memory_equal(page, code, size);
    for (i = size; i < HVTLFS_PAGE_SIZE; i++) {
        assert_int_equal(page[i], 0xCC);
    }
    assert_int_equal(page[HVTLFS_PAGE_SIZE], 0x5A); /* one byte beyond: not ours */
}

static int fill(void **state)
{
    (void)state;
    memset(page, 0x5A, sizeof(page));
    return 0;
}

static void page_without_hypercalls_is_the_requirements_documents_body(void **state)
{
    (void)state;
    assert_int_equal(hvtlfs_hypercall_page_assemble(page, HVTLFS_TRAP_NONE, NULL, 0), HVTLFS_OK);
    /* mov eax,2; mov edx,0; ret - by Intel's manual: B8 id, BA id, C3 */
    expect_page("\xB8\x02\x00\x00\x00\xBA\x00\x00\x00\x00\xC3", 11);
}

static void page_with_vmcall_ends_in_a_near_return(void **state)
{
    (void)state;
    assert_int_equal(hvtlfs_hypercall_page_assemble(page, HVTLFS_TRAP_VMCALL, NULL, 0), HVTLFS_OK);
    expect_page("\x0F\x01\xC1\xC3", 4); /* Intel SDM: VMCALL is 0F 01 C1 */
}

static void page_with_vmmcall_ends_in_a_near_return(void **state)
{
    (void)state;
    assert_int_equal(hvtlfs_hypercall_page_assemble(page, HVTLFS_TRAP_VMMCALL, NULL, 0), HVTLFS_OK);
    expect_page("\x0F\x01\xD9\xC3", 4); /* AMD APM: VMMCALL is 0F 01 D9 */
}

static void page_takes_a_hosts_own_trap_of_1_to_16_bytes(void **state)
{
    uint8_t code[17];

    (void)state;
    memset(code, 0x90, sizeof(code));
    assert_int_equal(
        hvtlfs_hypercall_page_assemble(page, HVTLFS_TRAP_CUSTOM, (const uint8_t *)"\xE6\x5A", 2),
        HVTLFS_OK);
    expect_page("\xE6\x5A\xC3", 3);
    assert_int_equal(
        hvtlfs_hypercall_page_assemble(page, HVTLFS_TRAP_CUSTOM, (const uint8_t *)"\xCC", 1),
        HVTLFS_OK);
    expect_page("\xCC\xC3", 2);
    assert_int_equal(hvtlfs_hypercall_page_assemble(page, HVTLFS_TRAP_CUSTOM, code, 16), HVTLFS_OK);
    expect_page("\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\xC3", 17);
}

static void page_is_untouched_by_a_refusal(void **state)
{
    uint8_t code[17] = {0};
    size_t i;

    (void)state;
    assert_int_equal(hvtlfs_hypercall_page_assemble(page, HVTLFS_TRAP_CUSTOM, code, 0),
                     HVTLFS_ERR_TRAP);
    assert_int_equal(hvtlfs_hypercall_page_assemble(page, HVTLFS_TRAP_CUSTOM, code, 17),
                     HVTLFS_ERR_TRAP);
    assert_int_equal(hvtlfs_hypercall_page_assemble(page, HVTLFS_TRAP_CUSTOM, NULL, 2),
                     HVTLFS_ERR_ARGUMENT);
    assert_int_equal(hvtlfs_hypercall_page_assemble(page, (enum hvtlfs_trap)4, code, 1),
                     HVTLFS_ERR_TRAP);
    assert_int_equal(hvtlfs_hypercall_page_assemble(NULL, HVTLFS_TRAP_NONE, NULL, 0),
                     HVTLFS_ERR_ARGUMENT);
    for (i = 0; i < sizeof(page); i++) {
        assert_int_equal(page[i], 0x5A);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(page_without_hypercalls_is_the_requirements_documents_body, fill),
        cmocka_unit_test_setup(page_with_vmcall_ends_in_a_near_return, fill),
        cmocka_unit_test_setup(page_with_vmmcall_ends_in_a_near_return, fill),
        cmocka_unit_test_setup(page_takes_a_hosts_own_trap_of_1_to_16_bytes, fill),
        cmocka_unit_test_setup(page_is_untouched_by_a_refusal, fill),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
