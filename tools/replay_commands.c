/* SPDX-License-Identifier: MIT */
/* The commands of a script, in the order of hvtlfs-replay(5). */
#include "replay.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <hvtlfs/cpuid.h>
#include <hvtlfs/flush.h>
#include <hvtlfs/msr.h>
#include <hvtlfs/tlfs.h>
#include <hvtlfs/vapic.h>
#include <hvtlfs/reftime.h>
#include <hvtlfs/time.h>

#include "decode.h"

#define ROWS(array) (sizeof(array) / sizeof(array)[0])
#define READ_MAX (1u << 20)  /* bytes one 'read' may ask for */
#define CONTINUE_MAX 100000u /* a rep hypercall has at most 4095 elements */

/* ---- Words ---- */

bool replay_number(struct replay *replay, const char *word, const char *what, uint64_t max,
                   uint64_t *value)
{
    if (number_parse(word, strlen(word), value) && *value <= max) {
        return true;
    }
    if (max == UINT64_MAX) {
        (void)replay_expected(replay, "expected %s: a number, got '%s'", what, word);
    } else {
        (void)replay_expected(replay, "expected %s: a number up to 0x%" PRIx64 ", got '%s'", what,
                              max, word);
    }
    return false;
}

bool replay_vp(struct replay *replay, const char *word, struct hvtlfs_vp **vp, uint32_t *vp_index)
{
    uint64_t index;
    if (!number_parse(word, strlen(word), &index) || index >= replay->vp_count) {
        (void)replay_expected(replay, "expected a VP index from 0 to %" PRIu32 ", got '%s'",
                              replay->vp_count - 1, word);
        return false;
    }
    *vp_index = (uint32_t)index;
    *vp = hvtlfs_partition_vp(replay->partition, *vp_index);
    return true;
}

/* An MSR by number or by name. */
static bool msr_word(struct replay *replay, const char *word, uint32_t *msr)
{
    uint64_t number;
    const char *nearest = NULL;
    if (number_parse(word, strlen(word), &number) && number <= UINT32_MAX) {
        *msr = (uint32_t)number;
        return true;
    }
    if (name_find(&msr_names, word, msr, &nearest)) {
        return true;
    }
    return replay_expected(replay, "expected an MSR: a 32-bit number or a name, got '%s'%s%s%s",
                           word, nearest != NULL ? "; did you mean '" : "",
                           nearest != NULL ? nearest : "", nearest != NULL ? "'?" : "");
}

static bool ok(struct replay *replay)
{
    text_add_bytes(&replay->result, "ok", 2);
    return true;
}

/* ---- cpuid, rdmsr, wrmsr ---- */

static bool run_cpuid(struct replay *replay, size_t count, char **words)
{
    struct hvtlfs_vp *vp;
    uint32_t vp_index;
    uint64_t leaf;
    uint64_t subleaf = 0;
    struct hvtlfs_cpuid_regs regs = {0};
    if (!replay_vp(replay, words[0], &vp, &vp_index) ||
        !replay_number(replay, words[1], "a leaf", UINT32_MAX, &leaf) ||
        (count > 2 && !replay_number(replay, words[2], "a subleaf", UINT32_MAX, &subleaf))) {
        return false;
    }
    (void)hvtlfs_cpuid(vp, (uint32_t)leaf, (uint32_t)subleaf, &regs);
    text_add(&replay->result,
             "eax=0x%" PRIx32 " ebx=0x%" PRIx32 " ecx=0x%" PRIx32 " edx=0x%" PRIx32, regs.eax,
             regs.ebx, regs.ecx, regs.edx);
    return true;
}

/* What an MSR access comes to, apart from a value read. */
static const char *msr_result_word(enum hvtlfs_msr_result result)
{
    switch (result) {
    case HVTLFS_MSR_DONE:
    case HVTLFS_MSR_DELIVER:
    case HVTLFS_MSR_IDLE:
        return "ok";
    case HVTLFS_MSR_FAULT:
        return "#GP";
    case HVTLFS_MSR_UNCLAIMED:
        return "unclaimed";
    }
    return "undefined";
}

/* An exit of the VP and its way back: the model's APIC has its say before and after. */
static enum hvtlfs_msr_result read_msr(struct replay *replay, struct hvtlfs_vp *vp, uint32_t msr,
                                       uint64_t *value)
{
    uint32_t vp_index = hvtlfs_vp_index(vp);
    struct model_apic *apic = model_host_local_apic(replay->host, vp_index);
    model_apic_leave(apic, vp);
    enum hvtlfs_msr_result result = hvtlfs_msr_read(vp, msr, value);
    if (result == HVTLFS_MSR_IDLE) {
        model_host_note_idle(replay->host, vp_index);
    }
    (void)model_apic_enter(apic, vp);
    return result;
}

