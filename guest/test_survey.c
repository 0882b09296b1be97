/* SPDX-License-Identifier: MIT */
/*
 * What a hypervisor answers, right or wrong, in lines that can be compared with another's: every MSR of
 * the range read and written, every call code, every field of a control word. Judges nothing.
 */
#include <hvtlfs/tlfs.h>

#include <stddef.h>

#include "guard.h"
#include "hypercall.h"
#include "memory.h"
#include "tests.h"
#include "vp.h"

enum {
    FIRST_MSR = 0x40000000,
    LAST_MSR = 0x400001FF,
    LAST_CODE = 0xFF,
    FIRST_BIT = 17, /* of a control word, behind code and fast */
    FIRST_EXTENDED = HvExtCallQueryCapabilities - 1,
    LAST_EXTENDED = HvExtCallQueryCapabilities + 6,
    FAULT = 0x10000, /* behind every status: the vector of a fault follows */
};

static uint64_t input[PAGE_BYTES / 8] __attribute__((aligned(PAGE_BYTES)));
static uint64_t output[PAGE_BYTES / 8] __attribute__((aligned(PAGE_BYTES)));

/* Whose value is another one each time or on each machine: it is enough that there is one. */
static bool varies(uint32_t msr)
{
    return msr == HV_X64_MSR_VP_RUNTIME || msr == HV_X64_MSR_TIME_REF_COUNT ||
           msr == HV_X64_MSR_TSC_FREQUENCY || msr == HV_X64_MSR_APIC_FREQUENCY;
}

/* ---- MSRs as they are found ---- */

static void print_unread(uint32_t from, uint32_t to)
{
    if (from < to) {
        note("msr %x to %x: reads fault", from, to - 1);
    }
}

static void msrs_as_found(void)
{
    uint32_t unread = FIRST_MSR;

    for (uint32_t msr = FIRST_MSR; msr <= LAST_MSR; msr++) {
        uint64_t value;

        if (!msr_read(msr, &value)) {
            continue;
        }
        print_unread(unread, msr);
        unread = msr + 1;
        if (varies(msr)) {
            note("msr %x reads a value of its own", msr);
        } else {
            note("msr %x reads %lx", msr, value);
        }
    }
    print_unread(unread, LAST_MSR + 1);
}

/* ---- MSRs written ---- */

/* Not what ends the run, ends other tests' ground, or sends interrupts that nobody expects. */
static bool may_be_written(uint32_t msr)
{
    static const uint32_t not[] = {HV_X64_MSR_GUEST_OS_ID, HV_X64_MSR_HYPERCALL, HV_X64_MSR_RESET,
                                   HV_X64_MSR_ICR,         HV_X64_MSR_CRASH_CTL, HV_X64_MSR_GUEST_IDLE,
                                   HV_X64_MSR_EOI};

    for (size_t i = 0; i < sizeof not / sizeof not[0]; i++) {
        if (msr == not[i]) {
            return false;
        }
    }
    return true;
}

static void write_once(uint32_t msr, uint64_t value)
{
    uint64_t after = 0;

    if (!msr_write(msr, value)) {
        note("msr %x written %lx: vector %lx", msr, value, this_vp()->fault.vector);
    } else if (!msr_read(msr, &after)) {
        note("msr %x written %lx: taken", msr, value);
    } else if (varies(msr)) {
        note("msr %x written %lx: taken, reads a value of its own", msr, value);
    } else {
        note("msr %x written %lx: reads %lx", msr, value, after);
    }
}

/* A page at 0 harms nobody here, and one beyond the space is what a guest may not count on. */
static void msrs_written(void)
{
    static const uint64_t values[] = {1,        0x20,       0x10020,           0x20003,
                                      0x123456, 0x80000000, UINT64_C(1) << 63, UINT64_MAX};

    for (uint32_t msr = FIRST_MSR; msr <= LAST_MSR; msr++) {
        uint64_t before = 0;
        bool readable = msr_read(msr, &before);

        if (!may_be_written(msr) || (!readable && msr_write_gp(msr, 0))) {
            continue;
        }
        for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
            write_once(msr, values[i]);
            (void)msr_write(msr, before);
        }
    }
}

