/* SPDX-License-Identifier: MIT */
/* What a colleague may get wrong or leave out: numbers beyond the last, nothing where something is due. */
#include "guest_call.h"
#include "state.h"
#include "synic_fixture.h"

#include <hvtlfs/check.h>
#include <hvtlfs/describe.h>
#include <hvtlfs/features.h>
#include <hvtlfs/paste.h>
#include <hvtlfs/time.h>
#include <hvtlfs/trace.h>
#include <hvtlfs/vapic.h>
#include <hvtlfs/version.h>
#include <hvtlfs/vpset.h>

#include <stdio.h>

#define NO_FEATURE HVTLFS_FEATURE_COUNT

/* ---- Features ---- */

static void test_a_number_that_is_no_feature_has_nothing(void **state)
{
    struct hvtlfs_features set = {{5, 0}};
    struct hvtlfs_cpuid_bit bit;

    (void)state;
    hvtlfs_features_add(&set, NO_FEATURE);
    hvtlfs_features_remove(&set, NO_FEATURE);
    assert_int_equal(set.word[0], 5);
    assert_int_equal(set.word[1], 0);
    assert_null(hvtlfs_feature_name(NO_FEATURE));
    assert_null(hvtlfs_feature_summary(NO_FEATURE));
    assert_null(hvtlfs_feature_clause(NO_FEATURE));
    assert_int_equal(hvtlfs_feature_needs(NO_FEATURE).word[0], 0);
    assert_false(hvtlfs_feature_cpuid_bit(NO_FEATURE, 0, &bit));
    assert_false(hvtlfs_feature_cpuid_bit(HVTLFS_FEATURE_VAPIC, 1000, &bit));
    assert_null(hvtlfs_feature_host_need(NO_FEATURE, 0));
    assert_null(hvtlfs_feature_host_need(HVTLFS_FEATURE_VAPIC, 1000));
    assert_non_null(hvtlfs_feature_clause(HVTLFS_FEATURE_VAPIC));
}

static void test_the_bits_of_a_feature_end(void **state)
{
    struct hvtlfs_cpuid_bit bit;
    size_t most = 0;

    (void)state;
    for (uint32_t feature = 0; feature < NO_FEATURE; feature++) {
        size_t count = 0;

        while (hvtlfs_feature_cpuid_bit((enum hvtlfs_feature)feature, count, &bit)) {
            assert_in_range(bit.leaf, 0x40000000, 0x4000000A);
            assert_in_range(bit.bit, 0, 31);
            count++;
        }
        most = count > most ? count : most;
    }
    assert_true(most >= 2);
}

static void test_a_list_needs_a_place_and_a_text(void **state)
{
    struct hvtlfs_feature_list list;
    struct hvtlfs_error error;

    (void)state;
    hvtlfs_feature_list_minimal(&list);
    assert_int_equal(hvtlfs_features_parse(NULL, "time", 4, &error), HVTLFS_ERR_ARGUMENT);
    assert_int_equal(hvtlfs_features_parse(&list, NULL, 4, &error), HVTLFS_ERR_ARGUMENT);
    assert_int_equal(hvtlfs_features_parse(&list, NULL, 0, NULL), HVTLFS_OK);
    assert_int_equal(hvtlfs_features_check(NULL, &error), HVTLFS_ERR_ARGUMENT);
    assert_string_equal(error.name, "features");
}

static void test_a_list_changes_a_configuration_or_nothing(void **state)
{
    struct hvtlfs_config config;
    struct hvtlfs_error error;

    (void)state;
    assert_int_equal(hvtlfs_config_parse(NULL, "time", 4, &error), HVTLFS_ERR_ARGUMENT);
    hvtlfs_config_init(&config);
    assert_int_equal(hvtlfs_config_parse(&config, NULL, 4, NULL), HVTLFS_ERR_ARGUMENT);
    assert_int_equal(hvtlfs_config_parse(&config, "spinlocks=77,vapic=no", 21, &error),
                     HVTLFS_ERR_FEATURE_VALUE);
    assert_int_equal(error.value, 13);
    assert_int_equal(error.limit, 8);
    assert_int_equal(config.spin_count, HVTLFS_SPINLOCKS_NEVER);
    assert_false(hvtlfs_features_has(&config.features, HVTLFS_FEATURE_SPINLOCKS));
    assert_int_equal(hvtlfs_config_parse(&config, "spinlocks=77,vpindex=off", 24, NULL), HVTLFS_OK);
    assert_int_equal(config.spin_count, 77);
    assert_true(hvtlfs_features_has(&config.features, HVTLFS_FEATURE_SPINLOCKS));
    assert_true(hvtlfs_features_has(&config.features, HVTLFS_FEATURE_HYPERCALL));
    assert_false(hvtlfs_features_has(&config.features, HVTLFS_FEATURE_VP_INDEX));
}

