/* SPDX-License-Identifier: MIT */
/* TLFS 12: the reference clock by MSR and by page, and its life across freeze, migration and thaw. */
#include "fixture.h"

#include <hvtlfs/guest_time.h>
#include <hvtlfs/reftime.h>
#include <hvtlfs/time.h>

#include "state.h"

#define PAGE UINT64_C(0x5000)
#define GHZ UINT64_C(1000000000)

static struct fixture fixture;

static void make(const char *features, bool invariant, uint64_t tsc_hz, bool copies)
{
    fixture_prepare(&fixture);
    fixture.options.tsc_hz = tsc_hz;
    fixture.options.tsc = UINT64_C(777000111222); /* no code may depend on its origin */
    fixture.options.copies_overlays = copies;
    fixture.config.invariant_tsc = invariant;
    fixture.config.apic_hz = 200000000;
    fixture.features = features;
    fixture_start(&fixture);
    memset(model_host_ram(fixture.host, 0), 0x77, 0x20000);
}

static int start(void **state)
{
    (void)state;
    make("hv-time,hv-frequencies,hv-reenlightenment,hv-tsc-invariant", true, GHZ, false);
    return 0;
}

static int start_copying(void **state)
{
    (void)state;
    make("hv-time,hv-frequencies", true, GHZ, true);
    return 0;
}

static int start_without_invariant_tsc(void **state)
{
    (void)state;
    make("hv-time", false, GHZ, false);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    fixture_stop(&fixture);
    return 0;
}

static struct hvtlfs_vp *vp(uint32_t index)
{
    return hvtlfs_partition_vp(fixture.partition, index);
}

static uint64_t msr_time(uint32_t index)
{
    uint64_t time = 0;

    assert_int_equal(hvtlfs_msr_read(vp(index), HV_X64_MSR_TIME_REF_COUNT, &time), HVTLFS_MSR_DONE);
    return time;
}

static struct hvtlfs_guest_tsc_page page_content(void)
{
    struct hvtlfs_guest_tsc_page page;

    assert_int_equal(model_host_guest_read(fixture.host, PAGE, &page, sizeof(page)),
                     MODEL_ACCESS_OK);
    page.sequence = model_le32(page.sequence);
    page.scale = model_le64(page.scale);
    page.offset = model_le64(page.offset);
    return page;
}

/* What the guest computes from the page, by the page's own words. */
static uint64_t page_time(uint32_t index)
{
    struct hvtlfs_guest_tsc_page page = page_content();

    assert_int_not_equal(page.sequence, 0);
    assert_int_not_equal(page.sequence, UINT32_MAX);
    return hvtlfs_guest_scale(model_host_tsc(fixture.host, index), page.scale, page.offset);
}

static void expect_page_invalid(enum hvtlfs_tsc_page_state why)
{
    assert_int_equal(hvtlfs_tsc_page_query(fixture.partition), why);
    assert_int_equal(page_content().sequence, 0);
}

static void expect_page_valid(void)
{
    assert_int_equal(hvtlfs_tsc_page_query(fixture.partition), HVTLFS_TSC_PAGE_VALID);
    assert_int_not_equal(page_content().sequence, 0);
}

static void enable_page(void)
{
    expect_write(fixture.vp, HV_X64_MSR_REFERENCE_TSC, PAGE | 1);
}

static void move_host(uint64_t tsc_hz, uint64_t tsc)
{
    model_host_set_tsc_hz(fixture.host, tsc_hz);
    model_host_set_tsc(fixture.host, tsc);
}

static void migrate_to(uint64_t tsc_hz, uint64_t tsc, bool invariant)
{
    assert_int_equal(hvtlfs_freeze(fixture.partition), HVTLFS_OK);
    move_host(tsc_hz, tsc);
    assert_int_equal(hvtlfs_migrate(fixture.partition, tsc_hz, invariant), HVTLFS_OK);
    assert_int_equal(hvtlfs_thaw(fixture.partition, 0), HVTLFS_OK);
}

/* ---- The counter ---- */

static void time_starts_at_0_whatever_the_clocks_show(void **state)
{
    (void)state;
    assert_int_equal(msr_time(0), 0);
    assert_int_equal(hvtlfs_reference_time(fixture.vp), 0);
}

static void time_counts_units_of_100_ns(void **state)
{
    (void)state;
    model_host_advance(fixture.host, 12345678);
    assert_in_range(msr_time(0), 12345677, 12345678);
    assert_in_range(msr_time(1), 12345677, 12345678);
}

static void the_counter_cannot_be_written(void **state)
{
    (void)state;
    expect_write_fault(fixture.vp, HV_X64_MSR_TIME_REF_COUNT, 0);
    expect_write_fault(fixture.vp, HV_X64_MSR_TIME_REF_COUNT, 5);
}

static void without_the_feature_the_registers_fault(void **state)
{
    (void)state;
    make("", true, GHZ, false);
    expect_read_fault(fixture.vp, HV_X64_MSR_TIME_REF_COUNT);
    expect_read_fault(fixture.vp, HV_X64_MSR_REFERENCE_TSC);
    expect_write_fault(fixture.vp, HV_X64_MSR_REFERENCE_TSC, PAGE | 1);
    expect_read_fault(fixture.vp, HV_X64_MSR_TSC_FREQUENCY);
    expect_read_fault(fixture.vp, HV_X64_MSR_REENLIGHTENMENT_CONTROL);
    assert_int_equal(hvtlfs_tsc_page_query(fixture.partition), HVTLFS_TSC_PAGE_NO_FEATURE);
    fixture_stop(&fixture);
}

