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
/* Bytes held back for a missing segment: of one direction, and of all. Beyond it the hole is given up. */
#define STREAM_HELD_MAX  (256u << 10)
#define STREAMS_HELD_MAX (64u << 20)

struct stream_end {
	uint8_t ip[16]; /* network byte order, IPv4 as ::ffff:a.b.c.d */
	uint16_t port;  /* host byte order */
	uint8_t family; /* 4 or 6: of the packet, IPv6 has addresses that look like the above */
};

enum stream_event {
	STREAM_BEGIN, /* seq: the first data byte's; no data */
	STREAM_DATA,  /* in order, or behind a hole that will not be filled */
	STREAM_END,
};

/*
 * One direction's news, from its sender's side. frame: number of the packet that carried the bytes. For
 * STREAM_DATA, true says that nothing more of this direction is wanted.
 */
typedef bool (*stream_fn)(enum stream_event event, const struct stream_end *from,
			  const struct stream_end *to, uint32_t seq, const uint8_t *data,
			  size_t size, uint64_t frame, void *data_of_caller);

struct streams;

int streams_new(stream_fn fn, void *data, struct streams **ret);
void streams_free(struct streams *s);

/* A packet from its IP header on. 0, also for what is no TCP; -ENOMEM. */
int streams_packet(struct streams *s, const uint8_t *packet, size_t size, uint64_t frame);

/* The capture is over: give out what is still held. */
void streams_finish(struct streams *s);

#endif
