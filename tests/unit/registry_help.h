/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the registry's tests share: registries out of YAML text, questions and answers as one line each.
 *
 * Owns: nothing that is tested. Must not know: how the registry works.
 */
#ifndef TESTS_REGISTRY_HELP_H
#define TESTS_REGISTRY_HELP_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "registry.h"
#include "util.h"
#include "yaml_tree.h"

#define V "apiVersion: networking.istio.io/v1\n"

static inline struct registry_store *help_store(const struct registry_options *options)
{
	struct registry_store *store = NULL;

	assert_int_equal(registry_new(options ? options : &REGISTRY_OPTIONS_DEFAULT, &store), 0);
	return store;
}

struct help_put {
	struct registry_store *store;
	const char *why;
	int error;
};

static inline int help_put_one(const cJSON *document, void *data)
{
	struct help_put *put = data;
	int r;

	if (cJSON_IsNull(document))
		return 0;
	r = registry_put(put->store, document, &put->why);
	if (r && !put->error)
		put->error = r;
	return 0;
}

/* Put all documents; the first one's error that is not taken, with *ret_why. The text must be YAML. */
static inline int help_put_yaml(struct registry_store *store, const char *yaml,
				const char **ret_why)
{
	struct help_put put = {.store = store};
	char why[YAML_TREE_WHY_MAX] = "";
	unsigned int line = 0;
	int r = yaml_tree_read(yaml, strlen(yaml), help_put_one, &put, &line, why);

	if (r)
		print_error("line %u: %s\n%s\n", line, why, yaml);
	assert_int_equal(r, 0);
	if (ret_why)
		*ret_why = put.why;
	return put.error;
}

/* The same of documents that all are taken. */
static inline void help_put_all(struct registry_store *store, const char *yaml)
{
	const char *why = NULL;
	int r = help_put_yaml(store, yaml, &why);

	if (r)
		print_error("%s\n%s\n", why, yaml);
	assert_int_equal(r, 0);
}

/* "a=b,c=d" */
static inline size_t help_labels(char *text, struct registry_label *labels, size_t max)
{
	char *rest = NULL;
	size_t n = 0;

	for (char *word = strtok_r(text, ",", &rest); word && n < max;
	     word = strtok_r(NULL, ",", &rest)) {
		char *equals = strchr(word, '=');

		assert_non_null(equals);
		*equals = '\0';
		labels[n++] = (struct registry_label){.key = word, .value = equals + 1};
	}
	return n;
}

/*
 * A question: "NS[{LABELS}] PROTOCOL HOST:PORT[@ADDRESS]". The host is in the connection unless the protocol is
 * "tcp" or ends in "?"; "-" is none.
 */
static inline void help_ask(const struct registry_store *store, const char *question,
			    struct registry_answer *ret)
{
	char text[512], ns[64], protocol[16], host[300], *at, *colon, *brace;
	struct registry_label labels[8];
	struct registry_query query = {.labels = labels};
	uint8_t address[16];
	enum protocol value;
	bool named;

	snprintf(text, sizeof(text), "%s", question);
	assert_int_equal(sscanf(text, "%63s %15s %299s", ns, protocol, host), 3);
	brace = strchr(ns, '{');
	if (brace) {
		*brace = '\0';
		brace[strlen(brace + 1)] = '\0';
		query.n_labels = help_labels(brace + 1, labels, ARRAY_SIZE(labels));
	}
	at = strchr(host, '@');
	if (at) {
		*at = '\0';
		assert_int_equal(address_parse(at + 1, address), 0);
		query.address = address;
	}
	colon = strrchr(host, ':');
	assert_non_null(colon);
	*colon = '\0';
	named = strcmp(protocol, "tcp") != 0 && !strchr(protocol, '?');
	protocol[strcspn(protocol, "?")] = '\0';
	assert_int_equal(model_protocol_parse(protocol, &value), 0);
	query.ns = ns;
	query.host = strcmp(host, "-") ? host : NULL;
	query.port = (uint16_t)atoi(colon + 1);
	query.protocol = value;
	query.name_source = !named                  ? NAME_SOURCE_DNS
			    : value == PROTOCOL_TLS ? NAME_SOURCE_SNI
						    : NAME_SOURCE_HTTP;
	registry_resolve(store, &query, ret);
}

static inline void help_name(char *text, size_t size, const char *word,
			     const struct registry_object *object)
{
	size_t n = strlen(text);

	if (object)
		snprintf(text + n, size - n, "%s%s/%s", word, object->ns, object->name);
}

/* "STATE [NS/NAME] [by NS/NAME] [near NS/NAME]" */
static inline void help_answer(const struct registry_store *store, const char *question, char *ret,
			       size_t size)
{
	struct registry_answer answer;

	help_ask(store, question, &answer);
	snprintf(ret, size, "%s", model_registry_name(answer.state));
	help_name(ret, size, " ", answer.object);
	help_name(ret, size, " by ", answer.rule);
	help_name(ret, size, " near ", answer.near);
}

/* Whether the answer is the expected one; says so if not. */
static inline bool help_check_one(const struct registry_store *store, const char *name,
				  const char *question, const char *expected)
{
	char answer[512];

	help_answer(store, question, answer, sizeof(answer));
	if (strcmp(answer, expected) == 0)
		return true;
	print_error("%s: %s\n  is     %s\n  not    %s\n", name, question, answer, expected);
	return false;
}

/* One question and its answer; NULL ends a list of them. */
struct help_case {
	const char *question, *answer;
};

#define CASES(...) ((const struct help_case[]){__VA_ARGS__, {NULL, NULL}})