static void expect_list(const char *text, enum hvtlfs_status status, uint32_t spins)
{
    struct hvtlfs_feature_list list;

    hvtlfs_feature_list_minimal(&list);
    assert_int_equal(hvtlfs_features_parse(&list, text, strlen(text), NULL), status);
    if (!status) {
        assert_int_equal(list.spin_count, spins);
    }
}

static void test_blanks_and_numbers_of_a_list(void **state)
{
    (void)state;
    expect_list("\ttime \t, \trelaxed\t", HVTLFS_OK, HVTLFS_SPINLOCKS_NEVER);
    expect_list("spinlocks=4095", HVTLFS_OK, 4095);
    expect_list("spinlocks=04095", HVTLFS_OK, 4095);
    expect_list("spinlocks=0X0fff", HVTLFS_OK, 4095);
    expect_list("spinlocks=0xg", HVTLFS_ERR_FEATURE_VALUE, 0);
    expect_list("spinlocks=0x", HVTLFS_ERR_FEATURE_VALUE, 0);
    expect_list("spinlocks=fff", HVTLFS_ERR_FEATURE_VALUE, 0);
    expect_list("spinlocks=0x100000000", HVTLFS_ERR_FEATURE_VALUE, 0);
}

/* ---- Pasted text ---- */

static enum hvtlfs_status paste(const char *text, struct hvtlfs_pasted *pasted)
{
    return hvtlfs_paste(text, strlen(text), pasted, NULL, NULL, NULL);
}

static bool pasted_has(const struct hvtlfs_pasted *pasted, enum hvtlfs_feature feature)
{
    return pasted->list.features.word[0] >> feature & 1;
}

static void test_a_paste_needs_a_place_and_a_text(void **state)
{
    struct hvtlfs_pasted pasted;
    struct hvtlfs_error error;

    (void)state;
    assert_int_equal(hvtlfs_paste("time", 4, NULL, NULL, NULL, &error), HVTLFS_ERR_ARGUMENT);
    assert_int_equal(hvtlfs_paste(NULL, 4, &pasted, NULL, NULL, &error), HVTLFS_ERR_ARGUMENT);
    assert_int_equal(hvtlfs_paste(NULL, 0, &pasted, NULL, NULL, &error), HVTLFS_OK);
    assert_int_equal(pasted.syntax, HVTLFS_SYNTAX_LIST);
}

static void test_a_minus_in_front_of_a_qemu_switch_is_off(void **state)
{
    struct hvtlfs_pasted pasted;

    (void)state;
    assert_int_equal(paste("-cpu host,hv-time,hv-relaxed,-hv-time", &pasted), HVTLFS_OK);
    assert_true(pasted_has(&pasted, HVTLFS_FEATURE_RELAXED));
    assert_false(pasted_has(&pasted, HVTLFS_FEATURE_TIME_REF_COUNT));
    assert_int_equal(paste("-cpu host, hv-time,  hv-relaxed -smp 2", &pasted), HVTLFS_OK);
    assert_true(pasted_has(&pasted, HVTLFS_FEATURE_RELAXED));
}

static unsigned notes;

static void count_note(void *context, size_t offset, size_t size, const char *note)
{
    (void)context;
    (void)offset;
    (void)size;
    notes += strlen(note) > 10;
}

