/* SPDX-License-Identifier: MIT */
/* What a program does with a vCPU. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "preload.h"

static bool run_map(struct vcpu *vcpu)
{
    int size = real_ioctl(own_kvm(), KVM_GET_VCPU_MMAP_SIZE, NULL);
    void *run;

    if (size < (int)sizeof(struct kvm_run)) {
        return false;
    }
    run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->object.fd, 0);
    if (run == MAP_FAILED) {
        return false;
    }
    vcpu->run = run;
    vcpu->run_size = (size_t)size;
    return true;
}

static bool seat(struct vm *vm, struct vcpu *vcpu)
{
    for (uint32_t i = 0; i < MOST_VCPUS; i++) {
        if (vm->vcpus[i] == NULL) {
            vm->vcpus[i] = vcpu;
            return true;
        }
    }
    return false;
}

struct vcpu *vcpu_new(struct vm *vm, int fd, uint32_t id)
{
    struct vcpu *vcpu = calloc(1, sizeof *vcpu);
    bool seated;

    if (vcpu == NULL) {
        return NULL;
    }
    *vcpu = (struct vcpu){
        .object = {.kind = KIND_VCPU, .references = 1, .fd = own_copy(fd)}, .vm = vm, .id = id};
    (void)pthread_mutex_init(&vcpu->lock, NULL);
    object_hold(&vm->object);
    (void)pthread_mutex_lock(&vm->lock);
    vcpu->vp_index = vm->vcpu_count;
    seated = vcpu->object.fd >= 0 && run_map(vcpu) && seat(vm, vcpu);
    if (seated) {
        vm->vcpu_count++;
        hyperv_vcpu_added(vm, vcpu);
    }
    (void)pthread_mutex_unlock(&vm->lock);
    if (!seated) {
        object_put(&vcpu->object);
        return NULL;
    }
    object_born(&vcpu->object);
    return vcpu;
}

/* Its descriptor is closed, and nobody is in a call for it. */
void vcpu_free(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;

    (void)pthread_mutex_lock(&vm->lock);
    if (vcpu->attached) {
        hvtlfs_kvm_vp_detach(vm->hv, vcpu->vp_index);
    }
    for (uint32_t i = 0; i < MOST_VCPUS; i++) {
        if (vm->vcpus[i] == vcpu) {
            vm->vcpus[i] = NULL;
        }
    }
    (void)pthread_mutex_unlock(&vm->lock);
    if (vcpu->run != NULL) {
        (void)munmap(vcpu->run, vcpu->run_size);
    }
    own_close(vcpu->object.fd);
    (void)pthread_mutex_destroy(&vcpu->lock);
    free(vcpu);
    object_put(&vm->object);
}

/* Where programs put KVM's leaves: in front, or behind those of Hyper-V. */
static bool is_kvms(const struct kvm_cpuid_entry2 *entry)
{
    static const char signature[12] = "KVMKVMKVM";

    return (entry->function & 0xFFFF00FF) == MSR_FIRST && memcmp(&entry->ebx, signature, 4) == 0 &&
           memcmp(&entry->ecx, signature + 4, 4) == 0 && memcmp(&entry->edx, signature + 8, 4) == 0;
}

/* The program's leaves are its own: they go on as they are, and say what the guest may have. */
static void leaves_note(struct vcpu *vcpu, const struct kvm_cpuid2 *cpuid)
{
    memset(vcpu->leaves, 0, sizeof vcpu->leaves);
    vcpu->shows_kvm = false;
    for (uint32_t i = 0; i < cpuid->nent; i++) {
        const struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];

        vcpu->shows_kvm = vcpu->shows_kvm || is_kvms(entry);
        if (entry->function >= MSR_FIRST && entry->function - MSR_FIRST < LEAVES) {
            vcpu->leaves[entry->function - MSR_FIRST] =
                (struct hvtlfs_cpuid_regs){entry->eax, entry->ebx, entry->ecx, entry->edx};
        }
    }
}

static int cpuid_set(struct vcpu *vcpu, int fd, void *argument)
{
    int result = real_ioctl(fd, KVM_SET_CPUID2, argument);

    if (result == 0) {
        leaves_note(vcpu, argument);
    }
    return result;
}

static int absent(void)
{
    errno = EINVAL;
    return -1;
}

static int enable_cap(struct vcpu *vcpu, int fd, struct kvm_enable_cap *cap)
{
    switch (cap->cap) {
    case KVM_CAP_HYPERV_SYNIC:
    case KVM_CAP_HYPERV_SYNIC2:
        vcpu->synic = offers(HVTLFS_FEATURE_SYNIC);
        return vcpu->synic ? 0 : absent();
    case KVM_CAP_HYPERV_ENLIGHTENED_VMCS:
    case KVM_CAP_HYPERV_DIRECT_TLBFLUSH:
        return absent();
    case KVM_CAP_HYPERV_ENFORCE_CPUID:
        vcpu->enforce = cap->args[0] != 0;
        return 0;
    default:
        return real_ioctl(fd, KVM_ENABLE_CAP, cap);
    }
}

static int tsc_control_set(struct vcpu *vcpu, int fd, void *argument)
{
    int result = real_ioctl(fd, KVM_SET_DEVICE_ATTR, argument);

    hyperv_tsc_changed(vcpu->vm);
    return result;
}

static int tsc_rate_set(struct vcpu *vcpu, int fd, void *argument)
{
    int result = real_ioctl(fd, KVM_SET_TSC_KHZ, argument);

    hyperv_tsc_changed(vcpu->vm);
    return result;
}

/* Those that KVM, too, makes wait while the vCPU runs. */
static int guarded(struct vcpu *vcpu, int fd, unsigned long request, void *argument)
{
    switch (request) {
    case KVM_SET_SIGNAL_MASK:
        return signals_mask(vcpu, argument);
    case KVM_GET_MSRS:
        return msrs_get(vcpu, argument);
    case KVM_SET_MSRS:
        return msrs_set(vcpu, argument);
    case KVM_SET_CPUID2:
        return cpuid_set(vcpu, fd, argument);
    case KVM_ENABLE_CAP:
        return enable_cap(vcpu, fd, argument);
    case KVM_SET_DEVICE_ATTR:
        return tsc_control_set(vcpu, fd, argument);
    default:
        return tsc_rate_set(vcpu, fd, argument);
    }
}

int vcpu_ioctl(struct vcpu *vcpu, int fd, unsigned long request, void *argument)
{
    int result;

    switch (request) {
    case KVM_SET_SIGNAL_MASK:
    case KVM_GET_MSRS:
    case KVM_SET_MSRS:
    case KVM_SET_CPUID2:
    case KVM_ENABLE_CAP:
    case KVM_SET_DEVICE_ATTR:
    case KVM_SET_TSC_KHZ:
        (void)pthread_mutex_lock(&vcpu->lock);
        result = guarded(vcpu, fd, request, argument);
        (void)pthread_mutex_unlock(&vcpu->lock);
        return result;
    case KVM_GET_SUPPORTED_HV_CPUID:
        return supported_hv_cpuid(argument);
    default:
        return real_ioctl(fd, request, argument);
    }
}
