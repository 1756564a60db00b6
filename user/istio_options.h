/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The options of generate, and of /api/v1/config, which takes those of a plan: one table for both.
 *
 * Owns: their names, defaults, words, and which of them contradict each other. Must not know: what a plan does
 * with them.
 */
#ifndef ISTIO_OPTIONS_H
#define ISTIO_OPTIONS_H

#include "model.h"
#include "opt.h"
#include "prometheus.h"

struct istio_options {
	/* enum visibility. l4: name hosts; l7: originate TLS from port 80, too, where that is safe */
	int visibility;
	/* API version networking.istio.io/v1beta1 instead of v1 */
	int v1beta1;
	/* one object in root_namespace, exportTo "*"; else one per observed namespace, "." */
	int mesh_scope;
	/* resolution of wildcard hosts: DYNAMIC_DNS instead of NONE */
	int dynamic_dns;
	const char *root_namespace;
	/* hosts with fewer connections (and requests) are left out, with a note */
	uint32_t min_connections;
	/* leave out what the registry covers already */
	bool only_unregistered;
	/* so many sub-domains fold into one wildcard; OPT_OFF */
	uint32_t wildcard;
	/* of VirtualServices; 0: none, OPT_OFF: none */
	uint64_t timeout_ms;
	uint32_t retries;
	/* secret with a client certificate for originated TLS; NULL: none */
	const char *credential;
	/* nothing but the Sidecars that block what is not registered */
	bool lockdown;
	/* only what differs from the cluster, as a unified diff */
	bool diff;
	/* which destinations; its scope and visibility are not looked at */
	struct selection selection;
};

#define ISTIO_OPTIONS_DEFAULT                               \
	((struct istio_options){                            \
		.visibility = VISIBILITY_L4,                \
		.root_namespace = "istio-system",           \
		.min_connections = 1,                       \
		.only_unregistered = true,                  \
		.wildcard = OPT_OFF,                        \
		.retries = OPT_OFF,                         \
		.selection = {.visibility = VISIBILITY_MAX, \
			      .registry = REGISTRY_MAX,     \
			      .scope = SCOPE_ALL},          \
	})

/* What generate takes: the plan's options first, which is how the API tells them from the others. */
struct generate_options {
	struct istio_options plan;
	const char *agent;
	struct opt_list from;
	const char *existing, *output_dir;
	struct prometheus_options prometheus;
};

#define GENERATE_AGENT "unix:/run/egress-agent/agent.sock"
#define GENERATE_OPTS  (22 + PROMETHEUS_OPTS)
extern const struct opt generate_opts[];

/*
 * Set one option from its long name and its value as text. -ENOENT: not one of these; -EINVAL: not a value of it.
 * Strings are not copied.
 */
int istio_options_parse(struct istio_options *options, const char *name, const char *value);

/* The names of all options of a plan, and NULL. */
void istio_options_names(const char *ret[GENERATE_OPTS + 1]);

/* Enough for every phrase below. */
#define ISTIO_WHY_MAX 512

/* Whether a name among them is none, or they contradict each other; *why is then "--OPTION: why". */
bool istio_options_fault(const struct istio_options *options, char *why, size_t size);

/* Call back with the name and the value, as text, of all that is not as the default has it. */
void istio_options_each(const struct istio_options *options,
			void (*each)(const char *name, const char *value, void *data), void *data);

/* Whether Kubernetes takes it as a namespace (RFC 1123 label). */
bool istio_namespace_valid(const char *ns);

#endif
