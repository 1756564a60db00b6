// SPDX-License-Identifier: Apache-2.0
/*
 * A DestinationList as JSON text; see json.h. The way back is json_parse.c.
 *
 * Owns: field names and their order on the way out. Must not know: where the text goes.
 *
 * Written straight into one buffer instead of through a cJSON tree: 65,536 rows would be a tree of
 * 400 MB, and cJSON's numbers are doubles, which hold counters exactly only up to 2^53.
 */
#include <errno.h>
#include <string.h>

#include "json.h"
#include "text.h"
#include "util.h"

static void json_escape_u16(struct text *t, uint32_t v)
{
	static const char hex[] = "0123456789abcdef";
	const char escape[] = {
		'\\', 'u', hex[v >> 12 & 15], hex[v >> 8 & 15], hex[v >> 4 & 15], hex[v & 15],
	};

	text_add(t, escape, sizeof(escape));
}

/* s: one valid UTF-8 sequence of len bytes. Beyond U+FFFF a surrogate pair, RFC 8259 section 7. */
static void json_escape(struct text *t, const char *s, size_t len)
{
	uint32_t v = (unsigned char)s[0];

	if (len > 1)
		v &= 0x7fu >> len;
	for (size_t i = 1; i < len; i++)
		v = v << 6 | ((unsigned char)s[i] & 0x3f);
	if (v > 0xffff) {
		json_escape_u16(t, 0xd800 + ((v - 0x10000) >> 10));
		v = 0xdc00 + ((v - 0x10000) & 0x3ff);
	}
	json_escape_u16(t, v);
}

/*
 * A JSON string in printable ASCII: it may be printed on a terminal, where C1 controls and the
 * marks that reorder text do harm. Bytes that are not UTF-8 (a cgroup's name may hold any) become
 * the text \xHH.
 */
static void json_string(struct text *t, const char *s)
{
	size_t n = strlen(s), len;

	text_add_char(t, '"');
	for (; n; s += len, n -= len) {
		len = text_utf8_len(s, n);
		if (len == 1 && *s >= 0x20 && *s < 0x7f) {
			if (*s == '"' || *s == '\\')
				text_add_char(t, '\\');
			text_add_char(t, *s);
		} else if (len) {
			json_escape(t, s, len);
		} else {
			len = 1;
			text_add_char(t, '\\');
			text_add_hex(t, (unsigned char)*s);
		}
	}
	text_add_char(t, '"');
}

/* ', "key": ' inside an object or array that may have something in it already. */
static void json_comma(struct text *t)
{
	const char *last = t->size ? t->data + t->size - 1 : "{";

	if (*last != '{' && *last != '[')
		text_puts(t, ", ");
}

static void json_key(struct text *t, const char *key)
{
	json_comma(t);
	text_add_char(t, '"');
	text_puts(t, key);
	text_puts(t, "\": ");
}

static void json_field(struct text *t, const char *key, const char *value)
{
	json_key(t, key);
	json_string(t, value);
}

static void json_number(struct text *t, const char *key, uint64_t value)
{
	json_key(t, key);
	text_add_u64(t, value);
}

static void json_bool(struct text *t, const char *key, bool value)
{
	json_key(t, key);
	text_puts(t, value ? "true" : "false");
}

/* Left out when not known. */
static void json_time(struct text *t, const char *key, uint64_t unix_ms)
{
	if (!unix_ms)
		return;
	json_key(t, key);
	text_add_char(t, '"');
	text_add_time(t, unix_ms);
	text_add_char(t, '"');
}

static void json_open(struct text *t, const char *key, char bracket)
{
	json_key(t, key);
	text_add_char(t, bracket);
}

static void json_source(struct text *t, const struct source *s)
{
	json_open(t, "source", '{');
	json_field(t, "namespace", s->ns);
	json_field(t, "workload", s->workload);
	json_field(t, "workloadKind", s->workload_kind);
	json_field(t, "canonicalService", s->canonical_service);
	if (s->canonical_revision[0])
		json_field(t, "canonicalRevision", s->canonical_revision);
	json_field(t, "app", s->app);
	json_field(t, "version", s->version);
	if (s->pod_uid && s->pod_uid[0])
		json_field(t, "podUid", s->pod_uid);
	text_add_char(t, '}');
}

