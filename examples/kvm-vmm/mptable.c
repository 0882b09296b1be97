/* SPDX-License-Identifier: MIT */
/*
 * The tables of Intel's MultiProcessor Specification 1.4: without ACPI they are how a guest learns of its
 * processors, and of the I/O APIC behind which the ISA interrupts are.
 */
#include <string.h>

#include "vmm.h"

enum {
    TABLE_GPA = 0xF0000, /* guests search the BIOS area */
    POINTER_SIZE = 16,
    HEADER_SIZE = 44,
    APIC_VERSION = 0x14,
    IO_APIC_VERSION = 0x11,
    ISA_IRQS = 16,
    BUS_ISA = 0,
    /* Kinds of entries. */
    PROCESSOR = 0,
    BUS = 1,
    IO_APIC = 2,
    IO_INTERRUPT = 3,
    LOCAL_INTERRUPT = 4,
    /* Kinds of interrupts. */
    VECTORED = 0,
    NMI = 1,
    EXTINT = 3,
};

#define LOCAL_APIC_GPA 0xFEE00000u
#define IO_APIC_GPA 0xFEC00000u

struct table {
    uint8_t *start;
    uint8_t *at;
    uint16_t entries;
};

static void byte(struct table *table, unsigned value)
{
    *table->at++ = (uint8_t)value;
}

static void number(struct table *table, uint32_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        byte(table, value >> 8 * i);
    }
}

static void text(struct table *table, const char *text, size_t size)
{
    memcpy(table->at, text, size);
    table->at += size;
}

static void processor(struct table *table, uint32_t apic_id)
{
    byte(table, PROCESSOR);
    byte(table, apic_id);
    byte(table, APIC_VERSION);
    byte(table, apic_id == 0 ? 3 : 1); /* usable; the first is the boot processor */
    number(table, 0x600, 4);           /* family 6 */
    number(table, 0x201, 4);           /* it has an APIC and an FPU */
    number(table, 0, 8);
    table->entries++;
}

static void interrupt(struct table *table, unsigned entry, unsigned kind, unsigned irq,
                      unsigned apic, unsigned pin)
{
    byte(table, entry);
    byte(table, kind);
    number(table, 0, 2); /* polarity and trigger as the bus has them */
    byte(table, BUS_ISA);
    byte(table, irq);
    byte(table, apic);
    byte(table, pin);
    table->entries++;
}

static uint8_t checksum(const uint8_t *bytes, size_t size)
{
    unsigned sum = 0;

    for (size_t i = 0; i < size; i++) {
        sum += bytes[i];
    }
    return (uint8_t)(0 - sum);
}

static void entries_put(struct table *table, uint32_t cpus)
{
    for (uint32_t n = 0; n < cpus; n++) {
        processor(table, n);
    }
    byte(table, BUS);
    byte(table, BUS_ISA);
    text(table, "ISA   ", 6);
    byte(table, IO_APIC);
    byte(table, cpus); /* its ID */
    byte(table, IO_APIC_VERSION);
    byte(table, 1);
    number(table, IO_APIC_GPA, 4);
    table->entries = (uint16_t)(table->entries + 2);
    for (unsigned irq = 0; irq < ISA_IRQS; irq++) {
        if (irq != 2) { /* the cascade; the timer, ISA's 0, is wired to pin 2 */
            interrupt(table, IO_INTERRUPT, VECTORED, irq, cpus, irq == 0 ? 2 : irq);
        }
    }
    interrupt(table, LOCAL_INTERRUPT, EXTINT, 0, 0, 0);
    interrupt(table, LOCAL_INTERRUPT, NMI, 0, 0xFF, 1);
}

static void header_put(struct table *table, size_t size)
{
    struct table header = {.at = table->start};

    text(&header, "PCMP", 4);
    number(&header, (uint32_t)size, 2);
    byte(&header, 4); /* 1.4 */
    byte(&header, 0);
    text(&header, "HVTLFS  kvm-vmm     ", 20);
    number(&header, 0, 6);
    number(&header, table->entries, 2);
    number(&header, LOCAL_APIC_GPA, 4);
    number(&header, 0, 4);
    table->start[7] = checksum(table->start, size);
}

static void pointer_put(uint8_t *at)
{
    struct table pointer = {.at = at};

    text(&pointer, "_MP_", 4);
    number(&pointer, TABLE_GPA + POINTER_SIZE, 4);
    byte(&pointer, 1); /* 16 bytes */
    byte(&pointer, 4); /* 1.4 */
    number(&pointer, 0, 6);
    at[10] = checksum(at, POINTER_SIZE);
}

void mptable_put(struct vmm *vmm)
{
    uint8_t *start = vmm->ram + TABLE_GPA + POINTER_SIZE;
    struct table table = {.start = start, .at = start + HEADER_SIZE};

    entries_put(&table, vmm->cpu_count);
    header_put(&table, (size_t)(table.at - start));
    pointer_put(vmm->ram + TABLE_GPA);
}
