/* SPDX-License-Identifier: MIT */
/*
 * What fuzzing and fault injection found: one test for each, named after what is true now. The targets
 * that found them are in tests/fuzz, test_faults.c and test_bounds.c.
 */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS, MAP_NORESERVE */
#include "fixture.h"

#include <pthread.h>
#include <semaphore.h>
#include <sys/mman.h>

#include <hvtlfs/state.h>
#include <hvtlfs/synic.h>
#include <hvtlfs/time.h>
#include <hvtlfs/vapic.h>

static struct fixture fixture;

static void start(const char *features, bool copies)
{
    fixture_prepare(&fixture);
    fixture.features = features;
    fixture.options.copies_overlays = copies;
    fixture_start(&fixture);
}

static size_t save(uint8_t *buffer, size_t size)
{
    size_t used = 0;

    assert_int_equal(hvtlfs_state_save(fixture.partition, buffer, size, &used, NULL), HVTLFS_OK);
    return used;
}

/* fuzz_cpuid: bits of the set beyond the last feature were looked up in the table of features. */
static void bits_that_are_no_feature_show_nothing(void **state)
{
    struct hvtlfs_cpuid_identity identity = {.cpuid_base = 0x40000000};
    struct hvtlfs_cpuid_regs regs;

    (void)state;
    identity.features.word[0] = ~((UINT64_C(1) << HVTLFS_FEATURE_COUNT) - 1);
    assert_int_equal(hvtlfs_cpuid_max_leaf(&identity), 0x40000005);
    for (uint32_t leaf = 0x40000003; leaf <= 0x40000004; leaf++) {
        assert_true(hvtlfs_cpuid_leaf(&identity, leaf, &regs));
        assert_int_equal(regs.eax | regs.ebx | regs.ecx | regs.edx, 0);
    }
}

/* fuzz_hypercall: a page that the host refused to show again was later taken away all the same. */
static void a_page_below_that_cannot_come_back_is_out_of_reach(void **state)
{
    (void)state;
    start("synic", false);
    assert_int_equal(hvtlfs_msr_write(fixture.vp, 0x40000082, 0x5001), HVTLFS_MSR_DONE);
    assert_int_equal(hvtlfs_msr_write(fixture.vp, 0x40000083, 0x5001), HVTLFS_MSR_DONE);
    assert_int_equal(model_host_overlay_count(fixture.host), 1);
    model_host_fail(fixture.host, 1, false); /* the event page, when the message page goes */
    assert_int_equal(hvtlfs_msr_write(fixture.vp, 0x40000083, 0), HVTLFS_MSR_DONE);
    model_host_fail(fixture.host, 0, false);
    assert_int_equal(model_host_overlay_count(fixture.host), 0);
    assert_int_equal(hvtlfs_msr_write(fixture.vp, 0x40000082, 0x6001), HVTLFS_MSR_DONE);
    assert_int_equal(model_host_overlay_count(fixture.host), 1);
    fixture_stop(&fixture); /* fails for a broken contract */
}

/* fuzz_msr: the body of a hypercall page that could not be shown stayed in the saved state. */
static void a_refused_hypercall_page_leaves_nothing_behind(void **state)
{
    static uint8_t before[65536], after[65536];
    size_t size;

    (void)state;
    start("", true);
    assert_int_equal(hvtlfs_msr_write(fixture.vp, 0x40000000, LINUX_ID), HVTLFS_MSR_DONE);
    assert_int_equal(hvtlfs_freeze(fixture.partition), HVTLFS_OK);
    size = save(before, sizeof(before));
    assert_int_equal(hvtlfs_msr_write(fixture.vp, 0x40000001, 0x80000001), HVTLFS_MSR_FAULT);
    assert_int_equal(save(after, sizeof(after)), size);
    assert_memory_equal(before, after, size);
    fixture_stop(&fixture);
}

