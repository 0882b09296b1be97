/* SPDX-License-Identifier: MIT */
/*
 * libhvtlfs-kvm-preload.so: stands between a program and /dev/kvm and makes a KVM without Hyper-V (or with
 * another) look like one that has it. The program's calls of ioctl, and of what copies and closes
 * descriptors, come here first; those that have to do with Hyper-V are answered with libhvtlfs-kvm, all
 * others go on as they are.
 *
 * Locks, outermost first: a vCPU's (held while it runs, as KVM holds its own), that of the interrupt lines,
 * a VM's, that of the descriptors. Objects are counted; descriptors and vCPUs hold references.
 */
#ifndef HVTLFS_KVM_PRELOAD_H
#define HVTLFS_KVM_PRELOAD_H

#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hvtlfs/cpuid.h>
#include <hvtlfs/kvm.h>
#include <hvtlfs/synic.h>
#include <hvtlfs/tlfs.h>

enum {
    MSR_FIRST = 0x40000000,
    MSR_COUNT = 0x200,
    LEAVES = 6, /* hypervisor leaves that decide something: 0 to 5 */
    MOST_VCPUS = 512,
    SPARE_VPS = 64, /* VPs that a VM has room for, so that vCPUs may come later */
    MOST_CONNECTIONS = 256,
    MOST_ROUTES = 4096,
    DESCRIPTORS = 65536, /* those above are not looked at */
};

/* What a descriptor of the program is. */
enum kind { KIND_NONE, KIND_SYSTEM, KIND_VM, KIND_VCPU };

struct object {
    enum kind kind;
    int fd;              /* a copy of ours, good until the object ends */
    unsigned references; /* this and the next are guarded by the table's lock */
    struct object *next;
};

/* KVM_HYPERV_EVENTFD */
struct connection {
    uint32_t id;
    int event; /* a duplicate of the program's */
    bool used;
};

/* KVM_IRQ_ROUTING_HV_SINT */
struct route {
    uint32_t gsi;
    uint32_t vp_index;
    uint32_t sint;
};

struct routes {
    uint32_t count;
    struct route all[MOST_ROUTES];
};

struct vcpu;

struct vm {
    struct object object;
    pthread_mutex_t lock;
    struct hvtlfs_kvm *hv; /* made when the first vCPU with leaves of Hyper-V runs */
    bool refused;          /* it could not be made; the program has been told */
    bool has_apic;
    uint64_t born; /* where reference time is 0: CLOCK_MONOTONIC, in 100 ns */
    struct vcpu *vcpus[MOST_VCPUS];
    uint32_t vcpu_count; /* ever made: the default VP index of the next */
    struct kvm_userspace_memory_region *regions;
    size_t region_count;
    uint32_t msr_exits;
    struct kvm_msr_filter *filter; /* the program's, or NULL */
    struct connection connections[MOST_CONNECTIONS];
    struct routes *routes; /* or NULL */
};

struct vcpu {
    struct object object;
    struct vm *vm;
    uint32_t id; /* KVM's: the APIC ID */
    uint32_t vp_index;
    pthread_mutex_t lock;
    struct kvm_run *run;
    size_t run_size;
    bool has_mask; /* the program's KVM_SET_SIGNAL_MASK */
    uint64_t mask;
    bool mask_is_told; /* ours */
    uint64_t mask_told;
    bool attached; /* atomic, as is the next: others look for themselves */
    bool replays;  /* what was set before comes first */
    bool synic;    /* KVM_CAP_HYPERV_SYNIC or _SYNIC2 */
    bool enforce;  /* KVM_CAP_HYPERV_ENFORCE_CPUID */
    struct hvtlfs_cpuid_regs leaves[LEAVES];
    bool shows_kvm; /* KVM's own leaves beside them: its hypercalls are the kernel's */
    uint64_t msrs[MSR_COUNT]; /* what the program has set, where the library does not hold it */
    bool msr_is_set[MSR_COUNT];
    uint64_t timers[HV_SYNIC_STIMER_COUNT]; /* configurations that wait for their count */
    bool timer_waits[HV_SYNIC_STIMER_COUNT];
    bool replies;       /* the last exit was KVM_EXIT_HYPERV_HCALL: its result is the guest's RAX */
    bool replies_in_32; /* EDX:EAX */
    bool reset;         /* the guest asked for it, in the exit that is being served */
    bool crashed;
};

/* Of the C library. */
int real_ioctl(int fd, unsigned long request, void *argument);
int real_close(int fd);
int real_fcntl(int fd, int command, long argument);

