// SPDX-License-Identifier: Apache-2.0
/*
 * How long things took, by the flow code compiled natively with a clock that the test sets: connects, TLS handshakes and
 * requests, each exactly in its bucket and none twice. Knows what the programs count; must not know how.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdlib.h>
#include <cmocka.h>

#include "egress.h"
#include "native.h"

#include "../bpf/answer_cases.h"
#include "../bpf/cases.h"

#define FIN 1
#define SYN 2
#define RST 4
#define ACK 16

#define HEADERS 54 /* Ethernet, IPv4, TCP */

#define MS 1000000ULL
/* Where the clock starts: far from 0, and the connection's 32 bits of it about to wrap. */
#define START ((1ULL << 42) - 500 * MS)

enum { CLIENT, SERVER };

static const uint32_t short_us[] = EA_SHORT_BOUNDS_US, long_us[] = EA_LONG_BOUNDS_US;

static uint64_t now;
static uint32_t seq[2];

static void pass(uint64_t ns)
{
	now += ns;
	native_set_clock(now);
}

static void put32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (24 - 8 * i));
}

/* One packet, in memory of exactly its size. */
static void packet(int from, uint8_t flags, const void *data, size_t size)
{
	uint8_t *p = calloc(1, HEADERS + size);

	assert_non_null(p);
	p[12] = 8;
	p[14] = 0x45;
	p[23] = 6;
	memcpy(p + 26, from == CLIENT ? "\x0a\0\0\1\x0a\0\0\2" : "\x0a\0\0\2\x0a\0\0\1", 8);
	p[from == CLIENT ? 35 : 37] = 99;
	p[from == CLIENT ? 37 : 35] = 80;
	put32(p + 38, seq[from]);
	put32(p + 42, seq[!from]);
	p[46] = 5 << 4;
	p[47] = flags;
	if (size)
		memcpy(p + HEADERS, data, size);
	native_packet(p, HEADERS + size);
	free(p);
	seq[from] += (uint32_t)size + !!(flags & (SYN | FIN));
}

static void says(int from, const char *text)
{
	packet(from, ACK, text, strlen(text));
}

static void begin(uint64_t connect_ns)
{
	native_reset();
	now = START;
	native_set_clock(now);
	seq[CLIENT] = 0xfffffff0;
	seq[SERVER] = 7;
	packet(CLIENT, SYN, NULL, 0);
	packet(SERVER, SYN | ACK, NULL, 0);
	pass(connect_ns);
	packet(CLIENT, ACK, NULL, 0);
}

static void end(void)
{
	packet(CLIENT, RST, NULL, 0);
}

/* One observation, in that bucket, and the sum is its time. */
static void check_one(const char *what, uint64_t sum, const __u64 *n, size_t buckets, size_t want,
		      uint64_t ns)
{
	if (sum != ns)
		fail_msg("%s of %llu ns: sum %llu", what, (unsigned long long)ns,
			 (unsigned long long)sum);
	for (size_t i = 0; i < buckets; i++)
		if (n[i] != (i == want))
			fail_msg("%s of %llu ns: %llu in bucket %zu, want one in %zu", what,
				 (unsigned long long)ns, (unsigned long long)n[i], i, want);
}

#define NONE SIZE_MAX

/* A bucket's number by the meaning of Prometheus' `le`. */
static size_t bucket_of(uint64_t ns, const uint32_t *bounds, size_t n)
{
	size_t i = 0;

	while (i < n && ns > bounds[i] * 1000ULL)
		i++;
	return i;
}

#define SHORT_BUCKET(ns) bucket_of(ns, short_us, EA_SHORT_BUCKETS - 1)
#define LONG_BUCKET(ns)  bucket_of(ns, long_us, EA_LONG_BUCKETS - 1)

/* The times of connects are kept in units of 1,024 ns: just within each bound and just beyond it. */
static void test_connect(void **state)
{
	struct native_counts c;

	(void)state;
	for (size_t i = 0; i < 2 * (EA_SHORT_BUCKETS - 1); i++) {
		uint64_t ns = (short_us[i / 2] * 1000ULL / 1024 + i % 2) * 1024;

		begin(ns);
		native_counted(&c);
		check_one("connect not attributed", c.stats.connect.sum_ns, c.stats.connect.n,
			  EA_SHORT_BUCKETS, NONE, 0);
		pass(77 * MS);
		says(CLIENT, "\1");
		for (int k = 0; k < 3000; k++)
			packet(CLIENT, ACK, "\1", 1);
		end();
		native_counted(&c);
		assert_int_equal(c.stats.opened, 1);
		check_one("connect", c.stats.connect.sum_ns, c.stats.connect.n, EA_SHORT_BUCKETS,
			  i / 2 + i % 2, ns);
	}
}

