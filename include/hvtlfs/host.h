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
    bool non_global_only;    /**< Global mappings may stay. */
    size_t range_count;      /**< Entries at @ref ranges; 0 = everything. */
    const uint64_t *ranges;  /**< HV_GVA_RANGE: page address and, in bits 11:0, pages beyond the first. */
    bool extended_ranges;    /**< The entries are in the extended format (bit 11: large page). */
};

/** A device interrupt the guest wants retargeted (TLFS 10.5.4). Valid during the callback only. */
struct hvtlfs_retarget {
    uint64_t device_id;   /**< As the guest gave it. */
    uint32_t source;      /**< HV_INTERRUPT_SOURCE; 1 = MSI. */
    uint32_t msi_address; /**< The entry's address. */
    uint32_t msi_data;    /**< The entry's data. */
    uint32_t vector;      /**< The new vector. */
    bool multicast;       /**< To every target instead of one of them. */
};

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

    /** What lies at the page of @p gpa below all overlays. Must not call the library. */
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
     * where overlay_set is absent. @p done tells whether the word was replaced.
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

    /** Flush TLBs of @p targets before the calling VP's next instruction. @p vp_index is the caller. */
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

    /** The VP spins on a resource another VP may hold; @p spins is the guest's count so far. */
    void (*spin_wait)(void *context, uint32_t vp_index, uint32_t spins);

    /** The guest asks for a system reset. The host calls hvtlfs_partition_reset() when it resets. */
    void (*system_reset)(void *context, uint32_t vp_index);

    /** The guest reports a crash. The report is valid during the call only. */
    void (*crash)(void *context, uint32_t vp_index, const struct hvtlfs_crash *crash);

    /** From now on (until the next call) make these instructions fault with #GP outside ring 0 on
     * this VP, or no longer. @p prevent: bit 0 SGDT, 1 SIDT, 2 SLDT, 3 STR (TLFS 8.12). */
    void (*npiep)(void *context, uint32_t vp_index, uint32_t prevent);

    /** The guest has mapped a statistics page of this VP (@p shown) or taken it away. While it is
     * mapped, keep its counters up to date with hvtlfs_stats_set(). @p kind is one of the four
     * HVTLFS_OVERLAY_STATS kinds. */
    void (*stats_page)(void *context, uint32_t vp_index, enum hvtlfs_overlay_kind kind, bool shown);

    /** Read a synthetic debug MSR, 0x400000F1 to 0x400000F5. Answers at once.
     * @return false if the read must fault; @p value is then ignored */
    bool (*debug_read)(void *context, uint32_t vp_index, uint32_t number, uint64_t *value);

    /** Write a synthetic debug MSR. Answers at once.
     * @return false if the write must fault */
    bool (*debug_write)(void *context, uint32_t vp_index, uint32_t number, uint64_t value);
};

HVTLFS_END_DECLS

#endif
