/* SPDX-License-Identifier: MIT */
/*
 * CPUID: somebody's dump, as leaves and as text, and the leaves of any identity.
 *
 * Every dump gets a verdict; what an identity shows does not depend on the subleaf, says its own
 * maximum, and is judged by the same rules as the identity itself.
 */
#include <string.h>

#include <hvtlfs/check.h>
#include <hvtlfs/cpuid.h>

#include "host.h"
#include "input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MOST_LEAVES 64u

static void found(void *context, const struct hvtlfs_finding *finding)
{
    struct hvtlfs_check_result *sum = context;
    char text[64];

    sum->notes += finding->severity == HVTLFS_SEVERITY_NOTE;
    sum->warnings += finding->severity == HVTLFS_SEVERITY_WARNING;
    sum->errors += finding->severity == HVTLFS_SEVERITY_ERROR;
    CLAIM(finding->code && finding->sentence && finding->guests && finding->guests <= 7);
    CLAIM(hvtlfs_finding_text(finding, text, sizeof(text)) > 0 && strlen(text) < sizeof(text));
}

static void judge(const struct hvtlfs_cpuid_leaf_entry *leaves, size_t count, uint32_t guests)
{
    struct hvtlfs_check_result sum = {0, 0, 0};
    const struct hvtlfs_check_result result =
        hvtlfs_check_leaves(leaves, count, guests, found, &sum);

    CLAIM(sum.notes == result.notes && sum.warnings == result.warnings &&
          sum.errors == result.errors);
}

static void any_dump(struct input *input)
{
    struct hvtlfs_cpuid_leaf_entry leaves[MOST_LEAVES];
    const uint32_t guests = input_byte(input);
    size_t count = 0;

    while (count < MOST_LEAVES && input_left(input)) {
        const uint8_t leaf = input_byte(input);

        leaves[count++] = (struct hvtlfs_cpuid_leaf_entry){
            .leaf = leaf < 0x80 ? 0x40000000u + leaf : (uint32_t)input_number(input),
            .subleaf = leaf & 1 ? 0 : (uint32_t)(leaf >> 6),
            .regs = {(uint32_t)input_number(input), (uint32_t)input_number(input),
                     (uint32_t)input_number(input), (uint32_t)input_number(input)}};
    }
    judge(leaves, count, guests);
}

static void any_identity(struct input *input)
{
    struct hvtlfs_cpuid_identity identity = {
        .features = {{input_bytes(input, 8), input_byte(input)}},
        .cpuid_base = 0x40000000u + (input_byte(input) & 15u) * 0x100u,
        .version = {(uint32_t)input_number(input)},
        .spin_count = (uint32_t)input_number(input),
        .max_vps = (uint32_t)input_number(input),
        .hardware_features = (uint32_t)input_number(input)};
    struct hvtlfs_cpuid_leaf_entry leaves[32];
    const uint32_t most = hvtlfs_cpuid_max_leaf(&identity);
    size_t count = 0;

    for (unsigned i = 0; i < sizeof(identity.vendor); i++) {
        identity.vendor[i] = (char)input_byte(input);
    }
    CLAIM(most >= identity.cpuid_base + 5 && most < identity.cpuid_base + 32);
    for (uint32_t leaf = identity.cpuid_base; leaf <= most; leaf++) {
        leaves[count].leaf = leaf;
        leaves[count].subleaf = 0;
        CLAIM(hvtlfs_cpuid_leaf(&identity, leaf, &leaves[count].regs));
        count++;
    }
    CLAIM(leaves[0].regs.eax == most);
    judge(leaves, count, HVTLFS_GUEST_ALL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};

    if (input_byte(&input) & 1) {
        any_identity(&input);
    } else {
        any_dump(&input);
    }
    return 0;
}
