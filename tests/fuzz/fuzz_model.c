/* SPDX-License-Identifier: MIT */
/*
 * The library against a second opinion (model.h): several VPs, the host, time, saving, moving to another
 * host. After every step all VPs are polled and everything that can be seen is compared: results and
 * values, all pages over the guest's memory, message slots, interrupts and other requests, deadlines,
 * time. The guest's memory itself is compared every few steps (with FUZZ_SAY after each).
 */
#include <inttypes.h>
#include <string.h>

#include <hvtlfs/hypercall.h>
#include <hvtlfs/msr.h>
#include <hvtlfs/state.h>
#include <hvtlfs/time.h>
#include <hvtlfs/vapic.h>

#include "model.h"
#include "setup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MOST_STEPS 120u
#define MOST_MOVES 2u /* one takes as long as all the rest */
#define RAM_EVERY 8u  /* steps until RAM is compared, and after the last one */
#define LINUX_ID UINT64_C(0x8100000601B00000)
#define STATE_MOST (1u << 20)

__extension__ typedef unsigned __int128 wide;

static struct model model;
static uint8_t state[STATE_MOST];

/* The clock by other arithmetic: from where it was set, whole ticks over the rate. */
static struct {
    uint64_t reference, tsc, hz, time, last;
    uint64_t slack; /* how far ahead it may be */
} watch;

/* The TSC that a guest sees while it is emulated (TLFS 16.6.2): a line through where the guest stopped. */
static struct {
    uint64_t seen, tsc, hz;
    uint64_t slack; /* each stop rounds */
} emulation;

static struct setup setup;
static unsigned moves;
static unsigned place;
static bool quotas_known; /* what waited when the state moved has lost its connection */

/* ---- Time ---- */

static uint64_t exact_time(void)
{
    if (!model.invariant) {
        return watch.reference + (fuzz_host.time - watch.time);
    }
    return watch.reference + (uint64_t)((wide)(fuzz_host.tsc - watch.tsc) * 10000000u / watch.hz);
}

static void set_watch(uint64_t reference)
{
    watch.reference = reference;
    watch.tsc = fuzz_host.tsc;
    watch.hz = fuzz_host.tsc_hz;
    watch.time = fuzz_host.time;
}

static bool in_sync(void)
{
    if (!model.invariant) {
        return false;
    }
    for (uint32_t i = 1; i < model.vp_count; i++) {
        if (fuzz_host.vps[i].tsc_offset != fuzz_host.vps[0].tsc_offset) {
            return false;
        }
    }
    return true;
}

/* 12.4: the same on all VPs, never back, at a constant rate. Without a common TSC, or with the host's clock,
 * no two reads give the same value (docs/CONFORMANCE.md), so each may be a unit ahead. */
static uint64_t check_time(void)
{
    const uint64_t exact = exact_time();
    const bool same = in_sync() || model.frozen;
    uint64_t now = hvtlfs_reference_time(setup.vp[0]);

    watch.slack += same ? 0 : 2 + 2 * model.vp_count;
    CLAIM(now >= watch.last && now + 2 >= exact && now <= exact + watch.slack);
    for (uint32_t i = 0; i < model.vp_count; i++) {
        uint64_t value;

        CLAIM(hvtlfs_msr_read(setup.vp[i], 0x40000020, &value) == HVTLFS_MSR_DONE);
        CLAIM(same ? value == now : value >= now && value <= exact + watch.slack);
        now = value;
    }
    watch.last = now;
    return now;
}

/* Guest memory is little-endian, whatever this runs on. */
static uint64_t number_at(const uint8_t *bytes, unsigned size)
{
    uint64_t value = 0;

    while (size--) {
        value = value << 8 | bytes[size];
    }
    return value;
}

/* 12.7: sequence, scale, offset; whoever uses the page gets the time of the MSR. */
static void check_tsc_page(uint64_t now)
{
    const uint64_t gpa = model_place(&model, MODEL_TSC);
    uint64_t sequence, scale, offset;

    if (gpa == UINT64_MAX || model_top(&model, gpa) != MODEL_TSC) {
        return;
    }
    sequence = number_at(host_visible(gpa), 4);
    scale = number_at(host_visible(gpa) + 8, 8);
    offset = number_at(host_visible(gpa) + 16, 8);
    CLAIM((sequence != 0) == (in_sync() && !model.frozen && !model.emulating));
    for (uint32_t i = 0; sequence && i < model.vp_count; i++) {
        const uint64_t tsc = fuzz_host.tsc + fuzz_host.vps[i].tsc_offset;

        CLAIM((uint64_t)((wide)tsc * scale >> 64) + offset == now);
    }
}

/* Without the VP's own offset. */
static uint64_t emulated_tsc(void)
{
    const uint64_t ticks = fuzz_host.tsc - emulation.tsc;

    return model.emulating
               ? emulation.seen + (uint64_t)((wide)ticks * model.known_hz / emulation.hz)
               : fuzz_host.tsc;
}

