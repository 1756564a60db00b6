/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What Istio's service registry knows: a store of ServiceEntries, DestinationRules, Sidecars, VirtualServices and
 * Kubernetes Services, and the answer that one workload's sidecar would get from it for one destination.
 *
 * Owns: the objects, istiod's rules for them, the resolution. Must not know: where objects come from (files, the
 * API), destinations as rows, YAML. No I/O but one getrandom(2), no clock.
 *
 * The rules are those of Istio 1.30, for a sidecar that intercepts by redirection and does not proxy DNS:
 *   - Of the services with one host, the client's own namespace comes first, then a Kubernetes Service, then the
 *     oldest by creationTimestamp (up to 1.29: the first namespace by the alphabet). Equal times (always in a
 *     folder of YAML, where they are absent) are settled by namespace and name.
 *   - Within that namespace the ports of a later ServiceEntry are added if Istio would merge the two.
 *   - A connection belongs to a service by where the listener would find it: the service's own address and port
 *     for TCP and TLS, else the SNI for TLS and the Host for HTTP; a TCP port without an address takes whatever
 *     else comes on the port.
 * Left out, because no state of this contract tells the difference: subsets by label, locality, mirroring,
 * delegates, egress proxies, waypoints (which read exportTo as "*").
 */
#ifndef REGISTRY_H
#define REGISTRY_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model.h"

/*
 * Objects of all kinds, and bytes they take with the index over them; beyond it they are not kept, and counted. The
 * DaemonSet's memory limit has room for that: raise both together.
 */
#define REGISTRY_OBJECTS_MAX 131072
#define REGISTRY_BYTES_MAX   (128u << 20)
/* Addresses of pods; the one not told for longest goes first. */
#define REGISTRY_PODS_MAX 262144

enum registry_kind {
	REGISTRY_KIND_SERVICE,
	REGISTRY_KIND_SERVICE_ENTRY,
	REGISTRY_KIND_DESTINATION_RULE,
	REGISTRY_KIND_SIDECAR,
	REGISTRY_KIND_VIRTUAL_SERVICE,
	REGISTRY_KIND_MAX,
};

/* Why an object is kept out: what istiod's webhook (or the API server) would have found. */
enum registry_reason {
	REGISTRY_REASON_SHAPE,    /* a field of the wrong type, or an enum's unknown word */
	REGISTRY_REASON_METADATA, /* name, namespace, dry-run annotation */
	REGISTRY_REASON_HOST,
	REGISTRY_REASON_PORT,
	REGISTRY_REASON_ADDRESS,
	REGISTRY_REASON_ENDPOINT,
	REGISTRY_REASON_RESOLUTION,
	REGISTRY_REASON_EXPORT,
	REGISTRY_REASON_SELECTOR,
	REGISTRY_REASON_POLICY, /* of a DestinationRule */
	REGISTRY_REASON_EGRESS, /* listeners of a Sidecar */
	REGISTRY_REASON_ROUTE,  /* of a VirtualService */
	REGISTRY_REASON_MAX,
};

/* "ServiceEntry" ..; "shape" "metadata" ... Never NULL for a value below _MAX. */
const char *registry_kind_name(enum registry_kind kind);
const char *registry_reason_name(enum registry_reason reason);

/* Mesh-wide settings. Strings are copied. */
struct registry_options {
	const char *root_namespace; /* meshConfig.rootNamespace */
	const char *cluster_domain; /* without leading dot */
	bool registry_only;         /* meshConfig.outboundTrafficPolicy.mode: REGISTRY_ONLY */
	/* meshConfig.default{Service,DestinationRule,VirtualService}ExportTo: ["."] instead of ["*"] */
	bool services_private, rules_private, routes_private;
	size_t objects_max; /* at most REGISTRY_OBJECTS_MAX */
};

#define REGISTRY_OPTIONS_DEFAULT                                      \
	((struct registry_options){.root_namespace = "istio-system",  \
				   .cluster_domain = "cluster.local", \
				   .objects_max = REGISTRY_OBJECTS_MAX})

