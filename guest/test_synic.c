/* SPDX-License-Identifier: MIT */
/* TLFS 11: the synthetic interrupt controller. */
#include <hvtlfs/tlfs.h>

#include <stddef.h>

#include "apic.h"
#include "cpu.h"
#include "discovery.h"
#include "guard.h"
#include "hypercall.h"
#include "memory.h"
#include "synic.h"
#include "tests.h"
#include "vp.h"

enum { FIRST_VECTOR = 0x60, TYPE = 0x1234 };

static const char not_offered[] = "CPUID offers no SynIC";
static const char no_apic[] = "this host has no local APIC";
static const char no_connection[] = "the host has no connection for the guest";

static struct hv_input_post_message input __attribute__((aligned(256)));

/* ---- Registers ---- */

struct reset_value {
    uint32_t msr;
    uint64_t value;
};

static void do_reset_values(void *argument)
{
    static const struct reset_value values[] = {{HV_X64_MSR_SCONTROL, 0},
                                                {HV_X64_MSR_SVERSION, HV_SYNIC_VERSION},
                                                {HV_X64_MSR_SIEFP, 0},
                                                {HV_X64_MSR_SIMP, 0},
                                                {HV_X64_MSR_EOM, 0}};
    uint64_t value = 0;

    (void)argument;
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        expect(msr_read(values[i].msr, &value) && value == values[i].value, "MSR %x reads %lx",
               values[i].msr, value);
    }
    for (uint32_t sint = 0; sint < HV_SYNIC_SINT_COUNT; sint++) {
        expect(msr_read(HV_X64_MSR_SINT0 + sint, &value) && value == HV_SYNIC_SINT_DEFAULT,
               "SINT%u reads %lx", sint, value);
    }
}

static void on_every_vp(void (*function)(void *))
{
    for (unsigned n = 0; n < vp_count() && n < SYNIC_VPS; n++) {
        unsigned number = n;

        expect(vp_run(n, function, &number), "VP %u faults", n);
    }
}

static void reset_values(void)
{
    if (!synic_offered()) {
        skip(not_offered);
        return;
    }
    on_every_vp(do_reset_values);
}

static void absent_registers_fault(void)
{
    if (synic_offered()) {
        skip("CPUID offers the SynIC");
        return;
    }
    expect(msr_read_gp(HV_X64_MSR_SCONTROL), "reading SCONTROL does not fault");
    expect(msr_write_gp(HV_X64_MSR_SINT0, HV_SYNIC_SINT_DEFAULT), "writing SINT0 does not fault");
}

static void low_vectors_fault(void)
{
    uint64_t value = 0;

    if (!synic_offered()) {
        skip(not_offered);
        return;
    }
    for (uint32_t vector = 0; vector < HV_SYNIC_SINT_VECTOR_FIRST; vector++) {
        expect(msr_write_gp(HV_X64_MSR_SINT3, vector), "vector %u is accepted", vector);
        expect(msr_write(HV_X64_MSR_SINT3, HV_MSR_SINT_MASKED | vector), "masked %u faults",
               vector);
        expect(msr_read(HV_X64_MSR_SINT3, &value) && value == (HV_MSR_SINT_MASKED | vector),
               "SINT3 reads %lx", value);
    }
    expect(msr_write_gp(HV_X64_MSR_SVERSION, 1), "SVERSION can be written");
    synic_disable();
}

static void pages_cover_memory(void)
{
    volatile struct hv_message *slot = synic_slot(0, 5);

    if (!synic_offered()) {
        skip(not_offered);
        return;
    }
    slot->payload[7] = 0x77;
    expect(synic_enable(0), "enabling faults");
    expect(slot->payload[7] == 0, "the page shows %lx", slot->payload[7]);
    slot->payload[7] = 0x88;
    synic_disable();
    expect(slot->payload[7] == 0x77, "below is %lx", slot->payload[7]);
    expect(synic_enable(0) && slot->payload[7] == 0x88, "the page came back with %lx",
           slot->payload[7]);
    slot->payload[7] = 0;
    synic_disable();
    slot->payload[7] = 0;
}

/* ---- Messages ---- */

static uint64_t post(unsigned n, unsigned sint, uint64_t number)
{
    input = (struct hv_input_post_message){
        .connection_id = BOOT_MESSAGES + 16 * n + sint, .message_type = TYPE, .payload_size = 8};
    input.message[0] = number;
    return hypercall(HvCallPostMessage, gpa_of(&input), 0).status;
}

static uint64_t signal(unsigned n, unsigned sint, uint16_t flag)
{
    return hypercall(HvCallSignalEvent | HV_HYPERCALL_INPUT_FAST,
                     (BOOT_EVENTS + 16 * n + sint) | (uint64_t)flag << 32, 0)
        .status;
}

