// SPDX-License-Identifier: Apache-2.0
/*
 * The ClientHello reader on any bytes, cut in any way. The first byte of the input says how: the verdict, the name
 * and the facts must be those of the stream in one piece, and no byte outside a piece may be read.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <linux/types.h>

#include "../../bpf/tls.h"

struct outcome {
	struct ea_tls tls;
	enum ea_verdict verdict;
	__u8 host[EA_HOST_BUF + EA_NAME_CHUNK] __attribute__((aligned(8)));
};

static void feed(struct outcome *o, const uint8_t *data, size_t size, size_t piece)
{
	memset(o, 0, sizeof(*o));
	o->verdict = EA_MORE;
	for (size_t at = 0, n; at < size && o->verdict == EA_MORE; at += n) {
		struct ea_bytes b;
		uint8_t *copy;

		n = piece < size - at ? piece : size - at;
		copy = malloc(n);
		if (!copy)
			abort();
		memcpy(copy, data + at, n);
		b = (struct ea_bytes){.data = copy, .size = (__u32)n};
		o->verdict = ea_tls_feed(&o->tls, &b, (struct ea_cursor){0, (__u32)n}, o->host);
		free(copy);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct outcome whole, cut;

	if (size < 2)
		return 0;
	feed(&whole, data + 1, size - 1, size);
	feed(&cut, data + 1, size - 1, data[0] + 1u);
	if (whole.verdict != cut.verdict || whole.tls.named != cut.tls.named ||
	    whole.tls.facts != cut.tls.facts)
		abort();
	if (whole.tls.name_pos > EA_HOST_MAX + 1)
		abort();
	if (whole.verdict == EA_DONE && (whole.tls.name_len != cut.tls.name_len ||
					 memcmp(whole.host, cut.host, EA_HOST_BUF) != 0))
		abort();
	return 0;
}
