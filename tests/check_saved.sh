#!/bin/sh
# SPDX-License-Identifier: MIT
# check_saved.sh SCRIPT
#
# A script that moves into a fresh partition after every command, its state saved and loaded, gives the
# answers it gives if its clock is merely stopped and restarted at these moments.
set -u
script=${1:?usage: check_saved.sh SCRIPT}
tool=${HVTLFS_TOOL:?set HVTLFS_TOOL to the command hvtlfs}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

# Without its expectations, which are about a clock that is never stopped.
sed 's/=>.*//' "$script" >"$work/script"
"$tool" replay --print --freeze-every-step "$work/script" >"$work/without" 2>/dev/null
without=$?
"$tool" replay --print --save-every-step "$work/script" >"$work/with" 2>"$work/errors"
with=$?
cat "$work/errors"
[ $with -eq $without ] || { echo "exit status $with, $without without saving"; diff "$work/without" "$work/with"; exit 1; }
[ -s "$work/with" ] || { echo "nothing was printed"; exit 1; }

# A restored partition knows that its clock was not set; its host is told again that it emulates a TSC.
sed -e 's/clock-not-set/frozen/' -e :again -e 's/tsc-emulation in-force=0x1 ; tsc/tsc/' -e 't again' \
    "$work/with" >"$work/same"
diff "$work/without" "$work/same"
