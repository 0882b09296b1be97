/* SPDX-License-Identifier: MIT */
/* All that Hyper-V takes in this VMM; beside this file it is the calls of it in vmm.c. */
#include <stdio.h>

#include <hvtlfs/describe.h>

#include "connections.h"
#include "vmm.h"

/* The guest reports a crash; it usually resets itself then. */
static void crash(void *context, uint32_t vp_index, const struct hvtlfs_crash *told)
{
    struct vmm *vmm = hvtlfs_kvm_context(context);

    fprintf(stderr, "kvm-vmm: VP %u reports a crash: 0x%llx 0x%llx 0x%llx 0x%llx 0x%llx\n",
            (unsigned)vp_index, (unsigned long long)told->parameter[0],
            (unsigned long long)told->parameter[1], (unsigned long long)told->parameter[2],
            (unsigned long long)told->parameter[3], (unsigned long long)told->parameter[4]);
    if (told->message != NULL) {
        (void)fwrite(told->message, 1, told->message_size, stderr);
    }
    (void)vmm;
}

static void system_reset(void *context, uint32_t vp_index)
{
    struct hvtlfs_kvm *hv = context;

    vmm_end(hvtlfs_kvm_context(hv), RESET);
    hvtlfs_kvm_kick(hv, vp_index); /* the guest does not go on */
}

bool hyperv_init(struct vmm *vmm)
{
    struct hvtlfs_kvm_config config;
    struct hvtlfs_kvm_error error;
    const char *wrong;

    hvtlfs_kvm_config_init(&config);
    config.kvm_fd = vmm->kvm;
    config.vm_fd = vmm->vm;
    config.context = vmm;
    config.trap = vmm->options.trap;
    config.overlays = vmm->options.overlays;
    config.partition.vp_count = vmm->options.cpus;
    config.partition.features = vmm->options.list.features;
    config.partition.spin_count = vmm->options.list.spin_count;
    config.partition.ops.crash = crash;
    config.partition.ops.system_reset = system_reset;
    connections_configure(&config.partition);
    if (hvtlfs_kvm_create(&config, &vmm->hv, &error) != HVTLFS_OK) {
        return vmm_trouble(vmm, "%s", error.text);
    }
    wrong = connections_add(hvtlfs_kvm_partition(vmm->hv), vmm->options.cpus);
    return wrong == NULL || vmm_trouble(vmm, "%s", wrong);
}

bool hyperv_cpu_init(struct cpu *cpu, const struct kvm_cpuid2 *cpuid)
{
    struct vmm *vmm = cpu->vmm;
    struct hvtlfs_kvm_error error;

    return (hvtlfs_kvm_vp_attach(vmm->hv, cpu->number, cpu->fd, cpu->run, &error) == HVTLFS_OK &&
            hvtlfs_kvm_vp_cpuid(vmm->hv, cpu->number, cpuid, &error) == HVTLFS_OK) ||
           vmm_trouble(vmm, "%s", error.text);
}

bool hyperv_memory(struct vmm *vmm, const struct kvm_userspace_memory_region *region)
{
    struct hvtlfs_kvm_error error;

    return hvtlfs_kvm_memory_set(vmm->hv, region, &error) == HVTLFS_OK ||
           vmm_trouble(vmm, "%s", error.text);
}
