/* SPDX-License-Identifier: MIT */
#include "machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <hvtlfs/vapic.h>

#include "boot.h"
#include "connections.h"
#include "image.h"

enum {
    TURN = 2000,       /* instructions that a VP runs before the next one's turn */
    IDLE_TICKS = 1000, /* how far the TSC goes when every VP is halted */
    BOOT_INFO_GPA = 0x8000,
};

#define ENTRY_RFLAGS UINT64_C(2)

/* A sentence about what the library did not like; it lives as long as the program. */
const char *machine_sentence(const struct hvtlfs_error *error)
{
    static char text[256];

    (void)hvtlfs_error_text(error, text, sizeof text);
    return text;
}

static void set_host(struct hvtlfs_config *config, struct machine *machine)
{
    config->ops = machine_callbacks();
    if (machine->options->copy_overlays) {
        config->ops.overlay_set = NULL;
        config->ops.overlay_clear = NULL;
    }
    config->context = machine;
    config->tsc_hz = machine->tsc_hz;
    config->invariant_tsc = !machine->options->tsc_varies;
}

static struct hvtlfs_config configuration(const struct machine *machine)
{
    struct hvtlfs_config config;

    hvtlfs_config_init(&config);
    config.vp_count = machine->vp_count;
    config.features = machine->options->list.features;
    config.spin_count = machine->options->list.spin_count;
    config.gpa_bits = MACHINE_GPA_BITS;
    config.trap = machine->options->trap;
    config.apic_hz = MACHINE_APIC_HZ;
    return config;
}

const char *machine_partition(struct machine *machine, struct hvtlfs_config *config)
{
    struct hvtlfs_error error;
    size_t size;
    void *memory;

    set_host(config, machine);
    connections_configure(config);
    if (hvtlfs_partition_size(config, &size, &error) != HVTLFS_OK) {
        return machine_sentence(&error);
    }
    size = (size + HVTLFS_PAGE_SIZE - 1) / HVTLFS_PAGE_SIZE * HVTLFS_PAGE_SIZE;
    memory = aligned_alloc(HVTLFS_PARTITION_ALIGNMENT, size);
    if (memory == NULL) {
        return "out of memory";
    }
    if (hvtlfs_partition_init(memory, size, config, &machine->partition, &error) != HVTLFS_OK) {
        free(memory);
        return machine_sentence(&error);
    }
    return NULL;
}

static void boot_info_put(struct machine *machine)
{
    struct boot_info info = {
        .magic = BOOT_MAGIC,
        .size = sizeof info,
        .flags = BOOT_SURVIVES_CRASH |
                 (machine->options->copy_overlays ? BOOT_HAS_APIC : BOOT_EVERYTHING) |
                 (machine->options->survey ? BOOT_SURVEY : 0) |
                 (machine->options->bench ? BOOT_BENCH : 0) |
                 (machine->options->apic_page ? BOOT_APIC_PAGE : 0),
        .vp_count = machine->vp_count,
        .argument = machine->options->argument,
        .ram_bytes = MACHINE_RAM_BYTES,
        .hole_gpa = MACHINE_HOLE_GPA,
    };

    memcpy(machine->ram + BOOT_INFO_GPA, &info, sizeof info);
}

static const char *vp_open(struct machine *machine, uint32_t number)
{
    struct machine_vp *vp = &machine->vps[number];
    uc_err error;

    vp->machine = machine;
    vp->number = number;
    vp->deadline = HVTLFS_TIME_NEVER;
    vp->vp = hvtlfs_partition_vp(machine->partition, number);
    apic_init(&vp->apic, number, number == 0);
    error = uc_open(UC_ARCH_X86, UC_MODE_64, &vp->uc);
    if (error == UC_ERR_OK) {
        /* No address ends the run; given one, Unicorn would walk the guest's page tables for it. */
        error = uc_ctl_exits_enable(vp->uc);
    }
    if (error == UC_ERR_OK) {
        error = uc_context_alloc(vp->uc, &vp->ring0);
    }
    if (error == UC_ERR_OK) {
        error = machine_hook(vp);
    }
    if (error != UC_ERR_OK) {
        return uc_strerror(error);
    }
    return memory_map_all(vp) ? NULL : "Unicorn cannot map the guest's memory";
}

const char *machine_vps(struct machine *machine)
{
    const char *wrong = NULL;

    for (uint32_t n = 0; wrong == NULL && n < machine->vp_count; n++) {
        wrong = vp_open(machine, n);
    }
    return wrong;
}

const char *machine_memory(struct machine *machine, const struct host_options *options)
{
    *machine = (struct machine){
        .options = options,
        .vp_count = options->vps,
        .tsc_hz = MACHINE_TSC_HZ,
        .next_move = options->migrate_every != 0 ? options->migrate_every : UINT64_MAX,
    };
    machine->console.echo = !options->json;
    machine->ram = aligned_alloc(HVTLFS_PAGE_SIZE, MACHINE_RAM_BYTES);
    if (machine->ram == NULL) {
        return "out of memory";
    }
    memset(machine->ram, 0, MACHINE_RAM_BYTES);
    return NULL;
}