static void test_libvirt_details(void **state)
{
    static const char passthrough[] = "<features><hyperv mode='passthrough'/></features>";
    struct hvtlfs_pasted pasted;

    (void)state;
    notes = 0;
    assert_int_equal(
        hvtlfs_paste(passthrough, sizeof(passthrough) - 1, &pasted, count_note, NULL, NULL),
        HVTLFS_OK);
    assert_int_equal(notes, 1);
    assert_int_equal(paste(passthrough, &pasted), HVTLFS_OK);
    assert_int_equal(paste("<?xml version='1.0'?><hyperv><vendor_id state='off'/>"
                           "<relaxed state='on'/><vapic state='no'/></hyperv>",
                           &pasted),
                     HVTLFS_OK);
    assert_string_equal(pasted.vendor, "");
    assert_true(pasted_has(&pasted, HVTLFS_FEATURE_RELAXED));
    assert_false(pasted_has(&pasted, HVTLFS_FEATURE_VAPIC));
    assert_int_equal(paste("<hyperv><></><relaxed state='on'/></hyperv>", &pasted), HVTLFS_OK);
}

/* ---- Words ---- */

static void expect_error_text(enum hvtlfs_status status, uint32_t feature, uint32_t other,
                              const char *part)
{
    const struct hvtlfs_error error = {.status = status, .feature = feature, .other = other};
    char text[400];

    assert_true(hvtlfs_error_text(&error, text, sizeof(text)) < sizeof(text));
    assert_non_null(strstr(text, part));
}

static void test_every_error_has_a_sentence(void **state)
{
    (void)state;
    expect_error_text(HVTLFS_ERR_FEATURE_DEPENDENCY, HVTLFS_FEATURE_STIMER, HVTLFS_FEATURE_SYNIC,
                      "hv-stimer needs hv-synic");
    expect_error_text(HVTLFS_ERR_FEATURE_DEPENDENCY, NO_FEATURE, HVTLFS_FEATURE_SYNIC,
                      hvtlfs_strerror(HVTLFS_ERR_FEATURE_DEPENDENCY));
    expect_error_text(HVTLFS_ERR_FEATURE_DEPENDENCY, HVTLFS_FEATURE_SYNIC, NO_FEATURE,
                      hvtlfs_strerror(HVTLFS_ERR_FEATURE_DEPENDENCY));
    expect_error_text(HVTLFS_ERR_FEATURE_CONFLICT, NO_FEATURE, NO_FEATURE,
                      hvtlfs_strerror(HVTLFS_ERR_FEATURE_CONFLICT));
    expect_error_text(HVTLFS_ERR_FEATURE_CONFLICT, HVTLFS_FEATURE_NO_VP_LIMIT,
                      HVTLFS_FEATURE_TLBFLUSH, "requirements document p. 7");
    expect_error_text(HVTLFS_ERR_FEATURE_CONFLICT, HVTLFS_FEATURE_VAPIC, HVTLFS_FEATURE_SYNIC,
                      "hv-vapic and hv-synic exclude each other: remove");
    expect_error_text((enum hvtlfs_status)9999, NO_FEATURE, NO_FEATURE,
                      hvtlfs_strerror((enum hvtlfs_status)9999));
}

static void expect_event(enum hvtlfs_event_kind kind, uint32_t vp_index, uint32_t result,
                         uint32_t more, const char *expected)
{
    const struct hvtlfs_event event = {kind, vp_index, 2, result, 0x10002, more};
    char text[200];

    assert_int_equal(hvtlfs_event_text(&event, text, sizeof(text)), strlen(expected));
    assert_string_equal(text, expected);
}

