# SPDX-License-Identifier: MIT
"""coverage.py [--json] [--source DIR] [--reasons FILE] [--min-branches PERCENT] BUILD_DIR

Read gcov's counts of the library's objects in BUILD_DIR (built with the preset "coverage", after the
tests ran) and judge src/: every line must have run, and every branch must have been taken unless FILE
(tests/coverage/reasons) says why it cannot be. An entry of FILE that excuses nothing is an error too, so
the file never says more than is true.

An entry is a line "FILE FUNCTION: SOURCE TEXT" and, indented below it, the reason. The source text is
the line of the file without its indentation, so that an entry survives a change elsewhere. A reason that
begins with "Race:" is about two threads that meet in one instruction: such a branch may be taken or not,
and such a line may run or not.

Exit status: 0 all is covered or excused, 1 something is not, 2 wrong usage or no counts.
"""
import argparse
import collections
import glob
import json
import os
import subprocess
import sys


def fail(text):
    print("coverage: " + text, file=sys.stderr)
    sys.exit(2)


def gcov_files(build):
    """What gcov says about each object of the library."""
    pattern = os.path.join(build, "CMakeFiles/hvtlfs_objects.dir/src/*.gcda")
    counts = sorted(glob.glob(pattern))
    if not counts:
        fail(f"no counts in {build}: build it with `cmake --preset coverage` and run the tests")
    for path in counts:
        text = subprocess.run([os.environ.get("GCOV", "gcov"), "-t", "-j", "-b", path],
                              check=True, stdout=subprocess.PIPE).stdout
        for document in text.splitlines():
            report = json.loads(document)
            for entry in report["files"]:
                yield os.path.normpath(entry["file"]), entry


class Line:
    """A line of a source: how often it ran; how often each of its branches was taken."""

    def __init__(self):
        self.count = 0
        self.branches = []
        self.functions = set()

    def add(self, entry):
        self.count += entry["count"]
        self.functions.add(entry.get("function_name", "-"))
        taken = [branch["count"] for branch in entry["branches"]]
        if len(taken) == len(self.branches):
            self.branches = [a + b for a, b in zip(self.branches, taken)]
        else:  # another expansion of the same line
            self.branches += taken


def counts_of(build):
    """{file: {line number: Line}} for src/, headers merged over all who include them."""
    files = collections.defaultdict(lambda: collections.defaultdict(Line))
    for name, entry in gcov_files(build):  # names begin at the source folder: -ffile-prefix-map
        if name.startswith("src/"):
            for line in entry["lines"]:
                files[name][line["line_number"]].add(line)
    if not files:
        fail(f"the counts in {build} name no file of src/")
    return files


def read_reasons(path):
    """[(file, function, text, reason)]"""
    reasons = []
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            line = line.rstrip()
            if not line or line.startswith("#"):
                continue
            if line[0].isspace():
                if not reasons:
                    fail(f"{path}:{number}: a reason without its branch")
                reasons[-1][3] = (reasons[-1][3] + " " + line.strip()).strip()
            else:
                where, _, text = line.partition(": ")
                if len(where.split()) != 2 or not text:
                    fail(f"{path}:{number}: wanted 'FILE FUNCTION: SOURCE TEXT'")
                reasons.append([*where.split(), text.strip(), ""])
    for file, function, text, reason in reasons:
        if not reason:
            fail(f"{path}: no reason for {file} {function}: {text}")
    return [tuple(entry) for entry in reasons]


def is_race(reason):
    return reason.startswith("Race:")


