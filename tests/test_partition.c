/* SPDX-License-Identifier: MIT */
/* Configuration, memory, VPs, reset; and what a bad configuration is told. */
#include "fixture.h"

static struct fixture fixture;

static int prepare(void **state)
{
    (void)state;
    fixture_prepare(&fixture);
    return 0;
}

/* What init says to a configuration, with memory that is good otherwise. */
static enum hvtlfs_status try(struct hvtlfs_error *error)
{
    static uint8_t memory[1 << 20] __attribute__((aligned(4096)));
    static uint8_t before[sizeof(memory)];
    struct hvtlfs_partition *partition = NULL;
    enum hvtlfs_status status;

    memset(memory, 0xA5, sizeof(memory));
    memcpy(before, memory, sizeof(memory));
    status = hvtlfs_partition_init(memory, sizeof(memory), &fixture.config, &partition, error);
    if (status) {
        /* Nothing half-initialised. */
        assert_null(partition);
        assert_memory_equal(memory, before, sizeof(memory));
    }
    return status;
}

static int with_host(void **state)
{
    prepare(state);
    fixture.host = model_host_create(&fixture.options);
    assert_non_null(fixture.host);
    model_host_configure(fixture.host, &fixture.config);
    return 0;
}

static int without_host(void **state)
{
    (void)state;
    model_host_destroy(fixture.host);
    return 0;
}

static struct hvtlfs_error error;

static void expect_error(enum hvtlfs_status status, const char *words)
{
    size_t size = 1;
    char text[256];

    assert_int_equal(try(&error), status);
    assert_int_equal(error.status, status);
    assert_int_equal(hvtlfs_partition_size(&fixture.config, &size, NULL), status);
    assert_int_equal(size, 1);
    hvtlfs_error_text(&error, text, sizeof(text));
    if (!strstr(text, words)) {
        fail_msg("\"%s\" does not say \"%s\"", text, words);
    }
}

static void the_defaults_with_three_callbacks_make_a_partition(void **state)
{
    (void)state;
    assert_int_equal(try(NULL), HVTLFS_OK);
}

static void a_missing_required_callback_is_named(void **state)
{
    (void)state;
    fixture.config.ops.gpa_read = NULL;
    expect_error(HVTLFS_ERR_NO_CALLBACK, "gpa_read");
    expect_numbers(&error, 0, 0);
    model_host_configure(fixture.host, &fixture.config);
    fixture.config.ops.gpa_write = NULL;
    expect_error(HVTLFS_ERR_NO_CALLBACK, "gpa_write");
    model_host_configure(fixture.host, &fixture.config);
    fixture.config.ops.gpa_probe = NULL;
    fixture.config.ops.overlay_set = NULL;
    expect_error(HVTLFS_ERR_NO_CALLBACK, "gpa_probe");
}

static void a_host_that_maps_overlays_needs_no_probe(void **state)
{
    (void)state;
    model_host_configure(fixture.host, &fixture.config);
    assert_non_null(fixture.config.ops.overlay_set);
    assert_non_null(fixture.config.ops.overlay_clear);
    fixture.config.ops.gpa_probe = NULL;
    assert_int_equal(try(NULL), HVTLFS_OK);
    fixture.config.ops.overlay_clear = NULL;
    expect_error(HVTLFS_ERR_NO_CALLBACK, "gpa_probe");
}

static void the_number_of_vps_is_1_to_4096(void **state)
{
    size_t size;

    (void)state;
    fixture.config.vp_count = 0;
    expect_error(HVTLFS_ERR_VP_COUNT, "1 to 4096");
    fixture.config.vp_count = 4097;
    expect_error(HVTLFS_ERR_VP_COUNT, "4097");
    fixture.config.vp_count = 4096;
    assert_int_equal(hvtlfs_partition_size(&fixture.config, &size, NULL), HVTLFS_OK);
}

static void a_vp_index_is_below_4096_and_given_once(void **state)
{
    struct hvtlfs_vp_config vps[] = {{4095, 0}, {0, 1}, {4095, 2}};

    (void)state;
    fixture.config.vps = vps;
    fixture.config.vp_count = 2;
    assert_int_equal(try(NULL), HVTLFS_OK);
    fixture.config.vp_count = 3;
    expect_error(HVTLFS_ERR_VP_INDEX, "4095");
    expect_numbers(&error, 4095, 0);
    vps[2].vp_index = 4096;
    expect_error(HVTLFS_ERR_VP_INDEX, "4096");
    expect_numbers(&error, 4096, 4095);
}

