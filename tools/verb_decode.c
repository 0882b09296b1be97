/* SPDX-License-Identifier: MIT */
/* hvtlfs decode: names and fields of any value. Each kind of value is one row and one function. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <hvtlfs/msr.h>
#include <hvtlfs/names.h>
#include <hvtlfs/tlfs.h>

#include "decode.h"
#include "fields.h"
#include "sheet.h"
#include "text.h"
#include "tool.h"

#define ROWS(array) (sizeof(array) / sizeof(array)[0])

static int bad_value(const struct tool_verb *verb, const char *expected, const char *word)
{
    return tool_error(verb, "expected %s, got '%s'", expected, word);
}

static bool number_word(const char *word, uint64_t max, uint64_t *value)
{
    return number_parse(word, strlen(word), value) && *value <= max;
}

/* A number, or a name of `space`. Returns TOOL_OK or the exit status. */
static int number_or_name(const struct tool_verb *verb, const struct name_space *space,
                          const char *word, uint64_t max, uint64_t *value)
{
    uint32_t number;
    const char *nearest;
    char suggestion[100];
    if (word[0] >= '0' && word[0] <= '9') {
        return number_word(word, max, value) ? TOOL_OK : bad_value(verb, "a number", word);
    }
    if (!name_find(space, word, &number, &nearest)) {
        tool_error(verb, "no %s is called '%s'%s", space->what, word,
                   tool_suggestion(nearest, suggestion, sizeof(suggestion)));
        return TOOL_FAILED;
    }
    *value = number;
    return TOOL_OK;
}

/* ---- os-id ---- */

static void add_proprietary(struct sheet *sheet, uint64_t value, const struct hvtlfs_guest_os *os)
{
    const struct sheet_field fields[] = {
        {"", 63, 63, "OsType", "the proprietary form"},
        {"", 62, 48, "VendorId", os->vendor_name},
        {"", 47, 40, "OsId", os->os_name},
        {"", 39, 32, "MajorVersion", ""},
        {"", 31, 24, "MinorVersion", ""},
        {"", 23, 16, "ServiceVersion", "service pack"},
        {"", 15, 0, "BuildNumber", ""},
    };
    for (size_t i = 0; i < ROWS(fields); i++) {
        sheet_add(sheet, &fields[i], value);
    }
}

static void add_open_source(struct sheet *sheet, uint64_t value, const struct hvtlfs_guest_os *os)
{
    char version[40] = "";
    if (os->os_type == HV_GUEST_OS_OPEN_LINUX) {
        (void)snprintf(version, sizeof(version), "as Linux writes it: %" PRIu32 ".%u.%u",
                       os->version >> 16, (unsigned)(os->version >> 8 & 0xFF),
                       (unsigned)(os->version & 0xFF));
    } else if (os->os_type == HV_GUEST_OS_OPEN_FREEBSD) {
        (void)snprintf(version, sizeof(version), "decimal: %" PRIu32, os->version);
    }
    const struct sheet_field fields[] = {
        {"", 63, 63, "OsType", "the open-source form"},
        {"", 62, 56, "OpenSourceOsType", os->os_name},
        {"", 55, 48, "OsId", "the OS's own"},
        {"", 47, 16, "Version", version},
        {"", 15, 0, "BuildNumber", ""},
    };
    for (size_t i = 0; i < ROWS(fields); i++) {
        sheet_add(sheet, &fields[i], value);
    }
}

static void add_os_id(struct sheet *sheet, uint64_t value)
{
    struct hvtlfs_guest_os os;
    hvtlfs_guest_os_id_decode(value, &os);
    if (os.open_source) {
        add_open_source(sheet, value, &os);
    } else {
        add_proprietary(sheet, value, &os);
    }
    if (value == 0) {
        sheet_note(sheet, "zero: the guest has not reported its identity");
    }
}

static int decode_os_id(const struct tool_verb *verb, struct sheet *sheet, int count, char **words)
{
    for (int i = 0; i < count; i++) {
        struct hvtlfs_guest_os os;
        uint64_t value;
        if (!number_word(words[i], UINT64_MAX, &value)) {
            return bad_value(verb, "a 64-bit number", words[i]);
        }
        hvtlfs_guest_os_id_decode(value, &os);
        sheet_begin(sheet);
        sheet_heading(sheet, "0x%016" PRIx64 "  %s, %s", value, os.vendor_name, os.os_name);
        sheet_value(sheet, "os-id", value);
        sheet_string(sheet, "vendor", os.vendor_name);
        sheet_string(sheet, "os", os.os_name);
        add_os_id(sheet, value);
        sheet_end(sheet);
    }
    return TOOL_OK;
}

