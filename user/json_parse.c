// SPDX-License-Identifier: Apache-2.0
/*
 * A DestinationList from JSON text; see json.h.
 *
 * Owns: which fields are accepted, and how a wrong one is named. Must not know: where the text
 * comes from; it may come from anybody.
 *
 * Errors stick in struct reader: the first one is kept, reading goes on without effect, and the
 * caller looks once a row.
 */
#include <cjson/cJSON.h>
#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "json.h"
#include "json_tree.h"
#include "name.h"
#include "text.h"
#include "util.h"

#define OUTSIDE_ROWS SIZE_MAX

struct reader {
	size_t row; /* in destinations[], or OUTSIDE_ROWS */
	int error;
	char *why;
};

/* An object in the text and how to call it in messages. */
struct place {
	struct reader *reader;
	const cJSON *object; /* NULL: absent, and everything in it */
	const char *name;    /* "connections." or "" */
};

static void place_fail(const struct place *p, const char *key, int error, const char *why)
{
	struct reader *r = p->reader;
	char row[40] = "";
	int n;

	if (r->error)
		return;
	r->error = error;
	if (error == -ENOMEM)
		return;
	if (r->row != OUTSIDE_ROWS)
		snprintf(row, sizeof(row), "destinations[%zu].", r->row);
	n = asprintf(&r->why, "%s%s%s: %s", row, p->name, key, why);
	if (n < 0)
		r->why = NULL;
}

static const cJSON *place_find(const struct place *p, const char *key)
{
	return p->reader->error ? NULL : cJSON_GetObjectItemCaseSensitive(p->object, key);
}

static struct place place_enter(const struct place *p, const char *key, const char *name)
{
	struct place inner = {.reader = p->reader, .object = place_find(p, key), .name = name};

	if (inner.object && !cJSON_IsObject(inner.object)) {
		place_fail(p, key, -EINVAL, "not an object");
		inner.object = NULL;
	}
	return inner;
}

/* NULL when absent. */
static const cJSON *read_array(const struct place *p, const char *key)
{
	const cJSON *item = place_find(p, key);

	if (item && !cJSON_IsArray(item)) {
		place_fail(p, key, -EINVAL, "not a list");
		return NULL;
	}
	return item;
}

static const char *read_text_item(const struct place *p, const char *key, const cJSON *item)
{
	const char *text = cJSON_GetStringValue(item);

	if (!text)
		place_fail(p, key, -EINVAL, "not a string");
	else if (strlen(text) > JSON_STRING_MAX)
		place_fail(p, key, -EINVAL, "longer than 1024 bytes");
	else
		return text;
	return NULL;
}
_Static_assert(JSON_STRING_MAX == 1024, "the message above");

/* NULL when absent. */
static const char *read_text(const struct place *p, const char *key)
{
	const cJSON *item = place_find(p, key);

	return item ? read_text_item(p, key, item) : NULL;
}

static void read_copy(const struct place *p, const char *key, const char *text, char **ret)
{
	char *copy = p->reader->error ? NULL : strdup(text);

	if (!copy)
		place_fail(p, key, -ENOMEM, NULL);
	*ret = copy;
}

static void read_string(const struct place *p, const char *key, char **ret)
{
	const char *text = read_text(p, key);

	read_copy(p, key, text ? text : "", ret);
}

/* max: at most 2^63. */
static bool is_whole(const cJSON *item, double max)
{
	double v = item->valuedouble;

	return cJSON_IsNumber(item) && v >= 0 && v <= max && (double)(uint64_t)v == v;
}

static uint64_t read_count_item(const struct place *p, const char *key, const cJSON *item)
{
	/* 2^63 as a double is what MODEL_COUNT_MAX is read as. */
	if (!is_whole(item, 0x1p63)) {
		place_fail(p, key, -EINVAL, "not a whole number from 0 to 9223372036854775807");
		return 0;
	}
	return MIN((uint64_t)item->valuedouble, MODEL_COUNT_MAX);
}

static uint64_t read_count(const struct place *p, const char *key)
{
	const cJSON *item = place_find(p, key);

	return item ? read_count_item(p, key, item) : 0;
}

static bool read_bool(const struct place *p, const char *key)
{
	const cJSON *item = place_find(p, key);

	if (item && !cJSON_IsBool(item))
		place_fail(p, key, -EINVAL, "neither true nor false");
	return cJSON_IsTrue(item);
}

