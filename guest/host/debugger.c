/* SPDX-License-Identifier: MIT */
#include "debugger.h"

bool debugger_read(const struct debugger *debugger, uint32_t number, uint64_t *value)
{
    if (number - DEBUGGER_FIRST >= DEBUGGER_COUNT) {
        return false;
    }
    *value = __atomic_load_n(&debugger->registers[number - DEBUGGER_FIRST], __ATOMIC_RELAXED);
    return true;
}

bool debugger_write(struct debugger *debugger, uint32_t number, uint64_t value)
{
    if (number - DEBUGGER_FIRST >= DEBUGGER_COUNT) {
        return false;
    }
    __atomic_store_n(&debugger->registers[number - DEBUGGER_FIRST], value, __ATOMIC_RELAXED);
    return true;
}
