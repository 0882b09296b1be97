# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# The boots of linux.sh, one function each, with what must come true. The line above a function is
# what --list says. A boot calls linux (or qemu), then expect and refuse; a status is QEMU's.

clock_on_page='clocksource: Switched to clocksource hyperv_clocksource_tsc_page'

# everything_works CPUS: what a boot with all enlightenments and the words "time,work" shows
everything_works() {
    enlightened
    expect "$clock_on_page"
    expect 'Hyper-V: Using hypercall for remote TLB flush'
    expect 'Hyper-V: Using IPI hypercalls'
    expect 'Hyper-V: Using enlightened APIC'
    expect "^HVT kernel .* cpus $1"
    expect "^HVT clock cpus $1 reads [0-9]+ backward 0"
    expect "^HVT work cpus $1 rounds [0-9]+ faults 0"
    # The kernel counts flush IPIs here; with the hypercall there are none.
    expect '^HVT interrupts TLB( 0)+.?$'
    # Time comes from direct synthetic timers, not from the APIC's.
    expect '^HVT clockevent Hyper-V clockevent'
    expect '^HVT interrupts HVS [1-9]'
    expect '^HVT interrupts LOC( 0)+.?$'
}

# Minimal Hv#1: detected, nothing offered, boots as on bare metal
boot_minimal() {
    linux 1 max,x-hv-tcg=hypercall "" || return
    expect '^HVT done'
    expect 'Hyper-V: privilege flags low 0x60, high 0x0, hints 0x0'
    # This kernel writes the VP assist page's MSR without asking, and gets its #GP.
    expect 'unchecked MSR access error: WRMSR to 0x40000073'
    refuse 'unchecked MSR access error: .* 0x4000007[^3]|BUG:|Oops|Kernel panic'
    note=$(fact clocksource)
}

# No enlightenment: no sign of Hyper-V
boot_bare() {
    linux 1 max "" || return
    healthy
    refuse 'Hyper-V'
    note=$(fact clocksource)
}

# All enlightenments, 1 VP
boot_one() {
    linux 1 "max,$everything" hvt=time,work || return
    everything_works 1
}

# All enlightenments, 2 VPs on two threads
boot_two() {
    linux 2 "max,$everything" hvt=time,work || return
    everything_works 2
    exits
}

# All enlightenments, 4 VPs
boot_four() {
    linux 4 "max,$everything" hvt=time,work || return
    everything_works 4
}

# 2 VPs on one thread
boot_one_thread() {
    linux 2 "max,$everything" hvt=time,work -accel tcg,thread=single || return
    everything_works 2
}

# An Intel model: the hypercall page says VMCALL
boot_intel() {
    linux 2 "Skylake-Client,$everything" hvt=time,work || return
    everything_works 2
}

# An AMD model: the hypercall page says VMMCALL
boot_amd() {
    linux 2 "EPYC,$everything" hvt=time,work || return
    everything_works 2
}

# The newest kernel of this Debian
boot_newest() {
    kernel=newest linux 2 "max,$everything" hvt=time,work || return
    everything_works 2
    note=$(fact kernel)
}

# Without the TSC page: time by the MSR
boot_clock_msr() {
    linux 2 "max,$everything,x-hv-tcg=reference-tsc=off" hvt=time,work || return
    enlightened
    expect 'Switched to clocksource hyperv_clocksource_msr'
    expect '^HVT clock cpus 2 reads [0-9]+ backward 0'
}

# A TSC of 2.5 GHz, told by the frequency MSRs
boot_tsc_frequency() {
    linux 2 "max,$everything,tsc-frequency=2500000000" hvt=time,work || return
    everything_works 2
    expect 'tsc: Detected 2500\.000 MHz'
}

# Each enlightenment alone with what it needs
boot_alone() {
    local feature features all=
    for feature in relaxed vapic vpindex time frequencies runtime reset crash synic \
        synic,hv-time,hv-stimer synic,hv-time,hv-stimer,hv-stimer-direct \
        vpindex,hv-tlbflush vpindex,hv-tlbflush,hv-tlbflush-ext vpindex,hv-ipi xmm-input spinlocks=0x100 \
        reenlightenment avic no-nonarch-coresharing=on; do
        # This kernel wants the VP assist page's MSR whatever is offered, hence hv-vapic.
        features=hv-$feature
        [[ $feature == vapic ]] || features+=,hv-vapic
        linux 1 "max,$features" "" || return
        enlightened
        [[ $problems ]] && problems+="    with $features"$'\n' && return
        all+=x
    done
    note="${#all} boots"
}

