/* SPDX-License-Identifier: MIT */
/* Accesses that may fault. What happened is in this_vp()->fault when they return false. */
#ifndef HVTLFS_GUEST_GUARD_H
#define HVTLFS_GUEST_GUARD_H

#include <stdbool.h>
#include <stdint.h>

enum { VECTOR_UD = 6, VECTOR_GP = 13, VECTOR_PF = 14, VECTOR_MC = 18 };

bool msr_read(uint32_t number, uint64_t *value);
bool msr_write(uint32_t number, uint64_t value);
bool store8(volatile uint8_t *address, uint8_t value);

/* As above, and the fault was #GP. */
bool msr_read_gp(uint32_t number);
bool msr_write_gp(uint32_t number, uint64_t value);

#endif
