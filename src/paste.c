/* SPDX-License-Identifier: MIT */
/* Three foreign spellings, each taken apart into names and values, which one table understands. */
#include <hvtlfs/paste.h>

#include "feature_rows.h"
#include "slice.h"

#define WITH(id) FEATURE_BIT(id)
#define QEMU BIT32(HVTLFS_SYNTAX_QEMU)
#define LIBVIRT BIT32(HVTLFS_SYNTAX_LIBVIRT)
#define XEN BIT32(HVTLFS_SYNTAX_XEN)

#define XEN_BASE (WITH(HYPERCALL) | WITH(VP_INDEX) | WITH(VAPIC) | WITH(RELAXED) | WITH(SPINLOCKS))
#define XEN_DEFAULTS                                                                               \
    (XEN_BASE | WITH(FREQUENCIES) | WITH(TIME_REF_COUNT) | WITH(CRASH) | WITH(NO_VP_LIMIT) |       \
     WITH(CPU_HOTPLUG))
#define XEN_ALL                                                                                    \
    (XEN_DEFAULTS | WITH(REFERENCE_TSC) | WITH(TLBFLUSH) | WITH(SYNIC) | WITH(STIMER) |            \
     WITH(IPI) | WITH(EX_PROCESSOR_MASKS))

/* Xen's boot parameter viridian-spinlock-retry-count, as it stands without one. */
#define XEN_SPIN_COUNT 2047u

static const struct {
    uint32_t syntaxes;
    const char *name;
    uint64_t features;
    const char *note;
} toggles[] = {
#define TOGGLE(syntaxes, name, features, note) {syntaxes, name, features, note},
#include "toggles.def"
#undef TOGGLE
};

struct reader {
    struct slice text; /* the whole, for offsets */
    struct hvtlfs_pasted result;
    hvtlfs_paste_note *noted;
    void *context;
    struct slice culprit; /* what an error is about */
    struct slice place;   /* where a name of our own making, such as stimer-direct, comes from */
};

/* For Frama-C (tests/proofs): the reader's slices begin somewhere. */
/*@ predicate intact{L}(struct reader *r) = \valid_read{L}(r) &&
        \at(r->result.syntax, L) < 32 && \object_pointer{L}(\at(r->text.start, L)) &&
        \object_pointer{L}(\at(r->culprit.start, L)) &&
        \object_pointer{L}(\at(r->place.start, L));
    predicate sound{L}(struct reader *r) = \valid{L}(r) && intact{L}(r); */

/* ---- One name with its value ---- */

/*@ requires readable(value);
    requires word: is_word(a);
    requires word: is_word(b);
    requires word: is_word(c);
    assigns \nothing; */
static bool is_one_of(struct slice value, const char *a, const char *b, const char *c)
{
    return slice_is(value, a) || slice_is(value, b) || slice_is(value, c);
}

/*@ requires readable(value) && \valid(on);
    assigns *on; */
static bool read_switch(struct slice value, bool *on)
{
    *on = is_one_of(value, "on", "yes", "true") || slice_is(value, "auto");
    return *on || is_one_of(value, "off", "no", "false");
}

/* Where something stands in the text. */
/*@ requires intact(reader) && \object_pointer(name.start);
    assigns \nothing;
    ensures \object_pointer(\result.start); */
static struct slice place_of(const struct reader *reader, struct slice name)
{
    bool inside = (uintptr_t)name.start - (uintptr_t)reader->text.start <= reader->text.size;

    return inside ? name : reader->place;
}

/*@ requires intact(reader) && \object_pointer(name.start);
    assigns \nothing; */
static void note(struct reader *reader, struct slice name, const char *words)
{
    struct slice place = place_of(reader, name);

    if (words && reader->noted) {
        reader->noted(reader->context, (size_t)(place.start - reader->text.start), place.size,
                      words);
    }
}

/*@ requires sound(reader);
    assigns reader->result.list.features.word[0]; */
static void turn(struct reader *reader, uint64_t features, bool on)
{
    uint64_t *set = &reader->result.list.features.word[0];

    *set = on ? *set | features : *set & ~features;
}

