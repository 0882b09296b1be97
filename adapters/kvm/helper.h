/* SPDX-License-Identifier: MIT */
/*
 * Inside libhvtlfs-kvm. A VP's thread brings the VP into the guest (gate.c: enter) and serves what comes
 * out (exits.c); what others want of it waits in atomic words here, and a signal brings it out.
 *
 * Locks, in the order in which they may be held together: the partition's, memory.change, gate,
 * memory.lock.
 */
#ifndef HVTI_KVM_HELPER_H
#define HVTI_KVM_HELPER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include <hvtlfs/kvm.h>

/* What the helper writes to kvm_run->immediate_exit; the VMM writes 1 (any other value does). */
enum { HVTI_KVM_EXIT_OURS = 2 };

/* The registers that come with an exit, where KVM has that. */
enum { HVTI_KVM_SYNC_REGS = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS };

/* A piece of guest memory, an overlay over it, or what stands in one of KVM's slots (size 0: nothing). */
struct hvti_kvm_region {
    uint64_t gpa;
    uint64_t size;
    uint8_t *host;
    uint32_t flags; /* KVM_MEM_READONLY, KVM_MEM_LOG_DIRTY_PAGES */
    uint32_t slot;  /* the VMM's number, of a piece of guest memory */
};

struct hvti_kvm_regions {
    struct hvti_kvm_region *at;
    uint32_t count;
    uint32_t capacity;
};

struct hvti_kvm_memory {
    pthread_rwlock_t lock;  /* guards ram and overlays; both sorted by address */
    pthread_mutex_t change; /* one change at a time; guards what follows the two */
    struct hvti_kvm_regions ram;
    struct hvti_kvm_regions overlays;
    struct hvti_kvm_regions wanted; /* the slots as they should be */
    struct hvti_kvm_regions slots;  /* as they are; the index is KVM's number */
};

struct hvtlfs_kvm;

struct hvti_kvm_vp {
    struct hvtlfs_kvm *kvm;
    uint32_t index;
    uint32_t apic_id;
    struct hvtlfs_vp *vp;
    int fd; /* -1: no vCPU */
    struct kvm_run *run;

    /* Guarded by the gate. */
    bool in_guest;
    uint64_t flush_asked; /* the earliest flush that waits for it to leave the guest, or 0 */
    uint64_t flush_waits; /* it may not enter before flushes up to this one are done, or 0 */
    pid_t tid;

    /* Any thread. */
    atomic_bool kicked; /* the library has work for it */
    atomic_bool called; /* the VMM wants its thread back */
    atomic_bool flush_pending;
    atomic_bool auto_pending; /* a bit of auto_eoi is set */
    atomic_uint auto_eoi[8];  /* vectors to inject without an in-service bit */
    atomic_uint_fast64_t
        due; /* CLOCK_MONOTONIC in ns at which the library wants a poll, or NEVER */
    atomic_bool due_moved;
    atomic_uint_fast64_t thread; /* which one it is; 0: none yet */

    /* Its thread's own. */
    timer_t timer;
    bool has_timer;
    bool idle;               /* GUEST_IDLE, until an interrupt is pending */
    unsigned eois;           /* written by the guest, to be carried out before it goes on */
    bool icr_written;        /* by MSR, where the kernel's register does not get it: */
    uint64_t icr;            /* its value */
    uint64_t eoi_page;       /* where KVM was told that the assist page is, or HVTLFS_NO_PAGE */
    bool in_parts;           /* the VMM has a part of an instruction that may have more for it */
    unsigned auto_tries;     /* in vain, since the last success */
    uint64_t runtime_before; /* on other threads, in 100 ns */
    uint64_t runtime_start;  /* this thread's processor time when it took the VP over */
    atomic_uint_fast64_t runtime_told;

    atomic_uint_fast64_t tsc_offset; /* guest's TSC less the host's */

