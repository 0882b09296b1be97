/* SPDX-License-Identifier: MIT */
/*
 * What the functions around a saved state answer: the configuration it gives, the fields a visitor sees,
 * whether it can run here, the exact place of a damage, and a load that fails half-way. The expectations
 * are those of docs/STATE.md and <hvtlfs/state.h>.
 */
#include "state_editor.h"
#include "synic_fixture.h"

#include <stdio.h>

#define PAGE_GPA UINT64_C(0x5000)
#define TSC_GPA UINT64_C(0x7000)
#define ASSIST_GPA UINT64_C(0x8000)
#define RAM UINT64_C(0x10000)
#define APIC_HZ 200000000

static void start_on(struct fixture *fixture, const char *features, bool copies, bool invariant_tsc,
                     uint64_t tsc_hz)
{
    fixture_prepare(fixture);
    fixture->options.ram_size = 1 << 17;
    fixture->options.copies_overlays = copies;
    fixture->options.tsc_hz = tsc_hz;
    fixture->features = features;
    fixture->config.invariant_tsc = invariant_tsc;
    fixture->config.apic_hz = APIC_HZ;
    fixture_start(fixture);
}

static void start(struct fixture *fixture, const char *features)
{
    start_on(fixture, features, false, true, 1000000000);
}

static void show_the_hypercall_page(struct fixture *fixture)
{
    expect_write(fixture->vp, HV_X64_MSR_GUEST_OS_ID, LINUX_ID);
    expect_write(fixture->vp, HV_X64_MSR_HYPERCALL, PAGE_GPA | 1);
}

static struct bytes a_state(const char *features)
{
    struct fixture fixture;
    struct bytes saved;

    start(&fixture, features);
    show_the_hypercall_page(&fixture);
    saved = save(&fixture);
    fixture_stop(&fixture);
    return saved;
}

/* Of a SynIC, and with messages of SINT 15 that wait: the longest there is, and one of timer 0. */
static struct bytes a_state_with_messages(void)
{
    static const uint8_t longest[240] = {[239] = 0x77};
    const struct hvtlfs_message message = {.type = 9, .payload = longest, .size = sizeof(longest)};
    struct fixture fixture;
    struct bytes saved;

    start(&fixture, SYNIC_FEATURES);
    show_the_hypercall_page(&fixture);
    synic_enable(fixture.vp);
    assert_int_equal(post_number(fixture.vp, 15, 1), HVTLFS_OK); /* into the slot */
    assert_int_equal(hvtlfs_synic_post_message(fixture.vp, 15, &message), HVTLFS_OK);
    hvtlfs_vp_poll(fixture.vp);
    expect_write(fixture.vp, HV_X64_MSR_STIMER0_CONFIG, 0xF0008); /* SINT 15, auto-enable */
    expect_write(fixture.vp, HV_X64_MSR_STIMER0_COUNT, 100);
    model_host_advance(fixture.host, 1000);
    hvtlfs_vp_poll(fixture.vp);
    saved = save(&fixture);
    fixture_stop(&fixture);
    return saved;
}

/* Refused where it is loaded, with these words, this number and the limit 0. */
static void expect_refused(struct bytes *saved, const char *features, const char *name,
                           uint64_t value)
{
    struct hvtlfs_error error = {.name = NULL};
    struct fixture to;

    seal(saved);
    start(&to, features);
    assert_int_equal(hvtlfs_state_load(to.partition, saved->at, saved->size, &error),
                     HVTLFS_ERR_STATE_FORMAT);
    assert_string_equal(error.name, name);
    expect_numbers(&error, value, 0);
    free(saved->at);
    fixture_stop(&to);
}

/* ---- Where the damage is ---- */

static void test_a_field_too_long_is_found_at_its_size(void **state)
{
    static const char *const sections[] = {"CONF", "IDEN", "OVLY", "SMSG"};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct bytes saved = a_state_with_messages();
        size_t at = section(&saved, sections[i], ANY_VP) + SECTION;

        set_number(saved.at + at + 4, 0x7FFFFFFF, 4);
        expect_refused(&saved, SYNIC_FEATURES, "field.size", at + 4);
    }
}

static void test_padding_is_found_at_its_byte(void **state)
{
    (void)state;
    for (size_t i = 0; i < 4; i++) { /* COPY has four bytes, then four zeros */
        struct bytes saved = a_state("vapic");
        size_t at = field(&saved, "CONF", "COPY") + FIELD + 4 + i;

        saved.at[at] = 1;
        expect_refused(&saved, "vapic", "field.padding", at);
    }
}

static void test_a_rows_size_is_that_of_its_numbers(void **state)
{
    struct bytes saved = a_state("vapic");
    size_t at = field(&saved, "IDEN", "OSID");

    (void)state;
    set_number(saved.at + at + FIELD, 0, 8);
    set_number(saved.at + at + 4, 7, 4);
    expect_refused(&saved, "vapic", "identity.guest_os_id", at + FIELD);
}

