/* SPDX-License-Identifier: MIT */
/*
 * The smallest VMM on KVM with Hyper-V, and what it took: kvm_plain.c is the same without; docs/KVM.md
 * shows the difference.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <linux/kvm.h>

#include <hvtlfs/kvm.h>

enum { RAM_SIZE = 0x10000, CODE = 0x1000, PORT_TEXT = 0xE9, PORT_END = 0xF4, LEAVES = 100 };

/* 16-bit code: print the name in CPUID's leaf 0x40000000; on Hyper-V also say who we are
 * (GUEST_OS_ID) and print our number (VP_INDEX). */
static const unsigned char code[] = {
    0x66, 0xB8, 0x00, 0x00, 0x00, 0x40, /* mov eax, 0x40000000 */
    0x0F, 0xA2,                         /* cpuid */
    0x66, 0x89, 0x1E, 0x00, 0x20,       /* mov [0x2000], ebx */
    0x66, 0x89, 0x0E, 0x04, 0x20,       /* mov [0x2004], ecx */
    0x66, 0x89, 0x16, 0x08, 0x20,       /* mov [0x2008], edx */
    0xBE, 0x00, 0x20,                   /* mov si, 0x2000 */
    0xB9, 0x0C, 0x00,                   /* mov cx, 12 */
    0xBA, 0xE9, 0x00,                   /* mov dx, 0xE9 */
    0xF3, 0x6E,                         /* rep outsb */
    0x80, 0x3E, 0x00, 0x20, 0x4D,       /* cmp byte [0x2000], 'M' */
    0x75, 0x1C,                         /* jne end */
    0x66, 0xB9, 0x00, 0x00, 0x00, 0x40, /* mov ecx, 0x40000000 */
    0xB8, 0x01, 0x00,                   /* mov ax, 1 */
    0x66, 0x31, 0xD2,                   /* xor edx, edx */
    0x0F, 0x30,                         /* wrmsr */
    0x66, 0xB9, 0x02, 0x00, 0x00, 0x40, /* mov ecx, 0x40000002 */
    0x0F, 0x32,                         /* rdmsr */
    0x04, 0x30,                         /* add al, '0' */
    0xBA, 0xE9, 0x00,                   /* mov dx, 0xE9 */
    0xEE,                               /* out dx, al */
    0xE6, 0xF4,                         /* end: out 0xF4, al */
};

static int vm;
static int vcpu;
static struct kvm_run *run;
static struct hvtlfs_kvm *hv;
static struct hvtlfs_kvm_error error;

static void die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(EXIT_FAILURE);
}

static void check(enum hvtlfs_status status)
{
    if (status != HVTLFS_OK) {
        fprintf(stderr, "%s\n", error.text);
        exit(EXIT_FAILURE);
    }
}

static void make_vm(int kvm)
{
    struct hvtlfs_kvm_config config;

    vm = ioctl(kvm, KVM_CREATE_VM, 0);
    if (vm < 0 || ioctl(vm, KVM_CREATE_IRQCHIP, 0) != 0) {
        die("KVM_CREATE_VM");
    }
    hvtlfs_kvm_config_init(&config);
    config.kvm_fd = kvm;
    config.vm_fd = vm;
    hvtlfs_features_add(&config.partition.features, HVTLFS_FEATURE_VP_INDEX);
    check(hvtlfs_kvm_create(&config, &hv, &error));
}

static void make_memory(void)
{
    struct kvm_userspace_memory_region region = {.memory_size = RAM_SIZE};
    void *ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (ram == MAP_FAILED) {
        die("memory");
    }
    memcpy((char *)ram + CODE, code, sizeof code);
    region.userspace_addr = (unsigned long)ram;
    check(hvtlfs_kvm_memory_set(hv, &region, &error));
}

static void make_vcpu(int kvm)
{
    static union {
        struct kvm_cpuid2 table;
        char room[sizeof(struct kvm_cpuid2) + LEAVES * sizeof(struct kvm_cpuid_entry2)];
    } cpuid = {.table.nent = LEAVES};
    int size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);

    vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
    if (vcpu < 0 || size < 0) {
        die("KVM_CREATE_VCPU");
    }
    run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
    if (run == MAP_FAILED) {
        die("mapping kvm_run");
    }
    if (ioctl(kvm, KVM_GET_SUPPORTED_CPUID, &cpuid) != 0) {
        die("KVM_GET_SUPPORTED_CPUID");
    }
    check(hvtlfs_kvm_vp_attach(hv, 0, vcpu, run, &error));
    check(hvtlfs_kvm_vp_cpuid(hv, 0, &cpuid.table, &error));
}

static void start(void)
{
    struct kvm_regs regs = {.rip = CODE, .rflags = 2};
    struct kvm_sregs sregs;

    if (ioctl(vcpu, KVM_GET_SREGS, &sregs) != 0) {
        die("KVM_GET_SREGS");
    }
    sregs.cs.base = 0;
    sregs.cs.selector = 0;
    if (ioctl(vcpu, KVM_SET_SREGS, &sregs) != 0 || ioctl(vcpu, KVM_SET_REGS, &regs) != 0) {
        die("KVM_SET_REGS");
    }
}

/* Whether the guest goes on. */
static int serve(void)
{
    if (run->exit_reason != KVM_EXIT_IO) {
        fprintf(stderr, "exit %u\n", run->exit_reason);
        exit(EXIT_FAILURE);
    }
    if (run->io.port == PORT_TEXT) {
        (void)fwrite((char *)run + run->io.data_offset, run->io.size, run->io.count, stdout);
    }
    return run->io.port != PORT_END;
}

int main(void)
{
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

    if (kvm < 0) {
        fprintf(stderr, "skipped: /dev/kvm: %s\n", strerror(errno));
        return 77;
    }
    make_vm(kvm);
    make_memory();
    make_vcpu(kvm);
    start();
    do {
        while (hvtlfs_kvm_run(hv, 0) != 0) {
            if (errno != EINTR && errno != EAGAIN) {
                die("KVM_RUN");
            }
        }
    } while (serve());
    printf("\n");
    hvtlfs_kvm_destroy(hv);
    return EXIT_SUCCESS;
}
