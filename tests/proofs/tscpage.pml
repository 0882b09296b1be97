/* SPDX-License-Identifier: MIT */
/*
 * The protocol of the reference TSC page (src/tscpage.c, src/clock.c, hvtlfs/guest_time.h): one writer
 * that changes the clock UPDATES times, two readers.
 *
 * Cells: the sequence, the scale, the offset. The body of epoch v is (v, v), so a torn pair shows. The
 * clock's epoch is what the guest's TSC means: a reader that took its TSC in epoch e and believed a page
 * of epoch v # e has computed nonsense, or a time later than the one at which the clock stopped.
 *
 * The writer stores into a buffer that drains by itself. TSO (x86): first in, first out; loads in order.
 * WEAK: a store leaves in any order but behind earlier ones of its cell; a release store leaves only
 * when all before it have; acquire loads are in order, others in any order. A full fence waits for the
 * buffer to drain.
 *
 * What is broken on purpose, each must fail:
 *   BUMP_ONLY        no sequence 0 before the body
 *   SAME_SEQUENCE    the sequence that comes back is the old one
 *   NO_FENCE         the clock changes before the 0 is visible
 *   RELAXED_SEQUENCE (WEAK) the new sequence's store is no release
 *   RELAXED_LOADS    (WEAK) the reader's loads are no acquires
 *   LATE_TSC         the TSC is taken after the second look at the sequence
 * RELAXED_BODY (WEAK: the body's stores are no releases) does no harm, for the fence holds them back.
 * And REACH_VALID, REACH_FALLBACK, REACH_RETRY must "fail": what they call unreachable is reached.
 */
#ifndef UPDATES
#define UPDATES 2
#endif
#define SLOTS 8
#define SEQUENCE 0
#define SCALE 1
#define OFFSET 2

#ifdef RELAXED_BODY
#define BODY_RELEASES false
#else
#define BODY_RELEASES true
#endif
#ifdef RELAXED_SEQUENCE
#define SEQUENCE_RELEASES false
#else
#define SEQUENCE_RELEASES true
#endif

byte memory[3];
byte epoch = 1;

byte cell[SLOTS];
byte value[SLOTS];
bool releases[SLOTS];
byte pending = 0;
bool finished = false;

inline store(c, v, r)
{
    atomic {
        pending < SLOTS -> cell[pending] = c; value[pending] = v; releases[pending] = r; pending++
    }
}

inline remove(k)
{
    j = k;
    do
    :: j + 1 < pending ->
        cell[j] = cell[j + 1]; value[j] = value[j + 1]; releases[j] = releases[j + 1]; j++
    :: else -> break
    od;
    pending--;
    cell[pending] = 0; value[pending] = 0; releases[pending] = false; j = 0
}

proctype buffer()
{
    byte i, j, k;
    bool may;
    do
    :: atomic { pending > 0 -> memory[cell[0]] = value[0]; remove(0) }
#ifdef WEAK
    :: atomic {
        pending > 1 ->
        select(k : 1 .. 7);
        may = k < pending && !releases[k];
        i = 0;
        do
        :: may && i < k -> may = cell[i] != cell[k]; i++
        :: else -> break
        od;
        if
        :: may -> memory[cell[k]] = value[k]; remove(k)
        :: else
        fi;
        i = 0; k = 0; may = false
       }
#endif
    :: atomic { finished && pending == 0 -> break }
    od
}

proctype writer()
{
    byte v = 2;
    do
    :: v < 2 + UPDATES ->
#ifndef BUMP_ONLY
        store(SEQUENCE, 0, true);
#endif
#ifndef NO_FENCE
        pending == 0;
#endif
        epoch = v;
        store(SCALE, v, BODY_RELEASES);
        store(OFFSET, v, BODY_RELEASES);
#ifdef SAME_SEQUENCE
        store(SEQUENCE, 1, SEQUENCE_RELEASES);
#else
        store(SEQUENCE, v, SEQUENCE_RELEASES);
#endif
        v++
    :: else -> break
    od;
    finished = true
}

inline believe()
{
    assert(scale == offset);
    assert(scale == tsc);
#ifdef REACH_VALID
    assert(scale != 2 + UPDATES - 1);
#endif
}

proctype reader()
{
    byte s1, s2, scale, offset, tsc;
    bool has_scale, has_offset, has_s1, has_s2, has_tsc;
    byte tries = 0;
    do
    :: tries < 2 ->
        tries++;
#if defined(WEAK) && defined(RELAXED_LOADS)
        has_s1 = false; has_s2 = false; has_scale = false; has_offset = false; has_tsc = false;
        do
        :: atomic { !has_s1 -> s1 = memory[SEQUENCE]; has_s1 = true }
        :: atomic { has_s1 && !has_s2 -> s2 = memory[SEQUENCE]; has_s2 = true }
        :: atomic { !has_scale -> scale = memory[SCALE]; has_scale = true }
        :: atomic { !has_offset -> offset = memory[OFFSET]; has_offset = true }
        :: atomic { has_s1 && !has_tsc -> tsc = epoch; has_tsc = true }
        :: has_s2 && has_scale && has_offset && has_tsc -> break
        od;
#else
        s1 = memory[SEQUENCE];
#ifndef LATE_TSC
        tsc = epoch;
#endif
        scale = memory[SCALE];
        offset = memory[OFFSET];
        s2 = memory[SEQUENCE];
#ifdef LATE_TSC
        tsc = epoch;
#endif
#endif
        if
        :: s1 == 0 ->
            skip
#ifdef REACH_FALLBACK
            ; assert(false)
#endif
        :: s1 != 0 && s1 == s2 ->
            believe()
        :: else ->
            skip
#ifdef REACH_RETRY
            ; assert(false)
#endif
        fi;
        s1 = 0; s2 = 0; scale = 0; offset = 0; tsc = 0
    :: else -> break
    od
}

init
{
    atomic {
        memory[SEQUENCE] = 1; memory[SCALE] = 1; memory[OFFSET] = 1;
        run buffer(); run writer(); run reader(); run reader()
    }
}
