/* SPDX-License-Identifier: MIT */
/* The cases, one row each at the end. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

#include <hvtlfs/guest_time.h>
#include <hvtlfs/tlfs.h>

/* Where a guest that has one megabyte puts its pages; each VP's by its index. */
#define HYPERCALL_GPA 0x2000u
#define TSC_GPA 0x3000u
#define INPUT_GPA 0x8000u
#define ASSIST_GPA 0x10000u
#define SIM_GPA 0x40000u
#define SIEF_GPA 0x80000u

static uint32_t index_of(const struct bench *bench)
{
    return hvtlfs_vp_index(bench->vp);
}

static uint8_t *page_of(const struct bench *bench, enum hvtlfs_overlay_kind kind)
{
    return bench->host->page[index_of(bench)][kind];
}

/* ---- CPUID and MSRs ---- */

static void cpuid_leaf(struct bench *bench)
{
    struct hvtlfs_cpuid_regs regs;

    bench_require(hvtlfs_cpuid(bench->vp, 0x40000003, 0, &regs), "cpuid");
}

static void cpuid_other(struct bench *bench)
{
    struct hvtlfs_cpuid_regs regs = {0};

    bench_require(!hvtlfs_cpuid(bench->vp, 7, 0, &regs), "cpuid");
}

static void read_msr(struct bench *bench, uint32_t number)
{
    uint64_t value;

    bench_require(hvtlfs_msr_read(bench->vp, number, &value) == HVTLFS_MSR_DONE, "rdmsr");
}

static void write_msr(struct bench *bench, uint32_t number, uint64_t value)
{
    enum hvtlfs_msr_result result = hvtlfs_msr_write(bench->vp, number, value);

    bench_require(result == HVTLFS_MSR_DONE || result == HVTLFS_MSR_DELIVER, "wrmsr");
}

static void vp_index(struct bench *bench)
{
    read_msr(bench, HV_X64_MSR_VP_INDEX);
}

static void vp_runtime(struct bench *bench)
{
    read_msr(bench, HV_X64_MSR_VP_RUNTIME);
}

static void time_ref_count(struct bench *bench)
{
    bench->tsc += 1000;
    read_msr(bench, HV_X64_MSR_TIME_REF_COUNT);
}

static void reference_time(struct bench *bench)
{
    bench->tsc += 1000;
    bench->kept[0] = hvtlfs_reference_time(bench->vp);
}

static void fault(struct bench *bench)
{
    uint64_t value;

    bench_require(hvtlfs_msr_read(bench->vp, HV_X64_MSR_EOI, &value) == HVTLFS_MSR_FAULT, "fault");
}

static void unclaimed(struct bench *bench)
{
    uint64_t value;

    bench_require(hvtlfs_msr_read(bench->vp, 0x1B, &value) == HVTLFS_MSR_UNCLAIMED, "unclaimed");
}

static void eoi(struct bench *bench)
{
    write_msr(bench, HV_X64_MSR_EOI, 0);
}

static void icr(struct bench *bench)
{
    write_msr(bench, HV_X64_MSR_ICR, UINT64_C(0x01000000000000F3)); /* fixed, to APIC ID 1 */
}

static void tpr(struct bench *bench)
{
    write_msr(bench, HV_X64_MSR_TPR, 0x20);
}

static void tpr_read(struct bench *bench)
{
    read_msr(bench, HV_X64_MSR_TPR);
}

static void hypercall_page(struct bench *bench)
{
    write_msr(bench, HV_X64_MSR_GUEST_OS_ID, UINT64_C(0x8100000601B00000));
    write_msr(bench, HV_X64_MSR_HYPERCALL, HYPERCALL_GPA | HV_MSR_HYPERCALL_ENABLE);
    write_msr(bench, HV_X64_MSR_HYPERCALL, 0);
}

/* ---- Lazy EOI ---- */

static void enable_assist_page(struct bench *bench)
{
    write_msr(bench, HV_X64_MSR_VP_ASSIST_PAGE,
              (ASSIST_GPA + 0x1000 * index_of(bench)) | HV_MSR_VP_ASSIST_PAGE_ENABLE);
}

static void arm(struct bench *bench)
{
    bench_require(hvtlfs_lazy_eoi_arm(bench->vp, 0x40, HVTLFS_TRIGGER_EDGE, false), "arm");
}

