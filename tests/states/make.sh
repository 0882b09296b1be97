#!/bin/sh
# SPDX-License-Identifier: MIT
# make.sh HVTLFS VERSION: make the saved states of a format version, once, when the version is new.
#
# tests/states/make-NAME.hvt is the life of a partition; it ends with `save OUT`. The state goes to
# tests/states/vVERSION-NAME.state and stays there for ever: whatever the library becomes, NAME.hvt must
# load it. A file that is there is never made again.
set -eu
tool=${1:?usage: make.sh HVTLFS VERSION}
version=${2:?usage: make.sh HVTLFS VERSION}
cd "$(dirname "$0")"
for script in make-*.hvt; do
    name=${script#make-}
    state=v$version-${name%.hvt}.state
    [ ! -e "$state" ] || { echo "$state is there already: kept"; continue; }
    sed "s/^save OUT/save $state/" "$script" | "$tool" replay -
    echo "$state: $(wc -c <"$state") bytes"
done
