#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Vectors over real sockets: their sender, the far side, the comparison with the agent's counts.

Owns: one connection per case of live_cases.py; the nft rules that count its packets where the
programs see them and on the far side; the lines of the test protocol that judge prints. Must not
know: what a vector means.

    sink              the far side: takes any port, says nothing, reads to the end; until killed
    nft pod|outside   rules for nft -f
    send on|off       everything the plan has for these offloads, from two processes
    judge on|off      was it counted right, and were its packets as planned?
"""
import argparse
import collections
import json
import os
import select
import shlex
import socket
import subprocess
import sys
import time

sys.dont_write_bytecode = True  # the source tree stays clean

# pylint: disable=wrong-import-position
import live_cases
import live_made
import traffic_tcp as tcp

SINK_PORT = 9999
IP_TRANSPARENT = (socket.IPPROTO_IP, 19)  # linux/in.h
IPV6_TRANSPARENT = (socket.IPPROTO_IPV6, 75)  # linux/in6.h
SINK_WAKE = 1 << 15  # bytes; the sink is not woken for less, but for an end
TIMESTAMPS = 12  # bytes of TCP options in every data segment
HEADERS = {4: 20 + 20 + TIMESTAMPS, 6: 40 + 20 + TIMESTAMPS}
SHOWN = 8  # wrong connections told on stderr per line of the test protocol
DEADLINE = 30.0  # seconds until the agent's counts must be right


def plan(opts):
    return live_cases.plan(live_cases.vectors_of(opts.vectors, opts.agent))


def cases_of(opts):
    return [c for c in plan(opts) if c.offload == opts.what]


# --- far side ------------------------------------------------------------------------------------


def _listener(family, transparent):
    sock = socket.socket(family, socket.SOCK_STREAM)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.setsockopt(*transparent, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, SINK_WAKE)  # its connections have it too
    sock.bind(("", SINK_PORT))
    sock.listen(4096)
    sock.setblocking(False)
    return sock


def _accept_all(listener, poll, held):
    while True:
        try:
            sock, _ = listener.accept()
        except BlockingIOError:
            return
        sock.setblocking(False)
        held[sock.fileno()] = sock
        poll.register(sock, select.EPOLLIN | select.EPOLLRDHUP)


def _is_drained(sock):
    try:
        while sock.recv(1 << 20):
            pass
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def sink(_):
    """Silent, so that nothing but what is sent decides."""
    poll, held = select.epoll(), {}
    listeners = (
        _listener(socket.AF_INET, IP_TRANSPARENT),
        _listener(socket.AF_INET6, IPV6_TRANSPARENT),
    )
    by_fd = {sock.fileno(): sock for sock in listeners}
    for sock in listeners:
        poll.register(sock, select.EPOLLIN)
    print("ready", flush=True)
    while True:
        for fd, _ in poll.poll():
            if fd in by_fd:
                _accept_all(by_fd[fd], poll, held)
            elif _is_drained(held[fd]):
                held.pop(fd).close()


# --- counting packets ----------------------------------------------------------------------------


def _spans(cases):
    """{"OFFLOAD_VARIANT": (first port, last port)}"""
    spans = {}
    for c in cases:
        name = f"{c.offload}_{c.variant.name}"
        spans[name] = (spans.get(name, (c.port,))[0], c.port)
    return spans


def nft(opts):
    """Data segments, and those larger than one of the variant "mss", by offload and variant.

    In the pod behind routing, where a packet is as the cgroup's programs are about to see it; on
    the far side as the wire brought it, where packets also are led to the sink.
    """
    spans = _spans(plan(opts))
    hook = "postrouting priority 0" if opts.what == "pod" else "prerouting priority raw"
    counters = [f"counter {kind}_{name} {{ }}" for kind in ("data", "large") for name in spans]
    rules = []
    for kind, more in (("data", 0), ("large", live_cases.SEGMENT)):
        ports = ", ".join(f'{a}-{b} : "{kind}_{name}"' for name, (a, b) in spans.items())
        rules += [
            f"meta nfproto ipv{family} tcp flags & syn == 0 meta length > {headers + more} "
            f"counter name tcp dport map {{ {ports} }}"
            for family, headers in HEADERS.items()
        ]
    chains = [f"chain count {{ type filter hook {hook};", *rules, "}"]
    if opts.what == "outside":
        ports = f"{live_cases.FIRST_PORT}-{live_cases.LAST_PORT}"
        chains += ["chain lead { type filter hook prerouting priority mangle;"]
        chains += [f"tcp dport {ports} tproxy to :{SINK_PORT}", "}"]
    print("\n".join(["table inet ea_live {", *counters, *chains, "}"]))


class Packets:
    """What the rules of one place counted."""

    def __init__(self, command, offload):
        counters = (item.get("counter") for item in json.loads(run(command))["nftables"])
        self.counts = {c["name"]: c["packets"] for c in counters if c}
        self.offload = offload

    def of(self, kind, variant):
        return self.counts[f"{kind}_{self.offload}_{variant.name}"]


# --- sender --------------------------------------------------------------------------------------


def _send_one(case, address):
    family = socket.AF_INET if case.family == 4 else socket.AF_INET6
    parts = live_cases.pieces(case)
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.settimeout(tcp.TIMEOUT)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if case.variant.mss:
            room = case.variant.mss + TIMESTAMPS
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, room)
        try:
            sock.connect((address, case.port))
            tcp.send_pieces(sock, parts)
        except OSError as err:
            raise tcp.TrafficError(f"{case.vector.title}, port {case.port}: {err}") from err
    return len(parts)


def send(opts):
    cases, addresses = cases_of(opts), {4: opts.ipv4, 6: opts.ipv6}

    def share(mine):
        return sum(_send_one(case, addresses[case.family]) for case in mine)

    start = time.monotonic()
    writes = sum(tcp.run_processes(share, [cases[i::2] for i in range(2)]))
    seconds = time.monotonic() - start
    print(f"{len(cases)} connections, {writes} writes, {seconds:.1f} s", file=sys.stderr)


# --- judge ---------------------------------------------------------------------------------------


def run(command):
    done = subprocess.run(shlex.split(command), capture_output=True, check=False, timeout=60)
    if done.returncode:
        raise SystemExit(f"{command}: exit {done.returncode}: {done.stderr.decode().strip()}")
    return done.stdout.decode()


class Counted:
    """What the agent says of one port."""

    def __init__(self):
        self.rows, self.sent = [], 0
        self.ends = collections.Counter()

    def add(self, item, addresses):
        host, connections = item["host"], item["connections"]
        if item["nameSource"] == "ip" and host in addresses:
            host = ""
        requests = item["requests"]["total"]
        self.rows.append(live_made.Row(item["protocol"], host, connections["opened"], requests))
        self.ends.update({k: connections[k] for k in ("closed", "failed", "active")})
        self.sent += item["bytes"]["sent"]

    def wrong(self, case):
        ends = {k: n for k, n in self.ends.items() if n}
        size = sum(map(len, live_cases.pieces(case)))
        if ends != {"closed": 1} or self.sent != size:
            return f"{ends or 'not counted'}, {self.sent} of {size} bytes"
        return case.vector.wrong(self.rows)


def counted(opts):
    """{port: Counted}, and what was folded or dropped for want of room."""
    document = json.loads(run(opts.dump))
    ports = collections.defaultdict(Counted)
    for item in document["destinations"]:
        ports[item["port"]].add(item, (opts.ipv4, opts.ipv6))
    return ports, {k: n for k, n in document["limits"].items() if n}


def differences(cases, ports):
    """[(case, why)]; one vector must be counted alike however it is cut, the open ones too."""
    wrong, alike = [], {}
    for case in cases:
        got = ports[case.port]
        why = got.wrong(case)
        rows = alike.setdefault((case.vector.title, case.variant.record), sorted(got.rows))
        if not why and rows != sorted(got.rows):
            why = f"{live_made.text_of(got.rows)}, cut otherwise {live_made.text_of(rows)}"
        if why:
            wrong.append((case, why))
    return wrong


def _say(good, name, text):
    print(f"{'' if good else 'not '}ok - {name}: {text}", flush=True)


def _judge_variant(opts, variant, cases, wrong):
    cases = [c for c in cases if c.variant is variant]
    wrong = [(c, why) for c, why in wrong if c.variant is variant]
    told = [
        f"{c.vector.title}, IPv{c.family}{f', cut at {c.at}' if c.at else ''}: {why}"
        for c, why in wrong
    ]
    for line in told[:SHOWN]:
        print(f"{variant.name}: {line}", file=sys.stderr)
    vectors = len({c.vector.title for c in cases})
    text = f"{vectors} vectors, {len(cases) - len(wrong)} of {len(cases)} connections counted right"
    text = "; first wrong: ".join([text, *told[:1]])
    _say(not wrong, f"offloads {opts.what}, {variant.name}", text)


def _judge_packets(opts, variant, cases, places):
    """At least as many packets as planned: some may have been sent again."""
    cases = [c for c in cases if c.variant is variant]
    writes = sum(len(live_cases.pieces(c)) for c in cases)
    full = sum(-(-len(c.vector.data) // live_cases.SEGMENT) for c in cases)
    data = [p.of("data", variant) for p in places]
    large = [p.of("large", variant) for p in places]
    if variant.mss and opts.what == "on":
        good = all(large) and max(data) < full
    elif variant.mss:
        good = not any(large) and min(data) >= full
    else:
        good = min(data) >= writes and not (variant.segment and any(large))
    _say(good, f"offloads {opts.what}, {variant.name}, packets",
         f"{writes} writes in {data[0]} data packets at the hook and {data[1]} on the far side, "
         f"{large[0]} and {large[1]} of them over {live_cases.SEGMENT} bytes")


def judge(opts):
    cases, end = cases_of(opts), time.monotonic() + DEADLINE
    while True:
        ports, limits = counted(opts)
        wrong = differences(cases, ports)
        if not (wrong or limits) or time.monotonic() > end:
            break
        time.sleep(0.5)
    places = [Packets(command, opts.what) for command in (opts.count_pod, opts.count_outside)]
    for variant in live_cases.VARIANTS:
        _judge_variant(opts, variant, cases, wrong)
        _judge_packets(opts, variant, cases, places)
    _say(not limits, f"offloads {opts.what}, a line for every host", str(limits or "none folded"))


def main():
    commands = {"sink": sink, "nft": nft, "send": send, "judge": judge}
    parser = argparse.ArgumentParser(prog="live_vectors.py", description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=tuple(commands))
    parser.add_argument("what", nargs="?", help="pod or outside; on or off")
    parser.add_argument("--vectors", help="directory of the corpus' vectors")
    parser.add_argument("--agent", help="binary, for replay; judge needs it with --vectors")
    parser.add_argument("--ipv4", help="an address outside")
    parser.add_argument("--ipv6", help="another one")
    parser.add_argument("--dump", help="command that prints the agent's JSON")
    parser.add_argument("--count-pod", help="command that prints the pod's nft counters in JSON")
    parser.add_argument("--count-outside", help="and those of the far side")
    opts = parser.parse_args()
    try:
        commands[opts.command](opts)
    except (tcp.TrafficError, OSError) as err:
        print(f"live_vectors.py: {err}", file=sys.stderr)
        os._exit(1)


if __name__ == "__main__":
    main()
