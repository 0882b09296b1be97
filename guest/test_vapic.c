/* SPDX-License-Identifier: MIT */
/* The APIC by MSR, the VP assist page, and interrupts that end without an exit (TLFS 10.2.3, 10.3.5). */
#include <hvtlfs/tlfs.h>

#include <stddef.h>

#include "apic.h"
#include "cpu.h"
#include "discovery.h"
#include "guard.h"
#include "memory.h"
#include "tests.h"
#include "vp.h"

enum { LOW = 0x61, HIGH = 0x81, LOOP = 100 };

#define SELF UINT64_C(0x40000) /* ICR: shorthand for the sender */

static volatile uint8_t place[2][PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));

static bool offered(void)
{
    if (!hv_has_eax(HV_CPUID_FEATURES_EAX_ACCESS_INTR_CTRL_REGS)) {
        skip("the APIC's MSRs are not announced");
        return false;
    }
    return true;
}

static bool usable(void)
{
    if (offered() && !apic_present()) {
        skip("there is no APIC");
        return false;
    }
    return apic_present() && hv_has_eax(HV_CPUID_FEATURES_EAX_ACCESS_INTR_CTRL_REGS);
}

static uint32_t arrived(unsigned vector)
{
    return this_vp()->arrivals[vector].count;
}

static void send_self(unsigned vector)
{
    wrmsr(HV_X64_MSR_ICR, SELF | vector);
}

static void eoi_reads_fault(void)
{
    if (offered()) {
        expect(msr_read_gp(HV_X64_MSR_EOI), "no #GP");
    }
}

static void tpr_by_msr(void)
{
    uint64_t value = 0;

    if (!usable()) {
        return;
    }
    expect(msr_write(HV_X64_MSR_TPR, 0x90), "the write faults");
    expect(msr_read(HV_X64_MSR_TPR, &value) && value == 0x90, "it reads %lx", value);
    send_self(HIGH);
    expect(interrupts_take(HIGH) == 0, "an interrupt below the task's priority came in");
    expect(msr_write(HV_X64_MSR_TPR, 0), "the write of 0 faults");
    expect(interrupts_take(HIGH) == 1, "it did not come after the priority went down");
}

/* Requirements document p. 10: an IPI that includes the sender is taken before its next instruction. */
static void self_ipi_is_immediate(void)
{
    uint32_t before = arrived(HIGH);
    uint32_t after;

    if (!usable()) {
        return;
    }
    interrupts_on();
    cpu_pause();
    send_self(HIGH);
    after = arrived(HIGH);
    interrupts_off();
    expect(after == before + 1, "%u came", after - before);
}

static void eoi_by_msr_ends_interrupts(void)
{
    if (!usable()) {
        return;
    }
    this_vp()->eoi_by_msr = true;
    for (unsigned i = 0; i < 3; i++) {
        send_self(LOW);
        expect(interrupts_take(LOW) == 1, "interrupt %u did not come", i);
    }
    this_vp()->eoi_by_msr = false;
}

/* ---- The assist page ---- */

static void assist_page_covers_memory(void)
{
    uint64_t first = gpa_of(place[0]);
    uint64_t second = gpa_of(place[1]);
    uint64_t value = 0;

    if (!offered()) {
        return;
    }
    place[0][100] = 0x11;
    place[1][100] = 0x22;
    expect(msr_write(HV_X64_MSR_VP_ASSIST_PAGE, first | 0xFFF), "enabling it faults");
    expect(msr_read(HV_X64_MSR_VP_ASSIST_PAGE, &value) && value == (first | 0xFFF), "it reads %lx",
           value);
    expect(store8(&place[0][100], 0x33) && place[0][100] == 0x33, "it cannot be written");
    expect(msr_write(HV_X64_MSR_VP_ASSIST_PAGE, second | 1), "moving it faults");
    expect(place[0][100] == 0x11, "memory did not come back when it moved");
    expect(msr_write(HV_X64_MSR_VP_ASSIST_PAGE, 0), "disabling it faults");
    expect(place[1][100] == 0x22, "memory did not come back when it was disabled");
}

/* ---- Ends of interrupts ---- */

static volatile uint32_t *lazy_begin(void)
{
    struct vp *vp = this_vp();

    wrmsr(HV_X64_MSR_VP_ASSIST_PAGE, gpa_of(place[0]) | 1);
    vp->assist = (volatile uint32_t *)(uintptr_t)gpa_of(place[0]);
    vp->eoi_by_msr = true;
    vp->eois_saved = 0;
    vp->eois_written = 0;
    return vp->assist;
}

static void lazy_end(void)
{
    struct vp *vp = this_vp();

    vp->on_interrupt = NULL;
    vp->assist = NULL;
    vp->eoi_by_msr = false;
    wrmsr(HV_X64_MSR_VP_ASSIST_PAGE, 0);
    /* Whatever way it ended before, the next one gets in. */
    send_self(LOW);
    expect(interrupts_take(LOW) == 1, "an interrupt is still in service afterwards");
}

static uint64_t multiply_high(uint64_t a, uint64_t b)
{
    uint64_t low, high;

    __asm__("mulq %3" : "=a"(low), "=d"(high) : "a"(a), "rm"(b) : "cc");
    return high;
}

/* Reference time as an interrupt handler wants it (TLFS 12.7.3): from the page, without an exit; if that
 * is invalid, from the MSR. */
static uint64_t time_now(const volatile struct hv_reference_tsc_page *page, unsigned *exits)
{
    for (;;) {
        uint32_t sequence = page->tsc_sequence;
        uint64_t time;

        if (sequence == 0) {
            ++*exits;
            return rdmsr(HV_X64_MSR_TIME_REF_COUNT);
        }
        time = multiply_high(rdtsc(), page->tsc_scale) + (uint64_t)page->tsc_offset;
        if (page->tsc_sequence == sequence) {
            return time;
        }
    }
}

