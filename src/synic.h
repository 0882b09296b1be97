/* SPDX-License-Identifier: MIT */
/*
 * The synthetic interrupt controller (TLFS 11): registers, message queues, event flags.
 *
 * Who writes what: a VP's registers, queues and message slots belong to its own thread, with the VP
 * out of the guest. Other threads push messages to the VP's inbox, an atomic stack, and ask for a
 * kick; event flags are set by anyone with one atomic operation.
 */
#ifndef HVTI_SYNIC_H
#define HVTI_SYNIC_H

#include <hvtlfs/synic.h>

#include <hvtlfs/tlfs.h>

/*
 * What can wait in a VP's queue, by number: 0 is nothing, 1 to 4 are the VP's timers, which need no
 * buffer since their message follows from the timer, and from FIRST_BUFFER on buffer n - 5 of the
 * partition.
 */
#define HVTI_NO_ITEM 0u
#define HVTI_FIRST_TIMER 1u
#define HVTI_FIRST_BUFFER (HVTI_FIRST_TIMER + HV_SYNIC_STIMER_COUNT)

/* A message on its way. */
struct hvti_message {
    struct hv_message message;
    uint32_t next;            /* the item behind it */
    uint32_t source : 16;     /* connection row + 1, or 0: posted by the host to the SINT */
    uint32_t sint : 4;        /* of the VP */
    uint32_t generation : 12; /* of the VP when the message was accepted */
};
#define HVTI_GENERATION_MASK 0xFFFu

/* The partition's buffers. Each is free (bit clear) or belongs to one VP's inbox or queue. */
struct hvti_messages {
    struct hvti_message *buffers;
    uint32_t *used; /* bitmap; bits beyond `count` are set */
    uint32_t count;
    uint32_t unreserved; /* buffers that no connection, SINT or waiting message has a right to */
    uint32_t own_sints;  /* SINTs below this own a buffer for the first message that waits */
};

/* A registered connection. */
struct hvti_connection {
    uint32_t state;                /* references, and the two bits below; 0 = free row */
    uint32_t id;                   /* to be compared without a reference; `with` decides */
    uint32_t queued;               /* its messages that wait, at most HVTLFS_MESSAGE_BUFFERS */
    struct hvtlfs_connection with; /* constant while there are references */
};
#define HVTI_CONNECTION_LIVE UINT32_C(0x80000000)
#define HVTI_CONNECTION_DYING UINT32_C(0x40000000)

struct hvti_connections {
    struct hvti_connection *rows;
    uint32_t count;
};

struct hvti_synic {
    /* Written by the VP's thread, read by all */
    uint64_t control;
    uint64_t siefp;
    uint64_t simp;
    uint64_t sint[HV_SYNIC_SINT_COUNT];
    uint32_t generation;         /* counts processor resets */
    uint32_t auto_eoi[256 / 32]; /* vectors of unmasked auto-EOI SINTs */

    /* Written by all */
    uint32_t inbox;                       /* the item pushed last, or HVTI_NO_ITEM */
    uint32_t purge;                       /* a connection has gone: look for its messages */
    uint16_t queued[HV_SYNIC_SINT_COUNT]; /* the host's messages that wait */

    /* The VP's thread only */
    uint32_t waiting; /* SINTs whose queue is not empty */
    uint32_t head[HV_SYNIC_SINT_COUNT];
    uint32_t tail[HV_SYNIC_SINT_COUNT];
    uint32_t timer_next[HV_SYNIC_STIMER_COUNT];
};

/* A message to be queued. */
struct hvti_post {
    struct hvtlfs_vp *from; /* the VP whose thread this is, or NULL */
    uint32_t sint;
    uint32_t row; /* connection row + 1, referenced by the caller, or 0 */
    struct hvtlfs_message message;
};

/* How many buffers and connections a configuration gets, and the bytes for them. */
uint32_t hvti_message_count(const struct hvtlfs_config *config, uint64_t features);
uint32_t hvti_connection_count(const struct hvtlfs_config *config, uint64_t features);
size_t hvti_messages_size(uint32_t count);

/* Lay the buffers out in zeroed memory of hvti_messages_size() bytes, aligned to 8. */
void hvti_messages_init(struct hvti_messages *messages, uint8_t *memory, uint32_t count);

/* Give each of the lower SINTs of `vps` VPs a buffer of its own, as far as they go beside those of
 * `connections`. Once, after init. */
void hvti_messages_own(struct hvti_messages *messages, uint32_t vps, uint32_t connections);

/* Take a right to `count` buffers that nobody has, and give it back. */
bool hvti_messages_reserve(struct hvti_messages *messages, uint32_t count);
void hvti_messages_unreserve(struct hvti_messages *messages, uint32_t count);

