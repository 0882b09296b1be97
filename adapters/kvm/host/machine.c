/* SPDX-License-Identifier: MIT */
#include "machine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <hvtlfs/hypercall.h>
#include <hvtlfs/msr.h>
#include <hvtlfs/stats.h>
#include <hvtlfs/trace.h>

#include "boot.h"
#include "connections.h"
#include "image.h"
#include "kvm_stats.h"
#include "pm_timer.h"

enum {
    PAGE_TABLES_GPA = 0x1000, /* one PML4, one PDPT, four directories */
    BOOT_INFO_GPA = 0x8000,
    PTE_TABLE = 0x7, /* present, writable, user */
    PTE_LARGE = 0x87,
    STOP_INTERVAL_MS = 5,
    SELECTOR_CODE = 0x08,
    SELECTOR_DATA = 0x10,
    VECTOR_UD = 6,
    VECTOR_GP = 13,
};

#define CR0_LONG UINT64_C(0x80010033) /* PG, WP, NE, ET, MP, PE */
#define CR4_LONG UINT64_C(0x620)      /* OSXMMEXCPT, OSFXSR, PAE */
#define EFER_LONG UINT64_C(0x500)     /* LMA, LME */

static void entry_put(struct machine *machine, uint64_t table, unsigned index, uint64_t entry)
{
    memcpy(machine->ram + table + (size_t)8 * index, &entry, sizeof entry);
}

/* Identity map of the first 4 GiB; the guest soon has its own. */
static void page_tables_put(struct machine *machine)
{
    uint64_t pdpt = PAGE_TABLES_GPA + 0x1000;
    uint64_t directories = PAGE_TABLES_GPA + 0x2000;

    entry_put(machine, PAGE_TABLES_GPA, 0, pdpt | PTE_TABLE);
    for (unsigned i = 0; i < 4; i++) {
        entry_put(machine, pdpt, i, (directories + UINT64_C(0x1000) * i) | PTE_TABLE);
    }
    for (unsigned i = 0; i < 4 * 512; i++) {
        entry_put(machine, directories, i, (uint64_t)i << 21 | PTE_LARGE);
    }
}

static void boot_info_put(struct machine *machine)
{
    struct boot_info info = {
        .magic = BOOT_MAGIC,
        .size = sizeof info,
        .flags = BOOT_SURVIVES_CRASH |
                 (machine->options->copy_overlays ? BOOT_HAS_APIC : BOOT_EVERYTHING) |
                 (machine->options->survey ? BOOT_SURVEY : 0) |
                 (machine->options->bench ? BOOT_BENCH : 0) |
                 (machine->options->apic_page ? BOOT_APIC_PAGE : 0),
        .vp_count = machine->options->vps,
        .argument = machine->options->argument,
        .ram_bytes = MACHINE_RAM_BYTES,
        .hole_gpa = MACHINE_HOLE_GPA,
    };

    memcpy(machine->ram + BOOT_INFO_GPA, &info, sizeof info);
}

static struct kvm_segment segment(uint16_t selector, uint8_t type, bool code)
{
    return (struct kvm_segment){
        .limit = 0xFFFFFFFF,
        .selector = selector,
        .type = type,
        .present = 1,
        .db = !code,
        .s = 1,
        .l = code,
        .g = 1,
    };
}

/* Long mode, ring 0, interrupts off: the 64-bit entry of boot.h. */
static bool vp_start_state(struct machine_vp *vp, uint64_t entry)
{
    struct kvm_sregs sregs;
    struct kvm_regs regs = {.rip = entry, .rflags = 2, .rdi = BOOT_INFO_GPA, .rsi = vp->number};

    if (ioctl(vp->fd, KVM_GET_SREGS, &sregs) != 0) {
        return false;
    }
    sregs.cs = segment(SELECTOR_CODE, 11, true);
    sregs.ds = sregs.es = sregs.ss = sregs.fs = sregs.gs = segment(SELECTOR_DATA, 3, false);
    sregs.cr0 = CR0_LONG;
    sregs.cr3 = PAGE_TABLES_GPA;
    sregs.cr4 = CR4_LONG;
    sregs.efer = EFER_LONG;
    return ioctl(vp->fd, KVM_SET_SREGS, &sregs) == 0 && ioctl(vp->fd, KVM_SET_REGS, &regs) == 0;
}

