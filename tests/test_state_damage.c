/* SPDX-License-Identifier: MIT */
/*
 * Saved states that somebody has edited, with a right digest: each lie is found and named, and nothing
 * has changed. The offsets are those of docs/STATE.md, found by walking the bytes here.
 */
#include "state_editor.h"
#include "synic_fixture.h"

#include <hvtlfs/state.h>
#include <hvtlfs/time.h>

#include <stdio.h>

#define FEATURES                                                                                   \
    "time,frequencies,vapic,synic,stimer,stimer-direct,reenlightenment,unhalted-timer,stats"
#define PAGE_GPA UINT64_C(0x5000)
#define TSC_GPA UINT64_C(0x7000)
#define STATS_GPA UINT64_C(0x8000)

static const char *features = FEATURES;

static uint32_t policy;

static void set_policy(struct hvtlfs_config *config)
{
    config->policy = policy;
}

static void start(struct fixture *fixture)
{
    fixture_prepare(fixture);
    fixture->adjust = set_policy;
    fixture->features = features;
    fixture->config.invariant_tsc = true;
    fixture->config.apic_hz = 200000000;
    fixture_start(fixture);
}

static void live(struct fixture *fixture)
{
    struct hvtlfs_vp *other = hvtlfs_partition_vp(fixture->partition, 1);

    expect_write(fixture->vp, HV_X64_MSR_GUEST_OS_ID, LINUX_ID);
    expect_write(fixture->vp, HV_X64_MSR_HYPERCALL, PAGE_GPA | 1);
    expect_write(fixture->vp, HV_X64_MSR_REFERENCE_TSC, TSC_GPA | 1);
    synic_enable(fixture->vp);
    synic_enable(other);
    for (uint32_t i = 1; i <= 4; i++) { /* the first goes into the slot */
        assert_int_equal(post_number(fixture->vp, 2, i), HVTLFS_OK);
        assert_int_equal(post_number(other, 2, i), HVTLFS_OK);
    }
    hvtlfs_vp_poll(fixture->vp);
    expect_write(fixture->vp, HV_X64_MSR_STIMER0_CONFIG, 0x20009); /* SINT 2, auto-enable */
    expect_write(fixture->vp, HV_X64_MSR_STIMER0_COUNT, 100);
    model_host_advance(fixture->host, 1000);
    hvtlfs_vp_poll(fixture->vp);
}

static struct bytes a_state(void)
{
    struct fixture fixture;
    struct bytes saved;

    start(&fixture);
    live(&fixture);
    saved = save(&fixture);
    fixture_stop(&fixture);
    return saved;
}

/* Without a SynIC: only the hypercall page stands. */
static struct bytes a_small_state(void)
{
    struct fixture fixture;
    struct bytes saved;

    start(&fixture);
    expect_write(fixture.vp, HV_X64_MSR_GUEST_OS_ID, LINUX_ID);
    expect_write(fixture.vp, HV_X64_MSR_HYPERCALL, PAGE_GPA | 1);
    saved = save(&fixture);
    fixture_stop(&fixture);
    return saved;
}

/* ---- The judgement ---- */

static struct hvtlfs_error last;

/* Whether a section, or a field of one, begins there. The walk ends where the bytes stop making sense. */
static bool begins(const struct bytes *saved, uint64_t place, bool of_field)
{
    size_t at = HEADER;

    while (at + SECTION <= saved->size) {
        size_t end = at + SECTION + number(saved->at + at + 12);
        size_t inside = at + SECTION;

        if (!of_field && place == at) {
            return true;
        }
        while (of_field && inside + FIELD <= end && inside + FIELD <= saved->size) {
            if (place == inside) {
                return true;
            }
            inside += FIELD + ((number(saved->at + inside + 4) + 7) & 0x7FFFFFF8u);
        }
        at = end;
    }
    return false;
}

/* The value of a damaged state's error is the offset of what its name says (docs/STATE.md). */
static void expect_place(const struct bytes *saved, const struct hvtlfs_error *error)
{
    const char *name = error->name;

    assert_int_equal(error->limit, 0);
    assert_true(error->value <= saved->size);
    if (strcmp(name, "section.flags") == 0) {
        assert_true(begins(saved, error->value - 4, false));
    } else if (strcmp(name, "field.size") == 0) {
        assert_true(begins(saved, error->value - 4, true));
    } else if (strcmp(name, "field.padding") == 0) {
        assert_int_not_equal(saved->at[error->value], 0);
    } else if (strcmp(name, "section.size") != 0 && error->value != saved->size) {
        /* A field's bytes, a section's, or where the reader stood: before a section, or at the end. */
        if (!begins(saved, error->value - FIELD, true) && !begins(saved, error->value, true) &&
            !begins(saved, error->value, false)) {
            fail_msg("%s: nothing begins at %u", name, (unsigned)error->value);
        }
    }
    if (strncmp(name, "section.v", 9) == 0 || strcmp(name, "order of sections") == 0 ||
        strcmp(name, "unknown section") == 0) {
        assert_true(begins(saved, error->value, false));
    }
}

