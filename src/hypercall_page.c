/* SPDX-License-Identifier: MIT */
#include <hvtlfs/hypercall_page.h>

#include <hvtlfs/host.h>

#include "util.h"

enum {
    INT3 = 0xCC,
    RET = 0xC3,
    CUSTOM_MAX = 16,
};

/*
 * Requirements document p. 8. The encodings are the same in 32- and 64-bit mode, where writing EAX
 * and EDX also clears the upper halves: RAX = EDX:EAX = HV_STATUS_INVALID_HYPERCALL_CODE.
 */
static const uint8_t no_hypercalls[] = {0xB8, 2, 0, 0, 0, 0xBA, 0, 0, 0, 0};
static const uint8_t vmcall[] = {0x0F, 0x01, 0xC1};
static const uint8_t vmmcall[] = {0x0F, 0x01, 0xD9};

enum hvtlfs_status hvtlfs_hypercall_page_assemble(uint8_t *page, enum hvtlfs_trap trap,
                                                  const uint8_t *code, size_t code_size)
{
    switch (trap) {
    case HVTLFS_TRAP_NONE:
        code = no_hypercalls;
        code_size = sizeof(no_hypercalls);
        break;
    case HVTLFS_TRAP_VMCALL:
        code = vmcall;
        code_size = sizeof(vmcall);
        break;
    case HVTLFS_TRAP_VMMCALL:
        code = vmmcall;
        code_size = sizeof(vmmcall);
        break;
    case HVTLFS_TRAP_CUSTOM:
        if (code_size < 1 || code_size > CUSTOM_MAX) {
            return HVTLFS_ERR_TRAP;
        }
        break;
    default:
        return HVTLFS_ERR_TRAP;
    }
    if (!page || !code) {
        return HVTLFS_ERR_ARGUMENT;
    }
    memset(page, INT3, HVTLFS_PAGE_SIZE);
    memcpy(page, code, code_size);
    page[code_size] = RET;
    return HVTLFS_OK;
}
