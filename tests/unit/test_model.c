// SPDX-License-Identifier: Apache-2.0
/*
 * model.c, model_words.c, list.c: words, order, counters, merging, judging, selecting, sorting.
 *
 * Owns: random lists that must merge the same way in any order. Must not know: JSON, metrics.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "alloc.h"
#include "made.h"
#include "model.h"
#include "util.h"

/* The same numbers on every machine and run. */
static uint32_t random_state;

static uint32_t random_below(uint32_t n)
{
	random_state = random_state * 1664525 + 1013904223;
	return (random_state >> 8) % n;
}

static void add(struct destination_list *list, struct destination d)
{
	assert_int_equal(destination_list_add(list, &d), 0);
	assert_null(d.host);
}

/* The strings of a source may be shared, so it is made anew. */
static void set_source(struct source *s, size_t field, const char *text)
{
	struct source from = *s, changed;

	from.block = NULL;
	*(const char **)((char *)&from + field) = text;
	assert_int_equal(source_copy(&from, &changed), 0);
	source_done(s);
	*s = changed;
}

static void random_address(struct destination *d)
{
	uint8_t ip[16] = {[10] = 0xff, [11] = 0xff, [12] = 10, [15] = (uint8_t)random_below(40)};

	destination_add_address(d, ip, random_below(30));
}

static int add_requests(struct destination *d, uint16_t code, enum ea_method method, uint64_t count,
			uint64_t first_byte_ns)
{
	struct request_count add = {code, (uint8_t)method, count, first_byte_ns, {count, {0}}};

	add.duration.n[count % EA_LONG_BUCKETS] = count;
	return destination_add_requests(d, &add);
}

static struct destination random_destination(void)
{
	static const char *const names[] = {"", "a", "b", "ab"};
	static const char *const hosts[] = {"a.example", "b.example", "1.2.3.4", MODEL_HOST_OTHER,
					    MODEL_HOST_INVALID};
	struct destination d = made_row(
		names[random_below(2)], names[random_below(3)], hosts[random_below(5)],
		(uint16_t)(random_below(2) ? 443 : 80), (enum protocol)random_below(PROTOCOL_MAX));

	set_source(&d.source, offsetof(struct source, version), names[random_below(2)]);
	d.name_source = (enum name_source)random_below(NAME_SOURCE_MAX);
	d.internal = random_below(2);
	d.visibility = (enum visibility)random_below(VISIBILITY_MAX);
	d.registry = (enum registry)random_below(REGISTRY_MAX);
	d.interception = (enum interception)random_below(INTERCEPTION_MAX);
	d.tls_versions = random_below(1u << TLS_VERSION_MAX);
	d.tls_offered = random_below(1u << TLS_VERSION_MAX);
	d.alpn = random_below(1u << ALPN_MAX);
	d.ech = random_below(2);
	d.tls_origination = random_below(2);
	d.opened = random_below(1000);
	d.closed = random_below(1000);
	d.failed = random_below(10) ? random_below(1000) : MODEL_COUNT_MAX - random_below(1000);
	d.handshakes_failed = random_below(1000);
	d.connect.sum_ns = random_below(1000);
	d.connect.n[random_below(EA_SHORT_BUCKETS)] = random_below(10);
	d.handshake.sum_ns = random_below(1000);
	d.handshake.n[random_below(EA_SHORT_BUCKETS)] = random_below(10);
	d.sent = random_below(100000);
	d.received = random_below(100000);
	d.requests = random_below(1000);
	d.request_bytes = random_below(1000);
	d.response_bytes = random_below(1000);
	d.first_ms = random_below(4) * 1000;
	d.last_ms = random_below(4) * 1000;
	d.findings = random_below(1u << FINDING_MAX);
	for (uint32_t i = random_below(6); i > 0; i--)
		assert_int_equal(add_requests(&d, (uint16_t)(200 + random_below(3)),
					      (enum ea_method)random_below(3), random_below(9),
					      random_below(9)),
				 0);
	for (uint32_t i = random_below(25); i > 0; i--)
		random_address(&d);
	return d;
}

static struct destination_list random_list(const char *node)
{
	struct destination_list list = {
		.node = node ? made_text(node) : NULL,
		.since_ms = random_below(3) * 1000,
		.generated_ms = random_below(3) * 1000,
		.destinations_dropped = random_below(5),
		.hosts_folded = random_below(5),
	};

	for (uint32_t i = random_below(12); i > 0; i--)
		add(&list, random_destination());
	return list;
}

static struct destination copy_destination(const struct destination *d)
{
	struct destination copy = *d;

	assert_int_equal(source_copy(&d->source, &copy.source), 0);
	copy.host = made_text(d->host);
	copy.by_code = calloc(d->n_by_code + 1, sizeof(*d->by_code));
	assert_non_null(copy.by_code);
	if (d->n_by_code)
		memcpy(copy.by_code, d->by_code, d->n_by_code * sizeof(*d->by_code));
	copy.addresses = NULL;
	copy.n_addresses = 0;
	for (size_t i = 0; i < d->n_addresses; i++)
		assert_int_equal(
			destination_add_address(&copy, d->addresses[i].ip, d->addresses[i].last_ms),
			0);
	return copy;
}

static struct destination_list copy_list(const struct destination_list *list)
{
	struct destination_list copy = *list;

