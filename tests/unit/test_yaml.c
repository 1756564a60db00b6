// SPDX-License-Identifier: Apache-2.0
/*
 * Tests of user/yaml.c: what a tree looks like as text, and what a config file may look like.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "alloc.h"
#include "util.h"
#include "yaml.h"
#include "yaml_alloc.h"

/* What a YAML reader would take for something else than a string, or for more than one line. */
static void test_strings_stay_strings(void **state)
{
	static const struct {
		const char *value, *line;
	} cases[] = {
		{"NO", "\"NO\"\n"},
		{"1e3", "\"1e3\"\n"},
		{"010", "\"010\"\n"},
		{"~", "\"~\"\n"},
		{"a\"b\\c", "\"a\\\"b\\\\c\"\n"},
		{"a\n---\nb", "\"a\\n---\\nb\"\n"},
		{"\x01", "\"\\x01\"\n"},
		{"", "\"\"\n"},
		{"\xc3\xa9", "\"\\xE9\"\n"},
		{"a b c d e f g h i j k l m n o p q r s t u v w x y z a b c d e f g h i j k l m n",
		 "\"a b c d e f g h i j k l m n o p q r s t u v w x y z a b c d e f g h i j "
		 "k l m n\"\n"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		cJSON *tree = cJSON_CreateObject();
		_cleanup_free_ char *text = NULL;
		size_t size;

		cJSON_AddStringToObject(tree, "key", cases[i].value);
		assert_int_equal(yaml_print(tree, &text, &size), 0);
		assert_memory_equal(text, "key: ", 5);
		assert_string_equal(text + 5, cases[i].line);
		assert_int_equal(size, strlen(text));
		cJSON_Delete(tree);
	}
}

#define TREE                                                                                 \
	"{\"a\": \"x\", \"b\": [\"y\", {\"c\": 1, \"d\": -2.5}, [3]], \"e\": {\"f\": true, " \
	"\"g\": false, \"h\": null}, \"i\": 9007199254740992, \"j\": 1e300, \"k\": {}, \"l\": []}"

static const char tree_text[] = "a: \"x\"\n"
				"b:\n"
				"- \"y\"\n"
				"- c: 1\n"
				"  d: -2.5\n"
				"- - 3\n"
				"e:\n"
				"  f: true\n"
				"  g: false\n"
				"  h: null\n"
				"i: 9007199254740992\n"
				"j: 1.0000000000000001e+300\n"
				"k: {}\n"
				"l: []\n";

static void test_print(void **state)
{
	cJSON *tree = cJSON_Parse(TREE);
	_cleanup_free_ char *text = NULL;
	size_t size;

	(void)state;
	assert_int_equal(yaml_print(tree, &text, &size), 0);
	assert_string_equal(text, tree_text);
	cJSON_Delete(tree);
}

static void test_print_out_of_memory(void **state)
{
	cJSON *tree = cJSON_Parse(TREE);
	_cleanup_free_ char *text = NULL;
	size_t size = 77;
	unsigned long n = 0;
	int r;

	(void)state;
	do {
		alloc_fail_at(++n);
		r = yaml_print(tree, &text, &size);
		assert_int_equal(r, alloc_failed() ? -ENOMEM : 0);
		if (r)
			assert_true(!text && size == 77);
	} while (r);
	alloc_fail_at(0);
	/* libyaml makes at least one for each of the scalars: its own were counted, too. */
	assert_true(n > 20);
	assert_string_equal(text, tree_text);
	cJSON_Delete(tree);
}

/* The config file */

/* A file in memory: nothing is left behind, however the test ends. */
static char config_path[32];
static int config_fd;

static int config_setup(void **state)
{
	(void)state;
	config_fd = memfd_create("config", 0);
	snprintf(config_path, sizeof(config_path), "/proc/self/fd/%d", config_fd);
	return config_fd < 0 ? -1 : 0;
}

static int config_teardown(void **state)
{
	(void)state;
	return close(config_fd);
}

/* Every value as "line key=value;". */
struct seen {
	char text[512];
	int answer; /* of the callback */
};

static int see(const char *key, const char *value, unsigned int line, void *data)
{
	struct seen *seen = data;
	size_t n = strlen(seen->text);

	snprintf(seen->text + n, sizeof(seen->text) - n, "%u %s=%s;", line, key, value);
	return seen->answer;
}

static int read_config(const char *text, size_t size, struct seen *seen, unsigned int *line,
		       char **why)
{
	FILE *file = fopen(config_path, "w");

	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, size, file), size);
	assert_int_equal(fclose(file), 0);
	return yaml_read_config(config_path, see, seen, line, why);
}

