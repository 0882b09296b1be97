/* SPDX-License-Identifier: MIT */
/**
 * @file hypercall.h
 * The third exit: the hypercall.
 */
#ifndef HVTLFS_HYPERCALL_H
#define HVTLFS_HYPERCALL_H

#include <stdint.h>

#include <hvtlfs/export.h>
#include <hvtlfs/partition.h>

HVTLFS_BEGIN_DECLS

/** The mode the calling VP is in (TLFS 3.7: 64-bit if EFER.LMA and CS.L are both set). */
enum hvtlfs_cpu_mode {
    HVTLFS_MODE_REAL = 0,        /**< Real or virtual-8086 mode, or protection off: #UD. */
    HVTLFS_MODE_PROTECTED32 = 1, /**< Protected mode, not 64-bit: 32-bit register convention. */
    HVTLFS_MODE_LONG64 = 2,      /**< 64-bit mode. */
};

/** Bits of struct hvtlfs_hypercall_regs's `changed`: which registers the host must write back. */
enum hvtlfs_changed {
    HVTLFS_CHANGED_RAX = 1u << 0, /**< RAX. */
    HVTLFS_CHANGED_RCX = 1u << 1, /**< RCX. */
    HVTLFS_CHANGED_RDX = 1u << 2, /**< RDX. */
    HVTLFS_CHANGED_R8 = 1u << 3,  /**< R8. */
    HVTLFS_CHANGED_XMM = 1u << 4, /**< Any of XMM0 to XMM5. */
};

/** One XMM register: `half[0]` holds bits 63:0, `half[1]` bits 127:64. */
struct hvtlfs_xmm {
    uint64_t half[2]; /**< Low half first. */
};

/** The guest's registers at a hypercall. */
struct hvtlfs_hypercall_regs {
    uint64_t rax;             /**< Result; input in the 32-bit convention (EAX). */
    uint64_t rbx;             /**< EBX in the 32-bit convention. */
    uint64_t rcx;             /**< Hypercall input value; ECX in the 32-bit convention. */
    uint64_t rdx;             /**< Input; EDX in the 32-bit convention. */
    uint64_t rsi;             /**< ESI in the 32-bit convention. */
    uint64_t rdi;             /**< EDI in the 32-bit convention. */
    uint64_t r8;              /**< Output address or second input. */
    struct hvtlfs_xmm xmm[6]; /**< XMM0 to XMM5; read only for fast calls of more than 16 bytes. */
    enum hvtlfs_cpu_mode mode; /**< In: the VP's mode. */
    uint8_t cpl;               /**< In: the current privilege level, 0 to 3. */
    uint32_t changed;          /**< Out: bits of enum hvtlfs_changed; no other register has changed. */
    uint64_t fault_gpa;        /**< Out, with #HVTLFS_HYPERCALL_INTERCEPT: the address that is no memory. */
    uint32_t fault_access;     /**< Out, likewise: #HVTLFS_ACCESS_READ or #HVTLFS_ACCESS_WRITE. */
};

/** What the host has to do after a hypercall. */
enum hvtlfs_hypercall_result {
    HVTLFS_HYPERCALL_DONE = 0,     /**< Write back what `changed` names, advance past the instruction, let
                                        pending interrupts in. */
    HVTLFS_HYPERCALL_UD = 1,       /**< Inject #UD; no register has changed. */
    HVTLFS_HYPERCALL_CONTINUE = 2, /**< Write back what `changed` names, leave RIP at the instruction, let
                                        pending interrupts in: the guest calls again (TLFS 3.3). */
    HVTLFS_HYPERCALL_INTERCEPT = 3, /**< A parameter lies inside the guest's space, but gpa_read or gpa_write
                                         found no memory at `fault_gpa`: the memory intercept of TLFS
                                         3.12.3. Write back what `changed` names (the progress of a rep
                                         call), leave RIP at the instruction and then either provide the
                                         memory and resume the guest, stop the guest, or, where in
                                         doubt, call hvtlfs_hypercall_fail() with
                                         HV_STATUS_INVALID_PARAMETER (5) and go on as with DONE. */
};

/**
 * A hypercall of the guest.
 *
 * @param vp   the VP that calls
 * @param regs in: its registers; out: its registers with the result, and `changed`
 * @return what to do next. The HV_STATUS is in bits 15:0 of RAX (EAX with EDX = 0 above in the 32-bit
 *         convention), completed repetitions in bits 43:32.
 *
 * Bounded work: one header, and list elements up to the budget of the configuration. Guest memory is
 * read once, before the handler decides. Any callback may run, on this thread. Source: TLFS 3.5-3.8;
 * docs/HYPERCALLS.md has the calls and which bad input gives which status.
 */
HVTLFS_API HVTLFS_MUST_USE enum hvtlfs_hypercall_result hvtlfs_hypercall(
    struct hvtlfs_vp *vp, struct hvtlfs_hypercall_regs *regs);

/**
 * End a call that gave #HVTLFS_HYPERCALL_INTERCEPT with a status after all.
 *
 * @param regs   as hvtlfs_hypercall() left them; the result register and `changed` are set, with the
 *               repetitions completed so far
 * @param status the HV_STATUS the guest gets
 *
 * Pure; any thread. Afterwards do as with #HVTLFS_HYPERCALL_DONE.
 */
HVTLFS_API void hvtlfs_hypercall_fail(struct hvtlfs_hypercall_regs *regs, uint16_t status);

HVTLFS_END_DECLS

#endif
