/* SPDX-License-Identifier: MIT */
#define _POSIX_C_SOURCE 200809L
#include "model_host.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hvtlfs/vpset.h>

#define UNITS_PER_SECOND UINT64_C(10000000) /* 100 ns units */

struct interrupt_queue {
    struct hvtlfs_interrupt *items; /* from `first` on, `count` of them are waiting */
    size_t first;
    size_t count;
    size_t capacity;
};

struct model_vp {
    struct interrupt_queue interrupts;
    uint64_t tsc_offset;
    uint64_t deadline;
    uint64_t runtime;       /* when it was set last; VPs are taken to run all the time */
    uint64_t runtime_since; /* when that was, from the start */
    uint64_t apic[3]; /* by enum hvtlfs_apic_register, as last written */
    struct model_apic local_apic;
    uint64_t debug[5]; /* SYNTH_DEBUG_CONTROL on */
    bool kicked;
};

struct model_register {
    uint32_t vp_index;
    uint32_t name;
    struct hvtlfs_register value;
};

struct model_host {
    struct model_host_options options;
    uint8_t *ram;

    struct hvtlfs_overlay *overlays; /* those that stand, sorted by gpa */
    size_t overlay_count;
    size_t overlay_capacity;

    uint64_t time;         /* host clock */
    uint64_t tsc;          /* without any VP's offset */
    uint64_t tsc_fraction; /* of a tick, in 1 / UNITS_PER_SECOND */

    struct model_vp *vps;   /* HVTLFS_MAX_VPS of them */
    uint32_t deadlines_end; /* no VP from here on ever had a deadline: not a word of it was written */
    uint32_t interrupts_end; /* the same of interrupts */
    size_t kicks;           /* VPs that are kicked */

    struct model_event *events;
    size_t event_count;
    size_t event_capacity;

    struct model_register *registers; /* those that were ever set */
    size_t register_count;
    size_t register_capacity;
    enum hvtlfs_answer answer;
    uint32_t zeroed_ranges;

    void *partition_memory;

    uint64_t fallible_calls;
    uint64_t fail_at;
    bool fail_onwards;

    uint64_t violations;
    const char *first_violation;

    pthread_mutex_t partition_lock; /* behind the callbacks, with MODEL_LOCK_MUTEX */
    bool partition_locked;          /* the same with MODEL_LOCK_CHECKED */
    pthread_mutex_t own_lock;       /* of all of the above, with MODEL_LOCK_MUTEX */
    uint16_t connection_status; /* what posts and signals of the guest are answered with */
};

/* ---- Ground ---- */

static void enter(struct model_host *host)
{
    if (host->options.lock == MODEL_LOCK_MUTEX) {
        pthread_mutex_lock(&host->own_lock);
    }
}

static void leave(struct model_host *host)
{
    if (host->options.lock == MODEL_LOCK_MUTEX) {
        pthread_mutex_unlock(&host->own_lock);
    }
}

static void violated(struct model_host *host, const char *what)
{
    if (host->violations++ == 0) {
        host->first_violation = what;
    }
}

/* The model is a test instrument: without memory there is nothing it could still show. */
static void *grown(void *items, size_t *capacity, size_t needed, size_t item_size)
{
    if (needed <= *capacity) {
        return items;
    }
    size_t capacity_now = *capacity < 16 ? 16 : *capacity * 2;
    void *more = realloc(items, capacity_now * item_size);
    if (more == NULL) {
        (void)fputs("model host: out of memory\n", stderr);
        abort();
    }
    *capacity = capacity_now;
    return more;
}

/* The VP's slot; a wrong index is the library's mistake and lands in slot 0. */
static struct model_vp *slot(struct model_host *host, uint32_t vp_index)
{
    if (vp_index >= HVTLFS_MAX_VPS) {
        violated(host, "a callback got a VP index beyond the maximum");
        vp_index = 0;
    }
    return &host->vps[vp_index];
}

/* Requests to the host may not be made inside the partition's critical section. */
static void expect_unlocked(struct model_host *host)
{
    if (host->partition_locked) {
        violated(host, "a request was made with the partition lock held");
    }
}

static uint64_t since_start(const struct model_host *host)
{
    return host->time - host->options.host_time;
}

static bool injected_failure(struct model_host *host)
{
    uint64_t call = ++host->fallible_calls;
    if (host->fail_at == 0) {
        return false;
    }
    return call == host->fail_at || (host->fail_onwards && call > host->fail_at);
}

static enum hvtlfs_answer answered(struct model_host *host)
{
    return injected_failure(host) ? HVTLFS_ANSWER_DENIED : host->answer;
}

static struct model_event *log_event(struct model_host *host, enum model_event_kind kind,
                                     uint32_t vp_index)
{
    host->events =
        grown(host->events, &host->event_capacity, host->event_count + 1, sizeof(*host->events));
    struct model_event *event = &host->events[host->event_count++];
    *event = (struct model_event){.kind = kind, .vp_index = vp_index};
    return event;
}

/* ---- Memory ---- */

