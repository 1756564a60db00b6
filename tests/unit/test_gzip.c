// SPDX-License-Identifier: Apache-2.0
/* gzip.c: what comes out is what went in, whatever the sizes of the pieces. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "alloc.h"
#include "gzip.h"
#include "util.h"

#define BYTES_MAX (1 << 20)

struct input {
	const char *bytes;
	size_t size, at, piece;
	int error; /* at the end */
};

static int input_read(void *data, char *buf, size_t size, size_t *ret_n)
{
	struct input *in = data;
	size_t n = MIN(MIN(size, in->piece), in->size - in->at);

	if (n == 0 && in->error)
		return in->error;
	memcpy(buf, in->bytes + in->at, n);
	in->at += n;
	*ret_n = n;
	return 0;
}

static void assert_round_trip(const char *bytes, size_t size, size_t piece, size_t block)
{
	static char packed[2 * BYTES_MAX], out[BYTES_MAX + 1];
	struct input in = {.bytes = bytes, .size = size, .piece = piece};
	size_t packed_size = 0, n = 1;
	z_stream z = {0};
	struct gzip *g;

	assert_int_equal(gzip_new(input_read, &in, &g), 0);
	while (n) {
		assert_int_equal(gzip_read(g, packed + packed_size, block, &n), 0);
		assert_true(n <= block);
		packed_size += n;
	}
	/* The end stays the end. */
	assert_int_equal(gzip_read(g, packed + packed_size, block, &n), 0);
	assert_int_equal(n, 0);
	gzip_free(g);
	assert_int_equal(inflateInit2(&z, 15 + 16), Z_OK);
	z.next_in = (Bytef *)packed;
	z.avail_in = (uInt)packed_size;
	z.next_out = (Bytef *)out;
	z.avail_out = sizeof(out);
	assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
	assert_int_equal(z.avail_in, 0);
	assert_int_equal(z.total_out, size);
	assert_memory_equal(out, bytes, size);
	inflateEnd(&z);
}

static void test_round_trip(void **state)
{
	static const size_t sizes[] = {0, 1, 5, 4096, 100001, BYTES_MAX},
			    blocks[] = {1, 17, 4096, 65536}, pieces[] = {1, 1000, BYTES_MAX};
	static char bytes[BYTES_MAX];
	uint32_t seed = 1;

	(void)state;
	/* Half of it can be compressed. */
	for (size_t i = 0; i < BYTES_MAX; i++) {
		seed = seed * 1664525 + 1013904223;
		bytes[i] = i & 4096 ? (char)(seed >> 24) : 'a';
	}
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		for (size_t j = 0; j < ARRAY_SIZE(blocks); j++)
			for (size_t k = 0; k < ARRAY_SIZE(pieces); k++)
				assert_round_trip(bytes, sizes[i], pieces[k], blocks[j]);
}

static void test_source_fails(void **state)
{
	struct input in = {.bytes = "abc", .size = 3, .piece = 3, .error = -ENOMEM};
	struct gzip *g;
	char buf[1000];
	size_t n;

	(void)state;
	assert_int_equal(gzip_new(input_read, &in, &g), 0);
	assert_int_equal(gzip_read(g, buf, sizeof(buf), &n), -ENOMEM);
	gzip_free(g);
	gzip_free(NULL);
}

static void test_no_memory(void **state)
{
	struct input in = {.bytes = "abc", .size = 3, .piece = 3};
	struct gzip *g = NULL;

	(void)state;
	for (unsigned long n = 1;; n++) {
		int r;

		alloc_fail_at(n);
		r = gzip_new(input_read, &in, &g);
		if (!alloc_failed()) {
			assert_int_equal(r, 0);
			assert_true(n > 2);
			break;
		}
		assert_int_equal(r, -ENOMEM);
		assert_null(g);
	}
	alloc_fail_at(0);
	gzip_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_source_fails),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests_name("gzip", tests, NULL, NULL);
}
