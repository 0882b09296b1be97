/* SPDX-License-Identifier: MIT */
/* Saved state: what comes back is what was there, and a stranger's bytes change nothing. */
#include "fixture.h"

#include <hvtlfs/state.h>
#include <hvtlfs/synic.h>
#include <hvtlfs/time.h>

#include <stdio.h>

#define OS_ID LINUX_ID
#define FEATURES                                                                                   \
    "relaxed,spinlocks=0xfff,time,frequencies,vapic,synic,stimer,stimer-direct,reenlightenment,"   \
    "crash,npiep"
#define PAGE_GPA UINT64_C(0x5000)
#define TSC_GPA UINT64_C(0x7000)
#define ASSIST_GPA UINT64_C(0x8000)
#define SIM_GPA UINT64_C(0x9000)

struct saved {
    uint8_t *bytes;
    size_t size;
};

static void start(struct fixture *fixture, bool copies)
{
    fixture_prepare(fixture);
    fixture->options.ram_size = 1 << 17;
    fixture->options.copies_overlays = copies;
    fixture->features = FEATURES;
    fixture->config.invariant_tsc = true;
    fixture->config.apic_hz = 200000000;
    fixture_start(fixture);
}

/* A guest in the middle of its life. */
static void live(struct fixture *fixture)
{
    memset(model_host_ram(fixture->host, PAGE_GPA), 0xA5, HVTLFS_PAGE_SIZE);
    memset(model_host_ram(fixture->host, TSC_GPA), 0xB6, HVTLFS_PAGE_SIZE);
    expect_write(fixture->vp, HV_X64_MSR_GUEST_OS_ID, OS_ID);
    expect_write(fixture->vp, HV_X64_MSR_HYPERCALL, PAGE_GPA | 1);
    expect_write(fixture->vp, HV_X64_MSR_REFERENCE_TSC, TSC_GPA | 1);
    expect_write(fixture->vp, HV_X64_MSR_VP_ASSIST_PAGE, ASSIST_GPA | 1);
    expect_write(fixture->vp, HV_X64_MSR_SIMP, SIM_GPA | 1);
    expect_write(fixture->vp, HV_X64_MSR_SINT2, 0x52);
    expect_write(fixture->vp, HV_X64_MSR_SCONTROL, 1);
    for (uint32_t i = 1; i <= 3; i++) {
        struct hvtlfs_message message = {.type = i, .payload = &i, .size = sizeof(i)};

        assert_int_equal(hvtlfs_synic_post_message(fixture->vp, 2, &message), HVTLFS_OK);
    }
    hvtlfs_vp_poll(fixture->vp);
    expect_write(fixture->vp, HV_X64_MSR_STIMER0_CONFIG, 0x20000); /* SINT 2, one-shot */
    expect_write(fixture->vp, HV_X64_MSR_STIMER0_COUNT, 100);
    expect_write(fixture->vp, HV_X64_MSR_STIMER0_CONFIG, 0x20001);
    expect_write(fixture->vp, HV_X64_MSR_STIMER1_CONFIG, 0x1501); /* direct, vector 0x50 */
    expect_write(fixture->vp, HV_X64_MSR_STIMER1_COUNT, 500000);
    expect_write(fixture->vp, HV_X64_MSR_STIMER1_CONFIG, 0x1501);
    expect_write(fixture->vp, HV_X64_MSR_CRASH_P2, 0x1234);
    expect_write(fixture->vp, HV_X64_MSR_NPIEP_CONFIG, 3);
    model_host_advance(fixture->host, 123456);
    hvtlfs_vp_poll(fixture->vp);
}

static struct saved save(struct fixture *fixture)
{
    struct saved saved;
    size_t used = 0;

    assert_int_equal(hvtlfs_freeze(fixture->partition), HVTLFS_OK);
    saved.size = hvtlfs_state_size(fixture->partition);
    saved.bytes = malloc(saved.size);
    assert_non_null(saved.bytes);
    assert_int_equal(hvtlfs_state_save(fixture->partition, saved.bytes, saved.size, &used, NULL),
                     HVTLFS_OK);
    assert_int_equal(used, saved.size);
    return saved;
}