	copy.items = NULL;
	copy.n = copy.capacity = 0;
	copy.node = list->node ? made_text(list->node) : NULL;
	for (size_t i = 0; i < list->n; i++)
		add(&copy, copy_destination(&list->items[i]));
	return copy;
}

static void assert_same_destination(const struct destination *a, const struct destination *b)
{
	assert_int_equal(destination_compare(a, b), 0);
	assert_int_equal(a->name_source, b->name_source);
	assert_int_equal(a->internal, b->internal);
	assert_int_equal(a->visibility, b->visibility);
	assert_int_equal(a->registry, b->registry);
	assert_int_equal(a->interception, b->interception);
	assert_int_equal(a->tls_versions, b->tls_versions);
	assert_int_equal(a->tls_offered, b->tls_offered);
	assert_true(a->handshakes_failed == b->handshakes_failed);
	assert_memory_equal(&a->connect, &b->connect, sizeof(a->connect));
	assert_memory_equal(&a->handshake, &b->handshake, sizeof(a->handshake));
	assert_int_equal(a->alpn, b->alpn);
	assert_int_equal(a->ech, b->ech);
	assert_int_equal(a->tls_origination, b->tls_origination);
	assert_true(a->opened == b->opened && a->closed == b->closed && a->failed == b->failed);
	assert_true(a->sent == b->sent && a->received == b->received);
	assert_true(a->requests == b->requests && a->request_bytes == b->request_bytes);
	assert_true(a->response_bytes == b->response_bytes);
	assert_true(a->first_ms == b->first_ms && a->last_ms == b->last_ms);
	assert_int_equal(a->findings, b->findings);
	assert_int_equal(a->n_by_code, b->n_by_code);
	for (size_t i = 0; i < a->n_by_code; i++) {
		assert_int_equal(a->by_code[i].code, b->by_code[i].code);
		assert_int_equal(a->by_code[i].method, b->by_code[i].method);
		assert_true(a->by_code[i].count == b->by_code[i].count);
		assert_true(a->by_code[i].first_byte_ns == b->by_code[i].first_byte_ns);
		assert_memory_equal(&a->by_code[i].duration, &b->by_code[i].duration,
				    sizeof(a->by_code[i].duration));
	}
	assert_int_equal(a->n_addresses, b->n_addresses);
	for (size_t i = 0; i < a->n_addresses; i++) {
		assert_memory_equal(a->addresses[i].ip, b->addresses[i].ip, 16);
		assert_true(a->addresses[i].last_ms == b->addresses[i].last_ms);
	}
}

static void assert_same_list(const struct destination_list *a, const struct destination_list *b)
{
	assert_int_equal(a->n, b->n);
	for (size_t i = 0; i < a->n; i++)
		assert_same_destination(&a->items[i], &b->items[i]);
	assert_true(!a->node == !b->node);
	if (a->node)
		assert_string_equal(a->node, b->node);
	assert_true(a->since_ms == b->since_ms && a->generated_ms == b->generated_ms);
	assert_true(a->destinations_dropped == b->destinations_dropped);
	assert_true(a->hosts_folded == b->hosts_folded);
}

/* Words */

#define CHECK_WORDS(stem, type, max)                                                               \
	do {                                                                                       \
		type v_;                                                                           \
                                                                                                   \
		for (int i_ = 0; i_ < (int)(max); i_++) {                                          \
			assert_int_equal(model_##stem##_parse(model_##stem##_name((type)i_), &v_), \
					 0);                                                       \
			assert_int_equal((int)v_, i_);                                             \
		}                                                                                  \
	} while (0)

