/* SPDX-License-Identifier: MIT */
/*
 * Lazy EOI with real threads: one is the VP and its guest, the other raises interrupts and withdraws.
 * The host's APIC has a lock of its own, as hosts do; the guest's page is touched by atomic
 * instructions only. For ThreadSanitizer as much as for the counts at the end.
 */
#define _POSIX_C_SOURCE 200809L
#include "fixture.h"

#include <pthread.h>
#include <sched.h>

#include <hvtlfs/vapic.h>

#include "model_apic.h"

#define ASSIST UINT64_C(0x5000)
#ifdef HVTLFS_HELGRIND
#define ROUNDS 5000u
#else
#define ROUNDS 100000u
#endif
#define HANDLERS 4u

static struct fixture fixture;
static struct model_apic apic;
static pthread_mutex_t apic_lock = PTHREAD_MUTEX_INITIALIZER;
static uint32_t *word;        /* the guest's "no EOI required" */
static bool kicked;           /* atomic */
static bool device_done;      /* atomic */
static uint32_t raised;       /* the device's */
static uint32_t expected_end; /* the VP's: what the next EOI must end */
static bool mismatch;

static void end_expected(void)
{
    pthread_mutex_lock(&apic_lock);
    mismatch = model_apic_end(&apic) != expected_end || mismatch;
    pthread_mutex_unlock(&apic_lock);
}

static void on_apic_write(void *context, uint32_t vp_index, enum hvtlfs_apic_register reg,
                          uint64_t value)
{
    (void)context;
    (void)vp_index;
    (void)reg;
    (void)value;
    end_expected();
}

static uint64_t random_number(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

/* ---- The device ---- */

static void raise_one(uint32_t vector)
{
    uint32_t in_service;
    enum hvtlfs_lazy_eoi lazy;

    pthread_mutex_lock(&apic_lock);
    raised += !(apic.irr[vector / 64] >> vector % 64 & 1);
    model_apic_request(&apic, vector, HVTLFS_TRIGGER_EDGE);
    in_service = model_apic_in_service(&apic);
    pthread_mutex_unlock(&apic_lock);
    lazy = hvtlfs_lazy_eoi_withdraw(fixture.vp);
    if (lazy == HVTLFS_LAZY_EOI_ENDED || in_service == MODEL_APIC_NONE ||
        in_service / 16 < vector / 16) {
        __atomic_store_n(&kicked, true, __ATOMIC_SEQ_CST);
    }
}

static void *device(void *argument)
{
    uint64_t seed = UINT64_C(0x9E3779B97F4A7C15);
    uint32_t i;

    (void)argument;
    for (i = 0; i < ROUNDS; i++) {
        raise_one(random_number(&seed) & 1 ? 0x42 : 0x31);
        if (random_number(&seed) % 8 == 0) {
            sched_yield();
        }
    }
    __atomic_store_n(&device_done, true, __ATOMIC_SEQ_CST);
    return NULL;
}

/* ---- The VP ---- */

struct guest {
    uint32_t handlers[HANDLERS];
    uint32_t depth;
};

static void leave_guest(void)
{
    uint32_t vector = hvtlfs_lazy_eoi_collect(fixture.vp);

    if (vector != HVTLFS_NO_EOI) {
        mismatch = vector != expected_end || mismatch;
        end_expected();
    }
}

static void enter_guest(struct guest *guest)
{
    uint32_t vector;
    bool pending;

    __atomic_store_n(&kicked, false, __ATOMIC_SEQ_CST);
    pthread_mutex_lock(&apic_lock);
    vector = model_apic_accept(&apic);
    if (vector != MODEL_APIC_NONE) {
        guest->handlers[guest->depth++] = vector;
    }
    vector = model_apic_in_service(&apic);
    pending = model_apic_pending(&apic) != MODEL_APIC_NONE;
    pthread_mutex_unlock(&apic_lock);
    if (vector == MODEL_APIC_NONE ||
        !hvtlfs_lazy_eoi_arm(fixture.vp, vector, HVTLFS_TRIGGER_EDGE, pending)) {
        return;
    }
    pthread_mutex_lock(&apic_lock); /* the second look */
    pending = model_apic_pending(&apic) != MODEL_APIC_NONE;
    pthread_mutex_unlock(&apic_lock);
    if (pending && hvtlfs_lazy_eoi_withdraw(fixture.vp) == HVTLFS_LAZY_EOI_ENDED) {
        mismatch = true; /* the guest has not run */
    }
}

/* One step of the guest; returns whether it exits. */
static bool run_guest(struct guest *guest)
{
    if (__atomic_load_n(&kicked, __ATOMIC_SEQ_CST)) {
        return true;
    }
    if (!guest->depth) {
        sched_yield();
        return false;
    }
    if (__atomic_fetch_and(word, ~UINT32_C(1), __ATOMIC_SEQ_CST) & 1) {
        expected_end = guest->handlers[--guest->depth];
        return false;
    }
    leave_guest();
    expected_end = guest->handlers[--guest->depth];
    mismatch = hvtlfs_msr_write(fixture.vp, HV_X64_MSR_EOI, 0) != HVTLFS_MSR_DONE || mismatch;
    return true;
}

static bool all_done(const struct guest *guest)
{
    bool nothing_pending;

    if (guest->depth || !__atomic_load_n(&device_done, __ATOMIC_SEQ_CST) ||
        __atomic_load_n(&kicked, __ATOMIC_SEQ_CST)) {
        return false;
    }
    pthread_mutex_lock(&apic_lock);
    nothing_pending = model_apic_pending(&apic) == MODEL_APIC_NONE;
    pthread_mutex_unlock(&apic_lock);
    return nothing_pending;
}

static void run_vp(void)
{
    struct guest guest = {.depth = 0};
    uint64_t seed = UINT64_C(0xD1B54A32D192ED03);

    while (!all_done(&guest)) {
        leave_guest();
        enter_guest(&guest);
        while (!run_guest(&guest) && !all_done(&guest)) {
            if (random_number(&seed) % 16 == 0) {
                break; /* an exit for some other reason */
            }
        }
    }
    leave_guest();
}

static void own_apic(struct hvtlfs_config *config)
{
    config->ops.apic_write = on_apic_write;
}

static void nothing_is_lost_or_ended_twice_between_threads(void **state)
{
    struct hvtlfs_overlay overlay;
    pthread_t thread;

    (void)state;
    fixture_prepare(&fixture);
    fixture.options.lock = MODEL_LOCK_MUTEX;
    fixture.features = "vapic";
    fixture.adjust = own_apic;
    fixture_start(&fixture);
    expect_write(fixture.vp, HV_X64_MSR_VP_ASSIST_PAGE, ASSIST | 1);
    assert_true(model_host_overlay_at(fixture.host, ASSIST, &overlay));
    word = overlay.page;
    assert_int_equal(pthread_create(&thread, NULL, device, NULL), 0);
    run_vp();
    assert_int_equal(pthread_join(thread, NULL), 0);
    print_message("%u raised, %u delivered, %u ended\n", raised, apic.delivered, apic.ended);
    assert_false(mismatch);
    assert_int_equal(apic.delivered, raised);
    assert_int_equal(apic.ended, raised);
    assert_int_equal(apic.spurious, 0);
    fixture_stop(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_lost_or_ended_twice_between_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