static enum hvtlfs_msr_result write_msr(struct replay *replay, struct hvtlfs_vp *vp, uint32_t msr,
                                        uint64_t value)
{
    struct model_apic *apic = model_host_local_apic(replay->host, hvtlfs_vp_index(vp));
    model_apic_leave(apic, vp);
    enum hvtlfs_msr_result result = hvtlfs_msr_write(vp, msr, value);
    (void)model_apic_enter(apic, vp);
    return result;
}

static bool run_rdmsr(struct replay *replay, size_t count, char **words)
{
    struct hvtlfs_vp *vp;
    uint32_t vp_index;
    uint32_t msr;
    uint64_t value = 0;
    (void)count;
    if (!replay_vp(replay, words[0], &vp, &vp_index) || !msr_word(replay, words[1], &msr)) {
        return false;
    }
    const char *word = msr_result_word(read_msr(replay, vp, msr, &value));
    if (strcmp(word, "ok") == 0) {
        text_add(&replay->result, "0x%" PRIx64, value);
    } else {
        text_add(&replay->result, "%s", word);
    }
    return true;
}

static bool run_wrmsr(struct replay *replay, size_t count, char **words)
{
    struct hvtlfs_vp *vp;
    uint32_t vp_index;
    uint32_t msr;
    uint64_t value;
    (void)count;
    if (!replay_vp(replay, words[0], &vp, &vp_index) || !msr_word(replay, words[1], &msr) ||
        !replay_number(replay, words[2], "a value", UINT64_MAX, &value)) {
        return false;
    }
    text_add(&replay->result, "%s", msr_result_word(write_msr(replay, vp, msr, value)));
    return true;
}

/* ---- hypercall, regs ---- */

/* What the words of a hypercall say, before it is made. */
struct call {
    struct hvtlfs_hypercall_regs regs;
    const char *wide_name;   /* a register of 64-bit mode that was given, or NULL */
    const char *narrow_name; /* the same of 32-bit mode */
    bool once;
};

struct call_register {
    const char *wide;
    const char *narrow; /* NULL: not in 32-bit mode */
    size_t offset;
};

#define REGISTER(name) offsetof(struct hvtlfs_hypercall_regs, name)

static const struct call_register call_registers[] = {
    {"rax", "eax", REGISTER(rax)}, {"rbx", "ebx", REGISTER(rbx)}, {"rcx", "ecx", REGISTER(rcx)},
    {"rdx", "edx", REGISTER(rdx)}, {"rsi", "esi", REGISTER(rsi)}, {"rdi", "edi", REGISTER(rdi)},
    {"r8", NULL, REGISTER(r8)},
};

static uint64_t *register_of(struct hvtlfs_hypercall_regs *regs, const struct call_register *row)
{
    return (uint64_t *)(void *)((char *)regs + row->offset);
}

static bool set_register(struct replay *replay, struct call *call, const struct call_register *row,
                         bool narrow, const char *value)
{
    const char *name = narrow ? row->narrow : row->wide;
    if (narrow) {
        call->narrow_name = name;
    } else {
        call->wide_name = name;
    }
    return replay_number(replay, value, name, narrow ? UINT32_MAX : UINT64_MAX,
                         register_of(&call->regs, row));
}

/* 32 hexadecimal digits, the highest first, as the register is written in manuals. */
static bool set_xmm(struct replay *replay, struct call *call, char number, const char *value)
{
    uint8_t bytes[16];
    size_t size = 0;
    const char *digits = strncmp(value, "0x", 2) == 0 ? value + 2 : value;
    if (number < '0' || number > '5') {
        return replay_expected(replay, "expected xmm0 to xmm5, got 'xmm%c'", number);
    }
    if (!hex_parse(digits, strlen(digits), bytes, sizeof(bytes), &size) || size != sizeof(bytes)) {
        return replay_expected(replay, "expected 32 hexadecimal digits after 'xmm%c=', got '%s'",
                               number, value);
    }
    struct hvtlfs_xmm *xmm = &call->regs.xmm[number - '0'];
    for (size_t i = 0; i < 8; i++) {
        xmm->half[1] = xmm->half[1] << 8 | bytes[i];
        xmm->half[0] = xmm->half[0] << 8 | bytes[8 + i];
    }
    return true;
}

