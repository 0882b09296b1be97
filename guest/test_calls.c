/* SPDX-License-Identifier: MIT */
/*
 * Every call that the hypervisor announces, by memory, in general registers and in XMM registers.
 * What is not announced is not called: what it would give is the hypervisor's own affair.
 */
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

#define FAST ((uint64_t)HV_HYPERCALL_INPUT_FAST)
#define REPS(n) ((uint64_t)(n) << HV_HYPERCALL_INPUT_REP_COUNT_SHIFT)
#define START(n) ((uint64_t)(n) << HV_HYPERCALL_INPUT_REP_START_INDEX_SHIFT)
#define BANKS(n) ((uint64_t)(n) << HV_HYPERCALL_INPUT_VARIABLE_HEADER_SIZE_SHIFT)

enum { IPI_VECTOR = 0x61, IPI_WAIT_TURNS = 200000, LIST_LENGTH = 200 };

enum {
    FLUSHES = HV_CPUID_RECOMMENDATIONS_EAX_USE_HYPERCALL_FOR_REMOTE_FLUSH_AND_LOCAL_FLUSH_ENTIRE,
    XMM_INPUT = HV_CPUID_FEATURES_EDX_XMM_REGISTERS_FOR_FAST_HYPERCALL_AVAILABLE,
    XMM_OUTPUT = HV_CPUID_FEATURES_EDX_FAST_HYPERCALL_OUTPUT_AVAILABLE,
};

static const char not_announced[] = "not announced";
static const char never_exits[] = "the page answers without an exit, so nothing is checked";

static uint64_t input[PAGE_BYTES / 8] __attribute__((aligned(PAGE_BYTES)));
static uint64_t output[PAGE_BYTES / 8] __attribute__((aligned(PAGE_BYTES)));

static bool recommended(uint32_t bits)
{
    return (hv_leaf(HV_CPUID_RECOMMENDATIONS).eax & bits) == bits;
}

static bool privileged(uint32_t bits)
{
    return (hv_leaf(HV_CPUID_FEATURES).ebx & bits) == bits;
}

/* Skips the test and returns true unless the call is announced and gets to the hypervisor. */
static bool unseen(bool announced)
{
    if (!hypercall_page_never_exits() && announced) {
        return false;
    }
    skip(announced ? never_exits : not_announced);
    return true;
}

static void gives_reps(uint64_t control, unsigned status, unsigned reps)
{
    struct hypercall_answer answer = hypercall(control, gpa_of(input), gpa_of(output));

    expect(answer.returned, "control %lx faults with vector %lx", control, this_vp()->fault.vector);
    expect(!answer.returned || (answer.status == status && answer.reps == reps),
           "control %lx gives %lx, not status %x after %u", control, answer.result, status, reps);
}

static void gives(uint64_t control, unsigned status)
{
    gives_reps(control, status, 0);
}

/* The call in registers: the block is `input`; false if it faults. The registers go back to `block`. */
static bool in_registers(uint64_t control, uint64_t block[14], uint64_t *result)
{
    struct hypercall_registers registers;

    memset(&registers, 0, sizeof registers);
    registers.rcx = control | FAST;
    registers.rdx = block[0];
    registers.r8 = block[1];
    memcpy(registers.xmm, &block[2], sizeof registers.xmm);
    if (!hypercall_registers(&registers)) {
        return false;
    }
    block[0] = registers.rdx;
    block[1] = registers.r8;
    memcpy(&block[2], registers.xmm, sizeof registers.xmm);
    *result = registers.rax;
    return true;
}

/* `qwords` of `input` in registers: #UD without the feature if XMM registers are needed (3.7.2.1). */
static void gives_in_registers(uint64_t control, unsigned qwords, uint64_t expected)
{
    bool allowed = qwords <= 2 || hv_has_edx(XMM_INPUT);
    uint64_t block[14];
    uint64_t before[14];
    uint64_t result = 0;
    bool returned;

    memset(block, 0x77, sizeof block);
    memcpy(block, input, (size_t)8 * qwords);
    memcpy(before, block, sizeof block);
    returned = in_registers(control, block, &result);
    if (!allowed) {
        expect(!returned, "control %lx in XMM registers returns %lx", control, result);
        expect(returned || this_vp()->fault.vector == VECTOR_UD, "vector %lx instead of #UD",
               this_vp()->fault.vector);
        return;
    }
    expect(returned, "control %lx in registers faults with vector %lx", control,
           this_vp()->fault.vector);
    expect(!returned || result == expected, "control %lx in registers gives %lx, not %lx", control,
           result, expected);
    expect(memcmp(block, before, sizeof block) == 0, "an input register has changed");
}

