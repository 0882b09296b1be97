#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Run the conformance guest on a host program and check what it prints.

Usage: check_guest.py [--tries N] HOST GUEST.elf [HOST-OPTION]...

With --tries a failing run is reported and repeated, up to N runs in all: on a host in real time whose
processors others share, an interrupt may come later than any test is willing to wait. What the
library does wrong it does in every run.

With --migrate-every among the options the guest must have been moved to another process.

The output must be TAP: numbered from 1, the plan "1..N" once and matching, no "not ok", no
"Bail out!", at least one test that was not skipped. Ends with "N passed, N failed". Exit status 0,
1 when something is wrong, 77 when the host says that this machine cannot run it.
"""
import os
import re
import subprocess
import sys

TIMEOUT_S = 120
# Unicorn leaves its loop by longjmp at every PAUSE of the guest, and ASan's stacks for use after return are
# searched each time: ten times slower. The unit tests have them.
ENVIRONMENT = dict(os.environ, ASAN_OPTIONS=os.environ.get("ASAN_OPTIONS", "") +
                   ":detect_stack_use_after_return=0")
SKIPPED = 77
TEST = re.compile(r"^(not ok|ok) (\d+) - (\S+)(?: # SKIP (.+))?$")
MOVES = re.compile(r"^# +moves to another process +([1-9]\d*)$", re.MULTILINE)
PLAN = re.compile(r"^1\.\.(\d+)$")


def check_numbers(tests, problems):
    for place, (number, name) in enumerate(tests, start=1):
        if number != place:
            problems.append(f"test {name} has number {number}, expected {place}")
    names = [name for _, name in tests]
    for name in sorted({n for n in names if names.count(n) > 1}):
        problems.append(f"two tests are called {name}")


def check_plan(plans, count, problems):
    if len(plans) != 1:
        problems.append(f"{len(plans)} plans, expected one")
    elif plans[0] != count:
        problems.append(f"the plan says {plans[0]} tests, there are {count}")


def parse(text):
    """Return (passed, skipped, problems)."""
    tests, plans, problems, skipped = [], [], [], 0
    comments = []
    for line in text.splitlines():
        test, plan = TEST.match(line), PLAN.match(line)
        if test:
            tests.append((int(test[2]), test[3]))
            skipped += test[4] is not None
            if test[1] == "not ok":
                problems.append("; ".join([f"not ok {test[2]} - {test[3]}"] + comments))
            comments = []
        elif plan:
            plans.append(int(plan[1]))
        elif line.startswith("#"):
            comments.append(line.lstrip("# "))
        elif line and not line.startswith("TAP version "):
            problems.append(f"not TAP: {line}")
    failed = sum(p.startswith("not ok") for p in problems)
    check_numbers(tests, problems)
    check_plan(plans, len(tests), problems)
    passed = len(tests) - skipped - failed
    if passed == 0:
        problems.append("no test has passed")
    return passed, skipped, problems


def judge(host, guest, options):
    """Run the guest once, print what it says; return the exit status."""
    moves = any(option.startswith("--migrate-every") for option in options)
    report = [] if moves else ["--quiet"]
    try:
        run = subprocess.run([host, *report, *options, guest], capture_output=True, text=True,
                             timeout=TIMEOUT_S, check=False, env=ENVIRONMENT)
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"{host}: {error}\n0 passed, 1 failed")
        return 1
    if run.returncode == SKIPPED:
        print(run.stderr.strip() or f"{host}: skipped without a reason")
        return SKIPPED
    passed, skipped, problems = parse(run.stdout)
    if run.returncode != 0:
        problems.append(f"exit status {run.returncode}: {run.stderr.strip()}")
    if moves and not MOVES.search(run.stdout):
        problems.append("the guest was never moved")
    for problem in problems:
        print(problem)
    if skipped:
        print(f"{skipped} skipped")
    print(f"{passed} passed, {len(problems)} failed")
    return 1 if problems else 0


def main():
    arguments, tries = sys.argv[1:], 1
    if arguments[:1] == ["--tries"] and len(arguments) > 1 and arguments[1].isdigit():
        tries, arguments = max(1, int(arguments[1])), arguments[2:]
    if len(arguments) < 2:
        sys.exit(__doc__.strip())
    for run in range(1, tries + 1):
        status = judge(arguments[0], arguments[1], arguments[2:])
        if status != 1:
            return status
        if run < tries:
            print(f"run {run} of at most {tries} failed; once more")
    return 1


if __name__ == "__main__":
    sys.exit(main())