/* A row of the table; false if the name has none. */
/*@ requires sound(reader) && readable(name);
    assigns reader->result.list.features.word[0]; */
static bool take_toggle(struct reader *reader, struct slice name, bool on)
{
    uint32_t syntax = BIT32(reader->result.syntax);
    size_t i;

    /*@ loop invariant 0 <= i <= sizeof(toggles) / sizeof(toggles[0]);
        loop assigns i;
        loop variant sizeof(toggles) / sizeof(toggles[0]) - i; */
    for (i = 0; i < ARRAY_LEN(toggles); i++) {
        /*@ admit \object_pointer(toggles[i].name) && \object_pointer(toggles[i].note); */
        if ((toggles[i].syntaxes & syntax) && slice_is(name, toggles[i].name)) {
            turn(reader, toggles[i].features, on);
            note(reader, name, toggles[i].note);
            return true;
        }
    }
    return false;
}

/*@ requires sound(reader) && readable(value);
    assigns reader->culprit, reader->result.vendor[0 .. 15];
    ensures sound(reader); */
static enum hvtlfs_status take_vendor(struct reader *reader, struct slice value)
{
    if (value.size > 12) {
        reader->culprit = value;
        return HVTLFS_ERR_VENDOR;
    }
    memset(reader->result.vendor, 0, sizeof(reader->result.vendor));
    memcpy(reader->result.vendor, value.start, value.size);
    return HVTLFS_OK;
}

/* The number of attempts; on and off have been dealt with. */
/*@ requires sound(reader) && readable(value);
    assigns reader->culprit, reader->result.list;
    ensures sound(reader); */
static enum hvtlfs_status take_spin_count(struct reader *reader, struct slice value)
{
    if (!slice_to_u32(value, &reader->result.list.spin_count)) {
        reader->culprit = value;
        return HVTLFS_ERR_FEATURE_VALUE;
    }
    turn(reader, WITH(SPINLOCKS), true);
    return HVTLFS_OK;
}

/* As a feature or group of that name. */
/*@ requires sound(reader) && readable(name);
    assigns reader->result.list.features.word[0]; */
static enum hvtlfs_status take_feature(struct reader *reader, struct slice name, bool on)
{
    struct hvtlfs_feature_list named = {{{0, 0}}, 0};
    struct hvtlfs_feature_list kept = {{{~UINT64_C(0), 0}}, 0};
    char item[40];
    enum hvtlfs_status status;

    if (name.size > sizeof(item) - sizeof("=off")) {
        return HVTLFS_ERR_UNKNOWN_FEATURE;
    }
    memcpy(item, name.start, name.size);
    /* NOLINTNEXTLINE(bugprone-not-null-terminated-result): parsed by its length */
    memcpy(item + name.size, "=off", 4);
    status = hvtlfs_features_parse(&named, item, name.size, NULL);
    if (!status) {
        status = hvtlfs_features_parse(&kept, item, name.size + 4, NULL);
    }
    if (!status) {
        turn(reader, on ? named.features.word[0] : ~kept.features.word[0], on);
    }
    return status;
}

/*@ requires sound(reader) && readable(name) && readable(value);
    assigns reader->culprit, reader->result.list, reader->result.toggles,
            reader->result.vendor[0 .. 15];
    ensures sound(reader); */
static enum hvtlfs_status take(struct reader *reader, struct slice name, struct slice value)
{
    enum hvtlfs_status status = HVTLFS_OK;
    bool on = true;

    reader->result.toggles++;
    if (slice_is(name, "vendor-id")) {
        return take_vendor(reader, value);
    }
    if (value.size && !read_switch(value, &on)) {
        if (slice_is(name, "spinlocks")) {
            return take_spin_count(reader, value);
        }
        if (!take_toggle(reader, name, true)) {
            reader->culprit = value;
            status = HVTLFS_ERR_FEATURE_VALUE;
        }
        return status;
    }
    if (!take_toggle(reader, name, on)) {
        reader->culprit = name;
        status = take_feature(reader, name, on);
    }
    return status;
}

