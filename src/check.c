/* SPDX-License-Identifier: MIT */
#include <hvtlfs/check.h>

#include "feature_rows.h"
#include "host.h"
#include "sentence.h"
#include "state.h"

/* ---- The table ---- */

enum op {
    OP_NONE,
    OP_ON,
    OP_OFF,
    OP_ANY,
};

struct test {
    uint8_t op;
    uint8_t leaf; /* distance from the base */
    uint8_t reg;
    uint32_t bits;
};

#define TESTS 3

struct check_row {
    const char *code;
    uint8_t severity;
    uint8_t guests;
    bool half;
    struct test tests[TESTS];
    const char *sentence;
    const char *source;
};

#define NOTE HVTLFS_SEVERITY_NOTE
#define WARNING HVTLFS_SEVERITY_WARNING
#define ERROR HVTLFS_SEVERITY_ERROR
#define WINDOWS HVTLFS_GUEST_WINDOWS
#define LINUX HVTLFS_GUEST_LINUX
#define FREEBSD HVTLFS_GUEST_FREEBSD
#define ALL HVTLFS_GUEST_ALL
#define B(n) BIT32(n)
#define L3_EAX 3, HVTI_EAX
#define L3_EBX 3, HVTI_EBX
#define L3_EDX 3, HVTI_EDX
#define L4_EAX 4, HVTI_EAX
#define L5_EAX 5, HVTI_EAX
#define LA_EAX 10, HVTI_EAX
#define ON(...) TEST(OP_ON, __VA_ARGS__)
#define OFF(...) TEST(OP_OFF, __VA_ARGS__)
#define ANY(...) TEST(OP_ANY, __VA_ARGS__)
#define TEST(...) TEST_(__VA_ARGS__)
#define TEST_(op, leaf, reg, bits)                                                                 \
    {                                                                                              \
        op, leaf, reg, bits                                                                        \
    }
#define IF(...)                                                                                    \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

#define FACT(id, code, severity, guests, sentence, source)
#define CHECK(code, severity, guests, conditions, sentence, source)                                \
    {code, severity, guests, false, conditions, sentence, source},
#define HALF(code, severity, guests, conditions, sentence, source)                                 \
    {code, severity, guests, true, conditions, sentence, source},
static const struct check_row rows[] = {
#include "checks.def"
};
#undef FACT
#undef CHECK
#undef HALF

#define CHECK(code, severity, guests, conditions, sentence, source)
#define HALF(code, severity, guests, conditions, sentence, source)
#define FACT(id, code, severity, guests, sentence, source) FACT_##id,
enum fact {
#include "checks.def"
    FACT_COUNT
};
#undef FACT

