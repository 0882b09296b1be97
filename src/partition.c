/* SPDX-License-Identifier: MIT */
/*
 * A partition in the caller's memory: checked configuration, layout, init, reset, and the entry
 * points that need nothing but the assembled whole.
 *
 * The memory: struct hvtlfs_partition | overlay pages (page-aligned) | their places | the VPs |
 * their flush queues | message buffers | connections.
 */
#include <hvtlfs/partition.h>

#include <hvtlfs/reftime.h>
#include <hvtlfs/tlfs.h>

#include "state.h"

#define VENDOR_MAX 12u

/* Version 1.0 of the public structs: what a caller must know at least. */
#define CONFIG_MIN (offsetof(struct hvtlfs_config, policy) + sizeof(uint32_t))
#define OPS_MIN (offsetof(struct hvtlfs_host_ops, gpa_probe) + sizeof(void *))

/* A configuration after all checks, and what follows from it. */
struct plan {
    struct hvtlfs_config config; /* members the caller's version does not have are zero */
    struct hvti_host host;
    uint64_t features;           /* in force */
    uint32_t needs_met;
    size_t pages_offset;
    size_t places_offset;
    size_t vps_offset;
    size_t flush_queues_offset; /* 0: none */
    uint32_t messages;           /* buffers */
    size_t messages_offset;
    uint32_t connections;
    size_t connections_offset;
    size_t size;
};

void hvtlfs_config_init(struct hvtlfs_config *config)
{
    struct hvtlfs_feature_list minimal;

    if (!config) {
        return;
    }
    hvtlfs_feature_list_minimal(&minimal);
    memset(config, 0, sizeof(*config));
    config->size = sizeof(*config);
    config->ops.size = sizeof(config->ops);
    config->vp_count = 1;
    config->features = minimal.features;
    config->spin_count = minimal.spin_count;
    memcpy(config->vendor, "Microsoft Hv", VENDOR_MAX);
    config->cpuid_base = (uint32_t)HV_CPUID_RANGE_FIRST;
    config->gpa_bits = 40;
    config->hypercall_reps = 64;
    config->hypercall_time = 500;
    config->connection_count = 16;
}

enum hvtlfs_status hvtlfs_config_parse(struct hvtlfs_config *config, const char *text, size_t size,
                                       struct hvtlfs_error *error)
{
    struct hvtlfs_feature_list list = {{{0, 0}}, 0};
    enum hvtlfs_status status;

    if (config) {
        list = (struct hvtlfs_feature_list){config->features, config->spin_count};
    }
    status = hvtlfs_features_parse(config ? &list : NULL, text, size, error);
    if (!status) {
        config->features = list.features;
        config->spin_count = list.spin_count;
    }
    return status;
}

/* ---- Checks: each returns HVTLFS_OK or says what is wrong ---- */

static enum hvtlfs_status wrong(struct hvtlfs_error *error, enum hvtlfs_status status,
                                const char *name, uint64_t value, uint64_t limit)
{
    *error = (struct hvtlfs_error){.status = status,
                                   .feature = HVTLFS_FEATURE_COUNT,
                                   .other = HVTLFS_FEATURE_COUNT,
                                   .value = value,
                                   .limit = limit,
                                   .name = name};
    return status;
}

static enum hvtlfs_status check_identity(const struct hvtlfs_config *config,
                                         struct hvtlfs_error *error)
{
    uint32_t base = config->cpuid_base;

    if (config->vendor[VENDOR_MAX]) {
        return wrong(error, HVTLFS_ERR_VENDOR, "vendor", 0, VENDOR_MAX);
    }
    if (base & 0xFF || base < 0x40000000 || base > 0x4000FF00) {
        return wrong(error, HVTLFS_ERR_CPUID_BASE, "cpuid_base", base, 0);
    }
    if (config->gpa_bits < 32 || config->gpa_bits > 52) {
        return wrong(error, HVTLFS_ERR_GPA_BITS, "gpa_bits", config->gpa_bits, 52);
    }
    return HVTLFS_OK;
}

