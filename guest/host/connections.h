/* SPDX-License-Identifier: MIT */
/* The connections that boot.h promises the guest. */
#ifndef HVTLFS_GUEST_HOST_CONNECTIONS_H
#define HVTLFS_GUEST_HOST_CONNECTIONS_H

#include <hvtlfs/partition.h>

/* Make room for them in a configuration whose VPs and features are set; and register them. */
void connections_configure(struct hvtlfs_config *config);
const char *connections_add(struct hvtlfs_partition *partition, uint32_t vp_count);

#endif