/* Where in the sorted list the overlay of a page is, or would be. */
static size_t overlay_position(const struct model_host *host, uint64_t page)
{
    size_t low = 0;
    size_t high = host->overlay_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (host->overlays[middle].gpa < page) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static const struct hvtlfs_overlay *overlay_over(const struct model_host *host, uint64_t gpa)
{
    uint64_t page = gpa & ~(uint64_t)(HVTLFS_PAGE_SIZE - 1);
    size_t at = overlay_position(host, page);
    bool found = at < host->overlay_count && host->overlays[at].gpa == page;
    return found ? &host->overlays[at] : NULL;
}

/* The bytes behind a guest address and what the guest may do with them; NULL: nothing is there. */
static uint8_t *bytes_at(const struct model_host *host, uint64_t gpa, uint32_t *access)
{
    const struct hvtlfs_overlay *overlay = overlay_over(host, gpa);
    if (overlay != NULL) {
        *access = overlay->access;
        return (uint8_t *)overlay->page + gpa % HVTLFS_PAGE_SIZE;
    }
    *access = HVTLFS_ACCESS_READ | HVTLFS_ACCESS_WRITE | HVTLFS_ACCESS_EXECUTE;
    return gpa < host->options.ram_size ? host->ram + gpa : NULL;
}

/* Copies the library's threads may run beside: aligned words go whole, as on the machine. */
static size_t unit_size(const void *shared, size_t size)
{
    uintptr_t address = (uintptr_t)shared;
    if (address % 8 == 0 && size >= 8) {
        return 8;
    }
    return address % 4 == 0 && size >= 4 ? 4 : 1;
}

static void load_unit(void *to, const void *shared, size_t unit)
{
    if (unit == 8) {
        uint64_t word = __atomic_load_n((const uint64_t *)shared, __ATOMIC_SEQ_CST);
        memcpy(to, &word, sizeof(word));
    } else if (unit == 4) {
        uint32_t word = __atomic_load_n((const uint32_t *)shared, __ATOMIC_SEQ_CST);
        memcpy(to, &word, sizeof(word));
    } else {
        *(uint8_t *)to = __atomic_load_n((const uint8_t *)shared, __ATOMIC_SEQ_CST);
    }
}

static void store_unit(void *shared, const void *from, size_t unit)
{
    if (unit == 8) {
        uint64_t word;
        memcpy(&word, from, sizeof(word));
        __atomic_store_n((uint64_t *)shared, word, __ATOMIC_SEQ_CST);
    } else if (unit == 4) {
        uint32_t word;
        memcpy(&word, from, sizeof(word));
        __atomic_store_n((uint32_t *)shared, word, __ATOMIC_SEQ_CST);
    } else {
        __atomic_store_n((uint8_t *)shared, *(const uint8_t *)from, __ATOMIC_SEQ_CST);
    }
}

static void copy_from_guest(const struct model_host *host, void *to, const void *shared,
                            size_t size)
{
    if (host->options.lock != MODEL_LOCK_MUTEX) {
        memcpy(to, shared, size);
        return;
    }
    for (size_t done = 0, unit; done < size; done += unit) {
        const uint8_t *from = (const uint8_t *)shared + done;
        unit = unit_size(from, size - done);
        load_unit((uint8_t *)to + done, from, unit);
    }
}

static void copy_to_guest(const struct model_host *host, void *shared, const void *from,
                          size_t size)
{
    if (host->options.lock != MODEL_LOCK_MUTEX) {
        memcpy(shared, from, size);
        return;
    }
    for (size_t done = 0, unit; done < size; done += unit) {
        uint8_t *to = (uint8_t *)shared + done;
        unit = unit_size(to, size - done);
        store_unit(to, (const uint8_t *)from + done, unit);
    }
}

static void expect_within_page(struct model_host *host, uint64_t gpa, size_t size)
{
    if (size > HVTLFS_PAGE_SIZE - gpa % HVTLFS_PAGE_SIZE) {
        violated(host, "a guest memory callback crossed a page");
    }
}

/* What lies in a range in which no page may lack the asked-for access. */
static enum model_access range_access(const struct model_host *host, uint64_t gpa, size_t size,
                                      uint32_t wanted)
{
    if (size > 0 && gpa > UINT64_MAX - (size - 1)) {
        return MODEL_ACCESS_UNMAPPED;
    }
    for (size_t done = 0; done < size;) {
        uint32_t access;
        if (bytes_at(host, gpa + done, &access) == NULL) {
            return MODEL_ACCESS_UNMAPPED;
        }
        if ((access & wanted) != wanted) {
            return MODEL_ACCESS_FAULT;
        }
        done += HVTLFS_PAGE_SIZE - (gpa + done) % HVTLFS_PAGE_SIZE;
    }
    return MODEL_ACCESS_OK;
}

/* Bytes from here to the end of the page, at most `size`. */
static size_t page_part(uint64_t gpa, size_t size)
{
    size_t left = HVTLFS_PAGE_SIZE - (size_t)(gpa % HVTLFS_PAGE_SIZE);
    return size < left ? size : left;
}

static enum model_access transfer_from(struct model_host *host, uint64_t gpa, void *buffer,
                                       size_t size)
{
    enum model_access result = range_access(host, gpa, size, HVTLFS_ACCESS_READ);
    for (size_t done = 0, part; result == MODEL_ACCESS_OK && done < size; done += part) {
        uint32_t access;
        part = page_part(gpa + done, size - done);
        copy_from_guest(host, (uint8_t *)buffer + done, bytes_at(host, gpa + done, &access), part);
    }
    return result;
}

static enum model_access transfer_to(struct model_host *host, uint64_t gpa, const void *buffer,
                                     size_t size)
{
    enum model_access result = range_access(host, gpa, size, HVTLFS_ACCESS_WRITE);
    for (size_t done = 0, part; result == MODEL_ACCESS_OK && done < size; done += part) {
        uint32_t access;
        part = page_part(gpa + done, size - done);
        copy_to_guest(host, bytes_at(host, gpa + done, &access), (const uint8_t *)buffer + done,
                      part);
    }
    return result;
}

/* ---- Callbacks: memory and overlays ---- */

static bool on_gpa_read(void *context, uint64_t gpa, void *buffer, size_t size)
{
    struct model_host *host = context;
    enter(host);
    expect_within_page(host, gpa, size);
    bool done =
        !injected_failure(host) && transfer_from(host, gpa, buffer, size) == MODEL_ACCESS_OK;
    leave(host);
    return done;
}

static bool on_gpa_write(void *context, uint64_t gpa, const void *buffer, size_t size)
{
    struct model_host *host = context;
    enter(host);
    expect_within_page(host, gpa, size);
    bool done = !injected_failure(host) && transfer_to(host, gpa, buffer, size) == MODEL_ACCESS_OK;
    leave(host);
    return done;
}

static enum hvtlfs_gpa_kind on_gpa_probe(void *context, uint64_t gpa)
{
    struct model_host *host = context;
    enter(host);
    bool ram = !injected_failure(host) && gpa < host->options.ram_size;
    leave(host);
    return ram ? HVTLFS_GPA_RAM : HVTLFS_GPA_NONE;
}

static bool on_gpa_compare_exchange(void *context, uint64_t gpa, uint32_t *expected,
                                    uint32_t desired, bool *done)
{
    struct model_host *host = context;
    uint32_t access;
    enter(host);
    if (gpa % 4 != 0) {
        violated(host, "gpa_compare_exchange got an address that is not aligned");
    }
    void *word = bytes_at(host, gpa & ~UINT64_C(3), &access);
    bool memory = !injected_failure(host) && word != NULL && (access & HVTLFS_ACCESS_WRITE) != 0;
    if (memory) {
        *done = __atomic_compare_exchange_n((uint32_t *)word, expected, desired, false,
                                            __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }
    leave(host);
    return memory;
}

static void expect_overlay_contract(struct model_host *host, const struct hvtlfs_overlay *overlay)
{
    if (host->options.lock == MODEL_LOCK_CHECKED && !host->partition_locked) {
        violated(host, "an overlay callback ran without the partition lock");
    }
    if (overlay->gpa % HVTLFS_PAGE_SIZE != 0 || (uintptr_t)overlay->page % HVTLFS_PAGE_SIZE != 0) {
        violated(host, "an overlay was not page-aligned");
    }
}

static void insert_overlay(struct model_host *host, const struct hvtlfs_overlay *overlay)
{
    host->overlays = grown(host->overlays, &host->overlay_capacity, host->overlay_count + 1,
                           sizeof(*host->overlays));
    size_t at = overlay_position(host, overlay->gpa);
    memmove(&host->overlays[at + 1], &host->overlays[at],
            (host->overlay_count - at) * sizeof(*host->overlays));
    host->overlays[at] = *overlay;
    host->overlay_count++;
}

static bool on_overlay_set(void *context, const struct hvtlfs_overlay *overlay)
{
    struct model_host *host = context;
    enter(host);
    bool done = !injected_failure(host);
    expect_overlay_contract(host, overlay);
    if (done && overlay_over(host, overlay->gpa) != NULL) {
        violated(host, "two overlays were set at one page");
        done = false;
    }
    if (done) {
        insert_overlay(host, overlay);
        struct model_event *event = log_event(host, MODEL_EVENT_OVERLAY_SET, overlay->vp_index);
        event->values[0] = overlay->kind;
        event->values[1] = overlay->gpa;
        event->values[2] = overlay->access;
    }
    leave(host);
    return done;
}

static void remove_overlay(struct model_host *host, const struct hvtlfs_overlay *overlay)
{
    const struct hvtlfs_overlay *found = overlay_over(host, overlay->gpa);
    if (found == NULL || found->page != overlay->page || found->kind != overlay->kind) {
        violated(host, "an overlay was cleared that did not stand");
        return;
    }
    size_t at = (size_t)(found - host->overlays);
    host->overlay_count--;
    memmove(&host->overlays[at], &host->overlays[at + 1],
            (host->overlay_count - at) * sizeof(*host->overlays));
}

static void on_overlay_clear(void *context, const struct hvtlfs_overlay *overlay)
{
    struct model_host *host = context;
    enter(host);
    expect_overlay_contract(host, overlay);
    remove_overlay(host, overlay);
    struct model_event *event = log_event(host, MODEL_EVENT_OVERLAY_CLEAR, overlay->vp_index);
    event->values[0] = overlay->kind;
    event->values[1] = overlay->gpa;
    leave(host);
}

/* ---- Callbacks: the partition lock ---- */

static void on_lock(void *context)
{
    struct model_host *host = context;
    if (host->options.lock == MODEL_LOCK_MUTEX) {
        pthread_mutex_lock(&host->partition_lock);
        return;
    }
    if (host->partition_locked) {
        violated(host, "the partition lock was taken twice");
    }
    host->partition_locked = true;
}

static void on_unlock(void *context)
{
    struct model_host *host = context;
    if (host->options.lock == MODEL_LOCK_MUTEX) {
        pthread_mutex_unlock(&host->partition_lock);
        return;
    }
    if (!host->partition_locked) {
        violated(host, "the partition lock was released without being held");
    }
    host->partition_locked = false;
}

/* ---- Callbacks: interrupts and VPs ---- */

static void push_interrupt(struct interrupt_queue *queue, const struct hvtlfs_interrupt *interrupt)
{
    if (queue->first > 0 && queue->first + queue->count == queue->capacity) {
        memmove(queue->items, queue->items + queue->first, queue->count * sizeof(*queue->items));
        queue->first = 0;
    }
    queue->items = grown(queue->items, &queue->capacity, queue->first + queue->count + 1,
                         sizeof(*queue->items));
    queue->items[queue->first + queue->count++] = *interrupt;
}

static void on_request_interrupt(void *context, uint32_t vp_index,
                                 const struct hvtlfs_interrupt *interrupt)
{
    struct model_host *host = context;
    enter(host);
    expect_unlocked(host);
    struct model_vp *vp = slot(host, vp_index);
    push_interrupt(&vp->interrupts, interrupt);
    if (vp >= host->vps + host->interrupts_end) {
        host->interrupts_end = (uint32_t)(vp - host->vps) + 1;
    }
    struct model_event *event = log_event(host, MODEL_EVENT_INTERRUPT, vp_index);
    event->values[0] = interrupt->vector;
    event->values[1] = interrupt->auto_eoi;
    event->values[2] = interrupt->nmi;
    leave(host);
}

static void on_kick(void *context, uint32_t vp_index)
{
    struct model_host *host = context;
    enter(host);
    expect_unlocked(host);
    struct model_vp *vp = slot(host, vp_index);
    host->kicks += vp->kicked ? 0 : 1;
    vp->kicked = true;
    log_event(host, MODEL_EVENT_KICK, vp_index);
    leave(host);
}

/* The number of an APIC register, 0 if the library made one up. */
static size_t apic_number(struct model_host *host, enum hvtlfs_apic_register reg)
{
    if ((unsigned)reg > HVTLFS_APIC_TPR) {
        violated(host, "an unknown APIC register was accessed");
        return 0;
    }
    return (size_t)reg;
}

/* The destinations of a fixed, physically addressed IPI, where APIC ID and VP index are the same. */
static bool ipi_reaches(uint64_t icr, uint32_t sender, uint32_t vp_index)
{
    uint32_t x2apic_id = (uint32_t)(icr >> 32);
    uint32_t xapic_id = (uint32_t)(icr >> 56);
    switch (icr >> 18 & 3) {
    case 1:
        return vp_index == sender;
    case 2:
        return true;
    case 3:
        return vp_index != sender;
    default:
        return vp_index == (x2apic_id < HVTLFS_MAX_VPS ? x2apic_id : xapic_id);
    }
}

static void send_ipi(struct model_host *host, uint32_t sender, uint64_t icr)
{
    bool fixed = (icr >> 8 & 7) == 0;
    for (uint32_t i = 0; fixed && i < HVTLFS_MAX_VPS; i++) {
        if (ipi_reaches(icr, sender, i)) {
            model_apic_request(&host->vps[i].local_apic, icr & 0xFF, HVTLFS_TRIGGER_EDGE);
        }
    }
}

static void write_local_apic(struct model_host *host, uint32_t vp_index,
                             enum hvtlfs_apic_register reg, uint64_t value)
{
    struct model_apic *apic = &slot(host, vp_index)->local_apic;
    switch (reg) {
    case HVTLFS_APIC_EOI:
        (void)model_apic_end(apic);
        break;
    case HVTLFS_APIC_ICR:
        send_ipi(host, vp_index, value);
        break;
    case HVTLFS_APIC_TPR:
        apic->tpr = (uint8_t)value;
        break;
    }
}

static void on_apic_write(void *context, uint32_t vp_index, enum hvtlfs_apic_register reg,
                          uint64_t value)
{
    struct model_host *host = context;
    enter(host);
    expect_unlocked(host);
    slot(host, vp_index)->apic[apic_number(host, reg)] = value;
    struct model_event *event = log_event(host, MODEL_EVENT_APIC_WRITE, vp_index);
    event->values[0] = (uint64_t)reg;
    event->values[1] = value;
    write_local_apic(host, vp_index, reg, value);
    leave(host);
}

static uint64_t on_apic_read(void *context, uint32_t vp_index, enum hvtlfs_apic_register reg)
{
    struct model_host *host = context;
    enter(host);
    if (reg == HVTLFS_APIC_EOI) {
        violated(host, "the write-only EOI register was read");
    }
    uint64_t value = slot(host, vp_index)->apic[apic_number(host, reg)];
    leave(host);
    return value;
}

static void expect_targets(struct model_host *host, const struct hvtlfs_vp_set *targets)
{
    if (hvtlfs_vp_set_is_empty(targets)) {
        violated(host, "a request came without a target");
    }
}

static void on_tlb_flush(void *context, uint32_t vp_index, const struct hvtlfs_vp_set *targets,
                         const struct hvtlfs_flush *flush)
{
    struct model_host *host = context;
    enter(host);
    expect_unlocked(host);
    expect_targets(host, targets);
    struct model_event *event = log_event(host, MODEL_EVENT_FLUSH, vp_index);
    event->values[0] = flush->address_space;
    event->values[1] = flush->all_address_spaces;
    event->values[2] = flush->non_global_only;
    event->values[3] = flush->range_count;
    event->values[4] = hvtlfs_vp_set_count(targets);
    event->values[5] = hvtlfs_vp_set_bank(targets, 0);
    leave(host);
}

/* Each target is kicked: its thread has to drain its queue. */
static void on_tlb_flush_queued(void *context, uint32_t vp_index,
                                const struct hvtlfs_vp_set *targets)
{
    struct model_host *host = context;
    enter(host);
    expect_unlocked(host);
    expect_targets(host, targets);
    struct model_event *event = log_event(host, MODEL_EVENT_FLUSH_QUEUED, vp_index);
    event->values[0] = hvtlfs_vp_set_count(targets);
    event->values[1] = hvtlfs_vp_set_bank(targets, 0);
    leave(host);
}

/* ---- Callbacks: hypercalls ---- */

static enum hvtlfs_answer on_switch_address_space(void *context, uint32_t vp_index, uint64_t cr3)
{
    struct model_host *host = context;
    enter(host);
    expect_unlocked(host);
    log_event(host, MODEL_EVENT_SWITCH, vp_index)->values[0] = cr3;
    enum hvtlfs_answer answer = answered(host);
    leave(host);
    return answer;
}

static enum hvtlfs_answer on_flush_guest_physical(void *context, uint32_t vp_index,
                                                  const struct hvtlfs_gpa_flush *flush)
{
    struct model_host *host = context;
    enter(host);
    expect_unlocked(host);
    struct model_event *event = log_event(host, MODEL_EVENT_GPA_FLUSH, vp_index);
    event->values[0] = flush->address_space;
    event->values[1] = flush->range_count;
    enum hvtlfs_answer answer = answered(host);
    leave(host);
    return answer;
}

static struct model_register *register_slot(struct model_host *host, uint32_t vp_index,
                                            uint32_t name)
{
    for (size_t i = 0; i < host->register_count; i++) {
        if (host->registers[i].vp_index == vp_index && host->registers[i].name == name) {
            return &host->registers[i];
        }
    }
    host->registers = grown(host->registers, &host->register_capacity, host->register_count + 1,
                            sizeof(*host->registers));
    struct model_register *slot = &host->registers[host->register_count++];
    *slot = (struct model_register){.vp_index = vp_index, .name = name};
    return slot;
}

static enum hvtlfs_answer on_get_register(void *context, uint32_t vp_index, uint32_t name,
                                          struct hvtlfs_register *value)
{
    struct model_host *host = context;
    enter(host);
    *value = register_slot(host, vp_index, name)->value;
    enum hvtlfs_answer answer = answered(host);
    leave(host);
    return answer;
}

static enum hvtlfs_answer on_set_register(void *context, uint32_t vp_index, uint32_t name,
                                          const struct hvtlfs_register *value)
{
    struct model_host *host = context;
    enter(host);
    struct model_event *event = log_event(host, MODEL_EVENT_SET_REGISTER, vp_index);
    event->values[0] = name;
    event->values[1] = value->half[0];
    event->values[2] = value->half[1];
    enum hvtlfs_answer answer = answered(host);
    if (answer == HVTLFS_ANSWER_OK) {
        register_slot(host, vp_index, name)->value = *value;
    }
    leave(host);
    return answer;
}

static enum hvtlfs_answer on_start_vp(void *context, uint32_t vp_index, uint32_t target,
                                      const struct hvtlfs_vp_context *start)
{
    struct model_host *host = context;
    enter(host);
    expect_unlocked(host);
    struct model_event *event = log_event(host, MODEL_EVENT_START_VP, vp_index);
    event->values[0] = target;
    event->values[1] = start->rip;
    event->values[2] = start->cr3;
    enum hvtlfs_answer answer = answered(host);
    leave(host);
    return answer;
}

static enum hvtlfs_answer on_retarget_interrupt(void *context, uint32_t vp_index,
                                                const struct hvtlfs_retarget *retarget,
                                                const struct hvtlfs_vp_set *targets)
{
    struct model_host *host = context;
    enter(host);
    expect_unlocked(host);
    expect_targets(host, targets);
    struct model_event *event = log_event(host, MODEL_EVENT_RETARGET, vp_index);
    event->values[0] = retarget->device_id;
    event->values[1] = retarget->vector;
    event->values[2] = retarget->multicast;
    event->values[3] = hvtlfs_vp_set_count(targets);
    event->values[4] = hvtlfs_vp_set_bank(targets, 0);
    enum hvtlfs_answer answer = answered(host);
    leave(host);
    return answer;
}

static bool on_boot_zeroed_memory(void *context, uint32_t n, uint64_t *first_page,
                                  uint64_t *page_count)
{
    struct model_host *host = context;
    *first_page = UINT64_C(16) * n;
    *page_count = n + UINT64_C(1);
    return n < host->zeroed_ranges;
}

void model_host_queue_flushes(struct hvtlfs_host_ops *ops)
{
    ops->tlb_flush = NULL;
    ops->tlb_flush_queued = on_tlb_flush_queued;
}

void model_host_set_answer(struct model_host *host, enum hvtlfs_answer answer)
{
    enter(host);
    host->answer = answer;
    leave(host);
}

void model_host_set_register(struct model_host *host, uint32_t vp_index, uint32_t name,
                             struct hvtlfs_register value)
{
    enter(host);
    register_slot(host, vp_index, name)->value = value;
    leave(host);
}

struct hvtlfs_register model_host_register(struct model_host *host, uint32_t vp_index,
                                           uint32_t name)
{
    enter(host);
    struct hvtlfs_register value = register_slot(host, vp_index, name)->value;
    leave(host);
    return value;
}

void model_host_set_zeroed_ranges(struct model_host *host, uint32_t count)
{
    host->zeroed_ranges = count;
}

/* ---- Callbacks: time ---- */

static uint64_t on_guest_tsc(void *context, uint32_t vp_index)
{
    return model_host_tsc(context, vp_index);
}

static uint64_t on_host_time(void *context)
{
    return model_host_time(context);
}

static void on_tsc_emulation(void *context, bool in_force)
{
    struct model_host *host = context;
    enter(host);
    expect_unlocked(host);
    log_event(host, MODEL_EVENT_TSC_EMULATION, HVTLFS_NO_VP)->values[0] = in_force;
    leave(host);
}

static void on_arm_deadline(void *context, uint32_t vp_index, uint64_t deadline)
{
    struct model_host *host = context;
    enter(host);
    expect_unlocked(host);
    struct model_vp *vp = slot(host, vp_index);
    while (vp >= host->vps + host->deadlines_end) {
        host->vps[host->deadlines_end++].deadline = HVTLFS_TIME_NEVER;
    }
    vp->deadline = deadline;
    log_event(host, MODEL_EVENT_DEADLINE, vp_index)->values[0] = deadline;
    leave(host);
}

static uint64_t on_vp_runtime(void *context, uint32_t vp_index)
{
    struct model_host *host = context;
    enter(host);
    const struct model_vp *vp = slot(host, vp_index);
    uint64_t runtime = vp->runtime + (since_start(host) - vp->runtime_since);
    leave(host);
    return runtime;
}

/* ---- Callbacks: guest requests ---- */

uint16_t model_host_post(void *context, uint32_t vp_index, uint32_t connection_id,
                         const struct hvtlfs_message *message)
{
    struct model_host *host = context;
    enter(host);
    expect_unlocked(host);
    struct model_event *event = log_event(host, MODEL_EVENT_POST, vp_index);
    event->values[0] = connection_id;
    event->values[1] = message->type;
    event->values[2] = message->size;
    uint16_t status = injected_failure(host) ? 0x13 : host->connection_status;
    leave(host);
    return status;
}

uint16_t model_host_signal(void *context, uint32_t vp_index, uint32_t connection_id, uint32_t flag)
{
    struct model_host *host = context;
    enter(host);
    expect_unlocked(host);
    struct model_event *event = log_event(host, MODEL_EVENT_SIGNAL, vp_index);
    event->values[0] = connection_id;
    event->values[1] = flag;
    uint16_t status = injected_failure(host) ? 0x18 : host->connection_status;
    leave(host);
    return status;
}

void model_host_set_connection_status(struct model_host *host, uint16_t status)
{
    enter(host);
    host->connection_status = status;
    leave(host);
}

static void on_spin_wait(void *context, uint32_t vp_index, uint32_t spins)
{
    struct model_host *host = context;
    enter(host);
    expect_unlocked(host);
    log_event(host, MODEL_EVENT_SPIN_WAIT, vp_index)->values[0] = spins;
    leave(host);
}

static void on_system_reset(void *context, uint32_t vp_index)
{
    struct model_host *host = context;
    enter(host);
    expect_unlocked(host);
    log_event(host, MODEL_EVENT_RESET, vp_index);
    leave(host);
}

/* The guest's message with everything unprintable, quotes and backslashes replaced by dots. */
static char *printable(const char *message, size_t size)
{
    char *text = malloc(size + 1);
    if (text == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < size; i++) {
        bool plain = message[i] >= ' ' && message[i] <= '~';
        text[i] = plain && message[i] != '"' && message[i] != '\\' ? message[i] : '.';
    }
    text[size] = '\0';
    return text;
}

static void on_crash(void *context, uint32_t vp_index, const struct hvtlfs_crash *crash)
{
    struct model_host *host = context;
    enter(host);
    expect_unlocked(host);
    struct model_event *event = log_event(host, MODEL_EVENT_CRASH, vp_index);
    memcpy(event->values, crash->parameter, sizeof(crash->parameter));
    event->values[5] = crash->control;
    if (crash->message != NULL) {
        event->note = printable(crash->message, crash->message_size);
    }
    leave(host);
}

static void on_npiep(void *context, uint32_t vp_index, uint32_t prevent)
{
    struct model_host *host = context;
    enter(host);
    expect_unlocked(host);
    log_event(host, MODEL_EVENT_NPIEP, vp_index)->values[0] = prevent;
    leave(host);
}

static void on_stats_page(void *context, uint32_t vp_index, enum hvtlfs_overlay_kind kind,
                          bool shown)
{
    struct model_host *host = context;
    enter(host);
    expect_unlocked(host);
    struct model_event *event = log_event(host, MODEL_EVENT_STATS_PAGE, vp_index);
    event->values[0] = (uint64_t)kind;
    event->values[1] = shown;
    leave(host);
}

/* Plain registers, of which one is read-only: enough to see that a host may refuse. */
static uint64_t *debug_register(struct model_host *host, uint32_t vp_index, uint32_t number)
{
    uint32_t which = number - 0x400000F1u;
    if (which >= sizeof(host->vps->debug) / sizeof(host->vps->debug[0])) {
        violated(host, "a debug register that does not exist was accessed");
        which = 0;
    }
    return &slot(host, vp_index)->debug[which];
}

static bool on_debug_read(void *context, uint32_t vp_index, uint32_t number, uint64_t *value)
{
    struct model_host *host = context;
    enter(host);
    expect_unlocked(host);
    *value = *debug_register(host, vp_index, number);
    bool readable = !injected_failure(host);
    leave(host);
    return readable;
}

static bool on_debug_write(void *context, uint32_t vp_index, uint32_t number, uint64_t value)
{
    struct model_host *host = context;
    enter(host);
    expect_unlocked(host);
    bool writable = number != 0x400000F2u /* SYNTH_DEBUG_STATUS */ && !injected_failure(host);
    if (writable) {
        *debug_register(host, vp_index, number) = value;
        struct model_event *event = log_event(host, MODEL_EVENT_DEBUG_WRITE, vp_index);
        event->values[0] = number;
        event->values[1] = value;
    }
    leave(host);
    return writable;
}

void model_host_ops(const struct model_host *host, struct hvtlfs_host_ops *ops)
{
    *ops = (struct hvtlfs_host_ops){
        .size = sizeof(*ops),
        .gpa_read = on_gpa_read,
        .gpa_write = on_gpa_write,
        .gpa_probe = on_gpa_probe,
        .gpa_compare_exchange = on_gpa_compare_exchange,
        .request_interrupt = on_request_interrupt,
        .kick = on_kick,
        .apic_write = on_apic_write,
        .apic_read = on_apic_read,
        .tlb_flush = on_tlb_flush,
        .switch_address_space = on_switch_address_space,
        .flush_guest_physical = on_flush_guest_physical,
        .get_register = on_get_register,
        .set_register = on_set_register,
        .start_vp = on_start_vp,
        .retarget_interrupt = on_retarget_interrupt,
        .boot_zeroed_memory = on_boot_zeroed_memory,
        .guest_tsc = on_guest_tsc,
        .host_time = on_host_time,
        .tsc_emulation = on_tsc_emulation,
        .arm_deadline = on_arm_deadline,
        .vp_runtime = on_vp_runtime,
        .spin_wait = on_spin_wait,
        .system_reset = on_system_reset,
        .crash = on_crash,
        .npiep = on_npiep,
        .stats_page = on_stats_page,
        .debug_read = on_debug_read,
        .debug_write = on_debug_write,
    };
    if (!host->options.copies_overlays) {
        ops->overlay_set = on_overlay_set;
        ops->overlay_clear = on_overlay_clear;
    }
    if (host->options.lock != MODEL_LOCK_ABSENT) {
        ops->lock = on_lock;
        ops->unlock = on_unlock;
    }
}

void model_host_configure(struct model_host *host, struct hvtlfs_config *config)
{
    model_host_ops(host, &config->ops);
    config->context = host;
    config->tsc_hz = host->options.tsc_hz;
}

enum hvtlfs_status model_host_partition(struct model_host *host, const struct hvtlfs_config *config,
                                        struct hvtlfs_partition **partition,
                                        struct hvtlfs_error *error)
{
    size_t size;
    enum hvtlfs_status status = hvtlfs_partition_size(config, &size, error);
    if (status != HVTLFS_OK) {
        return status;
    }
    size_t pages = size / HVTLFS_PARTITION_ALIGNMENT + 1;
    free(host->partition_memory);
    host->partition_memory =
        aligned_alloc(HVTLFS_PARTITION_ALIGNMENT, pages * HVTLFS_PARTITION_ALIGNMENT);
    if (host->partition_memory == NULL) {
        size = 0;
    }
    return hvtlfs_partition_init(host->partition_memory, size, config, partition, error);
}

void model_host_forget(struct model_host *host)
{
    enter(host);
    host->overlay_count = 0;
    for (uint32_t i = 0; i < host->deadlines_end; i++) {
        host->vps[i].deadline = HVTLFS_TIME_NEVER;
    }
    leave(host);
}

/* ---- Life ---- */

void model_host_options_init(struct model_host_options *options)
{
    *options = (struct model_host_options){
        .ram_size = UINT64_C(16) << 20,
        .tsc_hz = UINT64_C(1000000000),
        .host_time = 123456789,
        .lock = MODEL_LOCK_CHECKED,
    };
}

static bool allocate(struct model_host *host)
{
    uint64_t size = host->options.ram_size;
    if (size % HVTLFS_PAGE_SIZE != 0 || size > SIZE_MAX) {
        return false;
    }
    host->ram = calloc(size > 0 ? (size_t)size : 1, 1);
    host->vps = calloc(HVTLFS_MAX_VPS, sizeof(*host->vps));
    return host->ram != NULL && host->vps != NULL;
}

struct model_host *model_host_create(const struct model_host_options *options)
{
    struct model_host *host = calloc(1, sizeof(*host));
    if (host == NULL) {
        return NULL;
    }
    host->options = *options;
    host->time = options->host_time;
    host->tsc = options->tsc;
    host->zeroed_ranges = 1;
    pthread_mutex_init(&host->partition_lock, NULL);
    pthread_mutex_init(&host->own_lock, NULL);
    if (!allocate(host)) {
        model_host_destroy(host);
        return NULL;
    }
    return host;
}

void model_host_destroy(struct model_host *host)
{
    if (host == NULL) {
        return;
    }
    model_host_clear_events(host);
    for (uint32_t i = 0; i < host->interrupts_end; i++) {
        free(host->vps[i].interrupts.items);
    }
    pthread_mutex_destroy(&host->own_lock);
    pthread_mutex_destroy(&host->partition_lock);
    free(host->partition_memory);
    free(host->registers);
    free(host->events);
    free(host->overlays);
    free(host->vps);
    free(host->ram);
    free(host);
}

/* ---- What the guest sees of its memory ---- */

enum model_access model_host_guest_read(struct model_host *host, uint64_t gpa, void *buffer,
                                        size_t size)
{
    enter(host);
    enum model_access result = transfer_from(host, gpa, buffer, size);
    leave(host);
    return result;
}

enum model_access model_host_guest_write(struct model_host *host, uint64_t gpa, const void *buffer,
                                         size_t size)
{
    enter(host);
    enum model_access result = transfer_to(host, gpa, buffer, size);
    leave(host);
    return result;
}

static uint64_t little_endian(const uint8_t *bytes, size_t size)
{
    uint64_t value = 0;
    for (size_t i = size; i > 0; i--) {
        value = value << 8 | bytes[i - 1];
    }
    return value;
}

uint32_t model_host_guest_read32(struct model_host *host, uint64_t gpa)
{
    uint8_t bytes[4] = {0xFF, 0xFF, 0xFF, 0xFF};
    (void)model_host_guest_read(host, gpa, bytes, sizeof(bytes));
    return (uint32_t)little_endian(bytes, sizeof(bytes));
}

uint64_t model_host_guest_read64(struct model_host *host, uint64_t gpa)
{
    uint8_t bytes[8] = {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF};
    (void)model_host_guest_read(host, gpa, bytes, sizeof(bytes));
    return little_endian(bytes, sizeof(bytes));
}

enum model_access model_host_guest_write64(struct model_host *host, uint64_t gpa, uint64_t value)
{
    uint8_t bytes[8];
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)(value >> (8 * i));
    }
    return model_host_guest_write(host, gpa, bytes, sizeof(bytes));
}