static void test_hypercalls_and_strangers_in_a_trace(void **state)
{
    (void)state;
    expect_event(HVTLFS_EVENT_HYPERCALL, 1, 0, HVTLFS_HYPERCALL_UD,
                 "hypercall vp=1 HvCallFlushVirtualAddressSpace input=0x10002 #UD");
    expect_event(HVTLFS_EVENT_HYPERCALL, 1, 0, HVTLFS_HYPERCALL_CONTINUE,
                 "hypercall vp=1 HvCallFlushVirtualAddressSpace input=0x10002 continued");
    expect_event(HVTLFS_EVENT_HYPERCALL, HVTLFS_NO_VP, 0, HVTLFS_HYPERCALL_INTERCEPT,
                 "hypercall HvCallFlushVirtualAddressSpace input=0x10002 memory intercept");
    expect_event(HVTLFS_EVENT_HYPERCALL, 1, 5, HVTLFS_HYPERCALL_DONE,
                 "hypercall vp=1 HvCallFlushVirtualAddressSpace input=0x10002 "
                 "HV_STATUS_INVALID_PARAMETER");
    expect_event(HVTLFS_EVENT_KINDS, 0, 0, 0, "unknown");
    expect_event(HVTLFS_EVENT_MSR_WRITE, 0, 99, 0, "msr-write vp=0 0x2=0x10002 undefined");
}

static void test_the_version_is_one_number(void **state)
{
    (void)state;
    assert_int_equal(hvtlfs_version_number(), HVTLFS_VERSION_NUMBER);
    assert_int_equal(hvtlfs_version_number(), HVTLFS_VERSION_MAJOR * 65536 +
                                                  HVTLFS_VERSION_MINOR * 256 +
                                                  HVTLFS_VERSION_PATCH);
}

/* ---- Validation ---- */

struct seen {
    unsigned count;
    char codes[2000];
};

static void see(void *context, const struct hvtlfs_finding *finding)
{
    struct seen *seen = context;
    size_t used = strlen(seen->codes);

    seen->count++;
    (void)snprintf(seen->codes + used, sizeof(seen->codes) - used, "[%s]", finding->code);
}

static void test_a_finding_with_a_detail(void **state)
{
    struct hvtlfs_finding finding = {.code = "x",
                                     .feature = NO_FEATURE,
                                     .other = NO_FEATURE,
                                     .sentence = "the sentence",
                                     .source = "s",
                                     .detail = "member"};
    char text[100];

    (void)state;
    hvtlfs_finding_text(&finding, text, sizeof(text));
    assert_string_equal(text, "the sentence (member)");
    finding.feature = HVTLFS_FEATURE_VAPIC;
    finding.detail = NULL;
    hvtlfs_finding_text(&finding, text, sizeof(text));
    assert_string_equal(text, "hv-vapic: the sentence");
    finding.sentence = NULL;
    hvtlfs_finding_text(&finding, text, sizeof(text));
    assert_string_equal(text, "hv-vapic: ");
}

static void test_an_identity_is_checked_without_a_listener_too(void **state)
{
    struct hvtlfs_cpuid_identity identity = {.cpuid_base = 0x40000100, .vendor = "Microsoft Hv"};
    struct hvtlfs_check_result quiet, heard;
    struct seen seen = {0, ""};

    (void)state;
    hvtlfs_features_add(&identity.features, HVTLFS_FEATURE_SYNCED_TIMELINE);
    quiet = hvtlfs_check_identity(&identity, HVTLFS_GUEST_ALL, NULL, NULL);
    heard = hvtlfs_check_identity(&identity, HVTLFS_GUEST_ALL, see, &seen);
    assert_memory_equal(&quiet, &heard, sizeof(quiet));
    assert_int_equal(seen.count, heard.notes + heard.warnings + heard.errors);
    assert_non_null(strstr(seen.codes, "[not-implemented]"));
    assert_non_null(strstr(seen.codes, "[other-base]"));
}

#define BASE 0x40000000u
#define HV1 0x31237648u

static void check_dump(const struct hvtlfs_cpuid_leaf_entry *leaves, size_t count,
                       struct seen *seen)
{
    *seen = (struct seen){0, ""};
    (void)hvtlfs_check_leaves(leaves, count, HVTLFS_GUEST_ALL, see, seen);
}

