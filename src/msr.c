/* SPDX-License-Identifier: MIT */
#include <hvtlfs/msr.h>

#include <hvtlfs/tlfs.h>

#include "state.h"

struct msr_row {
    uint32_t number;
    uint16_t feature; /* HVTLFS_FEATURE_COUNT: known by name only */
    uint16_t counter;
    enum hvtlfs_msr_result (*read)(struct hvtlfs_vp *vp, uint32_t number, uint64_t *value);
    enum hvtlfs_msr_result (*write)(struct hvtlfs_vp *vp, uint32_t number, uint64_t value);
    const char *name;
};

#define READ(handler) hvti_##handler
#define WRITE(handler) hvti_##handler
#define NO_READ NULL
#define NO_WRITE NULL
#define MSR(name, feature, read, write, clause)                                                    \
    {HV_X64_MSR_##name, HVTLFS_FEATURE_##feature, HVTI_MSR_COUNTER_##name, read, write, "HV_X64_MSR_" #name},
#define MSR_ABSENT(name, clause)                                                                   \
    {HV_X64_MSR_##name, HVTLFS_FEATURE_COUNT, 0, NULL, NULL, "HV_X64_MSR_" #name},

static const struct msr_row rows[] = {
#include "msrs.def"
};

_Static_assert(ARRAY_LEN(rows) < UINT8_MAX, "row numbers + 1 fit a byte");

void hvti_msr_rows(uint64_t features, uint8_t table[HVTI_MSR_RANGE])
{
    uint8_t row;

    memset(table, 0, HVTI_MSR_RANGE);
    for (row = 0; row < ARRAY_LEN(rows); row++) {
        uint32_t distance = rows[row].number - HVTI_MSR_FIRST;

        if (distance < HVTI_MSR_RANGE && rows[row].feature < HVTLFS_FEATURE_COUNT &&
            hvti_mask_has(features, (enum hvtlfs_feature)rows[row].feature)) {
            table[distance] = (uint8_t)(row + 1);
        }
    }
}

/* The row of an MSR this partition offers; NULL: the access faults. */
static const struct msr_row *find_row(const struct hvtlfs_vp *vp, uint32_t distance)
{
    uint8_t row = vp->partition->msr_rows[distance];

    return row ? &rows[row - 1] : NULL;
}

static enum hvtlfs_msr_result count_fault(struct hvtlfs_vp *vp, enum hvtlfs_msr_result result)
{
    if (result == HVTLFS_MSR_FAULT) {
        hvti_count(&vp->counters.msr_faults);
    }
    return result;
}

static enum hvtlfs_msr_result read_row(struct hvtlfs_vp *vp, uint32_t number, uint64_t *value)
{
    const struct msr_row *row = find_row(vp, number - HVTI_MSR_FIRST);

    if (!row || !row->read) {
        return count_fault(vp, HVTLFS_MSR_FAULT);
    }
    hvti_count(&vp->counters.msrs[row->counter]);
    return row->read(vp, number, value); /* the last thing: reads are the hot ones */
}

static enum hvtlfs_msr_result write_row(struct hvtlfs_vp *vp, uint32_t number, uint64_t value)
{
    const struct msr_row *row = find_row(vp, number - HVTI_MSR_FIRST);

    if (!row || !row->write) {
        return count_fault(vp, HVTLFS_MSR_FAULT);
    }
    hvti_count(&vp->counters.msrs[row->counter]);
    return count_fault(vp, row->write(vp, number, value));
}

/* Kept out of the way of those that nobody watches. */
__attribute__((noinline, cold)) static void tell(const struct hvtlfs_vp *vp,
                                                 enum hvtlfs_event_kind kind, uint32_t number,
                                                 uint64_t value, enum hvtlfs_msr_result result)
{
    const struct hvtlfs_event event = {kind, vp->index, number, result, value, 0};

    hvti_host_trace(&vp->partition->host, &event);
}

__attribute__((noinline, cold)) static enum hvtlfs_msr_result
watched_read(struct hvtlfs_vp *vp, uint32_t number, uint64_t *value)
{
    enum hvtlfs_msr_result result = read_row(vp, number, value);

    tell(vp, HVTLFS_EVENT_MSR_READ, number, result == HVTLFS_MSR_FAULT ? 0 : *value, result);
    return result;
}

enum hvtlfs_msr_result hvtlfs_msr_read(struct hvtlfs_vp *vp, uint32_t number, uint64_t *value)
{
    if (number - HVTI_MSR_FIRST >= HVTI_MSR_RANGE) {
        return HVTLFS_MSR_UNCLAIMED;
    }
    return hvti_host_is_watched(&vp->partition->host) ? watched_read(vp, number, value)
                                                      : read_row(vp, number, value);
}

enum hvtlfs_msr_result hvtlfs_msr_write(struct hvtlfs_vp *vp, uint32_t number, uint64_t value)
{
    enum hvtlfs_msr_result result;

    if (number - HVTI_MSR_FIRST >= HVTI_MSR_RANGE) {
        return HVTLFS_MSR_UNCLAIMED;
    }
    result = write_row(vp, number, value);
    if (hvti_host_is_watched(&vp->partition->host)) {
        tell(vp, HVTLFS_EVENT_MSR_WRITE, number, value, result);
    }
    return result;
}

void hvti_msr_counter(uint32_t counter, uint32_t *number, uint64_t *features)
{
    size_t row = 0;

    while (rows[row].feature == HVTLFS_FEATURE_COUNT || rows[row].counter != counter) {
        row++;
    }
    *number = rows[row].number;
    *features = BIT64(rows[row].feature);
}

const char *hvtlfs_msr_name(uint32_t number)
{
    size_t low = 0;
    size_t high = ARRAY_LEN(rows);

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (rows[middle].number == number) {
            return rows[middle].name;
        }
        if (rows[middle].number < number) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}
