/* SPDX-License-Identifier: MIT */
/* A thread for each VP; the exits that KVM leaves to a VMM. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <hvtlfs/tlfs.h>

#include "boot.h"
#include "kernel.h"
#include "kvm_stats.h"

enum { STOP_INTERVAL_MS = 5 };

#ifndef KVM_SYSTEM_EVENT_CRASH
#define KVM_SYSTEM_EVENT_CRASH 3
#endif

static _Thread_local struct kvm_run *running;

static void on_stop(int signal)
{
    (void)signal;
    if (running != NULL) {
        running->immediate_exit = 1;
    }
}

static void end(struct machine *machine, bool finished, uint32_t status, const char *trouble)
{
    (void)pthread_mutex_lock(&machine->mutex);
    if (!machine->finished && machine->trouble == NULL) {
        machine->finished = finished;
        machine->status = status;
        machine->trouble = trouble;
    }
    atomic_store(&machine->stop, true);
    (void)pthread_cond_broadcast(&machine->changed);
    (void)pthread_mutex_unlock(&machine->mutex);
}

static void out(struct machine *machine, uint16_t port, const uint8_t *data, size_t size)
{
    uint32_t status = 0;

    if (port == BOOT_PORT_EXIT) {
        memcpy(&status, data, size < sizeof status ? size : sizeof status);
        end(machine, true, status, NULL);
    } else if (port == BOOT_PORT_DEBUG) {
        (void)pthread_mutex_lock(&machine->mutex);
        for (size_t i = 0; i < size; i++) {
            console_put(&machine->console, data[i]);
        }
        (void)pthread_mutex_unlock(&machine->mutex);
    }
}

/* Of all VPs. */
static uint32_t exits_now(const struct machine *machine)
{
    uint64_t exits = 0;

    for (uint32_t n = 0; n < machine->processor_count; n++) {
        exits += kvm_stats_exits(machine->processors[n].stats);
    }
    return (uint32_t)exits;
}

static void io(struct machine *machine, struct kvm_run *run)
{
    uint8_t *data = (uint8_t *)run + run->io.data_offset;
    size_t size = (size_t)run->io.size * run->io.count;

    if (run->io.direction == KVM_EXIT_IO_OUT) {
        out(machine, run->io.port, data, size);
    } else if (run->io.port == BOOT_PORT_EXITS) {
        uint32_t shown = exits_now(machine);

        memcpy(data, &shown, size < sizeof shown ? size : sizeof shown);
    } else {
        memset(data, 0xFF, size);
    }
}

static void hyperv(struct processor *processor)
{
    struct kvm_hyperv_exit *told = &processor->run->hyperv;
    bool post = (told->u.hcall.input & 0xFFFF) == HvCallPostMessage;

    switch (told->type) {
    case KVM_EXIT_HYPERV_SYNIC:
        processor->synic_control = told->u.synic.control;
        processor->message_page = told->u.synic.msg_page;
        processor->event_page = told->u.synic.evt_page;
        break;
    case KVM_EXIT_HYPERV_HCALL:
        told->u.hcall.result =
            post ? connections_post(processor->machine, told->u.hcall.params[0])
            : (told->u.hcall.input & 0xFFFF) == HvCallSignalEvent ? HV_STATUS_INVALID_CONNECTION_ID
                                                                  : HV_STATUS_INVALID_HYPERCALL_CODE;
        break;
    default:
        end(processor->machine, false, 0, "a KVM_EXIT_HYPERV of an unknown type");
        break;
    }
}

static void system_event(struct machine *machine, const struct kvm_run *run)
{
    if (run->system_event.type == KVM_SYSTEM_EVENT_RESET) {
        end(machine, false, 0, "the guest reset the machine");
    } else if (run->system_event.type != KVM_SYSTEM_EVENT_CRASH) {
        end(machine, false, 0, "an event that this VMM does not know");
    }
}

