/* SPDX-License-Identifier: MIT */
/*
 * Lazy EOI over every interleaving (TLFS 10.3.5).
 *
 * A small world: one VP of the library, the model APIC, a guest that takes interrupts and ends them,
 * a device thread that raises two of them. Each is a set of steps; from every state every step that
 * is possible is taken, and no state is visited twice. States are compared as a whole, the library's
 * memory included.
 *
 * What must hold in each of them: an EOI clears the in-service bit of the interrupt whose handler
 * the guest has ended, once; and if from there the guest just goes on, without an exit that the host
 * does not know it needs, every interrupt that was raised gets in and gets ended.
 */
#include "fixture.h"

#include <hvtlfs/vapic.h>

#include "model_apic.h"
#include "state.h"

#define LOW 0x31u /* the interrupts; their priority classes differ */
#define HIGH 0x42u
#define PAGES 4u /* RAM: 0 to PAGES - 1 */
#define HANDLERS 4u
#define MEMORY_MAX (64u * 1024)
#define VISITED (1u << 18)

/* ---- The world ---- */

enum phase {
    OUT,     /* the VP has exited; the host has not yet collected */
    CHECKED, /* collected: the APIC may be looked at */
    ARMED,   /* accepted and armed; pending interrupts not yet looked at again */
    RUNS,    /* in the guest */
};

struct world {
    struct model_apic apic;
    uint64_t ram[PAGES][HVTLFS_PAGE_SIZE / 8];
    void *shown[PAGES]; /* overlays, where the host maps them */
    enum phase phase;
    bool kicked;                 /* the VP will exit before its next instruction */
    uint32_t handlers[HANDLERS]; /* the guest's nested handlers */
    uint32_t depth;
    bool eoi_due; /* the guest found its bit clear: its next step writes EOI */
    uint32_t
        owed[2]; /* handlers that the guest has ended and the APIC does not know of, in order */
    uint32_t owed_count;
    uint32_t raises[2]; /* how often each interrupt may still be raised */
    uint32_t raised;    /* requests that did not merge with a pending one */
    uint32_t moves;     /* how often the guest may still touch its page */
    uint32_t resets;
};

static struct world world;
static _Alignas(HVTLFS_PARTITION_ALIGNMENT) uint8_t memory[MEMORY_MAX];
static size_t memory_size;
static struct hvtlfs_partition *partition;
static struct hvtlfs_vp *vp;
static enum hvtlfs_trigger triggers[2];

static uint8_t *byte_at(uint64_t gpa)
{
    uint64_t page = gpa / HVTLFS_PAGE_SIZE;

    if (page >= PAGES) {
        return NULL;
    }
    return (world.shown[page] ? (uint8_t *)world.shown[page] : (uint8_t *)world.ram[page]) +
           gpa % HVTLFS_PAGE_SIZE;
}

static bool on_read(void *context, uint64_t gpa, void *buffer, size_t size)
{
    (void)context;
    if (!byte_at(gpa)) {
        return false;
    }
    memcpy(buffer, byte_at(gpa), size);
    return true;
}

static bool on_write(void *context, uint64_t gpa, const void *buffer, size_t size)
{
    (void)context;
    if (!byte_at(gpa)) {
        return false;
    }
    memcpy(byte_at(gpa), buffer, size);
    return true;
}

static enum hvtlfs_gpa_kind on_probe(void *context, uint64_t gpa)
{
    (void)context;
    return byte_at(gpa) ? HVTLFS_GPA_RAM : HVTLFS_GPA_NONE;
}

static bool on_set(void *context, const struct hvtlfs_overlay *overlay)
{
    (void)context;
    if (!byte_at(overlay->gpa)) {
        return false;
    }
    world.shown[overlay->gpa / HVTLFS_PAGE_SIZE] = overlay->page;
    return true;
}

static void on_clear(void *context, const struct hvtlfs_overlay *overlay)
{
    (void)context;
    world.shown[overlay->gpa / HVTLFS_PAGE_SIZE] = NULL;
}

static bool on_compare_exchange(void *context, uint64_t gpa, uint32_t *expected, uint32_t desired,
                                bool *done)
{
    uint32_t *word = (uint32_t *)(void *)byte_at(gpa);

    (void)context;
    if (!word) {
        return false;
    }
    *done = *word == *expected;
    *expected = *word;
    if (*done) {
        *word = desired;
    }
    return true;
}