static void from_the_host_clock_no_two_reads_give_the_same_value(void **state)
{
    uint64_t before = msr_time(0);
    uint32_t i;

    (void)state;
    for (i = 0; i < 10; i++) {
        uint64_t now = msr_time(i % 2);

        assert_true(now > before);
        before = now;
    }
    /* Nor does the clock that timers read fall behind what a guest was told. */
    assert_int_equal(hvtlfs_reference_time(fixture.vp), before);
    model_host_advance(fixture.host, 1000);
    assert_int_equal(msr_time(1), 1000);
}

static void the_host_clock_starts_at_0(void **state)
{
    (void)state;
    assert_int_equal(hvtlfs_reference_time(fixture.vp), 0);
    assert_int_equal(msr_time(0), 0);
    model_host_advance(fixture.host, 50);
    assert_int_equal(msr_time(1), 50);
}

/* ---- The page ---- */

static void the_page_has_scale_and_offset_and_zeros(void **state)
{
    uint8_t bytes[HVTLFS_PAGE_SIZE];
    uint64_t word;
    size_t i;

    (void)state;
    enable_page();
    expect_page_valid();
    assert_int_equal(model_host_guest_read(fixture.host, PAGE, bytes, sizeof(bytes)),
                     MODEL_ACCESS_OK);
    memcpy(&word, bytes + 8, 8);
    assert_int_equal(model_le64(word), UINT64_C(0x028F5C28F5C28F5C)); /* 2^64 / 100 */
    memcpy(&word, bytes + 16, 8);
    /* 777000111222 ticks of 1 ns are 7770001112.22 units; time 0 was then. */
    assert_int_equal(model_le64(word), (uint64_t)-INT64_C(7770001112));
    for (i = 4; i < 8; i++) {
        assert_int_equal(bytes[i], 0);
    }
    for (i = 24; i < sizeof(bytes); i++) {
        assert_int_equal(bytes[i], 0);
    }
}

static void page_and_msr_give_the_same_number(void **state)
{
    uint64_t ticks;
    uint32_t i;

    (void)state;
    enable_page();
    for (i = 0, ticks = 1; i < 62; i++, ticks = ticks * 2 + 1) {
        model_host_set_tsc(fixture.host, UINT64_C(777000111222) + ticks);
        assert_int_equal(page_time(0), msr_time(0));
        assert_int_equal(page_time(1), msr_time(1));
        assert_int_equal(page_time(1), hvtlfs_reference_time(fixture.vp));
    }
}

static void an_address_beyond_the_guests_space_is_no_fault(void **state)
{
    uint64_t beyond = (UINT64_C(1) << 40) | 1;

    (void)state;
    enable_page();
    expect_write(fixture.vp, HV_X64_MSR_REFERENCE_TSC, beyond);
    expect_read(fixture.vp, HV_X64_MSR_REFERENCE_TSC, beyond);
    assert_int_equal(model_host_guest_read32(fixture.host, PAGE), 0x77777777);
    assert_int_equal(hvtlfs_tsc_page_query(fixture.partition), HVTLFS_TSC_PAGE_UNREACHABLE);
    expect_write(fixture.vp, HV_X64_MSR_REFERENCE_TSC, UINT64_MAX);
    expect_read(fixture.vp, HV_X64_MSR_REFERENCE_TSC, UINT64_MAX);
}

static void bits_11_to_1_are_preserved(void **state)
{
    (void)state;
    expect_read(fixture.vp, HV_X64_MSR_REFERENCE_TSC, 0);
    expect_write(fixture.vp, HV_X64_MSR_REFERENCE_TSC, PAGE | 0xABD);
    expect_read(vp(1), HV_X64_MSR_REFERENCE_TSC, PAGE | 0xABD);
    expect_page_valid();
    expect_write(fixture.vp, HV_X64_MSR_REFERENCE_TSC, PAGE | 0xABC);
    expect_read(fixture.vp, HV_X64_MSR_REFERENCE_TSC, PAGE | 0xABC);
    assert_int_equal(model_host_overlay_count(fixture.host), 0);
}

static void what_the_page_covered_comes_back(void **state)
{
    (void)state;
    enable_page();
    expect_write(fixture.vp, HV_X64_MSR_REFERENCE_TSC, 0x9001);
    assert_int_equal(model_host_guest_read32(fixture.host, PAGE), 0x77777777);
    assert_int_equal(model_host_guest_read32(fixture.host, PAGE + 24), 0x77777777);
    assert_int_not_equal(model_host_guest_read32(fixture.host, 0x9000), 0x77777777);
    expect_write(fixture.vp, HV_X64_MSR_REFERENCE_TSC, 0);
    assert_int_equal(model_host_guest_read32(fixture.host, 0x9000), 0x77777777);
    assert_int_equal(hvtlfs_tsc_page_query(fixture.partition), HVTLFS_TSC_PAGE_DISABLED);
}