static void expect_answer(struct bytes *saved, enum hvtlfs_status status, const char *name)
{
    struct hvtlfs_error error = {.name = NULL};
    struct fixture to;
    uint8_t *before;

    seal(saved);
    start(&to);
    before = malloc(to.size);
    assert_non_null(before);
    memcpy(before, to.memory, to.size);
    assert_int_equal(hvtlfs_state_load(to.partition, saved->at, saved->size, &error), status);
    if (status) {
        assert_memory_equal(before, to.memory, to.size);
        assert_int_equal(model_host_overlay_count(to.host), 0);
        assert_string_equal(error.name, name);
        if (status == HVTLFS_ERR_STATE_FORMAT) {
            expect_place(saved, &error);
        }
    }
    last = error;
    free(before);
    free(saved->at);
    fixture_stop(&to);
}

/* A number of a state, changed. */
static void expect_number(const char *section_tag, const char *tag, size_t offset, uint64_t value,
                          size_t size, enum hvtlfs_status status, const char *name)
{
    struct bytes saved = a_state();

    set_number(saved.at + field(&saved, section_tag, tag) + FIELD + offset, value, size);
    expect_answer(&saved, status, name);
}

static void test_the_editor_changes_nothing_by_itself(void **state)
{
    struct bytes saved = a_state();

    (void)state;
    expect_answer(&saved, HVTLFS_OK, NULL);
}

/* ---- CONF ---- */

static void test_what_conf_must_have(void **state)
{
    static const char *const tags[] = {"FEAT", "VPS ", "COPY"};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct bytes saved = a_state();

        remove_field(&saved, "CONF", tags[i]);
        expect_answer(&saved, HVTLFS_ERR_STATE_FORMAT, "CONF.FEAT, VPS or COPY");
    }
}

static void test_conf_says_nothing_twice(void **state)
{
    static const char *const tags[] = {"FEAT", "VPS ", "COPY"};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct bytes saved = a_state();
        size_t at = field(&saved, "CONF", tags[i]);
        uint32_t size = FIELD + ((number(saved.at + at + 4) + 7) & ~7u);

        resize(&saved, section(&saved, "CONF", ANY_VP), at, (int)size);
        memcpy(saved.at + at, saved.at + at + size, size);
        expect_answer(&saved, HVTLFS_ERR_STATE_FORMAT, "unknown field");
    }
}

static void test_conf_comes_once_and_first(void **state)
{
    struct bytes saved = a_state();

    (void)state;
    repeat_section(&saved, section(&saved, "CONF", ANY_VP));
    expect_answer(&saved, HVTLFS_ERR_STATE_FORMAT, "order of sections");
    saved = a_state();
    set_number(saved.at + HEADER + 8, 0, 4); /* of VP 0 */
    expect_answer(&saved, HVTLFS_ERR_STATE_FORMAT, "order of sections");
    saved = a_state();
    memcpy(saved.at + HEADER, "OVLY", 4);
    expect_answer(&saved, HVTLFS_ERR_STATE_FORMAT, "order of sections");
}

static void test_a_state_with_fewer_features_names_the_one_it_lacks(void **state)
{
    struct bytes saved;

    (void)state;
    features = FEATURES ",unhalted-timer=off";
    saved = a_state();
    features = FEATURES;
    expect_answer(&saved, HVTLFS_ERR_STATE_INCOMPATIBLE,
                  "features: this partition has one that the state lacks");
    assert_int_equal(last.feature, HVTLFS_FEATURE_UNHALTED_TIMER);
    expect_numbers(&last, 0, 0);
    saved = a_state();
    features = FEATURES ",unhalted-timer=off";
    expect_answer(&saved, HVTLFS_ERR_STATE_INCOMPATIBLE,
                  "features: the state has one that this partition lacks");
    assert_int_equal(last.feature, HVTLFS_FEATURE_UNHALTED_TIMER);
    expect_numbers(&last, 0, 0);
    features = FEATURES;
}