/* The guest ends its interrupt in between. It is the host's next entry that learns of it. */
static void lazy_eoi_pair(struct bench *bench)
{
    uint32_t *bit = (uint32_t *)(void *)page_of(bench, HVTLFS_OVERLAY_VP_ASSIST);

    arm(bench);
    *bit = 0;
    bench_require(hvtlfs_lazy_eoi_collect(bench->vp) == 0x40, "collect");
}

static void lazy_eoi_withdraw(struct bench *bench)
{
    arm(bench);
    bench_require(hvtlfs_lazy_eoi_withdraw(bench->vp) == HVTLFS_LAZY_EOI_WITHDRAWN, "withdraw");
}

/* ---- The page, by the guest alone ---- */

static void enable_tsc_page(struct bench *bench)
{
    write_msr(bench, HV_X64_MSR_GUEST_OS_ID, UINT64_C(0x8100000601B00000));
    write_msr(bench, HV_X64_MSR_REFERENCE_TSC, TSC_GPA | HV_MSR_REFERENCE_TSC_ENABLE);
}

#if defined(__x86_64__)
static void page_read(struct bench *bench)
{
    const struct hvtlfs_guest_tsc_page *page =
        (const void *)bench->host->page[0][HVTLFS_OVERLAY_REFERENCE_TSC];

    bench_require(hvtlfs_guest_time(page, &bench->kept[0]), "page");
}

/* What it cannot do without: the TSC in its place among the loads, and the multiplication. */
static void rdtsc_multiply(struct bench *bench)
{
    bench->kept[0] = hvtlfs_guest_scale(hvtlfs_guest_rdtsc(NULL), bench->kept[1], bench->kept[2]);
}

static void keep_scale(struct bench *bench)
{
    const struct hvtlfs_guest_tsc_page *page;

    enable_tsc_page(bench);
    page = (const void *)bench->host->page[0][HVTLFS_OVERLAY_REFERENCE_TSC];
    bench->kept[1] = page->scale;
    bench->kept[2] = page->offset;
}
#endif

static void page_write(struct bench *bench)
{
    write_msr(bench, HV_X64_MSR_REFERENCE_TSC, TSC_GPA | HV_MSR_REFERENCE_TSC_ENABLE);
    write_msr(bench, HV_X64_MSR_REFERENCE_TSC, 0);
}

/* ---- Hypercalls ---- */

#define FAST ((uint64_t)HV_HYPERCALL_INPUT_FAST)
#define VARIABLE(qwords) ((uint64_t)(qwords) << HV_HYPERCALL_INPUT_VARIABLE_HEADER_SIZE_SHIFT)
#define REPS(count) ((uint64_t)(count) << HV_HYPERCALL_INPUT_REP_COUNT_SHIFT)

static void call(struct bench *bench, struct hvtlfs_hypercall_regs *regs, uint16_t status)
{
    uint64_t control = regs->rcx;
    enum hvtlfs_hypercall_result result;

    regs->mode = HVTLFS_MODE_LONG64;
    do {
        result = hvtlfs_hypercall(bench->vp, regs);
    } while (result == HVTLFS_HYPERCALL_CONTINUE);
    regs->rcx = control;
    bench_require(result == HVTLFS_HYPERCALL_DONE && (uint16_t)regs->rax == status, "hypercall");
}

static void simple(struct bench *bench, uint64_t rcx, uint64_t rdx, uint64_t r8)
{
    struct hvtlfs_hypercall_regs regs = {.rcx = rcx, .rdx = rdx, .r8 = r8};

    call(bench, &regs, HV_STATUS_SUCCESS);
}

static void unknown_call(struct bench *bench)
{
    struct hvtlfs_hypercall_regs regs = {.rcx = 0x7777};

    call(bench, &regs, HV_STATUS_INVALID_HYPERCALL_CODE);
}

static void spin_wait(struct bench *bench)
{
    simple(bench, HvCallNotifyLongSpinWait | FAST, 4095, 0);
}

static void spin_advice(struct bench *bench)
{
    bench->kept[0] = hvtlfs_spin_wait_advice(bench->vp, 4095);
}

static void preempt_last(struct bench *bench)
{
    hvtlfs_vp_preempted(hvtlfs_partition_vp(bench->partition, 4095));
}

static void preempt_and_run(struct bench *bench)
{
    hvtlfs_vp_preempted(bench->vp);
    hvtlfs_vp_running(bench->vp);
}

