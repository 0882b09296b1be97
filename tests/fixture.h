/* SPDX-License-Identifier: MIT */
/* A model host with a partition on it: what most tests start from. */
#ifndef FIXTURE_H
#define FIXTURE_H

/* cmocka.h wants these four before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include <hvtlfs/cpuid.h>
#include <hvtlfs/hypercall.h>
#include <hvtlfs/msr.h>
#include <hvtlfs/partition.h>
#include <hvtlfs/tlfs.h>

#include "model_host.h"

#define LINUX_ID UINT64_C(0x8100000601B00000)

struct fixture {
    struct model_host_options options;            /* change before fixture_start */
    struct hvtlfs_config config;                  /* likewise; ops are set by fixture_start */
    const char *features;                         /* added to the minimal ones */
    void (*adjust)(struct hvtlfs_config *config); /* last word on the configuration, or NULL */
    struct model_host *host;
    void *memory;
    size_t size;
    struct hvtlfs_partition *partition;
    struct hvtlfs_vp *vp; /* the VP with index 0, or NULL */
};

static inline void fixture_prepare(struct fixture *fixture)
{
    memset(fixture, 0, sizeof(*fixture));
    model_host_options_init(&fixture->options);
    hvtlfs_config_init(&fixture->config);
    fixture->config.trap = HVTLFS_TRAP_VMCALL;
    fixture->config.vp_count = 2;
}

/*
 * Whatever was in the memory before, and behind it, where a VP too many would lie: no VP to be found
 * there, and nothing to be written.
 */
#define FIXTURE_BEYOND ((size_t)2 * HVTLFS_PAGE_SIZE)
#define FIXTURE_RUBBISH 0xA5

static inline void *fixture_allocate(size_t size)
{
    const size_t whole =
        (size + FIXTURE_BEYOND + HVTLFS_PAGE_SIZE - 1) & ~(size_t)(HVTLFS_PAGE_SIZE - 1);
    void *memory = aligned_alloc(HVTLFS_PARTITION_ALIGNMENT, whole);

    assert_non_null(memory);
    return memset(memory, FIXTURE_RUBBISH, whole);
}

static inline void fixture_expect_nothing_beyond(const struct fixture *fixture)
{
    const unsigned char *beyond = (const unsigned char *)fixture->memory + fixture->size;
    size_t i;

    for (i = 0; i < FIXTURE_BEYOND; i++) {
        if (beyond[i] != FIXTURE_RUBBISH) {
            fail_msg("the partition wrote %zu bytes behind its memory", i);
        }
    }
}

static inline void fixture_start(struct fixture *fixture)
{
    struct hvtlfs_feature_list list;
    const char *features = fixture->features ? fixture->features : "";

    hvtlfs_feature_list_minimal(&list);
    assert_int_equal(hvtlfs_features_parse(&list, features, strlen(features), NULL), HVTLFS_OK);
    fixture->config.features = list.features;
    fixture->config.spin_count = list.spin_count;
    fixture->host = model_host_create(&fixture->options);
    assert_non_null(fixture->host);
    model_host_configure(fixture->host, &fixture->config);
    if (fixture->adjust) {
        fixture->adjust(&fixture->config);
    }
    assert_int_equal(hvtlfs_partition_size(&fixture->config, &fixture->size, NULL), HVTLFS_OK);
    fixture->memory = fixture_allocate(fixture->size);
    assert_int_equal(hvtlfs_partition_init(fixture->memory, fixture->size, &fixture->config,
                                           &fixture->partition, NULL),
                     HVTLFS_OK);
    fixture->vp = hvtlfs_partition_vp(fixture->partition, 0);
}

/* The library kept the contract of every callback all along. */
static inline void fixture_stop(struct fixture *fixture)
{
    if (model_host_violations(fixture->host)) {
        fail_msg("contract broken: %s", model_host_first_violation(fixture->host));
    }
    fixture_expect_nothing_beyond(fixture);
    model_host_destroy(fixture->host);
    free(fixture->memory);
}

/* What an error says beside its name: the number that was wrong and the one that goes with it, else 0. */
static inline void expect_numbers(const struct hvtlfs_error *error, uint64_t value, uint64_t limit)
{
    assert_int_equal(error->value, value);
    assert_int_equal(error->limit, limit);
}

static inline void expect_read(struct hvtlfs_vp *vp, uint32_t msr, uint64_t expected)
{
    uint64_t value = ~expected;

    assert_int_equal(hvtlfs_msr_read(vp, msr, &value), HVTLFS_MSR_DONE);
    assert_int_equal(value, expected);
}

static inline void expect_read_fault(struct hvtlfs_vp *vp, uint32_t msr)
{
    uint64_t value = 0x1234;

    assert_int_equal(hvtlfs_msr_read(vp, msr, &value), HVTLFS_MSR_FAULT);
    assert_int_equal(value, 0x1234);
}

static inline void expect_write(struct hvtlfs_vp *vp, uint32_t msr, uint64_t value)
{
    assert_int_equal(hvtlfs_msr_write(vp, msr, value), HVTLFS_MSR_DONE);
}

static inline void expect_write_fault(struct hvtlfs_vp *vp, uint32_t msr, uint64_t value)
{
    assert_int_equal(hvtlfs_msr_write(vp, msr, value), HVTLFS_MSR_FAULT);
}

#endif