/* The same guest memory on the other side. */
static void move_ram(struct fixture *from, struct fixture *to)
{
    memcpy(model_host_ram(to->host, 0), model_host_ram(from->host, 0),
           (size_t)from->options.ram_size);
}

static void repair_digest(const struct saved *saved)
{
    uint64_t digest = UINT64_C(0xCBF29CE484222325);

    for (size_t i = 32; i < saved->size; i++) {
        digest = (digest ^ saved->bytes[i]) * UINT64_C(0x100000001B3);
    }
    for (size_t i = 0; i < 8; i++) {
        saved->bytes[24 + i] = (uint8_t)(digest >> 8 * i);
    }
}

static void expect_guest_page(struct fixture *fixture, const uint8_t *expected)
{
    uint8_t page[HVTLFS_PAGE_SIZE];

    assert_int_equal(model_host_guest_read(fixture->host, PAGE_GPA, page, sizeof(page)),
                     MODEL_ACCESS_OK);
    assert_memory_equal(page, expected, sizeof(page));
}

static void round_trip(bool from_copies, bool to_copies)
{
    struct fixture from, to;
    struct saved saved;
    uint8_t page[HVTLFS_PAGE_SIZE], covered[HVTLFS_PAGE_SIZE];

    start(&from, from_copies);
    live(&from);
    model_host_guest_read(from.host, PAGE_GPA, page, sizeof(page));
    saved = save(&from);
    start(&to, to_copies);
    move_ram(&from, &to);
    assert_int_equal(hvtlfs_state_load(to.partition, saved.bytes, saved.size, NULL), HVTLFS_OK);

    expect_read(to.vp, HV_X64_MSR_GUEST_OS_ID, OS_ID);
    expect_read(to.vp, HV_X64_MSR_HYPERCALL, PAGE_GPA | 1);
    expect_read(to.vp, HV_X64_MSR_REFERENCE_TSC, TSC_GPA | 1);
    expect_guest_page(&to, page);
    assert_int_equal(hvtlfs_reference_time(to.vp), hvtlfs_reference_time(from.vp));

    /* What was covered comes back here too. */
    memset(covered, 0xA5, sizeof(covered));
    expect_write(to.vp, HV_X64_MSR_HYPERCALL, 0);
    expect_guest_page(&to, covered);
    free(saved.bytes);
    fixture_stop(&from);
    fixture_stop(&to);
}

static void test_everything_comes_back(void **state)
{
    (void)state;
    round_trip(false, false);
    round_trip(true, true);
}

static void test_a_state_moves_between_hosts_that_map_and_hosts_that_copy(void **state)
{
    (void)state;
    round_trip(false, true);
    round_trip(true, false);
}

/* The guest empties its slot and asks for the next. */
static uint32_t take_message(struct fixture *fixture)
{
    uint32_t type = model_host_guest_read32(fixture->host, SIM_GPA + 2 * HV_MESSAGE_SIZE);
    const uint32_t none = 0;

    assert_int_equal(model_host_guest_write(fixture->host, SIM_GPA + 2 * HV_MESSAGE_SIZE, &none, 4),
                     MODEL_ACCESS_OK);
    expect_write(fixture->vp, HV_X64_MSR_EOM, 0);
    return type;
}

