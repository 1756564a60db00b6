#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""usage: replay_capture.py MEGABYTES OUT
       replay_capture.py hostile OUT

Write a capture as an egress gateway would see it: many HTTPS connections (a hello, then encrypted bulk), kept-alive
HTTP with bodies, other TCP, DNS and other UDP, over IPv4 and IPv6, interleaved, with segments out of order and sent
twice. The same bytes each time. Ports are those that tshark looks at by itself.

`hostile` is a capture that has replay hold all it ever holds: connections without a beginning that are never decided, each
with a hole in both directions, and datagrams whose last fragment does not come.

Owns: what the traffic is made of. Prints the number of packets and connections, and the bytes of each kind.
"""
import random
import struct
import sys

ACTIVE = 300  # connections at a time
MSS = 1448  # beside the timestamps option
SHARE = {"https": 70, "http": 14, "ssh": 4, "bulk": 4, "media": 7, "dns": 1}  # of the bytes, in per cent
REORDERED, REPEATED = 0.004, 0.003  # of the packets
FIN, SYN, PSH, ACK = 1, 2, 8, 16

rng = random.Random(20260101)
noise = rng.randbytes(1 << 20)


def random_bytes(n):
    at = rng.randrange(len(noise) - min(n, 1 << 19))
    piece = noise[at:at + min(n, 1 << 19)]
    return (piece * (n // len(piece) + 1))[:n]


def host(n):
    return f"{('api', 'cdn', 'img', 'www', 'auth')[n % 5]}{n // 5}.site-{n % 397}.example".encode()


def vector(size, data):
    return len(data).to_bytes(size, "big") + data


def extension(kind, data):
    return kind.to_bytes(2, "big") + vector(2, data)


def client_hello(name):
    """517 bytes as of old, or 1.8 KB with a post-quantum key share before the name."""
    share = extension(51, vector(2, b"\0\x1d" + vector(2, random_bytes(32))))
    if rng.random() < 0.4:
        share = extension(51, vector(2, b"\x11\xec" + vector(2, random_bytes(1216)) + b"\0\x1d" + vector(2, random_bytes(32))))
    sni = extension(0, vector(2, b"\0" + vector(2, name)))
    rest = (extension(16, vector(2, vector(1, b"h2") + vector(1, b"http/1.1"))) + extension(43, b"\4\3\4\3\3") +
            extension(10, vector(2, b"\x11\xec\0\x1d\0\x17")) + extension(13, vector(2, b"\4\3\5\3\6\3\x08\4\x08\5\x08\6")))
    body = b"\3\3" + random_bytes(32) + vector(1, random_bytes(32)) + vector(2, bytes.fromhex("130113021303c02bc02fc02cc030")) + b"\1\0"
    extensions = share + sni + rest
    extensions += extension(21, bytes(max(0, 512 - len(body) - len(extensions) - 10)))
    message = b"\1" + vector(3, body + vector(2, extensions))
    return b"\x16\3\1" + vector(2, message)


def server_flight():
    hello = b"\3\3" + random_bytes(32) + vector(1, random_bytes(32)) + b"\x13\1\0"
    hello += vector(2, extension(43, b"\3\4") + extension(51, b"\0\x1d" + vector(2, random_bytes(32))))
    return b"\x16\3\3" + vector(2, b"\2" + vector(3, hello)) + b"\x14\3\3\0\1\1" + tls_data(rng.randrange(2500, 4500))


def tls_data(n):
    """Encrypted records of up to 16 KB."""
    out = []
    while n > 0:
        size = min(n, 16384)
        out.append(b"\x17\3\3" + vector(2, random_bytes(size)))
        n -= size
    return b"".join(out)


class Flow:
    """Addresses and ports of two ends; makes Ethernet frames."""

    def __init__(self, server_port, proto):
        self.v6 = rng.random() < 0.2
        ends = [random_bytes(14), random_bytes(2)]
        if self.v6:
            self.addresses = (b"\x20\1\x0d\xb8" + ends[0][:12], b"\x20\1\x0d\xb9" + ends[0][2:14])
        else:
            self.addresses = (b"\x0a" + ends[0][:3], b"\xc6\x33" + ends[0][4:6])
        ports = (rng.randrange(32768, 60999), server_port)
        self.ports = tuple(struct.pack(">HH", ports[d], ports[1 - d]) for d in (0, 1))
        macs = (b"\2\0\0\0\0\1", b"\2\0\0\0\0\2")
        kind = b"\x86\xdd" if self.v6 else b"\x08\0"
        self.heads = [macs[1 - d] + macs[d] + kind for d in (0, 1)]
        self.proto = proto

    def frame(self, d, transport):
        src, dst = self.addresses[d], self.addresses[1 - d]
        if self.v6:
            return self.heads[d] + struct.pack(">IHBB", 0x60000000, len(transport), self.proto, 64) + src + dst + transport
        return (self.heads[d] + struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(transport), 0, 0x4000, 64, self.proto, 0) + src + dst +
                transport)


class Tcp(Flow):
    def __init__(self, port):
        super().__init__(port, 6)
        self.seq = [rng.randrange(1 << 32), rng.randrange(1 << 32)]
        self.stamp = rng.randrange(1 << 30)

    def segment(self, d, flags, data=b""):
        self.stamp += 1
        ack = self.seq[1 - d] if flags & ACK else 0
        head = self.ports[d] + struct.pack(">IIBBHHHHBBII", self.seq[d], ack, 8 << 4, flags, 64240, 0, 0, 0x0101, 8, 10, self.stamp, 1)
        self.seq[d] = self.seq[d] + len(data) + (1 if flags & (SYN | FIN) else 0) & 0xffffffff
        return self.frame(d, head + data)

    def send(self, d, data):
        """One end's data, with an ACK of the other for every second segment."""
        for i, at in enumerate(range(0, len(data), MSS)):
            piece = data[at:at + MSS]
            yield self.segment(d, ACK | (PSH if at + MSS >= len(data) else 0), piece)
            if i % 2 or at + MSS >= len(data):
                yield self.segment(1 - d, ACK)

    def open(self):
        yield self.segment(0, SYN)
        yield self.segment(1, SYN | ACK)
        yield self.segment(0, ACK)

    def close(self):
        yield self.segment(0, FIN | ACK)
        yield self.segment(1, FIN | ACK)
        yield self.segment(0, ACK)


