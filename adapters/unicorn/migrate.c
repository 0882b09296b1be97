/* SPDX-License-Identifier: MIT */
/*
 * Live migration of a running guest: docs/MIGRATION.md on this machine.
 *
 * The destination is this program once more, started by the source, with one end of a socket. Memory
 * goes first, while the VPs run on; pages that they change go again. Then the VPs stop between two
 * instructions, time is frozen, and the rest goes: last pages, the library's state, the VPs' registers
 * and APICs. The destination makes a machine of its own from what arrives, and says so; only then the
 * source gives its guest up. If the destination fails, the source thaws its guest and goes on.
 *
 * Both ends are one program on one machine, so the host's own structures go as they are. The library's
 * state does not need that.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <hvtlfs/reftime.h>
#include <hvtlfs/state.h>
#include <hvtlfs/time.h>

#include "connections.h"
#include "machine.h"

enum {
    LIVE_PASSES = 2, /* over all memory, before the VPs stop */
    PAGE = HVTLFS_PAGE_SIZE,
};

#define LAST_PAGE UINT64_MAX /* instead of an address: no more pages */

/* A migration under way, at the source. */
struct migration {
    int wire;
    pid_t destination;
    uint32_t passes;
    uint8_t *sent; /* memory as the destination has it */
};

/* Behind the pages. */
struct announcement {
    uint64_t state_size;
    uint64_t console_size;
    uint64_t time; /* reference time, which the destination must find */
    uint64_t tsc;
    uint64_t tsc_hz;
    uint32_t moves;
    struct debugger debugger;
};

/* A VP, but for what is the library's. */
struct traveller {
    struct registers registers;
    uint64_t msrs[16];
    struct apic apic;
    struct tally tally;
    uint64_t runtime; /* in TSC ticks of the source */
    uint32_t npiep;
    bool halted;
    bool idle;
    bool shadow;
};

/* MSRs that Unicorn keeps: EFER first, then those of SYSENTER, SYSCALL, segment bases. */
static const uint32_t msrs[] = {
    0xC0000080, 0x174,      0x175,      0x176,      0x277, 0xC0000081,
    0xC0000082, 0xC0000083, 0xC0000084, 0xC0000100, 0xC0000101, 0xC0000102,
};
enum { MSRS = sizeof msrs / sizeof msrs[0] };

/* ---- The wire ---- */

static bool put(int wire, const void *data, size_t size)
{
    const uint8_t *next = data;

    while (size != 0) {
        ssize_t sent = send(wire, next, size, MSG_NOSIGNAL);

        if (sent < 0 && errno == EINTR) {
            continue;
        }
        if (sent <= 0) {
            return false;
        }
        next += sent;
        size -= (size_t)sent;
    }
    return true;
}

static bool get(int wire, void *data, size_t size)
{
    uint8_t *next = data;

    while (size != 0) {
        ssize_t got = read(wire, next, size);

        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return false;
        }
        next += got;
        size -= (size_t)got;
    }
    return true;
}

/* ---- The source ---- */

/* The pages that the destination has not, or not as they are now. */
static bool put_pages(struct machine *machine, struct migration *leaving)
{
    for (uint64_t gpa = 0; gpa < MACHINE_RAM_BYTES; gpa += PAGE) {
        if (memcmp(machine->ram + gpa, leaving->sent + gpa, PAGE) == 0) {
            continue;
        }
        memcpy(leaving->sent + gpa, machine->ram + gpa, PAGE);
        if (!put(leaving->wire, &gpa, sizeof gpa) ||
            !put(leaving->wire, leaving->sent + gpa, PAGE)) {
            return false;
        }
    }
    leaving->passes++;
    return true;
}

