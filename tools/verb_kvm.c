/* SPDX-License-Identifier: MIT */
/* hvtlfs kvm run: start a program with libhvtlfs-kvm-preload.so in front of /dev/kvm. */
#define _POSIX_C_SOURCE 200809L
#include <elf.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tool.h"

/* The exit statuses of a shell for a command that cannot be started. */
enum { CANNOT_RUN = 126, NOT_FOUND = 127 };

#define LIBRARY "libhvtlfs-kvm-preload.so"

#ifndef HVTLFS_LIBRARY_FOLDER
#define HVTLFS_LIBRARY_FOLDER "lib/hvtlfs" /* beside the folder of the command */
#endif

/* Beside the command, as it is built and as it is installed. */
static bool library_find(char *path, size_t size)
{
    static const char *const folders[] = {HVTLFS_LIBRARY_FOLDER, "lib"};
    char self[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (length <= 0) {
        return false;
    }
    self[length] = '\0';
    for (int up = 0; up < 2 && strrchr(self, '/') != NULL; up++) {
        *strrchr(self, '/') = '\0';
    }
    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
        int written = snprintf(path, size, "%s/%s/" LIBRARY, self, folders[i]);
        if (written > 0 && (size_t)written < size && access(path, R_OK) == 0) {
            return true;
        }
    }
    return false;
}

/* Where the C library will look for a program. */
static bool program_find(const char *name, char *path, size_t size)
{
    const char *folder = getenv("PATH");
    if (strchr(name, '/') != NULL || folder == NULL) {
        return snprintf(path, size, "%s", name) < (int)size && access(path, X_OK) == 0;
    }
    while (*folder != '\0') {
        size_t length = strcspn(folder, ":");
        int written = snprintf(path, size, "%.*s/%s", (int)length, folder, name);
        if (written > 0 && (size_t)written < size && access(path, X_OK) == 0) {
            return true;
        }
        folder += length + (folder[length] == ':');
    }
    return false;
}

static bool has_interpreter(FILE *file, const Elf64_Ehdr *header)
{
    Elf64_Phdr segment;
    for (unsigned i = 0; i < header->e_phnum; i++) {
        long place = (long)(header->e_phoff + (Elf64_Off)i * header->e_phentsize);
        if (fseek(file, place, SEEK_SET) != 0 || fread(&segment, sizeof(segment), 1, file) != 1) {
            return true; /* whatever it is, it is not for us to refuse */
        }
        if (segment.p_type == PT_INTERP) {
            return true;
        }
    }
    return false;
}

/* Such a program takes no library from anybody, and would run without Hyper-V and without a word. */
static bool is_static(const char *path)
{
    Elf64_Ehdr header;
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return false;
    }
    bool answer = fread(&header, sizeof(header), 1, file) == 1 &&
                  memcmp(header.e_ident, ELFMAG, SELFMAG) == 0 &&
                  header.e_ident[EI_CLASS] == ELFCLASS64 && !has_interpreter(file, &header);
    (void)fclose(file);
    return answer;
}

/* In front of what is preloaded already. */
static bool preload(const char *library)
{
    const char *others = getenv("LD_PRELOAD");
    char all[2 * PATH_MAX];
    int written = others != NULL && *others != '\0'
                      ? snprintf(all, sizeof(all), "%s:%s", library, others)
                      : snprintf(all, sizeof(all), "%s", library);
    return written > 0 && (size_t)written < sizeof(all) && setenv("LD_PRELOAD", all, 1) == 0;
}

static int start(const struct tool_verb *verb, const char *library, char **program)
{
    char path[PATH_MAX];
    if (!program_find(program[0], path, sizeof(path))) {
        (void)tool_error(verb, "%s: not found, or not executable", program[0]);
        return NOT_FOUND;
    }
    if (is_static(path)) {
        (void)tool_error(verb, "%s is statically linked, so nothing can be put in front of it",
                         path);
        return CANNOT_RUN;
    }
    if (!preload(library)) {
        return tool_error(verb, "LD_PRELOAD cannot be set");
    }
    (void)execv(path, program);
    (void)tool_error(verb, "%s: %s", path, strerror(errno));
    return CANNOT_RUN;
}

int verb_kvm(const struct tool_verb *verb, int argc, char **argv)
{
    const char *library = NULL;
    bool statistics = false;
    char found[PATH_MAX];
    int status;
    const struct tool_option options[] = {
        {"--library", "FILE", "the library to preload, if not the one beside this command", NULL,
         &library},
        {"--statistics", NULL, "for each VM that had Hyper-V, say at its end what that took",
         &statistics, NULL},
    };
    if (!tool_options(verb, options, sizeof(options) / sizeof(options[0]), &argc, argv, &status)) {
        return status;
    }
    if (argc < 2 || strcmp(argv[0], "run") != 0) {
        return tool_error(verb, "expected: run -- PROGRAM [ARGUMENT...]");
    }
    if (library == NULL) {
        if (!library_find(found, sizeof(found))) {
            return tool_error(verb, LIBRARY " is not beside this command; name it with --library");
        }
        library = found;
    } else if (access(library, R_OK) != 0) {
        return tool_error(verb, "%s: %s", library, strerror(errno));
    }
    if (statistics && setenv("HVTLFS_KVM_STATISTICS", "1", 1) != 0) {
        return tool_error(verb, "the environment cannot be set");
    }
    argv[argc] = NULL; /* the options that stood here are gone */
    return start(verb, library, argv + 1);
}
