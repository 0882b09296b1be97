# SPDX-License-Identifier: MIT
"""The unit tests and all mutants of src/ in one program.

Each function holds the bodies of all its mutants and takes the one whose number is in hvti_mutant
(runner.c), so that hundreds of mutants cost one compilation. A second program, of the sources as they
are, tells which tests reach which line.
"""
import bisect
import concurrent.futures
import glob
import os
import re
import shutil
import subprocess
import sys

import mutants

HERE = os.path.dirname(os.path.abspath(__file__))
LEFT_OUT = re.compile(r"_threads\.c$|/test_kvm")  # a threads' test shows a race, not a line; KVM is no core
CC = ["ccache", "gcc"] if shutil.which("ccache") else ["gcc"]
TARGETS = {"cpuid": "", "dump": "", "features": "", "hypercall": "", "model": "", "msr": "",
           "state": "tests/states/*.state"}  # and where seeds are besides tests/fuzz/corpus/TARGET
TRACE = ["-g", "-fsanitize-coverage=trace-pc"]


def run(command, **more):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, **more)


def must(command):
    done = run(command)
    if done.returncode:
        sys.stdout.write(done.stdout.decode(errors="replace"))
        print("mutate: failed: " + " ".join(command), file=sys.stderr)
        sys.exit(2)


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def write(path, text):
    if not os.path.exists(path) or read(path) != text:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)


