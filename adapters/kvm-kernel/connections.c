/* SPDX-License-Identifier: MIT */
/*
 * The host's side of the SynIC, as KVM leaves it to the VMM: HvCallPostMessage is an exit,
 * HvCallSignalEvent an eventfd, a SINT an interrupt routed to the synthetic controller. There is no
 * queue: a message that finds its slot busy is refused.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <hvtlfs/tlfs.h>

#include "boot.h"
#include "kernel.h"

enum {
    FIRST_GSI = 32,
    EVENTS = KERNEL_MAX_VPS * KERNEL_SINTS,
    FLAG_BYTES = 256, /* of one SINT in the event page */
    PAGE_ENABLED = 1,
};

#define PAGE_GPA(value) ((value) & ~UINT64_C(0xFFF))

static const char *routing_set(const struct machine *machine)
{
    static union {
        struct kvm_irq_routing all;
        uint8_t room[sizeof(struct kvm_irq_routing) +
                     EVENTS * sizeof(struct kvm_irq_routing_entry)];
    } routing;

    routing.all.nr = machine->processor_count * KERNEL_SINTS;
    for (uint32_t i = 0; i < routing.all.nr; i++) {
        routing.all.entries[i] = (struct kvm_irq_routing_entry){
            .gsi = FIRST_GSI + i,
            .type = KVM_IRQ_ROUTING_HV_SINT,
            .u.hv_sint = {i / KERNEL_SINTS, i % KERNEL_SINTS},
        };
    }
    return ioctl(machine->vm, KVM_SET_GSI_ROUTING, &routing) == 0
               ? NULL
               : "KVM_SET_GSI_ROUTING refuses KVM_IRQ_ROUTING_HV_SINT";
}

static const char *connection_open(struct processor *processor, uint32_t sint)
{
    const struct machine *machine = processor->machine;
    uint32_t number = KERNEL_SINTS * processor->number + sint;
    struct kvm_hyperv_eventfd connection = {.conn_id = BOOT_EVENTS + number};
    struct kvm_irqfd interrupt = {.gsi = FIRST_GSI + number};

    processor->events[sint] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    processor->interrupts[sint] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (processor->events[sint] < 0 || processor->interrupts[sint] < 0) {
        return "no more eventfds";
    }
    connection.fd = processor->events[sint];
    interrupt.fd = (uint32_t)processor->interrupts[sint];
    if (ioctl(machine->vm, KVM_HYPERV_EVENTFD, &connection) != 0) {
        return "KVM_HYPERV_EVENTFD is refused";
    }
    return ioctl(machine->vm, KVM_IRQFD, &interrupt) == 0 ? NULL : "KVM_IRQFD is refused for a SINT";
}

const char *connections_open(struct machine *machine)
{
    const char *wrong;

    for (uint32_t n = 0; n < machine->processor_count; n++) {
        memset(machine->processors[n].events, -1, sizeof machine->processors[n].events);
        memset(machine->processors[n].interrupts, -1, sizeof machine->processors[n].interrupts);
    }
    machine->wake = eventfd(0, EFD_CLOEXEC);
    wrong = machine->wake < 0 ? "no more eventfds" : routing_set(machine);
    for (uint32_t i = 0; wrong == NULL && i < machine->processor_count * KERNEL_SINTS; i++) {
        wrong = connection_open(&machine->processors[i / KERNEL_SINTS], i % KERNEL_SINTS);
    }
    return wrong;
}

static void fd_close(int fd)
{
    if (fd >= 0) {
        (void)close(fd);
    }
}

void connections_close(struct machine *machine)
{
    if (machine->wake < 0) {
        return;
    }
    for (uint32_t i = 0; i < machine->processor_count * KERNEL_SINTS; i++) {
        fd_close(machine->processors[i / KERNEL_SINTS].events[i % KERNEL_SINTS]);
        fd_close(machine->processors[i / KERNEL_SINTS].interrupts[i % KERNEL_SINTS]);
    }
    fd_close(machine->wake);
}