static enum hvtlfs_status check_bounds(const struct hvtlfs_config *config,
                                       struct hvtlfs_error *error)
{
    if (config->connection_count > HVTLFS_MAX_CONNECTIONS) {
        return wrong(error, HVTLFS_ERR_ARGUMENT, "connection_count", config->connection_count,
                     HVTLFS_MAX_CONNECTIONS);
    }
    if (config->message_buffers > HVTLFS_MAX_MESSAGE_BUFFERS) {
        return wrong(error, HVTLFS_ERR_ARGUMENT, "message_buffers", config->message_buffers,
                     HVTLFS_MAX_MESSAGE_BUFFERS);
    }
    return HVTLFS_OK;
}

static enum hvtlfs_status check_trap(const struct hvtlfs_config *config, struct hvtlfs_error *error)
{
    bool custom = config->trap == HVTLFS_TRAP_CUSTOM;

    if ((uint32_t)config->trap > HVTLFS_TRAP_CUSTOM) {
        return wrong(error, HVTLFS_ERR_TRAP, "trap", (uint32_t)config->trap, HVTLFS_TRAP_CUSTOM);
    }
    if (custom && (!config->trap_size || config->trap_size > sizeof(config->trap_code))) {
        return wrong(error, HVTLFS_ERR_TRAP, "trap_size", config->trap_size,
                     sizeof(config->trap_code));
    }
    return HVTLFS_OK;
}

static enum hvtlfs_status check_vp_indices(const struct hvtlfs_config *config,
                                           struct hvtlfs_error *error)
{
    uint64_t seen[HVTLFS_MAX_VPS / 64] = {0};
    uint32_t i;

    for (i = 0; i < config->vp_count; i++) {
        uint32_t index = config->vps[i].vp_index;

        if (index >= HVTLFS_MAX_VPS) {
            return wrong(error, HVTLFS_ERR_VP_INDEX, "vp_index", index, HVTLFS_MAX_VPS - 1);
        }
        if (seen[index / 64] >> (index % 64) & 1) {
            return wrong(error, HVTLFS_ERR_VP_INDEX, "vp_index given twice", index, 0);
        }
        seen[index / 64] |= BIT64(index % 64);
    }
    return HVTLFS_OK;
}

/*
 * APIC IDs are any 32-bit numbers, and there is no memory to sort them in. So mark them in a
 * window, then in the next window that holds any: one pass for IDs close together.
 */
static bool apic_id_repeats(const struct hvtlfs_vp_config *vps, uint32_t count, uint32_t *which)
{
    uint64_t start = 0;
    uint64_t next;

    do {
        uint64_t seen[HVTLFS_MAX_VPS / 64] = {0};
        uint32_t i;

        next = UINT64_MAX;
        for (i = 0; i < count; i++) {
            uint64_t distance = vps[i].apic_id - start; /* wraps for those of earlier windows */

            if (distance < HVTLFS_MAX_VPS) {
                if (seen[distance / 64] >> (distance % 64) & 1) {
                    *which = vps[i].apic_id;
                    return true;
                }
                seen[distance / 64] |= BIT64(distance % 64);
            } else if (vps[i].apic_id > start && vps[i].apic_id < next) {
                next = vps[i].apic_id;
            }
        }
        start = next;
    } while (next != UINT64_MAX);
    return false;
}

static enum hvtlfs_status check_vps(const struct hvtlfs_config *config, struct hvtlfs_error *error)
{
    enum hvtlfs_status status;
    uint32_t apic_id;

    if (!config->vp_count || config->vp_count > HVTLFS_MAX_VPS) {
        return wrong(error, HVTLFS_ERR_VP_COUNT, "vp_count", config->vp_count, HVTLFS_MAX_VPS);
    }
    if (!config->vps) {
        return HVTLFS_OK;
    }
    status = check_vp_indices(config, error);
    if (!status && apic_id_repeats(config->vps, config->vp_count, &apic_id)) {
        return wrong(error, HVTLFS_ERR_APIC_ID, "apic_id", apic_id, 0);
    }
    return status;
}

