/* SPDX-License-Identifier: MIT */
/*
 * Host threads post and signal while VPs receive, disable and move their pages, mask SINTs and
 * reconfigure timers. A checker counts: no message lost, doubled or out of order, no event lost. VPs
 * are polled only when kicked or when their deadline has come, so a lost wake-up shows as a hang. Meant
 * to be run under ThreadSanitizer too.
 */
#include <pthread.h>
#include <sched.h>
#include <time.h>

#include "synic_fixture.h"

#define VPS 2u
#define POSTERS 2u
#define SINTS 3u /* 1 to 3 for messages, 4 for events, 5 for timers */
#define EVENT_SINT 4u
#define TIMER_SINT 5u
#define FLAGS 64u
#define SECONDS_AT_MOST 60

#ifdef HVTLFS_HELGRIND
#define POSTS 600u
#elif defined __SANITIZE_THREAD__
#define POSTS 1500u
#else
#define POSTS 6000u
#endif

static struct fixture fixture;
static uint32_t kicked[VPS];
static uint32_t posters_left;
static uint64_t signalled[VPS]; /* flags that posters found clear */
static uint64_t connection_posts;

static void kick(void *context, uint32_t vp_index)
{
    (void)context;
    __atomic_store_n(&kicked[vp_index], 1, __ATOMIC_RELEASE);
}

static void adjust(struct hvtlfs_config *config)
{
    config->ops.kick = kick;
}

/* ---- The host's threads ---- */

static enum hvtlfs_status post_once(struct hvtlfs_vp *vp, uint32_t sint, uint32_t poster,
                                    uint32_t number)
{
    const uint32_t payload[2] = {poster, number};
    const struct hvtlfs_message message = {
        .type = 0x100, .size = sizeof(payload), .payload = payload};

    /* Every other poster comes through connections: one for each VP and SINT. */
    return poster % 2 ? hvtlfs_connection_post(fixture.partition, hvtlfs_vp_index(vp) * 16 + sint,
                                               &message)
                      : hvtlfs_synic_post_message(vp, sint, &message);
}

static void *poster_thread(void *argument)
{
    uint32_t poster = (uint32_t)(uintptr_t)argument;
    uint32_t number;

    for (number = 0; number < POSTS; number++) {
        uint32_t vp_index = number % VPS;
        uint32_t sint = 1 + number / VPS % SINTS;
        struct hvtlfs_vp *vp = hvtlfs_partition_vp(fixture.partition, vp_index);
        bool newly = false;

        while (post_once(vp, sint, poster, number) != HVTLFS_OK) {
            sched_yield();
        }
        if (hvtlfs_synic_signal_event(vp, EVENT_SINT, number / 7 % FLAGS, &newly) == HVTLFS_OK &&
            newly) {
            __atomic_fetch_add(&signalled[vp_index], 1, __ATOMIC_RELAXED);
        }
        (void)hvtlfs_synic_is_auto_eoi(vp, VECTOR + sint);
    }
    __atomic_fetch_sub(&posters_left, 1, __ATOMIC_RELEASE);
    return NULL;
}

/* ---- A VP: its thread is the guest and what serves it ---- */

struct receiver {
    struct hvtlfs_vp *vp;
    uint32_t index;
    uint32_t next[POSTERS][SINTS + 1]; /* the number expected next */
    uint32_t messages;
    uint64_t events;
    uint32_t ticks;
    uint64_t last_tick;
    uint32_t round;
};

/* The numbers that a poster sends to a VP's SINT: this one and then every VPS * SINTS. */
static uint32_t first_number(uint32_t vp_index, uint32_t sint)
{
    return vp_index + (sint - 1) * VPS;
}

static void receive_tick(struct receiver *receiver, const struct hv_message *message)
{
    struct hv_timer_message_payload payload;
    uint64_t delivered;

    memcpy(&payload, message->payload, sizeof(payload));
    delivered = model_le64(payload.delivery_time);
    assert_int_equal(model_le32(message->header.message_type), 0x80000010);
    assert_true(delivered >= model_le64(payload.expiration_time));
    assert_true(delivered >= receiver->last_tick);
    receiver->last_tick = delivered;
    receiver->ticks++;
}

