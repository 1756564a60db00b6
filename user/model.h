/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one model: destinations as CONTRACT.md section 3 defines them, and lists of them.
 *
 * Owns: struct source, struct destination, their words, order, selection and merging.
 * Must not know: where facts come from (kernel, file, API) or where they go (JSON, metrics, YAML).
 * Plain C: no I/O, no clock (times are parameters or fields), no third-party include.
 * Every function that can fail returns 0 or -errno (-ENOMEM unless it says more).
 */
#ifndef MODEL_H
#define MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "egress.h"

/* Host words that stand for a sum; never generated, never a real name ('~' is not legal in one). */
#define MODEL_HOST_OTHER   "~other"
#define MODEL_HOST_INVALID "~invalid"

/*
 * Counters stop here instead of wrapping: merged dumps come from files anybody may have written,
 * and a number beyond it would not fit a signed 64-bit integer in whatever reads ours.
 */
#define MODEL_COUNT_MAX ((uint64_t)INT64_MAX)

static inline uint64_t model_add(uint64_t a, uint64_t b)
{
	return a > MODEL_COUNT_MAX || b > MODEL_COUNT_MAX - a ? MODEL_COUNT_MAX : a + b;
}

/* Addresses kept per destination; the most recently used ones stay. */
#define MODEL_ADDRESSES_MAX 16

enum protocol {
	PROTOCOL_TLS,
	PROTOCOL_HTTP,
	PROTOCOL_HTTP2,
	PROTOCOL_QUIC,
	PROTOCOL_TCP,
	PROTOCOL_UDP,
	PROTOCOL_MAX,
};

enum name_source {
	NAME_SOURCE_HTTP,
	NAME_SOURCE_SNI,
	NAME_SOURCE_CONNECT,
	NAME_SOURCE_DNS,
	NAME_SOURCE_IP,
	NAME_SOURCE_MAX,
};

enum visibility { VISIBILITY_L4, VISIBILITY_L7, VISIBILITY_MAX };

enum registry {
	REGISTRY_UNKNOWN,
	REGISTRY_PASSTHROUGH,
	REGISTRY_REGISTERED,
	REGISTRY_ORIGINATED,
	REGISTRY_BLOCKED,
	REGISTRY_MAX,
};

enum interception {
	INTERCEPTION_NONE,
	INTERCEPTION_SIDECAR,
	INTERCEPTION_AMBIENT,
	INTERCEPTION_BYPASS,
	INTERCEPTION_MAX,
};

/* Bits; model_finding_name() gives the contract's code for each index. */
enum finding {
	FINDING_ECH,
	FINDING_QUIC_BYPASS,
	FINDING_MESH_BYPASS,
	FINDING_SNI_DNS_MISMATCH,
	FINDING_NO_SNI,
	FINDING_IP_LITERAL,
	FINDING_INVALID_NAME,
	FINDING_MIXED_TLS_AND_PLAINTEXT,
	FINDING_PREEXISTING,
	FINDING_MAX,
};

/* TLS versions and ALPN protocols seen, as bit sets over these indices. */
enum tls_version { TLS_SSL30, TLS_10, TLS_11, TLS_12, TLS_13, TLS_VERSION_MAX };
enum alpn { ALPN_H2, ALPN_HTTP11, ALPN_HTTP10, ALPN_OTHER, ALPN_MAX };

/* Words of CONTRACT.md; never NULL for a value below the enum's _MAX. */
const char *model_protocol_name(enum protocol v);
const char *model_name_source_name(enum name_source v);
const char *model_visibility_name(enum visibility v);
const char *model_registry_name(enum registry v);
const char *model_interception_name(enum interception v);
const char *model_finding_name(enum finding v);
const char *model_tls_version_name(enum tls_version v); /* "ssl3.0" "1.0" .. "1.3" */
const char *model_alpn_name(enum alpn v);               /* "h2" .. "other" */
const char *model_method_name(enum ea_method v);        /* "GET" ..; EA_METHOD_OTHER is "OTHER" */

/* The reverse; -EINVAL if the word is none of them. */
int model_protocol_parse(const char *word, enum protocol *ret);
int model_name_source_parse(const char *word, enum name_source *ret);
int model_visibility_parse(const char *word, enum visibility *ret);
int model_registry_parse(const char *word, enum registry *ret);
int model_interception_parse(const char *word, enum interception *ret);
int model_finding_parse(const char *word, enum finding *ret);
int model_tls_version_parse(const char *word, enum tls_version *ret);
int model_alpn_parse(const char *word, enum alpn *ret); /* an unknown word is ALPN_OTHER, 0 */
int model_method_parse(const char *word, enum ea_method *ret);

