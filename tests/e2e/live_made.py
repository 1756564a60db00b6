# SPDX-License-Identifier: Apache-2.0
"""Vectors made here: what a client sends, and exactly what must be counted for it.

Owns: the fixed list that runs everywhere: TLS, what may stand before TLS, the forms of HTTP/1. Must
not know: how a vector is cut and sent, the corpus, the agent's output.

A live connection belongs to the first name on it; a name within a tunnel is a line of replay's only.
"""
import collections
import random
import struct

import traffic_tls as tls

# What is counted for a connection, one per destination; no host: the address.
Row = collections.namedtuple("Row", "protocol host connections requests")


def text_of(rows):
    """Rows as one line."""
    each = (f"{r.protocol} {r.host or 'the address'} {r.connections}/{r.requests}" for r in rows)
    return "; ".join(sorted(each)) or "nothing"


def pieces(data, size):
    return [data[i : i + size] for i in range(0, len(data), size)]


class Made:
    """before, a hello (a handshake message, or none), after; rows: what must be counted."""

    def __init__(self, title, rows, before=b"", hello=b"", after=b"", every_cut=False):
        self.title, self.before, self.hello, self.after = title, before, hello, after
        self.rows = sorted(Row(*r) for r in rows)
        self.every_cut = every_cut
        self.data = self.recut(16384) if hello else before + after

    def recut(self, size):
        """The same with TLS records of size bytes; None without a hello."""
        if not self.hello:
            return None
        parts = pieces(self.hello, size)
        records = b"".join(b"\x16\3\1" + struct.pack(">H", len(p)) + p for p in parts)
        return self.before + records + self.after

    def wrong(self, rows):
        """Why the rows are not the right ones, or None."""
        if sorted(rows) == self.rows:
            return None
        return f"got {text_of(rows)}, want {text_of(self.rows)}"


# --- TLS -----------------------------------------------------------------------------------------

APPLICATION = b"\x14\3\3\0\1\1\x17\3\3\0\x20" + b"GET / HTTP/1.1\r\nHost: evil.example"[:32]
NAME_253 = b".".join((b"a" * 63, b"b" * 63, b"c" * 63, b"d" * 61))
SSL_2 = b"\x80\x2e\1\3\1\0\x15\0\0\0\x10" + bytes(37)  # RFC 5246 appendix E.2


def _hello(name, layout="small"):
    return tls.raw_hello(name, layout, random.Random(name))


def _bare_hello(name=None, session=b"", before=b""):
    """With no extension but `before` and the name: bytes, for names that are no text."""
    extensions = before
    if name is not None:
        head = struct.pack(">HHHBH", 0, len(name) + 5, len(name) + 3, 0, len(name))
        extensions += head + name
    body = b"\3\3" + bytes(32) + bytes((len(session),)) + session + b"\0\2\x13\1\1\0"
    if extensions:
        body += struct.pack(">H", len(extensions)) + extensions
    return b"\1" + struct.pack(">I", len(body))[1:] + body


def _extension(number, size):
    return struct.pack(">HH", number, size) + bytes(size)


HELLOS = {
    "key share before the name": (_hello("pq.example", "pq-keyshare-first"), "pq.example"),
    "8 KB before the name": (
        _bare_hello(b"far.example", before=_extension(51, 8000)), "far.example"),
    "1,000 extensions first": (
        _bare_hello(b"many.example", before=_extension(0x5000, 0) * 1000), "many.example"),
    "upper case and dot": (_bare_hello(b"WWW.Upper.EXAMPLE."), "www.upper.example"),
    "underscore, session": (_bare_hello(b"a_b.example", session=bytes(32)), "a_b.example"),
    "253 bytes": (_bare_hello(NAME_253), NAME_253.decode()),
    "254 bytes": (_bare_hello(NAME_253 + b"x"), "~invalid"),
    "bytes that are no name": (_bare_hello(b"a\0b<i>\xff.example"), "~invalid"),
    "an address as name": (_bare_hello(b"192.0.2.7"), "192.0.2.7"),
    "no name": (_bare_hello(before=_extension(23, 0)), ""),
    "no extensions": (_bare_hello(), ""),
}


