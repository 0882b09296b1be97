/* SPDX-License-Identifier: MIT */
/*
 * Who is in the guest, and how to get it out.
 *
 * A kick is a signal to the thread that is inside KVM_RUN, or about to be. Between the last look around
 * and KVM_RUN the signal would be lost, so its handler leaves a mark in what the kernel looks at first:
 * immediate_exit. That word is the VMM's as well, hence a value of our own in it.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "helper.h"

/* Between kicks: a guest that is emulated slowly must get somewhere. */
#define KICK_INTERVAL_NS 2000000L

enum {
    CLOSE_TRIES = 5000, /* ten seconds: whoever has not come out by then never will */
    IDLE_NS = 50000,    /* between two looks for an interrupt */
    IDLE_LOOKS = 100,   /* then the VMM may look around */
};

/* An older <signal.h> has no name for it. */
#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

/* The signal's handler may be the first to touch them in a thread, so they must be there already. */
#define THREAD_LOCAL static _Thread_local __attribute__((tls_model("initial-exec")))

THREAD_LOCAL struct hvti_kvm_vp *running;
THREAD_LOCAL uint64_t this_thread; /* never used twice, unlike a thread's ID */
static atomic_uint_fast64_t threads;

static bool exit_mark(struct hvti_kvm_vp *vp, uint8_t from, uint8_t to)
{
    return __atomic_compare_exchange_n(&vp->run->immediate_exit, &from, to, false, __ATOMIC_SEQ_CST,
                                       __ATOMIC_SEQ_CST);
}

static void on_kick(int signal)
{
    (void)signal;
    if (running != NULL) {
        (void)exit_mark(running, 0, HVTI_KVM_EXIT_OURS);
    }
}

enum hvtlfs_status hvti_kvm_signal_install(int signal, struct hvtlfs_kvm_error *error)
{
    struct sigaction action = {.sa_handler = on_kick, .sa_flags = SA_RESTART};
    struct sigaction old;

    if (sigaction(signal, NULL, &old) != 0) {
        return hvti_kvm_fail(error, HVTLFS_ERR_ARGUMENT, errno, "kick_signal %d", signal);
    }
    if ((old.sa_flags & SA_SIGINFO) != 0 ||
        (old.sa_handler != SIG_DFL && old.sa_handler != SIG_IGN && old.sa_handler != on_kick)) {
        return hvti_kvm_fail(error, HVTLFS_ERR_EXISTS, 0,
                             "signal %d has a handler of the program; choose another kick_signal",
                             signal);
    }
    (void)sigemptyset(&action.sa_mask);
    if (sigaction(signal, &action, NULL) != 0) {
        return hvti_kvm_fail(error, HVTLFS_ERR_ARGUMENT, errno, "kick_signal %d", signal);
    }
    return HVTLFS_OK;
}

/* ---- Threads ---- */

static uint64_t thread_time(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 10000000 + (uint64_t)now.tv_nsec / 100;
}

static void timer_make(struct hvti_kvm_vp *vp, pid_t tid)
{
    struct sigevent event = {
        .sigev_notify = SIGEV_THREAD_ID,
        .sigev_signo = vp->kvm->config.kick_signal,
    };

    event.sigev_notify_thread_id = tid;
    vp->has_timer = timer_create(CLOCK_MONOTONIC, &event, &vp->timer) == 0;
    atomic_store(&vp->due_moved, true);
}

void hvti_kvm_thread_forget(struct hvti_kvm_vp *vp)
{
    if (vp->has_timer) {
        (void)timer_delete(vp->timer);
        vp->has_timer = false;
    }
    vp->runtime_before = atomic_load(&vp->runtime_told);
    vp->thread = 0;
}

