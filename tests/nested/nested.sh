#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The conformance guest on a KVM with real exits, answered by the kernel's own Hyper-V, by libhvtlfs through
# the adapter, and by libhvtlfs through the interposer; then the answers compared.
#
#     tests/nested/nested.sh BUILD WORK [--write]
#
# BUILD is a build folder, WORK keeps the kernel and what was said. --write prints the differences in the
# form of expected.txt instead of judging them. Ends with "N passed, N failed".

set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=$1
work=$2
write=${3-}
preload=libhvtlfs-kvm-preload.so

# All that a KVM's own Hyper-V can offer, so that there is something to compare.
features=hv-relaxed,hv-spinlocks=0xfff,hv-vapic,hv-time,hv-frequencies,hv-runtime,hv-crash,hv-reset
features+=,hv-reenlightenment,hv-synic,hv-stimer,hv-stimer-direct,hv-tlbflush,hv-tlbflush-ext,hv-ipi,hv-xmm-input

files=("$build/bin/hvtlfs-kvm-kernel" "$build/bin/hvtlfs-kvm" "$build/bin/conformance-guest.elf")
ways=(kernel adapter)
declare -A host=([kernel]=/hvtlfs-kvm-kernel [adapter]="/hvtlfs-kvm --copy-overlays"
    [interposer]="LD_PRELOAD=/$preload /hvtlfs-kvm-kernel")
if [[ -f $build/lib/$preload ]]; then
    files+=("$build/lib/$preload")
    ways+=(interposer)
fi

# jobs: each way, judging and surveying
jobs() {
    local way
    for way in "${ways[@]}"; do
        printf '%s-tests\t%s --vps 2 --quiet --features %s /conformance-guest.elf\n' "$way" "${host[$way]}" "$features"
        printf '%s-survey\t%s --vps 2 --quiet --survey --features %s /conformance-guest.elf\n' \
            "$way" "${host[$way]}" "$features"
    done
}

mkdir -p "$work"
jobs >"$work/jobs"
"$here/bed.sh" "$work" "$work/jobs" "${files[@]}" || exit 1
said=()
for way in "${ways[@]}"; do
    cat "$work/results/$way-tests" "$work/results/$way-survey" >"$work/$way.txt"
    [[ $way == kernel ]] || said+=("$way=$work/$way.txt")
done
sed 's/^/# /' "$work/results/bed"
"$here/compare.py" ${write:+--write} "$here/expected.txt" "$work/kernel.txt" "${said[@]}"