static bool set_mode(struct replay *replay, struct call *call, const char *value)
{
    static const char *const names[] = {
        [HVTLFS_MODE_REAL] = "real", [HVTLFS_MODE_PROTECTED32] = "32", [HVTLFS_MODE_LONG64] = "64"};
    for (size_t i = 0; i < ROWS(names); i++) {
        if (strcmp(value, names[i]) == 0) {
            call->regs.mode = (enum hvtlfs_cpu_mode)i;
            return true;
        }
    }
    return replay_expected(replay, "expected mode=64, mode=32 or mode=real, got 'mode=%s'", value);
}

static bool set_cpl(struct replay *replay, struct call *call, const char *value)
{
    uint64_t cpl;
    bool valid = replay_number(replay, value, "cpl", 3, &cpl);
    call->regs.cpl = valid ? (uint8_t)cpl : 0;
    return valid;
}

static bool set_once(struct replay *replay, struct call *call, const char *value)
{
    uint64_t once;
    bool valid = replay_number(replay, value, "once", 1, &once);
    call->once = valid && once == 1;
    return valid;
}

struct call_option {
    const char *name;
    bool (*set)(struct replay *replay, struct call *call, const char *value);
};

static const struct call_option call_options[] = {
    {"mode", set_mode},
    {"cpl", set_cpl},
    {"once", set_once},
};

static bool is_key(const char *word, size_t size, const char *key)
{
    return key != NULL && strlen(key) == size && memcmp(word, key, size) == 0;
}

static bool not_a_call_word(struct replay *replay, const char *word)
{
    return replay_expected(replay, "expected REGISTER=VALUE, mode=, cpl= or once=, got '%s'", word);
}

static bool read_call_word(struct replay *replay, struct call *call, const char *word)
{
    const char *equals = strchr(word, '=');
    if (equals == NULL) {
        return not_a_call_word(replay, word);
    }
    size_t size = (size_t)(equals - word);
    for (size_t i = 0; i < ROWS(call_registers); i++) {
        bool narrow = is_key(word, size, call_registers[i].narrow);
        if (narrow || is_key(word, size, call_registers[i].wide)) {
            return set_register(replay, call, &call_registers[i], narrow, equals + 1);
        }
    }
    for (size_t i = 0; i < ROWS(call_options); i++) {
        if (is_key(word, size, call_options[i].name)) {
            return call_options[i].set(replay, call, equals + 1);
        }
    }
    if (size == 4 && memcmp(word, "xmm", 3) == 0) {
        return set_xmm(replay, call, word[3], equals + 1);
    }
    return not_a_call_word(replay, word);
}

/* Registers of one mode in a call of the other are a mistake of the script, not of the guest. */
static bool check_names(struct replay *replay, const struct call *call)
{
    if (call->regs.mode == HVTLFS_MODE_LONG64 && call->narrow_name != NULL) {
        return replay_expected(replay,
                               "expected a 64-bit register such as rcx (or mode=32), got "
                               "'%s'",
                               call->narrow_name);
    }
    if (call->regs.mode == HVTLFS_MODE_PROTECTED32 && call->wide_name != NULL) {
        return replay_expected(replay,
                               "expected a 32-bit register such as eax (or mode=64), got "
                               "'%s'",
                               call->wide_name);
    }
    return true;
}

/* The guest gets back what the library says has changed, and nothing else. */
static void write_back(struct hvtlfs_hypercall_regs *guest, const struct hvtlfs_hypercall_regs *out)
{
    guest->rax = (out->changed & HVTLFS_CHANGED_RAX) != 0 ? out->rax : guest->rax;
    guest->rcx = (out->changed & HVTLFS_CHANGED_RCX) != 0 ? out->rcx : guest->rcx;
    guest->rdx = (out->changed & HVTLFS_CHANGED_RDX) != 0 ? out->rdx : guest->rdx;
    guest->r8 = (out->changed & HVTLFS_CHANGED_R8) != 0 ? out->r8 : guest->r8;
    if ((out->changed & HVTLFS_CHANGED_XMM) != 0) {
        memcpy(guest->xmm, out->xmm, sizeof(guest->xmm));
    }
    guest->fault_gpa = out->fault_gpa;
    guest->fault_access = out->fault_access;
}

