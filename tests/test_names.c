/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <hvtlfs/names.h>
#include <hvtlfs/tlfs.h>

/* ---- Statuses ---- */

static void test_status_names_are_those_of_the_tlfs(void **state)
{
    (void)state;
    assert_string_equal(hvtlfs_hv_status_name(0x0000), "HV_STATUS_SUCCESS");
    assert_string_equal(hvtlfs_hv_status_name(0x0002), "HV_STATUS_INVALID_HYPERCALL_CODE");
    assert_string_equal(hvtlfs_hv_status_name(0x0050), "HV_STATUS_INVALID_REGISTER_VALUE");
    assert_string_equal(hvtlfs_hv_status_name(0x0087), "HV_STATUS_UNKNOWN_REGISTER_NAME");
}

static void test_status_number_with_several_names_has_the_current_one(void **state)
{
    (void)state;
    assert_string_equal(hvtlfs_hv_status_name(0x0020), "HV_STATUS_PROCESSOR_FEATURE_NOT_SUPPORTED");
    assert_string_equal(hvtlfs_hv_status_name(0x0026),
                        "HV_STATUS_PROCESSOR_FEATURE_XOP_NOT_SUPPORTED");
    assert_string_equal(hvtlfs_hv_status_name(0x0033), "HV_STATUS_INSUFFICIENT_BUFFER");
}

static void test_insufficient_buffers_is_0x13_not_the_misprinted_0x33(void **state)
{
    (void)state;
    assert_string_equal(hvtlfs_hv_status_name(0x0013), "HV_STATUS_INSUFFICIENT_BUFFERS");
    assert_int_equal(HV_STATUS_INSUFFICIENT_BUFFERS, 0x0013);
}

static void test_status_without_a_name_has_no_meaning_either(void **state)
{
    static const uint16_t nameless[] = {0x0001, 0x000F, 0x005A, 0x0088, 0xFFFF};

    (void)state;
    for (size_t i = 0; i < sizeof(nameless) / sizeof(nameless[0]); i++) {
        assert_null(hvtlfs_hv_status_name(nameless[i]));
        assert_null(hvtlfs_hv_status_meaning(nameless[i]));
    }
}

static void test_every_status_with_a_name_has_a_meaning(void **state)
{
    size_t named = 0;

    (void)state;
    for (uint32_t status = 0; status <= UINT16_MAX; status++) {
        const char *meaning = hvtlfs_hv_status_meaning((uint16_t)status);

        if (hvtlfs_hv_status_name((uint16_t)status) == NULL) {
            assert_null(meaning);
            continue;
        }
        named++;
        assert_non_null(meaning);
        assert_true(meaning[0] != '\0');
    }
    assert_int_equal(named, 100);
}

/* ---- Call codes ---- */

static void test_call_names_are_those_of_the_tlfs(void **state)
{
    (void)state;
    assert_string_equal(hvtlfs_call_name(0x0001), "HvCallSwitchVirtualAddressSpace");
    assert_string_equal(hvtlfs_call_name(0x0008), "HvCallNotifyLongSpinWait");
    assert_string_equal(hvtlfs_call_name(0x005C), "HvCallPostMessage");
    assert_string_equal(hvtlfs_call_name(0x0094), "HvCallAssertVirtualInterrupt");
    assert_string_equal(hvtlfs_call_name(0x8001), "HvExtCallQueryCapabilities");
    assert_string_equal(hvtlfs_call_name(0xC001), "HvCallVbsVmCallReport");
}

static void test_call_that_moved_is_told_from_its_code_of_2_0(void **state)
{
    (void)state;
    assert_string_equal(hvtlfs_call_name(0x0059), "HvCallConnectPortV2");
    assert_string_equal(hvtlfs_call_name(0x0096), "HvCallConnectPort");
}

static void test_reserved_call_codes_have_no_name(void **state)
{
    static const uint16_t reserved[] = {0x0000, 0x0005, 0x003F, 0x0093, 0x00AE, 0x8000, 0xFFFF};

    (void)state;
    for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++) {
        assert_null(hvtlfs_call_name(reserved[i]));
    }
}

/* ---- VP registers ---- */

