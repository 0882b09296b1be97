/* SPDX-License-Identifier: MIT */
/* What KVM counts for a vCPU. */
#ifndef HVTLFS_GUEST_HOST_KVM_STATS_H
#define HVTLFS_GUEST_HOST_KVM_STATS_H

#include <stdint.h>

/* A file of a vCPU's counters, or -1 where KVM has none. While the vCPU runs this waits for it, as every
 * request of KVM does, and a halted one may never come; reading does not. */
int kvm_stats_open(int vp_fd);

/* The exits that the guest has made so far; 0 without the file. */
uint64_t kvm_stats_exits(int file);

#endif
