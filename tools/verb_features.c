/* SPDX-License-Identifier: MIT */
/* hvtlfs features: what may stand in a feature list. */
#include <stdio.h>

#include "text.h"
#include "tool.h"

static void print_json(void)
{
    struct json json = {0};
    json_clear(&json);
    for (int i = 0; i < HVTLFS_FEATURE_COUNT; i++) {
        json_open(&json, NULL, '{');
        json_string(&json, "name", hvtlfs_feature_name((enum hvtlfs_feature)i));
        json_string(&json, "summary", hvtlfs_feature_summary((enum hvtlfs_feature)i));
        json_close(&json, '}');
        json_print(&json);
    }
    text_free(&json.text);
}

static void print_text(void)
{
    for (int i = 0; i < HVTLFS_FEATURE_COUNT; i++) {
        printf("%-24s%s\n", hvtlfs_feature_name((enum hvtlfs_feature)i),
               hvtlfs_feature_summary((enum hvtlfs_feature)i));
    }
}

int verb_features(const struct tool_verb *verb, int argc, char **argv)
{
    bool as_json = false;
    int status;
    const struct tool_option options[] = {
        {"--json", NULL, "one JSON object a line: name, summary", &as_json, NULL},
    };
    if (!tool_options(verb, options, 1, &argc, argv, &status)) {
        return status;
    }
    if (argc > 0) {
        return tool_error(verb, "unexpected argument '%s'; this verb takes none", argv[0]);
    }
    if (as_json) {
        print_json();
    } else {
        print_text();
    }
    return TOOL_OK;
}
