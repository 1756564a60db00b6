// SPDX-License-Identifier: Apache-2.0
/*
 * json.c, json_parse.c and text.c: the contract's JSON, both ways, and hostile text.
 *
 * Owns: documents that must be refused, and the phrase for each. Must not know: files, HTTP.
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
#include "json.h"
#include "json_tree.h"
#include "text.h"
#include "util.h"

/*
 * As in the contract, with this agent's own fields and order; what json_from_list() prints again.
 */
static const char sample[] =
	"{\"apiVersion\": \"egress-agent/v1\", \"kind\": \"DestinationList\", \"node\": \"n1\", "
	"\"observedSince\": \"2026-01-01T00:00:00Z\", \"generatedAt\": \"2026-01-01T00:10:00Z\",\n"
	" \"destinations\": [\n"
	"{\"source\": {\"namespace\": \"test-ext-svc\", \"workload\": \"curl\", \"workloadKind\": "
	"\"Deployment\", \"canonicalService\": \"curl\", \"app\": \"curl\", \"version\": \"\"}, "
	"\"host\": \"httpbin.org\", \"nameSource\": \"sni\", \"port\": 443, \"transport\": "
	"\"tcp\", "
	"\"protocol\": \"tls\", \"scope\": \"external\", \"visibility\": \"l4\", \"registry\": "
	"\"passthrough\", \"interception\": \"sidecar\", \"tls\": {\"versions\": [\"1.3\"], "
	"\"offered\": [\"1.2\", \"1.3\"], \"alpn\": "
	"[\"h2\", \"http/1.1\"], \"ech\": false, \"handshakesFailed\": 9}, \"connections\": "
	"{\"opened\": 54, \"closed\": "
	"53, "
	"\"failed\": 1, \"active\": 1}, \"bytes\": {\"sent\": 31122, \"received\": 402133}, "
	"\"requests\": {\"total\": 0, \"byCode\": {}}, \"addresses\": [\"54.204.94.184\", "
	"\"18.1.2.3\"], "
	"\"firstSeen\": \"2026-01-01T00:00:01Z\", \"lastSeen\": \"2026-01-01T00:09:59Z\", "
	"\"findings\": []},\n"
	"{\"source\": {\"namespace\": \"\", \"workload\": \"a.service\", \"workloadKind\": \"\", "
	"\"canonicalService\": \"\", \"canonicalRevision\": \"v2\", \"app\": \"\", \"version\": "
	"\"\"}, "
	"\"host\": \"a.example\", \"nameSource\": \"http\", \"port\": 80, \"transport\": \"tcp\", "
	"\"protocol\": \"http\", \"scope\": \"internal\", \"visibility\": \"l7\", \"registry\": "
	"\"unknown\", \"interception\": \"none\", \"tlsOrigination\": true, \"connections\": "
	"{\"opened\": 9223372036854775807, \"closed\": 0, \"failed\": 0, \"active\": "
	"9223372036854775807}, \"bytes\": {\"sent\": 1, \"received\": 2}, \"requests\": "
	"{\"total\": 12, "
	"\"byCode\": {\"0\": 1, \"200\": 7, \"504\": 1}, \"byMethodCode\": {\"GET\": {\"0\": 1, "
	"\"200\": "
	"5, \"504\": 1}, \"POST\": {\"200\": 2}}, \"timeToFirstByte\": {\"count\": 8, "
	"\"sumSeconds\": "
	"1.000000005}, \"requestBytes\": 100, \"responseBytes\": 200}, \"addresses\": "
	"[\"1.2.3.4\", "
	"\"2001:db8::1\"], \"findings\": [\"ip-literal\", \"mixed-tls-and-plaintext\"]}],\n"
	" \"coverage\": {\"destinations\": 1, \"unknown\": 0, \"named\": 0, \"l7\": 0},\n"
	" \"limits\": {\"destinationsDropped\": 3, \"hostsFolded\": 4}}\n";

static struct destination_list parse(const char *text)
{
	struct destination_list list = {0};
	char *why = NULL;
	int r = json_to_list(text, strlen(text), &list, &why);