static void check_emulation(void)
{
    CLAIM(fuzz_host.tsc_emulated == model.emulating);
    CLAIM(hvtlfs_tsc_emulation_in_force(setup.partition) == model.emulating);
    for (uint32_t i = 0; i < model.vp_count; i++) {
        const uint64_t offset = fuzz_host.vps[i].tsc_offset;
        const uint64_t seen = hvtlfs_tsc_emulated(setup.vp[i], fuzz_host.tsc + offset);
        const uint64_t away = seen - offset - emulated_tsc() + emulation.slack;

        CLAIM(away <= 2 * emulation.slack);
    }
}

/* ---- Comparing ---- */

static void check_interrupts(void)
{
    bool seen[MODEL_INTERRUPTS] = {false};

    for (uint32_t i = 0; i < fuzz_host.interrupt_count; i++) {
        const struct host_interrupt *one = &fuzz_host.interrupts[i];
        uint32_t n = 0;

        while (n < model.interrupt_count &&
               (seen[n] || model.interrupts[n].vp != one->vp_index ||
                model.interrupts[n].vector != one->interrupt.vector ||
                model.interrupts[n].nmi != one->interrupt.nmi ||
                (model.interrupts[n].sint &&
                 one->interrupt.auto_eoi !=
                     model_auto_eoi(&model, one->vp_index, one->interrupt.vector)))) {
            n++;
        }
        CLAIM(n < model.interrupt_count);
        seen[n] = true;
    }
    for (uint32_t n = 0; n < model.interrupt_count; n++) {
        CLAIM(seen[n] || model.interrupts[n].optional);
    }
}

static void check_requests(void)
{
    CLAIM(fuzz_host.posts == model.posts && fuzz_host.signals == model.signals);
    CLAIM(fuzz_host.spin_waits == model.spin_waits && fuzz_host.crashes == model.crashes);
    CLAIM(fuzz_host.resets == model.resets);
    for (uint32_t i = 0; i < model.vp_count; i++) {
        CLAIM(fuzz_host.vps[i].eois == model.vp[i].eois);
        CLAIM(fuzz_host.vps[i].apic[HVTLFS_APIC_ICR] == model.vp[i].icr);
    }
    CLAIM((fuzz_host.flushes != 0) == model.flushed);
    CLAIM(fuzz_host.flush_targets == model.flush_targets);
    CLAIM(fuzz_host.flush_range_count == model.flush_range_count);
    CLAIM(!memcmp(fuzz_host.flush_ranges, model.flush_ranges,
                  model.flush_range_count * sizeof(uint64_t)));
}

static void check_slots(uint32_t vp, uint64_t now)
{
    const uint64_t gpa = model_place(&model, model_slot(vp, MODEL_SIM));

    if (gpa == UINT64_MAX) {
        return;
    }
    for (uint32_t sint = 0; sint < MODEL_SINTS; sint++) {
        const char *wrong = model_slot_found(&model, vp, sint, host_visible(gpa) + sint * 256, now);

        if (wrong) {
            fuzz_broken(wrong, __FILE__, __LINE__);
        }
    }
}

/* The page of a slot that may be anything is taken as it is, once it can be seen. */
static void adopt(uint32_t slot, const uint8_t *seen)
{
    if (slot == MODEL_TSC || (slot != MODEL_SLOTS && model.adopt[slot])) {
        memcpy(model.page[slot], seen, MODEL_PAGE);
        model.adopt[slot] = false;
    }
}

/* `slot` is what must be on top there; MODEL_SLOTS: RAM. */
static void check_page(uint64_t gpa, uint32_t slot)
{
    const uint8_t *seen = host_visible(gpa);

    CLAIM(seen);
    adopt(slot, seen);
    CLAIM(!memcmp(seen, slot == MODEL_SLOTS ? model.ram[gpa / MODEL_PAGE] : model.page[slot],
                  MODEL_PAGE));
}

static bool known_place(const uint64_t gpa[MODEL_SLOTS], uint32_t slot)
{
    for (uint32_t above = 0; above < slot; above++) {
        if (gpa[above] == gpa[slot]) {
            return true;
        }
    }
    return false;
}

/* Every overlay; and all of RAM, which is much, where the caller wants it: what is wrong there stays so. */
static void check_memory(bool all)
{
    const uint32_t slots = MODEL_ASSIST + model.vp_count * MODEL_VP_PAGES;
    uint64_t gpa[MODEL_SLOTS];
    uint32_t covered = 0, places = 0;

    for (uint32_t slot = 0; slot < slots; slot++) {
        gpa[slot] = model_place(&model, slot);
        if (gpa[slot] != UINT64_MAX && !known_place(gpa, slot)) {
            covered |= gpa[slot] < HOST_RAM ? 1u << gpa[slot] / MODEL_PAGE : 0;
            places++;
            CLAIM(model.copies || host_overlay_at(gpa[slot]));
            check_page(gpa[slot], slot);
        }
    }
    CLAIM(fuzz_host.overlay_count == (model.copies ? 0 : places));
    for (uint32_t page = 0; all && page < MODEL_RAM_PAGES; page++) {
        if (!(covered >> page & 1)) {
            check_page(page * MODEL_PAGE, MODEL_SLOTS);
        }
    }
}

