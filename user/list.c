// SPDX-License-Identifier: Apache-2.0
/*
 * Lists of destinations: adding, normalising, merging, judging, selecting, sorting.
 *
 * Owns: what rows mean taken together. Must not know: where they come from or go to.
 */
#include <errno.h>
#include <fnmatch.h>
#include <string.h>

#include "model.h"
#include "name.h"
#include "util.h"

#define LIST_CAPACITY_MIN 16

void destination_list_done(struct destination_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		destination_done(&list->items[i]);
	free(list->items);
	free(list->node);
	*list = (struct destination_list){0};
}

static int list_reserve(struct destination_list *list, size_t more)
{
	size_t want = list->n + more, capacity = MAX(list->capacity, (size_t)LIST_CAPACITY_MIN);
	struct destination *items;

	if (want <= list->capacity)
		return 0;
	while (capacity < want)
		capacity *= 2;
	items = realloc(list->items, capacity * sizeof(*items));
	if (!items)
		return -ENOMEM;
	list->items = items;
	list->capacity = capacity;
	return 0;
}

int destination_list_add(struct destination_list *list, struct destination *d)
{
	int r = list_reserve(list, 1);

	if (r < 0)
		return r;
	list->items[list->n++] = *d;
	*d = (struct destination){0};
	return 0;
}

static int list_compare(const void *a, const void *b)
{
	return destination_compare(a, b);
}

/* Row i moves behind the first *n rows, or into the last of them if it is the same destination. */
static int list_fold(struct destination_list *list, size_t i, size_t *n)
{
	struct destination *items = list->items;
	int r;

	if (*n && destination_compare(&items[*n - 1], &items[i]) == 0) {
		r = destination_merge(&items[*n - 1], &items[i]);
		if (r < 0)
			return r;
		destination_done(&items[i]);
		return 0;
	}
	if (*n != i) {
		items[*n] = items[i];
		items[i] = (struct destination){0};
	}
	(*n)++;
	return 0;
}

int destination_list_normalize(struct destination_list *list)
{
	size_t i, n = 0;
	int r = 0;

	if (list->n > 1)
		qsort(list->items, list->n, sizeof(*list->items), list_compare);
	for (i = 0; i < list->n; i++) {
		r = list_fold(list, i, &n);
		if (r < 0)
			break;
	}
	/* Without memory half way: close the gap, every row that was not merged stays. */
	if (i > n)
		memmove(list->items + n, list->items + i, (list->n - i) * sizeof(*list->items));
	list->n -= i - n;
	return r;
}

/* Copy the next of the comma separated *words to *out, behind a comma unless it is the first. */
static void node_take(const char **words, size_t len, char **out, const char *start)
{
	if (*out != start)
		*(*out)++ = ',';
	memcpy(*out, *words, len);
	*out += len;
	*words += len + ((*words)[len] == ',');
}

static int node_compare(const char *a, size_t a_len, const char *b, size_t b_len)
{
	int order = memcmp(a, b, MIN(a_len, b_len));

	return order ? order : (a_len > b_len) - (a_len < b_len);
}

/* The sorted set of the comma separated names in a and b. */
static int node_union(const char *a, const char *b, char **ret)
{
	char *set = malloc(strlen(a) + strlen(b) + 2), *out = set;

	if (!set)
		return -ENOMEM;
	while (*a || *b) {
		size_t a_len = strcspn(a, ","), b_len = strcspn(b, ",");
		int order = !*a ? 1 : !*b ? -1 : node_compare(a, a_len, b, b_len);

		if (order == 0)
			b += b_len + (b[b_len] == ',');
		if (order <= 0)
			node_take(&a, a_len, &out, set);
		else
			node_take(&b, b_len, &out, set);
	}
	*out = '\0';
	*ret = set;
	return 0;
}

static bool list_same_counters(const struct destination_list *a, const struct destination_list *b)
{
	return a->node && b->node && *a->node && strcmp(a->node, b->node) == 0 && a->since_ms &&
	       a->since_ms == b->since_ms;
}

size_t destination_list_latest(const struct destination_list *lists, size_t n, size_t i)
{
	size_t latest = i;

	for (size_t j = 0; j < n; j++) {
		uint64_t ms = lists[j].generated_ms, best = lists[latest].generated_ms;

		if (list_same_counters(&lists[i], &lists[j]) &&
		    (ms > best || (ms == best && j < latest)))
			latest = j;
	}
	return latest;
}

static void list_merge_header(struct destination_list *into, const struct destination_list *from)
{
	if (!into->since_ms || (from->since_ms && from->since_ms < into->since_ms))
		into->since_ms = from->since_ms;
	into->generated_ms = MAX(into->generated_ms, from->generated_ms);
	into->destinations_dropped = model_add(into->destinations_dropped,
					       from->destinations_dropped);
	into->hosts_folded = model_add(into->hosts_folded, from->hosts_folded);
}

int destination_list_merge(struct destination_list *into, struct destination_list *from)
{
	_cleanup_free_ char *node = NULL;
	int r;

	if (into->node || from->node) {
		r = node_union(into->node ? into->node : "", from->node ? from->node : "", &node);
		if (r < 0)
			return r;
	}
	r = list_reserve(into, from->n);
	if (r < 0)
		return r;
	if (from->n)
		memcpy(into->items + into->n, from->items, from->n * sizeof(*from->items));
	into->n += from->n;
	from->n = 0;
	free(into->node);
	into->node = TAKE_PTR(node);
	list_merge_header(into, from);
	destination_list_done(from);
	return destination_list_normalize(into);
}

/* Plaintext HTTP is readable on the way, also as prior-knowledge HTTP/2; the rest is bytes. */
static bool protocol_plaintext(enum protocol p)
{
	return p == PROTOCOL_HTTP || p == PROTOCOL_HTTP2;
}