/* ---- Looking around in text ---- */

/* Where a word first stands; the end if it does not. */
/*@ requires readable(text);
    requires word: is_word(word);
    requires from <= text.size;
    assigns \nothing;
    ensures \result <= text.size; */
static size_t find(struct slice text, const char *word, size_t from)
{
    size_t length = 0;
    size_t i;

    /*@ loop invariant 0 <= length <= strlen(word);
        loop assigns length;
        loop variant strlen(word) - length; */
    while (word[length]) {
        length++;
    }
    /*@ loop invariant from <= i <= text.size;
        loop assigns i;
        loop variant text.size - i; */
    for (i = from; length <= text.size - i; i++) {
        if (!memcmp(text.start + i, word, length)) {
            return i;
        }
    }
    return text.size;
}

/*@ requires readable(text);
    requires word: is_word(word);
    assigns \nothing;
    ensures \result ==> text.size > 0; */
static bool contains(struct slice text, const char *word)
{
    return find(text, word, 0) < text.size;
}

/*@ requires readable(text);
    assigns \nothing;
    ensures within(\result, text) && readable(\result);
    ensures \result.size == text.size - (count < text.size ? count : text.size); */
static struct slice after(struct slice text, size_t count)
{
    count = count < text.size ? count : text.size;
    return (struct slice){text.start + count, text.size - count};
}

/*@ requires readable(text);
    assigns \nothing;
    ensures within(\result, text) && readable(\result) && \result.start == text.start;
    ensures \result.size == (count < text.size ? count : text.size); */
static struct slice until(struct slice text, size_t count)
{
    return (struct slice){text.start, count < text.size ? count : text.size};
}

/*@ requires word: valid_read_string(set);
    assigns \nothing; */
static bool is_in(char c, const char *set)
{
    /*@ loop invariant valid_read_string(set) && 0 <= strlen(set);
        loop assigns set;
        loop variant strlen(set); */
    while (*set && *set != c) {
        set++;
    }
    return *set;
}

/* Without any of the characters at either end. */
/*@ requires readable(text);
    requires word: is_word(unwanted);
    assigns \nothing;
    ensures within(\result, text) && readable(\result) && \result.size <= text.size; */
static struct slice strip(struct slice text, const char *unwanted)
{
    /*@ loop invariant within(text, \at(text, Pre)) && readable(text);
        loop assigns text;
        loop variant text.size; */
    while (text.size && is_in(text.start[0], unwanted)) {
        text = after(text, 1);
    }
    /*@ loop invariant within(text, \at(text, Pre)) && readable(text);
        loop assigns text;
        loop variant text.size; */
    while (text.size && is_in(text.start[text.size - 1], unwanted)) {
        text.size--;
    }
    return text;
}

#define SPACES " \t\r\n\\"

/* ---- QEMU ---- */

/* One word; a comma at the end of a line goes on in the next. */
/*@ requires readable(text);
    assigns \nothing;
    ensures \result <= text.size; */
static size_t word_size(struct slice text)
{
    bool joined = false;
    size_t i;

    /*@ loop invariant 0 <= i <= text.size;
        loop assigns i, joined;
        loop variant text.size - i; */
    for (i = 0; i < text.size; i++) {
        bool space = is_in(text.start[i], SPACES);

        if (space && !joined) {
            break;
        }
        joined = text.start[i] == ',' || space;
    }
    return i;
}

/* The value of the last -cpu; the whole text where there is none. */
/*@ requires readable(text);
    assigns \nothing;
    ensures within(\result, text) && readable(\result); */
static struct slice qemu_cpu(struct slice text)
{
    struct slice value = text;
    size_t at;

    /*@ loop invariant within(text, \at(text, Pre)) && readable(text);
        loop invariant within(value, \at(text, Pre)) && readable(value);
        loop assigns text, value, at;
        loop variant text.size; */
    while ((at = find(text, "-cpu", 0)) < text.size) {
        text = strip(after(text, at + 4), SPACES "=");
        value = until(text, word_size(text));
    }
    return value;
}