/* statistics.c: with HVTLFS_KVM_STATISTICS in the environment, a line for each VM when it ends. */
void statistics_say(struct vm *vm);

/* A line on standard error. */
void tell(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* own.c: our own descriptors. own_take() closes what it copies; both give -1 with errno. own_next(): the
 * first in a range, or UINT32_MAX. */
int own_copy(int fd);
int own_take(int fd);
bool is_own(int fd);
void own_close(int fd);
unsigned own_next(unsigned first, unsigned last);
void own_in_child(void);

/* table.c: the program's descriptors. object_get() counts a reference that object_put() gives back; in
 * haste it believes the table. table_add() takes one over. */
void table_init(void);
bool table_add(int fd, struct object *object);
void table_drop(int fd);
void table_drop_range(unsigned first, unsigned last);
void table_copied(int from, int to);
struct object *object_get(int fd, bool in_haste);
void object_put(struct object *object);
void object_hold(struct object *object);
void object_born(struct object *object);
void objects_each(void (*visit)(struct object *object)); /* with the table's lock */

/* offer.c: what this KVM with libhvtlfs can offer; found out once. */
bool offered(void);
int own_kvm(void);
enum hvtlfs_kvm_trap own_trap(void);
bool offers(enum hvtlfs_feature feature);
struct hvtlfs_features all_offered(void);
int check_extension(int fd, int number);
int supported_hv_cpuid(struct kvm_cpuid2 *cpuid);
int msr_index_list(int fd, struct kvm_msr_list *list);
enum hvtlfs_feature msr_feature(uint32_t number); /* HVTLFS_FEATURE_COUNT: not one of KVM's */

/* vm.c */
struct vm *vm_new(int fd); /* fd: the program's */
void vm_free(struct vm *vm);
int vm_ioctl(struct vm *vm, int fd, unsigned long request, void *argument);
uint8_t *vm_memory(struct vm *vm, uint64_t gpa, uint64_t size);
struct connection *vm_connection(struct vm *vm, uint32_t id);
uint64_t vm_age(const struct vm *vm);

/* hyperv.c: the partition of a VM. With the VM's lock; returns NULL where there is none (yet). */
struct hvtlfs_kvm *hyperv_wanted(struct vcpu *vcpu);
void hyperv_vcpu_added(struct vm *vm, struct vcpu *vcpu);
bool hyperv_connect(struct vm *vm, const struct connection *connection);
struct hvtlfs_vp *vcpu_vp(const struct vcpu *vcpu);
struct hvtlfs_vp *vcpu_ready(struct vcpu *vcpu); /* the same, with what was set before */
void hyperv_tsc_changed(struct vm *vm);
void hyperv_age_set(struct vm *vm); /* with the VM's lock */

/* vcpu.c */
struct vcpu *vcpu_new(struct vm *vm, int fd, uint32_t id);
void vcpu_free(struct vcpu *vcpu);
int vcpu_ioctl(struct vcpu *vcpu, int fd, unsigned long request, void *argument);

/* msrs.c: KVM_GET_MSRS and KVM_SET_MSRS, and what was set before there was a partition. */
int msrs_get(struct vcpu *vcpu, struct kvm_msrs *msrs);
int msrs_set(struct vcpu *vcpu, struct kvm_msrs *msrs);
void msrs_replay(struct vcpu *vcpu); /* with the vCPU's lock */

/* run.c: the thread's signals are held; before: what it blocks otherwise. */
int vcpu_run(struct vcpu *vcpu, const sigset_t *before);

/* signals.c */
void signals_hold(sigset_t *before);
void signals_let(const sigset_t *before);
int signals_mask(struct vcpu *vcpu, const struct kvm_signal_mask *told); /* KVM_SET_SIGNAL_MASK */
int signals_admit(struct vcpu *vcpu, const sigset_t *before);            /* while the guest runs */
bool signal_waits(const struct vcpu *vcpu); /* one that the program's KVM_RUN ends for */

/* lines.c: SINTs as interrupt lines. */
int routing_set(struct vm *vm, const struct kvm_irq_routing *routing);
bool line_add(struct vm *vm, const struct kvm_irqfd *irqfd, int *result);
bool line_raise(struct vm *vm, uint32_t gsi);
void lines_of(struct vm *vm, uint32_t vp_index); /* EOM: write the resample events */
void lines_drop(struct vm *vm);
void lines_in_child(void);

#endif
