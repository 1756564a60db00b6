#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""
`dump --prometheus` and `generate --prometheus` on a server that is slow, broken, hostile, or no Prometheus at all: one
line that says what is wrong and what to do, no half answer, no password in it; and what is only odd is read right.

Owns: a stand-in for Prometheus that fails in the way a case wants, at the question it wants. Must not know: PromQL, but
for which family is asked for.

EGRESS_AGENT	the binary (default: build/egress-agent)
"""
import http.server
import json
import os
import pathlib
import re
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

sys.dont_write_bytecode = True  # the imports leave no __pycache__ behind
HERE = pathlib.Path(__file__).resolve().parent
REPO = HERE.parent.parent
sys.path.insert(0, str(HERE.parent / "lib"))
import agents  # noqa: E402

BINARY = os.environ.get("EGRESS_AGENT", str(REPO / "build/egress-agent"))
FAILED = 0
NOW = 1767225600.123


def say(ok, name, why=""):
    global FAILED
    FAILED += not ok
    why = "".join(c if c.isprintable() else "?" for c in why)[:400]
    print(f"ok - {name}" if ok else f"not ok - {name}: {why}", flush=True)


def series(value="1", name="", **labels):
    if name:
        labels["__name__"] = name
    return {"metric": labels, "value": [NOW, value]}


def answer(result, **more):
    return 200, json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}, **more})


def error(status, kind, text):
    return status, json.dumps({"status": "error", "errorType": kind, "error": text})


LABELS = {"reporter": "source", "source_workload": "cart", "source_workload_namespace": "shop",
          "destination_service": "a.example", "destination_service_name": "a.example", "destination_port": "443",
          "request_protocol": "tcp", "instance": "10.0.0.1:9990", "job": "egress-agent"}
FACTS = {"visibility": "l4", "registry": "passthrough", "interception": "none", "name_source": "sni"}


def tell(question, rows=None, counts=None):
    """What a good Prometheus of one agent answers. rows: label sets; counts: family -> [(value, labels)]."""
    rows = [LABELS] if rows is None else rows
    if question == "time()":
        return 200, json.dumps({"status": "success", "data": {"resultType": "scalar", "result": [NOW, str(NOW)]}})
    if question.startswith("count by"):
        if "egress_requests_total" in question:
            return answer([])
        weights = {}
        for row in rows:
            key = row.get("source_workload_namespace", ""), row.get("source_workload", "")
            weights[key] = weights.get(key, 0) + 1
        return answer([series(str(n), source_workload_namespace=ns, source_workload=w)
                       for (ns, w), n in weights.items()])
    if question.startswith("egress_destination_info"):
        return answer([series(**{**FACTS, **row}) for row in rows])
    family = re.match(r"last_over_time\((\w+)", question).group(1)
    if counts is None:
        counts = {"egress_tcp_connections_opened_total": [("3", LABELS)]}
    if family == "egress_agent_counters_start_time_seconds" and family not in counts:
        return answer([series("1767225000", agent_node="n1", instance="10.0.0.1:9990", job="egress-agent")])
    return answer([series(value, family, **labels) for value, labels in counts.get(family, [])])


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes: the second would wait for the first one's delayed ACK

    def do_GET(self):
        s = self.server.owner
        question = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query).get("query", [""])[0]
        s.asked.append((self.path, dict(self.headers), question))
        done = s.way(self, question, len(s.asked))
        if done is None:
            return
        status, text, *headers = done
        body = text if isinstance(text, bytes) else text.encode()
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Quiet(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """Clients leave."""


class Server:
    """way(handler, question, n): (status, text, *headers) for the n-th question; None: it has answered itself."""

    def __init__(self, way, tls=None):
        self.way, self.asked, self.over = way, [], threading.Event()
        self.server = Quiet(("127.0.0.1", 0), Handler)
        self.server.owner = self
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.where = f"127.0.0.1:{self.server.server_address[1]}"
        self.url = f"http{'s' if tls else ''}://{self.where}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.server.shutdown()
        self.server.server_close()


def run(*args, command="dump"):
    done = subprocess.run([BINARY, command, *args], stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def refused(name, pattern, got, status=1):
    why = []
    if got[0] != status:
        why.append(f"exit {got[0]}")
    if got[1]:
        why.append(f"stdout has {len(got[1])} bytes")
    lines = got[2].splitlines()
    if len(lines) != 1 or not lines[0].startswith("egress-agent: "):
        why.append(f"{len(lines)} lines")
    if not re.search(pattern, got[2]):
        why.append(f"does not name {pattern!r}")
    if status == 1 and "; " not in got[2]:
        why.append("does not say what to do")
    if any(not c.isprintable() and c != "\n" for c in got[2]) or "secret" in got[2]:
        why.append("has what must not be in it")
    say(not why, f"{name}: {lines[0] if lines else ''}", "; ".join(why) + ": " + got[2])


# ---- ways ----

def at_the(nth, way):
    """Fails from the nth question on: what came before must not be printed."""
    return lambda handler, question, n: way(handler, question, n) if n >= nth else tell(question)


def hang(handler, _question, _n):
    handler.server.owner.over.wait(60)


def hangup(handler, _question, _n):
    handler.close_connection = True


def drip(handler, _question, _n):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while not handler.server.owner.over.wait(0.02):
        handler.wfile.write(b" ")


def cut(handler, _question, _n):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + answer([])[1].encode()[:40])
    handler.close_connection = True


def endless(handler, _question, _n):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"status\": \"success\", \"data\": \"")
    while not handler.server.owner.over.is_set():
        handler.wfile.write(b"a" * 65536)


def always(*done):
    return lambda *_: done


WAYS = [
    ("a redirect", "status 302.*URL", always(302, "", ("Location", "http://user:secret@127.0.0.1/login"))),
    ("no rights", "status 401.*--prometheus-token", always(401, "Unauthorized \x1b[31m")),
    ("forbidden", "status 403.*--prometheus-token", always(403, "<html>no</html>")),
    ("another server", "status 404.*/api/v1/query", always(404, "<html>welcome to the hotel</html>")),
    ("a page to log in", "log in", always(200, "<html><form>password</form></html>")),
    ("nothing", "not what Prometheus answers", always(200, "")),
    ("other JSON", "not what Prometheus answers", always(200, '{"kind": "PodList"}')),
    ("JSON with control bytes", "not what Prometheus answers", always(200, b'{"status": "\x1b[31m\xff"}')),
    ("too many samples", "status 422.*too many samples.*--range",
     always(*error(422, "execution", "query processing would load too many samples into memory"))),
    ("wrong PromQL", "status 400.*parse error.*--prometheus-selector",
     always(*error(400, "bad_data", 'parse error: unexpected "}"'))),
    ("an error with status 200", "status 200: store \\\\x1b gone",
     always(200, json.dumps({"status": "error", "errorType": "x", "error": "store \x1b gone"}))),
    ("an error of 100,000 bytes", "status 503: aaaa", always(*error(503, "x", "a" * 100000))),
    ("a server error", "status 500", always(500, "evil \x1b[31m text\n")),
    ("a matrix", "another result", always(200, json.dumps(
        {"status": "success", "data": {"resultType": "matrix", "result": []}}))),
    ("a series without a value", "no value", always(200, json.dumps(
        {"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}}]}}))),
    ("a value that is no number", "no value", always(*answer([series("1x")]))),
    ("labels that are no strings", "no labels", always(200, json.dumps(
        {"status": "success", "data": {"resultType": "vector", "result": [{"metric": {"a": 1}, "value": [1, "1"]}]}}))),
    ("129 labels", "no labels", always(*answer([series("1", **{f"l{i}": "x" for i in range(129)})]))),
    ("no answer", "no answer in time.*--prometheus-timeout", hang),
    ("a byte now and then", "no answer in time", drip),
    ("hanging up", "try again", hangup),
    ("half an answer", "try again", cut),
    ("an answer without end", "larger than 32 MiB", endless),
]


def check_ways():
    for name, pattern, way in WAYS:
        for nth in (2, 6, 15):
            patience = "500ms" if way in (hang, drip) else "60s"
            with Server(at_the(nth, way)) as s:
                url = f"http://user:secret@{s.where}/"
                refused(f"{name}, question {nth}", pattern,
                        run("--prometheus", url, "--prometheus-timeout", patience, "-o", "json"))
    with Server(always(500, "")) as s:
        refused("generate", "^egress-agent: generate: cannot read from Prometheus at http://127.0.0.1:[0-9]*/: .*500",
                run("--prometheus", f"http://user:secret@{s.where}/", command="generate"))


def check_total():
    def slow(_handler, question, _n):
        time.sleep(0.8)
        return tell(question)
    begin = time.monotonic()
    with Server(slow) as s:
        refused("all answers together", "no answer in time, all answers together",
                run("--prometheus", s.url, "--prometheus-timeout", "2s"))
    say(time.monotonic() - begin < 30, "it ended after five of them, not when all were there")


def check_closed():
    with Server(always(200, "")) as s:
        where = s.where
    refused("nobody there", "Couldn't connect|Failed to connect", run("--prometheus", f"http://u:secret@{where}"))
    refused("no such host", "resolve", run("--prometheus", "http://no-such-host.invalid:9090"))


# ---- wrong usage ----

def check_usage():
    good = ["--prometheus", "http://127.0.0.1:1"]
    for url in ("", "ftp://127.0.0.1", "127.0.0.1:9090", "http://", "http:///prom", "http://h/?a=1", "http://h/#x",
                "http://h\n", "http://u:secret@", "ftp://u:secret@h", "u:secret@h", "http://a b"):
        refused(f"--prometheus {url!r}", "--prometheus: '", run("--prometheus", url), 2)
    for name, pattern, args in (
            ("--agent", "--agent for one", [*good, "--agent", "unix:/run/other.sock"]),
            ("--watch", "--watch", [*good, "--watch"]),
            ("--scope", "--scope.*external", [*good, "--scope", "internal"]),
            ("--scope all", "--scope.*external", [*good, "--scope", "all"]),
            ("--sort last-seen", "--sort", [*good, "--sort", "last-seen"]),
            ("--range", "--range: '5x'", [*good, "--range", "5x"]),
            ("--range 0", "--range: '0s'", [*good, "--range", "0s"]),
            ("a token over http", "--prometheus-token.*https", [*good, "--prometheus-token", "/dev/null"])):
        refused(f"dump --prometheus with {name}", pattern, run(*args), 2)
    for name, pattern, args in (
            ("--from", "--from", [*good, "--from", "-"]),
            ("--agent", "--agent for one", [*good, "--agent", "unix:/run/other.sock"]),
            ("--diff", "--existing", [*good, "--diff"])):
        refused(f"generate --prometheus with {name}", pattern, run(*args, command="generate"), 2)


# ---- TLS and tokens ----

def openssl(directory, *args):
    subprocess.run(["openssl", *args], check=True, cwd=directory, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def certificates(directory):
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    for name in ("server", "other"):
        openssl(directory, "req", "-x509", *key, "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1",
                "-keyout", f"{name}.key", "-out", f"{name}.crt")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "server.crt", directory / "server.key")
    return context


def check_tls(directory):
    context = certificates(directory)
    token = directory / "token"
    token.write_text("secret-of-ours\n")

    def guarded(handler, question, _n):
        if handler.headers.get("Authorization") != "Bearer secret-of-ours":
            return 401, ""
        return tell(question)

    with Server(guarded, context) as s:
        ca = ["--prometheus", s.url, "--prometheus-ca", str(directory / "server.crt")]
        status, out, err = run(*ca, "--prometheus-token", str(token), "-o", "json")
        say(status == 0 and len(json.loads(out)["destinations"]) == 1, "https with a CA and a token", err)
        refused("https without the token", "401", run(*ca))
        refused("a CA that signed nothing", "--prometheus-ca",
                run("--prometheus", s.url, "--prometheus-ca", str(directory / "other.crt")))
        refused("the system's CAs", "--prometheus-ca", run("--prometheus", s.url))
        refused("no token file", "--prometheus-token: .*/none: No such file",
                run(*ca, "--prometheus-token", str(directory / "none")))
        token.write_text("se cret\n")
        refused("a token that is none", "--prometheus-token: ", run(*ca, "--prometheus-token", str(token)))


def check_tenant():
    """As Mimir does: no answer without a tenant, and no word of the token's header."""
    def tenants_only(handler, question, _n):
        if handler.headers.get_all("X-Scope-OrgID") != ["east|west-2"] or handler.headers.get("Authorization"):
            return 401, "no org id"
        return tell(question)

    with Server(tenants_only) as s:
        status, out, err = run("--prometheus", s.url, "--prometheus-tenant", "east|west-2", "-o", "json")
        say(status == 0 and len(json.loads(out)["destinations"]) == 1, "a tenant is named in each question", err)
        refused("no tenant", "401.*--prometheus-tenant", run("--prometheus", s.url))
        for tenant in ("", "a b", "a\r\nX-Evil: y", "a" * 513):
            refused(f"--prometheus-tenant {tenant[:20]!r}", "--prometheus-tenant: ",
                    run("--prometheus", s.url, "--prometheus-tenant", tenant), 2)
            refused("generate, too", "--prometheus-tenant: ",
                    run("--prometheus", s.url, "--prometheus-tenant", tenant, command="generate"), 2)