def _made_tls():
    yield Made("TLS", [("tls", "small.example", 1, 0)], hello=_hello("small.example"),
               every_cut=True)
    yield Made("TLS, application data behind", [("tls", "busy.example", 1, 0)],
               hello=_hello("busy.example"), after=APPLICATION)
    yield Made("TLS, SSL 2.0's form", [("tls", "", 1, 0)], before=SSL_2)
    for title, (hello, host) in HELLOS.items():
        yield Made(f"TLS, {title}", [("tls", host, 1, 0)], hello=hello)


# --- what may stand before TLS -------------------------------------------------------------------

PROXY_2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\2\1\xc0\0\2\2\0\1\1\xbb"
XMPP = (b"<?xml version='1.0'?><stream:stream to='evil.example' version='1.0' "
        b"xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
        b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")

BEFORE_TLS = {
    "SMTP": b"EHLO client.example\r\nSTARTTLS\r\n",
    "IMAP": b"a001 CAPABILITY\r\na002 STARTTLS\r\n",
    "POP3": b"CAPA\r\nSTLS\r\n",
    "FTP": b"AUTH TLS\r\n",
    "NNTP": b"CAPABILITIES\r\nSTARTTLS\r\n",
    "LDAP": b"\x30\x1d\2\1\1\x77\x18\x80\x161.3.6.1.4.1.1466.20037",
    "XMPP": XMPP,
    "IRC": b"CAP LS 302\r\nSTARTTLS\r\n",
    "PostgreSQL": b"\0\0\0\x08\x04\xd2\x16\x2f",
    "MySQL": b"\x20\0\0\1\x85\xae\xff\x19\0\0\0\1\x2d" + bytes(23),
    "RDP": b"\3\0\0\x2b\x26\xe0\0\0\0\0\0Cookie: mstshash=user\r\n\1\0\x08\0\3\0\0\0",
    "PROXY 1": b"PROXY TCP4 192.0.2.1 192.0.2.2 1 443\r\n",
    "PROXY 1, unknown": b"PROXY UNKNOWN\r\n",
    "PROXY 2": PROXY_2,
    "PROXY 2, IPv6": b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24" + bytes(range(1, 33)) + b"\0\1\1\xbb",
    "SOCKS 4": b"\4\1\1\xbb\xc0\0\2\1user\0",
    "SOCKS 4A": b"\4\1\1\xbb\0\0\0\1\0evil.example\0",
    "SOCKS 5, IPv4": b"\5\1\0\5\1\0\1\xc0\0\2\1\1\xbb",
    "SOCKS 5, IPv6": b"\5\1\0\5\1\0\4\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1\1\xbb",
    "PROXY 2, then SOCKS 5": PROXY_2 + b"\5\1\0\5\1\0\1\xc0\0\2\1\1\xbb",
}
# The representatives that are cut everywhere, with "TLS", "CONNECT" and HTTP to several hosts.
CUT_EVERYWHERE = ("SMTP", "PostgreSQL", "RDP", "PROXY 2", "SOCKS 5, IPv6")


def _made_before_tls():
    for title, before in BEFORE_TLS.items():
        yield Made(f"{title}, then TLS", [("tls", "behind.example", 1, 0)], before,
                   _hello("behind.example"), every_cut=title in CUT_EVERYWHERE)
    tunnel, inner = b"CONNECT proxied.example:443 HTTP/1.1\r\n\r\n", _hello("inner.example")
    rows = [("http", "proxied.example", 1, 1)]
    yield Made("CONNECT, then TLS", rows, tunnel, inner, every_cut=True)
    yield Made("CONNECT, then SMTP, then TLS", rows, tunnel + BEFORE_TLS["SMTP"], inner)
    yield Made("PROXY 1, then CONNECT, then TLS", rows, BEFORE_TLS["PROXY 1"] + tunnel, inner)


# --- HTTP/1 --------------------------------------------------------------------------------------


def _request(host, line="GET / HTTP/1.1", more="", body=""):
    return f"{line}\r\nHost: {host}\r\n{more}\r\n{body}"


EVIL = _request("evil.example")  # 40 bytes

# title: (text, hosts in their order, or the protocol where there is none)
HTTP = {
    "GET": (_request("get.example", more="Accept: */*\r\n"), ["get.example"]),
    "two hosts, a port, a body that looks like a request": (
        _request("A.Example:8080", "POST /1 HTTP/1.1", "Content-Length: 40\r\n", EVIL + "..")
        + _request("b.example.") + _request(" a.example", "DELETE /3 HTTP/1.1"),
        ["a.example", "b.example", "a.example"]),
    "chunked, extensions, trailers": (
        _request("c.example", "PUT / HTTP/1.1", "Transfer-Encoding: gzip, chunked\r\n",
                 f"26;ext=1\r\n{EVIL}\r\n1\r\nx\r\n0\r\nT: 1\r\n\r\n") + _request("d.example"),
        ["c.example", "d.example"]),
    "Expect": (
        _request("e.example", "PATCH / HTTP/1.1",
                 "Expect: 100-continue\r\nContent-Length: 2\r\n", "ab"), ["e.example"]),
    "absolute-form": (
        _request("other.example", "GET http://User@G.example:81/p HTTP/1.1"), ["g.example"]),
    "upgrade": (
        _request("i.example", "GET /ws HTTP/1.1", "Upgrade: websocket\r\n", "\x81\5hello"),
        ["i.example"]),
    "no Host, 1.0": ("GET / HTTP/1.0\r\nX: y\r\n\r\n", [""]),
    "an IPv6 literal": (_request("[2001:DB8:0::1]:80"), ["2001:db8::1"]),
    "line ends first, bare line feeds, odd method": (
        "\r\n\nPURGE /x HTTP/1.1\nHost: j.example\n\n", ["j.example"]),
    "a space in the target": (_request("k.example", "GET /a b HTTP/1.1"), ["k.example"]),
    "several Hosts, an empty one first": (
        _request("", more="Hosts: no.example\r\nHost: o.example\r\nHost: evil.example\r\n"),
        ["o.example"]),
    "a folded Host": (
        _request("\r\n \r\n\tf.example", more="X: y\r\n Host: evil.example\r\n"), ["f.example"]),
    "an invalid Host": (_request("<script>.example"), ["~invalid"]),
    "30 in a row": (_request("p.example") * 30, ["p.example"] * 30),
    "behind PROXY 1": (
        "PROXY TCP6 2001:db8::1 2001:db8::2 1 80\r\n" + _request("q.example"), ["q.example"]),
    "behind PROXY 2": (PROXY_2.decode("latin-1") + _request("q.example"), ["q.example"]),
    "behind SOCKS 5, password, name": (
        "\5\2\0\2\1\4user\4pass\5\1\0\3\x0cevil.example\0\x50" + _request("r.example"),
        ["r.example"]),
    "CONNECT alone": (_request("h.example:443", "CONNECT h.example:443 HTTP/1.1"), ["h.example"]),
    "CONNECT, then HTTP": (
        "CONNECT proxied.example:80 HTTP/1.1\r\n\r\n" + _request("s.example"),
        ["proxied.example", "s.example"]),
}
NOT_HTTP = {
    "half a head": b"GET / HTTP/1.1\r\nHost: n.example\r\n",
    "mail without TLS": b"EHLO client.example\r\n",
    "RTSP": _request("evil.example", "OPTIONS rtsp://evil.example/ RTSP/1.0").encode(),
    "binary": b"\0\1\2\xff" * 300,
}


def _made_http():
    for title, (text, hosts) in HTTP.items():
        requests = collections.Counter(hosts)
        rows = [("http", host, int(host == hosts[0]), n) for host, n in requests.items()]
        yield Made(f"HTTP, {title}", rows, text.encode("latin-1"), every_cut=len(rows) > 1)
    for title, data in NOT_HTTP.items():
        yield Made(f"not HTTP, {title}", [("tcp", "", 1, 0)], data)


def vectors():
    return [*_made_tls(), *_made_before_tls(), *_made_http()]