static void test_a_number_of_a_feature_that_is_off_must_be_0(void **state)
{
    struct bytes saved = a_state("time");
    size_t at = field(&saved, "VAPC", "ASST") + FIELD;

    (void)state;
    set_number(saved.at + at, ASSIST_GPA | 1, 8);
    expect_refused(&saved, "time", "vapic.assist_page", at);
}

static void test_a_page_is_what_its_tag_says(void **state)
{
    static const char *const tags[] = {"KIND", "GPA ", "PAGE"};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct bytes saved = a_state("vapic");
        size_t at = field(&saved, "OVLY", tags[i]);

        memcpy(saved.at + at, "WHAT", 4);
        expect_refused(&saved, "vapic", "unknown field", at + FIELD);
    }
}

/* Four bytes for a timer, 260 for a message, nothing in between. */
static void test_an_item_of_another_size_is_none(void **state)
{
    struct bytes saved = a_state_with_messages();
    size_t at = section(&saved, "SMSG", 0) + SECTION;

    (void)state;
    while (number(saved.at + at + 4) != 4) {
        at += FIELD + ((number(saved.at + at + 4) + 7) & ~7u);
    }
    set_number(saved.at + at + 4, 8, 4);
    expect_refused(&saved, SYNIC_FEATURES, "SMSG.ITEM", at + FIELD);
}

static void test_the_index_that_differs_is_told(void **state)
{
    struct bytes saved = a_state("vapic");
    struct hvtlfs_error error;
    struct fixture to;

    (void)state;
    set_number(saved.at + field(&saved, "CONF", "VPS ") + FIELD + 8, 7, 4);
    seal(&saved);
    start(&to, "vapic");
    assert_int_equal(hvtlfs_state_load(to.partition, saved.at, saved.size, &error),
                     HVTLFS_ERR_STATE_INCOMPATIBLE);
    assert_string_equal(error.name, "vp_index");
    expect_numbers(&error, 7, 1);
    free(saved.at);
    fixture_stop(&to);
}

/* The last section ends where the state does, and a section's last field where the section does. */
static void test_nothing_reaches_beyond_what_holds_it(void **state)
{
    struct bytes saved;
    size_t at;

    (void)state;
    for (uint32_t more = 8; more <= 32; more += 8) {
        saved = a_state("vapic");
        at = section(&saved, "OVLY", ANY_VP); /* the only one */
        assert_int_equal(at + SECTION + number(saved.at + at + 12), saved.size);
        set_number(saved.at + at + 12, number(saved.at + at + 12) + more, 4);
        expect_refused(&saved, "vapic", "section.size", at);
    }
    for (uint32_t more = 1; more <= 16; more++) {
        saved = a_state("vapic");
        at = field(&saved, "IDEN", "HCAL");
        set_number(saved.at + at + 4, 8 + more, 4);
        expect_refused(&saved, "vapic", "field.size", at + 4);
    }
    saved = a_state("vapic");
    at = saved.size;
    splice(&saved, at, 0, NULL, 8);
    expect_refused(&saved, "vapic", "section.size", at);
    saved = a_state("vapic");
    at = section(&saved, "OVLY", ANY_VP);
    set_number(saved.at + at + 12, number(saved.at + at + 12) - 4, 4);
    expect_refused(&saved, "vapic", "section.size", at);
}

/* Of a section's flags only bit 31 means anything. */
static void test_flags_that_nobody_knows_are_found(void **state)
{
    static const char *const sections[] = {"CONF", "IDEN", "OVLY"};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct bytes saved = a_state("vapic");
        size_t at = section(&saved, sections[i], ANY_VP);

        set_number(saved.at + at + 4, 1, 4);
        expect_refused(&saved, "vapic", "section.flags", at + 4);
    }
}

static void test_rows_do_not_come_twice(void **state)
{
    struct bytes saved = a_state("vapic");
    size_t at = section(&saved, "IDEN", ANY_VP);

    (void)state;
    repeat_section(&saved, at);
    at += SECTION + number(saved.at + at + 12);
    expect_refused(&saved, "vapic", "order of fields", at + SECTION + FIELD);
}

static void test_a_number_is_judged_where_it_stands(void **state)
{
    struct bytes saved = a_state("time");
    size_t at = field(&saved, "CLCK", "MIGR") + FIELD;

    (void)state;
    set_number(saved.at + at, 2, 4); /* yes or no */
    expect_refused(&saved, "time", "clock.migrated", at);
    saved = a_state("time");
    at = field(&saved, "IDEN", "HCAL") + FIELD;
    set_number(saved.at + at, UINT64_C(1) << 40 | 1, 8); /* beyond the last page */
    expect_refused(&saved, "time", "identity.hypercall", at);
}

