/* SPDX-License-Identifier: MIT */
/*
 * What follows from a host's callbacks and numbers alone: which needs they meet, which features are in
 * force then, the bounds of a configuration; and when the host is asked for a deadline.
 */
#include "fixture.h"

#include <hvtlfs/time.h>

#include "state.h"

/* ---- Callbacks ---- */

static void nothing(void)
{
}

/* Some function, whatever its type: it is never called. */
static void give(struct hvti_host *host, size_t offset)
{
    void (*any)(void) = nothing;

    memcpy((char *)&host->ops + offset, &any, sizeof(any));
}

#define OP(name) (offsetof(struct hvtlfs_host_ops, name))
#define NONE SIZE_MAX

/* src/host.h has the callbacks of each need beside it. */
static const struct {
    size_t one;
    size_t other; /* NONE: one is enough */
    uint32_t needs;
} given[] = {
    {OP(host_time), NONE, BIT32(HVTI_NEED_CLOCK)},
    {OP(guest_tsc), NONE, BIT32(HVTI_NEED_TSC)},
    {OP(tsc_emulation), NONE, BIT32(HVTI_NEED_TSC_EMULATION)},
    {OP(apic_read), NONE, 0},
    {OP(apic_write), NONE, 0},
    {OP(apic_read), OP(apic_write), BIT32(HVTI_NEED_APIC)},
    {OP(request_interrupt), NONE, BIT32(HVTI_NEED_INTERRUPT)},
    {OP(kick), NONE, BIT32(HVTI_NEED_KICK)},
    {OP(overlay_set), NONE, 0},
    {OP(overlay_clear), NONE, 0},
    {OP(overlay_set), OP(overlay_clear), BIT32(HVTI_NEED_SHARED_PAGES)},
    {OP(gpa_compare_exchange), NONE, BIT32(HVTI_NEED_SHARED_PAGES)},
    {OP(arm_deadline), NONE, BIT32(HVTI_NEED_DEADLINE)},
    {OP(vp_runtime), NONE, BIT32(HVTI_NEED_RUNTIME)},
    {OP(spin_wait), NONE, BIT32(HVTI_NEED_SPIN_WAIT)},
    {OP(system_reset), NONE, BIT32(HVTI_NEED_RESET)},
    {OP(crash), NONE, BIT32(HVTI_NEED_CRASH)},
    {OP(npiep), NONE, BIT32(HVTI_NEED_NPIEP)},
    {OP(stats_page), NONE, BIT32(HVTI_NEED_STATS)},
    {OP(debug_read), NONE, 0},
    {OP(debug_write), NONE, 0},
    {OP(debug_read), OP(debug_write), BIT32(HVTI_NEED_DEBUG)},
    {OP(tlb_flush), NONE, BIT32(HVTI_NEED_TLB_FLUSH)},
    {OP(tlb_flush_queued), NONE, BIT32(HVTI_NEED_TLB_FLUSH)},
    {OP(switch_address_space), NONE, BIT32(HVTI_NEED_ADDRESS_SPACE)},
    {OP(flush_guest_physical), NONE, BIT32(HVTI_NEED_GPA_FLUSH)},
    {OP(start_vp), NONE, BIT32(HVTI_NEED_START_VP)},
    {OP(retarget_interrupt), NONE, BIT32(HVTI_NEED_RETARGET)},
    {OP(send_ipi), NONE, 0}, /* request_interrupt does the same */
    {OP(trace), NONE, 0},
    {OP(gpa_read), OP(gpa_write), 0},
};

static void test_each_need_is_met_by_its_callbacks(void **state)
{
    struct hvti_host host = {.context = NULL};

    (void)state;
    assert_int_equal(hvti_host_needs_met(&host), 0);
    for (size_t i = 0; i < sizeof(given) / sizeof(given[0]); i++) {
        memset(&host, 0, sizeof(host));
        give(&host, given[i].one);
        if (given[i].other != NONE) {
            give(&host, given[i].other);
        }
        assert_int_equal(hvti_host_needs_met(&host), given[i].needs);
    }
}

