/* SPDX-License-Identifier: MIT */
/*
 * Every call, in both modes, in memory and in registers, with every first bad field: fault number n
 * and all that come after it in the order of docs/HYPERCALLS.md. The answer is that of the first.
 */
#include "guest_call.h"

#define PRESENT 2u /* VPs 0 and 1 */

enum fault {
    FAULT_PRIVILEGE, /* the feature is off */
    FAULT_RESERVED,  /* a reserved bit of the control word */
    FAULT_VARIABLE,  /* a variable header that is too long, or is none of the call's business */
    FAULT_REPS,      /* repetitions of a simple call, none or a wrong start of a rep call */
    FAULT_PLACE,     /* memory: misaligned, over the page's end, beyond the space; registers: XMM off */
    FAULT_MAPPING,   /* memory: no memory there; registers: more than they hold */
    FAULT_VALUE,     /* the call's own: see rows */
    FAULT_NONE
};

struct row {
    const char *name;
    uint16_t code;
    uint32_t header;   /* fixed part */
    uint32_t variable; /* qwords in the good call */
    uint32_t variable_most;
    uint32_t element_in;
    uint32_t element_out;
    uint32_t output;
    uint32_t reps;
    void (*good)(uint64_t *block);
    void (*bad)(uint64_t *block); /* NULL: every value is good */
    uint16_t bad_status;
};

static void good_flush(uint64_t *block)
{
    block[0] = 0x1000;
    block[1] = 0;
    block[2] = 3;
    block[3] = 0x7000;
    block[4] = 0x9001;
}

static void bad_flags(uint64_t *block)
{
    block[1] = UINT64_C(1) << 32;
}

static void good_flush_ex(uint64_t *block)
{
    block[0] = 0x1000;
    block[3] = 1;
    block[4] = 3;
    block[5] = 0x7000;
    block[6] = 0x9001;
}

static void bad_format(uint64_t *block)
{
    block[2] = 2;
}

static void good_ipi(uint64_t *block)
{
    block[0] = 0x20;
    block[1] = 2;
}

static void bad_vector(uint64_t *block)
{
    block[0] = 0x0F;
}

static void good_ipi_ex(uint64_t *block)
{
    block[0] = 0xFF;
    block[2] = 1;
    block[3] = 2;
}

static void bad_ipi_vtl(uint64_t *block)
{
    block[0] |= UINT64_C(0x11) << 32; /* VTL 1, used */
}

static void good_spin(uint64_t *block)
{
    block[0] = 1000;
}

static void good_switch(uint64_t *block)
{
    block[0] = 0x3000;
}

static void self(uint64_t *block)
{
    block[0] = HV_PARTITION_ID_SELF;
}

static void good_get(uint64_t *block)
{
    self(block);
    block[1] = HV_VP_INDEX_SELF;
    block[2] = (uint64_t)HvRegisterVpIndex << 32 | HvRegisterHypervisorVersion;
}

static void good_set(uint64_t *block)
{
    self(block);
    block[1] = HV_VP_INDEX_SELF;
    block[2] = HvX64RegisterCr3;
    block[4] = 0x5000;
    block[6] = HvX64RegisterCr4;
    block[8] = 0x20;
}

static void bad_partition(uint64_t *block)
{
    block[0] = 1;
}

static void good_apic_id(uint64_t *block)
{
    self(block);
    block[2] = 1;
    block[3] = 0;
}

static void good_start(uint64_t *block)
{
    self(block);
    block[1] = 1;
    block[2] = 0xFFFF0;
}

static void bad_vp(uint64_t *block)
{
    block[1] = PRESENT;
}

static void good_retarget(uint64_t *block)
{
    self(block);
    block[1] = 0x1234;
    block[2] = 1;
    block[5] = 0x30;
    block[6] = 1;
}

static void bad_retarget(uint64_t *block)
{
    block[4] = 1;
}

static void good_post(uint64_t *block)
{
    block[0] = 1;
    block[1] = UINT64_C(240) << 32 | 1;
}

static void bad_type(uint64_t *block)
{
    block[1] = 0x80000001;
}

static void good_signal(uint64_t *block)
{
    block[0] = 1;
}

static void bad_signal(uint64_t *block)
{
    block[0] |= UINT64_C(1) << 48;
}

static void good_nested(uint64_t *block)
{
    block[0] = 0x8000;
    block[2] = 0x1000;
    block[3] = 0x2000;
}

static void nothing(uint64_t *block)
{
    (void)block;
}

#define INVALID_PARAMETER HV_STATUS_INVALID_PARAMETER

