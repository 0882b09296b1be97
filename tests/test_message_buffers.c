/* SPDX-License-Identifier: MIT */
/*
 * The pool of message buffers (docs/SYNIC.md), alone, and what connections hold of it: nothing leaks, and
 * a row that was removed is free again.
 */
#include "guest_call.h"
#include "state.h"
#include "synic_fixture.h"

#include <hvtlfs/state.h>
#include <hvtlfs/time.h>

static struct fixture fixture;

/* ---- The pool ---- */

static uint32_t count_for(uint32_t vps, uint32_t connections)
{
    struct hvtlfs_config config;

    hvtlfs_config_init(&config);
    config.vp_count = vps;
    config.connection_count = connections;
    return hvti_message_count(&config, UINT64_C(1) << HVTLFS_FEATURE_SYNIC);
}

/* Sixteen for each SINT of up to 32 VPs, or nine for each VP if that is more; sixteen a connection. */
static void test_the_default_pool(void **state)
{
    (void)state;
    assert_int_equal(count_for(1, 0), 256);
    assert_int_equal(count_for(32, 0), 8192);
    assert_int_equal(count_for(33, 0), 8192);
    assert_int_equal(count_for(910, 0), 8192);
    assert_int_equal(count_for(911, 0), 8199);
    assert_int_equal(count_for(4096, 3), 36864 + 48);
}

/* Wherever the search begins, it finds the only buffer that is free. */
static void test_the_last_free_buffer_is_found_from_anywhere(void **state)
{
    static struct hvti_messages messages;
    static _Alignas(8) uint8_t memory[100 * sizeof(struct hvti_message) + 4 * sizeof(uint32_t)];
    uint32_t items[100];

    (void)state;
    assert_int_equal(hvti_messages_size(100), sizeof(memory));
    memset(memory, 0, sizeof(memory));
    hvti_messages_init(&messages, memory, 100);
    for (uint32_t i = 0; i < 100; i++) {
        items[i] = hvti_message_take(&messages, i);
        assert_int_not_equal(items[i], HVTI_NO_ITEM);
        for (uint32_t j = 0; j < i; j++) {
            assert_int_not_equal(items[i], items[j]);
        }
    }
    for (uint32_t hint = 0; hint < 8; hint++) {
        assert_int_equal(hvti_message_take(&messages, hint), HVTI_NO_ITEM);
        for (uint32_t i = 0; i < 100; i++) {
            hvti_message_give(&messages, items[i]);
            assert_int_equal(hvti_message_take(&messages, hint), items[i]);
        }
    }
}

/* Of any size: as many as there are, and no other. */
static void test_a_pool_has_as_many_as_it_was_given(void **state)
{
    static struct hvti_messages messages;
    static _Alignas(8) uint8_t memory[100 * sizeof(struct hvti_message) + 4 * sizeof(uint32_t)];

    (void)state;
    for (uint32_t count = 1; count <= 100; count++) {
        memset(memory, 0, sizeof(memory));
        hvti_messages_init(&messages, memory, count);
        for (uint32_t i = 0; i < count; i++) {
            assert_in_range(hvti_message_take(&messages, 0), HVTI_FIRST_BUFFER,
                            HVTI_FIRST_BUFFER + count - 1);
        }
        assert_int_equal(hvti_message_take(&messages, 0), HVTI_NO_ITEM);
    }
}

static void test_rights_are_counted(void **state)
{
    struct hvti_messages messages = {.unreserved = 17};

    (void)state;
    assert_false(hvti_messages_reserve(&messages, 18));
    assert_true(hvti_messages_reserve(&messages, 16));
    assert_false(hvti_messages_reserve(&messages, 2));
    assert_true(hvti_messages_reserve(&messages, 1));
    assert_int_equal(messages.unreserved, 0);
    hvti_messages_unreserve(&messages, 16);
    assert_int_equal(messages.unreserved, 16);
}

