/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole cluster's destinations, from what every node's agent reported to Prometheus, or to anything that speaks
 * its HTTP API.
 *
 * Owns: the queries, their pages and time-outs, which of several reports on the same counters counts. Must not know:
 * how destinations are printed. Never logs.
 *
 * Counts are exact: of each series the last value in the range, summed over the agents, as merging their dumps would
 * do. What metrics do not carry is not known afterwards: see struct destination's `sparse`.
 */
#ifndef PROMETHEUS_H
#define PROMETHEUS_H

#include "model.h"
#include "opt.h"

struct prometheus_options {
	const char *url; /* NULL: not asked for */
	uint64_t range_ms, timeout_ms;
	const char
		*selector; /* more label matchers, as PromQL writes them between braces; or NULL */
	const char *token_file, *tenant, *ca_file;
};

#define PROMETHEUS_OPTS 7

/* The rows of a command's option table; at: offset of its struct prometheus_options. */
/* clang-format off */
#define PROMETHEUS_OPT_ROWS(at)                                                                  \
	{.name = "prometheus",                                                                   \
	 .type = OPT_STRING,                                                                     \
	 .offset = (at) + offsetof(struct prometheus_options, url),                              \
	 .arg = "URL",                                                                           \
	 .help = "read what the agents of all nodes reported to this Prometheus (Thanos, Mimir: " \
		 "with their path) instead of asking one agent"},                                \
	{.name = "range",                                                                        \
	 .type = OPT_DURATION,                                                                   \
	 .offset = (at) + offsetof(struct prometheus_options, range_ms),                         \
	 .arg = "DURATION",                                                                      \
	 .help = "with --prometheus: what was reported at some time since then",                 \
	 .def = "7d",                                                                            \
	 .min = 1000},                                                                           \
	{.name = "prometheus-selector",                                                          \
	 .type = OPT_STRING,                                                                     \
	 .offset = (at) + offsetof(struct prometheus_options, selector),                         \
	 .arg = "MATCHERS",                                                                      \
	 .help = "only series with these labels, as in PromQL: 'cluster=\"east\"'"},             \
	{.name = "prometheus-token",                                                             \
	 .type = OPT_STRING,                                                                     \
	 .offset = (at) + offsetof(struct prometheus_options, token_file),                       \
	 .arg = "FILE",                                                                          \
	 .help = "bearer token for Prometheus"},                                                 \
	{.name = "prometheus-tenant",                                                            \
	 .type = OPT_STRING,                                                                     \
	 .offset = (at) + offsetof(struct prometheus_options, tenant),                           \
	 .arg = "ID",                                                                            \
	 .help = "tenant of Mimir or Cortex (X-Scope-OrgID); several: 'a|b'"},                   \
	{.name = "prometheus-ca",                                                                \
	 .type = OPT_STRING,                                                                     \
	 .offset = (at) + offsetof(struct prometheus_options, ca_file),                          \
	 .arg = "FILE",                                                                          \
	 .help = "authority of its certificate (default: the system's)"},                        \
	{.name = "prometheus-timeout",                                                           \
	 .type = OPT_DURATION,                                                                   \
	 .offset = (at) + offsetof(struct prometheus_options, timeout_ms),                       \
	 .arg = "DURATION",                                                                      \
	 .help = "for one answer; all of them together may take five times as long",             \
	 .def = "2m",                                                                            \
	 .min = 1}
/* clang-format on */

#define PROMETHEUS_WHY_MAX 512

/* Whether an option cannot be meant; *why is then "--OPTION: why". Without a URL nothing is wrong. */
bool prometheus_fault(const struct prometheus_options *o, char *why, size_t size);

/* The URL without the user and password that may stand in it. Returns buf. */
const char *prometheus_shown(const char *url, char *buf, size_t size);

/*
 * All external destinations, normalised and judged; of one namespace or workload only where ns or workload is not
 * NULL. A whole answer or none: on failure -errno and *ret_why is "why; what to do" (owned, may be NULL). note() is
 * called with one line of printable ASCII for what is worth knowing about the answer.
 */
int prometheus_list(const struct prometheus_options *o, const char *ns, const char *workload,
		    void (*note)(const char *line, void *data), void *data,
		    struct destination_list *ret, char **ret_why);

#endif
