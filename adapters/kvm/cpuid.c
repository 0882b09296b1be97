/* SPDX-License-Identifier: MIT */
/* A VP's CPUID: the VMM's, with the library's leaves in place of KVM's own. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <hvtlfs/cpuid.h>
#include <hvtlfs/tlfs.h>

#include "helper.h"

enum {
    ENTRIES = 256, /* as many as KVM takes */
    X2APIC_BIT = 1 << 21,
    HYPERVISOR_LEAVES = 0x40000000,
    HYPERVISOR_LEAVES_END = 0x40010000,
};

/* struct kvm_cpuid2 ends in an array of any size. */
static struct kvm_cpuid2 *table_new(void)
{
    struct kvm_cpuid2 *cpuid =
        calloc(1, sizeof(struct kvm_cpuid2) + ENTRIES * sizeof(struct kvm_cpuid_entry2));

    if (cpuid != NULL) {
        cpuid->nent = ENTRIES;
    }
    return cpuid;
}

static bool supported(const struct hvtlfs_kvm_config *config, struct kvm_cpuid2 *cpuid)
{
    return hvti_kvm_call(config, config->kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid) == 0;
}

uint32_t hvti_kvm_gpa_bits(const struct hvtlfs_kvm_config *config)
{
    struct kvm_cpuid2 *cpuid = table_new();
    uint32_t bits = 0;

    if (cpuid != NULL && supported(config, cpuid)) {
        for (uint32_t i = 0; i < cpuid->nent; i++) {
            if (cpuid->entries[i].function == 0x80000008) {
                bits = cpuid->entries[i].eax & 0xFF;
            }
        }
    }
    free(cpuid);
    return bits;
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

static bool is_hypervisor_leaf(uint32_t leaf)
{
    return leaf >= HYPERVISOR_LEAVES && leaf < HYPERVISOR_LEAVES_END;
}

static void adjust(struct hvti_kvm_vp *vp, struct kvm_cpuid_entry2 *entry)
{
    struct hvtlfs_cpuid_regs regs = {entry->eax, entry->ebx, entry->ecx, entry->edx};

    if (hvtlfs_cpuid(vp->vp, entry->function, entry->index, &regs)) {
        entry->eax = regs.eax;
        entry->ebx = regs.ebx;
        entry->ecx = regs.ecx;
        entry->edx = regs.edx;
    }
}

/* All leaves but the hypervisor's, perhaps within one table. False when there are too many. */
static bool copy(struct kvm_cpuid2 *to, const struct kvm_cpuid2 *from)
{
    uint32_t count = from->nent;

    to->nent = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (is_hypervisor_leaf(from->entries[i].function)) {
            continue;
        }
        if (to->nent == ENTRIES) {
            return false;
        }
        to->entries[to->nent++] = from->entries[i];
    }
    return true;
}

/* TLFS 2.4.5: UseApicMsrs is a hint that goes with [vapic]. With the kernel's APIC each of those MSRs is an
 * exit to user space, where the APIC's own registers are none, or one that the kernel serves: no guest
 * should be told to. */
static void hint_leave_out(const struct hvtlfs_kvm_config *config, uint32_t leaf,
                           struct hvtlfs_cpuid_regs *regs)
{
    uint32_t own = leaf - config->partition.cpuid_base;

    if (own == HV_CPUID_RECOMMENDATIONS - HYPERVISOR_LEAVES &&
        config->apic == HVTLFS_KVM_APIC_KERNEL && !config->recommend_apic_msrs) {
        regs->eax &= ~(uint32_t)HV_CPUID_RECOMMENDATIONS_EAX_USE_APIC_MSRS;
    }
}

static bool append(struct hvti_kvm_vp *vp, struct kvm_cpuid2 *cpuid, uint32_t leaf, uint32_t *max)
{
    struct hvtlfs_cpuid_regs regs = {0};

    if (!hvtlfs_cpuid(vp->vp, leaf, 0, &regs)) {
        return true;
    }
    if (cpuid->nent == ENTRIES) {
        return false;
    }
    hint_leave_out(&vp->kvm->config, leaf, &regs);
    if (leaf % 0x100 == 0) {
        *max = regs.eax;
    }
    cpuid->entries[cpuid->nent++] = (struct kvm_cpuid_entry2){
        .function = leaf, .eax = regs.eax, .ebx = regs.ebx, .ecx = regs.ecx, .edx = regs.edx};
    return true;
}

