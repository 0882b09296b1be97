/* SPDX-License-Identifier: MIT */
/*
 * The partition's message buffers (TLFS 11.3): taken and given by any thread, without a lock.
 *
 * A buffer is only looked for by someone who holds a right to one: a connection's sixteen are
 * reserved when it is registered, a SINT owns one for its first message, everybody else counts down
 * what is unreserved. So a search finds
 * one unless buffers move under it, and a bitmap, unlike a free list, knows no ABA.
 */
#include "state.h"

/* Passes over the bitmap before giving up: each failed one means that others were served. */
#define PASSES 8u

/*
 * The default pool, beside sixteen for each connection: sixteen for each SINT of up to FULL_VPS VPs.
 * More VPs share what FULL_VPS have, and at least MANY_EACH for each VP: with the rest of a VP that
 * stays within 4 KiB beyond its pages at 1024 VPs.
 */
#define FULL_VPS 32u
#define EACH_VP (HV_SYNIC_SINT_COUNT * HVTLFS_MESSAGE_BUFFERS)
#define MANY_EACH 9u

/* Buffers for each VP from which on every SINT, or every one of the lower half, owns one. */
#define ALL_OWN (HV_SYNIC_SINT_COUNT + HV_SYNIC_SINT_COUNT / 2)
#define HALF_OWN (HV_SYNIC_SINT_COUNT / 2 + 1)

static uint32_t default_count(const struct hvtlfs_config *config)
{
    uint32_t vps = config->vp_count;
    uint32_t posted = (vps < FULL_VPS ? vps : FULL_VPS) * EACH_VP;

    if (posted < vps * MANY_EACH) {
        posted = vps * MANY_EACH;
    }
    return posted + config->connection_count * HVTLFS_MESSAGE_BUFFERS;
}

uint32_t hvti_message_count(const struct hvtlfs_config *config, uint64_t features)
{
    if (!hvti_mask_has(features, HVTLFS_FEATURE_SYNIC)) {
        return 0;
    }
    return config->message_buffers ? config->message_buffers : default_count(config);
}

static uint32_t words(uint32_t count)
{
    return (count + 31) / 32;
}

size_t hvti_messages_size(uint32_t count)
{
    return count * sizeof(struct hvti_message) + words(count) * sizeof(uint32_t);
}

void hvti_messages_init(struct hvti_messages *messages, uint8_t *memory, uint32_t count)
{
    messages->buffers = (struct hvti_message *)(void *)memory;
    messages->used = (uint32_t *)(void *)(memory + count * sizeof(struct hvti_message));
    messages->count = count;
    messages->unreserved = count;
    messages->own_sints = 0;
    if (count % 32) {
        messages->used[count / 32] = ~(BIT32(count % 32) - 1);
    }
}

/* What connections may take is not the SINTs', so that both keep what they are promised. */
void hvti_messages_own(struct hvti_messages *messages, uint32_t vps, uint32_t connections)
{
    uint32_t taken = connections * HVTLFS_MESSAGE_BUFFERS;
    uint32_t left = messages->count > taken ? messages->count - taken : 0;

    messages->own_sints = left >= vps * ALL_OWN    ? HV_SYNIC_SINT_COUNT
                          : left >= vps * HALF_OWN ? HV_SYNIC_SINT_COUNT / 2
                                                   : 0;
    messages->unreserved = messages->count - vps * messages->own_sints;
}

bool hvti_messages_reserve(struct hvti_messages *messages, uint32_t count)
{
    uint32_t left = __atomic_load_n(&messages->unreserved, __ATOMIC_RELAXED);

    do {
        if (left < count) {
            return false;
        }
    } while (!__atomic_compare_exchange_n(&messages->unreserved, &left, left - count, false,
                                          __ATOMIC_ACQUIRE, __ATOMIC_RELAXED));
    return true;
}

void hvti_messages_unreserve(struct hvti_messages *messages, uint32_t count)
{
    (void)__atomic_fetch_add(&messages->unreserved, count, __ATOMIC_RELEASE);
}

/* A clear bit of one word, now set, or 32. */
static uint32_t take_from(uint32_t *word)
{
    uint32_t used = __atomic_load_n(word, __ATOMIC_RELAXED);

    while (used != UINT32_MAX) {
        uint32_t bit = (uint32_t)__builtin_ctz(~used);

        used = __atomic_fetch_or(word, BIT32(bit), __ATOMIC_ACQUIRE);
        if (!(used >> bit & 1)) {
            return bit;
        }
    }
    return 32;
}

uint32_t hvti_message_take(struct hvti_messages *messages, uint32_t hint)
{
    uint32_t total = words(messages->count);
    uint32_t word = hint % total;
    uint32_t tries;

    for (tries = 0; tries < PASSES * total; tries++) {
        uint32_t bit = take_from(&messages->used[word]);

        if (bit < 32) {
            return HVTI_FIRST_BUFFER + word * 32 + bit;
        }
        word = word + 1 < total ? word + 1 : 0;
    }
    return HVTI_NO_ITEM;
}

void hvti_message_give(struct hvti_messages *messages, uint32_t item)
{
    uint32_t bit = item - HVTI_FIRST_BUFFER;

    (void)__atomic_fetch_and(&messages->used[bit / 32], ~BIT32(bit % 32), __ATOMIC_RELEASE);
}

bool hvti_count_up(uint32_t *counter, uint32_t limit)
{
    uint32_t value = __atomic_load_n(counter, __ATOMIC_RELAXED);

    do {
        if (value >= limit) {
            return false;
        }
    } while (!__atomic_compare_exchange_n(counter, &value, value + 1, false, __ATOMIC_ACQUIRE,
                                          __ATOMIC_RELAXED));
    return true;
}