static void add_value(struct replay *replay, const struct hvtlfs_hypercall_regs *regs)
{
    uint64_t value = regs->mode == HVTLFS_MODE_PROTECTED32
                         ? regs->rdx << 32 | (regs->rax & UINT32_MAX)
                         : regs->rax;
    text_add(&replay->result, "0x%" PRIx64, value);
}

static void add_intercept(struct replay *replay, const struct hvtlfs_hypercall_regs *regs)
{
    text_add(&replay->result, "intercept gpa=0x%" PRIx64 " access=%s", regs->fault_gpa,
             regs->fault_access == HVTLFS_ACCESS_WRITE ? "write" : "read");
}

static void add_continue(struct replay *replay, const struct hvtlfs_hypercall_regs *regs)
{
    if (regs->mode == HVTLFS_MODE_PROTECTED32) {
        text_add(&replay->result, "continue edx=0x%" PRIx64 " eax=0x%" PRIx64, regs->rdx,
                 regs->rax);
    } else {
        text_add(&replay->result, "continue rcx=0x%" PRIx64, regs->rcx);
    }
}

/* The guest executes the instruction again for as long as its RIP is left there. */
static void make_call(struct replay *replay, struct hvtlfs_vp *vp, bool once,
                      struct hvtlfs_hypercall_regs *guest)
{
    enum hvtlfs_hypercall_result result = HVTLFS_HYPERCALL_CONTINUE;
    for (uint32_t i = 0; result == HVTLFS_HYPERCALL_CONTINUE && i < (once ? 1 : CONTINUE_MAX);
         i++) {
        struct hvtlfs_hypercall_regs out = *guest;
        result = hvtlfs_hypercall(vp, &out);
        if (result != HVTLFS_HYPERCALL_UD) {
            write_back(guest, &out);
        }
        replay_serve_kicks(replay);
    }
    switch (result) {
    case HVTLFS_HYPERCALL_DONE:
        add_value(replay, guest);
        break;
    case HVTLFS_HYPERCALL_UD:
        text_add(&replay->result, "#UD");
        break;
    case HVTLFS_HYPERCALL_CONTINUE:
        add_continue(replay, guest);
        break;
    case HVTLFS_HYPERCALL_INTERCEPT:
        add_intercept(replay, guest);
        break;
    }
}

static bool run_hypercall(struct replay *replay, size_t count, char **words)
{
    struct hvtlfs_vp *vp;
    uint32_t vp_index;
    struct call call = {.regs = {.mode = HVTLFS_MODE_LONG64}};
    if (!replay_vp(replay, words[0], &vp, &vp_index)) {
        return false;
    }
    for (size_t i = 1; i < count; i++) {
        if (!read_call_word(replay, &call, words[i])) {
            return false;
        }
    }
    if (!check_names(replay, &call)) {
        return false;
    }
    replay->vps[vp_index].regs = call.regs;
    make_call(replay, vp, call.once, &replay->vps[vp_index].regs);
    return true;
}

static bool run_regs(struct replay *replay, size_t count, char **words)
{
    struct hvtlfs_vp *vp;
    uint32_t vp_index;
    (void)count;
    if (!replay_vp(replay, words[0], &vp, &vp_index)) {
        return false;
    }
    struct hvtlfs_hypercall_regs *regs = &replay->vps[vp_index].regs;
    bool narrow = regs->mode == HVTLFS_MODE_PROTECTED32;
    for (size_t i = 0; i < ROWS(call_registers); i++) {
        const struct call_register *row = &call_registers[i];
        const char *name = narrow ? row->narrow : row->wide;
        if (name != NULL) {
            text_add(&replay->result, "%s%s=0x%" PRIx64, i > 0 ? " " : "", name,
                     *register_of(regs, row));
        }
    }
    for (size_t i = 0; i < ROWS(regs->xmm); i++) {
        if ((regs->xmm[i].half[0] | regs->xmm[i].half[1]) != 0) {
            text_add(&replay->result, " xmm%zu=%016" PRIx64 "%016" PRIx64, i, regs->xmm[i].half[1],
                     regs->xmm[i].half[0]);
        }
    }
    return true;
}

/* ---- read, write ---- */

static const char *access_word(enum model_access access)
{
    switch (access) {
    case MODEL_ACCESS_OK:
        return "ok";
    case MODEL_ACCESS_FAULT:
        return "#GP";
    case MODEL_ACCESS_UNMAPPED:
        return "unmapped";
    }
    return "undefined";
}

