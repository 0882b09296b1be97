/* SPDX-License-Identifier: MIT */
/* What users of QEMU, libvirt and Xen paste. */
#include "fixture.h"

#include <hvtlfs/paste.h>

static unsigned notes;

static void count_note(void *context, size_t offset, size_t size, const char *note)
{
    const char *text = context;

    assert_true(offset + size <= strlen(text));
    assert_true(size > 0);
    assert_true(strlen(note) > 10);
    notes++;
}

static struct hvtlfs_pasted paste(const char *text)
{
    struct hvtlfs_pasted pasted;
    char *exact = malloc(strlen(text) + 1);

    /* Without the NUL, so that a sanitizer sees a read too far. */
    assert_non_null(exact);
    memcpy(exact, text, strlen(text));
    notes = 0;
    assert_int_equal(hvtlfs_paste(exact, strlen(text), &pasted, NULL, NULL, NULL), HVTLFS_OK);
    assert_int_equal(
        hvtlfs_paste(text, strlen(text), &pasted, count_note, (void *)(uintptr_t)text, NULL),
        HVTLFS_OK);
    free(exact);
    return pasted;
}

/* Exactly these. */
static void expect_features(const struct hvtlfs_pasted *pasted, const char *text)
{
    struct hvtlfs_feature_list wanted = {.features = {{0, 0}}};

    assert_int_equal(hvtlfs_features_parse(&wanted, text, strlen(text), NULL), HVTLFS_OK);
    assert_int_equal(pasted->list.features.word[0], wanted.features.word[0]);
}

static void test_a_plain_list_adds_to_the_minimal_one(void **state)
{
    struct hvtlfs_pasted pasted = paste("relaxed,spinlocks=0x1fff");

    (void)state;
    assert_int_equal(pasted.syntax, HVTLFS_SYNTAX_LIST);
    expect_features(&pasted, "hypercall,vpindex,relaxed,spinlocks");
    assert_int_equal(pasted.list.spin_count, 0x1FFF);
    assert_int_equal(pasted.toggles, 2);
}

static void test_names_are_counted_in_a_list(void **state)
{
    (void)state;
    assert_int_equal(paste("").toggles, 0);
    assert_int_equal(paste(" , ,").toggles, 0);
    assert_int_equal(paste("relaxed").toggles, 1);
    assert_int_equal(paste("relaxed, ,vapic,time").toggles, 3);
}

static void test_a_qemu_command_line(void **state)
{
    struct hvtlfs_pasted pasted =
        paste("qemu-system-x86_64 -enable-kvm -m 8G -cpu host,kvm=off,hv_vendor_id=null,hv_relaxed,"
              "hv_spinlocks=0x1fff,hv_vapic,hv_time,-hypervisor,+topoext -smp 8 -drive file=hv-x");

    (void)state;
    assert_int_equal(pasted.syntax, HVTLFS_SYNTAX_QEMU);
    expect_features(&pasted, "hypercall,relaxed,spinlocks,vapic,time");
    assert_int_equal(pasted.list.spin_count, 0x1FFF);
    assert_string_equal(pasted.vendor, "null");
    assert_int_equal(pasted.toggles, 5);
}

static void test_proxmox_args(void **state)
{
    struct hvtlfs_pasted pasted = paste(
        "args: -cpu 'host,hv_ipi,hv_relaxed,hv_reset,hv_runtime,hv_spinlocks=0x1fff,hv_stimer,"
        "hv_synic,hv_time,hv_vapic,hv_vpindex,+kvm_pv_eoi,+kvm_pv_unhalt'");

    (void)state;
    expect_features(&pasted,
                    "hypercall,ipi,relaxed,reset,runtime,spinlocks,stimer,synic,time,vapic,"
                    "vpindex");
}

static void test_qemu_switches_and_aliases(void **state)
{
    struct hvtlfs_pasted pasted = paste(
        "-cpu EPYC,hv-relaxed=on,hv-time=true,hv-synic,hv-synic=off,hv-apicv,hv-syndbg=no,\\\n"
        "  hv-evmcs,hv-passthrough,hv-version-id-build=0x3839,hv-no-nonarch-coresharing=auto");

    (void)state;
    expect_features(&pasted, "hypercall,relaxed,time,avic,no-nonarch-coresharing");
    assert_int_equal(notes, 3);
}

static void test_libvirt_domain(void **state)
{
    struct hvtlfs_pasted pasted = paste(
        "<domain type='kvm'><features><acpi/><apic/><hyperv mode=\"custom\">\n"
        "  <!-- <crash state='on'/> -->\n"
        "  <relaxed state='on'/><vapic state='on'/><spinlocks state='on' retries='8191'/>\n"
        "  <vpindex state = \"on\"/><runtime state='off'/><synic state='on'/>\n"
        "  <stimer state='on'>\n    <direct state='on'/>\n  </stimer>\n"
        "  <vendor_id state='on' value='KVM Hv'/><evmcs state='on'/>\n"
        "  <tlbflush state='on'><direct state='on'/><extended state='on'/></tlbflush>\n"
        "</hyperv></features><clock><timer name='rtc'/><timer name='hypervclock' present='yes'/>"
        "</clock></domain>");

    (void)state;
    assert_int_equal(pasted.syntax, HVTLFS_SYNTAX_LIBVIRT);
    expect_features(&pasted, "hypercall,relaxed,vapic,spinlocks,vpindex,synic,stimer,stimer-direct,"
                             "tlbflush,tlbflush-ext,time");
    assert_int_equal(pasted.list.spin_count, 8191);
    assert_string_equal(pasted.vendor, "KVM Hv");
    assert_int_equal(notes, 2); /* evmcs, tlbflush direct */
}

