/* SPDX-License-Identifier: MIT */
/*
 * Descriptors of KVM's in all the ways in which they come and go, with libhvtlfs-kvm-preload.so in front. The
 * measure is KVM itself: a file is the same whatever its number is. Exit status 77 where there is nothing to
 * test; with "--inherited FD" it is its own child.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "machine.h"

static void start(struct machine *machine, struct vcpu *vcpu)
{
    machine_open(machine);
    vcpu_open(machine, vcpu, 0, true);
    code_reads(machine, VP_INDEX);
}

static void end(struct machine *machine, struct vcpu *vcpu)
{
    vcpu_close(machine, vcpu);
    machine_close(machine);
}

/* The guest's RDMSR is served. */
static void check_served(const struct vcpu *vcpu)
{
    assert_int_equal(run(vcpu), 0);
    assert_int_equal(port_value(vcpu), 0);
}

/* Whatever is at this number now, it is no VM: nobody answers for it. */
static void check_foreign(int fd)
{
    assert_int_equal(ioctl(fd, KVM_CHECK_EXTENSION, KVM_CAP_HYPERV), -1);
    assert_int_equal(errno, ENOTTY);
}

/* ---- Numbers that become another file's ---- */

static void check_taken_over(int number)
{
    int event = eventfd(0, EFD_CLOEXEC);

    assert_true(event >= 0);
    if (event != number) {
        assert_int_equal(dup3(event, number, O_CLOEXEC), number);
        (void)close(event);
    }
    check_foreign(number);
    (void)close(number);
}

static void a_number_taken_over_by_dup2_is_the_other_files(void **state)
{
    struct machine machine;
    struct vcpu vcpu;
    int event = eventfd(0, EFD_CLOEXEC);

    (void)state;
    start(&machine, &vcpu);
    check_served(&vcpu);
    assert_int_equal(ioctl(machine.vm, KVM_CHECK_EXTENSION, KVM_CAP_HYPERV), 1);
    assert_int_equal(dup2(event, machine.vm), machine.vm);
    check_foreign(machine.vm);
    check_served(&vcpu); /* the VM lives as long as its vCPU */
    (void)close(event);
    end(&machine, &vcpu);
}

static void closed_by_range(int fd)
{
    assert_int_equal(close_range((unsigned)fd, (unsigned)fd, 0), 0);
}

static void closed_by_stream(int fd)
{
    FILE *stream = fdopen(fd, "r+");

    assert_non_null(stream);
    assert_int_equal(fclose(stream), 0);
}

/* Past the C library's functions, as a program in another language may. */
static void closed_by_number(int fd)
{
    long result;

    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(SYS_close), "D"((long)fd)
                     : "rcx", "r11", "memory");
    assert_int_equal(result, 0);
}

static void a_number_closed_in_any_way_is_the_next_files(void **state)
{
    void (*const ways[])(int) = {closed_by_range, closed_by_stream, closed_by_number};

    (void)state;
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        struct machine machine;
        struct vcpu vcpu;

        start(&machine, &vcpu);
        check_served(&vcpu);
        ways[i](machine.vm);
        check_taken_over(machine.vm);
        ways[i](vcpu.fd);
        check_taken_over(vcpu.fd);
        ways[i](machine.kvm);
        check_taken_over(machine.kvm);
        end(&machine, &vcpu);
    }
}

static void closing_from_a_number_on_spares_what_is_below(void **state)
{
    struct machine machine;
    struct vcpu vcpu;
    struct machine later;
    struct vcpu another;

    (void)state;
    start(&machine, &vcpu);
    closefrom(vcpu.fd + 1);
    check_served(&vcpu);
    closefrom(vcpu.fd + 1);
    check_served(&vcpu);
    for (int fd = vcpu.fd + 1; fd < 4096; fd++) {
        (void)close(fd);
    }
    check_served(&vcpu);
    start(&later, &another);
    check_served(&another);
    end(&later, &another);
    end(&machine, &vcpu);
}

