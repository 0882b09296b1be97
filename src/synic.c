/* SPDX-License-Identifier: MIT */
#include "synic.h"

#include "state.h"

/* Where the parts of a slot are (TLFS 11.10.4). */
#define HEADER_SIZE ((uint32_t)sizeof(struct hv_message_header))
#define FLAGS_WORD 4u /* size, flags, two reserved bytes */
#define PENDING_IN_WORD guest32(HV_MESSAGE_FLAGS_MESSAGE_PENDING << 8)

/* A copying host's word may change under a compare-exchange; after so many times we give up. */
#define CAS_TRIES 64u

static uint64_t sint_of(const struct hvtlfs_vp *vp, uint32_t sint)
{
    return hvti_load(&vp->synic.sint[sint]);
}

/* TLFS 11.8.5: "has the effect of unmasking an interrupt source, except that an actual interrupt is
 * not generated". Without the feature the bit is only preserved. */
static bool polled(const struct hvtlfs_vp *vp, uint64_t sint)
{
    return (sint & HV_MSR_SINT_POLLING) && hvti_has(vp->partition, HVTLFS_FEATURE_SINT_POLLING);
}

static bool masked(const struct hvtlfs_vp *vp, uint64_t sint)
{
    return (sint & HV_MSR_SINT_MASKED) && !polled(vp, sint);
}

static bool control_enabled(const struct hvtlfs_vp *vp)
{
    return load_acquire(&vp->synic.control) & HV_MSR_SCONTROL_ENABLE;
}

/* Acquire, and release where the guest writes them: accepts() below looks at the generation again, and must
 * do so after all of this. */
bool hvti_synic_takes_messages(const struct hvtlfs_vp *vp, uint32_t sint)
{
    return control_enabled(vp) && (load_acquire(&vp->synic.simp) & HV_MSR_SIMP_ENABLE) &&
           !(load_acquire(&vp->synic.sint[sint]) & HV_MSR_SINT_PROXY);
}

static void interrupt(struct hvtlfs_vp *vp, uint32_t sint)
{
    uint64_t value = sint_of(vp, sint);
    uint32_t vector = value & HV_MSR_SINT_VECTOR_MASK;

    /* An APIC knows vectors, not SINTs: what another SINT says of this vector holds for it too. */
    if (!(value & HV_MSR_SINT_MASKED) && !polled(vp, value)) {
        hvti_host_interrupt(&vp->partition->host, vp->index, vector,
                            hvtlfs_synic_is_auto_eoi(vp, vector));
    }
}

/* ---- The slot: on the VP's thread, the VP out of the guest ---- */

static uint32_t page_slot(const struct hvtlfs_vp *vp, enum hvtlfs_overlay_kind kind)
{
    return hvti_overlay_slot(&vp->partition->overlays, kind, vp->slot);
}

/* The SINT's 256 bytes of a page that the host maps, or NULL. */
static uint8_t *mapped(const struct hvtlfs_vp *vp, enum hvtlfs_overlay_kind kind, uint32_t sint)
{
    uint8_t *page = hvti_overlay_mapped(vp->partition, page_slot(vp, kind));

    return page ? page + (size_t)sint * HV_MESSAGE_SIZE : NULL;
}

static uint32_t *type_of(uint8_t *slot)
{
    return (uint32_t *)(void *)slot;
}

/*
 * A busy slot gets MessagePending, then is looked at once more: the guest may have emptied it in
 * between and have seen no flag, and would never write EOM (tests/proofs/synic_slot.m).
 */
static bool mapped_slot_free(uint8_t *slot)
{
    uint32_t *type = type_of(slot);

    if (!__atomic_load_n(type, __ATOMIC_ACQUIRE)) {
        return true;
    }
    (void)__atomic_fetch_or(type_of(slot + FLAGS_WORD), PENDING_IN_WORD, __ATOMIC_SEQ_CST);
    return !__atomic_load_n(type, __ATOMIC_SEQ_CST);
}

/* Set bits of a word of a page that the host does not map, in the guest's order. With the lock. */
static bool copied_or(struct hvtlfs_partition *partition, uint32_t page, uint32_t offset,
                      uint32_t bits, uint32_t *before)
{
    uint32_t tries;
    bool done = false;

    if (!hvti_overlay_read(partition, page, offset, before, sizeof(*before))) {
        return false;
    }
    for (tries = 0; tries < CAS_TRIES && !done; tries++) {
        if (!hvti_overlay_cas32(partition, page, offset, before, *before | bits, &done)) {
            return false;
        }
    }
    return done;
}

static bool copied_slot_free(struct hvtlfs_vp *vp, uint32_t sint)
{
    struct hvtlfs_partition *partition = vp->partition;
    uint32_t page = page_slot(vp, HVTLFS_OVERLAY_SIM);
    uint32_t offset = sint * HV_MESSAGE_SIZE;
    uint32_t type, before;

    /* A word that cannot be read may hold anything afterwards, and is a slot that cannot be written. */
    if (!hvti_overlay_read(partition, page, offset, &type, sizeof(type))) {
        return false;
    }
    if (!type) {
        return true;
    }
    (void)copied_or(partition, page, offset + FLAGS_WORD, PENDING_IN_WORD, &before);
    return hvti_overlay_read(partition, page, offset, &type, sizeof(type)) && !type;
}

