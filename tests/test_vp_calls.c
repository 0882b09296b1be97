/* SPDX-License-Identifier: MIT */
/*
 * Calls about other VPs, field by field: the initial context (TLFS 7.9.5, 15.11), the retargeted
 * interrupt (10.5.4), the VP index of an APIC ID (7.10.3). Each field has bytes of its own, so one read from
 * the wrong place shows.
 */
#include "guest_call.h"

#include <stdio.h>

static struct fixture fixture;
static struct guest_call call;
static struct guest_answer answer;
static struct hvtlfs_vp_context started;
static struct hvtlfs_retarget retargeted;
static uint32_t asked;

static enum hvtlfs_answer start_vp(void *context, uint32_t vp_index, uint32_t target,
                                   const struct hvtlfs_vp_context *start)
{
    (void)context;
    assert_int_equal(vp_index, 0);
    assert_int_equal(target, 1);
    started = *start;
    asked++;
    return HVTLFS_ANSWER_OK;
}

static enum hvtlfs_answer retarget(void *context, uint32_t vp_index,
                                   const struct hvtlfs_retarget *what,
                                   const struct hvtlfs_vp_set *targets)
{
    (void)context;
    assert_int_equal(vp_index, 0);
    assert_int_equal(hvtlfs_vp_set_count(targets), 1);
    assert_true(hvtlfs_vp_set_has(targets, 1));
    retargeted = *what;
    asked++;
    return HVTLFS_ANSWER_OK;
}

static void adjust(struct hvtlfs_config *config)
{
    config->ops.start_vp = start_vp;
    config->ops.retarget_interrupt = retarget;
}

static int start(void **state)
{
    (void)state;
    fixture_prepare(&fixture);
    fixture.features = EVERY_CALL;
    fixture.adjust = adjust;
    asked = 0;
    fixture_start(&fixture);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    fixture_stop(&fixture);
    return 0;
}

static void expect_status(uint16_t status)
{
    guest_make(&fixture, &call, &answer);
    assert_int_equal(answer.result, HVTLFS_HYPERCALL_DONE);
    assert_int_equal(answer.status, status);
}

/* ---- HvCallStartVirtualProcessor ---- */

/* Byte i of the block is i: 16 of the header, then HV_INITIAL_VP_CONTEXT. */
static void prepare_start(void)
{
    guest_prepare(&call, HvCallStartVirtualProcessor, 16 + sizeof(struct hv_initial_vp_context), 0);
    for (uint32_t i = 16; i < call.input_size; i++) {
        guest_put(&call, i, 1, i);
    }
    call.input.qwords[0] = HV_PARTITION_ID_SELF;
    call.input.qwords[1] = 1;
}

/* The number of `size` bytes that lies `at` bytes into the context. */
static uint64_t number_at(uint32_t at, uint32_t size)
{
    uint64_t number = 0;

    for (uint32_t i = 0; i < size; i++) {
        number |= (uint64_t)(16 + at + i) << 8 * i;
    }
    return number;
}

/* HV_X64_SEGMENT_REGISTER: base, limit, selector, attributes. */
static void expect_segment(const struct hvtlfs_segment *segment, uint32_t at)
{
    assert_int_equal(segment->base, number_at(at, 8));
    assert_int_equal(segment->limit, number_at(at + 8, 4));
    assert_int_equal(segment->selector, number_at(at + 12, 2));
    assert_int_equal(segment->attributes, number_at(at + 14, 2));
}

/* HV_X64_TABLE_REGISTER: six bytes of padding, limit, base. */
static void expect_table(const struct hvtlfs_table *table, uint32_t at)
{
    assert_int_equal(table->limit, number_at(at + 6, 2));
    assert_int_equal(table->base, number_at(at + 8, 8));
}

