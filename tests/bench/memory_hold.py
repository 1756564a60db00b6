#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""memory_hold.py KIND COUNT CGROUP: COUNT loopback connections, their clients in CGROUP, held until stdin ends.

KIND: tls    a ClientHello, a ServerHello, the first encrypted records: the connection is decided
      names  the same, each with a name of its own, and closed at once
      http   a request and its answer; the connection stays open for more
Each process has no more connections than its limit of open files allows. Prints `ready` when all are there. Run it in a network
namespace of its own. Owns: the connections. Must not know: what they cost.
"""
import os
import resource
import signal
import socket
import struct
import sys

PORT = 10000
PORTS_MAX = 15000  # connections to one port: the ephemeral ports are 28,000

REQUEST = b"GET / HTTP/1.1\r\nHost: bench.example\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
ENCRYPTED = b"\x14\x03\x03\0\1\1" + b"\x17\x03\x03\0\x20" + bytes(32)


def _hello(name):
    name = name.encode()
    sni = struct.pack(">HBH", len(name) + 3, 0, len(name)) + name
    extensions = struct.pack(">HH", 0, len(sni)) + sni + b"\0\x2b\0\3\2\3\4"
    body = b"\3\3" + bytes(32) + b"\0\0\2\x13\1\1\0" + struct.pack(">H", len(extensions)) + extensions
    message = b"\1" + len(body).to_bytes(3, "big") + body
    return b"\x16\3\1" + struct.pack(">H", len(message)) + message


def _server_hello():
    body = b"\3\3" + bytes(32) + b"\0\x13\1\0\0\6\0\x2b\0\2\3\4"
    message = b"\2" + len(body).to_bytes(3, "big") + body
    return b"\x16\3\3" + struct.pack(">H", len(message)) + message + ENCRYPTED


def _serve(kind, listener, count):
    answer = ANSWER if kind == "http" else _server_hello()
    held = []
    for _ in range(count):
        sock = listener.accept()[0]
        sock.recv(4096)
        sock.sendall(answer)
        if kind == "names":
            sock.recv(4096)
            sock.recv(4096)
            sock.close()
        else:
            held.append(sock)
    return held


def _connect(kind, port, count):
    held = []
    for i in range(count):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.sendall(REQUEST if kind == "http" else
                     _hello(f"{port}-{i}.example" if kind == "names" else "bench.example"))
        sock.recv(4096)
        if kind != "http":
            sock.sendall(ENCRYPTED)
        if kind == "names":
            sock.close()
        else:
            # No TIME_WAIT: what the connection took is free at once.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            held.append(sock)
    return held


def _spawn(work, cgroup, ready):
    """A process that does its work, says so and then waits for its end."""
    pid = os.fork()
    if pid:
        return pid
    try:
        if cgroup:
            with open(f"{cgroup}/cgroup.procs", "w", encoding="ascii") as procs:
                procs.write("0")
        held = work()
        os.write(ready, b".")
        signal.pause()
        del held
    except OSError as error:
        print(f"memory_hold.py: {error}", file=sys.stderr)
    os._exit(1)


def _start(kind, count, cgroup, ready):
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    most = min(limit - 100 if limit > 0 else PORTS_MAX, PORTS_MAX)
    pids = []
    for at, done in enumerate(range(0, count, most)):
        n = min(most, count - done)
        with socket.create_server(("127.0.0.1", PORT + at), backlog=4096) as listener:
            pids.append(_spawn(lambda listener=listener, n=n: _serve(kind, listener, n), None, ready))
        pids.append(_spawn(lambda at=at, n=n: _connect(kind, PORT + at, n), cgroup, ready))
    return pids


def main():
    """Make them, wait, end."""
    kind, count, cgroup = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    done, ready = os.pipe()
    pids = _start(kind, count, cgroup, ready)
    os.close(ready)
    said = b""
    while len(said) < len(pids) and (more := os.read(done, 1)):
        said += more
    if len(said) == len(pids):
        print("ready", flush=True)
        sys.stdin.read()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    sys.exit(len(said) != len(pids))


main()
