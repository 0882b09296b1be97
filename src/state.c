/* SPDX-License-Identifier: MIT */
/*
 * Saved state. A header, then sections, then fields; docs/STATE.md has the format.
 *
 * Loading goes over the bytes several times, with the same walk: first everything is checked, then
 * pages are placed, which alone may fail and is undone if it does, then the numbers are set.
 */
#include <hvtlfs/state.h>

#include <hvtlfs/tlfs.h>

#include "sentence.h"
#include "slice.h"
#include "state.h"

/* ---- The table ---- */

enum scope {
    SCOPE_CONFIG, /* CONF, of the partition, compared */
    SCOPE_SAME,
    SCOPE_PARTITION,
    SCOPE_VP,
};

enum check {
    CHECK_ANY,
    CHECK_BOOL,
    CHECK_HYPERCALL,
    CHECK_REENLIGHTENMENT,
    CHECK_LAZY,
    CHECK_NPIEP,
    CHECK_UNHALTED,
    CHECK_SINT,
    CHECK_STIMER,
};

struct row {
    char section[5];
    char tag[5];
    uint8_t scope;
    uint8_t since;
    uint8_t width; /* bytes of one number */
    uint8_t check;
    uint8_t feature;      /* without it the numbers are 0; HVTLFS_FEATURE_COUNT: any */
    uint16_t config;      /* where it is in struct hvtlfs_config, for SCOPE_CONFIG */
    uint16_t config_size; /* and how long; 0 for all others */
    uint32_t offset;      /* in the struct of its scope */
    uint32_t size;
    const char *name;
};

