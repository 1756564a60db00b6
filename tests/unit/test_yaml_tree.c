// SPDX-License-Identifier: Apache-2.0
/*
 * Tests of user/yaml_tree.c and user/yaml_scalar.c: what YAML text becomes, and what hostile text does not.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "alloc.h"
#include "text.h"
#include "util.h"
#include "yaml_alloc.h"
#include "yaml_scalar.h"
#include "yaml_tree.h"

/* The documents' JSON, one line each. */
struct printed {
	struct text text;
	unsigned int n;
};

static int print(const cJSON *document, void *data)
{
	struct printed *printed = data;
	char *json = cJSON_PrintUnformatted(document);

	if (!json)
		return -ENOMEM;
	if (printed->n++)
		text_add_char(&printed->text, '\n');
	text_puts(&printed->text, json);
	free(json);
	return printed->text.error;
}

static int read_text(const char *yaml, size_t size, char **ret_json, unsigned int *ret_line,
		     char *why)
{
	struct printed printed = {.text = TEXT_INIT(1u << 20)};
	int r = yaml_tree_read(yaml, size, print, &printed, ret_line, why);
	size_t length;

	if (!r)
		r = text_take(&printed.text, ret_json, &length);
	text_done(&printed.text);
	return r;
}

static void check(const char *yaml, const char *json)
{
	char why[YAML_TREE_WHY_MAX] = "";
	_cleanup_free_ char *found = NULL;
	unsigned int line = 0;
	int r = read_text(yaml, strlen(yaml), &found, &line, why);

	if (r)
		print_error("%s: %s (line %u)\n", yaml, why, line);
	assert_int_equal(r, 0);
	assert_string_equal(found, json);
}

static void check_refused(const char *yaml, size_t size, int error, unsigned int line,
			  const char *why)
{
	char found[YAML_TREE_WHY_MAX] = "";
	_cleanup_free_ char *json = NULL;
	unsigned int at = 0;
	int r = read_text(yaml, size, &json, &at, found);

	if (r != error || !strstr(found, why))
		print_error("%.60s: %d, line %u: %s\n", yaml, r, at, found);
	assert_int_equal(r, error);
	assert_non_null(strstr(found, why));
	assert_int_equal(at, line);
}

