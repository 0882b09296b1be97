#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A trace of QEMU's guest as a script for `hvtlfs replay`, and its comparison with a stored one.

    golden.py TRACE SCRIPT --features LIST [--made-of TEXT]   write SCRIPT
    golden.py --compare STORED FRESH                          exit 1 and a diff if they differ

TRACE has the lines of QEMU's trace event hyperv_tcg_event, of one VP under -icount. The script does at
the same reference time what the guest did, and expects what the guest got: values, faults, the
interrupts of its timers, their deadlines, what reached the APIC.

Two scripts that were made of the same things (kernel, initrd, firmware, QEMU: the comment "made of")
must be the same to the last digit. Otherwise only what does not depend on when and where is compared:
the order of the guest's accesses and calls without those that its timers cause, page numbers and the
version in its identity left out, and which of the timers' accesses happen at all.
"""
import argparse
import difflib
import re
import sys

EVENT = re.compile(r"^hyperv_tcg_event (\d+) ([a-z-]+)(?: vp=(\d+))? ?(.*)$")
MSR = re.compile(r"^(\S+?)(?:=(0x[0-9a-f]+))? (done|#GP|unclaimed|done, deliver|done, idle)$")
MADE_OF = "# made of: "

# Registers that hold a page number, and those that the guest's timers keep busy.
PAGES = {"HYPERCALL", "REFERENCE_TSC", "VP_ASSIST_PAGE", "SIMP", "SIEFP"}
BUSY = {"EOI", "ICR", "TIME_REF_COUNT", "VP_RUNTIME"}


def events(path):
    """(time in ns, kind, vp, rest) of each event of the file."""
    with open(path, encoding="ascii", errors="replace") as file:
        for line in file:
            found = EVENT.match(line.rstrip("\n"))
            if found:
                time, kind, vp, rest = found.groups()
                yield int(time), kind, int(vp or 0), rest


def number(text, name):
    return int(re.search(rf"\b{name}=(0x[0-9a-f]+)", text).group(1), 16)


class Writer:
    """Turns events into commands. What a guest's access causes is traced before the access itself."""

    def __init__(self):
        self.lines = []
        self.now = 0  # reference time, 100 ns
        self.interrupts = []
        self.apic = []
        self.deadline = None

    def sleep_until(self, ns):
        if ns // 100 > self.now:
            self.lines.append(f"sleep {ns // 100 - self.now}")
            self.now = ns // 100

    def flush_interrupts(self):
        if self.interrupts:
            self.lines.append("interrupts 0 => " + " ".join(self.interrupts))
            self.interrupts = []

    def access(self, ns, kind, rest):
        found = MSR.match(rest)
        if not found:
            sys.exit(f"golden.py: cannot read the event '{kind} {rest}'")
        name, value, result = found.groups()
        name = name.removeprefix("HV_X64_MSR_")
        fault = result if result in ("#GP", "unclaimed") else None
        self.sleep_until(ns)
        self.flush_interrupts()
        if kind == "msr-read":
            self.lines.append(f"rdmsr 0 {name} => {fault or value}")
        else:
            self.lines.append(f"wrmsr 0 {name} {value} => {fault or 'ok'}")
        if self.apic:
            self.lines.append("events => " + " ; ".join(self.apic))
            self.apic = []
        if self.deadline is not None:
            self.lines.append(f"deadline 0 => {self.deadline}")
            self.deadline = None

    def event(self, ns, kind, vp, rest):
        if vp != 0:
            sys.exit("golden.py: the trace is of more than one VP")
        if kind in ("msr-read", "msr-write"):
            self.access(ns, kind, rest)
        elif kind == "interrupt":
            # It came while time passed: by then, the script has it, too.
            self.sleep_until(ns)
            self.interrupts.append(f"{number(rest, 'vector'):#x}")
        elif kind == "apic-write":
            self.apic.append(f"apic-write vp=0 reg={number(rest, 'reg')} "
                             f"value={number(rest, 'value'):#x}")
        elif kind == "deadline":
            at = number(rest, "at")
            self.deadline = "none" if at == 2**64 - 1 else str(at)
        elif kind in ("hypercall", "reset", "crash", "spin-wait", "flush", "ipi"):
            # A call's parameters are in the guest's memory, which is not traced.
            self.lines.append(f"# {kind} {rest}")


def write(options):
    writer = Writer()
    count = 0
    for event in events(options.trace):
        writer.event(*event)
        count += 1
    if count == 0:
        sys.exit(f"golden.py: no events in {options.trace}")
    with open(options.script, "w", encoding="ascii") as file:
        file.write("# SPDX-License-Identifier: MIT\n"
                   "# Every access of a Linux to the hypervisor, from its boot to its end on QEMU under\n"
                   "# -icount, and what it got. Written by `./dev linux --record golden`.\n"
                   f"{MADE_OF}{options.made_of}\n"
                   f"partition vps=1 tsc-hz=1000000000 ram=256M features={options.features}\n")
        file.write("\n".join(writer.lines) + "\n")


def skeleton(lines):
    """The part that another build of the same kernel would repeat, and what the timers do at all."""
    order = []
    busy = set()
    for line in lines:
        words = line.split()
        if words[0] in ("rdmsr", "wrmsr"):
            name = words[2]
            if name in BUSY or name.startswith("STIMER"):
                busy.add(f"{words[0]} {name} {words[-1] if words[-1].startswith('#') else ''}".strip())
                continue
            if name in PAGES:
                words[3:] = [re.sub(r"0x[0-9a-f]*([0-9a-f]{3})\b", r"PAGE+0x\1", w) for w in words[3:]]
            if name == "GUEST_OS_ID":
                words[3:] = [re.sub(r"0x(81)[0-9a-f]{14}", r"0x\1VERSION", w) for w in words[3:]]
            order.append(" ".join(words))
        elif words[0] == "#" and words[1] in ("hypercall", "reset", "crash"):
            order.append(" ".join(words[:3]))
        elif words[0] == "interrupts":
            busy.update(f"interrupt {w}" for w in words[3:])
    return order + sorted(busy)


def made_of(lines):
    return next((line for line in lines if line.startswith(MADE_OF)), "")


def compare(options):
    with open(options.trace, encoding="ascii") as file:
        stored = file.read().splitlines()
    with open(options.script, encoding="ascii") as file:
        fresh = file.read().splitlines()
    exact = made_of(stored) == made_of(fresh)
    if not exact:
        stored, fresh = skeleton(stored), skeleton(fresh)
    diff = list(difflib.unified_diff(stored, fresh, "stored", "fresh", lineterm="", n=2))
    print("\n".join(diff[:60]) if diff else
          f"{len(fresh)} lines {'the same to the last digit' if exact else 'the same but for time and place'}")
    return 1 if diff else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--compare", action="store_true")
    parser.add_argument("--features", default="")
    parser.add_argument("--made-of", default="")
    parser.add_argument("trace")
    parser.add_argument("script")
    options = parser.parse_args()
    if options.compare:
        return compare(options)
    write(options)
    return 0


sys.exit(main())