/* An older caller's struct ends earlier; what it does not have is NULL, whatever was in memory. */
static void test_a_host_copied_from_a_shorter_struct_has_no_more(void **state)
{
    struct hvti_host source = {.context = NULL};
    struct hvti_host host;

    (void)state;
    give(&source, OP(kick));
    give(&source, OP(retarget_interrupt));
    source.ops.size = OP(retarget_interrupt);
    memset(&host, 0xA5, sizeof(host));
    hvti_host_copy(&host, &source.ops, &source);
    assert_int_equal(host.ops.size, sizeof(host.ops));
    assert_ptr_equal(host.context, &source);
    assert_int_equal(hvti_host_needs_met(&host), BIT32(HVTI_NEED_KICK));
    source.ops.size = sizeof(source.ops) + 64; /* a later caller's */
    hvti_host_copy(&host, &source.ops, &source);
    assert_int_equal(host.ops.size, sizeof(host.ops));
    assert_int_equal(hvti_host_needs_met(&host), BIT32(HVTI_NEED_KICK) | BIT32(HVTI_NEED_RETARGET));
}

static void test_a_host_without_a_lock_is_not_asked_for_one(void **state)
{
    struct fixture fixture;

    (void)state;
    fixture_prepare(&fixture);
    fixture.options.lock = MODEL_LOCK_ABSENT;
    fixture_start(&fixture);
    assert_null(fixture.config.ops.lock);
    expect_write(fixture.vp, HV_X64_MSR_GUEST_OS_ID, LINUX_ID);
    expect_write(fixture.vp, HV_X64_MSR_HYPERCALL, 0x5001);
    expect_read(fixture.vp, HV_X64_MSR_HYPERCALL, 0x5001);
    fixture_stop(&fixture);
}

/* ---- Numbers ---- */

static struct {
    uint64_t tsc_hz, apic_hz;
    bool invariant_tsc, host_time, guest_tsc;
} numbers;

static void set_numbers(struct hvtlfs_config *config)
{
    config->tsc_hz = numbers.tsc_hz;
    config->apic_hz = numbers.apic_hz;
    config->invariant_tsc = numbers.invariant_tsc;
    if (!numbers.host_time) {
        config->ops.host_time = NULL;
    }
    if (!numbers.guest_tsc) {
        config->ops.guest_tsc = NULL;
    }
}

static bool in_force(const char *features, enum hvtlfs_feature feature)
{
    struct fixture fixture;
    bool on;

    fixture_prepare(&fixture);
    fixture.features = features;
    fixture.adjust = set_numbers;
    fixture_start(&fixture);
    on = !hvtlfs_feature_why_off(fixture.partition, feature);
    fixture_stop(&fixture);
    return on;
}

/* Above 10 MHz, the rate of reference time; invariant; and the library can read it. */
static void test_only_a_tsc_to_rely_on_is_a_clock(void **state)
{
    (void)state;
    numbers.apic_hz = 0;
    numbers.tsc_hz = 10000001;
    numbers.invariant_tsc = numbers.guest_tsc = true;
    numbers.host_time = false;
    assert_true(in_force("time-ref-count", HVTLFS_FEATURE_TIME_REF_COUNT));
    numbers.tsc_hz = 10000000;
    assert_false(in_force("time-ref-count", HVTLFS_FEATURE_TIME_REF_COUNT));
    numbers.tsc_hz = 0;
    assert_false(in_force("time-ref-count", HVTLFS_FEATURE_TIME_REF_COUNT));
    numbers.tsc_hz = 1000000000;
    numbers.guest_tsc = false;
    assert_false(in_force("time-ref-count", HVTLFS_FEATURE_TIME_REF_COUNT));
    numbers.guest_tsc = true;
    numbers.invariant_tsc = false;
    assert_false(in_force("time-ref-count", HVTLFS_FEATURE_TIME_REF_COUNT));
    numbers.host_time = true;
    assert_true(in_force("time-ref-count", HVTLFS_FEATURE_TIME_REF_COUNT));
}

