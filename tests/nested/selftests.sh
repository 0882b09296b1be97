#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# KVM's own selftests for Hyper-V, built from Debian's package of the kernel's source as they are, under the
# interposer: in the bed (bed.sh), or on this machine's /dev/kvm.
#
#     tests/nested/selftests.sh BUILD WORK [--here] [NAME...]
#
# BUILD has lib/libhvtlfs-kvm-preload.so; the source, the programs and what they said land in WORK. selftests.txt
# has the verdict that is expected of each; NAMEs run only those. Ends with "N passed, N failed".
# Exit status 77 if this machine's /dev/kvm is none that the tests can use.

set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PATH=/usr/bin:/bin:/usr/sbin:/sbin:$PATH
table=$here/selftests.txt
preload=libhvtlfs-kvm-preload.so
limit=${SELFTEST_TIMEOUT:-300} # seconds for each

die() {
    printf 'kvm-selftests: %s\n' "$*" >&2
    exit 1
}

# ---- The source ----

newest_source() {
    apt-cache pkgnames linux-source- | grep -E '^linux-source-[0-9.]+$' | sort -V | tail -n 1
}

# The kernel's headers and what the tests are made of: a tenth of the tree.
unpack() {
    local package=$1 top=$1
    dpkg-deb -x "$work"/fetch/linux-source-*.deb "$work/fetch/package" || return
    mkdir -p "$work/source.new"
    tar -C "$work/source.new" --strip-components 1 -xf "$work/fetch/package/usr/src/$package.tar.xz" \
        "$top"/{Makefile,Kbuild,Kconfig,arch/x86,include,scripts,tools,usr} || return
    make -s -C "$work/source.new" ARCH=x86 headers || return
    printf '%s\n' "$package" >"$work/source.new/package"
    rm -rf "$work/source" "$work/fetch"
    mv "$work/source.new" "$work/source"
}

fetch_source() {
    local package
    [[ -f $work/source/package ]] && return
    package=$(newest_source)
    if [[ -z $package ]]; then
        apt-get update
        package=$(newest_source)
    fi
    [[ -n $package ]] || die "no linux-source package is known to apt"
    rm -rf "$work/fetch" "$work/source.new"
    mkdir -p "$work/fetch"
    (cd "$work/fetch" && { apt-get download "$package" || { apt-get update && apt-get download "$package"; }; }) ||
        die "cannot fetch $package"
    unpack "$package" || die "cannot unpack $package"
}

# The folder of x86 has had two names.
tests_folder() {
    local name
    for name in x86 x86_64; do
        [[ -f $tests/$name/hyperv_features.c ]] && echo "$tests/$name"
    done | head -n 1
}

build() {
    local name
    for name in "${names[@]}"; do
        [[ -f $folder/$name.c ]] || die "this kernel's selftests have no $name"
        make -s -C "$tests" ARCH=x86_64 OUTPUT="$tests" "$folder/$name" || die "cannot build $name"
    done
}

# ---- Running ----

in_bed() {
    # What pthread_cancel() loads when it is called.
    local name files=("$build/lib/$preload" "$(gcc -print-file-name=libgcc_s.so.1)=/lib/x86_64-linux-gnu/libgcc_s.so.1")
    for name in "${names[@]}"; do
        printf '%s\tLD_PRELOAD=/%s timeout %s /selftests/%s\n' "$name" "$preload" "$limit" "$name"
    done >"$work/jobs"
    for name in "${names[@]}"; do
        files+=("$folder/$name=/selftests/$name")
    done
    [[ -d $work/kernel || ! -d $build/nested/kernel ]] || cp -r "$build/nested/kernel" "$work/"
    BED_TIMEOUT=${BED_TIMEOUT:-1800} "$here/bed.sh" "$work" "$work/jobs" "${files[@]}" || exit
}

# A KVM that cannot run KVM's tests without us says nothing about us.
usable_here() {
    local name said
    if [[ ! -r /dev/kvm || ! -w /dev/kvm ]]; then
        echo "no /dev/kvm here"
        return 1
    fi
    for name in set_sregs_test state_test; do
        make -s -C "$tests" ARCH=x86_64 OUTPUT="$tests" "$folder/$name" || die "cannot build $name"
        if ! said=$(timeout 60 "$folder/$name" 2>&1); then
            printf 'this /dev/kvm does not run %s, without anything of ours: %s\n' "$name" "${said##*$'\n'}"
            return 1
        fi
    done
}

on_this_machine() {
    local name
    rm -rf "$work/results"
    mkdir -p "$work/results"
    for name in "${names[@]}"; do
        LD_PRELOAD=$build/lib/$preload timeout "$limit" "$folder/$name" >"$work/results/$name" 2>&1 </dev/null
        echo $? >"$work/results/$name.status"
    done
}

# ---- Judging ----

# verdict_of NAME: what it came to
verdict_of() {
    case $(cat "$work/results/$1.status") in
    0) echo passes ;;
    4) echo skips ;;
    124) echo "takes too long" ;;
    *) echo fails ;;
    esac
}

# judge NAME: against its line of the table
judge() {
    local name=$1 wanted pattern='' came
    wanted=$(sed -n "s/^$name //p" "$table")
    [[ $wanted == *:* ]] && pattern=${wanted#*: }
    came=$(verdict_of "$name")
    if [[ $came == "${wanted%%:*}" ]] && { [[ -z $pattern ]] || tail -n 12 "$work/results/$name" | grep -qE "$pattern"; }; then
        passed=$((passed + 1))
        printf 'ok %s %s\n' "$name" "$wanted"
    else
        failed=$((failed + 1))
        printf 'not ok %s %s, where it %s; %s\n' "$name" "$came" "$wanted" "$work/results/$name"
        tail -n 8 "$work/results/$name" | sed 's/^/    /'
    fi
}

[[ $# -ge 2 ]] || die "usage: selftests.sh BUILD WORK [--here] [NAME...]"
build=$1
mkdir -p "$2"
work=$(cd "$2" && pwd)
shift 2
place=in_bed
if [[ ${1-} == --here ]]; then
    place=on_this_machine
    shift
fi
mapfile -t known < <(sed -n 's/^\([a-z][a-z0-9_]*\) .*/\1/p' "$table")
names=("$@")
[[ $# -gt 0 ]] || names=("${known[@]}")
for name in "${names[@]}"; do
    [[ " ${known[*]} " == *" $name "* ]] || die "$table has no verdict for $name"
done
[[ -f $build/lib/$preload ]] || die "$build/lib/$preload is missing: ./dev build"
fetch_source >&2
tests=$work/source/tools/testing/selftests/kvm
folder=$(tests_folder)
if [[ $place == on_this_machine ]] && ! usable_here; then
    exit 77
fi
build >"$work/build.log" 2>&1 || die "the tests do not build; $work/build.log"
passed=0
failed=0
$place
for name in "${names[@]}"; do
    judge "$name"
done
printf '%s passed, %s failed\n' "$passed" "$failed"
[[ $failed -eq 0 ]]
