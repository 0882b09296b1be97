#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""check_walks.py SOURCE: the walks of CONTRIBUTING.md lead where they say.

Their ```diff blocks are applied to a copy of the tree. With the scripts alone `hvtlfs replay` fails; with the
rest, which must be found in the sources as shown, the command builds without a warning and the scripts pass.
"""
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path


def patches(page):
    """(file, text to find, text to put there) of each block; nothing to find: a new file."""
    found = []
    for block in re.findall(r"^```diff\n(.*?)^```", page, flags=re.M | re.S):
        lines = block.splitlines()
        name = re.match(r"\+\+\+ b/(.*)", lines[1])[1]
        body = [line for line in lines[2:] if not line.startswith("@@")]
        before = "".join(line[1:] + "\n" for line in body if line[:1] in ("-", " "))
        after = "".join(line[1:] + "\n" for line in body if line[:1] in ("+", " "))
        found.append((name, before, after))
    return found


def apply(folder, name, before, after):
    path = folder / name
    text = path.read_text() if path.exists() else ""
    if before and text.count(before) != 1:
        raise SystemExit(f"FAIL: {name} does not hold what CONTRIBUTING.md changes:\n{before}")
    path.write_text(text.replace(before, after) if before else after)


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def build(folder):
    code, said = run("cmake", "-S", folder, "-B", folder / "build", "-G", "Ninja",
                     "-DHVTLFS_BUILD_TESTS=OFF", "-DHVTLFS_BUILD_EXAMPLES=OFF",
                     "-DHVTLFS_BUILD_ADAPTERS=OFF", "-DHVTLFS_WERROR=ON", "-DCMAKE_BUILD_TYPE=Debug")
    if code == 0:
        code, said = run("cmake", "--build", folder / "build", "--target", "hvtlfs_tool")
    if code:
        raise SystemExit(f"FAIL: the walk does not build\n{said}")


def main():
    root = Path(sys.argv[1]).resolve()
    steps = patches((root / "CONTRIBUTING.md").read_text())
    scripts = [name for name, before, _ in steps if not before]
    if len(scripts) != 2 or len(steps) != 6:
        raise SystemExit(f"FAIL: CONTRIBUTING.md has {len(steps)} blocks and {len(scripts)} scripts")
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "copy"
        for name in ("CMakeLists.txt", "cmake", "include", "src", "tools", "docs", "tests/replay"):
            source = root / name
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
        tool = folder / "build/bin/hvtlfs"
        for stage, expected in (("scripts", 1), ("the rest", 0)):
            for name, before, after in steps:
                if (name in scripts) == (stage == "scripts"):
                    apply(folder, name, before, after)
            build(folder)
            for script in scripts:
                code, said = run(tool, "replay", folder / script)
                if code != expected:
                    print(f"FAIL: after {stage}, {script} exits {code}\n{said}")
                    return 1
    print(f"{len(scripts)} walks of {len(steps)} steps")
    return 0


if __name__ == "__main__":
    sys.exit(main())
