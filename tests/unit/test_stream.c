// SPDX-License-Identifier: Apache-2.0
/* user/stream.c: whatever order a connection's segments were captured in, its bytes come out once and in order. */
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "stream.h"

#include "alloc.h"

#define FIN STREAM_FIN
#define SYN STREAM_SYN
#define RST STREAM_RST
#define ACK STREAM_ACK

struct seen {
	/* What a client sends: "<" it begins, ")" its FIN, ">" its end, and its bytes. Of a server within [ ]. */
	char text[4096];
	uint64_t last_frame;
	uint32_t last_ack;
	int enough; /* segments until no more is wanted; 0: never */
	bool quiet; /* only count */
	size_t begun, ended;
};

static struct seen seen;
static struct streams *streams;
static uint64_t frame;

static void see(const char *text, size_t size)
{
	size_t len = strlen(seen.text);

	assert_true(len + size < sizeof(seen.text));
	memcpy(seen.text + len, text, size);
	seen.text[len + size] = 0;
}

static bool on_segment(const struct stream_segment *g, void *ctx)
{
	(void)ctx;
	assert_int_equal(g->from->family, g->to->family);
	seen.begun += !g->answer && g->flags & SYN;
	seen.ended += g->flags & RST ? 1 : 0;
	if (seen.quiet)
		return false;
	seen.last_frame = g->frame;
	seen.last_ack = g->flags & ACK ? g->ack : 0;
	if (g->answer)
		see("[", 1);
	if (g->flags & SYN)
		see("<", 1);
	if (g->size)
		see((const char *)g->data, g->size);
	if (g->flags & FIN)
		see(")", 1);
	if (g->flags & RST)
		see(">", 1);
	if (g->answer)
		see("]", 1);
	return seen.enough && --seen.enough == 0;
}

static int setup(void **state)
{
	(void)state;
	seen = (struct seen){.enough = 0};
	frame = 0;
	return streams_new(on_segment, NULL, &streams);
}

static int teardown(void **state)
{
	(void)state;
	streams_free(streams);
	return 0;
}

/* An IPv4 packet of client 0 or the server's (from 1), in memory of exactly its size. */
static int packet_with_ack(int from, uint32_t seq, uint32_t ack, int flags, const char *data)
{
	size_t size = 40 + strlen(data);
	uint8_t *p = reallocarray(NULL, 1, size); /* not among those that fail */
	int r;

	assert_non_null(p);
	memset(p, 0, 40);
	p[0] = 0x45;
	p[2] = (uint8_t)(size >> 8);
	p[3] = (uint8_t)size;
	p[9] = 6;
	memcpy(p + 12, from ? "\x0a\0\0\2\x0a\0\0\1" : "\x0a\0\0\1\x0a\0\0\2", 8);
	p[20 + 1] = from ? 80 : 99;
	p[20 + 3] = from ? 99 : 80;
	for (int i = 0; i < 4; i++) {
		p[24 + i] = (uint8_t)(seq >> (24 - 8 * i));
		p[28 + i] = (uint8_t)(ack >> (24 - 8 * i));
	}
	p[32] = 5 << 4;
	p[33] = (uint8_t)flags;
	memcpy(p + 40, data, strlen(data));
	r = streams_packet(streams, p, size, ++frame);
	free(p);
	return r;
}

static void packet(int from, uint32_t seq, int flags, const char *data)
{
	assert_int_equal(packet_with_ack(from, seq, 7, flags, data), 0);
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
	for (size_t i = 0; i < STREAM_HELD_MAX / 1200; i++, seq += 1024)
		packet(0, seq, ACK, block);
	assert_string_equal(seen.text, "<");
	seen.enough = 1; /* one block is enough to see: the rest is not wanted */
	for (size_t i = 0; i < STREAM_HELD_MAX / 1024 - STREAM_HELD_MAX / 1200; i++, seq += 1024)
		packet(0, seq, ACK, block);
	assert_int_equal(strlen(seen.text), 1 + 1024 + 1);
}

static void test_middle_of_a_connection(void **state)
{
	(void)state;
	packet(1, 500, ACK, "S");
	packet(0, 100, ACK, "C");
	packet(0, 101, ACK, "D");
	packet(0, 102, ACK | FIN, "");
	packet(1, 501, ACK | FIN, "");
	assert_string_equal(seen.text, "<S<CD))");
	streams_finish(streams);
	assert_string_equal(seen.text, "<S<CD))>>");
}

/* With a SYN it is known who the client is: both directions are of one connection. */
static void test_both_directions(void **state)
{
	(void)state;
	packet(0, 99, SYN, "");
	packet(1, 7, SYN | ACK, "");
	packet(1, 7, SYN | ACK, "");
	packet(1, 11, ACK, "hello");
	packet(0, 100, ACK, "EHLO");
	assert_int_equal(seen.last_frame, 5);
	packet(1, 8, ACK, "220");
	assert_string_equal(seen.text, "<[<]EHLO[220][hello]");
	assert_int_equal(seen.last_frame, 5); /* names are the client's */
	packet(1, 16, ACK | FIN, "");
	packet(1, 16, ACK | FIN, "");
	packet(0, 104, ACK | FIN, "Q");
	assert_string_equal(seen.text, "<[<]EHLO[220][hello][)]Q)");
	streams_finish(streams);
	assert_string_equal(seen.text, "<[<]EHLO[220][hello][)]Q)>");
}