uint8_t *model_host_ram(struct model_host *host, uint64_t gpa)
{
    return gpa < host->options.ram_size ? host->ram + gpa : NULL;
}

size_t model_host_overlay_count(struct model_host *host)
{
    enter(host);
    size_t count = host->overlay_count;
    leave(host);
    return count;
}

bool model_host_overlay_at(struct model_host *host, uint64_t gpa, struct hvtlfs_overlay *overlay)
{
    enter(host);
    const struct hvtlfs_overlay *found = overlay_over(host, gpa);
    if (found != NULL) {
        *overlay = *found;
    }
    leave(host);
    return found != NULL;
}

/* ---- Clocks ---- */

/*
 * Ticks in `time` units at the host's rate, modulo 2^64, with the fraction of a tick kept. With
 * hz = q * 10^7 + r and time = a * 10^7 + b,
 *
 *     time * hz / 10^7 = time * q + a * r + b * r / 10^7
 *
 * and only the last product needs a division; it stays below 10^14.
 */
static uint64_t ticks_in(struct model_host *host, uint64_t time)
{
    uint64_t q = host->options.tsc_hz / UNITS_PER_SECOND;
    uint64_t r = host->options.tsc_hz % UNITS_PER_SECOND;
    uint64_t a = time / UNITS_PER_SECOND;
    uint64_t b = time % UNITS_PER_SECOND;
    uint64_t parts = b * r + host->tsc_fraction;
    host->tsc_fraction = parts % UNITS_PER_SECOND;
    return time * q + a * r + parts / UNITS_PER_SECOND;
}

