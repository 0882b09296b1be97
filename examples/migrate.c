/* SPDX-License-Identifier: MIT */
/*
 * Live migration, the pause of it: docs/MIGRATION.md as a program.
 *
 * Two processes, a socket between them. The source runs a guest for a while, freezes it and sends its
 * memory and its state. The destination has a TSC of another rate; it asks whether the state can run
 * here, loads it, thaws it and goes on. The guest's time is continuous, its pages and messages are there.
 *
 * The guests are scripts: main() stands for the VP. The hosts copy overlays, for all they have is memory.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <hvtlfs/hvtlfs.h>
#include <hvtlfs/state.h>
#include <hvtlfs/synic.h>
#include <hvtlfs/time.h>

#define RAM_SIZE 0x10000u
#define MOST_VPS 4u
#define HYPERCALL_PAGE 0x5000u
#define TSC_PAGE 0x6000u
#define MESSAGE_PAGE 0x7000u
#define SINT2_SLOT (MESSAGE_PAGE + 2 * 256)
#define SOURCE_HZ UINT64_C(1000000000)
#define DESTINATION_HZ UINT64_C(2500000000)

static void expect(bool true_here, const char *what)
{
    if (!true_here) {
        fprintf(stderr, "migrate: not so: %s\n", what);
        _exit(1);
    }
}

/* ---- A host: memory, a TSC that moves when told to, the interrupts it was asked for ---- */

struct vmm {
    struct hvtlfs_partition *partition;
    struct hvtlfs_vp *vp;
    uint64_t tsc;
    unsigned interrupts[256]; /* by vector */
    _Alignas(4096) uint8_t ram[RAM_SIZE];
};

static bool in_ram(uint64_t gpa, size_t size)
{
    return size <= RAM_SIZE && gpa <= RAM_SIZE - size;
}

static bool gpa_read(void *context, uint64_t gpa, void *buffer, size_t size)
{
    const struct vmm *vmm = context;

    if (!in_ram(gpa, size)) {
        return false;
    }
    memcpy(buffer, vmm->ram + gpa, size);
    return true;
}

static bool gpa_write(void *context, uint64_t gpa, const void *buffer, size_t size)
{
    struct vmm *vmm = context;

    if (!in_ram(gpa, size)) {
        return false;
    }
    memcpy(vmm->ram + gpa, buffer, size);
    return true;
}

static enum hvtlfs_gpa_kind gpa_probe(void *context, uint64_t gpa)
{
    (void)context;
    return in_ram(gpa, 1) ? HVTLFS_GPA_RAM : HVTLFS_GPA_NONE;
}