/* One object. Valid until it is replaced or deleted. */
struct registry_object {
	enum registry_kind kind;
	const char *ns, *name;
	bool managed; /* label app.kubernetes.io/managed-by: egress-agent */
	/* apiVersion, kind, metadata (name, namespace, labels, annotations) and spec; of managed ones, else NULL */
	const cJSON *source;
};

struct registry_stats {
	size_t objects[REGISTRY_KIND_MAX];
	size_t bytes; /* of all of them */
	uint64_t rejected
		[REGISTRY_REASON_MAX]; /* not acceptable to istiod; each time one was given */
	uint64_t full;                 /* for want of room; each time one was given */
	size_t pods;                   /* addresses that pods have or had */
	uint64_t pods_evicted;         /* given up beyond REGISTRY_PODS_MAX */
	uint64_t memos_dropped;        /* answers that were to be used again, for want of room */
};

struct registry_store;

int registry_new(const struct registry_options *options, struct registry_store **ret);
void registry_free(struct registry_store *store);
void registry_freep(struct registry_store **store);

/*
 * Keep a copy of what matters of one object of the API (v1 Service; networking.istio.io v1, v1beta1, v1alpha3), in
 * place of the one with the same kind, namespace and name. Unknown fields are ignored; no namespace means
 * "default". -ENOENT: another kind. -EINVAL: istiod would not accept it, -ENOSPC: no room; *ret_why is then a
 * constant phrase, it is counted, and an object it should have replaced is gone. -ENOMEM: nothing changed.
 */
int registry_put(struct registry_store *store, const cJSON *object, const char **ret_why);
/* The same for an item of a list, where the API leaves apiVersion and kind out; the object's own are not looked at. */
int registry_put_as(struct registry_store *store, enum registry_kind kind, const cJSON *object,
		    const char **ret_why);
/* What kind of object this is by its apiVersion and kind; -ENOENT: none of ours. */
int registry_kind_of(const cJSON *object, enum registry_kind *ret);

/* Whether there was one. */
bool registry_delete(struct registry_store *store, enum registry_kind kind, const char *ns,
		     const char *name);
void registry_clear(struct registry_store *store, enum registry_kind kind);

/*
 * A new list of one kind, over several pages: what was there before begin and was not put again until end goes
 * away at the end, so that nobody sees half a list. A begin without an end is forgotten by the next begin.
 */
void registry_list_begin(struct registry_store *store, enum registry_kind kind);
void registry_list_end(struct registry_store *store, enum registry_kind kind);

void registry_get_stats(const struct registry_store *store, struct registry_stats *ret);

/* NULL if there is none. */
const struct registry_object *registry_find(const struct registry_store *store,
					    enum registry_kind kind, const char *ns,
					    const char *name);

/* All managed objects, by namespace, name, kind. The array is the caller's. */
int registry_managed(const struct registry_store *store, const struct registry_object ***ret,
		     size_t *ret_n);

/* Resolution */

struct registry_label {
	const char *key, *value;
};

struct registry_query {
	const char *ns; /* of the client; "" is "default" */
	const struct registry_label *labels;
	size_t n_labels;
	const char *host; /* name or IP literal; may be NULL */
	/* TLS without SNI and HTTP without Host match no service by name, whatever DNS said. */
	enum name_source name_source;
	uint16_t port;
	enum protocol protocol;
	const uint8_t
		*address; /* 16 bytes, IPv4 as ::ffff:a.b.c.d; NULL: not known, any would do */
};

/* Objects are NULL where there is none. */
struct registry_answer {
	enum registry state; /* never REGISTRY_UNKNOWN */
	/* registered, originated: the ServiceEntry (or Service) that has the port; blocked: the Sidecar, or NULL if
	 * the mesh's default blocks */
	const struct registry_object *object;
	/* The DestinationRule in force for a registered one, whether it originates TLS or not. */
	const struct registry_object *rule;
	/* passthrough, blocked: a ServiceEntry visible to the client that has the host and the port, but for other
	 * traffic (another protocol, other addresses) */
	const struct registry_object *near;
	/* Found, and MESH_INTERNAL, and at a private address or an unknown one: no egress. */
	bool internal;
};

