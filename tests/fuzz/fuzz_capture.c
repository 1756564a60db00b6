// SPDX-License-Identifier: Apache-2.0
/*
 * A capture file with any content: read, fragments put together, segments put in order. Each connection begins with a
 * SYN, ends with an RST if it ends, and in between no byte of a direction may be given out twice or backwards.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <stdio.h>

#include "capture.h"
#include "fragment.h"
#include "stream.h"

/* Directions that are watched; more of them are not looked at. */
#define DIRECTIONS_MAX 64

struct direction {
	struct stream_end from, to;
	uint32_t next;
	bool open, answer;
};

struct seen {
	struct direction directions[DIRECTIONS_MAX];
	size_t n;
	uint64_t sum;
};

static bool end_is(const struct stream_end *a, const struct stream_end *b)
{
	return a->port == b->port && a->family == b->family && !memcmp(a->ip, b->ip, sizeof(a->ip));
}

static struct direction *direction_of(struct seen *s, const struct stream_end *from,
				      const struct stream_end *to)
{
	for (size_t i = 0; i < s->n; i++)
		if (end_is(&s->directions[i].from, from) && end_is(&s->directions[i].to, to))
			return &s->directions[i];
	if (s->n == DIRECTIONS_MAX)
		return NULL;
	s->directions[s->n] = (struct direction){.from = *from, .to = *to};
	return &s->directions[s->n++];
}

static void check_order(struct seen *s, const struct stream_segment *g)
{
	struct direction *d = direction_of(s, g->from, g->to);
	struct direction *other = direction_of(s, g->to, g->from);

	if (!d || !other)
		return;
	if (g->flags & STREAM_SYN) {
		if (d->open && !end_is(&d->from, &d->to))
			abort();
		*d = (struct direction){d->from, d->to, g->seq + 1, true, g->answer};
		return;
	}
	if (!d->open || d->answer != g->answer || (int32_t)(g->seq - d->next) < 0)
		abort();
	d->next = g->seq + (uint32_t)g->size;
	if (g->flags & STREAM_RST) {
		d->open = false;
		if (other->answer)
			other->open = false;
	}
}

static bool on_segment(const struct stream_segment *g, void *ctx)
{
	struct seen *s = ctx;

	if ((g->from->family != 4 && g->from->family != 6) || g->from->family != g->to->family)
		abort();
	if (g->size && (!g->frame || g->flags & (STREAM_SYN | STREAM_RST)))
		abort();
	check_order(s, g);
	for (size_t i = 0; i < g->size; i++)
		s->sum += g->data[i];
	return g->seq % 7 == 3 && !(g->flags & STREAM_RST);
}

static void read_all(struct capture *c, struct fragments *fragments, struct streams *streams)
{
	struct capture_packet p;
	char *why = NULL;

	while (capture_next(c, &p, &why) == 1) {
		uint64_t number = p.number;

		if (fragments_packet(fragments, &p) != 1)
			continue;
		if (p.number != number || p.size < 1)
			abort();
		streams_packet(streams, p.data, p.size, p.number);
	}
	free(why);
}

static void check_counts(const struct capture *c, const struct fragments *fragments)
{
	struct fragment_counts f = fragments_counts(fragments);
	uint64_t packets, skipped;

	capture_counts(c, &packets, &skipped);
	if (skipped > packets)
		abort();
	if (f.whole + f.missing + f.overlap + f.evicted + f.broken > packets)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fd = memfd_create("capture", 0);
	struct fragments *fragments = NULL;
	struct streams *streams = NULL;
	struct capture *c = NULL;
	struct seen seen = {.n = 0};
	char path[64], *why = NULL;

	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (!capture_open(path, &c, &why)) {
		if (streams_new(on_segment, &seen, &streams) || fragments_new(&fragments))
			abort();
		read_all(c, fragments, streams);
		check_counts(c, fragments);
		streams_finish(streams);
		streams_free(streams);
		fragments_free(fragments);
		capture_close(c);
	}
	free(why);
	close(fd);
	return 0;
}
