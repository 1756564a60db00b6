// SPDX-License-Identifier: Apache-2.0
/*
 * Unit tests of user/kube_scan.c. Every case runs with its text cut at each byte, one byte at a time, and whole: where
 * the network cuts must not matter.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "kube_scan.h"
#include "util.h"

/* What a scan gave, as text: one line an item, then the end. */
struct record {
	struct text text;
	int stop_at; /* the item the sink refuses; 0: none */
	int items;
};

static int on_item(const struct kube_item *item, void *data)
{
	const struct kube_fields *f = item->fields;
	struct record *r = data;
	const char *const parts[] = {f->type, f->ns, f->name, f->uid, f->version};

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		text_puts(&r->text, parts[i]);
		text_puts(&r->text, i < 4 ? "|" : " ");
	}
	if (f->bad)
		text_puts(&r->text, "BAD ");
	if (item->too_large)
		text_puts(&r->text, "LARGE");
	else if (item->text)
		text_add(&r->text, item->text, item->size);
	else
		text_puts(&r->text, "NONE");
	text_puts(&r->text, "\n");
	return ++r->items == r->stop_at ? -EBADE : 0;
}

static void record_end(struct record *r, const struct kube_scan *s, int error)
{
	if (!error)
		error = kube_scan_end(s);
	if (error)
		text_puts(&r->text, strerrorname_np(-error));
	else if (s->form == KUBE_SCAN_LIST) {
		text_puts(&r->text, s->version);
		text_puts(&r->text, "/");
		text_puts(&r->text, s->next);
		text_puts(&r->text, s->bad_list ? " BAD" : "");
	} else
		text_puts(&r->text, "end");
}

/* Feed text in pieces: up to `cut`, from there on; with cut SIZE_MAX byte by byte. */
static char *scan(struct kube_scan *s, enum kube_scan_form form, const char *text, size_t n,
		  size_t cut, int stop_at)
{
	struct record r = {.text = TEXT_INIT(1 << 20), .stop_at = stop_at};
	char *result;
	size_t size;
	int error = 0;

	kube_scan_start(s, form, on_item, &r);
	for (size_t i = 0; !error && i < n;) {
		size_t k = cut == SIZE_MAX ? 1 : i < cut ? MIN(cut, n) : n - i;
		/* Exactly these bytes and no more, for ASan to see. */
		char *piece = malloc(k);

		memcpy(piece, text + i, k);
		error = kube_scan_feed(s, piece, k);
		free(piece);
		i += k;
	}
	record_end(&r, s, error);
	assert_int_equal(text_take(&r.text, &result, &size), 0);
	return result;
}

static void check(enum kube_scan_form form, const char *text, const char *want)
{
	struct kube_scan s = {0};
	size_t n = strlen(text);

	for (size_t cut = 0; cut <= n + 1; cut++) {
		char *got = scan(&s, form, text, n, cut > n ? SIZE_MAX : cut, 0);

		if (strcmp(got, want) != 0)
			fail_msg("cut at %zu: %s\ngot:  %s\nwant: %s", cut, text, got, want);
		free(got);
	}
	kube_scan_done(&s);
}

