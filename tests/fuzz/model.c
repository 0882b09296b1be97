/* SPDX-License-Identifier: MIT */
#include "model.h"

#include <string.h>

#define ENABLE 1u
#define NOWHERE UINT64_MAX

/* The messages that wait; too large to be cleared with the rest. */
static struct model_queue queues[MODEL_VPS][MODEL_SINTS];

static uint64_t page_of(uint64_t value)
{
    return value & ~UINT64_C(0xFFF);
}

/* ---- Overlays (5.2.1) ---- */

uint32_t model_slot(uint32_t vp, enum model_page page)
{
    return page < MODEL_ASSIST ? page : page + vp * MODEL_VP_PAGES;
}

/* The register that places a page. */
static uint64_t register_of(const struct model *model, uint32_t slot)
{
    const struct model_vp *vp;

    if (slot == MODEL_HYPERCALL) {
        return model->hypercall;
    }
    if (slot == MODEL_TSC) {
        return model->reference_tsc;
    }
    vp = &model->vp[(slot - MODEL_ASSIST) / MODEL_VP_PAGES];
    switch ((slot - MODEL_ASSIST) % MODEL_VP_PAGES + MODEL_ASSIST) {
    case MODEL_ASSIST:
        return vp->assist;
    case MODEL_SIM:
        return vp->simp;
    case MODEL_SIEF:
        return vp->siefp;
    default:
        /* Partition, VP, partition internal, VP internal: the MSRs are in another order. */
        {
            static const uint32_t msr[] = {0, 2, 1, 3};

            return vp
                ->stats[msr[(slot - MODEL_ASSIST) % MODEL_VP_PAGES - (MODEL_STATS - MODEL_ASSIST)]];
        }
    }
}

/* 11.8.3, 12.7.1: a base beyond the guest's space is no fault, the page is just not there. */
uint64_t model_place(const struct model *model, uint32_t slot)
{
    const uint64_t value = register_of(model, slot);
    const uint64_t gpa = page_of(value);

    if (!(value & ENABLE) || gpa >= model->gpa_limit) {
        return NOWHERE;
    }
    return model->copies && gpa >= MODEL_RAM_PAGES * MODEL_PAGE ? NOWHERE : gpa;
}

uint32_t model_top(const struct model *model, uint64_t gpa)
{
    uint32_t slot = 0;

    while (slot < MODEL_ASSIST + model->vp_count * MODEL_VP_PAGES &&
           model_place(model, slot) != page_of(gpa)) {
        slot++;
    }
    return slot < MODEL_ASSIST + model->vp_count * MODEL_VP_PAGES ? slot : MODEL_SLOTS;
}

uint8_t *model_visible(struct model *model, uint64_t gpa)
{
    const uint32_t slot = model_top(model, gpa);

    if (slot != MODEL_SLOTS) {
        return &model->page[slot][gpa % MODEL_PAGE];
    }
    return gpa < MODEL_RAM_PAGES * MODEL_PAGE ? &model->ram[gpa / MODEL_PAGE][gpa % MODEL_PAGE]
                                              : NULL;
}

/* 3.13, 12.7, 21.3.3 of 2.0: the guest may only read these. */
bool model_writable(struct model *model, uint64_t gpa)
{
    const uint32_t slot = model_top(model, gpa);

    if (slot == MODEL_SLOTS) {
        return gpa < MODEL_RAM_PAGES * MODEL_PAGE;
    }
    if (slot < MODEL_ASSIST) {
        return false;
    }
    return (slot - MODEL_ASSIST) % MODEL_VP_PAGES < MODEL_STATS - MODEL_ASSIST;
}

/* ---- Interrupts (11.8.5) ---- */

static bool masked(const struct model *model, uint32_t vp, uint32_t sint)
{
    return model->vp[vp].sint[sint] >> 16 & 1 && !(model->vp[vp].sint[sint] >> 18 & 1);
}

static bool polled(const struct model *model, uint32_t vp, uint32_t sint)
{
    return model->vp[vp].sint[sint] >> 18 & 1;
}

bool model_auto_eoi(const struct model *model, uint32_t vp, uint32_t vector)
{
    bool found = false;

    for (uint32_t sint = 0; sint < MODEL_SINTS; sint++) {
        const uint64_t value = model->vp[vp].sint[sint];

        found |= (value & 0xFF) == vector && (value >> 17 & 1) && !(value >> 16 & 1);
    }
    return found;
}

static struct model_interrupt *interrupt(struct model *model, uint32_t vp, uint32_t vector)
{
    static struct model_interrupt nowhere;

    if (model->interrupt_count == MODEL_INTERRUPTS) {
        return &nowhere;
    }
    model->interrupts[model->interrupt_count] =
        (struct model_interrupt){.vp = vp, .vector = vector};
    return &model->interrupts[model->interrupt_count++];
}

void model_request(struct model *model, uint32_t vp, uint32_t vector)
{
    (void)interrupt(model, vp, vector);
}

static void sint_interrupt(struct model *model, uint32_t vp, uint32_t sint)
{
    if (!masked(model, vp, sint) && !polled(model, vp, sint)) {
        interrupt(model, vp, model->vp[vp].sint[sint] & 0xFF)->sint = true;
    }
}

/* ---- Events (11.4) and messages (11.2) ---- */

enum model_post model_signal(struct model *model, uint32_t vp, uint32_t sint, uint32_t flag,
                             bool *newly)
{
    uint8_t *byte = &model->page[model_slot(vp, MODEL_SIEF)][sint * 256 + flag / 8];

    *newly = false;
    if (!(model->vp[vp].scontrol & ENABLE) || !(model->vp[vp].siefp & ENABLE) ||
        masked(model, vp, sint)) {
        return MODEL_REFUSED_STATE;
    }
    if (!(*byte >> flag % 8 & 1)) {
        *newly = true;
        *byte |= (uint8_t)(1u << flag % 8);
        sint_interrupt(model, vp, sint);
    }
    return MODEL_ACCEPTED;
}

static bool takes_messages(const struct model *model, uint32_t vp)
{
    return model->vp[vp].scontrol & model->vp[vp].simp & ENABLE;
}