static void test_a_feature_that_nobody_knows_is_no_other(void **state)
{
    struct bytes saved = a_state();

    (void)state;
    saved.at[field(&saved, "CONF", "FEAT") + FIELD] = 'Q';
    expect_answer(&saved, HVTLFS_ERR_STATE_INCOMPATIBLE,
                  "features: one that this version does not have");
    expect_numbers(&last, 0, 0);
}

static void test_the_list_of_vps_must_fit(void **state)
{
    struct bytes saved;
    size_t at;

    (void)state;
    expect_number("CONF", "VPS ", 0, 7, 4, HVTLFS_ERR_STATE_INCOMPATIBLE, "vp_index");
    expect_numbers(&last, 7, 0);
    expect_number("CONF", "VPS ", 12, 7, 4, HVTLFS_ERR_STATE_INCOMPATIBLE, "apic_id");
    expect_numbers(&last, 7, 1);
    expect_number("CONF", "VPS ", 4, 9, 4, HVTLFS_ERR_STATE_INCOMPATIBLE, "apic_id");
    expect_numbers(&last, 9, 0);
    expect_number("CONF", "COPY", 0, 2, 4, HVTLFS_ERR_STATE_FORMAT, "CONF.COPY");
    saved = a_state();
    at = field(&saved, "CONF", "VPS ");
    resize(&saved, section(&saved, "CONF", ANY_VP), at + FIELD, -8);
    set_number(saved.at + at + 4, 8, 4);
    expect_answer(&saved, HVTLFS_ERR_STATE_INCOMPATIBLE, "vp_count");
    expect_numbers(&last, 1, 2);
}

/* ---- OVLY ---- */

static void test_a_page_must_exist_once_and_in_order(void **state)
{
    struct bytes saved;

    (void)state;
    expect_number("OVLY", "KIND", 0, 99, 4, HVTLFS_ERR_STATE_FORMAT, "OVLY.KIND");
    expect_number("OVLY", "KIND", 0, HVTLFS_OVERLAY_SIM, 4, HVTLFS_ERR_STATE_FORMAT, "OVLY.KIND");
    saved = a_state();
    set_number(saved.at + section(&saved, "OVLY", 1) + 8, 77, 4); /* no such VP */
    expect_answer(&saved, HVTLFS_ERR_STATE_FORMAT, "OVLY.KIND");
    saved = a_state();
    set_number(saved.at + field_in(&saved, section(&saved, "OVLY", 1), "KIND") + FIELD,
               HVTLFS_OVERLAY_HYPERCALL, 4); /* not a VP's */
    expect_answer(&saved, HVTLFS_ERR_STATE_FORMAT, "OVLY.KIND");
    saved = a_state();
    repeat_section(&saved, section(&saved, "OVLY", 1));
    expect_answer(&saved, HVTLFS_ERR_STATE_FORMAT, "OVLY.KIND");
    saved = a_state(); /* a kind that these features do not bring */
    set_number(saved.at + field_in(&saved, section(&saved, "OVLY", HVTLFS_NO_VP), "KIND") + FIELD,
               HVTLFS_OVERLAY_STATS_PARTITION, 4);
    expect_answer(&saved, HVTLFS_ERR_STATE_FORMAT, "OVLY.KIND");
}

static void test_a_page_stands_at_a_page_of_the_guest(void **state)
{
    (void)state;
    expect_number("OVLY", "GPA ", 0, PAGE_GPA + 1, 8, HVTLFS_ERR_STATE_FORMAT, "OVLY.GPA");
    expect_number("OVLY", "GPA ", 0, UINT64_C(1) << 40, 8, HVTLFS_ERR_STATE_FORMAT, "OVLY.GPA");
    expect_number("OVLY", "GPA ", 0, UINT64_MAX, 8, HVTLFS_ERR_STATE_FORMAT, "identity.hypercall");
    expect_number("OVLY", "GPA ", 0, PAGE_GPA + 0x1000, 8, HVTLFS_ERR_STATE_FORMAT,
                  "identity.hypercall");
}

static void test_fields_of_a_page_have_their_sizes(void **state)
{
    static const char *const tags[] = {"KIND", "GPA ", "PAGE"};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct bytes saved = a_state();
        size_t at = field(&saved, "OVLY", tags[i]);
        uint32_t size = number(saved.at + at + 4);

        set_number(saved.at + at + 4, size - 1, 4);
        saved.at[at + FIELD + size - 1] = 0; /* padding now */
        expect_answer(&saved, HVTLFS_ERR_STATE_FORMAT, "unknown field");
    }
}

