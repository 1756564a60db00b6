# SPDX-License-Identifier: Apache-2.0
"""Every connection of the live vectors: which vector, cut how, to which port, and what is right.

Owns: the corpus' vectors as live ones, the ways of cutting, the samples taken. Every connection has
a port of its own: a destination's port says which vector it was and how it was cut. Must not know:
sockets, the agent's output.
"""
import collections
import ipaddress
import os
import re
import struct
import sys
import tempfile

import live_made

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden"))
import replay_vectors as corpus  # pylint: disable=wrong-import-position

FIRST_PORT, LAST_PORT = 10000, 65000
SEGMENT = 100  # payload bytes a segment of the variant "mss" has room for
# Longer vectors go in 1-byte segments to one of four: (family, offload) in turn.
SINGLE_BYTES_MAX = 600
HOST = re.compile(r"(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}")

# --- vectors of the corpus -----------------------------------------------------------------------


def shown(name):
    """The host that the agent shows for a name on the wire."""
    name = name.lower().rstrip(".")
    if name.startswith("[") and name.endswith("]"):
        name = name[1:-1]
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name if len(name) <= 253 and HOST.fullmatch(name) else "~invalid"


class Shared:
    """A vector of the corpus. The table says which names there are; how often each, replay does."""

    every_cut = False

    def __init__(self, vector, replayed):
        self.vector, self.title, self.data = vector, vector.path, vector.data
        self.names = None if vector.open else set(map(shown, vector.expected))
        http = (shown(name) for protocol, name in replayed if protocol == "http")
        self.requests = dict(collections.Counter(http))

    def recut(self, size):
        return corpus.recut(self.data, size) if self.vector.is_tls else None

    def wrong(self, rows):
        if sum(r.connections for r in rows) != 1:
            return f"got {live_made.text_of(rows)}"
        named = [r for r in rows if r.host]
        names = {r.host for r in named}
        if self.vector.open:
            new = [n for n in names if not self._holds(n)]
            return f"invented {new}" if new else None
        if names != self.names or {r.protocol for r in named} - self.vector.protocols:
            return f"got {live_made.text_of(rows)}, want {sorted(self.names)}"
        requests = {r.host: r.requests for r in named if r.protocol == "http"}
        return f"{requests} where replay has {self.requests}" if requests != self.requests else None

    def _holds(self, name):
        """Is the name in the stream? An address may be written otherwise there."""
        text = self.data.decode("latin-1").lower()
        if name == "~invalid" or name in text:
            return True
        return shown(name) in map(shown, re.findall(r"[0-9a-f:.]+", text))


def _replay(agent, vectors):
    """What replay prints of each vector, sent whole: lists of (protocol, name)."""
    with tempfile.NamedTemporaryFile(suffix=".pcap") as f:
        f.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 101))
        for i, vector in enumerate(vectors):
            f.write(corpus.connection(corpus.address(i), [vector.data], False))
        f.flush()
        text = corpus.replay(agent, "native", f.name).decode()
    printed = collections.defaultdict(list)
    for line in text.splitlines():
        fields = line.split("\t")
        printed[fields[1]].append((fields[0], fields[5]))
    return [printed[str(ipaddress.ip_address(corpus.address(i)))] for i in range(len(vectors))]


def vectors_of(root, agent):
    """All vectors; root (the corpus') may be None. Without agent, a binary, none can be judged."""
    if not root:
        return live_made.vectors()
    found = corpus.read_vectors(root)
    replayed = _replay(agent, found) if agent else [[]] * len(found)
    return live_made.vectors() + [Shared(*pair) for pair in zip(found, replayed)]


# --- connections ---------------------------------------------------------------------------------

# mss: segments have room for SEGMENT bytes and the kernel cuts; segment: writes of that size;
# record: TLS records of that size, one write; "cut": two writes, once for every place.
Variant = collections.namedtuple("Variant", "name mss segment record", defaults=(0, 0, 0))
VARIANTS = (
    Variant("whole"),
    Variant("mss", mss=SEGMENT),
    *(Variant(f"seg{n}", segment=n) for n in (1, 7, 100)),
    *(Variant(f"rec{n}", record=n) for n in (1, 7, 100)),
    Variant("cut"),
)

# at: where "cut" cuts.
Case = collections.namedtuple("Case", "vector variant family offload port at")


def pieces(case):
    """What the connection writes, write by write."""
    variant = case.variant
    data = case.vector.recut(variant.record) if variant.record else case.vector.data
    if case.at:
        return [data[: case.at], data[case.at :]]
    return live_made.pieces(data, variant.segment or len(data))


def _is_tried(vector, number, variant, turn):
    if variant.record:
        return vector.recut(variant.record) is not None
    if variant.segment == 1:
        return len(vector.data) <= SINGLE_BYTES_MAX or number % 4 == turn
    return True


def _places(vector, variant):
    if variant.name != "cut":
        return (0,)
    return range(1, len(vector.data)) if vector.every_cut else ()


def _combinations(vectors):
    """(vector, variant, family, offload, at), those of one offload and variant in a row."""
    for o, offload in enumerate(("on", "off")):
        for variant in VARIANTS:
            for number, vector in enumerate(vectors):
                for f, family in enumerate((4, 6)):
                    if _is_tried(vector, number, variant, 2 * o + f):
                        for at in _places(vector, variant):
                            yield vector, variant, family, offload, at


def plan(vectors):
    """Every connection."""
    cases = [
        Case(vector, variant, family, offload, FIRST_PORT + i, at)
        for i, (vector, variant, family, offload, at) in enumerate(_combinations(vectors))
    ]
    if cases[-1].port > LAST_PORT:
        raise SystemExit(f"live_cases.py: {len(cases)} connections are more than there are ports")
    return cases
