/* SPDX-License-Identifier: MIT */
/* What KVM supports, with the hypervisor's leaves made from the features the user named. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include <hvtlfs/cpuid.h>
#include <hvtlfs/tlfs.h>

#include "kernel.h"

enum { X2APIC_BIT = 1 << 21, FIRST = 0x40000000, LAST = 0x400000FF };

#define HYPERVISOR_BIT (1u << 31)

static struct kvm_cpuid2 *ask(int fd, unsigned long request)
{
    struct kvm_cpuid2 *cpuid =
        calloc(1, sizeof *cpuid + KERNEL_CPUID_ENTRIES * sizeof(struct kvm_cpuid_entry2));

    if (cpuid != NULL) {
        cpuid->nent = KERNEL_CPUID_ENTRIES;
        if (ioctl(fd, request, cpuid) != 0) {
            free(cpuid);
            return NULL;
        }
    }
    return cpuid;
}

static void drop_hypervisor_leaves(struct kvm_cpuid2 *cpuid)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < cpuid->nent; i++) {
        if (cpuid->entries[i].function < FIRST || cpuid->entries[i].function > LAST) {
            cpuid->entries[kept++] = cpuid->entries[i];
        }
    }
    cpuid->nent = kept;
}

static void identify(struct kvm_cpuid_entry2 *entry, uint32_t number)
{
    if (entry->function == 1) {
        entry->ebx = (entry->ebx & 0x00FFFFFF) | number << 24;
        entry->ecx |= X2APIC_BIT | HYPERVISOR_BIT;
    } else if (entry->function == 0xB || entry->function == 0x1F) {
        entry->edx = number;
    }
}

/* Leaves 3 and 4 announce; the others are not KVM's to limit. */
static void keep_offered(const struct kvm_cpuid2 *offered, struct kvm_cpuid_entry2 *entry)
{
    if (entry->function != HV_CPUID_FEATURES && entry->function != HV_CPUID_RECOMMENDATIONS) {
        return;
    }
    for (uint32_t i = 0; i < offered->nent; i++) {
        const struct kvm_cpuid_entry2 *most = &offered->entries[i];

        if (most->function == entry->function) {
            entry->eax &= most->eax;
            entry->edx &= most->edx;
            if (entry->function == HV_CPUID_FEATURES) {
                entry->ebx &= most->ebx;
            }
        }
    }
}

static void append(const struct machine *machine, const struct kvm_cpuid2 *offered,
                   struct kvm_cpuid2 *cpuid)
{
    struct hvtlfs_cpuid_identity identity = {
        .features = machine->options->list.features,
        .vendor = "Microsoft Hv",
        .cpuid_base = FIRST,
        .spin_count = machine->options->list.spin_count,
    };
    uint32_t most = hvtlfs_cpuid_max_leaf(&identity);

    for (uint32_t leaf = FIRST; leaf <= most && cpuid->nent < KERNEL_CPUID_ENTRIES; leaf++) {
        struct kvm_cpuid_entry2 *entry = &cpuid->entries[cpuid->nent++];
        struct hvtlfs_cpuid_regs regs = {0};

        (void)hvtlfs_cpuid_leaf(&identity, leaf, &regs);
        *entry = (struct kvm_cpuid_entry2){.function = leaf,
                                           .eax = regs.eax,
                                           .ebx = regs.ebx,
                                           .ecx = regs.ecx,
                                           .edx = regs.edx};
        keep_offered(offered, entry);
    }
}

bool cpuid_set(struct processor *processor)
{
    const struct machine *machine = processor->machine;
    struct kvm_cpuid2 *offered = ask(machine->kvm, KVM_GET_SUPPORTED_HV_CPUID);
    struct kvm_cpuid2 *cpuid = ask(machine->kvm, KVM_GET_SUPPORTED_CPUID);
    bool set = offered != NULL && cpuid != NULL;

    if (set) {
        drop_hypervisor_leaves(cpuid);
        for (uint32_t i = 0; i < cpuid->nent; i++) {
            identify(&cpuid->entries[i], processor->number);
        }
        append(machine, offered, cpuid);
        set = ioctl(processor->fd, KVM_SET_CPUID2, cpuid) == 0;
    }
    free(offered);
    free(cpuid);
    return set;
}
