/* SPDX-License-Identifier: MIT */
/* Connections and what a guest posts and signals through them: TLFS 6.0b 11.5-11.7, 11.11. */
#include "synic_fixture.h"

#include <string.h>

#include <hvtlfs/state.h>
#include <hvtlfs/time.h>

#include "state.h"

struct record {
    uint32_t calls;
    uint32_t vp_index;
    uint32_t connection_id;
    uint32_t value;
    uint16_t answer;
};

static uint16_t record_post(void *context, uint32_t vp_index, uint32_t connection_id,
                            const struct hvtlfs_message *message)
{
    struct record *record = context;

    record->calls++;
    record->vp_index = vp_index;
    record->connection_id = connection_id;
    record->value = message->size;
    return record->answer;
}

static uint16_t record_signal(void *context, uint32_t vp_index, uint32_t connection_id,
                              uint32_t flag)
{
    struct record *record = context;

    record->calls++;
    record->vp_index = vp_index;
    record->connection_id = connection_id;
    record->value = flag;
    return record->answer;
}

static void prepare(struct fixture *fixture, uint32_t buffers)
{
    fixture_prepare(fixture);
    fixture->features = SYNIC_FEATURES;
    fixture->config.vp_count = 3;
    fixture->config.message_buffers = buffers;
}

static void start_with(struct fixture *fixture, uint32_t buffers)
{
    uint32_t vp_index;

    prepare(fixture, buffers);
    fixture_start(fixture);
    for (vp_index = 0; vp_index < 3; vp_index++) {
        synic_enable(hvtlfs_partition_vp(fixture->partition, vp_index));
    }
}

static void start(struct fixture *fixture)
{
    start_with(fixture, 0);
}

static struct hvtlfs_connection to_sint(uint32_t id, enum hvtlfs_connection_type type,
                                        uint32_t vp_index, uint32_t sint)
{
    return (struct hvtlfs_connection){
        .size = sizeof(struct hvtlfs_connection),
        .connection_id = id,
        .type = type,
        .port_id = id + 0x1000,
        .vp_index = vp_index,
        .sint = sint,
        .flag_count = type == HVTLFS_CONNECTION_EVENT ? 16 : 0,
    };
}

static void expect_add(struct fixture *fixture, const struct hvtlfs_connection *connection,
                       enum hvtlfs_status status)
{
    assert_int_equal(hvtlfs_connection_add(fixture->partition, connection), status);
}

static uint16_t guest_posts(struct fixture *fixture, uint32_t id, uint32_t type)
{
    return hvti_post_message(fixture->vp, id, type, &type, sizeof(type));
}

/* ---- Registration ---- */

static void test_bad_connections_are_refused(void **state)
{
    struct fixture fixture;
    struct hvtlfs_connection bad;

    (void)state;
    start(&fixture);
    expect_add(&fixture, NULL, HVTLFS_ERR_ARGUMENT);
    bad = to_sint(1, HVTLFS_CONNECTION_MESSAGE, 0, 1);
    bad.size = offsetof(struct hvtlfs_connection, flag_count);
    expect_add(&fixture, &bad, HVTLFS_ERR_STRUCT_SIZE);
    bad = to_sint(0x1000000, HVTLFS_CONNECTION_MESSAGE, 0, 1);
    bad.port_id = 1;
    expect_add(&fixture, &bad, HVTLFS_ERR_ARGUMENT);
    bad = to_sint(1, HVTLFS_CONNECTION_MESSAGE, 0, 1);
    bad.port_id = 0x1000000;
    expect_add(&fixture, &bad, HVTLFS_ERR_ARGUMENT);
    bad = to_sint(1, HVTLFS_CONNECTION_MESSAGE, 0, 16);
    expect_add(&fixture, &bad, HVTLFS_ERR_ARGUMENT);
    bad = to_sint(1, (enum hvtlfs_connection_type)3, 0, 1);
    expect_add(&fixture, &bad, HVTLFS_ERR_ARGUMENT);
    bad = to_sint(1, HVTLFS_CONNECTION_MESSAGE, 3, 1);
    expect_add(&fixture, &bad, HVTLFS_ERR_NOT_FOUND);
    bad = to_sint(1, HVTLFS_CONNECTION_EVENT, HVTLFS_NO_VP, 1);
    expect_add(&fixture, &bad, HVTLFS_ERR_NOT_FOUND);
    bad = to_sint(1, HVTLFS_CONNECTION_EVENT, 0, 1);
    bad.flag_count = 0;
    expect_add(&fixture, &bad, HVTLFS_ERR_ARGUMENT);
    bad.flag_count = 2049;
    expect_add(&fixture, &bad, HVTLFS_ERR_ARGUMENT);
    bad.flag_count = 16;
    bad.base_flag = 2033;
    expect_add(&fixture, &bad, HVTLFS_ERR_ARGUMENT);
    bad.base_flag = 2032;
    expect_add(&fixture, &bad, HVTLFS_OK);
    expect_add(&fixture, &bad, HVTLFS_ERR_EXISTS);
    fixture_stop(&fixture);
}

