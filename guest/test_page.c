/* SPDX-License-Identifier: MIT */
/* TLFS 3.13, 5.2.1, 8.8: the hypercall page and what it covers. */
#include <hvtlfs/tlfs.h>

#include <stddef.h>

#include "guard.h"
#include "hypercall.h"
#include "memory.h"
#include "tests.h"
#include "vp.h"

enum { UNKNOWN_CODE = 0x3FFF, WINDOW_LAST_PAGE = 1 };

static uint8_t page_a[PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));
static uint8_t page_b[PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));

/* Enough places of a page to tell two contents apart, without thousands of emulated loads. */
static const unsigned samples[] = {0, 1, 2, 3, 11, 16, 64, 255, 1024, 2047, 4088, 4095};
enum { SAMPLES = sizeof samples / sizeof samples[0] };

static void fill(volatile uint8_t *page, uint8_t seed)
{
    for (unsigned i = 0; i < SAMPLES; i++) {
        page[samples[i]] = (uint8_t)(seed + i);
    }
}

static bool filled(const volatile uint8_t *page, uint8_t seed)
{
    for (unsigned i = 0; i < SAMPLES; i++) {
        if (page[samples[i]] != (uint8_t)(seed + i)) {
            return false;
        }
    }
    return true;
}

static bool same(const volatile uint8_t *page, const volatile uint8_t *other)
{
    for (unsigned i = 0; i < SAMPLES; i++) {
        if (page[samples[i]] != other[samples[i]]) {
            return false;
        }
    }
    return true;
}

static bool place(uint64_t gpa, bool enabled)
{
    return msr_write(HV_X64_MSR_HYPERCALL, gpa | (enabled ? HV_MSR_HYPERCALL_ENABLE : 0));
}

/* An unknown code gives status 2 (TLFS 3.12), so the page is alive there. */
static void alive_at(const volatile void *page)
{
    struct hypercall_answer answer =
        hypercall_through((const void *)page, UNKNOWN_CODE | HV_HYPERCALL_INPUT_FAST, 0, 0);

    expect(answer.returned, "a call to %lx faults with vector %lx", gpa_of(page),
           this_vp()->fault.vector);
    expect(!answer.returned || answer.status == HV_STATUS_INVALID_HYPERCALL_CODE,
           "a call to %lx gives %lx", gpa_of(page), answer.result);
}

static void page_has_code(void)
{
    const volatile uint8_t *page = hypercall_page();
    unsigned nonzero = 0;

    for (unsigned i = 0; i < 16; i++) {
        nonzero += page[i] != 0;
    }
    note("the page begins with %x %x %x %x", page[0], page[1], page[2], page[3]);
    expect(nonzero != 0, "its first 16 bytes are zero");
    alive_at(page);
}

static void page_is_stable(void)
{
    static uint8_t before[PAGE_BYTES];
    const volatile uint8_t *page = hypercall_page();

    for (unsigned i = 0; i < SAMPLES; i++) {
        before[samples[i]] = page[samples[i]];
    }
    alive_at(page);
    expect(same(page, before), "its bytes change with a call");
}

static void page_refuses_writes(void)
{
    volatile uint8_t *page = hypercall_page();
    uint8_t first = page[0];

    if ((boot_info()->flags & BOOT_REFUSES_WRITES) == 0) {
        skip("this host cannot refuse stores to memory");
        return;
    }
    if (expect(!store8(page, (uint8_t)~first), "the store does not fault")) {
        uint64_t vector = this_vp()->fault.vector;

        /* #GP by TLFS 3.13, #MC by 8.8. */
        expect(vector == VECTOR_GP || vector == VECTOR_MC, "the store gives vector %lx", vector);
    }
    expect(page[0] == first, "its first byte is %x now, was %x", page[0], first);
    expect(!store8(page + PAGE_BYTES - 1, 0), "a store to its last byte does not fault");
}

static void disabling_uncovers(void)
{
    fill(page_a, 0x11);
    expect(place(gpa_of(page_a), true), "enabling faults");
    expect(!filled(page_a, 0x11), "the page does not cover what lies below");
    alive_at(page_a);
    expect(place(gpa_of(page_a), false), "disabling faults");
    expect(filled(page_a, 0x11), "the covered bytes do not come back");
    expect(store8(page_a, 0x77) && page_a[0] == 0x77, "the page is not writable again");
    expect(hypercall_restore(), "enabling where it was faults");
}

static void moving_uncovers(void)
{
    fill(page_a, 0x21);
    fill(page_b, 0x42);
    expect(place(gpa_of(page_a), true), "enabling faults");
    expect(place(gpa_of(page_b), true), "moving faults");
    expect(filled(page_a, 0x21), "the bytes at the old place do not come back");
    expect(!filled(page_b, 0x42), "the new place is not covered");
    alive_at(page_b);
    expect(place(gpa_of(page_a), true), "moving back faults");
    expect(filled(page_b, 0x42), "the bytes at the second place do not come back");
    alive_at(page_a);
    expect(hypercall_restore(), "enabling where it was faults");
    expect(filled(page_a, 0x21), "the bytes at the first place do not come back");
}

static void rewriting_keeps(void)
{
    fill(page_a, 0x31);
    expect(place(gpa_of(page_a), true), "enabling faults");
    expect(place(gpa_of(page_a), true), "writing the same again faults");
    alive_at(page_a);
    expect(place(gpa_of(page_a), false), "disabling faults");
    expect(filled(page_a, 0x31), "the covered bytes do not come back");
    expect(hypercall_restore(), "enabling where it was faults");
}

