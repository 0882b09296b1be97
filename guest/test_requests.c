/* SPDX-License-Identifier: MIT */
/* MSRs by which a guest asks its host: VP_RUNTIME, RESET, GUEST_IDLE, crash, statistics, NPIEP, debug registers, the
 * time-unhalted timer. */
#include <hvtlfs/tlfs.h>

#include <stddef.h>

#include "apic.h"
#include "cpu.h"
#include "discovery.h"
#include "guard.h"
#include "hypercall.h"
#include "memory.h"
#include "tests.h"
#include "vp.h"

enum { VECTOR = 0x71, SPINS = 20000, WAIT_TURNS = 2000000 };

static volatile uint8_t page[PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));
static const char text[] = "conformance test";

static bool has_eax(uint32_t bit, const char *reason)
{
    if (!hv_has_eax(bit)) {
        skip(reason);
    }
    return hv_has_eax(bit);
}

static bool has_edx(uint32_t bit, const char *reason)
{
    if (!hv_has_edx(bit)) {
        skip(reason);
    }
    return hv_has_edx(bit);
}

static void runtime_goes_on(void)
{
    uint64_t before = 0;
    uint64_t after = 0;

    if (!has_eax(HV_CPUID_FEATURES_EAX_ACCESS_VP_RUN_TIME_REG, "VP_RUNTIME is not announced")) {
        return;
    }
    expect(msr_read(HV_X64_MSR_VP_RUNTIME, &before), "the read faults");
    for (unsigned i = 0; i < SPINS; i++) {
        cpu_pause();
    }
    expect(msr_read(HV_X64_MSR_VP_RUNTIME, &after), "the second read faults");
    expect(after > before, "%lx became %lx", before, after);
    expect(msr_write_gp(HV_X64_MSR_VP_RUNTIME, 0), "no #GP writing it");
}

static void reset_reads_zero(void)
{
    uint64_t value = 1;

    if (has_eax(HV_CPUID_FEATURES_EAX_ACCESS_RESET_REG, "RESET is not announced")) {
        expect(msr_read(HV_X64_MSR_RESET, &value) && value == 0, "it reads %lx", value);
        expect(msr_write(HV_X64_MSR_RESET, 0), "writing 0 faults");
    }
}

/* ---- GUEST_IDLE (TLFS 7.5) ---- */

static void idle_once(void *argument)
{
    uint64_t value;

    *(volatile bool *)argument = msr_read(HV_X64_MSR_GUEST_IDLE, &value);
}

static bool idle_offered(void)
{
    if (!has_eax(HV_CPUID_FEATURES_EAX_ACCESS_GUEST_IDLE_REG, "GUEST_IDLE is not announced")) {
        return false;
    }
    if (!apic_present()) {
        skip("there is no APIC to wake it");
    }
    return apic_present();
}

/* Interrupts are off, and still one that is pending is reason enough not to sleep. */
static void idle_with_one_pending(void)
{
    volatile bool returned = false;
    uint32_t before = this_vp()->arrivals[VECTOR].count;

    if (!idle_offered()) {
        return;
    }
    apic_send(apic_id(), VECTOR);
    idle_once((void *)&returned);
    expect(returned, "the read faults");
    expect(this_vp()->arrivals[VECTOR].count == before, "it came in with interrupts off");
    expect(interrupts_take(VECTOR) == 1, "it did not come afterwards");
    expect(msr_write_gp(HV_X64_MSR_GUEST_IDLE, 0), "no #GP writing it");
}

struct sleeper {
    volatile uint32_t apic_id;
    volatile bool returned;
};

static void sleep_then_take(void *argument)
{
    struct sleeper *sleeper = argument;

    sleeper->apic_id = apic_id();
    while (this_vp()->arrivals[VECTOR].count == 0) {
        idle_once((void *)&sleeper->returned);
        (void)interrupts_take(VECTOR);
    }
}

