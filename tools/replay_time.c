/* SPDX-License-Identifier: MIT */
/* The commands about reference time: what the library says, what a guest computes, and the moves of
   a partition from host to host. */
#include "replay.h"

#include <inttypes.h>
#include <string.h>

#include <hvtlfs/guest_time.h>
#include <hvtlfs/msr.h>
#include <hvtlfs/time.h>
#include <hvtlfs/tlfs.h>

/* What a call comes to: "ok", or one word for why not. */
static bool add_status(struct replay *replay, enum hvtlfs_status status)
{
    static const struct {
        enum hvtlfs_status status;
        const char *word;
    } words[] = {
        {HVTLFS_OK, "ok"},
        {HVTLFS_ERR_ORDER, "order"},
        {HVTLFS_ERR_ARGUMENT, "argument"},
        {HVTLFS_ERR_NO_CALLBACK, "no-callback"},
        {HVTLFS_ERR_TSC_RATE, "tsc-rate"},
    };
    const char *word = "error";
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        word = words[i].status == status ? words[i].word : word;
    }
    text_add(&replay->result, "%s", word);
    return true;
}

bool replay_reftime(struct replay *replay, size_t count, char **words)
{
    struct hvtlfs_vp *vp = hvtlfs_partition_vp(replay->partition, 0);
    uint32_t vp_index;
    if (count > 0 && !replay_vp(replay, words[0], &vp, &vp_index)) {
        return false;
    }
    text_add(&replay->result, "%" PRIu64, hvtlfs_reference_time(vp));
    return true;
}

/* The TSC that the guest reads. */
static uint64_t guest_tsc(const struct replay *replay, struct hvtlfs_vp *vp)
{
    return hvtlfs_tsc_emulated(vp, model_host_tsc(replay->host, hvtlfs_vp_index(vp)));
}

/* The page as the guest sees it, if it has one; nothing is asked of the library. The guest's order of bytes
 * is not always ours. */
static bool read_page(struct replay *replay, struct hvtlfs_vp *vp,
                      struct hvtlfs_guest_tsc_page *page)
{
    uint64_t msr = 0;
    if (hvtlfs_msr_read(vp, HV_X64_MSR_REFERENCE_TSC, &msr) != HVTLFS_MSR_DONE ||
        (msr & HV_MSR_REFERENCE_TSC_ENABLE) == 0 ||
        model_host_guest_read(replay->host, msr & HV_MSR_REFERENCE_TSC_GPA_PAGE_NUMBER_MASK, page,
                              sizeof(*page)) != MODEL_ACCESS_OK) {
        return false;
    }
    page->sequence = model_le32(page->sequence);
    page->scale = model_le64(page->scale);
    page->offset = model_le64(page->offset);
    return page->sequence != 0 && page->sequence != UINT32_MAX;
}

bool replay_guesttime(struct replay *replay, size_t count, char **words)
{
    struct hvtlfs_vp *vp;
    uint32_t vp_index;
    struct hvtlfs_guest_tsc_page page;
    uint64_t time;
    (void)count;
    if (!replay_vp(replay, words[0], &vp, &vp_index)) {
        return false;
    }
    if (read_page(replay, vp, &page)) {
        time = hvtlfs_guest_scale(guest_tsc(replay, vp), page.scale, page.offset);
        text_add(&replay->result, "page %" PRIu64, time);
    } else if (hvtlfs_msr_read(vp, HV_X64_MSR_TIME_REF_COUNT, &time) == HVTLFS_MSR_DONE) {
        text_add(&replay->result, "msr %" PRIu64, time);
    } else {
        text_add(&replay->result, "#GP");
    }
    return true;
}

bool replay_guesttsc(struct replay *replay, size_t count, char **words)
{
    struct hvtlfs_vp *vp;
    uint32_t vp_index;
    (void)count;
    if (!replay_vp(replay, words[0], &vp, &vp_index)) {
        return false;
    }
    text_add(&replay->result, "%" PRIu64, guest_tsc(replay, vp));
    return true;
}