static const struct row rows[] = {
    {"switch", 0x0001, 8, 0, 0, 0, 0, 0, 0, good_switch, NULL, 0},
    {"flush space", 0x0002, 24, 0, 0, 0, 0, 0, 0, good_flush, bad_flags, INVALID_PARAMETER},
    {"flush list", 0x0003, 24, 0, 0, 8, 0, 0, 2, good_flush, bad_flags, INVALID_PARAMETER},
    {"spin wait", 0x0008, 8, 0, 0, 0, 0, 0, 0, good_spin, NULL, 0},
    {"ipi", 0x000B, 16, 0, 0, 0, 0, 0, 0, good_ipi, bad_vector, INVALID_PARAMETER},
    {"flush space ex", 0x0013, 32, 1, 64, 0, 0, 0, 0, good_flush_ex, bad_format, INVALID_PARAMETER},
    {"flush list ex", 0x0014, 32, 1, 64, 8, 0, 0, 2, good_flush_ex, bad_flags, INVALID_PARAMETER},
    {"ipi ex", 0x0015, 24, 1, 64, 0, 0, 0, 0, good_ipi_ex, bad_ipi_vtl, INVALID_PARAMETER},
    {"get registers", 0x0050, 16, 0, 0, 4, 16, 0, 2, good_get, bad_partition,
     HV_STATUS_INVALID_PARTITION_ID},
    {"set registers", 0x0051, 16, 0, 0, 32, 0, 0, 2, good_set, bad_partition,
     HV_STATUS_INVALID_PARTITION_ID},
    {"post message", 0x005C, 256, 0, 0, 0, 0, 0, 0, good_post, bad_type, INVALID_PARAMETER},
    {"signal event", 0x005D, 8, 0, 0, 0, 0, 0, 0, good_signal, bad_signal, INVALID_PARAMETER},
    {"retarget", 0x007E, 56, 0, 65, 0, 0, 0, 0, good_retarget, bad_retarget, INVALID_PARAMETER},
    {"start", 0x0099, 240, 0, 0, 0, 0, 0, 0, good_start, bad_vp, HV_STATUS_INVALID_VP_INDEX},
    {"apic id", 0x009A, 16, 0, 0, 8, 8, 0, 2, good_apic_id, bad_partition,
     HV_STATUS_INVALID_PARTITION_ID},
    {"gpa flush space", 0x00AF, 16, 0, 0, 0, 0, 0, 0, good_nested, bad_flags, INVALID_PARAMETER},
    {"gpa flush list", 0x00B0, 16, 0, 0, 8, 0, 0, 2, good_nested, bad_flags, INVALID_PARAMETER},
    {"capabilities", 0x8001, 0, 0, 0, 0, 0, 8, 0, nothing, NULL, 0},
    {"zeroed memory", 0x8002, 0, 0, 0, 0, 0, 4088, 0, nothing, NULL, 0},
};

/* Three ways a memory block can be misplaced. */
enum misplaced { MISALIGNED, ACROSS, BEYOND, MISPLACED_KINDS };

static struct fixture with_all, without, without_xmm;

static void begin(struct fixture *fixture, const char *features)
{
    fixture_prepare(fixture);
    fixture->features = features;
    fixture->config.vp_count = PRESENT;
    fixture_start(fixture);
}

static int start(void **state)
{
    (void)state;
    begin(&with_all, WITH_XMM);
    begin(&without, "vpindex=off,xmm-input,xmm-output");
    begin(&without_xmm, EVERY_CALL);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    fixture_stop(&with_all);
    fixture_stop(&without);
    fixture_stop(&without_xmm);
    return 0;
}

static void build(const struct row *row, struct guest_call *call)
{
    guest_prepare(call, row->code, row->header + 8 * row->variable + row->reps * row->element_in,
                  row->output ? row->output : row->reps * row->element_out);
    call->variable = row->variable;
    call->reps = row->reps;
    row->good(call->input.qwords);
}

static uint64_t misplaced(enum misplaced how, uint64_t gpa, uint32_t size)
{
    switch (how) {
    case MISALIGNED:
        return gpa + 4;
    case ACROSS:
        /* Eight aligned bytes cannot cross. */
        return gpa + HVTLFS_PAGE_SIZE - (size > 8 ? (size - 1) & ~7u : 4);
    case BEYOND:
    case MISPLACED_KINDS:
    default:
        return GUEST_BEYOND;
    }
}

/* Whether the registers hold the call; what it needs of them. */
static bool fits_registers(const struct guest_call *call)
{
    return ((call->input_size + 15) & ~15u) + call->output_size <= FAST_BLOCK_SIZE;
}

static bool needs_xmm(const struct guest_call *call)
{
    return call->input_size > 16 || call->output_size;
}

