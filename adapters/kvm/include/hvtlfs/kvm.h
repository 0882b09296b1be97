/* SPDX-License-Identifier: MIT */
/**
 * @file kvm.h
 * libhvtlfs on Linux's KVM: the host side of <hvtlfs/host.h>, ready made.
 *
 * The VMM keeps its KVM: it opens /dev/kvm, makes the VM and the vCPUs, has its threads, devices and
 * memory. This helper takes the file descriptors and serves the Hyper-V interface in user space; the
 * kernel needs none of its own. A VMM adopts it in four places (docs/KVM.md shows the difference):
 *
 * @code
 *     hvtlfs_kvm_config_init(&config);                 // once the VM is made
 *     config.kvm_fd = kvm;
 *     config.vm_fd = vm;
 *     config.partition.vp_count = cpus;
 *     config.partition.features = features;
 *     if (hvtlfs_kvm_create(&config, &hv, &error) != HVTLFS_OK)
 *         die(error.text);
 *
 *     hvtlfs_kvm_memory_set(hv, &region, &error);      // for KVM_SET_USER_MEMORY_REGION
 *
 *     hvtlfs_kvm_vp_attach(hv, n, vcpu, run, &error);  // once a vCPU is made
 *     hvtlfs_kvm_vp_cpuid(hv, n, cpuid, &error);       // for KVM_SET_CPUID2
 *
 *     if (hvtlfs_kvm_enter(hv, n) == 0) {              // around KVM_RUN, on the vCPU's thread
 *         result = ioctl(vcpu, KVM_RUN, 0);
 *         if (hvtlfs_kvm_exit(hv, n, result) == HVTLFS_KVM_HANDLED)
 *             continue;
 *     }
 * @endcode
 *
 * **Threads.** Functions that say "the VP's thread" are called by the thread that executes KVM_RUN for
 * that VP; another thread may take the VP over whenever it is outside enter...exit. All others: any
 * thread. No function waits for anything the guest decides: where a wait is needed (another VP must
 * leave the guest first), it is cut into pieces of some milliseconds, after which hvtlfs_kvm_enter()
 * returns -1 with EINTR and the VMM can look around.
 *
 * **Kicks.** Where another thread or the clock has work for a VP, its thread gets a signal
 * (hvtlfs_kvm_config::kick_signal). `kvm_run->immediate_exit` stays the VMM's: the helper writes it only
 * while it is 0, and takes back only its own value, 2.
 *
 * **fork().** A child cannot use its parent's VM (KVM refuses); here every call of a child fails with
 * EIO or #HVTLFS_ERR_ORDER, and only hvtlfs_kvm_destroy() does anything.
 *
 * After an error nothing has changed unless the description says otherwise. Link with libhvtlfs-kvm
 * (pkg-config: hvtlfs-kvm; CMake: `find_package(hvtlfs COMPONENTS kvm)`, target hvtlfs::kvm).
 */
#ifndef HVTLFS_KVM_H
#define HVTLFS_KVM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/kvm.h>

#include <hvtlfs/export.h>
#include <hvtlfs/partition.h>
#include <hvtlfs/status.h>

HVTLFS_BEGIN_DECLS

/** The helper's part of a VM. Opaque. */
struct hvtlfs_kvm;

/** What went wrong, for a person: a sentence with the thing at fault and the remedy. */
struct hvtlfs_kvm_error {
    enum hvtlfs_status status; /**< As returned. #HVTLFS_ERR_HOST: KVM or the system refused. */
    int system;                /**< errno of the refusal, or 0. */
    char text[240];            /**< The sentence, NUL-terminated. */
};