static void test_fields_of_conf_have_their_sizes(void **state)
{
    struct bytes saved = a_state("vapic");
    size_t at = field(&saved, "CONF", "COPY");

    (void)state;
    set_number(saved.at + at + 4, 8, 4);
    expect_refused(&saved, "vapic", "CONF.COPY", at + FIELD);
    saved = a_state("vapic");
    at = field(&saved, "CONF", "VPS ");
    resize(&saved, HEADER, at + FIELD + 16, 8);
    set_number(saved.at + at + 4, 20, 4); /* two VPs and a half */
    expect_refused(&saved, "vapic", "CONF.VPS", at + FIELD);
}

static bool with_host_time;

static void set_host_time(struct hvtlfs_config *config)
{
    if (!with_host_time) {
        config->ops.host_time = NULL;
    }
}

static enum hvtlfs_status load(struct bytes *saved, const char *features, bool host_time,
                               struct hvtlfs_error *error)
{
    enum hvtlfs_status status;
    struct fixture to;

    seal(saved);
    fixture_prepare(&to);
    to.features = features;
    to.config.invariant_tsc = true;
    to.config.apic_hz = APIC_HZ;
    to.adjust = set_host_time;
    with_host_time = host_time;
    fixture_start(&to);
    status = hvtlfs_state_load(to.partition, saved->at, saved->size, error);
    free(saved->at);
    fixture_stop(&to);
    return status;
}

/* The guest has seen its leaves and how wide its addresses are. */
static void test_what_the_guest_was_shown_must_be_the_same(void **state)
{
    struct bytes saved = a_state("vapic");
    struct hvtlfs_error error;
    size_t at = field(&saved, "CONF", "LEAF") + FIELD;
    uint32_t leaf = number(saved.at + at);

    (void)state;
    set_number(saved.at + field(&saved, "CONF", "GPAL") + FIELD, UINT64_C(1) << 39, 8);
    assert_int_equal(load(&saved, "vapic", true, &error), HVTLFS_ERR_STATE_INCOMPATIBLE);
    assert_string_equal(error.name, "gpa_limit");
    expect_numbers(&error, UINT64_C(1) << 39, UINT64_C(1) << 40);
    saved = a_state("vapic");
    set_number(saved.at + at, leaf ^ 1, 4);
    assert_int_equal(load(&saved, "vapic", true, &error), HVTLFS_ERR_STATE_INCOMPATIBLE);
    assert_string_equal(error.name, "leaves");
    expect_numbers(&error, leaf ^ 1, leaf);
}

/* The host's clock is needed by who has time, and did not begin with an invariant TSC. */
static void test_a_clock_is_asked_for_where_it_is_needed(void **state)
{
    struct hvtlfs_error error;

    (void)state;
    for (int i = 0; i < 4; i++) {
        const char *features = i & 1 ? "time" : "vapic";
        struct bytes saved = a_state(features);

        set_number(saved.at + field(&saved, "CLCK", "STIN") + FIELD, i & 2 ? 1 : 0, 4);
        assert_int_equal(load(&saved, features, false, &error),
                         i == 1 ? HVTLFS_ERR_STATE_INCOMPATIBLE : HVTLFS_OK);
        if (i == 1) {
            assert_string_equal(error.name, "clock.started_invariant");
            expect_numbers(&error, 0, 0);
        }
    }
}

static void test_rates_that_nobody_emulates_may_be_unknown(void **state)
{
    struct bytes saved = a_state("vapic");

    (void)state;
    set_number(saved.at + field(&saved, "REEN", "KNHZ") + FIELD, 0, 8);
    set_number(saved.at + field(&saved, "REEN", "REHZ") + FIELD, 0, 8);
    assert_int_equal(load(&saved, "vapic", true, NULL), HVTLFS_OK);
}

/* Not even what is said again after a load. */
static void test_a_used_partition_is_refused_without_a_word_to_the_host(void **state)
{
    struct bytes saved = a_state("npiep");
    struct hvtlfs_error error;
    struct fixture to;

    (void)state;
    start(&to, "npiep");
    show_the_hypercall_page(&to);
    expect_write(to.vp, HV_X64_MSR_NPIEP_CONFIG, 3);
    model_host_clear_events(to.host);
    assert_int_equal(hvtlfs_state_load(to.partition, saved.at, saved.size, &error),
                     HVTLFS_ERR_ORDER);
    expect_numbers(&error, 0, 0);
    assert_int_equal(model_host_event_count(to.host), 0);
    free(saved.at);
    fixture_stop(&to);
}

/* What follows from the registers is worked out again: vectors that need no EOI (TLFS 11.8.4)... */
static void test_auto_eoi_is_known_after_a_load(void **state)
{
    struct bytes saved = a_state_with_messages();
    struct fixture to;

    (void)state;
    set_number(saved.at + field(&saved, "SYNC", "SINT") + FIELD, UINT64_C(0x20041), 8);
    seal(&saved);
    start(&to, SYNIC_FEATURES);
    assert_int_equal(hvtlfs_state_load(to.partition, saved.at, saved.size, NULL), HVTLFS_OK);
    assert_true(hvtlfs_synic_is_auto_eoi(to.vp, 0x41));
    assert_false(hvtlfs_synic_is_auto_eoi(to.vp, 0x42));
    assert_false(hvtlfs_synic_is_auto_eoi(to.vp, 256));
    free(saved.at);
    fixture_stop(&to);
}

