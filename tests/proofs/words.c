/* SPDX-License-Identifier: MIT */
/*
 * For Frama-C's Eva: any bytes at all go into the parsers of text, so that every word they compare with
 * and every name in their tables is seen. What Eva has to show is that each is a string of ours, which
 * the proofs of the parsers themselves (WP) take for granted. See run.sh.
 */
#include <hvtlfs/features.h>
#include <hvtlfs/paste.h>

#include "__fc_builtin.h"

#define SIZE 64

static char text[SIZE];

static void noted(void *context, size_t offset, size_t size, const char *note)
{
    (void)context;
    (void)offset;
    (void)size;
    /*@ assert note: valid_read_string(note); */
}

void words(void)
{
    struct hvtlfs_feature_list list;
    struct hvtlfs_pasted pasted;
    struct hvtlfs_error error;
    size_t size = Frama_C_size_t_interval(0, SIZE);

    Frama_C_make_unknown(text, SIZE);
    hvtlfs_feature_list_minimal(&list);
    (void)hvtlfs_features_parse(&list, text, size, &error);
    (void)hvtlfs_paste(text, size, &pasted, noted, NULL, &error);
}
