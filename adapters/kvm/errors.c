/* SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "helper.h"

enum hvtlfs_status hvti_kvm_fail(struct hvtlfs_kvm_error *error, enum hvtlfs_status status,
                                 int system, const char *format, ...)
{
    va_list arguments;
    size_t used;
    char reason[80];

    if (error == NULL) {
        return status;
    }
    error->status = status;
    error->system = system;
    va_start(arguments, format);
    (void)vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
    used = strlen(error->text);
    if (system != 0 && strerror_r(system, reason, sizeof reason) == 0) {
        (void)snprintf(error->text + used, sizeof error->text - used, ": %s", reason);
    }
    return status;
}

enum hvtlfs_status hvti_kvm_fail_as(struct hvtlfs_kvm_error *error,
                                    const struct hvtlfs_error *cause)
{
    if (error != NULL) {
        error->status = cause->status;
        error->system = 0;
        (void)hvtlfs_error_text(cause, error->text, sizeof error->text);
    }
    return cause->status;
}
