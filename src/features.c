/* SPDX-License-Identifier: MIT */
#include <hvtlfs/features.h>

#include "feature_rows.h"
#include "host.h"

#define WITH(id) FEATURE_BIT(id)
#define HOST(need) BIT32(HVTI_NEED_##need)
#define L3_EAX(n) {true, 3, HVTI_EAX, n}
#define L3_EBX(n) {true, 3, HVTI_EBX, n}
#define L3_EDX(n) {true, 3, HVTI_EDX, n}
#define L4_EAX(n) {true, 4, HVTI_EAX, n}
#define LA_EAX(n) {true, 10, HVTI_EAX, n}
#define NO_BIT {false, 0, 0, 0}
#define CPUID(...) {__VA_ARGS__}

const struct hvti_feature_row hvti_feature_rows[HVTLFS_FEATURE_COUNT] = {
#define FEATURE(id, name_, needs_, host_, cpuid_, summary_, clause_)                               \
    [HVTLFS_FEATURE_##id] = {.name = name_,                                                        \
                             .summary = summary_,                                                  \
                             .clause = clause_,                                                    \
                             .needs = needs_,                                                      \
                             .host = host_,                                                        \
                             .cpuid = cpuid_},
#include "features.def"
#undef FEATURE
};

/*
 * Names that stand for more than the feature of that name. QEMU's hv-tlbflush and hv-ipi announce
 * the Ex forms too, its hv-synic the two calls of VMBus, its hv-time both clocks. Turning such a
 * name off leaves alone what another feature may have brought.
 */
static const struct {
    const char *name;
    uint64_t on;
    uint64_t off;
} groups[] = {
    {"time", WITH(TIME_REF_COUNT) | WITH(REFERENCE_TSC),
     WITH(TIME_REF_COUNT) | WITH(REFERENCE_TSC)},
    {"synic", WITH(SYNIC) | WITH(POST_MESSAGES) | WITH(SIGNAL_EVENTS),
     WITH(SYNIC) | WITH(POST_MESSAGES) | WITH(SIGNAL_EVENTS)},
    {"tlbflush", WITH(TLBFLUSH) | WITH(EX_PROCESSOR_MASKS), WITH(TLBFLUSH)},
    {"ipi", WITH(IPI) | WITH(EX_PROCESSOR_MASKS), WITH(IPI)},
    {"enforce-cpuid", 0, 0}, /* always so here */
};

static bool is_feature(enum hvtlfs_feature feature)
{
    return (uint32_t)feature < HVTLFS_FEATURE_COUNT;
}

bool hvtlfs_features_has(const struct hvtlfs_features *set, enum hvtlfs_feature feature)
{
    return is_feature(feature) && (set->word[0] >> feature & 1);
}

void hvtlfs_features_add(struct hvtlfs_features *set, enum hvtlfs_feature feature)
{
    if (is_feature(feature)) {
        set->word[0] |= BIT64(feature);
    }
}

void hvtlfs_features_remove(struct hvtlfs_features *set, enum hvtlfs_feature feature)
{
    if (is_feature(feature)) {
        set->word[0] &= ~BIT64(feature);
    }
}

const char *hvtlfs_feature_name(enum hvtlfs_feature feature)
{
    return is_feature(feature) ? hvti_feature_rows[feature].name : NULL;
}

const char *hvtlfs_feature_summary(enum hvtlfs_feature feature)
{
    return is_feature(feature) ? hvti_feature_rows[feature].summary : NULL;
}

void hvtlfs_feature_list_minimal(struct hvtlfs_feature_list *list)
{
    memset(list, 0, sizeof(*list));
    list->features.word[0] = WITH(HYPERCALL) | WITH(VP_INDEX);
    list->spin_count = HVTLFS_SPINLOCKS_NEVER;
}

/* A stretch of the caller's text. */
struct slice {
    const char *start;
    size_t size;
};

static bool slice_is(struct slice slice, const char *word)
{
    size_t i;

    for (i = 0; i < slice.size && word[i]; i++) {
        /* QEMU's old spelling has underscores. */
        if (word[i] != (slice.start[i] == '_' ? '-' : slice.start[i])) {
            return false;
        }
    }
    return i == slice.size && !word[i];
}

static struct slice slice_trim(struct slice slice)
{
    while (slice.size && (slice.start[0] == ' ' || slice.start[0] == '\t')) {
        slice.start++;
        slice.size--;
    }
    while (slice.size && (slice.start[slice.size - 1] == ' ' || slice.start[slice.size - 1] == '\t')) {
        slice.size--;
    }
    return slice;
}

/* Cut at the first `separator`: the part before it is returned, the rest (without it) is left. */
static struct slice slice_cut(struct slice *rest, char separator)
{
    struct slice head = *rest;
    size_t i = 0;

    while (i < rest->size && rest->start[i] != separator) {
        i++;
    }
    head.size = i;
    i += i < rest->size;
    rest->start += i;
    rest->size -= i;
    return head;
}

static int digit_of(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 16;
}

static bool slice_to_u32(struct slice slice, uint32_t *value)
{
    int base = 10;
    uint64_t number = 0;
    size_t i;

    if (slice.size > 2 && slice.start[0] == '0' && (slice.start[1] | 0x20) == 'x') {
        base = 16;
        slice.start += 2;
        slice.size -= 2;
    }
    for (i = 0; i < slice.size; i++) {
        int digit = digit_of(slice.start[i]);

        if (digit >= base) {
            return false;
        }
        number = number * (uint32_t)base + (uint32_t)digit;
        if (number > UINT32_MAX) {
            return false;
        }
    }
    *value = (uint32_t)number;
    return slice.size > 0;
}