static bool host_call_fits(const struct hvtlfs_call_handler *call)
{
    return call->handle && !hvti_call_is_own(call->code) && call->header % 8 == 0 &&
           call->header <= HVTI_CALL_HEADER_MAX &&
           call->variable_most <= (HVTI_CALL_HEADER_MAX - call->header) / 8 &&
           call->element_in <= HVTI_CALL_IN_MAX && call->element_out <= HVTI_CALL_OUT_MAX &&
           call->output <= HVTI_CALL_OUT_MAX &&
           (call->rep ? !call->output : !call->element_in && !call->element_out);
}

static enum hvtlfs_status check_host_calls(const struct hvtlfs_config *config,
                                           struct hvtlfs_error *error)
{
    uint32_t i, earlier;

    if (config->call_count > HVTLFS_MAX_HOST_CALLS || (config->call_count && !config->calls)) {
        return wrong(error, HVTLFS_ERR_HOST_CALL, "call_count", config->call_count,
                     HVTLFS_MAX_HOST_CALLS);
    }
    for (i = 0; i < config->call_count; i++) {
        if (!host_call_fits(&config->calls[i])) {
            return wrong(error, HVTLFS_ERR_HOST_CALL, "calls", config->calls[i].code, 0);
        }
        for (earlier = 0; earlier < i; earlier++) {
            if (config->calls[earlier].code == config->calls[i].code) {
                return wrong(error, HVTLFS_ERR_HOST_CALL, "calls, a code given twice",
                             config->calls[i].code, 0);
            }
        }
    }
    return HVTLFS_OK;
}

static enum hvtlfs_status check_config(struct plan *plan, struct hvtlfs_error *error)
{
    const struct hvtlfs_config *config = &plan->config;
    const char *missing = hvti_host_missing_required(&plan->host);
    enum hvtlfs_status status;

    if (missing) {
        return wrong(error, HVTLFS_ERR_NO_CALLBACK, missing, 0, 0);
    }
    status = check_vps(config, error);
    if (!status) {
        status = check_identity(config, error);
    }
    if (!status) {
        status = check_trap(config, error);
    }
    if (!status) {
        status = check_host_calls(config, error);
    }
    if (!status) {
        status = check_bounds(config, error);
    }
    return status ? status : hvtlfs_features_check(&config->features, error);
}

/* ---- The plan ---- */

/* Only a TSC that can be relied on is a clock of its own. */
static bool tsc_is_clock(const struct plan *plan)
{
    return plan->config.invariant_tsc && plan->config.tsc_hz > HVTLFS_REFTIME_HZ &&
           (plan->needs_met & BIT32(HVTI_NEED_TSC));
}

static void plan_needs(struct plan *plan)
{
    plan->needs_met = hvti_host_needs_met(&plan->host);
    if (tsc_is_clock(plan)) {
        plan->needs_met |= BIT32(HVTI_NEED_CLOCK);
    }
    if (plan->config.invariant_tsc) {
        plan->needs_met |= BIT32(HVTI_NEED_INVARIANT_TSC);
    }
    if (!plan->config.tsc_hz) {
        plan->needs_met &= ~BIT32(HVTI_NEED_TSC_EMULATION);
    }
    if (plan->config.tsc_hz && plan->config.apic_hz) {
        plan->needs_met |= BIT32(HVTI_NEED_FREQUENCIES);
    }
}

/* Take out what the host cannot carry, then what leaned on that, until nothing changes. */
static uint64_t features_in_force(uint64_t wanted, uint32_t needs_met)
{
    uint64_t before, rest;

    wanted &= BIT64(HVTLFS_FEATURE_COUNT) - 1;
    do {
        before = wanted;
        for (rest = before; rest; rest &= rest - 1) {
            const struct hvti_feature_row *row = &hvti_feature_rows[lowest_bit(rest)];

            if ((row->host & ~needs_met) || (row->needs & ~wanted)) {
                wanted &= ~(rest & -rest);
            }
        }
    } while (wanted != before);
    return wanted;
}

static size_t round_up(size_t value, size_t unit)
{
    return (value + unit - 1) / unit * unit;
}

