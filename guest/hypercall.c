/* SPDX-License-Identifier: MIT */
#include "hypercall.h"

#include <hvtlfs/tlfs.h>

#include "discovery.h"
#include "guard.h"
#include "memory.h"
#include "vp.h"

enum { WINDOW_HYPERCALL = 0, IDENTITY_OS_TYPE = 0x7A };

struct call {
    const void *page;
    uint64_t control;
    uint64_t input;
    uint64_t output;
    uint64_t result;
};

/* What user_enter() reads, in its order. */
struct user_call {
    const void *page;
    void *stack;
    uint64_t control;
    uint64_t input;
    uint64_t output;
};

void user_enter(const struct user_call *call);
extern const uint8_t user_done[];

static void *page;
static uint64_t page_gpa;
static uint8_t own_page[PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));
static uint8_t user_stack[1024] __attribute__((aligned(16)));

void *hypercall_page(void)
{
    return page;
}

uint64_t hypercall_page_gpa(void)
{
    return page_gpa;
}

uint64_t hypercall_identity(void)
{
    return HV_MSR_GUEST_OS_ID_OPEN_SOURCE |
           (uint64_t)IDENTITY_OS_TYPE << HV_MSR_GUEST_OS_ID_OPEN_OS_TYPE_SHIFT |
           UINT64_C(1) << HV_MSR_GUEST_OS_ID_OPEN_VERSION_SHIFT;
}

/* mov eax, 2; mov edx, 0; ret: the sample of the requirements document, p. 8. */
bool hypercall_page_never_exits(void)
{
    static const uint8_t body[] = {0xB8, 2, 0, 0, 0, 0xBA, 0, 0, 0, 0, 0xC3};

    return page != NULL && memcmp(page, body, sizeof body) == 0;
}

static struct hypercall_answer answer(bool returned, uint64_t result)
{
    return (struct hypercall_answer){
        .returned = returned,
        .result = result,
        .status = (unsigned)(result & HV_HYPERCALL_RESULT_RESULT_MASK),
        .reps = (unsigned)((result & HV_HYPERCALL_RESULT_REPS_COMPLETED_MASK) >>
                           HV_HYPERCALL_RESULT_REPS_COMPLETED_SHIFT),
    };
}

static void do_call(void *argument)
{
    struct call *call = argument;

    call->result = hypercall_at(call->page, call->control, call->input, call->output);
}

struct hypercall_answer hypercall_through(const void *mapping, uint64_t control, uint64_t input,
                                          uint64_t output)
{
    struct call call = {mapping, control, input, output, 0};
    bool returned = guard_run(do_call, &call);

    return answer(returned, call.result);
}

struct hypercall_answer hypercall(uint64_t control, uint64_t input, uint64_t output)
{
    return hypercall_through(page, control, input, output);
}

static void do_call_registers(void *argument)
{
    hypercall_registers_at(page, argument);
}

bool hypercall_registers(struct hypercall_registers *registers)
{
    return guard_run(do_call_registers, registers);
}

static void do_call_ring3(void *argument)
{
    user_enter(argument);
}

struct hypercall_answer hypercall_from_ring3(uint64_t control, uint64_t input, uint64_t output)
{
    struct user_call call = {page, user_stack + sizeof user_stack, control, input, output};
    const struct fault *fault = &this_vp()->fault;

    (void)guard_run(do_call_ring3, &call);
    return answer(fault->rip == (uint64_t)(uintptr_t)user_done, fault->rax);
}

bool ring3_run(const void *code)
{
    struct user_call call = {code, user_stack + sizeof user_stack, 0, 0, 0};

    (void)guard_run(do_call_ring3, &call);
    return this_vp()->fault.rip == (uint64_t)(uintptr_t)user_done;
}

static const char *report_identity(void)
{
    uint64_t identity;

    if (!msr_read(HV_X64_MSR_GUEST_OS_ID, &identity)) {
        return "3: reading HV_X64_MSR_GUEST_OS_ID faults";
    }
    if (identity == 0 && !msr_write(HV_X64_MSR_GUEST_OS_ID, hypercall_identity())) {
        return "3: writing HV_X64_MSR_GUEST_OS_ID faults";
    }
    return NULL;
}

/* Steps 4 to 7: enable the page unless it is enabled, keeping the bits that software must preserve. */
static const char *enable_page(void)
{
    uint64_t value;

    if (!msr_read(HV_X64_MSR_HYPERCALL, &value)) {
        return "4: reading HV_X64_MSR_HYPERCALL faults";
    }
    if ((value & HV_MSR_HYPERCALL_ENABLE) == 0) {
        value &= HV_MSR_HYPERCALL_RSVD_P_MASK;
        value |= gpa_of(own_page) | HV_MSR_HYPERCALL_ENABLE;
        if (!msr_write(HV_X64_MSR_HYPERCALL, value)) {
            return "7: writing HV_X64_MSR_HYPERCALL faults";
        }
    }
    if (!msr_read(HV_X64_MSR_HYPERCALL, &value) || (value & HV_MSR_HYPERCALL_ENABLE) == 0) {
        return "7: the page is not enabled after the write";
    }
    page_gpa = value & HV_MSR_HYPERCALL_HYPERCALL_GPFN_MASK;
    return NULL;
}

const char *hypercall_establish(void)
{
    const char *failed;

    if (!hypervisor_present()) {
        return "1: CPUID.1:ECX[31] is clear";
    }
    if (hv_leaf(HV_CPUID_VENDOR).eax < hv_leaf_number(HV_CPUID_MAX_LEAF_AT_LEAST)) {
        return "2: the maximum leaf is below 0x40000005";
    }
    if (hv_leaf(HV_CPUID_INTERFACE).eax != HV_CPUID_INTERFACE_HV1) {
        return "2: the interface is not Hv#1";
    }
    failed = report_identity();
    if (failed == NULL) {
        failed = enable_page();
    }
    if (failed != NULL) {
        return failed;
    }
    page = window_map(WINDOW_HYPERCALL, page_gpa);
    if ((hv_leaf(HV_CPUID_FEATURES).eax & HV_CPUID_FEATURES_EAX_ACCESS_HYPERCALL_MSRS) == 0) {
        return "9: leaf 3 does not announce the MSRs that just worked";
    }
    return NULL;
}

bool hypercall_restore(void)
{
    return msr_write(HV_X64_MSR_GUEST_OS_ID, hypercall_identity()) &&
           msr_write(HV_X64_MSR_HYPERCALL, page_gpa | HV_MSR_HYPERCALL_ENABLE);
}
