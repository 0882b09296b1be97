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
    files+=("$build/lib/$preload" "$(command -v qemu-system-x86_64)" "$work/roms=/qemu")
    ways+=(interposer)
fi

# The same guest under an unmodified QEMU, with KVM's Hyper-V and with ours in front of it.
qemu=$(command -v qemu-system-x86_64)
qemu_model=host,hv-enforce-cpuid,hv-vpindex,$features
qemu_model=${qemu_model/hv-tlbflush-ext,/}
qemu_model=${qemu_model/hv-reenlightenment,/}
qemu_command="/qemu-system-x86_64 -L /qemu -M microvm -accel kvm -cpu $qemu_model -m 64 -nodefaults -display none \
-no-reboot -kernel /conformance-guest.elf -append copied -debugcon file:/dev/ttyS1 \
-global isa-debugcon.iobase=0xe9 -device isa-debug-exit,iobase=0xf4,iosize=4"

# roms: what QEMU's smallest machine starts from
roms() {
    local file
    rm -rf "$work/roms"
    mkdir -p "$work/roms"
    for file in /usr/share/qemu/pvh.bin /usr/share/qemu/bios-microvm.bin /usr/share/seabios/bios-microvm.bin; do
        [[ -f $file ]] && cp "$file" "$work/roms/"
    done
    return 0
}

# jobs: each way, judging and surveying
jobs() {
    local way
    for way in "${ways[@]}"; do
        printf '%s-tests\t%s --vps 2 --quiet --features %s /conformance-guest.elf\n' "$way" "${host[$way]}" "$features"
        printf '%s-survey\t%s --vps 2 --quiet --survey --features %s /conformance-guest.elf\n' \
            "$way" "${host[$way]}" "$features"
    done
    [[ -f $build/lib/$preload ]] || return 0
    printf 'qemu-kernel\ttimeout 100 %s\n' "$qemu_command"
    printf 'qemu-interposer\tLD_PRELOAD=/%s timeout 100 %s\n' "$preload" "$qemu_command"
}

mkdir -p "$work"
roms
jobs >"$work/jobs"
"$here/bed.sh" "$work" "$work/jobs" "${files[@]}" || exit 1
said=()
for way in "${ways[@]}"; do
    cat "$work/results/$way-tests" "$work/results/$way-survey" >"$work/$way.txt"
    [[ $way == kernel ]] || said+=("$way=$work/$way.txt")
done
sed 's/^/# /' "$work/results/bed"

status=0
# compared EXPECTED KERNEL WAY=FILE...
compared() {
    local expected=$1
    shift
    "$here/compare.py" ${write:+--write} "$here/$expected" "$@" || status=1
}
if [[ -f $build/lib/$preload ]]; then
    printf '# an unmodified %s:\n' "$("$qemu" --version | head -n 1)"
    compared expected-qemu.txt "$work/results/qemu-kernel" "interposer=$work/results/qemu-interposer"
    printf '# a program for KVM:\n'
fi
compared expected.txt "$work/kernel.txt" "${said[@]}"
exit $status
