/* SPDX-License-Identifier: MIT */
/* hvtlfs-kvm-kernel: run a guest on KVM with the Hyper-V that KVM says it has. */
#include <stdio.h>

#include "kernel.h"

static const struct host_trap traps[] = {
    {"kernel", HVTLFS_TRAP_NONE},
    {NULL, HVTLFS_TRAP_NONE},
};

static const struct host_program program = {
    .name = "hvtlfs-kvm-kernel",
    .summary = "Run a guest image on KVM and let KVM's own Hyper-V answer its MSRs and hypercalls, to be\n"
               "compared with libhvtlfs. Features that this KVM does not offer are left out.",
    .traps = traps,
    .trap_help = "kernel, the only way",
    .max_vps = KERNEL_MAX_VPS,
};

static enum host_exit run(struct machine *machine)
{
    struct tally none = {0};
    struct run_result result = {
        .program = &program,
        .options = machine->options,
        .console = &machine->console,
        .tally = &none,
        .cpuid_counted = false,
    };

    machine_run(machine);
    result.finished = machine->finished;
    result.status = machine->status;
    result.trouble = machine->trouble;
    return report(&result);
}

int main(int argc, char **argv)
{
    static struct machine machine;
    struct host_options options;
    enum host_exit status;
    const char *wrong;
    bool skip;
    int parsed = host_options_parse(&options, &program, argc, argv);

    if (parsed >= 0) {
        return parsed;
    }
    wrong = machine_init(&machine, &options, &skip);
    if (wrong == NULL) {
        status = run(&machine);
    } else if (skip) {
        fprintf(stderr, "%s: skipped: %s\n", program.name, wrong);
        status = HOST_EXIT_SKIPPED;
    } else {
        fprintf(stderr, "%s: %s: %s\n", program.name, options.guest, wrong);
        status = HOST_EXIT_USAGE;
    }
    machine_free(&machine);
    return (int)status;
}
