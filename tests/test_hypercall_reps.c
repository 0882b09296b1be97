/* SPDX-License-Identifier: MIT */
/* TLFS 3.2, 3.3, 3.8: lists, how far they got, and how they go on. */
#include "guest_call.h"

#define VPS 300u
#define COUNT 40u

static struct fixture fixture;
static struct hvtlfs_host_ops inner;

/* ---- A host that keeps the guest busy ---- */

static struct {
    bool scramble;         /* the guest overwrites its input as soon as it has been read */
    uint32_t reads[4096];  /* how often each byte of the input page was read */
    uint64_t time_step;    /* the clock moves on at each flush */
    uint64_t fail_from;    /* reads of the input page from this offset on fail; 0 = none */
} trouble;

static bool troubled_read(void *context, uint64_t gpa, void *buffer, size_t size)
{
    uint64_t offset = gpa - GUEST_INPUT;
    size_t i;

    if (offset < HVTLFS_PAGE_SIZE && trouble.fail_from && offset >= trouble.fail_from) {
        return false;
    }
    if (!inner.gpa_read(context, gpa, buffer, size)) {
        return false;
    }
    for (i = 0; offset < HVTLFS_PAGE_SIZE && i < size; i++) {
        trouble.reads[offset + i]++;
        if (trouble.scramble) {
            model_host_ram(context, gpa + i)[0] ^= 0xFF;
        }
    }
    return true;
}

static void slow_flush(void *context, uint32_t vp_index, const struct hvtlfs_vp_set *targets,
                       const struct hvtlfs_flush *flush)
{
    model_host_advance(context, trouble.time_step);
    inner.tlb_flush(context, vp_index, targets, flush);
}

static uint32_t budget;

static void adjust(struct hvtlfs_config *config)
{
    inner = config->ops;
    config->ops.gpa_read = troubled_read;
    config->ops.tlb_flush = slow_flush;
    config->hypercall_reps = budget;
}

static void start_with_budget(uint32_t reps)
{
    static struct hvtlfs_vp_config vps[VPS];
    uint32_t i;

    memset(&trouble, 0, sizeof(trouble));
    budget = reps;
    for (i = 0; i < VPS; i++) {
        vps[i] = (struct hvtlfs_vp_config){.vp_index = i, .apic_id = 7 * i + 3};
    }
    fixture_prepare(&fixture);
    fixture.features = WITH_XMM;
    fixture.config.vp_count = VPS;
    fixture.config.vps = vps;
    fixture.adjust = adjust;
    fixture_start(&fixture);
}

static int start(void **state)
{
    (void)state;
    start_with_budget(64);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    fixture_stop(&fixture);
    return 0;
}

/* ---- The lists ---- */

static void flush_list(struct guest_call *call, uint32_t count)
{
    uint32_t i;

    guest_prepare(call, HvCallFlushVirtualAddressList, 24 + 8 * count, 0);
    call->reps = count;
    call->input.qwords[0] = 0x1000;
    call->input.qwords[2] = 1;
    for (i = 0; i < count; i++) {
        call->input.qwords[3 + i] = UINT64_C(0x1000) * (i + 1);
    }
}

static void apic_list(struct guest_call *call, uint32_t count)
{
    uint32_t i;

    guest_prepare(call, HvCallGetVpIndexFromApicId, 16 + 8 * count, 8 * count);
    call->reps = count;
    call->input.qwords[0] = HV_PARTITION_ID_SELF;
    for (i = 0; i < count; i++) {
        /* The padding is the guest's rubbish. */
        call->input.qwords[2 + i] = UINT64_C(0xABCD000000000000) | (7 * (2 * i + 1) + 3);
    }
}

static void get_list(struct guest_call *call, uint32_t count)
{
    uint32_t i;

    guest_prepare(call, HvCallGetVpRegisters, 16 + 4 * count, 16 * count);
    call->reps = count;
    call->input.qwords[0] = HV_PARTITION_ID_SELF;
    call->input.qwords[1] = HV_VP_INDEX_SELF;
    for (i = 0; i < count; i++) {
        uint32_t name = HvX64RegisterRax + i % 16;

        guest_put(call, 16 + 4 * i, 4, name);
        model_host_set_register(fixture.host, 0, name,
                                (struct hvtlfs_register){{0x1111 * (i % 16), i % 16}});
    }
}

static void set_list(struct guest_call *call, uint32_t count)
{
    uint32_t i;

    guest_prepare(call, HvCallSetVpRegisters, 16 + 32 * count, 0);
    call->reps = count;
    call->input.qwords[0] = HV_PARTITION_ID_SELF;
    call->input.qwords[1] = HV_VP_INDEX_SELF;
    for (i = 0; i < count; i++) {
        call->input.qwords[2 + 4 * i] = HvX64RegisterRax + i % 16;
        call->input.qwords[4 + 4 * i] = 0x100 + i;
    }
}

