#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""usage: replay_measure.py AGENT CAPTURE HOSTILE_CAPTURE TMP_DIR JSON ROUNDS TIMES ENGINE...

Run `AGENT replay` with each engine and `tshark -T fields` on one capture, by turns, ROUNDS times, with the file in the
page cache. Prints the medians as a table, and writes them to the file JSON. tshark is asked for no more than the same names:
no name resolution, its default reassembly, one pass, lines only for packets that carry a name. The hostile capture tells
the most memory that replay takes.

Owns: what is run, and what the figures are compared with. Exit status 1 if an engine is not TIMES faster than tshark,
if the engines' outputs differ, if tshark knows a name that replay does not, or if more memory is taken than README says.
"""
import json
import os
import statistics
import subprocess
import sys
import time

MEMORY_MAX = 250  # MiB of the process, as README says; what the programs hold in the kernel comes instead of some of it
SNI, HOST = "tls.handshake.extensions_server_name", "http.host"


class Subject:
    def __init__(self, name, command, tmp):
        self.name, self.command = name, command
        self.out = os.path.join(tmp, name.replace(" ", "-") + ".out")
        self.seconds, self.cpu, self.memory = [], [], []

    def run(self, tmp):
        """One round. A private HOME keeps the user's settings out of it."""
        env = {"PATH": os.environ["PATH"], "HOME": tmp, "LC_ALL": "C.UTF-8"}
        err = self.out + ".err"
        begin = time.monotonic()
        with open(self.out, "wb") as out, open(err, "wb") as errors:
            process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=out, stderr=errors, env=env)
            _, status, usage = os.wait4(process.pid, 0)
        self.seconds.append(time.monotonic() - begin)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            with open(err, encoding="utf-8", errors="replace") as f:
                raise SystemExit(f"{self.name}: exit {process.returncode}: {f.read()[-500:]}")
        self.cpu.append(usage.ru_utime + usage.ru_stime)
        self.memory.append(usage.ru_maxrss / 1024)

    def figures(self, tshark):
        seconds = statistics.median(self.seconds)
        return {"seconds": round(seconds, 3), "cpu_seconds": round(statistics.median(self.cpu), 3),
                "peak_mib": round(max(self.memory), 1), "names": len(self.names()),
                "times_faster": round(statistics.median(tshark.seconds) / seconds, 1)}


class Replay(Subject):
    def names(self):
        with open(self.out, encoding="utf-8") as f:
            return {line.split("\t")[5] for line in f}


class Tshark(Subject):
    def names(self):
        with open(self.out, encoding="utf-8") as f:
            values = [v for line in f for field in line.rstrip("\n").split("\t") for v in field.split(",") if v]
        return {v.lower().rsplit(":", 1)[0].rstrip(".") for v in values}


def hostile_peak(r, capture, tmp):
    worst = Replay(r.name + " hostile", r.command[:-1] + [capture], tmp)
    worst.run(tmp)
    return round(worst.memory[0], 1)


def read_through(path):
    with open(path, "rb", buffering=0) as f:
        while f.read(1 << 22):
            pass


def print_table(figures):
    print(f"{'':16}{'seconds':>9}{'times faster':>14}{'CPU s':>8}{'peak MiB':>10}{'hostile MiB':>13}{'names':>8}")
    for name, f in figures.items():
        print(f"{name:16}{f['seconds']:9.3f}{f['times_faster']:14.1f}{f['cpu_seconds']:8.2f}{f['peak_mib']:10.1f}"
              f"{f.get('hostile_peak_mib', '-'):>13}{f['names']:8}")


def problems(replays, tshark, figures, times):
    first = replays[0]
    with open(first.out, "rb") as f:
        output = f.read()
    for r in replays:
        with open(r.out, "rb") as f:
            if f.read() != output:
                yield f"{r.name} and {first.name} print different bytes"
        if figures[r.name]["times_faster"] < times:
            yield f"{r.name} is {figures[r.name]['times_faster']} times faster than tshark, {times:g} are wanted"
        if figures[r.name]["hostile_peak_mib"] > MEMORY_MAX:
            yield f"{r.name} takes {figures[r.name]['hostile_peak_mib']} MiB, {MEMORY_MAX} are allowed"
    missing = tshark.names() - first.names()
    if missing:
        yield f"{len(missing)} names that tshark has are not in replay's, such as {sorted(missing)[:3]}"


def main():
    agent, capture, hostile, tmp, out, rounds, times, *engines = sys.argv[1:]
    replays = [Replay(f"replay {e}", [agent, "replay", "-o", "tsv", "--engine", e, capture], tmp) for e in engines]
    tshark = Tshark("tshark", ["tshark", "-n", "-r", capture, "-Y", f"{SNI} or {HOST}", "-T", "fields", "-e", SNI, "-e", HOST], tmp)
    subjects = replays + [tshark]
    for _ in range(int(rounds)):
        for s in subjects:
            read_through(capture)
            s.run(tmp)
    figures = {s.name: s.figures(tshark) for s in subjects}
    for r in replays:
        figures[r.name]["hostile_peak_mib"] = hostile_peak(r, hostile, tmp)
    print_table(figures)
    more = replays[0].names() - tshark.names()
    print(f"names that only replay has: {len(more)} (tshark by default does not put segments in order)")
    found = list(problems(replays, tshark, figures, float(times)))
    with open(out, "w", encoding="ascii") as f:
        json.dump({"bytes": os.path.getsize(capture), "rounds": int(rounds), "subjects": figures, "names_only_replay": len(more),
                   "problems": found}, f)
    for p in found:
        print(f"bench: {p}", file=sys.stderr)
    sys.exit(1 if found else 0)


main()