/* Identifiers have 24 bits (TLFS 11.7), a port of events up to 2048 flags. */
static void test_the_last_of_every_number_is_good(void **state)
{
    struct fixture fixture;
    struct hvtlfs_connection good;

    (void)state;
    start(&fixture);
    good = to_sint(0xFFFFFF, HVTLFS_CONNECTION_MESSAGE, 0, 15);
    good.port_id = 0xFFFFFF;
    assert_int_equal(hvtlfs_connection_add(NULL, &good), HVTLFS_ERR_ARGUMENT);
    expect_add(&fixture, &good, HVTLFS_OK);
    good = to_sint(1, HVTLFS_CONNECTION_EVENT, 0, 15);
    good.flag_count = 2048;
    expect_add(&fixture, &good, HVTLFS_OK);
    fixture_stop(&fixture);
}

static void test_table_is_bounded_and_rows_are_used_again(void **state)
{
    struct fixture fixture;
    uint32_t round;
    uint32_t id;

    (void)state;
    start(&fixture);
    for (round = 0; round < 3; round++) {
        struct hvtlfs_connection connection;

        for (id = 0; id < 16; id++) {
            connection = to_sint(id, HVTLFS_CONNECTION_EVENT, 0, 1);
            expect_add(&fixture, &connection, HVTLFS_OK);
        }
        connection = to_sint(16, HVTLFS_CONNECTION_EVENT, 0, 1);
        expect_add(&fixture, &connection, HVTLFS_ERR_FULL);
        for (id = 0; id < 16; id++) {
            assert_int_equal(hvtlfs_connection_remove(fixture.partition, id), HVTLFS_OK);
            assert_int_equal(hvtlfs_connection_remove(fixture.partition, id), HVTLFS_ERR_NOT_FOUND);
        }
    }
    fixture_stop(&fixture);
}

static void test_message_connections_take_buffers_and_give_them_back(void **state)
{
    struct fixture fixture;
    uint32_t round;

    (void)state;
    fixture_prepare(&fixture);
    fixture.features = SYNIC_FEATURES;
    fixture.config.message_buffers = 40;
    fixture_start(&fixture);
    for (round = 0; round < 3; round++) {
        struct hvtlfs_connection connection = to_sint(1, HVTLFS_CONNECTION_MESSAGE, 0, 1);

        expect_add(&fixture, &connection, HVTLFS_OK);
        connection.connection_id = 2;
        expect_add(&fixture, &connection, HVTLFS_OK);
        connection.connection_id = 3;
        expect_add(&fixture, &connection, HVTLFS_ERR_FULL);
        assert_int_equal(hvtlfs_connection_remove(fixture.partition, 1), HVTLFS_OK);
        assert_int_equal(hvtlfs_connection_remove(fixture.partition, 2), HVTLFS_OK);
    }
    fixture_stop(&fixture);
}

/* By a timer's message to the same SINT, without a poll in between. */
static void test_timer_does_not_bring_the_messages_of_a_removed_connection(void **state)
{
    const struct hvtlfs_connection connection = to_sint(1, HVTLFS_CONNECTION_MESSAGE, 0, 4);
    struct fixture fixture;

    (void)state;
    start(&fixture);
    expect_add(&fixture, &connection, HVTLFS_OK);
    assert_int_equal(post_number(fixture.vp, 4, 5), HVTLFS_OK);
    hvtlfs_vp_poll(fixture.vp); /* the slot is busy, and the next one waits in the queue */
    assert_int_equal(guest_posts(&fixture, 1, 6), HV_STATUS_SUCCESS);
    assert_int_equal(hvtlfs_connection_remove(fixture.partition, 1), HVTLFS_OK);
    (void)guest_empties_slot(&fixture, 0, 4);
    expect_write(fixture.vp, HV_X64_MSR_STIMER0_CONFIG, 0x40008);
    model_host_advance(fixture.host, 10);
    expect_write(fixture.vp, HV_X64_MSR_STIMER0_COUNT, 1);
    assert_int_equal(guest_message(&fixture, 0, 4).header.message_type, HvMessageTimerExpired);
    fixture_stop(&fixture);
}

