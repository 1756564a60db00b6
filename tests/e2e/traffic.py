#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Traffic for the end-to-end tests: clients that know exactly what they sent, and their servers.

Owns: the command line. Each client prints one JSON object on stdout at its end; a client that
could not do all it was asked prints one line on stderr and exits 1. Must not know: the agent.
"""
import argparse
import json
import os
import sys

sys.dont_write_bytecode = True  # the source tree stays clean

# pylint: disable=wrong-import-position
import traffic_http
import traffic_live
import traffic_serve
import traffic_tcp
import traffic_tls


def _common(parser):
    parser.add_argument("--hosts", help="hosts file to resolve names with (default: the system)")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--family", choices=("4", "6", "both"), default="4")


def _many(parser):
    _common(parser)
    parser.add_argument("--names", required=True, help="comma-separated")
    parser.add_argument("--connections", type=int, default=100)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--threads", type=int, default=4, help="connections open at once a process")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--progress", help="file that grows by one byte per finished connection")
    parser.add_argument("--pause", type=float, default=0, help="seconds after each connection")


def _tls(commands):
    parser = commands.add_parser("tls", help="HTTPS connections")
    _many(parser)
    parser.add_argument("--mode", choices=("full", "raw"), default="full")
    parser.add_argument("--pieces", type=int, default=1, help="writes the hello is cut into")
    parser.add_argument("--records", type=int, default=1, help="TLS records of the raw hello")
    parser.add_argument("--hello", choices=("small", "pq-keyshare-first"), default="small")
    parser.add_argument("--tls", choices=("1.2", "1.3"), default="1.3")
    parser.add_argument("--close", choices=("mixed", *traffic_tls.CLOSINGS), default="mixed")
    parser.add_argument("--ca", help="CA certificate file")
    parser.set_defaults(run=traffic_tls.client)


def _http(commands):
    parser = commands.add_parser("http", help="HTTP/1.1 requests over kept-alive connections")
    _many(parser)
    parser.add_argument("--requests", type=int, default=10000)
    parser.add_argument("--shared-names", help="names that every fifth connection speaks to, mixed")
    parser.add_argument("--pipeline", type=int, default=1, help="requests written at once")
    parser.set_defaults(run=traffic_http.client)


def _single(commands):
    parser = commands.add_parser("live", help="one connection driven from stdin")
    _common(parser)
    parser.add_argument("--name", required=True)
    parser.add_argument("--kind", choices=tuple(traffic_live.KINDS), default="tcp")
    parser.add_argument("--ca")
    parser.set_defaults(run=traffic_live.live)
    parser = commands.add_parser("fail", help="connections nobody accepts")
    _common(parser)
    parser.add_argument("--name", required=True)
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--patience", type=float, default=30.0, help="seconds before giving up")
    parser.set_defaults(run=traffic_live.fail)
    parser = commands.add_parser("idle", help="connections that say nothing until stdin ends")
    parser.add_argument("--name", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--socket", help="Unix socket instead of name and port")
    parser.add_argument("--partial", action="store_true", help="send half a request")
    parser.add_argument("--count", type=int, default=1)
    parser.set_defaults(run=traffic_live.idle)
    commands.add_parser("selftest").set_defaults(run=traffic_live.selftest)


def _servers(commands):
    parser = commands.add_parser("serve", help="HTTP/1.1 or echo server; runs until killed")
    parser.add_argument("--speak", choices=("http", "echo"), default="http")
    parser.set_defaults(run=lambda opts: traffic_serve.serve(opts, _ready))
    _listen(parser)
    parser = commands.add_parser("tls-serve", help="TLS server; runs until killed")
    parser.add_argument("--cert", required=True)
    parser.add_argument("--key", required=True)
    parser.set_defaults(run=lambda opts: traffic_tls.serve(opts, _ready))
    _listen(parser)


def _listen(parser):
    parser.add_argument("--listen", default="::", help="comma-separated addresses")
    parser.add_argument("--port", type=int, required=True)


def _ready():
    """Servers say so on stdout; whoever started them waits for the line."""
    print("ready", flush=True)


def main():
    parser = argparse.ArgumentParser(prog="traffic.py", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (_tls, _http, _single, _servers):
        add(commands)
    opts = parser.parse_args()
    try:
        answer = opts.run(opts)
    except (traffic_tcp.TrafficError, OSError) as err:
        print(f"traffic.py: {err}", file=sys.stderr)
        os._exit(1)
    except KeyboardInterrupt:
        os._exit(130)
    if answer is not None:
        json.dump(answer, sys.stdout)
        print()


if __name__ == "__main__":
    main()
