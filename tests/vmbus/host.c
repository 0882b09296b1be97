/* SPDX-License-Identifier: MIT */
/*
 * A host at the other end of Linux's hv_vmbus, just large enough to test messages and events with a
 * driver that is not ours: it agrees on a version, offers one channel (Hyper-V's heartbeat, the
 * smallest device Linux has a driver for), exchanges some heartbeats over its rings, and answers the
 * guest's goodbye.
 *
 * For tests only. docs/VMBUS.md says why nothing of this kind may be part of a product: VMBus is
 * Microsoft's, and so is the right to claim it.
 *
 * It needs nothing of the VMM. Preloaded (LD_PRELOAD), it stands between a program and libhvtlfs: when
 * a partition is made it registers the connections that VMBus uses; from then on messages of the
 * guest come to contact(), signals to ring(). The layouts are those of Linux's <linux/hyperv.h>.
 *
 *     VMBUS_HOST_VERSION=0x40000   the highest version to agree to; default 5.3
 *     VMBUS_HOST_BEATS=50          heartbeats to exchange; default 100
 *
 * What it does is on standard error, a line each: "vmbus-host: ...".
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hvtlfs/hvtlfs.h>
#include <hvtlfs/tlfs.h>

enum {
    CONNECTION_OLD = 1,      /* where messages go up to version 4.1 */
    CONNECTION_NEW = 4,      /* and from 5.0 on */
    CONNECTION_EVENT = 0x66, /* signals of our channel; the offer tells the guest */
    CHANNEL = 7,             /* its number, which is also its event flag */
    SINT = 2,                /* unless the guest asks for another */
    MESSAGE_VMBUS = 1,       /* HV_MESSAGE_TYPE of everything here */
    VERSION_5_0 = 0x50000,
    PAGES_MAX = 26, /* page numbers that fit in one message */
};

enum channel_message {
    OFFER_CHANNEL = 1,
    REQUEST_OFFERS = 3,
    ALL_OFFERS_DELIVERED = 4,
    OPEN_CHANNEL = 5,
    OPEN_CHANNEL_RESULT = 6,
    CLOSE_CHANNEL = 7,
    GPADL_HEADER = 8,
    GPADL_CREATED = 10,
    GPADL_TEARDOWN = 11,
    GPADL_TORN_DOWN = 12,
    RELEASE_ID = 13,
    INITIATE_CONTACT = 14,
    VERSION_RESPONSE = 15,
    UNLOAD = 16,
    UNLOAD_RESPONSE = 17,
};

/* One direction of the channel: a page of indices, then pages of data, scattered in guest memory. */
struct ring {
    uint32_t first, size; /* in pages of the buffer; in bytes */
};

enum { RING_WRITE = 0, RING_READ = 4 };

/* A packet of an integration service: descriptor, pipe header, IC header, then its own data. */
enum {
    PACKET_HEADER = 16,
    PACKET_PIPE = 8,
    PACKET_IC = 20,
    PACKET_DATA = PACKET_HEADER + PACKET_PIPE + PACKET_IC,
    PACKET_SEQUENCE = PACKET_DATA,
    PACKET_IN_BAND = 6,
    PACKET_MAX = 512,
    TRAILER = 8,
    IC_NEGOTIATE = 0,
    IC_HEARTBEAT = 1,
    IC_REQUEST = 1 | 2, /* a transaction, a request */
    HEARTBEAT_SIZE = 40,
};

/* Messages come on any VP's thread; the lock is never held while the library is called. */
static struct {
    pthread_mutex_t lock;
    struct hvtlfs_partition *partition;
    struct hvtlfs_host_ops ops;
    void *context;
    uint32_t version_max, beats;