#define CHECK_NO_WORD(stem, type)                                                 \
	do {                                                                      \
		type v_;                                                          \
                                                                                  \
		assert_int_equal(model_##stem##_parse("", &v_), -EINVAL);         \
		assert_int_equal(model_##stem##_parse("nonsense", &v_), -EINVAL); \
	} while (0)

static void test_words(void **state)
{
	enum alpn alpn;

	(void)state;
	CHECK_WORDS(protocol, enum protocol, PROTOCOL_MAX);
	CHECK_NO_WORD(protocol, enum protocol);
	CHECK_WORDS(name_source, enum name_source, NAME_SOURCE_MAX);
	CHECK_NO_WORD(name_source, enum name_source);
	CHECK_WORDS(visibility, enum visibility, VISIBILITY_MAX);
	CHECK_NO_WORD(visibility, enum visibility);
	CHECK_WORDS(registry, enum registry, REGISTRY_MAX);
	CHECK_NO_WORD(registry, enum registry);
	CHECK_WORDS(interception, enum interception, INTERCEPTION_MAX);
	CHECK_NO_WORD(interception, enum interception);
	CHECK_WORDS(finding, enum finding, FINDING_MAX);
	CHECK_NO_WORD(finding, enum finding);
	CHECK_WORDS(tls_version, enum tls_version, TLS_VERSION_MAX);
	CHECK_NO_WORD(tls_version, enum tls_version);
	CHECK_WORDS(alpn, enum alpn, ALPN_MAX);
	CHECK_WORDS(method, enum ea_method, EA_METHOD_MAX);
	CHECK_NO_WORD(method, enum ea_method);
	CHECK_WORDS(sort, enum sort_key, SORT_MAX);
	CHECK_NO_WORD(sort, enum sort_key);
	CHECK_WORDS(scope, enum scope_filter, SCOPE_MAX);
	CHECK_NO_WORD(scope, enum scope_filter);
	assert_int_equal(model_alpn_parse("spdy/3", &alpn), 0);
	assert_int_equal(alpn, ALPN_OTHER);
	/* Words that other programs read: a rename must not pass unseen. */
	assert_string_equal(model_finding_name(FINDING_MIXED_TLS_AND_PLAINTEXT),
			    "mixed-tls-and-plaintext");
	assert_string_equal(model_tls_version_name(TLS_SSL30), "ssl3.0");
	assert_string_equal(model_alpn_name(ALPN_HTTP11), "http/1.1");
	assert_string_equal(model_method_name(EA_METHOD_OTHER), "OTHER");
	assert_string_equal(model_sort_name(SORT_LAST_SEEN), "last-seen");
}

/* Numbers and addresses */

static void test_add(void **state)
{
	(void)state;
	assert_true(model_add(1, 2) == 3);
	assert_true(model_add(MODEL_COUNT_MAX, 0) == MODEL_COUNT_MAX);
	assert_true(model_add(MODEL_COUNT_MAX - 1, 1) == MODEL_COUNT_MAX);
	assert_true(model_add(MODEL_COUNT_MAX, 1) == MODEL_COUNT_MAX);
	assert_true(model_add(UINT64_MAX, UINT64_MAX) == MODEL_COUNT_MAX);
	assert_true(model_add(0, UINT64_MAX) == MODEL_COUNT_MAX);
}

static void assert_address(const char *text, const char *want)
{
	uint8_t ip[16];
	char buf[46];

	assert_int_equal(address_parse(text, ip), 0);
	assert_string_equal(address_format(ip, buf, sizeof(buf)), want);
}

static void test_address_text(void **state)
{
	uint8_t ip[16] = {0};
	char small[4] = "xxx";

	(void)state;
	assert_address("1.2.3.4", "1.2.3.4");
	assert_address("::ffff:1.2.3.4", "1.2.3.4");
	assert_address("::", "::");
	assert_address("::1", "::1");
	assert_address("2001:DB8:0:0:0:0:0:1", "2001:db8::1");
	assert_address("1111:2222:3333:4444:5555:6666:7777:8888",
		       "1111:2222:3333:4444:5555:6666:7777:8888");
	assert_int_equal(address_parse("", ip), -EINVAL);
	assert_int_equal(address_parse("1.2.3", ip), -EINVAL);
	assert_int_equal(address_parse("[::1]", ip), -EINVAL);
	assert_int_equal(address_parse("example.com", ip), -EINVAL);
	assert_int_equal(address_parse("1.2.3.4", ip), 0);
	assert_string_equal(address_format(ip, small, sizeof(small)), "");
}

static void test_addresses(void **state)
{
	struct destination d = {0};
	uint8_t ip[16] = {[10] = 0xff, [11] = 0xff};

	(void)state;
	for (uint8_t i = 0; i < 40; i++) {
		ip[15] = i;
		destination_add_address(&d, ip, i);
	}
	assert_int_equal(d.n_addresses, MODEL_ADDRESSES_MAX);
	assert_int_equal(d.addresses[0].ip[15], 39);
	assert_int_equal(d.addresses[MODEL_ADDRESSES_MAX - 1].ip[15], 40 - MODEL_ADDRESSES_MAX);
	/* An older sighting of a known one changes nothing, a newer one moves it to the front. */
	ip[15] = 39;
	destination_add_address(&d, ip, 3);
	assert_true(d.addresses[0].last_ms == 39);
	ip[15] = 30;
	destination_add_address(&d, ip, 100);
	assert_int_equal(d.n_addresses, MODEL_ADDRESSES_MAX);
	assert_int_equal(d.addresses[0].ip[15], 30);
	assert_int_equal(d.addresses[1].ip[15], 39);
	/* Too old to stay. */
	ip[15] = 99;
	destination_add_address(&d, ip, 1);
	assert_int_equal(d.addresses[MODEL_ADDRESSES_MAX - 1].ip[15], 40 - MODEL_ADDRESSES_MAX);
	destination_done(&d);
	assert_int_equal(d.n_addresses, 0);
	alloc_fail_at(1);
	assert_int_equal(destination_add_address(&d, ip, 1), -ENOMEM);
	alloc_fail_at(0);
	assert_int_equal(d.n_addresses, 0);
}

static void test_requests(void **state)
{
	struct destination d = {0};

	(void)state;
	assert_int_equal(add_requests(&d, 504, EA_METHOD_GET, 2, 20), 0);
	assert_int_equal(add_requests(&d, 200, EA_METHOD_POST, 1, 5), 0);
	assert_int_equal(add_requests(&d, 200, EA_METHOD_GET, 3, 7), 0);
	assert_int_equal(add_requests(&d, 200, EA_METHOD_POST, 4, 1), 0);
	assert_int_equal(d.n_by_code, 3);
	assert_int_equal(d.by_code[0].method, EA_METHOD_GET);
	assert_int_equal(d.by_code[1].method, EA_METHOD_POST);
	assert_int_equal(d.by_code[2].code, 504);
	assert_true(d.by_code[1].count == 5 && d.by_code[1].first_byte_ns == 6);
	assert_true(d.by_code[1].duration.n[1] == 1 && d.by_code[1].duration.n[4] == 4);
	assert_true(d.by_code[1].duration.sum_ns == 5);
	assert_int_equal(d.requests, 0);
	alloc_fail_at(1);
	assert_int_equal(add_requests(&d, 404, EA_METHOD_GET, 1, 1), -ENOMEM);
	assert_int_equal(add_requests(&d, 200, EA_METHOD_GET, 1, 1), 0);
	alloc_fail_at(0);
	assert_int_equal(d.n_by_code, 3);
	assert_true(d.by_code[0].count == 4);
	destination_done(&d);
}

static void test_active(void **state)
{
	struct destination d = {.opened = 5, .closed = 3};

	(void)state;
	assert_true(destination_active(&d) == 2);
	d.closed = 9;
	assert_true(destination_active(&d) == 0);
}

/* Order */

static void assert_order(struct destination a, struct destination b)
{
	assert_true(destination_compare(&a, &b) < 0);
	assert_true(destination_compare(&b, &a) > 0);
	assert_int_equal(destination_compare(&a, &a), 0);
	destination_done(&a);
	destination_done(&b);
}

static void test_order(void **state)
{
	struct destination a = made_row("a", "a", "a", 1, PROTOCOL_TCP), b;

	(void)state;
	assert_order(made_row("a", "z", "z", 9, PROTOCOL_UDP),
		     made_row("b", "a", "a", 1, PROTOCOL_HTTP));
	assert_order(made_row("a", "a", "z", 9, PROTOCOL_UDP),
		     made_row("a", "b", "a", 1, PROTOCOL_HTTP));
	assert_order(made_row("a", "a", "a", 9, PROTOCOL_UDP),
		     made_row("a", "a", "b", 1, PROTOCOL_HTTP));
	assert_order(made_row("a", "a", "a", 80, PROTOCOL_UDP),
		     made_row("a", "a", "a", 443, PROTOCOL_HTTP));
	/* By the protocol's name, not by its number. */
	assert_order(made_row("a", "a", "a", 80, PROTOCOL_HTTP),
		     made_row("a", "a", "a", 80, PROTOCOL_TLS));
	assert_order(made_row("a", "a", "a", 80, PROTOCOL_TCP),
		     made_row("a", "a", "a", 80, PROTOCOL_TLS));
	b = copy_destination(&a);
	set_source(&b.source, offsetof(struct source, app), "x");
	assert_order(a, b);
}

static struct destination make_scoped(const char *host, uint16_t port, bool internal)
{
	struct destination d = made_row("a", "a", host, port, PROTOCOL_TLS);

	d.internal = internal;
	d.opened = internal ? 100 : 1;
	return d;
}

/* A sum of what is inside must not become part of a sum of what leaves. */
static void test_scopes_of_sums(void **state)
{
	struct destination a = make_scoped("a.example", 443, false), b;
	struct destination_list list = {0};

	(void)state;
	assert_order(make_scoped(MODEL_HOST_OTHER, 0, false),
		     make_scoped(MODEL_HOST_OTHER, 0, true));
	assert_order(make_scoped(MODEL_HOST_OTHER, 0, true),
		     make_scoped(MODEL_HOST_OTHER, 1, false));
	/* It stands before what is left of the source. */
	b = make_scoped(MODEL_HOST_OTHER, 0, false);
	set_source(&b.source, offsetof(struct source, version), "v2");
	assert_order(b, make_scoped(MODEL_HOST_OTHER, 0, true));
	b = make_scoped("a.example", 443, true);
	assert_int_equal(destination_compare(&a, &b), 0);
	add(&list, a);
	add(&list, b);
	for (int i = 0; i < 6; i++)
		add(&list, make_scoped(MODEL_HOST_OTHER, 0, i % 2 == 0));
	add(&list, make_scoped(MODEL_HOST_INVALID, 443, true));
	add(&list, make_scoped(MODEL_HOST_INVALID, 443, false));
	assert_int_equal(destination_list_normalize(&list), 0);
	assert_int_equal(list.n, 4);
	assert_true(!list.items[0].internal && list.items[0].opened == 101);
	assert_string_equal(list.items[1].host, MODEL_HOST_INVALID);
	assert_true(!list.items[1].internal && list.items[1].opened == 101);
	assert_true(!list.items[2].internal && list.items[2].opened == 3);
	assert_true(list.items[3].internal && list.items[3].opened == 300);
	destination_list_done(&list);
}

static void test_name_source(void **state)
{
	struct destination d = made_row("", "w", "a.example", 443, PROTOCOL_TLS);

	(void)state;
	assert_string_equal(destination_name_source(&d), "sni");
	made_set(&d.host, MODEL_HOST_INVALID);
	assert_string_equal(destination_name_source(&d), "sni");
	made_set(&d.host, MODEL_HOST_OTHER);
	assert_string_equal(destination_name_source(&d), "");
	destination_done(&d);
}

static void test_source(void **state)
{
	struct destination d = made_row("ns", "w", "h", 1, PROTOCOL_TCP);
	struct source copy = {0};

	(void)state;
	for (unsigned long n = 1;; n++) {
		int r;

		alloc_fail_at(n);
		r = source_copy(&d.source, &copy);
		if (!alloc_failed())
			break;
		assert_int_equal(r, -ENOMEM);
		assert_null(copy.ns);
	}
	alloc_fail_at(0);
	assert_int_equal(source_compare(&copy, &d.source), 0);
	set_source(&copy, offsetof(struct source, version), "v2");
	assert_true(source_compare(&copy, &d.source) > 0);
	source_done(&copy);
	assert_null(copy.workload);
	destination_done(&d);
}

/* A copy of a copy takes no memory, and lasts as long as it is needed. */
static void test_source_shared(void **state)
{
	struct destination d = made_row("ns", "w", "h", 1, PROTOCOL_TCP);
	struct source first, second;

	(void)state;
	assert_int_equal(source_copy(&d.source, &first), 0);
	alloc_fail_at(1);
	assert_int_equal(source_copy(&first, &second), 0);
	alloc_fail_at(0);
	assert_ptr_equal(first.workload, second.workload);
	source_done(&first);
	destination_done(&d);
	assert_string_equal(second.workload, "w");
	assert_string_equal(second.pod_uid, "");
	source_done(&second);
}

/* Merging */

static void merge_copies(struct destination_list *into, const struct destination_list *from)
{
	struct destination_list copy = copy_list(from);

	assert_int_equal(destination_list_merge(into, &copy), 0);
	assert_int_equal(copy.n, 0);
	assert_null(copy.items);
	assert_null(copy.node);
}

static struct destination_list merged(const struct destination_list *a,
				      const struct destination_list *b)
{
	struct destination_list into = copy_list(a);

	merge_copies(&into, b);
	return into;
}

static void test_merge_any_order(void **state)
{
	static const char *const nodes[] = {"n1", "n2", "n1,n3", NULL};

	(void)state;
	random_state = 1;
	for (int round = 0; round < 300; round++) {
		struct destination_list a = random_list(nodes[random_below(4)]);
		struct destination_list b = random_list(nodes[random_below(4)]);
		struct destination_list c = random_list(nodes[random_below(4)]);
		struct destination_list ab = merged(&a, &b), ba = merged(&b, &a),
					bc = merged(&b, &c);
		struct destination_list ab_c = merged(&ab, &c), a_bc = merged(&a, &bc);

		assert_same_list(&ab, &ba);
		assert_same_list(&ab_c, &a_bc);
		for (size_t i = 1; i < ab_c.n; i++)
			assert_true(destination_compare(&ab_c.items[i - 1], &ab_c.items[i]) < 0);
		destination_list_done(&a);
		destination_list_done(&b);
		destination_list_done(&c);
		destination_list_done(&ab);
		destination_list_done(&ba);
		destination_list_done(&bc);
		destination_list_done(&ab_c);
		destination_list_done(&a_bc);
	}
}

static void assert_nodes(const char *a, const char *b, const char *want)
{
	struct destination_list x = {.node = a ? made_text(a) : NULL};
	struct destination_list y = {.node = b ? made_text(b) : NULL};

	assert_int_equal(destination_list_merge(&x, &y), 0);
	assert_true(!x.node == !want);
	if (want)
		assert_string_equal(x.node, want);
	destination_list_done(&x);
}

static void test_merge_nodes(void **state)
{
	(void)state;
	assert_nodes(NULL, NULL, NULL);
	assert_nodes("a", NULL, "a");
	assert_nodes(NULL, "a", "a");
	assert_nodes("a", "", "a");
	assert_nodes("a", "a", "a");
	assert_nodes("b", "a", "a,b");
	assert_nodes("a,b", "b,c", "a,b,c");
	assert_nodes("a,ab", "aa,ab,b", "a,aa,ab,b");
	assert_nodes(",", ",,", "");
}

static struct destination_list from_node(const char *node, uint64_t since_ms, uint64_t generated_ms)
{
	return (struct destination_list){.node = (char *)(uintptr_t)node,
					 .since_ms = since_ms,
					 .generated_ms = generated_ms};
}

static void test_latest(void **state)
{
	const struct destination_list lists[] = {
		from_node("a", 1000, 3000), /* 0 */
		from_node("a", 1000, 5000),
		from_node("b", 1000, 9000), /* another node */
		from_node("a", 2000, 9000), /* after another start */
		from_node("a", 1000, 5000), /* as late as 1 */
		from_node("a", 1000, 4000), /* 5 */
		from_node("", 1000, 1000),
		from_node("", 1000, 2000), /* not known to be the same as 6 */
		from_node(NULL, 1000, 1000),
		from_node(NULL, 1000, 2000),
		from_node("a", 0, 1000), /* 10 */
		from_node("a", 0, 2000), /* nor this one */
	};
	static const size_t latest[] = {1, 1, 2, 3, 1, 1, 6, 7, 8, 9, 10, 11};

	(void)state;
	_Static_assert(ARRAY_SIZE(latest) == ARRAY_SIZE(lists), "one for each");
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
		assert_int_equal(destination_list_latest(lists, ARRAY_SIZE(lists), i), latest[i]);
	assert_int_equal(destination_list_latest(lists, 1, 0), 0);
}

static void test_merge_facts(void **state)
{
	struct destination a = made_row("", "w", "a.example", 443, PROTOCOL_TLS);
	struct destination b = made_row("", "w", "a.example", 443, PROTOCOL_TLS);

	(void)state;
	a.internal = true;
	a.name_source = NAME_SOURCE_IP;
	a.first_ms = 0;
	b.first_ms = 7000;
	a.last_ms = 9000;
	b.last_ms = 8000;
	a.registry = REGISTRY_PASSTHROUGH;
	b.interception = INTERCEPTION_BYPASS;
	a.opened = MODEL_COUNT_MAX;
	b.opened = 5;
	b.tls_versions = 1u << TLS_13;
	a.tls_offered = 1u << TLS_12;
	b.tls_offered = 1u << TLS_13;
	a.handshakes_failed = 2;
	b.handshakes_failed = 3;
	b.ech = true;
	assert_int_equal(destination_merge(&a, &b), 0);
	assert_false(a.internal);
	assert_int_equal(a.name_source, NAME_SOURCE_SNI);
	assert_true(a.first_ms == 7000 && a.last_ms == 9000);
	assert_int_equal(a.registry, REGISTRY_PASSTHROUGH);
	assert_int_equal(a.interception, INTERCEPTION_BYPASS);
	assert_true(a.opened == MODEL_COUNT_MAX);
	assert_int_equal(a.tls_versions, 1u << TLS_13);
	assert_int_equal(a.tls_offered, 1u << TLS_12 | 1u << TLS_13);
	assert_true(a.handshakes_failed == 5);
	assert_true(a.ech);
	destination_done(&a);
	destination_done(&b);
}

static uint64_t list_opened(const struct destination_list *list)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < list->n; i++)
		sum += list->items[i].opened;
	return sum;
}

