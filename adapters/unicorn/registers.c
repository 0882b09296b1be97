/* SPDX-License-Identifier: MIT */
#include "machine.h"

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
