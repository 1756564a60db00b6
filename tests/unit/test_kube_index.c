// SPDX-License-Identifier: Apache-2.0
/* Unit tests of user/kube_index.c. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "alloc.h"
#include "kube_index.h"

static struct kube_entry *add(struct kube_index *x, const char *ns, const char *name,
			      const char *uid)
{
	const struct kube_id id = {ns, name, uid};
	struct kube_entry *e = NULL;

	assert_int_equal(kube_index_add(x, &id, &e), 0);
	return e;
}

static void finds_by_namespace_and_name(void **state)
{
	struct kube_index x = {0};
	struct kube_entry *e;

	(void)state;
	assert_null(kube_index_find(&x, "a", "b"));
	e = add(&x, "a", "b", "u1");
	assert_string_equal(e->id.ns, "a");
	assert_string_equal(e->id.name, "b");
	assert_string_equal(e->id.uid, "u1");
	add(&x, "", "b", "u2");
	add(&x, "ab", "", "u3");
	assert_ptr_equal(kube_index_find(&x, "a", "b"), e);
	assert_string_equal(kube_index_find(&x, "", "b")->id.uid, "u2");
	assert_null(kube_index_find(&x, "", "ab"));
	assert_null(kube_index_find(&x, "b", "a"));
	kube_index_remove(&x, e);
	assert_null(kube_index_find(&x, "a", "b"));
	assert_int_equal(x.n, 2);
	kube_index_done(&x);
	assert_null(kube_index_find(&x, "", "b"));
	kube_index_done(&x);
}

struct gone {
	int n;
	unsigned char seen[1000];
};

static void on_gone(const struct kube_id *id, void *data)
{
	struct gone *g = data;
	int i;

	assert_int_equal(sscanf(id->name, "p%d", &i), 1);
	assert_string_equal(id->ns, "ns");
	g->seen[i]++;
	g->n++;
}

static void sweeps_what_was_not_seen(void **state)
{
	struct kube_index x = {0};
	struct gone gone = {0};
	char name[16];

	(void)state;
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "p%d", i);
		add(&x, "ns", name, "u");
	}
	kube_index_sweep(&x, on_gone, &gone);
	assert_int_equal(gone.n, 0);
	kube_index_begin(&x);
	for (int i = 0; i < 1000; i += 3) {
		snprintf(name, sizeof(name), "p%d", i);
		kube_index_find(&x, "ns", name)->round = x.round;
	}
	add(&x, "ns", "new", "u");
	kube_index_sweep(&x, on_gone, &gone);
	assert_int_equal(gone.n, 666);
	assert_int_equal(x.n, 335);
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "p%d", i);
		assert_int_equal(gone.seen[i], i % 3 != 0);
		assert_int_equal(kube_index_find(&x, "ns", name) != NULL, i % 3 == 0);
	}
	assert_non_null(kube_index_find(&x, "ns", "new"));
	kube_index_done(&x);
}

static void is_bounded(void **state)
{
	const struct kube_id more = {"ns", "more", "u"};
	struct kube_index x = {0};
	struct kube_entry *e = NULL;
	char name[16];

	(void)state;
	for (int i = 0; i < KUBE_OBJECTS_MAX; i++) {
		snprintf(name, sizeof(name), "p%d", i);
		e = add(&x, "ns", name, "u");
	}
	assert_int_equal(kube_index_add(&x, &more, &e), -ENOSPC);
	kube_index_remove(&x, e);
	assert_int_equal(kube_index_add(&x, &more, &e), 0);
	assert_ptr_equal(kube_index_find(&x, "ns", "more"), e);
	kube_index_done(&x);
}

static void without_memory(void **state)
{
	struct kube_index x = {0};
	struct kube_entry *e = NULL;
	char name[16];

	(void)state;
	/* Past the first doubling: every allocation on the way fails once. */
	for (int i = 0; i < 100; i++) {
		const struct kube_id id = {"ns", name, "u"};
		int r;

		snprintf(name, sizeof(name), "p%d", i);
		for (unsigned long n = 1;; n++) {
			alloc_fail_at(n);
			r = kube_index_add(&x, &id, &e);
			if (!alloc_failed())
				break;
			assert_int_equal(r, -ENOMEM);
			assert_int_equal(x.n, i);
			assert_null(kube_index_find(&x, "ns", name));
		}
		alloc_fail_at(0);
		assert_int_equal(r, 0);
	}
	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "p%d", i);
		assert_non_null(kube_index_find(&x, "ns", name));
	}
	kube_index_done(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_by_namespace_and_name),
		cmocka_unit_test(sweeps_what_was_not_seen),
		cmocka_unit_test(is_bounded),
		cmocka_unit_test(without_memory),
	};

	return cmocka_run_group_tests_name("kube_index", tests, NULL, NULL);
}
