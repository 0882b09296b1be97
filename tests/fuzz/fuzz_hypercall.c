/* SPDX-License-Identifier: MIT */
/*
 * Hypercalls in every calling convention, with guest memory that another VP rewrites while the call runs.
 *
 * The same calls are made twice from the same beginning: once in memory that stands still, once in memory
 * where each byte changes as soon as it has been read. Answers, registers and everything the host is
 * asked for must be the same, so nothing is fetched twice; and no byte is, which the host sees for itself.
 */
#include <string.h>

#include <hvtlfs/flush.h>
#include <hvtlfs/hypercall.h>
#include <hvtlfs/msr.h>

#include "setup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MOST_CALLS 24u
#define MOST_CONTINUES 4096u
#define HASH UINT64_C(0xCBF29CE484222325)
#define IN_PAGE 2u /* of RAM: where the usual input is */

/* Codes that do something, or whose neighbours do. */
static const uint16_t codes[] = {0x0001, 0x0002, 0x0003, 0x0008, 0x000B, 0x0013, 0x0014, 0x0015,
                                 0x0050, 0x0051, 0x005C, 0x005D, 0x007E, 0x0099, 0x009A, 0x00AF,
                                 0x00B0, 0x8001, 0x8002, 0x8003, 0x0040, 0x0000, 0x0004, 0x00C0};

struct caller {
    struct setup setup;
    uint64_t hash; /* of all answers and requests */
};

/* Word by word: a quarter of the time would go into hashing bytes. */
static void add(struct caller *caller, const void *bytes, size_t size)
{
    const uint8_t *at = bytes;

    for (size_t i = 0; i < size; i += sizeof(uint64_t)) {
        uint64_t word = 0;

        memcpy(&word, at + i, size - i < sizeof(word) ? size - i : sizeof(word));
        caller->hash = (caller->hash ^ word) * UINT64_C(0x9E3779B97F4A7C15);
        caller->hash ^= caller->hash >> 29;
    }
}

static void add_requests(struct caller *caller)
{
    for (uint32_t i = 0; i < fuzz_host.interrupt_count; i++) {
        const struct host_interrupt *one = &fuzz_host.interrupts[i];
        const uint32_t words[] = {one->vp_index, one->interrupt.vector, one->interrupt.auto_eoi,
                                  one->interrupt.nmi};

        add(caller, words, sizeof(words));
    }
    add(caller, fuzz_host.flush_ranges, fuzz_host.flush_range_count * sizeof(uint64_t));
    {
        const uint64_t words[] = {fuzz_host.flush_targets, fuzz_host.flushes, fuzz_host.posts,
                                  fuzz_host.signals, fuzz_host.spin_waits};

        add(caller, words, sizeof(words));
    }
}

/* ---- Building a call ---- */

static uint64_t any_control(struct input *input)
{
    const uint8_t how = input_byte(input);
    const uint8_t which = input_byte(input);
    uint64_t control =
        which < 0xC0 ? codes[which % (sizeof(codes) / sizeof(codes[0]))] : input_bytes(input, 2);

    control |= how & 1 ? UINT64_C(1) << 16 : 0;
    control |= how & 2 ? (uint64_t)input_byte(input) % 80 << 17 : 0;
    control |= how & 4 ? (input_bytes(input, 2) & 0xFFF) << 32 : 0;
    control |= how & 8 ? (input_bytes(input, 2) & 0xFFF) << 48 : 0;
    control |= how >> 4 == 15 ? UINT64_C(1) << (input_byte(input) & 63) : 0;
    return control;
}

/* In RAM, aligned and at the beginning of a page, often. */
static uint64_t any_gpa(struct input *input, uint64_t usual)
{
    const uint8_t how = input_byte(input);

    if (how < 160) {
        return usual;
    }
    return how < 224 ? usual + (uint64_t)(how - 160) * 8 * 9 : input_number(input);
}

static void split32(struct hvtlfs_hypercall_regs *regs, uint64_t control, uint64_t in, uint64_t out)
{
    regs->rax = control & 0xFFFFFFFF;
    regs->rdx = control >> 32;
    regs->rcx = in & 0xFFFFFFFF;
    regs->rbx = in >> 32;
    regs->rsi = out & 0xFFFFFFFF;
    regs->rdi = out >> 32;
}

