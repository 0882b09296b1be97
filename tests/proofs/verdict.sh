# SPDX-License-Identifier: MIT
# shellcheck shell=sh
# How a proof is counted and told; the scripts here read this file.
passed=0
failed=0

# verdict GOOD NAME DETAIL
verdict() {
    if [ "$1" = yes ]; then
        passed=$((passed + 1))
        echo "ok   $2: $3"
    else
        failed=$((failed + 1))
        echo "FAIL $2: $3"
    fi
}