/* faults: a page whose covered bytes could not be given back was gone, and the bytes with it. */
static void a_page_that_cannot_give_back_what_it_covers_stays(void **state)
{
    static const uint32_t msrs[] = {0x40000021, 0x40000082, 0x40000083, 0x40000073, 0x400000E0};

    (void)state;
    for (size_t i = 0; i < sizeof(msrs) / sizeof(msrs[0]); i++) {
        uint64_t value;

        start("synic,time,vapic,stats", true);
        model_host_guest_write64(fixture.host, 0x5FF8, 0x1122334455667788);
        assert_int_equal(hvtlfs_msr_write(fixture.vp, msrs[i], 0x5001), HVTLFS_MSR_DONE);
        model_host_fail(fixture.host, 1, true);
        assert_int_equal(hvtlfs_msr_write(fixture.vp, msrs[i], 0), HVTLFS_MSR_FAULT);
        model_host_fail(fixture.host, 0, false);
        assert_int_equal(hvtlfs_msr_read(fixture.vp, msrs[i], &value), HVTLFS_MSR_DONE);
        assert_int_equal(value, 0x5001);
        assert_int_equal(hvtlfs_msr_write(fixture.vp, msrs[i], 0), HVTLFS_MSR_DONE);
        assert_int_equal(model_host_guest_read64(fixture.host, 0x5FF8), 0x1122334455667788);
        fixture_stop(&fixture);
    }
}

/* faults: a TSC page that memory refused to make invalid was not tried again, and showed stale time. */
static void a_tsc_page_that_could_not_be_withdrawn_is_tried_again(void **state)
{
    (void)state;
    fixture_prepare(&fixture);
    fixture.features = "time";
    fixture.options.copies_overlays = true;
    fixture.config.invariant_tsc = true;
    fixture_start(&fixture);
    assert_int_equal(hvtlfs_msr_write(fixture.vp, 0x40000021, 0x5001), HVTLFS_MSR_DONE);
    assert_int_not_equal(model_host_guest_read32(fixture.host, 0x5000), 0);
    model_host_fail(fixture.host, 1, false);
    assert_int_equal(hvtlfs_freeze(fixture.partition), HVTLFS_OK);
    model_host_fail(fixture.host, 0, false);
    assert_int_not_equal(model_host_guest_read32(fixture.host, 0x5000), 0);
    hvtlfs_tsc_changed(fixture.vp, 1000); /* anything that concerns the page */
    assert_int_equal(model_host_guest_read32(fixture.host, 0x5000), 0);
    fixture_stop(&fixture);
}

/* Reading: where the old sequence could not be taken back, the new body was written under it all the same. */
static void a_tsc_page_that_still_looks_valid_keeps_its_body(void **state)
{
    uint64_t sequence, offset;

    (void)state;
    fixture_prepare(&fixture);
    fixture.features = "time";
    fixture.options.copies_overlays = true;
    fixture.config.invariant_tsc = true;
    fixture_start(&fixture);
    assert_int_equal(hvtlfs_msr_write(fixture.vp, 0x40000021, 0x5001), HVTLFS_MSR_DONE);
    sequence = model_host_guest_read32(fixture.host, 0x5000);
    offset = model_host_guest_read64(fixture.host, 0x5010);
    model_host_fail(fixture.host, 1, false);
    assert_int_equal(hvtlfs_freeze(fixture.partition), HVTLFS_OK);
    model_host_fail(fixture.host, 1, false);
    assert_int_equal(hvtlfs_thaw(fixture.partition, 1000), HVTLFS_OK);
    assert_int_equal(hvtlfs_tsc_page_query(fixture.partition), HVTLFS_TSC_PAGE_WRITE_FAILED);
    assert_int_equal(model_host_guest_read32(fixture.host, 0x5000), sequence);
    assert_int_equal(model_host_guest_read64(fixture.host, 0x5010), offset);
    model_host_fail(fixture.host, 0, false);
    assert_int_equal(hvtlfs_freeze(fixture.partition), HVTLFS_OK);
    assert_int_equal(hvtlfs_thaw(fixture.partition, 0), HVTLFS_OK);
    assert_int_equal(hvtlfs_tsc_page_query(fixture.partition), HVTLFS_TSC_PAGE_VALID);
    assert_int_not_equal(model_host_guest_read32(fixture.host, 0x5000), sequence);
    assert_int_not_equal(model_host_guest_read64(fixture.host, 0x5010), offset);
    fixture_stop(&fixture);
}