static void test_pages_come_after_the_rows(void **state)
{
    struct bytes saved = a_state();
    size_t at = section(&saved, "OVLY", 1);

    (void)state;
    /* The last page's section becomes one of rows, then one of messages. */
    memcpy(saved.at + at, "IDEN", 4);
    expect_answer(&saved, HVTLFS_ERR_STATE_FORMAT, "order of sections");
    saved = a_state();
    memcpy(saved.at + at, "SMSG", 4);
    expect_answer(&saved, HVTLFS_ERR_STATE_FORMAT, "unknown section");
}

/* Of a kind that the partition has no page for. */
static void test_a_page_without_its_feature_is_refused(void **state)
{
    struct bytes saved;

    (void)state;
    features = "vapic";
    saved = a_small_state();
    set_number(saved.at + field(&saved, "OVLY", "KIND") + FIELD, HVTLFS_OVERLAY_REFERENCE_TSC, 4);
    expect_answer(&saved, HVTLFS_ERR_STATE_FORMAT, "OVLY.KIND");
    features = FEATURES;
}

/* ---- SMSG ---- */

static void test_an_item_is_judged_byte_by_byte(void **state)
{
    static const struct {
        size_t at;
        uint8_t byte;
    } lies[] = {
        {0, 16},  /* no such SINT */
        {1, 1},   /* a timer with a message */
        {2, 1},   /* not zero */
        {3, 1},   /* not zero */
        {4, 0},   /* message type 0: an empty slot */
        {8, 241}, /* payload_size beyond 240 */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        struct bytes saved = a_state();
        size_t at = field(&saved, "SMSG", "ITEM") + FIELD;

        if (lies[i].at == 4) {
            set_number(saved.at + at + 4, 0, 4);
        } else {
            saved.at[at + lies[i].at] = lies[i].byte;
        }
        expect_answer(&saved, HVTLFS_ERR_STATE_FORMAT, "SMSG.ITEM");
    }
}

/* The timer's own item is the last of VP 0's: SINT, timer + 1. */
static size_t timer_item(const struct bytes *saved)
{
    size_t at = section(saved, "SMSG", 0) + SECTION;

    while (number(saved->at + at + 4) != 4) {
        at += FIELD + ((number(saved->at + at + 4) + 7) & ~7u);
    }
    return at;
}

static void test_a_timers_item_is_judged(void **state)
{
    struct bytes saved = a_state();
    size_t at = timer_item(&saved);

    (void)state;
    assert_int_equal(saved.at[at + FIELD], 2);
    assert_int_equal(saved.at[at + FIELD + 1], 1);
    saved.at[at + FIELD + 1] = 5; /* no such timer */
    expect_answer(&saved, HVTLFS_ERR_STATE_FORMAT, "SMSG.ITEM");
    saved = a_state();
    saved.at[at + FIELD + 1] = 0; /* neither a timer nor a message */
    expect_answer(&saved, HVTLFS_ERR_STATE_FORMAT, "SMSG.ITEM");
    saved = a_state(); /* twice */
    resize(&saved, section(&saved, "SMSG", 0), at, 16);
    memcpy(saved.at + at, saved.at + at + 16, 16);
    expect_answer(&saved, HVTLFS_ERR_STATE_FORMAT, "SMSG.ITEM");
    saved = a_state(); /* too short for its first bytes */
    set_number(saved.at + at + 4, 2, 4);
    set_number(saved.at + at + FIELD, 0, 4);
    expect_answer(&saved, HVTLFS_ERR_STATE_FORMAT, "SMSG.ITEM");
}

/* What cannot wait for this SINT is forgotten: the timer's registers decide. */
static void test_a_timers_item_of_another_sint_is_dropped(void **state)
{
    struct bytes saved = a_state();

    (void)state;
    saved.at[timer_item(&saved) + FIELD] = 3;
    expect_answer(&saved, HVTLFS_OK, NULL);
    saved = a_state();
    saved.at[timer_item(&saved) + FIELD + 1] = 2; /* a timer that is not waiting */
    expect_answer(&saved, HVTLFS_OK, NULL);
    saved = a_state();
    set_number(saved.at + field(&saved, "STIM", "CNF0") + FIELD, 0x1501, 8); /* direct mode */
    expect_answer(&saved, HVTLFS_OK, NULL);
}

static void test_a_timer_that_runs_without_a_count_does_not_run(void **state)
{
    struct bytes saved = a_state();

    (void)state;
    set_number(saved.at + field(&saved, "STIM", "RUN1") + FIELD, 1, 4);
    expect_answer(&saved, HVTLFS_OK, NULL);
}