/* 11.3.1: sixteen buffers for each port, and as many for the host's own messages to a SINT. */
static uint32_t waiting(const struct model *model, const struct model_message *message, uint32_t vp,
                        uint32_t sint)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < MODEL_VPS * MODEL_SINTS; i++) {
        const uint32_t v = i / MODEL_SINTS, s = i % MODEL_SINTS;

        for (uint32_t n = 0; n < model->vp[v].queued[s]; n++) {
            const uint32_t from = queues[v][s].messages[n].connection;

            count += from == message->connection && (from || (v == vp && s == sint));
        }
    }
    return count;
}

enum model_post model_post(struct model *model, uint32_t vp, uint32_t sint,
                           const struct model_message *message)
{
    uint32_t *count = &model->vp[vp].queued[sint];

    if (!takes_messages(model, vp)) {
        return MODEL_REFUSED_STATE;
    }
    if (waiting(model, message, vp, sint) >= 16) {
        return MODEL_REFUSED_FULL;
    }
    queues[vp][sint].messages[(*count)++] = *message;
    return MODEL_ACCEPTED;
}

static uint32_t read32(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
           (uint32_t)bytes[3] << 24;
}

static uint64_t read64(const uint8_t *bytes)
{
    return read32(bytes) | (uint64_t)read32(bytes + 4) << 32;
}

/* 11.10.4, as the online edition lays it out: type, size, flags, origin, payload. */
static bool is_message(const uint8_t *slot, const struct model_message *message)
{
    return read32(slot) == message->type && slot[4] == message->size &&
           read64(slot + 8) == message->origin &&
           !memcmp(slot + 16, message->payload, message->size);
}

/* 13.3.1: timer, when it was due, when the message went into the slot. */
static bool is_timer_message(const uint8_t *slot, uint64_t now)
{
    return read32(slot) == 0x80000010 && slot[4] == 24 && read64(slot + 8) == 0 &&
           read32(slot + 16) < MODEL_TIMERS && read32(slot + 20) == 0 && read64(slot + 24) <= now &&
           read64(slot + 32) <= now && read64(slot + 24) <= read64(slot + 32);
}

static uint32_t sint_of(const struct model_timer *timer)
{
    return timer->config >> 16 & 15;
}

static bool is_direct(const struct model_timer *timer)
{
    return timer->config >> 12 & 1;
}

static bool is_periodic(const struct model_timer *timer)
{
    return timer->config >> 1 & 1;
}

static const char *take_timer_message(struct model_timer *timer, const uint8_t *slot)
{
    const uint64_t due = read64(slot + 24);

    if (!is_periodic(timer)) {
        if (!timer->waiting || due != timer->expired) {
            return "a timer expired that was not due";
        }
        timer->waiting = false;
        return NULL;
    }
    if (!timer->running || due <= timer->start || (due - timer->start) % timer->count) {
        return "a periodic timer's due time is off its line";
    }
    if (timer->last && due <= timer->last) {
        return "a periodic timer ticked twice for one due time";
    }
    timer->last = due;
    return NULL;
}

static const char *take_message(struct model *model, uint32_t vp, uint32_t sint,
                                const uint8_t *slot, uint64_t now)
{
    struct model_queue *queue = &queues[vp][sint];
    uint32_t *count = &model->vp[vp].queued[sint];

    if (!takes_messages(model, vp)) {
        return "a message reached a VP that takes none";
    }
    if (*count && is_message(slot, &queue->messages[0])) {
        (*count)--;
        memmove(&queue->messages[0], &queue->messages[1], *count * sizeof(queue->messages[0]));
        return NULL;
    }
    if (!is_timer_message(slot, now)) {
        return "a message that nobody sent, out of order, or changed";
    }
    {
        struct model_timer *timer = &model->vp[vp].timer[read32(slot + 16)];

        if (sint_of(timer) != sint || is_direct(timer)) {
            return "a timer's message for another SINT";
        }
        return take_timer_message(timer, slot);
    }
}

/* Something waits for certain (a periodic tick may, unseen). */
static bool something_waits(const struct model *model, uint32_t vp, uint32_t sint)
{
    bool found = model->vp[vp].queued[sint];

    for (uint32_t i = 0; i < MODEL_TIMERS; i++) {
        const struct model_timer *timer = &model->vp[vp].timer[i];

        found |= timer->waiting && sint_of(timer) == sint;
    }
    return found;
}

const char *model_slot_found(struct model *model, uint32_t vp, uint32_t sint,
                             const uint8_t slot[256], uint64_t now)
{
    uint8_t *known = &model->page[model_slot(vp, MODEL_SIM)][sint * 256];

    if (!read32(known) && read32(slot)) {
        const char *wrong = take_message(model, vp, sint, slot, now);

        if (wrong) {
            return wrong;
        }
        memcpy(known, slot, 16u + slot[4]);
        sint_interrupt(model, vp, sint);
        for (uint32_t i = 16u + slot[4]; i < 256; i++) {
            if (slot[i] && slot[i] != known[i]) {
                return "bytes behind a message that are neither old nor 0";
            }
            known[i] = slot[i];
        }
    }
    if (takes_messages(model, vp) && something_waits(model, vp, sint)) {
        if (!read32(slot)) {
            return "a message waits in front of an empty slot";
        }
        if (!(slot[5] & 1)) {
            return "a message waits and MessagePending is not set";
        }
        known[5] |= 1;
    } else if (slot[5] == (known[5] | 1u)) {
        known[5] = slot[5]; /* 11.10.4: it may be set later, as for a periodic tick */
    }
    return NULL;
}

/* ---- Lazy EOI (10.3.5) ---- */

static uint8_t *promise_bit(struct model *model, uint32_t vp)
{
    return &model->page[model_slot(vp, MODEL_ASSIST)][0];
}

bool model_promise(struct model *model, uint32_t vp, uint32_t vector, bool edge, bool waits)
{
    struct model_promise *promise = &model->vp[vp].promise;

    if (!edge || waits || promise->stands ||
        model_place(model, model_slot(vp, MODEL_ASSIST)) == NOWHERE) {
        return false;
    }
    *promise = (struct model_promise){.stands = true, .vector = vector};
    *promise_bit(model, vp) |= 1;
    return true;
}

