#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# test_udp.sh - datagrams to port 443 are counted by address, other datagrams not at all.
# Owns: the datagrams. Must not know how they are counted.

# shellcheck disable=SC2317 # what is waited for is called through stand_wait

set -euo pipefail
# shellcheck source=tests/e2e/traffic_lib.sh
. "$(dirname "$0")/traffic_lib.sh"

# Answers every datagram with one of 700 bytes, on both ports.
serve() {
	stand_run_in outside python3 - >"$TRAFFIC_DIR/udp" 2>&1 <<'END' &
import selectors, socket
poll = selectors.DefaultSelector()
for port in (443, 8443):
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    s.bind(("::", port))
    poll.register(s, selectors.EVENT_READ)
print("ready", flush=True)
while True:
    for key, _ in poll.select():
        _, info, _, peer = key.fileobj.recvmsg(2000, 200)
        # From the address that was asked, or a connected socket would not take it.
        key.fileobj.sendmsg([b"a" * 700], info, 0, peer)
END
	stand_wait 10 grep -q ready "$TRAFFIC_DIR/udp"
}

# Datagrams of 1,200 bytes: connected sockets, one socket to several addresses and back, and to another port.
client() {
	stand_run_in app python3 - "$@" <<'END'
import socket, sys
a4, b4, a6 = sys.argv[1:]
def say(s, n, to=None, port=443):
    for _ in range(n):
        s.sendto(b"q" * 1200, (to, port)) if to else s.send(b"q" * 1200)
        s.settimeout(5)
        assert len(s.recv(2000)) == 700
for address, family in ((a4, socket.AF_INET), (a6, socket.AF_INET6)):
    for _ in range(3):
        s = socket.socket(family, socket.SOCK_DGRAM)
        s.connect((address, 443))
        say(s, 5)
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
say(s, 4, a4), say(s, 4, b4), say(s, 4, a4), say(s, 7, a4, 8443)
END
}

told() {
	stand_agent dump -o json | jq -rc '[.destinations[] | select(.protocol == "udp") |
		[.host, .port, .transport, .connections.opened, .bytes.sent, .bytes.received]] | sort'
}

says() {
	[[ $(told) == "$1" ]]
}

traffic_stand_up
serve
A4=$(stand_address www.gnu.org 4) B4=$(stand_address httpbin.org 4) A6=$(stand_address www.gnu.org 6)
client "$A4" "$B4" "$A6"
WANT=$(jq -rnc --arg a "$A4" --arg b "$B4" --arg c "$A6" '[[$a, 443, "udp", 5, 27600, 16100],
	[$b, 443, "udp", 1, 4800, 2800], [$c, 443, "udp", 3, 18000, 10500]] | sort')
stand_wait 5 says "$WANT" 2>/dev/null || true
is "UDP to port 443: address, port, flows, bytes sent and received" "$(told)" "$WANT"
tap_done