/** How the guest's hypercalls reach user space. */
enum hvtlfs_kvm_trap {
    HVTLFS_KVM_TRAP_AUTO = 0, /**< CALL where KVM can, else OUT. */
    HVTLFS_KVM_TRAP_CALL =
        1, /**< VMCALL or VMMCALL, intercepted by KVM_CAP_XEN_HVM; seen outside the
                                   hypercall page too. An error where KVM has not got it. */
    HVTLFS_KVM_TRAP_OUT =
        2, /**< The hypercall page is an OUT to hvtlfs_kvm_config::port; works on every
                                   KVM. Outside ring 0 the page gives #GP where the TLFS says #UD. */
    HVTLFS_KVM_TRAP_NONE = 3, /**< The page fails every call without an exit (#HVTLFS_TRAP_NONE). */
};

/** Where overlay pages stand. */
enum hvtlfs_kvm_overlays {
    /** Their bytes are exchanged with the guest's memory. The VMM's memory slots stay as they are.
     * Overlays can stand on writable RAM only, and the guest can write to all of them. */
    HVTLFS_KVM_OVERLAYS_COPIED = 0,
    /** They are memory slots of their own, also where there is no RAM, and read-only where the TLFS says
     * so (the refused store gives #GP behind the instruction: KVM does not tell its length). All of
     * the VM's slots are then made by hvtlfs_kvm_memory_set(), under numbers that the helper chooses, so
     * KVM_GET_DIRTY_LOG is of no use. */
    HVTLFS_KVM_OVERLAYS_MAPPED = 1,
};

/** Who has the local APICs. */
enum hvtlfs_kvm_apic {
    HVTLFS_KVM_APIC_KERNEL = 0, /**< KVM: KVM_CREATE_IRQCHIP or KVM_CAP_SPLIT_IRQCHIP. */
    HVTLFS_KVM_APIC_VMM = 1,    /**< The VMM, which then gives `request_interrupt`, `apic_read` and
                                  `apic_write` in hvtlfs_kvm_config::partition; a GUEST_IDLE then comes
                                  back as #HVTLFS_KVM_HALTED. */
};

/** The most VPs a VM can have here. */
#define HVTLFS_KVM_MAX_VPS 4096u

/** Everything the helper needs. Start from hvtlfs_kvm_config_init(). */
struct hvtlfs_kvm_config {
    size_t size; /**< sizeof(struct hvtlfs_kvm_config) as the caller knows it. */

    int kvm_fd; /**< /dev/kvm, open for reading and writing. Stays the VMM's. */
    int vm_fd;  /**< What KVM_CREATE_VM returned, its irqchip made. Stays the VMM's. */

    /** A vCPU of the VM, to learn the rate of the guest's TSC from during creation; -1: a vCPU of a VM
     * that is made and closed for it, which is right unless the VMM uses KVM_SET_TSC_KHZ. */
    int vcpu_fd;

    /**
     * The partition: VPs, features, policy and so on. The helper fills in the callbacks that are NULL,
     * the context, the hypercall trap, and where they are 0 gpa_bits, tsc_hz with invariant_tsc,
     * and apic_hz. A callback that the VMM gives is used in place of the helper's and gets the struct
     * hvtlfs_kvm as its context; hvtlfs_kvm_context() leads on from there. `vps` is read during creation only.
     * [tsc-invariant] is taken out: KVM cannot change CPUID at run time.
     */
    struct hvtlfs_config partition;

    void *context; /**< The VMM's own, for hvtlfs_kvm_context(). */

    enum hvtlfs_kvm_trap trap; /**< Default AUTO. */
    uint8_t port; /**< I/O port of the OUT trap; default 0x5A. Nothing else may be there. */
    enum hvtlfs_kvm_overlays overlays; /**< Default COPIED. */
    enum hvtlfs_kvm_apic apic;         /**< Default KERNEL. */

    /** The KVM_MSR_EXIT_REASON bits the VMM asked for, or would ask for, with KVM_CAP_X86_USER_SPACE_MSR.
     * Other MSR exits are answered as KVM does without it, by #GP. The helper enables the capability
     * with these and its own. Default 0. */
    uint32_t msr_exits;
    /** The VMM's own MSR filter, or NULL: a VM has one, so the helper's ranges are put in front of these.
     * Read during creation; later ones: hvtlfs_kvm_msr_filter(). */
    const struct kvm_msr_filter *msr_filter;