/* Nobody forgets a timer, and nobody makes the host poll for ever at one time. */
static void check_deadline(uint32_t vp, uint64_t now)
{
    const uint64_t deadline = fuzz_host.vps[vp].deadline;

    if (!model.frozen) {
        CLAIM(deadline <= model_deadline(&model, vp, now));
    }
}

/* Run time is the host's to know. */
static void tell_runtimes(void)
{
    for (uint32_t i = 0; i < model.vp_count; i++) {
        model.vp[i].runtime = fuzz_host.time - fuzz_host.vps[i].halted;
    }
}

static void settle(bool all)
{
    /* Of the host's clock a read of the MSR takes a unit: what the polls see is the time before it. */
    const uint64_t now = hvtlfs_reference_time(setup.vp[0]);
    uint32_t vp;

    tell_runtimes();
    for (uint32_t i = 0; i < model.vp_count; i++) {
        hvtlfs_vp_poll(setup.vp[i]);
    }
    while ((vp = host_take_kick()) != HVTLFS_NO_VP) {
        hvtlfs_vp_poll(setup.vp[vp]);
    }
    CLAIM(now == hvtlfs_reference_time(setup.vp[0]));
    model_settle(&model, now);
    for (uint32_t i = 0; i < model.vp_count; i++) {
        check_slots(i, now);
        check_deadline(i, now);
    }
    check_interrupts();
    check_requests();
    check_memory(all);
    check_tsc_page(check_time());
    check_emulation();
}

/* ---- MSRs ---- */

static const uint32_t msrs[] = {
    0x40000000, 0x40000001, 0x40000002, 0x40000003, 0x40000021, 0x40000040, 0x40000070, 0x40000072,
    0x40000073, 0x40000080, 0x40000081, 0x40000082, 0x40000083, 0x40000084, 0x40000090, 0x40000091,
    0x40000092, 0x40000093, 0x40000094, 0x40000095, 0x4000009F, 0x400000B0, 0x400000B1, 0x400000B2,
    0x400000B3, 0x400000B4, 0x400000B5, 0x400000B6, 0x400000B7, 0x400000E0, 0x400000E1, 0x400000E2,
    0x400000E3, 0x400000F0, 0x40000100, 0x40000101, 0x40000102, 0x40000103, 0x40000104, 0x40000105,
    0x40000010, 0x40000022, 0x40000023, 0x40000071, 0x400000F1, 0x400000F2, 0x40000106, 0x40000107,
    0x40000108, 0x40000114, 0x40000115, 0x40000118, 0x40000004, 0x40000085, 0x400000C1, 0x40000116,
    0x400000F3, 0x400000F4, 0x400000F5};

/* Pages 0 to 7 for all that may cover each other, 8 to 13 for message pages, the rest is only RAM. */
static uint64_t any_place(struct input *input)
{
    const uint8_t how = input_byte(input);
    const uint64_t page = how & 0xC0 ? how >> 1 & 7 : how & 32 ? 0x100 : UINT64_C(0x1000000);

    return page << 12 | (how & 1) | (how & 16 ? 0x100u : 0);
}

static uint64_t any_sim(uint32_t vp, struct input *input)
{
    const uint8_t how = input_byte(input);

    return (uint64_t)(8 + 2 * vp + (how >> 1 & 1)) << 12 | (how & 1);
}

static uint64_t any_timer_config(struct input *input)
{
    const uint8_t how = input_byte(input);

    return (how & 15u) | (uint64_t)(how >> 4 & 1) << 12 | (uint64_t)(how >> 5) << 16 |
           (uint64_t)(0x08 + input_byte(input)) << 4;
}

static uint64_t any_icr(struct input *input)
{
    const uint8_t how = input_byte(input);
    const uint64_t destination = how & 3 ? input_byte(input) : input_number(input);

    return (how & 4 ? destination << 32 : destination << 56) | (uint64_t)(how >> 3 & 3) << 18 |
           (uint64_t)(how >> 5 & 1) << 11 | input_byte(input);
}

static uint64_t any_reenlightenment(struct input *input)
{
    const uint8_t how = input_byte(input);

    return input_byte(input) | (uint64_t)(how & 1) << 16 | (uint64_t)(how >> 1 & 3) << 32 |
           (how >> 3 == 31 ? 0x8000u : 0);
}

static uint64_t any_value(uint32_t vp, uint32_t msr, struct input *input)
{
    switch (msr) {
    case 0x40000071:
        return any_icr(input);
    case 0x40000106:
        return any_reenlightenment(input);
    case 0x40000107:
    case 0x40000108:
    case 0x40000118:
        return input_byte(input) >> 6;
    case 0x40000114:
        return input_byte(input) | (input_byte(input) & 3u ? 0x100u : 0);
    case 0x40000000:
        return input_byte(input) & 7 ? LINUX_ID : 0;
    case 0x40000001:
        return any_place(input) | (input_byte(input) == 0xFF ? 2 : 0);
    case 0x40000021:
    case 0x40000073:
    case 0x40000082:
        return any_place(input);
    case 0x40000083:
        return any_sim(vp, input);
    case 0x40000080:
        return input_byte(input) & 3 ? 1 : 0;
    default:
        break;
    }
    if (msr >= 0x40000090 && msr < 0x400000A0) {
        const uint8_t how = input_byte(input);

        return (how & 0x3Fu) | (how >> 6 == 1 ? 0x10000u : 0) | (how >> 6 == 2 ? 0x20000u : 0) |
               (how == 0xFF ? 0x40000u : 0);
    }
    if (msr >= 0x400000B0 && msr < 0x400000B8) {
        return msr % 2 ? watch.last * (input_byte(input) & 1) + (input_number(input) & 0xFFFFFFFF)
                       : any_timer_config(input);
    }
    return msr >= 0x400000E0 && msr < 0x400000E4 ? any_place(input) : input_number(input);
}

