#!/bin/sh
# SPDX-License-Identifier: MIT
# check_freestanding.sh GENERATED_INCLUDE FILE.c...
#
# The core fits into a kernel: compiled without any header but the compiler's own, for the targets
# below, linked into one object, it
#   - asks for nothing but memcpy, memset, memmove, memcmp (no 64-bit division helper on 32 bits),
#   - has no writable data,
#   - uses no dynamic stack and at most STACK_LIMIT bytes of stack in a function.
set -u
source_dir=$(cd "$(dirname "$0")/.." && pwd)
generated=${1:?usage: check_freestanding.sh GENERATED_INCLUDE FILE.c...}
shift
[ $# -gt 0 ] || { echo "usage: check_freestanding.sh GENERATED_INCLUDE FILE.c..."; exit 2; }
nm=${NM:-nm}
ld=${LD:-ld}
stack_limit=${STACK_LIMIT:-1024}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
failed=0

fail() {
    echo "FAIL: $1: $2"
    failed=1
}

# check NAME EMULATION COMPILER FLAGS... -- FILE...
check() {
    name=$1 emulation=$2 compiler=$3
    shift 3
    if ! command -v "$compiler" >/dev/null; then
        echo "# $name: $compiler is not installed, not checked"
        return
    fi
    flags=
    while [ "$1" != -- ]; do
        flags="$flags $1"
        shift
    done
    shift
    dir=$work/$name
    mkdir "$dir"
    for file; do
        # shellcheck disable=SC2086
        "$compiler" -std=c11 -O2 -Wall -Wextra -Werror -nostdinc \
            -isystem "$("$compiler" -print-file-name=include)" \
            -isystem "$("$compiler" -print-file-name=include-fixed)" \
            -I "$source_dir/include" -I "$generated" -ffreestanding -fno-stack-protector -fno-pic \
            -fno-asynchronous-unwind-tables $flags -c "$file" \
            -o "$dir/$(basename "$file" .c).o" || fail "$name" "$(basename "$file") does not compile"
    done
    "$ld" -m "$emulation" -r -o "$dir/all" "$dir"/*.o || { fail "$name" "partial link"; return; }

    "$nm" -u "$dir/all" | awk '{ print $2 }' | grep -Evx 'memcpy|memset|memmove|memcmp' >"$dir/extra"
    if [ -s "$dir/extra" ]; then
        fail "$name" "needs from outside: $(tr '\n' ' ' <"$dir/extra")"
        for symbol in $(cat "$dir/extra"); do
            echo "    $symbol: used by $("$nm" -A -u "$dir"/*.o |
                awk -v s="$symbol" '$NF == s { sub(/:.*/, "", $1); sub(/.*\//, "", $1); print $1 }' |
                tr '\n' ' ')"
        done
    fi
    "$nm" "$dir/all" | awk '$2 ~ /^[BbDdCGgSs]$/ { print $3 }' >"$dir/writable"
    [ -s "$dir/writable" ] && fail "$name" "writable data: $(tr '\n' ' ' <"$dir/writable")"

    stack="not measured"
    if ls "$dir"/*.su >/dev/null 2>&1; then
        # "dynamic,bounded" is alignment; "dynamic" alone has no limit.
        awk -F '\t' '$3 == "dynamic" { print $1 }' "$dir"/*.su >"$dir/dynamic"
        [ -s "$dir/dynamic" ] && fail "$name" "dynamic stack in $(tr '\n' ' ' <"$dir/dynamic")"
        awk -F '\t' '{ print $2, $1 }' "$dir"/*.su | sort -rn | head -n 1 >"$dir/deepest"
        read -r bytes where <"$dir/deepest"
        stack="largest frame $bytes bytes (${where##*:})"
        [ "$bytes" -le "$stack_limit" ] || fail "$name" "$where takes $bytes bytes of stack"
    fi
    echo "$name: $# files, text $(size "$dir/all" | awk 'NR == 2 { print $1 }') bytes," \
        "undefined: $("$nm" -u "$dir/all" | awk '{ printf "%s ", $2 }')- $stack"
}

kernel64="-mcmodel=kernel -mno-red-zone -mno-mmx -mno-sse -mno-80387"
kernel32="-m32 -march=i686 -mno-mmx -mno-sse -mno-80387"
case $(uname -m) in
x86_64)
    # shellcheck disable=SC2086
    {
        check gcc-kernel64 elf_x86_64 gcc $kernel64 -fstack-usage -- "$@"
        check clang-kernel64 elf_x86_64 clang $kernel64 -- "$@"
        check gcc-kernel32 elf_i386 gcc $kernel32 -fstack-usage -- "$@"
        check clang-kernel32 elf_i386 clang $kernel32 -- "$@"
    }
    ;;
*)
    echo "the targets of this check are x86; this machine is $(uname -m)"
    exit 77
    ;;
esac
exit $failed