static void apply(const struct row *row, struct guest_call *call, enum fault fault, unsigned how)
{
    switch (fault) {
    case FAULT_RESERVED:
        call->extra |= UINT64_C(1) << (how % 3 == 0 ? 27 : how % 3 == 1 ? 44 : 63);
        break;
    case FAULT_VARIABLE:
        call->variable = row->variable_most + 1;
        break;
    case FAULT_REPS:
        call->start = row->reps;
        call->reps = row->reps ? (how % 2 ? 0 : row->reps) : 1;
        break;
    case FAULT_PLACE:
        if (row->header) {
            call->input_gpa = misplaced((enum misplaced)how, GUEST_INPUT, call->input_size);
        } else {
            call->output_gpa = misplaced((enum misplaced)how, GUEST_OUTPUT, call->output_size);
        }
        break;
    case FAULT_MAPPING:
        if (row->header) {
            call->input_gpa += call->input_gpa < GUEST_UNMAPPED ? GUEST_UNMAPPED : 0;
        } else {
            call->output_gpa += call->output_gpa < GUEST_UNMAPPED ? GUEST_UNMAPPED : 0;
        }
        break;
    case FAULT_VALUE:
        if (row->bad) {
            row->bad(call->input.qwords);
        }
        break;
    case FAULT_PRIVILEGE:
    case FAULT_NONE:
    default:
        break;
    }
}

/* Where no connection exists, and none can be named, a good call is told so. */
static uint16_t good_status(const struct row *row)
{
    return row->code == HvCallPostMessage || row->code == HvCallSignalEvent
               ? HV_STATUS_INVALID_CONNECTION_ID
               : HV_STATUS_SUCCESS;
}

struct expected {
    enum hvtlfs_hypercall_result result;
    uint16_t status;
};

static struct expected expect(const struct row *row, const struct guest_call *good,
                              const struct guest_call *call, enum fault fault, bool xmm)
{
    const struct expected undefined = {HVTLFS_HYPERCALL_UD, 0};
    const struct expected intercept = {HVTLFS_HYPERCALL_INTERCEPT, 0};
    struct expected done = {HVTLFS_HYPERCALL_DONE, HV_STATUS_SUCCESS};

    if (fault == FAULT_PRIVILEGE) {
        done.status = HV_STATUS_ACCESS_DENIED;
        return done;
    }
    if (fault <= FAULT_REPS) {
        done.status = HV_STATUS_INVALID_HYPERCALL_INPUT;
        return done;
    }
    if (call->fast) {
        if (needs_xmm(good) && !xmm) {
            return undefined;
        }
        if (good->output_size && call->mode != HVTLFS_MODE_LONG64) {
            return undefined;
        }
        if (!fits_registers(good)) {
            done.status = HV_STATUS_INVALID_HYPERCALL_INPUT;
            return done;
        }
    } else if (fault == FAULT_PLACE) {
        done.status = HV_STATUS_INVALID_ALIGNMENT;
        return done;
    } else if (fault == FAULT_MAPPING) {
        return intercept;
    }
    done.status = fault <= FAULT_VALUE && row->bad ? row->bad_status : good_status(row);
    return done;
}

static void check(const struct row *row, enum hvtlfs_cpu_mode mode, bool fast, enum fault first,
                  unsigned how)
{
    bool xmm = !(fast && first == FAULT_PLACE);
    struct fixture *fixture = first == FAULT_PRIVILEGE ? &without : xmm ? &with_all : &without_xmm;
    struct guest_call good, call;
    struct guest_answer answer;
    struct expected expected;
    int fault;

    build(row, &good);
    call = good;
    call.mode = mode;
    call.fast = fast;
    for (fault = (int)first; fault < FAULT_NONE; fault++) {
        apply(row, &call, (enum fault)fault, how);
    }
    expected = expect(row, &good, &call, first, xmm);
    model_host_clear_events(fixture->host);
    guest_make(fixture, &call, &answer);
    if (answer.result != expected.result || answer.status != expected.status) {
        fail_msg("%s, mode %d, fast %d, fault %d, way %u: result %d status %#x, not %d %#x",
                 row->name, (int)mode, fast, (int)first, how, (int)answer.result, answer.status,
                 (int)expected.result, expected.status);
    }
    if (expected.result != HVTLFS_HYPERCALL_DONE || expected.status != HV_STATUS_SUCCESS) {
        /* No footprint. */
        assert_int_equal(model_host_event_count(fixture->host), 0);
        assert_int_equal(answer.reps, 0);
    } else {
        assert_int_equal(answer.reps, row->reps);
    }
    if (expected.result == HVTLFS_HYPERCALL_INTERCEPT) {
        assert_int_equal(answer.regs.changed, 0);
        assert_int_equal(answer.regs.fault_gpa, row->header ? call.input_gpa : call.output_gpa);
        assert_int_equal(answer.regs.fault_access,
                         row->header ? HVTLFS_ACCESS_READ : HVTLFS_ACCESS_WRITE);
    }
}

