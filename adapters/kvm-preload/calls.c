/* SPDX-License-Identifier: MIT */
/* The functions of the C library that we stand in front of. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <hvtlfs/export.h>

#include "preload.h"

#define OURS __attribute__((visibility("default")))

enum { KVM_TYPE_SHIFT = 8, KVM_TYPE_MASK = 0xFF };

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC 4u
#endif

typedef int (*ioctl_function)(int, unsigned long, ...);
typedef int (*fcntl_function)(int, int, ...);
typedef int (*close_function)(int);
typedef int (*close_range_function)(unsigned, unsigned, int);
typedef int (*dup3_function)(int, int, int);

/* dlsym() gives a data pointer, which C does not let us call without this. */
static void find(void *function, const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);

    memcpy(function, &found, sizeof found);
}

int real_ioctl(int fd, unsigned long request, void *argument)
{
    static ioctl_function function;

    if (function == NULL) {
        find(&function, "ioctl");
    }
    return function(fd, request, argument);
}

int real_close(int fd)
{
    static close_function function;

    if (function == NULL) {
        find(&function, "close");
    }
    return function(fd);
}

void tell(const char *format, ...)
{
    char line[400];
    va_list arguments;
    int length = snprintf(line, sizeof line, "libhvtlfs-kvm-preload: ");

    va_start(arguments, format);
    (void)vsnprintf(line + length, sizeof line - (size_t)length - 1, format, arguments);
    va_end(arguments);
    length = (int)strlen(line);
    line[length++] = '\n'; /* vsnprintf() left room for it */
    (void)!write(STDERR_FILENO, line, (size_t)length);
}

__attribute__((constructor)) static void begin(void)
{
    table_init();
}

/* ---- Descriptors that go ---- */

OURS int close(int fd);
OURS int close(int fd)
{
    if (is_own(fd)) {
        errno = EBADF; /* to the program there is nothing at this number */
        return -1;
    }
    table_drop(fd);
    return real_close(fd);
}

static int close_part(unsigned first, unsigned last, int flags)
{
    static close_range_function function;

    if (function == NULL) {
        find(&function, "close_range");
    }
    return function(first, last, flags);
}

OURS int close_range(unsigned first, unsigned last, int flags);
OURS int close_range(unsigned first, unsigned last, int flags)
{
    unsigned own;

    if ((flags & (int)CLOSE_RANGE_CLOEXEC) != 0 || first > last) {
        return close_part(first, last, flags);
    }
    table_drop_range(first, last);
    while ((own = own_next(first, last)) != UINT32_MAX) {
        if (own > first && close_part(first, own - 1, flags) != 0) {
            return -1;
        }
        if (own == last) {
            return 0;
        }
        first = own + 1;
    }
    return close_part(first, last, flags);
}

OURS void closefrom(int lowest);
OURS void closefrom(int lowest)
{
    (void)close_range(lowest > 0 ? (unsigned)lowest : 0, UINT32_MAX, 0);
}

/* ---- Descriptors that come ---- */

OURS int dup(int fd);
OURS int dup(int fd)
{
    static close_function function;
    int copy;

    if (function == NULL) {
        find(&function, "dup");
    }
    copy = function(fd);
    if (copy >= 0) {
        table_copied(fd, copy);
    }
    return copy;
}

/* The program asks for a number that is ours: the kernel, too, says EBUSY for one that is being taken. */
OURS int dup3(int fd, int to, int flags);
OURS int dup3(int fd, int to, int flags)
{
    static dup3_function function;
    int copy;

    if (function == NULL) {
        find(&function, "dup3");
    }
    if (is_own(to)) {
        errno = EBUSY;
        return -1;
    }
    copy = function(fd, to, flags);
    if (copy >= 0) {
        table_copied(fd, copy);
    }
    return copy;
}

OURS int dup2(int fd, int to);
OURS int dup2(int fd, int to)
{
    if (fd == to) {
        return real_fcntl(fd, F_GETFD, 0) >= 0 ? fd : -1;
    }
    return dup3(fd, to, 0);
}