/*@ requires sound(reader) && readable(item);
    assigns reader->culprit, reader->result.list, reader->result.toggles,
            reader->result.vendor[0 .. 15];
    ensures sound(reader); */
static enum hvtlfs_status qemu_item(struct reader *reader, struct slice item)
{
    struct slice value = strip(item, SPACES "'\"");
    bool minus = value.size && value.start[0] == '-';
    struct slice name = strip(slice_cut(&value, '='), "+-");

    if (name.size < 3 || !slice_is(until(name, 3), "hv-")) {
        return HVTLFS_OK; /* another property of the processor */
    }
    if (minus) {
        value = (struct slice){"off", 3};
    }
    return take(reader, after(name, 3), value);
}

/*@ requires sound(reader) && readable(text);
    assigns reader->culprit, reader->result.list, reader->result.toggles,
            reader->result.vendor[0 .. 15];
    ensures sound(reader); */
static enum hvtlfs_status read_qemu(struct reader *reader, struct slice text)
{
    struct slice rest = qemu_cpu(text);
    enum hvtlfs_status status = HVTLFS_OK;

    turn(reader, WITH(HYPERCALL), true);
    /*@ loop invariant readable(rest) && sound(reader);
        loop assigns rest, status, reader->culprit, reader->result.list, reader->result.toggles,
            reader->result.vendor[0 .. 15];
        loop variant rest.size; */
    while (!status && rest.size) {
        status = qemu_item(reader, slice_cut(&rest, ','));
    }
    return status;
}

/* ---- Xen ---- */

/*@ requires sound(reader) && readable(item);
    assigns reader->culprit, reader->result.list, reader->result.toggles,
            reader->result.vendor[0 .. 15];
    ensures sound(reader); */
static enum hvtlfs_status xen_item(struct reader *reader, struct slice item)
{
    bool off;

    item = strip(item, SPACES "'\"");
    off = item.size && item.start[0] == '!';
    item = strip(item, "!");
    if (!item.size || slice_is(item, "0")) {
        return HVTLFS_OK;
    }
    if (slice_is(item, "1")) {
        item = (struct slice){"defaults", 8};
    }
    reader->result.toggles++;
    if (!take_toggle(reader, item, !off)) {
        reader->culprit = item;
        return HVTLFS_ERR_UNKNOWN_FEATURE;
    }
    return HVTLFS_OK;
}

/*@ requires sound(reader) && readable(text);
    assigns reader->culprit, reader->result.list, reader->result.toggles,
            reader->result.vendor[0 .. 15];
    ensures sound(reader); */
static enum hvtlfs_status read_xen(struct reader *reader, struct slice text)
{
    enum hvtlfs_status status = HVTLFS_OK;
    struct slice rest = after(text, find(text, "viridian", 0) + 8);
    bool list;

    reader->result.list.spin_count = XEN_SPIN_COUNT;
    rest = strip(rest, SPACES "=");
    list = rest.size && rest.start[0] == '[';
    rest = until(rest, find(rest, list ? "]" : "\n", 0));
    rest = strip(rest, "[]");
    /*@ loop invariant readable(rest) && sound(reader);
        loop assigns rest, status, reader->culprit, reader->result.list, reader->result.toggles,
            reader->result.vendor[0 .. 15];
        loop variant rest.size; */
    while (!status && rest.size) {
        status = xen_item(reader, slice_cut(&rest, ','));
    }
    return status;
}

/* ---- libvirt ---- */

/* The value of an attribute; `found` tells a missing one from an empty one. */
/*@ requires readable(tag) && \valid(found);
    requires word: is_word(name);
    assigns *found;
    ensures within(\result, tag) && readable(\result); */
