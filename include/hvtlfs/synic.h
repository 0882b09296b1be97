/* SPDX-License-Identifier: MIT */
/**
 * @file synic.h
 * The synthetic interrupt controller from the host's side: messages, events, connections.
 *
 * Each VP has 16 synthetic interrupt sources (SINTs). A message for a SINT waits in the library
 * until the SINT's slot in the VP's message page is empty; an event is one of 2048 flags for each
 * SINT in the VP's event flags page. Both announce themselves by the interrupt that the guest chose
 * for the SINT (TLFS 11).
 *
 * A guest posts and signals through connection IDs. Each that is to exist is registered here, with
 * a handler of the host or with a SINT of the partition as its destination.
 */
#ifndef HVTLFS_SYNIC_H
#define HVTLFS_SYNIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hvtlfs/export.h>
#include <hvtlfs/partition.h>
#include <hvtlfs/status.h>

HVTLFS_BEGIN_DECLS

/** SINTs of each VP. */
#define HVTLFS_SINT_COUNT 16u

/** Event flags of each SINT. */
#define HVTLFS_EVENT_FLAG_COUNT 2048u

/** The longest payload of a message, in bytes. */
#define HVTLFS_MESSAGE_PAYLOAD_MAX 240u

/** Messages that may wait for each SINT, and for each registered connection (TLFS 11.3.1). */
#define HVTLFS_MESSAGE_BUFFERS 16u

/** A message (TLFS 11.10.4). */
struct hvtlfs_message {
    uint32_t type;       /**< HV_MESSAGE_TYPE; not 0, which is "no message". */
    uint32_t size;       /**< Bytes at @ref payload, 0 to #HVTLFS_MESSAGE_PAYLOAD_MAX. */
    uint64_t origin;     /**< Origination ID: a port, a partition, or 0. Ignored where a connection
                              is given: the message then carries its port ID. */
    const void *payload; /**< May be NULL when @ref size is 0. Read during the call only. */
};

/**
 * Post a message to a SINT of a VP.
 *
 * The message is copied. It appears in the slot, followed by the SINT's interrupt, on the VP's own
 * thread: in hvtlfs_vp_poll(), which the kick callback asks for, or earlier in any MSR write of the
 * VP that makes the slot free. Messages for one VP and SINT keep their order; the MessagePending
 * flag tells the guest of more. A masked SINT gets the message without the interrupt (TLFS 11.2).
 *
 * @param vp      whose SINT
 * @param sint    0 to 15
 * @param message the message; hypervisor types (bit 31) are allowed to the host
 * @return #HVTLFS_OK; #HVTLFS_ERR_ARGUMENT (a NULL pointer, a SINT above 15, type 0, a size above
 *         240); #HVTLFS_ERR_UNAVAILABLE without [synic]; #HVTLFS_ERR_ORDER while the VP is no target:
 *         its SCONTROL or SIMP is not enabled, or the SINT is proxied; #HVTLFS_ERR_FULL when 16
 *         messages of this kind wait for the SINT, or the partition's buffers are used up
 *         (hvtlfs_config::message_buffers)
 *
 * With the default buffers a SINT for which no message of the host waits is never refused for want of
 * a buffer, however busy the others are: on up to 341 VPs any SINT, on more the SINTs 0 to 7. Up to 32
 * VPs all SINTs of all VPs may have their 16 waiting at once. Where message_buffers is set, the former
 * holds for all SINTs from 24 buffers for each VP on, for SINTs 0 to 7 from 9, beside 16 for each of
 * connection_count.
 *
 * Any thread. No lock. Callbacks: kick, when the VP had nothing to do yet.
 */
HVTLFS_API HVTLFS_MUST_USE enum hvtlfs_status hvtlfs_synic_post_message(
    struct hvtlfs_vp *vp, uint32_t sint, const struct hvtlfs_message *message);

