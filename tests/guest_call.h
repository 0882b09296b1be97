/* SPDX-License-Identifier: MIT */
/* A guest that makes hypercalls: any call, in memory or registers, in both modes. */
#ifndef GUEST_CALL_H
#define GUEST_CALL_H

#include "fixture.h"

#include <hvtlfs/vpset.h>

#define EVERY_CALL                                                                                 \
    "spinlocks=0xfff,tlbflush,tlbflush-ext,ipi,ex-processor-masks,vp-registers,start-vp,"          \
    "extended-hypercalls,nested-flush,device-interrupts,post-messages,signal-events,"              \
    "address-space-switch"
#define WITH_XMM EVERY_CALL ",xmm-input,xmm-output"

#define GUEST_INPUT UINT64_C(0x10000)
#define GUEST_OUTPUT UINT64_C(0x20000)
#define GUEST_UNMAPPED UINT64_C(0x4000000) /* inside the space, beyond the model's RAM */
#define GUEST_BEYOND (UINT64_C(1) << 40)   /* the first address outside */

#define FAST_BLOCK_SIZE 112u

/* What the guest wants. `input` is the whole block, in qwords: header, variable part, list. */
struct guest_call {
    uint16_t code;
    uint32_t variable; /* qwords */
    uint32_t reps;
    uint32_t start;
    uint32_t input_size;
    uint32_t output_size;
    struct {
        uint64_t qwords[HVTLFS_PAGE_SIZE / 8];
    } input;
    enum hvtlfs_cpu_mode mode;
    bool fast;
    uint64_t extra; /* control bits to set besides */
    uint64_t input_gpa;
    uint64_t output_gpa;
};

/* What it gets; `output` is the guest's bytes. */
struct guest_answer {
    enum hvtlfs_hypercall_result result;
    uint16_t status;
    uint32_t reps;
    uint32_t continued; /* how often */
    uint8_t output[HVTLFS_PAGE_SIZE];
    struct hvtlfs_hypercall_regs regs;
};

/* Set a field of the input that is narrower than a qword. */
static inline void guest_put(struct guest_call *call, uint32_t offset, uint32_t size,
                             uint64_t value)
{
    uint32_t shift = 8 * (offset % 8);
    uint64_t mask = UINT64_MAX >> (64 - 8 * size);
    uint64_t *qword = &call->input.qwords[offset / 8];

    *qword = (*qword & ~(mask << shift)) | (value & mask) << shift;
}

/* Qwords as they lie in the guest's memory. */
static inline void guest_lay(void *to, const uint64_t *qwords, size_t count)
{
    uint8_t *bytes = to;
    size_t i;

    for (i = 0; i < count; i++) {
        uint64_t word = model_le64(qwords[i]);

        memcpy(bytes + 8 * i, &word, 8);
    }
}

static inline uint64_t guest_output64(const struct guest_answer *answer, uint32_t offset)
{
    uint64_t word;

    memcpy(&word, answer->output + offset, 8);
    return model_le64(word);
}

static inline uint32_t guest_output32(const struct guest_answer *answer, uint32_t offset)
{
    uint32_t word;

    memcpy(&word, answer->output + offset, 4);
    return model_le32(word);
}

static inline uint64_t guest_control(const struct guest_call *call)
{
    return call->code | (uint64_t)call->fast << 16 | (uint64_t)call->variable << 17 |
           (uint64_t)call->reps << 32 | (uint64_t)call->start << 48 | call->extra;
}

static inline void guest_pair(uint64_t *high, uint64_t *low, uint64_t value)
{
    /* The upper halves are not the guest's in 32-bit mode: they must not matter. */
    *high = UINT64_C(0xDEAD000000000000) | value >> 32;
    *low = UINT64_C(0xBEEF000000000000) | (uint32_t)value;
}

static inline void guest_set_block(struct hvtlfs_hypercall_regs *regs, const uint64_t *words)
{
    memcpy(regs->xmm, words + 2, sizeof(regs->xmm));
    if (regs->mode == HVTLFS_MODE_LONG64) {
        regs->rdx = words[0];
        regs->r8 = words[1];
    } else {
        guest_pair(&regs->rbx, &regs->rcx, words[0]);
        guest_pair(&regs->rdi, &regs->rsi, words[1]);
    }
}

static inline struct hvtlfs_hypercall_regs guest_regs(const struct guest_call *call)
{
    struct hvtlfs_hypercall_regs regs;
    uint64_t block[FAST_BLOCK_SIZE / 8];
    uint64_t gpas[2] = {call->input_gpa, call->output_gpa};

    memset(&regs, 0x5A, sizeof(regs));
    memset(block, 0xC3, sizeof(block));
    regs.mode = call->mode;
    regs.cpl = 0;
    if (call->fast) {
        uint32_t size = call->input_size < sizeof(block) ? call->input_size : sizeof(block);

        memcpy(block, call->input.qwords, size & ~7u);
        if (size % 8) { /* what lies behind the input in its last register is nobody's */
            uint64_t rest = UINT64_MAX << 8 * (size % 8);

            block[size / 8] = (block[size / 8] & rest) | (call->input.qwords[size / 8] & ~rest);
        }
    } else {
        memcpy(block, gpas, sizeof(gpas));
    }
    guest_set_block(&regs, block);
    if (call->mode == HVTLFS_MODE_LONG64) {
        regs.rcx = guest_control(call);
    } else {
        guest_pair(&regs.rdx, &regs.rax, guest_control(call));
    }
    return regs;
}

