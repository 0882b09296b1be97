#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The conformance guest on a KVM with real exits, answered by the kernel's own Hyper-V, by libhvtlfs through
# the adapter, and by libhvtlfs through the interposer; then the answers compared. The tests of the interposer
# run there, too.
#
#     tests/nested/nested.sh BUILD WORK [--write | --bench]
#
# BUILD is a build folder, WORK keeps the kernel and what was said. --write prints the differences in the
# form of expected.txt instead of judging them, --bench what operations cost on each way, in microseconds, in
# instructions of the bed's processor, and in exits as KVM counts them. Ends with "N passed, N failed".

set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=$1
work=$2
write=
bench=
[[ ${3-} == --write ]] && write=1
[[ ${3-} == --bench ]] && bench=1
preload=libhvtlfs-kvm-preload.so
# With two, QEMU repeats an injected interrupt now and then, and some test or other counts one too many.
export BED_CPUS=${BED_CPUS:-1}

# All that a KVM's own Hyper-V can offer, so that there is something to compare.
features=hv-relaxed,hv-spinlocks=0xfff,hv-vapic,hv-time,hv-frequencies,hv-runtime,hv-crash,hv-reset
features+=,hv-reenlightenment,hv-synic,hv-stimer,hv-stimer-direct,hv-tlbflush,hv-tlbflush-ext,hv-ipi,hv-xmm-input

files=("$build/bin/hvtlfs-kvm-kernel" "$build/bin/hvtlfs-kvm" "$build/bin/conformance-guest.elf")
# A build of release has no tests, the one of ./dev test beside it has.
for apic in "$build/tests/kvm_apic" "$build-dev/tests/kvm_apic" ""; do
    [[ -x $apic ]] && break
done
[[ -n $apic ]] && files+=("$apic")
ways=(kernel adapter)
declare -A host=([kernel]=/hvtlfs-kvm-kernel [adapter]="/hvtlfs-kvm --copy-overlays"
    [interposer]="LD_PRELOAD=/$preload /hvtlfs-kvm-kernel")
if [[ -f $build/lib/$preload ]]; then
    files+=("$build/lib/$preload" "$(command -v qemu-system-x86_64)" "$work/roms=/qemu")
    ways+=(interposer)
fi

# Programs that use and misuse KVM, under the interposer: KVM as it is, and one that lacks MSR filters.
behind=libkvm_without_filters.so
clients=()
if [[ -x $build/tests/kvm_preload_client && -f $build/lib/$preload ]]; then
    files+=("$build/tests/kvm_preload_client" "$build/tests/kvm_preload_descriptors" "$build/lib/$behind")
    clients=(client descriptors without-filters)
fi
declare -A client_command=([client]="LD_PRELOAD=/$preload /kvm_preload_client"
    [descriptors]="LD_PRELOAD=/$preload /kvm_preload_descriptors"
    [without-filters]="LD_PRELOAD=/$preload:/$behind /kvm_preload_client --without-filters")

# The same guest under an unmodified QEMU, with KVM's Hyper-V and with ours in front of it.
qemu=$(command -v qemu-system-x86_64)
qemu_model=host,hv-enforce-cpuid,hv-vpindex,$features
qemu_model=${qemu_model/hv-tlbflush-ext,/}
qemu_model=${qemu_model/hv-reenlightenment,/}
qemu_command="/qemu-system-x86_64 -L /qemu -M microvm -accel kvm -cpu $qemu_model -m 64 -nodefaults -display none \
-no-reboot -kernel /conformance-guest.elf -append flags=4 -debugcon file:/dev/ttyS1 \
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
    for way in "${clients[@]}"; do
        printf '%s\ttimeout 100 env %s\n' "$way" "${client_command[$way]}"
    done
    # In xAPIC mode, where the synthetic MSRs cannot be the x2APIC's: by the kernel's own, and by stores.
    printf 'adapter-apic-page\t%s --vps 2 --apic-page --quiet --features %s /conformance-guest.elf\n' \
        "${host[adapter]}" "$features"
    if [[ -n $apic ]]; then
        printf 'apic\ttimeout 200 /kvm_apic\napic-by-store\ttimeout 200 /kvm_apic --store\n'
    fi
    [[ -f $build/lib/$preload ]] || return 0
    printf 'qemu-kernel\ttimeout 100 %s\n' "$qemu_command"
    printf 'qemu-interposer\tLD_PRELOAD=/%s timeout 100 %s\n' "$preload" "$qemu_command"
}