static bool run_read(struct replay *replay, size_t count, char **words)
{
    uint64_t gpa;
    uint64_t size;
    (void)count;
    if (!replay_number(replay, words[0], "a guest physical address", UINT64_MAX, &gpa) ||
        !replay_number(replay, words[1], "a length", READ_MAX, &size)) {
        return false;
    }
    if (size == 0) {
        return replay_expected(replay, "expected a length of at least 1");
    }
    uint8_t *bytes = malloc((size_t)size);
    if (bytes == NULL) {
        return replay_expected(replay, "there is not enough memory to read so much");
    }
    enum model_access access = model_host_guest_read(replay->host, gpa, bytes, (size_t)size);
    if (access == MODEL_ACCESS_OK) {
        text_add_hex(&replay->result, bytes, (size_t)size);
    } else {
        text_add(&replay->result, "%s", access_word(access));
    }
    free(bytes);
    return true;
}

static bool run_write(struct replay *replay, size_t count, char **words)
{
    uint64_t gpa;
    size_t size = 0;
    if (!replay_number(replay, words[0], "a guest physical address", UINT64_MAX, &gpa)) {
        return false;
    }
    text_clear(&replay->scratch);
    for (size_t i = 1; i < count; i++) {
        text_add_bytes(&replay->scratch, words[i], strlen(words[i]));
    }
    /* The bytes need half the room of their digits and are made from front to back: in place. */
    char *digits = replay->scratch.data;
    uint8_t *bytes = (uint8_t *)digits;
    if (!hex_parse(digits, replay->scratch.length, bytes, replay->scratch.length, &size)) {
        return replay_expected(replay, "expected bytes: an even number of hexadecimal digits");
    }
    text_add(&replay->result, "%s",
             access_word(model_host_guest_write(replay->host, gpa, bytes, size)));
    return true;
}

/* ---- tsc, sleep ---- */

static bool run_tsc(struct replay *replay, size_t count, char **words)
{
    uint64_t value;
    (void)count;
    char sign = words[0][0];
    if ((sign != '+' && sign != '=') || !number_parse(words[0] + 1, strlen(words[0] + 1), &value)) {
        return replay_expected(replay, "expected +N or =N, got '%s'", words[0]);
    }
    if (sign == '+') {
        model_host_add_tsc(replay->host, value);
    } else {
        model_host_set_tsc(replay->host, value);
    }
    return ok(replay);
}

uint64_t replay_time(const struct replay *replay)
{
    return model_host_time(replay->host) - model_host_start_time(replay->host);
}

/* A deadline is reference time, which after a freeze or a migration is not the host's. */
static uint64_t host_deadline(const struct replay *replay, uint64_t deadline)
{
    uint64_t now = replay_time(replay);
    uint64_t reference_time = hvtlfs_reference_time(hvtlfs_partition_vp(replay->partition, 0));
    uint64_t left = deadline > reference_time ? deadline - reference_time : 0;
    return left > UINT64_MAX - now ? UINT64_MAX : now + left;
}

/*
 * The next moment up to `end` at which a VP wants to be polled; false if there is none. A deadline
 * that is still the same after its poll has not come in the library's view, which rounds in its own
 * way: `patience` more units pass before the next try.
 */
static bool next_poll(struct replay *replay, uint64_t end, uint64_t patience, uint64_t *when,
                      uint32_t *vp_index)
{
    uint64_t deadline;
    uint64_t now = replay_time(replay);
    *vp_index = model_host_next_deadline(replay->host, &deadline);
    deadline = host_deadline(replay, deadline);
    if (*vp_index == HVTLFS_NO_VP || deadline > end || patience > end - now) {
        return false;
    }
    *when = deadline > now ? deadline : now + patience;
    return true;
}

/*
 * The scale of a TSC clock is rounded down, so reference time may be one unit short of the ticks that
 * passed. A sleep moves reference time by what it says: add the few ticks that are missing.
 */
static void add_missing_ticks(struct replay *replay, struct hvtlfs_vp *vp, uint64_t target)
{
    uint64_t most = model_host_tsc_hz(replay->host) / 10000000 + 2;
    uint64_t least = 0;
    model_host_add_tsc(replay->host, most);
    bool reached = hvtlfs_reference_time(vp) >= target;
    model_host_add_tsc(replay->host, -most);
    while (reached && least < most) {
        uint64_t ticks = least + (most - least) / 2;
        model_host_add_tsc(replay->host, ticks);
        bool enough = hvtlfs_reference_time(vp) >= target;
        model_host_add_tsc(replay->host, -ticks);
        most = enough ? ticks : most;
        least = enough ? least : ticks + 1;
    }
    model_host_add_tsc(replay->host, least);
}

