// SPDX-License-Identifier: Apache-2.0
/*
 * name.c: which bytes make a host name, and which host names Istio takes.
 *
 * Owns: the table of names and verdicts. Must not know: who uses them.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "name.h"
#include "util.h"

#define SHORT_NAME                                                                               \
	"is a short name, which Istio takes for a Service of the namespace: no DestinationRule " \
	"or VirtualService would match it"

/* From a buffer of exactly len bytes, so that the sanitizer sees any read beyond it. */
static enum name_kind classify(const char *name, size_t len)
{
	char *exact = malloc(len ? len : 1);
	enum name_kind kind;

	assert_non_null(exact);
	memcpy(exact, name, len);
	kind = name_classify(exact, len);
	free(exact);
	return kind;
}

static enum name_kind classify_text(const char *name)
{
	return classify(name, strlen(name));
}

static bool legal(unsigned int c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '-' || c == '_';
}

/* Every byte at the beginning, in the middle and at the end of a label. */
static void test_every_byte(void **state)
{
	(void)state;
	for (unsigned int c = 0; c < 256; c++) {
		for (size_t at = 0; at < 7; at++) {
			char name[] = "abc.xyz";
			bool dot_inside = c == '.' && at > 0 && at < 6 && at != 2 && at != 4;
			enum name_kind want = legal(c) || dot_inside ? NAME_HOST : NAME_INVALID;

			if (at == 3)
				want = legal(c) || c == '.' ? NAME_HOST : NAME_INVALID;
			name[at] = (char)c;
			assert_int_equal(classify(name, 7), want);
		}
	}
}

static void test_every_single_byte(void **state)
{
	(void)state;
	for (unsigned int c = 0; c < 256; c++) {
		char name = (char)c;

		assert_int_equal(classify(&name, 1), legal(c) ? NAME_HOST : NAME_INVALID);
	}
}

/* A sequence of labels of one length each, cut to len bytes. */
static void fill_labels(char *name, size_t len, size_t label)
{
	for (size_t i = 0; i < len; i++)
		name[i] = i % (label + 1) == label ? '.' : 'a';
}

static void test_lengths(void **state)
{
	char name[600];

	(void)state;
	for (size_t len = 0; len <= sizeof(name); len++) {
		memset(name, 'a', sizeof(name));
		assert_int_equal(classify(name, len),
				 len >= 1 && len <= 63 ? NAME_HOST : NAME_INVALID);
		fill_labels(name, len, 63);
		assert_int_equal(classify(name, len), len >= 1 && len <= 253 && len % 64 != 0
							      ? NAME_HOST
							      : NAME_INVALID);
	}
	fill_labels(name, 253, 64);
	assert_int_equal(classify(name, 253), NAME_INVALID);
}

static void test_addresses(void **state)
{
	static const char *const ips[] = {
		"1.2.3.4",
		"0.0.0.0",
		"255.255.255.255",
		"::",
		"::1",
		"2001:db8::1",
		"FE80::1",
		"::ffff:1.2.3.4",
		"1:2:3:4:5:6:7:8",
		"1111:2222:3333:4444:5555:6666:255.255.255.255",
	};
	static const char *const invalid[] = {
		"[::1]",
		"::1%eth0",
		"1.2.3.4:80",
		"1.2.3.4/8",
		":",
		":::",
		"1::2::3",
		"12345::",
		" 1.2.3.4",
		"1.2.3.4 ",
		"1..2",
		"::1.",
		"1111:2222:3333:4444:5555:6666:255.255.255.2555",
	};
	/* Not an address in the one form that inet_pton() knows, so it is a name made of digits. */
	static const char *const hosts[] = {"1.2.3",     "256.1.1.1",  "01.2.3.4",
					    "1.2.3.4.5", "0x7f000001", "1"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(ips); i++)
		assert_int_equal(classify_text(ips[i]), NAME_IP);
	for (size_t i = 0; i < ARRAY_SIZE(invalid); i++)
		assert_int_equal(classify_text(invalid[i]), NAME_INVALID);
	for (size_t i = 0; i < ARRAY_SIZE(hosts); i++)
		assert_int_equal(classify_text(hosts[i]), NAME_HOST);
}

static void test_hostile(void **state)
{
	(void)state;
	assert_int_equal(classify("a.com\0", 6), NAME_INVALID);
	assert_int_equal(classify("1.2.3.4\0", 8), NAME_INVALID);
	assert_int_equal(classify("\0", 1), NAME_INVALID);
	assert_int_equal(classify("1.2.3.4\0.evil.example", 21), NAME_INVALID);
	assert_int_equal(classify_text("a.com."), NAME_INVALID);
	assert_int_equal(classify_text(".a.com"), NAME_INVALID);
	assert_int_equal(classify_text("a..com"), NAME_INVALID);
	assert_int_equal(classify_text("."), NAME_INVALID);
	assert_int_equal(classify_text("*.a.com"), NAME_INVALID);
	assert_int_equal(classify_text("~other"), NAME_INVALID);
	assert_int_equal(classify_text("a.com:443"), NAME_INVALID);
	assert_int_equal(classify_text("a.com\r\nX: y"), NAME_INVALID);
	assert_int_equal(classify_text("\x1b[31ma.com"), NAME_INVALID);
	assert_int_equal(classify_text("a\".com"), NAME_INVALID);
	assert_int_equal(classify_text("b\xc3\xbc"
				       "cher.example"),
			 NAME_INVALID);
	assert_int_equal(classify_text("xn--bcher-kva.example"), NAME_HOST);
	assert_int_equal(classify_text("_dmarc.a_b.example"), NAME_HOST);
	assert_int_equal(classify_text("-a-.example"), NAME_HOST);
}

