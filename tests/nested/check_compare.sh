#!/bin/sh
# SPDX-License-Identifier: MIT
# The comparison itself: an unexpected difference fails, so does a listed one that is gone, and what may
# differ from run to run may be absent. Ends with "N passed, N failed".
set -u
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
passed=0
failed=0

# judged WANTED NAME: compare.py on $work's files must end with this status
judged() {
    "$here/compare.py" "$work/expected" "$work/kernel" a="$work/a" b="$work/b" >"$work/out" 2>&1
    if [ $? -eq "$1" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "not ok: $2"
        cat "$work/out"
    fi
}

cat >"$work/kernel" <<'END'
ok 1 - first
# msr 0x40000003 to 0x40000005: reads fault
# calls 0x1 to 0x9 of zeroes: by memory 0x2, in registers 0x2, as a list of one 0x2
# call 0x5c with one of bits 17 to 63: 0x3
END
cp "$work/kernel" "$work/a"
cp "$work/kernel" "$work/b"
: >"$work/expected"
judged 0 "the same answers"

# Other ranges with the same answers are the same answers.
cat >"$work/b" <<'END'
ok 7 - first
# msr 0x40000003 to 0x40000004: reads fault
# msr 0x40000005 to 0x40000005: reads fault
# calls 0x1 to 0x3 of zeroes: by memory 0x2, in registers 0x2, as a list of one 0x2
# calls 0x4 to 0x9 of zeroes: by memory 0x2, in registers 0x2, as a list of one 0x2
# call 0x5c with one of bits 17 to 20: 0x3
# call 0x5c with one of bits 21 to 63: 0x3
END
judged 0 "the same answers in other ranges"

sed -i 's/msr 0x40000005 to 0x40000005: reads fault/msr 0x40000005 reads 0x1/' "$work/b"
judged 1 "a difference that nobody listed"
echo "b msr 0x40000005 found, read: kernel fault, ours 0x1" >"$work/expected"
judged 0 "a difference that is listed"
cp "$work/b" "$work/a"
judged 1 "a difference of both, listed for one"
echo "all msr 0x40000005 found, read: kernel fault, ours 0x1" >"$work/expected"
judged 0 "a difference of both"
echo "a test second: kernel ok, ours not ok" >>"$work/expected"
judged 1 "a listed difference that is gone"
sed -i 's/not ok$/not ok?/' "$work/expected"
judged 0 "one that may be gone"
sed -i 's/^ok 7/not ok 7/' "$work/b"
judged 1 "a test that fails on one way"
: >"$work/kernel"
judged 1 "a kernel that says nothing"
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