static bool put_state(struct machine *machine, int wire)
{
    struct announcement announcement = {
        .state_size = hvtlfs_state_size(machine->partition),
        .console_size = machine->console.size,
        .time = hvtlfs_reference_time(machine->vps[0].vp),
        .tsc = machine->tsc,
        .tsc_hz = machine->tsc_hz,
        .moves = machine->moves,
        .debugger = machine->debugger,
    };
    size_t size = announcement.state_size;
    uint8_t *state = malloc(size);
    bool sent = state != NULL &&
                hvtlfs_state_save(machine->partition, state, size, &size, NULL) == HVTLFS_OK &&
                put(wire, &announcement, sizeof announcement) && put(wire, state, size) &&
                put(wire, machine->console.text, machine->console.size);

    free(state);
    return sent;
}

static bool put_vp(const struct machine_vp *vp, int wire)
{
    struct traveller traveller = {
        .apic = vp->apic,
        .tally = vp->tally,
        .runtime = vp->runtime,
        .npiep = vp->npiep,
        .halted = vp->halted,
        .idle = vp->idle,
        .shadow = vp->shadow,
    };

    registers_get(vp, &traveller.registers);
    for (size_t i = 0; i < MSRS; i++) {
        uc_x86_msr msr = {.rid = msrs[i]};

        (void)uc_reg_read(vp->uc, UC_X86_REG_MSR, &msr);
        traveller.msrs[i] = msr.value;
    }
    return put(wire, &traveller, sizeof traveller);
}

static bool put_vps(const struct machine *machine, int wire)
{
    for (uint32_t n = 0; n < machine->vp_count; n++) {
        if (!put_vp(&machine->vps[n], wire)) {
            return false;
        }
    }
    return true;
}

/* The command line of this process, with the socket. */
static char **destination_argv(const struct host_options *options, char *incoming)
{
    char **argv = calloc((size_t)options->argc + 2, sizeof *argv);
    int count = 0;

    if (argv == NULL) {
        return NULL;
    }
    for (int i = 0; i < options->argc - 1; i++) {
        if (strncmp(options->argv[i], "--incoming", strlen("--incoming")) != 0) {
            argv[count++] = options->argv[i];
        }
    }
    argv[count++] = incoming;
    argv[count] = options->argv[options->argc - 1];
    return argv;
}

static void become_destination(const struct host_options *options, int wire)
{
    char incoming[32];
    char **argv;

    (void)snprintf(incoming, sizeof incoming, "--incoming=%d", wire);
    argv = destination_argv(options, incoming);
    if (argv != NULL) {
        (void)execv("/proc/self/exe", argv);
    }
    _exit(HOST_EXIT_USAGE);
}

static bool start_destination(struct machine *machine, struct migration *leaving)
{
    int wires[2];

    if (socketpair(AF_UNIX, SOCK_STREAM, 0, wires) != 0) {
        return false;
    }
    (void)fflush(NULL);
    leaving->wire = wires[0];
    leaving->destination = fork();
    if (leaving->destination == 0) {
        (void)close(wires[0]);
        become_destination(machine->options, wires[1]);
    }
    (void)close(wires[1]);
    return leaving->destination > 0;
}

static struct migration *begin(struct machine *machine)
{
    struct migration *leaving = calloc(1, sizeof *leaving);

    if (leaving != NULL) {
        leaving->wire = -1;
        leaving->sent = calloc(1, MACHINE_RAM_BYTES);
        if (leaving->sent != NULL && start_destination(machine, leaving)) {
            return leaving;
        }
        if (leaving->wire >= 0) {
            (void)close(leaving->wire);
        }
        free(leaving->sent);
        free(leaving);
    }
    machine->trouble = "no process to move the guest to";
    return NULL;
}

static enum host_exit end_of(pid_t process)
{
    int status;

    while (waitpid(process, &status, 0) < 0) {
        if (errno != EINTR) {
            return HOST_EXIT_USAGE;
        }
    }
    return WIFEXITED(status) ? (enum host_exit)WEXITSTATUS(status) : HOST_EXIT_USAGE;
}

static void stop_leaving(struct machine *machine)
{
    (void)close(machine->leaving->wire);
    free(machine->leaving->sent);
    free(machine->leaving);
    machine->leaving = NULL;
}

