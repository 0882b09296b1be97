/* SPDX-License-Identifier: MIT */
#include "synic.h"

#include "cpu.h"
#include "discovery.h"
#include "guard.h"
#include "memory.h"
#include "vp.h"

enum { WAIT_TURNS = 200000, BREATHS = 200 };

static uint8_t messages[SYNIC_VPS][PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));
static uint8_t flags[SYNIC_VPS][PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));
static uint32_t before[BOOT_MAX_VPS];

bool synic_offered(void)
{
    return hv_has_eax(HV_CPUID_FEATURES_EAX_ACCESS_SYNIC_REGS);
}

bool synic_enable(unsigned n)
{
    return msr_write(HV_X64_MSR_SIMP, gpa_of(messages[n]) | HV_MSR_SIMP_ENABLE) &&
           msr_write(HV_X64_MSR_SIEFP, gpa_of(flags[n]) | HV_MSR_SIEFP_ENABLE) &&
           msr_write(HV_X64_MSR_SCONTROL, HV_MSR_SCONTROL_ENABLE);
}

void synic_disable(void)
{
    for (uint32_t sint = 0; sint < HV_SYNIC_SINT_COUNT; sint++) {
        (void)msr_write(HV_X64_MSR_SINT0 + sint, HV_SYNIC_SINT_DEFAULT);
    }
    (void)msr_write(HV_X64_MSR_SCONTROL, 0);
    (void)msr_write(HV_X64_MSR_SIMP, 0);
    (void)msr_write(HV_X64_MSR_SIEFP, 0);
}

bool synic_sint(unsigned sint, uint8_t vector, uint64_t bits)
{
    return msr_write(HV_X64_MSR_SINT0 + sint, vector | bits);
}

volatile struct hv_message *synic_slot(unsigned n, unsigned sint)
{
    return &((volatile struct hv_message_page *)messages[n])->message_slot[sint];
}

volatile uint8_t *synic_flags(unsigned n, unsigned sint)
{
    return ((volatile struct hv_synic_event_flags_page *)flags[n])->event_flags[sint].flags;
}

bool synic_empty(unsigned n, unsigned sint)
{
    volatile struct hv_message *slot = synic_slot(n, sint);

    slot->header.message_type = HvMessageTypeNone;
    __asm__ volatile("mfence" : : : "memory");
    return slot->header.message_flags & HV_MESSAGE_FLAGS_MESSAGE_PENDING;
}

void synic_eom(void)
{
    (void)msr_write(HV_X64_MSR_EOM, 0);
}

void synic_expect(uint8_t vector)
{
    before[this_vp()->number] = this_vp()->arrivals[vector].count;
}

uint32_t synic_wait(uint8_t vector, uint32_t count)
{
    volatile uint32_t *arrived = &this_vp()->arrivals[vector].count;
    uint32_t start = before[this_vp()->number];

    interrupts_on();
    for (unsigned turn = 0; turn < WAIT_TURNS && *arrived - start < count; turn++) {
        cpu_pause();
    }
    interrupts_off();
    return *arrived - start;
}

void synic_breathe(void)
{
    interrupts_on();
    for (unsigned turn = 0; turn < BREATHS; turn++) {
        cpu_pause();
    }
    interrupts_off();
}
