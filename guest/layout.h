/* SPDX-License-Identifier: MIT */
/* Numbers that the assembler and the C files share. */
#ifndef HVTLFS_GUEST_LAYOUT_H
#define HVTLFS_GUEST_LAYOUT_H

/* Selectors of the global descriptor table; the TSS of VP n is at GDT_TSS + 16 * n. */
#define GDT_CODE0 0x08
#define GDT_DATA0 0x10
#define GDT_DATA3 0x1B
#define GDT_CODE3 0x23
#define GDT_CODE32 0x28
#define GDT_TSS 0x30

/* Each VP has one area, aligned to its size: struct vp at the bottom, its stack growing down from
 * the top. So a VP finds its own struct from its stack pointer and needs no segment base. */
#define VP_AREA_SIZE 0x4000

/* Offsets in struct vp that the assembler uses; vp.h asserts them. */
#define VP_GUARD 0
#define VP_TSS_RSP0 12

/* Below 1 MiB, where a processor begins after a SIPI: a copy of secondary16. A whole page. */
#define SECONDARY_GPA 0x8000

/* The window: 512 pages of virtual addresses from 4 GiB on, mapped one by one as needed. */
#define WINDOW_PAGES 512

#endif