static void messages_and_timers(bool copies)
{
    struct fixture from, to;
    struct hvtlfs_interrupt interrupt;
    struct saved saved;

    start(&from, copies);
    live(&from);
    saved = save(&from);
    start(&to, copies);
    move_ram(&from, &to);
    assert_int_equal(hvtlfs_state_load(to.partition, saved.bytes, saved.size, NULL), HVTLFS_OK);
    /* Loading sent nothing and armed nothing. */
    assert_int_equal(model_host_interrupt_count(to.host, 0), 0);
    assert_int_equal(model_host_deadline(to.host, 0), HVTLFS_TIME_NEVER);
    assert_int_equal(hvtlfs_thaw(to.partition, 0), HVTLFS_OK);
    hvtlfs_vp_poll(to.vp);

    assert_int_equal(take_message(&to), 1);
    assert_int_equal(take_message(&to), 2);
    assert_int_equal(take_message(&to), 3);
    assert_int_equal(take_message(&to), HvMessageTimerExpired);
    assert_int_equal(take_message(&to), 0);
    expect_read(to.vp, HV_X64_MSR_CRASH_P2, 0x1234);
    expect_read(to.vp, HV_X64_MSR_NPIEP_CONFIG, 3);

    while (model_host_take_interrupt(to.host, 0, &interrupt)) {
        assert_int_equal(interrupt.vector, 0x52);
    }
    assert_in_range(model_host_deadline(to.host, 0), 499998, 500001);
    model_host_advance(to.host, 500000 - 123456 + 2);
    hvtlfs_vp_poll(to.vp);
    assert_true(model_host_take_interrupt(to.host, 0, &interrupt));
    assert_int_equal(interrupt.vector, 0x50);
    free(saved.bytes);
    fixture_stop(&from);
    fixture_stop(&to);
}

static void test_messages_and_timers_that_wait_come_back(void **state)
{
    (void)state;
    messages_and_timers(false);
    messages_and_timers(true);
}

static void test_saving_again_gives_the_same_bytes(void **state)
{
    struct fixture from, to;
    struct saved saved, again;
    size_t used;

    (void)state;
    start(&from, false);
    live(&from);
    saved = save(&from);
    start(&to, false);
    move_ram(&from, &to);
    assert_int_equal(hvtlfs_state_load(to.partition, saved.bytes, saved.size, NULL), HVTLFS_OK);
    again.size = hvtlfs_state_size(to.partition);
    assert_int_equal(again.size, saved.size);
    again.bytes = malloc(again.size);
    assert_non_null(again.bytes);
    assert_int_equal(hvtlfs_state_save(to.partition, again.bytes, again.size, &used, NULL),
                     HVTLFS_OK);
    assert_memory_equal(again.bytes, saved.bytes, saved.size);
    free(saved.bytes);
    free(again.bytes);
    fixture_stop(&from);
    fixture_stop(&to);
}

static void test_no_time_is_published_before_the_clock_is_set(void **state)
{
    struct fixture from, to;
    struct saved saved;

    (void)state;
    start(&from, false);
    live(&from);
    assert_int_not_equal(model_host_guest_read32(from.host, TSC_GPA), 0);
    saved = save(&from);
    start(&to, false);
    move_ram(&from, &to);
    assert_int_equal(hvtlfs_state_load(to.partition, saved.bytes, saved.size, NULL), HVTLFS_OK);
    assert_int_equal(model_host_guest_read32(to.host, TSC_GPA), 0);
    assert_int_equal(hvtlfs_tsc_page_query(to.partition), HVTLFS_TSC_PAGE_CLOCK_NOT_SET);
    assert_int_equal(hvtlfs_thaw(to.partition, 0), HVTLFS_OK);
    assert_int_not_equal(model_host_guest_read32(to.host, TSC_GPA), 0);
    assert_int_equal(hvtlfs_tsc_page_query(to.partition), HVTLFS_TSC_PAGE_VALID);
    assert_true(hvtlfs_reference_time(to.vp) >= hvtlfs_reference_time(from.vp));
    assert_true(hvtlfs_reference_time(to.vp) - hvtlfs_reference_time(from.vp) <= 1);
    free(saved.bytes);
    fixture_stop(&from);
    fixture_stop(&to);
}

static void test_a_running_partition_is_not_saved(void **state)
{
    struct fixture fixture;
    uint8_t buffer[64];
    size_t used = 77;
    struct hvtlfs_error error;

    (void)state;
    start(&fixture, false);
    assert_int_equal(hvtlfs_state_save(fixture.partition, buffer, sizeof(buffer), &used, &error),
                     HVTLFS_ERR_ORDER);
    expect_numbers(&error, 0, 0);
    assert_int_equal(hvtlfs_freeze(fixture.partition), HVTLFS_OK);
    assert_int_equal(hvtlfs_state_save(fixture.partition, buffer, sizeof(buffer), &used, &error),
                     HVTLFS_ERR_FULL);
    expect_numbers(&error, sizeof(buffer), hvtlfs_state_size(fixture.partition));
    assert_int_equal(used, 77);
    fixture_stop(&fixture);
}

