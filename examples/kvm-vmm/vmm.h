/* SPDX-License-Identifier: MIT */
/*
 * A small VMM on KVM: RAM, a serial port, an exit port, one thread for each processor; the kernel's
 * interrupt controllers and timer. With libhvtlfs-kvm it has the Hyper-V interface as well.
 */
#ifndef EXAMPLE_KVM_VMM_H
#define EXAMPLE_KVM_VMM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hvtlfs/features.h>
#include <hvtlfs/kvm.h>

enum { VMM_MAX_CPUS = 16 };

struct options {
    const char *kernel;
    const char *initrd; /* NULL: none */
    const char *append; /* the kernel's command line */
    uint32_t memory_mib;
    uint32_t cpus;
    uint32_t timeout_s; /* 0: none */
    bool hyperv;
    struct hvtlfs_feature_list list;
    enum hvtlfs_kvm_trap trap;
    enum hvtlfs_kvm_overlays overlays;
    bool json;
    bool no_input;
};

/* A 16550. */
enum { SERIAL_FIFO = 16 };
struct serial {
    uint8_t ier, fcr, lcr, mcr, scratch, dll, dlm;
    uint8_t received[SERIAL_FIFO]; /* from `first` on */
    unsigned first, count;
    bool patient;       /* nothing is received before the guest wants interrupts for it */
    bool empty_pending; /* the interrupt "transmitter empty" has not been looked at */
    uint64_t bytes;     /* sent */
};

/* The clock: which of its registers is to be read. */
struct rtc {
    uint8_t chosen;
};

struct vmm;

struct cpu {
    struct vmm *vmm;
    uint32_t number;
    int fd;
    struct kvm_run *run;
    pthread_t thread;
    uint64_t exits_io, exits_mmio, exits_other; /* for us */
};

/* How the guest ended. */
enum ending { STILL_RUNNING, EXITED, RESET, SWITCHED_OFF, TIMED_OUT, INTERRUPTED, FAILED };

struct vmm {
    struct options options;
    int kvm, vm;
    size_t run_size;
    uint8_t *ram;
    size_t ram_size;
    struct hvtlfs_kvm *hv; /* NULL without Hyper-V */
    struct cpu cpus[VMM_MAX_CPUS];
    uint32_t cpu_count;
    struct serial serial;
    struct rtc rtc;
    atomic_bool stop;
    pthread_mutex_t mutex; /* guards the devices and what follows */
    pthread_cond_t changed;
    uint32_t threads;
    enum ending ending;
    uint32_t exit_code; /* with EXITED */
    char trouble[256];  /* with FAILED, and for errors during the making */
};

/* Where a processor starts. */
struct entry {
    uint64_t rip;
    uint64_t rdi;
    uint64_t
        rsi; /* the guest's boot parameters; for an ELF guest the processor's number is added */
    bool all_at_once; /* every processor starts here; otherwise the first wakes the others */
};

/* boot.c: put a bzImage or the conformance guest's ELF into RAM. False: vmm->trouble says why. */
bool boot_load(struct vmm *vmm, struct entry *entry);
bool boot_start_state(struct cpu *cpu, const struct entry *entry);

/* acpi.c: tell the guest of its processors and of the I/O APIC; the registers to switch off. */
enum { ACPI_GPA = 0xF0000, ACPI_PORT = 0x600, ACPI_PORTS = 12 };
void acpi_put(struct vmm *vmm);
uint32_t acpi_read(unsigned offset);
void acpi_write(struct vmm *vmm, unsigned offset, uint32_t value);

/* The keyboard controller's only use here: its command port resets the machine. */
enum { KEYBOARD_COMMAND = 0x64, KEYBOARD_RESET = 0xFE };

/* serial.c: accesses to COM1; with vmm->mutex held. */
enum { SERIAL_PORT = 0x3F8, SERIAL_PORTS = 8, SERIAL_IRQ = 4 };
uint8_t serial_read(struct vmm *vmm, unsigned offset);
void serial_write(struct vmm *vmm, unsigned offset, uint8_t value);

/* A byte arrives. False: there is no room, which vmm->changed will tell. */
bool serial_receive(struct vmm *vmm, uint8_t byte);

/* console.c: what comes in at standard input is received, by a thread of its own. */
void console_start(struct vmm *vmm);
void console_stop(void);

/* rtc.c: the clock, an index port and a data port. */
enum { RTC_PORT = 0x70 };
uint8_t rtc_read(const struct rtc *rtc);

/* hyperv.c: all that Hyper-V takes; nothing here is called without it. */
bool hyperv_init(struct vmm *vmm);
bool hyperv_cpu_init(struct cpu *cpu, const struct kvm_cpuid2 *cpuid);
bool hyperv_memory(struct vmm *vmm, const struct kvm_userspace_memory_region *region);

/* vmm.c */
bool vmm_init(struct vmm *vmm);
void vmm_run(struct vmm *vmm);
void vmm_free(struct vmm *vmm);
void vmm_end(struct vmm *vmm, enum ending ending);
void vmm_wait(struct vmm *vmm); /* with the mutex: for a change, a tenth of a second at most */
bool vmm_trouble(struct vmm *vmm, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* statistics.c: what the run has cost, on standard error. */
void statistics(const struct vmm *vmm, double seconds);

#endif
