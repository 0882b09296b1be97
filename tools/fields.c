/* SPDX-License-Identifier: MIT */
#include "fields.h"

#include <string.h>

#include <hvtlfs/names.h>
#include <hvtlfs/tlfs.h>

#include "text.h"

#define ROWS(array) (sizeof(array) / sizeof(array)[0])

static const char *const register_names[4] = {"eax", "ebx", "ecx", "edx"};

const char *cpuid_register_name(unsigned reg)
{
    return register_names[reg & 3];
}

int cpuid_register_number(const char *name, size_t size)
{
    for (int i = 0; i < 4; i++) {
        char word[4] = {0};
        memcpy(word, name, size == 3 ? 3 : 0);
        if (same_word(word, register_names[i])) {
            return i;
        }
    }
    return -1;
}

/* ---- CPUID ---- */

static struct sheet_field as_sheet_field(const struct hvtlfs_cpuid_field *field)
{
    return (struct sheet_field){cpuid_register_name(field->reg), field->hi, field->lo, field->name,
                                field->meaning};
}

bool cpuid_fields_add(struct sheet *sheet, uint32_t leaf, unsigned reg, uint32_t value)
{
    const struct hvtlfs_cpuid_field *field;
    bool known = false;
    for (size_t i = 0; (field = hvtlfs_cpuid_field_at(i)) != NULL; i++) {
        if (field->leaf == leaf && field->reg == reg) {
            struct sheet_field shown = as_sheet_field(field);
            sheet_add(sheet, &shown, value);
            known = true;
        }
    }
    return known;
}

bool cpuid_fields_describe(struct sheet *sheet, uint32_t leaf)
{
    const struct hvtlfs_cpuid_field *field;
    bool known = false;
    for (size_t i = 0; (field = hvtlfs_cpuid_field_at(i)) != NULL; i++) {
        if (field->leaf == leaf) {
            struct sheet_field shown = as_sheet_field(field);
            sheet_describe(sheet, &shown);
            known = true;
        }
    }
    return known;
}

/* ---- MSRs ---- */

/* One field of `count` MSRs that stand `step` apart. */
struct msr_field {
    uint32_t first;
    uint8_t count;
    uint8_t step;
    uint8_t hi;
    uint8_t lo;
    const char *name;
    const char *meaning;
};

#define ONE(name) HV_X64_MSR_##name, 1, 1
#define SINTS HV_X64_MSR_SINT0, 16, 1
#define TIMERS(what) HV_X64_MSR_STIMER0_##what, 4, 2
#define PAGES(first, count) HV_X64_MSR_##first, count, 1

#define PAGE_FIELDS(where, what)                                                                   \
    {where, 0, 0, "Enable", "the page is in place"},                                               \
        {where, 11, 1, "Reserved", "to be preserved"},                                             \
    {                                                                                              \
        where, 63, 12, what, "its guest page number"                                               \
    }

