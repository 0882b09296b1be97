/* SPDX-License-Identifier: MIT */
/* TLFS 7.8.7.3-7.8.7.5: sets of VPs, against an array of 4096 flags that cannot be wrong. */
#include "fixture.h"

#include <hvtlfs/vpset.h>

#define ROUNDS 400

/* Numbers that repeat in every run: a linear congruence (Knuth, MMIX). */
static uint64_t next_random(uint64_t *seed)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *seed >> 11 ^ *seed << 17;
}

/* The naive set. */
struct flags {
    bool in[HVTLFS_MAX_VPS];
};

static uint32_t flags_next(const struct flags *flags, uint32_t from)
{
    while (from < HVTLFS_MAX_VPS && !flags->in[from]) {
        from++;
    }
    return from < HVTLFS_MAX_VPS ? from : HVTLFS_NO_VP;
}

static void assert_same(const struct hvtlfs_vp_set *set, const struct flags *flags)
{
    uint32_t count = 0, vp, bank;

    for (vp = 0; vp < HVTLFS_MAX_VPS; vp++) {
        assert_int_equal(hvtlfs_vp_set_has(set, vp), flags->in[vp]);
        count += flags->in[vp];
    }
    assert_int_equal(hvtlfs_vp_set_count(set), count);
    assert_int_equal(hvtlfs_vp_set_is_empty(set), count == 0);
    for (bank = 0; bank < HVTLFS_VP_BANKS; bank++) {
        uint64_t bits = 0;

        for (vp = 0; vp < 64; vp++) {
            bits |= (uint64_t)flags->in[64 * bank + vp] << vp;
        }
        assert_int_equal(hvtlfs_vp_set_bank(set, bank), bits);
    }
    vp = 0;
    do {
        assert_int_equal(hvtlfs_vp_set_next(set, vp), flags_next(flags, vp));
        vp = flags_next(flags, vp);
    } while (vp++ != HVTLFS_NO_VP);
}

/* A set as a guest writes it: banks announced with any content, zero included, the rest poisoned. */
static void random_set(uint64_t *seed, struct hvtlfs_vp_set *set, struct flags *flags)
{
    uint64_t contents[HVTLFS_VP_BANKS];
    uint64_t valid = next_random(seed);
    size_t count = 0;
    uint32_t bank, vp;

    valid &= next_random(seed) % 3 ? next_random(seed) : UINT64_MAX;
    memset(set, 0xA5, sizeof(*set));
    memset(flags, 0, sizeof(*flags));
    for (bank = 0; bank < HVTLFS_VP_BANKS; bank++) {
        if (valid >> bank & 1) {
            contents[count] = next_random(seed) % 4 ? next_random(seed) & next_random(seed) : 0;
            for (vp = 0; vp < 64; vp++) {
                flags->in[64 * bank + vp] = contents[count] >> vp & 1;
            }
            count++;
        }
    }
    assert_int_equal(hvtlfs_vp_set_parse(set, HvGenericSetSparse4k, valid, contents, count, NULL),
                     HVTLFS_OK);
}

static void a_parsed_set_is_what_the_guest_wrote(void **state)
{
    uint64_t seed = 1;
    uint32_t round;

    (void)state;
    for (round = 0; round < ROUNDS; round++) {
        struct hvtlfs_vp_set set;
        struct flags flags;

        random_set(&seed, &set, &flags);
        assert_same(&set, &flags);
    }
}

static void algebra_agrees_with_flags(void **state)
{
    uint64_t seed = 2;
    uint32_t round, vp;

    (void)state;
    for (round = 0; round < ROUNDS; round++) {
        struct hvtlfs_vp_set a, b, both, either;
        struct flags in_a, in_b, in_both, in_either;

        random_set(&seed, &a, &in_a);
        random_set(&seed, &b, &in_b);
        for (vp = 0; vp < HVTLFS_MAX_VPS; vp++) {
            in_both.in[vp] = in_a.in[vp] && in_b.in[vp];
            in_either.in[vp] = in_a.in[vp] || in_b.in[vp];
        }
        both = either = a;
        hvtlfs_vp_set_intersect(&both, &b);
        hvtlfs_vp_set_unite(&either, &b);
        assert_same(&both, &in_both);
        assert_same(&either, &in_either);
    }
}

