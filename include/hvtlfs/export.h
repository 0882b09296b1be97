/* SPDX-License-Identifier: MIT */
/**
 * @file export.h
 * How a function of the library is declared: visible, with C linkage.
 */
#ifndef HVTLFS_EXPORT_H
#define HVTLFS_EXPORT_H

/**
 * @def HVTLFS_API
 * In front of every public function: visible outside the shared library.
 *
 * @def HVTLFS_MUST_USE
 * The compiler warns where the result is dropped.
 *
 * @def HVTLFS_BEGIN_DECLS
 * @def HVTLFS_END_DECLS
 * Around the declarations of a header: C linkage for C++.
 */
#if defined(__GNUC__)
#define HVTLFS_API __attribute__((visibility("default")))
#define HVTLFS_MUST_USE __attribute__((warn_unused_result))
#else
#define HVTLFS_API
#define HVTLFS_MUST_USE
#endif

#ifdef __cplusplus
#define HVTLFS_BEGIN_DECLS extern "C" {
#define HVTLFS_END_DECLS }
#else
#define HVTLFS_BEGIN_DECLS
#define HVTLFS_END_DECLS
#endif

#endif