void model_host_advance(struct model_host *host, uint64_t time)
{
    enter(host);
    uint64_t left = UINT64_MAX - host->time;
    host->tsc += ticks_in(host, time);
    host->time += time < left ? time : left;
    leave(host);
}

void model_host_set_tsc(struct model_host *host, uint64_t tsc)
{
    enter(host);
    host->tsc = tsc;
    host->tsc_fraction = 0;
    leave(host);
}

void model_host_add_tsc(struct model_host *host, uint64_t ticks)
{
    enter(host);
    host->tsc += ticks;
    leave(host);
}

void model_host_set_tsc_offset(struct model_host *host, uint32_t vp_index, uint64_t offset)
{
    enter(host);
    slot(host, vp_index)->tsc_offset = offset;
    leave(host);
}

uint64_t model_host_tsc_offset(struct model_host *host, uint32_t vp_index)
{
    enter(host);
    uint64_t offset = slot(host, vp_index)->tsc_offset;
    leave(host);
    return offset;
}

void model_host_set_tsc_hz(struct model_host *host, uint64_t tsc_hz)
{
    enter(host);
    host->options.tsc_hz = tsc_hz;
    host->tsc_fraction = 0;
    leave(host);
}

uint64_t model_host_tsc_hz(struct model_host *host)
{
    enter(host);
    uint64_t tsc_hz = host->options.tsc_hz;
    leave(host);
    return tsc_hz;
}

