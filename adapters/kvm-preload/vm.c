/* SPDX-License-Identifier: MIT */
/* What a program does with a VM, as far as Hyper-V has to know of it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#include "preload.h"

#ifndef KVM_SET_USER_MEMORY_REGION2
#define KVM_SET_USER_MEMORY_REGION2                                                                \
    0x40a0ae49 /* begins as struct kvm_userspace_memory_region does */
#endif

static uint64_t now(void)
{
    struct timespec time;

    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 10000000 + (uint64_t)time.tv_nsec / 100;
}

struct vm *vm_new(int fd)
{
    struct vm *vm = calloc(1, sizeof *vm);

    if (vm == NULL) {
        return NULL;
    }
    vm->object = (struct object){.kind = KIND_VM, .references = 1, .fd = own_copy(fd)};
    if (vm->object.fd < 0) {
        free(vm);
        return NULL;
    }
    vm->born = now();
    (void)pthread_mutex_init(&vm->lock, NULL);
    object_born(&vm->object);
    return vm;
}

uint64_t vm_age(const struct vm *vm)
{
    return now() - vm->born;
}

/* KVM's Hyper-V counts reference time by the clock that programs save and restore. Time does not go back
 * for a guest that has seen it (TLFS 12.4.1): such a setting moves nothing. */
static int clock_set(struct vm *vm, int fd, const struct kvm_clock_data *clock)
{
    int result = real_ioctl(fd, KVM_SET_CLOCK, (void *)(uintptr_t)clock);

    if (result == 0) {
        vm->born = now() - clock->clock / 100;
        hyperv_age_set(vm);
    }
    return result;
}

static void filter_free(struct kvm_msr_filter *filter)
{
    if (filter != NULL) {
        for (size_t i = 0; i < KVM_MSR_FILTER_MAX_RANGES; i++) {
            free(filter->ranges[i].bitmap);
        }
        free(filter);
    }
}

/* The last descriptor of the VM and of its vCPUs is closed. */
void vm_free(struct vm *vm)
{
    statistics_say(vm);
    lines_drop(vm);
    hvtlfs_kvm_destroy(vm->hv);
    for (size_t i = 0; i < MOST_CONNECTIONS; i++) {
        if (vm->connections[i].used) {
            own_close(vm->connections[i].event);
        }
    }
    filter_free(vm->filter);
    free(vm->regions);
    free(vm->routes);
    own_close(vm->object.fd);
    (void)pthread_mutex_destroy(&vm->lock);
    free(vm);
}

/* ---- Memory ---- */

static struct kvm_userspace_memory_region *region_of(struct vm *vm, uint32_t slot)
{
    struct kvm_userspace_memory_region *grown;

    for (size_t i = 0; i < vm->region_count; i++) {
        if (vm->regions[i].slot == slot) {
            return &vm->regions[i];
        }
    }
    grown = realloc(vm->regions, (vm->region_count + 1) * sizeof *grown);
    if (grown == NULL) {
        return NULL;
    }
    vm->regions = grown;
    grown[vm->region_count] = (struct kvm_userspace_memory_region){.slot = slot};
    return &grown[vm->region_count++];
}

/* Address spaces above the first are for system management mode. */
static void region_note(struct vm *vm, const struct kvm_userspace_memory_region *told)
{
    struct kvm_userspace_memory_region *region =
        told->slot >> 16 == 0 ? region_of(vm, told->slot) : NULL;
    struct hvtlfs_kvm_error error;

    if (region == NULL) {
        return;
    }
    *region = *told;
    if (vm->hv != NULL && hvtlfs_kvm_memory_note(vm->hv, region, &error) != HVTLFS_OK) {
        tell("a memory slot is unknown to Hyper-V: %s", error.text);
    }
}

static int memory_set(struct vm *vm, int fd, unsigned long request, void *argument)
{
    int result = real_ioctl(fd, request, argument);

    if (result == 0) {
        (void)pthread_mutex_lock(&vm->lock);
        region_note(vm, argument);
        (void)pthread_mutex_unlock(&vm->lock);
    }
    return result;
}

uint8_t *vm_memory(struct vm *vm, uint64_t gpa, uint64_t size)
{
    for (size_t i = 0; i < vm->region_count; i++) {
        const struct kvm_userspace_memory_region *region = &vm->regions[i];

        if (gpa >= region->guest_phys_addr && region->memory_size >= size &&
            gpa - region->guest_phys_addr <= region->memory_size - size) {
            return (uint8_t *)(uintptr_t)(region->userspace_addr + (gpa - region->guest_phys_addr));
        }
    }
    return NULL;
}

