#!/bin/sh
# SPDX-License-Identifier: MIT
# check_bindings.sh SHARED GENERATED_INCLUDE
#
# The library can be used from other languages: examples/replay.py calls it from Python, and bindgen makes
# Rust of the headers, whose layout tests pass and which calls the library. (C++: check_headers.sh.)
set -u
source_dir=$(cd "$(dirname "$0")/../.." && pwd)
shared=${1:?usage: check_bindings.sh SHARED GENERATED_INCLUDE}
generated=${2:?}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

"${PYTHON:-python3}" "$source_dir/examples/replay.py" "$shared" || exit 1
for program in bindgen rustc; do
    command -v "$program" >/dev/null || { echo "$program is not installed"; exit 77; }
done
cat >"$work/all.h" <<'END'
#include <hvtlfs/hvtlfs.h>
#include <hvtlfs/tlfs.h>
END
bindgen --allowlist-function 'hvtlfs_.*' --allowlist-type '(hvtlfs|hv)_.*' --allowlist-var '(HVTLFS|HV)_.*' \
    --no-doc-comments "$work/all.h" -o "$work/bindings.rs" -- -std=c11 \
    -I"$source_dir/include" -I"$generated" || exit 1
cat >"$work/main.rs" <<'END'
#![allow(non_camel_case_types, non_snake_case, non_upper_case_globals, dead_code, deref_nullptr)]
include!("bindings.rs");

#[test]
fn a_name_from_rust() {
    let name = unsafe { std::ffi::CStr::from_ptr(hvtlfs_msr_name(hv_x64_msr_HV_X64_MSR_GUEST_OS_ID as u32)) };
    assert_eq!(name.to_str().unwrap(), "HV_X64_MSR_GUEST_OS_ID");
}

#[test]
fn sizes_agree() {
    let mut config: hvtlfs_config = unsafe { std::mem::zeroed() };
    unsafe { hvtlfs_config_init(&mut config) };
    assert_eq!(config.size as usize, std::mem::size_of::<hvtlfs_config>());
    assert_eq!(config.ops.size as usize, std::mem::size_of::<hvtlfs_host_ops>());
}
END
folder=$(cd "$(dirname "$shared")" && pwd)
rustc --edition 2021 --test -L "$folder" -l dylib=hvtlfs -o "$work/test" "$work/main.rs" || exit 1
LD_LIBRARY_PATH=$folder "$work/test" --test-threads 1 >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
echo "Rust: $(grep -c '^pub fn\|pub fn hvtlfs_' "$work/bindings.rs") functions," \
    "$(sed -n 's/^test result: ok. \([0-9]* passed\).*/\1/p' "$work/log")"