/* Without memory no row and no count is lost, and a second try succeeds. */
static void test_normalize_no_memory(void **state)
{
	struct destination_list list = {0}, copy;
	uint64_t opened;
	bool failed = true;

	(void)state;
	random_state = 7;
	for (int i = 0; i < 60; i++)
		add(&list, random_destination());
	opened = list_opened(&list);
	for (unsigned long n = 1; failed; n++) {
		int r;

		copy = copy_list(&list);
		alloc_fail_at(n);
		r = destination_list_normalize(&copy);
		failed = alloc_failed();
		alloc_fail_at(0);
		assert_int_equal(r, failed ? -ENOMEM : 0);
		assert_true(list_opened(&copy) == opened);
		assert_int_equal(destination_list_normalize(&copy), 0);
		assert_true(list_opened(&copy) == opened);
		assert_true(copy.n < list.n);
		destination_list_done(&copy);
	}
	destination_list_done(&list);
}

static void test_merge_no_memory(void **state)
{
	bool failed = true;

	(void)state;
	for (unsigned long n = 1; failed; n++) {
		struct destination_list a, b;
		uint64_t opened;
		int r;

		random_state = 3;
		a = random_list("a");
		b = random_list("b");
		opened = list_opened(&a) + list_opened(&b);
		alloc_fail_at(n);
		r = destination_list_merge(&a, &b);
		failed = alloc_failed();
		alloc_fail_at(0);
		assert_int_equal(r, failed ? -ENOMEM : 0);
		assert_true(list_opened(&a) + list_opened(&b) == opened);
		if (!failed)
			assert_string_equal(a.node, "a,b");
		destination_list_done(&a);
		destination_list_done(&b);
	}
}

