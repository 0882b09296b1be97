/* SPDX-License-Identifier: MIT */
/* The serial port of examples/kvm-vmm: what comes in, in which order, and when it interrupts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include "vmm.h"

enum {
    DATA = 0,
    INTERRUPTS = 1,
    CAUSE = 2, /* read; FIFO, written */
    FIFO = 2,
    MODEM = 4,
    STATUS = 5,
    RECEIVED = 0x01,      /* in INTERRUPTS and STATUS */
    EMPTY = 0x02,         /* in INTERRUPTS */
    CAUSE_NOTHING = 0x01, /* of CAUSE & 0xF, as the next two */
    CAUSE_EMPTY = 0x02,
    CAUSE_RECEIVED = 0x04,
    FIFO_ON = 0x01,
    FIFO_CLEAR = 0x02,
    MODEM_OUT2 = 0x08,
    MODEM_LOOP = 0x10,
};

static struct vmm vmm;
static unsigned line; /* its interrupt */

/* The linker leads the port's calls of KVM here. */
int __wrap_ioctl(int fd, unsigned long request, const struct kvm_irq_level *level);
int __wrap_ioctl(int fd, unsigned long request, const struct kvm_irq_level *level)
{
    (void)fd;
    assert_int_equal(request, KVM_IRQ_LINE);
    assert_int_equal(level->irq, SERIAL_IRQ);
    line = level->level;
    return 0;
}

static int setup(void **state)
{
    (void)state;
    memset(&vmm, 0, sizeof vmm);
    (void)pthread_mutex_init(&vmm.mutex, NULL);
    (void)pthread_cond_init(&vmm.changed, NULL);
    line = 0;
    return 0;
}

static uint8_t port_read(unsigned offset)
{
    uint8_t value;

    (void)pthread_mutex_lock(&vmm.mutex);
    value = serial_read(&vmm, offset);
    (void)pthread_mutex_unlock(&vmm.mutex);
    return value;
}

static void port_write(unsigned offset, uint8_t value)
{
    (void)pthread_mutex_lock(&vmm.mutex);
    serial_write(&vmm, offset, value);
    (void)pthread_mutex_unlock(&vmm.mutex);
}

static bool took(char byte)
{
    bool taken;

    (void)pthread_mutex_lock(&vmm.mutex);
    taken = serial_receive(&vmm, (uint8_t)byte);
    (void)pthread_mutex_unlock(&vmm.mutex);
    return taken;
}

static void receive(const char *text)
{
    for (; *text != '\0'; text++) {
        while (!took(*text)) {
            (void)sched_yield();
        }
    }
}

static void expect_text(const char *text)
{
    for (; *text != '\0'; text++) {
        assert_true(port_read(STATUS) & RECEIVED);
        assert_int_equal(port_read(DATA), *text);
    }
    assert_false(port_read(STATUS) & RECEIVED);
}

static void bytes_come_in_order(void **state)
{
    (void)state;
    port_write(FIFO, FIFO_ON);
    for (unsigned i = 0; i < 5; i++) { /* round the FIFO */
        receive("abcdefghijk");
        expect_text("abcdefghijk");
    }
    assert_int_equal(port_read(DATA), 0);
}

static void bytes_interrupt_until_they_are_read(void **state)
{
    (void)state;
    port_write(FIFO, FIFO_ON);
    receive("ab");
    assert_int_equal(line, 0);
    port_write(INTERRUPTS, RECEIVED);
    assert_int_equal(line, 1);
    assert_int_equal(port_read(CAUSE) & 0xF, CAUSE_RECEIVED);
    assert_int_equal(port_read(DATA), 'a');
    assert_int_equal(line, 1);
    assert_int_equal(port_read(DATA), 'b');
    assert_int_equal(line, 0);
    assert_int_equal(port_read(CAUSE) & 0xF, CAUSE_NOTHING);
}