/* The poster referred to the connection before it went, and pushes after the VP has looked. */
static void test_message_pushed_after_its_connection_went_is_dropped(void **state)
{
    const struct hvtlfs_connection connection = to_sint(1, HVTLFS_CONNECTION_MESSAGE, 1, 4);
    struct fixture fixture;
    struct hvtlfs_vp *vp;
    uint32_t item;

    (void)state;
    start(&fixture);
    vp = hvtlfs_partition_vp(fixture.partition, 1);
    expect_add(&fixture, &connection, HVTLFS_OK);
    assert_int_equal(guest_posts(&fixture, 1, 6), HV_STATUS_SUCCESS);
    item = vp->synic.inbox;
    vp->synic.inbox = HVTI_NO_ITEM;
    assert_int_equal(hvtlfs_connection_remove(fixture.partition, 1), HVTLFS_OK);
    hvtlfs_vp_poll(vp);
    vp->synic.inbox = item;
    hvtlfs_vp_poll(vp);
    expect_slot(&fixture, 1, 4, 0);
    expect_no_interrupt(&fixture, 1);
    assert_int_equal(fixture.partition->connections.rows[0].state, 0);
    fixture_stop(&fixture);
}

static void test_without_synic_handlers_work_and_sints_do_not(void **state)
{
    struct record record = {.answer = 0};
    struct hvtlfs_connection connection = to_sint(1, HVTLFS_CONNECTION_MESSAGE, 0, 1);
    struct fixture fixture;

    (void)state;
    fixture_prepare(&fixture);
    fixture.features = "post-messages,signal-events";
    fixture_start(&fixture);
    if (!hvtlfs_feature_why_off(fixture.partition, HVTLFS_FEATURE_POST_MESSAGES)) {
        expect_add(&fixture, &connection, HVTLFS_ERR_UNAVAILABLE);
        connection.post = record_post;
        connection.context = &record;
        expect_add(&fixture, &connection, HVTLFS_OK);
        assert_int_equal(guest_posts(&fixture, 1, 5), HV_STATUS_SUCCESS);
        assert_int_equal(record.calls, 1);
    }
    fixture_stop(&fixture);
}

/* ---- HvCallPostMessage ---- */

static void test_guest_posts_to_a_handler(void **state)
{
    struct record record = {.answer = HV_STATUS_INSUFFICIENT_BUFFERS};
    struct hvtlfs_connection connection = to_sint(4, HVTLFS_CONNECTION_MESSAGE, 0, 0);
    struct fixture fixture;
    uint8_t payload[240] = {0};

    (void)state;
    start(&fixture);
    connection.post = record_post;
    connection.context = &record;
    expect_add(&fixture, &connection, HVTLFS_OK);
    assert_int_equal(
        hvti_post_message(hvtlfs_partition_vp(fixture.partition, 2), 4, 1, payload, 240),
        HV_STATUS_INSUFFICIENT_BUFFERS);
    assert_int_equal(record.calls, 1);
    assert_int_equal(record.vp_index, 2);
    assert_int_equal(record.connection_id, 4);
    assert_int_equal(record.value, 240);
    fixture_stop(&fixture);
}