/* faults: when memory refused the look at the guest's bit, the promise was forgotten and the bit stayed. */
static void an_arming_that_cannot_be_looked_at_stays(void **state)
{
    uint32_t word = 0;

    (void)state;
    start("vapic", true);
    assert_int_equal(hvtlfs_msr_write(fixture.vp, 0x40000073, 0x5001), HVTLFS_MSR_DONE);
    assert_true(hvtlfs_lazy_eoi_arm(fixture.vp, 0x31, HVTLFS_TRIGGER_EDGE, false));
    model_host_fail(fixture.host, 1, false);
    assert_int_equal(hvtlfs_lazy_eoi_withdraw(fixture.vp), HVTLFS_LAZY_EOI_ENDED);
    model_host_fail(fixture.host, 1, false);
    assert_int_equal(hvtlfs_lazy_eoi_collect(fixture.vp), HVTLFS_NO_EOI);
    model_host_fail(fixture.host, 0, false);
    assert_int_equal(model_host_guest_write(fixture.host, 0x5000, &word, sizeof(word)),
                     MODEL_ACCESS_OK); /* the guest ends its interrupt */
    assert_int_equal(hvtlfs_lazy_eoi_collect(fixture.vp), 0x31);
    fixture_stop(&fixture);
}

/* A thread that withdraws while the VP's own looks at the bit; each waits at most for the other's lock. */
static struct {
    bool armed; /* start the thread at the next exchange */
    bool started;
    pthread_t thread;
    sem_t came; /* to the lock, or back */
    enum hvtlfs_lazy_eoi found;
} withdrawal;

static pthread_mutex_t partition_lock = PTHREAD_MUTEX_INITIALIZER;

static void on_lock(void *context)
{
    (void)context;
    if (withdrawal.started && pthread_equal(pthread_self(), withdrawal.thread)) {
        (void)sem_post(&withdrawal.came);
    }
    (void)pthread_mutex_lock(&partition_lock);
}

static void on_unlock(void *context)
{
    (void)context;
    (void)pthread_mutex_unlock(&partition_lock);
}

static void *withdraw(void *argument)
{
    while (!__atomic_load_n(&withdrawal.started, __ATOMIC_ACQUIRE)) {
    }
    withdrawal.found = hvtlfs_lazy_eoi_withdraw(argument);
    (void)sem_post(&withdrawal.came);
    return NULL;
}

static bool refused_meanwhile(void *context, uint64_t gpa, uint32_t *expected, uint32_t desired,
                              bool *done)
{
    (void)context;
    (void)gpa;
    (void)expected;
    (void)desired;
    *done = !withdrawal.armed;
    if (withdrawal.armed && !withdrawal.started) {
        assert_int_equal(pthread_create(&withdrawal.thread, NULL, withdraw, fixture.vp), 0);
        __atomic_store_n(&withdrawal.started, true, __ATOMIC_RELEASE);
        (void)sem_wait(&withdrawal.came);
    }
    return !withdrawal.armed;
}

static void let_another_in(struct hvtlfs_config *config)
{
    config->ops.lock = on_lock;
    config->ops.unlock = on_unlock;
    config->ops.gpa_compare_exchange = refused_meanwhile;
}

/* reading: while a look that memory refused was under way, nothing seemed to be armed. */
static void an_arming_that_is_being_looked_at_is_not_forgotten(void **state)
{
    (void)state;
    fixture_prepare(&fixture);
    fixture.features = "vapic";
    fixture.options.copies_overlays = true;
    fixture.adjust = let_another_in;
    fixture_start(&fixture);
    assert_int_equal(sem_init(&withdrawal.came, 0, 0), 0);
    assert_int_equal(hvtlfs_msr_write(fixture.vp, 0x40000073, 0x5001), HVTLFS_MSR_DONE);
    assert_true(hvtlfs_lazy_eoi_arm(fixture.vp, 0x31, HVTLFS_TRIGGER_EDGE, false));
    withdrawal.armed = true;
    assert_int_equal(hvtlfs_lazy_eoi_collect(fixture.vp), HVTLFS_NO_EOI);
    assert_int_equal(pthread_join(withdrawal.thread, NULL), 0);
    assert_int_equal(withdrawal.found, HVTLFS_LAZY_EOI_ENDED);
    withdrawal.armed = false;
    (void)sem_destroy(&withdrawal.came);
    fixture_stop(&fixture);
}

