// SPDX-License-Identifier: Apache-2.0
/* Bytes compressed as they are pulled; see gzip.h. */
#include "gzip.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <zlib.h>

#include "util.h"

/*
 * The fastest level: lines of an exposition differ in a few bytes, and it makes them 20 times smaller. A higher one
 * costs several times as much of the node's time for a little less of its network.
 */
#define GZIP_LEVEL   Z_BEST_SPEED
#define GZIP_WINDOW  (15 + 16) /* the largest, with gzip's frame */
#define GZIP_MEMORY  8
#define GZIP_PENDING (16u << 10)

struct gzip {
	gzip_source source;
	void *data;
	z_stream z;
	bool begun;   /* z is to be ended */
	bool drained; /* the source has no more */
	bool ended;
	char pending[GZIP_PENDING];
};

/* Through the C library's allocator under its own name, as all of this program's memory. */
static voidpf gzip_alloc(voidpf opaque, uInt items, uInt size)
{
	(void)opaque;
	return calloc(items, size);
}

static void gzip_release(voidpf opaque, voidpf address)
{
	(void)opaque;
	free(address);
}

int gzip_new(gzip_source source, void *data, struct gzip **ret)
{
	struct gzip *g = calloc(1, sizeof(*g));
	int r;

	if (!g)
		return -ENOMEM;
	g->source = source;
	g->data = data;
	g->z.zalloc = gzip_alloc;
	g->z.zfree = gzip_release;
	r = deflateInit2(&g->z, GZIP_LEVEL, Z_DEFLATED, GZIP_WINDOW, GZIP_MEMORY,
			 Z_DEFAULT_STRATEGY);
	g->begun = r == Z_OK;
	if (r != Z_OK) {
		gzip_free(g);
		return r == Z_MEM_ERROR ? -ENOMEM : -EIO;
	}
	*ret = g;
	return 0;
}

void gzip_free(struct gzip *g)
{
	if (!g)
		return;
	if (g->begun)
		deflateEnd(&g->z);
	free(g);
}

static int gzip_fill(struct gzip *g)
{
	size_t n = 0;
	int r = g->source(g->data, g->pending, sizeof(g->pending), &n);

	if (r < 0)
		return r;
	g->drained = n == 0;
	g->z.next_in = (Bytef *)g->pending;
	g->z.avail_in = (uInt)n;
	return 0;
}

int gzip_read(struct gzip *g, char *buf, size_t size, size_t *ret_n)
{
	g->z.next_out = (Bytef *)buf;
	g->z.avail_out = (uInt)MIN(size, (size_t)UINT32_MAX);
	while (!g->ended && g->z.avail_out) {
		int r = g->z.avail_in || g->drained ? 0 : gzip_fill(g);

		if (r < 0)
			return r;
		r = deflate(&g->z, g->drained ? Z_FINISH : Z_NO_FLUSH);
		if (r != Z_OK && r != Z_STREAM_END && r != Z_BUF_ERROR)
			return -EIO;
		g->ended = r == Z_STREAM_END;
	}
	*ret_n = (size_t)((char *)g->z.next_out - buf);
	return 0;
}
