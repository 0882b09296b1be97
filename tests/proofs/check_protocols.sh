#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Check the protocol models of tests/proofs with rumur (Debian: rumur): each holds, and each stops
# holding when one of its precautions is taken away. Exit status 77: rumur is not there.
set -u
cd "${HVTLFS_SOURCE_DIR:-.}" || exit 1
CC=${CC:-cc}

if ! command -v rumur >/dev/null 2>&1; then
    echo "skipped: rumur is not installed (Debian: rumur)"
    exit 77
fi
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

# run MODEL: 0 = holds, 1 = an error was found, 2 = could not be run
run() {
    rumur --deadlock-detection off --threads 1 --output "$work/model.c" "$1" || return 2
    "$CC" -std=c11 -O2 -mcx16 -w -o "$work/model" "$work/model.c" -lpthread -latomic || return 2
    "$work/model" >"$work/log" 2>&1 && return 0
    grep -q 'error(s) found' "$work/log" && return 1
    return 2
}

failures=0
# expect RESULT WHAT MODEL
expect() {
    run "$3"
    result=$?
    if [ "$result" -eq "$1" ]; then
        echo "ok: $2 ($(grep -o '[0-9]* states' "$work/log" | tail -1))"
    else
        echo "FAILED: $2"
        tail -60 "$work/log"
        failures=$((failures + 1))
    fi
}

slot=tests/proofs/synic_slot.m
expect 0 "no message waits for ever" "$slot"
for precaution in REREAD FLAG_MORE KICK_LAST; do
    sed "s/^  $precaution: true;/  $precaution: false;/" "$slot" >"$work/without.m"
    expect 1 "without $precaution one does" "$work/without.m"
done
exit "$failures"
