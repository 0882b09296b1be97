/* SPDX-License-Identifier: MIT */
#include "machine.h"

/* All but MSRs, in the order in which they can be written: CR4.PAE before CR0.PG. */
static const int values[REGISTER_VALUES] = {
    UC_X86_REG_RAX, UC_X86_REG_RBX, UC_X86_REG_RCX, UC_X86_REG_RDX,    UC_X86_REG_RSI,
    UC_X86_REG_RDI, UC_X86_REG_RBP, UC_X86_REG_RSP, UC_X86_REG_R8,     UC_X86_REG_R9,
    UC_X86_REG_R10, UC_X86_REG_R11, UC_X86_REG_R12, UC_X86_REG_R13,    UC_X86_REG_R14,
    UC_X86_REG_R15, UC_X86_REG_RIP, UC_X86_REG_CR2, UC_X86_REG_RFLAGS, UC_X86_REG_CR4,
    UC_X86_REG_CR3, UC_X86_REG_CR0, UC_X86_REG_CS,  UC_X86_REG_DS,     UC_X86_REG_ES,
    UC_X86_REG_SS,
};
static const int tables[REGISTER_TABLES] = {UC_X86_REG_GDTR, UC_X86_REG_IDTR, UC_X86_REG_LDTR,
                                            UC_X86_REG_TR};

uint64_t register_get(const struct machine_vp *vp, int which)
{
    uint64_t value = 0;

    (void)uc_reg_read(vp->uc, which, &value);
    return value;
}

void register_set(struct machine_vp *vp, int which, uint64_t value)
{
    (void)uc_reg_write(vp->uc, which, &value);
}

void register_skip(struct machine_vp *vp)
{
    register_set(vp, UC_X86_REG_RIP, register_get(vp, UC_X86_REG_RIP) + vp->exit_size);
}

void registers_get(const struct machine_vp *vp, struct registers *registers)
{
    for (int i = 0; i < REGISTER_VALUES; i++) {
        registers->values[i] = register_get(vp, values[i]);
    }
    for (int i = 0; i < REGISTER_TABLES; i++) {
        (void)uc_reg_read(vp->uc, tables[i], &registers->tables[i]);
    }
    for (int i = 0; i < REGISTER_XMMS; i++) {
        (void)uc_reg_read(vp->uc, UC_X86_REG_XMM0 + i, registers->xmm[i]);
    }
}

void registers_put(struct machine_vp *vp, const struct registers *registers)
{
    for (int i = 0; i < REGISTER_VALUES; i++) {
        register_set(vp, values[i], registers->values[i]);
    }
    for (int i = 0; i < REGISTER_TABLES; i++) {
        (void)uc_reg_write(vp->uc, tables[i], &registers->tables[i]);
    }
    for (int i = 0; i < REGISTER_XMMS; i++) {
        (void)uc_reg_write(vp->uc, UC_X86_REG_XMM0 + i, registers->xmm[i]);
    }
}