static const struct {
	const char *text, *want;
} watch_cases[] = {
	{"", "end"},
	{"\n \r\t", "end"},
	{"{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"a\",\"namespace\":\"n\","
	 "\"uid\":\"u\","
	 "\"resourceVersion\":\"7\"},\"spec\":{}}}\n",
	 "ADDED|n|a|u|7 {\"metadata\":{\"name\":\"a\",\"namespace\":\"n\",\"uid\":\"u\","
	 "\"resourceVersion\":\"7\"},\"spec\":{}}\nend"},
	/* Spaces, another order, two events without a newline between them. */
	{"{ \"object\" : { \"metadata\" : { \"name\" : \"a\" } } , \"type\" : \"DELETED\" }"
	 "{\"type\":\"BOOKMARK\",\"object\":{\"kind\":\"Pod\",\"metadata\":{"
	 "\"resourceVersion\":\"9\"}}}",
	 "DELETED||a|| { \"metadata\" : { \"name\" : \"a\" } }\n"
	 "BOOKMARK||||9 {\"kind\":\"Pod\",\"metadata\":{\"resourceVersion\":\"9\"}}\nend"},
	/* The same words elsewhere mean nothing. */
	{"{\"type\":\"ADDED\",\"name\":\"x\",\"metadata\":{\"name\":\"x\"},\"object\":{"
	 "\"name\":\"x\","
	 "\"type\":\"x\",\"spec\":{\"metadata\":{\"name\":\"x\"},\"name\":\"x\"},"
	 "\"list\":[{\"metadata\":{\"name\":\"x\"}},\"name\",\"x\"],"
	 "\"metadata\":{\"labels\":{\"name\":\"x\",\"uid\":\"x\"},\"name\":\"a\","
	 "\"ownerReferences\":[{\"name\":\"x\",\"uid\":\"x\"}],\"x\":\"name\"}}}",
	 "ADDED||a|| {\"name\":\"x\","
	 "\"type\":\"x\",\"spec\":{\"metadata\":{\"name\":\"x\"},\"name\":\"x\"},"
	 "\"list\":[{\"metadata\":{\"name\":\"x\"}},\"name\",\"x\"],"
	 "\"metadata\":{\"labels\":{\"name\":\"x\",\"uid\":\"x\"},\"name\":\"a\","
	 "\"ownerReferences\":[{\"name\":\"x\",\"uid\":\"x\"}],\"x\":\"name\"}}\nend"},
	/* Brackets and quotes in strings. */
	{"{\"type\":\"ADDED\",\"object\":{\"a\":\"}]{[\\\"\\\\\",\"metadata\":{\"name\":"
	 "\"b\"}}}",
	 "ADDED||b|| {\"a\":\"}]{[\\\"\\\\\",\"metadata\":{\"name\":\"b\"}}\nend"},
	/* A NUL in a string is made harmless; its escape's escape is none. */
	{"{\"object\":{\"a\":\"x\\u0000y\",\"b\":\"\\\\u0000\",\"\\u0000\":1}}",
	 "|||| {\"a\":\"x\\ufffdy\",\"b\":\"\\\\u0000\",\"\\ufffd\":1}\nend"},
	/* Numbers and words as values, a string after them. */
	{"{\"object\":{\"metadata\":{\"generation\":7,\"deletionTimestamp\":null,\"name\":"
	 "\"a\"}}}",
	 "||a|| "
	 "{\"metadata\":{\"generation\":7,\"deletionTimestamp\":null,\"name\":\"a\"}}"
	 "\nend"},
	/* Names that are none. */
	{"{\"object\":{\"metadata\":{\"name\":\"a\\u0062\"}}}",
	 "|||| BAD {\"metadata\":{\"name\":\"a\\u0062\"}}\nend"},
	{"{\"object\":{\"metadata\":{\"name\":7,\"uid\":[\"x\"],\"namespace\":{\"name\":"
	 "\"x\"}}}}",
	 "|||| "
	 "{\"metadata\":{\"name\":7,\"uid\":[\"x\"],\"namespace\":{\"name\":\"x\"}}}\nend"},
	{"{\"type\":\"a type that is very long\"}", "|||| BAD NONE\nend"},
	{"{}", "|||| NONE\nend"},
	{"{\"type\":\"ADDED\",\"object\":null}", "ADDED|||| NONE\nend"},
	{"{\"type\":\"ADDED\",\"object\":\"x\"}{\"type\":\"B\"}",
	 "ADDED|||| NONE\nB|||| NONE\nend"},
	/* Cut in the middle. */
	{"{\"type\":\"ADDED\"", "EPIPE"},
	{"{\"type\":\"ADD", "EPIPE"},
	{"{}{", "|||| NONE\nEPIPE"},
	/* Not that. */
	{"x", "EPROTO"},
	{"[]", "EPROTO"},
	{"\"x\"", "EPROTO"},
	{"{}}", "|||| NONE\nEPROTO"},
	{"{},{}", "|||| NONE\nEPROTO"},
	{"{}7", "|||| NONE\nEPROTO"},
	{"<html>", "EPROTO"},
	{"{\"a\":\"line\nbreak\"}", "EPROTO"},
	{"{\"a\":\x01}", "EPROTO"},
	{"{\"a\":\xff}", "EPROTO"},
	{"{\"object\":[{}]}", "EPROTO"},
};

static void watches(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(watch_cases); i++)
		check(KUBE_SCAN_WATCH, watch_cases[i].text, watch_cases[i].want);
}

