/* SPDX-License-Identifier: MIT */
/*
 * The hypercall decoder (TLFS 3): from the guest's registers to a handler and back.
 *
 * The way of a call: the mode's registers become a control word and two parameters (load); the
 * control word finds a row and is checked against it (check); the input block is copied once
 * (fetch); the handler decides; the output block is written once (finish); the result goes back
 * into the mode's registers (store).
 */
#include <hvtlfs/hypercall.h>

#include <hvtlfs/tlfs.h>

#include "state.h"

struct call_row {
    uint16_t code;
    uint8_t gate; /* HVTLFS_FEATURE_COUNT: refused */
    uint16_t input;
    uint16_t output;
    uint16_t (*handler)(struct hvti_call *call);
};

#define SIMPLE(name, gate_, input_, output_, handler_, clause)                                     \
    {name, HVTLFS_FEATURE_##gate_, input_, output_, hvti_##handler_},
#define REFUSED(name, clause) {name, HVTLFS_FEATURE_COUNT, 0, 0, NULL},

static const struct call_row rows[] = {
#include "hypercalls.def"
};

#undef SIMPLE
#undef REFUSED
#define SIMPLE(name, gate, input, output, handler, clause)                                         \
    _Static_assert((input) <= HVTI_CALL_INPUT_MAX, "input of " #name);                             \
    _Static_assert((output) <= HVTI_CALL_OUTPUT_MAX, "output of " #name);
#define REFUSED(name, clause)
#include "hypercalls.def"

/* The guest's registers by their role, whatever its mode (TLFS 3.7). */
struct abi {
    uint64_t control;
    uint64_t parameter[2]; /* input GPA and output GPA, or 16 bytes of fast input */
};

static const struct call_row *find_row(uint16_t code)
{
    size_t low = 0;
    size_t high = ARRAY_LEN(rows);

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (rows[middle].code == code) {
            return rows[middle].handler ? &rows[middle] : NULL;
        }
        if (rows[middle].code < code) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

static uint64_t pair(uint64_t high, uint64_t low)
{
    return high << 32 | (uint32_t)low;
}

static struct abi load(const struct hvtlfs_hypercall_regs *regs)
{
    if (regs->mode == HVTLFS_MODE_LONG64) {
        return (struct abi){regs->rcx, {regs->rdx, regs->r8}};
    }
    return (struct abi){pair(regs->rdx, regs->rax),
                        {pair(regs->rbx, regs->rcx), pair(regs->rdi, regs->rsi)}};
}

static void store(struct hvtlfs_hypercall_regs *regs, uint64_t result)
{
    if (regs->mode == HVTLFS_MODE_LONG64) {
        regs->rax = result;
        regs->changed = HVTLFS_CHANGED_RAX;
        return;
    }
    regs->rax = (uint32_t)result;
    regs->rdx = result >> 32;
    regs->changed = HVTLFS_CHANGED_RAX | HVTLFS_CHANGED_RDX;
}

/* TLFS 3.12.3: simple calls carry no repetitions, none here has a variable header. */
static bool control_fits(uint64_t control)
{
    const uint64_t must_be_zero =
        HV_HYPERCALL_INPUT_RSVD_Z_MASK | HV_HYPERCALL_INPUT_IS_NESTED |
        HV_HYPERCALL_INPUT_VARIABLE_HEADER_SIZE_MASK | HV_HYPERCALL_INPUT_REP_COUNT_MASK |
        HV_HYPERCALL_INPUT_REP_START_INDEX_MASK;

    return !(control & must_be_zero);
}

/* TLFS 3.6, 3.12.3: 8-byte aligned, within one page, inside the guest's space. */
static bool gpa_fits(const struct hvtlfs_partition *partition, uint64_t gpa, uint16_t size)
{
    return !(gpa & 7) && size <= HVTLFS_PAGE_SIZE - (gpa & PAGE_MASK) && gpa < partition->gpa_limit;
}

static uint16_t fetch(struct hvti_call *call, const struct call_row *row, const struct abi *abi)
{
    const struct hvtlfs_partition *partition = call->vp->partition;

    if (abi->control & HV_HYPERCALL_INPUT_FAST) {
        memcpy(call->input, abi->parameter, sizeof(abi->parameter));
        return HV_STATUS_SUCCESS;
    }
    if ((row->input && !gpa_fits(partition, abi->parameter[0], row->input)) ||
        (row->output && !gpa_fits(partition, abi->parameter[1], row->output))) {
        return HV_STATUS_INVALID_ALIGNMENT;
    }
    if (row->input &&
        !hvti_host_gpa_read(&partition->host, abi->parameter[0], call->input, row->input)) {
        return HV_STATUS_INVALID_ALIGNMENT;
    }
    return HV_STATUS_SUCCESS;
}

static uint16_t finish(const struct hvti_call *call, const struct call_row *row,
                       const struct abi *abi)
{
    if (row->output && !hvti_host_gpa_write(&call->vp->partition->host, abi->parameter[1],
                                            call->output, row->output)) {
        return HV_STATUS_INVALID_ALIGNMENT;
    }
    return HV_STATUS_SUCCESS;
}

static uint16_t dispatch(struct hvtlfs_vp *vp, const struct abi *abi)
{
    const struct call_row *row = find_row((uint16_t)abi->control);
    struct hvti_call call = {.vp = vp};
    uint16_t status;

    if (!row) {
        return HV_STATUS_INVALID_HYPERCALL_CODE;
    }
    /* First of all: who may not call learns nothing else (TLFS 3.12.2). */
    if (!hvti_has(vp->partition, (enum hvtlfs_feature)row->gate)) {
        return HV_STATUS_ACCESS_DENIED;
    }
    if (!control_fits(abi->control)) {
        return HV_STATUS_INVALID_HYPERCALL_INPUT;
    }
    status = fetch(&call, row, abi);
    if (status == HV_STATUS_SUCCESS) {
        status = row->handler(&call);
    }
    return status == HV_STATUS_SUCCESS ? finish(&call, row, abi) : status;
}

enum hvtlfs_hypercall_result hvtlfs_hypercall(struct hvtlfs_vp *vp,
                                              struct hvtlfs_hypercall_regs *regs)
{
    struct abi abi;

    regs->changed = 0;
    if (regs->cpl || regs->mode == HVTLFS_MODE_REAL) {
        return HVTLFS_HYPERCALL_UD;
    }
    abi = load(regs);
    store(regs, dispatch(vp, &abi));
    return HVTLFS_HYPERCALL_DONE;
}
