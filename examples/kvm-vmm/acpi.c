/* SPDX-License-Identifier: MIT */
/*
 * The least of ACPI 6 that a PC needs: the tables that tell of the processors, the I/O APIC and the way
 * to switch off, and the few registers behind them. Debian's kernels know no older tables.
 */
#include <string.h>
#include <time.h>

#include "vmm.h"

enum {
    POINTER_GPA = ACPI_GPA,
    TABLES_GPA = ACPI_GPA + 0x40,
    HEADER_SIZE = 36,
    /* The registers, from ACPI_PORT on. */
    PM1_STATUS = 0,
    PM1_ENABLE = 2,
    PM1_CONTROL = 4,
    PM_TIMER = 8,
    CONTROL_ACPI_ON = 1,
    CONTROL_SLEEP = 1 << 13,
    SCI_IRQ = 9,
    PM_TIMER_HZ = 3579545,
    /* Fixed ACPI Description Table. */
    FADT_SIZE = 244,
    FADT_DSDT = 40,
    FADT_SCI = 46,
    FADT_PM1_EVENT = 56,
    FADT_PM1_CONTROL = 64,
    FADT_PM_TIMER = 76,
    FADT_PM1_EVENT_SIZE = 88,
    FADT_PM1_CONTROL_SIZE = 89,
    FADT_PM_TIMER_SIZE = 91,
    FADT_BOOT = 109,
    FADT_FLAGS = 112,
    FADT_RESET = 116,
    FADT_RESET_VALUE = 128,
    FADT_DSDT_64 = 140,
    BOOT_LEGACY_DEVICES = 1,
    FLAG_WBINVD = 1 << 0,
    FLAG_NO_BUTTONS = 3 << 4,
    FLAG_TIMER_32 = 1 << 8,
    FLAG_RESET = 1 << 10,
};

#define LOCAL_APIC_GPA 0xFEE00000u
#define IO_APIC_GPA 0xFEC00000u

/* Name (_S5_, Package () {5, 5, 0, 0}): the type of sleep that switches off. */
static const uint8_t aml[] = {0x08, '_',  'S',  '5',  '_',  0x12, 0x08,
                              0x04, 0x0A, 0x05, 0x0A, 0x05, 0x00, 0x00};

static void put(uint8_t *at, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        at[i] = (uint8_t)(value >> 8 * i);
    }
}

/* So that all bytes add up to 0. */
static uint8_t checksum(const uint8_t *bytes, size_t size)
{
    unsigned sum = 0;

    for (size_t i = 0; i < size; i++) {
        sum += bytes[i];
    }
    return (uint8_t)(0 - sum);
}

/* Tables one behind the other, each at a multiple of 16. */
struct tables {
    uint8_t *ram;
    uint64_t next;
};

/* A table with its content; where it stands. */
static uint64_t table_put(struct tables *tables, const char *signature, uint8_t revision,
                          const uint8_t *content, size_t size)
{
    uint64_t gpa = tables->next;
    uint8_t *at = tables->ram + gpa;

    memcpy(at, signature, 4); /* NOLINT(bugprone-not-null-terminated-result) no strings in ACPI */
    put(at + 4, HEADER_SIZE + size, 4);
    at[8] = revision;
    memcpy(at + 10, "HVTLFSKVM-VMM ", 14); /* NOLINT(bugprone-not-null-terminated-result) */
    put(at + 24, 1, 4);
    memcpy(at + 28, "HVTL", 4); /* NOLINT(bugprone-not-null-terminated-result) */
    put(at + 32, 1, 4);
    memcpy(at + HEADER_SIZE, content, size);
    at[9] = checksum(at, HEADER_SIZE + size);
    tables->next = (gpa + HEADER_SIZE + size + 15) & ~UINT64_C(15);
    return gpa;
}