#define SIZE_OF(type, member) sizeof(((type *)0)->member)
#define CONFIG(tag, since, member, config, bits)                                                   \
    {"CONF",                                                                                       \
     tag,                                                                                          \
     SCOPE_CONFIG,                                                                                 \
     since,                                                                                        \
     (bits) / 8,                                                                                   \
     CHECK_ANY,                                                                                    \
     HVTLFS_FEATURE_COUNT,                                                                         \
     offsetof(struct hvtlfs_config, config),                                                       \
     SIZE_OF(struct hvtlfs_config, config),                                                        \
     offsetof(struct hvtlfs_partition, member),                                                    \
     SIZE_OF(struct hvtlfs_partition, member),                                                     \
     #member},
#define SAME(tag, since, member, bits)                                                             \
    {"CONF",                                                                                       \
     tag,                                                                                          \
     SCOPE_SAME,                                                                                   \
     since,                                                                                        \
     (bits) / 8,                                                                                   \
     CHECK_ANY,                                                                                    \
     HVTLFS_FEATURE_COUNT,                                                                         \
     0,                                                                                            \
     0,                                                                                            \
     offsetof(struct hvtlfs_partition, member),                                                    \
     SIZE_OF(struct hvtlfs_partition, member),                                                     \
     #member},
#define PARTITION(section, tag, since, feature, member, bits, check)                               \
    {section,                                                                                      \
     tag,                                                                                          \
     SCOPE_PARTITION,                                                                              \
     since,                                                                                        \
     (bits) / 8,                                                                                   \
     CHECK_##check,                                                                                \
     HVTLFS_FEATURE_##feature,                                                                     \
     0,                                                                                            \
     0,                                                                                            \
     offsetof(struct hvtlfs_partition, member),                                                    \
     SIZE_OF(struct hvtlfs_partition, member),                                                     \
     #member},
#define VP(section, tag, since, feature, member, bits, check)                                      \
    {section,                                                                                      \
     tag,                                                                                          \
     SCOPE_VP,                                                                                     \
     since,                                                                                        \
     (bits) / 8,                                                                                   \
     CHECK_##check,                                                                                \
     HVTLFS_FEATURE_##feature,                                                                     \
     0,                                                                                            \
     0,                                                                                            \
     offsetof(struct hvtlfs_vp, member),                                                           \
     SIZE_OF(struct hvtlfs_vp, member),                                                            \
     #member},

static const struct row rows[] = {
#include "saved.def"
};

#undef CONFIG
#undef SAME
#undef PARTITION
#undef VP
#define WHOLE(type, member, bits)                                                                  \
    _Static_assert(((bits) == 8 || (bits) == 32 || (bits) == 64) &&                                \
                       SIZE_OF(type, member) % ((bits) / 8) == 0,                                  \
                   "bits of " #member);
#define CONFIG(tag, since, member, config, bits)                                                   \
    WHOLE(struct hvtlfs_partition, member, bits)                                                   \
    _Static_assert(SIZE_OF(struct hvtlfs_config, config) ==                                        \
                       SIZE_OF(struct hvtlfs_partition, member),                                   \
                   "both sides of " #member);
#define SAME(tag, since, member, bits) WHOLE(struct hvtlfs_partition, member, bits)
#define PARTITION(section, tag, since, feature, member, bits, check)                               \
    WHOLE(struct hvtlfs_partition, member, bits)
#define VP(section, tag, since, feature, member, bits, check) WHOLE(struct hvtlfs_vp, member, bits)
#include "saved.def"

/* ---- The bytes ---- */

#define HEADER_SIZE 32u
#define SECTION_SIZE 16u
#define FIELD_SIZE 8u
#define ITEM_SIZE 4u
#define OPTIONAL UINT32_C(0x80000000) /* in a section's flags, in a field's size */
#define BYTE_ORDER_MARK UINT32_C(0x01020304)

static const uint8_t magic[8] = {'h', 'v', 't', 'l', 'f', 's', '\r', '\n'};

static uint32_t tag_of(const char *word)
{
    return (uint32_t)(uint8_t)word[0] | (uint32_t)(uint8_t)word[1] << 8 |
           (uint32_t)(uint8_t)word[2] << 16 | (uint32_t)(uint8_t)word[3] << 24;
}

/*@ requires width <= 8 && \valid_read(bytes + (0 .. width - 1));
    assigns \nothing; */
static uint64_t get(const uint8_t *bytes, uint32_t width)
{
    uint64_t value = 0;

    /*@ loop invariant 0 <= width <= \at(width, Pre);
        loop assigns width, value;
        loop variant width; */
    while (width--) {
        value = value << 8 | bytes[width];
    }
    return value;
}

static void put(uint8_t *bytes, uint32_t width, uint64_t value)
{
    uint32_t i;

    for (i = 0; i < width; i++) {
        bytes[i] = (uint8_t)(value >> 8 * i);
    }
}

/* A number of the host's own kind, of a row's width: 1, 4 or 8 bytes. */
static uint64_t number_at(const void *member, uint32_t width)
{
    uint8_t one;
    uint32_t four;
    uint64_t eight;

    switch (width) {
    case 1:
        memcpy(&one, member, sizeof(one));
        return one;
    case 4:
        memcpy(&four, member, sizeof(four));
        return four;
    default:
        memcpy(&eight, member, sizeof(eight));
        return eight;
    }
}

static void set_number(void *member, uint32_t width, uint64_t value)
{
    uint8_t one = (uint8_t)value;
    uint32_t four = (uint32_t)value;

    switch (width) {
    case 1:
        memcpy(member, &one, sizeof(one));
        break;
    case 4:
        memcpy(member, &four, sizeof(four));
        break;
    default:
        memcpy(member, &value, sizeof(value));
        break;
    }
}

/* FNV-1a, 64 bits: against damage, not against forgery. */
/*@ requires size == 0 || \valid_read(bytes + (0 .. size - 1));
    assigns \nothing; */
static uint64_t digest_of(const uint8_t *bytes, size_t size)
{
    uint64_t digest = UINT64_C(0xCBF29CE484222325);
    size_t i;

    /*@ loop invariant 0 <= i <= size;
        loop assigns i, digest;
        loop variant size - i; */
    for (i = 0; i < size; i++) {
        digest = (digest ^ bytes[i]) * UINT64_C(0x100000001B3);
    }
    return digest;
}

/*@ requires size <= UINT32_MAX - 7;
    assigns \nothing;
    ensures size <= \result <= size + 7 && \result % 8 == 0; */
static uint32_t round_up(uint32_t size)
{
    return (size + 7) / 8 * 8;
}

/* ---- Writing: what does not fit is counted ---- */

struct writer {
    uint8_t *buffer;
    size_t size;
    size_t at;
    size_t section; /* where the open one begins */
};

static void write_bytes(struct writer *writer, const void *bytes, size_t size)
{
    if (writer->at <= writer->size && size <= writer->size - writer->at) {
        memcpy(writer->buffer + writer->at, bytes, size);
    }
    writer->at += size;
}

static void write_number(struct writer *writer, uint32_t width, uint64_t value)
{
    uint8_t bytes[8];

    put(bytes, width, value);
    write_bytes(writer, bytes, width);
}

/* A number that was left open. */
static void patch(struct writer *writer, size_t at, uint32_t width, uint64_t value)
{
    if (writer->at <= writer->size) {
        put(writer->buffer + at, width, value);
    }
}

static void begin_section(struct writer *writer, const char *tag, uint32_t vp_index)
{
    writer->section = writer->at;
    write_number(writer, 4, tag_of(tag));
    write_number(writer, 4, 0);
    write_number(writer, 4, vp_index);
    write_number(writer, 4, 0);
}

static void end_section(struct writer *writer)
{
    patch(writer, writer->section + 12, 4, writer->at - writer->section - SECTION_SIZE);
}

static void begin_field(struct writer *writer, const char *tag, uint32_t size)
{
    write_number(writer, 4, tag_of(tag));
    write_number(writer, 4, size);
}

static void end_field(struct writer *writer, uint32_t size)
{
    static const uint8_t zeros[8];

    write_bytes(writer, zeros, round_up(size) - size);
}

static void write_row(struct writer *writer, const struct row *row, const void *base)
{
    const uint8_t *member = (const uint8_t *)base + row->offset;
    uint32_t i;

    begin_field(writer, row->tag, row->size);
    for (i = 0; i < row->size; i += row->width) {
        write_number(writer, row->width, number_at(member + i, row->width));
    }
    end_field(writer, row->size);
}

static bool same_section(const struct row *a, const struct row *b)
{
    return a->scope == b->scope && !memcmp(a->section, b->section, 4);
}

static void write_rows(struct writer *writer, enum scope scope, const void *base, uint32_t vp_index)
{
    size_t i;

    for (i = 0; i < ARRAY_LEN(rows); i++) {
        if (rows[i].scope != scope) {
            continue;
        }
        if (!same_section(&rows[i], &rows[i - 1])) {
            begin_section(writer, rows[i].section, vp_index);
        }
        write_row(writer, &rows[i], base);
        if (i + 1 == ARRAY_LEN(rows) || !same_section(&rows[i], &rows[i + 1])) {
            end_section(writer);
        }
    }
}

/* By name: the numbers of features are this version's own. */
static void write_features(struct writer *writer, uint64_t features)
{
    size_t start = writer->at;
    uint64_t rest;

    begin_field(writer, "FEAT", 0);
    for (rest = features; rest; rest &= rest - 1) {
        const char *name = hvtlfs_feature_name((enum hvtlfs_feature)lowest_bit(rest));
        size_t length = 0;

        while (name[length]) {
            length++;
        }
        write_bytes(writer, name, length);
        write_bytes(writer, ",", 1);
    }
    patch(writer, start + 4, 4, writer->at - start - FIELD_SIZE);
    end_field(writer, (uint32_t)(writer->at - start - FIELD_SIZE));
}

static void write_vps(struct writer *writer, const struct hvtlfs_partition *partition)
{
    uint32_t slot;

    begin_field(writer, "VPS ", partition->vp_count * 8);
    for (slot = 0; slot < partition->vp_count; slot++) {
        write_number(writer, 4, partition->vps[slot].index);
        write_number(writer, 4, partition->vps[slot].apic_id);
    }
}

static void write_config(struct writer *writer, const struct hvtlfs_partition *partition)
{
    size_t i;

    begin_section(writer, "CONF", HVTLFS_NO_VP);
    write_features(writer, partition->features);
    write_vps(writer, partition);
    begin_field(writer, "COPY", 4);
    write_number(writer, 4, !hvti_host_maps_overlays(&partition->host));
    end_field(writer, 4);
    for (i = 0; i < ARRAY_LEN(rows) && rows[i].scope <= SCOPE_SAME; i++) {
        write_row(writer, &rows[i], partition);
    }
    end_section(writer);
}

/* Each byte is as the one before it, and the first is 0. */
static bool is_zero(const uint8_t *page)
{
    return !page[0] && !memcmp(page, page + 1, HVTLFS_PAGE_SIZE - 1);
}

static void write_overlay(struct writer *writer, const struct hvtlfs_partition *partition,
                          uint32_t slot)
{
    struct hvtlfs_overlay overlay = hvti_overlay_describe(partition, slot);
    bool zero = is_zero(overlay.page);

    if (overlay.gpa == HVTI_NOWHERE && zero) {
        return;
    }
    begin_section(writer, "OVLY", overlay.vp_index);
    begin_field(writer, "KIND", 4);
    write_number(writer, 4, overlay.kind);
    end_field(writer, 4);
    begin_field(writer, "GPA ", 8);
    write_number(writer, 8, overlay.gpa);
    if (!zero) {
        begin_field(writer, "PAGE", HVTLFS_PAGE_SIZE);
        write_bytes(writer, overlay.page, HVTLFS_PAGE_SIZE);
    }
    end_section(writer);
}

/* The messages that wait for a slot: SINT, timer + 1 or 0, two zeros, then the message. */
static void write_message(void *context, uint32_t sint, uint32_t timer,
                          const struct hv_message *message)
{
    struct writer *writer = context;
    uint32_t size = message ? ITEM_SIZE + HV_MESSAGE_SIZE : ITEM_SIZE;

    begin_field(writer, "ITEM", size);
    write_number(writer, 1, sint);
    write_number(writer, 1, timer);
    write_number(writer, 2, 0);
    if (message) {
        write_bytes(writer, message, HV_MESSAGE_SIZE);
    }
    end_field(writer, size);
}

static void write_messages(struct writer *writer, const struct hvtlfs_vp *vp)
{
    if (hvti_has(vp->partition, HVTLFS_FEATURE_SYNIC) && (vp->synic.waiting || vp->synic.inbox)) {
        begin_section(writer, "SMSG", vp->index);
        hvti_synic_visit(vp, write_message, writer);
        end_section(writer);
    }
}

static void write_header(struct writer *writer)
{
    write_bytes(writer, magic, sizeof(magic));
    write_number(writer, 4, BYTE_ORDER_MARK);
    write_number(writer, 4, HVTLFS_STATE_VERSION);
    write_number(writer, 8, 0); /* size */
    write_number(writer, 8, 0); /* digest */
}

static void write_state(struct writer *writer, const struct hvtlfs_partition *partition)
{
    uint32_t slot;

    write_header(writer);
    write_config(writer, partition);
    write_rows(writer, SCOPE_PARTITION, partition, HVTLFS_NO_VP);
    for (slot = 0; slot < partition->vp_count; slot++) {
        write_rows(writer, SCOPE_VP, &partition->vps[slot], partition->vps[slot].index);
    }
    for (slot = 0; slot < partition->vp_count; slot++) {
        write_messages(writer, &partition->vps[slot]);
    }
    for (slot = 0; slot < partition->overlays.slot_count; slot++) {
        write_overlay(writer, partition, slot);
    }
    patch(writer, 16, 8, writer->at);
    if (writer->at <= writer->size) {
        put(writer->buffer + 24, 8,
            digest_of(writer->buffer + HEADER_SIZE, writer->at - HEADER_SIZE));
    }
}

size_t hvtlfs_state_size(const struct hvtlfs_partition *partition)
{
    struct writer writer = {NULL, 0, 0, 0};

    write_state(&writer, partition);
    return writer.at;
}

/*@ requires \valid(error);
    assigns *error;
    ensures \result == status; */
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

enum hvtlfs_status hvtlfs_state_save(const struct hvtlfs_partition *partition, void *buffer,
                                     size_t size, size_t *used, struct hvtlfs_error *error)
{
    struct hvtlfs_error ignored = {.status = HVTLFS_OK};
    struct writer writer = {buffer, size, 0, 0};
    size_t needed;

    error = error ? error : &ignored;
    if (!partition || !buffer || !used) {
        return wrong(error, HVTLFS_ERR_ARGUMENT,
                     !partition ? "partition"
                     : !used    ? "used"
                                : "buffer",
                     0, 0);
    }
    if (!hvti_time_frozen(partition)) {
        return wrong(error, HVTLFS_ERR_ORDER, "the partition is not frozen", 0, 0);
    }
    needed = hvtlfs_state_size(partition);
    if (size < needed) {
        return wrong(error, HVTLFS_ERR_FULL, "size", size, needed);
    }
    write_state(&writer, partition);
    *used = writer.at;
    return HVTLFS_OK;
}

/* ---- Reading: the walk ---- */

struct section {
    uint32_t tag;
    uint32_t flags;
    uint32_t vp_index;
    const uint8_t *body;
    uint32_t size;
};

struct field {
    uint32_t tag;
    bool optional;
    const uint8_t *data;
    uint32_t size;
};

struct reader {
    const uint8_t *bytes;
    size_t size;
    size_t at; /* next section */
    uint32_t version;
    struct hvtlfs_error *error;
};

/*
 * What every step of the walk relies on and keeps, for Frama-C (tests/proofs): the bytes can be read, a
 * section or field lies within them.
 */
/*@ predicate at_work{L}(struct reader *r) = \valid{L}(r) && \valid{L}(\at(r->error, L)) &&
        \separated(r, \at(r->error, L)) && \at(r->at, L) <= \at(r->size, L) <= PTRDIFF_MAX &&
        HEADER_SIZE <= \at(r->size, L) &&
        \valid_read{L}(\at(r->bytes, L) + (0 .. \at(r->size, L) - 1));
    predicate holds{L}(uint8_t *start, integer size) =
        \object_pointer{L}(start) && (size == 0 || \valid_read{L}(start + (0 .. size - 1))); */

/*@ requires \valid(reader) && \valid(reader->error) &&
             \object_pointer(reader->bytes) && \object_pointer(place);
    assigns *reader->error;
    ensures \result == HVTLFS_ERR_STATE_FORMAT; */
static enum hvtlfs_status damaged(struct reader *reader, const char *name, const uint8_t *place)
{
    return wrong(reader->error, HVTLFS_ERR_STATE_FORMAT, name,
                 place ? (uint64_t)(place - reader->bytes) : reader->at, 0);
}

/*@ requires \valid(reader) && \valid(reader->error) && \separated(reader, reader->error);
    requires size <= PTRDIFF_MAX && \valid_read((uint8_t *)state + (0 .. size - 1));
    assigns reader->bytes, reader->size, reader->at, reader->version, *reader->error;
    ensures \result == HVTLFS_OK ==> at_work(reader);
    ensures \result == HVTLFS_OK ==> reader->version >= 1; */
static enum hvtlfs_status read_header(struct reader *reader, const void *state, size_t size)
{
    reader->bytes = state;
    reader->size = size;
    reader->at = 0;
    if (size < HEADER_SIZE || memcmp(reader->bytes, magic, sizeof(magic)) != 0) {
        return damaged(reader, "header.magic", NULL);
    }
    if (get(reader->bytes + 8, 4) != BYTE_ORDER_MARK) {
        return damaged(reader, "header.byte_order", reader->bytes + 8);
    }
    reader->version = (uint32_t)get(reader->bytes + 12, 4);
    if (reader->version > HVTLFS_STATE_VERSION) {
        return wrong(reader->error, HVTLFS_ERR_STATE_VERSION, "header.version", reader->version,
                     HVTLFS_STATE_VERSION);
    }
    if (!reader->version) {
        return damaged(reader, "header.version", reader->bytes + 12);
    }
    if (get(reader->bytes + 16, 8) != size) {
        return damaged(reader, "header.size", reader->bytes + 16);
    }
    reader->at = HEADER_SIZE;
    return HVTLFS_OK;
}

/*@ requires at_work(reader);
    assigns *reader->error; */
static enum hvtlfs_status check_digest(struct reader *reader)
{
    return get(reader->bytes + 24, 8) ==
                   digest_of(reader->bytes + HEADER_SIZE, reader->size - HEADER_SIZE)
               ? HVTLFS_OK
               : damaged(reader, "header.digest", reader->bytes + 24);
}

/* The next section; `body` is NULL at the end. */
/*@ requires at_work(reader) && \valid(section) && \separated(section, reader, reader->error);
    assigns *section, reader->at, *reader->error;
    ensures reader->at <= reader->size;
    ensures \result == HVTLFS_OK && section->body != \null ==>
        section->size % 8 == 0 && holds(section->body, section->size);
    ensures \result == HVTLFS_OK && section->body != \null ==>
        reader->at >= \old(reader->at) + SECTION_SIZE; */
static enum hvtlfs_status next_section(struct reader *reader, struct section *section)
{
    const uint8_t *at = reader->bytes + reader->at;
    size_t left = reader->size - reader->at;
    uint32_t size;

    *section = (struct section){.body = NULL};
    if (!left) {
        return HVTLFS_OK;
    }
    if (left < SECTION_SIZE) {
        return damaged(reader, "section.size", NULL);
    }
    size = (uint32_t)get(at + 12, 4);
    if (size > left - SECTION_SIZE || size % 8) {
        return damaged(reader, "section.size", NULL);
    }
    *section = (struct section){.tag = (uint32_t)get(at, 4),
                                .flags = (uint32_t)get(at + 4, 4),
                                .vp_index = (uint32_t)get(at + 8, 4),
                                .body = at + SECTION_SIZE,
                                .size = size};
    if (section->flags & ~OPTIONAL) {
        return damaged(reader, "section.flags", at + 4);
    }
    reader->at += (size_t)SECTION_SIZE + size;
    return HVTLFS_OK;
}

/* Cut the next field off a section; `data` is NULL at the end. */
/*@ requires at_work(reader) && \valid(rest) && \valid(field);
    requires \separated(field, rest, reader, reader->error);
    requires rest->size % 8 == 0 && holds(rest->body, rest->size);
    assigns *field, rest->body, rest->size, *reader->error;
    ensures \result == HVTLFS_OK ==> rest->size % 8 == 0 && holds(rest->body, rest->size);
    ensures \result == HVTLFS_OK && field->data != \null ==>
        holds(field->data, field->size) && rest->size <= \old(rest->size) - FIELD_SIZE; */
static enum hvtlfs_status next_field(struct reader *reader, struct section *rest,
                                     struct field *field)
{
    uint32_t size, i;

    *field = (struct field){.data = NULL};
    if (!rest->size) {
        return HVTLFS_OK;
    }
    size = (uint32_t)get(rest->body + 4, 4); /* a section is a multiple of 8 bytes */
    *field = (struct field){.tag = (uint32_t)get(rest->body, 4),
                            .optional = size & OPTIONAL,
                            .data = rest->body + FIELD_SIZE,
                            .size = size & ~OPTIONAL};
    if (field->size > rest->size - FIELD_SIZE) {
        return damaged(reader, "field.size", rest->body + 4);
    }
    /*@ loop invariant field->size <= i <= field->size + 7;
        loop assigns i;
        loop variant field->size + 7 - i; */
    for (i = field->size; i < round_up(field->size); i++) {
        if (field->data[i]) {
            return damaged(reader, "field.padding", field->data + i);
        }
    }
    rest->body += FIELD_SIZE + round_up(field->size);
    rest->size -= FIELD_SIZE + round_up(field->size);
    return HVTLFS_OK;
}

/* ---- Loading ---- */

enum pass {
    PASS_CHECK, /* look at everything, change nothing */
    PASS_PAGES, /* the pages' bytes, and where the state's host had copied them, their places */
    PASS_PLACE, /* show the pages */
    PASS_UNDO,  /* copied pages go back into guest memory */
    PASS_SET,   /* the numbers */
};

struct load {
    struct reader reader;
    struct hvtlfs_partition *partition;
    enum pass pass;
    uint32_t position; /* the row that is next; see row_at() */
    uint32_t slot;     /* the lowest overlay that may come */
    uint32_t queues;   /* the lowest VP whose messages may come */
    uint32_t messages; /* so far */
    bool has_features, has_vps, has_copy;
    bool copied; /* the state's host exchanged bytes */

    /* What belongs together */
    uint64_t guest_os_id;
    uint64_t hypercall;
    uint64_t hypercall_gpa;
    uint64_t emulating;
    uint64_t known_hz;
    uint64_t real_hz;
    uint64_t started_invariant;
};

/* Rows stand in this order: CONF, the partition's, the first VP's, the second VP's... */
static uint32_t count_scope(enum scope scope)
{
    uint32_t count = 0;
    size_t i;

    for (i = 0; i < ARRAY_LEN(rows); i++) {
        count += rows[i].scope == scope;
    }
    return count;
}

static uint32_t rows_before_vps(void)
{
    return (uint32_t)ARRAY_LEN(rows) - count_scope(SCOPE_VP);
}

static const struct row *row_at(uint32_t position)
{
    uint32_t before = rows_before_vps();
    uint32_t each = count_scope(SCOPE_VP);

    return position < before ? &rows[position] : &rows[before + (position - before) % each];
}

static uint32_t position_of(const struct row *row, uint32_t vp_slot)
{
    uint32_t number = (uint32_t)(row - rows);

    return row->scope == SCOPE_VP ? number + vp_slot * count_scope(SCOPE_VP) : number;
}

/* Go on to a row; those in between must be newer than the file. */
static enum hvtlfs_status go_to(struct load *load, uint32_t position, const uint8_t *place)
{
    if (position < load->position) {
        return damaged(&load->reader, "order of fields", place);
    }
    for (; load->position < position; load->position++) {
        const struct row *row = row_at(load->position);

        if (row->since <= load->reader.version) {
            return damaged(&load->reader, row->name, place);
        }
    }
    return HVTLFS_OK;
}

static uint32_t end_of_rows(const struct hvtlfs_partition *partition)
{
    return rows_before_vps() + partition->vp_count * count_scope(SCOPE_VP);
}

static enum hvtlfs_status incompatible(struct load *load, const char *name, uint64_t value,
                                       uint64_t limit)
{
    return wrong(load->reader.error, HVTLFS_ERR_STATE_INCOMPATIBLE, name, value, limit);
}

/* ---- Numbers ---- */

static const struct {
    size_t member; /* of struct hvtlfs_partition */
    size_t note;   /* of struct load */
} notes[] = {
    {offsetof(struct hvtlfs_partition, identity.guest_os_id), offsetof(struct load, guest_os_id)},
    {offsetof(struct hvtlfs_partition, identity.hypercall), offsetof(struct load, hypercall)},
    {offsetof(struct hvtlfs_partition, reenlighten.in_progress), offsetof(struct load, emulating)},
    {offsetof(struct hvtlfs_partition, reenlighten.known_hz), offsetof(struct load, known_hz)},
    {offsetof(struct hvtlfs_partition, reenlighten.real_hz), offsetof(struct load, real_hz)},
    {offsetof(struct hvtlfs_partition, clock.started_invariant),
     offsetof(struct load, started_invariant)},
};

static void take_note(struct load *load, const struct row *row, uint64_t value)
{
    size_t i;

    for (i = 0; i < ARRAY_LEN(notes) && row->scope == SCOPE_PARTITION; i++) {
        if (notes[i].member == row->offset) {
            memcpy((uint8_t *)load + notes[i].note, &value, sizeof(value));
        }
    }
}

static bool check_value(const struct load *load, const struct row *row, uint64_t value)
{
    const struct hvtlfs_partition *partition = load->partition;

    if (value && row->feature < HVTLFS_FEATURE_COUNT &&
        !hvti_has(partition, (enum hvtlfs_feature)row->feature)) {
        return false;
    }
    switch (row->check) {
    case CHECK_BOOL:
        return value <= 1;
    case CHECK_HYPERCALL:
        return !(value & HV_MSR_HYPERCALL_ENABLE) || page_of(value) < partition->gpa_limit;
    case CHECK_REENLIGHTENMENT:
        return hvti_reenlightenment_is_good(partition, value);
    case CHECK_LAZY:
        return hvti_lazy_eoi_is_good(partition, value);
    case CHECK_NPIEP:
        return !(value & HV_MSR_NPIEP_CONFIG_RSVD_MASK);
    case CHECK_UNHALTED:
        return hvti_unhalted_is_good(value);
    case CHECK_SINT:
        return hvti_sint_is_good(value);
    case CHECK_STIMER:
        return hvti_stimer_is_good(partition, value);
    case CHECK_ANY:
    default:
        return true;
    }
}

static void *base_of(struct load *load, const struct row *row, uint32_t vp_slot)
{
    return row->scope == SCOPE_VP ? (void *)&load->partition->vps[vp_slot] : load->partition;
}

/* One number of a row: check it, compare it or set it. */
static enum hvtlfs_status load_number(struct load *load, const struct row *row, void *member,
                                      const uint8_t *data)
{
    uint64_t value = get(data, row->width);

    if (load->pass == PASS_SET && row->scope >= SCOPE_PARTITION) {
        set_number(member, row->width, value);
    }
    if (load->pass != PASS_CHECK) {
        return HVTLFS_OK;
    }
    take_note(load, row, value);
    if (!check_value(load, row, value)) {
        return damaged(&load->reader, row->name, data);
    }
    return row->scope <= SCOPE_SAME && value != number_at(member, row->width)
               ? incompatible(load, row->name, value, number_at(member, row->width))
               : HVTLFS_OK;
}

static enum hvtlfs_status load_row(struct load *load, const struct row *row, uint32_t vp_slot,
                                   const struct field *field)
{
    uint8_t *member = (uint8_t *)base_of(load, row, vp_slot) + row->offset;
    enum hvtlfs_status status = go_to(load, position_of(row, vp_slot), field->data);
    uint32_t i;

    if (!status && field->size != row->size) {
        status = damaged(&load->reader, row->name, field->data);
    }
    for (i = 0; !status && i < row->size; i += row->width) {
        status = load_number(load, row, member + i, field->data + i);
    }
    load->position++;
    return status;
}

static const struct row *find_row(uint32_t section, uint32_t tag)
{
    size_t i;

    for (i = 0; i < ARRAY_LEN(rows); i++) {
        if (tag_of(rows[i].section) == section && (!tag || tag_of(rows[i].tag) == tag)) {
            return &rows[i];
        }
    }
    return NULL;
}

static enum hvtlfs_status unknown_field(struct load *load, const struct field *field)
{
    return field->optional ? HVTLFS_OK : damaged(&load->reader, "unknown field", field->data);
}

static enum hvtlfs_status load_rows(struct load *load, struct section section)
{
    const struct row *first = find_row(section.tag, 0);
    struct hvtlfs_vp *vp = hvti_vp_by_index(load->partition, section.vp_index);
    bool of_vp = first->scope == SCOPE_VP;
    enum hvtlfs_status status;
    struct field field;

    if (of_vp ? !vp : section.vp_index != HVTLFS_NO_VP) {
        return damaged(&load->reader, "section.vp_index", section.body - SECTION_SIZE);
    }
    for (;;) {
        const struct row *row;

        status = next_field(&load->reader, &section, &field);
        if (status || !field.data) {
            return status;
        }
        row = find_row(section.tag, field.tag);
        status =
            row ? load_row(load, row, of_vp ? vp->slot : 0, &field) : unknown_field(load, &field);
        if (status) {
            return status;
        }
    }
}

/* ---- CONF ---- */

static enum hvtlfs_feature feature_named(struct slice name)
{
    uint32_t i;

    for (i = 0; i < HVTLFS_FEATURE_COUNT; i++) {
        if (slice_is(name, hvti_feature_rows[i].name)) {
            break;
        }
    }
    return (enum hvtlfs_feature)i;
}

/* The features of a list; false at the first name that this version does not have. */
static bool features_named(const struct field *field, uint64_t *features)
{
    struct slice rest = {(const char *)field->data, field->size};

    *features = 0;
    while (rest.size) {
        enum hvtlfs_feature feature = feature_named(slice_cut(&rest, ','));

        if (feature == HVTLFS_FEATURE_COUNT) {
            return false;
        }
        *features |= BIT64(feature);
    }
    return true;
}

static enum hvtlfs_status load_features(struct load *load, const struct field *field)
{
    uint64_t features, differ;

    load->has_features = true;
    if (!features_named(field, &features)) {
        return incompatible(load, "features: one that this version does not have", 0, 0);
    }
    differ = features ^ load->partition->features;
    if (differ) {
        enum hvtlfs_feature feature = (enum hvtlfs_feature)lowest_bit(differ);
        bool lacking = hvti_mask_has(features, feature);

        (void)incompatible(load,
                           lacking ? "features: the state has one that this partition lacks"
                                   : "features: this partition has one that the state lacks",
                           0, 0);
        load->reader.error->feature = feature;
        return HVTLFS_ERR_STATE_INCOMPATIBLE;
    }
    return HVTLFS_OK;
}

static enum hvtlfs_status load_vps(struct load *load, const struct field *field)
{
    const struct hvtlfs_partition *partition = load->partition;
    uint32_t slot;

    load->has_vps = true;
    if (field->size % 8) {
        return damaged(&load->reader, "CONF.VPS", field->data);
    }
    if (field->size / 8 != partition->vp_count) {
        return incompatible(load, "vp_count", field->size / 8, partition->vp_count);
    }
    for (slot = 0; slot < partition->vp_count; slot++) {
        const uint8_t *entry = field->data + (size_t)8 * slot;

        if (get(entry, 4) != partition->vps[slot].index) {
            return incompatible(load, "vp_index", get(entry, 4), partition->vps[slot].index);
        }
        if (get(entry + 4, 4) != partition->vps[slot].apic_id) {
            return incompatible(load, "apic_id", get(entry + 4, 4), partition->vps[slot].apic_id);
        }
    }
    return HVTLFS_OK;
}

static enum hvtlfs_status load_copied(struct load *load, const struct field *field)
{
    load->has_copy = true;
    if (field->size != 4 || get(field->data, 4) > 1) {
        return damaged(&load->reader, "CONF.COPY", field->data);
    }
    load->copied = get(field->data, 4);
    return HVTLFS_OK;
}

static enum hvtlfs_status load_config_field(struct load *load, const struct field *field)
{
    const struct row *row = find_row(tag_of("CONF"), field->tag);

    if (field->tag == tag_of("FEAT") && !load->has_features) {
        return load_features(load, field);
    }
    if (field->tag == tag_of("VPS ") && !load->has_vps) {
        return load_vps(load, field);
    }
    if (field->tag == tag_of("COPY") && !load->has_copy) {
        return load_copied(load, field);
    }
    return row ? load_row(load, row, 0, field) : unknown_field(load, field);
}

static enum hvtlfs_status load_config(struct load *load, struct section section)
{
    enum hvtlfs_status status;
    struct field field;

    if (load->position || section.vp_index != HVTLFS_NO_VP) {
        return damaged(&load->reader, "order of sections", section.body - SECTION_SIZE);
    }
    do {
        status = next_field(&load->reader, &section, &field);
        if (!status && field.data) {
            status = load_config_field(load, &field);
        }
    } while (!status && field.data);
    if (!status && !(load->has_features && load->has_vps && load->has_copy)) {
        status = damaged(&load->reader, "CONF.FEAT, VPS or COPY", section.body);
    }
    return status;
}

/* ---- OVLY ---- */

struct page {
    uint32_t kind;
    uint32_t slot;
    uint64_t gpa;
    const uint8_t *bytes; /* NULL: all zero */
};

static enum hvtlfs_status page_field(struct load *load, const struct field *field,
                                     struct page *page)
{
    if (field->tag == tag_of("KIND") && field->size == 4) {
        page->kind = (uint32_t)get(field->data, 4);
    } else if (field->tag == tag_of("GPA ") && field->size == 8) {
        page->gpa = get(field->data, 8);
    } else if (field->tag == tag_of("PAGE") && field->size == HVTLFS_PAGE_SIZE) {
        page->bytes = field->data;
    } else {
        return unknown_field(load, field);
    }
    return HVTLFS_OK;
}

static enum hvtlfs_status find_slot(struct load *load, const struct section *section,
                                    struct page *page)
{
    const struct hvti_overlays *overlays = &load->partition->overlays;
    const struct hvtlfs_vp *vp = hvti_vp_by_index(load->partition, section->vp_index);
    bool whole = section->vp_index == HVTLFS_NO_VP;

    if (page->kind >= HVTLFS_OVERLAY_KINDS || (!whole && !vp) ||
        whole != !(overlays->vp_kinds & BIT32(page->kind))) {
        return damaged(&load->reader, "OVLY.KIND", section->body);
    }
    page->slot =
        hvti_overlay_slot(overlays, (enum hvtlfs_overlay_kind)page->kind, whole ? 0 : vp->slot);
    if (page->slot == HVTI_NO_SLOT || page->slot < load->slot) {
        return damaged(&load->reader, "OVLY.KIND", section->body);
    }
    load->slot = page->slot + 1;
    return HVTLFS_OK;
}

static enum hvtlfs_status check_page(struct load *load, const struct section *section,
                                     const struct page *page)
{
    const struct hvtlfs_partition *partition = load->partition;

    if (page->gpa == HVTI_NOWHERE) {
        return HVTLFS_OK;
    }
    if ((page->gpa & PAGE_MASK) || page->gpa >= partition->gpa_limit) {
        return damaged(&load->reader, "OVLY.GPA", section->body);
    }
    if (page->kind == HVTLFS_OVERLAY_HYPERCALL) {
        load->hypercall_gpa = page->gpa;
    }
    return hvti_host_maps_overlays(&partition->host) ||
                   hvti_host_gpa_is_ram(&partition->host, page->gpa)
               ? HVTLFS_OK
               : wrong(load->reader.error, HVTLFS_ERR_HOST, "OVLY.GPA", page->gpa, 0);
}

static void set_page(struct load *load, const struct page *page)
{
    uint8_t *bytes = hvti_overlay_bytes(load->partition, page->slot);

    if (page->bytes) {
        memcpy(bytes, page->bytes, HVTLFS_PAGE_SIZE);
    } else {
        memset(bytes, 0, HVTLFS_PAGE_SIZE);
    }
    if (load->copied) {
        load->partition->overlays.gpa[page->slot] = page->gpa;
    }
}

static enum hvtlfs_status do_page(struct load *load, const struct section *section,
                                  const struct page *page)
{
    switch (load->pass) {
    case PASS_CHECK:
        return check_page(load, section, page);
    case PASS_PAGES:
        set_page(load, page);
        return HVTLFS_OK;
    case PASS_PLACE:
        return hvti_overlay_move(load->partition, page->slot, page->gpa)
                   ? HVTLFS_OK
                   : wrong(load->reader.error, HVTLFS_ERR_HOST, "OVLY.GPA", page->gpa, 0);
    case PASS_UNDO:
        if (page->gpa != HVTI_NOWHERE && load->copied &&
            load->partition->overlays.gpa[page->slot] == HVTI_NOWHERE) {
            (void)hvti_overlay_copy_in(load->partition, page->slot, page->gpa);
        }
        return HVTLFS_OK;
    case PASS_SET:
    default:
        return HVTLFS_OK;
    }
}

static enum hvtlfs_status load_page(struct load *load, struct section section)
{
    const struct section whole = section;
    struct page page = {.kind = HVTLFS_OVERLAY_KINDS, .gpa = HVTI_NOWHERE};
    enum hvtlfs_status status;
    struct field field;

    do {
        status = next_field(&load->reader, &section, &field);
        if (!status && field.data) {
            status = page_field(load, &field, &page);
        }
    } while (!status && field.data);
    if (!status) {
        status = find_slot(load, &whole, &page);
    }
    return status ? status : do_page(load, &whole, &page);
}

/* ---- SMSG ---- */

static bool message_is_good(struct load *load, const struct field *field, uint32_t *timers)
{
    uint32_t timer = field->size >= ITEM_SIZE ? field->data[1] : 0;
    bool is_message = field->size == ITEM_SIZE + HV_MESSAGE_SIZE;
    uint32_t first = field->size >= ITEM_SIZE ? BIT32(16 + (field->data[0] & 15)) : 0;
    struct hv_message_header header;

    if ((!is_message && field->size != ITEM_SIZE) || field->data[0] >= HV_SYNIC_SINT_COUNT ||
        field->data[2] || field->data[3] || is_message != !timer ||
        timer > HV_SYNIC_STIMER_COUNT || (timer && (*timers & BIT32(timer)))) {
        return false;
    }
    *timers |= timer ? BIT32(timer) : 0;
    if (!is_message) {
        return true;
    }
    /* The first message of a SINT has a buffer of the SINT's own. */
    if (field->data[0] >= load->partition->messages.own_sints || (*timers & first)) {
        load->messages++;
    }
    *timers |= first;
    memcpy(&header, field->data + ITEM_SIZE, sizeof(header));
    return header.message_type && header.payload_size <= HV_MESSAGE_SIZE - sizeof(header);
}

static enum hvtlfs_status check_message(struct load *load, const struct field *field,
                                        uint32_t *timers)
{
    uint32_t room = load->partition->messages.unreserved;

    if (!message_is_good(load, field, timers)) {
        return damaged(&load->reader, "SMSG.ITEM", field->data);
    }
    return load->messages <= room
               ? HVTLFS_OK
               : incompatible(load, "message_buffers: too few for the messages that wait",
                              load->messages, room);
}

static enum hvtlfs_status load_message(struct load *load, struct hvtlfs_vp *vp,
                                       const struct field *field, uint32_t *timers)
{
    struct hv_message message;

    if (field->tag != tag_of("ITEM")) {
        return unknown_field(load, field);
    }
    if (load->pass == PASS_CHECK) {
        return check_message(load, field, timers);
    }
    if (load->pass == PASS_SET) {
        if (field->size > ITEM_SIZE) {
            memcpy(&message, field->data + ITEM_SIZE, sizeof(message));
        }
        (void)hvti_synic_restore(vp, field->data[0], field->data[1], &message);
    }
    return HVTLFS_OK;
}

static enum hvtlfs_status load_messages(struct load *load, struct section section)
{
    struct hvtlfs_vp *vp = hvti_vp_by_index(load->partition, section.vp_index);
    uint32_t timers = 0;
    enum hvtlfs_status status;
    struct field field;

    if (!vp || vp->slot < load->queues || !hvti_has(load->partition, HVTLFS_FEATURE_SYNIC)) {
        return damaged(&load->reader, "section.vp_index", section.body - SECTION_SIZE);
    }
    load->queues = vp->slot + 1;
    /* All rows come first: what waits must fit the registers. */
    status = go_to(load, end_of_rows(load->partition), section.body);
    while (!status) {
        status = next_field(&load->reader, &section, &field);
        if (status || !field.data) {
            break;
        }
        status = load_message(load, vp, &field, &timers);
    }
    return status;
}

/* ---- The whole ---- */

static enum hvtlfs_status load_section(struct load *load, const struct section *section)
{
    if (section->tag == tag_of("CONF")) {
        return load_config(load, *section);
    }
    if (!load->has_features) {
        return damaged(&load->reader, "order of sections", section->body - SECTION_SIZE);
    }
    if (section->tag == tag_of("OVLY")) {
        return load_page(load, *section);
    }
    if (section->tag == tag_of("SMSG") && !load->slot) {
        return load_messages(load, *section);
    }
    if (find_row(section->tag, 0)) {
        return load->slot
                   ? damaged(&load->reader, "order of sections", section->body - SECTION_SIZE)
                   : load_rows(load, *section);
    }
    return section->flags & OPTIONAL
               ? HVTLFS_OK
               : damaged(&load->reader, "unknown section", section->body - SECTION_SIZE);
}

static enum hvtlfs_status walk(struct load *load, enum pass pass)
{
    enum hvtlfs_status status = HVTLFS_OK;
    struct section section;

    load->pass = pass;
    load->position = 0;
    load->slot = 0;
    load->queues = 0;
    load->messages = 0;
    load->has_features = load->has_vps = load->has_copy = false;
    load->reader.at = HEADER_SIZE;
    do {
        status = next_section(&load->reader, &section);
        if (!status && section.body) {
            status = load_section(load, &section);
        }
    } while (!status && section.body);
    return status ? status : go_to(load, end_of_rows(load->partition), NULL);
}

/* What no row can see alone. */
static enum hvtlfs_status check_whole(struct load *load)
{
    const struct hvtlfs_partition *partition = load->partition;
    bool enabled = load->hypercall & HV_MSR_HYPERCALL_ENABLE;

    if (enabled ? !load->guest_os_id || load->hypercall_gpa != page_of(load->hypercall)
                : load->hypercall_gpa != HVTI_NOWHERE) {
        return damaged(&load->reader, "identity.hypercall", NULL);
    }
    if (load->emulating && (!load->known_hz || !load->real_hz)) {
        return damaged(&load->reader, "reenlighten.known_hz", NULL);
    }
    if (hvti_has(partition, HVTLFS_FEATURE_TIME_REF_COUNT) && !load->started_invariant &&
        !(hvti_host_needs_met(&partition->host) & BIT32(HVTI_NEED_CLOCK))) {
        return incompatible(load, "clock.started_invariant", 0, 0);
    }
    return HVTLFS_OK;
}

static enum hvtlfs_status check_state(struct load *load, const void *state, size_t size)
{
    enum hvtlfs_status status = read_header(&load->reader, state, size);

    load->hypercall_gpa = HVTI_NOWHERE;
    if (!status) {
        status = check_digest(&load->reader);
    }
    if (!status) {
        status = walk(load, PASS_CHECK);
    }
    return status ? status : check_whole(load);
}

static bool is_fresh(const struct hvtlfs_partition *partition)
{
    uint32_t slot;

    for (slot = 0; slot < partition->overlays.slot_count; slot++) {
        if (partition->overlays.gpa[slot] != HVTI_NOWHERE) {
            return false;
        }
    }
    return !partition->identity.guest_os_id && !partition->identity.hypercall &&
           !partition->tsc_page.msr;
}

static void clear_pages(struct hvtlfs_partition *partition)
{
    struct hvti_overlays *overlays = &partition->overlays;
    uint32_t slot;

    for (slot = 0; slot < overlays->slot_count; slot++) {
        overlays->gpa[slot] = HVTI_NOWHERE;
        memset(hvti_overlay_bytes(partition, slot), 0, HVTLFS_PAGE_SIZE);
    }
}

/* A state of a host that copies, on a host that maps: exchange once more, and the content is here. */
static bool take_copies(struct hvtlfs_partition *partition)
{
    uint32_t slot;

    for (slot = 0; slot < partition->overlays.slot_count; slot++) {
        if (partition->overlays.gpa[slot] != HVTI_NOWHERE &&
            !hvti_overlay_copy_out(partition, slot)) {
            return false;
        }
    }
    return true;
}

static void take_down(struct hvtlfs_partition *partition)
{
    uint32_t slot;

    for (slot = 0; slot < partition->overlays.slot_count; slot++) {
        (void)hvti_overlay_move(partition, slot, HVTI_NOWHERE);
    }
}

/* The pages, shown as they were; nothing has changed if that fails. */
static enum hvtlfs_status load_pages(struct load *load)
{
    struct hvtlfs_partition *partition = load->partition;
    bool maps = hvti_host_maps_overlays(&partition->host);
    enum hvtlfs_status status;

    (void)walk(load, PASS_PAGES);
    if (load->copied && !maps) {
        return HVTLFS_OK; /* guest memory has the content already */
    }
    if (load->copied && !take_copies(partition)) {
        status = wrong(load->reader.error, HVTLFS_ERR_HOST, "guest memory", 0, 0);
    } else {
        status = walk(load, PASS_PLACE);
        if (!status) {
            return HVTLFS_OK;
        }
        take_down(partition);
    }
    {
        struct hvtlfs_error kept = *load->reader.error;

        (void)walk(load, PASS_UNDO);
        *load->reader.error = kept;
    }
    clear_pages(partition);
    return status;
}

/* The numbers, and what follows from them. Nothing can fail any more. */
static void load_numbers(struct load *load)
{
    struct hvtlfs_partition *partition = load->partition;
    uint64_t tsc_hz = partition->clock.tsc_hz;
    uint32_t invariant_tsc = partition->clock.invariant_tsc;

    uint32_t slot;

    (void)walk(load, PASS_SET);
    hvti_clock_restored(partition, tsc_hz, invariant_tsc);
    for (slot = 0; slot < partition->vp_count; slot++) {
        hvti_synic_restored(&partition->vps[slot]);
    }
    hvti_tlb_restored(partition);
}

/* What the host does for the guest on its behalf, it has to do here too. Without the lock. */
static void tell_host(struct hvtlfs_partition *partition)
{
    uint32_t slot;

    for (slot = 0; slot < partition->vp_count; slot++) {
        hvti_requests_restored(&partition->vps[slot]);
        hvti_stats_restored(&partition->vps[slot]);
    }
}

enum hvtlfs_status hvtlfs_state_load(struct hvtlfs_partition *partition, const void *state,
                                     size_t size, struct hvtlfs_error *error)
{
    struct hvtlfs_error ignored = {.status = HVTLFS_OK};
    struct load load = {.reader = {.error = error ? error : &ignored}, .partition = partition};
    enum hvtlfs_status status;

    if (!partition || !state) {
        return wrong(load.reader.error, HVTLFS_ERR_ARGUMENT, partition ? "state" : "partition", 0,
                     0);
    }
    hvti_lock(partition);
    status = is_fresh(partition)
                 ? check_state(&load, state, size)
                 : wrong(load.reader.error, HVTLFS_ERR_ORDER, "the partition has been used", 0, 0);
    if (!status) {
        status = load_pages(&load);
    }
    if (!status) {
        load_numbers(&load);
    }
    hvti_unlock(partition);
    if (!status) {
        tell_host(partition);
    }
    return status;
}

/* ---- The configuration of a state ---- */

static void config_from_row(struct hvtlfs_config *config, const struct row *row,
                            const struct field *field)
{
    uint8_t *member = (uint8_t *)config + row->config;
    uint32_t i;

    for (i = 0; i < row->size; i += row->width) {
        set_number(member + i, row->width, get(field->data + i, row->width));
    }
}

static uint32_t bits_of(uint64_t limit)
{
    return limit ? lowest_bit(limit) : 0;
}

struct wanted {
    struct reader reader;
    struct hvtlfs_config config;
    struct hvtlfs_vp_config *vps;
    size_t capacity;
};

static enum hvtlfs_status want_vps(struct wanted *wanted, const struct field *field)
{
    uint32_t count = field->size / 8;
    uint32_t i;

    if (!count || field->size % 8) {
        return damaged(&wanted->reader, "CONF.VPS", field->data);
    }
    if (count > wanted->capacity) {
        return wrong(wanted->reader.error, HVTLFS_ERR_FULL, "vp_capacity", wanted->capacity, count);
    }
    for (i = 0; i < count; i++) {
        wanted->vps[i].vp_index = (uint32_t)get(field->data + (size_t)8 * i, 4);
        wanted->vps[i].apic_id = (uint32_t)get(field->data + (size_t)8 * i + 4, 4);
    }
    wanted->config.vp_count = count;
    wanted->config.vps = wanted->vps;
    return HVTLFS_OK;
}

static enum hvtlfs_status want_row(struct wanted *wanted, uint32_t section,
                                   const struct field *field)
{
    const struct row *row = find_row(section, field->tag);

    if (!row || field->size != row->size) {
        return row ? damaged(&wanted->reader, row->name, field->data) : HVTLFS_OK;
    }
    if (row->config_size) {
        config_from_row(&wanted->config, row, field);
    } else if (row->offset == offsetof(struct hvtlfs_partition, gpa_limit)) {
        wanted->config.gpa_bits = bits_of(get(field->data, row->width));
    } else if (row->offset == offsetof(struct hvtlfs_partition, clock.apic_hz)) {
        wanted->config.apic_hz = get(field->data, row->width);
    }
    return HVTLFS_OK;
}

static enum hvtlfs_status want_field(struct wanted *wanted, uint32_t section,
                                     const struct field *field)
{
    if (section == tag_of("CONF") && field->tag == tag_of("FEAT")) {
        return features_named(field, &wanted->config.features.word[0])
                   ? HVTLFS_OK
                   : wrong(wanted->reader.error, HVTLFS_ERR_UNKNOWN_FEATURE, "CONF.FEAT", 0, 0);
    }
    if (section == tag_of("CONF") && field->tag == tag_of("VPS ")) {
        return want_vps(wanted, field);
    }
    return want_row(wanted, section, field);
}

static enum hvtlfs_status want_section(struct wanted *wanted, struct section *section)
{
    uint32_t tag = section->tag;
    struct field field;
    enum hvtlfs_status status;

    do {
        status = next_field(&wanted->reader, section, &field);
        if (!status && field.data) {
            status = want_field(wanted, tag, &field);
        }
    } while (!status && field.data);
    return status;
}

/* CONF comes first; of the others, CLCK has a rate that the guest was told. */
static enum hvtlfs_status want_config(struct wanted *wanted)
{
    struct section section;
    enum hvtlfs_status status = next_section(&wanted->reader, &section);

    if (!status && (!section.body || section.tag != tag_of("CONF"))) {
        return damaged(&wanted->reader, "order of sections", NULL);
    }
    while (!status && section.body) {
        if (section.tag == tag_of("CONF") || section.tag == tag_of("CLCK")) {
            status = want_section(wanted, &section);
        }
        if (!status) {
            status = next_section(&wanted->reader, &section);
        }
    }
    return status;
}

enum hvtlfs_status hvtlfs_state_config(const void *state, size_t size, struct hvtlfs_config *config,
                                       struct hvtlfs_vp_config *vps, size_t vp_capacity,
                                       struct hvtlfs_error *error)
{
    struct hvtlfs_error ignored = {.status = HVTLFS_OK};
    struct wanted wanted = {
        .reader = {.error = error ? error : &ignored}, .vps = vps, .capacity = vp_capacity};
    enum hvtlfs_status status;

    if (!state || !config || !vps || config->size < sizeof(*config)) {
        return wrong(wanted.reader.error, HVTLFS_ERR_ARGUMENT, "state, config or vps", 0, 0);
    }
    wanted.config = *config;
    status = read_header(&wanted.reader, state, size);
    if (!status) {
        status = check_digest(&wanted.reader);
    }
    if (!status) {
        status = want_config(&wanted);
    }
    if (!status) {
        *config = wanted.config;
    }
    return status;
}

/* ---- Can it run here? ---- */

static void count_finding(struct hvtlfs_check_result *result, const struct hvtlfs_finding *finding)
{
    result->notes += finding->severity == HVTLFS_SEVERITY_NOTE;
    result->warnings += finding->severity == HVTLFS_SEVERITY_WARNING;
    result->errors += finding->severity == HVTLFS_SEVERITY_ERROR;
}

struct judge {
    hvtlfs_finding_function *found;
    void *context;
    struct hvtlfs_check_result result;
};

static void judge(struct judge *judge, enum hvtlfs_severity severity, const char *code,
                  const char *sentence, const char *detail, uint32_t feature)
{
    const struct hvtlfs_finding finding = {.code = code,
                                           .severity = severity,
                                           .guests = HVTLFS_GUEST_ALL,
                                           .feature = (enum hvtlfs_feature)feature,
                                           .other = HVTLFS_FEATURE_COUNT,
                                           .sentence = sentence,
                                           .source = "docs/STATE.md",
                                           .detail = detail};

    count_finding(&judge->result, &finding);
    if (judge->found) {
        judge->found(judge->context, &finding);
    }
}

/* The numbers of CLCK and REEN that the answer depends on. */
struct saved_time {
    uint64_t tsc_hz;
    uint64_t invariant_tsc;
    uint64_t started_invariant;
    uint64_t page;
    uint64_t reenlightenment;
};

static void find_saved_time(void *context, const struct hvtlfs_state_field *field)
{
    static const struct {
        size_t member;
        size_t saved;
    } wanted[] = {
        {offsetof(struct hvtlfs_partition, clock.tsc_hz), offsetof(struct saved_time, tsc_hz)},
        {offsetof(struct hvtlfs_partition, clock.invariant_tsc),
         offsetof(struct saved_time, invariant_tsc)},
        {offsetof(struct hvtlfs_partition, clock.started_invariant),
         offsetof(struct saved_time, started_invariant)},
        {offsetof(struct hvtlfs_partition, tsc_page.msr), offsetof(struct saved_time, page)},
        {offsetof(struct hvtlfs_partition, reenlighten.control),
         offsetof(struct saved_time, reenlightenment)},
    };
    const struct row *row = find_row(tag_of(field->section), tag_of(field->tag));
    size_t i;

    for (i = 0; i < ARRAY_LEN(wanted) && row && row->scope == SCOPE_PARTITION; i++) {
        if (row->offset == wanted[i].member && field->size == row->width) {
            uint64_t value = get(field->data, row->width);

            memcpy((uint8_t *)context + wanted[i].saved, &value, sizeof(value));
        }
    }
}

static void judge_time(struct judge *verdict, const struct hvtlfs_partition *partition,
                       const struct saved_time *saved)
{
    const struct hvti_clock *clock = &partition->clock;
    bool uses_page = saved->page & HV_MSR_REFERENCE_TSC_ENABLE;

    if (uses_page && saved->invariant_tsc && !clock->invariant_tsc) {
        judge(verdict, HVTLFS_SEVERITY_WARNING, "state-page-lost",
              "this host's TSC is not invariant: the guest's TSC page becomes invalid, and each "
              "reading of time is an exit",
              NULL, HVTLFS_FEATURE_REFERENCE_TSC);
    }
    if (uses_page && !saved->started_invariant && clock->invariant_tsc) {
        judge(verdict, HVTLFS_SEVERITY_NOTE, "state-page-stays-off",
              "the guest began life without an invariant TSC and does not pick it up here", NULL,
              HVTLFS_FEATURE_REFERENCE_TSC);
    }
    if (saved->tsc_hz == clock->tsc_hz) {
        return;
    }
    if (saved->reenlightenment & HV_MSR_REENLIGHTENMENT_CONTROL_ENABLED) {
        judge(verdict, HVTLFS_SEVERITY_NOTE, "state-tsc-rate",
              "the TSC rate is another; the guest gets its reenlightenment interrupt", NULL,
              HVTLFS_FEATURE_REENLIGHTENMENT);
    } else {
        judge(
            verdict, HVTLFS_SEVERITY_WARNING, "state-tsc-rate",
            "the TSC rate is another, and a guest that uses RDTSC by itself does not learn of it: "
            "scale its TSC to the old rate, or choose a host with that rate",
            NULL, HVTLFS_FEATURE_COUNT);
    }
}

struct hvtlfs_check_result hvtlfs_state_check(const struct hvtlfs_partition *partition,
                                              const void *state, size_t size,
                                              hvtlfs_finding_function *found, void *context)
{
    struct judge verdict = {found, context, {0, 0, 0}};
    struct hvtlfs_error error = {.feature = HVTLFS_FEATURE_COUNT};
    /* PASS_CHECK does not write to the partition. */
    struct load load = {.reader = {.error = &error},
                        .partition = (struct hvtlfs_partition *)(uintptr_t)partition};
    struct saved_time saved = {0, 0, 0, 0, 0};
    enum hvtlfs_status status = check_state(&load, state, size);

    if (status) {
        judge(&verdict, HVTLFS_SEVERITY_ERROR, "state-refused", hvtlfs_strerror(status), error.name,
              error.feature);
        return verdict.result;
    }
    (void)hvtlfs_state_visit(state, size, find_saved_time, &saved, &error);
    judge_time(&verdict, partition, &saved);
    return verdict.result;
}

/* ---- For those who print one ---- */

static void tag_text(char text[5], uint32_t tag)
{
    uint32_t i;

    for (i = 0; i < 4; i++) {
        uint8_t c = (uint8_t)(tag >> 8 * i);

        text[i] = c > 32 && c < 127 ? (char)c : ' ';
    }
    text[4] = '\0';
}

static const char *plain_name(uint32_t section, uint32_t tag, uint32_t *width)
{
    static const struct {
        const char *section;
        const char *tag;
        uint8_t width;
        const char *name;
    } plain[] = {
        {"CONF", "FEAT", 0, "features"},
        {"CONF", "VPS ", 4, "vps: index and APIC ID of each"},
        {"CONF", "COPY", 4, "overlays are copied"},
        {"OVLY", "KIND", 4, "overlay.kind"},
        {"SMSG", "ITEM", 0, "synic.message"},
        {"OVLY", "GPA ", 8, "overlay.gpa"},
        {"OVLY", "PAGE", 0, "overlay.page"},
    };
    const struct row *row = find_row(section, tag);
    size_t i;

    for (i = 0; i < ARRAY_LEN(plain); i++) {
        if (tag_of(plain[i].section) == section && tag_of(plain[i].tag) == tag) {
            *width = plain[i].width;
            return plain[i].name;
        }
    }
    *width = row ? row->width : 0;
    return row ? row->name : NULL;
}

static enum hvtlfs_status visit_section(struct reader *reader, struct section section,
                                        hvtlfs_state_visitor *visit, void *context)
{
    struct hvtlfs_state_field out = {.vp_index = section.vp_index};
    uint32_t tag = section.tag;
    enum hvtlfs_status status;
    struct field field;

    tag_text(out.section, tag);
    for (;;) {
        status = next_field(reader, &section, &field);
        if (status || !field.data) {
            return status;
        }
        tag_text(out.tag, field.tag);
        out.name = plain_name(tag, field.tag, &out.width);
        out.data = field.data;
        out.size = field.size;
        visit(context, &out);
    }
}

enum hvtlfs_status hvtlfs_state_visit(const void *state, size_t size, hvtlfs_state_visitor *visit,
                                      void *context, struct hvtlfs_error *error)
{
    struct hvtlfs_error ignored = {.status = HVTLFS_OK};
    struct reader reader = {.error = error ? error : &ignored};
    struct section section = {.body = NULL};
    enum hvtlfs_status status;

    if (!state || !visit) {
        return wrong(reader.error, HVTLFS_ERR_ARGUMENT, state ? "visit" : "state", 0, 0);
    }
    status = read_header(&reader, state, size);
    while (!status) {
        status = next_section(&reader, &section);
        if (status || !section.body) {
            break;
        }
        status = visit_section(&reader, section, visit, context);
    }
    return status ? status : check_digest(&reader);
}