/* IA32_TSC of one VP, written by the guest: the host carries it out and tells the library. */
bool replay_wrtsc(struct replay *replay, size_t count, char **words)
{
    struct hvtlfs_vp *vp;
    uint32_t vp_index;
    uint64_t value;
    (void)count;
    if (!replay_vp(replay, words[0], &vp, &vp_index) ||
        !replay_number(replay, words[1], "a TSC value", UINT64_MAX, &value)) {
        return false;
    }
    /* The guest writes what it wants to read: while the TSC is emulated, that is not the raw one. */
    uint64_t raw = model_host_tsc(replay->host, vp_index);
    uint64_t ticks = value - hvtlfs_tsc_emulated(vp, raw);
    uint64_t offset = model_host_tsc_offset(replay->host, vp_index);
    model_host_set_tsc_offset(replay->host, vp_index, offset + ticks);
    hvtlfs_tsc_changed(vp, ticks);
    return add_status(replay, HVTLFS_OK);
}

bool replay_page_reason(struct replay *replay, size_t count, char **words)
{
    (void)count;
    (void)words;
    text_add(&replay->result, "%s",
             hvtlfs_tsc_page_state_name(hvtlfs_tsc_page_query(replay->partition)));
    return true;
}

bool replay_freeze(struct replay *replay, size_t count, char **words)
{
    (void)count;
    (void)words;
    return add_status(replay, hvtlfs_freeze(replay->partition));
}

static enum hvtlfs_status thaw(struct replay *replay, uint64_t pause)
{
    enum hvtlfs_status status = hvtlfs_thaw(replay->partition, pause);
    replay_serve_kicks(replay);
    return status;
}

bool replay_thaw(struct replay *replay, size_t count, char **words)
{
    uint64_t pause = 0;
    if (count > 0 &&
        !replay_number(replay, words[0], "a time in units of 100 ns", UINT64_MAX, &pause)) {
        return false;
    }
    return add_status(replay, thaw(replay, pause));
}

/* ---- migrate ---- */

struct destination {
    uint64_t tsc_hz;
    uint64_t tsc;
    bool has_rate;
    bool has_tsc;
    bool invariant;
};

static bool read_destination_word(struct replay *replay, struct destination *to, const char *word)
{
    if (strcmp(word, "invariant-tsc=yes") == 0 || strcmp(word, "invariant-tsc=no") == 0) {
        to->invariant = strcmp(word, "invariant-tsc=yes") == 0;
        return true;
    }
    if (strncmp(word, "tsc-hz=", 7) == 0) {
        to->has_rate = true;
        return replay_number(replay, word + 7, "a rate after 'tsc-hz='", UINT64_MAX, &to->tsc_hz);
    }
    if (strncmp(word, "tsc=", 4) == 0) {
        to->has_tsc = true;
        return replay_number(replay, word + 4, "a value after 'tsc='", UINT64_MAX, &to->tsc);
    }
    return replay_expected(replay, "expected tsc-hz=N, invariant-tsc=yes|no or tsc=N, got '%s'",
                           word);
}

/* Between freeze and thaw: the other host has another TSC. */
static enum hvtlfs_status move(struct replay *replay, const struct destination *to)
{
    enum hvtlfs_status status = hvtlfs_migrate(replay->partition, to->tsc_hz, to->invariant);
    if (status == HVTLFS_OK) {
        model_host_set_tsc_hz(replay->host, to->tsc_hz);
        if (to->has_tsc) {
            model_host_set_tsc(replay->host, to->tsc - model_host_tsc_offset(replay->host, 0));
        }
    }
    return status;
}

bool replay_migrate(struct replay *replay, size_t count, char **words)
{
    struct destination to = {.invariant = true};
    for (size_t i = 0; i < count; i++) {
        if (!read_destination_word(replay, &to, words[i])) {
            return false;
        }
    }
    if (!to.has_rate) {
        return replay_expected(replay, "expected tsc-hz=N");
    }
    /* A script that has frozen the partition itself thaws it itself. */
    bool whole = hvtlfs_freeze(replay->partition) == HVTLFS_OK;
    enum hvtlfs_status status = move(replay, &to);
    if (status == HVTLFS_OK) {
        replay->config.tsc_hz = to.tsc_hz; /* for partitions that take over from a saved state */
        replay->config.invariant_tsc = to.invariant;
    }
    if (whole) {
        (void)thaw(replay, 0);
    }
    return add_status(replay, status);
}
