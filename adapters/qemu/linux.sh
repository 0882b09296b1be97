#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Boot an unmodified Debian Linux on QEMU's TCG with libhvtlfs, and look at what it says.
#
#     adapters/qemu/linux.sh [--list] [--build] [--targets] [--quick] [--record] [NAME...]
#
# NAME... runs the boots of those names only (see --list), --quick those that show the most in little
# time, --build stops before the first boot, --record makes the boot "golden" write what it is compared
# with otherwise. --targets boots nothing: it compiles the series for i386-softmmu, for linux-user and
# without the library.
# Wants the library configured and built in build/ (./dev build) and the packages that ./dev linux
# installs. Everything lands in build/qemu; docs/QEMU.md explains. HVTLFS_QEMU in the environment names
# a QEMU with the patches that is to be used instead of building one.
#
# Nothing here names a package source: the machine's own are used, with the sources of packages
# added, in a configuration of apt that is private to build/qemu.

set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$root/build/qemu
qemu=${HVTLFS_QEMU:-$work/build/qemu-system-x86_64}
# /usr/bin first: QEMU's build wants the python that Debian's meson belongs to.
export PATH=/usr/bin:/bin:/usr/sbin:/sbin:$PATH

say() {
    printf '%s\n' "$*"
}

die() {
    printf 'linux: %s\n' "$*" >&2
    exit 1
}

remedy= # what to do should a stage fail
fetch_remedy="this needs the network, and package sources of apt that serve the source of qemu and Debian's \
kernels (./dev test --no-linux does without)"

