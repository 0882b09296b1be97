/* SPDX-License-Identifier: MIT */
/*
 * What stands behind the synthetic debug MSRs of a host for tests: nobody. The registers hold what is
 * written; the specification names them and says no more (TLFS 5.0C App. F).
 */
#ifndef GUEST_HOST_DEBUGGER_H
#define GUEST_HOST_DEBUGGER_H

#include <stdbool.h>
#include <stdint.h>

enum { DEBUGGER_FIRST = 0x400000F1, DEBUGGER_COUNT = 5 };

struct debugger {
    uint64_t registers[DEBUGGER_COUNT];
};

/* False, the guest's #GP, for a number that is none of the five. Any thread. */
bool debugger_read(const struct debugger *debugger, uint32_t number, uint64_t *value);
bool debugger_write(struct debugger *debugger, uint32_t number, uint64_t value);

#endif