static void test_register_names_are_those_of_the_tlfs(void **state)
{
    (void)state;
    assert_string_equal(hvtlfs_register_name(0x00000000), "HvRegisterExplicitSuspend");
    assert_string_equal(hvtlfs_register_name(0x00020000), "HvX64RegisterRax");
    assert_string_equal(hvtlfs_register_name(0x00090002), "HvRegisterGuestOsId");
    assert_string_equal(hvtlfs_register_name(0x000D0006), "HvRegisterVsmCapabilities");
    assert_string_equal(hvtlfs_register_name(0x000E0003),
                        "HvX64RegisterCrInterceptIa32MiscEnableMask");
}

static void test_unknown_registers_have_no_name(void **state)
{
    (void)state;
    assert_null(hvtlfs_register_name(0x00000002));
    assert_null(hvtlfs_register_name(0x000E0004));
    assert_null(hvtlfs_register_name(UINT32_MAX));
}

/* ---- CPUID fields ---- */

static const struct hvtlfs_cpuid_field *field_at(uint32_t leaf, uint8_t reg, uint8_t bit)
{
    for (size_t i = 0; i < hvtlfs_cpuid_field_count(); i++) {
        const struct hvtlfs_cpuid_field *field = hvtlfs_cpuid_field_at(i);

        if (field->leaf == leaf && field->reg == reg && field->lo <= bit && bit <= field->hi) {
            return field;
        }
    }
    return NULL;
}

static void test_hypervisor_present_is_bit_31_of_ecx_of_leaf_1(void **state)
{
    const struct hvtlfs_cpuid_field *field = hvtlfs_cpuid_field_at(0);

    (void)state;
    assert_int_equal(field->leaf, 1);
    assert_int_equal(field->reg, 2);
    assert_int_equal(field->hi, 31);
    assert_int_equal(field->lo, 31);
    assert_string_equal(field->name, "HypervisorPresent");
}

static void test_cpuid_fields_are_found_where_the_tlfs_puts_them(void **state)
{
    (void)state;
    assert_string_equal(field_at(0x40000003, 0, 6)->name, "AccessVpIndex");
    assert_string_equal(field_at(0x40000003, 3, 19)->name, "DirectSyntheticTimers");
    assert_string_equal(field_at(0x40000004, 1, 17)->name, "LongSpinWaitCount");
    assert_string_equal(field_at(0x40000006, 0, 12)->name, "HypervisorLevel");
    assert_string_equal(field_at(0x40000082, 0, 0)->name, "IsPortable");
}

static void test_reserved_cpuid_bits_have_rows_that_say_so(void **state)
{
    (void)state;
    assert_string_equal(field_at(0x40000003, 1, 18)->name, "Reserved");
    assert_string_equal(field_at(0x40000004, 3, 0)->name, "Reserved");
}

static void test_cpuid_fields_are_sorted_and_do_not_overlap(void **state)
{
    (void)state;
    for (size_t i = 1; i < hvtlfs_cpuid_field_count(); i++) {
        const struct hvtlfs_cpuid_field *before = hvtlfs_cpuid_field_at(i - 1);
        const struct hvtlfs_cpuid_field *after = hvtlfs_cpuid_field_at(i);
        uint64_t end = ((uint64_t)before->leaf << 16) + before->reg * 0x100u + before->hi;
        uint64_t start = ((uint64_t)after->leaf << 16) + after->reg * 0x100u + after->lo;

        assert_true(start > end);
    }
}

static void test_every_cpuid_field_is_whole(void **state)
{
    (void)state;
    for (size_t i = 0; i < hvtlfs_cpuid_field_count(); i++) {
        const struct hvtlfs_cpuid_field *field = hvtlfs_cpuid_field_at(i);

        assert_true(field->reg <= 3);
        assert_true(field->lo <= field->hi);
        assert_true(field->hi <= 31);
        assert_true(field->name[0] != '\0');
        assert_true(field->meaning[0] != '\0');
    }
}

static void test_every_bit_of_the_leaves_of_hv1_has_a_row(void **state)
{
    (void)state;
    for (uint32_t leaf = 0x40000000; leaf <= 0x40000005; leaf++) {
        for (uint8_t reg = 0; reg < 4; reg++) {
            for (uint8_t bit = 0; bit < 32; bit++) {
                assert_non_null(field_at(leaf, reg, bit));
            }
        }
    }
}

static void test_there_is_no_cpuid_field_past_the_last(void **state)
{
    (void)state;
    assert_non_null(hvtlfs_cpuid_field_at(hvtlfs_cpuid_field_count() - 1));
    assert_null(hvtlfs_cpuid_field_at(hvtlfs_cpuid_field_count()));
    assert_null(hvtlfs_cpuid_field_at(SIZE_MAX));
}