def https():
    t = Tcp(443)
    yield from t.open()
    yield from t.send(0, client_hello(host(rng.randrange(4000))))
    yield from t.send(1, server_flight())
    yield from t.send(0, b"\x14\3\3\0\1\1" + tls_data(74))
    for _ in range(rng.randrange(1, 6)):
        yield from t.send(0, tls_data(rng.randrange(200, 1200)))
        yield from t.send(1, tls_data(min(4 << 20, int(rng.lognormvariate(9.5, 1.3)))))
    yield from t.close()


def http_answer():
    size = min(1 << 20, int(rng.lognormvariate(9, 1.3)))
    head = b"HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Type: application/octet-stream\r\n"
    if rng.random() < 0.8:
        return head + b"Content-Length: %d\r\n\r\n" % size + random_bytes(size)
    chunks = b"".join(b"%x\r\n" % n + random_bytes(n) + b"\r\n" for n in [4096] * (size // 4096) + [size % 4096 + 1])
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


def http():
    t = Tcp(80)
    name = host(4000 + rng.randrange(1000))
    yield from t.open()
    for i in range(rng.randrange(1, 20)):
        body = random_bytes(rng.randrange(100, 8000)) if rng.random() < 0.15 else b""
        method, length = (b"POST", b"Content-Length: %d\r\n" % len(body)) if body else (b"GET", b"")
        yield from t.send(0, method + b" /objects/%d?version=2 HTTP/1.1\r\nHost: " % i + name +
                          b"\r\nUser-Agent: client/1.0 (benchmark)\r\nAccept: */*\r\nAccept-Encoding: identity\r\n"
                          b"Cookie: session=0123456789abcdef0123456789abcdef\r\n" + length + b"\r\n" + body)
        yield from t.send(1, http_answer())
    yield from t.close()


def ssh():
    t = Tcp(22)
    yield from t.open()
    yield from t.send(1, b"SSH-2.0-OpenSSH_9.2p1\r\n")
    yield from t.send(0, b"SSH-2.0-OpenSSH_9.2p1\r\n")
    for _ in range(rng.randrange(50, 400)):
        yield from t.send(0, random_bytes(rng.randrange(36, 200)))
        yield from t.send(1, random_bytes(rng.randrange(36, 1500)))
    yield from t.close()


def bulk():
    """A data connection on which only the server speaks."""
    t = Tcp(rng.randrange(49152, 65535))
    yield from t.open()
    yield from t.send(1, random_bytes(rng.randrange(50 << 10, 2 << 20)))
    yield from t.close()


def udp(f, d, data):
    return f.frame(d, f.ports[d] + struct.pack(">HH", 8 + len(data), 0) + data)


def media():
    f = Flow(rng.randrange(16384, 32767) & ~1, 17)
    for i in range(rng.randrange(200, 2000)):
        yield udp(f, i % 8 == 0, struct.pack(">BBHII", 0x80, 96, i & 0xffff, i * 3000, 7) + random_bytes(rng.randrange(200, 1200)))


def dns():
    f = Flow(53, 17)
    labels = b"".join(vector(1, label) for label in host(rng.randrange(5000)).split(b".")) + b"\0\0\1\0\1"
    number = random_bytes(2)
    yield udp(f, 0, number + b"\1\0\0\1\0\0\0\0\0\0" + labels)
    yield udp(f, 1, number + b"\x81\x80\0\1\0\1\0\0\0\0" + labels + b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + random_bytes(4))


KINDS = {"https": https, "http": http, "ssh": ssh, "bulk": bulk, "media": media, "dns": dns}


class Capture:
    def __init__(self, out):
        self.out, self.bytes, self.packets, self.kinds = out, 24, 0, dict.fromkeys(KINDS, 0)
        self.connections = 0
        out.write(struct.pack("<IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 262144, 1))

    def write(self, frame, kind):
        self.packets += 1
        self.out.write(struct.pack("<IIII", 1767225600 + self.packets // 20000, self.packets % 20000 * 50, len(frame), len(frame)))
        self.out.write(frame)
        self.bytes += 16 + len(frame)
        self.kinds[kind] += 16 + len(frame)

    def begin(self):
        """A connection of the kind that is furthest behind its share."""
        kind = min(KINDS, key=lambda k: self.kinds[k] / SHARE[k])
        self.kinds[kind] += 2000  # so that not all of those active are of one kind
        self.connections += 1
        return [kind, KINDS[kind](), 0]


def write_burst(capture, connection):
    """Some packets of one connection, perhaps two of them the wrong way round or one twice. True when it is over."""
    kind, packets, _ = connection
    burst = [p for _, p in zip(range(rng.randrange(1, 24)), packets)]
    for i in range(len(burst) - 1):
        r = rng.random()
        if r < REORDERED:
            burst[i], burst[i + 1] = burst[i + 1], burst[i]
        elif r < REORDERED + REPEATED:
            burst[i + 1:i + 1] = [burst[i]]
    for p in burst:
        capture.write(p, kind)
    return not burst


def hostile():
    for _ in range(70000):
        t = Tcp(80)
        for d in (0, 1):
            yield t.segment(d, ACK, b"G")
            t.seq[d] += 1
            yield t.segment(d, ACK, noise[:900])
    f = Flow(80, 6)
    f.v6, f.addresses = False, (b"\x0a\0\0\1", b"\x0a\0\0\2")
    for number in range(10000):
        whole = f.frame(0, noise[:1400])
        yield whole[:18] + struct.pack(">HH", number, 0x2000) + whole[22:]


def main():
    with open(sys.argv[2], "wb", buffering=1 << 20) as out:
        capture = Capture(out)
        if sys.argv[1] == "hostile":
            for frame in hostile():
                capture.write(frame, "http")
            return
        size = int(sys.argv[1]) * 1000000
        active = [capture.begin() for _ in range(ACTIVE)]
        while capture.bytes < size:
            i = rng.randrange(len(active))
            if write_burst(capture, active[i]):
                active[i] = capture.begin()
        for connection in active:
            while not write_burst(capture, connection):
                pass
    kinds = ", ".join(f"{k} {v / 1e6:.0f}" for k, v in capture.kinds.items())
    print(f"{capture.bytes / 1e6:.0f} MB, {capture.packets} packets, {capture.connections} connections; MB of {kinds}")


main()
