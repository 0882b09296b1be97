/* SPDX-License-Identifier: MIT */
#include "host.h"

#include "arena.h"

#include <stdarg.h>
#include <string.h>

#include <hvtlfs/stats.h>
#include <hvtlfs/trace.h>
#include <hvtlfs/vapic.h>

struct host fuzz_host;
_Alignas(HVTLFS_PAGE_SIZE) uint8_t fuzz_ram[HOST_RAM];

#define PLACES 2u

/* A place for a partition, and what it is right after init with this configuration: the next execution
 * often has the same one, and copying is half as long as working it out. */
static struct place {
    struct arena memory, fresh;
    struct hvtlfs_config config;
    struct hvtlfs_vp_config vps[HOST_VPS];
    uint64_t tsc, time; /* init reads them */
    size_t size;        /* 0: nothing known */
} places[PLACES];

static uint32_t dirty_pages; /* of RAM, by the library or by a race; a bit for each */
static uint32_t read_pages;  /* those with bits in was_read */

_Static_assert(HOST_PAGES <= 32, "a bit for each page");

_Noreturn void fuzz_broken(const char *claim, const char *file, int line)
{
    fprintf(stderr, "%s:%d: not so: %s\n", file, line, claim);
    abort();
}

bool fuzz_saying(void)
{
    static int wanted = -1;

    if (wanted < 0) {
        wanted = getenv("FUZZ_SAY") != NULL;
    }
    return wanted;
}

void fuzz_say(const char *format, ...)
{
    va_list arguments;

    if (fuzz_saying()) {
        va_start(arguments, format);
        (void)vfprintf(stderr, format, arguments);
        va_end(arguments);
    }
}

static bool fails(void)
{
    const uint64_t call = ++fuzz_host.fallible;

    return fuzz_host.fail_at &&
           (call == fuzz_host.fail_at || (fuzz_host.fail_onwards && call > fuzz_host.fail_at));
}

static void called(enum host_call call)
{
    fuzz_host.calls[call]++;
}

static struct host_vp *vp_of(uint32_t vp_index)
{
    CLAIM(vp_index < HOST_VPS);
    return &fuzz_host.vps[vp_index];
}

/* A request: never inside the critical section. */
static struct host_vp *requested(enum host_call call, uint32_t vp_index)
{
    called(call);
    CLAIM(!fuzz_host.locked);
    return vp_of(vp_index);
}

/* ---- Memory ---- */

const struct hvtlfs_overlay *host_overlay_at(uint64_t gpa)
{
    const uint64_t page = gpa & ~(uint64_t)(HVTLFS_PAGE_SIZE - 1);

    for (uint32_t i = 0; i < fuzz_host.overlay_count; i++) {
        if (fuzz_host.overlays[i].gpa == page) {
            return &fuzz_host.overlays[i];
        }
    }
    return NULL;
}

uint8_t *host_visible(uint64_t gpa)
{
    const struct hvtlfs_overlay *overlay = host_overlay_at(gpa);

    if (overlay) {
        return (uint8_t *)overlay->page + gpa % HVTLFS_PAGE_SIZE;
    }
    return gpa < HOST_RAM ? fuzz_ram + gpa : NULL;
}

static bool within_page(uint64_t gpa, size_t size)
{
    return size <= HVTLFS_PAGE_SIZE - gpa % HVTLFS_PAGE_SIZE;
}

static uint32_t page_bit(uint64_t gpa)
{
    return gpa < HOST_RAM ? UINT32_C(1) << gpa / HVTLFS_PAGE_SIZE : 0;
}

/* No byte is fetched twice in what the user calls one operation. */
static void note_read(uint64_t gpa, size_t size)
{
    if (!fuzz_host.watch_reads) {
        return;
    }
    read_pages |= page_bit(gpa);
    for (uint64_t at = gpa; at < gpa + size && at < HOST_RAM; at++) {
        CLAIM(!(fuzz_host.was_read[at / 8] >> at % 8 & 1));
        fuzz_host.was_read[at / 8] |= (uint8_t)(1u << at % 8);
    }
}

