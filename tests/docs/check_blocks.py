#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""check_blocks.py SOURCE GENERATED_INCLUDE TOOL

What the pages show is true:
  - every ```c block of README.md, CONTRIBUTING.md and docs/*.md compiles, every warning an error; a
    fragment is put into a function with the names that fragments use;
  - the blocks of docs/TUTORIAL.md, one after the other, are examples/unicorn_vmm.c;
  - every `$ hvtlfs ...` line of a ```console block runs and exits 0, and prints what stands below it
    (`...` in a line of its own stands for anything); one in an indented list of commands is good usage.
"""
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

# What a fragment may take for granted.
PRELUDE = """
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <hvtlfs/hvtlfs.h>
"""
NAMES = """
    struct hvtlfs_config config; struct hvtlfs_error error; struct hvtlfs_partition *partition = NULL;
    struct hvtlfs_vp *vp = NULL; struct hvtlfs_cpuid_regs cpuid_regs = {0};
    struct hvtlfs_hypercall_regs regs = {0}; void *vmm = NULL, *memory = NULL; size_t size = 0;
    uint32_t leaf = 0, subleaf = 0, number = 0; uint64_t value = 0;
    (void)config, (void)error, (void)partition, (void)vp, (void)cpuid_regs, (void)regs, (void)vmm;
    (void)memory, (void)size, (void)leaf, (void)subleaf, (void)number, (void)value;
"""
FLAGS = ["-std=c11", "-Wall", "-Wextra", "-Wno-unused-function", "-Wno-unused-result",
         "-Wno-unused-const-variable", "-Wno-unused-variable", "-Wno-unused-parameter", "-Werror",
         "-fsyntax-only", "-x", "c"]


def blocks(path, language):
    """(line, text) of every block of a language."""
    found, start, lines = [], None, []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if start is None and re.match(rf"^```{language}\b", line):
            start, lines = number + 1, []
        elif start is not None and line.startswith("```"):
            found.append((start, "\n".join(lines)))
            start = None
        elif start is not None:
            lines.append(line)
    return found


def program(text):
    """A block as a file of its own."""
    if "#include" in text:
        return text
    if re.search(r"^\{", text, flags=re.M):
        return PRELUDE + text
    # Prototypes stand outside, and their functions elsewhere.
    outside = "\n".join(re.findall(r"^static (.*;.*)$", text, flags=re.M))
    inside = re.sub(r"^static .*;.*$", "", text, flags=re.M)
    if inside.lstrip().startswith("case "):
        inside = f"switch (hvtlfs_hypercall(vp, &regs)) {{\n{inside}\n    break;\ndefault: break; }}"
    return f"{PRELUDE}{outside}\nvoid fragment(void);\nvoid fragment(void)\n{{{NAMES}\n{inside}\n}}\n"


def check_c(root, path, include):
    failed = 0
    compiler = os.environ.get("CC", "cc")
    for line, text in blocks(path, "c"):
        if path.name == "TUTORIAL.md":
            continue
        run = subprocess.run([compiler, *FLAGS, "-I", root / "include", "-I", include, "-"],
                             input=program(text), capture_output=True, text=True)
        if run.returncode:
            print(f"FAIL: {path.relative_to(root)}:{line} does not compile\n{run.stderr}")
            failed += 1
    return failed


def check_tutorial(root):
    said = "\n\n".join(text for _, text in blocks(root / "docs/TUTORIAL.md", "c")) + "\n"
    if said == (root / "examples/unicorn_vmm.c").read_text():
        return 0
    print("FAIL: the blocks of docs/TUTORIAL.md are not examples/unicorn_vmm.c")
    return 1


def agrees(expected, output):
    """Whether lines are as expected; "..." stands for any number of lines."""
    pattern = "".join("(?:.*\n)*?" if line == "..." else re.escape(line) + "\n" for line in expected)
    return re.fullmatch(pattern, output) is not None


def check_console(root, path, tool):
    failed = 0
    for start, text in blocks(path, "console"):
        lines = text.splitlines()
        for at, line in enumerate(lines):
            if not re.match(r"\$ (.*\| )?hvtlfs\b", line) or "cpuid -1" in line:
                continue
            expected = []
            for following in lines[at + 1:]:
                if re.match(r"[$#] ", following):
                    break
                expected.append(following)
            with tempfile.TemporaryDirectory() as folder:
                run = subprocess.run(["sh", "-c", line[2:]], cwd=folder, capture_output=True, text=True,
                                     env={**os.environ, "PATH": f"{tool.parent}:{os.environ['PATH']}"})
            where = f"{path.relative_to(root)}:{start + at}"
            if run.returncode:
                print(f"FAIL: {where}: exit status {run.returncode}\n{run.stdout}{run.stderr}")
                failed += 1
            elif expected and not agrees(expected, run.stdout):
                print(f"FAIL: {where} prints\n{run.stdout}")
                failed += 1
    return failed


def check_lists(root, path, tool):
    """    hvtlfs VERB ARGUMENTS   what it does"""
    failed = 0
    for number, line in enumerate(path.read_text().splitlines(), 1):
        match = re.match(r" {4}(hvtlfs [a-z]+ .*?)(?: {2,}.*)?$", line)
        if match is None or re.search(r"\b[A-Z]{3,}\b|\.hvt", match[1].replace("HYPERCALL", "")):
            continue
        run = subprocess.run([tool, *shlex.split(match[1])[1:]], capture_output=True, text=True)
        if run.returncode not in (0, 1):
            print(f"FAIL: {path.relative_to(root)}:{number}: {run.stderr}")
            failed += 1
    return failed


def main():
    root, include, tool = Path(sys.argv[1]).resolve(), sys.argv[2], Path(sys.argv[3]).resolve()
    pages = [root / "README.md", root / "CONTRIBUTING.md", *sorted((root / "docs").glob("*.md"))]
    pages = [page for page in pages if page.exists()]
    failed = check_tutorial(root)
    for page in pages:
        failed += check_c(root, page, include) + check_console(root, page, tool)
        failed += check_lists(root, page, tool)
    counts = [sum(len(blocks(page, language)) for page in pages) for language in ("c", "console")]
    print(f"{len(pages)} pages, {counts[0]} blocks of C, {counts[1]} of commands, {failed} failed")
    return failed != 0 or counts[0] < 5


if __name__ == "__main__":
    sys.exit(main())