static void json_tls_versions(struct text *t, const char *key, uint32_t bits)
{
	json_open(t, key, '[');
	for (size_t i = 0; i < TLS_VERSION_MAX; i++) {
		if (!(bits & 1u << i))
			continue;
		json_comma(t);
		json_string(t, model_tls_version_name((enum tls_version)i));
	}
	text_add_char(t, ']');
}

static void json_tls(struct text *t, const struct destination *d)
{
	json_open(t, "tls", '{');
	json_tls_versions(t, "versions", d->tls_versions);
	if (!d->sparse)
		json_tls_versions(t, "offered", d->tls_offered);
	json_open(t, "alpn", '[');
	for (size_t i = 0; i < ALPN_MAX; i++) {
		if (!(d->alpn & 1u << i))
			continue;
		json_comma(t);
		json_string(t, model_alpn_name((enum alpn)i));
	}
	text_add_char(t, ']');
	if (!d->sparse)
		json_bool(t, "ech", d->ech);
	json_number(t, "handshakesFailed", d->handshakes_failed);
	text_add_char(t, '}');
}

static void json_connections(struct text *t, const struct destination *d)
{
	json_open(t, "connections", '{');
	json_number(t, "opened", d->opened);
	json_number(t, "closed", d->closed);
	json_number(t, "failed", d->failed);
	json_number(t, "active", destination_active(d));
	text_add_char(t, '}');
	json_open(t, "bytes", '{');
	json_number(t, "sent", d->sent);
	json_number(t, "received", d->received);
	text_add_char(t, '}');
}

static void json_code_key(struct text *t, uint16_t code)
{
	json_comma(t);
	text_add_char(t, '"');
	text_add_u64(t, code);
	text_puts(t, "\": ");
}

/* Entries come sorted by code, so the methods of a code stand together. */
static void json_by_code(struct text *t, const struct destination *d)
{
	json_open(t, "byCode", '{');
	for (size_t i = 0; i < d->n_by_code;) {
		uint16_t code = d->by_code[i].code;
		uint64_t sum = 0;

		for (; i < d->n_by_code && d->by_code[i].code == code; i++)
			sum = model_add(sum, d->by_code[i].count);
		json_code_key(t, code);
		text_add_u64(t, sum);
	}
	text_add_char(t, '}');
}

static void json_by_method(struct text *t, const struct destination *d)
{
	json_open(t, "byMethodCode", '{');
	for (unsigned int method = 0; method < EA_METHOD_MAX; method++) {
		bool open = false;

		for (size_t i = 0; i < d->n_by_code; i++) {
			if (d->by_code[i].method != method)
				continue;
			if (!open)
				json_open(t, model_method_name((enum ea_method)method), '{');
			open = true;
			json_code_key(t, d->by_code[i].code);
			text_add_u64(t, d->by_code[i].count);
		}
		if (open)
			text_add_char(t, '}');
	}
	text_add_char(t, '}');
}

/* Seconds with all nine digits of the sum of nanoseconds. */
static void json_seconds(struct text *t, const char *key, uint64_t ns)
{
	char fraction[10] = ".000000000";

	for (size_t i = sizeof(fraction) - 1, rest = ns % 1000000000; i > 0; i--, rest /= 10)
		fraction[i] = (char)('0' + rest % 10);
	json_key(t, key);
	text_add_u64(t, ns / 1000000000);
	text_add(t, fraction, sizeof(fraction));
}

static void json_first_byte(struct text *t, const struct destination *d)
{
	uint64_t count = 0, ns = 0;

	for (size_t i = 0; i < d->n_by_code; i++) {
		if (d->by_code[i].code == 0)
			continue;
		count = model_add(count, d->by_code[i].count);
		ns = model_add(ns, d->by_code[i].first_byte_ns);
	}
	json_open(t, "timeToFirstByte", '{');
	json_number(t, "count", count);
	json_seconds(t, "sumSeconds", ns);
	text_add_char(t, '}');
}