class Report:
    def __init__(self, files, source, reasons):
        self.lines = self.lines_run = self.branches = self.branches_taken = 0
        self.missed_lines = []
        self.missed_branches = []
        self.places = set()
        self.per_file = {}
        for name in sorted(files):
            with open(os.path.join(source, name), encoding="utf-8") as text:
                self.add_file(name, files[name], text.read().splitlines())
        self.excuse(reasons)

    def add_file(self, name, lines, text):
        figures = [0, 0, 0, 0]
        for number in sorted(lines):
            line = lines[number]
            taken = sum(1 for count in line.branches if count)
            place = {"file": name, "line": number, "function": " ".join(sorted(line.functions)),
                     "text": text[number - 1].strip()}
            self.places.update((name, function, place["text"]) for function in line.functions)
            figures[0] += 1
            figures[1] += line.count > 0
            figures[2] += len(line.branches)
            figures[3] += taken
            if not line.count:
                self.missed_lines.append(place)
            elif taken < len(line.branches):
                missed = [i for i, count in enumerate(line.branches) if not count]
                self.missed_branches.append({**place, "missed": missed, "of": len(line.branches)})
        self.per_file[name] = figures
        self.lines += figures[0]
        self.lines_run += figures[1]
        self.branches += figures[2]
        self.branches_taken += figures[3]

    def excuse(self, reasons):
        known = {entry[:3]: entry[3] for entry in reasons}
        used = set()
        for place in self.missed_branches + self.missed_lines:
            for function in place["function"].split():
                key = (place["file"], function, place["text"])
                if key in known and (place in self.missed_branches or is_race(known[key])):
                    place["reason"] = known[key]
                    used.add(key)
        self.stale = [key for key in known if key not in used and
                      not (is_race(known[key]) and key in self.places)]
        self.unexplained = [place for place in self.missed_branches if "reason" not in place]
        self.raced = [place for place in self.missed_lines if "reason" in place]
        self.missed_lines = [place for place in self.missed_lines if "reason" not in place]


def percent(part, whole):
    return 100.0 * part / whole if whole else 100.0


def print_report(report):
    print(f"{'file':32} {'lines':>12} {'branches':>14}")
    for name, (lines, run, branches, taken) in report.per_file.items():
        if run < lines or taken < branches:
            print(f"{name:32} {run:5}/{lines:<6} {taken:6}/{branches:<7}")
    for place in report.missed_lines:
        print(f"{place['file']}:{place['line']}: never ran: {place['text']}")
    for place in report.raced:
        print(f"{place['file']}:{place['line']}: did not run this time: {place['text']}")
        print("    " + place["reason"])
    for place in report.missed_branches:
        print(f"{place['file']}:{place['line']}: {place['function']}: "
              f"{len(place['missed'])} of {place['of']} branches not taken "
              f"({' '.join(map(str, place['missed']))}): {place['text']}")
        print("    " + place.get("reason", "NO REASON GIVEN"))
    for file, function, text in report.stale:
        print(f"reasons: nothing to excuse any more: {file} {function}: {text}")
    print(f"lines    {report.lines_run} of {report.lines}, "
          f"{percent(report.lines_run, report.lines):.2f} %")
    print(f"branches {report.branches_taken} of {report.branches}, "
          f"{percent(report.branches_taken, report.branches):.2f} %; "
          f"{len(report.missed_branches)} lines with a branch not taken, "
          f"{len(report.unexplained)} without a reason")
    if report.raced:
        print(f"{len(report.raced)} of the lines did not run this time: two threads did not meet")


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description="Judge the coverage of src/.")
    parser.add_argument("build")
    parser.add_argument("--source", default=os.path.dirname(os.path.dirname(here)))
    parser.add_argument("--reasons", default=os.path.join(here, "reasons"))
    parser.add_argument("--min-branches", type=float, default=95.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    source = os.path.abspath(options.source)
    report = Report(counts_of(options.build), source, read_reasons(options.reasons))
    rate = percent(report.branches_taken, report.branches)
    good = not (report.missed_lines or report.unexplained or report.stale)
    good = good and rate >= options.min_branches
    if options.json:
        print(json.dumps({
            "lines": report.lines, "lines_run": report.lines_run, "branches": report.branches,
            "branches_taken": report.branches_taken, "missed_lines": report.missed_lines,
            "missed_branches": report.missed_branches, "stale_reasons": report.stale,
            "good": good}, indent=1))
    else:
        print_report(report)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