/* The memory behind a page register, or NULL if the page is not there. */
static uint8_t *page_at(const struct machine *machine, uint64_t value)
{
    uint64_t gpa = PAGE_GPA(value);

    return (value & PAGE_ENABLED) != 0 && gpa <= KERNEL_RAM_BYTES - (uint64_t)HV_MESSAGE_SIZE * KERNEL_SINTS
               ? machine->ram + gpa
               : NULL;
}

static void sint_raise(const struct processor *processor, uint32_t sint)
{
    uint64_t one = 1;

    (void)!write(processor->interrupts[sint], &one, sizeof one);
}

/* Flag 0 is the only one that KVM lets through to an eventfd. */
static void event_set(struct processor *processor, uint32_t sint)
{
    uint8_t *page;
    uint64_t count;

    if (read(processor->events[sint], &count, sizeof count) != (ssize_t)sizeof count) {
        return;
    }
    page = page_at(processor->machine, processor->event_page);
    if (page != NULL && (processor->synic_control & 1) != 0) {
        (void)__atomic_fetch_or(page + (size_t)FLAG_BYTES * sint, 1, __ATOMIC_SEQ_CST);
        sint_raise(processor, sint);
    }
}

void *connections_thread(void *argument)
{
    struct machine *machine = argument;
    uint32_t count = machine->processor_count * KERNEL_SINTS;
    struct pollfd fds[EVENTS + 1];

    for (uint32_t i = 0; i < count; i++) {
        fds[i] = (struct pollfd){machine->processors[i / KERNEL_SINTS].events[i % KERNEL_SINTS],
                                 POLLIN, 0};
    }
    fds[count] = (struct pollfd){machine->wake, POLLIN, 0};
    while (poll(fds, count + 1, -1) >= 0 || errno == EINTR) {
        if (fds[count].revents != 0) {
            break;
        }
        for (uint32_t i = 0; i < count; i++) {
            if (fds[i].revents != 0) {
                event_set(&machine->processors[i / KERNEL_SINTS], i % KERNEL_SINTS);
            }
        }
    }
    return NULL;
}

static uint64_t deliver(struct processor *processor, uint32_t sint,
                        const struct hv_input_post_message *post)
{
    struct hv_message_page *page = (struct hv_message_page *)(void *)page_at(
        processor->machine, processor->message_page);
    struct hv_message *slot;

    if (page == NULL || (processor->synic_control & 1) == 0) {
        return HV_STATUS_INVALID_SYNIC_STATE;
    }
    slot = &page->message_slot[sint];
    if (__atomic_load_n(&slot->header.message_type, __ATOMIC_ACQUIRE) != 0) {
        slot->header.message_flags |= HV_MESSAGE_FLAGS_MESSAGE_PENDING;
        return HV_STATUS_INSUFFICIENT_BUFFERS;
    }
    slot->header.payload_size = (uint8_t)post->payload_size;
    slot->header.message_flags = 0;
    slot->header.origination_id = post->connection_id;
    memcpy(slot->payload, post->message, sizeof slot->payload);
    __atomic_store_n(&slot->header.message_type, post->message_type, __ATOMIC_RELEASE);
    sint_raise(processor, sint);
    return HV_STATUS_SUCCESS;
}

uint64_t connections_post(struct machine *machine, uint64_t parameter)
{
    struct hv_input_post_message post;
    uint32_t number;

    if (parameter > KERNEL_RAM_BYTES - sizeof post || (parameter & 7) != 0) {
        return HV_STATUS_INVALID_ALIGNMENT;
    }
    memcpy(&post, machine->ram + parameter, sizeof post);
    number = post.connection_id - BOOT_MESSAGES;
    if (post.connection_id < BOOT_MESSAGES ||
        number >= machine->processor_count * KERNEL_SINTS) {
        return post.connection_id == BOOT_EVENTS ? HV_STATUS_INVALID_PORT_ID
                                                 : HV_STATUS_INVALID_CONNECTION_ID;
    }
    if (post.payload_size > HV_MESSAGE_PAYLOAD_BYTE_COUNT || (post.message_type >> 31) != 0 ||
        post.message_type == 0) {
        return HV_STATUS_INVALID_PARAMETER;
    }
    return deliver(&machine->processors[number / KERNEL_SINTS], number % KERNEL_SINTS, &post);
}