static void receive_post(struct receiver *receiver, uint32_t sint, const struct hv_message *message)
{
    uint32_t payload[2];

    memcpy(payload, message->payload, sizeof(payload));
    assert_int_equal(model_le32(message->header.message_type), 0x100);
    assert_true(payload[0] < POSTERS);
    assert_int_equal(payload[1], receiver->next[payload[0]][sint]);
    receiver->next[payload[0]][sint] += VPS * SINTS;
    receiver->messages++;
}

/* The page as the guest's thread sees it, or NULL while it is not there. */
static uint8_t *page(uint64_t gpa)
{
    struct hvtlfs_overlay overlay;

    return model_host_overlay_at(fixture.host, gpa, &overlay) ? overlay.page : NULL;
}

static void receive(struct receiver *receiver, uint64_t sim, uint32_t sint)
{
    uint8_t *slot = page(sim) + sint * 256;
    uint32_t *type = (uint32_t *)(void *)slot;
    struct hv_message message;

    if (!__atomic_load_n(type, __ATOMIC_ACQUIRE)) {
        return;
    }
    memcpy(&message, slot, sizeof(message));
    if (sint == TIMER_SINT) {
        receive_tick(receiver, &message);
    } else {
        receive_post(receiver, sint, &message);
    }
    __atomic_store_n(type, 0, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(slot + 5, __ATOMIC_SEQ_CST) & 1) {
        expect_write(receiver->vp, HV_X64_MSR_EOM, 0);
    }
}

static void receive_events(struct receiver *receiver, uint64_t sief)
{
    uint8_t *flags = page(sief) + EVENT_SINT * 256;
    uint32_t word;

    for (word = 0; word < FLAGS / 32; word++) {
        uint32_t *bits = (uint32_t *)(void *)(flags + word * 4);

        receiver->events +=
            (uint32_t)__builtin_popcount(__atomic_exchange_n(bits, 0, __ATOMIC_ACQ_REL));
    }
}

/* What a guest may do at any time. */
static void disturb(struct receiver *receiver, uint64_t sim)
{
    struct hvtlfs_vp *vp = receiver->vp;

    switch (receiver->round % 16) {
    case 1:
        expect_write(vp, HV_X64_MSR_SIMP, 0);
        break;
    case 4:
        expect_write(vp, HV_X64_MSR_SCONTROL, 0);
        expect_write(vp, HV_X64_MSR_SCONTROL, 1);
        break;
    case 6:
        expect_write(vp, HV_X64_MSR_SIEFP, 0);
        expect_write(vp, HV_X64_MSR_SIEFP, sief_gpa(receiver->index) | 1);
        break;
    case 7:
        expect_write(vp, HV_X64_MSR_SINT2, 0x10000);
        break;
    case 8:
        expect_write(vp, HV_X64_MSR_SINT2, 0x20000 | (VECTOR + 2));
        break;
    case 11:
        if (receiver->index == 0) {
            expect_write(vp, HV_X64_MSR_STIMER0_CONFIG, TIMER_SINT << 16 | 0xA);
            expect_write(vp, HV_X64_MSR_STIMER0_COUNT, 20);
        }
        break;
    default:
        break;
    }
    expect_write(vp, HV_X64_MSR_SIMP, sim | 1);
}

static void serve(struct receiver *receiver)
{
    if (__atomic_exchange_n(&kicked[receiver->index], 0, __ATOMIC_ACQUIRE)) {
        hvtlfs_vp_poll(receiver->vp);
    }
    if (receiver->index == 0) {
        uint64_t now;

        model_host_advance(fixture.host, 3);
        assert_int_equal(hvtlfs_msr_read(receiver->vp, HV_X64_MSR_TIME_REF_COUNT, &now),
                         HVTLFS_MSR_DONE);
        if (model_host_deadline(fixture.host, 0) <= now) {
            hvtlfs_vp_poll(receiver->vp);
        }
    }
}

