/* SPDX-License-Identifier: MIT */
/* TLB flushes (TLFS 9.4): what the guest asks for, and the queues of those that wait. */
#include "tlb.h"

#include <hvtlfs/tlfs.h>

#include "state.h"

#define FLAG_ALL_ADDRESS_SPACES 1u
#define FLAG_EXTENDED 2u

/* A writer that loses the race for a cell so often asks for a full flush instead. */
#define MAX_ATTEMPTS 8u

/* The most entries that one call puts into queues: a few microseconds' work. */
#define MAX_QUEUED 256u

/* ---- Ranges ---- */

void hvtlfs_flush_range_decode(uint64_t entry, bool extended, struct hvtlfs_flush_range *range)
{
    uint64_t pages = entry & HV_GVA_RANGE_ADDITIONAL_PAGES_MASK;

    range->page_size = HVTLFS_PAGE_SIZE;
    if (extended) {
        pages &= HV_GVA_RANGE_EXTENDED_ADDITIONAL_PAGES_MASK;
        if (entry & HV_GVA_RANGE_EXTENDED_LARGE_PAGE) {
            range->page_size = entry & HV_GVA_RANGE_EXTENDED_PAGE_SIZE ? BIT64(30) : BIT64(21);
        }
    }
    range->address = entry & ~(range->page_size - 1);
    range->page_count = pages + 1;
}

/* ---- Queues ---- */

bool hvti_flush_queues_wanted(uint64_t features, const struct hvti_host *host)
{
    return hvti_mask_has(features, HVTLFS_FEATURE_TLBFLUSH) && hvti_host_queues_flushes(host);
}

static void clear_queue(struct hvti_flush_queue *queue)
{
    uint32_t i;

    queue->head = queue->tail = queue->covered = 0;
    for (i = 0; i < HVTLFS_FLUSH_QUEUE_SIZE; i++) {
        queue->cells[i].turn = i;
    }
}

void hvti_tlb_init(struct hvtlfs_partition *partition)
{
    uint32_t slot;

    for (slot = 0; partition->tlb.queues && slot < partition->vp_count; slot++) {
        clear_queue(&partition->tlb.queues[slot]);
    }
}

void hvti_tlb_reset(struct hvtlfs_vp *vp)
{
    struct hvtlfs_flush_item ignored;

    while (hvtlfs_flush_take(vp, &ignored)) {
    }
}

static bool put(struct hvti_flush_queue *queue, const struct hvti_flush_cell *entry)
{
    uint32_t tail = __atomic_load_n(&queue->tail, __ATOMIC_RELAXED);
    uint32_t attempts = MAX_ATTEMPTS;
    struct hvti_flush_cell *cell;
    uint32_t turn;

    do {
        turn = tail;
        cell = &queue->cells[turn % HVTLFS_FLUSH_QUEUE_SIZE];
        if (!attempts-- || __atomic_load_n(&cell->turn, __ATOMIC_ACQUIRE) != turn) {
            return false; /* full, or overtaken */
        }
        /* A failed exchange loads the present tail. */
    } while (!__atomic_compare_exchange_n(&queue->tail, &tail, turn + 1, false, __ATOMIC_RELEASE,
                                          __ATOMIC_RELAXED));
    cell->flags = entry->flags;
    cell->address_space = entry->address_space;
    cell->range = entry->range;
    __atomic_store_n(&cell->turn, turn + 1, __ATOMIC_RELEASE);
    return true;
}

static bool take(struct hvti_flush_queue *queue, struct hvti_flush_cell *entry)
{
    uint32_t head = queue->head;
    struct hvti_flush_cell *cell = &queue->cells[head % HVTLFS_FLUSH_QUEUE_SIZE];

    if (__atomic_load_n(&cell->turn, __ATOMIC_ACQUIRE) != head + 1) {
        return false;
    }
    entry->flags = cell->flags;
    entry->address_space = cell->address_space;
    entry->range = cell->range;
    __atomic_store_n(&cell->turn, head + HVTLFS_FLUSH_QUEUE_SIZE, __ATOMIC_RELEASE);
    queue->head = head + 1;
    return true;
}

