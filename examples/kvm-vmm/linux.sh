#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Boot Debian's kernel on example-kvm-vmm, inside the bed of tests/nested: a KVM with real exits.
#
#     examples/kvm-vmm/linux.sh BUILD WORK [--qemu]
#
# With --qemu on Debian's QEMU instead, unmodified, as a program for KVM under `hvtlfs kvm run`.
# BUILD has bin/example-kvm-vmm; everything else lands in WORK. The kernel is the bed's own. What each boot
# said is in WORK/results. ./dev kvm-linux installs what is needed and calls this.

set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
build=$1
work=$2
guest=$root/adapters/qemu/guest

boots=(one two bare typed)
[[ ${3-} == --qemu ]] && boots=(qemu-one qemu-two qemu-vmbus)

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
    if [[ ${boots[0]} == qemu-* ]]; then
        cp "$work"/kernel/guest/*.ko "$tree/" || return
    fi
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
    healthy "$1"
}

# What this VMM says at the end.
counted() {
    expect "$1" '^ +interrupts +[1-9]'
    expect "$1" 'switched off after'
    refuse "$1" '^ +unserved'
}

healthy() {
    expect "$1" '^HVT done'
    refuse "$1" 'BUG:|Oops|Kernel panic|soft lockup|unchecked MSR access'
}

judge_one() {
    enlightened one 1
    counted one
    expect one '^HVT clockevent Hyper-V clockevent'
}

judge_two() {
    enlightened two 2
    counted two
    by_hypercalls two
    expect two '^ +TLB flushes +[1-9]'
}

by_hypercalls() {
    expect "$1" '^HVT clockevent Hyper-V clockevent'
    expect "$1" 'Using hypercall for remote TLB flush'
    expect "$1" 'Using IPI hypercalls'
    expect "$1" '^HVT interrupts TLB( 0)+'
}

of_qemu() {
    enlightened "$1" "$2"
    expect "$1" '^HVT clockevent Hyper-V clockevent'
    ours "$1"
}

ours() {
    # The bed's kernel has a Hyper-V of its own: this says that it was ours.
    expect "$1" 'libhvtlfs-kvm-preload: a VM had Hyper-V: .* interrupts [1-9][0-9]*, .* unserved 0'
}

judge_qemu_one() {
    of_qemu qemu-one 1
}

# QEMU's VMBus talks to Linux' driver: messages both ways, events, SINTs as interrupt lines.
judge_qemu_vmbus() {
    expect qemu-vmbus 'Hypervisor detected: Microsoft Hyper-V'
    expect qemu-vmbus 'hv_vmbus: Vmbus version:[1-9]'
    expect qemu-vmbus '^HVT vmbus loaded'
    expect qemu-vmbus '^HVT vmbus interrupts [1-9]'
    ours qemu-vmbus
    healthy qemu-vmbus
}

judge_qemu_two() {
    of_qemu qemu-two 2
    by_hypercalls qemu-two
}

judge_bare() {
    healthy bare
    refuse bare 'Hyper-V:'
}

# A shell on the serial port, which gets its lines from standard input.
judge_typed() {
    expect typed '^HVT typed 42'
    expect typed 'switched off after'
    refuse typed 'BUG:|Oops|Kernel panic'
}

# kvm=off: where QEMU shows KVM's own leaves too, Linux takes those. No hv-vapic: docs/KVM.md; and so no
# hv-enforce-cpuid, for Linux wants the VP assist page of every Hyper-V.
model=host,kvm=off,hv-relaxed,hv-vpindex,hv-time,hv-frequencies,hv-runtime,hv-crash,hv-reset
model+=,hv-synic,hv-stimer,hv-stimer-direct,hv-tlbflush,hv-ipi,hv-xmm-input,hv-spinlocks=0xfff

# qemu_job NAME CPUS MACHINE WORDS
qemu_job() {
    printf "%s\ttimeout 600 hvtlfs kvm run --statistics -- /usr/bin/qemu-system-x86_64 -L /qemu -accel kvm -cpu %s \
-smp %s -M %s -m 256 -nodefaults -display none -no-reboot -serial file:/dev/ttyS1 -kernel /bed-kernel \
-initrd /guest.initrd -append '%s'\n" "$1" "$model" "$2" "$3" "$4"
}

# What QEMU's machines start Linux with, the interposer, and the command where they are installed.
qemu_files() {
    local file
    rm -rf "$work/roms"
    mkdir -p "$work/roms"
    for file in /usr/share/{qemu,seabios}/{bios-microvm,bios-256k,kvmvapic,linuxboot_dma,pvh}.bin; do
        [[ -f $file ]] && cp "$file" "$work/roms/"
    done
    files+=("$work/roms=/qemu" "$(command -v qemu-system-x86_64)=/usr/bin/qemu-system-x86_64"
        "$build/bin/hvtlfs=/bin/hvtlfs" "$build/lib/libhvtlfs-kvm-preload.so=/lib/libhvtlfs-kvm-preload.so")
}

job() {
    printf '%s\t/example-kvm-vmm --timeout 90 --initrd /guest.initrd %s /bed-kernel\n' "$1" "$2"
}

jobs_of() {
    local words='console=ttyS0 reboot=k panic=-1 nokaslr'
    if [[ ${boots[0]} == qemu-* ]]; then
        words+=' quiet nowatchdog' # the bed is slow, and most of all its serial ports
        qemu_job qemu-one 1 microvm,rtc=on "$words hvt=time,work,dmesg"
        qemu_job qemu-two 2 microvm,rtc=on "$words hvt=time,work,dmesg"
        qemu_job qemu-vmbus 1 'pc,hpet=off -device vmbus-bridge' "$words hvt=vmbus,dmesg"
        return
    fi
    job one "--append '$words hvt=time,work'"
    job two "--cpus 2 --append '$words hvt=time,work'"
    job bare "--no-hyperv --append '$words'"
    printf 'typed\tprintf "echo HVT typed \$((6 * 7))\\nbusybox poweroff -f\\n" | '
    job typed "--append '$words rdinit=/bin/busybox -- sh'" | cut -f 2
}

mkdir -p "$work" || exit
[[ -x $root/tests/nested/bed.sh ]] || {
    echo "kvm-linux: tests/nested/bed.sh is missing" >&2
    exit 1
}
# The guest boots the bed's kernel. What ./dev kvm-nested has fetched serves here too, if it has all that is needed.
[[ -f $work/kernel/guest/hv_vmbus.ko ]] || rm -rf "$work/kernel"
[[ -d $work/kernel || ! -f $build/nested/kernel/guest/hv_vmbus.ko ]] || cp -r "$build/nested/kernel" "$work/"
"$root/tests/nested/bed.sh" --kernel "$work" || exit
make_initrd || {
    echo "kvm-linux: cannot make the guest's initrd" >&2
    exit 1
}
jobs_of >"$work/jobs"
files=("$work/guest.initrd" "$work/kernel/vmlinuz=/bed-kernel")
if [[ ${boots[0]} == qemu-* ]]; then
    qemu_files
else
    files+=("$build/bin/example-kvm-vmm")
fi
# One processor in the bed: with two, QEMU repeats injected interrupts (docs/KVM.md), which no kernel survives.
BED_CPUS=${BED_CPUS:-1} BED_TIMEOUT=${BED_TIMEOUT:-1500} "$root/tests/nested/bed.sh" "$work" "$work/jobs" "${files[@]}" || exit
for name in "${boots[@]}"; do
    problems=
    "judge_${name//-/_}"
    if [[ -z $problems ]]; then
        passed=$((passed + 1))
        echo "ok $name: $(sed -n 's/^kvm-vmm: the guest //p; s/^HVT kernel //p' "$work/results/$name" | tail -n 1)"
    else
        failed=$((failed + 1))
        echo "not ok $name; $work/results/$name"
        printf '%s' "$problems"
    fi
done
echo "$passed passed, $failed failed"
[[ $failed -eq 0 ]]
