/* SPDX-License-Identifier: MIT */
#include "image.h"

#include <elf.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static bool read_at(FILE *file, uint64_t offset, void *buffer, size_t size)
{
    return fseek(file, (long)offset, SEEK_SET) == 0 && fread(buffer, 1, size, file) == size;
}

static const char *check(const Elf64_Ehdr *header)
{
    if (memcmp(header->e_ident, ELFMAG, SELFMAG) != 0) {
        return "not an ELF file";
    }
    if (header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_ident[EI_DATA] != ELFDATA2LSB ||
        header->e_machine != EM_X86_64 || header->e_type != ET_EXEC) {
        return "not a 64-bit x86 ELF image linked at fixed addresses";
    }
    return NULL;
}

static const char *load_segment(FILE *file, const Elf64_Phdr *segment, uint8_t *ram,
                                size_t ram_size)
{
    if (segment->p_filesz > segment->p_memsz || segment->p_memsz > ram_size ||
        segment->p_paddr > ram_size - segment->p_memsz) {
        return "a segment does not fit the guest's memory";
    }
    if (!read_at(file, segment->p_offset, ram + segment->p_paddr, segment->p_filesz)) {
        return "the file is cut off";
    }
    return NULL;
}

static const char *load(FILE *file, uint8_t *ram, size_t ram_size, uint64_t *entry)
{
    Elf64_Ehdr header;
    const char *wrong;

    if (!read_at(file, 0, &header, sizeof header)) {
        return "not an ELF file";
    }
    wrong = check(&header);
    for (unsigned i = 0; wrong == NULL && i < header.e_phnum; i++) {
        Elf64_Phdr segment;

        if (!read_at(file, header.e_phoff + i * sizeof segment, &segment, sizeof segment)) {
            return "the file is cut off";
        }
        if (segment.p_type == PT_LOAD) {
            wrong = load_segment(file, &segment, ram, ram_size);
        }
    }
    *entry = header.e_entry;
    return wrong;
}

const char *image_load(const char *path, uint8_t *ram, size_t ram_size, uint64_t *entry)
{
    FILE *file = fopen(path, "rb");
    const char *wrong;

    if (file == NULL) {
        return "cannot open it";
    }
    wrong = load(file, ram, ram_size, entry);
    (void)fclose(file);
    return wrong;
}
