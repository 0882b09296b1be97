/* SPDX-License-Identifier: MIT */
/* Reference time by MSR and by page (TLFS 12.4, 12.7), the frequencies (4.2.2), the invariant TSC. */
#include <hvtlfs/guest_time.h>
#include <hvtlfs/tlfs.h>

#include <stddef.h>

#include "cpu.h"
#include "discovery.h"
#include "guard.h"
#include "memory.h"
#include "tests.h"
#include "vp.h"

enum { ROUNDS = 100, MSR_TSC = 0x10, MSR_TSC_ADJUST = 0x3B };

#define STEP (UINT64_C(1) << 36)     /* of the TSC: 7 seconds at 10 GHz, more at all other rates */
#define LONG_TIME UINT64_C(50000000) /* 5 seconds: no test takes as long */

__extension__ typedef unsigned __int128 wide;

static volatile uint8_t place[PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));

static const struct hvtlfs_guest_tsc_page *page(void)
{
    return (const struct hvtlfs_guest_tsc_page *)(const void *)(const uint8_t *)place;
}

static bool has_counter(void)
{
    if (!hv_has_eax(HV_CPUID_FEATURES_EAX_ACCESS_PARTITION_REFERENCE_COUNTER)) {
        skip("TIME_REF_COUNT is not announced");
        return false;
    }
    return true;
}

static bool has_page_bit(void)
{
    return hv_has_eax(HV_CPUID_FEATURES_EAX_ACCESS_PARTITION_REFERENCE_TSC);
}

static bool has_page(void)
{
    if (!has_page_bit()) {
        skip("REFERENCE_TSC is not announced");
        return false;
    }
    return true;
}

static void enable(void)
{
    wrmsr(HV_X64_MSR_REFERENCE_TSC, gpa_of(place) | HV_MSR_REFERENCE_TSC_ENABLE);
}

static void disable(void)
{
    wrmsr(HV_X64_MSR_REFERENCE_TSC, 0);
}

static bool page_is_valid(void)
{
    return page()->sequence != 0 && page()->sequence != UINT32_MAX;
}

static void counter_counts(void)
{
    uint64_t first;
    uint64_t second;

    if (!has_counter()) {
        return;
    }
    first = rdmsr(HV_X64_MSR_TIME_REF_COUNT);
    for (unsigned i = 0; i < ROUNDS; i++) {
        second = rdmsr(HV_X64_MSR_TIME_REF_COUNT);
        expect(second >= first, "it went from %lu back to %lu", first, second);
        first = second;
    }
    expect(msr_write_gp(HV_X64_MSR_TIME_REF_COUNT, 0), "a write gives no #GP");
}

static void page_keeps_reserved_bits(void)
{
    uint64_t value = gpa_of(place) | 0xABC;

    if (!has_page()) {
        return;
    }
    expect(rdmsr(HV_X64_MSR_REFERENCE_TSC) == 0, "it does not begin as 0");
    wrmsr(HV_X64_MSR_REFERENCE_TSC, value);
    expect(rdmsr(HV_X64_MSR_REFERENCE_TSC) == value, "bits 11:1 are not preserved");
    disable();
}

static void page_beyond_the_space_is_no_fault(void)
{
    uint64_t value = UINT64_C(0xFFFFFFFFFFFFF001);

    if (!has_page()) {
        return;
    }
    expect(msr_write(HV_X64_MSR_REFERENCE_TSC, value), "the write faults");
    expect(rdmsr(HV_X64_MSR_REFERENCE_TSC) == value, "it reads differently");
    disable();
}

static void page_covers_memory(void)
{
    unsigned nonzero = 0;

    if (!has_page()) {
        return;
    }
    for (unsigned i = 0; i < PAGE_BYTES; i++) {
        place[i] = 0x5A;
    }
    enable();
    for (unsigned i = 24; i < PAGE_BYTES; i++) {
        nonzero += place[i] != 0;
    }
    nonzero += page()->reserved != 0;
    disable();
    expect(nonzero == 0, "%u reserved bytes are not 0", nonzero);
    expect(place[0] == 0x5A && place[23] == 0x5A && place[PAGE_BYTES - 1] == 0x5A,
           "what it covered did not come back");
}