static void ipi_wakes_idle_vp(void)
{
    struct sleeper sleeper = {UINT32_MAX, false};
    unsigned i = 0;

    if (!idle_offered()) {
        return;
    }
    if (vp_count() == 1) {
        skip("there is one VP");
        return;
    }
    vp_number(1)->arrivals[VECTOR].count = 0;
    vp_start(1, sleep_then_take, &sleeper);
    while (sleeper.apic_id == UINT32_MAX) {
        cpu_pause();
    }
    apic_send(sleeper.apic_id, VECTOR);
    while (!vp_finished(1) && i++ < WAIT_TURNS) {
        cpu_pause();
    }
    expect(vp_finished(1), "the VP still sleeps");
    if (vp_finished(1)) {
        expect(sleeper.returned, "the read faults");
    }
}

/* ---- Crash (TLFS 4.3) ---- */

static void crash_registers_hold(void)
{
    uint64_t value = 0;

    if (!has_edx(HV_CPUID_FEATURES_EDX_GUEST_CRASH_REGS_AVAILABLE,
                 "the crash registers are not announced")) {
        return;
    }
    for (uint32_t i = 0; i < 5; i++) {
        uint64_t parameter = UINT64_C(0x1234500000000) + i;

        expect(msr_write(HV_X64_MSR_CRASH_P0 + i, parameter), "P%u: writing faults", i);
        expect(msr_read(HV_X64_MSR_CRASH_P0 + i, &value) && value == parameter, "P%u reads %lx", i,
               value);
    }
    expect(msr_read(HV_X64_MSR_CRASH_CTL, &value), "reading CTL faults");
    expect((value & HV_MSR_CRASH_CTL_CRASH_NOTIFY) != 0, "CTL reads %lx", value);
}

static void crash_is_reported(void)
{
    uint64_t control = 0;

    if (!has_edx(HV_CPUID_FEATURES_EDX_GUEST_CRASH_REGS_AVAILABLE,
                 "the crash registers are not announced")) {
        return;
    }
    if ((boot_info()->flags & BOOT_SURVIVES_CRASH) == 0) {
        skip("a report would end the machine");
        return;
    }
    expect(msr_read(HV_X64_MSR_CRASH_CTL, &control), "reading CTL faults");
    expect(msr_write(HV_X64_MSR_CRASH_P3, gpa_of(text)), "P3 faults");
    expect(msr_write(HV_X64_MSR_CRASH_P4, sizeof text - 1), "P4 faults");
    expect(msr_write(HV_X64_MSR_CRASH_CTL,
                     control & (HV_MSR_CRASH_CTL_CRASH_NOTIFY | HV_MSR_CRASH_CTL_CRASH_MESSAGE)),
           "the report faults");
}

/* ---- Statistics pages (TLFS 2.0 21.3.3) ---- */

static void statistics_page_covers_memory(void)
{
    uint64_t value = 0;

    if (!has_eax(HV_CPUID_FEATURES_EAX_ACCESS_STATS_REG, "statistics pages are not announced")) {
        return;
    }
    page[8] = 0x5A;
    expect(msr_write(HV_X64_MSR_STATS_VP_RETAIL_PAGE, gpa_of(page) | 1), "enabling it faults");
    expect(msr_read(HV_X64_MSR_STATS_VP_RETAIL_PAGE, &value) && value == (gpa_of(page) | 1),
           "it reads %lx", value);
    if ((boot_info()->flags & BOOT_REFUSES_WRITES) != 0) {
        expect(!store8(&page[8], 1), "the guest can write it");
    }
    expect(msr_write(HV_X64_MSR_STATS_VP_RETAIL_PAGE, 0), "disabling it faults");
    expect(page[8] == 0x5A, "memory did not come back");
    expect(msr_write(HV_X64_MSR_STATS_VP_RETAIL_PAGE, UINT64_C(0xFFFFFFFFFFFFF001)),
           "a page beyond the guest's space faults");
    expect(msr_write(HV_X64_MSR_STATS_VP_RETAIL_PAGE, 0), "disabling it faults");
}

/* ---- The time-unhalted timer (TLFS 12.6) ---- */

enum { PERIOD = 20000, FLAG = 56 };