static void fast_ipi_to_0(struct bench *bench)
{
    simple(bench, HvCallSendSyntheticClusterIpi | FAST, 0xF3, 0);
}

static void fast_ipi_to_1(struct bench *bench)
{
    simple(bench, HvCallSendSyntheticClusterIpi | FAST, 0xF3, 2);
}

static void fast_ipi_to_64(struct bench *bench)
{
    simple(bench, HvCallSendSyntheticClusterIpi | FAST, 0xF3, UINT64_MAX);
}

/* RDX: vector; R8: HV_GENERIC_SET_SPARSE_4K; XMM0: one bank. */
static void xmm_ipi(struct bench *bench, uint64_t bank)
{
    struct hvtlfs_hypercall_regs regs = {.rcx =
                                             HvCallSendSyntheticClusterIpiEx | FAST | VARIABLE(1),
                                         .rdx = 0xF3,
                                         .xmm = {{{1, bank}}}};

    call(bench, &regs, HV_STATUS_SUCCESS);
}

static void xmm_ipi_to_1(struct bench *bench)
{
    xmm_ipi(bench, 2);
}

static void xmm_ipi_to_64(struct bench *bench)
{
    xmm_ipi(bench, UINT64_MAX);
}

/* HvCallFlushVirtualAddressSpaceEx with a sparse set of `banks` banks, from guest memory. */
static void flush(struct bench *bench, uint32_t banks)
{
    simple(bench, HvCallFlushVirtualAddressSpaceEx | VARIABLE(banks), INPUT_GPA, 0);
}

static void put_input(struct bench *bench, const uint64_t *input, size_t qwords)
{
    memcpy(bench->ram + INPUT_GPA, input, 8 * qwords);
}

static void put_sets(struct bench *bench, uint32_t banks, uint64_t word)
{
    uint64_t input[4 + 64] = {0x1000, 0, HvGenericSetSparse4k,
                              banks < 64 ? (UINT64_C(1) << banks) - 1 : UINT64_MAX};
    uint32_t i;

    for (i = 0; i < banks; i++) {
        input[4 + i] = word;
    }
    put_input(bench, input, 4 + banks);
}

static void put_64(struct bench *bench)
{
    put_sets(bench, 1, UINT64_MAX);
}

static void put_1024(struct bench *bench)
{
    put_sets(bench, 16, UINT64_MAX);
}

static void put_4096(struct bench *bench)
{
    put_sets(bench, 64, UINT64_MAX);
}

static void put_half_of_4096(struct bench *bench)
{
    put_sets(bench, 64, UINT64_C(0x5555555555555555));
}

static void flush_64(struct bench *bench)
{
    flush(bench, 1);
}

static void flush_1024(struct bench *bench)
{
    flush(bench, 16);
}

static void flush_4096(struct bench *bench)
{
    flush(bench, 64);
}

static void put_flush_of_all(struct bench *bench)
{
    static const uint64_t input[] = {0, HV_FLUSH_ALL_PROCESSORS, 0, 0x7000};

    put_input(bench, input, 4);
}

static void flush_of_all(struct bench *bench)
{
    simple(bench, HvCallFlushVirtualAddressSpace, INPUT_GPA, 0);
}

static void put_list_for_1(struct bench *bench)
{
    static const uint64_t input[] = {0x1000, 0, 2, 0x7000};

    put_input(bench, input, 4);
}

static void flush_list(struct bench *bench)
{
    simple(bench, HvCallFlushVirtualAddressList | REPS(1), INPUT_GPA, 0);
}

/* One range for VP 1, which then takes it. */
static void flush_list_queued(struct bench *bench)
{
    struct hvtlfs_flush_item item;

    flush_list(bench);
    bench_require(hvtlfs_flush_take(hvtlfs_partition_vp(bench->partition, 1), &item), "take");
}

static void put_get_register(struct bench *bench)
{
    static const uint64_t input[] = {HV_PARTITION_ID_SELF, HV_VP_INDEX_SELF,
                                     HvRegisterTimeRefCount};

    put_input(bench, input, 3);
}

static void get_register(struct bench *bench)
{
    simple(bench, HvCallGetVpRegisters | REPS(1), INPUT_GPA, INPUT_GPA + 0x1000);
}

/* ---- SynIC and timers ---- */

