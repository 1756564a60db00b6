#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""
Property test of `generate`: random and hostile lists of destinations, all options.

Owns: a second, independent opinion on which objects a list calls for. Must not know: how generate works.

For every list: the output obeys every rule of validate_crds.py; it has exactly the hosts, ports, sums and
workloads the model below expects; what is left out stands on stderr; and the same rows in another order, split over two
files, in another time zone, give the same bytes.

EA_SEED		seed (default: 1), EA_ROUNDS number of lists (default: 300)
"""
import collections
import json
import os
import pathlib
import random
import re
import signal
import sys
import tempfile

sys.dont_write_bytecode = True  # the import leaves no __pycache__ behind

# pylint: disable=wrong-import-position
import validate_crds
from validate_crds import BINARY, LABEL, Bad, Tap, check_host, generate, judge, load_schemas

L63 = "a" * 63
GOOD_HOSTS = [
    "httpbin.org", "api.example.com", "www.example.com", "a.b.c.d.e.f.g.example", "xn--bcher-kva.example",
    "UPPER.Example.ORG", "0.example", "1e3.example", "no.on", "null.y", "x.y", f"{L63}.example",
    ".".join([L63, "b" * 63, "c" * 63, "d" * 61]), ".".join([L63, "b" * 63, "c" * 63, "d" * 57, "com"]),
    "a-b.example.com", "a.b-example.com", "a-b-example.com.x", "media.svc.ms", "svc.example.com",
    "localhost.example.com", "something.local",
]
BAD_HOSTS = [
    "under_score.example", "_dmarc.example.com", "-a.example", "a-.example", "a.-b.example", "single", "localhost",
    "app.localhost", "a.b.svc", "a.b.svc.cluster.local", "kubernetes.default.svc.cluster.local", "x.cluster.local",
    "a.123", "1.2.3", "1.2.3.4.5", "999.999.999.999", "example.0", "127.0.0.1", "203.0.113.9", "2001:db8::1",
    "::ffff:192.0.2.1", "~invalid", "~other",
]
NAMESPACES = ["shop", "bank", "a", "0", "null", "on", "x" * 63, "", "Bad_Namespace", "-x", "x" * 64, "a.b",
              "n\u00e4me", "a\nb", "../../etc"]
WORKLOADS = ["cart", "nginx.service", "NO", "~", "", "w" * 1024, "a\"b\\c", "new\nline\n---\nkind: Pod", "\u001b[31mred",
             "\u202egnihton", "\u00fc\u20ac\U0001f600", "*&!%@`|>'{}[]#:-?,", " lead", "trail ", "0x1f", "\u0085\u2028"]
PORTS = [80, 443, 443, 80, 8080, 8443, 1, 65535, 9000, 3128]
PROTOCOLS = ["tls"] * 5 + ["http"] * 5 + ["tcp", "udp", "quic", "http2"]
SOURCES = {"tls": ["sni", "sni", "sni", "dns"], "http": ["http", "http", "http", "dns", "connect"],
           "http2": ["http"], "quic": ["sni"], "tcp": ["dns"], "udp": ["dns"]}
COUNTS = [0, 1, 2, 3, 10, 1000, 2**53]


def random_time(rng):
    return f"{rng.choice([1970, 2026, 2026, 9999])}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}T" \
           f"{rng.randint(0, 23):02}:00:00Z"


def random_row(rng, hosts):
    protocol = rng.choice(PROTOCOLS)
    host = rng.choice(hosts if rng.random() < .8 else BAD_HOSTS)
    requests = rng.choice(COUNTS) if protocol.startswith("http") else 0
    row = {
        "source": {"namespace": rng.choice(NAMESPACES[:6] if rng.random() < .8 else NAMESPACES),
                   "workload": rng.choice(WORKLOADS)},
        "host": host, "nameSource": rng.choice(SOURCES[protocol]),
        "port": 0 if host == "~other" else rng.choice(PORTS) if rng.random() < .9 else rng.randint(1, 65535),
        "transport": "udp" if protocol in ("udp", "quic") else "tcp", "protocol": protocol,
        "scope": "internal" if rng.random() < .1 else "external",
        "registry": rng.choice(["unknown", "passthrough", "passthrough", "registered", "originated", "blocked"]),
        "tls": {"versions": ["1.3"] if rng.random() < .7 else [], "offered": ["1.3"] if rng.random() < .8 else [],
                "alpn": [], "ech": protocol == "tls" and rng.random() < .1},
        "bytes": {"sent": 1, "received": rng.choice([0, 1, 1000])},
        "connections": {"opened": rng.choice(COUNTS), "closed": 0, "failed": 0},
        "requests": {"total": requests, "byCode": {"200": requests // 2}},
        "tlsOrigination": protocol == "http" and rng.random() < .3,
    }
    if rng.random() < .8:
        row["firstSeen"], row["lastSeen"] = random_time(rng), random_time(rng)
    return row


def random_rows(rng):
    """Rows that are different destinations, so that merging does not come into it."""
    rows = {}
    hosts = rng.sample(GOOD_HOSTS, rng.randint(1, 5)) if rng.random() < .7 else GOOD_HOSTS
    for _ in range(rng.choice([0, 1, 5, 20, 60, 120])):
        row = random_row(rng, hosts)
        key = (row["source"]["namespace"], row["source"]["workload"], row["host"].lower(), row["port"],
               row["protocol"])
        rows.setdefault(key, row)
    return list(rows.values())


# ---- the model ------------------------------------------------------------------------------

Options = collections.namedtuple("Options", "visibility scope version everything minimum root")


def registrable(host):
    try:
        check_host(host)
    except Bad:
        return False
    return True


def useful(row, options):
    """tls, http or None."""
    ns, protocol, source = row["source"]["namespace"], row["protocol"], row["nameSource"]
    if row["scope"] == "internal" or not registrable(row["host"].lower()):
        return None
    if options.scope == "namespace" and ns and not (LABEL.fullmatch(ns) and len(ns) <= 63):
        return None
    if protocol == "tls" and source == "sni" and not row["tls"]["ech"]:
        return "tls"
    if protocol == "http" and source == "http" and row["port"] != 443:
        return "http"
    return None


def answered(row):
    """Whether a server's side of a handshake was seen; an old list only has what came back."""
    return row["tls"]["versions"] or (not row["tls"]["offered"] and row["bytes"]["received"])