static void test_invalid_posts_reach_no_handler(void **state)
{
    struct record record = {.answer = 0};
    struct hvtlfs_connection connection = to_sint(4, HVTLFS_CONNECTION_MESSAGE, 0, 0);
    struct hvtlfs_connection event = to_sint(5, HVTLFS_CONNECTION_EVENT, 0, 0);
    struct fixture fixture;
    uint8_t payload[240] = {0};

    (void)state;
    start(&fixture);
    connection.post = record_post;
    connection.context = &record;
    expect_add(&fixture, &connection, HVTLFS_OK);
    expect_add(&fixture, &event, HVTLFS_OK);
    assert_int_equal(hvti_post_message(fixture.vp, 4, 0, payload, 4), HV_STATUS_INVALID_PARAMETER);
    assert_int_equal(hvti_post_message(fixture.vp, 4, 0x80000000, payload, 4),
                     HV_STATUS_INVALID_PARAMETER);
    assert_int_equal(hvti_post_message(fixture.vp, 4, 1, payload, 241),
                     HV_STATUS_INVALID_PARAMETER);
    assert_int_equal(hvti_post_message(fixture.vp, 4, 1, payload, UINT32_MAX),
                     HV_STATUS_INVALID_PARAMETER);
    assert_int_equal(hvti_post_message(fixture.vp, 6, 1, payload, 4),
                     HV_STATUS_INVALID_CONNECTION_ID);
    assert_int_equal(hvti_post_message(fixture.vp, 0x1000004, 1, payload, 4),
                     HV_STATUS_INVALID_CONNECTION_ID);
    assert_int_equal(hvti_post_message(fixture.vp, 5, 1, payload, 4), HV_STATUS_INVALID_PORT_ID);
    assert_int_equal(hvti_signal_event(fixture.vp, 4, 0), HV_STATUS_INVALID_PORT_ID);
    assert_int_equal(record.calls, 0);
    fixture_stop(&fixture);
}

static void test_post_to_oneself_arrives_before_the_next_instruction(void **state)
{
    struct hvtlfs_connection connection = to_sint(1, HVTLFS_CONNECTION_MESSAGE, 0, 3);
    struct fixture fixture;

    (void)state;
    start(&fixture);
    expect_add(&fixture, &connection, HVTLFS_OK);
    assert_int_equal(guest_posts(&fixture, 1, 9), HV_STATUS_SUCCESS);
    expect_slot(&fixture, 0, 3, 9);
    assert_int_equal(guest_message(&fixture, 0, 3).header.origination_id, 0x1001);
    expect_interrupt(&fixture, 0, VECTOR + 3, false);
    assert_int_equal(model_host_take_kick(fixture.host), HVTLFS_NO_VP);
    fixture_stop(&fixture);
}

static void test_port_has_16_buffers_of_its_own(void **state)
{
    struct hvtlfs_connection first = to_sint(1, HVTLFS_CONNECTION_MESSAGE, 0, 3);
    struct hvtlfs_connection second = to_sint(2, HVTLFS_CONNECTION_MESSAGE, 0, 3);
    struct fixture fixture;
    uint32_t i;

    (void)state;
    start(&fixture);
    expect_add(&fixture, &first, HVTLFS_OK);
    expect_add(&fixture, &second, HVTLFS_OK);
    for (i = 1; i <= 17; i++) {
        assert_int_equal(guest_posts(&fixture, 1, i), HV_STATUS_SUCCESS);
    }
    assert_int_equal(guest_posts(&fixture, 1, 18), HV_STATUS_INSUFFICIENT_BUFFERS);
    for (i = 18; i <= 33; i++) {
        assert_int_equal(guest_posts(&fixture, 2, i), HV_STATUS_SUCCESS);
    }
    assert_int_equal(guest_posts(&fixture, 2, 34), HV_STATUS_INSUFFICIENT_BUFFERS);
    for (i = 1; i <= 33; i++) {
        expect_slot(&fixture, 0, 3, i);
        assert_int_equal(guest_empties_slot(&fixture, 0, 3), i < 33);
        expect_write(fixture.vp, HV_X64_MSR_EOM, 0);
    }
    expect_slot(&fixture, 0, 3, 0);
    fixture_stop(&fixture);
}

static void test_post_to_another_vp_kicks_it(void **state)
{
    struct hvtlfs_connection connection = to_sint(1, HVTLFS_CONNECTION_MESSAGE, 2, 3);
    struct fixture fixture;

    (void)state;
    start(&fixture);
    expect_add(&fixture, &connection, HVTLFS_OK);
    assert_int_equal(guest_posts(&fixture, 1, 9), HV_STATUS_SUCCESS);
    assert_int_equal(model_host_take_kick(fixture.host), 2);
    expect_slot(&fixture, 2, 3, 0);
    hvtlfs_vp_poll(hvtlfs_partition_vp(fixture.partition, 2));
    expect_slot(&fixture, 2, 3, 9);
    fixture_stop(&fixture);
}

