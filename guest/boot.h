/* SPDX-License-Identifier: MIT */
/*
 * What a host and the guest image agree on. Included by both sides.
 *
 * The image is an ELF64 file, loaded at its physical addresses, with two entries:
 *
 *  - e_entry, 64-bit: long mode (identity-mapped, or with paging off where an emulator allows that),
 *    interrupts off, RDI = physical address of a struct boot_info, RSI = number of the VP. Every VP
 *    enters here; VP 0 does the work, the others wait to be given some.
 *  - the PVH note (XEN_ELFNOTE_PHYS32_ENTRY), 32-bit protected mode without paging: VP 0 alone, no
 *    boot_info. The command line may say `vps=N`: the guest then starts N - 1 others itself, by INIT and
 *    SIPI to their local APICs, whose identifiers must be 1 to N - 1. `hole=ADDRESS` is hole_gpa below,
 *    `flags=N` are its flags if the host can do less than a real machine, `argument=N` is its argument.
 *
 * The guest prints by bytes to BOOT_PORT_DEBUG and ends by a doubleword to BOOT_PORT_EXIT, 0 meaning
 * that all is well. Under QEMU these are `-debugcon` and `isa-debug-exit`.
 */
#ifndef HVTLFS_GUEST_BOOT_H
#define HVTLFS_GUEST_BOOT_H

#include <stdint.h>

#define BOOT_MAGIC UINT64_C(0x544f4f4253464c54) /* "TLFSBOOT" */
#define BOOT_PORT_DEBUG 0xE9u
#define BOOT_PORT_EXIT 0xF4u
#define BOOT_PORT_PM_TIMER 0x608u /* read: the ACPI PM timer, 3.579545 MHz, 32 bits */
#define BOOT_PORT_DEVICE 0xEAu /* write: the device interrupts VP 0 with this vector; or a mark: */
#define BOOT_DEVICE_BEGIN 0x100u /* count exits from here */
#define BOOT_DEVICE_END 0x200u   /* to here */
#define BOOT_PORT_EXITS 0xEBu    /* read: the exits of all VPs so far, all ones where nobody counts */
#define BOOT_MAX_VPS 64u

/* Connections that a host may offer to the guest, for every VP and SINT: messages to that SINT, and
 * all its event flags. */
#define BOOT_MESSAGES 0x10000u /* + 16 * VP + SINT */
#define BOOT_EVENTS 0x20000u   /* + 16 * VP + SINT */

/* What the host can do; without a boot_info the guest takes a real machine for granted: all of it. */
enum boot_flags {
    BOOT_REFUSES_WRITES = 1u << 0, /* Stores to a read-only overlay fault. */
    BOOT_OVERLAYS_HOLES = 1u << 1, /* Overlays can stand where there is no RAM. */
    BOOT_HAS_APIC = 1u << 2,       /* There is a local APIC, with x2APIC mode if CPUID says so. */
    BOOT_SURVIVES_CRASH = 1u << 3, /* The guest goes on after it has reported a crash. */
    BOOT_SURVEY = 1u << 4,         /* Not a thing the host can do: print answers instead of judging. */
    BOOT_BENCH = 1u << 5,          /* Nor this: print what operations cost. */
    BOOT_APIC_PAGE = 1u << 6,      /* Nor this: leave the local APICs in xAPIC mode. */
};

/* All of it: a host takes away what it has not. */
#define BOOT_EVERYTHING (BOOT_REFUSES_WRITES | BOOT_OVERLAYS_HOLES | BOOT_HAS_APIC)

struct boot_info {
    uint64_t magic;     /* BOOT_MAGIC */
    uint32_t size;      /* sizeof(struct boot_info) */
    uint32_t flags;     /* enum boot_flags */
    uint32_t vp_count;  /* VPs that enter the image, 1 to BOOT_MAX_VPS */
    uint32_t argument;  /* for guests that take one: from the host's command line, or 0 */
    uint64_t ram_bytes; /* RAM from guest physical address 0 on */
    uint64_t hole_gpa;  /* A page below 4 GiB with nothing at it, or 0 */
};

#endif
