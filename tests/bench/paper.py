#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The measurement of the KVM Forum 2012 talk, redone: a guest's interrupts with and without enlightenments.

    paper.py --guest FILE [--unicorn PROGRAM] [--qemu PROGRAM] [--kvm PROGRAM] [--json] [--svg FILE]
             [--check]

The guest (guest/loop.c) takes interrupts of a device: time stamps, EOI, deferred work, an IPI; then the same
with requests for 2 to 64 KiB of data between. Once it finds all enlightenments that the host can carry and
uses them, once none: then time is an emulated PM timer's, EOI and ICR are stores to the APIC's page.

On Unicorn every exit is counted, an instruction takes 1 ns and an exit takes a time that is given: the
figures are the same on every run, and they are lines in the cost of an exit. So they are on QEMU's TCG with
the patches of adapters/qemu: its -icount makes an instruction 1 ns, its trace has every exit. On KVM time is
real; there the kernel has the APIC, so that EOI and ICR are its own exits, and enlightened is what leaves
them there.

--check runs on Unicorn and QEMU only, expects exactly the exits that the specification makes of each loop and
at least the talk's 7 times, and says "N passed, M failed".
"""
import argparse
import json
import os
import re
import subprocess
import sys
import tempfile

import svg

# The talk: average ms in DPC and ISR with and without enlightenments; IoMeter's ratios, two tables.
TALK = {"dpc": (0.001712, 0.011717), "isr": (0.002236, 0.015927),
        "disk-2k": (1.45, 1.22), "disk-8k": (1.63, 1.47), "disk-32k": (1.50, 1.20),
        "disk-64k": (1.29, 1.04)}
DISKS = ("disk-2k", "disk-8k", "disk-32k", "disk-64k")
GOAL = 7
COSTS = (1000, 2000, 5000)  # ns; the middle one is the plot's
COUNT = 100
SKIPPED = 77

# What an interrupt costs in exits beside the request to the device and the halt of the VP that is woken.
WITH = {"msrs": 1, "hypercalls": 0, "ports": 0, "apic_page": 0}
WITHOUT = {"msrs": 0, "hypercalls": 0, "ports": 4, "apic_page": 4}

# On QEMU: what `./dev linux` boots with, and where Debian keeps the firmware.
EVERYTHING = ("hv-relaxed,hv-vapic,hv-vpindex,hv-time,hv-frequencies,hv-runtime,hv-reset,hv-crash,hv-synic,"
              "hv-stimer,hv-stimer-direct,hv-tlbflush,hv-tlbflush-ext,hv-ipi,hv-xmm-input,hv-spinlocks=0xfff")
FIRMWARE = ("-L", "/usr/share/qemu", "-L", "/usr/share/seabios")


NAMES = {"unicorn": "Unicorn", "qemu": "QEMU's TCG"}  # hosts that count every exit
REMEDIES = {"qemu": "there is no QEMU with our patches; ./dev linux --build makes one, HVTLFS_QEMU=FILE "
                    "names one"}


class Skipped(Exception):
    pass


def run(host, guest, features, *options):
    """The host's report, with the guest's lines as numbers: loop -> {...}."""
    command = [host, "--json", "--argument", str(COUNT), *options]
    if features:
        command += ["--features", features]
    done = subprocess.run(command + [guest], capture_output=True, text=True, check=False)
    if done.returncode == SKIPPED:
        raise Skipped(done.stderr.strip() or f"{host} cannot run here")
    if done.returncode:
        sys.exit(f"paper.py: {' '.join(command)} failed:\n{done.stderr}")
    result = json.loads(done.stdout)
    return read(result["output"], result["stretches"], " ".join(command))


def read(output, stretches, command):
    """What the guest printed, with the exits of each of its stretches."""
    pattern = (r"(\S+) interrupts (\d+) ticks (\w+) isr (\w+) dpc (\w+) ipi (\w+) "
               r"least (\w+) (\w+) (\w+) saved (\d+) written (\d+)")
    loops = {}
    for line, exits in zip(re.findall(pattern, output), stretches):
        name, count, ticks, isr, dpc, ipi, isr0, dpc0, ipi0, saved, written = line
        count = int(count)
        loops[name] = {
            "all": int(ticks, 16) / count, "isr": int(isr, 16) / count, "dpc": int(dpc, 16) / count,
            "ipi": int(ipi, 16) / count,
            "least": {"isr": int(isr0, 16), "dpc": int(dpc0, 16), "ipi": int(ipi0, 16)},
            "eois_saved": int(saved) / count, "eois_written": int(written) / count,
            "exits": {kind: number / count for kind, number in exits.items()}}
    if set(loops) != {"loop", *DISKS}:
        sys.exit(f"paper.py: {command} printed something else:\n{output}")
    exit_count, exit_ticks = re.search(r"exit count (\d+) ticks (\w+)", output).groups()
    return {"loops": loops, "exit_ticks": int(exit_ticks, 16) / int(exit_count),
            "ways": output.splitlines()[0]}


# ---- Unicorn: lines in the cost of an exit ----

def line(at_0, at_1000):
    """(ns without exits, exits) of a figure measured with exits of 0 and of 1000 ns."""
    return at_0, (at_1000 - at_0) / 1000


def lines_of(host, guest, features):
    free, dear = (run(host, guest, features, "--vps", "2", "--exit-cost", cost)
                  for cost in ("0", "1000"))
    figures = {what: line(free["loops"]["loop"][what], dear["loops"]["loop"][what])
               for what in ("isr", "dpc", "ipi")}
    for disk in DISKS:
        figures[disk] = line(free["loops"][disk]["all"], dear["loops"][disk]["all"])
    return with_both(figures, dear)


def with_both(figures, told):
    figures["isr and dpc"] = tuple(a + b for a, b in zip(figures["isr"], figures["dpc"]))
    return {"lines": figures, "exits": told["loops"]["loop"]["exits"], "ways": told["ways"]}


def at(figure, cost):
    return figure[0] + figure[1] * cost


def ratio(result, what, cost):
    return at(result["without"]["lines"][what], cost) / at(result["with"]["lines"][what], cost)


def cost_for(result, what, goal):
    """The cost of an exit in ns from which the ratio is `goal`, or None if it never is."""
    (a1, n1), (a0, n0) = result["with"]["lines"][what], result["without"]["lines"][what]
    if n0 <= goal * n1:
        return 0 if a0 >= goal * a1 else None
    return max(0, (goal * a1 - a0) / (n0 - goal * n1))


def on_unicorn(host, guest):
    return {"with": lines_of(host, guest, "hv-vapic,hv-time"), "without": lines_of(host, guest, ""),
            "request": 1}


def check(results):
    """Exits by kind, for each interrupt; the request is ports, the halt counts in `all` alone."""
    failures, passed = [], 0
    for host, result in results.items():
        for which, expected in (("with", WITH), ("without", WITHOUT)):
            exits = result[which]["exits"]
            expected = dict(expected, ports=expected["ports"] + result["request"])
            expected["all"] = sum(expected.values()) + 1
            for kind, number in expected.items():
                if exits[kind] == number:
                    passed += 1
                else:
                    failures.append(f"on {host} {which} enlightenments an interrupt takes {exits[kind]} "
                                    f"exits ({kind}), not {number}")
        for what in ("isr", "dpc"):
            if ratio(result, what, COSTS[1]) >= GOAL:
                passed += 1
            else:
                failures.append(f"on {host} {what}: {ratio(result, what, COSTS[1]):.1f} times, not {GOAL}")
    for failure in failures:
        print("FAIL", failure)
    print(f"{passed} passed, {len(failures)} failed")
    return 1 if failures else 0


# ---- QEMU: instructions are time, exits are in the trace ----

ACCESS = re.compile(r"memory_region_ops_\w+ cpu (-?\d+) mr \S+ addr 0x(\w+) .*name '(.*)'")
EVENT = re.compile(r"hyperv_tcg_event (?:\d+ )?(\S+) vp=(\d+)")
MARK = f"Invalid write at addr 0x{0xEA:X}, size 4"  # nobody is at the marks' port, and -d says so
APIC_PAGE = 0xFEE00000
EVENT_KINDS = {"msr-read": "msrs", "msr-write": "msrs", "hypercall": "hypercalls"}


def region_kind(address, name):
    """(kind of exit, what it is for); None for a message of an interrupt, which is no processor's."""
    if name == "apic-msi":
        register = address - APIC_PAGE
        return None if register == 0 else ("apic_page", "EOI" if register == 0xB0 else "other")
    return "ports", {"acpi-tmr": "time", "serial": "request"}.get(name, "other")


