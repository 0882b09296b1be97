/* SPDX-License-Identifier: MIT */
/*
 * Guests read page and MSR on two threads while a third migrates the partition from host to host and a
 * fourth watches. No reading is torn and none is below another that had ended before it began.
 *
 * HVTLFS_STRESS_READS=100000000 is what a release is checked with, under ThreadSanitizer.
 */
#include "fixture.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>

#include <hvtlfs/guest_time.h>
#include <hvtlfs/time.h>

#define PAGE UINT64_C(0x5000)
#define READERS 2u
#define MIGRATIONS_WANTED 20u
#ifdef HVTLFS_HELGRIND
#define DEFAULT_READS 20000ul
#else
#define DEFAULT_READS 400000ul
#endif

/* ---- A world in which every look at a clock moves it ---- */

static uint64_t world_tsc;
static uint64_t world_time;
static uint64_t latest; /* the highest reading that has ended */
static uint32_t failures;
static uint32_t readers_left;
static unsigned long migrations;
static uint64_t page_reads;
static uint64_t msr_reads;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct hvtlfs_partition *partition;
static const struct hvtlfs_guest_tsc_page *page;
static uint8_t ram[0x10000];

static uint64_t on_guest_tsc(void *context, uint32_t vp_index)
{
    (void)context;
    (void)vp_index;
    return __atomic_fetch_add(&world_tsc, 1500, __ATOMIC_SEQ_CST);
}

static uint64_t read_tsc(void *context)
{
    return on_guest_tsc(context, 0);
}

static uint64_t on_host_time(void *context)
{
    (void)context;
    return __atomic_fetch_add(&world_time, 1, __ATOMIC_SEQ_CST);
}

static bool on_overlay_set(void *context, const struct hvtlfs_overlay *overlay)
{
    (void)context;
    page = overlay->page;
    return true;
}

static void on_overlay_clear(void *context, const struct hvtlfs_overlay *overlay)
{
    (void)context;
    (void)overlay;
}

static bool on_gpa_read(void *context, uint64_t gpa, void *buffer, size_t size)
{
    (void)context;
    memcpy(buffer, ram + gpa, size);
    return true;
}

static bool on_gpa_write(void *context, uint64_t gpa, const void *buffer, size_t size)
{
    (void)context;
    memcpy(ram + gpa, buffer, size);
    return true;
}

static enum hvtlfs_gpa_kind on_gpa_probe(void *context, uint64_t gpa)
{
    (void)context;
    return gpa < sizeof(ram) ? HVTLFS_GPA_RAM : HVTLFS_GPA_NONE;
}

static void on_lock(void *context)
{
    (void)context;
    pthread_mutex_lock(&mutex);
}

static void on_unlock(void *context)
{
    (void)context;
    pthread_mutex_unlock(&mutex);
}

static void *make_partition(void)
{
    struct hvtlfs_config config;
    void *memory;
    size_t size;

    hvtlfs_config_init(&config);
    config.ops.gpa_read = on_gpa_read;
    config.ops.gpa_write = on_gpa_write;
    config.ops.gpa_probe = on_gpa_probe;
    config.ops.overlay_set = on_overlay_set;
    config.ops.overlay_clear = on_overlay_clear;
    config.ops.guest_tsc = on_guest_tsc;
    config.ops.host_time = on_host_time;
    config.ops.lock = on_lock;
    config.ops.unlock = on_unlock;
    config.vp_count = READERS;
    config.tsc_hz = 1000000000;
    config.invariant_tsc = true;
    hvtlfs_features_add(&config.features, HVTLFS_FEATURE_TIME_REF_COUNT);
    hvtlfs_features_add(&config.features, HVTLFS_FEATURE_REFERENCE_TSC);
    assert_int_equal(hvtlfs_partition_size(&config, &size, NULL), HVTLFS_OK);
    memory = aligned_alloc(4096, (size + 4095) & ~(size_t)4095);
    assert_non_null(memory);
    assert_int_equal(hvtlfs_partition_init(memory, size, &config, &partition, NULL), HVTLFS_OK);
    return memory;
}

/* ---- Readers ---- */

static void fetch_max(uint64_t *word, uint64_t value)
{
    uint64_t seen = __atomic_load_n(word, __ATOMIC_SEQ_CST);

    while (seen < value && !__atomic_compare_exchange_n(word, &seen, value, false, __ATOMIC_SEQ_CST,
                                                        __ATOMIC_SEQ_CST)) {
    }
}