	if (r < 0)
		fail_msg("%d: %s", r, why ? why : "no reason");
	assert_null(why);
	return list;
}

static char *print(const struct destination_list *list)
{
	char *text;
	size_t size;

	assert_int_equal(json_from_list(list, &text, &size), 0);
	assert_int_equal(strlen(text), size);
	return text;
}

/* text with the first `from` replaced; owned by the caller. */
static char *replace(const char *text, const char *from, const char *to)
{
	const char *at = strstr(text, from);
	size_t size = strlen(text) + strlen(to) + 1;
	char *out = malloc(size);

	assert_non_null(at);
	assert_non_null(out);
	snprintf(out, size, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
	return out;
}

static void test_print_what_was_read(void **state)
{
	struct destination_list list = parse(sample);
	char *text = print(&list);

	(void)state;
	assert_string_equal(text, sample);
	free(text);
	destination_list_done(&list);
}

static void test_values(void **state)
{
	struct destination_list list = parse(sample);
	const struct destination *tls = &list.items[0], *http = &list.items[1];

	(void)state;
	assert_int_equal(list.n, 2);
	assert_string_equal(list.node, "n1");
	assert_true(list.since_ms == UINT64_C(1767225600000));
	assert_true(list.generated_ms == list.since_ms + 600000);
	assert_true(list.destinations_dropped == 3 && list.hosts_folded == 4);
	assert_string_equal(tls->source.ns, "test-ext-svc");
	assert_string_equal(tls->source.workload_kind, "Deployment");
	assert_string_equal(tls->source.canonical_revision, "");
	assert_int_equal(tls->protocol, PROTOCOL_TLS);
	assert_int_equal(tls->registry, REGISTRY_PASSTHROUGH);
	assert_int_equal(tls->interception, INTERCEPTION_SIDECAR);
	assert_int_equal(tls->tls_versions, 1u << TLS_13);
	assert_int_equal(tls->tls_offered, 1u << TLS_12 | 1u << TLS_13);
	assert_true(tls->handshakes_failed == 9);
	assert_int_equal(tls->alpn, 1u << ALPN_H2 | 1u << ALPN_HTTP11);
	assert_true(tls->opened == 54 && tls->closed == 53 && tls->failed == 1);
	assert_true(tls->sent == 31122 && tls->received == 402133);
	assert_int_equal(tls->n_addresses, 2);
	assert_int_equal(tls->addresses[0].ip[12], 54);
	assert_true(tls->first_ms == list.since_ms + 1000);
	assert_false(tls->internal);
	assert_true(http->internal && http->tls_origination);
	assert_true(http->opened == MODEL_COUNT_MAX);
	assert_int_equal(http->visibility, VISIBILITY_L7);
	assert_true(http->requests == 12 && http->request_bytes == 100 &&
		    http->response_bytes == 200);
	assert_int_equal(http->n_by_code, 4);
	assert_int_equal(http->by_code[1].code, 200);
	assert_int_equal(http->by_code[1].method, EA_METHOD_GET);
	assert_true(http->by_code[1].count == 5);
	/* The sum stands with the first answered code. */
	assert_true(http->by_code[1].first_byte_ns == 1000000005);
	assert_int_equal(http->n_addresses, 2);
	assert_true(http->first_ms == 0 && http->last_ms == 0);
	assert_int_equal(http->findings,
			 1u << FINDING_IP_LITERAL | 1u << FINDING_MIXED_TLS_AND_PLAINTEXT);
	destination_list_done(&list);
}

/* The least a row may hold, unknown fields everywhere, white space. */
static void test_sparse(void **state)
{
	struct destination_list list = parse(
		" {\"future\": [{\"a\": null}], \"kind\":\"DestinationList\", "
		"\"apiVersion\":\"egress-agent/v1\",\r\n"
		"\t\"destinations\":[{\"host\":\"X.Example\",\"port\":4.43e2,\"protocol\":\"tls\","
		"\"new\":{}},"
		"{\"host\":\"::FFFF:1.2.3.4\",\"port\":1,\"protocol\":\"udp\"},"
		"{\"host\":\"b\",\"port\":1,\"protocol\":\"http2\",\"requests\":{\"byCode\":{"
		"\"200\":3}}},"
		"{\"host\":\"~other\",\"port\":0,\"protocol\":\"tcp\"}]} \n\n");

	(void)state;
	assert_int_equal(list.n, 4);
	assert_string_equal(list.node, "");
	assert_string_equal(list.items[0].host, "x.example");
	assert_int_equal(list.items[0].port, 443);
	assert_int_equal(list.items[0].name_source, NAME_SOURCE_SNI);
	assert_string_equal(list.items[0].source.workload, "");
	assert_string_equal(list.items[1].host, "1.2.3.4");
	assert_int_equal(list.items[1].name_source, NAME_SOURCE_IP);
	assert_int_equal(list.items[2].visibility, VISIBILITY_L7);
	assert_true(list.items[2].requests == 3);
	assert_int_equal(list.items[2].by_code[0].method, EA_METHOD_OTHER);
	assert_true(destination_is_sum(&list.items[3]));
	destination_list_done(&list);
}

static const char other_row[] =
	"{\"source\": {\"namespace\": \"\", \"workload\": \"w\", \"workloadKind\": \"\", "
	"\"canonicalService\": \"\", \"app\": \"\", \"version\": \"\"}, \"host\": \"~other\", "
	"\"port\": 0, \"transport\": \"tcp\", \"protocol\": \"tls\", \"scope\": ";

/* The sum of many hosts has no name source; what an older agent made up for it goes away. */
static void test_other(void **state)
{
	struct destination_list list = parse(
		"{\"kind\":\"DestinationList\",\"apiVersion\":\"egress-agent/"
		"v1\",\"destinations\":["
		"{\"source\":{\"workload\":\"w\"},\"host\":\"~other\",\"port\":0,\"protocol\":"
		"\"tls\"},"
		"{\"source\":{\"workload\":\"w\"},\"host\":\"~other\",\"port\":0,\"protocol\":"
		"\"tls\","
		"\"scope\":\"internal\",\"nameSource\":\"ip\"},"
		"{\"host\":\"~invalid\",\"port\":1,\"protocol\":\"tls\",\"nameSource\":\"sni\"}]}");
	char *text = print(&list), *row = strstr(text, other_row);

	(void)state;
	assert_non_null(row);
	assert_memory_equal(row + strlen(other_row), "\"external\"", 10);
	row = strstr(row + 1, other_row);
	assert_non_null(row);
	assert_memory_equal(row + strlen(other_row), "\"internal\"", 10);
	assert_non_null(strstr(row, "\"~invalid\", \"nameSource\": \"sni\""));
	free(text);
	destination_list_done(&list);
}

static void test_empty_list(void **state)
{
	struct destination_list list = {0}, again;
	char *text = print(&list);

	(void)state;
	assert_string_equal(
		text,
		"{\"apiVersion\": \"egress-agent/v1\", \"kind\": \"DestinationList\", "
		"\"node\": \"\",\n \"destinations\": [],\n \"coverage\": {\"destinations\": 0, "
		"\"unknown\": 0, \"named\": 0, \"l7\": 0},\n \"limits\": "
		"{\"destinationsDropped\": 0, \"hostsFolded\": 0}}\n");
	again = parse(text);
	assert_int_equal(again.n, 0);
	destination_list_done(&again);
	free(text);
}

static void assert_refused(const char *text, size_t size, int error, const char *want)
{
	struct destination_list list = {0};
	char *why = NULL, *exact = malloc(size ? size : 1);
	int r;

	assert_non_null(exact);
	memcpy(exact, text, size);
	r = json_to_list(exact, size, &list, &why);
	if (r != error || !why || strcmp(why, want) != 0)
		print_error("%.*s: %d %s\n", (int)size, text, r, why ? why : "(null)");
	assert_int_equal(r, error);
	assert_non_null(why);
	assert_string_equal(why, want);
	assert_null(list.items);
	free(why);
	free(exact);
}

static const char bad_count[] = "not a whole number from 0 to 9223372036854775807";
static const struct {
	const char *from, *to, *where, *why;
} wrong_fields[] = {
	{"\"DestinationList\"", "\"List\"", "kind", "not DestinationList"},
	{"\"DestinationList\"", "7", "kind", "not a string"},
	{"egress-agent/v1", "egress-agent/v2", "apiVersion", "not egress-agent/v1"},
	{"\"n1\"", "1", "node", "not a string"},
	{"\"2026-01-01T00:00:00Z\"", "\"yesterday\"", "observedSince",
	 "not a time like 2026-01-01T00:00:00Z"},
	{"\"2026-01-01T00:10:00Z\"", "5", "generatedAt", "not a string"},
	{"\"destinations\"", "\"dest\"", "destinations", "missing"},
	{"{\"destinationsDropped\"", "[], \"x\": {\"destinationsDropped\"", "limits",
	 "not an object"},
	{"\"hostsFolded\": 4", "\"hostsFolded\": -4", "limits.hostsFolded", bad_count},
	{"{\"source\"", "7, {\"source\"", "destinations[0].", "not an object"},
	{"{\"namespace\"", "null, \"x\": {\"namespace\"", "destinations[0].source",
	 "not an object"},
	{"\"test-ext-svc\"", "{}", "destinations[0].source.namespace", "not a string"},
	{"\"curl\"", "null", "destinations[0].source.workload", "not a string"},
	{"\"host\": \"httpbin.org\", ", "", "destinations[0].host", "missing"},
	{"\"httpbin.org\"", "1", "destinations[0].host", "not a string"},
	{"httpbin.org", "http bin.org", "destinations[0].host",
	 "neither a host name nor an IP address"},
	{"httpbin.org", "", "destinations[0].host", "neither a host name nor an IP address"},
	{"httpbin.org", "*.org", "destinations[0].host", "neither a host name nor an IP address"},
	{"httpbin.org", "~mine", "destinations[0].host", "neither a host name nor an IP address"},
	{"httpbin.org", "a.b.", "destinations[0].host", "neither a host name nor an IP address"},
	{"\"sni\"", "\"guess\"", "destinations[0].nameSource", "not one of the known words"},
	{"443", "65536", "destinations[0].port", "not a number from 0 to 65535"},
	{"443", "-1", "destinations[0].port", "not a number from 0 to 65535"},
	{"443", "1.5", "destinations[0].port", "not a number from 0 to 65535"},
	{"443", "\"443\"", "destinations[0].port", "not a number from 0 to 65535"},
	{"443", "1e999", "destinations[0].port", "not a number from 0 to 65535"},
	{"\"port\": 443, ", "", "destinations[0].port", "not a number from 0 to 65535"},
	{"\"tcp\"", "\"sctp\"", "destinations[0].transport", "not one of the known words"},
	{"\"protocol\": \"tls\", ", "", "destinations[0].protocol", "missing"},
	{"\"protocol\": \"tls\"", "\"protocol\": \"TLS\"", "destinations[0].protocol",
	 "not one of the known words"},
	{"\"external\"", "\"all\"", "destinations[0].scope", "not one of the known words"},
	{"\"l4\"", "\"l5\"", "destinations[0].visibility", "not one of the known words"},
	{"\"passthrough\"", "true", "destinations[0].registry", "not a string"},
	{"\"sidecar\"", "\"\"", "destinations[0].interception", "not one of the known words"},
	{"[\"1.3\"]", "\"1.3\"", "destinations[0].tls.versions", "not a list"},
	{"[\"1.3\"]", "[\"1.4\"]", "destinations[0].tls.versions", "has an unknown word"},
	{"[\"1.3\"]", "[1.3]", "destinations[0].tls.versions", "not a string"},
	{"\"ech\": false", "\"ech\": 0", "destinations[0].tls.ech", "neither true nor false"},
	{"54,", "54.5,", "destinations[0].connections.opened", bad_count},
	{"54,", "\"54\",", "destinations[0].connections.opened", bad_count},
	{"54,", "9223372036854779999,", "destinations[0].connections.opened", bad_count},
	{"31122", "-1", "destinations[0].bytes.sent", bad_count},
	{"{\"total\": 0", "[], \"x\": {\"total\": 0", "destinations[0].requests", "not an object"},
	{"\"total\": 0, \"byCode\": {}", "\"total\": 0, \"byCode\": {\"ok\": 1}",
	 "destinations[0].requests.byCode", "has a key that is no status code"},
	{"\"total\": 0, \"byCode\": {}", "\"total\": 0, \"byCode\": {\"1000\": 1}",
	 "destinations[0].requests.byCode", "has a key that is no status code"},
	{"\"total\": 0, \"byCode\": {}", "\"total\": 0, \"byCode\": {\"99\": 1}",
	 "destinations[0].requests.byCode", "has a key that is no status code"},
	{"\"total\": 0, \"byCode\": {}", "\"total\": 0, \"byCode\": {\" 200\": 1}",
	 "destinations[0].requests.byCode", "has a key that is no status code"},
	{"\"total\": 0, \"byCode\": {}", "\"total\": 0, \"byCode\": {\"200\": \"x\"}",
	 "destinations[0].requests.byCode", bad_count},
	{"\"POST\"", "\"BREW\"", "destinations[1].requests.byMethodCode", "has an unknown method"},
	{"{\"200\": 2}", "2", "destinations[1].requests.byMethodCode.POST", "not an object"},
	{"1.000000005", "-1", "destinations[1].requests.timeToFirstByte.sumSeconds",
	 "not a number from 0 to 10000000000"},
	{"1.000000005", "1e11", "destinations[1].requests.timeToFirstByte.sumSeconds",
	 "not a number from 0 to 10000000000"},
	{"\"54.204.94.184\"", "\"example.org\"", "destinations[0].addresses",
	 "has something else than IP addresses"},
	{"\"54.204.94.184\"", "4", "destinations[0].addresses", "not a string"},
	{"2026-01-01T00:00:01Z", "2026-02-30T00:00:01Z", "destinations[0].firstSeen",
	 "not a time like 2026-01-01T00:00:00Z"},
	{"\"findings\": []", "\"findings\": {}", "destinations[0].findings", "not a list"},
	{"\"ip-literal\"", "\"odd\"", "destinations[1].findings", "has an unknown word"},
	{"\"tlsOrigination\": true", "\"tlsOrigination\": 1", "destinations[1].tlsOrigination",
	 "neither true nor false"},
};

static void test_wrong_fields(void **state)
{
	char want[200];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(wrong_fields); i++) {
		char *text = replace(sample, wrong_fields[i].from, wrong_fields[i].to);

		snprintf(want, sizeof(want), "%s: %s", wrong_fields[i].where, wrong_fields[i].why);
		assert_refused(text, strlen(text), -EINVAL, want);
		free(text);
	}
}

