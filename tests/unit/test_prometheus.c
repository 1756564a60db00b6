// SPDX-License-Identifier: Apache-2.0
/*
 * prometheus*.c without a server: answers as texts, who reported them, rows, sums, and the pages to ask in.
 *
 * Must not know: HTTP. What a real Prometheus and broken servers answer is tests/e2e/test_prometheus_api.sh's.
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
#include "prometheus_work.h"
#include "util.h"

/* ---- answers ---- */

struct seen {
	char text[4096]; /* name=value of labels and the value, a line a series */
	char notes[1024];
	int stop; /* what series() returns */
};

static int on_series(const struct prometheus_series *s, void *data)
{
	struct seen *seen = data;
	size_t n = strlen(seen->text);

	for (size_t i = 0; i < s->n_labels; i++)
		n += (size_t)snprintf(seen->text + n, sizeof(seen->text) - n, "%s=%s ",
				      s->labels[i].name, s->labels[i].value);
	snprintf(seen->text + n, sizeof(seen->text) - n, "%.17g\n", s->value);
	return seen->stop;
}

static void on_note(const char *line, void *data)
{
	struct seen *seen = data;
	size_t n = strlen(seen->notes);

	snprintf(seen->notes + n, sizeof(seen->notes) - n, "%s\n", line);
}

static int read_text(const char *text, struct seen *seen, char **ret_why)
{
	const struct prometheus_reader reader = {on_series, on_note, seen, seen};

	return prometheus_read(text, strlen(text), &reader, ret_why);
}

#define VECTOR(series) \
	"{\"status\":\"success\",\"data\":{\"resultType\":\"vector\",\"result\":[" series "]}}"

