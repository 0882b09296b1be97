/* SPDX-License-Identifier: MIT */
/* The commands of a script for the SynIC and the timers: what the host does to them. */
#include "replay.h"

#include <inttypes.h>
#include <string.h>

#include <hvtlfs/synic.h>

/* What a library call came to. */
static const char *status_word(enum hvtlfs_status status)
{
    static const struct {
        enum hvtlfs_status status;
        const char *word;
    } words[] = {
        {HVTLFS_OK, "ok"},
        {HVTLFS_ERR_ARGUMENT, "invalid"},
        {HVTLFS_ERR_UNAVAILABLE, "unavailable"},
        {HVTLFS_ERR_ORDER, "disabled"},
        {HVTLFS_ERR_FULL, "full"},
        {HVTLFS_ERR_NOT_FOUND, "unknown"},
        {HVTLFS_ERR_EXISTS, "exists"},
        {HVTLFS_ERR_HOST, "failed"},
    };
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (words[i].status == status) {
            return words[i].word;
        }
    }
    return "undefined";
}

static bool say(struct replay *replay, enum hvtlfs_status status)
{
    replay_serve_kicks(replay);
    text_add(&replay->result, "%s", status_word(status));
    return true;
}

/* A number of 32 bits; what the library thinks of it is for the script to see. */
static bool number32(struct replay *replay, const char *word, const char *what, uint32_t *value)
{
    uint64_t wide = 0;
    bool valid = replay_number(replay, word, what, UINT32_MAX, &wide);
    *value = (uint32_t)wide;
    return valid;
}

/* ---- post, signal, deadline ---- */

bool replay_post(struct replay *replay, size_t count, char **words)
{
    struct hvtlfs_vp *vp;
    uint32_t vp_index;
    uint32_t sint;
    uint8_t payload[512];
    size_t size = 0;
    struct hvtlfs_message message = {.payload = payload};
    if (!replay_vp(replay, words[0], &vp, &vp_index) ||
        !number32(replay, words[1], "a SINT", &sint) ||
        !number32(replay, words[2], "a message type", &message.type)) {
        return false;
    }
    if (count > 3 && !hex_parse(words[3], strlen(words[3]), payload, sizeof(payload), &size)) {
        return replay_expected(replay,
                               "expected a payload: an even number of hexadecimal digits, "
                               "got '%s'",
                               words[3]);
    }
    message.size = (uint32_t)size;
    return say(replay, hvtlfs_synic_post_message(vp, sint, &message));
}

bool replay_signal(struct replay *replay, size_t count, char **words)
{
    struct hvtlfs_vp *vp;
    uint32_t vp_index;
    uint32_t sint;
    uint32_t flag;
    bool newly = true;
    (void)count;
    if (!replay_vp(replay, words[0], &vp, &vp_index) ||
        !number32(replay, words[1], "a SINT", &sint) ||
        !number32(replay, words[2], "a flag", &flag)) {
        return false;
    }
    enum hvtlfs_status status = hvtlfs_synic_signal_event(vp, sint, flag, &newly);
    if (status == HVTLFS_OK && !newly) {
        text_add(&replay->result, "set");
        return true;
    }
    return say(replay, status);
}

bool replay_deadline(struct replay *replay, size_t count, char **words)
{
    struct hvtlfs_vp *vp;
    uint32_t vp_index;
    (void)count;
    if (!replay_vp(replay, words[0], &vp, &vp_index)) {
        return false;
    }
    uint64_t deadline = model_host_deadline(replay->host, vp_index);
    if (deadline == HVTLFS_TIME_NEVER) {
        text_add(&replay->result, "none");
    } else {
        text_add(&replay->result, "0x%" PRIx64, deadline);
    }
    return true;
}

/* ---- connection ---- */

/* The words behind 'connection ID KIND'. */
typedef bool connection_reader(struct replay *replay, struct hvtlfs_connection *connection,
                               size_t count, char **words);

static bool read_target(struct replay *replay, struct hvtlfs_connection *connection, const char *vp,
                        const char *sint)
{
    bool any = strcmp(vp, "any") == 0;
    connection->vp_index = HVTLFS_NO_VP;
    return (any || number32(replay, vp, "a VP index or 'any'", &connection->vp_index)) &&
           number32(replay, sint, "a SINT", &connection->sint);
}

static bool read_messages(struct replay *replay, struct hvtlfs_connection *connection, size_t count,
                          char **words)
{
    connection->type = HVTLFS_CONNECTION_MESSAGE;
    return read_target(replay, connection, words[0], words[1]) &&
           (count < 3 || number32(replay, words[2], "a port ID", &connection->port_id));
}

static bool read_events(struct replay *replay, struct hvtlfs_connection *connection, size_t count,
                        char **words)
{
    connection->type = HVTLFS_CONNECTION_EVENT;
    return read_target(replay, connection, words[0], words[1]) &&
           number32(replay, words[2], "a number of flags", &connection->flag_count) &&
           (count < 4 || number32(replay, words[3], "a base flag", &connection->base_flag));
}

static bool read_host_messages(struct replay *replay, struct hvtlfs_connection *connection,
                               size_t count, char **words)
{
    (void)replay, (void)count, (void)words;
    connection->type = HVTLFS_CONNECTION_MESSAGE;
    connection->post = model_host_post;
    connection->context = replay->host;
    return true;
}

static bool read_host_events(struct replay *replay, struct hvtlfs_connection *connection,
                             size_t count, char **words)
{
    (void)count;
    connection->type = HVTLFS_CONNECTION_EVENT;
    connection->signal = model_host_signal;
    connection->context = replay->host;
    return number32(replay, words[0], "a number of flags", &connection->flag_count);
}

static const struct connection_kind {
    const char *name;
    size_t min; /* how many words follow */
    size_t max;
    connection_reader *read;
} connection_kinds[] = {
    {"messages", 2, 3, read_messages},
    {"events", 3, 4, read_events},
    {"host-messages", 0, 0, read_host_messages},
    {"host-events", 1, 1, read_host_events},
    {"remove", 0, 0, NULL},
};

static const struct connection_kind *find_kind(const char *name, size_t count)
{
    for (size_t i = 0; i < sizeof(connection_kinds) / sizeof(connection_kinds[0]); i++) {
        const struct connection_kind *kind = &connection_kinds[i];
        if (strcmp(kind->name, name) == 0 && count >= kind->min && count <= kind->max) {
            return kind;
        }
    }
    return NULL;
}

bool replay_connection(struct replay *replay, size_t count, char **words)
{
    struct hvtlfs_connection connection = {.size = sizeof(connection)};
    const struct connection_kind *kind = find_kind(words[1], count - 2);
    if (!number32(replay, words[0], "a connection ID", &connection.connection_id)) {
        return false;
    }
    if (kind == NULL) {
        return replay_expected(replay,
                               "expected messages VP|any SINT [PORT], events VP SINT COUNT "
                               "[BASE], host-messages, host-events COUNT or remove, got '%s'",
                               words[1]);
    }
    if (kind->read == NULL) {
        return say(replay, hvtlfs_connection_remove(replay->partition, connection.connection_id));
    }
    return kind->read(replay, &connection, count - 2, words + 2) &&
           say(replay, hvtlfs_connection_add(replay->partition, &connection));
}
