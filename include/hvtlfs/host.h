/* SPDX-License-Identifier: MIT */
/**
 * @file host.h
 * What the library asks of its host: the callbacks.
 *
 * Every callback gets the host's context first and, where one is concerned, the
 * VP's index next. A callback that is not needed by any enabled feature may be
 * NULL. Except for guest memory and the two clocks, which answer at once,
 * callbacks are requests: the host may queue them and carry them out after the
 * library call has returned, but before the VP concerned executes its next
 * instruction. The library holds no lock of its own while it calls, unless the
 * callback's comment says so, and a callback may call the library again for
 * the same VP only where its comment says so. Callbacks must return: no longjmp
 * through library frames.
 */
#ifndef HVTLFS_HOST_H
#define HVTLFS_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hvtlfs/export.h>

HVTLFS_BEGIN_DECLS

struct hvtlfs_event;
struct hvtlfs_vp_set;

/** The page size of everything here, in bytes (TLFS 1.8). */
#define HVTLFS_PAGE_SIZE 4096u

/** A time that is never reached, in 100 ns reference time: "no deadline". */
#define HVTLFS_TIME_NEVER UINT64_MAX

/** In place of a VP index: the whole partition. */
#define HVTLFS_NO_VP UINT32_C(0xFFFFFFFF)

/** What lies at a guest physical page. */
enum hvtlfs_gpa_kind {
    HVTLFS_GPA_RAM = 0,  /**< Guest memory, readable and writable by the host through the callbacks. */
    HVTLFS_GPA_NONE = 1, /**< Nothing, a device, or memory the host cannot write. */
};

/**
 * The kinds of overlay page. Where several stand at one GPA, the partition's pages lie on top, then
 * those of the VP given first, and within a VP in the order of this list.
 */
enum hvtlfs_overlay_kind {
    HVTLFS_OVERLAY_HYPERCALL = 0,     /**< Partition-wide; the guest reads and executes. */
    HVTLFS_OVERLAY_REFERENCE_TSC = 1, /**< Partition-wide; the guest reads. */
    HVTLFS_OVERLAY_VP_ASSIST = 2,     /**< One for each VP; the guest reads and writes. */
    HVTLFS_OVERLAY_SIM = 3,           /**< Messages; one for each VP; the guest reads and writes. */
    HVTLFS_OVERLAY_SIEF = 4,          /**< Event flags; one for each VP; the guest reads and writes. */
    HVTLFS_OVERLAY_STATS_PARTITION = 5, /**< Partition statistics; one for each VP; guest reads. */
    HVTLFS_OVERLAY_STATS_VP = 6,        /**< VP statistics; one for each VP; guest reads. */
    HVTLFS_OVERLAY_STATS_PARTITION_INTERNAL = 7, /**< The same, counters without documentation. */
    HVTLFS_OVERLAY_STATS_VP_INTERNAL = 8,        /**< The same. */
    HVTLFS_OVERLAY_KINDS /**< Number of kinds. */
};

/** What the guest may do with an overlay page. Bits of struct hvtlfs_overlay's access. */
enum hvtlfs_access {
    HVTLFS_ACCESS_READ = 1,    /**< Loads. */
    HVTLFS_ACCESS_WRITE = 2,   /**< Stores; without it a store must fault (#GP, TLFS 3.13). */
    HVTLFS_ACCESS_EXECUTE = 4, /**< Instruction fetches. */
};

/** An overlay page that the host is asked to put over, or take from, a guest page. */
struct hvtlfs_overlay {
    enum hvtlfs_overlay_kind kind; /**< What it is. */
    uint32_t vp_index;             /**< Whose it is, or #HVTLFS_NO_VP. */
    uint64_t gpa;                  /**< Guest physical address, a multiple of #HVTLFS_PAGE_SIZE. */
    void *page;                    /**< The #HVTLFS_PAGE_SIZE bytes; page-aligned, stable, part of the
                                        partition's memory. The guest's stores must land here. */
    uint32_t access;               /**< Bits of enum hvtlfs_access. */
};

/** An interrupt the library wants a VP to get. Fixed delivery, edge-triggered. */
struct hvtlfs_interrupt {
    uint32_t vector; /**< 0 to 255; 2 with @ref nmi. */
    bool auto_eoi;   /**< Accept it without setting the in-service bit: the guest sends no EOI. */
    bool nmi;        /**< It is an NMI, not a fixed interrupt. */
};

