# SPDX-License-Identifier: Apache-2.0
"""Single connections under remote control, connections that fail, and the tools' own test.

Owns: `live` (a connection driven line by line from stdin), `fail`, `idle`, `selftest`. Must not
know: the agent.
"""
import collections
import json
import random
import socket
import ssl
import sys
import threading
import time

import traffic_serve
import traffic_tcp as tcp
import traffic_tls as tls


class Plain:
    """A connection to the echo server: what is sent comes back."""

    # Starts with a zero byte: neither a TLS record nor a method.
    PATTERN = b"\0binary\xff"

    def __init__(self, sock, opts):
        del opts
        self.sock = sock

    def exchange(self, count):
        data = (self.PATTERN * (count // len(self.PATTERN) + 1))[:count]
        writer = threading.Thread(target=self.sock.sendall, args=(data,))
        writer.start()
        got = 0
        while got < count:
            piece = self.sock.recv(65536)
            if not piece:
                raise tcp.TrafficError("the echo server hung up")
            got += len(piece)
        writer.join()


class Text(Plain):
    """The same, but begins like a method and is none, as SMTP and SSH do."""

    PATTERN = b"EHLO there\r\nGET / HTTP/1.1\r\nHost: evil.example\r\n\r\n"


class Http:
    """A kept-alive HTTP connection: an exchange is a GET /bytes/COUNT."""

    def __init__(self, sock, opts):
        self.sock, self.name = sock, opts.name
        self.reader = traffic_serve.Reader(sock)

    def exchange(self, count):
        self.sock.sendall(f"GET /bytes/{count} HTTP/1.1\r\nHost: {self.name}\r\n\r\n".encode())
        self.reader.line()
        self.reader.exactly(int(self.reader.headers()["content-length"]))


class Tls:
    """The same over TLS."""

    def __init__(self, sock, opts):
        self.name = opts.name
        context = ssl.create_default_context(cafile=opts.ca)
        self.session = tls.TlsSession(sock, context, opts.name)
        sock.sendall(self.session.hello())
        self.session.handshake()

    def exchange(self, count):
        self.session.request(f"GET /bytes/{count} HTTP/1.1\r\nHost: {self.name}\r\n\r\n".encode())


KINDS = {"tcp": Plain, "text": Text, "http": Http, "tls": Tls}


def live(opts):
    """Obey stdin: `send N` exchanges N bytes, `close` ends; one JSON line after each."""
    address = tcp.Resolver(opts.hosts).address(opts.name, int(opts.family))
    with tcp.connect(address, opts.port) as sock:
        local = sock.getsockname()[1]
        peer = KINDS[opts.kind](sock, opts)
        _say(sock, local)
        for line in sys.stdin:
            word, *rest = line.split()
            if word == "close":
                break
            peer.exchange(int(rest[0]))
            _say(sock, local)
        tcp.wait_acked(sock)
        _say(sock, local)


def _say(sock, local):
    tcp.wait_acked(sock)
    sent, received = tcp.payload(sock, False)
    print(json.dumps({"localPort": local, "sent": sent, "received": received}), flush=True)


def fail(opts):
    """Try to connect opts.count times where nobody answers; how each try ended."""
    resolver, ends = tcp.Resolver(opts.hosts), collections.Counter()
    for _ in range(opts.count):
        address = resolver.address(opts.name, int(opts.family))
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.settimeout(opts.patience)
            try:
                sock.connect((address, opts.port))
                ends["connected"] += 1
            except OSError as err:
                ends[type(err).__name__] += 1
    return {"kind": "fail", "ends": dict(ends)}


def idle(opts):
    """Open opts.count connections that say nothing, wait for stdin to end, close them.

    Where opts.socket is given, a Unix socket instead of TCP.
    """
    held = []
    for _ in range(opts.count):
        if opts.socket:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.connect(opts.socket)
        else:
            sock = tcp.connect(opts.name, opts.port)
        if opts.partial:
            sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: slow")
        held.append(sock)
    print(json.dumps({"kind": "idle", "held": len(held)}), flush=True)
    sys.stdin.read()
    return None


# --- the tools' own test -------------------------------------------------------------------------


def _check(what, got, wanted):
    if got != wanted:
        raise tcp.TrafficError(f"selftest: {what}: {got}, wanted {wanted}")


def _selftest_tcp_info():
    """On a connection whose bytes we wrote ourselves, TCP_INFO must say just those."""
    server = tls.listen("127.0.0.1", 0)
    with tcp.connect("127.0.0.1", server.getsockname()[1]) as sock:
        peer, _ = server.accept()
        before = tcp.data_segments(sock)
        tcp.send_pieces(sock, tcp.cut(b"s" * 5000, 3, random.Random(1)))
        _check("segments of 3 pieces", tcp.data_segments(sock) - before, 3)
        with peer:
            got = 0
            while got < 5000:
                got += len(peer.recv(65536))
            peer.sendall(b"r" * 777)
        drain = tls.Drain(sock)
        while drain.read():
            pass
        _check("FIN seen", drain.fin, True)
        tcp.wait_acked(sock)
        _check("payload", tcp.payload(sock, drain.fin), (5000, 777))
    server.close()


# extension key_share of 1,263 bytes, its list, GREASE with one byte, then the 1,216-byte share
_KEY_SHARE_HEAD = bytes.fromhex("0033 04ef 04ed 4a4a0001 00 11ec04c0")


def _selftest_hello():
    """The hand-built hello is 1.7 KB or more and its key share stands before its SNI."""
    hello = tls.raw_hello("name.example", "pq-keyshare-first", random.Random(2))
    at_share, at_name = hello.find(_KEY_SHARE_HEAD), hello.find(b"name.example")
    _check("key share before SNI", 0 < at_share < at_name - 1216, True)
    _check("hello of 1.7 KB", 1690 <= len(hello) <= 1900, True)
    records = tls.in_records(hello, 3, random.Random(3))
    _check("bytes of 3 records", len(records), len(hello) + 15)


def selftest(opts):
    """Do the tools measure what they say? Needs no agent."""
    del opts
    start = time.monotonic()
    _selftest_tcp_info()
    _selftest_hello()
    return {"kind": "selftest", "seconds": round(time.monotonic() - start, 3)}