/* Another VP rewrites what has just been read. Not in an overlay, whose bytes nobody puts right again when
 * a call goes on: it would be another input. */
static void race(uint64_t gpa, uint8_t *bytes, size_t size)
{
    if (!fuzz_host.races || host_overlay_at(gpa)) {
        return;
    }
    dirty_pages |= page_bit(gpa);
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)(bytes[i] * 5u + 0x3Bu);
    }
}

static bool on_read(void *context, uint64_t gpa, void *buffer, size_t size)
{
    uint8_t *bytes = host_visible(gpa);

    CLAIM(context == &fuzz_host && within_page(gpa, size));
    called(HOST_READ);
    if (fails() || !bytes) {
        return false;
    }
    note_read(gpa, size);
    memcpy(buffer, bytes, size);
    race(gpa, bytes, size);
    return true;
}

/* The bytes at an address if the guest may write them, else NULL. */
static uint8_t *writable(uint64_t gpa)
{
    const struct hvtlfs_overlay *overlay = host_overlay_at(gpa);

    return !overlay || overlay->access & HVTLFS_ACCESS_WRITE ? host_visible(gpa) : NULL;
}

static bool on_write(void *context, uint64_t gpa, const void *buffer, size_t size)
{
    uint8_t *bytes = writable(gpa);

    CLAIM(context == &fuzz_host && within_page(gpa, size));
    called(HOST_WRITE);
    if (fails() || !bytes) {
        return false;
    }
    dirty_pages |= page_bit(gpa);
    memcpy(bytes, buffer, size);
    return true;
}

static enum hvtlfs_gpa_kind on_probe(void *context, uint64_t gpa)
{
    (void)context;
    called(HOST_PROBE);
    return !fails() && gpa < HOST_RAM ? HVTLFS_GPA_RAM : HVTLFS_GPA_NONE;
}

static bool on_exchange(void *context, uint64_t gpa, uint32_t *expected, uint32_t desired,
                        bool *done)
{
    uint8_t *word = writable(gpa);
    uint32_t now;

    (void)context;
    CLAIM(gpa % 4 == 0);
    called(HOST_EXCHANGE);
    if (fails() || !word) {
        return false;
    }
    dirty_pages |= page_bit(gpa);
    memcpy(&now, word, sizeof(now));
    if (fuzz_host.contends && now == *expected) {
        now += 2;
        memcpy(word, &now, sizeof(now));
    }
    *done = now == *expected;
    if (*done) {
        memcpy(word, &desired, sizeof(desired));
    } else {
        *expected = now;
    }
    return true;
}

static bool on_overlay_set(void *context, const struct hvtlfs_overlay *overlay)
{
    (void)context;
    called(HOST_OVERLAY_SET);
    CLAIM(fuzz_host.locked && overlay->gpa % HVTLFS_PAGE_SIZE == 0 && overlay->page &&
          (uintptr_t)overlay->page % HVTLFS_PAGE_SIZE == 0);
    CLAIM(!host_overlay_at(overlay->gpa) && fuzz_host.overlay_count < HOST_OVERLAYS);
    if (fails()) {
        return false;
    }
    fuzz_host.overlays[fuzz_host.overlay_count++] = *overlay;
    return true;
}

static void on_overlay_clear(void *context, const struct hvtlfs_overlay *overlay)
{
    const struct hvtlfs_overlay *found = host_overlay_at(overlay->gpa);

    (void)context;
    called(HOST_OVERLAY_CLEAR);
    CLAIM(fuzz_host.locked && found && found->page == overlay->page &&
          found->kind == overlay->kind);
    fuzz_host.overlays[found - fuzz_host.overlays] = fuzz_host.overlays[--fuzz_host.overlay_count];
}

static void on_lock(void *context)
{
    (void)context;
    called(HOST_LOCK);
    CLAIM(!fuzz_host.locked);
    fuzz_host.locked = true;
}

