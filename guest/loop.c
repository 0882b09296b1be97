/* SPDX-License-Identifier: MIT */
/*
 * The interrupt loop: what a guest's interrupts cost, with the enlightenments it finds and without any.
 *
 * A device of the host's interrupts VP 0; the handler takes a time stamp, notes that there is work, takes
 * another, ends the interrupt; the deferred work that follows goes through the request's block between
 * two more stamps, and wakes VP 1, which halts meanwhile, by an IPI; where there is one VP it wakes itself.
 * So Windows books ISR and DPC times. With enlightenments time comes from the TSC page, the end of an
 * interrupt is a bit in the assist page and the IPI one MSR write. Without any, time comes from the ACPI
 * PM timer, and EOI and ICR are stores to the APIC's page. What it prints it has measured with the TSC:
 * that costs no exit either way.
 *
 * On a real machine, which is one that gives a command line, the device is the first UART: "ready to
 * send", switched on, is an edge on a pin of the I/O APIC.
 *
 * The host's argument says how many interrupts; 0 means 100.
 */
#include <hvtlfs/tlfs.h>

#include "apic.h"
#include "cpu.h"
#include "discovery.h"
#include "memory.h"
#include "text.h"
#include "vp.h"

enum { VECTOR_DEVICE = 0x61, VECTOR_WAKE = 0x71, WORK_BYTES = 512, BLOCK_MAX = 64 << 10 };

enum {
    UART_INTERRUPTS = 0x3F9,
    UART_MODEM = 0x3FC,
    UART_READY = 0x02,  /* in the former: to send */
    UART_TO_PIN = 0x08, /* in the latter: OUT2, which lets the interrupt out */
    UART_IO_APIC_PIN = 4,
    IO_APIC_REDIRECTION = 0x10, /* + 2 * pin: vector and flags, then the target */
};

#define IO_APIC_PAGE UINT64_C(0xFEC00000)

#define PAGE_ALIGNED __attribute__((aligned(PAGE_BYTES)))

/* TSC ticks: of all together, and the fewest. */
struct span {
    uint64_t sum;
    uint64_t least;
};

static volatile uint8_t tsc_page[PAGE_BYTES] PAGE_ALIGNED;
static volatile uint8_t assist_page[2][PAGE_BYTES] PAGE_ALIGNED;
static uint64_t block[BLOCK_MAX / 8];
static volatile uint64_t sum; /* of what the deferred work has seen */
static uint64_t booked;       /* by the operating system's own clock */
static struct span isr, dpc, ipi;
static bool page_time, msr_time;
static bool by_msr;      /* EOI and ICR */
static uint32_t wake_up; /* the APIC identifier of the VP that is woken */

/* start.S comes here on every VP. */
void guest_entry(const struct boot_info *told, unsigned number) __attribute__((noreturn));

/* ---- Time, as the operating system would take it ---- */

static uint64_t multiply_high(uint64_t a, uint64_t b)
{
    uint64_t low, high;

    __asm__("mulq %3" : "=a"(low), "=d"(high) : "a"(a), "rm"(b) : "cc");
    return high;
}

static uint64_t from_page(void)
{
    const volatile struct hv_reference_tsc_page *page = (const volatile void *)tsc_page;
    uint32_t sequence;
    uint64_t time;

    do {
        sequence = page->tsc_sequence;
        if (sequence == 0) {
            return rdmsr(HV_X64_MSR_TIME_REF_COUNT);
        }
        time = multiply_high(rdtsc(), page->tsc_scale) + (uint64_t)page->tsc_offset;
    } while (page->tsc_sequence != sequence);
    return time;
}

static uint64_t now(void)
{
    if (page_time) {
        return from_page();
    }
    return msr_time ? rdmsr(HV_X64_MSR_TIME_REF_COUNT) : in32(BOOT_PORT_PM_TIMER);
}

/* ---- One interrupt ---- */

static void add(struct span *span, uint64_t begun)
{
    uint64_t ticks = rdtsc() - begun;

    span->sum += ticks;
    if (ticks < span->least || span->least == 0) {
        span->least = ticks;
    }
}

