/* SPDX-License-Identifier: MIT */
/* What a KVM must have, and how to reach it. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "helper.h"

/* When a capability is required. */
enum when { ALWAYS, KERNEL_APIC, MAPPED_OVERLAYS };

static const struct {
    unsigned long number;
    const char *name;
    const char *since; /* the Linux that brought it, for the remedy */
    enum when when;
} needed[] = {
    {KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY", "2.6", ALWAYS},
    {KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID", "2.6", ALWAYS},
    {KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS", "2.6", ALWAYS},
    {KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT", "4.11", ALWAYS},
    {KVM_CAP_X86_USER_SPACE_MSR, "KVM_CAP_X86_USER_SPACE_MSR", "5.10", ALWAYS},
    {KVM_CAP_X86_MSR_FILTER, "KVM_CAP_X86_MSR_FILTER", "5.10", ALWAYS},
    {KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP", "2.6", KERNEL_APIC},
    {KVM_CAP_SIGNAL_MSI, "KVM_CAP_SIGNAL_MSI", "3.5", KERNEL_APIC},
    {KVM_CAP_READONLY_MEM, "KVM_CAP_READONLY_MEM", "3.7", MAPPED_OVERLAYS},
};

int hvti_kvm_call(const struct hvtlfs_kvm_config *config, int fd, unsigned long request,
                  void *argument)
{
    return config->ioctl != NULL ? config->ioctl(config->ioctl_context, fd, request, argument)
                                 : ioctl(fd, request, argument);
}

int hvti_kvm_call_number(const struct hvtlfs_kvm_config *config, int fd, unsigned long request,
                         unsigned long argument)
{
    return hvti_kvm_call(config, fd, request, (void *)argument);
}

int hvti_kvm_capability(const struct hvtlfs_kvm_config *config, unsigned long capability)
{
    return hvti_kvm_call_number(config, config->kvm_fd, KVM_CHECK_EXTENSION, capability);
}

static bool required(const struct hvtlfs_kvm_config *config, enum when when)
{
    switch (when) {
    case KERNEL_APIC:
        return config->apic == HVTLFS_KVM_APIC_KERNEL;
    case MAPPED_OVERLAYS:
        return config->overlays == HVTLFS_KVM_OVERLAYS_MAPPED;
    case ALWAYS:
        break;
    }
    return true;
}

static enum hvtlfs_status capabilities(const struct hvtlfs_kvm_config *config,
                                       struct hvtlfs_kvm_error *error)
{
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        if (required(config, needed[i].when) &&
            hvti_kvm_capability(config, needed[i].number) <= 0) {
            return hvti_kvm_fail(error, HVTLFS_ERR_UNAVAILABLE, 0,
                                 "this KVM lacks %s, which came with Linux %s", needed[i].name,
                                 needed[i].since);
        }
    }
    return HVTLFS_OK;
}

enum hvtlfs_status hvtlfs_kvm_check(const struct hvtlfs_kvm_config *config,
                                    struct hvtlfs_kvm_error *error)
{
    int version;

    if (config == NULL) {
        return hvti_kvm_fail(error, HVTLFS_ERR_ARGUMENT, 0, "config is NULL");
    }
    if (config->size < sizeof *config) {
        return hvti_kvm_fail(error, HVTLFS_ERR_STRUCT_SIZE, 0,
                             "config.size is %zu; start from hvtlfs_kvm_config_init()",
                             config->size);
    }
    version = hvti_kvm_call_number(config, config->kvm_fd, KVM_GET_API_VERSION, 0);
    if (version < 0) {
        return hvti_kvm_fail(error, HVTLFS_ERR_HOST, errno, "kvm_fd %d is not a KVM device",
                             config->kvm_fd);
    }
    if (version != KVM_API_VERSION) {
        return hvti_kvm_fail(error, HVTLFS_ERR_HOST, 0, "this KVM has API version %d, not %d",
                             version, KVM_API_VERSION);
    }
    return capabilities(config, error);
}

static void open_failed(const char *path, int why, struct hvtlfs_kvm_error *error)
{
    switch (why) {
    case ENOENT:
        (void)hvti_kvm_fail(error, HVTLFS_ERR_HOST, why,
                            "%s is missing: load kvm_intel or kvm_amd, or enable nested "
                            "virtualisation for this machine",
                            path);
        break;
    case EACCES:
    case EPERM:
        (void)hvti_kvm_fail(error, HVTLFS_ERR_HOST, why,
                            "no permission to use %s: its group (kvm, as a rule) may", path);
        break;
    case ENODEV:
        (void)hvti_kvm_fail(error, HVTLFS_ERR_HOST, why,
                            "%s has no virtualisation behind it: it may be off in the firmware",
                            path);
        break;
    default:
        (void)hvti_kvm_fail(error, HVTLFS_ERR_HOST, why, "%s cannot be opened", path);
        break;
    }
}

int hvtlfs_kvm_open(const char *path, struct hvtlfs_kvm_error *error)
{
    struct hvtlfs_kvm_config config;
    int fd;

    if (path == NULL) {
        path = "/dev/kvm";
    }
    fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        open_failed(path, errno, error);
        return -1;
    }
    hvtlfs_kvm_config_init(&config);
    config.kvm_fd = fd;
    if (hvtlfs_kvm_check(&config, error) != HVTLFS_OK) {
        (void)close(fd);
        return -1;
    }
    return fd;
}