static void test_scalars(void **state)
{
	static const struct {
		const char *yaml, *json;
	} cases[] = {
		{"null", "null"},
		{"Null", "null"},
		{"~", "null"},
		{"a:", "{\"a\":null}"},
		{"true", "true"},
		{"FALSE", "false"},
		/* YAML 1.1's words, which 1.2 knows no more. */
		{"no", "\"no\""},
		{"on", "\"on\""},
		{"y", "\"y\""},
		{"tRue", "\"tRue\""},
		{"12", "12"},
		{"-12", "-12"},
		{"+12", "12"},
		{"010", "10"},
		{"0o17", "15"},
		{"0x1F", "31"},
		{"0x", "\"0x\""},
		{"0o8", "\"0o8\""},
		{"-0x1", "\"-0x1\""},
		{"1_000", "\"1_000\""},
		{"1.5", "1.5"},
		{".5", "0.5"},
		{"1.", "1"},
		{"1e3", "1000"},
		{"1e", "\"1e\""},
		{".", "\".\""},
		{"-", "[null]"},
		{"--", "\"--\""},
		{"1.2.3.4", "\"1.2.3.4\""},
		{"10:30", "\"10:30\""},
		{"2026-01-01", "\"2026-01-01\""},
		{"2026-01-01T00:00:00Z", "\"2026-01-01T00:00:00Z\""},
		{"'12'", "\"12\""},
		{"\"true\"", "\"true\""},
		{"\"\"", "\"\""},
		{"!!str 12", "\"12\""},
		{"! 12", "\"12\""},
		{"!!int \"12\"", "12"},
		{"!!float 12", "12"},
		{"!!bool true", "true"},
		{"!!null ''", "null"},
		{"|\n  a\n  b\n", "\"a\\nb\\n\""},
		{">-\n  a\n  b\n", "\"a b\""},
		{"\"\\u00e9\\t\"", "\"\xc3\xa9\\t\""},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		check(cases[i].yaml, cases[i].json);
}

static void test_trees(void **state)
{
	(void)state;
	check("a: 1\nb: [x, \"y\", {c: d}]\n", "{\"a\":1,\"b\":[\"x\",\"y\",{\"c\":\"d\"}]}");
	check("{\"a\": [1, 2], \"80\": null}", "{\"a\":[1,2],\"80\":null}");
	check("80: http\ntrue: x\n", "{\"80\":\"http\",\"true\":\"x\"}");
	check("- a\n- - b\n  - c\n", "[\"a\",[\"b\",\"c\"]]");
	check("{}", "{}");
	check("", "");
	check("# only a comment\n", "");
	check("--- a\n--- b\n...\n---\n", "\"a\"\n\"b\"\nnull");
	check("\"<<\": 1\n", "{\"<<\":1}");
	check("%YAML 1.2\n---\na: b\n", "{\"a\":\"b\"}");
}

static void test_aliases(void **state)
{
	(void)state;
	check("a: &x {k: [1, 2]}\nb: *x\nc: [*x, *x]\n",
	      "{\"a\":{\"k\":[1,2]},\"b\":{\"k\":[1,2]},\"c\":[{\"k\":[1,2]},{\"k\":[1,2]}]}");
	check("a: &x 1\nb: &x 2\nc: *x\n", "{\"a\":1,\"b\":2,\"c\":2}");
	check_refused("a: *x\n", 6, -EINVAL, 1, "anchored as 'x'");
	/* Anchors end with their document. */
	check_refused("--- &x 1\n--- *x\n", 16, -EINVAL, 2, "anchored as 'x'");
	/* A list inside itself is never complete. */
	check_refused("a: 1\nb: &x [1, *x]\n", 19, -EINVAL, 2, "anchored as 'x'");
}

static void test_refusals(void **state)
{
	static const struct {
		const char *yaml;
		unsigned int line;
		const char *why;
	} cases[] = {
		{"a: 1\na: 2\n", 1, "has the key 'a' twice"},
		{"x:\n  a: 1\n  b: 2\n  a: 3\n", 2, "has the key 'a' twice"},
		{"? [a]\n: b\n", 1, "plain word"},
		{"? {a: b}\n: c\n", 1, "plain word"},
		{"&x a: b\n", 1, "must not have an anchor"},
		{"a: &x b\n*x : c\n", 2, "plain word"},
		{"a: b\n<<: {c: d}\n", 2, "merge keys"},
		{"a: .nan\n", 1, "JSON does not have"},
		{"a: 1\nb: -.inf\n", 2, "JSON does not have"},
		{"a: 1e999\n", 1, "too large"},
		{"a: 11111111111111111111111111111111111111111111111111111111111111111\n", 1,
		 "too many digits"},
		{"a: !!binary aGk=\n", 1, "tag does not fit"},
		{"a: !!int 1.5\n", 1, "tag does not fit"},
		{"a: !!int one\n", 1, "tag does not fit"},
		{"a: !!map [x]\n", 1, "does not fit"},
		{"a: !<x\ty> b\n", 1, "not YAML"},
		{"a: !foo {b: c}\n", 1, "the tag '!foo' does not fit"},
		{"a: \"x\\0y\"\n", 1, "zero byte"},
		{"\"x\\0y\": a\n", 1, "zero byte"},
		{"a: [1\n", 2, "not YAML"},
		{"a: b: c\n", 1, "not YAML"},
		{"a: 1\n\tb: 2\n", 2, "not YAML"},
		{"a: \xff\n", 1, "not YAML"},
		{"a: @x\n", 1, "not YAML"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		check_refused(cases[i].yaml, strlen(cases[i].yaml), -EINVAL, cases[i].line,
			      cases[i].why);
}

/* A key is quoted in the reason, and the reason ends up on a terminal. */
static void test_reason_is_printable(void **state)
{
	static const char yaml[] = "\"\\e[31m\\n\": 1\n\"\\e[31m\\n\": 2\n";
	char why[YAML_TREE_WHY_MAX] = "";
	_cleanup_free_ char *json = NULL;
	unsigned int line;

	(void)state;
	assert_int_equal(read_text(yaml, strlen(yaml), &json, &line, why), -EINVAL);
	assert_non_null(strstr(why, "'?[31m?'"));
	for (const char *c = why; *c; c++)
		assert_true(*c >= ' ' && *c <= '~');
}

static void repeat(struct text *text, const char *what, size_t n)
{
	while (n--)
		text_puts(text, what);
}

/* The text is used up. */
static void check_text(struct text *text, int error, unsigned int line, const char *why)
{
	_cleanup_free_ char *yaml = NULL;
	size_t size;

	assert_int_equal(text_take(text, &yaml, &size), 0);
	text_done(text);
	*text = TEXT_INIT(1u << 20);
	check_refused(yaml, size, error, line, why);
}

static void test_depth(void **state)
{
	struct text text = TEXT_INIT(1u << 20);
	char why[YAML_TREE_WHY_MAX] = "";
	_cleanup_free_ char *yaml = NULL, *json = NULL;
	unsigned int line;
	size_t size;

	(void)state;
	repeat(&text, "[", YAML_TREE_DEPTH_MAX);
	repeat(&text, "]", YAML_TREE_DEPTH_MAX);
	assert_int_equal(text_take(&text, &yaml, &size), 0);
	assert_int_equal(read_text(yaml, size, &json, &line, why), 0);
	text_done(&text);
	text = TEXT_INIT(1u << 20);
	repeat(&text, "[", YAML_TREE_DEPTH_MAX + 1);
	check_text(&text, -EFBIG, 1, "nested deeper than 64");
	repeat(&text, "- ", 100000);
	check_text(&text, -EFBIG, 1, "nested deeper than 64");
	repeat(&text, "{a: ", 100000);
	check_text(&text, -EFBIG, 1, "nested deeper than 64");
	/* Each alias is as deep as it looks, and together they are deeper. */
	text_puts(&text, "a: &a ");
	repeat(&text, "[", 40);
	repeat(&text, "]", 40);
	text_puts(&text, "\nb: ");
	repeat(&text, "[", 40);
	text_puts(&text, "*a");
	repeat(&text, "]", 40);
	check_text(&text, -EFBIG, 2, "nested deeper than 64");
}

/* Ten lines that stand for ten thousand million values. */
static void test_alias_bomb(void **state)
{
	struct text text = TEXT_INIT(1u << 20);

	(void)state;
	text_puts(&text, "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
	for (unsigned int i = 1; i < 10; i++) {
		text_puts(&text, "a");
		text_add_u64(&text, i);
		text_puts(&text, ": &a");
		text_add_u64(&text, i);
		text_puts(&text, " [");
		for (unsigned int j = 0; j < 10; j++) {
			text_puts(&text, j ? ", *a" : "*a");
			text_add_u64(&text, i - 1);
		}
		text_puts(&text, "]\n");
	}
	check_text(&text, -EFBIG, 7, "more than 4194304 values");
	/* The same with one long text: few values, many bytes. */
	text_puts(&text, "a: &a \"");
	repeat(&text, "0123456789abcdef", 4096);
	text_puts(&text, "\"\nb:\n");
	repeat(&text, "- *a\n", 8192);
	check_text(&text, -EFBIG, YAML_TREE_VALUES_MAX / 1025 + 2, "more than 4194304 values");
}

static void test_anchors(void **state)
{
	struct text text = TEXT_INIT(1u << 20);

	(void)state;
	for (unsigned int i = 0; i <= YAML_TREE_ANCHORS_MAX; i++) {
		text_puts(&text, "- &a");
		text_add_u64(&text, i);
		text_puts(&text, " x\n");
	}
	check_text(&text, -EFBIG, YAML_TREE_ANCHORS_MAX + 1, "more than 256 anchors");
}

/* Where an object begins, of a copy too: what is wrong with it is reported there. */
static int check_lines(const cJSON *document, void *data)
{
	const cJSON *list = cJSON_GetObjectItemCaseSensitive(document, "items");

	assert_int_equal(document->valueint, 2);
	assert_int_equal(cJSON_GetArrayItem(list, 0)->valueint, 3);
	assert_int_equal(cJSON_GetArrayItem(list, 1)->valueint, 5);
	assert_int_equal(cJSON_GetArrayItem(list, 2)->valueint, 3);
	++*(int *)data;
	return 0;
}

static void test_lines(void **state)
{
	static const char yaml[] = "# a list\nitems:\n- &x\n  a: 1\n- b: 2\n- *x\n";
	char why[YAML_TREE_WHY_MAX];
	unsigned int line;
	int n = 0;

	(void)state;
	assert_int_equal(yaml_tree_read(yaml, strlen(yaml), check_lines, &n, &line, why), 0);
	assert_int_equal(n, 1);
}

static int stop_at_second(const cJSON *document, void *data)
{
	(void)document;
	return ++*(int *)data == 2 ? -ECANCELED : 0;
}

static void test_callback_stops(void **state)
{
	static const char yaml[] = "--- 1\n--- 2\n--- [\n";
	char why[YAML_TREE_WHY_MAX] = "untouched";
	unsigned int line = 77;
	int n = 0;

	(void)state;
	assert_int_equal(yaml_tree_read(yaml, strlen(yaml), stop_at_second, &n, &line, why),
			 -ECANCELED);
	assert_int_equal(n, 2);
	assert_int_equal(line, 77);
	assert_string_equal(why, "untouched");
}

static void test_out_of_memory(void **state)
{
	static const char yaml[] = "a: &x {b: [1, \"two\", null], c: true}\nd: [*x, &y z]\n--- e\n";
	char why[YAML_TREE_WHY_MAX];
	_cleanup_free_ char *json = NULL;
	unsigned int line;
	int r;

	(void)state;
	for (unsigned long n = 1;; n++) {
		alloc_fail_at(n);
		r = read_text(yaml, strlen(yaml), &json, &line, why);
		if (!alloc_failed())
			break;
		assert_int_equal(r, -ENOMEM);
		assert_true(n < 10000);
	}
	alloc_fail_at(0);
	assert_int_equal(r, 0);
	assert_string_equal(json, "{\"a\":{\"b\":[1,\"two\",null],\"c\":true},\"d\":[{\"b\":[1,"
				  "\"two\",null],\"c\":true},\"z\"]}\n\"e\"");
}

/* The same outside of any text. */
static void test_scalar_value(void **state)
{
	const char *why = NULL;
	cJSON *value = NULL;

	(void)state;
	assert_int_equal(yaml_scalar_value("a\0b", 3, NULL, true, &value, &why), -EINVAL);
	assert_string_equal(why, "a text has a zero byte");
	assert_int_equal(yaml_scalar_value("12", 2, NULL, false, &value, &why), 0);
	assert_true(cJSON_IsString(value));
	cJSON_Delete(value);
	assert_int_equal(yaml_scalar_value("12", 2, NULL, true, &value, &why), 0);
	assert_true(cJSON_IsNumber(value));
	cJSON_Delete(value);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scalars),
		cmocka_unit_test(test_trees),
		cmocka_unit_test(test_aliases),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_reason_is_printable),
		cmocka_unit_test(test_depth),
		cmocka_unit_test(test_alias_bomb),
		cmocka_unit_test(test_anchors),
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_callback_stops),
		cmocka_unit_test(test_out_of_memory),
		cmocka_unit_test(test_scalar_value),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
