/* SPDX-License-Identifier: MIT */
/* Reference time as arithmetic: against the compiler's 128-bit type and against worked values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include <hvtlfs/reftime.h>

/* Random cases of each kind; HVTLFS_RANDOM_CASES=10000000 is what a release is checked with. */
#define DEFAULT_CASES 1000000ul

#ifdef __SIZEOF_INT128__
__extension__ typedef unsigned __int128 wide;

static uint64_t seed;

/* xorshift64*: enough for test data. */
static uint64_t next_random(void)
{
    seed ^= seed >> 12;
    seed ^= seed << 25;
    seed ^= seed >> 27;
    return seed * UINT64_C(0x2545F4914F6CDD1D);
}

/* Numbers of every length are equally likely, and so are those next to a power of two. */
static uint64_t any_number(void)
{
    uint64_t value = next_random() >> (next_random() & 63);

    switch (next_random() & 7) {
    case 0:
        return UINT64_C(1) << (value & 63);
    case 1:
        return (UINT64_C(1) << (value & 63)) - 1;
    case 2:
        return ~(value & 0xFF);
    default:
        return value;
    }
}

static unsigned long case_count(void)
{
    const char *text = getenv("HVTLFS_RANDOM_CASES");
    const char *given = getenv("HVTLFS_SEED");

    seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * 2654435761u + 1;
    printf("HVTLFS_SEED=%llu\n", (unsigned long long)seed);
    return text ? strtoul(text, NULL, 0) : DEFAULT_CASES;
}

static const uint64_t edges[] = {
    0,
    1,
    2,
    9999999,
    10000000,
    10000001,
    10000019,
    UINT64_C(1000000000),
    UINT64_C(2999999999),
    UINT64_C(0x7FFFFFFF),
    UINT64_C(0x80000000),
    UINT64_C(0xFFFFFFFE),
    UINT64_C(0xFFFFFFFF),
    UINT64_C(0x100000000),
    UINT64_C(0x100000001),
    UINT64_C(0x7FFFFFFFFFFFFFFF),
    UINT64_C(0x8000000000000000),
    UINT64_C(0x8000000000000001),
    UINT64_C(0xFFFFFFFF00000000),
    UINT64_C(0xFFFFFFFFFFFFFFFE),
    UINT64_C(0xFFFFFFFFFFFFFFFF),
};
#define EDGES (sizeof(edges) / sizeof(edges[0]))

static void check_multiply(uint64_t a, uint64_t b)
{
    uint64_t expected = (uint64_t)((wide)a * b >> 64);

    if (hvtlfs_mul_u64_hi(a, b) != expected) {
        fail_msg("%#llx * %#llx", (unsigned long long)a, (unsigned long long)b);
    }
}

static void test_multiply_agrees_with_128_bits(void **state)
{
    unsigned long cases = case_count();
    size_t i, j;

    (void)state;
    for (i = 0; i < EDGES; i++) {
        for (j = 0; j < EDGES; j++) {
            check_multiply(edges[i], edges[j]);
        }
    }
    while (cases--) {
        check_multiply(any_number(), any_number());
    }
}

static void check_divide(uint64_t high, uint64_t low, uint64_t divisor)
{
    wide dividend = (wide)high << 64 | low;
    uint64_t remainder;
    uint64_t quotient = hvtlfs_div_u128(high, low, divisor, &remainder);

    if (quotient != (uint64_t)(dividend / divisor) || remainder != (uint64_t)(dividend % divisor)) {
        fail_msg("%#llx:%016llx / %#llx", (unsigned long long)high, (unsigned long long)low,
                 (unsigned long long)divisor);
    }
}

static void test_divide_agrees_with_128_bits(void **state)
{
    unsigned long cases = case_count();
    size_t i, j, k;

    (void)state;
    for (i = 0; i < EDGES; i++) {
        for (j = 0; j < EDGES; j++) {
            for (k = 0; k < EDGES; k++) {
                if (edges[i] < edges[k]) {
                    check_divide(edges[i], edges[j], edges[k]);
                }
            }
        }
    }
    while (cases--) {
        uint64_t divisor = any_number() | 1;

        check_divide(any_number() % divisor, any_number(), divisor);
    }
}

/* Page time, exact time, error and inverse of one triple, all by definition. */
static void check_time(uint64_t tsc, uint64_t tsc_hz, uint64_t offset)
{
    uint64_t expected_scale = (uint64_t)(((wide)10000000 << 64) / tsc_hz);
    uint64_t exact = (uint64_t)((wide)tsc * 10000000 / tsc_hz) + offset;
    uint64_t scale = 0;
    uint64_t now, first;

    assert_int_equal(hvtlfs_reftime_scale(tsc_hz, &scale), HVTLFS_OK);
    now = hvtlfs_reftime_from_tsc(tsc, scale, offset);
    if (scale != expected_scale || hvtlfs_reftime_exact(tsc, tsc_hz, offset) != exact ||
        exact - now > 1) {
        fail_msg("tsc %llu at %llu Hz", (unsigned long long)tsc, (unsigned long long)tsc_hz);
    }
    assert_int_equal(hvtlfs_reftime_first_tsc(now, scale, offset, &first), HVTLFS_OK);
    if (first > tsc || hvtlfs_reftime_from_tsc(first, scale, offset) != now ||
        (first && hvtlfs_reftime_from_tsc(first - 1, scale, offset) == now)) {
        fail_msg("inverse of %llu at %llu Hz", (unsigned long long)now, (unsigned long long)tsc_hz);
    }
}

