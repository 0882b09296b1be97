#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A model of many VPs on many cores: which resource is used up first?

    scaling.py [--bench PROGRAM] [--vps N] [--cores N] [--exit NS] [--kick NS] [--line NS]
               [--json] [--svg FILE]

The library's share of each exit is measured here by PROGRAM (tests/bench); what hardware and a VMM cost is
said on the command line. First arithmetic: the rates of a busy guest times the time that each event
occupies each resource, and the factor by which the load may grow until that resource is busy all the time.
Then a simulation of some milliseconds, event by event, which also has the waiting: VPs share cores in turn,
and a cache line that many write goes to one writer at a time.

Resources: the cores; the lines that VPs write together - the words of those whose TLB waits for a flush of
everything, the words of those that spin, the last time given by a host's clock - and the partition's lock.
"""
import argparse
import heapq
import json
import random
import subprocess
import sys

import svg

# Events of one VP in a second: a busy server. `all` flushes go to every VP, `some` to 64.
RATES = {"interrupt": 2000, "ipi": 1000, "timer": 250, "spin": 100, "flush-some": 50, "flush-all": 0.5,
         "time": 0, "overlay": 0.01}
SOME = 64
LINES = {"waiting flushes": "atomic words of the flush of everything",
         "spinning": "words of the VPs that spin", "host clock": "the last time given"}
SIMULATED = 0.004  # seconds


def measure(bench, *cases):
    """ns of an operation, the best quarter of it: others may run on this machine."""
    ns = {}
    for case in cases:
        run = subprocess.run([bench, "--time", case], capture_output=True, text=True, check=True)
        name, _median, low, _high = run.stdout.split()
        ns[name] = float(low)
    return ns


def library_costs(bench):
    """What an event costs in the library, in ns, on the VP that makes it."""
    ns = measure(bench, "wrmsr-icr", "lazy-eoi-pair", "fast-ipi-to-1", "timer-cycle",
                 "notify-long-spin-wait", "flush-64", "flush-4096-queued", "flush-all-of-4096",
                 "rdmsr-time-ref-count-host", "vp-poll-idle", "flush-list-queued-and-taken",
                 "wrmsr-reference-tsc")
    return {"interrupt": ns["lazy-eoi-pair"], "ipi": ns["fast-ipi-to-1"], "timer": ns["timer-cycle"],
            "spin": ns["notify-long-spin-wait"], "flush-some": ns["flush-64"],
            "flush-all": ns["flush-all-of-4096"], "queue-all": ns["flush-4096-queued"],
            "time": ns["rdmsr-time-ref-count-host"], "poll": ns["vp-poll-idle"],
            "take": ns["flush-list-queued-and-taken"], "overlay": ns["wrmsr-reference-tsc"]}


class Model:
    def __init__(self, args, library):
        self.vps, self.cores = args.vps, args.cores
        self.exit, self.kick, self.line = args.exit, args.kick, args.line
        self.inside = library

    def exits(self, kind):
        """Exits that the event makes on its own VP. An interrupt with lazy EOI makes none."""
        return 0 if kind == "interrupt" else 1

    def own(self, kind):
        """ns on the core of the VP that makes it."""
        return self.exits(kind) * self.exit + self.inside[kind]

    def target(self, kind):
        """(how many other VPs it occupies, ns on the core of each)"""
        if kind == "ipi":
            return min(1, self.vps - 1), self.kick
        if kind == "flush-some":
            return min(SOME, self.vps) - 1, self.kick + self.inside["take"]
        if kind == "flush-all":
            return self.vps - 1, self.kick + self.inside["take"]
        return 0, 0

    def lines(self, kind):
        """name -> ns for which the event holds a line that all write."""
        if kind == "flush-all":
            # 64 bytes hold 512 VPs' bits in 16 words; the line is taken over once, then written.
            return {"waiting flushes": self.line + 16 * 5}
        if kind == "flush-some":
            return {"waiting flushes": (self.line + 2 * 5) * min(1, 512 / self.vps)}
        if kind == "spin":
            return {"spinning": 2 * self.line * min(1, 512 / self.vps)}
        if kind == "time":
            return {"host clock": self.line}
        return {}

    # ---- Arithmetic ----

    def use(self, rates):
        """resource -> share of a second for which it is busy."""
        use = {"cores: exits": 0, "cores: the library": 0, "cores: interrupted by others": 0,
               "partition lock": rates["overlay"] * self.vps * self.inside["overlay"] * 1e-9}
        use.update({name: 0 for name in LINES})
        each = self.vps / self.cores * 1e-9  # VPs on a core, ns to s
        for kind, rate in rates.items():
            targets, ns = self.target(kind)
            use["cores: exits"] += rate * each * self.exits(kind) * self.exit
            use["cores: the library"] += rate * each * self.inside[kind]
            use["cores: interrupted by others"] += rate * each * targets * ns
            for name, held in self.lines(kind).items():
                use[name] += rate * self.vps * held * 1e-9
        return use

    # ---- Simulation ----

    def simulate(self, rates, seed=1):
        """(share of core time in use, mean and worst wait for a core and for a line in ns)"""
        rng = random.Random(seed)
        events = []  # (time, kind, core): it happens, or (core not -1) its core gets round to it
        for kind, rate in rates.items():
            if rate * self.vps * SIMULATED >= 1:
                heapq.heappush(events, (rng.expovariate(rate * self.vps), kind, -1))
        core_free = [0.0] * self.cores
        line_free = {name: 0.0 for name in LINES}
        busy, waits, line_waits, done = 0.0, [0.0, 0.0], [0.0, 0.0], 0
        while events and events[0][0] < SIMULATED:
            now, kind, core = heapq.heappop(events)
            if core < 0:
                heapq.heappush(events, (now + rng.expovariate(rates[kind] * self.vps), kind, -1))
                core = rng.randrange(self.vps) % self.cores
                start = max(now, core_free[core])
                core_free[core] = start + self.own(kind) * 1e-9
                waits = [waits[0] + start - now, max(waits[1], start - now)]
                busy += self.own(kind)
                done += 1
                heapq.heappush(events, (start, kind, core))
                continue
            for name, held in self.lines(kind).items():
                wait = max(0.0, line_free[name] - now)
                line_free[name] = now + wait + held * 1e-9
                core_free[core] += wait
                line_waits = [line_waits[0] + wait, max(line_waits[1], wait)]
                busy += wait * 1e9
            targets, ns = self.target(kind)
            for target in rng.sample(range(self.vps), targets) if targets < self.vps - 1 \
                    else range(targets):
                core = target % self.cores
                core_free[core] = max(now, core_free[core]) + ns * 1e-9
            busy += targets * ns
        return {"events": done, "cores": busy * 1e-9 / SIMULATED / self.cores,
                "wait for a core, mean us": waits[0] / max(done, 1) * 1e6,
                "wait for a core, worst us": waits[1] * 1e6,
                "wait for a line, mean ns": line_waits[0] / max(done, 1) * 1e9,
                "wait for a line, worst ns": line_waits[1] * 1e9}


def group(use):
    """The cores are one resource."""
    rest = {name: share for name, share in use.items() if not name.startswith("cores")}
    return {"cores": sum(s for n, s in use.items() if n.startswith("cores")), **rest}


def table(args, library, rates):
    rows = []
    for vps in sorted({1, 16, 64, 256, 1024, 4096, args.vps}):
        at = argparse.Namespace(**{**vars(args), "vps": vps, "cores": min(args.cores, vps)})
        rows.append((vps, Model(at, library).use(rates)))
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bench", default="build-dev/tests/bench", help="measures the library's share")
    parser.add_argument("--vps", type=int, default=4096)
    parser.add_argument("--cores", type=int, default=256)
    parser.add_argument("--exit", type=float, default=1500, help="ns of an exit and the way back")
    parser.add_argument("--kick", type=float, default=2000, help="ns that a VP loses to another's IPI")
    parser.add_argument("--line", type=float, default=100, help="ns to take a cache line over")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--svg", metavar="FILE", help="draw the use of each resource over the VPs")
    args = parser.parse_args()
    library = library_costs(args.bench)
    model = Model(args, library)
    use = model.use(RATES)
    shares = group(use)
    first = max(shares, key=shares.get)
    no_tsc = group(model.use(dict(RATES, time=10000)))
    simulated = model.simulate(RATES)
    rows = table(args, library, RATES)
    if args.json:
        print(json.dumps({"library_ns": library, "rates": RATES, "use": use, "first": first,
                          "without_tsc": no_tsc, "simulated": simulated,
                          "over_vps": {vps: row for vps, row in rows}}, indent=1))
    else:
        print(f"{args.vps} VPs on {args.cores} cores; an exit takes {args.exit:g} ns beside the library, an"
              f" IPI's target loses {args.kick:g} ns, a cache line takes {args.line:g} ns\n")
        print(f"{'event':14}{'a second and VP':>17}{'exits':>7}{'library ns':>12}{'others disturbed':>18}")
        for kind, rate in RATES.items():
            print(f"{kind:14}{rate:17g}{model.exits(kind):7}{library[kind]:12.1f}"
                  f"{model.target(kind)[0]:18}")
        print(f"\n{'resource':32}{'in use':>10}{'load may grow':>15}")
        for name, share in use.items():
            print(f"{name:32}{share:10.2%}" + (f"{1 / share:14.0f}x" if share else f"{'without end':>15}"))
        print(f"{'cores together':32}{shares['cores']:10.2%}{1 / shares['cores']:14.1f}x")
        print("\nsimulated:", ", ".join(f"{what} {value:.3g}" for what, value in simulated.items()))
        print(f"\nThe first to be used up: {first}, when the load is {1 / shares[first]:.1f} times as high.")
        more = {rate: group(model.use(dict(RATES, **{'flush-all': rate})))["cores"]
                for rate in (0, 0.5, 1, 2, 5, 10)}
        print("cores in use by flushes of all VPs a second from each VP: "
              + ", ".join(f"{rate:g}: {share:.0%}" for rate, share in more.items()))
        print(f"without a TSC that serves, at 10000 time reads a second from each VP: host clock's line "
              f"{no_tsc['host clock']:.0%}, cores {no_tsc['cores']:.0%}")
    if args.svg:
        names = list(use)
        svg.curves(args.svg, f"What VPs use up on {args.cores} cores", "VPs",
                   "share of the resource in use; 1 is all of it",
                   [(name, [(vps, row[name]) for vps, row in rows if row[name] > 1e-7]) for name in names
                    if any(row[name] > 1e-7 for _, row in rows)])
        print(f"\nplot: {args.svg}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
