// SPDX-License-Identifier: Apache-2.0
/*
 * What follows a ClientHello, either side's, on any bytes, cut in any way. The first byte of the input says how, the
 * second whose it is: the verdict and the version must be those of the stream in one piece, and no byte outside a
 * piece may be read.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <linux/types.h>

#include "../../bpf/tls_answer.h"

static enum ea_verdict feed(struct ea_answer *a, const uint8_t *data, size_t size, size_t piece)
{
	enum ea_verdict v = EA_MORE;

	for (size_t at = 0, n; at < size && v == EA_MORE; at += n) {
		uint8_t *copy;

		n = piece < size - at ? piece : size - at;
		copy = malloc(n);
		if (!copy)
			abort();
		memcpy(copy, data + at, n);
		v = ea_answer_feed(a, &(struct ea_bytes){.data = copy, .size = (__u32)n},
				   (struct ea_cursor){0, (__u32)n});
		free(copy);
	}
	return v;
}

/* As flow_answer.h begins: a server with nothing, a client within its hello's record. */
static struct ea_answer begin(uint8_t whose)
{
	if (!(whose & 1))
		return (struct ea_answer){.state = EA_ANSWER_HEADER};
	return (struct ea_answer){.state = EA_ANSWER_PASS,
				  .type = EA_TLS_HANDSHAKE,
				  .record_left = whose >> 1,
				  .begun = 1};
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ea_answer whole, cut;
	enum ea_verdict v;

	if (size < 3)
		return 0;
	whole = cut = begin(data[1]);
	v = feed(&whole, data + 2, size - 2, size);
	if (v != feed(&cut, data + 2, size - 2, data[0] + 1u) || whole.version != cut.version)
		abort();
	if (v == EA_AGAIN || (data[1] & 1 && whole.version))
		abort();
	return 0;
}