static void test_list_add_no_memory(void **state)
{
	struct destination_list list = {0};
	struct destination d = made_row("", "w", "a.example", 443, PROTOCOL_TLS);

	(void)state;
	alloc_fail_at(1);
	assert_int_equal(destination_list_add(&list, &d), -ENOMEM);
	alloc_fail_at(0);
	assert_string_equal(d.host, "a.example");
	assert_int_equal(list.n, 0);
	assert_int_equal(destination_list_add(&list, &d), 0);
	assert_null(d.host);
	destination_list_done(&list);
}

/* Judging */

static const struct destination *find(const struct destination_list *list, const char *workload,
				      const char *host, uint16_t port)
{
	for (size_t i = 0; i < list->n; i++) {
		const struct destination *d = &list->items[i];

		if (strcmp(d->source.workload, workload) == 0 && strcmp(d->host, host) == 0 &&
		    d->port == port)
			return d;
	}
	fail_msg("no row %s %s:%u", workload, host, port);
	return NULL;
}

static uint32_t findings(const struct destination_list *list, const char *workload,
			 const char *host, uint16_t port)
{
	return find(list, workload, host, port)->findings;
}

static void add_from(struct destination_list *list, const char *host, uint16_t port,
		     enum protocol protocol, enum name_source name_source)
{
	struct destination d = made_row("ns", "w", host, port, protocol);

