// SPDX-License-Identifier: Apache-2.0
/*
 * One destination: ownership, order, counters, merging; and addresses as text.
 *
 * Owns: what a struct destination means. Must not know: lists (list.c), words (model_words.c), I/O.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "model.h"
#include "util.h"

/* The order here is the order of comparison. */
static const size_t source_fields[] = {
	offsetof(struct source, ns),
	offsetof(struct source, workload),
	offsetof(struct source, workload_kind),
	offsetof(struct source, canonical_service),
	offsetof(struct source, canonical_revision),
	offsetof(struct source, app),
	offsetof(struct source, version),
	offsetof(struct source, pod_uid),
};
#define SOURCE_FIELDS ARRAY_SIZE(source_fields)
#define SOURCE_CONTRACT_FIELDS \
	2 /* namespace and workload come before the host in the contract's order */
_Static_assert(offsetof(struct source, block) == SOURCE_FIELDS * sizeof(char *),
	       "every field is listed");

/* The strings of equal sources, one behind the other. */
struct source_block {
	size_t references;
	char text[];
};

static char **source_field(struct source *s, size_t i)
{
	return (char **)((char *)s + source_fields[i]);
}

static const char *source_text(const struct source *s, size_t i)
{
	const char *text = *(char *const *)((const char *)s + source_fields[i]);

	return text ? text : "";
}

void source_done(struct source *s)
{
	if (s->block && --s->block->references == 0)
		free(s->block);
	for (size_t i = 0; i < SOURCE_FIELDS && !s->block; i++)
		free(*source_field(s, i));
	*s = (struct source){0};
}

int source_copy(const struct source *from, struct source *ret)
{
	struct source copy = *from;
	size_t size = 0, at = 0;

	if (!copy.block) {
		for (size_t i = 0; i < SOURCE_FIELDS; i++)
			size += strlen(source_text(from, i)) + 1;
		copy.block = malloc(sizeof(*copy.block) + size);
		if (!copy.block)
			return -ENOMEM;
		copy.block->references = 0;
		for (size_t i = 0; i < SOURCE_FIELDS; i++) {
			*source_field(&copy, i) = copy.block->text + at;
			at += (size_t)(stpcpy(copy.block->text + at, source_text(from, i)) -
				       (copy.block->text + at)) +
			      1;
		}
	}
	copy.block->references++;
	*ret = copy;
	return 0;
}

/* Fields from..to-1 only. */
static int source_compare_fields(const struct source *a, const struct source *b, size_t from,
				 size_t to)
{
	int order = 0;

	for (size_t i = from; i < to && order == 0; i++) {
		const char *x = source_text(a, i), *y = source_text(b, i);

		/* Of one block, mostly. */
		order = x == y ? 0 : strcmp(x, y);
	}
	return order;
}

int source_compare(const struct source *a, const struct source *b)
{
	return source_compare_fields(a, b, 0, SOURCE_FIELDS);
}

void destination_done(struct destination *d)
{
	source_done(&d->source);
	free(d->host);
	free(d->by_code);
	free(d->addresses);
	*d = (struct destination){0};
}

uint64_t destination_active(const struct destination *d)
{
	return d->opened > d->closed ? d->opened - d->closed : 0;
}

bool destination_is_sum(const struct destination *d)
{
	return d->host[0] == '~';
}

static bool destination_is_other(const struct destination *d)
{
	return strcmp(d->host, MODEL_HOST_OTHER) == 0;
}

const char *destination_name_source(const struct destination *d)
{
	return destination_is_other(d) ? "" : model_name_source_name(d->name_source);
}

int destination_compare(const struct destination *a, const struct destination *b)
{
	int order = source_compare_fields(&a->source, &b->source, 0, SOURCE_CONTRACT_FIELDS);

	if (order == 0)
		order = strcmp(a->host, b->host);
	if (order == 0)
		order = (a->port > b->port) - (a->port < b->port);
	if (order == 0)
		order = strcmp(model_protocol_name(a->protocol), model_protocol_name(b->protocol));
	if (order == 0 && destination_is_other(a))
		order = (int)a->internal - (int)b->internal;
	if (order == 0)
		order = source_compare_fields(&a->source, &b->source, SOURCE_CONTRACT_FIELDS,
					      SOURCE_FIELDS);
	return order;
}

