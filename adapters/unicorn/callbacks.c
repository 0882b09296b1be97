/* SPDX-License-Identifier: MIT */
/* What the library asks of this machine. One thread runs everything, so there is no lock. */
#include <string.h>

#include <hvtlfs/stats.h>
#include <hvtlfs/vpset.h>

#include "machine.h"

static bool gpa_read(void *context, uint64_t gpa, void *buffer, size_t size)
{
    const uint8_t *from = memory_at(context, gpa);

    if (from == NULL) {
        return false;
    }
    memcpy(buffer, from, size);
    return true;
}

static bool gpa_write(void *context, uint64_t gpa, const void *buffer, size_t size)
{
    uint8_t *to = memory_at(context, gpa);

    if (to == NULL) {
        return false;
    }
    memcpy(to, buffer, size);
    memory_changed(context, gpa);
    return true;
}

static bool gpa_compare_exchange(void *context, uint64_t gpa, uint32_t *expected, uint32_t desired,
                                 bool *done)
{
    uint32_t *word = (uint32_t *)(void *)memory_at(context, gpa);

    if (word == NULL) {
        return false;
    }
    *done = __atomic_compare_exchange_n(word, expected, desired, false, __ATOMIC_SEQ_CST,
                                        __ATOMIC_SEQ_CST);
    memory_changed(context, gpa);
    return true;
}

static enum hvtlfs_gpa_kind gpa_probe(void *context, uint64_t gpa)
{
    (void)context;
    return memory_is_ram(gpa) ? HVTLFS_GPA_RAM : HVTLFS_GPA_NONE;
}

static bool overlay_set(void *context, const struct hvtlfs_overlay *overlay)
{
    return memory_overlay_set(context, overlay);
}

static void overlay_clear(void *context, const struct hvtlfs_overlay *overlay)
{
    memory_overlay_clear(context, overlay);
}

static void request_interrupt(void *context, uint32_t vp_index,
                              const struct hvtlfs_interrupt *interrupt)
{
    struct machine *machine = context;
    struct apic *apic = &machine->vps[vp_index].apic;

    if (interrupt->nmi) {
        apic->nmi = true;
    } else {
        apic_request(apic, interrupt->vector, interrupt->auto_eoi);
    }
}

static void kick(void *context, uint32_t vp_index)
{
    struct machine *machine = context;

    machine->vps[vp_index].kicked = true;
}

static void apic_send(struct machine *machine, const struct apic *sender, uint64_t icr)
{
    for (uint32_t n = 0; n < machine->vp_count; n++) {
        struct apic *apic = &machine->vps[n].apic;

        if (apic_addressed(apic, icr, sender)) {
            apic_request(apic, (uint32_t)(icr & 0xFF), false);
        }
    }
}

static void apic_write(void *context, uint32_t vp_index, enum hvtlfs_apic_register reg,
                       uint64_t value)
{
    struct machine *machine = context;
    struct apic *apic = &machine->vps[vp_index].apic;

    switch (reg) {
    case HVTLFS_APIC_EOI:
        apic_eoi(apic);
        break;
    case HVTLFS_APIC_TPR:
        apic->tpr = (uint32_t)value & 0xFF;
        break;
    case HVTLFS_APIC_ICR:
        apic->icr = value;
        apic_send(machine, apic, value);
        break;
    }
}

static uint64_t apic_read(void *context, uint32_t vp_index, enum hvtlfs_apic_register reg)
{
    const struct machine *machine = context;
    const struct apic *apic = &machine->vps[vp_index].apic;

    return reg == HVTLFS_APIC_TPR ? apic->tpr : apic->icr;
}

static uint64_t guest_tsc(void *context, uint32_t vp_index)
{
    const struct machine *machine = context;

    (void)vp_index;
    return machine->tsc;
}

/* In units of 100 ns. */
static uint64_t ticks_to_time(const struct machine *machine, uint64_t ticks)
{
    return ticks / machine->tsc_hz * 10000000 + ticks % machine->tsc_hz * 10000000 / machine->tsc_hz;
}