static void test_an_unknown_item_is_refused_unless_optional(void **state)
{
    struct bytes saved = a_state();
    size_t at = timer_item(&saved);

    (void)state;
    memcpy(saved.at + at, "WHAT", 4);
    expect_answer(&saved, HVTLFS_ERR_STATE_FORMAT, "unknown field");
    saved = a_state();
    memcpy(saved.at + at, "WHAT", 4);
    saved.at[at + 7] = 0x80;
    expect_answer(&saved, HVTLFS_OK, NULL);
}

static void test_messages_belong_to_one_vp_after_the_other(void **state)
{
    struct bytes saved = a_state();

    (void)state;
    set_number(saved.at + section(&saved, "SMSG", 0) + 8, 77, 4);
    expect_answer(&saved, HVTLFS_ERR_STATE_FORMAT, "section.vp_index");
    saved = a_state();
    repeat_section(&saved, section(&saved, "SMSG", 0));
    expect_answer(&saved, HVTLFS_ERR_STATE_FORMAT, "section.vp_index");
    saved = a_state();
    memcpy(saved.at + section(&saved, "STIM", 1), "SMSG", 4); /* a row is missing then */
    expect_answer(&saved, HVTLFS_ERR_STATE_FORMAT, "stimer[0].config");
}

static void test_messages_without_a_synic_are_refused(void **state)
{
    struct fixture fixture;
    struct bytes saved;

    (void)state;
    features = "time,frequencies";
    start(&fixture);
    saved = save(&fixture);
    fixture_stop(&fixture);
    splice(&saved, saved.size, 0, "SMSG\0\0\0\0\0\0\0\0\0\0\0\0", SECTION);
    expect_answer(&saved, HVTLFS_ERR_STATE_FORMAT, "section.vp_index");
    features = FEATURES;
}

/* ---- What no field can see alone ---- */

static void test_the_hypercall_page_needs_its_guest_and_its_place(void **state)
{
    (void)state;
    expect_number("IDEN", "OSID", 0, 0, 8, HVTLFS_ERR_STATE_FORMAT, "identity.hypercall");
    expect_number("IDEN", "HCAL", 0, 0, 8, HVTLFS_ERR_STATE_FORMAT, "identity.hypercall");
    expect_number("IDEN", "HCAL", 0, (PAGE_GPA + 0x1000) | 1, 8, HVTLFS_ERR_STATE_FORMAT,
                  "identity.hypercall");
    expect_number("IDEN", "HCAL", 0, UINT64_C(1) << 40 | 1, 8, HVTLFS_ERR_STATE_FORMAT,
                  "identity.hypercall");
}

static void test_emulation_of_a_rate_needs_both_rates(void **state)
{
    static const uint64_t rates[][2] = {{0, 1000000000}, {1000000000, 0}, {1000000000, 1000000000}};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct bytes saved = a_state();

        set_number(saved.at + field(&saved, "REEN", "EMUL") + FIELD, 1, 4);
        set_number(saved.at + field(&saved, "REEN", "KNHZ") + FIELD, rates[i][0], 8);
        set_number(saved.at + field(&saved, "REEN", "REHZ") + FIELD, rates[i][1], 8);
        if (i < 2) {
            expect_answer(&saved, HVTLFS_ERR_STATE_FORMAT, "reenlighten.known_hz");
        } else {
            free(saved.at);
        }
    }
}

static void test_rows_name_a_vp_that_exists_or_none(void **state)
{
    struct bytes saved = a_state();

    (void)state;
    set_number(saved.at + section(&saved, "VCLK", ANY_VP) + 8, 77, 4);
    expect_answer(&saved, HVTLFS_ERR_STATE_FORMAT, "section.vp_index");
    saved = a_state();
    set_number(saved.at + section(&saved, "IDEN", ANY_VP) + 8, 0, 4);
    expect_answer(&saved, HVTLFS_ERR_STATE_FORMAT, "section.vp_index");
}

/* 0: idle; 0x100 and 0x300 with a vector: armed, ended; 0x200 stands only behind the lock. */
static void test_lazy_eoi_has_two_states_that_wait(void **state)
{
    static const uint32_t good[] = {0, 0x150, 0x350};
    static const uint32_t bad[] = {0x50, 0x250, 0x450, 0x40000150};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        expect_number("VAPC", "LAZY", 0, good[i], 4, HVTLFS_OK, NULL);
    }
    for (size_t i = 0; i < 4; i++) {
        expect_number("VAPC", "LAZY", 0, bad[i], 4, HVTLFS_ERR_STATE_FORMAT, "vapic.lazy");
    }
}