static void plan_layout(struct plan *plan)
{
    size_t slots = hvti_overlay_slot_count(plan->features, plan->config.vp_count);

    plan->pages_offset = round_up(sizeof(struct hvtlfs_partition), HVTLFS_PAGE_SIZE);
    plan->places_offset = plan->pages_offset + slots * HVTLFS_PAGE_SIZE;
    plan->vps_offset = round_up(plan->places_offset + slots * sizeof(uint64_t), 64);
    plan->size = plan->vps_offset + plan->config.vp_count * sizeof(struct hvtlfs_vp);
    if (hvti_flush_queues_wanted(plan->features, &plan->host)) {
        plan->flush_queues_offset = round_up(plan->size, 64);
        plan->size = plan->flush_queues_offset +
                     plan->config.vp_count * sizeof(struct hvti_flush_queue);
    }
    plan->messages_offset = round_up(plan->size, 64);
    plan->messages = hvti_message_count(&plan->config, plan->features);
    plan->connections_offset =
        round_up(plan->messages_offset + hvti_messages_size(plan->messages), 64);
    plan->connections = hvti_connection_count(&plan->config, plan->features);
    plan->size = plan->connections_offset + plan->connections * sizeof(struct hvti_connection);
}

static enum hvtlfs_status make_plan(struct plan *plan, const struct hvtlfs_config *config,
                                    struct hvtlfs_error *error)
{
    enum hvtlfs_status status;
    size_t known;

    if (!config) {
        return wrong(error, HVTLFS_ERR_ARGUMENT, "config", 0, 0);
    }
    if (config->size < CONFIG_MIN) {
        return wrong(error, HVTLFS_ERR_STRUCT_SIZE, "config.size", config->size, CONFIG_MIN);
    }
    if (config->ops.size < OPS_MIN) {
        return wrong(error, HVTLFS_ERR_STRUCT_SIZE, "config.ops.size", config->ops.size, OPS_MIN);
    }
    memset(plan, 0, sizeof(*plan));
    known = config->size < sizeof(plan->config) ? config->size : sizeof(plan->config);
    memcpy(&plan->config, config, known);
    hvti_host_copy(&plan->host, &plan->config.ops, config->context);
    if (plan->config.max_vps == UINT32_MAX) {
        /* However it is asked for, it has the same consequences. */
        hvtlfs_features_add(&plan->config.features, HVTLFS_FEATURE_NO_VP_LIMIT);
    }
    status = check_config(plan, error);
    if (status) {
        return status;
    }
    plan_needs(plan);
    plan->features = features_in_force(plan->config.features.word[0], plan->needs_met);
    plan_layout(plan);
    return HVTLFS_OK;
}

enum hvtlfs_status hvtlfs_partition_size(const struct hvtlfs_config *config, size_t *size,
                                         struct hvtlfs_error *error)
{
    struct hvtlfs_error ignored = {.status = HVTLFS_OK};
    enum hvtlfs_status status;
    struct plan plan;

    error = error ? error : &ignored;
    if (!size) {
        return wrong(error, HVTLFS_ERR_ARGUMENT, "size", 0, 0);
    }
    status = make_plan(&plan, config, error);
    if (!status) {
        *size = plan.size;
    }
    return status;
}

/* ---- Init ---- */

static void init_cpuid(struct hvtlfs_partition *partition, const struct hvtlfs_config *config)
{
    struct hvtlfs_cpuid_identity *cpuid = &partition->cpuid;
    uint32_t leaf;

    cpuid->features.word[0] = partition->features;
    memcpy(cpuid->vendor, config->vendor, sizeof(cpuid->vendor));
    cpuid->cpuid_base = config->cpuid_base;
    memcpy(cpuid->version, config->version, sizeof(cpuid->version));
    cpuid->spin_count = config->spin_count;
    cpuid->max_vps = config->max_vps;
    cpuid->max_lps = config->max_lps;
    cpuid->hardware_features = config->hardware_features;
    for (leaf = 0; leaf < HVTI_LEAVES; leaf++) {
        (void)hvtlfs_cpuid_leaf(cpuid, cpuid->cpuid_base + leaf, &partition->leaves[leaf]);
    }
}

