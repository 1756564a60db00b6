#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Stands between a Prometheus and the agent, hands everything through as it is, and notes what was asked and answered.

Owns: one line of JSON per answer in LOG. Must not know: what is right.

	scrape_proxy.py AGENT LOG	(prints the address it listens on; ends with its parent's SIGTERM)
"""
import gzip
import http.client
import http.server
import json
import sys

AGENT, LOG = sys.argv[1:3]
ASKED = ("Accept", "Accept-Encoding", "User-Agent")
ANSWERED = ("Content-Type", "Content-Encoding", "Vary")


class Proxy(http.server.BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):  # pylint: disable=invalid-name
        """Through, byte by byte."""
        agent = http.client.HTTPConnection(AGENT, timeout=10)
        agent.putrequest("GET", self.path, skip_accept_encoding=True)
        for name in ASKED:
            for value in self.headers.get_all(name, []):
                agent.putheader(name, value)
        agent.endheaders()
        answer = agent.getresponse()
        body = answer.read()
        agent.close()
        self.note(answer, body)
        self.send_response(answer.status)
        for name in ANSWERED:
            if answer.getheader(name):
                self.send_header(name, answer.getheader(name))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def note(self, answer, body):
        """What went by."""
        text = gzip.decompress(body) if answer.getheader("Content-Encoding") == "gzip" else body
        lines = text.decode("utf-8").splitlines()
        line = {"path": self.path, "status": answer.status, "samples": sum(bool(one) and one[0] != "#" for one in lines),
                "last": lines[-1] if lines else "", "wire": len(body), "text": len(text)}
        line.update({name: self.headers.get(name, "") for name in ASKED})
        line.update({name: answer.getheader(name) or "" for name in ANSWERED})
        with open(LOG, "a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")

    def log_message(self, format, *args):  # pylint: disable=redefined-builtin
        """Silence."""


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
print(f"127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