/**
 * Set an event flag of a SINT of a VP, atomically, and request the SINT's interrupt if the flag was
 * clear (TLFS 11.4).
 *
 * @param vp    whose SINT
 * @param sint  0 to 15
 * @param flag  0 to 2047
 * @param newly set to whether the flag was clear; may be NULL
 * @return #HVTLFS_OK, also when the flag was set already; #HVTLFS_ERR_ARGUMENT (a NULL VP, a SINT or
 *         flag out of range); #HVTLFS_ERR_UNAVAILABLE without [synic]; #HVTLFS_ERR_ORDER while the VP
 *         is no target: its SCONTROL or SIEFP is not enabled, or the SINT is masked or proxied;
 *         #HVTLFS_ERR_HOST when the host could not reach the page
 *
 * Any thread. Callbacks: request_interrupt; on a host that does not map overlays also lock, unlock
 * and guest memory.
 */
HVTLFS_API HVTLFS_MUST_USE enum hvtlfs_status hvtlfs_synic_signal_event(struct hvtlfs_vp *vp,
                                                                        uint32_t sint,
                                                                        uint32_t flag, bool *newly);

/**
 * Request a SINT's interrupt and nothing else, for hosts that write messages themselves or route a
 * device's interrupt to a SINT.
 *
 * @return #HVTLFS_OK, also for a polled SINT, which never interrupts; #HVTLFS_ERR_ARGUMENT;
 *         #HVTLFS_ERR_UNAVAILABLE; #HVTLFS_ERR_ORDER while SCONTROL is not enabled, or the SINT is
 *         masked or proxied
 *
 * Any thread. Callbacks: request_interrupt.
 */
HVTLFS_API HVTLFS_MUST_USE enum hvtlfs_status hvtlfs_synic_request_interrupt(struct hvtlfs_vp *vp,
                                                                             uint32_t sint);

/**
 * Tell that the VP's local APIC has seen an EOI for a vector, whatever way the guest sent it: waiting
 * messages are tried again (TLFS 11.2).
 *
 * A host whose APIC does not tell may leave this out: guests that see MessagePending write EOM.
 *
 * @param vp     the VP
 * @param vector 0 to 255; others are ignored
 *
 * On the VP's thread, also from inside the apic_write callback. No lock on a host that maps
 * overlays. O(1) when nothing waits. Callbacks: request_interrupt, arm_deadline, the clocks.
 */
HVTLFS_API void hvtlfs_synic_eoi(struct hvtlfs_vp *vp, uint32_t vector);

/**
 * Whether the guest gave a vector to an unmasked auto-EOI SINT: the APIC then accepts it without
 * setting the in-service bit and expects no EOI (TLFS 11.8.5).
 *
 * The same is said with each interrupt, see hvtlfs_interrupt::auto_eoi; this question is for an APIC
 * that decides when it acknowledges. Any thread; O(1); no lock; calls nothing.
 */
HVTLFS_API bool hvtlfs_synic_is_auto_eoi(const struct hvtlfs_vp *vp, uint32_t vector);

/**
 * Whether the guest gave a vector to an unmasked proxied SINT (bit 20; reserved in the TLFS, after
 * OpenVMM's hvdef): its interrupts come from a hypervisor further out, and the library delivers
 * nothing to it. Any thread; not for hot paths; no lock; calls nothing.
 */
HVTLFS_API bool hvtlfs_synic_is_proxied(const struct hvtlfs_vp *vp, uint32_t vector);

/* ---- Connections ---- */

/** What travels over a connection. */
enum hvtlfs_connection_type {
    HVTLFS_CONNECTION_MESSAGE = 1, /**< HvCallPostMessage. */
    HVTLFS_CONNECTION_EVENT = 2,   /**< HvCallSignalEvent. */
};

/**
 * A connection ID that the guest may use, and the port behind it. Zero the struct, set `size`, then
 * what applies.
 *
 * With a handler, posts and signals of the guest go to the host. Without one, they go to a SINT of
 * the partition, and the host may post to it too: hvtlfs_connection_post().
 */
struct hvtlfs_connection {
    size_t size;            /**< sizeof(struct hvtlfs_connection) as the caller knows it. */
    uint32_t connection_id; /**< 24 bits; unique in the partition. */
    enum hvtlfs_connection_type type; /**< Messages or events. */
    uint32_t port_id;                 /**< 24 bits; origination ID of the messages that come out. */

