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

/* The first row is that of all numbers that fault; the others are sorted by number. */
static const struct msr_row rows[] = {
    {.feature = HVTLFS_FEATURE_COUNT},
#include "msrs.def"
};

_Static_assert(ARRAY_LEN(rows) <= UINT8_MAX, "row numbers fit a byte");

void hvti_msr_rows(uint64_t features, uint8_t table[HVTI_MSR_RANGE])
{
    uint32_t row;

    memset(table, 0, HVTI_MSR_RANGE);
    for (row = 1; row < ARRAY_LEN(rows); row++) {
        uint32_t distance = rows[row].number - HVTI_MSR_FIRST;

        if (distance < HVTI_MSR_RANGE && rows[row].feature < HVTLFS_FEATURE_COUNT &&
            hvti_mask_has(features, (enum hvtlfs_feature)rows[row].feature)) {
            table[distance] = (uint8_t)row;
        }
    }
}

/*
 * The way of an access is as short as a guest's interrupts are frequent. What is rare - a fault, somebody
 * who watches - is out of line, and where it is the last thing to do nothing needs to be kept for it.
 */
static const struct msr_row *find_row(const struct hvtlfs_vp *vp, uint32_t number)
{
    return &rows[vp->partition->msr_rows[number - HVTI_MSR_FIRST]];
}

UNUSUAL static enum hvtlfs_msr_result fault(struct hvtlfs_vp *vp)
{
    hvti_count(&vp->counters.msr_faults);
    return HVTLFS_MSR_FAULT;
}

static inline enum hvtlfs_msr_result read_row(struct hvtlfs_vp *vp, uint32_t number,
                                              uint64_t *value)
{
    const struct msr_row *row = find_row(vp, number);

    if (!row->read) {
        return fault(vp);
    }
    hvti_count(&vp->counters.msrs[row->counter]);
    return row->read(vp, number, value);
}

static inline enum hvtlfs_msr_result write_row(struct hvtlfs_vp *vp, uint32_t number,
                                               uint64_t value)
{
    const struct msr_row *row = find_row(vp, number);
    enum hvtlfs_msr_result result;

    if (!row->write) {
        return fault(vp);
    }
    hvti_count(&vp->counters.msrs[row->counter]);
    result = row->write(vp, number, value);
    return result == HVTLFS_MSR_FAULT ? fault(vp) : result;
}

static void tell(const struct hvtlfs_vp *vp, enum hvtlfs_event_kind kind, uint32_t number,
                 uint64_t value, enum hvtlfs_msr_result result)
{
    const struct hvtlfs_event event = {kind, vp->index, number, result, value, 0};

    hvti_host_trace(&vp->partition->host, &event);
}

UNUSUAL static enum hvtlfs_msr_result watched_read(struct hvtlfs_vp *vp, uint32_t number,
                                                   uint64_t *value)
{
    enum hvtlfs_msr_result result = read_row(vp, number, value);

    tell(vp, HVTLFS_EVENT_MSR_READ, number, result == HVTLFS_MSR_FAULT ? 0 : *value, result);
    return result;
}

UNUSUAL static enum hvtlfs_msr_result watched_write(struct hvtlfs_vp *vp, uint32_t number,
                                                    uint64_t value)
{
    enum hvtlfs_msr_result result = write_row(vp, number, value);

    tell(vp, HVTLFS_EVENT_MSR_WRITE, number, value, result);
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
    if (number - HVTI_MSR_FIRST >= HVTI_MSR_RANGE) {
        return HVTLFS_MSR_UNCLAIMED;
    }
    return hvti_host_is_watched(&vp->partition->host) ? watched_write(vp, number, value)
                                                      : write_row(vp, number, value);
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