static void json_requests(struct text *t, const struct destination *d)
{
	json_open(t, "requests", '{');
	json_number(t, "total", d->requests);
	json_by_code(t, d);
	if (d->n_by_code) {
		json_by_method(t, d);
		if (!d->sparse)
			json_first_byte(t, d);
	}
	if (d->request_bytes || d->response_bytes) {
		json_number(t, "requestBytes", d->request_bytes);
		json_number(t, "responseBytes", d->response_bytes);
	}
	text_add_char(t, '}');
}

static void json_addresses(struct text *t, const struct destination *d)
{
	char buf[64];

	json_open(t, "addresses", '[');
	for (size_t i = 0; i < d->n_addresses; i++) {
		json_comma(t);
		json_string(t, address_format(d->addresses[i].ip, buf, sizeof(buf)));
	}
	text_add_char(t, ']');
}

static void json_findings(struct text *t, const struct destination *d)
{
	json_open(t, "findings", '[');
	for (size_t i = 0; i < FINDING_MAX; i++) {
		if (!(d->findings & 1u << i))
			continue;
		json_comma(t);
		json_string(t, model_finding_name((enum finding)i));
	}
	text_add_char(t, ']');
}

static void json_destination(struct text *t, const struct destination *d)
{
	bool quic = d->protocol == PROTOCOL_QUIC;

	text_add_char(t, '{');
	json_source(t, &d->source);
	json_field(t, "host", d->host);
	if (*destination_name_source(d))
		json_field(t, "nameSource", destination_name_source(d));
	json_number(t, "port", d->port);
	json_field(t, "transport", quic || d->protocol == PROTOCOL_UDP ? "udp" : "tcp");
	json_field(t, "protocol", model_protocol_name(d->protocol));
	json_field(t, "scope", d->internal ? "internal" : "external");
	json_field(t, "visibility", model_visibility_name(d->visibility));
	json_field(t, "registry", model_registry_name(d->registry));
	json_field(t, "interception", model_interception_name(d->interception));
	if (quic || d->protocol == PROTOCOL_TLS)
		json_tls(t, d);
	if (!d->sparse && (d->protocol == PROTOCOL_HTTP || d->protocol == PROTOCOL_HTTP2))
		json_bool(t, "tlsOrigination", d->tls_origination);
	json_connections(t, d);
	json_requests(t, d);
	if (!d->sparse)
		json_addresses(t, d);
	json_time(t, "firstSeen", d->first_ms);
	json_time(t, "lastSeen", d->last_ms);
	json_findings(t, d);
	text_add_char(t, '}');
}

static void json_coverage(struct text *t, const struct destination_list *list)
{
	struct coverage c;

	destination_list_coverage(list, &c);
	text_puts(t, " \"coverage\": {");
	json_number(t, "destinations", c.destinations);
	json_number(t, "unknown", c.unknown);
	json_number(t, "named", c.named);
	json_number(t, "l7", c.l7);
	text_add_char(t, '}');
}

int json_from_list(const struct destination_list *list, char **ret_text, size_t *ret_size)
{
	_cleanup_(text_done) struct text t = TEXT_INIT(JSON_INPUT_MAX);

	text_add_char(&t, '{');
	json_field(&t, "apiVersion", JSON_API_VERSION);
	json_field(&t, "kind", JSON_KIND);
	json_field(&t, "node", list->node ? list->node : "");
	json_time(&t, "observedSince", list->since_ms);
	json_time(&t, "generatedAt", list->generated_ms);
	text_puts(&t, ",\n \"destinations\": [");
	for (size_t i = 0; i < list->n; i++) {
		/* One row a line: what diff and grep see is a destination. */
		text_puts(&t, i ? ",\n" : "\n");
		json_destination(&t, &list->items[i]);
	}
	text_puts(&t, "],\n");
	json_coverage(&t, list);
	text_puts(&t, ",\n \"limits\": {");
	json_number(&t, "destinationsDropped", list->destinations_dropped);
	json_number(&t, "hostsFolded", list->hosts_folded);
	text_puts(&t, "}}\n");
	return text_take(&t, ret_text, ret_size);
}
