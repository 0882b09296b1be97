/* SPDX-License-Identifier: MIT */
/*
 * Connections and the ports behind them (TLFS 11.5-11.7, 11.11).
 *
 * A row is written while it is free, behind the lock, and constant while anybody refers to it: a
 * call that uses it, or a message that came through it. So finding and using one needs no lock. A
 * connection that is removed is dying until its last reference has gone; then its buffers are
 * everybody's again and the row is free.
 */
#include "state.h"

/* The first version of struct hvtlfs_connection. */
#define CONNECTION_MIN (offsetof(struct hvtlfs_connection, flag_count) + sizeof(uint32_t))

uint32_t hvti_connection_count(const struct hvtlfs_config *config, uint64_t features)
{
    const uint64_t users =
        FEATURE_BIT(SYNIC) | FEATURE_BIT(POST_MESSAGES) | FEATURE_BIT(SIGNAL_EVENTS);

    return features & users ? config->connection_count : 0;
}

static struct hvti_connection *row_of(struct hvtlfs_partition *partition, uint32_t row)
{
    return &partition->connections.rows[row - 1];
}

static bool has_handler(const struct hvtlfs_connection *connection)
{
    return connection->type == HVTLFS_CONNECTION_MESSAGE ? connection->post != NULL
                                                         : connection->signal != NULL;
}

/* Messages that wait take buffers; nothing else does. */
static uint32_t buffers_of(const struct hvtlfs_connection *connection)
{
    return connection->type == HVTLFS_CONNECTION_MESSAGE && !has_handler(connection)
               ? HVTLFS_MESSAGE_BUFFERS
               : 0;
}

/* ---- References ---- */

static bool refer(struct hvti_connection *row)
{
    uint32_t state = __atomic_load_n(&row->state, __ATOMIC_RELAXED);

    do {
        if (!(state & HVTI_CONNECTION_LIVE) || (state & HVTI_CONNECTION_DYING)) {
            return false;
        }
    } while (!__atomic_compare_exchange_n(&row->state, &state, state + 1, false, __ATOMIC_ACQUIRE,
                                          __ATOMIC_RELAXED));
    return true;
}

void hvti_connection_drop(struct hvtlfs_partition *partition, uint32_t row, bool message)
{
    struct hvti_connection *connection = row_of(partition, row);
    uint32_t buffers = buffers_of(&connection->with);

    if (message) {
        (void)__atomic_fetch_sub(&connection->queued, 1, __ATOMIC_RELEASE);
    }
    if (__atomic_sub_fetch(&connection->state, 1, __ATOMIC_ACQ_REL) ==
        (HVTI_CONNECTION_LIVE | HVTI_CONNECTION_DYING)) {
        /* Nobody can refer to it any more, so this happens once. */
        hvti_messages_unreserve(&partition->messages, buffers);
        __atomic_store_n(&connection->state, 0, __ATOMIC_RELEASE);
    }
}

bool hvti_connection_dying(const struct hvtlfs_partition *partition, uint32_t row)
{
    return __atomic_load_n(&partition->connections.rows[row - 1].state, __ATOMIC_ACQUIRE) &
           HVTI_CONNECTION_DYING;
}

/* The row + 1 of a connection, referred to; 0 if there is none. */
static uint32_t find(struct hvtlfs_partition *partition, uint32_t connection_id)
{
    uint32_t row;

    for (row = 1; row <= partition->connections.count; row++) {
        const uint32_t *id = &row_of(partition, row)->id;

        if (__atomic_load_n(id, __ATOMIC_RELAXED) == connection_id &&
            refer(row_of(partition, row))) {
            /* Only now is it certain that the row has not become another's. */
            if (row_of(partition, row)->with.connection_id == connection_id) {
                return row;
            }
            hvti_connection_drop(partition, row, false);
        }
    }
    return 0;
}

/* ---- Registration ---- */

