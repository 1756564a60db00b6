#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""
Simulated agents: what each node's agent has counted, deterministic, and /metrics for it as the product itself prints it
(build/expose), on a port of its own.

Owns: which destinations there are, and what all agents together say of them: the truth, in plain sums. Must not know:
how the product puts them together, PromQL.

Used by tests/e2e/prometheus_api.py. An agent's counters are named by (node, since); two agents with the same name,
one after the other, have the same counters.
"""
import copy
import http.server
import json
import pathlib
import random
import subprocess
import threading

REPO = pathlib.Path(__file__).resolve().parent.parent.parent

L63 = "a" * 63
HOSTS = [f"api-{i}.shop-{i % 7}.example" for i in range(120)] + [
    "httpbin.org", "under_score.example", "-a.example", "single", "xn--bcher-kva.example", "1.2.3.4.5",
    ".".join([L63, "b" * 63, "c" * 63, "d" * 61]), "203.0.113.9", "198.51.100.7", "2001:db8::1", "~invalid"]
NAMESPACES = ["shop", "bank", "test-ext-svc", "", "a.b", "n|m", "x(y)*"]
WORKLOADS = ["cart", "curl", "web.1", "NO", "", "a\"b\\c", "new\nline", "\u001b[31mred", "\u202egnihton", "\u00fc\u20ac",
             "*&!%@`|>'{}[]#:-?,", " lead", "w" * 1024, "job|x", "$(id)", "\\d+", "^.*$"]
METHODS = ["GET", "POST", "PUT", "HEAD", "OTHER", "DELETE"]
CODES = ["0", "200", "204", "301", "404", "500", "503"]
REGISTRY = ["unknown", "passthrough", "registered", "originated", "blocked"]
INTERCEPTION = ["none", "sidecar", "ambient", "bypass"]
NAME_SOURCE = ["http", "sni", "connect", "dns", "ip"]
VERSIONS = ["ssl3.0", "1.0", "1.1", "1.2", "1.3"]
ALPN = ["h2", "http/1.1", "http/1.0", "other"]


def is_address(host):
    return ":" in host or (host.count(".") == 3 and host.replace(".", "").isdigit())


def sources(rng):
    """Workloads that agents share: the same one on several nodes. Some differ in what is no part of the name."""
    found = []
    for i in range(40):
        name = WORKLOADS[i] if i < len(WORKLOADS) else f"w-{i}"
        found.append({"namespace": NAMESPACES[i % len(NAMESPACES)], "workload": name,
                      "canonicalService": rng.choice([name, "svc"]), "app": rng.choice(["", name]),
                      "version": rng.choice(["", "v1"]), "canonicalRevision": rng.choice(["latest", "v2"])})
    found += [dict(s, version="v9") for s in found[:4]]
    return found


def subset(rng, words):
    return [w for w in words if rng.random() < 0.4]


def counted(rng, row):
    """Counts for a row, more than it has."""
    if row["protocol"] in ("quic", "udp"):
        return  # metrics have none
    big = rng.random() < 0.02
    for group in ("connections", "bytes"):
        for key in row[group]:
            row[group][key] += rng.randrange(2**50 if big else 10**6)
    row["connections"]["opened"] += row["connections"]["closed"]
    if "tls" in row:
        row["tls"]["handshakesFailed"] += rng.randrange(5)
    if row["protocol"] == "http":
        for _ in range(rng.randrange(1, 4)):
            codes = row["requests"].setdefault("byMethodCode", {}).setdefault(rng.choice(METHODS), {})
            code = rng.choice(CODES)
            codes[code] = codes.get(code, 0) + rng.randrange(1, 1000)
        row["requests"]["requestBytes"] = row["requests"].get("requestBytes", 0) + rng.randrange(10**9)
        row["requests"]["responseBytes"] = row["requests"].get("responseBytes", 0) + rng.randrange(10**9)


def new_row(rng, source, host, port, protocol):
    row = {"source": source, "host": host, "port": port, "protocol": protocol, "scope": "external",
           "registry": rng.choice(REGISTRY), "interception": rng.choice(INTERCEPTION),
           "connections": {"opened": 0, "closed": 0, "failed": 0}, "bytes": {"sent": 0, "received": 0},
           "requests": {}}
    if host != "~other":
        row["nameSource"] = "ip" if is_address(host) else {"tls": "sni", "quic": "sni", "http": "http"}.get(protocol, "dns")
    if protocol in ("tls", "quic"):
        row["tls"] = {"versions": subset(rng, VERSIONS) if protocol == "tls" else [],
                      "alpn": subset(rng, ALPN), "handshakesFailed": 0}
    counted(rng, row)
    return row


class Counters:
    """What the maps of one node hold."""

    def __init__(self, seed, node, since_ms, rows=200):
        self.rng = random.Random(seed)
        self.node, self.since_ms = node, since_ms
        self.rows = {}
        self.folded, self.dropped = self.rng.randrange(100), self.rng.randrange(100)
        shared = sources(random.Random(1))
        while len(self.rows) < rows:
            self.add(self.rng.choice(shared))

    def add(self, source):
        rng = self.rng
        host = rng.choice(HOSTS) if rng.random() < 0.95 else "~other"
        # One kind of traffic for an endpoint: of two, metrics do not tell whose connections are whose.
        port = 0 if host == "~other" else rng.choice([443, 8443, 80, 8080, 9000, 53])
        protocol = {443: "tls", 8443: "tls", 80: "http", 8080: "http", 9000: "tcp", 53: "udp", 0: "tls"}[port]
        if port == 443 and rng.random() < 0.2:
            protocol = "quic"
        key = (*source.values(), host, port, protocol)
        if key not in self.rows:
            self.rows[key] = new_row(rng, source, host, port, protocol)

    def grow(self):
        """Time passes: more of the same, and something new."""
        for row in self.rows.values():
            if self.rng.random() < 0.5:
                counted(self.rng, row)
            if "tls" in row and row["protocol"] == "tls" and self.rng.random() < 0.2:
                row["tls"]["versions"] = sorted(set(row["tls"]["versions"]) | {"1.3"}, key=VERSIONS.index)
            if self.rng.random() < 0.2:
                row["registry"] = self.rng.choice(REGISTRY)
        for source in list({id(r["source"]): r["source"] for r in self.rows.values()}.values())[:3]:
            self.add(source)

    def give_up(self, n):
        """n rows of TLS are idle for so long that their counts go to ~other. Returns what they were."""
        idle = [k for k, r in self.rows.items() if r["protocol"] == "tls" and r["host"] != "~other"][:n]
        gone = [self.rows.pop(k) for k in idle]
        for row in gone:
            key = (*row["source"].values(), "~other", 0, "tls")
            other = self.rows.get(key)
            if not other:
                other = new_row(self.rng, row["source"], "~other", 0, "tls")
                for group in (other["connections"], other["bytes"]):
                    group.update(dict.fromkeys(group, 0))
                other["tls"]["handshakesFailed"] = 0
                self.rows[key] = other
            for group in ("connections", "bytes"):
                for name, count in row[group].items():
                    other[group][name] += count
            other["tls"]["handshakesFailed"] += row["tls"]["handshakesFailed"]
        return gone

    def listed(self):
        return {"apiVersion": "egress-agent/v1", "kind": "DestinationList", "node": self.node,
                "destinations": list(self.rows.values()),
                "limits": {"destinationsDropped": self.dropped, "hostsFolded": self.folded}}

    def exposition(self, start_ms, silent=False):
        """As the product prints it. silent: as an agent that does not say since when it counts."""
        since = 0 if silent else self.since_ms
        return subprocess.run([REPO / "build/expose", self.node, str(since), str(start_ms)], check=True,
                              input=json.dumps(self.listed()).encode(), stdout=subprocess.PIPE).stdout


# ---- the truth ----

def carried(row):
    """What metrics carry of a row, in the form of `dump -o json`."""
    row = copy.deepcopy(row)
    row["source"]["workloadKind"] = ""
    row["visibility"] = "l7" if row["protocol"] == "http" else "l4"
    row["transport"] = "udp" if row["protocol"] in ("quic", "udp") else "tcp"
    row["findings"] = []
    requests = row["requests"]
    requests["byCode"] = {}
    for codes in requests.get("byMethodCode", {}).values():
        for code, count in codes.items():
            requests["byCode"][code] = requests["byCode"].get(code, 0) + count
    requests["total"] = sum(requests["byCode"].values())
    return row


def add_counts(into, row):
    """Numbers of equal names are summed, at any depth."""
    for key, value in row.items():
        if isinstance(value, dict):
            add_counts(into.setdefault(key, {}), value)
        elif isinstance(value, int):
            into[key] = into.get(key, 0) + value


def merge(into, row, both_current):
    for group in ("connections", "bytes", "requests"):
        add_counts(into[group], row[group])
    if "nameSource" in row:
        into["nameSource"] = min(into["nameSource"], row["nameSource"], key=NAME_SOURCE.index)
    if both_current:
        into["registry"] = max(into["registry"], row["registry"], key=REGISTRY.index)
        into["interception"] = max(into["interception"], row["interception"], key=INTERCEPTION.index)
    if "tls" in row:
        into["tls"]["handshakesFailed"] += row["tls"]["handshakesFailed"]
        for key, order in (("versions", VERSIONS), ("alpn", ALPN)):
            into["tls"][key] = sorted(set(into["tls"][key]) | set(row["tls"][key]), key=order.index)


def judge(rows):
    for row in rows:
        row["connections"]["active"] = max(0, row["connections"]["opened"] - row["connections"]["closed"])
        mixed = {r["protocol"] in ("http",) for r in rows if r["protocol"] in ("http", "tls", "quic") and
                 all(r["source"][k] == row["source"][k] for k in ("namespace", "workload")) and
                 r["host"] == row["host"]} if row["protocol"] in ("http", "tls", "quic") else set()
        found = {"no-sni": row["host"][0] != "~" and "tls" in row and row["nameSource"] in ("ip", "dns"),
                 "ip-literal": is_address(row["host"]),
                 "invalid-name": row["host"] == "~invalid",
                 "mixed-tls-and-plaintext": len(mixed) == 2 and row["host"][0] != "~",
                 "quic-bypass": row["interception"] == "bypass" and row["transport"] == "udp",
                 "mesh-bypass": row["interception"] == "bypass" and row["transport"] == "tcp"}
        row["findings"] = sorted(f for f, true in found.items() if true)


def key_of(row):
    source = row["source"]
    return (source["namespace"], source["workload"], row["host"], row["port"], row["protocol"],
            source["canonicalService"], source["canonicalRevision"], source["app"], source["version"])


def truth(current, past):
    """All rows: of counters that are there, and of those that are gone, whose facts only count where they are alone."""
    rows = {}
    for is_current, group in ((True, current), (False, past)):
        for row in map(carried, group):
            key = key_of(row)
            if key in rows:
                merge(rows[key][1], row, rows[key][0] == is_current)
            else:
                rows[key] = (is_current, row)
    merged = [rows[key][1] for key in sorted(rows)]
    for host in {r["host"] for r in merged}:
        judge([r for r in merged if r["host"] == host])
    return merged


# ---- measuring ----

def measured(*command):
    """(status, stdout, stderr, CPU seconds, most MiB resident). Of a child of ours the kernel would tell what we have."""
    with_figures = ("import resource, subprocess, sys; status = subprocess.call(sys.argv[1:]); "
                    "u = resource.getrusage(resource.RUSAGE_CHILDREN); "
                    "print(u.ru_utime + u.ru_stime, u.ru_maxrss >> 10, file=sys.stderr); sys.exit(status)")
    done = subprocess.run(["/usr/bin/python3", "-c", with_figures, *command], stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=300)
    *said, figures = done.stderr.decode().splitlines(keepends=True)
    seconds, mib = figures.split()
    return done.returncode, done.stdout.decode(), "".join(said), float(seconds), int(mib)


# ---- serving ----

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = self.server.text
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Target:
    """One agent's address. text may be changed while it is scraped."""

    def __init__(self, text):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.text = text
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def set(self, text):
        self.server.text = text

    def close(self):
        self.server.shutdown()
        self.server.server_close()
