/* SPDX-License-Identifier: MIT */
/* hvtlfs check: what is wrong with a set of enlightenments, and what guests do with it. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hvtlfs/check.h>
#include <hvtlfs/paste.h>
#include <hvtlfs/profiles.h>

#include "text.h"
#include "tool.h"

#define LEAVES_MAX 4096u

struct check {
    const struct tool_verb *verb;
    bool fix;
    bool as_json;
    bool notes; /* show them */
    uint32_t guests;
    const char *pasted; /* the text that notes refer to */
    struct json json;
    struct hvtlfs_check_result result;
};

/* ---- Findings ---- */

static const char *severity_name(enum hvtlfs_severity severity)
{
    static const char *const names[] = {[HVTLFS_SEVERITY_NOTE] = "note",
                                        [HVTLFS_SEVERITY_WARNING] = "warning",
                                        [HVTLFS_SEVERITY_ERROR] = "error"};
    return names[severity];
}

static const struct {
    uint32_t bit;
    const char *name;
} guests[] = {
    {HVTLFS_GUEST_WINDOWS, "windows"},
    {HVTLFS_GUEST_LINUX, "linux"},
    {HVTLFS_GUEST_FREEBSD, "freebsd"},
};

#define GUESTS (sizeof(guests) / sizeof(guests[0]))

static void finding_json(struct json *json, const struct hvtlfs_finding *finding,
                         const char *sentence)
{
    json_open(json, NULL, '{');
    json_string(json, "code", finding->code);
    json_string(json, "severity", severity_name(finding->severity));
    json_open(json, "guests", '[');
    for (size_t i = 0; i < GUESTS; i++) {
        if ((finding->guests & guests[i].bit) != 0) {
            json_string(json, NULL, guests[i].name);
        }
    }
    json_close(json, ']');
    if (finding->feature < HVTLFS_FEATURE_COUNT) {
        json_string(json, "feature", hvtlfs_feature_name(finding->feature));
    }
    if (finding->other < HVTLFS_FEATURE_COUNT) {
        json_string(json, "missing", hvtlfs_feature_name(finding->other));
    }
    json_string(json, "sentence", sentence);
    json_string(json, "source", finding->source);
    json_close(json, '}');
}

static void finding_text(const struct hvtlfs_finding *finding, const char *sentence)
{
    printf("%-8s %s:", severity_name(finding->severity), finding->code);
    for (size_t i = 0; i < GUESTS && finding->guests != HVTLFS_GUEST_ALL; i++) {
        if ((finding->guests & guests[i].bit) != 0) {
            printf(" (%s)", guests[i].name);
        }
    }
    printf(" %s\n         [%s]\n", sentence, finding->source);
}

static void show_finding(void *context, const struct hvtlfs_finding *finding)
{
    struct check *check = context;
    char sentence[600];
    if (finding->severity == HVTLFS_SEVERITY_NOTE && !check->notes) {
        return;
    }
    (void)hvtlfs_finding_text(finding, sentence, sizeof(sentence));
    if (check->as_json) {
        finding_json(&check->json, finding, sentence);
    } else {
        finding_text(finding, sentence);
    }
}

static void show_paste_note(void *context, size_t offset, size_t size, const char *note)
{
    const struct check *check = context;
    fprintf(stderr, "hvtlfs check: note: '%.*s': %s\n", (int)size, check->pasted + offset, note);
}

/* ---- What to check ---- */

static void show_list(const struct hvtlfs_feature_list *list)
{
    const char *comma = "";
    for (int i = 0; i < HVTLFS_FEATURE_COUNT; i++) {
        if (!hvtlfs_features_has(&list->features, (enum hvtlfs_feature)i)) {
            continue;
        }
        printf("%shv-%s", comma, hvtlfs_feature_name((enum hvtlfs_feature)i));
        if (i == HVTLFS_FEATURE_SPINLOCKS && list->spin_count != HVTLFS_SPINLOCKS_NEVER) {
            printf("=0x%" PRIx32, list->spin_count);
        }
        comma = ",";
    }
    putchar('\n');
}