static void any_registers(struct input *input, struct hvtlfs_hypercall_regs *regs)
{
    const uint64_t control = any_control(input);
    const uint8_t mode = input_byte(input);
    const bool fast = control >> 16 & 1;
    const uint64_t in = fast ? input_number(input) : any_gpa(input, IN_PAGE * HVTLFS_PAGE_SIZE);
    const uint64_t out = fast ? input_number(input) : any_gpa(input, 0x3000);

    memset(regs, 0, sizeof(*regs));
    regs->mode = mode < 8   ? (enum hvtlfs_cpu_mode)(mode % 3)
                 : mode & 1 ? HVTLFS_MODE_PROTECTED32
                            : HVTLFS_MODE_LONG64;
    regs->cpl = mode >= 8 && mode < 12 ? 3 : 0;
    if (regs->mode == HVTLFS_MODE_LONG64) {
        regs->rcx = control;
        regs->rdx = in;
        regs->r8 = out;
        regs->rax = UINT64_C(0x1122334455667788);
    } else {
        split32(regs, control, in, out);
    }
    for (unsigned i = 0; fast && i < 6; i++) {
        regs->xmm[i] =
            (struct hvtlfs_xmm){{input_number(input), mode & 16 ? input_number(input) : 0}};
    }
}

/* The block in page 2: words as the fuzzer likes, the last one again and again. */
static void any_block(struct input *input, uint64_t block[512])
{
    const unsigned count = input_byte(input) % 72u;
    uint64_t last = 0;

    for (unsigned i = 0; i < 512; i++) {
        last = i < count ? input_number(input) : last;
        block[i] = last;
    }
}

/* ---- What must hold ---- */

static uint64_t control_of(const struct hvtlfs_hypercall_regs *regs)
{
    return regs->mode == HVTLFS_MODE_LONG64 ? regs->rcx
                                            : regs->rdx << 32 | (regs->rax & 0xFFFFFFFF);
}

static void check_registers(const struct hvtlfs_hypercall_regs *was,
                            const struct hvtlfs_hypercall_regs *is)
{
    CLAIM(is->rax == was->rax || is->changed & HVTLFS_CHANGED_RAX);
    CLAIM(is->rcx == was->rcx || is->changed & HVTLFS_CHANGED_RCX);
    CLAIM(is->rdx == was->rdx || is->changed & HVTLFS_CHANGED_RDX);
    CLAIM(is->r8 == was->r8 || is->changed & HVTLFS_CHANGED_R8);
    CLAIM(!memcmp(is->xmm, was->xmm, sizeof(is->xmm)) || is->changed & HVTLFS_CHANGED_XMM);
    CLAIM(is->rbx == was->rbx && is->rsi == was->rsi && is->rdi == was->rdi);
    CLAIM(is->mode == was->mode && is->cpl == was->cpl);
}

static void check_progress(const struct hvtlfs_hypercall_regs *was,
                           const struct hvtlfs_hypercall_regs *is)
{
    const uint64_t from = control_of(was), to = control_of(is);

    CLAIM((from & ~(UINT64_C(0xFFF) << 48)) == (to & ~(UINT64_C(0xFFF) << 48)));
    CLAIM((to >> 48 & 0xFFF) > (from >> 48 & 0xFFF));
    CLAIM((to >> 48 & 0xFFF) < (to >> 32 & 0xFFF));
}

static void check_answer(const struct hvtlfs_hypercall_regs *was,
                         const struct hvtlfs_hypercall_regs *is,
                         enum hvtlfs_hypercall_result result)
{
    check_registers(was, is);
    switch (result) {
    case HVTLFS_HYPERCALL_UD:
        CLAIM(!is->changed);
        break;
    case HVTLFS_HYPERCALL_CONTINUE:
        check_progress(was, is);
        break;
    case HVTLFS_HYPERCALL_INTERCEPT:
        CLAIM(is->fault_access == HVTLFS_ACCESS_READ || is->fault_access == HVTLFS_ACCESS_WRITE);
        break;
    case HVTLFS_HYPERCALL_DONE: {
        const uint64_t answer = was->mode == HVTLFS_MODE_LONG64 ? is->rax : is->rdx << 32 | is->rax;

        CLAIM(is->changed & HVTLFS_CHANGED_RAX);
        CLAIM(!(answer & UINT64_C(0xFFFFF000FFFF0000)));
        CLAIM((answer >> 32 & 0xFFF) <= (control_of(was) >> 32 & 0xFFF));
        break;
    }
    }
}

/* Each VP drains its queue; it holds at most 16 ranges or one flush of everything. */
static void drain(struct caller *caller)
{
    for (uint32_t i = 0; i < caller->setup.config.vp_count; i++) {
        struct hvtlfs_flush_item item;
        unsigned count = 0;

        while (hvtlfs_flush_take(caller->setup.vp[i], &item)) {
            CLAIM(++count <= HVTLFS_FLUSH_QUEUE_SIZE);
            CLAIM(item.everything || (item.range.page_count >= 1 && item.range.page_count <= 4096));
        }
        add(caller, &count, sizeof(count));
    }
}

