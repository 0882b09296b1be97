# SPDX-License-Identifier: MIT
"""mutate.py [--sample N] [--seed S] [--jobs 2] [--json] [--again] [--thorough] [--chosen] [--work DIR] [FILE...]

Change src/ in one small way at a time and see whether a unit test notices: a comparison, an operator, a
constant, a condition that is always or never true, one side of an && or || or a statement left out, and
what tests/mutation/chosen lists by hand. A mutant that no test notices is a missing test, or it means the
same; tests/mutation/equivalent lists those, with the reason.

All unit tests and all mutants are one program. Which tests reach a line is measured once; only they run,
those first that have told most mutants of the same function, each with a limit on its processor time. A
mutant that does not compile is not counted. Results are kept in DIR (build-mutate): a run that was
interrupted goes on where it was, and only what has changed is tried again. --again tries survivors
again but for those. Not asked but with --thorough: the dozen tests that take more than a tenth of a
second, for what only a random walk notices wants a test with a name; and where more than 250 tests of
other subjects reach a line, all but 250 of them.

FILE is a name such as src/tlb.c; without one, all of src/. --sample takes N of each file's mutants, by a
seed that is printed; --chosen takes the chosen ones alone. Exit status: 0, 1 if the score is below --min,
2 wrong usage or a broken build.
"""
import argparse
import collections
import json
import os
import queue
import random
import subprocess
import sys
import threading
import time

import mutants
import program

SLOWEST = 100000  # microseconds
FOR_EVER = 3600 * 1000000
MOST = 250  # tests for a mutant
ABOUT = {"clock": ("time",), "connection_calls": ("message_buffers",), "deadline": ("stimer",),
         "host": ("partition",), "messages": ("message_buffers",), "tlb": ("flush",),
         "tscpage": ("tsc_page", "time"), "vapic": ("lazy_eoi",)}  # tests of a file beside those of its name
HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))


# ---- Judging ----

