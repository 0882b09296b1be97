/* SPDX-License-Identifier: MIT */
/**
 * @file names.h
 * Numbers of the TLFS turned into words, for logs, debuggers and tools.
 *
 * Everything here is a pure function of its arguments over constant data: callable from any
 * thread, at any time, without a partition. Nothing here allocates, locks or calls back.
 * Strings are static and stay valid for the life of the program.
 *
 * The library knows more names than it implements: a name says nothing about support. The names
 * of MSRs belong to the MSR table, see msr.h.
 */
#ifndef HVTLFS_NAMES_H
#define HVTLFS_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hvtlfs/export.h>

HVTLFS_BEGIN_DECLS

/**
 * The name of a hypercall status, as in enum hv_status.
 *
 * Where editions of the TLFS gave a number several names, this is the current one: 0x0033 is
 * HV_STATUS_INSUFFICIENT_BUFFER, although 5.0 to 6.0b print HV_STATUS_INSUFFICIENT_BUFFERS there.
 *
 * @param status bits 15:0 of a hypercall result value
 * @return the name, or NULL if the number has none
 *
 * Pure; any thread. Source: TLFS App. B.
 */
HVTLFS_API const char *hvtlfs_hv_status_name(uint16_t status);

/**
 * The meaning of a hypercall status in one short English phrase.
 *
 * @param status bits 15:0 of a hypercall result value
 * @return the phrase, or NULL if the number has no name
 *
 * Pure; any thread.
 */
HVTLFS_API const char *hvtlfs_hv_status_meaning(uint16_t status);

/**
 * The name of a call code, as in enum hv_call_code.
 *
 * @param code bits 15:0 of a hypercall input value
 * @return the name, or NULL if the code is reserved or not listed anywhere
 *
 * Pure; any thread. Source: TLFS App. A, the online edition, OpenVMM.
 */
HVTLFS_API const char *hvtlfs_call_name(uint16_t code);

/**
 * The name of a VP register, as in enum hv_register_name.
 *
 * @param name the number that HvCallGetVpRegisters and HvCallSetVpRegisters take
 * @return the name, or NULL if the number has none
 *
 * Pure; any thread. Source: TLFS 7.8.2, the online edition.
 */
HVTLFS_API const char *hvtlfs_register_name(uint32_t name);

/** A field of the hypervisor's CPUID leaves. */
struct hvtlfs_cpuid_field {
    uint32_t leaf;       /**< EAX of the CPUID instruction. */
    uint8_t reg;         /**< The register it is in: 0 EAX, 1 EBX, 2 ECX, 3 EDX. */
    uint8_t hi;          /**< Its highest bit, 0 to 31. */
    uint8_t lo;          /**< Its lowest bit, at most @ref hi. */
    const char *name;    /**< The word of the TLFS, "Reserved" for bits without a meaning. */
    const char *meaning; /**< One short English phrase. */
};

/**
 * How many CPUID fields are known.
 *
 * @return the number of rows that hvtlfs_cpuid_field_at() has; constant
 *
 * Pure; any thread.
 */
HVTLFS_API size_t hvtlfs_cpuid_field_count(void);

/**
 * One CPUID field.
 *
 * Rows are sorted by leaf, register and lowest bit and do not overlap. They cover leaf 1 (the
 * hypervisor-present bit alone), 0x40000000 to 0x4000000C and 0x40000080 to 0x40000082, at the
 * addresses the TLFS gives: a caller that shows leaves at another base subtracts the difference
 * first. Reserved bits have rows too, so that a tool can point at a bit that should not be set.
 *
 * @param i 0 to hvtlfs_cpuid_field_count() - 1
 * @return the row, or NULL if there is none
 *
 * Pure; any thread. Source: TLFS 2.2 and 2.4, the online edition, OpenVMM.
 */
HVTLFS_API const struct hvtlfs_cpuid_field *hvtlfs_cpuid_field_at(size_t i);

/**
 * What a guest says about itself in HV_X64_MSR_GUEST_OS_ID.
 *
 * The register has two forms; the fields of the other form are 0.
 */
struct hvtlfs_guest_os {
    bool open_source;        /**< Bit 63: the open-source form. */
    uint16_t vendor_id;      /**< Proprietary form: enum hv_guest_os_vendor. */
    uint8_t os_type;         /**< Open-source form: enum hv_guest_os_open_type. */
    uint8_t os_id;           /**< The OS of the vendor; open-source form: a variant of the OS. */
    uint8_t major_version;   /**< Proprietary form. */
    uint8_t minor_version;   /**< Proprietary form. */
    uint8_t service_version; /**< Proprietary form: the service pack. */
    uint32_t version;        /**< Open-source form; the OS chooses the encoding, see below. */
    uint16_t build;          /**< The build number. */
    const char *vendor_name; /**< Never NULL: "open source" in that form, "unknown" if need be. */
    const char *os_name;     /**< Never NULL: "unknown" if need be. */
};

/**
 * Take a guest OS identity apart.
 *
 * Every value decodes; 0, which says that the guest has not reported its identity, comes out as
 * an unknown vendor with all numbers 0.
 *
 * How the open-source guests fill `version`, as their sources have it:
 *  - Linux writes LINUX_VERSION_CODE: (major << 16) + (minor << 8) + patch, the patch cut to 255.
 *    `os_id` and `build` are 0 upstream; distributions have put marks of their own there.
 *  - FreeBSD writes __FreeBSD_version, a decimal number such as 1400097.
 *  - DragonFly BSD and OpenBSD use FreeBSD's type: DragonFly with __DragonFly_version, OpenBSD
 *    with `os_id` 1.
 *
 * Some older Linux kernels lost the upper bits of the identity to a shift by 56 in place of 48
 * and therefore look like vendor 0 here.
 *
 * @param value the register
 * @param out   filled whole; must not be NULL
 *
 * Pure; any thread. Source: TLFS 2.6.
 */
HVTLFS_API void hvtlfs_guest_os_id_decode(uint64_t value, struct hvtlfs_guest_os *out);

/** The parts of a hypercall input value. */
struct hvtlfs_hypercall_input {
    uint16_t code;                   /**< Call code. */
    bool fast;                       /**< Parameters are in registers. */
    uint16_t variable_header_qwords; /**< Variable header in units of 8 bytes, 0 to 1023. */
    bool is_nested;                  /**< For the outer hypervisor. */
    uint16_t rep_count;              /**< Repetitions, 0 to 4095. */
    uint16_t rep_start;              /**< First repetition to do, 0 to 4095. */
    uint64_t reserved_bits;          /**< The reserved bits that are set, in place; 0 if legal. */
};

/**
 * Take a hypercall input value apart, in the layout of the online TLFS.
 *
 * Nothing is judged but the reserved bits: whether the call has repetitions or a variable header
 * is a matter of the call. TLFS 6.0 and 6.0b put the nested flag into bit 26, which is the top bit
 * of the header size here, and reserve bit 31; HV_HYPERCALL_INPUT_V6_... in tlfs.h has that layout.
 *
 * @param value RCX of a 64-bit caller, EDX:EAX of a 32-bit one
 * @param out   filled whole; must not be NULL
 *
 * Pure; any thread. Source: TLFS 3.7 and the online edition.
 */
HVTLFS_API void hvtlfs_hypercall_input_decode(uint64_t value, struct hvtlfs_hypercall_input *out);

HVTLFS_END_DECLS

#endif
