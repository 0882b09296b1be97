/* SPDX-License-Identifier: MIT */
/*
 * What is in RAM when the guest starts. Linux: a bzImage by its 64-bit boot protocol (the kernel's
 * Documentation/arch/x86/boot.rst). Anything else must be the conformance guest, an ELF file that starts
 * as guest/boot.h says.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "boot.h"
#include "image.h"
#include "vmm.h"

enum {
    PAGE = 4096,
    PAGE_TABLES_GPA = 0x1000, /* one PML4, one PDPT, four directories */
    BOOT_PARAMS_GPA = 0x7000, /* Linux's, or the conformance guest's */
    GDT_GPA = 0x8000,
    COMMAND_LINE_GPA = 0x9000,
    LOW_END = 0x9FC00,
    HIGH_GPA = 0x100000,
    PTE_TABLE = 0x7,
    PTE_LARGE = 0x87,
    SELECTOR_CODE = 0x10, /* as the protocol wants */
    SELECTOR_DATA = 0x18,

    /* The header, at its place in the file and in the boot parameters. */
    HEADER_START = 0x1F1,
    SETUP_SECTORS = 0x1F1,
    BOOT_FLAG = 0x1FE,
    HEADER_JUMP = 0x201, /* the header ends so many bytes behind 0x202 */
    HEADER_MAGIC = 0x202,
    PROTOCOL = 0x206,
    LOADER_TYPE = 0x210,
    INITRD_ADDRESS = 0x218,
    INITRD_SIZE = 0x21C,
    COMMAND_LINE = 0x228,
    INITRD_MAX = 0x22C,
    XLOADFLAGS = 0x236,
    COMMAND_LINE_SIZE = 0x238,
    PREFERRED_ADDRESS = 0x258,
    INIT_SIZE = 0x260,
    /* Of the boot parameters only. */
    ACPI_POINTER = 0x70,
    E820_COUNT = 0x1E8,
    E820_TABLE = 0x2D0,
    E820_RAM = 1,
    E820_RESERVED = 2,
    ENTRY_64 = 0x200, /* into the protected-mode part */
};

#define CR0_LONG UINT64_C(0x80010033) /* PG, WP, NE, ET, MP, PE */
#define CR4_LONG UINT64_C(0x620)      /* OSXMMEXCPT, OSFXSR, PAE */
#define EFER_LONG UINT64_C(0x500)     /* LMA, LME */

static void put(uint8_t *at, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        at[i] = (uint8_t)(value >> 8 * i);
    }
}

static uint64_t get(const uint8_t *at, size_t bytes)
{
    uint64_t value = 0;

    for (size_t i = bytes; i-- > 0;) {
        value = value << 8 | at[i];
    }
    return value;
}

/* ---- Files ---- */

struct file {
    uint8_t *bytes;
    size_t size;
};

static bool file_read(struct vmm *vmm, const char *path, struct file *file)
{
    FILE *stream = fopen(path, "rb");
    long size = -1;

    *file = (struct file){NULL, 0};
    if (stream != NULL && fseek(stream, 0, SEEK_END) == 0 && (size = ftell(stream)) > 0) {
        rewind(stream);
        file->size = (size_t)size;
        file->bytes = malloc(file->size);
    }
    if (file->bytes == NULL || fread(file->bytes, 1, file->size, stream) != file->size) {
        (void)vmm_trouble(vmm, "%s: %s", path, size == 0 ? "empty" : strerror(errno));
        free(file->bytes);
        file->bytes = NULL;
    }
    if (stream != NULL) {
        (void)fclose(stream);
    }
    return file->bytes != NULL;
}

/* ---- What both kinds of guest find ---- */

/* Identity map of the first 4 GiB. */
static void page_tables_put(struct vmm *vmm)
{
    uint64_t pdpt = PAGE_TABLES_GPA + PAGE;
    uint64_t directories = PAGE_TABLES_GPA + 2 * PAGE;

    put(vmm->ram + PAGE_TABLES_GPA, pdpt | PTE_TABLE, 8);
    for (unsigned i = 0; i < 4; i++) {
        put(vmm->ram + pdpt + (size_t)8 * i, (directories + (uint64_t)PAGE * i) | PTE_TABLE, 8);
    }
    for (unsigned i = 0; i < 4 * 512; i++) {
        put(vmm->ram + directories + (size_t)8 * i, (uint64_t)i << 21 | PTE_LARGE, 8);
    }
}

