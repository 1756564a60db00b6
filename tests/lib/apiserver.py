#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A stand-in for the Kubernetes API server: lists and watches over TLS with bearer tokens, and faults on demand.

Owns: what a client sees of the API (versions, pages, watches, bookmarks, errors), and the truth it is compared with.
Must not know: who the client is. Python's standard library and openssl only.

    apiserver.py --dir DIR [--pods N [--node NODE]] [--port PORT]

makes DIR/ca.crt, DIR/token and DIR/url for the client, and listens for tests on DIR/control.sock:

    curl --unix-socket DIR/control.sock http://x/...
    PUT    /objects                      apply one object, or a List of them (JSON, by kind)
    DELETE /objects/PLURAL/NS/NAME       '-' for no namespace
    GET    /objects/PLURAL               the truth
    POST   /faults                       {"fault": F, "plural": P, "verb": "list"|"watch", "times": N, ...}
                                         {"fault": null}: none any more
    POST   /streams                      {"fault": F, "plural": P}: to watches that are open now
    POST   /release                      let go what a fault holds
    POST   /rotate                       a new token; the old one is refused from now on
    POST   /compact                      forget old versions; pages and watches from there get 410
    POST   /uninstall, /install          {"plural": P}: the collection answers 404, or is there again
    GET    /stats