int real_fcntl(int fd, int command, long argument)
{
    static fcntl_function function;

    if (function == NULL) {
        find(&function, "fcntl");
    }
    return function(fd, command, argument);
}

static int controlled(int fd, int command, long argument)
{
    int result = real_fcntl(fd, command, argument);

    if (result >= 0 && (command == F_DUPFD || command == F_DUPFD_CLOEXEC)) {
        table_copied(fd, result);
    }
    return result;
}

/* What does not need its argument takes whatever is there. */
#define FCNTL(name)                                                                                \
    OURS int name(int fd, int command, ...);                                                       \
    OURS int name(int fd, int command, ...)                                                        \
    {                                                                                              \
        va_list arguments;                                                                         \
        long argument;                                                                             \
                                                                                                   \
        va_start(arguments, command);                                                              \
        argument = va_arg(arguments, long);                                                        \
        va_end(arguments);                                                                         \
        return controlled(fd, command, argument);                                                  \
    }

FCNTL(fcntl)
FCNTL(fcntl64)

/* ---- ioctl ---- */

static int vm_create(int fd, void *argument)
{
    int made = real_ioctl(fd, KVM_CREATE_VM, argument);
    struct vm *vm = made >= 0 ? vm_new(made) : NULL;

    if (vm != NULL && !table_add(made, &vm->object)) {
        object_put(&vm->object);
        vm = NULL;
    }
    if (made >= 0 && vm == NULL) {
        tell("a VM has no Hyper-V: no memory, or no descriptor is free");
    }
    return made;
}

static int system_ioctl(int fd, unsigned long request, void *argument)
{
    switch (request) {
    case KVM_CREATE_VM:
        return vm_create(fd, argument);
    case KVM_CHECK_EXTENSION:
        return check_extension(fd, (int)(intptr_t)argument);
    case KVM_GET_SUPPORTED_HV_CPUID:
        return supported_hv_cpuid(argument);
    case KVM_GET_MSR_INDEX_LIST:
        return msr_index_list(fd, argument);
    default:
        return real_ioctl(fd, request, argument);
    }
}

static int served(struct object *object, int fd, unsigned long request, void *argument)
{
    switch (object->kind) {
    case KIND_SYSTEM:
        return system_ioctl(fd, request, argument);
    case KIND_VM:
        return vm_ioctl((struct vm *)(void *)object, fd, request, argument);
    case KIND_VCPU:
        return vcpu_ioctl((struct vcpu *)(void *)object, fd, request, argument);
    case KIND_NONE:
        break;
    }
    return real_ioctl(fd, request, argument);
}

static int call(struct object *object, int fd, unsigned long request, void *argument)
{
    int result = served(object, fd, request, argument);
    int saved = errno;

    object_put(object);
    errno = saved;
    return result;
}

/* Handlers of signals that came meanwhile run behind the last line but one, with no lock held. */
static int run(int fd, void *argument)
{
    struct object *object = object_get(fd, true);
    sigset_t before;
    int result;
    int saved;

    if (object == NULL || object->kind != KIND_VCPU) {
        object_put(object);
        return real_ioctl(fd, KVM_RUN, argument);
    }
    signals_hold(&before);
    result = vcpu_run((struct vcpu *)(void *)object, &before);
    saved = errno;
    object_put(object);
    signals_let(&before);
    errno = saved;
    return result;
}

OURS int ioctl(int fd, unsigned long request, ...);
OURS int ioctl(int fd, unsigned long request, ...)
{
    struct object *object;
    va_list arguments;
    void *argument;

    va_start(arguments, request);
    argument = va_arg(arguments, void *);
    va_end(arguments);
    if ((request >> KVM_TYPE_SHIFT & KVM_TYPE_MASK) != KVMIO) {
        return real_ioctl(fd, request, argument);
    }
    request &= 0xFFFFFFFF; /* programs written for another C library sign-extend it */
    if (request == KVM_RUN) {
        return run(fd, argument);
    }
    object = object_get(fd, false);
    return object != NULL ? call(object, fd, request, argument) : real_ioctl(fd, request, argument);
}