static const char *because(struct machine *machine, const char *what)
{
    machine->error.system = errno;
    (void)snprintf(machine->error.text, sizeof machine->error.text, "%s: %s", what,
                   strerror(errno));
    return machine->error.text;
}

static const char *vp_init(struct machine *machine, uint32_t number)
{
    struct machine_vp *vp = &machine->vps[number];
    void *run;

    *vp = (struct machine_vp){.machine = machine, .number = number};
    vp->fd = ioctl(machine->vm, KVM_CREATE_VCPU, number);
    if (vp->fd < 0) {
        return because(machine, "KVM_CREATE_VCPU");
    }
    run = mmap(NULL, machine->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vp->fd, 0);
    if (run == MAP_FAILED) {
        (void)close(vp->fd);
        return because(machine, "mapping kvm_run");
    }
    vp->run = run;
    vp->stats = kvm_stats_open(vp->fd);
    machine->vp_count++;
    return NULL;
}

/* Every VP runs from the start: there is no firmware to wake the others. */
static const char *vps_init(struct machine *machine)
{
    struct kvm_mp_state runnable = {KVM_MP_STATE_RUNNABLE};
    const char *wrong = NULL;

    while (wrong == NULL && machine->vp_count < machine->options->vps) {
        wrong = vp_init(machine, machine->vp_count);
        if (wrong == NULL &&
            ioctl(machine->vps[machine->vp_count - 1].fd, KVM_SET_MP_STATE, &runnable) != 0) {
            wrong = because(machine, "KVM_SET_MP_STATE");
        }
    }
    return wrong;
}

static const char *vps_attach(struct machine *machine)
{
    for (uint32_t n = 0; n < machine->vp_count; n++) {
        if (hvtlfs_kvm_vp_attach(machine->hv, n, machine->vps[n].fd, machine->vps[n].run,
                                 &machine->error) != HVTLFS_OK ||
            hvtlfs_kvm_vp_cpuid(machine->hv, n, NULL, &machine->error) != HVTLFS_OK) {
            return machine->error.text;
        }
    }
    return NULL;
}

static const char *vps_start(struct machine *machine, uint64_t entry)
{
    for (uint32_t n = 0; n < machine->vp_count; n++) {
        if (!vp_start_state(&machine->vps[n], entry)) {
            return "KVM refuses a VP in long mode";
        }
    }
    return NULL;
}

/* ---- What the guest asks of this VMM ---- */

/* One counter, to have any: how many hypercalls the VP has made. */
static void stats_page(void *context, uint32_t vp_index, enum hvtlfs_overlay_kind kind, bool shown)
{
    struct machine *machine = hvtlfs_kvm_context(context);

    if (shown) {
        (void)hvtlfs_stats_set(hvtlfs_partition_vp(hvtlfs_kvm_partition(machine->hv), vp_index),
                               kind, 0, tally_sum(&machine->vps[vp_index].tally.hypercalls));
    }
}

/* To be carried out before the guest goes on. */
static void system_reset(void *context, uint32_t vp_index)
{
    struct machine *machine = hvtlfs_kvm_context(context);

    atomic_store(&machine->reset, true);
    hvtlfs_kvm_kick(machine->hv, vp_index);
}

/* The report says so; the guest goes on. */
static void crash(void *context, uint32_t vp_index, const struct hvtlfs_crash *told)
{
    struct machine *machine = hvtlfs_kvm_context(context);

    (void)told;
    machine->vps[vp_index].tally.crashes++;
}

static bool debug_read(void *context, uint32_t vp_index, uint32_t number, uint64_t *value)
{
    const struct machine *machine = hvtlfs_kvm_context(context);

    (void)vp_index;
    return debugger_read(&machine->debugger, number, value);
}

static bool debug_write(void *context, uint32_t vp_index, uint32_t number, uint64_t value)
{
    struct machine *machine = hvtlfs_kvm_context(context);

    (void)vp_index;
    return debugger_write(&machine->debugger, number, value);
}

