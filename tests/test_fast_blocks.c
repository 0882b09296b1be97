/* SPDX-License-Identifier: MIT */
/*
 * TLFS 3.7.2, 3.8.1: blocks in registers, to the byte. Calls of the host have any sizes, so they show
 * where the boundaries are: 16 bytes in the general registers, 112 in all, output from the first 16-byte
 * register that the input leaves free.
 */
#include "guest_call.h"

#include <hvtlfs/describe.h>

#define CODE 0x1234u

static struct fixture fixture;
static struct hvtlfs_call_handler handler;

/* What the handler saw. */
static struct {
    uint32_t calls;
    uint32_t elements;
    uint8_t header[576];
    uint8_t list[96];
    uint16_t status;
    uint32_t done;
    uint32_t first;
} seen;

/* Output byte i of the whole list is 0x80 + i. */
static uint16_t handle(void *context, struct hvtlfs_host_call *call)
{
    const uint32_t out = call->count ? call->count * handler.element_out : (uint32_t)handler.output;

    (void)context;
    seen.calls++;
    seen.elements += call->count;
    seen.first = call->first;
    memcpy(seen.header, call->header, call->header_size);
    if (call->count) {
        memcpy(seen.list, call->elements, (size_t)call->count * handler.element_in);
    }
    for (uint32_t i = 0; i < out; i++) {
        ((uint8_t *)call->output)[i] = (uint8_t)(0x80 + i);
    }
    call->done = seen.done;
    return seen.status;
}

static void make(struct hvtlfs_call_handler what)
{
    handler = what;
    handler.code = CODE;
    handler.handle = handle;
    memset(&seen, 0, sizeof(seen));
    fixture_prepare(&fixture);
    fixture.features = "hypercall,xmm-input,xmm-output";
    fixture.config.calls = &handler;
    fixture.config.call_count = 1;
    fixture_start(&fixture);
}

/* Registers that hold bytes 0, 1, 2 ... of a block. */
static struct hvtlfs_hypercall_regs block(uint32_t reps)
{
    struct hvtlfs_hypercall_regs regs;
    uint64_t words[14];

    memset(&regs, 0, sizeof(regs));
    for (uint32_t i = 0; i < 14; i++) {
        words[i] = 0;
        for (uint32_t byte = 0; byte < 8; byte++) {
            words[i] |= (uint64_t)(8 * i + byte) << 8 * byte;
        }
    }
    regs.mode = HVTLFS_MODE_LONG64;
    regs.rcx = CODE | 0x10000 | (uint64_t)reps << 32;
    regs.rdx = words[0];
    regs.r8 = words[1];
    memcpy(regs.xmm, &words[2], sizeof(regs.xmm));
    return regs;
}

static uint8_t byte_of(const struct hvtlfs_hypercall_regs *regs, uint32_t at)
{
    const uint64_t *xmm = &regs->xmm[0].half[0];
    uint64_t word = at < 8 ? regs->rdx : at < 16 ? regs->r8 : xmm[at / 8 - 2];

    return (uint8_t)(word >> 8 * (at % 8));
}

/* All bytes of the block are as they were but `size` from `offset` on. */
static void expect_output(const struct hvtlfs_hypercall_regs *regs, uint32_t offset, uint32_t size)
{
    for (uint32_t i = 0; i < 112; i++) {
        const bool out = i >= offset && i < offset + size;

        assert_int_equal(byte_of(regs, i), out ? 0x80 + i - offset : i);
    }
}

static void call(struct hvtlfs_hypercall_regs *regs, uint64_t result)
{
    assert_int_equal(hvtlfs_hypercall(fixture.vp, regs), HVTLFS_HYPERCALL_DONE);
    assert_int_equal(regs->rax, result);
}

static void expect_bytes(const uint8_t *bytes, uint32_t first, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++) {
        assert_int_equal(bytes[i], first + i);
    }
}

static void test_a_short_list_comes_in_the_two_general_registers(void **state)
{
    struct hvtlfs_hypercall_regs regs;

    (void)state;
    make((struct hvtlfs_call_handler){.rep = true, .header = 8, .element_in = 4});
    regs = block(2);
    call(&regs, UINT64_C(2) << 32);
    assert_int_equal(seen.elements, 2);
    expect_bytes(seen.header, 0, 8);
    expect_bytes(seen.list, 8, 8);
    fixture_stop(&fixture);
}

static void test_the_largest_input_has_112_bytes(void **state)
{
    struct hvtlfs_hypercall_regs regs;

    (void)state;
    make((struct hvtlfs_call_handler){.header = 112});
    regs = block(0);
    call(&regs, 0);
    expect_bytes(seen.header, 0, 112);
    fixture_stop(&fixture);
    make((struct hvtlfs_call_handler){.header = 120});
    regs = block(0);
    call(&regs, HV_STATUS_INVALID_HYPERCALL_INPUT);
    assert_int_equal(seen.calls, 0);
    fixture_stop(&fixture);
}