static void adding_and_removing_agrees_with_flags(void **state)
{
    struct hvtlfs_vp_set set;
    struct flags flags;
    uint64_t seed = 3;
    uint32_t step;

    (void)state;
    memset(&set, 0xA5, sizeof(set));
    memset(&flags, 0, sizeof(flags));
    hvtlfs_vp_set_clear(&set);
    for (step = 0; step < 20000; step++) {
        uint32_t vp = (uint32_t)(next_random(&seed) % HVTLFS_MAX_VPS);
        bool add = next_random(&seed) % 5 < 3;

        (add ? hvtlfs_vp_set_add : hvtlfs_vp_set_remove)(&set, vp);
        flags.in[vp] = add;
        if (step % 1000 == 0) {
            assert_same(&set, &flags);
        }
    }
    assert_same(&set, &flags);
}

static void encoding_and_parsing_gives_the_same_set(void **state)
{
    uint64_t seed = 4;
    uint32_t round;

    (void)state;
    for (round = 0; round < ROUNDS; round++) {
        struct hvtlfs_vp_set set, again;
        uint64_t contents[HVTLFS_VP_BANKS], valid;
        struct flags flags;
        size_t count, i;

        random_set(&seed, &set, &flags);
        count = hvtlfs_vp_set_encode(&set, &valid, contents);
        for (i = 0; i < count; i++) {
            assert_int_not_equal(contents[i], 0);
        }
        assert_int_equal(
            hvtlfs_vp_set_parse(&again, HvGenericSetSparse4k, valid, contents, count, NULL),
            HVTLFS_OK);
        assert_same(&again, &flags);
    }
}

/* W051, W053: VPs 0, 5 and 130. */
static void the_specifications_example(void **state)
{
    const uint64_t contents[2] = {0x21, 0x04};
    uint64_t out[HVTLFS_VP_BANKS], valid;
    struct hvtlfs_vp_set set;

    (void)state;
    assert_int_equal(hvtlfs_vp_set_parse(&set, 0, 0x05, contents, 2, NULL), HVTLFS_OK);
    assert_int_equal(hvtlfs_vp_set_count(&set), 3);
    assert_int_equal(hvtlfs_vp_set_next(&set, 0), 0);
    assert_int_equal(hvtlfs_vp_set_next(&set, 1), 5);
    assert_int_equal(hvtlfs_vp_set_next(&set, 6), 130);
    assert_int_equal(hvtlfs_vp_set_next(&set, 131), HVTLFS_NO_VP);
    assert_int_equal(hvtlfs_vp_set_encode(&set, &valid, out), 2);
    assert_int_equal(valid, 0x05);
    assert_memory_equal(out, contents, sizeof(contents));
}

static void banks_announced_and_given_must_be_as_many(void **state)
{
    const uint64_t contents[HVTLFS_VP_BANKS] = {1, 1, 1};
    struct hvtlfs_vp_set set, before;
    uint32_t announced, given;

    (void)state;
    memset(&set, 0xA5, sizeof(set));
    before = set;
    for (announced = 0; announced <= 64; announced++) {
        uint64_t valid = announced == 64 ? UINT64_MAX : (UINT64_C(1) << announced) - 1;

        for (given = 0; given <= 64; given++) {
            if (given != announced) {
                assert_int_equal(hvtlfs_vp_set_parse(&set, 0, valid, contents, given, NULL),
                                 HVTLFS_ERR_ARGUMENT);
                assert_memory_equal(&set, &before, sizeof(set));
            }
        }
    }
    assert_int_equal(hvtlfs_vp_set_parse(&set, 2, 1, contents, 1, NULL), HVTLFS_ERR_ARGUMENT);
    assert_int_equal(hvtlfs_vp_set_parse(&set, UINT64_C(1) << 32, 1, contents, 1, NULL),
                     HVTLFS_ERR_ARGUMENT);
    assert_memory_equal(&set, &before, sizeof(set));
}

static void format_all_is_all_there_are(void **state)
{
    struct hvtlfs_vp_set set, present;

    (void)state;
    memset(&present, 0xA5, sizeof(present));
    hvtlfs_vp_set_clear(&present);
    hvtlfs_vp_set_add(&present, 7);
    hvtlfs_vp_set_add(&present, 4095);
    assert_int_equal(hvtlfs_vp_set_parse(&set, HvGenericSetAll, 0x1234, NULL, 0, &present),
                     HVTLFS_OK);
    assert_int_equal(hvtlfs_vp_set_count(&set), 2);
    assert_int_equal(hvtlfs_vp_set_next(&set, 8), 4095);
    assert_int_equal(hvtlfs_vp_set_parse(&set, HvGenericSetAll, 0, NULL, 0, NULL), HVTLFS_OK);
    assert_int_equal(hvtlfs_vp_set_count(&set), HVTLFS_MAX_VPS);
}