static void enable_synic(struct bench *bench)
{
    uint32_t offset = 0x1000 * index_of(bench);

    write_msr(bench, HV_X64_MSR_SCONTROL, HV_MSR_SCONTROL_ENABLE);
    write_msr(bench, HV_X64_MSR_SIMP, (SIM_GPA + offset) | HV_MSR_SIMP_ENABLE);
    write_msr(bench, HV_X64_MSR_SIEFP, (SIEF_GPA + offset) | HV_MSR_SIEFP_ENABLE);
    write_msr(bench, HV_X64_MSR_SINT0 + 2, 0x50);
}

static uint32_t *slot_type(const struct bench *bench)
{
    return (uint32_t *)(void *)(page_of(bench, HVTLFS_OVERLAY_SIM) + 2 * HV_MESSAGE_SIZE);
}

static void post(struct bench *bench)
{
    const struct hvtlfs_message message = {.type = 1, .size = 8, .payload = bench->kept};

    bench_require(!hvtlfs_synic_post_message(bench->vp, 2, &message), "post");
}

/* The host's device posts, the VP takes it up, the guest reads it and empties the slot. */
static void post_and_read(struct bench *bench)
{
    post(bench);
    hvtlfs_vp_poll(bench->vp);
    bench_require(*slot_type(bench) == 1, "delivery");
    *slot_type(bench) = 0;
}

/* A second one has to wait, so that the guest writes EOM, and that brings it. */
static void post_and_eom(struct bench *bench)
{
    post(bench);
    post(bench);
    hvtlfs_vp_poll(bench->vp);
    *slot_type(bench) = 0;
    write_msr(bench, HV_X64_MSR_EOM, 0);
    bench_require(*slot_type(bench) == 1, "delivery by EOM");
    *slot_type(bench) = 0;
}

static void signal_event(struct bench *bench)
{
    uint64_t *flags =
        (uint64_t *)(void *)(page_of(bench, HVTLFS_OVERLAY_SIEF) + 2 * HV_EVENT_FLAGS_BYTE_COUNT);
    bool newly;

    bench_require(!hvtlfs_synic_signal_event(bench->vp, 2, 5, &newly) && newly, "signal");
    *flags = 0;
}

static void connect(struct bench *bench)
{
    struct hvtlfs_connection connection = {.size = sizeof(connection),
                                           .connection_id = 1,
                                           .type = HVTLFS_CONNECTION_EVENT,
                                           .port_id = 1,
                                           .vp_index = 0,
                                           .sint = 2,
                                           .flag_count = 8};

    enable_synic(bench);
    bench_require(!hvtlfs_connection_add(bench->partition, &connection), "connection");
}

static void signal_by_call(struct bench *bench)
{
    uint64_t *flags =
        (uint64_t *)(void *)(page_of(bench, HVTLFS_OVERLAY_SIEF) + 2 * HV_EVENT_FLAGS_BYTE_COUNT);

    simple(bench, HvCallSignalEvent | FAST, 1, 0);
    *flags = 0;
}

#define DIRECT_CONFIG                                                                              \
    (HV_MSR_STIMER_CONFIG_DIRECT_MODE | 0x51 << HV_MSR_STIMER_CONFIG_APIC_VECTOR_SHIFT |           \
     HV_MSR_STIMER_CONFIG_AUTO_ENABLE)
#define MESSAGE_CONFIG (2 << HV_MSR_STIMER_CONFIG_SINTX_SHIFT | HV_MSR_STIMER_CONFIG_AUTO_ENABLE)

static void configure_direct(struct bench *bench)
{
    write_msr(bench, HV_X64_MSR_STIMER0_CONFIG, DIRECT_CONFIG);
}

static void configure_message(struct bench *bench)
{
    enable_synic(bench);
    write_msr(bench, HV_X64_MSR_STIMER0_CONFIG, MESSAGE_CONFIG);
}

static uint64_t soon(struct bench *bench)
{
    return bench->host->tsc / 100 + 1000; /* 1 GHz: 100 ticks in 100 ns */
}

static void timer_arm(struct bench *bench)
{
    write_msr(bench, HV_X64_MSR_STIMER0_COUNT, soon(bench));
}

/* A one-shot timer, set and run out. */
static void timer_cycle(struct bench *bench)
{
    write_msr(bench, HV_X64_MSR_STIMER0_COUNT, soon(bench));
    bench->tsc += 200000;
    hvtlfs_vp_poll(bench->vp);
}

static void timer_message(struct bench *bench)
{
    timer_cycle(bench);
    bench_require(*slot_type(bench) == HvMessageTimerExpired, "timer message");
    *slot_type(bench) = 0;
}