static void gpa_list(struct guest_call *call, uint32_t count)
{
    flush_list(call, count);
    call->code = HvCallFlushGuestPhysicalAddressList;
    call->input_size -= 8;
    memmove(&call->input.qwords[2], &call->input.qwords[3], 8 * count);
}

typedef void list_builder(struct guest_call *call, uint32_t count);

static list_builder *const builders[] = {flush_list, apic_list, get_list, set_list, gpa_list};

#define BUILDERS (sizeof(builders) / sizeof(builders[0]))

/* ---- Tests ---- */

/* W041: completed repetitions are absolute. */
static void restarting_at_every_index_gives_the_same_result(void **state)
{
    struct guest_answer whole, rest;
    struct guest_call call;
    uint32_t element;
    size_t i;

    (void)state;
    for (i = 0; i < BUILDERS; i++) {
        builders[i](&call, COUNT);
        element = call.output_size / COUNT;
        guest_make(&fixture, &call, &whole);
        assert_int_equal(whole.status, HV_STATUS_SUCCESS);
        assert_int_equal(whole.reps, COUNT);
        for (call.start = 1; call.start < COUNT; call.start++) {
            memset(model_host_ram(fixture.host, GUEST_OUTPUT), 0xEE, HVTLFS_PAGE_SIZE);
            guest_make(&fixture, &call, &rest);
            assert_int_equal(rest.status, HV_STATUS_SUCCESS);
            assert_int_equal(rest.reps, COUNT);
            assert_memory_equal(rest.output + element * call.start,
                                whole.output + element * call.start,
                                element * (COUNT - call.start));
            if (element) { /* what was done before is not touched */
                assert_int_equal(rest.output[element * call.start - 1], 0xEE);
                assert_int_equal(rest.output[0], 0xEE);
            }
        }
    }
}

/* 3.3: whatever the budget, the same comes out, in so many pieces. */
static void continuing_after_any_budget_gives_the_same_result(void **state)
{
    static const enum hvtlfs_cpu_mode modes[] = {HVTLFS_MODE_LONG64, HVTLFS_MODE_PROTECTED32};
    struct guest_answer whole[BUILDERS], pieces;
    struct guest_call call;
    uint32_t reps, mode;
    size_t i;

    (void)state;
    for (i = 0; i < BUILDERS; i++) {
        builders[i](&call, COUNT);
        guest_make(&fixture, &call, &whole[i]);
        assert_int_equal(whole[i].continued, 0);
    }
    for (reps = 1; reps <= COUNT; reps++) {
        fixture_stop(&fixture);
        start_with_budget(reps);
        for (i = 0; i < BUILDERS; i++) {
            for (mode = 0; mode < 2; mode++) {
                builders[i](&call, COUNT);
                call.mode = modes[mode];
                guest_make(&fixture, &call, &pieces);
                assert_int_equal(pieces.status, HV_STATUS_SUCCESS);
                assert_int_equal(pieces.reps, COUNT);
                assert_int_equal(pieces.continued, (COUNT + reps - 1) / reps - 1);
                assert_memory_equal(pieces.output, whole[i].output, call.output_size);
            }
        }
    }
}

/* W040: 20 of 25 done; the start index says so and nothing else changes. */
static void a_continued_call_changes_only_its_start_index(void **state)
{
    struct hvtlfs_hypercall_regs regs, before;
    uint8_t input[HVTLFS_PAGE_SIZE];
    struct guest_call call;

    (void)state;
    fixture_stop(&fixture);
    start_with_budget(20);
    flush_list(&call, 25);
    guest_lay(input, call.input.qwords, HVTLFS_PAGE_SIZE / 8);
    assert_int_equal(model_host_guest_write(fixture.host, GUEST_INPUT, input, call.input_size),
                     MODEL_ACCESS_OK);
    before = regs = guest_regs(&call);
    assert_int_equal(hvtlfs_hypercall(fixture.vp, &regs), HVTLFS_HYPERCALL_CONTINUE);
    assert_int_equal(regs.changed, HVTLFS_CHANGED_RCX);
    assert_int_equal(regs.rcx, before.rcx | UINT64_C(20) << 48);
    before.rcx = regs.rcx;
    before.changed = regs.changed;
    assert_memory_equal(&regs, &before, sizeof(regs));
    assert_int_equal(hvtlfs_hypercall(fixture.vp, &regs), HVTLFS_HYPERCALL_DONE);
    assert_int_equal(regs.changed, HVTLFS_CHANGED_RAX);
    assert_int_equal(regs.rax, UINT64_C(25) << 32);
}