/* ---- msr ---- */

static void add_msr_value(struct sheet *sheet, uint32_t number, uint64_t value)
{
    if (number == HV_X64_MSR_GUEST_OS_ID) {
        add_os_id(sheet, value);
    } else if (!msr_fields_add(sheet, number, value)) {
        sheet_note(sheet, "no layout is published");
    }
}

/* Why a number without a name may still be of interest. */
static const char *nameless_msr(uint32_t number)
{
    return number >= 0x40000000 && number <= 0x400001FF
               ? "no MSR of the TLFS; in its range, so an access faults"
               : "no MSR of the TLFS";
}

static int print_msr(struct sheet *sheet, uint32_t number, const uint64_t *value)
{
    const char *name = hvtlfs_msr_name(number);
    sheet_begin(sheet);
    sheet_value(sheet, "msr", number);
    if (name != NULL) {
        sheet_string(sheet, "name", name);
    }
    const char *shown = name != NULL ? name : nameless_msr(number);
    if (value == NULL) {
        sheet_heading(sheet, "0x%08" PRIx32 "  %s", number, shown);
    } else {
        sheet_heading(sheet, "0x%08" PRIx32 "  %s = 0x%" PRIx64, number, shown, *value);
        sheet_value(sheet, "value", *value);
        if (name != NULL) {
            add_msr_value(sheet, number, *value);
        }
    }
    sheet_end(sheet);
    return name != NULL ? TOOL_OK : TOOL_FAILED;
}

static int decode_msr(const struct tool_verb *verb, struct sheet *sheet, int count, char **words)
{
    int worst = TOOL_OK;
    for (int i = 0; i < count; i++) {
        uint64_t number = 0;
        uint64_t value = 0;
        char *equals = strchr(words[i], '=');
        if (equals != NULL) {
            *equals = '\0';
        }
        int status = number_or_name(verb, &msr_names, words[i], UINT32_MAX, &number);
        if (status == TOOL_OK && equals != NULL && !number_word(equals + 1, UINT64_MAX, &value)) {
            status = bad_value(verb, "a 64-bit number after the '='", equals + 1);
        }
        if (status == TOOL_USAGE) {
            return status;
        }
        if (status == TOOL_OK) {
            status = print_msr(sheet, (uint32_t)number, equals != NULL ? &value : NULL);
        }
        worst = status > worst ? status : worst;
    }
    return worst;
}

/* ---- hypercall ---- */

/* Calls that repeat, and calls with a variable header. Sources: beside each code in tlfs.h. */
static const uint16_t rep_calls[] = {
    HvCallFlushVirtualAddressList,
    HvCallModifyVtlProtectionMask,
    HvCallFlushVirtualAddressListEx,
    HvCallDepositMemory,
    HvCallWithdrawMemory,
    HvCallMapGpaPages,
    HvCallUnmapGpaPages,
    HvCallGetVpRegisters,
    HvCallSetVpRegisters,
    HvCallMapSparseGpaPages,
    HvCallModifySparseGpaPages,
    HvCallGetVpIndexFromApicId,
    HvCallFlushGuestPhysicalAddressList,
    HvCallCheckSparseGpaPageVtlAccess,
    HvCallAcceptGpaPages,
    HvCallModifySparseGpaPageHostVisibility,
    HvCallGetVpCpuidValues,
    HvCallInstallInterceptEx,
    HvCallPinGpaPageRanges,
    HvCallUnpinGpaPageRanges,
    HvCallQuerySparseGpaPageHostVisibility,
};

static const uint16_t variable_header_calls[] = {
    HvCallFlushVirtualAddressSpaceEx, HvCallFlushVirtualAddressListEx,
    HvCallSendSyntheticClusterIpiEx,  HvCallRetargetDeviceInterrupt,
    HvCallSetPartitionPropertyEx,
};