static bool gpa_compare_exchange(void *context, uint64_t gpa, uint32_t *expected, uint32_t desired,
                                 bool *done)
{
    struct vmm *vmm = context;

    if (!in_ram(gpa, sizeof(desired))) {
        return false;
    }
    *done = __atomic_compare_exchange_n((uint32_t *)(void *)(vmm->ram + gpa), expected, desired,
                                        false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    return true;
}

static void request_interrupt(void *context, uint32_t vp_index,
                              const struct hvtlfs_interrupt *interrupt)
{
    struct vmm *vmm = context;

    (void)vp_index;
    vmm->interrupts[interrupt->vector & 0xFF]++;
}

static uint64_t guest_tsc(void *context, uint32_t vp_index)
{
    const struct vmm *vmm = context;

    (void)vp_index;
    return vmm->tsc;
}

/* This VP polls after every step, so there is nobody to kick and no timer to arm. */
static void kick(void *context, uint32_t vp_index)
{
    (void)context, (void)vp_index;
}

static void arm_deadline(void *context, uint32_t vp_index, uint64_t deadline)
{
    (void)context, (void)vp_index, (void)deadline;
}

static void tsc_emulation(void *context, bool in_force)
{
    (void)context, (void)in_force; /* this guest has no RDTSC */
}

static void set_host(struct hvtlfs_config *config, struct vmm *vmm, uint64_t tsc_hz)
{
    config->context = vmm;
    config->ops.gpa_read = gpa_read;
    config->ops.gpa_write = gpa_write;
    config->ops.gpa_probe = gpa_probe;
    config->ops.gpa_compare_exchange = gpa_compare_exchange;
    config->ops.request_interrupt = request_interrupt;
    config->ops.guest_tsc = guest_tsc;
    config->ops.kick = kick;
    config->ops.arm_deadline = arm_deadline;
    config->ops.tsc_emulation = tsc_emulation;
    config->tsc_hz = tsc_hz;
    config->invariant_tsc = true;
}

static void make_partition(struct vmm *vmm, const struct hvtlfs_config *config)
{
    size_t size;
    void *memory;

    expect(hvtlfs_partition_size(config, &size, NULL) == HVTLFS_OK, "the configuration is good");
    size += HVTLFS_PARTITION_ALIGNMENT - size % HVTLFS_PARTITION_ALIGNMENT;
    memory = aligned_alloc(HVTLFS_PARTITION_ALIGNMENT, size);
    expect(memory && !hvtlfs_partition_init(memory, size, config, &vmm->partition, NULL),
           "a partition can be made");
    vmm->vp = hvtlfs_partition_vp(vmm->partition, 0);
    /* cppcheck-suppress memleak; the partition is its first byte, and end() frees that */
}

static void end(struct vmm *vmm)
{
    free(vmm->partition); /* the first byte of its memory */
    free(vmm);
}

/* ---- What the guest does ---- */

static void write_msr(struct vmm *vmm, uint32_t number, uint64_t value)
{
    expect(hvtlfs_msr_write(vmm->vp, number, value) == HVTLFS_MSR_DONE, hvtlfs_msr_name(number));
}

static uint64_t read_msr(struct vmm *vmm, uint32_t number)
{
    uint64_t value = 0;

    expect(hvtlfs_msr_read(vmm->vp, number, &value) == HVTLFS_MSR_DONE, hvtlfs_msr_name(number));
    return value;
}

/* Time as guests compute it from the page (TLFS 12.7.3), without an exit. */
static uint64_t page_time(const struct vmm *vmm)
{
    uint32_t sequence;
    uint64_t scale, offset;

    memcpy(&sequence, vmm->ram + TSC_PAGE, 4);
    memcpy(&scale, vmm->ram + TSC_PAGE + 8, 8);
    memcpy(&offset, vmm->ram + TSC_PAGE + 16, 8);
    expect(sequence != 0, "the TSC page is valid");
    /* The high half of tsc * scale, by halves. */
    {
        uint64_t a = vmm->tsc >> 32, b = vmm->tsc & UINT32_MAX;
        uint64_t c = scale >> 32, d = scale & UINT32_MAX;
        uint64_t middle = (b * d >> 32) + (a * d & UINT32_MAX) + (b * c & UINT32_MAX);

        return a * c + (a * d >> 32) + (b * c >> 32) + (middle >> 32) + offset;
    }
}

/* The message in SINT 2's slot, 0 if there is none; the guest empties the slot and asks for more. */
static uint32_t take_message(struct vmm *vmm)
{
    static const uint32_t none = 0;
    uint32_t type;

    hvtlfs_vp_poll(vmm->vp);
    memcpy(&type, vmm->ram + SINT2_SLOT, 4);
    memcpy(vmm->ram + SINT2_SLOT, &none, 4);
    write_msr(vmm, 0x40000084, 0); /* EOM */
    return type;
}

static void post(struct vmm *vmm, uint32_t type)
{
    const struct hvtlfs_message message = {.type = type};

    expect(!hvtlfs_synic_post_message(vmm->vp, 2, &message), "a message can be posted");
}

/* ---- The wire ---- */

static void put(int wire, const void *data, size_t size)
{
    const uint8_t *next = data;

    while (size) {
        ssize_t sent = write(wire, next, size);

        expect(sent > 0, "the socket takes bytes");
        next += sent;
        size -= (size_t)sent;
    }
}

static void get(int wire, void *data, size_t size)
{
    uint8_t *next = data;

    while (size) {
        ssize_t got = read(wire, next, size);

        expect(got > 0, "the socket gives bytes");
        next += got;
        size -= (size_t)got;
    }
}

/* Sent before memory and state. The time is for the check at the other end only. */
struct announcement {
    uint64_t state_size;
    uint64_t time;
};

/* ---- The source ---- */

static void start_guest(struct vmm *vmm)
{
    struct hvtlfs_config config;
    struct hvtlfs_feature_list list;
    static const char names[] = "time,frequencies,synic,reenlightenment";

    hvtlfs_config_init(&config);
    hvtlfs_feature_list_minimal(&list);
    expect(!hvtlfs_features_parse(&list, names, strlen(names), NULL), "these are features");
    config.features = list.features;
    config.trap = HVTLFS_TRAP_VMCALL;
    config.apic_hz = 100000000;
    set_host(&config, vmm, SOURCE_HZ);
    make_partition(vmm, &config);
}

static void run_guest(struct vmm *vmm)
{
    memset(vmm->ram + HYPERCALL_PAGE, 0xA5, 4096);            /* the guest's own, soon covered */
    write_msr(vmm, 0x40000000, UINT64_C(0x8100060100000000)); /* GUEST_OS_ID: a Linux */
    write_msr(vmm, 0x40000001, HYPERCALL_PAGE | 1);
    write_msr(vmm, 0x40000021, TSC_PAGE | 1);     /* REFERENCE_TSC */
    write_msr(vmm, 0x40000106, 0x100EE);          /* tell me of migrations: vector 0xEE */
    write_msr(vmm, 0x40000083, MESSAGE_PAGE | 1); /* SIMP */
    write_msr(vmm, 0x40000092, 0x52);             /* SINT2: vector 0x52 */
    write_msr(vmm, 0x40000080, 1);                /* SCONTROL */
    post(vmm, 1);
    post(vmm, 2);
    post(vmm, 3);
    expect(take_message(vmm) == 1, "the first message is there");
    vmm->tsc += 7 * SOURCE_HZ; /* seven seconds */
    expect(page_time(vmm) - 70000000 + 1 <= 2, "seven seconds have passed");
}

static void send_guest(struct vmm *vmm, int wire)
{
    struct announcement announcement;
    struct hvtlfs_error error;
    uint8_t *state;
    size_t size = 0;

    expect(!hvtlfs_freeze(vmm->partition), "it can be frozen");
    announcement.time = hvtlfs_reference_time(vmm->vp);
    announcement.state_size = hvtlfs_state_size(vmm->partition);
    state = malloc(announcement.state_size);
    expect(state &&
               !hvtlfs_state_save(vmm->partition, state, announcement.state_size, &size, &error),
           "it can be saved");
    put(wire, &announcement, sizeof(announcement));
    put(wire, vmm->ram, RAM_SIZE);
    put(wire, state, size);
    printf("source: frozen at %" PRIu64 ", sent %zu bytes of state\n", announcement.time, size);
    free(state);
}

/* ---- The destination ---- */

static void print_finding(void *context, const struct hvtlfs_finding *finding)
{
    (void)context;
    printf("destination: %s: %s\n", finding->code, finding->sentence);
}

static void receive_guest(struct vmm *vmm, int wire, struct announcement *announcement)
{
    struct hvtlfs_vp_config vps[MOST_VPS];
    struct hvtlfs_config config;
    struct hvtlfs_error error;
    char text[200];
    uint8_t *state;
    size_t size;

    get(wire, announcement, sizeof(*announcement));
    expect(announcement->state_size < 1 << 20, "the state has a reasonable size");
    size = (size_t)announcement->state_size;
    state = malloc(size);
    expect(state != NULL, "there is memory");
    get(wire, vmm->ram, RAM_SIZE);
    get(wire, state, size);

    hvtlfs_config_init(&config);
    expect(!hvtlfs_state_config(state, size, &config, vps, MOST_VPS, &error), "it is a state");
    set_host(&config, vmm, DESTINATION_HZ);
    make_partition(vmm, &config);
    expect(!hvtlfs_state_check(vmm->partition, state, size, print_finding, NULL).errors,
           "the state can run here");
    if (hvtlfs_state_load(vmm->partition, state, size, &error)) {
        hvtlfs_error_text(&error, text, sizeof(text));
        expect(false, text);
    }
    free(state);
    expect(hvtlfs_reference_time(vmm->vp) == announcement->time, "time stands where it stood");
    expect(!hvtlfs_thaw(vmm->partition, 0), "it can be thawed");
    hvtlfs_vp_poll(vmm->vp);
}

static void go_on(struct vmm *vmm, const struct announcement *announcement)
{
    static const uint8_t zeros[8];
    uint64_t time = page_time(vmm);
    uint32_t i;

    /* It may be one unit on, where the old scale rounded down; never back. */
    expect(time - announcement->time <= 1, "time goes on where it stopped");
    expect(read_msr(vmm, 0x40000020) == time, "register and page agree");
    expect(read_msr(vmm, 0x40000022) == DESTINATION_HZ, "the guest can learn the new rate");
    expect(vmm->interrupts[0xEE] == 1, "and is told to");
    vmm->tsc += DESTINATION_HZ; /* one second here */
    expect(page_time(vmm) - time - 10000000 + 1 <= 2, "a second is a second");

    expect(take_message(vmm) == 2, "the second message comes next");
    expect(take_message(vmm) == 3, "then the third");
    expect(take_message(vmm) == 0, "and no other");

    expect(read_msr(vmm, 0x40000001) == (HYPERCALL_PAGE | 1), "the hypercall page is where it was");
    expect(memcmp(vmm->ram + HYPERCALL_PAGE, zeros, 8) != 0 && vmm->ram[HYPERCALL_PAGE] != 0xA5,
           "with code in it");
    write_msr(vmm, 0x40000001, 0);
    for (i = 0; i < 4096; i++) {
        expect(vmm->ram[HYPERCALL_PAGE + i] == 0xA5, "what it covered comes back");
    }
    printf("destination: went on at %" PRIu64 " with a TSC of %" PRIu64 " Hz\n", time,
           DESTINATION_HZ);
}

/* ---- Two processes ---- */

static int source(int wire)
{
    struct vmm *vmm = aligned_alloc(4096, sizeof(*vmm));

    expect(vmm != NULL, "there is memory");
    memset(vmm, 0, sizeof(*vmm));
    start_guest(vmm);
    run_guest(vmm);
    send_guest(vmm, wire);
    end(vmm); /* a real source keeps it until the destination says that the guest runs */
    return 0;
}

static int destination(int wire)
{
    struct vmm *vmm = aligned_alloc(4096, sizeof(*vmm));
    struct announcement announcement;

    expect(vmm != NULL, "there is memory");
    memset(vmm, 0, sizeof(*vmm));
    vmm->tsc = 12345678; /* another machine, another TSC */
    receive_guest(vmm, wire, &announcement);
    go_on(vmm, &announcement);
    end(vmm);
    return 0;
}

int main(void)
{
    int wires[2];
    int status = 1;
    pid_t child;

    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    expect(!socketpair(AF_UNIX, SOCK_STREAM, 0, wires), "there are sockets");
    child = fork();
    expect(child >= 0, "there are processes");
    if (!child) {
        close(wires[0]);
        _exit(destination(wires[1]));
    }
    close(wires[1]);
    (void)source(wires[0]);
    close(wires[0]);
    expect(waitpid(child, &status, 0) == child, "the destination ends");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
