/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <sys/ioctl.h>

#include "vmm.h"

enum {
    IER_EMPTY = 0x02,
    IIR_NOTHING = 0x01,
    IIR_EMPTY = 0x02,
    IIR_FIFO = 0xC0,
    FCR_ENABLE = 0x01,
    LCR_DLAB = 0x80,
    LSR_EMPTY = 0x60, /* nothing waits to be sent */
    MCR_LOOP = 0x10,
    MSR_PRESENT = 0xB0, /* somebody is at the other end */
};

static void interrupt(struct vmm *vmm)
{
    const struct serial *serial = &vmm->serial;
    struct kvm_irq_level line = {
        .irq = SERIAL_IRQ,
        .level = serial->empty_pending && (serial->ier & IER_EMPTY) != 0,
    };

    (void)ioctl(vmm->vm, KVM_IRQ_LINE, &line);
}

/* What the modem lines read in loopback: drivers look for a chip this way. */
static uint8_t looped(uint8_t mcr)
{
    return (uint8_t)((mcr & 0x02) << 3 | (mcr & 0x01) << 5 | (mcr & 0x0C) << 4);
}

static uint8_t interrupt_cause(struct vmm *vmm)
{
    struct serial *serial = &vmm->serial;
    uint8_t cause = serial->fcr & FCR_ENABLE ? IIR_FIFO : 0;

    if (!serial->empty_pending || (serial->ier & IER_EMPTY) == 0) {
        return cause | IIR_NOTHING;
    }
    serial->empty_pending = false;
    interrupt(vmm);
    return cause | IIR_EMPTY;
}

uint8_t serial_read(struct vmm *vmm, unsigned offset)
{
    const struct serial *serial = &vmm->serial;
    bool divisor = (serial->lcr & LCR_DLAB) != 0;

    switch (offset) {
    case 0:
        return divisor ? serial->dll : 0;
    case 1:
        return divisor ? serial->dlm : serial->ier;
    case 2:
        return interrupt_cause(vmm);
    case 3:
        return serial->lcr;
    case 4:
        return serial->mcr;
    case 5:
        return LSR_EMPTY;
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
    vmm->serial.empty_pending = true; /* at once */
    interrupt(vmm);
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
        }
        break;
    case 2:
        serial->fcr = value;
        break;
    case 3:
        serial->lcr = value;
        break;
    case 4:
        serial->mcr = value;
        break;
    case 7:
        serial->scratch = value;
        break;
    default:
        break;
    }
}