static bool listed(const uint16_t *codes, size_t count, uint16_t code)
{
    for (size_t i = 0; i < count; i++) {
        if (codes[i] == code) {
            return true;
        }
    }
    return false;
}

static const struct sheet_field input_fields[] = {
    {"", 15, 0, "CallCode", ""},
    {"", 16, 16, "Fast", "parameters in registers"},
    {"", 26, 17, "VariableHeaderSize", "in units of 8 bytes"},
    {"", 30, 27, "Reserved", "must be zero"},
    {"", 31, 31, "IsNested", "for the outer hypervisor"},
    {"", 43, 32, "RepCount", "repetitions in all"},
    {"", 47, 44, "Reserved", "must be zero"},
    {"", 59, 48, "RepStartIndex", "the first one to do"},
    {"", 63, 60, "Reserved", "must be zero"},
};

/* What TLFS 3.7 and 3.7.1 answer with HV_STATUS_INVALID_HYPERCALL_INPUT. */
static void add_complaints(struct sheet *sheet, const struct hvtlfs_hypercall_input *input)
{
    bool known = hvtlfs_call_name(input->code) != NULL;
    bool rep = listed(rep_calls, ROWS(rep_calls), input->code);
    bool variable = listed(variable_header_calls, ROWS(variable_header_calls), input->code);
    if (input->reserved_bits != 0) {
        sheet_note(sheet, "invalid: reserved bits 0x%" PRIx64 " are set", input->reserved_bits);
    }
    if (known && !rep && (input->rep_count != 0 || input->rep_start != 0)) {
        sheet_note(sheet, "invalid: a simple call, RepCount and RepStartIndex must be 0");
    }
    if (known && rep && input->rep_count == 0) {
        sheet_note(sheet, "invalid: a rep call, RepCount must not be 0");
    }
    if ((rep || !known) && input->rep_count != 0 && input->rep_start >= input->rep_count) {
        sheet_note(sheet, "invalid: RepStartIndex is not below RepCount");
    }
    if (known && !variable && input->variable_header_qwords != 0) {
        sheet_note(sheet, "invalid: a call without a variable header, its size must be 0");
    }
}

static int print_call(struct sheet *sheet, uint64_t value)
{
    struct hvtlfs_hypercall_input input;
    hvtlfs_hypercall_input_decode(value, &input);
    const char *name = hvtlfs_call_name(input.code);
    sheet_begin(sheet);
    sheet_heading(sheet, "0x%016" PRIx64 "  %s", value,
                  name != NULL ? name : "no call has this code");
    sheet_value(sheet, "hypercall", value);
    if (name != NULL) {
        sheet_string(sheet, "name", name);
    }
    for (size_t i = 0; i < ROWS(input_fields); i++) {
        sheet_add(sheet, &input_fields[i], value);
    }
    add_complaints(sheet, &input);
    sheet_end(sheet);
    return name != NULL ? TOOL_OK : TOOL_FAILED;
}

static int decode_hypercall(const struct tool_verb *verb, struct sheet *sheet, int count,
                            char **words)
{
    int worst = TOOL_OK;
    for (int i = 0; i < count; i++) {
        uint64_t value = 0;
        int status = number_or_name(verb, &call_names, words[i], UINT64_MAX, &value);
        if (status == TOOL_USAGE) {
            return status;
        }
        if (status == TOOL_OK) {
            status = print_call(sheet, value);
        }
        worst = status > worst ? status : worst;
    }
    return worst;
}

/* ---- status ---- */

static int print_status(struct sheet *sheet, uint64_t value)
{
    static const struct sheet_field fields[] = {
        {"", 15, 0, "Result", "the status"},
        {"", 31, 16, "Reserved", "to be ignored"},
        {"", 43, 32, "RepsCompleted", "repetitions done in all, counted from 0"},
        {"", 63, 44, "Reserved", "to be ignored"},
    };
    const char *name = hvtlfs_hv_status_name((uint16_t)value);
    const char *meaning = hvtlfs_hv_status_meaning((uint16_t)value);
    sheet_begin(sheet);
    sheet_heading(sheet, "0x%04" PRIx64 "  %s%s%s", value,
                  name != NULL ? name : "no status has this number", meaning != NULL ? ": " : "",
                  meaning != NULL ? meaning : "");
    sheet_value(sheet, "status", value);
    if (name != NULL) {
        sheet_string(sheet, "name", name);
        sheet_string(sheet, "meaning", meaning);
    }
    for (size_t i = 0; value > UINT16_MAX && i < ROWS(fields); i++) {
        sheet_add(sheet, &fields[i], value);
    }
    sheet_end(sheet);
    return name != NULL ? TOOL_OK : TOOL_FAILED;
}