static void test_every_field_of_the_initial_context_arrives(void **state)
{
    (void)state;
    prepare_start();
    expect_status(HV_STATUS_SUCCESS);
    assert_int_equal(asked, 1);
    assert_int_equal(started.rip, number_at(0, 8));
    assert_int_equal(started.rsp, number_at(8, 8));
    assert_int_equal(started.rflags, number_at(16, 8));
    expect_segment(&started.cs, 24);
    expect_segment(&started.ds, 40);
    expect_segment(&started.es, 56);
    expect_segment(&started.fs, 72);
    expect_segment(&started.gs, 88);
    expect_segment(&started.ss, 104);
    expect_segment(&started.tr, 120);
    expect_segment(&started.ldtr, 136);
    expect_table(&started.idtr, 152);
    expect_table(&started.gdtr, 168);
    assert_int_equal(started.efer, number_at(184, 8));
    assert_int_equal(started.cr0, number_at(192, 8));
    assert_int_equal(started.cr3, number_at(200, 8));
    assert_int_equal(started.cr4, number_at(208, 8));
    assert_int_equal(started.msr_cr_pat, number_at(216, 8));
}

static void test_only_the_own_partition_starts_its_vps(void **state)
{
    (void)state;
    prepare_start();
    call.input.qwords[0] = 1;
    expect_status(HV_STATUS_INVALID_PARTITION_ID);
    prepare_start();
    call.input.qwords[1] = 2;
    expect_status(HV_STATUS_INVALID_VP_INDEX);
    assert_int_equal(asked, 0);
}

/* ---- HvCallRetargetDeviceInterrupt ---- */

static void prepare_retarget(void)
{
    guest_prepare(&call, HvCallRetargetDeviceInterrupt, 56, 0);
    call.input.qwords[0] = HV_PARTITION_ID_SELF;
    call.input.qwords[1] = UINT64_C(0x1122334455667788);
    call.input.qwords[2] = HV_INTERRUPT_SOURCE_MSI;
    call.input.qwords[3] = UINT64_C(0xA1A2A3A4B1B2B3B4);
    call.input.qwords[4] = 0;
    call.input.qwords[5] = 0x51;
    call.input.qwords[6] = 2;
}

static void test_every_field_of_a_retargeted_interrupt_arrives(void **state)
{
    (void)state;
    prepare_retarget();
    expect_status(HV_STATUS_SUCCESS);
    assert_int_equal(retargeted.device_id, UINT64_C(0x1122334455667788));
    assert_int_equal(retargeted.source, HV_INTERRUPT_SOURCE_MSI);
    assert_int_equal(retargeted.msi_address, 0xB1B2B3B4);
    assert_int_equal(retargeted.msi_data, 0xA1A2A3A4);
    assert_int_equal(retargeted.vector, 0x51);
    assert_false(retargeted.multicast);
}

static void expect_vector(uint32_t vector, uint16_t status)
{
    prepare_retarget();
    call.input.qwords[5] = vector;
    expect_status(status);
}

static void test_vectors_are_16_to_255(void **state)
{
    (void)state;
    expect_vector(0x0F, HV_STATUS_INVALID_PARAMETER);
    expect_vector(0x10, HV_STATUS_SUCCESS);
    assert_int_equal(retargeted.vector, 0x10);
    expect_vector(0xFF, HV_STATUS_SUCCESS);
    assert_int_equal(retargeted.vector, 0xFF);
    expect_vector(0x100, HV_STATUS_INVALID_PARAMETER);
}

static void test_an_interrupt_of_another_partition_is_refused(void **state)
{
    (void)state;
    prepare_retarget();
    call.input.qwords[0] = 1;
    expect_status(HV_STATUS_INVALID_PARTITION_ID);
    assert_int_equal(asked, 0);
}

/* The flag says that there is a set, the variable part holds it: neither without the other. */
static void test_a_set_and_its_flag_come_together(void **state)
{
    (void)state;
    prepare_retarget();
    call.input.qwords[5] |= (uint64_t)HV_DEVICE_INTERRUPT_TARGET_PROCESSOR_SET << 32;
    expect_status(HV_STATUS_INVALID_PARAMETER);
    prepare_retarget();
    call.variable = 2;
    call.input_size += 16;
    call.input.qwords[6] = HvGenericSetSparse4k;
    call.input.qwords[7] = 1;
    call.input.qwords[8] = 2;
    expect_status(HV_STATUS_INVALID_PARAMETER);
    assert_int_equal(asked, 0);
    call.input.qwords[5] |= (uint64_t)HV_DEVICE_INTERRUPT_TARGET_PROCESSOR_SET << 32;
    expect_status(HV_STATUS_SUCCESS);
    assert_int_equal(asked, 1);
}

