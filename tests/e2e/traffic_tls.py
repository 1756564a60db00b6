# SPDX-License-Identifier: Apache-2.0
"""HTTPS traffic: a client whose ClientHello is cut as asked, a hand-built hello, a small server.

Owns: TLS records and the four ways a connection ends. Must not know: the agent, or how the
figures are compared.
"""
import collections
import concurrent.futures
import random
import socket
import ssl
import struct
import threading

import traffic_tcp as tcp

# How connections end; "mixed" takes them in turn. "late" is what curl does: the server has closed,
# and the client still writes its close_notify.
CLOSINGS = ("server", "client", "late", "reset")

# Answer sizes, in turn; the stand's nginx has a file of each.
SIZES = (1000, 1, 10000, 100, 1024, 10, 65536)

Job = collections.namedtuple("Job", "number name family closing")


# --- the hand-built hello ------------------------------------------------------------------------


def _ext(number, body):
    return struct.pack(">HH", number, len(body)) + body


def _vec8(body):
    return bytes([len(body)]) + body


def _vec16(body):
    return struct.pack(">H", len(body)) + body


def _key_share(rng):
    """GREASE, X25519MLKEM768 (1,216 bytes) and X25519, in a browser's order (RFC 8446 4.2.8)."""
    shares = struct.pack(">HH", 0x4A4A, 1) + b"\0"
    shares += struct.pack(">HH", 0x11EC, 1216) + rng.randbytes(1216)
    shares += struct.pack(">HH", 0x001D, 32) + rng.randbytes(32)
    return _ext(51, _vec16(shares))


def _sni(name):
    return _ext(0, _vec16(b"\0" + _vec16(name.encode("ascii"))))


def _common_extensions():
    groups = struct.pack(">4H", 0x4A4A, 0x11EC, 0x001D, 0x0017)
    schemes = struct.pack(">6H", 0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501)
    versions = struct.pack(">3H", 0x2A2A, 0x0304, 0x0303)
    return [
        _ext(43, _vec8(versions)),
        _ext(16, _vec16(_vec8(b"h2") + _vec8(b"http/1.1"))),
        _ext(10, _vec16(groups)),
        _ext(13, _vec16(schemes)),
        _ext(45, _vec8(b"\1")),
        _ext(11, _vec8(b"\0")),
        _ext(23, b""),
        _ext(0xFF01, b"\0"),
        _ext(5, b"\1\0\0\0\0"),
        _ext(18, b""),
    ]


def raw_hello(name, layout, rng):
    """A ClientHello handshake message (no record header) for name.

    layout "pq-keyshare-first": 1.7 KB, key share and 24 unknown extensions before the SNI.
    layout "small": the SNI first and no post-quantum share.
    """
    extensions = _common_extensions()
    if layout == "small":
        share = struct.pack(">HH", 0x001D, 32) + rng.randbytes(32)
        extensions = [_sni(name), *extensions, _ext(51, _vec16(share))]
    else:
        unknown = [_ext(0x6A00 + i, rng.randbytes(rng.randrange(4, 9))) for i in range(24)]
        extensions = [_ext(0x1A1A, b""), _key_share(rng), *extensions, *unknown, _sni(name)]
    ciphers = struct.pack(">8H", 0x5A5A, 0x1301, 0x1302, 0x1303, 0xC02B, 0xC02F, 0xC02C, 0xC030)
    body = b"\3\3" + rng.randbytes(32) + _vec8(rng.randbytes(32)) + _vec16(ciphers) + b"\1\0"
    body += _vec16(b"".join(extensions))
    return b"\1" + struct.pack(">I", len(body))[1:] + body


def in_records(message, records, rng):
    """The handshake message in that many TLS records (RFC 8446 5.1 allows any cut)."""
    parts = tcp.cut(message, records, rng)
    return b"".join(b"\x16\3\1" + _vec16(part) for part in parts)


# --- the client ----------------------------------------------------------------------------------