static void crash_if_readable(uint32_t msr, uint64_t *value)
{
    if (msr == 0x40000105) {
        *value &= UINT64_C(1) << 63; /* the text is another test's business */
    }
}

static void write_msr(struct input *input)
{
    const uint32_t vp = input_byte(input) % model.vp_count;
    const uint32_t msr = msrs[input_byte(input) % (sizeof(msrs) / sizeof(msrs[0]))];
    uint64_t value = any_value(vp, msr, input);
    enum model_result expected;
    enum hvtlfs_msr_result result;

    crash_if_readable(msr, &value);
    fuzz_say("vp %" PRIu32 " wrmsr 0x%" PRIx32 " 0x%" PRIx64 "\n", vp, msr, value);
    expected = model_write(&model, vp, msr, value, watch.last);
    result = hvtlfs_msr_write(setup.vp[vp], msr, value);
    CLAIM(result == (expected == MODEL_FAULT     ? HVTLFS_MSR_FAULT
                     : expected == MODEL_DELIVER ? HVTLFS_MSR_DELIVER
                                                 : HVTLFS_MSR_DONE));
}

static void read_msr(uint32_t vp, uint32_t msr)
{
    uint64_t expected_value, value = 0;
    bool known;
    const enum model_result expected = model_read(&model, vp, msr, &expected_value, &known);
    const enum hvtlfs_msr_result result = hvtlfs_msr_read(setup.vp[vp], msr, &value);

    CLAIM(result == (expected == MODEL_FAULT  ? HVTLFS_MSR_FAULT
                     : expected == MODEL_IDLE ? HVTLFS_MSR_IDLE
                                              : HVTLFS_MSR_DONE));
    CLAIM(result == HVTLFS_MSR_FAULT || !known || value == expected_value);
}

static void read_all_msrs(void)
{
    for (uint32_t i = 0; i < sizeof(msrs) / sizeof(msrs[0]); i++) {
        for (uint32_t vp = 0; vp < model.vp_count; vp++) {
            read_msr(vp, msrs[i]);
        }
    }
}

/* ---- Memory ---- */

static void store_bytes(uint64_t gpa, const void *bytes, size_t size)
{
    if (model_writable(&model, gpa)) {
        memcpy(host_visible(gpa), bytes, size);
        memcpy(model_visible(&model, gpa), bytes, size);
    }
}

/* Anywhere but into message slots, which only the ritual below touches; and not into the word of the
 * assist page that is a promise (10.3.5). */
static void store(struct input *input)
{
    const uint64_t gpa = input_bytes(input, 2) & ~UINT64_C(7);
    const uint64_t value = input_number(input);

    if (gpa < UINT64_C(8) << 12 && gpa % MODEL_PAGE >= 8) {
        store_bytes(gpa, &value, sizeof(value));
    }
}

/* 11.10.4: empty the slot, then, if asked to, EOM or EOI. */
static void take_slot(struct input *input)
{
    const uint32_t vp = input_byte(input) % model.vp_count;
    const uint8_t how = input_byte(input);
    const uint64_t page = model_place(&model, model_slot(vp, MODEL_SIM));
    const uint32_t none = 0;

    fuzz_say("vp %" PRIu32 " takes slot %d%s%s\n", vp, how & 15, how & 32 ? " EOM" : "",
             how & 64 ? " EOI" : "");
    if (page != UINT64_MAX) {
        const uint64_t slot = page + (how & 15) * 256u;

        store_bytes(slot, &none, 4);
        if (how & 16) {
            store_bytes(slot + 4, &none, 4);
        }
    }
    if (how & 32) {
        CLAIM(hvtlfs_msr_write(setup.vp[vp], 0x40000084, 0) == HVTLFS_MSR_DONE);
    } else if (how & 64) {
        hvtlfs_synic_eoi(setup.vp[vp], how);
    }
}

/* ---- The host ---- */

static void host_message(struct input *input)
{
    static uint8_t payload[240];
    const uint32_t vp = input_byte(input) % model.vp_count, sint = input_byte(input) & 15;
    const uint8_t fill = input_byte(input);
    struct model_message twin = {.type = 1u + fill, .size = fill % 241u, .origin = fill * 3u};
    struct hvtlfs_message message = {twin.type, twin.size, twin.origin, payload};
    enum hvtlfs_status status;
    enum model_post expected;

    fuzz_say("host posts type 0x%" PRIx32 " to vp %" PRIu32 " sint %" PRIu32 "\n", twin.type, vp,
             sint);
    memset(payload, fill, sizeof(payload));
    memset(twin.payload, fill, sizeof(twin.payload));
    expected = model_post(&model, vp, sint, &twin);
    status = hvtlfs_synic_post_message(setup.vp[vp], sint, &message);
    CLAIM(status == (expected == MODEL_ACCEPTED        ? HVTLFS_OK
                     : expected == MODEL_REFUSED_STATE ? HVTLFS_ERR_ORDER
                                                       : HVTLFS_ERR_FULL));
}

