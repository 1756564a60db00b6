# SPDX-License-Identifier: Apache-2.0
"""Sockets for the traffic tools: addresses, pieces, and what the kernel says about a connection.

Owns: name to address, connecting, writing in separate segments, TCP_INFO. The figures of this
file are the reference the agent is measured against, so they come from the client's own socket
and from nowhere else. Must not know: TLS, HTTP, the agent.
"""
import fcntl
import multiprocessing
import queue
import socket
import struct
import time

TIMEOUT = 30.0  # seconds; no wait of a tool is longer
SIOCOUTQ = 0x5411  # bytes not acknowledged yet (linux/sockios.h)
SIOCOUTQNSD = 0x894B  # bytes not sent yet
TCP_CLOSE = 7  # net/tcp_states.h

# Offsets into struct tcp_info (linux/tcp.h); checked by `traffic.py selftest`.
TCPI_SIZE = 256
TCPI_BYTES_ACKED = 120
TCPI_BYTES_RECEIVED = 128
TCPI_DATA_SEGS_OUT = 156
TCPI_BYTES_SENT = 200
TCPI_BYTES_RETRANS = 208


class TrafficError(Exception):
    """The traffic did not go as planned: no figure of this run may be trusted."""


class Resolver:
    """Names to addresses, from a hosts file when one is given, else from the system."""

    def __init__(self, path=None):
        self.table = {}
        if path:
            self._read(path)

    def _read(self, path):
        with open(path, encoding="ascii") as lines:
            for line in lines:
                words = line.split("#")[0].split()
                for name in words[1:]:
                    family = 6 if ":" in words[0] else 4
                    self.table.setdefault((name, family), words[0])

    def address(self, name, family):
        """The address of name in family 4 or 6; an IP literal is its own address."""
        if (name, family) in self.table:
            return self.table[(name, family)]
        af = socket.AF_INET6 if family == 6 else socket.AF_INET
        try:
            return socket.getaddrinfo(name, None, af, socket.SOCK_STREAM)[0][4][0]
        except socket.gaierror as err:
            raise TrafficError(f"{name}: no IPv{family} address: {err}") from err


def families_of(word):
    """[4], [6] or [4, 6] from the --family option."""
    return [4, 6] if word == "both" else [int(word)]


def connect(address, port, local_port=0):
    """A connected, undelayed TCP socket."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.settimeout(TIMEOUT)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if local_port:
        sock.bind(("", local_port))
    try:
        sock.connect((address, port))
    except OSError as err:
        sock.close()
        raise TrafficError(f"[{address}]:{port}: {err}") from err
    return sock


def queued(sock, request):
    """Bytes in the send queue: request is SIOCOUTQ or SIOCOUTQNSD."""
    return struct.unpack("i", fcntl.ioctl(sock, request, b"\0\0\0\0"))[0]


def _wait(ready, what):
    deadline = time.monotonic() + TIMEOUT
    pause = 0.0001
    while not ready():
        if time.monotonic() > deadline:
            raise TrafficError(f"{what}: still not so after {TIMEOUT:.0f} s")
        time.sleep(pause)
        pause = min(pause * 2, 0.02)


def send_pieces(sock, pieces):
    """Write each piece as segments of its own.

    TCP_NODELAY alone does not promise that (the kernel corks small writes behind a busy queue),
    so the next piece waits until the kernel has sent all of the one before.
    """
    for piece in pieces:
        sock.sendall(piece)
        _wait(lambda: queued(sock, SIOCOUTQNSD) == 0, "send queue empty")


def cut(data, pieces, rng):
    """data in `pieces` parts (fewer when it is too short), cut at places of rng's choice."""
    pieces = min(pieces, len(data))
    if pieces < 2:
        return [data]
    at = [0, *sorted(rng.sample(range(1, len(data)), pieces - 1)), len(data)]
    return [data[a:b] for a, b in zip(at, at[1:])]


def tcp_info(sock):
    """struct tcp_info as bytes, zero-filled to TCPI_SIZE."""
    raw = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCPI_SIZE)
    return raw.ljust(TCPI_SIZE, b"\0")


def data_segments(sock):
    """Segments with payload sent so far."""
    return struct.unpack_from("<I", tcp_info(sock), TCPI_DATA_SEGS_OUT)[0]


def wait_acked(sock):
    """Until the peer's kernel has all that was sent, or the connection is gone."""
    _wait(
        lambda: queued(sock, SIOCOUTQ) == 0 or tcp_info(sock)[0] == TCP_CLOSE,
        "all data acknowledged",
    )


def payload(sock, fin_received):
    """(sent, received): application bytes each way as the kernel counted them on this socket.

    bytes_sent counts retransmissions too; bytes_received counts the peer's FIN as one byte.
    Call it last, when nothing more is written or awaited.
    """
    info = tcp_info(sock)
    sent, retrans = struct.unpack_from("<QQ", info, TCPI_BYTES_SENT)
    received = struct.unpack_from("<Q", info, TCPI_BYTES_RECEIVED)[0]
    return sent - retrans, received - (1 if fin_received else 0)


def finished(opts):
    """Called after each connection: make progress visible, and pause when asked to."""
    if opts.progress:
        with open(opts.progress, "ab") as progress:
            progress.write(b".")
    if opts.pause:
        time.sleep(opts.pause)


def run_processes(worker, shares):
    """worker(share) in one forked process each, all at once; the list of their answers."""
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    children = [
        context.Process(target=_child, args=(worker, share, answers), daemon=True)
        for share in shares
    ]
    for child in children:
        child.start()
    try:
        return [_answer(answers, children) for _ in children]
    finally:
        for child in children:
            child.terminate()
            child.join()


def _child(worker, share, answers):
    try:
        answers.put((True, worker(share)))
    except Exception as err:  # the parent prints it; a lost child must not look like success
        answers.put((False, f"{type(err).__name__}: {err}"))
    answers.close()
    answers.join_thread()


def _answer(answers, children):
    while True:
        try:
            good, answer = answers.get(timeout=1)
        except queue.Empty:
            if any(child.is_alive() for child in children):
                continue
            raise TrafficError("a client process died without an answer") from None
        if not good:
            raise TrafficError(answer)
        return answer
