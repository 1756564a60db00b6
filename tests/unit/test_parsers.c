// SPDX-License-Identifier: Apache-2.0
/* The readers of bpf/, compiled natively under sanitizers, on the table of tests/bpf/cases.h. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdlib.h>
#include <cmocka.h>

#include <linux/types.h>

#include "../../bpf/http.h"
#include "../../bpf/tls.h"
#include "../../bpf/tls_answer.h"

#include "../bpf/answer_cases.h"
#include "../bpf/cases.h"

/* Feed size bytes in pieces: first `head` bytes, then pieces of `rest`. */
struct cut {
	size_t head, rest;
};

/* Hand one piece on from memory of exactly its size, so that a read beyond it is caught. */
static struct ea_bytes piece_new(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);

	assert_non_null(copy);
	memcpy(copy, data, size);
	return (struct ea_bytes){.data = copy, .size = (__u32)size};
}

static size_t piece_size(const struct cut *cut, size_t at, size_t size)
{
	size_t n = at ? cut->rest : cut->head;

	return n < size - at ? n : size - at;
}

static enum ea_verdict run_tls(const struct stream *s, const struct cut *cut, struct ea_tls *t,
			       __u8 *host)
{
	enum ea_verdict v = EA_MORE;

	for (size_t at = 0, n; at < s->size && v == EA_MORE; at += n) {
		struct ea_bytes b;

		n = piece_size(cut, at, s->size);
		b = piece_new(s->data + at, n);
		v = ea_tls_feed(t, &b, (struct ea_cursor){0, (__u32)n}, host);
		free((void *)b.data);
	}
	return v;
}

static void escape(const __u8 *host, size_t len, char *out)
{
	for (size_t i = 0; i < len; i++)
		out += host[i] > ' ' && host[i] < 0x7f ? sprintf(out, "%c", host[i])
						       : sprintf(out, "\\x%02x", host[i]);
	*out = 0;
}

static void check_tls(const struct tls_case *c, const struct stream *s, const struct cut *cut)
{
	__u8 host[EA_HOST_BUF + EA_NAME_CHUNK] __attribute__((aligned(8))) = {0};
	char text[4 * EA_HOST_BUF + 1] = "";
	struct ea_tls t = {0};
	enum ea_verdict v = run_tls(s, cut, &t, host);
	__u32 len;

	if (!*c->name) {
		assert_int_equal(v, EA_NO_NAME);
		return;
	}
	assert_int_equal(v, EA_DONE);
	len = ea_name_finish(host, t.name_len);
	if (*c->name == '~') {
		assert_true(len == 0 || len > EA_HOST_MAX);
		return;
	}
	escape(host, len, text);
	assert_string_equal(text, c->name);
	assert_int_equal(t.facts & EA_FACT_ALPN_H2, c->hello.alpn ? EA_FACT_ALPN_H2 : 0);
	assert_int_equal(!!(t.facts & EA_FACT_ECH), c->hello.ech);
	if (c->hello.versions)
		assert_int_equal(t.facts & 0x1f, EA_FACT_TLS13 | EA_FACT_TLS12);
	else
		assert_int_equal(t.facts & 0x1f, EA_FACT_TLS12);
}

static void test_tls_cases(void **state)
{
	static const size_t rests[] = {STREAM_MAX, 1, 7, 100};

	(void)state;
	for (size_t i = 0; i < sizeof(tls_cases) / sizeof(tls_cases[0]); i++) {
		struct stream s = hello_stream(&tls_cases[i].hello);

		for (size_t k = 0; k < 4; k++)
			check_tls(&tls_cases[i], &s, &(struct cut){rests[k], rests[k]});
		for (size_t at = 1; at < s.size; at++)
			check_tls(&tls_cases[i], &s, &(struct cut){at, STREAM_MAX});
	}
}

/* Returns the last verdict: EA_MORE if the stream ends first. */
static enum ea_verdict run_answer(const struct stream *s, const struct cut *cut,
				  struct ea_answer *a)
{
	enum ea_verdict v = EA_MORE;

	for (size_t at = 0, n; at < s->size && v == EA_MORE; at += n) {
		struct ea_bytes b;

		n = piece_size(cut, at, s->size);
		b = piece_new(s->data + at, n);
		v = ea_answer_feed(a, &b, (struct ea_cursor){0, (__u32)n});
		free((void *)b.data);
	}
	return v;
}

static void check_answer(const struct answer_case *c, const struct cut *cut)
{
	struct stream server = answer_stream(c->server, c->record);
	struct stream client = answer_stream(c->client, c->record);
	struct ea_answer s = {0}, t = {.state = EA_ANSWER_PASS, .begun = 1};
	bool failed = run_answer(&server, cut, &s) == EA_END;

	failed |= run_answer(&client, cut, &t) == EA_END;
	if (s.version != c->version || failed != c->failed)
		fail_msg("%s, cut at %zu then %zu: version %x, failed %d", c->title, cut->head,
			 cut->rest, s.version, failed);
	assert_int_equal(t.version, 0);
}