static int decode_status(const struct tool_verb *verb, struct sheet *sheet, int count, char **words)
{
    int worst = TOOL_OK;
    for (int i = 0; i < count; i++) {
        uint64_t value = 0;
        int status = number_or_name(verb, &status_names, words[i], UINT64_MAX, &value);
        if (status == TOOL_USAGE) {
            return status;
        }
        if (status == TOOL_OK) {
            status = print_status(sheet, value);
        }
        worst = status > worst ? status : worst;
    }
    return worst;
}

/* ---- cpuid ---- */

/* The heading of a leaf is printed when its first word has been read. */
static void begin_leaf(struct sheet *sheet, uint32_t leaf)
{
    sheet_begin(sheet);
    sheet_heading(sheet, "0x%08" PRIx32, leaf);
    sheet_value(sheet, "leaf", leaf);
}

/* REG=VALUE; false if it is not that. */
static bool register_word(const char *word, int *reg, uint32_t *value)
{
    uint64_t number;
    const char *equals = strchr(word, '=');
    if (equals == NULL || !number_word(equals + 1, UINT32_MAX, &number)) {
        return false;
    }
    *reg = cpuid_register_number(word, (size_t)(equals - word));
    *value = (uint32_t)number;
    return *reg >= 0;
}

static bool is_field(const struct hvtlfs_cpuid_field *field, const char *word)
{
    return strcmp(field->name, "Reserved") != 0 && same_word(field->name, word);
}

/* Where fields of this name are. Several leaves may have one. */
static int find_field(const struct tool_verb *verb, struct sheet *sheet, const char *word)
{
    const struct hvtlfs_cpuid_field *field;
    bool found = false;
    struct nearest nearest;
    char suggestion[100];
    nearest_begin(&nearest, word);
    for (size_t i = 0; (field = hvtlfs_cpuid_field_at(i)) != NULL; i++) {
        nearest_offer(&nearest, field->name);
        if (is_field(field, word)) {
            begin_leaf(sheet, field->leaf);
            sheet_describe(sheet, &(struct sheet_field){cpuid_register_name(field->reg), field->hi,
                                                        field->lo, field->name, field->meaning});
            sheet_end(sheet);
            found = true;
        }
    }
    if (!found) {
        tool_error(verb, "no CPUID field is called '%s'%s", word,
                   tool_suggestion(nearest_answer(&nearest), suggestion, sizeof(suggestion)));
    }
    return found ? TOOL_OK : TOOL_FAILED;
}

static int describe_leaf(struct sheet *sheet, uint32_t leaf)
{
    begin_leaf(sheet, leaf);
    bool known = cpuid_fields_describe(sheet, leaf);
    if (!known) {
        sheet_note(sheet, "no fields of this leaf are known");
    }
    sheet_end(sheet);
    return known ? TOOL_OK : TOOL_FAILED;
}

/* The registers that follow a leaf; *used counts the words taken, 0 if the first is none. */
static int decode_registers(struct sheet *sheet, uint32_t leaf, int count, char **words, int *used)
{
    bool known = false;
    int reg;
    uint32_t value;
    if (!register_word(words[0], &reg, &value)) {
        *used = 0;
        return TOOL_USAGE;
    }
    begin_leaf(sheet, leaf);
    for (*used = 0; *used < count && register_word(words[*used], &reg, &value); (*used)++) {
        sheet_value(sheet, cpuid_register_name((unsigned)reg), value);
    }
    for (int i = 0; i < *used; i++) {
        (void)register_word(words[i], &reg, &value);
        known = cpuid_fields_add(sheet, leaf, (unsigned)reg, value) || known;
    }
    if (!known) {
        sheet_note(sheet, "no fields of this leaf are known");
    }
    sheet_end(sheet);
    return known ? TOOL_OK : TOOL_FAILED;
}

static int bad_register(const struct tool_verb *verb, const char *word)
{
    return bad_value(verb, "eax=, ebx=, ecx= or edx= and a 32-bit number", word);
}

