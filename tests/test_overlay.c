/* SPDX-License-Identifier: MIT */
/* TLFS 5.2.1: overlays stack, in any order of coming and going, and what lies below comes back. */
#include "fixture.h"

#include "overlay.h"
#include "state.h"

#define VPS 3u
#define PARTITION_SLOTS 2u
#define VP_SLOTS 3u
#define SLOTS (PARTITION_SLOTS + VPS * VP_SLOTS)
#define PLACES 4u /* few, so that stacks are deep */

static struct model_host *host;
static struct hvtlfs_partition partition;
static struct hvtlfs_vp vps[VPS];
static uint8_t pages[SLOTS * HVTLFS_PAGE_SIZE] __attribute__((aligned(4096)));
static uint64_t places[SLOTS];

/* What must be true, kept apart from the library: the word each page and each place begins with. */
static uint32_t slot_word[SLOTS];
static uint64_t slot_place[SLOTS];
static uint32_t ram_word[PLACES];

static uint64_t gpa_of(uint32_t place)
{
    return UINT64_C(0x10000) + place * UINT64_C(0x1000);
}

static void start(bool copies)
{
    struct model_host_options options;
    struct hvtlfs_host_ops ops;
    uint32_t i;

    model_host_options_init(&options);
    options.copies_overlays = copies;
    host = model_host_create(&options);
    assert_non_null(host);
    model_host_ops(host, &ops);
    memset(&partition, 0, sizeof(partition));
    hvti_host_copy(&partition.host, &ops, host);
    partition.overlays = (struct hvti_overlays){
        .pages = pages,
        .gpa = places,
        .slot_count = SLOTS,
        .partition_kinds = 1u << HVTLFS_OVERLAY_HYPERCALL | 1u << HVTLFS_OVERLAY_REFERENCE_TSC,
        .vp_kinds =
            1u << HVTLFS_OVERLAY_VP_ASSIST | 1u << HVTLFS_OVERLAY_SIM | 1u << HVTLFS_OVERLAY_SIEF,
    };
    partition.vps = vps;
    hvti_lock(&partition); /* every function of the module wants it */
    for (i = 0; i < VPS; i++) {
        vps[i].index = 10 + i;
    }
    for (i = 0; i < SLOTS; i++) {
        places[i] = slot_place[i] = HVTI_NOWHERE;
        slot_word[i] = 0x100 + i;
        memset(pages + i * HVTLFS_PAGE_SIZE, 0, HVTLFS_PAGE_SIZE);
        assert_true(hvti_overlay_write(&partition, i, 0, &slot_word[i], 4));
    }
    for (i = 0; i < PLACES; i++) {
        ram_word[i] = 0x200 + i;
        memcpy(model_host_ram(host, gpa_of(i)), &ram_word[i], 4);
    }
}

static void stop(void)
{
    hvti_unlock(&partition);
    assert_null(model_host_first_violation(host));
    model_host_destroy(host);
}

static void expect_all_as_in_the_model(void)
{
    uint32_t place, slot;

    for (place = 0; place < PLACES; place++) {
        uint32_t expected = ram_word[place];

        for (slot = SLOTS; slot--;) {
            if (slot_place[slot] == gpa_of(place)) {
                expected = slot_word[slot]; /* the lowest number is on top */
            }
        }
        assert_int_equal(model_host_guest_read32(host, gpa_of(place)), model_le32(expected));
    }
    for (slot = 0; slot < SLOTS; slot++) {
        uint32_t word = 0;

        assert_true(hvti_overlay_read(&partition, slot, 0, &word, 4));
        assert_int_equal(word, slot_word[slot]);
    }
}

static uint32_t random32(void)
{
    static uint64_t seed = 20121107; /* fixed: a failure repeats */

    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(seed >> 33);
}

static void step(void)
{
    uint32_t slot = random32() % SLOTS;
    uint32_t what = random32() % 8;

    if (what < 5) {
        uint64_t gpa = what ? gpa_of(random32() % PLACES) : HVTI_NOWHERE;

        assert_true(hvti_overlay_move(&partition, slot, gpa));
        slot_place[slot] = gpa;
    } else if (what == 5) {
        slot_word[slot] = random32();
        assert_true(hvti_overlay_write(&partition, slot, 0, &slot_word[slot], 4));
    } else if (what == 6) {
        uint32_t expected = slot_word[slot];
        bool done = false;

        slot_word[slot] = random32();
        assert_true(hvti_overlay_cas32(&partition, slot, 0, &expected, slot_word[slot], &done) &&
                    done);
    } else {
        hvti_overlay_reset(&partition, slot);
        slot_place[slot] = HVTI_NOWHERE;
        slot_word[slot] = 0;
    }
}

