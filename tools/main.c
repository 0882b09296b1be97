/* SPDX-License-Identifier: MIT */
/* The command `hvtlfs`: find the verb, let it work. */
#include <stdio.h>
#include <string.h>

#include <hvtlfs/version.h>

#include "text.h"
#include "tool.h"

#define ROWS(array) (sizeof(array) / sizeof(array)[0])

static const struct tool_verb verbs[] = {
    {"cpuid", "[--features LIST] [--profile NAME]", "every CPUID leaf a guest sees, bit by bit",
     "LIST is comma-separated and spelled as QEMU spells it: hv-relaxed,hv-vapic,\n"
     "hv-spinlocks=0x1fff; the hv- may be left out. It adds to the profile.\n"
     "'hvtlfs features' lists the names.\n",
     verb_cpuid},
    {"features", "[PROFILE]", "the names of feature lists; why a profile has which", NULL,
     verb_features},
    {"check", "LIST|PROFILE|FILE", "what is wrong with enlightenments, and what guests do with them",
     "LIST may be pasted from QEMU, libvirt or Xen; FILE may also be a dump by 'cpuid -r':\n"
     "\n"
     "hvtlfs check hv-relaxed,hv-stimer             a list\n"
     "hvtlfs check --fix hv-stimer-direct           the same, completed\n"
     "hvtlfs check '-cpu host,hv_time,hv_vapic'     a QEMU command line\n"
     "hvtlfs check domain.xml                       a libvirt domain\n"
     "hvtlfs check 'viridian=[\"defaults\"]'        an xl configuration\n"
     "hvtlfs check windows-11                       a profile\n"
     "cpuid -1 -r | hvtlfs check -                  another hypervisor, seen by a guest\n",
     verb_check},
    {"kvm", "run -- PROGRAM [ARGUMENT...]", "start a KVM program on a KVM that has Hyper-V",
     "Whatever the program asks KVM about Hyper-V is answered by libhvtlfs, in user space; the\n"
     "kernel needs none of its own. The program must be dynamically linked.\n"
     "\n"
     "hvtlfs kvm run -- qemu-system-x86_64 -accel kvm -cpu host,hv-time,hv-vapic ...\n"
     "\n"
     "The exit status is the program's; 126 if it cannot be started, 127 if it is not there.\n",
     verb_kvm},
    {"page", "[--trap none|vmcall|vmmcall] [--code HEX]", "the hypercall page and its disassembly",
     NULL, verb_page},
    {"reftime", "--tsc-hz HZ [--offset N] [--plot|--svg] [TSC...]",
     "TSC to reference time: scale, exact value, error",
     "hvtlfs reftime --tsc-hz 3000000000 1000000       what the TSC page makes of a TSC\n"
     "hvtlfs reftime --tsc-hz 3000000000 --plot        the error over the whole TSC\n"
     "\n"
     "Times are in units of 100 ns, modulo 2^64. The error is the exact value, rounded\n"
     "down, less the page's. Exit status 1: at this rate there is no scale and no page.\n",
     verb_reftime},
    {"decode", "os-id|msr|hypercall|status|cpuid VALUE...", "names and fields of any value",
     "hvtlfs decode os-id 0x8100000000000000        a guest OS identity\n"
     "hvtlfs decode msr 0x40000001                  an MSR's name\n"
     "hvtlfs decode msr HYPERCALL                   a name's number\n"
     "hvtlfs decode msr 0x40000001=0x1001           the fields of an MSR's value\n"
     "hvtlfs decode hypercall 0x0000000300010002    a hypercall input value\n"
     "hvtlfs decode hypercall HvCallPostMessage     a call's code\n"
     "hvtlfs decode status 0x0004                   a status or a whole result value\n"
     "hvtlfs decode cpuid 0x40000003 eax=0x60       registers of a leaf\n"
     "hvtlfs decode cpuid 0x40000003.eax=0x60       the same\n"
     "hvtlfs decode cpuid 0x40000003                all fields of a leaf\n"
     "hvtlfs decode cpuid AccessVpIndex             where a field is\n"
     "\n"
     "Exit status 1: a value or name that is well-formed but means nothing.\n",
     verb_decode},
    {"replay", "[--print] [--json] FILE...", "drive a partition from a script and check it",
     "FILE '-' is standard input. hvtlfs-replay(5) describes the language:\n"
     "\n"
     "    partition vps=2 features=hv-relaxed\n"
     "    cpuid 0 0x40000001      => eax=0x31237648 ebx=0 ecx=0 edx=0\n"
     "    wrmsr 0 0x40000000 0x8100000000000000 => ok\n"
     "    rdmsr 1 0x40000002      => 1\n",
     verb_replay},
    {"state", "FILE", "what is in a saved state, field by field",
     "A program writes one with hvtlfs_state_save(), a script with the command 'save'.\n"
     "\n"
     "Exit status 1: the bytes are damaged; what came before the damage has been printed.\n",
     verb_state},
};

static void print_help(void)
{
    puts("usage: hvtlfs VERB [ARGUMENT...]\n"
         "       hvtlfs VERB --help\n"
         "       hvtlfs --help | --version\n"
         "\n"
         "Look up and try out the Hyper-V hypervisor interface (TLFS).\n");
    for (size_t i = 0; i < ROWS(verbs); i++) {
        printf("  %-10s%s\n", verbs[i].name, verbs[i].summary);
    }
    puts("\nExit status: 0 fine, 1 a check failed, 2 bad usage.");
}

static int unknown_verb(const char *word)
{
    struct nearest nearest;
    char suggestion[100];
    nearest_begin(&nearest, word);
    for (size_t i = 0; i < ROWS(verbs); i++) {
        nearest_offer(&nearest, verbs[i].name);
    }
    fprintf(stderr, "hvtlfs: unknown %s '%s'%s; 'hvtlfs --help' lists the verbs\n",
            word[0] == '-' ? "option" : "verb", word,
            tool_suggestion(nearest_answer(&nearest), suggestion, sizeof(suggestion)));
    return TOOL_USAGE;
}

static int run_verb(int argc, char **argv)
{
    for (size_t i = 0; i < ROWS(verbs); i++) {
        if (strcmp(argv[1], verbs[i].name) == 0) {
            return verbs[i].run(&verbs[i], argc - 2, argv + 2);
        }
    }
    return unknown_verb(argv[1]);
}

/* "hvtlfs help" and "hvtlfs help VERB", for those who try that first. */
static int help(int argc, char **argv)
{
    static char option[] = "--help";
    if (argc < 3 || strcmp(argv[2], "help") == 0) {
        print_help();
        return TOOL_OK;
    }
    char *arguments[] = {argv[0], argv[2], option, NULL};
    return run_verb(3, arguments);
}

static int dispatch(int argc, char **argv)
{
    return strcmp(argv[1], "help") == 0 ? help(argc, argv) : run_verb(argc, argv);
}

/* Output that cannot be written is a failure, or a full disk would pass for a passed check. */
static int finish(int status)
{
    bool written = fflush(stdout) == 0 && ferror(stdout) == 0;
    if (!written) {
        perror("hvtlfs: standard output");
    }
    return written || status != TOOL_OK ? status : TOOL_USAGE;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        (void)fputs("hvtlfs: a verb is missing; 'hvtlfs --help' lists the verbs\n", stderr);
        return TOOL_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help();
        return finish(TOOL_OK);
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("hvtlfs %s\n", hvtlfs_version());
        return finish(TOOL_OK);
    }
    return finish(dispatch(argc, argv));
}