/* LEAF.REG=VALUE; the dot has been cut out. */
static int decode_dotted(const struct tool_verb *verb, struct sheet *sheet, uint32_t leaf,
                         char *rest)
{
    int reg;
    uint32_t value;
    int used;
    return register_word(rest, &reg, &value) ? decode_registers(sheet, leaf, 1, &rest, &used)
                                             : bad_register(verb, rest);
}

/* One LEAF with what belongs to it, LEAF.REG=VALUE, or a name. *used counts the words taken. */
static int decode_cpuid_item(const struct tool_verb *verb, struct sheet *sheet, int count,
                             char **words, int *used)
{
    uint64_t leaf;
    char *dot = strchr(words[0], '.');
    *used = 1;
    if (words[0][0] < '0' || words[0][0] > '9') {
        return find_field(verb, sheet, words[0]);
    }
    if (dot != NULL) {
        *dot = '\0';
    }
    if (!number_word(words[0], UINT32_MAX, &leaf)) {
        return bad_value(verb, "a leaf: a 32-bit number", words[0]);
    }
    if (dot != NULL) {
        return decode_dotted(verb, sheet, (uint32_t)leaf, dot + 1);
    }
    bool has_registers =
        count > 1 && strchr(words[1], '=') != NULL && strchr(words[1], '.') == NULL;
    if (!has_registers) {
        return describe_leaf(sheet, (uint32_t)leaf);
    }
    int status = decode_registers(sheet, (uint32_t)leaf, count - 1, words + 1, used);
    if (*used == 0) {
        return bad_register(verb, words[1]);
    }
    *used += 1;
    return status;
}

static int decode_cpuid(const struct tool_verb *verb, struct sheet *sheet, int count, char **words)
{
    int worst = TOOL_OK;
    int used;
    for (int i = 0; i < count; i += used) {
        int status = decode_cpuid_item(verb, sheet, count - i, words + i, &used);
        if (status == TOOL_USAGE) {
            return status;
        }
        worst = status > worst ? status : worst;
    }
    return worst;
}

/* ---- The kinds ---- */

struct decode_kind {
    const char *name;
    const char *values; /* what to give it, for the message when it is missing */
    int (*run)(const struct tool_verb *verb, struct sheet *sheet, int count, char **words);
};

static const struct decode_kind kinds[] = {
    {"os-id", "a value such as 0x8100000000000000", decode_os_id},
    {"msr", "a number, a name or NUMBER=VALUE", decode_msr},
    {"hypercall", "an input value or a call's name", decode_hypercall},
    {"status", "a status, a result value or a name", decode_status},
    {"cpuid", "a leaf, LEAF REG=VALUE or a field's name", decode_cpuid},
};

static int unknown_kind(const struct tool_verb *verb, const char *word)
{
    struct nearest nearest;
    char suggestion[100];
    nearest_begin(&nearest, word);
    for (size_t i = 0; i < ROWS(kinds); i++) {
        nearest_offer(&nearest, kinds[i].name);
    }
    return tool_error(verb, "unknown kind '%s'%s; known: os-id, msr, hypercall, status, cpuid",
                      word,
                      tool_suggestion(nearest_answer(&nearest), suggestion, sizeof(suggestion)));
}

int verb_decode(const struct tool_verb *verb, int argc, char **argv)
{
    struct sheet sheet = {0};
    int status;
    const struct tool_option options[] = {
        {"--set", NULL, "only fields that are not 0", &sheet.only_set, NULL},
        {"--json", NULL, "one JSON object a value", &sheet.as_json, NULL},
    };
    if (!tool_options(verb, options, ROWS(options), &argc, argv, &status)) {
        return status;
    }
    if (argc < 1) {
        return tool_error(verb, "say of what kind the value is: os-id, msr, hypercall, status or "
                                "cpuid");
    }
    for (size_t i = 0; i < ROWS(kinds); i++) {
        if (strcmp(argv[0], kinds[i].name) == 0) {
            status = argc > 1 ? kinds[i].run(verb, &sheet, argc - 1, argv + 1)
                              : tool_error(verb, "%s needs %s", kinds[i].name, kinds[i].values);
            sheet_free(&sheet);
            return status;
        }
    }
    return unknown_kind(verb, argv[0]);
}