/* A connection that failed took no time; one whose SYN was repeated is measured from the first. */
static void test_connect_twice(void **state)
{
	struct native_counts c;

	(void)state;
	begin(0);
	native_reset();
	packet(CLIENT, SYN, NULL, 0);
	pass(100 * MS);
	packet(SERVER, RST | ACK, NULL, 0);
	native_counted(&c);
	assert_int_equal(c.stats.failed, 1);
	check_one("refused", c.stats.connect.sum_ns, c.stats.connect.n, EA_SHORT_BUCKETS, NONE, 0);

	native_reset();
	now = START >> 10 << 10;
	native_set_clock(now);
	packet(CLIENT, SYN, NULL, 0);
	pass(1000 * 1024 * 1024);
	seq[CLIENT]--;
	packet(CLIENT, SYN, NULL, 0);
	packet(SERVER, SYN | ACK, NULL, 0);
	pass(1024);
	packet(CLIENT, ACK, NULL, 0);
	end();
	native_counted(&c);
	check_one("repeated SYN", c.stats.connect.sum_ns, c.stats.connect.n, EA_SHORT_BUCKETS,
		  SHORT_BUCKET(1049 * MS), 1000 * 1024 * 1024 + 1024);
}

static void hello(void)
{
	struct stream s = hello_stream(&(struct hello){.sni = "h.example", .versions = true});

	packet(CLIENT, ACK, s.data, 20);
	pass(3 * MS);
	packet(CLIENT, ACK, s.data + 20, s.size - 20);
}

/* From the end of the hello to the first byte of what the server says. */
static void handshake(const char *server, uint64_t ns, size_t want)
{
	struct stream s = answer_stream(server, 0);
	struct native_counts c;

	begin(2 * MS);
	hello();
	pass(ns);
	packet(SERVER, ACK, s.data, s.size ? 1 : 0);
	pass(900 * MS);
	packet(SERVER, ACK, s.data + 1, s.size ? s.size - 1 : 0);
	pass(900 * MS);
	packet(CLIENT, ACK, "\x14\3\3\0\1\1", 6);
	end();
	native_counted(&c);
	check_one(server, c.stats.handshake.sum_ns, c.stats.handshake.n, EA_SHORT_BUCKETS, want,
		  want == NONE ? 0 : ns);
	assert_int_equal(c.stats.opened, 1);
}

static void test_handshake(void **state)
{
	(void)state;
	for (size_t i = 0; i < EA_SHORT_BUCKETS - 1; i++) {
		uint64_t bound = short_us[i] * 1000ULL;

		handshake("new=304 enc=60", bound - 1, i);
		handshake("new=304 enc=60", bound, i);
		handshake("new=304 enc=60", bound + 1, i + 1);
	}
	handshake("hello=303 msg=900", 7 * MS, SHORT_BUCKET(7 * MS));
	handshake("retry ccs new=304", 7 * MS, SHORT_BUCKET(7 * MS)); /* one, of the retry */
	handshake("warn hello=303", 7 * MS, SHORT_BUCKET(7 * MS));
	handshake("hello=303 fatal", 7 * MS, SHORT_BUCKET(7 * MS));
	handshake("fatal", 7 * MS, NONE);
	handshake("text", 7 * MS, NONE);
	handshake("", 7 * MS, NONE);
}

#define GET  "GET / HTTP/1.1" CRLF "Host: a.example" CRLF CRLF
#define HEAD "HEAD / HTTP/1.1" CRLF "Host: a.example" CRLF CRLF

/* All observations so far of codes that begin with that digit. */
static void check_requests(const char *title, int digit, uint64_t count, uint64_t n, uint64_t sum)
{
	struct native_counts c;
	const struct ea_request_stats *q = &c.requests[digit];
	uint64_t found = 0;

	native_counted(&c);
	for (size_t i = 0; i < EA_LONG_BUCKETS; i++)
		found += q->duration.n[i];
	if (q->count != count || found != n || q->duration.sum_ns != sum)
		fail_msg("%s, %d..: %llu requests, %llu times, %llu ns; want %llu, %llu, %llu",
			 title, digit, q->count, (unsigned long long)found, q->duration.sum_ns,
			 (unsigned long long)count, (unsigned long long)n, (unsigned long long)sum);
}