def expected_ports(rows, options):
    """({port: (protocol, target)}, originate)"""
    ports = {}
    for row, kind in rows:
        ports[row["port"]] = ("TLS", None) if kind == "tls" or ports.get(row["port"], "")[:1] == ("TLS",) \
            else ("HTTP", None)
    tls_443 = any(kind == "tls" and row["port"] == 443 and answered(row) for row, kind in rows)
    originated = any(kind == "http" and row["port"] == 80 and row["tlsOrigination"] for row, kind in rows)
    originate = options.visibility == "l7" and (tls_443 or originated) and ports.get(80, "")[:1] != ("TLS",)
    if originate:
        ports[80], ports[443] = ("HTTP", 443), ("TLS", None)
    return ports, originate


def printable(text):
    """Cut at 255 bytes; what is not printable ASCII as \\xHH."""
    return "".join(chr(b) if 32 <= b < 127 else f"\\x{b:02x}" for b in text.encode()[:255])


def expected_workloads(rows, options):
    names = set()
    for row in rows:
        ns, name = printable(row["source"]["namespace"]), printable(row["source"]["workload"])
        if name:
            names.add(f"{ns}/{name}" if options.scope == "mesh" and ns else name)
    names = sorted(names)
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def expected_objects(rows, options):
    """{(namespace, host): (ports, originate, ...)} as actual_objects(), and the hosts that are registered."""
    groups, objects, registered = collections.defaultdict(list), {}, set()
    for row in rows:
        kind = useful(row, options)
        if kind:
            ns = options.root if options.scope == "mesh" else row["source"]["namespace"]
            groups[ns, row["host"].lower()].append((row, kind))
    for key, members in groups.items():
        connections = sum(row["connections"]["opened"] for row, _ in members)
        requests = sum(row["requests"]["total"] for row, _ in members)
        if not options.everything and all(row["registry"] in ("registered", "originated") for row, _ in members):
            registered.add(key[1])
        elif max(connections, requests) >= options.minimum:
            objects[key] = (*expected_ports(members, options), connections, requests,
                            "*" if options.scope == "mesh" else ".",
                            expected_workloads([row for row, _ in members], options))
    return objects, registered


def actual_objects(documents):
    rules = {(d["metadata"].get("namespace", ""), d["spec"]["host"])
             for d in documents if d["kind"] == "DestinationRule"}
    objects = {}
    for d in documents:
        if d["kind"] != "ServiceEntry":
            continue
        key = (d["metadata"].get("namespace", ""), d["spec"]["hosts"][0])
        notes = d["metadata"]["annotations"]
        objects[key] = ({p["number"]: (p["protocol"], p.get("targetPort")) for p in d["spec"]["ports"]},
                        key in rules, int(notes["egress-agent/connections"]), int(notes["egress-agent/requests"]),
                        d["spec"]["exportTo"][0], notes.get("egress-agent/workloads", ""))
    return objects