static void on_unlock(void *context)
{
    (void)context;
    CLAIM(fuzz_host.locked);
    fuzz_host.locked = false;
}

/* ---- Interrupts and VPs ---- */

static void on_interrupt(void *context, uint32_t vp_index, const struct hvtlfs_interrupt *interrupt)
{
    (void)context;
    (void)requested(HOST_INTERRUPT, vp_index);
    CLAIM(interrupt->nmi ? interrupt->vector == 2 : interrupt->vector < 256);
    if (fuzz_host.interrupt_count < HOST_INTERRUPTS) {
        fuzz_host.interrupts[fuzz_host.interrupt_count++] =
            (struct host_interrupt){vp_index, *interrupt};
    }
}

static void on_kick(void *context, uint32_t vp_index)
{
    (void)context;
    requested(HOST_KICK, vp_index)->kicked = true;
}

static void on_apic_write(void *context, uint32_t vp_index, enum hvtlfs_apic_register reg,
                          uint64_t value)
{
    struct host_vp *vp = requested(HOST_APIC, vp_index);

    (void)context;
    CLAIM((unsigned)reg < 3);
    vp->apic[reg] = value;
    if (reg == HVTLFS_APIC_EOI) {
        vp->eois++;
        if (fuzz_host.calls_back) {
            hvtlfs_synic_eoi(hvtlfs_partition_vp(fuzz_host.partition, vp_index),
                             (uint32_t)value & 0xFF);
        }
    }
}

static uint64_t on_apic_read(void *context, uint32_t vp_index, enum hvtlfs_apic_register reg)
{
    const struct host_vp *vp = requested(HOST_APIC, vp_index);

    (void)context;
    CLAIM(reg == HVTLFS_APIC_ICR || reg == HVTLFS_APIC_TPR);
    return vp->apic[reg];
}

static void on_flush(void *context, uint32_t vp_index, const struct hvtlfs_vp_set *targets,
                     const struct hvtlfs_flush *flush)
{
    (void)context;
    (void)requested(HOST_FLUSH, vp_index);
    CLAIM(!hvtlfs_vp_set_is_empty(targets));
    fuzz_host.flushes++;
    fuzz_host.flush_targets = hvtlfs_vp_set_bank(targets, 0);
    for (size_t i = 0; i < flush->range_count; i++) {
        if (fuzz_host.flush_range_count < HOST_RANGES) {
            fuzz_host.flush_ranges[fuzz_host.flush_range_count++] = flush->ranges[i];
        }
    }
}

static void on_flush_queued(void *context, uint32_t vp_index, const struct hvtlfs_vp_set *targets)
{
    (void)context;
    (void)requested(HOST_FLUSH, vp_index);
    CLAIM(!hvtlfs_vp_set_is_empty(targets));
    fuzz_host.flushes++;
    fuzz_host.flush_targets = hvtlfs_vp_set_bank(targets, 0);
}

/* ---- Time ---- */

static uint64_t on_tsc(void *context, uint32_t vp_index)
{
    (void)context;
    called(HOST_CLOCK);
    return fuzz_host.tsc + vp_of(vp_index)->tsc_offset;
}

static uint64_t on_time(void *context)
{
    (void)context;
    called(HOST_CLOCK);
    return fuzz_host.time;
}

static void on_tsc_emulation(void *context, bool in_force)
{
    (void)context;
    called(HOST_REQUEST);
    fuzz_host.tsc_emulated = in_force;
}

static void on_deadline(void *context, uint32_t vp_index, uint64_t deadline)
{
    (void)context;
    requested(HOST_DEADLINE, vp_index)->deadline = deadline;
}

static uint64_t on_runtime(void *context, uint32_t vp_index)
{
    (void)context;
    called(HOST_CLOCK);
    return fuzz_host.time - vp_of(vp_index)->halted;
}

/* ---- Requests ---- */

