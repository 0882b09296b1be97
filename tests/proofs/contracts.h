/* SPDX-License-Identifier: MIT */
/*
 * What Frama-C is told of functions whose text it does not see: the compiler's, the four of memory,
 * and those of the library that one file of src/ calls in another or everybody calls. The contracts
 * of the library's own functions are proven where the functions are; the others are assumed.
 */
#include <hvtlfs/features.h>
#include <hvtlfs/paste.h>
#include <hvtlfs/vpset.h>

#include "__fc_string_axiomatic.h"

/* Frama-C does not know it; nothing that is proven depends on it. */
#define _Alignas(bytes)

/* ---- Assumed ---- */

/* The prover's memory is typed: a file's bytes are of one kind. */
#ifndef BYTE
#define BYTE char
#endif

/*@ requires \valid((BYTE *)to + (0 .. size - 1)) && \valid_read((BYTE *)from + (0 .. size - 1));
    assigns ((BYTE *)to)[0 .. size - 1] \from ((BYTE *)from)[0 .. size - 1];
    assigns \result \from to;
    ensures \result == to; */
void *memcpy(void *restrict to, const void *restrict from, size_t size);

/*@ requires \valid((BYTE *)to + (0 .. size - 1));
    assigns ((BYTE *)to)[0 .. size - 1] \from byte;
    assigns \result \from to;
    ensures \result == to; */
void *memset(void *to, int byte, size_t size);

/*@ requires \valid_read((BYTE *)a + (0 .. size - 1)) && \valid_read((BYTE *)b + (0 .. size - 1));
    assigns \result \from ((BYTE *)a)[0 .. size - 1], ((BYTE *)b)[0 .. size - 1]; */
int memcmp(const void *a, const void *b, size_t size);

/*@ requires word > 0;
    assigns \nothing;
    ensures 0 <= \result <= 63; */
int __builtin_ctzll(unsigned long long word);

/*@ requires word > 0;
    assigns \nothing;
    ensures 0 <= \result <= 31; */
int __builtin_ctz(unsigned int word);

/* ---- Proven: lists of features ---- */

/*@ predicate text_of{L}(char *text, size_t size) = \object_pointer{L}(text) &&
        size <= PTRDIFF_MAX && (size == 0 || text == \null || \valid_read{L}(text + (0 .. size - 1)));
    predicate room_or_null{L}(struct hvtlfs_error *error) = error == \null || \valid{L}(error); */

/*@ requires \valid(list);
    assigns *list; */
void hvtlfs_feature_list_minimal(struct hvtlfs_feature_list *list);

/*@ requires text_of(text, size) && room_or_null(error);
    requires list == \null || \valid(list);
    assigns *list, *error;
    ensures \result != HVTLFS_OK && list != \null && \separated(list, error) ==>
            *list == \old(*list); */
enum hvtlfs_status hvtlfs_features_parse(struct hvtlfs_feature_list *list, const char *text,
                                         size_t size, struct hvtlfs_error *error);

/* The function for notes is assumed to change nothing that the parser uses. */
/*@ requires text_of(text, size) && room_or_null(error);
    requires pasted == \null || \valid(pasted);
    assigns *pasted, *error; */
enum hvtlfs_status hvtlfs_paste(const char *text, size_t size, struct hvtlfs_pasted *pasted,
                                hvtlfs_paste_note *noted, void *context, struct hvtlfs_error *error);

/* ---- Proven: sets of VPs ---- */

/*@ requires \valid(set);
    assigns set->banks;
    ensures set->banks == 0; */
void hvtlfs_vp_set_clear(struct hvtlfs_vp_set *set);

/*@ requires \valid(set);
    assigns set->banks, set->bank[0]; */
void hvtlfs_vp_set_from_mask(struct hvtlfs_vp_set *set, uint64_t mask);

/*@ requires \valid_read(set);
    assigns \nothing;
    ensures bank >= HVTLFS_VP_BANKS ==> \result == 0; */
uint64_t hvtlfs_vp_set_bank(const struct hvtlfs_vp_set *set, uint32_t bank);

/*@ requires \valid(set);
    assigns *set; */
void hvtlfs_vp_set_add(struct hvtlfs_vp_set *set, uint32_t vp_index);

/*@ requires \valid(set);
    assigns *set; */
void hvtlfs_vp_set_remove(struct hvtlfs_vp_set *set, uint32_t vp_index);

/*@ requires \valid_read(set);
    assigns \nothing;
    ensures \result ==> vp_index < HVTLFS_MAX_VPS; */
bool hvtlfs_vp_set_has(const struct hvtlfs_vp_set *set, uint32_t vp_index);

/*@ requires \valid_read(set);
    assigns \nothing; */
bool hvtlfs_vp_set_is_empty(const struct hvtlfs_vp_set *set);

/*@ requires \valid_read(set);
    assigns \nothing;
    ensures \result <= HVTLFS_MAX_VPS; */
uint32_t hvtlfs_vp_set_count(const struct hvtlfs_vp_set *set);

/*@ requires \valid_read(set);
    assigns \nothing;
    ensures \result == HVTLFS_NO_VP || \result < HVTLFS_MAX_VPS; */
uint32_t hvtlfs_vp_set_next(const struct hvtlfs_vp_set *set, uint32_t from);

/*@ requires \valid(set) && \valid_read(other);
    assigns *set; */
void hvtlfs_vp_set_intersect(struct hvtlfs_vp_set *set, const struct hvtlfs_vp_set *other);

/*@ requires \valid(set) && \valid_read(other) && \separated(set, other);
    assigns *set; */
void hvtlfs_vp_set_unite(struct hvtlfs_vp_set *set, const struct hvtlfs_vp_set *other);

/*@ requires \valid(set) && \separated(set, contents + (0 .. count - 1));
    requires all == \null || (\valid_read(all) && \separated(set, all));
    requires count == 0 || contents == \null || \valid_read(contents + (0 .. count - 1));
    requires \object_pointer(contents);
    assigns *set; */
enum hvtlfs_status hvtlfs_vp_set_parse(struct hvtlfs_vp_set *set, uint64_t format, uint64_t valid,
                                       const uint64_t *contents, size_t count,
                                       const struct hvtlfs_vp_set *all);

/*@ requires \valid_read(set) && \valid(valid) && \valid(contents + (0 .. HVTLFS_VP_BANKS - 1));
    requires \separated(set, valid, contents + (0 .. HVTLFS_VP_BANKS - 1));
    assigns *valid, contents[0 .. HVTLFS_VP_BANKS - 1];
    ensures \result <= HVTLFS_VP_BANKS; */
size_t hvtlfs_vp_set_encode(const struct hvtlfs_vp_set *set, uint64_t *valid, uint64_t *contents);