static void test_long_string(void **state)
{
	char name[JSON_STRING_MAX + 2], *text;
	struct destination_list list;

	(void)state;
	memset(name, 'x', sizeof(name));
	name[JSON_STRING_MAX + 1] = '\0';
	text = replace(sample, "test-ext-svc", name);
	assert_refused(text, strlen(text), -EINVAL,
		       "destinations[0].source.namespace: longer than 1024 bytes");
	free(text);
	text = replace(sample, "test-ext-svc", name + 1);
	list = parse(text);
	assert_string_equal(list.items[0].source.ns, name + 1);
	destination_list_done(&list);
	free(text);
}

static void refuse_replaced(const char *from, const char *to, const char *why)
{
	char *text = replace(sample, from, to);

	assert_refused(text, strlen(text), -EINVAL, why);
	free(text);
}

static void test_not_json(void **state)
{
	static const char *const texts[] = {"",        " ",    "x",  "{",
					    "}",       "[",    "\"", "\"\\",
					    "nul",     "[1,]", "{]", "\xef\xbb\xbf{}",
					    "{} \x01", "\x7f"};
	char *text;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		assert_refused(texts[i], strlen(texts[i]), -EINVAL, "not JSON");
	assert_refused("{}", 2, -EINVAL, "kind: not DestinationList");
	assert_refused("[]", 2, -EINVAL, "kind: not DestinationList");
	assert_refused("7", 1, -EINVAL, "kind: not DestinationList");
	assert_refused("{}\0", 3, -EINVAL, "not JSON");
	assert_refused("{}{}", 4, -EINVAL, "not JSON");
	refuse_replaced("}\n", "}}\n", "not JSON");
	refuse_replaced("}\n", "} x\n", "not JSON");
	refuse_replaced("httpbin.org", "httpbin.org\\u0000.evil", "a string has a zero byte");
	refuse_replaced("curl", "cu\\\\\\u0000rl", "a string has a zero byte");
	refuse_replaced("curl", "cu\nrl", "a string has a control character");
	refuse_replaced("curl",
			"cu\xff"
			"rl",
			"a string is not UTF-8");
	refuse_replaced("curl", "cu\xc0\x80rl", "a string is not UTF-8");
	refuse_replaced("curl", "cu\xed\xa0\x80rl", "a string is not UTF-8");
	refuse_replaced("curl", "cu\xf4\x90\x80\x80rl", "a string is not UTF-8");
	refuse_replaced("curl", "cu\xe2\x82", "a string is not UTF-8");
	refuse_replaced("curl", "cu\\ud800rl", "not JSON");
	/* An escaped backslash before u0000 is just text. */
	text = replace(sample, "curl", "cu\\\\u0000rl");
	{
		struct destination_list list = parse(text);

		assert_string_equal(list.items[0].source.workload, "cu\\u0000rl");
		destination_list_done(&list);
	}
	free(text);
}

