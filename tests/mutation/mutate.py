# SPDX-License-Identifier: MIT
"""mutate.py [--sample N] [--seed S] [--jobs 2] [--json] [--again] [--work DIR] [FILE...]

Change src/ in one small way at a time and see whether a unit test notices: a comparison, a logical or
bit operator, a constant, a negation, a statement left out. A mutant that no test notices is a missing
test, or it means the same; tests/mutation/equivalent lists those, with the reason.

All unit tests are linked into one program, so a mutant costs one compilation and one link. Which tests
reach a line is measured once with gcov; only they run, the quickest first, each with a time limit. A
mutant that does not compile is not counted. Results are kept in DIR (build-mutate): a run that was
interrupted goes on where it was, and only what has changed is tried again. --again forgets survivors.

FILE is a name such as src/tlb.c; without one, all of the core. --sample takes N of each file's mutants,
by a seed that is printed. Exit status: 0, 1 if the score is below --min, 2 wrong usage or a broken build.
"""
import argparse
import concurrent.futures
import glob
import hashlib
import json
import os
import random
import re
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
CORE = ["msr", "hypercall", "reftime", "tscpage", "vapic", "synic", "stimer", "tlb", "ipi", "overlay",
        "state", "clock", "messages", "connection", "deadline", "vpset", "unhalted", "reenlighten"]
SWAPS = {"==": ["!="], "!=": ["=="], "<": ["<=", ">="], "<=": ["<", ">"], ">": [">=", "<="],
         ">=": [">", "<"], "&&": ["||"], "||": ["&&"], "+": ["-"], "-": ["+"], "*": ["+"], "/": ["*"],
         "%": ["/"], "&": ["|"], "|": ["&"], "^": ["|"], "<<": [">>"], ">>": ["<<"], "+=": ["-="],
         "-=": ["+="], "|=": ["&="], "&=": ["|="], "++": ["--"], "--": ["++"], "true": ["false"],
         "false": ["true"], "0": ["1"], "1": ["0", "2"], "!": [""], "~": [""]}
TOKEN = re.compile(r"[A-Za-z_]\w*|0[xX][0-9A-Fa-f]+|\d+|<<=|>>=|->|\+\+|--|<<|>>|[-+*/%&|^=!<>]=|&&|\|\||\S")
UNARY_BEFORE = set("(,=?:{;[!~&|+-*/%<>") | {"return", "&&", "||", "==", "!=", "<=", ">=", "<<", ">>", "case",
                                             "+=", "-=", "|=", "&="}


def run(command, **more):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, **more)


def must(command):
    done = run(command)
    if done.returncode:
        sys.stdout.write(done.stdout.decode(errors="replace"))
        print("mutate: failed: " + " ".join(command), file=sys.stderr)
        sys.exit(2)


# ---- Mutants ----

def blank(text):
    """Comments, strings, character constants and preprocessor lines become spaces."""
    pattern = re.compile(r"/\*[\s\S]*?\*/|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'|^[ \t]*#(?:\\\n|[^\n])*",
                         re.M)
    return pattern.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)


def bodies(text):
    """Where the functions' bodies are: (from, to) between braces that begin and end in column 1."""
    return [(m.start(), m.end()) for m in re.finditer(r"^\{[\s\S]*?^\}", text, re.M)]


def in_body(spans, at):
    return any(begin <= at < end for begin, end in spans)


def mutants_of(path):
    """[(offset, length, replacement)] of a file, without those that are no change of behaviour by form."""
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        text = file.read()
    plain = blank(text)
    spans = bodies(plain)
    found = []
    before = ""
    for match in TOKEN.finditer(plain):
        token, at = match.group(), match.start()
        unary = token in ("*", "&", "-", "+") and (before in UNARY_BEFORE or before == "")
        pointer = token == "*" and re.match(r"\*\s*(\w+\s*[;,=)\[]|const\b|\()", plain[at:at + 40]) and \
            re.search(r"(struct \w+|enum \w+|void|char|\w+_t|\bbool|\))\s*$", plain[max(0, at - 40):at])
        if token in SWAPS and in_body(spans, at) and not unary and not pointer:
            for other in SWAPS[token]:
                found.append((at, len(token), other))
        before = token
    for match in re.finditer(r"^ +((?:\(void\))?[a-z_]\w*\([^;{}]*\)|[a-z_][^;{}=\n]*[^=!<>]=[^=;{}][^;{}]*);$",
                             plain, re.M):
        declared = re.match(r"(const|struct|enum|uint\w+|int|bool|size_t|static|char|void|return)\b",
                            match.group(1))
        if in_body(spans, match.start()) and not declared:
            found.append((match.start(1), len(match.group(1)), "(void)0"))
    return text, found


def line_at(text, at):
    return text.count("\n", 0, at) + 1


