#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What the agent takes, from the kernel's own accounting of the process.

agent_measure.py filled N PID URL       memory and time of scrapes, with so many destinations in the maps
agent_measure.py passing SECONDS PID URL   its part of a core, scraped every 5 s
agent_measure.py load RATE SECONDS ADDRESS PORT   new connections, each with a ClientHello
agent_measure.py start BINARY CGROUP PIN DIR   from exec to attached; the binary's size
agent_measure.py report RESULTS JSON    a table of the lines that the others printed, and the same as JSON

Times are medians. Memory is what the kernel calls RSS, shared libraries included; the peak is its own high-water mark,
reset before. Owns: how it is measured. Must not know: how many, or where.
"""
import json
import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
import zlib

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"
MIB = 1 << 20
ROUNDS = 5
SAMPLE = 32 << 20  # bytes of an answer that are compared with; what they cost is taken for the whole
EVERY_S = 5


def status(pid, name):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        for line in f:
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024
    raise ValueError(name)


def reset_peak(pid):
    with open(f"/proc/{pid}/clear_refs", "w", encoding="ascii") as f:
        f.write("5")


def cpu_s(pid):
    """Nanoseconds on a CPU, of its one thread."""
    with open(f"/proc/{pid}/schedstat", encoding="ascii") as f:
        return int(f.read().split()[0]) / 1e9


class Sink:
    """An answer's pieces: counted, its lines too, and as many bytes kept as are wanted."""

    def __init__(self, keep):
        self.pieces, self.size, self.series, self.keep, self.tail = [], 0, 0, keep, b"\n"

    def add(self, piece):
        self.size += len(piece)
        if self.keep:
            self.series += piece.count(b"\n") - (self.tail + piece).count(b"\n# ")
            self.tail = (self.tail + piece)[-2:]
        if self.size <= self.keep:
            self.pieces.append(piece)

    def text(self):
        return b"".join(self.pieces)


def scrape(url, gzip=False, accept="text/plain", keep=0):
    """Seconds to the first byte and to the last, and the answer."""
    headers = {"Accept": accept, "Accept-Encoding": "gzip" if gzip else "identity"}
    sink, first = Sink(keep), None
    start = time.perf_counter()
    with urllib.request.urlopen(urllib.request.Request(url + "/metrics", headers=headers), timeout=60) as answer:
        while piece := answer.read1(1 << 18):
            first = first or time.perf_counter() - start
            sink.add(piece)
    return first, time.perf_counter() - start, sink


def beside(text):
    """What the same bytes cost elsewhere in this minute: a copy, and zlib at its fastest."""
    start = time.perf_counter()
    copy = bytearray(text)
    copied = time.perf_counter() - start
    del copy
    start = time.perf_counter()
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    for at in range(0, len(text), 1 << 16):
        packer.compress(text[at:at + (1 << 16)])
    packer.flush()
    return copied, time.perf_counter() - start


def filled(n, pid, url):
    idle = status(pid, "VmRSS")
    reset_peak(pid)
    first, _, whole = scrape(url, keep=SAMPLE)
    text = whole.text()
    rows = {"plain": [], "gzip": [], "copy": [], "zlib": [], "cpu_gzip": []}
    packed = 0
    for _ in range(ROUNDS if n <= 20000 else 1):
        time.sleep(0.25)  # so that each scrape has a list of its own
        rows["plain"].append(scrape(url)[1])
        time.sleep(0.25)
        before = cpu_s(pid)
        _, total, sink = scrape(url, gzip=True)
        rows["gzip"].append(total)
        rows["cpu_gzip"].append(cpu_s(pid) - before)
        packed = sink.size
        copied, zipped = beside(text)
        rows["copy"].append(copied * whole.size / len(text))
        rows["zlib"].append(zipped * whole.size / len(text))
    _, _, sink = scrape(url, gzip=True, accept=OPENMETRICS)
    peak = status(pid, "VmHWM")
    time.sleep(3)
    medians = {key: statistics.median(values) for key, values in rows.items()}
    return {"kind": "filled", "destinations": n, "series": whole.series, "bytes": whole.size, "gzip_bytes": packed,
            "openmetrics_gzip_bytes": sink.size, "rss_before": idle, "rss_peak": peak,
            "rss_after": status(pid, "VmRSS"),
            "first_byte_s": first, **medians}


