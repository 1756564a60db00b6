#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""usage: replay_captures.py AGENT ENGINE...
       replay_captures.py --seeds DIR

Small captures that say one thing each, and what `AGENT replay` must print for them, byte for byte, with each engine: IP
fragments (in any order, twice, overlapping, missing, ids used again, both families) and the server's direction (an
upgrade ends the requests, which can only be known from the answer).

Owns: these captures and their answers. Prints the test protocol, one line per capture and engine. --seeds writes those
captures that are small to DIR, for the fuzzer.
"""
import os
import struct
import subprocess
import sys
import tempfile

FIN, SYN, ACK = 1, 2, 16
CLIENT, SERVER = 0, 1
SEED_MAX = 2500


def vector(size, data):
    return len(data).to_bytes(size, "big") + data


def hello(name, padding=0):
    sni = b"\0\0" + vector(2, vector(2, b"\0" + vector(2, name)))
    pad = b"\0\x15" + vector(2, bytes(padding))
    body = b"\3\3" + bytes(32) + b"\0" + vector(2, b"\x13\1") + b"\1\0" + vector(2, sni + pad)
    return b"\x16\3\1" + vector(2, b"\1" + vector(3, body))


def get(host, more=b""):
    return b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n" + more + b"\r\n"


class Connection:
    """Makes IP packets. `number` goes into the client's address and port."""

    def __init__(self, v6=False, number=0, port=443):
        self.v6 = v6
        tail = struct.pack(">I", number)[1:]
        self.ips = ((b"\x20\1\x0d\xb8" + bytes(9) + tail, b"\x20\1\x0d\xb8" + bytes(11) + b"\xff") if v6 else
                    (b"\x0a" + tail, b"\xc6\x33\x64\1"))
        self.ports = (40000, port)
        self.seq = [1000, 5000]

    def segment(self, d, flags, data=b""):
        ack = self.seq[1 - d] if flags & ACK else 0
        tcp = struct.pack(">HHIIBBHHH", self.ports[d], self.ports[1 - d], self.seq[d], ack, 5 << 4, flags, 65535, 0, 0)
        self.seq[d] += len(data) + (1 if flags & (SYN | FIN) else 0)
        return tcp + data

    def ip(self, d, payload, offset=0, more=False, number=None):
        """number: the fragment's id, or None for what is not fragmented."""
        if not self.v6:
            flags = offset // 8 | (0x2000 if more else 0)
            return struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), (number or 0) & 0xffff, flags, 64, 6, 0) + self.ips[d] + self.ips[1 - d] + payload
        kind = 6
        if number is not None:
            payload, kind = struct.pack(">BBHI", 6, 0, offset | more, number) + payload, 44
        return struct.pack(">IHBB", 0x60000000, len(payload), kind, 64) + self.ips[d] + self.ips[1 - d] + payload

    def packet(self, d, flags, data=b""):
        return self.ip(d, self.segment(d, flags, data))

    def open(self):
        return [self.packet(CLIENT, SYN), self.packet(SERVER, SYN | ACK), self.packet(CLIENT, ACK)]

    def close(self):
        return [self.packet(CLIENT, FIN | ACK), self.packet(SERVER, FIN | ACK), self.packet(CLIENT, ACK)]

    def fragments(self, data, size, number):
        """A segment of the client's in fragments of `size` bytes."""
        tcp = self.segment(CLIENT, ACK, data)
        return [self.ip(CLIENT, tcp[i:i + size], i, i + size < len(tcp), number) for i in range(0, len(tcp), size)]

    def line(self, protocol, name, frame, number=0):
        client = f"2001:db8::{number:x}" if self.v6 else f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        server = "2001:db8::ff" if self.v6 else "198.51.100.1"
        return f"{protocol}\t{client}\t40000\t{server}\t{self.ports[1]}\t{name}\t{frame}\n"


def lost(together=0, incomplete=0, overlapping=0, beyond=0, malformed=0):
    return (f"egress-agent: replay: fragmented datagrams: {together} put together, {incomplete} incomplete, "
            f"{overlapping} overlapping, {beyond} beyond what is held at a time; "
            f"{malformed} fragments malformed or not captured as a whole\n")


