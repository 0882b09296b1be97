#!/bin/sh
# SPDX-License-Identifier: MIT
# Two copies of the tree at different paths, built in differently named folders, give the same
# bytes.
set -u
source_dir=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

# build TREE FOLDER
build() {
    mkdir -p "$work/$1" || return 1
    cp -R "$source_dir/CMakeLists.txt" "$source_dir/cmake" "$source_dir/include" "$source_dir/src" \
        "$work/$1" || return 1
    cmake -S "$work/$1" -B "$work/$1/$2" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo \
        -DHVTLFS_BUILD_TESTS=OFF >"$work/log" 2>&1 &&
        cmake --build "$work/$1/$2" >>"$work/log" 2>&1 || { cat "$work/log"; return 1; }
}

build first build && build a/much/longer/path/second out || exit 1
for file in libhvtlfs.a libhvtlfs.so; do
    if ! cmp "$work/first/build/lib/$file" "$work/a/much/longer/path/second/out/lib/$file"; then
        echo "FAIL: $file depends on where it was built"
        exit 1
    fi
done
echo "libhvtlfs.a and libhvtlfs.so: the same bytes from two places"