static void the_first_bad_field_decides(void **state)
{
    static const enum hvtlfs_cpu_mode modes[] = {HVTLFS_MODE_LONG64, HVTLFS_MODE_PROTECTED32};
    unsigned mode, fast, how;
    size_t i;
    int first;

    (void)state;
    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (mode = 0; mode < 2; mode++) {
            for (fast = 0; fast < 2; fast++) {
                for (first = FAULT_PRIVILEGE; first <= FAULT_NONE; first++) {
                    for (how = 0; how < MISPLACED_KINDS; how++) {
                        check(&rows[i], modes[mode], fast, (enum fault)first, how);
                    }
                }
            }
        }
    }
}

/* TLFS 3.7: each reserved bit alone, and the nested flag of either layout. */
static void every_reserved_bit_is_refused(void **state)
{
    const uint64_t reserved = UINT64_C(0xF000F00078000000);
    struct guest_answer answer;
    struct guest_call call;
    unsigned bit, fast;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (bit = 17; bit < 64; bit++) {
            for (fast = 0; fast < 2; fast++) {
                build(&rows[i], &call);
                call.fast = fast;
                call.extra = UINT64_C(1) << bit;
                if (call.extra & reserved) {
                    guest_make(&with_all, &call, &answer);
                    assert_int_equal(answer.result, HVTLFS_HYPERCALL_DONE);
                    assert_int_equal(answer.status, HV_STATUS_INVALID_HYPERCALL_INPUT);
                    assert_int_equal(answer.reps, 0);
                }
            }
        }
    }
}

static void the_nested_flag_of_both_layouts_is_for_guests_that_nest(void **state)
{
    static const unsigned bits[] = {26, 31};
    struct fixture plain;
    struct guest_answer answer;
    struct guest_call call;
    size_t i, bit;

    (void)state;
    begin(&plain, WITH_XMM ",nested-flush=off");
    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (bit = 0; bit < 2; bit++) {
            build(&rows[i], &call);
            call.extra = UINT64_C(1) << bits[bit];
            guest_make(&with_all, &call, &answer);
            assert_int_equal(answer.status, good_status(&rows[i]));
            guest_make(&plain, &call, &answer);
            assert_int_equal(answer.status, rows[i].code == 0xAF || rows[i].code == 0xB0
                                                ? HV_STATUS_ACCESS_DENIED
                                                : HV_STATUS_INVALID_HYPERCALL_INPUT);
        }
    }
    fixture_stop(&plain);
}

/* TLFS 3.6: a block may end where the page ends. */
static void a_block_may_end_with_its_page(void **state)
{
    struct guest_answer answer;
    struct guest_call call;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        build(&rows[i], &call);
        call.input_gpa += HVTLFS_PAGE_SIZE - ((call.input_size + 7) & ~7u);
        call.output_gpa += HVTLFS_PAGE_SIZE - ((call.output_size + 7) & ~7u);
        guest_make(&with_all, &call, &answer);
        assert_int_equal(answer.status, good_status(&rows[i]));
    }
}

/* B8: the address of a block that the call does not have is not looked at. */
static void an_unused_address_is_ignored(void **state)
{
    struct guest_answer answer;
    struct guest_call call;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        build(&rows[i], &call);
        if (!call.input_size) {
            call.input_gpa = GUEST_BEYOND + 3;
        }
        if (!call.output_size) {
            call.output_gpa = GUEST_BEYOND + 3;
        }
        guest_make(&with_all, &call, &answer);
        assert_int_equal(answer.status, good_status(&rows[i]));
    }
}

/* A rep count of 4095 fits no page and no registers: refused at once, whatever the call. */
static void a_list_of_4095_elements_is_refused_without_work(void **state)
{
    struct guest_answer answer;
    struct guest_call call;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (!rows[i].reps) {
            continue;
        }
        build(&rows[i], &call);
        call.reps = 4095;
        model_host_clear_events(with_all.host);
        guest_make(&with_all, &call, &answer);
        assert_int_equal(answer.status, HV_STATUS_INVALID_ALIGNMENT);
        call.fast = true;
        guest_make(&with_all, &call, &answer);
        assert_int_equal(answer.status, HV_STATUS_INVALID_HYPERCALL_INPUT);
        assert_int_equal(model_host_event_count(with_all.host), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_bad_field_decides),
        cmocka_unit_test(every_reserved_bit_is_refused),
        cmocka_unit_test(the_nested_flag_of_both_layouts_is_for_guests_that_nest),
        cmocka_unit_test(a_block_may_end_with_its_page),
        cmocka_unit_test(an_unused_address_is_ignored),
        cmocka_unit_test(a_list_of_4095_elements_is_refused_without_work),
    };

    return cmocka_run_group_tests(tests, start, stop);
}
