/* SPDX-License-Identifier: MIT */
#include "vmm.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "boot.h"

enum {
    CPUID_ENTRIES = 256,
    X2APIC_BIT = 1 << 21,
    STOP_INTERVAL_MS = 5,
    WAIT_MS = 100,
};

/* Above RAM and below the APICs: Intel's processors want four pages for themselves. */
#define TSS_GPA 0xFFFBD000ul
#define IDENTITY_MAP_GPA UINT64_C(0xFFFBC000)

bool vmm_trouble(struct vmm *vmm, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(vmm->trouble, sizeof vmm->trouble, format, arguments);
    va_end(arguments);
    return false;
}

static bool refused(struct vmm *vmm, const char *what)
{
    return vmm_trouble(vmm, "%s: %s", what, strerror(errno));
}

/* ---- Making the machine ---- */

static bool vm_init(struct vmm *vmm)
{
    uint64_t identity_map = IDENTITY_MAP_GPA;
    struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};
    int size = ioctl(vmm->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);

    vmm->run_size = size > 0 ? (size_t)size : 0;
    vmm->vm = ioctl(vmm->kvm, KVM_CREATE_VM, 0);
    if (vmm->vm < 0 || size < 0) {
        return refused(vmm, "KVM_CREATE_VM");
    }
    if (ioctl(vmm->vm, KVM_SET_IDENTITY_MAP_ADDR, &identity_map) != 0 ||
        ioctl(vmm->vm, KVM_SET_TSS_ADDR, TSS_GPA) != 0) {
        return refused(vmm, "KVM_SET_TSS_ADDR");
    }
    if (ioctl(vmm->vm, KVM_CREATE_IRQCHIP, 0) != 0) {
        return refused(vmm, "KVM_CREATE_IRQCHIP");
    }
    return ioctl(vmm->vm, KVM_CREATE_PIT2, &pit) == 0 || refused(vmm, "KVM_CREATE_PIT2");
}

static bool memory_init(struct vmm *vmm)
{
    struct kvm_userspace_memory_region region = {0};
    void *ram;

    vmm->ram_size = (size_t)vmm->options.memory_mib << 20;
    ram = mmap(NULL, vmm->ram_size, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (ram == MAP_FAILED) {
        return refused(vmm, "the guest's memory");
    }
    vmm->ram = ram;
    region.memory_size = vmm->ram_size;
    region.userspace_addr = (uint64_t)(uintptr_t)ram;
    if (vmm->hv != NULL) {
        return hyperv_memory(vmm, &region);
    }
    return ioctl(vmm->vm, KVM_SET_USER_MEMORY_REGION, &region) == 0 ||
           refused(vmm, "KVM_SET_USER_MEMORY_REGION");
}

static bool cpuid_read(struct vmm *vmm, struct kvm_cpuid2 **cpuid)
{
    *cpuid = calloc(1, sizeof(struct kvm_cpuid2) + CPUID_ENTRIES * sizeof(struct kvm_cpuid_entry2));
    if (*cpuid == NULL) {
        return refused(vmm, "CPUID");
    }
    (*cpuid)->nent = CPUID_ENTRIES;
    return ioctl(vmm->kvm, KVM_GET_SUPPORTED_CPUID, *cpuid) == 0 ||
           refused(vmm, "KVM_GET_SUPPORTED_CPUID");
}

/* What is the processor's own in the leaves that KVM gives for all. */
static void cpuid_identify(struct kvm_cpuid2 *cpuid, uint32_t apic_id)
{
    for (uint32_t i = 0; i < cpuid->nent; i++) {
        struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];

        if (entry->function == 1) {
            entry->ebx = (entry->ebx & 0x0000FFFF) | 1u << 16 | apic_id << 24;
            entry->ecx |= X2APIC_BIT;
        } else if (entry->function == 0xB || entry->function == 0x1F) {
            entry->eax = 0; /* each processor is a package of its own */
            entry->ebx = entry->index == 0;
            entry->ecx = entry->index | (entry->index == 0 ? 0x100u : 0);
            entry->edx = apic_id;
        }
    }
}

static bool cpuid_set(struct cpu *cpu)
{
    struct vmm *vmm = cpu->vmm;
    struct kvm_cpuid2 *cpuid = NULL;
    bool set = cpuid_read(vmm, &cpuid);

    if (set) {
        cpuid_identify(cpuid, cpu->number);
        set = vmm->hv != NULL
                  ? hyperv_cpu_init(cpu, cpuid)
                  : ioctl(cpu->fd, KVM_SET_CPUID2, cpuid) == 0 || refused(vmm, "KVM_SET_CPUID2");
    }
    free(cpuid);
    return set;
}