    int kick_signal; /**< The signal of kicks; 0 = SIGRTMIN + 4. Its disposition must be the default, to be
                          ignored, or the helper's already. Where a thread uses KVM_SET_SIGNAL_MASK, the
                          mask must let it through. */

    /** Called with every piece of guest memory that the library has written, for a VMM that keeps a dirty
     * log: KVM's own knows the guest's writes only. May be NULL. Must not call the library. */
    void (*memory_written)(void *context, uint64_t gpa, uint64_t size);

    /** In place of ioctl(2), for programs that stand between: @p argument is the pointer or the number,
     * the result and errno as ioctl's. NULL: ioctl(2). KVM_RUN goes through it too where the
     * helper finishes an instruction. */
    int (*ioctl)(void *context, int fd, unsigned long request, void *argument);
    void *ioctl_context; /**< Handed to ioctl. */

    /** With the kernel's APIC and [vapic]: give the guest the hint to use the MSRs EOI, ICR and TPR, bit 3
     * of EAX in leaf 0x40000004. Each of them is an exit to user space, which the APIC's own registers are
     * not, so by default the leaf is without it and only a guest that insists uses them. With it Linux
     * ends interrupts by its assist page also in x2APIC mode, which saves exits on a KVM without
     * APICv and AVIC. Default false. */
    bool recommend_apic_msrs;
};

/**
 * Fill a configuration with the defaults above: no file descriptors (-1), hvtlfs_config_init()'s
 * partition with gpa_bits 0.
 *
 * @param config overwritten; NULL does nothing
 */
HVTLFS_API void hvtlfs_kvm_config_init(struct hvtlfs_kvm_config *config);

/**
 * Open a KVM device and see that it can serve here. A VMM that has opened it already calls
 * hvtlfs_kvm_check() instead.
 *
 * @param path  NULL: /dev/kvm
 * @param error filled on failure: whether the device is missing, the user may not, or what the KVM
 *              lacks; may be NULL
 * @return a file descriptor with FD_CLOEXEC, or -1
 *
 * Any thread.
 */
HVTLFS_API int hvtlfs_kvm_open(const char *path, struct hvtlfs_kvm_error *error);

/**
 * Whether a KVM has all that the helper needs: API version 12 and each capability that is required with
 * this configuration.
 *
 * @param config its kvm_fd, apic, overlays, trap and ioctl are looked at
 * @param error  filled on failure: what is missing; may be NULL
 * @return #HVTLFS_OK; #HVTLFS_ERR_HOST (not a KVM); #HVTLFS_ERR_UNAVAILABLE (a capability is missing);
 *         #HVTLFS_ERR_ARGUMENT; #HVTLFS_ERR_STRUCT_SIZE
 *
 * Any thread.
 */
HVTLFS_API HVTLFS_MUST_USE enum hvtlfs_status hvtlfs_kvm_check(
    const struct hvtlfs_kvm_config *config, struct hvtlfs_kvm_error *error);

/**
 * Take a VM: make the partition, send the synthetic MSRs to user space, install the hypercall trap.
 *
 * vCPUs and memory may exist already or come later; the vCPUs must not have run, because KVM then
 * fixes their CPUID (hvtlfs_kvm_vp_cpuid() would fail, not this).
 *
 * @param config see there; copied
 * @param kvm    set on success
 * @param error  filled on failure; may be NULL
 * @return #HVTLFS_OK; the errors of hvtlfs_kvm_check() and hvtlfs_partition_init(); #HVTLFS_ERR_HOST when
 *         KVM or the system refuses something; #HVTLFS_ERR_EXISTS when the kick signal has another
 *         handler; #HVTLFS_ERR_FULL when the VMM's MSR filter leaves no room for the helper's ranges;
 *         #HVTLFS_ERR_NO_CALLBACK when the VMM has the APICs and does not give their callbacks
 *
 * On an error after KVM_CAP_X86_USER_SPACE_MSR or the filter was set they stay set.
 */
