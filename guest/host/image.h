/* SPDX-License-Identifier: MIT */
/* Loading the guest's ELF file into its memory. */
#ifndef HVTLFS_GUEST_HOST_IMAGE_H
#define HVTLFS_GUEST_HOST_IMAGE_H

#include <stddef.h>
#include <stdint.h>

/* Load the file's segments at their physical addresses into ram, which stands for the addresses from
 * 0 on and is zero. Returns NULL and the 64-bit entry, or what is wrong with the file. */
const char *image_load(const char *path, uint8_t *ram, size_t ram_size, uint64_t *entry);

#endif
