/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files behind registry.h share: objects as they are kept, and the index over them.
 *
 * registry.c keeps the objects, registry_index.c finds them, registry_parse.c, registry_field.c and one file
 * for each kind make them out of JSON, registry_valid.c knows what names and words are legal, registry_scope.c what a client may see,
 * registry_resolve.c which service gets a connection, registry_tls.c whether it leaves over TLS, registry_inside.c
 * what is in the cluster, registry_memo.c keeps what does not depend on the connection, registry_owner.c the rest. What they share begins with reg_. Must not know: the same as registry.h.
 */
#ifndef REGISTRY_WORK_H
#define REGISTRY_WORK_H

#include "registry.h"

/* What the CRDs allow, and Kubernetes for names and label values. */
#define HOSTS_MAX     256
#define PORTS_MAX     256
#define ADDRESSES_MAX 256
#define ENDPOINTS_MAX 4096
#define HOST_MAX      255
#define NAME_LEN_MAX  253
#define NS_MAX        63
/* No limit in the CRD; more than fits into an object of etcd's 1.5 MB anyway. */
#define ITEMS_MAX 16384

/* What a listener does with a port: by the declared protocol. */
enum port_class {
	PORT_NONE, /* UDP: no listener */
	PORT_HTTP, /* HTTP, HTTP2, GRPC, ..: routes by Host */
	PORT_TLS,  /* TLS, HTTPS: by SNI */
	PORT_TCP,  /* TCP, MONGO, ..: by address alone */
	PORT_AUTO, /* not declared: sniffed */
};

struct port {
	uint16_t number;
	uint8_t class; /* enum port_class */
};

/* One address of a service; a single one has prefix 128. */
struct address_range {
	uint8_t ip[16]; /* IPv4 as ::ffff:a.b.c.d; no bits beyond the prefix */
	uint8_t prefix;
	bool allocated; /* by istiod, from status.addresses: only for clients that have DNS proxied */
	uint16_t host; /* of an allocated one: index of its host */
};

/* exportTo; `.` and the object's own namespace are `own`. */
struct exports {
	bool all, own;
	bool given, dot; /* the list is there; `.` is in it: lists are equal by letter only */
	bool nobody;     /* while it is read */
	const char *const *others; /* namespaces, sorted */
	size_t n_others;
};

/* Labels or a selector, sorted by key. */
struct labels {
	const struct registry_label *items;
	size_t n;
};

/* What a DestinationRule says of TLS. */
enum tls_mode {
	TLS_UNSET, /* nothing */
	TLS_OFF,   /* DISABLE, or a credentialName nobody fetches */
	TLS_ORIGINATE,
	TLS_ISTIO, /* ISTIO_MUTUAL: mesh identity, no TLS an external host would take */
};

/* A trafficPolicy. A port's settings replace the others, TLS included, where it has any (D12). */
struct policy {
	bool present;
	uint8_t tls; /* enum tls_mode */
	struct port_policy {
		uint16_t number;
		uint8_t tls;
	} * ports;
	size_t n_ports;
};

struct subset {
	const char *name;
	struct policy policy;
};

/* A Sidecar's egress listener. */
struct listener {
	uint16_t port;       /* 0: of a path, or any_port */
	uint8_t class;       /* enum port_class it has itself */
	bool any_port;       /* no port of its own: all that no other listener has */
	bool elsewhere;      /* bound to a socket or an address: takes no intercepted connection */
	bool proxy;          /* HTTP_PROXY: takes every port of a service */
	const char **hosts;  /* "ns/host" cut in two */
	const char **spaces; /* "*", "." or a namespace */
	size_t n_hosts;
};

/* An HTTP route of a VirtualService. */
struct route_match {
	uint16_t port;  /* 0: any */
	const char *ns; /* sourceNamespace or NULL */
	struct labels labels;
	bool conditional; /* on something of the request */
	bool mesh;        /* for sidecars */
};

struct route_destination {
	const char *host, *subset; /* subset may be NULL */
	uint16_t port;             /* 0: the one asked for */
	bool idle;                 /* weight 0 among others */
};

struct http_route {
	struct route_match *matches; /* any of them; none: always */
	size_t n_matches;
	struct route_destination *destinations; /* none: redirect or direct response */
	size_t n_destinations;
	bool delegated;
};

/* Memory of one object, freed as a whole. */
struct arena {
	struct arena_block *blocks; /* latest first */
	size_t used, size;          /* of the latest */
	size_t total;               /* of all */
};

