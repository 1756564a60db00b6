// SPDX-License-Identifier: Apache-2.0
/* user/fragment.c: datagrams come out whole, once, and only if their fragments agree; what is held is bounded. */
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "alloc.h"
#include "fragment.h"

#define MORE 1

static struct fragments *fragments;
static int64_t now;
static char text[70000]; /* what the last packet that was whole carries */
static size_t size;      /* and its own */
static uint8_t head[40];

static int setup(void **state)
{
	(void)state;
	now = 1000;
	return fragments_new(&fragments);
}

static int teardown(void **state)
{
	(void)state;
	fragments_free(fragments);
	fragments = NULL;
	return 0;
}

/* One packet, in memory of exactly its size that is not among those that fail. `text`: what is behind its headers. */
static int packet(const void *headers, size_t n, const char *data, size_t data_size)
{
	uint8_t *p = reallocarray(NULL, 1, n + data_size);
	struct capture_packet c = {.number = 1, .second = now, .data = p, .size = n + data_size};
	int r;

	assert_non_null(p);
	memcpy(p, headers, n);
	memcpy(p + n, data, data_size);
	r = fragments_packet(fragments, &c);
	if (r == 1 && c.size > 20) {
		size_t at = c.data[0] >> 4 == 6 ? 40 : 20;

		memcpy(head, c.data, at);
		memcpy(text, c.data + at, c.size - at);
		text[c.size - at] = 0;
		size = c.size;
	}
	free(p);
	return r;
}

static int v4(unsigned int id, unsigned int offset, int more, const char *data)
{
	size_t n = strlen(data);
	uint8_t h[20] = {0x45,
			 0,
			 (uint8_t)((20 + n) >> 8),
			 (uint8_t)(20 + n),
			 (uint8_t)(id >> 8),
			 (uint8_t)id,
			 (uint8_t)((more ? 0x20 : 0) | offset >> 11),
			 (uint8_t)(offset >> 3),
			 64,
			 6,
			 [12] = 10,
			 [16] = 11};

	return packet(h, sizeof(h), data, n);
}

/* With a hop-by-hop header before the fragment header. */
static int v6(unsigned int id, unsigned int offset, int more, const char *data)
{
	size_t n = strlen(data) + 16;
	uint8_t h[56] = {0x60, [4] = (uint8_t)(n >> 8), (uint8_t)n, 0, 64, [8] = 0x20, [24] = 0x20};

	h[40] = 44;
	h[48] = 6;
	h[50] = (uint8_t)(offset >> 8);
	h[51] = (uint8_t)((offset & 0xf8) | (more ? 1 : 0));
	h[54] = (uint8_t)(id >> 8);
	h[55] = (uint8_t)id;
	return packet(h, sizeof(h), data, strlen(data));
}

static void assert_counts(uint64_t whole, uint64_t missing, uint64_t overlap, uint64_t evicted,
			  uint64_t broken)
{
	struct fragment_counts c = fragments_counts(fragments);

	assert_int_equal(c.whole, whole);
	assert_int_equal(c.missing, missing);
	assert_int_equal(c.overlap, overlap);
	assert_int_equal(c.evicted, evicted);
	assert_int_equal(c.broken, broken);
}

static void test_not_fragmented(void **state)
{
	(void)state;
	assert_int_equal(v4(7, 0, 0, "whole"), 1);
	assert_string_equal(text, "whole");
	assert_int_equal(packet("\x60\0\0\0\0\2\6\0", 8, "short", 5), 1); /* not for us to judge */
	assert_int_equal(packet("\x45", 1, "", 0), 1);
	assert_counts(0, 0, 0, 0, 0);
}