/* Each bound, just within, at it and beyond. */
static void test_bounds(void **state)
{
	struct native_counts c;

	(void)state;
	for (size_t i = 0; i < 3 * (EA_LONG_BUCKETS - 1); i++) {
		uint64_t ns = long_us[i / 3] * 1000ULL + i % 3 - 1;

		begin(0);
		says(CLIENT, GET);
		pass(ns);
		says(SERVER, OK_EMPTY);
		native_counted(&c);
		check_one("request", c.requests[2].duration.sum_ns, c.requests[2].duration.n,
			  EA_LONG_BUCKETS, LONG_BUCKET(ns), ns);
		assert_int_equal(c.requests[2].first_byte_ns, ns);
		end();
		check_requests("at its end", 2, 1, 1, ns);
	}
}

/* The server's words come a second apart, and so does the connection's end. */
struct duration_case {
	const char *title, *client;
	const char *server[8]; /* "FIN" ends its side */
	int digit;
	uint64_t seconds; /* until the end of the answer */
};

static const struct duration_case duration_cases[] = {
	{"no body", GET, {OK_EMPTY, "FIN"}, 2, 1},
	{"HEAD", HEAD, {"HTTP/1.1 200 OK" CRLF "Content-Length: 9" CRLF CRLF, "FIN"}, 2, 1},
	{"204", GET, {"HTTP/1.1 204 No" CRLF "Content-Length: 9" CRLF CRLF, "FIN"}, 2, 1},
	{"304", GET, {"HTTP/1.1 304 No" CRLF "Content-Length: 9" CRLF CRLF, "FIN"}, 3, 1},
	{"a length",
	 GET,
	 {"HTTP/1.1 200 OK" CRLF "Content-Length: 9" CRLF CRLF, "1234", "56789", "FIN"},
	 2,
	 3},
	{"a slow head", GET, {"HTTP/1.1 2", "00 OK" CRLF, "Content-Length: 0" CRLF CRLF}, 2, 3},
	{"chunked",
	 GET,
	 {"HTTP/1.1 200 OK" CRLF "Transfer-Encoding: chunked" CRLF CRLF, "3" CRLF "abc", CRLF "0",
	  CRLF "T: x", CRLF CRLF, "FIN"},
	 2,
	 5},
	{"until close", GET, {"HTTP/1.0 200 OK" CRLF CRLF, "text", "more", "FIN"}, 2, 4},
	{"until close, by a reset", GET, {"HTTP/1.0 200 OK" CRLF CRLF, "text", "more"}, 2, 4},
	{"cut off", GET, {"HTTP/1.1 200 OK" CRLF "Content-Length: 9" CRLF CRLF, "1", "FIN"}, 2, 3},
	{"cut off by a reset",
	 GET,
	 {"HTTP/1.1 200 OK" CRLF "Content-Length: 9" CRLF CRLF, "1"},
	 2,
	 3},
	{"chunks that are none: no end, so the last packet",
	 GET,
	 {"HTTP/1.1 200 OK" CRLF "Transfer-Encoding: chunked" CRLF CRLF, "3" CRLF "abc.",
	  "whatever"},
	 2,
	 3},
	{"interim answers",
	 GET,
	 {"HTTP/1.1 100 Continue" CRLF CRLF, "HTTP/1.1 103 Hints" CRLF CRLF, OK_EMPTY},
	 2,
	 3},
	{"no answer", GET, {NULL}, 0, 1},
	{"no answer, and the server's side ends", GET, {"FIN"}, 0, 2},
	{"half a head", GET, {"HTTP/1.1 200 OK" CRLF, "FIN"}, 0, 3},
	{"CONNECT",
	 "CONNECT a.example:1 HTTP/1.1" CRLF CRLF,
	 {"HTTP/1.1 200 OK" CRLF CRLF, "x", "FIN"},
	 2,
	 1},
	{"CONNECT refused",
	 "CONNECT a.example:1 HTTP/1.1" CRLF CRLF,
	 {"HTTP/1.1 403 No" CRLF "Content-Length: 1" CRLF CRLF, "x", "FIN"},
	 4,
	 2},
	{"an upgrade", GET, {"HTTP/1.1 101 Up" CRLF CRLF, "x", "FIN"}, 1, 1},
};