def fragment_cases(v6):
    """(title, packets, stdout, stderr)"""
    family = "IPv6" if v6 else "IPv4"

    def case(title, change, frame, stderr=""):
        c = Connection(v6, 1)
        first = c.open()
        packets = first + change(c.fragments(hello(b"fragmented.example", 300), 104, 7))
        return (f"{family} fragments, {title}", packets, c.line("tls", "fragmented.example", frame, 1) if frame else "", stderr)

    yield case("in order", lambda f: f, 3 + 4)
    yield case("the last first", lambda f: f[::-1], 3 + 4)
    yield case("each but the last twice", lambda f: [p for p in f[:-1] for _ in (0, 1)] + f[-1:], 3 + 7)
    yield case("each twice", lambda f: [p for p in f for _ in (0, 1)], 3 + 7, lost(together=1, incomplete=1))
    yield case("one cut off", lambda f: f[:2] + [f[1][:-1]] + f[2:], 3 + 5, lost(together=1, malformed=1))
    yield case("one missing", lambda f: f[:1] + f[2:], 0, lost(incomplete=1))
    yield case("an id for another datagram", lambda f: other_number(f, v6), 0, lost(incomplete=2))
    c = Connection(v6, 1)
    data = hello(b"overlap.example", 300)
    packets = c.open()
    tcp = c.segment(CLIENT, ACK, data)
    packets += [c.ip(CLIENT, tcp[:104], 0, True, 7), c.ip(CLIENT, tcp[96:200], 96, True, 7), c.ip(CLIENT, tcp[200:], 200, False, 7)]
    yield f"{family} fragments, overlapping", packets, "", lost(incomplete=1, overlapping=1)
    c = Connection(v6, 1)
    cut = data.index(b"example")
    packets = c.open() + c.fragments(data[:cut], 64, 8)[::-1] + c.fragments(data[cut:], 160, 9)
    yield f"{family} fragments, of two segments", packets, c.line("tls", "overlap.example", len(packets), 1), ""
    yield numbers_used_again(v6, family)


def other_number(fragments, v6):
    """The last one with another id."""
    at = 44 if v6 else 4
    last = fragments[-1]
    return fragments[:-1] + [last[:at] + b"\0\0\x22\x22"[:4 if v6 else 2] + last[at + (4 if v6 else 2):]]


def numbers_used_again(v6, family):
    """One id for each of 70,000 datagrams between two hosts; of every tenth a fragment is lost. None is made of two."""
    packets, out, incomplete, overlapping = [], "", 0, 0
    for i in range(70000):
        c = Connection(v6, 1, 1 + i % 60000)
        c.seq = [i << 10, 5000]
        packets.append(c.packet(CLIENT, SYN))
        name = b"n%d.example" % i
        fragments = c.fragments(hello(name, 40), 96, 7)
        if i % 10 == 9:
            packets.append(fragments[0])
            overlapping += 1
            continue
        packets += fragments
        out += c.line("tls", name.decode(), len(packets), 1)
    together = 70000 - overlapping
    # Each is dropped for its successor's sake, but the last.
    return (f"{family} fragments, the same id for 70,000 datagrams", packets, out,
            lost(together=together, incomplete=1, overlapping=overlapping - 1))


UPGRADE = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n"
ASK = b"Connection: Upgrade\r\nUpgrade: other\r\n"


def exchange(c, packets, request, answer):
    packets.append(c.packet(CLIENT, ACK, request))
    frame = len(packets)
    packets.append(c.packet(SERVER, ACK, answer))
    return frame


def upgrade(v6, disorder):
    """A body of 60,000 bytes that looks like answers, in one packet as offloads make them, then an upgrade."""
    c = Connection(v6, 1, 80)
    packets = c.open()
    body = (UPGRADE * 900)[:60000]
    at = len(packets)
    first = exchange(c, packets, get(b"one.example"), b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + body)
    second = exchange(c, packets, get(b"two.example", ASK), UPGRADE + b"other bytes")
    if disorder:  # the first answer after the second, which comes twice; requests wait for no answer
        packets[at + 1:] = [packets[at + 2], packets[at + 3], packets[at + 1], packets[at + 3]]
        second -= 1
    exchange(c, packets, get(b"not-a-request.example"), b"more")
    packets += c.close()
    return packets, c.line("http", "one.example", first, 1) + c.line("http", "two.example", second, 1)