static inline void help_check(const struct registry_store *store, const char *name,
			      const struct help_case *cases)
{
	bool right = true;

	for (; cases->question; cases++)
		right = help_check_one(store, name, cases->question, cases->answer) && right;
	assert_true(right);
}

/* Case files */

/*
 * The lines of a file of cases below tests/unit/, without comments and empty ones; one that begins with a space goes on
 * the line before it. Tests run where the Makefile is.
 */
static inline void help_read_cases(const char *name, void (*each)(char *line, void *data),
				   void *data)
{
	char path[128], line[4096] = "", *next = NULL;
	size_t size = 0, n_lines = 0;
	FILE *file;

	snprintf(path, sizeof(path), "tests/unit/%s", name);
	file = fopen(path, "re");
	if (!file)
		print_error("%s: %s; run this where the Makefile is\n", path, strerror(errno));
	assert_non_null(file);
	while (getline(&next, &size, file) >= 0) {
		next[strcspn(next, "\n")] = '\0';
		if (*next == '#')
			continue;
		if (*next == ' ') {
			assert_true(strlen(line) + strlen(next) < sizeof(line));
			strcat(line, next + strspn(next, " ") - 1);
			continue;
		}
		if (*line)
			each(line, data);
		n_lines += *line != '\0';
		assert_true(strlen(next) < sizeof(line));
		strcpy(line, next);
	}
	if (*line)
		each(line, data);
	free(next);
	fclose(file);
	assert_true(n_lines > 10);
}

/* The flow mapping (or list) that a text begins with. */
static inline size_t help_flow(const char *text)
{
	size_t depth = 0, i = 0;

	for (; text[i]; i++) {
		depth += text[i] == '{' || text[i] == '[';
		depth -= text[i] == '}' || text[i] == ']';
		if (depth == 0)
			break;
	}
	return text[i] ? i + 1 : i;
}

static inline void help_append(char *to, size_t size, const char *text, size_t n)
{
	size_t length = strlen(to);

	assert_true(length + n < size);
	memcpy(to + length, text, n);
	to[length + n] = '\0';
}

/* Replace the short words for ports. */
static inline void help_expand(const char *spec, size_t n, char *to, size_t size)
{
	static const char *const words[][2] = {
		{"HTTP80TO443", "{number: 80, name: http, protocol: HTTP, targetPort: 443}"},
		{"HTTP80", "{number: 80, name: http, protocol: HTTP}"},
		{"TLS443", "{number: 443, name: tls, protocol: TLS}"},
	};

	for (size_t i = 0, w, step; i < n; i += step) {
		for (w = 0; w < ARRAY_SIZE(words); w++)
			if (strncmp(spec + i, words[w][0], strlen(words[w][0])) == 0)
				break;
		step = w < ARRAY_SIZE(words) ? strlen(words[w][0]) : 1;
		if (w < ARRAY_SIZE(words))
			help_append(to, size, words[w][1], strlen(words[w][1]));
		else
			help_append(to, size, spec + i, 1);
	}
}

/*
 * "KIND NS/NAME [@DATE] [labels {..}] [annotations {..}] SPEC [status {..}]" as YAML. What comes before the first
 * brace in the name's place may be missing: a/x, then.
 */
static inline void help_object(const char *text, char *yaml, size_t size)
{
	char kind[32] = "", ns[64] = "a", name[64] = "x", date[16] = "", part[4096];
	const char *word;
	size_t n;

	sscanf(text, "%31s", kind);
	text += strcspn(text, " ");
	if (sscanf(text, " %63[^/ {]/%63[^ {]", ns, name) == 2) {
		text += strspn(text, " ");
		text += strcspn(text, " ");
	} else {
		strcpy(ns, "a");
	}
	if (sscanf(text, " @%15s", date) == 1)
		text = strchr(text, '@') + strcspn(strchr(text, '@'), " ");
	snprintf(yaml, size,
		 "---\napiVersion: %s\nkind: %s\nmetadata:\n  namespace: %s\n  name: %s\n",
		 strcmp(kind, "Service") ? "networking.istio.io/v1" : "v1", kind, ns, name);
	if (*date) {
		snprintf(part, sizeof(part), "  creationTimestamp: \"%sT00:00:00Z\"\n", date);
		help_append(yaml, size, part, strlen(part));
	}
	for (text += strspn(text, " "); *text; text += n, text += strspn(text, " ")) {
		word = text;
		text += strcspn(text, "{[");
		n = help_flow(text);
		if (word == text)
			help_append(yaml, size, "spec", 4);
		else if (strncmp(word, "status", 6) != 0)
			help_append(yaml, size, "  ", 2);
		help_append(yaml, size, word, strcspn(word, " {["));
		help_append(yaml, size, ": ", 2);
		help_expand(text, n, yaml, size);
		help_append(yaml, size, "\n", 1);
	}
}

/* One object as help_object() has it: what is made of it. */
static inline int help_put_line(struct registry_store *store, const char *line,
				const char **ret_why)
{
	char yaml[8192];

	help_object(line, yaml, sizeof(yaml));
	return help_put_yaml(store, yaml, ret_why);
}

/* Several, one a line; all must be taken. */
static inline void help_put(struct registry_store *store, const char *lines)
{
	char line[2048], yaml[8192];
	size_t n;

	for (; *lines; lines += n, lines += *lines == '\n') {
		n = strcspn(lines, "\n");
		snprintf(line, sizeof(line), "%.*s", (int)n, lines);
		help_object(line, yaml, sizeof(yaml));
		help_put_all(store, yaml);
	}
}

#endif
