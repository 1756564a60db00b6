// SPDX-License-Identifier: Apache-2.0
/*
 * What is inside the cluster: names and addresses of Services and pods; see registry.h.
 *
 * Owns: those rules, the addresses that pods have or had, which ones istiod gives away. Must not know: traffic.
 */
#include <errno.h>
#include <string.h>

#include "registry_work.h"
#include "util.h"

#define PODS_SLOTS_MIN 256

/* Names */

static const struct object *find_service(const struct registry_store *store, const char *ns,
					 const char *name, size_t name_len)
{
	char text[NAME_LEN_MAX + 1];
	struct index_key key;
	const struct bucket *bucket;

	if (name_len == 0 || name_len >= sizeof(text))
		return NULL;
	memcpy(text, name, name_len);
	text[name_len] = '\0';
	key = reg_index_key_object(REGISTRY_KIND_SERVICE, ns, text);
	bucket = reg_index_find(&store->index, &key);
	return bucket ? bucket->items[0] : NULL;
}

/* "NAME.NS" with labels in front of it skipped, as pods of a headless Service have. */
static const struct object *find_dotted(const struct registry_store *store, const char *host,
					size_t len, size_t skip)
{
	const char *dot = memrchr(host, '.', len), *name;
	char ns[NS_MAX + 1];
	size_t ns_len;

	if (!dot)
		return NULL;
	ns_len = len - (size_t)(dot + 1 - host);
	if (ns_len == 0 || ns_len >= sizeof(ns))
		return NULL;
	memcpy(ns, dot + 1, ns_len);
	ns[ns_len] = '\0';
	for (name = host; skip; skip--) {
		name = memchr(name, '.', (size_t)(dot - name));
		if (!name)
			return NULL;
		name++;
	}
	return find_service(store, ns, name, (size_t)(dot - name));
}

/* The host's length without ".svc" at the end of it. */
static size_t length_without_svc(const char *host)
{
	static const char suffix[] = ".svc";
	size_t len = strlen(host), cut = sizeof(suffix) - 1;

	return len > cut && strcmp(host + len - cut, suffix) == 0 ? len - cut : len;
}

const struct object *reg_service_by_short_name(const struct registry_store *store, const char *ns,
					       const char *host)
{
	if (!strchr(host, '.'))
		return ns ? find_service(store, ns, host, strlen(host)) : NULL;
	return find_dotted(store, host, length_without_svc(host), 0);
}

/* In, or the same as, the domain. */
static bool is_below(const char *host, const char *domain)
{
	size_t len = strlen(host), domain_len = strlen(domain);

	if (len < domain_len || strcmp(host + len - domain_len, domain) != 0)
		return false;
	return len == domain_len || host[len - domain_len - 1] == '.';
}

static bool is_internal_name(const struct registry_store *store, const char *ns, const char *host)
{
	if (is_below(host, store->cluster_domain) || is_below(host, "svc"))
		return true;
	return reg_service_by_short_name(store, ns, host) ||
	       find_dotted(store, host, strlen(host), 1);
}

static const struct bucket *find_address(const struct registry_store *store,
					 const uint8_t address[16])
{
	struct address_range range = {.prefix = 128};
	struct index_key key;

	memcpy(range.ip, address, sizeof(range.ip));
	key = reg_index_key_range(&range);
	return reg_index_find(&store->index, &key);
}

/* A cluster IP, or one at which the cluster's own nodes take a Service's connections: external IPs, load balancers. */
static bool is_service_address(const struct registry_store *store, const uint8_t address[16])
{
	const struct bucket *bucket = find_address(store, address);
	struct address_range range = {.prefix = 128};
	struct index_key key;

	for (size_t i = 0; bucket && i < bucket->n; i++)
		if (bucket->items[i]->public.kind == REGISTRY_KIND_SERVICE)
			return true;
	memcpy(range.ip, address, sizeof(range.ip));
	key = reg_index_key_range(&range);
	key.bytes[0] = INDEX_OUTER;
	return reg_index_find(&store->index, &key);
}

/* Addresses of pods */

/* One address; the others of its bucket, and all of them by the last time they were told, latest first. */
struct pod_address {
	struct pod_address *chain, *older, *newer;
	uint8_t ip[16];
};

static struct pod_address **pod_slot(const struct pod_addresses *set, const uint8_t ip[16])
{
	uint64_t hash = set->seed, word;
	struct pod_address **slot;

	for (size_t i = 0; i < 16; i += sizeof(word)) {
		memcpy(&word, ip + i, sizeof(word));
		hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
		hash ^= hash >> 29;
	}
	slot = &set->slots[(hash ^ hash >> 32) & (set->n_slots - 1)];
	while (*slot && memcmp((*slot)->ip, ip, 16) != 0)
		slot = &(*slot)->chain;
	return slot;
}

static void pod_unlink(struct pod_addresses *set, struct pod_address *a)
{
	*(a->newer ? &a->newer->older : &set->newest) = a->older;
	*(a->older ? &a->older->newer : &set->oldest) = a->newer;
}

static void pod_link(struct pod_addresses *set, struct pod_address *a)
{
	a->newer = NULL;
	a->older = set->newest;
	*(set->newest ? &set->newest->newer : &set->oldest) = a;
	set->newest = a;
}