static void on_spin_wait(void *context, uint32_t vp_index, uint32_t spins)
{
    (void)context;
    (void)spins;
    (void)requested(HOST_REQUEST, vp_index);
    fuzz_host.spin_waits++;
}

static void on_reset(void *context, uint32_t vp_index)
{
    (void)context;
    (void)requested(HOST_REQUEST, vp_index);
    fuzz_host.resets++;
}

static void on_crash(void *context, uint32_t vp_index, const struct hvtlfs_crash *crash)
{
    (void)context;
    (void)requested(HOST_REQUEST, vp_index);
    CLAIM(crash->message_size <= HVTLFS_PAGE_SIZE && (crash->message || !crash->message_size));
    fuzz_host.crashes++;
    fuzz_host.crash = *crash;
    if (crash->message) {
        memcpy(fuzz_host.crash_message, crash->message, crash->message_size);
    }
}

static void on_npiep(void *context, uint32_t vp_index, uint32_t prevent)
{
    (void)context;
    CLAIM(prevent < 16);
    requested(HOST_REQUEST, vp_index)->npiep = prevent;
}

static void on_stats(void *context, uint32_t vp_index, enum hvtlfs_overlay_kind kind, bool shown)
{
    (void)context;
    (void)shown;
    (void)requested(HOST_REQUEST, vp_index);
    CLAIM(kind >= HVTLFS_OVERLAY_STATS_PARTITION && kind < HVTLFS_OVERLAY_KINDS);
}

static bool on_debug_read(void *context, uint32_t vp_index, uint32_t number, uint64_t *value)
{
    (void)context;
    (void)requested(HOST_REQUEST, vp_index);
    *value = number;
    return !fails();
}

static bool on_debug_write(void *context, uint32_t vp_index, uint32_t number, uint64_t value)
{
    (void)context;
    (void)value;
    (void)requested(HOST_REQUEST, vp_index);
    return !fails() && number != 0x400000F2u;
}

static enum hvtlfs_answer answer(uint32_t vp_index)
{
    (void)requested(HOST_REQUEST, vp_index);
    return fails() ? HVTLFS_ANSWER_DENIED : fuzz_host.answer;
}

static enum hvtlfs_answer on_switch(void *context, uint32_t vp_index, uint64_t cr3)
{
    (void)context;
    (void)cr3;
    return answer(vp_index);
}

static enum hvtlfs_answer on_gpa_flush(void *context, uint32_t vp_index,
                                       const struct hvtlfs_gpa_flush *flush)
{
    (void)context;
    CLAIM(!flush->range_count || flush->ranges);
    return answer(vp_index);
}

static enum hvtlfs_answer on_get(void *context, uint32_t vp_index, uint32_t name,
                                 struct hvtlfs_register *value)
{
    (void)context;
    CLAIM(name >= 0x20000 && name <= 0x8FFFF && !value->half[0] && !value->half[1]);
    value->half[0] = name;
    return answer(vp_index);
}

static enum hvtlfs_answer on_set(void *context, uint32_t vp_index, uint32_t name,
                                 const struct hvtlfs_register *value)
{
    (void)context;
    (void)value;
    CLAIM(name >= 0x20000 && name <= 0x8FFFF);
    return answer(vp_index);
}

static enum hvtlfs_answer on_start(void *context, uint32_t vp_index, uint32_t target,
                                   const struct hvtlfs_vp_context *start)
{
    (void)context;
    (void)start;
    (void)vp_of(target);
    return answer(vp_index);
}

static enum hvtlfs_answer on_retarget(void *context, uint32_t vp_index,
                                      const struct hvtlfs_retarget *retarget,
                                      const struct hvtlfs_vp_set *targets)
{
    (void)context;
    CLAIM(retarget->vector >= 0x10 && retarget->vector <= 0xFF && !hvtlfs_vp_set_is_empty(targets));
    return answer(vp_index);
}

