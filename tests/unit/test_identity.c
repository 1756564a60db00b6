// SPDX-License-Identifier: Apache-2.0
/* Identities as they are kept: packed, read back, also from bytes that nobody packed; ids of workloads. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "kept.h"
#include "util.h"

static char path[] = "/kubepods/pod11111111-2222-3333-4444-555555555555/c";
static char empty[] = "", ns[] = "shop", workload[] = "cart", kind[] = "Deployment", v7[] = "v7";

static struct pod_label labels[] = {{kind, ns}, {workload, v7}};

static struct pod pod_of(void)
{
	return (struct pod){
		.source = {.ns = ns,
			   .workload = workload,
			   .workload_kind = kind,
			   .canonical_service = workload,
			   .canonical_revision = v7,
			   .app = empty,
			   .version = v7},
		.labels = labels,
		.n_labels = 2,
		.sidecar = true,
	};
}

static struct cgroup_name name_of(char *at)
{
	struct cgroup_name name;

	assert_int_equal(cgroup_name_from_path(at, &name), 0);
	return name;
}

static void test_round_trip(void **state)
{
	struct pod pod = pod_of();
	struct cgroup_name name = name_of(path);
	const struct identity who = {
		.name = &name, .pod = &pod, .sidecar = true, .may_proxy = true};
	struct ea_identity packed;
	struct kept *k;

	(void)state;
	assert_int_equal(kept_pack(&who, false, &packed), 0);
	assert_int_equal(kept_unpack(5, &packed, &k), 0);
	assert_true(kept_is(k, &packed));
	assert_int_equal(source_compare(&k->pod.source, &pod.source), 0);
	assert_string_equal(k->name.path, path);
	assert_string_equal(k->name.pod_uid, "11111111-2222-3333-4444-555555555555");
	assert_int_equal(k->pod.n_labels, 2);
	assert_string_equal(pod_label(&k->pod, "cart"), "v7");
	assert_true(k->pod.sidecar && !k->pod.ambient);
	assert_int_equal(k->flags, EA_IDENTITY_POD | EA_IDENTITY_SIDECAR | EA_IDENTITY_PROXY |
					   EA_IDENTITY_MAY_PROXY);
	kept_free(k);
	cgroup_name_done(&name);
}

/* Labels are what has no room first; without the rest there is no identity. */
static void test_too_long(void **state)
{
	static struct pod_label many[300];
	struct pod pod = pod_of();
	struct cgroup_name name = name_of(path), deep;
	struct identity who = {.name = &name, .pod = &pod};
	struct ea_identity packed;
	char text[1200];
	struct kept *k;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(many); i++)
		many[i] = labels[0];
	pod.labels = many;
	pod.n_labels = ARRAY_SIZE(many);
	assert_int_equal(kept_pack(&who, false, &packed), 0);
	assert_true(packed.flags & EA_IDENTITY_CUT);
	assert_int_equal(kept_unpack(5, &packed, &k), 0);
	assert_true(k->pod.n_labels > 50 && k->pod.n_labels < ARRAY_SIZE(many));
	kept_free(k);
	memset(text, 'x', sizeof(text));
	text[0] = '/';
	text[sizeof(text) - 1] = 0;
	deep = name_of(text);
	who.name = &deep;
	assert_int_equal(kept_pack(&who, false, &packed), -ENOSPC);
	cgroup_name_done(&name);
	cgroup_name_done(&deep);
}

/* Read back or refused, and never over the end; the sanitizers tell. */
static void test_any_bytes(void **state)
{
	struct ea_identity packed;
	unsigned int seed = 1;
	int good = 0;

	(void)state;
	for (int i = 0; i < 20000; i++) {
		struct kept *k;
		int r;

		packed = (struct ea_identity){.size = (uint16_t)(rand_r(&seed) % 40),
					      .flags = (uint8_t)rand_r(&seed),
					      .n_labels = (uint8_t)(rand_r(&seed) % 4)};
		if (i % 10 == 0)
			packed.size = (uint16_t)rand_r(&seed);
		for (size_t n = 0; n < 40; n++)
			packed.text[n] = "/a\0\0"[rand_r(&seed) % 4];
		r = kept_unpack(1, &packed, &k);
		assert_true(r == 0 || r == -EINVAL);
		good += !r;
		if (!r)
			kept_free(k);
	}
	assert_true(good > 100 && good < 19000);
}