static void test_limits(void **state)
{
	size_t n = JSON_VALUES_MAX + 10;
	struct destination_list list = {0};
	char *text = malloc(n), *why;

	(void)state;
	assert_non_null(text);
	memset(text, '[', n);
	assert_refused(text, n, -EFBIG, "more values than a list of destinations can have");
	/* Nesting: cJSON stops at 1,000, long before the stack ends. */
	assert_refused(text, 100000, -EINVAL, "not JSON");
	/* The size is looked at before a single byte is. */
	assert_int_equal(json_to_list(text, (size_t)JSON_INPUT_MAX + 1, &list, &why), -EFBIG);
	assert_string_equal(why, "larger than 256 MiB");
	free(why);
	free(text);
}

/* Every proper prefix is refused, read from a buffer of exactly that size. */
static void test_every_cut(void **state)
{
	size_t whole = strlen(sample) - 1; /* the newline may go */

	(void)state;
	for (size_t size = 0; size < whole; size++) {
		struct destination_list list = {0};
		char *exact = malloc(size ? size : 1), *why = NULL;

		assert_non_null(exact);
		memcpy(exact, sample, size);
		assert_int_equal(json_to_list(exact, size, &list, &why), -EINVAL);
		assert_non_null(why);
		free(why);
		free(exact);
	}
}

