/* SPDX-License-Identifier: MIT */
/* Saved state in scripts: to a file and back, or after every command. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hvtlfs/state.h>
#include <hvtlfs/time.h>

#include "replay.h"

struct bytes {
    uint8_t *data;
    size_t size;
};

static bool say(struct replay *replay, const struct hvtlfs_error *error)
{
    char sentence[400];
    (void)hvtlfs_error_text(error, sentence, sizeof(sentence));
    return replay_expected(replay, "%s", sentence);
}

/* The partition is frozen. */
static bool take(struct replay *replay, struct bytes *bytes)
{
    struct hvtlfs_error error = {0};
    bytes->size = hvtlfs_state_size(replay->partition);
    bytes->data = malloc(bytes->size);
    if (bytes->data == NULL) {
        (void)replay_expected(replay, "there is not enough memory for the state");
        return false;
    }
    return hvtlfs_state_save(replay->partition, bytes->data, bytes->size, &bytes->size, &error) ==
               HVTLFS_OK ||
           say(replay, &error);
}

/*
 * A partition of the same configuration on the same memory, with the old one's state. What the host is
 * told meanwhile is about the move and not what the guest asked for.
 */
static bool put(struct replay *replay, const struct bytes *bytes)
{
    struct hvtlfs_error error = {0};
    size_t events = model_host_event_count(replay->host);
    model_host_forget(replay->host);
    if (model_host_partition(replay->host, &replay->config, &replay->partition, &error) !=
        HVTLFS_OK) {
        return say(replay, &error);
    }
    enum hvtlfs_status status =
        hvtlfs_state_load(replay->partition, bytes->data, bytes->size, &error);
    model_host_keep_events(replay->host, events);
    return status == HVTLFS_OK || say(replay, &error);
}

static bool start_again(struct replay *replay)
{
    if (hvtlfs_thaw(replay->partition, 0) != HVTLFS_OK) {
        return replay_expected(replay, "the clock cannot be restarted");
    }
    for (uint32_t i = 0; i < replay->vp_count; i++) {
        hvtlfs_vp_poll(hvtlfs_partition_vp(replay->partition, i));
    }
    return true;
}

bool replay_renew(struct replay *replay, bool fresh)
{
    struct bytes bytes = {0};
    bool done = true;
    /* A script may have stopped the clock itself. */
    bool frozen = hvtlfs_freeze(replay->partition) == HVTLFS_OK;
    if (fresh) {
        done = take(replay, &bytes) && put(replay, &bytes);
    }
    free(bytes.data);
    return done && (!frozen || start_again(replay));
}

/* ---- save FILE, load FILE ---- */

static bool write_file(struct replay *replay, const char *name, const struct bytes *bytes)
{
    FILE *file = fopen(name, "wb");
    if (file == NULL) {
        return replay_expected(replay, "%s: %s", name, strerror(errno));
    }
    bool written = fwrite(bytes->data, 1, bytes->size, file) == bytes->size;
    written = fclose(file) == 0 && written;
    return written || replay_expected(replay, "%s: %s", name, strerror(errno));
}

static bool read_file(struct replay *replay, const char *name, struct text *content)
{
    char buffer[4096];
    size_t size;
    FILE *file = fopen(name, "rb");
    if (file == NULL) {
        return replay_expected(replay, "%s: %s", name, strerror(errno));
    }
    while ((size = fread(buffer, 1, sizeof(buffer), file)) > 0) {
        text_add_bytes(content, buffer, size);
    }
    bool read = ferror(file) == 0;
    (void)fclose(file);
    return read || replay_expected(replay, "%s: it cannot be read", name);
}

bool replay_save(struct replay *replay, size_t count, char **words)
{
    struct bytes bytes = {0};
    (void)count;
    bool frozen = hvtlfs_freeze(replay->partition) == HVTLFS_OK;
    bool done = take(replay, &bytes) && write_file(replay, words[0], &bytes);
    free(bytes.data);
    if (done && frozen) {
        done = start_again(replay);
    }
    if (done) {
        text_add(&replay->result, "ok");
    }
    return done;
}

/* Refused bytes are a result, so that a script can expect it. */
bool replay_load(struct replay *replay, size_t count, char **words)
{
    struct text content = {0};
    struct hvtlfs_error error = {0};
    (void)count;
    if (!read_file(replay, words[0], &content)) {
        text_free(&content);
        return false;
    }
    model_host_forget(replay->host);
    bool made = model_host_partition(replay->host, &replay->config, &replay->partition, &error) ==
                HVTLFS_OK;
    enum hvtlfs_status status =
        hvtlfs_state_load(replay->partition, text_string(&content), content.length, &error);
    text_free(&content);
    if (!made) {
        return say(replay, &error);
    }
    if (status != HVTLFS_OK) {
        text_add(&replay->result, "refused: %s (%s)", hvtlfs_strerror(status),
                 error.name != NULL ? error.name : "");
        return true;
    }
    text_add(&replay->result, "ok");
    return start_again(replay);
}