class Drain:
    """Reads a socket to its end and knows whether the end was a FIN."""

    def __init__(self, sock):
        self.sock = sock
        self.fin = False
        self.gone = False

    def read(self):
        """Some bytes, or b"" at the end of the connection."""
        try:
            data = self.sock.recv(65536)
        except ConnectionError:
            self.gone = True
            return b""
        self.fin = not data
        return data


class TlsSession:
    """A TLS client whose bytes go through memory, so that each write is ours to cut."""

    def __init__(self, sock, context, name):
        self.sock = sock
        self.drain = Drain(sock)
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=name)

    def hello(self):
        """The ClientHello flight, not sent yet."""
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return self.outgoing.read()
        raise tcp.TrafficError("the handshake ended before it began")

    def flush(self):
        data = self.outgoing.read()
        if data:
            self.sock.sendall(data)

    def _fed(self, action):
        """action(), fed with what the server sends as long as it wants more."""
        while True:
            try:
                return action()
            except ssl.SSLWantReadError:
                self.flush()
                data = self.drain.read()
                if not data:
                    raise tcp.TrafficError("the server hung up too early") from None
                self.incoming.write(data)

    def handshake(self):
        self._fed(self.tls.do_handshake)
        self.flush()

    def request(self, head):
        """Send a request, return the answer's head and body (which has a Content-Length)."""
        self.tls.write(head)
        self.flush()
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self._fed(lambda: self.tls.read(65536))
        head, body = answer.split(b"\r\n\r\n", 1)
        length = int(head.lower().split(b"content-length:")[1].split()[0])
        while len(body) < length:
            body += self._fed(lambda: self.tls.read(65536))
        return head, body

    def notify(self):
        """Write close_notify; the server may be gone already."""
        try:
            self.tls.unwrap()
        except ssl.SSLError:
            pass
        try:
            self.flush()
        except ConnectionError:
            pass

    def to_end(self):
        while self.drain.read():
            pass
        return self.drain.fin


def _full(sock, job, opts, rng):
    """A handshake, one request, and the end job.closing asks for. True when a FIN came."""
    session = TlsSession(sock, opts.context, job.name)
    hello = session.hello()
    before = tcp.data_segments(sock)
    tcp.send_pieces(sock, tcp.cut(hello, opts.pieces, rng))
    segments = tcp.data_segments(sock) - before
    session.handshake()
    keep = "keep-alive" if job.closing == "client" else "close"
    # Not every connection may carry the same bytes, or a count under a wrong name would not show.
    path = f"/bytes/{SIZES[job.number % len(SIZES)]}"
    head, _ = session.request(
        f"GET {path} HTTP/1.1\r\nHost: {job.name}\r\nConnection: {keep}\r\n\r\n".encode()
    )
    if not head.startswith(b"HTTP/1.1 200 "):
        raise tcp.TrafficError(f"{job.name}{path}: {head[:40]!r}")
    if job.closing == "client":
        session.notify()
        sock.shutdown(socket.SHUT_WR)
    fin = session.to_end()
    if job.closing == "late":
        session.notify()
    return fin, len(hello), segments


def _raw(sock, job, opts, rng):
    """The hand-built hello, the server's first flight, the end. True when a FIN came."""
    # A name on the wire may be in any case; the agent must show it in lower case.
    name = job.name.upper() if job.number % 8 == 7 else job.name
    hello = in_records(raw_hello(name, opts.hello, rng), opts.records, rng)
    before = tcp.data_segments(sock)
    tcp.send_pieces(sock, tcp.cut(hello, opts.pieces, rng))
    segments = tcp.data_segments(sock) - before
    drain = Drain(sock)
    first = drain.read()
    if first[:1] != b"\x16":
        raise tcp.TrafficError(f"{job.name}: no ServerHello for the hello: {first[:20].hex()}")
    sock.shutdown(socket.SHUT_WR)
    while drain.read():
        pass
    return drain.fin, len(hello), segments


def _one(job, opts):
    rng = random.Random(f"{opts.seed}/{job.number}")
    sock = tcp.connect(opts.resolver.address(job.name, job.family), opts.port)
    with sock:
        fin, hello, segments = (_full if opts.mode == "full" else _raw)(sock, job, opts, rng)
        tcp.wait_acked(sock)
        sent, received = tcp.payload(sock, fin)
        if job.closing == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    tcp.finished(opts)
    return job, sent, received, hello, segments