static bool can_post(void)
{
    uint64_t status;

    if (!synic_offered()) {
        skip(not_offered);
        return false;
    }
    if (!apic_present()) {
        skip(no_apic);
        return false;
    }
    status = post(0, 0, 0);
    if (status == HV_STATUS_INVALID_CONNECTION_ID || status == HV_STATUS_ACCESS_DENIED) {
        skip(no_connection);
        return false;
    }
    expect(status == HV_STATUS_INVALID_SYNIC_STATE, "a post to a disabled VP gives %lx", status);
    return true;
}

static void expect_message(unsigned n, unsigned sint, uint64_t number)
{
    volatile struct hv_message *slot = synic_slot(n, sint);

    expect(slot->header.message_type == TYPE && slot->header.payload_size == 8 &&
               slot->payload[0] == number,
           "VP %u SINT %u: type %x, size %u, payload %lx", n, sint, slot->header.message_type,
           slot->header.payload_size, slot->payload[0]);
}

static void do_post_to_self(void *argument)
{
    unsigned n = *(unsigned *)argument;

    expect(synic_enable(n), "VP %u: enabling faults", n);
    for (unsigned sint = 0; sint < HV_SYNIC_SINT_COUNT; sint++) {
        uint8_t vector = (uint8_t)(FIRST_VECTOR + sint);
        uint64_t status;

        expect(synic_sint(sint, vector, 0), "VP %u SINT %u faults", n, sint);
        synic_expect(vector);
        status = post(n, sint, n * 100 + sint);
        expect(status == HV_STATUS_SUCCESS, "VP %u SINT %u: status %lx", n, sint, status);
        expect_message(n, sint, n * 100 + sint);
        expect(synic_wait(vector, 1) == 1, "VP %u SINT %u: no interrupt", n, sint);
        expect(!synic_empty(n, sint), "VP %u SINT %u: more is pending", n, sint);
    }
    synic_disable();
}

static void post_to_self(void)
{
    if (can_post()) {
        on_every_vp(do_post_to_self);
    }
}

static void do_auto_eoi(void *argument)
{
    unsigned n = *(unsigned *)argument;
    struct arrivals *arrivals = &this_vp()->arrivals[FIRST_VECTOR];

    arrivals->no_eoi = true;
    expect(synic_enable(n) && synic_sint(2, FIRST_VECTOR, HV_MSR_SINT_AUTO_EOI),
           "VP %u: enabling faults", n);
    synic_expect(FIRST_VECTOR);
    for (uint32_t i = 1; i <= 5; i++) {
        expect(post(n, 2, i) == HV_STATUS_SUCCESS, "VP %u: post %u fails", n, i);
        expect_message(n, 2, i);
        expect(synic_wait(FIRST_VECTOR, i) == i, "VP %u: interrupt %u without EOI does not come", n,
               i);
        expect(!synic_empty(n, 2), "VP %u: more is pending", n);
    }
    synic_disable();
    arrivals->no_eoi = false;
}

static void auto_eoi(void)
{
    if (synic_offered() &&
        (hv_leaf(HV_CPUID_RECOMMENDATIONS).eax & HV_CPUID_RECOMMENDATIONS_EAX_DEPRECATE_AUTO_EOI)) {
        skip("the host recommends not to use AutoEOI");
        return;
    }
    if (can_post()) {
        on_every_vp(do_auto_eoi);
    }
}

static void busy_slot(void)
{
    if (!can_post()) {
        return;
    }
    expect(synic_enable(0) && synic_sint(2, FIRST_VECTOR, 0), "enabling faults");
    synic_expect(FIRST_VECTOR);
    for (uint32_t i = 1; i <= 17; i++) {
        expect(post(0, 2, i) == HV_STATUS_SUCCESS, "post %u fails", i);
    }
    expect(post(0, 2, 18) == HV_STATUS_INSUFFICIENT_BUFFERS, "an 18th post is accepted");
    synic_eom();
    for (uint32_t i = 1; i <= 17; i++) {
        expect_message(0, 2, i);
        expect(synic_wait(FIRST_VECTOR, i) == i, "message %u came without an interrupt", i);
        expect(synic_empty(0, 2) == (i < 17), "MessagePending is wrong behind message %u", i);
        synic_eom();
    }
    expect(synic_slot(0, 2)->header.message_type == HvMessageTypeNone, "there is an 18th message");
    synic_disable();
}

static void masked_sint(void)
{
    if (!can_post()) {
        return;
    }
    expect(synic_enable(0) && synic_sint(2, FIRST_VECTOR, HV_MSR_SINT_MASKED), "enabling faults");
    synic_expect(FIRST_VECTOR);
    expect(post(0, 2, 1) == HV_STATUS_SUCCESS && post(0, 2, 2) == HV_STATUS_SUCCESS,
           "a post to a masked SINT fails");
    expect_message(0, 2, 1);
    expect(synic_empty(0, 2), "MessagePending is clear");
    synic_eom();
    expect_message(0, 2, 2);
    (void)synic_empty(0, 2);
    synic_breathe();
    expect(synic_wait(FIRST_VECTOR, 0) == 0, "a masked SINT interrupts");
    synic_disable();
}