# ---- what is only odd ----

def rows_of(name, rows=None, counts=None, args=(), way=None, notes=()):
    with Server(way or (lambda _h, question, _n: tell(question, rows, counts))) as s:
        status, out, err = run("--prometheus", s.url, "-o", "json", *args)
    lines = err.splitlines()
    ok = status == 0 and len(lines) == len(notes) and all(re.search(p, l) for p, l in zip(notes, lines))
    if not ok:
        say(False, name, f"exit {status}: {err}")
        return None, s
    return json.loads(out)["destinations"], s


def check_values():
    opened = "egress_tcp_connections_opened_total"
    for text, want in (("1.23e+06", 1230000), ("0", 0), ("9007199254740992", 2**53), ("1e+30", 2**63 - 1), ("3.6", 4),
                       ("+Inf", None), ("NaN", None), ("-1", None), ("-Inf", None)):
        note = ["series left out, their labels or values are none of an agent's: 1$"] if want is None else []
        rows, _ = rows_of(f"value {text}", counts={opened: [(text, LABELS)]}, notes=note)
        if rows is not None:
            got = rows[0]["connections"]["opened"]
            say(got == (want or 0), f"a counter of {text} is {'left out, and said to be' if want is None else want}", str(got))


def check_labels():
    hosts = ["A.Example", "evil\x1b[31m", "x\"y", "ex ample", "a" * 254, "2001:DB8::1", "::ffff:192.0.2.1", "", "~other",
             "~else", "\u202e.example"]
    rows, _ = rows_of("hosts", [dict(LABELS, destination_service=h) for h in hosts])
    if rows is not None:
        got = [r["host"] for r in rows]
        say(got == ["192.0.2.1", "2001:db8::1", "a.example", "~invalid", "~other"], "hosts that are none are one ~invalid",
            str(got))
    bad = [dict(LABELS, destination_port=p) for p in ("65536", "-1", "", "x", "443 ", "000443")] + \
          [dict(LABELS, request_protocol=p) for p in ("sctp", "")] + [dict(LABELS, source_workload="w" * 1025)]
    rows, _ = rows_of("bad labels", [LABELS, *bad], notes=[f"series left out, .*: {len(bad)}$"])
    if rows is not None:
        say(len(rows) == 1 and rows[0]["connections"]["opened"] == 3, "series that make no sense are left out and counted",
            str(rows))
    odd = dict(LABELS, registry="quantum", interception="", name_source="psychic", tls_version="1.3,9.9,", alpn="h2,,x")
    rows, _ = rows_of("words", [odd])
    if rows is not None:
        row = rows[0]
        say((row["registry"], row["interception"], row["nameSource"], row["tls"]["versions"], row["tls"]["alpn"]) ==
            ("unknown", "none", "sni", ["1.3"], ["h2", "other"]), "words of a later version are not known", str(row))