/* Whether a TSC of 64 bits passes its end within a time; at 2^63 Hz it does every two seconds. */
static bool tsc_ends_within(const struct replay *replay, uint64_t time)
{
    uint64_t tsc_hz = model_host_tsc_hz(replay->host);
    uint64_t left = UINT64_MAX - model_host_tsc(replay->host, 0);
    return hvtlfs_mul_u64_hi(time, tsc_hz) >= 10000000 ||
           hvtlfs_tsc_convert(time, 10000000, tsc_hz) > left;
}

static void pass(struct replay *replay, uint64_t time)
{
    struct hvtlfs_vp *vp = hvtlfs_partition_vp(replay->partition, 0);
    uint64_t before = hvtlfs_reference_time(vp);
    /* The formula knows no wrap: a host stops the clock before and gives it the time that passed. */
    if (tsc_ends_within(replay, time) && hvtlfs_freeze(replay->partition) == HVTLFS_OK) {
        model_host_advance(replay->host, time);
        (void)hvtlfs_thaw(replay->partition, time);
        return;
    }
    model_host_advance(replay->host, time);
    if (hvtlfs_reference_time(vp) - before + 1 == time) {
        add_missing_ticks(replay, vp, before + time);
    }
}

void replay_sleep(struct replay *replay, uint64_t time)
{
    uint64_t end = replay_time(replay) + time;
    uint64_t when;
    uint32_t vp_index;
    uint64_t patience = 0;
    while (next_poll(replay, end, patience, &when, &vp_index)) {
        uint64_t deadline = model_host_deadline(replay->host, vp_index);
        pass(replay, when - replay_time(replay));
        hvtlfs_vp_poll(hvtlfs_partition_vp(replay->partition, vp_index));
        replay_serve_kicks(replay);
        bool waits = model_host_deadline(replay->host, vp_index) == deadline;
        patience = waits ? 2 * patience + 1 : 0;
    }
    pass(replay, end - replay_time(replay));
}

static bool run_sleep(struct replay *replay, size_t count, char **words)
{
    uint64_t time;
    uint64_t left = UINT64_MAX - model_host_time(replay->host);
    (void)count;
    if (!replay_number(replay, words[0], "a time in units of 100 ns", left, &time)) {
        return false;
    }
    replay_sleep(replay, time);
    return ok(replay);
}

/* ---- interrupts, events, reset ---- */

static bool run_interrupts(struct replay *replay, size_t count, char **words)
{
    struct hvtlfs_vp *vp;
    uint32_t vp_index;
    struct hvtlfs_interrupt interrupt;
    (void)count;
    if (!replay_vp(replay, words[0], &vp, &vp_index)) {
        return false;
    }
    while (model_host_take_interrupt(replay->host, vp_index, &interrupt)) {
        text_add(&replay->result, "%s", replay->result.length > 0 ? " " : "");
        if (interrupt.nmi) {
            text_add(&replay->result, "nmi");
        } else {
            text_add(&replay->result, "0x%" PRIx32, interrupt.vector);
        }
    }
    if (replay->result.length == 0) {
        text_add(&replay->result, "none");
    }
    return true;
}

static void add_flush(struct replay *replay, const struct hvtlfs_flush_item *item)
{
    text_add(&replay->result, "%s", replay->result.length > 0 ? " ; " : "");
    if (item->everything) {
        text_add(&replay->result, "everything");
        return;
    }
    if (item->all_address_spaces) {
        text_add(&replay->result, "all-spaces");
    } else {
        text_add(&replay->result, "space=0x%" PRIx64, item->address_space);
    }
    text_add(&replay->result, " address=0x%" PRIx64 " pages=%" PRIu64 " size=0x%" PRIx64,
             item->range.address, item->range.page_count, item->range.page_size);
}

static bool run_flushes(struct replay *replay, size_t count, char **words)
{
    struct hvtlfs_flush_item item;
    struct hvtlfs_vp *vp;
    uint32_t vp_index;
    (void)count;
    if (!replay_vp(replay, words[0], &vp, &vp_index)) {
        return false;
    }
    while (hvtlfs_flush_take(vp, &item)) {
        add_flush(replay, &item);
    }
    if (replay->result.length == 0) {
        text_add(&replay->result, "none");
    }
    return true;
}

