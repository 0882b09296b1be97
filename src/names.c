/* SPDX-License-Identifier: MIT */
#include <hvtlfs/names.h>

#include <hvtlfs/tlfs.h>

#define ROWS(array) (sizeof(array) / sizeof(array)[0])

struct named {
    uint32_t number;
    const char *name;
    const char *meaning; /* NULL in the tables that have none */
};

/* Sorted by number, like the tables they are made from. */
static const struct named statuses[] = {
#define STATUS(name_, meaning_) {name_, #name_, meaning_},
#include "statuses.def"
#undef STATUS
};

static const struct named calls[] = {
#define CALL(name_, gate_, input_, most_, reps_, in_, out_, output_, handler_, clause_)             \
    {name_, #name_, NULL},
#define ABSENT(name_, gate_, status_, clause_) {name_, #name_, NULL},
#include "hypercalls.def"
#undef CALL
#undef ABSENT
};

static const struct named registers[] = {
#define REGISTER(name_) {name_, #name_, NULL},
#include "registers.def"
#undef REGISTER
};

enum cpuid_register { CPUID_EAX, CPUID_EBX, CPUID_ECX, CPUID_EDX };

static const struct hvtlfs_cpuid_field cpuid_fields[] = {
#define CPUID_BITS(leaf_, reg_, hi_, lo_, name_, meaning_)                                         \
    {leaf_, CPUID_##reg_, hi_, lo_, #name_, meaning_},
#include "cpuid_bits.def"
#undef CPUID_BITS
};

static const struct named vendors[] = {
    {HV_GUEST_OS_VENDOR_MICROSOFT, "Microsoft", NULL},
    {HV_GUEST_OS_VENDOR_HPE, "HPE", NULL},
    {HV_GUEST_OS_VENDOR_BLACKBERRY, "BlackBerry", NULL},
    {HV_GUEST_OS_VENDOR_LANCOM, "LANCOM", NULL},
};

static const struct named microsoft_oses[] = {
    {HV_GUEST_OS_MICROSOFT_UNDEFINED, "undefined", NULL},
    {HV_GUEST_OS_MICROSOFT_MSDOS, "MS-DOS", NULL},
    {HV_GUEST_OS_MICROSOFT_WINDOWS_3X, "Windows 3.x", NULL},
    {HV_GUEST_OS_MICROSOFT_WINDOWS_9X, "Windows 9x", NULL},
    {HV_GUEST_OS_MICROSOFT_WINDOWS_NT, "Windows NT", NULL},
    {HV_GUEST_OS_MICROSOFT_WINDOWS_CE, "Windows CE", NULL},
};

static const struct named open_source_oses[] = {
    {HV_GUEST_OS_OPEN_LINUX, "Linux", NULL},
    {HV_GUEST_OS_OPEN_FREEBSD, "FreeBSD", NULL},
    {HV_GUEST_OS_OPEN_XEN, "Xen", NULL},
    {HV_GUEST_OS_OPEN_ILLUMOS, "illumos", NULL},
};

static const struct named *find(const struct named *rows, size_t count, uint32_t number)
{
    while (count != 0) {
        size_t middle = count / 2;

        if (rows[middle].number == number) {
            return &rows[middle];
        }
        if (rows[middle].number < number) {
            rows += middle + 1;
            count -= middle + 1;
        } else {
            count = middle;
        }
    }
    return NULL;
}

static const char *name_or(const char *otherwise, const struct named *rows, size_t count,
                           uint32_t number)
{
    const struct named *row = find(rows, count, number);

    return row != NULL ? row->name : otherwise;
}

const char *hvtlfs_hv_status_name(uint16_t status)
{
    return name_or(NULL, statuses, ROWS(statuses), status);
}

const char *hvtlfs_hv_status_meaning(uint16_t status)
{
    const struct named *row = find(statuses, ROWS(statuses), status);

    return row != NULL ? row->meaning : NULL;
}

const char *hvtlfs_call_name(uint16_t code)
{
    return name_or(NULL, calls, ROWS(calls), code);
}

const char *hvtlfs_register_name(uint32_t name)
{
    return name_or(NULL, registers, ROWS(registers), name);
}

size_t hvtlfs_cpuid_field_count(void)
{
    return ROWS(cpuid_fields);
}

const struct hvtlfs_cpuid_field *hvtlfs_cpuid_field_at(size_t i)
{
    return i < ROWS(cpuid_fields) ? &cpuid_fields[i] : NULL;
}

static uint64_t field(uint64_t value, uint64_t mask, unsigned shift)
{
    return (value & mask) >> shift;
}

#define OS_ID_FIELD(value, name)                                                                   \
    field(value, HV_MSR_GUEST_OS_ID_##name##_MASK, HV_MSR_GUEST_OS_ID_##name##_SHIFT)

static struct hvtlfs_guest_os open_source_os(uint64_t value)
{
    uint8_t os_type = (uint8_t)OS_ID_FIELD(value, OPEN_OS_TYPE);

    return (struct hvtlfs_guest_os){
        .open_source = true,
        .os_type = os_type,
        .os_id = (uint8_t)OS_ID_FIELD(value, OPEN_OS_ID),
        .version = (uint32_t)OS_ID_FIELD(value, OPEN_VERSION),
        .build = (uint16_t)OS_ID_FIELD(value, OPEN_BUILD),
        .vendor_name = "open source",
        .os_name = name_or("unknown", open_source_oses, ROWS(open_source_oses), os_type),
    };
}

static struct hvtlfs_guest_os proprietary_os(uint64_t value)
{
    uint16_t vendor_id = (uint16_t)OS_ID_FIELD(value, VENDOR_ID);
    uint8_t os_id = (uint8_t)OS_ID_FIELD(value, OS_ID);
    const char *os_name = "unknown";

    /* TLFS 2.6.1: the OS numbers are each vendor's own, and only Microsoft's are published. */
    if (vendor_id == HV_GUEST_OS_VENDOR_MICROSOFT) {
        os_name = name_or("unknown", microsoft_oses, ROWS(microsoft_oses), os_id);
    }
    return (struct hvtlfs_guest_os){
        .vendor_id = vendor_id,
        .os_id = os_id,
        .major_version = (uint8_t)OS_ID_FIELD(value, MAJOR),
        .minor_version = (uint8_t)OS_ID_FIELD(value, MINOR),
        .service_version = (uint8_t)OS_ID_FIELD(value, SERVICE_VERSION),
        .build = (uint16_t)OS_ID_FIELD(value, BUILD),
        .vendor_name = name_or("unknown", vendors, ROWS(vendors), vendor_id),
        .os_name = os_name,
    };
}

void hvtlfs_guest_os_id_decode(uint64_t value, struct hvtlfs_guest_os *out)
{
    *out = (value & HV_MSR_GUEST_OS_ID_OPEN_SOURCE) != 0 ? open_source_os(value)
                                                         : proprietary_os(value);
}

#define INPUT_FIELD(value, name)                                                                   \
    field(value, HV_HYPERCALL_INPUT_##name##_MASK, HV_HYPERCALL_INPUT_##name##_SHIFT)

void hvtlfs_hypercall_input_decode(uint64_t value, struct hvtlfs_hypercall_input *out)
{
    *out = (struct hvtlfs_hypercall_input){
        .code = (uint16_t)INPUT_FIELD(value, CALL_CODE),
        .fast = (value & HV_HYPERCALL_INPUT_FAST) != 0,
        .variable_header_qwords = (uint16_t)INPUT_FIELD(value, VARIABLE_HEADER_SIZE),
        .is_nested = (value & HV_HYPERCALL_INPUT_IS_NESTED) != 0,
        .rep_count = (uint16_t)INPUT_FIELD(value, REP_COUNT),
        .rep_start = (uint16_t)INPUT_FIELD(value, REP_START_INDEX),
        .reserved_bits = value & HV_HYPERCALL_INPUT_RSVD_Z_MASK,
    };
}