static void deferred_work(uint32_t bytes)
{
    uint64_t begun = rdtsc();
    uint64_t stamp = now();
    uint64_t seen = 0;

    for (uint32_t i = 0; i < bytes / 8; i++) {
        seen += block[i];
    }
    sum += seen;
    booked += now() - stamp;
    add(&dpc, begun);
}

static void wake(void)
{
    uint64_t begun = rdtsc();

    if (by_msr) {
        wrmsr(HV_X64_MSR_ICR, apic_icr(wake_up, VECTOR_WAKE));
    } else {
        apic_send(wake_up, VECTOR_WAKE);
    }
    add(&ipi, begun);
}

static void on_interrupt(uint64_t vector)
{
    struct arrivals *arrivals = &this_vp()->arrivals[vector];
    uint64_t stamp;

    if (vector != VECTOR_DEVICE) {
        return;
    }
    stamp = now();
    block[0]++; /* what an ISR does: it notes that there is work */
    booked += now() - stamp;
    apic_eoi();
    add(&isr, arrivals->tsc);
    deferred_work(WORK_BYTES);
    wake();
}

static bool real_machine(void)
{
    return boot_info()->magic != BOOT_MAGIC;
}

static void io_apic_write(uint32_t number, uint32_t value)
{
    *(volatile uint32_t *)(uintptr_t)IO_APIC_PAGE = number;
    *(volatile uint32_t *)(uintptr_t)(IO_APIC_PAGE + 0x10) = value;
}

/* An edge of the UART is VECTOR_DEVICE on this VP. */
static void device_open(void)
{
    if (real_machine()) {
        io_apic_write(IO_APIC_REDIRECTION + 2 * UART_IO_APIC_PIN + 1, apic_id() << 24);
        io_apic_write(IO_APIC_REDIRECTION + 2 * UART_IO_APIC_PIN, VECTOR_DEVICE);
        out8(UART_MODEM, UART_TO_PIN);
    }
}

static void device_start(void)
{
    if (real_machine()) {
        out8(UART_INTERRUPTS, 0);
        out8(UART_INTERRUPTS, UART_READY);
    } else {
        out32(BOOT_PORT_DEVICE, VECTOR_DEVICE);
    }
}

/* How many interrupts the VP that is woken has ended, in whichever way; a lone one, taken. */
static uint32_t woken(void)
{
    const struct vp *other = vp_number(1);

    return vp_count() > 1 ? other->eois_saved + other->eois_written
                          : this_vp()->arrivals[VECTOR_WAKE].count;
}

/* A request of so many bytes to the device, its interrupt, and the IPI that follows; the data is read
 * afterwards. */
static void request(uint32_t bytes)
{
    volatile uint32_t *count = &this_vp()->arrivals[VECTOR_DEVICE].count;
    uint32_t before = *count;
    uint32_t ended = woken();
    uint64_t seen = 0;

    device_start();
    while (*count == before || woken() == ended) {
        cpu_pause();
    }
    for (uint32_t i = 0; i < bytes / 8; i++) {
        seen += block[i];
    }
    sum += seen;
}

/* ---- Set-up ---- */

static bool enlightened(void)
{
    return hypervisor_present() && hv_find() &&
           (hv_has_eax(HV_CPUID_FEATURES_EAX_ACCESS_INTR_CTRL_REGS) ||
            hv_has_eax(HV_CPUID_FEATURES_EAX_ACCESS_PARTITION_REFERENCE_COUNTER));
}

static void use_assist_page(void *argument)
{
    struct vp *vp = this_vp();
    volatile uint8_t *page = assist_page[vp->number & 1];

    (void)argument;
    vp->eoi_by_msr = true;
    wrmsr(HV_X64_MSR_VP_ASSIST_PAGE, gpa_of(page) | 1);
    vp->assist = (volatile uint32_t *)(uintptr_t)gpa_of(page);
}