/* Sorted by number and lowest bit. Sources: the sections named in tlfs.h beside each register. */
static const struct msr_field msr_fields[] = {
    {ONE(HYPERCALL), 0, 0, "Enable", "the hypercall page is in place"},
    {ONE(HYPERCALL), 1, 1, "Locked", "immutable until system reset"},
    {ONE(HYPERCALL), 11, 2, "Reserved", "to be preserved"},
    {ONE(HYPERCALL), 63, 12, "HypercallGpfn", "guest page number of the hypercall page"},
    {ONE(VP_INDEX), 31, 0, "VpIndex", "index of this VP"},
    {ONE(VP_INDEX), 63, 32, "Reserved", "zero"},
    {ONE(RESET), 0, 0, "Reset", "written as 1: reset the system"},
    {ONE(RESET), 63, 1, "Reserved", "zero"},
    {ONE(VP_RUNTIME), 63, 0, "VpRunTime", "run time of this VP in 100 ns"},
    {ONE(TIME_REF_COUNT), 63, 0, "Count", "reference time in 100 ns"},
    PAGE_FIELDS(ONE(REFERENCE_TSC), "GpaPageNumber"),
    {ONE(TSC_FREQUENCY), 63, 0, "Frequency", "TSC rate in Hz"},
    {ONE(APIC_FREQUENCY), 63, 0, "Frequency", "local APIC timer rate in Hz"},
    {ONE(NPIEP_CONFIG), 0, 0, "PreventSgdt", "SGDT faults outside the kernel"},
    {ONE(NPIEP_CONFIG), 1, 1, "PreventSidt", "SIDT faults outside the kernel"},
    {ONE(NPIEP_CONFIG), 2, 2, "PreventSldt", "SLDT faults outside the kernel"},
    {ONE(NPIEP_CONFIG), 3, 3, "PreventStr", "STR faults outside the kernel"},
    {ONE(NPIEP_CONFIG), 63, 4, "Reserved", "zero"},
    {ONE(EOI), 31, 0, "EoiValue", "end of interrupt"},
    {ONE(EOI), 63, 32, "Reserved", "zero"},
    {ONE(ICR), 31, 0, "IcrLow", "vector, delivery mode, shorthand"},
    {ONE(ICR), 63, 32, "IcrHigh", "destination"},
    {ONE(TPR), 7, 0, "TprValue", "task priority"},
    {ONE(TPR), 63, 8, "Reserved", "zero"},
    PAGE_FIELDS(ONE(VP_ASSIST_PAGE), "PagePfn"),
    {ONE(SCONTROL), 0, 0, "Enable", "this VP takes messages and events"},
    {ONE(SCONTROL), 63, 1, "Reserved", "to be preserved"},
    {ONE(SVERSION), 31, 0, "SynicVersion", "1 is the first"},
    {ONE(SVERSION), 63, 32, "Reserved", "zero"},
    PAGE_FIELDS(ONE(SIEFP), "BaseGpn"),
    PAGE_FIELDS(ONE(SIMP), "BaseGpn"),
    {ONE(EOM), 63, 0, "Reserved", "the write alone counts"},
    {SINTS, 7, 0, "Vector", "16 to 255"},
    {SINTS, 15, 8, "Reserved", "to be preserved"},
    {SINTS, 16, 16, "Masked", "no interrupt is requested"},
    {SINTS, 17, 17, "AutoEoi", "ends by itself on delivery"},
    {SINTS, 18, 18, "Polling", "not masked, but no interrupt either"},
    {SINTS, 63, 19, "Reserved", "to be preserved"},
    {TIMERS(CONFIG), 0, 0, "Enable", "the timer runs"},
    {TIMERS(CONFIG), 1, 1, "Periodic", "COUNT is a period, not a time"},
    {TIMERS(CONFIG), 2, 2, "Lazy", "may wait until the VP runs"},
    {TIMERS(CONFIG), 3, 3, "AutoEnable", "writing COUNT enables"},
    {TIMERS(CONFIG), 11, 4, "ApicVector", "the vector in direct mode"},
    {TIMERS(CONFIG), 12, 12, "DirectMode", "assert ApicVector, send no message"},
    {TIMERS(CONFIG), 15, 13, "Reserved", "zero"},
    {TIMERS(CONFIG), 19, 16, "Sintx", "the SINT whose slot takes the message"},
    {TIMERS(CONFIG), 63, 20, "Reserved", "zero"},
    {TIMERS(COUNT), 63, 0, "Count", "expiration time or period in 100 ns; 0 stops the timer"},
    PAGE_FIELDS(PAGES(STATS_PARTITION_RETAIL_PAGE, 4), "BaseGpn"),
    {HV_X64_MSR_CRASH_P0, 5, 1, 63, 0, "Parameter", "P3, P4: address, length of the message"},
    {ONE(CRASH_CTL), 57, 0, "Reserved", "zero"},
    {ONE(CRASH_CTL), 60, 58, "PreOSId", "which pre-OS environment crashed"},
    {ONE(CRASH_CTL), 61, 61, "NoCrashDump", "no dump will be written"},
    {ONE(CRASH_CTL), 62, 62, "CrashMessage", "P3 and P4 describe a message"},
    {ONE(CRASH_CTL), 63, 63, "CrashNotify", "take the parameters now"},
    {ONE(REENLIGHTENMENT_CONTROL), 7, 0, "Vector", "the notification's vector"},
    {ONE(REENLIGHTENMENT_CONTROL), 15, 8, "Reserved", "zero"},
    {ONE(REENLIGHTENMENT_CONTROL), 16, 16, "Enabled", "notify after a migration"},
    {ONE(REENLIGHTENMENT_CONTROL), 31, 17, "Reserved", "zero"},
    {ONE(REENLIGHTENMENT_CONTROL), 63, 32, "TargetVp", "index of the VP to be told"},
    {ONE(TSC_EMULATION_CONTROL), 0, 0, "Enabled", "emulate the old TSC rate after a migration"},
    {ONE(TSC_EMULATION_CONTROL), 63, 1, "Reserved", "zero"},
    {ONE(TSC_EMULATION_STATUS), 0, 0, "InProgress", "the TSC is being emulated"},
    {ONE(TSC_EMULATION_STATUS), 63, 1, "Reserved", "to be preserved"},
    {ONE(STIME_UNHALTED_TIMER_CONFIG), 7, 0, "Vector", "2 is an NMI"},
    {ONE(STIME_UNHALTED_TIMER_CONFIG), 8, 8, "Enabled", "the timer runs"},
    {ONE(STIME_UNHALTED_TIMER_CONFIG), 63, 9, "Reserved", "zero"},
    {ONE(STIME_UNHALTED_TIMER_COUNT), 63, 0, "Count", "period of unhalted time in 100 ns"},
};

static bool belongs_to(const struct msr_field *field, uint32_t number)
{
    uint32_t distance = number - field->first;
    return number >= field->first && distance % field->step == 0 &&
           distance / field->step < field->count;
}

bool msr_fields_add(struct sheet *sheet, uint32_t number, uint64_t value)
{
    bool known = false;
    for (size_t i = 0; i < ROWS(msr_fields); i++) {
        const struct msr_field *field = &msr_fields[i];
        if (belongs_to(field, number)) {
            sheet_add(sheet,
                      &(struct sheet_field){"", field->hi, field->lo, field->name, field->meaning},
                      value);
            known = true;
        }
    }
    return known;
}
