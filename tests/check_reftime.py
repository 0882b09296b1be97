#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Reference time against Python's integers, which have no size.

usage: check_reftime.py [SEED [ROUNDS]]

1. `hvtlfs reftime`: scale, reference time, exact value and error, at edges and at random.
2. `hvtlfs replay`: random lives of a partition (time passes, freeze, thaw, migrate, a guest that writes
   its TSC) against a model of a few lines here, which knows the page's formula and nothing of the
   library.

The seed is printed; the same seed gives the same run.
"""

import json
import os
import random
import subprocess
import sys
import time

TOOL = os.environ.get("HVTLFS_TOOL", "build/bin/hvtlfs")
SEED = int(sys.argv[1]) if len(sys.argv) > 1 else time.time_ns() % 10**9
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 else 60
WORD = 2**64
UNITS = 10**7

EDGE_RATES = [1, 2, 999, 9999999, UNITS, UNITS + 1, UNITS + 2, 2 * UNITS - 1, 2 * UNITS, 10**9,
              2899886000, 4997961000, 10**10, 2**32 - 1, 2**32, 2**32 + 1, 2**62 + 1, 2**63 - 1,
              2**63, 2**63 + 1, WORD - 1]
EDGE_TSCS = [0, 1, 2, 2**32 - 1, 2**32, 2**63 - 1, 2**63, WORD - 2, WORD - 1]

failures = 0


def check(name, good, detail=""):
    global failures
    if not good:
        failures += 1
        print(f"FAIL {name} (seed {SEED})\n     {detail}")


def scale_of(rate):
    return UNITS * WORD // rate


def page_time(tsc, scale, offset):
    return (tsc * scale // WORD + offset) % WORD


def any_number(rng):
    return rng.getrandbits(rng.randint(1, 64))


# ---- 1. Values ----

def check_values(rate, offset, tscs):
    done = subprocess.run([TOOL, "reftime", "--json", "--tsc-hz", str(rate), "--offset",
                           str(offset), *map(str, tscs)], capture_output=True, timeout=60)
    answer = json.loads(done.stdout)
    valid = rate > UNITS
    check(f"status at {rate} Hz", done.returncode == (0 if valid else 1), done)
    check(f"validity at {rate} Hz", answer["valid"] == valid, answer)
    check(f"offset {offset}", int(answer["offset"], 0) == offset % WORD, answer)
    if valid:
        check(f"scale at {rate} Hz", int(answer["scale"], 0) == scale_of(rate), answer)
    for tsc, row in zip(tscs, answer["times"], strict=True):
        exact = (tsc * UNITS // rate + offset) % WORD
        good = int(row["tsc"], 0) == tsc and int(row["exact"], 0) == exact
        if valid:
            now = page_time(tsc, scale_of(rate), offset)
            good = good and int(row["reference_time"], 0) == now
            good = good and row["error"] == (exact - now) % WORD and row["error"] in (0, 1)
        check(f"tsc {tsc} at {rate} Hz, offset {offset}", good, row)


def check_all_values(rng):
    count = 0
    for rate in EDGE_RATES + [any_number(rng) + 1 for _ in range(ROUNDS)]:
        tscs = EDGE_TSCS + [any_number(rng) for _ in range(100)]
        offset = rng.choice([0, -1, 1, -2**63, 2**63 - 1, any_number(rng) - 2**63])
        check_values(min(rate, WORD - 1), offset, tscs)
        count += len(tscs)
    print(f"{count} values")


# ---- 2. Lives ----

class Model:
    """A partition's clock as the documentation describes it."""

    def __init__(self, rng):
        self.rng = rng
        self.rate = rng.randint(UNITS + 1, 10**10)
        self.tsc = any_number(rng)
        self.scale = scale_of(self.rate)
        self.offset = -(self.tsc * self.scale // WORD) % WORD
        self.frozen_at = None
        self.lines = [f"partition vps=2 ram=64K features=hv-time tsc-hz={self.rate} "
                      f"tsc={self.tsc} overlays={rng.choice(['host', 'copy'])}",
                      "wrmsr 0 REFERENCE_TSC 0x4001 => ok"]

    def now(self):
        return page_time(self.tsc, self.scale, self.offset)

    def start_from(self, reference_time):
        self.scale = scale_of(self.rate)
        self.offset = (reference_time - self.tsc * self.scale // WORD) % WORD

    def look(self):
        if self.frozen_at is not None:
            self.lines += [f"guesttime 0 => msr {self.frozen_at}", f"reftime => {self.frozen_at}",
                           "page-reason => frozen"]
            return
        vp = self.rng.randint(0, 1)
        self.lines += [f"guesttime {vp} => page {self.now()}", f"rdmsr {1 - vp} 0x40000020 => "
                       f"{self.now()}", "page-reason => valid"]

    def step(self):
        """Time passes: at most a day, and never so far that reference time wraps."""
        ticks = self.rng.randint(0, self.rng.choice([10, self.rate, self.rate * 86400]))
        if self.tsc + ticks < WORD:
            self.tsc += ticks
            self.lines.append(f"tsc +{ticks} => ok")

    def freeze(self):
        self.lines.append(f"freeze => {'ok' if self.frozen_at is None else 'order'}")
        if self.frozen_at is None:
            self.frozen_at = self.now()

    def thaw(self):
        if self.frozen_at is None:
            self.lines.append("thaw => order")
            return
        pause = self.rng.choice([0, 0, self.rng.randint(0, 10**9)])
        self.lines.append(f"thaw {pause} => ok")
        self.start_from(self.frozen_at + pause)
        self.frozen_at = None

    def migrate(self):
        stopped = self.now() if self.frozen_at is None else self.frozen_at
        self.rate = self.rng.choice([self.rng.randint(UNITS + 1, 10**10),
                                     any_number(self.rng) % 2**63 + UNITS + 1])
        new_tsc = self.rng.random() < 0.5
        if new_tsc:
            self.tsc = any_number(self.rng)
        self.lines.append(f"migrate tsc-hz={self.rate}{f' tsc={self.tsc}' if new_tsc else ''} => ok")
        if self.frozen_at is None:
            self.start_from(stopped)

    def write_tsc(self):
        """All VPs, one after the other: with the last, time is anchored anew."""
        if self.frozen_at is not None:
            return
        stopped = self.now()
        value = any_number(self.rng)
        if value == self.tsc:
            return
        self.lines += [f"wrtsc 1 {value} => ok", "page-reason => unsynced",
                       f"guesttime 0 => msr {stopped}", f"guesttime 1 => msr {stopped}",
                       f"wrtsc 0 {value} => ok"]
        self.tsc = value
        self.start_from(stopped)


def check_life(rng, name):
    model = Model(rng)
    for _ in range(60):
        rng.choice([model.step, model.step, model.step, model.freeze, model.thaw, model.thaw,
                    model.migrate, model.write_tsc])()
        model.look()
    script = "\n".join(model.lines) + "\n"
    done = subprocess.run([TOOL, "replay", "-"], input=script.encode(), capture_output=True,
                          timeout=60)
    output = (done.stdout + done.stderr).decode()
    # A failure names its line; the script up to it is what matters.
    head = script.splitlines()[:int(output.split(":")[1])] if output.startswith("-:") else []
    check(name, done.returncode == 0 and not output, "\n".join([output.strip(), *head[-12:]]))


def main():
    rng = random.Random(SEED)
    print(f"seed {SEED}, {ROUNDS} rounds")
    check_all_values(rng)
    for i in range(ROUNDS):
        check_life(rng, f"life {i}")
    print(f"{ROUNDS} lives of 60 events, {failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
