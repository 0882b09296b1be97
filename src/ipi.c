/* SPDX-License-Identifier: MIT */
/* Synthetic cluster IPIs (TLFS 10.5.2, 10.5.3). */
#include <hvtlfs/tlfs.h>

#include "state.h"

/* The first qword of both calls: vector, target VTL (0, named or not), three reserved bytes. */
static bool vector_fits(uint64_t word)
{
    uint32_t vector = (uint32_t)word;

    return vector >= HV_CLUSTER_IPI_VECTOR_FIRST && vector <= HV_CLUSTER_IPI_VECTOR_LAST &&
           !(word >> 32 & ~UINT64_C(0x10));
}

static uint16_t send(const struct hvti_call *call, const struct hvtlfs_vp_set *targets)
{
    hvti_host_send_ipi(&call->vp->partition->host, call->vp->index, (uint32_t)call->header[0],
                       targets);
    return HV_STATUS_SUCCESS;
}

uint16_t hvti_send_synthetic_cluster_ipi(struct hvti_call *call)
{
    struct hvtlfs_vp_set targets;

    if (!vector_fits(call->header[0])) {
        return HV_STATUS_INVALID_PARAMETER;
    }
    /* Not counted, as hvti_call_vp_mask() would: nobody asks. */
    targets.banks = 1;
    targets.bank[0] = hvti_present_of_mask(call->vp->partition, call->header[1]);
    return targets.bank[0] ? send(call, &targets) : HV_STATUS_SUCCESS;
}

uint16_t hvti_send_synthetic_cluster_ipi_ex(struct hvti_call *call)
{
    struct hvti_targets targets;
    struct hvtlfs_vp_set room;

    if (!vector_fits(call->header[0])) {
        return HV_STATUS_INVALID_PARAMETER;
    }
    targets = hvti_call_vp_set(call, &call->header[1], call->variable_qwords, &room);
    if (!targets.set) {
        return HV_STATUS_INVALID_PARAMETER;
    }
    return targets.count ? send(call, targets.set) : HV_STATUS_SUCCESS;
}
