/* SPDX-License-Identifier: MIT */
/* TLFS 12.5: the synthetic timers. */
#include <hvtlfs/tlfs.h>

#include <stddef.h>

#include "apic.h"
#include "cpu.h"
#include "discovery.h"
#include "guard.h"
#include "synic.h"
#include "tests.h"
#include "vp.h"

#define CONFIG(n) (HV_X64_MSR_STIMER0_CONFIG + 2 * (n))
#define COUNT(n) (HV_X64_MSR_STIMER0_COUNT + 2 * (n))
#define SINT(n) ((uint64_t)(n) << HV_MSR_STIMER_CONFIG_SINTX_SHIFT)
#define DIRECT(vector) (HV_MSR_STIMER_CONFIG_DIRECT_MODE | (uint64_t)(vector) << 4)

enum {
    VECTOR = 0x70,
    ENABLE = HV_MSR_STIMER_CONFIG_ENABLE,
    PERIODIC = HV_MSR_STIMER_CONFIG_PERIODIC,
    AUTO = HV_MSR_STIMER_CONFIG_AUTO_ENABLE,
    TICKS = 10,
};

#define MS UINT64_C(10000)

static bool offered(void)
{
    if (!synic_offered() || !hv_has_eax(HV_CPUID_FEATURES_EAX_ACCESS_SYNTHETIC_TIMER_REGS)) {
        skip("CPUID offers no synthetic timers");
        return false;
    }
    if (!apic_present()) {
        skip("this host has no local APIC");
        return false;
    }
    return true;
}

static bool direct_offered(void)
{
    if (!offered()) {
        return false;
    }
    if (!hv_has_edx(HV_CPUID_FEATURES_EDX_DIRECT_SYNTHETIC_TIMERS)) {
        skip("CPUID offers no direct mode");
        return false;
    }
    return true;
}

static uint64_t now(void)
{
    uint64_t time = 0;

    (void)msr_read(HV_X64_MSR_TIME_REF_COUNT, &time);
    return time;
}

static void stop(uint32_t n)
{
    (void)msr_write(COUNT(n), 0);
    (void)msr_write(CONFIG(n), 0);
}

static void reset_values(void)
{
    uint64_t value = 1;

    if (!offered()) {
        return;
    }
    for (uint32_t n = 0; n < 4; n++) {
        expect(msr_read(CONFIG(n), &value) && value == 0, "STIMER%u_CONFIG reads %lx", n, value);
        expect(msr_read(COUNT(n), &value) && value == 0, "STIMER%u_COUNT reads %lx", n, value);
    }
}

static void enable_rules(void)
{
    uint64_t value = 0;

    if (!offered()) {
        return;
    }
    expect(msr_write(CONFIG(1), AUTO | ENABLE) && msr_read(CONFIG(1), &value) && value == AUTO,
           "SINT 0: CONFIG reads %lx", value);
    expect(msr_write(CONFIG(1), SINT(2) | AUTO) && msr_write(COUNT(1), now() + 100000 * MS) &&
               msr_read(CONFIG(1), &value) && value == (SINT(2) | AUTO | ENABLE),
           "AutoEnable: CONFIG reads %lx", value);
    expect(msr_write(COUNT(1), 0) && msr_read(CONFIG(1), &value) && value == (SINT(2) | AUTO),
           "count 0: CONFIG reads %lx", value);
    stop(1);
}

static void do_one_shot(void *argument)
{
    unsigned n = *(unsigned *)argument;
    volatile struct hv_message *slot = synic_slot(n, 2);
    struct hv_timer_message_payload payload;
    uint64_t due;
    uint64_t value = 0;

    expect(synic_enable(n) && synic_sint(2, VECTOR, 0), "VP %u: enabling faults", n);
    synic_expect(VECTOR);
    due = now() + MS;
    expect(msr_write(CONFIG(3), SINT(2) | AUTO) && msr_write(COUNT(3), due), "VP %u: #GP", n);
    expect(synic_wait(VECTOR, 1) == 1, "VP %u: no interrupt", n);
    payload = *(volatile struct hv_timer_message_payload *)slot->payload;
    expect(slot->header.message_type == HvMessageTimerExpired, "VP %u: type %x", n,
           slot->header.message_type);
    expect(slot->header.payload_size == 24 && slot->header.origination_id == 0,
           "VP %u: size %u, origin %lx", n, slot->header.payload_size, slot->header.origination_id);
    expect(payload.timer_index == 3 && payload.expiration_time == due &&
               payload.delivery_time >= due && payload.delivery_time <= now(),
           "VP %u: timer %u, due %lx, delivered %lx", n, payload.timer_index,
           payload.expiration_time, payload.delivery_time);
    expect(msr_read(CONFIG(3), &value) && value == (SINT(2) | AUTO), "VP %u: CONFIG reads %lx", n,
           value);
    expect(!synic_empty(n, 2), "VP %u: more is pending", n);
    stop(3);
    synic_disable();
}

