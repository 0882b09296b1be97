/* SPDX-License-Identifier: MIT */
/*
 * SINTs as interrupt lines: routes of the type KVM_IRQ_ROUTING_HV_SINT stay here, and so do eventfds on
 * their numbers. One thread waits for all of these of a process.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "preload.h"

struct line {
    struct vm *vm;
    uint32_t gsi;
    uint32_t vp_index;
    uint32_t sint;
    int told;     /* the program's descriptor, which names the line */
    int event;    /* duplicates */
    int resample; /* or -1 */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct line *lines;
static size_t line_count;
static int wake = -1;

/* ---- Routes ---- */

static bool route_keep(struct routes *routes, const struct kvm_irq_routing_entry *entry)
{
    if (entry->type != KVM_IRQ_ROUTING_HV_SINT || routes->count == MOST_ROUTES) {
        return false;
    }
    routes->all[routes->count++] =
        (struct route){entry->gsi, entry->u.hv_sint.vcpu, entry->u.hv_sint.sint};
    return true;
}

/* Those of the program's table that stay here, and the rest for the kernel. */
static void divide(const struct kvm_irq_routing *told, struct routes *ours,
                   struct kvm_irq_routing *rest)
{
    *rest = (struct kvm_irq_routing){.flags = told->flags};
    for (uint32_t i = 0; i < told->nr; i++) {
        if (!route_keep(ours, &told->entries[i])) {
            rest->entries[rest->nr++] = told->entries[i];
        }
    }
}

/* With the VM's lock. What the kernel refuses changes nothing here. */
int routing_set(struct vm *vm, const struct kvm_irq_routing *routing)
{
    struct routes *ours = calloc(1, sizeof *ours);
    struct kvm_irq_routing *rest =
        malloc(sizeof *rest + routing->nr * sizeof(struct kvm_irq_routing_entry));
    int result = -1;

    if (rest == NULL || ours == NULL) {
        errno = ENOMEM;
    } else {
        divide(routing, ours, rest);
        result = real_ioctl(vm->object.fd, KVM_SET_GSI_ROUTING, rest);
    }
    if (result == 0) {
        struct routes *old = vm->routes;

        vm->routes = ours;
        ours = old;
    }
    free(rest);
    free(ours);
    return result;
}

static bool route_find(struct vm *vm, uint32_t gsi, struct route *route)
{
    const struct routes *routes;
    bool found = false;

    (void)pthread_mutex_lock(&vm->lock);
    routes = vm->routes;
    for (uint32_t i = 0; routes != NULL && !found && i < routes->count; i++) {
        found = routes->all[i].gsi == gsi;
        if (found) {
            *route = routes->all[i];
        }
    }
    (void)pthread_mutex_unlock(&vm->lock);
    return found;
}

static void sint_raise(struct vm *vm, uint32_t vp_index, uint32_t sint)
{
    struct hvtlfs_vp *vp = NULL;

    (void)pthread_mutex_lock(&vm->lock);
    if (vm->hv != NULL) {
        vp = hvtlfs_partition_vp(hvtlfs_kvm_partition(vm->hv), vp_index);
    }
    (void)pthread_mutex_unlock(&vm->lock);
    if (vp != NULL) {
        (void)!hvtlfs_synic_request_interrupt(vp, sint);
    }
}

bool line_raise(struct vm *vm, uint32_t gsi)
{
    struct route route;

    if (!route_find(vm, gsi, &route)) {
        return false;
    }
    sint_raise(vm, route.vp_index, route.sint);
    return true;
}

/* ---- The thread ---- */

static size_t gather(struct pollfd **fds)
{
    size_t count;

    (void)pthread_mutex_lock(&lock);
    count = line_count + 1;
    *fds = calloc(count, sizeof **fds);
    if (*fds != NULL) {
        (*fds)[0] = (struct pollfd){wake, POLLIN, 0};
        for (size_t i = 0; i < line_count; i++) {
            (*fds)[i + 1] = (struct pollfd){lines[i].event, POLLIN, 0};
        }
    }
    (void)pthread_mutex_unlock(&lock);
    return *fds != NULL ? count : 0;
}

/* Whether something was there to take. Reading an eventfd waits where there is nothing. */
static bool taken(int event)
{
    struct pollfd look = {event, POLLIN, 0};
    uint64_t count;

    return poll(&look, 1, 0) > 0 && read(event, &count, sizeof count) > 0;
}