static bool cpu_init(struct vmm *vmm, uint32_t number)
{
    struct cpu *cpu = &vmm->cpus[number];
    void *run;

    *cpu = (struct cpu){.vmm = vmm, .number = number};
    cpu->fd = ioctl(vmm->vm, KVM_CREATE_VCPU, (unsigned long)number);
    if (cpu->fd < 0) {
        return refused(vmm, "KVM_CREATE_VCPU");
    }
    run = mmap(NULL, vmm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, cpu->fd, 0);
    if (run == MAP_FAILED) {
        (void)close(cpu->fd);
        return refused(vmm, "mapping kvm_run");
    }
    cpu->run = run;
    vmm->cpu_count++;
    return cpuid_set(cpu);
}

/* The kick: it only has to interrupt, immediate_exit does the rest. */
static void on_kick(int signal)
{
    (void)signal;
}

bool vmm_init(struct vmm *vmm)
{
    struct sigaction kick = {.sa_handler = on_kick};
    struct hvtlfs_kvm_error error;
    struct entry entry;

    (void)pthread_mutex_init(&vmm->mutex, NULL);
    (void)pthread_cond_init(&vmm->changed, NULL);
    (void)sigaction(SIGUSR1, &kick, NULL);
    vmm->vm = -1;
    vmm->kvm = hvtlfs_kvm_open(NULL, &error);
    if (vmm->kvm < 0) {
        return vmm_trouble(vmm, "%s", error.text);
    }
    if (!vm_init(vmm) || (vmm->options.hyperv && !hyperv_init(vmm)) || !memory_init(vmm)) {
        return false;
    }
    for (uint32_t n = 0; n < vmm->options.cpus; n++) {
        if (!cpu_init(vmm, n)) {
            return false;
        }
    }
    if (!boot_load(vmm, &entry)) {
        return false;
    }
    for (uint32_t n = 0; n < vmm->cpu_count; n++) {
        if (!boot_start_state(&vmm->cpus[n], &entry)) {
            return false;
        }
    }
    return true;
}

void vmm_free(struct vmm *vmm)
{
    hvtlfs_kvm_destroy(vmm->hv);
    for (uint32_t n = 0; n < vmm->cpu_count; n++) {
        (void)munmap(vmm->cpus[n].run, vmm->run_size);
        (void)close(vmm->cpus[n].fd);
    }
    if (vmm->vm >= 0) {
        (void)close(vmm->vm);
    }
    if (vmm->kvm >= 0) {
        (void)close(vmm->kvm);
    }
    if (vmm->ram != NULL) {
        (void)munmap(vmm->ram, vmm->ram_size);
    }
}

/* ---- Devices ---- */

static void out(struct vmm *vmm, uint16_t port, const uint8_t *data, size_t size)
{
    if (port >= SERIAL_PORT && port < SERIAL_PORT + SERIAL_PORTS) {
        serial_write(vmm, (unsigned)(port - SERIAL_PORT), data[0]);
    } else if (port >= ACPI_PORT && port < ACPI_PORT + ACPI_PORTS) {
        uint32_t value = 0;

        memcpy(&value, data, size < sizeof value ? size : sizeof value);
        acpi_write(vmm, (unsigned)(port - ACPI_PORT), value);
    } else if (port == RTC_PORT) {
        vmm->rtc.chosen = data[0];
    } else if (port == KEYBOARD_COMMAND && data[0] == KEYBOARD_RESET) {
        vmm_end(vmm, RESET);
    } else if (port == BOOT_PORT_DEBUG) {
        (void)fwrite(data, 1, size, stdout);
    } else if (port == BOOT_PORT_EXIT) {
        memcpy(&vmm->exit_code, data, size < sizeof vmm->exit_code ? size : sizeof vmm->exit_code);
        vmm_end(vmm, EXITED);
    }
}

/* Where nothing is, a bus answers with ones. */
static void in(struct vmm *vmm, uint16_t port, uint8_t *data, size_t size)
{
    memset(data, 0xFF, size);
    if (port >= SERIAL_PORT && port < SERIAL_PORT + SERIAL_PORTS) {
        data[0] = serial_read(vmm, (unsigned)(port - SERIAL_PORT));
    } else if (port == RTC_PORT + 1) {
        data[0] = rtc_read(&vmm->rtc);
    } else if (port >= ACPI_PORT && port < ACPI_PORT + ACPI_PORTS) {
        uint32_t value = acpi_read((unsigned)(port - ACPI_PORT));

        memcpy(data, &value, size < sizeof value ? size : sizeof value);
    }
}

static void io(struct cpu *cpu)
{
    struct kvm_run *run = cpu->run;
    uint8_t *data = (uint8_t *)run + run->io.data_offset;

    cpu->exits_io++;
    (void)pthread_mutex_lock(&cpu->vmm->mutex);
    for (uint32_t i = 0; i < run->io.count; i++) {
        if (run->io.direction == KVM_EXIT_IO_OUT) {
            out(cpu->vmm, run->io.port, data, run->io.size);
        } else {
            in(cpu->vmm, run->io.port, data, run->io.size);
        }
        data += run->io.size;
    }
    (void)pthread_mutex_unlock(&cpu->vmm->mutex);
}

/* ---- Running ---- */

