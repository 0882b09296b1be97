/* SPDX-License-Identifier: MIT */
/*
 * The reference TSC page from the guest's side (TLFS 12.7): ask for it, read the time from it, and read
 * the MSR while it is invalid, as it is around a migration.
 *
 * <hvtlfs/guest_time.h> is all that a guest needs of libhvtlfs; it is one header and links nothing. The
 * host here is the same program: a partition whose TSC is a counter.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hvtlfs/guest_time.h>
#include <hvtlfs/hvtlfs.h>

enum { RAM_SIZE = 1 << 16, PAGE_GPA = 0x6000 };
enum { GUEST_OS_ID = 0x40000000, TIME_REF_COUNT = 0x40000020, REFERENCE_TSC = 0x40000021 };

/* ---- The guest ---- */

struct guest {
    const struct hvtlfs_guest_tsc_page *page; /* where it has mapped the page */
    struct hvtlfs_vp *vp;                     /* what its MSR instructions lead to */
    uint64_t *tsc;                            /* what its RDTSC shows */
    unsigned exits;
};

/* A real guest passes hvtlfs_guest_rdtsc, or calls hvtlfs_guest_time(), which does. */
static uint64_t read_tsc(void *context)
{
    return *((struct guest *)context)->tsc;
}

static bool wrmsr(struct guest *guest, uint32_t number, uint64_t value)
{
    guest->exits++;
    return hvtlfs_msr_write(guest->vp, number, value) == HVTLFS_MSR_DONE;
}

/* Reference time in units of 100 ns: without an exit where the page is valid. */
static uint64_t now(struct guest *guest)
{
    uint64_t time = 0;

    if (!hvtlfs_guest_time_with(guest->page, read_tsc, guest, &time)) {
        guest->exits++;
        if (hvtlfs_msr_read(guest->vp, TIME_REF_COUNT, &time) != HVTLFS_MSR_DONE) {
            return 0;
        }
    }
    return time;
}

static uint64_t show(struct guest *guest, const char *when)
{
    unsigned before = guest->exits;
    uint64_t time = now(guest);

    printf("%-34s %10" PRIu64 " x 100 ns, %u exits\n", when, time, guest->exits - before);
    return time;
}

/* ---- The host ---- */

struct host {
    uint64_t tsc;
    _Alignas(4096) uint8_t ram[RAM_SIZE];
};

static bool gpa_read(void *context, uint64_t gpa, void *buffer, size_t size)
{
    struct host *host = context;

    if (gpa >= RAM_SIZE || size > RAM_SIZE - gpa) {
        return false;
    }
    memcpy(buffer, host->ram + gpa, size);
    return true;
}

static bool gpa_write(void *context, uint64_t gpa, const void *buffer, size_t size)
{
    struct host *host = context;

    if (gpa >= RAM_SIZE || size > RAM_SIZE - gpa) {
        return false;
    }
    memcpy(host->ram + gpa, buffer, size);
    return true;
}

static enum hvtlfs_gpa_kind gpa_probe(void *context, uint64_t gpa)
{
    (void)context;
    return gpa < RAM_SIZE ? HVTLFS_GPA_RAM : HVTLFS_GPA_NONE;
}

static uint64_t guest_tsc(void *context, uint32_t vp_index)
{
    (void)vp_index;
    return ((struct host *)context)->tsc;
}

static struct hvtlfs_partition *make_partition(struct host *host)
{
    struct hvtlfs_partition *partition = NULL;
    struct hvtlfs_config config;
    size_t size;
    void *memory;

    hvtlfs_config_init(&config);
    config.context = host;
    config.ops.gpa_read = gpa_read;
    config.ops.gpa_write = gpa_write;
    config.ops.gpa_probe = gpa_probe;
    config.ops.guest_tsc = guest_tsc;
    config.tsc_hz = UINT64_C(2000000000);
    config.invariant_tsc = true;
    hvtlfs_features_add(&config.features, HVTLFS_FEATURE_TIME_REF_COUNT);
    hvtlfs_features_add(&config.features, HVTLFS_FEATURE_REFERENCE_TSC);
    if (hvtlfs_partition_size(&config, &size, NULL)) {
        return NULL;
    }
    memory = aligned_alloc(HVTLFS_PARTITION_ALIGNMENT, (size + 4095) / 4096 * 4096);
    if (!memory || hvtlfs_partition_init(memory, size, &config, &partition, NULL)) {
        free(memory);
    }
    return partition;
}

int main(void)
{
    static struct host host;
    struct hvtlfs_partition *partition = make_partition(&host);
    struct guest guest = {.tsc = &host.tsc};
    uint64_t time[5];
    bool good;

    if (!partition) {
        return 1;
    }
    guest.vp = hvtlfs_partition_vp(partition, 0);
    guest.page = (const struct hvtlfs_guest_tsc_page *)(const void *)(host.ram + PAGE_GPA);

    host.tsc += 2000000000;
    time[0] = show(&guest, "a second, page not asked for:");
    good = wrmsr(&guest, GUEST_OS_ID, UINT64_C(0x8100060100000000)) &&
           wrmsr(&guest, REFERENCE_TSC, PAGE_GPA | 1);
    host.tsc += 2000000000;
    time[1] = show(&guest, "another, by the page:");
    good = good && hvtlfs_freeze(partition) == HVTLFS_OK;
    time[2] = show(&guest, "frozen, the page is invalid:");
    good = good && hvtlfs_migrate(partition, UINT64_C(3000000000), true) == HVTLFS_OK &&
           hvtlfs_thaw(partition, 0) == HVTLFS_OK;
    time[3] = show(&guest, "on a host with 3 GHz:");
    host.tsc += UINT64_C(3000000000);
    time[4] = show(&guest, "a second there:");

    free(partition);
    /* At most one unit behind at each reading (docs/REFTIME.md), and never back. */
    good = good && 10000000 - time[0] <= 1 && 20000000 - time[1] <= 1 && time[2] == time[1] &&
           time[3] == time[2] && 30000000 - time[4] <= 2;
    return good ? 0 : 1;
}
