#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""
`generate` when the agent plans: what it asks, and what it makes of the answer, whoever answers.

Owns: a server that answers /api/v1/config and /api/v1/destinations with whatever a case wants. Must not know: how a
plan is made.

EGRESS_AGENT	the binary (default: build/egress-agent)
"""
import http.server
import json
import os
import pathlib
import signal
import sys
import tempfile
import threading
import urllib.parse

sys.dont_write_bytecode = True  # the import leaves no __pycache__ behind

# pylint: disable=wrong-import-position
from validate_crds import BINARY, HERE, Tap, generate

YAML = 'kind: "ServiceEntry"\n'
EVERY = {"namespace": "shop", "workload": "c&t=1", "host": "*.example.com", "registry": "blocked", "visibility": "l7",
         "scope": "namespace", "root-namespace": "root", "wildcard": "4", "wildcard-resolution": "dynamic-dns",
         "min-connections": "0", "timeout": "1500ms", "retries": "0", "mutual": "cert"}


def plan(documents=(), notes=(), **fields):
    return {"apiVersion": "egress-agent/v1", "kind": "ConfigPlan",
            "documents": [{"kind": k, "namespace": ns, "name": n, "yaml": y} for k, ns, n, y in documents],
            "notes": list(notes), "diff": "", "differs": False, "refused": False, **fields}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        status, body = self.server.answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Agent:
    """Answers until it is told otherwise."""

    def __init__(self):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def ask(self, answer, *args, status=200):
        """((exit, stdout, stderr), path asked for, query)"""
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.server.asked, self.server.answer = [], (status, body)
        result = generate(["--agent", self.url, *args], env={"no_proxy": "127.0.0.1"})
        asked = urllib.parse.urlsplit(self.server.asked[0]) if self.server.asked else urllib.parse.urlsplit("")
        return result, asked.path, dict(urllib.parse.parse_qsl(asked.query, strict_parsing=bool(asked.query)))


def same(tap, name, got, want):
    if got == want:
        tap.ok(f"agent plans: {name}")
    else:
        tap.not_ok(f"agent plans: {name}", f"got {got!r}, want {want!r}")


def check_question(tap, agent):
    _, path, query = agent.ask(plan())
    same(tap, "defaults are not sent", (path, query), ("/api/v1/config", {"format": "json"}))
    args = [word for name, value in EVERY.items() for word in (f"--{name}", value)]
    _, _, query = agent.ask(plan(), *args, "--all", "--lockdown", "--diff")
    want = {**EVERY, "format": "json", "only-unregistered": "false", "lockdown": "true", "diff": "true"}
    del want["scope"]  # the default
    same(tap, "every option is sent", query, want)
    _, _, query = agent.ask(plan(), "--api-version", "v1beta1", "--scope", "mesh")
    same(tap, "words are sent", query, {"format": "json", "api-version": "v1beta1", "scope": "mesh"})


def check_answer(tap, agent):
    two = [("DestinationRule", "shop", "a", YAML), ("ServiceEntry", "", "b", YAML)]
    result, _, _ = agent.ask(plan(two, ["one", "two"]))
    same(tap, "documents and notes", result,
         (0, f"{YAML}---\n{YAML}", "egress-agent: generate: one\negress-agent: generate: two\n"))
    result, _, _ = agent.ask(plan(diff="--- a\n+++ b\n", differs=True), "--diff")
    same(tap, "a diff", result, (3, "--- a\n+++ b\n", ""))
    result, _, _ = agent.ask(plan(diff="# nothing\n"), "--diff")
    same(tap, "no difference", result, (0, "# nothing\n", ""))
    result, _, _ = agent.ask(plan(two, ["why"], refused=True), "--lockdown")
    same(tap, "a refusal", (result[0], result[1], result[2].splitlines()[0]), (1, "", "egress-agent: generate: why"))


def check_files(tap, agent):
    with tempfile.TemporaryDirectory(prefix="egress-agent-test-") as folder:
        folder = pathlib.Path(folder) / "out"
        result, _, _ = agent.ask(plan([("Sidecar", "shop", "x", YAML), ("ServiceEntry", "", "b", YAML)]),
                                 "--output-dir", str(folder))
        same(tap, "files", (result[0], sorted(f.name for f in folder.iterdir())),
             (0, ["serviceentry-b.yaml", "sidecar-shop-x.yaml"]))
        result, _, _ = agent.ask(plan([("Sidecar", "shop", "../../x", YAML)]), "--output-dir", str(folder / "2"))
        same(tap, "no file outside", (result[0], (folder / "2").exists()), (1, False))


def check_bad_answers(tap, agent):
    for name, answer, status in [("an older agent", {"error": "unknown parameter 'format'"}, 400),
                                 ("no registry", {"error": "diff: start it with --registry"}, 409),
                                 ("no JSON", b"<html>\x1b[31m", 200), ("another kind", {"kind": "Pod"}, 200),
                                 ("a terminal's escape", plan(notes=["\x1b[31m"]), 200)]:
        result, _, _ = agent.ask(answer, status=status)
        error = answer.get("error", "") if isinstance(answer, dict) else ""
        good = result[0] == 1 and not result[1] and result[2].count("\n") == 1 and "\x1b" not in result[2]
        same(tap, f"{name} is refused", (good, error in result[2]), (True, True))


def check_existing(tap, agent):
    """With a folder of what is in the cluster, the plan is made here, of what the agent has seen."""
    seen = (HERE / "generate/demo-1.json").read_bytes()
    result, path, _ = agent.ask(seen, "--existing", "cluster-1")
    same(tap, "--existing plans here", (result[0], path, 'kind: "ServiceEntry"' in result[1]),
         (0, "/api/v1/destinations", True))


def main():
    tap = Tap()
    if not os.access(BINARY, os.X_OK):
        tap.not_ok("generate by the agent", f"{BINARY} is not there; make builds it")
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the folder goes away
    agent = Agent()
    for check in (check_question, check_answer, check_files, check_bad_answers, check_existing):
        check(tap, agent)
    return int(tap.failed)


if __name__ == "__main__":
    sys.exit(main())