static void test_lazy_eoi_is_not_loaded_where_it_is_forbidden(void **state)
{
    struct bytes saved;

    (void)state;
    policy = HVTLFS_POLICY_NO_LAZY_EOI;
    saved = a_state();
    set_number(saved.at + field(&saved, "VAPC", "LAZY") + FIELD, 0x150, 4);
    expect_answer(&saved, HVTLFS_ERR_STATE_FORMAT, "vapic.lazy");
    policy = 0;
}

/* More messages than a partition has buffers for, counting one of its own for each SINT. */
static void test_more_messages_than_buffers_are_refused(void **state)
{
    struct bytes saved = a_state();
    size_t at = field_in(&saved, section(&saved, "SMSG", 0), "ITEM");
    uint8_t item[FIELD + 264];

    (void)state;
    memcpy(item, saved.at + at, sizeof(item)); /* 260 bytes and their padding */
    for (int i = 0; i < 3000; i++) {
        size_t begin = section(&saved, "SMSG", 0);

        splice(&saved, at, 0, item, sizeof(item));
        set_number(saved.at + begin + 12, number(saved.at + begin + 12) + sizeof(item), 4);
    }
    expect_answer(&saved, HVTLFS_ERR_STATE_INCOMPATIBLE,
                  "message_buffers: too few for the messages that wait");
}

/* TLFS 12.5: a vector below 16 is none; 2 is the NMI. */
static void test_the_unhalted_timers_vector_is_judged(void **state)
{
    static const struct {
        uint64_t config;
        bool good;
    } cases[] = {
        {0, true},
        {0x0F, true}, /* disabled */
        {UINT64_C(1) << 8 | 2, true},
        {UINT64_C(1) << 8 | 16, true},
        {UINT64_C(1) << 8 | 255, true},
        {UINT64_C(1) << 8 | 15, false},
        {UINT64_C(1) << 8 | 0, false},
        {UINT64_C(1) << 9, false}, /* reserved */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        expect_number("UNHL", "CONF", 0, cases[i].config, 8,
                      cases[i].good ? HVTLFS_OK : HVTLFS_ERR_STATE_FORMAT, "unhalted.config");
    }
}

/* ---- Where the partition does not suit ---- */

static enum hvtlfs_status load_into(const char *with, bool invariant_tsc, bool host_clock)
{
    struct bytes saved;
    struct fixture to;
    enum hvtlfs_status status;

    features = with;
    start(&to);
    saved = save(&to);
    fixture_stop(&to);
    fixture_prepare(&to);
    to.features = with;
    to.config.invariant_tsc = invariant_tsc;
    to.config.apic_hz = 200000000;
    fixture_start(&to);
    if (!host_clock) {
        set_number(saved.at + field(&saved, "CLCK", "STIN") + FIELD, 0, 4);
        seal(&saved);
    }
    status = hvtlfs_state_load(to.partition, saved.at, saved.size, NULL);
    free(saved.at);
    fixture_stop(&to);
    features = FEATURES;
    return status;
}

static void test_a_host_with_its_own_clock_takes_every_start(void **state)
{
    (void)state;
    assert_int_equal(load_into("time", true, true), HVTLFS_OK);
    assert_int_equal(load_into("time", false, true), HVTLFS_OK);
    assert_int_equal(load_into("time", false, false), HVTLFS_OK);
}

static void take_host_time(struct hvtlfs_config *config)
{
    config->ops.host_time = NULL;
}

/* A life that began by the host's clock cannot go on where there is none. */
static void test_a_host_without_a_clock_is_refused_a_state_that_needs_it(void **state)
{
    struct hvtlfs_error error;
    struct fixture to;
    struct bytes saved;

    (void)state;
    features = "time";
    start(&to);
    saved = save(&to);
    fixture_stop(&to);
    features = FEATURES;
    set_number(saved.at + field(&saved, "CLCK", "STIN") + FIELD, 0, 4);
    seal(&saved);
    fixture_prepare(&to);
    to.features = "time";
    to.config.invariant_tsc = true;
    to.config.apic_hz = 200000000;
    to.adjust = take_host_time;
    fixture_start(&to);
    assert_int_equal(hvtlfs_state_load(to.partition, saved.at, saved.size, &error),
                     HVTLFS_ERR_STATE_INCOMPATIBLE);
    assert_string_equal(error.name, "clock.started_invariant");
    free(saved.at);
    fixture_stop(&to);
}

