#!/bin/sh
# SPDX-License-Identifier: MIT
# check_symbols.sh SHARED STATIC SONAME HEADER...
#
# The shared library exports exactly the functions that the public headers declare with HVTLFS_API;
# every global of the static library carries one of our two prefixes; the soname is the right one.
set -u
shared=${1:?usage: check_symbols.sh SHARED STATIC SONAME HEADER...}
static=${2:?}
wanted=${3:?}
shift 3
nm=${NM:-nm}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
failed=0

# One declaration a line, without comments and preprocessor lines; then the name before the
# first parenthesis of those that begin with HVTLFS_API.
cat "$@" |
    awk '
        /^[ \t]*#/ { while (/\\$/ && (getline > 0)); next }
        { text = text " " $0 }
        END {
            while ((start = index(text, "/*")) > 0) {
                rest = substr(text, start + 2)
                end = index(rest, "*/")
                if (end == 0) break
                text = substr(text, 1, start - 1) " " substr(rest, end + 2)
            }
            gsub(/HVTLFS_(BEGIN|END)_DECLS/, ";", text)
            gsub(/[{}]/, ";", text)
            count = split(text, declaration, ";")
            for (i = 1; i <= count; i++)
                if (declaration[i] ~ /^[ \t]*HVTLFS_API/ &&
                    match(declaration[i], /[A-Za-z_][A-Za-z_0-9]*[ \t]*\(/)) {
                    name = substr(declaration[i], RSTART, RLENGTH - 1)
                    sub(/[ \t]+$/, "", name)
                    print name
                }
        }' | LC_ALL=C sort -u >"$work/declared"

"$nm" -D --defined-only "$shared" | awk '{ print $3 }' | LC_ALL=C sort -u >"$work/exported"
if ! [ -s "$work/declared" ]; then
    echo "FAIL: no HVTLFS_API declaration found"
    failed=1
fi
if ! diff "$work/declared" "$work/exported" >"$work/diff"; then
    echo "FAIL: headers (<) and exports (>) differ:"
    grep '^[<>]' "$work/diff"
    failed=1
fi

"$nm" -g --defined-only "$static" | awk 'NF == 3 { print $3 }' |
    grep -Ev '^(hvtlfs|hvti)_' >"$work/foreign"
if [ -s "$work/foreign" ]; then
    echo "FAIL: globals of the static library without the prefix hvtlfs_ or hvti_:"
    cat "$work/foreign"
    failed=1
fi

soname=$(readelf -d "$shared" | sed -n 's/.*(SONAME).*\[\(.*\)\].*/\1/p')
if [ "$soname" != "$wanted" ]; then
    echo "FAIL: the soname is '$soname', not $wanted"
    failed=1
fi

[ $failed -eq 0 ] && echo "$(wc -l <"$work/exported") functions exported, all declared; soname $soname"
exit $failed