/* What is covered is code here: whichever is on top runs, also where an emulator keeps translations. */
static void code_runs_from_what_is_on_top(void)
{
    static const uint8_t own_code[] = {0xB8, 0x78, 0x56, 0x34, 0x12, 0xC3}; /* mov eax, ...; ret */
    struct hypercall_answer answer;

    memcpy(page_a, own_code, sizeof own_code);
    answer = hypercall_through(page_a, 0, 0, 0);
    expect(answer.returned && answer.result == 0x12345678, "the code gives %lx", answer.result);
    expect(place(gpa_of(page_a), true), "enabling faults");
    alive_at(page_a);
    expect(place(gpa_of(page_a), false), "disabling faults");
    answer = hypercall_through(page_a, 0, 0, 0);
    expect(answer.returned && answer.result == 0x12345678, "the code gives %lx afterwards",
           answer.result);
    expect(hypercall_restore(), "enabling where it was faults");
}

/* TLFS 5.2.1: an overlay needs nothing below it. */
static void covers_a_hole(void)
{
    uint64_t hole = boot_info()->hole_gpa;
    uint8_t before;

    if (hole == 0 || (boot_info()->flags & BOOT_OVERLAYS_HOLES) == 0) {
        skip("no address without memory is known, or this host cannot put a page there");
        return;
    }
    before = at_gpa(hole)[0]; /* buses differ in what they read where nobody answers */
    expect(place(hole, true), "enabling at %lx faults", hole);
    alive_at(at_gpa(hole));
    expect(place(hole, false), "disabling faults");
    expect(at_gpa(hole)[0] == before, "the hole reads as %x", at_gpa(hole)[0]);
    expect(hypercall_restore(), "enabling where it was faults");
}

static void covers_the_last_page(void)
{
    uint64_t last = (UINT64_C(1) << gpa_bits()) - PAGE_BYTES;

    if ((boot_info()->flags & BOOT_OVERLAYS_HOLES) == 0) {
        skip("this host cannot put a page where there is no memory");
        return;
    }
    expect(place(last, true), "enabling at %lx faults", last);
    alive_at(window_map(WINDOW_LAST_PAGE, last));
    expect(hypercall_restore(), "enabling where it was faults");
}

static void zero_identity_disables(void)
{
    uint64_t value = 0;

    fill(page_a, 0x51);
    expect(place(gpa_of(page_a), true), "enabling faults");
    expect(msr_write(HV_X64_MSR_GUEST_OS_ID, 0), "writing 0 to the identity faults");
    expect(filled(page_a, 0x51), "the page is still there");
    expect(msr_read(HV_X64_MSR_HYPERCALL, &value), "reading the MSR faults");
    note("HV_X64_MSR_HYPERCALL reads %lx then", value);
    expect(msr_write(HV_X64_MSR_GUEST_OS_ID, hypercall_identity()), "writing the identity faults");
    expect(hypercall_restore(), "enabling where it was faults");
    alive_at(hypercall_page());
    expect(filled(page_a, 0x51), "the covered bytes do not come back");
}

/* TLFS 3.13: bits 11:2 are RsvdP, so a guest that writes back what it read must find them. */
static void reserved_bits_are_preserved(void)
{
    uint64_t written = hypercall_page_gpa() | 0xA58 | HV_MSR_HYPERCALL_ENABLE;
    uint64_t value = 0;

    expect(msr_write(HV_X64_MSR_HYPERCALL, written), "the write faults");
    expect(msr_read(HV_X64_MSR_HYPERCALL, &value), "the read faults");
    expect(value == written, "%lx reads back as %lx", written, value);
    alive_at(hypercall_page());
    expect(hypercall_restore(), "enabling where it was faults");
}

static void beyond_the_space_faults(void)
{
    uint64_t beyond = UINT64_C(1) << gpa_bits();
    uint64_t before = 0;
    uint64_t after = 0;

    expect(msr_read(HV_X64_MSR_HYPERCALL, &before), "the read faults");
    expect(msr_write_gp(HV_X64_MSR_HYPERCALL, beyond | HV_MSR_HYPERCALL_ENABLE),
           "no #GP for %lx with addresses of %u bits", beyond, gpa_bits());
    expect(msr_read(HV_X64_MSR_HYPERCALL, &after) && before == after, "%lx became %lx", before,
           after);
    alive_at(hypercall_page());
}

static const struct test tests[] = {
    {"hypercall_page_is_readable_and_executable", page_has_code},
    {"hypercall_page_does_not_change", page_is_stable},
    {"hypercall_page_refuses_writes", page_refuses_writes},
    {"disabling_the_page_uncovers_what_was_below", disabling_uncovers},
    {"moving_the_page_uncovers_what_was_below", moving_uncovers},
    {"enabling_the_page_twice_loses_nothing", rewriting_keeps},
    {"code_runs_from_what_is_on_top", code_runs_from_what_is_on_top},
    {"hypercall_page_needs_no_memory_below", covers_a_hole},
    {"hypercall_page_may_be_the_last_of_the_space", covers_the_last_page},
    {"zeroing_the_identity_disables_the_page", zero_identity_disables},
    {"reserved_bits_of_hypercall_msr_are_preserved", reserved_bits_are_preserved},
    {"page_beyond_the_address_space_faults", beyond_the_space_faults},
};

const struct topic topic_page = TOPIC("hypercall page (TLFS 3.13, 5.2.1)", tests);
