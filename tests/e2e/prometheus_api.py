#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""
`dump --prometheus` and `generate --prometheus` on Debian's Prometheus over 50 simulated agents with 200 destinations
each: agents that are started anew elsewhere, are gone, count from zero again, give up idle rows, do not say since when
they count. What the whole cluster called is known beforehand (tests/lib/agents.py), and every field that metrics carry
must be equal.

Owns: what happens to the agents, Prometheus' life. Must not know: PromQL, but for whether everything was scraped.

EA_SEED		seed (default: 1), EGRESS_AGENT the binary (default: build/egress-agent)
"""
import concurrent.futures
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

sys.dont_write_bytecode = True  # the imports leave no __pycache__ behind
HERE = pathlib.Path(__file__).resolve().parent
REPO = HERE.parent.parent
sys.path.insert(0, str(HERE.parent / "lib"))
sys.path.insert(0, str(HERE.parent / "golden"))
import agents  # noqa: E402
import check_schema  # noqa: E402

BINARY = os.environ.get("EGRESS_AGENT", str(REPO / "build/egress-agent"))
SEED = int(os.environ.get("EA_SEED", "1"))
AGENTS = 50
DEADLINE_S = 120
START_MS = 1767225600000
PREFIX = "/prom/x"
FAILED = 0


def say(ok, name, why=""):
    global FAILED
    FAILED += not ok
    why = "".join(c if c.isprintable() else "?" for c in why)[:400]
    print(f"ok - {name}" if ok else f"not ok - {name}: {why}", flush=True)


class Prometheus:
    def __init__(self, directory):
        self.directory = directory
        self.targets = directory / "targets.json"
        with socket.create_server(("127.0.0.1", 0)) as s:
            self.port = s.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}{PREFIX}"
        (directory / "prometheus.yml").write_text(json.dumps({
            "global": {"scrape_interval": "3s", "scrape_timeout": "3s"},
            "scrape_configs": [{"job_name": "egress-agent", "file_sd_configs": [
                {"files": [str(self.targets)], "refresh_interval": "1s"}],
                # As Kubernetes' discovery has it: labels of the target's own beside instance and job.
                "relabel_configs": [{"target_label": "node", "replacement": "of-the-target"}],
                # Three of four series, which nothing here asks for.
                "metric_relabel_configs": [{"source_labels": ["__name__"], "regex": ".+_bucket", "action": "drop"}]}]}))
        self.process = None

    def start(self):
        """With targets that are there: it looks for others only every five seconds."""
        with open(self.directory / "prometheus.log", "wb") as log:
            self.process = subprocess.Popen(
                ["prometheus", "--log.level=warn", f"--config.file={self.directory}/prometheus.yml",
                 f"--storage.tsdb.path={self.directory}/tsdb", f"--web.listen-address=127.0.0.1:{self.port}",
                 f"--web.route-prefix={PREFIX}"], stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def scrape(self, targets):
        new = self.targets.with_suffix(".new")
        new.write_text(json.dumps([{"targets": [t.address for t in targets], "labels": {"cluster": "east"}}]))
        new.rename(self.targets)

    def ask(self, promql):
        query = urllib.parse.urlencode({"query": promql})
        with urllib.request.urlopen(f"{self.url}/api/v1/query?{query}", timeout=30) as answer:
            result = json.load(answer)["data"]["result"]
        return int(float(result[0]["value"][1])) if result else 0

    def wait_for(self, n, since):
        """Until n targets, and no others, were scraped after that time."""
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                if self.ask("count(up)") == n == self.ask(f"count(timestamp(up == 1) > {since:.3f})"):
                    return
            except OSError:
                pass
            time.sleep(0.5)
        raise RuntimeError(f"not scraped in {DEADLINE_S} s; " + (self.directory / "prometheus.log").read_text()[-300:])

    def close(self):
        if not self.process:
            return
        self.process.terminate()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Cluster:
    """The agents through what happens to them; in the end the truth is in current and past."""

    def __init__(self, prometheus):
        self.prometheus = prometheus
        self.counters = [agents.Counters(1000 * SEED + i, f"node-{i:02}", START_MS + i) for i in range(AGENTS)]
        self.silent = {7}
        self.targets = {}
        self.past = []
        self.publish(range(AGENTS))

    def publish(self, which, generation=0):
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            texts = pool.map(lambda i: self.counters[i].exposition(START_MS + 10**6 * (generation + 1) + i,
                                                                   i in self.silent), which)
        for i, text in zip(which, texts):
            if i in self.targets:
                self.targets[i].set(text)
            else:
                self.targets[i] = agents.Target(text)

    def settle(self):
        self.prometheus.scrape(self.targets.values())
        if not self.prometheus.process:
            self.prometheus.start()
        # Clocks of the same machine; a scrape that was under way is not waited for.
        self.prometheus.wait_for(len(self.targets), time.time())

    def drop(self, i):
        self.targets.pop(i).close()

    def live(self):
        # Started anew under another address: the same counters, which went on counting.
        for i in (0, 1, 2, 3, 4):
            self.drop(i)
            self.counters[i].grow()
        # Gone, and its facts with it; what it counted stays.
        self.drop(5)
        self.past += self.counters[5].rows.values()
        # The node was made anew: other maps, another agent.
        self.drop(6)
        self.past += self.counters[6].rows.values()
        self.counters[6] = agents.Counters(1000 * SEED + 600, "node-06", START_MS + 10**5)
        self.past += self.counters[8].give_up(20)
        for i in range(10, AGENTS):
            self.counters[i].grow()
        self.publish([i for i in range(AGENTS) if i != 5], 1)

    def truth(self):
        """Rows that were given up: what ~other has of them is theirs again, so they are no part of it."""
        given = [r for r in self.past if r not in self.counters[5].rows.values()]
        current = []
        for i, counters in enumerate(self.counters):
            if i == 5:
                continue
            rows = list(counters.rows.values())
            current += [self.without_given(r, given) for r in rows] if i == 8 else rows
        return agents.truth([r for r in current if r], self.past)

    @staticmethod
    def without_given(row, given):
        mine = [g for g in given if g["source"] is row["source"] and g["protocol"] == "tls"]
        return row if row["host"] != "~other" or row["protocol"] != "tls" else subtract(row, mine)


def subtract(row, given):
    row = json.loads(json.dumps(row))
    for g in given:
        for group in ("connections", "bytes"):
            for name, count in g[group].items():
                row[group][name] -= count
        row["tls"]["handshakesFailed"] -= g["tls"]["handshakesFailed"]
    empty = not any(row["connections"].values()) and not any(row["bytes"].values())
    return None if given and empty else row


# ---- comparing ----

def run(*args):
    done = subprocess.run([BINARY, *args], stdin=subprocess.DEVNULL, capture_output=True, timeout=300)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def normal(row):
    row = dict(row, findings=sorted(row["findings"]))
    if not row["source"].get("canonicalRevision"):
        row["source"] = {k: v for k, v in row["source"].items() if k != "canonicalRevision"}
    requests = row["requests"]
    if not requests.get("requestBytes") and not requests.get("responseBytes"):
        row["requests"] = {k: v for k, v in requests.items() if k not in ("requestBytes", "responseBytes")}
    return row


def differences(got, want):
    got, want = list(map(normal, got)), list(map(normal, want))
    if len(got) != len(want):
        keys = {agents.key_of(dict(r, source={"canonicalRevision": "", **r["source"]})) for r in got}
        missing = [r for r in want if agents.key_of(r) not in keys][:2]
        return f"{len(got)} rows, not {len(want)}; missing {missing}"
    for a, b in zip(got, want):
        for key in sorted(set(a) | set(b)):
            if a.get(key) != b.get(key):
                return f"{b['source']['workload']} {b['host']}:{b['port']} {b['protocol']}: {key} is {a.get(key)}, " \
                       f"not {b.get(key)}"
    return ""


def check_dump(url, want):
    took = time.monotonic()
    status, out, err, cpu, mib = agents.measured(BINARY, "dump", "--prometheus", url + "/", "--range", "1h", "-o", "json")
    took = time.monotonic() - took
    if status:
        say(False, "dump --prometheus -o json", err)
        return None
    document = json.loads(out)
    why = differences(document["destinations"], want)
    say(not why, f"{len(document['destinations'])} destinations of the whole cluster, every field that metrics carry: "
                 f"{took:.1f} s, {cpu:.1f} s of CPU, {mib} MiB RSS", why)
    found = check_schema.faults(document)
    say(not found, "it is a DestinationList by the schema", "; ".join(found[:3]))
    notes = [line for line in err.splitlines() if line]
    say(len(notes) == 1 and "agents that do not say since when they count: 1;" in notes[0],
        "the agent that does not say since when it counts is one note", err)
    return document


def check_header(document, cluster):
    folded = sum(c.folded for c in cluster.counters) + cluster.gone[0]
    dropped = sum(c.dropped for c in cluster.counters) + cluster.gone[1]
    say(document["limits"] == {"destinationsDropped": dropped, "hostsFolded": folded}, "limits are those of all agents",
        f"{document['limits']}, not {dropped}, {folded}")
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(START_MS / 1000))
    say(document["observedSince"] == since and document["node"] == "", "observedSince is the earliest of all, node is none",
        f"{document.get('observedSince')} {document['node']}")


def check_selections(url, want):
    def chosen(*args, keep):
        name = " ".join(a if len(a) < 30 else a[:8] + "..." for a in args)
        status, out, err = run("dump", "--prometheus", url, "--range", "1h", "-o", "json", *args)
        rows = [r for r in want if keep(r)]
        why = differences(json.loads(out)["destinations"], rows) if status == 0 else err
        say(not why and rows, f"dump {name!r}: {len(rows)} rows", why or "no rows to compare")

    chosen("-n", "x(y)*", keep=lambda r: r["source"]["namespace"] == "x(y)*")
    chosen("-n", "", keep=lambda r: r["source"]["namespace"] == "")
    for workload in ('a"b\\c', "new\nline", "^.*$", "w" * 1024):
        chosen("--workload", workload, keep=lambda r, w=workload: r["source"]["workload"] == w)
    chosen("-n", "shop", "--workload", "cart", "--visibility", "l7",
           keep=lambda r: r["source"]["namespace"] == "shop" and r["source"]["workload"] == "cart" and
           r["visibility"] == "l7")
    chosen("--host", "*.shop-1.example", keep=lambda r: r["host"].endswith(".shop-1.example"))
    chosen("--registry", "blocked", keep=lambda r: r["registry"] == "blocked")
    chosen("--prometheus-selector", 'cluster="east"', keep=lambda r: True)
    status, out, err = run("dump", "--prometheus", url, "--prometheus-selector", 'cluster="west"', "-o", "json")
    say(status == 0 and json.loads(out)["destinations"] == [], "a selector that nothing has selects nothing", err)
    status, out, err = run("dump", "--prometheus", url, "--prometheus-selector", 'cluster=', "-o", "json")
    say(status == 1 and not out and "parse error" in err and "--prometheus-selector" in err,
        "a selector that is no PromQL is one line", err)


def check_forms(url, want):
    lines = 1 + sum(r["source"]["namespace"] == "shop" for r in want)
    for form in ("table", "wide", "tsv"):
        status, out, err = run("dump", "--prometheus", url, "-n", "shop", "-o", form, "--sort", "connections")
        count = len([line for line in out.splitlines() if line])
        plain = all(c.isprintable() or c in "\n\t" for c in out)
        say(status == 0 and lines <= count <= lines + 2 and plain, f"dump -o {form}: {count} lines", err or f"not {lines}")


def check_generate(url, document, want, directory):
    saved = directory / "truth.json"
    saved.write_text(json.dumps({"apiVersion": "egress-agent/v1", "kind": "DestinationList", "destinations": want,
                                 "limits": document["limits"]}))
    existing = directory / "existing"
    existing.mkdir()
    (existing / "owner.yaml").write_text(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: theirs, namespace: bank}\n"
        "spec: {hosts: [httpbin.org], ports: [{number: 443, name: tls, protocol: TLS}], resolution: DNS}\n")
    for args in ([], ["--existing", str(existing), "--visibility", "l7", "--all"], ["--wildcard", "3"], ["-n", "shop", "--all"],
                 ["--scope", "mesh", "--min-connections", "1000000"]):
        got = run("generate", "--prometheus", url, *args)
        expected = run("generate", "--from", str(saved), *args)
        notes = "\n".join(line for line in got[2].splitlines() if "--prometheus: " not in line)
        words = " ".join(args[:1])
        say(got[0] == expected[0] and got[1] == expected[1] and "kind:" in got[1],
            f"generate --prometheus {words}: {got[1].count('kind:')} lines of objects, as --from the truth",
            got[2] if got[0] else "other YAML")
        other = sorted(set(notes.splitlines()) ^ set(expected[2].splitlines()))
        say(not other and len(notes) > 0, f"generate --prometheus {words}: the same notes", "; ".join(other[:3]))


def main():
    # Directories are removed and processes ended on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="egress-agent-prometheus-") as name:
        directory = pathlib.Path(name)
        prometheus = Prometheus(directory)
        try:
            cluster = Cluster(prometheus)
            cluster.settle()
            cluster.gone = [sum(getattr(cluster.counters[i], k) for i in (6,)) for k in ("folded", "dropped")]
            cluster.live()
            cluster.settle()
            want = cluster.truth()
            document = check_dump(prometheus.url, want)
            if document:
                check_header(document, cluster)
                check_selections(prometheus.url, want)
                check_forms(prometheus.url, want)
                check_generate(prometheus.url, document, want, directory)
        finally:
            prometheus.close()
    sys.exit(FAILED > 0)


if __name__ == "__main__":
    main()