/* As a guest does: the page, or else the MSR. Every fourth reading takes the MSR anyway. */
static uint64_t guest_time(struct hvtlfs_vp *vp, unsigned long n, uint64_t *from_page)
{
    uint64_t time = 0;

    if (n % 4 && hvtlfs_guest_time_with(page, read_tsc, NULL, &time)) {
        ++*from_page;
        return time;
    }
    if (hvtlfs_msr_read(vp, HV_X64_MSR_TIME_REF_COUNT, &time) != HVTLFS_MSR_DONE) {
        __atomic_fetch_add(&failures, 1, __ATOMIC_RELAXED);
    }
    return time;
}

static unsigned long reads_wanted(void)
{
    const char *text = getenv("HVTLFS_STRESS_READS");

    return text ? strtoul(text, NULL, 0) : DEFAULT_READS;
}

/* A short run on a busy machine could otherwise fall into one pause of the writer as a whole. */
static bool enough_seen(uint64_t from_page)
{
    return from_page && __atomic_load_n(&migrations, __ATOMIC_RELAXED) >= MIGRATIONS_WANTED;
}

static void *reader(void *argument)
{
    struct hvtlfs_vp *vp = argument;
    unsigned long wanted = reads_wanted() / READERS;
    unsigned long total = 0;
    uint64_t from_page = 0;

    while (total < wanted || !enough_seen(from_page)) {
        uint64_t before = __atomic_load_n(&latest, __ATOMIC_SEQ_CST);
        uint64_t now = guest_time(vp, total++, &from_page);

        if (now < before) {
            __atomic_fetch_add(&failures, 1, __ATOMIC_RELAXED);
        }
        fetch_max(&latest, now);
    }
    __atomic_fetch_add(&page_reads, from_page, __ATOMIC_RELAXED);
    __atomic_fetch_add(&msr_reads, total - from_page, __ATOMIC_RELAXED);
    __atomic_fetch_sub(&readers_left, 1, __ATOMIC_RELEASE);
    return NULL;
}

/* ---- Somebody who watches: any thread may ask, whatever the others do ---- */

static void *watcher(void *argument)
{
    uint64_t published = 0;

    (void)argument;
    while (__atomic_load_n(&readers_left, __ATOMIC_ACQUIRE)) {
        struct hvtlfs_time_counters counters = {.size = sizeof(counters)};

        if (hvtlfs_read_time_counters(partition, &counters) != HVTLFS_OK ||
            counters.page_publications < published) {
            __atomic_fetch_add(&failures, 1, __ATOMIC_RELAXED);
        }
        published = counters.page_publications;
        (void)hvtlfs_tsc_page_query(partition);
        sched_yield();
    }
    return NULL;
}

/* ---- The writer ---- */

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static void migrate_until_done(uint64_t seed)
{
    while (__atomic_load_n(&readers_left, __ATOMIC_ACQUIRE)) {
        uint64_t tsc_hz = 10000001 + next_random(&seed) % UINT64_C(9000000000);

        assert_int_equal(hvtlfs_freeze(partition), HVTLFS_OK);
        __atomic_store_n(&world_tsc, next_random(&seed) >> 2, __ATOMIC_SEQ_CST);
        assert_int_equal(hvtlfs_migrate(partition, tsc_hz, migrations % 8 != 0), HVTLFS_OK);
        assert_int_equal(hvtlfs_thaw(partition, 0), HVTLFS_OK);
        __atomic_store_n(&migrations, migrations + 1, __ATOMIC_RELAXED);
        sched_yield();
    }
}

static void no_reading_is_torn_or_goes_back_while_the_host_changes(void **state)
{
    pthread_t threads[READERS + 1];
    void *memory = make_partition();
    uint32_t i;

    (void)state;
    expect_write(hvtlfs_partition_vp(partition, 0), HV_X64_MSR_REFERENCE_TSC, PAGE | 1);
    assert_non_null(page);
    readers_left = READERS;
    for (i = 0; i < READERS; i++) {
        assert_int_equal(
            pthread_create(&threads[i], NULL, reader, hvtlfs_partition_vp(partition, i)), 0);
    }
    assert_int_equal(pthread_create(&threads[READERS], NULL, watcher, NULL), 0);
    migrate_until_done(0x1234567);
    for (i = 0; i <= READERS; i++) {
        pthread_join(threads[i], NULL);
    }
    printf("%llu page reads, %llu MSR reads, %lu migrations, %u failures\n",
           (unsigned long long)page_reads, (unsigned long long)msr_reads, migrations, failures);
    assert_int_equal(failures, 0);
    assert_true(page_reads > 0);
    free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_reading_is_torn_or_goes_back_while_the_host_changes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