/*
 * Who calls. Strings are never NULL but for pod_uid; empty means not known (or off Kubernetes). They are owned: each
 * by itself, or all by a block that copies share, since thousands of rows have the same few sources. Those of a block
 * must not be changed.
 */
struct source {
	char *ns;
	char *workload;
	char *workload_kind;
	char *canonical_service;
	char *canonical_revision;
	char *app;
	char *version;
	char *pod_uid; /* of a pod that is not known by name (yet); else empty or NULL */
	struct source_block *block; /* NULL: each string is its own */
};

/* Answered requests by status code and method. Code 0: the connection ended without an answer. */
struct request_count {
	uint16_t code;
	uint8_t method; /* enum ea_method */
	uint64_t count;
	uint64_t first_byte_ns; /* sum over count; see struct ea_request_stats */
	struct ea_long_times duration;
};

struct address {
	uint8_t ip[16];   /* network byte order, IPv4 as ::ffff:a.b.c.d */
	uint64_t last_ms; /* Unix milliseconds */
};

struct destination {
	struct source source;
	char *host; /* validated name, IP literal, or a MODEL_HOST_ word; owned */
	enum name_source name_source;
	uint16_t port; /* 0 for MODEL_HOST_OTHER, or where somebody tried to connect to it */
	enum protocol protocol;
	bool internal; /* scope: internal, else external */
	enum visibility visibility;
	enum registry registry;
	enum interception interception;

	/* Bits 1 << enum tls_version: as servers chose, and as clients offered. */
	uint32_t tls_versions, tls_offered;
	uint32_t alpn; /* bits 1 << enum alpn, as offered */
	bool ech;
	bool tls_origination; /* the sidecar was seen to open TLS to this host for this plaintext */

	uint64_t opened, closed, failed; /* connections; active = opened - closed */
	uint64_t handshakes_failed;      /* TLS handshakes ended by an alert in the clear */
	struct ea_short_times connect,
		handshake;       /* as in struct ea_stats; not part of the JSON form */
	uint64_t sent, received; /* payload bytes as the application sees them */
	uint64_t requests;       /* request heads seen; >= the sum over by_code */
	uint64_t request_bytes, response_bytes;
	struct request_count *by_code; /* sorted by (code, method); owned */
	size_t n_by_code;

	struct address *addresses; /* most recent first, at most MODEL_ADDRESSES_MAX; owned */
	size_t n_addresses;
	uint64_t first_ms, last_ms; /* Unix milliseconds */
	uint32_t findings;          /* bits 1 << enum finding */
	/* From metrics, which do not carry times, addresses, what was offered, ECH, origination: those are not known. */
	bool sparse;
};

struct destination_list {
	struct destination *items; /* owned, with all they own */
	size_t n;
	size_t capacity;
	char *node;                      /* owned, may be NULL */
	uint64_t since_ms, generated_ms; /* Unix milliseconds */
	uint64_t destinations_dropped;   /* counted where no destination could be told any more */
	uint64_t hosts_folded;           /* counted under MODEL_HOST_OTHER for want of room */
};

void destination_done(struct destination *d); /* frees what d owns, zeroes it */
void destination_list_done(struct destination_list *list);

/* One allocation, or none if `from` is a copy itself: then its strings are shared. */
int source_copy(const struct source *from, struct source *ret);
void source_done(struct source *s);
/* Order by namespace, workload, then the remaining fields. */
int source_compare(const struct source *a, const struct source *b);

/* Connections open now; 0 if fewer were seen to open than to close. */
uint64_t destination_active(const struct destination *d);

/* Whether the host is a MODEL_HOST_ word: a sum over many hosts, not one. */
bool destination_is_sum(const struct destination *d);

/*
 * Where the host's name came from as a word. MODEL_HOST_OTHER has no name and so no source: "".
 */
const char *destination_name_source(const struct destination *d);

/*
 * The contract's order: namespace, workload, host, port, protocol (by name); then for
 * MODEL_HOST_OTHER the scope, external first, because a sum of what is inside must not get into the
 * sum of what leaves; then what is left of the source, so that only rows that really are the same
 * destination compare equal. 0 means: merge them.
 */
