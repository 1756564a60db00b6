# SPDX-License-Identifier: Apache-2.0
"""A plain HTTP/1.1 server and an echo server that do exactly what the request asks for.

Owns: request framing (RFC 9112) as a server sees it, every way to frame an answer. Answers are
deliberately awkward: they are written in small cuts and their bodies contain a status line. Must
not know: the agent, the client's plan.

GET /status/CODE?bytes=N&how=length|chunked|close|reset&hints=1&cut=K   and   GET /bytes/N?...
how=close: the body ends with the connection; reset: the connection ends with a RST.
"""
import random
import socket
import struct
import urllib.parse

import traffic_tcp as tcp
import traffic_tls as tls

FAKE = b"HTTP/1.1 500 fake\r\nContent-Length: 0\r\n\r\n"
NO_BODY = (204, 304)


class Reader:
    """Lines and counted bytes from a socket."""

    def __init__(self, sock):
        self.sock = sock
        self.data = b""
        self.fin = False

    def _more(self):
        piece = self.sock.recv(65536)
        self.fin = not piece
        if not piece:
            raise EOFError
        self.data += piece

    def line(self):
        while b"\n" not in self.data:
            self._more()
        line, self.data = self.data.split(b"\n", 1)
        return line.rstrip(b"\r")

    def exactly(self, count):
        while len(self.data) < count:
            self._more()
        out, self.data = self.data[:count], self.data[count:]
        return out

    def to_end(self):
        try:
            while True:
                self._more()
        except (EOFError, ConnectionError):
            out, self.data = self.data, b""
            return out

    def headers(self):
        """Header fields up to the empty line, names in lower case."""
        fields = {}
        while line := self.line():
            name, value = line.split(b":", 1)
            fields[name.lower().decode()] = value.strip().decode()
        return fields

    def chunked(self):
        """A chunked body without its framing; extensions and trailers are dropped."""
        body = b""
        while size := int(self.line().split(b";")[0], 16):
            body += self.exactly(size)
            self.line()
        while self.line():
            pass
        return body


def filler(count):
    """count bytes that look like an answer to whoever does not follow the framing."""
    return (FAKE * (count // len(FAKE) + 1))[:count]


def in_chunks(body, rng):
    """body in the chunked coding, with an extension and a trailer now and then."""
    out = b""
    while body:
        size = min(len(body), rng.choice((1, 17, 400, 5000)))
        extension = b";note=\"HTTP/1.1\"" if rng.random() < 0.2 else b""
        out += f"{size:x}".encode() + extension + b"\r\n" + body[:size] + b"\r\n"
        body = body[size:]
    trailer = b"X-Trailer: HTTP/1.1 500 fake\r\n" if rng.random() < 0.3 else b""
    return out + b"0\r\n" + trailer + b"\r\n"


def _answer(method, target, wish, rng):
    """(bytes, close): the answer as it goes on the wire."""
    kind, number = target.path.lstrip("/").split("/")[:2]
    code, size = (int(number), 60) if kind == "status" else (200, int(number))
    size, how = int(wish.get("bytes", size)), wish.get("how", "length")
    body = filler(size)
    head = f"HTTP/1.1 {code} {'OK' if code == 200 else 'As asked'}\r\nServer: stand\r\n"
    if code == 204:
        return (head + "\r\n").encode(), False
    if how == "chunked":
        head, body = head + "Transfer-Encoding: chunked\r\n", in_chunks(body, rng)
    elif how == "close":
        head += "Connection: close\r\n"
    else:
        head += f"Content-Length: {size}\r\n"
    if method == "HEAD" or code in NO_BODY:
        body = b""
    hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" if wish.get("hints") else ""
    return (hints + head + "\r\n").encode() + body, how == "close"


def _target(word):
    """The path of origin-form, absolute-form and `*`."""
    return urllib.parse.urlsplit("/status/200" if word == "*" else word)


def _serve_requests(sock):
    reader = Reader(sock)
    while True:
        line = reader.line()
        while not line:
            line = reader.line()  # RFC 9112 2.2: an empty line before a request is ignored
        method, word, _ = line.decode().split(" ")
        fields = reader.headers()
        if fields.get("expect") == "100-continue":
            sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if "chunked" in fields.get("transfer-encoding", ""):
            reader.chunked()
        else:
            reader.exactly(int(fields.get("content-length", "0")))
        target = _target(word)
        wish = dict(urllib.parse.parse_qsl(target.query))
        rng = random.Random(word)
        answer, close = _answer(method, target, wish, rng)
        tcp.send_pieces(sock, tcp.cut(answer, int(wish.get("cut", "1")), rng))
        if wish.get("how") == "reset":
            tcp.wait_acked(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if close or fields.get("connection") == "close":
            return


def _serve_one(sock, speak):
    sock.settimeout(tcp.TIMEOUT)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        speak(sock)
    except (EOFError, OSError, ValueError, tcp.TrafficError):
        pass  # the client judges; a broken client must not end the server
    finally:
        sock.close()


def _echo(sock):
    while data := sock.recv(65536):
        sock.sendall(data)


def serve(opts, ready):
    """The server of opts.speak (http or echo) on every address of opts.listen."""
    speak = _serve_requests if opts.speak == "http" else _echo
    listeners = [tls.listen(address, opts.port) for address in opts.listen.split(",")]
    tls.accept_forever(listeners, lambda sock: _serve_one(sock, speak), ready)
