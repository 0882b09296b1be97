/* SPDX-License-Identifier: MIT */
/*
 * libhvtlfs on KVM: what any VMM needs, apart from the small VMM in machine.c that uses it here.
 *
 * The kernel keeps its APIC and its CPUs; the synthetic MSRs leave it through the MSR filter, the
 * hypercall page by an OUT to a port of ours (the only trap that every KVM hands to user space),
 * overlays are memory slots. Each VP has its own thread; adapter_run() is its KVM_RUN.
 */
#ifndef HVTLFS_KVM_ADAPTER_H
#define HVTLFS_KVM_ADAPTER_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <hvtlfs/host.h>
#include <hvtlfs/partition.h>

#include "debugger.h"
#include "report.h"

enum {
    ADAPTER_MAX_VPS = 64,
    ADAPTER_OVERLAYS = 256,
    ADAPTER_RAM_REGIONS = 4,
    ADAPTER_SLOTS = 2 * ADAPTER_OVERLAYS + ADAPTER_RAM_REGIONS,
    ADAPTER_CPUID_ENTRIES = 256,
};

/* The port behind the hypercall page. Nothing else may be there. */
#define ADAPTER_PORT 0x5A

/* A piece of guest memory, or an overlay over it. */
struct adapter_region {
    uint64_t gpa;
    uint64_t size;
    uint8_t *host;
    uint32_t flags; /* KVM_MEM_READONLY or 0 */
};

/* What stands in one of KVM's memory slots; size 0 = nothing. */
struct adapter_memory {
    struct adapter_region ram[ADAPTER_RAM_REGIONS];
    uint32_t ram_count;
    struct adapter_region overlays[ADAPTER_OVERLAYS]; /* sorted by address */
    uint32_t overlay_count;
    struct adapter_region slots[ADAPTER_SLOTS];
};

struct adapter;

struct adapter_vp {
    struct adapter *adapter;
    uint32_t number;
    int fd;
    struct kvm_run *run;
    struct hvtlfs_vp *vp;
    struct tally tally;
    pthread_t thread;
    bool in_guest;      /* guarded by the adapter's gate */
    uint64_t tsc_offset; /* guest's TSC less the host's */
    atomic_bool kicked; /* the library has work for this VP */
    timer_t timer;      /* kicks at the deadline; made on the VP's thread */
    bool has_timer;
};

struct adapter {
    struct debugger debugger;
    int kvm;
    int vm;
    size_t run_size;
    struct hvtlfs_partition *partition;
    struct adapter_memory memory;
    struct adapter_vp vps[ADAPTER_MAX_VPS];
    uint32_t vp_count;
    pthread_mutex_t lock; /* the partition's */
    pthread_mutex_t gate; /* who is in the guest, and whether anybody may be */
    pthread_cond_t gate_moved;
    bool closed; /* nobody may enter the guest */
    atomic_bool stop;
    atomic_bool reset; /* the guest asked for a system reset; the VMM decides */
};

/* What adapter_handle() did with an exit. */
enum adapter_result {
    ADAPTER_DONE,  /* run again */
    ADAPTER_YOURS, /* not ours; the exit is as KVM left it */
};

/* adapter.c: open /dev/kvm and make a VM. Returns NULL, or the reason why this machine cannot. */
const char *adapter_open(struct adapter *adapter);
void adapter_close(struct adapter *adapter);

/* Make the next VP. Returns NULL or what is wrong. */
const char *adapter_vp_open(struct adapter *adapter);

/* Make the partition for the VPs there are, from a configuration in which the callbacks, the trap's
 * code, the address width and the TSC rate are filled in here; then give the VPs its CPUID leaves.
 * With copy_overlays the library gets no overlay callbacks. Returns NULL or what is wrong. */
const char *adapter_partition(struct adapter *adapter, struct hvtlfs_config *config,
                              bool copy_overlays);

/* gate.c: KVM_RUN, unless the adapter is stopped. Returns 0, or -1 to look around and call again. */
int adapter_run(struct adapter_vp *vp);

/* Finish the instruction of the last exit without running the guest any further. */
void adapter_complete(struct adapter_vp *vp);

/* Keep every VP but the calling one out of the guest; let them in again. */
void gate_close(struct adapter *adapter);
void gate_open(struct adapter *adapter);
void gate_kick(struct adapter_vp *vp);

/* Kick after so many units of 100 ns; HVTLFS_TIME_NEVER: do not. On the VP's thread. */
void gate_deadline(struct adapter_vp *vp, uint64_t time);

/* The signal that brings a thread out of KVM_RUN; once in a program. */
void gate_install(void);
void gate_thread_begins(struct adapter_vp *vp);

/* exits.c: serve the exit that adapter_run() returned with. */
enum adapter_result adapter_handle(struct adapter_vp *vp);

/* events.c: an exception for the VP's next instruction. */
void adapter_exception(struct adapter_vp *vp, uint8_t vector, bool has_error);

/* cpuid.c: the leaves of a VP. */
bool cpuid_set(struct adapter_vp *vp);
uint32_t cpuid_gpa_bits(int kvm);

/* msr_filter.c: send the synthetic MSRs to user space. */
bool msr_filter_set(int vm);

/* memory.c */
bool memory_add(struct adapter *adapter, uint64_t gpa, void *host, uint64_t size);
uint8_t *memory_at(struct adapter *adapter, uint64_t gpa);
bool memory_is_ram(const struct adapter *adapter, uint64_t gpa);
bool memory_refuses(struct adapter *adapter, uint64_t gpa);
bool memory_overlay_set(struct adapter *adapter, const struct hvtlfs_overlay *overlay);
void memory_overlay_clear(struct adapter *adapter, const struct hvtlfs_overlay *overlay);

/* apic.c: the kernel's APIC of the calling VP; wait for an interrupt to be pending in it. */
void adapter_apic_write(struct adapter_vp *vp, enum hvtlfs_apic_register reg, uint64_t value);
uint64_t adapter_apic_read(struct adapter_vp *vp, enum hvtlfs_apic_register reg);
void adapter_idle(struct adapter_vp *vp);

/* callbacks.c */
struct hvtlfs_host_ops adapter_callbacks(void);

/* tsc.c: the guest's TSC. `tsc_known` is false where KVM does not tell the offsets. */
bool tsc_known(struct adapter *adapter);
bool tsc_invariant(void);
void tsc_tell_differences(struct adapter *adapter);
uint64_t tsc_of_guest(void *context, uint32_t vp_index);

#endif