/* Eighteen for two VPs: the lower eight SINTs of each own one, and the two left over serve the others. */
static void test_the_upper_sints_share_what_is_left(void **state)
{
    (void)state;
    synic_prepare(&fixture, false, SYNIC_FEATURES);
    fixture.config.message_buffers = 18;
    fixture.config.connection_count = 0;
    fixture_start(&fixture);
    synic_enable(fixture.vp);
    assert_int_equal(fixture.partition->messages.own_sints, 8);
    for (uint32_t sint = 0; sint < 8; sint++) {
        assert_int_equal(post_number(fixture.vp, sint, 1), HVTLFS_OK);
        assert_int_equal(fixture.partition->messages.unreserved, 2);
    }
    assert_int_equal(post_number(fixture.vp, 8, 1), HVTLFS_OK);
    assert_int_equal(post_number(fixture.vp, 9, 1), HVTLFS_OK);
    assert_int_equal(post_number(fixture.vp, 10, 1), HVTLFS_ERR_FULL);
    assert_int_equal(post_number(fixture.vp, 0, 2), HVTLFS_ERR_FULL);
    hvtlfs_vp_poll(fixture.vp);
    assert_int_equal(fixture.partition->messages.unreserved, 2);
    fixture_stop(&fixture);
}

/* Room for connections where something can come through them, and nowhere else. */
static void test_rows_for_connections_need_a_user(void **state)
{
    static const enum hvtlfs_feature users[] = {HVTLFS_FEATURE_SYNIC, HVTLFS_FEATURE_POST_MESSAGES,
                                                HVTLFS_FEATURE_SIGNAL_EVENTS};
    struct hvtlfs_config config;

    (void)state;
    hvtlfs_config_init(&config);
    config.connection_count = 5;
    assert_int_equal(hvti_connection_count(&config, 0), 0);
    for (uint32_t feature = 0; feature < HVTLFS_FEATURE_COUNT; feature++) {
        bool user = false;

        for (size_t i = 0; i < 3; i++) {
            user = user || users[i] == feature;
        }
        assert_int_equal(hvti_connection_count(&config, UINT64_C(1) << feature), user ? 5 : 0);
    }
}

/* ---- Connections: one row only, so that one that leaks is missed ---- */

static void start_with_one_row(void)
{
    fixture_prepare(&fixture);
    fixture.features = SYNIC_FEATURES ",post-messages,signal-events";
    fixture.config.vp_count = 3;
    fixture.config.connection_count = 1;
    fixture_start(&fixture);
    for (uint32_t i = 0; i < 3; i++) {
        synic_enable(hvtlfs_partition_vp(fixture.partition, i));
    }
    while (model_host_take_kick(fixture.host) != HVTLFS_NO_VP) {
    }
}

static struct hvtlfs_connection connection(enum hvtlfs_connection_type type, uint32_t vp_index)
{
    return (struct hvtlfs_connection){
        .size = sizeof(struct hvtlfs_connection),
        .connection_id = 7,
        .port_id = 70,
        .type = type,
        .vp_index = vp_index,
        .sint = 4,
        .flag_count = type == HVTLFS_CONNECTION_EVENT ? 16 : 0,
    };
}

/* Whether the only row has become free: it takes another connection, and lets it go. */
static void expect_free(void)
{
    const struct hvtlfs_connection again = connection(HVTLFS_CONNECTION_EVENT, 0);

    assert_int_equal(hvtlfs_connection_add(fixture.partition, &again), HVTLFS_OK);
    assert_int_equal(hvtlfs_connection_remove(fixture.partition, 7), HVTLFS_OK);
}

static void test_an_id_given_twice_holds_on_to_nothing(void **state)
{
    const struct hvtlfs_connection one = connection(HVTLFS_CONNECTION_MESSAGE, 1);

    (void)state;
    start_with_one_row();
    assert_int_equal(hvtlfs_connection_add(fixture.partition, &one), HVTLFS_OK);
    assert_int_equal(hvtlfs_connection_add(fixture.partition, &one), HVTLFS_ERR_EXISTS);
    assert_int_equal(hvtlfs_connection_remove(fixture.partition, 7), HVTLFS_OK);
    expect_free();
    fixture_stop(&fixture);
}

