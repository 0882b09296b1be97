/* SPDX-License-Identifier: MIT */
/*
 * Nothing is forgotten: every byte of a partition and of a VP belongs to a row of saved.def or to a row
 * below that says why it has none. If this fails because you added a member: give it a row in saved.def
 * (with the next version of the format as `since`), or one here with the reason.
 *
 * A gap that the compiler may have left to align the next member counts as padding, so a new member that
 * fits exactly into one is not noticed: put it beside others of its size.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "state.h"

struct span {
    size_t offset;
    size_t size;
    const char *name;
};

#define IN(type, member)                                                                           \
    {                                                                                              \
        offsetof(type, member), sizeof(((type *)0)->member), #member                               \
    }

/* ---- Saved ---- */

#define CONFIG(tag, since, member, config, bits) IN(struct hvtlfs_partition, member),
#define SAME(tag, since, member, bits) IN(struct hvtlfs_partition, member),
#define PARTITION(section, tag, since, feature, member, bits, check)                               \
    IN(struct hvtlfs_partition, member),
#define VP(section, tag, since, feature, member, bits, check)
static const struct span saved_of_partition[] = {
#include "saved.def"
};
#undef CONFIG
#undef SAME
#undef PARTITION
#undef VP

#define CONFIG(tag, since, member, config, bits)
#define SAME(tag, since, member, bits)
#define PARTITION(section, tag, since, feature, member, bits, check)
#define VP(section, tag, since, feature, member, bits, check) IN(struct hvtlfs_vp, member),
static const struct span saved_of_vp[] = {
#include "saved.def"
};
#undef CONFIG
#undef SAME
#undef PARTITION
#undef VP

/* ---- Not saved as a row ---- */

#define WITHOUT(member, why) IN(struct hvtlfs_partition, member),
static const struct span others_of_partition[] = {
    WITHOUT(host, "the host's own: callbacks, context") WITHOUT(
        features,
        "CONF.FEAT, by name") WITHOUT(configured,
                                      "what the host asked for; CONF.FEAT has what is in force")
        WITHOUT(needs_met, "from the callbacks") WITHOUT(
            cpuid, "CONFIG rows have what the guest sees; the rest is in the leaves")
            WITHOUT(max_leaf, "from the features") WITHOUT(msr_rows, "from the features") WITHOUT(
                call_rows, "from the features") WITHOUT(vps,
                                                        "CONF.VPS has index and APIC ID of each")
                WITHOUT(vp_count, "CONF.VPS") WITHOUT(slot_of, "from CONF.VPS")
                    WITHOUT(apic_ids, "from CONF.VPS") WITHOUT(present, "from CONF.VPS") WITHOUT(
                        call_reps, "the host's choice; a guest's rep call carries its own progress")
                        WITHOUT(call_time, "likewise") WITHOUT(
                            host_calls, "the host's own") WITHOUT(host_call_count, "the host's own")
                            WITHOUT(messages, "SMSG, those that wait") WITHOUT(
                                connections, "the host's own, registered again") WITHOUT(overlays,
                                                                                         "OVLY")
                                WITHOUT(clock.phase, "frozen when saved, restored when loaded")
                                    WITHOUT(clock.changes, "a sequence for readers") WITHOUT(
                                        clock.source, "from tsc_hz and invariant_tsc, at the thaw")
                                        WITHOUT(clock.scale, "from tsc_hz, at the thaw")
                                            WITHOUT(tsc_page.valid, "not before the thaw") WITHOUT(
                                                tsc_page.write_failed,
                                                "the next publication tries again")
                                                WITHOUT(tsc_page.scale,
                                                        "published again at the thaw")
                                                    WITHOUT(tsc_page.offset, "likewise") WITHOUT(
                                                        tsc_page.publications,
                                                        "a counter") WITHOUT(crash.busy,
                                                                             "within one call")
                                                        WITHOUT(crash.message, "within one call")
                                                            WITHOUT(
                                                                spinwait,
                                                                "advice for this host's scheduler")
                                                                WITHOUT(tlb,
                                                                        "loading begins with a "
                                                                        "flush of everything")};
#undef WITHOUT