/*
 * The head is taken by a writer that has not filled it yet, and behind it may be entries of writers
 * that are done and rely on them. Nobody waits for the slow one: a full flush covers all entries taken
 * so far, for what their writers' guests changed was changed before. Once for each tail is enough.
 */
static bool take_stalled(struct hvti_flush_queue *queue)
{
    uint32_t tail = __atomic_load_n(&queue->tail, __ATOMIC_ACQUIRE);

    if (tail == queue->head || tail == queue->covered) {
        return false;
    }
    queue->covered = tail;
    return true;
}

/* The VP's word in the set of those that flush everything. 32 bits: all processors have them atomic. */
static uint32_t *everything_word(struct hvtlfs_vp *vp)
{
    return &vp->partition->tlb.everything[vp->index / 32];
}

static uint32_t everything_bit(const struct hvtlfs_vp *vp)
{
    return BIT32(vp->index % 32);
}

static bool take_everything(struct hvtlfs_vp *vp)
{
    uint32_t bit = everything_bit(vp);

    return (__atomic_load_n(everything_word(vp), __ATOMIC_RELAXED) & bit) &&
           (__atomic_fetch_and(everything_word(vp), ~bit, __ATOMIC_ACQUIRE) & bit);
}

/* What waits now is covered. A writer that goes on meanwhile does not hold us here. */
static void discard(struct hvti_flush_queue *queue)
{
    struct hvti_flush_cell ignored;
    uint32_t i;

    for (i = 0; i < HVTLFS_FLUSH_QUEUE_SIZE && take(queue, &ignored); i++) {
    }
}

bool hvtlfs_flush_take(struct hvtlfs_vp *vp, struct hvtlfs_flush_item *item)
{
    struct hvti_flush_queue *queue = vp->partition->tlb.queues;
    struct hvti_flush_cell entry;

    if (!queue) {
        return false;
    }
    queue += vp->slot;
    *item = (struct hvtlfs_flush_item){.everything = true, .all_address_spaces = true};
    if (take_everything(vp)) {
        discard(queue);
        return true;
    }
    if (!take(queue, &entry)) {
        return take_stalled(queue);
    }
    item->everything = false;
    item->all_address_spaces = entry.flags & FLAG_ALL_ADDRESS_SPACES;
    item->address_space = entry.address_space;
    hvtlfs_flush_range_decode(entry.range, entry.flags & FLAG_EXTENDED, &item->range);
    return true;
}

/* By banks: a flush of everything costs two words for 64 VPs. */
static void queue_everything(struct hvtlfs_partition *partition,
                             const struct hvtlfs_vp_set *targets)
{
    uint64_t rest;

    for (rest = targets->banks; rest; rest &= rest - 1) {
        uint32_t bank = lowest_bit(rest);
        uint32_t *words = &partition->tlb.everything[(size_t)2 * bank];

        __atomic_fetch_or(&words[0], (uint32_t)targets->bank[bank], __ATOMIC_RELEASE);
        __atomic_fetch_or(&words[1], (uint32_t)(targets->bank[bank] >> 32), __ATOMIC_RELEASE);
    }
}

static void queue_ranges(struct hvtlfs_vp *target, const struct hvtlfs_flush *flush)
{
    struct hvti_flush_queue *queue = &target->partition->tlb.queues[target->slot];
    struct hvti_flush_cell entry = {.address_space = flush->address_space};
    size_t i;

    entry.flags = (flush->all_address_spaces ? FLAG_ALL_ADDRESS_SPACES : 0) |
                  (flush->extended_ranges ? FLAG_EXTENDED : 0);
    for (i = 0; i < flush->range_count; i++) {
        entry.range = flush->ranges[i];
        if (!put(queue, &entry)) {
            __atomic_fetch_or(everything_word(target), everything_bit(target), __ATOMIC_RELEASE);
            return;
        }
    }
}

/* The list counts whole: what a queue does not hold, or takes too long, is not tried one by one. */
static bool is_too_much(const struct hvti_call *call, struct hvti_targets targets)
{
    return call->reps > HVTLFS_FLUSH_QUEUE_SIZE || targets.count * call->reps > MAX_QUEUED;
}

