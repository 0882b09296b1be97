/* SPDX-License-Identifier: MIT */
/*
 * The hypercall decoder (TLFS 3): from the guest's registers to a handler and back.
 *
 * The way of a call: the mode's registers become a control word and two parameters (load); the
 * control word finds a row and is checked against it (check_control); the blocks are placed in
 * registers or memory (place); the header is copied once (fetch_header); the handler decides, for a
 * list some elements at a time (run_simple, run_reps); the outcome goes back into the mode's
 * registers (store).
 */
#include <hvtlfs/hypercall.h>

#include <hvtlfs/tlfs.h>

#include "state.h"

/* What a call's blocks are is said in the same words for our calls and for a host's own. */
struct call_row {
    _Alignas(64) struct hvtlfs_call_handler shape; /* without its handler; a cache line each */
    uint64_t gate;                                 /* bits 1 << enum hvtlfs_feature */
    uint16_t (*handler)(struct hvti_call *call);   /* NULL: `status` is the answer */
    uint16_t status;
    uint16_t counter;
    bool small; /* see small_row() */
};

#define CALL(name, gate_, input_, most_, reps_, in_, out_, output_, handler_, clause_)             \
    {.shape = {.code = (name),                                                                     \
               .rep = (reps_),                                                                     \
               .header = (input_),                                                                 \
               .variable_most = (most_),                                                           \
               .element_in = (in_),                                                                \
               .element_out = (out_),                                                              \
               .output = (output_)},                                                               \
     .gate = (gate_),                                                                              \
     .handler = hvti_##handler_,                                                                   \
     .counter = HVTI_CALL_COUNTER_##name,                                                          \
     .small = (input_) <= 16 && !(reps_) && !(output_)},
#define ABSENT(name, gate_, status_, clause_)                                                      \
    {.shape = {.code = (name)},                                                                    \
     .gate = (gate_),                                                                              \
     .status = (status_),                                                                          \
     .counter = HVTI_CALL_COUNTER_OTHER},

/* The first row is that of all codes that have none. The others are sorted by code. */
static const struct call_row rows[] = {
    {.status = HV_STATUS_INVALID_HYPERCALL_CODE},
#include "hypercalls.def"
};

#undef CALL
#undef ABSENT

/*
 * The copy of the blocks: the header, behind it the elements at hand, at the end the output. No call of ours
 * has so much of all three that they meet; of a host's call elements and output may, for its handler writes
 * into room of its own (call_host), and when that is copied its elements are done with.
 */
#define COPY_SIZE (HVTI_CALL_HEADER_MAX + HVTI_CALL_IN_MAX)
#define OUTPUT_AT (COPY_SIZE - HVTI_CALL_OUT_MAX)
_Static_assert(OUTPUT_AT >= HVTI_CALL_HEADER_MAX, "no output meets a header");

