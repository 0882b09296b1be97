#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""check_analysis.py BUILD [TOOL...] [--under FOLDER...]

Static analysis of every C file that BUILD compiles, but for the tests, with the flags it is compiled with: gcc's analyser at -O1
and -O2 (gcc; gcc-quick has -O2 alone), clang-tidy as .clang-tidy says (tidy), the analyser of scan-build (scan),
cppcheck (cppcheck). Without TOOL all of them but gcc-quick. --under looks at files in some folders only.

BUILD was configured with clang and has compile_commands.json. A finding is a failure; what is no defect is
suppressed at its line, with the reason. The last line is the verdict; the exit status is 1 for a finding, 77 if
a tool is missing."""

import argparse
import concurrent.futures
import json
import os
import shlex
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROGRAMS = {"gcc": "gcc", "gcc-quick": "gcc", "tidy": "clang-tidy", "scan": "clang", "cppcheck": "cppcheck"}

# Where gcc's analyser is known to err, and who looks there instead.
GCC_EXCEPT = {
    # The allocation is kept in an array that is looked up, and gcc 12 loses it; the tests' leak checker, which
    # runs this file, does not.
    "tools/model_host.c": ["-Wno-analyzer-malloc-leak"],
}

SCAN_EXCEPT = {
    # A va_list through a pointer, which the analyser does not follow.
    "guest/text.c": ["-Xclang", "-analyzer-disable-checker=valist.Uninitialized"],
}


class Unit:
    """A file with the flags that say what it means, without those of one compiler."""

    def __init__(self, entry):
        self.path = os.path.relpath(os.path.join(entry["directory"], entry["file"]), ROOT)
        words = shlex.split(entry["command"])
        self.flags = []
        for at, word in enumerate(words):
            if word in ("-isystem", "-include"):
                self.flags += [word, words[at + 1]]
            elif word[:2] in ("-I", "-D", "-U") or word[:5] == "-std=" or word in ("-ffreestanding", "-mno-sse"):
                self.flags.append(word)


def units_of(build, folders):
    found = {}
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as file:
        for entry in json.load(file):
            unit = Unit(entry)
            if unit.path.endswith(".c") and (
                    any(unit.path.startswith(folder.rstrip("/") + "/") for folder in folders)
                    if folders else not unit.path.startswith("tests/")):
                found.setdefault(unit.path, unit)  # the first program that has it speaks for all
    return [found[path] for path in sorted(found)]


def said(command):
    """What a command that should be silent and succeed says, or nothing."""
    result = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            errors="replace", check=False)
    return "" if result.returncode == 0 else result.stdout or f"exit status {result.returncode}: {command}"


def gcc(unit, levels=("-O1", "-O2")):
    for level in levels:
        text = said(["gcc", *unit.flags, level, "-fanalyzer", "-Werror", *GCC_EXCEPT.get(unit.path, []), "-c",
                     unit.path, "-o", "/dev/null"])
        if text:
            return text
    return ""


def gcc_quick(unit):
    return gcc(unit, ["-O2"])


# One file for each run: clang-tidy 14 forgets what va_start() did where it sees several.
def tidy(unit):
    return said(["clang-tidy", "-p", BUILD, "--quiet", unit.path])


# What scan-build runs for each file, with its default checkers and the one for portability.
def scan(unit):
    return said(["clang", "--analyze", "--analyzer-output", "text", "-Xclang", "-analyzer-werror",
                 "-Xclang", "-analyzer-checker=optin.portability", *SCAN_EXCEPT.get(unit.path, []), *unit.flags, unit.path])


def cppcheck(unit):
    flags = [flag for flag in unit.flags if flag[:2] in ("-I", "-D")]
    return said(["cppcheck", "--std=c11", "--enable=warning,performance,portability", "--inline-suppr", "--quiet",
                 "--error-exitcode=1", *flags, unit.path])


def analysed(name, units, pool):
    start = time.monotonic()
    texts = list(pool.map(globals()[name.replace("-", "_")], units))
    bad = [(unit, text) for unit, text in zip(units, texts) if text]
    for unit, text in bad:
        print(f"---- {name}: {unit.path}\n{text.rstrip()}")
    print(f"{'FAIL' if bad else 'ok'}: {name}, {len(units)} files, {len(bad)} with a finding, "
          f"{time.monotonic() - start:.0f} s", flush=True)
    return len(bad)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[1],
                                     usage="check_analysis.py BUILD [TOOL...] [--under FOLDER...]")
    parser.add_argument("build")
    parser.add_argument("tools", nargs="*", metavar="TOOL")
    parser.add_argument("--under", nargs="+", default=[], metavar="FOLDER")
    options = parser.parse_args()
    for tool in options.tools:
        if tool not in PROGRAMS:
            parser.error(f"no tool {tool!r}; there are {chr(44).join(PROGRAMS)}")
    return options


def main():
    global BUILD
    options = arguments()
    BUILD = os.path.abspath(options.build)
    tools = options.tools or ["gcc", "tidy", "scan", "cppcheck"]
    for tool in tools:
        if subprocess.run(["sh", "-c", f"command -v {PROGRAMS[tool]}"], stdout=subprocess.DEVNULL,
                          check=False).returncode:
            print(f"{PROGRAMS[tool]} is not installed")
            return 77
    units = units_of(BUILD, options.under)
    if not units:
        print(f"no C file of {options.under or 'the build'} in {BUILD}/compile_commands.json")
        return 2
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        bad = sum(analysed(tool, units, pool) for tool in tools)
    print(f"verdict: {f'{bad} findings' if bad else 'nothing found'}, {len(tools)} tools, {len(units)} files")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