/* One clock: what the page gives lies between two reads of the MSR around it. */
static void page_agrees_with_msr(void)
{
    uint64_t before;
    uint64_t time = 0;
    uint64_t after;

    if (!has_page()) {
        return;
    }
    enable();
    for (unsigned i = 0; page_is_valid() && i < ROUNDS; i++) {
        before = rdmsr(HV_X64_MSR_TIME_REF_COUNT);
        if (!hvtlfs_guest_time(page(), &time)) {
            break;
        }
        after = rdmsr(HV_X64_MSR_TIME_REF_COUNT);
        expect(before <= time && time <= after, "MSR %lu, page %lu, MSR %lu", before, time, after);
    }
    if (!page_is_valid()) {
        skip("the page is invalid: this guest reads the MSR");
    }
    disable();
}

/* As an operating system does: the page, or with sequence 0 the MSR. */
static uint64_t read_time(void)
{
    uint64_t time;

    return hvtlfs_guest_time(page(), &time) ? time : rdmsr(HV_X64_MSR_TIME_REF_COUNT);
}

static void do_read_time(void *argument)
{
    uint64_t *time = argument;

    *time = read_time();
}

static void time_is_monotonic_over_vps(void)
{
    uint64_t latest = 0;
    bool with_page = hv_has_eax(HV_CPUID_FEATURES_EAX_ACCESS_PARTITION_REFERENCE_TSC);

    if (!has_counter()) {
        return;
    }
    for (unsigned i = 0; i < PAGE_BYTES; i++) {
        place[i] = 0; /* without the page: sequence 0 */
    }
    if (with_page) {
        enable();
    }
    note("time by %s", page_is_valid() ? "page" : "MSR");
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t time = 0;

        expect(vp_run(i % vp_count(), do_read_time, &time), "reading the time faults");
        expect(time >= latest, "VP %u is at %lu, after %lu", i % vp_count(), time, latest);
        latest = time;
    }
    if (with_page) {
        disable();
    }
}

static void frequencies_are_told(void)
{
    uint64_t tsc_hz;
    wide units = (wide)10000000 << 64;

    if (!hv_has_eax(HV_CPUID_FEATURES_EAX_ACCESS_FREQUENCY_REGS)) {
        skip("the frequencies are not announced");
        return;
    }
    tsc_hz = rdmsr(HV_X64_MSR_TSC_FREQUENCY);
    expect(tsc_hz != 0, "the TSC's is 0");
    expect(rdmsr(HV_X64_MSR_APIC_FREQUENCY) != 0, "the APIC's is 0");
    expect(msr_write_gp(HV_X64_MSR_TSC_FREQUENCY, tsc_hz), "a write gives no #GP");
    expect(msr_write_gp(HV_X64_MSR_APIC_FREQUENCY, 0), "a write gives no #GP");
    if (!hv_has_eax(HV_CPUID_FEATURES_EAX_ACCESS_PARTITION_REFERENCE_TSC)) {
        return;
    }
    enable();
    if (page_is_valid()) {
        wide scale = page()->scale;

        expect(scale * tsc_hz <= units && units < (scale + 1) * tsc_hz,
               "the page's scale %lx is not that of %lu Hz", page()->scale, tsc_hz);
    }
    disable();
}

static void invariant_tsc_is_disclosed_on_request(void)
{
    if (!hv_has_eax(HV_CPUID_FEATURES_EAX_ACCESS_TSC_INVARIANT_CONTROLS)) {
        skip("TSC_INVARIANT_CONTROL is not announced");
        return;
    }
    expect(!(cpuid(0x80000007, 0).edx & 0x100), "leaf 0x80000007 shows it at once");
    expect(msr_write_gp(HV_X64_MSR_TSC_INVARIANT_CONTROL, 2), "a reserved bit gives no #GP");
    wrmsr(HV_X64_MSR_TSC_INVARIANT_CONTROL, 1);
    expect(rdmsr(HV_X64_MSR_TSC_INVARIANT_CONTROL) == 1, "it does not read as written");
    expect(msr_write_gp(HV_X64_MSR_TSC_INVARIANT_CONTROL, 0), "it can be taken back");
}

