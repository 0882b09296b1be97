/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "vmm.h"

enum { EXIT_GUEST = 1, EXIT_USAGE = 2, EXIT_SKIPPED = 77 };

static const char default_features[] =
    "hv-relaxed,hv-vpindex,hv-vapic,hv-time,hv-frequencies,hv-runtime,hv-crash,hv-reset,hv-synic,"
    "hv-stimer,hv-stimer-direct,hv-tlbflush,hv-ipi,hv-avic";

static const char help[] =
    "usage: example-kvm-vmm [OPTION]... KERNEL\n"
    "\n"
    "Boot a Linux kernel (bzImage, 64-bit boot protocol) or the conformance guest (ELF) on KVM. "
    "The\n"
    "console is the serial port, on standard input and output; there are no other devices. "
    "Hyper-V\n"
    "comes from libhvtlfs, whether the kernel has one of its own or not.\n"
    "\n"
    "A terminal at standard input is in raw mode until the end: all keys are the guest's but "
    "Ctrl-A, after\n"
    "which x ends the guest and any other key, Ctrl-A too, is the guest's. Input from a file or "
    "a pipe\n"
    "waits until the guest takes interrupts for it; at its end the guest goes on.\n"
    "\n"
    "  --initrd FILE      the initial RAM disk\n"
    "  --append TEXT      the kernel's command line (default \"console=ttyS0 reboot=k panic=-1\")\n"
    "  --memory MIB       memory, 32 to 3072 (default 256)\n"
    "  --cpus N           processors, 1 to 16 (default 1)\n"
    "  --features LIST    what Hyper-V offers, as in QEMU's -cpu; \"hvtlfs features\" lists them\n"
    "  --no-hyperv        no Hyper-V: what KVM itself offers\n"
    "  --trap KIND        how hypercalls reach user space: auto (default), call, out, none\n"
    "  --overlays KIND    copied (default) or mapped: memory slots of their own\n"
    "  --timeout SECONDS  give up after so long (default: never)\n"
    "  --no-input         leave standard input alone\n"
    "  --json             statistics as a JSON object\n"
    "  --help             this text\n"
    "\n"
    "Statistics go to standard error at the end. Exit status: 0 when the guest switched off, reset "
    "or\n"
    "wrote 0 to the exit port, 1 when it wrote something else, failed or ran out of time, 2 for "
    "bad\n"
    "usage, 77 when this machine has no usable KVM.\n";

static int usage(const char *what, const char *value)
{
    fprintf(stderr, "example-kvm-vmm: %s%s%s; --help tells more\n", what, value ? ": " : "",
            value ? value : "");
    return EXIT_USAGE;
}

/* ---- The command line ---- */

struct word {
    const char *name;
    int value;
};

static const struct word traps[] = {{"auto", HVTLFS_KVM_TRAP_AUTO},
                                    {"call", HVTLFS_KVM_TRAP_CALL},
                                    {"out", HVTLFS_KVM_TRAP_OUT},
                                    {"none", HVTLFS_KVM_TRAP_NONE},
                                    {NULL, 0}};
static const struct word overlays[] = {
    {"copied", HVTLFS_KVM_OVERLAYS_COPIED}, {"mapped", HVTLFS_KVM_OVERLAYS_MAPPED}, {NULL, 0}};

static bool word(const struct word *words, const char *text, int *value)
{
    for (; words->name != NULL; words++) {
        if (strcmp(words->name, text) == 0) {
            *value = words->value;
            return true;
        }
    }
    return false;
}

static bool number(const char *text, unsigned long least, unsigned long most, uint32_t *value)
{
    char *end;
    unsigned long read;

    errno = 0;
    read = strtoul(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || read < least || read > most) {
        return false;
    }
    *value = (uint32_t)read;
    return true;
}

static bool features(struct options *options, const char *text)
{
    struct hvtlfs_error error;
    char sentence[200];

    hvtlfs_feature_list_minimal(&options->list);
    if (hvtlfs_features_parse(&options->list, text, strlen(text), &error) == HVTLFS_OK) {
        hvtlfs_features_complete(&options->list.features);
        return true;
    }
    (void)hvtlfs_error_text(&error, sentence, sizeof sentence);
    fprintf(stderr, "example-kvm-vmm: --features: %s\n", sentence);
    return false;
}