static void test_post_to_a_disabled_vp_is_refused(void **state)
{
    struct hvtlfs_connection connection = to_sint(1, HVTLFS_CONNECTION_MESSAGE, 2, 3);
    struct fixture fixture;

    (void)state;
    start(&fixture);
    expect_add(&fixture, &connection, HVTLFS_OK);
    expect_write(hvtlfs_partition_vp(fixture.partition, 2), HV_X64_MSR_SCONTROL, 0);
    assert_int_equal(guest_posts(&fixture, 1, 9), HV_STATUS_INVALID_SYNIC_STATE);
    assert_int_equal(model_host_take_kick(fixture.host), HVTLFS_NO_VP);
    fixture_stop(&fixture);
}

static void test_post_to_any_vp_finds_one_that_takes_it(void **state)
{
    struct hvtlfs_connection connection = to_sint(1, HVTLFS_CONNECTION_MESSAGE, HVTLFS_NO_VP, 3);
    struct fixture fixture;

    (void)state;
    start(&fixture);
    expect_add(&fixture, &connection, HVTLFS_OK);
    assert_int_equal(guest_posts(&fixture, 1, 9), HV_STATUS_SUCCESS);
    expect_slot(&fixture, 0, 3, 9);
    expect_write(fixture.vp, HV_X64_MSR_SCONTROL, 0);
    expect_write(hvtlfs_partition_vp(fixture.partition, 1), HV_X64_MSR_SIMP, 0);
    assert_int_equal(guest_posts(&fixture, 1, 10), HV_STATUS_SUCCESS);
    assert_int_equal(model_host_take_kick(fixture.host), 2);
    expect_write(hvtlfs_partition_vp(fixture.partition, 2), HV_X64_MSR_SCONTROL, 0);
    assert_int_equal(guest_posts(&fixture, 1, 11), HV_STATUS_INVALID_SYNIC_STATE);
    fixture_stop(&fixture);
}

static void test_removing_a_connection_frees_what_waits(void **state)
{
    struct hvtlfs_connection first = to_sint(1, HVTLFS_CONNECTION_MESSAGE, 0, 3);
    struct hvtlfs_connection second = to_sint(2, HVTLFS_CONNECTION_MESSAGE, 0, 3);
    struct fixture fixture;

    (void)state;
    start(&fixture);
    expect_add(&fixture, &first, HVTLFS_OK);
    expect_add(&fixture, &second, HVTLFS_OK);
    assert_int_equal(guest_posts(&fixture, 1, 1), HV_STATUS_SUCCESS); /* is in the slot */
    assert_int_equal(guest_posts(&fixture, 1, 2), HV_STATUS_SUCCESS);
    assert_int_equal(guest_posts(&fixture, 2, 3), HV_STATUS_SUCCESS);
    assert_int_equal(guest_posts(&fixture, 1, 4), HV_STATUS_SUCCESS);
    assert_int_equal(guest_posts(&fixture, 2, 5), HV_STATUS_SUCCESS);
    assert_int_equal(hvtlfs_connection_remove(fixture.partition, 1), HVTLFS_OK);
    assert_int_equal(model_host_take_kick(fixture.host), 0);
    assert_int_equal(guest_posts(&fixture, 1, 6), HV_STATUS_INVALID_CONNECTION_ID);
    expect_slot(&fixture, 0, 3, 1);
    (void)guest_empties_slot(&fixture, 0, 3);
    expect_write(fixture.vp, HV_X64_MSR_EOM, 0);
    expect_slot(&fixture, 0, 3, 3);
    (void)guest_empties_slot(&fixture, 0, 3);
    expect_write(fixture.vp, HV_X64_MSR_EOM, 0);
    expect_slot(&fixture, 0, 3, 5);
    assert_false(guest_empties_slot(&fixture, 0, 3));
    fixture_stop(&fixture);
}

/* A pool of the connection's sixteen and not one more, all of them waiting: a state that has them must
 * leave room for the connection, and they are the connection's again. */