def trace_stretches(trace):
    """The exits between the guest's marks: for each stretch a list of (VP, kind, what it is for)."""
    stretches, inside, nested = [], False, False
    for line in trace.splitlines():
        if MARK in line:
            inside = not inside
            if inside:
                stretches.append([])
            continue
        if not inside:
            continue
        access, event = ACCESS.match(line), EVENT.match(line)
        if event and event[1] == "apic-write":
            nested = True  # what the library has the APIC do, on the way of one exit
        elif event and event[1] in EVENT_KINDS:
            nested = False
            stretches[-1].append((int(event[2]), EVENT_KINDS[event[1]], "other"))
        elif access and not nested and region_kind(int(access[2], 16), access[3]):
            stretches[-1].append((int(access[1]), *region_kind(int(access[2], 16), access[3])))
    return stretches


def exits_by_kind(stretch):
    """As the other hosts count. QEMU has no trace of a halt; VP 1 halts once for each IPI."""
    exits = {kind: sum(1 for exit in stretch if exit[1] == kind)
             for kind in ("msrs", "hypercalls", "ports", "apic_page")}
    return dict(exits, all=len(stretch) + COUNT)


def exits_by_part(stretch):
    """Exits of ISR, DPC and IPI for each interrupt, which must all be alike: VP 0's in their order, where
    the ISR ends by its EOI or has half of the time stamps, and what follows the last of them is the IPI."""
    mine = [exit[2] for exit in stretch if exit[0] == 0]
    size = len(mine) // COUNT
    if mine != mine[:size] * COUNT:
        sys.exit("paper.py: on QEMU one interrupt takes other exits than another")
    one = [what for what in mine[:size] if what != "request"]
    stamps = one.count("time")
    in_isr = one.index("EOI") + 1 if "EOI" in one else stamps // 2
    in_dpc = stamps - one[:in_isr].count("time")
    return {"isr": in_isr, "dpc": in_dpc, "ipi": len(one) - in_isr - in_dpc}


