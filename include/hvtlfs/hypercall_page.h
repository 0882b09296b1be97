/* SPDX-License-Identifier: MIT */
/**
 * @file hypercall_page.h
 * Assembling the hypercall page: what a guest's CALL runs into. No partition needed.
 */
#ifndef HVTLFS_HYPERCALL_PAGE_H
#define HVTLFS_HYPERCALL_PAGE_H

#include <stddef.h>
#include <stdint.h>

#include <hvtlfs/export.h>
#include <hvtlfs/status.h>

HVTLFS_BEGIN_DECLS

/** How the hypercall page leaves the guest. */
enum hvtlfs_trap {
    HVTLFS_TRAP_NONE = 0,    /**< It does not: HV_STATUS_INVALID_HYPERCALL_CODE without an exit. */
    HVTLFS_TRAP_VMCALL = 1,  /**< VMCALL, Intel's instruction. */
    HVTLFS_TRAP_VMMCALL = 2, /**< VMMCALL, AMD's instruction. */
    HVTLFS_TRAP_CUSTOM = 3,  /**< The host's own instructions, 1 to 16 bytes, followed by RET. */
};

/**
 * Assemble a hypercall page.
 *
 * The code stands at offset 0, ends in a near return and means the same in 32-bit protected and in
 * 64-bit mode; every other byte is INT3 (0xCC), so a stray jump traps. With #HVTLFS_TRAP_NONE it
 * is the requirements document's own body: mov eax,2; mov edx,0; ret.
 *
 * @param page      #HVTLFS_PAGE_SIZE (4096) bytes, overwritten on success only
 * @param trap      which instruction
 * @param code      for #HVTLFS_TRAP_CUSTOM the instructions; they must leave all registers but the
 *                  result as they are; otherwise ignored
 * @param code_size their length in bytes, 1 to 16; otherwise ignored
 * @return #HVTLFS_OK; #HVTLFS_ERR_TRAP for an unknown trap or a custom one of a wrong length;
 *         #HVTLFS_ERR_ARGUMENT when a needed pointer is NULL
 *
 * Pure; any thread. Source: TLFS 3.13; requirements document p. 8.
 */
HVTLFS_API enum hvtlfs_status hvtlfs_hypercall_page_assemble(uint8_t *page, enum hvtlfs_trap trap,
                                                             const uint8_t *code,
                                                             size_t code_size);

HVTLFS_END_DECLS

#endif