uint32_t model_collect(struct model *model, uint32_t vp)
{
    const struct model_promise was = model->vp[vp].promise;
    const bool kept = was.ended || !(*promise_bit(model, vp) & 1);

    if (!was.stands) {
        return MODEL_NO_VECTOR;
    }
    model->vp[vp].promise.stands = false;
    *promise_bit(model, vp) &= 0xFE;
    return kept ? was.vector : MODEL_NO_VECTOR;
}

enum model_withdrawal model_withdraw(struct model *model, uint32_t vp)
{
    struct model_promise *promise = &model->vp[vp].promise;

    if (!promise->stands) {
        return MODEL_NONE;
    }
    if (!promise->ended && *promise_bit(model, vp) & 1) {
        *promise_bit(model, vp) &= 0xFE;
        promise->stands = false;
        return MODEL_WITHDRAWN;
    }
    promise->ended = true;
    return MODEL_ENDED;
}

bool model_end(struct model *model, uint32_t vp)
{
    const uint32_t slot = model_slot(vp, MODEL_ASSIST);
    const uint64_t gpa = model_place(model, slot);
    const bool promised =
        gpa != NOWHERE && model_top(model, gpa) == slot && *promise_bit(model, vp) & 1;

    if (promised) {
        *promise_bit(model, vp) &= 0xFE;
    }
    return promised;
}

/* What the guest ended by the page comes before anything else that it does to its APIC or the page. */
static void end_promised(struct model *model, uint32_t vp)
{
    model->vp[vp].eois += model_collect(model, vp) != MODEL_NO_VECTOR;
}

void model_eoi(struct model *model, uint32_t vp)
{
    end_promised(model, vp);
    model->vp[vp].eois++;
}

/* Requirements document p. 10: whether an IPI could reach its sender; VP n has APIC ID n, and which of
 * the two formats the ID is in, and what a logical one means, is the APIC's. */
static bool may_reach_sender(uint32_t vp, uint64_t icr)
{
    const uint32_t shorthand = icr >> 18 & 3, x2apic = (uint32_t)(icr >> 32),
                   xapic = (uint32_t)(icr >> 56);

    if (shorthand) {
        return shorthand == 1 || shorthand == 2; /* self, all */
    }
    return (icr >> 11 & 1) || xapic == vp || xapic == 0xFF || x2apic == vp || x2apic == 0xFFFFFFFF;
}

/* ---- The time-unhalted timer (12.6) ---- */

static bool unhalted_runs(const struct model_unhalted *timer)
{
    return timer->config >> 8 & 1 && timer->period;
}

static uint64_t after(uint64_t time, uint64_t more)
{
    return time > UINT64_MAX - more ? UINT64_MAX : time + more;
}

/* docs/CONFORMANCE.md: a vector below 16 other than 2, the NMI, disables it; reserved bits are dropped. */
static void write_unhalted(struct model_vp *of, bool period, uint64_t value)
{
    struct model_unhalted *timer = &of->unhalted;

    if (period) {
        timer->period = value;
    } else {
        const uint64_t vector = value & 0xFF;

        timer->config = vector < 16 && vector != 2 ? vector : value & 0x1FF;
    }
    timer->due = after(of->runtime, timer->period);
}

/* One interrupt for all that was missed; the next counts from the last due time, or from now if it would
 * be over too. */
static void settle_unhalted(struct model *model, uint32_t vp)
{
    struct model_vp *of = &model->vp[vp];
    struct model_unhalted *timer = &of->unhalted;

    if (!unhalted_runs(timer) || of->runtime < timer->due) {
        return;
    }
    timer->due = after(timer->due, timer->period);
    if (timer->due <= of->runtime) {
        timer->due = after(of->runtime, timer->period);
    }
    if (model_place(model, model_slot(vp, MODEL_ASSIST)) != NOWHERE) {
        model->page[model_slot(vp, MODEL_ASSIST)][56] = 1;
    }
    interrupt(model, vp, timer->config & 0xFF)->nmi = (timer->config & 0xFF) == 2;
}

/* ---- Reenlightenment (16.6) ---- */

void model_migrate(struct model *model, uint64_t tsc_hz)
{
    const uint64_t control = model->reenlightenment;

    model->tsc_hz = tsc_hz;
    model->emulating |= model->tsc_emulation && model->known_hz != tsc_hz;
    if (!model->emulating) {
        model->known_hz = tsc_hz;
    }
    if (control >> 16 & 1) {
        (void)interrupt(model, (uint32_t)(control >> 32), control & 0xFF);
    }
}

static enum model_result write_reenlightenment(struct model *model, uint64_t value)
{
    const bool enabled = value >> 16 & 1;

    if ((value & 0xFFFEFF00) ||
        (enabled && ((value & 0xFF) < 16 || value >> 32 >= model->vp_count))) {
        return MODEL_FAULT;
    }
    model->reenlightenment = value;
    return MODEL_DONE;
}

/* 16.6.2: it ends when the guest says that it knows the new rate. */
static void write_emulation_status(struct model *model, uint64_t value)
{
    if (model->emulating && !(value & 1)) {
        model->emulating = false;
        model->known_hz = model->tsc_hz;
    }
}

/* ---- Timers (12.5) ---- */

static void stop(struct model_timer *timer)
{
    timer->running = false;
    timer->waiting = false;
}

/* 12.5.1 and docs/TIMERS.md: what cannot expire is not enabled. */
static void start(struct model_timer *timer, uint64_t now)
{
    const bool nowhere = is_direct(timer) ? (timer->config >> 4 & 0xFF) < 16 : !sint_of(timer);

    if (timer->config & ENABLE && nowhere) {
        timer->config &= ~(uint64_t)ENABLE;
    }
    timer->running = timer->config & ENABLE && timer->count;
    timer->start = now;
    timer->last = 0;
}

static void write_timer(struct model_timer *timer, bool count, uint64_t value, uint64_t now)
{
    stop(timer);
    if (!count) {
        timer->config = value & UINT64_C(0xF1FFF);
    } else if (!value) {
        timer->count = 0;
        timer->config &= ~(uint64_t)ENABLE;
    } else {
        timer->count = value;
        timer->config |= timer->config >> 3 & 1; /* AutoEnable */
    }
    start(timer, now);
}