/* The library may have its leaves at any multiple of 0x100; the first of them tells the last. */
static bool append_all(struct hvti_kvm_vp *vp, struct kvm_cpuid2 *cpuid)
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

static enum hvtlfs_status set(struct hvti_kvm_vp *vp, struct kvm_cpuid2 *cpuid,
                              struct hvtlfs_kvm_error *error)
{
    for (uint32_t i = 0; i < cpuid->nent; i++) {
        adjust(vp, &cpuid->entries[i]);
    }
    if (!append_all(vp, cpuid)) {
        return hvti_kvm_fail(error, HVTLFS_ERR_FULL, 0, "VP %u: more than %d CPUID leaves",
                             (unsigned)vp->index, (int)ENTRIES);
    }
    if (hvti_kvm_vp_call(vp, KVM_SET_CPUID2, cpuid) == 0) {
        return HVTLFS_OK;
    }
    if (errno == EINVAL && atomic_load(&vp->count.runs) > 0) {
        return hvti_kvm_fail(error, HVTLFS_ERR_ORDER, EINVAL,
                             "VP %u has run: KVM has fixed its CPUID", (unsigned)vp->index);
    }
    if (errno == EINVAL) {
        return hvti_kvm_fail(
            error, HVTLFS_ERR_ORDER, EINVAL,
            "KVM refuses the CPUID of VP %u: it has run before it was attached, or "
            "a leaf is malformed",
            (unsigned)vp->index);
    }
    return hvti_kvm_fail(error, HVTLFS_ERR_HOST, errno, "KVM_SET_CPUID2 of VP %u",
                         (unsigned)vp->index);
}

static enum hvtlfs_status table_fill(struct hvti_kvm_vp *vp, struct kvm_cpuid2 *table,
                                     const struct kvm_cpuid2 *cpuid, struct hvtlfs_kvm_error *error)
{
    if (cpuid == NULL && !supported(&vp->kvm->config, table)) {
        return hvti_kvm_fail(error, HVTLFS_ERR_HOST, errno, "KVM_GET_SUPPORTED_CPUID");
    }
    if (!copy(table, cpuid != NULL ? cpuid : table)) {
        return hvti_kvm_fail(error, HVTLFS_ERR_FULL, 0, "VP %u: more than %d CPUID leaves",
                             (unsigned)vp->index, (int)ENTRIES);
    }
    for (uint32_t i = 0; cpuid == NULL && i < table->nent; i++) {
        identify(&table->entries[i], vp->apic_id);
    }
    return set(vp, table, error);
}

enum hvtlfs_status hvtlfs_kvm_vp_cpuid(struct hvtlfs_kvm *kvm, uint32_t vp_index,
                                       const struct kvm_cpuid2 *cpuid,
                                       struct hvtlfs_kvm_error *error)
{
    struct hvti_kvm_vp *vp = hvti_kvm_usable(kvm, vp_index);
    struct kvm_cpuid2 *table;
    enum hvtlfs_status status;

    if (hvti_kvm_forked(kvm, error) != HVTLFS_OK) {
        return HVTLFS_ERR_ORDER;
    }
    if (vp == NULL) {
        return hvti_kvm_fail(error, HVTLFS_ERR_NOT_FOUND, 0,
                             "VP %u has no vCPU; hvtlfs_kvm_vp_attach() one first",
                             (unsigned)vp_index);
    }
    table = table_new();
    if (table == NULL) {
        return hvti_kvm_fail(error, HVTLFS_ERR_FULL, ENOMEM, "the CPUID of VP %u",
                             (unsigned)vp_index);
    }
    status = table_fill(vp, table, cpuid, error);
    free(table);
    return status;
}
