/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The case table of the readers: what a client sends, what the server answers, which names must come out. Run
 * against the real object in the kernel (test_bpf.c) and against the same source compiled natively
 * (unit/test_parsers.c), whole and cut in many ways: the answer must not change.
 */
#ifndef CASES_H
#define CASES_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define STREAM_MAX 20000

struct stream {
	uint8_t data[STREAM_MAX];
	size_t size;
};

static inline void stream_add(struct stream *s, const void *data, size_t size)
{
	if (s->size + size > sizeof(s->data)) {
		fprintf(stderr, "test stream too long\n");
		abort();
	}
	memcpy(s->data + s->size, data, size);
	s->size += size;
}

static inline void stream_add_be(struct stream *s, uint32_t value, size_t bytes)
{
	for (size_t i = bytes; i-- > 0;) {
		uint8_t b = (uint8_t)(value >> (8 * i));

		stream_add(s, &b, 1);
	}
}

/* What a ClientHello is made of. */
struct hello {
	const char *sni; /* NULL: no server_name */
	size_t sni_len;  /* 0: strlen(sni) */
	size_t before; /* bytes of opaque extension before server_name (a post-quantum key share) */
	size_t many;   /* empty extensions before server_name */
	size_t session; /* bytes of session id */
	bool alpn;      /* h2, http/1.1 */
	bool versions;  /* supported_versions: GREASE, 1.3, 1.2 */
	bool ech;
	bool no_extensions;
	size_t record; /* bytes per TLS record; 0: one record */
};

static inline void hello_extension(struct stream *s, uint32_t type, const void *data, size_t size)
{
	stream_add_be(s, type, 2);
	stream_add_be(s, (uint32_t)size, 2);
	stream_add(s, data, size);
}

static inline void hello_name(struct stream *s, const struct hello *h)
{
	size_t len = h->sni_len ? h->sni_len : strlen(h->sni);

	stream_add_be(s, 0, 2);
	stream_add_be(s, (uint32_t)len + 5, 2);
	stream_add_be(s, (uint32_t)len + 3, 2);
	stream_add_be(s, 0, 1);
	stream_add_be(s, (uint32_t)len, 2);
	stream_add(s, h->sni, len);
}

static inline void hello_extensions(struct stream *s, const struct hello *h)
{
	static const uint8_t zeros[8192];
	static const uint8_t versions[] = {6, 0x7a, 0x7a, 3, 4, 3, 3};
	static const uint8_t alpn[] = "\x00\x0c\x02h2\x08http/1.1";

	for (size_t i = 0; i < h->many; i++)
		hello_extension(s, 0x5000 + (uint32_t)(i & 0xfff), zeros, 0);
	if (h->before)
		hello_extension(s, 51, zeros, h->before);
	if (h->ech)
		hello_extension(s, 0xfe0d, zeros, 32);
	if (h->sni)
		hello_name(s, h);
	if (h->alpn)
		hello_extension(s, 16, alpn, sizeof(alpn) - 1);
	if (h->versions)
		hello_extension(s, 43, versions, sizeof(versions));
	hello_extension(s, 23, zeros, 0);
}

/* The handshake message, header included. RFC 8446 section 4.1.2. */
static inline void hello_message(struct stream *s, const struct hello *h)
{
	static const uint8_t zeros[256];
	struct stream x = {.size = 0}, body = {.size = 0};

	stream_add_be(&body, 0x0303, 2);
	stream_add(&body, zeros, 32);
	stream_add_be(&body, (uint32_t)h->session, 1);
	stream_add(&body, zeros, h->session);
	stream_add(&body, "\x00\x04\x13\x01\x13\x02\x01\x00", 8);
	if (!h->no_extensions) {
		hello_extensions(&x, h);
		stream_add_be(&body, (uint32_t)x.size, 2);
		stream_add(&body, x.data, x.size);
	}
	stream_add_be(s, 1, 1);
	stream_add_be(s, (uint32_t)body.size, 3);
	stream_add(s, body.data, body.size);
}

