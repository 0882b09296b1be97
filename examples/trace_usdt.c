/* SPDX-License-Identifier: MIT */
/*
 * What happens in a partition, as USDT probes, one for each kind of event:
 *
 *     bpftrace -e 'usdt:./example-trace-usdt:hvtlfs:msr_write { printf("%d %x %lx\n", arg0, arg1, arg2) }'
 *
 * A probe nobody listens to is one nop. Arguments: VP, code, value, result of struct hvtlfs_event;
 * what they mean for each kind is in <hvtlfs/trace.h>. <sys/sdt.h> comes with SystemTap (Debian:
 * systemtap-sdt-dev); without it this program says so.
 */
#if defined(__has_include)
#if __has_include(<sys/sdt.h>)
#define HAVE_SDT 1
#endif
#endif

#include <stdio.h>

#ifndef HAVE_SDT

int main(void)
{
    puts("trace_usdt: built without <sys/sdt.h>, so there are no probes");
    return 0;
}

#else

#include <stdlib.h>
#include <string.h>

#include <hvtlfs/hvtlfs.h>
#include <hvtlfs/trace.h>

/* The header is GNU C. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#include <sys/sdt.h>

#define PROBE(name)                                                                                \
    DTRACE_PROBE4(hvtlfs, name, event->vp_index, event->code, event->value, event->result);        \
    break

/* A probe's name is part of the program, so each kind has its own line. */
/* NOLINTNEXTLINE(readability-function-cognitive-complexity) what the macros of <sys/sdt.h> are made of */
static void trace(void *context, const struct hvtlfs_event *event)
{
    ++*(unsigned *)context;
    switch (event->kind) {
    case HVTLFS_EVENT_MSR_READ:
        PROBE(msr_read);
    case HVTLFS_EVENT_MSR_WRITE:
        PROBE(msr_write);
    case HVTLFS_EVENT_HYPERCALL:
        PROBE(hypercall);
    case HVTLFS_EVENT_OVERLAY_SET:
        PROBE(overlay_set);
    case HVTLFS_EVENT_OVERLAY_CLEAR:
        PROBE(overlay_clear);
    case HVTLFS_EVENT_INTERRUPT:
        PROBE(interrupt);
    case HVTLFS_EVENT_IPI:
        PROBE(ipi);
    case HVTLFS_EVENT_KICK:
        PROBE(kick);
    case HVTLFS_EVENT_APIC_WRITE:
        PROBE(apic_write);
    case HVTLFS_EVENT_FLUSH:
        PROBE(flush);
    case HVTLFS_EVENT_DEADLINE:
        PROBE(deadline);
    case HVTLFS_EVENT_SPIN_WAIT:
        PROBE(spin_wait);
    case HVTLFS_EVENT_RESET:
        PROBE(reset);
    case HVTLFS_EVENT_CRASH:
        PROBE(crash);
    case HVTLFS_EVENT_TSC_EMULATION:
        PROBE(tsc_emulation);
    case HVTLFS_EVENT_KINDS:
        break;
    }
}
#pragma GCC diagnostic pop

/* This guest has no memory. */
static bool gpa_read(void *context, uint64_t gpa, void *buffer, size_t size)
{
    (void)context, (void)gpa, (void)buffer, (void)size;
    return false;
}

static bool gpa_write(void *context, uint64_t gpa, const void *buffer, size_t size)
{
    (void)context, (void)gpa, (void)buffer, (void)size;
    return false;
}

static enum hvtlfs_gpa_kind gpa_probe(void *context, uint64_t gpa)
{
    (void)context, (void)gpa;
    return HVTLFS_GPA_NONE;
}

static struct hvtlfs_partition *make_partition(unsigned *events)
{
    struct hvtlfs_partition *partition = NULL;
    struct hvtlfs_config config;
    void *memory = NULL;
    size_t size;

    hvtlfs_config_init(&config);
    config.context = events;
    config.ops.gpa_read = gpa_read;
    config.ops.gpa_write = gpa_write;
    config.ops.gpa_probe = gpa_probe;
    config.ops.trace = trace;
    config.trap = HVTLFS_TRAP_VMCALL;
    if (hvtlfs_partition_size(&config, &size, NULL) == HVTLFS_OK) {
        size += HVTLFS_PARTITION_ALIGNMENT - size % HVTLFS_PARTITION_ALIGNMENT;
        memory = aligned_alloc(HVTLFS_PARTITION_ALIGNMENT, size);
    }
    if (!memory || hvtlfs_partition_init(memory, size, &config, &partition, NULL)) {
        free(memory);
        return NULL;
    }
    return partition; /* the memory's first byte */
}

int main(void)
{
    unsigned events = 0;
    struct hvtlfs_partition *partition = make_partition(&events);
    struct hvtlfs_vp *vp;
    uint64_t index;
    int failed;

    if (!partition) {
        (void)fputs("trace_usdt: cannot make a partition\n", stderr);
        return 1;
    }
    vp = hvtlfs_partition_vp(partition, 0);
    failed = hvtlfs_msr_write(vp, 0x40000000, UINT64_C(0x8100060100000000)) != HVTLFS_MSR_DONE ||
             hvtlfs_msr_read(vp, 0x40000002, &index) != HVTLFS_MSR_DONE;
    free(partition);
    printf("%u events through probes\n", events);
    return failed || events != 2;
}

#endif