static const struct option names[] = {
    {"initrd", required_argument, NULL, 'i'},   {"append", required_argument, NULL, 'a'},
    {"memory", required_argument, NULL, 'm'},   {"cpus", required_argument, NULL, 'c'},
    {"features", required_argument, NULL, 'f'}, {"no-hyperv", no_argument, NULL, 'n'},
    {"trap", required_argument, NULL, 't'},     {"overlays", required_argument, NULL, 'o'},
    {"timeout", required_argument, NULL, 's'},  {"json", no_argument, NULL, 'j'},
    {"no-input", no_argument, NULL, 'q'},       {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

/* One option; whether its value is acceptable. */
static bool option(struct options *options, int letter, const char *value)
{
    int chosen = 0;
    bool known = true;

    switch (letter) {
    case 'i':
        options->initrd = value;
        break;
    case 'a':
        options->append = value;
        break;
    case 'm':
        return number(value, 32, 3072, &options->memory_mib);
    case 'c':
        return number(value, 1, VMM_MAX_CPUS, &options->cpus);
    case 'f':
        return features(options, value);
    case 't':
        known = word(traps, value, &chosen);
        options->trap = (enum hvtlfs_kvm_trap)chosen;
        break;
    case 'o':
        known = word(overlays, value, &chosen);
        options->overlays = (enum hvtlfs_kvm_overlays)chosen;
        break;
    case 's':
        return number(value, 1, 1000000, &options->timeout_s);
    case 'n':
        options->hyperv = false;
        break;
    case 'j':
        options->json = true;
        break;
    case 'q':
        options->no_input = true;
        break;
    default:
        return false;
    }
    return known;
}

/* -1 to go on, otherwise the exit status. */
static int parse(struct options *options, int argc, char **argv)
{
    int letter;

    *options = (struct options){
        .append = "console=ttyS0 reboot=k panic=-1",
        .memory_mib = 256,
        .cpus = 1,
        .hyperv = true,
    };
    (void)features(options, default_features);
    opterr = 0;
    while ((letter = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (letter == 'h') {
            (void)fputs(help, stdout);
            return EXIT_SUCCESS;
        }
        if (letter == '?') {
            return usage("unknown option, or one without its value", argv[optind - 1]);
        }
        if (!option(options, letter, optarg)) {
            return usage("not a value for this option", optarg);
        }
    }
    if (optind + 1 != argc) {
        return usage("name one kernel", NULL);
    }
    options->kernel = argv[optind];
    return -1;
}

/* ---- The run ---- */

static struct vmm vmm;

static void on_interrupt(int signal)
{
    (void)signal;
    if (!atomic_exchange(&vmm.stop, true)) {
        vmm.ending = INTERRUPTED;
    }
}

static double now(void)
{
    struct timespec time;

    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static int run(void)
{
    struct sigaction interrupt = {.sa_handler = on_interrupt};
    double start = now();

    (void)sigaction(SIGINT, &interrupt, NULL);
    (void)sigaction(SIGTERM, &interrupt, NULL);
    (void)sigaction(SIGHUP, &interrupt, NULL);
    if (!vmm.options.no_input) {
        console_start(&vmm);
    }
    vmm_run(&vmm);
    console_stop();
    (void)fflush(stdout);
    if (vmm.ending == FAILED) {
        fprintf(stderr, "example-kvm-vmm: %s\n", vmm.trouble);
    }
    statistics(&vmm, now() - start);
    return vmm.ending == RESET || vmm.ending == SWITCHED_OFF ||
                   (vmm.ending == EXITED && vmm.exit_code == 0)
               ? EXIT_SUCCESS
               : EXIT_GUEST;
}

int main(int argc, char **argv)
{
    int status = parse(&vmm.options, argc, argv);

    if (status >= 0) {
        return status;
    }
    if (vmm_init(&vmm)) {
        status = run();
    } else {
        bool no_kvm = vmm.kvm < 0;

        fprintf(stderr, "example-kvm-vmm: %s%s\n", no_kvm ? "skipped: " : "", vmm.trouble);
        status = no_kvm ? EXIT_SKIPPED : EXIT_USAGE;
    }
    vmm_free(&vmm);
    return status;
}
