/* SPDX-License-Identifier: MIT */
/* Virtual processors: their state, what happened to them, and giving them work. */
#ifndef HVTLFS_GUEST_VP_H
#define HVTLFS_GUEST_VP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "boot.h"
#include "layout.h"

/* What trap_entry() gets: as vectors.S pushes it. */
struct trap_frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8;
    uint64_t rbp, rdi, rsi, rdx, rcx, rbx, rax;
    uint64_t vector;
    uint64_t error;
    uint64_t rip, cs, rflags, rsp, ss;
};

/* The last fault inside a guard. */
struct fault {
    uint64_t vector;
    uint64_t error;
    uint64_t rip;
    uint64_t rax;
    uint64_t cs;
};

/* With an I/O permission bitmap that opens the first 256 ports to ring 3; the test that goes there
 * says why. The byte behind the bitmap must be all ones. */
struct tss {
    uint32_t reserved0;
    uint64_t rsp0;
    uint64_t rest[11];
    uint16_t reserved1;
    uint16_t io_map;
    uint8_t io_ports[32];
    uint8_t io_end;
} __attribute__((packed));

/* Arrivals of one vector on one VP. */
struct arrivals {
    volatile uint32_t count;
    volatile bool no_eoi;  /* the handler sends none: the vector is an auto-EOI one */
    volatile uint64_t tsc; /* of the last one */
};

struct vp {
    uint64_t guard; /* stack pointer of the innermost guard_run(), 0 = none */
    struct tss tss;
    uint32_t number;
    volatile uint32_t present;
    struct fault fault;
    void (*volatile work)(void *);
    void *volatile work_argument;
    volatile bool work_returned;
    struct arrivals arrivals[256];

    /* How this VP ends interrupts: by the APIC's own register, or as below; see apic_eoi(). */
    volatile uint32_t *assist; /* the word with "no EOI required", or NULL */
    volatile bool eoi_by_msr;  /* HV_X64_MSR_EOI */
    volatile uint32_t eois_saved;
    volatile uint32_t eois_written;

    /* Called in the handler of an interrupt before its EOI, or NULL. */
    void (*volatile on_interrupt)(uint64_t vector);
};

_Static_assert(offsetof(struct vp, guard) == VP_GUARD, "as the assembler has it");
_Static_assert(offsetof(struct vp, tss.rsp0) == VP_TSS_RSP0, "as the assembler has it");
_Static_assert(offsetof(struct tss, io_ports) == 104, "the processor's layout");
_Static_assert(sizeof(struct vp) + 4096 <= VP_AREA_SIZE, "room for the stack");

/* The VP this runs on. */
struct vp *this_vp(void);

/* VP n's struct, whether it is there or not. */
struct vp *vp_number(unsigned n);

/* How many VPs there are. */
unsigned vp_count(void);

/* What the host told; zeros where it told nothing. */
const struct boot_info *boot_info(void);

/* Every VP calls this once, with VP 0 first; its tables and interrupts stubs are then in force. */
void vp_enter(unsigned number);

/* VP 0: keep the host's description, make the descriptor tables, then let the others in. Where the host
 * gave a command line instead, start them. */
void vp_open(const void *told);

/* The others: do what vp_run() gives, for ever. */
void vp_serve(void) __attribute__((noreturn));

/* Run a function inside a guard on VP n (any but the caller: waits; the caller: just runs).
 * Returns whether it returned; if not, vp_number(n)->fault says why. */
bool vp_run(unsigned n, void (*function)(void *), void *argument);

/* The same in two halves, for any VP but the caller. */
void vp_start(unsigned n, void (*function)(void *), void *argument);
bool vp_finished(unsigned n);
bool vp_wait(unsigned n);

/* guard_run() is in vectors.S: whether function(argument) returned; if not, this_vp()->fault. */
bool guard_run(void (*function)(void *), void *argument);

#endif