static void msr_tally(struct tally *tally, struct tally_group *direction,
                      const struct hvtlfs_event *event)
{
    bool refused = event->result == HVTLFS_MSR_FAULT;

    tally_count(refused ? &tally->msr_refusals : direction, event->code);
    if (refused) {
        tally_count(&tally->faults, VECTOR_GP);
    }
}

/* For the report: these events come on the VP's own thread. */
static void trace(void *context, const struct hvtlfs_event *event)
{
    struct machine *machine = hvtlfs_kvm_context(context);
    struct tally *tally;

    if (event->vp_index >= machine->vp_count) {
        return;
    }
    tally = &machine->vps[event->vp_index].tally;
    if (event->kind == HVTLFS_EVENT_MSR_READ) {
        msr_tally(tally, &tally->msr_reads, event);
    } else if (event->kind == HVTLFS_EVENT_MSR_WRITE) {
        msr_tally(tally, &tally->msr_writes, event);
    } else if (event->kind == HVTLFS_EVENT_HYPERCALL) {
        tally_count(&tally->hypercalls, event->code);
        if (event->more == HVTLFS_HYPERCALL_UD) {
            tally_count(&tally->faults, VECTOR_UD);
        }
    }
}

/* ---- Making the machine ---- */

static void hv_configure(struct machine *machine, struct hvtlfs_kvm_config *config)
{
    hvtlfs_kvm_config_init(config);
    config->kvm_fd = machine->kvm;
    config->vm_fd = machine->vm;
    config->vcpu_fd = machine->vps[0].fd;
    config->context = machine;
    config->trap = machine->options->trap == HVTLFS_TRAP_CUSTOM   ? HVTLFS_KVM_TRAP_OUT
                   : machine->options->trap == HVTLFS_TRAP_VMCALL ? HVTLFS_KVM_TRAP_CALL
                                                                  : HVTLFS_KVM_TRAP_NONE;
    config->overlays =
        machine->options->copy_overlays ? HVTLFS_KVM_OVERLAYS_COPIED : HVTLFS_KVM_OVERLAYS_MAPPED;
    config->partition.features = machine->options->list.features;
    config->partition.spin_count = machine->options->list.spin_count;
    config->partition.vp_count = machine->vp_count;
    config->partition.ops.stats_page = stats_page;
    config->partition.ops.system_reset = system_reset;
    config->partition.ops.crash = crash;
    config->partition.ops.debug_read = debug_read;
    config->partition.ops.debug_write = debug_write;
    config->partition.ops.trace = trace;
    connections_configure(&config->partition);
}

static const char *hv_init(struct machine *machine)
{
    struct hvtlfs_kvm_config config;
    const char *wrong;

    hv_configure(machine, &config);
    if (hvtlfs_kvm_create(&config, &machine->hv, &machine->error) != HVTLFS_OK) {
        return machine->error.text;
    }
    wrong = vps_attach(machine);
    return wrong != NULL ? wrong
                         : connections_add(hvtlfs_kvm_partition(machine->hv), machine->vp_count);
}

static const char *memory_init(struct machine *machine)
{
    struct kvm_userspace_memory_region region = {
        .memory_size = MACHINE_RAM_BYTES,
        .userspace_addr = (uint64_t)(uintptr_t)machine->ram,
    };

    return hvtlfs_kvm_memory_set(machine->hv, &region, &machine->error) == HVTLFS_OK
               ? NULL
               : machine->error.text;
}