static bool on_zeroed(void *context, uint32_t n, uint64_t *first_page, uint64_t *page_count)
{
    (void)context;
    called(HOST_REQUEST);
    CLAIM(n < 255);
    *first_page = n * 16u;
    *page_count = n + 1u;
    return !fails();
}

static void on_trace(void *context, const struct hvtlfs_event *event)
{
    (void)context;
    CLAIM((unsigned)event->kind < HVTLFS_EVENT_KINDS);
}

uint16_t host_post(void *context, uint32_t vp_index, uint32_t connection_id,
                   const struct hvtlfs_message *message)
{
    (void)context;
    (void)connection_id;
    (void)requested(HOST_CONNECTION, vp_index);
    CLAIM(message->type && !(message->type & 0x80000000) && message->size <= 240);
    fuzz_host.posts++;
    return fails() ? 0x13 : fuzz_host.connection_status;
}

uint16_t host_signal(void *context, uint32_t vp_index, uint32_t connection_id, uint32_t flag)
{
    (void)context;
    (void)connection_id;
    (void)flag;
    (void)requested(HOST_CONNECTION, vp_index);
    fuzz_host.signals++;
    return fails() ? 0x18 : fuzz_host.connection_status;
}

/* ---- Life ---- */

void host_begin(void)
{
    /* The big logs are read as far as their counts say. */
    memset(&fuzz_host, 0, offsetof(struct host, overlays));
    memset(fuzz_host.calls, 0, offsetof(struct host, interrupts) - offsetof(struct host, calls));
    fuzz_host.overlay_count = 0;
    fuzz_host.watch_reads = false;
    host_forget_requests();
    fuzz_host.tsc = 1000000007;
    fuzz_host.tsc_hz = 1000000000;
    fuzz_host.time = 123456789;
    for (uint32_t i = 0; i < HOST_VPS; i++) {
        fuzz_host.vps[i].deadline = HVTLFS_TIME_NEVER;
    }
    host_clear_ram(UINT32_MAX);
}

void host_clear_ram(uint32_t pages)
{
    pages |= dirty_pages;
    for (uint32_t page = 0; page < HOST_PAGES; page++) {
        if (pages >> page & 1) {
            memset(fuzz_ram + page * HVTLFS_PAGE_SIZE, 0, HVTLFS_PAGE_SIZE);
        }
    }
    dirty_pages = 0;
}

void host_configure(struct hvtlfs_config *config)
{
    config->ops = (struct hvtlfs_host_ops){
        .size = sizeof(config->ops),
        .gpa_read = on_read,
        .gpa_write = on_write,
        .gpa_probe = on_probe,
        .overlay_set = fuzz_host.copies_overlays ? NULL : on_overlay_set,
        .overlay_clear = fuzz_host.copies_overlays ? NULL : on_overlay_clear,
        .gpa_compare_exchange = on_exchange,
        .lock = on_lock,
        .unlock = on_unlock,
        .request_interrupt = on_interrupt,
        .kick = on_kick,
        .apic_write = on_apic_write,
        .apic_read = on_apic_read,
        .tlb_flush = on_flush,
        .guest_tsc = on_tsc,
        .host_time = on_time,
        .tsc_emulation = on_tsc_emulation,
        .arm_deadline = on_deadline,
        .vp_runtime = on_runtime,
        .spin_wait = on_spin_wait,
        .system_reset = on_reset,
        .crash = on_crash,
        .npiep = on_npiep,
        .stats_page = on_stats,
        .debug_read = on_debug_read,
        .debug_write = on_debug_write,
        .tlb_flush_queued = fuzz_host.queues_flushes ? on_flush_queued : NULL,
        .switch_address_space = on_switch,
        .flush_guest_physical = on_gpa_flush,
        .get_register = on_get,
        .set_register = on_set,
        .start_vp = on_start,
        .retarget_interrupt = on_retarget,
        .boot_zeroed_memory = on_zeroed,
        .trace = on_trace,
    };
    config->context = &fuzz_host;
    config->tsc_hz = fuzz_host.tsc_hz;
}