/* ---- HvCallGetVpIndexFromApicId ---- */

static void prepare_index(uint32_t apic_id)
{
    guest_prepare(&call, HvCallGetVpIndexFromApicId, 24, 8);
    call.reps = 1;
    call.input.qwords[0] = HV_PARTITION_ID_SELF;
    call.input.qwords[2] = apic_id;
}

static void test_an_index_comes_with_zeros_behind_it(void **state)
{
    (void)state;
    prepare_index(1);
    memset(model_host_ram(fixture.host, GUEST_OUTPUT), 0x77, 16);
    expect_status(HV_STATUS_SUCCESS);
    assert_int_equal(guest_output32(&answer, 0), 1);
    prepare_index(1);
    call.input.qwords[1] = 1; /* a VTL other than 0 */
    expect_status(HV_STATUS_INVALID_PARAMETER);
}

/* ---- HvCallGetVpRegisters, HvCallSetVpRegisters ---- */

static enum hvtlfs_answer any_value(void *context, uint32_t vp_index, uint32_t name,
                                    struct hvtlfs_register *value)
{
    (void)context;
    (void)vp_index;
    (void)name;
    value->half[0] = 1;
    asked++;
    return HVTLFS_ANSWER_OK;
}

static enum hvtlfs_answer any_write(void *context, uint32_t vp_index, uint32_t name,
                                    const struct hvtlfs_register *value)
{
    (void)context;
    (void)vp_index;
    (void)name;
    (void)value;
    asked++;
    return HVTLFS_ANSWER_OK;
}

static void take_registers(struct hvtlfs_config *config)
{
    config->ops.get_register = any_value;
    config->ops.set_register = any_write;
}

static void expect_register(uint32_t name, uint16_t status, uint32_t questions)
{
    for (int write = 0; write < 2; write++) {
        guest_prepare(&call, write ? HvCallSetVpRegisters : HvCallGetVpRegisters, write ? 48 : 20,
                      write ? 0 : 16);
        call.reps = 1;
        call.input.qwords[0] = HV_PARTITION_ID_SELF;
        call.input.qwords[1] = HV_VP_INDEX_SELF;
        call.input.qwords[2] = name;
        asked = 0;
        expect_status(status);
        assert_int_equal(asked, questions);
    }
}

/* The host is asked for architectural registers that the TLFS names, and for nothing else (7.9.1). */
static void test_the_host_is_asked_for_architectural_registers_only(void **state)
{
    (void)state;
    fixture_prepare(&fixture);
    fixture.features = EVERY_CALL;
    fixture.adjust = take_registers;
    fixture_start(&fixture);
    expect_register(HvX64RegisterRax, HV_STATUS_SUCCESS, 1);
    expect_register(HvX64RegisterRip, HV_STATUS_SUCCESS, 1);
    expect_register(HvRegisterVsmVpStatus, HV_STATUS_ACCESS_DENIED, 0);
    expect_register(HvRegisterExplicitSuspend, HV_STATUS_ACCESS_DENIED, 0);
    expect_register(0x0002FFFF, HV_STATUS_INVALID_PARAMETER, 0); /* between two families */
    expect_register(0x000FFFFF, HV_STATUS_INVALID_PARAMETER, 0);
    fixture_stop(&fixture);
}

/* ---- Variable headers ---- */

