/* SPDX-License-Identifier: MIT */
/* The hypercall interface as a guest sees it: establishing it and calling. */
#ifndef HVTLFS_GUEST_HYPERCALL_H
#define HVTLFS_GUEST_HYPERCALL_H

#include <stdbool.h>
#include <stdint.h>

/* In hypercall.S. The 64-bit convention: RCX = control, RDX = input, R8 = output. */
uint64_t hypercall_at(const void *page, uint64_t control, uint64_t input, uint64_t output);

/* Every register that a call may read or change, in the order of hypercall.S. */
struct hypercall_registers {
    uint64_t rax, rbx, rcx, rdx, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15;
    uint64_t xmm[6][2];
};

void hypercall_registers_at(const void *page, struct hypercall_registers *registers);

/* What a guarded call gave. */
struct hypercall_answer {
    bool returned;   /* false: it faulted, see this_vp()->fault */
    uint64_t result; /* RAX */
    unsigned status; /* HV_STATUS in it */
    unsigned reps;   /* repetitions completed in it */
};

/* Where the hypercall page is mapped for execution; NULL before hypercall_establish(). */
void *hypercall_page(void);
uint64_t hypercall_page_gpa(void);

/* The page's own body says "no such call" without leaving the guest, which the requirements document
 * allows: then no check of TLFS 3 can be expected of it. */
bool hypercall_page_never_exits(void);

/* A guarded call through some mapping of the page. */
struct hypercall_answer hypercall_through(const void *mapping, uint64_t control, uint64_t input,
                                          uint64_t output);

/* Guarded calls on the calling VP. Fast: RDX and R8 are the input. */
struct hypercall_answer hypercall(uint64_t control, uint64_t input, uint64_t output);
bool hypercall_registers(struct hypercall_registers *registers);

/* In ring 3; returned says that control came back behind the call. */
struct hypercall_answer hypercall_from_ring3(uint64_t control, uint64_t input, uint64_t output);

/* Any other code in ring 3: whether it returned. If not, see this_vp()->fault. */
bool ring3_run(const void *code);

/* The nine steps of TLFS 3.13 "Establishing the hypercall interface". Returns NULL or the step that
 * failed; harmless when the interface is established already. */
const char *hypercall_establish(void);

/* Put the page back where hypercall_establish() had it, after a test that moved or disabled it. */
bool hypercall_restore(void);

/* The identity this guest reports: open source, an OS type nobody has, version 1. */
uint64_t hypercall_identity(void);

#endif
