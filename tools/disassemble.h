/* SPDX-License-Identifier: MIT */
/* A disassembler for the few instructions a hypercall page is made of. */
#ifndef TOOL_DISASSEMBLE_H
#define TOOL_DISASSEMBLE_H

#include <stddef.h>
#include <stdint.h>

#define INSTRUCTION_TEXT 32

/*
 * The instruction at the front of some code, as it is in 32-bit protected mode as well as in 64-bit
 * mode. A byte that begins none of those known here becomes "db 0x..".
 *
 * Returns its length in bytes, at most `size`, which must not be 0.
 */
size_t disassemble(const uint8_t *code, size_t size, char text[INSTRUCTION_TEXT]);

#endif