static void test_frequencies_are_both_or_none(void **state)
{
    (void)state;
    numbers.invariant_tsc = numbers.guest_tsc = numbers.host_time = true;
    for (int i = 0; i < 4; i++) {
        numbers.tsc_hz = i & 1 ? 1000000000 : 0;
        numbers.apic_hz = i & 2 ? 200000000 : 0;
        assert_int_equal(in_force("frequencies", HVTLFS_FEATURE_FREQUENCIES), i == 3);
    }
}

static void test_an_invariant_tsc_and_its_emulation_need_their_numbers(void **state)
{
    (void)state;
    numbers.guest_tsc = numbers.host_time = true;
    numbers.apic_hz = 200000000;
    numbers.tsc_hz = 1000000000;
    numbers.invariant_tsc = false;
    assert_false(in_force("tsc-invariant", HVTLFS_FEATURE_TSC_INVARIANT));
    assert_true(in_force("time,frequencies,reenlightenment", HVTLFS_FEATURE_REENLIGHTENMENT));
    numbers.invariant_tsc = true;
    assert_true(in_force("tsc-invariant", HVTLFS_FEATURE_TSC_INVARIANT));
    numbers.tsc_hz = 0;
    assert_false(in_force("time,frequencies,reenlightenment", HVTLFS_FEATURE_REENLIGHTENMENT));
}

/* ---- Bounds ---- */

static void test_the_defaults_are_those_of_the_manual(void **state)
{
    struct hvtlfs_config config;

    (void)state;
    memset(&config, 0xA5, sizeof(config));
    hvtlfs_config_init(&config);
    assert_int_equal(config.size, sizeof(config));
    assert_int_equal(config.ops.size, sizeof(config.ops));
    assert_int_equal(config.vp_count, 1);
    assert_string_equal(config.vendor, "Microsoft Hv");
    assert_int_equal(config.cpuid_base, 0x40000000);
    assert_int_equal(config.gpa_bits, 40);
    assert_int_equal(config.trap, HVTLFS_TRAP_NONE);
    assert_int_equal(config.hypercall_reps, 64);
    assert_int_equal(config.hypercall_time, 500);
    assert_int_equal(config.connection_count, 16);
    assert_int_equal(config.message_buffers, 0);
    hvtlfs_config_init(NULL);
}

static struct hvtlfs_config a_config(struct model_host **host)
{
    struct model_host_options options;
    struct hvtlfs_config config;

    model_host_options_init(&options);
    options.ram_size = 1 << 16;
    *host = model_host_create(&options);
    assert_non_null(*host);
    hvtlfs_config_init(&config);
    model_host_configure(*host, &config);
    return config;
}

static void expect_size(const struct hvtlfs_config *config, enum hvtlfs_status status,
                        const char *name, uint64_t value, uint64_t limit)
{
    struct hvtlfs_error error = {.name = NULL};
    size_t size = 0;

    assert_int_equal(hvtlfs_partition_size(config, &size, &error), status);
    assert_int_equal(size != 0, status == HVTLFS_OK);
    if (status) {
        assert_string_equal(error.name, name);
        expect_numbers(&error, value, limit);
    }
}

/* Each bound itself is good, and the next number is not. */
static void test_every_bound_belongs_to_what_is_good(void **state)
{
    struct model_host *host;
    struct hvtlfs_config good = a_config(&host);
    struct hvtlfs_config config = good;

    (void)state;
    config.connection_count = HVTLFS_MAX_CONNECTIONS;
    expect_size(&config, HVTLFS_OK, NULL, 0, 0);
    config.connection_count++;
    expect_size(&config, HVTLFS_ERR_ARGUMENT, "connection_count", HVTLFS_MAX_CONNECTIONS + 1,
                HVTLFS_MAX_CONNECTIONS);
    config = good;
    config.message_buffers = HVTLFS_MAX_MESSAGE_BUFFERS;
    expect_size(&config, HVTLFS_OK, NULL, 0, 0);
    config.message_buffers++;
    expect_size(&config, HVTLFS_ERR_ARGUMENT, "message_buffers", HVTLFS_MAX_MESSAGE_BUFFERS + 1,
                HVTLFS_MAX_MESSAGE_BUFFERS);
    config = good;
    config.cpuid_base = 0x4000FF00;
    expect_size(&config, HVTLFS_OK, NULL, 0, 0);
    config.cpuid_base = 0x40010000;
    expect_size(&config, HVTLFS_ERR_CPUID_BASE, "cpuid_base", 0x40010000, 0);
    config = good;
    config.gpa_bits = 32;
    expect_size(&config, HVTLFS_OK, NULL, 0, 0);
    config.gpa_bits = 31;
    expect_size(&config, HVTLFS_ERR_GPA_BITS, "gpa_bits", 31, 52);
    config.gpa_bits = 52;
    expect_size(&config, HVTLFS_OK, NULL, 0, 0);
    config.gpa_bits = 53;
    expect_size(&config, HVTLFS_ERR_GPA_BITS, "gpa_bits", 53, 52);
    model_host_destroy(host);
}

