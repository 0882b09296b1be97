/* SPDX-License-Identifier: MIT */
#include <hvtlfs/describe.h>

#include <hvtlfs/names.h>
#include <hvtlfs/time.h>

#include "sentence.h"
#include "state.h"

/* ---- Counters ---- */

#define COUNTERS_MIN (offsetof(struct hvtlfs_counters, hypercall_faults) + sizeof(uint64_t))

static uint64_t sum(const uint64_t *counters, uint32_t count)
{
    uint64_t total = 0;

    while (count--) {
        total += hvti_load(&counters[count]);
    }
    return total;
}

enum hvtlfs_status hvtlfs_read_counters(const struct hvtlfs_vp *vp,
                                        struct hvtlfs_counters *counters)
{
    const struct hvti_counters *own = &vp->counters;
    struct hvtlfs_counters all = {.size = counters->size,
                                  .msr_exits = sum(own->msrs, HVTI_MSR_COUNTERS),
                                  .msr_faults = hvti_load(&own->msr_faults),
                                  .hypercalls = sum(own->calls, HVTI_CALL_COUNTERS),
                                  .hypercall_errors = hvti_load(&own->call_errors),
                                  .hypercall_faults = hvti_load(&own->call_faults),
#define TALLY(member, together, words) .member = hvti_load(&own->tallies[HVTI_TALLY_##member]),
                                  HVTI_TALLIES
#undef TALLY
    };

    if (counters->size < COUNTERS_MIN) {
        return HVTLFS_ERR_STRUCT_SIZE;
    }
    memcpy(counters, &all, counters->size < sizeof(all) ? counters->size : sizeof(all));
    return HVTLFS_OK;
}

uint64_t hvtlfs_read_msr_counter(const struct hvtlfs_vp *vp, uint32_t number)
{
    uint32_t row;

    for (row = 0; row < HVTI_MSR_COUNTERS; row++) {
        uint32_t of_row;
        uint64_t features;

        hvti_msr_counter(row, &of_row, &features);
        if (of_row == number) {
            return hvti_load(&vp->counters.msrs[row]);
        }
    }
    return 0;
}

uint64_t hvtlfs_read_call_counter(const struct hvtlfs_vp *vp, uint16_t code)
{
    uint32_t row;

    for (row = HVTI_CALL_COUNTER_OTHER + 1; row < HVTI_CALL_COUNTERS; row++) {
        uint16_t of_row;
        uint64_t features;

        hvti_call_counter(row, &of_row, &features);
        if (of_row == code) {
            return hvti_load(&vp->counters.calls[row]);
        }
    }
    return 0;
}

/* ---- Use ---- */

static uint64_t msr_exits(const struct hvtlfs_partition *partition, uint32_t row)
{
    uint64_t total = 0;
    uint32_t slot;

    for (slot = 0; slot < partition->vp_count; slot++) {
        total += hvti_load(&partition->vps[slot].counters.msrs[row]);
    }
    return total;
}

static uint64_t call_exits(const struct hvtlfs_partition *partition, uint32_t row)
{
    uint64_t total = 0;
    uint32_t slot;

    for (slot = 0; slot < partition->vp_count; slot++) {
        total += hvti_load(&partition->vps[slot].counters.calls[row]);
    }
    return total;
}

/* Exits on the rows that a feature gates; `rows` says whether there are any. */
static uint64_t exits_of(const struct hvtlfs_partition *partition, enum hvtlfs_feature feature,
                         bool *has_rows)
{
    uint64_t total = 0;
    uint64_t features;
    uint32_t row, number;
    uint16_t code;

    *has_rows = false;
    for (row = 0; row < HVTI_MSR_COUNTERS; row++) {
        hvti_msr_counter(row, &number, &features);
        if (features == BIT64(feature)) {
            *has_rows = true;
            total += msr_exits(partition, row);
        }
    }
    for (row = HVTI_CALL_COUNTER_OTHER + 1; row < HVTI_CALL_COUNTERS; row++) {
        hvti_call_counter(row, &code, &features);
        if (hvti_mask_has(features, feature)) {
            *has_rows = true;
            total += call_exits(partition, row);
        }
    }
    return total;
}

enum hvtlfs_use hvtlfs_feature_use(const struct hvtlfs_partition *partition,
                                   enum hvtlfs_feature feature)
{
    bool has_rows;

    if ((uint32_t)feature >= HVTLFS_FEATURE_COUNT || !hvti_has(partition, feature)) {
        return HVTLFS_USE_OFF;
    }
    if (exits_of(partition, feature, &has_rows)) {
        return HVTLFS_USE_USED;
    }
    return has_rows ? HVTLFS_USE_NEVER : HVTLFS_USE_UNSEEN;
}

/* ---- Writing ---- */

/* A description under way, in either form: groups of members, members with a name and a value. */
struct page {
    struct sentence text;
    bool json;
    bool comma;
};