	d.name_source = name_source;
	add(list, d);
}

static void test_judge_rows(void **state)
{
	struct destination_list list = {0};

	(void)state;
	add_from(&list, "plain.example", 80, PROTOCOL_HTTP, NAME_SOURCE_HTTP);
	add_from(&list, "h2c.example", 80, PROTOCOL_HTTP2, NAME_SOURCE_HTTP);
	add_from(&list, "tls.example", 443, PROTOCOL_TLS, NAME_SOURCE_SNI);
	add_from(&list, "nosni.example", 443, PROTOCOL_TLS, NAME_SOURCE_DNS);
	add_from(&list, "1.2.3.4", 443, PROTOCOL_TLS, NAME_SOURCE_IP);
	add_from(&list, "1.2.3.4", 5432, PROTOCOL_TCP, NAME_SOURCE_IP);
	add_from(&list, "1.2.3.5", 80, PROTOCOL_HTTP, NAME_SOURCE_HTTP);
	add_from(&list, MODEL_HOST_INVALID, 443, PROTOCOL_TLS, NAME_SOURCE_SNI);
	add_from(&list, MODEL_HOST_OTHER, 0, PROTOCOL_TLS, NAME_SOURCE_IP);
	add_from(&list, "ech.example", 443, PROTOCOL_TLS, NAME_SOURCE_SNI);
	list.items[9].ech = true;
	list.items[2].findings = 1u << FINDING_PREEXISTING;
	assert_int_equal(destination_list_normalize(&list), 0);
	destination_list_judge(&list);
	destination_list_judge(&list);

	assert_int_equal(find(&list, "w", "plain.example", 80)->visibility, VISIBILITY_L7);
	assert_int_equal(find(&list, "w", "h2c.example", 80)->visibility, VISIBILITY_L7);
	assert_int_equal(find(&list, "w", "tls.example", 443)->visibility, VISIBILITY_L4);
	assert_int_equal(find(&list, "w", "1.2.3.4", 5432)->visibility, VISIBILITY_L4);
	assert_int_equal(findings(&list, "w", "plain.example", 80), 0);
	assert_int_equal(findings(&list, "w", "tls.example", 443), 1u << FINDING_PREEXISTING);
	assert_int_equal(findings(&list, "w", "nosni.example", 443), 1u << FINDING_NO_SNI);
	assert_int_equal(findings(&list, "w", "1.2.3.4", 443),
			 1u << FINDING_NO_SNI | 1u << FINDING_IP_LITERAL);
	assert_int_equal(findings(&list, "w", "1.2.3.4", 5432), 1u << FINDING_IP_LITERAL);
	assert_int_equal(findings(&list, "w", "1.2.3.5", 80), 1u << FINDING_IP_LITERAL);
	assert_int_equal(findings(&list, "w", MODEL_HOST_INVALID, 443), 1u << FINDING_INVALID_NAME);
	assert_int_equal(findings(&list, "w", MODEL_HOST_OTHER, 0), 0);
	assert_int_equal(findings(&list, "w", "ech.example", 443), 1u << FINDING_ECH);
	destination_list_done(&list);
}