class Mutant:
    def __init__(self, path, text, at, length, other):
        self.path, self.text, self.at, self.length, self.other = path, text, at, length, other
        self.line = line_at(text, at)
        start = text.rfind("\n", 0, at) + 1
        end = text.find("\n", at)
        self.source = text[start:end].strip()
        last = text.find("\n", at + length)
        self.changed = " ".join((text[start:at] + other + text[at + length:last]).split())
        self.key = hashlib.sha256("\0".join([path, text, str(at), str(length), other]).encode()).hexdigest()[:20]

    def source_text(self):
        return self.text[:self.at] + self.other + self.text[self.at + self.length:]


# ---- The program ----

class Bench:
    """The unit tests in one program, and which of them reach a line."""

    def __init__(self, work):
        self.work = work
        self.flags = ["-std=c11", "-w", "-O0", "-D_POSIX_C_SOURCE=200809L", "-Iinclude", "-Isrc", "-Itools",
                      "-Itests", "-Itests/foreign", f"-I{work}/include"]
        self.tests = sorted(os.path.basename(p)[5:-2] for p in glob.glob("tests/test_*.c")
                            if not p.endswith(("_threads.c", "test_kvm.c", "test_bounds.c")))
        self.sources = sorted(glob.glob("src/*.c"))

    def compile(self, source, target, *more):
        return run(["gcc", *self.flags, *more, "-c", source, "-o", target])

    def build(self):
        os.makedirs(f"{self.work}/o", exist_ok=True)
        os.makedirs(f"{self.work}/cov", exist_ok=True)
        os.makedirs(f"{self.work}/include/hvtlfs", exist_ok=True)
        must(["cmake", "-DIN=include/hvtlfs/version.h.in", f"-DOUT={self.work}/include/hvtlfs/version.h",
              "-P", os.path.join(HERE, "version.cmake")])
        with open(f"{self.work}/main.c", "w", encoding="utf-8") as file:
            file.write("#include <string.h>\n")
            file.writelines(f"int main_{name}(void);\n" for name in self.tests)
            file.write("int main(int argc, char **argv)\n{\n")
            file.writelines(f'    if (argc > 1 && !strcmp(argv[1], "{name}"))\n        return main_{name}();\n'
                            for name in self.tests)
            file.write("    return 99;\n}\n")
        jobs = [(f"{self.work}/main.c", "main", [])]
        jobs += [(f"tests/test_{n}.c", f"test_{n}", [f"-Dmain=main_{n}"]) for n in self.tests]
        jobs += [(p, os.path.basename(p)[:-2], []) for p in glob.glob("tools/model_*.c")]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            done = list(pool.map(lambda j: self.compile(j[0], f"{self.work}/o/{j[1]}.o", *j[2]), jobs))
            done += list(pool.map(lambda p: self.compile(p, f"{self.work}/o/{self.name(p)}"), self.sources))
            done += list(pool.map(lambda p: self.compile(p, f"{self.work}/cov/{self.name(p)}", "--coverage"),
                                  self.sources))
        for result in done:
            if result.returncode:
                sys.stdout.write(result.stdout.decode(errors="replace"))
                sys.exit(2)
        self.others = [f"{self.work}/o/{j[1]}.o" for j in jobs]
        must(["ld", "-r", "-o", f"{self.work}/tests.o", *self.others])
        must(["gcc", "--coverage", "-o", f"{self.work}/covered", f"{self.work}/tests.o", "-pthread",
              *[f"{self.work}/cov/{self.name(p)}" for p in self.sources]])

    @staticmethod
    def name(path):
        return "src_" + os.path.basename(path)[:-2] + ".o"

    def measure(self):
        """{(file, line): [test]}, and each test's time."""
        environment = dict(os.environ, HVTLFS_SOURCE_DIR=ROOT)
        self.reach, self.seconds = {}, {}
        for test in self.tests:
            for old in glob.glob(f"{self.work}/cov/*.gcda"):
                os.remove(old)
            start = time.time()
            done = run([f"{self.work}/covered", test], env=environment)
            self.seconds[test] = time.time() - start
            if done.returncode:
                print(f"mutate: test_{test} fails without any change", file=sys.stderr)
                sys.exit(2)
            counts = run(["gcov", "-t", "-j", *glob.glob(f"{self.work}/cov/*.gcda")])
            for text in counts.stdout.decode().splitlines():
                if text.startswith("{"):
                    for file in json.loads(text)["files"]:
                        for line in file["lines"]:
                            if line["count"]:
                                self.reach.setdefault((file["file"], line["line_number"]), set()).add(test)

    def tests_at(self, mutant):
        """Those that reach the line; of a statement over several lines, those that reach the nearest."""
        for line in range(mutant.line, mutant.line - 6, -1):
            if (mutant.path, line) in self.reach:
                return sorted(self.reach[(mutant.path, line)], key=self.seconds.get)
        return sorted(self.tests, key=self.seconds.get)

    def judge(self, mutant):
        base = f"{self.work}/m{mutant.key}"
        with open(base + ".c", "w", encoding="utf-8") as file:
            file.write(f'#line 1 "{mutant.path}"\n' + mutant.source_text())
        try:
            if self.compile(base + ".c", base + ".o", "-Wno-error").returncode:
                return "stillborn", None
            objects = [f"{self.work}/o/{self.name(p)}" for p in self.sources if p != mutant.path]
            if run(["gcc", "-o", base, base + ".o", f"{self.work}/tests.o", *objects,
                    "-pthread"]).returncode:
                return "stillborn", None
            return self.try_tests(mutant, base)
        finally:
            for end in (".c", ".o", ""):
                if os.path.exists(base + end):
                    os.remove(base + end)

    def try_tests(self, mutant, program):
        environment = dict(os.environ, HVTLFS_SOURCE_DIR=ROOT)
        for test in self.tests_at(mutant):
            try:
                done = run([program, test], env=environment, timeout=5 + 20 * self.seconds[test])
            except subprocess.TimeoutExpired:
                return "timeout", test
            if done.returncode:
                return "killed", test
        return "survived", None