static void add_list_json(struct json *json, const struct hvtlfs_feature_list *list)
{
    json_open(json, "features", '[');
    for (int i = 0; i < HVTLFS_FEATURE_COUNT; i++) {
        if (hvtlfs_features_has(&list->features, (enum hvtlfs_feature)i)) {
            json_string(json, NULL, hvtlfs_feature_name((enum hvtlfs_feature)i));
        }
    }
    json_close(json, ']');
}

/* hypercall and vpindex are obligatory; the rest follows from what is there. */
static void fix(struct hvtlfs_feature_list *list)
{
    hvtlfs_features_add(&list->features, HVTLFS_FEATURE_HYPERCALL);
    hvtlfs_features_add(&list->features, HVTLFS_FEATURE_VP_INDEX);
    hvtlfs_features_complete(&list->features);
}

static void check_config(struct check *check, struct hvtlfs_config *config)
{
    struct hvtlfs_feature_list list = {config->features, config->spin_count};
    struct hvtlfs_cpuid_identity identity = {.cpuid_base = config->cpuid_base,
                                             .spin_count = config->spin_count};
    if (check->fix) {
        fix(&list);
    }
    if (check->as_json) {
        add_list_json(&check->json, &list);
    } else if (check->fix) {
        show_list(&list);
    }
    identity.features = list.features;
    memcpy(identity.vendor, config->vendor, sizeof(identity.vendor));
    json_open(&check->json, "findings", '[');
    check->result = hvtlfs_check_identity(&identity, check->guests, show_finding, check);
}

static int check_text(struct check *check, const char *text)
{
    struct hvtlfs_pasted pasted;
    struct hvtlfs_error error = {0};
    struct hvtlfs_config config;
    check->pasted = text;
    enum hvtlfs_status status =
        hvtlfs_paste(text, strlen(text), &pasted, show_paste_note, check, &error);
    if (status != HVTLFS_OK) {
        return tool_error(check->verb, "'%.*s': %s", (int)error.limit, text + error.value,
                          hvtlfs_strerror(status));
    }
    if (pasted.toggles == 0) {
        return tool_error(check->verb, "no enlightenment found in '%.40s'", text);
    }
    hvtlfs_config_init(&config);
    config.features = pasted.list.features;
    config.spin_count = pasted.list.spin_count;
    if (pasted.vendor[0] != '\0') {
        memcpy(config.vendor, pasted.vendor, sizeof(config.vendor));
    }
    check_config(check, &config);
    return TOOL_OK;
}

/* ---- Dumps ---- */

/* "   0x40000003 0x00: eax=0x00000a7e ebx=... ecx=... edx=..." */
static bool read_leaf(const char *line, struct hvtlfs_cpuid_leaf_entry *entry)
{
    /* Eight digits fit, so there is nothing else to report. NOLINTNEXTLINE(cert-err34-c) */
    return sscanf(line,
                  " 0x%8" SCNx32 " 0x%8" SCNx32 ": eax=0x%8" SCNx32 " ebx=0x%8" SCNx32
                  " ecx=0x%8" SCNx32 " edx=0x%8" SCNx32,
                  &entry->leaf, &entry->subleaf, &entry->regs.eax, &entry->regs.ebx,
                  &entry->regs.ecx, &entry->regs.edx) == 6;
}

/* The first processor's leaves: later ones come after those of the first and are not looked up. */
static size_t read_dump(const char *text, struct hvtlfs_cpuid_leaf_entry *leaves)
{
    size_t count = 0;
    for (const char *line = text; line != NULL && count < LEAVES_MAX;
         line = strchr(line, '\n') != NULL ? strchr(line, '\n') + 1 : NULL) {
        count += read_leaf(line, &leaves[count]);
    }
    return count;
}

static int check_dump(struct check *check, const struct hvtlfs_cpuid_leaf_entry *leaves,
                      size_t count)
{
    if (check->fix) {
        return tool_error(check->verb, "--fix is for feature lists, not for dumps");
    }
    check->notes = true;
    json_open(&check->json, "findings", '[');
    check->result = hvtlfs_check_leaves(leaves, count, check->guests, show_finding, check);
    return TOOL_OK;
}