static void queue_list(struct hvtlfs_partition *partition, const struct hvtlfs_vp_set *targets,
                       const struct hvtlfs_flush *flush)
{
    uint32_t index;

    for (index = hvtlfs_vp_set_next(targets, 0); index != HVTLFS_NO_VP;
         index = hvtlfs_vp_set_next(targets, index + 1)) {
        struct hvtlfs_vp *target = hvti_vp_by_index(partition, index);

        if (target) { /* always: absent ones have been taken out */
            queue_ranges(target, flush);
        }
    }
}

/* A flush of everything ends the rest of the list as well: the guest changed it all before its call. */
static void queue_flush(struct hvti_call *call, struct hvti_targets targets,
                        const struct hvtlfs_flush *flush)
{
    struct hvtlfs_partition *partition = call->vp->partition;

    if (call->covered) {
        return;
    }
    call->covered = !flush->ranges || is_too_much(call, targets);
    if (call->covered) {
        queue_everything(partition, targets.set);
    } else {
        queue_list(partition, targets.set, flush);
    }
}

/* ---- The calls ---- */

typedef void after_flush(struct hvti_call *call);

static void notify(const struct hvti_call *call, struct hvti_targets targets)
{
    hvti_host_tlb_flush_queued(&call->vp->partition->host, call->vp->index, targets.set);
}

/* Queues: the host is told once, with the last of the list or, if that does not come yet, `after`. */
static void request(struct hvti_call *call, struct hvti_targets targets,
                    const struct hvtlfs_flush *flush, after_flush *after)
{
    struct hvtlfs_partition *partition = call->vp->partition;

    if (!targets.count) {
        return;
    }
    hvti_count(&call->vp->counters.tallies[HVTI_TALLY_flushes]);
    hvti_count_more(&call->vp->counters.tallies[HVTI_TALLY_flush_targets], targets.count);
    if (!partition->tlb.queues) {
        hvti_host_tlb_flush(&partition->host, call->vp->index, targets.set, targets.count, flush);
        return;
    }
    queue_flush(call, targets, flush);
    call->after = after;
    if (call->first + call->count == call->reps) {
        call->after = NULL;
        notify(call, targets);
    }
}

/* TLFS 9.3.2: which flags a call takes; all others must be zero. */
static bool flags_fit(const struct hvti_call *call, uint64_t flags)
{
    uint64_t known = HV_FLUSH_ALL_PROCESSORS | HV_FLUSH_ALL_VIRTUAL_ADDRESS_SPACES;

    if (!call->reps) {
        known |= HV_FLUSH_NON_GLOBAL_MAPPINGS_ONLY;
    } else if (hvti_has(call->vp->partition, HVTLFS_FEATURE_TLBFLUSH_EXT)) {
        known |= HV_FLUSH_USE_EXTENDED_RANGE_FORMAT;
    }
    return !(flags & ~known);
}

/* Ranges are a qword each. A list at hand is gone through once, so they are turned where they are. */
static const uint64_t *ranges_of(const struct hvti_call *call)
{
    if (!call->count) {
        return NULL;
    }
    guest_qwords(call->elements, call->count);
    return call->elements;
}

static uint16_t flush(struct hvti_call *call, struct hvti_targets targets, after_flush *after)
{
    uint64_t flags = call->header[1];
    const struct hvtlfs_flush what = {
        .address_space = call->header[0],
        .all_address_spaces = flags & HV_FLUSH_ALL_VIRTUAL_ADDRESS_SPACES,
        .non_global_only = flags & HV_FLUSH_NON_GLOBAL_MAPPINGS_ONLY,
        .range_count = call->count,
        .ranges = ranges_of(call),
        .extended_ranges = flags & HV_FLUSH_USE_EXTENDED_RANGE_FORMAT,
    };

    if (!targets.set || !flags_fit(call, flags)) {
        return HV_STATUS_INVALID_PARAMETER;
    }
    request(call, targets, &what, after);
    return HV_STATUS_SUCCESS;
}