static uint64_t done(unsigned reps)
{
    return (uint64_t)reps << HV_HYPERCALL_RESULT_REPS_COMPLETED_SHIFT;
}

/* ---- Flushes ---- */

static bool flushes_seen(void)
{
    return !unseen(recommended(FLUSHES));
}

static bool sets_seen(bool announced)
{
    return !unseen(announced && recommended(HV_CPUID_RECOMMENDATIONS_EAX_USE_EX_PROCESSOR_MASKS));
}

static void fill_flush(uint64_t flags, uint64_t mask)
{
    memset(input, 0, sizeof input);
    input[1] = flags;
    input[2] = mask;
}

static void flush_space(void)
{
    if (!flushes_seen()) {
        return;
    }
    fill_flush(HV_FLUSH_ALL_VIRTUAL_ADDRESS_SPACES, 1);
    gives(HvCallFlushVirtualAddressSpace, HV_STATUS_SUCCESS);
    gives_in_registers(HvCallFlushVirtualAddressSpace, 3, HV_STATUS_SUCCESS);
    fill_flush(HV_FLUSH_ALL_PROCESSORS | HV_FLUSH_NON_GLOBAL_MAPPINGS_ONLY, 0);
    gives(HvCallFlushVirtualAddressSpace, HV_STATUS_SUCCESS);
    gives_in_registers(HvCallFlushVirtualAddressSpace, 3, HV_STATUS_SUCCESS);
    gives(HvCallFlushVirtualAddressSpace | REPS(1), HV_STATUS_INVALID_HYPERCALL_INPUT);
    gives(HvCallFlushVirtualAddressSpace | BANKS(1), HV_STATUS_INVALID_HYPERCALL_INPUT);
}

static void flush_list(void)
{
    if (!flushes_seen()) {
        return;
    }
    fill_flush(HV_FLUSH_ALL_VIRTUAL_ADDRESS_SPACES, 1);
    for (unsigned i = 0; i < LIST_LENGTH; i++) {
        input[3 + i] = (uint64_t)PAGE_BYTES * (i + 1);
    }
    gives_reps(HvCallFlushVirtualAddressList | REPS(1), HV_STATUS_SUCCESS, 1);
    gives_reps(HvCallFlushVirtualAddressList | REPS(LIST_LENGTH), HV_STATUS_SUCCESS, LIST_LENGTH);
    gives_in_registers(HvCallFlushVirtualAddressList | REPS(2), 5, done(2));
    gives(HvCallFlushVirtualAddressList, HV_STATUS_INVALID_HYPERCALL_INPUT);
    gives(HvCallFlushVirtualAddressList | REPS(2) | START(2), HV_STATUS_INVALID_HYPERCALL_INPUT);
    gives_reps(HvCallFlushVirtualAddressList | REPS(3) | START(2), HV_STATUS_SUCCESS, 3);
}

static void flush_space_ex(void)
{
    if (!sets_seen(recommended(FLUSHES))) {
        return;
    }
    memset(input, 0, sizeof input);
    input[1] = HV_FLUSH_ALL_VIRTUAL_ADDRESS_SPACES;
    input[3] = 1;
    input[4] = 1;
    gives(HvCallFlushVirtualAddressSpaceEx | BANKS(1), HV_STATUS_SUCCESS);
    gives_in_registers(HvCallFlushVirtualAddressSpaceEx | BANKS(1), 5, HV_STATUS_SUCCESS);
    input[2] = HvGenericSetAll;
    gives(HvCallFlushVirtualAddressSpaceEx, HV_STATUS_SUCCESS);
    gives_in_registers(HvCallFlushVirtualAddressSpaceEx, 4, HV_STATUS_SUCCESS);
}