def no_upgrade(v6):
    c = Connection(v6, 1, 80)
    packets = c.open()
    first = exchange(c, packets, get(b"one.example", ASK), b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    second = exchange(c, packets, get(b"two.example"), b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    return packets, c.line("http", "one.example", first, 1) + c.line("http", "two.example", second, 1)


def upgrades_in_bytes(v6):
    """Two connections, whose answers come byte by byte, some bytes of the one and some of the other."""
    both = [Connection(v6, n, 80) for n in (1, 2)]
    packets, out = [p for c in both for p in c.open()], ""
    for number, c in enumerate(both, 1):
        packets.append(c.packet(CLIENT, ACK, get(b"c%d.example" % number, ASK)))
        out += c.line("http", f"c{number}.example", len(packets), number)
    for i in range(0, len(UPGRADE), 7):
        packets += [c.packet(SERVER, ACK, UPGRADE[j:j + 1]) for c in both for j in range(i, min(i + 7, len(UPGRADE)))]
    packets += [c.packet(CLIENT, ACK, get(b"not-a-request.example")) for c in both]
    return packets, out


def mentioned_in_part(v6):
    """The name is complete, the hello never; both ends close. Then the ports are used again."""
    c = Connection(v6, 1)
    packets = c.open() + [c.packet(CLIENT, ACK, hello(b"part.example", 300)[:200])]
    frame = len(packets)
    packets += c.close()
    c.seq = [900000, 70000]
    packets += c.open() + [c.packet(CLIENT, ACK, hello(b"again.example"))]
    return packets, c.line("tls", "part.example", frame, 1) + c.line("tls", "again.example", len(packets), 1)


def cases():
    for v6 in (False, True):
        yield from fragment_cases(v6)
    for v6 in (False, True):
        family = "IPv6" if v6 else "IPv4"
        yield f"{family}, an upgrade ends the requests", *upgrade(v6, False), ""
        yield f"{family}, an upgrade, answers out of order", *upgrade(v6, True), ""
        yield f"{family}, upgrades byte by byte", *upgrades_in_bytes(v6), ""
        yield f"{family}, an upgrade that is refused", *no_upgrade(v6), ""
        yield f"{family}, a hello that never ends, and its ports again", *mentioned_in_part(v6), ""


def difference(got, want):
    for i, (g, w) in enumerate(zip(got.splitlines() + [""], want.splitlines() + [""]), 1):
        if g != w:
            return f"line {i}: got {g!r}, want {w!r}"
    return f"got {len(got)} bytes, want {len(want)}"


def write_capture(path, packets):
    with open(path, "wb") as f:
        f.write(struct.pack("<IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 262144, 101))
        for p in packets:
            f.write(struct.pack("<IIII", 0, 0, len(p), len(p)) + p)


def write_seeds(directory):
    os.makedirs(directory, exist_ok=True)
    for i, (_, packets, _, _) in enumerate(cases()):
        if sum(map(len, packets)) < SEED_MAX:
            write_capture(os.path.join(directory, f"capture-{i}"), packets)


def check(agent, engine, path, stdout, stderr):
    """What is wrong, or nothing."""
    run = subprocess.run([agent, "replay", "-o", "tsv", "--engine", engine, path], capture_output=True, timeout=120)
    out, err = run.stdout.decode(), run.stderr.decode()
    if run.returncode:
        return f"exit {run.returncode}"
    if out != stdout:
        return difference(out, stdout)
    return f"stderr {err!r}, want {stderr!r}" if err != stderr else ""


def main():
    if sys.argv[1] == "--seeds":
        write_seeds(sys.argv[2])
        return
    agent, *engines = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="egress-agent-captures-") as tmp:
        path = os.path.join(tmp, "case.pcap")
        for title, packets, stdout, stderr in cases():
            write_capture(path, packets)
            for engine in engines:
                why = check(agent, engine, path, stdout, stderr)
                print(f"{'not ' if why else ''}ok - replay, {title}, {engine}{': ' + why if why else ''}", flush=True)


main()
