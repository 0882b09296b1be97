/* SPDX-License-Identifier: MIT */
/* The named bit fields of CPUID registers and MSRs, put on a sheet. */
#ifndef TOOL_FIELDS_H
#define TOOL_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sheet.h"

/* "eax" to "edx" for 0 to 3, and back; -1 for another word. */
const char *cpuid_register_name(unsigned reg);
int cpuid_register_number(const char *name, size_t size);

/* The fields of one CPUID register, lowest bit first; returns whether any is known. */
bool cpuid_fields_add(struct sheet *sheet, uint32_t leaf, unsigned reg, uint32_t value);

/* All fields of a leaf without values; returns whether any is known. */
bool cpuid_fields_describe(struct sheet *sheet, uint32_t leaf);

/* The fields of an MSR's value, lowest bit first; returns whether its layout is known. */
bool msr_fields_add(struct sheet *sheet, uint32_t number, uint64_t value);

#endif