/* W044: 50 microseconds are 500 units. */
static void time_ends_a_budget_too(void **state)
{
    struct guest_answer answer;
    struct guest_call call;

    (void)state;
    flush_list(&call, COUNT); /* in four requests: 12, 12, 12 and 4 ranges fit */
    trouble.time_step = 499;
    guest_make(&fixture, &call, &answer);
    assert_int_equal(answer.reps, COUNT);
    assert_int_equal(answer.continued, 1);
    trouble.time_step = 500;
    guest_make(&fixture, &call, &answer);
    assert_int_equal(answer.reps, COUNT);
    assert_int_equal(answer.continued, 3);
}

/* At least one element is attempted, however short the time. */
static void there_is_always_progress(void **state)
{
    struct guest_answer answer;
    struct guest_call call;

    (void)state;
    trouble.time_step = 1000000;
    flush_list(&call, 509); /* as many as a page holds */
    guest_make(&fixture, &call, &answer);
    assert_int_equal(answer.status, HV_STATUS_SUCCESS);
    assert_int_equal(answer.reps, 509);
    assert_int_equal(answer.continued, 508 / 12);
}

static void an_error_tells_how_many_elements_were_done(void **state)
{
    struct guest_answer answer;
    struct guest_call call;
    uint32_t bad, start, i;

    (void)state;
    for (bad = 0; bad < COUNT; bad++) {
        for (start = 0; start <= bad; start += 7) {
            apic_list(&call, COUNT);
            call.start = start;
            call.input.qwords[2 + bad] = 5; /* nobody's */
            memset(model_host_ram(fixture.host, GUEST_OUTPUT), 0xEE, HVTLFS_PAGE_SIZE);
            guest_make(&fixture, &call, &answer);
            assert_int_equal(answer.status, HV_STATUS_INVALID_PARAMETER);
            assert_int_equal(answer.reps, bad);
            for (i = start; i < bad; i++) {
                assert_int_equal(guest_output64(&answer, 8 * i), 2 * i + 1);
            }
        }
    }
}

static void a_failing_header_leaves_the_start_index_as_completed(void **state)
{
    struct guest_answer answer;
    struct guest_call call;

    (void)state;
    flush_list(&call, COUNT);
    call.start = 11;
    call.input.qwords[1] = HV_FLUSH_NON_GLOBAL_MAPPINGS_ONLY; /* not for lists (9.4.4) */
    guest_make(&fixture, &call, &answer);
    assert_int_equal(answer.status, HV_STATUS_INVALID_PARAMETER);
    assert_int_equal(answer.reps, 11);
}

/* No double fetch: each byte is read once, and a guest that rewrites it at once changes nothing. */
static void memory_that_changes_under_the_call_does_not_matter(void **state)
{
    struct guest_answer calm, busy;
    struct guest_call call;
    size_t i, byte;

    (void)state;
    for (i = 0; i < BUILDERS; i++) {
        builders[i](&call, COUNT);
        guest_make(&fixture, &call, &calm);
        memset(&trouble, 0, sizeof(trouble));
        trouble.scramble = true;
        guest_make(&fixture, &call, &busy);
        trouble.scramble = false;
        assert_int_equal(busy.status, HV_STATUS_SUCCESS);
        assert_int_equal(busy.reps, COUNT);
        assert_memory_equal(busy.output, calm.output, call.output_size);
        for (byte = 0; byte < HVTLFS_PAGE_SIZE; byte++) {
            assert_int_equal(trouble.reads[byte], byte < call.input_size);
        }
    }
}

/* Memory that goes away in the middle: what was done stays done, and the call can go on. */
static void an_intercept_keeps_the_progress(void **state)
{
    static const enum hvtlfs_cpu_mode modes[] = {HVTLFS_MODE_LONG64, HVTLFS_MODE_PROTECTED32};
    struct guest_answer answer;
    struct guest_call call;
    size_t mode;

    (void)state;
    for (mode = 0; mode < 2; mode++) {
        apic_list(&call, COUNT);
        call.mode = modes[mode];
        trouble.fail_from = 16 + 8 * 16; /* eight elements at a time: 0 to 7, 8 to 15 */
        guest_make(&fixture, &call, &answer);
        assert_int_equal(answer.result, HVTLFS_HYPERCALL_INTERCEPT);
        assert_int_equal(answer.regs.fault_gpa, GUEST_INPUT + 16 + 8 * 16);
        assert_int_equal(answer.regs.fault_access, HVTLFS_ACCESS_READ);
        call.start = 16;
        assert_int_equal(modes[mode] == HVTLFS_MODE_LONG64
                             ? answer.regs.rcx
                             : answer.regs.rdx << 32 | answer.regs.rax,
                         guest_control(&call));
        trouble.fail_from = 0;
        assert_int_equal(hvtlfs_hypercall(fixture.vp, &answer.regs), HVTLFS_HYPERCALL_DONE);
        assert_int_equal(answer.regs.mode == HVTLFS_MODE_LONG64
                             ? answer.regs.rax
                             : answer.regs.rdx << 32 | answer.regs.rax,
                         (uint64_t)COUNT << 32);
    }
}