static const char *kvm_init(struct machine *machine)
{
    int size;

    machine->kvm = hvtlfs_kvm_open(NULL, &machine->error);
    if (machine->kvm < 0) {
        return machine->error.text;
    }
    machine->vm = ioctl(machine->kvm, KVM_CREATE_VM, 0);
    if (machine->vm < 0) {
        return because(machine, "KVM_CREATE_VM");
    }
    if (ioctl(machine->vm, KVM_CREATE_IRQCHIP, 0) != 0) {
        return because(machine, "KVM_CREATE_IRQCHIP");
    }
    size = ioctl(machine->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (size < (int)sizeof(struct kvm_run)) {
        return because(machine, "KVM_GET_VCPU_MMAP_SIZE");
    }
    machine->run_size = (size_t)size;
    return NULL;
}

static const char *ram_init(struct machine *machine, uint64_t *entry)
{
    const char *wrong;

    machine->ram = aligned_alloc(HVTLFS_PAGE_SIZE, MACHINE_RAM_BYTES);
    if (machine->ram == NULL) {
        return "out of memory";
    }
    memset(machine->ram, 0, MACHINE_RAM_BYTES);
    wrong = image_load(machine->options->guest, machine->ram, MACHINE_RAM_BYTES, entry);
    page_tables_put(machine);
    boot_info_put(machine);
    return wrong;
}

const char *machine_init(struct machine *machine, const struct host_options *options, bool *skip)
{
    const char *wrong;
    uint64_t entry = 0;

    machine->options = options;
    machine->vm = -1;
    machine->console.echo = !options->json;
    (void)pthread_mutex_init(&machine->mutex, NULL);
    (void)pthread_cond_init(&machine->changed, NULL);
    wrong = kvm_init(machine);
    *skip = wrong != NULL;
    if (wrong == NULL) {
        wrong = ram_init(machine, &entry);
    }
    if (wrong == NULL) {
        wrong = vps_init(machine);
    }
    if (wrong == NULL) {
        wrong = hv_init(machine);
        *skip = wrong != NULL && machine->error.status == HVTLFS_ERR_UNAVAILABLE;
    }
    if (wrong == NULL) {
        wrong = memory_init(machine);
    }
    return wrong != NULL ? wrong : vps_start(machine, entry);
}

void machine_free(struct machine *machine)
{
    hvtlfs_kvm_destroy(machine->hv);
    for (uint32_t n = 0; n < machine->vp_count; n++) {
        (void)munmap(machine->vps[n].run, machine->run_size);
        if (machine->vps[n].stats >= 0) {
            (void)close(machine->vps[n].stats);
        }
        (void)close(machine->vps[n].fd);
    }
    if (machine->vm >= 0) {
        (void)close(machine->vm);
    }
    if (machine->kvm >= 0) {
        (void)close(machine->kvm);
    }
    free(machine->ram);
    console_free(&machine->console);
    (void)pthread_cond_destroy(&machine->changed);
    (void)pthread_mutex_destroy(&machine->mutex);
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

static void exits_add(const struct machine_vp *vp, struct exit_counts *sum)
{
    sum->all += kvm_stats_exits(vp->stats);
    sum->msrs += tally_sum(&vp->tally.msr_reads) + tally_sum(&vp->tally.msr_writes);
    sum->hypercalls += tally_sum(&vp->tally.hypercalls);
}

static void mark(struct machine *machine, bool end_of_stretch)
{
    struct exit_counts sum = {.ports = atomic_load(&machine->port_exits),
                              .apic_page = atomic_load(&machine->mmio_exits)};

    for (uint32_t n = 0; n < machine->vp_count; n++) {
        exits_add(&machine->vps[n], &sum);
    }
    stretches_mark(&machine->stretches, &sum, end_of_stretch);
}

/* The device is an MSI to VP 0, whose APIC has the identifier 0. */
static void device(struct machine *machine, uint32_t value)
{
    struct kvm_msi msi = {.address_lo = 0xFEE00000u, .data = value};

    if (value < 256) {
        (void)ioctl(machine->vm, KVM_SIGNAL_MSI, &msi);
    } else {
        mark(machine, value == BOOT_DEVICE_END);
    }
}

static uint32_t pm_timer_now(void)
{
    struct timespec time;

    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return pm_timer((uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec, 1000000000);
}

/* Of all VPs, for a guest that counts by itself. */
static uint32_t exits_now(const struct machine *machine)
{
    uint64_t exits = 0;

    for (uint32_t n = 0; n < machine->vp_count; n++) {
        exits += kvm_stats_exits(machine->vps[n].stats);
    }
    return (uint32_t)exits;
}

static uint32_t doubleword(const uint8_t *data, size_t size)
{
    uint32_t value = 0;

    memcpy(&value, data, size < sizeof value ? size : sizeof value);
    return value;
}

static void out(struct machine *machine, uint16_t port, const uint8_t *data, size_t size)
{
    if (port == BOOT_PORT_EXIT) {
        end(machine, true, doubleword(data, size), NULL);
    } else if (port == BOOT_PORT_DEVICE) {
        device(machine, doubleword(data, size));
    } else if (port == BOOT_PORT_DEBUG) {
        (void)pthread_mutex_lock(&machine->mutex);
        for (size_t i = 0; i < size; i++) {
            console_put(&machine->console, data[i]);
        }
        (void)pthread_mutex_unlock(&machine->mutex);
    }
}

static void io(struct machine *machine, struct kvm_run *run)
{
    uint8_t *data = (uint8_t *)run + run->io.data_offset;
    size_t size = (size_t)run->io.size * run->io.count;

    if (run->io.direction == KVM_EXIT_IO_OUT) {
        out(machine, run->io.port, data, size);
    } else if (run->io.port == BOOT_PORT_PM_TIMER || run->io.port == BOOT_PORT_EXITS) {
        uint32_t shown = run->io.port == BOOT_PORT_EXITS ? exits_now(machine) : pm_timer_now();

        memcpy(data, &shown, size < sizeof shown ? size : sizeof shown);
    } else {
        memset(data, 0xFF, size);
    }
}

/* What the library leaves to us. Where nothing is, a bus answers with ones. */
static void exit_handle(struct machine *machine, struct kvm_run *run)
{
    switch (run->exit_reason) {
    case KVM_EXIT_IO:
        atomic_fetch_add(&machine->port_exits, 1);
        io(machine, run);
        break;
    case KVM_EXIT_MMIO:
        atomic_fetch_add(&machine->mmio_exits, 1);
        memset(run->mmio.data, 0xFF, sizeof run->mmio.data);
        break;
    case KVM_EXIT_X86_RDMSR:
    case KVM_EXIT_X86_WRMSR:
        run->msr.error = 1;
        break;
    case KVM_EXIT_SHUTDOWN:
        end(machine, false, 0, "triple fault");
        break;
    case KVM_EXIT_FAIL_ENTRY:
    case KVM_EXIT_INTERNAL_ERROR:
        end(machine, false, 0, "KVM cannot run the guest's code");
        break;
    default:
        end(machine, false, 0, "an exit that this VMM does not know");
        break;
    }
}

static void *vp_thread(void *argument)
{
    struct machine_vp *vp = argument;
    struct machine *machine = vp->machine;

    while (!atomic_load(&machine->stop)) {
        if (hvtlfs_kvm_run(machine->hv, vp->number) == 0) {
            exit_handle(machine, vp->run);
        } else if (errno != EINTR && errno != EAGAIN) {
            end(machine, false, 0, "KVM_RUN fails");
        }
        if (atomic_load(&machine->reset)) {
            end(machine, false, 0, "the guest reset the machine");
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
static void wait_for_threads(struct machine *machine)
{
    (void)pthread_mutex_lock(&machine->mutex);
    while (machine->threads > 0) {
        struct timespec until = in_ms(STOP_INTERVAL_MS);

        (void)pthread_mutex_unlock(&machine->mutex);
        for (uint32_t n = 0; n < machine->vp_count; n++) {
            hvtlfs_kvm_kick(machine->hv, n);
        }
        (void)pthread_mutex_lock(&machine->mutex);
        if (machine->threads > 0) {
            (void)pthread_cond_timedwait(&machine->changed, &machine->mutex, &until);
        }
    }
    (void)pthread_mutex_unlock(&machine->mutex);
}

static bool thread_start(struct machine_vp *vp)
{
    struct machine *machine = vp->machine;
    bool started;

    (void)pthread_mutex_lock(&machine->mutex);
    started = pthread_create(&vp->thread, NULL, vp_thread, vp) == 0;
    machine->threads += started;
    (void)pthread_mutex_unlock(&machine->mutex);
    return started;
}

void machine_run(struct machine *machine)
{
    uint32_t started = 0;

    while (started < machine->vp_count && thread_start(&machine->vps[started])) {
        started++;
    }
    if (started < machine->vp_count) {
        end(machine, false, 0, "no more threads");
    }
    wait_for_end(machine);
    wait_for_threads(machine);
    while (started > 0) {
        (void)pthread_join(machine->vps[--started].thread, NULL);
    }
}