/** A guest's crash report (TLFS 4.3). */
struct hvtlfs_crash {
    uint64_t parameter[5];    /**< P0 to P4 as the guest wrote them. */
    uint64_t control;         /**< The value written to CRASH_CTL. */
    const char *message;      /**< The guest's text, not NUL-terminated, any bytes; NULL without one. */
    size_t message_size;      /**< Its length in bytes, 0 to 4096. */
};

/** Registers of the local APIC that MSRs give access to. */
enum hvtlfs_apic_register {
    HVTLFS_APIC_EOI = 0, /**< Write only. */
    HVTLFS_APIC_ICR = 1, /**< 64 bits: destination in 63:32. */
    HVTLFS_APIC_TPR = 2, /**< 8 bits. */
};

/** A TLB flush the guest asked for (TLFS 9.4). Valid during the callback only. */
struct hvtlfs_flush {
    uint64_t address_space;  /**< The CR3 value, without meaning when @ref all_address_spaces. */
    bool all_address_spaces; /**< Whatever the address space. */
    bool non_global_only;    /**< Global mappings may stay; only without ranges. */
    size_t range_count;      /**< Entries at @ref ranges; 0 = everything. */
    const uint64_t *ranges;  /**< Ranges as the guest gave them; hvtlfs_flush_range_decode() reads one. */
    bool extended_ranges;    /**< They are in the extended format (bit 11: large page). */
};

/** A flush of guest physical mappings that a nested hypervisor asked for (TLFS 16.13). */
struct hvtlfs_gpa_flush {
    uint64_t address_space; /**< The root of its second-level page tables. */
    size_t range_count;     /**< Entries at @ref ranges; 0 = everything. */
    const uint64_t *ranges; /**< HV_GPA_PAGE_RANGE; hvtlfs_flush_range_decode() reads one as extended. */
};

/** A device interrupt the guest wants retargeted (TLFS 10.5.4). Valid during the callback only. */
struct hvtlfs_retarget {
    uint64_t device_id;   /**< As the guest gave it. */
    uint32_t source;      /**< HV_INTERRUPT_SOURCE: 1, an MSI. */
    uint32_t msi_address; /**< The entry's address. */
    uint32_t msi_data;    /**< The entry's data. */
    uint32_t vector;      /**< The new vector, 0x10 to 0xFF. */
    bool multicast;       /**< To every target instead of one of them. */
};

/** A segment register (HV_X64_SEGMENT_REGISTER, TLFS 7.9.5). */
struct hvtlfs_segment {
    uint64_t base;       /**< Base address. */
    uint32_t limit;      /**< Limit in bytes. */
    uint16_t selector;   /**< Selector. */
    uint16_t attributes; /**< Type 3:0, S 4, DPL 6:5, P 7, AVL 12, L 13, D 14, G 15. */
};

/** A descriptor table register (HV_X64_TABLE_REGISTER, TLFS 7.9.6). */
struct hvtlfs_table {
    uint16_t pad[3]; /**< Without meaning. */
    uint16_t limit;  /**< Limit in bytes. */
    uint64_t base;   /**< Base address. */
};

/** Where a VP starts (HV_INITIAL_VP_CONTEXT, TLFS 7.10.3), as the guest gave it: check it all. */
struct hvtlfs_vp_context {
    uint64_t rip;    /**< Instruction pointer. */
    uint64_t rsp;    /**< Stack pointer. */
    uint64_t rflags; /**< Flags. */
    struct hvtlfs_segment cs, ds, es, fs, gs, ss, tr, ldtr; /**< Segments. */
    struct hvtlfs_table idtr, gdtr;                         /**< Descriptor tables. */
    uint64_t efer;       /**< EFER. */
    uint64_t cr0;        /**< CR0. */
    uint64_t cr3;        /**< CR3. */
    uint64_t cr4;        /**< CR4. */
    uint64_t msr_cr_pat; /**< PAT. */
};

/** The value of a register: `half[0]` holds bits 63:0, `half[1]` bits 127:64. */
struct hvtlfs_register {
    uint64_t half[2]; /**< Low half first; the upper half of a 64-bit register is 0. */
};

/** A host's answer to a request that may be refused; each callback says what the guest gets. */
enum hvtlfs_answer {
    HVTLFS_ANSWER_OK = 0,      /**< Done or accepted. */
    HVTLFS_ANSWER_VALUE = 1,   /**< A value is not acceptable. */
    HVTLFS_ANSWER_STATE = 2,   /**< Not in the present state. */
    HVTLFS_ANSWER_UNKNOWN = 3, /**< The thing named does not exist. */
    HVTLFS_ANSWER_DENIED = 4,  /**< The guest may not. */
};

