/* SPDX-License-Identifier: MIT */
#include "guard.h"

#include "cpu.h"
#include "vp.h"

struct msr_access {
    uint32_t number;
    uint64_t value;
};

struct store {
    volatile uint8_t *address;
    uint8_t value;
};

static void do_read(void *argument)
{
    struct msr_access *access = argument;

    access->value = rdmsr(access->number);
}

static void do_write(void *argument)
{
    const struct msr_access *access = argument;

    wrmsr(access->number, access->value);
}

static void do_store(void *argument)
{
    const struct store *store = argument;

    *store->address = store->value;
}

bool msr_read(uint32_t number, uint64_t *value)
{
    struct msr_access access = {number, 0};

    if (!guard_run(do_read, &access)) {
        return false;
    }
    *value = access.value;
    return true;
}

bool msr_write(uint32_t number, uint64_t value)
{
    struct msr_access access = {number, value};

    return guard_run(do_write, &access);
}

bool store8(volatile uint8_t *address, uint8_t value)
{
    struct store store = {address, value};

    return guard_run(do_store, &store);
}

bool msr_read_gp(uint32_t number)
{
    uint64_t value;

    return !msr_read(number, &value) && this_vp()->fault.vector == VECTOR_GP;
}

bool msr_write_gp(uint32_t number, uint64_t value)
{
    return !msr_write(number, value) && this_vp()->fault.vector == VECTOR_GP;
}
