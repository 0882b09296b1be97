/* SPDX-License-Identifier: MIT */
/* TLFS 4.2.2 and appendix C: which MSRs answer, and that those not announced do not. */
#include <hvtlfs/tlfs.h>

#include <stddef.h>

#include "discovery.h"
#include "guard.h"
#include "tests.h"

enum { REGISTER_EAX, REGISTER_EDX };

/* What announces an MSR; without the bit both directions must fault. */
struct gate {
    uint32_t msr;
    int leaf_register;
    uint32_t bit;
    const char *name;
};

#define EAX_GATE(msr_, bit_)                                                                       \
    {                                                                                              \
        HV_X64_MSR_##msr_, REGISTER_EAX, HV_CPUID_FEATURES_EAX_##bit_, #msr_                       \
    }
#define EDX_GATE(msr_, bit_)                                                                       \
    {                                                                                              \
        HV_X64_MSR_##msr_, REGISTER_EDX, HV_CPUID_FEATURES_EDX_##bit_, #msr_                       \
    }

static const struct gate gates[] = {
    EAX_GATE(RESET, ACCESS_RESET_REG),
    EAX_GATE(VP_RUNTIME, ACCESS_VP_RUN_TIME_REG),
    EAX_GATE(TIME_REF_COUNT, ACCESS_PARTITION_REFERENCE_COUNTER),
    EAX_GATE(REFERENCE_TSC, ACCESS_PARTITION_REFERENCE_TSC),
    EAX_GATE(TSC_FREQUENCY, ACCESS_FREQUENCY_REGS),
    EAX_GATE(APIC_FREQUENCY, ACCESS_FREQUENCY_REGS),
    EAX_GATE(EOI, ACCESS_INTR_CTRL_REGS),
    EAX_GATE(ICR, ACCESS_INTR_CTRL_REGS),
    EAX_GATE(TPR, ACCESS_INTR_CTRL_REGS),
    EAX_GATE(VP_ASSIST_PAGE, ACCESS_INTR_CTRL_REGS),
    EAX_GATE(SCONTROL, ACCESS_SYNIC_REGS),
    EAX_GATE(SVERSION, ACCESS_SYNIC_REGS),
    EAX_GATE(SIEFP, ACCESS_SYNIC_REGS),
    EAX_GATE(SIMP, ACCESS_SYNIC_REGS),
    EAX_GATE(EOM, ACCESS_SYNIC_REGS),
    EAX_GATE(SINT0, ACCESS_SYNIC_REGS),
    EAX_GATE(SINT15, ACCESS_SYNIC_REGS),
    EAX_GATE(STIMER0_CONFIG, ACCESS_SYNTHETIC_TIMER_REGS),
    EAX_GATE(STIMER3_COUNT, ACCESS_SYNTHETIC_TIMER_REGS),
    EAX_GATE(STATS_VP_RETAIL_PAGE, ACCESS_STATS_REG),
    EAX_GATE(GUEST_IDLE, ACCESS_GUEST_IDLE_REG),
    EAX_GATE(REENLIGHTENMENT_CONTROL, ACCESS_REENLIGHTENMENT_CONTROLS),
    EAX_GATE(TSC_EMULATION_CONTROL, ACCESS_REENLIGHTENMENT_CONTROLS),
    EAX_GATE(TSC_EMULATION_STATUS, ACCESS_REENLIGHTENMENT_CONTROLS),
    EDX_GATE(CRASH_P0, GUEST_CRASH_REGS_AVAILABLE),
    EDX_GATE(CRASH_CTL, GUEST_CRASH_REGS_AVAILABLE),
    EDX_GATE(NPIEP_CONFIG, NPIEP1_AVAILABLE),
    EDX_GATE(STIME_UNHALTED_TIMER_CONFIG, SYNTHETIC_TIME_UNHALTED_TIMER_AVAILABLE),
};
enum { GATES = sizeof gates / sizeof gates[0] };

static bool announced(const struct gate *gate)
{
    return gate->leaf_register == REGISTER_EAX ? hv_has_eax(gate->bit) : hv_has_edx(gate->bit);
}

/* VP_ASSIST_PAGE: appendix C gates it like EOI, so a guest may not rely on more. */
static void unannounced_msrs_fault(void)
{
    unsigned checked = 0;

    for (unsigned i = 0; i < GATES; i++) {
        if (!announced(&gates[i])) {
            expect(msr_read_gp(gates[i].msr), "no #GP reading %s", gates[i].name);
            expect(msr_write_gp(gates[i].msr, 0), "no #GP writing %s", gates[i].name);
            checked++;
        }
    }
    note("%u of %u gated MSRs are not announced", checked, (unsigned)GATES);
    if (checked == 0) {
        skip("every gated MSR is announced");
    }
}

/* Announced means there: none of these reads has an effect or may fault. */
static void announced_msrs_read(void)
{
    static const uint32_t unreadable[] = {HV_X64_MSR_EOI, HV_X64_MSR_GUEST_IDLE, HV_X64_MSR_EOM};
    unsigned checked = 0;

    for (unsigned i = 0; i < GATES; i++) {
        uint64_t value;
        bool special = false;

        for (unsigned j = 0; j < sizeof unreadable / sizeof unreadable[0]; j++) {
            special = special || gates[i].msr == unreadable[j];
        }
        if (!special && announced(&gates[i])) {
            expect(msr_read(gates[i].msr, &value), "reading %s faults", gates[i].name);
            checked++;
        }
    }
    if (checked == 0) {
        skip("no gated MSR is announced");
    }
}

static void numbers_without_msr_fault(void)
{
    static const uint32_t holes[] = {0x40000005, 0x4000000F, 0x40000060, 0x400000A0,
                                     0x4000010A, 0x40000180, 0x400001FF};

    for (unsigned i = 0; i < sizeof holes / sizeof holes[0]; i++) {
        expect(msr_read_gp(holes[i]), "no #GP reading %x", holes[i]);
        expect(msr_write_gp(holes[i], 0), "no #GP writing %x", holes[i]);
    }
}

static void vp_index_reads(void)
{
    uint64_t first = 0;
    uint64_t second = 0;

    expect(msr_read(HV_X64_MSR_VP_INDEX, &first), "the read faults");
    expect(msr_read(HV_X64_MSR_VP_INDEX, &second), "the second read faults");
    expect(first == second, "%lx became %lx", first, second);
    expect(first >> 32 == 0 && first != HV_ANY_VP, "it is %lx", first);
}

static void vp_index_is_read_only(void)
{
    uint64_t before = 0;
    uint64_t after = 0;

    expect(msr_read(HV_X64_MSR_VP_INDEX, &before), "the read faults");
    expect(msr_write_gp(HV_X64_MSR_VP_INDEX, before + 1), "no #GP");
    expect(msr_read(HV_X64_MSR_VP_INDEX, &after) && after == before, "%lx became %lx", before,
           after);
}

static const struct test tests[] = {
    {"vp_index_reads", vp_index_reads},
    {"vp_index_write_faults", vp_index_is_read_only},
    {"numbers_without_an_msr_fault", numbers_without_msr_fault},
    {"msrs_that_are_not_announced_fault", unannounced_msrs_fault},
    {"msrs_that_are_announced_read", announced_msrs_read},
};

const struct topic topic_msr = TOPIC("MSRs and their gates (TLFS 4.2.2)", tests);