/* ---- Copies ---- */

static void a_copy_is_as_good_as_what_it_was_copied_from(void **state)
{
    struct machine machine;
    struct vcpu vcpu;
    int copies[4];

    (void)state;
    start(&machine, &vcpu);
    copies[0] = dup(vcpu.fd);
    copies[1] = fcntl(vcpu.fd, F_DUPFD_CLOEXEC, 100);
    copies[2] = dup2(vcpu.fd, 200);
    copies[3] = (int)syscall(SYS_dup, vcpu.fd);
    (void)close(vcpu.fd);
    for (size_t i = 0; i < sizeof copies / sizeof copies[0]; i++) {
        assert_true(copies[i] >= 0);
        vcpu.fd = copies[i];
        check_served(&vcpu);
        (void)close(copies[i]);
    }
    assert_int_equal(ioctl(vcpu.fd, KVM_RUN, 0), -1);
    assert_int_equal(errno, EBADF);
    (void)munmap(vcpu.run, machine.run_size);
    machine_close(&machine);
}

static void a_vcpu_needs_no_descriptor_of_its_vm(void **state)
{
    struct machine machine;
    struct vcpu vcpu;

    (void)state;
    start(&machine, &vcpu);
    (void)close(machine.vm);
    check_taken_over(machine.vm);
    (void)close(machine.kvm);
    check_served(&vcpu);
    (void)munmap(machine.ram, RAM);
    vcpu_close(&machine, &vcpu);
}

static void the_program_gets_the_numbers_it_would_get_without_us(void **state)
{
    struct machine machine;
    struct vcpu vcpu;
    int first = dup(0);
    int next;

    (void)state;
    (void)close(first);
    start(&machine, &vcpu);
    check_served(&vcpu);
    next = dup(0);
    assert_int_equal(machine.kvm, first);
    assert_int_equal(machine.vm, first + 1);
    assert_int_equal(vcpu.fd, first + 2);
    assert_int_equal(next, first + 3);
    (void)close(next);
    end(&machine, &vcpu);
}

