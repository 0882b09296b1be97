#!/bin/sh
# SPDX-License-Identifier: MIT
# check_headers.sh GENERATED_INCLUDE
#
# Every public header alone and twice, in the languages and with the warnings of the harshest user.
set -u
here=$(cd "$(dirname "$0")" && pwd)
source_dir=$(cd "$here/../.." && pwd)
generated=${1:?usage: check_headers.sh GENERATED_INCLUDE}

common="-fsyntax-only -Werror -Wall -Wextra -Wpedantic -Wcast-align -Wcast-qual -Wconversion
    -Wshadow -Wsign-conversion -Wundef -Wunused-macros -Wvla"
c_only="-Wmissing-prototypes -Wold-style-definition -Wstrict-prototypes"
cxx_only="-Wold-style-cast"
# Not defects: layout remarks, advice for languages older than the one compiled, and NULL, which a
# header for C has to use.
clang_only="-Weverything -Wno-c++98-compat -Wno-c++98-compat-pedantic -Wno-padded
    -Wno-pre-c2x-compat -Wno-declaration-after-statement -Wno-unused-macros
    -Wno-zero-as-null-pointer-constant"

# Where the kernel's headers are, the KVM helper's too; they are system headers to everybody.
kvm=
[ -e /usr/include/linux/kvm.h ] && kvm=$source_dir/adapters/kvm/include/hvtlfs/kvm.h

failed=0
done=0

# check COMPILER LANGUAGE STANDARD FLAGS...: all headers
check() {
    compiler=$1 language=$2 standard=$3
    shift 3
    if ! command -v "$compiler" >/dev/null; then
        echo "# $compiler is not installed: $standard not checked with it"
        return
    fi
    for header in "$source_dir"/include/hvtlfs/*.h "$generated"/hvtlfs/*.h $kvm; do
        name=${header##*/}
        done=$((done + 1))
        # shellcheck disable=SC2086
        # The typedef: export.h declares nothing, and C wants a declaration in every file.
        if ! printf '#include <hvtlfs/%s>\n#include <hvtlfs/%s>\ntypedef int nothing;\n' \
            "$name" "$name" |
            "$compiler" -x "$language" -std="$standard" $common "$@" \
                -I "$source_dir/include" -I "$generated" -I "$source_dir/adapters/kvm/include" -; then
            echo "FAIL: <hvtlfs/$name> alone does not compile: $compiler -std=$standard"
            failed=$((failed + 1))
        fi
    done
}

for standard in c11 c17 c2x; do
    # shellcheck disable=SC2086
    check gcc c $standard $c_only
    # shellcheck disable=SC2086
    check clang c $standard $c_only $clang_only
done
for standard in c++11 c++17 c++20 c++2b; do
    # shellcheck disable=SC2086
    check g++ c++ $standard $cxx_only
    # shellcheck disable=SC2086
    check clang++ c++ $standard $cxx_only $clang_only
done

# The umbrella leaves none out, but for those that say so themselves: <hvtlfs/tlfs.h>, whose names a
# VMM may have already, and what is for guests.
umbrella=$source_dir/include/hvtlfs/hvtlfs.h
for header in "$source_dir"/include/hvtlfs/*.h "$generated"/hvtlfs/*.h; do
    name=${header##*/}
    case $name in hvtlfs.h | tlfs.h | guest_*.h) continue ;; esac
    if ! grep -q "#include <hvtlfs/$name>" "$umbrella"; then
        echo "FAIL: <hvtlfs/hvtlfs.h> does not include <hvtlfs/$name>"
        failed=$((failed + 1))
    fi
done

echo "$done compilations, $failed failed"
[ "$failed" -eq 0 ] && [ "$done" -gt 0 ]