/* ---- MSR exits and filters: the program's and ours ---- */

static int refused(const struct hvtlfs_kvm_error *error)
{
    errno = error->system != 0 ? error->system : EINVAL;
    return -1;
}

static int msr_exits_set(struct vm *vm, int fd, struct kvm_enable_cap *cap)
{
    struct hvtlfs_kvm_error error = {0};

    if (vm->hv != NULL) {
        return hvtlfs_kvm_msr_exits(vm->hv, (uint32_t)cap->args[0], &error) == HVTLFS_OK
                   ? 0
                   : refused(&error);
    }
    if (real_ioctl(fd, KVM_ENABLE_CAP, cap) != 0) {
        return -1;
    }
    vm->msr_exits = (uint32_t)cap->args[0];
    return 0;
}

static struct kvm_msr_filter *filter_copy(const struct kvm_msr_filter *from)
{
    struct kvm_msr_filter *to = malloc(sizeof *to);

    if (to == NULL) {
        return NULL;
    }
    *to = *from;
    for (size_t i = 0; i < KVM_MSR_FILTER_MAX_RANGES; i++) {
        size_t bytes = (from->ranges[i].nmsrs + (size_t)7) / 8;

        to->ranges[i].bitmap = bytes != 0 ? malloc(bytes) : NULL;
        if (to->ranges[i].bitmap != NULL) {
            memcpy(to->ranges[i].bitmap, from->ranges[i].bitmap, bytes);
        } else {
            to->ranges[i].nmsrs = 0;
        }
    }
    return to;
}

static int filter_set(struct vm *vm, int fd, struct kvm_msr_filter *filter)
{
    struct hvtlfs_kvm_error error = {0};

    if (vm->hv != NULL) {
        return hvtlfs_kvm_msr_filter(vm->hv, filter, &error) == HVTLFS_OK ? 0 : refused(&error);
    }
    if (real_ioctl(fd, KVM_X86_SET_MSR_FILTER, filter) != 0) {
        return -1;
    }
    filter_free(vm->filter);
    vm->filter = filter_copy(filter);
    return 0;
}

static int enable_cap(struct vm *vm, int fd, struct kvm_enable_cap *cap)
{
    int result;

    if (cap->cap == KVM_CAP_X86_USER_SPACE_MSR) {
        return msr_exits_set(vm, fd, cap);
    }
    result = real_ioctl(fd, KVM_ENABLE_CAP, cap);
    if (result == 0 && cap->cap == KVM_CAP_SPLIT_IRQCHIP) {
        vm->has_apic = true;
    }
    return result;
}

/* ---- Connections ---- */

struct connection *vm_connection(struct vm *vm, uint32_t id)
{
    for (size_t i = 0; i < MOST_CONNECTIONS; i++) {
        if (vm->connections[i].used && vm->connections[i].id == id) {
            return &vm->connections[i];
        }
    }
    return NULL;
}

static int fail(int error)
{
    errno = error;
    return -1;
}

static int connection_add(struct vm *vm, const struct kvm_hyperv_eventfd *told)
{
    struct connection *connection = vm->connections;
    int event;

    while (connection->used && connection < vm->connections + MOST_CONNECTIONS - 1) {
        connection++;
    }
    if (vm_connection(vm, told->conn_id) != NULL) {
        return fail(EEXIST);
    }
    if (connection->used) {
        return fail(ENOSPC);
    }
    event = own_copy(told->fd);
    if (event < 0) {
        return -1;
    }
    *connection = (struct connection){told->conn_id, event, true};
    if (!hyperv_connect(vm, connection)) {
        connection->used = false;
        own_close(event);
        return fail(ENOSPC);
    }
    return 0;
}

static int connection_remove(struct vm *vm, uint32_t id)
{
    struct connection *connection = vm_connection(vm, id);

    if (connection == NULL) {
        return fail(ENOENT);
    }
    if (vm->hv != NULL) {
        (void)!hvtlfs_connection_remove(hvtlfs_kvm_partition(vm->hv), id);
    }
    connection->used = false;
    own_close(connection->event);
    return 0;
}

