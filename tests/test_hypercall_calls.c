/* SPDX-License-Identifier: MIT */
/* What each call means: flushes (9.4, 16.13), IPIs (10.5), VPs (7.10), extended calls (3.14). */
#include "guest_call.h"

#include <hvtlfs/flush.h>
#include <hvtlfs/names.h>

/* VPs 0 to 2, 63, 64, 130 and 4095. */
static const struct hvtlfs_vp_config vps[] = {
    {0, 0}, {1, 0x10000}, {2, 2}, {63, 0xFFFFFFFE}, {64, 64}, {130, 0x80000000}, {4095, 1},
};

#define VP_COUNT (sizeof(vps) / sizeof(vps[0]))

static struct fixture fixture;
static struct guest_call call;
static struct guest_answer answer;
static bool queued;
static uint32_t policy;
static const struct hvtlfs_call_handler *host_calls;
static uint32_t host_call_count;

static void adjust(struct hvtlfs_config *config)
{
    if (queued) {
        model_host_queue_flushes(&config->ops);
    }
    config->policy = policy;
    config->calls = host_calls;
    config->call_count = host_call_count;
}

static void start_with(const char *features)
{
    fixture_prepare(&fixture);
    fixture.features = features;
    fixture.config.vp_count = VP_COUNT;
    fixture.config.vps = vps;
    fixture.adjust = adjust;
    fixture_start(&fixture);
}

static int start(void **state)
{
    (void)state;
    queued = false;
    policy = 0;
    host_calls = NULL;
    host_call_count = 0;
    start_with(WITH_XMM);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    fixture_stop(&fixture);
    return 0;
}

static void restart(const char *features)
{
    fixture_stop(&fixture);
    start_with(features);
}

static uint16_t make(void)
{
    model_host_clear_events(fixture.host);
    guest_make(&fixture, &call, &answer);
    assert_int_equal(answer.result, HVTLFS_HYPERCALL_DONE);
    return answer.status;
}

/* The only request made. */
static struct model_event only(enum model_event_kind kind)
{
    struct model_event event = {0};

    assert_int_equal(model_host_event_count(fixture.host), 1);
    assert_true(model_host_event(fixture.host, 0, &event));
    assert_int_equal(event.kind, kind);
    assert_int_equal(event.vp_index, 0);
    return event;
}

static void nothing_happened(void)
{
    assert_int_equal(model_host_event_count(fixture.host), 0);
}

/* ---- Flushes ---- */

static void prepare_flush(uint64_t space, uint64_t flags, uint64_t mask)
{
    guest_prepare(&call, HvCallFlushVirtualAddressSpace, 24, 0);
    call.input.qwords[0] = space;
    call.input.qwords[1] = flags;
    call.input.qwords[2] = mask;
}

static void prepare_flush_ex(uint64_t flags, uint64_t format, uint64_t valid, uint32_t banks)
{
    guest_prepare(&call, HvCallFlushVirtualAddressSpaceEx, 32 + 8 * banks, 0);
    call.variable = banks;
    call.input.qwords[0] = 0x1000;
    call.input.qwords[1] = flags;
    call.input.qwords[2] = format;
    call.input.qwords[3] = valid;
}

static void a_flush_reaches_the_present_vps_of_its_mask(void **state)
{
    struct model_event event;

    (void)state;
    prepare_flush(0x1000, 0, UINT64_C(0x800000000000FFF5));
    assert_int_equal(make(), HV_STATUS_SUCCESS);
    event = only(MODEL_EVENT_FLUSH);
    assert_int_equal(event.values[0], 0x1000);
    assert_int_equal(event.values[1], 0);
    assert_int_equal(event.values[2], 0);
    assert_int_equal(event.values[3], 0);
    assert_int_equal(event.values[4], 3); /* 0, 2 and 63; absent VPs are nobody's TLB */
    assert_int_equal(event.values[5], UINT64_C(0x8000000000000005));
}

static void flush_flags_are_handed_on(void **state)
{
    struct model_event event;

    (void)state;
    prepare_flush(0, HV_FLUSH_ALL_PROCESSORS | HV_FLUSH_ALL_VIRTUAL_ADDRESS_SPACES |
                         HV_FLUSH_NON_GLOBAL_MAPPINGS_ONLY, 0);
    assert_int_equal(make(), HV_STATUS_SUCCESS);
    event = only(MODEL_EVENT_FLUSH);
    assert_int_equal(event.values[1], 1);
    assert_int_equal(event.values[2], 1);
    assert_int_equal(event.values[4], VP_COUNT);
}

static void every_other_flush_flag_is_refused(void **state)
{
    unsigned bit;

    (void)state;
    for (bit = 3; bit < 64; bit++) { /* bit 3 is for lists */
        prepare_flush(0, UINT64_C(1) << bit, 1);
        assert_int_equal(make(), HV_STATUS_INVALID_PARAMETER);
        prepare_flush_ex(UINT64_C(1) << bit | HV_FLUSH_ALL_PROCESSORS, 0, 0, 0);
        assert_int_equal(make(), HV_STATUS_INVALID_PARAMETER);
        nothing_happened();
    }
    for (bit = 2; bit < 64; bit++) {
        if (bit != 3) {
            prepare_flush(0, UINT64_C(1) << bit, 1);
            call.code = HvCallFlushVirtualAddressList;
            call.reps = 1;
            call.input_size = 32;
            assert_int_equal(make(), HV_STATUS_INVALID_PARAMETER);
            assert_int_equal(answer.reps, 0);
            nothing_happened();
        }
    }
}

static void a_flush_of_mask_0_does_nothing(void **state)
{
    (void)state;
    prepare_flush(0x1000, 0, 0);
    assert_int_equal(make(), HV_STATUS_SUCCESS);
    nothing_happened();
    prepare_flush(0x1000, 0, 0xFF8); /* none of them present */
    assert_int_equal(make(), HV_STATUS_SUCCESS);
    nothing_happened();
}

static void mask_0_is_all_for_windows_server_2012(void **state)
{
    (void)state;
    policy = HVTLFS_POLICY_FLUSH_MASK_0_IS_ALL;
    restart(WITH_XMM);
    prepare_flush(0x1000, 0, 0);
    assert_int_equal(make(), HV_STATUS_SUCCESS);
    assert_int_equal(only(MODEL_EVENT_FLUSH).values[4], VP_COUNT);
    prepare_flush(0x1000, 0, 0xFF8);
    assert_int_equal(make(), HV_STATUS_SUCCESS);
    nothing_happened();
    prepare_flush_ex(0, HvGenericSetSparse4k, 0, 0); /* sparse sets have no such history */
    assert_int_equal(make(), HV_STATUS_SUCCESS);
    nothing_happened();
}

