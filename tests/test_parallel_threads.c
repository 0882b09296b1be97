/* SPDX-License-Identifier: MIT */
/*
 * Everything at once: each VP's thread makes the guest's accesses to every MSR and its hypercalls, one
 * thread of the host moves the partition's clock from host to host, another posts, signals, connects,
 * withdraws, reads counters and describes. All of it at random, so no answer is looked at: what must hold is
 * that no two threads meet unprotected (ThreadSanitizer, Helgrind), that the host's contract is kept, and that
 * afterwards the state is one that can be saved, loaded and saved again.
 */
#include <pthread.h>
#include <sched.h>

#include <hvtlfs/describe.h>
#include <hvtlfs/flush.h>
#include <hvtlfs/names.h>
#include <hvtlfs/spinwait.h>
#include <hvtlfs/state.h>
#include <hvtlfs/time.h>
#include <hvtlfs/vapic.h>

#include "synic_fixture.h"
#include "util.h"

#define VPS 3u
#define INPUT UINT64_C(0x40000) /* a page of input for each VP */
#define OUTPUT UINT64_C(0x50000)
#define FIRST_MSR 0x40000000u
#define LAST_MSR 0x40000300u
#define CONNECTIONS 4u

#ifdef HVTLFS_HELGRIND
#define STEPS 1000u
#else
#define STEPS 10000u
#endif

#define FEATURES                                                                                   \
    "hv-vapic,hv-time,hv-synic,hv-stimer,hv-stimer-direct,hv-tlbflush,hv-ipi,hv-crash,hv-runtime," \
    "hv-xmm-input,hv-xmm-output,hv-vp-registers,hv-frequencies,hv-reenlightenment,hv-vpindex,"     \
    "hv-spinlocks=0xfff,address-space-switch,extended-hypercalls,ex-processor-masks,nested-flush," \
    "device-interrupts,start-vp,post-messages,signal-events,stats,npiep,debug,reset,guest-idle,"   \
    "unhalted-timer"

static struct fixture fixture;
static uint32_t msrs[256];
static uint32_t msr_count;
static uint32_t guests_left;

static const uint16_t calls[] = {
    HvCallSwitchVirtualAddressSpace,
    HvCallFlushVirtualAddressSpace,
    HvCallFlushVirtualAddressList,
    HvCallNotifyLongSpinWait,
    HvCallSendSyntheticClusterIpi,
    HvCallFlushVirtualAddressSpaceEx,
    HvCallFlushVirtualAddressListEx,
    HvCallSendSyntheticClusterIpiEx,
    HvCallGetVpRegisters,
    HvCallSetVpRegisters,
    HvCallPostMessage,
    HvCallSignalEvent,
    HvCallRetargetDeviceInterrupt,
    HvCallStartVirtualProcessor,
    HvCallGetVpIndexFromApicId,
    HvCallFlushGuestPhysicalAddressSpace,
    HvCallFlushGuestPhysicalAddressList,
    HvExtCallQueryCapabilities,
    HvExtCallGetBootZeroedMemory,
};

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static uint32_t below(uint64_t *seed, uint32_t limit)
{
    return (uint32_t)(next_random(seed) >> 33) % limit;
}

/* ---- The guest: a thread for each VP ---- */

/* What means something somewhere: small numbers, a page that is enabled, anything. */
static uint64_t some_value(uint64_t *seed)
{
    switch (below(seed, 4)) {
    case 0:
        return below(seed, 4);
    case 1:
        return below(seed, 32) << 12 | 1;
    case 2:
        return 0x20000 | (0x40 + below(seed, 64));
    default:
        return next_random(seed);
    }
}

static void touch_msr(struct hvtlfs_vp *vp, uint64_t *seed)
{
    uint32_t number = msrs[below(seed, msr_count)];
    uint64_t value;

    if (below(seed, 2)) {
        (void)!hvtlfs_msr_read(vp, number, &value);
    } else {
        (void)!hvtlfs_msr_write(vp, number, some_value(seed));
    }
}