# CPUs off and online, five rounds, under load
boot_hotplug() {
    linux 4 "max,$everything" hvt=load,hotplug,time || return
    enlightened
    expect '^HVT hotplug ok cpus 4'
    expect '^HVT clock cpus 4 reads [0-9]+ backward 0'
}

# A vCPU is plugged in while the guest runs, and is a VP like the others
boot_plug() {
    local pipe=$work/logs/$name.monitor pid start=$SECONDS
    rm -f "$pipe"
    mkfifo "$pipe"
    exec 9<>"$pipe"
    (background=exec limit=60 && linux 2,sockets=3,cores=1,maxcpus=3 "max,$everything" hvt=plug,time,work \
        -chardev "stdio,id=monitor,signal=off" -monitor chardev:monitor <&9 >/dev/null) &
    pid=$!
    until grep -aq '^HVT plug ready' "$log" 2>/dev/null || [[ $((SECONDS - start)) -gt 50 ]]; do
        sleep 0.1
    done
    printf 'device_add max-x86_64-cpu,socket-id=2,core-id=0,thread-id=0\n' >&9
    wait $pid
    exec 9>&-
    rm -f "$pipe"
    enlightened
    expect '^HVT plugged cpus 3'
    expect '^HVT clock cpus 3 reads [0-9]+ backward 0'
    expect '^HVT work cpus 3 rounds [0-9]+ faults 0'
}

# The guest reboots itself: all state is back where it was
boot_reboot() {
    local start=$SECONDS pid
    (background=exec reboot=-no-shutdown limit=120 && linux 2 "max,$everything" hvt=reboot) &
    pid=$!
    while [[ $(grep -ac '^HVT done' "$log" 2>/dev/null) -lt 3 && $((SECONDS - start)) -lt 110 ]] && kill -0 $pid 2>/dev/null; do
        sleep 0.2
    done
    kill $pid 2>/dev/null
    wait $pid 2>/dev/null
    enlightened
    [[ $(grep -ac "$clock_on_page" "$log") -ge 3 ]] || problems+="    fewer than three boots"$'\n'
}

# The kernel panics: its report reaches the crash MSRs
boot_crash() {
    crashes=1
    linux 1 "max,$everything" hvt=panic
    crashes=1 healthy
    crashes=
    expect 'Kernel panic - not syncing: sysrq triggered crash'
    # Linux gives the address and the length of its last words.
    grep -qE 'HV crash parameters: \(0 0 0 0x[1-9a-f][0-9a-f]* 0x[1-9a-f][0-9a-f]*\)' "$work/logs/$name.qemu" ||
        problems+="    QEMU was told of no crash, or without words"$'\n'
}

# PV spinlocks: the guest idles in HV_X64_MSR_GUEST_IDLE
boot_spinlocks() {
    linux 4 "max,$everything,x-hv-tcg=guest-idle" hvt=work || return
    enlightened
    expect 'Hyper-V: PV spinlocks enabled'
    note="$(sed -n 's/^exits HV_X64_MSR_GUEST_IDLE: //p' "$work/logs/$name.qemu") times idle"
    expect '^HVT work cpus 4 rounds [0-9]+ faults 0'
}

# vmbus CPUS WORDS [ARGUMENTS...]: hv_vmbus against the host in tests/vmbus. The only boots with a VMBus
# device in ACPI: a hypervisor that is not Microsoft's must not have one (docs/VMBUS.md), and without
# one Linux's driver cannot be tested. The table names the device and nothing more.
vmbus() {
    local cpus=$1 words=$2
    shift 2
    preload=$work/vmbus-host.so linux "$cpus" "max,$vmbus_features" "hvt=$words" \
        -acpitable "sig=SSDT,rev=2,oem_id=HVTLFS,oem_table_id=VMBTEST,data=$work/vmbus-claim" "$@"
}

