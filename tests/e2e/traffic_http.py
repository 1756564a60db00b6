# SPDX-License-Identifier: Apache-2.0
"""Plain HTTP traffic over kept-alive connections, and the exact count of what was asked.

Owns: the seeded plan of requests, every legal oddity of an HTTP/1.1 request head and body that a
passive reader may trip over. Must not know: the agent.
"""
import collections
import concurrent.futures
import random

import traffic_tcp as tcp
from traffic_serve import NO_BODY, Reader, in_chunks

CODES = (200, 200, 200, 201, 204, 301, 304, 400, 404, 500, 504)
METHODS = ("GET",) * 8 + ("HEAD", "POST", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PURGE")
WITH_BODY = ("POST", "PUT", "PATCH", "DELETE", "PURGE")
EVIL = b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n"

Conn = collections.namedtuple("Conn", "number name family hosts requests")
Request = collections.namedtuple("Request", "method host code how expect body_at wire closing")


def _host_field(host, port, rng):
    """`Host: host` in one of the ways a client may write it."""
    value = rng.choice((host, host, host, host.upper(), f"{host}:{port}"))
    name = rng.choice(("Host", "Host", "host", "HOST", "hOsT"))
    return f"{name}:{rng.choice((' ', ' ', '', '   '))}{value}{rng.choice(('', '', ' '))}\r\n"


def _fields(host, port, rng):
    """Header fields with Host first, in the middle or behind several KB."""
    long = rng.choice((0, 0, 0, 0, 300, 3000, 6000)) if rng.random() < 0.3 else 0
    others = ["User-Agent: traffic\r\n", "Accept: */*\r\n", "X-Host: evil.example\r\n"]
    if long:
        others.append(f"Cookie: {'c' * long}\r\n")
    others.insert(rng.randrange(len(others) + 1), _host_field(host, port, rng))
    return "".join(others)


def _body(rng):
    """Some bytes; often with a request inside, sometimes much."""
    size = rng.choice((0, 1, 100, 100, 1000, 1000, 20000))
    text = EVIL if rng.random() < 0.6 else b"payload "
    return (text * (size // len(text) + 1))[:size] if size > 1 else text[:size]


def _target(code, how, host, rng, unique):
    query = [f"n={unique}", f"bytes={rng.choice((0, 10, 100, 1500, 9000))}", f"how={how}"]
    if rng.random() < 0.05:
        query.append("hints=1")
    if rng.random() < 0.2:
        query.append(f"cut={rng.randrange(2, 5)}")
    path = f"/status/{code}" if code != 200 or rng.random() < 0.5 else f"/bytes/{rng.randrange(3000)}"
    form = f"http://{host}" if rng.random() < 0.03 else ""
    return f"{form}{path}?{'&'.join(query)}"


def make_request(host, port, rng, unique, last):
    """One request of the plan, as it goes on the wire."""
    method, code = rng.choice(METHODS), rng.choice(CODES)
    how = rng.choice(("length", "length", "chunked"))
    closing = last and rng.random() < 0.5
    if closing and rng.random() < 0.3:
        how = "reset"
    elif closing and method != "HEAD" and code not in NO_BODY:
        how = "close"
    target = _target(code, how, host, rng, unique)
    fields, body, expect = _fields(host, port, rng), b"", False
    if method in WITH_BODY or rng.random() < 0.05:
        body = _body(rng)
        expect = bool(body) and rng.random() < 0.15
        if rng.random() < 0.4:
            fields += "Transfer-Encoding: chunked\r\n"
            body = in_chunks(body, rng)
        else:
            fields += f"Content-Length: {len(body)}\r\n"
    fields += "Expect: 100-continue\r\n" if expect else ""
    fields += "Connection: close\r\n" if closing else ""
    # An empty line before the request line is to be ignored (RFC 9112 2.2).
    lead = "\r\n" if rng.random() < 0.01 else ""
    head = f"{lead}{method} {target} HTTP/1.1\r\n{fields}\r\n".encode()
    return Request(method, host, code, how, expect, len(head), head + body, closing)


def _read_answer(reader, request):
    """Read one final answer by its framing; the interim ones before it are dropped."""
    while True:
        code = int(reader.line().split(b" ")[1])
        fields = reader.headers()
        if code >= 200:
            break
    if code != request.code:
        raise tcp.TrafficError(f"{request.wire[:60]!r}: answered {code}, wanted {request.code}")
    if request.method == "HEAD" or code in NO_BODY:
        return
    if "chunked" in fields.get("transfer-encoding", ""):
        reader.chunked()
    elif "content-length" in fields:
        reader.exactly(int(fields["content-length"]))
    else:
        reader.to_end()


def _write(sock, reader, batch, rng):
    """Send the batch; with Expect (always a batch of one) the body waits for the 100."""
    wire = b"".join(request.wire for request in batch)
    first = batch[0]
    if first.expect:
        tcp.send_pieces(sock, tcp.cut(wire[: first.body_at], rng.randrange(1, 3), rng))
        if b" 100 " not in reader.line():
            raise tcp.TrafficError("no 100 Continue")
        reader.line()
        wire = wire[first.body_at :]
    tcp.send_pieces(sock, tcp.cut(wire, rng.choice((1, 1, 1, 2, 3, 6)), rng))


def batches(requests, depth):
    """The requests in groups to be written at once; Expect stands alone."""
    group = []
    for request in requests:
        if group and (request.expect or group[0].expect or len(group) == depth):
            yield group
            group = []
        group.append(request)
    if group:
        yield group


def _await_end(sock, reader, last):
    """Until the server has ended the connection; a RST may get lost and is not sent again."""
    if last.how == "reset":
        sock.settimeout(2)
    try:
        reader.to_end()
    except TimeoutError:
        if last.how != "reset":
            raise


def _run_one(conn, opts):
    """Play one connection; (sent, received, Counter of (host, method, code))."""
    rng = random.Random(f"{opts.seed}/{conn.number}")
    plan = [
        make_request(rng.choice(conn.hosts), opts.port, rng, i, i == conn.requests - 1)
        for i in range(conn.requests)
    ]
    with tcp.connect(opts.resolver.address(conn.name, conn.family), opts.port) as sock:
        reader = Reader(sock)
        for batch in batches(plan, opts.pipeline):
            _write(sock, reader, batch, rng)
            for request in batch:
                _read_answer(reader, request)
        if reader.data:
            raise tcp.TrafficError(f"{len(reader.data)} bytes after the last answer")
        if plan[-1].closing and not reader.fin:
            _await_end(sock, reader, plan[-1])
        tcp.wait_acked(sock)
        sent, received = tcp.payload(sock, reader.fin)
    tcp.finished(opts)
    return conn, sent, received, collections.Counter((r.host, r.method, r.code) for r in plan)


def _worker(opts, conns):
    with concurrent.futures.ThreadPoolExecutor(opts.threads) as pool:
        return list(pool.map(lambda conn: _run_one(conn, opts), conns))


def plan_of(opts):
    """Connections with their names: every fifth one speaks to all shared names, if there are any."""
    own = opts.names.split(",")
    shared = opts.shared_names.split(",") if opts.shared_names else []
    families = tcp.families_of(opts.family)
    each, more = divmod(opts.requests, opts.connections)
    plan = []
    for i in range(opts.connections):
        hosts = shared if shared and i % 5 == 4 else [own[i // len(families) % len(own)]]
        requests = each + (1 if i < more else 0)
        plan.append(Conn(i, hosts[0], families[i % len(families)], hosts, requests))
    return plan


def client(opts):
    """Play the plan; what was asked, per host, method and code, and what the sockets say."""
    opts.resolver = tcp.Resolver(opts.hosts)
    conns = plan_of(opts)
    shares = [conns[i :: opts.processes] for i in range(opts.processes)]
    done = sum(tcp.run_processes(lambda share: _worker(opts, share), shares), [])
    counts, rows = collections.Counter(), {}
    for conn, sent, received, asked in done:
        counts.update(asked)
        key = (conn.name if len(conn.hosts) == 1 else "", conn.family)
        rows[key] = [a + b for a, b in zip(rows.get(key, [0, 0, 0]), (1, sent, received))]
    return {
        "kind": "http",
        "connections": len(done),
        "sent": sum(d[1] for d in done),
        "received": sum(d[2] for d in done),
        "sharedNames": opts.shared_names.split(",") if opts.shared_names else [],
        # host "" is the sum of the connections that speak to the shared names
        "names": [
            {"host": n, "family": f, "port": opts.port}
            | {"connections": r[0], "sent": r[1], "received": r[2]}
            for (n, f), r in sorted(rows.items())
        ],
        "requests": [
            {"host": h, "port": opts.port, "method": m, "code": c, "count": n}
            for (h, m, c), n in sorted(counts.items())
        ],
    }