/* Reading the cause ends the lesser one only. */
static void what_is_received_comes_before_what_is_sent(void **state)
{
    (void)state;
    port_write(FIFO, FIFO_ON);
    port_write(INTERRUPTS, RECEIVED | EMPTY);
    receive("a");
    assert_int_equal(port_read(CAUSE) & 0xF, CAUSE_RECEIVED);
    assert_int_equal(port_read(DATA), 'a');
    assert_int_equal(line, 1);
    assert_int_equal(port_read(CAUSE) & 0xF, CAUSE_EMPTY);
    assert_int_equal(line, 0);
}

static void *receive_many(void *argument)
{
    receive(argument);
    return NULL;
}

/* Forty bytes go through sixteen places, or through one, and none is lost. */
static void through(uint8_t fifo)
{
    static char text[] = "the quick brown fox jumps over a lazy dog";
    pthread_t thread;

    port_write(FIFO, fifo);
    assert_int_equal(pthread_create(&thread, NULL, receive_many, text), 0);
    for (const char *next = text; *next != '\0';) {
        if (port_read(STATUS) & RECEIVED) {
            assert_int_equal(port_read(DATA), *next++);
        }
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static void a_full_fifo_makes_the_sender_wait(void **state)
{
    (void)state;
    through(FIFO_ON);
    through(0);
}

/* Linux writes all kinds of things to INTERRUPTS when it looks for a chip, and empties the FIFO when it opens
 * the port: what was in a file would be gone. */
static void a_files_bytes_wait_for_the_driver(void **state)
{
    static char text[] = "ab";
    pthread_t thread;

    (void)state;
    vmm.serial.patient = true;
    assert_int_equal(pthread_create(&thread, NULL, receive_many, text), 0);
    port_write(INTERRUPTS, 0xF);
    (void)usleep(5000);
    assert_false(port_read(STATUS) & RECEIVED);
    port_write(INTERRUPTS, 0);
    port_write(FIFO, FIFO_ON | FIFO_CLEAR);
    port_write(FIFO, 0);
    port_write(MODEM, MODEM_OUT2);
    port_write(INTERRUPTS, RECEIVED);
    while ((port_read(STATUS) & RECEIVED) == 0) {
        (void)sched_yield();
    }
    port_write(FIFO, FIFO_ON); /* as the last thing */
    assert_int_equal(pthread_join(thread, NULL), 0);
    expect_text("ab");
}

static void clearing_the_fifo_forgets(void **state)
{
    (void)state;
    port_write(FIFO, FIFO_ON);
    port_write(INTERRUPTS, RECEIVED);
    receive("abc");
    port_write(FIFO, FIFO_ON | FIFO_CLEAR);
    assert_int_equal(line, 0);
    assert_false(port_read(STATUS) & RECEIVED);
}

static void what_is_sent_in_a_loop_comes_back(void **state)
{
    (void)state;
    port_write(FIFO, FIFO_ON);
    port_write(MODEM, MODEM_LOOP);
    port_write(DATA, 'x');
    expect_text("x");
    assert_int_equal(vmm.serial.bytes, 0);
}

static void a_full_fifo_takes_nothing(void **state)
{
    (void)state;
    assert_true(took('a')); /* without a FIFO there is one place */
    assert_false(took('b'));
    port_write(FIFO, FIFO_ON);
    for (unsigned i = 1; i < 16; i++) {
        assert_true(took('c'));
    }
    assert_false(took('d'));
    assert_int_equal(port_read(DATA), 'a');
    assert_true(took('d'));
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(bytes_come_in_order),
        TEST(bytes_interrupt_until_they_are_read),
        TEST(what_is_received_comes_before_what_is_sent),
        TEST(a_full_fifo_makes_the_sender_wait),
        TEST(a_files_bytes_wait_for_the_driver),
        TEST(clearing_the_fifo_forgets),
        TEST(what_is_sent_in_a_loop_comes_back),
        TEST(a_full_fifo_takes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