/* Twice the slots. Failing to grow only makes the chains longer, but there must be some. */
static int pods_grow(struct pod_addresses *set)
{
	struct pod_addresses larger = *set;

	if (set->n < set->n_slots)
		return 0;
	larger.n_slots = MAX(2 * set->n_slots, (size_t)PODS_SLOTS_MIN);
	larger.slots = calloc(larger.n_slots, sizeof(struct pod_address *));
	if (!larger.slots)
		return set->n_slots ? 0 : -ENOMEM;
	for (struct pod_address *a = set->newest; a; a = a->older)
		a->chain = NULL;
	for (struct pod_address *a = set->newest; a; a = a->older)
		*pod_slot(&larger, a->ip) = a;
	free(set->slots);
	*set = larger;
	return 0;
}

static void pod_forget_oldest(struct pod_addresses *set)
{
	struct pod_address *a = set->oldest;

	*pod_slot(set, a->ip) = a->chain;
	pod_unlink(set, a);
	free(a);
	set->n--;
	set->evicted++;
}

static int pod_add(struct pod_addresses *set, const uint8_t ip[16])
{
	struct pod_address **slot, *a;

	if (pods_grow(set))
		return -ENOMEM;
	if (!set->seed)
		set->seed = reg_index_seed();
	slot = pod_slot(set, ip);
	a = *slot;
	if (a)
		pod_unlink(set, a);
	else
		a = calloc(1, sizeof(*a));
	if (!a)
		return -ENOMEM;
	if (!*slot) {
		memcpy(a->ip, ip, sizeof(a->ip));
		*slot = a;
		set->n++;
	}
	pod_link(set, a);
	if (set->n > REGISTRY_PODS_MAX)
		pod_forget_oldest(set);
	return 0;
}

void reg_pods_done(struct pod_addresses *set)
{
	while (set->oldest)
		pod_forget_oldest(set);
	free(set->slots);
	*set = (struct pod_addresses){0};
}

int registry_add_pod_address(struct registry_store *store, const char *text)
{
	uint8_t ip[16];

	if (!text || !reg_valid_address(text, ip) || registry_is_allocated(ip))
		return 0;
	return pod_add(&store->pods, ip);
}

void registry_take_pod_addresses(struct registry_store *store, struct registry_store *from)
{
	struct pod_addresses mine = store->pods;

	store->pods = from->pods;
	from->pods = (struct pod_addresses){0};
	for (const struct pod_address *a = mine.oldest; a; a = a->newer)
		(void)pod_add(&store->pods, a->ip);
	reg_pods_done(&mine);
}

/* Of others than pods (a database that an EndpointSlice was written for by hand) nobody says that they are inside. */
static bool is_of_pod(const cJSON *endpoint)
{
	const cJSON *target = cJSON_GetObjectItemCaseSensitive(endpoint, "targetRef");
	const cJSON *kind = cJSON_GetObjectItemCaseSensitive(target, "kind");

	return cJSON_IsString(kind) && strcmp(kind->valuestring, "Pod") == 0;
}

int registry_add_endpoints(struct registry_store *store, const cJSON *slice)
{
	const cJSON *endpoint, *address;
	int r = 0;

	cJSON_ArrayForEach(endpoint, cJSON_GetObjectItemCaseSensitive(slice, "endpoints")) {
		const cJSON *list = cJSON_GetObjectItemCaseSensitive(endpoint, "addresses");

		if (!is_of_pod(endpoint))
			continue;
		cJSON_ArrayForEach(address, list) {
			if (!r)
				r = registry_add_pod_address(store, cJSON_GetStringValue(address));
		}
	}
	return r;
}

/* Names and addresses */

bool registry_is_allocated(const uint8_t address[16])
{
	static const uint8_t v4[14] = {[10] = 0xff, [11] = 0xff, [12] = 240, [13] = 240};
	static const uint8_t v6[6] = {0x20, 0x01, 0x00, 0x02};

	return memcmp(address, v4, sizeof(v4)) == 0 || memcmp(address, v6, sizeof(v6)) == 0;
}

/* May this address be in the cluster at all? Private (RFC 1918, 4193), shared (RFC 6598), link-local, loopback. */
bool reg_address_is_private(const uint8_t ip[16])
{
	static const struct {
		uint8_t ip[16];
		unsigned int bits;
	} ranges[] = {
		{{[10] = 0xff, [11] = 0xff, [12] = 10}, 104},
		{{[10] = 0xff, [11] = 0xff, [12] = 172, [13] = 16}, 108},
		{{[10] = 0xff, [11] = 0xff, [12] = 192, [13] = 168}, 112},
		{{[10] = 0xff, [11] = 0xff, [12] = 100, [13] = 64}, 106},
		{{[10] = 0xff, [11] = 0xff, [12] = 169, [13] = 254}, 112},
		{{[10] = 0xff, [11] = 0xff, [12] = 127}, 104},
		{{0xfc}, 7},
		{{0xfe, 0x80}, 10},
		{{[15] = 1}, 128},
	};

	for (size_t i = 0; i < ARRAY_SIZE(ranges); i++) {
		unsigned int bytes = ranges[i].bits / 8, rest = ranges[i].bits % 8;

		if (memcmp(ip, ranges[i].ip, bytes) == 0 &&
		    (!rest || (ip[bytes] ^ ranges[i].ip[bytes]) >> (8 - rest) == 0))
			return true;
	}
	return false;
}

bool registry_is_internal(const struct registry_store *store, const char *ns, const char *host,
			  const uint8_t address[16])
{
	char normal[HOST_MAX + 1];

	if (host && (!address || reg_address_is_private(address)) &&
	    reg_host_normalize(host, normal) && *normal &&
	    is_internal_name(store, ns && *ns ? ns : NULL, normal))
		return true;
	return address && !registry_is_allocated(address) &&
	       (is_service_address(store, address) ||
		(store->pods.n && *pod_slot(&store->pods, address)));
}
