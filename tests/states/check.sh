#!/bin/sh
# SPDX-License-Identifier: MIT
# check.sh STATE: the file loads, and NAME.hvt finds in it what make-NAME.hvt put there. The scripts'
# numbers come from the TLFS and from arithmetic, not from the file.
set -eu
state=${1:?usage: check.sh STATE}
name=$(basename "$state" .state)
script=tests/states/${name#v*-}.hvt
"${HVTLFS_TOOL:?set HVTLFS_TOOL to the command hvtlfs}" state "$state" >/dev/null
sed "s,^load IN,load $state," "$script" | "$HVTLFS_TOOL" replay -