/* A buffer for someone who has the right to one; its item number, or HVTI_NO_ITEM. `hint` spreads
 * the searches. And back. */
uint32_t hvti_message_take(struct hvti_messages *messages, uint32_t hint);
void hvti_message_give(struct hvti_messages *messages, uint32_t item);

static inline struct hvti_message *hvti_message_of(const struct hvti_messages *messages,
                                                   uint32_t item)
{
    return &messages->buffers[item - HVTI_FIRST_BUFFER];
}

/* Add `step` to a counter unless that would pass `limit`. */
bool hvti_count_up(uint32_t *counter, uint32_t limit);

/* The state after creation and processor reset, pages cleared (TLFS 11.8). On the VP's thread. */
void hvti_synic_init(struct hvtlfs_vp *vp);
void hvti_synic_reset(struct hvtlfs_vp *vp);

/* What other threads left, and whatever waits for a slot. On the VP's thread. */
void hvti_synic_poll(struct hvtlfs_vp *vp);

/* Whether that finds anything. What another thread leaves later comes with its kick. */
static inline bool hvti_synic_has_work(const struct hvti_synic *synic)
{
    return __atomic_load_n(&synic->inbox, __ATOMIC_RELAXED) |
           __atomic_load_n(&synic->purge, __ATOMIC_RELAXED) | synic->waiting;
}

/* Queue a message or set a flag. Any thread. They return an HV_STATUS. */
uint16_t hvti_synic_post(struct hvtlfs_vp *target, const struct hvti_post *post);
uint16_t hvti_synic_signal(struct hvtlfs_vp *target, uint32_t sint, uint32_t flag, bool *newly);

/* Whether messages for this VP's SINT are taken at all. Any thread. */
bool hvti_synic_takes_messages(const struct hvtlfs_vp *vp, uint32_t sint);

/* The message of an expired timer: queue it, or take it back while it waits. On the VP's thread. */
void hvti_synic_queue_timer(struct hvtlfs_vp *vp, uint32_t timer, uint32_t sint);
void hvti_synic_withdraw_timer(struct hvtlfs_vp *vp, uint32_t timer, uint32_t sint);

/* ---- Saved state: no VP runs ---- */

/* Every message that waits, oldest first within its SINT; `timer` is the timer's number + 1 and
 * `message` NULL for the message of a timer, which is made when it is delivered. */
typedef void hvti_synic_visitor(void *context, uint32_t sint, uint32_t timer,
                                const struct hv_message *message);
void hvti_synic_visit(const struct hvtlfs_vp *vp, hvti_synic_visitor *visit, void *context);

/* Put one back, in the same order, checked by the caller. The message of a timer that does not wait
 * for one is dropped. False if there is no buffer. */
bool hvti_synic_restore(struct hvtlfs_vp *vp, uint32_t sint, uint32_t timer,
                        const struct hv_message *message);

/* Messages that wait for a SINT, came from the port `origin`, and have no connection since the load: how
 * many, up to `most`. `rights` grows by the rights to a buffer that they hold. */
uint32_t hvti_synic_orphans(const struct hvtlfs_vp *vp, uint32_t sint, uint32_t origin,
                            uint32_t most, uint32_t *rights);

/* The first `count` of them become a connection's (row + 1), their rights too. */
void hvti_synic_adopt(struct hvtlfs_vp *vp, uint32_t sint, uint32_t origin, uint32_t count,
                      uint32_t row);

/* The registers and messages are there: what follows from them. */
void hvti_synic_restored(struct hvtlfs_vp *vp);

/* Whether a SINT register can have this value (TLFS 11.8.5). */
bool hvti_sint_is_good(uint64_t value);

/* An HV_STATUS of this module as the host hears it. */
enum hvtlfs_status hvti_synic_status(uint16_t status);

/* ---- Connections ---- */

/* A reference to connection row + 1 comes to its end, and with `message` one of its messages. */
void hvti_connection_drop(struct hvtlfs_partition *partition, uint32_t row, bool message);
bool hvti_connection_dying(const struct hvtlfs_partition *partition, uint32_t row);

/* HvCallPostMessage and HvCallSignalEvent (TLFS 11.11) once their input is decoded. They return the
 * HV_STATUS. `size` and all the guest's numbers are checked here, before `payload` is read. */
uint16_t hvti_post_message(struct hvtlfs_vp *vp, uint32_t connection_id, uint32_t type,
                           const void *payload, size_t size);
uint16_t hvti_signal_event(struct hvtlfs_vp *vp, uint32_t connection_id, uint16_t flag);

#endif