    /**
     * The guest's HvCallPostMessage, already checked: type not 0 and without bit 31, size at most
     * 240. @p vp_index is the caller. Called on the caller's thread, maybe for several VPs at once,
     * without a lock; may call any function of the library that says "any thread".
     * @return an HV_STATUS for the guest: 0 for success, 0x13 HV_STATUS_INSUFFICIENT_BUFFERS when the
     *         host cannot take it now
     */
    uint16_t (*post)(void *context, uint32_t vp_index, uint32_t connection_id,
                     const struct hvtlfs_message *message);

    /** The guest's HvCallSignalEvent; @p flag is below @ref flag_count. Like post. */
    uint16_t (*signal)(void *context, uint32_t vp_index, uint32_t connection_id, uint32_t flag);

    void *context; /**< Handed to the handler. */

    uint32_t vp_index;   /**< Without a handler: the destination; for messages also #HVTLFS_NO_VP,
                              any VP that is a target (TLFS HV_ANY_VP). */
    uint32_t sint;       /**< Without a handler: 0 to 15. */
    uint32_t base_flag;  /**< Without a handler, events: what is added to a flag number. */
    uint32_t flag_count; /**< Events: flag numbers are below this; with the base, at most 2048. */
};

/**
 * Register a connection.
 *
 * A message connection to a SINT takes #HVTLFS_MESSAGE_BUFFERS buffers of the partition for itself,
 * so that posts through it never compete with others.
 *
 * After hvtlfs_state_load() connections are registered again before hvtlfs_thaw(): then messages of the
 * state that wait at the connection's SINT and carry its port_id are its own as before. No VP may be
 * in a library call meanwhile. Registered before the load, connections may have taken the buffers that
 * these messages need.
 *
 * @return #HVTLFS_OK; #HVTLFS_ERR_ARGUMENT; #HVTLFS_ERR_STRUCT_SIZE; #HVTLFS_ERR_EXISTS;
 *         #HVTLFS_ERR_FULL when hvtlfs_config::connection_count are registered or too few buffers are
 *         left; #HVTLFS_ERR_NOT_FOUND when vp_index is no VP; #HVTLFS_ERR_UNAVAILABLE when it leads to
 *         a SINT and [synic] is off
 *
 * Any thread. Callbacks: lock, unlock.
 */
HVTLFS_API HVTLFS_MUST_USE enum hvtlfs_status hvtlfs_connection_add(
    struct hvtlfs_partition *partition, const struct hvtlfs_connection *connection);

/**
 * Take a connection away, with the messages that came through it and wait (TLFS 11.6: deleting a
 * port frees them).
 *
 * A handler that another VP entered before may still be running when this returns; keep its context
 * until all VPs have left the library once.
 *
 * @return #HVTLFS_OK; #HVTLFS_ERR_NOT_FOUND; #HVTLFS_ERR_ARGUMENT
 *
 * Any thread. Callbacks: lock, unlock, kick.
 */
HVTLFS_API HVTLFS_MUST_USE enum hvtlfs_status hvtlfs_connection_remove(
    struct hvtlfs_partition *partition, uint32_t connection_id);

/**
 * Post a message of the host through a connection that leads to a SINT, under the guest's own rules:
 * type not 0 and without bit 31, at most 16 waiting.
 *
 * @return as hvtlfs_synic_post_message(), and #HVTLFS_ERR_NOT_FOUND when there is no such message
 *         connection or it leads to a handler
 *
 * Any thread. No lock. Callbacks: kick.
 */
HVTLFS_API HVTLFS_MUST_USE enum hvtlfs_status hvtlfs_connection_post(
    struct hvtlfs_partition *partition, uint32_t connection_id,
    const struct hvtlfs_message *message);

/**
 * Signal an event of the host through a connection that leads to a SINT.
 *
 * @param flag below the connection's flag_count
 * @return as hvtlfs_synic_signal_event(), and #HVTLFS_ERR_NOT_FOUND when there is no such event
 *         connection or it leads to a handler
 *
 * Any thread. Callbacks as hvtlfs_synic_signal_event().
 */
HVTLFS_API HVTLFS_MUST_USE enum hvtlfs_status hvtlfs_connection_signal(
    struct hvtlfs_partition *partition, uint32_t connection_id, uint32_t flag);

HVTLFS_END_DECLS

#endif
