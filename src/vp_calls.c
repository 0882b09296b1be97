/* SPDX-License-Identifier: MIT */
/* Calls about VPs and their devices: index by APIC ID, start, interrupt targets (TLFS 7.10, 10.5.4). */
#include <hvtlfs/tlfs.h>

#include "state.h"

/* TLFS 7.10.4. Elements are a number and four bytes of padding, in both lists. */
uint16_t hvti_get_vp_index_from_apic_id(struct hvti_call *call)
{
    const uint8_t *in = call->elements;
    uint8_t *out = call->output;

    if (call->header[0] != HV_PARTITION_ID_SELF) {
        return HV_STATUS_INVALID_PARTITION_ID;
    }
    if (!hvti_vtl_is_0((uint8_t)call->header[1])) {
        return HV_STATUS_INVALID_PARAMETER;
    }
    for (; call->done < call->count; call->done++) {
        struct hv_vp_index_element answer = {0, 0};
        struct hv_apic_id_element asked;
        const struct hvtlfs_vp *vp;

        memcpy(&asked, in + call->done * sizeof(asked), sizeof(asked));
        vp = hvti_vp_by_apic_id(call->vp->partition, guest32(asked.apic_id));
        if (!vp) {
            return HV_STATUS_INVALID_PARAMETER;
        }
        answer.vp_index = guest32(vp->index);
        memcpy(out + call->done * sizeof(answer), &answer, sizeof(answer));
    }
    return HV_STATUS_SUCCESS;
}

_Static_assert(sizeof(struct hvtlfs_vp_context) == sizeof(struct hv_initial_vp_context),
               "the public struct has the layout of the TLFS");

/* TLFS 7.9.5 */
static struct hvtlfs_segment segment(const uint64_t qwords[2])
{
    return (struct hvtlfs_segment){.base = qwords[0],
                                   .limit = (uint32_t)qwords[1],
                                   .selector = (uint16_t)(qwords[1] >> 32),
                                   .attributes = (uint16_t)(qwords[1] >> 48)};
}

/* TLFS 7.9.6 */
static struct hvtlfs_table table(const uint64_t qwords[2])
{
    return (struct hvtlfs_table){.limit = (uint16_t)(qwords[0] >> 48), .base = qwords[1]};
}

/* All of the TLFS's struct is qwords and fields that share one. */
static void read_context(struct hvtlfs_vp_context *start, const uint64_t *qwords)
{
    struct hvtlfs_segment *segments[] = {&start->cs, &start->ds, &start->es, &start->fs,
                                         &start->gs, &start->ss, &start->tr, &start->ldtr};
    uint32_t i;

    memcpy(start, qwords, sizeof(*start)); /* right wherever a field is a qword */
    for (i = 0; i < ARRAY_LEN(segments); i++) {
        *segments[i] = segment(&qwords[3 + 2 * i]);
    }
    start->idtr = table(&qwords[19]);
    start->gdtr = table(&qwords[21]);
}

/* TLFS 7.10.3 */
uint16_t hvti_start_virtual_processor(struct hvti_call *call)
{
    struct hvtlfs_partition *partition = call->vp->partition;
    uint32_t target = (uint32_t)call->header[1];
    struct hvtlfs_vp_context start;

    if (call->header[0] != HV_PARTITION_ID_SELF) {
        return HV_STATUS_INVALID_PARTITION_ID;
    }
    if (!hvti_vp_by_index(partition, target)) {
        return HV_STATUS_INVALID_VP_INDEX;
    }
    if (!hvti_vtl_is_0((uint8_t)(call->header[1] >> 32))) {
        return HV_STATUS_INVALID_VTL_STATE;
    }
    read_context(&start, &call->header[2]);
    switch (hvti_host_start_vp(&partition->host, call->vp->index, target, &start)) {
    case HVTLFS_ANSWER_OK:
        return HV_STATUS_SUCCESS;
    case HVTLFS_ANSWER_VALUE:
        return HV_STATUS_INVALID_REGISTER_VALUE;
    case HVTLFS_ANSWER_STATE:
        return HV_STATUS_INVALID_VP_STATE;
    case HVTLFS_ANSWER_UNKNOWN:
    case HVTLFS_ANSWER_DENIED:
    default:
        return HV_STATUS_ACCESS_DENIED;
    }
}

/*
 * TLFS 10.5.4: the last field is a ProcessorMask, or the Format of an HV_VP_SET whose ValidBanksMask
 * and BankContents are the variable part of the header.
 */
static struct hvti_targets retarget_set(const struct hvti_call *call, uint32_t flags,
                                        struct hvtlfs_vp_set *room)
{
    const uint64_t *field = &call->header[6];

    if (flags & HV_DEVICE_INTERRUPT_TARGET_PROCESSOR_SET && call->variable_qwords) {
        return hvti_call_vp_set(call, field, call->variable_qwords - 1, room);
    }
    if (flags & HV_DEVICE_INTERRUPT_TARGET_PROCESSOR_SET || call->variable_qwords) {
        return (struct hvti_targets){NULL, 0};
    }
    return hvti_call_vp_mask(call, *field, room);
}

uint16_t hvti_retarget_device_interrupt(struct hvti_call *call)
{
    const uint64_t *header = call->header;
    uint32_t flags = (uint32_t)(header[5] >> 32);
    struct hvtlfs_retarget what = {
        .device_id = header[1],
        .source = (uint32_t)header[2],
        .msi_address = (uint32_t)header[3],
        .msi_data = (uint32_t)(header[3] >> 32),
        .vector = (uint32_t)header[5],
        .multicast = flags & HV_DEVICE_INTERRUPT_TARGET_MULTICAST,
    };
    const uint32_t known =
        HV_DEVICE_INTERRUPT_TARGET_MULTICAST | HV_DEVICE_INTERRUPT_TARGET_PROCESSOR_SET;
    struct hvti_targets targets;
    struct hvtlfs_vp_set room;

    if (header[0] != HV_PARTITION_ID_SELF) {
        return HV_STATUS_INVALID_PARTITION_ID;
    }
    if (what.source != HV_INTERRUPT_SOURCE_MSI || header[2] >> 32 || header[4] || flags & ~known ||
        what.vector < 0x10 || what.vector > 0xFF) {
        return HV_STATUS_INVALID_PARAMETER;
    }
    targets = retarget_set(call, flags, &room);
    if (!targets.count) {
        return HV_STATUS_INVALID_PARAMETER;
    }
    switch (hvti_host_retarget(&call->vp->partition->host, call->vp->index, &what, targets.set)) {
    case HVTLFS_ANSWER_OK:
        return HV_STATUS_SUCCESS;
    case HVTLFS_ANSWER_UNKNOWN:
        return HV_STATUS_INVALID_DEVICE_ID;
    case HVTLFS_ANSWER_DENIED:
        return HV_STATUS_OPERATION_DENIED;
    case HVTLFS_ANSWER_VALUE:
    case HVTLFS_ANSWER_STATE:
    default:
        return HV_STATUS_INVALID_PARAMETER;
    }
}
