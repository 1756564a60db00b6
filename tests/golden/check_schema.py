#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Check a DestinationList against tests/destinations.schema.json and what a schema cannot say.

Owns: the order of rows and the sums of CONTRACT.md section 3. Must not know: where the list came from.

Usage: check_schema.py [FILE]      (no FILE, or -: standard input)
Exit status: 0 it is one; 1 it is not, one line per fault on standard error.
"""
import json
import pathlib
import sys

import jsonschema

SCHEMA = pathlib.Path(__file__).resolve().parent.parent / "destinations.schema.json"
FAULTS_MAX = 50


def refuse_constant(word):
    raise ValueError(f"{word} is not JSON")


def refuse_twice(pairs):
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise ValueError(f"the key {key!r} stands twice in one object")
    return dict(pairs)


def read(path):
    data = sys.stdin.buffer.read() if path == "-" else pathlib.Path(path).read_bytes()
    if not data.endswith(b"\n"):
        raise ValueError("the text does not end in a newline")
    return json.loads(data.decode("utf-8"), parse_constant=refuse_constant, object_pairs_hook=refuse_twice)


def order(row):
    source = row["source"]
    words = (source["namespace"], source["workload"], row["host"])
    rest = [source.get(key, "") for key in ("workloadKind", "canonicalService", "canonicalRevision", "app", "version")]
    as_bytes = [word.encode("utf-8") for word in words]
    # The sum of what is inside stays apart from the sum of what leaves.
    scope = row["scope"] if row["host"] == "~other" else ""
    return (as_bytes, row["port"], row["protocol"], scope, rest)


def schema_faults(document):
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for error in sorted(validator.iter_errors(document), key=lambda e: list(map(str, e.absolute_path))):
        yield f"{error.json_path}: {error.message}"


def row_faults(row, whole):
    connections, requests = row["connections"], row["requests"]
    if connections["active"] != max(0, connections["opened"] - connections["closed"]):
        yield "active is not opened - closed"
    answered = sum(requests["byCode"].values())
    if answered > requests["total"]:
        yield "total is less than the sum over byCode"
    by_code = {}
    for codes in requests.get("byMethodCode", {}).values():
        for code, count in codes.items():
            by_code[code] = by_code.get(code, 0) + count
    if by_code != requests["byCode"]:
        yield "byMethodCode does not add up to byCode"
    if not whole:  # from metrics, which do not carry times
        return
    times = requests.get("timeToFirstByte", {"count": 0})
    if times["count"] != answered - requests["byCode"].get("0", 0):
        yield "timeToFirstByte.count is not the number of answered requests"
    if row["firstSeen"] > row["lastSeen"]:
        yield "lastSeen is before firstSeen"


def faults(document):
    found = list(schema_faults(document))
    if found:
        return found
    rows = document["destinations"]
    for i, row in enumerate(rows):
        found += [f"$.destinations[{i}]: {fault}" for fault in row_faults(row, document["node"] != "")]
        if i and order(rows[i - 1]) >= order(row):
            found.append(f"$.destinations[{i}]: not in order, or the same destination twice")
    return found


def main():
    if len(sys.argv) > 2:
        print("usage: check_schema.py [FILE]", file=sys.stderr)
        return 2
    try:
        found = faults(read(sys.argv[1] if len(sys.argv) == 2 else "-"))
    except (OSError, ValueError) as error:
        found = [str(error)]
    for fault in found[:FAULTS_MAX]:
        print(f"check_schema: {fault}"[:400], file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