static bool same_config(const struct place *place, const struct hvtlfs_config *config)
{
    return place->size && place->tsc == fuzz_host.tsc && place->time == fuzz_host.time &&
           !memcmp(&place->config, config, sizeof(*config)) &&
           (!config->vps ||
            !memcmp(place->vps, config->vps, config->vp_count * sizeof(*config->vps)));
}

static void remember(struct place *place, const struct hvtlfs_config *config, size_t size)
{
    CLAIM(config->vp_count <= HOST_VPS);
    place->config = *config;
    if (config->vps) {
        memcpy(place->vps, config->vps, config->vp_count * sizeof(*config->vps));
    }
    place->tsc = fuzz_host.tsc;
    place->time = fuzz_host.time;
    place->size = size;
    memcpy(arena_take(&place->fresh, size), place->memory.memory, size);
}

struct hvtlfs_partition *host_try_partition(const struct hvtlfs_config *config, unsigned where)
{
    struct place *place = &places[where % PLACES];
    struct hvtlfs_partition *partition = NULL;
    size_t size;

    if (same_config(place, config)) {
        partition = (struct hvtlfs_partition *)(void *)place->memory.memory;
        memcpy(partition, place->fresh.memory, place->size);
    } else if (hvtlfs_partition_size(config, &size, NULL)) {
        return NULL;
    } else {
        place->size = 0;
        CLAIM(!hvtlfs_partition_init(arena_take(&place->memory, size), size, config, &partition,
                                     NULL));
        CLAIM((void *)partition == place->memory.memory);
        remember(place, config, size);
    }
    fuzz_host.partition = partition;
    return partition;
}

struct hvtlfs_partition *host_partition(const struct hvtlfs_config *config, unsigned place)
{
    struct hvtlfs_partition *partition = host_try_partition(config, place);

    CLAIM(partition);
    return partition;
}

/* Ticks exactly as the rate says, for times below about 2^32 units at a time. */
void host_advance(uint64_t time)
{
    const uint64_t whole = fuzz_host.tsc_hz / 10000000, rest = fuzz_host.tsc_hz % 10000000;
    const uint64_t parts = time % 10000000 * rest + fuzz_host.tsc_fraction;

    fuzz_host.tsc += time * whole + time / 10000000 * rest + parts / 10000000;
    fuzz_host.tsc_fraction = parts % 10000000;
    fuzz_host.time += time;
    for (uint32_t i = 0; i < HOST_VPS; i++) {
        fuzz_host.vps[i].halted += fuzz_host.vps[i].halts ? time : 0;
    }
}

void host_forget_requests(void)
{
    fuzz_host.interrupt_count = 0;
    fuzz_host.flush_range_count = 0;
    fuzz_host.flush_targets = 0;
    fuzz_host.flushes = 0;
    fuzz_host.resets = 0;
    fuzz_host.crashes = 0;
    fuzz_host.spin_waits = 0;
    fuzz_host.posts = 0;
    fuzz_host.signals = 0;
}

void host_forget_reads(void)
{
    const size_t bytes = HVTLFS_PAGE_SIZE / 8;

    for (uint32_t page = 0; page < HOST_PAGES; page++) {
        if (read_pages >> page & 1) {
            memset(fuzz_host.was_read + page * bytes, 0, bytes);
        }
    }
    read_pages = 0;
}

uint64_t host_calls(void)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < HOST_CALLS; i++) {
        sum += i == HOST_LOCK || i == HOST_CLOCK ? 0 : fuzz_host.calls[i];
    }
    return sum;
}

uint32_t host_take_kick(void)
{
    for (uint32_t i = 0; i < HOST_VPS; i++) {
        if (fuzz_host.vps[i].kicked) {
            fuzz_host.vps[i].kicked = false;
            return i;
        }
    }
    return HVTLFS_NO_VP;
}

void host_drop_overlays(void)
{
    fuzz_host.overlay_count = 0;
}