# bench_jobs: each way, nothing but the costs
bench_jobs() {
    local way
    for way in "${ways[@]}"; do
        printf 'bench-%s\t%s --vps 1 --quiet --bench --features %s /conformance-guest.elf\n' "$way" "${host[$way]}" "$features"
    done
}

# costs UNIT NANOSECONDS: a row for each operation, time in that unit and exits in two columns for each way
costs() {
    local way name
    printf '| operation |'
    printf " %s, $1 | exits |" "${ways[@]}"
    printf '\n| --- |'
    printf '%.0s --- | --- |' "${ways[@]}"
    printf '\n'
    sed -n 's/^# bench \(.*\): .*/\1/p' "$work/results/bench-kernel" | while IFS= read -r name; do
        printf '| %s |' "$name"
        for way in "${ways[@]}"; do
            awk -v name="# bench $name: " -v unit="$2" 'index($0, name) == 1 { sub(/.*: /, "")
                if ($2 !~ /^ns/) printf " %s | |", $0
                else printf (unit > 1 ? " %.1f | %s |" : " %d | %s |"), $1 / unit, ($4 == "exits") ? $3 : "not counted" }' \
                "$work/results/bench-$way"
        done
        printf '\n'
    done
}

# The time that passes, then time that goes on by a nanosecond with each instruction of the bed.
bench() {
    bench_jobs >"$work/jobs"
    mkdir -p "$work/roms"
    "$here/bed.sh" "$work" "$work/jobs" "${files[@]}" || return
    costs us 1000
    BED_ICOUNT=shift=0,sleep=off "$here/bed.sh" "$work" "$work/jobs" "${files[@]}" || return
    printf '\n'
    costs instructions 1
}

mkdir -p "$work"
if [[ $bench ]]; then
    bench
    exit
fi
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
for name in "${clients[@]}"; do
    if [[ $(cat "$work/results/$name.status") == 0 ]]; then
        printf 'ok %s: %s\n' "$name" "$(sed -n 's/^\[==========\] \([0-9]* test(s)\) run.*/\1/p' "$work/results/$name")"
    else
        printf 'not ok %s\n' "$name"
        grep -E '^\[  (ERROR|FAILED|LINE)|^\[ RUN ' "$work/results/$name" | tail -n 20
        status=1
    fi
done
# ended_well JOB...: jobs that judge by themselves
ended_well() {
    local job
    for job; do
        [[ -f $work/results/$job.status ]] || continue
        if [[ $(cat "$work/results/$job.status") == 0 ]]; then
            own_passed=$((own_passed + 1))
        else
            own_failed=$((own_failed + 1))
            printf 'not ok: %s\n' "$job"
            grep -aE '^not ok|ERROR|FAILED' "$work/results/$job"
        fi
    done
}
own_passed=0
own_failed=0
ended_well adapter-apic-page apic apic-by-store
[[ $own_failed -eq 0 ]] || status=1
printf '# the APIC by MSR in xAPIC mode: %d passed, %d failed\n' "$own_passed" "$own_failed"

if [[ -f $build/lib/$preload ]]; then
    printf '# an unmodified %s:\n' "$("$qemu" --version | head -n 1)"
    compared expected-qemu.txt "$work/results/qemu-kernel" "interposer=$work/results/qemu-interposer"
    printf '# a program for KVM:\n'
fi
compared expected.txt "$work/kernel.txt" "${said[@]}"
exit $status
