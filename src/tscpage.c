/* SPDX-License-Identifier: MIT */
/*
 * The reference TSC page (TLFS 12.7): sequence, scale, offset, zeros.
 *
 * Guests read it while it changes. So a change is: sequence 0, then the body, then a new sequence. A
 * reader that saw any of the new body sees, when it looks at the sequence again, 0 or later
 * (tests/proofs/tscpage.pml; bumping the sequence alone tears even on x86).
 */
#include "tscpage.h"

#include <hvtlfs/time.h>
#include <hvtlfs/tlfs.h>

#include "state.h"

#define OFFSET_OF(member) ((uint32_t)offsetof(struct hv_reference_tsc_page, member))

static uint32_t page_slot(const struct hvtlfs_partition *partition)
{
    return hvti_overlay_slot(&partition->overlays, HVTLFS_OVERLAY_REFERENCE_TSC, 0);
}

/* ---- Why the page is not valid ---- */

static const struct {
    const char *name;
    const char *text;
} states[HVTLFS_TSC_PAGE_STATES] = {
    [HVTLFS_TSC_PAGE_VALID] = {"valid", "the guest can use the page"},
    [HVTLFS_TSC_PAGE_NO_FEATURE] = {"no-feature", "the feature reference-tsc is off"},
    [HVTLFS_TSC_PAGE_NOT_INVARIANT] = {"not-invariant", "the TSC of this host is not invariant"},
    [HVTLFS_TSC_PAGE_STARTED_WITHOUT] = {"started-without",
                                         "the guest began life without an invariant TSC"},
    [HVTLFS_TSC_PAGE_RATE_UNKNOWN] = {"rate-unknown", "the rate of the TSC is not known"},
    [HVTLFS_TSC_PAGE_RATE_LOW] = {"rate-low", "the TSC is not above 10 MHz, so no scale exists"},
    [HVTLFS_TSC_PAGE_FROZEN] = {"frozen", "the partition is frozen"},
    [HVTLFS_TSC_PAGE_CLOCK_NOT_SET] = {"clock-not-set",
                                       "the partition was restored and not yet thawed"},
    [HVTLFS_TSC_PAGE_UNSYNCED] = {"unsynced", "the TSCs of the VPs differ"},
    [HVTLFS_TSC_PAGE_EMULATION] = {"emulation",
                                   "the TSC is emulated at the rate of an earlier host"},
    [HVTLFS_TSC_PAGE_DISABLED] = {"disabled", "the guest has not enabled the page"},
    [HVTLFS_TSC_PAGE_UNREACHABLE] = {"unreachable",
                                     "no page can be shown at the address that the guest chose"},
    [HVTLFS_TSC_PAGE_WRITE_FAILED] = {"write-failed", "the host could not write the page"},
};

const char *hvtlfs_tsc_page_state_name(enum hvtlfs_tsc_page_state state)
{
    return (uint32_t)state < HVTLFS_TSC_PAGE_STATES ? states[state].name : NULL;
}

const char *hvtlfs_tsc_page_state_text(enum hvtlfs_tsc_page_state state)
{
    return (uint32_t)state < HVTLFS_TSC_PAGE_STATES ? states[state].text : NULL;
}

static enum hvtlfs_tsc_page_state tsc_obstacle(const struct hvtlfs_partition *partition)
{
    const struct hvti_clock *clock = &partition->clock;

    if (!clock->invariant_tsc) {
        return HVTLFS_TSC_PAGE_NOT_INVARIANT;
    }
    if (!clock->started_invariant) {
        return HVTLFS_TSC_PAGE_STARTED_WITHOUT;
    }
    if (!clock->tsc_hz) {
        return HVTLFS_TSC_PAGE_RATE_UNKNOWN;
    }
    if (clock->phase != HVTI_CLOCK_RUNNING) {
        return clock->phase == HVTI_CLOCK_NOT_SET ? HVTLFS_TSC_PAGE_CLOCK_NOT_SET
                                                  : HVTLFS_TSC_PAGE_FROZEN;
    }
    if (clock->source != HVTI_CLOCK_TSC) {
        return HVTLFS_TSC_PAGE_RATE_LOW;
    }
    if (clock->unsynced) {
        return HVTLFS_TSC_PAGE_UNSYNCED;
    }
    return partition->reenlighten.in_progress ? HVTLFS_TSC_PAGE_EMULATION : HVTLFS_TSC_PAGE_VALID;
}