static uint64_t fadt_put(struct tables *tables, uint64_t dsdt)
{
    uint8_t whole[FADT_SIZE] = {0};

    put(whole + FADT_DSDT, dsdt, 4);
    put(whole + FADT_DSDT_64, dsdt, 8);
    put(whole + FADT_SCI, SCI_IRQ, 2);
    put(whole + FADT_PM1_EVENT, ACPI_PORT + PM1_STATUS, 4);
    put(whole + FADT_PM1_CONTROL, ACPI_PORT + PM1_CONTROL, 4);
    put(whole + FADT_PM_TIMER, ACPI_PORT + PM_TIMER, 4);
    whole[FADT_PM1_EVENT_SIZE] = 4;
    whole[FADT_PM1_CONTROL_SIZE] = 2;
    whole[FADT_PM_TIMER_SIZE] = 4;
    put(whole + FADT_BOOT, BOOT_LEGACY_DEVICES, 2);
    put(whole + FADT_FLAGS, FLAG_WBINVD | FLAG_NO_BUTTONS | FLAG_TIMER_32 | FLAG_RESET, 4);
    put(whole + FADT_RESET, UINT64_C(0x01000801), 4); /* a port of 8 bits, accessed by the byte */
    put(whole + FADT_RESET + 4, KEYBOARD_COMMAND, 8);
    whole[FADT_RESET_VALUE] = KEYBOARD_RESET;
    return table_put(tables, "FACP", 3, whole + HEADER_SIZE, FADT_SIZE - HEADER_SIZE);
}

static size_t entry_put(uint8_t *at, uint8_t type, uint8_t size)
{
    at[0] = type;
    at[1] = size;
    return size;
}

static uint64_t madt_put(struct tables *tables, uint32_t cpus)
{
    uint8_t content[8 + 8 * VMM_MAX_CPUS + 12 + 2 * 10 + 6] = {0};
    uint8_t *at = content + 8;

    put(content, LOCAL_APIC_GPA, 4);
    put(content + 4, 1, 4); /* there are 8259s too */
    for (uint32_t n = 0; n < cpus; n++) {
        at[2] = at[3] = (uint8_t)n;
        at[4] = 1; /* usable */
        at += entry_put(at, 0, 8);
    }
    at[2] = (uint8_t)cpus; /* the I/O APIC's ID */
    put(at + 4, IO_APIC_GPA, 4);
    at += entry_put(at, 1, 12);
    put(at + 4, 2, 4); /* ISA's interrupt 0, the timer, is wired to pin 2 */
    at += entry_put(at, 2, 10);
    at[3] = SCI_IRQ;
    put(at + 4, SCI_IRQ, 4);
    put(at + 8, 0xD, 2); /* active high, level */
    at += entry_put(at, 2, 10);
    at[2] = 0xFF; /* NMI of all processors: LINT1 */
    at[5] = 1;
    at += entry_put(at, 4, 6);
    return table_put(tables, "APIC", 4, content, (size_t)(at - content));
}

void acpi_put(struct vmm *vmm)
{
    struct tables tables = {vmm->ram, TABLES_GPA};
    uint8_t *pointer = vmm->ram + POINTER_GPA;
    uint8_t list[16];

    put(list, fadt_put(&tables, table_put(&tables, "DSDT", 2, aml, sizeof aml)), 8);
    put(list + 8, madt_put(&tables, vmm->cpu_count), 8);
    memcpy(pointer, "RSD PTR \0HVTLFS\2", 16); /* NOLINT(bugprone-not-null-terminated-result) */
    put(pointer + 20, 36, 4);
    put(pointer + 24, table_put(&tables, "XSDT", 1, list, sizeof list), 8);
    pointer[8] = checksum(pointer, 20);
    pointer[32] = checksum(pointer, 36);
}

/* ---- The registers ---- */

uint32_t acpi_read(unsigned offset)
{
    struct timespec now;

    switch (offset) {
    case PM1_CONTROL:
        return CONTROL_ACPI_ON;
    case PM_TIMER:
        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint32_t)((uint64_t)now.tv_sec * PM_TIMER_HZ +
                          (uint64_t)now.tv_nsec * PM_TIMER_HZ / 1000000000);
    default:
        return 0; /* no event has happened */
    }
}

void acpi_write(struct vmm *vmm, unsigned offset, uint32_t value)
{
    if (offset == PM1_CONTROL && (value & CONTROL_SLEEP) != 0) {
        vmm_end(vmm, SWITCHED_OFF);
    }
}