/* Any bytes anywhere: refused, or taken and then printed as something that is taken again. */
static void test_random_damage(void **state)
{
	static const char bytes[] = "\"\\{}[],:0-9.eEtfn ux~*\xc3\xff\x80\x01\n";
	uint32_t seed = 12345;
	char text[sizeof(sample)];

	(void)state;
	for (int round = 0; round < 4000; round++) {
		struct destination_list list = {0}, again;
		char *why = NULL;

		memcpy(text, sample, sizeof(text));
		for (int i = round % 4; i >= 0; i--) {
			seed = seed * 1664525 + 1013904223;
			text[(seed >> 8) % (sizeof(text) - 1)] =
				bytes[(seed >> 20) % (sizeof(bytes) - 1)];
		}
		if (json_to_list(text, sizeof(text) - 1, &list, &why) == 0) {
			char *printed = print(&list);

			again = parse(printed);
			assert_int_equal(again.n, list.n);
			free(printed);
			destination_list_done(&again);
		}
		free(why);
		destination_list_done(&list);
	}
}

/*
 * A cgroup's name may hold any byte but zero and the slash; what is printed is ASCII and comes
 * back.
 */
static void test_strings(void **state)
{
	struct destination_list list = parse(sample), again;
	char all[256], *text;

	(void)state;
	for (unsigned int c = 1; c < 256; c++)
		all[c - 1] = (char)c;
	all[255] = '\0';
	free(list.items[0].source.workload);
	list.items[0].source.workload = strdup(all);
	free(list.items[0].source.app);
	list.items[0].source.app = strdup(
		"b\xc3\xbc"
		"cher \xe2\x82\xac \xf0\x9f\x98\x80 \xc2\x9b \xed\xa0\x80");
	text = print(&list);
	for (const char *s = text; *s; s++)
		assert_true(*s == '\n' || (*s >= 0x20 && *s < 0x7f));
	assert_non_null(strstr(text, "\"app\": \"b\\u00fccher \\u20ac \\ud83d\\ude00 \\u009b "
				     "\\\\xed\\\\xa0\\\\x80\""));
	again = parse(text);
	/* The first 127 are UTF-8 and come back as they were, the rest as their escapes. */
	assert_memory_equal(again.items[0].source.workload, all, 127);
	assert_string_equal(again.items[0].source.workload + 127 + 4 * 127, "\\xff");
	assert_string_equal(again.items[0].source.app,
			    "b\xc3\xbc"
			    "cher \xe2\x82\xac \xf0\x9f\x98\x80 \xc2\x9b "
			    "\\xed\\xa0\\x80");
	free(text);
	destination_list_done(&again);
	destination_list_done(&list);
}