static void test_a_hosts_own_trap_has_1_to_16_bytes(void **state)
{
    struct model_host *host;
    struct hvtlfs_config config = a_config(&host);

    (void)state;
    config.trap = HVTLFS_TRAP_CUSTOM;
    config.trap_size = 0;
    expect_size(&config, HVTLFS_ERR_TRAP, "trap_size", 0, 16);
    config.trap_size = 1;
    expect_size(&config, HVTLFS_OK, NULL, 0, 0);
    config.trap_size = 16;
    expect_size(&config, HVTLFS_OK, NULL, 0, 0);
    config.trap_size = 17;
    expect_size(&config, HVTLFS_ERR_TRAP, "trap_size", 17, 16);
    model_host_destroy(host);
}

static void set_trap(struct hvtlfs_config *config)
{
    config->trap = HVTLFS_TRAP_CUSTOM;
    config->trap_size = 5;
    memcpy(config->trap_code, "\x90\x91\x92\x93\x94", 5);
    config->max_vps = 7;
    config->max_lps = 9;
}

/* Its bytes, then a return; and leaf 5 has the numbers of processors (TLFS 2.4). */
static void test_the_guest_sees_the_hosts_trap_and_numbers(void **state)
{
    struct hvtlfs_cpuid_regs regs;
    struct fixture fixture;
    uint8_t code[6];

    (void)state;
    fixture_prepare(&fixture);
    fixture.adjust = set_trap;
    fixture_start(&fixture);
    expect_write(fixture.vp, HV_X64_MSR_GUEST_OS_ID, LINUX_ID);
    expect_write(fixture.vp, HV_X64_MSR_HYPERCALL, 0x5001);
    assert_int_equal(model_host_guest_read(fixture.host, 0x5000, code, sizeof(code)),
                     MODEL_ACCESS_OK);
    assert_memory_equal(code, "\x90\x91\x92\x93\x94\xC3", 6);
    assert_true(hvtlfs_cpuid(fixture.vp, 0x40000005, 0, &regs));
    assert_int_equal(regs.eax, 7);
    assert_int_equal(regs.ebx, 9);
    fixture_stop(&fixture);
}

/* ---- Deadlines ---- */

static size_t asked(struct fixture *fixture)
{
    size_t times = model_host_events_of(fixture->host, MODEL_EVENT_DEADLINE);

    model_host_clear_events(fixture->host);
    return times;
}

static void start_deadlines(struct fixture *fixture)
{
    fixture_prepare(fixture);
    fixture->features = "time,synic,stimer";
    fixture_start(fixture);
    (void)asked(fixture);
}