/* ---- Guest OS identity ---- */

static struct hvtlfs_guest_os decode_os(uint64_t value)
{
    struct hvtlfs_guest_os os;

    hvtlfs_guest_os_id_decode(value, &os);
    return os;
}

/* W034 of the worked values. */
static void test_os_id_with_bit_63_and_type_1_is_linux_and_nothing_else(void **state)
{
    struct hvtlfs_guest_os os = decode_os(UINT64_C(0x8100000000000000));

    (void)state;
    assert_true(os.open_source);
    assert_int_equal(os.os_type, 1);
    assert_string_equal(os.os_name, "Linux");
    assert_string_equal(os.vendor_name, "open source");
    assert_int_equal(os.os_id, 0);
    assert_int_equal(os.version, 0);
    assert_int_equal(os.build, 0);
}

/* W035 of the worked values. */
static void test_os_id_of_vendor_1_os_4_major_10_is_windows_nt_10(void **state)
{
    struct hvtlfs_guest_os os = decode_os(UINT64_C(0x0001040A00000000));

    (void)state;
    assert_false(os.open_source);
    assert_int_equal(os.vendor_id, HV_GUEST_OS_VENDOR_MICROSOFT);
    assert_string_equal(os.vendor_name, "Microsoft");
    assert_int_equal(os.os_id, HV_GUEST_OS_MICROSOFT_WINDOWS_NT);
    assert_string_equal(os.os_name, "Windows NT");
    assert_int_equal(os.major_version, 10);
    assert_int_equal(os.minor_version, 0);
    assert_int_equal(os.service_version, 0);
    assert_int_equal(os.build, 0);
}

/* Windows 8.1 and Server 2012 R2 are NT 6.3 build 9600; service pack 1 put in to fill the field. */
static void test_proprietary_os_id_has_all_its_fields(void **state)
{
    struct hvtlfs_guest_os os = decode_os(UINT64_C(0x0001040603010000) | 9600);

    (void)state;
    assert_int_equal(os.major_version, 6);
    assert_int_equal(os.minor_version, 3);
    assert_int_equal(os.service_version, 1);
    assert_int_equal(os.build, 9600);
    assert_int_equal(os.os_type, 0);
    assert_int_equal(os.version, 0);
}

static void test_linux_os_id_has_linux_version_code_as_version(void **state)
{
    const uint32_t linux_6_12_94 = (6u << 16) + (12u << 8) + 94u;
    struct hvtlfs_guest_os os = decode_os(UINT64_C(0x8100) << 48 | (uint64_t)linux_6_12_94 << 16);

    (void)state;
    assert_string_equal(os.os_name, "Linux");
    assert_int_equal(os.version, linux_6_12_94);
    assert_int_equal(os.os_id, 0);
    assert_int_equal(os.build, 0);
}

static void test_freebsd_os_id_has_a_decimal_version(void **state)
{
    struct hvtlfs_guest_os os = decode_os(UINT64_C(0x8200) << 48 | UINT64_C(1400097) << 16);

    (void)state;
    assert_string_equal(os.os_name, "FreeBSD");
    assert_int_equal(os.version, 1400097);
}

static void test_openbsd_os_id_is_freebsds_type_with_os_id_1(void **state)
{
    struct hvtlfs_guest_os os = decode_os(UINT64_C(0x8201) << 48);

    (void)state;
    assert_string_equal(os.os_name, "FreeBSD");
    assert_int_equal(os.os_id, 1);
}

static void test_linux_type_of_5_0_is_type_1_with_os_id_0(void **state)
{
    struct hvtlfs_guest_os os =
        decode_os(UINT64_C(0x8000) << 48 | (uint64_t)HV_GUEST_OS_OPEN_LINUX_V5 << 48);

    (void)state;
    assert_string_equal(os.os_name, "Linux");
    assert_int_equal(os.os_id, 0);
}

static void test_os_id_zero_is_unknown_in_every_respect(void **state)
{
    struct hvtlfs_guest_os os = decode_os(0);

    (void)state;
    assert_false(os.open_source);
    assert_int_equal(os.vendor_id, 0);
    assert_string_equal(os.vendor_name, "unknown");
    assert_string_equal(os.os_name, "unknown");
    assert_int_equal(os.build, 0);
}