class Program:
    def __init__(self, work, jobs, slowest):
        self.work, self.jobs, self.slowest = work, jobs, slowest
        self.groups = sorted(os.path.basename(p)[5:-2] for p in glob.glob("tests/test_*.c")
                             if not LEFT_OUT.search(p))
        self.sources = sorted(glob.glob("src/*.c"))
        self.headers = sorted(glob.glob("src/*.h"))
        self.stillborn = set()
        for folder in ("gen", "o", "trace", "include/hvtlfs"):
            os.makedirs(f"{work}/{folder}", exist_ok=True)

    def command(self, source, target, folder, more):
        return [*CC, "-std=c11", "-w", "-O0", "-D_GNU_SOURCE", "-Iinclude", f"-I{folder}",
                "-Isrc", "-Itools", "-Itests", "-Itests/fuzz", f"-I{self.work}/include", "-c", source,
                "-o", target, *more]

    def all(self, commands):
        """Run commands, some at a time; what failed."""
        with concurrent.futures.ThreadPoolExecutor(self.jobs) as pool:
            return [done for done in pool.map(run, commands) if done.returncode]

    def must_all(self, commands):
        for done in self.all(commands)[:1]:
            sys.stdout.write(done.stdout.decode(errors="replace"))
            sys.exit(2)

    # ---- Mutants in the sources ----

    def live_lines(self, path):
        """Lines that the preprocessor keeps."""
        out = run(["gcc", "-E", "-std=c11", "-Iinclude", "-Isrc", f"-I{self.work}/include", path])
        lines, name, number = set(), "", 0
        for text in out.stdout.decode(errors="replace").split("\n"):
            mark = re.match(r'# (\d+) "([^"]*)"', text)
            if mark:
                number, name = int(mark.group(1)), mark.group(2)
                continue
            if name == path and text.strip():
                lines.add(number)
            number += 1
        return lines

    def find(self, chosen):
        """All mutants, numbered; those of `chosen` that no longer fit the sources end the run."""
        self.functions, self.mutants = {}, []
        chosen = list(chosen)
        for path in self.sources + self.headers:
            live = self.live_lines(path)
            self.functions[path] = mutants.functions_of(path, read(path))
            for function in self.functions[path]:
                function.mutants = mutants.mutants_of(function, live)
                for entry in [e for e in chosen if (e["file"], e["function"]) == (path, function.name)]:
                    mutant = mutants.chosen_mutant(function, entry)
                    if mutant:
                        function.mutants.append(mutant)
                        chosen.remove(entry)
                self.mutants += function.mutants
        for entry in chosen:
            print(f"mutate: chosen: no such text, or not once: {entry['file']} {entry['function']}: "
                  f"{entry['before']}", file=sys.stderr)
        if chosen:
            sys.exit(2)
        for number, mutant in enumerate(self.mutants):
            mutant.number = number

    def with_mutants(self, path):
        """The file's text with every function's mutants."""
        text, out, at = read(path), [], 0
        for function in self.functions[path]:
            alive = [m for m in function.mutants if m.number not in self.stillborn]
            out.append(text[at:function.begin])
            if alive:
                first, last = alive[0].number, alive[-1].number
                out.append(f"{{\nif (hvti_mutant >= {first} && hvti_mutant <= {last}) switch (hvti_mutant) {{\n")
                out += [f'case {m.number}:\n#line 1 "mutant-{m.number}"\n{m.body()}\nbreak;\n' for m in alive]
                out.append(f'default:;\n#line {function.line} "{path}"\n{function.text}\n}} else\n')
            out.append(f'#line {function.line} "{path}"\n' if alive else "")
            out.append(function.text + ("\n}" if alive else ""))
            at = function.end
        return f'#line 1 "{path}"\n' + "".join(out) + text[at:]

    def generate(self):
        for path in self.sources + self.headers + glob.glob("src/*.def"):
            text = read(path) if path.endswith(".def") else self.with_mutants(path)
            write(f"{self.work}/gen/{os.path.basename(path)}", text)

    def compile_mutants(self):
        """Compile the sources with mutants; those that the compiler refuses are left out."""
        more = ["-include", f"{self.work}/mutant.h"]
        write(f"{self.work}/mutant.h", "extern int hvti_mutant;\n")
        left = self.sources
        while left:
            self.generate()
            failed = self.all([self.command(f"{self.work}/gen/{os.path.basename(p)}", self.object("o", p),
                                            f"{self.work}/gen", [*more, "-fmax-errors=0"]) for p in left])
            refused = set()
            for done in failed:
                text = done.stdout.decode(errors="replace")
                refused |= {int(n) for n in re.findall(r"^mutant-(\d+):\d+:\d+: error", text, re.M)}
            if failed and not refused - self.stillborn:
                sys.stdout.write(failed[0].stdout.decode(errors="replace")[:4000])
                sys.exit(2)
            self.stillborn |= refused
            changed = {m.path for m in self.mutants if m.number in refused}
            left = self.sources if any(p.endswith(".h") for p in changed) else \
                [p for p in self.sources if p in changed]

    def object(self, folder, path):
        return f"{self.work}/{folder}/src_{os.path.basename(path)[:-2]}.o"

    # ---- Building ----

    def write_groups(self):
        seeds = [(target, path) for target, pattern in TARGETS.items()
                 for path in sorted(glob.glob(f"tests/fuzz/corpus/{target}/*") + glob.glob(pattern))]
        lines = [f"#define GROUPS {' '.join(f'GROUP({name})' for name in self.groups)}",
                 f"#define TARGETS {' '.join(f'TARGET({name})' for name in TARGETS)}",
                 "#define SEEDS " + " ".join(f'SEED({target}, "{path}")' for target, path in seeds),
                 "#define SCRIPTS " + " ".join(f'SCRIPT("{p}")' for p in sorted(glob.glob("tests/replay/*.hvt")))]
        write(f"{self.work}/include/groups.h", "\n".join(lines) + "\n")

    def build_tests(self):
        must(["cmake", "-DIN=include/hvtlfs/version.h.in", f"-DOUT={self.work}/include/hvtlfs/version.h",
              "-P", os.path.join(HERE, "version.cmake")])
        self.write_groups()
        jobs = [(os.path.join(HERE, "runner.c"), "runner", [])]
        jobs += [(f"tests/test_{n}.c", f"test_{n}", [f"-Dmain=main_{n}"]) for n in self.groups]
        jobs += [(p, "tool_" + os.path.basename(p)[:-2], ['-DHVTLFS_LIBRARY_FOLDER="lib"'])
                 for p in sorted(glob.glob("tools/*.c")) if p != "tools/main.c"]
        jobs += [(f"tests/fuzz/{n}.c", f"fuzz_{n}", []) for n in ("host", "model", "setup")]
        jobs += [(f"tests/fuzz/fuzz_{n}.c", f"target_{n}", [f"-DLLVMFuzzerTestOneInput=fuzz_{n}"])
                 for n in TARGETS]
        self.must_all([self.command(source, f"{self.work}/o/{name}.o", "tests/mutation", more)
                       for source, name, more in jobs])
        self.others = [f"{self.work}/o/{name}.o" for _, name, _ in jobs]

    def link(self, target, folder):
        must(["gcc", "-no-pie", "-o", f"{self.work}/{target}", *self.others,
              *[self.object(folder, p) for p in self.sources], "-pthread"])

    def build(self, chosen):
        self.build_tests()
        self.must_all([self.command(p, self.object("trace", p), "src", TRACE) for p in self.sources])
        self.link("traced", "trace")
        self.measure()
        self.find(chosen)
        self.compile_mutants()
        self.link("mutants", "o")

    # ---- Which tests reach a line ----

    def lines_of_blocks(self):
        """[(address, {(file, line)})] of the traced program, in the addresses' order."""
        out = run(["objdump", "--dwarf=decodedline", f"{self.work}/traced"]).stdout.decode(errors="replace")
        rows = set()
        for name, line, address in re.findall(r"^(\S+)\s+(\d+)\s+0x([0-9a-f]+)", out, re.M):
            path = "src/" + os.path.basename(name)
            if path in self.functions_paths:
                rows.add((int(address, 16), path, int(line)))
        return sorted(rows)

    def measure(self):
        """self.names, self.cost (microseconds), and self.reach: {(file, line): {test}}."""
        listed = run([f"{self.work}/traced", "list"]).stdout.decode().splitlines()
        self.names = [":".join(line.split()[1:]) for line in listed]
        environment = dict(os.environ, HVTLFS_SOURCE_DIR=os.getcwd())
        done = run([f"{self.work}/traced", "trace", str(self.slowest), f"{self.work}/blocks"], env=environment)
        if done.returncode:
            print("mutate: " + done.stdout.decode(errors="replace").strip(), file=sys.stderr)
            sys.exit(2)
        self.functions_paths = set(self.sources + self.headers)
        self.cost, reached = {}, {}
        for text in read(f"{self.work}/blocks").splitlines():
            fields = text.split()
            test = int(fields[0])
            self.cost[test] = int(fields[1])
            for address in fields[2:]:
                reached.setdefault(int(address, 16), set()).add(test)
        self.note_lines(self.lines_of_blocks(), reached)

    def note_lines(self, rows, reached):
        """A block lasts from the call that notes it to the next such call; a row of the table may hold several."""
        self.reach = {}
        calls = self.calls()
        begins = [begin for begin, _ in calls]
        for (address, path, line), after in zip(rows, rows[1:] + [(rows[-1][0] + 1, "", 0)]):
            tests = self.reach.setdefault((path, line), set())
            first = max(bisect.bisect_right(begins, address) - 1, 0)
            for _, inside in calls[first:bisect.bisect_left(begins, max(after[0], address + 1))]:
                tests |= reached.get(inside, set())

    def calls(self):
        """[(address of the call, address it returns to)] of the calls that note a block."""
        out = run(["objdump", "-d", "--no-show-raw-insn", f"{self.work}/traced"]).stdout.decode(errors="replace")
        found = re.findall(r"^\s*([0-9a-f]+):\s+call\s+[0-9a-f]+ <__sanitizer_cov_trace_pc>\n"
                           r"(?:\n[^\n]*:\n)?\s*([0-9a-f]+):", out, re.M)
        return [(int(a, 16), int(b, 16)) for a, b in found]

    def tests_at(self, mutant):
        """Those that reach its line; of a line without code, those that reach the nearest before it."""
        for line in range(mutant.line, mutant.function.line - 1, -1):
            if (mutant.path, line) in self.reach:
                return self.reach[(mutant.path, line)]
        return set()