static void any_order(bool copies)
{
    int i;

    start(copies);
    expect_all_as_in_the_model();
    for (i = 0; i < 20000; i++) {
        step();
        expect_all_as_in_the_model();
    }
    stop();
}

static void stacks_of_mapped_overlays_come_and_go_in_any_order(void **state)
{
    (void)state;
    any_order(false);
}

static void stacks_of_copied_overlays_come_and_go_in_any_order(void **state)
{
    (void)state;
    any_order(true);
}

static void a_failed_exchange_is_undone(void **state)
{
    uint64_t n;

    (void)state;
    start(true);
    assert_true(hvti_overlay_move(&partition, 4, gpa_of(0)));
    slot_place[4] = gpa_of(0);
    for (n = 1; n <= 64; n++) {
        model_host_fail(host, n, false);
        assert_false(hvti_overlay_move(&partition, 4, gpa_of(1)));
        model_host_fail(host, 0, false);
        expect_all_as_in_the_model();
    }
    stop();
}

/* ---- Whole pages ---- */

/* Byte i of the page with that number: no two pages and no two pieces of one look alike. */
static uint8_t byte_of(uint32_t page, uint32_t i)
{
    return (uint8_t)(page * 37 + i / 256 * 11 + i);
}

static void fill_whole(uint8_t *bytes, uint32_t page)
{
    for (uint32_t i = 0; i < HVTLFS_PAGE_SIZE; i++) {
        bytes[i] = byte_of(page, i);
    }
}

static void expect_whole(const uint8_t *bytes, uint32_t page)
{
    for (uint32_t i = 0; i < HVTLFS_PAGE_SIZE; i++) {
        if (bytes[i] != byte_of(page, i)) {
            fail_msg("page %u differs at %u", page, i);
        }
    }
}

/* What the guest sees at a place, and what it sees of each slot through the library. */
static void expect_seen(uint32_t place, uint32_t page)
{
    static uint8_t bytes[HVTLFS_PAGE_SIZE];

    assert_int_equal(model_host_guest_read(host, gpa_of(place), bytes, sizeof(bytes)),
                     MODEL_ACCESS_OK);
    expect_whole(bytes, page);
}

static void expect_content(uint32_t slot, uint32_t page)
{
    static uint8_t bytes[HVTLFS_PAGE_SIZE];

    for (uint32_t i = 0; i < HVTLFS_PAGE_SIZE; i += 512) {
        assert_true(hvti_overlay_read(&partition, slot, i, bytes + i, 512));
    }
    expect_whole(bytes, page);
}

static void start_whole(void)
{
    start(true);
    for (uint32_t i = 0; i < SLOTS; i++) {
        fill_whole(pages + i * HVTLFS_PAGE_SIZE, i);
    }
    for (uint32_t i = 0; i < PLACES; i++) {
        fill_whole(model_host_ram(host, gpa_of(i)), 100 + i);
    }
}

/* Slot 5 covers slot 4 covers slot 3 covers memory, put there in an order that exchanges each with each. */
static void copied_pages_are_whole(void **state)
{
    static const uint32_t order[] = {4, 3, 5};
    uint32_t word, expected;
    bool done;

    (void)state;
    start_whole();
    for (uint32_t i = 0; i < 3; i++) {
        assert_true(hvti_overlay_move(&partition, order[i], gpa_of(0)));
        for (uint32_t slot = 3; slot < 6; slot++) {
            expect_content(slot, slot);
        }
    }
    /* A word of each, wherever its bytes are now. */
    for (uint32_t slot = 3; slot < 6; slot++) {
        assert_true(hvti_overlay_read(&partition, slot, 3 * 256 + 8, &expected, 4));
        word = expected;
        assert_true(hvti_overlay_cas32(&partition, slot, 3 * 256 + 8, &word, ~expected, &done));
        assert_true(done);
        assert_true(hvti_overlay_read(&partition, slot, 3 * 256 + 8, &word, 4));
        assert_int_equal(word, ~expected);
        assert_true(hvti_overlay_write(&partition, slot, 3 * 256 + 8, &expected, 4));
        expect_content(slot, slot);
    }
    for (uint32_t i = 0; i < 3; i++) {
        assert_true(hvti_overlay_move(&partition, order[i], HVTI_NOWHERE));
    }
    for (uint32_t slot = 3; slot < 6; slot++) {
        expect_whole(pages + slot * HVTLFS_PAGE_SIZE, slot);
    }
    expect_seen(0, 100);
    stop();
}