/* A page, an identity, or an address that was written while no page could stand there. */
static void test_a_partition_that_shows_anything_is_not_fresh(void **state)
{
    static const uint32_t msrs[] = {HV_X64_MSR_GUEST_OS_ID, HV_X64_MSR_REFERENCE_TSC,
                                    HV_X64_MSR_SIMP, HV_X64_MSR_HYPERCALL};
    static const uint64_t values[] = {LINUX_ID, TSC_GPA, SIM_GPA | 1, PAGE_GPA};
    struct bytes saved = a_state();

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct fixture to;

        start(&to);
        if (i == 3) {
            expect_write(to.vp, HV_X64_MSR_GUEST_OS_ID, LINUX_ID);
        }
        expect_write(to.vp, msrs[i], values[i]);
        if (i == 3) {
            expect_write(to.vp, HV_X64_MSR_GUEST_OS_ID, 0);
        }
        assert_int_equal(hvtlfs_state_load(to.partition, saved.at, saved.size, NULL),
                         HVTLFS_ERR_ORDER);
        fixture_stop(&to);
    }
    free(saved.at);
}

/* ---- Arguments ---- */

static void see_nothing(void *context, const struct hvtlfs_state_field *seen)
{
    (void)context;
    (void)seen;
}

static void test_missing_arguments_are_named(void **state)
{
    struct hvtlfs_error error = {.value = 5, .limit = 5};
    struct hvtlfs_config config;
    struct hvtlfs_vp_config vps[2];
    struct bytes saved = a_state();
    struct fixture to;
    uint8_t buffer[8];
    size_t used;

    (void)state;
    start(&to);
    assert_int_equal(hvtlfs_state_save(NULL, buffer, 8, &used, &error), HVTLFS_ERR_ARGUMENT);
    expect_numbers(&error, 0, 0);
    assert_string_equal(error.name, "partition");
    assert_int_equal(hvtlfs_state_save(to.partition, NULL, 8, &used, &error), HVTLFS_ERR_ARGUMENT);
    expect_numbers(&error, 0, 0);
    assert_string_equal(error.name, "buffer");
    assert_int_equal(hvtlfs_state_save(to.partition, buffer, 8, NULL, &error), HVTLFS_ERR_ARGUMENT);
    expect_numbers(&error, 0, 0);
    assert_string_equal(error.name, "used");
    assert_int_equal(hvtlfs_state_load(NULL, saved.at, saved.size, &error), HVTLFS_ERR_ARGUMENT);
    expect_numbers(&error, 0, 0);
    assert_string_equal(error.name, "partition");
    assert_int_equal(hvtlfs_state_load(to.partition, NULL, 8, &error), HVTLFS_ERR_ARGUMENT);
    expect_numbers(&error, 0, 0);
    assert_string_equal(error.name, "state");
    hvtlfs_config_init(&config);
    assert_int_equal(hvtlfs_state_config(NULL, 8, &config, vps, 2, &error), HVTLFS_ERR_ARGUMENT);
    expect_numbers(&error, 0, 0);
    assert_int_equal(hvtlfs_state_config(saved.at, saved.size, NULL, vps, 2, &error),
                     HVTLFS_ERR_ARGUMENT);
    expect_numbers(&error, 0, 0);
    assert_int_equal(hvtlfs_state_config(saved.at, saved.size, &config, NULL, 2, &error),
                     HVTLFS_ERR_ARGUMENT);
    expect_numbers(&error, 0, 0);
    config.size--;
    assert_int_equal(hvtlfs_state_config(saved.at, saved.size, &config, vps, 2, &error),
                     HVTLFS_ERR_ARGUMENT);
    expect_numbers(&error, 0, 0);
    assert_int_equal(hvtlfs_state_visit(NULL, 8, see_nothing, NULL, &error), HVTLFS_ERR_ARGUMENT);
    expect_numbers(&error, 0, 0);
    assert_string_equal(error.name, "state");
    assert_int_equal(hvtlfs_state_visit(saved.at, saved.size, NULL, NULL, &error),
                     HVTLFS_ERR_ARGUMENT);
    expect_numbers(&error, 0, 0);
    assert_string_equal(error.name, "visit");
    free(saved.at);
    fixture_stop(&to);
}