/* How the host does its work is not what the guest asked for; 'events all' shows it too. */
static bool is_plumbing(enum model_event_kind kind)
{
    return kind == MODEL_EVENT_OVERLAY_SET || kind == MODEL_EVENT_OVERLAY_CLEAR ||
           kind == MODEL_EVENT_KICK || kind == MODEL_EVENT_DEADLINE;
}

static void add_event(struct replay *replay, const struct model_event *event)
{
    size_t size = model_event_text(event, NULL, 0) + 1;
    char *text = malloc(size);
    if (text != NULL) {
        (void)model_event_text(event, text, size);
        text_add(&replay->result, "%s%s", replay->result.length > 0 ? " ; " : "", text);
    }
    free(text);
}

static bool run_events(struct replay *replay, size_t count, char **words)
{
    struct model_event event;
    if (count > 0 && strcmp(words[0], "all") != 0) {
        return replay_expected(replay, "expected 'events' or 'events all', got '%s'", words[0]);
    }
    for (size_t i = 0; model_host_event(replay->host, i, &event); i++) {
        if (event.kind != MODEL_EVENT_INTERRUPT && (count > 0 || !is_plumbing(event.kind))) {
            add_event(replay, &event);
        }
    }
    model_host_clear_events(replay->host);
    if (replay->result.length == 0) {
        text_add(&replay->result, "none");
    }
    return true;
}

/* ---- inject, eoi, apic ---- */

/* A device raises an interrupt while the VP runs: it comes out, takes it or not, and goes in again. */
static bool run_inject(struct replay *replay, size_t count, char **words)
{
    struct hvtlfs_vp *vp;
    uint32_t vp_index;
    uint64_t vector;
    if (!replay_vp(replay, words[0], &vp, &vp_index) ||
        !replay_number(replay, words[1], "a vector", UINT8_MAX, &vector)) {
        return false;
    }
    if (vector < 16) { /* no APIC accepts these */
        return replay_expected(replay, "expected a vector from 16 to 255, got '%s'", words[1]);
    }
    if (count > 2 && strcmp(words[2], "level") != 0 && strcmp(words[2], "edge") != 0) {
        return replay_expected(replay, "expected 'level' or 'edge', got '%s'", words[2]);
    }
    bool level = count > 2 && strcmp(words[2], "level") == 0;
    struct model_apic *apic = model_host_local_apic(replay->host, vp_index);
    model_apic_leave(apic, vp);
    model_apic_request(apic, (uint32_t)vector, level ? HVTLFS_TRIGGER_LEVEL : HVTLFS_TRIGGER_EDGE);
    (void)model_apic_enter(apic, vp);
    return ok(replay);
}

/* Whether the guest's bit was set; it is clear from now on. */
static bool clear_no_eoi_required(struct replay *replay, struct hvtlfs_vp *vp)
{
    uint64_t page = 0;
    if (hvtlfs_msr_read(vp, HV_X64_MSR_VP_ASSIST_PAGE, &page) != HVTLFS_MSR_DONE ||
        (page & HV_MSR_VP_ASSIST_PAGE_ENABLE) == 0) {
        return false;
    }
    uint64_t gpa = page & HV_MSR_VP_ASSIST_PAGE_PAGE_PFN_MASK;
    const uint32_t bit = model_le32(HV_APIC_ASSIST_NO_EOI_REQUIRED);
    uint32_t word;
    if (model_host_guest_read(replay->host, gpa, &word, sizeof(word)) != MODEL_ACCESS_OK ||
        (word & bit) == 0) {
        return false;
    }
    word &= ~bit;
    return model_host_guest_write(replay->host, gpa, &word, sizeof(word)) == MODEL_ACCESS_OK;
}

/* The guest ends an interrupt as TLFS 10.3.5 tells it to. */
static bool run_eoi(struct replay *replay, size_t count, char **words)
{
    struct hvtlfs_vp *vp;
    uint32_t vp_index;
    (void)count;
    if (!replay_vp(replay, words[0], &vp, &vp_index)) {
        return false;
    }
    if (clear_no_eoi_required(replay, vp)) {
        text_add(&replay->result, "no-exit");
        return true;
    }
    const char *word = msr_result_word(write_msr(replay, vp, HV_X64_MSR_EOI, 0));
    text_add(&replay->result, "%s", strcmp(word, "ok") == 0 ? "exit" : word);
    return true;
}