static void *vp_thread(void *argument)
{
    struct receiver *receiver = argument;
    struct hvtlfs_interrupt interrupt;
    time_t end = time(NULL) + SECONDS_AT_MOST;
    uint32_t expected = POSTERS * POSTS / VPS;
    uint64_t sim = sim_gpa(receiver->index);

    /* The second half is left to kicks and EOMs alone: no register write or EOI helps it on. */
    while (receiver->messages < expected || __atomic_load_n(&posters_left, __ATOMIC_ACQUIRE)) {
        bool quiet = receiver->messages >= expected / 2;
        uint32_t sint;

        serve(receiver);
        if (!quiet) {
            sim = sim_gpa(receiver->index + 4 * (receiver->round / 32 % 2));
            disturb(receiver, sim);
        }
        for (sint = 1; sint <= TIMER_SINT; sint++) {
            if (sint != EVENT_SINT) {
                receive(receiver, sim, sint);
            }
        }
        receive_events(receiver, sief_gpa(receiver->index));
        while (model_host_take_interrupt(fixture.host, receiver->index, &interrupt)) {
            if (!quiet) {
                hvtlfs_synic_eoi(receiver->vp, interrupt.vector);
            }
        }
        receiver->round++;
        if (receiver->round % 256 == 0) {
            assert_true(time(NULL) < end); /* a message waits and nothing retries */
            model_host_clear_events(fixture.host);
        }
    }
    return NULL;
}

static void connect(void)
{
    uint32_t vp_index;
    uint32_t sint;

    for (vp_index = 0; vp_index < VPS; vp_index++) {
        for (sint = 1; sint <= SINTS; sint++) {
            const struct hvtlfs_connection connection = {
                .size = sizeof(connection),
                .connection_id = vp_index * 16 + sint,
                .type = HVTLFS_CONNECTION_MESSAGE,
                .vp_index = vp_index,
                .sint = sint,
            };

            assert_int_equal(hvtlfs_connection_add(fixture.partition, &connection), HVTLFS_OK);
        }
    }
}

static void test_nothing_is_lost_or_doubled(void **state)
{
    struct receiver receivers[VPS];
    pthread_t posters[POSTERS];
    pthread_t vps[VPS];
    uint32_t i;
    uint32_t sint;

    (void)state;
    synic_prepare(&fixture, false, SYNIC_FEATURES);
    fixture.options.lock = MODEL_LOCK_MUTEX;
    fixture.config.message_buffers = 16 * (SINTS * VPS + 2);
    fixture.adjust = adjust;
    fixture_start(&fixture);
    connect();
    memset(receivers, 0, sizeof(receivers));
    for (i = 0; i < VPS; i++) {
        uint32_t poster;

        receivers[i].vp = hvtlfs_partition_vp(fixture.partition, i);
        receivers[i].index = i;
        for (poster = 0; poster < POSTERS; poster++) {
            for (sint = 1; sint <= SINTS; sint++) {
                receivers[i].next[poster][sint] = first_number(i, sint);
            }
        }
        synic_enable(receivers[i].vp);
    }
    posters_left = POSTERS;
    for (i = 0; i < VPS; i++) {
        assert_int_equal(pthread_create(&vps[i], NULL, vp_thread, &receivers[i]), 0);
    }
    for (i = 0; i < POSTERS; i++) {
        assert_int_equal(pthread_create(&posters[i], NULL, poster_thread, (void *)(uintptr_t)i), 0);
    }
    for (i = 0; i < POSTERS; i++) {
        assert_int_equal(pthread_join(posters[i], NULL), 0);
    }
    for (i = 0; i < VPS; i++) {
        assert_int_equal(pthread_join(vps[i], NULL), 0);
        assert_int_equal(receivers[i].messages, POSTERS * POSTS / VPS);
        receive_events(&receivers[i], sief_gpa(i));
        assert_true(receivers[i].events == signalled[i]);
        assert_true(receivers[i].events > 0);
    }
    assert_true(receivers[0].ticks > 0);
    print_message("%u messages, %u ticks, %u rounds\n",
                  receivers[0].messages + receivers[1].messages, receivers[0].ticks,
                  receivers[0].round);
    fixture_stop(&fixture);
}