uint64_t model_host_tsc(struct model_host *host, uint32_t vp_index)
{
    enter(host);
    uint64_t tsc = host->tsc + slot(host, vp_index)->tsc_offset;
    leave(host);
    return tsc;
}

uint64_t model_host_time(struct model_host *host)
{
    enter(host);
    uint64_t time = host->time;
    leave(host);
    return time;
}

uint64_t model_host_start_time(const struct model_host *host)
{
    return host->options.host_time;
}

void model_host_set_runtime(struct model_host *host, uint32_t vp_index, uint64_t runtime)
{
    enter(host);
    struct model_vp *vp = slot(host, vp_index);
    vp->runtime = runtime;
    vp->runtime_since = since_start(host);
    leave(host);
}

uint64_t model_host_deadline(struct model_host *host, uint32_t vp_index)
{
    enter(host);
    const struct model_vp *vp = slot(host, vp_index);
    uint64_t deadline = vp < host->vps + host->deadlines_end ? vp->deadline : HVTLFS_TIME_NEVER;
    leave(host);
    return deadline;
}

uint32_t model_host_next_deadline(struct model_host *host, uint64_t *deadline)
{
    uint32_t next = HVTLFS_NO_VP;
    enter(host);
    *deadline = HVTLFS_TIME_NEVER;
    for (uint32_t i = 0; i < host->deadlines_end; i++) {
        if (host->vps[i].deadline < *deadline) {
            *deadline = host->vps[i].deadline;
            next = i;
        }
    }
    leave(host);
    return next;
}

