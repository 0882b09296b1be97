/* SPDX-License-Identifier: MIT */
/* The extended hypercalls (TLFS 3.14). */
#include <hvtlfs/tlfs.h>

#include "state.h"

/* TLFS 3.14.1: bit 0 is GetBootZeroedMemory; the others are hints we give no use for. */
uint16_t hvti_ext_query_capabilities(struct hvti_call *call)
{
    uint64_t capabilities = guest64(hvti_host_has_boot_zeroed_memory(&call->vp->partition->host));

    memcpy(call->output, &capabilities, sizeof(capabilities));
    return HV_STATUS_SUCCESS;
}

/*
 * The online edition's output: a count and up to 255 ranges (6.0b has a single one, and an address
 * for a page number). Written range by range, the count last; the rest of the block stays as it was.
 */
uint16_t hvti_ext_get_boot_zeroed_memory(struct hvti_call *call)
{
    const struct hvti_host *host = &call->vp->partition->host;
    struct hv_boot_zeroed_memory_range range;
    uint64_t count = 0;

    if (!hvti_host_has_boot_zeroed_memory(host)) {
        return HV_STATUS_INVALID_HYPERCALL_CODE; /* the capability is not offered */
    }
    while (count < HV_BOOT_ZEROED_MEMORY_MAX_RANGES &&
           hvti_host_boot_zeroed_memory(host, (uint32_t)count, &range.start_gpa_page_number,
                                        &range.page_count)) {
        uint32_t offset = (uint32_t)(sizeof(count) + count * sizeof(range));

        range.start_gpa_page_number = guest64(range.start_gpa_page_number);
        range.page_count = guest64(range.page_count);
        if (!hvti_call_write(call, offset, &range, sizeof(range))) {
            return HV_STATUS_SUCCESS;
        }
        count++;
    }
    count = guest64(count);
    (void)hvti_call_write(call, 0, &count, sizeof(count));
    return HV_STATUS_SUCCESS;
}