Faults of a request: status (code, retry_after), empty, garbage, cut, slow (seconds a byte), stall (seconds).
Faults of a watch, new or open, as well: gone (an ERROR event), close (an orderly end), half (cut within an event),
hold (half an event, the rest after POST /release).
Tests in Python use the class ApiServer itself. Ready is when DIR/url exists; it ends at SIGTERM or when stdin ends.
"""
import argparse
import base64
import collections
import http.server
import json
import os
import re
import secrets
import shutil
import signal
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse
import uuid

ISTIO = "/apis/networking.istio.io/v1"
# plural: (prefix of its path, kind, has namespaces)
RESOURCES = {
    "namespaces": ("/api/v1", "Namespace", False),
    "pods": ("/api/v1", "Pod", True),
    "services": ("/api/v1", "Service", True),
    "endpointslices": ("/apis/discovery.k8s.io/v1", "EndpointSlice", True),
    "serviceentries": (ISTIO, "ServiceEntry", True),
    "destinationrules": (ISTIO, "DestinationRule", True),
    "sidecars": (ISTIO, "Sidecar", True),
    "virtualservices": (ISTIO, "VirtualService", True),
}
PLURALS = {kind: plural for plural, (_, kind, _) in RESOURCES.items()}
BOOKMARK_S = 0.5  # Kubernetes takes about a minute
SLOW_BYTES = 16384  # of a list come one by one, then the rest: who reads a large one patiently must come to its end


def api_version(plural):
    return RESOURCES[plural][0].removeprefix("/apis/").removeprefix("/api/")


# ---- the truth ----

class Stored:
    """One version of an object, never changed: a new version is a new one."""

    def __init__(self, tree):
        self.tree = tree
        self.text = json.dumps(tree, separators=(",", ":")).encode()

    def field(self, path):
        value = self.tree
        for key in path.split("."):
            value = value.get(key, {}) if isinstance(value, dict) else {}
        return value if isinstance(value, str) else ""


class Store:
    """All objects and their history, under one lock; watchers wait on it."""

    def __init__(self):
        self.changed = threading.Condition()
        self.version = 100
        self.objects = {plural: {} for plural in RESOURCES}
        self.history = collections.deque()  # (version, plural, before or None, after or None, as it went)
        self.oldest = self.version          # versions before are forgotten
        self.absent = set()

    def apply(self, tree):
        """Create or replace. Returns the object as it is stored."""
        plural = PLURALS[tree["kind"]]
        tree = json.loads(json.dumps(tree))
        meta = tree.setdefault("metadata", {})
        tree["apiVersion"] = api_version(plural)
        if RESOURCES[plural][2]:
            meta.setdefault("namespace", "default")
        key = (meta.get("namespace", ""), meta["name"])
        with self.changed:
            before = self.objects[plural].get(key)
            uid = before.field("metadata.uid") if before else str(uuid.uuid4())
            meta.setdefault("uid", uid)
            meta.setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
            self.version += 1
            meta["resourceVersion"] = str(self.version)
            after = Stored(tree)
            if before and before.field("metadata.uid") != meta["uid"]:
                raise ValueError(f"{key}: another uid; delete it first")
            self.objects[plural][key] = after
            self._record(plural, before, after)
        return after.tree

    def delete(self, plural, namespace, name):
        with self.changed:
            before = self.objects[plural].pop((namespace, name), None)
            if before:
                self.version += 1
                self._record(plural, before, None)
        return before is not None

    def _record(self, plural, before, after):
        """An object that goes is shown as it was last, with the version of its end."""
        gone = None
        if not after:
            tree = json.loads(before.text)
            tree["metadata"]["resourceVersion"] = str(self.version)
            gone = Stored(tree)
        self.history.append((self.version, plural, before, after, gone))
        while len(self.history) > 20000:
            self.oldest = self.history.popleft()[0]
        self.changed.notify_all()

    def compact(self):
        with self.changed:
            self.history.clear()
            self.oldest = self.version
            self.changed.notify_all()

    def select(self, plural, matches):
        """(version, objects), sorted as etcd does."""
        with self.changed:
            found = sorted(self.objects[plural].items())
            return self.version, [o for _, o in found if matches(o)]

    def since(self, plural, version, matches):
        """Events after version, as (type, object, version); None if that is too old. Call it under the lock."""
        if version < self.oldest:
            return None
        events = []
        for at, where, before, after, gone in reversed(self.history):
            if at <= version:
                break
            if where != plural:
                continue
            was, now = bool(before and matches(before)), bool(after and matches(after))
            if now:
                events.append(("MODIFIED" if was else "ADDED", after, at))
            elif was:
                # Out of the selection, or out of existence.
                events.append(("DELETED", gone or after, at))
        return events[::-1]


# ---- faults ----

class Faults:
    """What goes wrong with the next requests, and with the watches that are open."""

    def __init__(self):
        self.lock = threading.Lock()
        self.waiting = []
        self.streams = set()
        self.done = collections.Counter()

    def add(self, fault, plural=None, verb=None, times=1, **options):
        with self.lock:
            self.waiting.append({"fault": fault, "plural": plural, "verb": verb, "times": times, **options})

    def clear(self):
        with self.lock:
            self.waiting.clear()

    def take(self, plural, verb):
        with self.lock:
            for f in self.waiting:
                if f["plural"] in (None, plural) and f["verb"] in (None, verb) and f["times"] > 0:
                    f["times"] -= 1
                    self.done[f"{verb}-{f['fault']}"] += 1
                    return f
        return None

    def hit_streams(self, store, fault, plural=None, **options):
        """To every open watch (of plural). Returns how many."""
        with store.changed:
            hit = [s for s in self.streams if plural in (None, s.plural) and not s.fault]
            for s in hit:
                s.fault = {"fault": fault, **options}
                self.done[f"stream-{fault}"] += 1
            store.changed.notify_all()
        return len(hit)


class Cut(Exception):
    """The connection is to end here, in disorder."""


def cut(connection):
    """No end of the chunks, no close_notify: as when the other machine is gone."""
    try:
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
    except OSError:
        pass


class Stream:
    def __init__(self, plural):
        self.plural = plural
        self.fault = None


# ---- HTTP ----

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 60

    def log_message(self, *args):
        pass

    def setup(self):
        self.request.settimeout(10)
        self.server.open.add(self.request)
        self.request.do_handshake()
        super().setup()

    def finish(self):
        self.server.open.discard(self.request)
        super().finish()

    def answer(self, status, body, headers=()):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, status, reason, message, headers=()):
        self.answer(status, json.dumps({
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message,
            "reason": reason, "code": status}).encode(), headers)

    def cut(self):
        self.close_connection = True
        cut(self.connection)

    def do_GET(self):
        try:
            self.serve()
        except Cut:
            self.cut()
        except (ConnectionError, ssl.SSLError, TimeoutError):
            self.close_connection = True

    def serve(self):
        api = self.server.api
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        api.requests.append(self.path)
        if api.token and self.headers.get("Authorization") != f"Bearer {api.token}":
            api.faults.done["unauthorized"] += 1
            self.refuse(401, "Unauthorized", "Unauthorized")
            return
        # One storage, several versions of it, as istiod's CRDs have.
        path = url.path.replace("/v1beta1/", "/v1/", 1)
        plural = next((p for p in RESOURCES if path == f"{RESOURCES[p][0]}/{p}"), None)
        if plural is None or plural in api.store.absent:
            self.answer(404, b"404 page not found\n")
            return
        watch = query.get("watch") in ("1", "true")
        fault = api.faults.take(plural, "watch" if watch else "list")
        if fault and self.fails(fault):
            return
        matches = selector(query.get("fieldSelector", ""))
        if watch:
            self.watch(plural, query, matches, fault)
        else:
            self.list(plural, query, matches, fault)

    def fails(self, fault):
        """Faults that take the place of an answer."""
        kind = fault["fault"]
        if kind == "status":
            code = fault.get("code", 500)
            self.refuse(code, "Fault", f"fault {code}", [("Retry-After", str(fault["retry_after"]))]
                        if "retry_after" in fault else [])
        elif kind == "empty":
            self.answer(200, b"")
        elif kind == "garbage":
            self.answer(200, fault.get("text", "<html>\x00not JSON</html>\n").encode())
        elif kind == "stall":
            time.sleep(fault.get("seconds", 1))
            raise Cut
        return kind in ("status", "empty", "garbage", "stall")

    # -- lists --

    def list(self, plural, query, matches, fault):
        api = self.server.api
        limit = int(query.get("limit", 0))
        if "continue" in query:
            page = api.page_take(query["continue"])
            if page is None:
                self.refuse(410, "Expired", "The provided continue parameter is too old")
                return
            version, items = page
        else:
            version, items = api.store.select(plural, matches)
        meta = {"resourceVersion": str(version)}
        # As Kubernetes: from its cache ("any version") without pages.
        if limit and len(items) > limit and query.get("resourceVersion") != "0":
            meta["continue"] = api.page_keep(version, items[limit:])
            meta["remainingItemCount"] = len(items) - limit
            items = items[:limit]
        body = b'{"kind":"%sList","apiVersion":"%s","metadata":%s,"items":[%s]}\n' % (
            RESOURCES[plural][1].encode(), api_version(plural).encode(), json.dumps(meta).encode(),
            b",".join(o.text for o in items))
        if fault is None:
            self.answer(200, body)
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if fault["fault"] == "slow":
            self.trickle(body, fault)
        else:  # cut, and what only a watch can have
            self.wfile.write(body[:len(body) // 2])
            raise Cut

    def trickle(self, data, fault):
        for i in range(min(len(data), SLOW_BYTES)):
            self.wfile.write(data[i:i + 1])
            time.sleep(fault.get("seconds", 0.002))
        self.wfile.write(data[SLOW_BYTES:])

    # -- watches --

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def event(self, kind, text, fault=None):
        line = b'{"type":"%s","object":%s}\n' % (kind.encode(), text)
        if fault and fault["fault"] == "slow":
            for i in range(len(line)):
                self.chunk(line[i:i + 1])
                time.sleep(fault.get("seconds", 0.002))
        elif fault and fault["fault"] in ("half", "cut"):
            self.chunk(line[:len(line) // 2])
            raise Cut
        elif fault and fault["fault"] == "hold":
            self.chunk(line[:len(line) // 2])
            self.server.api.released.wait(30)
            self.chunk(line[len(line) // 2:])
        else:
            self.chunk(line)

    def watch(self, plural, query, matches, fault):
        api = self.server.api
        version = int(query.get("resourceVersion", "0") or 0)
        with api.store.changed:
            old = api.store.since(plural, version, matches) is None
            ahead = version > api.store.version
        if ahead:
            api.faults.done["ahead"] += 1
            self.refuse(504, "Timeout", f"Too large resource version: {version}")
            return
        # Both happen: the one at the gate, the other when the watch has begun.
        if old and api.gone_as_status:
            api.faults.done["gone-status"] += 1
            self.refuse(410, "Expired", f"too old resource version: {version}")
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        stream = Stream(plural)
        stream.fault = fault
        with api.store.changed:
            api.faults.streams.add(stream)
        try:
            self.follow(stream, version, matches, query)
            self.wfile.write(b"0\r\n\r\n")
        finally:
            with api.store.changed:
                api.faults.streams.discard(stream)

    def follow(self, stream, version, matches, query):
        store = self.server.api.store
        end = time.monotonic() + int(query.get("timeoutSeconds", 300))
        bookmarks = query.get("allowWatchBookmarks") == "true"
        next_bookmark = time.monotonic() + BOOKMARK_S
        while not self.server.api.stopping:
            now = time.monotonic()
            with store.changed:
                events = store.since(stream.plural, version, matches)
                if not events and events is not None and not stream.fault and now < end:
                    store.changed.wait(min(end - now, max(next_bookmark - now, 0), 1))
                    events = store.since(stream.plural, version, matches)
                fault = stream.fault
                if events == [] and not fault:
                    at = store.version
            if events is None:
                self.server.api.faults.done["gone-stream"] += 1
                self.gone(version)
                return
            for kind, o, at in events:
                self.event(kind, o.text, fault)
                version = at
            if events == [] and not fault and bookmarks and time.monotonic() >= next_bookmark:
                self.bookmark(stream.plural, at)
                version = at
            if not next_bookmark > time.monotonic():
                next_bookmark = time.monotonic() + BOOKMARK_S
            if fault and self.interrupt(stream, fault, version, bool(events)):
                return
            if time.monotonic() >= end:
                return

    def interrupt(self, stream, fault, version, had_events):
        """A fault of an open watch. True: it ends, in order."""
        kind = fault["fault"]
        if kind in ("slow", "half", "hold", "cut") and not had_events:
            if kind == "cut":
                raise Cut
            time.sleep(0.005)  # these wait for an event
            return False
        stream.fault = None
        if kind == "gone":
            self.gone(version)
        elif kind == "garbage":
            self.chunk(fault.get("text", '{"type":"ADDED","object":\x00 garbage }}}\n').encode())
        return kind in ("gone", "close", "garbage")

    def gone(self, version):
        self.event("ERROR", json.dumps({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": f"too old resource version: {version}", "reason": "Expired", "code": 410}).encode())

    def bookmark(self, plural, version):
        self.event("BOOKMARK", json.dumps({
            "kind": RESOURCES[plural][1], "apiVersion": api_version(plural),
            "metadata": {"resourceVersion": str(version), "creationTimestamp": None}}).encode())
        self.server.api.faults.done["bookmark"] += 1


def selector(text):
    """spec.nodeName=n1,metadata.namespace!=x -> a function of Stored."""
    terms = []
    for term in filter(None, text.split(",")):
        path, op, value = re.fullmatch(r"([\w.]+)(!=|==?)(.*)", term).groups()
        terms.append((path, op == "!=", value))
    return lambda o: all((o.field(path) == value) != negated for path, negated, value in terms)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, *args):
        super().__init__(*args)
        self.open = set()

    def handle_error(self, request, client_address):
        """Clients that go away in the middle of a handshake are no news."""


# ---- for tests from outside ----

class Control(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"

    def log_message(self, *args):
        pass

    def address_string(self):
        return "control"

    def done(self, value):
        body = (json.dumps(value) + "\n").encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def body(self):
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return json.loads(text) if text.strip() else {}

    def handle_request(self, method):
        api = self.server.api
        word, *rest = self.path.strip("/").split("/")
        try:
            if method == "PUT" and word == "objects":
                tree = self.body()
                items = tree["items"] if "items" in tree else [tree]
                self.done([api.store.apply(o)["metadata"]["resourceVersion"] for o in items])
            elif method == "DELETE" and word == "objects":
                plural, ns, name = rest
                self.done(api.store.delete(plural, "" if ns == "-" else ns, name))
            elif method == "GET" and word == "objects":
                self.done({"items": [o.tree for o in api.store.select(rest[0], lambda o: True)[1]]})
            elif method == "GET" and word == "stats":
                self.done({"done": api.faults.done, "requests": len(api.requests),
                           "streams": len(api.faults.streams), "version": api.store.version})
            elif method == "POST":
                self.done(api.command(word, self.body()))
            else:
                self.send_error(404)
        except (KeyError, ValueError, TypeError) as e:
            self.send_error(400, explain=str(e))

    def do_GET(self):
        self.handle_request("GET")

    def do_PUT(self):
        self.handle_request("PUT")

    def do_POST(self):
        self.handle_request("POST")

    def do_DELETE(self):
        self.handle_request("DELETE")


class ControlServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def get_request(self):
        request, _ = super().get_request()
        return request, ("control", 0)


# ---- the whole ----

class ApiServer:
    def __init__(self, directory, port=0):
        self.directory = directory
        self.store = Store()
        self.faults = Faults()
        self.gone_as_status = False
        self.stopping = False
        self.released = threading.Event()
        self.requests = collections.deque(maxlen=10000)
        self.pages = collections.OrderedDict()
        self.pages_lock = threading.Lock()
        self.token = None
        self.certificates()
        self.rotate()
        self.http = Server(("127.0.0.1", port), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path("server.crt"), self.path("server.key"))
        self.http.socket = context.wrap_socket(self.http.socket, server_side=True,
                                               do_handshake_on_connect=False)
        self.http.api = self
        self.url = f"https://127.0.0.1:{self.http.server_address[1]}"
        self.threads = [threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True)]
        for t in self.threads:
            t.start()

    def path(self, name):
        return os.path.join(self.directory, name)

    def write(self, name, text):
        """As kubelet does: a reader sees the old or the new one."""
        with open(self.path(name + ".new"), "w", encoding="ascii") as f:
            f.write(text)
        os.rename(self.path(name + ".new"), self.path(name))

    def certificates(self):
        """A CA, a certificate for this server, and a CA that signed nothing."""
        def openssl(*args):
            subprocess.run(["openssl", *args], check=True, cwd=self.directory, stdin=subprocess.DEVNULL,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        for name in "ca", "other":
            openssl("req", "-x509", *key, "-days", "2", "-subj", f"/CN=apiserver {name}",
                    "-keyout", f"{name}.key", "-out", f"{name}.crt")
        openssl("req", *key, "-subj", "/CN=apiserver", "-keyout", "server.key", "-out", "server.csr")
        self.write("server.ext", "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
        openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key",
                "-CAcreateserial", "-days", "2", "-extfile", "server.ext", "-out", "server.crt")

    def rotate(self, write=True):
        self.token = secrets.token_urlsafe(24)
        if write:
            self.write("token", self.token + "\n")

    def page_keep(self, version, items):
        token = base64.urlsafe_b64encode(os.urandom(24)).decode()
        with self.pages_lock:
            self.pages[token] = (version, items)
            while len(self.pages) > 100:
                self.pages.popitem(last=False)
        return token

    def page_take(self, token):
        """A page may be asked for again, as long as its version is not forgotten."""
        with self.pages_lock:
            page = self.pages.get(token)
        return page if page and page[0] >= self.store.oldest else None

    def command(self, word, options):
        if word == "faults" and options.get("fault") is None:
            return self.faults.clear()
        if word == "faults":
            return self.faults.add(**options)
        if word == "streams":
            return self.faults.hit_streams(self.store, **options)
        if word == "release":
            return self.released.set()
        if word == "rotate":
            return self.rotate()
        if word == "compact":
            self.gone_as_status = options.get("status", False)
            return self.store.compact()
        if word in ("install", "uninstall"):
            (self.store.absent.discard if word == "install" else self.store.absent.add)(options["plural"])
            if word == "uninstall":
                self.faults.hit_streams(self.store, "close", options["plural"])
            return None
        raise ValueError(f"no such command: {word}")

    def control(self):
        path = self.path("control.sock")
        server = ControlServer(path, Control)
        server.api = self
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        self.stopping = True
        with self.store.changed:
            self.store.changed.notify_all()
        self.http.shutdown()
        self.http.server_close()
        for connection in list(self.http.open):
            cut(connection)


def many_pods(store, n, node):
    for i in range(n):
        store.apply(pod_like_real(i, node))


def pod_like_real(i, node):
    """About as large as pods are: five to six KB, a third of it fields that nobody reads."""
    name, ns = f"web-7d9f8c6b5-{i:05d}", f"team-{i % 50}"
    container = {"name": "app", "image": "registry.example/team/web:1.2.3", "resources": {},
                 "env": [{"name": f"SETTING_{k}", "value": f"value-of-setting-{k}"} for k in range(12)],
                 "volumeMounts": [{"name": "token", "mountPath": "/var/run/secrets/token", "readOnly": True}]}
    managed = {f"f:{word}": {".": {}, "f:name": {}, "f:image": {}, "f:resources": {}, "f:env": {
        f'k:{{"name":"SETTING_{k}"}}': {".": {}, "f:name": {}, "f:value": {}} for k in range(12)}}
        for word in ("containers", "volumes")}
    return {
        "kind": "Pod",
        "metadata": {
            "name": name, "generateName": "web-7d9f8c6b5-", "namespace": ns,
            "labels": {"app": "web", "version": "v1", "pod-template-hash": "7d9f8c6b5"},
            "annotations": {"sidecar.istio.io/status": json.dumps({"initContainers": ["istio-init"],
                                                                   "containers": ["istio-proxy"]})},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-7d9f8c6b5",
                                 "uid": str(uuid.UUID(int=1)), "controller": True}],
            "managedFields": [{"manager": m, "operation": "Update", "fieldsV1": {"f:spec": managed}}
                              for m in ("kube-controller-manager", "kubelet")]},
        "spec": {"nodeName": node, "containers": [container, dict(container, name="istio-proxy")],
                 "volumes": [{"name": "token", "projected": {"sources": []}}]},
        "status": {"phase": "Running", "podIP": f"10.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}",
                   "conditions": [{"type": t, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
                                  for t in ("Initialized", "Ready", "ContainersReady", "PodScheduled")],
                   "containerStatuses": [
                       {"name": c, "ready": True, "containerID": f"containerd://{i:056x}{k:08x}",
                        "imageID": "registry.example/team/web@sha256:" + "0" * 64,
                        "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}
                       for k, c in enumerate(("app", "istio-proxy"))]}}


def main():
    parser = argparse.ArgumentParser(description="stand-in for the Kubernetes API server")
    parser.add_argument("--dir", required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--pods", type=int, default=0)
    parser.add_argument("--node", default="n1")
    options = parser.parse_args()
    if not shutil.which("openssl"):
        sys.exit("apiserver: no openssl: install it")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    api = ApiServer(options.dir, options.port)
    many_pods(api.store, options.pods, options.node)
    api.control()
    api.write("url", api.url + "\n")
    while sys.stdin.readline():
        pass
    api.stop()


if __name__ == "__main__":
    main()