static inline struct stream hello_stream(const struct hello *h)
{
	struct stream message = {.size = 0}, s = {.size = 0};
	size_t piece;

	hello_message(&message, h);
	for (size_t at = 0; at < message.size; at += piece) {
		piece = message.size - at;
		if (h->record && piece > h->record)
			piece = h->record;
		stream_add(&s, "\x16\x03\x01", 3);
		stream_add_be(&s, (uint32_t)piece, 2);
		stream_add(&s, message.data + at, piece);
	}
	return s;
}

#define NAME_63 "abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz0"
#define NAME_253                            \
	NAME_63 "." NAME_63 "." NAME_63 "." \
		"abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxy"

/* name: what must come out; "" no name (the address), "~" a name too long to keep. */
struct tls_case {
	const char *title;
	struct hello hello;
	const char *name;
};

static const struct tls_case tls_cases[] = {
	{"plain hello", {.sni = "httpbin.org", .alpn = true, .versions = true}, "httpbin.org"},
	{"upper case and trailing dot", {.sni = "WWW.Example.COM."}, "www.example.com"},
	{"one letter", {.sni = "a"}, "a"},
	{"253 bytes", {.sni = NAME_253, .session = 32}, NAME_253},
	{"253 bytes and a dot", {.sni = NAME_253 "."}, NAME_253},
	{"254 bytes", {.sni = NAME_253 "x"}, "~"},
	{"300 bytes", {.sni = NAME_253 NAME_63}, "~"},
	{"underscore is kept", {.sni = "a_b.example"}, "a_b.example"},
	{"NUL within", {.sni = "a\0b.example", .sni_len = 11}, "a\\x00b.example"},
	{"no server_name", {.alpn = true, .versions = true}, ""},
	{"no extensions at all", {.no_extensions = true}, ""},
	{"key share of 1,216 bytes first",
	 {.sni = "pq.example", .before = 1216, .session = 32},
	 "pq.example"},
	{"8 KB before the name", {.sni = "far.example", .before = 8000}, "far.example"},
	{"1,000 extensions first", {.sni = "many.example", .many = 1000}, "many.example"},
	{"ECH offered", {.sni = "outer.example", .ech = true}, "outer.example"},
	{"records of 1 byte", {.sni = "one.example", .record = 1, .alpn = true}, "one.example"},
	{"records of 7 bytes",
	 {.sni = "seven.example", .record = 7, .before = 500},
	 "seven.example"},
	{"records of 100 bytes",
	 {.sni = "hundred.example", .record = 100, .before = 1216},
	 "hundred.example"},
};

/*
 * answers: what must come out, "METHOD host code" joined by ';'. Code 0: no answer came. An empty host is the
 * address; empty text: not HTTP, or nothing complete.
 */
struct http_case {
	const char *title;
	const char *client;
	const char *server;
	const char *answers;
};

#define CRLF     "\r\n"
#define OK_EMPTY "HTTP/1.1 200 OK" CRLF "Content-Length: 0" CRLF CRLF
#define EVIL     "GET / HTTP/1.1" CRLF "Host: evil.example" CRLF CRLF