static void poll(struct bench *bench)
{
    hvtlfs_vp_poll(bench->vp);
}

/* ---- The life of a partition ---- */

static void reset_vp(struct bench *bench)
{
    hvtlfs_vp_reset(bench->vp);
}

static void reset_partition(struct bench *bench)
{
    hvtlfs_partition_reset(bench->partition);
}

static void freeze_and_keep(struct bench *bench)
{
    bench_require(!hvtlfs_freeze(bench->partition), "freeze");
    bench->state_size = hvtlfs_state_size(bench->partition);
    bench->state = malloc(bench->state_size);
    bench_require(bench->state, "no memory");
}

static void save(struct bench *bench)
{
    size_t used;

    bench_require(
        !hvtlfs_state_save(bench->partition, bench->state, bench->state_size, &used, NULL), "save");
}

static void save_once(struct bench *bench)
{
    freeze_and_keep(bench);
    save(bench);
}

static void load(struct bench *bench)
{
    bench_require(!hvtlfs_state_load(bench->partition, bench->state, bench->state_size, NULL),
                  "load");
}

static void read_counters(struct bench *bench)
{
    struct hvtlfs_counters counters = {.size = sizeof(counters)};

    bench_require(!hvtlfs_read_counters(bench->vp, &counters), "counters");
}

#define EVERYTHING "vapic,time,synic,stimer,stimer-direct,tlbflush,ipi,runtime,guest-idle"
#define SYNIC "synic,time,stimer,stimer-direct,signal-events"
#define TWO BENCH_ON_THREADS

