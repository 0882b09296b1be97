/* SPDX-License-Identifier: MIT */
/* The topics of the conformance guest. A new one is a file, a line here and a line in conformance.c. */
#ifndef HVTLFS_GUEST_TESTS_H
#define HVTLFS_GUEST_TESTS_H

#include "tap.h"

extern const struct topic topic_discovery;
extern const struct topic topic_identity;
extern const struct topic topic_page;
extern const struct topic topic_msr;
extern const struct topic topic_hypercall;
extern const struct topic topic_calls;
extern const struct topic topic_vps;
extern const struct topic topic_vapic;
extern const struct topic topic_requests;
extern const struct topic topic_synic;
extern const struct topic topic_stimer;
extern const struct topic topic_time;
extern const struct topic topic_lock;
extern const struct topic topic_survey;
extern const struct topic topic_bench;

#endif