static void host_event(struct input *input)
{
    const uint32_t vp = input_byte(input) % model.vp_count, sint = input_byte(input) & 15;
    const uint32_t flag = (uint32_t)input_bytes(input, 2) & 2047;
    bool newly = false, expected_newly;
    const enum model_post expected = model_signal(&model, vp, sint, flag, &expected_newly);
    const enum hvtlfs_status status = hvtlfs_synic_signal_event(setup.vp[vp], sint, flag, &newly);

    fuzz_say("host signals vp %" PRIu32 " sint %" PRIu32 " flag %" PRIu32 ": %d\n", vp, sint, flag,
             status);
    CLAIM(status == (expected == MODEL_ACCEPTED ? HVTLFS_OK : HVTLFS_ERR_ORDER));
    CLAIM(status || newly == expected_newly);
}

/* The time until a VP wants to be polled: then everything must happen that is due, not a unit later. */
static uint64_t until_deadline(uint32_t vp)
{
    const uint64_t deadline = fuzz_host.vps[vp].deadline;

    return deadline != HVTLFS_TIME_NEVER && deadline > watch.last ? deadline - watch.last : 0;
}

static void pass_time(struct input *input)
{
    const uint8_t how = input_byte(input);
    const uint64_t time = how & 1 ? until_deadline((how >> 1) % model.vp_count) & 0xFFFFFFFFF
                                  : input_number(input) & 0xFFFFFFFFF;

    fuzz_say("time passes: %" PRIu64 "\n", time);
    host_advance(time);
}

/* ---- The host's APIC and the guest's handlers (10.3.5) ---- */

static void arm(uint32_t vp, uint8_t how)
{
    const uint32_t vector = 0x30u + (how >> 4);
    const bool edge = !(how & 4), waits = (how & 12) == 8;

    CLAIM(hvtlfs_lazy_eoi_arm(setup.vp[vp], vector,
                              edge ? HVTLFS_TRIGGER_EDGE : HVTLFS_TRIGGER_LEVEL,
                              waits) == model_promise(&model, vp, vector, edge, waits));
}

static void withdraw(uint32_t vp)
{
    static const enum hvtlfs_lazy_eoi of[] = {[MODEL_NONE] = HVTLFS_LAZY_EOI_NONE,
                                              [MODEL_WITHDRAWN] = HVTLFS_LAZY_EOI_WITHDRAWN,
                                              [MODEL_ENDED] = HVTLFS_LAZY_EOI_ENDED};

    CLAIM(hvtlfs_lazy_eoi_withdraw(setup.vp[vp]) == of[model_withdraw(&model, vp)]);
}

static void collect(uint32_t vp)
{
    const uint32_t expected = model_collect(&model, vp);

    CLAIM(hvtlfs_lazy_eoi_collect(setup.vp[vp]) ==
          (expected == MODEL_NO_VECTOR ? HVTLFS_NO_EOI : expected));
}

/* The end of an interrupt's handler: BTR on the page, if that does not do it WRMSR. */
static void end_interrupt(uint32_t vp)
{
    if (model_end(&model, vp)) {
        uint8_t *word = host_visible(model_place(&model, model_slot(vp, MODEL_ASSIST)));

        CLAIM(*word & 1);
        *word &= 0xFE;
    } else {
        (void)model_write(&model, vp, 0x40000070, 0, watch.last);
        CLAIM(hvtlfs_msr_write(setup.vp[vp], 0x40000070, 0) == HVTLFS_MSR_DONE);
    }
}

static void lazy_eoi(struct input *input)
{
    const uint32_t vp = input_byte(input) % model.vp_count;
    const uint8_t how = input_byte(input);

    fuzz_say("vp %" PRIu32 " lazy EOI 0x%x\n", vp, how);
    switch (how & 3) {
    case 0:
        arm(vp, how);
        break;
    case 1:
        withdraw(vp);
        break;
    case 2:
        collect(vp);
        break;
    default:
        end_interrupt(vp);
        break;
    }
}

/* ---- Hypercalls ---- */

static const uint16_t codes[] = {0x0002, 0x0003, 0x0008, 0x000B, 0x0013, 0x0014, 0x0015, 0x005C,
                                 0x005D, 0x00BB, 0x0050, 0x0051, 0x0001, 0x009A, 0x00AF, 0x00B0};

