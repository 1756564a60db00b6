// SPDX-License-Identifier: Apache-2.0
/* The options of a plan; see istio_options.h. */
#include "istio_options.h"

#include <errno.h>
#include <string.h>

#include "opt_work.h"
#include "util.h"

/* A Kubernetes object's name (RFC 1123 sub-domain). */
#define SECRET_NAME_MAX 253

static const char *const visibility_words[] = {"l4", "l7", NULL};
_Static_assert(ARRAY_SIZE(visibility_words) == VISIBILITY_MAX + 1, "every visibility");
static const char *const registry_words[] = {"unknown",    "passthrough", "registered",
					     "originated", "blocked",     NULL};
_Static_assert(ARRAY_SIZE(registry_words) == REGISTRY_MAX + 1, "every state");
static const char *const api_version_words[] = {"v1", "v1beta1", NULL};
static const char *const scope_words[] = {"namespace", "mesh", NULL};
static const char *const resolution_words[] = {"none", "dynamic-dns", NULL};

#define AT(field) offsetof(struct generate_options, field)

const struct opt generate_opts[] = {
	{.name = "agent",
	 .type = OPT_STRING,
	 .offset = AT(agent),
	 .arg = "unix:PATH|URL",
	 .help = "the agent to ask",
	 .def = GENERATE_AGENT},
	{.name = "from",
	 .type = OPT_LIST,
	 .offset = AT(from),
	 .arg = "FILE",
	 .help = "read a saved 'dump -o json' instead of asking the agent, - for standard input; "
		 "several lists (one a node) are merged"},
	{.name = "existing",
	 .type = OPT_STRING,
	 .offset = AT(existing),
	 .arg = "DIR",
	 .help = "what is in the cluster already: a folder of YAML files as 'kubectl get -o yaml' "
		 "writes them; without it the agent says, or the registry field of --from"},
	{.name = "namespace",
	 .short_name = 'n',
	 .type = OPT_STRING,
	 .offset = AT(plan.selection.ns),
	 .arg = "NS",
	 .help = "only destinations of this namespace"},
	{.name = "workload",
	 .type = OPT_STRING,
	 .offset = AT(plan.selection.workload),
	 .arg = "W",
	 .help = "only destinations of this workload"},
	{.name = "host",
	 .type = OPT_STRING,
	 .offset = AT(plan.selection.host),
	 .arg = "GLOB",
	 .help = "only hosts that match, such as '*.example.com'"},
	{.name = "registry",
	 .type = OPT_CHOICE,
	 .offset = AT(plan.selection.registry),
	 .arg = "STATE",
	 .help = "only destinations that Istio's registry knows in this way",
	 .def = OPT_ANY,
	 .choices = registry_words},
	{.name = "visibility",
	 .type = OPT_CHOICE,
	 .offset = AT(plan.visibility),
	 .help = "what the mesh shall see: l4 names the hosts (ServiceEntry); l7 makes requests "
		 "readable, too, by opening TLS in the sidecar (ServiceEntry and DestinationRule)",
	 .def = "l4",
	 .choices = visibility_words},
	{.name = "api-version",
	 .type = OPT_CHOICE,
	 .offset = AT(plan.v1beta1),
	 .help = "of networking.istio.io; v1beta1 for Istio before 1.22",
	 .def = "v1",
	 .choices = api_version_words},
	{.name = "scope",
	 .type = OPT_CHOICE,
	 .offset = AT(plan.mesh_scope),
	 .help = "one object in each namespace that calls the host, visible there; or one in the "
		 "root namespace, visible everywhere",
	 .def = "namespace",
	 .choices = scope_words},
	{.name = "root-namespace",
	 .type = OPT_STRING,
	 .offset = AT(plan.root_namespace),
	 .arg = "NS",
	 .help = "of the mesh, where --scope mesh puts the objects",
	 .def = "istio-system"},
	{.name = "wildcard",
	 .type = OPT_UINT_OFF,
	 .offset = AT(plan.wildcard),
	 .arg = "off|N",
	 .help = "one object *.DOMAIN for N or more hosts below one registrable domain",
	 .def = "off",
	 .min = 1,
	 .max = 65536},
	{.name = "wildcard-resolution",
	 .type = OPT_CHOICE,
	 .offset = AT(plan.dynamic_dns),
	 .help = "how the mesh finds the address of a host that a wildcard covers: none takes the "
		 "one that the application asked for; dynamic-dns (Istio 1.30 and later) looks the "
		 "host up",
	 .def = "none",
	 .choices = resolution_words},
	{.name = "min-connections",
	 .type = OPT_UINT,
	 .offset = AT(plan.min_connections),
	 .arg = "N",
	 .help = "leave out hosts with fewer connections and fewer requests",
	 .def = "1"},
	{.name = "only-unregistered",
	 .type = OPT_FLAG,
	 .offset = AT(plan.only_unregistered),
	 .help = "leave out hosts that the registry has already",
	 .def = "true"},
	{.name = "all",
	 .type = OPT_FLAG_OFF,
	 .offset = AT(plan.only_unregistered),
	 .help = "hosts that the registry has already, too"},
	{.name = "timeout",
	 .type = OPT_DURATION,
	 .offset = AT(plan.timeout_ms),
	 .arg = "DURATION",
	 .help = "add VirtualServices that end readable requests after this time",
	 .min = 1},
	{.name = "retries",
	 .type = OPT_UINT_OFF,
	 .offset = AT(plan.retries),
	 .arg = "off|N",
	 .help = "add VirtualServices that repeat failed readable requests so many times; 0: "
		 "never, off: as Istio does",
	 .def = "off",
	 .max = 100},
	{.name = "mutual",
	 .type = OPT_STRING,
	 .offset = AT(plan.credential),
	 .arg = "CREDENTIAL",
	 .help = "with --visibility l7: the sidecar shows the client certificate in this secret of "
		 "the namespace"},
	{.name = "lockdown",
	 .type = OPT_FLAG,
	 .offset = AT(plan.lockdown),
	 .help = "print only the Sidecar of each namespace that blocks what is not registered; "
		 "refused while anything seen is not"},
	{.name = "diff",
	 .type = OPT_FLAG,
	 .offset = AT(plan.diff),
	 .help = "print only what would change in the cluster, as a unified diff; exit 3 if "
		 "anything would"},
	{.name = "output-dir",
	 .type = OPT_STRING,
	 .offset = AT(output_dir),
	 .arg = "DIR",
	 .help = "write one file per object there, instead of all to standard output"},
	PROMETHEUS_OPT_ROWS(AT(prometheus)),
};
_Static_assert(ARRAY_SIZE(generate_opts) == GENERATE_OPTS, "as many as the header says");

