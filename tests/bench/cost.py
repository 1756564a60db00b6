#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What the agent's programs cost, live: rates of traffic with them, with empty programs or such as only remember each socket in
their place, and with nothing attached.

usage: cost.py --part live|growth|others ... (cost.sh calls it)

Slices of a fraction of a second, the states by turns in an order that chance decides; a slice is compared with those of its own round only,
so whatever else the machine does meets all of them alike. Printed are the medians of these ratios, with their quartiles
and the interval that holds the median with 95 % (bootstrap). The programs' own time is the kernel's word (BPF statistics), in
slices of its own, for that word costs time itself.

Owns: what is compared, and the targets. Exit status 1 if the agent did not count what was sent; a target that is missed is printed
as such, and no error: it depends on the machine and on who else uses it.
"""
import argparse
import json
import os
import random
import statistics
import sys
import time

import cost_others
from cost_bpf import AGENT, EMPTY, HOOKS, OFF, STORAGE, Programs
from cost_stand import Stand

STATES = (OFF, EMPTY, AGENT)
SLICE_MS = 150
NAMES = 100
REPEAT = 2000000
RESAMPLES = 1000
# Of "nothing attached"; the last two are ns above the floor, in all programs together.
TARGET = {"hello": 0.95, "tls": 0.99, "http": 0.98, "rr": 0.98, "bulk": 0.99}
TARGET_NS = {"tls": 3000, "http": 1500}
TARGET_REPEATED_NS, TARGET_LIVE = 20, 2.0
UNIT = {"hello": "connections/s", "tls": "connections/s", "http": "requests/s", "rr": "round trips/s", "bulk": "bytes/s"}
SIZES = (10, 1000, 100000)


def ratio_figures(over, under, chance):
    """Median of the ratios of pairs, quartiles, and the median's 95 % interval."""
    ratios = [a / b for a, b in zip(over, under)]
    medians = sorted(statistics.median(chance.choices(ratios, k=len(ratios))) for _ in range(RESAMPLES))
    quartiles = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return {"median": statistics.median(ratios), "quartiles": [quartiles[0], quartiles[2]],
            "interval": [medians[RESAMPLES * 25 // 1000], medians[RESAMPLES * 975 // 1000 - 1]],
            "total": sum(over) / sum(under), "pairs": len(ratios)}


def verdict(figures, target):
    low, high = figures["interval"]
    return "met" if low >= target else "not met" if high < target else "within noise"


class Bench:
    def __init__(self, stand, programs, pairs, seed):
        self.stand, self.programs, self.pairs = stand, programs, pairs
        self.chance = random.Random(seed)
        self.sent = {"connections": 0, "requests": 0}

    def slice(self, state, cgroup, workload, family, names=NAMES, ms=SLICE_MS, most=0):
        """Operations, the seconds they took, and all operations. What the agent has to know afterwards is noted."""
        self.programs.switch(state, cgroup)
        if state == AGENT:
            self.stand.scrape_as_due(ms / 1000)
        operations, ns, everything = self.stand.run(workload, family, ms, names, most)
        if state == AGENT:
            self.sent["connections"] += everything if workload in ("hello", "tls") else 1
            self.sent["requests"] += everything if workload == "http" else 0
        return operations, ns / 1e9, everything

    def compare(self, workload, families, pairs, cgroup, names=NAMES, states=STATES):
        """Rates by state, and the ratios."""
        rates = {state: [] for state in states}
        for i in range(pairs):
            for state in self.chance.sample(states, len(states)):
                operations, seconds, _ = self.slice(state, cgroup, workload, families[i % len(families)], names)
                rates[state].append(operations / seconds)
        return {"workload": workload, "families": families, "names": names, "unit": UNIT[workload],
                "rate": {state: statistics.median(r) for state, r in rates.items()},
                **{state: ratio_figures(rates[state], rates[OFF], self.chance) for state in states if state != OFF},
                "agent_to_empty": ratio_figures(rates[AGENT], rates[EMPTY], self.chance)}

    def own_time(self, workload, family, cgroup, names=NAMES, rounds=6):
        """By state: ns per run of each program, and of all of them per operation; from the kernel's statistics."""
        counted = {state: {h: [0, 0] for h, _ in HOOKS} for state in (EMPTY, AGENT)}
        operations = {EMPTY: 0, AGENT: 0}
        stats = self.programs.stats()
        for _ in range(rounds):
            for state in self.chance.sample((EMPTY, AGENT), 2):
                before = self.programs.counted(state)
                _, _, everything = self.slice(state, cgroup, workload, family, names)
                operations[state] += everything / (2**20 if workload == "bulk" else 1)
                for hook, (runs, ns) in self.programs.counted(state).items():
                    counted[state][hook][0] += runs - before[hook][0]
                    counted[state][hook][1] += ns - before[hook][1]
        os.close(stats)
        return {state: own_time_figures(counted[state], operations[state]) for state in counted}

    def problems(self):
        """What the agent counted is what was sent; connections that were closed just now may still be on their way."""
        for _ in range(50):
            known = self.stand.totals()
            if all(known[k] == n for k, n in self.sent.items()):
                return []
            time.sleep(0.1)
        return [f"{n} {k} were made while the agent's programs were attached, it knows of {known[k]}" for k, n in self.sent.items()
                if known[k] != n]


def own_time_figures(counted, operations):
    total = sum(ns for _, ns in counted.values())
    packets = [counted["egress"][i] + counted["ingress"][i] for i in (0, 1)]
    return {"operations": operations, "ns_per_operation": total / operations,
            "runs_per_operation": sum(runs for runs, _ in counted.values()) / operations,
            "ns_per_packet": packets[1] / packets[0] if packets[0] else 0,
            "ns_per_run": {h: ns / runs if runs else 0 for h, (runs, ns) in counted.items()}}


def repeated(programs):
    """ns per run on a decided flow in a repeated test run: above the empty program, by hook; best of five."""
    def best(hook, state):
        return min(programs.repeated(hook, state, REPEAT) for _ in range(5))
    return {hook: {state: best(hook, state) for state in (EMPTY, AGENT)} for hook in ("egress", "ingress")}


def print_ratios(title, rows, targets):
    print(f"\n{title}")
    print(f"{'':14}{'IP':>4}{'pairs':>6}{'off':>14}  {'empty / off':21}{'storage / off':21}{'agent / off':21}{'95 % interval':16}{'target':>7}")
    for r in rows:
        empty, agent, target = r["empty"], r["agent"], targets.get(r["workload"])
        said = f"{target:7.2f} {r['verdict']}" if target else ""
        print(f"{r['workload']:14}{'+'.join(map(str, r['families'])):>4}{agent['pairs']:6}{r['rate'][OFF]:14,.0f}  "
              f"{spread(empty):21}{spread(r[STORAGE]) if STORAGE in r else '':21}{spread(agent):21}{agent['interval'][0]:.3f} .. {agent['interval'][1]:.3f}  {said}")


def spread(f):
    return f"{f['median']:.3f} ({f['quartiles'][0]:.2f}-{f['quartiles'][1]:.2f})"


def judge_times(own_time, decided):
    """The targets in ns: (what, figure, target) and whether it is met."""
    found = [(f"{w}: ns above the floor", own_time[w][AGENT]["ns_per_operation"] - own_time[w][EMPTY]["ns_per_operation"], t)
             for w, t in TARGET_NS.items()]
    found += [(f"decided flow, {hook}: ns above empty, repeated", r[AGENT] - r[EMPTY], TARGET_REPEATED_NS) for hook, r in decided.items()]
    live = own_time["rr"]
    found.append(("decided flow: times empty, live", live[AGENT]["ns_per_packet"] / live[EMPTY]["ns_per_packet"], TARGET_LIVE))
    return [{"what": what, "figure": round(figure, 2), "target": target, "verdict": "met" if figure <= target else "not met"}
            for what, figure, target in found]


def print_times(rows, decided, verdicts):
    print("\nThe programs' own time (kernel BPF statistics; of bulk an operation is 1 MiB)")
    print(f"{'':8}{'empty: ns/op':>13}{'runs/op':>8}{'agent: ns/op':>14}{'runs/op':>8}   ns/run: {'ingress':>7}{'egress':>8}{'sockops':>9}{'above':>9}")
    for w, t in rows.items():
        e, a = t[EMPTY], t[AGENT]
        per_run = "".join(f"{a['ns_per_run'][h]:{n}.0f}" for (h, _), n in zip(HOOKS, (18, 8, 9)))
        print(f"{w:8}{e['ns_per_operation']:13,.0f}{e['runs_per_operation']:8.2f}{a['ns_per_operation']:14,.0f}{a['runs_per_operation']:8.2f}"
              f"{per_run}{a['ns_per_operation'] - e['ns_per_operation']:9,.0f}")
    for hook, r in decided.items():
        print(f"decided flow, {hook}, repeated test run: empty {r[EMPTY]} ns, agent {r[AGENT]} ns (with what decides the flow first)")
    for v in verdicts:
        print(f"{v['what']:46}{v['figure']:10,.2f}   target {v['target']:6} {v['verdict']}")


def part_live(bench, args):
    """The targets' own measurement, the same with both ends under the programs, and the programs' own time."""
    figures = {"decided": repeated(bench.programs), "own_time": {}, "rates": [], "both_ends": []}
    for w in TARGET:
        row = bench.compare(w, [4, 6], bench.pairs, args.client_cgroup, states=(*STATES, STORAGE))
        figures["rates"].append({**row, "target": TARGET[w], "verdict": verdict(row["agent"], TARGET[w])})
    for w in ("hello", "http", "rr"):
        figures["both_ends"].append(bench.compare(w, [4, 6], max(2, bench.pairs // 3), args.both_cgroup))
    for w in TARGET:
        figures["own_time"][w] = bench.own_time(w, 4, args.client_cgroup)
    figures["times"] = judge_times(figures["own_time"], figures["decided"])
    figures["sent"], figures["problems"] = bench.sent, bench.problems()
    print_ratios("Rates, programs on the client's cgroup only, client and server on a CPU each", figures["rates"], TARGET)
    print_ratios("The same with the server below the programs as well", figures["both_ends"], {})
    print_times(figures["own_time"], figures["decided"], figures["times"])
    print(f"\n{bench.sent['connections']:,} connections and {bench.sent['requests']:,} requests while the agent's programs were attached, "
          f"{bench.stand.scraped} scrapes; the agent counted {'every one' if not figures['problems'] else 'something else'}")
    return figures


def part_growth(bench, args):
    """New connections to more and more hosts, on one CPU and on two."""
    figures = {"rows": []}
    bench.programs.switch(AGENT, args.client_cgroup)
    for names in SIZES:
        bench.slice(AGENT, args.client_cgroup, "hello", 4, names, most=names)
        for cpus in (1, 2):
            bench.stand.place(cpus)
            for w in ("hello", "rr"):
                row = bench.compare(w, [4, 6], max(2, bench.pairs // 6), args.client_cgroup, names)
                row["own_time"] = bench.own_time(w, 4, args.client_cgroup, names, 2)
                figures["rows"].append({**row, "cpus": cpus})
    figures["problems"] = bench.problems()
    rows = bench.stand.totals()["rows"]
    figures["destinations"] = sum(r["host"].endswith(".bench.example") for r in rows)
    print(f"\nHow cost grows ({figures['destinations']:,} hosts known at the end)")
    print(f"{'':8}{'hosts':>8}{'CPUs':>5}{'pairs':>6}{'off':>10}  {'empty / off':21}{'agent / off':21}{'ns above empty':>15}")
    for r in figures["rows"]:
        above = r["own_time"][AGENT]["ns_per_operation"] - r["own_time"][EMPTY]["ns_per_operation"]
        print(f"{r['workload']:8}{r['names']:8}{r['cpus']:5}{r['agent']['pairs']:6}{r['rate'][OFF]:10,.0f}  {spread(r['empty']):21}"
              f"{spread(r['agent']):21}{above:15,.0f}")
    return figures


def part_others(bench, args):
    """Against what else would show the names."""
    figures = {"rows": cost_others.measure(bench, args)}
    figures["problems"] = bench.problems()
    cost_others.print_table(figures["rows"])
    return figures


def arguments():
    parser = argparse.ArgumentParser()
    for name in ("part", "out", "object", "load", "stand", "client-netns", "server-netns", "client-cgroup", "server-cgroup",
                 "both-cgroup", "pin", "url", "address4", "address6", "interface", "suricata"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("agent-pid", "pairs", "seed"):
        parser.add_argument(f"--{name}", required=True, type=int)
    return parser.parse_args()


def main():
    args = arguments()
    programs = Programs(args.object, args.pin)
    stand = Stand(args)
    try:
        bench = Bench(stand, programs, args.pairs, args.seed)
        figures = {"live": part_live, "growth": part_growth, "others": part_others}[args.part](bench, args)
    finally:
        stand.end()
    with open(args.out, "w", encoding="ascii") as f:
        json.dump({"part": args.part, "kernel": os.uname().release, "seed": args.seed, "cpus": os.cpu_count(), **figures}, f)
    for p in figures["problems"]:
        print(f"bench: {p}", file=sys.stderr)
    sys.exit(1 if figures["problems"] else 0)


main()
