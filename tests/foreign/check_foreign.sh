#!/bin/sh
# SPDX-License-Identifier: MIT
# check_foreign.sh TARGET... (i686 s390x)
#
# The unit tests on another processor: 32 bits (i686, natively) and big-endian (s390x, by qemu-user).
# Cross compilers and their libc only; tests/foreign/cmocka.h stands in for cmocka. On s390x also the
# saved states of tests/states are printed, and must read the same as here.
#
# test_kvm is not among them: it tests the adapter to KVM, which is x86-64 only. Exit status 77 if a
# compiler or qemu is missing.
set -u
cd "$(dirname "$0")/../.." || exit 1
build=${HVTLFS_BUILD_DIR:-build-dev}
tool=${HVTLFS_TOOL:-$build/bin/hvtlfs}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
failed=0

# compile COMPILER: objects of the library and the model host, the test programs, the command
compile() {
    flags="-std=c11 -O1 -Wall -Wextra -Werror -D_POSIX_C_SOURCE=200809L -Iinclude -I$build/include"
    export flags work compiler="$1"
    find src tools/model_*.c -name '*.c' | xargs -P 2 -I '{}' sh -c \
        '$compiler $flags -Isrc -Itools -c {} -o "$work/$(basename {} .c).o"' || return
    # shellcheck disable=SC2086
    $compiler $flags -Isrc -Itests -c tests/fuzz/host.c -o "$work/fuzz_host.o" || return
    find tests -maxdepth 1 -name 'test_*.c' ! -name test_kvm.c | xargs -P 2 -I '{}' sh -c \
        '$compiler $flags -w -Itests/foreign -Isrc -Itools -Itests {} "$work"/*.o -static -pthread \
            -o "$work/$(basename {} .c)"' || return
    # shellcheck disable=SC2046,SC2086
    $compiler $flags -w -Itools $(find tools -name '*.c' ! -name 'model_*') "$work"/*.o -static \
        -pthread -o "$work/hvtlfs"
}

# run_tests TARGET RUNNER...
run_tests() {
    target=$1 passed=0
    shift
    for test in "$work"/test_*; do
        name=$(basename "$test")
        case $name in *.o) continue ;; esac
        if HVTLFS_SOURCE_DIR=$PWD timeout 300 "$@" "$test" >"$work/log" 2>&1; then
            passed=$((passed + 1))
        else
            echo "FAIL: $target: $name"
            tail -n 8 "$work/log"
            failed=1
        fi
    done
    echo "$target: $passed test programs pass"
}

# same_states TARGET RUNNER...
same_states() {
    target=$1
    shift
    for state in tests/states/*.state; do
        "$tool" state "$state" >"$work/here" && "$@" "$work/hvtlfs" state "$state" >"$work/there" &&
            cmp -s "$work/here" "$work/there" || { echo "FAIL: $target: $state reads differently"; failed=1; }
    done
}

for target in "${@:-i686}"; do
    case $target in
    i686) compiler=i686-linux-gnu-gcc runner=env ;;
    s390x) compiler=s390x-linux-gnu-gcc runner=qemu-s390x ;;
    *) echo "usage: check_foreign.sh i686 s390x"; exit 2 ;;
    esac
    for program in $compiler $runner; do
        command -v "$program" >/dev/null || { echo "$program is not installed"; exit 77; }
    done
    rm -f "$work"/*
    compile $compiler || { echo "FAIL: $target: does not compile"; exit 1; }
    run_tests "$target" $runner
    same_states "$target" $runner
done
exit $failed
