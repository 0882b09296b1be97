/* SPDX-License-Identifier: MIT */
/* What CPUID says about the hypervisor (TLFS 2). */
#ifndef HVTLFS_GUEST_DISCOVERY_H
#define HVTLFS_GUEST_DISCOVERY_H

#include <stdbool.h>
#include <stdint.h>

#include "cpu.h"

/* CPUID.1:ECX[31] (TLFS 2.2). */
bool hypervisor_present(void);

/* Look for Hv#1 at 0x40000000 and, as hypervisors with several interfaces do, in steps of 0x100 above
 * it. Returns false if it is nowhere; then the leaves are those at 0x40000000. */
bool hv_find(void);

/* A leaf given by its number at 0x40000000: where it really is, and what it holds. */
uint32_t hv_leaf_number(uint32_t leaf);
struct cpuid hv_leaf(uint32_t leaf);

/* Whether leaf 3 announces all of these bits. */
bool hv_has_eax(uint32_t bits);
bool hv_has_edx(uint32_t bits);

#endif