/* Looking at the APIC takes an exit. */
static bool run_apic(struct replay *replay, size_t count, char **words)
{
    struct hvtlfs_vp *vp;
    uint32_t vp_index;
    char text[2048];
    (void)count;
    if (!replay_vp(replay, words[0], &vp, &vp_index)) {
        return false;
    }
    struct model_apic *apic = model_host_local_apic(replay->host, vp_index);
    model_apic_leave(apic, vp);
    (void)model_apic_enter(apic, vp);
    (void)model_apic_text(apic, text, sizeof(text));
    text_add(&replay->result, "%s", text);
    return true;
}

/* Of the system, or of one VP. The host's APIC goes along. */
static bool run_reset(struct replay *replay, size_t count, char **words)
{
    struct hvtlfs_vp *vp;
    uint32_t vp_index;
    if (count == 0) {
        hvtlfs_partition_reset(replay->partition);
        for (uint32_t i = 0; i < replay->vp_count; i++) {
            model_host_reset_apic(replay->host, i);
        }
        return ok(replay);
    }
    if (!replay_vp(replay, words[0], &vp, &vp_index)) {
        return false;
    }
    hvtlfs_vp_reset(vp);
    model_host_reset_apic(replay->host, vp_index);
    return ok(replay);
}

/* ---- VPs that have to be polled ---- */

void replay_serve_kicks(struct replay *replay)
{
    uint32_t vp_index;
    while ((vp_index = model_host_take_kick(replay->host)) != HVTLFS_NO_VP) {
        struct hvtlfs_vp *vp = hvtlfs_partition_vp(replay->partition, vp_index);
        if (vp != NULL) {
            hvtlfs_vp_poll(vp);
        }
    }
}

/* ---- The table ---- */

static const struct replay_command commands[] = {
    {"partition", "[OPTION=VALUE ...]", 0, REPLAY_ANY_COUNT, false, replay_partition},
    {"cpuid", "VP LEAF [SUBLEAF]", 2, 3, false, run_cpuid},
    {"rdmsr", "VP MSR", 2, 2, false, run_rdmsr},
    {"wrmsr", "VP MSR VALUE", 3, 3, false, run_wrmsr},
    {"hypercall", "VP [REGISTER=VALUE ...] [mode=64|32|real] [cpl=N] [once=1]", 1, REPLAY_ANY_COUNT,
     false, run_hypercall},
    {"regs", "VP", 1, 1, false, run_regs},
    {"read", "GPA LENGTH", 2, 2, true, run_read},
    {"write", "GPA HEX", 2, REPLAY_ANY_COUNT, false, run_write},
    {"tsc", "+N|=N", 1, 1, false, run_tsc},
    {"sleep", "N", 1, 1, false, run_sleep},
    {"wrtsc", "VP VALUE", 2, 2, false, replay_wrtsc},
    {"reftime", "[VP]", 0, 1, false, replay_reftime},
    {"guesttime", "VP", 1, 1, false, replay_guesttime},
    {"guesttsc", "VP", 1, 1, false, replay_guesttsc},
    {"page-reason", "", 0, 0, false, replay_page_reason},
    {"freeze", "", 0, 0, false, replay_freeze},
    {"thaw", "[PAUSE]", 0, 1, false, replay_thaw},
    {"migrate", "tsc-hz=N [invariant-tsc=yes|no] [tsc=N]", 1, 3, false, replay_migrate},
    {"interrupts", "VP", 1, 1, false, run_interrupts},
    {"flushes", "VP", 1, 1, false, run_flushes},
    {"inject", "VP VECTOR [edge|level]", 2, 3, false, run_inject},
    {"eoi", "VP", 1, 1, false, run_eoi},
    {"apic", "VP", 1, 1, false, run_apic},
    {"events", "[all]", 0, 1, false, run_events},
    {"post", "VP SINT TYPE [HEX]", 3, 4, false, replay_post},
    {"signal", "VP SINT FLAG", 3, 3, false, replay_signal},
    {"connection", "ID KIND ...", 2, 6, false, replay_connection},
    {"deadline", "VP", 1, 1, false, replay_deadline},
    {"reset", "[VP]", 0, 1, false, run_reset},
    {"save", "FILE", 1, 1, false, replay_save},
    {"load", "FILE", 1, 1, false, replay_load},
};

const struct replay_command *replay_command_row(size_t i)
{
    return i < ROWS(commands) ? &commands[i] : NULL;
}

const struct replay_command *replay_command_find(const char *name)
{
    for (size_t i = 0; i < ROWS(commands); i++) {
        if (strcmp(name, commands[i].name) == 0) {
            return &commands[i];
        }
    }
    return NULL;
}
