/* SPDX-License-Identifier: MIT */
/* The guest's last words. */
#ifndef HVTI_CRASH_H
#define HVTI_CRASH_H

#include <stdint.h>

#define HVTI_CRASH_PARAMETERS 5u
#define HVTI_CRASH_MESSAGE_MAX 4096u /* TLFS 4.3.1.1 */

struct hvtlfs_partition;

struct hvti_crash {
    uint64_t parameter[HVTI_CRASH_PARAMETERS]; /* the MSRs; atomic, any VP */
    uint32_t busy;                             /* a report holds `message`; atomic */
    char message[HVTI_CRASH_MESSAGE_MAX];
};

void hvti_crash_reset(struct hvtlfs_partition *partition);

#endif
