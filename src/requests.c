/* SPDX-License-Identifier: MIT */
/* MSRs whose whole meaning is a question or a request to the host. */
#include "requests.h"

#include <hvtlfs/tlfs.h>

#include "state.h"

/* TLFS 2.0 6.3.5: always reads 0. */
enum hvtlfs_msr_result hvti_reset_read(struct hvtlfs_vp *vp, uint32_t number, uint64_t *value)
{
    (void)vp;
    (void)number;
    *value = 0;
    return HVTLFS_MSR_DONE;
}

enum hvtlfs_msr_result hvti_reset_write(struct hvtlfs_vp *vp, uint32_t number, uint64_t value)
{
    (void)number;
    if (value & HV_MSR_RESET_RESET) {
        hvti_host_system_reset(&vp->partition->host, vp->index);
    }
    return HVTLFS_MSR_DONE;
}

enum hvtlfs_msr_result hvti_vp_runtime_read(struct hvtlfs_vp *vp, uint32_t number, uint64_t *value)
{
    (void)number;
    *value = hvti_host_vp_runtime(&vp->partition->host, vp->index);
    return HVTLFS_MSR_DONE;
}

/* TLFS 7.5: the read is the request. What it returns is not said; the host sees to the rest. */
enum hvtlfs_msr_result hvti_guest_idle_read(struct hvtlfs_vp *vp, uint32_t number, uint64_t *value)
{
    (void)vp;
    (void)number;
    *value = 0;
    return HVTLFS_MSR_IDLE;
}

/* ---- NPIEP (TLFS 8.12) ---- */

enum hvtlfs_msr_result hvti_npiep_read(struct hvtlfs_vp *vp, uint32_t number, uint64_t *value)
{
    (void)number;
    *value = vp->requests.npiep;
    return HVTLFS_MSR_DONE;
}

static void set_npiep(struct hvtlfs_vp *vp, uint32_t prevent)
{
    if (vp->requests.npiep != prevent) {
        vp->requests.npiep = prevent;
        hvti_host_npiep(&vp->partition->host, vp->index, prevent);
    }
}

enum hvtlfs_msr_result hvti_npiep_write(struct hvtlfs_vp *vp, uint32_t number, uint64_t value)
{
    (void)number;
    set_npiep(vp, (uint32_t)(value & ~HV_MSR_NPIEP_CONFIG_RSVD_MASK));
    return HVTLFS_MSR_DONE;
}

/* ---- The synthetic debugger (TLFS 5.0C App. F names the MSRs and no more) ---- */

enum hvtlfs_msr_result hvti_debug_read(struct hvtlfs_vp *vp, uint32_t number, uint64_t *value)
{
    uint64_t answer = 0;

    if (!hvti_host_debug_read(&vp->partition->host, vp->index, number, &answer)) {
        return HVTLFS_MSR_FAULT;
    }
    *value = answer;
    return HVTLFS_MSR_DONE;
}

enum hvtlfs_msr_result hvti_debug_write(struct hvtlfs_vp *vp, uint32_t number, uint64_t value)
{
    return hvti_host_debug_write(&vp->partition->host, vp->index, number, value) ? HVTLFS_MSR_DONE
                                                                                 : HVTLFS_MSR_FAULT;
}

void hvti_requests_reset(struct hvtlfs_vp *vp)
{
    set_npiep(vp, 0);
}

void hvti_requests_restored(struct hvtlfs_vp *vp)
{
    if (vp->requests.npiep) {
        hvti_host_npiep(&vp->partition->host, vp->index, vp->requests.npiep);
    }
}