static void what_the_guest_wrote_into_the_page_is_never_believed(void **state)
{
    uint32_t forged = 0xFFFFFFFE;
    uint32_t sequence;

    (void)state;
    enable_page();
    sequence = page_content().sequence;
    /* This host copies: it cannot protect the page. */
    assert_int_equal(model_host_guest_write(fixture.host, PAGE, &forged, 4), MODEL_ACCESS_OK);
    migrate_to(2 * GHZ, 5, true);
    assert_int_equal(page_content().sequence, sequence + 1);
    model_host_guest_write64(fixture.host, PAGE + 0x800, 0x123456789);
    expect_write(fixture.vp, HV_X64_MSR_REFERENCE_TSC, 0x9001);
    assert_int_equal(model_host_guest_read64(fixture.host, 0x9800), 0);
}

static void a_write_of_the_page_that_fails_has_a_reason(void **state)
{
    (void)state;
    enable_page();
    assert_int_equal(hvtlfs_freeze(fixture.partition), HVTLFS_OK);
    model_host_fail(fixture.host, 1, true);
    assert_int_equal(hvtlfs_thaw(fixture.partition, 0), HVTLFS_OK);
    model_host_fail(fixture.host, 0, false);
    expect_page_invalid(HVTLFS_TSC_PAGE_WRITE_FAILED);
    expect_write(fixture.vp, HV_X64_MSR_REFERENCE_TSC, PAGE | 1);
    expect_page_valid();
}

static void the_page_follows_the_guests_reset(void **state)
{
    (void)state;
    enable_page();
    model_host_advance(fixture.host, 500);
    hvtlfs_partition_reset(fixture.partition);
    expect_read(fixture.vp, HV_X64_MSR_REFERENCE_TSC, 0);
    assert_int_equal(model_host_guest_read32(fixture.host, PAGE), 0x77777777);
    /* Time goes on: it counts from the partition's creation. */
    assert_in_range(msr_time(0), 499, 500);
    enable_page();
    expect_page_valid();
    assert_int_equal(page_time(0), msr_time(0));
}

static void reads_of_the_msr_with_a_valid_page_are_counted(void **state)
{
    struct hvtlfs_time_counters counters = {.size = sizeof(counters)};

    (void)state;
    (void)msr_time(0);
    enable_page();
    (void)msr_time(0);
    (void)msr_time(1);
    assert_int_equal(hvtlfs_read_time_counters(fixture.partition, &counters), HVTLFS_OK);
    assert_int_equal(counters.msr_reads, 3);
    assert_int_equal(counters.msr_reads_page_valid, 2);
    assert_int_equal(counters.page_publications, 1);
    assert_int_equal(counters.page_sequence, page_content().sequence);
    counters.size = 8;
    assert_int_equal(hvtlfs_read_time_counters(fixture.partition, &counters),
                     HVTLFS_ERR_STRUCT_SIZE);
}

/* ---- Reasons ---- */

static void expect_reason(bool invariant, uint64_t tsc_hz, enum hvtlfs_tsc_page_state why)
{
    make("hv-time", invariant, tsc_hz, false);
    enable_page();
    expect_page_invalid(why);
    fixture_stop(&fixture);
}

static void a_tsc_that_cannot_serve_has_its_reason(void **state)
{
    (void)state;
    expect_reason(false, GHZ, HVTLFS_TSC_PAGE_NOT_INVARIANT);
    expect_reason(true, 0, HVTLFS_TSC_PAGE_RATE_UNKNOWN);
    expect_reason(true, 1, HVTLFS_TSC_PAGE_RATE_LOW);
    expect_reason(true, 10000000, HVTLFS_TSC_PAGE_RATE_LOW);
    make("hv-time", true, 10000001, false);
    enable_page();
    expect_page_valid();
    fixture_stop(&fixture);
}

static void every_reason_has_a_word_and_a_phrase(void **state)
{
    uint32_t i, j;

    (void)state;
    for (i = 0; i < HVTLFS_TSC_PAGE_STATES; i++) {
        const char *name = hvtlfs_tsc_page_state_name((enum hvtlfs_tsc_page_state)i);

        assert_non_null(name);
        assert_non_null(hvtlfs_tsc_page_state_text((enum hvtlfs_tsc_page_state)i));
        for (j = 0; j < i; j++) {
            assert_string_not_equal(name,
                                    hvtlfs_tsc_page_state_name((enum hvtlfs_tsc_page_state)j));
        }
    }
    assert_null(hvtlfs_tsc_page_state_name(HVTLFS_TSC_PAGE_STATES));
    assert_null(hvtlfs_tsc_page_state_text(HVTLFS_TSC_PAGE_STATES));
}

/* ---- Freeze, migrate, thaw ---- */