def _worker(opts, jobs):
    with concurrent.futures.ThreadPoolExecutor(opts.threads) as pool:
        return list(pool.map(lambda job: _one(job, opts), jobs))


def _context(opts):
    context = ssl.create_default_context(cafile=opts.ca)
    context.set_alpn_protocols(["http/1.1"])
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if opts.tls == "1.2":
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    else:
        context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def jobs_of(opts):
    """Each name and family gets its equal share; neighbours differ in name."""
    names, families = opts.names.split(","), tcp.families_of(opts.family)
    pairs = [(name, family) for family in families for name in names]
    closings = CLOSINGS if opts.close == "mixed" else (opts.close,)
    return [
        Job(i, *pairs[i % len(pairs)], closings[i // len(pairs) % len(closings)])
        for i in range(opts.connections)
    ]


def client(opts):
    """Open opts.connections connections; what the client's sockets say about them."""
    opts.context = _context(opts) if opts.mode == "full" else None
    opts.resolver = tcp.Resolver(opts.hosts)
    jobs = jobs_of(opts)
    shares = [jobs[i :: opts.processes] for i in range(opts.processes)]
    done = sum(tcp.run_processes(lambda share: _worker(opts, share), shares), [])
    rows = {}
    for job, sent, received, _, _ in done:
        row = rows.setdefault((job.name, job.family), [0, 0, 0])
        rows[(job.name, job.family)] = [a + b for a, b in zip(row, (1, sent, received))]
    return {
        "kind": "tls",
        "connections": len(done),
        "sent": sum(d[1] for d in done),
        "received": sum(d[2] for d in done),
        "helloBytes": [min(d[3] for d in done), max(d[3] for d in done)],
        "helloSegments": [min(d[4] for d in done), max(d[4] for d in done)],
        "names": [
            {"host": n, "family": f, "port": opts.port}
            | {"connections": r[0], "sent": r[1], "received": r[2]}
            for (n, f), r in sorted(rows.items())
        ],
    }


# --- the server ----------------------------------------------------------------------------------


def _serve_session(conn):
    """Answer GET /bytes/N until the client or its `Connection: close` ends it."""
    pending = b""
    while True:
        while b"\r\n\r\n" not in pending:
            data = conn.recv(65536)
            if not data:
                return
            pending += data
        head, pending = pending.split(b"\r\n\r\n", 1)
        path = head.split(b" ", 2)[1].decode()
        body = b"x" * (int(path.split("/")[2]) if path.startswith("/bytes/") else 2)
        answer = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
        conn.sendall(answer.encode() + b"\r\n" + body)
        if b"\r\nconnection: close" in head.lower():
            return


def _serve_one(sock, context):
    sock.settimeout(tcp.TIMEOUT)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with context.wrap_socket(sock, server_side=True) as conn:
            _serve_session(conn)
            # Says close_notify and waits for none: the client decides how the end looks.
            conn.settimeout(0)
            conn.unwrap().close()
    except (OSError, ValueError):
        pass  # a client that goes away is what some tests are about; the client judges
    finally:
        sock.close()


def serve(opts, ready):
    """A TLS server on every address of opts.listen; calls ready() once it accepts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(opts.cert, opts.key)
    context.set_alpn_protocols(["http/1.1"])
    listeners = [listen(address, opts.port) for address in opts.listen.split(",")]
    accept_forever(listeners, lambda sock: _serve_one(sock, context), ready)


def listen(address, port):
    """A listening socket; `::` takes IPv4 too."""
    if address == "::":
        return socket.create_server(
            ("::", port), family=socket.AF_INET6, backlog=1024, dualstack_ipv6=True
        )
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.create_server((address, port), family=family, backlog=1024)


def accept_forever(listeners, handle, ready):
    """One thread a connection, until the process is told to stop."""

    def loop(listener):
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=handle, args=(sock,), daemon=True).start()

    for listener in listeners[1:]:
        threading.Thread(target=loop, args=(listener,), daemon=True).start()
    ready()
    loop(listeners[0])