static const struct http_case http_cases[] = {
	{"curl's GET",
	 "GET /status/200 HTTP/1.1" CRLF "Host: httpbin.org" CRLF "User-Agent: curl/7.88.1" CRLF
	 "Accept: */*" CRLF CRLF,
	 "HTTP/1.1 200 OK" CRLF "Server: x" CRLF "Content-Length: 5" CRLF CRLF "hello",
	 "GET httpbin.org 200"},
	{"kept alive, two hosts, a port",
	 "GET /a HTTP/1.1" CRLF "Host: A.Example:8080" CRLF CRLF "HEAD /b HTTP/1.1" CRLF
	 "host:b.example." CRLF CRLF "DELETE /c HTTP/1.1" CRLF "Host:  a.example" CRLF CRLF,
	 "HTTP/1.1 200 OK" CRLF "Content-Length: 3" CRLF CRLF "abc"
	 "HTTP/1.1 404 No" CRLF "Content-Length: 99" CRLF CRLF "HTTP/1.1 204 None" CRLF CRLF,
	 "GET a.example 200;HEAD b.example 404;DELETE a.example 204"},
	{"a body that looks like a request",
	 "POST / HTTP/1.1" CRLF "Content-Length: 40" CRLF "Host: p.example" CRLF CRLF EVIL
	 "..GET /2 HTTP/1.1" CRLF "Host: q.example" CRLF CRLF,
	 "HTTP/1.1 201 Made" CRLF "Content-Length: 17" CRLF CRLF "HTTP/1.1 500 no" CRLF
	 "HTTP/1.1 200 OK" CRLF "Content-Length: 0" CRLF CRLF,
	 "POST p.example 201;GET q.example 200"},
	{"chunked both ways, with extensions and trailers",
	 "PUT /x HTTP/1.1" CRLF "Host: c.example" CRLF "Transfer-Encoding: gzip, chunked" CRLF CRLF
	 "26;ext=1" CRLF EVIL CRLF "1" CRLF "x" CRLF "0" CRLF "T: 1" CRLF CRLF "GET / HTTP/1.1" CRLF
	 "Host: d.example" CRLF CRLF,
	 "HTTP/1.1 200 OK" CRLF "transfer-encoding: chunked" CRLF CRLF "A" CRLF "HTTP/1.1 5" CRLF
	 "0" CRLF CRLF "HTTP/1.1 503 Busy" CRLF "Content-Length: 0" CRLF CRLF,
	 "PUT c.example 200;GET d.example 503"},
	{"interim answers, body until close",
	 "PATCH / HTTP/1.1" CRLF "Host: e.example" CRLF "Expect: 100-continue" CRLF
	 "Content-Length: 2" CRLF CRLF "ab",
	 "HTTP/1.1 100 Continue" CRLF CRLF "HTTP/1.1 103 Hints" CRLF "Link: x" CRLF CRLF
	 "HTTP/1.0 200 OK" CRLF CRLF "until the end HTTP/1.1 500",
	 "PATCH e.example 200"},
	{"304 and 204 have no body",
	 "GET / HTTP/1.1" CRLF "Host: f.example" CRLF CRLF "GET / HTTP/1.1" CRLF
	 "Host: f.example" CRLF CRLF,
	 "HTTP/1.1 304 Not" CRLF "Content-Length: 77" CRLF CRLF "HTTP/1.1 204 No" CRLF
	 "Content-Length: 77" CRLF CRLF,
	 "GET f.example 304;GET f.example 204"},
	{"absolute-form wins over Host",
	 "GET http://User@G.example:81/p HTTP/1.1" CRLF "Host: other.example" CRLF CRLF,
	 "HTTP/1.1 302 Found" CRLF "Content-Length: 0" CRLF CRLF, "GET g.example 302"},
	{"CONNECT", "CONNECT h.example:443 HTTP/1.1" CRLF "Host: h.example:443" CRLF CRLF,
	 "HTTP/1.1 200 Connection established" CRLF CRLF "\x16\x03\x03", "CONNECT h.example 200"},
	{"upgrade ends the reading",
	 "GET /ws HTTP/1.1" CRLF "Host: i.example" CRLF "Upgrade: websocket" CRLF CRLF
	 "\x81\x05hello",
	 "HTTP/1.1 101 Switching" CRLF CRLF "\x81\x02hi", "GET i.example 101"},
	{"no Host", "GET / HTTP/1.0" CRLF "X: y" CRLF CRLF, "HTTP/1.0 200 OK" CRLF CRLF "body",
	 "GET  200"},
	{"IPv6 literal", "GET / HTTP/1.1" CRLF "Host: [2001:db8::1]:80" CRLF CRLF,
	 "HTTP/1.1 200 OK" CRLF "Content-Length: 0" CRLF CRLF, "GET 2001:db8::1 200"},
	{"bare line feeds, empty lines first, odd method",
	 CRLF "\nPURGE /x HTTP/1.1\nHost: j.example\n\n", "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
	 "OTHER j.example 200"},
	{"a space in the target", "GET /a b HTTP/1.1" CRLF "Host: k.example" CRLF CRLF,
	 "HTTP/1.1 400 Bad" CRLF "Content-Length: 0" CRLF CRLF, "GET k.example 400"},
	{"names that only begin like the ones read",
	 "GET / HTTP/1.1" CRLF "Hosts: no.example" CRLF "Content-Lengthy: 9" CRLF
	 "Host: l.example" CRLF CRLF,
	 "HTTP/1.1 200 OK" CRLF "Content-Length: 0" CRLF CRLF, "GET l.example 200"},
	{"no answer", "GET / HTTP/1.1" CRLF "Host: m.example" CRLF CRLF, "", "GET m.example 0"},
	{"not HTTP: a mail greeting", "EHLO client.example" CRLF, "250 ok" CRLF, ""},
	{"not HTTP: a binary protocol", "\x01\x02\x03\x04", "\x05", ""},
	{"head cut off", "GET / HTTP/1.1" CRLF "Host: n.example" CRLF, "", ""},
	{"the first of several Hosts",
	 "GET / HTTP/1.1" CRLF "Host: o.example" CRLF "Host: evil.example" CRLF CRLF, OK_EMPTY,
	 "GET o.example 200"},
	{"an empty Host before one that is not",
	 "GET / HTTP/1.1" CRLF "Host:" CRLF "Host: o.example" CRLF CRLF, OK_EMPTY,
	 "GET o.example 200"},
	{"folded Host",
	 "GET / HTTP/1.1" CRLF "Host:" CRLF " " CRLF "\to.example" CRLF "X: y" CRLF
	 " Host: evil.example" CRLF CRLF,
	 OK_EMPTY, "GET o.example 200"},
	{"folded Content-Length and Transfer-Encoding",
	 "POST / HTTP/1.1" CRLF "Host: o.example" CRLF "Content-Length:" CRLF " 40" CRLF CRLF EVIL
	 "..PUT / HTTP/1.1" CRLF "Transfer-Encoding: gzip," CRLF "\tchunked" CRLF
	 "Host: p.example" CRLF CRLF "0" CRLF CRLF "GET / HTTP/1.1" CRLF
	 "Host: q.example" CRLF CRLF,
	 OK_EMPTY OK_EMPTY OK_EMPTY, "POST o.example 200;PUT p.example 200;GET q.example 200"},
	{"negative Content-Length: nobody knows where the next request begins",
	 "POST / HTTP/1.1" CRLF "Host: o.example" CRLF "Content-Length: -1" CRLF CRLF EVIL,
	 OK_EMPTY, "POST o.example 200"},
	{"any token is a method", "X-!#$%&'*+.^_`|~ / HTTP/1.0" CRLF "Host: o.example" CRLF CRLF,
	 OK_EMPTY, "OTHER o.example 200"},
	{"a target without a slash", "GET index HTTP/1.1" CRLF "Host: o.example" CRLF CRLF,
	 OK_EMPTY, "GET o.example 200"},
	{"no version, or half of one",
	 "GET /x" CRLF "Host: o.example" CRLF CRLF "OPTIONS" CRLF "Host: p.example" CRLF CRLF
	 "HEAD / HTTP/1." CRLF "Accept: a b" CRLF "Host: q.example" CRLF CRLF,
	 OK_EMPTY OK_EMPTY OK_EMPTY, "GET o.example 200;OPTIONS p.example 200;HEAD q.example 200"},
	{"Icecast's SOURCE", "SOURCE /radio ICE/1.0" CRLF "Host: o.example" CRLF CRLF, OK_EMPTY,
	 "OTHER o.example 200"},
	{"HTTP/0.9 has no name", "GET /x" CRLF CRLF, "text", ""},
	{"not HTTP: RTSP",
	 "OPTIONS rtsp://evil.example/ RTSP/1.0" CRLF "Host: evil.example" CRLF CRLF, "", ""},
	{"not HTTP: SIP", "NOTIFY sip:evil.example SIP/2.0" CRLF "Host: evil.example" CRLF CRLF, "",
	 ""},
	{"not HTTP: STOMP", "CONNECT\naccept-version:1.2\nhost:evil.example\n\n", "", ""},
	{"PROXY protocol, version 1",
	 "PROXY TCP4 192.0.2.1 192.0.2.2 1 80" CRLF "GET / HTTP/1.1" CRLF
	 "Host: o.example" CRLF CRLF,
	 OK_EMPTY, "GET o.example 200"},
};

