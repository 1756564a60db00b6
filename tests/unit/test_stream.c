// SPDX-License-Identifier: Apache-2.0
/* user/stream.c: whatever order a connection's segments were captured in, its bytes come out once and in order. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "stream.h"

#define SYN 2
#define ACK 16

struct seen {
	char text[4096]; /* "<" a direction begins, ">" ends, and its bytes */
	uint64_t last_frame;
	bool enough;
};

static struct seen seen;
static struct streams *streams;
static uint64_t frame;

static bool on_stream(enum stream_event event, const struct stream_end *from,
		      const struct stream_end *to, uint32_t seq, const uint8_t *data, size_t size,
		      uint64_t number, void *ctx)
{
	size_t len = strlen(seen.text);

	(void)ctx;
	(void)seq;
	assert_int_equal(from->family, to->family);
	if (event == STREAM_DATA) {
		seen.last_frame = number;
		memcpy(seen.text + len, data, size);
		seen.text[len + size] = 0;
		return seen.enough;
	}
	strcat(seen.text, event == STREAM_BEGIN ? "<" : ">");
	return false;
}

static int setup(void **state)
{
	(void)state;
	seen = (struct seen){.enough = false};
	frame = 0;
	return streams_new(on_stream, NULL, &streams);
}

static int teardown(void **state)
{
	(void)state;
	streams_free(streams);
	return 0;
}

/* An IPv4 packet of client 0 or the server's (from 1), in memory of exactly its size. */
static void packet(int from, uint32_t seq, int flags, const char *data)
{
	size_t size = 40 + strlen(data);
	uint8_t *p = calloc(1, size);

	assert_non_null(p);
	p[0] = 0x45;
	p[2] = (uint8_t)(size >> 8);
	p[3] = (uint8_t)size;
	p[9] = 6;
	memcpy(p + 12, from ? "\x0a\0\0\2\x0a\0\0\1" : "\x0a\0\0\1\x0a\0\0\2", 8);
	p[20 + 1] = from ? 80 : 99;
	p[20 + 3] = from ? 99 : 80;
	for (int i = 0; i < 4; i++)
		p[24 + i] = (uint8_t)(seq >> (24 - 8 * i));
	p[32] = 5 << 4;
	p[33] = (uint8_t)flags;
	memcpy(p + 40, data, strlen(data));
	assert_int_equal(streams_packet(streams, p, size, ++frame), 0);
	free(p);
}

static void test_in_order(void **state)
{
	(void)state;
	packet(0, 99, SYN, "");
	packet(0, 100, ACK, "abc");
	packet(0, 103, ACK, "def");
	assert_string_equal(seen.text, "<abcdef");
	streams_finish(streams);
	assert_string_equal(seen.text, "<abcdef>");
}

static void test_late_twice_overlapping(void **state)
{
	(void)state;
	packet(0, 0xfffffffeu, SYN, ""); /* the sequence wraps */
	packet(0, 5, ACK, "ghi");
	packet(0, 2, ACK, "defg");
	packet(0, 2, ACK, "defg");
	assert_string_equal(seen.text, "<");
	packet(0, 0xffffffffu, ACK, "abcd");
	assert_string_equal(seen.text, "<abcdefghi");
	assert_int_equal(seen.last_frame, 2); /* the packet that carried the last byte */
	packet(0, 0xffffffffu, ACK, "abcdefghijk");
	assert_string_equal(seen.text, "<abcdefghijk");
}

static void test_hole_at_the_end(void **state)
{
	(void)state;
	packet(0, 0, SYN, "");
	packet(0, 1, ACK, "ab");
	packet(0, 9, ACK, "yz");
	packet(0, 5, ACK, "mn");
	assert_string_equal(seen.text, "<ab");
	streams_finish(streams);
	assert_string_equal(seen.text, "<abmnyz>");
}

static void test_hole_is_given_up(void **state)
{
	char block[1025];
	uint32_t seq = 1000;

	(void)state;
	memset(block, 'x', sizeof(block) - 1);
	block[sizeof(block) - 1] = 0;
	packet(0, 0, SYN, "");
	for (size_t i = 0; i < STREAM_HELD_MAX / 1024; i++, seq += 1024)
		packet(0, seq, ACK, block);
	assert_string_equal(seen.text, "<");
	seen.enough = true; /* one block is enough to see: the rest is not wanted */
	packet(0, seq, ACK, block);
	assert_int_equal(strlen(seen.text), 1 + 1024);
}

static void test_middle_of_a_connection(void **state)
{
	(void)state;
	packet(1, 500, ACK, "S");
	packet(0, 100, ACK, "C");
	packet(0, 101, ACK, "D");
	assert_string_equal(seen.text, "<S<CD");
}

/* With a SYN it is known who the client is: the server's bytes are not asked for. */
static void test_server_of_a_known_client(void **state)
{
	(void)state;
	packet(0, 99, SYN, "");
	packet(1, 7, SYN | ACK, "");
	packet(1, 8, ACK, "220 hello");
	packet(0, 100, ACK, "EHLO");
	assert_string_equal(seen.text, "<EHLO");
}

static void test_ports_used_again(void **state)
{
	(void)state;
	packet(0, 99, SYN, "");
	packet(0, 99, SYN, "");
	packet(0, 100, ACK, "one");
	packet(0, 5000, SYN, "");
	packet(0, 5001, ACK, "two");
	assert_string_equal(seen.text, "<one><two");
}

static void test_enough(void **state)
{
	(void)state;
	packet(0, 99, SYN, "");
	seen.enough = true;
	packet(0, 102, ACK, "c");
	packet(0, 100, ACK, "ab");
	packet(0, 103, ACK, "d");
	assert_string_equal(seen.text, "<ab");
}

/* Data in the SYN itself, and what is not TCP or cut short. */
static void test_odd_packets(void **state)
{
	static const uint8_t bytes[60] = {0x45, [9] = 6};

	(void)state;
	packet(0, 99, SYN, "early");
	assert_string_equal(seen.text, "<early");
	for (size_t n = 0; n <= sizeof(bytes); n++) {
		uint8_t *copy = malloc(n ? n : 1);

		assert_non_null(copy);
		memcpy(copy, bytes, n);
		assert_int_equal(streams_packet(streams, copy, n, 1), 0);
		if (n)
			copy[0] = 0x60;
		assert_int_equal(streams_packet(streams, copy, n, 1), 0);
		free(copy);
	}
	assert_string_equal(seen.text, "<early");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_in_order, setup, teardown),
		cmocka_unit_test_setup_teardown(test_late_twice_overlapping, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hole_at_the_end, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hole_is_given_up, setup, teardown),
		cmocka_unit_test_setup_teardown(test_middle_of_a_connection, setup, teardown),
		cmocka_unit_test_setup_teardown(test_server_of_a_known_client, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ports_used_again, setup, teardown),
		cmocka_unit_test_setup_teardown(test_enough, setup, teardown),
		cmocka_unit_test_setup_teardown(test_odd_packets, setup, teardown),
	};

	return cmocka_run_group_tests_name("stream", tests, NULL, NULL);
}