/* ACK numbers are those of the packet, also of one that was held; a missing one stays missing. */
static void test_acks(void **state)
{
	(void)state;
	packet_with_ack(0, 99, 0, SYN, "");
	packet_with_ack(1, 7, 100, SYN | ACK, "");
	assert_int_equal(seen.last_ack, 100);
	packet_with_ack(0, 102, 33, ACK, "c");
	packet_with_ack(0, 100, 22, ACK, "ab");
	assert_string_equal(seen.text, "<[<]abc");
	assert_int_equal(seen.last_ack, 33);
	packet_with_ack(0, 103, 44, 0, "d");
	assert_int_equal(seen.last_ack, 0);
}

/* The server's SYN was lost: one is made up, for what it acknowledges. */
static void test_answer_without_syn(void **state)
{
	(void)state;
	packet(0, 99, SYN, "");
	packet_with_ack(1, 8, 100, ACK | FIN, "");
	assert_string_equal(seen.text, "<");
	packet_with_ack(1, 8, 100, ACK, "hi");
	assert_string_equal(seen.text, "<[<][hi]");
}

/* A FIN is given out once, behind all bytes before it. */
static void test_fin(void **state)
{
	(void)state;
	packet(0, 99, SYN, "");
	packet(0, 102, ACK | FIN, "cd");
	packet(0, 104, ACK | FIN, "");
	assert_string_equal(seen.text, "<");
	packet(0, 100, ACK, "ab");
	packet(0, 104, ACK | FIN, "");
	packet(0, 100, ACK | FIN, "abcd");
	assert_string_equal(seen.text, "<abcd)");
	assert_int_equal(seen.last_frame, 2);
}

/* Whoever sent it, what comes behind it was on the wire. */
static void test_captured_rst(void **state)
{
	(void)state;
	packet(0, 99, SYN, "");
	packet(0, 100, RST, "");
	packet(1, 8, RST | ACK, "");
	packet(0, 100, ACK, "ab");
	assert_string_equal(seen.text, "<ab");
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

/* What is not wanted any more is ended, both directions of it, once. */
static void test_enough(void **state)
{
	(void)state;
	packet(0, 99, SYN, "");
	packet(1, 7, SYN | ACK, "");
	packet(1, 10, ACK, "held");
	packet(0, 102, ACK, "c");
	seen.enough = 1;
	packet(0, 100, ACK, "ab");
	packet(0, 103, ACK | FIN, "d");
	packet(1, 8, ACK, "no");
	assert_string_equal(seen.text, "<[<]ab>");
	streams_finish(streams);
	assert_string_equal(seen.text, "<[<]ab>");
	packet(0, 5000, SYN, "again");
	assert_string_equal(seen.text, "<[<]ab><again");
}

static void test_enough_at_once(void **state)
{
	(void)state;
	seen.enough = 1;
	packet(0, 99, SYN, "no");
	packet(1, 7, SYN | ACK, "no");
	assert_string_equal(seen.text, "<>");
}

/* Connections beyond the limit end the one that was silent longest. */
static void test_many(void **state)
{
	(void)state;
	seen.quiet = true;
	for (int i = 0; i < STREAMS_MAX + 3; i++) {
		uint8_t p[40] = {0x45, [9] = 6, [12] = 10, [16] = 11, [32] = 5 << 4, [33] = SYN};

		p[13] = (uint8_t)(i >> 16);
		p[14] = (uint8_t)(i >> 8);
		p[15] = (uint8_t)i;
		assert_int_equal(streams_packet(streams, p, sizeof(p), ++frame), 0);
	}
	assert_int_equal(seen.begun, STREAMS_MAX + 3);
	assert_int_equal(seen.ended, 3);
	streams_finish(streams);
	assert_int_equal(seen.ended, STREAMS_MAX + 3);
}

static void some_packets(int *ret)
{
	int r = packet_with_ack(0, 99, 0, SYN, "");

	if (!r)
		r = packet_with_ack(0, 103, 0, ACK, "de");
	if (!r)
		r = packet_with_ack(1, 10, 0, ACK, "S");
	if (!r)
		r = packet_with_ack(0, 100, 0, ACK, "abc");
	*ret = r;
}

static void test_no_memory(void **state)
{
	int r = 0;

	(void)state;
	for (unsigned long n = 1;; n++) {
		struct streams *s;

		streams_free(streams);
		streams = NULL;
		seen = (struct seen){.enough = 0};
		alloc_fail_at(n);
		r = streams_new(on_segment, NULL, &s);
		if (!r) {
			streams = s;
			some_packets(&r);
		}
		if (!alloc_failed())
			break;
		alloc_fail_at(0);
		assert_int_equal(r, -ENOMEM);
	}
	alloc_fail_at(0);
	assert_int_equal(r, 0);
	assert_string_equal(seen.text, "<[<][S]abcde");
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
		cmocka_unit_test_setup_teardown(test_both_directions, setup, teardown),
		cmocka_unit_test_setup_teardown(test_acks, setup, teardown),
		cmocka_unit_test_setup_teardown(test_answer_without_syn, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fin, setup, teardown),
		cmocka_unit_test_setup_teardown(test_captured_rst, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ports_used_again, setup, teardown),
		cmocka_unit_test_setup_teardown(test_enough, setup, teardown),
		cmocka_unit_test_setup_teardown(test_enough_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(test_odd_packets, setup, teardown),
	};

	return cmocka_run_group_tests_name("stream", tests, NULL, NULL);
}
