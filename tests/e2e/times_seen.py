#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Distributions of times out of the pinned maps, by bpftool.

times_seen.py PIN [--host HOST | --port PORT] prints one JSON object about the destinations chosen (all without a choice):
    opened, failed, answered: connections and requests
    connect, handshake, request: {"n": observations, "sum": seconds, "least": the bound below the lowest bucket in use}
    byCode: {code: [answered, observations]}
Owns: reading the maps. Must not know: what is right.
"""
import argparse
import json
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]


def _bounds(name):
    """The bounds in seconds, from the header that defines them."""
    text = (ROOT / "include/egress.h").read_text(encoding="utf-8")
    block = re.search(rf"#define EA_{name}_BOUNDS_US\s+\\\n\s*{{(.*?)}}", text, re.DOTALL)
    return [int(word) / 1e6 for word in re.findall(r"\d+", block.group(1))]


def _map(pin, name):
    out = subprocess.run(["bpftool", "-j", "map", "dump", "pinned", f"{pin}/{name}"], check=True,
                         stdout=subprocess.PIPE).stdout
    return [row["formatted"] for row in json.loads(out)]


def _host(key):
    return bytes(key["host"][:key["host_len"]]).decode("latin-1")


def _sum(times, bounds):
    counts = [sum(column) for column in zip(*(t["n"] for t in times))] or [0]
    used = [i for i, count in enumerate(counts) if count]
    return {"n": sum(counts), "sum": sum(t["sum_ns"] for t in times) / 1e9,
            "least": ([0.0] + bounds)[used[0]] if used else 0.0}


def main():
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pin")
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    opts = parser.parse_args()
    chosen = {row["value"]["id"] for row in _map(opts.pin, "ea_dests")
              if opts.host in (None, _host(row["key"])) and opts.port in (None, row["key"]["port"])}
    stats = [row["value"] for row in _map(opts.pin, "ea_stats") if row["key"] in chosen]
    requests = [row for row in _map(opts.pin, "ea_requests") if row["key"]["dest_id"] in chosen]
    by_code = {}
    for row in requests:
        both = by_code.setdefault(str(row["key"]["code"]), [0, 0])
        both[0] += row["value"]["count"]
        both[1] += sum(row["value"]["duration"]["n"])
    print(json.dumps({
        "opened": sum(s["opened"] for s in stats),
        "failed": sum(s["failed"] for s in stats),
        "answered": sum(row["value"]["count"] for row in requests),
        "connect": _sum([s["connect"] for s in stats], _bounds("SHORT")),
        "handshake": _sum([s["handshake"] for s in stats], _bounds("SHORT")),
        "request": _sum([row["value"]["duration"] for row in requests], _bounds("LONG")),
        "byCode": by_code,
    }))


if __name__ == "__main__":
    main()
