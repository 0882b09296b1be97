/* SPDX-License-Identifier: MIT */
/* A program outside the project: makes a partition and asks for one CPUID leaf. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hvtlfs/hvtlfs.h>

static unsigned char ram[4 * HVTLFS_PAGE_SIZE];

static bool in_ram(uint64_t gpa, size_t size)
{
    return size <= sizeof(ram) && gpa <= sizeof(ram) - size;
}

static bool gpa_read(void *context, uint64_t gpa, void *buffer, size_t size)
{
    (void)context;
    if (!in_ram(gpa, size)) {
        return false;
    }
    memcpy(buffer, ram + gpa, size);
    return true;
}

static bool gpa_write(void *context, uint64_t gpa, const void *buffer, size_t size)
{
    (void)context;
    if (!in_ram(gpa, size)) {
        return false;
    }
    memcpy(ram + gpa, buffer, size);
    return true;
}

static enum hvtlfs_gpa_kind gpa_probe(void *context, uint64_t gpa)
{
    (void)context;
    return in_ram(gpa, 1) ? HVTLFS_GPA_RAM : HVTLFS_GPA_NONE;
}

static int fail(const char *what, enum hvtlfs_status status)
{
    fprintf(stderr, "%s: status %d\n", what, (int)status);
    return EXIT_FAILURE;
}

int main(void)
{
    struct hvtlfs_config config;
    hvtlfs_config_init(&config);
    config.ops.gpa_read = gpa_read;
    config.ops.gpa_write = gpa_write;
    config.ops.gpa_probe = gpa_probe;

    size_t size = 0;
    enum hvtlfs_status status = hvtlfs_partition_size(&config, &size, NULL);
    if (status != HVTLFS_OK) {
        return fail("hvtlfs_partition_size", status);
    }
    size = (size + HVTLFS_PARTITION_ALIGNMENT - 1) & ~(size_t)(HVTLFS_PARTITION_ALIGNMENT - 1);
    void *memory = aligned_alloc(HVTLFS_PARTITION_ALIGNMENT, size);
    struct hvtlfs_partition *partition = NULL;
    status = hvtlfs_partition_init(memory, size, &config, &partition, NULL);
    if (status != HVTLFS_OK) {
        return fail("hvtlfs_partition_init", status);
    }

    struct hvtlfs_cpuid_regs regs;
    memset(&regs, 0, sizeof(regs));
    char vendor[13] = "";
    if (!hvtlfs_cpuid(hvtlfs_partition_vp(partition, 0), 0x40000000u, 0, &regs)) {
        return fail("hvtlfs_cpuid", HVTLFS_OK);
    }
    memcpy(vendor, &regs.ebx, 4);
    memcpy(vendor + 4, &regs.ecx, 4);
    memcpy(vendor + 8, &regs.edx, 4);
    free(memory);

    printf("libhvtlfs %s, vendor \"%s\", leaves to 0x%08x\n", hvtlfs_version(), vendor,
           (unsigned)regs.eax);
    return strcmp(vendor, "Microsoft Hv") == 0 && regs.eax >= 0x40000005u &&
                   hvtlfs_version_number() == HVTLFS_VERSION_NUMBER &&
                   strcmp(hvtlfs_version(), HVTLFS_VERSION_STRING) == 0
               ? EXIT_SUCCESS
               : EXIT_FAILURE;
}
