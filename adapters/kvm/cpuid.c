/* SPDX-License-Identifier: MIT */
/* A VP's CPUID: what KVM supports, with the library's leaves in place of KVM's own. */
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include <hvtlfs/cpuid.h>

#include "adapter.h"

enum { X2APIC_BIT = 1 << 21, HYPERVISOR_LEAVES = 0x40000000, HYPERVISOR_LEAVES_END = 0x40010000 };

static struct kvm_cpuid2 *supported(int kvm)
{
    size_t size =
        sizeof(struct kvm_cpuid2) + ADAPTER_CPUID_ENTRIES * sizeof(struct kvm_cpuid_entry2);
    struct kvm_cpuid2 *cpuid = calloc(1, size);

    if (cpuid == NULL) {
        return NULL;
    }
    cpuid->nent = ADAPTER_CPUID_ENTRIES;
    if (ioctl(kvm, KVM_GET_SUPPORTED_CPUID, cpuid) != 0) {
        free(cpuid);
        return NULL;
    }
    return cpuid;
}

uint32_t cpuid_gpa_bits(int kvm)
{
    struct kvm_cpuid2 *cpuid = supported(kvm);
    uint32_t bits = 0;

    for (uint32_t i = 0; cpuid != NULL && i < cpuid->nent; i++) {
        if (cpuid->entries[i].function == 0x80000008) {
            bits = cpuid->entries[i].eax & 0xFF;
        }
    }
    free(cpuid);
    return bits;
}

static void drop_hypervisor_leaves(struct kvm_cpuid2 *cpuid)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < cpuid->nent; i++) {
        uint32_t leaf = cpuid->entries[i].function;

        if (leaf < HYPERVISOR_LEAVES || leaf >= HYPERVISOR_LEAVES_END) {
            cpuid->entries[kept++] = cpuid->entries[i];
        }
    }
    cpuid->nent = kept;
}

/* What is the VP's own in the leaves that KVM gives for all. */
static void identify(struct kvm_cpuid_entry2 *entry, uint32_t apic_id)
{
    switch (entry->function) {
    case 1:
        entry->ebx = (entry->ebx & 0x00FFFFFF) | apic_id << 24;
        entry->ecx |= X2APIC_BIT;
        break;
    case 0xB:
    case 0x1F:
        entry->edx = apic_id;
        break;
    default:
        break;
    }
}

static void adjust(struct adapter_vp *vp, struct kvm_cpuid_entry2 *entry)
{
    struct hvtlfs_cpuid_regs regs;

    identify(entry, vp->number);
    regs = (struct hvtlfs_cpuid_regs){entry->eax, entry->ebx, entry->ecx, entry->edx};
    if (hvtlfs_cpuid(vp->vp, entry->function, entry->index, &regs)) {
        entry->eax = regs.eax;
        entry->ebx = regs.ebx;
        entry->ecx = regs.ecx;
        entry->edx = regs.edx;
    }
}

static bool append(struct adapter_vp *vp, struct kvm_cpuid2 *cpuid, uint32_t leaf, uint32_t *max)
{
    struct hvtlfs_cpuid_regs regs = {0};

    if (cpuid->nent == ADAPTER_CPUID_ENTRIES) {
        return false;
    }
    if (!hvtlfs_cpuid(vp->vp, leaf, 0, &regs)) {
        return true;
    }
    if (leaf % 0x100 == 0) {
        *max = regs.eax;
    }
    cpuid->entries[cpuid->nent++] = (struct kvm_cpuid_entry2){
        .function = leaf, .eax = regs.eax, .ebx = regs.ebx, .ecx = regs.ecx, .edx = regs.edx};
    return true;
}

/* The library may have its leaves at any multiple of 0x100; the first of them tells the last. */
static bool append_all(struct adapter_vp *vp, struct kvm_cpuid2 *cpuid)
{
    for (uint32_t base = HYPERVISOR_LEAVES; base < HYPERVISOR_LEAVES_END; base += 0x100) {
        uint32_t max = 0;

        for (uint32_t leaf = base; leaf == base || leaf <= max; leaf++) {
            if (!append(vp, cpuid, leaf, &max)) {
                return false;
            }
        }
    }
    return true;
}

bool cpuid_set(struct adapter_vp *vp)
{
    struct kvm_cpuid2 *cpuid = supported(vp->adapter->kvm);
    bool set;

    if (cpuid == NULL) {
        return false;
    }
    drop_hypervisor_leaves(cpuid);
    for (uint32_t i = 0; i < cpuid->nent; i++) {
        adjust(vp, &cpuid->entries[i]);
    }
    set = append_all(vp, cpuid) && ioctl(vp->fd, KVM_SET_CPUID2, cpuid) == 0;
    free(cpuid);
    return set;
}
