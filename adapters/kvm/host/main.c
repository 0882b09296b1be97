/* SPDX-License-Identifier: MIT */
/* hvtlfs-kvm: run a guest on KVM with libhvtlfs as its hypervisor interface. */
#include <stdio.h>

#include "machine.h"

static const struct host_trap traps[] = {
    {"out", HVTLFS_TRAP_CUSTOM},
    {"call", HVTLFS_TRAP_VMCALL},
    {"none", HVTLFS_TRAP_NONE},
    {NULL, HVTLFS_TRAP_NONE},
};

static const struct host_program program = {
    .name = "hvtlfs-kvm",
    .summary =
        "Run a guest image on KVM, with libhvtlfs answering its MSR and hypercall exits in user\n"
        "space; the kernel needs no Hyper-V of its own.",
    .traps = traps,
    .trap_help = "out (default), call (VMCALL or VMMCALL, where KVM intercepts them), none",
    .max_vps = MACHINE_MAX_VPS,
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
        .cpuid_counted = false, /* the kernel answers it */
    };

    machine_run(machine);
    for (uint32_t n = 0; n < machine->vp_count; n++) {
        struct hvtlfs_kvm_counters counters = {.size = sizeof counters};

        if (hvtlfs_kvm_read_counters(machine->hv, n, &counters) == HVTLFS_OK) {
            machine->vps[n].tally.refused_stores = counters.refused_stores;
        }
        tally_add(&total, &machine->vps[n].tally);
    }
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
