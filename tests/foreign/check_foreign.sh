#!/bin/sh
# SPDX-License-Identifier: MIT
# check_foreign.sh TARGET... (i686 s390x aarch64)
#
# On another processor: 32 bits (i686, natively), big-endian (s390x) and one with another order of memory
# (aarch64), both by qemu-user. The unit tests; every script of tests/replay and tests/faults, as it is and
# saved after each command; the saved states of tests/states, which must read the same as here; the corpora of
# the fuzzers. Cross compilers and their libc only; tests/foreign/cmocka.h stands in for cmocka.
#
# Before that the core is compiled for kernels of several processors (check_freestanding.sh --foreign), if
# clang is there.
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

jobs=$(nproc 2>/dev/null || echo 2)

# compile COMPILER: objects of the library, of the command's parts and the fuzzers' host; the programs
compile() {
    flags="-std=c11 -O1 -Wall -Wextra -Werror -D_POSIX_C_SOURCE=200809L -Iinclude -I$build/include"
    flags="$flags -Isrc -Itools -Itests -Itests/fuzz"
    export flags work compiler="$1"
    mkdir -p "$work/parts"
    find src tools/model_*.c -name '*.c' | xargs -P "$jobs" -I '{}' sh -c \
        '$compiler $flags -c {} -o "$work/$(basename {} .c).o"' || return
    find tools tests/fuzz -name '*.c' ! -name 'model_*' ! -name 'fuzz_*' ! -name main.c |
        xargs -P "$jobs" -I '{}' sh -c '$compiler $flags -w -c {} -o "$work/parts/$(basename {} .c).o"' || return
    find tests -maxdepth 1 -name 'test_*.c' ! -name test_kvm.c | xargs -P "$jobs" -I '{}' sh -c \
        '$compiler -Itests/foreign $flags -w {} "$work"/*.o "$work/parts/host.o" -static -pthread \
            -o "$work/$(basename {} .c)"' || return
    # Its model multiplies 128 bits, which the compilers have for 64-bit processors only.
    [ "$1" = i686-linux-gnu-gcc ] && without=fuzz_model.c || without=none
    find tests/fuzz -name 'fuzz_*.c' ! -name $without | xargs -P "$jobs" -I '{}' sh -c \
        '$compiler $flags -w {} "$work"/*.o "$work"/parts/*.o -static -pthread -o "$work/$(basename {} .c)"' ||
        return
    rm "$work/parts/run.o" # has a main of its own
    # shellcheck disable=SC2086
    $compiler $flags -w tools/main.c "$work"/*.o "$work"/parts/*.o -static -pthread -o "$work/hvtlfs"
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

# each_script TARGET: $work/tool is the command there
each_script() {
    good=0
    for script in tests/replay/*.hvt tests/faults/*.hvt; do
        case $script in
        *connections.hvt | *flush-queued.hvt | tests/faults/*) saved=true ;; # as in tests/CMakeLists.txt
        *) saved="sh tests/check_saved.sh $script" ;;
        esac
        if HVTLFS_TOOL=$work/tool "$work/tool" replay "$script" >"$work/log" 2>&1 &&
            HVTLFS_TOOL=$work/tool $saved >"$work/log" 2>&1; then
            good=$((good + 1))
        else
            echo "FAIL: $1: $script"
            tail -n 8 "$work/log"
            failed=1
        fi
    done
    for state in tests/states/*.state; do
        HVTLFS_TOOL=$work/tool sh tests/states/check.sh "$state" >"$work/log" 2>&1 ||
            { echo "FAIL: $1: $state"; tail -n 8 "$work/log"; failed=1; }
    done
    echo "$1: $good scripts pass"
}

# each_corpus TARGET RUNNER...: what fuzzing found here is looked at there
each_corpus() {
    target=$1 files=0
    shift
    for program in "$work"/fuzz_*; do
        name=${program##*/fuzz_}
        corpus=tests/fuzz/corpus/$name
        [ "$name" != state ] || corpus=tests/states
        if find "$corpus" -type f ! -name '*.hvt' ! -name '*.sh' -print0 |
            xargs -0 timeout 600 "$@" "$program" 0 >"$work/log" 2>&1; then
            files=$((files + $(find "$corpus" -type f | wc -l)))
        else
            echo "FAIL: $target: corpus of $name"
            tail -n 8 "$work/log"
            failed=1
        fi
    done
    echo "$target: $files inputs of the fuzzers pass"
}

if command -v clang >/dev/null; then
    sh tests/check_freestanding.sh --foreign "$build/include" src/*.c || failed=1
fi
for target in "${@:-i686}"; do
    case $target in
    i686) compiler=i686-linux-gnu-gcc runner=env ;;
    s390x) compiler=s390x-linux-gnu-gcc runner=qemu-s390x ;;
    aarch64) compiler=aarch64-linux-gnu-gcc runner=qemu-aarch64 ;;
    *) echo "usage: check_foreign.sh i686 s390x aarch64"; exit 2 ;;
    esac
    for program in $compiler $runner; do
        command -v "$program" >/dev/null || { echo "$program is not installed"; exit 77; }
    done
    rm -rf "${work:?}"/*
    compile $compiler || { echo "FAIL: $target: does not compile"; exit 1; }
    printf '#!/bin/sh\nexec %s %s/hvtlfs "$@"\n' $runner "$work" >"$work/tool"
    chmod +x "$work/tool"
    run_tests "$target" $runner
    same_states "$target" $runner
    each_script "$target"
    each_corpus "$target" $runner
done
exit $failed
