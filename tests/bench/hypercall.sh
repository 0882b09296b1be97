#!/bin/sh
# SPDX-License-Identifier: MIT
# How many instructions a hypercall costs, callbacks of an idle host included.
#
#   tests/bench/hypercall.sh BUILD_DIR [LIBRARY]
#
# Prints one line for each case and fails where a budget is exceeded. Needs valgrind (callgrind).
set -eu
build=${1:?usage: hypercall.sh BUILD_DIR [LIBRARY]}
library=${2:-$build/lib/libhvtlfs.a}
command -v valgrind >/dev/null || { echo "valgrind is missing"; exit 77; }
source_dir=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${CC:-cc}" -std=c11 -O2 -g -I "$source_dir/include" -I "$build/include" \
    "$source_dir/tests/bench/bench_hypercall.c" "$library" -Wl,-S -o "$work/bench"

# The most instructions allowed for a case: 200 for a spin wait, 200 and 12 for each target of an
# IPI, 200 and 5 for each VP of a flush.
budget()
{
    case $1 in
    spin-wait) echo 200 ;;
    ipi-64 | ipi-64-set) echo $((200 + 12 * 64)) ;;
    flush-4096*) echo $((200 + 5 * 4096)) ;;
    *) echo 100000 ;;
    esac
}

failed=0
for case in $("$work/bench"); do
    valgrind --tool=callgrind --callgrind-out-file="$work/out" --toggle-collect=hvtlfs_hypercall \
        "$work/bench" "$case" 2>"$work/log" || { cat "$work/log"; exit 1; }
    total=$(awk '/^(summary|totals):/ { print $2; exit }' "$work/out")
    each=$((total / 1000))
    printf '%-22s %6d instructions (at most %d)\n' "$case" "$each" "$(budget "$case")"
    [ "$each" -le "$(budget "$case")" ] || failed=1
done
exit $failed