HVTLFS_API HVTLFS_MUST_USE enum hvtlfs_status hvtlfs_kvm_create(
    const struct hvtlfs_kvm_config *config, struct hvtlfs_kvm **kvm,
    struct hvtlfs_kvm_error *error);

/**
 * Give the memory back. No VP may be in the guest or in a call; vCPUs, VM, memory and the kick signal's
 * handler stay. NULL does nothing.
 */
HVTLFS_API void hvtlfs_kvm_destroy(struct hvtlfs_kvm *kvm);

/** The partition, for everything that <hvtlfs/partition.h> and the other headers offer. Any thread. */
HVTLFS_API struct hvtlfs_partition *hvtlfs_kvm_partition(struct hvtlfs_kvm *kvm);

/** hvtlfs_kvm_config::context. Any thread. */
HVTLFS_API void *hvtlfs_kvm_context(const struct hvtlfs_kvm *kvm);

/** The trap in use: never AUTO. Any thread. */
HVTLFS_API enum hvtlfs_kvm_trap hvtlfs_kvm_trap_used(const struct hvtlfs_kvm *kvm);

/* ---- VPs ---- */

/**
 * Connect a vCPU with a VP of the partition.
 *
 * @param kvm      the VM
 * @param vp_index a VP of the partition that has no vCPU now; its apic_id is the vCPU's
 * @param vcpu_fd  what KVM_CREATE_VCPU returned; stays the VMM's
 * @param run      its struct kvm_run, mapped; stays the VMM's
 * @param error    filled on failure; may be NULL
 * @return #HVTLFS_OK; #HVTLFS_ERR_NOT_FOUND (no such VP); #HVTLFS_ERR_EXISTS (it has a vCPU);
 *         #HVTLFS_ERR_ARGUMENT; #HVTLFS_ERR_ORDER after fork()
 *
 * Any thread. The vCPU must be out of the guest.
 */
HVTLFS_API HVTLFS_MUST_USE enum hvtlfs_status hvtlfs_kvm_vp_attach(struct hvtlfs_kvm *kvm,
                                                                   uint32_t vp_index, int vcpu_fd,
                                                                   struct kvm_run *run,
                                                                   struct hvtlfs_kvm_error *error);

/**
 * Disconnect it: before the VMM closes the vCPU, or unmaps its kvm_run. The VP keeps its registers; for
 * one that is created anew call hvtlfs_vp_reset(). A VP without a vCPU is disconnected already.
 *
 * Any thread. The VP must be outside enter...exit.
 */
HVTLFS_API void hvtlfs_kvm_vp_detach(struct hvtlfs_kvm *kvm, uint32_t vp_index);

/**
 * Give a vCPU its CPUID: the VMM's, with the library's hypervisor leaves in place of any that are there,
 * and the bits of other leaves that the library changes (hvtlfs_cpuid()). Issues KVM_SET_CPUID2.
 *
 * A VMM that answers for its CPUID otherwise need not call it.
 *
 * @param kvm      the VM
 * @param vp_index a VP with a vCPU
 * @param cpuid    the VMM's leaves, read only; NULL: what KVM_GET_SUPPORTED_CPUID offers, with the VP's
 *                 APIC ID filled in
 * @param error    filled on failure; may be NULL
 * @return #HVTLFS_OK; #HVTLFS_ERR_NOT_FOUND; #HVTLFS_ERR_ORDER when the vCPU has run already;
 *         #HVTLFS_ERR_FULL when there are more leaves than KVM takes; #HVTLFS_ERR_HOST when KVM refuses
 *
 * Any thread; the VP out of the guest.
 */
HVTLFS_API HVTLFS_MUST_USE enum hvtlfs_status hvtlfs_kvm_vp_cpuid(struct hvtlfs_kvm *kvm,
                                                                  uint32_t vp_index,
                                                                  const struct kvm_cpuid2 *cpuid,
                                                                  struct hvtlfs_kvm_error *error);

