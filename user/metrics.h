/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prometheus exposition: the families of CONTRACT.md section 4 from a list of destinations, and the
 * agent's own health. One table of name, type, help and value per family.
 *
 * Must not know: HTTP, the kernel.
 */
#ifndef METRICS_H
#define METRICS_H

#include "model.h"

/* The agent's own numbers, each exported as egress_agent_<...>. Filled by run.c. */
struct agent_health {
	const char *version;
	uint64_t start_unix_ms;
	struct health_counter {
		const char *family; /* full name without _total for counters */
		const char *label;  /* label name or NULL */
		const char *value;  /* label value or NULL */
		double count;       /* whole or, for seconds, not; exact up to 2^53 */
	} * counters;               /* grouped by family: all lines of a family stand together */
	size_t n_counters;
	struct health_gauge {
		const char *family;
		const char *label;
		const char *value;
		double number;
	} * gauges;
	size_t n_gauges;
	/* help text by family, NULL-family terminated; every family used above must be in it */
	const struct health_help {
		const char *family;
		const char *help;
	} * help;
};

/*
 * Text format 0.0.4 of the external destinations of `list` (normalised and judged) and of health.
 * Rows whose labels coincide are summed into one line. Families without samples are left out. Owned
 * by the caller. -EINVAL: a family of health has no help.
 */
int metrics_from_list(const struct destination_list *list, const struct agent_health *health,
		      char **ret_text, size_t *ret_size);

#endif