static const struct {
	const char *text, *want;
} list_cases[] = {
	{"{\"kind\":\"PodList\",\"metadata\":{\"resourceVersion\":\"12\",\"continue\":"
	 "\"abc\","
	 "\"remainingItemCount\":3},\"items\":[{\"metadata\":{\"name\":\"a\",\"uid\":\"u\"}"
	 "},\n"
	 "{\"metadata\":{\"name\":\"b\",\"namespace\":\"n\"}}]}\n",
	 "||a|u| {\"metadata\":{\"name\":\"a\",\"uid\":\"u\"}}\n"
	 "|n|b|| {\"metadata\":{\"name\":\"b\",\"namespace\":\"n\"}}\n12/abc"},
	/* Items first, words where they mean nothing. */
	{"{\"items\":[{\"items\":[{\"metadata\":{\"name\":\"x\"}}],\"metadata\":{\"name\":"
	 "\"a\"},"
	 "\"continue\":\"x\"}],\"resourceVersion\":\"x\",\"x\":{\"continue\":\"x\"},"
	 "\"metadata\":{\"x\":{\"continue\":\"x\"},\"resourceVersion\":\"1\"}}",
	 "||a|| {\"items\":[{\"metadata\":{\"name\":\"x\"}}],\"metadata\":{\"name\":\"a\"},"
	 "\"continue\":\"x\"}\n1/"},
	{"{\"metadata\":{\"resourceVersion\":\"1\"},\"items\":[]}", "1/"},
	{"{\"metadata\":{\"resourceVersion\":\"1\"},\"items\":null}", "1/"},
	{"{}", "/"},
	{"{\"items\":[{},{}]}", "|||| {}\n|||| {}\n/"},
	{"{\"metadata\":{\"continue\":\"a\\\"\"}}", "/ BAD"},
	/* Nothing, and not all. */
	{"", "ENODATA"},
	{" \n", "ENODATA"},
	{"{\"items\":[{}", "|||| {}\nEPIPE"},
	{"{\"items\":[{}]", "|||| {}\nEPIPE"},
	/* Not that. */
	{"{}{}", "EPROTO"},
	{"{} x", "EPROTO"},
	{"{\"items\":{\"a\":{}}}", "EPROTO"},
	{"{\"items\":[7]}", "EPROTO"},
	{"{\"items\":[\"x\"]}", "EPROTO"},
	{"{\"items\":[null]}", "EPROTO"},
	{"{\"items\":[[]]}", "EPROTO"},
	{"{\"items\":[{}x]}", "|||| {}\nEPROTO"},
};

static void lists(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(list_cases); i++)
		check(KUBE_SCAN_LIST, list_cases[i].text, list_cases[i].want);
}

/* ---- limits ---- */

/* {"type":"ADDED","object":{"metadata":{"name":"a"},"x":FILL}}{..."b"} with n times `fill`. */
static char *large(const char *before, const char *fill, size_t n, const char *after,
		   size_t *ret_size)
{
	static const char second[] =
		"{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"b\"}}}";
	static const char first[] = "{\"object\":{\"metadata\":{\"name\":\"a\"},\"x\":";
	static const char last[] = ",\"y\":1},\"type\":\"ADDED\"}";
	size_t k = strlen(fill);
	struct text t = TEXT_INIT(SIZE_MAX);
	char *result;

	text_puts(&t, first);
	text_puts(&t, before);
	for (size_t i = 0; i < n; i++)
		text_add(&t, fill, k);
	text_puts(&t, after);
	text_puts(&t, last);
	text_puts(&t, second);
	assert_int_equal(text_take(&t, &result, ret_size), 0);
	return result;
}

static void limit(const char *before, const char *fill, size_t n, const char *after, bool too_large)
{
	struct kube_scan s = {0};
	struct record r = {.text = TEXT_INIT(16u << 20)};
	size_t size, got_size;
	char *text = large(before, fill, n, after, &size), *got;

	kube_scan_start(&s, KUBE_SCAN_WATCH, on_item, &r);
	for (size_t i = 0; i < size; i += 16384) {
		assert_int_equal(kube_scan_feed(&s, text + i, MIN(16384, size - i)), 0);
		/* Whatever comes, no more memory than the limit. */
		assert_true(s.object.capacity <= KUBE_OBJECT_MAX + 1);
	}
	assert_int_equal(kube_scan_end(&s), 0);
	assert_int_equal(r.items, 2);
	assert_int_equal(text_take(&r.text, &got, &got_size), 0);
	if (too_large)
		assert_string_equal(
			got, "ADDED||a|| LARGE\nADDED||b|| {\"metadata\":{\"name\":\"b\"}}\n");
	else
		assert_null(strstr(got, "LARGE"));
	free(got);
	free(text);
	kube_scan_done(&s);
}

static void large_objects(void **state)
{
	/* {"metadata":{"name":"a"},"x":"...","y":1} has 38 bytes around the dots. */
	const size_t around = 38;

	(void)state;
	limit("\"", "z", KUBE_OBJECT_MAX - around, "\"", false);
	limit("\"", "z", KUBE_OBJECT_MAX - around + 1, "\"", true);
	limit("\"", "z", 3 * KUBE_OBJECT_MAX, "\"", true);
}

static void many_values(void **state)
{
	(void)state;
	limit("[0", ",0", KUBE_VALUES_MAX - 100, "]", false);
	limit("[0", ",0", KUBE_VALUES_MAX, "]", true);
}