/** What hvtlfs_kvm_exit() did. */
enum hvtlfs_kvm_result {
    HVTLFS_KVM_HANDLED = 0, /**< Run the VP again. */
    HVTLFS_KVM_YOURS = 1,   /**< The exit, or the error of KVM_RUN, is the VMM's; as KVM left it. */
    HVTLFS_KVM_HALTED =
        2, /**< Only with #HVTLFS_KVM_APIC_VMM: as KVM_EXIT_HLT, but any pending interrupt
                                 ends it, even one that cannot get in (GUEST_IDLE, TLFS 7.5). */
};

/**
 * Before KVM_RUN: do what other threads and the clock have left for the VP (messages, timers, TLB
 * flushes, interrupts without EOI), and wait until nobody needs it to stay out of the guest.
 *
 * @return 0: execute KVM_RUN now and call hvtlfs_kvm_exit() with its result. -1: do not; look around and
 *         call again. errno is then EINTR; or EIO after fork(); or ENXIO when the VP has no vCPU, as is
 *         everything after that
 *
 * The VP's thread. Any callback may run. Waits some milliseconds at most.
 */
HVTLFS_API int hvtlfs_kvm_enter(struct hvtlfs_kvm *kvm, uint32_t vp_index);

/**
 * After KVM_RUN, whatever it returned: serve the exit if it is the helper's.
 *
 * A handled exit may leave an instruction that KVM finishes at the next KVM_RUN, as after every exit;
 * hvtlfs_kvm_settle() finishes it at once.
 *
 * @param kvm      the VM
 * @param vp_index the VP
 * @param result   what KVM_RUN returned; errno is looked at when it is -1, and preserved
 * @return what to do; #HVTLFS_KVM_YOURS for every error of KVM_RUN, EINTR included
 *
 * The VP's thread. Any callback may run.
 */
HVTLFS_API HVTLFS_MUST_USE enum hvtlfs_kvm_result hvtlfs_kvm_exit(struct hvtlfs_kvm *kvm,
                                                                  uint32_t vp_index, int result);

/**
 * Enter, KVM_RUN and exit in one, again and again until there is something for the VMM: in place of
 * ioctl(vcpu, KVM_RUN, 0) in an existing loop.
 *
 * @return 0 with an exit for the VMM (a halt of #HVTLFS_KVM_HALTED as KVM_EXIT_HLT); -1 with errno as
 *         KVM_RUN or hvtlfs_kvm_enter() give it. EINTR may come without a cause that the VMM knows
 *
 * The VP's thread.
 */
HVTLFS_API int hvtlfs_kvm_run(struct hvtlfs_kvm *kvm, uint32_t vp_index);

/**
 * Bring a VP's thread back to the VMM: its KVM_RUN ends with EINTR, or its next hvtlfs_kvm_enter() fails
 * with it. For whatever the VMM wants to do before the guest goes on, also from a
 * callback, such as system_reset, on the VP's own thread. A VP without a vCPU is back already.
 *
 * Any thread.
 */
HVTLFS_API void hvtlfs_kvm_kick(struct hvtlfs_kvm *kvm, uint32_t vp_index);

/**
 * Finish the instruction of the last exit without running the guest any further: before the VMM reads,
 * changes or saves a vCPU's registers after #HVTLFS_KVM_HANDLED.
 *
 * @return 0; 1: the instruction has another part for the VMM, as a store across two pages of a device has:
 *         kvm_run holds that exit, and after serving it the VMM settles again; or -1 with errno: EIO after
 *         fork(), ENXIO without a vCPU, or KVM_RUN's own
 *
 * The VP's thread, outside enter...exit.
 */
HVTLFS_API int hvtlfs_kvm_settle(struct hvtlfs_kvm *kvm, uint32_t vp_index);

/* ---- Memory ---- */