/* ---- ids ---- */

static int puts_left;

static int put(uint64_t id, const struct ea_identity *identity, void *data)
{
	(void)identity;
	*(uint64_t *)data = id;
	return puts_left-- > 0 ? 0 : -E2BIG;
}

static struct identities *identities_of(uint64_t *last, struct cgroup_cache **cgroups)
{
	const struct identity_store store = {.put = put, .data = last};
	struct identities *ids;

	assert_int_equal(cgroup_cache_new("/proc/self", cgroups), 0);
	assert_int_equal(identities_new(*cgroups, &store, &ids), 0);
	return ids;
}

/* The same for all cgroups of a workload, in every process; another's place is not taken; no room is said. */
static void test_workloads(void **state)
{
	struct pod pod = pod_of();
	struct cgroup_name name = name_of(path);
	struct identity who = {.name = &name, .pod = &pod};
	struct identities_counts counts;
	struct cgroup_cache *cgroups;
	uint64_t a, b, c, last = 0;
	struct ea_identity packed;
	struct identities *ids;

	(void)state;
	ids = identities_of(&last, &cgroups);
	puts_left = 1;
	assert_int_equal(identity_workload(ids, &who, &a), 0);
	assert_true(a & EA_CGROUP_OURS && a != EA_CGROUP_PROXIES && last == a);
	pod.n_labels = 0;
	who.may_proxy = true;
	assert_int_equal(identity_workload(ids, &who, &b), 0);
	assert_int_equal(a, b);
	pod.ambient = true;
	assert_int_equal(identity_workload(ids, &who, &b), -E2BIG);
	identities_get_counts(ids, &counts);
	assert_true(counts.kept == 1 && counts.failures == 1);
	identities_free(ids);
	cgroup_cache_free(cgroups);

	/* Somebody else's stands where this one's hash would have it. */
	ids = identities_of(&last, &cgroups);
	puts_left = 10;
	assert_int_equal(kept_pack(&who, true, &packed), 0);
	assert_int_equal(identity_restore(ids, a, &packed), 0);
	pod.ambient = false;
	assert_int_equal(identity_workload(ids, &who, &c), 0);
	assert_int_equal(c, a + 1);
	assert_int_equal(identity_get(ids, NULL, c, &who), 0);
	assert_string_equal(who.pod->source.workload, "cart");
	identities_free(ids);
	cgroup_cache_free(cgroups);
	cgroup_name_done(&name);
}

/* An id of ours that nothing is known of is nobody's, not a cgroup's. */
static void test_unknown(void **state)
{
	struct cgroup_cache *cgroups;
	struct identities *ids;
	struct identity who;
	uint64_t last;

	(void)state;
	ids = identities_of(&last, &cgroups);
	assert_int_equal(identity_get(ids, NULL, EA_CGROUP_OURS | 77, &who), 0);
	assert_string_equal(who.name->workload, "");
	assert_false(who.sidecar);
	assert_int_equal(identity_get(ids, NULL, EA_CGROUP_PROXIES, &who), 0);
	assert_true(who.sidecar);
	assert_true(identity_is_gone(ids, EA_CGROUP_OURS | 77));
	identities_free(ids);
	cgroup_cache_free(cgroups);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip), cmocka_unit_test(test_too_long),
		cmocka_unit_test(test_any_bytes),  cmocka_unit_test(test_workloads),
		cmocka_unit_test(test_unknown),
	};

	return cmocka_run_group_tests_name("identity", tests, NULL, NULL);
}