/* The vendor is Microsoft's only if all three registers say so. */
static void test_the_vendor_is_twelve_letters(void **state)
{
    struct hvtlfs_cpuid_leaf_entry leaves[] = {
        {BASE, 0, {BASE + 5, 0x7263694D, 0x666F736F, 0x76482074}}, {BASE + 1, 0, {HV1, 0, 0, 0}}};
    struct seen seen;

    (void)state;
    check_dump(leaves, 2, &seen);
    assert_non_null(strstr(seen.codes, "[vendor-without-vmbus]"));
    leaves[0].regs.edx ^= 1;
    check_dump(leaves, 2, &seen);
    assert_null(strstr(seen.codes, "[vendor-without-vmbus]"));
    leaves[0].regs.edx ^= 1;
    leaves[0].regs.ecx ^= 1;
    check_dump(leaves, 2, &seen);
    assert_null(strstr(seen.codes, "[vendor-without-vmbus]"));
}

/* The base is the lowest leaf 0xh00 whose next says Hv#1, sub-leaf 0. */
static void test_the_base_of_a_dump(void **state)
{
    static const struct {
        struct hvtlfs_cpuid_leaf_entry leaves[2];
        bool found;
    } cases[] = {
        {{{BASE, 0, {0, 0, 0, 0}}, {BASE + 1, 0, {HV1, 0, 0, 0}}}, true},
        {{{BASE, 0, {0, 0, 0, 0}}, {BASE + 1, 1, {HV1, 0, 0, 0}}}, false},
        {{{BASE, 0, {0, 0, 0, 0}}, {BASE + 1, 0, {HV1 + 1, 0, 0, 0}}}, false},
        {{{BASE, 0, {0, 0, 0, 0}}, {BASE + 2, 0, {HV1, 0, 0, 0}}}, false},
        {{{BASE, 0, {0, 0, 0, 0}}, {1, 0, {HV1, 0, 0, 0}}}, false},
        {{{BASE, 0, {0, 0, 0, 0}}, {0x40010001, 0, {HV1, 0, 0, 0}}}, false},
        {{{BASE + 0x101, 0, {HV1, 0, 0, 0}}, {BASE + 1, 0, {HV1, 0, 0, 0}}}, true},
        {{{BASE + 1, 0, {HV1, 0, 0, 0}}, {BASE + 0x101, 0, {HV1, 0, 0, 0}}}, true},
    };
    struct seen seen;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        check_dump(cases[i].leaves, 2, &seen);
        assert_int_equal(strstr(seen.codes, "[no-interface]") == NULL, cases[i].found);
        assert_null(strstr(seen.codes, "[other-base]"));
    }
}

static void test_other_subleaves_are_not_the_hypervisors(void **state)
{
    struct hvtlfs_cpuid_leaf_entry leaves[] = {
        {BASE + 1, 0, {HV1, 0, 0, 0}},
        {BASE + 3, 1, {UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX}},
        {0xD, 0, {8, 0, 0, 0}}};
    struct seen with, without;

    (void)state;
    check_dump(leaves, 1, &without);
    check_dump(leaves, 3, &with);
    assert_string_equal(with.codes, without.codes);
    leaves[2].subleaf = 1; /* XSAVES without XSAVEC */
    check_dump(leaves, 3, &with);
    assert_string_not_equal(with.codes, without.codes);
    leaves[2].regs.eax = 10;
    check_dump(leaves, 3, &with);
    assert_string_equal(with.codes, without.codes);
}

/* ---- Sets of VPs ---- */

static void test_a_set_of_one_mask(void **state)
{
    struct hvtlfs_vp_set set;
    const uint64_t none = 0;

    (void)state;
    memset(&set, 0xEE, sizeof(set));
    hvtlfs_vp_set_from_mask(&set, UINT64_C(0x8000000000000005));
    assert_int_equal(hvtlfs_vp_set_count(&set), 3);
    assert_true(hvtlfs_vp_set_has(&set, 0));
    assert_true(hvtlfs_vp_set_has(&set, 63));
    assert_false(hvtlfs_vp_set_has(&set, 64));
    assert_int_equal(hvtlfs_vp_set_next(&set, 3), 63);
    assert_int_equal(hvtlfs_vp_set_parse(&set, 0, 1, NULL, 1, NULL), HVTLFS_ERR_ARGUMENT);
    assert_int_equal(hvtlfs_vp_set_parse(&set, 0, 0, NULL, 0, NULL), HVTLFS_OK);
    assert_true(hvtlfs_vp_set_is_empty(&set));
    assert_int_equal(hvtlfs_vp_set_parse(&set, 0, 1, &none, 1, NULL), HVTLFS_OK);
}

