// SPDX-License-Identifier: Apache-2.0
/*
 * The HTTP/1 reader on any bytes, cut in any way, as client (even first byte of the input) or server (odd). The rest of
 * that byte is the size of the pieces: heads and hosts must be those of the stream in one piece.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <linux/types.h>

#include "../../bpf/http.h"

#define HEADS_MAX 64

struct head {
	__u64 word;
	__u16 len;
	__u8 method;
	__u8 host[EA_HOST_BUF];
};

struct outcome {
	struct ea_http http;
	struct head heads[HEADS_MAX];
	size_t n;
	enum ea_verdict verdict;
	__u8 host[EA_HOST_BUF] __attribute__((aligned(8)));
};

static enum ea_verdict on_head(struct outcome *o)
{
	struct ea_http *h = &o->http;
	struct head *head = &o->heads[o->n++];

	*head = (struct head){.word = h->word, .method = h->method};
	if (h->flags & EA_HTTP_HOST_DONE) {
		head->len = h->host_len;
		if (h->host_len > EA_HOST_MAX + 1)
			abort();
		memcpy(head->host, o->host, h->host_len);
	}
	memset(o->host, 0, sizeof(o->host));
	return o->n == HEADS_MAX ? EA_MORE : http_begin_body(h);
}

static void feed_piece(struct outcome *o, const uint8_t *data, size_t n)
{
	uint8_t *copy = malloc(n);
	struct ea_bytes b = {.data = copy, .size = (__u32)n};
	struct ea_http *h = &o->http;

	if (!copy)
		abort();
	memcpy(copy, data, n);
	h->c = (struct ea_cursor){0, (__u32)n};
	h->window_len = 0;
	do {
		o->verdict = http_step(h, &b, o->host);
		if (o->verdict == EA_DONE)
			o->verdict = on_head(o);
		if (o->verdict == EA_END) {
			http_reset(h);
			o->verdict = EA_AGAIN;
		}
	} while (o->verdict == EA_AGAIN);
	free(copy);
}

static void feed(struct outcome *o, int server, const uint8_t *data, size_t size, size_t piece)
{
	memset(o, 0, sizeof(*o));
	o->verdict = EA_MORE;
	o->http.flags = server ? EA_HTTP_RESPONSE : 0;
	http_reset(&o->http);
	for (size_t at = 0, n; at < size && o->verdict == EA_MORE && o->n < HEADS_MAX; at += n) {
		n = piece < size - at ? piece : size - at;
		feed_piece(o, data + at, n);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct outcome whole, cut;

	if (size < 2)
		return 0;
	feed(&whole, data[0] & 1, data + 1, size - 1, size);
	feed(&cut, data[0] & 1, data + 1, size - 1, data[0] / 2 + 1u);
	if (whole.n != cut.n || whole.verdict != cut.verdict ||
	    memcmp(whole.heads, cut.heads, whole.n * sizeof(whole.heads[0])) != 0)
		abort();
	return 0;
}