static void test_ipv4(void **state)
{
	(void)state;
	assert_int_equal(v4(7, 0, MORE, "abcdefgh"), 0);
	assert_int_equal(v4(7, 8, MORE, "ijklmnop"), 0);
	assert_counts(0, 1, 0, 0, 0);
	assert_int_equal(v4(7, 16, 0, "qrs"), 1);
	assert_string_equal(text, "abcdefghijklmnopqrs");
	assert_int_equal(size, 39);
	assert_int_equal(head[2] << 8 | head[3], 39);
	assert_int_equal(head[6] | head[7], 0);
	assert_int_equal(head[9], 6);
	assert_counts(1, 0, 0, 0, 0);
}

static void test_ipv6(void **state)
{
	(void)state;
	assert_int_equal(v6(7, 16, 0, "qrs"), 0);
	assert_int_equal(v6(7, 8, MORE, "ijklmnop"), 0);
	assert_int_equal(v6(7, 0, MORE, "abcdefgh"), 1);
	assert_int_equal(size, 40 + 8 + 19); /* the fragment header is gone */
	assert_int_equal(head[4] << 8 | head[5], 8 + 19);
	assert_int_equal(head[6], 0);
	assert_int_equal(text[0], 6); /* hop-by-hop says TCP now */
	assert_string_equal(text + 8, "abcdefghijklmnopqrs");
	assert_counts(1, 0, 0, 0, 0);
}

/* RFC 6946: alone in its datagram, whatever else has this id. */
static void test_ipv6_single(void **state)
{
	(void)state;
	assert_int_equal(v6(7, 8, 0, "ijk"), 0);
	assert_int_equal(v6(7, 0, 0, "abcdefgh"), 1);
	assert_string_equal(text + 8, "abcdefgh");
	assert_int_equal(v6(7, 0, MORE, "ABCDEFGH"), 1);
	assert_string_equal(text + 8, "ABCDEFGHijk");
	assert_counts(2, 0, 0, 0, 0);
}

static void test_out_of_order_and_twice(void **state)
{
	(void)state;
	assert_int_equal(v4(7, 16, 0, "qrs"), 0);
	assert_int_equal(v4(7, 16, 0, "qrs"), 0);
	assert_int_equal(v4(7, 0, MORE, "abcdefgh"), 0);
	assert_int_equal(v4(7, 0, MORE, "abcdefgh"), 0);
	assert_int_equal(v4(7, 8, MORE, "ijklmnop"), 1);
	assert_string_equal(text, "abcdefghijklmnopqrs");
	assert_counts(1, 0, 0, 0, 0);
}

/* A smaller fragment within a larger one, of the same bytes, is a duplicate too. */
static void test_within(void **state)
{
	(void)state;
	assert_int_equal(v4(7, 0, MORE, "abcdefghijklmnop"), 0);
	assert_int_equal(v4(7, 8, MORE, "ijklmnop"), 0);
	assert_int_equal(v4(7, 16, 0, "q"), 1);
	assert_string_equal(text, "abcdefghijklmnopq");
	assert_counts(1, 0, 0, 0, 0);
}

struct overlap {
	const char *title;
	struct {
		unsigned int offset;
		int more;
		const char *data;
	} first, second, third;
};

static const struct overlap overlaps[] = {
	{"the end of another",
	 {0, MORE, "abcdefghijklmnop"},
	 {8, MORE, "ijklmnopqrstuvwx"},
	 {24, 0, "y"}},
	{"the beginning",
	 {8, MORE, "ijklmnopqrstuvwx"},
	 {0, MORE, "abcdefghijklmnop"},
	 {24, 0, "y"}},
	{"around another",
	 {8, MORE, "ijklmnop"},
	 {0, MORE, "abcdefghijklmnopqrstuvwx"},
	 {24, 0, "y"}},
	{"an earlier end", {16, MORE, "qrstuvwx"}, {8, 0, "ijklmnop"}, {0, MORE, "abcdefgh"}},
	{"another end", {8, 0, "ijklmnop"}, {16, 0, "q"}, {0, MORE, "abcdefgh"}},
	{"beyond the end", {8, 0, "ijklmnop"}, {16, MORE, "qrstuvwx"}, {0, MORE, "abcdefgh"}},
};