static bool destination_fits(const struct hvtlfs_connection *connection)
{
    if (connection->type == HVTLFS_CONNECTION_EVENT &&
        (!connection->flag_count || connection->flag_count > HV_EVENT_FLAGS_COUNT ||
         connection->base_flag > HV_EVENT_FLAGS_COUNT - connection->flag_count)) {
        return false;
    }
    return has_handler(connection) || connection->sint < HV_SYNIC_SINT_COUNT;
}

static enum hvtlfs_status check(struct hvtlfs_partition *partition,
                                const struct hvtlfs_connection *connection)
{
    bool any_vp =
        connection->type == HVTLFS_CONNECTION_MESSAGE && connection->vp_index == HVTLFS_NO_VP;

    if ((connection->type != HVTLFS_CONNECTION_MESSAGE &&
         connection->type != HVTLFS_CONNECTION_EVENT) ||
        connection->connection_id > HV_CONNECTION_ID_ID_MASK ||
        connection->port_id > HV_PORT_ID_ID_MASK || !destination_fits(connection)) {
        return HVTLFS_ERR_ARGUMENT;
    }
    if (has_handler(connection)) {
        return HVTLFS_OK;
    }
    if (!hvti_has(partition, HVTLFS_FEATURE_SYNIC)) {
        return HVTLFS_ERR_UNAVAILABLE;
    }
    return any_vp || hvti_vp_by_index(partition, connection->vp_index) ? HVTLFS_OK
                                                                       : HVTLFS_ERR_NOT_FOUND;
}

static uint32_t find_free(const struct hvti_connections *connections)
{
    uint32_t row;

    for (row = 1; row <= connections->count; row++) {
        if (!__atomic_load_n(&connections->rows[row - 1].state, __ATOMIC_ACQUIRE)) {
            return row;
        }
    }
    return 0;
}

/*
 * A saved state does not know which connection a waiting message came through. Between load and thaw a
 * connection that is registered again finds those of its port, and they bring their buffers with them:
 * otherwise a pool that was enough before would not be now. With row 0 they are only counted.
 */
static uint32_t take_over(struct hvtlfs_partition *partition,
                          const struct hvtlfs_connection *connection, uint32_t row,
                          uint32_t *rights)
{
    uint32_t total = 0;
    uint32_t slot;

    if (!buffers_of(connection) || !hvti_clock_not_set(partition)) {
        return 0;
    }
    for (slot = 0; slot < partition->vp_count; slot++) {
        struct hvtlfs_vp *vp = &partition->vps[slot];

        if (connection->vp_index == HVTLFS_NO_VP || connection->vp_index == vp->index) {
            uint32_t count =
                hvti_synic_orphans(vp, connection->sint, connection->port_id,
                                   HVTLFS_MESSAGE_BUFFERS - total, rights);

            if (row) {
                hvti_synic_adopt(vp, connection->sint, connection->port_id, count, row);
            }
            total += count;
        }
    }
    return total;
}

static void occupy(struct hvtlfs_partition *partition, uint32_t number,
                   const struct hvtlfs_connection *connection)
{
    struct hvti_connection *row = row_of(partition, number);
    uint32_t rights = 0;
    uint32_t messages;

    row->with = *connection;
    messages = take_over(partition, connection, number, &rights);
    __atomic_store_n(&row->queued, messages, __ATOMIC_RELAXED);
    __atomic_store_n(&row->id, connection->connection_id, __ATOMIC_RELAXED);
    __atomic_store_n(&row->state, HVTI_CONNECTION_LIVE + messages, __ATOMIC_RELEASE);
}

static enum hvtlfs_status add(struct hvtlfs_partition *partition,
                              const struct hvtlfs_connection *connection)
{
    uint32_t row = find(partition, connection->connection_id);
    uint32_t rights = 0;

    if (row) {
        hvti_connection_drop(partition, row, false);
        return HVTLFS_ERR_EXISTS;
    }
    row = find_free(&partition->connections);
    (void)take_over(partition, connection, 0, &rights);
    if (!row || !hvti_messages_reserve(&partition->messages, buffers_of(connection) - rights)) {
        return HVTLFS_ERR_FULL;
    }
    occupy(partition, row, connection);
    return HVTLFS_OK;
}

