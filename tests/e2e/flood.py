#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""flood.py serve PORT PORT | flood.py ADDRESS SNI_PORT COUNT HTTP_PORT COUNT

As many connections as come, each to a host that nobody has seen before: a ClientHello with a random SNI, a request with a
random Host. One in a hundred names is none that could be shown. `serve` accepts on both ports, answers requests and
nothing else. The client prints what it has sent, as JSON.

Owns: the names. Must not know: the agent.
"""
import json
import os
import random
import selectors
import socket
import struct
import sys

sys.dont_write_bytecode = True  # the source tree stays clean

# pylint: disable=wrong-import-position
import traffic_tcp as tcp
import traffic_tls as tls

PROCESSES = 4
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789-"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def name_of(rng):
    name = "x" + "".join(rng.choices(LETTERS, k=rng.randrange(6, 20))) + "x"
    return name + rng.choice((".example", ".test.example", ".example.org"))


def hello_of(name, rng):
    """The SNI's bytes may be any: it stands in the hello with its length."""
    record = tls.in_records(tls.raw_hello("n" * len(name), "small", rng), 1, rng)
    return record.replace(b"n" * len(name), name)


def one(address, port, data, answered):
    sock = tcp.connect(address, port)
    # No state is left behind: there are not ports enough for that many in TIME_WAIT.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.sendall(data)
    tcp.wait_acked(sock)
    if answered and len(sock.recv(100)) != len(ANSWER):
        raise tcp.TrafficError("no answer")
    sock.close()
    return len(data)


def worker(share):
    address, port, count, http, seed = share
    rng, sent, shown = random.Random(seed), 0, 0
    for i in range(count):
        name = name_of(rng).encode()
        if i % 100 == 99:
            name = b"\\x" + name.replace(b".", b"..") + b"\xff{}\""[: rng.randrange(1, 4)]
        data = b"GET / HTTP/1.1\r\nHost: " + name + b"\r\n\r\n" if http else hello_of(name, rng)
        sent += one(address, port, data, http)
        shown += i % 100 != 99
    return {"connections": count, "sent": sent, "received": len(ANSWER) * count if http else 0, "shown": shown}


def client(address, *ports):
    answer = {}
    for kind, port, count in (("tls", *ports[:2]), ("http", *ports[2:])):
        shares = [(address, int(port), int(count) // PROCESSES, kind == "http", f"{kind}{i}") for i in range(PROCESSES)]
        done = tcp.run_processes(worker, shares)
        answer[kind] = {key: sum(one[key] for one in done) for key in done[0]}
    print(json.dumps(answer))


def serve(*ports):
    selector = selectors.DefaultSelector()
    for port in ports:
        server = socket.create_server(("", int(port)), backlog=4096)
        server.setblocking(False)
        selector.register(server, selectors.EVENT_READ, True)
    print("ready", flush=True)
    while True:
        for key, _ in selector.select():
            try:
                step(selector, key)
            except OSError:  # it went, as they do
                if not key.data:
                    selector.unregister(key.fileobj)
                    key.fileobj.close()


def step(selector, key):
    if key.data:
        selector.register(key.fileobj.accept()[0], selectors.EVENT_READ, False)
        return
    data = key.fileobj.recv(65536)
    if data.startswith(b"GET"):
        key.fileobj.sendall(ANSWER)
    if not data:
        raise OSError("closed")


def main():
    try:
        (serve if sys.argv[1] == "serve" else client)(*sys.argv[2 if sys.argv[1] == "serve" else 1:])
    except (tcp.TrafficError, OSError) as err:
        print(f"flood.py: {err}", file=sys.stderr)
        os._exit(1)


if __name__ == "__main__":
    main()