static void use_enlightenments(void)
{
    page_time = hv_has_eax(HV_CPUID_FEATURES_EAX_ACCESS_PARTITION_REFERENCE_TSC);
    msr_time = hv_has_eax(HV_CPUID_FEATURES_EAX_ACCESS_PARTITION_REFERENCE_COUNTER);
    by_msr = hv_has_eax(HV_CPUID_FEATURES_EAX_ACCESS_INTR_CTRL_REGS);
    wrmsr(HV_X64_MSR_GUEST_OS_ID, UINT64_C(0x8100000601B00000));
    if (page_time) {
        wrmsr(HV_X64_MSR_REFERENCE_TSC, gpa_of(tsc_page) | 1);
    }
    if (by_msr) {
        use_assist_page(NULL);
        if (vp_count() > 1) {
            (void)vp_run(1, use_assist_page, NULL);
        }
    }
}

static void tell_identifier(void *argument)
{
    *(uint32_t *)argument = apic_id();
}

/* VP 1 while VP 0 measures: nothing to do, so it halts, an exit each time. */
static void stand_by(void *argument)
{
    (void)argument;
    for (;;) {
        interrupts_wait();
    }
}

/* ---- The measurements ---- */

static void report(const char *name, uint32_t count, uint64_t ticks)
{
    print("%s interrupts %u ticks %lx isr %lx dpc %lx ipi %lx least %lx %lx %lx saved %u written "
          "%u\n",
          name, count, ticks, isr.sum, dpc.sum, ipi.sum, isr.least, dpc.least, ipi.least,
          this_vp()->eois_saved, this_vp()->eois_written);
}

static void measure(const char *name, uint32_t count, uint32_t bytes)
{
    uint64_t begun;

    isr = dpc = ipi = (struct span){0, 0};
    this_vp()->eois_saved = this_vp()->eois_written = 0;
    out32(BOOT_PORT_DEVICE, BOOT_DEVICE_BEGIN);
    begun = rdtsc();
    for (uint32_t i = 0; i < count; i++) {
        request(bytes);
    }
    begun = rdtsc() - begun;
    out32(BOOT_PORT_DEVICE, BOOT_DEVICE_END);
    report(name, count, begun);
}

/* What one exit to the host costs, by the exit that every host has. */
static void measure_exit(uint32_t count)
{
    uint64_t begun = rdtsc();

    for (uint32_t i = 0; i < count; i++) {
        (void)in32(BOOT_PORT_PM_TIMER);
    }
    print("exit count %u ticks %lx\n", count, rdtsc() - begun);
}

static void loop(void)
{
    uint32_t count = boot_info()->argument != 0 ? boot_info()->argument : 100;
    struct vp *vp = this_vp();

    vp->arrivals[VECTOR_DEVICE].no_eoi = true; /* the handler ends it by itself */
    vp->on_interrupt = on_interrupt;
    if (vp_count() > 1) {
        (void)vp_run(1, tell_identifier, &wake_up);
        vp_start(1, stand_by, NULL);
    } else {
        wake_up = apic_id();
    }
    device_open();
    interrupts_on();
    request(0);
    measure("loop", count, 0);
    measure("disk-2k", count, 2 << 10);
    measure("disk-8k", count, 8 << 10);
    measure("disk-32k", count, 32 << 10);
    measure("disk-64k", count, 64 << 10);
    interrupts_off();
    measure_exit(count);
}

void guest_entry(const struct boot_info *told, unsigned number)
{
    bool with = enlightened();

    if (number == 0) {
        apic_page_only = !with;
        vp_open(told);
    }
    vp_enter(number);
    if (number != 0) {
        vp_serve();
    }
    while (vp_count() > 1 && !vp_number(1)->present) {
        cpu_pause();
    }
    if (with) {
        use_enlightenments();
    }
    print("time %s eoi %s\n",
          page_time  ? "page"
          : msr_time ? "msr"
                     : "pm-timer",
          by_msr           ? "assist-page"
          : apic_page_only ? "apic-page"
                           : "x2apic");
    loop();
    finish(0);
}
