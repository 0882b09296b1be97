#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# A KVM with real exits, anywhere: Debian's kernel with kvm-amd under Debian's QEMU, whose TCG emulates
# AMD's nested virtualisation.
#
#     tests/nested/bed.sh WORK JOBS [FILE...]
#
# JOBS has a line for each job, "NAME<tab>COMMAND"; a FILE is put into the bed's root directory, or at
# PATH where it is given as FILE=PATH, and programs bring the libraries they need. What each job said lands
# in WORK/results/NAME, its exit status in WORK/results/NAME.status. The kernel is fetched into WORK once.
# BED_TIMEOUT (seconds, default 600) bounds the run. BED_CPUS (default 2): with one, interrupts that are
# injected come once only (docs/KVM.md). BED_ICOUNT: QEMU's -icount. Exit status 0 if every job has ended.
#
#     tests/nested/bed.sh --kernel WORK
#
# fetches the kernel alone: WORK/kernel/vmlinuz, and in WORK/kernel/guest modules for guests that boot it, too.

set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PATH=/usr/bin:/bin:/usr/sbin:/sbin:$PATH

die() {
    printf 'bed: %s\n' "$*" >&2
    exit 1
}

# The newest kernel that this Debian has for real machines: the one for clouds has no kvm-amd.
newest_kernel() {
    apt-cache pkgnames linux-image- | grep -E '^linux-image-[0-9.]+(-[0-9]+|\+[a-z0-9]+)*-amd64$' | sort -V | tail -n 1
}

fetch_kernel() {
    local package
    [[ -f $work/kernel/package ]] && return
    package=$(newest_kernel)
    if [[ -z $package ]]; then
        apt-get update
        package=$(newest_kernel)
    fi
    [[ -n $package ]] || die "no linux-image package is known to apt"
    rm -rf "$work/fetch" "$work/kernel"
    mkdir -p "$work/fetch"
    (cd "$work/fetch" && { apt-get download "$package" || { apt-get update && apt-get download "$package"; }; }) ||
        die "cannot fetch $package"
    dpkg-deb -x "$work"/fetch/linux-image-*.deb "$work/fetch/tree" || die "cannot unpack $package"
    keep_modules || die "$package lacks a module of KVM"
    cp "$work"/fetch/tree/boot/vmlinuz-* "$work/kernel/vmlinuz" || die "$package has no kernel"
    printf '%s\n' "$package" >"$work/kernel/package"
    rm -rf "$work/fetch"
}

# KVM's modules in the order in which they load; one that is built in needs none.
keep_modules() {
    local module file
    mkdir -p "$work/kernel/modules"
    : >"$work/kernel/modules/order"
    for module in irqbypass ccp kvm kvm-amd; do
        file=$(find "$work/fetch/tree" -name "$module.ko*" | head -n 1)
        case $file in
        *.xz) xz -dc "$file" >"$work/kernel/modules/$module.ko" ;;
        *.ko) cp "$file" "$work/kernel/modules/$module.ko" ;;
        *) [[ $module == kvm* ]] && return 1 || continue ;;
        esac || return
        printf '%s\n' "$module" >>"$work/kernel/modules/order"
    done
    mkdir -p "$work/kernel/guest"
    for module in hv_vmbus hv_utils; do
        file=$(find "$work/fetch/tree" -name "$module.ko*" | head -n 1)
        case $file in
        *.xz) xz -dc "$file" >"$work/kernel/guest/$module.ko" || return ;;
        *.ko) cp "$file" "$work/kernel/guest/$module.ko" || return ;;
        esac
    done
}

# put FILE[=PATH]: into the tree, with the libraries of a program
put() {
    local file=${1%%=*} path=/$(basename "${1%%=*}") library
    [[ $1 == *=* ]] && path=${1#*=}
    mkdir -p "$tree$(dirname "$path")"
    if [[ -d $file ]]; then
        cp -a "$file/." "$tree$path" || die "cannot copy $file"
        return
    fi
    cp "$file" "$tree$path" || die "cannot copy $file"
    # ldd fails for what is no program.
    ldd "$file" 2>/dev/null | grep -oE '/[^ )]+' | while read -r library; do
        [[ -e $tree$library ]] || { mkdir -p "$tree$(dirname "$library")" && cp -L "$library" "$tree$library"; }
    done
    return 0
}

make_initrd() {
    rm -rf "$tree"
    mkdir -p "$tree/bin"
    cp "$(command -v busybox)" "$tree/bin/busybox" || die "no busybox"
    install -m 755 "$here/init" "$tree/init"
    cp -r "$work/kernel/modules" "$tree/modules"
    cp "$jobs" "$tree/jobs"
    for file; do
        put "$file"
    done
    (cd "$tree" && find . | cpio -o -H newc -R 0:0 --quiet | gzip -1n) >"$work/initrd"
}

# TCG runs the VPs of the bed in one thread: with one for each, older kernels hang in its nested SVM.
boot() {
    timeout -k 5 "${BED_TIMEOUT:-600}" qemu-system-x86_64 -machine q35 -cpu max -accel "tcg,thread=${BED_THREADS:-single}" \
        -smp "${BED_CPUS:-2}" -m "${BED_MEMORY:-1536}" -nodefaults -display none -no-reboot \
        -serial "file:$work/console" -serial "file:$work/output" \
        ${BED_ICOUNT:+-icount "$BED_ICOUNT"} -kernel "$work/kernel/vmlinuz" -initrd "$work/initrd" \
        -append "console=ttyS0 panic=-1 quiet mitigations=off nokaslr tsc=reliable clocksource=tsc no_timer_check"
}

# One file for each job out of the second serial port's text.
split() {
    rm -rf "$work/results"
    mkdir -p "$work/results"
    tr -d '\r' <"$work/output" | awk -v folder="$work/results/" '
        /^@@ begin / { name = $3; printf "" >(folder name); next }
        /^@@ end / { print $4 >(folder $3 ".status"); name = ""; next }
        /^@@ / { print substr($0, 4) >(folder "bed"); next }
        name != "" { print >(folder name) }'
    grep -q '^done$' "$work/results/bed" 2>/dev/null
}

[[ $# -ge 2 ]] || die "usage: bed.sh WORK JOBS [FILE[=PATH]...] | --kernel WORK"
if [[ $1 == --kernel ]]; then
    mkdir -p "$2"
    work=$(cd "$2" && pwd)
    fetch_kernel >&2
    exit
fi
mkdir -p "$1"
work=$(cd "$1" && pwd)
jobs=$2
tree=$work/tree
shift 2
fetch_kernel >&2
make_initrd "$@"
boot
status=$?
split || die "the bed did not end (QEMU's status $status); its console: $work/console, its output: $work/output"
! grep '^trouble' "$work/results/bed" >&2
