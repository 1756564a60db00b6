/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Istio objects for observed destinations: which ServiceEntry and DestinationRule a list calls for, and why
 * some destinations get none. The rules are those of CONTRACT.md section 6 (istiod's webhook, analyzer codes).
 *
 * Owns: the plan (struct istio_plan). Must not know: YAML (yaml.c prints it), files, the agent.
 */
#ifndef ISTIO_H
#define ISTIO_H

#include "model.h"

/* The CRD's maxItems of spec.ports. */
#define ISTIO_PORTS_MAX 256
/* Workloads named in an annotation; the rest is a number. */
#define ISTIO_WORKLOADS_MAX 20

struct istio_options {
	enum visibility
		visibility; /* l4: name hosts; l7: originate TLS from port 80 where that is safe */
	bool v1beta1;       /* API version networking.istio.io/v1beta1 instead of v1 */
	bool mesh_scope; /* one object in root_namespace, exportTo "*"; else one per observed namespace, "." */
	const char *root_namespace;
	uint32_t
		min_connections; /* hosts with fewer connections (and requests) are left out, with a note */
	bool only_unregistered; /* leave out what the registry already covers (registered, originated) */
};

#define ISTIO_OPTIONS_DEFAULT                                     \
	((struct istio_options){.visibility = VISIBILITY_L4,      \
				.root_namespace = "istio-system", \
				.min_connections = 1,             \
				.only_unregistered = true})

/* Words of --api-version and --scope, NULL-terminated; the index is the bool (v1beta1, mesh_scope). */
extern const char *const istio_api_version_words[];
extern const char *const istio_scope_words[];

/*
 * Set one option from its long name and its value as text: visibility, api-version, scope, root-namespace,
 * min-connections, only-unregistered, all (true or false). -ENOENT: not one of these; -EINVAL: not a value
 * of it. root-namespace keeps the pointer.
 */
int istio_options_parse(struct istio_options *options, const char *name, const char *value);

/* Whether Kubernetes takes it as a namespace (RFC 1123 label). */
bool istio_namespace_valid(const char *ns);

struct istio_port {
	uint16_t number;
	uint16_t target_port; /* 0: same as number */
	bool tls;             /* protocol TLS, else HTTP */
};

/* What was seen, for the annotations: facts only, no times of generation. */
struct istio_evidence {
	/* Sorted, unique; printable ASCII, the rest as \xHH. Mesh scope: "namespace/workload". */
	char **workloads;
	size_t n_workloads;
	uint64_t connections, requests;
	uint64_t first_ms, last_ms;
};

/* One host in one namespace: a ServiceEntry, and with origination a DestinationRule before it. */
struct istio_object {
	char *ns;   /* empty: no namespace known, metadata.namespace is left out */
	char *name; /* RFC 1123 label made of host and 8 hex digits of its FNV-1a hash */
	char *host;
	struct istio_port *ports; /* ascending */
	size_t n_ports;
	bool originate; /* port 80 -> 443 and a DestinationRule */
	struct istio_evidence evidence;
};

struct istio_plan {
	struct istio_object *objects; /* sorted by (namespace, host) */
	size_t n_objects;
	/* One line each: what was left out or deserves attention, and why. Unique; lines about a host come
	 * first, sorted, then general ones. Printable ASCII, everything else as \xHH. */
	char **notes;
	size_t n_notes;
};

/*
 * list must be normalised. Whether a host is covered already is decided for all its rows together: one
 * uncovered row brings the whole host, because the new object replaces the one of the same name.
 */
int istio_plan_make(const struct destination_list *list, const struct istio_options *options,
		    struct istio_plan *ret);
void istio_plan_done(struct istio_plan *plan);

#endif