static void flush_list_ex(void)
{
    if (!sets_seen(recommended(FLUSHES))) {
        return;
    }
    memset(input, 0, sizeof input);
    input[1] = HV_FLUSH_ALL_VIRTUAL_ADDRESS_SPACES;
    input[3] = 1;
    input[4] = 1;
    input[5] = PAGE_BYTES;
    input[6] = (uint64_t)2 * PAGE_BYTES;
    gives_reps(HvCallFlushVirtualAddressListEx | BANKS(1) | REPS(2), HV_STATUS_SUCCESS, 2);
    gives_in_registers(HvCallFlushVirtualAddressListEx | BANKS(1) | REPS(2), 7, done(2));
}

/* ---- IPIs ---- */

static bool ipis_announced(void)
{
    return recommended(HV_CPUID_RECOMMENDATIONS_EAX_USE_SYNTHETIC_CLUSTER_IPI);
}

/* Send one to this VP with interrupts on, and see it arrive. */
static void arrives(uint64_t control, unsigned qwords, bool registers)
{
    volatile uint32_t *count = &this_vp()->arrivals[IPI_VECTOR].count;
    uint32_t before = *count;

    if (registers) {
        gives_in_registers(control, qwords, HV_STATUS_SUCCESS);
    } else {
        gives(control, HV_STATUS_SUCCESS);
    }
    interrupts_on();
    for (unsigned i = 0; i < IPI_WAIT_TURNS && *count == before; i++) {
        cpu_pause();
    }
    interrupts_off();
    expect(*count == before + 1, "control %lx: %u arrivals", control, *count - before);
}

static uint64_t own_index(void)
{
    uint64_t index = 0;

    (void)msr_read(HV_X64_MSR_VP_INDEX, &index);
    return index;
}

static void cluster_ipi(void)
{
    if (unseen(ipis_announced() && apic_present() && own_index() < 64)) {
        return;
    }
    memset(input, 0, sizeof input);
    input[0] = IPI_VECTOR;
    input[1] = UINT64_C(1) << own_index();
    arrives(HvCallSendSyntheticClusterIpi, 2, true);
    arrives(HvCallSendSyntheticClusterIpi, 2, false);
    input[1] = 0;
    gives(HvCallSendSyntheticClusterIpi, HV_STATUS_SUCCESS);
}

static void cluster_ipi_ex(void)
{
    if (!sets_seen(ipis_announced() && apic_present() && own_index() < 64)) {
        return;
    }
    memset(input, 0, sizeof input);
    input[0] = IPI_VECTOR;
    input[2] = 1;
    input[3] = UINT64_C(1) << own_index();
    arrives(HvCallSendSyntheticClusterIpiEx | BANKS(1), 4, false);
    if (hv_has_edx(XMM_INPUT)) {
        arrives(HvCallSendSyntheticClusterIpiEx | BANKS(1), 4, true);
    }
}

/* ---- VPs ---- */

static void fill_get_registers(void)
{
    memset(input, 0, sizeof input);
    memset(output, 0, sizeof output);
    input[0] = HV_PARTITION_ID_SELF;
    input[1] = HV_VP_INDEX_SELF;
    input[2] = HvRegisterVpIndex;
}

static void get_vp_registers(void)
{
    uint64_t block[14];
    uint64_t result = 0;

    if (unseen(privileged(HV_CPUID_FEATURES_EBX_ACCESS_VP_REGISTERS))) {
        return;
    }
    fill_get_registers();
    gives_reps(HvCallGetVpRegisters | REPS(1), HV_STATUS_SUCCESS, 1);
    expect(output[0] == own_index() && output[1] == 0, "VpIndex is %lx", output[0]);
    if (hv_has_edx(XMM_INPUT | XMM_OUTPUT)) {
        memset(block, 0, sizeof block);
        memcpy(block, input, 24);
        block[4] = UINT64_MAX;
        expect(in_registers(HvCallGetVpRegisters | REPS(1), block, &result), "the call faults");
        /* 20 bytes of input leave the rest from XMM1 on (3.8.1.2). */
        expect(result == done(1) && block[4] == own_index(), "gives %lx and VpIndex %lx", result,
               block[4]);
    }
}