static void settle_timer(struct model *model, uint32_t vp, struct model_timer *timer, uint64_t now)
{
    if (!timer->running) {
        return;
    }
    if (is_periodic(timer)) {
        if (is_direct(timer) && now >= timer->count && now - timer->count >= timer->start) {
            interrupt(model, vp, timer->config >> 4 & 0xFF)->optional = true;
        }
        return;
    }
    if (timer->count <= now) {
        timer->running = false;
        timer->config &= ~(uint64_t)ENABLE;
        if (is_direct(timer)) {
            (void)interrupt(model, vp, timer->config >> 4 & 0xFF);
        } else {
            timer->waiting = true;
            timer->expired = timer->count;
        }
    }
}

void model_settle(struct model *model, uint64_t now)
{
    for (uint32_t vp = 0; vp < model->vp_count && !model->frozen; vp++) {
        for (uint32_t i = 0; i < MODEL_TIMERS; i++) {
            settle_timer(model, vp, &model->vp[vp].timer[i], now);
        }
        settle_unhalted(model, vp);
    }
}

/* A one-shot timer by its time; a periodic one within a period, unless it waits for its slot. */
uint64_t model_deadline(const struct model *model, uint32_t vp, uint64_t now)
{
    uint64_t deadline = UINT64_MAX;

    for (uint32_t i = 0; i < MODEL_TIMERS; i++) {
        const struct model_timer *timer = &model->vp[vp].timer[i];
        uint64_t at = timer->count;

        if (!timer->running || (is_periodic(timer) && !is_direct(timer))) {
            continue;
        }
        if (is_periodic(timer)) {
            const uint64_t from = timer->start > now ? timer->start : now;
            const uint64_t within = timer->config >> 2 & 1 ? 2 * timer->count : timer->count;

            /* 12.1.4: a lazy one may skip a tick that is near. */
            at = timer->count > (UINT64_MAX - from) / 2 ? UINT64_MAX : from + within;
        }
        deadline = at < deadline ? at : deadline;
    }
    if (unhalted_runs(&model->vp[vp].unhalted)) {
        /* A VP runs at most all of the time. */
        const uint64_t at = after(now, model->vp[vp].unhalted.due - model->vp[vp].runtime);

        deadline = at < deadline ? at : deadline;
    }
    return deadline;
}

/* ---- MSRs ---- */

enum {
    OS_ID = 0x40000000,
    HYPERCALL,
    VP_INDEX,
    RESET,
    VP_RUNTIME = 0x40000010,
    TIME_REF_COUNT = 0x40000020,
    REFERENCE_TSC,
    TSC_FREQUENCY,
    APIC_FREQUENCY,
    NPIEP = 0x40000040,
    EOI = 0x40000070,
    ICR,
    TPR,
    ASSIST,
    SCONTROL = 0x40000080,
    SVERSION,
    SIEFP,
    SIMP,
    EOM,
    SINT0 = 0x40000090,
    STIMER0 = 0x400000B0,
    STATS0 = 0x400000E0,
    GUEST_IDLE = 0x400000F0,
    CRASH_P0 = 0x40000100,
    DEBUG0 = 0x400000F1,
    DEBUG4 = 0x400000F5,
    CRASH_CTL = 0x40000105,
    REENLIGHTENMENT,
    TSC_EMULATION_CONTROL,
    TSC_EMULATION_STATUS,
    UNHALTED_CONFIG = 0x40000114,
    UNHALTED_COUNT,
    TSC_INVARIANT = 0x40000118,
};

/* In the range of the synthetic MSRs, and none that a guest has here. */
static bool is_absent(uint32_t msr)
{
    return (msr > RESET && msr < VP_RUNTIME) || msr == 0x40000085 ||
           (msr >= 0x400000C0 && msr < 0x400000D0) || msr == 0x40000116 || msr == 0x40000119;
}

static enum model_result read_vp(struct model *model, uint32_t vp, uint32_t msr, uint64_t *value,
                                 bool *known)
{
    struct model_vp *of = &model->vp[vp];

    if (msr >= SINT0 && msr < SINT0 + MODEL_SINTS) {
        *value = of->sint[msr - SINT0];
    } else if (msr >= STIMER0 && msr < STIMER0 + 2 * MODEL_TIMERS) {
        const struct model_timer *timer = &of->timer[(msr - STIMER0) / 2];

        *value = msr % 2 ? timer->count : timer->config;
    } else if (msr >= STATS0 && msr < STATS0 + 4) {
        *value = of->stats[msr - STATS0];
    } else if (msr >= DEBUG0 && msr <= DEBUG4) {
        *value = msr; /* so says the host of these tests */
    } else if (is_absent(msr)) {
        return MODEL_FAULT;
    } else {
        *known = false;
    }
    return MODEL_DONE;
}

enum model_result model_read(struct model *model, uint32_t vp, uint32_t msr, uint64_t *value,
                             bool *known)
{
    struct model_vp *of = &model->vp[vp];

    *value = 0;
    *known = true;
    switch (msr) {
    case OS_ID:
        *value = model->guest_os_id;
        return MODEL_DONE;
    case HYPERCALL:
        *value = model->hypercall;
        return MODEL_DONE;
    case VP_INDEX:
        *value = vp;
        return MODEL_DONE;
    case RESET: /* 2.0 6.3.5: reads 0 */
    case EOM:   /* 11.8.6 */
        return MODEL_DONE;
    case REFERENCE_TSC:
        *value = model->reference_tsc;
        return MODEL_DONE;
    case NPIEP:
        *value = of->npiep;
        return MODEL_DONE;
    case EOI: /* 10.2.3.1: write only */
        return MODEL_FAULT;
    case ICR:
        *value = of->icr;
        return MODEL_DONE;
    case TPR:
        *value = of->tpr;
        return MODEL_DONE;
    case VP_RUNTIME:
        *value = of->runtime;
        return MODEL_DONE;
    case TSC_FREQUENCY:
        *value = model->tsc_hz;
        return MODEL_DONE;
    case APIC_FREQUENCY:
        *value = model->apic_hz;
        return MODEL_DONE;
    case REENLIGHTENMENT:
        *value = model->reenlightenment;
        return MODEL_DONE;
    case TSC_EMULATION_CONTROL:
        *value = model->tsc_emulation;
        return MODEL_DONE;
    case TSC_EMULATION_STATUS:
        *value = model->emulating;
        return MODEL_DONE;
    case UNHALTED_CONFIG:
        *value = of->unhalted.config;
        return MODEL_DONE;
    case UNHALTED_COUNT:
        *value = of->unhalted.period;
        return MODEL_DONE;
    case TSC_INVARIANT:
        *value = model->tsc_invariant;
        return model->invariant ? MODEL_DONE : MODEL_FAULT;
    case ASSIST:
        *value = of->assist;
        return MODEL_DONE;
    case SCONTROL:
        *value = of->scontrol;
        return MODEL_DONE;
    case SVERSION:
        *value = 1;
        return MODEL_DONE;
    case SIEFP:
        *value = of->siefp;
        return MODEL_DONE;
    case SIMP:
        *value = of->simp;
        return MODEL_DONE;
    case GUEST_IDLE:
        return MODEL_IDLE;
    case CRASH_CTL: /* 4.3.2: what is supported */
        *value = UINT64_C(0xC000000000000000);
        return MODEL_DONE;
    default:
        if (msr >= CRASH_P0 && msr < CRASH_CTL) {
            *value = model->crash[msr - CRASH_P0];
            return MODEL_DONE;
        }
        return read_vp(model, vp, msr, value, known);
    }
}