static void test_connection_registered_after_a_load_has_its_messages(void **state)
{
    struct hvtlfs_connection connection = to_sint(1, HVTLFS_CONNECTION_MESSAGE, 0, 3);
    static uint8_t bytes[65536];
    struct fixture from, to;
    size_t size = 0;
    uint32_t i;

    (void)state;
    start_with(&from, HVTLFS_MESSAGE_BUFFERS);
    expect_add(&from, &connection, HVTLFS_OK);
    for (i = 1; i <= 17; i++) {
        assert_int_equal(guest_posts(&from, 1, i), HV_STATUS_SUCCESS);
    }
    assert_int_equal(hvtlfs_freeze(from.partition), HVTLFS_OK);
    assert_int_equal(hvtlfs_state_save(from.partition, bytes, sizeof(bytes), &size, NULL),
                     HVTLFS_OK);

    prepare(&to, HVTLFS_MESSAGE_BUFFERS);
    fixture_start(&to);
    memcpy(model_host_ram(to.host, 0), model_host_ram(from.host, 0), to.options.ram_size);
    assert_int_equal(hvtlfs_state_load(to.partition, bytes, size, NULL), HVTLFS_OK);
    expect_add(&to, &connection, HVTLFS_OK);
    assert_int_equal(hvtlfs_thaw(to.partition, 0), HVTLFS_OK);
    assert_int_equal(guest_posts(&to, 1, 18), HV_STATUS_INSUFFICIENT_BUFFERS);
    expect_slot(&to, 0, 3, 1);
    assert_true(guest_empties_slot(&to, 0, 3));
    expect_write(to.vp, HV_X64_MSR_EOM, 0);
    expect_slot(&to, 0, 3, 2);
    assert_int_equal(guest_posts(&to, 1, 18), HV_STATUS_SUCCESS);
    /* TLFS 11.6: they go with it. */
    assert_int_equal(hvtlfs_connection_remove(to.partition, 1), HVTLFS_OK);
    (void)guest_empties_slot(&to, 0, 3);
    expect_write(to.vp, HV_X64_MSR_EOM, 0);
    hvtlfs_vp_poll(to.vp);
    expect_slot(&to, 0, 3, 0);
    expect_add(&to, &connection, HVTLFS_OK);
    fixture_stop(&from);
    fixture_stop(&to);
}

/* Two connections behind one port, and a message of the host between theirs. */
static void test_connections_share_the_messages_of_a_loaded_port(void **state)
{
    struct hvtlfs_connection first = to_sint(1, HVTLFS_CONNECTION_MESSAGE, 0, 3);
    struct hvtlfs_connection second = to_sint(2, HVTLFS_CONNECTION_MESSAGE, 0, 3);
    const uint32_t number = 99;
    const struct hvtlfs_message own = {
        .type = number, .origin = 7, .payload = &number, .size = sizeof(number)};
    static uint8_t bytes[65536];
    struct fixture from, to;
    size_t size = 0;
    uint32_t i;

    (void)state;
    second.port_id = first.port_id;
    start_with(&from, 2 * HVTLFS_MESSAGE_BUFFERS + 1);
    expect_add(&from, &first, HVTLFS_OK);
    expect_add(&from, &second, HVTLFS_OK);
    assert_int_equal(guest_posts(&from, 1, 1), HV_STATUS_SUCCESS); /* into the slot */
    for (i = 0; i < HVTLFS_MESSAGE_BUFFERS; i++) {
        assert_int_equal(guest_posts(&from, 1, 2 + i), HV_STATUS_SUCCESS);
        if (i == 0) {
            assert_int_equal(hvtlfs_synic_post_message(from.vp, 3, &own), HVTLFS_OK);
        }
    }
    for (i = 0; i < HVTLFS_MESSAGE_BUFFERS; i++) {
        assert_int_equal(guest_posts(&from, 2, 18 + i), HV_STATUS_SUCCESS);
    }
    assert_int_equal(hvtlfs_freeze(from.partition), HVTLFS_OK);
    assert_int_equal(hvtlfs_state_save(from.partition, bytes, sizeof(bytes), &size, NULL),
                     HVTLFS_OK);

    prepare(&to, 2 * HVTLFS_MESSAGE_BUFFERS + 1);
    fixture_start(&to);
    memcpy(model_host_ram(to.host, 0), model_host_ram(from.host, 0), to.options.ram_size);
    assert_int_equal(hvtlfs_state_load(to.partition, bytes, size, NULL), HVTLFS_OK);
    expect_add(&to, &first, HVTLFS_OK);
    expect_add(&to, &second, HVTLFS_OK);
    assert_int_equal(hvtlfs_thaw(to.partition, 0), HVTLFS_OK);
    assert_int_equal(guest_posts(&to, 1, 50), HV_STATUS_INSUFFICIENT_BUFFERS);
    assert_int_equal(guest_posts(&to, 2, 50), HV_STATUS_INSUFFICIENT_BUFFERS);
    assert_int_equal(hvtlfs_connection_remove(to.partition, 1), HVTLFS_OK);
    assert_int_equal(hvtlfs_connection_remove(to.partition, 2), HVTLFS_OK);
    assert_int_equal(guest_empties_slot(&to, 0, 3), true);
    expect_write(to.vp, HV_X64_MSR_EOM, 0);
    expect_slot(&to, 0, 3, 99);
    assert_int_equal(guest_empties_slot(&to, 0, 3), false);
    fixture_stop(&from);
    fixture_stop(&to);
}