const struct bench_case bench_cases[] = {
    {"cpuid-leaf", "", 2, TWO, NULL, NULL, cpuid_leaf, 100},
    {"cpuid-other", "", 1, 0, NULL, NULL, cpuid_other, 100},
    {"rdmsr-vp-index", "", 2, TWO, NULL, NULL, vp_index, 100},
    {"rdmsr-vp-runtime", "runtime", 1, 0, NULL, NULL, vp_runtime, 100},
    {"rdmsr-time-ref-count", "time", 2, TWO, NULL, NULL, time_ref_count, 100},
    {"rdmsr-time-ref-count-host", "time", 2, BENCH_HOST_CLOCK, NULL, NULL, time_ref_count, 100},
    {"rdmsr-tpr", "vapic", 2, 0, NULL, NULL, tpr_read, 100},
    {"rdmsr-fault", "", 2, TWO, NULL, NULL, fault, 100},
    {"rdmsr-unclaimed", "", 1, 0, NULL, NULL, unclaimed, 100},
    {"wrmsr-eoi", "vapic", 2, TWO, NULL, NULL, eoi, 100},
    {"wrmsr-eoi-synic", "vapic,synic,time,stimer", 2, 0, enable_synic, NULL, eoi, 100},
    {"wrmsr-eoi-traced", "vapic", 2, BENCH_WATCHES, NULL, NULL, eoi, 100},
    {"wrmsr-icr", "vapic", 2, TWO, NULL, NULL, icr, 100},
    {"wrmsr-tpr", "vapic", 2, TWO, NULL, NULL, tpr, 100},
    {"wrmsr-hypercall-page", "", 1, 0, NULL, NULL, hypercall_page, 20},
    {"wrmsr-reference-tsc", "time", 1, 0, enable_tsc_page, NULL, page_write, 20},
    {"lazy-eoi-pair", "vapic", 2, TWO, enable_assist_page, NULL, lazy_eoi_pair, 100},
    {"lazy-eoi-withdraw", "vapic", 2, 0, enable_assist_page, NULL, lazy_eoi_withdraw, 100},
    {"reference-time", "time", 1, 0, NULL, NULL, reference_time, 100},
    {"hypercall-unknown", "", 1, 0, NULL, NULL, unknown_call, 100},
    {"notify-long-spin-wait", "spinlocks=4095", 2, TWO, NULL, NULL, spin_wait, 100},
    {"spin-wait-advice-4096", "spinlocks=4095", 4096, 0, preempt_last, NULL, spin_advice, 20},
    {"vp-preempted-and-running", "spinlocks=4095", 1, 0, NULL, NULL, preempt_and_run, 100},
    {"fast-ipi-to-0", "ipi", 64, 0, NULL, NULL, fast_ipi_to_0, 100},
    {"fast-ipi-to-1", "ipi", 64, TWO, NULL, NULL, fast_ipi_to_1, 100},
    {"fast-ipi-to-64", "ipi", 64, 0, NULL, NULL, fast_ipi_to_64, 100},
    {"fast-ipi-to-64-at-once", "ipi", 64, BENCH_SENDS_IPIS, NULL, NULL, fast_ipi_to_64, 100},
    {"xmm-ipi-to-1", "ipi,ex-processor-masks,xmm-input", 64, 0, NULL, NULL, xmm_ipi_to_1, 100},
    {"xmm-ipi-to-64", "ipi,ex-processor-masks,xmm-input", 64, 0, NULL, NULL, xmm_ipi_to_64, 100},
    {"flush-64", "tlbflush", 64, TWO, put_64, NULL, flush_64, 100},
    {"flush-1024", "tlbflush", 1024, 0, put_1024, NULL, flush_1024, 20},
    {"flush-4096", "tlbflush", 4096, 0, put_4096, NULL, flush_4096, 20},
    {"flush-half-of-4096", "tlbflush", 4096, 0, put_half_of_4096, NULL, flush_4096, 20},
    {"flush-all-of-4096", "tlbflush", 4096, 0, put_flush_of_all, NULL, flush_of_all, 20},
    {"flush-4096-queued", "tlbflush", 4096, BENCH_QUEUES, put_4096, NULL, flush_4096, 20},
    {"flush-list", "tlbflush", 64, 0, put_list_for_1, NULL, flush_list, 100},
    {"flush-list-queued-and-taken", "tlbflush", 64, BENCH_QUEUES, put_list_for_1, NULL,
     flush_list_queued, 100},
    {"get-vp-register", "vp-registers,time", 1, 0, put_get_register, NULL, get_register, 100},
    {"post-and-read", SYNIC, 2, TWO, enable_synic, NULL, post_and_read, 100},
    {"post-and-eom", SYNIC, 2, TWO, enable_synic, NULL, post_and_eom, 100},
    {"signal-event", SYNIC, 2, TWO, enable_synic, NULL, signal_event, 100},
    {"signal-event-hypercall", SYNIC, 2, 0, connect, NULL, signal_by_call, 100},
    {"timer-arm", SYNIC, 2, TWO, configure_direct, NULL, timer_arm, 100},
    {"timer-cycle", SYNIC, 1, 0, configure_direct, NULL, timer_cycle, 100},
    {"timer-message-cycle", SYNIC, 1, 0, configure_message, NULL, timer_message, 100},
    {"vp-poll-idle", EVERYTHING, 2, TWO, NULL, NULL, poll, 100},
    {"read-counters", "", 1, 0, NULL, NULL, read_counters, 20},
    {"vp-reset", EVERYTHING, 1, 0, NULL, NULL, reset_vp, 20},
    {"partition-reset-64", EVERYTHING, 64, 0, NULL, NULL, reset_partition, 2},
    {"partition-init-1", EVERYTHING, 1, 0, NULL, NULL, bench_init_partition, 5},
    {"partition-init-64", EVERYTHING, 64, 0, NULL, NULL, bench_init_partition, 2},
    {"partition-init-4096", EVERYTHING, 4096, BENCH_SLOW, NULL, NULL, bench_init_partition, 1},
    {"partition-init-4096-minimal", "", 4096, 0, NULL, NULL, bench_init_partition, 1},
    {"save-1", EVERYTHING, 1, 0, freeze_and_keep, NULL, save, 5},
    {"save-64", EVERYTHING, 64, 0, freeze_and_keep, NULL, save, 1},
    {"save-4096", EVERYTHING, 4096, BENCH_SLOW, freeze_and_keep, NULL, save, 1},
    {"load-1", EVERYTHING, 1, 0, save_once, bench_init_partition, load, 5},
    {"load-64", EVERYTHING, 64, 0, save_once, bench_init_partition, load, 1},
    {"load-4096", EVERYTHING, 4096, BENCH_SLOW, save_once, bench_init_partition, load, 1},
#if defined(__x86_64__)
    {"guest-page-read", "time", 1, BENCH_GUEST, enable_tsc_page, NULL, page_read, 100},
    {"guest-rdtsc-multiply", "time", 1, BENCH_GUEST, keep_scale, NULL, rdtsc_multiply, 100},
#endif
    {NULL, NULL, 0, 0, NULL, NULL, NULL, 0},
};
