#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Boot Debian's kernel on example-kvm-vmm, inside the bed of tests/nested: a KVM with real exits.
#
#     examples/kvm-vmm/linux.sh BUILD WORK
#
# BUILD has bin/example-kvm-vmm; everything else lands in WORK. The kernel is the bed's own. What each boot
# said is in WORK/results. ./dev kvm-linux installs what is needed and calls this.

set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
build=$1
work=$2
guest=$root/adapters/qemu/guest

passed=0
failed=0
problems=

# The programs that the boots of adapters/qemu use too: threads that map and unmap, clocks compared.
make_initrd() {
    local tree=$work/guest program
    rm -rf "$tree"
    mkdir -p "$tree/bin"
    cp "$(command -v busybox)" "$tree/bin/busybox" || return
    install -m 755 "$guest/init" "$tree/init" || return
    for program in work clock; do
        gcc -O2 -static -pthread -Wall -Wextra -s -o "$tree/bin/$program" "$guest/$program.c" || return
    done
    (cd "$tree" && find . | sort | cpio -o -H newc -R 0:0 --quiet | gzip -1n) >"$work/guest.initrd"
}

expect() {
    grep -aqE "$2" "$work/results/$1" || problems+="    $1 does not say: $2"$'\n'
}

refuse() {
    local line
    line=$(grep -aE -m 1 "$2" "$work/results/$1") && problems+="    $1 says: $line"$'\n'
}

# What a boot with Hyper-V and N processors comes to.
enlightened() {
    expect "$1" 'Hypervisor detected: Microsoft Hyper-V'
    expect "$1" "^HVT kernel .* cpus $2"
    expect "$1" '^HVT clocksource hyperv_clocksource_tsc_page'
    expect "$1" "^HVT clock cpus $2 reads [0-9]+ backward 0"
    expect "$1" "^HVT work cpus $2 rounds [0-9]+ faults 0"
    expect "$1" '^ +interrupts +[1-9]'
    expect "$1" 'switched off after'
    refuse "$1" '^ +unserved'
    healthy "$1"
}

healthy() {
    expect "$1" '^HVT done'
    refuse "$1" 'BUG:|Oops|Kernel panic|soft lockup|unchecked MSR access'
}

judge_one() {
    enlightened one 1
    expect one '^HVT clockevent Hyper-V clockevent'
}

judge_two() {
    enlightened two 2
    expect two '^HVT clockevent Hyper-V clockevent'
    expect two 'Using hypercall for remote TLB flush'
    expect two 'Using IPI hypercalls'
    expect two '^ +TLB flushes +[1-9]'
    expect two '^HVT interrupts TLB( 0)+'
}

judge_bare() {
    healthy bare
    refuse bare 'Hyper-V:'
}

boots=(one two bare)

job() {
    printf '%s\t/example-kvm-vmm --timeout 90 --initrd /guest.initrd %s /bed-kernel\n' "$1" "$2"
}

jobs_of() {
    local words='console=ttyS0 reboot=k panic=-1 nokaslr'
    job one "--append '$words hvt=time,work'"
    job two "--cpus 2 --append '$words hvt=time,work'"
    job bare "--no-hyperv --append '$words'"
}

mkdir -p "$work" || exit
[[ -x $root/tests/nested/bed.sh ]] || {
    echo "kvm-linux: tests/nested/bed.sh is missing" >&2
    exit 1
}
make_initrd || {
    echo "kvm-linux: cannot make the guest's initrd" >&2
    exit 1
}
jobs_of >"$work/jobs"
# The bed fetches its kernel into WORK when it is not there yet; the guest boots the same one. What
# ./dev kvm-nested has fetched serves here too.
[[ -d $work/kernel || ! -d $build/nested/kernel ]] || cp -r "$build/nested/kernel" "$work/"
# One processor in the bed: with two, QEMU repeats injected interrupts (docs/KVM.md), which no kernel survives.
BED_CPUS=${BED_CPUS:-1} BED_TIMEOUT=${BED_TIMEOUT:-900} "$root/tests/nested/bed.sh" "$work" "$work/jobs" \
    "$build/bin/example-kvm-vmm" "$work/guest.initrd" "$work/kernel/vmlinuz=/bed-kernel" || exit
for name in "${boots[@]}"; do
    problems=
    "judge_$name"
    if [[ -z $problems ]]; then
        passed=$((passed + 1))
        echo "ok $name: $(sed -n 's/^kvm-vmm: the guest //p' "$work/results/$name")"
    else
        failed=$((failed + 1))
        echo "not ok $name; $work/results/$name"
        printf '%s' "$problems"
    fi
done
echo "$passed passed, $failed failed"
[[ $failed -eq 0 ]]