/* 3.13: nothing without an identity, nothing when locked (a fault: docs/CONFORMANCE.md), a fault for a
 * page beyond the guest's space. */
static enum model_result write_hypercall(struct model *model, uint64_t value)
{
    const bool was = model->hypercall & ENABLE;

    if (model->hypercall & 2) {
        return MODEL_FAULT;
    }
    if (value & ENABLE) {
        if (!model->guest_os_id) {
            return MODEL_DONE;
        }
        if (page_of(value) >= model->gpa_limit ||
            (model->copies && page_of(value) >= MODEL_RAM_PAGES * MODEL_PAGE)) {
            return MODEL_FAULT;
        }
    }
    model->hypercall = value;
    model->adopt[MODEL_HYPERCALL] |= !was;
    return MODEL_DONE;
}

static enum model_result write_crash_control(struct model *model, uint64_t value)
{
    model->crashes += (uint32_t)(value >> 63); /* 4.3.2: CrashNotify */
    return MODEL_DONE;
}

static enum model_result write_vp(struct model *model, uint32_t vp, uint32_t msr, uint64_t value,
                                  uint64_t now)
{
    struct model_vp *of = &model->vp[vp];

    if (msr >= SINT0 && msr < SINT0 + MODEL_SINTS) {
        if ((value & 0xFF) < 16 && !(value >> 16 & 1)) { /* 11.8.5 */
            return MODEL_FAULT;
        }
        of->sint[msr - SINT0] = value;
    } else if (msr >= STIMER0 && msr < STIMER0 + 2 * MODEL_TIMERS) {
        write_timer(&of->timer[(msr - STIMER0) / 2], msr % 2, value, now);
    } else if (msr >= STATS0 && msr < STATS0 + 4) {
        of->stats[msr - STATS0] = value;
    } else if (msr >= CRASH_P0 && msr < CRASH_CTL) {
        model->crash[msr - CRASH_P0] = value;
    } else if (msr == UNHALTED_CONFIG || msr == UNHALTED_COUNT) {
        write_unhalted(of, msr == UNHALTED_COUNT, value);
    }
    return is_absent(msr) || msr == DEBUG0 + 1 ? MODEL_FAULT
                                               : MODEL_DONE; /* the host refuses that one */
}

enum model_result model_write(struct model *model, uint32_t vp, uint32_t msr, uint64_t value,
                              uint64_t now)
{
    struct model_vp *of = &model->vp[vp];

    switch (msr) {
    case OS_ID: /* 3.13: zero disables the page */
        model->guest_os_id = value;
        model->hypercall &= value ? UINT64_MAX : ~UINT64_C(1);
        return MODEL_DONE;
    case HYPERCALL:
        return write_hypercall(model, value);
    case RESET:
        model->resets += (uint32_t)(value & 1);
        return MODEL_DONE;
    case VP_INDEX:
    case VP_RUNTIME:
    case TIME_REF_COUNT: /* 12.4.1: any write */
    case TSC_FREQUENCY:
    case APIC_FREQUENCY:
    case SVERSION: /* 11.8.2 */
    case GUEST_IDLE:
        return MODEL_FAULT;
    case REFERENCE_TSC:
        model->reference_tsc = value;
        model->adopt[MODEL_TSC] = true;
        return MODEL_DONE;
    case NPIEP:
        of->npiep = value & 15;
        return MODEL_DONE;
    case EOI:
        model_eoi(model, vp);
        return MODEL_DONE;
    case TPR:
        of->tpr = value & 0xFF;
        return MODEL_DONE;
    case ASSIST:
        end_promised(model, vp);
        of->assist = value;
        return MODEL_DONE;
    case SCONTROL:
        of->scontrol = value;
        return MODEL_DONE;
    case SIEFP:
        of->siefp = value;
        return MODEL_DONE;
    case SIMP:
        of->simp = value;
        return MODEL_DONE;
    case ICR:
        of->icr = value;
        return may_reach_sender(vp, value) ? MODEL_DELIVER : MODEL_DONE;
    case EOM:
        return MODEL_DONE;
    case REENLIGHTENMENT:
        return write_reenlightenment(model, value);
    case TSC_EMULATION_CONTROL:
        if (value > 1) {
            return MODEL_FAULT;
        }
        model->tsc_emulation = value;
        return MODEL_DONE;
    case TSC_EMULATION_STATUS:
        write_emulation_status(model, value);
        return MODEL_DONE;
    case TSC_INVARIANT: /* docs/CONFORMANCE.md: one bit, and it stays */
        if (!model->invariant || value > 1 || value < model->tsc_invariant) {
            return MODEL_FAULT;
        }
        model->tsc_invariant = value;
        return MODEL_DONE;
    case CRASH_CTL:
        return write_crash_control(model, value);
    default:
        return write_vp(model, vp, msr, value, now);
    }
}

/* ---- Hypercalls (3.5 to 3.8, 3.12) ---- */