/* ---- A partition ---- */

static void test_questions_about_what_is_not_there(void **state)
{
    struct fixture fixture;

    (void)state;
    hvtlfs_config_init(NULL);
    fixture_prepare(&fixture);
    fixture_start(&fixture);
    assert_string_equal(hvtlfs_feature_why_off(fixture.partition, NO_FEATURE),
                        "it was not configured");
    assert_int_equal(hvtlfs_read_msr_counter(fixture.vp, 0x10), 0);
    assert_null(hvtlfs_partition_vp(fixture.partition, 77));
    fixture_stop(&fixture);
}

static void without_interrupts(struct hvtlfs_config *config)
{
    config->ops.request_interrupt = NULL;
}

static void test_a_feature_that_leaned_on_one_that_is_off(void **state)
{
    struct fixture fixture;
    unsigned leaning = 0;

    (void)state;
    fixture_prepare(&fixture);
    fixture.features = SYNIC_FEATURES;
    fixture.adjust = without_interrupts;
    fixture_start(&fixture);
    for (uint32_t feature = 0; feature < NO_FEATURE; feature++) {
        const char *why = hvtlfs_feature_why_off(fixture.partition, (enum hvtlfs_feature)feature);

        leaning += why && strstr(why, "a feature that it needs is off") != NULL;
    }
    assert_true(leaning > 0);
    fixture_stop(&fixture);
}

static void test_connections_need_a_partition(void **state)
{
    const struct hvtlfs_message no_payload = {.type = 1, .size = 8, .payload = NULL};
    const struct hvtlfs_message message = {.type = 1, .size = 0, .payload = NULL};
    struct hvtlfs_connection connection = {.size = sizeof(connection)};
    struct fixture fixture;

    (void)state;
    synic_start(&fixture, false);
    assert_int_equal(hvtlfs_connection_add(NULL, &connection), HVTLFS_ERR_ARGUMENT);
    assert_int_equal(hvtlfs_connection_add(fixture.partition, NULL), HVTLFS_ERR_ARGUMENT);
    assert_int_equal(hvtlfs_connection_remove(NULL, 1), HVTLFS_ERR_ARGUMENT);
    assert_int_equal(hvtlfs_connection_remove(fixture.partition, 1), HVTLFS_ERR_NOT_FOUND);
    assert_int_equal(hvtlfs_connection_post(NULL, 1, &message), HVTLFS_ERR_ARGUMENT);
    assert_int_equal(hvtlfs_connection_post(fixture.partition, 1, NULL), HVTLFS_ERR_ARGUMENT);
    assert_int_equal(hvtlfs_connection_post(fixture.partition, 1, &no_payload),
                     HVTLFS_ERR_ARGUMENT);
    assert_int_equal(hvtlfs_connection_signal(NULL, 1, 0), HVTLFS_ERR_ARGUMENT);
    assert_int_equal(hvtlfs_connection_signal(fixture.partition, 1, 0), HVTLFS_ERR_NOT_FOUND);
    fixture_stop(&fixture);
}

/* ---- Hosts that lack a callback, and hosts that watch ---- */

static unsigned watched;

static void count_event(void *context, const struct hvtlfs_event *event)
{
    (void)context;
    watched += event->kind == HVTLFS_EVENT_FLUSH || event->kind == HVTLFS_EVENT_IPI;
}

static void watch_and_send_ipis(struct hvtlfs_config *config)
{
    config->ops.trace = count_event;
}

static unsigned ipis;

static void send_ipi(void *context, uint32_t vp_index, uint32_t vector,
                     const struct hvtlfs_vp_set *targets)
{
    (void)context;
    assert_int_equal(vp_index, 0);
    assert_int_equal(vector, 0x40);
    assert_int_equal(hvtlfs_vp_set_count(targets), 1);
    assert_true(hvtlfs_vp_set_has(targets, 1));
    ipis++;
}

static void take_ipis(struct hvtlfs_config *config)
{
    config->ops.send_ipi = send_ipi;
}