/* ---- Calls ---- */

static unsigned call(uint64_t control, uint64_t from, uint64_t to)
{
    struct hypercall_answer answer;

    memset(input, 0, sizeof input);
    answer = hypercall(control, from, to);
    return answer.returned ? answer.status : FAULT + (unsigned)this_vp()->fault.vector;
}

struct kinds {
    unsigned slow, fast, rep;
};

static struct kinds ask(unsigned code)
{
    return (struct kinds){
        .slow = call(code, gpa_of(input), gpa_of(output)),
        .fast = call(code | HV_HYPERCALL_INPUT_FAST, 0, 0),
        .rep = call(code | UINT64_C(1) << HV_HYPERCALL_INPUT_REP_COUNT_SHIFT, gpa_of(input),
                    gpa_of(output)),
    };
}

static void print_calls(unsigned from, unsigned to, const struct kinds *kinds)
{
    note("calls %x to %x of zeroes: by memory %x, in registers %x, as a list of one %x", from, to,
         kinds->slow, kinds->fast, kinds->rep);
}

static void codes(unsigned from, unsigned to)
{
    struct kinds same = ask(from);
    unsigned first = from;

    for (unsigned code = from + 1; code <= to; code++) {
        struct kinds kinds = ask(code);

        if (memcmp(&kinds, &same, sizeof kinds) != 0) {
            print_calls(first, code - 1, &same);
            first = code;
            same = kinds;
        }
    }
    print_calls(first, to, &same);
}

static void calls_of_every_code(void)
{
    codes(1, LAST_CODE);
    codes(FIRST_EXTENDED, LAST_EXTENDED);
}

/* ---- Control words ---- */

static const uint16_t known[] = {
    HvCallFlushVirtualAddressSpace,   HvCallFlushVirtualAddressList,
    HvCallNotifyLongSpinWait,         HvCallSendSyntheticClusterIpi,
    HvCallFlushVirtualAddressSpaceEx, HvCallFlushVirtualAddressListEx,
    HvCallSendSyntheticClusterIpiEx,  HvCallPostMessage,
    HvCallSignalEvent,
};

/* Bits 25:17 are the variable header's size, 43:32 the count, 59:48 the start of a list; bit 31 is
 * for a nested hypervisor; the others are reserved (TLFS 3.7). */
static void print_bits(uint16_t code, unsigned from, unsigned to, unsigned status)
{
    note("call %x with one of bits %u to %u: %x", code, from, to, status);
}

static void control_bits(uint16_t code)
{
    unsigned first = FIRST_BIT;
    unsigned same = 0;

    for (unsigned bit = FIRST_BIT; bit < 64; bit++) {
        unsigned status = call(code | UINT64_C(1) << bit, gpa_of(input), gpa_of(output));

        if (bit > first && status != same) {
            print_bits(code, first, bit - 1, same);
            first = bit;
        }
        same = status;
    }
    print_bits(code, first, 63, same);
}

static void addresses(uint16_t code)
{
    static const uint64_t beyond = UINT64_C(1) << 52;
    uint64_t page = gpa_of(input);

    note("call %x input at +1: %x", code, call(code, page + 1, gpa_of(output)));
    note("call %x input at +4: %x", code, call(code, page + 4, gpa_of(output)));
    note("call %x input over the page's end: %x", code, call(code, page + 4088, gpa_of(output)));
    note("call %x input beyond the space: %x", code, call(code, beyond, gpa_of(output)));
    note("call %x output beyond the space: %x", code, call(code, page, beyond));
}

static void control_words(void)
{
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        control_bits(known[i]);
        addresses(known[i]);
    }
}

static void establish(void)
{
    const char *failed = hypercall_establish();

    expect(failed == NULL, "step %s", failed);
}

static const struct test tests[] = {
    {"msrs_as_found", msrs_as_found},
    {"the_interface_is_established", establish},
    {"msrs_once_it_is", msrs_as_found},
    {"calls_of_every_code", calls_of_every_code},
    {"control_words", control_words},
    {"msrs_written", msrs_written},
};

const struct topic topic_survey = TOPIC("survey", tests);