static void exit_handle(struct processor *processor)
{
    struct kvm_run *run = processor->run;

    switch (run->exit_reason) {
    case KVM_EXIT_IO:
        io(processor->machine, run);
        break;
    case KVM_EXIT_MMIO:
        memset(run->mmio.data, 0xFF, sizeof run->mmio.data);
        break;
    case KVM_EXIT_HYPERV:
        hyperv(processor);
        break;
    case KVM_EXIT_SYSTEM_EVENT:
        system_event(processor->machine, run);
        break;
    case KVM_EXIT_SHUTDOWN:
        end(processor->machine, false, 0, "triple fault");
        break;
    default:
        end(processor->machine, false, 0, "an exit that this VMM does not know");
        break;
    }
}

static void *processor_thread(void *argument)
{
    struct processor *processor = argument;
    struct machine *machine = processor->machine;

    running = processor->run;
    while (!atomic_load(&machine->stop)) {
        if (ioctl(processor->fd, KVM_RUN, 0) == 0) {
            exit_handle(processor);
        } else if (errno != EINTR && errno != EAGAIN) {
            end(machine, false, 0, "KVM_RUN fails");
        }
    }
    (void)pthread_mutex_lock(&machine->mutex);
    machine->threads--;
    (void)pthread_cond_broadcast(&machine->changed);
    (void)pthread_mutex_unlock(&machine->mutex);
    return NULL;
}

static struct timespec in_ms(uint64_t ms)
{
    struct timespec time;

    (void)clock_gettime(CLOCK_REALTIME, &time);
    time.tv_sec += (time_t)(ms / 1000);
    time.tv_nsec += (long)(ms % 1000) * 1000000L;
    if (time.tv_nsec >= 1000000000L) {
        time.tv_nsec -= 1000000000L;
        time.tv_sec++;
    }
    return time;
}

static void wait_for_end(struct machine *machine)
{
    struct timespec until = in_ms(1000 * (uint64_t)machine->options->timeout_s);
    int waited = 0;

    (void)pthread_mutex_lock(&machine->mutex);
    while (!machine->finished && machine->trouble == NULL && waited == 0) {
        waited = pthread_cond_timedwait(&machine->changed, &machine->mutex, &until);
    }
    (void)pthread_mutex_unlock(&machine->mutex);
    end(machine, false, 0, "the time is up"); /* nothing, if it has ended already */
}

/* Threads may be anywhere, so they are called until they have all gone. */
static void wait_for_threads(struct machine *machine, uint32_t started)
{
    (void)pthread_mutex_lock(&machine->mutex);
    while (machine->threads > 0) {
        struct timespec until = in_ms(STOP_INTERVAL_MS);

        for (uint32_t n = 0; n < started; n++) {
            (void)pthread_kill(machine->processors[n].thread, SIGUSR1);
        }
        (void)pthread_cond_timedwait(&machine->changed, &machine->mutex, &until);
    }
    (void)pthread_mutex_unlock(&machine->mutex);
    for (uint32_t n = 0; n < started; n++) {
        (void)pthread_join(machine->processors[n].thread, NULL);
    }
}

static uint32_t processors_start(struct machine *machine)
{
    uint32_t started = 0;

    machine->threads = machine->processor_count;
    while (started < machine->processor_count &&
           pthread_create(&machine->processors[started].thread, NULL, processor_thread,
                          &machine->processors[started]) == 0) {
        started++;
    }
    if (started < machine->processor_count) {
        (void)pthread_mutex_lock(&machine->mutex);
        machine->threads -= machine->processor_count - started;
        (void)pthread_mutex_unlock(&machine->mutex);
        end(machine, false, 0, "no more threads");
    }
    return started;
}

void machine_run(struct machine *machine)
{
    struct sigaction action = {.sa_handler = on_stop};
    uint64_t one = 1;
    pthread_t events;
    bool watching;

    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGUSR1, &action, NULL);
    watching =
        machine->wake >= 0 && pthread_create(&events, NULL, connections_thread, machine) == 0;
    uint32_t started = processors_start(machine);
    wait_for_end(machine);
    wait_for_threads(machine, started);
    if (watching) {
        (void)!write(machine->wake, &one, sizeof one);
        (void)pthread_join(events, NULL);
    }
}