/* The features a name turns on and off. */
static bool find_name(struct slice name, uint64_t *on, uint64_t *off)
{
    size_t i;

    for (i = 0; i < ARRAY_LEN(groups); i++) {
        if (slice_is(name, groups[i].name)) {
            *on = groups[i].on;
            *off = groups[i].off;
            return true;
        }
    }
    for (i = 0; i < HVTLFS_FEATURE_COUNT; i++) {
        if (slice_is(name, hvti_feature_rows[i].name)) {
            *on = *off = BIT64(i);
            return true;
        }
    }
    return false;
}

static enum hvtlfs_status parse_item(struct hvtlfs_feature_list *list, struct slice item)
{
    struct slice value = item;
    struct slice name = slice_cut(&value, '=');
    bool has_value = name.size < item.size;
    uint64_t on, off;

    if (name.size > 3 && (slice_is((struct slice){name.start, 3}, "hv-"))) {
        name.start += 3;
        name.size -= 3;
    }
    if (!find_name(name, &on, &off)) {
        return HVTLFS_ERR_UNKNOWN_FEATURE;
    }
    if (has_value && slice_is(value, "off")) {
        list->features.word[0] &= ~off;
        return HVTLFS_OK;
    }
    if (has_value && !slice_is(value, "on") &&
        (on != WITH(SPINLOCKS) || !slice_to_u32(value, &list->spin_count))) {
        return HVTLFS_ERR_FEATURE_VALUE;
    }
    list->features.word[0] |= on;
    return HVTLFS_OK;
}

static enum hvtlfs_status fail(struct hvtlfs_error *error, struct hvtlfs_error what)
{
    if (error) {
        *error = what;
    }
    return what.status;
}

enum hvtlfs_status hvtlfs_features_parse(struct hvtlfs_feature_list *list, const char *text,
                                         size_t size, struct hvtlfs_error *error)
{
    struct slice rest = {text, size};
    struct hvtlfs_feature_list result;

    if (!list || (!text && size)) {
        return fail(error, (struct hvtlfs_error){.status = HVTLFS_ERR_ARGUMENT,
                                                 .feature = HVTLFS_FEATURE_COUNT,
                                                 .other = HVTLFS_FEATURE_COUNT});
    }
    result = *list;
    while (rest.size) {
        struct slice item = slice_trim(slice_cut(&rest, ','));
        enum hvtlfs_status status = item.size ? parse_item(&result, item) : HVTLFS_OK;

        if (status) {
            return fail(error, (struct hvtlfs_error){.status = status,
                                                     .feature = HVTLFS_FEATURE_COUNT,
                                                     .other = HVTLFS_FEATURE_COUNT,
                                                     .value = (uint64_t)(item.start - text),
                                                     .limit = item.size});
        }
    }
    *list = result;
    return HVTLFS_OK;
}

/* Requirements document p. 7: leaf 5 EAX = -1 obliges leaf 4 EAX bits 1 and 2 to be clear. */
static const struct {
    enum hvtlfs_feature feature, other;
} conflicts[] = {
    {HVTLFS_FEATURE_NO_VP_LIMIT, HVTLFS_FEATURE_TLBFLUSH},
    {HVTLFS_FEATURE_NO_VP_LIMIT, HVTLFS_FEATURE_TLBFLUSH_LOCAL},
};

enum hvtlfs_status hvtlfs_features_check(const struct hvtlfs_features *features,
                                         struct hvtlfs_error *error)
{
    uint64_t set, rest;
    size_t i;

    if (!features) {
        return fail(error, (struct hvtlfs_error){.status = HVTLFS_ERR_ARGUMENT,
                                                 .feature = HVTLFS_FEATURE_COUNT,
                                                 .other = HVTLFS_FEATURE_COUNT,
                                                 .name = "features"});
    }
    set = features->word[0];
    for (rest = set & (BIT64(HVTLFS_FEATURE_COUNT) - 1); rest; rest &= rest - 1) {
        uint32_t feature = lowest_bit(rest);
        uint64_t missing = hvti_feature_rows[feature].needs & ~set;

        if (missing) {
            return fail(error, (struct hvtlfs_error){.status = HVTLFS_ERR_FEATURE_DEPENDENCY,
                                                     .feature = feature,
                                                     .other = lowest_bit(missing)});
        }
    }
    for (i = 0; i < ARRAY_LEN(conflicts); i++) {
        if (hvti_mask_has(set, conflicts[i].feature) && hvti_mask_has(set, conflicts[i].other)) {
            return fail(error, (struct hvtlfs_error){.status = HVTLFS_ERR_FEATURE_CONFLICT,
                                                     .feature = conflicts[i].feature,
                                                     .other = conflicts[i].other});
        }
    }
    return HVTLFS_OK;
}

void hvtlfs_features_complete(struct hvtlfs_features *features)
{
    uint64_t before, rest;

    do {
        before = features->word[0];
        for (rest = before & (BIT64(HVTLFS_FEATURE_COUNT) - 1); rest; rest &= rest - 1) {
            features->word[0] |= hvti_feature_rows[lowest_bit(rest)].needs;
        }
    } while (features->word[0] != before);
}