static void deep_objects(void **state)
{
	char open[2 * KUBE_DEPTH_MAX + 2], close[2 * KUBE_DEPTH_MAX + 2];

	(void)state;
	for (size_t i = 0; i <= 2 * KUBE_DEPTH_MAX; i++) {
		open[i] = '[';
		close[i] = ']';
	}
	open[KUBE_DEPTH_MAX - 2] = close[KUBE_DEPTH_MAX - 2] = '\0';
	limit(open, "", 0, close, false);
	open[KUBE_DEPTH_MAX - 2] = '[';
	close[KUBE_DEPTH_MAX - 2] = ']';
	open[KUBE_DEPTH_MAX - 1] = close[KUBE_DEPTH_MAX - 1] = '\0';
	limit(open, "", 0, close, true);
	open[KUBE_DEPTH_MAX - 1] = '[';
	close[KUBE_DEPTH_MAX - 1] = ']';
	open[2 * KUBE_DEPTH_MAX + 1] = close[2 * KUBE_DEPTH_MAX + 1] = '\0';
	limit(open, "", 0, close, true);
}

static void long_names(void **state)
{
	char name[300], text[512], want[700];

	(void)state;
	memset(name, 'n', sizeof(name));
	name[KUBE_NAME_MAX] = '\0';
	snprintf(text, sizeof(text), "{\"object\":{\"metadata\":{\"name\":\"%s\"}}}", name);
	snprintf(want, sizeof(want), "||%s|| {\"metadata\":{\"name\":\"%s\"}}\nend", name, name);
	check(KUBE_SCAN_WATCH, text, want);
	name[KUBE_NAME_MAX] = 'n';
	name[KUBE_NAME_MAX + 1] = '\0';
	snprintf(text, sizeof(text), "{\"object\":{\"metadata\":{\"name\":\"%s\"}}}", name);
	snprintf(want, sizeof(want), "|||| BAD {\"metadata\":{\"name\":\"%s\"}}\nend", name);
	check(KUBE_SCAN_WATCH, text, want);
}

static void long_tokens(void **state)
{
	static char token[KUBE_CONTINUE_MAX + 2], text[KUBE_CONTINUE_MAX + 64],
		want[KUBE_CONTINUE_MAX + 64];

	(void)state;
	memset(token, 't', KUBE_CONTINUE_MAX);
	snprintf(text, sizeof(text), "{\"metadata\":{\"continue\":\"%s\"}}", token);
	snprintf(want, sizeof(want), "/%s", token);
	check(KUBE_SCAN_LIST, text, want);
	token[KUBE_CONTINUE_MAX] = 't';
	snprintf(text, sizeof(text), "{\"metadata\":{\"continue\":\"%s\"}}", token);
	check(KUBE_SCAN_LIST, text, "/ BAD");
}

/* What the sink says ends it. */
static void sink_refuses(void **state)
{
	static const char text[] = "{\"items\":[{},{},{}]}";
	struct kube_scan s = {0};
	char *got = scan(&s, KUBE_SCAN_LIST, text, strlen(text), 0, 2);

	(void)state;
	assert_string_equal(got, "|||| {}\n|||| {}\nEBADE");
	free(got);
	/* The next answer begins afresh. */
	got = scan(&s, KUBE_SCAN_LIST, text, strlen(text), 0, 0);
	assert_string_equal(got, "|||| {}\n|||| {}\n|||| {}\n/");
	free(got);
	kube_scan_done(&s);
	kube_scan_done(&s);
}

static int count_item(const struct kube_item *item, void *data)
{
	(void)item;
	++*(int *)data;
	return 0;
}

static void without_memory(void **state)
{
	static const char text[] = "{\"items\":[{\"metadata\":{\"name\":\"a\"},\"x\":\""
				   "012345678901234567890123456789012345678901234567890123456789012"
				   "3456789012345678901234567890123456789"
				   "012345678901234567890123456789012345678901234567890123456789012"
				   "3456789012345678901234567890123456789"
				   "012345678901234567890123456789012345678901234567890123456789012"
				   "3456789012345678901234567890123456789"
				   "\"}]}";
	int r = 0, items = 0;

	(void)state;
	for (unsigned long n = 1;; n++) {
		struct kube_scan s = {0};

		items = 0;
		alloc_fail_at(n);
		kube_scan_start(&s, KUBE_SCAN_LIST, count_item, &items);
		r = kube_scan_feed(&s, text, strlen(text));
		kube_scan_done(&s);
		if (!alloc_failed())
			break;
		assert_int_equal(r, -ENOMEM);
		assert_int_equal(items, 0);
	}
	alloc_fail_at(0);
	assert_int_equal(r, 0);
	assert_int_equal(items, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(watches),        cmocka_unit_test(lists),
		cmocka_unit_test(large_objects),  cmocka_unit_test(many_values),
		cmocka_unit_test(deep_objects),   cmocka_unit_test(long_names),
		cmocka_unit_test(long_tokens),    cmocka_unit_test(sink_refuses),
		cmocka_unit_test(without_memory),
	};

	return cmocka_run_group_tests_name("kube_scan", tests, NULL, NULL);
}