static void test_overlaps(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(overlaps) / sizeof(overlaps[0]); i++) {
		const struct overlap *o = &overlaps[i];
		unsigned int id = (unsigned int)i + 1;

		for (int family = 4; family <= 6; family += 2) {
			int (*send)(unsigned int, unsigned int, int,
				    const char *) = family == 4 ? v4 : v6;

			if (send(id, o->first.offset, o->first.more, o->first.data) ||
			    send(id, o->second.offset, o->second.more, o->second.data) ||
			    send(id, o->third.offset, o->third.more, o->third.data))
				fail_msg("%s: IPv%d was put together", o->title, family);
		}
	}
	/* What came behind the overlap is a datagram without a beginning or an end. */
	assert_counts(0, 12, 12, 0, 0);
}

/* The same id for datagram after datagram: each of them, and none made of two. */
static void test_id_used_again(void **state)
{
	char data[] = "00000000";

	(void)state;
	for (int i = 0; i < 100000; i++) {
		data[0] = (char)('0' + i % 10);
		assert_int_equal(v4(7, 0, MORE, data), 0);
		if (i % 3 == 0)
			continue; /* its second half is lost */
		data[1] = (char)('a' + i % 10);
		assert_int_equal(v4(7, 8, 0, data), 1);
		data[1] = '0';
		assert_int_equal(text[0], '0' + i % 10);
		assert_int_equal(text[9], 'a' + i % 10);
	}
	assert_counts(66666, 1, 33333, 0, 0);
}

/* Others of the same id: other ends, protocols, families. */
static void test_keys(void **state)
{
	uint8_t udp[28] = {0x45, [3] = 28, [5] = 7, [6] = 0x20, [9] = 17, [12] = 10, [16] = 11};
	uint8_t other[28] = {0x45, [3] = 28, [5] = 7, [6] = 0x20, [9] = 6, [12] = 10, [16] = 12};

	(void)state;
	assert_int_equal(v4(7, 0, MORE, "abcdefgh"), 0);
	assert_int_equal(packet(udp, sizeof(udp), "", 0), 0);
	assert_int_equal(packet(other, sizeof(other), "", 0), 0);
	assert_int_equal(v6(7, 0, MORE, "ABCDEFGH"), 0);
	assert_int_equal(v4(8, 8, 0, "wrong"), 0);
	assert_int_equal(v4(7, 8, 0, "right"), 1);
	assert_string_equal(text, "abcdefghright");
	assert_int_equal(v6(7, 8, 0, "right"), 1);
	assert_string_equal(text + 8, "ABCDEFGHright");
	assert_counts(2, 3, 0, 0, 0);
}

static void test_age(void **state)
{
	(void)state;
	assert_int_equal(v4(7, 8, 0, "old"), 0);
	now += FRAGMENT_SECONDS_MAX;
	assert_int_equal(v4(8, 0, MORE, "abcdefgh"), 0);
	now++;
	assert_int_equal(v4(7, 0, MORE, "abcdefgh"), 0); /* the old one is not its end */
	assert_counts(0, 3, 0, 0, 0);
	now -= 1000000; /* clocks are set back */
	assert_int_equal(v4(7, 8, 0, "new"), 1);
	assert_string_equal(text, "abcdefghnew");
	assert_counts(1, 2, 0, 0, 0);
}

static void test_datagrams_max(void **state)
{
	(void)state;
	for (unsigned int id = 0; id < FRAGMENT_DATAGRAMS_MAX + 5; id++)
		assert_int_equal(v4(id, 0, MORE, "abcdefgh"), 0);
	assert_counts(0, FRAGMENT_DATAGRAMS_MAX, 0, 5, 0);
	assert_int_equal(v4(4, 8, 0, "gone"), 0);
	assert_int_equal(v4(6, 8, 0, "there"), 1);
	assert_string_equal(text, "abcdefghthere");
}