static void an_apic_id_is_any_number_given_once(void **state)
{
    struct hvtlfs_vp_config vps[] = {{0, 7},          {1, 0xFFFFFFFF}, {2, 4096 + 7},
                                     {3, 0x80000000}, {4, 0xFFFFFFFE}, {5, 0}};

    (void)state;
    fixture.config.vps = vps;
    fixture.config.vp_count = 6;
    assert_int_equal(try(NULL), HVTLFS_OK);
    vps[5].apic_id = 0xFFFFFFFF;
    expect_error(HVTLFS_ERR_APIC_ID, "4294967295");
    expect_numbers(&error, UINT32_MAX, 0);
    vps[5].apic_id = 4096 + 7;
    expect_error(HVTLFS_ERR_APIC_ID, "4103");
}

static enum hvtlfs_status try_vps(const struct hvtlfs_vp_config *vps, uint32_t count)
{
    fixture.config.vps = vps;
    fixture.config.vp_count = count;
    return try(&error);
}

/* Numbers at the same place of different words are different, the first is looked at, and so is each window. */
static void numbers_of_vps_are_not_confused(void **state)
{
    static const struct hvtlfs_vp_config good[][3] = {
        {{0, 0}, {64, 64}, {128, 128}},
        {{1, 4095}, {65, 4096}, {2, 8192}},
        {{63, 0x80000000}, {127, 0x80000040}, {4095, 0x80001000}},
    };
    static const uint32_t twice[] = {0, 63, 64, 4095, 4096, 4097, 0x12345678, UINT32_MAX};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(try_vps(good[i], 3), HVTLFS_OK);
    }
    for (size_t i = 0; i < sizeof(twice) / sizeof(twice[0]); i++) {
        const struct hvtlfs_vp_config bad[] = {{0, twice[i]}, {1, 5}, {2, twice[i]}};

        assert_int_equal(try_vps(bad, 3), HVTLFS_ERR_APIC_ID);
        expect_numbers(&error, twice[i], 0);
        if (twice[i] < 4096 && twice[i] != 5) {
            const struct hvtlfs_vp_config same[] = {{twice[i], 0}, {5, 1}, {twice[i], 2}};

            assert_int_equal(try_vps(same, 3), HVTLFS_ERR_VP_INDEX);
            expect_numbers(&error, twice[i], 0);
        }
    }
}

/* Of the host's own leaves one bit of one is hidden, where the guest has still to learn of it. */
static void only_the_invariant_bit_of_its_leaf_is_hidden(void **state)
{
    (void)state;
    fixture_prepare(&fixture);
    fixture.features = "time,tsc-invariant";
    fixture.config.invariant_tsc = true;
    fixture_start(&fixture);
    for (uint32_t leaf = 0x80000006; leaf <= 0x80000008; leaf++) {
        struct hvtlfs_cpuid_regs regs = {UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX};

        (void)hvtlfs_cpuid(fixture.vp, leaf, 0, &regs);
        assert_int_equal(regs.eax, UINT32_MAX);
        assert_int_equal(regs.ebx, UINT32_MAX);
        assert_int_equal(regs.ecx, UINT32_MAX);
        assert_int_equal(regs.edx, leaf == 0x80000007 ? ~(1u << 8) : UINT32_MAX);
    }
    fixture_stop(&fixture);
}

static void memory_must_be_large_enough_and_aligned(void **state)
{
    static uint8_t memory[1 << 20] __attribute__((aligned(4096)));
    struct hvtlfs_partition *partition = NULL;
    size_t size;

    (void)state;
    assert_int_equal(hvtlfs_partition_size(&fixture.config, &size, NULL), HVTLFS_OK);
    assert_int_equal(hvtlfs_partition_init(memory, size - 1, &fixture.config, &partition, &error),
                     HVTLFS_ERR_MEMORY_SIZE);
    assert_int_equal(error.limit, size);
    assert_int_equal(hvtlfs_partition_init(memory + 8, size, &fixture.config, &partition, &error),
                     HVTLFS_ERR_MEMORY_ALIGNMENT);
    assert_null(partition);
    assert_int_equal(hvtlfs_partition_init(memory, size, &fixture.config, &partition, NULL),
                     HVTLFS_OK);
    assert_ptr_equal(partition, memory);
    assert_int_equal(hvtlfs_partition_init(NULL, size, &fixture.config, &partition, NULL),
                     HVTLFS_ERR_ARGUMENT);
    assert_int_equal(hvtlfs_partition_init(memory, size, &fixture.config, NULL, NULL),
                     HVTLFS_ERR_ARGUMENT);
    assert_int_equal(hvtlfs_partition_init(memory, size, NULL, &partition, NULL),
                     HVTLFS_ERR_ARGUMENT);
    assert_int_equal(hvtlfs_partition_size(&fixture.config, NULL, NULL), HVTLFS_ERR_ARGUMENT);
}