def run_qemu(qemu, guest, model):
    """The report, and the exits of ISR, DPC and IPI. A TSC of 1 GHz ticks once an instruction."""
    with tempfile.TemporaryDirectory() as folder:
        trace, output = os.path.join(folder, "trace"), os.path.join(folder, "output")
        command = [qemu, *FIRMWARE, "-M", "pc", "-accel", "tcg", "-m", "256", "-nodefaults",
                   "-display", "none", "-serial", "null", "-no-reboot", "-smp", "2", "-cpu", f"{model},tsc-frequency=1000000000",
                   "-icount", "shift=0,sleep=off", "-kernel", guest, "-append", f"vps=2 argument={COUNT}",
                   "-debugcon", f"file:{output}", "-device", "isa-debug-exit,iobase=0xf4,iosize=4",
                   "-d", "guest_errors", "-trace", "memory_region_ops_*", "-trace", "hyperv_tcg_event",
                   "-D", trace]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        except subprocess.TimeoutExpired:
            sys.exit(f"paper.py: no end after 300 s: {' '.join(command)}")
        open(output, "a", encoding="utf-8").close()  # should QEMU not have come so far
        with open(output, encoding="utf-8") as file:
            printed = file.read()
        # isa-debug-exit: twice the guest's status, and one, which is QEMU's own for an error, too.
        if done.returncode != 1 or not printed:
            sys.exit(f"paper.py: {' '.join(command)} failed:\n{done.stderr}")
        with open(trace, encoding="utf-8", errors="replace") as file:
            stretches = trace_stretches(file.read())
    told = read(printed, [exits_by_kind(stretch) for stretch in stretches], " ".join(command))
    return told, exits_by_part(stretches[0])