enum hvtlfs_status hvtlfs_connection_add(struct hvtlfs_partition *partition,
                                         const struct hvtlfs_connection *connection)
{
    struct hvtlfs_connection known;
    enum hvtlfs_status status;

    if (!partition || !connection) {
        return HVTLFS_ERR_ARGUMENT;
    }
    if (connection->size < CONNECTION_MIN) {
        return HVTLFS_ERR_STRUCT_SIZE;
    }
    memset(&known, 0, sizeof(known));
    memcpy(&known, connection, connection->size < sizeof(known) ? connection->size : sizeof(known));
    status = check(partition, &known);
    if (status) {
        return status;
    }
    hvti_lock(partition);
    status = add(partition, &known);
    hvti_unlock(partition);
    return status;
}

/* Have the messages looked for that came through a dying connection. */
static void ask_for_purge(struct hvtlfs_partition *partition, uint32_t vp_index)
{
    uint32_t slot;

    for (slot = 0; slot < partition->vp_count; slot++) {
        struct hvtlfs_vp *vp = &partition->vps[slot];

        if (vp_index == HVTLFS_NO_VP || vp->index == vp_index) {
            __atomic_store_n(&vp->synic.purge, 1, __ATOMIC_RELEASE);
            hvti_host_kick(&partition->host, vp->index);
        }
    }
}

enum hvtlfs_status hvtlfs_connection_remove(struct hvtlfs_partition *partition,
                                            uint32_t connection_id)
{
    struct hvti_connection *connection;
    uint32_t row;

    if (!partition) {
        return HVTLFS_ERR_ARGUMENT;
    }
    hvti_lock(partition);
    row = find(partition, connection_id);
    if (row) {
        (void)__atomic_fetch_or(&row_of(partition, row)->state, HVTI_CONNECTION_DYING,
                                __ATOMIC_ACQ_REL);
    }
    hvti_unlock(partition);
    if (!row) {
        return HVTLFS_ERR_NOT_FOUND;
    }
    connection = row_of(partition, row);
    if (buffers_of(&connection->with)) {
        ask_for_purge(partition, connection->with.vp_index);
    }
    hvti_connection_drop(partition, row, false);
    return HVTLFS_OK;
}

/* ---- Use ---- */

/* TLFS 11.11.1: to any VP that takes it, the poster's own if it does. */
static struct hvtlfs_vp *choose_target(struct hvtlfs_partition *partition,
                                       const struct hvtlfs_connection *connection,
                                       struct hvtlfs_vp *from)
{
    uint32_t slot;

    if (connection->vp_index != HVTLFS_NO_VP) {
        return hvti_vp_by_index(partition, connection->vp_index);
    }
    if (from && hvti_synic_takes_messages(from, connection->sint)) {
        return from;
    }
    for (slot = 0; slot < partition->vp_count; slot++) {
        if (hvti_synic_takes_messages(&partition->vps[slot], connection->sint)) {
            return &partition->vps[slot];
        }
    }
    return NULL;
}

static uint16_t post_to_sint(struct hvtlfs_partition *partition, uint32_t row,
                             struct hvtlfs_vp *from, const struct hvtlfs_message *message)
{
    const struct hvtlfs_connection *connection = &row_of(partition, row)->with;
    struct hvtlfs_vp *target = choose_target(partition, connection, from);
    struct hvti_post post = {
        .from = from, .sint = connection->sint, .row = row, .message = *message};
    uint16_t status;

    if (!target) {
        return HV_STATUS_INVALID_SYNIC_STATE;
    }
    post.message.origin = connection->port_id;
    /* The message's own reference, which it keeps while it waits. The caller's keeps the row, also if
     * the connection is being removed: then the message is dropped where it arrives. */
    (void)__atomic_fetch_add(&row_of(partition, row)->state, 1, __ATOMIC_ACQUIRE);
    status = hvti_synic_post(target, &post);
    if (status != HV_STATUS_SUCCESS) {
        hvti_connection_drop(partition, row, false);
    }
    return status;
}