static void gdt_put(struct vmm *vmm)
{
    put(vmm->ram + GDT_GPA + SELECTOR_CODE, UINT64_C(0x00AF9B000000FFFF), 8);
    put(vmm->ram + GDT_GPA + SELECTOR_DATA, UINT64_C(0x00CF93000000FFFF), 8);
}

/* ---- Linux ---- */

static bool is_bzimage(const struct file *file)
{
    return file->size > 0x1000 && get(file->bytes + BOOT_FLAG, 2) == 0xAA55 &&
           memcmp(file->bytes + HEADER_MAGIC, "HdrS", 4) == 0;
}

static void e820_add(uint8_t *params, uint64_t from, uint64_t to, unsigned type)
{
    uint8_t *at = params + E820_TABLE + (size_t)20 * params[E820_COUNT];

    put(at, from, 8);
    put(at + 8, to - from, 8);
    put(at + 16, type, 4);
    params[E820_COUNT]++;
}

/* At the end of RAM, as high as the kernel can reach. */
static bool initrd_load(struct vmm *vmm, uint8_t *params, uint64_t kernel_end)
{
    struct file file;
    uint64_t end = get(params + INITRD_MAX, 4) + 1;
    uint64_t at;

    if (vmm->options.initrd == NULL) {
        return true;
    }
    if (!file_read(vmm, vmm->options.initrd, &file)) {
        return false;
    }
    end = end < vmm->ram_size ? end : vmm->ram_size;
    at = file.size < end ? (end - file.size) & ~(uint64_t)(PAGE - 1) : 0;
    if (at < kernel_end) {
        free(file.bytes);
        return vmm_trouble(vmm, "%s does not fit beside the kernel; use more --memory",
                           vmm->options.initrd);
    }
    memcpy(vmm->ram + at, file.bytes, file.size);
    put(params + INITRD_ADDRESS, at, 4);
    put(params + INITRD_SIZE, file.size, 4);
    free(file.bytes);
    return true;
}

static bool command_line_put(struct vmm *vmm, uint8_t *params)
{
    size_t size = strlen(vmm->options.append);

    if (size > get(params + COMMAND_LINE_SIZE, 4) || size >= PAGE) {
        return vmm_trouble(vmm, "--append: more than the kernel takes");
    }
    memcpy(vmm->ram + COMMAND_LINE_GPA, vmm->options.append, size + 1);
    put(params + COMMAND_LINE, COMMAND_LINE_GPA, 4);
    return true;
}

static void params_put(struct vmm *vmm, const struct file *file, uint8_t *params)
{
    size_t end = HEADER_MAGIC + (size_t)file->bytes[HEADER_JUMP];

    memcpy(params + HEADER_START, file->bytes + HEADER_START, end - HEADER_START);
    params[LOADER_TYPE] = 0xFF; /* a loader without a number */
    e820_add(params, 0, LOW_END, E820_RAM);
    e820_add(params, LOW_END, 0xA0000, E820_RESERVED);
    e820_add(params, ACPI_GPA, HIGH_GPA, E820_RESERVED);
    e820_add(params, HIGH_GPA, vmm->ram_size, E820_RAM);
}

static bool bzimage_load(struct vmm *vmm, const struct file *file, struct entry *entry)
{
    uint8_t *params = vmm->ram + BOOT_PARAMS_GPA;
    size_t sectors = file->bytes[SETUP_SECTORS] != 0 ? file->bytes[SETUP_SECTORS] : 4;
    size_t start = (sectors + 1) * 512;
    uint64_t at = get(file->bytes + PREFERRED_ADDRESS, 8);
    uint64_t room = get(file->bytes + INIT_SIZE, 4);

    if (get(file->bytes + PROTOCOL, 2) < 0x20C || (file->bytes[XLOADFLAGS] & 1) == 0) {
        return vmm_trouble(vmm, "%s has no 64-bit entry", vmm->options.kernel);
    }
    if (start >= file->size || room < file->size - start || at < HIGH_GPA || at >= vmm->ram_size ||
        room > vmm->ram_size - at) {
        return vmm_trouble(vmm, "%s wants %u MiB at %u MiB; use more --memory", vmm->options.kernel,
                           (unsigned)(room >> 20), (unsigned)(at >> 20));
    }
    memcpy(vmm->ram + at, file->bytes + start, file->size - start);
    params_put(vmm, file, params);
    acpi_put(vmm);
    put(params + ACPI_POINTER, ACPI_GPA, 8);
    *entry = (struct entry){.rip = at + ENTRY_64, .rsi = BOOT_PARAMS_GPA};
    return command_line_put(vmm, params) && initrd_load(vmm, params, at + room);
}

