/* SPDX-License-Identifier: MIT */
/* A partition with a SynIC, seen by its guest: pages enabled, slots and flags read and cleared. */
#ifndef SYNIC_FIXTURE_H
#define SYNIC_FIXTURE_H

#include "fixture.h"

#include <hvtlfs/synic.h>

#define SIM_GPA UINT64_C(0x10000)
#define SIEF_GPA UINT64_C(0x20000)
#define VECTOR 0x50u /* SINT n of a test uses VECTOR + n */

static inline uint64_t sim_gpa(uint32_t vp_index)
{
    return SIM_GPA + vp_index * UINT64_C(0x1000);
}

static inline uint64_t sief_gpa(uint32_t vp_index)
{
    return SIEF_GPA + vp_index * UINT64_C(0x1000);
}

/* SCONTROL, both pages, and all SINTs unmasked with vectors of their own. */
static inline void synic_enable(struct hvtlfs_vp *vp)
{
    uint32_t index = hvtlfs_vp_index(vp);
    uint32_t sint;

    expect_write(vp, HV_X64_MSR_SCONTROL, 1);
    expect_write(vp, HV_X64_MSR_SIMP, sim_gpa(index) | 1);
    expect_write(vp, HV_X64_MSR_SIEFP, sief_gpa(index) | 1);
    for (sint = 0; sint < 16; sint++) {
        expect_write(vp, HV_X64_MSR_SINT0 + sint, VECTOR + sint);
    }
}

static inline void synic_prepare(struct fixture *fixture, bool copies, const char *features)
{
    fixture_prepare(fixture);
    fixture->options.copies_overlays = copies;
    fixture->features = features;
}

#define SYNIC_FEATURES "synic,vpindex,time-ref-count,stimer,stimer-direct,sint-polling"

static inline void synic_start(struct fixture *fixture, bool copies)
{
    synic_prepare(fixture, copies, SYNIC_FEATURES);
    fixture_start(fixture);
    synic_enable(fixture->vp);
}

/* The header in numbers, the payload as the guest has it. */
static inline struct hv_message guest_message(struct fixture *fixture, uint32_t vp_index,
                                              uint32_t sint)
{
    struct hv_message message;

    assert_int_equal(model_host_guest_read(fixture->host, sim_gpa(vp_index) + sint * 256, &message,
                                           sizeof(message)),
                     MODEL_ACCESS_OK);
    message.header.message_type = model_le32(message.header.message_type);
    message.header.origination_id = model_le64(message.header.origination_id);
    return message;
}

/* TLFS 11.10.4: the guest empties the slot by its type. Returns MessagePending, read after that. */
static inline bool guest_empties_slot(struct fixture *fixture, uint32_t vp_index, uint32_t sint)
{
    uint32_t none = 0;

    assert_int_equal(
        model_host_guest_write(fixture->host, sim_gpa(vp_index) + sint * 256, &none, sizeof(none)),
        MODEL_ACCESS_OK);
    return guest_message(fixture, vp_index, sint).header.message_flags &
           HV_MESSAGE_FLAGS_MESSAGE_PENDING;
}

/* Post `number` as type and payload. */
static inline enum hvtlfs_status post_number(struct hvtlfs_vp *vp, uint32_t sint, uint32_t number)
{
    const struct hvtlfs_message message = {
        .type = number, .size = sizeof(number), .payload = &number};

    return hvtlfs_synic_post_message(vp, sint, &message);
}

static inline void expect_slot(struct fixture *fixture, uint32_t vp_index, uint32_t sint,
                               uint32_t number)
{
    struct hv_message message = guest_message(fixture, vp_index, sint);

    assert_int_equal(message.header.message_type, number);
    if (number) {
        assert_int_equal(message.header.payload_size, sizeof(number));
        assert_memory_equal(message.payload, &number, sizeof(number));
    }
}

static inline void expect_interrupt(struct fixture *fixture, uint32_t vp_index, uint32_t vector,
                                    bool auto_eoi)
{
    struct hvtlfs_interrupt interrupt;

    assert_true(model_host_take_interrupt(fixture->host, vp_index, &interrupt));
    assert_int_equal(interrupt.vector, vector);
    assert_int_equal(interrupt.auto_eoi, auto_eoi);
    assert_false(interrupt.nmi);
}

static inline void expect_no_interrupt(struct fixture *fixture, uint32_t vp_index)
{
    assert_int_equal(model_host_interrupt_count(fixture->host, vp_index), 0);
}

#endif
