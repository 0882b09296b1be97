#!/bin/sh
# SPDX-License-Identifier: MIT
# check_hardening.sh FILE...
#
# What is shipped is hardened, as the files themselves say: libraries and programs are position-independent,
# have RELRO with all symbols bound at start, no executable stack, no segment that is both writable and
# executable, no text relocation, the stack protector, and of printf and fprintf only the fortified
# forms (snprintf stays where the compiler cannot know the size).
# Objects of static libraries are marked for CET (x86-64, where the compiler knows it); the marks of shared
# ones depend on the distribution's crtbegin.o. First a program without any of this is looked at: it must be
# refused for each.
set -u
[ $# -gt 0 ] || { echo "usage: check_hardening.sh FILE..."; exit 2; }
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

# linked FILE: a line for each thing that is missing
linked() {
    readelf -hW "$1" | grep -q 'Type: *DYN' || echo "not position-independent"
    readelf -lW "$1" | grep -q GNU_RELRO || echo "no RELRO"
    readelf -dW "$1" | grep -q 'BIND_NOW\|FLAGS_1.* NOW' || echo "symbols are bound late"
    readelf -lW "$1" | grep -q 'GNU_STACK .* RW ' || echo "executable stack"
    readelf -lW "$1" | grep -q 'LOAD .* RWE' && echo "a segment is writable and executable"
    readelf -dW "$1" | grep -q TEXTREL && echo "text relocations"
    readelf -sW "$1" | grep -q '__stack_chk_fail' || echo "no stack protector"
    readelf -sW --dyn-syms "$1" | grep -q 'UND v\?f\?printf\(@\|$\)' && echo "printf without fortification"
    return 0
}

# objects ARCHIVE: those not marked for CET
objects() {
    case $(uname -m) in x86_64) ;; *) return 0 ;; esac
    readelf -nW "$1" 2>/dev/null | awk '
        /^File: / { if (name && !marked) print name " is not marked for CET"; name = $2; marked = 0 }
        /IBT, SHSTK/ { marked = 1 }
        END { if (name && !marked) print name " is not marked for CET" }'
    readelf -sW "$1" | grep -q '__stack_chk_fail' || echo "no stack protector"
}

faults() {
    case $1 in
    *.a) objects "$1" ;;
    *) linked "$1" ;;
    esac
}

# Of a program and of a library: seven things in the one, text relocations in the other.
cat >"$work/weak.c" <<'END'
#include <stdio.h>
__asm__(".section .weak,\"awx\",%progbits\n.byte 0\n.text");
int number;
int main(int n, char **v)
{
    return printf("%d %s", n, v[0]) + printf("%s", v[n - 1]) + number;
}
END
weak="-O1 -w -U_FORTIFY_SOURCE -fno-stack-protector"
# shellcheck disable=SC2086
{
    ${CC:-cc} $weak -no-pie -fno-pie -Wl,-z,norelro,-z,lazy,-z,execstack "$work/weak.c" -o "$work/weak" &&
        ${CC:-cc} $weak -fno-pic -mcmodel=large -shared -Wl,-z,notext "$work/weak.c" -o "$work/weak.so" &&
        ${CC:-cc} $weak -fcf-protection=none -c "$work/weak.c" -o "$work/weak.o" &&
        ar rcs "$work/weak.a" "$work/weak.o"
} >"$work/log" 2>&1 || { cat "$work/log"; echo "cannot compile"; exit 77; }
faults "$work/weak" >"$work/faults"
faults "$work/weak.so" >>"$work/faults"
[ "$(sort -u "$work/faults" | wc -l)" -eq 8 ] ||
    { echo "FAIL: weak files are refused for this only:"; sort -u "$work/faults"; exit 1; }
[ "$(faults "$work/weak.a" | wc -l)" -eq 2 ] || { echo "FAIL: a weak object is not refused"; exit 1; }

failed=0
for file; do
    [ -s "$file" ] || { echo "FAIL: $file is missing"; failed=1; continue; }
    faults "$file" >"$work/faults"
    [ -s "$work/faults" ] || continue
    sed "s,^,FAIL: ${file##*/}: ," "$work/faults"
    failed=1
done
[ $failed -eq 0 ] && echo "$# files are hardened; weak ones are refused for each reason"
exit $failed