static void a_sparse_set_reaches_every_bank(void **state)
{
    struct model_event event;
    uint32_t bank;

    (void)state;
    prepare_flush_ex(0, HvGenericSetSparse4k, UINT64_MAX, 64);
    for (bank = 0; bank < 64; bank++) {
        call.input.qwords[4 + bank] = UINT64_MAX;
    }
    assert_int_equal(make(), HV_STATUS_SUCCESS);
    event = only(MODEL_EVENT_FLUSH);
    assert_int_equal(event.values[4], VP_COUNT);
    prepare_flush_ex(0, HvGenericSetSparse4k, 0x05, 2); /* W051 */
    call.input.qwords[4] = 0x21;
    call.input.qwords[5] = 0x04;
    assert_int_equal(make(), HV_STATUS_SUCCESS);
    event = only(MODEL_EVENT_FLUSH);
    assert_int_equal(event.values[4], 2);
    assert_int_equal(event.values[5], 1);
}

static void the_set_of_all_and_the_flag_for_all_need_no_banks(void **state)
{
    (void)state;
    prepare_flush_ex(0, HvGenericSetAll, 0, 0);
    assert_int_equal(make(), HV_STATUS_SUCCESS);
    assert_int_equal(only(MODEL_EVENT_FLUSH).values[4], VP_COUNT);
    /* 9.4.3: with the flag the set is ignored, whatever it says. */
    prepare_flush_ex(HV_FLUSH_ALL_PROCESSORS, 77, 0x1234, 0);
    assert_int_equal(make(), HV_STATUS_SUCCESS);
    assert_int_equal(only(MODEL_EVENT_FLUSH).values[4], VP_COUNT);
}

static void banks_that_are_announced_and_missing_are_refused(void **state)
{
    uint32_t announced, given;

    (void)state;
    for (announced = 0; announced <= 5; announced++) {
        for (given = 0; given <= 5; given++) {
            prepare_flush_ex(0, HvGenericSetSparse4k, (UINT64_C(1) << announced) - 1, given);
            assert_int_equal(make(), announced == given ? HV_STATUS_SUCCESS
                                                        : HV_STATUS_INVALID_PARAMETER);
            nothing_happened();
        }
    }
}

static void range_formats(void **state)
{
    static const struct {
        uint64_t entry;
        bool extended;
        struct hvtlfs_flush_range range;
    } rows[] = {
        {0x7000, false, {0x7000, 1, 0x1000}},
        {0x7FFF, false, {0x7000, 4096, 0x1000}}, /* W056 */
        {0xFFFFFFFFFFFFF001, false, {0xFFFFFFFFFFFFF000, 2, 0x1000}},
        {0x77FF, true, {0x7000, 2048, 0x1000}},
        {0x600803, true, {0x600000, 4, 0x200000}},
        {0x80001800, true, {0x80000000, 1, 0x40000000}},
        {0x80201800, true, {0x80000000, 1, 0x40000000}},
    };
    struct hvtlfs_flush_range range;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        hvtlfs_flush_range_decode(rows[i].entry, rows[i].extended, &range);
        assert_int_equal(range.address, rows[i].range.address);
        assert_int_equal(range.page_count, rows[i].range.page_count);
        assert_int_equal(range.page_size, rows[i].range.page_size);
    }
}

static void prepare_list(uint64_t flags, uint64_t mask, uint32_t count)
{
    uint32_t i;

    prepare_flush(0x1000, flags, mask);
    call.code = HvCallFlushVirtualAddressList;
    call.input_size = 24 + 8 * count;
    call.reps = count;
    for (i = 0; i < count; i++) {
        call.input.qwords[3 + i] = UINT64_C(0x1000) * (i + 1);
    }
}

static void the_extended_format_needs_its_feature(void **state)
{
    (void)state;
    prepare_list(HV_FLUSH_USE_EXTENDED_RANGE_FORMAT, 1, 1);
    assert_int_equal(make(), HV_STATUS_SUCCESS);
    restart(WITH_XMM ",tlbflush-ext=off");
    assert_int_equal(make(), HV_STATUS_INVALID_PARAMETER);
    nothing_happened();
}

/* ---- Queues ---- */

static void restart_queued(void)
{
    queued = true;
    restart(WITH_XMM);
}

static void queued_ranges_come_out_in_order(void **state)
{
    struct hvtlfs_vp *target;
    struct hvtlfs_flush_item item;
    uint32_t i;

    (void)state;
    restart_queued();
    target = hvtlfs_partition_vp(fixture.partition, 2);
    assert_false(hvtlfs_flush_take(target, &item));
    prepare_list(HV_FLUSH_ALL_VIRTUAL_ADDRESS_SPACES, 4, 3);
    assert_int_equal(make(), HV_STATUS_SUCCESS);
    assert_int_equal(only(MODEL_EVENT_FLUSH_QUEUED).values[1], 4);
    for (i = 0; i < 3; i++) {
        assert_true(hvtlfs_flush_take(target, &item));
        assert_false(item.everything);
        assert_true(item.all_address_spaces);
        assert_int_equal(item.range.address, UINT64_C(0x1000) * (i + 1));
        assert_int_equal(item.range.page_count, 1);
    }
    assert_false(hvtlfs_flush_take(target, &item));
    assert_false(hvtlfs_flush_take(fixture.vp, &item)); /* it was no target */
}

static void a_queue_that_overflows_becomes_one_full_flush(void **state)
{
    struct hvtlfs_flush_item item;
    uint32_t list, total, round;

    (void)state;
    restart_queued();
    for (round = 0; round < 5; round++) {
        for (list = 1; list <= 40; list++) {
            for (total = 0; total + list <= HVTLFS_FLUSH_QUEUE_SIZE; total += list) {
                prepare_list(0, 1, list);
                assert_int_equal(make(), HV_STATUS_SUCCESS);
            }
            prepare_list(0, 1, list);
            assert_int_equal(make(), HV_STATUS_SUCCESS);
            assert_true(hvtlfs_flush_take(fixture.vp, &item));
            assert_true(item.everything);
            assert_false(hvtlfs_flush_take(fixture.vp, &item));
        }
    }
}

static void a_full_flush_ends_the_ranges_before_it(void **state)
{
    struct hvtlfs_flush_item item;

    (void)state;
    restart_queued();
    prepare_list(0, 1, 3);
    assert_int_equal(make(), HV_STATUS_SUCCESS);
    prepare_flush(0x1000, 0, 1);
    assert_int_equal(make(), HV_STATUS_SUCCESS);
    assert_true(hvtlfs_flush_take(fixture.vp, &item));
    assert_true(item.everything);
    assert_false(hvtlfs_flush_take(fixture.vp, &item));
}

static void a_full_flush_waits_for_each_target_alone(void **state)
{
    struct hvtlfs_flush_item item;
    size_t i;

    (void)state;
    restart_queued();
    prepare_flush(0, HV_FLUSH_ALL_PROCESSORS, 0);
    assert_int_equal(make(), HV_STATUS_SUCCESS);
    for (i = 0; i < VP_COUNT; i++) {
        struct hvtlfs_vp *vp = hvtlfs_partition_vp(fixture.partition, vps[i].vp_index);

        assert_true(hvtlfs_flush_take(vp, &item));
        assert_true(item.everything);
        assert_false(hvtlfs_flush_take(vp, &item));
    }
}

