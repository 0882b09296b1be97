/* SPDX-License-Identifier: MIT */
/* What KVM counts for a vCPU. */
#ifndef HVTLFS_GUEST_HOST_KVM_STATS_H
#define HVTLFS_GUEST_HOST_KVM_STATS_H

#include <stdint.h>

/* The exits that the guest has made so far; 0 where KVM does not tell. */
uint64_t kvm_stats_exits(int vp_fd);

#endif