static void test_a_connection_that_was_used_can_be_removed(void **state)
{
    const struct hvtlfs_connection event = connection(HVTLFS_CONNECTION_EVENT, 1);
    const struct hvtlfs_connection message = connection(HVTLFS_CONNECTION_MESSAGE, 1);
    const uint32_t payload = 5;
    const struct hvtlfs_message five = {.type = 5, .size = 4, .payload = &payload};

    (void)state;
    start_with_one_row();
    assert_int_equal(hvtlfs_connection_add(fixture.partition, &event), HVTLFS_OK);
    assert_int_equal(hvtlfs_connection_signal(fixture.partition, 7, 3), HVTLFS_OK);
    assert_int_equal(hvtlfs_connection_signal(fixture.partition, 7, 16), HVTLFS_ERR_ARGUMENT);
    assert_int_equal(hvtlfs_connection_post(fixture.partition, 7, &five), HVTLFS_ERR_NOT_FOUND);
    assert_int_equal(hvtlfs_connection_remove(fixture.partition, 7), HVTLFS_OK);
    expect_free();
    assert_int_equal(hvtlfs_connection_add(fixture.partition, &message), HVTLFS_OK);
    assert_int_equal(hvtlfs_connection_signal(fixture.partition, 7, 0), HVTLFS_ERR_NOT_FOUND);
    for (int i = 0; i < 40; i++) { /* more than its buffers, each delivered */
        assert_int_equal(hvtlfs_connection_post(fixture.partition, 7, &five), HVTLFS_OK);
        hvtlfs_vp_poll(hvtlfs_partition_vp(fixture.partition, 1));
        (void)guest_empties_slot(&fixture, 1, 4);
    }
    assert_int_equal(hvtlfs_connection_remove(fixture.partition, 7), HVTLFS_OK);
    expect_free();
    fixture_stop(&fixture);
}

static void expect_kicks(uint32_t set)
{
    uint32_t kicked = 0;
    uint32_t vp_index;

    while ((vp_index = model_host_take_kick(fixture.host)) != HVTLFS_NO_VP) {
        kicked |= UINT32_C(1) << vp_index;
    }
    assert_int_equal(kicked, set);
}

/* Whoever may have messages of a connection is told that it is gone, and nobody else (TLFS 11.6). */
static void test_a_removal_kicks_those_that_may_have_messages(void **state)
{
    struct hvtlfs_connection one;

    (void)state;
    start_with_one_row();
    one = connection(HVTLFS_CONNECTION_MESSAGE, 1);
    assert_int_equal(hvtlfs_connection_add(fixture.partition, &one), HVTLFS_OK);
    assert_int_equal(hvtlfs_connection_remove(fixture.partition, 7), HVTLFS_OK);
    expect_kicks(1u << 1);
    one = connection(HVTLFS_CONNECTION_MESSAGE, HVTLFS_NO_VP);
    assert_int_equal(hvtlfs_connection_add(fixture.partition, &one), HVTLFS_OK);
    assert_int_equal(hvtlfs_connection_remove(fixture.partition, 7), HVTLFS_OK);
    expect_kicks(7);
    one = connection(HVTLFS_CONNECTION_EVENT, 1);
    assert_int_equal(hvtlfs_connection_add(fixture.partition, &one), HVTLFS_OK);
    assert_int_equal(hvtlfs_connection_remove(fixture.partition, 7), HVTLFS_OK);
    expect_kicks(0);
    fixture_stop(&fixture);
}