/* ---- Interrupts and VPs ---- */

bool model_host_take_interrupt(struct model_host *host, uint32_t vp_index,
                               struct hvtlfs_interrupt *interrupt)
{
    enter(host);
    struct interrupt_queue *queue = &slot(host, vp_index)->interrupts;
    bool found = queue->count > 0;
    if (found) {
        *interrupt = queue->items[queue->first++];
        queue->count--;
    }
    if (queue->count == 0) {
        queue->first = 0;
    }
    leave(host);
    return found;
}

size_t model_host_interrupt_count(struct model_host *host, uint32_t vp_index)
{
    enter(host);
    size_t count = slot(host, vp_index)->interrupts.count;
    leave(host);
    return count;
}

uint32_t model_host_take_kick(struct model_host *host)
{
    uint32_t taken = HVTLFS_NO_VP;
    enter(host);
    for (uint32_t i = 0; host->kicks > 0 && i < HVTLFS_MAX_VPS; i++) {
        if (host->vps[i].kicked) {
            host->vps[i].kicked = false;
            host->kicks--;
            taken = i;
            break;
        }
    }
    leave(host);
    return taken;
}

struct model_apic *model_host_local_apic(struct model_host *host, uint32_t vp_index)
{
    return &slot(host, vp_index)->local_apic;
}

