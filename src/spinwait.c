/* SPDX-License-Identifier: MIT */
/* Guest spinlocks (TLFS 14.3.1, 14.5.1): the guest tells that it has been spinning for long. */
#include <hvtlfs/tlfs.h>

#include "state.h"

/*
 * Advisory: it succeeds whatever it says (TLFS 14.5.1). The upper half of the input is RsvdZ, but a
 * failure would only make the guest spin on, so it is ignored.
 */
uint16_t hvti_notify_long_spin_wait(struct hvti_call *call)
{
    hvti_host_spin_wait(&call->vp->partition->host, call->vp->index, (uint32_t)call->input[0]);
    return HV_STATUS_SUCCESS;
}
