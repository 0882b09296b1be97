/* SPDX-License-Identifier: MIT */
/*
 * A small virtual machine on Unicorn: one emulator for each VP, all in one thread, sharing the guest's
 * memory. Unicorn's shared memory is not atomic between threads, so VPs take turns; with a TSC that
 * counts instructions a run is the same every time.
 *
 * Unicorn runs until something happens that it leaves to us (hooks.c notes what and stops it); then
 * exits.c asks the library what the guest must see, events.c delivers exceptions and interrupts, and
 * the next VP gets its turn.
 */
#ifndef HVTLFS_UNICORN_MACHINE_H
#define HVTLFS_UNICORN_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#include <unicorn/unicorn.h>

#include <hvtlfs/host.h>
#include <hvtlfs/partition.h>

#include "apic.h"
#include "debugger.h"
#include "report.h"

enum {
    MACHINE_MAX_VPS = 16,
    MACHINE_OVERLAYS = 128,
    MACHINE_ALIASES = 32,
    MACHINE_GPA_BITS = 40,
    REGISTER_VALUES = 26,
    REGISTER_TABLES = 4,
    REGISTER_XMMS = 16,
};

#define MACHINE_RAM_BYTES (UINT64_C(16) << 20)
#define MACHINE_HOLE_GPA UINT64_C(0xD0000000)
#define MACHINE_TSC_HZ UINT64_C(1000000000) /* of the first process */
#define MACHINE_APIC_HZ UINT64_C(100000000)

/* Why Unicorn stopped. */
enum exit_kind {
    EXIT_SLICE, /* the VP has had its turn */
    EXIT_RDMSR,
    EXIT_WRMSR,
    EXIT_RDTSC,
    EXIT_HLT,
    EXIT_HYPERCALL, /* VMCALL or VMMCALL */
    EXIT_EXCEPTION, /* Unicorn raised one */
    EXIT_PREVENTED, /* an instruction that NPIEP prevents */
    EXIT_REFUSED,   /* a store to a page the guest may not write */
    EXIT_FINISHED,  /* the guest wrote to the exit port */
};

struct machine;

/* What Unicorn keeps of a VP besides MSRs, to carry it from one state of Unicorn to another. */
struct registers {
    uint64_t values[REGISTER_VALUES];
    uc_x86_mmr tables[REGISTER_TABLES];
    uint64_t xmm[REGISTER_XMMS][2];
};

struct migration;

struct machine_vp {
    struct machine *machine;
    uint32_t number;
    uc_engine *uc;
    struct hvtlfs_vp *vp;
    struct apic apic;
    struct tally tally;
    struct exit_counts exits;

    enum exit_kind exit;
    uint32_t exit_size;   /* of the instruction, in bytes */
    uint32_t exit_vector; /* with EXIT_EXCEPTION */

    uint32_t budget;   /* instructions left in this turn */
    bool halted;       /* until an interrupt gets in */
    bool idle;         /* until an interrupt is pending, whether it can get in or not (TLFS 7.5) */
    uint32_t npiep;    /* prevented outside ring 0: 1 SGDT, 2 SIDT, 4 SLDT, 8 STR */
    uint64_t runtime;  /* TSC ticks in the guest */
    bool shadow;       /* STI was the last instruction */
    bool look;         /* something may have to get in before the next instruction */
    bool kicked;       /* the library has work for this VP */
    uint64_t deadline; /* the library's, or HVTLFS_TIME_NEVER */
    uc_context *ring0; /* the VP when it last began in ring 0; see events.c */
    bool ring0_saved;
    uint64_t aliases[MACHINE_ALIASES]; /* see memory.c */
    uint32_t alias_count;
    const uint8_t *code;   /* the page that instructions came from last, or NULL */
    uint64_t code_address; /* its virtual address */
};

/* A page that the library put over the guest's. */
struct machine_overlay {
    uint64_t gpa;
    uint8_t *page;
    uint32_t access;
};