/** What a host's own hypercall handler is given. Valid during the call only. */
struct hvtlfs_host_call {
    uint32_t vp_index;    /**< The caller. */
    uint16_t code;        /**< The call code. */
    const void *header;   /**< The input block, for a rep call what precedes the list; a private copy.
                               This, elements and output are the guest's bytes: little-endian. */
    uint32_t header_size; /**< Its size in bytes, variable part included. */
    uint32_t first;       /**< Rep call: index of the first element at hand. */
    uint32_t count;       /**< Rep call: elements at hand; 0 in a simple call. */
    const void *elements; /**< Rep call: the elements; a private copy, aligned as their size allows.
                               NULL in a simple call. */
    void *output;         /**< The output block, or one output element for each of @ref elements; 8-byte
                               aligned and all zero on entry, so what is left out reads as 0. */
    uint32_t done;        /**< Out, with an error: elements that succeeded before it. */
};

/**
 * A host's own hypercall: a code that the library leaves alone (see docs/HYPERCALLS.md).
 *
 * The library checks the control word, copies the input, calls, copies the output. A rep call comes
 * in chunks of elements; it may be continued, with the header copied anew. A call whose output finds
 * no memory is made again when the host resumes the guest at the instruction.
 */
struct hvtlfs_call_handler {
    uint16_t code;          /**< The call code. */
    bool rep;               /**< It is a rep call. */
    uint16_t header;        /**< Bytes of the input block, or of the fixed header; a multiple of 8. */
    uint16_t variable_most; /**< Most qwords of a variable header part; with @ref header <= 576 bytes. */
    uint16_t element_in;    /**< Rep call: bytes of an input element, at most 96. */
    uint16_t element_out;   /**< Rep call: bytes of an output element, at most 64. */
    uint16_t output;        /**< Simple call: bytes of the output block, at most 64. */

    /** Do it, with bounded work. @return the HV_STATUS; on any but 0 a simple call has no output.
     * May call the library for the same VP, but not hvtlfs_hypercall(). */
    uint16_t (*handle)(void *context, struct hvtlfs_host_call *call);
};

/** The most handlers a host can have. */
#define HVTLFS_MAX_HOST_CALLS 64u

/**
 * The host's callbacks. Set `size` to sizeof, zero the rest (hvtlfs_config_init()
 * does), fill what there is. The library copies the struct.
 */
struct hvtlfs_host_ops {
    size_t size; /**< sizeof(struct hvtlfs_host_ops) as the caller knows it. */

    /* ---- Required ---- */

    /**
     * Copy from guest physical memory, overlays included. @p size is at most 4096 and the range
     * does not cross a page. Must not call the library.
     * @return false if any byte is not readable memory
     */
    bool (*gpa_read)(void *context, uint64_t gpa, void *buffer, size_t size);

    /** Copy to guest physical memory; like gpa_read. Nothing is written when it returns false. */
    bool (*gpa_write)(void *context, uint64_t gpa, const void *buffer, size_t size);

    /** What lies at the page of @p gpa below all overlays. Must not call the library. Not asked, and
     * may be NULL, where overlay_set and overlay_clear are given. */
    enum hvtlfs_gpa_kind (*gpa_probe)(void *context, uint64_t gpa);

    /* ---- Overlays: without these two the library swaps page contents through gpa_read/gpa_write ---- */

    /**
     * Put a page over the guest's memory. Two overlays never stand at one page: the library
     * asks only for the one on top. Called with the partition lock held; must not call the library.
     * @return false if the host cannot; the MSR write then faults (hypercall page) or the page
     *         stays out of the guest's reach (all others)
     */
    bool (*overlay_set)(void *context, const struct hvtlfs_overlay *overlay);

    /** Take a page away again; what it covered comes back. Cannot fail. Locking as overlay_set. */
    void (*overlay_clear)(void *context, const struct hvtlfs_overlay *overlay);

    /**
     * Replace a naturally aligned 32-bit word of guest memory atomically if it has the expected
     * value; otherwise store the present value to @p expected. Needed for SynIC and lazy EOI only
     * where overlay_set is absent. @p done tells whether the word was replaced. All values are as
     * they lie in memory: a big-endian host must not turn them.
     * @return false if the word is not memory
     */
    bool (*gpa_compare_exchange)(void *context, uint64_t gpa, uint32_t *expected, uint32_t desired,
                                 bool *done);