static void a_reset_empties_the_queue(void **state)
{
    struct hvtlfs_flush_item item;

    (void)state;
    restart_queued();
    prepare_list(0, 1, 3);
    assert_int_equal(make(), HV_STATUS_SUCCESS);
    hvtlfs_vp_reset(fixture.vp);
    assert_false(hvtlfs_flush_take(fixture.vp, &item));
    assert_int_equal(make(), HV_STATUS_SUCCESS);
    assert_true(hvtlfs_flush_take(fixture.vp, &item));
    assert_false(item.everything);
}

static void without_queues_nothing_waits(void **state)
{
    struct hvtlfs_flush_item item;

    (void)state;
    prepare_flush(0, HV_FLUSH_ALL_PROCESSORS, 0);
    assert_int_equal(make(), HV_STATUS_SUCCESS);
    assert_false(hvtlfs_flush_take(fixture.vp, &item));
}

/* ---- Nested flushes, address space ---- */

static void nested_flushes_are_the_hosts(void **state)
{
    struct model_event event;

    (void)state;
    guest_prepare(&call, HvCallFlushGuestPhysicalAddressSpace, 16, 0);
    call.input.qwords[0] = 0xABC000;
    assert_int_equal(make(), HV_STATUS_SUCCESS);
    event = only(MODEL_EVENT_GPA_FLUSH);
    assert_int_equal(event.values[0], 0xABC000);
    assert_int_equal(event.values[1], 0);
    call.code = HvCallFlushGuestPhysicalAddressList;
    call.reps = 2;
    call.input_size = 32;
    assert_int_equal(make(), HV_STATUS_SUCCESS);
    assert_int_equal(only(MODEL_EVENT_GPA_FLUSH).values[1], 2);
    model_host_set_answer(fixture.host, HVTLFS_ANSWER_STATE);
    assert_int_equal(make(), HV_STATUS_INVALID_VP_STATE);
    assert_int_equal(answer.reps, 0);
    model_host_set_answer(fixture.host, HVTLFS_ANSWER_VALUE);
    assert_int_equal(make(), HV_STATUS_INVALID_PARAMETER);
}

static void switching_the_address_space_is_the_hosts(void **state)
{
    (void)state;
    guest_prepare(&call, HvCallSwitchVirtualAddressSpace, 8, 0);
    call.input.qwords[0] = 0x77000;
    assert_int_equal(make(), HV_STATUS_SUCCESS);
    assert_int_equal(only(MODEL_EVENT_SWITCH).values[0], 0x77000);
    model_host_set_answer(fixture.host, HVTLFS_ANSWER_VALUE);
    assert_int_equal(make(), HV_STATUS_INVALID_PARAMETER);
}

/* ---- IPIs ---- */

static void prepare_ipi(uint64_t first, uint64_t mask)
{
    guest_prepare(&call, HvCallSendSyntheticClusterIpi, 16, 0);
    call.input.qwords[0] = first;
    call.input.qwords[1] = mask;
}

static void an_ipi_interrupts_each_present_target(void **state)
{
    struct hvtlfs_interrupt interrupt;
    size_t i;

    (void)state;
    prepare_ipi(0x31, UINT64_MAX);
    assert_int_equal(make(), HV_STATUS_SUCCESS);
    for (i = 0; i < VP_COUNT; i++) {
        bool target = vps[i].vp_index < 64;

        assert_int_equal(model_host_interrupt_count(fixture.host, vps[i].vp_index), target);
        if (target) {
            assert_true(
                model_host_take_interrupt(fixture.host, vps[i].vp_index, &interrupt));
            assert_int_equal(interrupt.vector, 0x31);
            assert_false(interrupt.auto_eoi);
            assert_false(interrupt.nmi);
        }
    }
}

/* W058 */
static void ipi_vectors_are_16_to_255(void **state)
{
    uint64_t vector;

    (void)state;
    for (vector = 0; vector < 0x200; vector++) {
        prepare_ipi(vector, 1);
        assert_int_equal(make(), vector >= 0x10 && vector <= 0xFF ? HV_STATUS_SUCCESS
                                                                  : HV_STATUS_INVALID_PARAMETER);
    }
}

static void an_ipi_is_for_vtl_0_and_has_no_reserved_bits(void **state)
{
    unsigned bit;

    (void)state;
    for (bit = 32; bit < 64; bit++) {
        prepare_ipi(0x31 | UINT64_C(1) << bit, 1);
        /* Bit 36: "use the target VTL", which is 0. */
        assert_int_equal(make(), bit == 36 ? HV_STATUS_SUCCESS : HV_STATUS_INVALID_PARAMETER);
    }
}

static void an_ipi_to_a_sparse_set_and_to_all(void **state)
{
    (void)state;
    guest_prepare(&call, HvCallSendSyntheticClusterIpiEx, 32, 0);
    call.variable = 1;
    call.input.qwords[0] = 0x40;
    call.input.qwords[2] = UINT64_C(1) << 63;
    call.input.qwords[3] = UINT64_C(1) << 63 | 1; /* 4095, and 4032, which is absent */
    assert_int_equal(make(), HV_STATUS_SUCCESS);
    assert_int_equal(model_host_event_count(fixture.host), 1);
    assert_int_equal(model_host_interrupt_count(fixture.host, 4095), 1);
    call.input.qwords[1] = HvGenericSetAll;
    assert_int_equal(make(), HV_STATUS_SUCCESS);
    assert_int_equal(model_host_event_count(fixture.host), VP_COUNT);
}

/* ---- Registers ---- */

static uint16_t get_register(uint32_t name, uint64_t *low, uint64_t *high)
{
    guest_prepare(&call, HvCallGetVpRegisters, 20, 16);
    call.reps = 1;
    call.input.qwords[0] = HV_PARTITION_ID_SELF;
    call.input.qwords[1] = HV_VP_INDEX_SELF;
    call.input.qwords[2] = name;
    make();
    *low = guest_output64(&answer, 0);
    *high = guest_output64(&answer, 8);
    return answer.status;
}

static uint16_t set_register(uint32_t name, uint64_t low, uint64_t high)
{
    guest_prepare(&call, HvCallSetVpRegisters, 48, 0);
    call.reps = 1;
    call.input.qwords[0] = HV_PARTITION_ID_SELF;
    call.input.qwords[1] = HV_VP_INDEX_SELF;
    call.input.qwords[2] = name;
    call.input.qwords[4] = low;
    call.input.qwords[5] = high;
    return make();
}

static void leaf_registers_are_the_leaves(void **state)
{
    static const struct {
        uint32_t name;
        uint32_t leaf;
    } rows[] = {
        {HvRegisterHypervisorVersion, 2},         {HvRegisterPrivilegesAndFeaturesInfo, 3},
        {HvRegisterFeaturesInfo, 4},              {HvRegisterImplementationLimitsInfo, 5},
        {HvRegisterHardwareFeaturesInfo, 6},      {HvRegisterNestedVirtFeaturesInfo, 10},
    };
    struct hvtlfs_cpuid_regs leaf;
    uint64_t low, high;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_true(hvtlfs_cpuid(fixture.vp, 0x40000000 + rows[i].leaf, 0, &leaf));
        assert_int_equal(get_register(rows[i].name, &low, &high), HV_STATUS_SUCCESS);
        assert_int_equal(low, (uint64_t)leaf.ebx << 32 | leaf.eax);
        assert_int_equal(high, (uint64_t)leaf.edx << 32 | leaf.ecx);
        assert_int_equal(set_register(rows[i].name, low, high), HV_STATUS_ACCESS_DENIED);
    }
}