enum {
    SUCCESS = 0,
    INVALID_CODE = 2,
    INVALID_INPUT = 3,
    INVALID_ALIGNMENT = 4,
    INVALID_PARAMETER = 5,
    ACCESS_DENIED = 6,
    INVALID_PARTITION_ID = 0x0D,
    INVALID_VP_INDEX = 0x0E,
    INVALID_CONNECTION_ID = 0x12,
    INSUFFICIENT_BUFFERS = 0x13,
    INVALID_PORT_ID = 0x11,
    INVALID_SYNIC_STATE = 0x18,
    INVALID_REGISTER_VALUE = 0x50,
};

/* Appendix A: what a call looks like. */
struct shape {
    uint16_t code;
    uint16_t header;  /* bytes */
    uint16_t element; /* bytes of a list element, 0: a simple call */
    bool variable;    /* a VP set follows the header */
};

static const struct shape shapes[] = {
    {0x0001, 8, 0, false},  {0x0002, 24, 0, false},  {0x0003, 24, 8, false},  {0x0008, 8, 0, false},
    {0x000B, 16, 0, false}, {0x0013, 32, 0, true},   {0x0014, 32, 8, true},   {0x0015, 24, 0, true},
    {0x0050, 16, 4, false}, {0x0051, 16, 32, false}, {0x005C, 256, 0, false}, {0x005D, 8, 0, false},
    {0x009A, 16, 8, false}, {0x00AF, 16, 0, false},  {0x00B0, 16, 8, false},
};

static void may(struct model_answer *answer, uint16_t status)
{
    if (answer->statuses < MODEL_STATUSES) {
        answer->status[answer->statuses++] = status;
    }
}

static const struct shape *shape_of(uint16_t code)
{
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        if (shapes[i].code == code) {
            return &shapes[i];
        }
    }
    return NULL;
}

static uint64_t field(uint64_t control, unsigned low, unsigned bits)
{
    return control >> low & ((UINT64_C(1) << bits) - 1);
}

/* 3.7: what must be zero, and what must not. */
static bool control_is_wrong(const struct shape *shape, uint64_t control)
{
    const uint64_t count = field(control, 32, 12), first = field(control, 48, 12);

    if (field(control, 27, 4) || field(control, 44, 4) || field(control, 60, 4)) {
        return true; /* bits 31 and 26, "nested", say who handles it: we do */
    }
    if (field(control, 17, 9) > (shape->variable ? 64u : 0u)) {
        return true; /* 3.7.1; a set has at most 64 banks */
    }
    return shape->element ? first >= count : count || first;
}

/* What is read: header, variable part, list. */
static uint64_t input_size(const struct shape *shape, uint64_t control)
{
    return shape->header + 8 * field(control, 17, 9) + shape->element * field(control, 32, 12);
}

/* Bytes of output for an element of the list. */
static uint64_t output_element(uint16_t code)
{
    return code == 0x50 ? 16 : code == 0x9A ? 8 : 0;
}

static void judge_placement(struct model *model, const struct shape *shape,
                            const struct model_call *call, struct model_answer *answer)
{
    const uint64_t size = input_size(shape, call->control);

    if (call->fast) {
        if (size > 112) {
            may(answer, INVALID_INPUT);
        }
        return;
    }
    if (call->in % 8 || call->in % MODEL_PAGE + size > MODEL_PAGE || call->in >= model->gpa_limit) {
        may(answer, INVALID_ALIGNMENT);
    }
    if (call->out % MODEL_PAGE + output_element(shape->code) * field(call->control, 32, 12) >
        MODEL_PAGE) {
        may(answer, INVALID_ALIGNMENT);
    }
    if (!model_visible(model, call->in)) {
        answer->intercept = true;
    }
}

static const uint8_t *input_of(struct model *model, const struct model_call *call)
{
    return call->fast ? call->block : model_visible(model, call->in);
}

static uint64_t present(const struct model *model)
{
    return (UINT64_C(1) << model->vp_count) - 1;
}

/* 7.8.7.3: a format, the banks that follow, the banks. Only bank 0 has VPs here. */
static bool vp_set(const struct model *model, const uint8_t *set, uint64_t banks, uint64_t *targets)
{
    const uint64_t format = read64(set), valid = read64(set + 8);
    uint64_t count = 0;

    for (unsigned i = 0; i < 64; i++) {
        count += valid >> i & 1;
    }
    if (format == 1) {
        *targets = present(model);
        return true;
    }
    if (format || count != banks) {
        return false;
    }
    *targets = valid & 1 ? read64(set + 16) & present(model) : 0;
    return true;
}

/* 9.4.2 to 9.4.5 */
static void flush(struct model *model, const struct shape *shape, const uint8_t *in,
                  uint64_t control, struct model_answer *answer)
{
    const uint64_t flags = read64(in + 8);
    const uint64_t known = shape->element ? 3 | 8 : 7;
    const uint8_t *list = in + shape->header + 8 * field(control, 17, 9);
    uint64_t targets = present(model);

    if (flags & ~known) {
        may(answer, INVALID_PARAMETER);
        return;
    }
    if (!(flags & 1)) {
        if (!shape->variable) {
            targets &= read64(in + 16);
        } else if (!vp_set(model, in + 16, field(control, 17, 9), &targets)) {
            may(answer, INVALID_PARAMETER);
            return;
        }
    }
    model->flushed = targets;
    model->flush_targets = targets;
    for (uint64_t i = field(control, 48, 12); shape->element && i < field(control, 32, 12); i++) {
        if (targets && model->flush_range_count < MODEL_RANGES) {
            model->flush_ranges[model->flush_range_count++] = read64(list + 8 * i);
        }
    }
}

/* 10.5.2, 10.5.3: a fixed vector for each target; VTL 0 or "the target's" */
static void cluster_ipi(struct model *model, const struct shape *shape, const uint8_t *in,
                        uint64_t control, struct model_answer *answer)
{
    const uint32_t vector = read32(in);
    uint64_t targets = read64(in + 8) & present(model);

    if (vector < 0x10 || vector > 0xFF || (in[4] & ~0x10u) || in[5] || in[6] || in[7] ||
        (shape->variable && !vp_set(model, in + 8, field(control, 17, 9), &targets))) {
        may(answer, INVALID_PARAMETER);
        return;
    }
    for (uint32_t vp = 0; vp < model->vp_count; vp++) {
        if (targets >> vp & 1) {
            (void)interrupt(model, vp, vector);
        }
    }
}