/* All of them are words of the library's own: nothing in them needs a backslash. */
static void quote(struct page *page, const char *words)
{
    sentence_char(&page->text, '"');
    sentence_add(&page->text, words);
    sentence_char(&page->text, '"');
}

static void key(struct page *page, const char *name)
{
    if (page->comma) {
        sentence_char(&page->text, ',');
    }
    page->comma = true;
    if (name) {
        quote(page, name);
        sentence_char(&page->text, ':');
    }
}

static void open(struct page *page, const char *name, char bracket)
{
    key(page, name);
    sentence_char(&page->text, bracket);
    page->comma = false;
}

static void close(struct page *page, char bracket)
{
    sentence_char(&page->text, bracket);
    page->comma = true;
}

static void member(struct page *page, const char *name, const char *value)
{
    key(page, name);
    quote(page, value);
}

/* As everywhere in the project's JSON: a string where a reader might lose bits. */
static void number(struct page *page, const char *name, uint64_t value)
{
    key(page, name);
    if (value <= UINT32_MAX) {
        sentence_number(&page->text, value);
        return;
    }
    sentence_char(&page->text, '"');
    sentence_hex(&page->text, value);
    sentence_char(&page->text, '"');
}

static void line(struct page *page, const char *a, const char *b, const char *c)
{
    sentence_add(&page->text, a);
    sentence_add(&page->text, b);
    sentence_add(&page->text, c);
    sentence_char(&page->text, '\n');
}

/* ---- The guest ---- */

static void describe_guest(struct page *page, const struct hvtlfs_partition *partition)
{
    uint64_t id = hvti_load(&partition->identity.guest_os_id);
    struct hvtlfs_guest_os os;

    hvtlfs_guest_os_id_decode(id, &os);
    if (page->json) {
        open(page, "guest", '{');
        number(page, "os_id", id);
        member(page, "vendor", os.vendor_name);
        member(page, "os", os.os_name);
        number(page, "version", os.open_source ? os.version : os.major_version);
        number(page, "build", os.build);
        close(page, '}');
        return;
    }
    if (!id) {
        line(page, "guest: has not said who it is", "", "");
        return;
    }
    sentence_add(&page->text, "guest: ");
    sentence_add(&page->text, os.vendor_name);
    sentence_add(&page->text, ", ");
    sentence_add(&page->text, os.os_name);
    sentence_add(&page->text, " (");
    sentence_hex(&page->text, id);
    line(page, ")", "", "");
}

/* ---- Features ---- */

static const char *const use_names[] = {
    [HVTLFS_USE_OFF] = "off",
    [HVTLFS_USE_UNSEEN] = "offered",
    [HVTLFS_USE_NEVER] = "never used",
    [HVTLFS_USE_USED] = "used",
};

static void describe_feature(struct page *page, const struct hvtlfs_partition *partition,
                             enum hvtlfs_feature feature)
{
    enum hvtlfs_use use = hvtlfs_feature_use(partition, feature);
    const char *why = hvtlfs_feature_why_off(partition, feature);
    bool has_rows;

    if (page->json) {
        open(page, NULL, '{');
        member(page, "name", hvtlfs_feature_name(feature));
        member(page, "use", use_names[use]);
        number(page, "exits", exits_of(partition, feature, &has_rows));
        if (why) {
            member(page, "why", why);
        }
        close(page, '}');
        return;
    }
    if (!hvti_mask_has(partition->configured, feature)) {
        return; /* nobody asked for it */
    }
    sentence_add(&page->text, "feature ");
    sentence_add(&page->text, hvtlfs_feature_name(feature));
    line(page, ": ", use_names[use], "");
    if (why) {
        line(page, "    ", why, "");
    }
}

static void describe_features(struct page *page, const struct hvtlfs_partition *partition)
{
    uint32_t feature;

    if (page->json) {
        open(page, "features", '[');
    }
    for (feature = 0; feature < HVTLFS_FEATURE_COUNT; feature++) {
        describe_feature(page, partition, (enum hvtlfs_feature)feature);
    }
    if (page->json) {
        close(page, ']');
    }
}

/* ---- Time ---- */

/* The page is valid, and still the guest comes for the time. */
static const char *why_msr(const struct hvtlfs_time_counters *counters,
                           enum hvtlfs_tsc_page_state state)
{
    if (!counters->msr_reads) {
        return NULL;
    }
    if (state == HVTLFS_TSC_PAGE_DISABLED && counters->msr_reads > 1000) {
        return "the guest reads the MSR and never enabled the page: look at its privileges with "
               "hvtlfs check";
    }
    if (state == HVTLFS_TSC_PAGE_VALID && counters->msr_reads_page_valid > 1000) {
        return "the page is valid and the guest reads the MSR all the same: it does not trust its "
               "TSC, or reads time where it cannot use the page";
    }
    return NULL;
}

