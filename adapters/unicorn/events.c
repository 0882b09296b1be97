/* SPDX-License-Identifier: MIT */
/*
 * Exceptions and interrupts. Unicorn delivers none, so the guest's own tables are walked here and the
 * VP is put at its handler.
 *
 * Two things stand in the way. Nobody may raise the privilege level from outside: writing CS changes
 * the selector only. And Unicorn takes every exception for one inside the handler of the last, which
 * ends in a triple fault, because it never delivers any. A context saved in ring 0 at the beginning of
 * a turn helps against both: restoring it brings back ring 0 and no exception; what the VP can have
 * changed since then is carried over. (SYSCALL and SYSRET are not known here.)
 */
#include <string.h>

#include "machine.h"

enum {
    FLAG_TF = 0x100,
    FLAG_IF = 0x200,
    FLAG_NT = 0x4000,
    FLAG_RF = 0x10000,
    GATE_PRESENT = 0x80,
    GATE_TRAP_BIT = 1,
    TSS_RSP0 = 4,
    TSS_IST1 = 36,
    VECTOR_PF = 14,
};

/* A gate of the interrupt descriptor table in long mode. */
struct gate {
    uint16_t offset_low;
    uint16_t selector;
    uint8_t stack;
    uint8_t type;
    uint16_t offset_middle;
    uint32_t offset_high;
    uint32_t reserved;
};

/* What an event pushes, lowest address first; the error code is below it. */
struct pushed {
    uint64_t rip, cs, rflags, rsp, ss;
};

uint32_t event_cpl(const struct machine_vp *vp)
{
    return (uint32_t)register_get(vp, UC_X86_REG_CS) & 3;
}

void event_turn_begins(struct machine_vp *vp)
{
    if (event_cpl(vp) == 0) {
        vp->ring0_saved = uc_context_save(vp->uc, vp->ring0) == UC_ERR_OK;
    }
}

static bool return_to_ring0(struct machine_vp *vp)
{
    struct registers registers = {0};

    registers_get(vp, &registers);
    if (!vp->ring0_saved || uc_context_restore(vp->uc, vp->ring0) != UC_ERR_OK) {
        return false;
    }
    registers_put(vp, &registers);
    return true;
}

static bool gate_read(const struct machine_vp *vp, uint32_t vector, struct gate *gate)
{
    uc_x86_mmr idtr = {0};

    (void)uc_reg_read(vp->uc, UC_X86_REG_IDTR, &idtr);
    return vector * sizeof *gate + sizeof *gate - 1 <= idtr.limit &&
           memory_read_virtual(vp, idtr.base + vector * sizeof *gate, gate, sizeof *gate) &&
           (gate->type & GATE_PRESENT) != 0;
}

/* The stack the handler gets: one of the TSS's, or the present one. */
static bool stack_for(const struct machine_vp *vp, const struct gate *gate, uint64_t *rsp)
{
    uc_x86_mmr tr = {0};
    uint64_t offset = TSS_RSP0;

    if ((gate->stack & 7) == 0 && event_cpl(vp) == 0) {
        *rsp = register_get(vp, UC_X86_REG_RSP);
        return true;
    }
    if ((gate->stack & 7) != 0) {
        offset = TSS_IST1 + 8 * ((gate->stack & 7u) - 1);
    }
    (void)uc_reg_read(vp->uc, UC_X86_REG_TR, &tr);
    return memory_read_virtual(vp, tr.base + offset, rsp, sizeof *rsp);
}

static bool pushes_error(uint32_t vector)
{
    return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21;
}

static bool push_frame(struct machine_vp *vp, uint64_t *rsp, const uint64_t *error)
{
    struct pushed frame = {
        .rip = register_get(vp, UC_X86_REG_RIP),
        .cs = register_get(vp, UC_X86_REG_CS),
        .rflags = register_get(vp, UC_X86_REG_RFLAGS),
        .rsp = register_get(vp, UC_X86_REG_RSP),
        .ss = register_get(vp, UC_X86_REG_SS),
    };

    *rsp = (*rsp & ~UINT64_C(15)) - sizeof frame;
    if (!memory_write_virtual(vp, *rsp, &frame, sizeof frame)) {
        return false;
    }
    if (error != NULL) {
        *rsp -= sizeof *error;
        return memory_write_virtual(vp, *rsp, error, sizeof *error);
    }
    return true;
}

static void enter_handler(struct machine_vp *vp, const struct gate *gate, uint64_t rsp, bool raised)
{
    uint64_t flags = register_get(vp, UC_X86_REG_RFLAGS);

    flags &= ~(uint64_t)(FLAG_TF | FLAG_NT | FLAG_RF);
    if ((gate->type & GATE_TRAP_BIT) == 0) {
        flags &= ~(uint64_t)FLAG_IF;
    }
    register_set(vp, UC_X86_REG_RFLAGS, flags);
    register_set(vp, UC_X86_REG_CS, gate->selector);
    if (raised) {
        register_set(vp, UC_X86_REG_SS, 0);
    }
    register_set(vp, UC_X86_REG_RSP, rsp);
    register_set(vp, UC_X86_REG_RIP,
                 gate->offset_low | (uint64_t)gate->offset_middle << 16 |
                     (uint64_t)gate->offset_high << 32);
}

static void deliver(struct machine_vp *vp, uint32_t vector, const uint64_t *error)
{
    bool raised = event_cpl(vp) == 3;
    bool from_unicorn = vp->exit == EXIT_EXCEPTION;
    struct gate gate;
    uint64_t rsp;

    vp->halted = false;
    if (!gate_read(vp, vector, &gate) || !stack_for(vp, &gate, &rsp) ||
        !push_frame(vp, &rsp, error) || ((raised || from_unicorn) && !return_to_ring0(vp))) {
        vp->machine->trouble = "an exception or interrupt found no handler";
        return;
    }
    enter_handler(vp, &gate, rsp, raised);
}

void event_exception(struct machine_vp *vp, uint32_t vector, uint32_t error)
{
    uint64_t code = error;

    tally_count(&vp->tally.faults, vector);
    if (vector == VECTOR_PF && event_cpl(vp) == 3) {
        code |= 4; /* Unicorn does not tell more of a page fault than its address. */
    }
    deliver(vp, vector, pushes_error(vector) ? &code : NULL);
}

bool event_interrupts_open(const struct machine_vp *vp)
{
    return !vp->shadow && (register_get(vp, UC_X86_REG_RFLAGS) & FLAG_IF) != 0;
}

void event_interrupt(struct machine_vp *vp, uint32_t vector)
{
    tally_count(&vp->tally.interrupts, vector);
    deliver(vp, vector, NULL);
}
