/* SPDX-License-Identifier: MIT */
/* From APIC ID to VP. */
#ifndef HVTI_APIC_IDS_H
#define HVTI_APIC_IDS_H

#include <hvtlfs/partition.h>

#include "util.h"

/* Twice as many places as VPs, so that a free one is near. */
#define HVTI_APIC_ID_PLACES (2 * HVTLFS_MAX_VPS)

/* A hash table with open addressing: position of a VP + 1, 0 = free. Constant after init. */
struct hvti_apic_ids {
    uint16_t place[HVTI_APIC_ID_PLACES];
};

/* Enter the VP at a position; its APIC ID is known. */
void hvti_apic_ids_add(struct hvtlfs_partition *partition, uint32_t slot);

/* The VP with an APIC ID, or NULL. */
const struct hvtlfs_vp *hvti_vp_by_apic_id(const struct hvtlfs_partition *partition,
                                           uint32_t apic_id);

#endif
