#!/bin/sh
# SPDX-License-Identifier: MIT
# docs/KVM.md shows what a VMM changes to adopt libhvtlfs-kvm: the difference between two examples that
# are built and run. This holds the text against them; `check_kvm_doc.sh --print` prints what belongs there.
set -u
cd "$(dirname "$0")/.." || exit 1

difference() {
    diff -U 1 examples/kvm_plain.c examples/kvm_hyperv.c | sed '1,2d; s/^@@ .* @@.*/@@/'
}

if [ "${1-}" = --print ]; then
    difference
    exit
fi
shown=$(sed -n '/^```diff$/,/^```$/p' docs/KVM.md | sed '1d; $d')
if [ "$shown" != "$(difference)" ]; then
    echo "FAIL: docs/KVM.md does not show the difference between the examples:"
    difference
    exit 1
fi
echo "$(difference | grep -c '^+') lines added, $(difference | grep -c '^-') removed, as docs/KVM.md shows"
