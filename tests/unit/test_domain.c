// SPDX-License-Identifier: Apache-2.0
/* Tests of user/domain.c: what a wildcard may be made of. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "domain.h"
#include "util.h"

static void test_domains(void **state)
{
	static const struct {
		const char *host, *domain;
	} cases[] = {
		{"api.example.com", "example.com"},
		{"a.b.c.example.com", "example.com"},
		{"example.com", NULL},
		{"com", NULL},
		{"api.example.co.uk", "example.co.uk"},
		{"example.co.uk", NULL},
		{"co.uk", NULL},
		/* The private section: each name below is somebody else's. */
		{"alice.github.io", NULL},
		{"www.alice.github.io", "alice.github.io"},
		{"github.io", NULL},
		{"bucket.s3.amazonaws.com", NULL},
		/* Rules with a wildcard, and exceptions from them. */
		{"a.b.kawasaki.jp", NULL},
		{"x.a.b.kawasaki.jp", "a.b.kawasaki.jp"},
		{"x.city.kawasaki.jp", "city.kawasaki.jp"},
		/* A top level nobody lists: its names are registrable. */
		{"db.corp.internal", "corp.internal"},
		{"corp.internal", NULL},
		{"a.xn--bcher-kva.example", "xn--bcher-kva.example"},
		{"a.xn--55qx5d.cn", NULL},
		{"b.a.xn--55qx5d.cn", "a.xn--55qx5d.cn"},
		{"localhost", NULL},
		{"", NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *domain = domain_above(cases[i].host);

		if (!cases[i].domain != !domain || (domain && strcmp(domain, cases[i].domain) != 0))
			fail_msg("%s gives %s", cases[i].host, domain ? domain : "none");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_domains),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
