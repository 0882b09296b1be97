/* SPDX-License-Identifier: MIT */
/* A hypercall between the decoder (hypercall.c) and the handlers. */
#ifndef HVTI_CALL_H
#define HVTI_CALL_H

#include <hvtlfs/host.h>

#include "util.h"

struct hvtlfs_vp;
struct hvtlfs_vp_set;

/*
 * The largest blocks: HvCallRetargetDeviceInterrupt's header with a whole HV_VP_SET, and the list
 * elements that are at hand at once. Together they stay below a kilobyte of stack.
 */
#define HVTI_CALL_HEADER_MAX 576u
#define HVTI_CALL_IN_MAX 96u
#define HVTI_CALL_OUT_MAX 64u

/* TLFS 3.7.2: RDX, R8 and XMM0 to XMM5. */
#define HVTI_FAST_MAX 112u

/*
 * What a handler gets. A simple call has one header and one output block. A rep call is handled
 * some elements at a time; the handler says in `done` how many succeeded before an error, and on
 * success it has done them all.
 */
struct hvti_call {
    struct hvtlfs_vp *vp;
    const uint64_t *header;   /* fixed and variable part, copied once; qwords of our own order */
    void *elements;           /* `count` of them, copied once, the guest's bytes; 8-byte aligned only
                                 if their size is; NULL in a simple call */
    void *output;             /* the block, or an element for each of `elements`, as the guest's bytes;
                                 NULL or without meaning where there is none */
    uint32_t variable_qwords; /* of the header */
    uint32_t reps;            /* elements in the guest's list, those done before included */
    uint32_t first;           /* index of the first element at hand */
    uint32_t count;           /* elements at hand */
    uint32_t done;            /* out, on error: how many of them succeeded */
    uint64_t output_gpa;      /* for hvti_call_write() */
    bool unwritable;          /* hvti_call_write() failed: the status does not matter */
    bool covered;             /* the handler's: what it did covers the elements still to come */

    /* Rep call, set by the handler or NULL: what is to be done once when the caller gets back to its
       guest, however far the list has got. The header is still there. */
    void (*after)(struct hvti_call *call);
};

/*
 * Write part of an output block that is too large for `output`, as the guest's bytes. The block has been placed by the
 * decoder. After a failure the handler returns at once, with any status.
 */
bool hvti_call_write(struct hvti_call *call, uint32_t offset, const void *data, uint32_t size);

/* TLFS 15.15.1, HV_INPUT_VTL: VTL 0 is the only one, named or not. */
static inline bool hvti_vtl_is_0(uint8_t input_vtl)
{
    return (input_vtl & ~0x10u) == 0;
}

/* Whom a call is for, and how many they are. */
struct hvti_targets {
    const struct hvtlfs_vp_set *set;
    uint32_t count;
};

/* All VPs. */
struct hvti_targets hvti_call_all(const struct hvti_call *call);

/* The present VPs of a ProcessorMask. The set is made in `room` if one has to be made. */
struct hvti_targets hvti_call_vp_mask(const struct hvti_call *call, uint64_t mask,
                                      struct hvtlfs_vp_set *room);

/* The present VPs of an HV_VP_SET at `set` with `banks` bank contents; no set (NULL) if it is malformed. */
struct hvti_targets hvti_call_vp_set(const struct hvti_call *call, const uint64_t *set,
                                     uint32_t banks, struct hvtlfs_vp_set *room);

#endif
