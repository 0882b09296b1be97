/* SPDX-License-Identifier: MIT */
/**
 * @file paste.h
 * Enlightenments as users of QEMU, libvirt and Xen write them.
 */
#ifndef HVTLFS_PASTE_H
#define HVTLFS_PASTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hvtlfs/export.h>
#include <hvtlfs/features.h>
#include <hvtlfs/status.h>

HVTLFS_BEGIN_DECLS

/** Whose spelling a text is in. */
enum hvtlfs_syntax {
    HVTLFS_SYNTAX_LIST = 0, /**< Names alone, as hvtlfs_features_parse() takes them. */
    HVTLFS_SYNTAX_QEMU =
        1, /**< A command line or the value of -cpu, with hv-... or hv_... in it. */
    HVTLFS_SYNTAX_LIBVIRT = 2, /**< Domain XML, or any part of it with elements of `<hyperv>`. */
    HVTLFS_SYNTAX_XEN = 3,     /**< `viridian=...` of an xl configuration. */
};

/** What a pasted text comes to. */
struct hvtlfs_pasted {
    enum hvtlfs_syntax syntax;       /**< Whose spelling it is. */
    struct hvtlfs_feature_list list; /**< The features, dependencies not added. */
    char vendor[16];                 /**< The vendor string it asks for; empty if it does not. */
    uint32_t toggles;                /**< How many names were understood. */
};

/**
 * Told about names that are known but change nothing here.
 *
 * @param context what the caller gave
 * @param offset  where the name stands in the text
 * @param size    its length in bytes
 * @param note    why it changes nothing, one English phrase; static
 */
typedef void hvtlfs_paste_note(void *context, size_t offset, size_t size, const char *note);

/**
 * Read a text in any of the four spellings.
 *
 * The spelling is recognised: angle brackets are libvirt's, the word viridian is Xen's, hv- and hv_
 * are QEMU's. In a QEMU command line everything but the value of the last `-cpu` is skipped, and in
 * that value everything without hv-.
 *
 * A text stands for what its own hypervisor would show: QEMU and libvirt show the hypercall
 * interface always but the VP index only if asked; Xen's group `base` brings both. A plain list adds
 * to the minimal one. hvtlfs_check_identity() says what is missing, hvtlfs_features_complete() adds.
 *
 * @param text    need not be NUL-terminated
 * @param size    its length in bytes
 * @param pasted  overwritten on success
 * @param noted   called for names without effect; may be NULL
 * @param context handed to @p noted
 * @param error   filled on failure: `value` and `limit` are offset and length of the offending part;
 *                may be NULL
 * @return #HVTLFS_OK; #HVTLFS_ERR_UNKNOWN_FEATURE; #HVTLFS_ERR_FEATURE_VALUE; #HVTLFS_ERR_VENDOR;
 *         #HVTLFS_ERR_ARGUMENT
 *
 * Pure but for @p noted; any thread.
 */
HVTLFS_API enum hvtlfs_status hvtlfs_paste(const char *text, size_t size,
                                           struct hvtlfs_pasted *pasted, hvtlfs_paste_note *noted,
                                           void *context, struct hvtlfs_error *error);

HVTLFS_END_DECLS

#endif