def passing(seconds, pid, url):
    scrape(url, gzip=True)
    opened = None
    reset_peak(pid)
    start, before = time.monotonic(), cpu_s(pid)
    for i in range(1, seconds // EVERY_S + 1):
        time.sleep(max(0, start + i * EVERY_S - time.monotonic()))
        text = zlib.decompress(scrape(url, gzip=True, accept=OPENMETRICS, keep=SAMPLE)[2].text(), 31)
        now = sum(float(line.split()[-1]) for line in text.splitlines()
                  if line.startswith(b"egress_tcp_connections_opened_total"))
        first = opened is None
        opened = opened or now
        if first:
            first_at = time.monotonic()
    elapsed = time.monotonic() - start
    return {"kind": "passing", "core_share": (cpu_s(pid) - before) / elapsed,
            "connections_per_s": (now - opened) / (time.monotonic() - first_at) if now > opened else 0,
            "rss_peak": status(pid, "VmHWM"), "seconds": elapsed}


def hello(name):
    sni = (len(name) + 3).to_bytes(2, "big") + b"\0" + len(name).to_bytes(2, "big") + name
    ext = b"\0\0" + len(sni).to_bytes(2, "big") + sni
    body = b"\3\3" + bytes(32) + b"\0" + b"\0\2\x13\1" + b"\1\0" + len(ext).to_bytes(2, "big") + ext
    handshake = b"\1" + len(body).to_bytes(3, "big") + body
    return b"\x16\3\1" + len(handshake).to_bytes(2, "big") + handshake


def load(rate, seconds, address, port):
    hellos = [hello(f"host-{i}.example".encode()) for i in range(10)]
    start, done = time.monotonic(), 0
    while (now := time.monotonic() - start) < seconds:
        if done >= now * rate:
            time.sleep(done / rate - now)
        with socket.create_connection((address, port), timeout=5) as s:
            s.sendall(hellos[done % len(hellos)])
        done += 1
    return {"connections": done}


def start_once(binary, cgroup, pin, directory):
    path = f"{directory}/start.sock"
    begin = time.perf_counter()
    agent = subprocess.Popen([binary, "run", "--cgroup", cgroup, "--pin", pin, "--socket", path,
                              "--listen", "127.0.0.1:0"], stderr=subprocess.DEVNULL)
    try:
        while time.perf_counter() - begin < 30:
            try:
                with socket.socket(socket.AF_UNIX) as s:
                    s.settimeout(30)
                    s.connect(path)
                    # Nobody answers before the programs are attached.
                    s.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
                    if s.recv(64).startswith(b"HTTP/1.1 200"):
                        return time.perf_counter() - begin
            except OSError:
                time.sleep(0.001)
        raise TimeoutError("the agent did not become ready")
    finally:
        agent.terminate()
        agent.wait()


def start(binary, cgroup, pin, directory):
    first = start_once(binary, cgroup, pin, directory)
    again = [start_once(binary, cgroup, pin, directory) for _ in range(ROUNDS)]
    stripped = f"{directory}/stripped"
    subprocess.run(["strip", "-o", stripped, binary], check=True)
    return {"kind": "start", "first_s": first, "adopting_s": statistics.median(again),
            "binary_bytes": os.path.getsize(binary), "stripped_bytes": os.path.getsize(stripped)}


FILLED = (("destinations", "destinations"), ("series", "series"), ("text MB", "bytes"), ("gzip kB", "gzip_bytes"),
          ("1st byte ms", "first_byte_s"), ("scrape ms", "plain"), ("x copy", "plain/copy"), ("gzip ms", "gzip"),
          ("x zlib", "gzip/zlib"), ("CPU ms", "cpu_gzip"), ("RSS MiB: idle", "rss_before"), ("peak", "rss_peak"),
          ("after", "rss_after"))


def cell(row, key):
    if "/" in key:
        a, b = key.split("/")
        return f"{row[a] / row[b]:.1f}"
    if key.startswith("rss"):
        return f"{row[key] / MIB:.1f}"
    if key in ("destinations", "series"):
        return f"{row[key]:,}"
    if key.endswith("bytes"):
        return f"{row[key] / (1e6 if key == 'bytes' else 1e3):.1f}"
    return f"{row[key] * 1e3:.1f}"


def verdict(name, value, limit, form):
    print(f"{'ok' if value < limit else 'NOT MET':8}{name}: {form(value)} (wanted: under {form(limit)})")
    return value < limit


def targets(rows):
    def mib(b):
        return f"{b / MIB:.1f} MiB"

    def ms(s):
        return f"{s * 1e3:.0f} ms"

    good = True
    for row in rows:
        if row["kind"] == "filled" and row["destinations"] in (1000, 20000):
            limit = (20 if row["destinations"] == 1000 else 64) * MIB
            good &= verdict(f"RSS at {row['destinations']:,} destinations while scraped", row["rss_peak"], limit, mib)
        if row["kind"] == "filled" and row["destinations"] == 450:
            good &= verdict(f"/metrics with {row['series']:,} series", row["plain"], 0.1, ms)
        if row["kind"] == "passing":
            good &= verdict(f"part of a core at {row['connections_per_s']:.0f} new connections/s", row["core_share"],
                            0.01, lambda v: f"{v * 100:.2f} %")
        if row["kind"] == "start":
            good &= verdict("start to attached", row["first_s"], 1, ms)
            print(f"        adopting what is pinned: {ms(row['adopting_s'])}; binary {row['binary_bytes'] / 1e6:.2f} MB, "
                  f"stripped {row['stripped_bytes'] / 1e6:.2f} MB")
    return good


def report(results, path):
    with open(results, encoding="ascii") as f:
        rows = [json.loads(line) for line in f]
    table = [[title for title, _ in FILLED]]
    table += [[cell(row, key) for _, key in FILLED] for row in rows if row["kind"] == "filled"]
    widths = [max(len(line[i]) for line in table) for i in range(len(FILLED))]
    for line in table:
        print("  ".join(word.rjust(width) for word, width in zip(line, widths)))
    with open(path, "w", encoding="ascii") as f:
        json.dump(rows, f, indent=1)
    return 0 if targets(rows) else 1


def main(argv):
    what, args = argv[1], argv[2:]
    if what == "report":
        return report(*args)
    if what == "filled":
        row = filled(int(args[0]), int(args[1]), args[2])
    elif what == "passing":
        row = passing(int(args[0]), int(args[1]), args[2])
    elif what == "load":
        row = load(int(args[0]), int(args[1]), args[2], int(args[3]))
    else:
        row = start(*args)
    print(json.dumps(row))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