struct object {
	struct registry_object public;
	struct object *next, *previous; /* of the same kind */
	struct arena arena;
	size_t bytes;
	cJSON *source; /* public.source; owned */
	uint64_t created_ms, sequence;
	uint64_t generation; /* of its kind's list */
	struct exports export;

	/* Hosts: of a service; of a DestinationRule (one); of a VirtualService. Lower case, unique. */
	const char **hosts;
	size_t n_hosts;
	bool has_selector;
	struct labels selector;

	/* Service, ServiceEntry */
	struct port *ports;
	size_t n_ports;
	struct address_range *addresses;
	size_t n_addresses;
	bool has_address; /* one that is not allocated: TCP and TLS are listened for there only */
	bool headless;    /* listens on its endpoints, which are not known here */
	bool alias;       /* ExternalName: no listener */
	bool internal;    /* MESH_INTERNAL */
	struct address_range
		*outer; /* where the cluster takes connections for it, but no sidecar listens */
	size_t n_outer;
	uint8_t resolution;
	struct labels labels;

	/* DestinationRule */
	struct policy policy;
	struct subset *subsets;
	size_t n_subsets;

	/* Sidecar */
	struct listener *listeners;
	size_t n_listeners;
	bool has_outbound_policy, registry_only;

	/* VirtualService */
	bool mesh;
	struct http_route *routes;
	size_t n_routes;
};

void *reg_arena_alloc(struct arena *arena, size_t n, size_t size); /* zeroed; NULL */
char *reg_arena_copy(struct arena *arena, const char *text, size_t length);
void reg_arena_done(struct arena *arena);

/* Index */

enum index_type {
	INDEX_OBJECT,    /* (kind and name, ns) */
	INDEX_ENTRY_OWN, /* (host, client's ns): visible in its own namespace */
	INDEX_ENTRY_ANY, /* (host): visible in others */
	INDEX_RULE,      /* (host, object's ns) */
	INDEX_ROUTE_OWN,
	INDEX_ROUTE_ANY,
	INDEX_ADDRESS, /* (range) */
	INDEX_TCP_OWN, /* (port, ns): services without an address, whatever comes on the port */
	INDEX_TCP_ANY,
	INDEX_HTTP_OWN, /* (port, ns): services that make a listener read HTTP */
	INDEX_HTTP_ANY,
	INDEX_TLS_OWN, /* (port, ns): services without an address, by SNI */
	INDEX_TLS_ANY,
	INDEX_SIDECAR, /* (ns) */
	INDEX_OUTER,   /* (address): of a Service, where no sidecar listens */
};

struct index_key {
	size_t size;
	char bytes[2 + HOST_MAX + 1 + NS_MAX + 1 + 8];
};

/* Objects with one key, in order of precedence. */
struct bucket {
	struct bucket *next;
	uint64_t hash;
	const struct object **items;
	size_t n, capacity;
	size_t key_size;
	char key[];
};

struct index {
	struct bucket **slots;
	size_t n_slots, n_buckets; /* n_slots: a power of two */
	size_t bytes;              /* of the buckets */
	uint64_t seed;
};

/* A set of the addresses that pods have or had. */
struct pod_addresses {
	struct pod_address **slots;
	size_t n_slots, n; /* n_slots: 0 or a power of two */
	struct pod_address *newest, *oldest;
	uint64_t seed, evicted;
};

struct registry_store {
	char *root_namespace, *cluster_domain;
	bool registry_only;
	bool private[REGISTRY_KIND_MAX]; /* exportTo where an object has none */
	size_t objects_max;
	struct index index;
	struct object *objects[REGISTRY_KIND_MAX];
	uint64_t generation[REGISTRY_KIND_MAX];
	uint64_t sequence;
	size_t n_partial;       /* hosts such as *foo.com, whose wildcard ends inside a label */
	size_t n_prefixes[129]; /* address ranges by length of prefix */
	struct pod_addresses pods;
	struct memos *memos;
	struct registry_stats stats;
};

uint64_t reg_index_seed(void); /* a secret, never 0 */
int reg_index_init(struct index *index);
void reg_index_done(struct index *index);
struct index_key reg_index_key_text(enum index_type type, const char *text, const char *ns);
struct index_key reg_index_key_port(enum index_type type, uint16_t port, const char *ns);
struct index_key reg_index_key_range(const struct address_range *range);
struct index_key reg_index_key_object(enum registry_kind kind, const char *ns, const char *name);
/* NULL if there is none. */
const struct bucket *reg_index_find(const struct index *index, const struct index_key *key);
/* All keys of the object; on -ENOMEM none of them. */
int reg_index_add_object(struct index *index, const struct object *object);
void reg_index_remove_object(struct index *index, const struct object *object);