static void the_rest_of_a_bad_configuration_is_named_too(void **state)
{
    (void)state;
    fixture.config.gpa_bits = 31;
    expect_error(HVTLFS_ERR_GPA_BITS, "32 to 52");
    fixture.config.gpa_bits = 53;
    expect_error(HVTLFS_ERR_GPA_BITS, "53");
    expect_numbers(&error, 53, 52);
    fixture.config.gpa_bits = 52;
    fixture.config.cpuid_base = 0x40000080;
    expect_error(HVTLFS_ERR_CPUID_BASE, "0x40000000");
    expect_numbers(&error, 0x40000080, 0);
    fixture.config.cpuid_base = 0x40010000;
    expect_error(HVTLFS_ERR_CPUID_BASE, "0x40000000");
    fixture.config.cpuid_base = 0x3FFFFF00;
    expect_error(HVTLFS_ERR_CPUID_BASE, "0x40000000");
    fixture.config.cpuid_base = 0x40000100;
    fixture.config.trap = HVTLFS_TRAP_CUSTOM;
    expect_error(HVTLFS_ERR_TRAP, "1 to 16");
    fixture.config.trap_size = 17;
    expect_error(HVTLFS_ERR_TRAP, "17");
    expect_numbers(&error, 17, 16);
    fixture.config.trap = (enum hvtlfs_trap)9;
    expect_error(HVTLFS_ERR_TRAP, "trap");
    fixture.config.trap = HVTLFS_TRAP_NONE;
    memcpy(fixture.config.vendor, "ThirteenChars", 14);
    expect_error(HVTLFS_ERR_VENDOR, "12 characters");
    expect_numbers(&error, 0, 12);
    memcpy(fixture.config.vendor, "TwelveChars!", 13);
    assert_int_equal(try(NULL), HVTLFS_OK);
}

static uint16_t never(void *context, struct hvtlfs_host_call *call)
{
    (void)context;
    (void)call;
    return 0;
}

static void expect_call(const struct hvtlfs_call_handler *row, enum hvtlfs_status status)
{
    struct hvtlfs_call_handler call = *row;

    call.code = 0x1234;
    call.handle = never;
    fixture.config.calls = &call;
    fixture.config.call_count = 1;
    assert_int_equal(try(&error), status);
    if (status) {
        expect_numbers(&error, 0x1234, 0);
    }
}

/* <hvtlfs/host.h>: header with variable part 576 bytes, 96 in, 64 out for an element, 64 for a block. */
static void a_hosts_call_has_its_bounds(void **state)
{
    static const struct hvtlfs_call_handler most[] = {
        {.header = 576},
        {.header = 8, .variable_most = 71},
        {.rep = true, .element_in = 96, .element_out = 64},
        {.output = 64},
    };
    static const struct hvtlfs_call_handler more[] = {
        {.header = 584},
        {.header = 16, .variable_most = 71},
        {.rep = true, .element_in = 97},
        {.rep = true, .element_out = 65},
        {.output = 65},
        {.header = 9},
        {.rep = true, .output = 1},
        {.element_in = 1},
        {.element_out = 1},
    };
    const struct hvtlfs_call_handler twins[] = {
        {.code = 5, .handle = never}, {.code = 6, .handle = never}, {.code = 5, .handle = never}};

    (void)state;
    for (size_t i = 0; i < sizeof(most) / sizeof(most[0]); i++) {
        expect_call(&most[i], HVTLFS_OK);
    }
    for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++) {
        expect_call(&more[i], HVTLFS_ERR_HOST_CALL);
    }
    fixture.config.calls = twins;
    fixture.config.call_count = 2;
    assert_int_equal(try(NULL), HVTLFS_OK);
    fixture.config.call_count = 3;
    assert_int_equal(try(&error), HVTLFS_ERR_HOST_CALL);
    expect_numbers(&error, 5, 0);
    fixture.config.call_count = 65;
    assert_int_equal(try(&error), HVTLFS_ERR_HOST_CALL);
    expect_numbers(&error, 65, 64);
}