static void test_a_used_partition_is_not_loaded_into(void **state)
{
    struct fixture fixture;
    struct saved saved;

    (void)state;
    start(&fixture, false);
    live(&fixture);
    saved = save(&fixture);
    assert_int_equal(hvtlfs_state_load(fixture.partition, saved.bytes, saved.size, NULL),
                     HVTLFS_ERR_ORDER);
    free(saved.bytes);
    fixture_stop(&fixture);
}

static void test_the_configuration_comes_from_the_state(void **state)
{
    struct fixture from, to;
    struct saved saved;
    struct hvtlfs_config config;
    struct hvtlfs_vp_config vps[2];
    struct hvtlfs_error error;
    struct hvtlfs_partition *partition;

    (void)state;
    start(&from, false);
    live(&from);
    saved = save(&from);
    hvtlfs_config_init(&config);
    assert_int_equal(hvtlfs_state_config(saved.bytes, saved.size, &config, vps, 1, &error),
                     HVTLFS_ERR_FULL);
    assert_int_equal(error.limit, 2);
    assert_int_equal(hvtlfs_state_config(saved.bytes, saved.size, &config, vps, 2, NULL),
                     HVTLFS_OK);
    assert_int_equal(config.vp_count, 2);
    assert_int_equal(config.spin_count, 0xFFF);
    assert_int_equal(config.trap, HVTLFS_TRAP_VMCALL);
    assert_int_equal(config.gpa_bits, 40);
    assert_int_equal(config.apic_hz, 200000000); /* the guest may have read APIC_FREQUENCY */
    assert_string_equal(config.vendor, "Microsoft Hv");

    fixture_prepare(&to);
    to.host = model_host_create(&to.options);
    model_host_configure(to.host, &config);
    config.invariant_tsc = true;
    assert_int_equal(model_host_partition(to.host, &config, &partition, NULL), HVTLFS_OK);
    assert_int_equal(hvtlfs_state_load(partition, saved.bytes, saved.size, NULL), HVTLFS_OK);
    free(saved.bytes);
    fixture_stop(&from);
    model_host_destroy(to.host);
}

static struct hvtlfs_error last;

static void expect_refused(const struct saved *saved, enum hvtlfs_status status, const char *name)
{
    struct fixture to;
    struct hvtlfs_error error = {.name = NULL};
    uint8_t *before;

    start(&to, false);
    before = malloc(to.size);
    assert_non_null(before);
    memcpy(before, to.memory, to.size);
    assert_int_equal(hvtlfs_state_load(to.partition, saved->bytes, saved->size, &error), status);
    assert_memory_equal(before, to.memory, to.size);
    assert_int_equal(model_host_overlay_count(to.host), 0);
    assert_non_null(error.name);
    if (name) {
        assert_string_equal(error.name, name);
    }
    last = error;
    free(before);
    fixture_stop(&to);
}

static struct saved a_state(void)
{
    struct fixture from;
    struct saved saved;

    start(&from, false);
    live(&from);
    saved = save(&from);
    fixture_stop(&from);
    return saved;
}