static void make_call(struct hvtlfs_vp *vp, uint64_t *seed)
{
    uint32_t index = hvtlfs_vp_index(vp);
    struct hvtlfs_hypercall_regs regs;
    uint64_t input[16];
    uint32_t tries = 0;
    uint32_t i;

    for (i = 0; i < 16; i++) {
        input[i] = model_le64(below(seed, 3) ? below(seed, 8) : some_value(seed));
    }
    (void)model_host_guest_write(fixture.host, INPUT + index * HVTLFS_PAGE_SIZE, input,
                                 sizeof(input));
    memset(&regs, 0, sizeof(regs));
    regs.mode = HVTLFS_MODE_LONG64;
    regs.rcx = calls[below(seed, ARRAY_LEN(calls))] | (uint64_t)below(seed, 2) << 16 |
               (uint64_t)below(seed, 4) << 32;
    regs.rdx = regs.rcx >> 16 & 1 ? below(seed, 8) : INPUT + index * HVTLFS_PAGE_SIZE;
    regs.r8 = regs.rcx >> 16 & 1 ? below(seed, 8) : OUTPUT + index * HVTLFS_PAGE_SIZE;
    while (hvtlfs_hypercall(vp, &regs) == HVTLFS_HYPERCALL_CONTINUE && tries++ < 8) {
    }
}

static void end_interrupts(struct hvtlfs_vp *vp, uint64_t *seed)
{
    struct hvtlfs_interrupt interrupt;
    struct hvtlfs_flush_item item;

    (void)!hvtlfs_lazy_eoi_collect(vp);
    while (model_host_take_interrupt(fixture.host, hvtlfs_vp_index(vp), &interrupt)) {
        hvtlfs_synic_eoi(vp, interrupt.vector);
    }
    while (hvtlfs_flush_take(vp, &item)) {
    }
    (void)!hvtlfs_lazy_eoi_arm(vp, 0x30 + below(seed, 64), HVTLFS_TRIGGER_EDGE, false);
    hvtlfs_vp_poll(vp);
}

/* A guest that begins anew: identity, hypercall page, SynIC with all SINTs open. */
static void set_up(struct hvtlfs_vp *vp)
{
    (void)!hvtlfs_msr_write(vp, HV_X64_MSR_GUEST_OS_ID, LINUX_ID);
    (void)!hvtlfs_msr_write(vp, HV_X64_MSR_HYPERCALL, 0x1001);
    synic_enable(vp);
}

static void *guest_thread(void *argument)
{
    struct hvtlfs_vp *vp = argument;
    uint64_t seed = UINT64_C(0x9E3779B97F4A7C15) * (hvtlfs_vp_index(vp) + 1);
    struct hvtlfs_cpuid_regs regs;
    uint32_t step;

    for (step = 0; step < STEPS; step++) {
        if (step % 64 == 0) {
            set_up(vp);
        }
        switch (below(&seed, 8)) {
        case 0:
            make_call(vp, &seed);
            break;
        case 1:
            end_interrupts(vp, &seed);
            break;
        case 2:
            (void)hvtlfs_cpuid(vp, 0x40000000 + below(&seed, 16), 0, &regs);
            hvtlfs_vp_running(vp);
            break;
        case 3:
            (void)hvtlfs_tsc_emulated(vp, next_random(&seed));
            (void)hvtlfs_spin_wait_advice(vp, below(&seed, 5000));
            break;
        default:
            touch_msr(vp, &seed);
            break;
        }
    }
    __atomic_fetch_sub(&guests_left, 1, __ATOMIC_RELEASE);
    return NULL;
}

static bool guests_live(void)
{
    return __atomic_load_n(&guests_left, __ATOMIC_ACQUIRE) != 0;
}

/* ---- The host: one thread that moves the clock, one for everything that any thread may do ---- */

