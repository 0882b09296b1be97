/* SPDX-License-Identifier: MIT */
#include <hvtlfs/version.h>

const char *hvtlfs_version(void)
{
    return HVTLFS_VERSION_STRING;
}

uint32_t hvtlfs_version_number(void)
{
    return HVTLFS_VERSION_NUMBER;
}