/* TLFS 11.11.1: a port of any VP gives the message to the poster's own, if that takes it. */
static void test_a_port_of_any_vp_prefers_the_posters(void **state)
{
    const struct hvtlfs_connection any = connection(HVTLFS_CONNECTION_MESSAGE, HVTLFS_NO_VP);
    struct guest_answer answer;
    struct guest_call call;

    (void)state;
    start_with_one_row();
    assert_int_equal(hvtlfs_connection_add(fixture.partition, &any), HVTLFS_OK);
    fixture.vp = hvtlfs_partition_vp(fixture.partition, 2);
    guest_prepare(&call, HvCallPostMessage, 256, 0);
    call.input_gpa = 0x40000;
    call.input.qwords[0] = 7;
    call.input.qwords[1] = UINT64_C(8) << 32 | 9;
    guest_make(&fixture, &call, &answer);
    assert_int_equal(answer.status, HV_STATUS_SUCCESS);
    assert_int_equal(guest_message(&fixture, 2, 4).header.message_type, 9);
    assert_int_equal(guest_message(&fixture, 0, 4).header.message_type, 0);
    /* And if its SINT does not, to the first that does. */
    expect_write(fixture.vp, HV_X64_MSR_SCONTROL, 0);
    guest_make(&fixture, &call, &answer);
    assert_int_equal(answer.status, HV_STATUS_SUCCESS);
    hvtlfs_vp_poll(hvtlfs_partition_vp(fixture.partition, 0));
    assert_int_equal(guest_message(&fixture, 0, 4).header.message_type, 9);
    fixture_stop(&fixture);
}

/* ---- Loaded messages ---- */

/* A message that came with a saved state gives its buffer back to its own SINT when it is delivered. */
static void test_a_loaded_message_leaves_room_for_sixteen(void **state)
{
    static uint8_t bytes[1 << 16];
    size_t size;

    (void)state;
    synic_start(&fixture, false);
    assert_int_equal(post_number(fixture.vp, 3, 1), HVTLFS_OK);
    hvtlfs_vp_poll(fixture.vp);
    assert_int_equal(post_number(fixture.vp, 3, 2), HVTLFS_OK); /* waits */
    assert_int_equal(hvtlfs_freeze(fixture.partition), HVTLFS_OK);
    assert_int_equal(hvtlfs_state_save(fixture.partition, bytes, sizeof(bytes), &size, NULL),
                     HVTLFS_OK);
    fixture_stop(&fixture);

    synic_prepare(&fixture, false, SYNIC_FEATURES);
    fixture_start(&fixture);
    assert_int_equal(hvtlfs_state_load(fixture.partition, bytes, size, NULL), HVTLFS_OK);
    assert_int_equal(hvtlfs_thaw(fixture.partition, 0), HVTLFS_OK);
    hvtlfs_vp_poll(fixture.vp);
    (void)guest_empties_slot(&fixture, 0, 3);
    expect_write(fixture.vp, HV_X64_MSR_EOM, 0);
    assert_int_equal(guest_message(&fixture, 0, 3).header.message_type, 2);
    for (uint32_t i = 0; i < HVTLFS_MESSAGE_BUFFERS; i++) {
        assert_int_equal(post_number(fixture.vp, 3, 100 + i), HVTLFS_OK);
    }
    assert_int_equal(post_number(fixture.vp, 3, 200), HVTLFS_ERR_FULL);
    fixture_stop(&fixture);
}

/* Three messages of port 70 wait for VP 1 and two for VP 2, and one of another port for VP 1. */
static size_t save_waiting(uint8_t *bytes, size_t room)
{
    static const struct {
        uint32_t vp_index, origin;
    } posts[] = {{1, 70}, {1, 71}, {2, 70}, {1, 70}, {2, 70}, {1, 70}};
    size_t size;

    start_with_one_row();
    for (size_t i = 0; i < sizeof(posts) / sizeof(posts[0]); i++) {
        const struct hvtlfs_message message = {.type = 5, .origin = posts[i].origin};

        assert_int_equal(
            hvtlfs_synic_post_message(hvtlfs_partition_vp(fixture.partition, posts[i].vp_index), 4,
                                      &message),
            HVTLFS_OK);
    }
    assert_int_equal(hvtlfs_freeze(fixture.partition), HVTLFS_OK);
    assert_int_equal(hvtlfs_state_save(fixture.partition, bytes, room, &size, NULL), HVTLFS_OK);
    fixture_stop(&fixture);
    return size;
}

