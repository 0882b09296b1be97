/* SPDX-License-Identifier: MIT */
/* Which descriptors of the program are KVM's. */
#include <stdlib.h>

#include "preload.h"

enum { TABLE = 65536 };

static struct object *table[TABLE];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct object system_itself = {KIND_SYSTEM, 1};

/* A child has its parent's descriptors, but KVM lets it use no VM of its parent's: they are as foreign
 * there as they would be without us. The objects stay where they are, for locks in them may be held. */
static void in_child(void)
{
    static const pthread_mutex_t fresh = PTHREAD_MUTEX_INITIALIZER;

    lock = fresh;
    lines_in_child();
    for (int fd = 0; fd < TABLE; fd++) {
        if (table[fd] != &system_itself) {
            table[fd] = NULL;
        }
    }
}

void table_init(void)
{
    (void)pthread_atfork(NULL, NULL, in_child);
}

struct object *system_object(void)
{
    return &system_itself;
}

bool table_add(int fd, struct object *object)
{
    if (fd < 0 || fd >= TABLE) {
        return false;
    }
    (void)pthread_mutex_lock(&lock);
    table[fd] = object;
    (void)pthread_mutex_unlock(&lock);
    return true;
}

struct object *object_get(int fd)
{
    struct object *object = NULL;

    /* Without the lock: most descriptors are none of ours. */
    if (fd < 0 || fd >= TABLE || __atomic_load_n(&table[fd], __ATOMIC_RELAXED) == NULL) {
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

void object_hold(struct object *object)
{
    (void)pthread_mutex_lock(&lock);
    object->references++;
    (void)pthread_mutex_unlock(&lock);
}

void object_put(struct object *object)
{
    bool last;

    (void)pthread_mutex_lock(&lock);
    last = --object->references == 0;
    (void)pthread_mutex_unlock(&lock);
    if (last && object->kind == KIND_VCPU) {
        vcpu_free((struct vcpu *)(void *)object);
    } else if (last && object->kind == KIND_VM) {
        vm_free((struct vm *)(void *)object);
    }
}

struct object *table_drop(int fd)
{
    struct object *object = NULL;

    if (fd >= 0 && fd < TABLE && __atomic_load_n(&table[fd], __ATOMIC_RELAXED) != NULL) {
        (void)pthread_mutex_lock(&lock);
        object = table[fd];
        table[fd] = NULL;
        (void)pthread_mutex_unlock(&lock);
    }
    return object != &system_itself ? object : NULL;
}