static void enter(struct machine_vp *vp, uint64_t entry)
{
    register_set(vp, UC_X86_REG_RIP, entry);
    register_set(vp, UC_X86_REG_RDI, BOOT_INFO_GPA);
    register_set(vp, UC_X86_REG_RSI, vp->number);
    register_set(vp, UC_X86_REG_RFLAGS, ENTRY_RFLAGS);
}

const char *machine_init(struct machine *machine, const struct host_options *options)
{
    const char *wrong = machine_memory(machine, options);
    struct hvtlfs_config config = configuration(machine);
    uint64_t entry;

    if (wrong != NULL || (wrong = image_load(options->guest, machine->ram, MACHINE_RAM_BYTES,
                                             &entry)) != NULL ||
        (wrong = machine_partition(machine, &config)) != NULL ||
        (wrong = connections_add(machine->partition, machine->vp_count)) != NULL ||
        (wrong = machine_vps(machine)) != NULL) {
        return wrong;
    }
    boot_info_put(machine);
    for (uint32_t n = 0; n < machine->vp_count; n++) {
        enter(&machine->vps[n], entry);
    }
    return NULL;
}

void machine_free(struct machine *machine)
{
    for (uint32_t n = 0; n < machine->vp_count; n++) {
        if (machine->vps[n].ring0 != NULL) {
            (void)uc_context_free(machine->vps[n].ring0);
        }
        if (machine->vps[n].uc != NULL) {
            (void)uc_close(machine->vps[n].uc);
        }
    }
    free(machine->partition);
    free(machine->ram);
    console_free(&machine->console);
}

/* Let the library and the APIC have their say before the VP's next instruction. */
static void let_in(struct machine_vp *vp)
{
    int vector;

    if (vp->kicked || vp->deadline != HVTLFS_TIME_NEVER) {
        vp->kicked = false;
        hvtlfs_vp_poll(vp->vp);
    }
    if (vp->apic.nmi || apic_next(&vp->apic) != APIC_NO_VECTOR) {
        vp->idle = false;
    }
    if (vp->apic.nmi) {
        vp->apic.nmi = false;
        event_interrupt(vp, 2);
        return;
    }
    vector = apic_next(&vp->apic);
    if (vector != APIC_NO_VECTOR && event_interrupts_open(vp)) {
        apic_accept(&vp->apic, (uint32_t)vector);
        event_interrupt(vp, (uint32_t)vector);
    }
}

/* The guest may end what is in service without an exit, if nothing waits for that; every interrupt here
 * is edge-triggered. Whether it did is asked for after the exit. */
static void eoi_arm(struct machine_vp *vp)
{
    int vector = apic_in_service(&vp->apic);

    if (vector != APIC_NO_VECTOR) {
        (void)!hvtlfs_lazy_eoi_arm(vp->vp, (uint32_t)vector, HVTLFS_TRIGGER_EDGE,
                                   apic_pending(&vp->apic));
    }
}

static void eoi_collect(struct machine_vp *vp)
{
    if (hvtlfs_lazy_eoi_collect(vp->vp) != HVTLFS_NO_EOI) {
        vp->tally.lazy_eois++;
        apic_eoi(&vp->apic);
    }
}

/* Run up to the next exit and handle it. */
static void step(struct machine_vp *vp)
{
    uint64_t before = vp->machine->tsc;
    uc_err error;

    vp->exit = EXIT_SLICE;
    vp->code = NULL;
    event_turn_begins(vp);
    eoi_arm(vp);
    error = uc_emu_start(vp->uc, register_get(vp, UC_X86_REG_RIP), 0, 0, 0);
    eoi_collect(vp);
    vp->runtime += vp->machine->tsc - before;
    if (error != UC_ERR_OK && vp->exit == EXIT_SLICE) {
        vp->machine->trouble = uc_strerror(error);
        return;
    }
    exit_handle(vp);
}

static bool over(const struct machine *machine)
{
    return machine->finished || machine->left || machine->trouble != NULL;
}

/* One VP's turn; returns whether it ran. */
static bool turn(struct machine_vp *vp)
{
    bool ran = false;

    vp->budget = TURN;
    while (vp->budget > 0 && !over(vp->machine)) {
        let_in(vp);
        if (vp->halted || vp->idle || over(vp->machine)) {
            break;
        }
        step(vp);
        ran = true;
    }
    return ran;
}

static bool deadline_ahead(const struct machine *machine)
{
    for (uint32_t n = 0; n < machine->vp_count; n++) {
        if (machine->vps[n].deadline != HVTLFS_TIME_NEVER) {
            return true;
        }
    }
    return false;
}

static void round_of_turns(struct machine *machine)
{
    bool ran = false;

    for (uint32_t n = 0; n < machine->vp_count && !over(machine); n++) {
        ran = turn(&machine->vps[n]) || ran;
    }
    if (ran || over(machine)) {
        return;
    }
    if (deadline_ahead(machine)) {
        machine->tsc += IDLE_TICKS;
    } else {
        machine->trouble = "every VP is halted and nothing will wake one";
    }
}

void machine_run(struct machine *machine)
{
    time_t end = time(NULL) + (time_t)machine->options->timeout_s;

    while (!over(machine)) {
        round_of_turns(machine);
        if (machine->tsc >= machine->next_move && !over(machine)) {
            machine_migrate(machine);
        }
        if (time(NULL) > end) {
            machine->trouble = "the time is up";
        }
    }
}
