#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the library costs: instructions, branches and nanoseconds of each operation.

    bench.py BENCH [--budgets FILE] [--check | --json | --update] [--svg FOLDER] [CASE...]

Instructions and branches are counted by callgrind, inside the library and the memory functions that it
calls; the host's callbacks are not counted, nor is preparation. The figures are the same on every run of
the same binary. Time is that of this machine at this moment: the median of many rounds, with the 5 % and
the 95 % around it.

--check counts only, holds each figure against the budgets and says "N passed, M failed": more than 3 %
above what was reached before is a failure, and so is a figure above its goal where the goal had been
reached. Exit status 0, 1 for a failure, 77 without valgrind. --update writes the figures into the file.
"""
import argparse
import concurrent.futures
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

import svg

TOLERANCE = 1.03
EVENTS = ("Ir", "Bc", "Bi")


# ---- Counting ----

def count(bench, case):
    """(instructions, branches) of one operation."""
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "callgrind.out")
        command = ["valgrind", "--tool=callgrind", "--branch-sim=yes", "--compress-strings=no",
                   "--compress-pos=no", "--toggle-collect=bench_measured",
                   f"--callgrind-out-file={out}", bench, "--run", case]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode:
            sys.exit(f"bench.py: {case} failed:\n{run.stderr}")
        operations = int(run.stdout)
        with open(out, encoding="utf-8") as file:
            cost = library_cost(file)
    return [cost[0] / operations, (cost[1] + cost[2]) / operations]


def library_cost(lines):
    """What functions of the library cost by themselves, and what their calls into libc cost in all."""
    total = [0] * len(EVENTS)
    columns, inside, callee, is_call = [], False, None, False
    for line in lines:
        if line.startswith("events:"):
            columns = line.split()[1:]
        elif line.startswith("ob="):
            inside = "libhvtlfs" in line
        elif line.startswith("fn="):
            callee = None
        elif line.startswith("cob="):
            callee = line
        elif line.startswith("calls="):
            is_call = True
        elif re.match(r"[0-9+*-]", line):
            if inside and (not is_call or (callee and "/libc" in callee)):
                cost = dict(zip(columns, map(int, line.split()[1:])))
                total = [t + cost.get(event, 0) for t, event in zip(total, EVENTS)]
            if is_call:
                is_call, callee = False, None
    return total


def count_all(bench, cases):
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        return dict(zip(cases, pool.map(lambda case: count(bench, case), cases)))


# ---- What the program measures by itself ----

def output(bench, *arguments):
    run = subprocess.run([bench, *arguments], capture_output=True, text=True, check=False)
    if run.returncode:
        sys.exit(f"bench.py: {' '.join(arguments)} failed:\n{run.stderr}")
    return [line.split() for line in run.stdout.splitlines()]


def names_and_figures(rows):
    return {row[0]: [float(figure) for figure in row[1:]] for row in rows}


def memory(bench):
    rows = []
    for vps, size, pages, *name in output(bench, "--memory"):
        rows.append({"features": " ".join(name), "vps": int(vps), "bytes": int(size),
                     "overlay_pages_of_a_vp": int(pages),
                     "beside_pages_for_each_vp": int(size) / int(vps) - 4096 * int(pages)})
    return rows


# ---- Budgets ----

def read_budgets(path):
    """case -> (goal or None, reached or None)"""
    budgets = {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.strip() and not line.startswith("#"):
                case, goal, reached = line.strip().split(",")
                budgets[case] = (float(goal) if goal else None, float(reached) if reached else None)
    return budgets


def write_budgets(path, counts):
    with open(path, encoding="utf-8") as file:
        lines = file.read().splitlines()
    for i, line in enumerate(lines):
        case, *rest = line.split(",")
        if case in counts and not line.startswith("#"):
            lines[i] = f"{case},{rest[0]},{counts[case][0]:g}"
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


def verdict(instructions, budget):
    """What is wrong with a figure, or None."""
    if not budget:
        return "there is no budget for it"
    goal, reached = budget
    if reached is None:
        return "nothing reached is written down; run with --update"
    if instructions > reached * TOLERANCE:
        return f"{instructions:g} instructions, more than 3 % above the {reached:g} reached before"
    if goal is not None and reached <= goal < instructions:
        return f"{instructions:g} instructions, above its goal {goal:g}"
    return None


def check(counts, budgets):
    failures = {case: verdict(counts[case][0], budgets.get(case)) for case in counts}
    failures = {case: why for case, why in failures.items() if why}
    for case in sorted(set(budgets) - set(counts)):
        failures[case] = "it has a budget, but there is no such case"
    for case, why in failures.items():
        print(f"FAIL {case}: {why}")
    print(f"{len(counts) - len(failures)} passed, {len(failures)} failed")
    return 1 if failures else 0


# ---- What people see ----

def print_table(cases, counts, times, budgets):
    print(f"{'operation':32}{'instructions':>13}{'branches':>10}{'goal':>8}"
          f"{'ns':>12}{'5 %':>12}{'95 %':>12}")
    for case in cases:
        instructions, branches = counts.get(case, (None, None))
        goal = budgets.get(case, (None, None))[0]
        line = f"{case:32}"
        line += f"{instructions:13.0f}{branches:10.0f}" if instructions is not None else " " * 23
        line += f"{goal:8.0f}" if goal is not None else " " * 8
        print(line + "".join(f"{ns:12.1f}" for ns in times[case]))


def print_rest(threads, sizes, times):
    print("\ntwo threads on different VPs, throughput against one thread's (processor time):")
    for case, (median, low, high) in threads.items():
        print(f"{case:32}{median:8.2f}   5 % {low:.2f}   95 % {high:.2f}")
    print("\nmemory:")
    for row in sizes:
        print(f"{row['features']:32}{row['vps']:6} VPs {row['bytes']:11} bytes; for each VP"
              f" {row['overlay_pages_of_a_vp']} overlay pages and"
              f" {row['beside_pages_for_each_vp']:.0f} bytes")
    if "guest-page-read" in times:
        ratio = times["guest-page-read"][0] / times["guest-rdtsc-multiply"][0]
        print(f"\nreading the TSC page costs {ratio:.2f} times a bare RDTSC and multiplication")


def draw(folder, counts, times, budgets):
    os.makedirs(folder, exist_ok=True)
    hot = [case for case in counts if counts[case][0] < 2000]
    svg.bars(os.path.join(folder, "instructions.svg"), "Instructions in the library for one operation",
             [(case, (counts[case][0],), goal if goal and goal < 2000 else None)
              for case in hot for goal in (budgets.get(case, (None, None))[0],)],
             "instructions, callbacks not counted")
    svg.bars(os.path.join(folder, "nanoseconds.svg"), "Time of one operation",
             [(case, (times[case][0],), None) for case in times if times[case][0] < 300],
             "nanoseconds, median")
    lines = []
    for what in ("partition-init", "save", "load"):
        points = [(n, times[f"{what}-{n}"][0] / 1e6) for n in (1, 64, 4096) if f"{what}-{n}" in times]
        if points:
            lines.append((what, points))
    if lines:
        svg.curves(os.path.join(folder, "vps.svg"), "A partition's life", "VPs", "milliseconds", lines)
    print(f"\nplots: {folder}/instructions.svg, nanoseconds.svg" + ", vps.svg" * bool(lines),
          file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bench", help="the program bench")
    parser.add_argument("cases", nargs="*", metavar="CASE", help="only these")
    parser.add_argument("--budgets", metavar="FILE")
    parser.add_argument("--check", action="store_true", help="instructions against the budgets only")
    parser.add_argument("--update", action="store_true", help="write the figures into the budgets")
    parser.add_argument("--json", action="store_true", help="everything as one object")
    parser.add_argument("--svg", metavar="FOLDER", help="draw plots into FOLDER")
    args = parser.parse_intermixed_args()
    if (args.check or args.update) and not args.budgets:
        parser.error("--check and --update need --budgets")
    if not shutil.which("valgrind"):
        print("valgrind is missing")
        return 77

    listed = dict(output(args.bench, "--list"))
    cases = args.cases or list(listed)
    unknown = [case for case in cases if case not in listed]
    if unknown:
        parser.error(f"no such case: {unknown[0]}")
    budgets = read_budgets(args.budgets) if args.budgets else {}
    counts = count_all(args.bench, [case for case in cases if listed[case] == "counted"])
    if args.update:
        write_budgets(args.budgets, counts)
        return 0
    if args.check:
        if args.cases:
            budgets = {case: budgets[case] for case in args.cases if case in budgets}
        return check(counts, budgets)
    times = names_and_figures(row for case in cases for row in output(args.bench, "--time", case))
    threads = names_and_figures(output(args.bench, "--threads")) if not args.cases else {}
    sizes = memory(args.bench) if not args.cases else []
    if args.json:
        print(json.dumps({
            "operations": {case: {
                "instructions": counts.get(case, [None])[0], "branches": counts.get(case, [0, None])[1],
                "goal": budgets.get(case, (None, None))[0],
                "ns": dict(zip(("median", "5%", "95%"), times[case]))} for case in cases},
            "two_threads": {case: dict(zip(("median", "5%", "95%"), figures))
                            for case, figures in threads.items()},
            "memory": sizes}, indent=1))
    else:
        print_table(cases, counts, times, budgets)
        if not args.cases:
            print_rest(threads, sizes, times)
    if args.svg:
        draw(args.svg, counts, times, budgets)
    return 0


if __name__ == "__main__":
    sys.exit(main())
