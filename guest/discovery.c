/* SPDX-License-Identifier: MIT */
#include "discovery.h"

#include <hvtlfs/tlfs.h>

enum { BASE_STEP = 0x100, BASE_LAST = 0x4000FF00 };

static uint32_t base = HV_CPUID_RANGE_FIRST;

bool hypervisor_present(void)
{
    return (cpuid(HV_CPUID_PROCESSOR, 0).ecx & HV_CPUID_PROCESSOR_ECX_HYPERVISOR_PRESENT) != 0;
}

bool hv_find(void)
{
    for (uint32_t at = HV_CPUID_RANGE_FIRST; at <= BASE_LAST; at += BASE_STEP) {
        struct cpuid first = cpuid(at, 0);

        if (first.eax < at || first.eax - at >= BASE_STEP) {
            break;
        }
        if (cpuid(at + 1, 0).eax == HV_CPUID_INTERFACE_HV1) {
            base = at;
            return true;
        }
    }
    return false;
}

uint32_t hv_leaf_number(uint32_t leaf)
{
    return leaf - HV_CPUID_RANGE_FIRST + base;
}

struct cpuid hv_leaf(uint32_t leaf)
{
    return cpuid(hv_leaf_number(leaf), 0);
}

bool hv_has_eax(uint32_t bits)
{
    return (hv_leaf(HV_CPUID_FEATURES).eax & bits) == bits;
}

bool hv_has_edx(uint32_t bits)
{
    return (hv_leaf(HV_CPUID_FEATURES).edx & bits) == bits;
}