/* VMMs block signals in their threads, all of them as a rule. */
static void signal_unblock(int signal)
{
    sigset_t set;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, signal);
    (void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

/* The calling thread is the VP's from now on. */
static void thread_take(struct hvti_kvm_vp *vp)
{
    pid_t tid;

    if (this_thread == 0) {
        this_thread = atomic_fetch_add(&threads, 1) + 1;
    }
    if (vp->thread == this_thread) {
        return;
    }
    hvti_kvm_thread_forget(vp);
    tid = (pid_t)syscall(SYS_gettid);
    vp->thread = this_thread;
    vp->runtime_start = thread_time();
    timer_make(vp, tid);
    signal_unblock(vp->kvm->config.kick_signal);
    (void)pthread_mutex_lock(&vp->kvm->gate);
    vp->tid = tid;
    (void)pthread_mutex_unlock(&vp->kvm->gate);
}

/* ---- Deadlines ---- */

uint64_t hvti_kvm_now(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void hvti_kvm_due(struct hvti_kvm_vp *vp, uint64_t due)
{
    atomic_store(&vp->due, due);
    atomic_store(&vp->due_moved, true);
    if (vp->thread != this_thread || vp->thread == 0) {
        hvti_kvm_kick(vp); /* only its thread sets its timer */
    }
}

static bool due_passed(struct hvti_kvm_vp *vp)
{
    uint64_t due = atomic_load(&vp->due);

    if (due == HVTLFS_TIME_NEVER || hvti_kvm_now() < due) {
        return false;
    }
    /* A poll arms it again, if only for the difference of two clocks. */
    return atomic_compare_exchange_strong(&vp->due, &due, HVTLFS_TIME_NEVER);
}

static void timer_arm(struct hvti_kvm_vp *vp)
{
    struct itimerspec when = {0};
    uint64_t due;

    if (!atomic_exchange(&vp->due_moved, false) || !vp->has_timer) {
        return;
    }
    due = atomic_load(&vp->due);
    if (due != HVTLFS_TIME_NEVER) {
        when.it_value.tv_sec = (time_t)(due / 1000000000);
        when.it_value.tv_nsec = (long)(due % 1000000000);
    }
    (void)timer_settime(vp->timer, TIMER_ABSTIME, &when, NULL);
}

/* ---- Kicks ---- */

/* With the gate's mutex held. */
static void kick(struct hvti_kvm_vp *vp)
{
    if (vp->in_guest) {
        hvti_kvm_count(&vp->count.kicks);
        (void)syscall(SYS_tgkill, getpid(), vp->tid, vp->kvm->config.kick_signal);
    }
}

void hvti_kvm_kick(struct hvti_kvm_vp *vp)
{
    (void)pthread_mutex_lock(&vp->kvm->gate);
    kick(vp);
    (void)pthread_mutex_unlock(&vp->kvm->gate);
}

void hvtlfs_kvm_kick(struct hvtlfs_kvm *kvm, uint32_t vp_index)
{
    struct hvti_kvm_vp *vp = hvti_kvm_find(kvm, vp_index);

    if (*kvm->alive != 0 && vp != NULL) {
        atomic_store(&vp->called, true);
        hvti_kvm_kick(vp);
    }
}

static void wait_a_little(struct hvtlfs_kvm *kvm)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += KICK_INTERVAL_NS;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_nsec -= 1000000000L;
        until.tv_sec++;
    }
    (void)pthread_cond_timedwait(&kvm->gate_moved, &kvm->gate, &until);
}

/* ---- The gate ---- */

/* With the gate's mutex held: kick everybody who is in the guest; whether there was anybody. */
static bool kick_all(struct hvtlfs_kvm *kvm)
{
    bool anybody = false;

    for (uint32_t n = 0; n < kvm->vp_count; n++) {
        anybody = anybody || kvm->vps[n].in_guest;
        kick(&kvm->vps[n]);
    }
    return anybody;
}

bool hvti_kvm_gate_close(struct hvtlfs_kvm *kvm)
{
    unsigned tries = CLOSE_TRIES;
    bool anybody;

    (void)pthread_mutex_lock(&kvm->gate);
    kvm->closed++;
    while ((anybody = kick_all(kvm)) && tries-- > 0) {
        wait_a_little(kvm);
    }
    (void)pthread_mutex_unlock(&kvm->gate);
    return !anybody;
}

void hvti_kvm_gate_open(struct hvtlfs_kvm *kvm)
{
    (void)pthread_mutex_lock(&kvm->gate);
    kvm->closed--;
    (void)pthread_cond_broadcast(&kvm->gate_moved);
    (void)pthread_mutex_unlock(&kvm->gate);
}

bool hvti_kvm_any_in_guest(struct hvtlfs_kvm *kvm)
{
    bool anybody = false;

    (void)pthread_mutex_lock(&kvm->gate);
    for (uint32_t n = 0; n < kvm->vp_count; n++) {
        anybody = anybody || kvm->vps[n].in_guest;
    }
    (void)pthread_mutex_unlock(&kvm->gate);
    return anybody;
}

/* With the gate's mutex held: whether a target of the VP's flushes is still in the guest with its old
 * translations. Kicks it again. */
static bool flush_under_way(struct hvti_kvm_vp *vp)
{
    struct hvtlfs_kvm *kvm = vp->kvm;
    bool waits = false;

    if (vp->flush_waits == 0) {
        return false;
    }
    for (uint32_t n = 0; n < kvm->vp_count; n++) {
        struct hvti_kvm_vp *target = &kvm->vps[n];

        if (target->flush_asked != 0 && target->flush_asked <= vp->flush_waits) {
            kick(target);
            waits = true;
        }
    }
    if (!waits) {
        vp->flush_waits = 0;
    }
    return waits;
}

static bool shut(struct hvti_kvm_vp *vp)
{
    return vp->kvm->closed > 0 || flush_under_way(vp);
}