# stage WORDS COMMAND...: run it quietly; its output goes to a log that is shown if it fails.
stage() {
    local words=$1 log start=$SECONDS
    shift
    log=$work/logs/${words// /-}.log
    printf '# %-58s' "$words"
    if "$@" >"$log" 2>&1 </dev/null; then
        printf '%4d s\n' $((SECONDS - start))
        return
    fi
    printf 'FAIL\n'
    tail -n 30 "$log" | sed 's/^/#     /'
    die "$words failed${remedy:+; $remedy}; the whole log: ${log#"$root"/}"
}

# ---- Packages ----

# One configuration of apt for everything fetched here: the machine's sources, all with deb-src.
apt_options=(
    -o Dir::Etc::sourcelist=/dev/null
    -o "Dir::Etc::sourceparts=$work/apt/sources"
    -o "Dir::State::lists=$work/apt/lists"
    -o "Dir::Cache=$work/apt/cache"
    -o APT::Sandbox::User=root
)

private_apt() {
    local file
    mkdir -p "$work/apt/sources" "$work/apt/lists/partial" "$work/apt/cache/archives/partial"
    rm -f "$work/apt/sources"/*
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [[ -f $file ]] || continue
        sed -n 's/^deb[[:space:]]/&/p' "$file" | sed 'p; s/^deb/deb-src/' \
            >"$work/apt/sources/$(basename "$file" .list).list"
    done
    for file in /etc/apt/sources.list.d/*.sources; do
        [[ -f $file ]] || continue
        sed 's/^Types:.*/Types: deb deb-src/' "$file" >"$work/apt/sources/$(basename "$file")"
    done
    apt-get "${apt_options[@]}" update
    apt-cache "${apt_options[@]}" showsrc qemu | grep '^Package: qemu$' >/dev/null
}

# ---- QEMU ----

configure_options=(
    --target-list=x86_64-softmmu --meson=/usr/bin/meson
    --without-default-features --enable-tcg --enable-hvtlfs
    --disable-kvm --disable-docs --disable-tools --disable-guest-agent
    --disable-werror --disable-debug-info
    --without-default-devices --with-devices-x86_64=hvtlfs
)

# What the binary is made of, but for the library, which is linked at run time.
recipe() {
    {
        printf '%s\n' "${configure_options[@]}"
        cat "$here"/hvtlfs.mak "$here"/patches/*.patch
    } | sha256sum | cut -c 1-16
}

fetch_qemu() {
    rm -rf "$work/fetch"
    mkdir -p "$work/fetch"
    (cd "$work/fetch" && apt-get "${apt_options[@]}" --download-only source qemu)
}

# Only files that differ are replaced, so that ninja rebuilds no more than it must.
patch_qemu() {
    local fresh=$work/fresh patch file
    rm -rf "$fresh"
    dpkg-source --no-check -x "$work"/fetch/qemu_*.dsc "$fresh"
    for patch in "$here"/patches/*.patch; do
        patch -d "$fresh" -p1 --no-backup-if-mismatch <"$patch" || return
    done
    cp "$here/hvtlfs.mak" "$fresh/configs/devices/x86_64-softmmu/"
    if [[ ! -d $work/source ]]; then
        mv "$fresh" "$work/source"
        return
    fi
    (cd "$fresh" && diff -rqN . "$work/source" | sed -n 's/^Files \(.*\) and .* differ$/\1/p') |
        while read -r file; do
            if [[ -e $fresh/$file ]]; then
                (cd "$fresh" && cp --parents "$file" "$work/source")
            else
                rm -f "$work/source/$file"
            fi
        done
    rm -rf "$fresh"
}

install_library() {
    cmake --install "$root/build" --prefix "$work/prefix"
}

configure_qemu() {
    mkdir -p "$work/build"
    (cd "$work/build" &&
        PKG_CONFIG_PATH=$work/prefix/lib/pkgconfig LDFLAGS=-Wl,-rpath,$work/prefix/lib \
            "$work/source/configure" "${configure_options[@]}")
}

build_qemu() {
    ninja -C "$work/build" qemu-system-x86_64
}

make_qemu() {
    local want
    want=$(recipe)
    stage "install the library for QEMU" install_library
    if [[ ! -x $qemu || $(cat "$work/recipe" 2>/dev/null) != "$want" ]]; then
        rm -f "$work/recipe"
        [[ -n $(compgen -G "$work/fetch/qemu_*.dsc") ]] || {
            remedy=$fetch_remedy
            stage "read the package lists" private_apt
            stage "fetch the qemu source package" fetch_qemu
            remedy=
        }
        stage "unpack and patch QEMU" patch_qemu
    fi
    if [[ $(cat "$work/configured" 2>/dev/null) != "${configure_options[*]}" ]]; then
        stage "configure QEMU" configure_qemu
        printf '%s\n' "${configure_options[*]}" >"$work/configured"
    fi
    # A changed header of the library is a reason to compile, too.
    stage "build QEMU" build_qemu
    printf '%s\n' "$want" >"$work/recipe"
}

# configure_target FOLDER OPTION...
configure_target() {
    local folder=$work/$1
    shift
    mkdir -p "$folder"
    (cd "$folder" && PKG_CONFIG_PATH=$work/prefix/lib/pkgconfig "$work/source/configure" \
        --meson=/usr/bin/meson --without-default-features --enable-tcg --disable-kvm --disable-docs \
        --disable-tools --disable-guest-agent --disable-debug-info --enable-werror "$@")
}

# compile FOLDER TARGET: the objects of a target that the series touches
compile() {
    local objects
    mapfile -t objects < <(ninja -C "$work/$1" -t targets all | sed -n 's/: .*//p' |
        grep -E "$2.fa.p/.*(target_i386|hw_i386_x86|intc_apic|softmmu_memory|softmmu_physmem|migration_ram|accel_tcg_tcg-accel-ops)")
    [[ ${#objects[@]} -gt 0 ]] && ninja -C "$work/$1" "${objects[@]}"
}

other_targets() {
    stage "configure other targets" configure_target targets --enable-hvtlfs \
        --target-list=i386-softmmu,x86_64-linux-user,i386-linux-user
    stage "compile for i386-softmmu" compile targets i386-softmmu
    stage "build for linux-user" ninja -C "$work/targets" qemu-x86_64 qemu-i386
    stage "configure without the library" configure_target without --disable-hvtlfs \
        --target-list=x86_64-softmmu
    stage "compile without the library" compile without x86_64-softmmu
}

# ---- The guest ----

# newest PATTERN: the highest version among packages of that name
newest() {
    apt-cache "${apt_options[@]}" pkgnames linux-image- | grep -E "$1" | grep -v -- -dbg |
        sort -V | tail -n 1
}

# The default kernel of this Debian for virtual machines, and the newest it has.
fetch_kernels() {
    local package
    mkdir -p "$work/kernels"
    cd "$work/kernels" || return
    package=$(apt-cache "${apt_options[@]}" depends linux-image-cloud-amd64 |
        sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
    fetch_kernel default "$package" || return
    fetch_kernel newest "$(newest '^linux-image-[0-9.]+(-[0-9]+|\+deb[0-9]+|\+bpo)*-cloud-amd64$')"
}

fetch_kernel() {
    local name=$1 package=$2
    [[ -n $package ]] || return
    apt-get "${apt_options[@]}" download "$package" || return
    rm -rf "$name"
    dpkg-deb -x "${package}"_*.deb "$name" || return
    rm -f "${package}"_*.deb
    printf '%s\n' "$package" >"$name/package"
}

# pack TREE INITRD: the same bytes from the same files, whenever and wherever
pack() {
    find "$1" -exec touch -h -d @0 {} + &&
        (cd "$1" && find . | LC_ALL=C sort | cpio -o -H newc -R 0:0 --reproducible --quiet | gzip -1n) >"$2"
}

# For the boot whose trace is stored: nothing in it but what Debian has and one script.
make_golden_initrd() {
    local tree=$work/golden
    rm -rf "$tree"
    mkdir -p "$tree/bin"
    cp /bin/busybox "$tree/bin/"
    install -m 755 "$here/guest/golden-init" "$tree/init"
    pack "$tree" "$work/kernels/golden-initrd"
}

# An initrd with busybox, our programs, the VMBus drivers and the one for MSRs.
make_initrd() {
    local name=$1 tree=$work/initrd program module
    rm -rf "$tree"
    mkdir -p "$tree/bin"
    cp /bin/busybox "$tree/bin/"
    install -m 755 "$here/guest/init" "$tree/init"
    for program in work clock bench soak pages; do
        gcc -O2 -static -pthread -Wall -Wextra -s -o "$tree/bin/$program" "$here/guest/$program.c" || return
    done
    for module in hv_vmbus hv_utils msr; do
        module=$(find "$work/kernels/$name/lib/modules" -name "$module.ko*" | head -n 1)
        case $module in
        *.xz) xz -dc "$module" >"$tree/$(basename "$module" .xz)" ;;
        ?*) cp "$module" "$tree/" ;;
        esac
    done
    pack "$tree" "$work/kernels/$name/initrd"
}

make_guest() {
    local name
    if [[ ! -f $work/kernels/newest/package ]]; then
        remedy=$fetch_remedy
        [[ -n $(compgen -G "$work/apt/lists/*Packages*") ]] || stage "read the package lists" private_apt
        stage "fetch Debian's kernels" fetch_kernels
        remedy=
    fi
    for name in default newest; do
        stage "make an initrd for the $name kernel" make_initrd $name
    done
    stage "make an initrd for the stored boot" make_golden_initrd
    stage "make the VMBus test host" make_vmbus_host
}

# What stands between QEMU and the library in the boots that ask for it; tests/vmbus/host.c.
make_vmbus_host() {
    gcc -std=c11 -O2 -Wall -Wextra -shared -fPIC -fvisibility=hidden -I"$work/prefix/include" \
        -o "$work/vmbus-host.so" "$root/tests/vmbus/host.c"
    # The body of an ACPI table: Device (\_SB.VMBT) { Name (_HID, "VMBUS") Name (_UID, 0) }
    printf '\x5b\x82\x1d\x5c\x2e_SB_VMBT\x08_HID\x0dVMBUS\x00\x08_UID\x00' >"$work/vmbus-claim"
}

# ---- Booting ----

everything=hv-relaxed,hv-vapic,hv-vpindex,hv-time,hv-frequencies,hv-runtime,hv-reset,hv-crash
everything+=,hv-synic,hv-stimer,hv-stimer-direct,hv-tlbflush,hv-tlbflush-ext,hv-ipi,hv-xmm-input,hv-spinlocks=0xfff

passed=0
failed=0
count=0
name=
log=
problems=

# qemu ARGUMENTS...: one machine, until it powers off. The console goes to $log.
qemu() {
    $background timeout -k 5 "${limit:-120}" env ${preload:+"LD_PRELOAD=$preload"} \
        "$qemu" -L /usr/share/qemu -L /usr/share/seabios \
        -M pc -accel tcg -m 256 -nodefaults -display none -serial "file:$log" \
        -d guest_errors -trace hyperv_tcg_description -D "$work/logs/$name.qemu" "$@" 2>"$work/logs/$name.stderr"
}

record= # store the trace instead of comparing it
background= # "exec" in a subshell that is to be killed

# linux CPUS MODEL WORDS [ARGUMENTS...]: boot; WORDS are what the guest is to do, and kernel options
linux() {
    local cpus=$1 model=$2 words=$3
    shift 3
    qemu -smp "$cpus" -cpu "$model" -kernel "$(echo "$work/kernels/${kernel:-default}"/boot/vmlinuz-*)" \
        -initrd "$work/kernels/${kernel:-default}/initrd" \
        -append "console=ttyS0 panic=-1 $words" "${reboot:--no-reboot}" "$@"
}

# expect REGEX / refuse REGEX: what the console must, must not say
expect() {
    grep -aqE "$1" "$log" || problems+="    the console does not say: $1"$'\n'
}

refuse() {
    local line
    line=$(grep -aE -m 1 "$1" "$log") && problems+="    the console says: $line"$'\n'
}

# What every boot must come to.
healthy() {
    expect '^HVT done'
    refuse 'unchecked MSR access|WARNING: CPU|soft lockup|rcu.*stall|HVT .* failed'
    [[ ${crashes:-} ]] || refuse 'BUG:|Oops|Call Trace|Kernel panic|divide error|general protection'
}

enlightened() {
    healthy
    expect 'Hypervisor detected: Microsoft Hyper-V'
}

# exits: what the library counted, as comments of the report
exits() {
    sed -n 's/^exits .*/#     &/p; s/^feature .*: never used$/#     &/p' \
        "$work/logs/$name.qemu"
}

# fact NAME: the rest of the guest's line of that name
fact() {
    sed -n "s/^HVT $1 //p" "$log" | tr -d '\r' | tail -n 1
}

# function_of NAME: nothing, if there is none
function_of() {
    declare -F "boot_${1//-/_}" || declare -F "long_${1//-/_}"
}

boot() {
    local start=${EPOCHREALTIME/,/.} time
    name=$1
    log=$work/logs/$name.console
    problems=
    count=$((count + 1))
    rm -f "$log"
    "$(function_of "$name")" || problems+="    QEMU ended with status $?: $(head -n 3 "$work/logs/$name.stderr")"$'\n'
    time=$(awk -v a="$start" -v b="${EPOCHREALTIME/,/.}" 'BEGIN { printf "%.1f s", b - a }')
    if [[ -z $problems ]]; then
        passed=$((passed + 1))
        say "ok $count - $name # $time${note:+, $note}"
    else
        failed=$((failed + 1))
        say "not ok $count - $name # $time; ${log#"$root"/}"
        printf '%s' "$problems"
    fi
    note=
}

# shellcheck source=boots.sh
. "$here/boots.sh"
# shellcheck source=long.sh
. "$here/long.sh"

quick=(bare two four intel amd newest clock-msr crash restore-tsc restore-live golden vmbus conformance conformance-four interrupt-loop errors)

names() {
    sed -n 's/^boot_\([a-z0-9_]*\)() {$/\1/p' "$here/boots.sh" | tr _ -
}

# list KIND FILE: names and what the line above each function says
list() {
    sed -n 'N; s/^# \(.*\)\n'"$1"'_\([a-z0-9_]*\)() {$/\2\t\1/p; D' "$2" |
        awk -F '\t' '{ gsub("_", "-", $1); printf "%-16s %s\n", $1, $2 }'
}

main() {
    local names=() build_only="" targets="" n
    while [[ $# -gt 0 ]]; do
        case $1 in
        --list)
            list boot "$here/boots.sh"
            say "only by name:"
            list long "$here/long.sh"
            return
            ;;
        --build) build_only=1 ;;
        --targets) targets=1 ;;
        --quick) names+=("${quick[@]}") ;;
        --record) record=1 ;;
        -*) die "no option $1" ;;
        *) names+=("$1") ;;
        esac
        shift
    done
    [[ ${#names[@]} -gt 0 ]] || mapfile -t names < <(names)
    for n in "${names[@]}"; do
        function_of "$n" >/dev/null || die "no boot '$n'; --list lists them"
    done
    mkdir -p "$work/logs"
    [[ ${HVTLFS_QEMU-} ]] || make_qemu
    [[ $targets ]] && { other_targets; return; }
    make_guest
    [[ $build_only ]] && return
    say "1..${#names[@]}"
    for n in "${names[@]}"; do
        boot "$n"
    done
    say "$passed passed, $failed failed"
    [[ $failed -eq 0 ]]
}

main "$@"