static void unhalted_timer_fires(void)
{
    uint32_t before = this_vp()->arrivals[VECTOR].count;
    unsigned i = 0;

    if (!has_edx(HV_CPUID_FEATURES_EDX_SYNTHETIC_TIME_UNHALTED_TIMER_AVAILABLE,
                 "the time-unhalted timer is not announced")) {
        return;
    }
    page[FLAG] = 0;
    expect(msr_write(HV_X64_MSR_VP_ASSIST_PAGE, gpa_of(page) | 1), "the assist page faults");
    expect(msr_write(HV_X64_MSR_STIME_UNHALTED_TIMER_COUNT, PERIOD), "the period faults");
    expect(msr_write(HV_X64_MSR_STIME_UNHALTED_TIMER_CONFIG,
                     HV_MSR_STIME_UNHALTED_TIMER_CONFIG_ENABLED | VECTOR),
           "enabling it faults");
    interrupts_on();
    while (this_vp()->arrivals[VECTOR].count == before && i++ < WAIT_TURNS) {
        cpu_pause();
    }
    interrupts_off();
    expect(this_vp()->arrivals[VECTOR].count != before, "it does not fire");
    expect(page[FLAG] == 1, "the assist page says %u", (unsigned)page[FLAG]);
    expect(msr_write(HV_X64_MSR_STIME_UNHALTED_TIMER_CONFIG, 0), "disabling it faults");
    expect(msr_write(HV_X64_MSR_VP_ASSIST_PAGE, 0), "disabling the page faults");
}

/* ---- NPIEP (TLFS 8.12) ---- */

extern const uint8_t do_sgdt[], do_sidt[], do_sldt[], do_str[];
__asm__("do_sgdt: sgdt -16(%rsp)\n ret\n"
        "do_sidt: sidt -16(%rsp)\n ret\n"
        "do_sldt: sldt %eax\n ret\n"
        "do_str: str %eax\n ret\n");

static void npiep_prevents(void)
{
    static const uint8_t *const code[] = {do_sgdt, do_sidt, do_sldt, do_str};
    uint64_t value = 0;

    if (!has_edx(HV_CPUID_FEATURES_EDX_NPIEP1_AVAILABLE, "NPIEP is not announced")) {
        return;
    }
    for (uint32_t prevent = 0; prevent < 16; prevent++) {
        expect(msr_write(HV_X64_MSR_NPIEP_CONFIG, prevent), "the write faults");
        expect(msr_read(HV_X64_MSR_NPIEP_CONFIG, &value) && value == prevent, "it reads %lx",
               value);
        for (unsigned i = 0; i < 4; i++) {
            bool ran = ring3_run(code[i]);

            expect(ran != (prevent >> i & 1), "with %x instruction %u %s in ring 3", prevent, i,
                   ran ? "runs" : "faults");
            expect(ran || this_vp()->fault.vector == VECTOR_GP, "vector %lx",
                   this_vp()->fault.vector);
        }
    }
    expect(msr_write(HV_X64_MSR_NPIEP_CONFIG, 0), "the write of 0 faults");
}

/* What they mean is not published; that they are there when announced is. */
static void debug_registers_answer(void)
{
    uint64_t value = 0;

    if (!has_edx(HV_CPUID_FEATURES_EDX_DEBUG_REGS_AVAILABLE, "the debug MSRs are not announced")) {
        return;
    }
    expect(msr_read(HV_X64_MSR_SYNTH_DEBUG_STATUS, &value), "reading the status faults");
    expect(msr_write(HV_X64_MSR_SYNTH_DEBUG_CONTROL, 0), "writing the control faults");
}

static const struct test tests[] = {
    {"the_run_time_goes_on", runtime_goes_on},
    {"reset_reads_zero", reset_reads_zero},
    {"an_interrupt_that_is_pending_keeps_a_vp_from_idling", idle_with_one_pending},
    {"an_ipi_wakes_an_idle_vp_with_interrupts_off", ipi_wakes_idle_vp},
    {"the_crash_registers_hold_what_is_written", crash_registers_hold},
    {"a_crash_can_be_reported", crash_is_reported},
    {"a_statistics_page_covers_memory_and_gives_it_back", statistics_page_covers_memory},
    {"the_time_unhalted_timer_fires", unhalted_timer_fires},
    {"the_debug_registers_answer", debug_registers_answer},
    {"npiep_prevents_what_it_is_told_to_in_ring_3", npiep_prevents},
};

const struct topic topic_requests =
    TOPIC("requests to the host (TLFS 4.3, 7.5, 7.9, 8.12, 12.6)", tests);