def lines_on_qemu(qemu, guest, model):
    told, parts = run_qemu(qemu, guest, model)
    loops = told["loops"]
    figures = {what: (loops["loop"][what], parts[what]) for what in ("isr", "dpc", "ipi")}
    for disk in DISKS:
        figures[disk] = (loops[disk]["all"], loops[disk]["exits"]["all"])
    return with_both(figures, told)


def on_qemu(qemu, guest):
    known = subprocess.run([qemu, "-trace", "help"], capture_output=True, text=True, check=False)
    if "hyperv_tcg_event" not in known.stdout.split():
        raise Skipped(f"{qemu} has not the patches of adapters/qemu")
    return {"with": lines_on_qemu(qemu, guest, f"max,{EVERYTHING}"),
              "without": lines_on_qemu(qemu, guest, "max"), "request": 2}


# ---- KVM: real time ----

def on_kvm(host, guest):
    return {"with": run(host, guest, "hv-time,x2apic-msrs"), "without": run(host, guest, ""),
            "by MSR": run(host, guest, "hv-time,hv-vapic")}


# ---- What people see ----

def beside(exits, request=1):
    """The exits of an interrupt's own: not the request, not the halt."""
    return exits["msrs"] + exits["hypercalls"] + exits["ports"] - request + exits["apic_page"]


def print_counted(host, result):
    print(f"On {host}: all exits counted, an instruction takes 1 ns, an exit what is said.")
    request = result["request"]
    for which in ("with", "without"):
        exits = result[which]["exits"]
        print(f"  {which:8}({result[which]['ways']}): {beside(exits, request):g} exits for each interrupt: "
              f"{exits['msrs']:g} MSR, {exits['hypercalls']:g} hypercall, {exits['ports'] - request:g} port, "
              f"{exits['apic_page']:g} APIC page")
    print("  (beside these: the request to the device, and the halt of the VP that is woken)\n")
    print(f"  {'':14}{'talk':>24}" + "".join(f"{f'exit of {cost / 1000:g} us':>24}" for cost in COSTS)
          + f"{'7 times from':>16}")
    print(f"  {'':14}{'with : without':>24}" + f"{'with : without':>24}" * len(COSTS))
    for what in ("isr", "dpc", "isr and dpc", "ipi"):
        talk = TALK.get(what)
        cells = [f"{talk[0] * 1000:.2f} : {talk[1] * 1000:.2f} us {talk[1] / talk[0]:.1f}" if talk else ""]
        for cost in COSTS:
            a, b = (at(result[which]["lines"][what], cost) / 1000 for which in ("with", "without"))
            cells.append(f"{a:.2f} : {b:.2f} us {b / a:.1f}")
        cost = cost_for(result, what, GOAL)
        print(f"  {what:14}" + "".join(f"{cell:>24}" for cell in cells)
              + f"{'never' if cost is None else f'{cost:.0f} ns':>16}")
    for disk in DISKS:
        cells = ["{:.2f}, {:.2f}".format(*TALK[disk])]
        cells += [f"{ratio(result, disk, cost):.2f}" for cost in COSTS]
        print(f"  {disk + ', ratio':14}" + "".join(f"{cell:>24}" for cell in cells))
    print()


