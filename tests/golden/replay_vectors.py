#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""usage: replay_vectors.py AGENT VECTORS_DIR ENGINE...

Make captures of each vector (what a client sends) and compare the names that `AGENT replay` prints with vectors.tsv:
whole, cut in two at every single byte, in segments of 1, 7 and 100 bytes, out of order, and for TLS with the same
handshake in records of 1, 7 and 100 bytes. Many connections share a capture; the client's address says which is
which. Vectors whose answer is open must give the same names however they are cut, and none that is not in them. A name stands for itself
whether printed once or several times.

Owns: what is made of a vector. Prints the test protocol, one line per way of cutting and engine.
"""
import collections
import csv
import os
import re
import struct
import subprocess
import sys
import tempfile

FLOWS_PER_CAPTURE = 16000  # below the number of connections that replay follows at a time
SERVER = bytes((198, 51, 100, 1))
SYN, ACK, FIN = 2, 16, 1
SHOWN = 8  # differences printed per line of the test protocol


class Vector:
    def __init__(self, row, root):
        self.path = row["file"]
        with open(os.path.join(root, self.path), "rb") as f:
            self.data = f.read()
        self.is_tls = self.path.startswith("tls")
        tunnel = self.data.startswith(b"CONNECT ")
        self.protocols = {"tls"} if self.is_tls else {"http", "tls"} if tunnel else {"http"}
        self.open = row["expected"] == "?"
        self.expected = [] if row["expected"] in ("?", "-") else row["expected"].split("|")
        self.names = names_of(row["expected"]) if not self.open else None


def canonical(name):
    return name.lower().rstrip(".").strip("[]")


def names_of(expected):
    return frozenset() if expected == "-" else frozenset(map(canonical, expected.split("|")))


def unescape(name):
    return re.sub(rb"\\x([0-9a-f]{2})", lambda m: bytes((int(m[1], 16),)), name.encode("latin-1"))


def read_vectors(root):
    with open(os.path.join(root, "vectors.tsv"), newline="", encoding="utf-8") as f:
        head, *rows = csv.reader(f, delimiter="\t", quoting=csv.QUOTE_NONE)
    head = [h.lstrip("#") for h in head]
    return [Vector(dict(zip(head, r)), root) for r in rows if not r[0].startswith("quic/")]


def pieces(data, size):
    return [data[i:i + size] for i in range(0, len(data), size)]


def recut(data, size):
    """The handshake records that data begins with, as records of `size` bytes. None if it begins with none."""
    message, at, version = b"", 0, None
    while at + 5 <= len(data) and data[at] == 22 and data[at + 1] == 3:
        length = int.from_bytes(data[at + 3:at + 5], "big")
        if at + 5 + length > len(data) or not length:
            break
        version = version or data[at + 1:at + 3]
        message += data[at + 5:at + 5 + length]
        at += 5 + length
    if not version:
        return None
    records = b"".join(b"\x16" + version + struct.pack(">H", len(p)) + p for p in pieces(message, size))
    return records + data[at:]


def packet(src, seq, flags, payload):
    tcp = struct.pack(">HHIIBBHHH", 40000, 443, seq & 0xffffffff, 1, 5 << 4, flags, 65535, 0, 0)
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 40 + len(payload), 0, 0, 64, 6, 0, src, SERVER)
    body = ip + tcp + payload
    return struct.pack("<IIII", 0, 0, len(body), len(body)) + body


def connection(src, segments, disorder):
    """Packets of one connection; with disorder each pair of segments comes the wrong way round, the first twice."""
    seq, out = 0xfffffff0, [packet(src, 0xffffffef, SYN, b"")]
    data = []
    for s in segments:
        data.append(packet(src, seq, ACK, s))
        seq += len(s)
    if disorder:
        for i in range(0, len(data) - 1, 2):
            data[i], data[i + 1] = data[i + 1], data[i]
        data[1:1] = data[:1]
    return b"".join(out + data + [packet(src, seq, ACK | FIN, b"")])


def address(index):
    return bytes((10, index >> 16 & 255, index >> 8 & 255, index & 255))


def replay(agent, engine, path):
    run = subprocess.run([agent, "replay", "-o", "tsv", "--engine", engine, path], capture_output=True, timeout=600)
    if run.returncode:
        raise SystemExit(f"{agent} replay --engine {engine}: exit {run.returncode}: {run.stderr.decode()[:300]}")
    return run.stdout


def parse(text):
    names = collections.defaultdict(set)
    for line in text.decode("utf-8").splitlines():
        fields = line.split("\t")
        octets = [int(x) for x in fields[1].split(".")]
        names[octets[1] << 16 | octets[2] << 8 | octets[3]].add((fields[0], canonical(fields[5])))
    return names


def run_flows(agent, engines, flows, disorder, tmp):
    """flows: lists of segments. Yields the (protocol, name) set of each; all engines must print the same bytes."""
    for first in range(0, len(flows), FLOWS_PER_CAPTURE):
        part = flows[first:first + FLOWS_PER_CAPTURE]
        path = os.path.join(tmp, "vectors.pcap")
        with open(path, "wb") as f:
            f.write(struct.pack("<IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 262144, 101))
            for i, segments in enumerate(part):
                f.write(connection(address(i), segments, disorder))
        outputs = [replay(agent, e, path) for e in engines]
        same = all(o == outputs[0] for o in outputs)
        names = parse(outputs[0])
        for i in range(len(part)):
            yield names.get(i, set()), same


def right(vector, got):
    """Why the names are wrong, or None."""
    names = {n for _, n in got}
    if not vector.open:
        if names != vector.names:
            return f"got {sorted(names)}, want {sorted(vector.names)}"
        wrong = {p for p, _ in got} - vector.protocols
        return f"protocol {sorted(wrong)}" if wrong else None
    for n in names:
        if unescape(n) not in vector.data.lower():
            return f"invented {n!r}"
    return None


def check(title, agent, engines, vectors, cut, tmp, disorder=False):
    """cut(vector) gives the segment lists to try."""
    flows, owners = [], []
    for v in vectors:
        for segments in cut(v):
            flows.append(segments)
            owners.append(v)
    bad, differ, by_vector = [], 0, {}
    for v, segments, (got, same) in zip(owners, flows, run_flows(agent, engines, flows, disorder, tmp)):
        why = right(v, got)
        if not why and v.open and by_vector.setdefault(v.path, got) != got:
            why = f"open, {sorted(got)} where another cut gave {sorted(by_vector[v.path])}"
        differ += not same
        if why:
            bad.append(f"{v.path} in {[len(s) for s in segments][:4]}: {why}")
    for line in bad[:SHOWN]:
        print(line, file=sys.stderr)
    wrong = len({b.split(" ")[0] for b in bad})
    text = f"replay, vectors {title}: {len(vectors) - wrong} of {len(vectors)} vectors right in {len(flows)} connections"
    print(f"{'not ' if bad else ''}ok - {text}{'; first wrong: ' + bad[0] if bad else ''}", flush=True)
    print(f"{'not ' if differ else ''}ok - replay, vectors {title}: {' and '.join(engines)} print the same bytes",
          flush=True)


def main():
    agent, root, *engines = sys.argv[1:]
    vectors = read_vectors(root)
    tls = [v for v in vectors if v.is_tls and recut(v.data, 100)]
    settled = [v for v in vectors if not v.open]
    print(f"{len(vectors)} vectors, {len(settled)} settled, {len(tls)} with whole TLS records", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="egress-agent-vectors-") as tmp:
        check("whole", agent, engines, vectors, lambda v: [[v.data]], tmp)
        check("cut at every byte", agent, engines, vectors,
              lambda v: [[v.data[:i], v.data[i:]] for i in range(1, len(v.data))] or [[v.data]], tmp)
        for size in (1, 7, 100):
            check(f"in segments of {size}", agent, engines, vectors, lambda v: [pieces(v.data, size)], tmp)
            check(f"in records of {size}", agent, engines, tls, lambda v: [[recut(v.data, size)]], tmp)
            check(f"in records of {size}, segments of 7", agent, engines, tls,
                  lambda v: [pieces(recut(v.data, size), 7)], tmp)
        check("in segments of 20, out of order and twice", agent, engines, vectors,
              lambda v: [pieces(v.data, 20)], tmp, disorder=True)


if __name__ == "__main__":
    main()