#define WITHOUT(member, why) IN(struct hvtlfs_vp, member),
static const struct span others_of_vp[] = {
    WITHOUT(partition, "where it is") WITHOUT(index, "CONF.VPS") WITHOUT(slot, "CONF.VPS")
        WITHOUT(apic_id, "CONF.VPS") WITHOUT(counters, "counters are not saved") WITHOUT(
            clock.msr_reads_valid, "a counter") WITHOUT(deadlines, "asked for again after the thaw")
            WITHOUT(vapic.slot, "from the features") WITHOUT(vapic.eoi_bit, "from the features")
                WITHOUT(synic.auto_eoi, "from the SINTs") WITHOUT(synic.inbox, "SMSG")
                    WITHOUT(synic.purge, "connections are the host's own")
                        WITHOUT(synic.queued, "from SMSG") WITHOUT(synic.waiting, "from SMSG")
                            WITHOUT(synic.head, "SMSG") WITHOUT(synic.tail, "SMSG")
                                WITHOUT(synic.timer_next, "SMSG")
                                    WITHOUT(synic.generation, "only for posts under way")};
#undef WITHOUT

/*
 * Up to what begins a cache line. Only a new member just there, and small enough, would go unnoticed.
 */
#define FILL(type, before, next)                                                                   \
    {                                                                                              \
        offsetof(type, before) + sizeof(((type *)0)->before),                                      \
            (next)-offsetof(type, before) - sizeof(((type *)0)->before), "fill"                    \
    }
static const struct span fill_of_partition[] = {
    FILL(struct hvtlfs_partition, crash, offsetof(struct hvtlfs_partition, spinwait)),
    FILL(struct hvtlfs_partition, spinwait, offsetof(struct hvtlfs_partition, tlb)),
};
static const struct span fill_of_vp[] = {
    FILL(struct hvtlfs_vp, vapic, sizeof(struct hvtlfs_vp)),
};
#undef FILL

/* ---- All of it ---- */

struct map {
    uint8_t known[1 << 17];
    size_t size;
};

static void mark(struct map *map, const struct span *spans, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        assert_true(spans[i].size <= map->size && spans[i].offset <= map->size - spans[i].size);
        memset(map->known + spans[i].offset, 1, spans[i].size);
    }
}

/* Whether `gap` bytes before `end` can be there to align what follows. */
static bool is_padding(size_t gap, size_t end)
{
    return gap < 8 && end % (gap < 2 ? 2 : gap < 4 ? 4 : 8) == 0;
}

/* The first bytes that nothing explains; the map's size if there are none. */
static size_t find_gap(const struct map *map)
{
    size_t gap = 0;

    for (size_t i = 0; i <= map->size; i++) {
        if (i < map->size && !map->known[i]) {
            gap++;
            continue;
        }
        if (gap && !is_padding(gap, i)) {
            return i - gap;
        }
        gap = 0;
    }
    return map->size;
}

static void expect_no_gap(const struct map *map, const char *what)
{
    size_t gap = find_gap(map);

    if (gap != map->size) {
        fail_msg("%s: what is at offset %zu? It has no row in saved.def and none here", what, gap);
    }
}

static struct map map;

static void test_every_byte_of_a_partition_has_a_row(void **state)
{
    (void)state;
    memset(&map, 0, sizeof(map));
    map.size = sizeof(struct hvtlfs_partition);
    assert_true(map.size <= sizeof(map.known));
    mark(&map, saved_of_partition, ARRAY_LEN(saved_of_partition));
    mark(&map, others_of_partition, ARRAY_LEN(others_of_partition));
    mark(&map, fill_of_partition, ARRAY_LEN(fill_of_partition));
    expect_no_gap(&map, "struct hvtlfs_partition");
}

static void test_every_byte_of_a_vp_has_a_row(void **state)
{
    (void)state;
    memset(&map, 0, sizeof(map));
    map.size = sizeof(struct hvtlfs_vp);
    mark(&map, saved_of_vp, ARRAY_LEN(saved_of_vp));
    mark(&map, others_of_vp, ARRAY_LEN(others_of_vp));
    mark(&map, fill_of_vp, ARRAY_LEN(fill_of_vp));
    expect_no_gap(&map, "struct hvtlfs_vp");
}

/* The test itself: take any row away and it fails. */
static void test_a_member_without_a_row_is_noticed(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(saved_of_vp); i++) {
        if (saved_of_vp[i].size < 8) {
            continue;
        }
        memset(&map, 0, sizeof(map));
        map.size = sizeof(struct hvtlfs_vp);
        mark(&map, saved_of_vp, i);
        mark(&map, saved_of_vp + i + 1, ARRAY_LEN(saved_of_vp) - i - 1);
        mark(&map, others_of_vp, ARRAY_LEN(others_of_vp));
        mark(&map, fill_of_vp, ARRAY_LEN(fill_of_vp));
        assert_true(find_gap(&map) <= saved_of_vp[i].offset);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_byte_of_a_partition_has_a_row),
        cmocka_unit_test(test_every_byte_of_a_vp_has_a_row),
        cmocka_unit_test(test_a_member_without_a_row_is_noticed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
