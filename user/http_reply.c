// SPDX-License-Identifier: Apache-2.0
/*
 * An answer as libmicrohttpd holds it: a whole body, or a stream that is read while it is sent; see http_work.h.
 */
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

#include "http_work.h"

/* What a stream is asked for at a time, at most; on a connection kept alive its memory sets a lower limit. */
#define HTTP_BLOCK     (32u << 10)
#define HTTP_ERROR_MAX 400

uint64_t http_now_ms(void)
{
	struct timespec t = {0};

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* ---- error pages ---- */

static size_t error_escape(char *out, const char *text)
{
	static const char hex[] = "0123456789abcdef";
	char *o = out;

	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c < 0x20 || c > 0x7e) {
			/* Shown as \xHH in the decoded text: a byte is not a code point. */
			memcpy(o, "\\\\x", 3);
			o[3] = hex[c >> 4];
			o[4] = hex[c & 15];
			o += 5;
			continue;
		}
		if (c == '"' || c == '\\')
			*o++ = '\\';
		*o++ = (char)c;
	}
	return (size_t)(o - out);
}

int http_reply_error(struct http_reply *ret, unsigned int status, const char *fmt, ...)
{
	static const char before[] = "{\"error\":\"", after[] = "\"}\n";
	char text[HTTP_ERROR_MAX + 1];
	size_t n = sizeof(before) - 1;
	va_list ap;
	char *body;

	va_start(ap, fmt);
	if (vsnprintf(text, sizeof(text), fmt, ap) < 0)
		text[0] = '\0';
	va_end(ap);
	body = malloc(sizeof(before) + sizeof(after) + 5 * strlen(text));
	if (!body)
		return -ENOMEM;
	memcpy(body, before, n);
	n += error_escape(body + n, text);
	memcpy(body + n, after, sizeof(after));
	*ret = (struct http_reply){.status = status,
				   .content_type = "application/json",
				   .body = body,
				   .size = n + sizeof(after) - 1};
	return 0;
}

/* ---- bodies ---- */

void http_reply_done(struct http_reply *reply)
{
	free(reply->body);
	if (reply->stream.free)
		reply->stream.free(reply->stream.data);
	*reply = (struct http_reply){0};
}

/* What libmicrohttpd holds of an answer until it is sent. */
struct http_body {
	struct http_load *load;
	struct http_conn *conn; /* of a stream, or NULL */
	char *text;
	size_t size;
	struct http_stream stream;
};

/* The stream ends here, read or not: what it holds is not the client's any more. */
static void body_drop(void *held)
{
	struct http_body *b = held;

	if (!b->stream.free)
		return;
	b->stream.free(b->stream.data);
	b->stream = (struct http_stream){0};
	b->load->streams--;
}

static void body_free(void *cls)
{
	struct http_body *b = cls;

	if (b->conn && b->conn->held == b)
		http_conn_hold(b->conn, NULL, NULL);
	body_drop(b);
	b->load->reply_bytes -= b->size;
	free(b->text);
	free(b);
}

static ssize_t body_read(void *cls, uint64_t position, char *buf, size_t size)
{
	struct http_body *b = cls;
	size_t n = 0;

	(void)position;
	if (!b->stream.read)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	if (b->conn)
		http_conn_progress(b->conn, http_now_ms());
	if (b->stream.read(b->stream.data, buf, size, &n) < 0) {
		b->load->counts.broken++;
		return MHD_CONTENT_READER_END_WITH_ERROR;
	}
	return n ? (ssize_t)n : MHD_CONTENT_READER_END_OF_STREAM;
}

/* ---- responses ---- */

static bool response_add_headers(struct MHD_Response *response, const struct http_reply *reply)
{
	static const char *const always[][2] = {
		{"X-Content-Type-Options", "nosniff"},
		{"Content-Security-Policy", "default-src 'none'"},
		{"Cache-Control", "no-store"},
		{"Referrer-Policy", "no-referrer"},
		{"X-Frame-Options", "DENY"},
	};
	bool ok = MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE,
					  reply->content_type) == MHD_YES;

	for (size_t i = 0; i < ARRAY_SIZE(always); i++)
		ok = ok && MHD_add_response_header(response, always[i][0], always[i][1]) == MHD_YES;
	if (reply->encoding)
		ok = ok && MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_ENCODING,
						   reply->encoding) == MHD_YES;
	if (reply->vary)
		ok = ok && MHD_add_response_header(response, MHD_HTTP_HEADER_VARY, reply->vary) ==
				   MHD_YES;
	if (reply->status == MHD_HTTP_METHOD_NOT_ALLOWED)
		ok = ok && MHD_add_response_header(response, "Allow", "GET, HEAD") == MHD_YES;
	if (reply->status == MHD_HTTP_SERVICE_UNAVAILABLE)
		ok = ok && MHD_add_response_header(response, "Retry-After", "1") == MHD_YES;
	return ok;
}

static struct MHD_Response *response_of(struct http_body *b)
{
	return b->stream.read ? MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, HTTP_BLOCK,
								  body_read, b, body_free)
			      : MHD_create_response_from_buffer_with_free_callback_cls(
					b->size, b->text, body_free, b);
}

struct MHD_Response *http_response(struct http_load *load, struct http_conn *conn,
				   struct http_reply *reply)
{
	struct http_body *b = calloc(1, sizeof(*b));
	struct MHD_Response *response;

	if (!b) {
		http_reply_done(reply);
		return NULL;
	}
	*b = (struct http_body){.load = load,
				.conn = reply->stream.read ? conn : NULL,
				.text = reply->body,
				.size = reply->size,
				.stream = reply->stream};
	load->reply_bytes += reply->size;
	load->streams += reply->stream.read != NULL;
	response = response_of(b);
	if (!response) {
		body_free(b);
		return NULL;
	}
	/* libmicrohttpd 0.9.75 ends even a body that it does not send with the last chunk. */
	if (reply->head && reply->stream.read)
		MHD_set_response_options(response, MHD_RF_HTTP_VERSION_1_0_ONLY, MHD_RO_END);
	if (!response_add_headers(response, reply)) {
		MHD_destroy_response(response);
		return NULL;
	}
	if (b->conn)
		http_conn_hold(b->conn, body_drop, b);
	return response;
}