static void test_load_behind_the_connections_lacks_their_buffers(void **state)
{
    struct hvtlfs_connection connection = to_sint(1, HVTLFS_CONNECTION_MESSAGE, 0, 3);
    static uint8_t bytes[65536];
    struct hvtlfs_error error;
    struct fixture from, to;
    size_t size = 0;

    (void)state;
    start_with(&from, HVTLFS_MESSAGE_BUFFERS);
    expect_add(&from, &connection, HVTLFS_OK);
    assert_int_equal(guest_posts(&from, 1, 1), HV_STATUS_SUCCESS);
    assert_int_equal(guest_posts(&from, 1, 2), HV_STATUS_SUCCESS);
    assert_int_equal(hvtlfs_freeze(from.partition), HVTLFS_OK);
    assert_int_equal(hvtlfs_state_save(from.partition, bytes, sizeof(bytes), &size, NULL),
                     HVTLFS_OK);
    prepare(&to, HVTLFS_MESSAGE_BUFFERS);
    fixture_start(&to);
    expect_add(&to, &connection, HVTLFS_OK);
    assert_int_equal(hvtlfs_state_load(to.partition, bytes, size, &error),
                     HVTLFS_ERR_STATE_INCOMPATIBLE);
    assert_non_null(strstr(error.name, "message_buffers"));
    assert_int_equal(error.value, 1);
    fixture_stop(&from);
    fixture_stop(&to);
}

static void test_connections_survive_a_reset(void **state)
{
    struct hvtlfs_connection connection = to_sint(1, HVTLFS_CONNECTION_MESSAGE, 0, 3);
    struct fixture fixture;
    uint32_t i;

    (void)state;
    start(&fixture);
    expect_add(&fixture, &connection, HVTLFS_OK);
    for (i = 1; i <= 17; i++) {
        assert_int_equal(guest_posts(&fixture, 1, i), HV_STATUS_SUCCESS);
    }
    hvtlfs_partition_reset(fixture.partition);
    assert_int_equal(guest_posts(&fixture, 1, 1), HV_STATUS_INVALID_SYNIC_STATE);
    synic_enable(fixture.vp);
    for (i = 1; i <= 17; i++) {
        assert_int_equal(guest_posts(&fixture, 1, i), HV_STATUS_SUCCESS);
    }
    fixture_stop(&fixture);
}

/* ---- HvCallSignalEvent ---- */

static void test_guest_signals_a_handler_within_its_flags(void **state)
{
    struct record record = {.answer = 0};
    struct hvtlfs_connection connection = to_sint(4, HVTLFS_CONNECTION_EVENT, 0, 0);
    struct fixture fixture;

    (void)state;
    start(&fixture);
    connection.signal = record_signal;
    connection.context = &record;
    expect_add(&fixture, &connection, HVTLFS_OK);
    assert_int_equal(hvti_signal_event(fixture.vp, 4, 15), HV_STATUS_SUCCESS);
    assert_int_equal(record.value, 15);
    assert_int_equal(hvti_signal_event(fixture.vp, 4, 16), HV_STATUS_INVALID_PARAMETER);
    assert_int_equal(hvti_signal_event(fixture.vp, 5, 0), HV_STATUS_INVALID_CONNECTION_ID);
    assert_int_equal(record.calls, 1);
    assert_int_equal(hvtlfs_connection_signal(fixture.partition, 4, 0), HVTLFS_ERR_NOT_FOUND);
    fixture_stop(&fixture);
}

