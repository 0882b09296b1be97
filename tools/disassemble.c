/* SPDX-License-Identifier: MIT */
#include "disassemble.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* What follows the opcode. */
enum operand { NO_OPERAND, PORT, IMMEDIATE32 };

struct opcode {
    uint8_t bytes[3];
    uint8_t size;
    uint8_t mask; /* of the last byte; the bits left out choose a register */
    enum operand operand;
    const char *front; /* the text before the operand */
    const char *back;  /* and behind it */
};

/* Intel's manual, volume 2; AMD's, volume 3, for VMMCALL. The longest opcodes first. */
static const struct opcode opcodes[] = {
    {{0x0F, 0x01, 0xC1}, 3, 0xFF, NO_OPERAND, "vmcall", ""},
    {{0x0F, 0x01, 0xD9}, 3, 0xFF, NO_OPERAND, "vmmcall", ""},
    {{0x0F, 0x0B, 0}, 2, 0xFF, NO_OPERAND, "ud2", ""},
    {{0x0F, 0xA2, 0}, 2, 0xFF, NO_OPERAND, "cpuid", ""},
    {{0xB8, 0, 0}, 1, 0xF8, IMMEDIATE32, "mov ", ""},
    {{0xC3, 0, 0}, 1, 0xFF, NO_OPERAND, "ret", ""},
    {{0xCC, 0, 0}, 1, 0xFF, NO_OPERAND, "int3", ""},
    {{0x90, 0, 0}, 1, 0xFF, NO_OPERAND, "nop", ""},
    {{0xF4, 0, 0}, 1, 0xFF, NO_OPERAND, "hlt", ""},
    {{0xE4, 0, 0}, 1, 0xFF, PORT, "in al, ", ""},
    {{0xE5, 0, 0}, 1, 0xFF, PORT, "in eax, ", ""},
    {{0xE6, 0, 0}, 1, 0xFF, PORT, "out ", ", al"},
    {{0xE7, 0, 0}, 1, 0xFF, PORT, "out ", ", eax"},
    {{0xEE, 0, 0}, 1, 0xFF, NO_OPERAND, "out dx, al", ""},
    {{0xEF, 0, 0}, 1, 0xFF, NO_OPERAND, "out dx, eax", ""},
};

static const char *const registers[8] = {"eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"};

static size_t operand_size(enum operand operand)
{
    return operand == NO_OPERAND ? 0 : operand == IMMEDIATE32 ? 4 : 1;
}

static bool matches(const struct opcode *row, const uint8_t *code, size_t size)
{
    if (row->size + operand_size(row->operand) > size) {
        return false;
    }
    size_t last = row->size - 1u;
    return memcmp(row->bytes, code, last) == 0 && (code[last] & row->mask) == row->bytes[last];
}

static uint32_t immediate(const uint8_t *bytes)
{
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static void print(const struct opcode *row, const uint8_t *code, char text[INSTRUCTION_TEXT])
{
    const uint8_t *operand = code + row->size;
    switch (row->operand) {
    case NO_OPERAND:
        (void)snprintf(text, INSTRUCTION_TEXT, "%s", row->front);
        break;
    case PORT:
        (void)snprintf(text, INSTRUCTION_TEXT, "%s0x%x%s", row->front, operand[0], row->back);
        break;
    case IMMEDIATE32:
        (void)snprintf(text, INSTRUCTION_TEXT, "%s%s, 0x%" PRIx32, row->front,
                       registers[code[0] & 7], immediate(operand));
        break;
    }
}

size_t disassemble(const uint8_t *code, size_t size, char text[INSTRUCTION_TEXT])
{
    for (size_t i = 0; i < sizeof(opcodes) / sizeof(opcodes[0]); i++) {
        if (matches(&opcodes[i], code, size)) {
            print(&opcodes[i], code, text);
            return opcodes[i].size + operand_size(opcodes[i].operand);
        }
    }
    (void)snprintf(text, INSTRUCTION_TEXT, "db 0x%02x", code[0]);
    return 1;
}