/* ...and that a timer without a count does not run, and one without a message has none waiting. */
static void test_a_timers_flags_follow_its_registers(void **state)
{
    static const char *const runs[] = {"RUN0", "RUN1", "RUN2", "RUN3"};
    static const char *const queued[] = {"QUE0", "QUE1", "QUE2", "QUE3"};
    struct bytes saved = a_state(SYNIC_FEATURES), again;
    struct fixture to;

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        set_number(saved.at + field(&saved, "STIM", runs[i]) + FIELD, 1, 4);
        set_number(saved.at + field(&saved, "STIM", queued[i]) + FIELD, 1, 4);
    }
    seal(&saved);
    start(&to, SYNIC_FEATURES);
    assert_int_equal(hvtlfs_state_load(to.partition, saved.at, saved.size, NULL), HVTLFS_OK);
    again = save_frozen(to.partition);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(number(again.at + field(&again, "STIM", runs[i]) + FIELD), 0);
        assert_int_equal(number(again.at + field(&again, "STIM", queued[i]) + FIELD), 0);
    }
    free(saved.at);
    free(again.at);
    fixture_stop(&to);
}

/* ---- What is written ---- */

static bool has_section(const struct bytes *saved, const char *tag)
{
    for (size_t at = HEADER; at < saved->size; at += SECTION + number(saved->at + at + 12)) {
        if (memcmp(saved->at + at, tag, 4) == 0) {
            return true;
        }
    }
    return false;
}

static void test_what_has_nothing_to_say_is_not_written(void **state)
{
    struct bytes saved = a_state(SYNIC_FEATURES);

    (void)state;
    assert_true(has_section(&saved, "OVLY"));
    assert_false(has_section(&saved, "SMSG")); /* no message waits */
    free(saved.at);
}

/* A page is written by its bytes if only the last of them is not zero, and without them if all are. */
static void test_a_pages_last_byte_counts(void **state)
{
    size_t sizes[2];

    (void)state;
    for (int i = 0; i < 2; i++) {
        const uint8_t last = i ? 0x80 : 0;
        struct fixture fixture;
        struct bytes saved;

        start(&fixture, "vapic");
        expect_write(fixture.vp, HV_X64_MSR_VP_ASSIST_PAGE, ASSIST_GPA | 1);
        assert_int_equal(model_host_guest_write(fixture.host, ASSIST_GPA + 4095, &last, 1),
                         MODEL_ACCESS_OK);
        saved = save(&fixture);
        sizes[i] = saved.size;
        free(saved.at);
        fixture_stop(&fixture);
    }
    assert_int_equal(sizes[1], sizes[0] + FIELD + HVTLFS_PAGE_SIZE);
}

/* TLFS 11.4: a message has up to 240 bytes; SINT 15 is the last. */
static void test_the_longest_message_of_the_last_sint_comes_back(void **state)
{
    struct bytes saved = a_state_with_messages();
    struct hv_message message;
    struct fixture to;

    (void)state;
    start(&to, SYNIC_FEATURES);
    assert_int_equal(hvtlfs_state_load(to.partition, saved.at, saved.size, NULL), HVTLFS_OK);
    assert_int_equal(hvtlfs_thaw(to.partition, 0), HVTLFS_OK);
    hvtlfs_vp_poll(to.vp);
    expect_slot(&to, 0, 15, 1);
    assert_true(guest_empties_slot(&to, 0, 15));
    expect_write(to.vp, HV_X64_MSR_EOM, 0);
    message = guest_message(&to, 0, 15);
    assert_int_equal(message.header.message_type, 9);
    assert_int_equal(message.header.payload_size, 240);
    assert_int_equal(((const uint8_t *)message.payload)[239], 0x77);
    assert_true(guest_empties_slot(&to, 0, 15));
    expect_write(to.vp, HV_X64_MSR_EOM, 0);
    assert_int_equal(guest_message(&to, 0, 15).header.message_type, HvMessageTimerExpired);
    free(saved.at);
    fixture_stop(&to);
}

/* ---- A load that fails half-way ---- */

/* The guest has two pages that stand, and one with content that stands nowhere. */
static void live(struct fixture *fixture)
{
    memset(model_host_ram(fixture->host, PAGE_GPA), 0xA5, HVTLFS_PAGE_SIZE);
    memset(model_host_ram(fixture->host, TSC_GPA), 0xB6, HVTLFS_PAGE_SIZE);
    show_the_hypercall_page(fixture);
    expect_write(fixture->vp, HV_X64_MSR_REFERENCE_TSC, TSC_GPA | 1);
    expect_write(fixture->vp, HV_X64_MSR_VP_ASSIST_PAGE, ASSIST_GPA | 1);
    assert_int_equal(model_host_guest_write64(fixture->host, ASSIST_GPA + 8, 0x1234),
                     MODEL_ACCESS_OK);
    expect_write(fixture->vp, HV_X64_MSR_VP_ASSIST_PAGE, 0);
}