static void calls_out_of_order_are_errors_and_change_nothing(void **state)
{
    (void)state;
    enable_page();
    model_host_advance(fixture.host, 100);
    assert_int_equal(hvtlfs_thaw(fixture.partition, 0), HVTLFS_ERR_ORDER);
    assert_int_equal(hvtlfs_migrate(fixture.partition, GHZ, true), HVTLFS_ERR_ORDER);
    assert_int_equal(hvtlfs_reference_time_set(fixture.partition, 1000), HVTLFS_ERR_ORDER);
    expect_page_valid();
    assert_int_equal(hvtlfs_freeze(fixture.partition), HVTLFS_OK);
    assert_int_equal(hvtlfs_freeze(fixture.partition), HVTLFS_ERR_ORDER);
    expect_page_invalid(HVTLFS_TSC_PAGE_FROZEN);
    assert_int_equal(hvtlfs_thaw(fixture.partition, UINT64_MAX), HVTLFS_ERR_ARGUMENT);
    expect_page_invalid(HVTLFS_TSC_PAGE_FROZEN);
    assert_int_equal(hvtlfs_thaw(fixture.partition, 0), HVTLFS_OK);
    assert_in_range(msr_time(0), 99, 100);
}

static void time_stands_still_while_frozen(void **state)
{
    uint64_t stopped;

    (void)state;
    enable_page();
    model_host_advance(fixture.host, 1000);
    stopped = msr_time(0);
    assert_int_equal(hvtlfs_freeze(fixture.partition), HVTLFS_OK);
    model_host_advance(fixture.host, 70000);
    assert_int_equal(msr_time(0), stopped);
    assert_int_equal(msr_time(1), stopped);
    assert_int_equal(hvtlfs_thaw(fixture.partition, 0), HVTLFS_OK);
    assert_int_equal(msr_time(0), stopped);
    assert_int_equal(page_time(1), stopped);
}

static void a_pause_can_be_shown_to_the_guest(void **state)
{
    uint64_t stopped;

    (void)state;
    model_host_advance(fixture.host, 1000);
    stopped = msr_time(0);
    assert_int_equal(hvtlfs_freeze(fixture.partition), HVTLFS_OK);
    model_host_advance(fixture.host, 70000);
    assert_int_equal(hvtlfs_thaw(fixture.partition, 70000), HVTLFS_OK);
    assert_int_equal(msr_time(0), stopped + 70000);
}

/* A chain over very different rates. Each stage may lose less than a unit when it ends. */
static void time_goes_on_through_a_chain_of_migrations(void **state)
{
    static const uint64_t rates[] = {
        10000001, GHZ, UINT64_C(1) << 63, UINT64_C(2899886000), 10000019, UINT64_C(4997961000)};
    uint64_t stopped, now;
    uint32_t stage;

    (void)state;
    enable_page();
    for (stage = 0; stage < 60; stage++) {
        model_host_advance(fixture.host, 100);
        stopped = page_time(0);
        migrate_to(rates[stage % 6], UINT64_C(0x9E3779B97F4A7C15) * stage, true);
        expect_page_valid();
        now = page_time(0);
        assert_int_equal(now, stopped);
        assert_int_equal(msr_time(1), stopped);
    }
    /* 60 stages of 100 units, each a little short. */
    assert_in_range(page_time(0), 60 * 99, 60 * 100);
}

static void to_a_host_without_invariant_tsc_and_back(void **state)
{
    uint64_t stopped;

    (void)state;
    enable_page();
    model_host_advance(fixture.host, 1000);
    stopped = msr_time(0);
    migrate_to(3 * GHZ, 99, false);
    expect_page_invalid(HVTLFS_TSC_PAGE_NOT_INVARIANT);
    assert_int_equal(hvtlfs_reference_time(fixture.vp), stopped);
    model_host_set_tsc(fixture.host, 12); /* means nothing now */
    model_host_advance(fixture.host, 1000);
    assert_int_equal(msr_time(0), stopped + 1000);
    assert_int_equal(msr_time(1), stopped + 1001);
    migrate_to(2 * GHZ, 7, true);
    expect_page_valid();
    assert_int_equal(page_time(0), stopped + 1001);
}

static void a_guest_that_started_without_does_not_pick_it_up(void **state)
{
    (void)state;
    enable_page();
    model_host_advance(fixture.host, 1000);
    migrate_to(2 * GHZ, 7, true);
    expect_page_invalid(HVTLFS_TSC_PAGE_STARTED_WITHOUT);
    assert_int_equal(msr_time(0), 1000);
}

static void take_host_time(struct hvtlfs_config *config)
{
    config->ops.host_time = NULL;
}

static void without_a_host_clock_the_tsc_cannot_be_given_up(void **state)
{
    (void)state;
    fixture_prepare(&fixture);
    fixture.features = "hv-time";
    fixture.config.invariant_tsc = true;
    fixture.adjust = take_host_time;
    fixture_start(&fixture);
    model_host_advance(fixture.host, 10);
    assert_int_equal(hvtlfs_freeze(fixture.partition), HVTLFS_OK);
    assert_int_equal(hvtlfs_migrate(fixture.partition, GHZ, false), HVTLFS_ERR_NO_CALLBACK);
    assert_int_equal(hvtlfs_migrate(fixture.partition, 10000000, true), HVTLFS_ERR_NO_CALLBACK);
    assert_int_equal(hvtlfs_thaw(fixture.partition, 0), HVTLFS_OK);
    assert_in_range(msr_time(0), 9, 10);
    fixture_stop(&fixture);
}

static void a_rate_that_the_guest_is_told_must_be_known(void **state)
{
    (void)state;
    assert_int_equal(hvtlfs_freeze(fixture.partition), HVTLFS_OK);
    assert_int_equal(hvtlfs_migrate(fixture.partition, 0, true), HVTLFS_ERR_TSC_RATE);
    assert_int_equal(hvtlfs_thaw(fixture.partition, 0), HVTLFS_OK);
    expect_read(fixture.vp, HV_X64_MSR_TSC_FREQUENCY, GHZ);
}