static uint16_t nobody_posts(void *context, uint32_t vp_index, uint32_t connection_id,
                             const struct hvtlfs_message *message)
{
    (void)context;
    (void)vp_index;
    (void)connection_id;
    (void)message;
    return 0;
}

/*
 * A connection that is registered again after a load and before the thaw owns the messages of its port
 * that wait for its VP (docs/SYNIC.md), and the sixteen buffers it reserves are theirs.
 */
static void expect_taken_over(const uint8_t *bytes, size_t size, uint32_t vp_index, bool handler,
                              bool thawed, uint32_t count)
{
    struct hvtlfs_connection one = connection(HVTLFS_CONNECTION_MESSAGE, vp_index);
    uint32_t left;

    one.post = handler ? nobody_posts : NULL;
    fixture_prepare(&fixture);
    fixture.features = SYNIC_FEATURES ",post-messages,signal-events";
    fixture.config.vp_count = 3;
    fixture.config.connection_count = 1;
    fixture_start(&fixture);
    assert_int_equal(hvtlfs_state_load(fixture.partition, bytes, size, NULL), HVTLFS_OK);
    if (thawed) {
        assert_int_equal(hvtlfs_thaw(fixture.partition, 0), HVTLFS_OK);
    }
    left = fixture.partition->messages.unreserved;
    assert_int_equal(hvtlfs_connection_add(fixture.partition, &one), HVTLFS_OK);
    assert_int_equal(fixture.partition->connections.rows[0].queued, count);
    assert_true(fixture.partition->messages.unreserved >= left - HVTLFS_MESSAGE_BUFFERS);
    if (!count) {
        assert_int_equal(fixture.partition->messages.unreserved,
                         left - (handler ? 0 : HVTLFS_MESSAGE_BUFFERS));
    }
    if (!thawed) {
        assert_int_equal(hvtlfs_thaw(fixture.partition, 0), HVTLFS_OK);
    }
    /* Delivered or dropped, in the end every right is back. */
    assert_int_equal(hvtlfs_connection_remove(fixture.partition, 7), HVTLFS_OK);
    for (uint32_t round = 0; round < 8; round++) {
        for (uint32_t i = 0; i < 3; i++) {
            hvtlfs_vp_poll(hvtlfs_partition_vp(fixture.partition, i));
            (void)guest_empties_slot(&fixture, i, 4);
        }
    }
    assert_int_equal(fixture.partition->messages.unreserved,
                     fixture.partition->messages.count - 3 * fixture.partition->messages.own_sints);
    fixture_stop(&fixture);
}

static void test_a_connection_takes_over_what_waits_for_its_vp(void **state)
{
    static uint8_t bytes[1 << 17];
    size_t size;

    (void)state;
    size = save_waiting(bytes, sizeof(bytes));
    expect_taken_over(bytes, size, 0, false, false, 0);
    expect_taken_over(bytes, size, 1, false, false, 3);
    expect_taken_over(bytes, size, 2, false, false, 2);
    expect_taken_over(bytes, size, HVTLFS_NO_VP, false, false, 5);
    expect_taken_over(bytes, size, 1, true, false, 0);
    expect_taken_over(bytes, size, 1, false, true, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_default_pool),
        cmocka_unit_test(test_the_last_free_buffer_is_found_from_anywhere),
        cmocka_unit_test(test_a_pool_has_as_many_as_it_was_given),
        cmocka_unit_test(test_rights_are_counted),
        cmocka_unit_test(test_the_upper_sints_share_what_is_left),
        cmocka_unit_test(test_rows_for_connections_need_a_user),
        cmocka_unit_test(test_an_id_given_twice_holds_on_to_nothing),
        cmocka_unit_test(test_a_connection_that_was_used_can_be_removed),
        cmocka_unit_test(test_a_removal_kicks_those_that_may_have_messages),
        cmocka_unit_test(test_a_port_of_any_vp_prefers_the_posters),
        cmocka_unit_test(test_a_connection_takes_over_what_waits_for_its_vp),
        cmocka_unit_test(test_a_loaded_message_leaves_room_for_sixteen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