static struct slice attribute(struct slice tag, const char *name, bool *found)
{
    /*@ loop invariant within(tag, \at(tag, Pre)) && readable(tag);
        loop assigns tag, *found;
        loop variant tag.size; */
    while (tag.size) {
        struct slice value = tag;
        struct slice key = slice_cut(&value, '=');
        char quote;

        key = strip(key, SPACES);
        value = strip(value, SPACES);
        /*@ loop invariant readable(key);
            loop assigns key;
            loop variant key.size; */
        while (contains(key, " ")) {
            key = after(key, find(key, " ", 0) + 1); /* the last word before the = */
        }
        quote = value.size ? value.start[0] : '\0';
        if (quote != '\'' && quote != '"') {
            break;
        }
        tag = after(value, 1);
        value = slice_cut(&tag, quote);
        if (slice_is(key, name)) {
            *found = true;
            return value;
        }
    }
    *found = false;
    return (struct slice){tag.start, 0};
}

/* An element inside another one of <hyperv>. */
static const struct {
    const char *parent;
    const char *name;
    const char *toggle;
} children[] = {
    {"stimer", "direct", "stimer-direct"},
    {"tlbflush", "direct", "tlbflush-direct"},
    {"tlbflush", "extended", "tlbflush-ext"},
};

/*@ requires word: is_word(string);
    assigns \nothing;
    ensures \result.start == string && \result.size == strlen(string) && readable(\result); */
static struct slice word(const char *string)
{
    size_t size = 0;

    /*@ loop invariant 0 <= size <= strlen(string);
        loop assigns size;
        loop variant strlen(string) - size; */
    while (string[size]) {
        size++;
    }
    return (struct slice){string, size};
}

/*@ requires sound(reader) && readable(name) && readable(tag);
    assigns reader->culprit, reader->result.list, reader->result.toggles,
            reader->result.vendor[0 .. 15];
    ensures sound(reader); */
static enum hvtlfs_status libvirt_toggle(struct reader *reader, struct slice name, struct slice tag)
{
    bool has_state, has_value;
    struct slice state = attribute(tag, "state", &has_state);
    struct slice value;

    if (has_state && is_one_of(state, "off", "no", "false")) {
        return slice_is(name, "vendor-id") ? HVTLFS_OK : take(reader, name, state);
    }
    value = attribute(tag, "value", &has_value); /* of vendor_id */
    if (!has_value) {
        value = attribute(tag, "retries", &has_value); /* of spinlocks */
    }
    return take(reader, name, has_value ? value : state);
}

/*@ requires sound(reader) && readable(tag);
    assigns reader->place, reader->culprit, reader->result.list, reader->result.toggles,
            reader->result.vendor[0 .. 15];
    ensures sound(reader); */
static enum hvtlfs_status libvirt_timer(struct reader *reader, struct slice tag)
{
    bool found;
    struct slice name = attribute(tag, "name", &found);

    reader->place = name;
    if (!found || !slice_is(name, "hypervclock")) {
        return HVTLFS_OK;
    }
    return take(reader, word("time"), attribute(tag, "present", &found));
}

/*@ requires sound(reader);
    requires readable(parent) && readable(name) && readable(tag);
    assigns reader->place, reader->culprit, reader->result.list, reader->result.toggles,
            reader->result.vendor[0 .. 15];
    ensures sound(reader); */
static enum hvtlfs_status libvirt_element(struct reader *reader, struct slice parent,
                                          struct slice name, struct slice tag)
{
    size_t i;
    bool found;

    reader->place = name;
    if (slice_is(name, "hyperv")) {
        if (slice_is(attribute(tag, "mode", &found), "passthrough")) {
            note(reader, name,
                 "what the host's kernel offers cannot be known here; name the features");
        }
        return HVTLFS_OK;
    }
    /*@ loop invariant 0 <= i <= 3;
        loop assigns i;
        loop variant 3 - i; */
    for (i = 0; i < ARRAY_LEN(children); i++) {
        /*@ admit \object_pointer(children[i].parent) && \object_pointer(children[i].name) &&
                  \object_pointer(children[i].toggle); */
        if (slice_is(parent, children[i].parent) && slice_is(name, children[i].name)) {
            return libvirt_toggle(reader, word(children[i].toggle), tag);
        }
    }
    return libvirt_toggle(reader, name, tag);
}