static void test_bad_headers_are_named(void **state)
{
    static const struct {
        size_t at;
        uint8_t byte;
        enum hvtlfs_status status;
        const char *name;
    } cases[] = {
        {0, 'H', HVTLFS_ERR_STATE_FORMAT, "header.magic"},
        {8, 1, HVTLFS_ERR_STATE_FORMAT, "header.byte_order"},
        {12, 2, HVTLFS_ERR_STATE_VERSION, "header.version"},
        {12, 0, HVTLFS_ERR_STATE_FORMAT, "header.version"},
        {16, 1, HVTLFS_ERR_STATE_FORMAT, "header.size"},
        {24, 1, HVTLFS_ERR_STATE_FORMAT, "header.digest"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct saved saved = a_state();

        saved.bytes[cases[i].at] = saved.bytes[cases[i].at] == cases[i].byte ? 0xEE : cases[i].byte;
        expect_refused(&saved, cases[i].status, cases[i].name);
        if (cases[i].status == HVTLFS_ERR_STATE_VERSION) {
            expect_numbers(&last, 2, HVTLFS_STATE_VERSION);
        } else {
            expect_numbers(&last, cases[i].at, 0);
        }
        free(saved.bytes);
    }
}

static void test_every_truncation_is_refused(void **state)
{
    struct saved whole = a_state();

    (void)state;
    for (size_t size = 0; size < whole.size; size += size < 900 ? 1 : 977) {
        struct saved part = {malloc(size + 1), size};

        assert_non_null(part.bytes);
        memcpy(part.bytes, whole.bytes, size);
        expect_refused(&part, HVTLFS_ERR_STATE_FORMAT, NULL);
        if (size >= 32) { /* as if it had been written so */
            memset(part.bytes + 16, 0, 8);
            part.bytes[16] = (uint8_t)size;
            part.bytes[17] = (uint8_t)(size >> 8);
            repair_digest(&part);
            expect_refused(&part, HVTLFS_ERR_STATE_FORMAT, NULL);
        }
        free(part.bytes);
    }
    free(whole.bytes);
}

/* Either it is refused and nothing has changed, or it is a state like any other. */
static void test_mutations_never_leave_anything_half_done(void **state)
{
    struct saved whole = a_state();
    struct fixture to;
    uint8_t *before;

    (void)state;
    start(&to, false);
    before = malloc(to.size);
    assert_non_null(before);
    memcpy(before, to.memory, to.size);
    for (size_t at = 32; at < whole.size; at += at < 1200 ? 1 : 61) {
        static const uint8_t flips[] = {1, 0x80, 0xFF};

        for (size_t flip = 0; flip < sizeof(flips); flip++) {
            whole.bytes[at] ^= flips[flip];
            repair_digest(&whole);
            if (hvtlfs_state_load(to.partition, whole.bytes, whole.size, NULL) == HVTLFS_OK) {
                fixture_stop(&to);
                start(&to, false);
            }
            assert_memory_equal(before, to.memory, 64);
            whole.bytes[at] ^= flips[flip];
        }
    }
    free(before);
    free(whole.bytes);
    fixture_stop(&to);
}

/* Sections: where each begins. */
static size_t find_section(const struct saved *saved, const char *tag)
{
    size_t at = 32;

    while (memcmp(saved->bytes + at, tag, 4) != 0) {
        at += 16 + (size_t)(saved->bytes[at + 12] | saved->bytes[at + 13] << 8);
        assert_true(at < saved->size);
    }
    return at;
}

static void test_fields_out_of_order_or_missing_are_named(void **state)
{
    struct saved saved = a_state();
    size_t at = find_section(&saved, "IDEN");
    uint8_t field[16];

    (void)state;
    /* OSID and HCAL are 16 bytes each: exchange them. */
    memcpy(field, saved.bytes + at + 16, 16);
    memmove(saved.bytes + at + 16, saved.bytes + at + 32, 16);
    memcpy(saved.bytes + at + 32, field, 16);
    repair_digest(&saved);
    expect_refused(&saved, HVTLFS_ERR_STATE_FORMAT, "identity.guest_os_id");
    free(saved.bytes);

    saved = a_state();
    memcpy(saved.bytes + at + 16, "ABCD", 4);
    repair_digest(&saved);
    expect_refused(&saved, HVTLFS_ERR_STATE_FORMAT, "unknown field");
    saved.bytes[at + 16 + 7] = 0x80; /* optional: skipped, and then the row itself is missing */
    repair_digest(&saved);
    expect_refused(&saved, HVTLFS_ERR_STATE_FORMAT, "identity.guest_os_id");
    free(saved.bytes);
}

static void insert_section(struct saved *saved, const char *tag, bool optional)
{
    size_t at = find_section(saved, "IDEN");

    saved->bytes = realloc(saved->bytes, saved->size + 16);
    assert_non_null(saved->bytes);
    memmove(saved->bytes + at + 16, saved->bytes + at, saved->size - at);
    memset(saved->bytes + at, 0, 16);
    memcpy(saved->bytes + at, tag, 4);
    saved->bytes[at + 7] = optional ? 0x80 : 0;
    saved->size += 16;
    saved->bytes[16] = (uint8_t)saved->size;
    saved->bytes[17] = (uint8_t)(saved->size >> 8);
    repair_digest(saved);
}

static void test_unknown_sections_are_skipped_if_optional_and_refused_if_not(void **state)
{
    struct saved saved = a_state();
    struct fixture to;

    (void)state;
    insert_section(&saved, "FUTR", false);
    expect_refused(&saved, HVTLFS_ERR_STATE_FORMAT, "unknown section");
    free(saved.bytes);

    saved = a_state();
    insert_section(&saved, "FUTR", true);
    start(&to, false);
    assert_int_equal(hvtlfs_state_load(to.partition, saved.bytes, saved.size, NULL), HVTLFS_OK);
    free(saved.bytes);
    fixture_stop(&to);
}

static void test_a_partition_with_other_features_is_refused_by_name(void **state)
{
    struct saved saved = a_state();
    struct fixture to;
    struct hvtlfs_error error;
    char text[256];

    (void)state;
    fixture_prepare(&to);
    to.features = FEATURES ",frequencies=off";
    to.config.invariant_tsc = true;
    to.config.apic_hz = 200000000;
    fixture_start(&to);
    assert_int_equal(hvtlfs_state_load(to.partition, saved.bytes, saved.size, &error),
                     HVTLFS_ERR_STATE_INCOMPATIBLE);
    assert_int_equal(error.feature, HVTLFS_FEATURE_FREQUENCIES);
    assert_true(hvtlfs_error_text(&error, text, sizeof text) < sizeof text);
    assert_non_null(strstr(text, "frequencies"));
    free(saved.bytes);
    fixture_stop(&to);
}

/* A host that cannot show a page: refused, and not half done. */
static void failing_load(bool from_copies, bool to_copies)
{
    struct fixture from, to;
    struct saved saved;
    uint64_t calls;

    start(&from, from_copies);
    live(&from);
    saved = save(&from);
    start(&to, to_copies);
    move_ram(&from, &to);
    model_host_fail(to.host, 0, false);
    assert_int_equal(hvtlfs_state_load(to.partition, saved.bytes, saved.size, NULL), HVTLFS_OK);
    calls = model_host_fallible_calls(to.host);
    fixture_stop(&to);
    for (uint64_t n = 1; n <= calls; n++) {
        uint8_t *ram;

        start(&to, to_copies);
        move_ram(&from, &to);
        ram = malloc(0x10000);
        assert_non_null(ram);
        memcpy(ram, model_host_ram(to.host, 0), 0x10000);
        model_host_fail(to.host, n, false);
        if (hvtlfs_state_load(to.partition, saved.bytes, saved.size, NULL) != HVTLFS_OK) {
            assert_memory_equal(ram, model_host_ram(to.host, 0), 0x10000);
            assert_int_equal(model_host_overlay_count(to.host), 0);
            expect_read(to.vp, HV_X64_MSR_GUEST_OS_ID, 0);
            expect_read(to.vp, HV_X64_MSR_HYPERCALL, 0);
            model_host_fail(to.host, 0, false);
            assert_int_equal(hvtlfs_state_load(to.partition, saved.bytes, saved.size, NULL),
                             HVTLFS_OK);
        }
        free(ram);
        fixture_stop(&to);
    }
    free(saved.bytes);
    fixture_stop(&from);
}

static void test_a_failing_callback_leaves_no_footprint(void **state)
{
    (void)state;
    failing_load(false, false);
    failing_load(true, true);
    failing_load(true, false);
    failing_load(false, true);
}

/* ---- Can it run here? ---- */

static char last_code[40];

static void keep_code(void *context, const struct hvtlfs_finding *finding)
{
    (void)context;
    (void)snprintf(last_code, sizeof(last_code), "%s", finding->code);
}

static void test_a_host_with_another_tsc_is_judged(void **state)
{
    struct saved saved = a_state();
    struct fixture to;
    struct hvtlfs_check_result result;

    (void)state;
    start(&to, false);
    result = hvtlfs_state_check(to.partition, saved.bytes, saved.size, keep_code, NULL);
    assert_int_equal(result.errors + result.warnings, 0);
    fixture_stop(&to);

    fixture_prepare(&to);
    to.options.tsc_hz = 2500000000;
    to.features = FEATURES;
    to.config.invariant_tsc = true;
    to.config.apic_hz = 200000000;
    fixture_start(&to);
    result = hvtlfs_state_check(to.partition, saved.bytes, saved.size, keep_code, NULL);
    assert_int_equal(result.warnings, 1);
    assert_string_equal(last_code, "state-tsc-rate");
    /* It counts as a migration: time goes on at the new rate. */
    assert_int_equal(hvtlfs_state_load(to.partition, saved.bytes, saved.size, NULL), HVTLFS_OK);
    assert_int_equal(hvtlfs_thaw(to.partition, 0), HVTLFS_OK);
    expect_read(to.vp, HV_X64_MSR_TSC_FREQUENCY, 2500000000);
    {
        uint64_t time = hvtlfs_reference_time(to.vp);

        assert_in_range(time, 123455, 123457) /* the TSC formula rounds down */;
        model_host_advance(to.host, 10000000);
        assert_in_range(hvtlfs_reference_time(to.vp), time + 9999999, time + 10000001);
    }
    fixture_stop(&to);

    saved.bytes[40] ^= 1;
    start(&to, false);
    result = hvtlfs_state_check(to.partition, saved.bytes, saved.size, keep_code, NULL);
    assert_int_equal(result.errors, 1);
    assert_string_equal(last_code, "state-refused");
    free(saved.bytes);
    fixture_stop(&to);
}

static unsigned visited, named;

static void count_field(void *context, const struct hvtlfs_state_field *field)
{
    (void)context;
    visited++;
    named += field->name != NULL;
}

static void test_every_field_is_known_by_name(void **state)
{
    struct saved saved = a_state();

    (void)state;
    visited = named = 0;
    assert_int_equal(hvtlfs_state_visit(saved.bytes, saved.size, count_field, NULL, NULL),
                     HVTLFS_OK);
    assert_true(visited > 30);
    assert_int_equal(named, visited);
    free(saved.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everything_comes_back),
        cmocka_unit_test(test_a_state_moves_between_hosts_that_map_and_hosts_that_copy),
        cmocka_unit_test(test_messages_and_timers_that_wait_come_back),
        cmocka_unit_test(test_saving_again_gives_the_same_bytes),
        cmocka_unit_test(test_no_time_is_published_before_the_clock_is_set),
        cmocka_unit_test(test_a_running_partition_is_not_saved),
        cmocka_unit_test(test_a_used_partition_is_not_loaded_into),
        cmocka_unit_test(test_the_configuration_comes_from_the_state),
        cmocka_unit_test(test_bad_headers_are_named),
        cmocka_unit_test(test_every_truncation_is_refused),
        cmocka_unit_test(test_mutations_never_leave_anything_half_done),
        cmocka_unit_test(test_fields_out_of_order_or_missing_are_named),
        cmocka_unit_test(test_unknown_sections_are_skipped_if_optional_and_refused_if_not),
        cmocka_unit_test(test_a_partition_with_other_features_is_refused_by_name),
        cmocka_unit_test(test_a_failing_callback_leaves_no_footprint),
        cmocka_unit_test(test_a_host_with_another_tsc_is_judged),
        cmocka_unit_test(test_every_field_is_known_by_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