static void set_vp_registers(void)
{
    uint64_t identity = 0;

    if (unseen(privileged(HV_CPUID_FEATURES_EBX_ACCESS_VP_REGISTERS))) {
        return;
    }
    (void)msr_read(HV_X64_MSR_GUEST_OS_ID, &identity);
    memset(input, 0, sizeof input);
    input[0] = HV_PARTITION_ID_SELF;
    input[1] = HV_VP_INDEX_SELF;
    input[2] = HvRegisterGuestOsId;
    input[4] = identity;
    gives_reps(HvCallSetVpRegisters | REPS(1), HV_STATUS_SUCCESS, 1);
    gives_in_registers(HvCallSetVpRegisters | REPS(1), 6, done(1));
}

/* TLFS 7.10.4: a list of one reads the same with elements of four bytes and of eight. */
static void index_from_apic_id(void)
{
    if (unseen(apic_present() && hv_has_eax(HV_CPUID_FEATURES_EAX_ACCESS_VP_INDEX))) {
        return;
    }
    memset(input, 0, sizeof input);
    memset(output, 0xFF, sizeof output);
    input[0] = HV_PARTITION_ID_SELF;
    input[2] = apic_id();
    if (hypercall(HvCallGetVpIndexFromApicId | REPS(1), gpa_of(input), gpa_of(output)).status ==
        HV_STATUS_INVALID_HYPERCALL_CODE) {
        skip("not implemented, and no bit announces it");
        return;
    }
    gives_reps(HvCallGetVpIndexFromApicId | REPS(1), HV_STATUS_SUCCESS, 1);
    expect((uint32_t)output[0] == own_index(), "APIC ID %lx is VP %lx", input[2],
           output[0] & UINT32_MAX);
}

/* ---- Connections and extended calls ---- */

/* Connection IDs have 24 bits. */
static void unknown_connections(void)
{
    if (unseen(privileged(HV_CPUID_FEATURES_EBX_POST_MESSAGES) &&
               privileged(HV_CPUID_FEATURES_EBX_SIGNAL_EVENTS))) {
        return;
    }
    memset(input, 0, sizeof input);
    input[0] = 0xFF000001;
    input[1] = UINT64_C(16) << 32 | 1;
    gives(HvCallPostMessage, HV_STATUS_INVALID_CONNECTION_ID);
    gives(HvCallSignalEvent, HV_STATUS_INVALID_CONNECTION_ID);
    gives_in_registers(HvCallSignalEvent, 1, HV_STATUS_INVALID_CONNECTION_ID);
}

static void extended_capabilities(void)
{
    uint64_t block[14];
    uint64_t result = 0;

    if (unseen(privileged(HV_CPUID_FEATURES_EBX_ENABLE_EXTENDED_HYPERCALLS))) {
        return;
    }
    memset(output, 0xFF, sizeof output);
    gives(HvExtCallQueryCapabilities, HV_STATUS_SUCCESS);
    expect(output[0] != UINT64_MAX && output[1] == UINT64_MAX, "capabilities %lx, %lx behind them",
           output[0], output[1]);
    if (hv_has_edx(XMM_OUTPUT)) {
        memset(block, 0, sizeof block);
        expect(in_registers(HvExtCallQueryCapabilities, block, &result), "the call faults");
        expect(result == HV_STATUS_SUCCESS && block[0] == output[0], "gives %lx and %lx", result,
               block[0]);
    }
}

static const struct test tests[] = {
    {"flush_virtual_address_space", flush_space},
    {"flush_virtual_address_list", flush_list},
    {"flush_virtual_address_space_ex", flush_space_ex},
    {"flush_virtual_address_list_ex", flush_list_ex},
    {"send_synthetic_cluster_ipi_arrives", cluster_ipi},
    {"send_synthetic_cluster_ipi_ex_arrives", cluster_ipi_ex},
    {"get_vp_registers", get_vp_registers},
    {"set_vp_registers", set_vp_registers},
    {"get_vp_index_from_apic_id", index_from_apic_id},
    {"unknown_connections_give_status_18", unknown_connections},
    {"extended_query_capabilities", extended_capabilities},
};

const struct topic topic_calls = TOPIC("calls (TLFS 7.10, 9.4, 10.5, 11.11, 3.14)", tests);
