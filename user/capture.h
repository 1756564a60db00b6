/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets of a capture file, from the network header on. Owner of libpcap.
 *
 * Owns: pcap and pcapng, link types (Ethernet with any VLAN tags, raw IP, Linux cooked v1 and v2, loopback,
 * ARCnet), what is skipped. Must not know: TCP, names.
 */
#ifndef CAPTURE_H
#define CAPTURE_H

#include <stddef.h>
#include <stdint.h>

struct capture;

struct capture_packet {
	uint64_t number;     /* 1-based, as capture tools count */
	int64_t second;      /* of the capture's clock */
	const uint8_t *data; /* IPv4 or IPv6 header; valid until the next call */
	size_t size;         /* bytes that were captured */
};

/* path: a file, or "-" for stdin. -errno with *ret_why (owned): a phrase for the user. */
int capture_open(const char *path, struct capture **ret, char **ret_why);
void capture_close(struct capture *c);

/*
 * 1 with the next IP packet, 0 at the end; with *ret_why -ENODATA if what follows is no packet, or not all of one (the
 * file was cut short, or damaged), -EIO if it cannot be read. What came before counts.
 */
int capture_next(struct capture *c, struct capture_packet *ret, char **ret_why);

/* Packets that are not IP on a link type that is known, and those of other links. */
void capture_counts(const struct capture *c, uint64_t *ret_packets, uint64_t *ret_skipped);

#endif
