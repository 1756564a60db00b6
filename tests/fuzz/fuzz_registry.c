// SPDX-License-Identifier: Apache-2.0
/*
 * Any text as YAML, its documents as objects of the registry, and then some questions: answers are always one of the
 * states, the objects they name are there, and taking everything out again leaves nothing.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "registry.h"
#include "util.h"
#include "yaml_tree.h"

static int put(const cJSON *document, void *data)
{
	const char *why = NULL;
	int r = registry_put(data, document, &why);

	if ((r == -EINVAL) != (why != NULL))
		abort();
	return 0;
}

static void check_object(const struct registry_store *store, const struct registry_object *object)
{
	if (object && registry_find(store, object->kind, object->ns, object->name) != object)
		abort();
}

static void ask(const struct registry_store *store, const char *host, unsigned int i)
{
	static const uint16_t ports[] = {80, 443, 9000};
	static const struct registry_label labels[] = {{"app", "x"}};
	uint8_t address[16] = {[10] = 0xff, [11] = 0xff, [12] = 1, [13] = 2, [14] = 3, [15] = 4};
	struct registry_query query = {.ns = i % 2 ? "a" : "b",
				       .host = host,
				       .labels = labels,
				       .n_labels = i % 2,
				       .port = ports[i % 3],
				       .protocol = (enum protocol)(i % PROTOCOL_MAX),
				       .name_source = (enum name_source)(i % 2),
				       .address = i % 3 ? address : NULL};
	struct registry_owners owners;
	struct registry_answer answer;

	registry_resolve(store, &query, &answer);
	if (answer.state <= REGISTRY_UNKNOWN || answer.state >= REGISTRY_MAX)
		abort();
	if (answer.state == REGISTRY_ORIGINATED && (!answer.object || !answer.rule))
		abort();
	check_object(store, answer.object);
	check_object(store, answer.rule);
	check_object(store, answer.near);
	registry_get_owners(store, query.ns, host, i % 2, &owners);
	check_object(store, owners.entries.own);
	check_object(store, owners.rules.covering);
	registry_is_internal(store, query.ns, host, query.address);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const hosts[] = {
		"x.com", "a.x.com", "web.a", "web", "", "1.2.3.4", "web.a.svc.cluster.local"};
	char why[YAML_TREE_WHY_MAX];
	struct registry_store *store;
	struct registry_stats stats;
	char word[64] = "";
	unsigned int line;

	if (registry_new(&REGISTRY_OPTIONS_DEFAULT, &store))
		abort();
	yaml_tree_read((const char *)data, size, put, store, &line, why);
	for (unsigned int i = 0; i < 18; i++)
		ask(store, hosts[i % ARRAY_SIZE(hosts)], i);
	/* And a host out of the text itself. */
	memcpy(word, data, MIN(size, sizeof(word) - 1));
	ask(store, word, 1);
	for (enum registry_kind kind = 0; kind < REGISTRY_KIND_MAX; kind++)
		registry_clear(store, kind);
	registry_get_stats(store, &stats);
	if (stats.bytes)
		abort();
	registry_free(store);
	return 0;
}
