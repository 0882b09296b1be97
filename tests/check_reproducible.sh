#!/bin/sh
# SPDX-License-Identifier: MIT
# Two copies of the tree at different paths, built in differently named folders, by differently minded users
# (time zone, language, mask), install the same bytes: libraries, command, headers, packages' files.
set -u
source_dir=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

# build TREE FOLDER: installed below $work/TREE/installed
build() {
    mkdir -p "$work/$1" || return 1
    (cd "$source_dir" && cp -R --parents CMakeLists.txt LICENSE cmake include src tools guest adapters/kvm \
        adapters/kvm-preload docs/man README.md "$work/$1") || return 1
    rm "$work/$1/guest/CMakeLists.txt" # the programs of the guest are not installed
    {
        cmake -S "$work/$1" -B "$work/$1/$2" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo \
            -DHVTLFS_BUILD_TESTS=OFF -DHVTLFS_BUILD_EXAMPLES=OFF -DCMAKE_INSTALL_PREFIX=/usr &&
            cmake --build "$work/$1/$2" && DESTDIR=$work/$1/installed cmake --install "$work/$1/$2"
    } >"$work/log" 2>&1 || { cat "$work/log"; return 1; }
}

TZ=UTC LC_ALL=C build first build && umask 027 &&
    TZ=Asia/Tokyo LC_ALL=C.UTF-8 build a/much/longer/path/second out || exit 1
one=$work/first/installed other=$work/a/much/longer/path/second/installed
if ! diff -r "$one" "$other"; then
    echo "FAIL: what is installed depends on where and by whom it was built"
    exit 1
fi
files=$(find "$one" -type f | wc -l)
[ -e "$one/usr/bin/hvtlfs" ] && [ "$files" -gt 20 ] || { echo "FAIL: only $files files were installed"; exit 1; }
echo "$files installed files: the same bytes from two places"
