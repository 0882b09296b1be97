/* SPDX-License-Identifier: MIT */
/*
 * Guest crash enlightenment (TLFS 4.3): five parameters, then one write that reports them.
 *
 * The registers belong to the partition, as the chapter they stand in does; every VP may write them.
 */
#include "crash.h"

#include <hvtlfs/tlfs.h>

#include "state.h"

static uint64_t *parameter(struct hvtlfs_vp *vp, uint32_t number)
{
    return &vp->partition->crash.parameter[number - HV_X64_MSR_CRASH_P0];
}

enum hvtlfs_msr_result hvti_crash_parameter_read(struct hvtlfs_vp *vp, uint32_t number,
                                                 uint64_t *value)
{
    *value = hvti_load(parameter(vp, number));
    return HVTLFS_MSR_DONE;
}

enum hvtlfs_msr_result hvti_crash_parameter_write(struct hvtlfs_vp *vp, uint32_t number,
                                                  uint64_t value)
{
    hvti_store(parameter(vp, number), value);
    return HVTLFS_MSR_DONE;
}

/* TLFS 4.3.2: a read tells which actions there are. */
enum hvtlfs_msr_result hvti_crash_control_read(struct hvtlfs_vp *vp, uint32_t number,
                                               uint64_t *value)
{
    (void)vp;
    (void)number;
    *value = HV_MSR_CRASH_CTL_CRASH_NOTIFY | HV_MSR_CRASH_CTL_CRASH_MESSAGE;
    return HVTLFS_MSR_DONE;
}

/* Copy the guest's text page by page, as far as it can be read. */
static size_t fetch_message(struct hvtlfs_partition *partition, uint64_t gpa, uint64_t size)
{
    size_t wanted = size < HVTI_CRASH_MESSAGE_MAX ? (size_t)size : HVTI_CRASH_MESSAGE_MAX;
    size_t done = 0;

    while (done < wanted && gpa < partition->gpa_limit) {
        size_t room = HVTLFS_PAGE_SIZE - (size_t)(gpa & PAGE_MASK);
        size_t piece = wanted - done < room ? wanted - done : room;

        if (!hvti_host_gpa_read(&partition->host, gpa, partition->crash.message + done, piece)) {
            break;
        }
        done += piece;
        gpa += piece;
    }
    return done;
}

static void report(struct hvtlfs_vp *vp, uint64_t control)
{
    struct hvtlfs_partition *partition = vp->partition;
    struct hvti_crash *crash = &partition->crash;
    struct hvtlfs_crash told = {.control = control};
    bool with_message = false;
    uint32_t i;

    for (i = 0; i < HVTI_CRASH_PARAMETERS; i++) {
        told.parameter[i] = hvti_load(&crash->parameter[i]);
    }
    if (control & HV_MSR_CRASH_CTL_CRASH_MESSAGE) {
        /* Should two VPs crash at once, the second one's report goes without its text. */
        with_message = !__atomic_exchange_n(&crash->busy, 1, __ATOMIC_ACQUIRE);
    }
    if (with_message) {
        told.message_size = fetch_message(partition, told.parameter[3], told.parameter[4]);
        told.message = told.message_size ? crash->message : NULL;
    }
    hvti_host_crash(&partition->host, vp->index, &told);
    if (with_message) {
        __atomic_store_n(&crash->busy, 0, __ATOMIC_RELEASE);
    }
}

enum hvtlfs_msr_result hvti_crash_control_write(struct hvtlfs_vp *vp, uint32_t number,
                                                uint64_t value)
{
    (void)number;
    /* TLFS 4.3.2: CrashNotify alone or with CrashMessage; anything else asks for nothing. */
    if (value & HV_MSR_CRASH_CTL_CRASH_NOTIFY) {
        report(vp, value);
    }
    return HVTLFS_MSR_DONE;
}

void hvti_crash_reset(struct hvtlfs_partition *partition)
{
    uint32_t i;

    for (i = 0; i < HVTI_CRASH_PARAMETERS; i++) {
        hvti_store(&partition->crash.parameter[i], 0);
    }
}