static void test_print_no_memory(void **state)
{
	struct destination_list list = parse(sample);
	bool failed = true;

	(void)state;
	for (unsigned long n = 1; failed; n++) {
		char *text = NULL;
		size_t size;
		int r;

		alloc_fail_at(n);
		r = json_from_list(&list, &text, &size);
		failed = alloc_failed();
		alloc_fail_at(0);
		assert_int_equal(r, failed ? -ENOMEM : 0);
		assert_true(failed == !text);
		free(text);
	}
	destination_list_done(&list);
}

static void test_parse_no_memory(void **state)
{
	bool failed = true;
	unsigned long n;

	(void)state;
	for (n = 1; failed; n++) {
		struct destination_list list = {0};
		char *why = NULL;
		int r;

		alloc_fail_at(n);
		r = json_to_list(sample, strlen(sample), &list, &why);
		failed = alloc_failed();
		alloc_fail_at(0);
		assert_int_equal(r, failed ? -ENOMEM : 0);
		assert_null(why);
		assert_int_equal(list.n, failed ? 0 : 2);
		destination_list_done(&list);
	}
	assert_true(n > 100);
}

/* The reason is set by what failed, whatever the caller had in there. */
static void test_tree_why(void **state)
{
	cJSON *tree = NULL;
	const char *why = "something else";

	(void)state;
	assert_int_equal(json_tree_parse("{\"a\":1}", 7, &tree, &why), 0);
	cJSON_Delete(tree);
	assert_int_equal(json_tree_parse("{\"a\":1", 6, &tree, &why), -EINVAL);
	assert_string_equal(why, "not JSON");
	assert_int_equal(json_tree_parse("[\"\x01\"]", 5, &tree, &why), -EINVAL);
	assert_string_equal(why, "a string has a control character");
}

