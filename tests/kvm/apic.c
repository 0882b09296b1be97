/* SPDX-License-Identifier: MIT */
/*
 * The APIC by MSR on a real KVM whose guest is in xAPIC mode: the EOI of a level-triggered interrupt reaches
 * the kernel's I/O APIC, and no interrupt is lost that is raised meanwhile. With --store the helper is
 * kept from the MSRs of a kernel that has a Hyper-V of its own. The guest is a few instructions of real
 * mode. Exit status 77 where there is nothing to test.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <hvtlfs/kvm.h>
#include <hvtlfs/tlfs.h>

enum {
    RAM = 0x10000,
    CODE = 0x1000,
    HANDLER = 0x1100,
    STACK = 0x8000,
    VECTOR_LEVEL = 0x41,
    VECTOR_EDGE = 0x51,
    PIN = 20, /* not one of the PICs as well */
    PORT_LEVEL = 0x10,
    PORT_EDGE = 0x11,
    ROUNDS = 200,
    POINTS = 20, /* at least as many requests as an EOI takes */
    PATIENCE_MS = 20000,
    SKIPPED = 77,
    APIC_TPR = 0x80,
    APIC_SPURIOUS = 0xF0,
};

/* mov ecx, MSR; xor eax, eax; xor edx, edx; wrmsr */
#define EOI 0x66, 0xB9, 0x70, 0x00, 0x00, 0x40, 0x66, 0x31, 0xC0, 0x66, 0x31, 0xD2, 0x0F, 0x30

static const uint8_t handler_level[] = {EOI, 0xE6, PORT_LEVEL, 0xCF}; /* ...; out; iret */
static const uint8_t handler_edge[] = {EOI, 0xE6, PORT_EDGE, 0xCF};
static const uint8_t spin[] = {0xFB, 0xEB, 0xFE}; /* sti; jmp . */

static int kvm, vm, vcpu;
static struct kvm_run *run;
static uint8_t *ram;
static struct hvtlfs_kvm *hv;
static struct hvtlfs_kvm_error error;
static bool by_store;
static atomic_uint levels, edges; /* handled */
static atomic_bool done;
static bool raising; /* edges: */
static unsigned raised, requests;
static unsigned handled; /* of the edges, when the last one was raised: an emulated KVM may repeat one */

/* In the middle of whatever the helper asks of KVM for one EOI: at its first request, at its second... */
static void raise_edge(void)
{
    struct kvm_msi msi = {.address_lo = 0xFEE00000u, .data = VECTOR_EDGE};

    if (raising && atomic_load(&edges) != handled && ++requests == 1 + raised % POINTS) {
        handled = atomic_load(&edges);
        raised += ioctl(vm, KVM_SIGNAL_MSI, &msi) > 0;
        requests = 0;
    }
}

/* Also a kernel without a Hyper-V of its own. */
static int between(void *context, int fd, unsigned long request, void *argument)
{
    const struct kvm_msrs *msrs = argument;
    int result;

    (void)context;
    if (by_store && request == KVM_SET_MSRS && msrs->entries[0].index >> 8 == 0x400000) {
        return 0;
    }
    result = ioctl(fd, request, argument);
    if (fd == vcpu) {
        raise_edge();
    }
    return result;
}

static void vector_put(unsigned vector, uint16_t offset, const uint8_t *code, size_t size)
{
    memcpy(ram + 4 * (size_t)vector, &offset, sizeof offset);
    memset(ram + 4 * (size_t)vector + 2, 0, 2);
    memcpy(ram + offset, code, size);
}

static void hv_open(void)
{
    struct kvm_userspace_memory_region region = {.memory_size = RAM};
    struct hvtlfs_kvm_config config;

    hvtlfs_kvm_config_init(&config);
    config.kvm_fd = kvm;
    config.vm_fd = vm;
    config.ioctl = between;
    hvtlfs_features_add(&config.partition.features, HVTLFS_FEATURE_VAPIC);
    hvtlfs_features_complete(&config.partition.features);
    if (hvtlfs_kvm_create(&config, &hv, &error) != HVTLFS_OK) {
        fail_msg("%s", error.text);
    }
    region.userspace_addr = (uint64_t)(uintptr_t)ram;
    assert_int_equal(hvtlfs_kvm_memory_set(hv, &region, &error), HVTLFS_OK);
    assert_int_equal(hvtlfs_kvm_vp_attach(hv, 0, vcpu, run, &error), HVTLFS_OK);
    assert_int_equal(hvtlfs_kvm_vp_cpuid(hv, 0, NULL, &error), HVTLFS_OK);
}