static void test_a_configuration_with_a_bad_list_of_vps_is_refused(void **state)
{
    static const uint32_t sizes[] = {0, 12};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct bytes saved = a_state();
        size_t at = field(&saved, "CONF", "VPS ");
        struct hvtlfs_vp_config vps[2];
        struct hvtlfs_config config;
        struct hvtlfs_error error;

        set_number(saved.at + at + 4, sizes[i], 4);
        set_number(saved.at + at + FIELD, 0, 8);
        set_number(saved.at + at + FIELD + 8, 0, 8);
        seal(&saved);
        hvtlfs_config_init(&config);
        assert_int_equal(hvtlfs_state_config(saved.at, saved.size, &config, vps, 2, &error),
                         HVTLFS_ERR_STATE_FORMAT);
        assert_string_equal(error.name, "CONF.VPS");
        free(saved.at);
    }
}

/* ---- Can it run here? ---- */

struct codes {
    char text[200];
};

static void keep_code(void *context, const struct hvtlfs_finding *finding)
{
    struct codes *codes = context;
    size_t used = strlen(codes->text);

    (void)snprintf(codes->text + used, sizeof(codes->text) - used, "%s ", finding->code);
}

static void expect_codes(const struct bytes *saved, bool invariant_tsc, const char *expected)
{
    struct codes codes = {""};
    struct fixture to;

    fixture_prepare(&to);
    to.features = features;
    to.config.invariant_tsc = invariant_tsc;
    to.config.apic_hz = 200000000;
    fixture_start(&to);
    (void)hvtlfs_state_check(to.partition, saved->at, saved->size, keep_code, &codes);
    assert_string_equal(codes.text, expected);
    (void)hvtlfs_state_check(to.partition, saved->at, saved->size, NULL, NULL);
    fixture_stop(&to);
}

static void test_the_fate_of_the_tsc_page_is_told(void **state)
{
    struct bytes saved = a_state();

    (void)state;
    expect_codes(&saved, true, "");
    expect_codes(&saved, false, "state-page-lost ");
    set_number(saved.at + field(&saved, "CLCK", "STIN") + FIELD, 0, 4);
    seal(&saved);
    expect_codes(&saved, true, "state-page-stays-off ");
    set_number(saved.at + field(&saved, "CLCK", "INVT") + FIELD, 0, 4);
    seal(&saved);
    expect_codes(&saved, false, "");
    free(saved.at);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_editor_changes_nothing_by_itself),
        cmocka_unit_test(test_what_conf_must_have),
        cmocka_unit_test(test_conf_says_nothing_twice),
        cmocka_unit_test(test_conf_comes_once_and_first),
        cmocka_unit_test(test_a_state_with_fewer_features_names_the_one_it_lacks),
        cmocka_unit_test(test_a_feature_that_nobody_knows_is_no_other),
        cmocka_unit_test(test_the_list_of_vps_must_fit),
        cmocka_unit_test(test_a_page_must_exist_once_and_in_order),
        cmocka_unit_test(test_a_page_stands_at_a_page_of_the_guest),
        cmocka_unit_test(test_fields_of_a_page_have_their_sizes),
        cmocka_unit_test(test_pages_come_after_the_rows),
        cmocka_unit_test(test_a_page_without_its_feature_is_refused),
        cmocka_unit_test(test_an_item_is_judged_byte_by_byte),
        cmocka_unit_test(test_a_timers_item_is_judged),
        cmocka_unit_test(test_a_timers_item_of_another_sint_is_dropped),
        cmocka_unit_test(test_a_timer_that_runs_without_a_count_does_not_run),
        cmocka_unit_test(test_an_unknown_item_is_refused_unless_optional),
        cmocka_unit_test(test_messages_belong_to_one_vp_after_the_other),
        cmocka_unit_test(test_messages_without_a_synic_are_refused),
        cmocka_unit_test(test_the_hypercall_page_needs_its_guest_and_its_place),
        cmocka_unit_test(test_emulation_of_a_rate_needs_both_rates),
        cmocka_unit_test(test_rows_name_a_vp_that_exists_or_none),
        cmocka_unit_test(test_lazy_eoi_has_two_states_that_wait),
        cmocka_unit_test(test_lazy_eoi_is_not_loaded_where_it_is_forbidden),
        cmocka_unit_test(test_more_messages_than_buffers_are_refused),
        cmocka_unit_test(test_the_unhalted_timers_vector_is_judged),
        cmocka_unit_test(test_a_host_with_its_own_clock_takes_every_start),
        cmocka_unit_test(test_a_host_without_a_clock_is_refused_a_state_that_needs_it),
        cmocka_unit_test(test_a_partition_that_shows_anything_is_not_fresh),
        cmocka_unit_test(test_missing_arguments_are_named),
        cmocka_unit_test(test_a_configuration_with_a_bad_list_of_vps_is_refused),
        cmocka_unit_test(test_the_fate_of_the_tsc_page_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
