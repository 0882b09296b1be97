/* SPDX-License-Identifier: MIT */
/* The ACPI PM timer that the guest's hosts emulate. */
#ifndef HVTLFS_GUEST_HOST_PM_TIMER_H
#define HVTLFS_GUEST_HOST_PM_TIMER_H

#include <stdint.h>

#define PM_TIMER_HZ UINT64_C(3579545)

/* What it shows at a TSC, in 32 bits. No product here exceeds 64 bits below 2^40 Hz. */
static inline uint32_t pm_timer(uint64_t tsc, uint64_t tsc_hz)
{
    return (uint32_t)(tsc / tsc_hz * PM_TIMER_HZ + tsc % tsc_hz * PM_TIMER_HZ / tsc_hz);
}

#endif