static void apic_open(void)
{
    struct kvm_irqchip io_apic = {.chip_id = KVM_IRQCHIP_IOAPIC};
    struct kvm_lapic_state apic;

    assert_int_equal(ioctl(vcpu, KVM_GET_LAPIC, &apic), 0);
    apic.regs[APIC_SPURIOUS] = (char)0xFF;
    apic.regs[APIC_SPURIOUS + 1] = 1;
    apic.regs[APIC_TPR] = 0;
    assert_int_equal(ioctl(vcpu, KVM_SET_LAPIC, &apic), 0);
    assert_int_equal(ioctl(vm, KVM_GET_IRQCHIP, &io_apic), 0);
    memset(&io_apic.chip.ioapic.redirtbl[PIN], 0, sizeof io_apic.chip.ioapic.redirtbl[PIN]);
    io_apic.chip.ioapic.redirtbl[PIN].fields.vector = VECTOR_LEVEL;
    io_apic.chip.ioapic.redirtbl[PIN].fields.trig_mode = 1;
    assert_int_equal(ioctl(vm, KVM_SET_IRQCHIP, &io_apic), 0);
}

static int setup(void **state)
{
    struct kvm_regs regs = {.rip = CODE, .rsp = STACK, .rflags = 2};
    struct kvm_sregs sregs;

    (void)state;
    kvm = hvtlfs_kvm_open(NULL, &error);
    vm = ioctl(kvm, KVM_CREATE_VM, 0);
    assert_true(vm >= 0);
    assert_int_equal(ioctl(vm, KVM_CREATE_IRQCHIP, 0), 0);
    vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
    assert_true(vcpu >= 0);
    run = mmap(NULL, (size_t)ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE,
               MAP_SHARED, vcpu, 0);
    ram = mmap(NULL, RAM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(run != MAP_FAILED && ram != MAP_FAILED);
    hv_open();
    memcpy(ram + CODE, spin, sizeof spin);
    vector_put(VECTOR_LEVEL, HANDLER, handler_level, sizeof handler_level);
    vector_put(VECTOR_EDGE, HANDLER + 0x80, handler_edge, sizeof handler_edge);
    assert_int_equal(ioctl(vcpu, KVM_GET_SREGS, &sregs), 0);
    sregs.cs.base = sregs.cs.selector = 0;
    assert_int_equal(ioctl(vcpu, KVM_SET_SREGS, &sregs), 0);
    assert_int_equal(ioctl(vcpu, KVM_SET_REGS, &regs), 0);
    apic_open();
    atomic_store(&levels, 0);
    atomic_store(&edges, 0);
    atomic_store(&done, false);
    raising = false;
    raised = requests = 0;
    handled = UINT32_MAX;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    hvtlfs_kvm_destroy(hv);
    (void)munmap(run, (size_t)ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0));
    (void)munmap(ram, RAM);
    (void)close(vcpu);
    (void)close(vm);
    (void)close(kvm);
    return 0;
}

static void guest_run(void)
{
    while (!atomic_load(&done)) {
        if (hvtlfs_kvm_run(hv, 0) != 0) {
            assert_true(errno == EINTR || errno == EAGAIN);
            continue;
        }
        assert_int_equal(run->exit_reason, KVM_EXIT_IO);
        (void)atomic_fetch_add(run->io.port == PORT_LEVEL ? &levels : &edges, 1);
    }
}

static void pin_set(unsigned level)
{
    struct kvm_irq_level line = {.irq = PIN, .level = level};

    assert_int_equal(ioctl(vm, KVM_IRQ_LINE, &line), 0);
}

static void end(void)
{
    atomic_store(&done, true);
    hvtlfs_kvm_kick(hv, 0);
}

/* The pin stays up, so each EOI brings the interrupt again. Until there were enough, or no more come. */
static void *watch(void *argument)
{
    const atomic_uint *count = argument;
    unsigned seen = 0;

    pin_set(1);
    for (unsigned idle = 0; seen < ROUNDS && idle < PATIENCE_MS; idle++) {
        unsigned now = atomic_load(count);

        idle = now == seen ? idle : 0;
        seen = now;
        (void)usleep(1000);
    }
    pin_set(0);
    end();
    return NULL;
}

static void run_until(atomic_uint *count)
{
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, watch, count), 0);
    guest_run();
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static void test_the_eoi_of_a_level_interrupt_reaches_the_io_apic(void **state)
{
    (void)state;
    run_until(&levels);
    assert_true(atomic_load(&levels) >= ROUNDS);
}

static void test_no_interrupt_is_lost_at_an_eoi(void **state)
{
    (void)state;
    raising = true;
    run_until(&edges);
    assert_true(atomic_load(&edges) >= ROUNDS);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_eoi_of_a_level_interrupt_reaches_the_io_apic,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_interrupt_is_lost_at_an_eoi, setup, teardown),
    };
    int fd = hvtlfs_kvm_open(NULL, &error);

    by_store = argc > 1 && strcmp(argv[1], "--store") == 0;
    if (fd < 0) {
        printf("%s\n", error.text);
        return SKIPPED;
    }
    (void)close(fd);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