/* ---- The conformance guest ---- */

static bool elf_load(struct vmm *vmm, struct entry *entry)
{
    bool mapped = vmm->options.overlays == HVTLFS_KVM_OVERLAYS_MAPPED;
    struct boot_info info = {
        .magic = BOOT_MAGIC,
        .size = sizeof info,
        .flags = BOOT_SURVIVES_CRASH | (mapped ? BOOT_EVERYTHING : BOOT_HAS_APIC),
        .vp_count = vmm->cpu_count,
        .ram_bytes = vmm->ram_size,
        .hole_gpa = UINT64_C(0xD0000000),
    };
    uint64_t rip;
    const char *wrong = image_load(vmm->options.kernel, vmm->ram, vmm->ram_size, &rip);

    if (wrong != NULL) {
        return vmm_trouble(vmm, "%s is neither a bzImage nor the conformance guest: %s",
                           vmm->options.kernel, wrong);
    }
    memcpy(vmm->ram + BOOT_PARAMS_GPA, &info, sizeof info);
    *entry = (struct entry){.rip = rip, .rdi = BOOT_PARAMS_GPA, .all_at_once = true};
    return true;
}

bool boot_load(struct vmm *vmm, struct entry *entry)
{
    struct file file;
    bool loaded;

    if (!file_read(vmm, vmm->options.kernel, &file)) {
        return false;
    }
    loaded = is_bzimage(&file) ? bzimage_load(vmm, &file, entry) : elf_load(vmm, entry);
    free(file.bytes);
    page_tables_put(vmm); /* image_load() wants RAM that is zero */
    gdt_put(vmm);
    return loaded;
}

/* ---- The processor ---- */

static struct kvm_segment segment(uint16_t selector, uint8_t type, bool code)
{
    return (struct kvm_segment){
        .limit = 0xFFFFFFFF,
        .selector = selector,
        .type = type,
        .present = 1,
        .db = !code,
        .s = 1,
        .l = code,
        .g = 1,
    };
}

bool boot_start_state(struct cpu *cpu, const struct entry *entry)
{
    struct kvm_mp_state runnable = {KVM_MP_STATE_RUNNABLE};
    struct kvm_sregs sregs;
    struct kvm_regs regs = {.rip = entry->rip, .rflags = 2, .rdi = entry->rdi, .rsi = entry->rsi};

    if (entry->all_at_once) {
        regs.rsi += cpu->number;
    } else if (cpu->number != 0) {
        return true; /* until the first wakes it */
    }
    if (ioctl(cpu->fd, KVM_GET_SREGS, &sregs) != 0) {
        return vmm_trouble(cpu->vmm, "KVM_GET_SREGS: %s", strerror(errno));
    }
    sregs.gdt.base = GDT_GPA;
    sregs.gdt.limit = SELECTOR_DATA + 7;
    sregs.cs = segment(SELECTOR_CODE, 11, true);
    sregs.ds = sregs.es = sregs.ss = sregs.fs = sregs.gs = segment(SELECTOR_DATA, 3, false);
    sregs.cr0 = CR0_LONG;
    sregs.cr3 = PAGE_TABLES_GPA;
    sregs.cr4 = CR4_LONG;
    sregs.efer = EFER_LONG;
    if (ioctl(cpu->fd, KVM_SET_SREGS, &sregs) != 0 || ioctl(cpu->fd, KVM_SET_REGS, &regs) != 0 ||
        ioctl(cpu->fd, KVM_SET_MP_STATE, &runnable) != 0) {
        return vmm_trouble(cpu->vmm, "KVM refuses the start state: %s", strerror(errno));
    }
    return true;
}