static void *mover_thread(void *argument)
{
    uint64_t seed = UINT64_C(0xD1B54A32D192ED03);

    (void)argument;
    while (guests_live()) {
        uint64_t tsc_hz = UINT64_C(500000000) + next_random(&seed) % UINT64_C(4000000000);

        model_host_advance(fixture.host, below(&seed, 1000));
        assert_int_equal(hvtlfs_freeze(fixture.partition), HVTLFS_OK);
        model_host_set_tsc_hz(fixture.host, tsc_hz);
        assert_int_equal(hvtlfs_migrate(fixture.partition, tsc_hz, below(&seed, 4)), HVTLFS_OK);
        assert_int_equal(hvtlfs_thaw(fixture.partition, below(&seed, 100)), HVTLFS_OK);
        sched_yield();
    }
    return NULL;
}

static void connect_or_remove(uint64_t *seed)
{
    struct hvtlfs_connection connection = {
        .size = sizeof(connection),
        .connection_id = 1 + below(seed, CONNECTIONS),
        .type = below(seed, 2) ? HVTLFS_CONNECTION_MESSAGE : HVTLFS_CONNECTION_EVENT,
        .vp_index = below(seed, VPS),
        .sint = below(seed, 16),
        .flag_count = 64,
    };

    if (hvtlfs_connection_add(fixture.partition, &connection) != HVTLFS_OK) {
        (void)!hvtlfs_connection_remove(fixture.partition, connection.connection_id);
    }
}

static void post_and_signal(struct hvtlfs_vp *vp, uint64_t *seed)
{
    const struct hvtlfs_message message = {.type = 1 + below(seed, 100)};
    uint32_t id = 1 + below(seed, CONNECTIONS);
    bool newly;

    (void)!hvtlfs_synic_post_message(vp, below(seed, 16), &message);
    (void)!hvtlfs_connection_post(fixture.partition, id, &message);
    (void)!hvtlfs_synic_signal_event(vp, below(seed, 16), below(seed, 2048), &newly);
    (void)!hvtlfs_connection_signal(fixture.partition, id, below(seed, 64));
    (void)!hvtlfs_synic_request_interrupt(vp, below(seed, 16));
}

static void look(struct hvtlfs_vp *vp, uint64_t *seed)
{
    static char text[65536]; /* this thread's */
    struct hvtlfs_time_counters times = {.size = sizeof(times)};
    struct hvtlfs_counters counters = {.size = sizeof(counters)};
    enum hvtlfs_format format = below(seed, 2) ? HVTLFS_FORMAT_JSON : HVTLFS_FORMAT_TEXT;

    assert_int_equal(hvtlfs_read_counters(vp, &counters), HVTLFS_OK);
    assert_int_equal(hvtlfs_read_time_counters(fixture.partition, &times), HVTLFS_OK);
    (void)hvtlfs_tsc_page_query(fixture.partition);
    (void)hvtlfs_tsc_emulation_in_force(fixture.partition);
    (void)hvtlfs_reference_time(vp);
    (void)hvtlfs_read_msr_counter(vp, msrs[below(seed, msr_count)]);
    (void)hvtlfs_synic_is_auto_eoi(vp, 0x40 + below(seed, 64));
    (void)hvtlfs_synic_is_proxied(vp, 0x40 + below(seed, 64));
    if (below(seed, 8) == 0) {
        assert_true(hvtlfs_describe(fixture.partition, format, text, sizeof(text)) > 0);
    }
}

static void *host_thread(void *argument)
{
    uint64_t seed = UINT64_C(0x2545F4914F6CDD1D);

    (void)argument;
    while (guests_live()) {
        struct hvtlfs_vp *vp = hvtlfs_partition_vp(fixture.partition, below(&seed, VPS));

        switch (below(&seed, 4)) {
        case 0:
            connect_or_remove(&seed);
            break;
        case 1:
            post_and_signal(vp, &seed);
            break;
        case 2:
            (void)!hvtlfs_lazy_eoi_withdraw(vp);
            hvtlfs_vp_preempted(vp);
            break;
        default:
            look(vp, &seed);
            model_host_clear_events(fixture.host);
            break;
        }
    }
    return NULL;
}