static int check_contents(struct check *check, const char *text)
{
    struct hvtlfs_cpuid_leaf_entry *leaves = calloc(LEAVES_MAX, sizeof(*leaves));
    if (leaves == NULL) {
        return tool_error(check->verb, "out of memory");
    }
    size_t count = read_dump(text, leaves);
    int status = count > 0 ? check_dump(check, leaves, count) : check_text(check, text);
    free(leaves);
    return status;
}

/* ---- The argument ---- */

static bool read_all(FILE *file, struct text *text)
{
    char buffer[4096];
    size_t size;
    while ((size = fread(buffer, 1, sizeof(buffer), file)) > 0) {
        text_add_bytes(text, buffer, size);
    }
    return ferror(file) == 0;
}

/* A profile, a file, or else the text itself. */
static int check_argument(struct check *check, const char *argument)
{
    struct hvtlfs_config config;
    hvtlfs_config_init(&config);
    if (hvtlfs_profile_apply(hvtlfs_profile_find(argument, strlen(argument)), &config) ==
        HVTLFS_OK) {
        check_config(check, &config);
        return TOOL_OK;
    }
    bool standard = strcmp(argument, "-") == 0;
    FILE *file = standard ? stdin : fopen(argument, "r");
    if (file == NULL) {
        return check_text(check, argument);
    }
    struct text text = {0};
    int status = read_all(file, &text)
                     ? check_contents(check, text_string(&text))
                     : tool_error(check->verb, "%s: %s", argument, strerror(errno));
    if (!standard) {
        (void)fclose(file);
    }
    text_free(&text);
    return status;
}

static bool read_guest(struct check *check, const char *name)
{
    check->guests = HVTLFS_GUEST_ALL;
    if (name == NULL || strcmp(name, "all") == 0) {
        return true;
    }
    for (size_t i = 0; i < GUESTS; i++) {
        if (strcmp(name, guests[i].name) == 0) {
            check->guests = guests[i].bit;
            return true;
        }
    }
    return false;
}

static void show_result(struct check *check)
{
    const struct hvtlfs_check_result *result = &check->result;
    if (!check->as_json) {
        printf("%" PRIu32 " errors, %" PRIu32 " warnings\n", result->errors, result->warnings);
        return;
    }
    json_close(&check->json, ']');
    json_number(&check->json, "errors", result->errors);
    json_number(&check->json, "warnings", result->warnings);
    json_close(&check->json, '}');
    json_print(&check->json);
}

/* A QEMU option is no option of ours: "-cpu host,..." as one word or as two. */
static int skip_cpu(int argc, char **argv)
{
    int kept = 0;
    for (int i = 0; i < argc; i++) {
        char *word = argv[i];
        if (strncmp(word, "-cpu", 4) == 0) {
            word += 4 + strspn(word + 4, " =");
        }
        if (word[0] != '\0' || argv[i] == word) {
            argv[kept++] = word;
        }
    }
    return kept;
}

int verb_check(const struct tool_verb *verb, int argc, char **argv)
{
    struct check check = {.verb = verb};
    const char *guest = NULL;
    int status;
    const struct tool_option options[] = {
        {"--fix", NULL, "add what is missing, print the list, check that", &check.fix, NULL},
        {"--guest", "NAME", "windows, linux, freebsd or all; default all", NULL, &guest},
        {"--notes", NULL, "also say what guests do with it", &check.notes, NULL},
        {"--json", NULL, "one JSON object", &check.as_json, NULL},
    };
    argc = skip_cpu(argc, argv);
    if (!tool_options(verb, options, 4, &argc, argv, &status)) {
        return status;
    }
    if (argc != 1) {
        return tool_error(verb,
                          "expected one list, profile or file, got %d; 'hvtlfs check --help' "
                          "has examples",
                          argc);
    }
    if (!read_guest(&check, guest)) {
        return tool_error(verb, "unknown guest '%s'; known: windows, linux, freebsd, all", guest);
    }
    json_clear(&check.json);
    json_open(&check.json, NULL, '{');
    status = check_argument(&check, argv[0]);
    if (status == TOOL_OK) {
        show_result(&check);
        status = check.result.errors > 0 ? TOOL_FAILED : TOOL_OK;
    }
    text_free(&check.json.text);
    return status;
}