static void init_vps(struct hvtlfs_partition *partition, const struct hvtlfs_config *config)
{
    uint32_t slot;

    for (slot = 0; slot < partition->vp_count; slot++) {
        struct hvtlfs_vp *vp = &partition->vps[slot];

        vp->partition = partition;
        vp->slot = slot;
        vp->index = config->vps ? config->vps[slot].vp_index : slot;
        vp->apic_id = config->vps ? config->vps[slot].apic_id : slot;
        hvti_deadline_init(vp);
        hvti_vapic_init(vp);
        hvti_synic_init(vp);
        partition->slot_of[vp->index] = (uint16_t)(slot + 1);
        hvtlfs_vp_set_add(&partition->present, vp->index);
        hvti_apic_ids_add(partition, slot);
    }
}

static void init_overlays(struct hvtlfs_partition *partition, uint8_t *memory,
                          const struct plan *plan)
{
    struct hvti_overlays *overlays = &partition->overlays;
    uint32_t slot;

    overlays->pages = memory + plan->pages_offset;
    overlays->gpa = (uint64_t *)(void *)(memory + plan->places_offset);
    overlays->slot_count = hvti_overlay_slot_count(plan->features, plan->config.vp_count);
    overlays->partition_kinds = hvti_overlay_partition_kinds(plan->features);
    overlays->vp_kinds = hvti_overlay_vp_kinds(plan->features);
    for (slot = 0; slot < overlays->slot_count; slot++) {
        overlays->gpa[slot] = HVTI_NOWHERE;
    }
}

static void init_messages(struct hvtlfs_partition *partition, uint8_t *memory,
                          const struct plan *plan)
{
    hvti_messages_init(&partition->messages, memory + plan->messages_offset, plan->messages);
    hvti_messages_own(&partition->messages, plan->config.vp_count, plan->connections);
    partition->connections.rows =
        (struct hvti_connection *)(void *)(memory + plan->connections_offset);
    partition->connections.count = plan->connections;
}

static void init_partition(struct hvtlfs_partition *partition, uint8_t *memory,
                           const struct plan *plan)
{
    const struct hvtlfs_config *config = &plan->config;

    memset(memory, 0, plan->size);
    partition->host = plan->host;
    partition->features = plan->features;
    partition->configured = config->features.word[0];
    partition->needs_met = plan->needs_met;
    partition->policy = config->policy;
    partition->gpa_limit = BIT64(config->gpa_bits);
    partition->trap = config->trap;
    memcpy(partition->trap_code, config->trap_code, sizeof(partition->trap_code));
    partition->trap_size = config->trap_size;
    partition->vps = (struct hvtlfs_vp *)(void *)(memory + plan->vps_offset);
    partition->vp_count = config->vp_count;
    partition->call_reps = config->hypercall_reps;
    partition->call_time = config->hypercall_time;
    partition->host_calls = config->calls;
    partition->host_call_count = config->call_count;
    if (plan->flush_queues_offset) {
        partition->tlb.queues =
            (struct hvti_flush_queue *)(void *)(memory + plan->flush_queues_offset);
    }
    init_overlays(partition, memory, plan);
    init_messages(partition, memory, plan);
    init_cpuid(partition, config);
    init_vps(partition, config);
    hvti_tlb_init(partition);
    hvti_msr_rows(partition->features, partition->msr_rows);
    hvti_call_rows(partition->call_rows);
    hvti_clock_init(partition, config);
}

enum hvtlfs_status hvtlfs_partition_init(void *memory, size_t size,
                                         const struct hvtlfs_config *config,
                                         struct hvtlfs_partition **partition,
                                         struct hvtlfs_error *error)
{
    struct hvtlfs_error ignored = {.status = HVTLFS_OK};
    enum hvtlfs_status status;
    struct plan plan;