def check_odd():
    rows, _ = rows_of("nothing", rows=[], counts={}, notes=[])
    say(rows == [], "no series is an empty list")
    orphan = {"egress_tcp_sent_bytes_total": [("7", dict(LABELS, destination_port="444"))]}
    rows, _ = rows_of("orphans", counts=orphan, notes=["series left out, there is no egress_destination_info for them: 1$"])
    say(rows is not None and rows[0]["bytes"]["sent"] == 0, "counters without a destination are left out and counted")

    def warned(_handler, question, n):
        status, text = tell(question)
        more = {"warnings": ["store \x1b[31m is slow"], "infos": ["i" * 1000]} if n == 2 else {}
        return status, json.dumps({**json.loads(text), **more})
    rows, _ = rows_of("warnings", way=warned, notes=[r"--prometheus: store \\x1b\[31m is slow", "--prometheus: i{300}$"])
    say(rows is not None and len(rows) == 1, "warnings and infos are passed on, in printable characters")
    rows, s = rows_of("the requests", args=["--range", "90m", "--prometheus-selector", 'a="b"'])
    queries = [urllib.parse.parse_qs(urllib.parse.urlsplit(path).query) for path, _, _ in s.asked]
    times = {q.get("time", [""])[0] for q in queries[1:]}
    say(times == {"1767225600.123"}, "all is asked about one moment, of the server's clock", str(times))
    say(all(q["partial_response"] == ["false"] for q in queries), "Thanos is told not to answer in part")
    say(all('a="b"' in q and "[5400000ms]" in q for _, _, q in s.asked[1:]), "range and selector are in every query",
        str(s.asked))