/* Registers by name (TLFS 7.8.2): MSRs, the host's, somebody else's, none. */
static const uint32_t names[] = {
    0x00000210, 0x00000214, 0x00000215, 0x00000240, 0x00000241, 0x00000250, 0x00020000,
    0x00090000, 0x00090001, 0x00090002, 0x00090003, 0x00090010, 0x00090011, 0x00090012,
    0x00090013, 0x00090017, 0x00090020, 0x00090022, 0x000A0000, 0x000A0002, 0x000A000F,
    0x000A0010, 0x000A0011, 0x000A0012, 0x000A0013, 0x000A0014, 0x000B0000, 0x000B0001,
    0x000B0002, 0x000B0003, 0x000B0007, 0x000B0100, 0x000B0101, 0x000D0005, 0x00012345};

static uint32_t any_name(struct input *input)
{
    return names[input_byte(input) % (sizeof(names) / sizeof(names[0]))];
}

static void fill_registers(uint16_t code, uint32_t vp, unsigned count, struct input *input,
                           uint64_t block[64])
{
    const uint8_t how = input_byte(input);

    memset(block, 0, 64 * sizeof(block[0]));
    block[0] = how == 0xFF ? 0 : UINT64_MAX;
    block[1] = how < 0xE0 ? 0xFFFFFFFE : how < 0xFE ? how & 3u : UINT64_C(0x1FFFFFFFE);
    for (unsigned i = 0; i < count; i++) {
        const uint32_t name = any_name(input);

        if (code == 0x50) {
            block[2 + i / 2] |= (uint64_t)name << 32 * (i % 2);
        } else {
            block[2 + 4 * i] = name;
            block[4 + 4 * i] = any_value(vp, model_register(name), input);
            crash_if_readable(model_register(name), &block[4 + 4 * i]);
            block[5 + 4 * i] = (how & 15) == 7;
        }
    }
}

/* The input of a call at a place of its own, RAM page 15, in words that mean something. */
static void fill_block(uint16_t code, struct input *input, uint64_t block[64])
{
    for (unsigned i = 0; i < 64; i++) {
        block[i] = i < 6 ? input_number(input) : block[i - 1] + 0x1000;
    }
    if (code == 0x5C || code == 0x5D) {
        block[0] = input_byte(input) % 7u | (code == 0x5D ? (uint64_t)input_byte(input) << 32 : 0);
        block[1] = input_byte(input) | (uint64_t)(input_byte(input) % 242u) << 32;
    } else if (code == 0x0B || code == 0x15) {
        block[0] = input_byte(input) + 8u;
    } else {
        block[1] = input_byte(input) & 15u;
    }
    if (code == 0x13 || code == 0x14) {
        block[2] = input_byte(input) & 3u;
        block[3] = 1;
    } else if (code == 0x15) {
        block[1] = input_byte(input) & 3u;
        block[2] = 1;
    }
}

/* Header and list of HvCallGetVpIndexFromApicId, or of a flush without flags. */
static void fill_numbers(uint16_t code, struct input *input, uint64_t block[64])
{
    block[0] = code != 0x9A || input_byte(input) == 0xFF ? 7 : UINT64_MAX;
    block[1] = input_byte(input) >= 0xF0;
    for (unsigned i = 2; i < 10; i++) {
        block[i] = input_byte(input) & 3u;
    }
}

static uint64_t any_control(uint16_t code, struct input *input)
{
    const uint8_t how = input_byte(input);
    uint64_t control = code;

    control |= how & 1 ? UINT64_C(1) << 16 : 0;
    control |= code == 0x13 || code == 0x14 || code == 0x15 ? UINT64_C(1) << 17 : 0;
    if (code == 0x03 || code == 0x14 || code == 0x50 || code == 0x51 || code == 0x9A ||
        code == 0xB0) {
        control |= (uint64_t)(1 + (how >> 1 & 7)) << 32;
    }
    if (how >> 4 == 15) {
        control ^= UINT64_C(1) << (16 + input_byte(input) % 48);
    }
    if (code == 0x50 || code == 0x9A) {
        control &= ~(UINT64_C(1) << 16); /* its output is looked at in memory */
    }
    return control;
}

static void call_registers(const struct model_call *call, struct hvtlfs_hypercall_regs *regs)
{
    memset(regs, 0, sizeof(*regs));
    regs->mode = call->long_mode ? HVTLFS_MODE_LONG64 : HVTLFS_MODE_PROTECTED32;
    regs->cpl = call->illegal_mode ? 3 : 0;
    if (call->long_mode) {
        regs->rcx = call->control;
        regs->rdx = call->in;
        regs->r8 = call->out;
    } else {
        regs->rax = call->control & 0xFFFFFFFF;
        regs->rdx = call->control >> 32;
        regs->rcx = call->in & 0xFFFFFFFF;
        regs->rbx = call->in >> 32;
        regs->rsi = call->out & 0xFFFFFFFF;
        regs->rdi = call->out >> 32;
    }
    for (unsigned i = 0; i < 2 * sizeof(regs->xmm) / sizeof(regs->xmm[0]); i++) {
        regs->xmm[i / 2].half[i % 2] = number_at(call->block + 16 + (size_t)8 * i, 8);
    }
}

static struct model_call any_call(uint32_t vp, struct input *input)
{
    const uint16_t code = codes[input_byte(input) % (sizeof(codes) / sizeof(codes[0]))];
    const uint8_t how = input_byte(input);
    struct model_call call = {.long_mode = !(how & 1), .illegal_mode = how == 0xFF};
    uint64_t block[64];
    uint8_t bytes[sizeof(block)];