static bool is_a_pages_failure(const struct hvtlfs_error *error)
{
    if (strcmp(error->name, "guest memory") == 0) {
        return !error->value && !error->limit;
    }
    return strcmp(error->name, "OVLY.GPA") == 0 && !error->limit &&
           (error->value == PAGE_GPA || error->value == TSC_GPA);
}

/* Load with the nth request failing: false if that is none that pages depend on. */
static bool fails_without_a_trace(struct fixture *from, const struct bytes *saved, bool copies,
                                  uint64_t nth)
{
    static uint8_t ram[RAM];
    struct hvtlfs_error error = {.name = NULL};
    enum hvtlfs_status status;
    struct fixture to;
    uint8_t *before;

    start_on(&to, "time,vapic", copies, true, 1000000000);
    memcpy(ram, model_host_ram(from->host, 0), sizeof(ram));
    memcpy(model_host_ram(to.host, 0), ram, sizeof(ram));
    before = malloc(to.size);
    assert_non_null(before);
    memcpy(before, to.memory, to.size);
    model_host_fail(to.host, nth, false);
    status = hvtlfs_state_load(to.partition, saved->at, saved->size, &error);
    if (status) {
        assert_int_equal(status, HVTLFS_ERR_HOST);
        assert_true(is_a_pages_failure(&error));
        assert_memory_equal(before, to.memory, to.size);
        assert_memory_equal(ram, model_host_ram(to.host, 0), sizeof(ram));
        assert_int_equal(model_host_overlay_count(to.host), 0);
    } else { /* the last request, if any: a TSC page that is invalid is told so once more */
        assert_true(model_host_fallible_calls(to.host) <= nth);
        nth = 0;
    }
    free(before);
    fixture_stop(&to);
    return nth;
}

static void expect_no_trace(bool from_copies, bool to_copies, uint64_t least)
{
    struct fixture from;
    struct bytes saved;
    uint64_t nth = 1;

    start_on(&from, "time,vapic", from_copies, true, 1000000000);
    live(&from);
    saved = save(&from);
    while (fails_without_a_trace(&from, &saved, to_copies, nth)) {
        nth++;
    }
    assert_true(nth > least); /* at least each page once */
    free(saved.at);
    fixture_stop(&from);
}

static void test_a_page_that_cannot_be_shown_leaves_no_trace(void **state)
{
    (void)state;
    expect_no_trace(false, false, 2);
}

static void test_copies_that_cannot_be_taken_leave_no_trace(void **state)
{
    (void)state;
    expect_no_trace(true, false, 4);
}

static void test_copies_that_cannot_be_made_leave_no_trace(void **state)
{
    (void)state;
    expect_no_trace(false, true, 4);
}

/* ---- The configuration ---- */

static void adjust(struct hvtlfs_config *config)
{
    config->gpa_bits = 36;
    memcpy(config->vendor, "Another one", 12);
    config->trap = HVTLFS_TRAP_CUSTOM;
    memset(config->trap_code, 0x90, sizeof(config->trap_code));
    config->trap_code[15] = 0xC3;
    config->trap_size = 16;
    for (uint32_t i = 0; i < 4; i++) {
        config->version[i] = 0x10203040 + i;
    }
    config->max_vps = 64;
    config->max_lps = 128;
    config->hardware_features = 0x0F;
    config->policy = HVTLFS_POLICY_NO_LAZY_EOI;
}

static struct bytes a_state_of_its_own(struct fixture *from)
{
    struct bytes saved;

    fixture_prepare(from);
    from->options.ram_size = 1 << 17;
    from->features = "time,vapic,spinlocks=0x123";
    from->config.invariant_tsc = true;
    from->config.apic_hz = APIC_HZ;
    from->adjust = adjust;
    fixture_start(from);
    saved = save(from);
    fixture_stop(from);
    return saved;
}

static enum hvtlfs_status config_of(const struct bytes *saved, struct hvtlfs_config *config,
                                    struct hvtlfs_vp_config *vps, struct hvtlfs_error *error)
{
    return hvtlfs_state_config(saved->at, saved->size, config, vps, 2, error);
}