static void test_judge_mixed(void **state)
{
	const uint32_t mixed = 1u << FINDING_MIXED_TLS_AND_PLAINTEXT;
	struct destination_list list = {0};

	(void)state;
	add(&list, made_row("n", "w", "both.example", 80, PROTOCOL_HTTP));
	add(&list, made_row("n", "w", "both.example", 443, PROTOCOL_TLS));
	add(&list, made_row("n", "w", "both.example", 9000, PROTOCOL_TCP));
	add(&list, made_row("n", "w", "tls.example", 443, PROTOCOL_TLS));
	add(&list, made_row("n", "w", "tls.example", 8443, PROTOCOL_TLS));
	add(&list, made_row("n", "w", "split.example", 443, PROTOCOL_TLS));
	add(&list, made_row("n", "x", "split.example", 80, PROTOCOL_HTTP));
	add(&list, made_row("m", "x", "split.example", 443, PROTOCOL_TLS));
	add(&list, made_row("n", "w", MODEL_HOST_INVALID, 80, PROTOCOL_HTTP));
	add(&list, made_row("n", "w", MODEL_HOST_INVALID, 443, PROTOCOL_TLS));
	add(&list, made_row("n", "w", "one-port.example", 80, PROTOCOL_HTTP));
	add(&list, made_row("n", "w", "one-port.example", 80, PROTOCOL_TLS));
	/* Two revisions of one workload are one source. */
	set_source(&list.items[0].source, offsetof(struct source, version), "v2");
	assert_int_equal(destination_list_normalize(&list), 0);
	destination_list_judge(&list);
	assert_int_equal(findings(&list, "w", "both.example", 80), mixed);
	assert_int_equal(findings(&list, "w", "both.example", 443), mixed);
	assert_int_equal(findings(&list, "w", "both.example", 9000), 0);
	assert_int_equal(findings(&list, "w", "tls.example", 443), 0);
	assert_int_equal(findings(&list, "w", "tls.example", 8443), 0);
	assert_int_equal(findings(&list, "w", "split.example", 443), 0);
	assert_int_equal(findings(&list, "x", "split.example", 80), 0);
	assert_int_equal(findings(&list, "x", "split.example", 443), 0);
	assert_int_equal(findings(&list, "w", MODEL_HOST_INVALID, 443), 1u << FINDING_INVALID_NAME);
	for (size_t i = 0; i < list.n; i++) {
		if (strcmp(list.items[i].host, "one-port.example") == 0)
			assert_int_equal(list.items[i].findings, mixed);
	}
	destination_list_done(&list);
}

/* Selecting and sorting */

static bool matches(struct selection s, const struct destination *d)
{
	return selection_matches(&s, d);
}

static void test_selection(void **state)
{
	struct destination d = made_row("shop", "cart", "api.example.com", 443, PROTOCOL_TLS);
	struct selection s = SELECTION_DEFAULT;

	(void)state;
	assert_true(matches(s, &d));
	d.internal = true;
	assert_false(matches(s, &d));
	s.scope = SCOPE_INTERNAL;
	assert_true(matches(s, &d));
	d.internal = false;
	assert_false(matches(s, &d));
	s.scope = SCOPE_ALL;
	assert_true(matches(s, &d));
	assert_true(matches((struct selection){.ns = "shop",
					       .visibility = VISIBILITY_MAX,
					       .registry = REGISTRY_MAX},
			    &d));
	s.ns = "sho";
	assert_false(matches(s, &d));
	s.ns = "";
	assert_false(matches(s, &d));
	s.ns = NULL;
	s.workload = "cart";
	assert_true(matches(s, &d));
	s.workload = "car";
	assert_false(matches(s, &d));
	s.workload = NULL;
	s.visibility = VISIBILITY_L7;
	assert_false(matches(s, &d));
	s.visibility = VISIBILITY_L4;
	assert_true(matches(s, &d));
	s.registry = REGISTRY_BLOCKED;
	assert_false(matches(s, &d));
	s.registry = REGISTRY_UNKNOWN;
	assert_true(matches(s, &d));
	destination_done(&d);
}