static void what_is_missing_is_named_without_numbers(void **state)
{
    struct hvtlfs_partition *partition;
    static uint8_t memory[4096] __attribute__((aligned(4096)));
    size_t size;

    (void)state;
    assert_int_equal(hvtlfs_partition_size(NULL, &size, &error), HVTLFS_ERR_ARGUMENT);
    expect_numbers(&error, 0, 0);
    assert_string_equal(error.name, "config");
    assert_int_equal(hvtlfs_partition_size(&fixture.config, NULL, &error), HVTLFS_ERR_ARGUMENT);
    expect_numbers(&error, 0, 0);
    assert_string_equal(error.name, "size");
    assert_int_equal(hvtlfs_partition_init(NULL, 4096, &fixture.config, &partition, &error),
                     HVTLFS_ERR_ARGUMENT);
    expect_numbers(&error, 0, 0);
    assert_string_equal(error.name, "memory");
    assert_int_equal(hvtlfs_partition_init(memory, 4096, &fixture.config, NULL, &error),
                     HVTLFS_ERR_ARGUMENT);
    expect_numbers(&error, 0, 0);
    assert_string_equal(error.name, "partition");
}

/* The second half of a set is nobody's yet, and reads as zero. */
static void sets_of_features_have_an_empty_second_word(void **state)
{
    struct hvtlfs_features features;

    (void)state;
    fixture_prepare(&fixture);
    fixture_start(&fixture);
    features = hvtlfs_partition_features(fixture.partition);
    assert_int_equal(features.word[1], 0);
    for (uint32_t feature = 0; feature <= HVTLFS_FEATURE_COUNT; feature++) {
        features = hvtlfs_feature_needs((enum hvtlfs_feature)feature);
        assert_int_equal(features.word[1], 0);
    }
    fixture_stop(&fixture);
}

static void a_feature_without_its_dependency_is_refused(void **state)
{
    (void)state;
    hvtlfs_features_remove(&fixture.config.features, HVTLFS_FEATURE_HYPERCALL);
    expect_error(HVTLFS_ERR_FEATURE_DEPENDENCY, "hv-vpindex needs hv-hypercall");
    hvtlfs_features_remove(&fixture.config.features, HVTLFS_FEATURE_VP_INDEX);
    assert_int_equal(try(NULL), HVTLFS_OK);
}

static void a_vp_limit_of_minus_1_is_no_limit_and_excludes_the_flush_hints(void **state)
{
    (void)state;
    fixture.config.max_vps = UINT32_MAX;
    assert_int_equal(try(NULL), HVTLFS_OK);
    hvtlfs_features_add(&fixture.config.features, HVTLFS_FEATURE_TLBFLUSH);
    expect_error(HVTLFS_ERR_FEATURE_CONFLICT, "leaf 4 EAX bits 1 and 2");
}

static void a_size_that_ends_inside_a_callback_ends_before_it(void **state)
{
    static uint8_t memory[1 << 20] __attribute__((aligned(4096)));
    struct hvtlfs_partition *partition;

    (void)state;
    hvtlfs_features_add(&fixture.config.features, HVTLFS_FEATURE_SPINLOCKS);
    fixture.config.ops.size = offsetof(struct hvtlfs_host_ops, spin_wait) + sizeof(void *) / 2;
    assert_int_equal(
        hvtlfs_partition_init(memory, sizeof(memory), &fixture.config, &partition, NULL),
        HVTLFS_OK);
    assert_string_equal(hvtlfs_feature_why_off(partition, HVTLFS_FEATURE_SPINLOCKS),
                        "the host gives no spin_wait");
}

static void structs_of_an_older_size_are_accepted_and_smaller_ones_refused(void **state)
{
    (void)state;
    fixture.config.size = 16;
    expect_error(HVTLFS_ERR_STRUCT_SIZE, "config.size");
    fixture.config.size = sizeof(fixture.config) + 64; /* a newer caller */
    assert_int_equal(try(NULL), HVTLFS_OK);
    fixture.config.ops.size = 8;
    expect_error(HVTLFS_ERR_STRUCT_SIZE, "ops.size");
}