/* Into the guest, unless there is a reason to stay out. A reason that can pass gets one short wait. */
static bool admitted(struct hvti_kvm_vp *vp)
{
    struct hvtlfs_kvm *kvm = vp->kvm;

    (void)pthread_mutex_lock(&kvm->gate);
    if (shut(vp)) {
        wait_a_little(kvm);
    }
    vp->in_guest = !shut(vp) && !atomic_load(&vp->kicked) && !atomic_load(&vp->flush_pending) &&
                   !atomic_exchange(&vp->called, false);
    (void)pthread_mutex_unlock(&kvm->gate);
    return vp->in_guest;
}

static void left(struct hvti_kvm_vp *vp)
{
    (void)pthread_mutex_lock(&vp->kvm->gate);
    vp->in_guest = false;
    vp->flush_asked = 0; /* it empties its TLB before it enters again */
    (void)pthread_cond_broadcast(&vp->kvm->gate_moved);
    (void)pthread_mutex_unlock(&vp->kvm->gate);
}

/* ---- In and out ---- */

static void work_off(struct hvti_kvm_vp *vp)
{
    bool due = due_passed(vp);

    hvti_kvm_apic_settle(vp);
    if (atomic_exchange(&vp->kicked, false) || due) {
        hvtlfs_vp_poll(vp->vp);
    }
    if (atomic_exchange(&vp->flush_pending, false)) {
        hvti_kvm_flush(vp);
    }
    if (atomic_load(&vp->auto_pending)) {
        hvti_kvm_inject(vp);
    }
    hvti_kvm_eoi_page(vp);
    timer_arm(vp);
}

/* The kernel's own halt waits for an interrupt that can get in; GUEST_IDLE ends with any that is pending
 * (TLFS 7.5), so the kernel is asked again and again. */
static bool idle_over(struct hvti_kvm_vp *vp)
{
    static const struct timespec pause = {0, IDLE_NS};

    for (unsigned i = 0; vp->idle && i < IDLE_LOOKS; i++) {
        if (hvti_kvm_interrupt_pending(vp)) {
            vp->idle = false;
        } else if (atomic_load(&vp->kicked) || atomic_exchange(&vp->called, false) ||
                   nanosleep(&pause, NULL) != 0) {
            break;
        }
    }
    return !vp->idle;
}

int hvtlfs_kvm_enter(struct hvtlfs_kvm *kvm, uint32_t vp_index)
{
    struct hvti_kvm_vp *vp = hvti_kvm_usable(kvm, vp_index);

    if (vp == NULL) {
        return -1;
    }
    thread_take(vp);
    if (kvm->sync_regs) { /* the VMM may have set it for purposes of its own */
        vp->run->kvm_valid_regs |= HVTI_KVM_SYNC_REGS;
    }
    running = vp;
    work_off(vp);
    if (idle_over(vp) && admitted(vp)) {
        return 0;
    }
    running = NULL;
    (void)exit_mark(vp, HVTI_KVM_EXIT_OURS, 0);
    errno = EINTR;
    return -1;
}

void hvti_kvm_leave(struct hvti_kvm_vp *vp)
{
    running = NULL;
    (void)exit_mark(vp, HVTI_KVM_EXIT_OURS, 0);
    hvti_kvm_count(&vp->count.runs);
    left(vp);
}

int hvti_kvm_complete(struct hvti_kvm_vp *vp)
{
    bool ours = exit_mark(vp, 0, HVTI_KVM_EXIT_OURS);
    int result = hvti_kvm_vp_call(vp, KVM_RUN, NULL);

    if (ours) {
        (void)exit_mark(vp, HVTI_KVM_EXIT_OURS, 0);
    }
    if (result == 0) {
        return 1;
    }
    vp->in_parts = false;
    return errno == EINTR ? 0 : result;
}

void hvti_kvm_run_shortly(struct hvti_kvm_vp *vp)
{
    (void)exit_mark(vp, 0, HVTI_KVM_EXIT_OURS);
}

int hvtlfs_kvm_settle(struct hvtlfs_kvm *kvm, uint32_t vp_index)
{
    struct hvti_kvm_vp *vp = hvti_kvm_usable(kvm, vp_index);
    int result = vp != NULL ? hvti_kvm_complete(vp) : -1;

    if (result == 0) {
        hvti_kvm_apic_settle(vp);
    }
    return result;
}

int hvtlfs_kvm_run(struct hvtlfs_kvm *kvm, uint32_t vp_index)
{
    struct hvti_kvm_vp *vp;
    int result;

    for (;;) {
        if (hvtlfs_kvm_enter(kvm, vp_index) != 0) {
            return -1;
        }
        vp = hvti_kvm_find(kvm, vp_index);
        result = hvti_kvm_vp_call(vp, KVM_RUN, NULL);
        switch (hvtlfs_kvm_exit(kvm, vp_index, result)) {
        case HVTLFS_KVM_HANDLED:
            break;
        case HVTLFS_KVM_YOURS:
            return result;
        case HVTLFS_KVM_HALTED:
            (void)hvti_kvm_complete(vp);
            vp->run->exit_reason = KVM_EXIT_HLT;
            return 0;
        }
    }
}
