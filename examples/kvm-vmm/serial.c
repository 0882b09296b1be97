/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <sys/ioctl.h>

#include "vmm.h"

enum {
    IER_RECEIVED = 0x01,
    IER_EMPTY = 0x02,
    IIR_NOTHING = 0x01,
    IIR_EMPTY = 0x02,
    IIR_RECEIVED = 0x04,
    IIR_FIFO = 0xC0,
    FCR_ENABLE = 0x01,
    FCR_CLEAR_RECEIVED = 0x02,
    LCR_DLAB = 0x80,
    LSR_RECEIVED = 0x01,
    LSR_EMPTY = 0x60, /* nothing waits to be sent */
    MCR_OUT2 = 0x08,
    MCR_LOOP = 0x10,
    MSR_PRESENT = 0xB0, /* somebody is at the other end */
};

/* Why there is an interrupt: what has been received comes first. */
static uint8_t cause(const struct serial *serial)
{
    if (serial->count > 0 && (serial->ier & IER_RECEIVED) != 0) {
        return IIR_RECEIVED;
    }
    return serial->empty_pending && (serial->ier & IER_EMPTY) != 0 ? IIR_EMPTY : IIR_NOTHING;
}

static void interrupt(struct vmm *vmm)
{
    struct kvm_irq_level line = {
        .irq = SERIAL_IRQ,
        .level = cause(&vmm->serial) != IIR_NOTHING,
    };

    (void)ioctl(vmm->vm, KVM_IRQ_LINE, &line);
}

/* ---- What is received ---- */

static bool has_room(const struct serial *serial)
{
    return serial->count < (serial->fcr & FCR_ENABLE ? SERIAL_FIFO : 1u);
}

static void append(struct vmm *vmm, uint8_t byte)
{
    struct serial *serial = &vmm->serial;

    serial->received[(serial->first + serial->count++) % SERIAL_FIFO] = byte;
    interrupt(vmm);
}

static uint8_t take(struct vmm *vmm)
{
    struct serial *serial = &vmm->serial;
    uint8_t byte = serial->received[serial->first];

    if (serial->count == 0) {
        return 0;
    }
    serial->first = (serial->first + 1) % SERIAL_FIFO;
    serial->count--;
    interrupt(vmm);
    (void)pthread_cond_broadcast(&vmm->changed);
    return byte;
}

/* A driver tries the registers out and empties the FIFO when it begins, so what comes from a file waits for
 * it: until it wants interrupts and has opened their way, OUT2. */
static bool takes(const struct serial *serial)
{
    bool ready = (serial->ier & IER_RECEIVED) != 0 && (serial->mcr & MCR_OUT2) != 0;

    return has_room(serial) && (!serial->patient || ready);
}

bool serial_receive(struct vmm *vmm, uint8_t byte)
{
    if (!takes(&vmm->serial)) {
        return false;
    }
    append(vmm, byte);
    return true;
}

/* ---- Registers ---- */

/* What the modem lines read in loopback: drivers look for a chip this way. */
static uint8_t looped(uint8_t mcr)
{
    return (uint8_t)((mcr & 0x02) << 3 | (mcr & 0x01) << 5 | (mcr & 0x0C) << 4);
}

static uint8_t interrupt_cause(struct vmm *vmm)
{
    struct serial *serial = &vmm->serial;
    uint8_t fifo = serial->fcr & FCR_ENABLE ? IIR_FIFO : 0;
    uint8_t why = cause(serial);

    if (why == IIR_EMPTY) {
        serial->empty_pending = false;
        interrupt(vmm);
    }
    return fifo | why;
}

uint8_t serial_read(struct vmm *vmm, unsigned offset)
{
    const struct serial *serial = &vmm->serial;
    bool divisor = (serial->lcr & LCR_DLAB) != 0;

    switch (offset) {
    case 0:
        return divisor ? serial->dll : take(vmm);
    case 1:
        return divisor ? serial->dlm : serial->ier;
    case 2:
        return interrupt_cause(vmm);
    case 3:
        return serial->lcr;
    case 4:
        return serial->mcr;
    case 5:
        return serial->count > 0 ? LSR_EMPTY | LSR_RECEIVED : LSR_EMPTY;
    case 6:
        return serial->mcr & MCR_LOOP ? looped(serial->mcr) : MSR_PRESENT;
    default:
        return serial->scratch;
    }
}

static void send(struct vmm *vmm, uint8_t byte)
{
    if ((vmm->serial.mcr & MCR_LOOP) == 0) {
        (void)putchar(byte);
        vmm->serial.bytes++;
        if (byte == '\n') {
            (void)fflush(stdout);
        }
    }
    if ((vmm->serial.mcr & MCR_LOOP) != 0 && has_room(&vmm->serial)) {
        append(vmm, byte);
    }
    vmm->serial.empty_pending = true; /* at once */
    interrupt(vmm);
}

/* A chip forgets its bytes also when the FIFO is switched on, which Linux does last of all when it opens the
 * port, long after it has asked for interrupts: the first byte would be gone. */
static void fifo_control(struct vmm *vmm, uint8_t value)
{
    struct serial *serial = &vmm->serial;

    if ((value & FCR_CLEAR_RECEIVED) != 0) {
        serial->first = serial->count = 0;
    }
    serial->fcr = value;
    interrupt(vmm);
    (void)pthread_cond_broadcast(&vmm->changed);
}

void serial_write(struct vmm *vmm, unsigned offset, uint8_t value)
{
    struct serial *serial = &vmm->serial;
    bool divisor = (serial->lcr & LCR_DLAB) != 0;

    switch (offset) {
    case 0:
        if (divisor) {
            serial->dll = value;
        } else {
            send(vmm, value);
        }
        break;
    case 1:
        if (divisor) {
            serial->dlm = value;
        } else {
            serial->empty_pending |= (value & ~serial->ier & IER_EMPTY) != 0;
            serial->ier = value & 0x0F;
            interrupt(vmm);
            (void)pthread_cond_broadcast(&vmm->changed);
        }
        break;
    case 2:
        fifo_control(vmm, value);
        break;
    case 3:
        serial->lcr = value;
        break;
    case 4:
        serial->mcr = value;
        (void)pthread_cond_broadcast(&vmm->changed);
        break;
    case 7:
        serial->scratch = value;
        break;
    default:
        break;
    }
}