static const struct model_connection *connection(const struct model *model, uint32_t id)
{
    for (uint32_t i = 0; i < 5; i++) {
        if (model->connection[i].id == id) {
            return &model->connection[i];
        }
    }
    return NULL;
}

static uint16_t status_of(enum model_post post)
{
    return post == MODEL_ACCEPTED        ? SUCCESS
           : post == MODEL_REFUSED_STATE ? INVALID_SYNIC_STATE
                                         : INSUFFICIENT_BUFFERS;
}

/* 11.11.1. "Any VP": the caller if it takes messages, else the first that does. */
static uint32_t destination(const struct model *model, const struct model_connection *to,
                            uint32_t caller)
{
    if (!to->any_vp) {
        return to->vp;
    }
    for (uint32_t vp = 0; !takes_messages(model, caller) && vp < model->vp_count; vp++) {
        if (takes_messages(model, vp)) {
            return vp;
        }
    }
    return caller;
}

static void post_message(struct model *model, uint32_t vp, const uint8_t *in,
                         struct model_answer *answer)
{
    const struct model_connection *to = connection(model, read32(in));
    struct model_message message = {
        .type = read32(in + 8), .size = read32(in + 12), .connection = read32(in)};

    if (!to) {
        may(answer, INVALID_CONNECTION_ID);
    } else if (to->event) {
        may(answer, INVALID_PORT_ID);
    }
    if (!message.type || message.type >> 31 || message.size > 240) {
        may(answer, INVALID_PARAMETER);
    }
    if (answer->statuses) {
        return;
    }
    if (to->to_host) {
        model->posts++;
        return;
    }
    message.origin = to->port;
    memcpy(message.payload, in + 16, message.size);
    {
        const enum model_post done =
            model_post(model, destination(model, to, vp), to->sint, &message);

        if (done != MODEL_ACCEPTED) {
            may(answer, status_of(done));
        }
    }
}

/* 11.11.2 */
static void signal_event(struct model *model, const uint8_t *in, struct model_answer *answer)
{
    const struct model_connection *to = connection(model, read32(in));
    const uint32_t flag = read32(in + 4) & 0xFFFF;
    bool newly;

    if (!to) {
        may(answer, INVALID_CONNECTION_ID);
    } else if (!to->event) {
        may(answer, INVALID_PORT_ID);
    } else if (flag >= to->flags) {
        may(answer, INVALID_PARAMETER);
    }
    if (in[6] || in[7]) {
        may(answer, INVALID_PARAMETER);
    }
    if (answer->statuses) {
        return;
    }
    if (to->to_host) {
        model->signals++;
    } else if (model_signal(model, to->vp, to->sint, to->base + flag, &newly) != MODEL_ACCEPTED) {
        may(answer, INVALID_SYNIC_STATE);
    }
}

/* ---- Registers (7.8.2, 7.10.1, 7.10.2) ---- */

#define HOSTS_REGISTER 0x20000u /* RAX: the host of these tests says its name, and takes anything */

/* Names that follow each other stand for MSRs that do. */
static const struct {
    uint32_t name, count, msr;
} registers[] = {
    {0x00000210, 6, CRASH_P0},   {0x00000240, 2, TSC_FREQUENCY},   {0x00090000, 1, VP_RUNTIME},
    {0x00090001, 1, HYPERCALL},  {0x00090002, 1, OS_ID},           {0x00090003, 1, VP_INDEX},
    {0x00090010, 4, EOI},        {0x00090017, 1, REFERENCE_TSC},   {0x00090020, 1, STATS0},
    {0x00090022, 1, STATS0 + 2}, {0x000A0000, 16, SINT0},          {0x000A0010, 5, SCONTROL},
    {0x000B0000, 8, STIMER0},    {0x000B0100, 2, UNHALTED_CONFIG},
};

uint32_t model_register(uint32_t name)
{
    for (size_t i = 0; i < sizeof(registers) / sizeof(registers[0]); i++) {
        if (name - registers[i].name < registers[i].count) {
            return registers[i].msr + (name - registers[i].name);
        }
    }
    return 0;
}

/* A name that is some other partition's business, or a read that suspends (docs/CONFORMANCE.md); or none. */
static uint16_t no_register(uint32_t name)
{
    return !name || name == 0x250 || name == 0xD0005 ? ACCESS_DENIED : INVALID_PARAMETER;
}

static uint16_t get_register(struct model *model, uint32_t vp, uint32_t name, uint64_t *value)
{
    const uint32_t msr = model_register(name);
    bool known;

    *value = HOSTS_REGISTER;
    if (name == HOSTS_REGISTER) {
        return SUCCESS;
    }
    if (!msr) {
        return no_register(name);
    }
    return model_read(model, vp, msr, value, &known) == MODEL_FAULT ? INVALID_PARAMETER : SUCCESS;
}

static uint16_t set_register(struct model *model, uint32_t vp, uint32_t name, const uint8_t *value,
                             uint64_t now)
{
    const uint32_t msr = model_register(name);

    if (name == HOSTS_REGISTER) {
        return SUCCESS;
    }
    if (!msr) {
        return no_register(name);
    }
    return read64(value + 8) || model_write(model, vp, msr, read64(value), now) == MODEL_FAULT
               ? INVALID_REGISTER_VALUE
               : SUCCESS;
}

/* This partition, this VP (the others' registers are theirs: docs/CONFORMANCE.md), VTL 0. */
static void judge_registers(const struct model *model, uint32_t vp, const uint8_t *in,
                            struct model_answer *answer)
{
    const uint32_t whose = read32(in + 8);

    if (read64(in) != UINT64_MAX) {
        may(answer, INVALID_PARTITION_ID);
    }
    if (whose != 0xFFFFFFFE && whose >= model->vp_count) {
        may(answer, INVALID_VP_INDEX);
    } else if (whose != 0xFFFFFFFE && whose != vp) {
        may(answer, ACCESS_DENIED);
    }
    if (read32(in + 12)) {
        may(answer, INVALID_PARAMETER);
    }
}

static void write64(uint8_t *bytes, uint64_t value)
{
    for (unsigned i = 0; i < 8; i++) {
        bytes[i] = (uint8_t)(value >> 8 * i);
    }
}

