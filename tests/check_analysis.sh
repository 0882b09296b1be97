#!/bin/sh
# SPDX-License-Identifier: MIT
# check_analysis.sh BUILD [TOOL...]
#
# Static analysis of src/, tools/, adapters/kvm and adapters/unicorn: gcc's analyser at -O1 and -O2,
# clang-tidy with .clang-tidy, scan-build, cppcheck; or the TOOLs named (gcc, tidy, scan, cppcheck).
# BUILD was configured with clang and has compile_commands.json. A finding is a failure.
set -u
cd "$(dirname "$0")/.." || exit 2
build=${1:?usage: check_analysis.sh BUILD [TOOL...]}
shift
[ $# -gt 0 ] || set -- gcc tidy scan cppcheck
jobs=$(nproc 2>/dev/null || echo 2)
failed=0
sources() { ls src/*.c tools/*.c adapters/kvm/*.c adapters/unicorn/*.c; }
includes="-Iinclude -I$build/include -Isrc -Itools -Iadapters/kvm/include -Iguest/host -Iguest"

# Where the allocation is kept in an array that is looked up, gcc 12 loses it; the tests' leak checker,
# which runs this file, does not.
gcc_only() {
    [ "$1" != tools/model_host.c ] || echo -Wno-analyzer-malloc-leak
}

gcc_one() {
    for level in -O1 -O2; do
        # shellcheck disable=SC2046,SC2086
        gcc -std=gnu11 $level -fanalyzer -Werror $includes $(gcc_only "$1") -c "$1" -o /dev/null || return 1
    done
}

run_gcc() {
    status=0
    for file in $(sources); do
        gcc_one "$file" || status=1
    done
    return $status
}

# One file for each run: clang-tidy 14 forgets what va_start() did where it sees several.
run_tidy() {
    sources | xargs -P "$jobs" -n 1 clang-tidy -p "$build" --quiet
}

# Compiles src/ anew under scan-build; tools/ and the adapters go through the same analyser in clang-tidy.
run_scan() {
    work=$(mktemp -d) || return 1
    # shellcheck disable=SC2086
    scan-build --use-cc=clang --status-bugs -o "$work" sh -c \
        'for file in src/*.c; do $CC -std=c11 '"$includes"' -c "$file" -o "'"$work"'/object.o" || exit 1; done'
    status=$?
    [ $status -ne 0 ] || rm -rf "$work"
    return $status
}

run_cppcheck() {
    # shellcheck disable=SC2086
    cppcheck --std=c11 --enable=warning,performance,portability --inline-suppr --quiet --error-exitcode=1 \
        -j "$jobs" $includes $(sources)
}

for tool; do
    start=$(date +%s)
    if "run_$tool"; then
        echo "ok: $tool, $(($(date +%s) - start)) s"
    else
        echo "FAIL: $tool found something, see above"
        failed=1
    fi
done
exit $failed
