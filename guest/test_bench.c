/* SPDX-License-Identifier: MIT */
/* What operations cost: time by the hypervisor's own clock, exits as the host counts them. Judges nothing. */
#include <hvtlfs/tlfs.h>

#include <stddef.h>

#include "apic.h"
#include "boot.h"
#include "cpu.h"
#include "guard.h"
#include "hypercall.h"
#include "memory.h"
#include "tests.h"
#include "vp.h"

enum { GROUPS = 5, ROUNDS = 200, NS = 100, IPI_VECTOR = 0x62, UNKNOWN_CODE = 0x7F };

#define SELF UINT64_C(0x40000) /* ICR: shorthand for the sender */

static uint8_t assist_page[PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));
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

static void take(uint32_t before)
{
    volatile uint32_t *count = &this_vp()->arrivals[IPI_VECTOR].count;

    interrupts_on();
    for (unsigned i = 0; i < 100000 && *count == before; i++) {
        cpu_pause();
    }
    interrupts_off();
}

static void ipi_to_self(void)
{
    uint32_t before = this_vp()->arrivals[IPI_VECTOR].count;

    input[0] = IPI_VECTOR;
    input[1] = 1;
    (void)hypercall(HvCallSendSyntheticClusterIpi, gpa_of(input), 0);
    take(before);
}

static void icr(void)
{
    uint32_t before = this_vp()->arrivals[IPI_VECTOR].count;

    wrmsr(HV_X64_MSR_ICR, SELF | IPI_VECTOR);
    take(before);
}

/* The same with the end of the interrupt in the assist page. */
static void icr_lazy(void)
{
    struct vp *vp = this_vp();

    if (vp->assist == NULL) {
        wrmsr(HV_X64_MSR_VP_ASSIST_PAGE, gpa_of(assist_page) | 1);
        vp->assist = (volatile uint32_t *)(uintptr_t)gpa_of(assist_page);
        vp->eoi_by_msr = true;
    }
    icr();
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
    {"WRMSR ICR to itself, to its EOI", icr},
    {"WRMSR ICR to itself, to its EOI by the assist page", icr_lazy},
};

static void do_rounds(void *argument)
{
    void (*run)(void) = *(void (**)(void))argument;

    for (unsigned i = 0; i < ROUNDS; i++) {
        run();
    }
}

struct cost {
    uint64_t time;  /* of the fastest group of rounds, in 100 ns: hosts have other work */
    uint32_t exits; /* of all */
    bool done;
    bool counted;
};

static struct cost cost_of(void (*run)(void))
{
    struct cost cost = {.time = UINT64_MAX, .done = true};
    uint32_t exits = in32(BOOT_PORT_EXITS);

    for (unsigned i = 0; i < GROUPS; i++) {
        uint64_t time = rdmsr(HV_X64_MSR_TIME_REF_COUNT);

        cost.done = guard_run(do_rounds, &run) && cost.done;
        time = rdmsr(HV_X64_MSR_TIME_REF_COUNT) - time;
        cost.time = time < cost.time ? time : cost.time;
    }
    cost.counted = exits != UINT32_MAX;
    cost.exits = in32(BOOT_PORT_EXITS) - exits;
    return cost;
}

/* The exits of the measurement itself, as many each time, are not the operation's. */
static void operation_cost(const char *name, const struct cost *cost, uint32_t own)
{
    unsigned ns = (unsigned)(cost->time * NS / ROUNDS);
    uint32_t in_1000 = cost->exits > own ? cost->exits - own : 0;
    uint32_t exits = (in_1000 + 5) / (GROUPS * ROUNDS / 100);

    if (!cost->done) {
        note("bench %s: not there", name);
    } else if (cost->counted) {
        note("bench %s: %u ns, %u.%u%u exits", name, ns, exits / 100, exits / 10 % 10, exits % 10);
    } else {
        note("bench %s: %u ns", name, ns);
    }
}

static void operations_cost(void)
{
    struct cost empty = cost_of(nothing);

    for (size_t i = 0; i < sizeof operations / sizeof operations[0]; i++) {
        struct cost cost = cost_of(operations[i].run);

        operation_cost(operations[i].name, &cost, empty.exits);
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
