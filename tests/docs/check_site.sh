#!/bin/sh
# SPDX-License-Identifier: MIT
# check_site.sh TOOL: the documentation site builds without a warning, and its links lead somewhere.
set -u
cd "$(dirname "$0")/../.." || exit 1
tool=${1:?usage: check_site.sh TOOL}
for program in doxygen dot; do
    command -v "$program" >/dev/null || { echo "$program is not installed"; exit 77; }
done
style=/usr/share/doxygen-awesome-css/doxygen-awesome.css
[ -e "$style" ] || { echo "doxygen-awesome-css is not installed"; exit 77; }
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" docs/site/build.py "$PWD" "$tool" "$work/site" || exit 1
"${PYTHON:-python3}" tests/docs/check_links.py "$work/site/html"
