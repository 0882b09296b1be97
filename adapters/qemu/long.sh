# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# Runs of linux.sh that are asked for by name only: they take minutes, or they measure. Otherwise as in
# boots.sh; the functions are long_NAME.

# measured RUN CPUS MODEL WORDS ARGUMENTS...: one boot of the benchmark
measured() {
    local run=$1 cpus=$2 model=$3 words=$4
    shift 4
    name=bench-$run limit=600 linux "$cpus" "$model,tsc-frequency=1000000000,-rdrand,-rdseed" \
        "quiet nokaslr random.trust_cpu=off $words" "$@" || return
    # Without hv-vapic this kernel gets a #GP and says so (boot minimal).
    [[ $model == max,*vapic* ]] && healthy
    expect '^HVT bench ok'
    expect '^HVT done'
}

# counted RUN CPUS MODEL WORDS: with all that happens in a trace, and time counted in instructions
counted() {
    measured "$@" -debugcon null -trace hyperv_tcg_event -trace "memory_region_ops_*" \
        -icount shift=0,sleep=off -rtc base=2020-01-01,clock=vm
}

# clocks MACHINE MODEL: one VP, counted and in real time
clocks() {
    counted "$1-clocks" 1 "$2" hvt=bench_clocks,bench_ticks &&
        measured "$1-timed" 1 "$2" "hvt=bench_clocks batches=20" -debugcon "file:$work/logs/bench-$1.marks"
}

# What enlightenments save: docs/bench/linux.md and its plot
long_bench() {
    local time=hv-relaxed,hv-vpindex,hv-time,hv-frequencies
    clocks none max &&
        clocks all "max,$everything" &&
        clocks msr "max,$everything,x-hv-tcg=reference-tsc=off" &&
        counted vapic-clocks 1 "max,$time,hv-vapic" hvt=bench_ticks &&
        counted none-interrupts 2 max hvt=bench_interrupts &&
        counted vapic-interrupts 2 "max,$time,hv-vapic" hvt=bench_interrupts &&
        counted all-interrupts 2 "max,$everything" hvt=bench_interrupts || return
    [[ $problems ]] && return
    mkdir -p "$root/docs/bench"
    if ! /usr/bin/python3 "$here/bench.py" "$work/logs" "$root/docs/bench" "$(fact kernel | cut -d ' ' -f 1)"; then
        problems+="    no table"$'\n'
        return
    fi
    # The traces are large.
    rm -f "$work"/logs/bench-*.qemu
    note="docs/bench/linux.md"
}

# A week of guest time, two VPs that mostly sleep: no clock drifts, nothing locks up (HVT_HOURS=168)
long_soak() {
    local hours=${HVT_HOURS:-168} pid said=""
    # Time flies while all VPs sleep: an hour of the guest takes some seconds.
    (background=exec limit=86400 && linux 2 "max,$everything,tsc-frequency=1000000000,-rdrand,-rdseed" \
        "hvt=soak hours=$hours" -icount shift=3,sleep=off -rtc base=2020-01-01,clock=vm) &
    pid=$!
    while kill -0 $pid 2>/dev/null; do
        sleep 1
        [[ $said == "$(fact 'soak hours')" ]] || say "#     hours $(fact 'soak hours')"
        said=$(fact 'soak hours')
    done
    wait $pid || return
    enlightened
    expect "$clock_on_page"
    expect "^HVT soak hours $hours drift"
    expect '^HVT soak ok'
    refuse 'hung_task|blocked for more than|Marking clocksource|NMI watchdog: Watchdog detected'
    # Asleep, but not dead.
    expect '^HVT interrupts HVS [1-9][0-9]{3}'
    note="$(fact 'soak hours')"
    exits
}

# The kernel's selftests that ask for time, timers, IPIs and flushes; all static, so that they run anywhere.
selftests=(
    timers/{inconsistency-check,clocksource-switch,nanosleep,nsleep-lat,posix_timers,set-timer-lat}
    timers/{threadtest,mqueue-lat,raw_skew}
    membarrier/membarrier_test_{single,multi}_thread futex/functional/futex_wait_timeout
    vDSO/vdso_test_{abi,clock_getres,gettimeofday,getcpu,correctness}
)

# The source of Debian's default kernel has them; 140 MB, of which a few files are kept.
fetch_selftests() {
    local package tree=$work/selftests
    mkdir -p "$tree/deb"
    package=$(apt-cache "${apt_options[@]}" depends linux-source |
        sed -n 's/.*Depends: \(linux-source-[0-9].*\)/\1/p' | head -n 1)
    (cd "$tree/deb" && apt-get "${apt_options[@]}" download "$package") &&
        dpkg-deb -x "$tree/deb/$package"_*.deb "$tree/deb" &&
        tar -C "$tree" --strip-components 4 -xJf "$tree/deb/usr/src/$package.tar.xz" --wildcards \
            "*/tools/testing/selftests/kselftest.h" "*/tools/testing/selftests/timers" \
            "*/tools/testing/selftests/membarrier" "*/tools/testing/selftests/futex" \
            "*/tools/testing/selftests/vDSO" &&
        printf '%s\n' "$package" >"$tree/package" || return
    rm -rf "$tree/deb"
}

make_selftests() {
    local tree=$work/selftests test extra
    rm -rf "$tree/initrd"
    mkdir -p "$tree/initrd/selftests"
    for test in "${selftests[@]}"; do
        extra=()
        [[ $test != vDSO/* || $test == *correctness ]] || extra=("$tree/vDSO/parse_vdso.c")
        gcc -O2 -static -pthread -D_GNU_SOURCE -I"$tree" -I"$tree/futex/include" \
            -o "$tree/initrd/selftests/$(basename "$test")" "$tree/$test.c" "${extra[@]}" -lrt || return
    done
    # The kernel unpacks one archive after the other.
    pack "$tree/initrd" "$tree/more" && cat "$work/kernels/default/initrd" "$tree/more" >"$tree/both"
}

# The kernel's own tests of clocks, timers, IPIs and the vDSO, on two VPs
long_selftests() {
    local test
    [[ -n $(compgen -G "$work/apt/lists/*Packages*") ]] || stage "read the package lists" private_apt
    [[ -f $work/selftests/package ]] || stage "fetch the kernel's selftests" fetch_selftests
    stage "build the kernel's selftests" make_selftests
    limit=1800 linux 2 "max,$everything,tsc-frequency=1000000000" hvt=selftests \
        -initrd "$work/selftests/both" -icount shift=4,sleep=off -rtc base=2020-01-01,clock=vm || return
    enlightened
    expect "$clock_on_page"
    for test in "${selftests[@]}"; do
        expect "^HVT selftest $(basename "$test") status 0"
    done
    refuse '^not ok|\[FAIL\]'
    note="${#selftests[@]} programs of $(cat "$work/selftests/package")"
}