# vmbus_agreed VERSION: initiation, one channel, messages and events in both directions
vmbus_agreed() {
    enlightened
    expect "hv_vmbus: Vmbus version:$1"
    expect '^HVT vmbus loaded'
    expect 'hv_utils: Heartbeat IC version 3\.0'
    expect '^HVT vmbus device \{57164f39-9115-4e78-ab55-382f3bd5422d\} state 3'
    # Messages and events come by the SINT's interrupt.
    expect '^HVT vmbus interrupts [1-9]'
    said '^vmbus-host: 100 heartbeats'
    said '^vmbus-host: unload'
    unsaid '^vmbus-host: (message|event|connection|heartbeat [0-9]+ answered|a (packet|buffer))'
}

# said REGEX / unsaid REGEX: what QEMU's standard error must, must not say
said() {
    grep -qE "$1" "$work/logs/$name.stderr" || problems+="    standard error does not say: $1"$'\n'
}

unsaid() {
    local line
    line=$(grep -E -m 1 "$1" "$work/logs/$name.stderr") && problems+="    standard error says: $line"$'\n'
}

# hv_vmbus: a version is agreed, heartbeats come and go, the guest says goodbye
boot_vmbus() {
    # Unloading the driver stops direct timers without giving the clock back, so timers by message.
    vmbus_features=$everything,hv-stimer-direct=off vmbus 2 vmbus,unload,work || return
    vmbus_agreed 5.3
    expect '^HVT vmbus clockevent Hyper-V clockevent'
    expect '^HVT vmbus unloaded'
    expect '^HVT work cpus 2 rounds [0-9]+ faults 0'
}

# hv_vmbus agrees to an older version, by the older connection; no auto-EOI; one VP
boot_vmbus_old() {
    export VMBUS_HOST_VERSION=0x40000
    vmbus_features=$everything,hv-stimer-direct=off,hv-avic vmbus 1 vmbus,unload
    unset VMBUS_HOST_VERSION
    vmbus_agreed 4.0
    said '^vmbus-host: version 4\.1 refused'
    expect '^HVT vmbus unloaded'
}

# hv_vmbus of the newest kernel, which says goodbye when it panics
boot_vmbus_newest() {
    crashes=1
    kernel=newest vmbus_features=$everything vmbus 4 vmbus,work,panic
    vmbus_agreed 5.3
    crashes=
    expect '^HVT work cpus 4 rounds [0-9]+ faults 0'
    expect 'Kernel panic - not syncing: sysrq triggered crash'
}

# hv_vmbus where nobody claims VMBus: its driver is not loaded
boot_vmbus_absent() {
    linux 1 "max,$everything" hvt=no_vmbus || return
    enlightened
    expect '^HVT vmbus absent'
}

# saved_and_restored CPUS MODEL MODEL2: while the guest counts ticks, stop it and save it to a file; a new
# process of another model goes on. Whether the machine ran is not saved, so the new one runs at once.
saved_and_restored() {
    local state=$work/logs/$name.state first=$work/logs/$name.first pipe=$work/logs/$name.monitor pid start=$SECONDS
    rm -f "$state" "$pipe" "$first"
    mkfifo "$pipe"
    # Opened for both directions, so that neither end waits for the other.
    exec 9<>"$pipe"
    (background=exec limit=60 log=$first && linux "$1" "$2" hvt=tick,time,work -global migration.store-global-state=off \
        -chardev "stdio,id=monitor,signal=off" -monitor chardev:monitor <&9 >/dev/null) &
    pid=$!
    until grep -aq '^HVT tick 10 ' "$first" 2>/dev/null || [[ $((SECONDS - start)) -gt 50 ]]; do
        sleep 0.1
    done
    printf 'stop\nmigrate "exec:cat >%s"\nquit\n' "$state" >&9
    wait $pid
    exec 9>&-
    limit=60 linux "$1" "$3" hvt=tick,time,work -global migration.store-global-state=off -incoming "exec:cat $state"
    rm -f "$state" "$pipe"
}

