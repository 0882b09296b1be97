/* SPDX-License-Identifier: MIT */
/* The first line of a script. Each option is one row and one function. */
#include "replay.h"

#include <stdlib.h>
#include <string.h>

#include "tool.h"

/* What the options say, before anything is made of it. */
struct settings {
    struct model_host_options host;
    struct hvtlfs_config config;
    const char *features;
    bool queue_flushes;
};

struct option {
    const char *name;
    const char *expected; /* what the value may be */
    bool (*set)(struct settings *settings, const char *value);
};

/* ---- Values ---- */

static bool whole_number(const char *value, uint64_t max, uint64_t *number)
{
    return number_parse(value, strlen(value), number) && *number <= max;
}

static bool number32(const char *value, uint32_t *number)
{
    uint64_t wide;
    bool fits = whole_number(value, UINT32_MAX, &wide);
    *number = fits ? (uint32_t)wide : 0;
    return fits;
}

/* One of two words; *second tells which. */
static bool choice(const char *value, const char *first, const char *other, bool *second)
{
    *second = strcmp(value, other) == 0;
    return *second || strcmp(value, first) == 0;
}

/* ---- Options ---- */

static bool set_vps(struct settings *settings, const char *value)
{
    return number32(value, &settings->config.vp_count);
}

static bool set_tsc_hz(struct settings *settings, const char *value)
{
    return whole_number(value, UINT64_MAX, &settings->host.tsc_hz);
}

static bool set_tsc(struct settings *settings, const char *value)
{
    return whole_number(value, UINT64_MAX, &settings->host.tsc);
}

static bool set_apic_hz(struct settings *settings, const char *value)
{
    return whole_number(value, UINT64_MAX, &settings->config.apic_hz);
}

static bool set_invariant_tsc(struct settings *settings, const char *value)
{
    return choice(value, "no", "yes", &settings->config.invariant_tsc);
}

static bool set_features(struct settings *settings, const char *value)
{
    settings->features = value;
    return true;
}

/* Done before all other options, so that they add to it wherever they stand. */
static bool set_profile(struct settings *settings, const char *value)
{
    (void)settings;
    (void)value;
    return true;
}

static bool set_ram(struct settings *settings, const char *value)
{
    return size_parse(value, &settings->host.ram_size) &&
           settings->host.ram_size % HVTLFS_PAGE_SIZE == 0;
}

static bool set_phys_bits(struct settings *settings, const char *value)
{
    return number32(value, &settings->config.gpa_bits);
}

static bool set_overlays(struct settings *settings, const char *value)
{
    return choice(value, "host", "copy", &settings->host.copies_overlays);
}

static bool set_vendor(struct settings *settings, const char *value)
{
    size_t size = strlen(value);
    if (size >= sizeof(settings->config.vendor)) {
        return false;
    }
    memset(settings->config.vendor, 0, sizeof(settings->config.vendor));
    memcpy(settings->config.vendor, value, size);
    return true;
}

static bool set_cpuid_base(struct settings *settings, const char *value)
{
    return number32(value, &settings->config.cpuid_base);
}

static bool set_max_vps(struct settings *settings, const char *value)
{
    return number32(value, &settings->config.max_vps);
}

static bool set_max_lps(struct settings *settings, const char *value)
{
    return number32(value, &settings->config.max_lps);
}

static bool set_policy(struct settings *settings, bool on, uint32_t bit)
{
    settings->config.policy = on ? settings->config.policy | bit : settings->config.policy & ~bit;
    return true;
}

static bool set_locked_write(struct settings *settings, const char *value)
{
    bool ignored;
    return choice(value, "fault", "ignore", &ignored) &&
           set_policy(settings, ignored, HVTLFS_POLICY_LOCKED_WRITE_IGNORED);
}

static bool set_flush_mask_0(struct settings *settings, const char *value)
{
    bool all;
    return choice(value, "none", "all", &all) &&
           set_policy(settings, all, HVTLFS_POLICY_FLUSH_MASK_0_IS_ALL);
}

static bool set_flushes(struct settings *settings, const char *value)
{
    return choice(value, "now", "queued", &settings->queue_flushes);
}

static bool set_reps(struct settings *settings, const char *value)
{
    return number32(value, &settings->config.hypercall_reps);
}

static bool set_trap_code(struct settings *settings, const char *digits)
{
    size_t size;
    struct hvtlfs_config *config = &settings->config;
    bool valid =
        hex_parse(digits, strlen(digits), config->trap_code, sizeof(config->trap_code), &size);
    config->trap = HVTLFS_TRAP_CUSTOM;
    config->trap_size = valid ? (uint32_t)size : 0;
    return valid;
}

static bool set_trap(struct settings *settings, const char *value)
{
    static const char *const names[] = {[HVTLFS_TRAP_NONE] = "none",
                                        [HVTLFS_TRAP_VMCALL] = "vmcall",
                                        [HVTLFS_TRAP_VMMCALL] = "vmmcall"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(value, names[i]) == 0) {
            settings->config.trap = (enum hvtlfs_trap)i;
            return true;
        }
    }
    return strncmp(value, "code:", 5) == 0 && set_trap_code(settings, value + 5);
}

