/* SPDX-License-Identifier: MIT */
/* hvtlfs replay: run scripts. */
#include "replay.h"
#include "tool.h"

int verb_replay(const struct tool_verb *verb, int argc, char **argv)
{
    struct replay_options options = {0};
    int status;
    const struct tool_option rows[] = {
        {"--print", NULL, "every command with its result", &options.print, NULL},
        {"--json", NULL, "the same, one JSON object a command", &options.as_json, NULL},
        {"--save-every-step", NULL, "after each command go on in a fresh partition, state loaded",
         &options.renews, NULL},
        {"--freeze-every-step", NULL, "after each command stop and restart the clock only",
         &options.freezes, NULL},
    };
    if (!tool_options(verb, rows, 4, &argc, argv, &status)) {
        return status;
    }
    if (argc < 1) {
        return tool_error(verb, "a script is missing: hvtlfs replay FILE, or - for standard input");
    }
    options.freezes = options.freezes || options.renews;
    int worst = TOOL_OK;
    for (int i = 0; i < argc; i++) {
        status = replay_script(argv[i], &options);
        worst = status > worst ? status : worst;
    }
    return worst;
}