/* src/deadline.h: between begin and end the host is not asked; at the end once, for the earliest. */
static void test_while_polled_the_host_is_asked_once_and_at_the_end(void **state)
{
    struct fixture fixture;

    (void)state;
    start_deadlines(&fixture);
    hvti_deadline_begin(fixture.vp);
    hvti_deadline_set(fixture.vp, HVTI_DEADLINE_STIMER0, 5000);
    hvti_deadline_set(fixture.vp, HVTI_DEADLINE_UNHALTED, 3000);
    hvti_deadline_set(fixture.vp, HVTI_DEADLINE_STIMER0, 4000);
    assert_int_equal(asked(&fixture), 0);
    hvti_deadline_end(fixture.vp);
    assert_int_equal(asked(&fixture), 1);
    assert_true(model_host_deadline(fixture.host, 0) == 3000);
    hvti_deadline_set(fixture.vp, HVTI_DEADLINE_UNHALTED, HVTLFS_TIME_NEVER);
    assert_int_equal(asked(&fixture), 1);
    assert_true(model_host_deadline(fixture.host, 0) == 4000);
    hvti_deadline_set(fixture.vp, HVTI_DEADLINE_SYNIC, 6000); /* 4000 is what it has */
    assert_int_equal(asked(&fixture), 0);
    fixture_stop(&fixture);
}

/* It may have come for its deadline and hold it for done; one that never had any is left alone. */
static void test_a_host_that_came_is_told_again_and_no_other(void **state)
{
    struct fixture fixture;

    (void)state;
    start_deadlines(&fixture);
    hvtlfs_vp_poll(fixture.vp);
    assert_int_equal(asked(&fixture), 0);
    hvti_deadline_set(fixture.vp, HVTI_DEADLINE_SYNIC, 6000);
    assert_int_equal(asked(&fixture), 1);
    hvti_deadline_begin(fixture.vp);
    hvti_deadline_end(fixture.vp);
    assert_int_equal(asked(&fixture), 1);
    assert_true(model_host_deadline(fixture.host, 0) == 6000);
    hvti_deadline_begin(fixture.vp);
    hvti_deadline_set(fixture.vp, HVTI_DEADLINE_SYNIC, HVTLFS_TIME_NEVER);
    hvti_deadline_end(fixture.vp);
    assert_int_equal(asked(&fixture), 1);
    assert_true(model_host_deadline(fixture.host, 0) == HVTLFS_TIME_NEVER);
    fixture_stop(&fixture);
}

static void test_a_reset_ends_a_poll_and_every_deadline(void **state)
{
    struct fixture fixture;

    (void)state;
    start_deadlines(&fixture);
    hvti_deadline_set(fixture.vp, HVTI_DEADLINE_SYNIC, 6000);
    hvti_deadline_begin(fixture.vp);
    hvti_deadline_reset(fixture.vp);
    assert_true(model_host_deadline(fixture.host, 0) == HVTLFS_TIME_NEVER);
    (void)asked(&fixture);
    hvti_deadline_set(fixture.vp, HVTI_DEADLINE_SYNIC, 7000);
    assert_int_equal(asked(&fixture), 1);
    assert_true(model_host_deadline(fixture.host, 0) == 7000);
    hvti_deadline_begin(fixture.vp);
    hvti_deadline_init(fixture.vp); /* whatever was in the memory */
    hvti_deadline_set(fixture.vp, HVTI_DEADLINE_SYNIC, 8000);
    assert_int_equal(asked(&fixture), 1);
    fixture_stop(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_need_is_met_by_its_callbacks),
        cmocka_unit_test(test_a_host_copied_from_a_shorter_struct_has_no_more),
        cmocka_unit_test(test_a_host_without_a_lock_is_not_asked_for_one),
        cmocka_unit_test(test_only_a_tsc_to_rely_on_is_a_clock),
        cmocka_unit_test(test_frequencies_are_both_or_none),
        cmocka_unit_test(test_an_invariant_tsc_and_its_emulation_need_their_numbers),
        cmocka_unit_test(test_the_defaults_are_those_of_the_manual),
        cmocka_unit_test(test_every_bound_belongs_to_what_is_good),
        cmocka_unit_test(test_a_hosts_own_trap_has_1_to_16_bytes),
        cmocka_unit_test(test_the_guest_sees_the_hosts_trap_and_numbers),
        cmocka_unit_test(test_while_polled_the_host_is_asked_once_and_at_the_end),
        cmocka_unit_test(test_a_host_that_came_is_told_again_and_no_other),
        cmocka_unit_test(test_a_reset_ends_a_poll_and_every_deadline),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