/* Windows Server 2012 sends a mask of 0 and means all: a policy, for the TLFS says no such thing. */
static struct hvti_targets mask_targets(const struct hvti_call *call, struct hvtlfs_vp_set *room)
{
    const struct hvtlfs_partition *partition = call->vp->partition;
    bool zero_is_all = partition->policy & HVTLFS_POLICY_FLUSH_MASK_0_IS_ALL;

    if ((call->header[1] & HV_FLUSH_ALL_PROCESSORS) || (!call->header[2] && zero_is_all)) {
        return hvti_call_all(call);
    }
    return hvti_call_vp_mask(call, call->header[2], room);
}

/* TLFS 9.4.3: with the flag the set is not looked at. Without a set it is malformed. */
static struct hvti_targets set_targets(const struct hvti_call *call, struct hvtlfs_vp_set *room)
{
    if (call->header[1] & HV_FLUSH_ALL_PROCESSORS) {
        return hvti_call_all(call);
    }
    return hvti_call_vp_set(call, &call->header[2], call->variable_qwords, room);
}

/* The handlers' sets are gone by then; the header, which has been checked, gives them again. */
static void notify_mask(struct hvti_call *call)
{
    struct hvtlfs_vp_set room;

    notify(call, mask_targets(call, &room));
}

static void notify_set(struct hvti_call *call)
{
    struct hvtlfs_vp_set room;

    notify(call, set_targets(call, &room));
}

static uint16_t flush_mask(struct hvti_call *call)
{
    struct hvtlfs_vp_set room;

    return flush(call, mask_targets(call, &room), notify_mask);
}

static uint16_t flush_set(struct hvti_call *call)
{
    struct hvtlfs_vp_set room;

    return flush(call, set_targets(call, &room), notify_set);
}

uint16_t hvti_flush_virtual_address_space(struct hvti_call *call)
{
    return flush_mask(call);
}

uint16_t hvti_flush_virtual_address_list(struct hvti_call *call)
{
    return flush_mask(call);
}

uint16_t hvti_flush_virtual_address_space_ex(struct hvti_call *call)
{
    return flush_set(call);
}

uint16_t hvti_flush_virtual_address_list_ex(struct hvti_call *call)
{
    return flush_set(call);
}

uint16_t hvti_switch_virtual_address_space(struct hvti_call *call)
{
    return hvti_host_switch_address_space(&call->vp->partition->host, call->vp->index,
                                          call->header[0])
               ? HV_STATUS_INVALID_PARAMETER
               : HV_STATUS_SUCCESS;
}

/* ---- Second-level translations of a nested hypervisor (TLFS 16.13) ---- */

static uint16_t flush_guest_physical(const struct hvti_call *call)
{
    const struct hvtlfs_gpa_flush what = {.address_space = call->header[0],
                                          .range_count = call->count,
                                          .ranges = ranges_of(call)};
    enum hvtlfs_answer answer;

    if (call->header[1]) { /* flags: none is defined */
        return HV_STATUS_INVALID_PARAMETER;
    }
    answer = hvti_host_flush_gpa(&call->vp->partition->host, call->vp->index, &what);
    if (answer == HVTLFS_ANSWER_STATE) {
        return HV_STATUS_INVALID_VP_STATE;
    }
    return answer ? HV_STATUS_INVALID_PARAMETER : HV_STATUS_SUCCESS;
}

uint16_t hvti_flush_guest_physical_address_space(struct hvti_call *call)
{
    return flush_guest_physical(call);
}

uint16_t hvti_flush_guest_physical_address_list(struct hvti_call *call)
{
    return flush_guest_physical(call);
}

void hvti_tlb_restored(struct hvtlfs_partition *partition)
{
    uint32_t slot;

    for (slot = 0; partition->tlb.queues && slot < partition->vp_count; slot++) {
        uint32_t index = partition->vps[slot].index;

        (void)__atomic_fetch_or(&partition->tlb.everything[index / 32], BIT32(index % 32),
                                __ATOMIC_RELEASE);
    }
}