/* HvCallSendSyntheticClusterIpi, TLFS 10.5.1: vector, reserved, mask; both as a fast call. */
static uint64_t ipi(struct fixture *fixture, uint64_t mask)
{
    struct hvtlfs_hypercall_regs regs = {
        .mode = HVTLFS_MODE_LONG64, .rcx = 0x1000B, .rdx = 0x40, .r8 = mask};

    assert_int_equal(hvtlfs_hypercall(fixture->vp, &regs), HVTLFS_HYPERCALL_DONE);
    return regs.rax;
}

static void test_a_host_that_watches_hears_of_ipis_and_flushes(void **state)
{
    struct fixture fixture;
    struct guest_call call;
    struct guest_answer answer;

    (void)state;
    fixture_prepare(&fixture);
    fixture.features = EVERY_CALL;
    fixture.adjust = watch_and_send_ipis;
    fixture_start(&fixture);
    watched = 0;
    assert_int_equal(ipi(&fixture, 2), 0);
    assert_int_equal(watched, 1);
    guest_prepare(&call, HvCallFlushVirtualAddressSpace, 24, 0);
    call.input.qwords[1] = 3; /* all processors, all address spaces */
    guest_make(&fixture, &call, &answer);
    assert_int_equal(answer.status, 0);
    assert_int_equal(watched, 2);
    fixture_stop(&fixture);
}

static void test_a_host_that_takes_ipis_whole(void **state)
{
    struct fixture fixture;

    (void)state;
    fixture_prepare(&fixture);
    fixture.features = EVERY_CALL;
    fixture.adjust = take_ipis;
    fixture_start(&fixture);
    ipis = 0;
    assert_int_equal(ipi(&fixture, 2), 0);
    assert_int_equal(ipis, 1);
    assert_int_equal(ipi(&fixture, 0), 0); /* to nobody */
    assert_int_equal(ipis, 1);
    assert_int_equal(model_host_interrupt_count(fixture.host, 1), 0);
    fixture_stop(&fixture);
}

static void without_registers(struct hvtlfs_config *config)
{
    config->ops.get_register = NULL;
    config->ops.set_register = NULL;
}

/* RAX (0x00020000) of the caller: the host keeps it to itself. */
static void test_a_host_without_registers_denies_them(void **state)
{
    static const uint16_t codes[] = {HvCallGetVpRegisters, HvCallSetVpRegisters};
    struct fixture fixture;

    (void)state;
    fixture_prepare(&fixture);
    fixture.features = EVERY_CALL;
    fixture.adjust = without_registers;
    fixture_start(&fixture);
    for (size_t i = 0; i < 2; i++) {
        struct guest_call call;
        struct guest_answer answer;

        guest_prepare(&call, codes[i], i ? 48 : 20, i ? 0 : 16);
        call.input.qwords[0] = UINT64_MAX;           /* HV_PARTITION_ID_SELF */
        call.input.qwords[1] = UINT32_C(0xFFFFFFFE); /* HV_VP_INDEX_SELF */
        call.input.qwords[2] = 0x00020000;
        call.reps = 1;
        guest_make(&fixture, &call, &answer);
        assert_int_equal(answer.status, HV_STATUS_ACCESS_DENIED);
    }
    fixture_stop(&fixture);
}

static void without_exchange(struct hvtlfs_config *config)
{
    config->ops.gpa_compare_exchange = NULL;
}

/* Without it the bit of a copied page cannot be set as the hardware would: no lazy EOI, no harm. */
static void test_a_copying_host_without_compare_exchange(void **state)
{
    struct fixture fixture;

    (void)state;
    fixture_prepare(&fixture);
    fixture.options.copies_overlays = true;
    fixture.features = "vapic";
    fixture.adjust = without_exchange;
    fixture_start(&fixture);
    expect_write(fixture.vp, HV_X64_MSR_VP_ASSIST_PAGE, 0x5001);
    assert_false(hvtlfs_lazy_eoi_arm(fixture.vp, 0x50, HVTLFS_TRIGGER_EDGE, false));
    assert_int_equal(hvtlfs_lazy_eoi_collect(fixture.vp), HVTLFS_NO_EOI);
    fixture_stop(&fixture);
}