static uint64_t read_time(const struct place *p, const char *key)
{
	const char *text = read_text(p, key);
	uint64_t ms = 0;

	if (text && text_parse_time(text, &ms) < 0)
		place_fail(p, key, -EINVAL, "not a time like 2026-01-01T00:00:00Z");
	return ms;
}

/* Read a word of the contract with `parse` into *target, which stays as it is without the field. */
#define READ_WORD(p, key, parse, target)                                           \
	do {                                                                       \
		const char *word_ = read_text(p, key);                             \
                                                                                   \
		if (word_ && parse(word_, target) < 0)                             \
			place_fail(p, key, -EINVAL, "not one of the known words"); \
	} while (0)

/* The same for a list of words as a bit set. */
#define READ_WORDS(p, key, parse, type, target)                                     \
	do {                                                                        \
		const cJSON *item_, *array_ = read_array(p, key);                   \
		type value_;                                                        \
                                                                                    \
		cJSON_ArrayForEach(item_, array_) {                                 \
			const char *word_ = read_text_item(p, key, item_);          \
                                                                                    \
			if (word_ && parse(word_, &value_) == 0)                    \
				*(target) |= 1u << value_;                          \
			else                                                        \
				place_fail(p, key, -EINVAL, "has an unknown word"); \
		}                                                                   \
	} while (0)

static void read_source(const struct place *row, struct source *s)
{
	struct place p = place_enter(row, "source", "source.");

	read_string(&p, "namespace", &s->ns);
	read_string(&p, "workload", &s->workload);
	read_string(&p, "workloadKind", &s->workload_kind);
	read_string(&p, "canonicalService", &s->canonical_service);
	read_string(&p, "canonicalRevision", &s->canonical_revision);
	read_string(&p, "app", &s->app);
	read_string(&p, "version", &s->version);
	read_string(&p, "podUid", &s->pod_uid);
}

/* A name in lower case, an address in its one canonical form, or a word for a sum. */
static void read_host(const struct place *p, struct destination *d)
{
	const char *text = read_text(p, "host");
	uint8_t ip[16];
	char buf[64];

	if (!text) {
		place_fail(p, "host", -EINVAL, "missing");
		return;
	}
	if (address_parse(text, ip) == 0) {
		read_copy(p, "host", address_format(ip, buf, sizeof(buf)), &d->host);
		return;
	}
	if (strcmp(text, MODEL_HOST_OTHER) != 0 && strcmp(text, MODEL_HOST_INVALID) != 0 &&
	    name_classify(text, strlen(text)) != NAME_HOST) {
		place_fail(p, "host", -EINVAL, "neither a host name nor an IP address");
		return;
	}
	read_copy(p, "host", text, &d->host);
	for (char *c = d->host; c && *c; c++)
		*c = (char)(*c >= 'A' && *c <= 'Z' ? *c + ('a' - 'A') : *c);
}

/* Needs d->host. */
static void read_port(const struct place *p, struct destination *d)
{
	const cJSON *item = place_find(p, "port");

	if (!item || !is_whole(item, 65535)) {
		place_fail(p, "port", -EINVAL, "not a number from 0 to 65535");
		return;
	}
	/* 0 is a port that one can try to connect to; it fails, and is counted as that. */
	d->port = (uint16_t)item->valuedouble;
}

/* What protocol and host say by themselves when the field is absent; ~other never has it. */
static enum name_source default_name_source(const struct destination *d)
{
	uint8_t ip[16];

	if (d->host && (strcmp(d->host, MODEL_HOST_OTHER) == 0 || address_parse(d->host, ip) == 0))
		return NAME_SOURCE_IP;
	if (d->protocol == PROTOCOL_HTTP || d->protocol == PROTOCOL_HTTP2)
		return NAME_SOURCE_HTTP;
	if (d->protocol == PROTOCOL_TLS || d->protocol == PROTOCOL_QUIC)
		return NAME_SOURCE_SNI;
	return NAME_SOURCE_DNS;
}

static int transport_parse(const char *word, bool *ret)
{
	*ret = strcmp(word, "udp") == 0;
	return *ret || strcmp(word, "tcp") == 0 ? 0 : -EINVAL;
}