static const char label64[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

static void test_registrable(void **state)
{
	static const char *const good[] = {
		"httpbin.org",
		"a.b",
		"xn--bcher-kva.example",
		"a--b.example",
		"1.example",
		"a.1a",
		"a.b.c.d.e.f",
		"9to5.example",
		"svc.example",
		"my.svc.example",
		"northeurope1-mediap.svc.ms",
		"db.corp.local",
		"local.example",
		"localhost.example",
		"notlocalhost",
		"cluster.local.example",
		"a.svcs",
		"a.b.svcs.c",
		"a.b.xsvc.c",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		/* Single labels are legal for Istio, yet no object may be made for them. */
		if (!strchr(good[i], '.'))
			assert_string_equal(name_unregistrable(good[i]), SHORT_NAME);
		else
			assert_null(name_unregistrable(good[i]));
	}
	assert_string_equal(name_unregistrable(label64 + 1), SHORT_NAME);
}

static const struct {
	const char *host, *why;
} unregistrable[] = {
	{"", "is empty"},
	{"~other", "stands for more than one host"},
	{"~invalid", "stands for more than one host"},
	{"1.2.3.4", "is an IP address"},
	{"2001:db8::1", "is an IP address"},
	{"[2001:db8::1]", "has a character that is not legal in a host name"},
	{"a.com.", "ends in a dot"},
	{".", "ends in a dot"},
	{".a.com", "has an empty label"},
	{"a..com", "has an empty label"},
	{"a_b.example", "has an underscore"},
	{"_dmarc.example", "has an underscore"},
	{"*", "has a wildcard"},
	{"*.example.com", "has a wildcard"},
	{"*foo.com", "has a wildcard"},
	{"a.*.com", "has a wildcard"},
	{"-a.example", "has a label that begins or ends with a hyphen"},
	{"a-.example", "has a label that begins or ends with a hyphen"},
	{"a.-", "has a label that begins or ends with a hyphen"},
	{"A.example", "has an upper-case letter"},
	{"a b.example", "has a character that is not legal in a host name"},
	{"a.com:80", "has a character that is not legal in a host name"},
	{"a\n.com", "has a character that is not legal in a host name"},
	{"b\xc3\xbc"
	 "cher.example",
	 "has a character that is not legal in a host name"},
	{"1.2.3", "ends in a number"},
	{"256.1.1.1", "ends in a number"},
	{"a.example.5", "ends in a number"},
	{"a.99999999999999999999999", "ends in a number"},
	{"5", "ends in a number"},
	{"db", SHORT_NAME},
	{"localhost", "is the local host"},
	{"a.localhost", "is the local host"},
	{"a.b.localhost", "is the local host"},
	{"web.shop.svc", "is a name inside the cluster"},
	{"web.svc", "is a name inside the cluster"},
	{"web.shop.svc.cluster.local", "is a name inside the cluster"},
	{"pod.web.shop.svc.cluster.local", "is a name inside the cluster"},
	{"web.shop.svc.k8s.example.com", "is a name inside the cluster"},
	{"web.shop.svc.k8s", "is a name inside the cluster"},
	{"1-2-3-4.shop.pod.cluster.local", "is a name inside the cluster"},
	{"cluster.local", "is a name inside the cluster"},
};

static void test_unregistrable(void **state)
{
	char host[400];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(unregistrable); i++) {
		const char *why = name_unregistrable(unregistrable[i].host);

		assert_non_null(why);
		assert_string_equal(why, unregistrable[i].why);
	}
	snprintf(host, sizeof(host), "%s.example", label64);
	assert_string_equal(name_unregistrable(host), "has a label longer than 63 bytes");
	assert_null(name_unregistrable(host + 1));
	memset(host, 'a', sizeof(host));
	fill_labels(host, 254, 50);
	host[254] = '\0';
	assert_string_equal(name_unregistrable(host), "is longer than 253 bytes");
	fill_labels(host, 253, 50);
	host[253] = '\0';
	assert_null(name_unregistrable(host));
}

/*
 * What may be registered is a host name: no byte that could break out of a YAML value or a file
 * name.
 */
static void test_registrable_is_host(void **state)
{
	(void)state;
	for (unsigned int c = 1; c < 256; c++) {
		for (size_t at = 0; at < 9; at++) {
			char host[] = "ab.cd.exa";

			host[at] = (char)c;
			if (!name_unregistrable(host)) {
				assert_int_equal(name_classify(host, 9), NAME_HOST);
				assert_true(c != '_' && (c < 'A' || c > 'Z'));
			}
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_byte),    cmocka_unit_test(test_every_single_byte),
		cmocka_unit_test(test_lengths),       cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_hostile),       cmocka_unit_test(test_registrable),
		cmocka_unit_test(test_unregistrable), cmocka_unit_test(test_registrable_is_host),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
