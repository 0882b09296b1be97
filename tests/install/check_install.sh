#!/bin/sh
# SPDX-License-Identifier: MIT
# An outside project builds against the library and runs, in every way it can be had:
#   - installed, by find_package, shared and static, from C and from C++ alone, and again after
#     the installed tree has been moved;
#   - installed, by pkg-config, shared and --static;
#   - as a subfolder, and by FetchContent.
# HVTLFS_BUILD_DIR names the build that is installed.
set -u
here=$(cd "$(dirname "$0")" && pwd)
source_dir=$(cd "$here/../.." && pwd)
build_dir=${HVTLFS_BUILD_DIR:?set HVTLFS_BUILD_DIR to a build folder}
cc=${CC:-cc}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
failed=0

# step NAME COMMAND...: its output only if it fails
step() {
    step_name=$1
    shift
    if "$@" >"$work/log" 2>&1; then
        return 0
    fi
    echo "FAIL: $step_name"
    sed 's/^/    /' "$work/log"
    failed=1
    return 1
}

# quoted TEXT: as a part of a regular expression
quoted() {
    printf '%s' "$1" | sed 's/[][(){}.*+?^$|\\]/\\&/g'
}

# run NAME shared|static PROGRAM: it works, and it is linked as it says
run() {
    step "$1: run" "$3" || return
    output=$(cat "$work/log")
    needed=$(readelf -d "$3" | grep -c 'NEEDED.*\[libhvtlfs\.so\.0\]')
    case $2:$needed in
    shared:1 | static:0) echo "ok: $1: $output" ;;
    *)
        echo "FAIL: $1: is not linked $2"
        failed=1
        ;;
    esac
}

# consume NAME FOLDER CMAKE-OPTIONS...
consume() {
    name=$1 folder=$2
    shift 2
    rm -rf "$work/consumer"
    step "$name: configure" cmake -S "$here/$folder" -B "$work/consumer" -G Ninja "$@" || return
    step "$name: build" cmake --build "$work/consumer" || return
    run "$name, shared" shared "$work/consumer/with_hvtlfs"
    run "$name, static" static "$work/consumer/with_hvtlfs_static"
}

# by_pkg_config NAME shared|static PKG-CONFIG-OPTIONS...
by_pkg_config() {
    name=$1 kind=$2
    shift 2
    step "$name: pkg-config" pkg-config --exists --print-errors hvtlfs || return
    extra=
    [ "$kind" = static ] && extra=-static
    # shellcheck disable=SC2046,SC2086
    step "$name: build" "$cc" -std=c11 $extra "$here/main.c" -o "$work/program" \
        $(pkg-config "$@" --cflags --libs hvtlfs) || return
    LD_LIBRARY_PATH=$libdir run "$name" "$kind" "$work/program"
}

prefix=$work/prefix
step "install" cmake --install "$build_dir" --prefix "$prefix" || exit 1
pc=$(find "$prefix" -name hvtlfs.pc)
libdir=$(dirname "$(dirname "$pc")")
PKG_CONFIG_PATH=$libdir/pkgconfig
export PKG_CONFIG_PATH

consume "find_package from C" package -DCMAKE_C_COMPILER="$cc" -DCMAKE_PREFIX_PATH="$prefix"
consume "find_package from C++" package-cxx -DCMAKE_PREFIX_PATH="$prefix"
by_pkg_config "pkg-config, shared" shared
by_pkg_config "pkg-config, static" static --static
if [ "$(pkg-config --modversion hvtlfs)" != "$(sed -n 's/^#define HVTLFS_VERSION_STRING "\(.*\)"/\1/p' \
    "$prefix"/include/hvtlfs/version.h)" ]; then
    echo "FAIL: hvtlfs.pc and version.h name different versions"
    failed=1
fi
# A path that begins there; "./src/file.c" is not one.
begins='(^|[^./A-Za-z0-9_-])'
if grep -rlaE -e "$begins$(quoted "$source_dir")/" -e "$begins$(quoted "$build_dir")/" "$prefix"; then
    echo "FAIL: the files above name the folders they were built in"
    failed=1
fi
# The command, where it was built, works from where it was put.
if [ -e "$prefix/bin/hvtlfs" ]; then
    step "installed command" "$prefix/bin/hvtlfs" --help && echo "ok: installed command"
    if [ -n "$(find "$prefix" -name libhvtlfs-kvm-preload.so)" ]; then
        # shellcheck disable=SC2016
        step "installed interposer" "$prefix/bin/hvtlfs" kvm run -- \
            sh -c 'case $LD_PRELOAD in */hvtlfs/libhvtlfs-kvm-preload.so) ;; *) exit 1 ;; esac' &&
            echo "ok: installed interposer"
    fi
fi

# The helper for KVM, where it was built.
if [ -e "$prefix/include/hvtlfs/kvm.h" ]; then
    consume "component kvm" package-kvm -DCMAKE_C_COMPILER="$cc" -DCMAKE_PREFIX_PATH="$prefix"
    # shellcheck disable=SC2046
    step "pkg-config hvtlfs-kvm: build" "$cc" -std=c11 "$here/kvm.c" -o "$work/program" \
        $(pkg-config --cflags --libs hvtlfs-kvm) &&
        LD_LIBRARY_PATH=$libdir run "pkg-config hvtlfs-kvm" shared "$work/program"
    # shellcheck disable=SC2046
    step "pkg-config hvtlfs-kvm, static: build" "$cc" -std=c11 -static "$here/kvm.c" \
        -o "$work/program" $(pkg-config --static --cflags --libs hvtlfs-kvm) &&
        run "pkg-config hvtlfs-kvm, static" static "$work/program"
fi

# refuses NAME TEXT CMAKE-CODE: a find_package that must fail, with TEXT in what it says
refuses() {
    mkdir -p "$work/refused" && rm -rf "$work/refused-build"
    printf 'cmake_minimum_required(VERSION 3.23)\nproject(refused LANGUAGES C)\n%s\n' "$3" \
        >"$work/refused/CMakeLists.txt"
    if cmake -S "$work/refused" -B "$work/refused-build" -DCMAKE_PREFIX_PATH="$prefix" >"$work/log" 2>&1; then
        echo "FAIL: $1: find_package accepts it"
        failed=1
    elif grep -q "$2" "$work/log"; then
        echo "ok: $1"
    else
        echo "FAIL: $1: says something else"
        sed 's/^/    /' "$work/log"
        failed=1
    fi
}
refuses "a later version" "considered but not accepted" "find_package(hvtlfs 0.999 REQUIRED)"
refuses "another major version" "considered but not accepted" "find_package(hvtlfs 9 REQUIRED)"
refuses "an unknown component" "no component nonsense" "find_package(hvtlfs REQUIRED COMPONENTS nonsense)"

mv "$prefix" "$work/moved"
consume "find_package after a move" package -DCMAKE_C_COMPILER="$cc" \
    -DCMAKE_PREFIX_PATH="$work/moved"

consume "subfolder" subproject -DCMAKE_C_COMPILER="$cc" -DHVTLFS_SOURCE="$source_dir"
consume "FetchContent" fetchcontent -DCMAKE_C_COMPILER="$cc" -DHVTLFS_SOURCE="$source_dir"
exit $failed