static void synthetic_registers_are_the_msrs(void **state)
{
    uint64_t low, high, msr;

    (void)state;
    assert_int_equal(set_register(HvRegisterGuestOsId, LINUX_ID, 0), HV_STATUS_SUCCESS);
    assert_int_equal(hvtlfs_msr_read(fixture.vp, HV_X64_MSR_GUEST_OS_ID, &msr), HVTLFS_MSR_DONE);
    assert_int_equal(msr, LINUX_ID);
    assert_int_equal(get_register(HvRegisterGuestOsId, &low, &high), HV_STATUS_SUCCESS);
    assert_int_equal(low, LINUX_ID);
    assert_int_equal(high, 0);
    assert_int_equal(get_register(HvRegisterVpIndex, &low, &high), HV_STATUS_SUCCESS);
    assert_int_equal(low, 0);
    /* What faults as an MSR is a bad value here; 128 bits are too many. */
    assert_int_equal(set_register(HvRegisterVpIndex, 1, 0), HV_STATUS_INVALID_REGISTER_VALUE);
    assert_int_equal(set_register(HvRegisterGuestOsId, 1, 1), HV_STATUS_INVALID_REGISTER_VALUE);
    assert_int_equal(set_register(HvX64RegisterHypercall, UINT64_C(1) << 60 | 1, 0),
                     HV_STATUS_INVALID_REGISTER_VALUE);
}

/* The gates of the MSRs are the gates here; nothing that is off can be told from what is not there. */
static void registers_of_features_that_are_off_are_denied(void **state)
{
    uint64_t low, high;

    (void)state;
    assert_int_equal(get_register(HvRegisterSint0, &low, &high), HV_STATUS_ACCESS_DENIED);
    assert_int_equal(set_register(HvRegisterSint0, 0x10000, 0), HV_STATUS_ACCESS_DENIED);
    assert_int_equal(get_register(HvRegisterGuestCrashCtl, &low, &high), HV_STATUS_ACCESS_DENIED);
}

/* Requirements document p. 10: the host lets the interrupt in after the call as after a WRMSR. */
static void an_ipi_by_register_is_a_success(void **state)
{
    static const uint64_t commands[] = {
        0x40031,                       /* shorthand "self" */
        UINT64_C(1) << 32 | 0x31,      /* another VP */
        0x80031,                       /* shorthand "all" */
    };
    struct model_event event;
    size_t i;

    (void)state;
    restart(WITH_XMM ",vapic");
    for (i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        assert_int_equal(set_register(HvX64RegisterSyntheticIcr, commands[i], 0),
                         HV_STATUS_SUCCESS);
        assert_int_equal(answer.reps, 1);
        event = only(MODEL_EVENT_APIC_WRITE);
        assert_int_equal(event.values[0], HVTLFS_APIC_ICR);
        assert_int_equal(event.values[1], commands[i]);
    }
    assert_int_equal(set_register(HvX64RegisterSyntheticIcr, 0x40031, 1),
                     HV_STATUS_INVALID_REGISTER_VALUE);
    nothing_happened();
}

/* Reading it suspends the VP (7.5); a list of registers has no place to wait. */
static void guest_idle_is_no_register_of_a_list(void **state)
{
    uint64_t low = 0, high = 0;

    (void)state;
    restart(WITH_XMM ",guest-idle");
    assert_int_equal(get_register(HvRegisterGuestIdle, &low, &high), HV_STATUS_ACCESS_DENIED);
    assert_int_equal(answer.reps, 0);
    assert_int_equal(set_register(HvRegisterGuestIdle, 0, 0), HV_STATUS_ACCESS_DENIED);
    nothing_happened();
}

static void architectural_registers_are_the_hosts(void **state)
{
    uint64_t low, high;

    (void)state;
    model_host_set_register(fixture.host, 0, HvX64RegisterCs,
                            (struct hvtlfs_register){{0x1234, 0x5678}});
    assert_int_equal(get_register(HvX64RegisterCs, &low, &high), HV_STATUS_SUCCESS);
    assert_int_equal(low, 0x1234);
    assert_int_equal(high, 0x5678);
    assert_int_equal(set_register(HvX64RegisterCr3, 0x9000, 0), HV_STATUS_SUCCESS);
    assert_int_equal(model_host_register(fixture.host, 0, HvX64RegisterCr3).half[0], 0x9000);
    model_host_set_answer(fixture.host, HVTLFS_ANSWER_VALUE);
    assert_int_equal(set_register(HvX64RegisterCr3, 0xA000, 0), HV_STATUS_INVALID_REGISTER_VALUE);
    assert_int_equal(get_register(HvX64RegisterCr3, &low, &high), HV_STATUS_INVALID_PARAMETER);
    model_host_set_answer(fixture.host, HVTLFS_ANSWER_DENIED);
    assert_int_equal(set_register(HvX64RegisterCr3, 0xA000, 0), HV_STATUS_ACCESS_DENIED);
    assert_int_equal(get_register(HvX64RegisterCr3, &low, &high), HV_STATUS_ACCESS_DENIED);
}

/* A number has a name and is ours, the host's or denied; or it has none and is a bad parameter. */
static void every_register_has_an_answer(void **state)
{
    uint64_t low, high;
    uint32_t name;

    (void)state;
    for (name = 0; name < 0x100000; name += hvtlfs_register_name(name + 1) || name % 16 ? 1 : 16) {
        uint16_t status = get_register(name, &low, &high);
        bool named = hvtlfs_register_name(name) != NULL;

        if (!named) {
            assert_int_equal(status, HV_STATUS_INVALID_PARAMETER);
            assert_int_equal(set_register(name, 0, 0), HV_STATUS_INVALID_PARAMETER);
        } else {
            assert_true(status == HV_STATUS_SUCCESS || status == HV_STATUS_ACCESS_DENIED);
        }
    }
}

