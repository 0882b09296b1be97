/* SPDX-License-Identifier: MIT */
/*
 * Tells Helgrind, which knows locks and threads but no C11 atomics, what ours mean: included before
 * every file of such a build (check_helgrind.sh). A word that is accessed by a builtin is not checked
 * itself; an order of release or more is a happens-before at its address, one of acquire or more a
 * happens-after. Relaxed accesses order nothing, so what relies on one is still reported.
 *
 * What a run can find is shown by runs that must be reported: HVTLFS_FORGET=release in the environment
 * releases nothing, HVTLFS_FORGET=lock takes no mutex.
 */
#ifndef HELGRIND_ATOMICS_H
#define HELGRIND_ATOMICS_H

#include <pthread.h>
#include <stdlib.h>
#include <valgrind/helgrind.h>

__attribute__((weak)) char hg_forgets; /* the first letter of HVTLFS_FORGET, or 0 */

__attribute__((weak, constructor)) void hg_ask_environment(void)
{
    const char *what = getenv("HVTLFS_FORGET");

    hg_forgets = what ? what[0] : 0;
}

#define pthread_mutex_lock(mutex) (hg_forgets == 'l' ? 0 : pthread_mutex_lock(mutex))
#define pthread_mutex_unlock(mutex) (hg_forgets == 'l' ? 0 : pthread_mutex_unlock(mutex))

#define HG_RELEASES(order) ((order) >= __ATOMIC_RELEASE && hg_forgets != 'r')
#define HG_ACQUIRES(order)                                                                         \
    ((order) == __ATOMIC_ACQUIRE || (order) == __ATOMIC_ACQ_REL || (order) == __ATOMIC_SEQ_CST)

#define HG_BEFORE(word, order)                                                                     \
    do {                                                                                           \
        VALGRIND_HG_DISABLE_CHECKING(word, sizeof(*(word)));                                       \
        if (HG_RELEASES(order)) {                                                                  \
            ANNOTATE_HAPPENS_BEFORE(word);                                                         \
        }                                                                                          \
    } while (0)
#define HG_AFTER(word, order)                                                                      \
    do {                                                                                           \
        if (HG_ACQUIRES(order)) {                                                                  \
            ANNOTATE_HAPPENS_AFTER(word);                                                          \
        }                                                                                          \
    } while (0)

/* A load releases nothing and a store acquires nothing, whatever their order says. */
#define __atomic_load_n(word, order)                                                               \
    __extension__({                                                                                \
        __typeof__(word) hg_word = (word);                                                         \
        HG_BEFORE(hg_word, __ATOMIC_RELAXED);                                                      \
        __typeof__(*hg_word + 0) hg_value = __atomic_load_n(hg_word, order);                       \
        HG_AFTER(hg_word, order);                                                                  \
        hg_value;                                                                                  \
    })
#define __atomic_store_n(word, value, order)                                                       \
    __extension__({                                                                                \
        __typeof__(word) hg_word = (word);                                                         \
        HG_BEFORE(hg_word, order);                                                                 \
        __atomic_store_n(hg_word, value, order);                                                   \
    })
#define HG_CHANGE(change, word, value, order)                                                      \
    __extension__({                                                                                \
        __typeof__(word) hg_word = (word);                                                         \
        HG_BEFORE(hg_word, order);                                                                 \
        __typeof__(*hg_word + 0) hg_value = change(hg_word, value, order);                         \
        HG_AFTER(hg_word, order);                                                                  \
        hg_value;                                                                                  \
    })
#define __atomic_exchange_n(word, value, order) HG_CHANGE(__atomic_exchange_n, word, value, order)
#define __atomic_fetch_add(word, value, order) HG_CHANGE(__atomic_fetch_add, word, value, order)
#define __atomic_fetch_sub(word, value, order) HG_CHANGE(__atomic_fetch_sub, word, value, order)
#define __atomic_fetch_or(word, value, order) HG_CHANGE(__atomic_fetch_or, word, value, order)
#define __atomic_fetch_and(word, value, order) HG_CHANGE(__atomic_fetch_and, word, value, order)
#define __atomic_add_fetch(word, value, order) HG_CHANGE(__atomic_add_fetch, word, value, order)
#define __atomic_sub_fetch(word, value, order) HG_CHANGE(__atomic_sub_fetch, word, value, order)
#define __atomic_compare_exchange_n(word, expected, value, weak, order, failed)                    \
    __extension__({                                                                                \
        __typeof__(word) hg_word = (word);                                                         \
        HG_BEFORE(hg_word, order);                                                                 \
        _Bool hg_done =                                                                            \
            __atomic_compare_exchange_n(hg_word, expected, value, weak, order, failed);            \
        if (hg_done) {                                                                             \
            HG_AFTER(hg_word, order);                                                              \
        } else {                                                                                   \
            HG_AFTER(hg_word, failed);                                                             \
        }                                                                                          \
        hg_done;                                                                                   \
    })

#endif
