/* SPDX-License-Identifier: MIT */
/*
 * Descriptors of ours in the program's table. They lie above its limit where it may be raised for a moment: the
 * program gets the numbers it would get without us, and as many. Its ways of closing all it does not know
 * pass them by.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>

#include "preload.h"

enum {
    HIGHEST =
        4096, /* to begin with, where there is nothing above: a higher number makes a larger table */
    ABOVE_MOST = 32768, /* of limits above which there is room in our own */
};

static bool own[DESCRIPTORS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Where to begin. The limit is of numbers, not of how many there are, and those above it stay good. */
static int begin_above(const struct rlimit *limit, bool *raised)
{
    struct rlimit more = {limit->rlim_max, limit->rlim_max};
    rlim_t most = limit->rlim_cur < HIGHEST ? limit->rlim_cur : HIGHEST;

    *raised = limit->rlim_cur < limit->rlim_max && limit->rlim_cur <= ABOVE_MOST &&
              setrlimit(RLIMIT_NOFILE, &more) == 0;
    return (int)(*raised ? limit->rlim_cur : most / 4 * 3);
}

static int copy_above(int fd)
{
    struct rlimit limit = {0};
    bool raised;
    int copy;
    int saved;

    (void)getrlimit(RLIMIT_NOFILE, &limit);
    copy = real_fcntl(fd, F_DUPFD_CLOEXEC, begin_above(&limit, &raised));
    saved = errno;
    if (raised) {
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
    errno = saved;
    return copy;
}

int own_copy(int fd)
{
    int copy;

    (void)pthread_mutex_lock(&lock);
    copy = copy_above(fd);
    if (copy < 0 && (errno == EMFILE || errno == EINVAL)) {
        copy = real_fcntl(fd, F_DUPFD_CLOEXEC, 0);
    }
    (void)pthread_mutex_unlock(&lock);
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
    static const pthread_mutex_t fresh = PTHREAD_MUTEX_INITIALIZER;

    lock = fresh;
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
