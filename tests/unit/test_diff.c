// SPDX-License-Identifier: Apache-2.0
/*
 * Tests of user/diff.c: exact hunks, and that applying a diff gives the other text.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "alloc.h"
#include "diff.h"
#include "util.h"

#define DIFF_MAX (64u << 20)

/* The diff as text; to be freed. */
static char *diff_of(const char *from_name, const char *from, const char *to_name, const char *to)
{
	struct text out = TEXT_INIT(DIFF_MAX);
	char *text = NULL;
	size_t size;

	assert_int_equal(diff_unified(from_name, from, to_name, to, &out), 0);
	assert_int_equal(text_take(&out, &text, &size), 0);
	return text;
}

static void test_hunks(void **state)
{
	static const struct {
		const char *from, *to, *expected;
	} cases[] = {
		{"", "", ""},
		{"a\nb\n", "a\nb\n", ""},
		{"", "a\n", "--- x\n+++ y\n@@ -0,0 +1 @@\n+a\n"},
		{"a\nb\n", "", "--- x\n+++ y\n@@ -1,2 +0,0 @@\n-a\n-b\n"},
		{"a\nb\nc\n", "a\nB\nc\n", "--- x\n+++ y\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n"},
		{"1\n2\n3\n4\n5\n6\n7\n8\n9\n", "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n",
		 "--- x\n+++ y\n@@ -7,3 +7,4 @@\n 7\n 8\n 9\n+10\n"},
		/* Six lines between two changes hold them together, seven do not. */
		{"a\n1\n2\n3\n4\n5\n6\nb\n", "A\n1\n2\n3\n4\n5\n6\nB\n",
		 "--- x\n+++ y\n@@ -1,8 +1,8 @@\n-a\n+A\n 1\n 2\n 3\n 4\n 5\n 6\n-b\n+B\n"},
		{"a\n1\n2\n3\n4\n5\n6\n7\nb\n", "A\n1\n2\n3\n4\n5\n6\n7\nB\n",
		 "--- x\n+++ y\n@@ -1,4 +1,4 @@\n-a\n+A\n 1\n 2\n 3\n@@ -6,4 +6,4 @@\n 5\n 6\n "
		 "7\n-b\n"
		 "+B\n"},
		{"a\nb\nc\nd\n", "b\nx\nd\n",
		 "--- x\n+++ y\n@@ -1,4 +1,3 @@\n-a\n b\n-c\n+x\n d\n"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_free_ char *text = diff_of("x", cases[i].from, "y", cases[i].to);

		assert_string_equal(text, cases[i].expected);
	}
}

static void test_names(void **state)
{
	_cleanup_free_ char *new = diff_of(NULL, "", "y", "a\n");
	_cleanup_free_ char *gone = diff_of("x", "a\n", NULL, "");

	(void)state;
	assert_string_equal(new, "--- /dev/null\n+++ y\n@@ -0,0 +1 @@\n+a\n");
	assert_string_equal(gone, "--- x\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n");
}

/* Lines of a diff back to both texts: what patch(1) checks and makes, all but the numbers outside of hunks. */
static void rebuild(const char *diff, const char *from, char *ret_from, char *ret_to)
{
	const char *line = diff, *next;
	unsigned long at = 1, start;

	for (; *line; line = next) {
		size_t size = strcspn(line, "\n") + 1;

		next = line + size;
		if (strncmp(line, "---", 3) == 0 || strncmp(line, "+++", 3) == 0)
			continue;
		if (*line == '@') {
			start = strtoul(line + 4, NULL, 10);
			/* What lies before the hunk is the same on both sides. */
			for (; at < start; at++) {
				size_t n = strcspn(from, "\n") + 1;

				strncat(ret_from, from, n);
				strncat(ret_to, from, n);
				from += n;
			}
			continue;
		}
		if (*line != '+') {
			strncat(ret_from, line + 1, size - 1);
			from += size - 1;
			at++;
		}
		if (*line != '-')
			strncat(ret_to, line + 1, size - 1);
	}
	strcat(ret_from, from);
	strcat(ret_to, from);
}

static void random_text(char *text, unsigned int lines)
{
	*text = '\0';
	for (unsigned int i = 0; i < lines; i++)
		sprintf(text + strlen(text), "%d\n", rand() % 6);
}

static void test_random(void **state)
{
	char from[256], to[256], from_again[256], to_again[256];

	(void)state;
	srand(1);
	for (int round = 0; round < 5000; round++) {
		_cleanup_free_ char *text = NULL;

		random_text(from, (unsigned int)rand() % 30);
		random_text(to, (unsigned int)rand() % 30);
		text = diff_of("x", from, "y", to);
		*from_again = *to_again = '\0';
		rebuild(text, from, from_again, to_again);
		assert_string_equal(from_again, from);
		assert_string_equal(to_again, to);
		assert_true(!*text == !strcmp(from, to));
	}
}

/* Beyond DIFF_CELLS_MAX everything in between is changed, in bounded memory. */
static void test_large(void **state)
{
	size_t n = 4000;
	char *from = malloc(8 * n + 16), *to = malloc(8 * n + 16), *text, *a = from, *b = to;

	(void)state;
	for (size_t i = 0; i < n; i++) {
		a += sprintf(a, "a%zu\n", i);
		b += sprintf(b, "b%zu\n", i);
	}
	text = diff_of("x", from, "y", to);
	assert_memory_equal(text, "--- x\n+++ y\n@@ -1,4000 +1,4000 @@\n-a0\n-a1\n", 42);
	assert_int_equal(strlen(text), 12 + 22 + 2 * n + strlen(from) + strlen(to));
	free(from);
	free(to);
	free(text);
}

static void test_out_of_memory(void **state)
{
	unsigned long n = 0;
	int r;

	(void)state;
	do {
		struct text out = TEXT_INIT(DIFF_MAX);

		alloc_fail_at(++n);
		r = diff_unified("x", "a\nb\nc\n", "y", "b\nd\n", &out);
		/* What out could not take is out's to tell. */
		if (!r)
			r = out.error;
		assert_int_equal(r, alloc_failed() ? -ENOMEM : 0);
		text_done(&out);
	} while (r);
	alloc_fail_at(0);
	assert_true(n > 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hunks),         cmocka_unit_test(test_names),
		cmocka_unit_test(test_random),        cmocka_unit_test(test_large),
		cmocka_unit_test(test_out_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
