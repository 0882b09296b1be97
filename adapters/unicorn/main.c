/* SPDX-License-Identifier: MIT */
/* hvtlfs-unicorn: run a guest on Unicorn with libhvtlfs as its hypervisor interface. */
#include <stdio.h>

#include "machine.h"

static const struct host_trap traps[] = {
    {"vmcall", HVTLFS_TRAP_VMCALL},
    {"vmmcall", HVTLFS_TRAP_VMMCALL},
    {"none", HVTLFS_TRAP_NONE},
    {NULL, HVTLFS_TRAP_NONE},
};

static const struct host_program program = {
    .name = "hvtlfs-unicorn",
    .summary =
        "Run a guest image on the Unicorn emulator, with libhvtlfs answering its CPUID, MSR and\n"
        "hypercall exits. Needs no privilege and no virtualization hardware.",
    .traps = traps,
    .trap_help = "vmcall (default), vmmcall, none",
    .max_vps = MACHINE_MAX_VPS,
    .migrates = true,
};

static enum host_exit run(struct machine *machine)
{
    struct tally total = {0};
    struct run_result result = {
        .program = &program,
        .options = machine->options,
        .console = &machine->console,
        .tally = &total,
        .stretches = &machine->stretches,
        .cpuid_counted = true,
    };

    machine_run(machine);
    if (machine->left) {
        return machine_elsewhere(machine);
    }
    for (uint32_t n = 0; n < machine->vp_count; n++) {
        tally_add(&total, &machine->vps[n].tally);
    }
    result.finished = machine->finished;
    result.status = machine->status;
    result.trouble = machine->trouble;
    result.moves = machine->moves;
    if (report(&result) != HOST_EXIT_PASSED) {
        return HOST_EXIT_FAILED;
    }
    return machine->stuck ? HOST_EXIT_FAILED : HOST_EXIT_PASSED;
}

int main(int argc, char **argv)
{
    static struct machine machine;
    struct host_options options;
    enum host_exit status = HOST_EXIT_USAGE;
    const char *wrong;
    int parsed = host_options_parse(&options, &program, argc, argv);

    if (parsed >= 0) {
        return parsed;
    }
    wrong = options.incoming < 0 ? machine_init(&machine, &options)
                                 : machine_receive(&machine, &options);
    if (wrong != NULL) {
        fprintf(stderr, "%s: %s: %s\n", program.name, options.guest, wrong);
    } else {
        status = run(&machine);
    }
    machine_free(&machine);
    return (int)status;
}
