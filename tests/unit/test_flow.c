// SPDX-License-Identifier: Apache-2.0
/*
 * Whole connections through the flow code compiled natively, under sanitizers: the case table of tests/bpf/cases.h,
 * cut at every byte, with another connection in between. What a packet's names are must depend on neither.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdlib.h>
#include <cmocka.h>

#include "egress.h"
#include "native.h"

#include "../bpf/cases.h"

#define SYN 2
#define RST 4
#define ACK 16

#define HEADERS 54 /* Ethernet, IPv4, TCP */

static char names[4096];

static void on_name(const struct ea_name_event *e, void *data)
{
	size_t len = strlen(names);

	(void)data;
	if (e->source == EA_SOURCE_IP)
		return;
	snprintf(names + len, sizeof(names) - len, "%s%s %.*s", len ? ";" : "",
		 e->proto == EA_PROTO_TLS ? "tls" : "http", (int)e->host_len, e->host);
}

/* One packet of the client's, in memory of exactly its size. */
static void send_packet(uint16_t port, uint32_t *seq, uint8_t flags, const void *data, size_t size)
{
	uint8_t *p = calloc(1, HEADERS + size);

	assert_non_null(p);
	p[12] = 8;
	p[14] = 0x45;
	p[23] = 6;
	memcpy(p + 26, "\x0a\x00\x00\x01\x0a\x00\x00\x02", 8);
	p[34] = (uint8_t)(port >> 8);
	p[35] = (uint8_t)port;
	p[37] = 80;
	for (int i = 0; i < 4; i++)
		p[38 + i] = (uint8_t)(*seq >> (24 - 8 * i));
	p[46] = 5 << 4;
	p[47] = flags;
	if (size)
		memcpy(p + HEADERS, data, size);
	native_packet(p, HEADERS + size);
	free(p);
	*seq += (uint32_t)size + (flags == SYN);
}

/* The stream in pieces of head, then rest bytes; other: a connection whose packets come in between. */
static const char *run(const struct stream *s, size_t head, size_t rest, const struct stream *other)
{
	uint32_t seq = 0xffffff00, other_seq = 1;
	size_t other_at = 0;

	names[0] = 0;
	send_packet(1, &seq, SYN, NULL, 0);
	if (other)
		send_packet(2, &other_seq, SYN, NULL, 0);
	for (size_t at = 0, n; at < s->size; at += n) {
		n = at ? rest : head;
		if (n > s->size - at)
			n = s->size - at;
		send_packet(1, &seq, ACK, s->data + at, n);
		if (other && other_at + 3 <= other->size) {
			send_packet(2, &other_seq, ACK, other->data + other_at, 3);
			other_at += 3;
		}
	}
	send_packet(1, &seq, RST, NULL, 0);
	if (other)
		send_packet(2, &other_seq, RST, NULL, 0);
	return names;
}

static void check_names(const char *title, const struct stream *s, const char *want)
{
	static const size_t rests[] = {STREAM_MAX, 1, 7, 100};
	/* Never finished: it adds no name of its own. */
	struct stream other = {.size = 0};

	stream_add(&other, "GET / HTTP/1.1" CRLF "Host: ", 22);
	while (other.size < 3000)
		stream_add(&other, "a", 1);
	for (size_t k = 0; k < 4; k++)
		if (strcmp(run(s, rests[k], rests[k], NULL), want) != 0 ||
		    strcmp(run(s, rests[k], rests[k], &other), want) != 0)
			fail_msg("%s, in pieces of %zu: '%s', want '%s'", title, rests[k], names,
				 want);
	for (size_t at = 1; at < s->size; at++)
		if (strcmp(run(s, at, STREAM_MAX, at & 1 ? &other : NULL), want) != 0)
			fail_msg("%s, cut at %zu: '%s', want '%s'", title, at, names, want);
}

static void test_preludes(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(prelude_cases) / sizeof(prelude_cases[0]); i++) {
		struct stream s = prelude_stream(&prelude_cases[i]);

		check_names(prelude_cases[i].title, &s, prelude_cases[i].name);
	}
}

static void test_hellos(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(tls_cases) / sizeof(tls_cases[0]); i++) {
		const struct tls_case *c = &tls_cases[i];
		struct stream s = hello_stream(&c->hello);
		char want[512] = "";

		if (s.size > 3000 || strchr(c->name, '\\'))
			continue; /* the parsers' tests have these at every cut */
		if (*c->name)
			snprintf(want, sizeof(want), "tls %s", *c->name == '~' ? "" : c->name);
		check_names(c->title, &s, want);
	}
}

/* The names of an HTTP case, from its answers: "METHOD host code;...". */
static void http_names(const char *answers, char *out)
{
	char copy[1024], *save = NULL;

	snprintf(copy, sizeof(copy), "%s", answers);
	*out = 0;
	for (char *one = strtok_r(copy, ";", &save); one; one = strtok_r(NULL, ";", &save)) {
		char *host = strchr(one, ' ') + 1;

		*strrchr(one, ' ') = 0;
		if (*host)
			out += sprintf(out, "http %s;", host);
	}
	if (out[-1] == ';')
		out[-1] = 0;
}

static void test_requests(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(http_cases) / sizeof(http_cases[0]); i++) {
		struct stream s = {.size = 0};
		char want[2048] = "", *text = want + 1;

		stream_add(&s, http_cases[i].client, strlen(http_cases[i].client));
		http_names(http_cases[i].answers, text);
		check_names(http_cases[i].title, &s, text);
	}
}

static int setup(void **state)
{
	(void)state;
	native_on_name(on_name, NULL);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	native_on_name(NULL, NULL);
	native_reset();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_preludes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hellos, setup, teardown),
		cmocka_unit_test_setup_teardown(test_requests, setup, teardown),
	};

	return cmocka_run_group_tests_name("flow", tests, NULL, NULL);
}