/* ---- Afterwards ---- */

static void *saved(struct hvtlfs_partition *partition, size_t *size)
{
    void *state;

    *size = hvtlfs_state_size(partition);
    state = malloc(*size);
    assert_non_null(state);
    assert_int_equal(hvtlfs_state_save(partition, state, *size, size, NULL), HVTLFS_OK);
    return state;
}

static void expect_a_whole_state(void)
{
    void *second = aligned_alloc(HVTLFS_PARTITION_ALIGNMENT, (fixture.size + 4095) & ~(size_t)4095);
    struct hvtlfs_partition *copy;
    size_t size, again;
    uint32_t vp_index;
    void *state, *state_again;

    assert_non_null(second);
    for (vp_index = 0; vp_index < VPS; vp_index++) {
        hvtlfs_vp_poll(hvtlfs_partition_vp(fixture.partition, vp_index)); /* in order of SINTs */
    }
    assert_int_equal(hvtlfs_freeze(fixture.partition), HVTLFS_OK);
    fixture.config.tsc_hz = model_host_tsc_hz(fixture.host);
    assert_int_equal(hvtlfs_migrate(fixture.partition, fixture.config.tsc_hz, true), HVTLFS_OK);
    state = saved(fixture.partition, &size);
    model_host_forget(fixture.host);
    assert_int_equal(hvtlfs_partition_init(second, fixture.size, &fixture.config, &copy, NULL),
                     HVTLFS_OK);
    assert_int_equal(hvtlfs_state_load(copy, state, size, NULL), HVTLFS_OK);
    state_again = saved(copy, &again);
    assert_int_equal(size, again);
    assert_memory_equal(state, state_again, size);
    free(state);
    free(state_again);
    hvtlfs_partition_reset(copy);
    assert_int_equal(model_host_overlay_count(fixture.host), 0);
    fixture_stop(&fixture);
    free(second);
}

static void find_msrs(void)
{
    uint32_t number;

    msr_count = 0;
    for (number = FIRST_MSR; number <= LAST_MSR && msr_count < 256; number++) {
        if (hvtlfs_msr_name(number)) {
            msrs[msr_count++] = number;
        }
    }
    assert_true(msr_count > 60);
}

static void run(bool copies)
{
    pthread_t threads[VPS + 2];
    uint32_t i;

    fixture_prepare(&fixture);
    fixture.options.copies_overlays = copies;
    fixture.options.lock = MODEL_LOCK_MUTEX;
    fixture.config.vp_count = VPS;
    fixture.config.connection_count = CONNECTIONS;
    fixture.config.apic_hz = 200000000;
    fixture.config.invariant_tsc = true;
    fixture.features = FEATURES;
    fixture_start(&fixture);
    find_msrs();
    guests_left = VPS;
    for (i = 0; i < VPS; i++) {
        struct hvtlfs_vp *vp = hvtlfs_partition_vp(fixture.partition, i);

        assert_int_equal(pthread_create(&threads[i], NULL, guest_thread, vp), 0);
    }
    assert_int_equal(pthread_create(&threads[VPS], NULL, mover_thread, NULL), 0);
    assert_int_equal(pthread_create(&threads[VPS + 1], NULL, host_thread, NULL), 0);
    for (i = 0; i < VPS + 2; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    expect_a_whole_state();
}

static void test_everything_at_once_on_mapped_pages(void **state)
{
    (void)state;
    run(false);
}

static void test_everything_at_once_on_copied_pages(void **state)
{
    (void)state;
    run(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everything_at_once_on_mapped_pages),
        cmocka_unit_test(test_everything_at_once_on_copied_pages),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
