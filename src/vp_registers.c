/* SPDX-License-Identifier: MIT */
/*
 * HvCallGetVpRegisters and HvCallSetVpRegisters (TLFS 7.10.1, 7.10.2) for the calling VP: copies of
 * CPUID leaves, the synthetic registers (the same state as the MSRs, with the same gates) and, through
 * the host, the architectural ones. What belongs to a parent or to VSM is denied, and GuestIdle: its
 * read suspends the VP (7.5), which a list of registers cannot do in its middle.
 */
#include <hvtlfs/names.h>
#include <hvtlfs/tlfs.h>

#include "state.h"

enum kind {
    LEAF, /* `to` is the distance from the first hypervisor leaf */
    MSR,  /* `to` is the number */
};

/* `count` consecutive names stand for consecutive leaves or MSRs. */
struct span {
    uint32_t name;
    uint32_t count;
    enum kind kind;
    uint32_t to;
};

static const struct span spans[] = {
    {HvRegisterHypervisorVersion, 1, LEAF, 2},
    {HvRegisterPrivilegesAndFeaturesInfo, 4, LEAF, 3},
    {HvRegisterNestedVirtFeaturesInfo, 1, LEAF, 10},
    {HvRegisterGuestCrashP0, 6, MSR, HV_X64_MSR_CRASH_P0},
    {HvRegisterProcessorClockFrequency, 2, MSR, HV_X64_MSR_TSC_FREQUENCY},
    {HvRegisterVpRuntime, 1, MSR, HV_X64_MSR_VP_RUNTIME},
    {HvX64RegisterHypercall, 1, MSR, HV_X64_MSR_HYPERCALL},
    {HvRegisterGuestOsId, 1, MSR, HV_X64_MSR_GUEST_OS_ID},
    {HvRegisterVpIndex, 1, MSR, HV_X64_MSR_VP_INDEX},
    {HvRegisterTimeRefCount, 1, MSR, HV_X64_MSR_TIME_REF_COUNT},
    {HvX64RegisterSyntheticEoi, 4, MSR, HV_X64_MSR_EOI},
    {HvRegisterReferenceTsc, 1, MSR, HV_X64_MSR_REFERENCE_TSC},
    {HvRegisterStatsPartitionRetail, 1, MSR, HV_X64_MSR_STATS_PARTITION_RETAIL_PAGE},
    {HvRegisterStatsVpRetail, 1, MSR, HV_X64_MSR_STATS_VP_RETAIL_PAGE},
    {HvRegisterSint0, 16, MSR, HV_X64_MSR_SINT0},
    {HvRegisterScontrol, 5, MSR, HV_X64_MSR_SCONTROL},
    {HvRegisterStimer0Config, 8, MSR, HV_X64_MSR_STIMER0_CONFIG},
    {HvRegisterStimeUnhaltedTimerConfig, 2, MSR, HV_X64_MSR_STIME_UNHALTED_TIMER_CONFIG},
};

static const struct span *find_span(uint32_t name)
{
    size_t i;

    for (i = 0; i < ARRAY_LEN(spans); i++) {
        if (name - spans[i].name < spans[i].count) {
            return &spans[i];
        }
    }
    return NULL;
}

/* General, control, debug and segment registers, descriptor tables and the processor's own MSRs. */
static bool is_architectural(uint32_t name)
{
    return name >= HvX64RegisterRax && name < HvRegisterVpRuntime;
}

/* The number of a register's MSR, if the guest has it. */
static bool msr_of(const struct hvtlfs_vp *vp, const struct span *span, uint32_t name,
                   uint32_t *number)
{
    *number = span->to + (name - span->name);
    return vp->partition->msr_rows[*number - HVTI_MSR_FIRST];
}

static uint16_t answer_status(enum hvtlfs_answer answer)
{
    switch (answer) {
    case HVTLFS_ANSWER_OK:
        return HV_STATUS_SUCCESS;
    case HVTLFS_ANSWER_DENIED:
        return HV_STATUS_ACCESS_DENIED;
    case HVTLFS_ANSWER_VALUE:
    case HVTLFS_ANSWER_STATE:
    case HVTLFS_ANSWER_UNKNOWN:
    default:
        return HV_STATUS_INVALID_PARAMETER;
    }
}

/* A register that is not ours: the host's, somebody else's, or nobody's. */
static uint16_t foreign_status(uint32_t name)
{
    return hvtlfs_register_name(name) ? HV_STATUS_ACCESS_DENIED : HV_STATUS_INVALID_PARAMETER;
}

static uint16_t get_leaf(const struct hvtlfs_vp *vp, const struct span *span, uint32_t name,
                         struct hvtlfs_register *value)
{
    const struct hvtlfs_cpuid_regs *leaf =
        &vp->partition->leaves[span->to + (name - span->name)];