/*
 * What a client says before its name. The stream is `before`, then a hello for "behind.example" (in records of `record`
 * bytes; 0: one) or the request `request`.
 */
struct prelude_case {
	const char *title;
	const char *before;
	size_t size; /* of before */
	const char *request;
	size_t record;
	const char *name; /* "protocol host", ';' between several */
};

#define BEHIND      "tls behind.example"
#define BYTES(text) text, sizeof(text) - 1
#define PROXY_V2    "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\2\1\xc0\0\2\2\0\1\1\xbb"
#define REQUEST     "GET / HTTP/1.1" CRLF "Host: behind.example" CRLF CRLF

static const struct prelude_case prelude_cases[] = {
	{"PostgreSQL", BYTES("\0\0\0\x08\x04\xd2\x16\x2f"), NULL, 0, BEHIND},
	{"PostgreSQL, tiny records", BYTES("\0\0\0\x08\x04\xd2\x16\x2f"), NULL, 1, BEHIND},
	{"MySQL",
	 BYTES("\x20\0\0\1\x85\xae\xff\x19\0\0\0\1\x2d\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
	       "\0\0\0\0\0"),
	 NULL, 0, BEHIND},
	{"SMTP", BYTES("EHLO client.example" CRLF "STARTTLS" CRLF), NULL, 0, BEHIND},
	{"SMTP, records of 5 bytes", BYTES("EHLO client.example" CRLF "STARTTLS" CRLF), NULL, 5,
	 BEHIND},
	{"IMAP", BYTES("a001 CAPABILITY" CRLF "a002 STARTTLS" CRLF), NULL, 7, BEHIND},
	{"POP3", BYTES("CAPA" CRLF "STLS" CRLF), NULL, 0, BEHIND},
	{"FTP", BYTES("AUTH TLS" CRLF), NULL, 0, BEHIND},
	{"NNTP", BYTES("CAPABILITIES" CRLF "STARTTLS" CRLF), NULL, 0, BEHIND},
	{"Sieve", BYTES("STARTTLS" CRLF), NULL, 0, BEHIND},
	{"LDAP",
	 BYTES("\x30\x1d\2\1\1\x77\x18\x80\x16"
	       "1.3.6.1.4.1.1466.20037"),
	 NULL, 0, BEHIND},
	{"XMPP",
	 BYTES("<?xml version='1.0'?><stream:stream to='evil.example' version='1.0' "
	       "xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
	       "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"),
	 NULL, 0, BEHIND},
	{"IRC", BYTES("CAP LS 302" CRLF "STARTTLS" CRLF), NULL, 0, BEHIND},
	{"RDP",
	 BYTES("\3\0\0\x2b\x26\xe0\0\0\0\0\0"
	       "Cookie: mstshash=user" CRLF "\1\0\x08\0\3\0\0\0"),
	 NULL, 0, BEHIND},
	{"PROXY 1", BYTES("PROXY TCP4 192.0.2.1 192.0.2.2 1 443" CRLF), NULL, 0, BEHIND},
	{"PROXY 1, unknown", BYTES("PROXY UNKNOWN" CRLF), NULL, 1, BEHIND},
	{"PROXY 2", BYTES(PROXY_V2), NULL, 1, BEHIND},
	{"PROXY 2, HTTP", BYTES(PROXY_V2), REQUEST, 0, "http behind.example"},
	{"SOCKS 4", BYTES("\4\1\1\xbb\xc0\0\2\1user\0"), NULL, 0, BEHIND},
	{"SOCKS 4A", BYTES("\4\1\1\xbb\0\0\0\1\0evil.example\0"), NULL, 1, BEHIND},
	{"SOCKS 4A, HTTP", BYTES("\4\1\0\x50\0\0\0\1\0evil.example\0"), REQUEST, 0,
	 "http behind.example"},
	{"SOCKS 5, IPv4", BYTES("\5\1\0\5\1\0\1\xc0\0\2\1\1\xbb"), NULL, 0, BEHIND},
	{"SOCKS 5, password, name, HTTP",
	 BYTES("\5\2\0\2\1\4user\4pass\5\1\0\3\x0c"
	       "evil.example\0\x50"),
	 REQUEST, 0, "http behind.example"},
	{"SOCKS 5, IPv6", BYTES("\5\1\0\5\1\0\4\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1\1\xbb"), NULL,
	 1, BEHIND},
	{"PROXY 2, then SOCKS 5", BYTES(PROXY_V2 "\5\1\0\5\1\0\1\xc0\0\2\1\1\xbb"), NULL, 0,
	 BEHIND},
	{"CONNECT", BYTES("CONNECT proxied.example:443 HTTP/1.1" CRLF CRLF), NULL, 0,
	 "http proxied.example;" BEHIND},
	{"CONNECT, tiny records", BYTES("CONNECT proxied.example:443 HTTP/1.1" CRLF CRLF), NULL, 1,
	 "http proxied.example;" BEHIND},
	{"CONNECT, then SMTP",
	 BYTES("CONNECT mail.example:25 HTTP/1.1" CRLF CRLF "EHLO a" CRLF "STARTTLS" CRLF), NULL, 0,
	 "http mail.example;" BEHIND},
	/* Found by the fuzzer: a line's end, where a packet may end too, then what is no hello after all. */
	{"CONNECT, then a line and a record of something else",
	 BYTES("CONNECT mail.example:25 HTTP/1.1" CRLF CRLF "EHLO a\r?\n\x16\3\1\0\x37\x37"), NULL,
	 0, "http mail.example;" BEHIND},
	{"CONNECT, then HTTP", BYTES("CONNECT proxied.example:80 HTTP/1.1" CRLF CRLF), REQUEST, 0,
	 "http proxied.example;http behind.example"},
	{"PROXY 1, then CONNECT",
	 BYTES("PROXY TCP4 192.0.2.1 192.0.2.2 1 443" CRLF
	       "CONNECT proxied.example:443 HTTP/1.1" CRLF CRLF),
	 NULL, 0, "http proxied.example;" BEHIND},
	{"line ends before a request", BYTES("\r\n\n\r\n"), REQUEST, 0, "http behind.example"},
	{"a header that is none", BYTES("\5\0\x0b\3\x10\0\0\0"), NULL, 0, BEHIND},
};

static inline struct stream prelude_stream(const struct prelude_case *c)
{
	struct stream s = {.size = 0}, hello;

	stream_add(&s, c->before, c->size);
	if (c->request) {
		stream_add(&s, c->request, strlen(c->request));
		return s;
	}
	hello = hello_stream(&(struct hello){.sni = "behind.example", .record = c->record});
	stream_add(&s, hello.data, hello.size);
	return s;
}

#endif