static void test_old_linux_that_lost_its_upper_bits_looks_like_vendor_0(void **state)
{
    const uint32_t linux_4_4_0 = (4u << 16) + (4u << 8);
    struct hvtlfs_guest_os os = decode_os((uint64_t)linux_4_4_0 << 16);

    (void)state;
    assert_false(os.open_source);
    assert_int_equal(os.vendor_id, 0);
    assert_string_equal(os.vendor_name, "unknown");
}

static void test_os_of_another_vendor_is_not_named_after_microsofts(void **state)
{
    struct hvtlfs_guest_os os = decode_os(UINT64_C(0x0200040000000000));

    (void)state;
    assert_string_equal(os.vendor_name, "LANCOM");
    assert_int_equal(os.os_id, 4);
    assert_string_equal(os.os_name, "unknown");
}

static void test_os_id_of_all_ones_decodes_without_names(void **state)
{
    struct hvtlfs_guest_os os = decode_os(UINT64_MAX);

    (void)state;
    assert_true(os.open_source);
    assert_int_equal(os.os_type, 0x7F);
    assert_int_equal(os.os_id, 0xFF);
    assert_int_equal(os.version, UINT32_MAX);
    assert_int_equal(os.build, 0xFFFF);
    assert_string_equal(os.os_name, "unknown");
}

static void test_vendors_and_oses_of_the_tlfs_have_names(void **state)
{
    (void)state;
    assert_string_equal(decode_os(UINT64_C(2) << 48).vendor_name, "HPE");
    assert_string_equal(decode_os(UINT64_C(3) << 48).vendor_name, "BlackBerry");
    assert_string_equal(decode_os(UINT64_C(0x000100) << 40).os_name, "undefined");
    assert_string_equal(decode_os(UINT64_C(0x000101) << 40).os_name, "MS-DOS");
    assert_string_equal(decode_os(UINT64_C(0x000105) << 40).os_name, "Windows CE");
    assert_string_equal(decode_os(UINT64_C(0x000106) << 40).os_name, "unknown");
    assert_string_equal(decode_os(UINT64_C(0x83) << 56).os_name, "Xen");
    assert_string_equal(decode_os(UINT64_C(0x84) << 56).os_name, "illumos");
    assert_string_equal(decode_os(UINT64_C(0x80) << 56).os_name, "unknown");
}

/* ---- Hypercall input value ---- */

static struct hvtlfs_hypercall_input decode_input(uint64_t value)
{
    struct hvtlfs_hypercall_input input;

    hvtlfs_hypercall_input_decode(value, &input);
    return input;
}

static void test_fast_simple_call_has_code_and_fast_alone(void **state)
{
    struct hvtlfs_hypercall_input input = decode_input(0x10008);

    (void)state;
    assert_int_equal(input.code, HvCallNotifyLongSpinWait);
    assert_true(input.fast);
    assert_int_equal(input.variable_header_qwords, 0);
    assert_false(input.is_nested);
    assert_int_equal(input.rep_count, 0);
    assert_int_equal(input.rep_start, 0);
    assert_int_equal(input.reserved_bits, 0);
}

/* W040 of the worked values: 25 repetitions, 20 of them done. */
static void test_continued_rep_call_has_count_25_and_start_20(void **state)
{
    struct hvtlfs_hypercall_input input =
        decode_input(UINT64_C(20) << 48 | UINT64_C(25) << 32 | HvCallFlushVirtualAddressList);

    (void)state;
    assert_int_equal(input.code, HvCallFlushVirtualAddressList);
    assert_false(input.fast);
    assert_int_equal(input.rep_count, 25);
    assert_int_equal(input.rep_start, 20);
}

/* W053 of the worked values: the VP set {0, 5, 130} is a variable header of 2 qwords. */
static void test_sparse_set_of_two_banks_is_a_header_of_two_qwords(void **state)
{
    struct hvtlfs_hypercall_input input =
        decode_input(UINT64_C(2) << 17 | HvCallFlushVirtualAddressSpaceEx);

    (void)state;
    assert_int_equal(input.code, HvCallFlushVirtualAddressSpaceEx);
    assert_int_equal(input.variable_header_qwords, 2);
}