/* One after the other; the first that fails ends the call, and those before it stay done (3.8). */
static void get_or_set_registers(struct model *model, uint32_t vp, const struct model_call *call,
                                 const uint8_t *in, uint64_t now, struct model_answer *answer)
{
    const bool set = (uint16_t)call->control == 0x51;
    uint32_t i = (uint32_t)field(call->control, 48, 12);

    judge_registers(model, vp, in, answer);
    answer->counts = true;
    answer->reps = i;
    for (; !answer->statuses && i < field(call->control, 32, 12); i++) {
        const uint8_t *element = in + 16 + i * (set ? 32u : 4u);
        uint64_t value = 0;
        uint16_t status;

        if (!set) {
            status = get_register(model, vp, read32(element), &value);
        } else if (read32(element + 4) || read64(element + 8)) {
            status = INVALID_PARAMETER;
        } else {
            status = set_register(model, vp, read32(element), element + 16, now);
        }
        if (status) {
            may(answer, status);
            return;
        }
        if (!set) {
            write64(model_visible(model, call->out) + 16 * i, value);
            write64(model_visible(model, call->out) + 16 * i + 8, 0);
        }
        answer->reps++;
    }
}

/* 7.10.4: VP n has APIC ID n. */
static void vp_indices(struct model *model, const struct model_call *call, const uint8_t *in,
                       struct model_answer *answer)
{
    uint32_t i = (uint32_t)field(call->control, 48, 12);

    answer->counts = true;
    answer->reps = i;
    if (read64(in) != UINT64_MAX) {
        may(answer, INVALID_PARTITION_ID);
    }
    if (in[8]) { /* another VTL than 0 */
        may(answer, INVALID_PARAMETER);
    }
    for (; !answer->statuses && i < field(call->control, 32, 12); i++) {
        const uint32_t id = read32(in + 16 + 8 * i);

        if (id >= model->vp_count) {
            may(answer, INVALID_PARAMETER);
            return;
        }
        write64(model_visible(model, call->out) + 8 * i, id);
        answer->reps++;
    }
}

/* 16.13: no flag is defined; whose translations go is the host's to know. */
static void flush_guest_physical(const struct shape *shape, const uint8_t *in, uint64_t control,
                                 struct model_answer *answer)
{
    answer->counts = shape->element;
    answer->reps = (uint32_t)field(control, 32, 12);
    if (read64(in + 8)) {
        may(answer, INVALID_PARAMETER);
        answer->reps = (uint32_t)field(control, 48, 12);
    }
}

static void perform(struct model *model, uint32_t vp, const struct shape *shape,
                    const struct model_call *call, uint64_t now, struct model_answer *answer)
{
    const uint8_t *in = input_of(model, call);

    switch (shape->code) {
    case 0x0001: /* 9.4.1: the host's to do */
        break;
    case 0x009A:
        vp_indices(model, call, in, answer);
        break;
    case 0x00AF:
    case 0x00B0:
        flush_guest_physical(shape, in, call->control, answer);
        break;
    case 0x0008: /* 14.5.1: always successful */
        model->spin_waits++;
        break;
    case 0x000B:
    case 0x0015:
        cluster_ipi(model, shape, in, call->control, answer);
        break;
    case 0x0050:
    case 0x0051:
        get_or_set_registers(model, vp, call, in, now, answer);
        break;
    case 0x005C:
        post_message(model, vp, in, answer);
        break;
    case 0x005D:
        signal_event(model, in, answer);
        break;
    default:
        flush(model, shape, in, call->control, answer);
        break;
    }
}

struct model_answer model_hypercall(struct model *model, uint32_t vp, const struct model_call *call,
                                    uint64_t now)
{
    const struct shape *shape = shape_of((uint16_t)call->control);
    struct model_answer answer = {.statuses = 0};

    if (call->illegal_mode) { /* 3.5 */
        answer.undefined = true;
        return answer;
    }
    if (!shape) {
        may(&answer, INVALID_CODE);
        may(&answer, ACCESS_DENIED);
        return answer;
    }
    if (control_is_wrong(shape, call->control)) {
        may(&answer, INVALID_INPUT);
    }
    judge_placement(model, shape, call, &answer);
    if (!answer.statuses && !answer.intercept) {
        perform(model, vp, shape, call, now, &answer);
    }
    return answer;
}

/* ---- Life ---- */

static void clear_page(struct model *model, uint32_t slot)
{
    memset(model->page[slot], 0, MODEL_PAGE);
    model->adopt[slot] = false;
}

/* 11.8: SINTs begin masked; 12.5.1, 2.0 21.3.3: everything else 0; 11.9: the pages are cleared. */
void model_vp_reset(struct model *model, uint32_t vp)
{
    const struct model_vp was = model->vp[vp];

    memset(&model->vp[vp], 0, sizeof(model->vp[vp]));
    model->vp[vp].tpr = was.tpr; /* the APIC's, which is the host's */
    model->vp[vp].icr = was.icr;
    model->vp[vp].eois = was.eois;
    model->vp[vp].runtime = was.runtime;
    for (uint32_t i = 0; i < MODEL_SINTS; i++) {
        model->vp[vp].sint[i] = 0x10000;
    }
    for (uint32_t page = MODEL_ASSIST; page < MODEL_PAGES; page++) {
        clear_page(model, model_slot(vp, (enum model_page)page));
    }
}

void model_reset(struct model *model)
{
    model->guest_os_id = 0;
    model->hypercall = 0;
    model->reference_tsc = 0;
    memset(model->crash, 0, sizeof(model->crash));
    model->tsc_invariant = model->reenlightenment = model->tsc_emulation = 0;
    model->emulating = false;
    model->known_hz = model->tsc_hz;
    clear_page(model, MODEL_HYPERCALL);
    clear_page(model, MODEL_TSC);
    for (uint32_t vp = 0; vp < model->vp_count; vp++) {
        model_vp_reset(model, vp);
    }
}

void model_begin(struct model *model, uint32_t vp_count, bool copies, uint64_t gpa_limit)
{
    memset(model, 0, sizeof(*model));
    model->vp_count = vp_count;
    model->copies = copies;
    model->gpa_limit = gpa_limit;
    model_reset(model);
}

void model_begin_step(struct model *model)
{
    model->interrupt_count = 0;
    model->flush_range_count = 0;
    model->flush_targets = 0;
    model->flushed = false;
    model->posts = model->signals = model->spin_waits = model->crashes = model->resets = 0;
}
