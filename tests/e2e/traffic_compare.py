#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Is what the agent says equal to what the traffic tools say they did?

Owns: the comparison, to the last unit. It asks the agent again until both agree or the deadline is
over, because the end of a connection reaches the agent after it reaches the client; then it prints
one line of figures (exit 0) or every difference (exit 1). Must not know: how the traffic was made.

    traffic_compare.py EXPECTED.json --dump 'COMMAND...' [--before SAVED.json] [--metrics 'COMMAND']
"""
import argparse
import collections
import json
import re
import shlex
import subprocess
import sys
import time

STANDARD = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
NUMBERS = ("opened", "closed", "failed", "active", "sent", "received", "requests")
SAMPLE = re.compile(r'^(\w+)\{(.*)\} ([-+.\deE]+)$')
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def run(command):
    """stdout of the command; an agent that does not answer is an error, not a difference."""
    done = subprocess.run(shlex.split(command), capture_output=True, check=False, timeout=60)
    if done.returncode:
        raise SystemExit(f"{command}: exit {done.returncode}: {done.stderr.decode().strip()}")
    return done.stdout.decode()


def numbers(destination):
    """The counters of one destination as a Counter."""
    figures = collections.Counter(destination["connections"])
    figures.update(destination["bytes"])
    figures["requests"] = destination["requests"]["total"]
    for code, count in destination["requests"]["byCode"].items():
        figures[f"code {code}"] = count
    return figures


def rows_of(document, opts):
    """{(host, port): (facts, figures)} summed over the selected sources."""
    rows = {}
    for item in document["destinations"]:
        if opts.workload and item["source"]["workload"] != opts.workload:
            continue
        key = (item["host"], item["port"])
        facts = {name: item.get(name, "") for name in ("protocol", "nameSource", "visibility")}
        facts |= {"findings": item.get("findings", []), "tls": item.get("tls", {})}
        old = rows.get(key, (facts, collections.Counter()))
        if old[0]["protocol"] != facts["protocol"]:
            facts["protocol"] += "+" + old[0]["protocol"]
        rows[key] = (facts, old[1] + numbers(item))
    return rows


def without(rows, before):
    """rows less what had been counted before, and less what did not change since."""
    left = {}
    for key, (facts, figures) in rows.items():
        figures = collections.Counter(figures)
        figures.subtract(before.get(key, (None, {}))[1])
        if key not in before or any(figures.values()):
            left[key] = (facts, figures)
    return left


class Differences(list):
    def check(self, what, got, wanted):
        if got != wanted:
            self.append(f"{what}: {got}, wanted {wanted}")


def _sum_rows(expected):
    """{(host, port): (connections, sent, received)} over both families."""
    rows = {}
    for row in expected["names"]:
        key = (row["host"], row["port"])
        old = rows.get(key, (0, 0, 0))
        more = (row["connections"], row["sent"], row["received"])
        rows[key] = tuple(a + b for a, b in zip(old, more))
    return rows


def _check_connections(diff, what, figures, wanted):
    connections, sent, received = wanted
    for name, number in (
        ("opened", connections),
        ("closed", connections),
        ("failed", 0),
        ("active", 0),
        ("sent", sent),
        ("received", received),
    ):
        diff.check(f"{what} {name}", figures[name], number)


def _check_facts(diff, what, facts, **wanted):
    for name, value in wanted.items():
        diff.check(f"{what} {name}", facts[name], value)


def compare_tls(expected, got, diff):
    wanted = _sum_rows(expected)
    diff.check("destinations", sorted(got), sorted(wanted))
    for key, want in wanted.items():
        if key not in got:
            continue
        what, (facts, figures) = f"{key[0]}:{key[1]}", got[key]
        _check_connections(diff, what, figures, want)
        _check_facts(diff, what, facts, protocol="tls", nameSource="sni", visibility="l4")
        diff.check(f"{what} requests", figures["requests"], 0)


def _check_codes(diff, what, figures, want, lossy):
    """Equal; over a lossy path, where an answer's head may have arrived in pieces, at most equal."""
    seen = {name: n for name, n in figures.items() if name.startswith("code ") and n}
    if not lossy:
        diff.check(f"{what} byCode", dict(sorted(seen.items())), dict(sorted(want.items())))
        return
    for name, number in seen.items():
        if name != "code 0" and number > want[name]:
            diff.append(f"{what} {name}: {number}, wanted at most {want[name]}")


def compare_http(expected, got, diff, lossy=False):
    codes = collections.defaultdict(collections.Counter)
    for row in expected["requests"]:
        codes[(row["host"], row["port"])][f"code {row['code']}"] += row["count"]
    diff.check("destinations", sorted(got), sorted(codes))
    for key, want in codes.items():
        if key not in got:
            continue
        what, (facts, figures) = f"{key[0]}:{key[1]}", got[key]
        _check_codes(diff, what, figures, want, lossy)
        diff.check(f"{what} requests", figures["requests"], want.total())
        _check_facts(diff, what, facts, protocol="http", nameSource="http", visibility="l7")
    _http_connections(expected, got, diff)


