/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Istio objects for observed destinations: which ServiceEntry, DestinationRule, VirtualService or Sidecar a list
 * calls for beside what is in the cluster already, and why some destinations get none. The rules are those of
 * CONTRACT.md section 6 (istiod's webhook, analyzer codes).
 *
 * Owns: the plan (struct istio_plan). Must not know: YAML, files, the agent.
 */
#ifndef ISTIO_H
#define ISTIO_H

#include "istio_options.h"
#include "model.h"
#include "registry.h"

/* The CRD's maxItems of spec.ports. */
#define ISTIO_PORTS_MAX 256
/* Workloads named in an annotation; the rest is a number. */
#define ISTIO_WORKLOADS_MAX 20

/* Documents of an object, in the order that is safe to apply. */
enum istio_kind {
	ISTIO_DESTINATION_RULE,
	ISTIO_SERVICE_ENTRY,
	ISTIO_VIRTUAL_SERVICE,
	ISTIO_SIDECAR,
	ISTIO_KIND_MAX,
};

enum istio_resolution { ISTIO_DNS, ISTIO_NONE, ISTIO_DYNAMIC_DNS, ISTIO_RESOLUTION_MAX };

struct istio_port {
	uint16_t number;
	uint16_t target_port; /* 0: same as number */
	bool tls;             /* protocol TLS, else HTTP */
	bool kept;            /* the cluster's ServiceEntry has it, seen now or not */
};

/* What was seen, for the annotations: facts only, no times of generation. */
struct istio_evidence {
	/* Sorted, unique; printable ASCII, the rest as \xHH. Mesh scope: "namespace/workload". */
	char **workloads;
	size_t n_workloads;
	uint64_t connections, requests;
	uint64_t first_ms, last_ms;
};

/* A client certificate, and the workloads that have it: all with this label. */
struct istio_mutual {
	char *credential; /* NULL: none */
	char *key, *value;
};

/* What a VirtualService says of requests. */
struct istio_route {
	char *timeout;    /* as Istio writes durations; NULL: none */
	uint32_t retries; /* OPT_OFF: nothing */
};

/* One host in one namespace; or the namespace itself, locked down. Which documents: istio_object_has(). */
struct istio_object {
	char *ns;   /* empty: no namespace known, metadata.namespace is left out */
	char *name; /* RFC 1123 label made of host and 8 hex digits of its FNV-1a hash */
	char *host; /* may be *.domain; empty: lockdown */
	struct istio_port *ports; /* ascending */
	size_t n_ports;
	enum istio_resolution resolution;
	bool exported;  /* to all namespaces, else to its own */
	bool originate; /* port 80 -> 443 and a DestinationRule */
	struct istio_mutual mutual;
	bool routed; /* a VirtualService */
	struct istio_route route;
	struct istio_evidence evidence;
	/* Our own objects that its documents take the place of, NULL where there are none. Of the registry. */
	const struct registry_object *replaces[ISTIO_KIND_MAX];
};

bool istio_object_has(const struct istio_object *object, enum istio_kind kind);
/* "DestinationRule" ... */
const char *istio_kind_name(enum istio_kind kind);

struct istio_plan {
	struct istio_object *objects; /* sorted by (namespace, host) */
	size_t n_objects;
	/* One line each: what was left out or deserves attention, and why. Unique; lines about a host come
	 * first, sorted, then general ones. Printable ASCII, everything else as \xHH. */
	char **notes;
	size_t n_notes;
	/* With options.diff: one line for each object of ours in the cluster that nothing here calls for. */
	char **retired;
	size_t n_retired;
	bool refused; /* a lockdown, for the reasons in the notes; then there are no objects */
};

/*
 * list must be normalised and judged, and whole: what the selection leaves out is not generated, but it is looked
 * at where an object would change it. store: what is in the cluster; NULL: not known, and the rows' own registry
 * field says what is covered. -EINVAL: the options have a fault.
 */
int istio_plan_make(const struct destination_list *list, const struct istio_options *options,
		    const struct registry_store *store, struct istio_plan *ret);
void istio_plan_done(struct istio_plan *plan);

#endif
