#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What enlightenments save: a table and a plot from the traces of `./dev linux bench`.

    bench.py LOGS OUT KERNEL    writes OUT/linux.md and OUT/linux.svg

LOGS has a trace, bench-MACHINE-GROUP.qemu, for each machine and group of MEASURED; and for those
whose clocks are compared bench-MACHINE.marks, what the guest's program wrote in a boot in real time.
adapters/qemu/guest/bench.c describes its marks.
"""
import re
import sys

MEASURED = {
    "clocks": {
        "none": "no enlightenment",
        "vapic": "hv-vapic, APIC timer",
        "all": "all",
        "msr": "no TSC page",
    },
    "interrupts": {"none": "no enlightenment", "vapic": "hv-vapic, APIC timer", "all": "all"},
}
CLOCKS = [  # clock source, the machine it is measured on, its name in the table
    ("hyperv_clocksource_tsc_page", "all", "reference TSC page"),
    ("hyperv_clocksource_msr", "msr", "reference counter MSR"),
    ("hpet", "none", "HPET"),
    ("acpi_pm", "none", "ACPI PM timer"),
    ("tsc", "none", "TSC, no hypervisor seen"),
]
OPERATIONS = {
    "ipi": "an interrupt to a CPU that computes",
    "wake": "a CPU woken, and back",
    "flush": "a page unmapped under two CPUs",
}
KINDS = {"time": "#8c8c8c", "timer": "#4c78a8", "EOI": "#f58518", "IPI": "#54a24b", "flush": "#b279a2"}

APIC_PAGE = 0xFEE00000
APIC_KINDS = {0xB0: "EOI", 0x300: "IPI", 0x310: "IPI", 0x320: "timer", 0x380: "timer", 0x390: "timer"}
DEVICE_KINDS = {"hpet": "time", "acpi-tmr": "time"}
EVENT_KINDS = [
    (r"HV_X64_MSR_EOI\b", "EOI"),
    (r"HV_X64_MSR_ICR\b|HvCallSendSyntheticClusterIpi", "IPI"),
    (r"HV_X64_MSR_STIMER", "timer"),
    (r"HV_X64_MSR_TIME_REF_COUNT\b", "time"),
    (r"HvCallFlush", "flush"),
]
EVENT = re.compile(r"hyperv_tcg_event (?:\d+ )?(?:msr-read|msr-write|hypercall) (.*)")
ACCESS = re.compile(r"memory_region_ops_\w+ cpu \d+ mr \S+ addr (\S+) value (\S+) size \d+ name '(.*)'")


def exit_kind(line):
    """The kind of exit a line of the trace stands for, or None."""
    event = EVENT.match(line)
    if event:
        return next((kind for words, kind in EVENT_KINDS if re.search(words, event[1])), None)
    access = ACCESS.match(line)
    if access:
        address = int(access[1], 16)
        if address & ~0xFFF == APIC_PAGE:
            return APIC_KINDS.get(address & 0xFFF)
        return DEVICE_KINDS.get(access[3])
    return None


def marks(text):
    """{label: (operations, ticks)} of what the guest wrote to its debug console."""
    found = re.findall(r"begin (.*)\nend (\d+) (\d+)\n", text)
    return {label: (int(operations), int(ticks)) for label, operations, ticks in found}


class Phase:
    def __init__(self):
        self.exits = dict.fromkeys(KINDS, 0)
        self.operations = self.ticks = 0

    def each(self, kind):
        return self.exits[kind] / self.operations

    def exits_each(self):
        return sum(self.exits.values()) / self.operations

    def instructions_each(self):
        return self.ticks / self.operations


def counted(path):
    """{label: Phase} of a trace: what happened between the marks."""
    phases = {}
    phase, words = None, ""
    with open(path) as trace:
        for line in trace:
            if "isa-debugcon" in line:
                words += chr(int(ACCESS.match(line)[2], 16))
                if words.endswith("\n"):
                    what, *rest = words.split()
                    if what == "begin":
                        phase = phases.setdefault(" ".join(rest), Phase())
                    else:
                        phase.operations, phase.ticks = map(int, rest)
                        phase = None
                    words = ""
            elif phase:
                kind = exit_kind(line)
                if kind:
                    phase.exits[kind] += 1
    return phases


def timed(path):
    """{label: nanoseconds for an operation}"""
    with open(path) as file:
        return {label: ticks / operations for label, (operations, ticks) in marks(file.read()).items()}


def number(value):
    return f"{value:.2f}".rstrip("0").rstrip(".") if value < 10 else f"{value:.0f}"


def clock_rows(phases, times):
    phases = phases["clocks"]
    unit = times["all"]["vdso " + CLOCKS[0][0]]
    for source, machine, name in CLOCKS:
        vdso, syscall = (phases[machine][f"{how} {source}"] for how in ("vdso", "syscall"))
        ratio = times[machine][f"vdso {source}"] / unit
        yield name, vdso, syscall, ratio


def table(lines, head, rows):
    lines.append("| " + " | ".join(head) + " |")
    lines.append("|" + " --- |" * len(head))
    lines.extend("| " + " | ".join(row) + " |" for row in rows)
    lines.append("")


def document(phases, times, kernel):
    lines = [
        "<!-- Made by ./dev linux bench; change adapters/qemu/bench.py instead. -->",
        "# What enlightenments save a Linux",
        "",
        f"Debian's `{kernel}`, unmodified, on QEMU's TCG with libhvtlfs.",
        "",
        "![Exits for an operation](linux.svg)",
        "",
        "Instructions of the guest and exits are counted: `-icount`, TSC of 1 GHz, one instruction a",
        "tick; two runs give the same numbers. An exit is an access to a synthetic MSR, a hypercall, or",
        "an access to a device's register; between the guest's own marks every one is in QEMU's trace.",
        "On hardware an exit costs far more than under TCG, so the times below (ratios; without",
        "`-icount`, the fastest of twenty batches) are kind to what has many exits.",
        "",
        "## Reading the time",
        "",
        "`clock_gettime(CLOCK_MONOTONIC)`, through the vDSO and as a system call, for one call:",
        "",
    ]
    table(
        lines,
        ["clock source", "vDSO: instructions", "exits", "time", "system call: instructions", "exits"],
        (
            [
                name,
                number(vdso.instructions_each()),
                number(vdso.each("time")),
                number(ratio),
                number(syscall.instructions_each()),
                number(syscall.each("time")),
            ]
            for name, vdso, syscall, ratio in clock_rows(phases, times)
        ),
    )
    lines += ["The time is that of the vDSO with the TSC page as 1.", "", "## Interrupts", ""]
    lines += ["Exits for one operation, by kind. A millisecond's sleep, one VP:", ""]
    shown = {machine: MEASURED["clocks"][machine] for machine in ("none", "vapic", "all")}
    table(
        lines,
        list(shown.values()) + ["first : last"],
        [operation_row(phases["clocks"], shown, "tick")],
    )
    lines += ["Two VPs:", ""]
    shown = MEASURED["interrupts"]
    table(
        lines,
        ["operation"] + list(shown.values()) + ["first : last"],
        (
            [words] + operation_row(phases["interrupts"], shown, operation)
            for operation, words in OPERATIONS.items()
        ),
    )
    lines += ["EOIs that needed an exit, and exits to send interrupts, for one operation:", ""]
    table(
        lines,
        ["operation"] + [f"{kind}, {words}" for kind in ("EOI", "IPI") for words in shown.values()],
        (
            [words]
            + [
                number(phases["interrupts"][machine][operation].each(kind))
                for kind in ("EOI", "IPI")
                for machine in shown
            ]
            for operation, words in OPERATIONS.items()
        ),
    )
    return "\n".join(lines).rstrip() + "\n"


def operation_row(phases, machines, operation):
    measured = [phases[machine][operation] for machine in machines]
    ratio = measured[0].exits_each() / measured[-1].exits_each()
    return [exits_text(phase) for phase in measured] + [f"{number(ratio)} : 1"]


def exits_text(phase):
    parts = [f"{kind} {number(phase.each(kind))}" for kind in KINDS if phase.each(kind) >= 0.01]
    return f"**{number(phase.exits_each())}**" + (f" ({', '.join(parts)})" if len(parts) > 1 else "")


# ---- The plot ----

WIDTH, LEFT, ROW, BAR = 860, 250, 26, 16


def text(x, y, words, **how):
    attributes = "".join(f' {key.replace("_", "-")}="{value}"' for key, value in how.items())
    return f'<text x="{x:.0f}" y="{y:.0f}"{attributes}>{words}</text>'


def bar(x, y, width, colour):
    return f'<rect x="{x:.1f}" y="{y:.0f}" width="{width:.1f}" height="{BAR}" fill="{colour}"/>'


def plot(phases, times):
    body, y = [], 30
    words = "clock_gettime through the vDSO: time, the TSC page as 1; exits for a call"
    body.append(text(20, y, words, font_weight="bold"))
    y += 14
    rows = list(clock_rows(phases, times))
    scale = (WIDTH - LEFT - 130) / max(ratio for _, _, _, ratio in rows)
    for name, vdso, _, ratio in rows:
        body.append(text(LEFT - 8, y + 13, name, text_anchor="end"))
        body.append(bar(LEFT, y, ratio * scale, KINDS["time"]))
        exits = number(vdso.each("time"))
        body.append(text(LEFT + ratio * scale + 6, y + 13, f"{ratio:.1f}, {exits} exits"))
        y += ROW
    y += 26
    body.append(text(20, y, "Exits for an operation", font_weight="bold"))
    x = LEFT + 40
    for kind, colour in list(KINDS.items())[1:]:
        body.append(bar(x, y - 12, 16, colour))
        body.append(text(x + 22, y, kind))
        x += 80
    y += 14
    groups = [("clocks", "tick", "a timer set and come, one VP", ("none", "vapic", "all"))]
    groups += [("interrupts", *operation, tuple(MEASURED["interrupts"])) for operation in OPERATIONS.items()]
    most = max(phases[g][m][o].exits_each() for g, o, _, machines in groups for m in machines)
    scale = (WIDTH - LEFT - 60) / most
    for group, operation, words, machines in groups:
        body.append(text(20, y + 13, words, font_style="italic"))
        y += ROW - 4
        for machine in machines:
            phase, x = phases[group][machine][operation], LEFT
            body.append(text(LEFT - 8, y + 13, MEASURED[group][machine], text_anchor="end"))
            for kind, colour in KINDS.items():
                body.append(bar(x, y, phase.each(kind) * scale, colour))
                x += phase.each(kind) * scale
            body.append(text(x + 6, y + 13, number(phase.exits_each())))
            y += ROW - 4
        y += 8
    size = f'width="{WIDTH}" height="{y + 10}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="13">'
    ground = '<rect width="100%" height="100%" fill="white"/>'
    return "\n".join([head, ground] + body + ["</svg>"]) + "\n"


def main():
    logs, out, kernel = sys.argv[1:4]
    phases = {
        group: {machine: counted(f"{logs}/bench-{machine}-{group}.qemu") for machine in machines}
        for group, machines in MEASURED.items()
    }
    times = {machine: timed(f"{logs}/bench-{machine}.marks") for _, machine, _ in CLOCKS}
    with open(f"{out}/linux.md", "w") as file:
        file.write(document(phases, times, kernel))
    with open(f"{out}/linux.svg", "w") as file:
        file.write(plot(phases, times))


if __name__ == "__main__":
    main()
