#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Recording rules, alerts and the dashboard of deploy/, without a Prometheus: is the object sound, do promtool's tests prove each
rule, does the dashboard ask for what there is?

Owns: the rules for rules and dashboards, and faults made on purpose that they must find. Must not know: what an agent exports (it
reads an exposition), how a query answers (monitoring_live.py).

	check_monitoring.py --object prometheusrule.yaml --rules RULES.yaml --dashboard FILE.json --tests DIR --exposition TEXT

Prints a line a case, `ok<TAB>NAME` or `not ok<TAB>NAME<TAB>WHY`.
"""
import argparse
import concurrent.futures
import copy
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

import yaml

# Not the agent's: Prometheus' own, and kube-state-metrics'.
FOREIGN = {"up", "kube_daemonset_status_desired_number_scheduled", "kube_daemonset_status_number_ready"}
GRAFANA = {"__range", "__rate_interval", "__all"}
WORDS = {"and", "or", "unless", "bool", "offset"}
GROUPING = r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)"

# What to break in the text of the rules, and that promtool's tests must then fail. {file: [(why it is there, text, instead)]}
BROKEN = {
    "workloads.yaml": [
        ("restarted agents are left out", "unless on (job, instance) changes(egress_agent_start_time_seconds[7m]) > 0", ""),
        ("they are left out for long enough", "[7m]) > 0", "[1m]) > 0"),
    ],
    "destinations.yaml": [("~other has no rate of its own", '{destination_service!="~other"}', "")],
    "coverage.yaml": [("nothing named is 0", "or 0 *", "or 5 *"), ("~other is no destination", ', destination_service!~"~.*"', "")],
    "coverage-destinations.yaml": [("few destinations are no coverage", ">= 5", ">= 1"), ("for an hour", "for: 1h", "for: 0s")],
    "coverage-bytes.yaml": [("little traffic is no coverage", "> 1000", "> 1")],
    "new-hosts.yaml": [
        ("a namespace is learnt for a day", "last_over_time(namespace_destination:egress_destination_info:count[6d] offset 1d)",
         "namespace_destination:egress_destination_info:count"),
        ("an address is no host", 'name_source!="ip", ', ""),
        ("~other is no host", 'name_source!="ip", destination_service!~"~.*"', 'name_source!="ip"'),
        ("many are one", "> 20", "> 30"),
    ],
    "new-hosts-week.yaml": [("known for a week", "count[7d] offset 1h", "count[2d] offset 1h"),
                            ("no longer than a week", "count[7d] offset 1h", "count[30d] offset 1h")],
    "errors.yaml": [("a ratio", "> 0.05\n", "> 0.005\n"), ("few requests", ":rate5m) > 0.05", ":rate5m) > 0"),
                    ("no answer is an error", '"5..|0"', '"5.."'), ("few connections", ":rate5m) > 0.02", ":rate5m) > 0"),
                    ("some connections always fail", "> 0.1\n", "> 0.01\n")],
    "bypass.yaml": [("only what is in use", ":rate5m > 0", ":rate5m >= 0"), ("QUIC is no TCP", ', request_protocol!~"quic|udp"', "")],
    "agent.yaml": [("Istio's sample Prometheus", ' or up{app_kubernetes_io_name="egress-agent"} == 0', ""),
                   ("no HTTP is no loss", '{reason!="not_http"}', ""), ("nearly full", "> 0.9", "> 0.85"),
                   ("some restarts", "> 2", "> 0"),
                   ("one failure is none", "leave_failures_total[30m]", "leave_failures_total[50m]"),
                   ("hosts without a line", " or delta(egress_agent_hosts_folded[1h]) > 0", "")],
}


def report(name, wrong):
    """One line of the result."""
    print("\t".join(["not ok", name, "; ".join(wrong)[:600].replace("\n", " ").replace("\t", " ")] if wrong else ["ok", name]))


def metrics_of(expr):
    """Names of the metrics that an expression selects."""
    expr = re.sub(r"\{[^}]*\}", " ", expr)
    expr = re.sub(GROUPING, " ", expr)
    expr = re.sub(r'"[^"]*"', " ", expr)
    expr = re.sub(r"\[[^\]]*\]|\boffset\s+\w+", " ", expr)
    names = re.findall(r"(?<![\w:.$])([a-zA-Z_:][\w:]*)\b(?!\s*\()", expr)
    return {name for name in names if name not in WORDS}


def exported(path):
    """Names of all samples of an exposition."""
    with open(path, encoding="utf-8") as file:
        return {re.match(r"[\w:]+", line).group() for line in file if line.strip() and line[0] != "#"}


def rules_of(document):
    """All rules, in order."""
    return [rule for group in document["groups"] for rule in group["rules"]]


def load(text):
    """YAML."""
    return yaml.load(text, Loader=yaml.CSafeLoader)


def dump(document, indices):
    """Some of the rules, as text."""
    count = itertools.count()
    groups = [dict(group, rules=[rule for rule in group["rules"] if next(count) in indices]) for group in document["groups"]]
    return yaml.dump({"groups": groups}, Dumper=yaml.CSafeDumper, sort_keys=False)


def object_wrong(one, plain, known):
    """What is wrong with the PrometheusRule."""
    if one.get("apiVersion") != "monitoring.coreos.com/v1" or one.get("kind") != "PrometheusRule":
        yield "not a PrometheusRule"
    if one.get("spec") != plain:
        yield "what is below spec is not the file for Prometheus"
    names = [group["name"] for group in one["spec"]["groups"]]
    if len(set(names)) != len(names):
        yield "two groups have one name"
    recorded = {rule["record"] for rule in rules_of(plain) if "record" in rule}
    for group in one["spec"]["groups"]:
        if not set(group) <= {"name", "interval", "rules"}:
            yield f"{group['name']}: {sorted(group)}"
    for rule in rules_of(one["spec"]):
        yield from rule_wrong(rule, known | recorded | FOREIGN)


def rule_wrong(rule, known):
    """What is wrong with one rule."""
    name = rule.get("alert") or rule.get("record", "a rule without a name")
    want = {"alert", "expr", "labels", "annotations"} if "alert" in rule else {"record", "expr"}
    if not want <= set(rule) <= want | {"for"}:
        yield f"{name}: fields {sorted(rule)}"
        return
    for metric in metrics_of(rule["expr"]) - known:
        yield f"{name}: nobody exports {metric}"
    if "record" in rule:
        level = name.split(":")
        if len(level) != 3 or not level[1].startswith("egress_") or "rate(" in rule["expr"] and "_total:" in name:
            yield f"{name} is not level:metric:operations"
        return
    if rule["labels"].get("severity") not in {"critical", "warning"}:
        yield f"{name}: severity {rule['labels'].get('severity')}"
    if set(rule["annotations"]) != {"summary", "description", "runbook"}:
        yield f"{name}: annotations {sorted(rule['annotations'])}"
    if not re.fullmatch(r"[0-9]+[mh]", rule.get("for", "1m")):
        yield f"{name}: for {rule['for']}"


class Units:
    """promtool over the tests, in a folder of their own."""

    def __init__(self, tests, text):
        self.text = text
        self.tests = {}
        for name in sorted(os.listdir(tests)):
            with open(os.path.join(tests, name), encoding="utf-8") as file:
                self.tests[name] = file.read()
        self.cost = {}  # seconds
        self.samples = {name: list(self.expected(text)) for name, text in self.tests.items()}

    @staticmethod
    def expected(text):
        """(expression, labels of the sample, or None where there is to be none)."""
        for case in load(text)["tests"]:
            for query in case["promql_expr_test"]:
                for sample in query.get("exp_samples", []) or [None]:
                    yield query["expr"], sample and sample["labels"]

    def run(self, name, text):
        """promtool's complaint about a test under these rules, empty where it has none."""
        folder, begin = tempfile.mkdtemp(), time.monotonic()
        try:
            for path, content in ((name, self.tests[name]), ("egress-agent.rules.yaml", text)):
                with open(os.path.join(folder, path), "w", encoding="utf-8") as file:
                    file.write(content)
            done = subprocess.run(["promtool", "test", "rules", name], cwd=folder, env=dict(os.environ, GOGC="400", GOMAXPROCS="1"),
                                  capture_output=True, text=True, timeout=300, check=False)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        self.cost.setdefault(name, time.monotonic() - begin)
        if done.returncode == 0:
            return ""
        # A fault must be found by what the rules answer, not because they no longer load.
        return "FAILED" in done.stdout + done.stderr and (done.stdout + done.stderr).split("FAILED:", 1)[-1] or "ERROR " + done.stderr

    def first(self, names, document, needed):
        """The complaint of the first test that has one, under the rules that it needs."""
        return next(filter(None, (self.run(name, dump(document, needed[name])) for name in names)), "")

    def needed(self, test, document):
        """Indices of the rules that a test is about, and of those that they stand on."""
        rules = rules_of(document)
        todo, found = [index for index, rule in enumerate(rules) if test in self.naming(rule)], set()
        while todo:
            index = todo.pop()
            found.add(index)
            todo += [other for other, rule in enumerate(rules) if other not in found and
                     rule.get("record") in metrics_of(rules[index]["expr"])]
        return found

    def naming(self, rule):
        """Tests that say what a rule answers."""
        word = f'"{rule["alert"]}"' if "alert" in rule else rule["record"]
        share = rule.get("labels", {}).get("share", "")
        for name, samples in self.samples.items():
            if any(self.says(word, expr, labels or "") and share in (labels or share) for expr, labels in samples) and \
                    (not share or any(share in (labels or "") for _, labels in samples)):
                yield name

    @staticmethod
    def says(word, expr, labels):
        """Whether a query is about a rule."""
        if word.startswith('"'):
            return word in labels or f"alertname={word}" in expr
        return re.search(rf"{re.escape(word)}(?![\w:])", expr) is not None