static void test_signal_sets_base_plus_flag(void **state)
{
    struct hvtlfs_connection connection = to_sint(4, HVTLFS_CONNECTION_EVENT, 1, 6);
    struct fixture fixture;

    (void)state;
    start(&fixture);
    connection.base_flag = 64;
    connection.flag_count = 2;
    expect_add(&fixture, &connection, HVTLFS_OK);
    assert_int_equal(hvti_signal_event(fixture.vp, 4, 1), HV_STATUS_SUCCESS);
    assert_int_equal(model_host_guest_read64(fixture.host, sief_gpa(1) + 6 * 256 + 8), 2);
    expect_interrupt(&fixture, 1, VECTOR + 6, false);
    assert_int_equal(hvti_signal_event(fixture.vp, 4, 2), HV_STATUS_INVALID_PARAMETER);
    assert_int_equal(hvtlfs_connection_signal(fixture.partition, 4, 0), HVTLFS_OK);
    assert_int_equal(model_host_guest_read64(fixture.host, sief_gpa(1) + 6 * 256 + 8), 3);
    expect_write(hvtlfs_partition_vp(fixture.partition, 1), HV_X64_MSR_SINT6, 0x10000);
    assert_int_equal(hvti_signal_event(fixture.vp, 4, 1), HV_STATUS_INVALID_SYNIC_STATE);
    fixture_stop(&fixture);
}

/* ---- The host's posts ---- */

static void test_host_posts_through_a_connection_by_the_guests_rules(void **state)
{
    struct hvtlfs_connection connection = to_sint(1, HVTLFS_CONNECTION_MESSAGE, 0, 3);
    struct hvtlfs_message message = {.type = 0x80000001};
    struct fixture fixture;
    uint32_t i;

    (void)state;
    start(&fixture);
    expect_add(&fixture, &connection, HVTLFS_OK);
    assert_int_equal(hvtlfs_connection_post(fixture.partition, 1, &message), HVTLFS_ERR_ARGUMENT);
    assert_int_equal(hvtlfs_connection_post(fixture.partition, 1, NULL), HVTLFS_ERR_ARGUMENT);
    assert_int_equal(hvtlfs_connection_post(NULL, 1, &message), HVTLFS_ERR_ARGUMENT);
    message.type = 1;
    assert_int_equal(hvtlfs_connection_post(fixture.partition, 2, &message), HVTLFS_ERR_NOT_FOUND);
    for (i = 0; i < 16; i++) {
        assert_int_equal(hvtlfs_connection_post(fixture.partition, 1, &message), HVTLFS_OK);
    }
    assert_int_equal(hvtlfs_connection_post(fixture.partition, 1, &message), HVTLFS_ERR_FULL);
    fixture_stop(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_connections_are_refused),
        cmocka_unit_test(test_the_last_of_every_number_is_good),
        cmocka_unit_test(test_table_is_bounded_and_rows_are_used_again),
        cmocka_unit_test(test_message_connections_take_buffers_and_give_them_back),
        cmocka_unit_test(test_timer_does_not_bring_the_messages_of_a_removed_connection),
        cmocka_unit_test(test_message_pushed_after_its_connection_went_is_dropped),
        cmocka_unit_test(test_without_synic_handlers_work_and_sints_do_not),
        cmocka_unit_test(test_guest_posts_to_a_handler),
        cmocka_unit_test(test_invalid_posts_reach_no_handler),
        cmocka_unit_test(test_post_to_oneself_arrives_before_the_next_instruction),
        cmocka_unit_test(test_port_has_16_buffers_of_its_own),
        cmocka_unit_test(test_post_to_another_vp_kicks_it),
        cmocka_unit_test(test_post_to_a_disabled_vp_is_refused),
        cmocka_unit_test(test_post_to_any_vp_finds_one_that_takes_it),
        cmocka_unit_test(test_removing_a_connection_frees_what_waits),
        cmocka_unit_test(test_connection_registered_after_a_load_has_its_messages),
        cmocka_unit_test(test_connections_share_the_messages_of_a_loaded_port),
        cmocka_unit_test(test_load_behind_the_connections_lacks_their_buffers),
        cmocka_unit_test(test_connections_survive_a_reset),
        cmocka_unit_test(test_guest_signals_a_handler_within_its_flags),
        cmocka_unit_test(test_signal_sets_base_plus_flag),
        cmocka_unit_test(test_host_posts_through_a_connection_by_the_guests_rules),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