static void test_config_values(void **state)
{
	static const struct {
		const char *text, *seen;
	} cases[] = {
		{"", ""},
		{"# nothing\n", ""},
		{"sort: host\n", "1 sort=host;"},
		{"# one\n\nsort: host\nlisten: ':9990'\n", "3 sort=host;4 listen=:9990;"},
		{"from: [a, \"b c\"]\nall: true", "1 from=a;1 from=b c;2 all=true;"},
		{"from:\n- a\n- b\n", "2 from=a;3 from=b;"},
		{"from: []\n", ""},
		{"node: \"\"\n", "1 node=;"},
		{"node: 'null'\n", "1 node=null;"},
		{"{sort: host, all: no}", "1 sort=host;1 all=no;"},
		{"---\nsort: host\n...\n", "2 sort=host;"},
		{"a: &x host\nb: *x\n", "1 a=host;1 b=host;"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct seen seen = {0};
		unsigned int line = 77;
		char *why = NULL;

		assert_int_equal(
			read_config(cases[i].text, strlen(cases[i].text), &seen, &line, &why), 0);
		assert_string_equal(seen.text, cases[i].seen);
		assert_int_equal(line, 77);
		assert_null(why);
	}
}

static void test_config_refuses(void **state)
{
	static const struct {
		const char *text;
		size_t size; /* 0: strlen */
		unsigned int line;
		const char *why;
	} cases[] = {
		{"sort\n", 0, 1, "not a mapping"},
		{"\n- sort\n", 0, 2, "not a mapping"},
		{"sort: host\nall:\n", 0, 2, "plain value"},
		{"sort: ~\n", 0, 1, "plain value"},
		{"a: b\nsort: {a: b}\n", 0, 2, "plain value"},
		{"from:\n- a\n- [b]\n", 0, 3, "plain value"},
		{"[a]: b\n", 0, 1, "key"},
		{"a: b\n? {x: y}\n: c\n", 0, 2, "key"},
		{"a: \"b\\0c\"\n", 0, 1, "plain value"},
		{"a: b\n---\na: c\n", 0, 3, "more than one document"},
		{"a: [b\n", 0, 2, "not YAML"},
		{"a: b\n\tc: d\n", 0, 2, "not YAML"},
		{"a: *nowhere\n", 0, 1, "not YAML"},
		{"a: b\nc: \xff\xfe\n", 0, 1, "not YAML"},
		{"a: b\0c\n", 7, 1, "not YAML"},
		{"x: &x [*x]\n", 0, 1, "plain value"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		size_t size = cases[i].size ? cases[i].size : strlen(cases[i].text);
		struct seen seen = {0};
		unsigned int line = 0;
		_cleanup_free_ char *why = NULL;

		assert_int_equal(read_config(cases[i].text, size, &seen, &line, &why), -EINVAL);
		if (!why || !strstr(why, cases[i].why) || line != cases[i].line)
			fail_msg("case %zu: line %u: %s", i, line, why ? why : "(no reason)");
	}
}

static void test_config_callback_stops(void **state)
{
	struct seen seen = {.answer = 5};
	unsigned int line = 77;
	char *why = NULL;

	(void)state;
	assert_int_equal(read_config("a: [b, c]\nd: e\n", 15, &seen, &line, &why), 5);
	assert_string_equal(seen.text, "1 a=b;");
	assert_null(why);
}

static void test_config_unreadable(void **state)
{
	_cleanup_free_ char *large = calloc(1, (1u << 20) + 1);
	struct seen seen = {0};
	unsigned int line = 0;
	char *why = NULL;

	(void)state;
	assert_int_equal(yaml_read_config("/nonexistent/file", see, &seen, &line, &why), -ENOENT);
	assert_int_equal(yaml_read_config("/tmp", see, &seen, &line, &why), -EISDIR);
	assert_int_equal(yaml_read_config("/dev/zero", see, &seen, &line, &why), -EFBIG);
	assert_non_null(large);
	memset(large, '\n', 1u << 20);
	assert_int_equal(read_config(large, 1u << 20, &seen, &line, &why), 0);
	assert_int_equal(read_config(large, (1u << 20) + 1, &seen, &line, &why), -EFBIG);
	assert_null(why);
}

static void test_config_out_of_memory(void **state)
{
	static const char text[] = "from: [a, b]\nsort: \"host\"\n";
	unsigned long n = 0;
	int r;

	(void)state;
	do {
		struct seen seen = {0};
		unsigned int line = 77;
		char *why = NULL;

		/* stdio's own buffer is allocated inside libc and not counted. */
		alloc_fail_at(++n);
		r = read_config(text, sizeof(text) - 1, &seen, &line, &why);
		assert_int_equal(r, alloc_failed() ? -ENOMEM : 0);
		assert_int_equal(line, 77);
	} while (r);
	alloc_fail_at(0);
	assert_true(n > 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_strings_stay_strings),
		cmocka_unit_test(test_print),
		cmocka_unit_test(test_print_out_of_memory),
		cmocka_unit_test(test_config_values),
		cmocka_unit_test(test_config_refuses),
		cmocka_unit_test(test_config_callback_stops),
		cmocka_unit_test(test_config_unreadable),
		cmocka_unit_test(test_config_out_of_memory),
	};

	return cmocka_run_group_tests(tests, config_setup, config_teardown);
}
