/* SPDX-License-Identifier: MIT */
#include <hvtlfs/msr.h>

#include <hvtlfs/tlfs.h>

#include "state.h"

struct msr_row {
    uint32_t number;
    uint32_t feature; /* HVTLFS_FEATURE_COUNT: known by name only */
    enum hvtlfs_msr_result (*read)(struct hvtlfs_vp *vp, uint32_t number, uint64_t *value);
    enum hvtlfs_msr_result (*write)(struct hvtlfs_vp *vp, uint32_t number, uint64_t value);
    const char *name;
};

#define READ(handler) hvti_##handler
#define WRITE(handler) hvti_##handler
#define NO_READ NULL
#define NO_WRITE NULL
#define MSR(name, feature, read, write, clause)                                                    \
    {HV_X64_MSR_##name, HVTLFS_FEATURE_##feature, read, write, "HV_X64_MSR_" #name},
#define MSR_ABSENT(name, clause)                                                                   \
    {HV_X64_MSR_##name, HVTLFS_FEATURE_COUNT, NULL, NULL, "HV_X64_MSR_" #name},

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

enum hvtlfs_msr_result hvtlfs_msr_read(struct hvtlfs_vp *vp, uint32_t number, uint64_t *value)
{
    uint32_t distance = number - HVTI_MSR_FIRST;
    const struct msr_row *row;

    if (distance >= HVTI_MSR_RANGE) {
        return HVTLFS_MSR_UNCLAIMED;
    }
    row = find_row(vp, distance);
    return row && row->read ? row->read(vp, number, value) : HVTLFS_MSR_FAULT;
}

enum hvtlfs_msr_result hvtlfs_msr_write(struct hvtlfs_vp *vp, uint32_t number, uint64_t value)
{
    uint32_t distance = number - HVTI_MSR_FIRST;
    const struct msr_row *row;

    if (distance >= HVTI_MSR_RANGE) {
        return HVTLFS_MSR_UNCLAIMED;
    }
    row = find_row(vp, distance);
    return row && row->write ? row->write(vp, number, value) : HVTLFS_MSR_FAULT;
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