static void end_with_trouble(struct cpu *cpu, const char *what, uint64_t number)
{
    struct vmm *vmm = cpu->vmm;

    (void)pthread_mutex_lock(&vmm->mutex);
    if (vmm->ending == STILL_RUNNING) {
        (void)vmm_trouble(vmm, "VP %u: %s (0x%llx)", (unsigned)cpu->number, what,
                          (unsigned long long)number);
        vmm_end(vmm, FAILED);
    }
    (void)pthread_mutex_unlock(&vmm->mutex);
}

static void exit_handle(struct cpu *cpu)
{
    struct kvm_run *run = cpu->run;

    switch (run->exit_reason) {
    case KVM_EXIT_IO:
        io(cpu);
        break;
    case KVM_EXIT_MMIO:
        cpu->exits_mmio++;
        memset(run->mmio.data, 0xFF, sizeof run->mmio.data);
        break;
    case KVM_EXIT_SHUTDOWN: /* a triple fault is how Linux resets when nothing else works */
        vmm_end(cpu->vmm, RESET);
        break;
    case KVM_EXIT_FAIL_ENTRY:
        end_with_trouble(cpu, "KVM cannot enter the guest",
                         run->fail_entry.hardware_entry_failure_reason);
        break;
    case KVM_EXIT_INTERNAL_ERROR:
        end_with_trouble(cpu, "KVM cannot emulate an instruction", run->internal.suberror);
        break;
    default:
        cpu->exits_other++;
        end_with_trouble(cpu, "an exit that this VMM does not know", run->exit_reason);
        break;
    }
}

static void *cpu_thread(void *argument)
{
    struct cpu *cpu = argument;
    struct vmm *vmm = cpu->vmm;

    while (!atomic_load(&vmm->stop)) {
        int result =
            vmm->hv != NULL ? hvtlfs_kvm_run(vmm->hv, cpu->number) : ioctl(cpu->fd, KVM_RUN, 0);

        if (result == 0) {
            exit_handle(cpu);
        } else if (errno != EINTR && errno != EAGAIN) {
            end_with_trouble(cpu, strerror(errno), (uint64_t)errno);
        }
    }
    (void)pthread_mutex_lock(&vmm->mutex);
    vmm->threads--;
    (void)pthread_cond_broadcast(&vmm->changed);
    (void)pthread_mutex_unlock(&vmm->mutex);
    return NULL;
}

/* Any thread, also with the mutex held. The first ending counts. */
void vmm_end(struct vmm *vmm, enum ending ending)
{
    if (!atomic_exchange(&vmm->stop, true)) {
        vmm->ending = ending;
    }
    (void)pthread_cond_broadcast(&vmm->changed);
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

/* vmm_end() may come between the look and the wait, so wait in pieces. */
void vmm_wait(struct vmm *vmm)
{
    struct timespec until = in_ms(WAIT_MS);

    (void)pthread_cond_timedwait(&vmm->changed, &vmm->mutex, &until);
}

static void wait_for_end(struct vmm *vmm)
{
    struct timespec until = in_ms(UINT64_C(1000) * vmm->options.timeout_s);

    (void)pthread_mutex_lock(&vmm->mutex);
    while (!atomic_load(&vmm->stop)) {
        struct timespec time = in_ms(0);

        vmm_wait(vmm);
        (void)fflush(stdout); /* a prompt has no end of line */
        if (vmm->options.timeout_s != 0 && time.tv_sec > until.tv_sec) {
            vmm_end(vmm, TIMED_OUT);
        }
    }
    (void)pthread_mutex_unlock(&vmm->mutex);
}

/* Threads may be anywhere, so they are called until they have all gone. */
static void wait_for_threads(struct vmm *vmm)
{
    (void)pthread_mutex_lock(&vmm->mutex);
    while (vmm->threads > 0) {
        struct timespec until = in_ms(STOP_INTERVAL_MS);

        for (uint32_t n = 0; n < vmm->cpu_count; n++) {
            vmm->cpus[n].run->immediate_exit = 1;
            (void)pthread_kill(vmm->cpus[n].thread, SIGUSR1);
        }
        (void)pthread_cond_timedwait(&vmm->changed, &vmm->mutex, &until);
    }
    (void)pthread_mutex_unlock(&vmm->mutex);
}

void vmm_run(struct vmm *vmm)
{
    (void)pthread_mutex_lock(&vmm->mutex);
    for (uint32_t n = 0; n < vmm->cpu_count; n++) {
        if (pthread_create(&vmm->cpus[n].thread, NULL, cpu_thread, &vmm->cpus[n]) != 0) {
            abort(); /* nothing has run yet, and nothing can */
        }
        vmm->threads++;
    }
    (void)pthread_mutex_unlock(&vmm->mutex);
    wait_for_end(vmm);
    wait_for_threads(vmm);
    for (uint32_t n = 0; n < vmm->cpu_count; n++) {
        (void)pthread_join(vmm->cpus[n].thread, NULL);
    }
}
