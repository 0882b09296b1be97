/* SPDX-License-Identifier: MIT */
#include "apic.h"

#include <hvtlfs/tlfs.h>

#include "cpu.h"
#include "vp.h"

enum {
    MSR_APIC_BASE = 0x1B,
    MSR_X2APIC = 0x800,
    APIC_BASE_X2APIC = 0x400,
    APIC_BASE_ENABLE = 0x800,
    APIC_ICR = 0x30,
    APIC_ICR_HIGH = 0x31,
    APIC_SOFTWARE_ENABLE = 0x100,
    APIC_SPURIOUS_VECTOR = 0xFF,
    OPEN_TURNS = 4000,
    ICR_INIT_OTHERS = 0xC4500, /* all but self, level assert */
    ICR_SIPI_OTHERS = 0xC4600, /* + page number */
    START_TURNS = 1000000,     /* longer than the 10 ms that old processors want between the two */
};

#define APIC_PAGE UINT64_C(0xFEE00000)

bool apic_page_only;

static bool x2apic;

static volatile uint32_t *page_register(unsigned number)
{
    return (volatile uint32_t *)(uintptr_t)(APIC_PAGE + (uintptr_t)16 * number);
}

static uint32_t apic_read(unsigned number)
{
    return x2apic ? (uint32_t)rdmsr(MSR_X2APIC + number) : *page_register(number);
}

static void apic_write(unsigned number, uint32_t value)
{
    if (x2apic) {
        wrmsr(MSR_X2APIC + number, value);
    } else {
        *page_register(number) = value;
    }
}

bool apic_present(void)
{
    return (boot_info()->flags & BOOT_HAS_APIC) != 0;
}

void apic_enter(void)
{
    if (!apic_present()) {
        return;
    }
    x2apic = !apic_page_only && (cpuid(1, 0).ecx >> 21 & 1) != 0;
    if (x2apic) {
        wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | APIC_BASE_ENABLE | APIC_BASE_X2APIC);
    }
    apic_write(APIC_SPURIOUS, APIC_SOFTWARE_ENABLE | APIC_SPURIOUS_VECTOR);
    apic_write(APIC_TPR, 0);
}

static void pause_turns(unsigned turns)
{
    for (unsigned i = 0; i < turns; i++) {
        cpu_pause();
    }
}

static void send_to_others(uint32_t command)
{
    if (x2apic) {
        wrmsr(MSR_X2APIC + APIC_ICR, command);
    } else {
        apic_write(APIC_ICR, command);
    }
}

/* Processors that have been started ignore the second SIPI. */
void apic_start_others(uint32_t gpa)
{
    apic_enter();
    send_to_others(ICR_INIT_OTHERS);
    pause_turns(START_TURNS);
    send_to_others(ICR_SIPI_OTHERS | gpa >> 12);
    pause_turns(START_TURNS / 10);
    send_to_others(ICR_SIPI_OTHERS | gpa >> 12);
}

uint32_t apic_id(void)
{
    return x2apic ? apic_read(APIC_ID) : apic_read(APIC_ID) >> 24;
}

static bool test_and_clear_bit_0(volatile uint32_t *word)
{
    bool was_set;

    __asm__ volatile("lock btrl $0, %1" : "=@ccc"(was_set), "+m"(*word) : : "memory");
    return was_set;
}

void apic_eoi(void)
{
    struct vp *vp = this_vp();

    if (!apic_present()) {
        return;
    }
    if (vp->assist != NULL && test_and_clear_bit_0(vp->assist)) {
        vp->eois_saved++;
        return;
    }
    vp->eois_written++;
    if (vp->eoi_by_msr) {
        wrmsr(HV_X64_MSR_EOI, 0);
    } else {
        apic_write(APIC_EOI, 0);
    }
}

void apic_send(uint32_t destination, uint8_t vector)
{
    if (x2apic) {
        wrmsr(MSR_X2APIC + APIC_ICR, (uint64_t)destination << 32 | vector);
    } else {
        apic_write(APIC_ICR_HIGH, destination << 24);
        apic_write(APIC_ICR, vector);
    }
}

uint64_t apic_icr(uint32_t destination, uint8_t vector)
{
    return (uint64_t)destination << (x2apic ? 32 : 56) | vector;
}

uint32_t interrupts_take(unsigned vector)
{
    struct arrivals *arrivals = &this_vp()->arrivals[vector];
    uint32_t before = arrivals->count;

    interrupts_on();
    for (unsigned i = 0; i < OPEN_TURNS && arrivals->count == before; i++) {
        cpu_pause();
    }
    interrupts_off();
    return arrivals->count - before;
}