static void answers_are_read(void **state)
{
	static const struct {
		const char *text, *want;
	} cases[] = {
		{VECTOR(""), ""},
		{VECTOR("{\"metric\":{},\"value\":[1,\"2\"]}"), "2\n"},
		/* Labels come sorted, whatever the order; numbers in every form. */
		{VECTOR("{\"metric\":{\"b\":\"1\",\"a\":\"\"},\"value\":[1.5,\"1.23e+06\"]},"
			"{\"metric\":{\"a\":\"x\\ny\"},\"value\":[1,\"NaN\"]},"
			"{\"metric\":{\"a\":\"\\u20ac\"},\"value\":[1,\"-Inf\"]}"),
		 "a= b=1 1230000\na=x\ny nan\na=\xe2\x82\xac -inf\n"},
		{"{\"status\":\"success\",\"data\":{\"resultType\":\"scalar\",\"result\":[1,\"7."
		 "5\"]}}",
		 "7.5\n"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_free_ char *why = NULL;
		struct seen seen = {.text = ""};

		assert_int_equal(read_text(cases[i].text, &seen, &why), 0);
		assert_string_equal(seen.text, cases[i].want);
		assert_null(why);
	}
}

static void what_is_no_answer_is_named(void **state)
{
	static const struct {
		const char *text;
		int error;
		const char *why;
	} cases[] = {
		{"", -EINVAL, "it is not what Prometheus answers"},
		{"<html>", -EINVAL, "it is not what Prometheus answers"},
		{"[]", -EINVAL, "it is not what Prometheus answers"},
		{"{\"status\":1}", -EINVAL, "it is not what Prometheus answers"},
		{"{\"status\":\"success\"}", -EINVAL, "it has another result than was asked for"},
		{"{\"status\":\"success\",\"data\":{\"resultType\":\"vector\",\"result\":{}}}",
		 -EINVAL, "it has another result than was asked for"},
		{"{\"status\":\"success\",\"data\":{\"resultType\":\"scalar\",\"result\":[]}}",
		 -EINVAL, "it has another result than was asked for"},
		{VECTOR("1"), -EINVAL, "a series has no labels that can be read"},
		{VECTOR("{\"metric\":{\"a\":null},\"value\":[1,\"2\"]}"), -EINVAL,
		 "a series has no labels that can be read"},
		{VECTOR("{\"metric\":{},\"value\":[1,2]}"), -EINVAL,
		 "a series has no value that can be read"},
		{VECTOR("{\"metric\":{},\"value\":[1,\"\"]}"), -EINVAL,
		 "a series has no value that can be read"},
		{VECTOR("{\"metric\":{},\"value\":[1,\"2\",3]}"), -EINVAL,
		 "a series has no value that can be read"},
		{VECTOR("{\"metric\":{},\"values\":[[1,\"2\"]]}"), -EINVAL,
		 "a series has no value that can be read"},
		{"{\"status\":\"error\"}", -EREMOTEIO, ""},
		{"{\"status\":\"error\",\"error\":\"too\\u001b\\nmuch\"}", -EREMOTEIO,
		 "too\\x1b\\x0amuch"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_free_ char *why = NULL;
		struct seen seen = {.text = ""};

		assert_int_equal(read_text(cases[i].text, &seen, &why), cases[i].error);
		assert_non_null(why);
		assert_string_equal(why, cases[i].why);
		assert_string_equal(seen.text, "");
	}
}

static void warnings_are_passed_on(void **state)
{
	static const char text[] =
		"{\"status\":\"success\",\"warnings\":[\"slow\\u0007\",\"late\"],\"infos\":[\"i\"],"
		"\"data\":{\"resultType\":\"vector\",\"result\":[{\"metric\":{},\"value\":[1,\"2\"]"
		"}]}}";
	_cleanup_free_ char *why = NULL;
	struct seen seen = {.stop = -ENOSPC};

	(void)state;
	assert_int_equal(read_text(text, &seen, &why), -ENOSPC);
	assert_string_equal(seen.notes, "slow\\x07\nlate\ni\n");
	assert_null(why);
}

/* ---- rows ---- */

struct reports {
	struct prometheus_agents agents;
	struct prometheus_rows rows;
};

static void reports_done(struct reports *r)
{
	prometheus_rows_done(&r->rows);
	prometheus_agents_done(&r->agents);
}

/* "name=value name=value": what every series has, and these; a later one of the same name wins. */
static struct prometheus_series series(double value, const char *more, char *buf, size_t size)
{
	struct prometheus_series s = {.value = value};
	char *rest = buf, *word;

	snprintf(buf, size,
		 "%s instance=a source_workload=w source_workload_namespace=n "
		 "destination_service=h.example destination_port=443 request_protocol=tcp",
		 more);
	while ((word = strsep(&rest, " "))) {
		char *equal = strchr(word, '=');
		bool known = false;

		if (!equal)
			continue;
		*equal = '\0';
		for (size_t i = 0; i < s.n_labels; i++)
			known |= strcmp(s.labels[i].name, word) == 0;
		if (!known)
			s.labels[s.n_labels++] = (struct prometheus_label){word, equal + 1};
	}
	return s;
}

static void info(struct reports *r, double value, const char *labels)
{
	char buf[2048];
	struct prometheus_series s = series(value, labels, buf, sizeof(buf));

	assert_int_equal(prometheus_rows_info(&r->rows, &r->agents, &s), 0);
}

static void count(struct reports *r, const char *family, double value, const char *labels)
{
	char buf[2048];
	struct prometheus_series s = series(value, labels, buf, sizeof(buf));
	size_t i = 0;

	while (strcmp(prometheus_families[i], family) != 0)
		i++;
	assert_int_equal(prometheus_rows_count(&r->rows, &r->agents, i, &s), 0);
}

static struct destination_list listed(struct reports *r)
{
	struct destination_list list = {0};

	assert_int_equal(prometheus_rows_list(&r->rows, &list), 0);
	return list;
}

#define OPENED "egress_tcp_connections_opened_total"

static void rows_are_put_together(void **state)
{
	struct reports r = {0};
	struct destination_list list;

	(void)state;
	info(&r, 1,
	     "visibility=l4 registry=passthrough name_source=sni tls_version=1.2,1.3 alpn=h2");
	info(&r, 1, "request_protocol=http destination_port=80 name_source=http");
	info(&r, 1, "request_protocol=quic interception=bypass");
	info(&r, 1, "instance=b registry=blocked name_source=sni");
	assert_int_equal(prometheus_rows_sort(&r.rows), 0);
	count(&r, OPENED, 3, "");
	count(&r, OPENED, 4, "instance=b");
	count(&r, OPENED, 5, "destination_port=80");
	count(&r, "egress_tls_handshakes_failed_total", 1, "");
	count(&r, "egress_requests_total", 6,
	      "destination_port=80 request_protocol=http response_code=200 request_method=GET");
	count(&r, "egress_requests_total", 7,
	      "destination_port=80 request_protocol=http response_code=0 request_method=BREW");
	list = listed(&r);
	assert_int_equal(list.n, 3);
	assert_int_equal(list.items[0].protocol, PROTOCOL_HTTP);
	assert_int_equal(list.items[0].opened, 5);
	assert_int_equal(list.items[0].requests, 13);
	assert_int_equal(list.items[0].n_by_code, 2);
	assert_int_equal(list.items[0].by_code[0].method, EA_METHOD_OTHER);
	assert_int_equal(list.items[1].protocol, PROTOCOL_QUIC);
	assert_int_equal(list.items[1].findings, 1u << FINDING_QUIC_BYPASS);
	assert_int_equal(list.items[2].protocol, PROTOCOL_TLS);
	assert_int_equal(list.items[2].opened, 7);
	assert_int_equal(list.items[2].registry, REGISTRY_BLOCKED);
	assert_int_equal(list.items[2].tls_versions, 1u << TLS_12 | 1u << TLS_13);
	assert_true(list.items[2].sparse);
	assert_int_equal(r.rows.orphans + r.rows.unreadable, 0);
	destination_list_done(&list);
	reports_done(&r);
}

/* Of a host and port with both, the connections go to the row that is not HTTP. */
static void connections_of_two_kinds(void **state)
{
	struct reports r = {0};
	struct destination_list list;

	(void)state;
	info(&r, 1, "request_protocol=http name_source=http");
	info(&r, 1, "name_source=ip");
	assert_int_equal(prometheus_rows_sort(&r.rows), 0);
	count(&r, OPENED, 9, "");
	list = listed(&r);
	assert_int_equal(list.n, 2);
	assert_int_equal(list.items[0].opened, 0);
	assert_int_equal(list.items[1].protocol, PROTOCOL_TCP);
	assert_int_equal(list.items[1].opened, 9);
	destination_list_done(&list);
	reports_done(&r);
}

static void present_facts_count(void **state)
{
	struct reports r = {0};
	struct destination_list list;

	(void)state;
	/* The same agent's past, and an agent that is gone. */
	info(&r, 0, "registry=blocked interception=bypass");
	info(&r, 1, "registry=passthrough interception=sidecar tls_version=1.2");
	info(&r, 0, "instance=gone registry=registered interception=bypass tls_version=1.3");
	/* Nobody knows of this one any more. */
	info(&r, 0, "destination_port=444 registry=passthrough");
	info(&r, 0, "destination_port=444 registry=registered interception=bypass");
	assert_int_equal(prometheus_rows_sort(&r.rows), 0);
	list = listed(&r);
	assert_int_equal(list.n, 2);
	assert_int_equal(list.items[0].registry, REGISTRY_PASSTHROUGH);
	assert_int_equal(list.items[0].interception, INTERCEPTION_SIDECAR);
	assert_int_equal(list.items[0].tls_versions, 1u << TLS_12 | 1u << TLS_13);
	assert_int_equal(list.items[0].findings, 0);
	assert_int_equal(list.items[1].registry, REGISTRY_REGISTERED);
	assert_int_equal(list.items[1].findings, 1u << FINDING_MESH_BYPASS);
	destination_list_done(&list);
	reports_done(&r);
}

#define OTHER "destination_service=~other destination_port=0 "

/* An idle row's counts are in ~other as well: once is enough, if they are in it at all. */
static void idle_rows_are_counted_once(void **state)
{
	struct reports r = {0};
	struct destination_list list;

	(void)state;
	info(&r, 0, "name_source=sni");
	info(&r, 0, "destination_port=1 name_source=sni");
	info(&r, 0, "instance=gone destination_port=2 name_source=sni");
	info(&r, 1, OTHER);
	assert_int_equal(prometheus_rows_sort(&r.rows), 0);
	count(&r, OPENED, 4, "");
	count(&r, OPENED, 100, "destination_port=1");
	count(&r, OPENED, 1, "instance=gone destination_port=2");
	count(&r, OPENED, 10, OTHER);
	list = listed(&r);
	assert_int_equal(list.n, 4);
	assert_int_equal(list.items[0].opened, 100);
	assert_int_equal(list.items[1].opened, 1);
	assert_int_equal(list.items[2].opened, 4);
	assert_string_equal(list.items[3].host, MODEL_HOST_OTHER);
	assert_int_equal(list.items[3].opened, 6);
	destination_list_done(&list);
	reports_done(&r);
}

/* The same for requests; a sum that nothing is left of is no row. */
static void idle_requests_are_counted_once(void **state)
{
	static const char labels[] = "request_protocol=http response_code=200 request_method=GET ";
	struct reports r = {0};
	struct destination_list list;
	char other[256];

	(void)state;
	snprintf(other, sizeof(other), "%s%s", OTHER, labels);
	info(&r, 0, "request_protocol=http name_source=http");
	info(&r, 1, OTHER "request_protocol=http");
	assert_int_equal(prometheus_rows_sort(&r.rows), 0);
	count(&r, OPENED, 4, "");
	count(&r, OPENED, 4, OTHER);
	count(&r, "egress_requests_total", 5, labels);
	count(&r, "egress_requests_total", 5, other);
	list = listed(&r);
	assert_int_equal(list.n, 1);
	assert_int_equal(list.items[0].requests, 5);
	assert_int_equal(list.items[0].opened, 4);
	destination_list_done(&list);
	reports_done(&r);
}

static void hostile_labels(void **state)
{
	struct reports r = {0};
	struct destination_list list;

	(void)state;
	info(&r, 1, "destination_service=EVIL\x1b");
	info(&r, 1, "destination_service=~made-up");
	info(&r, 1, "destination_service=UPPER.Example destination_port=65535");
	info(&r, 1, "destination_port=65536");
	info(&r, 1, "destination_port=");
	info(&r, 1, "request_protocol=sctp");
	assert_int_equal(r.rows.unreadable, 3);
	assert_int_equal(prometheus_rows_sort(&r.rows), 0);
	count(&r, OPENED, -1, "destination_service=evil\"");
	count(&r, OPENED, 2, "destination_service=evil\"");
	count(&r, OPENED, 2, "destination_service=nobody.example");
	count(&r, "egress_requests_total", 2,
	      "destination_service=evil\" response_code=99 request_method=GET");
	assert_int_equal(r.rows.unreadable, 5);
	assert_int_equal(r.rows.orphans, 1);
	list = listed(&r);
	assert_int_equal(list.n, 2);
	assert_string_equal(list.items[0].host, "upper.example");
	assert_string_equal(list.items[1].host, MODEL_HOST_INVALID);
	assert_int_equal(list.items[1].opened, 2);
	destination_list_done(&list);
	reports_done(&r);
}

/* ---- agents ---- */

static struct prometheus_agent *agent(struct prometheus_agents *a, const char *labels,
				      const char *node, uint64_t since_ms, uint64_t start_ms)
{
	char buf[2048];
	struct prometheus_series s = series(1, labels, buf, sizeof(buf));
	struct prometheus_agent *found;

	assert_int_equal(prometheus_agents_get(a, &s, &found), 0);
	if (node && !found->node) {
		found->node = strdup(node);
		assert_non_null(found->node);
	}
	found->since_ms = since_ms;
	found->start_ms = start_ms;
	return found;
}

static void agents_are_told_apart(void **state)
{
	struct prometheus_agents a = {0};
	struct prometheus_agent *first, *later, *reborn, *silent, *mute;

	(void)state;
	first = agent(&a, "instance=1", "n", 100, 1000);
	later = agent(&a, "instance=2", "n", 100, 2000);
	reborn = agent(&a, "instance=3", "n", 200, 1500);
	silent = agent(&a, "instance=4", NULL, 0, 1);
	mute = agent(&a, "instance=5", NULL, 0, 2);
	/* What it is scraped from, not what it reports, tells an agent. */
	assert_ptr_equal(agent(&a, "instance=1 destination_service=x alpn=h2", "n", 100, 1000),
			 first);
	assert_ptr_not_equal(agent(&a, "instance=1 cluster=west", "m", 1, 1), first);
	assert_int_equal(a.n, 6);
	assert_int_equal(prometheus_agents_judge(&a), 0);
	assert_true(first->superseded);
	assert_false(later->superseded || reborn->superseded || silent->superseded ||
		     mute->superseded);
	prometheus_agents_done(&a);
}

/* What a superseded agent reported is not looked at. */
static void superseded_agents_do_not_count(void **state)
{
	struct reports r = {0};
	struct destination_list list;

	(void)state;
	agent(&r.agents, "instance=a", "n", 100, 1000);
	agent(&r.agents, "instance=b", "n", 100, 2000);
	assert_int_equal(prometheus_agents_judge(&r.agents), 0);
	info(&r, 0, "");
	info(&r, 1, "instance=b");
	assert_int_equal(prometheus_rows_sort(&r.rows), 0);
	count(&r, OPENED, 3, "");
	count(&r, OPENED, 5, "instance=b");
	list = listed(&r);
	assert_int_equal(list.n, 1);
	assert_int_equal(list.items[0].opened, 5);
	assert_int_equal(r.rows.orphans, 0);
	destination_list_done(&list);
	reports_done(&r);
}

static void agents_are_bounded(void **state)
{
	struct prometheus_agents a = {0};
	struct prometheus_agent *found;
	char buf[2048], name[64];
	struct prometheus_series s;

	(void)state;
	for (unsigned int i = 0; i < PROMETHEUS_AGENTS_MAX; i++) {
		snprintf(name, sizeof(name), "instance=i%u", i);
		agent(&a, name, NULL, 0, i);
	}
	s = series(1, "instance=one-more", buf, sizeof(buf));
	assert_int_equal(prometheus_agents_get(&a, &s, &found), -ENOSPC);
	prometheus_agents_done(&a);
}

/* ---- pages ---- */

static void matchers_are_escaped(void **state)
{
	_cleanup_(text_done) struct text t = TEXT_INIT(1000);
	_cleanup_free_ char *text = NULL, *page = NULL;
	struct prometheus_plan plan = {0};
	size_t size, at = 0;

	(void)state;
	prometheus_matcher(&t, "a", "x\"y\\z\nw|.");
	assert_int_equal(text_take(&t, &text, &size), 0);
	assert_string_equal(text, "a=\"x\\\"y\\\\z\\nw|.\"");
	assert_int_equal(prometheus_plan_add(&plan, "n.m", "w", 1), 0);
	assert_int_equal(prometheus_plan_add(&plan, "", "a|b", 1), 0);
	assert_int_equal(prometheus_plan_add(&plan, "x\"y\\z\n", "w", 1), 0);
	prometheus_plan_sort(&plan);
	assert_int_equal(prometheus_plan_page(&plan, &at, &page), 0);
	assert_string_equal(page, "source_workload_namespace=~\"|n\\\\.m|x\\\"y\\\\\\\\z\\n\"");
	assert_int_equal(at, 3);
	prometheus_plan_done(&plan);
}

/* A namespace that is too large goes by workloads, and one workload goes alone, however large it is. */
static void pages_are_bounded(void **state)
{
	static const char *const want[] = {
		"source_workload_namespace=~\"a|b\"",
		"source_workload_namespace=\"c\",source_workload=~\"w1\"",
		"source_workload_namespace=\"c\",source_workload=~\"w2|w3\"",
		"source_workload_namespace=~\"d\"",
	};
	struct prometheus_plan plan = {0};
	size_t at = 0;

	(void)state;
	assert_int_equal(prometheus_plan_add(&plan, "c", "w3", 10), 0);
	assert_int_equal(prometheus_plan_add(&plan, "c", "w1", 10 * PROMETHEUS_PAGE_SERIES), 0);
	assert_int_equal(prometheus_plan_add(&plan, "c", "w2", 20), 0);
	assert_int_equal(prometheus_plan_add(&plan, "a", "w", 1), 0);
	assert_int_equal(prometheus_plan_add(&plan, "b", "w", PROMETHEUS_PAGE_SERIES - 3), 0);
	/* Twice the same: its info and its requests. */
	assert_int_equal(prometheus_plan_add(&plan, "a", "w", 2), 0);
	assert_int_equal(prometheus_plan_add(&plan, "d", "w", PROMETHEUS_PAGE_SERIES), 0);
	prometheus_plan_sort(&plan);
	assert_int_equal(plan.n, 6);
	for (size_t i = 0; i < ARRAY_SIZE(want); i++) {
		_cleanup_free_ char *page = NULL;

		assert_true(at < plan.n);
		assert_int_equal(prometheus_plan_page(&plan, &at, &page), 0);
		assert_string_equal(page, want[i]);
	}
	assert_int_equal(at, plan.n);
	prometheus_plan_done(&plan);
}

/* Every workload stands in one page, whose text is bounded. */
static void pages_are_complete(void **state)
{
	struct prometheus_plan plan = {0};
	size_t at = 0, pages = 0;
	char name[256];

	(void)state;
	for (unsigned int i = 0; i < 2000; i++) {
		snprintf(name, sizeof(name), "%0*u", 1 + (int)(i % 60), i);
		assert_int_equal(prometheus_plan_add(&plan, i % 3 ? name : "large", name, i % 100),
				 0);
	}
	prometheus_plan_sort(&plan);
	for (size_t before = 0; at < plan.n; before = at, pages++) {
		_cleanup_free_ char *page = NULL;
		const struct prometheus_weight *all = plan.weights;
		uint64_t sum = 0;
		bool whole;

		assert_int_equal(prometheus_plan_page(&plan, &at, &page), 0);
		assert_true(at > before);
		/* By namespace only where that brings nothing but these workloads. */
		whole = !before || strcmp(all[before - 1].ns, all[before].ns) != 0;
		whole &= at == plan.n || strcmp(all[at - 1].ns, all[at].ns) != 0;
		assert_true(whole || strstr(page, "source_workload="));
		for (size_t i = before; i < at; i++) {
			const struct prometheus_weight *w = &plan.weights[i];

			assert_non_null(strstr(page, w->ns));
			assert_true(strstr(page, "source_workload=") == NULL ||
				    strstr(page, w->workload));
			sum += w->series;
		}
		assert_true(sum <= PROMETHEUS_PAGE_SERIES && strlen(page) < PROMETHEUS_PAGE_TEXT);
	}
	assert_true(pages > 10);
	prometheus_plan_done(&plan);
}

/* ---- options ---- */

static void passwords_are_not_shown(void **state)
{
	static const char *const urls[][2] = {
		{"http://h:1/p", "http://h:1/p"},
		{"https://u:p@h", "https://h"},
		{"https://u:p/w@h/x", "https://h/x"},
		{"u:p@h", "h"},
		{"ftp://u:p@", "ftp://"},
		{"", ""},
	};
	char buf[64];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(urls); i++)
		assert_string_equal(prometheus_shown(urls[i][0], buf, sizeof(buf)), urls[i][1]);
}

static void faults_are_found(void **state)
{
	static const char *const good[] = {"http://h", "https://u:p@h:9090/a/b/", "http://[::1]:9"};
	static const char *const bad[] = {
		"",          "h",         "ftp://h",     "http://",      "http://@",
		"http://:1", "http:///x", "http://h/?a", "http://a@b@c", "http://h\\"};
	static const char *const tenants[] = {"", "a b", "a\r\nX: y", "\xc3\xa9", "a\x7f"};
	struct prometheus_options o = {.url = NULL, .token_file = "f"};
	char why[PROMETHEUS_WHY_MAX];

	(void)state;
	assert_false(prometheus_fault(&o, why, sizeof(why)));
	o.url = "http://h";
	assert_true(prometheus_fault(&o, why, sizeof(why)));
	assert_non_null(strstr(why, "--prometheus-token: "));
	o.token_file = NULL;
	for (size_t i = 0; i < ARRAY_SIZE(tenants); i++) {
		o.tenant = tenants[i];
		assert_true(prometheus_fault(&o, why, sizeof(why)));
		assert_non_null(strstr(why, "--prometheus-tenant: "));
	}
	o.tenant = "east|west-2.a_b";
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		o.url = good[i];
		assert_false(prometheus_fault(&o, why, sizeof(why)));
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		o.url = bad[i];
		assert_true(prometheus_fault(&o, why, sizeof(why)));
	}
}