static void test_bit_31_is_nested_and_bit_26_belongs_to_the_header_size(void **state)
{
    (void)state;
    assert_true(decode_input(UINT64_C(1) << 31).is_nested);
    assert_int_equal(decode_input(UINT64_C(1) << 31).reserved_bits, 0);
    assert_false(decode_input(UINT64_C(1) << 26).is_nested);
    assert_int_equal(decode_input(UINT64_C(1) << 26).variable_header_qwords, 512);
}

static void test_reserved_input_bits_are_returned_in_place(void **state)
{
    const uint64_t reserved = UINT64_C(0xF000F00078000000);

    (void)state;
    for (unsigned bit = 0; bit < 64; bit++) {
        uint64_t value = UINT64_C(1) << bit;

        assert_int_equal(decode_input(value).reserved_bits, value & reserved);
    }
}

static void test_input_of_all_ones_has_every_field_full(void **state)
{
    struct hvtlfs_hypercall_input input = decode_input(UINT64_MAX);

    (void)state;
    assert_int_equal(input.code, 0xFFFF);
    assert_true(input.fast);
    assert_int_equal(input.variable_header_qwords, 1023);
    assert_true(input.is_nested);
    assert_int_equal(input.rep_count, 4095);
    assert_int_equal(input.rep_start, 4095);
    assert_int_equal(input.reserved_bits, UINT64_C(0xF000F00078000000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status_names_are_those_of_the_tlfs),
        cmocka_unit_test(test_status_number_with_several_names_has_the_current_one),
        cmocka_unit_test(test_insufficient_buffers_is_0x13_not_the_misprinted_0x33),
        cmocka_unit_test(test_status_without_a_name_has_no_meaning_either),
        cmocka_unit_test(test_every_status_with_a_name_has_a_meaning),
        cmocka_unit_test(test_call_names_are_those_of_the_tlfs),
        cmocka_unit_test(test_call_that_moved_is_told_from_its_code_of_2_0),
        cmocka_unit_test(test_reserved_call_codes_have_no_name),
        cmocka_unit_test(test_register_names_are_those_of_the_tlfs),
        cmocka_unit_test(test_unknown_registers_have_no_name),
        cmocka_unit_test(test_hypervisor_present_is_bit_31_of_ecx_of_leaf_1),
        cmocka_unit_test(test_cpuid_fields_are_found_where_the_tlfs_puts_them),
        cmocka_unit_test(test_reserved_cpuid_bits_have_rows_that_say_so),
        cmocka_unit_test(test_cpuid_fields_are_sorted_and_do_not_overlap),
        cmocka_unit_test(test_every_cpuid_field_is_whole),
        cmocka_unit_test(test_every_bit_of_the_leaves_of_hv1_has_a_row),
        cmocka_unit_test(test_there_is_no_cpuid_field_past_the_last),
        cmocka_unit_test(test_os_id_with_bit_63_and_type_1_is_linux_and_nothing_else),
        cmocka_unit_test(test_os_id_of_vendor_1_os_4_major_10_is_windows_nt_10),
        cmocka_unit_test(test_proprietary_os_id_has_all_its_fields),
        cmocka_unit_test(test_linux_os_id_has_linux_version_code_as_version),
        cmocka_unit_test(test_freebsd_os_id_has_a_decimal_version),
        cmocka_unit_test(test_openbsd_os_id_is_freebsds_type_with_os_id_1),
        cmocka_unit_test(test_linux_type_of_5_0_is_type_1_with_os_id_0),
        cmocka_unit_test(test_os_id_zero_is_unknown_in_every_respect),
        cmocka_unit_test(test_old_linux_that_lost_its_upper_bits_looks_like_vendor_0),
        cmocka_unit_test(test_os_of_another_vendor_is_not_named_after_microsofts),
        cmocka_unit_test(test_os_id_of_all_ones_decodes_without_names),
        cmocka_unit_test(test_vendors_and_oses_of_the_tlfs_have_names),
        cmocka_unit_test(test_fast_simple_call_has_code_and_fast_alone),
        cmocka_unit_test(test_continued_rep_call_has_count_25_and_start_20),
        cmocka_unit_test(test_sparse_set_of_two_banks_is_a_header_of_two_qwords),
        cmocka_unit_test(test_bit_31_is_nested_and_bit_26_belongs_to_the_header_size),
        cmocka_unit_test(test_reserved_input_bits_are_returned_in_place),
        cmocka_unit_test(test_input_of_all_ones_has_every_field_full),
    };

    return cmocka_run_group_tests_name("names", tests, NULL, NULL);
}