    call.control = any_control(code, input);
    call.fast = call.control >> 16 & 1;
    if (code == 0x50 || code == 0x51) {
        fill_registers(code, vp, 1 + ((unsigned)(call.control >> 32) - 1) % 8, input, block);
    } else {
        fill_block(code, input, block);
    }
    if (code >= 0x9A && code <= 0xB0) {
        fill_numbers(code, input, block);
    }
    for (unsigned i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)(block[i / 8] >> 8 * (i % 8));
    }
    memcpy(call.block, bytes, sizeof(call.block));
    call.in = call.fast ? block[0] : (UINT64_C(15) << 12) + (how >> 4 == 7 ? how * 16u + 4 : 0);
    call.out = call.fast ? block[1] : UINT64_C(14) << 12;
    store_bytes(UINT64_C(15) << 12, bytes, sizeof(bytes));
    return call;
}

static void check_status(const struct model_answer *answer, uint64_t result)
{
    bool allowed = !answer->statuses && !(result & 0xFFFF);

    for (uint32_t i = 0; i < answer->statuses; i++) {
        allowed |= answer->status[i] == (result & 0xFFFF);
    }
    CLAIM(allowed);
}

static void hypercall(struct input *input)
{
    const uint32_t vp = input_byte(input) % model.vp_count;
    const struct model_call call = any_call(vp, input);
    const struct model_answer answer = model_hypercall(&model, vp, &call, watch.last);
    struct hvtlfs_hypercall_regs regs;
    enum hvtlfs_hypercall_result result;
    unsigned continues = 0;

    call_registers(&call, &regs);
    while ((result = hvtlfs_hypercall(setup.vp[vp], &regs)) == HVTLFS_HYPERCALL_CONTINUE) {
        CLAIM(++continues < 4096); /* one for each element */
    }
    fuzz_say("vp %" PRIu32 " calls 0x%" PRIx64 " in 0x%" PRIx64 " result %d rax 0x%" PRIx64
             "; allowed: %" PRIu32 " of them, 0x%x\n",
             vp, call.control, call.in, result, regs.rax, answer.statuses, answer.status[0]);
    CLAIM((result == HVTLFS_HYPERCALL_UD) == answer.undefined);
    CLAIM(result != HVTLFS_HYPERCALL_INTERCEPT || answer.intercept);
    if (result == HVTLFS_HYPERCALL_DONE) {
        const uint64_t answered = call.long_mode ? regs.rax : regs.rdx << 32 | regs.rax;

        check_status(&answer, answered);
        CLAIM(!answer.counts || (answered >> 32 & 0xFFF) == answer.reps);
    }
}

/* ---- Stopping, moving, resetting ---- */

static void freeze(void)
{
    CLAIM(!hvtlfs_freeze(setup.partition));
    emulation.seen = emulated_tsc();
    emulation.tsc = fuzz_host.tsc;
    emulation.slack++;
    model.frozen = true;
    set_watch(hvtlfs_reference_time(setup.vp[0]));
    CLAIM(watch.reference >= watch.last);
}

static void thaw(uint64_t pause)
{
    CLAIM(!hvtlfs_thaw(setup.partition, pause));
    model.frozen = false;
    set_watch(watch.reference + pause);
}

/* The guest goes on with this TSC. */
static void migrated(void)
{
    model_migrate(&model, fuzz_host.tsc_hz);
    emulation.tsc = fuzz_host.tsc;
    emulation.hz = fuzz_host.tsc_hz;
}

static void change_rate(uint8_t how)
{
    static const uint64_t rates[] = {1000000000, 2899999999, 10000001, UINT64_C(5000000000)};

    fuzz_host.tsc_hz = rates[how & 3];
    fuzz_host.tsc_fraction = 0;
    fuzz_host.tsc = (uint64_t)how << 32;
    setup.config.tsc_hz = fuzz_host.tsc_hz;
}

/* Into a fresh partition, maybe on a host that shows overlays the other way. */
static void move(uint8_t how)
{
    size_t size;

    CLAIM(!hvtlfs_state_save(setup.partition, state, sizeof(state), &size, NULL));
    host_drop_overlays();
    for (uint32_t i = 0; i < SETUP_VPS; i++) {
        fuzz_host.vps[i].deadline = HVTLFS_TIME_NEVER;
        fuzz_host.vps[i].kicked = false;
    }
    if (how & 64) {
        change_rate(how);
    }
    setup.partition = host_partition(&setup.config, ++place);
    setup_find_vps(&setup);
    CLAIM(!hvtlfs_state_load(setup.partition, state, size, NULL));
    setup_connections(&setup);
    fuzz_host.tsc_emulated = false; /* on another host */
    if (how & 64) {
        /* The state tells another rate, but not that the same one is another TSC. */
        if (model.tsc_hz == fuzz_host.tsc_hz || how & 32) {
            CLAIM(!hvtlfs_migrate(setup.partition, fuzz_host.tsc_hz, model.invariant));
        }
        migrated();
    }
    quotas_known = false;
}