/*
 * originated: plaintext HTTP that the sidecar sends out over TLS (mode SIMPLE or MUTUAL, of the port if it has
 * settings of its own, else of the rule; a credentialName needs a workloadSelector to count). UDP and QUIC are not
 * captured: always passthrough.
 */
void registry_resolve(const struct registry_store *store, const struct registry_query *query,
		      struct registry_answer *ret);

/* In the cluster or not */

/*
 * Whether a name or an address belongs to the cluster. Addresses: a Service's (cluster IPs, external IPs, those of load
 * balancers that the nodes take connections for), and what registry_add_ was told of. Names, only where they lead to a
 * private address or none is known, as a client says what it likes: below the cluster's domain or in `.svc`, NAME.NS
 * or POD.NAME.NS of a Service, NAME of one in the client's namespace ns (NULL: not known). An ExternalName Service's
 * name does, what it points to does not. An address that istiod gave to a ServiceEntry (240.240.0.0/16, 2001:2::/48)
 * never does. host, address: NULL if not known.
 */
bool registry_is_internal(const struct registry_store *store, const char *ns, const char *host,
			  const uint8_t address[16]);

/*
 * Addresses of pods, one by one or all of an EndpointSlice that are a pod's. They stay when the pod is gone: so do the
 * counters of connections to it, and nothing else gets its address. What is no address is passed over. -ENOMEM.
 */
int registry_add_pod_address(struct registry_store *store, const char *text);
int registry_add_endpoints(struct registry_store *store, const cJSON *slice);
/* Another store's, which then has none. */
void registry_take_pod_addresses(struct registry_store *store, struct registry_store *from);

/* 240.240.0.0/16 and 2001:2::/48, which stand for hosts that DNS was proxied for. */
bool registry_is_allocated(const uint8_t address[16]);

/* What generate must not trample on */

/* Objects of one kind for a host as one namespace would see them. NULL where there is none. */
struct registry_owner {
	const struct registry_object *own;      /* this very host, in the namespace itself */
	const struct registry_object *exported; /* this very host, from another namespace */
	const struct registry_object
		*covering; /* most specific wildcard above it, from anywhere visible */
};

struct registry_owners {
	struct registry_owner entries; /* Service, ServiceEntry */
	struct registry_owner
		rules; /* DestinationRule; exported: from the root or an owner's namespace */
	struct registry_owner routes; /* VirtualService for sidecars */
};

/*
 * Who owns a host (or a wildcard host) already, for objects that would be made in namespace ns. mesh_scope: they
 * would be exported to all, so whatever any namespace exports to any other counts. Objects in ns that are managed by
 * us stand back where another one is there, too.
 */
void registry_get_owners(const struct registry_store *store, const char *ns, const char *host,
			 bool mesh_scope, struct registry_owners *ret);

/* The Sidecar for all workloads of ns that have none of their own: of ns, or of the root namespace, or NULL. */
const struct registry_object *registry_get_sidecar(const struct registry_store *store,
						   const char *ns);

/*
 * Whether the query's client would get an object for the query's host and port that namespace ns exported to it, or
 * its Sidecar does not import it. The host may be a wildcard.
 */
bool registry_would_import(const struct registry_store *store, const struct registry_query *query,
			   const char *ns);

/*
 * Whether a service got a connection for what it is: it has the host, or addresses of its own. Else it is the TCP
 * service that takes whatever nobody else takes on its port, until somebody does.
 */
bool registry_is_meant(const struct registry_object *service, const char *host);

/* Whether a DestinationRule, of its host or of some port, has the sidecar open TLS; subsets do not count. */
bool registry_rule_opens_tls(const struct registry_object *rule);

#endif