void model_host_reset_apic(struct model_host *host, uint32_t vp_index)
{
    struct model_vp *vp = slot(host, vp_index);
    enter(host);
    memset(vp->apic, 0, sizeof(vp->apic));
    memset(&vp->local_apic, 0, sizeof(vp->local_apic));
    leave(host);
}

void model_host_note_idle(struct model_host *host, uint32_t vp_index)
{
    enter(host);
    log_event(host, MODEL_EVENT_IDLE, vp_index);
    leave(host);
}

uint64_t model_host_apic(struct model_host *host, uint32_t vp_index, enum hvtlfs_apic_register reg)
{
    enter(host);
    uint64_t value = slot(host, vp_index)->apic[apic_number(host, reg)];
    leave(host);
    return value;
}

void model_host_set_apic(struct model_host *host, uint32_t vp_index, enum hvtlfs_apic_register reg,
                         uint64_t value)
{
    enter(host);
    slot(host, vp_index)->apic[apic_number(host, reg)] = value;
    leave(host);
}

/* ---- The log ---- */

size_t model_host_event_count(struct model_host *host)
{
    enter(host);
    size_t count = host->event_count;
    leave(host);
    return count;
}

bool model_host_event(struct model_host *host, size_t n, struct model_event *event)
{
    enter(host);
    bool found = n < host->event_count;
    if (found) {
        *event = host->events[n];
    }
    leave(host);
    return found;
}

size_t model_host_events_of(struct model_host *host, enum model_event_kind kind)
{
    size_t found = 0;
    enter(host);
    for (size_t i = 0; i < host->event_count; i++) {
        found += host->events[i].kind == kind ? 1 : 0;
    }
    leave(host);
    return found;
}

void model_host_keep_events(struct model_host *host, size_t count)
{
    enter(host);
    for (size_t i = count; i < host->event_count; i++) {
        free((void *)(uintptr_t)host->events[i].note);
    }
    host->event_count = count < host->event_count ? count : host->event_count;
    leave(host);
}

void model_host_clear_events(struct model_host *host)
{
    model_host_keep_events(host, 0);
}

/* ---- Failure injection ---- */

void model_host_fail(struct model_host *host, uint64_t nth, bool onwards)
{
    host->fallible_calls = 0;
    host->fail_at = nth;
    host->fail_onwards = onwards;
}

uint64_t model_host_fallible_calls(struct model_host *host)
{
    return host->fallible_calls;
}

uint64_t model_host_violations(struct model_host *host)
{
    enter(host);
    uint64_t violations = host->violations;
    leave(host);
    return violations;
}

const char *model_host_first_violation(struct model_host *host)
{
    return host->first_violation;
}