/* Callbacks beyond the caller's own idea of the struct are as good as NULL. */
static void an_older_callers_struct_has_no_later_callbacks(void **state)
{
    static uint8_t memory[1 << 20] __attribute__((aligned(4096)));
    struct hvtlfs_partition *partition;

    (void)state;
    hvtlfs_features_add(&fixture.config.features, HVTLFS_FEATURE_SPINLOCKS);
    fixture.config.ops.size = offsetof(struct hvtlfs_host_ops, spin_wait);
    assert_int_equal(
        hvtlfs_partition_init(memory, sizeof(memory), &fixture.config, &partition, NULL),
        HVTLFS_OK);
    assert_string_equal(hvtlfs_feature_why_off(partition, HVTLFS_FEATURE_SPINLOCKS),
                        "the host gives no spin_wait");
}

static void without_its_callback_a_feature_is_off_and_says_so(void **state)
{
    struct hvtlfs_cpuid_regs regs = {0};
    struct hvtlfs_features features;

    (void)state;
    fixture_prepare(&fixture);
    fixture.features = "spinlocks=16";
    fixture_start(&fixture);
    assert_null(hvtlfs_feature_why_off(fixture.partition, HVTLFS_FEATURE_SPINLOCKS));
    assert_string_equal(hvtlfs_feature_why_off(fixture.partition, HVTLFS_FEATURE_RELAXED),
                        "it was not configured");
    hvtlfs_cpuid(fixture.vp, 0x40000004, 0, &regs);
    assert_int_equal(regs.ebx, 16);
    fixture_stop(&fixture);

    fixture_prepare(&fixture);
    fixture.host = model_host_create(&fixture.options);
    model_host_configure(fixture.host, &fixture.config);
    hvtlfs_features_add(&fixture.config.features, HVTLFS_FEATURE_SPINLOCKS);
    fixture.config.ops.spin_wait = NULL;
    fixture.size = 1 << 20;
    fixture.memory = fixture_allocate(fixture.size);
    assert_int_equal(hvtlfs_partition_init(fixture.memory, fixture.size, &fixture.config,
                                           &fixture.partition, NULL),
                     HVTLFS_OK);
    features = hvtlfs_partition_features(fixture.partition);
    assert_false(hvtlfs_features_has(&features, HVTLFS_FEATURE_SPINLOCKS));
    hvtlfs_cpuid(hvtlfs_partition_vp(fixture.partition, 0), 0x40000004, 0, &regs);
    assert_int_equal(regs.ebx, 0);
    fixture_stop(&fixture);
}

static void vps_are_found_by_the_index_the_host_gave(void **state)
{
    struct hvtlfs_vp_config vps[] = {{5, 0}, {4095, 1}, {0, 2}};

    (void)state;
    fixture.config.vps = vps;
    fixture.config.vp_count = 3;
    fixture_start(&fixture);
    assert_int_equal(hvtlfs_vp_index(hvtlfs_partition_vp(fixture.partition, 5)), 5);
    assert_int_equal(hvtlfs_vp_index(hvtlfs_partition_vp(fixture.partition, 4095)), 4095);
    expect_read(hvtlfs_partition_vp(fixture.partition, 4095), HV_X64_MSR_VP_INDEX, 4095);
    assert_null(hvtlfs_partition_vp(fixture.partition, 1));
    assert_null(hvtlfs_partition_vp(fixture.partition, 4096));
    assert_null(hvtlfs_partition_vp(fixture.partition, UINT32_MAX));
    fixture_stop(&fixture);
}

static void every_one_of_4096_vps_has_its_own_index(void **state)
{
    uint32_t i;

    (void)state;
    fixture.config.vp_count = 4096;
    fixture_start(&fixture);
    for (i = 0; i < 4096; i++) {
        expect_read(hvtlfs_partition_vp(fixture.partition, i), HV_X64_MSR_VP_INDEX, i);
    }
    fixture_stop(&fixture);
}

static void reset_returns_every_msr_and_uncovers_the_guests_memory(void **state)
{
    (void)state;
    fixture_start(&fixture);
    memset(model_host_ram(fixture.host, 0x5000), 0x77, 4096);
    expect_write(fixture.vp, HV_X64_MSR_GUEST_OS_ID, LINUX_ID);
    expect_write(fixture.vp, HV_X64_MSR_HYPERCALL, 0x5003);
    assert_int_equal(model_host_guest_read32(fixture.host, 0x5000), 0xC3C1010F);
    hvtlfs_partition_reset(fixture.partition);
    expect_read(fixture.vp, HV_X64_MSR_GUEST_OS_ID, 0);
    expect_read(fixture.vp, HV_X64_MSR_HYPERCALL, 0);
    assert_int_equal(model_host_guest_read32(fixture.host, 0x5000), 0x77777777);
    assert_int_equal(model_host_overlay_count(fixture.host), 0);
    /* Locked held until now. */
    expect_write(fixture.vp, HV_X64_MSR_GUEST_OS_ID, LINUX_ID);
    expect_write(fixture.vp, HV_X64_MSR_HYPERCALL, 0x6001);
    expect_read(fixture.vp, HV_X64_MSR_HYPERCALL, 0x6001);
    fixture_stop(&fixture);
}