/* The line may have gone since we looked, and its descriptor be that of a new one. */
static void serve(int event)
{
    (void)pthread_mutex_lock(&lock);
    for (size_t i = 0; i < line_count; i++) {
        if (lines[i].event == event && taken(event)) {
            sint_raise(lines[i].vm, lines[i].vp_index, lines[i].sint);
        }
    }
    (void)pthread_mutex_unlock(&lock);
}

static void *watch(void *argument)
{
    uint64_t count;

    (void)argument;
    for (;;) {
        struct pollfd *fds;
        size_t number = gather(&fds);

        if (number == 0 || (poll(fds, (nfds_t)number, -1) < 0 && errno != EINTR)) {
            free(fds);
            return NULL;
        }
        if (fds[0].revents != 0) {
            (void)!read(wake, &count, sizeof count);
        }
        for (size_t i = 1; i < number; i++) {
            if (fds[i].revents != 0) {
                serve(fds[i].fd);
            }
        }
        free(fds);
    }
}

/* With the lock. The thread is the program's guest: it takes no signals. */
static bool watched(void)
{
    sigset_t all;
    sigset_t before;
    pthread_t thread;
    bool started;

    if (wake >= 0) {
        uint64_t one = 1;

        return write(wake, &one, sizeof one) > 0;
    }
    wake = own_take(eventfd(0, EFD_CLOEXEC));
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    started = wake >= 0 && pthread_create(&thread, NULL, watch, NULL) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (started) {
        (void)pthread_detach(thread);
    }
    return started;
}

/* ---- Lines ---- */

static void line_close(size_t i)
{
    if (lines[i].event >= 0) {
        own_close(lines[i].event);
    }
    if (lines[i].resample >= 0) {
        own_close(lines[i].resample);
    }
    lines[i] = lines[--line_count];
}

static int line_remove(struct vm *vm, const struct kvm_irqfd *told)
{
    (void)pthread_mutex_lock(&lock);
    for (size_t i = line_count; i-- > 0;) {
        if (lines[i].vm == vm && lines[i].gsi == told->gsi && lines[i].told == (int)told->fd) {
            line_close(i);
        }
    }
    (void)pthread_mutex_unlock(&lock);
    return 0;
}

static int line_new(struct vm *vm, const struct kvm_irqfd *told, const struct route *route)
{
    bool resamples = (told->flags & KVM_IRQFD_FLAG_RESAMPLE) != 0;
    struct line *grown = realloc(lines, (line_count + 1) * sizeof *lines);
    struct line *line;

    if (grown == NULL) {
        errno = ENOMEM;
        return -1;
    }
    lines = grown;
    line = &lines[line_count++];
    *line = (struct line){vm,
                          told->gsi,
                          route->vp_index,
                          route->sint,
                          (int)told->fd,
                          own_copy((int)told->fd),
                          resamples ? own_copy((int)told->resamplefd) : -1};
    if (line->event < 0 || (resamples && line->resample < 0) || !watched()) {
        int why = errno;

        line_close(line_count - 1);
        errno = why;
        return -1;
    }
    return 0;
}

bool line_add(struct vm *vm, const struct kvm_irqfd *told, int *result)
{
    struct route route;

    if (!route_find(vm, told->gsi, &route)) {
        return false;
    }
    if ((told->flags & KVM_IRQFD_FLAG_DEASSIGN) != 0) {
        *result = line_remove(vm, told);
        return true;
    }
    (void)pthread_mutex_lock(&lock);
    *result = line_new(vm, told, &route);
    (void)pthread_mutex_unlock(&lock);
    return true;
}

void lines_of(struct vm *vm, uint32_t vp_index)
{
    uint64_t one = 1;

    (void)pthread_mutex_lock(&lock);
    for (size_t i = 0; i < line_count; i++) {
        if (lines[i].vm == vm && lines[i].vp_index == vp_index && lines[i].resample >= 0) {
            (void)!write(lines[i].resample, &one, sizeof one);
        }
    }
    (void)pthread_mutex_unlock(&lock);
}

void lines_drop(struct vm *vm)
{
    (void)pthread_mutex_lock(&lock);
    for (size_t i = line_count; i-- > 0;) {
        if (lines[i].vm == vm) {
            line_close(i);
        }
    }
    (void)pthread_mutex_unlock(&lock);
}

/* The thread has stayed with the parent. Its lines are leaked: their VMs are not a child's to use. */
void lines_in_child(void)
{
    static const pthread_mutex_t fresh = PTHREAD_MUTEX_INITIALIZER;

    lock = fresh;
    lines = NULL;
    line_count = 0;
    wake = -1;
}