def mutants(units, document):
    """(tests, name of the fault, rules): each rule made to answer otherwise."""
    for index, rule in enumerate(rules_of(document)):
        name = rule.get("alert") or rule["record"]
        if "record" in rule:
            changes = {"doubled": {"expr": f"2 * ({rule['expr']})"}}
        else:
            changes = {"never": {"expr": "vector(1) < 0"}, "always": {"expr": f"({rule['expr']}) or vector(1)"}}
            if "for" in rule:
                changes["at once"] = {"for": "0s"}
        for what, change in changes.items():
            other = copy.deepcopy(document)
            rules_of(other)[index].update(change)
            yield sorted(units.naming(rule), key=units.cost.get), f"{name} {what}", other


def check_units(units, document):
    """The tests pass; each rule has one; and no fault passes."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for name, wrong in zip(units.tests, pool.map(lambda name: units.run(name, units.text), units.tests)):
            report(f"promtool test rules {name}", [wrong] if wrong else [])
        # Faults are looked for with fewer rules; without a fault they must do.
        needed = {test: units.needed(test, document) for test in units.tests}
        wrong = pool.map(lambda name: units.run(name, dump(document, needed[name])), units.tests)
        report("each test passes with the rules that it is about", list(filter(None, wrong)))
        untested = [rule.get("alert") or rule["record"] for rule in rules_of(document) if not list(units.naming(rule))]
        report(f"each of {len(rules_of(document))} rules has a test", untested)
        silent = [rule["alert"] for rule in rules_of(document) if "alert" in rule and not all(
            any(f'{rule["alert"]}"' in str(labels) if fires else "ALERTS" in expr and labels is None
                for test in units.naming(rule) for expr, labels in units.samples[test]) for fires in (True, False))]
        report("each alert has a test in which it fires, and one in which it does not", silent)
        faults = list(mutants(units, document))
        for test, changes in BROKEN.items():
            for why, old, new in changes:
                if old not in units.text:
                    report(f"{test}: {why}", [f"the rules have no {old}"])
                faults.append(([test], why, load(units.text.replace(old, new))))
        answers = pool.map(lambda fault: units.first(fault[0], fault[2], needed), faults)
        report(f"{len(faults)} faults made on purpose are found by promtool's tests",
               [f"{' '.join(tests)}: {what}: {answer or 'not found'}" for (tests, what, _), answer in zip(faults, answers)
                if not answer or answer.startswith("ERROR")])


def template_wrong(units, document):
    """Labels that annotations name, and firing alerts have not got."""
    for rule in rules_of(document):
        if "alert" not in rule:
            continue
        have = [set(re.findall(r'(\w+)="', labels)) for test in units.naming(rule) for expr, labels in units.samples[test]
                if labels and f'alertname="{rule["alert"]}"' in labels]
        used = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
        for labels in have[:1]:
            if used - labels:
                yield f"{rule['alert']}: {sorted(used - labels)}"
        if rule["alert"] != "EgressAgentAbsent" and not used:
            yield f"{rule['alert']} does not say of whom it speaks"


def panels_of(dashboard):
    """All panels but rows."""
    for panel in dashboard["panels"]:
        yield from (one for one in [panel, *panel.get("panels", [])] if one["type"] != "row")


def datasources_of(node):
    """Every data source that stands anywhere in the dashboard."""
    if isinstance(node, dict):
        if "datasource" in node:
            yield node["datasource"]
        node = list(node.values())
    for one in node if isinstance(node, list) else []:
        yield from datasources_of(one)


def dashboard_wrong(dashboard, known):
    """What is wrong with the dashboard."""
    ids = [panel["id"] for panel in dashboard["panels"]] + [one["id"] for panel in dashboard["panels"] for one in panel.get("panels", [])]
    if len(set(ids)) != len(ids):
        yield "two panels have one id"
    if dashboard.get("id") is not None or "__inputs" in dashboard or not dashboard.get("uid") or not dashboard.get("title"):
        yield "not in the form of a file to provision"
    variables = [one["name"] for one in dashboard["templating"]["list"]]
    if variables != ["datasource", "namespace", "workload", "host"]:
        yield f"variables {variables}"
    if dashboard["templating"]["list"][0]["type"] != "datasource" or dashboard["templating"]["list"][0]["query"] != "prometheus":
        yield "the data source is not chosen by a variable"
    for one in datasources_of(dashboard):
        if one != {"type": "prometheus", "uid": "${datasource}"}:
            yield f"data source {one}"
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(dashboard)))
    if used - set(variables) - GRAFANA:
        yield f"unknown variables {sorted(used - set(variables) - GRAFANA)}"
    if set(variables) - used:
        yield f"variables without a use {sorted(set(variables) - used)}"
    for one in dashboard["templating"]["list"][1:]:
        match = re.fullmatch(r"label_values\((.*), (\w+)\)", one["query"]["query"])
        if not match or metrics_of(match.group(1)) - known or not one["multi"] or one["allValue"] != ".*":
            yield f"variable {one['name']}"
    for panel in panels_of(dashboard):
        yield from (f"{panel['title']}: {why}" for why in panel_wrong(panel, known))
    yield from overlaps(dashboard)


def panel_wrong(panel, known):
    """What is wrong with one panel."""
    units = [panel["fieldConfig"]["defaults"].get("unit")] + [
        one["value"] for override in panel["fieldConfig"]["overrides"] for one in override["properties"] if one["id"] == "unit"]
    if None in units or panel["type"] == "table" and len(units) < 2:
        yield "no unit"
    if not panel.get("description") or not panel.get("title"):
        yield "no title or description"
    refs = [one["refId"] for one in panel["targets"]]
    if not refs or len(set(refs)) != len(refs):
        yield f"targets {refs}"
    for target in panel["targets"]:
        names = metrics_of(target["expr"])
        if not names or names - known:
            yield f"nobody exports {sorted(names - known) or 'nothing'}"


def overlaps(dashboard):
    """Panels that stand on each other, or beyond the 24 columns."""
    taken = {}
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                if x >= 24 or taken.setdefault((x, y), panel["title"]) != panel["title"]:
                    yield f"{panel['title']} at {x}, {y} stands on {taken.get((x, y))}"
                    return


def broken_dashboards(dashboard):
    """(what was done, the dashboard)."""
    def panel(other):
        return next(one for one in panels_of(other) if one["type"] == "timeseries")

    changes = {
        "an id twice": lambda o: panel(o).update(id=o["panels"][0]["id"]),
        "no unit": lambda o: panel(o)["fieldConfig"]["defaults"].pop("unit"),
        "a metric that is not there": lambda o: panel(o)["targets"][0].update(expr="sum(rate(egress_tcp_sent_total[5m]))"),
        "a recorded name that is not there": lambda o: panel(o)["targets"][0].update(expr="topk(1, workload:egress_x:rate5m)"),
        "a variable that is not there": lambda o: panel(o)["targets"][0].update(expr='up{x="$cluster"}'),
        "a data source's uid": lambda o: panel(o)["targets"][0]["datasource"].update(uid="P1809F7CD0C75ACF3"),
        "no query": lambda o: panel(o).update(targets=[]),
        "panels on each other": lambda o: panel(o)["gridPos"].update(x=1),
        "a variable less": lambda o: o["templating"]["list"].pop(),
        "an id of one Grafana": lambda o: o.update(id=7),
    }
    for name, change in changes.items():
        other = copy.deepcopy(dashboard)
        change(other)
        yield name, other


def main():
    """Check the object, the rules by their tests, the dashboard."""
    parser = argparse.ArgumentParser()
    for name in ("object", "rules", "dashboard", "tests", "exposition"):
        parser.add_argument("--" + name, required=True)
    options = parser.parse_args()
    with open(options.object, encoding="utf-8") as file:
        one = load(file)
    with open(options.rules, encoding="utf-8") as file:
        text = file.read()
    with open(options.dashboard, encoding="utf-8") as file:
        dashboard = json.load(file)
    document, known = load(text), exported(options.exposition)
    report("the PrometheusRule is sound, holds what Prometheus reads, and asks for what agents export",
           list(object_wrong(one, document, known)))
    units = Units(options.tests, text)
    check_units(units, document)
    report("annotations name labels that the alerts have", list(template_wrong(units, document)))
    known |= {rule["record"] for rule in rules_of(document) if "record" in rule} | FOREIGN
    report(f"the dashboard's {len(list(panels_of(dashboard)))} panels and its variables are sound", list(dashboard_wrong(dashboard, known)))
    faults = list(broken_dashboards(dashboard))
    report(f"{len(faults)} faults made on purpose in the dashboard are found",
           [name for name, other in faults if not list(dashboard_wrong(other, known))])


if __name__ == "__main__":
    sys.exit(main())