static void registers_belong_to_the_caller(void **state)
{
    uint64_t low, high;

    (void)state;
    assert_int_equal(get_register(HvRegisterVpIndex, &low, &high), HV_STATUS_SUCCESS);
    call.input.qwords[1] = 0; /* itself, by number */
    assert_int_equal(make(), HV_STATUS_SUCCESS);
    call.input.qwords[1] = 1; /* another VP */
    assert_int_equal(make(), HV_STATUS_ACCESS_DENIED);
    call.input.qwords[1] = 3; /* absent */
    assert_int_equal(make(), HV_STATUS_INVALID_VP_INDEX);
    call.input.qwords[1] = HV_ANY_VP;
    assert_int_equal(make(), HV_STATUS_INVALID_VP_INDEX);
    call.input.qwords[1] = HV_VP_INDEX_SELF | UINT64_C(1) << 32; /* VTL 1 */
    assert_int_equal(make(), HV_STATUS_INVALID_PARAMETER);
    call.input.qwords[1] = HV_VP_INDEX_SELF | UINT64_C(0x10) << 32; /* VTL 0, said aloud */
    assert_int_equal(make(), HV_STATUS_SUCCESS);
    call.input.qwords[1] = HV_VP_INDEX_SELF | UINT64_C(1) << 40; /* reserved */
    assert_int_equal(make(), HV_STATUS_INVALID_PARAMETER);
    assert_int_equal(set_register(HvX64RegisterCr3, 1, 0), HV_STATUS_SUCCESS);
    guest_put(&call, 16 + 4, 1, 1); /* reserved */
    assert_int_equal(make(), HV_STATUS_INVALID_PARAMETER);
}

static void an_error_in_a_set_keeps_what_was_set_before(void **state)
{
    (void)state;
    guest_prepare(&call, HvCallSetVpRegisters, 16 + 3 * 32, 0);
    call.reps = 3;
    call.input.qwords[0] = HV_PARTITION_ID_SELF;
    call.input.qwords[1] = HV_VP_INDEX_SELF;
    call.input.qwords[2] = HvX64RegisterCr3;
    call.input.qwords[4] = 0x3000;
    call.input.qwords[6] = 0x7FFFFFFF;
    call.input.qwords[10] = HvX64RegisterCr4;
    assert_int_equal(make(), HV_STATUS_INVALID_PARAMETER);
    assert_int_equal(answer.reps, 1);
    assert_int_equal(model_host_register(fixture.host, 0, HvX64RegisterCr3).half[0], 0x3000);
    assert_int_equal(model_host_events_of(fixture.host, MODEL_EVENT_SET_REGISTER), 1);
}

/* ---- VPs ---- */

static void each_apic_id_has_its_vp(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; i < VP_COUNT; i++) {
        guest_prepare(&call, HvCallGetVpIndexFromApicId, 24, 8);
        call.reps = 1;
        call.input.qwords[0] = HV_PARTITION_ID_SELF;
        call.input.qwords[2] = vps[i].apic_id;
        assert_int_equal(make(), HV_STATUS_SUCCESS);
        assert_int_equal(guest_output32(&answer, 0), vps[i].vp_index);
        assert_memory_equal(answer.output + 4, "\0\0\0\0", 4);
    }
    call.input.qwords[2] = 3;
    assert_int_equal(make(), HV_STATUS_INVALID_PARAMETER);
    call.input.qwords[1] = 1; /* VTL 1 */
    assert_int_equal(make(), HV_STATUS_INVALID_PARAMETER);
}

/* The qword of a field of the VP's context. */
#define START_FIELD(field) (offsetof(struct hv_input_start_virtual_processor, vp_context.field) / 8)

static void starting_a_vp_is_the_hosts(void **state)
{
    static const struct {
        enum hvtlfs_answer answer;
        uint16_t status;
    } rows[] = {
        {HVTLFS_ANSWER_OK, HV_STATUS_SUCCESS},
        {HVTLFS_ANSWER_VALUE, HV_STATUS_INVALID_REGISTER_VALUE},
        {HVTLFS_ANSWER_STATE, HV_STATUS_INVALID_VP_STATE},
        {HVTLFS_ANSWER_UNKNOWN, HV_STATUS_ACCESS_DENIED},
        {HVTLFS_ANSWER_DENIED, HV_STATUS_ACCESS_DENIED},
    };
    struct model_event event;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        guest_prepare(&call, HvCallStartVirtualProcessor, 240, 0);
        call.input.qwords[0] = HV_PARTITION_ID_SELF;
        call.input.qwords[1] = 130;
        call.input.qwords[START_FIELD(rip)] = 0x123456789A;
        call.input.qwords[START_FIELD(cr3)] = 0x5000;
        model_host_set_answer(fixture.host, rows[i].answer);
        assert_int_equal(make(), rows[i].status);
        event = only(MODEL_EVENT_START_VP);
        assert_int_equal(event.values[0], 130);
        assert_int_equal(event.values[1], 0x123456789A);
        assert_int_equal(event.values[2], 0x5000);
    }
    model_host_set_answer(fixture.host, HVTLFS_ANSWER_OK);
    guest_put(&call, 12, 1, 1); /* VTL 1 */
    assert_int_equal(make(), HV_STATUS_INVALID_VTL_STATE);
    call.input.qwords[1] = HV_VP_INDEX_SELF;
    assert_int_equal(make(), HV_STATUS_INVALID_VP_INDEX);
    nothing_happened();
}

/* ---- Interrupt targets ---- */

static void prepare_retarget(uint64_t target, uint64_t mask)
{
    guest_prepare(&call, HvCallRetargetDeviceInterrupt, 56, 0);
    call.input.qwords[0] = HV_PARTITION_ID_SELF;
    call.input.qwords[1] = 0xD0D0;
    call.input.qwords[2] = HV_INTERRUPT_SOURCE_MSI;
    call.input.qwords[3] = UINT64_C(0x4031) << 32 | 0xFEE00000;
    call.input.qwords[5] = target;
    call.input.qwords[6] = mask;
}

static void retargeting_is_the_hosts(void **state)
{
    struct model_event event;

    (void)state;
    prepare_retarget(UINT64_C(1) << 32 | 0x31, 6);
    assert_int_equal(make(), HV_STATUS_SUCCESS);
    event = only(MODEL_EVENT_RETARGET);
    assert_int_equal(event.values[0], 0xD0D0);
    assert_int_equal(event.values[1], 0x31);
    assert_int_equal(event.values[2], 1);
    assert_int_equal(event.values[3], 2);
    assert_int_equal(event.values[4], 6);
    model_host_set_answer(fixture.host, HVTLFS_ANSWER_UNKNOWN);
    assert_int_equal(make(), HV_STATUS_INVALID_DEVICE_ID);
    model_host_set_answer(fixture.host, HVTLFS_ANSWER_DENIED);
    assert_int_equal(make(), HV_STATUS_OPERATION_DENIED);
    model_host_set_answer(fixture.host, HVTLFS_ANSWER_VALUE);
    assert_int_equal(make(), HV_STATUS_INVALID_PARAMETER);
}

/* The variable part begins behind the Format: a mask and its banks. */
static void retargeting_to_a_set(void **state)
{
    (void)state;
    prepare_retarget(UINT64_C(2) << 32 | 0x31, HvGenericSetSparse4k);
    call.variable = 3;
    call.input_size += 24;
    call.input.qwords[7] = 0x05;
    call.input.qwords[8] = 0x21;
    call.input.qwords[9] = 0x04;
    assert_int_equal(make(), HV_STATUS_SUCCESS);
    assert_int_equal(only(MODEL_EVENT_RETARGET).values[3], 2);
    call.variable = 2;
    assert_int_equal(make(), HV_STATUS_INVALID_PARAMETER);
    call.variable = 0;
    assert_int_equal(make(), HV_STATUS_INVALID_PARAMETER);
    prepare_retarget(0x31, 1); /* a mask has no variable part */
    call.variable = 1;
    call.input_size += 8;
    assert_int_equal(make(), HV_STATUS_INVALID_PARAMETER);
}