static void describe_time(struct page *page, struct hvtlfs_partition *partition)
{
    struct hvtlfs_time_counters counters = {.size = sizeof(counters)};
    enum hvtlfs_tsc_page_state state = hvtlfs_tsc_page_query(partition);
    const char *why;

    (void)hvtlfs_read_time_counters(partition, &counters);
    why = why_msr(&counters, state);
    if (page->json) {
        open(page, "time", '{');
        member(page, "page", hvtlfs_tsc_page_state_name(state));
        member(page, "meaning", hvtlfs_tsc_page_state_text(state));
        number(page, "publications", counters.page_publications);
        number(page, "msr_reads", counters.msr_reads);
        number(page, "msr_reads_page_valid", counters.msr_reads_page_valid);
        if (why) {
            member(page, "why", why);
        }
        close(page, '}');
        return;
    }
    line(page, "TSC page: ", hvtlfs_tsc_page_state_text(state), "");
    sentence_add(&page->text, "TIME_REF_COUNT: read ");
    sentence_number(&page->text, counters.msr_reads);
    sentence_add(&page->text, " times, ");
    sentence_number(&page->text, counters.msr_reads_page_valid);
    line(page, " of them while the page was valid", "", "");
    if (why) {
        line(page, "    ", why, "");
    }
}

/* ---- Exits ---- */

static void describe_exit(struct page *page, const char *name, uint64_t exits)
{
    if (!exits) {
        return;
    }
    if (page->json) {
        number(page, name, exits);
        return;
    }
    sentence_add(&page->text, "exits ");
    sentence_add(&page->text, name);
    sentence_add(&page->text, ": ");
    sentence_number(&page->text, exits);
    sentence_char(&page->text, '\n');
}

static void describe_exits(struct page *page, const struct hvtlfs_partition *partition)
{
    uint64_t features, faults = 0, call_faults = 0, call_errors = 0;
    uint32_t row, msr, slot;
    uint16_t code;

    if (page->json) {
        open(page, "exits", '{');
    }
    for (row = 0; row < HVTI_MSR_COUNTERS; row++) {
        hvti_msr_counter(row, &msr, &features);
        describe_exit(page, hvtlfs_msr_name(msr), msr_exits(partition, row));
    }
    for (row = HVTI_CALL_COUNTER_OTHER + 1; row < HVTI_CALL_COUNTERS; row++) {
        hvti_call_counter(row, &code, &features);
        describe_exit(page, hvtlfs_call_name(code), call_exits(partition, row));
    }
    describe_exit(page, "unknown calls", call_exits(partition, HVTI_CALL_COUNTER_OTHER));
    if (page->json) {
        close(page, '}');
    }
    for (slot = 0; slot < partition->vp_count; slot++) {
        faults += hvti_load(&partition->vps[slot].counters.msr_faults);
        call_faults += hvti_load(&partition->vps[slot].counters.call_faults);
        call_errors += hvti_load(&partition->vps[slot].counters.call_errors);
    }
    describe_exit(page, page->json ? "msr_faults" : "that gave #GP", faults);
    describe_exit(page, page->json ? "call_faults" : "that gave #UD", call_faults);
    describe_exit(page, page->json ? "call_errors" : "of calls with an error status", call_errors);
}

/* ---- What is no exit ---- */

enum together { SUM, MOST };

static const struct {
    const char *member;
    const char *words;
    enum together together;
} tallies[HVTI_TALLY_COUNT] = {
#define TALLY(member, together, words) {#member, words, together},
    HVTI_TALLIES
#undef TALLY
};

static uint64_t tally(const struct hvtlfs_partition *partition, uint32_t which)
{
    uint64_t total = 0;
    uint32_t slot;

    for (slot = 0; slot < partition->vp_count; slot++) {
        uint64_t one = hvti_load(&partition->vps[slot].counters.tallies[which]);

        if (tallies[which].together == SUM) {
            total += one;
        } else if (one > total) {
            total = one;
        }
    }
    return total;
}

static void describe_tallies(struct page *page, const struct hvtlfs_partition *partition)
{
    uint32_t which;

    for (which = 0; which < HVTI_TALLY_COUNT; which++) {
        uint64_t total = tally(partition, which);

        if (page->json) {
            number(page, tallies[which].member, total);
        } else if (total) {
            sentence_add(&page->text, tallies[which].words);
            sentence_add(&page->text, ": ");
            sentence_number(&page->text, total);
            sentence_char(&page->text, '\n');
        }
    }
}

size_t hvtlfs_describe(struct hvtlfs_partition *partition, enum hvtlfs_format format, char *buffer,
                       size_t size)
{
    struct page page = {.text = {buffer, size, 0}, .json = format == HVTLFS_FORMAT_JSON};

    if (page.json) {
        open(&page, NULL, '{');
    }
    describe_guest(&page, partition);
    describe_features(&page, partition);
    describe_time(&page, partition);
    describe_exits(&page, partition);
    describe_tallies(&page, partition);
    if (page.json) {
        close(&page, '}');
    }
    return sentence_end(&page.text);
}
