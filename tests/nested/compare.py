#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compare what the conformance guest was answered by KVM's own Hyper-V and by libhvtlfs.

Usage: compare.py [--write] EXPECTED KERNEL WAY=FILE...

KERNEL and each FILE are what the guest printed, TAP and survey lines. EXPECTED lists the differences that are
known, below the reason of each group:

    == kernel: reason and clause       the kernel is right; also "ours", "both", "neither"
    WAY SUBJECT: kernel ANSWER, ours ANSWER

WAY is "all" where every FILE differs from the kernel in the same manner. A line that ends in "?" may also
be absent: its answer depends on the moment. A difference that is not listed fails, and so does a listed one
that is no longer there. With --write the differences are printed as such a file, without reasons. Ends
with "N passed, N failed": every answer compared is one. Exit status 0 if nothing failed.
"""
import re
import sys

NUMBER = r"(0x[0-9a-f]+|[0-9]+)"
PATTERNS = (
    ("test", re.compile(r"^(not ok|ok) \d+ - (\S+)(?: # (SKIP) .*)?$")),
    ("read-range", re.compile(rf"^# msr {NUMBER} to {NUMBER}: reads (fault)$")),
    ("read", re.compile(rf"^# msr {NUMBER} reads (.+)$")),
    ("write", re.compile(rf"^# msr {NUMBER} written {NUMBER}: (.+)$")),
    ("calls", re.compile(
        rf"^# calls {NUMBER} to {NUMBER} of zeroes: by memory (\S+), in registers (\S+), as a list of one (\S+)$")),
    ("bits", re.compile(rf"^# call {NUMBER} with one of bits {NUMBER} to {NUMBER}: (\S+)$")),
    ("address", re.compile(rf"^# call {NUMBER} ((?:in|out)put .+): (\S+)$")),
)
FORMS = ("by memory", "in registers", "as a list of one")


def number(text):
    return int(text, 0)


class Answers(dict):
    """What was answered to each subject: a tuple whose last member may be counted up in a range."""

    def __init__(self, path):
        super().__init__()
        self.phase = "found"
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                self.line(line.rstrip())

    def line(self, line):
        for kind, pattern in PATTERNS:
            match = pattern.match(line)
            if match:
                getattr(self, "add_" + kind.replace("-", "_"))(*match.groups())
                return

    def add_test(self, verdict, name, skip):
        if name in ("the_interface_is_established",):
            self.phase = "established"
        self[("test", name, None)] = "skipped" if skip else verdict

    def add_read_range(self, first, last, answer):
        for msr in range(number(first), number(last) + 1):
            self[("msr", f"{self.phase}, read", msr)] = answer

    def add_read(self, msr, answer):
        self[("msr", f"{self.phase}, read", number(msr))] = answer

    def add_write(self, msr, value, answer):
        self[("msr", f"written {value}", number(msr))] = answer

    def add_calls(self, first, last, *answers):
        for code in range(number(first), number(last) + 1):
            for form, answer in zip(FORMS, answers):
                self[("call", f"of zeroes {form}", code)] = answer

    def add_bits(self, code, first, last, answer):
        for bit in range(number(first), number(last) + 1):
            self[("bit", f"of call {code}", bit)] = answer

    def add_address(self, code, what, answer):
        self[("call", what, number(code))] = answer


def spelled(kind, value):
    return f"{kind} {value}" if kind == "bit" else f"{kind} {value:#x}"


def subject(kind, what, first, last):
    if kind == "test":
        return f"test {what}"
    span = spelled(kind, first) if first == last else f"{spelled(kind, first)} to {spelled('', last).strip()}"
    return f"{span} {what}"


def differences(kernel, ours):
    """Lines "SUBJECT: kernel ANSWER, ours ANSWER", neighbours with the same answers in one."""
    rows = []
    for key in sorted(set(kernel) | set(ours), key=lambda k: (k[0], k[1], k[2] or 0)):
        pair = (kernel.get(key, "nothing"), ours.get(key, "nothing"))
        if pair[0] == pair[1]:
            continue
        kind, what, value = key
        last = rows[-1] if rows else None
        if last and last[0] == (kind, what) and value is not None and last[2] + 1 == value and last[3] == pair:
            last[2] = value
        else:
            rows.append([(kind, what), value, value, pair])
    return [f"{subject(*head, first, last)}: kernel {a}, ours {b}" for head, first, last, (a, b) in rows]


def with_ways(by_way):
    """Each line once, with the ways it is true of in front."""
    lines = []
    for way, found in by_way.items():
        for line in found:
            if all(line in other for other in by_way.values()):
                if way == next(iter(by_way)):
                    lines.append(f"all {line}")
            else:
                lines.append(f"{way} {line}")
    return lines


def expected_lines(path):
    """Return {line: reason} and the lines that may be absent."""
    reasons, moody, reason = {}, set(), "no reason given"
    with open(path, encoding="utf-8") as file:
        for line in file:
            line = line.rstrip()
            if line.startswith("== "):
                reason = line[3:]
            elif line and not line.startswith("#"):
                if line.endswith("?"):
                    line = line[:-1]
                    moody.add(line)
                reasons[line] = reason
    return reasons, moody


def judge(expected_path, found, compared):
    expected, moody = expected_lines(expected_path)
    failed = 0
    for line in found:
        if line not in expected:
            print(f"not expected: {line}")
            failed += 1
    for line in expected:
        if line not in found and line not in moody:
            print(f"no longer so: {line}\n    listed because: {expected[line]}")
            failed += 1
    print(f"dev-note: {compared} answers, {len(found)} known differences")
    print(f"{compared - failed} passed, {failed} failed")
    return 1 if failed or not compared else 0


def main():
    arguments = sys.argv[1:]
    write = arguments[:1] == ["--write"]
    if write:
        arguments = arguments[1:]
    if len(arguments) < 3 or not all("=" in a for a in arguments[2:]):
        sys.exit(__doc__.strip())
    kernel = Answers(arguments[1])
    ways = {way: Answers(path) for way, path in (a.split("=", 1) for a in arguments[2:])}
    found = with_ways({way: differences(kernel, ours) for way, ours in ways.items()})
    if write:
        print("\n".join(found))
        return 0
    return judge(arguments[0], found, len(kernel) * len(ways))


if __name__ == "__main__":
    sys.exit(main())