# What a restored guest shows: it went on where it was.
went_on() {
    local last next
    healthy
    last=$(sed -n 's/^HVT tick \([0-9]*\) .*/\1/p' "$work/logs/$name.first" | tail -n 1)
    next=$(sed -n 's/^HVT tick \([0-9]*\) .*/\1/p' "$log" | head -n 1)
    [[ -n $last && $next -eq $((last + 1)) ]] || problems+="    tick '$next' came after '$last'"$'\n'
    expect "^HVT clock cpus $1 reads [0-9]+ backward 0"
    expect "^HVT work cpus $1 rounds [0-9]+ faults 0"
    expect '^HVT clocksource hyperv_clocksource_tsc_page'
    note="tick $last, then $next"
}

# Saved to a file, restored in a new process
boot_restore() {
    saved_and_restored 2 "max,$everything" "max,$everything" || return
    went_on 2
}

# Restored with a TSC of another rate
boot_restore_tsc() {
    saved_and_restored 2 "max,$everything,tsc-frequency=2000000000" \
        "max,$everything,tsc-frequency=3200000000" || return
    went_on 2
}

# tell TEXT / ask COMMAND REGEX: talk to the monitor; repeat a question until the answer is that
tell() {
    printf '%s\n' "$*" >&9
}

ask() {
    local start=$SECONDS
    until grep -aqE "$2" "$answers" || [[ $((SECONDS - start)) -gt 100 ]]; do
        tell "$1"
        sleep 0.1
    done
}

# monitored COMMAND...: run it behind us with a monitor for tell and ask; over() waits for its end
monitored() {
    rm -f "$pipe"
    mkfifo "$pipe"
    : >"$answers"
    exec 9<>"$pipe"
    (background=exec && "$@" -chardev "stdio,id=monitor,signal=off" -monitor chardev:monitor \
        -global migration.store-global-state=off <&9 >"$answers") &
    pid=$!
}

over() {
    local status
    wait $pid
    status=$?
    exec 9>&-
    rm -f "$pipe"
    return $status
}

# saved_live CPUS MODEL: save the guest to a file while it stores to its memory, in ten rounds and more, as a
# downtime of 1 ms is out of reach; a new process goes on. What it has for memory must be what was there
# when the old one ended.
saved_live() {
    local state=$work/logs/$name.state first=$work/logs/$name.first pipe=$work/logs/$name.monitor pid
    local answers=$work/logs/$name.answers memory=$work/logs/$name.memory start=$SECONDS status
    rm -f "$state" "$first" "$memory".*
    log=$first monitored linux "$1" "$2" hvt=pages,time,work
    until grep -aq '^HVT pages counting' "$first" 2>/dev/null || [[ $((SECONDS - start)) -gt 100 ]]; do
        sleep 0.1
    done
    tell 'migrate_set_parameter downtime-limit 1'
    tell "migrate -d \"exec:cat >$state\""
    ask 'info migrate' 'dirty sync count: [1-9][0-9]|status: completed'
    tell 'migrate_set_parameter downtime-limit 10000'
    ask 'info migrate' 'status: completed'
    rounds=$(sed -n 's/.*dirty sync count: \([0-9]*\).*/\1/p' "$answers" | tail -n 1)
    tell "pmemsave 0 0x10000000 \"$memory.old\""
    tell quit
    over
    monitored linux "$1" "$2" hvt=pages,time,work -S -incoming "exec:cat $state"
    ask 'info status' 'VM status: paused( \(prelaunch\))?.?$'
    tell "pmemsave 0 0x10000000 \"$memory.new\""
    tell cont
    tell 'o/b 0x3ff 0x78' # pages.c
    over
    status=$?
    lost=$(cmp -l "$memory.old" "$memory.new" | awk '{ page[int(($1 - 1) / 4096)] } END { print length(page) }')
    [[ -s $memory.old && $lost == 0 ]] || problems+="    $lost pages are not what they were"$'\n'
    rm -f "$state" "$memory".*
    return $status
}

# Saved to a file while it runs and stores to memory, restored in a new process
boot_restore_live() {
    local rounds lost
    saved_live 2 "max,$everything" || return
    healthy
    expect '^HVT pages cpus 2 passes [0-9]+ faults 0'
    expect '^HVT clock cpus 2 reads [0-9]+ backward 0'
    expect '^HVT work cpus 2 rounds [0-9]+ faults 0'
    note="$rounds rounds, $lost pages lost"
}

