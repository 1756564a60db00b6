# SPDX-License-Identifier: Apache-2.0
"""What a user would pick instead: tshark and Suricata capturing live, on the traffic that the agent sees in the same run.

Owns: how they are run, so that they do no more than read names; what their CPU time is. The time that the kernel takes to copy packets
for a capture is not theirs here, and not counted; the agent's programs are, by the kernel's BPF statistics.
"""
import json
import os
import shlex
import shutil
import subprocess
import time

from cost_bpf import AGENT, OFF

SNI = "tls.handshake.extensions_server_name"
CONNECTIONS = 4000
DRAIN_SECONDS = 15
SURICATA_CONFIG = """%YAML 1.1
---
outputs:
  - eve-log: {enabled: yes, filetype: regular, filename: eve.json, types: [{tls: {extended: yes}}]}
af-packet:
  - {interface: default, cluster-id: 99, cluster-type: cluster_flow, defrag: yes}
app-layer: {protocols: {tls: {enabled: yes, detection-ports: {dp: 1-65535}}}}
"""


class Capture:
    """A process that writes names to a file, in a cgroup of its own that tells its CPU time."""

    def __init__(self, stand, name, command, ready):
        self.directory = os.path.join(stand.args.stand, f"cost-{name}")
        self.cgroup = os.path.join(stand.args.both_cgroup, f"capture-{name}")
        os.makedirs(self.directory)
        os.makedirs(self.cgroup)
        self.out, self.log = (os.path.join(self.directory, n) for n in ("out", "log"))
        command = [w.format(dir=self.directory) for w in command]
        with open(os.path.join(self.directory, "suricata.yaml"), "w", encoding="ascii") as f:
            f.write(SURICATA_CONFIG)
        with open(self.out, "wb") as out, open(self.log, "wb") as log:
            self.process = stand.start(command, stand.args.server_netns, self.cgroup, stdin=subprocess.DEVNULL, stdout=out, stderr=log,
                                       env={"PATH": os.environ["PATH"], "HOME": self.directory, "LC_ALL": "C.UTF-8"})
        for _ in range(300):
            if self.process.poll() is not None:
                break
            if ready in self.text(self.log) + self.text(self.out):
                time.sleep(1)  # the interface is open when it says so, but not for long
                return
            time.sleep(0.1)
        raise SystemExit(f"bench: {name} does not start: {self.text(self.log)[-500:]}")

    @staticmethod
    def text(path):
        if not os.path.exists(path):
            return ""
        with open(path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def cpu(self):
        with open(os.path.join(self.cgroup, "cpu.stat"), encoding="ascii") as f:
            return int(dict(line.split() for line in f)["usage_usec"]) / 1e6

    def end(self):
        self.process.terminate()
        self.process.wait()


def tshark_names(capture):
    return {v for line in capture.text(capture.out).splitlines() for v in line.split(",") if v}


def suricata_names(capture):
    lines = capture.text(os.path.join(capture.directory, "eve.json")).splitlines()
    return {json.loads(line).get("tls", {}).get("sni") for line in lines if line.endswith("}")}


def drained(names, wanted):
    """Wait for the last name, or until nothing new has come for a while."""
    have, deadline, quiet = -1, time.monotonic() + DRAIN_SECONDS, 0
    while have < wanted and quiet < 20 and time.monotonic() < deadline:
        time.sleep(0.1)
        now = len(names())
        quiet, have = (quiet + 1 if now == have else 0), now
    return have


def figures(operations, seconds, cpu, caught):
    return {"connections": operations, "rate": operations / seconds, "cpu_seconds_per_10000": cpu * 10000 / operations,
            "names_caught": caught / operations}


def with_capture(bench, args, name, command, ready, names):
    capture = Capture(bench.stand, name, command, ready)
    before = capture.cpu()
    operations, seconds, _ = bench.slice(OFF, args.client_cgroup, "tls", 4, CONNECTIONS, most=CONNECTIONS)
    caught = drained(lambda: names(capture), CONNECTIONS)
    cpu = capture.cpu() - before
    capture.end()
    return figures(operations, seconds, cpu, caught)


def with_agent(bench, args):
    stats = bench.programs.stats()
    run_time = sum(ns for _, ns in bench.programs.counted(AGENT).values())
    cpu = bench.stand.agent_cpu()
    operations, seconds, _ = bench.slice(AGENT, args.client_cgroup, "tls", 4, CONNECTIONS, ms=5000, most=CONNECTIONS)
    bench.stand.get("/metrics")
    cpu = bench.stand.agent_cpu() - cpu
    run_time = sum(ns for _, ns in bench.programs.counted(AGENT).values()) - run_time
    os.close(stats)
    caught = len({r["host"] for r in bench.stand.totals()["rows"]})
    return {**figures(operations, seconds, cpu + run_time / 1e9, caught), "agent_cpu_seconds": cpu, "programs_seconds": run_time / 1e9}


def measure(bench, args):
    """By subject. Those that are not there are left out, aloud."""
    interface, rows = args.interface, {}
    operations, seconds, _ = bench.slice(OFF, args.client_cgroup, "tls", 4, CONNECTIONS, most=CONNECTIONS)
    rows["nothing"] = figures(operations, seconds, 0, 0)
    rows["egress-agent"] = with_agent(bench, args)
    if shutil.which("tshark"):
        command = ["tshark", "-n", "-l", "-i", interface, "-f", "tcp", "-d", "tcp.port==7004,tls", "-Y", SNI, "-T", "fields", "-e", SNI]
        rows["tshark"] = with_capture(bench, args, "tshark", command, "Capturing on", tshark_names)
    else:
        print("SKIP - tshark is not there")
    if args.suricata:
        command = [*shlex.split(args.suricata), "-c", "{dir}/suricata.yaml", "-l", "{dir}", "-S", "/dev/null", f"--af-packet={interface}"]
        rows["suricata"] = with_capture(bench, args, "suricata", command, "started", suricata_names)
    else:
        print("SKIP - Suricata is not there")
    return rows


def print_table(rows):
    print(f"\nThe same {CONNECTIONS:,} new TLS connections with names of their own, watched by one at a time")
    print(f"{'':14}{'connections/s':>14}{'CPU s per 10,000':>18}{'names caught':>14}")
    for name, r in rows.items():
        print(f"{name:14}{r['rate']:14,.0f}{r['cpu_seconds_per_10000']:18.3f}{r['names_caught']:14.1%}")