static void reenlightenment_takes_fixed_interrupts_only(void)
{
    if (!hv_has_eax(HV_CPUID_FEATURES_EAX_ACCESS_REENLIGHTENMENT_CONTROLS)) {
        skip("reenlightenment is not announced");
        return;
    }
    expect(msr_write(HV_X64_MSR_REENLIGHTENMENT_CONTROL, 0x10000 | 0x60), "vector 0x60 faults");
    expect(rdmsr(HV_X64_MSR_REENLIGHTENMENT_CONTROL) == (0x10000 | 0x60), "it reads differently");
    expect(msr_write_gp(HV_X64_MSR_REENLIGHTENMENT_CONTROL, 0x20000), "a reserved bit: no #GP");
    expect(msr_write(HV_X64_MSR_REENLIGHTENMENT_CONTROL, 0), "switching it off faults");
    expect(msr_write_gp(HV_X64_MSR_TSC_EMULATION_CONTROL, 2), "a reserved bit: no #GP");
    expect(rdmsr(HV_X64_MSR_TSC_EMULATION_STATUS) == 0, "emulation without a migration");
}

/* ---- A guest that moves its TSC ---- */

static bool can_move_tsc(void)
{
    uint64_t adjust;

    if (!has_counter()) {
        return false;
    }
    /* Without it there is no exact way back. */
    if (cpuid(0, 0).eax < 7 || (cpuid(7, 0).ebx >> 1 & 1) == 0 ||
        !msr_read(MSR_TSC_ADJUST, &adjust)) {
        skip("there is no IA32_TSC_ADJUST");
        return false;
    }
    return true;
}

/* Time goes on from here, by MSR and by a page that is valid, and not by the step. Returns where it is. */
static uint64_t time_goes_on(const char *when, uint64_t from)
{
    uint64_t now = rdmsr(HV_X64_MSR_TIME_REF_COUNT);
    uint64_t shown;

    expect(now >= from && now - from < LONG_TIME, "%s: from %lu to %lu", when, from, now);
    if (has_page_bit() && page_is_valid() && hvtlfs_guest_time(page(), &shown)) {
        uint64_t after = rdmsr(HV_X64_MSR_TIME_REF_COUNT);

        expect(now <= shown && shown <= after, "%s: MSR %lu, page %lu, MSR %lu", when, now, shown,
               after);
    }
    return now;
}

/* TLFS 12.4: the counter goes on at a constant rate, whatever a guest does to the TSC of one VP. */
static void move_tsc(uint32_t msr)
{
    uint64_t adjust = rdmsr(MSR_TSC_ADJUST);
    uint64_t time = rdmsr(HV_X64_MSR_TIME_REF_COUNT);
    uint64_t tsc = rdtsc();
    bool moved;

    if (!msr_write(msr, msr == MSR_TSC ? tsc + STEP : adjust + STEP)) {
        skip("the store faults");
        return;
    }
    moved = rdtsc() - tsc >= STEP;
    time = time_goes_on("forward", time);
    wrmsr(MSR_TSC_ADJUST, adjust);
    time = time_goes_on("and back", time);
    (void)time_goes_on("later", time);
    note("the TSC %s", moved ? "moved" : "did not move");
}

static void move_with_page(uint32_t msr)
{
    bool with_page = has_page_bit();

    if (!can_move_tsc()) {
        return;
    }
    if (with_page) {
        enable();
    }
    move_tsc(msr);
    if (with_page) {
        disable();
    }
}

static void tsc_is_written(void)
{
    move_with_page(MSR_TSC);
}

static void tsc_adjust_is_written(void)
{
    move_with_page(MSR_TSC_ADJUST);
}

static const struct test tests[] = {
    {"reference_counter_does_not_go_back", counter_counts},
    {"reference_tsc_preserves_reserved_bits", page_keeps_reserved_bits},
    {"reference_tsc_beyond_the_space_is_no_fault", page_beyond_the_space_is_no_fault},
    {"tsc_page_covers_memory_and_gives_it_back", page_covers_memory},
    {"page_and_msr_are_one_clock", page_agrees_with_msr},
    {"time_does_not_go_back_from_vp_to_vp", time_is_monotonic_over_vps},
    {"frequencies_are_told_and_the_scale_is_theirs", frequencies_are_told},
    {"invariant_tsc_is_disclosed_on_request", invariant_tsc_is_disclosed_on_request},
    {"reenlightenment_takes_fixed_interrupts_only", reenlightenment_takes_fixed_interrupts_only},
    {"a_store_to_the_tsc_leaves_time_alone", tsc_is_written},
    {"a_store_to_tsc_adjust_leaves_time_alone", tsc_adjust_is_written},
};

const struct topic topic_time = TOPIC("reference time (12, 16.6)", tests);