static bool slot_free(struct hvtlfs_vp *vp, uint32_t sint)
{
    uint8_t *slot = mapped(vp, HVTLFS_OVERLAY_SIM, sint);
    bool is_free;

    if (slot) {
        return mapped_slot_free(slot);
    }
    hvti_lock(vp->partition);
    is_free = copied_slot_free(vp, sint);
    hvti_unlock(vp->partition);
    return is_free;
}

/* The type goes last: with it the message is the guest's. */
static void mapped_slot_fill(uint8_t *slot, const struct hv_message *message)
{
    uint32_t word;

    memcpy(&word, (const uint8_t *)message + FLAGS_WORD, sizeof(word));
    memcpy(slot + 8, (const uint8_t *)message + 8, HEADER_SIZE - 8 + message->header.payload_size);
    __atomic_store_n(type_of(slot + FLAGS_WORD), word, __ATOMIC_RELAXED);
    __atomic_store_n(type_of(slot), message->header.message_type, __ATOMIC_RELEASE);
}

static bool copied_slot_fill(struct hvtlfs_vp *vp, uint32_t sint, const struct hv_message *message)
{
    struct hvtlfs_partition *partition = vp->partition;
    uint32_t page = page_slot(vp, HVTLFS_OVERLAY_SIM);
    uint32_t offset = sint * HV_MESSAGE_SIZE;

    return hvti_overlay_write(partition, page, offset + FLAGS_WORD,
                              (const uint8_t *)message + FLAGS_WORD,
                              HEADER_SIZE - FLAGS_WORD + message->header.payload_size) &&
           hvti_overlay_write(partition, page, offset, &message->header.message_type,
                              sizeof(message->header.message_type));
}

static bool slot_fill(struct hvtlfs_vp *vp, uint32_t sint, const struct hv_message *message)
{
    uint8_t *slot = mapped(vp, HVTLFS_OVERLAY_SIM, sint);
    bool filled;

    if (slot) {
        mapped_slot_fill(slot, message);
        return true;
    }
    hvti_lock(vp->partition);
    filled = copied_slot_fill(vp, sint, message);
    hvti_unlock(vp->partition);
    return filled;
}

/* ---- The queues: on the VP's thread ---- */

static uint32_t *next_of(struct hvtlfs_vp *vp, uint32_t item)
{
    return item < HVTI_FIRST_BUFFER ? &vp->synic.timer_next[item - HVTI_FIRST_TIMER]
                                    : &hvti_message_of(&vp->partition->messages, item)->next;
}

static void append(struct hvtlfs_vp *vp, uint32_t sint, uint32_t item)
{
    struct hvti_synic *synic = &vp->synic;

    *next_of(vp, item) = HVTI_NO_ITEM;
    if (synic->head[sint]) {
        *next_of(vp, synic->tail[sint]) = item;
    } else {
        synic->head[sint] = item;
        synic->waiting |= BIT32(sint);
    }
    synic->tail[sint] = item;
}

/* Take the item behind `before`, or the first one (HVTI_NO_ITEM), out of a queue. */
static void unlink_after(struct hvtlfs_vp *vp, uint32_t sint, uint32_t before)
{
    struct hvti_synic *synic = &vp->synic;
    uint32_t *link = before ? next_of(vp, before) : &synic->head[sint];
    uint32_t item = *link;

    *link = *next_of(vp, item);
    if (synic->tail[sint] == item) {
        synic->tail[sint] = before;
    }
    if (!synic->head[sint]) {
        synic->waiting &= ~BIT32(sint);
    }
}

/* The first message that waits for a SINT may have the SINT's own buffer: `others` wait already. */
static bool has_own(const struct hvtlfs_vp *vp, uint32_t sint, uint32_t others)
{
    return !others && sint < vp->partition->messages.own_sints;
}

/* The right of a message of the host: which one, the count of those that wait decides. */
static void give_sint_right(struct hvtlfs_vp *vp, uint32_t sint)
{
    uint16_t others = __atomic_sub_fetch(&vp->synic.queued[sint], 1, __ATOMIC_ACQ_REL);

    if (!has_own(vp, sint, others)) {
        hvti_messages_unreserve(&vp->partition->messages, 1);
    }
}