# ---- Results ----

def read_equivalent(path):
    """{(file, changed line): reason}"""
    entries, key = {}, None
    with open(path, encoding="utf-8") as file:
        for line in file:
            line = line.rstrip()
            if not line or line.startswith("#"):
                continue
            if line[0].isspace():
                entries[key] = (entries[key] + " " + line.strip()).strip()
            else:
                name, _, text = line.partition(": ")
                key = (name, " ".join(text.split()))
                entries[key] = ""
    return entries


def load_results(path):
    results = {}
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            for line in file:
                entry = json.loads(line)
                results[entry["key"]] = entry
    return results


def judge_all(bench, wanted, results, path, jobs, again):
    todo = [m for m in wanted if m.key not in results or (again and results[m.key]["outcome"] == "survived")]
    start = time.time()
    with open(path, "a", encoding="utf-8") as log, concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(bench.judge, m): m for m in todo}
        for count, future in enumerate(concurrent.futures.as_completed(futures), 1):
            mutant = futures[future]
            outcome, test = future.result()
            entry = {"key": mutant.key, "file": mutant.path, "line": mutant.line, "source": mutant.source,
                     "changed": mutant.changed, "outcome": outcome, "test": test}
            results[mutant.key] = entry
            log.write(json.dumps(entry) + "\n")
            log.flush()
            if count % 20 == 0 or count == len(todo):
                print(f"mutate: {count} of {len(todo)}, {time.time() - start:.0f} s", file=sys.stderr)


def summary(wanted, results, equivalent):
    files, survivors = {}, []
    for mutant in wanted:
        entry = results[mutant.key]
        if entry["outcome"] == "stillborn":
            continue
        reason = equivalent.get((mutant.path, entry["changed"]))
        row = files.setdefault(mutant.path, {"killed": 0, "survived": 0, "equivalent": 0})
        if entry["outcome"] in ("killed", "timeout"):
            row["killed"] += 1
        elif reason:
            row["equivalent"] += 1
        else:
            row["survived"] += 1
            survivors.append(entry)
    return files, survivors


def score(row):
    whole = row["killed"] + row["survived"]
    return 100.0 * row["killed"] / whole if whole else 100.0


def main():
    parser = argparse.ArgumentParser(description="Mutation testing of src/.")
    parser.add_argument("files", nargs="*", metavar="FILE")
    parser.add_argument("--sample", type=int, default=0, metavar="N")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--min", type=float, default=90.0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--work", default="build-mutate")
    options = parser.parse_args()
    os.chdir(ROOT)
    paths = options.files or [f"src/{name}.c" for name in CORE]
    for path in paths:
        if not os.path.exists(path):
            parser.error(f"no file {path}; give names such as src/tlb.c")
    bench = Bench(os.path.abspath(options.work))
    bench.build()
    bench.measure()
    wanted = []
    for path in paths:
        text, found = mutants_of(path)
        if options.sample and len(found) > options.sample:
            found = random.Random(f"{options.seed} {path}").sample(found, options.sample)
        wanted += [Mutant(path, text, *change) for change in found]
    log = os.path.join(options.work, "results.jsonl")
    results = load_results(log)
    print(f"mutate: {len(wanted)} mutants, seed {options.seed}", file=sys.stderr)
    judge_all(bench, wanted, results, log, options.jobs, options.again)
    files, survivors = summary(wanted, results, read_equivalent(os.path.join(HERE, "equivalent")))
    total = {name: sum(row[name] for row in files.values()) for name in ("killed", "survived", "equivalent")}
    if options.json:
        print(json.dumps({"files": files, "total": total, "score": score(total), "survivors": survivors},
                         indent=1))
    else:
        for entry in sorted(survivors, key=lambda e: (e["file"], e["line"])):
            print(f"{entry['file']}:{entry['line']}: {entry['source']}\n    survives as: {entry['changed']}")
        for path, row in files.items():
            print(f"{path:24} {row['killed']:5} killed {row['survived']:4} survived "
                  f"{row['equivalent']:4} equivalent  {score(row):6.2f} %")
        print(f"score {score(total):.2f} %: {total['killed']} killed, {total['survived']} survived, "
              f"{total['equivalent']} equivalent")
    return 0 if score(total) >= options.min else 1


if __name__ == "__main__":
    sys.exit(main())