static enum hvtlfs_tsc_page_state page_obstacle(const struct hvtlfs_partition *partition)
{
    if (!(partition->tsc_page.msr & HV_MSR_REFERENCE_TSC_ENABLE)) {
        return HVTLFS_TSC_PAGE_DISABLED;
    }
    if (hvti_overlay_gpa(partition, page_slot(partition)) == HVTI_NOWHERE) {
        return HVTLFS_TSC_PAGE_UNREACHABLE;
    }
    return partition->tsc_page.write_failed ? HVTLFS_TSC_PAGE_WRITE_FAILED : HVTLFS_TSC_PAGE_VALID;
}

static enum hvtlfs_tsc_page_state page_state(const struct hvtlfs_partition *partition)
{
    enum hvtlfs_tsc_page_state state;

    if (!hvti_has(partition, HVTLFS_FEATURE_REFERENCE_TSC)) {
        return HVTLFS_TSC_PAGE_NO_FEATURE;
    }
    state = tsc_obstacle(partition);
    return state ? state : page_obstacle(partition);
}

enum hvtlfs_tsc_page_state hvtlfs_tsc_page_query(struct hvtlfs_partition *partition)
{
    enum hvtlfs_tsc_page_state state;

    hvti_lock(partition);
    state = page_state(partition);
    hvti_unlock(partition);
    return state;
}

/* ---- The content ---- */

/* After this, whatever anyone does was preceded by the store: what follows may sample the TSC. */
static bool write_sequence(struct hvtlfs_partition *partition, uint32_t sequence)
{
    struct hv_reference_tsc_page *page = hvti_overlay_mapped(partition, page_slot(partition));
    uint32_t in_page = guest32(sequence);

    if (page) {
        __atomic_store_n(&page->tsc_sequence, in_page, __ATOMIC_RELEASE);
        __sync_synchronize();
        return true;
    }
    return hvti_overlay_write(partition, page_slot(partition), OFFSET_OF(tsc_sequence), &in_page,
                              sizeof(in_page));
}

static bool write_body(struct hvtlfs_partition *partition, uint64_t scale, uint64_t offset)
{
    struct hv_reference_tsc_page *page = hvti_overlay_mapped(partition, page_slot(partition));
    uint64_t body[2] = {guest64(scale), guest64(offset)};

    if (page) {
        store_guarded(&page->tsc_scale, body[0]);
        store_guarded((uint64_t *)&page->tsc_offset, body[1]);
        return true;
    }
    return hvti_overlay_write(partition, page_slot(partition), OFFSET_OF(tsc_scale), body,
                              sizeof(body));
}

/* 0 means invalid, and to guests of version 2.0 of the TLFS 0xFFFFFFFF does too. */
static uint32_t next_sequence(uint32_t sequence)
{
    return sequence >= HV_REFERENCE_TSC_SEQUENCE_V2_LAST ? 1 : sequence + 1;
}

static void set_valid(struct hvti_tsc_page *page, bool valid)
{
    __atomic_store_n(&page->valid, valid, __ATOMIC_RELAXED);
}

void hvti_tsc_page_withdraw(struct hvtlfs_partition *partition)
{
    struct hvti_tsc_page *page = &partition->tsc_page;

    /* One that could not be taken back last time still looks valid to the guest. */
    if (page->valid || page->write_failed) {
        page->write_failed = !write_sequence(partition, HV_REFERENCE_TSC_SEQUENCE_INVALID);
        set_valid(page, false);
    }
}