static void retargeting_refuses_what_makes_no_sense(void **state)
{
    uint32_t byte;

    (void)state;
    prepare_retarget(0x0F, 1);
    assert_int_equal(make(), HV_STATUS_INVALID_PARAMETER);
    prepare_retarget(0x100, 1);
    assert_int_equal(make(), HV_STATUS_INVALID_PARAMETER);
    prepare_retarget(UINT64_C(4) << 32 | 0x31, 1); /* unknown flag */
    assert_int_equal(make(), HV_STATUS_INVALID_PARAMETER);
    prepare_retarget(0x31, 8); /* nobody there */
    assert_int_equal(make(), HV_STATUS_INVALID_PARAMETER);
    prepare_retarget(0x31, 1);
    call.input.qwords[2] = 2; /* no MSI */
    assert_int_equal(make(), HV_STATUS_INVALID_PARAMETER);
    for (byte = 20; byte < 40; byte += byte == 23 ? 9 : 1) { /* behind the source; 10.5.4's own */
        prepare_retarget(0x31, 1);
        guest_put(&call, byte, 1, 1);
        assert_int_equal(make(), HV_STATUS_INVALID_PARAMETER);
    }
    nothing_happened();
}

/* ---- Extended calls ---- */

static void capabilities_are_what_the_host_has(void **state)
{
    (void)state;
    guest_prepare(&call, HvExtCallQueryCapabilities, 0, 8);
    assert_int_equal(make(), HV_STATUS_SUCCESS);
    assert_int_equal(guest_output64(&answer, 0), 1);
    call.fast = true; /* output without input: RDX */
    assert_int_equal(make(), HV_STATUS_SUCCESS);
    assert_int_equal(answer.regs.changed, HVTLFS_CHANGED_RAX | HVTLFS_CHANGED_RDX);
    assert_int_equal(answer.regs.rdx, 1);
}

static void boot_zeroed_memory_is_a_count_and_ranges(void **state)
{
    static const uint32_t counts[] = {0, 1, 254, 255, 300};
    uint32_t expected, n;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        model_host_set_zeroed_ranges(fixture.host, counts[i]);
        guest_prepare(&call, HvExtCallGetBootZeroedMemory, 0, 4088);
        assert_int_equal(make(), HV_STATUS_SUCCESS);
        expected = counts[i] < 255 ? counts[i] : 255;
        assert_int_equal(guest_output64(&answer, 0), expected);
        for (n = 0; n < expected; n++) {
            assert_int_equal(guest_output64(&answer, 8 + 16 * n), 16 * n);
            assert_int_equal(guest_output64(&answer, 16 + 16 * n), n + 1);
        }
    }
}

static void without_zeroed_memory(struct hvtlfs_config *config)
{
    config->ops.boot_zeroed_memory = NULL;
}

static void a_capability_that_is_not_there_is_no_call(void **state)
{
    (void)state;
    fixture_stop(&fixture);
    fixture_prepare(&fixture);
    fixture.features = WITH_XMM;
    fixture.adjust = without_zeroed_memory;
    fixture_start(&fixture);
    guest_prepare(&call, HvExtCallQueryCapabilities, 0, 8);
    assert_int_equal(make(), HV_STATUS_SUCCESS);
    assert_int_equal(guest_output64(&answer, 0), 0);
    guest_prepare(&call, HvExtCallGetBootZeroedMemory, 0, 4088);
    assert_int_equal(make(), HV_STATUS_INVALID_HYPERCALL_CODE);
    guest_prepare(&call, HvExtCallMemoryHeatHint, 0, 0);
    assert_int_equal(make(), HV_STATUS_INVALID_HYPERCALL_CODE);
}

/* ---- Codes without an implementation ---- */

/* A guest has no place among parents, and none of the privileges: denied, whatever it sends. */
static void what_needs_a_privilege_we_never_give_is_denied(void **state)
{
    static const uint16_t codes[] = {0x0004, 0x0009, 0x000C, 0x000D, 0x000E, 0x000F, 0x0010, 0x0011,
                                     0x0012, 0x0040, 0x0046, 0x0048, 0x004B, 0x0052, 0x0058, 0x0060,
                                     0x0069, 0x006C, 0x0076, 0x008F, 0x0094, 0x0096};
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        guest_prepare(&call, codes[i], 0, 0);
        call.input_gpa = GUEST_BEYOND + 1;
        call.extra = UINT64_C(1) << 63;
        assert_int_equal(make(), HV_STATUS_ACCESS_DENIED);
        assert_int_equal(answer.reps, 0);
    }
}

static void every_code_is_answered_without_work(void **state)
{
    uint32_t code;

    (void)state;
    restart("");
    for (code = 0; code < 0x10000; code++) {
        guest_prepare(&call, (uint16_t)code, 0, 0);
        make();
        if (!hvtlfs_call_name((uint16_t)code)) {
            assert_int_equal(answer.status, HV_STATUS_INVALID_HYPERCALL_CODE);
        } else if (code != HvCallGetVpIndexFromApicId) {
            assert_true(answer.status == HV_STATUS_INVALID_HYPERCALL_CODE ||
                        answer.status == HV_STATUS_ACCESS_DENIED);
        }
        nothing_happened();
    }
}

/* ---- The host's own ---- */

static uint16_t host_sum(void *context, struct hvtlfs_host_call *frame)
{
    uint64_t numbers[2], sum;

    (void)context;
    assert_int_equal(frame->code, 0x0046);
    assert_int_equal(frame->header_size, 16);
    memcpy(numbers, frame->header, sizeof(numbers));
    numbers[0] = model_le64(numbers[0]);
    numbers[1] = model_le64(numbers[1]);
    sum = model_le64(numbers[0] + numbers[1] + frame->vp_index);
    memcpy(frame->output, &sum, sizeof(sum));
    return numbers[0] == 13 ? HV_STATUS_OPERATION_DENIED : HV_STATUS_SUCCESS;
}

static uint16_t host_double(void *context, struct hvtlfs_host_call *frame)
{
    const uint8_t *in = frame->elements;
    uint8_t *out = frame->output;

    (void)context;
    for (; frame->done < frame->count; frame->done++) {
        uint32_t value = in[2 * frame->done] | (uint32_t)in[2 * frame->done + 1] << 8;

        if (value == 0xFFFF) {
            return HV_STATUS_NO_DATA;
        }
        out[frame->done] = (uint8_t)(2 * value);
    }
    return HV_STATUS_SUCCESS;
}

static const struct hvtlfs_call_handler own[] = {
    {.code = 0x0046, .header = 16, .output = 8, .handle = host_sum},
    {.code = 0xBADD, .rep = true, .element_in = 2, .element_out = 1, .handle = host_double},
};