static void test_selection_host(void **state)
{
	static const struct {
		const char *glob;
		bool match;
	} cases[] = {
		{"api.example.com", true},
		{"API.example.COM", true},
		{"*.example.com", true},
		{"*", true},
		{"api.*", true},
		{"a?i.example.com", true},
		{"[a-c]pi.*", true},
		{"example.com", false},
		{"", false},
		{"*.example.org", false},
		{"[", false},
	};
	struct destination d = made_row("", "w", "api.example.com", 443, PROTOCOL_TLS);
	struct selection s = SELECTION_DEFAULT;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		s.host = cases[i].glob;
		assert_int_equal(matches(s, &d), cases[i].match);
	}
	destination_done(&d);
}

static void test_list_select(void **state)
{
	struct destination_list list = {0};
	struct selection s = SELECTION_DEFAULT;

	(void)state;
	s.host = "*.keep";
	for (uint16_t i = 0; i < 50; i++)
		add(&list, made_row("", "w", i % 3 ? "a.keep" : "a.drop", i, PROTOCOL_TCP));
	destination_list_select(&list, &s);
	assert_int_equal(list.n, 33);
	for (size_t i = 0; i < list.n; i++) {
		assert_string_equal(list.items[i].host, "a.keep");
		assert_true(i == 0 || list.items[i].port > list.items[i - 1].port);
	}
	s.host = "nothing";
	destination_list_select(&list, &s);
	assert_int_equal(list.n, 0);
	destination_list_select(&list, &s);
	destination_list_done(&list);
}

static void assert_sorted(struct destination_list *list, enum sort_key key, const char *hosts)
{
	char got[64] = "";

	destination_list_sort(list, key);
	for (size_t i = 0; i < list->n; i++)
		strcat(got, list->items[i].host);
	assert_string_equal(got, hosts);
}

static void test_sort(void **state)
{
	struct destination_list list = {0};

	(void)state;
	destination_list_sort(&list, SORT_BYTES);
	for (const char *host = "dbca"; *host; host++) {
		char name[] = {*host, '\0'};

		add(&list, made_row("", "w", name, 1, PROTOCOL_TCP));
	}
	/* In the order d b c a. */
	list.items[0].sent = MODEL_COUNT_MAX;
	list.items[0].received = MODEL_COUNT_MAX;
	list.items[1].sent = 10;
	list.items[2].received = 11;
	list.items[1].opened = 3;
	list.items[3].opened = 3;
	list.items[2].requests = 1;
	list.items[3].last_ms = 5;
	list.items[0].last_ms = 6;
	assert_sorted(&list, SORT_BYTES, "dcba");
	assert_sorted(&list, SORT_CONNECTIONS, "abcd");
	assert_sorted(&list, SORT_REQUESTS, "cabd");
	assert_sorted(&list, SORT_HOST, "abcd");
	assert_sorted(&list, SORT_LAST_SEEN, "dabc");
	destination_list_done(&list);
}

static void test_range_parse(void **state)
{
	static const char *const wrong[] = {"",         "x",          "10.0.0.0/33", "10.0.0.0/",
					    "10.0.0/8", "::1/129",    "::1/-1",      "10.0.0.0/8x",
					    "/8",       "10.0.0.0/+8"};
	struct ea_range r;

	(void)state;
	assert_int_equal(range_parse("10.0.0.0/8", &r), 0);
	assert_int_equal(r.bits, 104);
	assert_int_equal(r.addr[12], 10);
	assert_int_equal(range_parse("192.0.2.1", &r), 0);
	assert_int_equal(r.bits, 128);
	assert_int_equal(range_parse("fd00::/8", &r), 0);
	assert_int_equal(r.bits, 8);
	assert_int_equal(range_parse("::/0", &r), 0);
	assert_int_equal(r.bits, 0);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(range_parse(wrong[i], &r), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_add),
		cmocka_unit_test(test_address_text),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_range_parse),
		cmocka_unit_test(test_requests),
		cmocka_unit_test(test_active),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_source),
		cmocka_unit_test(test_source_shared),
		cmocka_unit_test(test_scopes_of_sums),
		cmocka_unit_test(test_name_source),
		cmocka_unit_test(test_latest),
		cmocka_unit_test(test_merge_any_order),
		cmocka_unit_test(test_merge_nodes),
		cmocka_unit_test(test_merge_facts),
		cmocka_unit_test(test_normalize_no_memory),
		cmocka_unit_test(test_merge_no_memory),
		cmocka_unit_test(test_list_add_no_memory),
		cmocka_unit_test(test_judge_rows),
		cmocka_unit_test(test_judge_mixed),
		cmocka_unit_test(test_selection),
		cmocka_unit_test(test_selection_host),
		cmocka_unit_test(test_list_select),
		cmocka_unit_test(test_sort),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