struct machine {
    struct debugger debugger;
    const struct host_options *options;
    struct console console;
    struct stretches stretches;
    uint8_t *ram;
    struct hvtlfs_partition *partition;
    struct machine_overlay overlays[MACHINE_OVERLAYS];
    uint32_t overlay_count;
    uint64_t tsc; /* of all VPs */
    uint64_t tsc_hz;
    uint64_t next_move;        /* TSC at which migrate.c has work, or UINT64_MAX */
    uint32_t moves;            /* between processes, so far */
    struct migration *leaving; /* on its way to another process, see migrate.c */
    bool left;                 /* it runs elsewhere now */
    bool stuck;                /* it could not be moved */
    struct machine_vp vps[MACHINE_MAX_VPS];
    uint32_t vp_count;
    bool finished;
    uint32_t status;
    const char *trouble; /* set to end the run */
};

/* machine.c: make a machine with the guest in it. Returns NULL or what is wrong. */
const char *machine_init(struct machine *machine, const struct host_options *options);
void machine_free(struct machine *machine);

/* Run until the guest finishes, something goes wrong or the time is up. */
void machine_run(struct machine *machine);

/* callbacks.c: what the library may ask of this host. */
struct hvtlfs_host_ops machine_callbacks(void);

/* hooks.c: have Unicorn tell us what we need to know. */
uc_err machine_hook(struct machine_vp *vp);

/* exits.c: do what the exit asks for. */
void exit_handle(struct machine_vp *vp);

/* An exit has happened: count it, here and as what it is, and let it take its time. */
void exit_count(struct machine_vp *vp, uint64_t *kind);

/* cpuid.c: CPUID on this machine, hypervisor leaves included. */
struct hvtlfs_cpuid_regs machine_cpuid(struct machine_vp *vp, uint32_t leaf, uint32_t subleaf);

/* apic_page.c: the APIC's registers where a guest looks for them. */
bool apic_page_map(struct machine_vp *vp);

/* events.c: put the VP at the guest's handler. */
void event_exception(struct machine_vp *vp, uint32_t vector, uint32_t error);
bool event_interrupts_open(const struct machine_vp *vp);
void event_interrupt(struct machine_vp *vp, uint32_t vector);
void event_turn_begins(struct machine_vp *vp);
uint32_t event_cpl(const struct machine_vp *vp);

/* memory.c: guest memory by physical and by virtual address. False: not memory, not mapped. */
uint8_t *memory_at(struct machine *machine, uint64_t gpa);
bool memory_is_ram(uint64_t gpa);
bool memory_translate(const struct machine_vp *vp, uint64_t address, uint64_t *gpa);
bool memory_read_virtual(const struct machine_vp *vp, uint64_t address, void *buffer, size_t size);
bool memory_write_virtual(const struct machine_vp *vp, uint64_t address, const void *buffer,
                          size_t size);
void memory_changed(struct machine *machine, uint64_t gpa); /* from outside: it may be code */
bool memory_map_all(struct machine_vp *vp);
bool memory_map_missing(struct machine_vp *vp, uint64_t address);
bool memory_overlay_set(struct machine *machine, const struct hvtlfs_overlay *overlay);
void memory_overlay_clear(struct machine *machine, const struct hvtlfs_overlay *overlay);

/* machine.c, for migrate.c: the parts of machine_init(), in their order. The host's own part of the
 * configuration is filled in. */
const char *machine_memory(struct machine *machine, const struct host_options *options);
const char *machine_partition(struct machine *machine, struct hvtlfs_config *config);
const char *machine_vps(struct machine *machine);
const char *machine_sentence(const struct hvtlfs_error *error);

/* migrate.c. Take the guest that arrives at options->incoming. When it is time, go a step towards having
 * this one in another process; once it is there, machine->left is set. Then wait for that process. */
const char *machine_receive(struct machine *machine, const struct host_options *options);
void machine_migrate(struct machine *machine);
enum host_exit machine_elsewhere(struct machine *machine);

/* registers.c: Unicorn's registers by value. */
uint64_t register_get(const struct machine_vp *vp, int which);
void register_set(struct machine_vp *vp, int which, uint64_t value);
void registers_get(const struct machine_vp *vp, struct registers *registers);
void registers_put(struct machine_vp *vp, const struct registers *registers);
void register_skip(struct machine_vp *vp); /* RIP past the instruction of the exit */

#endif