static void test_durations(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(duration_cases) / sizeof(duration_cases[0]); i++) {
		const struct duration_case *c = &duration_cases[i];

		begin(0);
		says(CLIENT, c->client);
		for (size_t k = 0; c->server[k]; k++) {
			pass(1000 * MS);
			if (strcmp(c->server[k], "FIN") == 0)
				packet(SERVER, FIN | ACK, NULL, 0);
			else
				says(SERVER, c->server[k]);
		}
		pass(1000 * MS);
		end();
		for (int digit = 0; digit < 10; digit++)
			check_requests(c->title, digit, digit == c->digit, digit == c->digit,
				       digit == c->digit ? c->seconds * 1000 * MS : 0);
	}
}

/* Three requests in flight, a second apart, answered in order, the third at the connection's end. */
static void test_pipeline(void **state)
{
	(void)state;
	begin(0);
	for (int i = 0; i < 3; i++) {
		says(CLIENT, GET);
		pass(1000 * MS);
	}
	says(SERVER, "HTTP/1.1 200 OK" CRLF "Content-Length: 3" CRLF CRLF "a");
	check_requests("head of the first", 2, 1, 0, 0);
	pass(1000 * MS);
	says(SERVER, "bcHTTP/1.1 404 No" CRLF "Content-Length: 1" CRLF CRLF);
	check_requests("the first", 2, 1, 1, 4000 * MS);
	check_requests("head of the second", 4, 1, 0, 0);
	pass(1000 * MS);
	says(SERVER, "x");
	check_requests("the second", 4, 1, 1, 4000 * MS);
	pass(5000 * MS);
	end();
	check_requests("the third", 0, 1, 1, 8000 * MS);
}

/* What comes after its end adds nothing: the same answer again, in part or whole. */
static void test_repetition(void **state)
{
	static const char answer[] = "HTTP/1.1 200 OK" CRLF "Content-Length: 3" CRLF CRLF "abc";

	(void)state;
	begin(0);
	says(CLIENT, GET);
	pass(1000 * MS);
	for (int i = 0; i < 3; i++) {
		seq[SERVER] = 8;
		packet(SERVER, ACK, answer, sizeof(answer) - 1);
		pass(1000 * MS);
	}
	end();
	check_requests("answered three times", 2, 1, 1, 1000 * MS);
}

/* An answer whose end is not read, for a hole before it, ended with the last packet before the next request. */
static void test_hole(void **state)
{
	(void)state;
	begin(0);
	says(CLIENT, GET);
	pass(1000 * MS);
	says(SERVER, "HTTP/1.1 200 OK" CRLF "Transfer-Encoding: chunked" CRLF CRLF);
	pass(1000 * MS);
	seq[SERVER] += 100;
	says(SERVER, "0" CRLF CRLF);
	pass(7000 * MS);
	says(CLIENT, GET);
	pass(1000 * MS);
	check_requests("before the next answer", 2, 1, 0, 0);
	says(SERVER, OK_EMPTY);
	check_requests("two", 2, 2, 2, 3000 * MS);
	end();
	check_requests("at the end", 2, 2, 2, 3000 * MS);
}

/* Of more requests than can be remembered the answers are not paired; the one being received still ends. */
static void test_too_many(void **state)
{
	(void)state;
	begin(0);
	says(CLIENT, GET);
	pass(1000 * MS);
	says(SERVER, "HTTP/1.1 200 OK" CRLF "Content-Length: 3" CRLF CRLF "a");
	for (int i = 0; i <= EA_PIPELINE_MAX; i++)
		says(CLIENT, GET);
	pass(1000 * MS);
	says(SERVER, "bc" OK_EMPTY);
	check_requests("the first", 2, 1, 1, 2000 * MS);
	says(SERVER, OK_EMPTY);
	end();
	check_requests("the rest", 2, 1, 1, 2000 * MS);
	check_requests("the rest", 0, 0, 0, 0);
}

static int teardown(void **state)
{
	(void)state;
	native_reset();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_connect, teardown),
		cmocka_unit_test_teardown(test_connect_twice, teardown),
		cmocka_unit_test_teardown(test_handshake, teardown),
		cmocka_unit_test_teardown(test_bounds, teardown),
		cmocka_unit_test_teardown(test_durations, teardown),
		cmocka_unit_test_teardown(test_pipeline, teardown),
		cmocka_unit_test_teardown(test_repetition, teardown),
		cmocka_unit_test_teardown(test_hole, teardown),
		cmocka_unit_test_teardown(test_too_many, teardown),
	};

	return cmocka_run_group_tests_name("times", tests, NULL, NULL);
}