/* The whole work of an interrupt: it comes, its handler asks for the time, it ends. */
static unsigned loop_with_time(void)
{
    const volatile struct hv_reference_tsc_page *page = (const volatile void *)place[1];
    uint64_t last = 0;
    unsigned exits = 0;

    wrmsr(HV_X64_MSR_REFERENCE_TSC, gpa_of(place[1]) | 1);
    for (unsigned i = 0; i < LOOP; i++) {
        uint64_t now;

        send_self(LOW);
        now = time_now(page, &exits);
        expect(now >= last, "time went from %lx to %lx", last, now);
        last = now;
    }
    wrmsr(HV_X64_MSR_REFERENCE_TSC, 0);
    return exits;
}

static void interrupt_loop(void)
{
    bool with_time = hv_has_eax(HV_CPUID_FEATURES_EAX_ACCESS_PARTITION_REFERENCE_TSC);
    struct vp *vp = this_vp();
    uint32_t before = arrived(LOW);

    if (!usable()) {
        return;
    }
    (void)lazy_begin();
    interrupts_on();
    if (with_time) {
        unsigned exits = loop_with_time();

        note("%u times read: %u by an exit", (unsigned)LOOP, exits);
    } else {
        for (unsigned i = 0; i < LOOP; i++) {
            send_self(LOW);
        }
    }
    interrupts_off();
    expect(arrived(LOW) - before == LOOP, "%u of %u came", arrived(LOW) - before, (unsigned)LOOP);
    expect(vp->eois_saved + vp->eois_written == LOOP, "%u ends without and %u with an exit",
           vp->eois_saved, vp->eois_written);
    note("%u edge-triggered interrupts: %u ended without an exit, %u by the EOI MSR",
         (unsigned)LOOP, vp->eois_saved, vp->eois_written);
    lazy_end();
}

static void raise_high_in_low(uint64_t vector)
{
    if (vector == LOW) {
        send_self(HIGH);
        (void)interrupts_take(HIGH);
    }
}

static void nested_interrupts_end(void)
{
    uint32_t low = arrived(LOW);
    uint32_t high = arrived(HIGH);

    if (!usable()) {
        return;
    }
    (void)lazy_begin();
    this_vp()->on_interrupt = raise_high_in_low;
    send_self(LOW);
    (void)interrupts_take(LOW);
    expect(arrived(LOW) == low + 1, "%u of the lower one came", arrived(LOW) - low);
    expect(arrived(HIGH) == high + 1, "%u of the higher one came", arrived(HIGH) - high);
    expect(this_vp()->eois_saved <= 1, "%u EOIs of nested interrupts were saved",
           this_vp()->eois_saved);
    lazy_end();
}

static void raise_low_in_high(uint64_t vector)
{
    if (vector == HIGH) {
        send_self(LOW);
    }
}

static void pending_one_follows(void)
{
    uint32_t low = arrived(LOW);
    uint32_t high = arrived(HIGH);

    if (!usable()) {
        return;
    }
    (void)lazy_begin();
    this_vp()->on_interrupt = raise_low_in_high;
    send_self(HIGH);
    (void)interrupts_take(HIGH);
    (void)interrupts_take(LOW);
    expect(arrived(HIGH) == high + 1, "%u of the higher one came", arrived(HIGH) - high);
    expect(arrived(LOW) == low + 1, "%u of the lower one came", arrived(LOW) - low);
    lazy_end();
}

static void disable_page(uint64_t vector)
{
    if (vector == LOW) {
        wrmsr(HV_X64_MSR_VP_ASSIST_PAGE, 0);
        this_vp()->assist = NULL;
    }
}

static void page_goes_in_handler(void)
{
    uint32_t low = arrived(LOW);

    if (!usable()) {
        return;
    }
    (void)lazy_begin();
    this_vp()->on_interrupt = disable_page;
    send_self(LOW);
    (void)interrupts_take(LOW);
    expect(arrived(LOW) == low + 1, "%u came", arrived(LOW) - low);
    lazy_end();
}

static void plain_eoi_is_legal(void)
{
    uint32_t low = arrived(LOW);
    volatile uint32_t *word;

    if (!usable()) {
        return;
    }
    word = lazy_begin();
    this_vp()->assist = NULL; /* a handler that does not look */
    send_self(LOW);
    (void)interrupts_take(LOW);
    expect(arrived(LOW) == low + 1, "%u came", arrived(LOW) - low);
    expect((*word & 1) == 0, "the bit is still set after the EOI");
    lazy_end();
}

static const struct test tests[] = {
    {"reading_eoi_faults", eoi_reads_fault},
    {"tpr_holds_interrupts_back", tpr_by_msr},
    {"a_self_ipi_is_taken_before_the_next_instruction", self_ipi_is_immediate},
    {"an_eoi_by_msr_ends_an_interrupt", eoi_by_msr_ends_interrupts},
    {"the_assist_page_covers_memory_and_gives_it_back", assist_page_covers_memory},
    {"interrupts_end_with_and_without_an_exit", interrupt_loop},
    {"nested_interrupts_end", nested_interrupts_end},
    {"an_interrupt_that_waits_follows", pending_one_follows},
    {"the_assist_page_may_go_in_a_handler", page_goes_in_handler},
    {"a_plain_eoi_is_legal_at_any_time", plain_eoi_is_legal},
};

const struct topic topic_vapic = TOPIC("the APIC by MSR and lazy EOI (TLFS 10.2.3, 10.3.5)", tests);
