#!/bin/sh
# SPDX-License-Identifier: MIT
# check_helgrind.sh [TEST...]: the thread tests under Helgrind (default: the flush queues; others take long or are not clean yet).
#
# Built with tests/helgrind/atomics.h, which tells Helgrind the order our atomics make. Then once more
# with every release forgotten: Helgrind must report that, or the first run said nothing. Exit status
# 77 if valgrind is missing.
set -u
cd "$(dirname "$0")/../.." || exit 1
build=${HVTLFS_BUILD_DIR:-build-dev}
command -v valgrind >/dev/null || { echo "valgrind is not installed"; exit 77; }
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
failed=0
[ $# -gt 0 ] || set -- test_flush_threads

# compile DIRECTORY FLAG: the library, the model host and the tests
compile() {
    out=$work/$1 flags="-std=c11 -g -O1 -D_POSIX_C_SOURCE=200809L $2 -include tests/helgrind/atomics.h"
    flags="$flags -Iinclude -I$build/include -Isrc -Itools -Itests"
    export out flags
    shift 2
    mkdir "$out"
    find src tools/model_*.c -name '*.c' | xargs -P 2 -I '{}' sh -c \
        '${CC:-cc} $flags -c {} -o "$out/$(basename {} .c).o"' || return
    for test in "$@"; do
        # shellcheck disable=SC2086
        ${CC:-cc} $flags "tests/$test.c" "$out"/*.o -pthread -lcmocka -o "$out/$test" || return
    done
}

# helgrind DIRECTORY TEST
helgrind() {
    HVTLFS_SOURCE_DIR=$PWD timeout 600 valgrind --tool=helgrind --fair-sched=yes --error-exitcode=99 -q \
        "$work/$1/$2" >"$work/log" 2>&1
}

compile right -DHVTLFS_HELGRIND "$@" && compile wrong -DHVTLFS_FORGET_RELEASE "$@" ||
    { echo "FAIL: does not compile"; exit 1; }
for test in "$@"; do
    if helgrind right "$test"; then
        echo "$test: no race"
    else
        echo "FAIL: $test"
        head -n 40 "$work/log"
        failed=1
    fi
done
seen=0
for test in "$@"; do
    helgrind wrong "$test"
    [ $? -ne 99 ] || seen=$((seen + 1))
done
[ $seen -gt 0 ] || { echo "FAIL: forgotten releases go unnoticed"; failed=1; }
echo "with releases forgotten, $seen tests are reported"
exit $failed
