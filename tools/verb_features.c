/* SPDX-License-Identifier: MIT */
/* hvtlfs features: what may stand in a feature list, and what each profile makes of it. */
#include <stdio.h>
#include <string.h>

#include <hvtlfs/profiles.h>

#include "fields.h"
#include "text.h"
#include "tool.h"

/* ---- JSON ---- */

static void add_needs(struct json *json, enum hvtlfs_feature feature)
{
    struct hvtlfs_features needs = hvtlfs_feature_needs(feature);
    const char *reason;
    json_open(json, "needs", '[');
    for (int i = 0; i < HVTLFS_FEATURE_COUNT; i++) {
        if (hvtlfs_features_has(&needs, (enum hvtlfs_feature)i)) {
            json_string(json, NULL, hvtlfs_feature_name((enum hvtlfs_feature)i));
        }
    }
    json_close(json, ']');
    json_open(json, "off_if", '[');
    for (size_t i = 0; (reason = hvtlfs_feature_host_need(feature, i)) != NULL; i++) {
        json_string(json, NULL, reason);
    }
    json_close(json, ']');
}

static void add_bits(struct json *json, enum hvtlfs_feature feature)
{
    struct hvtlfs_cpuid_bit bit;
    json_open(json, "cpuid", '[');
    for (size_t i = 0; hvtlfs_feature_cpuid_bit(feature, i, &bit); i++) {
        json_open(json, NULL, '{');
        json_wide(json, "leaf", bit.leaf);
        json_string(json, "register", cpuid_register_name(bit.reg));
        json_number(json, "bit", bit.bit);
        json_close(json, '}');
    }
    json_close(json, ']');
}

static void add_feature(struct json *json, enum hvtlfs_feature feature)
{
    json_open(json, NULL, '{');
    json_string(json, "name", hvtlfs_feature_name(feature));
    json_string(json, "summary", hvtlfs_feature_summary(feature));
    json_string(json, "clause", hvtlfs_feature_clause(feature));
    add_needs(json, feature);
    add_bits(json, feature);
    json_close(json, '}');
}

static const char *kind_name(enum hvtlfs_profile_kind kind)
{
    static const char *const names[] = {[HVTLFS_PROFILE_GIVES] = "gives",
                                        [HVTLFS_PROFILE_LEAVES] = "leaves",
                                        [HVTLFS_PROFILE_SETS] = "sets"};
    return names[kind];
}

static void add_row(struct json *json, const struct hvtlfs_profile_decision *row)
{
    json_open(json, NULL, '{');
    json_string(json, "kind", kind_name(row->kind));
    json_string(json, "name", row->name);
    if (row->value != NULL) {
        json_string(json, "value", row->value);
    }
    json_string(json, "reason", row->reason);
    json_string(json, "source", row->source);
    json_close(json, '}');
}

static void add_profile(struct json *json, enum hvtlfs_profile profile)
{
    struct hvtlfs_profile_decision row;
    json_open(json, NULL, '{');
    json_string(json, "name", hvtlfs_profile_name(profile));
    json_string(json, "summary", hvtlfs_profile_summary(profile));
    json_open(json, "rows", '[');
    for (size_t i = 0; hvtlfs_profile_row(profile, i, &row); i++) {
        add_row(json, &row);
    }
    json_close(json, ']');
    json_close(json, '}');
}

static void print_json(void)
{
    struct json json = {0};
    json_clear(&json);
    json_open(&json, NULL, '{');
    json_open(&json, "features", '[');
    for (int i = 0; i < HVTLFS_FEATURE_COUNT; i++) {
        add_feature(&json, (enum hvtlfs_feature)i);
    }
    json_close(&json, ']');
    json_open(&json, "profiles", '[');
    for (int i = 0; i < HVTLFS_PROFILE_COUNT; i++) {
        add_profile(&json, (enum hvtlfs_profile)i);
    }
    json_close(&json, ']');
    json_close(&json, '}');
    json_print(&json);
    text_free(&json.text);
}

/* ---- Text ---- */

static void print_text(void)
{
    for (int i = 0; i < HVTLFS_FEATURE_COUNT; i++) {
        printf("%-24s%s\n", hvtlfs_feature_name((enum hvtlfs_feature)i),
               hvtlfs_feature_summary((enum hvtlfs_feature)i));
    }
    printf("\nProfiles ('hvtlfs features PROFILE' gives the reasons):\n\n");
    for (int i = 0; i < HVTLFS_PROFILE_COUNT; i++) {
        printf("%-24s%s\n", hvtlfs_profile_name((enum hvtlfs_profile)i),
               hvtlfs_profile_summary((enum hvtlfs_profile)i));
    }
}

static void print_rows(enum hvtlfs_profile profile, enum hvtlfs_profile_kind kind)
{
    struct hvtlfs_profile_decision row;
    for (size_t i = 0; hvtlfs_profile_row(profile, i, &row); i++) {
        if (row.kind == kind) {
            printf("%-8s%s%s%s: %s\n        [%s]\n", kind_name(kind), row.name,
                   row.value != NULL ? "=" : "", row.value != NULL ? row.value : "", row.reason,
                   row.source);
        }
    }
}

static int print_profile(const struct tool_verb *verb, const char *name)
{
    struct hvtlfs_config ignored;
    struct text message = {0};
    hvtlfs_config_init(&ignored);
    int status = TOOL_OK;
    if (!tool_profile(name, &ignored, &message)) {
        status = tool_error(verb, "%s", text_string(&message));
    } else {
        enum hvtlfs_profile profile = hvtlfs_profile_find(name, strlen(name));
        printf("%s: %s\n\n", name, hvtlfs_profile_summary(profile));
        print_rows(profile, HVTLFS_PROFILE_GIVES);
        print_rows(profile, HVTLFS_PROFILE_SETS);
        print_rows(profile, HVTLFS_PROFILE_LEAVES);
    }
    text_free(&message);
    return status;
}

int verb_features(const struct tool_verb *verb, int argc, char **argv)
{
    bool as_json = false;
    int status;
    const struct tool_option options[] = {
        {"--json", NULL, "everything about features and profiles as one object", &as_json, NULL},
    };
    if (!tool_options(verb, options, 1, &argc, argv, &status)) {
        return status;
    }
    if (argc > 1 || (argc > 0 && as_json)) {
        return tool_error(verb, "unexpected argument '%s'", argv[argc - 1]);
    }
    if (argc > 0) {
        return print_profile(verb, argv[0]);
    }
    if (as_json) {
        print_json();
    } else {
        print_text();
    }
    return TOOL_OK;
}