/* What the guest was shown comes from the state, what is the host's own is left alone. */
static void test_a_configuration_is_the_states_but_for_the_hosts_own(void **state)
{
    struct hvtlfs_vp_config vps[3] = {[2] = {.vp_index = 55, .apic_id = 66}};
    struct hvtlfs_config config, expected;
    struct fixture from;
    struct bytes saved = a_state_of_its_own(&from);

    (void)state;
    hvtlfs_config_init(&config);
    config.tsc_hz = 123;
    config.context = &config;
    config.connection_count = 17;
    config.message_buffers = 33;
    config.hypercall_reps = 5;
    config.hypercall_time = 6;
    expected = config;
    adjust(&expected);
    expected.features = from.config.features;
    expected.spin_count = 0x123;
    expected.apic_hz = APIC_HZ;
    expected.vp_count = 2;
    expected.vps = vps;
    assert_int_equal(config_of(&saved, &config, vps, NULL), HVTLFS_OK);
    assert_memory_equal(&config, &expected, sizeof(config));
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(vps[i].vp_index, i);
        assert_int_equal(vps[i].apic_id, i);
    }
    assert_int_equal(vps[2].vp_index, 55);
    assert_int_equal(vps[2].apic_id, 66);
    free(saved.at);
}

static void expect_no_config(struct bytes *saved, enum hvtlfs_status status, const char *name,
                             uint64_t value)
{
    struct hvtlfs_error error = {.name = NULL};
    struct hvtlfs_vp_config vps[2];
    struct hvtlfs_config config, before;

    hvtlfs_config_init(&config);
    before = config;
    assert_int_equal(config_of(saved, &config, vps, &error), status);
    assert_string_equal(error.name, name);
    expect_numbers(&error, value, 0);
    assert_memory_equal(&config, &before, sizeof(config));
    free(saved->at);
}

static void test_damaged_bytes_give_no_configuration(void **state)
{
    struct bytes saved = a_state("vapic");
    size_t at;

    (void)state;
    saved.at[0] = 'H';
    expect_no_config(&saved, HVTLFS_ERR_STATE_FORMAT, "header.magic", 0);
    saved = a_state("vapic");
    saved.at[24] ^= 1;
    expect_no_config(&saved, HVTLFS_ERR_STATE_FORMAT, "header.digest", 24);
    saved = a_state("vapic");
    saved.size = HEADER;
    seal(&saved);
    expect_no_config(&saved, HVTLFS_ERR_STATE_FORMAT, "order of sections", HEADER);
    saved = a_state("vapic");
    set_number(saved.at + HEADER + 12, 0x7FFFFFF8, 4);
    seal(&saved);
    expect_no_config(&saved, HVTLFS_ERR_STATE_FORMAT, "section.size", HEADER);
    saved = a_state("vapic");
    at = HEADER + SECTION;
    set_number(saved.at + at + 4, 0x7FFFFFFF, 4);
    seal(&saved);
    expect_no_config(&saved, HVTLFS_ERR_STATE_FORMAT, "field.size", at + 4);
    saved = a_state("vapic");
    at = field(&saved, "CONF", "MAXV");
    set_number(saved.at + at + 4, 5, 4);
    seal(&saved);
    expect_no_config(&saved, HVTLFS_ERR_STATE_FORMAT, "cpuid.max_vps", at + FIELD);
}

static void test_a_configuration_begins_with_conf(void **state)
{
    struct bytes saved = a_state("vapic");
    size_t size = SECTION + number(saved.at + HEADER + 12);

    (void)state;
    splice(&saved, HEADER, size, NULL, 0);
    seal(&saved);
    expect_no_config(&saved, HVTLFS_ERR_STATE_FORMAT, "order of sections",
                     HEADER + SECTION + number(saved.at + HEADER + 12));
}

static void test_an_unknown_feature_gives_no_configuration(void **state)
{
    struct bytes saved = a_state("vapic");

    (void)state;
    saved.at[field(&saved, "CONF", "FEAT") + FIELD] = 'Q';
    seal(&saved);
    expect_no_config(&saved, HVTLFS_ERR_UNKNOWN_FEATURE, "CONF.FEAT", 0);
}

/* What CLCK may have in a later version, and need not be known: no features and no VPs. */
static void test_tags_mean_something_in_their_section_only(void **state)
{
    static const char *const tags[] = {"FEAT", "VPS "};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct bytes saved = a_state("vapic");
        size_t at = section(&saved, "CLCK", ANY_VP);
        struct hvtlfs_vp_config vps[2];
        struct hvtlfs_config config;
        struct fixture to;

        resize(&saved, at, at + SECTION, FIELD + 8);
        memcpy(saved.at + at + SECTION, tags[i], 4);
        set_number(saved.at + at + SECTION + 4, UINT32_C(0x80000003), 4);
        memcpy(saved.at + at + SECTION + FIELD, "???", 3);
        seal(&saved);
        hvtlfs_config_init(&config);
        assert_int_equal(config_of(&saved, &config, vps, NULL), HVTLFS_OK);
        assert_int_equal(config.vp_count, 2);
        start(&to, "vapic");
        assert_int_equal(hvtlfs_state_load(to.partition, saved.at, saved.size, NULL), HVTLFS_OK);
        fixture_stop(&to);
        free(saved.at);
    }
}

