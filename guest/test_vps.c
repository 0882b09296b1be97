/* SPDX-License-Identifier: MIT */
/* What all VPs share and what each has for itself. */
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

enum { TEST_VECTOR = 0x51, WAIT_TURNS = 200000 };

static const char one_vp[] = "there is one VP";

struct reading {
    uint32_t msr;
    bool read;
    uint64_t value;
};

static void do_read(void *argument)
{
    struct reading *reading = argument;

    reading->read = msr_read(reading->msr, &reading->value);
}

static struct reading read_on(unsigned n, uint32_t msr)
{
    struct reading reading = {msr, false, 0};

    expect(vp_run(n, do_read, &reading) && reading.read, "VP %u: reading %x faults", n, msr);
    return reading;
}

static void indices_are_unique(void)
{
    uint64_t indices[BOOT_MAX_VPS];

    if (vp_count() == 1) {
        skip(one_vp);
        return;
    }
    for (unsigned n = 0; n < vp_count(); n++) {
        indices[n] = read_on(n, HV_X64_MSR_VP_INDEX).value;
        for (unsigned m = 0; m < n; m++) {
            expect(indices[m] != indices[n], "VPs %u and %u have the index %lx", m, n, indices[n]);
        }
    }
}

static void seen_on_all(uint32_t msr)
{
    uint64_t here = read_on(0, msr).value;

    for (unsigned n = 1; n < vp_count(); n++) {
        uint64_t there = read_on(n, msr).value;

        expect(here == there, "MSR %x is %lx on VP 0, %lx on VP %u", msr, here, there, n);
    }
}

static void partition_msrs_are_shared(void)
{
    if (vp_count() == 1) {
        skip(one_vp);
        return;
    }
    seen_on_all(HV_X64_MSR_GUEST_OS_ID);
    seen_on_all(HV_X64_MSR_HYPERCALL);
}

static void do_zero_identity(void *argument)
{
    bool *written = argument;

    *written = msr_write(HV_X64_MSR_GUEST_OS_ID, 0);
}

/* TLFS 2.6: the identity is the partition's; so whichever VP clears it disables the page for all. */
static void another_vp_disables_the_page(void)
{
    uint64_t value = 1;
    bool written = false;

    if (vp_count() == 1) {
        skip(one_vp);
        return;
    }
    expect(vp_run(vp_count() - 1, do_zero_identity, &written) && written, "the write faults");
    expect(msr_read(HV_X64_MSR_GUEST_OS_ID, &value) && value == 0, "VP 0 reads %lx", value);
    expect(hypercall_restore(), "enabling the page again faults");
}

static void do_leaves(void *argument)
{
    struct cpuid *leaves = argument;

    for (uint32_t i = 0; i < 6; i++) {
        leaves[i] = hv_leaf(HV_CPUID_VENDOR + i);
    }
}

static void leaves_are_equal(void)
{
    struct cpuid here[6];
    struct cpuid there[6];

    if (vp_count() == 1) {
        skip(one_vp);
        return;
    }
    do_leaves(here);
    for (unsigned n = 1; n < vp_count(); n++) {
        expect(vp_run(n, do_leaves, there), "VP %u faults", n);
        expect(memcmp(here, there, sizeof here) == 0, "VP %u sees other leaves", n);
    }
}

static void do_call(void *argument)
{
    struct hypercall_answer *answer = argument;

    *answer = hypercall(UINT64_C(0x3FFF) | HV_HYPERCALL_INPUT_FAST, 0, 0);
}

static void all_can_call(void)
{
    for (unsigned n = 0; n < vp_count(); n++) {
        struct hypercall_answer answer = {0};

        expect(vp_run(n, do_call, &answer) && answer.returned, "VP %u: the call faults", n);
        expect(answer.status == HV_STATUS_INVALID_HYPERCALL_CODE, "VP %u: the call gives %lx", n,
               answer.result);
    }
}

static void do_interrupt_self(void *argument)
{
    volatile uint32_t *count = &this_vp()->arrivals[TEST_VECTOR].count;
    uint32_t before = *count;
    bool *arrived = argument;

    interrupts_on();
    apic_send(apic_id(), TEST_VECTOR);
    for (unsigned turn = 0; turn < WAIT_TURNS && *count == before; turn++) {
        cpu_pause();
    }
    interrupts_off();
    *arrived = *count == before + 1;
}

/* Nothing of the hypervisor's, but what later tests of interrupts stand on. */
static void self_interrupt(void)
{
    if (!apic_present()) {
        skip("this host has no local APIC");
        return;
    }
    for (unsigned n = 0; n < vp_count(); n++) {
        bool arrived = false;

        expect(vp_run(n, do_interrupt_self, &arrived) && arrived, "VP %u: no interrupt", n);
    }
}

static const struct test tests[] = {
    {"vp_indices_are_unique", indices_are_unique},
    {"guest_os_id_and_hypercall_are_the_same_on_all_vps", partition_msrs_are_shared},
    {"another_vp_can_disable_the_page", another_vp_disables_the_page},
    {"leaves_are_the_same_on_all_vps", leaves_are_equal},
    {"every_vp_can_call", all_can_call},
    {"an_interrupt_to_oneself_arrives", self_interrupt},
};

const struct topic topic_vps = TOPIC("virtual processors (TLFS 7.8.1)", tests);
