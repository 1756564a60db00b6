#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""memory_measure.py AGENT STORAGE CGROUP TMP CONNECTIONS NAMES: what the agent's programs cost in kernel memory.

The kernel's own account is /proc/slabinfo: objects in use of each kmalloc size, while connections are held less before
them, with programs less without any. Owns: the order of things, and the figures. Must not know: how connections are made.
"""
import json
import os
import pathlib
import subprocess
import sys
import time

TARGET_CONNECTION = 256
TARGET_DESTINATION = 1024
HERE = pathlib.Path(__file__).parent


def slabs():
    """Objects in use, and their size, by the name of what they come from."""
    used = {}
    with open("/proc/slabinfo", encoding="ascii") as f:
        for line in f:
            name, *words = line.split()
            if name.startswith("kmalloc-"):
                used[name] = (int(words[0]), int(words[2]))
    return used


def settled():
    """slabs(), once what was freed is free: sockets' storage goes after grace periods."""
    last = slabs()
    for _ in range(60):
        time.sleep(1)
        now = slabs()
        if abs(sum(n * size for n, size in now.values()) - sum(n * size for n, size in last.values())) < 200000:
            return now
        last = now
    return last


class Nothing:
    """No programs."""

    def __init__(self, opts):
        self.opts = opts

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


class Storage(Nothing):
    """A program that makes an empty storage for each client socket."""

    def __enter__(self):
        pin = f"/sys/fs/bpf/{self.opts['name']}"
        subprocess.run(["bpftool", "prog", "load", self.opts["storage"], pin], check=True)
        subprocess.run(["bpftool", "cgroup", "attach", self.opts["cgroup"], "sock_ops", "pinned", pin], check=True)
        return self

    def __exit__(self, *_):
        pin = f"/sys/fs/bpf/{self.opts['name']}"
        subprocess.run(["bpftool", "cgroup", "detach", self.opts["cgroup"], "sock_ops", "pinned", pin], check=True)
        os.unlink(pin)


class Agent(Nothing):
    """The agent with its programs."""

    def __enter__(self):
        tmp = self.opts["tmp"]
        with open(f"{tmp}/agent.log", "wb") as log:
            self.process = subprocess.Popen(  # pylint: disable=consider-using-with
                [self.opts["agent"], "run", "--cgroup", self.opts["cgroup"], "--pin", "off", "--kube", "off", "--registry", "off",
                 "--socket", f"{tmp}/agent.sock", "--listen", "127.0.0.1:0", "--max-hosts-per-workload", "65536"],
                stdout=log, stderr=log)
        for _ in range(100):
            if self.destinations() is not None:
                return self
            time.sleep(0.1)
        self.__exit__()
        sys.exit(f"bench: the agent did not start: {pathlib.Path(tmp, 'agent.log').read_text(encoding='utf-8')}")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def destinations(self):
        """What it counted, or None."""
        out = subprocess.run([self.opts["agent"], "dump", "--agent", f"unix:{self.opts['tmp']}/agent.sock", "-o", "json",
                              "--scope", "all"], check=False, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        return json.loads(out.stdout)["destinations"] if out.returncode == 0 else None


def hold(opts, subject, kind, count):
    """Objects that came to be in use, with that many connections held (of names: gone)."""
    with subject(opts) as running:
        before = settled()
        with subprocess.Popen(["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", HERE / "memory_hold.py", kind,
                               str(count), opts["cgroup"]], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
            if holder.stdout.readline() != b"ready\n":
                sys.exit("bench: the connections were not made")
            if kind == "names":
                holder.stdin.close()
                holder.wait()
            after = settled()
            check(running, kind, count)
            if kind != "names":
                holder.stdin.close()
    settled()
    return {name: (after[name][0] - before[name][0], after[name][1]) for name in after}


def check(running, kind, count):
    """The programs really saw them: figures of nothing would be good ones."""
    if not isinstance(running, Agent):
        return
    seen = running.destinations()
    live = sum(d["connections"]["active"] for d in seen)
    if (len(seen) if kind == "names" else live) != count:
        sys.exit(f"bench: the agent saw {len(seen)} destinations and {live} live connections")


def per(count, with_it, without):
    """Bytes each, by size of object. Each takes whole ones: one for every ten is somebody else's doing."""
    each = {name: ((with_it[name][0] - without.get(name, (0, 0))[0]) / count, with_it[name][1]) for name in with_it}
    return {name: round(n * size, 1) for name, (n, size) in sorted(each.items()) if abs(n) >= 0.1}


def connections(opts, kind, count):
    """What storage alone and what the agent adds to a connection."""
    without = hold(opts, Nothing, kind, count)
    return {"connections": count, "floor": per(count, hold(opts, Storage, kind, count), without),
            "agent": per(count, hold(opts, Agent, kind, count), without)}


def line(title, parts, count, target=None):
    """One row of the table."""
    text = " + ".join(f"{b:g} {name}" for name, b in parts.items()) or "nothing"
    wanted = f"{target}" if target else "-"
    print(f"{title:44}{count:>9}{sum(parts.values()):9.0f}{wanted:>8}  {text}")


def main():
    """Measure and print; the last line is JSON."""
    agent, storage, cgroup, tmp, count, names = sys.argv[1:]
    opts = {"agent": agent, "storage": storage, "cgroup": cgroup, "tmp": tmp, "name": os.path.basename(cgroup)}
    count, names, cpus = int(count), int(names), os.cpu_count()
    decided = connections(opts, "tls", count)
    http = connections(opts, "http", count // 5)
    dests = per(names, hold(opts, Agent, "names", names), {})
    print(f"{'bytes of kernel memory for each':44}{'of':>9}{'bytes':>9}{'target':>8}")
    line("live connection, decided: empty storage alone", decided["floor"], count)
    line("live connection, decided", decided["agent"], count, TARGET_CONNECTION)
    line("live connection, HTTP: empty storage alone", http["floor"], count // 5)
    line("live connection, HTTP", http["agent"], count // 5)
    line("destination", dests, names)
    line("destination, by CPU", {k: v / cpus for k, v in dests.items()}, names, TARGET_DESTINATION)
    print(json.dumps({"kernel": os.uname().release, "cpus": cpus, "decided": decided, "http": http,
                      "destination": {"count": names, "agent": dests}}), flush=True)


main()