static void indices_beyond_the_maximum_are_in_no_set(void **state)
{
    struct hvtlfs_vp_set set;

    (void)state;
    hvtlfs_vp_set_clear(&set);
    hvtlfs_vp_set_add(&set, HVTLFS_MAX_VPS);
    hvtlfs_vp_set_add(&set, HVTLFS_NO_VP);
    assert_true(hvtlfs_vp_set_is_empty(&set));
    hvtlfs_vp_set_remove(&set, HVTLFS_MAX_VPS);
    assert_false(hvtlfs_vp_set_has(&set, HVTLFS_MAX_VPS));
    assert_int_equal(hvtlfs_vp_set_bank(&set, HVTLFS_VP_BANKS), 0);
    assert_int_equal(hvtlfs_vp_set_next(&set, HVTLFS_MAX_VPS), HVTLFS_NO_VP);
    assert_int_equal(hvtlfs_vp_set_next(&set, UINT32_MAX), HVTLFS_NO_VP);
}

/* A set that was used before forgets everything. */
static void a_parsed_set_has_nothing_of_the_one_before(void **state)
{
    const uint64_t contents[] = {2};
    struct hvtlfs_vp_set set, all;

    (void)state;
    hvtlfs_vp_set_clear(&all);
    hvtlfs_vp_set_add(&all, 1);
    memset(&set, 0xFF, sizeof(set));
    assert_int_equal(hvtlfs_vp_set_parse(&set, HvGenericSetAll, 0, NULL, 0, &all), HVTLFS_OK);
    assert_int_equal(hvtlfs_vp_set_count(&set), 1);
    assert_true(hvtlfs_vp_set_has(&set, 1));
    memset(&set, 0xFF, sizeof(set));
    assert_int_equal(hvtlfs_vp_set_parse(&set, HvGenericSetSparse4k, 8, contents, 1, NULL),
                     HVTLFS_OK);
    assert_int_equal(hvtlfs_vp_set_count(&set), 1);
    assert_true(hvtlfs_vp_set_has(&set, 3 * 64 + 1));
}

/* Numbers beyond 4095 are in no set, and touch nothing behind it. */
static void indices_out_of_range_touch_nothing(void **state)
{
    static const uint32_t beyond[] = {4096, 4097, 4160, 8192, UINT32_MAX};
    struct {
        struct hvtlfs_vp_set set;
        uint64_t behind[2];
    } memory;

    (void)state;
    for (size_t i = 0; i < sizeof(beyond) / sizeof(beyond[0]); i++) {
        memset(&memory, 0xFF, sizeof(memory));
        hvtlfs_vp_set_remove(&memory.set, beyond[i]);
        assert_int_equal(hvtlfs_vp_set_count(&memory.set), 4096);
        assert_int_equal(memory.behind[0], UINT64_MAX);
        assert_int_equal(memory.behind[1], UINT64_MAX);
        memset(&memory, 0, sizeof(memory));
        hvtlfs_vp_set_add(&memory.set, beyond[i]);
        assert_true(hvtlfs_vp_set_is_empty(&memory.set));
        assert_int_equal(memory.behind[0], 0);
        assert_int_equal(memory.behind[1], 0);
        assert_false(hvtlfs_vp_set_has(&memory.set, beyond[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_parsed_set_is_what_the_guest_wrote),
        cmocka_unit_test(a_parsed_set_has_nothing_of_the_one_before),
        cmocka_unit_test(indices_out_of_range_touch_nothing),
        cmocka_unit_test(algebra_agrees_with_flags),
        cmocka_unit_test(adding_and_removing_agrees_with_flags),
        cmocka_unit_test(encoding_and_parsing_gives_the_same_set),
        cmocka_unit_test(the_specifications_example),
        cmocka_unit_test(banks_announced_and_given_must_be_as_many),
        cmocka_unit_test(format_all_is_all_there_are),
        cmocka_unit_test(indices_beyond_the_maximum_are_in_no_set),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