    struct {
        atomic_uint_fast64_t runs, msr_reads, msr_writes, msr_faults, hypercalls, refused_stores,
            yours, kicks, flushes, interrupts, auto_eoi, idles, unserved;
    } count;
};

struct hvtlfs_kvm {
    struct hvtlfs_kvm_config config; /* without its pointers into the VMM's memory */
    const uint32_t *alive;           /* 0 in a child */
    struct hvtlfs_partition *partition;
    void *partition_memory;

    enum hvtlfs_kvm_trap trap;
    bool sync_regs;              /* registers come with the exit */
    bool tsc_offsets;            /* KVM tells them */
    bool lazy_eoi;               /* KVM is told where the assist pages are */
    bool has_stage;              /* store.c; guarded by memory.change */
    atomic_uint takes_synthetic; /* apic.c */
    atomic_uint msr_exits;
    atomic_bool tsc_exits;         /* the guest's writes to its TSC come here */
    struct kvm_msr_filter *filter; /* the VMM's, or NULL; its bitmaps too */

    struct hvti_kvm_vp *vps;
    uint32_t vp_count;
    struct hvti_kvm_vp **by_index; /* NULL where there is none */
    uint32_t index_end;

    pthread_mutex_t lock; /* the partition's */
    pthread_mutex_t gate; /* who is in the guest, and whether anybody may be */
    pthread_cond_t gate_moved;
    uint32_t closed;  /* so many want nobody to enter */
    uint64_t flushes; /* asked for so far */

    struct hvti_kvm_memory memory;
};

/* ---- errors.c ---- */