#define CALL(name, gate, input, most, reps, in, out, output, handler, clause)                      \
    _Static_assert((input) + 8 * (most) <= HVTI_CALL_HEADER_MAX, "header of " #name);              \
    _Static_assert((input) % 8 == 0, "lists are aligned in " #name);                               \
    _Static_assert((in) <= HVTI_CALL_IN_MAX && (out) <= HVTI_CALL_OUT_MAX, "list of " #name);      \
    _Static_assert(!((out) || (output)) ||                                                         \
                       (input) + 8 * (most) + ((reps) ? HVTI_CALL_IN_MAX : 0) <= OUTPUT_AT,        \
                   "input and output of " #name);
#define ABSENT(name, gate, status, clause)
#include "hypercalls.def"
#undef CALL
#undef ABSENT

_Static_assert(HVTI_CALL_OUT_MAX <= HVTI_FAST_MAX, "call_host() has room for either form");

/* One call under way. */
struct run {
    struct hvti_call call;
    const struct hvtlfs_call_handler *shape; /* a row's, or a host's own */
    uint16_t (*handler)(struct hvti_call *call);
    struct hvtlfs_hypercall_regs *regs;
    uint64_t control;
    uint64_t parameter[2]; /* input and output GPA, or the first 16 bytes of the fast block */
    bool fast;
    enum hvtlfs_hypercall_result result;
    uint16_t status;
    uint16_t counter;       /* the row's */
    uint32_t reps_done;     /* absolute */
    uint32_t list_offset;   /* of the input list in its block */
    uint32_t output_offset; /* of the output in the fast block */
    uint32_t output_end; /* of what has been made of it there, counted from its offset; 0: none */
    uint64_t fault_gpa;
    uint32_t fault_access;
    union {
        uint64_t block[HVTI_FAST_MAX / 8];
        uint64_t copy[COPY_SIZE / 8];
    } memory;
};

/* ---- Rows ---- */

/* Bytes of output that a host's handler has made of those it was given room for. */
static uint32_t host_output_size(const struct run *run, uint16_t status)
{
    const struct hvti_call *call = &run->call;

    if (run->shape->rep) {
        return (status == HV_STATUS_SUCCESS ? call->count : call->done) * run->shape->element_out;
    }
    return status == HV_STATUS_SUCCESS ? run->shape->output : 0;
}

/*
 * A host's handler stands behind this one, so that the decoder has only one way to go. Its output
 * begins as zeroes: what it leaves out shows the guest nothing of the stack, and registers that it
 * makes no output for stay as they are.
 */
static uint16_t call_host(struct hvti_call *call)
{
    const struct run *run = (const struct run *)(const void *)call; /* its first member */
    uint64_t output[HVTI_FAST_MAX / 8] = {0};
    uint64_t room[HVTI_CALL_HEADER_MAX / 8];
    struct hvtlfs_host_call frame = {.vp_index = call->vp->index,
                                     .code = run->shape->code,
                                     .header =
                                         guest_bytes(call->header, run->list_offset / 8, room),
                                     .header_size = run->list_offset,
                                     .first = call->first,
                                     .count = call->count,
                                     .elements = call->elements,
                                     .output = output};
    uint16_t status = run->shape->handle(call->vp->partition->host.context, &frame);
    uint32_t size;

    call->done = frame.done < call->count ? frame.done : call->count;
    size = host_output_size(run, status);
    if (size) {
        memcpy(call->output, output, size);
    }
    return status;
}

static const struct hvtlfs_call_handler *host_row(const struct hvtlfs_partition *partition,
                                                  uint16_t code)
{
    uint32_t i;

    for (i = 0; i < partition->host_call_count; i++) {
        if (partition->host_calls[i].code == code) {
            return &partition->host_calls[i];
        }
    }
    return NULL;
}

/* The number of the row of any code; 0 if it has none. */
static size_t search_row(uint16_t code)
{
    size_t low = 1;
    size_t high = ARRAY_LEN(rows);

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (rows[middle].shape.code == code) {
            return middle;
        }
        if (rows[middle].shape.code < code) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return 0;
}

_Static_assert(ARRAY_LEN(rows) <= UINT8_MAX, "row numbers fit a byte");

void hvti_call_rows(uint8_t table[HVTI_CALL_CODES])
{
    size_t row;

    memset(table, 0, HVTI_CALL_CODES);
    for (row = 1; row < ARRAY_LEN(rows); row++) {
        if (rows[row].shape.code < HVTI_CALL_CODES) {
            table[rows[row].shape.code] = (uint8_t)row;
        }
    }
}

static const struct call_row *row_of(const struct hvtlfs_partition *partition, uint16_t code)
{
    return &rows[code < HVTI_CALL_CODES ? partition->call_rows[code] : search_row(code)];
}

bool hvti_call_is_own(uint16_t code)
{
    return rows[search_row(code)].handler;
}

/*
 * Find who answers a code. A host may answer what the library leaves alone, never what it implements.
 * Who lacks the privilege learns nothing else (TLFS 3.12.2), so that comes first of all.
 */
static uint16_t find(struct run *run, uint16_t code)
{
    const struct hvtlfs_partition *partition = run->call.vp->partition;
    const struct call_row *row = row_of(partition, code);

    const struct hvtlfs_call_handler *host = row->handler ? NULL : host_row(partition, code);

    run->counter = row->counter;
    run->shape = host ? host : &row->shape;
    run->handler = host ? call_host : row->handler;
    if (host) {
        return HV_STATUS_SUCCESS;
    }
    return row->gate & ~partition->features ? HV_STATUS_ACCESS_DENIED : row->status;
}

void hvti_call_counter(uint32_t counter, uint16_t *code, uint64_t *features)
{
    size_t row = 0;

    while (rows[row].counter != counter) {
        row++;
    }
    *code = rows[row].shape.code;
    *features = rows[row].gate;
}

/* ---- Registers ---- */

static uint64_t pair(uint64_t high, uint64_t low)
{
    return high << 32 | (uint32_t)low;
}

static void load(struct run *run, struct hvtlfs_vp *vp, struct hvtlfs_hypercall_regs *regs)
{
    run->call.vp = vp;
    run->call.elements = NULL;
    run->call.output = NULL;
    run->call.unwritable = false;
    run->call.covered = false;
    run->call.after = NULL;
    run->regs = regs;
    run->output_end = 0;
    run->result = HVTLFS_HYPERCALL_DONE;
    run->reps_done = 0;
    if (regs->mode == HVTLFS_MODE_LONG64) {
        run->control = regs->rcx;
        run->parameter[0] = regs->rdx;
        run->parameter[1] = regs->r8;
    } else {
        run->control = pair(regs->rdx, regs->rax);
        run->parameter[0] = pair(regs->rbx, regs->rcx);
        run->parameter[1] = pair(regs->rdi, regs->rsi);
    }
    run->fast = run->control & HV_HYPERCALL_INPUT_FAST;
}

static void store_result(struct hvtlfs_hypercall_regs *regs, uint64_t result)
{
    if (regs->mode == HVTLFS_MODE_LONG64) {
        regs->rax = result;
        regs->changed |= HVTLFS_CHANGED_RAX;
        return;
    }
    regs->rax = (uint32_t)result;
    regs->rdx = result >> 32;
    regs->changed |= HVTLFS_CHANGED_RAX | HVTLFS_CHANGED_RDX;
}

/* TLFS 3.3, 3.9: the instruction comes again, with a start index behind what has been done. */
static void store_progress(const struct run *run)
{
    struct hvtlfs_hypercall_regs *regs = run->regs;
    uint64_t control = (run->control & ~HV_HYPERCALL_INPUT_REP_START_INDEX_MASK) |
                       (uint64_t)run->reps_done << HV_HYPERCALL_INPUT_REP_START_INDEX_SHIFT;

    if (control == run->control) {
        return;
    }
    if (regs->mode == HVTLFS_MODE_LONG64) {
        regs->rcx = control;
        regs->changed |= HVTLFS_CHANGED_RCX;
        return;
    }
    store_result(regs, control);
}

/* What lies behind the header in a fast block is lists and output, which are the guest's bytes. */
static void turn_fast_bytes(struct run *run)
{
    uint32_t header = run->list_offset / 8;

    guest_qwords(&run->memory.block[header], HVTI_FAST_MAX / 8 - header);
}

/* TLFS 3.8.1: 64-bit callers only. Registers without output were loaded into the block unchanged. */
static void store_output(struct run *run)
{
    struct hvtlfs_hypercall_regs *regs = run->regs;

    turn_fast_bytes(run);
    if (run->output_offset == 0) {
        regs->rdx = run->memory.block[0];
        regs->r8 = run->memory.block[1];
        regs->changed |= HVTLFS_CHANGED_RDX;
        regs->changed |= run->output_end > 8 ? HVTLFS_CHANGED_R8 : 0;
    }
    if (run->output_offset + run->output_end > 16) {
        memcpy(regs->xmm, &run->memory.block[2], sizeof(regs->xmm));
        regs->changed |= HVTLFS_CHANGED_XMM;
    }
}

static enum hvtlfs_hypercall_result store(struct run *run)
{
    struct hvtlfs_hypercall_regs *regs = run->regs;

    if (run->output_end) {
        store_output(run);
    }
    if (run->result == HVTLFS_HYPERCALL_DONE) {
        store_result(regs, run->status | (uint64_t)run->reps_done
                                             << HV_HYPERCALL_RESULT_REPS_COMPLETED_SHIFT);
        return run->result;
    }
    if (run->result != HVTLFS_HYPERCALL_UD) {
        store_progress(run);
    }
    if (run->result == HVTLFS_HYPERCALL_INTERCEPT) {
        regs->fault_gpa = run->fault_gpa;
        regs->fault_access = run->fault_access;
    }
    return run->result;
}

/* ---- Checks. Each returns the HV_STATUS, or leaves another result than DONE. ---- */

static uint16_t intercept(struct run *run, uint64_t gpa, enum hvtlfs_access access)
{
    run->result = HVTLFS_HYPERCALL_INTERCEPT;
    run->fault_gpa = gpa;
    run->fault_access = access;
    return HV_STATUS_SUCCESS;
}

static uint16_t undefined(struct run *run)
{
    run->result = HVTLFS_HYPERCALL_UD;
    return HV_STATUS_SUCCESS;
}

static uint32_t control_field(uint64_t control, uint64_t mask, uint32_t shift)
{
    return (uint32_t)((control & mask) >> shift);
}

/*
 * The nested flag is bit 31 in the online TLFS and bit 26 in 6.0 and 6.0b. Both are understood: no
 * header has the 512 qwords that bit 26 would mean otherwise. It asks for the outermost hypervisor,
 * which is us, and is reserved for guests that are not told of nesting.
 */
static bool nested_fits(const struct run *run)
{
    return !(run->control & (HV_HYPERCALL_INPUT_IS_NESTED | HV_HYPERCALL_INPUT_V6_IS_NESTED)) ||
           hvti_has(run->call.vp->partition, HVTLFS_FEATURE_NESTED_FLUSH);
}

/* TLFS 3.7, 3.7.1, 3.12.3 */
static uint16_t check_control(struct run *run)
{
    const struct hvtlfs_call_handler *row = run->shape;
    uint32_t variable, count, start;

    run->call.variable_qwords = 0;
    run->call.reps = 0;
    run->list_offset = row->header;
    if (!(run->control >> HV_HYPERCALL_INPUT_VARIABLE_HEADER_SIZE_SHIFT)) { /* the code alone */
        return row->rep ? HV_STATUS_INVALID_HYPERCALL_INPUT : HV_STATUS_SUCCESS;
    }
    variable = control_field(run->control, HV_HYPERCALL_INPUT_V6_VARIABLE_HEADER_SIZE_MASK,
                             HV_HYPERCALL_INPUT_V6_VARIABLE_HEADER_SIZE_SHIFT);
    count = control_field(run->control, HV_HYPERCALL_INPUT_REP_COUNT_MASK,
                          HV_HYPERCALL_INPUT_REP_COUNT_SHIFT);
    start = control_field(run->control, HV_HYPERCALL_INPUT_REP_START_INDEX_MASK,
                          HV_HYPERCALL_INPUT_REP_START_INDEX_SHIFT);
    if ((run->control & HV_HYPERCALL_INPUT_RSVD_Z_MASK) || !nested_fits(run) ||
        variable > row->variable_most || (row->rep ? start >= count : count | start)) {
        return HV_STATUS_INVALID_HYPERCALL_INPUT;
    }
    run->call.variable_qwords = variable;
    run->call.reps = count;
    run->reps_done = start;
    run->list_offset = row->header + 8 * variable;
    return HV_STATUS_SUCCESS;
}

static bool has_xmm_output(const struct run *run)
{
    return run->regs->mode == HVTLFS_MODE_LONG64 &&
           hvti_has(run->call.vp->partition, HVTLFS_FEATURE_XMM_OUTPUT);
}

/* TLFS 3.7.2, 3.8.1: output begins in the first 16-byte register that the input leaves free. */
static uint16_t place_fast(struct run *run, uint32_t input, uint32_t output)
{
    run->call.header = run->parameter;
    if (input <= 16 && !output && !run->shape->rep) {
        return HV_STATUS_SUCCESS;
    }
    run->output_offset = (input + 15) & ~15u;
    if ((input > 16 && !hvti_has(run->call.vp->partition, HVTLFS_FEATURE_XMM_INPUT)) ||
        (output && !has_xmm_output(run))) {
        return undefined(run);
    }
    if (input > HVTI_FAST_MAX || (output && output > HVTI_FAST_MAX - run->output_offset)) {
        return HV_STATUS_INVALID_HYPERCALL_INPUT;
    }
    run->memory.block[0] = run->parameter[0];
    run->memory.block[1] = run->parameter[1];
    memcpy(&run->memory.block[2], run->regs->xmm, sizeof(run->regs->xmm));
    turn_fast_bytes(run);
    run->call.header = run->memory.block;
    run->call.output = (uint8_t *)run->memory.block + run->output_offset;
    return HV_STATUS_SUCCESS;
}

/* TLFS 3.6, 3.12.3: 8-byte aligned, within one page, inside the guest's space; ignored if unused. */
static bool gpa_fits(const struct run *run, uint64_t gpa, uint32_t size)
{
    return !size || (!(gpa & 7) && size <= HVTLFS_PAGE_SIZE - (gpa & PAGE_MASK) &&
                     gpa < run->call.vp->partition->gpa_limit);
}

static uint16_t place_memory(struct run *run, uint32_t input, uint32_t output)
{
    if (!gpa_fits(run, run->parameter[0], input) || !gpa_fits(run, run->parameter[1], output)) {
        return HV_STATUS_INVALID_ALIGNMENT;
    }
    run->call.header = run->memory.copy;
    run->call.output = &run->memory.copy[OUTPUT_AT / 8];
    run->call.output_gpa = run->parameter[1];
    if (run->list_offset && !hvti_host_gpa_read(&run->call.vp->partition->host, run->parameter[0],
                                                run->memory.copy, run->list_offset)) {
        return intercept(run, run->parameter[0], HVTLFS_ACCESS_READ);
    }
    guest_qwords(run->memory.copy, run->list_offset / 8);
    return HV_STATUS_SUCCESS;
}

/* Find the blocks and copy the header: from here on nothing the guest can change matters. */
static uint16_t place(struct run *run)
{
    const struct hvtlfs_call_handler *row = run->shape;
    uint32_t input = run->list_offset;
    uint32_t output = row->output;

    if (row->rep) {
        input += run->call.reps * row->element_in;
        output = run->call.reps * row->element_out;
    }

    return run->fast ? place_fast(run, input, output) : place_memory(run, input, output);
}

/* ---- Output ---- */

bool hvti_call_write(struct hvti_call *call, uint32_t offset, const void *data, uint32_t size)
{
    call->unwritable =
        !hvti_host_gpa_write(&call->vp->partition->host, call->output_gpa + offset, data, size);
    return !call->unwritable;
}

static void put_output(struct run *run, uint32_t offset, uint32_t size)
{
    if (run->fast) {
        run->output_end = size ? offset + size : run->output_end;
    } else if (size && !hvti_call_write(&run->call, offset, run->call.output, size)) {
        (void)intercept(run, run->parameter[1], HVTLFS_ACCESS_WRITE);
    }
}

/* ---- Handling ---- */

static uint16_t run_simple(struct run *run)
{
    uint16_t status;

    run->call.first = 0;
    run->call.count = 0;
    status = run->handler(&run->call);
    if (!run->shape->output) {
        return status;
    }
    if (run->call.unwritable) {
        return intercept(run, run->parameter[1], HVTLFS_ACCESS_WRITE);
    }
    if (status == HV_STATUS_SUCCESS && run->shape->output <= HVTI_CALL_OUT_MAX) {
        put_output(run, 0, run->shape->output);
    }
    return status;
}

/* How many elements to take next: what is left, what the host allows, what there is room for. */
static uint32_t next_count(const struct run *run, uint32_t allowed)
{
    const struct hvtlfs_call_handler *row = run->shape;
    uint32_t left = run->call.reps - run->reps_done;
    uint32_t most = left < allowed ? left : allowed;
    uint32_t count = 1;

    if (run->fast) {
        return most;
    }
    while (count < most && (count + 1) * row->element_in <= HVTI_CALL_IN_MAX &&
           (count + 1) * row->element_out <= HVTI_CALL_OUT_MAX) {
        count++;
    }
    return count;
}

static bool fetch_elements(struct run *run)
{
    uint32_t offset = run->list_offset + run->reps_done * run->shape->element_in;
    uint32_t size = run->call.count * run->shape->element_in;

    if (run->fast) {
        run->call.elements = (uint8_t *)run->memory.block + offset;
        run->call.output = (uint8_t *)run->memory.block + run->output_offset +
                           (size_t)run->reps_done * run->shape->element_out;
        return true;
    }
    run->call.elements = &run->memory.copy[run->list_offset / 8];
    if (size && !hvti_host_gpa_read(&run->call.vp->partition->host, run->parameter[0] + offset,
                                    run->call.elements, size)) {
        (void)intercept(run, run->parameter[0] + offset, HVTLFS_ACCESS_READ);
        return false;
    }
    return true;
}

static uint16_t run_chunk(struct run *run, uint32_t allowed)
{
    uint32_t output = run->reps_done * run->shape->element_out;
    uint16_t status;

    run->call.first = run->reps_done;
    run->call.count = next_count(run, allowed);
    run->call.done = 0;
    if (!fetch_elements(run)) {
        return HV_STATUS_SUCCESS;
    }
    status = run->handler(&run->call);
    if (status == HV_STATUS_SUCCESS) {
        run->call.done = run->call.count;
    }
    put_output(run, output, run->call.done * run->shape->element_out);
    if (run->result == HVTLFS_HYPERCALL_DONE) {
        run->reps_done += run->call.done;
    }
    return status;
}

/* TLFS 3.3: after its budget a call returns and is continued, so that interrupts get in. */
static uint16_t run_reps(struct run *run)
{
    const struct hvtlfs_partition *partition = run->call.vp->partition;
    bool timed = partition->call_time && hvti_host_has_time(&partition->host);
    uint64_t began = timed ? hvti_host_time(&partition->host) : 0;
    uint32_t allowed = partition->call_reps ? partition->call_reps : UINT32_MAX;
    uint16_t status;

    do {
        status = run_chunk(run, allowed);
        if (status != HV_STATUS_SUCCESS || run->result != HVTLFS_HYPERCALL_DONE ||
            run->reps_done == run->call.reps) {
            return status;
        }
        allowed -= run->call.done;
    } while (allowed &&
             !(timed && hvti_host_time(&partition->host) - began >= partition->call_time));
    run->result = HVTLFS_HYPERCALL_CONTINUE;
    return HV_STATUS_SUCCESS;
}

static uint16_t dispatch(struct run *run)
{
    uint16_t status = find(run, (uint16_t)run->control);

    if (status == HV_STATUS_SUCCESS) {
        status = check_control(run);
    }
    if (status == HV_STATUS_SUCCESS) {
        status = place(run);
    }
    if (status != HV_STATUS_SUCCESS || run->result != HVTLFS_HYPERCALL_DONE) {
        return status;
    }
    if (!run->shape->rep) {
        return run_simple(run);
    }
    status = run_reps(run);
    if (run->call.after) {
        run->call.after(&run->call);
    }
    return status;
}

static void count(const struct run *run)
{
    struct hvti_counters *counters = &run->call.vp->counters;

    hvti_count(&counters->calls[run->counter]);
    if (run->result == HVTLFS_HYPERCALL_UD) {
        hvti_count(&counters->call_faults);
    } else if (run->status != HV_STATUS_SUCCESS) {
        hvti_count(&counters->call_errors);
    }
}

UNUSUAL static void tell(const struct hvtlfs_vp *vp, uint64_t control, uint16_t status,
                         enum hvtlfs_hypercall_result result)
{
    const struct hvtlfs_event event = {
        HVTLFS_EVENT_HYPERCALL, vp->index, (uint16_t)control, status, control, result};

    hvti_host_trace(&vp->partition->host, &event);
}

__attribute__((noinline)) static enum hvtlfs_hypercall_result run_call(
    struct hvtlfs_vp *vp, struct hvtlfs_hypercall_regs *regs)
{
    struct run run;

    load(&run, vp, regs);
    run.status = dispatch(&run);
    count(&run);
    if (hvti_host_is_watched(&vp->partition->host)) {
        tell(vp, run.control, run.status, run.result);
    }
    return store(&run);
}

/* ---- The shortest way ---- */

/*
 * The calls that a busy guest makes most, an IPI to a mask of VPs and a notice of a long spin wait, bring
 * all they have in two registers and take nothing home but their status. They need no block and no
 * frame for one, and only two of the checks above can fail: the row's gate and the control word, in
 * which nothing may be set but the code and the fast bit. Whatever else there may be to say is left to
 * the long way: NULL.
 */
static const struct call_row *small_row(const struct hvtlfs_vp *vp,
                                        const struct hvtlfs_hypercall_regs *regs)
{
    const struct hvtlfs_partition *partition = vp->partition;
    uint64_t code = regs->rcx ^ HV_HYPERCALL_INPUT_FAST;
    const struct call_row *row;

    if (regs->mode != HVTLFS_MODE_LONG64 || regs->cpl || code >= HVTI_CALL_CODES) {
        return NULL;
    }
    row = &rows[partition->call_rows[code]];
    return row->small && !(row->gate & ~partition->features) ? row : NULL;
}

static enum hvtlfs_hypercall_result run_small(struct hvtlfs_vp *vp, const struct call_row *row,
                                              struct hvtlfs_hypercall_regs *regs)
{
    const uint64_t header[2] = {regs->rdx, regs->r8};
    struct hvti_call call = {.vp = vp, .header = header};
    uint16_t status = row->handler(&call);

    hvti_count(&vp->counters.calls[row->counter]);
    if (status != HV_STATUS_SUCCESS) {
        hvti_count(&vp->counters.call_errors);
    }
    if (hvti_host_is_watched(&vp->partition->host)) {
        tell(vp, regs->rcx, status, HVTLFS_HYPERCALL_DONE);
    }
    regs->rax = status;
    regs->changed = HVTLFS_CHANGED_RAX;
    return HVTLFS_HYPERCALL_DONE;
}

enum hvtlfs_hypercall_result hvtlfs_hypercall(struct hvtlfs_vp *vp,
                                              struct hvtlfs_hypercall_regs *regs)
{
    const struct call_row *row = small_row(vp, regs);

    if (row) {
        return run_small(vp, row, regs);
    }
    regs->changed = 0;
    if (regs->cpl || (regs->mode != HVTLFS_MODE_LONG64 && regs->mode != HVTLFS_MODE_PROTECTED32)) {
        hvti_count(&vp->counters.call_faults);
        return HVTLFS_HYPERCALL_UD;
    }
    return run_call(vp, regs);
}

void hvtlfs_hypercall_fail(struct hvtlfs_hypercall_regs *regs, uint16_t status)
{
    uint64_t control = regs->mode == HVTLFS_MODE_LONG64 ? regs->rcx : pair(regs->rdx, regs->rax);
    uint64_t done = control_field(control, HV_HYPERCALL_INPUT_REP_START_INDEX_MASK,
                                  HV_HYPERCALL_INPUT_REP_START_INDEX_SHIFT);

    store_result(regs, status | done << HV_HYPERCALL_RESULT_REPS_COMPLETED_SHIFT);
}

/* ---- What several handlers share ---- */

struct hvti_targets hvti_call_all(const struct hvti_call *call)
{
    const struct hvtlfs_partition *partition = call->vp->partition;

    return (struct hvti_targets){&partition->present, partition->vp_count};
}

struct hvti_targets hvti_call_vp_mask(const struct hvti_call *call, uint64_t mask,
                                      struct hvtlfs_vp_set *room)
{
    room->banks = 1;
    room->bank[0] = hvti_present_of_mask(call->vp->partition, mask);
    return (struct hvti_targets){room, count_bits(room->bank[0])};
}

/* A set of thousands is gone through once: taken over, reduced to those present, counted. */
struct hvti_targets hvti_call_vp_set(const struct hvti_call *call, const uint64_t *set,
                                     uint32_t banks, struct hvtlfs_vp_set *room)
{
    const struct hvtlfs_vp_set *present = &call->vp->partition->present;
    struct hvti_targets targets = {room, 0};
    const uint64_t *contents = set + 2;
    uint64_t rest;

    if (set[0] == HvGenericSetAll) {
        return hvti_call_all(call);
    }
    if (set[0] != HvGenericSetSparse4k || banks != count_bits(set[1])) {
        return (struct hvti_targets){NULL, 0};
    }
    room->banks = set[1];
    for (rest = set[1]; rest; rest &= rest - 1) {
        uint32_t bank = lowest_bit(rest);
        uint64_t word = *contents++ & present->bank[bank];

        room->bank[bank] = word;
        targets.count += word == UINT64_MAX ? HVTLFS_VPS_PER_BANK : count_bits(word);
    }
    return targets;
}