/* As with as many vCPUs as there may be descriptors. */
static void the_program_gets_as_many_as_it_would_get_without_us(void **state)
{
    struct rlimit before;
    struct rlimit few;
    struct machine machine;
    struct vcpu vcpu;
    int next = dup(0);

    (void)state;
    (void)close(next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = (struct rlimit){(rlim_t)next + 3, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    start(&machine, &vcpu);
    check_served(&vcpu);
    assert_int_equal(dup(0), -1);
    assert_int_equal(errno, EMFILE);
    end(&machine, &vcpu);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

/* ---- Other names of /dev/kvm, and none at all ---- */

static void the_device_is_known_by_any_name(void **state)
{
    char link[] = "/tmp/hvtlfs-kvm-XXXXXX";
    int folder = open("/dev", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fds[3];

    (void)state;
    assert_non_null(mkdtemp(link));
    assert_int_equal(rmdir(link), 0);
    assert_int_equal(symlink("/dev/kvm", link), 0);
    fds[0] = open(link, O_RDWR | O_CLOEXEC);
    fds[1] = openat(folder, "kvm", O_RDWR | O_CLOEXEC);
    fds[2] = open("/dev/../dev/kvm", O_RDWR | O_CLOEXEC);
    (void)unlink(link);
    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++) {
        assert_true(fds[i] >= 0);
        assert_int_equal(ioctl(fds[i], KVM_CHECK_EXTENSION, KVM_CAP_HYPERV_SYNIC2), 1);
        (void)close(fds[i]);
    }
    (void)close(folder);
}

static void a_call_by_number_is_a_call(void **state)
{
    struct machine machine;
    struct vcpu vcpu;

    (void)state;
    start(&machine, &vcpu);
    assert_int_equal(syscall(SYS_ioctl, machine.vm, KVM_CHECK_EXTENSION, KVM_CAP_HYPERV_SYNIC2), 1);
    assert_int_equal(syscall(SYS_ioctl, vcpu.fd, KVM_RUN, 0), 0);
    assert_int_equal(port_value(&vcpu), 0);
    assert_int_equal(syscall(SYS_getpid), getpid());
    assert_int_equal(syscall(SYS_close, -1), -1);
    assert_int_equal(errno, EBADF);
    end(&machine, &vcpu);
}

/* As a library does that is loaded while the program runs. */
static void a_function_found_by_its_name_is_ours(void **state)
{
    int (*call)(int, unsigned long, ...);
    void *found = dlsym(RTLD_DEFAULT, "ioctl");
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

    (void)state;
    assert_non_null(found);
    memcpy(&call, &found, sizeof call); /* ISO C has no cast for it */
    assert_int_equal(call(kvm, KVM_CHECK_EXTENSION, KVM_CAP_HYPERV_SYNIC2), 1);
    (void)close(kvm);
}

/* ---- Over sockets ---- */

static void fd_send(int socket, int fd)
{
    char byte = 0;
    struct iovec data = {&byte, 1};
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {.head = {.cmsg_len = CMSG_LEN(sizeof fd),
                          .cmsg_level = SOL_SOCKET,
                          .cmsg_type = SCM_RIGHTS}};
    struct msghdr message = {.msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};

    memcpy(CMSG_DATA(&control.head), &fd, sizeof fd);
    assert_int_equal(sendmsg(socket, &message, 0), 1);
}

static int fd_receive(int socket)
{
    char byte;
    int fd = -1;
    struct iovec data = {&byte, 1};
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr message = {.msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};

    assert_int_equal(recvmsg(socket, &message, MSG_CMSG_CLOEXEC), 1);
    memcpy(&fd, CMSG_DATA(&control.head), sizeof fd);
    return fd;
}

static void a_vcpu_received_over_a_socket_is_the_same(void **state)
{
    struct machine machine;
    struct vcpu vcpu;
    int ends[2];
    int sent;

    (void)state;
    start(&machine, &vcpu);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    fd_send(ends[0], vcpu.fd);
    sent = vcpu.fd;
    vcpu.fd = fd_receive(ends[1]);
    assert_int_not_equal(vcpu.fd, sent);
    check_served(&vcpu);
    (void)close(sent);
    check_served(&vcpu);
    (void)close(ends[0]);
    (void)close(ends[1]);
    end(&machine, &vcpu);
}

/* ---- Other processes ---- */

static void check_child(pid_t pid)
{
    int status = -1;

    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* As a broker does it: the one that opens is not the one that uses. */
static void a_device_opened_by_another_process_is_one(void **state)
{
    int ends[2];
    int fd;
    pid_t pid;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    pid = fork();
    if (pid == 0) {
        fd_send(ends[0], open("/dev/kvm", O_RDWR | O_CLOEXEC));
        _exit(0);
    }
    fd = fd_receive(ends[1]);
    check_child(pid);
    assert_int_equal(ioctl(fd, KVM_CHECK_EXTENSION, KVM_CAP_HYPERV_SYNIC2), 1);
    (void)close(fd);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

static char program[4096];

static void a_device_inherited_by_another_program_is_one(void **state)
{
    int fd = open("/dev/kvm", O_RDWR); /* stays open at exec */
    char number[16];
    pid_t pid;

    (void)state;
    (void)snprintf(number, sizeof number, "%d", fd);
    pid = fork();
    if (pid == 0) {
        (void)execl(program, program, "--inherited", number, (char *)NULL);
        _exit(100);
    }
    check_child(pid);
    (void)close(fd);
}

/* The child of vfork() has its parent's memory and descriptors of its own. */
static void what_a_child_of_vfork_closes_stays_open_here(void **state)
{
    struct machine machine;
    struct vcpu vcpu;
    pid_t pid;

    (void)state;
    start(&machine, &vcpu);
    check_served(&vcpu);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    pid = vfork();
#pragma GCC diagnostic pop
    if (pid == 0) {
        (void)close(vcpu.fd);
        (void)dup2(0, machine.vm);
        (void)close_range(3, ~0u, 0);
        (void)execl("/proc/self/exe", program, "--nothing", (char *)NULL);
        _exit(100);
    }
    check_child(pid);
    assert_int_equal(ioctl(machine.vm, KVM_CHECK_EXTENSION, KVM_CAP_HYPERV_SYNIC2), 1);
    check_served(&vcpu);
    end(&machine, &vcpu);
}

/* How many descriptors of this process are files of this kind. */
static unsigned descriptors_of(const char *kind)
{
    DIR *folder = opendir("/proc/self/fd");
    struct dirent *entry;
    unsigned count = 0;

    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        char file[64] = "";

        count += readlinkat(dirfd(folder), entry->d_name, file, sizeof file - 1) > 0 &&
                 strstr(file, kind) != NULL;
    }
    (void)closedir(folder);
    return count;
}

static void a_child_holds_nothing_of_a_vm_but_what_the_program_left_it(void **state)
{
    struct machine machine;
    struct vcpu vcpu;
    pid_t pid;

    (void)state;
    start(&machine, &vcpu);
    check_served(&vcpu);
    pid = fork();
    if (pid == 0) {
        _exit(descriptors_of("kvm-vm") != 1 || descriptors_of("kvm-vcpu") != 1);
    }
    check_child(pid);
    check_served(&vcpu);
    end(&machine, &vcpu);
    assert_int_equal(descriptors_of("kvm-v"), 0);
}

static bool nothing_to_test(int kvm)
{
    return kvm < 0 || ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_HYPERV_SYNIC2) <= 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_number_taken_over_by_dup2_is_the_other_files),
        cmocka_unit_test(a_number_closed_in_any_way_is_the_next_files),
        cmocka_unit_test(closing_from_a_number_on_spares_what_is_below),
        cmocka_unit_test(a_copy_is_as_good_as_what_it_was_copied_from),
        cmocka_unit_test(a_vcpu_needs_no_descriptor_of_its_vm),
        cmocka_unit_test(the_program_gets_the_numbers_it_would_get_without_us),
        cmocka_unit_test(the_program_gets_as_many_as_it_would_get_without_us),
        cmocka_unit_test(the_device_is_known_by_any_name),
        cmocka_unit_test(a_call_by_number_is_a_call),
        cmocka_unit_test(a_function_found_by_its_name_is_ours),
        cmocka_unit_test(a_vcpu_received_over_a_socket_is_the_same),
        cmocka_unit_test(a_device_opened_by_another_process_is_one),
        cmocka_unit_test(a_device_inherited_by_another_program_is_one),
        cmocka_unit_test(what_a_child_of_vfork_closes_stays_open_here),
        cmocka_unit_test(a_child_holds_nothing_of_a_vm_but_what_the_program_left_it),
    };
    int kvm;

    if (argc == 3 && strcmp(argv[1], "--inherited") == 0) {
        return nothing_to_test(atoi(argv[2])) ? EXIT_FAILURE : EXIT_SUCCESS;
    }
    if (argc == 2 && strcmp(argv[1], "--nothing") == 0) {
        return EXIT_SUCCESS;
    }
    if (argc == 2) {
        cmocka_set_test_filter(argv[1]); /* a pattern of names */
    }
    kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (nothing_to_test(kvm) || readlink("/proc/self/exe", program, sizeof program - 1) <= 0) {
        puts("no /dev/kvm here that libhvtlfs-kvm-preload.so could serve");
        return SKIPPED;
    }
    (void)close(kvm);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