/* Of <name attribute="value"/>, without the brackets. */
/*@ requires readable(tag);
    assigns \nothing;
    ensures readable(\result) && \result.size <= tag.size; */
static struct slice element_name(struct slice tag)
{
    size_t i = 0;

    /*@ loop invariant 0 <= i <= tag.size;
        loop assigns i;
        loop variant tag.size - i; */
    while (i < tag.size && !is_in(tag.start[i], SPACES)) {
        i++;
    }
    return strip(until(tag, i), "/?");
}

/* Cut the next element's start tag out: its name and its attributes. False at the end. */
/*@ requires \valid(rest) && \valid(name) && \valid(tag) && \separated(rest, name, tag);
    requires readable(*rest);
    assigns *rest, *name, *tag;
    ensures readable(*rest) && readable(*tag) && readable(*name) && name->size <= tag->size;
    ensures \result ==> rest->size < \old(rest->size); */
static bool next_tag(struct slice *rest, struct slice *name, struct slice *tag)
{
    struct slice text = after(*rest, find(*rest, "<", 0) + 1);
    bool comment = text.size >= 3 && !memcmp(text.start, "!--", 3);

    /*@ assert text.size == 0 || text.size < rest->size; */
    if (comment) {
        text = after(text, find(text, "-->", 0));
    }
    /*@ assert text.size == 0 || text.size < rest->size; */
    *tag = comment ? until(text, 0) : slice_cut(&text, '>');
    *name = element_name(*tag);
    *rest = text;
    return comment ? text.size : tag->size;
}

/*@ requires sound(reader) && readable(rest);
    assigns reader->place, reader->culprit, reader->result.list, reader->result.toggles,
            reader->result.vendor[0 .. 15];
    ensures sound(reader); */
static enum hvtlfs_status libvirt_part(struct reader *reader, struct slice rest, bool timers)
{
    struct slice parent = {rest.start, 0};
    struct slice name, tag;
    enum hvtlfs_status status = HVTLFS_OK;

    /*@ loop invariant readable(rest) && readable(parent) && sound(reader);
        loop assigns rest, name, tag, parent, status, reader->place, reader->culprit,
            reader->result.list, reader->result.toggles, reader->result.vendor[0 .. 15];
        loop variant rest.size; */
    while (!status && next_tag(&rest, &name, &tag)) {
        if (!name.size || tag.start[0] == '/' || tag.start[0] == '?') {
            parent.size = name.size ? 0 : parent.size;
            continue;
        }
        if (timers || slice_is(name, "timer")) {
            status = slice_is(name, "timer") ? libvirt_timer(reader, tag) : HVTLFS_OK;
            continue;
        }
        status = libvirt_element(reader, parent, name, after(tag, name.size));
        if (tag.start[tag.size - 1] != '/') {
            parent = name;
        }
    }
    return status;
}

/* The element <hyperv> with what is in it, and the timers wherever they are. */
/*@ requires sound(reader) && readable(text);
    assigns reader->place, reader->culprit, reader->result.list, reader->result.toggles,
            reader->result.vendor[0 .. 15];
    ensures sound(reader); */
static enum hvtlfs_status read_libvirt(struct reader *reader, struct slice text)
{
    size_t start = find(text, "<hyperv", 0);
    bool whole = start == text.size;
    struct slice part = whole ? text : after(text, start);
    enum hvtlfs_status status;

    turn(reader, WITH(HYPERCALL), true);
    if (!whole) {
        part = until(part, find(part, "</hyperv>", 0));
    }
    status = libvirt_part(reader, part, false);
    return status || whole ? status : libvirt_part(reader, text, true);
}

/* ---- All ---- */

/*@ requires readable(text);
    assigns \nothing;
    ensures \result < 32; */