    uint32_t version, vp, sint;
    uint64_t pages[PAGES_MAX];
    uint32_t page_count;
    struct ring to_host, to_guest;
    uint64_t sent, answered;
} host = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void tell(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    fputs("vmbus-host: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
}

static uint32_t get(const uint8_t *bytes, size_t offset, size_t size)
{
    uint32_t value = 0;

    memcpy(&value, bytes + offset, size);
    return value;
}

static void put(uint8_t *bytes, size_t offset, size_t size, uint32_t value)
{
    memcpy(bytes + offset, &value, size);
}

/* ---- To the guest ---- */

/* The words behind the header of a message. */
static void send(enum channel_message type, const void *body, size_t size)
{
    uint8_t payload[HVTLFS_MESSAGE_PAYLOAD_MAX] = {0};
    struct hvtlfs_message message = {.type = MESSAGE_VMBUS, .payload = payload};
    enum hvtlfs_status status;

    put(payload, 0, 4, type);
    if (size > 0) {
        memcpy(payload + 8, body, size);
    }
    message.size = (uint32_t)(8 + size);
    status = hvtlfs_synic_post_message(hvtlfs_partition_vp(host.partition, host.vp), host.sint,
                                       &message);
    if (status != HVTLFS_OK) {
        tell("message %d not posted: %s", type, hvtlfs_strerror(status));
    }
}

static void signal_guest(void)
{
    enum hvtlfs_status status;

    status = hvtlfs_synic_signal_event(hvtlfs_partition_vp(host.partition, host.vp), host.sint,
                                       CHANNEL, NULL);
    if (status != HVTLFS_OK) {
        tell("event not signalled: %s", hvtlfs_strerror(status));
    }
}

/* ---- Rings ---- */

/* One copy between a buffer and the guest's pages, which need not follow each other. */
static bool copy(uint32_t page, uint32_t offset, void *buffer, size_t size, bool to_guest)
{
    uint8_t *bytes = buffer;

    while (size > 0) {
        uint32_t index = page + offset / 4096, at = offset % 4096;
        size_t part = size < 4096 - at ? size : 4096 - at;
        uint64_t gpa;

        if (index >= host.page_count) {
            return false;
        }
        gpa = host.pages[index] * 4096 + at;
        if (!(to_guest ? host.ops.gpa_write(host.context, gpa, bytes, part)
                       : host.ops.gpa_read(host.context, gpa, bytes, part))) {
            return false;
        }
        bytes += part;
        offset += (uint32_t)part;
        size -= part;
    }
    return true;
}

static uint32_t ring_index(const struct ring *ring, uint32_t which)
{
    uint32_t value = 0;

    return copy(ring->first, which, &value, sizeof(value), false) ? value % ring->size : 0;
}

static void ring_set(const struct ring *ring, uint32_t which, uint32_t value)
{
    /* Release: the guest must find the data when it finds the index. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    copy(ring->first, which, &value, sizeof(value), true);
}

/* Data begins on the page behind the indices and goes round. Returns the offset behind it. */
static uint32_t ring_copy(const struct ring *ring, uint32_t from, void *buffer, uint32_t size,
                          bool to_guest)
{
    uint32_t first = size < ring->size - from ? size : ring->size - from;

    copy(ring->first + 1, from, buffer, first, to_guest);
    copy(ring->first + 1, 0, (uint8_t *)buffer + first, size - first, to_guest);
    return (from + size) % ring->size;
}

static void ring_put(uint8_t *packet, uint32_t size)
{
    uint32_t start = ring_index(&host.to_guest, RING_WRITE), end;
    uint8_t trailer[TRAILER] = {0};

    end = ring_copy(&host.to_guest, start, packet, size, true);
    put(trailer, 4, 4, start);
    end = ring_copy(&host.to_guest, end, trailer, TRAILER, true);
    ring_set(&host.to_guest, RING_WRITE, end);
}

/* The size of the packet taken, 0 when there is none. */
static uint32_t ring_take(uint8_t *packet)
{
    uint32_t start = ring_index(&host.to_host, RING_READ), size;

    if (start == ring_index(&host.to_host, RING_WRITE)) {
        return 0;
    }
    ring_copy(&host.to_host, start, packet, PACKET_HEADER, false);
    size = get(packet, 4, 2) * 8;
    if (size < PACKET_HEADER || size > PACKET_MAX) {
        tell("a packet of %u bytes", size);
        return 0;
    }
    ring_copy(&host.to_host, start, packet, size, false);
    ring_set(&host.to_host, RING_READ, (start + size + TRAILER) % host.to_host.size);
    return size;
}

/* ---- The heartbeat ---- */

/* A request of the integration service, its data still zero. Returns its size. */
static uint32_t packet_init(uint8_t *packet, uint32_t type, uint32_t data)
{
    uint32_t size = (PACKET_DATA + data + 7) / 8 * 8;

    memset(packet, 0, PACKET_MAX);
    put(packet, 0, 2, PACKET_IN_BAND);
    put(packet, 2, 2, PACKET_HEADER / 8);
    put(packet, 4, 2, size / 8);
    put(packet, PACKET_HEADER + 4, 4, PACKET_IC + data);
    put(packet, PACKET_HEADER + PACKET_PIPE, 2, 3);
    put(packet, PACKET_HEADER + PACKET_PIPE + 4, 2, type);
    put(packet, PACKET_HEADER + PACKET_PIPE + 6, 2, 3);
    put(packet, PACKET_HEADER + PACKET_PIPE + 10, 2, data);
    put(packet, PACKET_HEADER + PACKET_PIPE + 17, 1, IC_REQUEST);
    return size;
}

/* "Which versions have you?": of the framework 3.0, of the heartbeat 3.0. */
static void ask_versions(void)
{
    uint8_t packet[PACKET_MAX];
    uint32_t size = packet_init(packet, IC_NEGOTIATE, 16);

    put(packet, PACKET_DATA, 2, 1);
    put(packet, PACKET_DATA + 2, 2, 1);
    put(packet, PACKET_DATA + 8, 2, 3);
    put(packet, PACKET_DATA + 12, 2, 3);
    ring_put(packet, size);
}

static void ask_heartbeat(void)
{
    uint8_t packet[PACKET_MAX];
    uint32_t size = packet_init(packet, IC_HEARTBEAT, HEARTBEAT_SIZE);

    put(packet, PACKET_SEQUENCE, 4, (uint32_t)(2 * host.sent));
    host.sent++;
    ring_put(packet, size);
}

/* An answer; returns whether another question has been asked. */
static bool answered(const uint8_t *packet)
{
    if (get(packet, PACKET_HEADER + PACKET_PIPE + 4, 2) == IC_NEGOTIATE) {
        tell("heartbeat version %u.%u", get(packet, PACKET_DATA + 12, 2),
             get(packet, PACKET_DATA + 14, 2));
        ask_heartbeat();
        return true;
    }
    /* The guest counts one up. */
    if (get(packet, PACKET_SEQUENCE, 4) != 2 * host.answered + 1) {
        tell("heartbeat %llu answered with %u", (unsigned long long)host.answered,
             get(packet, PACKET_SEQUENCE, 4));
        return false;
    }
    host.answered++;
    if (host.sent < host.beats) {
        ask_heartbeat();
        return true;
    }
    tell("%llu heartbeats", (unsigned long long)host.answered);
    return false;
}

/* The guest signals the channel: HvCallSignalEvent. */
static uint16_t ring(void *context, uint32_t vp_index, uint32_t connection_id, uint32_t flag)
{
    uint8_t packet[PACKET_MAX];
    bool asked = false;

    (void)context, (void)vp_index, (void)connection_id, (void)flag;
    pthread_mutex_lock(&host.lock);
    while (host.to_host.size > 0 && ring_take(packet) > 0) {
        asked |= answered(packet);
    }
    pthread_mutex_unlock(&host.lock);
    if (asked) {
        signal_guest();
    }
    return HV_STATUS_SUCCESS;
}

/* ---- Messages ---- */

static void initiate_contact(const uint8_t *body)
{
    uint8_t response[8] = {0};
    uint32_t version = get(body, 0, 4);

    host.version = version;
    host.vp = get(body, 4, 4);
    host.sint = version >= VERSION_5_0 ? body[8] : SINT;
    if (hvtlfs_partition_vp(host.partition, host.vp) == NULL) {
        tell("VP %u is none", host.vp);
        host.vp = 0;
    }
    response[0] = version <= host.version_max;
    put(response, 4, 4, CONNECTION_NEW);
    tell("version %u.%u %s, VP %u, SINT %u", version >> 16, version & 0xffff,
         response[0] ? "agreed" : "refused", host.vp, host.sint);
    send(VERSION_RESPONSE, response, sizeof(response));
}

static void offer(void)
{
    static const uint8_t heartbeat[16] = {0x39, 0x4f, 0x16, 0x57, 0x15, 0x91, 0x78, 0x4e,
                                          0xab, 0x55, 0x38, 0x2f, 0x3b, 0xd5, 0x42, 0x2d};
    uint8_t body[188] = {0};

    memcpy(body, heartbeat, sizeof(heartbeat));
    memcpy(body + 16, "hvtlfs-test-host", 16); /* the instance */
    put(body, 176, 4, CHANNEL);
    put(body, 182, 2, 1); /* signals have a connection of their own */
    put(body, 184, 4, CONNECTION_EVENT);
    send(OFFER_CHANNEL, body, sizeof(body));
    send(ALL_OFFERS_DELIVERED, NULL, 0);
    tell("channel offered");
}

/* A buffer of the guest: its page numbers, all in this one message. */
static void gpadl(const uint8_t *body, size_t size)
{
    uint8_t response[12] = {0};
    uint32_t bytes = get(body, 12, 4), count = (uint32_t)((size - 20) / 8), i;

    host.page_count = 0;
    if (count > PAGES_MAX || bytes != count * 4096) {
        tell("a buffer of %u bytes in %u pages", bytes, count);
        put(response, 8, 4, 1);
    } else {
        for (i = 0; i < count; i++) {
            memcpy(&host.pages[i], body + 20 + 8 * i, 8);
        }
        host.page_count = count;
    }
    memcpy(response, body, 8);
    send(GPADL_CREATED, response, sizeof(response));
}

static void open_channel(const uint8_t *body)
{
    uint8_t response[12] = {0};
    uint32_t second = get(body, 16, 4), open;

    pthread_mutex_lock(&host.lock);
    open = second >= 2 && host.page_count >= second + 2;
    if (open) {
        host.to_host = (struct ring){.first = 0, .size = (second - 1) * 4096};
        host.to_guest =
            (struct ring){.first = second, .size = (host.page_count - second - 1) * 4096};
        host.sent = host.answered = 0;
        ask_versions();
    }
    pthread_mutex_unlock(&host.lock);
    memcpy(response, body, 8);
    put(response, 8, 4, !open);
    send(OPEN_CHANNEL_RESULT, response, sizeof(response));
    tell("channel %s", open ? "opened" : "not opened");
    if (open) {
        signal_guest();
    }
}

static void forget_channel(void)
{
    pthread_mutex_lock(&host.lock);
    host.to_host.size = host.to_guest.size = 0;
    pthread_mutex_unlock(&host.lock);
}

/* The guest's message: HvCallPostMessage. What is short is read as if zeroes followed. */
static uint16_t contact(void *context, uint32_t vp_index, uint32_t connection_id,
                        const struct hvtlfs_message *message)
{
    uint8_t payload[HVTLFS_MESSAGE_PAYLOAD_MAX + 8] = {0};
    const uint8_t *body = payload + 8;

    (void)context, (void)vp_index, (void)connection_id;
    if (message->type != MESSAGE_VMBUS || message->size < 8) {
        return HV_STATUS_INVALID_PARAMETER;
    }
    memcpy(payload, message->payload, message->size);
    switch (get(payload, 0, 4)) {
    case INITIATE_CONTACT:
        initiate_contact(body);
        break;
    case REQUEST_OFFERS:
        offer();
        break;
    case GPADL_HEADER:
        gpadl(body, message->size > 28 ? message->size - 8 : 20);
        break;
    case OPEN_CHANNEL:
        open_channel(body);
        break;
    case CLOSE_CHANNEL:
        forget_channel();
        tell("channel closed");
        break;
    case GPADL_TEARDOWN:
        forget_channel();
        send(GPADL_TORN_DOWN, body + 4, 4);
        break;
    case RELEASE_ID:
        break;
    case UNLOAD:
        forget_channel();
        tell("unload");
        send(UNLOAD_RESPONSE, NULL, 0);
        break;
    default:
        tell("message %u not known", get(payload, 0, 4));
        break;
    }
    return HV_STATUS_SUCCESS;
}

/* ---- In front of the library ---- */

static void connection_open(struct hvtlfs_partition *partition, uint32_t id,
                            enum hvtlfs_connection_type type)
{
    struct hvtlfs_connection connection = {
        .size = sizeof(connection), .connection_id = id, .type = type, .port_id = id};
    enum hvtlfs_status status;

    if (type == HVTLFS_CONNECTION_MESSAGE) {
        connection.post = contact;
    } else {
        connection.signal = ring;
        connection.flag_count = 1;
    }
    status = hvtlfs_connection_add(partition, &connection);
    if (status != HVTLFS_OK) {
        tell("connection %u: %s", id, hvtlfs_strerror(status));
    }
}

static uint32_t setting(const char *name, uint32_t value)
{
    const char *text = getenv(name);

    return text != NULL ? (uint32_t)strtoul(text, NULL, 0) : value;
}

typedef enum hvtlfs_status init_fn(void *memory, size_t memory_size,
                                   const struct hvtlfs_config *config,
                                   struct hvtlfs_partition **partition, struct hvtlfs_error *error);

/* The program's call comes here first; a partition is as the library makes it, with our connections. */
__attribute__((visibility("default"))) enum hvtlfs_status hvtlfs_partition_init(
    void *memory, size_t memory_size, const struct hvtlfs_config *config,
    struct hvtlfs_partition **partition, struct hvtlfs_error *error)
{
    void *symbol = dlsym(RTLD_NEXT, "hvtlfs_partition_init");
    enum hvtlfs_status status;
    init_fn *init;

    if (symbol == NULL) {
        tell("no library behind this one");
        abort();
    }
    memcpy(&init, &symbol, sizeof(init));
    status = init(memory, memory_size, config, partition, error);
    if (status == HVTLFS_OK) {
        host.partition = *partition;
        host.ops = config->ops;
        host.context = config->context;
        host.version_max = setting("VMBUS_HOST_VERSION", 0x50003);
        host.beats = setting("VMBUS_HOST_BEATS", 100);
        connection_open(*partition, CONNECTION_OLD, HVTLFS_CONNECTION_MESSAGE);
        connection_open(*partition, CONNECTION_NEW, HVTLFS_CONNECTION_MESSAGE);
        connection_open(*partition, CONNECTION_EVENT, HVTLFS_CONNECTION_EVENT);
    }
    return status;
}