static void test_no_limit_of_addresses_is_no_width(void **state)
{
    struct bytes saved = a_state("vapic");
    struct hvtlfs_vp_config vps[2];
    struct hvtlfs_config config;

    (void)state;
    set_number(saved.at + field(&saved, "CONF", "GPAL") + FIELD, 0, 8);
    seal(&saved);
    hvtlfs_config_init(&config);
    assert_int_equal(config_of(&saved, &config, vps, NULL), HVTLFS_OK);
    assert_int_equal(config.gpa_bits, 0); /* which init refuses */
    free(saved.at);
}

/* ---- Visitors ---- */

struct seen {
    unsigned count;
    const char *section, *tag; /* wanted */
    struct hvtlfs_state_field field;
};

static void see(void *context, const struct hvtlfs_state_field *field)
{
    struct seen *seen = context;

    seen->count++;
    if (strcmp(field->section, seen->section) == 0 && strcmp(field->tag, seen->tag) == 0) {
        seen->field = *field;
    }
}

static struct hvtlfs_state_field visit(const struct bytes *saved, const char *section_tag,
                                       const char *tag)
{
    struct seen seen = {.section = section_tag, .tag = tag};

    assert_int_equal(hvtlfs_state_visit(saved->at, saved->size, see, &seen, NULL), HVTLFS_OK);
    assert_non_null(seen.field.data);
    return seen.field;
}

/* Bytes of one number; 0 for text and bytes. */
static void test_fields_that_are_no_rows_have_names_and_widths(void **state)
{
    static const struct {
        const char *section, *tag, *name;
        uint32_t width;
    } cases[] = {
        {"CONF", "FEAT", "features", 0},
        {"CONF", "VPS ", "vps: index and APIC ID of each", 4},
        {"CONF", "COPY", "overlays are copied", 4},
        {"CONF", "TRCO", "trap_code", 1},
        {"IDEN", "OSID", "identity.guest_os_id", 8},
        {"CLCK", "INVT", "clock.invariant_tsc", 4},
        {"SMSG", "ITEM", "synic.message", 0},
        {"OVLY", "KIND", "overlay.kind", 4},
        {"OVLY", "GPA ", "overlay.gpa", 8},
        {"OVLY", "PAGE", "overlay.page", 0},
    };
    struct bytes saved = a_state_with_messages();

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct hvtlfs_state_field field = visit(&saved, cases[i].section, cases[i].tag);

        assert_string_equal(field.name, cases[i].name);
        assert_int_equal(field.width, cases[i].width);
    }
    free(saved.at);
}

static void expect_nameless(const char *section_tag, const char *tag, const char *as)
{
    struct bytes saved = a_state("vapic");
    struct hvtlfs_state_field seen;

    memcpy(saved.at + section(&saved, section_tag, ANY_VP) + SECTION, tag, 4);
    seal(&saved);
    seen = visit(&saved, section_tag, as);
    assert_null(seen.name);
    assert_int_equal(seen.width, 0);
    free(saved.at);
}

static void test_a_visitor_sees_unknown_fields_without_a_name(void **state)
{
    (void)state;
    expect_nameless("IDEN", "WHAT", "WHAT");
    expect_nameless("IDEN", "PAGE", "PAGE"); /* of another section */
    expect_nameless("CONF", "KIND", "KIND");
    expect_nameless("OVLY", "FEAT", "FEAT");
    expect_nameless("IDEN", "!~\x7F\x1F", "!~  "); /* what does not print is a space */
    expect_nameless("IDEN", "\x80\xFF z", "   z");
}

static void test_a_visitor_sees_what_is_before_the_damage(void **state)
{
    struct bytes saved = a_state("vapic");
    struct seen seen = {.section = "", .tag = ""};
    struct hvtlfs_error error;
    size_t at = field(&saved, "CONF", "VPS ");

    (void)state;
    set_number(saved.at + at + 4, 0x7FFFFFFF, 4);
    seal(&saved);
    assert_int_equal(hvtlfs_state_visit(saved.at, saved.size, see, &seen, &error),
                     HVTLFS_ERR_STATE_FORMAT);
    assert_string_equal(error.name, "field.size");
    expect_numbers(&error, at + 4, 0);
    assert_int_equal(seen.count, 1); /* FEAT */
    free(saved.at);
}

/* ---- Can it run here? ---- */

struct found {
    char code[40];
    uint32_t feature;
};

static void note(void *context, const struct hvtlfs_finding *finding)
{
    struct found *found = context;

    (void)snprintf(found->code, sizeof(found->code), "%s", finding->code);
    found->feature = finding->feature;
}

static struct hvtlfs_check_result check(const struct bytes *saved, const char *features,
                                        bool invariant_tsc, uint64_t tsc_hz, struct found *found)
{
    struct hvtlfs_check_result result;
    struct fixture to;

    *found = (struct found){.code = ""};
    start_on(&to, features, false, invariant_tsc, tsc_hz);
    result = hvtlfs_state_check(to.partition, saved->at, saved->size, note, found);
    fixture_stop(&to);
    return result;
}