    error = error ? error : &ignored;
    if (!memory || !partition) {
        return wrong(error, HVTLFS_ERR_ARGUMENT, memory ? "partition" : "memory", 0, 0);
    }
    status = make_plan(&plan, config, error);
    if (status) {
        return status;
    }
    if ((uintptr_t)memory % HVTLFS_PARTITION_ALIGNMENT) {
        return wrong(error, HVTLFS_ERR_MEMORY_ALIGNMENT, "memory", (uintptr_t)memory,
                     HVTLFS_PARTITION_ALIGNMENT);
    }
    if (size < plan.size) {
        return wrong(error, HVTLFS_ERR_MEMORY_SIZE, "size", size, plan.size);
    }
    init_partition(memory, memory, &plan);
    *partition = memory;
    return HVTLFS_OK;
}

/* ---- Reset ---- */

void hvtlfs_vp_reset(struct hvtlfs_vp *vp)
{
    hvti_requests_reset(vp);
    hvti_spinwait_reset(vp);
    hvti_stats_reset(vp);
    hvti_unhalted_reset(vp);
    hvti_vapic_reset(vp);
    hvti_stimers_reset(vp);
    hvti_synic_reset(vp);
    hvti_deadline_reset(vp);
    hvti_tlb_reset(vp);
}

void hvtlfs_partition_reset(struct hvtlfs_partition *partition)
{
    bool emulating;
    uint32_t slot;

    hvti_lock(partition);
    hvti_identity_reset(partition);
    hvti_tsc_page_reset(partition);
    hvti_clock_reset(partition);
    emulating = hvti_reenlighten_reset(partition);
    hvti_unlock(partition);
    if (emulating) {
        hvti_host_tsc_emulation(&partition->host, false);
    }
    hvti_crash_reset(partition);
    for (slot = 0; slot < partition->vp_count; slot++) {
        hvtlfs_vp_reset(&partition->vps[slot]);
    }
}

/* ---- Questions ---- */

struct hvtlfs_vp *hvtlfs_partition_vp(struct hvtlfs_partition *partition, uint32_t vp_index)
{
    return hvti_vp_by_index(partition, vp_index);
}

uint32_t hvtlfs_vp_index(const struct hvtlfs_vp *vp)
{
    return vp->index;
}

struct hvtlfs_features hvtlfs_partition_features(const struct hvtlfs_partition *partition)
{
    return (struct hvtlfs_features){{partition->features, 0}};
}

const char *hvtlfs_feature_why_off(const struct hvtlfs_partition *partition,
                                   enum hvtlfs_feature feature)
{
    uint32_t unmet;

    if ((uint32_t)feature >= HVTLFS_FEATURE_COUNT ||
        !hvti_mask_has(partition->configured, feature)) {
        return "it was not configured";
    }
    if (hvti_has(partition, feature)) {
        return NULL;
    }
    unmet = hvti_feature_rows[feature].host & ~partition->needs_met;
    return unmet ? hvti_need_reason((enum hvti_need)lowest_bit(unmet))
                 : "a feature that it needs is off for want of a callback";
}

bool hvtlfs_cpuid(struct hvtlfs_vp *vp, uint32_t leaf, uint32_t subleaf,
                  struct hvtlfs_cpuid_regs *regs)
{
    const struct hvtlfs_partition *partition = vp->partition;
    uint32_t distance = leaf - partition->cpuid.cpuid_base;

    (void)subleaf; /* no leaf of ours has any */
    if (distance < HVTI_LEAVES) {
        *regs = partition->leaves[distance];
        return true;
    }
    if (leaf == 1) {
        regs->ecx |= BIT32(31); /* hypervisor present (TLFS 2.2) */
        return true;
    }
    if (leaf == 0x80000007 && hvti_invariant_tsc_hidden(partition)) {
        regs->edx &= ~BIT32(8); /* until the guest writes TSC_INVARIANT_CONTROL */
        return true;
    }
    return hvtlfs_cpuid_leaf(&partition->cpuid, leaf, regs);
}

void hvtlfs_vp_poll(struct hvtlfs_vp *vp)
{
    hvti_deadline_begin(vp);
    hvti_synic_poll(vp);
    hvti_stimers_poll(vp);
    hvti_unhalted_poll(vp);
    hvti_deadline_end(vp);
}
