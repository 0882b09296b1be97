/* SPDX-License-Identifier: MIT */
/* What operations cost, by the hypervisor's own clock. Judges nothing. */
#include <hvtlfs/tlfs.h>

#include <stddef.h>

#include "apic.h"
#include "cpu.h"
#include "guard.h"
#include "hypercall.h"
#include "memory.h"
#include "tests.h"
#include "vp.h"

enum { ROUNDS = 1000, NS = 100, IPI_VECTOR = 0x62, UNKNOWN_CODE = 0x7F };

static uint64_t input[PAGE_BYTES / 8] __attribute__((aligned(PAGE_BYTES)));

static void nothing(void)
{
}

static void leaf(void)
{
    (void)cpuid(HV_CPUID_FEATURES, 0);
}

static void vp_index(void)
{
    (void)rdmsr(HV_X64_MSR_VP_INDEX);
}

static void time_ref_count(void)
{
    (void)rdmsr(HV_X64_MSR_TIME_REF_COUNT);
}

static void tpr(void)
{
    wrmsr(HV_X64_MSR_TPR, 0);
}

static void eoi(void)
{
    wrmsr(HV_X64_MSR_EOI, 0);
}

static void stimer_count(void)
{
    wrmsr(HV_X64_MSR_STIMER0_COUNT, UINT64_C(1) << 62);
}

static void unknown_call(void)
{
    (void)hypercall(UNKNOWN_CODE | HV_HYPERCALL_INPUT_FAST, 0, 0);
}

static void long_spin_wait(void)
{
    (void)hypercall(HvCallNotifyLongSpinWait | HV_HYPERCALL_INPUT_FAST, 1, 0);
}

static void flush_self(void)
{
    input[0] = 0;
    input[1] = HV_FLUSH_ALL_VIRTUAL_ADDRESS_SPACES;
    input[2] = 1;
    (void)hypercall(HvCallFlushVirtualAddressSpace, gpa_of(input), 0);
}

static void ipi_to_self(void)
{
    volatile uint32_t *count = &this_vp()->arrivals[IPI_VECTOR].count;
    uint32_t before = *count;

    input[0] = IPI_VECTOR;
    input[1] = 1;
    (void)hypercall(HvCallSendSyntheticClusterIpi, gpa_of(input), 0);
    interrupts_on();
    for (unsigned i = 0; i < 100000 && *count == before; i++) {
        cpu_pause();
    }
    interrupts_off();
}

static const struct {
    const char *name;
    void (*run)(void);
} operations[] = {
    {"the loop around", nothing},
    {"CPUID of a leaf", leaf},
    {"RDMSR VP_INDEX", vp_index},
    {"RDMSR TIME_REF_COUNT", time_ref_count},
    {"WRMSR TPR", tpr},
    {"WRMSR EOI", eoi},
    {"WRMSR STIMER0_COUNT", stimer_count},
    {"an unknown call in registers", unknown_call},
    {"HvCallNotifyLongSpinWait", long_spin_wait},
    {"HvCallFlushVirtualAddressSpace, own VP", flush_self},
    {"HvCallSendSyntheticClusterIpi to itself, to its EOI", ipi_to_self},
};

static void do_rounds(void *argument)
{
    void (*run)(void) = *(void (**)(void))argument;

    for (unsigned i = 0; i < ROUNDS; i++) {
        run();
    }
}

static void operations_cost(void)
{
    for (size_t i = 0; i < sizeof operations / sizeof operations[0]; i++) {
        void (*run)(void) = operations[i].run;
        uint64_t before = rdmsr(HV_X64_MSR_TIME_REF_COUNT);

        if (guard_run(do_rounds, &run)) {
            note("bench %s: %u ns", operations[i].name,
                 (unsigned)((rdmsr(HV_X64_MSR_TIME_REF_COUNT) - before) * NS / ROUNDS));
        } else {
            note("bench %s: not there", operations[i].name);
        }
    }
}

static void establish(void)
{
    const char *failed = hypercall_establish();

    expect(failed == NULL, "step %s", failed);
}

static const struct test tests[] = {
    {"the_interface_is_there", establish},
    {"operations_cost", operations_cost},
};

const struct topic topic_bench = TOPIC("what operations cost", tests);