def check_twice():
    """Agents that do not say whose counters theirs are; the same ones seen by two replicas of Prometheus."""
    two = [dict(LABELS, instance=i) for i in ("10.0.0.1:9990", "10.0.0.2:9990")]
    counts = {"egress_tcp_connections_opened_total": [("3", two[0]), ("5", two[1])],
              "egress_agent_counters_start_time_seconds": []}
    rows, _ = rows_of("unknown", two, counts, notes=["agents that do not say since when they count: 2;"])
    say(rows is not None and rows[0]["connections"]["opened"] == 8, "agents that do not say so are summed")
    start = [("1767225000.5", dict(instance=i, job="egress-agent", agent_node="n1")) for i in
             ("10.0.0.1:9990", "10.0.0.2:9990")]
    counts["egress_agent_counters_start_time_seconds"] = start
    counts["egress_agent_start_time_seconds"] = [
        ("1767225200", dict(instance="10.0.0.1:9990", job="egress-agent")),
        ("1767225100", dict(instance="10.0.0.2:9990", job="egress-agent"))]
    rows, _ = rows_of("same", two, counts)
    say(rows is not None and rows[0]["connections"]["opened"] == 3, "of one node's counters the agent started last counts")
    replicas = [dict(LABELS, prometheus_replica=r) for r in "ab"]
    counts = {"egress_tcp_connections_opened_total": [("3", r) for r in replicas],
              "egress_agent_counters_start_time_seconds": [
                  ("1767225000", dict(instance="10.0.0.1:9990", job="egress-agent", agent_node="n1", prometheus_replica=r))
                  for r in "ab"]}
    rows, _ = rows_of("replicas", replicas, counts)
    say(rows is not None and rows[0]["connections"]["opened"] == 3, "what two replicas of Prometheus scraped is one")