static void a_time_from_elsewhere_is_published_by_the_thaw_only(void **state)
{
    (void)state;
    enable_page();
    model_host_advance(fixture.host, 1000);
    assert_int_equal(hvtlfs_freeze(fixture.partition), HVTLFS_OK);
    assert_int_equal(hvtlfs_reference_time_set(fixture.partition, 998), HVTLFS_ERR_ARGUMENT);
    expect_page_invalid(HVTLFS_TSC_PAGE_FROZEN);
    assert_int_equal(hvtlfs_reference_time_set(fixture.partition, 123456), HVTLFS_OK);
    expect_page_invalid(HVTLFS_TSC_PAGE_CLOCK_NOT_SET);
    assert_int_equal(msr_time(0), 123456);
    assert_int_equal(hvtlfs_thaw(fixture.partition, 0), HVTLFS_OK);
    expect_page_valid();
    assert_int_equal(page_time(0), 123456);
}

static void the_sequence_changes_with_every_publication(void **state)
{
    uint32_t seen[20];
    uint32_t i, j;

    (void)state;
    enable_page();
    for (i = 0; i < 20; i++) {
        seen[i] = page_content().sequence;
        for (j = 0; j < i; j++) {
            assert_int_not_equal(seen[i], seen[j]);
        }
        migrate_to(GHZ + i, i, true);
    }
    /* The same rate and TSC again: the offset has changed, so has the sequence. */
    i = page_content().sequence;
    assert_int_equal(hvtlfs_freeze(fixture.partition), HVTLFS_OK);
    model_host_advance(fixture.host, 5);
    assert_int_equal(hvtlfs_thaw(fixture.partition, 0), HVTLFS_OK);
    assert_int_not_equal(page_content().sequence, i);
}

static void the_sequence_skips_0_and_all_ones(void **state)
{
    (void)state;
    enable_page();
    fixture.partition->tsc_page.sequence = 0xFFFFFFFD; /* as after 2^32 - 3 publications */
    migrate_to(2 * GHZ, 0, true);
    assert_int_equal(page_content().sequence, 0xFFFFFFFE);
    migrate_to(3 * GHZ, 0, true);
    assert_int_equal(page_content().sequence, 1);
    migrate_to(2 * GHZ, 0, true);
    assert_int_equal(page_content().sequence, 2);
}

/* ---- TSCs that differ ---- */

static void set_lead(uint32_t index, uint64_t lead, uint64_t ticks)
{
    model_host_set_tsc_offset(fixture.host, index, lead);
    hvtlfs_tsc_changed(vp(index), ticks);
}

static void a_guest_that_writes_its_tsc_keeps_its_time(void **state)
{
    uint64_t now;

    (void)state;
    enable_page();
    model_host_advance(fixture.host, 1000);
    now = msr_time(0);
    set_lead(1, (uint64_t)-500000, (uint64_t)-500000);
    expect_page_invalid(HVTLFS_TSC_PAGE_UNSYNCED);
    assert_int_equal(msr_time(0), now);
    assert_int_equal(msr_time(1), now);
    model_host_advance(fixture.host, 1000);
    assert_int_equal(msr_time(0), msr_time(1));
    now = msr_time(0);
    /* The other VP writes the same: they agree again. */
    set_lead(0, (uint64_t)-500000, (uint64_t)-500000);
    expect_page_valid();
    assert_int_equal(page_time(0), now);
    assert_int_equal(page_time(1), now);
    assert_int_equal(msr_time(1), now);
}

static void a_vp_that_returns_to_the_others_makes_the_page_valid(void **state)
{
    (void)state;
    enable_page();
    set_lead(1, 40, 40);
    set_lead(1, 50, 10);
    expect_page_invalid(HVTLFS_TSC_PAGE_UNSYNCED);
    set_lead(1, 0, (uint64_t)-50);
    expect_page_valid();
    assert_int_equal(page_time(0), 0);
    hvtlfs_tsc_changed(vp(1), 0);
    expect_page_valid();
}

static void leads_survive_a_migration(void **state)
{
    uint64_t now;

    (void)state;
    enable_page();
    set_lead(1, 4000, 4000);
    model_host_advance(fixture.host, 1000);
    now = msr_time(0);
    migrate_to(2 * GHZ, 55, true);
    expect_page_invalid(HVTLFS_TSC_PAGE_UNSYNCED);
    assert_int_equal(msr_time(0), now);
    assert_int_equal(msr_time(1), now);
    /* The host may set things right while the partition is frozen. */
    assert_int_equal(hvtlfs_freeze(fixture.partition), HVTLFS_OK);
    set_lead(0, 4000, 4000);
    assert_int_equal(hvtlfs_thaw(fixture.partition, 0), HVTLFS_OK);
    expect_page_valid();
    assert_int_equal(page_time(0), now);
    assert_int_equal(page_time(1), now);
}

/* ---- Frequencies and the invariant TSC ---- */

