/* SPDX-License-Identifier: MIT */
/* TLFS 2 and the requirements document, p. 3-7: what CPUID shows. */
#include <hvtlfs/tlfs.h>

#include "discovery.h"
#include "memory.h"
#include "tests.h"

static void announces_itself(void)
{
    expect(hypervisor_present(), "CPUID.1:ECX[31] is clear");
}

static void range_reaches_leaf_5(void)
{
    uint32_t max = hv_leaf(HV_CPUID_VENDOR).eax;

    note("maximum leaf %x", max);
    expect(max >= hv_leaf_number(HV_CPUID_MAX_LEAF_AT_LEAST), "maximum leaf %x", max);
    expect(max <= hv_leaf_number(HV_CPUID_RANGE_LAST), "maximum leaf %x is out of the range", max);
}

static void vendor_is_text(void)
{
    struct cpuid leaf = hv_leaf(HV_CPUID_VENDOR);
    uint32_t words[4] = {leaf.ebx, leaf.ecx, leaf.edx, 0};
    const char *text = (const char *)words;

    for (unsigned i = 0; i < 12; i++) {
        unsigned byte = words[i / 4] >> 8 * (i % 4) & 0xFF;

        expect(byte == '\0' || (byte >= ' ' && byte <= '~'), "byte %u of it is %x", i, byte);
    }
    note("vendor \"%s\"", text);
}

static void signature_is_hv1(void)
{
    uint32_t signature = hv_leaf(HV_CPUID_INTERFACE).eax;

    expect(signature == HV_CPUID_INTERFACE_HV1, "leaf 1 EAX is %x", signature);
}

static void leaves_are_constant(void)
{
    uint32_t max = hv_leaf(HV_CPUID_VENDOR).eax;

    for (uint32_t leaf = hv_leaf_number(HV_CPUID_VENDOR); leaf <= max; leaf++) {
        struct cpuid first = cpuid(leaf, 0);
        struct cpuid second = cpuid(leaf, 0);

        expect(memcmp(&first, &second, sizeof first) == 0, "leaf %x differs when read again", leaf);
    }
}

static void minimal_privileges_are_set(void)
{
    struct cpuid leaf = hv_leaf(HV_CPUID_FEATURES);

    note("features eax %x ebx %x ecx %x edx %x", leaf.eax, leaf.ebx, leaf.ecx, leaf.edx);
    expect((leaf.eax & HV_CPUID_FEATURES_EAX_MINIMAL_SET) == HV_CPUID_FEATURES_EAX_MINIMAL_SET,
           "EAX %x lacks a bit of the minimum", leaf.eax);
}

static void privileges_of_a_parent_are_clear(void)
{
    uint32_t ebx = hv_leaf(HV_CPUID_FEATURES).ebx;

    expect((ebx & HV_CPUID_FEATURES_EBX_MINIMAL_CLEAR) == 0, "EBX %x", ebx);
}

static void no_vp_limit_excludes_flush_hints(void)
{
    uint32_t hints = hv_leaf(HV_CPUID_RECOMMENDATIONS).eax;
    uint32_t flush =
        HV_CPUID_RECOMMENDATIONS_EAX_USE_HYPERCALL_FOR_LOCAL_FLUSH |
        HV_CPUID_RECOMMENDATIONS_EAX_USE_HYPERCALL_FOR_REMOTE_FLUSH_AND_LOCAL_FLUSH_ENTIRE;

    note("hints %x, maximum of VPs %x", hints, hv_leaf(HV_CPUID_LIMITS).eax);
    if (hv_leaf(HV_CPUID_LIMITS).eax != HV_CPUID_LIMITS_EAX_NO_VP_LIMIT) {
        skip("a limit of VPs is given");
        return;
    }
    expect((hints & flush) == 0, "hints %x without a limit of VPs", hints);
}

static const struct test tests[] = {
    {"hypervisor_announces_itself", announces_itself},
    {"hypervisor_leaves_reach_0x40000005", range_reaches_leaf_5},
    {"vendor_string_is_text", vendor_is_text},
    {"interface_signature_is_hv1", signature_is_hv1},
    {"leaves_are_constant", leaves_are_constant},
    {"hypercall_msrs_and_vp_index_are_announced", minimal_privileges_are_set},
    {"privileges_of_a_parent_are_not_announced", privileges_of_a_parent_are_clear},
    {"no_vp_limit_excludes_flush_hints", no_vp_limit_excludes_flush_hints},
};

const struct topic topic_discovery = TOPIC("discovery (TLFS 2.4)", tests);