/**
 * Set, move or remove (memory_size 0) a memory slot, in place of KVM_SET_USER_MEMORY_REGION: KVM gets
 * it, and the library learns what is there.
 *
 * With #HVTLFS_KVM_OVERLAYS_MAPPED the number in @p region names the VMM's region only, and VPs are kept
 * out of the guest meanwhile.
 *
 * @param kvm    the VM
 * @param region as KVM takes it; page-aligned
 * @param error  filled on failure; may be NULL
 * @return #HVTLFS_OK; #HVTLFS_ERR_ARGUMENT (not page-aligned, wraps, or overlaps another region);
 *         #HVTLFS_ERR_FULL (memory is short or KVM has no more slots); #HVTLFS_ERR_HOST when KVM refuses;
 *         #HVTLFS_ERR_ORDER after fork()
 *
 * Any thread; with MAPPED not from a callback. When the function returns, no library call uses the old
 * memory any more.
 */
HVTLFS_API HVTLFS_MUST_USE enum hvtlfs_status hvtlfs_kvm_memory_set(
    struct hvtlfs_kvm *kvm, const struct kvm_userspace_memory_region *region,
    struct hvtlfs_kvm_error *error);

/**
 * The same without a call of KVM, for a VMM that has issued one: also KVM_SET_USER_MEMORY_REGION2. Not
 * with #HVTLFS_KVM_OVERLAYS_MAPPED (#HVTLFS_ERR_UNAVAILABLE).
 *
 * Remove a region here before its memory is unmapped.
 */
HVTLFS_API HVTLFS_MUST_USE enum hvtlfs_status hvtlfs_kvm_memory_note(
    struct hvtlfs_kvm *kvm, const struct kvm_userspace_memory_region *region,
    struct hvtlfs_kvm_error *error);

/* ---- MSRs ---- */

/**
 * A new MSR filter of the VMM, in place of KVM_X86_SET_MSR_FILTER: KVM gets it with the helper's ranges
 * in front, so that accesses to the synthetic MSRs still exit.
 *
 * @param filter the VMM's; NULL: none any more
 * @return #HVTLFS_OK; #HVTLFS_ERR_FULL when it has more ranges than KVM takes beside the helper's;
 *         #HVTLFS_ERR_HOST when KVM refuses; #HVTLFS_ERR_ORDER after fork()
 *
 * Any thread.
 */
HVTLFS_API HVTLFS_MUST_USE enum hvtlfs_status hvtlfs_kvm_msr_filter(
    struct hvtlfs_kvm *kvm, const struct kvm_msr_filter *filter, struct hvtlfs_kvm_error *error);

/**
 * New KVM_MSR_EXIT_REASON bits of the VMM, in place of enabling KVM_CAP_X86_USER_SPACE_MSR; see
 * hvtlfs_kvm_config::msr_exits. Returns as hvtlfs_kvm_msr_filter(). Any thread.
 */
HVTLFS_API HVTLFS_MUST_USE enum hvtlfs_status hvtlfs_kvm_msr_exits(struct hvtlfs_kvm *kvm,
                                                                   uint32_t reasons,
                                                                   struct hvtlfs_kvm_error *error);

/* ---- Time, saving and restoring ---- */

/**
 * Stop reference time, with all VPs out of the guest: before a pause, and before saving.
 *
 * The order of a pause: stop the VPs' threads; hvtlfs_kvm_settle() each; hvtlfs_kvm_freeze();
 * hvtlfs_kvm_save() and KVM's own state (registers, MSRs, XSAVE, LAPIC, events, clock); later
 * hvtlfs_kvm_thaw(). The order of a restore: hvtlfs_kvm_create() with the configuration of
 * hvtlfs_state_config(); memory; attach, CPUID; hvtlfs_kvm_load(); KVM's own state, the TSC included;
 * hvtlfs_kvm_thaw(); run.
 *
 * @return #HVTLFS_OK; #HVTLFS_ERR_ORDER when it is frozen, a VP is in the guest, or after fork()
 */
HVTLFS_API HVTLFS_MUST_USE enum hvtlfs_status hvtlfs_kvm_freeze(struct hvtlfs_kvm *kvm);

