/* SPDX-License-Identifier: MIT */
/* A program outside the project that uses the helper for KVM; it works without /dev/kvm too. */
#include <stdio.h>
#include <stdlib.h>

#include <hvtlfs/kvm.h>
#include <hvtlfs/version.h>

int main(void)
{
    struct hvtlfs_kvm_config config;
    struct hvtlfs_kvm_error error;

    hvtlfs_kvm_config_init(&config);
    if (hvtlfs_kvm_check(&config, &error) != HVTLFS_ERR_HOST) {
        fprintf(stderr, "no descriptor passes for a KVM\n");
        return EXIT_FAILURE;
    }
    printf("libhvtlfs-kvm %s: %s\n", hvtlfs_version(), error.text);
    return EXIT_SUCCESS;
}