def print_kvm(result):
    print(f"On KVM: real time, in ticks of the guest's TSC; an exit to the host program takes "
          f"{result['without']['exit_ticks']:.0f}.")
    for which in ("with", "by MSR", "without"):
        one = result[which]
        loop = one["loops"]["loop"]
        print(f"  {which:8}({one['ways']}): {beside(loop['exits']):g} exits to the host program for "
              f"each interrupt; the kernel counts {loop['exits']['all']:g} with the request and its own")
    print(f"  {'least ticks':14}{'with':>12}{'by MSR':>12}{'without':>12}{'ratio':>8}")
    for what in ("isr", "dpc", "ipi"):
        ticks = [result[which]["loops"]["loop"]["least"][what] for which in ("with", "by MSR", "without")]
        print(f"  {what:14}" + "".join(f"{t:12.0f}" for t in ticks) + f"{ticks[2] / ticks[0]:8.1f}")
    print(f"  {'mean ticks':14}{'with':>12}{'by MSR':>12}{'without':>12}{'ratio':>8}")
    for what, of in (("isr", "loop"), ("dpc", "loop"), *(("all", disk) for disk in DISKS)):
        ticks = [result[which]["loops"][of][what] for which in ("with", "by MSR", "without")]
        print(f"  {what if of == 'loop' else of:14}" + "".join(f"{t:12.0f}" for t in ticks)
              + f"{ticks[2] / ticks[0]:8.1f}")


def draw(path, results):
    """A bar for each host that counts exits, and the talk's."""
    def row(name, what, talk):
        return name, (*(ratio(result, what, COSTS[1]) for result in results.values()), talk), None

    rows = [row(f"{what.upper()} time", what, TALK[what][1] / TALK[what][0]) for what in ("isr", "dpc")]
    rows += [row(f"disk, {disk[5:].upper()}", disk, TALK[disk][0]) for disk in DISKS]
    svg.bars(path, "How many times better with enlightenments", rows,
             f"time without enlightenments divided by time with them, an exit of {COSTS[1] / 1000:g} us; "
             "1 would be no gain",
             (*(f"libhvtlfs on {NAMES[name]}" for name in results), "KVM Forum 2012 talk"))
    print(f"\nplot: {path}", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--guest", required=True, metavar="FILE", help="interrupt-loop.elf")
    parser.add_argument("--unicorn", metavar="PROGRAM", help="hvtlfs-unicorn")
    parser.add_argument("--qemu", metavar="PROGRAM", help="qemu-system-x86_64 with adapters/qemu's patches")
    parser.add_argument("--kvm", metavar="PROGRAM", help="hvtlfs-kvm")
    parser.add_argument("--check", action="store_true", help="count exits on Unicorn and QEMU and judge")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--svg", metavar="FILE", help="draw the plot")
    args = parser.parse_args()
    results, reasons = {}, {}
    for name, host, measure in (("unicorn", args.unicorn, on_unicorn), ("qemu", args.qemu, on_qemu),
                                ("kvm", args.kvm, on_kvm)):
        if args.check and (name == "kvm" or not host):
            continue
        if not host or not os.path.exists(host):
            reasons[name] = REMEDIES.get(name, "not built here")
            continue
        try:
            results[name] = measure(host, args.guest)
        except Skipped as reason:
            reasons[name] = str(reason)
    if args.check:
        if reasons or not results:
            print("\n".join(reasons.values()) or "no host")
            return SKIPPED
        return check(results)
    counted = {name: results[name] for name in NAMES if name in results}
    if args.json:
        print(json.dumps(dict(results, skipped=reasons), indent=1))
    else:
        for name, result in counted.items():
            print_counted(NAMES[name], result)
        if "kvm" in results:
            print_kvm(results["kvm"])
        for name, reason in reasons.items():
            print(f"\n{name}: not measured, {reason}")
    if args.svg and counted:
        draw(args.svg, counted)
    return 0 if results else SKIPPED


if __name__ == "__main__":
    sys.exit(main())
