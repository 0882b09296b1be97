/* SPDX-License-Identifier: MIT */
/* hvtlfs cpuid: the leaves a guest sees with a set of features. */
#include <inttypes.h>
#include <stdio.h>

#include <hvtlfs/cpuid.h>

#include "fields.h"
#include "model_host.h"
#include "text.h"
#include "tool.h"

#define FIRST_LEAF UINT32_C(0x40000000)

static void print_leaf(struct sheet *sheet, uint32_t leaf, const struct hvtlfs_cpuid_regs *regs)
{
    const uint32_t values[4] = {regs->eax, regs->ebx, regs->ecx, regs->edx};
    sheet_begin(sheet);
    sheet_heading(sheet,
                  "0x%08" PRIx32 "  eax=0x%08" PRIx32 " ebx=0x%08" PRIx32 " ecx=0x%08" PRIx32
                  " edx=0x%08" PRIx32,
                  leaf, values[0], values[1], values[2], values[3]);
    sheet_value(sheet, "leaf", leaf);
    for (unsigned reg = 0; reg < 4; reg++) {
        sheet_value(sheet, cpuid_register_name(reg), values[reg]);
    }
    for (unsigned reg = 0; reg < 4; reg++) {
        (void)cpuid_fields_add(sheet, leaf, reg, values[reg]);
    }
    sheet_end(sheet);
}

/* TLFS 2.2: leaf 1 ECX bit 31 is the only thing a hypervisor adds to the processor's own leaves. */
static void print_all(struct hvtlfs_vp *vp, struct sheet *sheet)
{
    struct hvtlfs_cpuid_regs regs = {0};
    (void)hvtlfs_cpuid(vp, 1, 0, &regs);
    print_leaf(sheet, 1, &regs);
    (void)hvtlfs_cpuid(vp, FIRST_LEAF, 0, &regs);
    uint32_t max = regs.eax;
    for (uint32_t leaf = FIRST_LEAF; leaf <= max; leaf++) {
        regs = (struct hvtlfs_cpuid_regs){0};
        (void)hvtlfs_cpuid(vp, leaf, 0, &regs);
        print_leaf(sheet, leaf, &regs);
    }
}

static int show(const struct tool_verb *verb, struct hvtlfs_config *config, struct sheet *sheet)
{
    struct model_host_options options;
    struct hvtlfs_partition *partition;
    struct hvtlfs_error error = {0};
    char sentence[400];
    model_host_options_init(&options);
    struct model_host *host = model_host_create(&options);
    if (host == NULL) {
        return tool_error(verb, "out of memory");
    }
    model_host_configure(host, config);
    config->invariant_tsc = true;
    config->apic_hz = config->tsc_hz;
    int status = TOOL_OK;
    if (model_host_partition(host, config, &partition, &error) != HVTLFS_OK) {
        (void)hvtlfs_error_text(&error, sentence, sizeof(sentence));
        status = tool_error(verb, "%s", sentence);
    } else {
        print_all(hvtlfs_partition_vp(partition, 0), sheet);
        tool_print_missing("hvtlfs cpuid", partition, &config->features);
    }
    model_host_destroy(host);
    return status;
}

/* The profile, then the features that add to it. */
static int read_features(const struct tool_verb *verb, const char *profile, const char *features,
                         struct hvtlfs_config *config)
{
    struct text message = {0};
    struct hvtlfs_feature_list list;
    int status = TOOL_OK;
    if (!tool_profile(profile, config, &message)) {
        status = tool_error(verb, "%s", text_string(&message));
    }
    list = (struct hvtlfs_feature_list){config->features, config->spin_count};
    if (status == TOOL_OK && features != NULL && !tool_features(features, &list, &message)) {
        status = tool_error(verb, "%s; 'hvtlfs features' lists the names", text_string(&message));
    }
    config->features = list.features;
    config->spin_count = list.spin_count;
    text_free(&message);
    return status;
}

int verb_cpuid(const struct tool_verb *verb, int argc, char **argv)
{
    struct sheet sheet = {0};
    const char *features = NULL;
    const char *profile = NULL;
    int status;
    const struct tool_option options[] = {
        {"--features", "LIST", "features to add to the profile", NULL, &features},
        {"--profile", "NAME", "where to start; default minimal", NULL, &profile},
        {"--set", NULL, "only fields that are not 0", &sheet.only_set, NULL},
        {"--json", NULL, "one JSON object a leaf", &sheet.as_json, NULL},
    };
    if (!tool_options(verb, options, 4, &argc, argv, &status)) {
        return status;
    }
    if (argc > 0) {
        return tool_error(verb, "unexpected argument '%s'; 'hvtlfs decode cpuid' decodes values",
                          argv[0]);
    }
    struct hvtlfs_config config;
    hvtlfs_config_init(&config);
    status = read_features(verb, profile, features, &config);
    if (status == TOOL_OK) {
        status = show(verb, &config, &sheet);
    }
    sheet_free(&sheet);
    return status;
}
