#!/bin/sh
# SPDX-License-Identifier: MIT
# Every man page, written or made, is without an error or a warning; every page it points to exists.
set -u
cd "$(dirname "$0")/.." || exit 1
if ! command -v mandoc >/dev/null; then
    echo "mandoc is not installed"
    exit 77
fi
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" docs/site/man.py . "$work" || exit 1
set -- docs/man/*.[1-9] "$work"/man*/*.[1-9]
mandoc -T lint -W warning "$@" || exit 1

# .Xr NAME SECTION
sed -n 's/^\.Xr \([^ ]*\) \([0-9]\).*/\1.\2/p' "$@" | sort -u >"$work/wanted"
for page; do
    basename "$page"
done | sort -u >"$work/there"
if comm -23 "$work/wanted" "$work/there" | grep .; then
    echo "FAIL: pages point to those above, which do not exist"
    exit 1
fi
echo "$# man pages"