/* Fill *error, which may be NULL; returns the status. With a system error its text is added. */
enum hvtlfs_status hvti_kvm_fail(struct hvtlfs_kvm_error *error, enum hvtlfs_status status,
                                 int system, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
enum hvtlfs_status hvti_kvm_fail_as(struct hvtlfs_kvm_error *error,
                                    const struct hvtlfs_error *cause);

/* ---- capabilities.c ---- */

/* ioctl(), or what the VMM gives for it. */
int hvti_kvm_call(const struct hvtlfs_kvm_config *config, int fd, unsigned long request,
                  void *argument);
int hvti_kvm_call_number(const struct hvtlfs_kvm_config *config, int fd, unsigned long request,
                         unsigned long argument);
int hvti_kvm_capability(const struct hvtlfs_kvm_config *config, unsigned long capability);

static inline int hvti_kvm_vp_call(const struct hvti_kvm_vp *vp, unsigned long request,
                                   void *argument)
{
    return hvti_kvm_call(&vp->kvm->config, vp->fd, request, argument);
}

static inline int hvti_kvm_vm_call(const struct hvtlfs_kvm *kvm, unsigned long request,
                                   void *argument)
{
    return hvti_kvm_call(&kvm->config, kvm->config.vm_fd, request, argument);
}

/* ---- vps.c ---- */

/* The VP of an index, or NULL. */
struct hvti_kvm_vp *hvti_kvm_find(const struct hvtlfs_kvm *kvm, uint32_t vp_index);

/* The same with a vCPU; NULL and errno otherwise: EIO after fork(), ENXIO. */
struct hvti_kvm_vp *hvti_kvm_usable(const struct hvtlfs_kvm *kvm, uint32_t vp_index);

/* #HVTLFS_OK, or what every function says in a child. */
enum hvtlfs_status hvti_kvm_forked(const struct hvtlfs_kvm *kvm, struct hvtlfs_kvm_error *error);

static inline void hvti_kvm_count(atomic_uint_fast64_t *counter)
{
    (void)atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* ---- gate.c ---- */

/* Install the handler of kicks. */
enum hvtlfs_status hvti_kvm_signal_install(int signal, struct hvtlfs_kvm_error *error);

/* Bring the VP out of the guest if it is there. */
void hvti_kvm_kick(struct hvti_kvm_vp *vp);

/* Keep all VPs out of the guest; let them in again. Closing fails when one does not come out. */
bool hvti_kvm_gate_close(struct hvtlfs_kvm *kvm);
void hvti_kvm_gate_open(struct hvtlfs_kvm *kvm);

/* Whether any VP is in the guest. */
bool hvti_kvm_any_in_guest(struct hvtlfs_kvm *kvm);

/* The VP is to be polled at this time (CLOCK_MONOTONIC, ns). */
void hvti_kvm_due(struct hvti_kvm_vp *vp, uint64_t due);
uint64_t hvti_kvm_now(void);

/* Forget the VP's thread and its timer. */
void hvti_kvm_thread_forget(struct hvti_kvm_vp *vp);

/* The VP has left KVM_RUN. */
void hvti_kvm_leave(struct hvti_kvm_vp *vp);

/* Finish the pending instruction. Returns 0; 1 when kvm_run holds another part of it; or -1 with errno. */
int hvti_kvm_complete(struct hvti_kvm_vp *vp);

/* The next KVM_RUN only finishes the pending instruction. In enter, before the last look around. */
void hvti_kvm_run_shortly(struct hvti_kvm_vp *vp);

/* ---- registers.c ---- */

/* The registers of the last exit. False when KVM does not give them. */
bool hvti_kvm_regs_get(struct hvti_kvm_vp *vp, struct kvm_regs *regs, struct kvm_sregs *sregs);
void hvti_kvm_regs_set(struct hvti_kvm_vp *vp, const struct kvm_regs *regs);

/* An exception for the VP's next instruction, which is complete. */
void hvti_kvm_exception(struct hvti_kvm_vp *vp, uint8_t vector, bool has_error);

/* Empty the VP's TLB. */
void hvti_kvm_flush(struct hvti_kvm_vp *vp);

/* CR3 as if the guest had moved it there. */
bool hvti_kvm_cr3_set(struct hvti_kvm_vp *vp, uint64_t cr3);

/* One MSR, as the host sees it. */
bool hvti_kvm_msr_get(struct hvti_kvm_vp *vp, uint32_t number, uint64_t *value);
bool hvti_kvm_msr_set(struct hvti_kvm_vp *vp, uint32_t number, uint64_t value);

/* ---- interrupts.c ---- */

/* Whether an event of KVM's own waits to be injected, or the next instruction is in a shadow. */
bool hvti_kvm_event_waits(const struct kvm_vcpu_events *events);

/* Inject one of the interrupts without EOI, if one waits and can get in. */
void hvti_kvm_inject(struct hvti_kvm_vp *vp);
bool hvti_kvm_interrupt(struct hvti_kvm_vp *vp, const struct hvtlfs_interrupt *interrupt);

/* Whether an interrupt is pending, whether it can get in or not. */
bool hvti_kvm_interrupt_pending(struct hvti_kvm_vp *vp);

/* ---- apic.c: the kernel's APIC of the calling VP ---- */

bool hvti_kvm_apic_write(struct hvti_kvm_vp *vp, enum hvtlfs_apic_register reg, uint64_t value);
uint64_t hvti_kvm_apic_read(struct hvti_kvm_vp *vp, enum hvtlfs_apic_register reg);
uint32_t hvti_kvm_apic_page_get(const struct kvm_lapic_state *page, unsigned offset);

/* Carry out what had to wait for the guest's instruction to be complete. */
void hvti_kvm_apic_settle(struct hvti_kvm_vp *vp);

/* Tell KVM where the assist page is, if it has moved. */
void hvti_kvm_eoi_page(struct hvti_kvm_vp *vp);

/* The highest vector in one of its maps, or -1. */
int hvti_kvm_apic_highest(const struct kvm_lapic_state *page, unsigned map);
enum { HVTI_KVM_APIC_TPR = 0x80, HVTI_KVM_APIC_ISR = 0x100, HVTI_KVM_APIC_IRR = 0x200 };

/* ---- store.c ---- */

/* The store to a register of the APIC's page that the guest would make, by the VP itself. False when it
 * cannot; then nothing has happened. */
bool hvti_kvm_apic_store(struct hvti_kvm_vp *vp, unsigned offset, uint32_t value);

/* ---- cpuid.c ---- */

/* Width of guest physical addresses, or 0. */
uint32_t hvti_kvm_gpa_bits(const struct hvtlfs_kvm_config *config);

/* ---- msrs.c ---- */

enum hvtlfs_status hvti_kvm_msrs_install(struct hvtlfs_kvm *kvm, struct hvtlfs_kvm_error *error);
void hvti_kvm_msrs_free(struct hvtlfs_kvm *kvm);

/* An MSR exit. */
enum hvtlfs_kvm_result hvti_kvm_rdmsr(struct hvti_kvm_vp *vp);
enum hvtlfs_kvm_result hvti_kvm_wrmsr(struct hvti_kvm_vp *vp);

/* ---- hypercalls.c ---- */

/* Choose the trap and have KVM install what it needs. */
enum hvtlfs_status hvti_kvm_trap_install(struct hvtlfs_kvm *kvm, struct hvtlfs_kvm_error *error);
enum hvtlfs_kvm_result hvti_kvm_out(struct hvti_kvm_vp *vp);
enum hvtlfs_kvm_result hvti_kvm_xen(struct hvti_kvm_vp *vp);

/* The MSR that KVM_XEN_HVM_CONFIG wants to have; kept from the guest. */
#define HVTI_KVM_XEN_MSR 0x40000200u

/* ---- memory.c ---- */

enum hvtlfs_status hvti_kvm_memory_init(struct hvtlfs_kvm *kvm);
void hvti_kvm_memory_free(struct hvtlfs_kvm *kvm);
bool hvti_kvm_memory_read(struct hvtlfs_kvm *kvm, uint64_t gpa, void *buffer, size_t size);
bool hvti_kvm_memory_write(struct hvtlfs_kvm *kvm, uint64_t gpa, const void *buffer, size_t size);
bool hvti_kvm_memory_exchange(struct hvtlfs_kvm *kvm, uint64_t gpa, uint32_t *expected,
                              uint32_t desired, bool *done);
bool hvti_kvm_memory_is_ram(struct hvtlfs_kvm *kvm, uint64_t gpa);

/* Whether a store there is refused because of an overlay. */
bool hvti_kvm_memory_refuses(struct hvtlfs_kvm *kvm, uint64_t gpa);
bool hvti_kvm_overlay_set(struct hvtlfs_kvm *kvm, const struct hvtlfs_overlay *overlay);
void hvti_kvm_overlay_clear(struct hvtlfs_kvm *kvm, const struct hvtlfs_overlay *overlay);

/* ---- callbacks.c ---- */

/* The helper's callbacks where the VMM has none. */
void hvti_kvm_callbacks(struct hvtlfs_kvm *kvm, struct hvtlfs_host_ops *ops);

/* ---- tsc.c ---- */

/* Rate in Hz, or 0; whether KVM tells the offsets; whether the TSC can be relied on. */
uint64_t hvti_kvm_tsc_hz(const struct hvtlfs_kvm_config *config, int vcpu_fd);
bool hvti_kvm_tsc_has_offsets(const struct hvtlfs_kvm_config *config);
bool hvti_kvm_tsc_invariant(void);
uint64_t hvti_kvm_guest_tsc(void *context, uint32_t vp_index);

/* Do what KVM would for the guest's store to IA32_TSC or IA32_TSC_ADJUST, and tell the library. */
void hvti_kvm_tsc_write(struct hvti_kvm_vp *vp, uint32_t msr, uint64_t value);
enum { HVTI_KVM_MSR_TSC = 0x10, HVTI_KVM_MSR_TSC_ADJUST = 0x3B };

/* A vCPU has come. */
void hvti_kvm_tsc_attached(struct hvti_kvm_vp *vp);

/* KVM's TSCs may all have changed: tell the library how far they are apart. */
void hvti_kvm_tsc_refresh(struct hvtlfs_kvm *kvm);

#endif