static void the_frequency_registers_tell_the_rates_and_cannot_be_written(void **state)
{
    (void)state;
    expect_read(fixture.vp, HV_X64_MSR_TSC_FREQUENCY, GHZ);
    expect_read(fixture.vp, HV_X64_MSR_APIC_FREQUENCY, 200000000);
    expect_write_fault(fixture.vp, HV_X64_MSR_TSC_FREQUENCY, GHZ);
    expect_write_fault(fixture.vp, HV_X64_MSR_APIC_FREQUENCY, 0);
    migrate_to(3 * GHZ, 5, true);
    expect_read(vp(1), HV_X64_MSR_TSC_FREQUENCY, 3 * GHZ);
}

static void the_invariant_tsc_shows_after_the_guest_asked_for_it(void **state)
{
    struct hvtlfs_cpuid_regs regs = {.eax = 1, .edx = 0x180};

    (void)state;
    assert_true(hvtlfs_cpuid(fixture.vp, 0x80000007, 0, &regs));
    assert_int_equal(regs.edx, 0x80);
    assert_int_equal(regs.eax, 1);
    expect_read(fixture.vp, HV_X64_MSR_TSC_INVARIANT_CONTROL, 0);
    expect_write_fault(fixture.vp, HV_X64_MSR_TSC_INVARIANT_CONTROL, 2);
    expect_write_fault(fixture.vp, HV_X64_MSR_TSC_INVARIANT_CONTROL, 3);
    expect_write(fixture.vp, HV_X64_MSR_TSC_INVARIANT_CONTROL, 1);
    expect_read(vp(1), HV_X64_MSR_TSC_INVARIANT_CONTROL, 1);
    regs.edx = 0x180;
    assert_false(hvtlfs_cpuid(fixture.vp, 0x80000007, 0, &regs));
    assert_int_equal(regs.edx, 0x180);
    /* What was disclosed cannot be taken back, but by a reset. */
    expect_write_fault(fixture.vp, HV_X64_MSR_TSC_INVARIANT_CONTROL, 0);
    expect_write(fixture.vp, HV_X64_MSR_TSC_INVARIANT_CONTROL, 1);
    hvtlfs_partition_reset(fixture.partition);
    expect_read(fixture.vp, HV_X64_MSR_TSC_INVARIANT_CONTROL, 0);
}

/* ---- Reenlightenment ---- */

#define NOTIFY_VP_1 (UINT64_C(1) << 32 | 0x10000 | 0x6E)

static void the_guest_is_notified_after_a_migration(void **state)
{
    struct hvtlfs_interrupt interrupt;

    (void)state;
    expect_write(fixture.vp, HV_X64_MSR_REENLIGHTENMENT_CONTROL, NOTIFY_VP_1);
    expect_read(fixture.vp, HV_X64_MSR_REENLIGHTENMENT_CONTROL, NOTIFY_VP_1);
    migrate_to(2 * GHZ, 5, true);
    assert_true(model_host_take_interrupt(fixture.host, 1, &interrupt));
    assert_int_equal(interrupt.vector, 0x6E);
    assert_false(interrupt.nmi);
    assert_int_equal(model_host_interrupt_count(fixture.host, 0), 0);
    assert_int_equal(model_host_interrupt_count(fixture.host, 1), 0);
    /* A pause is no migration. */
    assert_int_equal(hvtlfs_freeze(fixture.partition), HVTLFS_OK);
    assert_int_equal(hvtlfs_thaw(fixture.partition, 0), HVTLFS_OK);
    assert_int_equal(model_host_interrupt_count(fixture.host, 1), 0);
    /* And whoever does not ask hears nothing. */
    expect_write(fixture.vp, HV_X64_MSR_REENLIGHTENMENT_CONTROL, 0);
    migrate_to(GHZ, 5, true);
    assert_int_equal(model_host_interrupt_count(fixture.host, 1), 0);
    assert_int_equal(model_host_events_of(fixture.host, MODEL_EVENT_TSC_EMULATION), 0);
}

static void reenlightenment_refuses_what_cannot_be_delivered(void **state)
{
    (void)state;
    expect_write_fault(fixture.vp, HV_X64_MSR_REENLIGHTENMENT_CONTROL, 0x10000 | 15);
    expect_write_fault(fixture.vp, HV_X64_MSR_REENLIGHTENMENT_CONTROL,
                       UINT64_C(2) << 32 | 0x10000 | 0x6E);
    expect_write_fault(fixture.vp, HV_X64_MSR_REENLIGHTENMENT_CONTROL, 0x100);
    expect_write_fault(fixture.vp, HV_X64_MSR_REENLIGHTENMENT_CONTROL, 0x20000);
    expect_read(fixture.vp, HV_X64_MSR_REENLIGHTENMENT_CONTROL, 0);
    /* Disabled, any vector and VP will do. */
    expect_write(fixture.vp, HV_X64_MSR_REENLIGHTENMENT_CONTROL, UINT64_C(2) << 32 | 3);
    expect_write_fault(fixture.vp, HV_X64_MSR_TSC_EMULATION_CONTROL, 2);
    expect_read(fixture.vp, HV_X64_MSR_TSC_EMULATION_CONTROL, 0);
}