/* Every EOI, however it came, must end what the guest has ended. */
static void apic_end(void)
{
    assert_in_range(world.owed_count, 1, 2);
    assert_int_equal(model_apic_end(&world.apic), world.owed[0]);
    world.owed[0] = world.owed[1];
    world.owed[1] = 0;
    world.owed_count--;
}

static void on_apic_write(void *context, uint32_t vp_index, enum hvtlfs_apic_register reg,
                          uint64_t value)
{
    (void)context;
    (void)vp_index;
    (void)value;
    if (reg == HVTLFS_APIC_EOI) {
        apic_end();
    }
}

static uint64_t on_apic_read(void *context, uint32_t vp_index, enum hvtlfs_apic_register reg)
{
    (void)context;
    (void)vp_index;
    (void)reg;
    return 0;
}

/* ---- Steps: each returns false if it is not possible now ---- */

static bool raise_interrupt(uint32_t which)
{
    uint32_t vector = which ? HIGH : LOW;
    uint32_t in_service = model_apic_in_service(&world.apic);
    bool merges = world.apic.irr[vector / 64] >> vector % 64 & 1;
    enum hvtlfs_lazy_eoi lazy;

    if (!world.raises[which]) {
        return false;
    }
    world.raises[which]--;
    world.raised += !merges;
    model_apic_request(&world.apic, vector, triggers[which]);
    lazy = hvtlfs_lazy_eoi_withdraw(vp);
    /* The host kicks a VP that has to come out for this: nothing holds the interrupt back, or what
     * did has been ended. */
    if (lazy == HVTLFS_LAZY_EOI_ENDED || in_service == MODEL_APIC_NONE ||
        in_service / 16 < vector / 16) {
        world.kicked = true;
    }
    return true;
}

static bool raise_low(void)
{
    return raise_interrupt(0);
}

static bool raise_high(void)
{
    return raise_interrupt(1);
}

/* An exit for any reason, at most one before the next entry. */
static bool exit_now(void)
{
    if (world.phase != RUNS) {
        return false;
    }
    world.phase = OUT;
    return true;
}

static bool collect(void)
{
    uint32_t vector;

    if (world.phase != OUT) {
        return false;
    }
    vector = hvtlfs_lazy_eoi_collect(vp);
    if (vector != HVTLFS_NO_EOI) {
        assert_int_equal(vector, world.owed[0]);
        apic_end();
    }
    assert_int_equal(world.owed_count, 0);
    world.phase = CHECKED;
    return true;
}

static uint32_t *guest_word(void)
{
    uint64_t page;

    assert_int_equal(hvtlfs_msr_read(vp, HV_X64_MSR_VP_ASSIST_PAGE, &page), HVTLFS_MSR_DONE);
    return page & 1 ? (uint32_t *)(void *)byte_at(page & ~UINT64_C(0xFFF)) : NULL;
}

static bool armed_in_page(void)
{
    const uint32_t *word = guest_word();

    return word && *word & 1;
}

static bool accept_and_arm(void)
{
    uint32_t vector;

    if (world.phase != CHECKED) {
        return false;
    }
    world.kicked = false;
    vector = model_apic_enter(&world.apic, vp);
    if (vector != MODEL_APIC_NONE) {
        assert_in_range(world.depth, 0, HANDLERS - 1);
        world.handlers[world.depth++] = vector;
    }
    /* Never armed while one waits that this one holds back. */
    assert_true(model_apic_pending(&world.apic) == MODEL_APIC_NONE || !armed_in_page());
    world.phase = ARMED;
    return true;
}

/* The second look: what came between the first one and the arming. */
static bool enter_guest(void)
{
    if (world.phase != ARMED) {
        return false;
    }
    if (model_apic_pending(&world.apic) != MODEL_APIC_NONE) {
        (void)(hvtlfs_lazy_eoi_withdraw(vp) == HVTLFS_LAZY_EOI_NONE);
    }
    world.phase = world.kicked ? OUT : RUNS;
    return true;
}

/* The guest's innermost handler is over. */
static void owe(void)
{
    assert_in_range(world.owed_count, 0, 1);
    world.owed[world.owed_count++] = world.handlers[--world.depth];
}