static void invalid_posts(void)
{
    static const struct {
        uint32_t connection;
        uint32_t type;
        uint32_t size;
        uint64_t status;
    } rows[] = {
        {BOOT_MESSAGES, HvMessageTypeNone, 8, HV_STATUS_INVALID_PARAMETER},
        {BOOT_MESSAGES, HvMessageTimerExpired, 8, HV_STATUS_INVALID_PARAMETER},
        {BOOT_MESSAGES, TYPE, 241, HV_STATUS_INVALID_PARAMETER},
        {0xFFFFFF, TYPE, 8, HV_STATUS_INVALID_CONNECTION_ID},
        {BOOT_EVENTS, TYPE, 8, HV_STATUS_INVALID_PORT_ID},
    };

    if (!can_post()) {
        return;
    }
    expect(synic_enable(0), "enabling faults");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t status;

        input = (struct hv_input_post_message){.connection_id = rows[i].connection,
                                               .message_type = rows[i].type,
                                               .payload_size = rows[i].size};
        status = hypercall(HvCallPostMessage, gpa_of(&input), 0).status;
        expect(status == rows[i].status, "case %u gives %lx", (unsigned)i, status);
    }
    synic_disable();
}

/* ---- From one VP to another ---- */

struct listening {
    unsigned n;
    bool enabled;
    uint32_t arrived;
};

static void do_enable(void *argument)
{
    struct listening *listening = argument;

    synic_expect(FIRST_VECTOR);
    listening->enabled = synic_enable(listening->n) && synic_sint(2, FIRST_VECTOR, 0);
}

static void do_listen(void *argument)
{
    struct listening *listening = argument;

    listening->arrived = synic_wait(FIRST_VECTOR, 1);
    (void)synic_empty(listening->n, 2);
    synic_disable();
}

static void post_to_others(void)
{
    if (vp_count() == 1) {
        skip("there is one VP");
        return;
    }
    if (!can_post()) {
        return;
    }
    for (unsigned n = 1; n < vp_count() && n < SYNIC_VPS; n++) {
        struct listening listening = {.n = n};

        expect(vp_run(n, do_enable, &listening) && listening.enabled, "VP %u: enabling faults", n);
        expect(post(n, 2, n) == HV_STATUS_SUCCESS, "a post to VP %u fails", n);
        expect(vp_run(n, do_listen, &listening) && listening.arrived == 1,
               "VP %u got %u interrupts", n, listening.arrived);
    }
}

/* ---- Events ---- */

static void events(void)
{
    volatile uint8_t *flags = synic_flags(0, 6);

    if (!can_post()) {
        return;
    }
    expect(signal(0, 6, 9) == HV_STATUS_INVALID_SYNIC_STATE, "a disabled VP takes an event");
    expect(synic_enable(0), "enabling faults");
    expect(signal(0, 6, 9) == HV_STATUS_INVALID_SYNIC_STATE, "a masked SINT takes an event");
    expect(synic_sint(6, FIRST_VECTOR, 0), "SINT6 faults");
    synic_expect(FIRST_VECTOR);
    expect(signal(0, 6, 9) == HV_STATUS_SUCCESS, "signalling fails");
    expect(flags[1] == 2, "the byte is %x", flags[1]);
    expect(synic_wait(FIRST_VECTOR, 1) == 1, "no interrupt");
    expect(signal(0, 6, 9) == HV_STATUS_SUCCESS, "signalling again fails");
    synic_breathe();
    expect(synic_wait(FIRST_VECTOR, 1) == 1, "a flag that was set interrupts");
    flags[1] = 0;
    expect(signal(0, 6, 9) == HV_STATUS_SUCCESS, "signalling after clearing fails");
    expect(synic_wait(FIRST_VECTOR, 2) == 2, "no interrupt after clearing");
    expect(signal(0, 6, 2047) == HV_STATUS_SUCCESS && flags[255] == 0x80, "flag 2047: %x",
           flags[255]);
    expect(signal(0, 6, 2048) == HV_STATUS_INVALID_PARAMETER, "flag 2048 is accepted");
    (void)synic_wait(FIRST_VECTOR, 3);
    flags[1] = 0;
    flags[255] = 0;
    synic_disable();
}

static const struct test tests[] = {
    {"registers_have_their_values_of_creation", reset_values},
    {"registers_that_are_not_offered_fault", absent_registers_fault},
    {"a_vector_below_16_faults_unless_masked", low_vectors_fault},
    {"pages_cover_memory_and_keep_their_content", pages_cover_memory},
    {"a_message_to_oneself_on_every_sint_of_every_vp", post_to_self},
    {"auto_eoi_needs_no_eoi", auto_eoi},
    {"messages_wait_for_their_slot_in_order_and_16_of_them", busy_slot},
    {"a_masked_sint_can_be_drained_by_eom", masked_sint},
    {"invalid_posts_are_refused", invalid_posts},
    {"a_message_reaches_another_vp", post_to_others},
    {"an_event_interrupts_when_its_flag_was_clear", events},
};

const struct topic topic_synic = TOPIC("synthetic interrupt controller (TLFS 11)", tests);
