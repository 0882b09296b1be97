#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The measurement of the KVM Forum 2012 talk, redone: a guest's interrupts with and without enlightenments.

    paper.py --guest FILE [--unicorn PROGRAM] [--kvm PROGRAM] [--json] [--svg FILE] [--check]

The guest (guest/loop.c) takes interrupts of a device: time stamps, EOI, deferred work, an IPI; then the same
with requests for 2 to 64 KiB of data between. Once it finds all enlightenments that the host can carry and
uses them, once none: then time is an emulated PM timer's, EOI and ICR are stores to the APIC's page.

On Unicorn every exit is counted, an instruction takes 1 ns and an exit takes a time that is given: the
figures are the same on every run, and they are lines in the cost of an exit. On KVM time is real; there the
kernel has the APIC, so that EOI and ICR are its own exits, and enlightened is what leaves them there.

--check runs on Unicorn only, expects exactly the exits that the specification makes of each loop and at least
the talk's 7 times, and says "N passed, M failed".
"""
import argparse
import json
import os
import re
import subprocess
import sys

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
    pattern = (r"(\S+) interrupts (\d+) ticks (\w+) isr (\w+) dpc (\w+) ipi (\w+) "
               r"least (\w+) (\w+) (\w+) saved (\d+) written (\d+)")
    loops = {}
    for line, exits in zip(re.findall(pattern, result["output"]), result["stretches"]):
        name, count, ticks, isr, dpc, ipi, isr0, dpc0, ipi0, saved, written = line
        count = int(count)
        loops[name] = {
            "all": int(ticks, 16) / count, "isr": int(isr, 16) / count, "dpc": int(dpc, 16) / count,
            "ipi": int(ipi, 16) / count,
            "least": {"isr": int(isr0, 16), "dpc": int(dpc0, 16), "ipi": int(ipi0, 16)},
            "eois_saved": int(saved) / count, "eois_written": int(written) / count,
            "exits": {kind: number / count for kind, number in exits.items()}}
    if set(loops) != {"loop", *DISKS}:
        sys.exit(f"paper.py: {' '.join(command)} printed something else:\n{result['output']}")
    exit_count, exit_ticks = re.search(r"exit count (\d+) ticks (\w+)", result["output"]).groups()
    return {"loops": loops, "exit_ticks": int(exit_ticks, 16) / int(exit_count),
            "ways": result["output"].splitlines()[0]}


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
    figures["isr and dpc"] = tuple(a + b for a, b in zip(figures["isr"], figures["dpc"]))
    return {"lines": figures, "exits": dear["loops"]["loop"]["exits"], "ways": dear["ways"]}


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
    return {"with": lines_of(host, guest, "hv-vapic,hv-time"), "without": lines_of(host, guest, "")}


def check(result):
    """Exits by kind, for each interrupt; the doorbell is one port, the halt counts in `all` alone."""
    failures, passed = [], 0
    for which, expected in (("with", WITH), ("without", WITHOUT)):
        exits = result[which]["exits"]
        expected = dict(expected, ports=expected["ports"] + 1)
        expected["all"] = sum(expected.values()) + 1
        for kind, number in expected.items():
            if exits[kind] == number:
                passed += 1
            else:
                failures.append(f"{which} enlightenments an interrupt takes {exits[kind]} exits "
                                f"({kind}), not {number}")
    for what in ("isr", "dpc"):
        if ratio(result, what, COSTS[1]) >= GOAL:
            passed += 1
        else:
            failures.append(f"{what}: {ratio(result, what, COSTS[1]):.1f} times, not {GOAL}")
    for failure in failures:
        print("FAIL", failure)
    print(f"{passed} passed, {len(failures)} failed")
    return 1 if failures else 0


# ---- KVM: real time ----

def on_kvm(host, guest):
    return {"with": run(host, guest, "hv-time,x2apic-msrs"), "without": run(host, guest, ""),
            "by MSR": run(host, guest, "hv-time,hv-vapic")}


# ---- What people see ----

def beside(exits):
    """The exits of an interrupt's own: not the request, not the halt."""
    return exits["msrs"] + exits["hypercalls"] + exits["ports"] - 1 + exits["apic_page"]


def print_unicorn(result):
    print("On Unicorn: all exits counted, an instruction takes 1 ns, an exit what is said.")
    for which in ("with", "without"):
        exits = result[which]["exits"]
        print(f"  {which:8}({result[which]['ways']}): {beside(exits):g} exits for each interrupt: "
              f"{exits['msrs']:g} MSR, {exits['hypercalls']:g} hypercall, {exits['ports'] - 1:g} port, "
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


def print_kvm(result):
    print(f"\nOn KVM: real time, in ticks of the guest's TSC; an exit to the host program takes "
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


def draw(path, result):
    rows = [(f"{name} time", (ratio(result, what, COSTS[1]), TALK[what][1] / TALK[what][0]), None)
            for what, name in (("isr", "ISR"), ("dpc", "DPC"))]
    rows += [(f"disk, {disk[5:].upper()}", (ratio(result, disk, COSTS[1]), TALK[disk][0]), None)
             for disk in DISKS]
    svg.bars(path, "How many times better with enlightenments", rows,
             "time without enlightenments divided by time with them; 1 would be no gain",
             (f"libhvtlfs, an exit of {COSTS[1] / 1000:g} us", "KVM Forum 2012 talk"))
    print(f"\nplot: {path}", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--guest", required=True, metavar="FILE", help="interrupt-loop.elf")
    parser.add_argument("--unicorn", metavar="PROGRAM", help="hvtlfs-unicorn")
    parser.add_argument("--kvm", metavar="PROGRAM", help="hvtlfs-kvm")
    parser.add_argument("--check", action="store_true", help="count exits on Unicorn and judge")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--svg", metavar="FILE", help="draw the plot")
    args = parser.parse_args()
    results, reasons = {}, {}
    for name, host, measure in (("unicorn", args.unicorn, on_unicorn), ("kvm", args.kvm, on_kvm)):
        if not host or not os.path.exists(host):
            reasons[name] = "not built here"
            continue
        if args.check and name == "kvm":
            continue
        try:
            results[name] = measure(host, args.guest)
        except Skipped as reason:
            reasons[name] = str(reason)
    if args.check:
        if "unicorn" not in results:
            print(reasons["unicorn"])
            return SKIPPED
        return check(results["unicorn"])
    if args.json:
        print(json.dumps(dict(results, skipped=reasons), indent=1))
    else:
        if "unicorn" in results:
            print_unicorn(results["unicorn"])
        if "kvm" in results:
            print_kvm(results["kvm"])
        for name, reason in reasons.items():
            print(f"\n{name}: not measured, {reason}")
    if args.svg and "unicorn" in results:
        draw(args.svg, results["unicorn"])
    return 0 if results else SKIPPED


if __name__ == "__main__":
    sys.exit(main())
