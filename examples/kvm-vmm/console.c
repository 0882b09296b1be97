/* SPDX-License-Identifier: MIT */
/*
 * Standard input as what is typed at the serial port. A terminal is in raw mode meanwhile, so that the guest
 * has all keys, and Ctrl-A is the way back: then x ends the VMM, any other key is the guest's, Ctrl-A too.
 * What the guest is slow to take waits here, so that the way back is open.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include "vmm.h"

enum { ESCAPE = 0x01, WAIT_MS = 100, QUEUE = 4096 };

static struct termios before; /* as the terminal was */
static bool raw;
static bool reading;
static pthread_t thread;

/* The reader's own. */
static uint8_t queue[QUEUE];
static size_t first, count;
static bool escaped; /* Ctrl-A was the last key */

static void terminal_restore(void)
{
    if (raw) {
        (void)tcsetattr(STDIN_FILENO, TCSADRAIN, &before);
        raw = false;
    }
}

/* A job in the background has no business with the terminal. */
static bool terminal_take(void)
{
    struct termios now;

    if (tcgetpgrp(STDIN_FILENO) != getpgrp() || tcgetattr(STDIN_FILENO, &before) != 0) {
        return false;
    }
    now = before;
    cfmakeraw(&now);
    raw = tcsetattr(STDIN_FILENO, TCSADRAIN, &now) == 0;
    return raw && atexit(terminal_restore) == 0;
}

/* More keys than a guest that takes none has place for are lost. */
static void put(uint8_t byte)
{
    if (count < QUEUE) {
        queue[(first + count++) % QUEUE] = byte;
    }
}

static void key(struct vmm *vmm, uint8_t byte)
{
    if (!escaped && byte == ESCAPE) {
        escaped = true;
        return;
    }
    if (escaped && (byte == 'x' || byte == 'X')) {
        vmm_end(vmm, INTERRUPTED);
        return;
    }
    escaped = false;
    put(byte);
}

/* False at the end of the input, which is not the end of the guest. */
static bool take_in(struct vmm *vmm)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    uint8_t bytes[64];
    ssize_t size;

    if (poll(&input, 1, count == 0 ? WAIT_MS : 0) <= 0) {
        return true;
    }
    size = read(STDIN_FILENO, bytes, sizeof bytes);
    for (ssize_t i = 0; i < size; i++) {
        if (raw) {
            key(vmm, bytes[i]);
        } else {
            put(bytes[i]);
        }
    }
    return size > 0 || (size < 0 && (errno == EINTR || errno == EAGAIN));
}

static void hand_over(struct vmm *vmm)
{
    (void)pthread_mutex_lock(&vmm->mutex);
    while (count > 0 && serial_receive(vmm, queue[first])) {
        first = (first + 1) % QUEUE;
        count--;
    }
    if (count > 0) {
        vmm_wait(vmm);
    }
    (void)pthread_mutex_unlock(&vmm->mutex);
}

static void *reader(void *argument)
{
    struct vmm *vmm = argument;
    bool open = true;

    while (!atomic_load(&vmm->stop) && (open || count > 0)) {
        if (open && (raw || count == 0)) { /* a file can wait */
            open = take_in(vmm);
        }
        if (count > 0) {
            hand_over(vmm);
        }
    }
    return NULL;
}

void console_start(struct vmm *vmm)
{
    if (isatty(STDIN_FILENO) == 0) {
        vmm->serial.patient = true;
    } else if (!terminal_take()) {
        return;
    } else {
        (void)setvbuf(stdout, NULL, _IONBF, 0);
        fprintf(stderr, "example-kvm-vmm: Ctrl-A x ends it\r\n");
    }
    reading = pthread_create(&thread, NULL, reader, vmm) == 0;
}

void console_stop(void)
{
    if (reading) {
        (void)pthread_join(thread, NULL);
    }
    terminal_restore();
}
