#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Servers that take their time: --delay seconds pass before what the client waits for.

Owns: where the delay lies. HTTP, by the request's path:
    /head  before the answer's first byte        /body    amid a body of known length
    /chunked  before its last chunk              /close   before the connection's end, which ends the body
    /cut   before the connection's end, amid a body    /never  before the connection's end, without an answer
TLS: before the server's first byte; on the port behind it the connection ends there instead.
Prints `ready` for each port when it accepts, and serves until killed. Must not know: who measures.
"""
import argparse
import socket
import ssl
import sys
import threading
import time

sys.dont_write_bytecode = True  # the source tree stays clean

# pylint: disable=wrong-import-position
import traffic_tls as tls

OK = b"HTTP/1.1 200 OK\r\n"

# What is sent before the delay and behind it, and whether the connection ends then.
ANSWERS = {
    "/head": (b"", OK + b"Content-Length: 2\r\n\r\nok", False),
    "/body": (OK + b"Content-Length: 2\r\n\r\no", b"k", False),
    "/chunked": (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", b"0\r\n\r\n", False),
    "/close": (OK + b"Connection: close\r\n\r\nok", b"", True),
    "/cut": (OK + b"Content-Length: 9\r\n\r\nok", b"", True),
    "/never": (b"", b"", True),
}


def _http(sock, opts):
    reader = sock.makefile("rb")
    while line := reader.readline():
        method, path, _ = line.decode().split(" ")
        while reader.readline().strip():
            pass
        early, late, last = ANSWERS[path]
        if method == "HEAD":
            early, late = b"", OK + b"Content-Length: 9\r\n\r\n"
        sock.sendall(early)
        time.sleep(opts.delay)
        sock.sendall(late)
        if last:
            return


def _tls(sock, opts):
    sock.recv(1, socket.MSG_PEEK)
    time.sleep(opts.delay)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(opts.cert, opts.key)
    with context.wrap_socket(sock, server_side=True) as wrapped:
        wrapped.recv(65536)
        wrapped.sendall(OK + b"Content-Length: 2\r\nConnection: close\r\n\r\nok")


def _mute(sock, opts):
    sock.recv(1, socket.MSG_PEEK)
    time.sleep(opts.delay)


def _serve(sock, speak, opts):
    sock.settimeout(30)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        speak(sock, opts)
    except (OSError, ValueError, KeyError):
        pass  # the client judges
    finally:
        sock.close()


def main():
    """Serve HTTP on --port and TLS on the two behind it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--delay", type=float, required=True, help="seconds")
    parser.add_argument("--cert", required=True)
    parser.add_argument("--key", required=True)
    opts = parser.parse_args()
    serving = []
    for at, speak in enumerate((_http, _tls, _mute)):
        serving.append(threading.Thread(target=tls.accept_forever, args=(
            [tls.listen("::", opts.port + at)],
            lambda sock, speak=speak: _serve(sock, speak, opts),
            lambda: print("ready", flush=True))))
        serving[at].start()
    serving[0].join()



if __name__ == "__main__":
    main()
