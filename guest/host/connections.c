/* SPDX-License-Identifier: MIT */
#include "connections.h"

#include <hvtlfs/synic.h>

#include "boot.h"

/* Two for each SINT; those for messages take buffers, and timers need none. */
void connections_configure(struct hvtlfs_config *config)
{
    uint32_t sints = config->vp_count * HVTLFS_SINT_COUNT;

    config->connection_count = 2 * sints;
    config->message_buffers = sints * HVTLFS_MESSAGE_BUFFERS;
}

static enum hvtlfs_status add(struct hvtlfs_partition *partition, uint32_t vp_index, uint32_t sint)
{
    struct hvtlfs_connection connection = {
        .size = sizeof connection,
        .connection_id = BOOT_MESSAGES + HVTLFS_SINT_COUNT * vp_index + sint,
        .type = HVTLFS_CONNECTION_MESSAGE,
        .vp_index = vp_index,
        .sint = sint,
    };
    enum hvtlfs_status status = hvtlfs_connection_add(partition, &connection);

    if (status == HVTLFS_OK) {
        connection.connection_id = BOOT_EVENTS + HVTLFS_SINT_COUNT * vp_index + sint;
        connection.type = HVTLFS_CONNECTION_EVENT;
        connection.flag_count = HVTLFS_EVENT_FLAG_COUNT;
        status = hvtlfs_connection_add(partition, &connection);
    }
    return status;
}

const char *connections_add(struct hvtlfs_partition *partition, uint32_t vp_count)
{
    struct hvtlfs_features features = hvtlfs_partition_features(partition);

    if (!hvtlfs_features_has(&features, HVTLFS_FEATURE_SYNIC)) {
        return NULL;
    }
    for (uint32_t n = 0; n < vp_count; n++) {
        for (uint32_t sint = 0; sint < HVTLFS_SINT_COUNT; sint++) {
            enum hvtlfs_status status = add(partition, n, sint);

            if (status != HVTLFS_OK) {
                return hvtlfs_strerror(status);
            }
        }
    }
    return NULL;
}