static int request_compare(const struct request_count *a, const struct request_count *b)
{
	if (a->code != b->code)
		return a->code < b->code ? -1 : 1;
	return (a->method > b->method) - (a->method < b->method);
}

static void times_add(__u64 *into, const __u64 *from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		into[i] = model_add(into[i], from[i]);
}

static void short_times_add(struct ea_short_times *into, const struct ea_short_times *from)
{
	into->sum_ns = model_add(into->sum_ns, from->sum_ns);
	times_add(into->n, from->n, EA_SHORT_BUCKETS);
}

static void request_add(struct request_count *into, const struct request_count *from)
{
	into->count = model_add(into->count, from->count);
	into->first_byte_ns = model_add(into->first_byte_ns, from->first_byte_ns);
	into->duration.sum_ns = model_add(into->duration.sum_ns, from->duration.sum_ns);
	times_add(into->duration.n, from->duration.n, EA_LONG_BUCKETS);
}

int destination_add_requests(struct destination *d, const struct request_count *add)
{
	struct request_count *grown;
	size_t i = 0;

	while (i < d->n_by_code && request_compare(&d->by_code[i], add) < 0)
		i++;
	if (i < d->n_by_code && request_compare(&d->by_code[i], add) == 0) {
		request_add(&d->by_code[i], add);
		return 0;
	}
	grown = realloc(d->by_code, (d->n_by_code + 1) * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	memmove(grown + i + 1, grown + i, (d->n_by_code - i) * sizeof(*grown));
	grown[i] = *add;
	d->by_code = grown;
	d->n_by_code++;
	return 0;
}

/* Both arrays in order into one new array, equal keys summed. */
static int requests_merge(const struct destination *a, const struct destination *b,
			  struct request_count **ret, size_t *ret_n)
{
	size_t i = 0, j = 0, n = 0;
	struct request_count *all;

	all = calloc(a->n_by_code + b->n_by_code + 1, sizeof(*all));
	if (!all)
		return -ENOMEM;
	while (i < a->n_by_code || j < b->n_by_code) {
		int order = i == a->n_by_code   ? 1
			    : j == b->n_by_code ? -1
						: request_compare(&a->by_code[i], &b->by_code[j]);

		all[n] = order <= 0 ? a->by_code[i++] : b->by_code[j];
		if (order == 0)
			request_add(&all[n], &b->by_code[j]);
		if (order >= 0)
			j++;
		n++;
	}
	*ret = all;
	*ret_n = n;
	return 0;
}

/* Latest first; the bytes decide between equal times, so that the order of adding never matters. */
static bool address_before(const struct address *a, const struct address *b)
{
	if (a->last_ms != b->last_ms)
		return a->last_ms > b->last_ms;
	return memcmp(a->ip, b->ip, sizeof(a->ip)) < 0;
}

static int addresses_reserve(struct destination *d, size_t more)
{
	size_t n = MIN(d->n_addresses + more, (size_t)MODEL_ADDRESSES_MAX);
	struct address *grown = n ? realloc(d->addresses, n * sizeof(*grown)) : d->addresses;

	if (n && !grown)
		return -ENOMEM;
	d->addresses = grown;
	return 0;
}

/* There is room for one more, unless there are as many as there may be. */
static void address_insert(struct destination *d, struct address add)
{
	size_t i, n = d->n_addresses;

	for (i = 0; i < n && memcmp(d->addresses[i].ip, add.ip, sizeof(add.ip)) != 0; i++)
		;
	if (i < n) {
		add.last_ms = MAX(add.last_ms, d->addresses[i].last_ms);
		memmove(&d->addresses[i], &d->addresses[i + 1], (n - i - 1) * sizeof(add));
		n--;
	}
	for (i = 0; i < n && address_before(&d->addresses[i], &add); i++)
		;
	if (i == MODEL_ADDRESSES_MAX)
		return;
	if (n == MODEL_ADDRESSES_MAX)
		n--;
	memmove(&d->addresses[i + 1], &d->addresses[i], (n - i) * sizeof(add));
	d->addresses[i] = add;
	d->n_addresses = n + 1;
}

int destination_add_address(struct destination *d, const uint8_t ip[16], uint64_t last_ms)
{
	struct address add = {.last_ms = last_ms};
	int r = addresses_reserve(d, 1);

	if (r < 0)
		return r;
	memcpy(add.ip, ip, sizeof(add.ip));
	address_insert(d, add);
	return 0;
}

/* 0 is "not known", not the year 1970. */
static uint64_t time_first(uint64_t a, uint64_t b)
{
	if (!a || !b)
		return a | b;
	return MIN(a, b);
}

static void destination_merge_facts(struct destination *into, const struct destination *from)
{
	into->name_source = MIN(into->name_source, from->name_source);
	into->internal = into->internal && from->internal;
	into->visibility = MAX(into->visibility, from->visibility);
	into->registry = MAX(into->registry, from->registry);
	into->interception = MAX(into->interception, from->interception);
	into->tls_versions |= from->tls_versions;
	into->tls_offered |= from->tls_offered;
	into->alpn |= from->alpn;
	into->ech |= from->ech;
	into->tls_origination |= from->tls_origination;
	into->findings |= from->findings;
	into->sparse &= from->sparse;
	into->first_ms = time_first(into->first_ms, from->first_ms);
	into->last_ms = MAX(into->last_ms, from->last_ms);
}

static void destination_merge_counters(struct destination *into, const struct destination *from)
{
	into->opened = model_add(into->opened, from->opened);
	into->closed = model_add(into->closed, from->closed);
	into->failed = model_add(into->failed, from->failed);
	into->handshakes_failed = model_add(into->handshakes_failed, from->handshakes_failed);
	short_times_add(&into->connect, &from->connect);
	short_times_add(&into->handshake, &from->handshake);
	into->sent = model_add(into->sent, from->sent);
	into->received = model_add(into->received, from->received);
	into->requests = model_add(into->requests, from->requests);
	into->request_bytes = model_add(into->request_bytes, from->request_bytes);
	into->response_bytes = model_add(into->response_bytes, from->response_bytes);
}

int destination_merge(struct destination *into, const struct destination *from)
{
	struct request_count *all;
	size_t n;
	int r = addresses_reserve(into, from->n_addresses);

	if (r < 0)
		return r;
	if (from->n_by_code) {
		r = requests_merge(into, from, &all, &n);
		if (r < 0)
			return r;
		free(into->by_code);
		into->by_code = all;
		into->n_by_code = n;
	}
	destination_merge_facts(into, from);
	destination_merge_counters(into, from);
	for (size_t i = 0; i < from->n_addresses; i++)
		address_insert(into, from->addresses[i]);
	return 0;
}

static const uint8_t address_mapped[12] = {[10] = 0xff, [11] = 0xff};

const char *address_format(const uint8_t ip[16], char *buf, size_t size)
{
	bool v4 = memcmp(ip, address_mapped, sizeof(address_mapped)) == 0;

	if (!inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? ip + 12 : ip, buf, (socklen_t)size) && size)
		buf[0] = '\0';
	return buf;
}

int address_parse(const char *text, uint8_t ret_ip[16])
{
	uint8_t ip[16];

	if (inet_pton(AF_INET, text, ip + 12) == 1)
		memcpy(ip, address_mapped, sizeof(address_mapped));
	else if (inet_pton(AF_INET6, text, ip) != 1)
		return -EINVAL;
	memcpy(ret_ip, ip, sizeof(ip));
	return 0;
}

int range_parse(const char *text, struct ea_range *ret)
{
	char address[INET6_ADDRSTRLEN];
	const char *slash = strchr(text, '/');
	size_t len = slash ? (size_t)(slash - text) : strlen(text);
	unsigned long bits, most;
	struct ea_range range;
	char *end;

	if (len >= sizeof(address))
		return -EINVAL;
	memcpy(address, text, len);
	address[len] = 0;
	if (address_parse(address, range.addr))
		return -EINVAL;
	most = strchr(address, ':') ? 128 : 32;
	bits = most;
	if (slash) {
		bits = strtoul(slash + 1, &end, 10);
		if (slash[1] < '0' || slash[1] > '9' || *end || bits > most)
			return -EINVAL;
	}
	range.bits = (uint32_t)(bits + 128 - most);
	*ret = range;
	return 0;
}