/* The end of a handler: test and clear the bit, if there is a page. */
static bool guest_ends_handler(void)
{
    uint32_t *word;

    if (world.phase != RUNS || world.kicked || !world.depth || world.eoi_due) {
        return false;
    }
    word = guest_word();
    if (word && *word & 1) {
        /* A level-triggered one must reach the I/O APIC at once. */
        assert_int_equal(triggers[world.handlers[world.depth - 1] == HIGH], HVTLFS_TRIGGER_EDGE);
        *word &= ~UINT32_C(1);
        assert_int_equal(world.owed_count, 0);
        owe();
        return true;
    }
    world.eoi_due = true;
    return true;
}

static bool guest_writes_eoi(void)
{
    if (world.phase != RUNS || world.kicked || !world.eoi_due) {
        return false;
    }
    world.eoi_due = false;
    world.phase = OUT;
    owe();
    /* This host does not collect first: an EOI owed from before must be settled before this one. */
    assert_int_equal(hvtlfs_msr_write(vp, HV_X64_MSR_EOI, 0), HVTLFS_MSR_DONE);
    assert_int_equal(world.owed_count, 0);
    return true;
}

/* An ordinary EOI stays legal at any time: a handler that does not look at the bit. */
static bool guest_writes_plain_eoi(void)
{
    if (world.phase != RUNS || world.kicked || !world.depth || world.eoi_due) {
        return false;
    }
    world.eoi_due = true;
    return guest_writes_eoi();
}

static bool guest_writes_assist_page(uint64_t value)
{
    if (world.phase != RUNS || world.kicked || world.eoi_due || !world.moves) {
        return false;
    }
    world.moves--;
    world.phase = OUT;
    assert_int_equal(hvtlfs_msr_write(vp, HV_X64_MSR_VP_ASSIST_PAGE, value), HVTLFS_MSR_DONE);
    assert_int_equal(world.owed_count, 0); /* settled before the page went */
    return true;
}

static bool guest_disables_page(void)
{
    return guest_writes_assist_page(0x1000);
}

static bool guest_enables_page(void)
{
    return guest_writes_assist_page(0x1001);
}

static bool guest_moves_page(void)
{
    return guest_writes_assist_page(0x2001);
}

static bool guest_moves_page_beyond_ram(void)
{
    return guest_writes_assist_page(0x1000000001);
}

static bool reset_vp(void)
{
    struct model_apic fresh = {.delivered = 0};

    if (world.phase > CHECKED || !world.resets) {
        return false;
    }
    world.resets--;
    hvtlfs_vp_reset(vp);
    fresh.spurious = world.apic.spurious;
    world.apic = fresh;
    world.raised = 0;
    world.depth = 0;
    world.owed[0] = world.owed[1] = 0;
    world.owed_count = 0;
    world.eoi_due = false;
    world.phase = CHECKED;
    return true;
}

typedef bool step(void);

static step *const steps[] = {
    raise_low,
    raise_high,
    exit_now,
    collect,
    accept_and_arm,
    enter_guest,
    guest_ends_handler,
    guest_writes_eoi,
    guest_writes_plain_eoi,
    guest_enables_page,
    guest_disables_page,
    guest_moves_page,
    guest_moves_page_beyond_ram,
    reset_vp,
};

#define STEPS (sizeof(steps) / sizeof(steps[0]))

/* ---- All ways ---- */

struct snapshot {
    struct world world;
    uint8_t memory[MEMORY_MAX];
};

static uint64_t visited[VISITED];
static uint32_t states;

static uint64_t mix(uint64_t hash, const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    size_t i;

    for (i = 0; i + 8 <= size; i += 8) {
        uint64_t word;

        memcpy(&word, at + i, 8);
        hash = (hash ^ word) * UINT64_C(0x9E3779B97F4A7C15);
        hash ^= hash >> 29;
    }
    return hash;
}

/* Whether the present state is new; it is not from now on. */
static bool first_visit(void)
{
    uint64_t hash;
    size_t at;

    memset(&vp->counters, 0, sizeof(vp->counters)); /* what is counted is no state */
    hash = mix(mix(1, memory, memory_size), &world, sizeof(world)) | 1;
    at = hash >> 20 & (VISITED - 1);

    while (visited[at] && visited[at] != hash) {
        at = (at + 1) & (VISITED - 1);
    }
    if (visited[at]) {
        return false;
    }
    visited[at] = hash;
    states++;
    assert_in_range(states, 1, VISITED / 2);
    return true;
}

static void save(struct snapshot *to)
{
    memcpy(&to->world, &world, sizeof(world));
    memcpy(to->memory, memory, memory_size);
}

