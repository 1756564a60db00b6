/* SPDX-License-Identifier: Apache-2.0 */
/*
 * IP fragments of a capture, put together: IPv4 (RFC 791) and IPv6 (RFC 8200 section 4.5).
 *
 * Owns: the datagrams that wait for more fragments, bounded in number, bytes and age. Must not know: what they
 * carry, files.
 */
#ifndef FRAGMENT_H
#define FRAGMENT_H

#include <stdint.h>

#include "capture.h"

/* Datagrams in progress, and the memory their fragments take; beyond either the oldest datagram goes. */
#define FRAGMENT_DATAGRAMS_MAX 1024
#define FRAGMENT_BYTES_MAX     (4u << 20)
/* Seconds of the capture's clock until an id may stand for another datagram, as Linux' ipfrag_time. */
#define FRAGMENT_SECONDS_MAX 30

struct fragments;

/* Datagrams by what became of them; `broken` counts single fragments. */
struct fragment_counts {
	uint64_t whole;
	uint64_t missing; /* a fragment did not come in time, or not at all */
	uint64_t overlap; /* fragments overlap, or disagree about the end */
	uint64_t evicted; /* for want of room */
	uint64_t broken;  /* not captured as a whole, or malformed */
};

int fragments_new(struct fragments **ret);
void fragments_free(struct fragments *f);

/*
 * 1: *packet is whole: it was before, or it is now the datagram that its fragment completed, valid until the next
 * call. 0: it is a fragment, and kept or dropped. -ENOMEM.
 */
int fragments_packet(struct fragments *f, struct capture_packet *packet);

/* So far; datagrams in progress count as missing something. */
struct fragment_counts fragments_counts(const struct fragments *f);

#endif