    /* ---- Partition lock ---- */

    /**
     * Enter and leave the one short critical section of the partition; not recursive, never held
     * across anything but the overlay callbacks, guest memory and the clocks. NULL: the caller
     * serialises all calls for the partition.
     */
    void (*lock)(void *context);
    void (*unlock)(void *context); /**< See lock. */

    /* ---- Interrupts and VPs ---- */

    /** Deliver an interrupt to a VP. May be called from any thread that calls the library. */
    void (*request_interrupt)(void *context, uint32_t vp_index,
                              const struct hvtlfs_interrupt *interrupt);

    /**
     * Make a VP leave the guest and call hvtlfs_vp_poll() on its own thread soon. Called when
     * another thread has left work for it. May come from any thread.
     */
    void (*kick)(void *context, uint32_t vp_index);

    /** Write a register of a VP's local APIC; the VP is the calling one. May call back into the
     * library's EOI notification for the same VP. */
    void (*apic_write)(void *context, uint32_t vp_index, enum hvtlfs_apic_register reg,
                       uint64_t value);

    /** Read ICR or TPR of the calling VP's local APIC. Must not call the library. */
    uint64_t (*apic_read)(void *context, uint32_t vp_index, enum hvtlfs_apic_register reg);

    /** Fixed, edge-triggered interrupt @p vector to every VP of @p targets. NULL: the library calls
     * request_interrupt for each. */
    void (*send_ipi)(void *context, uint32_t vp_index, uint32_t vector,
                     const struct hvtlfs_vp_set *targets);

    /** Flush TLBs of @p targets before the calling VP's next instruction. @p vp_index is the caller,
     * which may be a target. A long list comes in several calls. Absent VPs are never targets, and
     * there is at least one. Not called where tlb_flush_queued is given. */
    void (*tlb_flush)(void *context, uint32_t vp_index, const struct hvtlfs_vp_set *targets,
                      const struct hvtlfs_flush *flush);

    /* ---- Time ---- */

    /** The TSC as the guest on @p vp_index reads it now, or would read without the emulation of
     * tsc_emulation. Must not call the library. */
    uint64_t (*guest_tsc)(void *context, uint32_t vp_index);

    /** A monotonic clock of the host in units of 100 ns with any origin; used wherever the TSC
     * cannot serve. Must not call the library. */
    uint64_t (*host_time)(void *context);

    /**
     * TSC emulation begins or ends (TLFS 16.6.2). While @p in_force, RDTSC, RDTSCP and reads of IA32_TSC
     * must exit, and the guest gets what hvtlfs_tsc_emulated() says. Needed for [reenlightenment].
     */
    void (*tsc_emulation)(void *context, bool in_force);

    /** Call hvtlfs_vp_poll() for this VP once reference time reaches @p deadline (100 ns), or, with
     * #HVTLFS_TIME_NEVER, no longer. Replaces the VP's earlier deadline. Early calls are harmless. */
    void (*arm_deadline)(void *context, uint32_t vp_index, uint64_t deadline);

    /** Run time of a VP since its creation in units of 100 ns. Must not call the library. */
    uint64_t (*vp_runtime)(void *context, uint32_t vp_index);

    /* ---- Guest requests ---- */

    /** The VP spins on a resource another VP may hold; @p spins is the guest's count so far. May ask
     * hvtlfs_spin_wait_advice() whom to run. */
    void (*spin_wait)(void *context, uint32_t vp_index, uint32_t spins);

    /** The guest asks for a system reset. The host calls hvtlfs_partition_reset() when it resets. */
    void (*system_reset)(void *context, uint32_t vp_index);

    /** The guest reports a crash. The report is valid during the call only. */
    void (*crash)(void *context, uint32_t vp_index, const struct hvtlfs_crash *crash);

    /** From now on (until the next call) make these instructions fault with #GP outside ring 0 on
     * this VP, or no longer. @p prevent: bit 0 SGDT, 1 SIDT, 2 SLDT, 3 STR (TLFS 8.12). */
    void (*npiep)(void *context, uint32_t vp_index, uint32_t prevent);