static void test_input_and_output_together_have_112_bytes(void **state)
{
    struct hvtlfs_hypercall_regs regs;

    (void)state;
    make((struct hvtlfs_call_handler){.header = 48, .output = 64});
    regs = block(0);
    call(&regs, 0);
    expect_output(&regs, 48, 64);
    fixture_stop(&fixture);
    make((struct hvtlfs_call_handler){.header = 56, .output = 49});
    regs = block(0);
    call(&regs, HV_STATUS_INVALID_HYPERCALL_INPUT);
    expect_output(&regs, 0, 0);
    fixture_stop(&fixture);
}

/* Without input, output begins in RDX: which registers it reaches depends on its last byte. */
static void test_only_registers_that_output_reaches_change(void **state)
{
    static const struct {
        uint16_t size;
        uint32_t changed;
    } rows[] = {
        {1, HVTLFS_CHANGED_RDX},
        {8, HVTLFS_CHANGED_RDX},
        {9, HVTLFS_CHANGED_RDX | HVTLFS_CHANGED_R8},
        {16, HVTLFS_CHANGED_RDX | HVTLFS_CHANGED_R8},
        {17, HVTLFS_CHANGED_RDX | HVTLFS_CHANGED_R8 | HVTLFS_CHANGED_XMM},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct hvtlfs_hypercall_regs regs;

        make((struct hvtlfs_call_handler){.output = rows[i].size});
        regs = block(0);
        call(&regs, 0);
        assert_int_equal(regs.changed, HVTLFS_CHANGED_RAX | rows[i].changed);
        expect_output(&regs, 0, rows[i].size);
        fixture_stop(&fixture);
    }
}

static void test_a_call_that_fails_has_no_output(void **state)
{
    struct hvtlfs_hypercall_regs regs;

    (void)state;
    make((struct hvtlfs_call_handler){.header = 8, .output = 16});
    seen.status = HV_STATUS_INVALID_PARAMETER;
    regs = block(0);
    call(&regs, HV_STATUS_INVALID_PARAMETER);
    expect_output(&regs, 0, 0);
    assert_int_equal(regs.changed, HVTLFS_CHANGED_RAX);
    fixture_stop(&fixture);
    /* Nor one that never has any. */
    make((struct hvtlfs_call_handler){.header = 8});
    seen.status = HV_STATUS_INVALID_PARAMETER;
    regs = block(0);
    call(&regs, HV_STATUS_INVALID_PARAMETER);
    expect_output(&regs, 0, 0);
    fixture_stop(&fixture);
}

/* A list without input of its own, one element at a time: between two there is output, and no result. */
static void test_output_of_a_call_that_goes_on_changes_its_registers_only(void **state)
{
    struct hvtlfs_hypercall_regs regs;

    (void)state;
    handler =
        (struct hvtlfs_call_handler){.code = CODE, .rep = true, .element_out = 4, .handle = handle};
    memset(&seen, 0, sizeof(seen));
    fixture_prepare(&fixture);
    fixture.features = "hypercall,xmm-output";
    fixture.config.calls = &handler;
    fixture.config.call_count = 1;
    fixture.config.hypercall_reps = 1;
    fixture_start(&fixture);
    regs = block(2);
    regs.rax = 0x1234;
    assert_int_equal(hvtlfs_hypercall(fixture.vp, &regs), HVTLFS_HYPERCALL_CONTINUE);
    assert_int_equal(regs.changed, HVTLFS_CHANGED_RCX | HVTLFS_CHANGED_RDX);
    assert_int_equal(regs.rax, 0x1234);
    assert_int_equal(regs.rcx, CODE | 0x10000 | UINT64_C(2) << 32 | UINT64_C(1) << 48);
    expect_output(&regs, 0, 4);
    assert_int_equal(seen.first, 0);
    assert_int_equal(hvtlfs_hypercall(fixture.vp, &regs), HVTLFS_HYPERCALL_DONE);
    assert_int_equal(seen.first, 1);
    assert_int_equal(regs.rax, UINT64_C(2) << 32);
    fixture_stop(&fixture);
}

/* In memory, too: what has no input reads none, wherever its address points. */
static void test_a_list_without_input_reads_nothing(void **state)
{
    struct hvtlfs_hypercall_regs regs;

    (void)state;
    make((struct hvtlfs_call_handler){.rep = true, .element_out = 4});
    regs = block(3);
    regs.rcx &= ~UINT64_C(0x10000);
    regs.rdx = GUEST_UNMAPPED;
    regs.r8 = GUEST_OUTPUT;
    call(&regs, UINT64_C(3) << 32);
    assert_int_equal(model_host_guest_read32(fixture.host, GUEST_OUTPUT + 8), 0x8B8A8988);
    fixture_stop(&fixture);
}