/* Connections come and go while messages are under way through them. */
static void *churn_thread(void *argument)
{
    uint32_t round;

    for (round = 0; round < POSTS / 4; round++) {
        const struct hvtlfs_connection connection = {
            .size = sizeof(connection),
            .connection_id = 100,
            .type = HVTLFS_CONNECTION_MESSAGE,
            .vp_index = round % 2 ? 0 : HVTLFS_NO_VP,
            .sint = 1,
        };

        while (hvtlfs_connection_add(fixture.partition, &connection) != HVTLFS_OK) {
            sched_yield();
        }
        assert_int_equal(hvtlfs_connection_remove(fixture.partition, 100), HVTLFS_OK);
    }
    __atomic_store_n((uint32_t *)argument, 1, __ATOMIC_RELEASE);
    return NULL;
}

static void *churn_post_thread(void *argument)
{
    const struct hvtlfs_message message = {.type = 7};
    uint64_t posts = 0;

    while (!__atomic_load_n((uint32_t *)argument, __ATOMIC_ACQUIRE)) {
        posts += hvtlfs_connection_post(fixture.partition, 100, &message) == HVTLFS_OK;
    }
    __atomic_fetch_add(&connection_posts, posts, __ATOMIC_RELAXED);
    return NULL;
}

static void test_connections_come_and_go_under_posts(void **state)
{
    const struct hvtlfs_connection connection = {
        .size = sizeof(connection), .connection_id = 1, .type = HVTLFS_CONNECTION_MESSAGE};
    struct hvtlfs_interrupt interrupt;
    pthread_t threads[3];
    uint32_t done = 0;
    uint32_t i;

    (void)state;
    memset(kicked, 0, sizeof(kicked));
    synic_prepare(&fixture, false, SYNIC_FEATURES);
    fixture.options.lock = MODEL_LOCK_MUTEX;
    fixture.config.message_buffers = 32;
    fixture.config.connection_count = 2;
    fixture.adjust = adjust;
    fixture_start(&fixture);
    synic_enable(fixture.vp);
    assert_int_equal(pthread_create(&threads[0], NULL, churn_thread, &done), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, churn_post_thread, &done), 0);
    assert_int_equal(pthread_create(&threads[2], NULL, churn_post_thread, &done), 0);
    while (!__atomic_load_n(&done, __ATOMIC_ACQUIRE)) {
        if (__atomic_exchange_n(&kicked[0], 0, __ATOMIC_ACQUIRE)) {
            hvtlfs_vp_poll(fixture.vp);
        }
        (void)guest_empties_slot(&fixture, 0, 1);
        expect_write(fixture.vp, HV_X64_MSR_EOM, 0);
        while (model_host_take_interrupt(fixture.host, 0, &interrupt)) {
        }
        model_host_clear_events(fixture.host);
    }
    for (i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    /* Nothing has leaked: both connections fit again, with 16 buffers each. */
    hvtlfs_vp_poll(fixture.vp);
    (void)guest_empties_slot(&fixture, 0, 1);
    hvtlfs_vp_poll(fixture.vp);
    assert_int_equal(hvtlfs_connection_add(fixture.partition, &connection), HVTLFS_OK);
    for (i = 0; i < 16; i++) {
        const struct hvtlfs_message message = {.type = 1};

        assert_int_equal(hvtlfs_connection_post(fixture.partition, 1, &message), HVTLFS_OK);
        assert_int_equal(post_number(fixture.vp, 2, 2), HVTLFS_OK);
    }
    assert_int_equal(post_number(fixture.vp, 3, 2), HVTLFS_ERR_FULL);
    fixture_stop(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_lost_or_doubled),
        cmocka_unit_test(test_connections_come_and_go_under_posts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