/* Whether it belongs to a plan, not to the command alone. */
static bool is_of_plan(const struct opt *opt)
{
	return opt->offset < sizeof(struct istio_options);
}
_Static_assert(offsetof(struct generate_options, plan) == 0, "is_of_plan()");

void istio_options_names(const char *ret[GENERATE_OPTS + 1])
{
	size_t n = 0;

	for (size_t i = 0; i < GENERATE_OPTS; i++)
		if (is_of_plan(&generate_opts[i]))
			ret[n++] = generate_opts[i].name;
	ret[n] = NULL;
}

void istio_options_each(const struct istio_options *options,
			void (*each)(const char *name, const char *value, void *data), void *data)
{
	struct generate_options all = {.plan = *options};
	char buf[32];

	for (size_t i = 0; i < GENERATE_OPTS; i++) {
		const struct opt *opt = &generate_opts[i];
		const char *value;

		/* The other name of only-unregistered says nothing new. */
		if (!is_of_plan(opt) || opt->type == OPT_FLAG_OFF)
			continue;
		value = opt_format_value(opt, &all, buf, sizeof(buf));
		if (value)
			each(opt->name, value, data);
	}
}

/* Names */

bool istio_namespace_valid(const char *ns)
{
	size_t len = strlen(ns);

	return len > 0 && len <= 63 &&
	       ns[strspn(ns, "abcdefghijklmnopqrstuvwxyz0123456789-")] == '\0' && ns[0] != '-' &&
	       ns[len - 1] != '-';
}

static bool secret_valid(const char *name)
{
	size_t len = strlen(name);

	return len > 0 && len <= SECRET_NAME_MAX &&
	       name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-.")] == '\0' &&
	       !strchr("-.", name[0]) && !strchr("-.", name[len - 1]) && !strstr(name, "..") &&
	       !strstr(name, ".-") && !strstr(name, "-.");
}

static bool names_fault(const struct istio_options *o, char *why, size_t size)
{
	if (!istio_namespace_valid(o->root_namespace))
		snprintf(why, size, "--root-namespace: '%.300s' is not a namespace's name",
			 o->root_namespace);
	else if (o->credential && !secret_valid(o->credential))
		snprintf(why, size, "--mutual: '%.300s' is not a secret's name", o->credential);
	else
		return false;
	return true;
}

int istio_options_parse(struct istio_options *options, const char *name, const char *value)
{
	struct generate_options changed = {.plan = *options};
	union opt_value parsed = {0};
	char why[ISTIO_WHY_MAX];

	for (size_t i = 0; i < GENERATE_OPTS; i++) {
		const struct opt *opt = &generate_opts[i];

		if (!is_of_plan(opt) || strcmp(opt->name, name) != 0)
			continue;
		if (opt_parse_value(opt, value, &parsed))
			return -EINVAL;
		opt_put_value(opt, &changed, parsed);
		if (names_fault(&changed.plan, why, sizeof(why)))
			return -EINVAL;
		*options = changed.plan;
		return 0;
	}
	return -ENOENT;
}

bool istio_options_fault(const struct istio_options *o, char *why, size_t size)
{
	const char *fault = NULL;

	if (names_fault(o, why, size))
		return true;
	if (o->credential && o->visibility != VISIBILITY_L7)
		fault = "--mutual: needs --visibility l7, which opens the TLS that it is about";
	else if (o->credential && o->mesh_scope)
		fault = "--mutual: needs --scope namespace: a DestinationRule for certain "
			"workloads "
			"counts in its own namespace only";
	else if (o->dynamic_dns && o->v1beta1)
		fault = "--wildcard-resolution: 'dynamic-dns' needs Istio 1.30, --api-version "
			"v1beta1 is for Istio before 1.22";
	if (fault)
		snprintf(why, size, "%s", fault);
	return fault;
}
