/* SPDX-License-Identifier: MIT */
/**
 * @file profiles.h
 * Which enlightenments suit which guest, and why.
 *
 * A profile is data: `src/profiles.def` says for every feature whether the guest gets it, for what
 * reason and who says so. Nothing here needs a partition.
 *
 * Everything is a pure function over constant data: any thread, any time.
 */
#ifndef HVTLFS_PROFILES_H
#define HVTLFS_PROFILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hvtlfs/export.h>
#include <hvtlfs/features.h>
#include <hvtlfs/partition.h>

HVTLFS_BEGIN_DECLS

/** The guests that there is a profile for. */
enum hvtlfs_profile {
    HVTLFS_PROFILE_MINIMAL,               /**< minimal */
    HVTLFS_PROFILE_WINDOWS_7,             /**< windows-7 */
    HVTLFS_PROFILE_WINDOWS_10,            /**< windows-10 */
    HVTLFS_PROFILE_WINDOWS_11,            /**< windows-11 */
    HVTLFS_PROFILE_WINDOWS_SERVER_2008R2, /**< windows-server-2008r2 */
    HVTLFS_PROFILE_WINDOWS_SERVER_2012,   /**< windows-server-2012 */
    HVTLFS_PROFILE_WINDOWS_SERVER_2016,   /**< windows-server-2016 */
    HVTLFS_PROFILE_WINDOWS_SERVER_2022,   /**< windows-server-2022 */
    HVTLFS_PROFILE_LINUX,                 /**< linux */
    HVTLFS_PROFILE_FREEBSD,               /**< freebsd: also for illumos and for unknown guests */
    HVTLFS_PROFILE_NESTED,                /**< nested: Windows with Hyper-V or VBS inside */

    HVTLFS_PROFILE_COUNT /**< Number of profiles. */
};

/** What a row of a profile is about. */
enum hvtlfs_profile_kind {
    HVTLFS_PROFILE_GIVES = 0,  /**< The guest gets the feature. */
    HVTLFS_PROFILE_LEAVES = 1, /**< The guest does not get it. */
    HVTLFS_PROFILE_SETS = 2,   /**< A value of the configuration. */
};

/** One decision of a profile. The strings are static. */
struct hvtlfs_profile_decision {
    enum hvtlfs_profile_kind kind; /**< Which of the next members count. */
    enum hvtlfs_feature feature;   /**< The feature; #HVTLFS_FEATURE_COUNT for a setting. */
    const char *name;              /**< The feature's or the setting's name. */
    const char *value;             /**< A setting's value as text; NULL for a feature. */
    const char *reason;            /**< Why, one English phrase. */
    const char *source;            /**< Who says so. */
};

/** The name of a profile, such as "windows-10"; NULL when @p profile is no profile. */
HVTLFS_API const char *hvtlfs_profile_name(enum hvtlfs_profile profile);

/** Which guests it is for, in one English phrase; NULL when @p profile is no profile. */
HVTLFS_API const char *hvtlfs_profile_summary(enum hvtlfs_profile profile);

/**
 * Find a profile by its name.
 *
 * @param name need not be NUL-terminated
 * @param size its length in bytes
 * @return the profile, or #HVTLFS_PROFILE_COUNT if none has that name
 */
HVTLFS_API enum hvtlfs_profile hvtlfs_profile_find(const char *name, size_t size);

/**
 * One decision of a profile.
 *
 * Every feature has exactly one row in every profile: it is either given or left out for a reason.
 *
 * @param profile the profile
 * @param i       0, 1, 2, ...
 * @param row     filled on success
 * @return false beyond the last row, or when @p profile is no profile
 */
HVTLFS_API bool hvtlfs_profile_row(enum hvtlfs_profile profile, size_t i,
                                   struct hvtlfs_profile_decision *row);

/**
 * The features of a profile and the values they carry.
 *
 * @param profile the profile; what is none gives the minimal list
 * @param list    overwritten
 */
HVTLFS_API void hvtlfs_profile_features(enum hvtlfs_profile profile,
                                        struct hvtlfs_feature_list *list);

/**
 * Put a profile into a configuration: features, spin count, vendor and policy. Everything else
 * stays. Members beyond config->size are not touched.
 *
 * @param profile the profile
 * @param config  initialised with hvtlfs_config_init(); changed
 * @return #HVTLFS_OK; #HVTLFS_ERR_ARGUMENT if @p profile is no profile or @p config is NULL;
 *         #HVTLFS_ERR_STRUCT_SIZE
 */
HVTLFS_API enum hvtlfs_status hvtlfs_profile_apply(enum hvtlfs_profile profile,
                                                   struct hvtlfs_config *config);

HVTLFS_END_DECLS

#endif