class Judge:
    """Servers that run mutants, and what is known of which test notices what."""

    def __init__(self, bench, results, log, most):
        self.bench, self.results, self.log, self.most = bench, results, log, most
        self.kills = collections.defaultdict(collections.Counter)
        self.lock = threading.Lock()

    def order(self, mutant):
        """The mutant's tests: what has noticed most in this function, what is about its file, the quickest."""
        kills, stem = self.kills[(mutant.path, mutant.function.name)], os.path.basename(mutant.path)[:-2]
        tests = sorted(self.bench.tests_at(mutant), key=self.bench.cost.get)
        about = (stem, "device_details", *ABOUT.get(stem, ()))
        near = [t for t in tests if kills[t] or self.bench.names[t].startswith(about)]
        near.sort(key=lambda t: (-kills[t], self.bench.cost[t]))
        return near + self.others(tests, set(near))

    def others(self, tests, near):
        """The others, one of each program in turn, so that a few of them have seen much."""
        turns = collections.Counter()
        ranked = []
        for test in tests:
            group = self.bench.names[test].split(":")[0]
            if test not in near:
                ranked.append((turns[group], self.bench.cost[test], test))
                turns[group] += 1
        return [test for _, _, test in sorted(ranked)[:self.most]]

    def ask(self, server, mutant):
        tests = self.order(mutant)
        if not tests:
            return "survived", None
        server.stdin.write(f"{mutant.number} " + " ".join(f"{t}:{self.bench.cost[t]}" for t in tests) + "\n")
        server.stdin.flush()
        _, outcome, test = server.stdout.readline().split()
        return outcome, None if outcome == "survived" else int(test)

    def note(self, mutant, outcome, test):
        if test is not None:
            self.kills[(mutant.path, mutant.function.name)][test] += 1
        entry = {"key": mutant.key, "file": mutant.path, "line": mutant.line, "function": mutant.function.name,
                 "before": mutant.before, "after": mutant.after, "outcome": outcome,
                 "test": None if test is None else self.bench.names[test]}
        self.results[mutant.key] = entry
        self.log.write(json.dumps(entry) + "\n")
        self.log.flush()

    def work(self, todo):
        environment = dict(os.environ, HVTLFS_SOURCE_DIR=ROOT)
        with subprocess.Popen([f"{self.bench.work}/mutants", "serve"], stdin=subprocess.PIPE, env=environment,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
            while True:
                try:
                    mutant = todo.get_nowait()
                except queue.Empty:
                    break
                outcome, test = self.ask(server, mutant)
                with self.lock:
                    self.note(mutant, outcome, test)
            server.stdin.close()

    def all(self, wanted, jobs):
        """Judge them; those that few tests reach first."""
        todo, start = queue.Queue(), time.time()
        for mutant in sorted(wanted, key=lambda m: len(self.bench.tests_at(m)) // 100):
            todo.put(mutant)
        threads = [threading.Thread(target=self.work, args=(todo,)) for _ in range(jobs)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            threads[0].join(20)
            print(f"mutate: {len(wanted) - todo.qsize()} of {len(wanted)}, {time.time() - start:.0f} s",
                  file=sys.stderr)
            for thread in threads[1:]:
                thread.join(0)
            if not threads[0].is_alive():
                for thread in threads:
                    thread.join()


# ---- Results ----

def load_results(path):
    results = {}
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            for line in file:
                entry = json.loads(line)
                results[entry["key"]] = entry
    return results


def place_of(mutant):
    """What tests/mutation/equivalent names a mutant by."""
    return mutant.path, mutant.function.name, mutant.before, mutant.after


def summary(wanted, results, equivalent):
    """Each file's numbers, the survivors, and which of the equivalents were found to survive."""
    files, survivors, used = {}, [], set()
    for mutant in wanted:
        entry = results[mutant.key]
        place = place_of(mutant)
        row = files.setdefault(mutant.path, {"killed": 0, "survived": 0, "equivalent": 0})
        if entry["outcome"] != "survived":
            row["killed"] += 1
        elif place in equivalent:
            row["equivalent"] += 1
            used.add(place)
        else:
            row["survived"] += 1
            survivors.append(dict(entry, line=mutant.line, chosen=mutant.chosen))
    return files, survivors, used


def score(row):
    whole = row["killed"] + row["survived"]
    return 100.0 * row["killed"] / whole if whole else 100.0


def show(files, total, survivors, unused):
    for entry in survivors:
        print(f"{entry['file']} {entry['function']}  (line {entry['line']})\n-   {entry['before']}\n"
              f"+   {entry['after']}")
        if entry["chosen"]:
            print(f"    chosen: {entry['chosen']}")
    for place in unused:
        print("mutate: no longer in question, take it out of tests/mutation/equivalent: " + " | ".join(place))
    for path, row in files.items():
        print(f"{path:24} {row['killed']:5} killed {row['survived']:4} survived "
              f"{row['equivalent']:4} equivalent  {score(row):6.2f} %")
    print(f"score {score(total):.2f} %: {total['killed']} killed, {total['survived']} survived, "
          f"{total['equivalent']} equivalent")


def arguments():
    parser = argparse.ArgumentParser(description="Mutation testing of src/.")
    parser.add_argument("files", nargs="*", metavar="FILE")
    parser.add_argument("--sample", type=int, default=0, metavar="N")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--min", type=float, default=90.0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--thorough", action="store_true")
    parser.add_argument("--chosen", action="store_true")
    parser.add_argument("--work", default="build-mutate")
    options = parser.parse_args()
    for path in options.files:
        if not os.path.exists(path):
            parser.error(f"no file {path}; give names such as src/tlb.c")
    return options


def wanted_of(bench, options):
    wanted = [m for m in bench.mutants if m.number not in bench.stillborn and
              (not options.files or m.path in options.files) and (m.chosen or not options.chosen)]
    if not options.sample:
        return wanted
    files = collections.defaultdict(list)
    for mutant in wanted:
        files[mutant.path].append(mutant)
    return [m for path, found in files.items()
            for m in random.Random(f"{options.seed} {path}").sample(found, min(options.sample, len(found)))]


def main():
    os.chdir(ROOT)
    options = arguments()
    bench = program.Program(os.path.abspath(options.work), options.jobs,
                            FOR_EVER if options.thorough else SLOWEST)
    bench.build(mutants.read_pairs(os.path.join(HERE, "chosen")))
    wanted = wanted_of(bench, options)
    path = os.path.join(options.work, "results.jsonl")
    results = load_results(path)
    equivalent = {(e["file"], e["function"], e["before"], e["after"])
                  for e in mutants.read_pairs(os.path.join(HERE, "equivalent"))}
    todo = [m for m in wanted if m.key not in results or
            (options.again and results[m.key]["outcome"] == "survived" and place_of(m) not in equivalent)]
    print(f"mutate: {len(wanted)} mutants, {len(todo)} to try, {len(bench.names)} tests, seed {options.seed}",
          file=sys.stderr)
    with open(path, "a", encoding="utf-8") as log:
        Judge(bench, results, log, None if options.thorough else MOST).all(todo, options.jobs)
    files, survivors, used = summary(wanted, results, equivalent)
    total = {name: sum(row[name] for row in files.values()) for name in ("killed", "survived", "equivalent")}
    if options.json:
        print(json.dumps({"files": files, "total": total, "score": score(total), "survivors": survivors},
                         indent=1))
    else:
        whole = not (options.files or options.sample or options.chosen)
        show(files, total, survivors, sorted(set(equivalent) - used) if whole else [])
    return 0 if score(total) >= options.min else 1


if __name__ == "__main__":
    sys.exit(main())