static int eventfd_set(struct vm *vm, const struct kvm_hyperv_eventfd *told)
{
    if ((told->flags & ~(uint32_t)KVM_HYPERV_EVENTFD_DEASSIGN) != 0 ||
        (told->conn_id & ~(uint32_t)KVM_HYPERV_CONN_ID_MASK) != 0) {
        return fail(EINVAL);
    }
    return (told->flags & KVM_HYPERV_EVENTFD_DEASSIGN) != 0 ? connection_remove(vm, told->conn_id)
                                                            : connection_add(vm, told);
}

/* ---- The calls ---- */

static int vcpu_create(struct vm *vm, int fd, void *argument)
{
    int made = real_ioctl(fd, KVM_CREATE_VCPU, argument);
    struct vcpu *vcpu;

    if (made < 0) {
        return made;
    }
    vcpu = vcpu_new(vm, made, (uint32_t)(uintptr_t)argument);
    if (vcpu != NULL && !table_add(made, &vcpu->object)) {
        object_put(&vcpu->object);
        vcpu = NULL;
    }
    if (vcpu == NULL) {
        tell("vCPU %u has no Hyper-V: no memory or no room", (unsigned)(uintptr_t)argument);
    }
    return made;
}

static int irq_line(struct vm *vm, int fd, unsigned long request, struct kvm_irq_level *line)
{
    if (line->level != 0 && line_raise(vm, line->irq)) {
        line->status = 1;
        return 0;
    }
    return real_ioctl(fd, request, line);
}

static int irqfd(struct vm *vm, int fd, const struct kvm_irqfd *told)
{
    int result;

    return line_add(vm, told, &result) ? result
                                       : real_ioctl(fd, KVM_IRQFD, (void *)(uintptr_t)told);
}

static int irqchip_create(struct vm *vm, int fd, void *argument)
{
    int result = real_ioctl(fd, KVM_CREATE_IRQCHIP, argument);

    vm->has_apic = vm->has_apic || result == 0;
    return result;
}

static int tsc_rate_set(struct vm *vm, int fd, unsigned long request, void *argument)
{
    int result = real_ioctl(fd, request, argument);

    hyperv_tsc_changed(vm);
    return result;
}

/* Those that touch what the VM's lock guards. */
static int guarded(struct vm *vm, int fd, unsigned long request, void *argument)
{
    switch (request) {
    case KVM_ENABLE_CAP:
        return enable_cap(vm, fd, argument);
    case KVM_X86_SET_MSR_FILTER:
        return filter_set(vm, fd, argument);
    case KVM_HYPERV_EVENTFD:
        return eventfd_set(vm, argument);
    case KVM_SET_CLOCK:
        return clock_set(vm, fd, argument);
    case KVM_CREATE_IRQCHIP:
        return irqchip_create(vm, fd, argument);
    default:
        return routing_set(vm, argument);
    }
}

static int with_lock(struct vm *vm, int fd, unsigned long request, void *argument)
{
    int result;

    (void)pthread_mutex_lock(&vm->lock);
    result = guarded(vm, fd, request, argument);
    (void)pthread_mutex_unlock(&vm->lock);
    return result;
}

int vm_ioctl(struct vm *vm, int fd, unsigned long request, void *argument)
{
    switch (request) {
    case KVM_CREATE_VCPU:
        return vcpu_create(vm, fd, argument);
    case KVM_CHECK_EXTENSION:
        return check_extension(fd, (int)(intptr_t)argument);
    case KVM_SET_USER_MEMORY_REGION:
    case KVM_SET_USER_MEMORY_REGION2:
        return memory_set(vm, fd, request, argument);
    case KVM_ENABLE_CAP:
    case KVM_X86_SET_MSR_FILTER:
    case KVM_HYPERV_EVENTFD:
    case KVM_SET_CLOCK:
    case KVM_CREATE_IRQCHIP:
    case KVM_SET_GSI_ROUTING:
        return with_lock(vm, fd, request, argument);
    case KVM_IRQFD:
        return irqfd(vm, fd, argument);
    case KVM_IRQ_LINE:
    case KVM_IRQ_LINE_STATUS:
        return irq_line(vm, fd, request, argument);
    case KVM_SET_TSC_KHZ:
        return tsc_rate_set(vm, fd, request, argument);
    default:
        return real_ioctl(fd, request, argument);
    }
}
