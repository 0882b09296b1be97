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

enum { DEVICE_LENGTH = sizeof "/dev/kvm" };

typedef int (*ioctl_function)(int, unsigned long, ...);
typedef int (*open_function)(const char *, int, ...);
typedef int (*openat_function)(int, const char *, int, ...);
typedef int (*close_function)(int);

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
    (void)strcat(line, "\n");
    (void)!write(STDERR_FILENO, line, strlen(line));
}

__attribute__((constructor)) static void begin(void)
{
    table_init();
}

/* ---- open ---- */

static int opened(int fd, const char *path)
{
    int saved = errno;

    if (fd >= 0 && path != NULL && strcmp(path, "/dev/kvm") == 0 && offered()) {
        (void)table_add(fd, system_object());
    }
    errno = saved;
    return fd;
}

static unsigned mode_of(int flags, va_list arguments)
{
    bool makes = (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;

    return makes ? va_arg(arguments, unsigned) : 0;
}

/* Define NAME, of the form of open(2), in front of the C library's. */
#define OPEN(name)                                                                                 \
    OURS int name(const char *path, int flags, ...);                                               \
    OURS int name(const char *path, int flags, ...)                                                \
    {                                                                                              \
        static open_function function;                                                             \
        va_list arguments;                                                                         \
        unsigned mode;                                                                             \
                                                                                                   \
        va_start(arguments, flags);                                                                \
        mode = mode_of(flags, arguments);                                                          \
        va_end(arguments);                                                                         \
        if (function == NULL) {                                                                    \
            find(&function, #name);                                                                \
        }                                                                                          \
        return opened(function(path, flags, mode), path);                                          \
    }

/* The same for openat(2). */
#define OPENAT(name)                                                                               \
    OURS int name(int folder, const char *path, int flags, ...);                                   \
    OURS int name(int folder, const char *path, int flags, ...)                                    \
    {                                                                                              \
        static openat_function function;                                                           \
        va_list arguments;                                                                         \
        unsigned mode;                                                                             \
                                                                                                   \
        va_start(arguments, flags);                                                                \
        mode = mode_of(flags, arguments);                                                          \
        va_end(arguments);                                                                         \
        if (function == NULL) {                                                                    \
            find(&function, #name);                                                                \
        }                                                                                          \
        return opened(function(folder, path, flags, mode), path);                                  \
    }

OPEN(open)
OPEN(open64)
OPEN(__open_2)
OPEN(__open64_2)
OPENAT(openat)
OPENAT(openat64)
OPENAT(__openat_2)
OPENAT(__openat64_2)

/* ---- close ---- */

OURS int close(int fd);
OURS int close(int fd)
{
    struct object *object = table_drop(fd);
    int saved;
    int result;

    if (object != NULL && object->kind == KIND_VM) {
        ((struct vm *)(void *)object)->fd = -1;
    }
    result = real_close(fd);
    saved = errno;
    if (object != NULL) {
        object_put(object);
    }
    errno = saved;
    return result;
}

/* ---- ioctl ---- */

static int vm_create(int fd, void *argument)
{
    int made = real_ioctl(fd, KVM_CREATE_VM, argument);
    struct vm *vm = made >= 0 ? vm_new(made) : NULL;

    if (vm != NULL && !table_add(made, &vm->object)) {
        vm_free(vm);
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

OURS int ioctl(int fd, unsigned long request, ...);
OURS int ioctl(int fd, unsigned long request, ...)
{
    struct object *object = object_get(fd);
    va_list arguments;
    void *argument;
    int saved;
    int result;

    va_start(arguments, request);
    argument = va_arg(arguments, void *);
    va_end(arguments);
    if (object == NULL) {
        return real_ioctl(fd, request, argument);
    }
    /* Programs written for another C library sign-extend the request. */
    result = served(object, fd, request & 0xFFFFFFFF, argument);
    saved = errno;
    object_put(object);
    errno = saved;
    return result;
}