static enum hvtlfs_hypercall_result once(struct caller *caller, struct hvtlfs_vp *vp,
                                         struct hvtlfs_hypercall_regs *regs,
                                         const uint64_t block[512])
{
    const struct hvtlfs_hypercall_regs was = *regs;
    enum hvtlfs_hypercall_result result;

    host_clear_ram(1u << IN_PAGE);
    memcpy(fuzz_ram + IN_PAGE * HVTLFS_PAGE_SIZE, block, HVTLFS_PAGE_SIZE);
    host_forget_requests();
    host_forget_reads();
    result = hvtlfs_hypercall(vp, regs);
    CLAIM(!fuzz_host.locked);
    check_answer(&was, regs, result);
    add(caller, &result, sizeof(result));
    add(caller, &regs->rax, 7 * sizeof(uint64_t));
    add(caller, regs->xmm, sizeof(regs->xmm));
    add(caller, &regs->changed, sizeof(regs->changed));
    add_requests(caller);
    drain(caller);
    return result;
}

static void call(struct caller *caller, struct input *input)
{
    struct hvtlfs_vp *vp = caller->setup.vp[input_byte(input) % caller->setup.config.vp_count];
    struct hvtlfs_hypercall_regs regs;
    enum hvtlfs_hypercall_result result;
    uint64_t block[512];
    unsigned continues = 0;

    any_registers(input, &regs);
    any_block(input, block);
    while ((result = once(caller, vp, &regs, block)) == HVTLFS_HYPERCALL_CONTINUE) {
        CLAIM(++continues < MOST_CONTINUES);
    }
    if (result == HVTLFS_HYPERCALL_INTERCEPT) {
        hvtlfs_hypercall_fail(&regs, 5);
        CLAIM((regs.rax & 0xFFFF) == 5);
    }
}

/* Between calls: SynIC registers, so that posts and signals find somebody. */
static void prepare(struct caller *caller, struct input *input)
{
    struct hvtlfs_vp *vp = caller->setup.vp[input_byte(input) % caller->setup.config.vp_count];
    const uint8_t how = input_byte(input);

    CLAIM(hvtlfs_msr_write(vp, 0x40000080, how & 1) <= HVTLFS_MSR_FAULT);
    CLAIM(hvtlfs_msr_write(vp, 0x40000083, 0x4000u | (how >> 1 & 1)) <= HVTLFS_MSR_FAULT);
    CLAIM(hvtlfs_msr_write(vp, 0x40000082, 0x5000u | (how >> 2 & 1)) <= HVTLFS_MSR_FAULT);
    CLAIM(hvtlfs_msr_write(vp, 0x40000090u + (how >> 4), 0x40u + how) <= HVTLFS_MSR_FAULT);
}

static void settings(struct input *input)
{
    const uint8_t how = input_byte(input);

    fuzz_host.answer = (enum hvtlfs_answer)(how % 5);
    fuzz_host.connection_status = how & 64 ? 0x13 : 0;
    fuzz_host.fail_at = how & 128 ? fuzz_host.fallible + 1 + (how & 15) : 0;
}

static uint64_t pass(struct input input, bool races)
{
    struct caller caller = {.hash = HASH};

    setup_begin(&caller.setup, &input);
    if (!caller.setup.partition) {
        return 0;
    }
    setup_connections(&caller.setup);
    fuzz_host.races = races;
    fuzz_host.watch_reads = true;
    for (unsigned i = 0; i < MOST_CALLS && input_left(&input); i++) {
        switch (input_byte(&input) & 7) {
        case 0:
            prepare(&caller, &input);
            break;
        case 1:
            settings(&input);
            break;
        default:
            call(&caller, &input);
            break;
        }
    }
    fuzz_host.fail_at = 0;
    setup_end(&caller.setup);
    return caller.hash;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* A host without overlays has the library read and write the pages themselves in guest memory. */
    const uint8_t overlays = (uint8_t)(size ? data[0] & 0xFEu : 0);
    uint8_t copy[4096];

    size = size < sizeof(copy) ? size : sizeof(copy);
    if (!size) {
        return 0;
    }
    memcpy(copy, data, size);
    copy[0] = overlays;
    CLAIM(pass((struct input){copy, size}, false) == pass((struct input){copy, size}, true));
    return 0;
}
