/* SPDX-License-Identifier: MIT */
#include "setup.h"

#include <string.h>

#include <hvtlfs/state.h>
#include <hvtlfs/time.h>
#include <hvtlfs/tlfs.h>

#define STATE_MOST (1u << 20)

static uint8_t state[STATE_MOST];
static unsigned place;

struct hvtlfs_features setup_all_features(void)
{
    struct hvtlfs_features features = {{0}};

    for (unsigned f = 0; f < HVTLFS_FEATURE_COUNT; f++) {
        hvtlfs_features_add(&features, (enum hvtlfs_feature)f);
        if (hvtlfs_features_check(&features, NULL) == HVTLFS_ERR_FEATURE_CONFLICT) {
            hvtlfs_features_remove(&features, (enum hvtlfs_feature)f);
        }
    }
    return features;
}

/* A mask of what to leave out: 0, the easiest to guess, is everything. */
static void choose_features(struct hvtlfs_config *config, struct input *input)
{
    const uint64_t without = input_bytes(input, 8);

    config->features = setup_all_features();
    config->features.word[0] &= ~without;
    hvtlfs_features_add(&config->features, HVTLFS_FEATURE_HYPERCALL);
    hvtlfs_features_complete(&config->features);
    config->spin_count = 0xFFF;
}

static void choose_host(struct hvtlfs_config *config, uint8_t how)
{
    fuzz_host.copies_overlays = how & 1;
    fuzz_host.calls_back = how & 2;
    fuzz_host.queues_flushes = how & 4;
    config->invariant_tsc = !(how & 8);
    config->policy = how & 16 ? 7u : 0;
    if (how & 32) {
        fuzz_host.tsc_hz = 9999999; /* too slow for a page */
    }
    config->trap = how & 64 ? HVTLFS_TRAP_NONE : HVTLFS_TRAP_VMCALL;
    config->hypercall_reps = how & 128 ? 1 : 64;
}

static void choose_vps(struct setup *setup, uint8_t how)
{
    setup->config.vp_count = 1 + how % SETUP_VPS;
    for (uint32_t i = 0; i < SETUP_VPS; i++) {
        setup->vps[i] = (struct hvtlfs_vp_config){i, how & 128 ? 0x40 - i : i};
    }
    setup->config.vps = setup->vps;
    setup->config.gpa_bits = how & 64 ? 52 : 36;
}

void setup_find_vps(struct setup *setup)
{
    for (uint32_t i = 0; i < SETUP_VPS; i++) {
        setup->vp[i] = hvtlfs_partition_vp(setup->partition, i);
        CLAIM((setup->vp[i] != NULL) == (i < setup->config.vp_count));
    }
}

void setup_begin(struct setup *setup, struct input *input)
{
    const uint8_t how_host = input_byte(input), how_vps = input_byte(input);

    host_begin();
    hvtlfs_config_init(&setup->config);
    choose_host(&setup->config, how_host);
    choose_vps(setup, how_vps);
    choose_features(&setup->config, input);
    setup->config.apic_hz = 200000000;
    setup->config.message_buffers = 160; /* few: they are cleared each time */
    host_configure(&setup->config);
    setup->partition = host_try_partition(&setup->config, place);
    if (setup->partition) {
        setup_find_vps(setup);
    }
}

static void connect(struct setup *setup, uint32_t id, enum hvtlfs_connection_type type,
                    uint32_t vp_index)
{
    struct hvtlfs_connection connection = {.size = sizeof(connection),
                                           .connection_id = id,
                                           .type = type,
                                           .port_id = 0x100 + id,
                                           .context = &fuzz_host,
                                           .vp_index = vp_index,
                                           .sint = id,
                                           .base_flag = 100,
                                           .flag_count = 50};

    if (id == 1) {
        connection.post = host_post;
    } else if (id == 4) {
        connection.signal = host_signal;
    }
    CLAIM(hvtlfs_connection_add(setup->partition, &connection) <= HVTLFS_ERR_EXISTS);
}

void setup_connections(struct setup *setup)
{
    connect(setup, 1, HVTLFS_CONNECTION_MESSAGE, 0);
    connect(setup, 2, HVTLFS_CONNECTION_MESSAGE, 0);
    connect(setup, 3, HVTLFS_CONNECTION_EVENT, setup->config.vp_count - 1);
    connect(setup, 4, HVTLFS_CONNECTION_EVENT, 0);
    connect(setup, 5, HVTLFS_CONNECTION_MESSAGE, HVTLFS_NO_VP);
}

void setup_move(struct setup *setup)
{
    size_t size;

    (void)hvtlfs_freeze(setup->partition); /* it may be frozen already */
    CLAIM(!hvtlfs_state_save(setup->partition, state, sizeof(state), &size, NULL));
    host_drop_overlays();
    setup->partition = host_partition(&setup->config, ++place);
    setup_find_vps(setup);
    CLAIM(!hvtlfs_state_load(setup->partition, state, size, NULL));
    setup_connections(setup);
}

void setup_end(struct setup *setup)
{
    hvtlfs_partition_reset(setup->partition);
    CLAIM(!fuzz_host.overlay_count && !fuzz_host.locked);
}