static void restore(const struct snapshot *from)
{
    memcpy(&world, &from->world, sizeof(world));
    memcpy(memory, from->memory, memory_size);
}

/* From here on nothing is raised and nobody interferes: everything must get in and get ended. */
static void everything_gets_in_and_ends(void)
{
    static step *const going_on[] = {collect, accept_and_arm, enter_guest, guest_writes_eoi,
                                     guest_ends_handler};
    uint32_t left = 100;
    size_t i = 0;

    while (left && i < sizeof(going_on) / sizeof(going_on[0])) {
        i = going_on[i]() ? 0 : i + 1;
        left--;
        if (world.phase == RUNS && world.kicked) {
            world.phase = OUT; /* the kick arrives */
            i = 0;
        }
    }
    assert_int_not_equal(left, 0);
    assert_int_equal(world.phase, RUNS);
    assert_int_equal(world.depth, 0);
    assert_int_equal(model_apic_pending(&world.apic), MODEL_APIC_NONE);
    assert_int_equal(world.apic.delivered, world.raised);
    assert_true(exit_now() && collect());
    assert_int_equal(model_apic_in_service(&world.apic), MODEL_APIC_NONE);
    assert_int_equal(world.apic.ended, world.raised);
    assert_int_equal(world.apic.spurious, 0);
}

static void explore(void)
{
    struct snapshot *here;
    size_t i;

    if (!first_visit()) {
        return;
    }
    here = malloc(sizeof(*here));
    assert_non_null(here);
    save(here);
    everything_gets_in_and_ends();
    for (i = 0; i < STEPS; i++) {
        restore(here);
        if (steps[i]()) {
            explore();
        }
    }
    free(here);
}

static void start(bool maps, uint32_t policy)
{
    struct hvtlfs_config config;
    size_t size;

    memset(&world, 0, sizeof(world));
    memset(visited, 0, sizeof(visited));
    states = 0;
    hvtlfs_config_init(&config);
    hvtlfs_features_add(&config.features, HVTLFS_FEATURE_VAPIC);
    config.ops.gpa_read = on_read;
    config.ops.gpa_write = on_write;
    config.ops.gpa_probe = on_probe;
    config.ops.overlay_set = maps ? on_set : NULL;
    config.ops.overlay_clear = maps ? on_clear : NULL;
    config.ops.gpa_compare_exchange = on_compare_exchange;
    config.ops.apic_write = on_apic_write;
    config.ops.apic_read = on_apic_read;
    config.policy = policy;
    assert_int_equal(hvtlfs_partition_size(&config, &size, NULL), HVTLFS_OK);
    memory_size = (size + 7) / 8 * 8;
    assert_in_range(memory_size, 1, sizeof(memory));
    assert_int_equal(hvtlfs_partition_init(memory, size, &config, &partition, NULL), HVTLFS_OK);
    vp = hvtlfs_partition_vp(partition, 0);
    world.phase = RUNS;
    world.raises[0] = triggers[0] == triggers[1] ? 2 : 1;
    world.raises[1] = triggers[0] == HVTLFS_TRIGGER_EDGE ? 2 : 1;
    world.moves = 1;
    world.resets = 1;
    assert_int_equal(hvtlfs_msr_write(vp, HV_X64_MSR_VP_ASSIST_PAGE, 0x1001), HVTLFS_MSR_DONE);
}

static void no_interrupt_is_lost_or_ended_twice(void **state)
{
    const bool maps = *(const bool *)*state;
    uint32_t kinds;

    for (kinds = 0; kinds < 4; kinds++) {
        triggers[0] = kinds & 1 ? HVTLFS_TRIGGER_LEVEL : HVTLFS_TRIGGER_EDGE;
        triggers[1] = kinds & 2 ? HVTLFS_TRIGGER_LEVEL : HVTLFS_TRIGGER_EDGE;
        start(maps, 0);
        explore();
        print_message("%s, low %s, high %s: %u states\n", maps ? "mapped" : "copied",
                      kinds & 1 ? "level" : "edge", kinds & 2 ? "level" : "edge", states);
    }
}

int main(void)
{
    static bool mapped = true, copied = false;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(no_interrupt_is_lost_or_ended_twice, &mapped),
        cmocka_unit_test_prestate(no_interrupt_is_lost_or_ended_twice, &copied),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
