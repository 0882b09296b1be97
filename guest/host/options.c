/* SPDX-License-Identifier: MIT */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    OPTION_HELP = 256,
    OPTION_FEATURES,
    OPTION_TRAP,
    OPTION_VPS,
    OPTION_TIMEOUT,
    OPTION_ARGUMENT,
    OPTION_EXIT_COST,
    OPTION_COPY_OVERLAYS,
    OPTION_TSC_VARIES,
    OPTION_SURVEY,
    OPTION_BENCH,
    OPTION_APIC_PAGE,
    OPTION_JSON,
    OPTION_QUIET,
    OPTION_MIGRATE_EVERY,
    OPTION_MIGRATE_HZ,
    OPTION_INCOMING
};

#define HZ_MIN UINT64_C(10000000)
#define HZ_MAX UINT64_C(100000000000)

static const struct option options_table[] = {
    {"help", no_argument, NULL, OPTION_HELP},
    {"features", required_argument, NULL, OPTION_FEATURES},
    {"trap", required_argument, NULL, OPTION_TRAP},
    {"vps", required_argument, NULL, OPTION_VPS},
    {"timeout", required_argument, NULL, OPTION_TIMEOUT},
    {"argument", required_argument, NULL, OPTION_ARGUMENT},
    {"exit-cost", required_argument, NULL, OPTION_EXIT_COST},
    {"copy-overlays", no_argument, NULL, OPTION_COPY_OVERLAYS},
    {"tsc-varies", no_argument, NULL, OPTION_TSC_VARIES},
    {"survey", no_argument, NULL, OPTION_SURVEY},
    {"bench", no_argument, NULL, OPTION_BENCH},
    {"apic-page", no_argument, NULL, OPTION_APIC_PAGE},
    {"json", no_argument, NULL, OPTION_JSON},
    {"quiet", no_argument, NULL, OPTION_QUIET},
    {"migrate-every", required_argument, NULL, OPTION_MIGRATE_EVERY},
    {"migrate-hz", required_argument, NULL, OPTION_MIGRATE_HZ},
    {"incoming", required_argument, NULL, OPTION_INCOMING},
    {NULL, 0, NULL, 0},
};

static void help(const struct host_program *program)
{
    printf("Usage: %s [OPTION]... GUEST.elf\n%s\n\n"
           "  --features LIST  enlightenments to offer besides the minimum, as QEMU spells them:\n"
           "                   hv-spinlocks=0x1fff,hv-vapic,...; NAME=off takes one away\n"
           "  --trap NAME      how the hypercall page leaves the guest: %s\n"
           "  --vps N          virtual processors, 1 to %u (default 1)\n"
           "  --timeout N      give up after N seconds (default 60)\n"
           "  --argument N     a number for the guest, if it takes one: the interrupt loop's length\n"
           "  --exit-cost N    ticks of the TSC that an exit takes, where that counts instructions\n"
           "  --copy-overlays  do not map overlay pages, let the library exchange bytes instead\n"
           "  --tsc-varies     the TSC is not invariant: no TSC page\n"
           "  --survey         let the guest print what it is answered, not judge it\n"
           "  --bench          let the guest print what operations cost\n"
           "  --apic-page      let the guest keep its local APICs in xAPIC mode\n"
           "  --json           print one JSON object: the guest's output, exits, verdict\n"
           "  --quiet          print the guest's own output only\n",
           program->name, program->summary, program->trap_help, program->max_vps);
    if (program->migrates) {
        printf("  --migrate-every N  each time the TSC has gone on by N, move the running guest to a\n"
               "                   new process (docs/MIGRATION.md)\n"
               "  --migrate-hz N   the TSC of every other process has N Hz\n");
    }
    printf("  --help           print this\n\n"
           "Exit status: 0 the guest is content, 1 it is not or did not finish, 2 bad usage or\n"
           "set-up, 77 this machine cannot host it.\n");
}

static int wrong(const struct host_program *program, const char *what, const char *value)
{
    fprintf(stderr, "%s: %s: %s (try --help)\n", program->name, what, value);
    return HOST_EXIT_USAGE;
}

static bool number(const char *text, uint64_t min, uint64_t max, uint64_t *value)
{
    char *end;

    errno = 0;
    *value = strtoull(text, &end, 0);
    return errno == 0 && end != text && *end == '\0' && *text != '-' && *value >= min &&
           *value <= max;
}

static bool number32(const char *text, uint32_t min, uint32_t max, uint32_t *value)
{
    uint64_t wide;

    if (!number(text, min, max, &wide)) {
        return false;
    }
    *value = (uint32_t)wide;
    return true;
}

