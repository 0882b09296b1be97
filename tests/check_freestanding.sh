#!/bin/sh
# SPDX-License-Identifier: MIT
# check_freestanding.sh [--foreign] GENERATED_INCLUDE FILE.c...
#
# The core fits into a kernel: compiled without any header but the compiler's own, for the targets
# below, it
#   - asks for nothing but memcpy, memset, memmove, memcmp (no 64-bit division helper on 32 bits),
#   - has no writable data,
#   - uses no dynamic stack and at most STACK_LIMIT bytes of stack in a function.
# With --foreign for processors that are not x86, by clang alone: no cross compiler or linker is needed.
set -u
source_dir=$(cd "$(dirname "$0")/.." && pwd)
foreign=
[ "${1-}" != --foreign ] || { foreign=yes; shift; }
generated=${1:?usage: check_freestanding.sh GENERATED_INCLUDE FILE.c...}
shift
[ $# -gt 0 ] || { echo "usage: check_freestanding.sh [--foreign] GENERATED_INCLUDE FILE.c..."; exit 2; }
stack_limit=${STACK_LIMIT:-$([ -n "$foreign" ] && echo 1024 || echo 976)}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
failed=0

fail() {
    echo "FAIL: $1: $2"
    failed=1
}

# names OBJECT...: a line for each symbol, "undefined NAME" or "writable NAME" or "defined NAME"; readelf knows
# every processor, nm its own. Labels and constants that the compiler names ($x, .LCPI) are not looked at.
names() {
    readelf -SsW "$@" 2>/dev/null | awk '
        /^File: / { delete writable }
        /^ *\[ *[0-9]+\]/ { sub(/^ *\[ */, ""); sub(/\]/, ""); writable[$1] = $8 ~ /W/ && $2 !~ /^\.data\.rel\.ro/ }
        /^ *[0-9]+: / && $8 != "" && $4 != "SECTION" && $4 != "FILE" && $8 !~ /^(\$|\.LCPI)/ {
            if ($7 == "UND") print "undefined", $8
            else if ($7 == "COM" || writable[$7]) print "writable", $8
            else if ($5 != "LOCAL") print "defined", $8
        }' | sort -u
}

# users SYMBOL OBJECT...: which files ask for it
users() {
    symbol=$1
    shift
    for object; do
        ! names "$object" | grep -qx "undefined $symbol" || printf '%s ' "$(basename "$object")"
    done
}

# check NAME COMPILER FLAGS... -- FILE...
check() {
    name=$1 compiler=$2
    shift 2
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
            -fno-asynchronous-unwind-tables -fstack-usage $flags -c "$file" \
            -o "$dir/$(basename "$file" .c).o" || fail "$name" "$(basename "$file") does not compile"
    done

    names "$dir"/*.o >"$dir/names"
    awk '$1 == "defined" || $1 == "writable" { here[$2] = 1 } $1 == "undefined" { wanted[$2] = 1 }
        END { for (one in wanted) if (!(one in here)) print one }' "$dir/names" | sort >"$dir/undefined"
    grep -Evx 'memcpy|memset|memmove|memcmp' "$dir/undefined" >"$dir/extra"
    if [ -s "$dir/extra" ]; then
        fail "$name" "needs from outside: $(tr '\n' ' ' <"$dir/extra")"
        while read -r symbol; do
            echo "    $symbol: used by $(users "$symbol" "$dir"/*.o)"
        done <"$dir/extra"
    fi
    awk '$1 == "writable" { print $2 }' "$dir/names" >"$dir/writable"
    [ ! -s "$dir/writable" ] || fail "$name" "writable data: $(tr '\n' ' ' <"$dir/writable")"

    # "dynamic,bounded" is alignment; "dynamic" alone has no limit.
    awk -F '\t' '$3 == "dynamic" { print $1 }' "$dir"/*.su >"$dir/dynamic"
    [ ! -s "$dir/dynamic" ] || fail "$name" "dynamic stack in $(tr '\n' ' ' <"$dir/dynamic")"
    awk -F '\t' '{ print $2, $1 }' "$dir"/*.su | sort -rn | head -n 1 >"$dir/deepest"
    read -r bytes where <"$dir/deepest"
    [ "$bytes" -le "$stack_limit" ] || fail "$name" "$where takes $bytes bytes of stack"
    echo "$name: $# files, undefined: $(tr '\n' ' ' <"$dir/undefined")- largest frame $bytes bytes (${where##*:})"
}

kernel64="-mcmodel=kernel -mno-red-zone -mno-mmx -mno-sse -mno-80387"
kernel32="-m32 -march=i686 -mno-mmx -mno-sse -mno-80387"
if [ -n "$foreign" ]; then
    check clang-aarch64 clang --target=aarch64-none-elf -mno-outline-atomics -mgeneral-regs-only -- "$@"
    check clang-armv7 clang --target=armv7-linux-gnueabi -march=armv7ve -mfloat-abi=soft -- "$@"
    check clang-riscv64 clang --target=riscv64-none-elf -march=rv64ima -mabi=lp64 -- "$@"
    stack_limit=$((stack_limit + 160)) # its ABI has every frame save the registers of what it calls
    check clang-s390x clang --target=s390x-linux-gnu -- "$@"
    exit $failed
fi
case $(uname -m) in
x86_64)
    # shellcheck disable=SC2086
    {
        check gcc-kernel64 gcc $kernel64 -- "$@"
        check clang-kernel64 clang $kernel64 -- "$@"
        check gcc-kernel32 gcc $kernel32 -- "$@"
        check clang-kernel32 clang $kernel32 -- "$@"
    }
    ;;
*)
    echo "the targets of this check are x86; this machine is $(uname -m)"
    exit 77
    ;;
esac
exit $failed