/**
 * Let reference time go on. TSC rate and offsets are read from KVM again, so whatever the VMM has
 * restored with KVM_SET_MSRS, KVM_SET_TSC_KHZ, KVM_SET_CLOCK or on another machine is taken up; if the
 * rate differs, that is a migration (hvtlfs_migrate()).
 *
 * @param kvm   the VM, frozen
 * @param pause time to add in units of 100 ns: 0, or the length of the pause where the guest is to see it
 * @return as hvtlfs_thaw() and hvtlfs_migrate(); #HVTLFS_ERR_ORDER also while a VP is in the guest and
 *         after fork()
 */
HVTLFS_API HVTLFS_MUST_USE enum hvtlfs_status hvtlfs_kvm_thaw(struct hvtlfs_kvm *kvm,
                                                              uint64_t pause);

/** How many bytes hvtlfs_kvm_save() needs now. */
HVTLFS_API size_t hvtlfs_kvm_state_size(const struct hvtlfs_kvm *kvm);

/**
 * Save what KVM does not know: the partition (hvtlfs_state_save()), followed by what the helper holds for
 * the VPs (interrupts without EOI not yet delivered, idle VPs).
 *
 * The bytes begin with the partition's state; hvtlfs_kvm_state_partition() tells its length for
 * hvtlfs_state_config() and the command `hvtlfs state`.
 *
 * @return as hvtlfs_state_save()
 */
HVTLFS_API HVTLFS_MUST_USE enum hvtlfs_status hvtlfs_kvm_save(const struct hvtlfs_kvm *kvm,
                                                              void *buffer, size_t size,
                                                              size_t *used,
                                                              struct hvtlfs_error *error);

/**
 * Load it into a VM that has not run. Checked as a whole before anything changes.
 *
 * @return as hvtlfs_state_load(); #HVTLFS_ERR_STATE_FORMAT also for a damaged end
 */
HVTLFS_API HVTLFS_MUST_USE enum hvtlfs_status hvtlfs_kvm_load(struct hvtlfs_kvm *kvm,
                                                              const void *state, size_t size,
                                                              struct hvtlfs_error *error);

/**
 * How many of the bytes that hvtlfs_kvm_save() wrote are the partition's state.
 *
 * @return 0 when the bytes are not such. Pure; any thread.
 */
HVTLFS_API size_t hvtlfs_kvm_state_partition(const void *state, size_t size);

/* ---- Watching ---- */

/** What a VP has cost. */
struct hvtlfs_kvm_counters {
    size_t size;             /**< In: sizeof the struct as the caller knows it. */
    uint64_t runs;           /**< KVM_RUNs of the guest. */
    uint64_t msr_reads;      /**< Exits of RDMSR that were answered here. */
    uint64_t msr_writes;     /**< Exits of WRMSR that were answered here. */
    uint64_t msr_faults;     /**< Of both, those that gave #GP. */
    uint64_t hypercalls;     /**< Hypercalls. */
    uint64_t refused_stores; /**< Stores to read-only overlays. */
    uint64_t yours;          /**< Exits left to the VMM. */
    uint64_t kicks;          /**< Signals sent to bring it out of the guest. */
    uint64_t flushes;        /**< TLB flushes carried out. */
    uint64_t interrupts;     /**< Interrupts requested for it. */
    uint64_t auto_eoi;       /**< Of these, injected without an in-service bit. */
    uint64_t idles;          /**< Times it idled in GUEST_IDLE. */
    uint64_t unserved; /**< Requests that KVM refused: interrupts, APIC, flushes; 0 in health. */
};

/**
 * Read the counters of a VP.
 *
 * @return #HVTLFS_OK; #HVTLFS_ERR_STRUCT_SIZE; #HVTLFS_ERR_NOT_FOUND
 *
 * Any thread; the figures of a running VP may be a moment old.
 */
HVTLFS_API HVTLFS_MUST_USE enum hvtlfs_status hvtlfs_kvm_read_counters(
    const struct hvtlfs_kvm *kvm, uint32_t vp_index, struct hvtlfs_kvm_counters *counters);

HVTLFS_END_DECLS

#endif
