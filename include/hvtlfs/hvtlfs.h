/* SPDX-License-Identifier: MIT */
/**
 * @file hvtlfs.h
 * Everything a VMM includes.
 *
 * @page page_conventions Conventions of the interface
 *
 * A VMM hands the library three exits (CPUID, MSR, hypercall) and a clock; the library hands back
 * exactly what the Hyper-V Top-Level Functional Specification (TLFS) says the guest must see. The
 * library owns meaning. The host owns memory, time, interrupts and threads.
 *
 * Conventions, so that each function need not repeat them:
 *  - Pointers must not be NULL unless the description says so.
 *  - Strings and tables that are returned are static; nothing has to be freed.
 *  - Sizes are in bytes, frequencies in Hz, times in units of 100 ns of reference time unless the
 *    name says otherwise. Guest physical addresses (GPAs) are 64-bit numbers.
 *  - A struct with a `size` field is set to sizeof by its init function or by the caller; later
 *    versions append members, and a shorter struct of an earlier version keeps working.
 *  - After an error nothing has changed.
 *  - "Pure" functions depend on their arguments only and may be called from anywhere, at any time.
 *
 * The specification itself as constants and structs is <hvtlfs/tlfs.h>. It is not included here:
 * its names are the TLFS's own, and a VMM may have them already.
 */
#ifndef HVTLFS_HVTLFS_H
#define HVTLFS_HVTLFS_H

#include <hvtlfs/export.h>
#include <hvtlfs/version.h>

#include <hvtlfs/status.h>

#include <hvtlfs/features.h>

#include <hvtlfs/hypercall_page.h>
#include <hvtlfs/names.h>
#include <hvtlfs/reftime.h>

#include <hvtlfs/host.h>
#include <hvtlfs/partition.h>
#include <hvtlfs/vpset.h>

#include <hvtlfs/profiles.h>

#include <hvtlfs/cpuid.h>
#include <hvtlfs/flush.h>
#include <hvtlfs/hypercall.h>
#include <hvtlfs/msr.h>
#include <hvtlfs/spinwait.h>
#include <hvtlfs/stats.h>
#include <hvtlfs/synic.h>
#include <hvtlfs/time.h>
#include <hvtlfs/vapic.h>

#include <hvtlfs/check.h>
#include <hvtlfs/describe.h>
#include <hvtlfs/paste.h>
#include <hvtlfs/state.h>
#include <hvtlfs/trace.h>

#endif