static void stop_and_go(struct input *input)
{
    const uint8_t how = input_byte(input);
    const uint64_t pause = input_number(input) & 0xFFFFFF;

    fuzz_say("stop and go 0x%x, pause %" PRIu64 "\n", how, pause);
    freeze();
    host_advance(how);
    if (how & 128 && moves++ < MOST_MOVES) {
        move(how);
    } else if (how & 64) {
        const uint64_t reference = watch.reference;

        change_rate(how);
        CLAIM(!hvtlfs_migrate(setup.partition, fuzz_host.tsc_hz, model.invariant));
        migrated();
        watch.reference = reference;
    }
    watch.tsc = fuzz_host.tsc;
    watch.time = fuzz_host.time;
    thaw(pause);
}

static void reset(struct input *input)
{
    const uint8_t how = input_byte(input);
    const uint32_t vp = how % model.vp_count;

    fuzz_say("reset 0x%x\n", how);
    if (how & 128) {
        hvtlfs_vp_reset(setup.vp[vp]);
        model_vp_reset(&model, vp);
    } else if (how & 64) {
        hvtlfs_partition_reset(setup.partition);
        model_reset(&model);
    }
}

/* The guest writes its TSC; reference time goes on. */
static void write_tsc(struct input *input)
{
    const uint32_t vp = input_byte(input) % model.vp_count;
    const uint64_t ticks = input_number(input) & 0xFFFFFFFF;

    fuzz_say("vp %" PRIu32 " adds to its TSC: %" PRIu64 "\n", vp, ticks);
    fuzz_host.vps[vp].tsc_offset += ticks;
    hvtlfs_tsc_changed(setup.vp[vp], ticks);
}

/* A VP halts, or goes on: its run time stands still, or goes on. */
static void halt(struct input *input)
{
    const uint8_t how = input_byte(input);

    fuzz_say("vp %d %s\n", how % model.vp_count, how & 128 ? "halts" : "runs");
    fuzz_host.vps[how % model.vp_count].halts = how & 128;
}

static void other(struct input *input)
{
    switch (input_byte(input) & 3) {
    case 0:
        reset(input);
        break;
    case 2:
        halt(input);
        break;
    default:
        write_tsc(input);
        break;
    }
}

/* ---- A life ---- */

static void step(struct input *input)
{
    switch (input_byte(input) & 15) {
    case 0:
    case 1:
    case 2:
    case 3:
        write_msr(input);
        break;
    case 4:
        lazy_eoi(input);
        break;
    case 5:
        pass_time(input);
        break;
    case 6:
    case 7:
        take_slot(input);
        break;
    case 8:
        store(input);
        break;
    case 9:
    case 10:
        host_message(input);
        break;
    case 11:
        host_event(input);
        break;
    case 12:
    case 13:
        hypercall(input);
        break;
    case 14:
        stop_and_go(input);
        break;
    default:
        other(input);
        break;
    }
}

static void connect_model(void)
{
    static const struct model_connection rows[] = {
        {.id = 1, .to_host = true},
        {.id = 2, .vp = 0, .sint = 2, .port = 0x102},
        {.id = 3, .event = true, .sint = 3, .base = 100, .flags = 50},
        {.id = 4, .event = true, .to_host = true, .flags = 50},
        {.id = 5, .any_vp = true, .sint = 5, .port = 0x105},
    };

    memcpy(model.connection, rows, sizeof(rows));
    model.connection[2].vp = model.vp_count - 1;
}

static void begin(uint8_t how)
{
    struct hvtlfs_config *config = &setup.config;

    host_begin();
    fuzz_host.copies_overlays = how & 1;
    fuzz_host.calls_back = how & 2;
    hvtlfs_config_init(config);
    config->features = setup_all_features();
    config->vp_count = 1 + (how >> 2) % MODEL_VPS;
    config->trap = HVTLFS_TRAP_VMCALL;
    config->invariant_tsc = !(how & 64);
    config->apic_hz = 200000000;
    config->gpa_bits = 36;
    config->hypercall_reps = how & 16 ? 1 : 64;
    config->message_buffers = 16 * 3 + 24 * MODEL_VPS * 4;
    host_configure(config);
    setup.partition = host_partition(config, place);
    setup_find_vps(&setup);
    setup_connections(&setup);
    model_begin(&model, config->vp_count, how & 1, UINT64_C(1) << 36);
    model.invariant = config->invariant_tsc;
    model.tsc_hz = model.known_hz = fuzz_host.tsc_hz;
    model.apic_hz = config->apic_hz;
    tell_runtimes();
    connect_model();
    emulation.slack = 1;
    emulation.hz = fuzz_host.tsc_hz;
    watch.last = 0;
    watch.slack = 2;
    set_watch(0);
    moves = how & 32 ? 0 : 1;
    quotas_known = true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};

    begin(input_byte(&input));
    for (unsigned i = 0; i < MOST_STEPS && input_left(&input); i++) {
        model_begin_step(&model);
        host_forget_requests();
        step(&input);
        settle(fuzz_saying() || !input_left(&input) || i % RAM_EVERY == RAM_EVERY - 1);
    }
    read_all_msrs();
    setup_end(&setup);
    return 0;
}
