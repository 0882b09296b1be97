/* SPDX-License-Identifier: MIT */
/*
 * Who is in the guest. Memory slots cannot be split in one step, so while an overlay comes or goes the
 * other VPs must be out of the guest, or they would find no memory for a moment.
 */
#include <errno.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "adapter.h"

enum { KICK_SIGNAL_OFFSET = 4 };

/* Between kicks: a guest that is emulated slowly must get somewhere. */
#define KICK_INTERVAL_NS 2000000L

/* An older <signal.h> has no name for it. */
#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

static _Thread_local struct kvm_run *running;
static _Thread_local struct adapter_vp *self;

/* A signal between the last look around and KVM_RUN must not be lost, so it leaves a mark in what the
 * kernel looks at first. */
static void on_kick(int signal)
{
    (void)signal;
    if (running != NULL) {
        running->immediate_exit = 1;
        atomic_store(&self->kicked, true); /* perhaps it was the deadline */
    }
}

void gate_install(void)
{
    struct sigaction action = {.sa_handler = on_kick};

    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGRTMIN + KICK_SIGNAL_OFFSET, &action, NULL);
}

void gate_thread_begins(struct adapter_vp *vp)
{
    struct sigevent event = {
        .sigev_notify = SIGEV_THREAD_ID,
        .sigev_signo = SIGRTMIN + KICK_SIGNAL_OFFSET,
    };

    event.sigev_notify_thread_id = gettid();
    self = vp;
    running = vp->run;
    vp->thread = pthread_self();
    vp->has_timer = timer_create(CLOCK_MONOTONIC, &event, &vp->timer) == 0;
}

void gate_deadline(struct adapter_vp *vp, uint64_t time)
{
    struct itimerspec when = {0};

    if (!vp->has_timer) {
        return;
    }
    if (time != HVTLFS_TIME_NEVER) {
        /* At least 1 ns: 0 would disarm it. */
        when.it_value.tv_sec = (time_t)(time / 10000000);
        when.it_value.tv_nsec = (long)(time % 10000000 * 100) + (time < 10000000);
    }
    (void)timer_settime(vp->timer, 0, &when, NULL);
}

/* With the gate's mutex held. */
static void kick(const struct adapter_vp *vp)
{
    if (vp->in_guest) {
        (void)pthread_kill(vp->thread, SIGRTMIN + KICK_SIGNAL_OFFSET);
    }
}

void gate_kick(struct adapter_vp *vp)
{
    (void)pthread_mutex_lock(&vp->adapter->gate);
    kick(vp);
    (void)pthread_mutex_unlock(&vp->adapter->gate);
}

/* With the gate's mutex held: kick everybody who is in the guest; whether there was anybody. */
static bool kick_all(struct adapter *adapter)
{
    bool anybody = false;

    for (uint32_t n = 0; n < adapter->vp_count; n++) {
        anybody = anybody || adapter->vps[n].in_guest;
        kick(&adapter->vps[n]);
    }
    return anybody;
}

static void wait_a_little(struct adapter *adapter)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += KICK_INTERVAL_NS;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_nsec -= 1000000000L;
        until.tv_sec++;
    }
    (void)pthread_cond_timedwait(&adapter->gate_moved, &adapter->gate, &until);
}

void gate_close(struct adapter *adapter)
{
    (void)pthread_mutex_lock(&adapter->gate);
    adapter->closed = true;
    while (kick_all(adapter)) {
        wait_a_little(adapter);
    }
    (void)pthread_mutex_unlock(&adapter->gate);
}

void gate_open(struct adapter *adapter)
{
    (void)pthread_mutex_lock(&adapter->gate);
    adapter->closed = false;
    (void)pthread_cond_broadcast(&adapter->gate_moved);
    (void)pthread_mutex_unlock(&adapter->gate);
}

static bool enter(struct adapter_vp *vp)
{
    struct adapter *adapter = vp->adapter;
    bool entered;

    (void)pthread_mutex_lock(&adapter->gate);
    while (adapter->closed && !atomic_load(&adapter->stop)) {
        (void)pthread_cond_wait(&adapter->gate_moved, &adapter->gate);
    }
    vp->run->immediate_exit = 0;
    entered = !atomic_load(&adapter->stop) && !atomic_load(&vp->kicked);
    vp->in_guest = entered;
    (void)pthread_mutex_unlock(&adapter->gate);
    return entered;
}

static void leave(struct adapter_vp *vp)
{
    (void)pthread_mutex_lock(&vp->adapter->gate);
    vp->in_guest = false;
    (void)pthread_cond_broadcast(&vp->adapter->gate_moved);
    (void)pthread_mutex_unlock(&vp->adapter->gate);
}

int adapter_run(struct adapter_vp *vp)
{
    int result = -1;

    if (atomic_exchange(&vp->kicked, false)) {
        hvtlfs_vp_poll(vp->vp);
    }
    if (enter(vp)) {
        result = ioctl(vp->fd, KVM_RUN, 0);
        leave(vp);
    } else {
        errno = EINTR;
    }
    return result;
}

void adapter_complete(struct adapter_vp *vp)
{
    vp->run->immediate_exit = 1;
    (void)ioctl(vp->fd, KVM_RUN, 0);
    vp->run->immediate_exit = 0;
}
