/* SPDX-License-Identifier: MIT */
#include <hvtlfs/profiles.h>

#include "util.h"

/* ---- Guests, as masks of profiles ---- */

#define IS(id) BIT32(HVTLFS_PROFILE_##id)
#define ALL (BIT32(HVTLFS_PROFILE_COUNT) - 1)
#define WINDOWS_OLD (IS(WINDOWS_7) | IS(WINDOWS_SERVER_2008R2))
#define WINDOWS_10_ON                                                                              \
    (IS(WINDOWS_10) | IS(WINDOWS_11) | IS(WINDOWS_SERVER_2016) | IS(WINDOWS_SERVER_2022) |         \
     IS(NESTED))
#define WINDOWS_8_ON (IS(WINDOWS_SERVER_2012) | WINDOWS_10_ON)
#define WINDOWS (WINDOWS_OLD | WINDOWS_8_ON)
#define OTHERS (ALL & ~WINDOWS)
#define NOT_MINIMAL (ALL & ~IS(MINIMAL))
#define NOT_NESTED (ALL & ~IS(NESTED))
#define NOT_WINDOWS_10_ON (ALL & ~WINDOWS_10_ON)

/* ---- Settings ---- */

enum setting {
    SETTING_NONE,
    SETTING_SPIN_COUNT,
    SETTING_FLUSH_MASK_0,
    SETTING_VENDOR,
};

#define ALL_VPS 1
#define OWN_NAME 1

/* Not the name of any hypervisor that a guest looks for. */
static const char own_name[] = "libhvtlfs";

static const struct {
    const char *name;
    const char *value;
} settings[] = {
    [SETTING_SPIN_COUNT] = {"spinlocks", "0xfff"},
    [SETTING_FLUSH_MASK_0] = {"flush-mask-0", "all"},
    [SETTING_VENDOR] = {"vendor", own_name},
};

/* ---- The table ---- */

struct row {
    uint32_t guests;
    uint8_t kind;
    uint8_t feature; /* HVTLFS_FEATURE_COUNT for a setting */
    uint8_t setting;
    uint32_t value;
    const char *reason;
    const char *source;
};

#define PROFILE(id, name, summary)
#define GIVE(guests, feature, reason, source)                                                      \
    {guests, HVTLFS_PROFILE_GIVES, HVTLFS_FEATURE_##feature, SETTING_NONE, 0, reason, source},
#define LEAVE(guests, feature, reason, source)                                                     \
    {guests, HVTLFS_PROFILE_LEAVES, HVTLFS_FEATURE_##feature, SETTING_NONE, 0, reason, source},
#define SET(guests, setting, value, reason, source)                                                \
    {guests, HVTLFS_PROFILE_SETS, HVTLFS_FEATURE_COUNT, SETTING_##setting, value, reason, source},
static const struct row rows[] = {
#include "profiles.def"
};
#undef PROFILE
#undef GIVE
#undef LEAVE
#undef SET

#define PROFILE(id, name_, summary_) [HVTLFS_PROFILE_##id] = {name_, summary_},
#define GIVE(guests, feature, reason, source)
#define LEAVE(guests, feature, reason, source)
#define SET(guests, setting, value, reason, source)
static const struct {
    const char *name;
    const char *summary;
} profiles[HVTLFS_PROFILE_COUNT] = {
#include "profiles.def"
};

static bool is_profile(enum hvtlfs_profile profile)
{
    return (uint32_t)profile < HVTLFS_PROFILE_COUNT;
}

const char *hvtlfs_profile_name(enum hvtlfs_profile profile)
{
    return is_profile(profile) ? profiles[profile].name : NULL;
}

const char *hvtlfs_profile_summary(enum hvtlfs_profile profile)
{
    return is_profile(profile) ? profiles[profile].summary : NULL;
}

static bool same(const char *name, size_t size, const char *word)
{
    size_t i;

    for (i = 0; i < size && word[i] == name[i]; i++) {
        if (!word[i]) {
            return false;
        }
    }
    return i == size && !word[i];
}

enum hvtlfs_profile hvtlfs_profile_find(const char *name, size_t size)
{
    uint32_t i;

    for (i = 0; i < HVTLFS_PROFILE_COUNT; i++) {
        if (same(name, size, profiles[i].name)) {
            return (enum hvtlfs_profile)i;
        }
    }
    return HVTLFS_PROFILE_COUNT;
}

/* Row i of those that concern the profile. */
static const struct row *nth_row(enum hvtlfs_profile profile, size_t i)
{
    size_t at;

    if (!is_profile(profile)) {
        return NULL;
    }
    for (at = 0; at < ARRAY_LEN(rows); at++) {
        if ((rows[at].guests & BIT32(profile)) && !i--) {
            return &rows[at];
        }
    }
    return NULL;
}

bool hvtlfs_profile_row(enum hvtlfs_profile profile, size_t i, struct hvtlfs_profile_decision *row)
{
    const struct row *found = nth_row(profile, i);
    bool setting = found && found->kind == HVTLFS_PROFILE_SETS;

    if (!found) {
        return false;
    }
    *row = (struct hvtlfs_profile_decision){
        .kind = (enum hvtlfs_profile_kind)found->kind,
        .feature = (enum hvtlfs_feature)found->feature,
        .name = setting ? settings[found->setting].name
                        : hvtlfs_feature_name((enum hvtlfs_feature)found->feature),
        .value = setting ? settings[found->setting].value : NULL,
        .reason = found->reason,
        .source = found->source,
    };
    return true;
}

static const struct row *find_setting(enum hvtlfs_profile profile, enum setting setting)
{
    const struct row *row;
    size_t i;

    for (i = 0; (row = nth_row(profile, i)) != NULL; i++) {
        if (row->kind == HVTLFS_PROFILE_SETS && row->setting == setting) {
            return row;
        }
    }
    return NULL;
}

void hvtlfs_profile_features(enum hvtlfs_profile profile, struct hvtlfs_feature_list *list)
{
    const struct row *row;
    size_t i;

    hvtlfs_feature_list_minimal(list);
    for (i = 0; (row = nth_row(profile, i)) != NULL; i++) {
        if (row->kind == HVTLFS_PROFILE_GIVES) {
            hvtlfs_features_add(&list->features, (enum hvtlfs_feature)row->feature);
        }
    }
    row = find_setting(profile, SETTING_SPIN_COUNT);
    if (row) {
        list->spin_count = row->value;
    }
}

enum hvtlfs_status hvtlfs_profile_apply(enum hvtlfs_profile profile, struct hvtlfs_config *config)
{
    struct hvtlfs_feature_list list;

    if (!config || !is_profile(profile)) {
        return HVTLFS_ERR_ARGUMENT;
    }
    if (config->size < offsetof(struct hvtlfs_config, policy) + sizeof(config->policy)) {
        return HVTLFS_ERR_STRUCT_SIZE;
    }
    hvtlfs_profile_features(profile, &list);
    config->features = list.features;
    config->spin_count = list.spin_count;
    if (find_setting(profile, SETTING_FLUSH_MASK_0)) {
        config->policy |= HVTLFS_POLICY_FLUSH_MASK_0_IS_ALL;
    }
    if (find_setting(profile, SETTING_VENDOR)) {
        memset(config->vendor, 0, sizeof(config->vendor));
        memcpy(config->vendor, own_name, sizeof(own_name));
    }
    return HVTLFS_OK;
}