/* The guest is still here and goes on; the run has failed all the same. */
static void stay(struct machine *machine)
{
    pid_t destination = machine->leaving->destination;

    stop_leaving(machine);
    (void)end_of(destination);
    fprintf(stderr, "the guest could not be moved and goes on where it was\n");
    machine->next_move = UINT64_MAX;
    machine->stuck = true;
}

/* Unicorn takes a VP over only in ring 0, in 64-bit code: it lets nobody set what CS stands for. */
static bool movable(const struct machine_vp *vp)
{
    uint64_t selector = register_get(vp, UC_X86_REG_CS);
    uint64_t descriptor = 0;
    uc_x86_mmr gdtr = {0};

    (void)uc_reg_read(vp->uc, UC_X86_REG_GDTR, &gdtr);
    if (selector == 0) { /* before the guest's first descriptor table */
        return true;
    }
    return (selector & 7) == 0 && selector + 7 <= gdtr.limit &&
           memory_read_virtual(vp, gdtr.base + selector, &descriptor, sizeof descriptor) &&
           (descriptor >> 53 & 1) != 0;
}

static bool all_movable(const struct machine *machine)
{
    for (uint32_t n = 0; n < machine->vp_count; n++) {
        if (!movable(&machine->vps[n])) {
            return false;
        }
    }
    return true;
}

/* The VPs stand still: what is left, and the word that it has arrived. */
static bool hand_over(struct machine *machine, struct migration *leaving)
{
    static const uint64_t last = LAST_PAGE;
    uint8_t runs = 0;

    return put_pages(machine, leaving) && put(leaving->wire, &last, sizeof last) &&
           put_state(machine, leaving->wire) && put_vps(machine, leaving->wire) &&
           get(leaving->wire, &runs, 1);
}

static void leave(struct machine *machine)
{
    if (hvtlfs_freeze(machine->partition) != HVTLFS_OK) {
        machine->trouble = "the partition cannot be frozen";
    } else if (hand_over(machine, machine->leaving)) {
        machine->left = true;
    } else if (hvtlfs_thaw(machine->partition, 0) == HVTLFS_OK) {
        stay(machine);
    } else {
        machine->trouble = "the partition cannot be thawed";
    }
}

void machine_migrate(struct machine *machine)
{
    if (machine->leaving == NULL) {
        machine->leaving = begin(machine);
    }
    if (machine->leaving == NULL) {
        return;
    }
    if (machine->leaving->passes < LIVE_PASSES) {
        if (!put_pages(machine, machine->leaving)) {
            stay(machine);
        }
    } else if (all_movable(machine)) {
        leave(machine);
    }
}

enum host_exit machine_elsewhere(struct machine *machine)
{
    pid_t destination = machine->leaving->destination;

    stop_leaving(machine);
    machine_free(machine);
    *machine = (struct machine){.vp_count = 0};
    return end_of(destination);
}

/* ---- The destination ---- */

static bool get_pages(struct machine *machine, int wire)
{
    uint64_t gpa;

    while (get(wire, &gpa, sizeof gpa)) {
        if (gpa == LAST_PAGE) {
            return true;
        }
        if (gpa >= MACHINE_RAM_BYTES || gpa % PAGE != 0 || !get(wire, machine->ram + gpa, PAGE)) {
            return false;
        }
    }
    return false;
}

static const char *load(struct machine *machine, const uint8_t *state, size_t size)
{
    struct hvtlfs_vp_config vps[MACHINE_MAX_VPS];
    struct hvtlfs_config config;
    struct hvtlfs_error error;
    const char *wrong;

    hvtlfs_config_init(&config);
    if (hvtlfs_state_config(state, size, &config, vps, MACHINE_MAX_VPS, &error) != HVTLFS_OK) {
        return machine_sentence(&error);
    }
    machine->vp_count = config.vp_count;
    wrong = machine_partition(machine, &config);
    if (wrong == NULL) {
        wrong = machine_vps(machine);
    }
    if (wrong == NULL &&
        hvtlfs_state_load(machine->partition, state, size, &error) != HVTLFS_OK) {
        wrong = machine_sentence(&error);
    }
    return wrong != NULL ? wrong : connections_add(machine->partition, machine->vp_count);
}

