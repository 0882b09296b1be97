/* SPDX-License-Identifier: MIT */
/*
 * syscall(2), for programs that call ioctl() and its like by number. The C library's takes its arguments where
 * any function has them, so this one is given a list of its own, without <unistd.h>'s; all others go on with
 * the registers as they came.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

typedef long (*syscall_function)(long, long, long, long, long, long, long);

int close(int fd);
int close_range(unsigned first, unsigned last, int flags);
int dup(int fd);
int dup2(int fd, int to);
int dup3(int fd, int to, int flags);

static syscall_function real(void)
{
    static syscall_function function;

    if (function == NULL) {
        void *found = dlsym(RTLD_NEXT, "syscall");

        memcpy(&function, &found, sizeof function);
    }
    return function;
}

__attribute__((visibility("default"))) long syscall(long number, long a, long b, long c, long d,
                                                    long e, long f);
long syscall(long number, long a, long b, long c, long d, long e, long f)
{
    switch (number) {
    case SYS_ioctl:
        return ioctl((int)a, (unsigned long)b, c);
    case SYS_close:
        return close((int)a);
    case SYS_close_range:
        return close_range((unsigned)a, (unsigned)b, (int)c);
    case SYS_dup:
        return dup((int)a);
    case SYS_dup2:
        return dup2((int)a, (int)b);
    case SYS_dup3:
        return dup3((int)a, (int)b, (int)c);
    case SYS_fcntl:
        return fcntl((int)a, (int)b, c);
    default:
        return real()(number, a, b, c, d, e, f);
    }
}
