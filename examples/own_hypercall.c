/* SPDX-License-Identifier: MIT */
/*
 * A hypercall of the host's own: code 0x7F00 adds up a list of numbers.
 *
 * The host says what the call looks like; the library checks the control word, finds and copies the input,
 * cuts long lists, and writes the output. The handler sees its own copy and returns an HV_STATUS.
 * Of the named codes, those that the library leaves alone can be taken in the same way.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hvtlfs/hvtlfs.h>

enum { CODE_ADD = 0x7F00, RAM_SIZE = 1 << 16, INPUT_GPA = 0x2000 };
enum { STATUS_SUCCESS = 0, STATUS_INVALID_PARAMETER = 5 };

struct host {
    uint64_t sum;
    uint32_t chunks;
    uint8_t ram[RAM_SIZE];
};

/* ---- The call ---- */

/* The header is 8 bytes, a number to begin with; each element is a number. */
static uint16_t add(void *context, struct hvtlfs_host_call *call)
{
    struct host *host = context;
    uint64_t number;

    if (call->first == 0) {
        memcpy(&host->sum, call->header, sizeof host->sum);
        host->chunks = 0;
    }
    for (uint32_t i = 0; i < call->count; i++) {
        memcpy(&number, (const uint8_t *)call->elements + i * sizeof number, sizeof number);
        if (number == 0) {
            call->done = i; /* the guest learns how far it came */
            return STATUS_INVALID_PARAMETER;
        }
        host->sum += number;
    }
    host->chunks++;
    return STATUS_SUCCESS;
}

static const struct hvtlfs_call_handler calls[] = {
    {.code = CODE_ADD, .rep = true, .header = 8, .element_in = 8, .handle = add},
};

/* ---- The host ---- */

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

static struct hvtlfs_partition *make_partition(struct host *host)
{
    struct hvtlfs_partition *partition = NULL;
    struct hvtlfs_config config;
    struct hvtlfs_error error;
    char text[160];
    size_t size;
    void *memory;

    hvtlfs_config_init(&config);
    config.context = host;
    config.ops.gpa_read = gpa_read;
    config.ops.gpa_write = gpa_write;
    config.ops.gpa_probe = gpa_probe;
    config.calls = calls;
    config.call_count = sizeof calls / sizeof calls[0];
    if (hvtlfs_partition_size(&config, &size, &error)) {
        hvtlfs_error_text(&error, text, sizeof text);
        fprintf(stderr, "own_hypercall: %s\n", text);
        return NULL;
    }
    memory = aligned_alloc(HVTLFS_PARTITION_ALIGNMENT, (size + 4095) / 4096 * 4096);
    if (!memory || hvtlfs_partition_init(memory, size, &config, &partition, NULL)) {
        free(memory);
    }
    return partition;
}

/* ---- The guest: as long as the call is not finished, make it again ---- */

static uint64_t call_add(struct hvtlfs_vp *vp, uint64_t count)
{
    struct hvtlfs_hypercall_regs regs = {
        .rcx = CODE_ADD | count << 32, .rdx = INPUT_GPA, .mode = HVTLFS_MODE_LONG64};
    enum hvtlfs_hypercall_result result;

    do {
        result = hvtlfs_hypercall(vp, &regs);
    } while (result == HVTLFS_HYPERCALL_CONTINUE);
    printf("%3" PRIu64 " numbers: %s, %" PRIu64 " done\n", count,
           hvtlfs_hv_status_name((uint16_t)regs.rax), regs.rax >> 32 & 0xFFF);
    return result == HVTLFS_HYPERCALL_DONE ? regs.rax : UINT64_MAX;
}

int main(void)
{
    static struct host host;
    struct hvtlfs_partition *partition = make_partition(&host);
    uint64_t numbers[101] = {1000};
    struct hvtlfs_vp *vp;
    bool good;

    if (!partition) {
        return 1;
    }
    vp = hvtlfs_partition_vp(partition, 0);
    for (uint64_t i = 1; i <= 100; i++) {
        numbers[i] = i;
    }
    memcpy(host.ram + INPUT_GPA, numbers, sizeof numbers);
    good = call_add(vp, 100) == UINT64_C(100) << 32 && host.sum == 6050;
    printf("the sum is %" PRIu64 ", in %" PRIu32 " pieces\n", host.sum, host.chunks);

    numbers[8] = 0; /* the eighth element is refused: seven were done */
    memcpy(host.ram + INPUT_GPA, numbers, sizeof numbers);
    good = good && call_add(vp, 100) == (UINT64_C(7) << 32 | STATUS_INVALID_PARAMETER);
    free(partition);
    return good ? 0 : 1;
}
