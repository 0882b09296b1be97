/* SPDX-License-Identifier: MIT */
#include <hvtlfs/features.h>

#include "feature_rows.h"
#include "host.h"
#include "slice.h"

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
/* NOLINTBEGIN(bugprone-macro-parentheses): one argument is a list in braces */
#define FEATURE(id, name_, needs_, host_, cpuid_, summary_, clause_)                               \
    [HVTLFS_FEATURE_##id] = {.name = name_,                                                        \
                             .summary = summary_,                                                  \
                             .clause = clause_,                                                    \
                             .needs = needs_,                                                      \
                             .host = host_,                                                        \
                             .cpuid = cpuid_},
#include "features.def"
#undef FEATURE
    /* NOLINTEND(bugprone-macro-parentheses) */
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
    {"apicv", WITH(DEPRECATE_AUTO_EOI), WITH(DEPRECATE_AUTO_EOI)}, /* QEMU's other name of hv-avic */
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

const char *hvtlfs_feature_clause(enum hvtlfs_feature feature)
{
    return is_feature(feature) ? hvti_feature_rows[feature].clause : NULL;
}

struct hvtlfs_features hvtlfs_feature_needs(enum hvtlfs_feature feature)
{
    return (struct hvtlfs_features){{is_feature(feature) ? hvti_feature_rows[feature].needs : 0, 0}};
}

bool hvtlfs_feature_cpuid_bit(enum hvtlfs_feature feature, size_t i, struct hvtlfs_cpuid_bit *bit)
{
    const struct hvti_cpuid_bit *bits = is_feature(feature) ? hvti_feature_rows[feature].cpuid : NULL;

    if (!bits || i >= ARRAY_LEN(hvti_feature_rows[feature].cpuid) || !bits[i].used) {
        return false;
    }
    *bit = (struct hvtlfs_cpuid_bit){UINT32_C(0x40000000) + bits[i].leaf, bits[i].reg, bits[i].bit};
    return true;
}

const char *hvtlfs_feature_host_need(enum hvtlfs_feature feature, size_t i)
{
    uint32_t needs = is_feature(feature) ? hvti_feature_rows[feature].host : 0;

    for (; needs; needs &= needs - 1) {
        if (!i--) {
            return hvti_need_reason((enum hvti_need)lowest_bit(needs));
        }
    }
    return NULL;
}

void hvtlfs_feature_list_minimal(struct hvtlfs_feature_list *list)
{
    memset(list, 0, sizeof(*list));
    list->features.word[0] = WITH(HYPERCALL) | WITH(VP_INDEX);
    list->spin_count = HVTLFS_SPINLOCKS_NEVER;
}

/* The features a name turns on and off. */
/*@ requires readable(name) && \valid(on) && \valid(off);
    assigns *on, *off; */
static bool find_name(struct slice name, uint64_t *on, uint64_t *off)
{
    size_t i;

    /*@ loop invariant 0 <= i <= 6;
        loop assigns i;
        loop variant 6 - i; */
    for (i = 0; i < ARRAY_LEN(groups); i++) {
        /*@ admit \object_pointer(groups[i].name); */
        if (slice_is(name, groups[i].name)) {
            *on = groups[i].on;
            *off = groups[i].off;
            return true;
        }
    }
    /*@ loop invariant 0 <= i <= HVTLFS_FEATURE_COUNT;
        loop assigns i;
        loop variant HVTLFS_FEATURE_COUNT - i; */
    for (i = 0; i < HVTLFS_FEATURE_COUNT; i++) {
        /*@ admit \object_pointer(hvti_feature_rows[i].name); */
        if (slice_is(name, hvti_feature_rows[i].name)) {
            *on = *off = BIT64(i);
            return true;
        }
    }
    return false;
}

/*@ requires readable(item) && \valid(list);
    assigns *list; */
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

/*@ requires error == \null || \valid(error);
    assigns *error;
    ensures \result == what.status; */
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
    /*@ loop invariant readable(rest) && \base_addr(rest.start) == \base_addr(text);
        loop assigns rest, result;
        loop variant rest.size; */
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
