/* SPDX-License-Identifier: MIT */
/* What a loader by the PVH note tells: words on a command line. */
#ifndef HVTLFS_GUEST_COMMAND_LINE_H
#define HVTLFS_GUEST_COMMAND_LINE_H

#include <stdint.h>

/* The command line of a struct hvm_start_info; an empty one if that is not what it is. */
const char *command_line_of(const void *start_info);

/* The number, decimal or 0x hexadecimal, behind a name such as "vps=" that begins a word. */
uint64_t command_line_number(const char *line, const char *name, uint64_t otherwise);

#endif