/* TLFS 11.11.1: what a guest may post. */
static bool message_fits(const struct hvtlfs_message *message)
{
    return message->type != HvMessageTypeNone &&
           !(message->type & HV_MESSAGE_TYPE_HYPERVISOR_MASK) &&
           message->size <= HV_MESSAGE_PAYLOAD_BYTE_COUNT;
}

static uint16_t post_over(struct hvtlfs_partition *partition, uint32_t row, struct hvtlfs_vp *from,
                          const struct hvtlfs_message *message)
{
    const struct hvtlfs_connection *connection = &row_of(partition, row)->with;

    if (connection->type != HVTLFS_CONNECTION_MESSAGE) {
        return HV_STATUS_INVALID_PORT_ID;
    }
    if (!message_fits(message)) {
        return HV_STATUS_INVALID_PARAMETER;
    }
    if (!has_handler(connection)) {
        return post_to_sint(partition, row, from, message);
    }
    return from ? connection->post(connection->context, from->index, connection->connection_id,
                                   message)
                : HV_STATUS_INVALID_PORT_ID;
}

static uint16_t signal_over(struct hvtlfs_partition *partition, uint32_t row,
                            const struct hvtlfs_vp *from, uint32_t flag)
{
    const struct hvtlfs_connection *connection = &row_of(partition, row)->with;
    bool newly;

    if (connection->type != HVTLFS_CONNECTION_EVENT) {
        return HV_STATUS_INVALID_PORT_ID;
    }
    if (flag >= connection->flag_count) {
        return HV_STATUS_INVALID_PARAMETER;
    }
    if (!has_handler(connection)) {
        return hvti_synic_signal(hvti_vp_by_index(partition, connection->vp_index),
                                 connection->sint, connection->base_flag + flag, &newly);
    }
    return from ? connection->signal(connection->context, from->index, connection->connection_id,
                                     flag)
                : HV_STATUS_INVALID_PORT_ID;
}

static uint16_t post_through(struct hvtlfs_partition *partition, struct hvtlfs_vp *from,
                             uint32_t connection_id, const struct hvtlfs_message *message)
{
    uint32_t row = find(partition, connection_id);
    uint16_t status;

    if (!row) {
        return HV_STATUS_INVALID_CONNECTION_ID;
    }
    status = post_over(partition, row, from, message);
    hvti_connection_drop(partition, row, false);
    return status;
}

static uint16_t signal_through(struct hvtlfs_partition *partition, const struct hvtlfs_vp *from,
                               uint32_t connection_id, uint32_t flag)
{
    uint32_t row = find(partition, connection_id);
    uint16_t status;

    if (!row) {
        return HV_STATUS_INVALID_CONNECTION_ID;
    }
    status = signal_over(partition, row, from, flag);
    hvti_connection_drop(partition, row, false);
    return status;
}

enum hvtlfs_status hvtlfs_connection_post(struct hvtlfs_partition *partition,
                                          uint32_t connection_id,
                                          const struct hvtlfs_message *message)
{
    if (!partition || !message || (message->size && !message->payload)) {
        return HVTLFS_ERR_ARGUMENT;
    }
    return hvti_synic_status(post_through(partition, NULL, connection_id, message));
}

enum hvtlfs_status hvtlfs_connection_signal(struct hvtlfs_partition *partition,
                                            uint32_t connection_id, uint32_t flag)
{
    return partition ? hvti_synic_status(signal_through(partition, NULL, connection_id, flag))
                     : HVTLFS_ERR_ARGUMENT;
}

/* ---- The guest's hypercalls ---- */

uint16_t hvti_post_message(struct hvtlfs_vp *vp, uint32_t connection_id, uint32_t type,
                           const void *payload, size_t size)
{
    const struct hvtlfs_message message = {
        .type = type,
        .size = size < UINT32_MAX ? (uint32_t)size : UINT32_MAX,
        .payload = payload,
    };

    return post_through(vp->partition, vp, connection_id, &message);
}

uint16_t hvti_signal_event(struct hvtlfs_vp *vp, uint32_t connection_id, uint16_t flag)
{
    return signal_through(vp->partition, vp, connection_id, flag);
}