/* text.c */

static void test_time(void **state)
{
	static const struct {
		const char *text;
		uint64_t ms;
	} good[] = {
		{"1970-01-01T00:00:00Z", 0},
		{"2026-01-01T00:00:00Z", UINT64_C(1767225600000)},
		{"2026-01-01t00:00:00z", UINT64_C(1767225600000)},
		{"2026-01-01T00:00:00.5Z", UINT64_C(1767225600500)},
		{"2026-01-01T00:00:00.123456789Z", UINT64_C(1767225600123)},
		{"2026-01-01T00:00:00.0019999999999999999999Z", UINT64_C(1767225600001)},
		{"2026-01-01T01:30:00+01:30", UINT64_C(1767225600000)},
		{"2025-12-31T19:00:00-05:00", UINT64_C(1767225600000)},
		{"2024-02-29T00:00:00Z", UINT64_C(1709164800000)},
		{"2016-12-31T23:59:60Z", UINT64_C(1483228800000)},
		{"9999-12-31T23:59:59Z", UINT64_C(253402300799000)},
	};
	static const char *const bad[] = {
		"",
		"now",
		"2026-01-01",
		"2026-01-01T00:00:00",
		"2026-01-01 00:00:00Z",
		"2026-1-01T00:00:00Z",
		"2026-13-01T00:00:00Z",
		"2026-00-01T00:00:00Z",
		"2026-02-29T00:00:00Z",
		"2100-02-29T00:00:00Z",
		"2026-01-00T00:00:00Z",
		"2026-01-32T00:00:00Z",
		"2026-01-01T24:00:00Z",
		"2026-01-01T00:60:00Z",
		"2026-01-01T00:00:61Z",
		"2026-01-01T00:00:00ZZ",
		"2026-01-01T00:00:00.Z",
		"2026-01-01T00:00:00+1:00",
		"2026-01-01T00:00:00+24:00",
		"2026-01-01T00:00:00+00:60",
		"2026-01-01T00:00:00+01",
		"-026-01-01T00:00:00Z",
		"1969-12-31T23:59:59Z",
		"1970-01-01T00:00:00+00:01",
		"12026-01-01T00:00:00Z",
		"2026-01-01T00:00:00,5Z",
	};
	uint64_t ms;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		assert_int_equal(text_parse_time(good[i].text, &ms), 0);
		assert_true(ms == good[i].ms);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(text_parse_time(bad[i], &ms), -EINVAL);
}