/* Older first; those with a selector before the others. */
int reg_object_compare(const struct object *a, const struct object *b);
void reg_object_free(struct object *object);

/* Making objects */

/* One object in the making. */
struct parse {
	const struct registry_store *store;
	struct object *object;
	const cJSON *spec, *metadata, *whole;
	enum registry_reason reason;
	const char *why;
};

/* -EINVAL, with the reason kept. */
int reg_parse_reject(struct parse *parse, enum registry_reason reason, const char *why);

/* Whether the field is there and not null. */
bool reg_parse_has(const cJSON *in, const char *key);
/*
 * A field of the given type, or NULL (0, false) if it is absent or null. -EINVAL with `why` if it has another type;
 * list: or more than max items.
 */
int reg_parse_text(struct parse *parse, const cJSON *in, const char *key, const char *why,
		   const char **ret);
int reg_parse_object(struct parse *parse, const cJSON *in, const char *key, const char *why,
		     const cJSON **ret);
int reg_parse_list(struct parse *parse, const cJSON *in, const char *key, size_t max,
		   const char *why, const cJSON **ret);
int reg_parse_bool(struct parse *parse, const cJSON *in, const char *key, const char *why,
		   bool *ret);
/* An integer; *ret_present whether it is there. */
int reg_parse_number(struct parse *parse, const cJSON *in, const char *key, const char *why,
		     int64_t *ret, bool *ret_present);
/* A port number, absent: 0. */
int reg_parse_port(struct parse *parse, const cJSON *in, const char *key, const char *why,
		   uint16_t *ret);
/* {matchLabels or labels: {key: value}}; absent: not present. */
int reg_parse_selector(struct parse *parse, const cJSON *in, const char *key,
		       const char *labels_key, bool *ret_present, struct labels *ret);
int reg_parse_labels(struct parse *parse, const cJSON *in, const char *why, struct labels *ret);
/* exportTo of the spec; `~` only where nobody_allowed. */
int reg_parse_export(struct parse *parse, bool nobody_allowed);
/*
 * One more of the object's hosts, in lower case and without trailing dot, unless it is there already. short_names: one
 * without a dot is a Service of the object's namespace.
 */
int reg_parse_add_host(struct parse *parse, const char *host, bool short_names);
/* A copy in the object's arena. */
int reg_parse_copy(struct parse *parse, const char *text, const char **ret);
int reg_parse_copy_host(struct parse *parse, const char *host, const char **ret);
/* The same; a name without a dot is a Service of the object's namespace. */
int reg_parse_copy_service_host(struct parse *parse, const char *host, const char **ret);
/* Zeroed array in the object's arena; n may be 0. */
void *reg_parse_array(struct parse *parse, size_t n, size_t size);

int reg_parse_service(struct parse *parse);
int reg_parse_service_entry(struct parse *parse);
int reg_parse_destination_rule(struct parse *parse);
int reg_parse_sidecar(struct parse *parse);
int reg_parse_virtual_service(struct parse *parse);
/* Endpoints of a ServiceEntry with these ports (checked before); fixed: resolution STATIC. */
int reg_parse_endpoints(struct parse *parse, const cJSON *endpoints, const cJSON *ports,
			bool fixed);
/* A trafficPolicy (in NULL: none) and what of it TLS depends on. */
int reg_parse_policy(struct parse *parse, const cJSON *in, struct policy *ret);
/* The settings of a policy that do not matter here, but must be right all the same. */
int reg_parse_policy_settings(struct parse *parse, const cJSON *in);

/* The object out of its JSON. -EINVAL, -ENOMEM as registry_put(). */
int reg_parse_make(const struct registry_store *store, enum registry_kind kind, const cJSON *json,
		   struct object **ret, enum registry_reason *ret_reason, const char **ret_why);

/* Legal words and names */

