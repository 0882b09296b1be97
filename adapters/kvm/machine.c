/* SPDX-License-Identifier: MIT */
#include "machine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#include "boot.h"
#include "connections.h"
#include "image.h"

enum {
    PAGE_TABLES_GPA = 0x1000, /* one PML4, one PDPT, four directories */
    BOOT_INFO_GPA = 0x8000,
    PTE_TABLE = 0x7, /* present, writable, user */
    PTE_LARGE = 0x87,
    STOP_INTERVAL_MS = 5,
    SELECTOR_CODE = 0x08,
    SELECTOR_DATA = 0x10,
};

#define CR0_LONG UINT64_C(0x80010033) /* PG, WP, NE, ET, MP, PE */
#define CR4_LONG UINT64_C(0x620)      /* OSXMMEXCPT, OSFXSR, PAE */
#define EFER_LONG UINT64_C(0x500)     /* LMA, LME */

static void entry_put(struct machine *machine, uint64_t table, unsigned index, uint64_t entry)
{
    memcpy(machine->ram + table + 8 * index, &entry, sizeof entry);
}

/* Identity map of the first 4 GiB; the guest soon has its own. */
static void page_tables_put(struct machine *machine)
{
    uint64_t pdpt = PAGE_TABLES_GPA + 0x1000;
    uint64_t directories = PAGE_TABLES_GPA + 0x2000;

    entry_put(machine, PAGE_TABLES_GPA, 0, pdpt | PTE_TABLE);
    for (unsigned i = 0; i < 4; i++) {
        entry_put(machine, pdpt, i, (directories + 0x1000 * i) | PTE_TABLE);
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
                 (machine->options->copy_overlays ? BOOT_HAS_APIC : BOOT_EVERYTHING),
        .vp_count = machine->options->vps,
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
static bool vp_start_state(struct adapter_vp *vp, uint64_t entry)
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

static const char *vps_init(struct machine *machine)
{
    const char *wrong = NULL;

    while (wrong == NULL && machine->adapter.vp_count < machine->options->vps) {
        wrong = adapter_vp_open(&machine->adapter);
    }
    return wrong;
}

static const char *vps_start(struct machine *machine, uint64_t entry)
{
    for (uint32_t n = 0; n < machine->adapter.vp_count; n++) {
        if (!vp_start_state(&machine->adapter.vps[n], entry)) {
            return "KVM refuses a VP in long mode";
        }
    }
    return NULL;
}

static const char *partition_init(struct machine *machine)
{
    struct hvtlfs_config config;
    const char *wrong;

    hvtlfs_config_init(&config);
    config.features = machine->options->list.features;
    config.vp_count = machine->adapter.vp_count;
    connections_configure(&config);
    config.spin_count = machine->options->list.spin_count;
    config.trap = machine->options->trap;
    wrong = adapter_partition(&machine->adapter, &config, machine->options->copy_overlays);
    return wrong != NULL ? wrong
                         : connections_add(machine->adapter.partition, machine->adapter.vp_count);
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
    uint64_t entry;

    machine->options = options;
    machine->console.echo = !options->json;
    (void)pthread_mutex_init(&machine->mutex, NULL);
    (void)pthread_cond_init(&machine->changed, NULL);
    gate_install();
    wrong = adapter_open(&machine->adapter);
    *skip = wrong != NULL;
    if (wrong == NULL) {
        wrong = ram_init(machine, &entry);
    }
    if (wrong == NULL) {
        wrong = vps_init(machine);
    }
    if (wrong == NULL) {
        wrong = partition_init(machine);
    }
    if (wrong == NULL && !memory_add(&machine->adapter, 0, machine->ram, MACHINE_RAM_BYTES)) {
        wrong = "KVM refuses the guest's memory";
    }
    return wrong != NULL ? wrong : vps_start(machine, entry);
}

void machine_free(struct machine *machine)
{
    adapter_close(&machine->adapter);
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
    atomic_store(&machine->adapter.stop, true);
    (void)pthread_cond_broadcast(&machine->changed);
    (void)pthread_mutex_unlock(&machine->mutex);
}

static void out(struct machine *machine, uint16_t port, const uint8_t *data, size_t size)
{
    if (port == BOOT_PORT_EXIT) {
        uint32_t status = 0;

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

static void io(struct machine *machine, struct kvm_run *run)
{
    uint8_t *data = (uint8_t *)run + run->io.data_offset;
    size_t size = (size_t)run->io.size * run->io.count;

    if (run->io.direction == KVM_EXIT_IO_OUT) {
        out(machine, run->io.port, data, size);
    } else {
        memset(data, 0xFF, size);
    }
}

/* What the adapter leaves to us. Where nothing is, a bus answers with ones. */
static void exit_handle(struct machine *machine, struct kvm_run *run)
{
    switch (run->exit_reason) {
    case KVM_EXIT_IO:
        io(machine, run);
        break;
    case KVM_EXIT_MMIO:
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

/* One VP's thread and where it belongs. */
struct seat {
    struct machine *machine;
    struct adapter_vp *vp;
};

static void *vp_thread(void *argument)
{
    struct seat *seat = argument;
    struct machine *machine = seat->machine;

    gate_thread_begins(seat->vp);
    while (!atomic_load(&machine->adapter.stop)) {
        if (adapter_run(seat->vp) == 0) {
            if (adapter_handle(seat->vp) == ADAPTER_YOURS) {
                exit_handle(machine, seat->vp->run);
            }
            if (atomic_load(&machine->adapter.reset)) {
                end(machine, false, 0, "the guest reset the machine");
            }
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
static void wait_for_threads(struct machine *machine)
{
    (void)pthread_mutex_lock(&machine->mutex);
    while (machine->threads > 0) {
        struct timespec until = in_ms(STOP_INTERVAL_MS);

        (void)pthread_mutex_unlock(&machine->mutex);
        for (uint32_t n = 0; n < machine->adapter.vp_count; n++) {
            gate_kick(&machine->adapter.vps[n]);
        }
        (void)pthread_mutex_lock(&machine->mutex);
        if (machine->threads > 0) {
            (void)pthread_cond_timedwait(&machine->changed, &machine->mutex, &until);
        }
    }
    (void)pthread_mutex_unlock(&machine->mutex);
}

void machine_run(struct machine *machine)
{
    struct seat seats[ADAPTER_MAX_VPS];
    pthread_t threads[ADAPTER_MAX_VPS];
    uint32_t started = 0;

    while (started < machine->adapter.vp_count) {
        seats[started] = (struct seat){machine, &machine->adapter.vps[started]};
        (void)pthread_mutex_lock(&machine->mutex);
        machine->threads++;
        (void)pthread_mutex_unlock(&machine->mutex);
        if (pthread_create(&threads[started], NULL, vp_thread, &seats[started]) != 0) {
            machine->threads--;
            end(machine, false, 0, "no more threads");
            break;
        }
        started++;
    }
    wait_for_end(machine);
    wait_for_threads(machine);
    while (started > 0) {
        (void)pthread_join(threads[--started], NULL);
    }
}