# -icount: two boots with all enlightenments, the same console and the same events to the last byte
boot_deterministic() {
    local console events
    icount() {
        linux 1 "max,$everything,-rdrand,-rdseed" "nokaslr random.trust_cpu=off" \
            -icount shift=1,sleep=off -rtc base=2020-01-01,clock=vm -trace hyperv_tcg_event
    }
    icount || return
    console=$(sha256sum <"$log")
    events=$(sha256sum <"$work/logs/$name.qemu")
    icount || return
    enlightened
    expect "$clock_on_page"
    [[ $console == "$(sha256sum <"$log")" ]] || problems+="    two consoles differ"$'\n'
    [[ $events == "$(sha256sum <"$work/logs/$name.qemu")" ]] || problems+="    two traces differ"$'\n'
    note="$(grep -c '^hyperv_tcg_event' "$work/logs/$name.qemu") events"
}

# -icount: two VPs with the APIC's own timers, which leave no VP without a turn
boot_turns() {
    linux 2 "max,$everything,hv-stimer=off,hv-stimer-direct=off" hvt=time,work -icount shift=4,sleep=off \
        -rtc base=2020-01-01,clock=vm || return
    enlightened
    expect '^HVT clockevent lapic'
    expect '^HVT work cpus 2 rounds [0-9]+ faults 0'
}

# A week of guest time, as fast as it goes: the guest's clock keeps step with the real time clock
boot_week() {
    local rtc uptime
    limit=1800 linux 2 "max,$everything" hvt=week,time -icount shift=1,sleep=off -rtc base=2020-01-01,clock=vm ||
        return
    enlightened
    expect "^HVT clocksource hyperv_clocksource_tsc_page"
    expect '^HVT clock cpus 2 reads [0-9]+ backward 0'
    read -r rtc uptime < <(fact slept | sed 's/rtc \([0-9]*\) uptime/\1/')
    [[ ${rtc:-0} -ge 604800 && $((rtc - uptime)) -ge -1 && $((rtc - uptime)) -le 1 ]] ||
        problems+="    the real time clock counts ${rtc:-nothing}, the guest $uptime"$'\n'
    note="$rtc s, the guest's clock $uptime s"
}

# what_golden_is_made_of: everything that has a say in when the guest does what
what_golden_is_made_of() {
    printf '%s' "$(cat "$work/kernels/default/package")"
    printf ', vmlinuz %.12s' "$(cat "$work"/kernels/default/boot/vmlinuz-* | sha256sum)"
    printf ', initrd %.12s' "$(sha256sum <"$work/kernels/golden-initrd")"
    printf ', firmware %.12s' "$(cat /usr/share/seabios/bios-256k.bin /usr/share/qemu/linuxboot_dma.bin | sha256sum)"
    printf ', %s' "$("$qemu" --version | sed -n 's/.*version \([^ ]*\).*/QEMU \1/p')"
}

# -icount: the guest's accesses compared with the stored ones, and replayed by the library alone
boot_golden() {
    local stored=$root/tests/replay/linux-boot.hvt fresh=$work/logs/golden.hvt
    qemu -smp 1 -cpu "max,$everything,-rdrand,-rdseed" -kernel "$(echo "$work"/kernels/default/boot/vmlinuz-*)" \
        -initrd "$work/kernels/golden-initrd" -append "console=ttyS0 quiet panic=-1 nokaslr random.trust_cpu=off" \
        -no-reboot -icount shift=1,sleep=off -rtc base=2020-01-01,clock=vm -trace hyperv_tcg_event || return
    healthy
    expect '^HVT clocksource hyperv_clocksource_tsc_page'
    /usr/bin/python3 "$here/golden.py" --features "$everything" --made-of "$(what_golden_is_made_of)" \
        "$work/logs/$name.qemu" "$fresh" || return
    note=$("$root/build/bin/hvtlfs" replay "$fresh" 2>&1) || problems+="    replayed: $note"$'\n'
    if [[ $record ]]; then
        cp "$fresh" "$stored"
        note="stored as ${stored#"$root"/}"
    else
        note=$(/usr/bin/python3 "$here/golden.py" --compare "$stored" "$fresh") ||
            problems+="    not as stored in ${stored#"$root"/}; ./dev linux --record golden stores it:"$'\n'"$note"$'\n'
        note=${note%%$'\n'*}
    fi
}