static void test_time_is_at_most_one_unit_below_the_exact_value(void **state)
{
    unsigned long cases = case_count();
    size_t i, j;

    (void)state;
    for (i = 0; i < EDGES; i++) {
        for (j = 0; j < EDGES; j++) {
            if (edges[j] > 10000000) {
                check_time(edges[i], edges[j], 0);
                check_time(edges[i], edges[j], UINT64_MAX);
            }
        }
    }
    while (cases--) {
        uint64_t tsc_hz = any_number();

        check_time(any_number(), tsc_hz > 10000000 ? tsc_hz : tsc_hz + 10000001, any_number());
    }
}

static void check_first_tsc(uint64_t units, uint64_t scale)
{
    wide expected = (((wide)units << 64) + scale - 1) / scale;
    uint64_t tsc = 42;
    enum hvtlfs_status status = hvtlfs_reftime_first_tsc(units + 7, scale, 7, &tsc);
    bool good = expected >> 64 ? status == HVTLFS_ERR_NOT_FOUND && tsc == 42
                               : status == HVTLFS_OK && tsc == (uint64_t)expected;

    if (!good) {
        fail_msg("first TSC of %llu at scale %#llx", (unsigned long long)units,
                 (unsigned long long)scale);
    }
}

static void test_first_tsc_is_the_first(void **state)
{
    unsigned long cases = case_count();

    (void)state;
    check_first_tsc(0, 1);
    check_first_tsc(1, 1);
    check_first_tsc(UINT64_MAX - 1, UINT64_MAX);
    check_first_tsc(UINT64_MAX, UINT64_MAX);
    while (cases--) {
        uint64_t scale = any_number() | 1;
        uint64_t units = any_number();

        /* units << 64 + scale must fit the oracle */
        check_first_tsc(units == UINT64_MAX ? 0 : units, scale);
    }
}

static void test_convert_agrees_with_128_bits(void **state)
{
    unsigned long cases = case_count();

    (void)state;
    while (cases--) {
        uint64_t ticks = any_number(), from = any_number() | 1, to = any_number();

        if (hvtlfs_tsc_convert(ticks, from, to) != (uint64_t)((wide)ticks * to / from)) {
            fail_msg("%llu ticks of %llu Hz in %llu Hz", (unsigned long long)ticks,
                     (unsigned long long)from, (unsigned long long)to);
        }
    }
}

static void test_time_goes_on_across_a_change_of_rate(void **state)
{
    unsigned long cases = case_count() / 10;

    (void)state;
    while (cases--) {
        uint64_t scale = any_number(), tsc = any_number(), now = any_number();
        uint64_t offset = hvtlfs_reftime_offset(now, tsc, scale);

        assert_int_equal(hvtlfs_reftime_from_tsc(tsc, scale, offset), now);
    }
}
#endif

/* ---- Worked values: arithmetic done by hand ---- */

static void test_scale_of_1_ghz(void **state)
{
    uint64_t scale;

    (void)state;
    /* 2^64 / 100, rounded down */
    assert_int_equal(hvtlfs_reftime_scale(UINT64_C(1000000000), &scale), HVTLFS_OK);
    assert_int_equal(scale, UINT64_C(0x028F5C28F5C28F5C));
    /* Two seconds: the rounding shows. */
    assert_int_equal(hvtlfs_reftime_from_tsc(UINT64_C(2000000000), scale, 0), 19999999);
    assert_int_equal(hvtlfs_reftime_exact(UINT64_C(2000000000), UINT64_C(1000000000), 0), 20000000);
}

static void test_scale_of_a_power_of_two_is_without_error(void **state)
{
    uint64_t scale;

    (void)state;
    /* 10^7 * 2^64 / 2^63 = 2 * 10^7 */
    assert_int_equal(hvtlfs_reftime_scale(UINT64_C(1) << 63, &scale), HVTLFS_OK);
    assert_int_equal(scale, 20000000);
    assert_int_equal(hvtlfs_reftime_scale(UINT64_C(1) << 32, &scale), HVTLFS_OK);
    assert_int_equal(scale, UINT64_C(10000000) << 32);
    assert_int_equal(hvtlfs_reftime_from_tsc(UINT64_C(3) << 32, scale, 5), 30000005);
}