static void test_bytes_max(void **state)
{
	static char large[65001];
	const unsigned int n = FRAGMENT_BYTES_MAX / 65000 + 10;

	(void)state;
	memset(large, 'x', 65000);
	for (unsigned int id = 0; id < n; id++)
		assert_int_equal(v4(id, 0, MORE, large), 0);
	assert_true(fragments_counts(fragments).evicted >= 10);
	assert_true(fragments_counts(fragments).evicted <= 12);
	assert_int_equal(v4(0, 65000, 0, "gone"), 0);
	assert_int_equal(v4(n - 1, 65000, 0, "there"), 1);
	assert_string_equal(text + 65000, "there");
}

/* As long as IP can say, and one byte more. */
static void test_longest(void **state)
{
	static char large[65001];

	(void)state;
	memset(large, 'x', 65000);
	assert_int_equal(v4(1, 0, MORE, large), 0);
	memset(large, 'y', 515);
	large[515] = 0;
	assert_int_equal(v4(1, 65000, 0, large), 1);
	assert_int_equal(size, 65535);
	large[515] = 'y';
	large[516] = 0;
	memset(text, 'x', 65000);
	text[65000] = 0;
	assert_int_equal(v4(1, 0, MORE, text), 0);
	assert_int_equal(v4(1, 65000, 0, large), 0);
	assert_counts(1, 0, 0, 0, 1);
	assert_int_equal(v4(1, 65528, MORE, "beyond. "), 0);
	assert_counts(1, 0, 0, 0, 2);
}

static void test_broken(void **state)
{
	uint8_t h[28] = {0x45, [3] = 28, [5] = 7, [6] = 0x20, [9] = 6};
	uint8_t h6[48] = {0x60, [5] = 8, [6] = 44, [40] = 6, [43] = 1};

	(void)state;
	assert_int_equal(v4(7, 0, MORE, "seven.."), 0);
	assert_int_equal(v4(7, 8, 0, ""), 0);
	assert_int_equal(packet(h, 27, "", 0), 0); /* not captured as a whole */
	h[0] = 0x44;
	assert_int_equal(packet(h, 28, "", 0), 0);
	h[0] = 0x45;
	h[3] = 19;
	assert_int_equal(packet(h, 28, "", 0), 0);
	assert_int_equal(packet(h6, 47, "", 0), 0);
	assert_int_equal(packet(h6, 48, "", 0), 0); /* no data */
	h6[5] = 7;
	assert_int_equal(packet(h6, 48, "", 0), 0);
	assert_counts(0, 0, 0, 0, 8);
}

static void test_no_memory(void **state)
{
	int r = 0;

	(void)state;
	for (unsigned long n = 1;; n++) {
		struct fragments *f;

		fragments_free(fragments);
		fragments = NULL;
		alloc_fail_at(n);
		r = fragments_new(&f);
		if (!r) {
			fragments = f;
			r = v4(7, 0, MORE, "abcdefgh");
		}
		if (!r)
			r = v6(7, 0, 0, "alone");
		if (r == 1)
			r = v4(7, 8, 0, "rest");
		if (!alloc_failed())
			break;
		assert_int_equal(r, -ENOMEM);
	}
	alloc_fail_at(0);
	assert_int_equal(r, 1);
	assert_string_equal(text, "abcdefghrest");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_not_fragmented), TEST(test_ipv4),
		TEST(test_ipv6),           TEST(test_ipv6_single),
		TEST(test_within),         TEST(test_out_of_order_and_twice),
		TEST(test_overlaps),       TEST(test_id_used_again),
		TEST(test_keys),           TEST(test_age),
		TEST(test_datagrams_max),  TEST(test_bytes_max),
		TEST(test_longest),        TEST(test_broken),
		TEST(test_no_memory),
	};

	return cmocka_run_group_tests_name("fragment", tests, NULL, NULL);
}