static void test_libvirt_elements_alone(void **state)
{
    struct hvtlfs_pasted pasted = paste("<relaxed state='on'/><xmm_input state='on'/>");

    (void)state;
    expect_features(&pasted, "hypercall,relaxed,xmm-input");
}

static void test_xen_lists(void **state)
{
    struct hvtlfs_pasted pasted =
        paste("builder='hvm'\nviridian = [\"base\", 'freq', \"!apic_assist\","
              "\"reference_tsc\", \"hcall_remote_tlb_flush\"]\nvcpus=4\n");

    (void)state;
    assert_int_equal(pasted.syntax, HVTLFS_SYNTAX_XEN);
    expect_features(&pasted, "hypercall,vpindex,relaxed,spinlocks,frequencies,reference-tsc,"
                             "tlbflush,ex-processor-masks=off,vapic=off");
}

static void test_xen_switches(void **state)
{
    struct hvtlfs_pasted pasted = paste("viridian=1");

    (void)state;
    expect_features(&pasted, "hypercall,vpindex,vapic,relaxed,spinlocks,frequencies,time-ref-count,"
                             "crash,no-vp-limit,cpu-hotplug");
    assert_int_equal(pasted.list.spin_count, 2047);
    pasted = paste("viridian=0");
    expect_features(&pasted, "");
    pasted = paste("viridian=[\"defaults\",\"stimer\",\"!crash_ctl\"]");
    expect_features(&pasted, "hypercall,vpindex,vapic,relaxed,spinlocks,frequencies,time-ref-count,"
                             "no-vp-limit,cpu-hotplug,stimer,synic,post-messages=off,"
                             "signal-events=off");
}

static void expect_error(const char *text, enum hvtlfs_status status, const char *culprit)
{
    struct hvtlfs_pasted pasted, before;
    struct hvtlfs_error error = {.value = 99};

    memset(&pasted, 0x5A, sizeof(pasted));
    before = pasted;
    assert_int_equal(hvtlfs_paste(text, strlen(text), &pasted, NULL, NULL, &error), status);
    assert_memory_equal(&pasted, &before, sizeof(pasted));
    assert_int_equal(error.status, status);
    assert_int_equal(error.limit, strlen(culprit));
    assert_memory_equal(text + error.value, culprit, strlen(culprit));
}

static void test_a_mistake_is_pointed_at(void **state)
{
    (void)state;
    expect_error("-cpu host,hv-relaxd,hv-time", HVTLFS_ERR_UNKNOWN_FEATURE, "relaxd");
    expect_error("-cpu host,hv-spinlocks=lots", HVTLFS_ERR_FEATURE_VALUE, "lots");
    expect_error("-cpu host,hv-time=maybe", HVTLFS_ERR_FEATURE_VALUE, "maybe");
    expect_error("-cpu host,hv-vendor-id=ThirteenChars", HVTLFS_ERR_VENDOR, "ThirteenChars");
    expect_error("<hyperv><relaxt state='on'/></hyperv>", HVTLFS_ERR_UNKNOWN_FEATURE, "relaxt");
    expect_error("viridian=[\"bass\"]", HVTLFS_ERR_UNKNOWN_FEATURE, "bass");
    expect_error("relaxed,vapik", HVTLFS_ERR_UNKNOWN_FEATURE, "vapik");
    assert_int_equal(hvtlfs_paste("", 0, NULL, NULL, NULL, NULL), HVTLFS_ERR_ARGUMENT);
}

/* Every prefix of a text, and every text with one byte changed: an answer, no crash. */
static void test_mutilated_text_is_answered(void **state)
{
    static const char *const texts[] = {
        "-cpu host,hv_vendor_id=abc,hv_relaxed,hv_spinlocks=0x1fff,\\\n hv_time -cpu x,hv-ipi",
        ("<hyperv mode='custom'><!-- a --><stimer state='on'><direct state='on'/></stimer></hyperv>"
         "<timer name='hypervclock' present='no'/>"),
        "viridian=[\"base\",\"!freq\"]",
        "relaxed,spinlocks=1,time=off",
    };
    static const char bytes[] = "\0<>'\"=,/!-[] ";

    (void)state;
    for (size_t t = 0; t < sizeof(texts) / sizeof(texts[0]); t++) {
        size_t size = strlen(texts[t]);

        for (size_t i = 0; i <= size; i++) {
            char *copy = malloc(size + 1);
            struct hvtlfs_pasted pasted;

            assert_non_null(copy);
            memcpy(copy, texts[t], size + 1);
            copy = realloc(copy, i ? i : 1);
            (void)hvtlfs_paste(copy, i, &pasted, NULL, NULL, NULL);
            copy = realloc(copy, size + 1);
            for (size_t b = 0; b < sizeof(bytes); b++) {
                memcpy(copy, texts[t], size + 1);
                copy[i] = bytes[b];
                (void)hvtlfs_paste(copy, size, &pasted, NULL, NULL, NULL);
            }
            free(copy);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_plain_list_adds_to_the_minimal_one),
        cmocka_unit_test(test_names_are_counted_in_a_list),
        cmocka_unit_test(test_a_qemu_command_line),
        cmocka_unit_test(test_proxmox_args),
        cmocka_unit_test(test_qemu_switches_and_aliases),
        cmocka_unit_test(test_libvirt_domain),
        cmocka_unit_test(test_libvirt_elements_alone),
        cmocka_unit_test(test_xen_lists),
        cmocka_unit_test(test_xen_switches),
        cmocka_unit_test(test_a_mistake_is_pointed_at),
        cmocka_unit_test(test_mutilated_text_is_answered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