static bool take_sint_right(struct hvtlfs_vp *vp, uint32_t sint, uint16_t limit)
{
    struct hvti_messages *messages = &vp->partition->messages;
    uint16_t *queued = &vp->synic.queued[sint];
    uint16_t others = __atomic_load_n(queued, __ATOMIC_RELAXED);

    while (others < limit) {
        bool own = has_own(vp, sint, others);

        if (!own && !hvti_messages_reserve(messages, 1)) {
            return false;
        }
        if (__atomic_compare_exchange_n(queued, &others, (uint16_t)(others + 1), false,
                                        __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
            return true;
        }
        if (!own) {
            hvti_messages_unreserve(messages, 1);
        }
    }
    return false;
}

/* A message leaves: its buffer, and then the right to one, are free again. */
static void free_item(struct hvtlfs_vp *vp, uint32_t item)
{
    struct hvti_messages *messages = &vp->partition->messages;
    uint32_t source;
    uint8_t sint;

    if (item < HVTI_FIRST_BUFFER) {
        return;
    }
    source = hvti_message_of(messages, item)->source;
    sint = hvti_message_of(messages, item)->sint;
    hvti_message_give(messages, item);
    if (source) {
        hvti_connection_drop(vp->partition, source, true);
    } else {
        give_sint_right(vp, sint);
    }
}

/* Accepted before the last processor reset: whoever posted it was late to push it. */
static bool is_stale(const struct hvtlfs_vp *vp, uint32_t item)
{
    return hvti_message_of(&vp->partition->messages, item)->generation !=
           (vp->synic.generation & HVTI_GENERATION_MASK);
}

/* Not to be delivered any more: also when its connection is gone (TLFS 11.6). */
static bool is_dead(const struct hvtlfs_vp *vp, uint32_t item)
{
    uint32_t source;

    if (item < HVTI_FIRST_BUFFER) {
        return false;
    }
    source = hvti_message_of(&vp->partition->messages, item)->source;
    return is_stale(vp, item) || (source && hvti_connection_dying(vp->partition, source));
}

static void arrive(struct hvtlfs_vp *vp, uint32_t item)
{
    if (is_dead(vp, item)) {
        free_item(vp, item);
    } else {
        append(vp, hvti_message_of(&vp->partition->messages, item)->sint, item);
        hvti_count(&vp->counters.tallies[HVTI_TALLY_messages_queued]);
    }
}

/* Move the inbox, newest first, to the ends of the queues, oldest first. */
static void empty_inbox(struct hvtlfs_vp *vp)
{
    uint32_t oldest = HVTI_NO_ITEM;
    uint32_t item;

    if (!__atomic_load_n(&vp->synic.inbox, __ATOMIC_RELAXED)) {
        return;
    }
    item = __atomic_exchange_n(&vp->synic.inbox, HVTI_NO_ITEM, __ATOMIC_ACQUIRE);
    while (item) {
        uint32_t next = *next_of(vp, item);

        *next_of(vp, item) = oldest;
        oldest = item;
        item = next;
    }
    while (oldest) {
        item = oldest;
        oldest = *next_of(vp, item);
        arrive(vp, item);
    }
}

/* Messages of connections that are gone (TLFS 11.6). */
static void purge(struct hvtlfs_vp *vp, uint32_t sint)
{
    uint32_t before = HVTI_NO_ITEM;
    uint32_t item = vp->synic.head[sint];

    while (item) {
        uint32_t next = *next_of(vp, item);

        if (is_dead(vp, item)) {
            unlink_after(vp, sint, before);
            free_item(vp, item);
        } else {
            before = item;
        }
        item = next;
    }
}

static void purge_all(struct hvtlfs_vp *vp)
{
    uint32_t rest;

    if (!__atomic_load_n(&vp->synic.purge, __ATOMIC_RELAXED)) {
        return;
    }
    (void)__atomic_exchange_n(&vp->synic.purge, 0, __ATOMIC_ACQUIRE);
    for (rest = vp->synic.waiting; rest; rest &= rest - 1) {
        purge(vp, (uint32_t)__builtin_ctz(rest));
    }
}

/* ---- Delivery: on the VP's thread ---- */

static bool fill_from(struct hvtlfs_vp *vp, uint32_t sint, uint32_t item, uint8_t flags)
{
    struct hvti_message *buffer = hvti_message_of(&vp->partition->messages, item);

    buffer->message.header.message_flags = flags;
    return slot_fill(vp, sint, &buffer->message);
}

static bool fill_from_timer(struct hvtlfs_vp *vp, uint32_t sint, uint32_t timer, uint8_t flags)
{
    struct hv_timer_message_payload payload;
    struct hv_message message;

    hvti_stimer_message(vp, timer, &payload);
    message.header = (struct hv_message_header){.message_type = guest32(HvMessageTimerExpired),
                                                .payload_size = HV_TIMER_MESSAGE_PAYLOAD_SIZE,
                                                .message_flags = flags};
    memcpy(message.payload, &payload, sizeof(payload));
    return slot_fill(vp, sint, &message);
}

/* Put the oldest message of a SINT, which has one, into its slot if that is possible now (TLFS 11.2,
 * 11.8.6). */
static void deliver(struct hvtlfs_vp *vp, uint32_t sint)
{
    uint32_t item = vp->synic.head[sint];
    uint8_t flags;
    bool filled;

    if (!hvti_synic_takes_messages(vp, sint) || !slot_free(vp, sint)) {
        return;
    }
    flags = *next_of(vp, item) ? HV_MESSAGE_FLAGS_MESSAGE_PENDING : 0;
    filled = item < HVTI_FIRST_BUFFER ? fill_from_timer(vp, sint, item - HVTI_FIRST_TIMER, flags)
                                      : fill_from(vp, sint, item, flags);
    if (!filled) {
        return;
    }
    hvti_count(&vp->counters.tallies[HVTI_TALLY_messages_delivered]);
    unlink_after(vp, sint, HVTI_NO_ITEM);
    free_item(vp, item);
    interrupt(vp, sint);
    if (item < HVTI_FIRST_BUFFER) {
        hvti_stimer_delivered(vp, item - HVTI_FIRST_TIMER);
    }
}

void hvti_synic_poll(struct hvtlfs_vp *vp)
{
    uint32_t rest;

    empty_inbox(vp);
    purge_all(vp);
    for (rest = vp->synic.waiting; rest; rest &= rest - 1) {
        deliver(vp, (uint32_t)__builtin_ctz(rest));
    }
}

void hvti_synic_queue_timer(struct hvtlfs_vp *vp, uint32_t timer, uint32_t sint)
{
    empty_inbox(vp);
    purge_all(vp);
    append(vp, sint, HVTI_FIRST_TIMER + timer);
    hvti_count(&vp->counters.tallies[HVTI_TALLY_messages_queued]);
    deliver(vp, sint);
}

void hvti_synic_withdraw_timer(struct hvtlfs_vp *vp, uint32_t timer, uint32_t sint)
{
    uint32_t before = HVTI_NO_ITEM;
    uint32_t item;

    for (item = vp->synic.head[sint]; item; item = *next_of(vp, item)) {
        if (item == HVTI_FIRST_TIMER + timer) {
            unlink_after(vp, sint, before);
            return;
        }
        before = item;
    }
}

/* ---- Posting: any thread ---- */

/* The right to a buffer: one of the connection's sixteen, the SINT's own, or one of those for all. */
static bool take_right(struct hvtlfs_vp *vp, const struct hvti_post *post)
{
    struct hvtlfs_partition *partition = vp->partition;

    if (post->row) {
        return hvti_count_up(&partition->connections.rows[post->row - 1].queued,
                             HVTLFS_MESSAGE_BUFFERS);
    }
    return take_sint_right(vp, post->sint, HVTLFS_MESSAGE_BUFFERS);
}

static void give_right(struct hvtlfs_vp *vp, const struct hvti_post *post)
{
    struct hvtlfs_partition *partition = vp->partition;

    if (post->row) {
        (void)__atomic_fetch_sub(&partition->connections.rows[post->row - 1].queued, 1,
                                 __ATOMIC_RELEASE);
    } else {
        give_sint_right(vp, post->sint);
    }
}

static void write_buffer(struct hvti_message *buffer, const struct hvti_post *post,
                         uint32_t generation)
{
    const struct hvtlfs_message *message = &post->message;

    buffer->source = post->row & UINT16_MAX;
    buffer->sint = post->sint % HV_SYNIC_SINT_COUNT;
    buffer->generation = generation & HVTI_GENERATION_MASK;
    buffer->message.header = (struct hv_message_header){.message_type = guest32(message->type),
                                                        .payload_size = (uint8_t)message->size,
                                                        .origination_id = guest64(message->origin)};
    if (message->size) {
        memcpy(buffer->message.payload, message->payload, message->size);
    }
}

/* Returns whether the inbox was empty: then nobody else has asked for a kick. */
static bool push(struct hvtlfs_vp *vp, uint32_t item)
{
    uint32_t *next = next_of(vp, item);
    uint32_t newest = __atomic_load_n(&vp->synic.inbox, __ATOMIC_RELAXED);

    do {
        *next = newest;
    } while (!__atomic_compare_exchange_n(&vp->synic.inbox, &newest, item, false, __ATOMIC_RELEASE,
                                          __ATOMIC_RELAXED));
    return newest == HVTI_NO_ITEM;
}

/* Whether a message is accepted, and in which generation: a reset disables first and counts then, so
 * what was seen enabled between two equal readings was enabled in that generation. */
static bool accepts(const struct hvtlfs_vp *vp, uint32_t sint, uint32_t *generation)
{
    bool taken;

    do {
        *generation = __atomic_load_n(&vp->synic.generation, __ATOMIC_ACQUIRE);
        taken = hvti_synic_takes_messages(vp, sint);
    } while (__atomic_load_n(&vp->synic.generation, __ATOMIC_ACQUIRE) != *generation);
    return taken;
}

uint16_t hvti_synic_post(struct hvtlfs_vp *target, const struct hvti_post *post)
{
    struct hvti_messages *messages = &target->partition->messages;
    uint32_t generation;
    uint32_t item;

    if (!accepts(target, post->sint, &generation)) {
        return HV_STATUS_INVALID_SYNIC_STATE;
    }
    if (!take_right(target, post)) {
        return HV_STATUS_INSUFFICIENT_BUFFERS;
    }
    item = hvti_message_take(messages, target->slot);
    if (!item) {
        give_right(target, post);
        return HV_STATUS_INSUFFICIENT_BUFFERS;
    }
    write_buffer(hvti_message_of(messages, item), post, generation);
    if (push(target, item) && post->from != target) {
        hvti_host_kick(&target->partition->host, target->index);
    }
    if (post->from == target) {
        hvti_synic_poll(target);
    }
    return HV_STATUS_SUCCESS;
}

/* ---- Events: any thread ---- */

static bool copied_flag(struct hvtlfs_vp *vp, uint32_t sint, uint32_t flag, bool *newly)
{
    uint32_t offset = sint * HV_EVENT_FLAGS_BYTE_COUNT + flag / 32 * 4;
    uint32_t before = 0;
    bool reached;

    hvti_lock(vp->partition);
    reached = copied_or(vp->partition, page_slot(vp, HVTLFS_OVERLAY_SIEF), offset,
                        guest32(BIT32(flag % 32)), &before);
    hvti_unlock(vp->partition);
    *newly = !(guest32(before) >> (flag % 32) & 1);
    return reached;
}

static bool set_flag(struct hvtlfs_vp *vp, uint32_t sint, uint32_t flag, bool *newly)
{
    uint8_t *flags = mapped(vp, HVTLFS_OVERLAY_SIEF, sint);
    uint32_t before;

    if (!flags) {
        return copied_flag(vp, sint, flag, newly);
    }
    before = __atomic_fetch_or(type_of(flags + (size_t)4 * (flag / 32)),
                               guest32(BIT32(flag % 32)), __ATOMIC_ACQ_REL);
    *newly = !(guest32(before) >> (flag % 32) & 1);
    return true;
}

uint16_t hvti_synic_signal(struct hvtlfs_vp *target, uint32_t sint, uint32_t flag, bool *newly)
{
    uint64_t value = sint_of(target, sint);

    if (flag >= HV_EVENT_FLAGS_COUNT) {
        return HV_STATUS_INVALID_PARAMETER;
    }
    if (!control_enabled(target) || !(hvti_load(&target->synic.siefp) & HV_MSR_SIEFP_ENABLE) ||
        masked(target, value) || (value & HV_MSR_SINT_PROXY)) {
        return HV_STATUS_INVALID_SYNIC_STATE;
    }
    if (!set_flag(target, sint, flag, newly)) {
        return HV_STATUS_OPERATION_FAILED;
    }
    add_shared(&target->counters.tallies[HVTI_TALLY_events_signalled], 1);
    if (*newly) {
        interrupt(target, sint);
    }
    return HV_STATUS_SUCCESS;
}

/* ---- What the host calls ---- */

enum hvtlfs_status hvti_synic_status(uint16_t status)
{
    switch (status) {
    case HV_STATUS_SUCCESS:
        return HVTLFS_OK;
    case HV_STATUS_INVALID_SYNIC_STATE:
    case HV_STATUS_INVALID_VP_INDEX:
        return HVTLFS_ERR_ORDER;
    case HV_STATUS_INSUFFICIENT_BUFFERS:
        return HVTLFS_ERR_FULL;
    case HV_STATUS_OPERATION_FAILED:
        return HVTLFS_ERR_HOST;
    case HV_STATUS_INVALID_CONNECTION_ID:
    case HV_STATUS_INVALID_PORT_ID:
        return HVTLFS_ERR_NOT_FOUND;
    default:
        return HVTLFS_ERR_ARGUMENT;
    }
}

static enum hvtlfs_status check_sint(const struct hvtlfs_vp *vp, uint32_t sint)
{
    if (!vp || sint >= HV_SYNIC_SINT_COUNT) {
        return HVTLFS_ERR_ARGUMENT;
    }
    return hvti_has(vp->partition, HVTLFS_FEATURE_SYNIC) ? HVTLFS_OK : HVTLFS_ERR_UNAVAILABLE;
}

enum hvtlfs_status hvtlfs_synic_post_message(struct hvtlfs_vp *vp, uint32_t sint,
                                             const struct hvtlfs_message *message)
{
    enum hvtlfs_status status = check_sint(vp, sint);
    struct hvti_post post;

    if (status) {
        return status;
    }
    if (!message || message->type == HvMessageTypeNone ||
        message->size > HV_MESSAGE_PAYLOAD_BYTE_COUNT || (message->size && !message->payload)) {
        return HVTLFS_ERR_ARGUMENT;
    }
    post = (struct hvti_post){.sint = sint, .message = *message};
    return hvti_synic_status(hvti_synic_post(vp, &post));
}

enum hvtlfs_status hvtlfs_synic_signal_event(struct hvtlfs_vp *vp, uint32_t sint, uint32_t flag,
                                             bool *newly)
{
    enum hvtlfs_status status = check_sint(vp, sint);
    bool ignored;

    return status ? status
                  : hvti_synic_status(hvti_synic_signal(vp, sint, flag, newly ? newly : &ignored));
}

enum hvtlfs_status hvtlfs_synic_request_interrupt(struct hvtlfs_vp *vp, uint32_t sint)
{
    enum hvtlfs_status status = check_sint(vp, sint);

    if (status) {
        return status;
    }
    if (!control_enabled(vp) || masked(vp, sint_of(vp, sint)) ||
        (sint_of(vp, sint) & HV_MSR_SINT_PROXY)) {
        return HVTLFS_ERR_ORDER;
    }
    interrupt(vp, sint);
    return HVTLFS_OK;
}

void hvtlfs_synic_eoi(struct hvtlfs_vp *vp, uint32_t vector)
{
    /* Any EOI will do: whatever can be delivered may be (TLFS 11.2). */
    if (vector <= HV_SYNIC_SINT_VECTOR_LAST) {
        hvti_synic_poll(vp);
    }
}

bool hvtlfs_synic_is_auto_eoi(const struct hvtlfs_vp *vp, uint32_t vector)
{
    return vector < 256 &&
           (__atomic_load_n(&vp->synic.auto_eoi[vector / 32], __ATOMIC_RELAXED) >> (vector % 32) &
            1);
}

bool hvtlfs_synic_is_proxied(const struct hvtlfs_vp *vp, uint32_t vector)
{
    const uint64_t wanted = HV_MSR_SINT_PROXY | HV_MSR_SINT_MASKED | HV_MSR_SINT_VECTOR_MASK;
    uint32_t sint;

    for (sint = 0; sint < HV_SYNIC_SINT_COUNT; sint++) {
        if ((sint_of(vp, sint) & wanted) == (HV_MSR_SINT_PROXY | vector)) {
            return true;
        }
    }
    return false;
}

/* ---- Registers ---- */

enum hvtlfs_msr_result hvti_scontrol_read(struct hvtlfs_vp *vp, uint32_t number, uint64_t *value)
{
    (void)number;
    *value = vp->synic.control;
    return HVTLFS_MSR_DONE;
}

enum hvtlfs_msr_result hvti_scontrol_write(struct hvtlfs_vp *vp, uint32_t number, uint64_t value)
{
    (void)number;
    store_release(&vp->synic.control, value);
    hvti_synic_poll(vp);
    return HVTLFS_MSR_DONE;
}

enum hvtlfs_msr_result hvti_sversion_read(struct hvtlfs_vp *vp, uint32_t number, uint64_t *value)
{
    (void)vp;
    (void)number;
    *value = HV_SYNIC_VERSION;
    return HVTLFS_MSR_DONE;
}

/* TLFS 11.8.3, 11.8.4: a base beyond the guest's space is no fault, the page is just not there. So
 * is one that the host cannot show. False, with nothing changed, if what it covers cannot be given back. */
static bool place_page(struct hvtlfs_vp *vp, enum hvtlfs_overlay_kind kind, uint64_t value)
{
    struct hvtlfs_partition *partition = vp->partition;
    bool done;

    hvti_lock(partition);
    done = hvti_overlay_show(partition, page_slot(vp, kind), value & HV_MSR_SIMP_ENABLE,
                             page_of(value));
    hvti_unlock(partition);
    return done;
}

enum hvtlfs_msr_result hvti_siefp_read(struct hvtlfs_vp *vp, uint32_t number, uint64_t *value)
{
    (void)number;
    *value = vp->synic.siefp;
    return HVTLFS_MSR_DONE;
}

enum hvtlfs_msr_result hvti_siefp_write(struct hvtlfs_vp *vp, uint32_t number, uint64_t value)
{
    (void)number;
    if (!place_page(vp, HVTLFS_OVERLAY_SIEF, value)) {
        return HVTLFS_MSR_FAULT;
    }
    hvti_store(&vp->synic.siefp, value);
    return HVTLFS_MSR_DONE;
}

enum hvtlfs_msr_result hvti_simp_read(struct hvtlfs_vp *vp, uint32_t number, uint64_t *value)
{
    (void)number;
    *value = vp->synic.simp;
    return HVTLFS_MSR_DONE;
}

enum hvtlfs_msr_result hvti_simp_write(struct hvtlfs_vp *vp, uint32_t number, uint64_t value)
{
    (void)number;
    if (!place_page(vp, HVTLFS_OVERLAY_SIM, value)) {
        return HVTLFS_MSR_FAULT;
    }
    store_release(&vp->synic.simp, value);
    hvti_synic_poll(vp);
    return HVTLFS_MSR_DONE;
}

/* TLFS 11.8.6: "reads always return zeros", though the appendix calls it write-only. */
enum hvtlfs_msr_result hvti_eom_read(struct hvtlfs_vp *vp, uint32_t number, uint64_t *value)
{
    (void)vp;
    (void)number;
    *value = 0;
    return HVTLFS_MSR_DONE;
}

enum hvtlfs_msr_result hvti_eom_write(struct hvtlfs_vp *vp, uint32_t number, uint64_t value)
{
    (void)number;
    (void)value;
    hvti_synic_poll(vp);
    return HVTLFS_MSR_DONE;
}

/* A masked SINT interrupts nobody, so its vector is not in use. Each word changes at once: the bit
 * of a vector that stays auto-EOI never flickers. */
static void update_auto_eoi(struct hvtlfs_vp *vp)
{
    uint32_t bits[256 / 32] = {0};
    uint32_t i;

    for (i = 0; i < HV_SYNIC_SINT_COUNT; i++) {
        uint64_t value = vp->synic.sint[i];
        uint32_t vector = value & HV_MSR_SINT_VECTOR_MASK;

        if ((value & HV_MSR_SINT_AUTO_EOI) && !(value & HV_MSR_SINT_MASKED)) {
            bits[vector / 32] |= BIT32(vector % 32);
        }
    }
    for (i = 0; i < ARRAY_LEN(bits); i++) {
        __atomic_store_n(&vp->synic.auto_eoi[i], bits[i], __ATOMIC_RELAXED);
    }
}

enum hvtlfs_msr_result hvti_sint_read(struct hvtlfs_vp *vp, uint32_t number, uint64_t *value)
{
    *value = vp->synic.sint[number - HV_X64_MSR_SINT0];
    return HVTLFS_MSR_DONE;
}

/* TLFS 11.8.5: a vector below 16 faults. Not on a masked SINT: the reset value must be writable, and
 * Hyper-V as a guest does write it (docs/CONFORMANCE.md). */
bool hvti_sint_is_good(uint64_t value)
{
    return (value & HV_MSR_SINT_VECTOR_MASK) >= HV_SYNIC_SINT_VECTOR_FIRST ||
           (value & HV_MSR_SINT_MASKED);
}

enum hvtlfs_msr_result hvti_sint_write(struct hvtlfs_vp *vp, uint32_t number, uint64_t value)
{
    if (!hvti_sint_is_good(value)) {
        return HVTLFS_MSR_FAULT;
    }
    store_release(&vp->synic.sint[number - HV_X64_MSR_SINT0], value);
    update_auto_eoi(vp);
    hvti_synic_poll(vp);
    return HVTLFS_MSR_DONE;
}

/* ---- Reset ---- */

void hvti_synic_init(struct hvtlfs_vp *vp)
{
    uint32_t sint;

    for (sint = 0; sint < HV_SYNIC_SINT_COUNT; sint++) {
        hvti_store(&vp->synic.sint[sint], HV_SYNIC_SINT_DEFAULT);
    }
}

static void discard(struct hvtlfs_vp *vp)
{
    uint32_t rest;

    empty_inbox(vp);
    for (rest = vp->synic.waiting; rest; rest &= rest - 1) {
        uint32_t sint = (uint32_t)__builtin_ctz(rest);

        while (vp->synic.head[sint]) {
            uint32_t item = vp->synic.head[sint];

            unlink_after(vp, sint, HVTI_NO_ITEM);
            free_item(vp, item);
        }
    }
}

/* TLFS 11.8.3, 11.8.4, 11.9: the pages are cleared here and nowhere else. */
static void reset_pages(struct hvtlfs_vp *vp)
{
    hvti_lock(vp->partition);
    hvti_overlay_reset(vp->partition, page_slot(vp, HVTLFS_OVERLAY_SIM));
    hvti_overlay_reset(vp->partition, page_slot(vp, HVTLFS_OVERLAY_SIEF));
    hvti_unlock(vp->partition);
}

void hvti_synic_reset(struct hvtlfs_vp *vp)
{
    if (!hvti_has(vp->partition, HVTLFS_FEATURE_SYNIC)) {
        return;
    }
    hvti_store(&vp->synic.control, 0);
    hvti_store(&vp->synic.siefp, 0);
    hvti_store(&vp->synic.simp, 0);
    __atomic_store_n(&vp->synic.generation, vp->synic.generation + 1, __ATOMIC_RELEASE);
    hvti_synic_init(vp);
    update_auto_eoi(vp);
    discard(vp);
    reset_pages(vp);
}

/* ---- Saved state ---- */

static uint32_t peek_next(const struct hvtlfs_vp *vp, uint32_t item)
{
    return item < HVTI_FIRST_BUFFER ? vp->synic.timer_next[item - HVTI_FIRST_TIMER]
                                    : hvti_message_of(&vp->partition->messages, item)->next;
}

static void visit_item(const struct hvtlfs_vp *vp, uint32_t sint, uint32_t item,
                       hvti_synic_visitor *visit, void *context)
{
    if (item < HVTI_FIRST_BUFFER) {
        visit(context, sint, item - HVTI_FIRST_TIMER + 1, NULL);
    } else if (!is_dead(vp, item)) {
        visit(context, sint, 0, &hvti_message_of(&vp->partition->messages, item)->message);
    }
}

/* The inbox has the newest first: from its end, one by one. */
static void visit_inbox(const struct hvtlfs_vp *vp, hvti_synic_visitor *visit, void *context)
{
    uint32_t count = 0;
    uint32_t item, i;

    for (item = vp->synic.inbox; item; item = peek_next(vp, item)) {
        count++;
    }
    for (; count; count--) {
        item = vp->synic.inbox;
        for (i = 1; i < count; i++) {
            item = peek_next(vp, item);
        }
        visit_item(vp, hvti_message_of(&vp->partition->messages, item)->sint, item, visit, context);
    }
}

void hvti_synic_visit(const struct hvtlfs_vp *vp, hvti_synic_visitor *visit, void *context)
{
    uint32_t sint, item;

    for (sint = 0; sint < HV_SYNIC_SINT_COUNT; sint++) {
        for (item = vp->synic.head[sint]; item; item = peek_next(vp, item)) {
            visit_item(vp, sint, item, visit, context);
        }
    }
    visit_inbox(vp, visit, context);
}

static bool waits(const struct hvtlfs_vp *vp, uint32_t wanted)
{
    uint32_t sint, item;

    for (sint = 0; sint < HV_SYNIC_SINT_COUNT; sint++) {
        for (item = vp->synic.head[sint]; item; item = peek_next(vp, item)) {
            if (item == wanted) {
                return true;
            }
        }
    }
    return false;
}

static bool restore_message(struct hvtlfs_vp *vp, uint32_t sint, const struct hv_message *message)
{
    struct hvti_messages *messages = &vp->partition->messages;
    struct hvti_message *buffer;
    uint32_t item;

    /* Those of connections come back as the host's, so more than sixteen may wait for one SINT. */
    if (!take_sint_right(vp, sint, UINT16_MAX)) {
        return false;
    }
    item = hvti_message_take(messages, vp->index);
    if (!item) {
        give_sint_right(vp, sint);
        return false;
    }
    buffer = hvti_message_of(messages, item);
    buffer->message = *message;
    buffer->source = 0;
    buffer->sint = sint % HV_SYNIC_SINT_COUNT;
    buffer->generation = vp->synic.generation & HVTI_GENERATION_MASK;
    append(vp, sint, item);
    return true;
}

/* ---- Messages of a connection that is registered again after a load ---- */

static bool is_orphan(const struct hvtlfs_vp *vp, uint32_t item, uint32_t origin)
{
    const struct hvti_message *buffer;

    if (item < HVTI_FIRST_BUFFER) {
        return false;
    }
    buffer = hvti_message_of(&vp->partition->messages, item);
    return !buffer->source && guest64(buffer->message.header.origination_id) == origin;
}

/* The rights that `waiting` messages hold beside the SINT's own buffer. */
static uint32_t rights_of(const struct hvtlfs_vp *vp, uint32_t sint, uint32_t waiting)
{
    return waiting - (waiting && has_own(vp, sint, 0));
}

uint32_t hvti_synic_orphans(const struct hvtlfs_vp *vp, uint32_t sint, uint32_t origin,
                            uint32_t most, uint32_t *rights)
{
    uint32_t waiting = vp->synic.queued[sint];
    uint32_t count = 0;
    uint32_t item;

    for (item = vp->synic.head[sint]; item && count < most; item = peek_next(vp, item)) {
        count += is_orphan(vp, item, origin);
    }
    *rights += rights_of(vp, sint, waiting) - rights_of(vp, sint, waiting - count);
    return count;
}

void hvti_synic_adopt(struct hvtlfs_vp *vp, uint32_t sint, uint32_t origin, uint32_t count,
                      uint32_t row)
{
    uint32_t item;

    vp->synic.queued[sint] = (uint16_t)(vp->synic.queued[sint] - count);
    for (item = vp->synic.head[sint]; item && count; item = peek_next(vp, item)) {
        if (is_orphan(vp, item, origin)) {
            hvti_message_of(&vp->partition->messages, item)->source = row & UINT16_MAX;
            count--;
        }
    }
}

bool hvti_synic_restore(struct hvtlfs_vp *vp, uint32_t sint, uint32_t timer,
                        const struct hv_message *message)
{
    if (!timer) {
        return restore_message(vp, sint, message);
    }
    if (hvti_stimer_waits(vp, timer - 1, sint) && !waits(vp, HVTI_FIRST_TIMER + timer - 1)) {
        append(vp, sint, HVTI_FIRST_TIMER + timer - 1);
    }
    return true;
}

void hvti_synic_restored(struct hvtlfs_vp *vp)
{
    uint32_t timer;

    update_auto_eoi(vp);
    for (timer = 0; timer < HV_SYNIC_STIMER_COUNT; timer++) {
        hvti_stimer_restored(vp, timer, waits(vp, HVTI_FIRST_TIMER + timer));
    }
}
