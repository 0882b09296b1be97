/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdio.h>

#include <hvtlfs/time.h>

#include "vmm.h"

static const char *const endings[] = {
    [STILL_RUNNING] = "runs",
    [EXITED] = "exited",
    [RESET] = "reset the machine",
    [SWITCHED_OFF] = "switched off",
    [TIMED_OUT] = "ran out of time",
    [INTERRUPTED] = "was interrupted",
    [FAILED] = "failed",
};

/* What is counted, of one VP or of all. */
struct row {
    const char *name;
    uint64_t value;
};

enum { ROWS = 15 };

static void rows_of(const struct cpu *cpu, struct row rows[ROWS])
{
    struct hvtlfs_kvm_counters c = {.size = sizeof c};

    if (cpu->vmm->hv == NULL ||
        hvtlfs_kvm_read_counters(cpu->vmm->hv, cpu->number, &c) != HVTLFS_OK) {
        c = (struct hvtlfs_kvm_counters){0};
    }
    struct row all[ROWS] = {
        {"port accesses", cpu->exits_io},
        {"MMIO", cpu->exits_mmio},
        {"KVM_RUN", c.runs},
        {"MSR reads", c.msr_reads},
        {"MSR writes", c.msr_writes},
        {"MSR faults", c.msr_faults},
        {"hypercalls", c.hypercalls},
        {"refused stores", c.refused_stores},
        {"kicks", c.kicks},
        {"TLB flushes", c.flushes},
        {"interrupts", c.interrupts},
        {"without EOI", c.auto_eoi},
        {"idles", c.idles},
        {"other exits", c.yours},
        {"unserved", c.unserved},
    };

    for (size_t i = 0; i < ROWS; i++) {
        rows[i].name = all[i].name;
        rows[i].value += all[i].value;
    }
}

static void as_json(const struct vmm *vmm, double seconds, const struct row rows[ROWS])
{
    fprintf(stderr,
            "{\"ending\": \"%s\", \"exit_code\": %" PRIu32 ", \"seconds\": %.3f, "
            "\"hyperv\": %s, \"cpus\": %" PRIu32 ", \"console_bytes\": %" PRIu64,
            endings[vmm->ending], vmm->exit_code, seconds, vmm->hv != NULL ? "true" : "false",
            vmm->cpu_count, vmm->serial.bytes);
    for (size_t i = 0; i < ROWS; i++) {
        fprintf(stderr, ", \"%s\": %" PRIu64, rows[i].name, rows[i].value);
    }
    fprintf(stderr, "}\n");
}

static void as_text(const struct vmm *vmm, double seconds, const struct row rows[ROWS])
{
    static const char *const traps[] = {"auto", "VMCALL or VMMCALL", "OUT", "none"};

    fprintf(stderr, "kvm-vmm: the guest %s after %.1f s, %" PRIu32 " VPs, %s\n",
            endings[vmm->ending], seconds, vmm->cpu_count,
            vmm->hv != NULL ? "Hyper-V by libhvtlfs" : "no Hyper-V");
    if (vmm->hv != NULL) {
        fprintf(stderr, "    %-16s %s\n", "hypercalls by", traps[hvtlfs_kvm_trap_used(vmm->hv)]);
        fprintf(stderr, "    %-16s %s\n", "TSC page",
                hvtlfs_tsc_page_state_text(hvtlfs_tsc_page_query(hvtlfs_kvm_partition(vmm->hv))));
    }
    for (size_t i = 0; i < ROWS; i++) {
        if (rows[i].value != 0) {
            fprintf(stderr, "    %-16s %12" PRIu64 "\n", rows[i].name, rows[i].value);
        }
    }
}

void statistics(const struct vmm *vmm, double seconds)
{
    struct row rows[ROWS] = {{NULL, 0}};

    for (uint32_t n = 0; n < vmm->cpu_count; n++) {
        rows_of(&vmm->cpus[n], rows);
    }
    if (vmm->options.json) {
        as_json(vmm, seconds, rows);
    } else {
        as_text(vmm, seconds, rows);
    }
}