static void a_host_answers_what_the_library_leaves_alone(void **state)
{
    uint32_t i;

    (void)state;
    host_calls = own;
    host_call_count = 2;
    restart(WITH_XMM);
    guest_prepare(&call, 0x0046, 16, 8);
    call.input.qwords[0] = 30;
    call.input.qwords[1] = 12;
    assert_int_equal(make(), HV_STATUS_SUCCESS);
    assert_int_equal(guest_output64(&answer, 0), 42);
    call.fast = true;
    assert_int_equal(make(), HV_STATUS_SUCCESS);
    assert_int_equal(answer.regs.xmm[0].half[0], 42);
    call.input.qwords[0] = 13;
    assert_int_equal(make(), HV_STATUS_OPERATION_DENIED);
    assert_int_equal(answer.regs.changed, HVTLFS_CHANGED_RAX);
    guest_prepare(&call, 0xBADD, 2 * 200, 200);
    call.reps = 200;
    for (i = 0; i < 200; i++) {
        guest_put(&call, 2 * i, 2, i & 0xFF);
    }
    assert_int_equal(make(), HV_STATUS_SUCCESS);
    assert_int_equal(answer.continued, 3); /* the default budget is 64 */
    for (i = 0; i < 200; i++) {
        assert_int_equal(answer.output[i], (uint8_t)(2 * i));
    }
    guest_put(&call, 2 * 150, 2, 0xFFFF);
    assert_int_equal(make(), HV_STATUS_NO_DATA);
    assert_int_equal(answer.reps, 150);
    call.reps = 0;
    assert_int_equal(make(), HV_STATUS_INVALID_HYPERCALL_INPUT);
}

/* Fills as many bytes of its output as the first byte of its input says. */
static uint16_t host_fill(void *context, struct hvtlfs_host_call *frame)
{
    (void)context;
    memset(frame->output, 0xAA,
           *(const uint8_t *)(frame->count ? frame->elements : frame->header));
    frame->done = 1;
    return frame->count == 2 ? HV_STATUS_NO_DATA : HV_STATUS_SUCCESS;
}

static const struct hvtlfs_call_handler fillers[] = {
    {.code = 0x0046, .header = 8, .output = 64, .handle = host_fill},
    {.code = 0xBADD, .rep = true, .element_in = 8, .element_out = 32, .handle = host_fill},
};

static void expect_filled(uint32_t fill, uint32_t size)
{
    uint32_t i;

    for (i = 0; i < size; i++) {
        assert_int_equal(answer.output[i], i < fill ? 0xAA : 0);
    }
}

/* Neither the stack nor what an earlier call put there reaches the guest. */
static void what_a_host_leaves_out_of_its_output_is_0(void **state)
{
    static const uint8_t fills[] = {32, 4, 0, 31, 9};
    size_t i;
    int fast;

    (void)state;
    host_calls = fillers;
    host_call_count = 2;
    restart(WITH_XMM);
    for (fast = 0; fast < 2; fast++) {
        for (i = 0; i < sizeof(fills) / sizeof(fills[0]); i++) {
            guest_prepare(&call, 0x0046, 8, 64);
            call.fast = fast;
            guest_put(&call, 0, 1, 64);
            assert_int_equal(make(), HV_STATUS_SUCCESS);
            expect_filled(64, 64);
            guest_put(&call, 0, 1, fills[i]);
            assert_int_equal(make(), HV_STATUS_SUCCESS);
            expect_filled(fills[i], 64);
            guest_prepare(&call, 0xBADD, 8, 32);
            call.fast = fast;
            call.reps = 1;
            guest_put(&call, 0, 1, fills[i]);
            assert_int_equal(make(), HV_STATUS_SUCCESS);
            expect_filled(fills[i], 32);
        }
    }
}

/* Writes its output first, then reads header and element: they are what the guest gave. */
static uint16_t host_largest(void *context, struct hvtlfs_host_call *frame)
{
    const uint8_t *element = frame->elements;
    uint8_t *output = frame->output;
    uint32_t i;

    (void)context;
    memset(output, 0xAA, 64);
    for (i = 0; i < 72; i++) {
        uint64_t qword;

        memcpy(&qword, (const uint8_t *)frame->header + (size_t)8 * i, sizeof(qword));
        assert_int_equal(model_le64(qword), 0x1000 + i);
    }
    for (i = 0; i < 64; i++) {
        output[i] = (uint8_t)(element[i] + element[95 - i / 2]);
    }
    frame->done = frame->count;
    return HV_STATUS_SUCCESS;
}

/* 576 bytes of header, 96 of an element, 64 of output: the most of everything at once. */
static void a_host_can_have_the_most_of_everything(void **state)
{
    static const struct hvtlfs_call_handler largest = {.code = 0xBADD,
                                                       .rep = true,
                                                       .header = 576,
                                                       .element_in = 96,
                                                       .element_out = 64,
                                                       .handle = host_largest};
    uint32_t i;
    uint32_t k;

    (void)state;
    host_calls = &largest;
    host_call_count = 1;
    restart(WITH_XMM);
    guest_prepare(&call, 0xBADD, 576 + 5 * 96, 5 * 64);
    call.reps = 5;
    for (i = 0; i < 72; i++) {
        guest_put(&call, 8 * i, 8, 0x1000 + i);
    }
    for (k = 0; k < 5; k++) {
        for (i = 0; i < 96; i++) {
            guest_put(&call, 576 + 96 * k + i, 1, (7 * i + k) % 256);
        }
    }
    assert_int_equal(make(), HV_STATUS_SUCCESS);
    assert_int_equal(answer.reps, 5);
    for (k = 0; k < 5; k++) {
        for (i = 0; i < 64; i++) {
            assert_int_equal(answer.output[64 * k + i],
                             (uint8_t)(7 * i + k + 7 * (95 - i / 2) + k));
        }
    }
}

static const void *seen_elements;

static uint16_t host_look(void *context, struct hvtlfs_host_call *frame)
{
    (void)context;
    seen_elements = frame->elements;
    return HV_STATUS_SUCCESS;
}

/* Not even after a list, in the same stack. */
static void a_simple_call_has_no_elements(void **state)
{
    static const struct hvtlfs_call_handler looks[] = {
        {.code = 0x0046, .header = 8, .handle = host_look},
        {.code = 0xBADD, .rep = true, .element_in = 8, .handle = host_look},
    };
    int fast;

    (void)state;
    host_calls = looks;
    host_call_count = 2;
    restart(WITH_XMM);
    for (fast = 0; fast < 2; fast++) {
        guest_prepare(&call, 0xBADD, 8, 0);
        call.reps = 1;
        assert_int_equal(make(), HV_STATUS_SUCCESS);
        assert_non_null(seen_elements);
        guest_prepare(&call, 0x0046, 8, 0);
        call.fast = fast;
        assert_int_equal(make(), HV_STATUS_SUCCESS);
        assert_null(seen_elements);
    }
}