static void the_tsc_goes_on_at_the_known_rate_until_the_guest_has_learnt_the_new_one(void **state)
{
    uint64_t before = UINT64_C(777000111222);

    (void)state;
    enable_page();
    expect_write(fixture.vp, HV_X64_MSR_REENLIGHTENMENT_CONTROL, NOTIFY_VP_1);
    expect_write(fixture.vp, HV_X64_MSR_TSC_EMULATION_CONTROL, 1);
    assert_int_equal(hvtlfs_tsc_emulated(fixture.vp, 42), 42);
    migrate_to(3 * GHZ, 1000, true);
    assert_true(hvtlfs_tsc_emulation_in_force(fixture.partition));
    assert_int_equal(model_host_events_of(fixture.host, MODEL_EVENT_TSC_EMULATION), 1);
    expect_page_invalid(HVTLFS_TSC_PAGE_EMULATION);
    expect_read(fixture.vp, HV_X64_MSR_TSC_EMULATION_STATUS, 1);
    expect_read(fixture.vp, HV_X64_MSR_TSC_FREQUENCY, 3 * GHZ);
    /* A second is 3 * 10^9 ticks here and 10^9 for the guest. */
    assert_int_equal(hvtlfs_tsc_emulated(fixture.vp, 1000), before);
    assert_int_equal(hvtlfs_tsc_emulated(fixture.vp, 1000 + 3 * GHZ), before + GHZ);
    assert_int_equal(hvtlfs_tsc_emulated(fixture.vp, 1000 + 2), before);
    assert_int_equal(hvtlfs_tsc_emulated(vp(1), 1000 + 3), before + 1);
    /* A VP a little behind the first is so for the guest, too. */
    assert_int_equal(hvtlfs_tsc_emulated(vp(1), 1000 - 3), before - 1);

    /* Writing 1 ends nothing; writing 0 does. */
    expect_write(fixture.vp, HV_X64_MSR_TSC_EMULATION_STATUS, 1);
    assert_true(hvtlfs_tsc_emulation_in_force(fixture.partition));
    expect_write(fixture.vp, HV_X64_MSR_TSC_EMULATION_STATUS, 0);
    assert_false(hvtlfs_tsc_emulation_in_force(fixture.partition));
    assert_int_equal(model_host_events_of(fixture.host, MODEL_EVENT_TSC_EMULATION), 2);
    assert_int_equal(hvtlfs_tsc_emulated(fixture.vp, 42), 42);
    expect_read(fixture.vp, HV_X64_MSR_TSC_EMULATION_STATUS, 0);
    expect_page_valid();
    assert_int_equal(page_time(0), msr_time(0));
}

static void emulation_survives_a_second_migration_at_the_first_rate(void **state)
{
    uint64_t seen;

    (void)state;
    expect_write(fixture.vp, HV_X64_MSR_TSC_EMULATION_CONTROL, 1);
    migrate_to(2 * GHZ, 0, true);
    model_host_advance(fixture.host, 10000000); /* a second */
    seen = hvtlfs_tsc_emulated(fixture.vp, model_host_tsc(fixture.host, 0));
    assert_int_equal(seen, UINT64_C(777000111222) + GHZ);
    migrate_to(5 * GHZ, 12345, true);
    assert_int_equal(hvtlfs_tsc_emulated(fixture.vp, 12345), seen);
    assert_int_equal(hvtlfs_tsc_emulated(fixture.vp, 12345 + 5 * GHZ), seen + GHZ);
    /* A pause leaves it alone. */
    assert_int_equal(hvtlfs_freeze(fixture.partition), HVTLFS_OK);
    model_host_advance(fixture.host, 10000000);
    assert_int_equal(hvtlfs_thaw(fixture.partition, 0), HVTLFS_OK);
    assert_int_equal(hvtlfs_tsc_emulated(fixture.vp, 12345 + 5 * GHZ), seen + GHZ);
    hvtlfs_partition_reset(fixture.partition);
    assert_false(hvtlfs_tsc_emulation_in_force(fixture.partition));
}

static void without_a_change_of_rate_nothing_is_emulated(void **state)
{
    (void)state;
    expect_write(fixture.vp, HV_X64_MSR_TSC_EMULATION_CONTROL, 1);
    migrate_to(GHZ, 5, true);
    assert_false(hvtlfs_tsc_emulation_in_force(fixture.partition));
}

static void a_lead_stays_the_same_under_emulation(void **state)
{
    uint64_t base;

    (void)state;
    expect_write(fixture.vp, HV_X64_MSR_TSC_EMULATION_CONTROL, 1);
    set_lead(1, 70, 70);
    migrate_to(2 * GHZ, 0, true);
    base = hvtlfs_tsc_emulated(vp(0), 1000);
    assert_int_equal(hvtlfs_tsc_emulated(vp(1), 1000 + 70), base + 70);
    set_lead(0, 70, 70);
    assert_int_equal(hvtlfs_tsc_emulated(vp(0), 1000 + 70), base + 70);
    assert_int_equal(hvtlfs_tsc_emulated(vp(1), 1000 + 70), base + 70);
}

static void take_emulation(struct hvtlfs_config *config)
{
    config->ops.tsc_emulation = NULL;
}