static void partitions_know_nothing_of_each_other(void **state)
{
    struct fixture other;

    (void)state;
    fixture_start(&fixture);
    fixture_prepare(&other);
    fixture_start(&other);
    expect_write(fixture.vp, HV_X64_MSR_GUEST_OS_ID, 1);
    expect_read(other.vp, HV_X64_MSR_GUEST_OS_ID, 0);
    fixture_stop(&other);
    fixture_stop(&fixture);
}

static void an_error_text_is_cut_but_counted_whole(void **state)
{
    const struct hvtlfs_error full = {.status = HVTLFS_ERR_MEMORY_SIZE,
                                      .feature = HVTLFS_FEATURE_COUNT,
                                      .other = HVTLFS_FEATURE_COUNT,
                                      .value = 10,
                                      .limit = UINT64_MAX,
                                      .name = "size"};
    char whole[256], cut[8];
    size_t length = hvtlfs_error_text(&full, whole, sizeof(whole));

    (void)state;
    assert_int_equal(strlen(whole), length);
    assert_non_null(strstr(whole, "10"));
    assert_non_null(strstr(whole, "18446744073709551615"));
    assert_int_equal(hvtlfs_error_text(&full, cut, sizeof(cut)), length);
    assert_int_equal(strlen(cut), 7);
    assert_memory_equal(cut, whole, 7);
    assert_int_equal(hvtlfs_error_text(&full, NULL, 0), length);
}

static void every_status_has_a_meaning_of_its_own(void **state)
{
    int a, b;

    (void)state;
    for (a = HVTLFS_OK; a <= HVTLFS_ERR_TSC_RATE; a++) {
        for (b = HVTLFS_OK; b < a; b++) {
            assert_string_not_equal(hvtlfs_strerror((enum hvtlfs_status)a),
                                    hvtlfs_strerror((enum hvtlfs_status)b));
        }
    }
    assert_string_equal(hvtlfs_strerror((enum hvtlfs_status)9999), "unknown status");
}

int main(void)
{
#define HOSTED(test) cmocka_unit_test_setup_teardown(test, with_host, without_host)
    const struct CMUnitTest tests[] = {
        HOSTED(the_defaults_with_three_callbacks_make_a_partition),
        HOSTED(a_missing_required_callback_is_named),
        HOSTED(a_host_that_maps_overlays_needs_no_probe),
        HOSTED(the_number_of_vps_is_1_to_4096),
        HOSTED(a_vp_index_is_below_4096_and_given_once),
        HOSTED(an_apic_id_is_any_number_given_once),
        HOSTED(numbers_of_vps_are_not_confused),
        cmocka_unit_test(only_the_invariant_bit_of_its_leaf_is_hidden),
        HOSTED(memory_must_be_large_enough_and_aligned),
        HOSTED(the_rest_of_a_bad_configuration_is_named_too),
        HOSTED(a_hosts_call_has_its_bounds),
        HOSTED(what_is_missing_is_named_without_numbers),
        cmocka_unit_test(sets_of_features_have_an_empty_second_word),
        HOSTED(a_feature_without_its_dependency_is_refused),
        HOSTED(a_vp_limit_of_minus_1_is_no_limit_and_excludes_the_flush_hints),
        HOSTED(a_size_that_ends_inside_a_callback_ends_before_it),
        HOSTED(structs_of_an_older_size_are_accepted_and_smaller_ones_refused),
        HOSTED(an_older_callers_struct_has_no_later_callbacks),
        cmocka_unit_test(without_its_callback_a_feature_is_off_and_says_so),
        cmocka_unit_test_setup(vps_are_found_by_the_index_the_host_gave, prepare),
        cmocka_unit_test_setup(every_one_of_4096_vps_has_its_own_index, prepare),
        cmocka_unit_test_setup(reset_returns_every_msr_and_uncovers_the_guests_memory, prepare),
        cmocka_unit_test_setup(partitions_know_nothing_of_each_other, prepare),
        cmocka_unit_test(an_error_text_is_cut_but_counted_whole),
        cmocka_unit_test(every_status_has_a_meaning_of_its_own),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