bool reg_valid_label(const char *text);         /* RFC 1123, as istiod checks it */
bool reg_valid_name(const char *text);          /* of a Kubernetes object */
bool reg_valid_fqdn(const char *host);          /* ValidateFQDN */
bool reg_valid_wildcard_host(const char *host); /* ValidateWildcardDomain */
bool reg_valid_range(const char *text, struct address_range *ret); /* address or CIDR */
bool reg_valid_address(const char *text, uint8_t ret[16]);
bool reg_valid_duration(const char *text); /* at least 1 ms, whole milliseconds */
/* A declared protocol; false: unknown. "" is PORT_AUTO. */
bool reg_valid_protocol(const char *word, enum port_class *ret);
/* Whether word is one of a NULL-terminated list, and which. */
bool reg_valid_word(const char *word, const char *const words[], size_t *ret);

/* What a client sees */

/* One query, and the Sidecar that decides for it. */
struct view {
	const struct registry_store *store;
	const struct registry_query *query;
	const char *ns;
	char host[HOST_MAX + 1]; /* lower case, no trailing dot; "" if not on the wire */
	const struct object *sidecar;
	const struct listener *listener; /* NULL: everything that is exported to the client */
	bool closed;                     /* the Sidecar has no listener for the port */
};

/* The service that stands behind a host for a client. */
struct service {
	const char *host;            /* its own, may be a wildcard */
	const struct object *head;   /* the one the namespace and the precedence come from */
	const struct object *object; /* the one that has the port */
	enum port_class declared;    /* what it says of the port */
	enum port_class class;       /* what its listener does */
};

/* The same for all connections of a namespace, under one Sidecar, to one port. */
struct memo {
	uint64_t change; /* of the store it is of */
	const struct object *sidecar;
	uint16_t port;
	bool rest_known, http_known; /* the following were looked for */
	bool http;                   /* the listener on 0.0.0.0 reads HTTP */
	struct service rest; /* takes what nobody else on the port does; without an object: none */
	char ns[NS_MAX + 1];
};

int reg_memos_new(struct memos **ret); /* to be given to free() */
/* Something in the store has changed. */
void reg_memos_clear(struct memos *memos);
uint64_t reg_memos_dropped(const struct memos *memos);
/* The view's, new or not, until the next one is got; NULL: nothing can be kept for it. */
struct memo *reg_memo_get(const struct view *view);

void reg_view_init(struct view *view, const struct registry_store *store,
		   const struct registry_query *query);
/* Whether exportTo has this very namespace or `*` in it; `.` is neither. */
bool reg_object_exported(const struct object *object, const char *ns);
/* Whether exportTo lets ns see it. */
bool reg_object_visible(const struct object *object, const char *ns);
/* Visible to the client and imported by its Sidecar under this host. */
bool reg_view_imports(const struct view *view, const struct object *object, const char *host);
/* The service with this very host (or wildcard), if it has the view's port. */
bool reg_view_find(const struct view *view, const char *host, struct service *ret);
/* The service that stands behind any of the object's hosts, if the object is what it gets the port from. */
bool reg_view_owns(const struct view *view, const struct object *object, struct service *ret);
const struct object *reg_sidecar_find(const struct registry_store *store, const char *ns,
				      const struct registry_label *labels, size_t n_labels);
bool reg_labels_match(const struct labels *selector, const struct registry_label *labels, size_t n);
bool reg_labels_equal(const struct labels *a, const struct labels *b);

/* Whether a service's or import's pattern covers a host or another pattern (host.Name.SubsetOf). */
bool reg_host_covered(const char *host, const char *pattern);
bool reg_host_is_wildcard(const char *host);
/* Lower case, no trailing dot; false if it does not fit. */
bool reg_host_normalize(const char *host, char ret[HOST_MAX + 1]);

/*
 * The wildcards that cover a host, most specific first: fn() until it returns true. host may itself be a wildcard,
 * which is then covered by itself, too. partial: *foo.com, not only *.foo.com.
 */
bool reg_host_each_wildcard(const char *host, bool partial,
			    bool (*fn)(const char *pattern, void *data), void *data);

/* The rule in force for a service (ns: its namespace, or NULL) and what it says of TLS for a port. */
const struct object *reg_rule_find(const struct view *view, const char *host, const char *ns,
				   uint16_t port, const char *subset, enum tls_mode *ret_tls);
/* Plaintext HTTP to the service: whether it leaves over TLS, and by which rule. */
bool reg_service_originates(const struct view *view, const struct service *service,
			    const struct object **ret_rule);
void reg_pods_done(struct pod_addresses *set);
bool reg_address_is_private(const uint8_t ip[16]);
/* The Service that a name means inside the cluster: NAME, NAME.NS, NAME.NS.svc; or NULL. */
const struct object *reg_service_by_short_name(const struct registry_store *store, const char *ns,
					       const char *host);

#endif