# ---- one list -------------------------------------------------------------------------------

def random_options(rng):
    return Options(rng.choice(["l4", "l7"]), rng.choice(["namespace", "mesh"]), rng.choice(["v1", "v1beta1"]),
                   rng.random() < .5, rng.choice([0, 1, 1, 1, 1, 5, 1001]), rng.choice(["istio-system", "root"]))


def arguments(options, files):
    args = ["--visibility", options.visibility, "--scope", options.scope, "--api-version", options.version,
            "--root-namespace", options.root, "--min-connections", str(options.minimum)]
    args += ["--all"] if options.everything else []
    for file in files:
        args += ["--from", file]
    return args


def write_list(path, rows):
    document = {"apiVersion": "egress-agent/v1", "kind": "DestinationList", "node": path.name, "destinations": rows}
    path.write_text(json.dumps(document, ensure_ascii=random.random() < .5))
    return str(path)


def check_stderr(errors, rows, options, objects, registered):
    for line in errors.splitlines():
        if not re.fullmatch(r"egress-agent: generate: [ -~]+", line):
            return f"stderr: {line!r}"
    made = {host for _, host in objects}
    for row in rows:
        host = row["host"].lower()
        if row["scope"] == "internal" or host in made or host in registered:
            continue
        if not options.everything and not useful(row, options) and row["registry"] in ("registered", "originated"):
            continue  # by hand, so nothing is left out
        host = "192.0.2.1" if host == "::ffff:192.0.2.1" else host
        if not re.search(rf"^egress-agent: generate: {re.escape(host)}( in namespace \S+)?: left out",
                         errors, re.MULTILINE):
            return f"{host} is dropped in silence"
    return ""


def check_list(rng, folder, schemas, seen):
    """What is wrong with one random list; empty if nothing. Counts in seen what was compared."""
    rows, options = random_rows(rng), random_options(rng)
    first = generate(arguments(options, [write_list(folder / "all.json", rows)]), env={"TZ": "UTC"})
    if first[0]:
        return f"exit {first[0]}: {first[2]}"
    shuffled = rng.sample(rows, len(rows))
    cut = rng.randint(0, len(rows))
    files = [write_list(folder / "b.json", shuffled[cut:]), write_list(folder / "a.json", shuffled[:cut])]
    second = generate(arguments(options, files), env={"TZ": "Asia/Tokyo", "LC_ALL": "C.UTF-8"})
    if first != second:
        return "the same rows in another order give other bytes"
    try:
        actual = actual_objects(judge(first[1], schemas))
    except Bad as bad:
        return f"{options}: {bad}"
    expected, registered = expected_objects(rows, options)
    if actual != expected:
        keys = [k for k in {*actual, *expected} if actual.get(k) != expected.get(k)]
        return f"{options}: {keys[0]}: got {actual.get(keys[0])}, want {expected.get(keys[0])}"
    seen["objects"] += len(actual)
    seen["pairs"] += sum(value[1] for value in actual.values())
    return check_stderr(first[2], rows, options, expected, registered)


def main():
    tap, schemas = Tap(), load_schemas()
    seed, rounds = int(os.environ.get("EA_SEED", "1")), int(os.environ.get("EA_ROUNDS", "300"))
    name = f"generate: {rounds} hostile lists, seed {seed}"
    if not os.access(BINARY, os.X_OK):
        tap.not_ok(name, f"{BINARY} is not there; make builds it")
        return 1
    if not schemas:
        tap.skip("generate: hostile lists against Istio's CRDs",
                 f"no istio-crds in {validate_crds.SHARED}; set EA_SHARED; all other rules are checked")
    random.seed(seed)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the folder below goes away
    wrong, seen = [], collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        for i in range(rounds):
            why = check_list(random.Random(f"{seed}/{i}"), pathlib.Path(folder), schemas, seen)
            if why:
                wrong.append(f"list {i}: {why}")
    if wrong:
        tap.not_ok(name, f"{len(wrong)} wrong; {wrong[0]}")
    elif not seen["pairs"]:
        tap.not_ok(name, "no list gave a pair: nothing was tested")
    else:
        tap.ok(f"{name}: {seen['objects']} objects, {seen['pairs']} of them pairs")
    return int(tap.failed)


if __name__ == "__main__":
    sys.exit(main())
