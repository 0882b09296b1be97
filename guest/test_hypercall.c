/* SPDX-License-Identifier: MIT */
/* TLFS 3.5 to 3.12: control word, registers, statuses. */
#include <hvtlfs/tlfs.h>

#include <stddef.h>

#include "discovery.h"
#include "guard.h"
#include "hypercall.h"
#include "memory.h"
#include "tests.h"
#include "vp.h"

#define FAST ((uint64_t)HV_HYPERCALL_INPUT_FAST)

static const char never_exits[] = "the page answers without an exit, so nothing is checked";
static const char no_spin_wait[] = "leaf 4 EBX does not ask for HvCallNotifyLongSpinWait";

static uint8_t parameters[PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));

/* Leaf 4 EBX: 0 and all ones both mean that the guest need not call (TLFS 2.4.5). */
static bool spin_wait_announced(void)
{
    uint32_t spins = hv_leaf(HV_CPUID_RECOMMENDATIONS).ebx;

    return spins != HV_SPIN_WAIT_DISABLED && spins != HV_SPIN_WAIT_NEVER_NOTIFY;
}

/* Skips the test and returns true if the checks of TLFS 3 cannot be seen on HvCallNotifyLongSpinWait. */
static bool unseen(void)
{
    if (hypercall_page_never_exits()) {
        skip(never_exits);
        return true;
    }
    if (!spin_wait_announced()) {
        skip(no_spin_wait);
        return true;
    }
    return false;
}

static void gives(uint64_t control, uint64_t input, unsigned status)
{
    struct hypercall_answer answer = hypercall(control, input, 0);

    expect(answer.returned, "control %lx faults with vector %lx", control, this_vp()->fault.vector);
    expect(!answer.returned || answer.status == status, "control %lx gives %lx, not %x", control,
           answer.result, status);
    expect(!answer.returned || answer.reps == 0, "control %lx gives %lx", control, answer.result);
}

/* Not in appendix A of any edition; 0x8001 and above may be extended calls. */
static void unknown_codes(void)
{
    static const uint16_t codes[] = {0x0000, 0x0030, 0x0200, 0x3FFF, 0x7FFF};

    for (unsigned i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        gives(codes[i] | FAST, 0, HV_STATUS_INVALID_HYPERCALL_CODE);
        gives(codes[i], gpa_of(parameters), HV_STATUS_INVALID_HYPERCALL_CODE);
    }
}

/* TLFS 6.0b 3.9: nothing but RAX changes in a simple call without output in registers. */
static void registers_are_kept(void)
{
    struct hypercall_registers before;
    struct hypercall_registers after;

    memset(&before, 0x3C, sizeof before);
    before.rcx = UINT64_C(0x3FFF) | FAST;
    memcpy(&after, &before, sizeof after);
    expect(hypercall_registers(&after), "the call faults");
    after.rax = before.rax;
    if (hypercall_page_never_exits()) {
        after.rdx = before.rdx; /* The sample of the requirements document clears EDX. */
    }
    expect(memcmp(&before, &after, sizeof before) == 0, "a register besides RAX has changed");
}

static void reserved_control_bits(void)
{
    uint64_t call = HvCallNotifyLongSpinWait | FAST;

    if (unseen()) {
        return;
    }
    for (unsigned bit = 44; bit < 48; bit++) {
        gives(call | UINT64_C(1) << bit, 1, HV_STATUS_INVALID_HYPERCALL_INPUT);
    }
    for (unsigned bit = 60; bit < 64; bit++) {
        gives(call | UINT64_C(1) << bit, 1, HV_STATUS_INVALID_HYPERCALL_INPUT);
    }
    for (unsigned bit = 27; bit < 31; bit++) {
        gives(call | UINT64_C(1) << bit, 1, HV_STATUS_INVALID_HYPERCALL_INPUT);
    }
}

static void rep_fields_of_a_simple_call(void)
{
    uint64_t call = HvCallNotifyLongSpinWait | FAST;

    if (unseen()) {
        return;
    }
    gives(call | UINT64_C(1) << HV_HYPERCALL_INPUT_REP_COUNT_SHIFT, 1,
          HV_STATUS_INVALID_HYPERCALL_INPUT);
    gives(call | UINT64_C(1) << HV_HYPERCALL_INPUT_REP_START_INDEX_SHIFT, 1,
          HV_STATUS_INVALID_HYPERCALL_INPUT);
    gives(call | UINT64_C(1) << HV_HYPERCALL_INPUT_VARIABLE_HEADER_SIZE_SHIFT, 1,
          HV_STATUS_INVALID_HYPERCALL_INPUT);
}

static void spin_wait_succeeds(void)
{
    if (unseen()) {
        return;
    }
    gives(HvCallNotifyLongSpinWait | FAST, hv_leaf(HV_CPUID_RECOMMENDATIONS).ebx,
          HV_STATUS_SUCCESS);
    gives(HvCallNotifyLongSpinWait | FAST, 0, HV_STATUS_SUCCESS);
    gives(HvCallNotifyLongSpinWait | FAST, 0xFFFFFFFF, HV_STATUS_SUCCESS);
}

static void spin_wait_by_memory(void)
{
    if (unseen()) {
        return;
    }
    memset(parameters, 0, 16);
    parameters[0] = 1;
    gives(HvCallNotifyLongSpinWait, gpa_of(parameters), HV_STATUS_SUCCESS);
    gives(HvCallNotifyLongSpinWait, gpa_of(parameters) + PAGE_BYTES - 8, HV_STATUS_SUCCESS);
}

static void misaligned_input(void)
{
    if (unseen()) {
        return;
    }
    for (unsigned offset = 1; offset < 8; offset++) {
        gives(HvCallNotifyLongSpinWait, gpa_of(parameters) + offset, HV_STATUS_INVALID_ALIGNMENT);
    }
    gives(HvCallNotifyLongSpinWait, gpa_of(parameters) + PAGE_BYTES - 4,
          HV_STATUS_INVALID_ALIGNMENT);
}

static void ring3_faults(void)
{
    struct hypercall_answer answer;

    if (hypercall_page_never_exits()) {
        skip(never_exits);
        return;
    }
    answer = hypercall_from_ring3(UINT64_C(0x3FFF) | FAST, 0, 0);
    expect(!answer.returned, "the call returns %lx", answer.result);
    expect(answer.returned || this_vp()->fault.vector == VECTOR_UD, "vector %lx instead of #UD",
           this_vp()->fault.vector);
    expect((this_vp()->fault.cs & 3) == 3, "the fault came from CS %lx", this_vp()->fault.cs);
    gives(UINT64_C(0x3FFF) | FAST, 0, HV_STATUS_INVALID_HYPERCALL_CODE);
}

static const struct test tests[] = {
    {"unknown_call_codes_give_status_2", unknown_codes},
    {"a_call_changes_no_register_but_rax", registers_are_kept},
    {"reserved_control_bits_give_status_3", reserved_control_bits},
    {"rep_and_header_fields_of_a_simple_call_give_status_3", rep_fields_of_a_simple_call},
    {"notify_long_spin_wait_succeeds", spin_wait_succeeds},
    {"notify_long_spin_wait_succeeds_by_memory", spin_wait_by_memory},
    {"misaligned_input_gives_status_4", misaligned_input},
    {"a_call_from_ring_3_gives_ud", ring3_faults},
};

const struct topic topic_hypercall = TOPIC("hypercalls (TLFS 3.5 to 3.12)", tests);