static void without_the_callback_there_is_no_reenlightenment(void **state)
{
    struct hvtlfs_features offered;

    (void)state;
    fixture_prepare(&fixture);
    fixture.features = "hv-reenlightenment";
    fixture.adjust = take_emulation;
    fixture_start(&fixture);
    offered = hvtlfs_partition_features(fixture.partition);
    assert_false(hvtlfs_features_has(&offered, HVTLFS_FEATURE_REENLIGHTENMENT));
    expect_read_fault(fixture.vp, HV_X64_MSR_TSC_EMULATION_STATUS);
    fixture_stop(&fixture);
}

static void a_deadline_is_so_many_nanoseconds_away(void **state)
{
    const uint64_t now = 12345678, farthest = UINT64_C(46116860184273879); /* 2^62 / 100 */

    (void)state;
    model_host_advance(fixture.host, now);
    assert_int_equal(hvtlfs_time_until(vp(0), 0), 0);
    assert_int_equal(hvtlfs_time_until(vp(0), now), 0);
    assert_int_equal(hvtlfs_time_until(vp(0), now + 1), 100);
    assert_int_equal(hvtlfs_time_until(vp(1), now + 10000000), 1000000000);
    assert_int_equal(hvtlfs_time_until(vp(0), now + farthest), farthest * 100);
    assert_int_equal(hvtlfs_time_until(vp(0), now + farthest + 1), HVTLFS_TIME_NEVER);
    assert_int_equal(hvtlfs_time_until(vp(0), HVTLFS_TIME_NEVER - 1), HVTLFS_TIME_NEVER);
    assert_int_equal(hvtlfs_time_until(vp(0), HVTLFS_TIME_NEVER), HVTLFS_TIME_NEVER);
}

/* A tick and a half before: two ticks, so that a timer is late rather than early. */
static void what_is_left_of_a_deadline_is_rounded_up(void **state)
{
    (void)state;
    model_host_set_tsc(fixture.host, UINT64_C(777000111222) + 850); /* 8.5 ticks at 1 GHz */
    assert_int_equal(hvtlfs_time_until(vp(0), 10), 200);
}

#define MAPPING(test) cmocka_unit_test_setup_teardown(test, start, stop)
#define COPYING(test)                                                                              \
    {                                                                                              \
#test " on a host that copies", test, start_copying, stop, NULL                            \
    }
#define BOTH(test) MAPPING(test), COPYING(test)
#define HOST_CLOCK(test) cmocka_unit_test_setup_teardown(test, start_without_invariant_tsc, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        MAPPING(time_starts_at_0_whatever_the_clocks_show),
        MAPPING(time_counts_units_of_100_ns),
        MAPPING(a_deadline_is_so_many_nanoseconds_away),
        MAPPING(what_is_left_of_a_deadline_is_rounded_up),
        MAPPING(the_counter_cannot_be_written),
        cmocka_unit_test(without_the_feature_the_registers_fault),
        HOST_CLOCK(the_host_clock_starts_at_0),
        HOST_CLOCK(from_the_host_clock_no_two_reads_give_the_same_value),
        BOTH(the_page_has_scale_and_offset_and_zeros),
        BOTH(page_and_msr_give_the_same_number),
        BOTH(an_address_beyond_the_guests_space_is_no_fault),
        MAPPING(bits_11_to_1_are_preserved),
        BOTH(what_the_page_covered_comes_back),
        COPYING(what_the_guest_wrote_into_the_page_is_never_believed),
        COPYING(a_write_of_the_page_that_fails_has_a_reason),
        BOTH(the_page_follows_the_guests_reset),
        BOTH(reads_of_the_msr_with_a_valid_page_are_counted),
        cmocka_unit_test(a_tsc_that_cannot_serve_has_its_reason),
        cmocka_unit_test(every_reason_has_a_word_and_a_phrase),
        BOTH(calls_out_of_order_are_errors_and_change_nothing),
        BOTH(time_stands_still_while_frozen),
        MAPPING(a_pause_can_be_shown_to_the_guest),
        BOTH(time_goes_on_through_a_chain_of_migrations),
        BOTH(to_a_host_without_invariant_tsc_and_back),
        HOST_CLOCK(a_guest_that_started_without_does_not_pick_it_up),
        cmocka_unit_test(without_a_host_clock_the_tsc_cannot_be_given_up),
        MAPPING(a_rate_that_the_guest_is_told_must_be_known),
        BOTH(a_time_from_elsewhere_is_published_by_the_thaw_only),
        BOTH(the_sequence_changes_with_every_publication),
        BOTH(the_sequence_skips_0_and_all_ones),
        BOTH(a_guest_that_writes_its_tsc_keeps_its_time),
        BOTH(a_vp_that_returns_to_the_others_makes_the_page_valid),
        BOTH(leads_survive_a_migration),
        MAPPING(the_frequency_registers_tell_the_rates_and_cannot_be_written),
        MAPPING(the_invariant_tsc_shows_after_the_guest_asked_for_it),
        MAPPING(the_guest_is_notified_after_a_migration),
        MAPPING(reenlightenment_refuses_what_cannot_be_delivered),
        MAPPING(the_tsc_goes_on_at_the_known_rate_until_the_guest_has_learnt_the_new_one),
        MAPPING(emulation_survives_a_second_migration_at_the_first_rate),
        MAPPING(without_a_change_of_rate_nothing_is_emulated),
        MAPPING(a_lead_stays_the_same_under_emulation),
        cmocka_unit_test(without_the_callback_there_is_no_reenlightenment),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