#define FACT(id, code, severity, guests, sentence, source)                                         \
    [FACT_##id] = {code, severity, guests, false, {{0, 0, 0, 0}}, sentence, source},
static const struct check_row facts[FACT_COUNT] = {
#include "checks.def"
};

/* ---- A check under way ---- */

struct check {
    uint32_t guests;
    hvtlfs_finding_function *found;
    void *context;
    struct hvtlfs_check_result result;
};

static void count(struct hvtlfs_check_result *result, enum hvtlfs_severity severity)
{
    result->notes += severity == HVTLFS_SEVERITY_NOTE;
    result->warnings += severity == HVTLFS_SEVERITY_WARNING;
    result->errors += severity == HVTLFS_SEVERITY_ERROR;
}

static void tell(struct check *check, const struct check_row *row, uint32_t feature, uint32_t other,
                 const char *sentence)
{
    struct hvtlfs_finding finding = {
        .code = row->code,
        .severity = (enum hvtlfs_severity)row->severity,
        .guests = row->guests & check->guests,
        .feature = (enum hvtlfs_feature)feature,
        .other = (enum hvtlfs_feature)other,
        .sentence = sentence,
        .source = row->source,
    };

    if (!finding.guests) {
        return;
    }
    count(&check->result, finding.severity);
    if (check->found) {
        check->found(check->context, &finding);
    }
}

static void tell_fact(struct check *check, enum fact fact)
{
    tell(check, &facts[fact], HVTLFS_FEATURE_COUNT, HVTLFS_FEATURE_COUNT, facts[fact].sentence);
}

/* ---- Leaves ---- */

/* The hypervisor's leaves as registers; what is not there is zero. */
struct view {
    uint32_t reg[HVTI_LEAVES][4];
};

static bool test_holds(const struct view *view, const struct test *test)
{
    uint32_t bits = view->reg[test->leaf][test->reg] & test->bits;

    switch (test->op) {
    case OP_ON:
        return bits == test->bits;
    case OP_OFF:
        return !bits;
    case OP_ANY:
        return bits != 0;
    default:
        return true;
    }
}

static bool row_holds(const struct view *view, const struct check_row *row)
{
    size_t i;

    for (i = 0; i < TESTS; i++) {
        if (!test_holds(view, &row->tests[i])) {
            return false;
        }
    }
    return true;
}

/* The feature that shows the lowest bit a test names. */
static uint32_t feature_of(const struct test *test)
{
    uint32_t feature;
    size_t i;

    for (feature = 0; feature < HVTLFS_FEATURE_COUNT; feature++) {
        const struct hvti_cpuid_bit *bits = hvti_feature_rows[feature].cpuid;

        for (i = 0; i < ARRAY_LEN(hvti_feature_rows[feature].cpuid) && bits[i].used; i++) {
            if (bits[i].leaf == test->leaf && bits[i].reg == test->reg &&
                bits[i].bit == lowest_bit(test->bits)) {
                return feature;
            }
        }
    }
    return HVTLFS_FEATURE_COUNT;
}

static void check_view(struct check *check, const struct view *view, bool is_dump)
{
    size_t i;

    for (i = 0; i < ARRAY_LEN(rows); i++) {
        if ((is_dump || !rows[i].half) && row_holds(view, &rows[i])) {
            tell(check, &rows[i], feature_of(&rows[i].tests[0]), HVTLFS_FEATURE_COUNT,
                 rows[i].sentence);
        }
    }
}

static bool is_microsoft(const struct view *view)
{
    return view->reg[0][HVTI_EBX] == 0x7263694D && view->reg[0][HVTI_ECX] == 0x666F736F &&
           view->reg[0][HVTI_EDX] == 0x76482074; /* "Micr" "osof" "t Hv" */
}

static void check_vendor(struct check *check, const struct view *view)
{
    tell_fact(check, is_microsoft(view) ? FACT_VENDOR_MICROSOFT : FACT_VENDOR_UNKNOWN);
}

/* ---- A feature set ---- */

static void check_needs(struct check *check, uint64_t set)
{
    uint64_t rest;

    for (rest = set & (BIT64(HVTLFS_FEATURE_COUNT) - 1); rest; rest &= rest - 1) {
        uint32_t feature = lowest_bit(rest);
        uint64_t missing;

        for (missing = hvti_feature_rows[feature].needs & ~set; missing; missing &= missing - 1) {
            tell(check, &facts[FACT_DEPENDENCY], feature, lowest_bit(missing),
                 facts[FACT_DEPENDENCY].sentence);
        }
    }
}

static void check_implemented(struct check *check, uint64_t set)
{
    uint64_t rest;

    for (rest = set & (BIT64(HVTLFS_FEATURE_COUNT) - 1); rest; rest &= rest - 1) {
        uint32_t feature = lowest_bit(rest);

        if (hvti_feature_rows[feature].host & BIT32(HVTI_NEED_IMPLEMENTATION)) {
            tell(check, &facts[FACT_NOT_IMPLEMENTED], feature, HVTLFS_FEATURE_COUNT,
                 facts[FACT_NOT_IMPLEMENTED].sentence);
        }
    }
}

static void view_identity(struct view *view, const struct hvtlfs_cpuid_identity *identity)
{
    uint32_t leaf;

    memset(view, 0, sizeof(*view));
    for (leaf = 0; leaf < HVTI_LEAVES; leaf++) {
        struct hvtlfs_cpuid_regs regs = {0, 0, 0, 0};

        (void)hvtlfs_cpuid_leaf(identity, identity->cpuid_base + leaf, &regs);
        memcpy(view->reg[leaf], &regs, sizeof(regs));
    }
}

struct hvtlfs_check_result hvtlfs_check_identity(const struct hvtlfs_cpuid_identity *identity,
                                                 uint32_t guests, hvtlfs_finding_function *found,
                                                 void *context)
{
    struct check check = {guests, found, context, {0, 0, 0}};
    struct view view;

    view_identity(&view, identity);
    check_needs(&check, identity->features.word[0]);
    check_implemented(&check, identity->features.word[0]);
    if (identity->cpuid_base != 0x40000000) {
        tell_fact(&check, FACT_OTHER_BASE);
    }
    check_vendor(&check, &view);
    check_view(&check, &view, false);
    return check.result;
}

/* ---- A dump ---- */

static const struct hvtlfs_cpuid_regs *find_leaf(const struct hvtlfs_cpuid_leaf_entry *leaves,
                                                 size_t number, uint32_t leaf, uint32_t subleaf)
{
    size_t i;

    for (i = 0; i < number; i++) {
        if (leaves[i].leaf == leaf && leaves[i].subleaf == subleaf) {
            return &leaves[i].regs;
        }
    }
    return NULL;
}

/* The lowest base whose second leaf says Hv#1; 0 if there is none. */
static uint32_t find_base(const struct hvtlfs_cpuid_leaf_entry *leaves, size_t number)
{
    uint32_t base = 0;
    size_t i;

    for (i = 0; i < number; i++) {
        uint32_t leaf = leaves[i].leaf;

        if (leaf >= 0x40000000 && leaf < 0x40010000 && (leaf & 0xFF) == 1 && !leaves[i].subleaf &&
            leaves[i].regs.eax == 0x31237648 && (!base || leaf - 1 < base)) {
            base = leaf - 1;
        }
    }
    return base;
}

static void view_dump(struct view *view, uint32_t base,
                      const struct hvtlfs_cpuid_leaf_entry *leaves, size_t number)
{
    size_t i;

    memset(view, 0, sizeof(*view));
    for (i = 0; i < number; i++) {
        uint32_t distance = leaves[i].leaf - base;

        if (distance < HVTI_LEAVES && !leaves[i].subleaf) {
            memcpy(view->reg[distance], &leaves[i].regs, sizeof(leaves[i].regs));
        }
    }
}

static void check_processor(struct check *check, const struct hvtlfs_cpuid_leaf_entry *leaves,
                            size_t number)
{
    const struct hvtlfs_cpuid_regs *one = find_leaf(leaves, number, 1, 0);
    const struct hvtlfs_cpuid_regs *xsave = find_leaf(leaves, number, 0xD, 1);

    if (one && !(one->ecx & B(31))) {
        tell_fact(check, FACT_NO_HYPERVISOR_BIT);
    }
    if (xsave && (xsave->eax & (B(1) | B(3))) == B(3)) {
        tell_fact(check, FACT_XSAVES_ALONE);
    }
}

struct hvtlfs_check_result hvtlfs_check_leaves(const struct hvtlfs_cpuid_leaf_entry *leaves,
                                               size_t number, uint32_t guests,
                                               hvtlfs_finding_function *found, void *context)
{
    struct check check = {guests, found, context, {0, 0, 0}};
    uint32_t base = find_base(leaves, number);
    struct view view;

    check_processor(&check, leaves, number);
    if (!base) {
        tell_fact(&check, FACT_NO_INTERFACE);
        return check.result;
    }
    if (base != 0x40000000) {
        tell_fact(&check, FACT_OTHER_BASE);
    }
    view_dump(&view, base, leaves, number);
    if (view.reg[0][HVTI_EAX] < base + 5) {
        tell_fact(&check, FACT_SHORT_RANGE);
    }
    check_vendor(&check, &view);
    check_view(&check, &view, true);
    return check.result;
}

/* ---- A partition ---- */

struct hvtlfs_check_result hvtlfs_check_partition(const struct hvtlfs_partition *partition,
                                                  hvtlfs_finding_function *found, void *context)
{
    struct check check = {HVTLFS_GUEST_ALL, found, context, {0, 0, 0}};
    uint64_t off = partition->configured & ~partition->features & (BIT64(HVTLFS_FEATURE_COUNT) - 1);

    for (; off; off &= off - 1) {
        uint32_t feature = lowest_bit(off);

        tell(&check, &facts[FACT_CALLBACK], feature, HVTLFS_FEATURE_COUNT,
             hvtlfs_feature_why_off(partition, (enum hvtlfs_feature)feature));
    }
    return check.result;
}

/* ---- Text ---- */

size_t hvtlfs_finding_text(const struct hvtlfs_finding *finding, char *buffer, size_t size)
{
    struct sentence text = {buffer, size, 0};

    if (finding->feature < HVTLFS_FEATURE_COUNT && finding->other < HVTLFS_FEATURE_COUNT) {
        const struct hvtlfs_error error = {.status = HVTLFS_ERR_FEATURE_DEPENDENCY,
                                           .feature = finding->feature,
                                           .other = finding->other};

        return hvtlfs_error_text(&error, buffer, size);
    }
    if (finding->feature < HVTLFS_FEATURE_COUNT) {
        sentence_add(&text, "hv-");
        sentence_add(&text, hvtlfs_feature_name(finding->feature));
        sentence_add(&text, ": ");
    }
    sentence_add(&text, finding->sentence);
    if (finding->detail) {
        sentence_add(&text, " (");
        sentence_add(&text, finding->detail);
        sentence_add(&text, ")");
    }
    return sentence_end(&text);
}