/* 17 bytes of input reach into the first of the XMM registers, and ask for the feature. */
static void test_more_than_16_bytes_of_input_need_the_feature(void **state)
{
    (void)state;
    for (uint16_t size = 1; size <= 24; size++) {
        struct hvtlfs_hypercall_regs regs;

        handler = (struct hvtlfs_call_handler){
            .code = CODE, .rep = true, .element_in = size, .handle = handle};
        memset(&seen, 0, sizeof(seen));
        fixture_prepare(&fixture);
        fixture.features = "hypercall";
        fixture.config.calls = &handler;
        fixture.config.call_count = 1;
        fixture_start(&fixture);
        regs = block(1);
        assert_int_equal(hvtlfs_hypercall(fixture.vp, &regs),
                         size <= 16 ? HVTLFS_HYPERCALL_DONE : HVTLFS_HYPERCALL_UD);
        assert_int_equal(seen.calls, size <= 16);
        if (size <= 16) {
            expect_bytes(seen.list, 0, size);
        } else {
            expect_output(&regs, 0, 0);
            assert_int_equal(regs.changed, 0);
        }
        fixture_stop(&fixture);
    }
}

/* A handler that fails and says it did more than it was given did what it was given. */
static void test_a_handler_cannot_have_done_more_than_there_was(void **state)
{
    struct hvtlfs_hypercall_regs regs;

    (void)state;
    make((struct hvtlfs_call_handler){.rep = true, .element_in = 8});
    seen.status = HV_STATUS_INVALID_PARAMETER;
    for (uint32_t done = 0; done < 5; done++) {
        seen.done = done;
        regs = block(3);
        call(&regs, HV_STATUS_INVALID_PARAMETER | (uint64_t)(done < 3 ? done : 3) << 32);
    }
    fixture_stop(&fixture);
}

static void test_a_fault_is_counted(void **state)
{
    struct hvtlfs_counters counters = {.size = sizeof(counters)};
    struct hvtlfs_hypercall_regs regs;

    (void)state;
    handler = (struct hvtlfs_call_handler){.code = CODE, .header = 24, .handle = handle};
    fixture_prepare(&fixture);
    fixture.features = "hypercall";
    fixture.config.calls = &handler;
    fixture.config.call_count = 1;
    fixture_start(&fixture);
    regs = block(0);
    assert_int_equal(hvtlfs_hypercall(fixture.vp, &regs), HVTLFS_HYPERCALL_UD);
    assert_int_equal(hvtlfs_read_counters(fixture.vp, &counters), HVTLFS_OK);
    assert_int_equal(counters.hypercall_faults, 1);
    fixture_stop(&fixture);
}

/* Output that cannot be written is output that is still to come: the list goes on at the same element. */
static void test_elements_whose_output_is_out_of_reach_are_not_done(void **state)
{
    struct hvtlfs_hypercall_regs regs;
    uint64_t control;

    (void)state;
    make((struct hvtlfs_call_handler){.rep = true, .element_out = 4});
    regs = block(3);
    regs.rcx &= ~UINT64_C(0x10000);
    regs.r8 = GUEST_UNMAPPED;
    control = regs.rcx;
    assert_int_equal(hvtlfs_hypercall(fixture.vp, &regs), HVTLFS_HYPERCALL_INTERCEPT);
    assert_int_equal(regs.rcx, control);
    assert_int_equal(regs.fault_gpa, GUEST_UNMAPPED);
    assert_int_equal(regs.fault_access, HVTLFS_ACCESS_WRITE);
    fixture_stop(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_short_list_comes_in_the_two_general_registers),
        cmocka_unit_test(test_the_largest_input_has_112_bytes),
        cmocka_unit_test(test_input_and_output_together_have_112_bytes),
        cmocka_unit_test(test_only_registers_that_output_reaches_change),
        cmocka_unit_test(test_a_call_that_fails_has_no_output),
        cmocka_unit_test(test_output_of_a_call_that_goes_on_changes_its_registers_only),
        cmocka_unit_test(test_a_list_without_input_reads_nothing),
        cmocka_unit_test(test_elements_whose_output_is_out_of_reach_are_not_done),
        cmocka_unit_test(test_a_handler_cannot_have_done_more_than_there_was),
        cmocka_unit_test(test_a_fault_is_counted),
        cmocka_unit_test(test_more_than_16_bytes_of_input_need_the_feature),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