static bool protocol_encrypted(enum protocol p)
{
	return p == PROTOCOL_TLS || p == PROTOCOL_QUIC;
}

static void judge_row(struct destination *d)
{
	bool nameless = d->name_source == NAME_SOURCE_IP || d->name_source == NAME_SOURCE_DNS;

	d->visibility = protocol_plaintext(d->protocol) ? VISIBILITY_L7 : VISIBILITY_L4;
	if (d->ech)
		d->findings |= 1u << FINDING_ECH;
	if (strcmp(d->host, MODEL_HOST_INVALID) == 0)
		d->findings |= 1u << FINDING_INVALID_NAME;
	if (destination_is_sum(d))
		return;
	if (protocol_encrypted(d->protocol) && nameless)
		d->findings |= 1u << FINDING_NO_SNI;
	if (name_classify(d->host, strlen(d->host)) == NAME_IP)
		d->findings |= 1u << FINDING_IP_LITERAL;
}

/* Rows of one workload and one host, whatever the port. */
static void judge_host(struct destination *rows, size_t n)
{
	bool plaintext = false, encrypted = false;

	for (size_t i = 0; i < n; i++) {
		plaintext |= protocol_plaintext(rows[i].protocol);
		encrypted |= protocol_encrypted(rows[i].protocol);
	}
	if (!plaintext || !encrypted || destination_is_sum(rows))
		return;
	for (size_t i = 0; i < n; i++) {
		if (protocol_plaintext(rows[i].protocol) || protocol_encrypted(rows[i].protocol))
			rows[i].findings |= 1u << FINDING_MIXED_TLS_AND_PLAINTEXT;
	}
}

static bool same_host(const struct destination *a, const struct destination *b)
{
	return strcmp(a->source.ns, b->source.ns) == 0 &&
	       strcmp(a->source.workload, b->source.workload) == 0 && strcmp(a->host, b->host) == 0;
}

void destination_list_judge(struct destination_list *list)
{
	size_t begin = 0;

	for (size_t i = 0; i < list->n; i++) {
		judge_row(&list->items[i]);
		if (i + 1 < list->n && same_host(&list->items[i], &list->items[i + 1]))
			continue;
		judge_host(&list->items[begin], i + 1 - begin);
		begin = i + 1;
	}
}

static bool word_matches(const char *wanted, const char *word)
{
	return !wanted || strcmp(wanted, word) == 0;
}

void destination_list_coverage(const struct destination_list *list, struct coverage *ret)
{
	struct coverage c = {0};

	for (size_t i = 0; i < list->n; i++) {
		const struct destination *d = &list->items[i];
		bool named = d->registry == REGISTRY_REGISTERED ||
			     d->registry == REGISTRY_ORIGINATED;

		if (d->internal)
			continue;
		c.destinations++;
		c.unknown += d->registry == REGISTRY_UNKNOWN;
		c.named += named;
		c.l7 += named && d->visibility == VISIBILITY_L7;
	}
	*ret = c;
}

bool selection_matches(const struct selection *s, const struct destination *d)
{
	if (!word_matches(s->ns, d->source.ns) || !word_matches(s->workload, d->source.workload))
		return false;
	if (s->scope == SCOPE_EXTERNAL && d->internal)
		return false;
	if (s->scope == SCOPE_INTERNAL && !d->internal)
		return false;
	if (s->visibility != VISIBILITY_MAX && s->visibility != d->visibility)
		return false;
	if (s->registry != REGISTRY_MAX && s->registry != d->registry)
		return false;
	return !s->host || fnmatch(s->host, d->host, FNM_CASEFOLD) == 0;
}

void destination_list_select(struct destination_list *list, const struct selection *s)
{
	size_t n = 0;

	for (size_t i = 0; i < list->n; i++) {
		if (!selection_matches(s, &list->items[i]))
			destination_done(&list->items[i]);
		else if (n++ != i)
			list->items[n - 1] = list->items[i];
	}
	list->n = n;
}

static int number_descending(uint64_t a, uint64_t b)
{
	return (a < b) - (a > b);
}

static int compare_bytes(const struct destination *a, const struct destination *b)
{
	return number_descending(model_add(a->sent, a->received), model_add(b->sent, b->received));
}

static int compare_connections(const struct destination *a, const struct destination *b)
{
	return number_descending(a->opened, b->opened);
}

static int compare_requests(const struct destination *a, const struct destination *b)
{
	return number_descending(a->requests, b->requests);
}

static int compare_host(const struct destination *a, const struct destination *b)
{
	return strcmp(a->host, b->host);
}

static int compare_last_seen(const struct destination *a, const struct destination *b)
{
	return number_descending(a->last_ms, b->last_ms);
}

static int (*const sort_compare[])(const struct destination *, const struct destination *) = {
	[SORT_BYTES] = compare_bytes,         [SORT_CONNECTIONS] = compare_connections,
	[SORT_REQUESTS] = compare_requests,   [SORT_HOST] = compare_host,
	[SORT_LAST_SEEN] = compare_last_seen,
};
_Static_assert(ARRAY_SIZE(sort_compare) == SORT_MAX, "an order for every key");

static int list_compare_by(const void *a, const void *b, void *compare)
{
	int order = (*(int (**)(const struct destination *, const struct destination *))compare)(a,
												 b);

	return order ? order : destination_compare(a, b);
}

void destination_list_sort(struct destination_list *list, enum sort_key key)
{
	int (*compare)(const struct destination *, const struct destination *) = sort_compare[key];

	if (list->n > 1)
		qsort_r(list->items, list->n, sizeof(*list->items), list_compare_by, &compare);
}
