/* SPDX-License-Identifier: MIT */
/*
 * Descriptors of ours in the program's table. They lie high, so that the program gets the numbers it would
 * get without us, and the program's ways of closing all it does not know pass them by.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>

#include "preload.h"

enum { HIGHEST = 4096 }; /* a higher number makes the kernel's table larger */

static bool own[DESCRIPTORS];

static int floor_of(void)
{
    struct rlimit limit;
    rlim_t most = HIGHEST;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < most) {
        most = limit.rlim_cur;
    }
    return (int)(most / 4 * 3);
}

int own_copy(int fd)
{
    int copy = real_fcntl(fd, F_DUPFD_CLOEXEC, floor_of());

    if (copy < 0 && (errno == EMFILE || errno == EINVAL)) {
        copy = real_fcntl(fd, F_DUPFD_CLOEXEC, 0);
    }
    if (copy >= 0 && copy < DESCRIPTORS) {
        __atomic_store_n(&own[copy], true, __ATOMIC_SEQ_CST);
    }
    return copy;
}

int own_take(int fd)
{
    int copy = fd >= 0 ? own_copy(fd) : -1;

    if (fd >= 0) {
        int saved = errno;

        (void)real_close(fd);
        errno = saved;
    }
    return copy;
}

bool is_own(int fd)
{
    return fd >= 0 && fd < DESCRIPTORS && __atomic_load_n(&own[fd], __ATOMIC_SEQ_CST);
}

void own_close(int fd)
{
    if (fd >= 0 && fd < DESCRIPTORS) {
        __atomic_store_n(&own[fd], false, __ATOMIC_SEQ_CST);
        (void)real_close(fd);
    }
}

/* A copy held in a child would keep the parent's VM alive. */
void own_in_child(void)
{
    for (int fd = 0; fd < DESCRIPTORS; fd++) {
        if (own[fd] && fd != own_kvm()) {
            own_close(fd);
        }
    }
}

unsigned own_next(unsigned first, unsigned last)
{
    for (unsigned fd = first; fd <= last && fd < DESCRIPTORS; fd++) {
        if (is_own((int)fd)) {
            return fd;
        }
    }
    return UINT32_MAX;
}