static void one_shot(void)
{
    if (!offered()) {
        return;
    }
    for (unsigned n = 0; n < vp_count() && n < SYNIC_VPS; n++) {
        unsigned number = n;

        expect(vp_run(n, do_one_shot, &number), "VP %u faults", n);
    }
}

static void past_is_now(void)
{
    if (!direct_offered()) {
        return;
    }
    synic_expect(VECTOR);
    expect(msr_write(CONFIG(0), DIRECT(VECTOR) | AUTO) && msr_write(COUNT(0), 1), "#GP");
    synic_breathe();
    expect(synic_wait(VECTOR, 1) == 1, "no interrupt");
    stop(0);
}

/* Three periods without a tick. One that was under way when the timer stopped may still arrive. */
static bool falls_quiet(void)
{
    for (unsigned round = 0; round < 20; round++) {
        uint64_t start = now();

        synic_expect(VECTOR);
        do {
            synic_breathe();
        } while (now() - start < 3 * MS);
        if (synic_wait(VECTOR, 0) == 0) {
            return true;
        }
    }
    return false;
}

static void direct_periodic(void)
{
    uint64_t start;

    if (!direct_offered()) {
        return;
    }
    synic_expect(VECTOR);
    start = now();
    expect(msr_write(CONFIG(0), DIRECT(VECTOR) | PERIODIC | AUTO) && msr_write(COUNT(0), MS),
           "#GP");
    for (uint32_t tick = 1; tick <= TICKS; tick++) {
        uint32_t arrived = synic_wait(VECTOR, tick);
        uint64_t time = now();

        expect(arrived >= tick, "tick %u does not come", tick);
        expect(time - start >= tick * MS, "tick %u after %lx", tick, time - start);
    }
    stop(0);
    expect(falls_quiet(), "a stopped timer ticks");
}

static void message_periodic(void)
{
    uint64_t last = 0;

    if (!offered()) {
        return;
    }
    expect(synic_enable(0) && synic_sint(2, VECTOR, 0), "enabling faults");
    synic_expect(VECTOR);
    expect(msr_write(COUNT(1), MS) && msr_write(CONFIG(1), SINT(2) | PERIODIC | ENABLE), "#GP");
    for (uint32_t tick = 1; tick <= TICKS; tick++) {
        volatile struct hv_timer_message_payload *payload =
            (volatile struct hv_timer_message_payload *)synic_slot(0, 2)->payload;

        expect(synic_wait(VECTOR, tick) == tick, "tick %u does not come", tick);
        expect(payload->delivery_time >= payload->expiration_time &&
                   payload->expiration_time > last,
               "tick %u: due %lx, delivered %lx", tick, payload->expiration_time,
               payload->delivery_time);
        last = payload->expiration_time;
        if (synic_empty(0, 2)) {
            synic_eom();
        }
    }
    stop(1);
    (void)synic_empty(0, 2);
    synic_eom();
    (void)synic_empty(0, 2);
    synic_disable();
}

/* Two timers for one slot: the second message waits, and comes by EOM. */
static void busy_slot(void)
{
    volatile struct hv_message *slot = synic_slot(0, 2);
    volatile struct hv_timer_message_payload *payload =
        (volatile struct hv_timer_message_payload *)slot->payload;

    if (!offered()) {
        return;
    }
    expect(synic_enable(0) && synic_sint(2, VECTOR, 0), "enabling faults");
    synic_expect(VECTOR);
    for (uint32_t n = 0; n < 4; n++) {
        expect(msr_write(CONFIG(n), SINT(2) | AUTO) && msr_write(COUNT(n), 1), "#GP");
    }
    for (uint32_t n = 0; n < 4; n++) {
        expect(slot->header.message_type == HvMessageTimerExpired && payload->timer_index == n,
               "message %u: type %x of timer %u", n, slot->header.message_type,
               payload->timer_index);
        expect(synic_empty(0, 2) == (n < 3), "MessagePending is wrong behind message %u", n);
        expect(slot->header.message_type == HvMessageTypeNone, "the slot fills by itself");
        synic_eom();
    }
    expect(synic_wait(VECTOR, 1) >= 1, "no interrupt");
    for (uint32_t n = 0; n < 4; n++) {
        stop(n);
    }
    synic_disable();
}

static const struct test tests[] = {
    {"timers_start_at_zero", reset_values},
    {"enable_follows_its_rules", enable_rules},
    {"a_one_shot_timer_sends_its_message_on_every_vp", one_shot},
    {"a_time_in_the_past_is_now", past_is_now},
    {"a_direct_timer_ticks", direct_periodic},
    {"a_message_timer_ticks", message_periodic},
    {"expirations_wait_for_their_slot", busy_slot},
};

const struct topic topic_stimer = TOPIC("synthetic timers (TLFS 12.5)", tests);
