#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Does every panel and variable of the dashboard, and every rule, answer in a real Prometheus that scrapes two agents?

Owns: a Prometheus of its own, and what it scrapes: expositions of two nodes (build/exposition), one step further at each scrape. Must
not know: what a panel or a rule means.

	monitoring_live.py --prometheus BINARY --rules RULES.yaml --dashboard FILE.json --podmonitor FILE.yaml --exposition BINARY

Prints a line a case, `ok<TAB>NAME` or `not ok<TAB>NAME<TAB>WHY`. Nothing but loopback is used, and nothing is left.
"""
import argparse
import http.server
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request

import yaml

DEADLINE = 45  # seconds for all there is to answer
AGENTS = 2
# Rates look back 5 minutes, and 2 scrapes are enough for one; rule groups are evaluated every second.
SETTINGS = {"global": {"scrape_interval": "1s", "evaluation_interval": "1s"}}
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Agent(http.server.BaseHTTPRequestHandler):
    """Answers /NODE/metrics; each time a step further."""

    steps = [0] * AGENTS
    exposition = ""

    def do_GET(self):  # pylint: disable=invalid-name
        """One scrape."""
        node = int(self.path.split("/")[1])
        Agent.steps[node] += 1
        form = "openmetrics" if "openmetrics" in self.headers.get("Accept", "") else "text"
        body = subprocess.run([Agent.exposition, str(node), str(Agent.steps[node]), form], capture_output=True, check=True).stdout
        self.send_response(200)
        self.send_header("Content-Type", "application/openmetrics-text; version=1.0.0; charset=utf-8" if form == "openmetrics"
                         else "text/plain; version=0.0.4; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            pass  # Prometheus ended in the middle of a scrape, as it does at the end

    def log_message(self, format, *args):  # pylint: disable=redefined-builtin
        """Silence."""


def dropped(path):
    """What the PodMonitor has Prometheus not store, as the operator writes it into Prometheus' own settings."""
    with open(path, encoding="utf-8") as file:
        (end,) = yaml.safe_load(file)["spec"]["podMetricsEndpoints"]
    return [{re.sub("[A-Z]", lambda match: "_" + match.group().lower(), key): value for key, value in rule.items()}
            for rule in end["metricRelabelings"]]


