#!/bin/sh
# SPDX-License-Identifier: MIT
# Every man page is without an error or a warning.
set -u
cd "$(dirname "$0")/.." || exit 1
if ! command -v mandoc >/dev/null; then
    echo "mandoc is not installed"
    exit 77
fi
set -- docs/man/*.[1-9]
[ -e "$1" ] || { echo "there are no man pages"; exit 77; }
mandoc -T lint -W warning "$@" || exit 1
echo "$# man pages"