static uint64_t host_time(void *context)
{
    const struct machine *machine = context;

    return ticks_to_time(machine, machine->tsc);
}

/* Every RDTSC exits anyway, and gets what the library says. */
static void tsc_emulation(void *context, bool in_force)
{
    (void)context;
    (void)in_force;
}

static void arm_deadline(void *context, uint32_t vp_index, uint64_t deadline)
{
    struct machine *machine = context;

    machine->vps[vp_index].deadline = deadline;
}

static uint64_t vp_runtime(void *context, uint32_t vp_index)
{
    const struct machine *machine = context;

    return ticks_to_time(machine, machine->vps[vp_index].runtime);
}

static void system_reset(void *context, uint32_t vp_index)
{
    struct machine *machine = context;

    (void)vp_index;
    machine->trouble = "the guest reset the machine";
}

/* The report says so; the guest goes on. */
static void crash(void *context, uint32_t vp_index, const struct hvtlfs_crash *told)
{
    struct machine *machine = context;

    (void)told;
    machine->vps[vp_index].tally.crashes++;
}

static void npiep(void *context, uint32_t vp_index, uint32_t prevent)
{
    struct machine *machine = context;

    machine->vps[vp_index].npiep = prevent;
}

/* One counter, to have any: how often the VP has been given an interrupt. */
static void stats_page(void *context, uint32_t vp_index, enum hvtlfs_overlay_kind kind, bool shown)
{
    struct machine *machine = context;
    struct machine_vp *vp = &machine->vps[vp_index];

    if (shown) {
        (void)hvtlfs_stats_set(vp->vp, kind, 0, tally_sum(&vp->tally.interrupts));
    }
}

/* The VP gives the rest of its turn to the others. */
static void spin_wait(void *context, uint32_t vp_index, uint32_t spins)
{
    struct machine *machine = context;

    (void)spins;
    machine->vps[vp_index].budget = 0;
}

/* One thread runs all VPs, so that none of them is in the guest now. Writing CR3 empties the TLB. */
static void tlb_flush(void *context, uint32_t vp_index, const struct hvtlfs_vp_set *targets,
                      const struct hvtlfs_flush *flush)
{
    struct machine *machine = context;

    (void)vp_index;
    (void)flush;
    for (uint32_t n = 0; n < machine->vp_count; n++) {
        struct machine_vp *vp = &machine->vps[n];

        if (hvtlfs_vp_set_has(targets, n)) {
            register_set(vp, UC_X86_REG_CR3, register_get(vp, UC_X86_REG_CR3));
        }
    }
}

static bool debug_read(void *context, uint32_t vp_index, uint32_t number, uint64_t *value)
{
    const struct machine *machine = context;

    (void)vp_index;
    return debugger_read(&machine->debugger, number, value);
}

static bool debug_write(void *context, uint32_t vp_index, uint32_t number, uint64_t value)
{
    struct machine *machine = context;

    (void)vp_index;
    return debugger_write(&machine->debugger, number, value);
}

struct hvtlfs_host_ops machine_callbacks(void)
{
    return (struct hvtlfs_host_ops){
        .size = sizeof(struct hvtlfs_host_ops),
        .gpa_read = gpa_read,
        .gpa_write = gpa_write,
        .gpa_probe = gpa_probe,
        .gpa_compare_exchange = gpa_compare_exchange,
        .overlay_set = overlay_set,
        .overlay_clear = overlay_clear,
        .request_interrupt = request_interrupt,
        .kick = kick,
        .apic_write = apic_write,
        .apic_read = apic_read,
        .tlb_flush = tlb_flush,
        .guest_tsc = guest_tsc,
        .host_time = host_time,
        .tsc_emulation = tsc_emulation,
        .arm_deadline = arm_deadline,
        .spin_wait = spin_wait,
        .vp_runtime = vp_runtime,
        .system_reset = system_reset,
        .crash = crash,
        .npiep = npiep,
        .stats_page = stats_page,
        .debug_read = debug_read,
        .debug_write = debug_write,
    };
}