class Prometheus:
    """One in a folder of its own."""

    def __init__(self, options, agents):
        self.dir = tempfile.mkdtemp(prefix="egress-agent-monitoring-")
        self.process = None
        with open(options.rules, encoding="utf-8") as file:
            text = re.sub(r"^( *interval): \w+$", r"\1: 1s", file.read(), flags=re.M)
        self.write("rules.yaml", text)
        targets = [{"targets": [f"127.0.0.1:{agents}"], "labels": {"__metrics_path__": f"/{node}/metrics", "node": f"n{node}",
                                                                   "pod": f"egress-agent-{node}"}} for node in range(AGENTS)]
        # One address, two agents.
        relabel = [{"source_labels": ["node"], "target_label": "instance"}]
        self.write("prometheus.yml", json.dumps(dict(SETTINGS, rule_files=["rules.yaml"], scrape_configs=[
            {"job_name": "egress-agent/egress-agent", "static_configs": targets, "relabel_configs": relabel,
             "metric_relabel_configs": dropped(options.podmonitor)}])))
        self.seed()
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{one.getsockname()[1]}"
        with open(os.path.join(self.dir, "log"), "wb") as log:
            self.process = subprocess.Popen(
                [options.prometheus, "--log.level=warn", f"--config.file={self.dir}/prometheus.yml",
                 f"--storage.tsdb.path={self.dir}/data", f"--web.listen-address={self.address}"], stdout=log, stderr=log)

    def seed(self):
        """A host that namespace shop talked to two days ago: what it talks to now is new."""
        self.write("past.txt", "# TYPE namespace_destination:egress_destination_info:count gauge\n"
                   "namespace_destination:egress_destination_info:count"
                   f'{{source_workload_namespace="shop",destination_service="old.example"}} 1 {int(time.time()) - 2 * 86400}\n# EOF\n')
        subprocess.run(["promtool", "tsdb", "create-blocks-from", "openmetrics", f"{self.dir}/past.txt", f"{self.dir}/data"],
                       stdout=subprocess.DEVNULL, check=True)

    def write(self, name, text):
        """A file in its folder."""
        with open(os.path.join(self.dir, name), "w", encoding="utf-8") as file:
            file.write(text)

    def get(self, path, **query):
        """`data` of an answer of the API; ValueError with what Prometheus says against it."""
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with OPENER.open(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(json.load(error).get("error")) from None

    def said(self):
        """What it logged: warnings and errors only, and none of them about its clean folder."""
        with open(os.path.join(self.dir, "log"), encoding="utf-8", errors="replace") as file:
            return [line.strip() for line in file if "No automatic GOMAXPROCS" not in line]

    def end(self):
        """No process, no folder."""
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


def report(name, wrong):
    """One line of the result."""
    print("\t".join(["not ok", name, "; ".join(wrong)[:600].replace("\n", " ").replace("\t", " ")] if wrong else ["ok", name]), flush=True)


def filled(expr, **values):
    """An expression with Grafana's variables in it replaced."""
    values = dict({"namespace": ".*", "workload": ".*", "host": ".*", "__range": "1h", "__rate_interval": "1m"}, **values)
    return re.sub(r"\$(\w+)", lambda match: values[match.group(1)], expr)


def queries(dashboard):
    """(panel, expression) of all targets."""
    for panel in dashboard["panels"]:
        for one in [panel, *panel.get("panels", [])]:
            for target in one.get("targets", []):
                yield one["title"], target["expr"]


def until(deadline, ask):
    """Ask until there is nothing wrong any more, or time is up: what was wrong last."""
    while True:
        try:
            wrong = list(ask())
        except (OSError, ValueError) as error:
            wrong = [str(error)]
        if not wrong or time.monotonic() > deadline:
            return wrong
        time.sleep(0.5)


def without_data(prometheus, dashboard):
    """Panels that do not answer, or with what is no number."""
    for title, expr in queries(dashboard):
        result = prometheus.get("query", query=filled(expr))["result"]
        if not result or all(one["value"][1] == "NaN" for one in result):
            yield f"{title}: nothing for {filled(expr)}"


def without_values(prometheus, dashboard):
    """Variables without a choice, asked as Grafana does."""
    for one in dashboard["templating"]["list"][1:]:
        selector, label = re.fullmatch(r"label_values\((.*), (\w+)\)", one["query"]["query"]).groups()
        if not prometheus.get(f"label/{label}/values", **{"match[]": filled(selector)}):
            yield one["name"]


def unhealthy(prometheus, rules):
    """Rules that could not be evaluated, or were not yet."""
    seen = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    if len(seen) != sum(len(group["rules"]) for group in rules["groups"]):
        yield f"{len(seen)} rules"
    for rule in seen:
        if rule["health"] != "ok" or rule.get("lastError"):
            yield f"{rule['name']}: {rule['health']} {rule.get('lastError')}"


def recorded_nothing(prometheus, rules):
    """Recorded names without a sample."""
    for rule in (rule for group in rules["groups"] for rule in group["rules"] if "record" in rule):
        if not prometheus.get("query", query=rule["record"])["result"]:
            yield rule["record"]


def badly_put(prometheus):
    """Alerts that are due whose text could not be put together; and none due at all."""
    alerts = prometheus.get("alerts")["alerts"]
    if not {"EgressNewExternalHost", "EgressMeshBypass", "EgressQuicBypass", "EgressHostErrors"} <= {
            one["labels"]["alertname"] for one in alerts}:
        yield f"due are only {sorted({one['labels']['alertname'] for one in alerts})}"
    for one in alerts:
        for text in one["annotations"].values():
            if "<error" in text or "<no value>" in text or "{{" in text:
                yield f"{one['labels']['alertname']}: {text}"


def narrowed(prometheus, dashboard):
    """Panels that do not parse, or answer about others, when choices were made."""
    for title, expr in queries(dashboard):
        result = prometheus.get("query", query=filled(expr, namespace="shop", workload="checkout|x", host=r"api\\.payments\\.example"))["result"]
        for one in result if "$host" in expr else []:
            for label, want in (("destination_service", "api.payments.example"), ("source_workload", "checkout")):
                if label != "source_workload" or "$workload" in expr:
                    if one["metric"].get(label, want) != want:
                        yield f"{title}: {one['metric']}"


def counted(prometheus, dashboard):
    """Destinations of a namespace: each once, whatever several agents say of it; 0 where there are none that are named or readable,
    nothing where there is no registry."""
    for title, namespace, want in (
            ("Named destinations", "mail", {"": "0"}), ("Named destinations", "shop", {"": "0.4"}), ("Named destinations", "", {}),
            ("L7 destinations", "mail", {"": "0"}), ("L7 destinations", "shop", {"": "0.2"}),
            ("Destinations by visibility", "shop", {"l4": "4", "l7": "1"}),
            ("Destinations by registry", "shop", {"passthrough": "2", "registered": "1", "originated": "1", "blocked": "1"}),
            ("Destinations by interception", "shop", {"sidecar": "4", "ambient": "1", "bypass": "1"})):
        expr = next(expr for name, expr in queries(dashboard) if name == title)
        result = {"".join(one["metric"].values()): one["value"][1]
                  for one in prometheus.get("query", query=filled(expr, namespace=namespace))["result"]}
        if result != want:
            yield f"{title} of namespace '{namespace}': {result}, not {want}"


def stored(prometheus):
    """Names of an exposition that Prometheus has not got, and times of creation that it has."""
    text = subprocess.run([Agent.exposition, "0", "1", "openmetrics"], capture_output=True, check=True, text=True).stdout
    told = set(re.findall(r"^(\w+)", text, flags=re.M))
    created = {name for name in told if name.endswith("_created")}
    kept = set(prometheus.get("label/__name__/values", **{"match[]": '{job="egress-agent/egress-agent"}'}))
    if not created > {"egress_tcp_sent_bytes_created", "egress_tcp_connect_duration_seconds_created", "process_cpu_seconds_created"}:
        yield f"the exposition tells of {sorted(created)}"
    for name in told - created - kept:
        yield f"{name} is not stored"
    for name in created & kept:
        yield f"{name} is stored"


def shrinks(prometheus):
    """Series that are kept for the cluster, against those that the agents have."""
    raw = prometheus.get("query", query='count({__name__=~"egress_.*", __name__!~"egress_agent_.*"})')["result"]
    kept = prometheus.get("query", query='count({__name__=~"(workload|namespace).*:egress_.*"})')["result"]
    return int(raw[0]["value"][1]), int(kept[0]["value"][1])


def check(prometheus, dashboard, rules):
    """All cases."""
    deadline = time.monotonic() + DEADLINE
    name = f"in Prometheus {until_version(prometheus, deadline)}: "
    report(name + "both agents are scraped", until(deadline, lambda: [
        str(one["metric"]) for one in prometheus.get("query", query="up")["result"] if one["value"][1] != "1"] or (
            [] if len(prometheus.get("query", query="up")["result"]) == AGENTS else ["not all of them"])))
    report(name + "all is stored, but for the times of creation", until(deadline, lambda: stored(prometheus)))
    report(name + "every rule is evaluated", until(deadline, lambda: unhealthy(prometheus, rules)))
    report(name + "every recorded name has samples", until(deadline, lambda: recorded_nothing(prometheus, rules)))
    report(f"{name}each of {len(list(queries(dashboard)))} queries of the dashboard answers with data",
           until(deadline, lambda: without_data(prometheus, dashboard)))
    report(name + "each variable has values to choose from", until(deadline, lambda: without_values(prometheus, dashboard)))
    report(name + "what was chosen narrows every panel", until(deadline, lambda: narrowed(prometheus, dashboard)))
    report(name + "destinations are counted once, and 0 where there are none", until(deadline, lambda: counted(prometheus, dashboard)))
    report(name + "alerts that are due say what they mean", until(deadline, lambda: badly_put(prometheus)))
    raw, kept = shrinks(prometheus)
    report(f"{name}of {raw} series of {AGENTS} agents {kept} are kept for the cluster", [] if kept < raw else ["no fewer"])
    report(name + "it has nothing to complain of", prometheus.said())


def until_version(prometheus, deadline):
    """Its version, once it answers."""
    until(deadline, lambda: [] if prometheus.get("status/buildinfo") else ["no version"])
    return prometheus.get("status/buildinfo")["version"]


def main():
    """Start, ask, end."""
    parser = argparse.ArgumentParser()
    for name in ("prometheus", "rules", "dashboard", "podmonitor", "exposition"):
        parser.add_argument("--" + name, required=True)
    options = parser.parse_args()
    with open(options.dashboard, encoding="utf-8") as file:
        dashboard = json.load(file)
    with open(options.rules, encoding="utf-8") as file:
        rules = yaml.safe_load(file)
    Agent.exposition = os.path.abspath(options.exposition)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Agent)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    prometheus = Prometheus(options, server.server_port)
    try:
        check(prometheus, dashboard, rules)
    finally:
        prometheus.end()
        server.shutdown()


if __name__ == "__main__":
    sys.exit(main())