static void assert_time_printed(uint64_t ms, const char *want)
{
	struct text t = TEXT_INIT(100);
	char *text;
	size_t size;

	text_add_time(&t, ms);
	assert_int_equal(text_take(&t, &text, &size), 0);
	assert_string_equal(text, want);
	free(text);
}

static void test_time_print(void **state)
{
	(void)state;
	assert_time_printed(0, "1970-01-01T00:00:00Z");
	assert_time_printed(UINT64_C(1767225600999), "2026-01-01T00:00:00Z");
	assert_time_printed(UINT64_MAX, "9999-12-31T23:59:59Z");
}

static void test_text_limit(void **state)
{
	struct text t = TEXT_INIT(8);
	char *text = NULL;
	size_t size;

	(void)state;
	text_puts(&t, "1234567");
	assert_int_equal(t.error, 0);
	text_add_char(&t, '8');
	assert_int_equal(t.error, -EFBIG);
	text_add(&t, "", 0);
	assert_int_equal(text_take(&t, &text, &size), -EFBIG);
	assert_null(text);
	text_done(&t);
	t = TEXT_INIT(8);
	text_puts(&t, "1234567");
	assert_null(text_grow(&t, SIZE_MAX));
	text_done(&t);
	t = TEXT_INIT(100);
	text_add_u64(&t, 0);
	text_add_u64(&t, UINT64_MAX);
	text_add_printable(&t, "a\x1b\xc3\\\x7f");
	assert_int_equal(text_take(&t, &text, &size), 0);
	assert_string_equal(text, "018446744073709551615a\\x1b\\xc3\\\\x7f");
	assert_int_equal(size, strlen(text));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_print_what_was_read),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_sparse),
		cmocka_unit_test(test_other),
		cmocka_unit_test(test_empty_list),
		cmocka_unit_test(test_wrong_fields),
		cmocka_unit_test(test_long_string),
		cmocka_unit_test(test_not_json),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_every_cut),
		cmocka_unit_test(test_random_damage),
		cmocka_unit_test(test_strings),
		cmocka_unit_test(test_print_no_memory),
		cmocka_unit_test(test_parse_no_memory),
		cmocka_unit_test(test_time),
		cmocka_unit_test(test_time_print),
		cmocka_unit_test(test_text_limit),
		cmocka_unit_test(test_tree_why),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