static enum hvtlfs_syntax recognise(struct slice text)
{
    if (contains(text, "<")) {
        return HVTLFS_SYNTAX_LIBVIRT;
    }
    if (contains(text, "viridian")) {
        return HVTLFS_SYNTAX_XEN;
    }
    return contains(text, "hv-") || contains(text, "hv_") || contains(text, "-cpu")
               ? HVTLFS_SYNTAX_QEMU
               : HVTLFS_SYNTAX_LIST;
}

/*@ requires readable(text);
    assigns \nothing; */
static uint32_t count_items(struct slice text)
{
    uint32_t count = 0;

    /*@ loop invariant readable(text);
        loop assigns text, count;
        loop variant text.size; */
    while (text.size) {
        count += slice_trim(slice_cut(&text, ',')).size != 0;
    }
    return count;
}

/*@ requires sound(reader) && readable(text) && \valid(error) && \separated(reader, error);
    assigns reader->result.list, reader->result.toggles, *error; */
static enum hvtlfs_status read_list(struct reader *reader, struct slice text,
                                    struct hvtlfs_error *error)
{
    hvtlfs_feature_list_minimal(&reader->result.list);
    reader->result.toggles = count_items(text);
    return hvtlfs_features_parse(&reader->result.list, text.start, text.size, error);
}

/*@ requires intact(reader) && readable(text) && \valid(error);
    assigns *error; */
static void report(const struct reader *reader, struct slice text, enum hvtlfs_status status,
                   struct hvtlfs_error *error)
{
    struct slice place = place_of(reader, reader->culprit);

    *error = (struct hvtlfs_error){.status = status,
                                   .feature = HVTLFS_FEATURE_COUNT,
                                   .other = HVTLFS_FEATURE_COUNT,
                                   .value = (uint64_t)(place.start - text.start),
                                   .limit = place.size};
}

/*@ requires sound(reader) && readable(text);
    assigns reader->place, reader->culprit, reader->result.list, reader->result.toggles,
            reader->result.vendor[0 .. 15];
    ensures sound(reader); */
static enum hvtlfs_status read_foreign(struct reader *reader, struct slice text)
{
    enum hvtlfs_status status;

    if (reader->result.syntax == HVTLFS_SYNTAX_QEMU) {
        status = read_qemu(reader, text);
    } else if (reader->result.syntax == HVTLFS_SYNTAX_LIBVIRT) {
        status = read_libvirt(reader, text);
    } else {
        status = read_xen(reader, text);
    }
    return status;
}

/*@ requires sound(reader) && readable(text) && \valid(error) && \separated(reader, error);
    assigns reader->place, reader->culprit, reader->result.list, reader->result.toggles,
            reader->result.vendor[0 .. 15], *error; */
static enum hvtlfs_status read_text(struct reader *reader, struct slice text,
                                    struct hvtlfs_error *error)
{
    enum hvtlfs_status status;

    if (reader->result.syntax == HVTLFS_SYNTAX_LIST) {
        status = read_list(reader, text, error);
    } else {
        status = read_foreign(reader, text);
        report(reader, text, status, error);
    }
    return status;
}

enum hvtlfs_status hvtlfs_paste(const char *text, size_t size, struct hvtlfs_pasted *pasted,
                                hvtlfs_paste_note *noted, void *context, struct hvtlfs_error *error)
{
    struct hvtlfs_error ignored = {.status = HVTLFS_OK};
    struct reader reader = {.text = {text, size}, .noted = noted, .context = context};
    enum hvtlfs_status status;

    error = error ? error : &ignored;
    if (!pasted || (!text && size)) {
        *error = (struct hvtlfs_error){.status = HVTLFS_ERR_ARGUMENT,
                                       .feature = HVTLFS_FEATURE_COUNT,
                                       .other = HVTLFS_FEATURE_COUNT};
        return HVTLFS_ERR_ARGUMENT;
    }
    reader.culprit = reader.place = until(reader.text, 0);
    reader.result.syntax = recognise((struct slice){text, size});
    reader.result.list.spin_count = HVTLFS_SPINLOCKS_NEVER;
    status = read_text(&reader, (struct slice){text, size}, error);
    if (!status) {
        *pasted = reader.result;
    }
    return status;
}