static void test_answers(void **state)
{
	static const size_t rests[] = {STREAM_MAX, 1, 7, 100};

	(void)state;
	for (size_t i = 0; i < ANSWER_CASES; i++) {
		size_t size = answer_stream(answer_cases[i].server, answer_cases[i].record).size;

		for (size_t k = 0; k < 4; k++)
			check_answer(&answer_cases[i], &(struct cut){rests[k], rests[k]});
		for (size_t at = 1; at < size; at++)
			check_answer(&answer_cases[i], &(struct cut){at, STREAM_MAX});
	}
}

/* Every single byte changed to some others: any verdict, no over-read, and an end. */
static void test_answers_mangled(void **state)
{
	static const uint8_t values[] = {0x00, 0x01, 0x7f, 0x80, 0xff};

	(void)state;
	for (size_t i = 0; i < ANSWER_CASES; i++) {
		struct stream s = answer_stream(answer_cases[i].server, answer_cases[i].record);

		for (size_t at = 0; at < s.size && at < 400; at++) {
			for (size_t k = 0; k < sizeof(values); k++) {
				struct ea_answer a = {0};
				struct stream m = s;

				m.data[at] = values[k];
				run_answer(&m, &(struct cut){at + 1, 3}, &a);
			}
		}
	}
}

/* A side that never ends its plaintext is given up. */
static void test_answer_budget(void **state)
{
	struct stream s = answer_stream("hello=303 msg=8000 msg=8000 msg=500", 0);
	struct ea_answer a = {0};

	(void)state;
	assert_true(s.size > EA_ANSWER_MAX);
	assert_int_equal(run_answer(&s, &(struct cut){100, 100}, &a), EA_BUDGET);
	assert_int_equal(a.version, 0x303);
}

/* A hello cut off anywhere never gives a name that is not whole, and never an over-read. */
static void test_tls_truncated(void **state)
{
	struct stream s =
		hello_stream(&(struct hello){.sni = "cut.example", .alpn = true, .versions = true});

	(void)state;
	for (size_t size = 0; size < s.size; size++) {
		__u8 host[EA_HOST_BUF + EA_NAME_CHUNK] __attribute__((aligned(8))) = {0};
		struct stream part = s;
		struct ea_tls t = {0};

		part.size = size;
		if (run_tls(&part, &(struct cut){STREAM_MAX, 1}, &t, host) == EA_DONE || t.named)
			assert_memory_equal(host, "cut.example", 12);
	}
}

/* Every single byte changed to some others: any verdict, no over-read. */
static void test_tls_mangled(void **state)
{
	static const uint8_t values[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
	struct stream s = hello_stream(
		&(struct hello){.sni = "mangled.example", .alpn = true, .versions = true});

	(void)state;
	for (size_t at = 0; at < s.size; at++) {
		for (size_t k = 0; k < sizeof(values); k++) {
			__u8 host[EA_HOST_BUF + EA_NAME_CHUNK] __attribute__((aligned(8))) = {0};
			struct stream m = s;
			struct ea_tls t = {0};

			m.data[at] = values[k];
			run_tls(&m, &(struct cut){at + 1, 3}, &t, host);
			assert_true(t.name_pos <= EA_HOST_MAX + 1);
		}
	}
}

static void test_tls_not_mine(void **state)
{
	static const char *const streams[] = {"\x16\x02\x00\x00\x05", "\x17\x03\x03\x00\x05",
					      "hello", "\x16\x03\x01\xff\xff",
					      "\x16\x03\x01\x00\x04\x02\x00\x00\x00"};
	static const size_t sizes[] = {5, 5, 5, 5, 9};

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		__u8 host[EA_HOST_BUF + EA_NAME_CHUNK] __attribute__((aligned(8))) = {0};
		struct stream s = {.size = 0};
		struct ea_tls t = {0};

		stream_add(&s, streams[i], sizes[i]);
		assert_int_equal(run_tls(&s, &(struct cut){1, 1}, &t, host), EA_NOT_MINE);
	}
}

/* One direction of HTTP: what flow_http.h and flow_response.h do at each verdict, without maps. */
struct side {
	struct ea_http h;
	__u8 host[EA_HOST_BUF] __attribute__((aligned(8)));
	char heads[64][EA_HOST_BUF + 16]; /* "METHOD host" or the code */
	__u8 methods[64];
	size_t n;
	bool tunnel;
};

static const char *const method_words[EA_METHOD_MAX] = {
	"OTHER", "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"};

static enum ea_verdict request_head(struct side *s)
{
	__u32 len = s->h.flags & EA_HTTP_HOST_DONE ? ea_name_finish(s->host, s->h.host_len) : 0;

	assert_true(s->n < 64);
	s->methods[s->n] = s->h.method;
	snprintf(s->heads[s->n++], sizeof(s->heads[0]), "%s %.*s", method_words[s->h.method],
		 (int)len, s->host);
	memset(s->host, 0, sizeof(s->host));
	return http_begin_body(&s->h);
}

