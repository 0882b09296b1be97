#!/bin/sh
# SPDX-License-Identifier: MIT
# check_helgrind.sh [TEST...]: the thread tests under Helgrind (default: all of tests/test_*_threads.c).
#
# Built with tests/helgrind/atomics.h, which tells Helgrind the order our atomics make. A clean run says
# something only if it can find a race: each test is run again with every release forgotten, and with every
# lock forgotten, and Helgrind has to report one of the two. Exit status 77 if valgrind is missing.
set -u
cd "$(dirname "$0")/../.." || exit 1
build=${HVTLFS_BUILD_DIR:-build-dev}
jobs=$(nproc 2>/dev/null || echo 2)
command -v valgrind >/dev/null || { echo "valgrind is not installed"; exit 77; }

# compile TEST...: the library, the model host and the tests
compile() {
    flags="-std=c11 -g -O1 -D_POSIX_C_SOURCE=200809L -DHVTLFS_HELGRIND -include tests/helgrind/atomics.h"
    flags="$flags -Iinclude -I$build/include -Isrc -Itools -Itests"
    export work flags
    find src tools/model_*.c -name '*.c' | xargs -P "$jobs" -I '{}' sh -c \
        '${CC:-cc} $flags -c {} -o "$work/$(basename {} .c).o"' || return
    printf '%s\n' "$@" | xargs -P "$jobs" -I '{}' sh -c \
        '${CC:-cc} $flags tests/{}.c "$work"/*.o -pthread -lcmocka -o "$work/{}"'
}

# notices RUN TEST WHAT: with this forgotten Helgrind reports a race. The threads may happen to take turns.
notices() {
    for try in 1 2 3; do
        HVTLFS_FORGET=$3 $1 --exit-on-first-error=yes "$work/$2" >"$work/$2.$3.$try" 2>&1
        [ $? -ne 99 ] || return 0
    done
    return 1
}

# judge TEST: a line with the verdict; on failure what Helgrind said
judge() {
    run="timeout 900 valgrind --tool=helgrind --fair-sched=yes --error-exitcode=99 -q"
    if ! $run "$work/$1" >"$work/$1.log" 2>&1; then
        echo "FAIL: $1"
        head -n 40 "$work/$1.log"
        return
    fi
    reported=
    for what in release lock; do
        ! notices "$run" "$1" $what || reported="$reported $what"
    done
    [ -n "$reported" ] && echo "$1: no race; reported when forgotten:$reported" ||
        echo "FAIL: $1: neither forgotten releases nor forgotten locks are noticed"
}

if [ "${1-}" = --judge ]; then # itself, from xargs below
    work=$2
    judge "$3"
    exit
fi
# shellcheck disable=SC2046
[ $# -gt 0 ] || set -- $(find tests -name 'test_*_threads.c' -exec basename {} .c ';' | sort)
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
export HVTLFS_SOURCE_DIR="$PWD"
compile "$@" || { echo "FAIL: does not compile"; exit 1; }
printf '%s\n' "$@" | xargs -P "$jobs" -I '{}' sh "$0" --judge "$work" '{}' | tee "$work/verdicts"
! grep -q '^FAIL' "$work/verdicts" && [ "$(grep -c 'no race' "$work/verdicts")" -eq $# ]
