/* SPDX-License-Identifier: MIT */
#include <hvtlfs/features.h>
#include <hvtlfs/status.h>

#include "sentence.h"

/* Each status: what it means, and what to do about it. */
static const struct {
    const char *meaning;
    const char *remedy;
} rows[] = {
    [HVTLFS_OK] = {"success", NULL},
    [HVTLFS_ERR_ARGUMENT] = {"an argument is NULL or out of range", "pass a valid one"},
    [HVTLFS_ERR_STRUCT_SIZE] = {"a struct's size field is too small",
                                "set it to sizeof the struct (hvtlfs_config_init does)"},
    [HVTLFS_ERR_MEMORY_SIZE] = {"the memory for the partition is too small",
                                "ask hvtlfs_partition_size for this configuration"},
    [HVTLFS_ERR_MEMORY_ALIGNMENT] = {"the memory for the partition is misaligned",
                                     "align it to HVTLFS_PARTITION_ALIGNMENT (4096) bytes"},
    [HVTLFS_ERR_NO_CALLBACK] = {"a required callback is missing",
                                "set it in struct hvtlfs_host_ops"},
    [HVTLFS_ERR_VP_COUNT] = {"the number of VPs is out of range", "choose 1 to 4096"},
    [HVTLFS_ERR_VP_INDEX] = {"a VP index is out of range or given twice",
                             "give each VP an index of its own below 4096"},
    [HVTLFS_ERR_APIC_ID] = {"an APIC ID is given twice", "give each VP an APIC ID of its own"},
    [HVTLFS_ERR_UNKNOWN_FEATURE] = {"no feature has this name",
                                    "see `hvtlfs features` for those that exist"},
    [HVTLFS_ERR_FEATURE_VALUE] = {"a feature's value is malformed",
                                  "use on, off or, for spinlocks, a 32-bit number"},
    [HVTLFS_ERR_FEATURE_DEPENDENCY] = {"a feature needs another that is off", NULL},
    [HVTLFS_ERR_FEATURE_CONFLICT] = {"two features exclude each other", NULL},
    [HVTLFS_ERR_TRAP] = {"the hypercall page's trap is unknown or its code is not 1 to 16 bytes",
                         "give trap_code and trap_size with HVTLFS_TRAP_CUSTOM"},
    [HVTLFS_ERR_GPA_BITS] = {"the guest physical address width is out of range", "choose 32 to 52"},
    [HVTLFS_ERR_VENDOR] = {"the vendor string is longer than 12 characters", "shorten it"},
    [HVTLFS_ERR_CPUID_BASE] = {"the CPUID leaf base is not a hypervisor range",
                               "choose 0x40000000 + n * 0x100 below 0x40010000"},
    [HVTLFS_ERR_ORDER] = {"the call does not fit the partition's present state",
                          "follow the order of calls in the function's description"},
    [HVTLFS_ERR_HOST] = {"a callback of the host failed", NULL},
    [HVTLFS_ERR_UNAVAILABLE] = {"the feature this call belongs to is off", "enable it at init"},
    [HVTLFS_ERR_FULL] = {"a bounded table or queue is full", NULL},
    [HVTLFS_ERR_NOT_FOUND] = {"the named object does not exist", NULL},
    [HVTLFS_ERR_EXISTS] = {"the object exists already", NULL},
    [HVTLFS_ERR_STATE_FORMAT] = {"the saved state is damaged or not a saved state", NULL},
    [HVTLFS_ERR_STATE_VERSION] = {"the saved state comes from a later version",
                                  "load it with that version or a newer one"},
    [HVTLFS_ERR_STATE_INCOMPATIBLE] = {"the saved state does not fit this partition", NULL},
    [HVTLFS_ERR_TSC_RATE] = {"the TSC rate is not above 10 MHz, so no scale exists", NULL},
    [HVTLFS_ERR_HOST_CALL] = {"an entry of the host's own hypercalls cannot be used",
                              "see struct hvtlfs_call_handler for codes and sizes"},
};

const char *hvtlfs_strerror(enum hvtlfs_status status)
{
    return (uint32_t)status < ARRAY_LEN(rows) ? rows[status].meaning : "unknown status";
}

static void add_feature(struct sentence *text, uint32_t feature)
{
    sentence_add(text, "hv-");
    sentence_add(text, hvtlfs_feature_name((enum hvtlfs_feature)feature));
}

/* hv-stimer needs hv-synic, which is off: add hv-synic to the features */
static void add_dependency(struct sentence *text, const struct hvtlfs_error *error)
{
    add_feature(text, error->feature);
    sentence_add(text, " needs ");
    add_feature(text, error->other);
    sentence_add(text, ", which is off: add ");
    add_feature(text, error->other);
    sentence_add(text, " or remove ");
    add_feature(text, error->feature);
}

static void add_conflict(struct sentence *text, const struct hvtlfs_error *error)
{
    add_feature(text, error->feature);
    sentence_add(text, " and ");
    add_feature(text, error->other);
    sentence_add(text, " exclude each other");
    if (error->feature == HVTLFS_FEATURE_NO_VP_LIMIT) {
        sentence_add(text,
                     " (leaf 5 EAX = -1 obliges leaf 4 EAX bits 1 and 2 to be clear, requirements "
                     "document p. 7)");
    }
    sentence_add(text, ": remove one of them");
}

/* Of a text, `value` and `limit` are a place in it, which says nothing in a sentence. */
static bool has_numbers(const struct hvtlfs_error *error)
{
    return error->status != HVTLFS_ERR_UNKNOWN_FEATURE &&
           error->status != HVTLFS_ERR_FEATURE_VALUE && error->status != HVTLFS_ERR_VENDOR &&
           (error->value || error->limit);
}

static void add_general(struct sentence *text, const struct hvtlfs_error *error)
{
    sentence_add(text, hvtlfs_strerror(error->status));
    if (error->name) {
        sentence_add(text, " (");
        sentence_add(text, error->name);
        sentence_add(text, ")");
    }
    if (error->feature < HVTLFS_FEATURE_COUNT) {
        sentence_add(text, ": ");
        sentence_add(text, hvtlfs_feature_name((enum hvtlfs_feature)error->feature));
    }
    if (has_numbers(error)) {
        sentence_add(text, ": ");
        sentence_number(text, error->value);
    }
    if (has_numbers(error) && error->limit) {
        sentence_add(text, ", bound ");
        sentence_number(text, error->limit);
    }
    if ((uint32_t)error->status < ARRAY_LEN(rows) && rows[error->status].remedy) {
        sentence_add(text, "; ");
        sentence_add(text, rows[error->status].remedy);
    }
}

size_t hvtlfs_error_text(const struct hvtlfs_error *error, char *buffer, size_t size)
{
    struct sentence text = {buffer, size, 0};
    bool two_features =
        error->feature < HVTLFS_FEATURE_COUNT && error->other < HVTLFS_FEATURE_COUNT;

    if (error->status == HVTLFS_ERR_FEATURE_DEPENDENCY && two_features) {
        add_dependency(&text, error);
    } else if (error->status == HVTLFS_ERR_FEATURE_CONFLICT && two_features) {
        add_conflict(&text, error);
    } else {
        add_general(&text, error);
    }
    return sentence_end(&text);
}