static enum ea_verdict response_head(struct side *s, const struct side *requests)
{
	unsigned int code = (unsigned int)s->h.word;
	__u8 method = s->n < requests->n ? requests->methods[s->n] : EA_METHOD_OTHER;

	if (code < 200 && code != 101)
		return EA_END;
	snprintf(s->heads[s->n++], sizeof(s->heads[0]), "%u", code);
	if (code == 101 || (method == EA_METHOD_CONNECT && code < 300)) {
		s->h.state = EA_HTTP_DEAD;
		return EA_AGAIN;
	}
	if (method == EA_METHOD_HEAD || code == 204 || code == 304)
		return EA_END;
	if (s->h.flags & (EA_HTTP_CHUNKED | EA_HTTP_LENGTH))
		return http_begin_body(&s->h);
	s->h.state = EA_HTTP_UNTIL_CLOSE;
	return EA_AGAIN;
}

static void run_http(struct side *s, const char *stream, size_t size, const struct cut *cut,
		     const struct side *requests)
{
	enum ea_verdict v = EA_MORE;

	for (size_t at = 0, n; at < size && v == EA_MORE; at += n) {
		struct ea_bytes b;

		n = piece_size(cut, at, size);
		b = piece_new((const uint8_t *)stream + at, n);
		s->h.c = (struct ea_cursor){0, (__u32)n};
		s->h.window_len = 0;
		do {
			v = http_step(&s->h, &b, s->host);
			if (v == EA_DONE)
				v = requests ? response_head(s, requests) : request_head(s);
			if (v == EA_END) {
				http_reset(&s->h);
				v = EA_AGAIN;
			}
		} while (v == EA_AGAIN);
		free((void *)b.data);
	}
}

static void check_http(const struct http_case *c, const struct cut *cut)
{
	struct side request = {0}, response = {.h.flags = EA_HTTP_RESPONSE};
	char text[4096] = "";
	size_t len = 0;

	http_reset(&request.h);
	http_reset(&response.h);
	run_http(&request, c->client, strlen(c->client), cut, NULL);
	if (request.n)
		run_http(&response, c->server, strlen(c->server), cut, &request);
	for (size_t i = 0; i < request.n; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s %s", i ? ";" : "",
					request.heads[i], i < response.n ? response.heads[i] : "0");
	if (strcmp(text, c->answers) != 0)
		fail_msg("%s, cut at %zu then %zu: got '%s', want '%s'", c->title, cut->head,
			 cut->rest, text, c->answers);
}

static void test_http_cases(void **state)
{
	static const size_t rests[] = {STREAM_MAX, 1, 7, 100};

	(void)state;
	for (size_t i = 0; i < sizeof(http_cases) / sizeof(http_cases[0]); i++) {
		size_t longest = strlen(http_cases[i].client) + strlen(http_cases[i].server);

		for (size_t k = 0; k < 4; k++)
			check_http(&http_cases[i], &(struct cut){rests[k], rests[k]});
		for (size_t at = 1; at < longest; at++)
			check_http(&http_cases[i], &(struct cut){at, STREAM_MAX});
	}
}

static void test_http_mangled(void **state)
{
	static const char values[] = {0, '\n', '\r', ' ', ':', '[', '@', (char)0xff};

	(void)state;
	for (size_t i = 0; i < sizeof(http_cases) / sizeof(http_cases[0]); i++) {
		size_t size = strlen(http_cases[i].client);
		char copy[STREAM_MAX];

		for (size_t at = 0; at < size; at++) {
			for (size_t k = 0; k < sizeof(values); k++) {
				struct side s = {0};

				memcpy(copy, http_cases[i].client, size);
				copy[at] = values[k];
				run_http(&s, copy, size, &(struct cut){at ? at : 1, 5}, NULL);
			}
		}
	}
}

static void test_name_finish(void **state)
{
	__u8 host[EA_HOST_BUF] __attribute__((aligned(8)));

	(void)state;
	for (unsigned int c = 0; c < 256; c++) {
		memset(host, 0, sizeof(host));
		memset(host, (int)c, 17);
		assert_int_equal(ea_name_finish(host, 17), c == '.' ? 16 : 17);
		for (size_t i = 0; i < (c == '.' ? 16 : 17); i++)
			assert_int_equal(host[i], c >= 'A' && c <= 'Z' ? c + 32 : c);
	}
	assert_int_equal(ea_name_finish(host, 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tls_cases),     cmocka_unit_test(test_tls_truncated),
		cmocka_unit_test(test_tls_mangled),   cmocka_unit_test(test_tls_not_mine),
		cmocka_unit_test(test_answers),       cmocka_unit_test(test_answers_mangled),
		cmocka_unit_test(test_answer_budget), cmocka_unit_test(test_http_cases),
		cmocka_unit_test(test_http_mangled),  cmocka_unit_test(test_name_finish),
	};

	return cmocka_run_group_tests_name("parsers", tests, NULL, NULL);
}
