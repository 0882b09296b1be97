/* SPDX-License-Identifier: MIT */
/*
 * Numbers of the interface turned into words, without a partition: what a debugger, a log viewer or a trace
 * tool does. `hvtlfs decode` does the same and more.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <hvtlfs/hvtlfs.h>

static const char *or_unknown(const char *name)
{
    return name ? name : "without a name";
}

static void show_hypercall(uint64_t input, uint64_t result)
{
    struct hvtlfs_hypercall_input call;

    hvtlfs_hypercall_input_decode(input, &call);
    printf("0x%016" PRIx64 ": %s, %s, elements %u to %u\n", input,
           or_unknown(hvtlfs_call_name(call.code)), call.fast ? "fast" : "in memory",
           (unsigned)call.rep_start, (unsigned)call.rep_count);
    if (call.reserved_bits != 0) {
        printf("    reserved bits are set: 0x%" PRIx64 "\n", call.reserved_bits);
    }
    printf("    gave %s: %s\n", or_unknown(hvtlfs_hv_status_name((uint16_t)result)),
           or_unknown(hvtlfs_hv_status_meaning((uint16_t)result)));
}

static void show_guest(uint64_t os_id)
{
    struct hvtlfs_guest_os os;

    hvtlfs_guest_os_id_decode(os_id, &os);
    printf("0x%016" PRIx64 ": %s, %s", os_id, os.vendor_name, os.os_name);
    if (os.open_source) {
        printf(", version 0x%" PRIx32 "\n", os.version);
    } else {
        printf(" %u.%u, build %u\n", (unsigned)os.major_version, (unsigned)os.minor_version,
               (unsigned)os.build);
    }
}

/* The fields of a register of a leaf that are set. */
static unsigned show_leaf(uint32_t leaf, uint8_t reg, uint32_t value)
{
    unsigned set = 0;

    for (size_t i = 0; i < hvtlfs_cpuid_field_count(); i++) {
        const struct hvtlfs_cpuid_field *field = hvtlfs_cpuid_field_at(i);
        uint32_t bits;

        if (field->leaf != leaf || field->reg != reg) {
            continue;
        }
        bits = value >> field->lo & (uint32_t)((UINT64_C(2) << (field->hi - field->lo)) - 1);
        if (bits != 0) {
            printf("    %-32s %s\n", field->name, field->meaning);
            set++;
        }
    }
    return set;
}

int main(void)
{
    unsigned set;

    printf("MSR 0x40000021 is %s\n", or_unknown(hvtlfs_msr_name(0x40000021)));
    show_guest(UINT64_C(0x8100060100000000));
    show_guest(UINT64_C(0x0001040A00004A65));
    show_hypercall(UINT64_C(0x0000000300000003), UINT64_C(0x0000000300000000));
    show_hypercall(UINT64_C(0x8000000000010008), 3);
    printf("leaf 0x40000003 EAX = 0x260:\n");
    set = show_leaf(0x40000003, 0, 0x260);
    return set == 3 && strcmp(hvtlfs_msr_name(0x40000021), "HV_X64_MSR_REFERENCE_TSC") == 0 ? 0 : 1;
}