int destination_compare(const struct destination *a, const struct destination *b);

/* Take over *d (it is zeroed on success, untouched on failure). */
int destination_list_add(struct destination_list *list, struct destination *d);

/* Add to d's entry of the same code and method. */
int destination_add_requests(struct destination *d, const struct request_count *add);

/* Remember an address, keeping the MODEL_ADDRESSES_MAX most recent. */
int destination_add_address(struct destination *d, const uint8_t ip[16], uint64_t last_ms);

/*
 * Add what `from` counted to `into`, which is the same destination seen elsewhere (another
 * container of the workload, another node): sums, unions, earliest first and latest last. Where
 * only one value can stay: external before internal, the name source, registry state and
 * interception that say most. Commutative and associative; `into` is untouched on failure.
 */
int destination_merge(struct destination *into, const struct destination *from);

/*
 * Lists of one agent (same node) since one start (same since) are states of the same counters: the
 * latest has what the earlier ones have, and adding them up would count it again. Index of the list
 * that stands for lists[i], which is i itself unless another one is later (or as late and earlier
 * in the array). Without a node or a start nothing is known to be the same.
 */
size_t destination_list_latest(const struct destination_list *lists, size_t n, size_t i);

/* Sort into the contract's order, merge rows that compare equal. Stays usable on failure. */
int destination_list_normalize(struct destination_list *list);

/*
 * Move all rows of `from` into `into` and normalise; limits add up, since is the earliest,
 * generated the latest, node the sorted set of both (comma separated). -ENOMEM before anything was
 * moved leaves both as they were, after that `from` is empty and `into` holds all rows.
 */
int destination_list_merge(struct destination_list *into, struct destination_list *from);

/*
 * Derive what follows from the rows of one source taken together: visibility of each row (l7 for
 * plaintext HTTP, l4 else) and the findings ech, no-sni, ip-literal, invalid-name and
 * mixed-tls-and-plaintext (the host is reached over TLS and in plaintext HTTP by this source).
 * Needs a normalised list. Findings are added, never taken away: facts only grow, and a selection
 * of rows must not lose what was found in the whole.
 */
void destination_list_judge(struct destination_list *list);

/* How much of what leaves the mesh can name: the whole product in one line. External rows only. */
struct coverage {
	size_t destinations;
	size_t unknown; /* of them: nobody asked a registry */
	size_t named;   /* registered or originated */
	size_t l7;      /* of those: requests are readable */
};

void destination_list_coverage(const struct destination_list *list, struct coverage *ret);

enum scope_filter { SCOPE_EXTERNAL, SCOPE_INTERNAL, SCOPE_ALL, SCOPE_MAX };

/* What to show. NULL or _MAX (scope: SCOPE_ALL) means any. host: fnmatch(3), whatever the case. */
struct selection {
	const char *ns;
	const char *workload;
	const char *host;
	enum visibility visibility;
	enum registry registry;
	enum scope_filter scope;
};

#define SELECTION_DEFAULT    \
	((struct selection){ \
		.visibility = VISIBILITY_MAX, .registry = REGISTRY_MAX, .scope = SCOPE_EXTERNAL})

bool selection_matches(const struct selection *s, const struct destination *d);
/* Drop the rows that do not match, in place. */
void destination_list_select(struct destination_list *list, const struct selection *s);

enum sort_key { SORT_BYTES, SORT_CONNECTIONS, SORT_REQUESTS, SORT_HOST, SORT_LAST_SEEN, SORT_MAX };

const char *model_sort_name(enum sort_key v);
int model_sort_parse(const char *word, enum sort_key *ret);
const char *model_scope_name(enum scope_filter v);
int model_scope_parse(const char *word, enum scope_filter *ret);

/* Largest or latest first (host: ascending); ties in the contract's order. */
void destination_list_sort(struct destination_list *list, enum sort_key key);

/* Text form of an address (at least 46 bytes); IPv4-mapped ones as dotted quad. Returns buf. */
const char *address_format(const uint8_t ip[16], char *buf, size_t size);
int address_parse(const char *text, uint8_t ret_ip[16]); /* -EINVAL */
/* "10.0.0.0/8", "fd00::/8", or a bare address; -EINVAL. */
int range_parse(const char *text, struct ea_range *ret);

#endif