/* Host, port, protocol and the other words. */
static void read_words(const struct place *p, struct destination *d)
{
	enum scope_filter scope = SCOPE_EXTERNAL;
	bool udp = false;

	read_host(p, d);
	read_port(p, d);
	if (!place_find(p, "protocol"))
		place_fail(p, "protocol", -EINVAL, "missing");
	READ_WORD(p, "protocol", model_protocol_parse, &d->protocol);
	READ_WORD(p, "transport", transport_parse, &udp);
	d->name_source = default_name_source(d);
	READ_WORD(p, "nameSource", model_name_source_parse, &d->name_source);
	READ_WORD(p, "scope", model_scope_parse, &scope);
	if (scope == SCOPE_ALL)
		place_fail(p, "scope", -EINVAL, "not one of the known words");
	d->internal = scope == SCOPE_INTERNAL;
	if (d->protocol == PROTOCOL_HTTP || d->protocol == PROTOCOL_HTTP2)
		d->visibility = VISIBILITY_L7;
	READ_WORD(p, "visibility", model_visibility_parse, &d->visibility);
	READ_WORD(p, "registry", model_registry_parse, &d->registry);
	READ_WORD(p, "interception", model_interception_parse, &d->interception);
}

static void read_tls(const struct place *row, struct destination *d)
{
	struct place p = place_enter(row, "tls", "tls.");

	READ_WORDS(&p, "versions", model_tls_version_parse, enum tls_version, &d->tls_versions);
	READ_WORDS(&p, "offered", model_tls_version_parse, enum tls_version, &d->tls_offered);
	READ_WORDS(&p, "alpn", model_alpn_parse, enum alpn, &d->alpn);
	d->ech = read_bool(&p, "ech");
	d->handshakes_failed = read_count(&p, "handshakesFailed");
	d->tls_origination = read_bool(row, "tlsOrigination");
}

static void read_counters(const struct place *row, struct destination *d)
{
	struct place connections = place_enter(row, "connections", "connections.");
	struct place bytes = place_enter(row, "bytes", "bytes.");

	d->opened = read_count(&connections, "opened");
	d->closed = read_count(&connections, "closed");
	d->failed = read_count(&connections, "failed");
	d->sent = read_count(&bytes, "sent");
	d->received = read_count(&bytes, "received");
}

/* An object of counts by status code, all of one method. */
static void read_codes(const struct place *p, const char *key, enum ea_method method,
		       struct destination *d)
{
	struct place codes = place_enter(p, key, "requests.");
	const cJSON *item;

	cJSON_ArrayForEach(item, codes.object) {
		char *end;
		unsigned long code = strtoul(item->string, &end, 10);
		struct request_count add = {
			.code = (uint16_t)code,
			.method = (uint8_t)method,
			.count = read_count_item(&codes, key, item),
		};

		if (!isdigit((unsigned char)item->string[0]) || *end || code > 999 ||
		    (code > 0 && code < 100))
			place_fail(&codes, key, -EINVAL, "has a key that is no status code");
		if (p->reader->error)
			return;
		if (destination_add_requests(d, &add) < 0)
			place_fail(&codes, key, -ENOMEM, NULL);
	}
}

static void read_methods(const struct place *p, struct destination *d)
{
	struct place methods = place_enter(p, "byMethodCode", "requests.byMethodCode.");
	enum ea_method method;
	const cJSON *item;

	cJSON_ArrayForEach(item, methods.object) {
		if (model_method_parse(item->string, &method) < 0)
			place_fail(p, "byMethodCode", -EINVAL, "has an unknown method");
		else
			read_codes(&methods, model_method_name(method), method, d);
	}
}

/* One sum for the row: the first answered code carries it, so that later sums come out right. */
static void read_first_byte(const struct place *p, struct destination *d)
{
	struct place times = place_enter(p, "timeToFirstByte", "requests.timeToFirstByte.");
	const cJSON *sum = place_find(&times, "sumSeconds");

	read_count(&times, "count");
	if (!sum)
		return;
	if (!cJSON_IsNumber(sum) || !(sum->valuedouble >= 0 && sum->valuedouble <= 1e10)) {
		place_fail(&times, "sumSeconds", -EINVAL, "not a number from 0 to 10000000000");
		return;
	}
	for (size_t i = 0; i < d->n_by_code; i++) {
		uint64_t ns = (uint64_t)(sum->valuedouble * 1e9 + 0.5);

		if (d->by_code[i].code) {
			d->by_code[i].first_byte_ns = MIN(ns, MODEL_COUNT_MAX);
			return;
		}
	}
}

