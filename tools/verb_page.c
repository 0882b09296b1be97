/* SPDX-License-Identifier: MIT */
/* hvtlfs page: the hypercall page in hexadecimal and as instructions. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <hvtlfs/host.h>
#include <hvtlfs/hypercall_page.h>

#include "disassemble.h"
#include "text.h"
#include "tool.h"

struct trap_name {
    const char *name;
    enum hvtlfs_trap trap;
};

static const struct trap_name traps[] = {
    {"none", HVTLFS_TRAP_NONE},
    {"vmcall", HVTLFS_TRAP_VMCALL},
    {"vmmcall", HVTLFS_TRAP_VMMCALL},
    {"custom", HVTLFS_TRAP_CUSTOM},
};

#define TRAPS (sizeof(traps) / sizeof(traps[0]))

struct page_request {
    const struct trap_name *trap;
    uint8_t code[16];
    size_t code_size;
};

static int unknown_trap(const struct tool_verb *verb, const char *word)
{
    struct nearest nearest;
    char suggestion[100];
    nearest_begin(&nearest, word);
    for (size_t i = 0; i < TRAPS; i++) {
        nearest_offer(&nearest, traps[i].name);
    }
    return tool_error(verb, "unknown trap '%s'%s; known: none, vmcall, vmmcall, custom", word,
                      tool_suggestion(nearest_answer(&nearest), suggestion, sizeof(suggestion)));
}

static const struct trap_name *find_trap(const char *word)
{
    for (size_t i = 0; i < TRAPS; i++) {
        if (strcmp(word, traps[i].name) == 0) {
            return &traps[i];
        }
    }
    return NULL;
}

/* --trap and --code together make sense only for a custom trap. */
static int read_request(const struct tool_verb *verb, const char *trap, const char *code,
                        struct page_request *request)
{
    if (trap == NULL) {
        trap = code != NULL ? "custom" : "vmcall";
    }
    request->trap = find_trap(trap);
    if (request->trap == NULL) {
        (void)unknown_trap(verb, trap);
        return TOOL_USAGE;
    }
    bool custom = request->trap->trap == HVTLFS_TRAP_CUSTOM;
    if (custom != (code != NULL)) {
        return tool_error(verb, custom ? "--trap custom needs the instructions: --code HEX"
                                       : "--code belongs to --trap custom");
    }
    if (custom && (!hex_parse(code, strlen(code), request->code, sizeof(request->code),
                              &request->code_size) ||
                   request->code_size == 0)) {
        return tool_error(verb, "--code needs 1 to 16 bytes as hexadecimal digits, got '%s'", code);
    }
    return TOOL_OK;
}

/* The page without the int3 bytes that fill its end. */
static size_t used_size(const uint8_t *page)
{
    size_t size = HVTLFS_PAGE_SIZE;
    while (size > 0 && page[size - 1] == 0xCC) {
        size--;
    }
    return size;
}

/* Lines of 16 bytes; equal ones in a row become one '*', as hexdump -C does. */
static void print_hex(const uint8_t *page)
{
    bool starred = false;
    for (size_t at = 0; at < HVTLFS_PAGE_SIZE; at += 16) {
        bool repeated = at >= 16 && memcmp(page + at, page + at - 16, 16) == 0;
        if (repeated) {
            (void)fputs(starred ? "" : "*\n", stdout);
            starred = true;
            continue;
        }
        starred = false;
        printf("%04zx ", at);
        for (size_t i = 0; i < 16; i++) {
            printf(" %02x", page[at + i]);
        }
        putchar('\n');
    }
    printf("%04x\n", HVTLFS_PAGE_SIZE);
}

static void print_instruction(size_t offset, const uint8_t *code, size_t size, const char *text)
{
    struct text bytes = {0};
    text_add_hex(&bytes, code, size);
    printf("%04zx  %-12s  %s\n", offset, text_string(&bytes), text);
    text_free(&bytes);
}

static void print_text(const uint8_t *page)
{
    size_t used = used_size(page);
    print_hex(page);
    putchar('\n');
    for (size_t at = 0; at < used;) {
        char text[INSTRUCTION_TEXT];
        size_t size = disassemble(page + at, used - at, text);
        print_instruction(at, page + at, size, text);
        at += size;
    }
    printf("%04zx  %-12s  int3, to the end: %zu bytes\n", used, "cc", HVTLFS_PAGE_SIZE - used);
}

static void print_json(const struct page_request *request, const uint8_t *page)
{
    struct json json = {0};
    struct text hex = {0};
    size_t used = used_size(page);
    json_clear(&json);
    json_open(&json, NULL, '{');
    json_string(&json, "trap", request->trap->name);
    json_number(&json, "used", (uint32_t)used);
    json_open(&json, "instructions", '[');
    for (size_t at = 0; at < used;) {
        char text[INSTRUCTION_TEXT];
        size_t size = disassemble(page + at, used - at, text);
        text_clear(&hex);
        text_add_hex(&hex, page + at, size);
        json_open(&json, NULL, '{');
        json_number(&json, "offset", (uint32_t)at);
        json_string(&json, "bytes", text_string(&hex));
        json_string(&json, "text", text);
        json_close(&json, '}');
        at += size;
    }
    json_close(&json, ']');
    text_clear(&hex);
    text_add_hex(&hex, page, HVTLFS_PAGE_SIZE);
    json_string(&json, "page", text_string(&hex));
    json_close(&json, '}');
    json_print(&json);
    text_free(&hex);
    text_free(&json.text);
}

static int show(const struct tool_verb *verb, const struct page_request *request, bool as_json)
{
    uint8_t page[HVTLFS_PAGE_SIZE];
    enum hvtlfs_status status = hvtlfs_hypercall_page_assemble(page, request->trap->trap,
                                                               request->code, request->code_size);
    if (status != HVTLFS_OK) {
        return tool_error(verb, "%s", hvtlfs_strerror(status));
    }
    if (as_json) {
        print_json(request, page);
    } else {
        print_text(page);
    }
    return TOOL_OK;
}

int verb_page(const struct tool_verb *verb, int argc, char **argv)
{
    bool as_json = false;
    const char *trap = NULL;
    const char *code = NULL;
    int status;
    const struct tool_option options[] = {
        {"--trap", "NAME", "none, vmcall, vmmcall or custom; default vmcall", NULL, &trap},
        {"--code", "HEX", "the instructions of a custom trap, 1 to 16 bytes", NULL, &code},
        {"--json", NULL, "one JSON object: trap, used, instructions, page", &as_json, NULL},
    };
    if (!tool_options(verb, options, 3, &argc, argv, &status)) {
        return status;
    }
    if (argc > 0) {
        return tool_error(verb, "unexpected argument '%s'; use --trap NAME", argv[0]);
    }
    struct page_request request = {0};
    status = read_request(verb, trap, code, &request);
    if (status != TOOL_OK) {
        return status;
    }
    return show(verb, &request, as_json);
}
