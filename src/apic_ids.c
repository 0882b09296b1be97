/* SPDX-License-Identifier: MIT */
#include "apic_ids.h"

#include "state.h"

/* Fibonacci hashing: the upper 13 bits of a product with 2^32 over the golden ratio. */
static uint32_t first_place(uint32_t apic_id)
{
    return apic_id * UINT32_C(0x9E3779B9) >> 19;
}

_Static_assert(HVTI_APIC_ID_PLACES == 1 << 13, "the hash has 13 bits");

static uint32_t next_place(uint32_t place)
{
    return (place + 1) % HVTI_APIC_ID_PLACES;
}

void hvti_apic_ids_add(struct hvtlfs_partition *partition, uint32_t slot)
{
    uint32_t place = first_place(partition->vps[slot].apic_id);

    while (partition->apic_ids.place[place]) {
        place = next_place(place);
    }
    partition->apic_ids.place[place] = (uint16_t)(slot + 1);
}

const struct hvtlfs_vp *hvti_vp_by_apic_id(const struct hvtlfs_partition *partition,
                                           uint32_t apic_id)
{
    uint32_t place = first_place(apic_id);

    for (; partition->apic_ids.place[place]; place = next_place(place)) {
        const struct hvtlfs_vp *vp = &partition->vps[partition->apic_ids.place[place] - 1];

        if (vp->apic_id == apic_id) {
            return vp;
        }
    }
    return NULL;
}