static void without_overlay_clear(struct hvtlfs_config *config)
{
    config->ops.overlay_clear = NULL;
}

/* Half of the pair is none: the page is copied, and stands in the guest's memory. */
static void test_overlay_set_alone_is_not_used(void **state)
{
    struct fixture fixture;

    (void)state;
    fixture_prepare(&fixture);
    fixture.adjust = without_overlay_clear;
    fixture_start(&fixture);
    expect_write(fixture.vp, HV_X64_MSR_GUEST_OS_ID, LINUX_ID);
    expect_write(fixture.vp, HV_X64_MSR_HYPERCALL, 0x5001);
    assert_int_equal(model_host_overlay_count(fixture.host), 0);
    assert_int_not_equal(*model_host_ram(fixture.host, 0x5000), 0);
    fixture_stop(&fixture);
}

/* ---- APIC IDs ---- */

/* The hash is the upper 13 bits of id * 0x9E3779B9: with 512 IDs of our choice two of them meet. */
static void test_apic_ids_that_share_a_place_are_told_apart(void **state)
{
    static struct hvtlfs_vp_config vps[2];
    struct fixture fixture;
    uint32_t other = 1;

    (void)state;
    while (other * UINT32_C(0x9E3779B9) >> 19 != 0) {
        other++;
    }
    vps[0] = (struct hvtlfs_vp_config){.vp_index = 0, .apic_id = 0};
    vps[1] = (struct hvtlfs_vp_config){.vp_index = 1, .apic_id = other};
    fixture_prepare(&fixture);
    fixture.features = EVERY_CALL;
    fixture.config.vps = vps;
    fixture_start(&fixture);
    for (uint32_t i = 0; i < 2; i++) {
        struct guest_call call;
        struct guest_answer answer;

        guest_prepare(&call, HvCallGetVpIndexFromApicId, 24, 8);
        call.input.qwords[0] = UINT64_MAX;
        call.input.qwords[2] = vps[i].apic_id;
        call.reps = 1;
        guest_make(&fixture, &call, &answer);
        assert_int_equal(answer.status, 0);
        assert_int_equal(guest_output32(&answer, 0), i);
    }
    fixture_stop(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_number_that_is_no_feature_has_nothing),
        cmocka_unit_test(test_the_bits_of_a_feature_end),
        cmocka_unit_test(test_a_list_needs_a_place_and_a_text),
        cmocka_unit_test(test_a_list_changes_a_configuration_or_nothing),
        cmocka_unit_test(test_blanks_and_numbers_of_a_list),
        cmocka_unit_test(test_a_paste_needs_a_place_and_a_text),
        cmocka_unit_test(test_a_minus_in_front_of_a_qemu_switch_is_off),
        cmocka_unit_test(test_libvirt_details),
        cmocka_unit_test(test_every_error_has_a_sentence),
        cmocka_unit_test(test_hypercalls_and_strangers_in_a_trace),
        cmocka_unit_test(test_the_version_is_one_number),
        cmocka_unit_test(test_a_finding_with_a_detail),
        cmocka_unit_test(test_an_identity_is_checked_without_a_listener_too),
        cmocka_unit_test(test_the_vendor_is_twelve_letters),
        cmocka_unit_test(test_the_base_of_a_dump),
        cmocka_unit_test(test_other_subleaves_are_not_the_hypervisors),
        cmocka_unit_test(test_a_set_of_one_mask),
        cmocka_unit_test(test_questions_about_what_is_not_there),
        cmocka_unit_test(test_a_feature_that_leaned_on_one_that_is_off),
        cmocka_unit_test(test_connections_need_a_partition),
        cmocka_unit_test(test_a_host_that_watches_hears_of_ipis_and_flushes),
        cmocka_unit_test(test_a_host_that_takes_ipis_whole),
        cmocka_unit_test(test_a_host_without_registers_denies_them),
        cmocka_unit_test(test_a_copying_host_without_compare_exchange),
        cmocka_unit_test(test_overlay_set_alone_is_not_used),
        cmocka_unit_test(test_apic_ids_that_share_a_place_are_told_apart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