static void publish(struct hvtlfs_partition *partition)
{
    const struct hvti_clock *clock = &partition->clock;
    struct hvti_tsc_page *page = &partition->tsc_page;

    hvti_tsc_page_withdraw(partition);
    if (page->write_failed) {
        return; /* the guest still believes in the body, which must not change under it */
    }
    page->sequence = next_sequence(page->sequence);
    page->scale = clock->scale;
    page->offset = clock->offset;
    page->write_failed = !write_body(partition, page->scale, page->offset) ||
                         !write_sequence(partition, page->sequence);
    if (!page->write_failed) {
        page->publications++;
        set_valid(page, true);
    }
}

void hvti_tsc_page_update(struct hvtlfs_partition *partition)
{
    const struct hvti_clock *clock = &partition->clock;
    struct hvti_tsc_page *page = &partition->tsc_page;
    bool failed = page->write_failed;
    enum hvtlfs_tsc_page_state state;

    page->write_failed = false; /* try again */
    state = page_state(partition);
    page->write_failed = failed;
    if (state != HVTLFS_TSC_PAGE_VALID) {
        hvti_tsc_page_withdraw(partition);
    } else if (!page->valid || page->scale != clock->scale || page->offset != clock->offset) {
        publish(partition);
    }
}

/* ---- The MSR ---- */

enum hvtlfs_msr_result hvti_reference_tsc_read(struct hvtlfs_vp *vp, uint32_t number,
                                               uint64_t *value)
{
    (void)number;
    *value = hvti_load(&vp->partition->tsc_page.msr);
    return HVTLFS_MSR_DONE;
}

static uint64_t wanted_gpa(const struct hvtlfs_partition *partition, uint64_t value)
{
    bool shown = (value & HV_MSR_REFERENCE_TSC_ENABLE) && page_of(value) < partition->gpa_limit;

    return shown ? page_of(value) : HVTI_NOWHERE;
}

/*
 * Anew at each place: where the host cannot write-protect, the guest may have written the old one.
 * Returns false, with nothing changed, if what the page covers cannot be given back.
 */
static bool move_page(struct hvtlfs_partition *partition, uint64_t gpa)
{
    uint32_t slot = page_slot(partition);

    if (gpa == hvti_overlay_gpa(partition, slot)) {
        return true;
    }
    /* A mapped page goes at once, and invalid; one that was copied goes piece by piece anyway. */
    if (hvti_overlay_mapped(partition, slot)) {
        hvti_tsc_page_withdraw(partition);
    }
    if (!hvti_overlay_move(partition, slot, HVTI_NOWHERE)) {
        return false;
    }
    hvti_tsc_page_withdraw(partition);
    hvti_overlay_reset(partition, slot);
    /* TLFS 12.7.1: an address without memory is no fault; the page is just not accessible. */
    (void)hvti_overlay_move(partition, slot, gpa);
    return true;
}

enum hvtlfs_msr_result hvti_reference_tsc_write(struct hvtlfs_vp *vp, uint32_t number,
                                                uint64_t value)
{
    struct hvtlfs_partition *partition = vp->partition;
    bool done;

    (void)number;
    hvti_lock(partition);
    done = move_page(partition, wanted_gpa(partition, value));
    if (done) {
        hvti_store(&partition->tsc_page.msr, value); /* bits 11:1 are preserved */
        hvti_tsc_page_update(partition);
    }
    hvti_unlock(partition);
    return done ? HVTLFS_MSR_DONE : HVTLFS_MSR_FAULT;
}

void hvti_tsc_page_reset(struct hvtlfs_partition *partition)
{
    struct hvti_tsc_page *page = &partition->tsc_page;

    if (hvti_has(partition, HVTLFS_FEATURE_REFERENCE_TSC)) {
        hvti_overlay_reset(partition, page_slot(partition));
    }
    set_valid(page, false);
    page->write_failed = false;
    hvti_store(&page->msr, 0);
}