static void test_scale_exists_above_10_mhz_only(void **state)
{
    uint64_t scale = 42;

    (void)state;
    assert_int_equal(hvtlfs_reftime_scale(0, &scale), HVTLFS_ERR_TSC_RATE);
    assert_int_equal(hvtlfs_reftime_scale(1, &scale), HVTLFS_ERR_TSC_RATE);
    assert_int_equal(hvtlfs_reftime_scale(10000000, &scale), HVTLFS_ERR_TSC_RATE);
    assert_int_equal(scale, 42);
    /* 10^7 / (10^7 + 1) = 1 - 1 / (10^7 + 1); 2^64 / 10000001 is 1844674222903.5 */
    assert_int_equal(hvtlfs_reftime_scale(10000001, &scale), HVTLFS_OK);
    assert_int_equal(scale, UINT64_MAX - UINT64_C(1844674222903));
    assert_int_equal(hvtlfs_reftime_scale(20000000, NULL), HVTLFS_ERR_ARGUMENT);
}

static void test_offset_is_twos_complement(void **state)
{
    (void)state;
    assert_int_equal(hvtlfs_reftime_from_tsc(UINT64_C(1) << 63, 20000000, (uint64_t)-5),
                     10000000 - 5);
    assert_int_equal(hvtlfs_reftime_from_tsc(0, 20000000, (uint64_t)-5), UINT64_MAX - 4);
}

/* By hand: at 2^63 a unit is two ticks; at 10^7 * 2^64 / 10^9, rounded down, a little more than 100. */
static void test_first_tsc_of_round_numbers(void **state)
{
    static const struct {
        uint64_t units, scale, tsc;
    } rows[] = {
        {0, UINT64_C(1) << 63, 0},
        {1, UINT64_C(1) << 63, 2},
        {3, UINT64_C(1) << 63, 6},
        {1, UINT64_C(184467440737095516), 101},
        {2, UINT64_C(184467440737095516), 201},
        {1, UINT64_C(3) << 62, 2}, /* 4 / 3 */
        {2, UINT64_C(3) << 62, 3}, /* 8 / 3 */
        {3, UINT64_C(3) << 62, 4},
    };
    uint64_t tsc;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(hvtlfs_reftime_first_tsc(rows[i].units + 5, rows[i].scale, 5, &tsc),
                         HVTLFS_OK);
        assert_int_equal(tsc, rows[i].tsc);
    }
}

static void test_first_tsc_of_a_time_out_of_reach(void **state)
{
    uint64_t tsc = 42;

    (void)state;
    /* The last TSC shows scale - 1. */
    assert_int_equal(hvtlfs_reftime_first_tsc(19999999, 20000000, 0, &tsc), HVTLFS_OK);
    assert_int_equal(hvtlfs_reftime_first_tsc(20000000, 20000000, 0, &tsc), HVTLFS_ERR_NOT_FOUND);
    /* TSC 0 shows 100 already. */
    assert_int_equal(hvtlfs_reftime_first_tsc(99, 20000000, 100, &tsc), HVTLFS_ERR_NOT_FOUND);
    assert_int_equal(hvtlfs_reftime_first_tsc(100, 20000000, 100, &tsc), HVTLFS_OK);
    assert_int_equal(tsc, 0);
    assert_int_equal(hvtlfs_reftime_first_tsc(1, 0, 0, &tsc), HVTLFS_ERR_NOT_FOUND);
    assert_int_equal(hvtlfs_reftime_first_tsc(1, 20000000, 0, NULL), HVTLFS_ERR_ARGUMENT);
}

static void test_division_by_nothing_returns(void **state)
{
    (void)state;
    (void)hvtlfs_div_u128(1, 2, 0, NULL);
    assert_int_equal(hvtlfs_reftime_exact(5, 0, 7), 0);
    assert_int_equal(hvtlfs_tsc_convert(5, 0, 7), 0);
}

static void test_exact_time_of_a_slow_tsc(void **state)
{
    (void)state;
    assert_int_equal(hvtlfs_reftime_exact(3, 1, 0), 30000000);
    assert_int_equal(hvtlfs_reftime_exact(7, 10000000, 1), 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#ifdef __SIZEOF_INT128__
        cmocka_unit_test(test_multiply_agrees_with_128_bits),
        cmocka_unit_test(test_divide_agrees_with_128_bits),
        cmocka_unit_test(test_time_is_at_most_one_unit_below_the_exact_value),
        cmocka_unit_test(test_first_tsc_is_the_first),
        cmocka_unit_test(test_convert_agrees_with_128_bits),
        cmocka_unit_test(test_time_goes_on_across_a_change_of_rate),
#endif
        cmocka_unit_test(test_scale_of_1_ghz),
        cmocka_unit_test(test_scale_of_a_power_of_two_is_without_error),
        cmocka_unit_test(test_scale_exists_above_10_mhz_only),
        cmocka_unit_test(test_offset_is_twos_complement),
        cmocka_unit_test(test_first_tsc_of_round_numbers),
        cmocka_unit_test(test_first_tsc_of_a_time_out_of_reach),
        cmocka_unit_test(test_division_by_nothing_returns),
        cmocka_unit_test(test_exact_time_of_a_slow_tsc),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