/* Registers that `changed` does not name have not changed (TLFS 3.9). */
static inline void guest_check_changed(const struct hvtlfs_hypercall_regs *before,
                                       const struct hvtlfs_hypercall_regs *after)
{
    if (!(after->changed & HVTLFS_CHANGED_RAX)) {
        assert_int_equal(after->rax, before->rax);
    }
    if (!(after->changed & HVTLFS_CHANGED_RCX)) {
        assert_int_equal(after->rcx, before->rcx);
    }
    if (!(after->changed & HVTLFS_CHANGED_RDX)) {
        assert_int_equal(after->rdx, before->rdx);
    }
    if (!(after->changed & HVTLFS_CHANGED_R8)) {
        assert_int_equal(after->r8, before->r8);
    }
    if (!(after->changed & HVTLFS_CHANGED_XMM)) {
        assert_memory_equal(after->xmm, before->xmm, sizeof(after->xmm));
    }
    assert_int_equal(after->rbx, before->rbx);
    assert_int_equal(after->rsi, before->rsi);
    assert_int_equal(after->rdi, before->rdi);
}

static inline void guest_read_output(struct fixture *fixture, const struct guest_call *call,
                                     struct guest_answer *answer)
{
    uint32_t offset = (call->input_size + 15) & ~15u;
    uint8_t block[FAST_BLOCK_SIZE];

    if (!call->fast) {
        (void)model_host_guest_read(fixture->host, call->output_gpa, answer->output,
                                    call->output_size);
        return;
    }
    guest_lay(block, &answer->regs.rdx, 1);
    guest_lay(block + 8, &answer->regs.r8, 1);
    guest_lay(block + 16, &answer->regs.xmm[0].half[0], 12);
    if (call->output_size && call->output_size <= FAST_BLOCK_SIZE &&
        offset <= FAST_BLOCK_SIZE - call->output_size) {
        memcpy(answer->output, block + offset, call->output_size);
    }
}

/* Make it, again and again while the library says so. */
static inline void guest_make(struct fixture *fixture, const struct guest_call *call,
                              struct guest_answer *answer)
{
    struct hvtlfs_hypercall_regs before;
    uint8_t input[HVTLFS_PAGE_SIZE];

    memset(answer, 0, sizeof(*answer));
    answer->regs = guest_regs(call);
    if (!call->fast && call->input_gpa < fixture->options.ram_size &&
        call->input_size <= HVTLFS_PAGE_SIZE - call->input_gpa % HVTLFS_PAGE_SIZE) {
        guest_lay(input, call->input.qwords, HVTLFS_PAGE_SIZE / 8);
        assert_int_equal(model_host_guest_write(fixture->host, call->input_gpa, input,
                                                call->input_size),
                         MODEL_ACCESS_OK);
    }
    for (;; answer->continued++) {
        assert_true(answer->continued < 10000);
        before = answer->regs;
        answer->result = hvtlfs_hypercall(fixture->vp, &answer->regs);
        guest_check_changed(&before, &answer->regs);
        if (answer->result != HVTLFS_HYPERCALL_CONTINUE) {
            break;
        }
    }
    if (answer->result == HVTLFS_HYPERCALL_DONE) {
        uint64_t value = answer->regs.rax;

        if (call->mode != HVTLFS_MODE_LONG64) {
            value = answer->regs.rdx << 32 | (uint32_t)answer->regs.rax;
            assert_int_equal(answer->regs.rdx >> 32, 0);
        }
        answer->status = (uint16_t)value;
        answer->reps = (uint32_t)(value >> 32);
        assert_int_equal(value & HV_HYPERCALL_RESULT_RSVD_MASK, 0);
        guest_read_output(fixture, call, answer);
    } else if (answer->result == HVTLFS_HYPERCALL_UD) {
        assert_int_equal(answer->regs.changed, 0);
    }
}

/* A call in memory form, 64-bit mode, with nothing in it. */
static inline void guest_prepare(struct guest_call *call, uint16_t code, uint32_t input_size,
                                 uint32_t output_size)
{
    memset(call, 0, sizeof(*call));
    call->code = code;
    call->mode = HVTLFS_MODE_LONG64;
    call->input_size = input_size;
    call->output_size = output_size;
    call->input_gpa = GUEST_INPUT;
    call->output_gpa = GUEST_OUTPUT;
}

#endif
