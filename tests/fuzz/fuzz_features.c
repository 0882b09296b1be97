/* SPDX-License-Identifier: MIT */
/*
 * Text from people: feature lists, QEMU command lines, libvirt XML, Xen configurations.
 *
 * What is refused changes nothing and names a part of the text; what is read is a set of features that
 * exist, comes out the same when it is read again, and completes to a set that a partition takes or
 * refuses with a reason.
 */
#include <string.h>

#include <hvtlfs/check.h>
#include <hvtlfs/paste.h>
#include <hvtlfs/profiles.h>

#include "host.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const size_t *text_size;

static void noted(void *context, size_t offset, size_t size, const char *note)
{
    (void)context;
    CLAIM(offset <= *text_size && size <= *text_size - offset && note && note[0]);
}

static void found(void *context, const struct hvtlfs_finding *finding)
{
    char text[256];

    (void)context;
    CLAIM(finding->code && finding->sentence && finding->source);
    CLAIM(hvtlfs_finding_text(finding, text, sizeof(text)) > 0);
}

static void check_error(const struct hvtlfs_error *error, enum hvtlfs_status status, size_t size)
{
    char text[128];

    CLAIM(error->status == status && status <= HVTLFS_ERR_HOST_CALL);
    CLAIM(error->value <= size && error->limit <= size - error->value);
    CLAIM(hvtlfs_error_text(error, text, sizeof(text)) > 0 && strlen(text) < sizeof(text));
}

static void check_set(const struct hvtlfs_feature_list *list)
{
    struct hvtlfs_feature_list more = *list;
    struct hvtlfs_error error;

    for (unsigned f = HVTLFS_FEATURE_COUNT; f < 128; f++) {
        CLAIM(!(list->features.word[f / 64] >> f % 64 & 1));
    }
    hvtlfs_features_complete(&more.features);
    CLAIM(hvtlfs_features_check(&more.features, &error) != HVTLFS_ERR_FEATURE_DEPENDENCY);
}

static void parse(const char *text, size_t size)
{
    struct hvtlfs_feature_list list, was, again;
    struct hvtlfs_error error = {.status = HVTLFS_OK};
    enum hvtlfs_status status;

    hvtlfs_feature_list_minimal(&list);
    was = list;
    again = list;
    status = hvtlfs_features_parse(&list, text, size, &error);
    if (status) {
        check_error(&error, status, size);
        CLAIM(!memcmp(&list, &was, sizeof(list)));
        return;
    }
    check_set(&list);
    CLAIM(!hvtlfs_features_parse(&again, text, size, NULL) && !memcmp(&list, &again, sizeof(list)));
}

static void paste(const char *text, size_t size)
{
    struct hvtlfs_pasted pasted;
    struct hvtlfs_error error = {.status = HVTLFS_OK};
    struct hvtlfs_cpuid_identity identity = {.cpuid_base = 0x40000000};
    enum hvtlfs_status status;

    memset(&pasted, 0xA5, sizeof(pasted));
    text_size = &size;
    status = hvtlfs_paste(text, size, &pasted, noted, NULL, &error);
    if (status) {
        check_error(&error, status, size);
        CLAIM(pasted.toggles == 0xA5A5A5A5);
        return;
    }
    CLAIM((unsigned)pasted.syntax <= HVTLFS_SYNTAX_XEN && memchr(pasted.vendor, 0, 13));
    check_set(&pasted.list);
    identity.features = pasted.list.features;
    identity.spin_count = pasted.list.spin_count;
    memcpy(identity.vendor, pasted.vendor, sizeof(identity.vendor));
    (void)hvtlfs_check_identity(&identity, HVTLFS_GUEST_ALL, found, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* A copy of exactly this size, so that ASan sees a step beyond the end. */
    char *text = malloc(size ? size : 1);

    CLAIM(text);
    memcpy(text, data, size);
    parse(text, size);
    paste(text, size);
    CLAIM(hvtlfs_profile_find(text, size) <= HVTLFS_PROFILE_COUNT);
    free(text);
    return 0;
}