def check_large():
    """100,000 destinations: pages are bounded, and so is memory."""
    def row(ns, w, i):
        return dict(LABELS, source_workload_namespace=ns, source_workload=w, destination_service=f"h{i}.example")

    def large(_handler, question, _n):
        if question.startswith("count by") and "egress_requests" not in question:
            return answer([series("100", source_workload_namespace=f"ns{n}", source_workload=f"w{w}")
                           for n in range(100) for w in range(10)])
        found = re.search(r'source_workload_namespace=~"([^"]*)"', question)
        if not found:
            return tell(question)
        counters = "egress_tcp_" in question
        page = (found.group(1), counters)
        if page not in pages:
            rows = [row(ns, f"w{w}", i) for ns in found.group(1).split("|") for w in range(10) for i in range(100)]
            sizes.append(len(rows))
            pages[page] = answer([series("5", **r) for r in rows]) if counters else tell(question, rows, {})
        # All five families of TCP count the same here.
        return pages[page] if counters or question.startswith("egress_destination_info") else answer([])
    sizes, pages = [], {}
    begin = time.monotonic()
    with Server(large) as s:
        status, out, err, _, mib = agents.measured(BINARY, "dump", "--prometheus", s.url, "-o", "tsv")
    took = time.monotonic() - begin
    lines = out.count("\n")
    say(status == 0 and lines == 100001 and max(sizes) <= 5000, f"100,000 destinations in {len(s.asked)} answers of at most "
        f"{max(sizes, default=0)} series: {took:.0f} s with the server's time, {mib} MiB RSS", f"{lines} {err}")
    say(mib < 200, "memory stays under 200 MiB", f"{mib} MiB")


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    check_large()
    check_usage()
    check_values()
    check_labels()
    check_odd()
    check_twice()
    check_closed()
    check_tenant()
    check_ways()
    check_total()
    with tempfile.TemporaryDirectory(prefix="egress-agent-prometheus-") as name:
        check_tls(pathlib.Path(name))
    sys.exit(FAILED > 0)


if __name__ == "__main__":
    main()
