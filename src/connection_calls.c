/* SPDX-License-Identifier: MIT */
/* HvCallPostMessage and HvCallSignalEvent (TLFS 11.11) up to the connection. */
#include <hvtlfs/tlfs.h>

#include "state.h"

/* TLFS 11.10.7: an ID has 24 bits, the upper eight must be zero. */
static bool id_fits(uint32_t connection_id)
{
    return !(connection_id >> 24);
}

uint16_t hvti_call_post_message(struct hvti_call *call)
{
    uint32_t connection_id = (uint32_t)call->header[0];
    uint32_t type = (uint32_t)call->header[1];
    uint32_t size = (uint32_t)(call->header[1] >> 32);
    uint64_t room[HV_MESSAGE_PAYLOAD_BYTE_COUNT / 8];

    if (!type || type & HV_MESSAGE_TYPE_HYPERVISOR_MASK || size > HV_MESSAGE_PAYLOAD_BYTE_COUNT) {
        return HV_STATUS_INVALID_PARAMETER;
    }
    if (!id_fits(connection_id)) {
        return HV_STATUS_INVALID_CONNECTION_ID;
    }
    return hvti_post_message(call->vp, connection_id, type,
                             guest_bytes(&call->header[2], ARRAY_LEN(room), room), size);
}

uint16_t hvti_call_signal_event(struct hvti_call *call)
{
    uint32_t connection_id = (uint32_t)call->header[0];

    if (call->header[0] >> 48) {
        return HV_STATUS_INVALID_PARAMETER;
    }
    if (!id_fits(connection_id)) {
        return HV_STATUS_INVALID_CONNECTION_ID;
    }
    return hvti_signal_event(call->vp, connection_id, (uint16_t)(call->header[0] >> 32));
}