static const char *get_state(struct machine *machine, int wire, struct announcement *announcement)
{
    const char *wrong = "the guest did not arrive";
    uint8_t *state = NULL;

    if (get(wire, announcement, sizeof *announcement) &&
        (state = malloc(announcement->state_size)) != NULL &&
        get(wire, state, announcement->state_size)) {
        machine->tsc = announcement->tsc;
        machine->moves = announcement->moves + 1;
        machine->debugger = announcement->debugger;
        if (machine->options->migrate_hz != 0 && machine->moves % 2 != 0) {
            machine->tsc_hz = machine->options->migrate_hz;
        }
        wrong = load(machine, state, announcement->state_size);
    }
    free(state);
    return wrong;
}

static bool get_console(struct machine *machine, int wire, uint64_t size)
{
    bool echo = machine->console.echo;
    uint8_t byte;

    machine->console.echo = false; /* it was shown when it was said */
    for (; size != 0 && get(wire, &byte, 1); size--) {
        console_put(&machine->console, byte);
    }
    machine->console.echo = echo;
    return size == 0;
}

/* Ticks of one rate in ticks of another. */
static uint64_t ticks_at(uint64_t ticks, uint64_t from_hz, uint64_t to_hz)
{
    __extension__ typedef unsigned __int128 wide;

    return (uint64_t)((wide)ticks * to_hz / from_hz);
}

static bool get_vp(struct machine_vp *vp, int wire, uint64_t source_hz)
{
    struct traveller traveller;

    if (!get(wire, &traveller, sizeof traveller)) {
        return false;
    }
    for (size_t i = 0; i < MSRS; i++) {
        uc_x86_msr msr = {.rid = msrs[i], .value = traveller.msrs[i]};

        (void)uc_reg_write(vp->uc, UC_X86_REG_MSR, &msr);
    }
    registers_put(vp, &traveller.registers);
    vp->apic = traveller.apic;
    vp->tally = traveller.tally;
    vp->runtime = ticks_at(traveller.runtime, source_hz, vp->machine->tsc_hz);
    vp->npiep = traveller.npiep;
    vp->halted = traveller.halted;
    vp->idle = traveller.idle;
    vp->shadow = traveller.shadow;
    vp->kicked = true; /* the library may have work since the freeze */
    return true;
}

static bool get_vps(struct machine *machine, int wire, uint64_t source_hz)
{
    for (uint32_t n = 0; n < machine->vp_count; n++) {
        if (!get_vp(&machine->vps[n], wire, source_hz)) {
            return false;
        }
    }
    return true;
}

static const char *go_on(struct machine *machine, int wire, const struct announcement *announcement)
{
    static const uint8_t runs = 1;

    if (hvtlfs_reference_time(machine->vps[0].vp) != announcement->time) {
        return "reference time did not stand still";
    }
    if (hvtlfs_thaw(machine->partition, 0) != HVTLFS_OK) {
        return "the partition cannot be thawed";
    }
    if (machine->options->migrate_every != 0) {
        machine->next_move = machine->tsc + machine->options->migrate_every;
    }
    return put(wire, &runs, 1) ? NULL : "the source is gone";
}

const char *machine_receive(struct machine *machine, const struct host_options *options)
{
    int wire = options->incoming;
    struct announcement announcement;
    const char *wrong = machine_memory(machine, options);

    if (wrong == NULL && !get_pages(machine, wire)) {
        wrong = "the guest's memory did not arrive";
    }
    if (wrong == NULL) {
        wrong = get_state(machine, wire, &announcement);
    }
    if (wrong == NULL && (!get_console(machine, wire, announcement.console_size) ||
                          !get_vps(machine, wire, announcement.tsc_hz))) {
        wrong = "the VPs did not arrive";
    }
    if (wrong == NULL) {
        wrong = go_on(machine, wire, &announcement);
    }
    (void)close(wire);
    return wrong;
}