static bool trap(struct host_options *options, const struct host_trap *traps, const char *name)
{
    for (; traps->name != NULL; traps++) {
        if (strcmp(traps->name, name) == 0) {
            options->trap = traps->trap;
            options->trap_name = traps->name;
            return true;
        }
    }
    return false;
}

static int features(struct host_options *options, const struct host_program *program,
                    const char *text)
{
    struct hvtlfs_error error;
    char sentence[256];

    if (hvtlfs_features_parse(&options->list, text, strlen(text), &error) != HVTLFS_OK) {
        fprintf(stderr, "%s: --features: %s: %.*s\n", program->name, hvtlfs_strerror(error.status),
                (int)error.limit, text + error.value);
        return HOST_EXIT_USAGE;
    }
    if (hvtlfs_features_check(&options->list.features, &error) != HVTLFS_OK) {
        (void)hvtlfs_error_text(&error, sentence, sizeof sentence);
        return wrong(program, "--features", sentence);
    }
    return -1;
}

static int migration(struct host_options *options, const struct host_program *program, int which)
{
    uint64_t fd;

    if (!program->migrates) {
        return wrong(program, "this host does not migrate", optarg);
    }
    switch (which) {
    case OPTION_MIGRATE_EVERY:
        return number(optarg, 1, UINT64_MAX, &options->migrate_every)
                   ? -1
                   : wrong(program, "not a number of TSC ticks", optarg);
    case OPTION_MIGRATE_HZ:
        return number(optarg, HZ_MIN, HZ_MAX, &options->migrate_hz)
                   ? -1
                   : wrong(program, "not a TSC rate between 10 MHz and 100 GHz", optarg);
    default:
        if (!number(optarg, 0, INT_MAX, &fd)) {
            return wrong(program, "not a file descriptor", optarg);
        }
        options->incoming = (int)fd;
        return -1;
    }
}

static int option(struct host_options *options, const struct host_program *program, int which)
{
    switch (which) {
    case OPTION_HELP:
        help(program);
        return HOST_EXIT_PASSED;
    case OPTION_FEATURES:
        return features(options, program, optarg);
    case OPTION_TRAP:
        return trap(options, program->traps, optarg) ? -1 : wrong(program, "unknown trap", optarg);
    case OPTION_VPS:
        return number32(optarg, 1, program->max_vps, &options->vps)
                   ? -1
                   : wrong(program, "not a number of VPs", optarg);
    case OPTION_TIMEOUT:
        return number32(optarg, 1, 86400, &options->timeout_s)
                   ? -1
                   : wrong(program, "not a number of seconds", optarg);
    case OPTION_ARGUMENT:
        return number32(optarg, 0, UINT32_MAX, &options->argument)
                   ? -1
                   : wrong(program, "not a 32-bit number", optarg);
    case OPTION_EXIT_COST:
        return number32(optarg, 0, 1000000000, &options->exit_cost)
                   ? -1
                   : wrong(program, "not a number of ticks", optarg);
    case OPTION_COPY_OVERLAYS:
        options->copy_overlays = true;
        return -1;
    case OPTION_TSC_VARIES:
        options->tsc_varies = true;
        return -1;
    case OPTION_SURVEY:
        options->survey = true;
        return -1;
    case OPTION_APIC_PAGE:
        options->apic_page = true;
        return -1;
    case OPTION_BENCH:
        options->bench = true;
        return -1;
    case OPTION_JSON:
        options->json = true;
        return -1;
    case OPTION_QUIET:
        options->quiet = true;
        return -1;
    case OPTION_MIGRATE_EVERY:
    case OPTION_MIGRATE_HZ:
    case OPTION_INCOMING:
        return migration(options, program, which);
    default:
        return HOST_EXIT_USAGE; /* getopt_long has said what is wrong */
    }
}

int host_options_parse(struct host_options *options, const struct host_program *program, int argc,
                       char **argv)
{
    int which;

    *options = (struct host_options){.vps = 1, .timeout_s = 60, .incoming = -1};
    hvtlfs_feature_list_minimal(&options->list);
    (void)trap(options, program->traps, program->traps->name);
    while ((which = getopt_long(argc, argv, "", options_table, NULL)) != -1) {
        int status = option(options, program, which);

        if (status >= 0) {
            return status;
        }
    }
    if (optind != argc - 1) {
        return wrong(program, "one guest is needed", optind < argc ? argv[argc - 1] : "none given");
    }
    options->guest = argv[optind];
    options->argv = argv;
    options->argc = argc;
    return -1;
}