/* ---- memory ---- */

/* All of it once; 0 or -ENOMEM. */
static int everything(void)
{
	static const char text[] = VECTOR("{\"metric\":{\"instance\":\"a\",\"source_workload\":"
					  "\"w\",\"destination_service\":\"h\","
					  "\"destination_port\":\"80\",\"request_protocol\":"
					  "\"http\",\"response_code\":\"200\"},"
					  "\"value\":[1,\"2\"]}");
	_cleanup_(destination_list_done) struct destination_list list = {0};
	_cleanup_free_ char *why = NULL, *page = NULL;
	struct prometheus_plan plan = {0};
	struct reports reports = {0};
	struct seen seen = {.text = ""};
	char buf[2048];
	struct prometheus_series s = series(
		1, "request_protocol=http response_code=200 request_method=GET", buf, sizeof(buf));
	size_t at = 0;
	int r = read_text(text, &seen, &why);

	if (r == 0)
		r = prometheus_rows_info(&reports.rows, &reports.agents, &s);
	if (r == 0)
		r = prometheus_rows_info(&reports.rows, &reports.agents, &s);
	if (r == 0)
		r = prometheus_rows_sort(&reports.rows);
	for (size_t i = 0; r == 0 && i < PROMETHEUS_FAMILIES; i++)
		r = prometheus_rows_count(&reports.rows, &reports.agents, i, &s);
	if (r == 0)
		r = prometheus_agents_judge(&reports.agents);
	if (r == 0)
		r = prometheus_rows_list(&reports.rows, &list);
	if (r == 0)
		r = prometheus_plan_add(&plan, "n", "w", 1);
	if (r == 0)
		r = prometheus_plan_page(&plan, &at, &page);
	assert_true(r < 0 || list.items[0].requests == 1);
	prometheus_plan_done(&plan);
	reports_done(&reports);
	return r;
}

static void memory_runs_out(void **state)
{
	int r;

	(void)state;
	for (unsigned long n = 1;; n++) {
		alloc_fail_at(n);
		r = everything();
		if (!alloc_failed())
			break;
		assert_int_equal(r, -ENOMEM);
	}
	alloc_fail_at(0);
	assert_int_equal(r, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_are_read),
		cmocka_unit_test(what_is_no_answer_is_named),
		cmocka_unit_test(warnings_are_passed_on),
		cmocka_unit_test(rows_are_put_together),
		cmocka_unit_test(connections_of_two_kinds),
		cmocka_unit_test(present_facts_count),
		cmocka_unit_test(idle_rows_are_counted_once),
		cmocka_unit_test(idle_requests_are_counted_once),
		cmocka_unit_test(hostile_labels),
		cmocka_unit_test(agents_are_told_apart),
		cmocka_unit_test(superseded_agents_do_not_count),
		cmocka_unit_test(agents_are_bounded),
		cmocka_unit_test(matchers_are_escaped),
		cmocka_unit_test(pages_are_bounded),
		cmocka_unit_test(pages_are_complete),
		cmocka_unit_test(passwords_are_not_shown),
		cmocka_unit_test(faults_are_found),
		cmocka_unit_test(memory_runs_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