/* A sparse set has at most 64 banks (7.8.7.3): a header of more is malformed before it is looked at. */
static void test_a_header_has_no_more_qwords_than_a_set_has_banks(void **state)
{
    static const struct {
        uint16_t code;
        uint32_t header, list;
        uint32_t most;
    } rows[] = {
        {HvCallFlushVirtualAddressSpaceEx, 32, 0, 64},
        {HvCallFlushVirtualAddressListEx, 32, 8, 64},
        {HvCallSendSyntheticClusterIpiEx, 24, 0, 64},
        {HvCallRetargetDeviceInterrupt, 56, 0, 65}, /* ValidBanksMask is variable, too */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (uint32_t more = 0; more < 2; more++) {
            guest_prepare(&call, rows[i].code,
                          rows[i].header + 8 * (rows[i].most + more) + rows[i].list, 0);
            call.variable = rows[i].most + more;
            call.reps = rows[i].list ? 1 : 0;
            guest_make(&fixture, &call, &answer);
            assert_int_equal(answer.status == HV_STATUS_INVALID_HYPERCALL_INPUT, more);
        }
    }
}

/* ---- Privileges ---- */

/* TLFS 3.12.2: a call whose feature is off is denied, whichever of its features it is. */
static void test_each_call_needs_each_of_its_features(void **state)
{
    static const struct {
        uint16_t code;
        const char *without;
    } rows[] = {
        {HvCallFlushVirtualAddressSpace, "tlbflush=off,tlbflush-ext=off"},
        {HvCallFlushVirtualAddressList, "tlbflush=off,tlbflush-ext=off"},
        {HvCallFlushVirtualAddressSpaceEx, "tlbflush=off,tlbflush-ext=off"},
        {HvCallFlushVirtualAddressListEx, "tlbflush=off,tlbflush-ext=off"},
        {HvCallFlushVirtualAddressSpaceEx, "ex-processor-masks=off"},
        {HvCallFlushVirtualAddressListEx, "ex-processor-masks=off"},
        {HvCallSendSyntheticClusterIpiEx, "ex-processor-masks=off"},
        {HvCallSendSyntheticClusterIpi, "ipi=off"},
        {HvCallSendSyntheticClusterIpiEx, "ipi=off"},
        {HvCallGetVpRegisters, "vp-registers=off"},
        {HvCallSetVpRegisters, "vp-registers=off"},
        {HvCallStartVirtualProcessor, "start-vp=off"},
        {HvCallRetargetDeviceInterrupt, "device-interrupts=off"},
        {HvCallPostMessage, "post-messages=off"},
        {HvCallSignalEvent, "signal-events=off"},
        {HvCallSwitchVirtualAddressSpace, "address-space-switch=off"},
        {HvCallNotifyLongSpinWait, "spinlocks=off"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char features[400];

        (void)snprintf(features, sizeof(features), EVERY_CALL ",%s", rows[i].without);
        fixture_prepare(&fixture);
        fixture.features = features;
        fixture_start(&fixture);
        guest_prepare(&call, rows[i].code, 64, 0);
        guest_make(&fixture, &call, &answer);
        assert_int_equal(answer.status, HV_STATUS_ACCESS_DENIED);
        fixture_stop(&fixture);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_every_field_of_the_initial_context_arrives, start,
                                        stop),
        cmocka_unit_test_setup_teardown(test_only_the_own_partition_starts_its_vps, start, stop),
        cmocka_unit_test_setup_teardown(test_every_field_of_a_retargeted_interrupt_arrives, start,
                                        stop),
        cmocka_unit_test_setup_teardown(test_vectors_are_16_to_255, start, stop),
        cmocka_unit_test_setup_teardown(test_an_interrupt_of_another_partition_is_refused, start,
                                        stop),
        cmocka_unit_test_setup_teardown(test_a_set_and_its_flag_come_together, start, stop),
        cmocka_unit_test_setup_teardown(test_an_index_comes_with_zeros_behind_it, start, stop),
        cmocka_unit_test_setup_teardown(test_a_header_has_no_more_qwords_than_a_set_has_banks,
                                        start, stop),
        cmocka_unit_test(test_each_call_needs_each_of_its_features),
        cmocka_unit_test(test_the_host_is_asked_for_architectural_registers_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