def _http_connections(expected, got, diff):
    """Connections that spoke to one host count there; of the others only the sum is fixed."""
    shared = {(name, row["port"]) for name in expected["sharedNames"] for row in expected["names"]}
    for key, want in _sum_rows(expected).items():
        if key[0]:
            figures = got.get(key, ({}, collections.Counter()))[1]
            _check_connections(diff, f"{key[0]}:{key[1]}", figures, want)
        else:
            rest = sum((got[k][1] for k in shared if k in got), collections.Counter())
            _check_connections(diff, "shared names", rest, want)


def compare_metrics(expected, text, base, diff):
    """egress_requests_total per host, method and code; made-up methods share one label."""
    wanted, hosts = collections.Counter(), set()
    for row in expected["requests"]:
        method = row["method"] if row["method"] in STANDARD else "OTHER"
        wanted[(row["host"], str(row["port"]), method, str(row["code"]))] += row["count"]
        hosts.add(row["host"])
    got = request_samples(text, hosts)
    got.subtract(request_samples(base, hosts))
    got = collections.Counter({key: n for key, n in got.items() if n})
    for key in sorted(got.keys() | wanted.keys()):
        diff.check(f"egress_requests_total {' '.join(key)}", got[key], wanted[key])


def request_samples(text, hosts):
    """{(host, port, method, code): value} of the family for these hosts."""
    samples = collections.Counter()
    for line in text.splitlines():
        match = SAMPLE.match(line)
        if not match or match[1] != "egress_requests_total":
            continue
        labels = dict(LABEL.findall(match[2]))
        if labels["destination_service"] in hosts:
            key = ("destination_service", "destination_port", "request_method", "response_code")
            samples[tuple(labels[name] for name in key)] += int(float(match[3]))
    return samples


def answers(figures):
    """Requests whose answer was read."""
    return sum(n for name, n in figures.items() if name.startswith("code ") and name != "code 0")


def differences(expected, opts, before):
    """What differs right now."""
    diff = Differences()
    got = without(rows_of(json.loads(run(opts.dump)), opts), before)
    if expected["kind"] == "tls":
        compare_tls(expected, got, diff)
    else:
        compare_http(expected, got, diff, opts.lossy)
    if opts.lossy:
        expected["answers"] = sum(answers(row[1]) for row in got.values())
    if opts.metrics and not diff:
        base = open(opts.metrics_before, encoding="utf-8").read() if opts.metrics_before else ""
        compare_metrics(expected, run(opts.metrics), base, diff)
    return diff


def summary(expected):
    """The figures that were found equal."""
    hosts = {row["host"] for row in expected.get("requests", expected["names"])}
    line = f"{expected['connections']:,} connections counted, {len(hosts)} names"
    if expected["kind"] == "http":
        counts = collections.Counter()
        for row in expected["requests"]:
            counts[row["code"]] += row["count"]
        codes = ", ".join(f"{code} {n}" for code, n in sorted(counts.items()))
        line += f", {counts.total():,} requests ({codes})"
    if "answers" in expected:
        line += f", {expected['answers']:,} answers read"
    return line + f", {expected['sent']:,} bytes sent, {expected['received']:,} received"


def main():
    parser = argparse.ArgumentParser(prog="traffic_compare.py")
    parser.add_argument("expected", help="what the traffic tool printed")
    parser.add_argument("--dump", required=True, help="command that prints the agent's JSON")
    parser.add_argument("--before", help="JSON saved before the traffic: is subtracted")
    parser.add_argument("--metrics", help="command that prints the agent's metrics")
    parser.add_argument("--metrics-before", help="metrics saved before the traffic")
    parser.add_argument("--lossy", action="store_true", help="answers may be missed, not made up")
    parser.add_argument("--workload", help="only this source workload")
    parser.add_argument("--deadline", type=float, default=30.0, help="seconds")
    opts = parser.parse_args()
    with open(opts.expected, encoding="utf-8") as source:
        expected = json.load(source)
    before = {}
    if opts.before:
        with open(opts.before, encoding="utf-8") as source:
            before = rows_of(json.load(source), opts)
    end = time.monotonic() + opts.deadline
    while diff := differences(expected, opts, before):
        if time.monotonic() > end:
            print("; ".join(diff[:8]) + (f"; and {len(diff) - 8} more" if len(diff) > 8 else ""))
            print("\n".join(diff), file=sys.stderr)
            return 1
        time.sleep(0.3)
    print(summary(expected))
    return 0


if __name__ == "__main__":
    sys.exit(main())
