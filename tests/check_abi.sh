#!/bin/sh
# SPDX-License-Identifier: MIT
# check_abi.sh [--update] SHARED
#
# The shared library still has the ABI that abi/libhvtlfs.abi describes: no function has gone, and no
# type that the public headers show has changed. New functions and types are allowed and named.
# --update writes the description anew (./dev abi): a change of the ABI is made on purpose, in the diff.
# Exit status 77 where it cannot be compared: no abigail-tools, another processor, no debug information.
set -u
source_dir=$(cd "$(dirname "$0")/.." && pwd)
baseline=$source_dir/abi/libhvtlfs.abi
update=no
[ "${1-}" = --update ] && { update=yes; shift; }
shared=${1:?usage: check_abi.sh [--update] SHARED}

if ! command -v abidiff >/dev/null || ! command -v abidw >/dev/null; then
    echo "abidiff is not installed (Debian: abigail-tools)"
    exit 77
fi
if [ "$(uname -m)" != x86_64 ]; then
    echo "the description is that of x86-64; this machine is $(uname -m)"
    exit 77
fi
readelf -S "$shared" | grep -q '\.debug_info' || { echo "$shared has no debug information"; exit 77; }

if [ $update = yes ]; then
    mkdir -p "$source_dir/abi"
    exec abidw --suppressions "$source_dir/abi/private.suppr" --no-corpus-path --no-comp-dir-path \
        --no-show-locs --out-file "$baseline" "$shared"
fi

compare() {
    abidiff --suppressions "$source_dir/abi/private.suppr" "$@" "$baseline" "$shared"
}

report=$(compare --no-added-syms)
status=$?
if [ $status -ne 0 ]; then
    echo "$report"
    if [ $((status & 3)) -ne 0 ]; then
        echo "FAIL: abidiff could not compare"
    else
        echo "FAIL: the ABI is another; if that is meant, ./dev abi writes abi/libhvtlfs.abi anew"
    fi
    exit 1
fi
compare | grep "^ *\[A\]"
echo "the ABI is that of abi/libhvtlfs.abi ($(grep -c '<elf-symbol' "$baseline") functions)"