/* A list without input: its output begins in RDX and R8. */
static uint16_t host_ones(void *context, struct hvtlfs_host_call *frame)
{
    (void)context;
    memset(frame->output, 0x11, 8 * frame->count);
    return HV_STATUS_SUCCESS;
}

static void output_of_a_list_names_each_register_that_it_changes(void **state)
{
    static const struct hvtlfs_call_handler row = {
        .code = 0xBADD, .rep = true, .element_out = 8, .handle = host_ones};
    static const uint32_t changed[] = {
        0,
        HVTLFS_CHANGED_RDX,
        HVTLFS_CHANGED_RDX | HVTLFS_CHANGED_R8,
        HVTLFS_CHANGED_RDX | HVTLFS_CHANGED_R8 | HVTLFS_CHANGED_XMM,
    };
    const uint64_t made = UINT64_C(0x1111111111111111), kept = UINT64_C(0xC3C3C3C3C3C3C3C3);
    uint32_t count;

    (void)state;
    host_calls = &row;
    host_call_count = 1;
    restart(WITH_XMM);
    for (count = 1; count <= 3; count++) {
        guest_prepare(&call, 0xBADD, 0, 8 * count);
        call.fast = true;
        call.reps = count;
        assert_int_equal(make(), HV_STATUS_SUCCESS);
        assert_int_equal(answer.regs.changed, HVTLFS_CHANGED_RAX | changed[count]);
        assert_int_equal(answer.regs.rdx, made);
        assert_int_equal(answer.regs.r8, count > 1 ? made : kept);
        assert_int_equal(answer.regs.xmm[0].half[0], count > 2 ? made : kept);
        assert_int_equal(answer.regs.xmm[0].half[1], kept);
    }
}

/* Registers of elements that were not done are the guest's own (3.9). */
static void elements_a_host_has_not_done_leave_their_registers_alone(void **state)
{
    struct hvtlfs_hypercall_regs before;

    (void)state;
    host_calls = fillers;
    host_call_count = 2;
    restart(WITH_XMM);
    guest_prepare(&call, 0xBADD, 16, 64);
    call.fast = true;
    call.reps = 2;
    guest_put(&call, 0, 1, 40); /* into the element that fails */
    before = guest_regs(&call);
    assert_int_equal(make(), HV_STATUS_NO_DATA);
    assert_int_equal(answer.reps, 1);
    expect_filled(32, 32);
    assert_memory_equal(&answer.regs.xmm[2], &before.xmm[2], 16 * 4);
}

static void a_hosts_row_that_cannot_be_used_is_refused(void **state)
{
    static const struct hvtlfs_call_handler bad[] = {
        {.code = HvCallFlushVirtualAddressSpace, .handle = host_sum},
        {.code = 0xBADD},
        {.code = 0xBADD, .header = 12, .handle = host_sum},
        {.code = 0xBADD, .header = 584, .handle = host_sum},
        {.code = 0xBADD, .header = 512, .variable_most = 9, .handle = host_sum},
        {.code = 0xBADD, .output = 65, .handle = host_sum},
        {.code = 0xBADD, .element_in = 8, .handle = host_sum},
        {.code = 0xBADD, .rep = true, .element_in = 97, .handle = host_sum},
        {.code = 0xBADD, .rep = true, .element_out = 65, .handle = host_sum},
        {.code = 0xBADD, .rep = true, .output = 8, .handle = host_sum},
    };
    const struct hvtlfs_call_handler twice[] = {own[0], own[0]};
    struct hvtlfs_config config = fixture.config;
    struct hvtlfs_error error;
    size_t i, size;

    (void)state;
    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        config.calls = &bad[i];
        config.call_count = 1;
        assert_int_equal(hvtlfs_partition_size(&config, &size, &error), HVTLFS_ERR_HOST_CALL);
        assert_int_equal(error.value, bad[i].code);
    }
    config.calls = twice;
    config.call_count = 2;
    assert_int_equal(hvtlfs_partition_size(&config, &size, &error), HVTLFS_ERR_HOST_CALL);
    config.call_count = HVTLFS_MAX_HOST_CALLS + 1;
    assert_int_equal(hvtlfs_partition_size(&config, &size, &error), HVTLFS_ERR_HOST_CALL);
    config.call_count = 1;
    config.calls = NULL;
    assert_int_equal(hvtlfs_partition_size(&config, &size, &error), HVTLFS_ERR_HOST_CALL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_flush_reaches_the_present_vps_of_its_mask),
        TEST(flush_flags_are_handed_on),
        TEST(every_other_flush_flag_is_refused),
        TEST(a_flush_of_mask_0_does_nothing),
        TEST(mask_0_is_all_for_windows_server_2012),
        TEST(a_sparse_set_reaches_every_bank),
        TEST(the_set_of_all_and_the_flag_for_all_need_no_banks),
        TEST(banks_that_are_announced_and_missing_are_refused),
        TEST(range_formats),
        TEST(the_extended_format_needs_its_feature),
        TEST(queued_ranges_come_out_in_order),
        TEST(a_queue_that_overflows_becomes_one_full_flush),
        TEST(a_full_flush_ends_the_ranges_before_it),
        TEST(a_full_flush_waits_for_each_target_alone),
        TEST(a_reset_empties_the_queue),
        TEST(without_queues_nothing_waits),
        TEST(nested_flushes_are_the_hosts),
        TEST(switching_the_address_space_is_the_hosts),
        TEST(an_ipi_interrupts_each_present_target),
        TEST(ipi_vectors_are_16_to_255),
        TEST(an_ipi_is_for_vtl_0_and_has_no_reserved_bits),
        TEST(an_ipi_to_a_sparse_set_and_to_all),
        TEST(leaf_registers_are_the_leaves),
        TEST(synthetic_registers_are_the_msrs),
        TEST(registers_of_features_that_are_off_are_denied),
        TEST(an_ipi_by_register_is_a_success),
        TEST(guest_idle_is_no_register_of_a_list),
        TEST(architectural_registers_are_the_hosts),
        TEST(every_register_has_an_answer),
        TEST(registers_belong_to_the_caller),
        TEST(an_error_in_a_set_keeps_what_was_set_before),
        TEST(each_apic_id_has_its_vp),
        TEST(starting_a_vp_is_the_hosts),
        TEST(retargeting_is_the_hosts),
        TEST(retargeting_to_a_set),
        TEST(retargeting_refuses_what_makes_no_sense),
        TEST(capabilities_are_what_the_host_has),
        TEST(boot_zeroed_memory_is_a_count_and_ranges),
        TEST(a_capability_that_is_not_there_is_no_call),
        TEST(what_needs_a_privilege_we_never_give_is_denied),
        TEST(every_code_is_answered_without_work),
        TEST(a_host_answers_what_the_library_leaves_alone),
        TEST(what_a_host_leaves_out_of_its_output_is_0),
        TEST(a_host_can_have_the_most_of_everything),
        TEST(a_simple_call_has_no_elements),
        TEST(output_of_a_list_names_each_register_that_it_changes),
        TEST(elements_a_host_has_not_done_leave_their_registers_alone),
        TEST(a_hosts_row_that_cannot_be_used_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