    value->half[0] = (uint64_t)leaf->ebx << 32 | leaf->eax;
    value->half[1] = (uint64_t)leaf->edx << 32 | leaf->ecx;
    return HV_STATUS_SUCCESS;
}

static uint16_t get_one(struct hvtlfs_vp *vp, uint32_t name, struct hvtlfs_register *value)
{
    const struct span *span = find_span(name);
    uint32_t number;

    *value = (struct hvtlfs_register){{0, 0}};
    if (span && span->kind == LEAF) {
        return get_leaf(vp, span, name, value);
    }
    if (span) {
        if (!msr_of(vp, span, name, &number)) {
            return HV_STATUS_ACCESS_DENIED;
        }
        return hvtlfs_msr_read(vp, number, &value->half[0]) == HVTLFS_MSR_DONE
                   ? HV_STATUS_SUCCESS
                   : HV_STATUS_INVALID_PARAMETER;
    }
    if (is_architectural(name) && hvtlfs_register_name(name)) {
        return answer_status(
            hvti_host_get_register(&vp->partition->host, vp->index, name, value));
    }
    return foreign_status(name);
}

/*
 * A write that is done. After a self-IPI (DELIVER) nothing is left to do: the host lets interrupts in
 * after every hypercall.
 */
static bool msr_is_written(struct hvtlfs_vp *vp, uint32_t number, uint64_t value)
{
    enum hvtlfs_msr_result result = hvtlfs_msr_write(vp, number, value);

    return result == HVTLFS_MSR_DONE || result == HVTLFS_MSR_DELIVER;
}

static uint16_t set_one(struct hvtlfs_vp *vp, uint32_t name, const struct hvtlfs_register *value)
{
    const struct span *span = find_span(name);
    enum hvtlfs_answer answer;
    uint32_t number;

    if (span) {
        if (span->kind == LEAF || !msr_of(vp, span, name, &number)) {
            return HV_STATUS_ACCESS_DENIED;
        }
        return !value->half[1] && msr_is_written(vp, number, value->half[0])
                   ? HV_STATUS_SUCCESS
                   : HV_STATUS_INVALID_REGISTER_VALUE;
    }
    if (is_architectural(name) && hvtlfs_register_name(name)) {
        answer = hvti_host_set_register(&vp->partition->host, vp->index, name, value);
        return answer == HVTLFS_ANSWER_VALUE ? HV_STATUS_INVALID_REGISTER_VALUE
                                             : answer_status(answer);
    }
    return foreign_status(name);
}

/*
 * Whose registers: the caller's own. Those of another VP belong to that VP's thread, and a guest that
 * wants them can ask there.
 */
static uint16_t check_header(const struct hvti_call *call)
{
    const struct hvtlfs_vp *vp = call->vp;
    uint32_t index = (uint32_t)call->header[1];

    if (call->header[0] != HV_PARTITION_ID_SELF) {
        return HV_STATUS_INVALID_PARTITION_ID;
    }
    if (index != HV_VP_INDEX_SELF && !hvti_vp_by_index(vp->partition, index)) {
        return HV_STATUS_INVALID_VP_INDEX;
    }
    if (index != HV_VP_INDEX_SELF && index != vp->index) {
        return HV_STATUS_ACCESS_DENIED;
    }
    return hvti_vtl_is_0((uint8_t)(call->header[1] >> 32)) && !(call->header[1] >> 40)
               ? HV_STATUS_SUCCESS
               : HV_STATUS_INVALID_PARAMETER;
}

uint16_t hvti_get_vp_registers(struct hvti_call *call)
{
    const uint8_t *names = call->elements;
    uint8_t *values = call->output;
    uint16_t status = check_header(call);

    for (; status == HV_STATUS_SUCCESS && call->done < call->count; call->done++) {
        struct hvtlfs_register value;
        uint32_t name;

        memcpy(&name, names + call->done * sizeof(name), sizeof(name));
        status = get_one(call->vp, guest32(name), &value);
        if (status != HV_STATUS_SUCCESS) {
            return status;
        }
        guest_qwords(value.half, ARRAY_LEN(value.half));
        memcpy(values + call->done * sizeof(value), &value, sizeof(value));
    }
    return status;
}

uint16_t hvti_set_vp_registers(struct hvti_call *call)
{
    const uint8_t *list = call->elements;
    uint16_t status = check_header(call);

    for (; status == HV_STATUS_SUCCESS && call->done < call->count; call->done++) {
        struct hvtlfs_register value;
        struct hv_register_assoc one;

        memcpy(&one, list + call->done * sizeof(one), sizeof(one));
        if (one.reserved[0] || one.reserved[1] || one.reserved[2]) {
            return HV_STATUS_INVALID_PARAMETER;
        }
        value = (struct hvtlfs_register){
            {guest64(one.register_value.low64), guest64(one.register_value.high64)}};
        status = set_one(call->vp, guest32(one.register_name), &value);
        if (status != HV_STATUS_SUCCESS) {
            return status;
        }
    }
    return status;
}