/* Whichever of its reads and writes fails, both pages are whole as they were. */
static void a_failed_exchange_leaves_whole_pages(void **state)
{
    (void)state;
    start_whole();
    for (uint64_t n = 1; n <= 32; n++) {
        model_host_fail(host, n, false);
        assert_false(hvti_overlay_move(&partition, 4, gpa_of(1)));
        model_host_fail(host, 0, false);
        expect_seen(1, 101);
        expect_whole(pages + 4 * HVTLFS_PAGE_SIZE, 4);
    }
    assert_true(hvti_overlay_move(&partition, 4, gpa_of(1)));
    expect_seen(1, 4);
    stop();
}

/* Memory that is gone takes the page with it: the slot is free, and empty. */
static void a_reset_over_memory_that_is_gone_frees_the_slot(void **state)
{
    static const uint8_t nothing[HVTLFS_PAGE_SIZE];

    (void)state;
    start_whole();
    assert_true(hvti_overlay_move(&partition, 4, gpa_of(1)));
    model_host_fail(host, 1, true);
    hvti_overlay_reset(&partition, 4);
    model_host_fail(host, 0, false);
    assert_int_equal(hvti_overlay_gpa(&partition, 4), HVTI_NOWHERE);
    assert_memory_equal(pages + 4 * HVTLFS_PAGE_SIZE, nothing, sizeof(nothing));
    stop();
}

static void a_host_that_refuses_keeps_what_it_showed(void **state)
{
    (void)state;
    start(false);
    assert_true(hvti_overlay_move(&partition, 4, gpa_of(0)));
    slot_place[4] = gpa_of(0);
    model_host_fail(host, 1, false);
    assert_false(hvti_overlay_move(&partition, 2, gpa_of(0))); /* would cover slot 4 */
    model_host_fail(host, 1, false);
    assert_false(hvti_overlay_move(&partition, 4, gpa_of(1)));
    model_host_fail(host, 0, false);
    expect_all_as_in_the_model();
    stop();
}

static void a_compare_exchange_that_meets_another_value_tells_it(void **state)
{
    uint32_t expected = 5;
    bool done = true;

    (void)state;
    start(true);
    assert_true(hvti_overlay_move(&partition, 1, gpa_of(2)));
    assert_true(hvti_overlay_cas32(&partition, 1, 0, &expected, 6, &done));
    assert_false(done);
    assert_int_equal(expected, slot_word[1]);
    stop();
}

static void slots_are_numbered_by_partition_then_vp_then_kind(void **state)
{
    const struct hvti_overlays *overlays = &partition.overlays;
    struct hvtlfs_overlay overlay;

    (void)state;
    start(false);
    assert_int_equal(hvti_overlay_slot(overlays, HVTLFS_OVERLAY_HYPERCALL, 2), 0);
    assert_int_equal(hvti_overlay_slot(overlays, HVTLFS_OVERLAY_REFERENCE_TSC, 0), 1);
    assert_int_equal(hvti_overlay_slot(overlays, HVTLFS_OVERLAY_VP_ASSIST, 0), 2);
    assert_int_equal(hvti_overlay_slot(overlays, HVTLFS_OVERLAY_SIEF, 2), 10);
    assert_int_equal(hvti_overlay_slot(overlays, HVTLFS_OVERLAY_STATS_VP, 0), HVTI_NO_SLOT);
    assert_true(hvti_overlay_move(&partition, 6, gpa_of(0)));
    assert_true(model_host_overlay_at(host, gpa_of(0), &overlay));
    assert_int_equal(overlay.kind, HVTLFS_OVERLAY_SIM);
    assert_int_equal(overlay.vp_index, 11);
    assert_ptr_equal(overlay.page, pages + 6 * HVTLFS_PAGE_SIZE);
    assert_ptr_equal(hvti_overlay_mapped(&partition, 6), pages + 6 * HVTLFS_PAGE_SIZE);
    stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stacks_of_mapped_overlays_come_and_go_in_any_order),
        cmocka_unit_test(stacks_of_copied_overlays_come_and_go_in_any_order),
        cmocka_unit_test(a_failed_exchange_is_undone),
        cmocka_unit_test(copied_pages_are_whole),
        cmocka_unit_test(a_failed_exchange_leaves_whole_pages),
        cmocka_unit_test(a_reset_over_memory_that_is_gone_frees_the_slot),
        cmocka_unit_test(a_host_that_refuses_keeps_what_it_showed),
        cmocka_unit_test(a_compare_exchange_that_meets_another_value_tells_it),
        cmocka_unit_test(slots_are_numbered_by_partition_then_vp_then_kind),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
