#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Servers that are not the agent, for `dump` to meet: each fails in a way of its own.

Owns: the ways. Prints `KIND PORT` a line and serves until killed. Must not know: who calls.
"""
import socket
import threading

HEAD = b"HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"


def _page(status, kind, body):
    return HEAD % (status, kind, len(body)) + body


ANSWERS = {
    "hangup": b"",
    "garbage": b"\x00\xff\x1b[31mnot HTTP\r\n\r\n" * 10,
    "error500": _page(b"500 Internal Server Error", b"text/plain", b"evil \x1b[31m text\n"),
    "notfound": _page(b"404 Not Found", b"application/json", b'{"error": "no such page"}'),
    "html": _page(b"200 OK", b"text/html", b"<html>welcome to the hotel</html>"),
    "otherkind": _page(b"200 OK", b"application/json", b'{"kind": "PodList", "items": []}'),
    "cutshort": HEAD % (b"200 OK", b"application/json", 100000) + b'{"kind": "Destin',
    "silent": None,  # reads the request and never answers
}


def _serve(listener, answer):
    held = []
    while True:
        sock, _ = listener.accept()
        if answer is None:
            held.append(sock)
            continue
        sock.settimeout(5)
        try:
            sock.recv(65536)
            sock.sendall(answer)
        except OSError:
            pass
        sock.close()


def main():
    for kind, answer in ANSWERS.items():
        listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=_serve, args=(listener, answer), daemon=True).start()
        print(kind, listener.getsockname()[1], flush=True)
    # A port that is bound and refuses: nobody else can take it while the test runs.
    closed = socket.socket()
    closed.bind(("127.0.0.1", 0))
    print("closed", closed.getsockname()[1], flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
