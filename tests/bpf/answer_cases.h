/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What may follow a ClientHello in the clear: the server's side, the client's, and what must be read of it. Run in the
 * kernel (test_bpf.c) and natively (unit/test_parsers.c), whole and cut, as cases.h.
 */
#ifndef ANSWER_CASES_H
#define ANSWER_CASES_H

#include <stdlib.h>

#include "cases.h"

/*
 * A side is a list of records, WORD or WORD=NUMBER:
 *   hello=V   ServerHello of version V (hexadecimal, as on the wire); old=V: without extensions; broken=V: an
 *             extension goes beyond the message; cert=V: a certificate of 5,000 bytes in the same record
 *   new=V     ServerHello whose supported_versions says V; retry: HelloRetryRequest
 *   msg=N     another handshake message of N bytes
 *   ccs       ChangeCipherSpec; enc=N: application data of N bytes; fatal, warn: alerts; text: no TLS
 *
 * version: what the server chose, 0 if it cannot be known; failed: an alert ended the handshake.
 */
struct answer_case {
	const char *title, *server, *client; /* the client's records follow the server's */
	unsigned int version;
	bool failed;
	size_t record; /* bytes per record of handshake messages; 0: one */
};

static const struct answer_case answer_cases[] = {
	{"1.3", "new=304 ccs enc=2000", "ccs enc=60", 0x304, false, 0},
	{"1.3 without compatibility", "new=304 enc=2000", "enc=60", 0x304, false, 0},
	{"1.2", "hello=303 msg=3000 msg=4", "msg=70 ccs enc=60", 0x303, false, 0},
	{"1.2 in one record", "cert=303", "msg=70 ccs enc=60", 0x303, false, 0},
	{"1.2, resumed", "hello=303 ccs enc=40", "ccs enc=60", 0x303, false, 0},
	{"1.1", "hello=302 msg=900", "msg=70 ccs", 0x302, false, 0},
	{"1.0 without extensions", "old=301 msg=900", "msg=70 ccs", 0x301, false, 0},
	{"SSL 3.0", "old=300 msg=900", "msg=70 ccs", 0x300, false, 0},
	{"1.3 after a retry", "retry ccs new=304 enc=900", "ccs enc=60", 0x304, false, 0},
	{"refused after a retry", "retry ccs fatal", "", 0x304, true, 0},
	{"refused", "fatal", "", 0, true, 0},
	{"a warning, then 1.2", "warn hello=303 msg=900", "msg=70 ccs", 0x303, false, 0},
	{"a warning, then the end", "warn", "", 0, false, 0},
	{"refused behind the hello", "hello=303 msg=900 fatal", "", 0x303, true, 0},
	{"refused by the client", "hello=303 msg=900", "fatal", 0x303, true, 0},
	{"refused by the client, late", "hello=303 msg=900", "msg=70 fatal", 0x303, true, 0},
	{"an encrypted alert is none", "new=304 ccs enc=19", "enc=19", 0x304, false, 0},
	{"no TLS", "text", "", 0, false, 0},
	{"no answer", "", "", 0, false, 0},
	{"a message that is no hello", "msg=50", "ccs", 0, false, 0},
	{"a broken hello", "broken=303", "ccs", 0, false, 0},
	{"1.3 in tiny records", "new=304 ccs enc=90", "ccs enc=60", 0x304, false, 1},
	{"a retry in small records", "retry ccs new=304 ccs", "ccs enc=60", 0x304, false, 7},
};
#define ANSWER_CASES (sizeof(answer_cases) / sizeof(answer_cases[0]))

static const uint8_t answer_zeros[8192];

/* A handshake message with this content. */
static inline void answer_add_message(struct stream *s, uint32_t type, const void *data,
				      size_t size)
{
	stream_add_be(s, type, 1);
	stream_add_be(s, (uint32_t)size, 3);
	stream_add(s, data, size);
}

/* RFC 8446 section 4.1.3, with the random that makes it a retry if asked. */
static inline void answer_hello(struct stream *s, const char *word, unsigned int version)
{
	static const uint8_t retry[] = {0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11,
					0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
					0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e,
					0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c};
	bool is_retry = strcmp(word, "retry") == 0, chosen = is_retry || strcmp(word, "new") == 0;
	struct stream x = {.size = 0}, body = {.size = 0};

	stream_add_be(&body, chosen ? 0x303 : version, 2);
	stream_add(&body, is_retry ? retry : answer_zeros, 32);
	stream_add_be(&body, 32, 1);
	stream_add(&body, answer_zeros, 32);
	stream_add(&body, "\x13\x01\x00", 3);
	hello_extension(&x, 51, answer_zeros, 36);
	if (chosen)
		hello_extension(&x, 43, "\x03\x04", 2);
	if (strcmp(word, "broken") == 0)
		stream_add(&x, "\x00\x2b\x7f\xff\x03\x04", 6);
	if (strcmp(word, "old") != 0) {
		stream_add_be(&body, (uint32_t)x.size, 2);
		stream_add(&body, x.data, x.size);
	}
	answer_add_message(s, 2, body.data, body.size);
	if (strcmp(word, "cert") == 0)
		answer_add_message(s, 11, answer_zeros, 5000);
}

static inline void answer_record(struct stream *s, unsigned int type, const void *data, size_t size)
{
	stream_add_be(s, type, 1);
	stream_add_be(s, 0x303, 2);
	stream_add_be(s, (uint32_t)size, 2);
	stream_add(s, data, size);
}

/* A record that carries no handshake message. False if the word is none of these. */
static inline bool answer_other(struct stream *s, const char *word, size_t number)
{
	if (strcmp(word, "ccs") == 0)
		answer_record(s, 20, "\x01", 1);
	else if (strcmp(word, "fatal") == 0)
		answer_record(s, 21, "\x02\x28", 2);
	else if (strcmp(word, "warn") == 0)
		answer_record(s, 21, "\x01\x70", 2);
	else if (strcmp(word, "enc") == 0)
		answer_record(s, 23, answer_zeros, number);
	else if (strcmp(word, "text") == 0)
		stream_add(s, "HTTP/1.1 400 Bad Request\r\n\r\n", 28);
	else
		return false;
	return true;
}

static inline struct stream answer_stream(const char *records, size_t record)
{
	struct stream s = {.size = 0};
	char copy[256], *save = NULL;

	snprintf(copy, sizeof(copy), "%s", records);
	for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		char *number = strchr(word, '=');
		struct stream m = {.size = 0};

		if (number)
			*number++ = 0;
		if (answer_other(&s, word, number ? strtoul(number, NULL, 10) : 0))
			continue;
		if (strcmp(word, "msg") == 0)
			answer_add_message(&m, 11, answer_zeros, strtoul(number, NULL, 10) - 4);
		else
			answer_hello(&m, word,
				     number ? (unsigned int)strtoul(number, NULL, 16) : 0);
		for (size_t at = 0, n; at < m.size; at += n) {
			n = record && record < m.size - at ? record : m.size - at;
			answer_record(&s, 22, m.data + at, n);
		}
	}
	return s;
}

#endif