    /** The guest has mapped a statistics page of this VP (@p shown) or taken it away. While it is
     * mapped, keep its counters up to date with hvtlfs_stats_set(), which may be called from here
     * too. @p kind is one of the four HVTLFS_OVERLAY_STATS kinds. */
    void (*stats_page)(void *context, uint32_t vp_index, enum hvtlfs_overlay_kind kind, bool shown);

    /** Read a synthetic debug MSR, 0x400000F1 to 0x400000F5. Answers at once.
     * @return false if the read must fault; @p value is then ignored */
    bool (*debug_read)(void *context, uint32_t vp_index, uint32_t number, uint64_t *value);

    /** Write a synthetic debug MSR. Answers at once.
     * @return false if the write must fault */
    bool (*debug_write)(void *context, uint32_t vp_index, uint32_t number, uint64_t value);

    /* ---- Hypercalls ---- */

    /**
     * In place of tlb_flush: the library has put the flush into the queues of @p targets. Make each
     * of them leave the guest, drain its queue with hvtlfs_flush_take() on its own thread and flush,
     * and let neither it nor the caller @p vp_index execute another guest instruction before. At most
     * once in a call of hvtlfs_hypercall(), however long the guest's list.
     */
    void (*tlb_flush_queued)(void *context, uint32_t vp_index,
                             const struct hvtlfs_vp_set *targets);

    /** Load CR3 of the calling VP (TLFS 9.4.1); as if the guest had moved @p cr3 to it.
     * Not #HVTLFS_ANSWER_OK: HV_STATUS_INVALID_PARAMETER. */
    enum hvtlfs_answer (*switch_address_space)(void *context, uint32_t vp_index, uint64_t cr3);

    /** Flush second-level translations of a nested hypervisor on all VPs (TLFS 16.13). STATE, no
     * nested virtualisation is active: HV_STATUS_INVALID_VP_STATE; other refusals:
     * HV_STATUS_INVALID_PARAMETER. A long list comes in several calls. */
    enum hvtlfs_answer (*flush_guest_physical)(void *context, uint32_t vp_index,
                                               const struct hvtlfs_gpa_flush *flush);

    /** Read an architectural register of the calling VP; @p name is an HV_REGISTER_NAME from
     * 0x20000 to 0x8FFFF that hvtlfs_register_name() knows. @p value is 0 on entry. DENIED:
     * HV_STATUS_ACCESS_DENIED; other refusals: HV_STATUS_INVALID_PARAMETER. NULL: denied.
     * Must not call the library. */
    enum hvtlfs_answer (*get_register)(void *context, uint32_t vp_index, uint32_t name,
                                       struct hvtlfs_register *value);

    /** Write one. The hypercall's own results come on top. VALUE: HV_STATUS_INVALID_REGISTER_VALUE;
     * the rest as get_register. Must not call the library. */
    enum hvtlfs_answer (*set_register)(void *context, uint32_t vp_index, uint32_t name,
                                       const struct hvtlfs_register *value);

    /** Start the VP @p target at @p start; @p vp_index is the caller, @p start valid during the call.
     * VALUE: HV_STATUS_INVALID_REGISTER_VALUE; STATE, it runs already: HV_STATUS_INVALID_VP_STATE;
     * other refusals: HV_STATUS_ACCESS_DENIED. */
    enum hvtlfs_answer (*start_vp)(void *context, uint32_t vp_index, uint32_t target,
                                   const struct hvtlfs_vp_context *start);

    /** Send a device's interrupt to other VPs from now on. UNKNOWN: HV_STATUS_INVALID_DEVICE_ID; DENIED:
     * HV_STATUS_OPERATION_DENIED; other refusals: HV_STATUS_INVALID_PARAMETER. */
    enum hvtlfs_answer (*retarget_interrupt)(void *context, uint32_t vp_index,
                                             const struct hvtlfs_retarget *retarget,
                                             const struct hvtlfs_vp_set *targets);

    /** Range @p n, counted from 0, of memory that was zero when the guest started: its first page
     * number and its pages. NULL: HvExtCallGetBootZeroedMemory is not offered.
     * @return false beyond the last; at most 255 are asked for. Must not call the library. */
    bool (*boot_zeroed_memory)(void *context, uint32_t n, uint64_t *first_page,
                               uint64_t *page_count);

    /* ---- Watching ---- */

    /** Something happened; see <hvtlfs/trace.h>. Any thread that calls the library, locks may be held;
     * must not call the library. NULL: nothing is told. */
    void (*trace)(void *context, const struct hvtlfs_event *event);
};

HVTLFS_END_DECLS

#endif