/* fuzz_model: two SINTs shared a vector, one auto-EOI; the other's interrupt said it was not. */
static void an_interrupt_says_of_its_vector_what_the_question_says(void **state)
{
    struct hvtlfs_interrupt interrupt;

    (void)state;
    start("synic", false);
    assert_int_equal(hvtlfs_msr_write(fixture.vp, 0x40000080, 1), HVTLFS_MSR_DONE);
    assert_int_equal(hvtlfs_msr_write(fixture.vp, 0x40000082, 0x5001), HVTLFS_MSR_DONE);
    assert_int_equal(hvtlfs_msr_write(fixture.vp, 0x40000093, 0x2002E), HVTLFS_MSR_DONE);
    assert_int_equal(hvtlfs_msr_write(fixture.vp, 0x40000095, 0x2E), HVTLFS_MSR_DONE);
    assert_int_equal(hvtlfs_synic_signal_event(fixture.vp, 5, 7, NULL), HVTLFS_OK);
    assert_true(model_host_take_interrupt(fixture.host, 0, &interrupt));
    assert_int_equal(interrupt.vector, 0x2E);
    assert_true(hvtlfs_synic_is_auto_eoi(fixture.vp, 0x2E));
    assert_true(interrupt.auto_eoi);
    fixture_stop(&fixture);
}

static void put_le(uint8_t *bytes, uint64_t value, size_t width)
{
    for (size_t i = 0; i < width; i++) {
        bytes[i] = (uint8_t)(value >> 8 * i);
    }
}

static void count_visit(void *context, const struct hvtlfs_state_field *field)
{
    (void)field;
    (*(uint32_t *)context)++;
}

/* A section of `size` bytes that readers may skip, made of two fields of half its length. */
static void put_large_section(uint8_t *at, uint32_t size)
{
    const uint32_t half = size / 2 - 8;

    put_le(at, 0x5A5A5A5A, 4);     /* a tag that nobody has */
    put_le(at + 4, 0x80000000, 4);     /* optional */
    put_le(at + 8, 0xFFFFFFFF, 4);
    put_le(at + 12, size, 4);
    put_le(at + 16 + 4, half, 4);
    put_le(at + 16 + 8 + half + 4, half, 4);
}

/*
 * Proof (tests/proofs, next_section): the length of a section and its header were added in 32 bits. One
 * of 4 GiB less 16 bytes led back to itself, for ever. Here something wrong follows it.
 */
static void a_section_of_four_gigabytes_is_left_behind(void **state)
{
    static const uint8_t magic[8] = {'h', 'v', 't', 'l', 'f', 's', 13, 10};
    const uint32_t large = UINT32_MAX - 15;
    const uint64_t next = UINT64_C(32) + 16 + large;
    struct hvtlfs_error error = {.status = HVTLFS_OK};
    uint32_t visits = 0;
    uint8_t *bytes;

    (void)state;
    if (sizeof(size_t) < 8) {
        skip();
    }
    bytes = mmap(NULL, (size_t)next + 16, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (bytes == MAP_FAILED) {
        skip();
    }
    memcpy(bytes, magic, sizeof(magic));
    put_le(bytes + 8, 0x01020304, 4);
    put_le(bytes + 12, HVTLFS_STATE_VERSION, 4);
    put_le(bytes + 16, next + 16, 8);
    put_large_section(bytes + 32, large);
    put_le(bytes + next + 4, 1, 4); /* a flag that does not exist */
    assert_int_equal(hvtlfs_state_visit(bytes, (size_t)next + 16, count_visit, &visits, &error),
                     HVTLFS_ERR_STATE_FORMAT);
    assert_int_equal(visits, 2);
    assert_string_equal(error.name, "section.flags");
    assert_int_equal(error.value, next + 4);
    assert_int_equal(munmap(bytes, (size_t)next + 16), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bits_that_are_no_feature_show_nothing),
        cmocka_unit_test(a_page_below_that_cannot_come_back_is_out_of_reach),
        cmocka_unit_test(a_refused_hypercall_page_leaves_nothing_behind),
        cmocka_unit_test(a_page_that_cannot_give_back_what_it_covers_stays),
        cmocka_unit_test(a_tsc_page_that_could_not_be_withdrawn_is_tried_again),
        cmocka_unit_test(a_tsc_page_that_still_looks_valid_keeps_its_body),
        cmocka_unit_test(an_arming_that_cannot_be_looked_at_stays),
        cmocka_unit_test(an_arming_that_is_being_looked_at_is_not_forgotten),
        cmocka_unit_test(an_interrupt_says_of_its_vector_what_the_question_says),
        cmocka_unit_test(a_section_of_four_gigabytes_is_left_behind),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