# conformance_guest CPUS [ARGUMENTS...]: our own guest, which starts its other VPs by INIT and SIPI; all its
# tests pass
conformance_guest() {
    local cpus=$1
    shift
    qemu -smp "$cpus" -cpu "max,$everything,x-hv-tcg=guest-idle:hypercall-lock:unhalted-timer" \
        -kernel "$root/build/bin/conformance-guest.elf" -append "vps=$cpus hole=0xd0000000" \
        -debugcon "file:$log" -device isa-debug-exit,iobase=0xf4,iosize=4 -no-reboot "$@"
    [[ $? -eq 1 ]] || problems+="    the guest ended badly"$'\n'
    refuse '^not ok|^Bail out'
    expect '^1\.\.[0-9]+'
    expect '^ok .*an_interrupt_to_oneself_arrives'
    [[ $cpus -eq 1 ]] || refuse '# SKIP there is one VP'
    note="$(grep -c '^ok' "$log") tests, $(grep -c '# SKIP' "$log") skipped"
}

# The conformance guest, 1 VP
boot_conformance() {
    conformance_guest 1
}

# The conformance guest, 2 VPs on two threads
boot_conformance_two() {
    conformance_guest 2
}

# The conformance guest, 4 VPs, as AMD's
boot_conformance_four() {
    conformance_guest 4 -cpu "EPYC,$everything,x-hv-tcg=guest-idle:hypercall-lock:unhalted-timer"
}

# The conformance guest, 2 VPs and places for 2 more: calls to all VPs leave these alone
boot_conformance_places() {
    conformance_guest 2 -smp 2,maxcpus=4
}

# The conformance guest, 2 VPs on one thread, counting instructions
boot_conformance_icount() {
    conformance_guest 2 -icount shift=1,sleep=off
}

# The interrupt loop of ./dev bench --paper: exactly the exits that it must take
boot_interrupt_loop() {
    note=$(/usr/bin/python3 "$root/tests/bench/paper.py" --check --guest "$root/build/bin/interrupt-loop.elf" \
        --qemu "$qemu" 2>&1) || problems+="$note"$'\n'
    note=${note##*$'\n'}
}

# Unknown and impossible properties are errors with a reason
boot_errors() {
    local status
    linux 1 max,hv-evmcs ""
    status=$?
    { [[ $status -eq 1 ]] && grep -q evmcs "$work/logs/$name.stderr"; } ||
        problems+="    hv-evmcs: status $status, $(head -n 1 "$work/logs/$name.stderr")"$'\n'
    linux 1 max,hv-stimer ""
    status=$?
    { [[ $status -eq 1 ]] && grep -q 'hv-stimer needs hv-' "$work/logs/$name.stderr"; } ||
        problems+="    hv-stimer alone: status $status, $(head -n 1 "$work/logs/$name.stderr")"$'\n'
    linux 1 max,-apic,hv-relaxed ""
    status=$?
    { [[ $status -eq 1 ]] && grep -q 'local APIC' "$work/logs/$name.stderr"; } ||
        problems+="    without an APIC: status $status, $(head -n 1 "$work/logs/$name.stderr")"$'\n'
    refuses_late_enlightenments
}

# What the first vCPU does not have, one that is plugged in cannot bring.
refuses_late_enlightenments() {
    printf '%s\n' 'device_add max-x86_64-cpu,socket-id=1,core-id=0,thread-id=0,hv-relaxed=on' quit |
        qemu -S -smp 1,sockets=2,cores=1,maxcpus=2 -cpu max -monitor stdio >"$work/logs/$name.monitor"
    grep -aq 'the first vCPU' "$work/logs/$name.monitor" "$work/logs/$name.stderr" ||
        problems+="    a vCPU was plugged in with enlightenments of its own"$'\n'
}