static void read_requests(const struct place *row, struct destination *d)
{
	struct place p = place_enter(row, "requests", "requests.");
	uint64_t sum = 0;

	if (place_find(&p, "byMethodCode"))
		read_methods(&p, d);
	else
		read_codes(&p, "byCode", EA_METHOD_OTHER, d);
	read_first_byte(&p, d);
	for (size_t i = 0; i < d->n_by_code; i++)
		sum = model_add(sum, d->by_code[i].count);
	d->requests = MAX(sum, read_count(&p, "total"));
	d->request_bytes = read_count(&p, "requestBytes");
	d->response_bytes = read_count(&p, "responseBytes");
}

/* Their order says which was used last; lastSeen is the best that is known of when. */
static void read_addresses(const struct place *p, struct destination *d)
{
	const cJSON *item, *array = read_array(p, "addresses");
	uint64_t age = 0;
	uint8_t ip[16];

	cJSON_ArrayForEach(item, array) {
		const char *text = read_text_item(p, "addresses", item);

		if (!text || address_parse(text, ip) < 0) {
			place_fail(p, "addresses", -EINVAL, "has something else than IP addresses");
			return;
		}
		if (destination_add_address(d, ip, d->last_ms > age ? d->last_ms - age : 0) < 0)
			place_fail(p, "addresses", -ENOMEM, NULL);
		age++;
	}
}

static void read_row(const struct place *p, struct destination *d)
{
	read_source(p, &d->source);
	read_words(p, d);
	read_tls(p, d);
	read_counters(p, d);
	read_requests(p, d);
	d->first_ms = read_time(p, "firstSeen");
	d->last_ms = read_time(p, "lastSeen");
	read_addresses(p, d);
	READ_WORDS(p, "findings", model_finding_parse, enum finding, &d->findings);
}

static int read_rows(const struct place *top, struct destination_list *list)
{
	const cJSON *item, *array = read_array(top, "destinations");
	struct reader *r = top->reader;
	int e;

	if (!array)
		place_fail(top, "destinations", -EINVAL, "missing");
	cJSON_ArrayForEach(item, array) {
		_cleanup_(destination_done) struct destination d = {0};
		struct place p = {.reader = r, .object = item, .name = ""};

		r->row = list->n;
		if (!cJSON_IsObject(item))
			place_fail(&p, "", -EINVAL, "not an object");
		read_row(&p, &d);
		if (r->error)
			return r->error;
		e = destination_list_add(list, &d);
		if (e < 0)
			return e;
	}
	r->row = OUTSIDE_ROWS;
	return r->error;
}

static int read_list(const cJSON *root, struct reader *r, struct destination_list *list)
{
	struct place top = {.reader = r, .object = root, .name = ""}, limits;
	const char *text = read_text(&top, "kind");

	if (!cJSON_IsObject(root) || !text || strcmp(text, JSON_KIND) != 0)
		place_fail(&top, "kind", -EINVAL, "not " JSON_KIND);
	text = read_text(&top, "apiVersion");
	if (!text || strcmp(text, JSON_API_VERSION) != 0)
		place_fail(&top, "apiVersion", -EINVAL, "not " JSON_API_VERSION);
	read_string(&top, "node", &list->node);
	list->since_ms = read_time(&top, "observedSince");
	list->generated_ms = read_time(&top, "generatedAt");
	limits = place_enter(&top, "limits", "limits.");
	list->destinations_dropped = read_count(&limits, "destinationsDropped");
	list->hosts_folded = read_count(&limits, "hostsFolded");
	return r->error ? r->error : read_rows(&top, list);
}

int json_to_list(const char *text, size_t size, struct destination_list *ret, char **ret_why)
{
	_cleanup_(destination_list_done) struct destination_list list = {0};
	_cleanup_(json_tree_freep) cJSON *root = NULL;
	struct reader reader = {.row = OUTSIDE_ROWS};
	const char *why = "larger than 256 MiB";
	int r = -EFBIG;

	*ret_why = NULL;
	if (size <= JSON_INPUT_MAX) {
		why = NULL;
		r = json_tree_parse(text, size, &root, &why);
	}
	if (r < 0) {
		*ret_why = why ? strdup(why) : NULL;
		return r;
	}
	r = read_list(root, &reader, &list);
	if (r < 0) {
		*ret_why = reader.why;
		return r;
	}
	*ret = list;
	list = (struct destination_list){0};
	return 0;
}
_Static_assert(JSON_INPUT_MAX == 256u << 20, "the message above");