static void an_intercept_can_be_ended_with_a_status(void **state)
{
    struct guest_answer answer;
    struct guest_call call;

    (void)state;
    apic_list(&call, COUNT);
    trouble.fail_from = 16 + 8 * 16;
    guest_make(&fixture, &call, &answer);
    assert_int_equal(answer.result, HVTLFS_HYPERCALL_INTERCEPT);
    hvtlfs_hypercall_fail(&answer.regs, HV_STATUS_INVALID_PARAMETER);
    assert_int_equal(answer.regs.rax, UINT64_C(16) << 32 | HV_STATUS_INVALID_PARAMETER);
    assert_true(answer.regs.changed & HVTLFS_CHANGED_RAX);
}

/* W042: 20 bytes of input leave 80 for output, from XMM1 on. */
static void register_output_follows_the_input(void **state)
{
    struct hvtlfs_hypercall_regs before;
    struct guest_answer answer;
    struct guest_call call;
    uint32_t count;

    (void)state;
    for (count = 1; count <= 5; count++) {
        get_list(&call, count);
        call.fast = true;
        before = guest_regs(&call);
        guest_make(&fixture, &call, &answer);
        if (16 + (4 * count + 15) / 16 * 16 + 16 * count > FAST_BLOCK_SIZE) {
            assert_int_equal(answer.status, HV_STATUS_INVALID_HYPERCALL_INPUT);
            continue;
        }
        assert_int_equal(answer.status, HV_STATUS_SUCCESS);
        assert_int_equal(answer.regs.changed, HVTLFS_CHANGED_RAX | HVTLFS_CHANGED_XMM);
        /* Input registers and those behind the output stay. */
        assert_memory_equal(&answer.regs.xmm[0], &before.xmm[0], 16);
        if (1 + count < 6) {
            assert_memory_equal(&answer.regs.xmm[1 + count], &before.xmm[1 + count],
                                16 * (5 - count));
        }
        assert_int_equal(answer.regs.xmm[count].half[0], 0x1111 * (count - 1));
        assert_int_equal(answer.regs.xmm[count].half[1], count - 1);
    }
}

/* Part of a register is written, the rest of it stays. */
static void register_output_may_end_inside_a_register(void **state)
{
    struct hvtlfs_hypercall_regs before;
    struct guest_answer answer;
    struct guest_call call;

    (void)state;
    apic_list(&call, 3); /* input 40 bytes: to XMM1; output in XMM2 and half of XMM3 */
    call.fast = true;
    before = guest_regs(&call);
    guest_make(&fixture, &call, &answer);
    assert_int_equal(answer.status, HV_STATUS_SUCCESS);
    assert_memory_equal(answer.regs.xmm, before.xmm, 32);
    assert_int_equal(answer.regs.xmm[2].half[0], 1);
    assert_int_equal(answer.regs.xmm[2].half[1], 3);
    assert_int_equal(answer.regs.xmm[3].half[0], 5);
    assert_int_equal(answer.regs.xmm[3].half[1], before.xmm[3].half[1]);
}

static void register_calls_are_continued_too(void **state)
{
    struct guest_answer whole, pieces;
    struct guest_call call;

    (void)state;
    apic_list(&call, 4);
    call.fast = true;
    guest_make(&fixture, &call, &whole);
    assert_int_equal(whole.reps, 4);
    fixture_stop(&fixture);
    start_with_budget(1);
    guest_make(&fixture, &call, &pieces);
    assert_int_equal(pieces.continued, 3);
    assert_int_equal(pieces.reps, 4);
    assert_memory_equal(pieces.output, whole.output, 32);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(restarting_at_every_index_gives_the_same_result),
        TEST(continuing_after_any_budget_gives_the_same_result),
        TEST(a_continued_call_changes_only_its_start_index),
        TEST(time_ends_a_budget_too),
        TEST(there_is_always_progress),
        TEST(an_error_tells_how_many_elements_were_done),
        TEST(a_failing_header_leaves_the_start_index_as_completed),
        TEST(memory_that_changes_under_the_call_does_not_matter),
        TEST(an_intercept_keeps_the_progress),
        TEST(an_intercept_can_be_ended_with_a_status),
        TEST(register_output_follows_the_input),
        TEST(register_output_may_end_inside_a_register),
        TEST(register_calls_are_continued_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