static void expect_counts(struct hvtlfs_check_result result, uint32_t notes, uint32_t warnings,
                          uint32_t errors)
{
    assert_int_equal(result.notes, notes);
    assert_int_equal(result.warnings, warnings);
    assert_int_equal(result.errors, errors);
}

/* A guest without a TSC page has none to lose. */
static void test_nothing_is_found_about_a_page_that_is_not_used(void **state)
{
    struct bytes saved = a_state("time");
    struct found found;

    (void)state;
    expect_counts(check(&saved, "time", true, 1000000000, &found), 0, 0, 0);
    expect_counts(check(&saved, "time", false, 1000000000, &found), 0, 0, 0);
    assert_string_equal(found.code, "");
    set_number(saved.at + field(&saved, "CLCK", "STIN") + FIELD, 0, 4);
    seal(&saved);
    expect_counts(check(&saved, "time", true, 1000000000, &found), 0, 0, 0);
    assert_string_equal(found.code, "");
    free(saved.at);
}

/* The reenlightenment interrupt is for those who asked for it. */
static void test_another_rate_is_a_note_to_a_guest_that_is_told(void **state)
{
    static const char features[] = "time,frequencies,reenlightenment";
    struct bytes saved = a_state(features);
    struct found found;

    (void)state;
    expect_counts(check(&saved, features, true, 2500000000, &found), 0, 1, 0);
    assert_string_equal(found.code, "state-tsc-rate");
    assert_int_equal(found.feature, HVTLFS_FEATURE_COUNT);
    set_number(saved.at + field(&saved, "REEN", "CTRL") + FIELD, 0x10050, 8); /* enabled, 0x50 */
    seal(&saved);
    expect_counts(check(&saved, features, true, 2500000000, &found), 1, 0, 0);
    assert_string_equal(found.code, "state-tsc-rate");
    assert_int_equal(found.feature, HVTLFS_FEATURE_REENLIGHTENMENT);
    free(saved.at);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_field_too_long_is_found_at_its_size),
        cmocka_unit_test(test_padding_is_found_at_its_byte),
        cmocka_unit_test(test_a_rows_size_is_that_of_its_numbers),
        cmocka_unit_test(test_a_number_of_a_feature_that_is_off_must_be_0),
        cmocka_unit_test(test_a_page_is_what_its_tag_says),
        cmocka_unit_test(test_an_item_of_another_size_is_none),
        cmocka_unit_test(test_the_index_that_differs_is_told),
        cmocka_unit_test(test_nothing_reaches_beyond_what_holds_it),
        cmocka_unit_test(test_flags_that_nobody_knows_are_found),
        cmocka_unit_test(test_rows_do_not_come_twice),
        cmocka_unit_test(test_a_number_is_judged_where_it_stands),
        cmocka_unit_test(test_fields_of_conf_have_their_sizes),
        cmocka_unit_test(test_what_the_guest_was_shown_must_be_the_same),
        cmocka_unit_test(test_a_clock_is_asked_for_where_it_is_needed),
        cmocka_unit_test(test_rates_that_nobody_emulates_may_be_unknown),
        cmocka_unit_test(test_a_used_partition_is_refused_without_a_word_to_the_host),
        cmocka_unit_test(test_auto_eoi_is_known_after_a_load),
        cmocka_unit_test(test_a_timers_flags_follow_its_registers),
        cmocka_unit_test(test_what_has_nothing_to_say_is_not_written),
        cmocka_unit_test(test_a_pages_last_byte_counts),
        cmocka_unit_test(test_the_longest_message_of_the_last_sint_comes_back),
        cmocka_unit_test(test_a_page_that_cannot_be_shown_leaves_no_trace),
        cmocka_unit_test(test_copies_that_cannot_be_taken_leave_no_trace),
        cmocka_unit_test(test_copies_that_cannot_be_made_leave_no_trace),
        cmocka_unit_test(test_a_configuration_is_the_states_but_for_the_hosts_own),
        cmocka_unit_test(test_damaged_bytes_give_no_configuration),
        cmocka_unit_test(test_a_configuration_begins_with_conf),
        cmocka_unit_test(test_an_unknown_feature_gives_no_configuration),
        cmocka_unit_test(test_tags_mean_something_in_their_section_only),
        cmocka_unit_test(test_no_limit_of_addresses_is_no_width),
        cmocka_unit_test(test_fields_that_are_no_rows_have_names_and_widths),
        cmocka_unit_test(test_a_visitor_sees_unknown_fields_without_a_name),
        cmocka_unit_test(test_a_visitor_sees_what_is_before_the_damage),
        cmocka_unit_test(test_nothing_is_found_about_a_page_that_is_not_used),
        cmocka_unit_test(test_another_rate_is_a_note_to_a_guest_that_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
