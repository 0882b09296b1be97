/* SPDX-License-Identifier: MIT */
/*
 * Which descriptors of the program are KVM's. The table is a memory of it; what counts is the file behind
 * a descriptor. So one that came by another way than through us (duplicated by a bare system call, received
 * over a socket, inherited) is found out when it is used, and so is one whose number has become another file's.
 */
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "preload.h"

enum {
    KVM_MAJOR = 10, /* of /dev/kvm, whatever it is called: Linux' list of devices */
    KVM_MINOR = 232,
    SAME_FILE = 0, /* KCMP_FILE */
};

static struct object *table[DESCRIPTORS];
static struct object *all; /* VMs and vCPUs */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct object system_itself = {.kind = KIND_SYSTEM, .references = 1, .fd = -1};
static pid_t process;

static void before_fork(void)
{
    (void)pthread_mutex_lock(&lock);
}

static void in_parent(void)
{
    (void)pthread_mutex_unlock(&lock);
}

/* A child has its parent's descriptors, but KVM lets it use no VM of its parent's: they are as foreign
 * there as they would be without us. The objects stay where they are, for locks in them may be held; what
 * would keep the VM from ending with the parent goes. */
static void in_child(void)
{
    static const pthread_mutex_t fresh = PTHREAD_MUTEX_INITIALIZER;

    lock = fresh;
    process = getpid();
    lines_in_child();
    own_in_child();
    for (struct object *object = all; object != NULL; object = object->next) {
        if (object->kind == KIND_VCPU) {
            struct vcpu *vcpu = (struct vcpu *)(void *)object;

            (void)munmap(vcpu->run, vcpu->run_size);
        }
    }
    all = NULL;
    for (int fd = 0; fd < DESCRIPTORS; fd++) {
        if (table[fd] != &system_itself) {
            table[fd] = NULL;
        }
    }
}

void table_init(void)
{
    process = getpid();
    (void)pthread_atfork(before_fork, in_parent, in_child);
}

/* ---- Objects ---- */

void object_born(struct object *object)
{
    (void)pthread_mutex_lock(&lock);
    object->next = all;
    all = object;
    (void)pthread_mutex_unlock(&lock);
}

void objects_each(void (*visit)(struct object *object))
{
    (void)pthread_mutex_lock(&lock);
    for (struct object *object = all; object != NULL; object = object->next) {
        visit(object);
    }
    (void)pthread_mutex_unlock(&lock);
}

/* With the lock. */
static void unlist(const struct object *object)
{
    for (struct object **link = &all; *link != NULL; link = &(*link)->next) {
        if (*link == object) {
            *link = object->next;
            return;
        }
    }
}

void object_hold(struct object *object)
{
    (void)pthread_mutex_lock(&lock);
    object->references++;
    (void)pthread_mutex_unlock(&lock);
}

void object_put(struct object *object)
{
    bool last;

    if (object == NULL || object == &system_itself) {
        return;
    }
    (void)pthread_mutex_lock(&lock);
    last = --object->references == 0;
    if (last) {
        unlist(object);
    }
    (void)pthread_mutex_unlock(&lock);
    if (last && object->kind == KIND_VCPU) {
        vcpu_free((struct vcpu *)(void *)object);
    } else if (last) {
        vm_free((struct vm *)(void *)object);
    }
}

/* ---- The table ---- */

/* What was at this number before is not any more. */
static void put_in(int fd, struct object *object)
{
    struct object *before;

    (void)pthread_mutex_lock(&lock);
    before = table[fd];
    table[fd] = object;
    (void)pthread_mutex_unlock(&lock);
    object_put(before);
}

bool table_add(int fd, struct object *object)
{
    if (fd < 0 || fd >= DESCRIPTORS) {
        return false;
    }
    put_in(fd, object);
    return true;
}

/* What the table says, with a reference. */
static struct object *noted(int fd)
{
    struct object *object;

    /* Without the lock: most descriptors are none of ours. */
    if (fd < 0 || fd >= DESCRIPTORS || __atomic_load_n(&table[fd], __ATOMIC_RELAXED) == NULL) {
        return NULL;
    }
    (void)pthread_mutex_lock(&lock);
    object = table[fd];
    if (object != NULL) {
        object->references++;
    }
    (void)pthread_mutex_unlock(&lock);
    return object;
}

/* A child of vfork() closes descriptors of its own, in our memory. */
static bool is_another_process(void)
{
    return getpid() != process;
}

void table_drop(int fd)
{
    if (fd >= 0 && fd < DESCRIPTORS && __atomic_load_n(&table[fd], __ATOMIC_RELAXED) != NULL &&
        !is_another_process()) {
        put_in(fd, NULL);
    }
}

void table_drop_range(unsigned first, unsigned last)
{
    for (unsigned fd = first; fd <= last && fd < DESCRIPTORS; fd++) {
        table_drop((int)fd);
    }
}

void table_copied(int from, int to)
{
    struct object *object = noted(from);

    if (from == to || is_another_process() || !table_add(to, object)) {
        object_put(object);
    }
}

/* ---- Files ---- */

enum sameness { SAME, OTHER, UNKNOWN };

static enum sameness compared(int one, int two)
{
    long order = syscall(SYS_kcmp, getpid(), getpid(), SAME_FILE, one, two);

    return order == 0 ? SAME : order > 0 ? OTHER : UNKNOWN;
}

static bool is_device(int fd)
{
    struct stat about;

    return fstat(fd, &about) == 0 && S_ISCHR(about.st_mode) &&
           about.st_rdev == makedev(KVM_MAJOR, KVM_MINOR);
}

/* Where nothing may be compared, what is noted is believed. */
static bool is_still(int fd, const struct object *object)
{
    return object->kind == KIND_SYSTEM ? is_device(fd) : compared(fd, object->fd) != OTHER;
}

static struct object *found_by_file(int fd)
{
    struct object *object;

    (void)pthread_mutex_lock(&lock);
    for (object = all; object != NULL; object = object->next) {
        if (compared(fd, object->fd) == SAME) {
            object->references += 2; /* the table's and the caller's */
            break;
        }
    }
    (void)pthread_mutex_unlock(&lock);
    return object;
}

static struct object *found_out(int fd)
{
    struct object *object;

    if (is_device(fd)) {
        object = offered() ? &system_itself : NULL;
    } else {
        object = found_by_file(fd);
    }
    if (object != NULL && !table_add(fd, object)) {
        object_put(object);
    }
    return object;
}

struct object *object_get(int fd, bool in_haste)
{
    struct object *object = noted(fd);

    if (object != NULL && (in_haste || is_still(fd, object))) {
        return object;
    }
    if (object != NULL) {
        table_drop(fd);
        object_put(object);
    }
    return found_out(fd);
}
