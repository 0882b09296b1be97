/* SPDX-License-Identifier: MIT */
#include "adapter.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SYNC_REGS_NEEDED = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS };

static const struct {
    int number;
    const char *name;
} needed[] = {
    {KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP"},
    {KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY"},
    {KVM_CAP_READONLY_MEM, "KVM_CAP_READONLY_MEM"},
    {KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID"},
    {KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS"},
    {KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"},
    {KVM_CAP_SIGNAL_MSI, "KVM_CAP_SIGNAL_MSI"},
    {KVM_CAP_X86_USER_SPACE_MSR, "KVM_CAP_X86_USER_SPACE_MSR"},
    {KVM_CAP_X86_MSR_FILTER, "KVM_CAP_X86_MSR_FILTER"},
};

static const char *because(const char *what, const char *why)
{
    static char text[160];

    (void)snprintf(text, sizeof text, "%s: %s", what, why);
    return text;
}

static const char *capabilities(int kvm)
{
    if (ioctl(kvm, KVM_GET_API_VERSION, 0) != KVM_API_VERSION) {
        return because("/dev/kvm", "not a KVM of API version 12");
    }
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        if (ioctl(kvm, KVM_CHECK_EXTENSION, needed[i].number) <= 0) {
            return because("this KVM lacks", needed[i].name);
        }
    }
    if ((ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_SYNC_REGS) & SYNC_REGS_NEEDED) !=
        SYNC_REGS_NEEDED) {
        return because("this KVM lacks", "KVM_CAP_SYNC_REGS");
    }
    return NULL;
}

static const char *vm_open(struct adapter *adapter)
{
    int size;

    adapter->vm = ioctl(adapter->kvm, KVM_CREATE_VM, 0);
    if (adapter->vm < 0) {
        return because("KVM_CREATE_VM", strerror(errno));
    }
    if (ioctl(adapter->vm, KVM_CREATE_IRQCHIP, 0) != 0) {
        return because("KVM_CREATE_IRQCHIP", strerror(errno));
    }
    if (!msr_filter_set(adapter->vm)) {
        return because("KVM_X86_SET_MSR_FILTER", strerror(errno));
    }
    size = ioctl(adapter->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (size < (int)sizeof(struct kvm_run)) {
        return because("KVM_GET_VCPU_MMAP_SIZE", strerror(errno));
    }
    adapter->run_size = (size_t)size;
    return NULL;
}

const char *adapter_open(struct adapter *adapter)
{
    const char *wrong;

    adapter->vm = -1;
    (void)pthread_mutex_init(&adapter->lock, NULL);
    (void)pthread_mutex_init(&adapter->gate, NULL);
    (void)pthread_cond_init(&adapter->gate_moved, NULL);
    adapter->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (adapter->kvm < 0) {
        return because("/dev/kvm", strerror(errno));
    }
    wrong = capabilities(adapter->kvm);
    if (wrong == NULL) {
        wrong = vm_open(adapter);
    }
    return wrong;
}

static void vp_close(struct adapter_vp *vp, size_t run_size)
{
    if (vp->run != NULL) {
        (void)munmap(vp->run, run_size);
        (void)close(vp->fd);
    }
}

void adapter_close(struct adapter *adapter)
{
    for (uint32_t n = 0; n < adapter->vp_count; n++) {
        vp_close(&adapter->vps[n], adapter->run_size);
    }
    if (adapter->vm >= 0) {
        (void)close(adapter->vm);
    }
    if (adapter->kvm >= 0) {
        (void)close(adapter->kvm);
    }
    free(adapter->partition);
    (void)pthread_cond_destroy(&adapter->gate_moved);
    (void)pthread_mutex_destroy(&adapter->gate);
    (void)pthread_mutex_destroy(&adapter->lock);
}

static const char *sentence(const struct hvtlfs_error *error)
{
    static char text[256];

    (void)hvtlfs_error_text(error, text, sizeof text);
    return text;
}

static const char *vp_map(struct adapter_vp *vp)
{
    void *run;

    vp->fd = ioctl(vp->adapter->vm, KVM_CREATE_VCPU, vp->number);
    if (vp->fd < 0) {
        return because("KVM_CREATE_VCPU", strerror(errno));
    }
    run = mmap(NULL, vp->adapter->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vp->fd, 0);
    if (run == MAP_FAILED) {
        (void)close(vp->fd);
        return because("mapping kvm_run", strerror(errno));
    }
    vp->run = run;
    vp->run->kvm_valid_regs = SYNC_REGS_NEEDED;
    return NULL;
}

const char *adapter_vp_open(struct adapter *adapter)
{
    struct adapter_vp *vp = &adapter->vps[adapter->vp_count];
    struct kvm_mp_state runnable = {KVM_MP_STATE_RUNNABLE};
    const char *wrong;

    vp->adapter = adapter;
    vp->number = adapter->vp_count;
    wrong = vp_map(vp);
    if (wrong != NULL) {
        return wrong;
    }
    adapter->vp_count++;
    if (ioctl(vp->fd, KVM_SET_MP_STATE, &runnable) != 0) {
        return because("KVM_SET_MP_STATE", strerror(errno));
    }
    return NULL;
}

static void fill(struct adapter *adapter, struct hvtlfs_config *config, bool copy_overlays)
{
    int tsc_khz = ioctl(adapter->vps[0].fd, KVM_GET_TSC_KHZ, 0);

    config->ops = adapter_callbacks();
    if (copy_overlays) {
        config->ops.overlay_set = NULL;
        config->ops.overlay_clear = NULL;
    }
    config->context = adapter;
    config->vp_count = adapter->vp_count;
    config->policy |= HVTLFS_POLICY_NO_LAZY_EOI; /* the kernel lets interrupts in by itself */
    config->gpa_bits = cpuid_gpa_bits(adapter->kvm);
    config->tsc_hz = tsc_khz > 0 ? (uint64_t)tsc_khz * 1000 : 0;
    if (tsc_known(adapter)) {
        config->ops.guest_tsc = tsc_of_guest;
        config->invariant_tsc = tsc_invariant();
    }
    if (config->trap == HVTLFS_TRAP_CUSTOM) {
        config->trap_code[0] = 0xE6; /* OUT imm8, AL */
        config->trap_code[1] = ADAPTER_PORT;
        config->trap_size = 2;
    }
}

static const char *partition_init(struct adapter *adapter, const struct hvtlfs_config *config)
{
    struct hvtlfs_error error;
    size_t size;
    void *memory;

    if (hvtlfs_partition_size(config, &size, &error) != HVTLFS_OK) {
        return sentence(&error);
    }
    size = (size + HVTLFS_PAGE_SIZE - 1) / HVTLFS_PAGE_SIZE * HVTLFS_PAGE_SIZE;
    memory = aligned_alloc(HVTLFS_PARTITION_ALIGNMENT, size);
    if (memory == NULL) {
        return "out of memory";
    }
    if (hvtlfs_partition_init(memory, size, config, &adapter->partition, &error) != HVTLFS_OK) {
        free(memory);
        return sentence(&error);
    }
    return NULL;
}

const char *adapter_partition(struct adapter *adapter, struct hvtlfs_config *config,
                              bool copy_overlays)
{
    const char *wrong;

    fill(adapter, config, copy_overlays);
    wrong = partition_init(adapter, config);
    for (uint32_t n = 0; wrong == NULL && n < adapter->vp_count; n++) {
        adapter->vps[n].vp = hvtlfs_partition_vp(adapter->partition, n);
        if (!cpuid_set(&adapter->vps[n])) {
            wrong = because("KVM_SET_CPUID2", strerror(errno));
        }
    }
    if (wrong == NULL && config->ops.guest_tsc != NULL) {
        tsc_tell_differences(adapter);
    }
    return wrong;
}
