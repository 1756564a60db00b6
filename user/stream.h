/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TCP connections of a capture, put in order: each direction's segments come out as the sender sent them, however
 * they were captured (late, twice, overlapping, with holes, from the middle of a connection on).
 *
 * Owns: the table of connections and what is held back, both bounded. Must not know: names, engines, files.
 */
#ifndef STREAM_H
#define STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Connections followed at a time; the one that was silent longest is ended for a new one. */
#define STREAMS_MAX 65536
/* Memory of what is held back for a missing segment: of one direction, and of all. Beyond it the hole is given up. */
#define STREAM_HELD_MAX  (256u << 10)
#define STREAMS_HELD_MAX (64u << 20)

struct stream_end {
	uint8_t ip[16]; /* network byte order, IPv4 as ::ffff:a.b.c.d */
	uint16_t port;  /* host byte order */
	uint8_t family; /* 4 or 6: of the packet, IPv6 has addresses that look like the above */
};

/* As in TCP's header. */
enum stream_flag { STREAM_FIN = 1, STREAM_SYN = 2, STREAM_RST = 4, STREAM_ACK = 16 };

/*
 * What one end sends next, each byte once; behind a hole that will not be filled, bytes are missing. A connection
 * begins with its client's SYN and ends with its RST, which are made up if need be; where no SYN was captured either
 * end may be the client, and each direction is a connection of its own.
 */
struct stream_segment {
	const struct stream_end *from, *to;
	bool answer;       /* the server sends it */
	uint8_t flags;     /* enum stream_flag */
	uint32_t seq, ack; /* ack: as captured, if STREAM_ACK is set */
	const uint8_t *data;
	size_t size;
	uint64_t frame; /* number of the packet with the client's last bytes, up to these */
};

/* Returns true if no more of the connection is wanted. */
typedef bool (*stream_fn)(const struct stream_segment *segment, void *data_of_caller);

struct streams;

int streams_new(stream_fn fn, void *data, struct streams **ret);
void streams_free(struct streams *s);

/* A packet from its IP header on. 0, also for what is no TCP; -ENOMEM. */
int streams_packet(struct streams *s, const uint8_t *packet, size_t size, uint64_t frame);

/* The capture is over: give out what is still held. */
void streams_finish(struct streams *s);

#endif