static const struct option options[] = {
    {"vps", "a number", set_vps},
    {"tsc-hz", "a number", set_tsc_hz},
    {"tsc", "a number", set_tsc},
    {"features", "a feature list", set_features},
    {"profile", "a profile", set_profile},
    {"trap", "none, vmcall, vmmcall or code:HEX (1 to 16 bytes)", set_trap},
    {"ram", "a multiple of 4096, such as 16M", set_ram},
    {"invariant-tsc", "yes or no", set_invariant_tsc},
    {"phys-bits", "a number", set_phys_bits},
    {"overlays", "host or copy", set_overlays},
    {"apic-hz", "a number", set_apic_hz},
    {"vendor", "at most 12 characters", set_vendor},
    {"cpuid-base", "a number", set_cpuid_base},
    {"max-vps", "a number", set_max_vps},
    {"max-lps", "a number", set_max_lps},
    {"locked-write", "fault or ignore", set_locked_write},
    {"flush-mask-0", "all or none", set_flush_mask_0},
    {"flushes", "now or queued", set_flushes},
    {"hypercall-reps", "a number", set_reps},
};

#define OPTIONS (sizeof(options) / sizeof(options[0]))

/* ---- The line ---- */

static const struct option *find_option(const char *word, size_t size)
{
    for (size_t i = 0; i < OPTIONS; i++) {
        if (strlen(options[i].name) == size && memcmp(options[i].name, word, size) == 0) {
            return &options[i];
        }
    }
    return NULL;
}

static bool unknown_option(struct replay *replay, const char *word, size_t size)
{
    struct nearest nearest;
    char name[64] = "";
    char suggestion[100];
    struct text known = {0};
    memcpy(name, word, size < sizeof(name) ? size : sizeof(name) - 1);
    nearest_begin(&nearest, name);
    for (size_t i = 0; i < OPTIONS; i++) {
        nearest_offer(&nearest, options[i].name);
        text_add(&known, "%s%s=", i > 0 ? " " : "", options[i].name);
    }
    (void)replay_expected(replay, "expected an option of 'partition', got '%s'%s; known: %s", name,
                          tool_suggestion(nearest_answer(&nearest), suggestion, sizeof(suggestion)),
                          text_string(&known));
    text_free(&known);
    return false;
}

static bool read_options(struct replay *replay, struct settings *settings, size_t count,
                         char **words)
{
    uint32_t seen = 0;
    for (size_t i = 0; i < count; i++) {
        const char *equals = strchr(words[i], '=');
        size_t size = equals != NULL ? (size_t)(equals - words[i]) : strlen(words[i]);
        const struct option *option = find_option(words[i], size);
        if (option == NULL) {
            return unknown_option(replay, words[i], size);
        }
        uint32_t bit = UINT32_C(1) << (option - options);
        if (equals == NULL || !option->set(settings, equals + 1)) {
            return replay_expected(replay, "expected %s after '%s=', got '%s'", option->expected,
                                   option->name, equals != NULL ? equals + 1 : "");
        }
        if ((seen & bit) != 0) {
            return replay_expected(replay, "expected '%s=' only once", option->name);
        }
        seen |= bit;
    }
    return true;
}

static bool start_from_profile(struct replay *replay, struct settings *settings, size_t count,
                               char **words)
{
    static const char option[] = "profile=";
    struct text message = {0};
    bool done = true;
    for (size_t i = 0; done && i < count; i++) {
        if (strncmp(words[i], option, strlen(option)) == 0 &&
            !tool_profile(words[i] + strlen(option), &settings->config, &message)) {
            done = replay_expected(replay, "expected a profile: %s", text_string(&message));
        }
    }
    text_free(&message);
    return done;
}

static bool choose_features(struct replay *replay, struct settings *settings)
{
    struct hvtlfs_feature_list list = {settings->config.features, settings->config.spin_count};
    struct text message = {0};
    bool done = true;
    if (settings->features != NULL && !tool_features(settings->features, &list, &message)) {
        done = replay_expected(replay, "expected a feature list: %s", text_string(&message));
    }
    text_free(&message);
    settings->config.features = list.features;
    settings->config.spin_count = list.spin_count;
    return done;
}

static bool create(struct replay *replay, struct settings *settings)
{
    struct hvtlfs_error error = {0};
    char sentence[400];
    replay->host = model_host_create(&settings->host);
    replay->vps = calloc(settings->config.vp_count + 1u, sizeof(*replay->vps));
    if (replay->host == NULL || replay->vps == NULL) {
        return replay_expected(replay, "there is not enough memory for this partition");
    }
    replay->vp_count = settings->config.vp_count;
    model_host_configure(replay->host, &settings->config);
    if (settings->queue_flushes) {
        model_host_queue_flushes(&settings->config.ops);
    }
    if (model_host_partition(replay->host, &settings->config, &replay->partition, &error) !=
        HVTLFS_OK) {
        (void)hvtlfs_error_text(&error, sentence, sizeof(sentence));
        return replay_expected(replay, "%s", sentence);
    }
    replay->config = settings->config;
    text_add(&replay->result, "ok");
    return true;
}

bool replay_partition(struct replay *replay, size_t count, char **words)
{
    struct settings settings = {0};
    model_host_options_init(&settings.host);
    hvtlfs_config_init(&settings.config);
    settings.config.trap = HVTLFS_TRAP_VMCALL;
    settings.config.invariant_tsc = true;
    settings.config.apic_hz = 1000000000;
    return start_from_profile(replay, &settings, count, words) &&
           read_options(replay, &settings, count, words) && choose_features(replay, &settings) &&
           create(replay, &settings);
}
